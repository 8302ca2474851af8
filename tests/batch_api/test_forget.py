"""An empty cache for lesson 13, wherever its stack is, and never for a broker of somebody who knows nothing of us."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from tests.stack.kept import Outside, outside

FORGET = "from classroom import web; web.forget()"
OURS, ANOTHERS, CELERYS = "batch:pair:1:5", "bob:batch:pair:1:5", "celery-task-meta-7"


def left_by(stack: Outside, **extra: str) -> set[str]:
    """Return which keys are there after a notebook has had the cache emptied."""
    with closing(redis.Redis.from_url(stack.url, decode_responses=True)) as server:
        for key in (OURS, ANOTHERS, CELERYS):
            server.set(key, "kept")
        run = stack.run(FORGET, **extra)
        assert run.returncode == 0, run.stderr
        return {key for key in (OURS, ANOTHERS, CELERYS) if server.exists(key)}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    with outside(tmp_path_factory.mktemp("kept"), "one") as stack:
        yield stack


def test_where_a_keeper_listens_to_us_the_cache_is_emptied_as_on_our_own_stack(kept: Outside) -> None:
    assert left_by(kept) == {ANOTHERS, CELERYS}


def test_a_keeper_that_listens_to_another_prefix_is_not_ours(kept: Outside) -> None:
    assert left_by(kept, CELERY_KEY_PREFIX="bob") == {OURS, ANOTHERS, CELERYS}


@pytest.mark.long
def test_on_a_broker_that_is_somebody_elses_nothing_is_touched(tmp_path: Path) -> None:
    with outside(tmp_path) as stack:
        assert left_by(stack) == {OURS, ANOTHERS, CELERYS}

"""A broker or a backend that is gone, or says nothing: a calm answer at once, and all is well when it is back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.batch_api.serving import Api, Server, serving
from tests.stack.processes import another_worker, eventually

AT_ONCE = 2.0  # seconds


class Two:
    """A broker, a result backend, and a service that uses them."""

    def __init__(self, folder: Path) -> None:
        for name in ("broker", "backend"):
            (folder / name).mkdir()
        self.broker, self.backend = Server(folder / "broker"), Server(folder / "backend")
        self.api: Api

    @property
    def environment(self) -> dict[str, str]:
        return {"CELERY_BROKER_URL": self.broker.url, "CELERY_RESULT_BACKEND": self.backend.url}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """The service is started when there is neither a broker nor a backend, and then finds them."""
    both = Two(tmp_path_factory.mktemp("two"))
    for server in (both.broker, both.backend):
        server.start()
        server.stop()
    try:
        with serving(BATCH_REQUESTS="10000 per second", **both.environment) as both.api:
            refused(both.api, "result backend")
            both.backend.start()
            refused(both.api, "broker")
            both.broker.start()
            accepted(both.api)
            yield both
    finally:
        both.broker.stop()
        both.backend.stop()


number = 0


def batch() -> dict[str, Any]:
    global number
    number += 1
    return {"tasks": [{"paramA": number, "paramB": place} for place in range(10)]}


def refused(api: Api, what: str) -> None:
    """Expect that a new batch and the health say at once what is missing."""
    for answer in (api.post(batch()), api.get("/health")):
        assert answer.status == 503, answer
        assert answer.seconds < AT_ONCE, answer
        assert answer.problem()["detail"] == f"the {what} does not answer"
        assert int(answer.headers["retry-after"]) >= 1


def accepted(api: Api) -> str:
    """Expect that a new batch is taken at the first try, and return where to ask for it."""
    answer = api.post(batch())
    assert answer.status == 202, answer
    assert api.get("/health").status == 200
    return answer.headers["location"]


def test_a_backend_that_is_gone(two: Two) -> None:
    location = accepted(two.api)
    two.backend.stop()
    refused(two.api, "result backend")
    answer = two.api.get(location)
    assert (answer.status, answer.seconds < AT_ONCE) == (503, True)
    two.backend.start()
    accepted(two.api)


def test_a_broker_that_is_gone(two: Two) -> None:
    location = accepted(two.api)
    two.broker.stop()
    refused(two.api, "broker")
    answer = two.api.get(location)
    assert (answer.status, answer.seconds < AT_ONCE) == (200, True), "how far a batch is can be told without a broker"
    two.broker.start()
    accepted(two.api)


@pytest.mark.parametrize("what", ["broker", "backend"])
def test_one_that_is_there_and_says_nothing(two: Two, what: str) -> None:
    accepted(two.api)
    server: Server = getattr(two, what)
    server.freeze()
    try:
        refused(two.api, "broker" if what == "broker" else "result backend")
    finally:
        server.thaw()
    accepted(two.api)


def test_a_batch_that_was_refused_in_the_middle_is_whole_at_the_next_try(two: Two) -> None:
    wanted = batch()
    two.broker.stop()
    assert two.api.post(wanted).status == 503
    two.broker.start()
    answer = two.api.post(wanted)
    assert answer.status == 202, answer
    assert answer.headers["cache-status"].endswith('sent 10"'), "what was claimed and not sent is sent now"
    with another_worker("tutorial_tasks.celery_app", "-c", "2", **two.environment):
        sums = [task["paramA"] + task["paramB"] for task in wanted["tasks"]]
        assert two.api.finish(answer.headers["location"])["results"] == sums


def test_pages_that_need_neither_are_there_all_the_time(two: Two) -> None:
    two.backend.stop()
    two.broker.stop()
    try:
        for path in ("/openapi.json", "/swagger"):
            assert two.api.get(path).status == 200
        assert two.api.get("/nothing").status == 404
    finally:
        two.backend.start()
        two.broker.start()
    eventually(lambda: two.api.get("/health").status == 200, "both are found again")

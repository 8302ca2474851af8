"""What every test run has: a stack of its own for each xdist worker, and notebooks that are really compared."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from nbval.plugin import IPyNbCell
from xdist.scheduler import LoadFileScheduling

from classroom.stack.place import Place
from tests.notebooks.sockets import of_nbval
from tests.share import share_of
from tests.stack.rabbit import needs_rabbitmq

ROOT = Path(__file__).resolve().parents[1]
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")

# How fast a busy machine makes up its examples says nothing about what they prove.
settings.register_profile("course", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("course")

_state = Path(tempfile.mkdtemp(prefix=f"classroom-{WORKER}-"))
# `tests/docker` runs lessons on a stack in containers: then its addresses and the folders that it shares count, and nobody runs beside.
OUTSIDE = os.environ.get("CLASSROOM_TEST_OUTSIDE") == "1" and WORKER == "main"
_OF_A_STACK = (
    *("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "CELERY_KEY_PREFIX"),
    *("CLASSROOM_SERVER", "CLASSROOM_URL", "TASKSCOPE_MANAGEMENT_URL"),
)
if not OUTSIDE:
    for _name in _OF_A_STACK:
        os.environ.pop(_name, None)
    os.environ.update(CLASSROOM_MY_TASKS=str(_state), TUTORIAL_DATA_DIR=str(_state / "data"))
os.environ.update(
    CLASSROOM_STATE=str(_state / "stack"),
    CLASSROOM_GRACE="2",
    PYTHONPATH=str(ROOT),
    TASKSCOPE_STILLS="1",
    # A Redis that a busy machine lets wait is not one that is down. `tests/batch_api/test_down.py` holds the service to its promise.
    BATCH_PATIENCE="20",
    # IPython's history and Jupyter's runtime files are not the learner's.
    IPYTHONDIR=str(_state / "ipython"),
)

of_nbval()


class _ByFile(LoadFileScheduling):
    """A file's tests run in a row on one worker; only what would take longer than all the rest goes by lesson."""

    def _split_scope(self, nodeid: str) -> str:
        lesson = re.search(r"(exercises|disorder).*\[(\d\d)", nodeid)
        return f"{lesson[1]} {lesson[2]}" if lesson else str(super()._split_scope(nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByFile:
    """Give xdist our scheduler; its groups by mark don't work with pytest 9.2 (it writes `_nodeid`, which nobody reads any more)."""
    return _ByFile(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let CI run a share of what takes long: another one with each commit."""
    parser.addoption("--share", metavar="I/N", help="run only one of N shares of the tests, the I-th, counted from 0")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep the share that was asked for, of what the marks have left."""
    if share := session.config.getoption("--share"):
        session.items = share_of(session.items, share)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a cell that nbval would run without comparing anything; let what waits long begin early, and quick tests fill the end."""
    for item in items:
        if isinstance(item, IPyNbCell) and item.cell.source.strip() and item.cell.execution_count is None:
            raise pytest.UsageError(f"{item.nodeid} has no stored run, so nothing would be compared: make notebooks")
        if re.search(r"notebooks/14_|(exercises|disorder).*\[14", item.nodeid):
            item.add_marker(needs_rabbitmq)
    items.sort(key=lambda item: 2 if "/unit/" in item.nodeid else 0 if re.search("/(stack|browser)/", item.nodeid) else 1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell what a cell that failed wrote to stderr: nbval says only that it did."""
    report = yield
    if report.failed and isinstance(item, IPyNbCell):
        written = "".join(out.text for out in item.test_outputs or [] if out.get("name") == "stderr")
        if written:
            report.sections.append(("stderr of the cell", written))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End this worker's stack and remove what it left on disk."""
    if stack := Place.current().read():
        # The short way, which has to work too: the broker and the worker die with their supervisor.
        with contextlib.suppress(ProcessLookupError):
            os.kill(stack.supervisor, signal.SIGKILL)
    shutil.rmtree(_state, ignore_errors=True)


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    """What a test throws: a commit always gives it the same numbers, so that a failure comes back, and the next commit others."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    seed = os.environ.get("CLASSROOM_DICE", commit)
    print(f"CLASSROOM_DICE={seed}")
    return random.Random(f"{seed} {request.node.nodeid}")


@pytest.fixture(scope="session")
def app() -> Any:
    """The course's application, connected to this worker's stack."""
    from classroom import lab

    lab.connect()
    from tutorial_tasks.celery_app import app

    return app


@pytest.fixture(scope="module")
def fresh_stack(app: Any) -> Any:
    """The course's application on a broker that holds nothing of other tests, and a worker that has just started."""
    from classroom import lab

    lab.worker.kill()
    lab.broker.restart()
    lab.worker.start()
    return app

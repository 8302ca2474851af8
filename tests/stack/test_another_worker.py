"""A worker beside the course's: it hears from the first moment, says why it does not start, and leaves with the notebook."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

from classroom import lab
from classroom.cli import main
from classroom.errors import ClassroomError
from tests.stack.processes import ROOT, all_gone, eventually

START = "from classroom import lab; lab.connect(); worker = lab.another_worker('--queues', 'trial'); print(worker.pid, flush=True); input()"


@pytest.fixture(autouse=True)
def nothing_is_left(app: Any) -> Iterator[None]:
    yield
    me = psutil.Process()
    assert not [child for child in me.children() if "classroom.stack.quick_worker" in child.cmdline()]


@pytest.mark.parametrize("pool", ["prefork", *(pytest.param(pool, marks=pytest.mark.long) for pool in ("threads", "solo"))])
def test_it_hears_from_the_first_moment(app: Any, pool: str) -> None:
    with lab.another_worker("--queues", "trial", "--pool", pool) as worker:
        assert app.control.ping(["celery@another"], limit=1, timeout=5) == [{"celery@another": {"ok": "pong"}}]
        processes = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children()]
        assert repr(worker) == "another worker (it runs)"
    assert all_gone(processes)
    assert repr(worker) == "another worker (it has ended)"
    with pytest.raises(ClassroomError, match="has ended"):
        _ = worker.pid


@pytest.mark.long
def test_there_is_one_at_a_time() -> None:
    first = lab.another_worker("--queues", "trial", "--pool", "solo")
    with lab.another_worker("--queues", "trial", "--pool", "solo"):
        first.wait(timeout=1)


def test_one_that_does_not_start_says_why() -> None:
    with pytest.raises(ClassroomError, match=r"No such option.*--pol.*\n  next: .*python -m classroom logs another"):
        lab.another_worker("--pol", "threads")
    assert "No such option" in CliRunner().invoke(main, ["logs", "another"]).output


@pytest.mark.long
def test_who_waits_for_one_that_stays_is_told() -> None:
    with (
        lab.another_worker("--queues", "trial", "--pool", "solo") as worker,
        pytest.raises(ClassroomError, match="has not ended"),
    ):
        worker.wait(timeout=0.1)


def test_it_dies_with_the_notebook_however_that_ends(app: Any) -> None:
    notebook = subprocess.Popen([sys.executable, "-c", START], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert notebook.stdout
    head = psutil.Process(int(next(line for line in notebook.stdout if line.strip().isdigit())))
    processes = [head, *head.children()]
    assert len(processes) > 1
    os.kill(notebook.pid, signal.SIGKILL)
    notebook.communicate(timeout=10)
    eventually(lambda: all_gone(processes), "the other worker and its pool are gone")

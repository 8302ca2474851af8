"""What `lab` lets a lesson do to the worker and the broker."""

import os
import subprocess
import sys
from typing import Any

import pytest

from classroom import evidence, lab
from classroom.errors import ClassroomError
from classroom.stack import client
from classroom.stack.place import ROOT
from tutorial_tasks.arithmetic import add
from tutorial_tasks.lifecycle import Gate, wait_at_gate


@pytest.fixture(autouse=True)
def running_worker(app: Any) -> Any:
    lab.worker.start()
    yield
    lab.worker.start()


def worker_state() -> str:
    stack = client.current()
    assert stack
    return stack.worker


def test_stop_and_start() -> None:
    lab.worker.stop()
    assert worker_state() == "stopped"
    assert lab.worker.pool() == []
    result = add.delay(2, 3)
    assert [message["headers"]["id"] for message in lab.waiting()] == [result.id]
    lab.worker.start()
    assert worker_state() == "running"
    assert result.get(timeout=10) == 5


def test_what_a_stopped_worker_had_taken_is_in_the_queue_again(app: Any) -> None:
    lab.worker.pause()  # so that it cannot give back anything by itself
    held = [add.apply_async((n, n), countdown=600) for n in range(3)]
    lab.worker.resume()
    evidence.wait_until(lambda: len(evidence.unacknowledged(app)) == 3, 10, "the worker holds the three")
    lab.worker.kill()
    assert len(evidence.unacknowledged(app)) == 3
    lab.worker.stop()
    assert evidence.unacknowledged(app) == []
    assert {message.id for message in evidence.waiting(app)} == {result.id for result in held}
    assert app.control.purge() == 3


@pytest.mark.long
def test_a_look_at_more_messages_than_usual_shows_them_all(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "_MANY", 2)
    held = [add.apply_async((n, n), countdown=600) for n in range(4)]
    evidence.wait_until(lambda: len(evidence.unacknowledged(app)) == len(held), 10, "the worker holds the four")
    lab.worker.stop()
    assert {message.id for message in evidence.waiting(app)} == {result.id for result in held}
    assert app.control.purge() == len(held)


@pytest.mark.long
def test_stopping_twice_and_starting_twice_change_nothing() -> None:
    lab.worker.stop()
    lab.worker.stop()
    lab.worker.start()
    pool = lab.worker.pool()
    lab.worker.start()
    assert lab.worker.pool() == pool


def test_pause_and_resume() -> None:
    lab.worker.pause()
    result = add.delay(2, 3)
    with pytest.raises(Exception, match="timed out"):
        result.get(timeout=0.5)
    assert worker_state() == "paused"
    lab.worker.resume()
    assert result.get(timeout=10) == 5


def test_kill_leaves_the_worker_dead_until_it_is_started() -> None:
    before = lab.worker.pool()
    lab.worker.kill()
    assert worker_state() == "stopped"
    lab.worker.start()
    assert not set(before) & set(lab.worker.pool())
    assert add.delay(2, 3).get(timeout=10) == 5


def test_killing_the_pool_process_that_works_loses_its_task_and_the_pool_is_whole_again(app: Any) -> None:
    gate = Gate("controls")
    gate.close()
    result = wait_at_gate.delay("controls", 20)
    kept = evidence.wait_until(
        lambda: (m := evidence.stored(app, result.id)) and m["status"] == "STARTED" and m, 10, "the task has started"
    )
    pid = kept["result"]["pid"]
    assert pid in lab.worker.pool()
    lab.worker.kill_pool_process(pid)
    with pytest.raises(Exception, match="SIGKILL"):
        result.get(timeout=10)
    evidence.wait_until(lambda: len(lab.worker.pool()) == 2 and pid not in lab.worker.pool(), 10, "the pool is whole")
    assert add.delay(2, 3).get(timeout=10) == 5


def test_a_process_that_is_not_of_the_pool_is_not_killed() -> None:
    with pytest.raises(ClassroomError, match="not a process of the pool"):
        lab.worker.kill_pool_process(1)


def test_restarting_the_broker_empties_it_and_the_worker_finds_it_again(app: Any) -> None:
    lab.worker.stop()
    add.delay(2, 3)
    lab.broker.restart()
    assert lab.waiting() == []
    lab.worker.start()
    assert add.delay(2, 3).get(timeout=10) == 5
    lab.broker.restart()  # under a worker that runs
    assert add.delay(20, 3).get(timeout=20) == 23


def test_connect_brings_back_a_worker_that_a_cell_stopped_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    lab.worker.stop()
    lab.connect()
    assert "(it was stopped, it runs again)" in capsys.readouterr().out
    assert worker_state() == "running"


def test_controls_without_a_worker_say_what_to_type() -> None:
    lab.worker.stop()
    for control in (lab.worker.pause, lab.worker.resume, lab.worker.kill_pool_process):
        with pytest.raises(ClassroomError, match=r"the worker does not run\n  next: lab.worker.start\(\)"):
            control()


def test_a_stop_right_after_sending_loses_nothing() -> None:
    for _ in range(3):
        results = [add.delay(n, n) for n in range(8)]
        lab.worker.stop()
        lab.worker.start()
        assert [result.get(timeout=10) for result in results] == [2 * n for n in range(8)]


def test_after_connect_two_threads_may_use_a_task_for_the_first_time_at_once() -> None:
    code = (
        "from classroom import lab\nlab.connect()\nfrom tests.first_use import at_once\n"
        "from tutorial_tasks.arithmetic import add\nat_once(lambda: add.delay(2, 3))\nprint('both')\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert run.stdout.splitlines()[-1] == "both", run.stderr


@pytest.mark.long
def test_celery_used_before_connect_works_after_it() -> None:
    code = (
        "import contextlib\nfrom tutorial_tasks.arithmetic import add\n"
        "with contextlib.suppress(Exception):\n    add.delay(1, 1)\n"
        "from classroom import lab\nlab.connect()\nprint(add.delay(2, 3).get(timeout=20))\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("CELERY_") and name != "CLASSROOM_URL"}
    run = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert run.stdout.splitlines()[-1] == "5", run.stderr

"""A keeper's worker does in a lesson's hands what a supervisor's does; here without containers, as plain processes."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import redis

from classroom.stack.keeping import Meeting
from tests.stack.kept import Outside, outside
from tests.stack.processes import CONNECT, all_gone, another_worker, eventually, is_gone, until_well

ADD = CONNECT + "; from tutorial_tasks.arithmetic import add; print(add.delay(2, 3).get(timeout=10))"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    """One Redis with one keeper, for all tests that leave it in one piece."""
    with outside(tmp_path_factory.mktemp("kept"), "one") as one:
        yield one


def said(stack: Outside, source: str, **extra: str) -> list[str]:
    run = stack.run(source, **extra)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout.splitlines()


def test_connect_says_what_it_says_of_our_own_stack(stack: Outside) -> None:
    connected, five = said(stack, ADD)
    assert connected.startswith(
        f"Connected: redis://***@127.0.0.1:{stack.port}/0 (from CELERY_BROKER_URL) · worker celery@lab, 2 processes, "
    )
    assert five == "5"


def test_everything_that_a_lesson_does_to_a_worker(stack: Outside) -> None:
    source = """
from classroom import lab
from classroom.stack import workers
from tutorial_tasks.arithmetic import add
lab.connect()
before = lab.worker.pool()
print(len(before))
lab.worker.stop()
print(workers.state(), lab.worker.pool())
result = add.delay(2, 3)
print([message["headers"]["id"] == result.id for message in lab.waiting()])
lab.worker.start()
print(workers.state(), result.get(timeout=10), set(before) & set(lab.worker.pool()))
lab.worker.pause()
print(workers.state())
lab.worker.resume()
first, second = lab.worker.pool()
lab.worker.kill_pool_process(second)
while second in lab.worker.pool():
    pass
print(first in lab.worker.pool())
try:
    lab.worker.kill_pool_process(1)
except Exception as error:
    print(error)
lab.worker.kill()
print(workers.state())
try:
    lab.worker.pause()
except Exception as error:
    print(error)
try:
    lab.broker.restart()
except Exception as error:
    print(error)
lab.connect()
"""
    lines = said(stack, source)
    assert lines[1:7] == ["2", "stopped []", "[True]", "running 5 set()", "paused", "True"]
    assert lines[7].startswith("celery@lab: 1 is not a process of the pool, these are: [")
    assert lines[9] == "stopped"
    assert lines[10:12] == ["celery@lab: the worker does not run", "  next: lab.worker.start()"]
    assert lines[12] == "the broker belongs to somebody else (CELERY_BROKER_URL)"
    assert lines[14].endswith("tasks (it was stopped, it runs again)")


@pytest.mark.long
def test_own_tasks_reach_the_worker_through_the_folder_that_both_see(stack: Outside) -> None:
    source = """
from classroom import lab
lab.connect()
CODE = "from tutorial_tasks.celery_app import app\\n@app.task\\ndef triple(x): return 3 * x\\n"
print(lab.my_tasks(CODE).triple.delay(2).get(timeout=10))
try:
    lab.my_tasks(CODE + "\\nimport sys\\nif 'classroom.stack.worker_side' in sys.modules: raise ValueError('only there')\\n")
except Exception as error:
    print(error)
import my_tasks
print(my_tasks.triple.delay(3).get(timeout=10))
"""
    try:
        lines = said(stack, source)
        assert lines[1] == "my_tasks.py written; the worker was restarted and knows my_tasks.triple"
        assert lines[2] == "6"
        assert lines[3].startswith("celery@lab: the worker did not start: ValueError: only there")
        assert lines[4] == "my_tasks.py is as it was before, and the worker runs again."
        assert lines[-1] == "9"
    finally:
        (stack.folder / "my_tasks.py").unlink()
    assert "(restarted, because the task code was edited)" in said(stack, CONNECT)[0], "its tasks went with the file"


def test_a_folder_that_the_worker_does_not_see_is_named(stack: Outside, tmp_path: Path) -> None:
    (tmp_path / "my_tasks.py").write_text("# nothing\n")
    run = stack.run(CONNECT, CLASSROOM_MY_TASKS=str(tmp_path))
    assert run.returncode == 1
    assert f"celery@lab reads another my_tasks.py than {tmp_path}/my_tasks.py\n  next: make docker-up" in run.stderr


def test_a_stale_image_is_named(stack: Outside) -> None:
    with closing(Meeting(stack.url, "")) as meeting:
        key, worker = meeting.key("keeper", "stale"), stack.worker("one")
        meeting.redis.set(key, worker.as_json().replace(worker.course, "another").replace('"id": "one"', '"id": "stale"'))
        meeting.redis.sadd(meeting.key("keepers"), "stale")
        try:
            for command in (stack.run(CONNECT), stack.client.command("doctor", **stack.addresses)):
                assert command.returncode == 1
                words = "celery@lab runs in a stale image, whose tutorial_tasks is not this checkout's\n  next: make docker-up"
                assert words in command.stdout + command.stderr
        finally:
            meeting.redis.delete(key)


def test_the_doctor_finds_nothing_wrong(stack: Outside) -> None:
    doctor = until_well(lambda: stack.client.command("doctor", **stack.addresses))
    assert doctor.returncode == 0, doctor.stdout
    assert f"✔ stack: celery@lab on {socket.gethostname()}, with the tasks of this checkout" in doctor.stdout


@pytest.mark.long
def test_the_names_of_containers_are_unknown_on_the_host(stack: Outside) -> None:
    address = "redis://:x@broker:6379/0"
    doctor = stack.client.command("doctor", **stack.addresses | {"CELERY_BROKER_URL": address})
    assert doctor.returncode == 1
    assert "known inside containers only; from here it is 127.0.0.1 with the port that make docker-up prints" in doctor.stdout


def test_a_worker_that_dies_comes_back(stack: Outside) -> None:
    before = stack.worker("one")
    assert before.pid
    os.kill(before.pid, signal.SIGKILL)
    eventually(lambda: stack.worker("one").pid not in (None, before.pid) and stack.worker("one").state == "running", "there is another")
    assert said(stack, ADD)[-1] == "5"


def test_whose_a_task_from_another_host_is(stack: Outside) -> None:
    source = """
from celery.utils import nodenames
from classroom.leftovers import is_somebody_s
from classroom.stack.presence import Elsewhere, announce
from classroom.stack.keeping import Meeting
nodenames.gethostname = lambda: "notebook-container"
there = nodenames.anon_nodename()
announce()
meeting = Meeting.of_the_backend()
meeting.redis.sadd(meeting.key("senders"), "gen7@gone")
meeting.redis.sadd(meeting.key("hosts"), "worker-container")
judge = Elsewhere().may_live
for origin in (there, "gen7@gone", "gen8@web-service", "gen9@worker-container", None):
    print(is_somebody_s(origin, set(), judge))
"""
    assert said(stack, source) == ["True", "False", "True", "False", "False"]


@pytest.mark.long
def test_what_a_notebook_left_is_cleared_away_and_what_one_has_is_told(stack: Outside) -> None:
    leave = "; from tutorial_tasks.arithmetic import add; add.apply_async((2, 2), countdown=600)"
    said(stack, CONNECT + leave)
    assert said(stack, CONNECT)[1] == "Cleared away what an earlier run had left: 1 × add"
    holder = stack.client.start("-c", CONNECT + leave + "; print('sent', flush=True); input()", **stack.addresses)
    assert holder.stdout
    assert [holder.stdout.readline(), holder.stdout.readline()][1] == "sent\n"
    assert said(stack, CONNECT)[1].startswith("Another open notebook has tasks here, and this lesson will meet them: 1 × add")
    holder.communicate("\n", timeout=60)
    assert said(stack, CONNECT)[1] == "Cleared away what an earlier run had left: 1 × add"


@pytest.mark.long
def test_a_redis_that_comes_back_empty_finds_its_keeper_again(stack: Outside) -> None:
    wait = ADD + "; input(); lab.connect(); print(add.delay(20, 3).get(timeout=10))"
    notebook = stack.client.start("-c", wait, **stack.addresses)
    assert notebook.stdout
    assert [notebook.stdout.readline(), notebook.stdout.readline()][1] == "5\n"
    stack.stop_server()
    stack.start_server()
    eventually(lambda: stack.worker("one").state == "running", "the keeper is there again")
    print("back", file=notebook.stdin, flush=True)
    assert notebook.communicate(timeout=60)[0].splitlines()[-1] == "23", "an open notebook finds it too"
    assert stack.worker("one").node == "celery@lab"


def test_a_killed_keeper_takes_its_worker_along_and_comes_back_under_its_name(stack: Outside) -> None:
    worker = stack.worker("one")
    processes = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children()]
    stack.keepers["one"].kill()
    stack.keepers["one"].wait(20)
    eventually(lambda: all_gone(processes), "its worker is gone")
    waiting = stack.client.start("-c", ADD, **stack.addresses)  # asks while nobody is there to hear
    stack.start_keeper("one")
    assert waiting.communicate(timeout=60)[0].splitlines()[1] == "5"
    assert stack.worker("one").node == "celery@lab"


@pytest.mark.long
def test_three_workers_are_stopped_and_started_as_one_and_have_names_of_their_own(stack: Outside) -> None:
    for name in ("two", "three"):
        stack.start_keeper(name)
    assert [worker.node for worker in stack.workers()] == ["celery@lab", "celery@lab-2", "celery@lab-3"]
    source = """
from classroom import lab
from classroom.stack import workers
lab.connect()
pools = lab.worker.pool()
print(len(set(pools)))
lab.worker.kill_pool_process(pools[-1])
lab.worker.stop()
print([worker.state for worker in workers.found()])
from tutorial_tasks.arithmetic import add
results = [add.delay(n, n) for n in range(9)]
print(len(lab.waiting()))
lab.worker.start()
print([result.get(timeout=10) for result in results], [worker.state for worker in workers.found()])
"""
    lines = said(stack, source)
    assert "· worker celery@lab and 2 more, 6 processes, " in lines[0]
    assert lines[1:] == ["6", "['stopped', 'stopped', 'stopped']", "9", f"{[2 * n for n in range(9)]} {['running'] * 3}"]
    for name in ("two", "three"):
        stack.keepers[name].terminate()
        stack.keepers[name].wait(20)
    assert [worker.node for worker in stack.workers()] == ["celery@lab"]


def test_two_projects_on_one_queue_are_named(stack: Outside) -> None:
    addresses = {"CELERY_BROKER_URL": stack.url, "CELERY_RESULT_BACKEND": stack.url}
    with another_worker("tests.stack.quiet", "-n", "other@there", "-P", "solo", "-Q", "celery", **addresses):
        # A worker says "ready" before it hears questions, and a busy one answers late: the doctor does not wait for strangers.
        told = "other@there reads our queues and has none of our tasks: another project is on this broker"
        doctor = eventually(lambda: told in (run := stack.client.command("doctor", **stack.addresses)).stdout and run, "it is found")
    assert doctor.returncode == 1


@pytest.mark.long
def test_prefixes_keep_two_classes_apart(stack: Outside) -> None:
    before = stack.worker("one").pid
    alice = {"CELERY_KEY_PREFIX": "alice"}
    run = stack.run(CONNECT, **alice)
    assert "no worker answers" in run.stderr, "the other class's keeper is not hers"
    assert stack.worker("one").pid == before


@pytest.mark.long
def test_keys_have_one_prefix_and_go_with_the_keeper(tmp_path: Path) -> None:
    with outside(tmp_path, "one") as stack, closing(redis.Redis.from_url(stack.url, decode_responses=True)) as client:
        ours = sorted(str(key) for key in client.keys("classroom:*"))
        assert ours == ["classroom:hosts", "classroom:keeper:one", "classroom:keepers", "classroom:node:celery@lab"]
        assert {client.type(key) for key in ours} == {"string", "set"}, "a list would look like a queue"
        stack.keepers["one"].terminate()
        assert stack.keepers["one"].wait(20) == 0
        assert client.keys("classroom:*") == ["classroom:hosts"]


@pytest.mark.long
def test_task_code_that_cannot_be_imported_is_named_and_can_be_mended(tmp_path: Path) -> None:
    (tmp_path / "my_tasks.py").write_text("def\n")
    with outside(tmp_path, "one") as stack:
        assert stack.worker("one").state == "failed"
        run = stack.run(CONNECT)
        assert "celery@lab: the worker did not start: SyntaxError: invalid syntax (" in run.stderr
        assert "mend my_tasks.py, or remove it" in run.stderr
        (tmp_path / "my_tasks.py").unlink()
        assert said(stack, ADD)[-1] == "5"
        worker = stack.worker("one")
        assert worker.pid
        process = psutil.Process(worker.pid)
        stack.keepers["one"].terminate()
        assert stack.keepers["one"].wait(20) == 0
        assert is_gone(process)

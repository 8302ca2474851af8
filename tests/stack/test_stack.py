"""One stack for a checkout, whoever starts it, and nothing left of it, whoever is killed."""

import json
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from classroom.stack.place import Place, Stack
from tests.stack.processes import CONNECT, PATIENCE, ROOT, Checkout, all_gone, copy_of_the_checkout, eventually, until_well

ADD = CONNECT + "; from tutorial_tasks.arithmetic import add; print(add.delay(2, 3).get(timeout=10))"


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """This checkout, with a stack of the test's own that is down afterwards."""
    here = Checkout(ROOT, tmp_path / "state with a space")
    yield here
    stack = Place(here.state).read()
    here.command("down")
    if stack:
        eventually(lambda: not psutil.pid_exists(stack.supervisor), "the test's stack is gone")


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(10)
    for pipe in (process.stdin, process.stdout):
        if pipe:
            pipe.close()


def another_worker_than(checkout: Checkout, pid: int) -> bool:
    return checkout.stack().worker_pid != pid


@pytest.mark.long
def test_five_cold_starts_at_once_give_one_stack(checkout: Checkout) -> None:
    # All stay until the last one has told: on a busy machine the first would have left, and the stack with it.
    tell = "; from classroom.stack import client; print(client.current().supervisor, flush=True); input()"
    starts = [checkout.start("-c", CONNECT + tell) for _ in range(5)]
    said = [[start.stdout.readline() for _ in range(2)] for start in starts if start.stdout]
    for start in starts:
        start.communicate("\n", timeout=60)
    supervisors = {supervisor for _, supervisor in said}
    assert len(supervisors) == 1, said
    assert supervisors.pop().strip().isdigit()


def test_the_stack_leaves_when_its_last_user_is_killed(checkout: Checkout) -> None:
    first, second = checkout.hold(), checkout.hold()
    processes = checkout.processes()
    assert len(processes) == 5
    kill(first)
    time.sleep(checkout.grace + 1)  # long enough for a stack that wrongly left
    assert not any(process.status() == psutil.STATUS_ZOMBIE for process in processes)
    kill(second)
    eventually(lambda: all_gone(processes), "every process is gone")
    assert not checkout.state.joinpath("stack.json").exists()
    assert checkout.run("-c", ADD).stdout.endswith("\n5\n")


def test_a_killed_supervisor_takes_everything_with_it(checkout: Checkout) -> None:
    holder = checkout.hold()
    before = checkout.stack()
    processes = checkout.processes()
    os.kill(before.supervisor, signal.SIGKILL)
    eventually(lambda: all_gone(processes), "every process is gone")
    assert checkout.command("status").returncode == 1
    assert checkout.run("-c", ADD).stdout.endswith("\n5\n")
    assert checkout.stack().url == before.url, "an open notebook has to find the next broker where the last one was"
    kill(holder)


@pytest.mark.long
def test_a_killed_supervisor_takes_a_paused_worker_with_it(checkout: Checkout) -> None:
    holder = checkout.hold()
    processes = checkout.processes()
    assert checkout.run("-c", CONNECT + "; lab.worker.pause()").returncode == 0
    worker = psutil.Process(checkout.stack().worker_pid)
    eventually(lambda: worker.status() == psutil.STATUS_STOPPED, "the worker is paused")
    os.kill(checkout.stack().supervisor, signal.SIGKILL)
    eventually(lambda: all_gone(processes), "every process is gone")
    kill(holder)


def test_a_worker_that_dies_comes_back_and_leaves_no_pool_behind(checkout: Checkout) -> None:
    holder = checkout.hold()
    before = checkout.stack()
    assert before.worker_pid
    pool = psutil.Process(before.worker_pid).children()
    assert len(pool) == 2
    os.kill(before.worker_pid, signal.SIGKILL)
    eventually(lambda: checkout.stack().worker_pid not in (None, before.worker_pid), "there is another worker")
    eventually(lambda: all_gone(pool), "its pool is gone")
    assert checkout.run("-c", ADD).stdout.endswith("\n5\n")
    kill(holder)


@pytest.mark.long
def test_a_worker_that_keeps_dying_is_given_up_until_somebody_asks_for_it(checkout: Checkout) -> None:
    holder = checkout.hold()
    begun, deaths = time.monotonic(), 0

    def settled() -> Stack | None:
        now = checkout.stack()
        return now if now.worker in ("running", "failed") else None

    while (stack := eventually(settled, "there is a worker, or the supervisor has given up")).worker == "running":
        os.kill(stack.worker_pid, signal.SIGKILL)
        eventually(partial(another_worker_than, checkout, stack.worker_pid), "the supervisor has noticed")
        deaths += 1
        assert deaths < 20
    # Of six deaths that take a busy machine longer than a minute, not all count.
    assert deaths == 6 or (deaths > 6 and time.monotonic() - begun > 60)
    assert checkout.stack().trouble == "it keeps dying"
    assert checkout.command("doctor").returncode == 1
    assert checkout.run("-c", ADD).stdout.endswith("\n5\n"), "connect() is such a request"
    kill(holder)


def test_a_broker_that_dies_comes_back_where_it_was(checkout: Checkout) -> None:
    holder = checkout.hold()
    before = checkout.stack()
    os.kill(before.broker_pid, signal.SIGKILL)
    eventually(lambda: checkout.stack().broker_pid != before.broker_pid, "there is another broker")
    assert checkout.stack().url == before.url
    assert checkout.run("-c", ADD).stdout.endswith("\n5\n")
    kill(holder)


@pytest.mark.long
def test_task_code_that_cannot_be_imported_is_named_and_can_be_mended(tmp_path: Path) -> None:
    checkout = copy_of_the_checkout(tmp_path / "checkout")
    tasks = checkout.root / "tutorial_tasks" / "arithmetic.py"
    healthy = tasks.read_text()
    tasks.write_text(healthy + "\ndef\n")
    broken = checkout.run("-c", CONNECT)
    assert broken.returncode == 1
    line = len(healthy.splitlines()) + 2
    assert f"the worker did not start: SyntaxError: invalid syntax (tutorial_tasks/arithmetic.py, line {line})" in broken.stderr
    assert "python -m classroom logs" in broken.stderr
    assert checkout.command("doctor").returncode == 1
    tasks.write_text(healthy)
    mended = checkout.run("-c", ADD)
    assert mended.stdout.endswith("\n5\n"), mended.stdout + mended.stderr
    assert checkout.command("down").returncode == 0


@pytest.mark.long
def test_two_checkouts_live_side_by_side(checkout: Checkout, tmp_path: Path) -> None:
    other = copy_of_the_checkout(tmp_path / "another checkout", grace=20)
    assert other.run("-c", ADD, CLASSROOM_STATE="").stdout.endswith("\n5\n")
    other_holder = other.hold()
    holder = checkout.hold()
    assert other.stack().supervisor != checkout.stack().supervisor
    assert other.stack().port != checkout.stack().port
    assert other.stack().url.split("@")[0] != checkout.stack().url.split("@")[0]
    assert other.command("down", CLASSROOM_STATE="").stdout == "Stopped.\n"
    assert checkout.run("-c", ADD).stdout.endswith("\n5\n")
    kill(holder)
    kill(other_holder)


@pytest.mark.parametrize(
    "rest", ["{", "names a stranger", *(pytest.param(rest, marks=pytest.mark.long) for rest in ("", "[]", '{"url": 1}'))]
)
def test_a_stale_description_is_no_obstacle(checkout: Checkout, rest: str) -> None:
    checkout.state.mkdir()
    stranger = subprocess.Popen(["sleep", "60"])
    if rest == "names a stranger":
        pids = {"supervisor": stranger.pid, "broker_pid": stranger.pid, "worker_pid": stranger.pid}
        rest = json.dumps(
            {"url": "redis://:x@127.0.0.1:1/0", "server": "", "worker": "running", "control_port": 1, "control_token": ""} | pids
        )
    checkout.state.joinpath("stack.json").write_text(rest)
    checkout.state.joinpath("identity.json").write_text(rest)
    try:
        assert checkout.run("-c", ADD).stdout.endswith("\n5\n")
        assert stranger.poll() is None, "a process that only has a number of ours must not be killed"
    finally:
        stranger.kill()
        stranger.wait(20)


@pytest.mark.long
def test_a_port_that_somebody_took_meanwhile_is_left_to_them(checkout: Checkout) -> None:
    first = checkout.hold()
    port = checkout.stack().port
    checkout.command("down")
    kill(first)
    with socket.create_server(("127.0.0.1", port)):
        holder = checkout.hold()
        assert checkout.stack().port != port
        assert checkout.run("-c", ADD).stdout.endswith("\n5\n")
        kill(holder)


def test_an_open_notebook_works_on_after_down(checkout: Checkout) -> None:
    down_and_up = """
from classroom.stack import client
from tutorial_tasks.celery_app import app
before = app.backend
client.down()
lab.connect()
print(add.delay(20, 3).get(timeout=30), app.backend is before)
"""
    run = checkout.run("-c", ADD + down_and_up)
    assert run.stdout.splitlines()[1::2] == ["5", "23 False"], run.stdout + run.stderr


@pytest.mark.long
def test_an_open_notebook_whose_broker_had_to_move_is_told_to_restart(checkout: Checkout) -> None:
    move = """
import socket
from classroom.stack import client
port = client.current().port
client.down()
with socket.create_server(("127.0.0.1", port)):
    lab.connect()
"""
    run = checkout.run("-c", CONNECT + move)
    assert "the broker has moved to another address\n  next: restart this kernel" in run.stderr, run.stdout + run.stderr


def test_nobody_is_let_in(checkout: Checkout) -> None:
    holder = checkout.hold()
    stack = checkout.stack()
    password = stack.url.split(":")[2].split("@")[0]
    assert len(password) >= 24
    with socket.create_connection(("127.0.0.1", stack.port), PATIENCE) as stranger:
        stranger.sendall(b"KEYS *\r\n")
        assert stranger.recv(100).startswith(b"-NOAUTH")
    for process in checkout.processes():
        assert password not in " ".join(process.cmdline())
        assert {c.laddr.ip for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN} <= {"127.0.0.1"}
    assert stat.S_IMODE(checkout.state.stat().st_mode) == 0o700
    for name in ("stack.json", "identity.json"):
        assert stat.S_IMODE(checkout.state.joinpath(name).stat().st_mode) == 0o600
    assert password not in checkout.state.joinpath("worker.log").read_text()
    with socket.create_connection(("127.0.0.1", stack.control_port), PATIENCE) as stranger, stranger.makefile("rw") as line:
        line.write('{"token": "guessed", "do": "down"}\n')
        line.flush()
        assert line.read() == ""
    assert checkout.command("status").returncode == 0
    kill(holder)


@pytest.mark.long
def test_a_silent_visitor_does_not_block_the_supervisor(checkout: Checkout) -> None:
    holder = checkout.hold()
    with socket.create_connection(("127.0.0.1", checkout.stack().control_port), 2):
        for _ in range(5):  # the promise is the supervisor's, not a busy machine's
            begun = time.monotonic()
            assert checkout.run("-c", CONNECT + "; lab.worker.pause(); lab.worker.resume()").returncode == 0
            if (took := time.monotonic() - begun) < 10:
                break
        assert took < 10
    kill(holder)


def test_the_command_line_in_a_row(checkout: Checkout) -> None:
    assert checkout.command("status").returncode == 1
    assert checkout.command("down").stdout == "Nothing runs here.\n"
    up = checkout.command("up")
    assert up.returncode == 0
    assert "worker running" in up.stdout
    time.sleep(checkout.grace + 1)  # nobody holds a lease: it has to stay all the same
    assert checkout.command("status").stdout == up.stdout
    assert "celery@lab ready." in checkout.command("logs").stdout
    assert len(checkout.command("logs", "broker", "-n", "2").stdout.splitlines()) == 2
    doctor = until_well(lambda: checkout.command("doctor"))
    assert doctor.returncode == 0
    assert "✖" not in doctor.stdout
    assert "round trip: add(2, 2) came back as 4" in doctor.stdout
    processes = checkout.processes()
    assert checkout.command("down").stdout == "Stopped.\n"
    eventually(lambda: all_gone(processes), "every process is gone")
    assert checkout.command("status").returncode == 1

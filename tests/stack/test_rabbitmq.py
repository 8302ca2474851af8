"""A stack whose broker is RabbitMQ: the same lessons, and nothing left behind, whatever is killed."""

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from amqp.exceptions import AccessRefused
from kombu.connection import Connection

from classroom.stack.place import Place
from tests.stack.processes import CONNECT, ROOT, Checkout, all_gone, eventually, until_well
from tests.stack.rabbit import needs_rabbitmq

pytestmark = [needs_rabbitmq, pytest.mark.long]

LESSONS = [f"{number:02}" for number in range(10)]
ERLANG = {"beam.smp", "epmd", "erl_child_setup", "inet_gethost"}

ADD = CONNECT + "; from tutorial_tasks.arithmetic import add; print(add.delay(2, 3).get(timeout=10))"

# What looks into the broker; printed on both brokers, it has to be the same.
LOOK = """
from classroom import lab, evidence
lab.connect()
from tutorial_tasks.arithmetic import add
from tutorial_tasks.celery_app import app
def calls(messages):
    return [message["headers"]["argsrepr"] for message in messages]
lab.worker.stop()
for n in range(3):
    add.delay(n, n)
lost = add.apply_async((7, 7), queue="nobody reads this", priority=3)
first, second = calls(lab.waiting()), calls(lab.waiting())
print(first, second, calls(lab.waiting("nobody reads this")), lab.waiting("there is no such queue"))
message, = evidence.waiting(app, "nobody reads this")
print(message.id == lost.id, message.priority, message.args, message.label, sorted(message.envelope))
evidence.move(app, message, "slow")
print(calls(lab.waiting("nobody reads this")), calls(lab.waiting("slow")))
evidence.discard(app, evidence.waiting(app)[1])
print(calls(lab.waiting()), len(evidence.waiting_anywhere(app)))
lab.worker.start()
print(lost.get(timeout=10), lab.waiting())
held = add.apply_async((5, 5), countdown=600)
evidence.wait_until(lambda: calls(lab.unacknowledged()) == ["(5, 5)"], 20, "the worker holds it")
print(lab.waiting(), calls(lab.unacknowledged()))
lab.worker.kill()
evidence.give_back(app)
print(calls(lab.waiting()), lab.unacknowledged(), app.control.purge())
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """This checkout, with a stack on RabbitMQ of the test's own that is down afterwards."""
    here = OnRabbitMQ(ROOT, tmp_path / "state with a space")
    yield here
    stack = Place(here.state).read()
    here.command("down")
    if stack:
        eventually(lambda: not psutil.pid_exists(stack.supervisor), "the test's stack is gone")


class OnRabbitMQ(Checkout):
    def environment(self, **extra: str) -> dict[str, str]:
        return super().environment(**{"CLASSROOM_BROKER": "rabbitmq"} | extra)


@pytest.mark.parametrize("victim", ["supervisor", "beam.smp", "epmd", "erl_child_setup"])
def test_whatever_is_killed_nothing_is_left(checkout: Checkout, victim: str) -> None:
    holder = checkout.hold()
    before, processes = checkout.stack(), checkout.processes()
    theirs = [process for process in processes if process.name() in ERLANG]
    assert {process.name() for process in theirs} == ERLANG
    if victim == "supervisor":
        os.kill(before.supervisor, signal.SIGKILL)
        eventually(lambda: all_gone(processes), "every process is gone")
    else:
        next(process for process in theirs if process.name() == victim).kill()
        eventually(lambda: all_gone(theirs), "what belonged to it is gone")
        eventually(lambda: checkout.stack().rabbitmq_pids != before.rabbitmq_pids, "there is another RabbitMQ")
    assert checkout.run("-c", ADD).stdout.endswith("\n5\n")
    assert checkout.stack().amqp == before.amqp, "an open notebook has to find the next broker where the last one was"
    processes = checkout.processes()
    holder.kill()
    holder.communicate(timeout=10)
    eventually(lambda: all_gone(processes), "every process is gone with the last user")


def test_it_listens_on_this_machine_only_and_knows_nobody_but_us(checkout: Checkout) -> None:
    holder = checkout.hold()
    stack = checkout.stack()
    listening = {
        connection.laddr.ip
        for process in checkout.processes()
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening <= {"127.0.0.1", "::1"}
    with pytest.raises(AccessRefused), Connection(re.sub("//.*@", "//guest:guest@", stack.amqp)) as stranger:
        stranger.connect()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{stack.management}/api/overview", timeout=5)
    for process in checkout.processes():
        assert stack.amqp.split(":")[2].split("@")[0] not in " ".join(process.cmdline())
    assert (checkout.state / "rabbitmq" / "rabbitmq.conf").stat().st_mode & 0o077 == 0
    other = checkout.command("up", CLASSROOM_BROKER="redis")
    assert other.returncode == 1
    assert "CLASSROOM_BROKER=redis, but the stack that runs in this checkout has another broker: RabbitMQ" in other.stderr
    assert "python -m classroom down" in other.stderr
    assert until_well(lambda: checkout.command("doctor")).returncode == 0
    holder.communicate("\n", timeout=60)


def test_what_looks_into_the_broker_sees_the_same_on_both(checkout: Checkout, tmp_path: Path) -> None:
    seen = [line for line in checkout.run("-c", LOOK).stdout.splitlines() if not line.startswith(("RabbitMQ starts", "Connected"))]
    redis = Checkout(ROOT, tmp_path / "redis")
    on_redis = redis.run("-c", LOOK)
    assert seen == [line for line in on_redis.stdout.splitlines() if not line.startswith("Connected")], on_redis.stderr
    assert seen[-1] == "['(5, 5)'] [] 1"


def pytest_on_rabbitmq(*argv: str) -> None:
    """Run tests of their own stack on RabbitMQ, and fail with the names of those that do."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "CLASSROOM_", "PYTEST_", "TASKSCOPE_"))}
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", *argv]
    own = kept | {"CLASSROOM_BROKER": "rabbitmq"}
    run = subprocess.run(command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=900, check=False)
    assert run.returncode == 0, run.stdout[-6000:]
    assert " passed" in run.stdout


# One node for all of them: its start takes longer than most lessons.
def test_the_lessons_are_the_same_on_rabbitmq() -> None:
    pytest_on_rabbitmq(*(str(notebook) for lesson in LESSONS for notebook in (ROOT / "notebooks").glob(f"{lesson}_*.ipynb")))


def test_their_exercises_are_judged_on_rabbitmq_too() -> None:
    # Of 12 the one that does not look for Redis' mark on a message.
    pytest_on_rabbitmq("tests/exercises", "-k", " or ".join([*(f"{lesson}." for lesson in LESSONS), "12.2"]))

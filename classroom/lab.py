"""What a notebook needs of the classroom: `connect()`, `predict()`, `bar()`, a look at the broker, and hands on the worker and the broker.

The first cell of every lesson:

    from classroom import lab
    lab.connect()
"""

import os
import socket
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from classroom import connections, doctor, evidence, hints, leftovers, questions, web
from classroom import my_tasks as own_tasks
from classroom import progress as exercises_passed
from classroom.another_worker import AnotherWorker as another_worker
from classroom.bar import Bar
from classroom.beside import rabbitmq
from classroom.errors import ClassroomError
from classroom.predictions import predict
from classroom.stack import client, presence, workers
from classroom.stack.place import Place
from classroom.stack.task_code import sources
from classroom.stack.worker_process import CONCURRENCY, QUEUES
from classroom.time_limit import not_counted

__all__ = [
    "another_worker",
    "api",
    "bar",
    "broker",
    "connect",
    "examine",
    "my_tasks",
    "predict",
    "progress",
    "rabbitmq",
    "unacknowledged",
    "until",
    "waiting",
    "worker",
]

FINISH_WITHIN = 5.0  # seconds that a worker which is about to stop may take for what it has

_connected_to: str | None = None


def connect() -> None:
    """Join the stack of this checkout, or start it, and print one line that says what was found.

    When `CELERY_BROKER_URL` is set to somebody else's broker, such as that of `make docker-up`, that one is used instead.
    A worker that an earlier cell stopped or paused runs again after this, and one that has old task code is restarted.
    What an earlier run has left in the worker and in the queues is cleared away, and a second line says what it was.
    Only a worker without a supervisor or a keeper is left as it is.

    Raises:
        ClassroomError: the broker, the backend, the worker or a task is missing; it names what to type.
    """
    global _connected_to
    if another_worker.latest:
        another_worker.latest.stop()  # an earlier run left it: it would answer in place of the lesson's worker
    ran = client.current() is not None
    if ours := not client.is_outside():
        client.use(client.join(tell=print))
    else:
        doctor.examine_settings()
    url = os.environ.get("CELERY_BROKER_URL", "")
    if _connected_to not in (None, url):
        raise ClassroomError("the broker has moved to another address", "restart this kernel: Kernel > Restart Kernel")
    # Redis says whether it is the one that we knew; somebody else's RabbitMQ may have been started again, and nothing tells.
    if presence.is_another_server() or _connected_to is None or (not ours and url.startswith("amqp")):
        connections.renew()
    lines = _embedded(ran) if ours else _outside()
    _connected_to = url
    _app().finalize()  # else Celery makes each task at its first use, and two threads of a lesson may not do so at once
    hints.install()
    own_tasks.install(my_tasks)
    print(lines)


def examine() -> None:
    """Print the doctor's report."""
    for finding in doctor.examine():
        print(finding)


def bar(total: int, count: Callable[[], int]) -> Bar:
    """Return a bar of so many of `total`; show it, and it grows with what `count` returns."""
    return Bar(total, count)


def api(**settings: str) -> str:
    """Start the web service of `batch_api` with an empty cache, and return its address; it lives as long as this kernel.

    An earlier one of this kernel ends. Settings such as `BATCH_TASK_SECONDS="0-0"` are given to it as environment variables.

    Raises:
        ClassroomError: there is no stack, or the service did not start.
    """
    if not client.is_outside() and not client.current():
        raise ClassroomError("no stack runs in this checkout", "lab.connect()")
    web.forget()
    return web.start(settings)


def progress() -> None:
    """Print which exercises were passed in this checkout."""
    print(exercises_passed.summary())


def my_tasks(source: str) -> ModuleType:
    """Write tasks of your own to `my_tasks.py`, start the worker again with them, and return the module.

    In a notebook a cell that begins with `%%my_tasks` does the same with its own text.

    Raises:
        ClassroomError: the source is wrong, or the worker cannot run it; everything is then as it was before.
    """
    return own_tasks.write(source, worker.restart)


def until(condition: Callable[[], Any], timeout: float = 10) -> None:
    """Wait until a condition holds.

    Raises:
        ClassroomError: it did not, `timeout` seconds long.
    """
    evidence.wait_until(condition, timeout, "what you wait for is so", "run the cells above this one again: what they began may be over")


def waiting(queue: str = "celery") -> list[dict[str, Any]]:
    """Return the messages that wait in a queue, the next one first, each as the dict that was sent."""
    return [message.envelope for message in evidence.waiting(_app(), queue)]


def unacknowledged() -> list[dict[str, Any]]:
    """Return the messages that a worker has taken and not yet acknowledged, each as the dict that was sent."""
    return [message.envelope for message in evidence.unacknowledged(_app())]


class _Worker:
    """The worker of the stack; where there are several, what is said here is said to all of them."""

    def start(self) -> None:
        """Start the worker, or let a paused one go on; return when it is ready."""
        workers.ask("start worker")

    @not_counted()
    def stop(self) -> None:
        """Stop the worker; it finishes what it runs and gives back the rest. Return when it is gone."""
        if running := workers.running():
            _let_finish(running)
        workers.ask("stop worker")
        _give_back()

    def restart(self) -> None:
        """Stop the worker and start it: the way to make it see edited task code."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the worker and its pool, as a computer that sleeps."""
        workers.ask("pause worker")

    def resume(self) -> None:
        """Let a paused worker go on."""
        workers.ask("resume worker")

    def kill(self) -> None:
        """Kill the worker with SIGKILL; it stays dead until `start()`."""
        workers.ask("kill worker")

    def pool(self) -> list[int]:
        """Return the process ids of the pool, in order."""
        return workers.pool()

    def kill_pool_process(self, pid: int | None = None) -> None:
        """Kill one process of the pool with SIGKILL: the one with this id, or the first."""
        workers.kill_pool_process(pid)


class _Broker:
    """The broker of this checkout's stack."""

    def restart(self) -> None:
        """Kill the broker and start it again on the same port, empty."""
        if client.is_outside():
            raise ClassroomError("the broker belongs to somebody else (CELERY_BROKER_URL)", "restart it where it runs")
        if not client.current():
            raise ClassroomError("no stack runs in this checkout", "lab.connect()")
        connections.renew()  # while they can still say goodbye
        client.answer("restart broker")


worker = _Worker()
broker = _Broker()


def _embedded(ran: bool) -> str:
    words = _make_ready(clear=ran)
    stack = client.current()
    if not stack:
        raise ClassroomError("no stack runs in this checkout", "lab.connect()")
    return f"Connected: {stack.label} · {words}"


def _outside() -> str:
    where = doctor.examine_servers()
    Place.current().create()  # for the log of another worker, and for what this checkout remembers
    if not workers.found():
        return f"Connected: {where}, {doctor.examine_worker()}"
    doctor.examine_keepers()
    presence.announce()
    return f"Connected: {where} · {_make_ready(clear=True)}"


def _make_ready(clear: bool) -> str:
    """See that the worker runs with the task code of now, and has nothing of an earlier run; say what it is and what was done."""
    before = workers.found()
    mended = cleared = ""
    if other := [one.state for one in before if one.state != "running"]:
        mended = f" (it was {other[0]}, it runs again)"
    elif any(one.sources != sources() for one in before):
        mended = " (restarted, because the task code was edited)"
    if "paused" in other:
        worker.start()  # one that is frozen can't say what it has
    if clear:
        local = [one.pid for one in before if one.pid and one.host == socket.gethostname()]
        pids = [*local, *worker.pool()] if local else []  # in a container they have numbers of their own
        cleared = leftovers.clear(_app(), _kill_and_give_back, any(one.pid for one in before), pids)
    if any(one.sources != sources() for one in before) and workers.state() == "running":
        worker.stop()
    workers.ask("start worker")
    now = workers.found()
    more = f" and {len(now) - 1} more" if len(now) > 1 else ""
    what = f"worker {now[0].node}{more}, {CONCURRENCY * len(now)} processes, {len(now[0].tasks)} tasks"
    return f"{what}{mended}\n{cleared}".rstrip()


def _kill_and_give_back() -> None:
    worker.kill()
    _give_back()


def _let_finish(nodes: list[str]) -> None:
    """Make the workers take nothing more, and wait a little for what they have.

    A prefork worker that is told to stop while a process of its pool takes or ends a task can wait for that process for
    ever: each waits for the other to read (billiard.pool, `_ensure_messages_consumed`).
    """
    deadline = time.monotonic() + FINISH_WITHIN

    def answers(command: str, **arguments: str) -> list[Any]:
        left = deadline - time.monotonic()
        return [answer for reply in questions.ask(_app(), command, left, len(nodes), nodes, **arguments) for answer in reply.values()]

    for queue in QUEUES:
        answers("cancel_consumer", queue=queue)
    while time.monotonic() < deadline and any(any(answers(question)) for question in ("reserved", "active")):
        time.sleep(0.02)


def _give_back() -> None:
    """Put messages that the worker had taken back into their queues."""
    evidence.give_back(_app())


def _app() -> Any:
    from tutorial_tasks.celery_app import app

    return app

"""What a notebook needs of the classroom: `connect()`, `predict()`, `bar()`, a look at the broker, and hands on the worker and the broker.

The first cell of every lesson:

    from classroom import lab
    lab.connect()
"""

import os
import signal
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import psutil

from classroom import connections, doctor, evidence, hints, leftovers, web
from classroom import my_tasks as own_tasks
from classroom import progress as exercises_passed
from classroom.bar import Bar
from classroom.errors import ClassroomError
from classroom.predictions import predict
from classroom.stack import client
from classroom.stack.place import Stack
from classroom.stack.supervisor import CONCURRENCY, NODE, QUEUES
from classroom.stack.task_code import sources

__all__ = ["api", "bar", "broker", "connect", "examine", "my_tasks", "predict", "progress", "unacknowledged", "waiting", "worker"]

_FINISH_WITHIN = 5.0  # seconds

_connected_to: str | None = None


def connect() -> None:
    """Join the stack of this checkout, or start it, and print one line that says what was found.

    When `CELERY_BROKER_URL` is set to somebody else's broker, that one is used instead. A worker that an
    earlier cell stopped or paused runs again after this, and one that has old task code is restarted. What an
    earlier run has left in the worker and in the queues is cleared away, and a second line says what it was.

    Raises:
        ClassroomError: the broker, the backend, the worker or a task is missing; it names what to type.
    """
    global _connected_to
    ran = client.current() is not None
    if ours := not client.is_outside():
        client.use(client.join())
    url = os.environ.get("CELERY_BROKER_URL", "")
    if _connected_to not in (None, url):
        raise ClassroomError("the broker has moved to another address", "restart this kernel: Kernel > Restart Kernel")
    if _connected_to is None:
        connections.renew()
    lines = _embedded(ran) if ours else _outside()
    _connected_to = url
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
    if not client.is_outside():
        _stack()
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


def waiting(queue: str = "celery") -> list[dict[str, Any]]:
    """Return the messages that wait in a queue, the next one first, each as the dict that was sent."""
    return [message.envelope for message in evidence.waiting(_app(), queue)]


def unacknowledged() -> list[dict[str, Any]]:
    """Return the messages that a worker has taken and not yet acknowledged, each as the dict that was sent."""
    return [message.envelope for message in evidence.unacknowledged(_app())]


class _Worker:
    """The worker of this checkout's stack."""

    def start(self) -> None:
        """Start the worker, or let a paused one go on; return when it is ready."""
        _control("start worker")

    def stop(self) -> None:
        """Stop the worker; it finishes what it runs and gives back the rest. Return when it is gone."""
        if _stack().worker == "running":
            _let_finish()
        _control("stop worker")
        _give_back()

    def restart(self) -> None:
        """Stop the worker and start it: the way to make it see edited task code."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the worker and its pool, as a computer that sleeps."""
        _control("pause worker")

    def resume(self) -> None:
        """Let a paused worker go on."""
        _control("resume worker")

    def kill(self) -> None:
        """Kill the worker with SIGKILL; it stays dead until `start()`."""
        _control("kill worker")

    def pool(self) -> list[int]:
        """Return the process ids of the pool, in order."""
        stack = _stack()
        if not stack.worker_pid:
            return []
        try:
            return sorted(child.pid for child in psutil.Process(stack.worker_pid).children())
        except psutil.NoSuchProcess:
            return []

    def kill_pool_process(self, pid: int | None = None) -> None:
        """Kill one process of the pool with SIGKILL: the one with this id, or the first."""
        pool = self.pool()
        if not pool:
            raise ClassroomError("the worker does not run", "lab.worker.start()")
        if pid is not None and pid not in pool:
            raise ClassroomError(f"{pid} is not a process of the pool, these are: {pool}", "lab.worker.pool()")
        os.kill(pid or pool[0], signal.SIGKILL)


class _Broker:
    """The broker of this checkout's stack."""

    def restart(self) -> None:
        """Kill the broker and start it again on the same port, empty."""
        _stack()
        connections.renew()  # while they can still say goodbye
        _control("restart broker")


worker = _Worker()
broker = _Broker()


def _embedded(ran: bool) -> str:
    stack = _stack()
    mended = cleared = ""
    if stack.worker != "running":
        mended = f" (it was {stack.worker}, it runs again)"
    elif stack.sources != sources():
        mended = " (restarted, because the task code was edited)"
    if stack.worker == "paused":
        worker.start()  # one that is frozen can't say what it has
    if ran:
        cleared = leftovers.clear(_app(), _kill_and_give_back, [stack.worker_pid, *worker.pool()] if stack.worker_pid else [])
    if stack.sources != sources() and _stack().worker == "running":
        worker.stop()
    stack = client.ask("start worker")
    where = f"{stack.server} on 127.0.0.1:{stack.port}"
    return f"Connected: {where} · worker {NODE}, {CONCURRENCY} processes, {len(stack.tasks)} tasks{mended}\n{cleared}".rstrip()


def _kill_and_give_back() -> None:
    worker.kill()
    _give_back()


def _outside() -> str:
    return f"Connected: {doctor.examine_outside()}"


def _stack() -> Stack:
    if client.is_outside():
        raise ClassroomError(
            "the worker and the broker belong to somebody else (CELERY_BROKER_URL), so they are not ours to stop",
            "unset CELERY_BROKER_URL and CELERY_RESULT_BACKEND, then restart the kernel",
        )
    stack = client.current()
    if not stack:
        raise ClassroomError("no stack runs in this checkout", "lab.connect()")
    return stack


def _control(verb: str) -> None:
    _stack()
    client.ask(verb)


def _let_finish() -> None:
    """Make the worker take nothing more, and wait a little for what it has.

    A prefork worker that is told to stop while a process of its pool takes or ends a task can wait for that process for
    ever: each waits for the other to read (billiard.pool, `_ensure_messages_consumed`).
    """
    control = _app().control
    for queue in QUEUES:
        control.cancel_consumer(queue, destination=[NODE], reply=True, timeout=1, limit=1)
    inspect = control.inspect(destination=[NODE], limit=1, timeout=1)
    deadline = time.monotonic() + _FINISH_WITHIN
    while time.monotonic() < deadline and any(any((ask() or {}).values()) for ask in (inspect.reserved, inspect.active)):
        time.sleep(0.02)


def _give_back() -> None:
    """Put messages that the worker had taken back into their queues.

    A worker does that itself when it ends. One that has to be killed, because its pool does not end, does not
    (billiard's pool processes can wait for a parent that no longer reads what they say).
    """
    left = [message for message in evidence.unacknowledged(_app()) if not message.problem]
    if left:
        with _app().connection_for_write() as connection:
            for message in left:
                connection.default_channel.qos.restore_by_tag(message.envelope["properties"]["delivery_tag"])


def _app() -> Any:
    from tutorial_tasks.celery_app import app

    return app

"""Bring the stack into the state that an exercise starts from, and back after it."""

import contextlib
import inspect
import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

from celery import Celery, Task

from classroom import evidence, lab, leftovers
from classroom.errors import ClassroomError
from classroom.stack import workers
from classroom.stack.worker_process import QUEUES

_SETTLE = 0.4  # seconds without a change: by then a worker that wants a message has taken it


def the_app() -> Celery:
    """Give the course's application."""
    from tutorial_tasks.celery_app import app

    return app


@contextlib.contextmanager
def worker_as_it_was() -> Iterator[None]:
    """Have the worker run again after the block, with nothing left to do, whatever the learner's code did."""
    with evidence.publishing() as sent:
        try:
            yield
        finally:
            left = [message for queue in {*sent.values(), *QUEUES} for message in evidence.waiting(the_app(), queue)]
            put_off = [message for message in left if message.header("eta") or message.queue not in QUEUES]
            for message in put_off:
                if message.id in sent:
                    discard(message)
            lab.worker.start()
            for message in left:
                if message not in put_off:
                    with contextlib.suppress(ClassroomError):  # one that no worker can read leaves no result
                        finished(message.id, timeout=3)


def calls(message: evidence.Message, task: Task, *arguments: Any) -> bool:
    """Tell whether a message calls a task with these arguments, with or without their names."""
    if message.task != task.name:
        return False
    try:
        bound = inspect.signature(task.run).bind(*message.args, **message.kwargs)
    except TypeError:
        return False
    return tuple(bound.arguments.values()) == arguments


def discard(message: evidence.Message) -> None:
    """Take a message out of its queue."""
    evidence.discard(the_app(), message)


@contextlib.contextmanager
def nobody_listening() -> Iterator[None]:
    """Have no worker inside the block, and one after it."""
    with worker_as_it_was():
        lab.worker.stop()
        yield


def nothing_left_to_do(timeout: float = 10) -> None:
    """Wait until the worker has nothing left of what was tried before.

    Raises:
        ClassroomError: it still has, for instance a task that waits at a gate.
    """
    evidence.wait_until(
        _worker_is_without(lambda _: True),
        timeout,
        "the worker has done what it was given before",
        "lab.connect(), which clears that away, then run this cell again",
    )


def had_their_turn(task_ids: Collection[str]) -> None:
    """Wait until the worker, which runs, has come to these tasks and is through with them: what is not done then never will be.

    Raises:
        ClassroomError: it takes too long.
    """
    from tutorial_tasks.arithmetic import add

    for last in [add.apply_async((0, 0), queue=queue) for queue in QUEUES]:  # each queue is read in its order
        finished(last.id)
        last.forget()
    evidence.wait_until(_worker_is_without(lambda task_id: task_id in task_ids), 20, "the worker is through with what it was given")


def _worker_is_without(meant: Callable[[str], bool]) -> Callable[[], bool]:
    def is_so() -> bool:
        bench = leftovers.look(the_app(), worker_runs=True)
        return bool(bench.read) and not any(meant(task.id) for task in bench.in_worker)  # one that does not answer may have some

    return is_so


def worker_runs() -> bool:
    """Tell whether the worker runs."""
    return bool(workers.found()) and workers.state() == "running"


def settled(queue: str = "celery") -> list[evidence.Message]:
    """Wait until a queue does not change any more, at most five seconds, and return its messages."""
    deadline = time.monotonic() + 5
    messages, since = evidence.waiting(the_app(), queue), time.monotonic()
    while time.monotonic() - since < _SETTLE and time.monotonic() < deadline:
        time.sleep(0.02)
        now = evidence.waiting(the_app(), queue)
        if len(now) != len(messages):
            messages, since = now, time.monotonic()
    return messages


def is_done(task_id: str) -> dict[str, Any] | None:
    """Return what the backend has about a task that has come to its end; None as long as it has not."""
    kept = evidence.stored(the_app(), task_id)
    return kept if kept and kept["status"] in ("SUCCESS", "FAILURE", "REVOKED") else None


def finished(task_id: str, timeout: float = 20) -> dict[str, Any]:
    """Wait until the backend has a final state for a task, and return what it has.

    Raises:
        ClassroomError: it has none in time.
    """
    kept: dict[str, Any] = evidence.wait_until(lambda: is_done(task_id), timeout, f"task {task_id} is done")
    return kept

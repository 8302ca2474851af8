"""Clear away what an earlier run has left in the worker and in the queues, so that a lesson begins on a clean bench.

A lesson that is left half-way leaves tasks behind: some wait at a gate and keep the worker's processes busy, some are
held for ten minutes, some lie in queues that nobody reads. Every message says which process sent it. What this notebook
or a process that has ended left is cleared; what another open notebook is busy with is its own, and only told.
"""

import os
import re
import socket
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import psutil
from celery import Celery

from classroom import evidence, questions
from classroom.stack import client, workers
from classroom.stack.presence import Elsewhere
from classroom.stack.worker_process import QUEUES

_LOOK = "classroom_look"  # what our worker knows beside Celery's own commands (classroom/stack/worker_side.py)
# Seconds: who takes silence for a clean bench lets a lesson begin on what another has left. A question can get lost when the broker
# or the worker has just been started again, so there is a second one.
_ANSWERS_WITHIN = (2.0, 8.0)


@dataclass(frozen=True)
class Task:
    """A task that is not done: its id, its name, and the process that sent it, as Celery writes that."""

    id: str
    name: str
    origin: str | None


@dataclass(frozen=True)
class Bench:
    """What the worker has, what lies in the queues, and the queues that the worker reads."""

    in_worker: list[Task]
    in_queues: list[Task]
    read: list[str]


def look(app: Celery, worker_runs: bool) -> Bench:
    """See what is there; a worker that does not answer reads no queue."""
    said: list[dict[str, Any]] = []
    for within in _ANSWERS_WITHIN * worker_runs:
        nodes = workers.running() or workers.nodes()
        replies = questions.ask(app, _LOOK, within, len(nodes), nodes)
        said = [answer for reply in replies for answer in reply.values()]
        if len(replies) == len(nodes):
            break
    in_worker = {task.id: task for answer in said for task in (Task(*found) for found in answer["tasks"])}
    # What a worker had that was killed is still in its hands, as far as the broker knows.
    for message in evidence.unacknowledged(app):
        in_worker.setdefault(message.id, _task(message))
    read = [queue for answer in said for queue in answer["queues"]]
    return Bench(list(in_worker.values()), [_task(message) for message in evidence.waiting_anywhere(app)], read)


def clear(app: Celery, kill_worker: Callable[[], None], worker_runs: bool, worker_pids: Collection[int]) -> str:
    """Clear away what nobody needs any more, and say in words what that was; nothing when the bench was clean.

    Args:
        app: the course's application.
        kill_worker: what kills the worker, and puts what it had back into the queues. It may be called or not.
        worker_runs: whether the worker can be asked.
        worker_pids: the processes of the worker, as far as they are on this host. What they sent, a task asked for: nobody waits for it.
    """
    bench = look(app, worker_runs)
    elsewhere = Elsewhere().may_live if client.is_outside() else nobody  # to our own stack nobody comes from elsewhere
    alive = {task.id for task in (*bench.in_worker, *bench.in_queues) if is_somebody_s(task.origin, set(worker_pids), elsewhere)}
    left = [task for task in (*bench.in_worker, *bench.in_queues) if task.id not in alive]
    theirs = [task for task in (*bench.in_worker, *bench.in_queues) if task.id in alive]
    stuck = [task.id for task in bench.in_worker if task.id not in alive]
    if stuck and any(task.id in alive for task in bench.in_worker):
        nodes = workers.nodes()
        app.control.revoke(stuck, terminate=True, destination=nodes, reply=True, timeout=1, limit=len(nodes))
    elif stuck:
        kill_worker()  # a revoked task that is held for later would still be held
    ids = {task.id for task in left}
    for message in evidence.waiting_anywhere(app):
        if message.id in ids:
            evidence.discard(app, message)
    if not theirs:
        for queue in set(bench.read) - set(QUEUES):
            nodes = workers.nodes()
            app.control.cancel_consumer(queue, destination=nodes, reply=True, timeout=1, limit=len(nodes))
    words = []
    if left:
        words.append(f"Cleared away what an earlier run had left: {_counted(left)}")
    if theirs:
        words.append(
            f"Another open notebook has tasks here, and this lesson will meet them: {_counted(theirs)}\n"
            "  next: finish that lesson, or shut down its kernel and run this cell again"
        )
    return "\n".join(words)


def nobody(_: str) -> bool:
    """Tell that no process of another host is meant."""
    return False


def is_somebody_s(origin: str | None, worker_pids: set[int], elsewhere: Callable[[str], bool] = nobody) -> bool:
    """Tell whether a task's sender is another process that still runs, none of the worker's, and none that we have started.

    Args:
        origin: the sender, as Celery writes it.
        worker_pids: the processes of workers on this host.
        elsewhere: tells that of a sender on another host.
    """
    found = re.fullmatch(r"gen(\d+)@(.+)", origin or "")
    if not found:
        return False
    if found[2] != socket.gethostname():
        return elsewhere(found[0])
    pid = int(found[1])
    if pid in worker_pids or pid == psutil.Process().pid:
        return False
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.ppid() != os.getpid()
    except psutil.NoSuchProcess:
        return False


def _task(message: evidence.Message) -> Task:
    return Task(message.id, message.task, message.header("origin"))


def _counted(tasks: list[Task]) -> str:
    names = Counter(task.name.rpartition(".")[2] or "an unreadable message" for task in tasks)
    return ", ".join(f"{count} × {name}" for name, count in sorted(names.items()))

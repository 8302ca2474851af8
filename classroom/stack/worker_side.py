"""What the worker process does for the course: load the learner's own tasks, say that it is ready, and take its pool along when it dies.

The worker imports this module by its own `--include` option; the tasks know nothing of it.
"""

import os
from typing import Any

from celery.signals import worker_process_init, worker_process_shutdown
from celery.worker import state as worker_state
from celery.worker.control import inspect_command

from classroom.stack import ready as _ready  # noqa: F401 - says it when the worker hears
from classroom.stack.lifeline import die_with
from classroom.stack.task_code import compile_my_tasks, load_my_tasks, my_tasks_file

_main_process = os.getpid()

if (_own := my_tasks_file()).exists():
    load_my_tasks(compile_my_tasks(_own.read_text(encoding="utf-8"), _own))


@worker_process_init.connect
def follow_the_worker(**_: Any) -> None:
    """Make a pool process die with the worker, even when the worker is killed."""
    if os.getpid() != _main_process:  # a pool can be the worker itself (solo)
        die_with(_main_process)


@worker_process_shutdown.connect
def leave_at_once(exitcode: int, **_: Any) -> None:
    """End a pool process that has finished, without the second for which it would sleep first (billiard.pool)."""
    if os.getpid() != _main_process:
        os._exit(exitcode)


@inspect_command(name="classroom_look")
def look(state: Any, **_: Any) -> dict[str, Any]:
    """Name every task that this worker has, with the process that sent it, and the queues that it reads.

    Celery's own `inspect` tells the same tasks, but not who sent them.
    """
    return {
        "tasks": [[request.id, request.name, request.request_dict.get("origin")] for request in list(worker_state.requests.values())],
        "queues": [queue.name for queue in state.consumer.task_consumer.queues],
    }

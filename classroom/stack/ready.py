"""What a worker does to say that it is ready, once it really hears; it imports this module by its own `--include` option."""

import json
import os
from typing import Any

from celery.signals import worker_ready

from classroom.stack.worker_process import READY_FD


@worker_ready.connect
def say_ready(sender: Any, **_: Any) -> None:
    """Write the names of the registered tasks, as one line of JSON, to the pipe of whoever started it, when the worker hears."""
    tasks = sorted(name for name in sender.app.tasks if not name.startswith("celery."))

    def say() -> None:
        with open(int(os.environ.pop(READY_FD)), "w") as pipe:
            pipe.write(json.dumps(tasks) + "\n")

    # Celery says "ready" before its loop has begun, and it is the loop's first turn that subscribes to questions: one that
    # was asked before would be lost. So this is for the second turn, which a short timer keeps the first one from sleeping before.
    def at_the_first_turn() -> None:
        sender.hub.call_soon(say)
        sender.hub.call_later(0.01, lambda: None)

    sender.hub.call_soon(at_the_first_turn)

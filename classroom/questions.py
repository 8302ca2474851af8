"""Ask workers what only they know, and hear them out although the computer is busy."""

import time
from collections.abc import Sequence
from itertools import count
from typing import Any

from celery import Celery


def ask(
    app: Celery, command: str, within: float, answers: int = 1, destination: Sequence[str] | None = None, **arguments: Any
) -> list[dict[str, Any]]:
    """Send a command to workers, and return as soon as so many have answered; fewer, or none, when the time is up.

    Args:
        app: the application whose workers they are.
        command: one of Celery's, or of our worker's own.
        within: seconds that they may take.
        answers: how many there will be.
        destination: the names of the workers; all of them when it is left out.
        arguments: those of the command.
    """
    # kombu counts what it reads. A late answer to an earlier question counts, too, and then it returns with less before the
    # time is up. So the question is asked again, and as many answers more are read as questions went before.
    deadline = time.monotonic() + within
    replies: list[dict[str, Any]] = []
    for earlier in count():
        if (left := deadline - time.monotonic()) <= 0:
            break
        told = {"reply": True, "timeout": left, "limit": answers + earlier, "destination": destination, "arguments": arguments}
        replies = app.control.broadcast(command, **told) or []
        if len(replies) >= answers:
            break
    return replies

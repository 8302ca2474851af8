"""What the broker and the result backend hold: lessons show it, exercises judge by it. Looking changes nothing."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import redis
from celery import Celery
from celery.signals import before_task_publish
from kombu.connection import Connection

from classroom.errors import ClassroomError
from taskscope.errors import ScopeError
from taskscope.messages import Message
from taskscope.xray import Snapshot, xray

__all__ = ["Message", "broker", "discard", "moment", "publishing", "stored", "unacknowledged", "wait_until", "waiting", "waiting_anywhere"]

_MANY = 1000  # messages of a queue; where there are more, a second look takes them all


def waiting(app: Celery, queue: str = "celery") -> list[Message]:
    """List the messages of a queue that no worker has taken yet, the next one first."""
    found = _look(app).queue(queue)
    if found.waiting > len(found.messages):
        found = _look(app, found.waiting).queue(queue)
    return list(found.messages)


def waiting_anywhere(app: Celery) -> list[Message]:
    """List the messages of all queues, also of those that no worker reads."""
    found = _look(app)
    most = max((queue.waiting for queue in found.queues), default=0)
    if most > _MANY:
        found = _look(app, most)
    return [message for queue in found.queues if queue.kind == "tasks" for message in queue.messages]


def discard(app: Celery, message: Message) -> None:
    """Take a message out of its queue: nobody would ever do it, or the worker would hold it for hours."""
    client, _ = broker(app)
    with client:
        client.lrem(message.key, 1, message.raw)


def unacknowledged(app: Celery) -> list[Message]:
    """List the messages that a worker has taken but not acknowledged: it holds them for later, or runs them late-acked."""
    found = _look(app)
    if (total := (found.of or {}).get("unacked", 0)) > len(found.unacked):
        found = _look(app, total)
    return [taken.message for taken in found.unacked]


def stored(app: Celery, task_id: str) -> dict[str, Any] | None:
    """Read what the result backend has about a task; None when it has nothing."""
    raw = app.backend.get(app.backend.get_key_for_task(task_id))
    return json.loads(raw) if raw else None


def moment(text: str) -> float:
    """Read a time of a header or a stored result, in seconds of the Unix clock."""
    return datetime.fromisoformat(text).timestamp()


@contextlib.contextmanager
def publishing() -> Iterator[dict[str, str]]:
    """Collect what Celery, in this process, sends inside the `with` block: the tasks' ids, each with its queue."""
    sent: dict[str, str] = {}

    def note(headers: dict[str, Any], routing_key: str, **_: Any) -> None:
        sent[headers["id"]] = routing_key

    before_task_publish.connect(note)
    try:
        yield sent
    finally:
        before_task_publish.disconnect(note)


def wait_until(condition: Callable[[], Any], timeout: float, what: str, remedy: str = "python -m classroom doctor") -> Any:
    """Wait until a condition holds, and return what it returned.

    Raises:
        ClassroomError: it did not hold within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise ClassroomError(f"waited {timeout:g} s in vain until {what}", remedy)
        time.sleep(0.01)
    return value


def broker(app: Celery) -> tuple[redis.Redis, str]:
    """Open the broker as a plain Redis client, with the prefix that stands before every key."""
    url = str(app.conf.broker_url)
    if Connection(url).transport_cls != "redis":
        raise ClassroomError("only a Redis broker can be looked into", "export CELERY_BROKER_URL=redis://...")
    prefix = (app.conf.broker_transport_options or {}).get("global_keyprefix", "")
    return redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=5, decode_responses=True), prefix


def _look(app: Celery, many: int = _MANY) -> Snapshot:
    try:
        return xray(app, many)
    except ScopeError as error:
        raise ClassroomError(error.problem, error.remedy) from error

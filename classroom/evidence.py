"""What the broker and the result backend hold: lessons show it, exercises judge by it.

Looking changes nothing on Redis; on RabbitMQ it leaves a mark on the messages (see `rabbit_evidence`).
"""

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

from classroom import rabbit_evidence
from classroom.errors import ClassroomError
from classroom.rabbit_evidence import is_broker as is_rabbitmq
from taskscope.errors import ScopeError
from taskscope.messages import Message
from taskscope.xray import Snapshot, xray

__all__ = [
    "Message",
    "broker",
    "discard",
    "give_back",
    "is_rabbitmq",
    "moment",
    "move",
    "publishing",
    "stored",
    "unacknowledged",
    "wait_until",
    "waiting",
    "waiting_anywhere",
]

_MANY = 1000  # messages of a queue; where there are more, a second look takes them all


def waiting(app: Celery, queue: str = "celery") -> list[Message]:
    """List the messages of a queue that no worker has taken yet, the next one first."""
    if is_rabbitmq(app):
        return rabbit_evidence.waiting(app, queue)
    found = _look(app).queue(queue)
    if found.waiting > len(found.messages):
        found = _look(app, found.waiting).queue(queue)
    return list(found.messages)


def waiting_anywhere(app: Celery) -> list[Message]:
    """List the messages of all queues, also of those that no worker reads."""
    if is_rabbitmq(app):
        return rabbit_evidence.waiting_anywhere(app)
    found = _look(app)
    most = max((queue.waiting for queue in found.queues), default=0)
    if most > _MANY:
        found = _look(app, most)
    return [message for queue in found.queues if queue.kind == "tasks" for message in queue.messages]


def discard(app: Celery, message: Message) -> None:
    """Take a message out of its queue: nobody would ever do it, or the worker would hold it for hours."""
    if is_rabbitmq(app):
        rabbit_evidence.discard(app, message)
        return
    client, _ = broker(app)
    with client:
        client.lrem(message.key, 1, message.raw)


def move(app: Celery, message: Message, queue: str) -> None:
    """Put a message from its queue into another one, where it comes last."""
    if is_rabbitmq(app):
        rabbit_evidence.move(app, message, queue)
        return
    client, prefix = broker(app)
    with client:
        client.lrem(message.key, 1, message.raw)
        client.lpush(f"{prefix}{queue}", message.raw)


def give_back(app: Celery) -> None:
    """Put messages that a worker had taken, and that it can't do any more, back into their queues.

    A worker does that itself when it ends. One that has to be killed, because its pool does not end, does not
    (billiard's pool processes can wait for a parent that no longer reads what they say). RabbitMQ does it for all that end,
    a moment after their connection has.
    """
    if is_rabbitmq(app):
        wait_until(lambda: not rabbit_evidence.consumers(app), 10, "RabbitMQ has noticed that no worker reads its queues any more")
        return
    left = [message for message in unacknowledged(app) if not message.problem]
    if left:
        with app.connection_for_write() as connection:
            for message in left:
                connection.default_channel.qos.restore_by_tag(message.envelope["properties"]["delivery_tag"])


def unacknowledged(app: Celery) -> list[Message]:
    """List the messages that a worker has taken but not acknowledged: it holds them for later, or runs them late-acked."""
    if is_rabbitmq(app):
        return rabbit_evidence.unacknowledged(app)
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
        raise ClassroomError("only Redis and RabbitMQ can be looked into", "export CELERY_BROKER_URL=redis://...")
    prefix = (app.conf.broker_transport_options or {}).get("global_keyprefix", "")
    return redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=5, decode_responses=True), prefix


def _look(app: Celery, many: int = _MANY) -> Snapshot:
    try:
        return xray(app, many)
    except ScopeError as error:
        raise ClassroomError(error.problem, error.remedy) from error

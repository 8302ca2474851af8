"""Read what the broker and the result backend hold, without changing any of it.

Lessons show it, exercises judge by it. It knows how Celery lays out its keys in Redis:
https://docs.celeryq.dev/projects/kombu/en/stable/reference/kombu.transport.redis.html
"""

import base64
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import redis
from celery import Celery
from celery.signals import before_task_publish
from kombu.connection import Connection

from classroom.errors import ClassroomError

# A Redis queue with priorities is one list for each step, the first one without a suffix (kombu.transport.redis).
_PRIORITY_SUFFIXES = ("", "\x06\x163", "\x06\x166", "\x06\x169")


@dataclass(frozen=True)
class Message:
    """A task message as it lies in the broker: decoded, and the Redis key and the text from which it came."""

    envelope: dict[str, Any]
    key: str
    raw: str

    @property
    def id(self) -> str:
        """The task's id."""
        return str(self.envelope["headers"].get("id"))

    @property
    def task(self) -> str:
        """The task's name: all that the message says about the code."""
        return str(self.envelope["headers"].get("task"))

    @property
    def queue(self) -> str:
        """The routing key, which for a plain queue is its name."""
        return str(self.envelope["properties"]["delivery_info"]["routing_key"])

    @property
    def body(self) -> list[Any]:
        """Positional arguments, keyword arguments, and what is to follow."""
        body: list[Any] = json.loads(base64.b64decode(self.envelope["body"]))
        return body

    @property
    def args(self) -> list[Any]:
        """The positional arguments."""
        args: list[Any] = self.body[0]
        return args

    def header(self, name: str) -> Any:
        """One header, or None."""
        return self.envelope["headers"].get(name)

    def time(self, name: str) -> float | None:
        """A header that is a time (eta, expires), in seconds of the Unix clock."""
        value = self.header(name)
        return moment(value) if value else None


def waiting(app: Celery, queue: str = "celery") -> list[Message]:
    """List the messages of a queue that no worker has taken yet, the next one first."""
    client, prefix = broker(app)
    keys = [f"{prefix}{queue}{suffix}" for suffix in _PRIORITY_SUFFIXES]
    with client, client.pipeline() as pipe:
        for key in keys:
            pipe.lrange(key, 0, -1)
        lists = pipe.execute()
    return [Message(json.loads(raw), key, raw) for key, messages in zip(keys, lists, strict=True) for raw in reversed(messages)]


def unacknowledged(app: Celery) -> list[Message]:
    """List the messages that a worker has taken but not acknowledged: it holds them for later, or runs them late-acked."""
    client, prefix = broker(app)
    key = f"{prefix}unacked"
    with client:
        return [Message(json.loads(raw)[0], key, str(raw)) for raw in client.hvals(key)]


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

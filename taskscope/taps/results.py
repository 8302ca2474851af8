"""Stored results: what the result backend holds, at the moment when it is written. Redis only, which publishes it."""

import json
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar

from celery import Celery
from celery.backends.redis import RedisBackend

from taskscope.observation import Observation, Source, Unread
from taskscope.taps import plain
from taskscope.taps.events import PICKLES
from taskscope.taps.listener import LARGE, Refused, Say
from taskscope.taps.redis_line import RedisLine
from taskscope.taps.wire import Connect, connect_like

_ENDS = frozenset({"SUCCESS", "FAILURE", "RETRY", "REVOKED", "REJECTED"})
_KEPT = {"name": "name", "queue": "queue", "retries": "retries", "group_id": "group", "parent_id": "parent_id", "date_done": "date_done"}


def observation_of(meta: Any, arrived: float) -> Observation | None:
    """Turn what the backend stores for a task into an observation; None for what is no such thing."""
    if not isinstance(meta, Mapping) or not isinstance(state := meta.get("status"), str) or not isinstance(meta.get("task_id"), str):
        return None
    result = meta.get("result")
    data = plain.data({ours: meta.get(theirs) for theirs, ours in _KEPT.items()})
    data["state"] = plain.kept_once(state)
    if result is not None or state in _ENDS:
        data["result"] = _exception(result) if _is_exception(result) else plain.shown(result)
    host = meta.get("worker")
    if state == "STARTED" and isinstance(result, Mapping):
        host = host or result.get("hostname")
        data |= plain.data({"pid": result.get("pid")})
    for name, empty in (("args", ()), ("kwargs", {})):
        if name in meta:
            data[name] = _arguments(meta[name], empty)
    if isinstance(traceback := meta.get("traceback"), str) and traceback:
        data["traceback"] = plain.tail(traceback)
    return Observation(
        source="result",
        kind="stored",
        at=moment(meta.get("date_done")) or arrived,
        arrived=arrived,
        task=plain.kept_once(meta["task_id"]),
        host=plain.kept_once(host) or "",
        data=data,
    )


def moment(text: Any) -> float | None:
    """Read a time as Celery stores it, in seconds of the Unix clock; without a zone it is UTC."""
    if not isinstance(text, (str, datetime)):
        return None
    try:
        when = text if isinstance(text, datetime) else datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


class ResultsTap(RedisLine):
    """Listen to every result that is stored for an app."""

    name: ClassVar[str] = "results"
    source: ClassVar[Source] = "result"

    def __init__(self, app: Celery, say: Say) -> None:
        super().__init__(say)
        self._app = app
        self._decode: Callable[[Any], Any] = json.loads

    def find(self) -> Connect:
        """Find the backend, and the keys of its results."""
        backend = redis_backend(self._app)
        if backend.content_type in PICKLES:
            raise Refused("they are pickles, which could run any code, so they are not opened (set result_serializer='json')")
        self._decode = partial(_read, backend)
        self.command = ("PSUBSCRIBE", literally(prefix_of(backend)) + b"*")
        return connect_like(backend.client.connection_pool)

    def take(self, message: Any) -> None:
        """Keep a result that was stored."""
        if isinstance(message, list) and len(message) == 4 and message[0] == b"pmessage":  # else the answer to a PING
            unread = Unread(partial(self._read, message[3], time.time()))
            for one in unread.observations() if len(message[3]) > LARGE else (unread,):
                self.say(one)

    def _read(self, text: bytes, arrived: float) -> list[Observation]:
        try:
            observation = observation_of(self._decode(text), arrived)
        except Exception as error:
            self.unreadable(f"{type(error).__name__}: {error}", arrived)
            return []
        return [observation] if observation else []


def _read(backend: Any, text: bytes) -> Any:
    """Read a stored result as the backend does; plain JSON, which most are, without the detour."""
    if backend.content_type == "application/json" and text[:1] == b"{" and b'"__type__"' not in text:
        return json.loads(text)
    return backend.decode(text)


def redis_backend(app: Celery) -> Any:
    """Return the app's result backend.

    Raises:
        Refused: it is none, or not Redis.
    """
    try:
        backend = app.backend
    except Exception as error:
        raise Refused(f"the result backend can't be used ({error})") from error
    if not isinstance(backend, RedisBackend):
        kind = type(backend).__name__.removesuffix("Backend")
        if kind == "Disabled":
            raise Refused("this app stores no results (it has no result_backend)")
        raise Refused(f"only Redis tells when a result is stored, and this app stores them in another way ({kind})")
    return backend


def prefix_of(backend: Any) -> bytes:
    """Return what stands before the id in the key of a stored result, the app's own prefix included."""
    prefix = backend.task_keyprefix
    return prefix if isinstance(prefix, bytes) else str(prefix).encode()


def literally(text: bytes) -> bytes:
    """Write a text as a pattern that fits only itself."""
    return re.sub(rb"([*?\[\]\\^])", rb"\\\1", text)


def _is_exception(result: Any) -> bool:
    return isinstance(result, BaseException) or (isinstance(result, Mapping) and "exc_type" in result)


def _exception(result: Any) -> str:
    """Write an exception as its repr, like the event of the same failure: `ValueError('no')`."""
    if isinstance(result, BaseException):
        return plain.shown(result)
    arguments = result.get("exc_message")
    if not isinstance(arguments, (list, tuple)):
        arguments = () if arguments is None else (arguments,)
    return plain.cut(f"{result['exc_type']}({', '.join(map(plain.shown, arguments))})")


def _arguments(value: Any, empty: Any) -> str:
    """Write arguments as the event does; JSON has made a list of the tuple that they were."""
    value = empty if value is None else value
    return plain.shown(tuple(value) if isinstance(value, list) else value)

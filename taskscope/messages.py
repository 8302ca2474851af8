"""A task message as it lies in a broker: decoded as far as that is safe, and in words where it is not."""

import base64
import binascii
import json
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_WORDS = {
    "application/x-python-serialize": "a pickle, which could run any code",
    "application/x-yaml": "YAML",
    "application/x-msgpack": "msgpack",
}

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 40


def call(name: str, args: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
    """Write a call the way one writes it in Python, with the task's last name and cut to a bearable length."""
    words = [_brief.repr(_value(arg)) for arg in args] + [f"{key}={_brief.repr(_value(value))}" for key, value in kwargs.items()]
    return f"{name.rpartition('.')[2]}({', '.join(words)})"


def brief(value: Any) -> str:
    """Write a value, cut to a bearable length."""
    return _brief.repr(_value(value))


def _value(value: Any) -> Any:
    # What JSON cannot hold (a date, a UUID) travels with the name of its type.
    return value["__value__"] if isinstance(value, dict) and value.keys() == {"__type__", "__value__"} else value


@dataclass(frozen=True, slots=True)
class Message:
    """A message, and the key and the text from which it came; `problem` says in words why it could not be read, if so."""

    envelope: dict[str, Any]
    key: str
    raw: str
    problem: str = ""

    @classmethod
    def read(cls, raw: str | bytes, key: str = "") -> "Message":
        """Read what was found in a queue, whatever it is; nothing but JSON is ever opened."""
        text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
        try:
            envelope = _json(text)
        except ValueError:
            return cls({}, key, text, "not JSON")
        return cls.of(envelope, key, text)

    @classmethod
    def of(cls, envelope: Any, key: str, raw: str) -> "Message":
        """Take an envelope that has been read already."""
        if not isinstance(envelope, dict) or not all(isinstance(envelope.get(part), dict) for part in ("headers", "properties")):
            return cls({}, key, raw, "JSON, but not a message")
        try:
            _body(envelope)
        except ValueError as error:
            return cls(envelope, key, raw, str(error))
        return cls(envelope, key, raw)

    @property
    def id(self) -> str:
        """The task's id."""
        return str(self.header("id") or self._protocol_1.get("id") or "")

    @property
    def task(self) -> str:
        """The task's name: all that the message says about the code."""
        return str(self.header("task") or self._protocol_1.get("task") or "")

    @property
    def queue(self) -> str:
        """The routing key, which for a plain queue is its name."""
        delivery = self._properties.get("delivery_info")
        return str(delivery.get("routing_key") or "") if isinstance(delivery, dict) else ""

    @property
    def body(self) -> list[Any]:
        """Positional arguments, keyword arguments, and what is to follow; empty where it could not be read."""
        if self.problem:
            return []
        body = _body(self.envelope)
        return body if isinstance(body, list) else [body.get("args") or [], body.get("kwargs") or {}, body]

    @property
    def args(self) -> list[Any]:
        """The positional arguments."""
        return self.body[0] if self.body else []

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments."""
        return self.body[1] if self.body else {}

    @property
    def chord(self) -> dict[str, Any] | None:
        """The signature of the body of the chord in whose header this is, or None."""
        found = self.body[2].get("chord") if self.body else None
        return found if isinstance(found, dict) else None

    @property
    def eta(self) -> float | None:
        """When it may be done, in seconds of the Unix clock."""
        return self.time("eta")

    @property
    def expires(self) -> float | None:
        """When it is too late, in seconds of the Unix clock."""
        return self.time("expires")

    @property
    def retries(self) -> int:
        """How often it has been tried."""
        found = self.header("retries")
        return found if isinstance(found, int) else 0

    @property
    def priority(self) -> int:
        """Its priority; on Redis 0 goes first, on RabbitMQ the highest."""
        found = self._properties.get("priority")
        return found if isinstance(found, int) else 0

    @property
    def group(self) -> str:
        """The id of its group or header."""
        return str(self.header("group") or "")

    @property
    def parent(self) -> str:
        """The id of the task that sent it."""
        return str(self.header("parent_id") or "")

    def header(self, name: str) -> Any:
        """Return one header, or None."""
        headers = self.envelope.get("headers")
        return headers.get(name) if isinstance(headers, dict) else None

    def time(self, name: str) -> float | None:
        """Return a header that is a time (eta, expires), in seconds of the Unix clock."""
        try:
            return datetime.fromisoformat(str(self.header(name))).timestamp()
        except (ValueError, OverflowError):
            return None

    @property
    def label(self) -> str:
        """The call that it asks for, `add(2, 3)`, or what it is instead."""
        if self.problem:
            return f"{self.task.rpartition('.')[2]}(?): {self.problem}" if self.task else self.problem
        return call(self.task, self.args, self.kwargs)

    def to_json(self) -> dict[str, Any]:
        """Return what it says, as what JSON can hold."""
        names = ("id", "task", "queue", "args", "kwargs", "eta", "expires", "retries", "priority", "group", "parent", "problem", "label")
        chord = self.chord or {}
        return {name: getattr(self, name) for name in names} | {"chord": chord.get("task", "")}

    @property
    def _properties(self) -> dict[str, Any]:
        found = self.envelope.get("properties")
        return found if isinstance(found, dict) else {}

    @property
    def _protocol_1(self) -> dict[str, Any]:
        embed = self.body[2] if self.body else {}
        return embed if "task" in embed else {}


def _body(envelope: Mapping[str, Any]) -> list[Any] | dict[str, Any]:
    """Open the body of a message.

    Raises:
        ValueError: it is not JSON or no call of a task; the text is what it is instead.
    """
    kind = str(envelope.get("content-type") or "unknown")
    if packed := envelope["headers"].get("compression"):
        raise ValueError(f"its body is compressed ({packed})")
    if kind != "application/json":
        raise ValueError(f"its body is {_WORDS.get(kind, kind)}, not opened")
    body = envelope.get("body")
    try:
        if envelope["properties"].get("body_encoding") == "base64":
            body = base64.b64decode(body or "", validate=True).decode()
        found = _json(body)
    except (ValueError, TypeError, binascii.Error):
        raise ValueError("its body is not JSON") from None
    if isinstance(found, list) and [type(part) for part in found] == [list, dict, dict]:
        return found
    if (
        isinstance(found, dict)
        and isinstance(found.get("args", []), list)
        and isinstance(found.get("kwargs", {}), dict)
        and "task" in found
    ):
        return found  # the old protocol
    raise ValueError("its body is not a call of a task")


def _json(text: Any) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested without end") from None

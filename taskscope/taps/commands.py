"""The broker's own commands, by Redis' MONITOR: the only witness that sees where a message is. Opt-in, it sees everything."""

import base64
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, ClassVar

from celery import Celery

from taskscope.observation import Observation, Source
from taskscope.taps import plain
from taskscope.taps.events import connect, open_broker
from taskscope.taps.listener import Refused, Say
from taskscope.taps.redis_line import RedisLine
from taskscope.taps.results import prefix_of, redis_backend
from taskscope.taps.wire import Connect, connect_like

TAGS = 10_000  # messages at most whose delivery tag we remember

_LINE = re.compile(r"(\d+\.\d+) \[(\d+) ([^\]]*)\] (.*)", re.DOTALL)
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b"}
_PRIORITY = "\x06\x16"


@dataclass(frozen=True, slots=True)
class Command:
    """One command as the server logs it: when, in which database, from which address, and its words."""

    at: float
    db: int
    client: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Keys:
    """Where an app has its keys: the prefixes, the databases (None where they are on another server), and the names of three."""

    prefix: str = ""
    db: int = 0
    task: str = "celery-task-meta-"
    group: str = "celery-taskset-meta-"
    results_db: int | None = 0
    fanout: str = "/0."
    events: str = "celeryev"
    unacked: str = "unacked"
    unacked_index: str = "unacked_index"


Tags = MutableMapping[str, tuple[str, str]]
"""Of which task (id and name) the message with a delivery tag is: some commands name nothing else."""


def command_of(line: str) -> Command | None:
    """Read one line of MONITOR; None for what is not one."""
    if not (match := _LINE.fullmatch(line)):
        return None
    at, db, client, rest = match.groups()
    return Command(float(at), int(db), client, tuple(_unescaped(word) for word in _WORD.findall(rest)))


def observation_of(command: Command, keys: Keys, tags: Tags, arrived: float) -> Observation | None:
    """Turn a command into an observation; None for one that has nothing to do with this app's messages and results.

    Only what a rule picks from a command is kept, so no password and no foreign key ever is. `tags` is what it remembers
    of earlier commands.
    """
    if len(command.words) < 2 or not (rule := _RULES.get(command.words[0].upper())):
        return None
    found = rule(command, keys, tags)
    if found is None:
        return None
    verb = command.words[0].upper()
    fields: dict[str, Any] = {"text": found.pop("text"), "client": command.client} | found
    task = plain.kept_once(fields.pop("id", None))
    return Observation("command", verb, command.at, arrived, task=task, attempt=fields.pop("attempt", None), data=plain.data(fields))


def steps_of(said: Iterable[Observation]) -> Iterator[tuple[float, str]]:
    """Find the commands among what was said that moved a message or a result, or told the workers something: when, and its text.

    Who only waits or looks has moved nothing, and a message's place in the index goes with the message.
    """
    for one in said:
        if one.source == "command" and one.task and (one.kind in _STEPS or "method" in one.data):
            yield one.at, str(one.data.get("text", ""))


class CommandsTap(RedisLine):
    """Listen to every command that the broker's Redis server is given, and keep those of an app."""

    name: ClassVar[str] = "commands"
    source: ClassVar[Source] = "command"
    command = ("MONITOR",)

    def __init__(self, app: Celery, say: Say) -> None:
        super().__init__(say)
        self._app = app
        self._keys = Keys()
        self._tags: dict[str, tuple[str, str]] = {}

    def find(self) -> Connect:
        """Find the broker as kombu does, and where the app has its keys."""
        connect, self._keys = self._find_broker()
        return connect

    def take(self, message: Any) -> None:
        """Keep a command that has to do with the app."""
        if not isinstance(message, bytes) or not _VERBS.intersection(message.split(b'"', 2)[1:2]):
            return  # most commands; and the answer to a PING
        command = command_of(message.decode("latin-1"))
        if command is not None:
            self.say(observation_of(command, self._keys, self._tags, time.time()))
            while len(self._tags) > TAGS:
                del self._tags[next(iter(self._tags))]

    def _find_broker(self) -> tuple[Connect, Keys]:
        """Learn from kombu how it connects to the broker, and where it has its keys."""
        with open_broker(self._app) as connection:
            if connection.transport.driver_type != "redis":
                raise Refused(f"only Redis can tell its commands, and the broker is of the kind {connection.transport.driver_type!r}")
            connect(connection)
            channel = connection.default_channel
            pool = channel.pool
            db = int(pool.connection_kwargs.get("db") or 0)
            broker = _address(pool)
            keys = {
                "prefix": channel.global_keyprefix,
                "db": db,
                "fanout": channel.global_keyprefix + channel.keyprefix_fanout,
                "events": str(self._app.conf.event_exchange),
                "unacked": channel.unacked_key,
                "unacked_index": channel.unacked_index_key,
            }
        return connect_like(pool), Keys(**keys, **self._result_keys(broker))

    def _result_keys(self, broker: Any) -> dict[str, Any]:
        try:
            backend = redis_backend(self._app)
        except Refused:
            return {"results_db": None}
        pool = backend.client.connection_pool
        group = backend.group_keyprefix
        return {
            "results_db": int(pool.connection_kwargs.get("db") or 0) if _address(pool) == broker else None,
            "task": prefix_of(backend).decode(),
            "group": group.decode() if isinstance(group, bytes) else str(group),
        }


Found = dict[str, Any] | None
"""What a rule picks from a command: its text, and where it is known, the task's id."""


def _push(command: Command, keys: Keys, tags: Tags) -> Found:
    verb, key, *messages = command.words
    if not _is_brokers(command, keys) or not messages or (found := _message(messages[-1], tags)) is None:
        return None
    return found | {"text": f"{verb} {_name(key)} {_braced(task=found['name'], id=found['id'])}", "key": key}


def _pop(command: Command, keys: Keys, _tags: Tags) -> Found:
    verb, *lists = command.words[:-1] if command.words[0].upper().startswith("B") else command.words
    queues = [key for key in lists if key.startswith(keys.prefix) and _PRIORITY not in key]
    if command.db != keys.db or not queues:
        return None
    return {"text": f"{verb} {' '.join(queues)} {{it waits for the next message}}", "key": queues[0]}


def _tagged(command: Command, keys: Keys, tags: Tags) -> Found:
    """The broker's list of what was taken and not yet confirmed: the messages, and when they were taken."""
    verb, key, *rest = command.words
    if _is_brokers(command, keys) and key in (keys.prefix + keys.unacked, keys.prefix + keys.unacked_index) and rest:
        upper = verb.upper()
        tag = rest[1] if upper == "ZADD" and len(rest) > 1 else rest[0]
        found: dict[str, Any] = {}
        if upper == "HSET" and len(rest) > 1:
            found = _message(rest[1], tags) or {}
        task, name = tags.get(tag, ("", ""))
        found = {"id": task, "name": name} | found | {"tag": tag, "key": key}
        return found | {"text": f"{verb} {_name(key)} {_braced(task=found['name'], id=found['id'], tag='' if found['id'] else tag)}"}
    return _gate(command, keys, tags)


def _gate(command: Command, keys: Keys, _tags: Tags) -> Found:
    """The keys by which the backend counts the members of a chord."""
    verb, key, *rest = command.words
    if command.db != keys.results_db or not key.startswith(keys.group):
        return None
    group, _, part = key.removeprefix(keys.group).partition(".")
    found: dict[str, Any] = {"group": group, "key": key}
    state = ""
    member = _json(rest[-1]) if rest else None
    if isinstance(member, list) and len(member) >= 3 and isinstance(member[1], str):  # [1, id, state, result] in the counter `.j`
        found["id"], state = member[1], str(member[2])
    elif part == "d" and verb.upper() == "SADD" and rest:  # id:index, of those already counted
        found["id"] = rest[0].rpartition(":")[0]
    elif part == "s" and verb.upper() == "SET" and rest:
        found["size"] = rest[0]
    return found | {"text": f"{verb} {_name(key)} {_braced(id=found.get('id'), state=state, size=found.get('size'))}".rstrip()}


def _result(command: Command, keys: Keys, tags: Tags) -> Found:
    """The key of a stored result, or the channel of the same name."""
    verb, key, *rest = command.words
    upper = verb.upper()
    if not key.startswith(keys.task) or keys.results_db is None or (command.db != keys.results_db and "SUBSCRIBE" not in upper + key):
        return _gate(command, keys, tags) if upper in {"SET", "DEL"} else None
    found: dict[str, Any] = {"id": key.removeprefix(keys.task), "key": key}
    stored = _json(rest[-1]) if rest else None
    if isinstance(stored, dict):
        found |= {"state": stored.get("status"), "name": stored.get("name")}
    seconds = f"{rest[0]} " if upper == "SETEX" and len(rest) > 1 else ""
    said = _braced(task=found.get("name"), state=found.get("state"), id=found["id"])
    return found | {"text": f"{verb} {_name(keys.task)}… {seconds}{said}"}


def _publish(command: Command, keys: Keys, tags: Tags) -> Found:
    """A stored result, or a command for the workers; events have a tap of their own, which hears what is in them."""
    verb, channel, *rest = command.words
    if channel.startswith(keys.task):
        return _result(command, keys, tags)
    if command.db != keys.db or not channel.startswith(keys.fanout) or channel.startswith(keys.fanout + keys.events) or not rest:
        return None
    message = _body(_json(rest[0]))
    if not isinstance(message, dict) or not isinstance(method := message.get("method"), str):
        return None
    arguments = message.get("arguments")
    task = arguments.get("task_id") if isinstance(arguments, dict) else None
    task = task if isinstance(task, str) else None
    return {"id": task, "key": channel, "method": method, "text": f"{verb} {_name(channel)} {_braced(command=method, id=task)}"}


_RULES: Mapping[str, Callable[[Command, Keys, Tags], Found]] = {
    "LPUSH": _push,
    "RPUSH": _push,
    "BRPOP": _pop,
    "RPOP": _pop,
    "ZADD": _tagged,
    "ZREM": _tagged,
    "HSET": _tagged,
    "HDEL": _tagged,
    "SADD": _gate,
    "SETEX": _result,
    "SET": _result,
    "GET": _result,
    "DEL": _result,
    "SUBSCRIBE": _result,
    "UNSUBSCRIBE": _result,
    "PUBLISH": _publish,
}
_STEPS = frozenset({"LPUSH", "RPUSH", "HSET", "HDEL", "SETEX", "SET", "SADD", "DEL"})
_VERBS = frozenset(spelt.encode() for verb in _RULES for spelt in (verb, verb.lower()))


def _is_brokers(command: Command, keys: Keys) -> bool:
    return command.db == keys.db and command.words[1].startswith(keys.prefix)


def _message(text: str, tags: Tags) -> dict[str, Any] | None:
    """Read a task message, alone or as the hash of the unacknowledged has it, and remember its delivery tag."""
    message = _json(text)
    if isinstance(message, list) and message:
        message = message[0]
    headers = message.get("headers") if isinstance(message, dict) else None
    if not isinstance(headers, dict):
        return None
    task, name = headers.get("id"), headers.get("task")
    if not isinstance(task, str) or not isinstance(name, str):
        return None
    properties = message.get("properties")
    tag = properties.get("delivery_tag") if isinstance(properties, dict) else None
    if isinstance(tag, str):
        tags[tag] = (task, name)
    group = {"group": headers.get("group"), "group_index": headers.get("group_index"), "parent_id": headers.get("parent_id")}
    return {"id": task, "name": name, "tag": tag, "attempt": plain.count(headers.get("retries")), "bytes": len(text)} | group


def _body(message: Any) -> Any:
    """Read the body of a message for the workers."""
    if not isinstance(message, dict) or not isinstance(body := message.get("body"), str):
        return None
    properties = message.get("properties")
    if isinstance(properties, dict) and properties.get("body_encoding") == "base64":
        try:
            body = base64.b64decode(body).decode()
        except ValueError:
            return None
    return _json(body)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _braced(**fields: Any) -> str:
    said = ", ".join(f"{name}: {value}" for name, value in fields.items() if value)
    return f"{{{said}}}" if said else ""


def _name(key: str) -> str:
    """Write a key so that its control characters can be seen."""
    return key if key.isprintable() else key.encode("unicode_escape").decode()


def _unescaped(word: str) -> str:
    if "\\" not in word:
        return word
    raw = _ESCAPE.sub(lambda found: _character(found[1]), word)
    return raw.encode("latin-1", "replace").decode("utf-8", "replace")


def _character(escape: str) -> str:
    return chr(int(escape[1:], 16)) if len(escape) == 3 else _ESCAPED.get(escape, escape)


def _address(pool: Any) -> tuple[Any, ...]:
    options = pool.connection_kwargs
    host = options.get("host")
    return ("localhost" if host in ("127.0.0.1", "::1") else host, options.get("port"), options.get("path"))

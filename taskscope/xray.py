"""What is in the broker and the result backend, at one moment, with what each thing is for.

Looking changes nothing and holds nobody up: SCAN instead of KEYS, one transaction of nothing but reading, at most `limit` things
of a kind. Keys that come into being between the two are not in the picture.
"""

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from celery import Celery

from taskscope import rabbitmq
from taskscope.errors import ScopeError
from taskscope.gate import MEANINGS, Gate, judge
from taskscope.keyspace import SEPARATOR, BrokerNames, Key, Place, backend_of, broker_of, names, photograph, shown
from taskscope.messages import Message, brief, call
from taskscope.states import ENDS


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue: the messages nobody has taken, the next one first."""

    name: str
    waiting: int
    messages: tuple[Message, ...] = ()  # at most as many as the limit allows
    unacked: int | None = None  # where the broker counts that by queue: RabbitMQ
    is_bound: bool = True  # an exchange leads to it
    kind: Literal["tasks", "replies"] = "tasks"


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that a worker has taken and not confirmed."""

    message: Message
    at: float | None  # when, in seconds of the Unix clock; 0 when it was marked to be delivered again


@dataclass(frozen=True, slots=True)
class Binding:
    """A way from an exchange to a queue."""

    exchange: str
    routing_key: str
    pattern: str
    queue: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored result: `value` is a short text, `problem` says in words why there is none."""

    id: str
    state: str
    value: str
    call: str  # add(2, 3), where the result is stored with it (result_extended)
    ttl: float | None
    group: str = ""
    parent: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """What the backend keeps of a group or a chord's header."""

    id: str
    gate: Gate
    keys: tuple[tuple[str, str, float | None], ...]  # name, what it is for, time to live


@dataclass(frozen=True, slots=True)
class Other:
    """A key that is neither of these; without a meaning it is not known what it is."""

    name: str
    type: str
    size: int
    ttl: float | None
    meaning: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that was found. `of` has, for each kind of thing of which not all is here, how many there are."""

    taken: float
    broker: str
    backend: str
    queues: tuple[Queue, ...] = ()
    unacked: tuple[Taken, ...] = ()
    bindings: tuple[Binding, ...] = ()
    results: tuple[Stored, ...] = ()
    groups: tuple[Group, ...] = ()
    others: tuple[Other, ...] = ()
    of: Mapping[str, int] | None = None
    notes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()  # ids that were asked for, and of which nothing was found
    hidden: tuple[str, ...] = ()  # ids that were asked for, and of which the broker does not show whether it has a message

    def queue(self, name: str = "celery") -> Queue:
        """Return one queue; a queue that is empty is no key, so it need not be there."""
        return next((queue for queue in self.queues if queue.name == name), Queue(name, 0, is_bound=False))

    def to_json(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        plain = asdict(self)
        for queue, found in zip(plain["queues"], self.queues, strict=True):
            queue["messages"] = [message.to_json() for message in found.messages]
        for one, held in zip(plain["unacked"], self.unacked, strict=True):
            one["message"] = held.message.to_json()
        # Lone surrogates and the like: what is not text stays readable.
        return json.loads(json.dumps(plain, default=repr))  # type: ignore[no-any-return]

    def text(self, ids: bool = False) -> str:
        """Write it for people, the same for every run of the same steps: without times, and with ids, cut short, only on demand."""
        return "\n".join(_lines(self, ids))


def xray(
    app: Celery,
    limit: int = 200,
    management_url: str | None = None,
    ids: Collection[str] | None = None,
    ended: Collection[str] = (),
) -> Snapshot:
    """Look into the broker and the result backend of an application.

    Args:
        app: the application, whose settings say where to look.
        limit: how many messages, results, … to show at most, of each kind; the rest is counted.
        management_url: where RabbitMQ's management API is; else `TASKSCOPE_MANAGEMENT_URL` says it, or it is at port 15672 of the broker.
        ids: show only the messages and the stored results of these tasks.
        ended: those of them that somebody saw end. No broker has a message of these; RabbitMQ does not show which messages it has.

    Raises:
        ScopeError: a server does not answer; it says which, and what to do.
    """
    if limit < 1:
        raise ScopeError(f"limit={limit} would show nothing", "xray(app, limit=200)")
    broker, backend = broker_of(app), backend_of(app)
    notes: list[str] = []
    parts: dict[str, Any] = {"queues": (), "bindings": ()}
    of: dict[str, int] = {}
    with app.connection_for_read() as connection:
        broker_name = broker.where if broker else connection.as_uri()
    management = rabbitmq.management_of(app, management_url)
    if management and ids is None:
        try:
            parts |= _from_rabbitmq(management, limit, of)
            notes.append("RabbitMQ shows numbers, up to 5 s old, not messages: to look at one is to take it out, which marks it for ever")
        except ScopeError as error:
            notes.append(str(error))
    elif broker is None and not management:
        notes.append(f"the broker is {broker_name}: only Redis and RabbitMQ can be looked into")
    if backend is None:
        notes.append(f"the result backend is {type(app.backend).__name__}: only Redis can be looked into")
    if broker and backend and _same_database(broker, backend):
        _Redis(app, broker, broker, backend, limit, ids).look(parts, of, notes)
    else:
        if broker:
            _Redis(app, broker, broker, None, limit).look(parts, of, notes)
        if backend:
            _Redis(app, backend, None, backend, limit, ids).look(parts, of, notes)
        if broker and backend:
            notes.append("broker and backend are two databases, so these are two moments, a few milliseconds apart")
    found = Snapshot(time.time(), broker_name, backend.where if backend else type(app.backend).__name__, of=of, notes=tuple(notes), **parts)
    if ids is None:
        return found
    only = _of_tasks(found, ids)
    return only if management is None else _without_messages(only, ids, ended)


def _without_messages(found: Snapshot, ids: Collection[str], ended: Collection[str]) -> Snapshot:
    """Say of which of these tasks nobody knows whether RabbitMQ has a message."""
    done = {*ended, *(stored.id for stored in found.results if stored.state in ENDS)}
    hidden = tuple(dict.fromkeys(name for name in ids if name not in done))
    return replace(found, missing=tuple(name for name in found.missing if name in done), hidden=hidden)


def _of_tasks(found: Snapshot, ids: Collection[str]) -> Snapshot:
    """Leave out all that is not a message or a stored result of one of these tasks."""
    queues = []
    for queue in found.queues:
        if mine := tuple(message for message in queue.messages if message.id in ids):
            queues.append(replace(queue, waiting=len(mine), messages=mine))
    unacked = tuple(taken for taken in found.unacked if taken.message.id in ids)
    seen = {message.id for queue in queues for message in queue.messages} | {taken.message.id for taken in unacked}
    missing = tuple(dict.fromkeys(name for name in ids if name not in seen | {stored.id for stored in found.results}))
    notes = found.notes
    if any(queue.waiting > len(queue.messages) for queue in found.queues) or "unacked" in (found.of or {}):
        notes += ("there are more messages than were looked at",)
    of = {kind: number for kind, number in (found.of or {}).items() if kind == "results"}
    only = replace(found, queues=tuple(queues), unacked=unacked, bindings=(), groups=(), others=(), of=of)
    return replace(only, notes=notes, missing=() if of else missing)


def _same_database(one: Place, other: Place) -> bool:
    return one.where.replace("localhost", "127.0.0.1") == other.where.replace("localhost", "127.0.0.1")


def _from_rabbitmq(management: rabbitmq.Management, limit: int, of: dict[str, int]) -> dict[str, Any]:
    rows = sorted(management.get("queues"), key=lambda row: str(row.get("name")))
    queues = [
        Queue(
            str(row.get("name")),
            rabbitmq.count(row, "messages_ready"),
            unacked=rabbitmq.count(row, "messages_unacknowledged"),
            kind="replies" if str(row.get("name")).endswith("pidbox") else "tasks",
        )
        for row in rows
    ]
    bindings = [
        Binding(str(row.get("source")), str(row.get("routing_key")), "", str(row.get("destination")))
        for row in management.get("bindings")
        if row.get("destination_type") == "queue" and row.get("source")  # each queue is bound to the exchange without a name
    ]
    return {"queues": _cut("queues", queues, limit, of), "bindings": _cut("bindings", sorted(bindings, key=_by_name), limit, of)}


def _cut(kind: str, found: Sequence[Any], limit: int, of: dict[str, int], total: int | None = None) -> tuple[Any, ...]:
    total = len(found) if total is None else total
    if total > min(len(found), limit):
        of[kind] = total + of.get(kind, 0)
    return tuple(found[:limit])


def _by_name(binding: Binding) -> tuple[str, ...]:
    return binding.exchange, binding.queue, binding.routing_key, binding.pattern


def parse_binding(exchange: str, member: str, separator: str = SEPARATOR) -> Binding | None:
    """Read one member of a binding set, or None when it is not one."""
    parts = member.split(separator)
    return Binding(exchange, *parts) if len(parts) == 3 else None


class _Redis:
    """One look into one Redis database, which is the broker, the backend or both."""

    def __init__(
        self, app: Celery, place: Place, broker: Place | None, backend: Place | None, limit: int, ids: Collection[str] | None = None
    ) -> None:
        self._place, self._broker, self._backend, self._limit, self._ids = place, broker, backend, limit, ids
        self._names = BrokerNames(app)
        self._queues = sorted(app.amqp.queues) if broker else []
        self._expected_names = {
            *(self._names.unacked, self._names.index),
            *(name for queue in self._queues for name in self._names.lists_of(queue)),
        }
        self._prefixes = {
            kind: getattr(app.backend, f"{attribute}_keyprefix").decode()
            for kind, attribute in (("results", "task"), ("groups", "group"))
            if backend
        }
        self._chosen: dict[str, list[bytes]] = {}
        self._counts: dict[str, int] = {}

    def look(self, parts: dict[str, Any], of: dict[str, int], notes: list[str]) -> None:
        """Add what is found to what there is."""
        with self._place.open() as client:
            self._find(client, notes)
            keys = photograph(client, [*self._expected(), *(key for kind in self._chosen.values() for key in kind)], self._limit)
        if self._broker:
            parts["queues"], parts["bindings"] = self._read_queues(keys, of), self._read_bindings(keys, of)
            parts["unacked"] = self._read_unacked(keys, of)
        if self._backend:
            parts["results"], parts["groups"] = self._read_results(keys, of), self._read_groups(keys, of)
        parts["others"] = parts.get("others", ()) + self._read_others(keys, of)

    # -- finding ------------------------------------------------------------------------------------------------------

    def _find(self, client: Any, notes: list[str]) -> None:
        """Sort the names of all keys that are ours by kind, and keep of each kind as many as will be shown."""
        prefixes = {place.prefix for place in (self._broker, self._backend) if place}
        if "" in prefixes:
            prefixes = {""}
        try:
            for prefix in sorted(prefixes):
                for name in names(client, prefix):
                    self._keep(self._kind(shown(name)), name)
                if self._counts.get("others", 0) > self._limit:  # a queue that no setting names may be among those left out
                    for name in names(client, prefix, "list"):
                        self._keep("lists" if self._kind(shown(name)) == "others" else "", name)
        except TimeoutError as error:
            notes.append(str(error))
        except Exception as error:
            if not _is_refusal(error):
                raise
            notes.append(f"this server does not let us list its keys ({error}): shown are the queues of the settings, and what is taken")

    def _keep(self, kind: str, name: bytes) -> None:
        if kind == "results" and self._ids is not None and shown(name).removeprefix(self._prefixes["results"]) not in self._ids:
            return
        self._counts[kind] = self._counts.get(kind, 0) + 1
        kept = self._chosen.setdefault(kind, [])
        if len(kept) < self._limit * (len(MEANINGS) if kind == "groups" else 1):
            kept.append(name)

    def _kind(self, name: str) -> str:
        if (rest := self._inside(self._broker, name)) is not None:
            if rest in self._expected_names:
                return "expected"
            if rest.startswith(("_kombu.binding.", "_kombu.binding_permanent.")):
                return "bindings"
        for kind, prefix in self._prefixes.items():
            if name.startswith(prefix):
                return kind
        return "others"

    def _inside(self, place: Place | None, name: str) -> str | None:
        return name.removeprefix(place.prefix) if place and name.startswith(place.prefix) else None

    def _expected(self) -> list[bytes]:
        """Name the keys that are looked at even if they were not there a moment ago: a message may just have moved there."""
        return [f"{self._broker.prefix}{name}".encode() for name in sorted(self._expected_names)] if self._broker else []

    # -- reading ------------------------------------------------------------------------------------------------------

    def _read_queues(self, keys: Mapping[bytes, Key], of: dict[str, int]) -> tuple[Queue, ...]:
        bound = {binding.queue for binding in self._read_bindings(keys, {})}
        lists: dict[str, dict[int, Key]] = {name: {} for name in [*self._queues, *(name for name in bound if not _is_plumbing(name))]}
        for key in keys.values():
            rest = self._inside(self._broker, key.name)
            if rest is not None and key.type == "list" and self._looks_like_a_queue(rest, key, bound):
                name, _, step = rest.rpartition(self._names.separator)
                by_step = (name, int(step)) if name and step.isdecimal() else (rest, 0)
                lists.setdefault(by_step[0], {})[by_step[1]] = key
        queues = []
        for name, steps in sorted(lists.items()):
            ordered = [key for _, key in sorted(steps.items())]
            messages = [Message.read(raw, key.name) for key in ordered for raw in reversed(key.value)]
            waiting = sum(key.size for key in ordered)
            kind: Literal["tasks", "replies"] = "replies" if _is_plumbing(name) else "tasks"
            queues.append(Queue(name, waiting, tuple(messages[: self._limit]), None, name in bound, kind))
        return _cut("queues", queues, self._limit, of)

    def _looks_like_a_queue(self, name: str, key: Key, bound: set[str]) -> bool:
        base = name.rpartition(self._names.separator)[0] or name
        return base in bound or base in self._queues or _is_plumbing(name) or any(Message.read(raw).envelope for raw in key.value[:1])

    def _read_bindings(self, keys: Mapping[bytes, Key], of: dict[str, int]) -> tuple[Binding, ...]:
        found = set()
        total = 0
        for key in keys.values():
            rest = self._inside(self._broker, key.name) or ""
            start = next((start for start in ("_kombu.binding.", "_kombu.binding_permanent.") if rest.startswith(start)), None)
            if start is None or key.type != "set":
                continue
            total += key.size if start == "_kombu.binding." else 0  # the permanent ones are in both
            for member in key.value:
                if binding := parse_binding(rest.removeprefix(start), shown(member), self._names.separator):
                    found.add(binding)
        return _cut("bindings", sorted(found, key=_by_name), self._limit, of, max(total, len(found)))

    def _read_unacked(self, keys: Mapping[bytes, Key], of: dict[str, int]) -> tuple[Taken, ...]:
        prefix = self._broker.prefix if self._broker else ""
        held, index = (keys.get(f"{prefix}{name}".encode()) for name in (self._names.unacked, self._names.index))
        if held is None or held.type != "hash":
            return ()
        times = dict(index.value) if index and index.type == "zset" else {}
        found = [Taken(_taken(raw, held.name), times.get(tag)) for tag, raw in held.value.items()]
        found.sort(key=lambda taken: (taken.at is None, taken.at or 0.0))
        return _cut("unacked", found, self._limit, of, held.size)

    def _read_results(self, keys: Mapping[bytes, Key], of: dict[str, int]) -> tuple[Stored, ...]:
        prefix = self._prefixes["results"]
        found = [_stored(key.name.removeprefix(prefix), key) for key in keys.values() if self._kind(key.name) == "results"]
        return _cut("results", sorted(found, key=_in_words), self._limit, of, self._counts.get("results", 0))

    def _read_groups(self, keys: Mapping[bytes, Key], of: dict[str, int]) -> tuple[Group, ...]:
        groups: dict[str, dict[str, Key]] = {}
        for key in keys.values():
            if self._kind(key.name) == "groups":
                rest = key.name.removeprefix(self._prefixes["groups"])
                stem, dot, suffix = rest.rpartition(".")
                name, what = (stem, suffix) if dot and len(suffix) == 1 else (rest, "")
                groups.setdefault(name, {})[what] = key
        found = [
            Group(
                name,
                judge(parts),
                tuple((key.name, MEANINGS.get(suffix, "not known"), key.ttl) for suffix, key in sorted(parts.items())),
            )
            for name, parts in sorted(groups.items())
        ]
        if self._counts.get("groups", 0) > len(self._chosen.get("groups", ())):
            of["keys of groups"] = self._counts["groups"]
        return _cut("groups", found, self._limit, of)

    def _read_others(self, keys: Mapping[bytes, Key], of: dict[str, int]) -> tuple[Other, ...]:
        bound = {binding.queue for binding in self._read_bindings(keys, {})} if self._broker else set()
        found, queues = [], 0
        for key in keys.values():
            if self._kind(key.name) != "others":
                continue
            rest = self._inside(self._broker, key.name)
            if rest is not None and key.type == "list" and self._looks_like_a_queue(rest, key, bound):
                queues += 1
            else:
                found.append(Other(key.name, key.type, key.size, key.ttl, self._meaning(rest)))
        found.sort(key=lambda other: other.name)
        return _cut("other keys", found, self._limit, of, self._counts.get("others", 0) - queues)

    def _meaning(self, rest: str | None) -> str:
        if rest == self._names.mutex:
            return "held by the worker that looks for messages to deliver again"
        if rest == "_kombu.binding_deadlines":
            return "when bindings of queues that nobody uses any more may be swept"
        return ""


def _is_refusal(error: Exception) -> bool:
    return type(error).__name__ in ("NoPermissionError", "ResponseError")


def _is_plumbing(queue: str) -> bool:
    """Tell Celery's own queues, for remote control and events, from those of tasks."""
    return queue.endswith(".pidbox") or queue.startswith("celeryev.")


def _taken(raw: bytes, key: str) -> Message:
    text = shown(raw)
    try:
        envelope = json.loads(text)[0]
    except (ValueError, LookupError, TypeError, RecursionError):
        return Message({}, key, text, "not a message that was taken from a queue")
    return Message.of(envelope, key, text)


def _stored(task_id: str, key: Key) -> Stored:
    if key.type != "string":
        return Stored(task_id, "", "", "", key.ttl, problem=f"a {key.type}, not a result")
    if key.size > len(key.value):
        return Stored(task_id, "", "", "", key.ttl, problem=f"{key.size} bytes, not read")
    try:
        meta = json.loads(key.value)
        state = str(meta["status"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return Stored(task_id, "", "", "", key.ttl, problem="not JSON that Celery wrote")
    result, name = meta.get("result"), meta.get("name")
    args, kwargs = meta.get("args"), meta.get("kwargs")
    named = bool(name) and isinstance(args, (list, tuple)) and isinstance(kwargs, dict)
    return Stored(
        task_id,
        state,
        _value(state, result),
        call(str(name), args, kwargs) if named else str(name or "").rpartition(".")[2],
        key.ttl,
        str(meta.get("group_id") or ""),
        str(meta.get("parent_id") or ""),
    )


def _value(state: str, result: Any) -> str:
    if isinstance(result, dict) and "exc_type" in result:
        message = result.get("exc_message")
        words = ", ".join(map(brief, message)) if isinstance(message, list) else brief(message)
        return f"{result['exc_type']}({words})"
    return "" if result is None and state != "SUCCESS" else brief(result)


# -- in words ---------------------------------------------------------------------------------------------------------


def _lines(snapshot: Snapshot, ids: bool) -> Iterable[str]:
    of = snapshot.of or {}
    for queue in snapshot.queues:
        if queue.kind == "replies" and not queue.waiting:
            continue
        words = ", ".join(_label(message, ids) for message in queue.messages)
        taken = f", {queue.unacked} taken and not confirmed" if queue.unacked else ""
        yield f'queue "{queue.name}": {_many(queue.waiting, len(queue.messages), "waiting")}{taken}' + (f": {words}" if words else "")
    if snapshot.unacked:
        words = ", ".join(_label(taken.message, ids) for taken in snapshot.unacked)
        total = of.get("unacked", len(snapshot.unacked))
        yield f"taken by a worker, not confirmed: {_many(total, len(snapshot.unacked))}: {words}"
    for exchange, bindings in _by_exchange(snapshot.bindings).items():
        plain = sorted({binding.queue for binding in bindings if not _is_plumbing(binding.queue)})
        quoted = ", ".join(f'"{name}"' for name in plain)
        others = len([binding for binding in bindings if _is_plumbing(binding.queue)])
        listeners = f"{others} of Celery's own" if others else ""
        yield f'exchange "{exchange}" leads to {" and ".join(filter(None, (quoted, listeners)))}'
    if snapshot.results:
        words = ", ".join(_in_words(result) + (f" [{result.id[:8]}]" if ids else "") for result in snapshot.results)
        yield f"stored results: {_many(of.get('results', len(snapshot.results)), len(snapshot.results))}: {words}"
    for group in snapshot.groups:
        yield f"group{f' [{group.id[:8]}]' if ids else ''}: {_gate(group.gate)}"
    for other in snapshot.others:
        yield f'key "{other.name}" ({other.type}): {other.meaning or "not known"}'
    if "other keys" in of:
        yield f"other keys: {_many(of['other keys'], len(snapshot.others))}"
    if snapshot.missing:
        yield f"{len(snapshot.missing)} {'task' if len(snapshot.missing) == 1 else 'tasks'}: no message, and no stored result"
    if snapshot.hidden:
        yield f"{len(snapshot.hidden)} {'task' if len(snapshot.hidden) == 1 else 'tasks'}: RabbitMQ does not show whether it has a message"
    yield from snapshot.notes


def _many(total: int, shown_: int, what: str = "") -> str:
    number = f"{total} {what}".strip()
    return number if not shown_ or shown_ >= total else f"{number}, showing {shown_} of {total}"


def _label(message: Message, ids: bool) -> str:
    later = " (for later)" if message.eta is not None else ""
    tries = f" (retry {message.retries})" if message.retries else ""
    return f"{message.label}{later}{tries}" + (f" [{message.id[:8]}]" if ids and message.id else "")


def _in_words(stored: Stored) -> str:
    outcome = stored.problem or (f"{stored.state} = {stored.value}" if stored.value else stored.state)
    return f"{stored.call}: {outcome}" if stored.call else outcome


def _gate(gate: Gate) -> str:
    counted = f"{gate.counted or 0} of {gate.size}" if gate.size is not None else f"{gate.counted or 0}"
    return {
        "counting": f"{counted} counted",
        "opening": f"{counted} counted, the body is being sent",
        "open": "the body was sent",
        "failed": f"{counted} counted, one of them failed: the body will not run",
        "absent": "its members are kept, nobody counts",
    }[gate.state]


def _by_exchange(bindings: Iterable[Binding]) -> dict[str, list[Binding]]:
    found: dict[str, list[Binding]] = {}
    for binding in bindings:
        found.setdefault(binding.exchange, []).append(binding)
    return found

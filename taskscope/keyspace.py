"""The Redis under a Celery application, as keys: found by SCAN, read in one transaction, never changed."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis
from celery import Celery
from celery.backends.redis import RedisBackend, SentinelBackend

from taskscope.errors import ScopeError

SEPARATOR = "\x06\x16"  # of a binding's parts, and of a queue and its priority
STEPS = (0, 3, 6, 9)  # the priorities for which the Redis transport keeps a list
CONNECT_PATIENCE, ANSWER_PATIENCE = 2.0, 5.0
SCAN_PATIENCE = 5.0  # seconds; a server with more keys than that is shown in part
SCAN_STEP = 1000  # keys per round trip: a fraction of a millisecond of the server's time
MAX_VALUE = 64 * 1024  # bytes of one value; longer ones are told by their length


@dataclass(frozen=True, slots=True)
class Place:
    """A Redis database, and the prefix of the keys that are ours in it."""

    parameters: Mapping[str, Any] = field(repr=False)  # of the connection; the password is in here
    prefix: str
    where: str  # for people to read

    @contextmanager
    def open(self) -> Iterator["redis.Redis"]:
        """Connect until the block ends, and turn the server's silence or refusal into words.

        Raises:
            ScopeError: the server is not there, or does not let us in.
        """
        client = self.connect()
        try:
            with self.answering():
                yield client
        finally:
            client.close()
            client.connection_pool.disconnect()

    def connect(self) -> "redis.Redis":
        """Return a client that connects when it is first used, and again when it was cut off; whoever takes it closes it."""
        patience = {"socket_connect_timeout": CONNECT_PATIENCE, "socket_timeout": ANSWER_PATIENCE}
        # A path on this machine has no such thing as a time to connect.
        if "path" in self.parameters:
            del patience["socket_connect_timeout"]
        return redis.Redis(connection_pool=redis.ConnectionPool(**{**self.parameters, **patience}))

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Turn the server's silence or refusal in the block into words.

        Raises:
            ScopeError: the server is not there, or does not let us in.
        """
        try:
            yield
        except redis.RedisError as error:
            raise ScopeError(f"{self.where} does not answer: {error}", "is it running, and are its address and password right?") from error


class BrokerNames:
    """What the keys of the broker are called, by the application's settings, without the prefix."""

    def __init__(self, app: Celery) -> None:
        options = app.conf.broker_transport_options or {}
        self.separator = str(options.get("sep", SEPARATOR))
        self.steps = [int(step) for step in options.get("priority_steps", STEPS)]
        self.unacked = str(options.get("unacked_key", "unacked"))
        self.index = str(options.get("unacked_index_key", f"{self.unacked}_index"))
        self.mutex = str(options.get("unacked_mutex_key", f"{self.unacked}_mutex"))

    def lists_of(self, queue: str) -> list[str]:
        """Name the lists of a queue, one for each priority."""
        return [f"{queue}{self.separator}{step}" if step else queue for step in self.steps]


def broker_of(app: Celery) -> Place | None:
    """Find the broker, or None when it is not a plain Redis."""
    with app.connection_for_read() as connection:  # lazy: this connects nowhere
        if connection.transport_cls not in ("redis", "rediss"):
            return None
        parameters: dict[str, Any] = {"username": connection.userid, "password": connection.password}
        host, database = connection.hostname or "127.0.0.1", connection.virtual_host
        if "://" in host:  # redis+socket:///path?virtual_host=0
            socket = urlsplit(host)
            database = parse_qs(socket.query).get("virtual_host", ["0"])[0]
            parameters |= {"connection_class": redis.UnixDomainSocketConnection, "path": socket.path}
        else:
            parameters |= {"host": host, "port": connection.port or 6379}
        if connection.ssl:
            parameters |= {"connection_class": redis.SSLConnection, **(connection.ssl if isinstance(connection.ssl, dict) else {})}
        parameters["db"] = int(str(database or "0").strip("/") or 0)
        return Place(parameters, connection.transport_options.get("global_keyprefix", ""), _where(parameters))


def backend_of(app: Celery) -> Place | None:
    """Find the result backend, or None when it is not a plain Redis.

    Raises:
        ScopeError: there is no such backend here, as when its library is not installed.
    """
    try:
        backend = app.backend
    except Exception as error:  # whatever Celery, or the backend's own module, makes of the setting
        raise ScopeError(
            f"the result backend of this app can't be used: {error}",
            "correct result_backend, or install what it needs; with redis://127.0.0.1:6379/0 it can be looked into",
        ) from error
    if not isinstance(backend, RedisBackend) or isinstance(backend, SentinelBackend):
        return None
    prefix = backend.task_keyprefix.decode().removesuffix("celery-task-meta-")
    return Place(backend.connparams, prefix, _where(backend.connparams))


def _where(parameters: Mapping[str, Any]) -> str:
    host = parameters.get("path") or f"{parameters['host']}:{parameters['port']}"
    return f"redis://{host}/{parameters['db']}"


@dataclass(frozen=True, slots=True)
class Key:
    """One key as it was found: `value` is a part of it where it is large, and `size` always the whole."""

    name: str
    type: str
    size: int
    value: Any
    ttl: float | None  # seconds; None when it stays for ever


def names(client: "redis.Redis", prefix: str, kind: str | None = None) -> Iterator[bytes]:
    """Find the names of all keys with a prefix (and of one type), bit by bit, so that nobody else waits for us.

    Raises:
        TimeoutError: there are more than can be listed in the time that we give ourselves.
    """
    deadline = time.monotonic() + SCAN_PATIENCE
    pattern = escaped(prefix) + "*" if prefix else None
    cursor, seen = 0, set[bytes]()
    while True:
        cursor, found = client.scan(cursor, match=pattern, count=SCAN_STEP, _type=kind)
        fresh = {name for name in found if isinstance(name, bytes)} - seen  # a key may come twice while the server's table grows
        seen |= fresh
        yield from sorted(fresh)
        if not cursor:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"more keys than can be listed in {SCAN_PATIENCE:g} s: {len(seen)} were looked at")


def escaped(text: str) -> str:
    """Write a text so that a Redis pattern means just it."""
    return "".join(f"\\{letter}" if letter in "\\*?[]^-" else letter for letter in text)


def photograph(client: "redis.Redis", keys: Iterable[bytes], limit: int) -> dict[bytes, Key]:
    """Read these keys at one moment, of each at most `limit` members; those that are gone by then are left out."""
    keys = list(dict.fromkeys(keys))
    with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.type(key)
        kinds = [kind.decode() for kind in pipe.execute()]
    with client.pipeline(transaction=True) as pipe:
        for key, kind in zip(keys, kinds, strict=True):
            for ask in _ASK.get(kind, ()):
                ask(pipe, key, limit)
            pipe.pttl(key)
        answers = iter(pipe.execute(raise_on_error=False) if keys else ())
    found = {}
    for key, kind in zip(keys, kinds, strict=True):
        parts = [next(answers) for _ in _ASK.get(kind, ())]
        ttl = next(answers)
        if kind == "none" or ttl == -2 or any(isinstance(part, Exception) for part in parts):
            continue  # gone, or something else by now
        size, value = parts or (0, None)
        if kind in ("hash", "set") and value is not None:
            value = value[1]  # beside the cursor
        found[key] = Key(shown(key), kind, size, value, None if ttl < 0 else ttl / 1000)
    return found


def shown(name: bytes) -> str:
    """Write a key's name, whatever bytes it is made of."""
    return name.decode("utf-8", "backslashreplace")


_Ask = Callable[[Any, bytes, int], Any]
_ASK: dict[str, tuple[_Ask, _Ask]] = {
    "string": (lambda pipe, key, _: pipe.strlen(key), lambda pipe, key, _: pipe.getrange(key, 0, MAX_VALUE - 1)),
    # The end of the list is what a worker takes next.
    "list": (lambda pipe, key, _: pipe.llen(key), lambda pipe, key, limit: pipe.lrange(key, -limit, -1)),
    "hash": (lambda pipe, key, _: pipe.hlen(key), lambda pipe, key, limit: pipe.hscan(key, 0, count=limit)),
    "set": (lambda pipe, key, _: pipe.scard(key), lambda pipe, key, limit: pipe.sscan(key, 0, count=limit)),
    "zset": (lambda pipe, key, _: pipe.zcard(key), lambda pipe, key, limit: pipe.zrange(key, 0, limit - 1, withscores=True)),
}

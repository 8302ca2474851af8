"""Celery's events: what workers say of what they do. Any broker that carries them will do."""

import contextlib
import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from celery import Celery
from kombu.connection import Connection
from kombu.entity import Exchange
from kombu.exceptions import SerializerNotInstalled
from kombu.messaging import Producer
from kombu.pidbox import Mailbox
from kombu.serialization import prepare_accept_content
from kombu.utils.url import maybe_sanitize_url

from taskscope.observation import Observation, Source, Unread
from taskscope.taps import plain
from taskscope.taps.ears import Ear, ear_for, own_bookkeeping
from taskscope.taps.listener import TICK, Listener, Refused, Say

HELLO = "taskscope-hello"
"""The event that a tap sends to itself, to prove that it hears."""

WORKERS = 0.25  # seconds for the workers' answer, before we believe that there is none
STRAGGLERS = 0.03  # seconds in which no other worker answers: then that was all of them
BOOT = 5.0  # seconds from a worker's first event until it surely listens to commands

# Where they stand in the observation itself; and the clocks, which order nothing (children have their own).
_ELSEWHERE = frozenset({"type", "uuid", "hostname", "timestamp", "retries", "clock", "utcoffset", "local_received", "traceback"})
PICKLES = frozenset({"pickle", "application/x-python-serialize"})


def observation_of(event: Any, arrived: float) -> Observation | None:
    """Turn the body of an event into an observation; None for a hello and for what is no event."""
    if not isinstance(event, Mapping):
        return None
    kind = plain.kept_once(event.get("type"))
    if kind is None or kind == HELLO:
        return None
    at = plain.seconds(event.get("timestamp"))
    data = plain.data(event, without=_ELSEWHERE)
    if isinstance(traceback := event.get("traceback"), str) and traceback:
        data["traceback"] = plain.tail(traceback)
    return Observation(
        source="event",
        kind=plain.kept_once(kind.removeprefix("task-")) or kind,
        # As the sender's clock had it: Celery's receiver would shift it by the difference of the time zones.
        at=arrived if at is None else at,
        arrived=arrived,
        task=plain.kept_once(event.get("uuid")),
        attempt=plain.count(event.get("retries")),
        host=plain.kept_once(event.get("hostname")) or "",
        data=data,
    )


class EventsTap(Listener):
    """Listen to the events of every worker on the broker of an app, and switch them on where they are off."""

    name: ClassVar[str] = "events"
    source: ClassVar[Source] = "event"

    def __init__(self, app: Celery, say: Say) -> None:
        super().__init__(say)
        self._app = app
        self._ear: Ear | None = None
        self._reading: Connection | None = None
        self._writing: Connection | None = None
        self._dispatcher: Any = None
        self._mailbox: Exchange | None = None
        self._token = ""
        self._hello_came = False
        self._beats: dict[str, float] = {}  # node name -> when we last heard its heart
        self._booting: dict[str, float] = {}  # node name -> when it came up
        self._met: set[str] = set()  # node names that were heard for the first time, and not told yet to send events

    def open(self) -> None:
        """Consume, prove that we hear, and have the workers talk."""
        accept = _accepted(self._app)
        self._reading = open_broker(self._app)
        connect(self._reading)
        self._ear = ear_for(self._app, self._reading, accept, self._take, self._take_later, self._could_not)
        self._writing = self._app.connection_for_write(**impatient(self._app))
        connect(self._writing)
        writing = own_bookkeeping(self._writing.default_channel)
        self._dispatcher = self._app.events.Dispatcher(self._writing, channel=writing, buffer_while_offline=False)
        if not self._dispatcher.enabled:
            raise Refused(f"a broker of the kind {self._writing.transport.driver_type!r} carries no events")
        self._mailbox = Mailbox(self._app.conf.control_exchange, type="fanout").exchange
        self._prove()
        self._call_workers()

    def read(self) -> None:
        """Wait for events, and switch on workers that have just come up."""
        assert self._ear
        if self._ear.drain(TICK):
            self.gather()
        self._switch_on_newcomers()

    def ask(self) -> None:
        """Say hello to ourselves: that proves the whole way."""
        self._say_hello()

    def shut(self) -> None:
        """Close every connection."""
        if self._ear is not None:
            with contextlib.suppress(Exception):  # the broker may be gone
                self._ear.close()
        for connection in (self._reading, self._writing):
            if connection is not None:
                _close(connection)
        self._ear = self._reading = self._writing = self._dispatcher = None

    @property
    def workers(self) -> list[str]:
        """The node names of the workers that were heard."""
        return sorted(self._beats)

    def _take(self, body: Any) -> None:
        arrived = time.time()
        self.heard()
        for event in body if isinstance(body, list) else [body]:
            try:
                observation = observation_of(event, arrived)
            except Exception as error:
                self.unreadable(f"an event: {error}")
                continue
            if observation is None:
                self._hello_came |= isinstance(event, Mapping) and event.get("token") == self._token
                continue
            if observation.kind.startswith("worker-"):
                self._note_worker(observation)
            self.say(observation)

    def _take_later(self, body: Callable[[], Any]) -> None:
        self.heard()
        self.say(Unread(partial(self._read, body, time.time())))

    def _read(self, body: Callable[[], Any], arrived: float) -> list[Observation]:
        """Read what was said of tasks; what can't be read is noted."""
        try:
            events = body()
        except Exception as error:
            self.unreadable(f"an event: {error}", arrived)
            return []
        found = []
        for event in events if isinstance(events, list) else [events]:
            try:
                found.append(observation_of(event, arrived))
            except Exception as error:
                self.unreadable(f"an event: {error}", arrived)
        return [observation for observation in found if observation]

    def _could_not(self, why: str) -> None:
        self.heard()
        self.unreadable(why)

    def _prove(self) -> None:
        """Send ourselves an event until it comes back: only then is the subscription known to stand."""
        self._token, self._hello_came = uuid.uuid4().hex, False
        self._drain_until(lambda: False, 0.002)  # kombu's first read is what subscribes
        refused = len(self._unread)
        while not self._hello_came and not self.ending:
            self._say_hello()
            self._drain_until(lambda: self._hello_came or len(self._unread) > refused, 0.1)
            if not self._hello_came and len(self._unread) > refused:
                if self._app.conf.event_serializer in PICKLES:
                    raise Refused("they are pickles, which could run any code, so they are not opened (set event_serializer='json')")
                raise Refused(f"they are written as {self._app.conf.event_serializer!r}, and this app accepts {_names(self._app)}")

    def _say_hello(self) -> None:
        self._dispatcher.send(HELLO, token=self._token)

    def _call_workers(self) -> None:
        """Have every worker send events, and wait until they have got that: a heart that beats on demand comes after it."""
        self._beats.clear()
        self._booting.clear()
        self._met.clear()
        self._command("enable_events")
        self._command("heartbeat")
        if self._drain_until(lambda: bool(self._beats), WORKERS):
            self._drain_until(lambda: time.time() - max(self._beats.values()) > STRAGGLERS, WORKERS)

    def _note_worker(self, observation: Observation) -> None:
        host = observation.host
        if observation.kind == "worker-online":
            self._booting[host] = time.monotonic()
        elif observation.kind == "worker-heartbeat":
            if host not in self._beats:
                self._met.add(host)
            self._beats[host] = observation.arrived
        elif observation.kind == "worker-offline":
            self._beats.pop(host, None)
            self._booting.pop(host, None)

    def _switch_on_newcomers(self) -> None:
        """Tell workers that have just come up to send events, again and again: they say so before they listen.

        And once those that we have just met: one that did not listen yet when all were called does so when its heart beats.
        """
        if not self._booting and not self._met:
            return
        self._command("enable_events", sorted(self._met | self._booting.keys()))
        self._met.clear()
        now = time.monotonic()
        self._booting = {host: since for host, since in self._booting.items() if now - since < BOOT}

    def _command(self, method: str, destination: list[str] | None = None) -> None:
        """Send workers a command; as Celery's own mailbox does, but without trying for ever when the broker is gone."""
        assert self._writing and self._mailbox
        Producer(self._writing.default_channel, auto_declare=False).publish(
            {"method": method, "arguments": {}, "destination": destination, "pattern": None, "matcher": None},
            exchange=self._mailbox.name,
            declare=[self._mailbox],
            headers={"clock": 0, "expires": 0},
            serializer=self._app.conf.task_serializer if self._app.conf.task_serializer not in PICKLES else "json",
            retry=False,
        )

    def _drain_until(self, condition: Any, patience: float) -> bool:
        """Read until a condition holds, the time is up, or we are to end; tell whether it holds."""
        assert self._ear
        deadline = time.monotonic() + patience
        while not (holds := bool(condition())) and not self.ending and (left := deadline - time.monotonic()) > 0:
            self._ear.drain(min(left, 0.02))
        return holds


def broker_name(app: Celery) -> str:
    """Return the broker's address without its password."""
    url = app.conf.broker_read_url
    return ", ".join(maybe_sanitize_url(part) for part in (url if isinstance(url, (list, tuple)) else str(url).split(";")))


def _accepted(app: Celery) -> set[str]:
    """Find the serializers in which events may come: what the app accepts, its own event serializer, and JSON.

    Pickles are never opened, even if the app does: to look must not run anybody's code.
    """
    accepted = (set(app.conf.accept_content or ()) | {"json", app.conf.event_serializer}) - PICKLES
    usable = set()
    for name in accepted:
        with contextlib.suppress(SerializerNotInstalled):
            usable |= prepare_accept_content([name])
    return usable


def _names(app: Celery) -> str:
    return ", ".join(sorted((set(app.conf.accept_content or ()) | {"json"}) - PICKLES))


def connect(connection: Connection) -> None:
    """Connect to the broker, or fail at once: kombu would wait for two seconds before its second try, and we try again anyway."""
    connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, interval_max=0)


def open_broker(app: Celery) -> Connection:
    """Make an unconnected connection to read from the broker.

    Raises:
        Refused: there is no such kind of broker, or its library is not installed.
    """
    try:
        connection: Connection = app.connection_for_read(**impatient(app))
        assert connection.transport
    except (ImportError, KeyError) as error:
        raise Refused(f"a broker at {broker_name(app)} can't be used ({error})") from error
    return connection


def impatient(app: Celery) -> dict[str, Any]:
    """Limit how long connecting to the broker takes: kombu's Redis transport knows no limit of its own."""
    options = app.conf.broker_transport_options or {}
    url = str(app.conf.broker_read_url or "")
    if url.startswith(("redis://", "rediss://")) and "socket_connect_timeout" not in options:
        return {"transport_options": {"socket_connect_timeout": 2}}
    return {}


def _close(connection: Connection) -> None:
    """Close a connection, and its sockets even where saying goodbye fails because the broker is gone."""
    channel = connection._default_channel
    pools = [getattr(channel, name, None) for name in ("_pool", "_async_pool")]
    with contextlib.suppress(Exception):
        connection.release()
    for pool in pools:
        if pool is not None:
            pool.disconnect()

"""Two ways to hear the events on a broker: through kombu, on any broker, and on a bare line, where that is a plain Redis server."""

import base64
import contextlib
import json
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from celery import Celery
from kombu.compression import decompress
from kombu.connection import Connection
from kombu.serialization import loads
from kombu.transport import redis as kombu_redis
from redis.exceptions import ResponseError

from taskscope.taps.listener import LARGE, Refused
from taskscope.taps.redis_line import subscribe
from taskscope.taps.wire import Wire, connect_like

Take = Callable[[Any], None]
"""Takes the body of a message: an event, or a list of them."""

Later = Callable[[Callable[[], Any]], None]
"""Takes something that reads the body of a message about tasks, or fails to: it may be called when somebody asks."""

CouldNot = Callable[[str], None]
"""Takes note of what could not be read, and why."""


class Ear(Protocol):
    """Something that hears events from its making on, until it is closed."""

    def drain(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for events, and hand them over; tell whether it is of use to let more gather."""

    def ask(self) -> None:
        """Have the broker say something, if it can without our saying something to everybody."""

    def close(self) -> None:
        """Stop hearing."""


def ear_for(app: Celery, connection: Connection, accept: set[str], take: Take, later: Later, could_not: CouldNot) -> Ear:
    """Choose how to hear the events that come over a broker's connection."""
    channel = own_bookkeeping(connection.default_channel)
    # With sentinels, or without patterns, kombu knows more than we do of where events are published.
    if type(connection.transport) is kombu_redis.Transport and channel.fanout_patterns:
        return RedisEar(app, channel, accept, take, later, could_not)
    return KombuEar(app, connection, channel, accept, take, could_not)


class KombuEar:
    """Consume from a queue of our own, as Celery's receiver does, on any broker that kombu knows."""

    def __init__(self, app: Celery, connection: Connection, channel: Any, accept: set[str], take: Take, could_not: CouldNot) -> None:
        self._connection = connection
        self._opened = connection.connection  # asked for later, kombu would connect once more where the broker was lost
        self._take = take
        self._could_not = could_not
        receiver = app.events.Receiver(channel, app=app, accept=accept)
        for consumer in receiver.get_consumers(self._consumer, channel):
            consumer.consume()

    def drain(self, timeout: float) -> bool:
        """Wait for events, and hand them over; kombu reads them one by one, however many there are."""
        with contextlib.suppress(TimeoutError):  # that is what kombu raises when nothing has come
            self._connection.drain_events(timeout=timeout)
        return False

    def ask(self) -> None:
        """Do nothing: a hello to ourselves is the only way."""

    def close(self) -> None:
        """Stop hearing: with all of the connection at once, for a channel that ends alone warns of each event that still comes in."""
        self._connection.transport.close_connection(self._opened)

    def _consumer(self, queues: Any, **options: Any) -> Any:
        """Make the consumer that Celery's receiver wants, with our callbacks in place of its own."""
        options |= {"callbacks": [lambda body, _message: self._take(body)], "on_decode_error": self._could_not_decode}
        return self._connection.Consumer(queues, channel=self._connection.default_channel, **options)

    def _could_not_decode(self, message: Any, error: Exception) -> None:
        self._could_not(f"an event as {message.content_type}: {error}")


class RedisEar:
    """Subscribe to the channels on which kombu publishes events."""

    def __init__(self, app: Celery, channel: Any, accept: set[str], take: Take, later: Later, could_not: CouldNot) -> None:
        self._accept = accept
        self._take = take
        self._later = later
        self._could_not = could_not
        # The prefixes are kombu's to choose, and patterns: it does not write them literally either.
        pattern = f"{channel.global_keyprefix}{channel.keyprefix_fanout}{app.conf.event_exchange}/*"
        self._of_tasks = f"{pattern[:-1]}task.".encode()  # the channel ends with the routing key, which is the kind of the event
        self._wire = Wire(connect_like(channel.pool))
        try:
            self._wire.connect()
            self._take_all(subscribe(self._wire, "PSUBSCRIBE", pattern))
        except BaseException as error:
            self._wire.close()
            if isinstance(error, ResponseError):
                raise Refused(f"the server refuses PSUBSCRIBE ({error})") from error
            raise

    def drain(self, timeout: float) -> bool:
        """Wait for events, and hand them over."""
        messages = self._wire.read(timeout)
        self._take_all(messages)
        return bool(messages)

    def ask(self) -> None:
        """Send a PING on the line itself."""
        self._wire.send("PING")

    def close(self) -> None:
        """Close the line."""
        self._wire.close()

    def _take_all(self, messages: list[Any]) -> None:
        for message in messages:
            if isinstance(message, list) and message and message[0] == b"pmessage":
                if message[2].startswith(self._of_tasks) and len(message[3]) <= LARGE:
                    self._later(partial(body_of, message[3], self._accept))
                    continue
                try:
                    body = body_of(message[3], self._accept)
                except Exception as error:
                    self._could_not(f"an event: {error}")
                    continue
                self._take(body)
            else:  # the answer to a PING
                self._take(None)


def body_of(text: bytes, accept: set[str]) -> Any:
    """Read the body of a message as kombu writes it on Redis.

    Raises:
        ValueError: it is no such message.
        ContentDisallowed: its serializer is not one of those that are accepted.
    """
    envelope = json.loads(text)
    body, properties, kind = envelope["body"], envelope["properties"], envelope["content-type"]
    if properties.get("body_encoding") == "base64":
        body = base64.b64decode(body)
    if compression := envelope["headers"].get("compression"):
        body = decompress(body, compression)
    if kind == "application/json" and kind in accept:
        return json.loads(body)
    try:
        return loads(body, kind, envelope["content-encoding"], accept=accept)
    except Exception as error:
        raise ValueError(f"as {kind}: {error}") from error


def own_bookkeeping(channel: Any) -> Any:
    """Give a channel a dict of its own for its fanout queues.

    All of kombu's Redis channels share one, and closing a channel goes through it: it breaks when another
    thread binds a queue meanwhile.
    """
    if hasattr(type(channel), "_fanout_queues"):
        channel._fanout_queues = {}
    return channel

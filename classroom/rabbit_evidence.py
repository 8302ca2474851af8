"""What RabbitMQ holds, as far as it can be known.

RabbitMQ has no way to look at a message where it lies. Whoever wants to see one takes it and gives it back, and RabbitMQ marks it
as delivered before (`redelivered`), for ever. Our lessons do not read that mark, so the classroom may look that way; taskscope
never does. For the moment of the look, a worker finds the queue empty. What a worker has taken can't be looked at in the broker
at all: only the worker knows, so it is asked.
"""

import base64
import contextlib
import json
from collections.abc import Iterator
from typing import Any

from amqp.exceptions import NotFound
from celery import Celery
from kombu.connection import Connection

from classroom import questions
from classroom.errors import ClassroomError
from taskscope.errors import ScopeError
from taskscope.messages import Message
from taskscope.rabbitmq import management_of

_ANSWER_WITHIN = (2.0, 3.0)  # seconds; a question in the first moments after a worker's start can get lost, so there is a second one


def is_broker(app: Celery) -> bool:
    """Tell whether the broker of an application is RabbitMQ."""
    return app.connection_for_read().transport_cls in ("amqp", "amqps", "pyamqp")  # lazy: this connects nowhere


def waiting(app: Celery, queue: str) -> list[Message]:
    """List the messages of a queue that no worker has taken yet, the next one first; each is marked as delivered before."""
    with _taken(app, queue) as (_, messages):
        return [_message(message, queue) for message in messages]


def waiting_anywhere(app: Celery) -> list[Message]:
    """List the messages of all queues of tasks, also of those that no worker reads."""
    return [message for queue in queues(app) for message in waiting(app, queue)]


def discard(app: Celery, message: Message) -> None:
    """Take a message out of its queue."""
    with _taken(app, message.key) as (channel, messages):
        if found := _find(messages, message):
            channel.basic_ack(found.delivery_tag)
            messages.remove(found)


def move(app: Celery, message: Message, queue: str) -> None:
    """Put a message from its queue into another one."""
    with _taken(app, message.key) as (channel, messages):
        if found := _find(messages, message):
            channel.basic_publish(found, routing_key=queue)
            channel.basic_ack(found.delivery_tag)
            messages.remove(found)


def unacknowledged(app: Celery) -> list[Message]:
    """List the messages that workers have taken but not acknowledged, as the workers tell of them.

    They tell the id, the name, the arguments and where it came from; the other headers, such as who sent it, are not here.

    Raises:
        ClassroomError: there are workers, and they do not answer.
    """
    if not (workers := consumers(app)):
        return []  # RabbitMQ has given all of them back to their queues
    found: dict[str, Message] = {}
    # In the order in which a worker hands them on: what moves from one to the next meanwhile is found twice, never missed.
    for question in ("scheduled", "reserved", "active"):
        for item in _ask(app, question, workers):
            request = item.get("request", item)
            if not request.get("acknowledged"):
                found[request["id"]] = _as_told(request)
    return list(found.values())


def consumers(app: Celery) -> int:
    """Count the workers that read any queue."""
    with app.connection_for_read() as connection:
        return max((_size(connection, queue)[1] for queue in queues(app)), default=0)


def queues(app: Celery) -> list[str]:
    """Name the queues of tasks: those that there are, or, where the management API is not to be had, those of the settings."""
    known = sorted(app.amqp.queues)
    management = management_of(app)
    with contextlib.suppress(ScopeError):
        rows = management.get("queues") if management else []
        # Celery's own queues, for remote control and events, belong to one connection.
        known = sorted(str(row["name"]) for row in rows if not row.get("exclusive") and not row.get("auto_delete"))
    return known


@contextlib.contextmanager
def _taken(app: Celery, queue: str) -> Iterator[tuple[Any, list[Any]]]:
    """Take all messages of a queue and, at the end of the block, give back those that are left of them, each to its place."""
    with app.connection_for_read() as connection:
        channel = connection.default_channel
        messages: list[Any] = []
        for _ in range(_size(connection, queue)[0]):  # what comes after the first look is not waited for
            if (message := channel.basic_get(queue)) is None:
                break
            messages.append(message)
        try:
            yield channel, messages
        finally:
            for message in messages:
                channel.basic_reject(message.delivery_tag, requeue=True)
            if messages:
                channel.queue_declare(queue, passive=True)  # answered when they are back


def _size(connection: Connection, queue: str) -> tuple[int, int]:
    """Count the messages of a queue and those who read it; a queue that is not there has neither."""
    channel = connection.channel()
    try:
        said = channel.queue_declare(queue, passive=True)
    except NotFound:
        return 0, 0
    channel.close()
    return said.message_count, said.consumer_count


def _ask(app: Celery, question: str, workers: int) -> list[dict[str, Any]]:
    for within in _ANSWER_WITHIN:
        if replies := questions.ask(app, question, within, workers):
            return [item for reply in replies for items in reply.values() for item in items]
    raise ClassroomError("what a worker has taken only the worker knows, and none answers", "lab.worker.start()")


def _find(messages: list[Any], wanted: Message) -> Any:
    return next((found for found in messages if _message(found, wanted.key).raw == wanted.raw), None)


def _as_told(request: dict[str, Any]) -> Message:
    args, kwargs = request["args"], request["kwargs"]
    envelope = {
        "body": base64.b64encode(json.dumps([args, kwargs, {}], default=repr).encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"id": request["id"], "task": request["type"], "argsrepr": repr(tuple(args)), "kwargsrepr": repr(kwargs)},
        "properties": {"body_encoding": "base64", "delivery_info": request["delivery_info"]},
    }
    return Message.of(envelope, "", "")


def _message(found: Any, queue: str) -> Message:
    """Write a message as Celery writes one to a broker of texts, such as Redis: the body in base64."""
    properties = dict(found.properties)
    body = found.body if isinstance(found.body, bytes) else str(found.body).encode()
    envelope = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": properties.pop("content_encoding", None),
        "content-type": properties.pop("content_type", None),
        "headers": properties.pop("application_headers", {}),
        "properties": properties
        | {
            "body_encoding": "base64",
            "delivery_info": {"exchange": found.delivery_info["exchange"], "routing_key": found.delivery_info["routing_key"]},
        },
    }
    return Message.of(envelope, queue, json.dumps(envelope, default=repr))

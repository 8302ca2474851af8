"""A glance into the broker: how much each queue holds, and nothing else, so that it can be taken several times a second.

On Redis it is one round trip over a connection that is kept, whatever else the database holds; on RabbitMQ one request.
"""

import json
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celery import Celery

from taskscope import rabbitmq
from taskscope.keyspace import BrokerNames, broker_of
from taskscope.messages import Message

if TYPE_CHECKING:
    import redis

LIMIT = 200  # messages that were taken and not confirmed; of more, no queue is told which are its own

Counts = dict[str, dict[str, int]]
"""By queue: messages that wait, those taken but not confirmed, and, where the broker shows each of these, those of tasks that run."""


class Glance:
    """Looks into the broker of one application, as often as it is asked."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._management = rabbitmq.management_of(app)
        self._place = broker_of(app)
        self._client: redis.Redis | None = None
        self._closed = False

    def counts(self, queues: Iterable[str] = (), running: Collection[str] = ()) -> Counts:
        """Return the numbers of the application's queues, and of others that are named; nothing where the broker shows none.

        A task that is confirmed only at its end is in the broker and in the worker at once: `running` are those to look for.

        Raises:
            ScopeError: the broker does not answer.
        """
        if self._management:
            return of_rabbitmq(self._management.get("queues"))
        if self._place is None:
            return {}
        with self._lock:
            self._client = self._client or self._place.connect()
            try:
                with self._place.answering():
                    return self._ask(self._client, self._place.prefix, sorted({*self._app.amqp.queues, *queues}), running)
            finally:
                if self._closed:
                    self._let_go()

    def close(self) -> None:
        """Let go of the connection; whoever looks once more, as a live view does at its end, has one for that look."""
        with self._lock:
            self._closed = True
            self._let_go()

    def _let_go(self) -> None:
        client, self._client = self._client, None
        if client:
            client.close()
            client.connection_pool.disconnect()

    def _ask(self, client: "redis.Redis", prefix: str, queues: Sequence[str], running: Collection[str]) -> Counts:
        names = BrokerNames(self._app)
        keys = [[f"{prefix}{name}" for name in names.lists_of(queue)] for queue in queues]
        unacked = f"{prefix}{names.unacked}"
        with client.pipeline(transaction=True) as pipe:
            for lists in keys:
                for key in lists:
                    pipe.llen(key)
            pipe.hlen(unacked)
            pipe.hscan(unacked, 0, count=LIMIT)
            *lengths, total, scanned = pipe.execute(raise_on_error=False)
        left = iter(lengths)
        # Where something else has the name of a queue, the answer is an error.
        waiting = {
            queue: sum(found if isinstance(found := next(left), int) else 0 for _ in lists)
            for queue, lists in zip(queues, keys, strict=True)
        }
        held = [whose(raw) for raw in scanned[1].values()] if isinstance(total, int) and isinstance(scanned, (list, tuple)) else []
        return of_redis(waiting, held[:LIMIT], total if isinstance(total, int) else 0, running)


def of_redis(waiting: Mapping[str, int], held: Sequence[tuple[str, str]], total: int, running: Collection[str] = ()) -> Counts:
    """Return the counts by the lengths of the queues, and by the queues and tasks of the messages that were taken, `total` of them."""
    counts = {queue: {"waiting": number} for queue, number in waiting.items()}
    if len(held) < total:  # not all of them were looked at
        return counts
    for queue, _ in held:
        counts.setdefault(queue, {"waiting": 0})
    for queue, told in counts.items():
        tasks = [task for name, task in held if name == queue]
        told |= {"unacked": len(tasks), "kept": len(set(tasks) & set(running))}
    return counts


def of_rabbitmq(rows: Iterable[Mapping[str, Any]]) -> Counts:
    """Return the counts by what the management API says of the queues; it shows no messages."""
    return {
        name: {"waiting": rabbitmq.count(row, "messages_ready"), "unacked": rabbitmq.count(row, "messages_unacknowledged")}
        for row in rows
        if not (name := str(row.get("name"))).endswith("pidbox")
    }


def whose(raw: bytes | str) -> tuple[str, str]:
    """Return the queue and the task of a message as the hash of those that were taken has it; its body stays shut."""
    try:
        envelope = json.loads(raw)[0]
    except (ValueError, LookupError, TypeError, RecursionError):
        return "", ""
    if not isinstance(envelope, dict) or not all(isinstance(envelope.get(part), dict) for part in ("headers", "properties")):
        return "", ""
    if isinstance(task := envelope["headers"].get("id"), str):
        return Message(envelope, "", "").queue, task
    message = Message.of(envelope, "", "")  # the old protocol has the id in the body
    return message.queue, message.id

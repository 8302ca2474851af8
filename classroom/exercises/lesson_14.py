"""Exercises of 14: the same order on two brokers, and two projects on one."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery
from celery.result import AsyncResult
from kombu.entity import Queue

from classroom import beside, evidence
from classroom.exercises.model import Answer, NotYet, exercise, run
from classroom.exercises.setting import discard, nobody_listening, the_app
from classroom.stack.worker_process import QUEUES

_ORDERS = Queue("orders", max_priority=9)  # as the lesson makes it
_JOBS = ([(1, 3), (2, 9), (3, 0)], [(4, 6), (5, 9), (6, 3)])
_MOST_URGENT_FIRST = [9, 9, 6, 3, 3, 0]


@exercise("14.1")
def urgent_first(answer: Answer) -> str:
    """Both brokers hand out the most urgent message first, though the number means the opposite."""
    for name, one in _brokers():
        with _empty(the_app(), _ORDERS), _empty(one, _ORDERS):
            for jobs in _JOBS:
                with evidence.publishing() as sent:
                    run(answer, one, list(jobs))
                if len(sent) != len(jobs):
                    raise NotYet(f"on {name} there were {len(jobs)} jobs, and {len(sent)} messages were sent")
                if elsewhere := set(sent.values()) - {_ORDERS.name}:
                    raise NotYet(f'on {name} you sent to the queue "{elsewhere.pop()}", not to "{_ORDERS.name}"')
            waiting = evidence.waiting(one, _ORDERS.name)
            urgency = dict(job for jobs in _JOBS for job in jobs)
            if len(waiting) != len(urgency):
                raise NotYet(f"on {name} {len(waiting)} of {len(urgency)} messages wait: send them with the app that your function gets")
            if [message.task for message in waiting] != ["tutorial_tasks.arithmetic.add"] * len(urgency):
                raise NotYet(f"on {name} the messages are not all calls of add")
            if sorted(message.args[:1] for message in waiting) != [[number] for number in urgency]:
                raise NotYet(
                    f"on {name} the numbers of the jobs are {[message.args[:1] for message in waiting]}: send add(number, 0) for each"
                )
            order = [urgency[message.args[0]] for message in waiting]
            if order != _MOST_URGENT_FIRST:
                raise NotYet(f"{name} hands them out in this order of urgency: {', '.join(map(str, order))}. The most urgent is 9")
    return "the same jobs come out in the same order, and the numbers on their envelopes are not the same"


@exercise("14.2")
def good_neighbour(answer: Answer) -> str:
    """A task of another project waits in a queue that no worker of ours reads, on both brokers."""
    for name, one in _brokers():
        with evidence.publishing() as sent:
            try:
                returned = run(answer, one)
                _look_at_the_bill(name, one, returned, sent)
            finally:
                _throw_away(one, sent)
    return "our workers run, and the bill waits for the office's own, on both brokers"


def _look_at_the_bill(name: str, office: Celery, returned: object, sent: dict[str, str]) -> None:
    if len(sent) != 1:
        raise NotYet(f"on {name} {len(sent)} messages were sent, not one")
    if not isinstance(returned, AsyncResult) or returned.id not in sent:
        raise NotYet("return the result, as send_task gave it to you")
    queue = sent[returned.id]
    if queue in QUEUES:
        raise NotYet(f'on {name} it went to the queue "{queue}", which our worker reads: it takes the bill, and does not know what that is')
    bill = next((message for message in evidence.waiting(office, queue) if message.id == returned.id), None)
    if bill is None:
        raise NotYet(f'on {name} no such message waits in the queue "{queue}": send it with the app that your function gets')
    if bill.task != "office.bill" or bill.args != [7]:
        raise NotYet(f"on {name} the message says {bill.label}, not bill(7), or it is not the task office.bill")


def _brokers() -> Iterator[tuple[str, Celery]]:
    """Give an app on each broker, which no cell has used: what Celery remembers of queues is its own."""
    beside.start()
    on_redis = Celery("office", set_as_current=False)
    on_redis.config_from_object("tutorial_tasks.settings")
    on_redis.conf.imports = ()
    for name, one in (("Redis", on_redis), ("RabbitMQ", beside.plain_app())):
        try:
            yield name, one
        finally:
            one.close()


@contextmanager
def _empty(one: Celery, queue: Queue) -> Iterator[None]:
    """Have a queue empty before and after the block, made as the lesson makes it."""

    def empty() -> None:
        with one.connection_for_write() as connection:
            made = queue(connection)
            made.delete()  # one that was made in another way can't be used
            made.declare()
            made.purge()  # Redis has nothing to delete, and may have messages

    empty()
    try:
        yield
    finally:
        empty()


def _throw_away(one: Celery, sent: dict[str, str]) -> None:
    """Take out what was sent; what our workers may hold has to come back for that."""
    if not set(sent.values()) & set(QUEUES):
        for queue in set(sent.values()):
            for holder in (one, the_app()):  # an app that the learner made is on our Redis
                with holder.connection_for_write() as connection, contextlib.suppress(*connection.channel_errors):  # no such queue
                    connection.default_channel.queue_purge(queue)
    elif evidence.is_rabbitmq(one):
        beside.start(afresh=True)
    else:
        with nobody_listening():
            for queue in set(sent.values()):
                for message in evidence.waiting(one, queue):
                    if message.id in sent:
                        discard(message)

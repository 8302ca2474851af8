"""Exercises of 08: a chord that stops at two of three, and ten chords whose future is to be told."""

import inspect
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import chord
from celery.canvas import Signature
from celery.result import AsyncResult
from celery.signals import before_task_publish

from classroom import evidence, lab
from classroom.exercises.model import Answer, NotYet, exercise, run
from classroom.exercises.setting import discard, finished, the_app, worker_as_it_was, worker_runs
from classroom.stack.worker_process import QUEUES
from taskscope.gate import gate
from taskscope.messages import call

_UNREAD = "east"  # the lesson's queue that nobody reads
_SHOPS = {"east", "south", "west"}


@dataclass(frozen=True)
class _Sent:
    """One message that the notebook sent; `body` is the note in it of what follows the header."""

    id: str
    task: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    queue: str
    for_later: bool
    group: str
    body: dict[str, Any] | None

    @property
    def is_taken(self) -> bool:
        """The worker does it at once."""
        return self.queue in QUEUES and not self.for_later


@exercise("08.1")
def two_of_three(answer: Answer) -> str:
    """The backend has counted two of three, the third lies in a queue, and it is the one that sends the body."""
    app = the_app()
    lab.worker.start()
    with _tidied() as sent:
        run(answer)
        header, body = _the_chord(sent)
        if not worker_runs():
            raise NotYet("you took the worker away, so nobody was counted; let it run, and hold back one message instead")
        taken = [one for one in header if one.is_taken]
        for one in taken:
            finished(one.id)
        if len(taken) == 3:
            state = _sent_body(body)
            raise NotYet(f"no shop was held back: all three were counted, total was sent, and {state}")
        _counted(header[0].group, len(taken))
        if len(taken) != 2:
            raise NotYet(f"the counter says {len(taken)} of 3: {3 - len(taken)} are held back, and it has to be one")
        [last] = [one for one in header if not one.is_taken]
        waiting = [message for message in evidence.waiting(app, last.queue) if message.id == last.id]
        if not waiting:
            raise NotYet(
                "the counter says 2 of 3, but the third is with the worker, which holds it for later; send it to a queue that nobody reads"
            )
        _hand_over(waiting[0])
        kept = finished(_id(body))
        if kept["status"] != "SUCCESS":
            raise NotYet(f"the last one was let go, and then total ended as {kept['status']}: {kept['result']['exc_message']}")
        if kept["parent_id"] != last.id:
            raise NotYet("total was not sent by the one that was held back")
    return f"the counter stood at 2 of 3; we let the last one go, and it sent total({kept['args'][0]}), which gave {kept['result']}"


@exercise("08.2")
def future(answer: Answer) -> str:
    """Ten chords are told apart by the record of the body and by how the header ended."""
    with _ten_chords() as chords:
        random.shuffle(chords)
        for result, truth, how in chords:
            said = run(answer, result)
            if said != truth:
                raise NotYet(f"you said {said!r} of a chord {how}; the state of its body is {result.state}")
    return "ten chords, and you saw of each whether its body has run, may run, or never will"


def _the_chord(sent: list[_Sent]) -> tuple[list[_Sent], dict[str, Any]]:
    """Find the header that the exercise asks for among what was sent, and the signature of its body."""
    from tutorial_tasks.arithmetic import total

    if not sent:
        raise NotYet("no message was sent")
    if any(one.task == total.name for one in sent):
        raise NotYet("your notebook sent total itself: give it to the chord as its body, and let the last one send it")
    if len(sent) != 3 or {_shop(one) for one in sent} != _SHOPS:
        labels = ", ".join(call(one.task, one.args, one.kwargs) for one in sent)
        raise NotYet(f"your notebook sent {labels}; it has to be stock of east, south and west, each once")
    bodies = [one.body for one in sent if one.body]
    if len(bodies) != 3:
        raise NotYet("in these messages there is no note of what follows: they are no header of a chord, and nobody counts them")
    if any(body["task"] != total.name for body in bodies):
        raise NotYet(f"the note of what follows says {bodies[0]['task']}, not total")
    return sent, bodies[0]


def _shop(one: _Sent) -> str | None:
    from tutorial_tasks.shops import stock

    if one.task != stock.name:
        return None
    shop = inspect.signature(stock.run).bind(*one.args, **one.kwargs).arguments["shop"]
    return shop if isinstance(shop, str) else None


def _id(body: dict[str, Any]) -> str:
    return str(body["options"]["task_id"])


def _queue(body: dict[str, Any]) -> str:
    return str(body["options"].get("queue", QUEUES[0]))


def _sent_body(body: dict[str, Any]) -> str:
    """Wait until the body of a chord has been sent, and has run where somebody reads its queue; tell what became of it."""
    queue = _queue(body)
    if queue in QUEUES:
        return f"ended as {finished(_id(body))['status']}"
    evidence.wait_until(lambda: any(message.id == _id(body) for message in evidence.waiting(the_app(), queue)), 10, "the body was sent")
    return f'waits in the queue "{queue}"'


def _counted(group: str, number: int) -> None:
    """Wait until the backend has counted so many of a header."""
    evidence.wait_until(lambda: gate(the_app(), group).counted == number, 10, f"{number} of a header are counted")


def _hand_over(message: evidence.Message) -> None:
    """Put a message from a queue that nobody reads into the worker's."""
    evidence.move(the_app(), message, "celery")


@contextmanager
def _sending() -> Iterator[list[_Sent]]:
    """Collect the messages that Celery, in this process, sends inside the `with` block."""
    sent: list[_Sent] = []

    def note(body: Any, headers: dict[str, Any], routing_key: str, **_: Any) -> None:
        args, kwargs, follows = body
        later = headers["eta"] is not None
        sent.append(_Sent(headers["id"], headers["task"], tuple(args), kwargs, routing_key, later, headers["group"], follows["chord"]))

    before_task_publish.connect(note)
    try:
        yield sent
    finally:
        before_task_publish.disconnect(note)


@contextmanager
def _tidied() -> Iterator[list[_Sent]]:
    """Collect what is sent inside the block; after it, hold nobody, and count nobody."""
    from tutorial_tasks.lifecycle import Gate, wait_at_gate

    with worker_as_it_was(), _sending() as sent:
        try:
            yield sent
        finally:
            for one in sent:
                if one.task == wait_at_gate.name and one.args:
                    Gate(str(one.args[0])).open()
            if any(one.for_later for one in sent):
                lab.worker.stop()  # what it holds goes back into the queue
            bodies = {_id(one.body): _queue(one.body) for one in sent if one.body}
            for queue in {*bodies.values()} - {*QUEUES}:
                for message in evidence.waiting(the_app(), queue):
                    if message.id in bodies:
                        discard(message)
            _forget_counters({one.group for one in sent if one.group})


def _forget_counters(groups: set[str]) -> None:
    backend = the_app().backend
    for group in groups:
        backend.client.delete(*(backend.get_key_for_group(group, f".{what}") for what in "sjdc"))


@contextmanager
def _ten_chords() -> Iterator[list[tuple[AsyncResult, str, str]]]:
    """Send ten chords and wait until nothing moves any more; give (result, what will become of it, in words) of each."""
    from tutorial_tasks.arithmetic import total
    from tutorial_tasks.shops import stock

    def unread() -> Signature:
        return stock.s("west").set(queue=_UNREAD)

    def stale() -> Signature:
        return stock.s("west").set(expires=datetime.now(UTC) - timedelta(minutes=1))

    fine, burnt, unknown = stock.s("east"), stock.s("atlantis"), the_app().signature("tutorial_tasks.shops.stok", ("east",))
    kinds: list[tuple[str, str, list[Signature], Signature]] = [
        ("done", "whose header went well, and whose body has run", [fine, fine, fine], total.s()),
        ("open", "of which one message lies in a queue that nobody reads", [fine, unread(), fine], total.s()),
        ("open", "whose body lies in a queue that nobody reads", [fine, fine, fine], total.s().set(queue=_UNREAD)),
        ("failed", "in which one task raised", [fine, burnt, fine], total.s()),
        ("failed", "in which one task raised, and one message lies in a queue that nobody reads", [fine, burnt, unread()], total.s()),
        ("failed", "in which one task expired", [fine, fine, stale()], total.s()),
        ("failed", "in which one task expired, and one message lies in a queue that nobody reads", [unread(), fine, stale()], total.s()),
        ("stuck", "in which one task has a name that nobody knows", [fine, unknown, fine], total.s()),
        (
            "stuck",
            "in which one task has a name that nobody knows, and one message lies in a queue that nobody reads",
            [unread(), unknown, fine],
            total.s(),
        ),
        ("stuck", "in which one task raised, and one has a name that nobody knows", [burnt, fine, unknown], total.s()),
    ]
    lab.worker.start()
    with _tidied() as sent:
        chords = []
        for truth, how, header, body in kinds:
            earlier = len(sent)
            chords.append((chord(header, body).apply_async(), truth, how))
            # One after the other: what has expired RabbitMQ hands over at once or never, and not to a worker with its hands full.
            _settle(sent[earlier:])
        yield chords


def _settle(header: list[_Sent]) -> None:
    """Wait until a chord has come as far as it can."""
    from tutorial_tasks.shops import stock

    for one in header:
        if one.is_taken:
            finished(one.id)
    counted = sum(one.is_taken and one.task == stock.name for one in header)
    if counted < len(header):
        _counted(header[0].group, counted)
    elif header[0].body:
        _sent_body(header[0].body)

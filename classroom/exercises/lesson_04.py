"""Exercises of 04: a task with a story, and seven kinds of PENDING."""

import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from celery.result import AsyncResult

from classroom import evidence, lab
from classroom.exercises.model import Answer, NotYet, exercise, run
from classroom.exercises.setting import discard, finished, the_app, worker_as_it_was

_STORY = ["STARTED", "PROGRESS", "PROGRESS", "SUCCESS"]


@exercise("04.1")
def story(answer: Answer) -> str:
    """The backend was told STARTED, PROGRESS, PROGRESS, SUCCESS, by the worker that ran the task."""
    from taskscope import Scope  # not above: its pictures would be loaded by every lesson

    lab.worker.start()
    scope = Scope(the_app())
    try:
        with evidence.publishing() as sent:
            returned = run(answer)
        if len(sent) != 1:
            raise NotYet(f"{len(sent)} messages were sent, not one")
        [task_id] = sent
        if not isinstance(returned, AsyncResult) or returned.id != task_id:
            raise NotYet("the task was sent; return what delay() or apply_async() gave you")
        finished(task_id)
        scope.settle([task_id])
        told = [said for said in scope.ledger if said.task == task_id and said.source == "result"]
    finally:
        scope.close()
    if any(said.data["state"] == "PROGRESS" and not said.host for said in told):
        raise NotYet("that PROGRESS was not stored by the worker: the task itself has to say how far it is")
    record = [said.data["state"] for said in told]
    if record != _STORY:
        raise NotYet(f"the record went {' → '.join(record)}, not {' → '.join(_STORY)}")
    return "the worker told the backend so itself: STARTED, twice PROGRESS, SUCCESS"


@exercise("04.2")
def seven_kinds(answer: Answer) -> str:
    """Seven tasks without a record are told apart by the last event and by what lies in the queues."""
    with worker_as_it_was(), _seven() as (truth, last_event):
        random.shuffle(truth)
        for task_id, place, how in truth:
            said = run(answer, the_app().AsyncResult(task_id), last_event[task_id])
            if said != place:
                raise NotYet(f"you said {said!r} about a task {how}; its last event was {last_event[task_id]!r}")
    return "seven tasks without a record, and you told them apart by what was seen elsewhere"


@contextmanager
def _seven() -> Iterator[tuple[list[tuple[str, str, str]], dict[str, str | None]]]:
    """Make the seven kinds; give (id, place, in words) of each, and the last event that was heard of it."""
    from taskscope import Scope
    from tutorial_tasks.arithmetic import add
    from tutorial_tasks.lifecycle import Gate, say_nothing, wait_at_gate

    app = the_app()
    lab.worker.start()
    scope = Scope(app)
    gate = Gate("exercise 04.2")
    gate.close()
    ignored, forgotten = say_nothing.delay("hush"), add.delay(3, 3)
    finished(forgotten.id)
    forgotten.forget()
    unread, emptied = (add.apply_async((1, n), queue=queue) for n, queue in enumerate(("unread", "emptied")))
    held = add.apply_async((2, 2), countdown=600)
    busy = [wait_at_gate.delay(gate.name) for _ in range(2)]
    reserved = add.delay(5, 5)
    try:
        with app.connection_for_write() as connection:
            connection.default_channel.queue_purge("emptied")
        truth = [
            (unread.id, "queue", "whose message lies in a queue that nobody reads"),
            (emptied.id, "lost", "whose queue was emptied"),
            (held.id, "worker", "that the worker holds for later"),
            (reserved.id, "worker", "that waits for a free process of the worker"),
            (ignored.id, "done", "that was done, and whose result is ignored"),
            (forgotten.id, "done", "that was done, and was forgotten"),
            (str(uuid.uuid4()), "never sent", "that was never sent"),
        ]
        wanted = {held.id: "RECEIVED", reserved.id: "RECEIVED", ignored.id: "SUCCESS", forgotten.id: "SUCCESS"}

        def heard() -> dict[str, str]:
            return {task.id: task.said.get("event", "") for task in scope.tasks()}

        evidence.wait_until(lambda: wanted.items() <= heard().items(), 10, "the events of the seven tasks were heard")
        last = heard()
        yield truth, {task_id: last.get(task_id) or None for task_id, *_ in truth}
    finally:
        gate.open()
        scope.close()
        for one in busy:
            finished(one.id)
        # What the worker holds goes back into its queue, and out of it.
        lab.worker.stop()
        for queue in ("unread", "celery"):
            for message in evidence.waiting(app, queue):
                if message.id in (unread.id, held.id):
                    discard(message)

"""Exercises of 05: what becomes of eight types, and a backend that is left as it was found."""

import random
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from kombu.exceptions import EncodeError

from classroom import evidence, lab
from classroom.errors import ClassroomError
from classroom.exercises.model import Answer, NotYet, exercise, run
from classroom.exercises.setting import finished, the_app, worker_as_it_was
from classroom.stack.worker_process import QUEUES

_DONE_WITHIN = 10.0  # seconds, from the end of the learner's function


@exercise("05.1")
def journeys(answer: Answer) -> str:
    """What comes back is foretold for values of eight types, and compared with what really comes back."""
    lab.worker.start()
    with evidence.publishing() as sent:
        foretold = [(value, run(answer, value)) for value in _eight()]
    if sent:
        raise NotYet("your function sent a message; say what will come back before anything is sent")
    for value, said in foretold:
        came = _sent_for_real(value)
        if type(said) is type(came) and said == came:
            continue
        if came is EncodeError:
            raise NotYet(f"you said {said!r} about {value!r}; that can't be sent at all: it ends in an EncodeError")
        if said is EncodeError:
            raise NotYet(f"you said EncodeError about {value!r}; it can be sent, and comes back as {came!r}")
        raise NotYet(f"you said {said!r} about {value!r}; it comes back as {came!r}{_why(value, said)}")
    return "eight types, and you knew of each what comes back"


def _eight() -> list[Any]:
    """Make a value of each of eight types, the simple ones first."""
    a, b, c = random.sample(range(2, 1000), 3)
    return [
        (a, b),
        {a, b},
        datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=a),
        Decimal(a) / 8,
        uuid.uuid4(),
        bytes([128 + a % 128, b % 128]),
        random.choice([None, True, a / 8, str(a)]),
        {a: (b, c), "name": [(c,)]},
    ]


def _sent_for_real(value: Any) -> Any:
    """Send a value to the worker and return what comes back, or the error's class when it can't be sent."""
    from tutorial_tasks.lifecycle import echo

    try:
        result = echo.delay(value)
    except EncodeError:
        return EncodeError
    finished(result.id)
    came = result.get(timeout=1)["value"]
    result.forget()
    return came


def _why(value: Any, said: Any) -> str:
    if isinstance(value, tuple):
        return ": JSON has lists only"
    if isinstance(value, dict):
        is_text = isinstance(said, dict) and all(isinstance(key, str) for key in said)
        return ": what is inside makes the same journey" if is_text else ": JSON has only text as keys"
    return ": there is a note beside it that says what to make of it" if isinstance(said, str) else ""


@exercise("05.2")
def no_key_left(answer: Answer) -> str:
    """The worker did the sums, the learner has them, and the backend has no record of them, but still those of others."""
    from taskscope import Scope  # not above: its pictures would be loaded by every lesson
    from tutorial_tasks.arithmetic import add

    app = the_app()
    numbers = random.sample(range(1000, 5000), 6)
    pairs = list(zip(numbers[:3], numbers[3:], strict=True))
    with worker_as_it_was():
        lab.worker.start()
        others = add.delay(1, 1)
        finished(others.id)
        scope = Scope(app)
        sent: dict[str, str] = {}
        try:
            with evidence.publishing() as sent:
                returned = run(answer, [*pairs])
            _done_by_the_worker(scope, sent, [x + y for x, y in pairs])
            if not isinstance(returned, list | tuple):
                raise NotYet(f"the worker did the sums; return a list of them, not {returned!r}")
            if None in returned:
                raise NotYet("you returned None: a receipt that was forgotten, or whose result is ignored, has no answer")
            if list(returned) != [x + y for x, y in pairs]:
                raise NotYet(f"the worker did the sums, but you returned {returned!r}, not the {len(pairs)} sums in their order")
            if any(not task.stored for task in scope.tasks(sent)):
                raise NotYet("the backend has never had these results, so the sums that you returned are not the worker's")
            if left := [task_id for task_id in sent if evidence.stored(app, task_id)]:
                raise NotYet(f"{len(left)} of your {len(sent)} results are still in the backend; is each forgotten, and after it was done?")
            if not evidence.stored(app, others.id):
                raise NotYet("your results are gone, and those of others too; each receipt can drop its own record")
        finally:
            scope.close()
            for task_id in (others.id, *sent):
                app.AsyncResult(task_id).forget()
    return "the worker did the sums, you have them, and the backend has nothing of yours"


def _done_by_the_worker(scope: Any, sent: Mapping[str, str], sums: Sequence[int]) -> None:
    """Wait until the tasks that were sent, each with its queue, have ended, and see that their answers are the sums."""
    if not sent:
        raise NotYet("no message was sent: the sums have to be the worker's")
    if elsewhere := set(sent.values()) - set(QUEUES):
        raise NotYet(f'you sent to the queue "{elsewhere.pop()}", and no worker reads that one')
    try:
        evidence.wait_until(lambda: all(task.result for task in scope.tasks(sent)), _DONE_WITHIN, "the tasks are done")
    except ClassroomError:
        raise NotYet(f"not all that you sent was done within {_DONE_WITHIN:g} seconds") from None
    scope.settle(sent)
    told = ", ".join(task.result for task in scope.tasks(sent))
    if missing := [number for number in sums if str(number) not in told]:
        raise NotYet(f"the worker's answers were {told}; it did not compute {missing[0]}")

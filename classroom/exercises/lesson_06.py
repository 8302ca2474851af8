"""Exercises of 06: three at once under one id, and a group of which some members fail."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from celery import group
from celery.canvas import Signature
from celery.result import ResultBase

from classroom import evidence, lab
from classroom.errors import ClassroomError
from classroom.exercises.model import Answer, NotYet, exercise, run
from classroom.exercises.setting import finished, the_app, worker_as_it_was

if TYPE_CHECKING:
    from taskscope.model import Task

_PATIENCE = 2.0  # seconds for which one of a pair waits for the other: enough to start it, and short where it never comes
_HEAD_START = 0.5  # seconds for which a group is still running when the learner's function gets it


@exercise("06.1")
def three_at_once(answer: Answer) -> str:
    """Two of the calls meet, which they can only while both run; all three messages carry one group id."""
    from taskscope import Scope  # not above: its pictures would be loaded by every lesson

    calls, answers = _three_calls()
    with worker_as_it_was():
        lab.worker.start()
        scope = Scope(the_app())
        try:
            with evidence.publishing() as sent:
                returned = run(answer, list(calls))
            _all_sent(sent, returned)
            _all_done(sent)
            scope.settle(sent)
            tasks = scope.tasks(sent)
        finally:
            scope.close()
    if sorted((task.name, task.args) for task in tasks) != sorted((call.task, repr(call.args)) for call in calls):
        raise NotYet(f"the messages say {', '.join(map(_label, tasks))}; send the three calls that you got, as they are")
    together = _at_the_same_time(tasks)
    groups = {task.group for task in tasks}
    if groups == {""}:
        raise NotYet("they ran at the same time, but each for itself: no message carries a group id")
    if len(groups) > 1:
        raise NotYet(f"the three messages carry {len(groups)} group ids, not one")
    if isinstance(returned, ResultBase):
        raise NotYet("one group, and its members ran at the same time; now return the answers, not the receipt")
    if not isinstance(returned, list | tuple) or list(returned) != answers:
        raise NotYet(f"you returned {returned!r}, not the three answers in the order of the list")
    return f"three messages with one group id, and {together} ran at the same time"


def _three_calls() -> tuple[list[Signature], list[Any]]:
    """Make two calls that meet each other and one that adds, in any order; give them and their answers."""
    from tutorial_tasks.arithmetic import add
    from tutorial_tasks.lifecycle import meet

    one, other = random.sample(["Ada", "Barbara", "Grace", "Hedy", "Katherine", "Radia"], 2)
    x, y = random.sample(range(10, 100), 2)
    pairs = [
        (meet.s(one, other, _PATIENCE), f"{one} met {other}"),
        (meet.s(other, one, _PATIENCE), f"{other} met {one}"),
        (add.s(x, y), x + y),
    ]
    random.shuffle(pairs)
    return [call for call, _ in pairs], [value for _, value in pairs]


def _all_sent(sent: dict[str, str], returned: Any) -> None:
    if not sent and isinstance(returned, Signature):
        raise NotYet("you returned a signature, a call that nobody has sent; it has an apply_async, as a task has")
    if not sent:
        raise NotYet("no message was sent: whatever ran, it was not the worker who did it")
    if len(sent) != 3:
        raise NotYet(f"your function sent {len(sent)} messages, not three: one for each call, before it asks for any answer")


def _all_done(sent: dict[str, str]) -> None:
    try:
        for task_id in sent:
            finished(task_id, timeout=_PATIENCE + 1)
    except ClassroomError:
        lab.worker.stop()  # what it holds for later goes back into its queue, where it can be thrown away
        raise NotYet("your function came back, and one of the three is still not done: send them to be run now, where the worker looks") from None


def _at_the_same_time(tasks: "list[Task]") -> str:
    """Tell which two tasks ran at the same time, from when the worker said that they began and ended."""
    runs = sorted(
        (span.begin, span.end, task) for task in tasks for lane in task.lanes for span in lane.spans if span.kind == "running" and span.end
    )
    for i, (_, end, task) in enumerate(runs):
        for begin, _, other in runs[i + 1 :]:
            if begin < end and "met nobody" not in task.result + other.result:
                return f"{_label(task)} and {_label(other)}"
    first, second = runs[0][2], runs[1][2]
    if second.lanes[0].marks[0].at > runs[0][1]:
        raise NotYet(
            f"one after the other: {_label(second)} was sent when {_label(first)} had ended. "
            "Where does your function wait? Send all three first, then ask"
        )
    raise NotYet("no two of them ran at the same time, though all were sent; has the worker two free processes?")


def _label(task: "Task") -> str:
    from taskscope.words import label

    return label(task)


@exercise("06.2")
def who_failed(answer: Answer) -> str:
    """By the id of a saved group that still runs: the answers of those that go well, the ids of those that fail."""
    with worker_as_it_was(), _dice() as rolled:
        returned = run(answer, rolled.group_id)
    if not (isinstance(returned, list | tuple) and len(returned) == 2 and all(isinstance(part, list | tuple) for part in returned)):
        raise NotYet(f"you returned {returned!r}, not two lists: the answers, and the ids of those that failed")
    answers, failed = map(list, returned)
    if any(isinstance(value, BaseException) for value in answers):
        raise NotYet("an error stands among the answers: leave out the members that failed")
    if any(not isinstance(one, str) for one in failed):
        raise NotYet(f"{failed[0]!r} is not an id: each member has one, as member.id")
    if answers == [value for value in rolled.answers if value != rolled.last] and failed == rolled.failed:
        raise NotYet(f"one member was still running when you looked, so its answer, {rolled.last!r}, is missing: wait for all of them first")
    if answers != rolled.answers and answers == [value for value in rolled.answers if value]:
        raise NotYet("an answer is missing: 0 is an answer too, ask the member whether it was successful")
    if answers != rolled.answers:
        raise NotYet(f"you returned the answers {answers!r}; the members that went well gave {rolled.answers!r}, in this order")
    if failed != rolled.failed:
        known = "those that failed, in another order" if sorted(failed) == sorted(rolled.failed) else "not those that failed"
        raise NotYet(f"the answers are right; the {len(failed)} ids that you returned are {known}")
    return f"{len(answers)} answers kept and {len(failed)} failures named, of a group that you knew by its id only"


@dataclass(frozen=True)
class _Rolled:
    group_id: str
    answers: list[Any]
    failed: list[str]
    last: Any  # the answer of the one that is still running at first


@contextmanager
def _dice() -> Iterator[_Rolled]:
    """Send a group of which some members fail and one runs a little longer, and save it; clear it away afterwards."""
    from tutorial_tasks.arithmetic import add
    from tutorial_tasks.lifecycle import Gate, fail, wait_at_gate

    lab.worker.start()
    gate = Gate("exercise 06.2")
    gate.close()
    slow = wait_at_gate.s(gate.name)
    numbers = [random.randint(1, 99) for _ in range(random.randint(2, 4))]
    calls = [slow, add.s(0, 0), *(add.s(n, n) for n in numbers), *(fail.s(f"number {n}") for n in range(random.randint(2, 4)))]
    random.shuffle(calls)
    result = group(calls).apply_async()
    opener = threading.Timer(_HEAD_START, gate.open)
    try:
        result.save()
        members = dict(zip((member.id for member in result), calls, strict=True))
        for task_id, call in members.items():
            if call is not slow:
                finished(task_id)
        opener.start()
        answers = [gate.name if call is slow else sum(call.args) for call in members.values() if call.task != fail.name]
        yield _Rolled(result.id, answers, [task_id for task_id, call in members.items() if call.task == fail.name], gate.name)
    finally:
        opener.cancel()
        gate.open()
        for member in result:
            finished(member.id)
        result.forget()
        result.delete()

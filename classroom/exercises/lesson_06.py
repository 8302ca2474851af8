"""Exercises of 06: three at once under one id, and a group of which some members fail."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from celery import group
from celery.canvas import Signature
from celery.result import ResultBase
from celery.signals import before_task_publish

from classroom import evidence, lab
from classroom.errors import ClassroomError
from classroom.exercises.model import Answer, NotYet, exercise, run
from classroom.exercises.setting import finished, had_their_turn, is_done, nothing_left_to_do, worker_as_it_was, worker_runs

_PATIENCE = 2.0  # seconds for which one of a pair waits for the other: enough to start it, and short where it never comes
_TRIES = 3
_HEAD_START = 0.5  # seconds for which a group is still running when the learner's function gets it
_NAPS = 10  # so many make up that time: if this process stalls, that counts as one of them, and the function has its look first


@exercise("06.1")
def three_at_once(answer: Answer) -> str:
    """Two of the calls meet, which they can only while both run; all three messages carry one group id."""
    for _ in range(_TRIES):
        calls, answers = _three_calls()
        with worker_as_it_was():
            lab.worker.start()
            nothing_left_to_do()
            with _posting() as letters:
                returned = run(answer, list(calls))
            _all_sent(letters, calls, returned)
            kept = _all_done(letters)
        if _met(letters, kept):
            break
    else:
        raise ClassroomError(
            f"all three were sent, and yet no two of them ran at the same time, {_TRIES} times: has the worker two free processes?",
            "end some other programs, then run this cell again",
        )
    groups = {letter.group for letter in letters}
    if groups == {None}:
        raise NotYet("they ran at the same time, but each for itself: no message carries a group id")
    if len(groups) > 1:
        raise NotYet(f"the three messages carry {len(groups)} group ids, not one")
    if isinstance(returned, ResultBase):
        raise NotYet("one group, and two of its members met; now return the answers, not the receipt")
    if not isinstance(returned, list | tuple) or list(returned) != answers:
        raise NotYet(f"you returned {returned!r}, not the three answers in the order of the list")
    return "three messages with one group id, and two of them met: they ran at the same time"


@dataclass(frozen=True)
class _Letter:
    """What a message said when it was about to be sent, and when that was."""

    id: str
    call: str
    group: str | None
    eta: str | None
    at: float


@contextmanager
def _posting() -> Iterator[list[_Letter]]:
    """Collect what Celery, in this process, sends inside the `with` block, in that order."""
    letters: list[_Letter] = []

    def note(headers: dict[str, Any], **_: Any) -> None:
        call = _short(headers["task"]) + headers["argsrepr"]
        letters.append(_Letter(headers["id"], call, headers["group"], headers["eta"], time.time()))

    before_task_publish.connect(note)
    try:
        yield letters
    finally:
        before_task_publish.disconnect(note)


def _short(name: str) -> str:
    return name.rpartition(".")[2]


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


def _all_sent(letters: list[_Letter], calls: list[Signature], returned: Any) -> None:
    if not letters and isinstance(returned, Signature):
        raise NotYet("you returned a signature, a call that nobody has sent; it has an apply_async, as a task has")
    if not letters:
        raise NotYet("no message was sent: whatever ran, it was not the worker who did it")
    if any(letter.eta for letter in letters):
        lab.worker.stop()  # what it holds for later goes back into its queue, where it can be thrown away
        raise NotYet("your messages say that they are for later; send them without a countdown or an eta")
    if len(letters) != 3:
        raise NotYet(
            f"your function sent {len(letters)} of its messages itself, not three: one for each call, before it asks for an answer"
        )
    said = [letter.call for letter in letters]
    if sorted(said) != sorted(_short(call.task) + repr(call.args) for call in calls):
        raise NotYet(f"the messages say {', '.join(said)}; send the three calls that you got, as they are")


def _all_done(letters: list[_Letter]) -> dict[str, dict[str, Any]]:
    if worker_runs():
        had_their_turn([letter.id for letter in letters])
    kept = {letter.id: done for letter in letters if (done := is_done(letter.id))}
    if len(kept) < len(letters):
        raise NotYet("your function came back, and one of the three is still not done: does the worker read the queue?")
    return kept


def _met(letters: list[_Letter], kept: dict[str, dict[str, Any]]) -> bool:
    """Tell whether the two met. They do not on a computer that is too busy for that; the learner's mistake is to send one too late."""
    lonely = [letter for letter in letters if "met nobody" in str(kept[letter.id]["result"])]
    if not lonely:
        return True
    first, second = lonely[0], lonely[-1]
    if second.at > evidence.moment(kept[first.id]["date_done"]):
        raise NotYet(
            f"one after the other: {second.call} was sent only when {first.call} was done. "
            "Where does your function wait? Send all three first, then ask"
        )
    return False


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
        raise NotYet(
            f"one member was still running when you looked, so its answer, {rolled.last!r}, is missing: wait for all of them first"
        )
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
    over = threading.Event()

    def open_later() -> None:
        if not any(over.wait(_HEAD_START / _NAPS) for _ in range(_NAPS)):
            gate.open()

    opener = threading.Thread(target=open_later)
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
        over.set()
        gate.open()
        for member in result:
            finished(member.id)
        result.forget()
        result.delete()

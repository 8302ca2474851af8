"""Exercises of 07: three tasks of which each sends the next, and the one of a broken chain that raised."""

import inspect
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from celery.canvas import Signature
from celery.result import AsyncResult, GroupResult

from classroom import evidence, lab
from classroom.errors import ClassroomError
from classroom.exercises.model import Answer, NotYet, exercise, run
from classroom.exercises.setting import discard, finished, is_done, the_app, worker_as_it_was
from classroom.stack.worker_process import QUEUES

if TYPE_CHECKING:
    from taskscope import Scope
    from taskscope.model import Task

_WANTED = ["add(1, 1)", "add(2, 2)", "add(3, 3)"]
_STEPS = 4  # of a chain that is broken in one of them
_ENDS_WITHIN = 10.0  # seconds for a task, from the end of the one before it


@exercise("07.1")
def three_in_a_row(answer: Answer) -> str:
    """One message left the notebook; the worker did the three tasks in order, each sent by the one before it."""
    with worker_as_it_was(), _watching() as scope:
        with evidence.publishing() as sent:
            returned = run(answer)
        if not sent:
            if isinstance(returned, Signature):
                raise NotYet("you returned a plan, and nobody has sent it: call its apply_async()")
            raise NotYet("no message was sent")
        lab.worker.start()
        family = [member for task_id in sent for member in _family(scope, task_id)]
        scope.settle(family)
        ran = sorted((task for task in scope.tasks(family) if _started(task)), key=_started)
        _one_message(list(sent))
        called = {task.id: _call(task.id) for task in ran}
        for task in ran:
            if task.state == "FAILURE":
                raise NotYet(_why_it_failed(task, called[task.id]))
        calls = list(called.values())
        if sorted(calls) != _WANTED:
            raise NotYet(
                f"what ran was {', '.join(calls)}; it should be {', '.join(_WANTED)}. "
                "A step made with .s gets the answer of the one before it as its first argument, one made with .si does not"
            )
        if calls != _WANTED and _is_chain(ran):
            raise NotYet(f"all three ran, but in the order {', '.join(calls)}")
        # Two that the same task has sent begin in any order: what is wrong with them is who sent them.
        for before, task in pairwise(sorted(ran, key=lambda task: called[task.id])):
            if task.parent != before.id:
                raise NotYet(f"{called[task.id]} was sent by {called.get(task.parent, 'nobody')}, not by {called[before.id]}")
    return "one message left your notebook; the worker did the three in order, and each was sent by the one before it"


@exercise("07.2")
def who_raised(answer: Answer) -> str:
    """In chains that are broken in different places, the one task is named that raised."""
    with worker_as_it_was():
        lab.worker.start()
        with _watching() as scope:
            for place in random.sample(range(_STEPS), _STEPS):
                _name_the_culprit(answer, scope, _broken_chain(place))
    return f"{_STEPS} chains, each broken in another place, and you found the step that raised in every one"


@contextmanager
def _watching() -> Iterator["Scope"]:
    from taskscope import Scope  # not above: its pictures would be loaded by every lesson

    scope = Scope(the_app())
    try:
        yield scope
    finally:
        scope.close()


def _family(scope: "Scope", task_id: str) -> list[str]:
    """Wait for a task and for all that it sent, and return their ids; a task that has ended has stored its children."""
    try:
        found = evidence.wait_until(lambda: is_done(task_id) or _unread(scope, task_id), _ENDS_WITHIN, "a step has ended")
    except ClassroomError:
        raise NotYet(f"a task that you sent, or one after it, has not ended after {_ENDS_WITHIN:g} seconds") from None
    if isinstance(found, evidence.Message):
        discard(found)  # one that the worker sent is in no list of what the notebook sent
        raise NotYet(f'{found.label} lay in the queue "{found.queue}", and nobody took it; leave the queue out')
    members = [task_id]
    for child in the_app().AsyncResult(task_id).children or []:
        for result in child.results if isinstance(child, GroupResult) else [child]:
            members += _family(scope, result.id)
    return members


def _unread(scope: "Scope", task_id: str) -> evidence.Message | None:
    """Find the message of a task in a queue that the worker does not read."""
    queues = {task.queue for task in scope.tasks([task_id])} - {*QUEUES, ""}
    return next((message for queue in queues for message in evidence.waiting(the_app(), queue) if message.id == task_id), None)


def _is_chain(tasks: Sequence["Task"]) -> bool:
    return all(task.parent == before.id for before, task in pairwise(tasks))


def _one_message(sent: Sequence[str]) -> None:
    if len(sent) > 1:
        raise NotYet(
            f"your notebook sent {len(sent)} messages. If it waits in between, close it half-way, and the rest is never sent; "
            "if it does not, they may run in any order. Send one message, in which the rest travels"
        )


def _why_it_failed(task: "Task", call: str) -> str:
    if "positional argument" in task.result:
        return (
            f"{call} ran, and then could not send the next step ({task.result}): "
            "its answer came first among the arguments. A step made with .si gets none"
        )
    return f"{call} failed: {task.result}"


def _broken_chain(place: int) -> list[AsyncResult]:
    """Run a chain that is broken in one place, with another such step behind it that is never reached; return all results."""
    from tutorial_tasks.arithmetic import add
    from tutorial_tasks.lifecycle import fail

    broken = fail.si("out of paper")  # for the one that raises and for those that inherit: the name must not tell
    steps = [add.si(n, n) if n < place or (n - place) % 2 else broken for n in range(_STEPS)]
    last = steps[0]
    for step in steps[1:]:
        last = last | step
    results = [last.apply_async()]
    while results[0].parent:
        results.insert(0, results[0].parent)
    for result in results:
        finished(result.id)
    return results


def _name_the_culprit(answer: Answer, scope: "Scope", results: Sequence[AsyncResult]) -> None:
    ids = [result.id for result in results]

    def raised() -> list[str]:  # those that inherited their FAILURE sent no event
        return [task.id for task in scope.tasks(ids) if task.said.get("event") == "FAILURE"]

    [culprit] = evidence.wait_until(raised, 10, "the worker has told which step raised")
    scope.settle(ids)
    heard = {task.id: task for task in scope.tasks(ids)}
    named = run(answer, results[-1])
    if isinstance(named, AsyncResult):
        raise NotYet("you returned a result; return its id, result.id")
    if named == culprit:
        return
    where = f"of the {_STEPS} steps number {ids.index(culprit) + 1} raised"
    if named not in ids:
        raise NotYet(f"{named!r} is not the id of a step of this chain; {where}")
    number = ids.index(named) + 1
    if "event" not in heard[named].said:
        raise NotYet(f"you named step {number}: it never ran, no event was heard of it. It inherited its FAILURE; {where}")
    raise NotYet(f"you named step {number}, which was a {heard[named].state}; {where}")


def _started(task: "Task") -> float:
    """Return when a task began to run; 0 where nobody saw that."""
    return next((mark.at for lane in task.lanes for mark in lane.marks if mark.state == "STARTED"), 0.0)


def _call(task_id: str) -> str:
    """Write the call of a task with the values of its parameters in order, however they were given: add(1, 1)."""
    kept = finished(task_id)
    args, kwargs = kept.get("args") or [], kept.get("kwargs") or {}
    values: Any = [*args, *kwargs.values()]
    task = the_app().tasks.get(kept["name"])
    if task is not None:
        with suppress(TypeError):  # it was called with arguments that it does not take
            values = inspect.signature(task.run).bind(*args, **kwargs).arguments.values()
    return f"{kept['name'].rpartition('.')[2]}({', '.join(map(repr, values))})"

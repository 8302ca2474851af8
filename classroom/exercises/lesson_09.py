"""Exercises of 09: a fourth collector that tries again, and a search for the one to blame."""

import random
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from celery import chord
from celery.result import AsyncResult, GroupResult

from classroom import evidence, lab
from classroom.errors import ClassroomError
from classroom.exercises.model import Answer, NotYet, exercise, run
from classroom.exercises.setting import discard, finished, the_app
from classroom.stack.task_code import MY_TASKS

if TYPE_CHECKING:
    from taskscope import Scope
    from taskscope.model import Task

_TOPIC = "shoes"
_CLOSED_FOR = 0.5  # seconds from the first retry on
_ASKED_WITHIN = 10.0  # seconds for an attempt to end, one way or the other
_BACK_WITHIN = 3.0  # seconds that a retry may be put off
_DONE_WITHIN = 10.0  # seconds for the pipeline, from the next attempt on
_RETRIES = 3  # as many as the learner is told to make
_TRIES = 3


@exercise("09.1")
def a_fourth_collector(answer: Answer) -> str:
    """A task of the learner's own was retried while its source was closed, and the four reports were counted."""
    for _ in range(_TRIES):
        if _is_counted(answer):
            return "your collector found its source closed, came back later, and its items were counted with those of the other three"
    raise ClassroomError(
        f"the worker was so late with what your collector had put off that it gave up, {_TRIES} times",
        "end some other programs, then run this cell again",
    )


def _is_counted(answer: Answer) -> bool:
    """Have the learner's pipeline sent, and see that all of it comes to pass; it does not where the worker is late with every retry."""
    from taskscope import Scope  # not above: its pictures would be loaded by every lesson
    from tutorial_tasks.lifecycle import Gate

    lab.worker.start()
    app, gate, request_id, seed = the_app(), Gate("source 4"), str(uuid.uuid4()), _a_seed_that_matters()
    gate.close()
    scope = Scope(app)
    try:
        with evidence.publishing() as sent:
            result = run(answer, request_id, _TOPIC, seed)
        if not sent:
            raise NotYet("no message was sent")
        if not isinstance(result, AsyncResult):
            group = " It is the receipt of a group: nobody gathers what its members report" * isinstance(result, GroupResult)
            raise NotYet(f"return what apply_async() of a chord gave you.{group}")
        fourth = _until(lambda: _fourth(scope, result), "no task of my_tasks was seen: is your collector among the four?")
        _tried_again(scope, fourth)
        gate.open()
        if not (kept := _the_end(scope, result, fourth)):
            return False
        scope.settle([result.id])  # where nothing comes after the gathering, it may have been heard of only now
        reports = next((evidence.stored(app, task.id) or {} for task in scope.tasks() if task.name.endswith(".collector_gathering")), {})
    finally:
        gate.open()
        _leave_nothing(scope)
        scope.close()
    got = len(reports.get("args", [[]])[0])
    if got != 4:
        raise NotYet(f"collector_gathering got {got} reports, not four")
    if not isinstance(kept["result"], dict) or "item_count" not in kept["result"]:
        raise NotYet(f"the pipeline ended with {kept['result']}, and nothing was counted: after the gathering come cleanup and process")
    if kept["result"]["request_id"] != request_id:
        raise NotYet(f"the pipeline is that of the request {kept['result']['request_id']!r}; your function got {request_id!r}")
    if kept["result"]["item_count"] != _count(seed, 4):
        raise NotYet(f"the pipeline ended with {kept['result']}; for this request, topic and seed it should count {_count(seed, 4)} items")
    return True


def _a_seed_that_matters() -> int:
    """Choose a seed with which the fourth collector finds something that the others do not."""
    return next(seed for seed in iter(lambda: random.randrange(10**6), None) if _count(seed, 4) > _count(seed, 3))


def _count(seed: int, collectors: int) -> int:
    from tutorial_tasks.collectors import collect

    return len({item for number in range(1, collectors + 1) for item in collect("", _TOPIC, number, seed)["items"]})


def _fourth(scope: "Scope", result: AsyncResult) -> "Task | None":
    """Find the learner's own task; only when all is over, one that has none is known to have none."""
    own = [task for task in scope.tasks() if task.name.startswith(f"{MY_TASKS}.") or task.name.endswith(".collector_4")]
    if not own and result.ready():
        raise NotYet("the pipeline is done, and no task of my_tasks was in it: is your collector among the four?")
    return own[0] if own else None


def _tried_again(scope: "Scope", fourth: "Task") -> None:
    """Wait until the task was retried, and for as long as its source stays closed."""
    name = _short(fourth)

    def first_end() -> str:
        [task] = scope.tasks([fourth.id])
        states = [mark.state for lane in task.lanes for mark in lane.marks]
        return next((state for state in states if state in ("RETRY", "SUCCESS", "FAILURE")), "")

    ended = _until(first_end, f"{name} was sent, and nothing came of it: does it wait inside the task? It holds a process all the while")
    [task] = scope.tasks([fourth.id])
    if "NotRegistered" in task.result:
        raise NotYet(f"the worker does not know {fourth.name}: the task has to stand in the cell that begins with %%{MY_TASKS}")
    if ended == "FAILURE":
        raise NotYet(f"{name} failed and did not try again: {task.result}")
    if ended == "SUCCESS":
        raise NotYet(f"{name} returned although its source was closed: did it ask, and what became of the TimeoutError?")

    def may_open() -> bool:
        [task] = scope.tasks([fourth.id])
        retried = [mark.at for lane in task.lanes for mark in lane.marks if mark.state == "RETRY"]
        is_put_off = (task.lanes[-1].eta or 0) > time.time()  # while an attempt is due, nobody knows whether it finds the source open
        is_patient = time.time() > retried[0] + _CLOSED_FOR and (is_put_off or len(retried) > _RETRIES)
        return is_patient or task.state in ("SUCCESS", "FAILURE")

    _until(may_open, f"{name} was retried, and nothing came of it")


def _the_end(scope: "Scope", result: AsyncResult, fourth: "Task") -> dict[str, Any] | None:
    """Wait until the pipeline is done, and return what is on record about its last task; None where the worker has spoilt it."""
    [task] = scope.tasks([fourth.id])
    if (task.lanes[-1].eta or 0) > time.time() + _BACK_WITHIN:
        raise _is_away(fourth, _BACK_WITHIN)
    try:
        kept = finished(result.id, _DONE_WITHIN)
    except ClassroomError:
        raise _is_away(fourth, _DONE_WITHIN) from None
    if kept["status"] != "SUCCESS":
        scope.settle([fourth.id])
        [task] = scope.tasks([fourth.id])
        if task.state == "FAILURE" and _patience(task) >= _CLOSED_FOR:
            return None
        if task.state == "FAILURE":
            raise NotYet(
                f"{_short(fourth)} gave up before its source was open, after {len(task.lanes)} attempts: leave more time in between"
            )
        raise NotYet(f"the pipeline ended as {kept['status']}: {kept['result'].get('exc_message')}")
    return kept


def _is_away(task: "Task", seconds: float) -> NotYet:
    return NotYet(f"the source is open again, and {_short(task)} does not come back for {seconds:g} seconds: give the retry a countdown")


def _patience(task: "Task") -> float:
    """Return for how long a task was put off by itself, all retries together; not for how long a busy worker took."""
    retried = [mark.at for lane in task.lanes for mark in lane.marks if mark.state == "RETRY"]
    etas = [lane.eta for lane in task.lanes if lane.attempt and lane.eta]
    return sum(max(eta - at, 0) for at, eta in zip(retried, etas, strict=False))


def _short(task: "Task") -> str:
    return task.name.rpartition(".")[2]


def _until(condition: Callable[[], Any], words: str) -> Any:
    try:
        return evidence.wait_until(condition, _ASKED_WITHIN, words)
    except ClassroomError:
        raise NotYet(words) from None


def _leave_nothing(scope: "Scope") -> None:
    """Have nobody wait: what the worker holds for later goes back into its queue, and out of it."""
    if not any(task.state in ("PENDING", "RECEIVED", "STARTED", "RETRY") and task.lanes for task in scope.tasks()):
        return
    ids = {task.id for task in scope.tasks()}
    lab.worker.stop()
    for queue in ("celery", "slow"):
        for message in evidence.waiting(the_app(), queue):
            if message.id in ids:
                discard(message)
    lab.worker.start()


@exercise("09.2")
def the_one_to_blame(answer: Answer) -> str:
    """Six pipelines, and each time the right collector is named: one that failed, one of another request, or none."""
    lab.worker.start()
    # A bad report in every place: whoever compares with the first one alone is found out.
    cases = [(place, "failed") for place in random.sample([1, 2, 3], 2)] + [(place, "mixed") for place in (1, 2, 3)] + [(None, "well")]
    sent = [(place, kind, *_send(place, kind)) for place, kind in random.sample(cases, len(cases))]
    for *_, result, _ in sent:
        finished(result.id)
    for place, kind, result, request_id in sent:
        said = run(answer, result, request_id)
        if said != place or isinstance(said, bool):
            raise NotYet(f"you said {said!r} of a pipeline in which {_in_words(place, kind)}")
    return "two that failed, three that reported for somebody else, and one pipeline in which nobody is to blame"


def _send(place: int | None, kind: str) -> tuple[AsyncResult, str]:
    """Send a pipeline in which the collector of this place is no good."""
    from tutorial_tasks import collectors
    from tutorial_tasks.lifecycle import fail

    request_id = str(uuid.uuid4())
    three = (collectors.collector_1, collectors.collector_2, collectors.collector_3)
    header = [each.s(request_id, _TOPIC) for each in three]
    if place:
        of_another = three[place - 1].s(str(uuid.uuid4()), _TOPIC)
        header[place - 1] = fail.s("the source is down") if kind == "failed" else of_another
    ending = collectors.collector_gathering.s() | collectors.cleanup.s() | collectors.process.s()
    return chord(header, ending).apply_async(), request_id


def _in_words(place: int | None, kind: str) -> str:
    return {"failed": f"collector {place} failed", "mixed": f"collector {place} reported for another request"}.get(kind, "all went well")

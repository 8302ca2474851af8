"""Exercises of 13: one task for ten visitors, and a page that asks until all is done."""

import contextlib
import functools
import random
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import redis

from classroom import evidence
from classroom.exercises.model import Answer, NotYet, exercise, run
from classroom.exercises.setting import finished, the_app, worker_as_it_was

_VISITORS = 10
_TOGETHER = 3.0  # seconds that one who looks waits for the others
_DONE = 8.0  # seconds for all of them


class _Crowd:
    """The visitors: whoever looks waits until all others have looked, or are done."""

    def __init__(self) -> None:
        self._passed: set[int] = set()
        self._changed = threading.Condition()

    def passed(self) -> None:
        """Note that this thread has looked, or is done."""
        with self._changed:
            self._passed.add(threading.get_ident())
            self._changed.notify_all()

    def wait_for_all(self) -> None:
        """Wait until everybody has; a lock that keeps them apart only makes this long."""
        self.passed()
        with self._changed:
            self._changed.wait_for(lambda: len(self._passed) >= _VISITORS, _TOGETHER)


class _Store(redis.Redis):
    """A Redis in which the unlucky moment always comes."""

    crowd: _Crowd

    def get(self, name: Any) -> Any:
        """Look, and go on when all have looked."""
        found = super().get(name)
        self.crowd.wait_for_all()
        return found

    def exists(self, *names: Any) -> Any:
        """Look, and go on when all have looked."""
        found = super().exists(*names)
        self.crowd.wait_for_all()
        return found


@contextmanager
def _store() -> Iterator[_Store]:
    """Give a store, and forget after the block which ids were written into it."""
    store = cast(_Store, _Store.from_url(str(the_app().conf.result_backend), decode_responses=True, socket_timeout=5))
    store.crowd = _Crowd()
    with evidence.publishing() as sent, contextlib.closing(store):
        try:
            yield store
        finally:
            if claims := [key for id_ in list(sent) for key in _claims(store, id_)]:
                store.delete(*claims)


def _all_at_once(answer: Answer, store: _Store, a: int, b: int) -> list[Any] | None:
    """Call the learner's function from many threads at once, and return what each gave back; nothing when some still wait."""
    returned: list[Any] = [None] * _VISITORS
    raised: list[BaseException] = []
    together = threading.Barrier(_VISITORS)

    def visit(number: int) -> None:
        try:
            together.wait(_DONE)
            returned[number] = answer(store, a, b)
        except Exception as error:
            raised.append(error)
        finally:
            store.crowd.passed()

    visitors = [threading.Thread(target=visit, args=(number,), daemon=True) for number in range(_VISITORS)]
    for visitor in visitors:
        visitor.start()
    deadline = time.monotonic() + _DONE
    for visitor in visitors:
        visitor.join(max(0.0, deadline - time.monotonic()))
    if any(visitor.is_alive() for visitor in visitors):
        return None
    if raised:
        raise raised[0]
    return returned


@exercise("13.1")
def exactly_one(answer: Answer) -> str:
    """Ten visitors at once, who all look before any of them writes: one message, its id chosen before it is sent."""
    from tutorial_tasks.arithmetic import add

    a, b = random.sample(range(100, 1000), 2)
    with worker_as_it_was(), _store() as store:
        with evidence.publishing() as sent:
            ids = run(functools.wraps(answer)(lambda: _all_at_once(answer, store, a, b)))
        if ids is None:
            raise NotYet(
                f"{_DONE:g} seconds later some visitors still wait: for a lock, or for each other? One command can decide, and nobody waits"
            )
        if not sent:
            raise NotYet("no task was sent")
        if len(sent) != 1:
            seen = "they looked before anybody had written" if len(sent) == _VISITORS else "some of them came in between"
            raise NotYet(f"{_VISITORS} visitors sent {len(sent)} tasks: {seen}. Which command looks and writes in one step?")
        [task_id] = sent
        kept = finished(task_id)
        if kept["name"] != add.name or kept["result"] != a + b:
            raise NotYet(f"one task was sent, and it is not add({a}, {b}) but {kept['name']} with {kept['args']}")
        wrong = [id_ for id_ in ids if not (isinstance(id_, str) and id_ == task_id)]  # a result equals its id
        if wrong and isinstance(wrong[0], bytes):
            raise NotYet(f"one task was sent, and {len(wrong)} of {_VISITORS} visitors got bytes: use `store`, which gives back text")
        if wrong:
            raise NotYet(
                f"one task was sent, and {len(wrong)} of {_VISITORS} visitors got {wrong[0]!r} in place of its id: return it to all of them"
            )
        if not any(store.ttl(key) > 0 for key in _claims(store, task_id)):
            raise NotYet("the claim never ends: a visitor who dies before sending would block this sum for ever. Give it `ex=`")
        with evidence.publishing() as others:
            other = run(answer, store, b, a + 1)
        if other not in others:
            raise NotYet("two other numbers got no task of their own: the key has to say which sum it is")
        finished(other)
    return f"{_VISITORS} visitors at once, one task, and all of them hold its id"


def _claims(store: _Store, id_: str) -> list[str]:
    """Find the keys that hold this id."""
    return [key for key in store.scan_iter(count=1000) if store.type(key) == "string" and redis.Redis.get(store, key) == id_]


@exercise("13.2")
def until_done(answer: Answer) -> str:
    """Three batches: one that takes a while, one that is done at once, and one of which a task fails on the way."""
    for rounds, fails in ((random.randint(3, 6), False), (1, False), (4, True)):
        location = f"/grouptasks/{uuid.uuid4()}"
        course = list(_course(location, rounds, fails))
        asked: list[str] = []

        def ask(path: str, course: list[dict[str, Any]] = course, asked: list[str] = asked) -> dict[str, Any]:
            asked.append(path)
            if len(asked) > len(course) + 20:
                raise NotYet("it asks on and on, although the batch is processed")
            return course[min(len(asked), len(course)) - 1]

        error = returned = None
        try:
            returned = _called(answer, ask, location)
        except RuntimeError as raised:
            error = raised
        if any(path != location for path in asked):
            raise NotYet(f"it asked for {next(path for path in asked if path != location)!r}, not for its location")
        if not asked:
            raise NotYet("it never asked how far the batch is")
        if len(asked) < len(course):
            last = course[len(asked) - 1]
            raise NotYet(
                f"it stopped when {last['tasksCompleted']} of {last['tasksTotal']} tasks were completed, with grouptaskSucceeded="
                f"{last['grouptaskSucceeded']}: that does not say that all are done"
            )
        if len(asked) > len(course):
            raise NotYet("it asked once more after the batch was processed; what was said last is enough")
        if fails and error is None:
            raise NotYet("a task of the batch failed, and nobody was told: raise a RuntimeError then")
        if not fails and error is not None:
            raise NotYet(f"no task failed, and it raised {error!r}")
        if not fails and returned != course[-1]["results"]:
            raise NotYet(f"it returned {returned!r}, and the results are {course[-1]['results']}")
    return "it asks as often as it needs to, returns the sums, and says so when a task has failed"


def _called(answer: Answer, ask: Any, location: str) -> Any:
    """Call the learner's function; a `RuntimeError` that it raises is a part of the answer.

    Raises:
        RuntimeError: the learner's.
    """

    @functools.wraps(answer)
    def guarded() -> tuple[Any, RuntimeError | NotYet | None]:
        try:
            return answer(ask, location), None
        except (RuntimeError, NotYet) as error:
            return None, error

    returned, error = run(guarded)
    if error:
        raise error
    return returned


def _course(location: str, rounds: int, fails: bool) -> Iterator[dict[str, Any]]:
    """What a service says of a batch, one answer after the other, until it is processed."""
    sums = [random.randint(1, 10_000) for _ in range(rounds)]
    results: list[Any] = [None] * rounds
    for done in range(1, rounds + 1):
        is_bad = fails and done == 2
        results[done - 1] = {"errorType": "ValueError"} if is_bad else sums[done - 1]
        yield {
            "groupTaskId": location.rpartition("/")[2],
            "grouptaskProcessed": done == rounds,
            "grouptaskSucceeded": not (fails and done >= 2),
            "results": list(results),
            "tasksCompleted": done,
            "tasksTotal": rounds,
        }

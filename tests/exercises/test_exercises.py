"""Every exercise in four states, on a running stack: untouched, hard-coded, plausible but wrong, solved."""

import signal
from typing import Any

import pytest

from classroom import evidence
from classroom.exercises import Outcome, check
from classroom.exercises.model import NOT_ATTEMPTED, NOT_YET, PASSED, RAISED
from classroom.stack import client
from tests.notebooks.lessons import LESSONS, Exercise

EXERCISES = {exercise.name: exercise for lesson in LESSONS for exercise in lesson.exercises}

# What the lessons have imported by the time that their exercises come.
LESSON_NAMES = """
import uuid
from datetime import UTC, datetime, timedelta
from classroom import lab
from tutorial_tasks.arithmetic import add, multiply
from tutorial_tasks.celery_app import app
from tutorial_tasks.lifecycle import count_to, flaky
"""

# (exercise, what is wrong with it, the body of the learner's function, a part of the verdict's words)
WRONG = [
    ("00.1", "constant", "return 3", "sent no message"),
    ("00.1", "the worker runs", "[add.delay(n, n) for n in range(3)]", "the worker has taken 3"),
    ("00.1", "one too many", "lab.worker.stop(); [add.delay(n, n) for n in range(4)]", "4 messages, not 3"),
    ("00.1", "the worker is only paused", "lab.worker.pause(); [add.delay(n, n) for n in range(3)]", "2 of your 3"),
    ("00.1", "another queue", "[add.apply_async((n, n), queue='cellery') for n in range(3)]", "0 of your 3"),
    ("00.2", "constant", "return [20, 40, 60]", "still wait"),
    ("00.2", "computed without the worker", "return [2 * r.id.count('-') for r in results]", "3 of the 3 messages still wait"),
    ("00.2", "thrown away", "app.control.purge(); return [0, 0, 0]", "the backend has no result"),
    ("00.2", "thrown away with a worker", "app.control.purge(); lab.worker.start(); return [0, 0, 0]", "thrown away"),
    ("00.2", "drained, nothing returned", "lab.worker.start()", "returned None"),
    (
        "00.2",
        "wrong order",
        "lab.worker.start(); return [r.get(timeout=10) for r in results][::-1]",
        "not the three answers in their order",
    ),
    ("01.1", "constant", "return ('an id', 'queue')", "no message was sent"),
    ("01.1", "a plain call", "return multiply(6, 7), 'notebook'", "a plain call runs in your notebook"),
    ("01.1", "another task", "return add.delay(6, 7), 'queue'", "add(6, 7), not multiply(6, 7)"),
    ("01.1", "another place", "return multiply.delay(6, 7), 'worker'", "not in the worker"),
    ("01.1", "only the receipt", "return multiply.delay(6, 7)", "return two things"),
    ("01.1", "somebody else's receipt", "multiply.delay(6, 7); return app.AsyncResult('x'), 'queue'", "belongs to another task"),
    ("01.2", "constant", "return 'queue'", "you said 'queue'"),
    ("01.2", "by state alone", "return 'backend' if result.ready() else 'queue'", "PENDING means only"),
    ("01.1", "a place of another name", "return multiply.delay(6, 7), 'broker'", "one of ('notebook'"),
    ("01.2", "success alone", "{queue}; return 'backend' if result.successful() else q", "which failed"),
    ("01.2", "a value alone", "{queue}; return 'backend' if result.result is not None else q", "which returned None"),
    ("01.2", "no look into the queue", "return 'backend' if result.ready() else 'nowhere'", "whose message lies in the queue"),
    ("02.1", "constant", "return 5", "no message was sent"),
    ("02.1", "waits by itself", "import time; time.sleep(2); add.apply_async((2, 3), queue='slow', expires=3)", "took its time"),
    ("02.1", "default queue", "add.apply_async((2, 3), countdown=2, expires=5)", 'in the queue "celery"'),
    ("02.1", "misspelt queue", "add.apply_async((2, 3), queue='sloww', countdown=2, expires=5)", "spelt right"),
    ("02.1", "never stale", "add.apply_async((2, 3), queue='slow', countdown=2)", "has no expires"),
    ("02.1", "misspelt and put off", "add.apply_async((2, 3), queue='sloww', countdown=600)", "spelt right"),
    ("02.1", "counts from the start", "add.apply_async((2, 3), queue='slow', countdown=2, expires=7)", "expires is 7.0 s"),
    ("02.1", "no time zone", "add.apply_async((2, 3), queue='slow', eta=datetime.now() + timedelta(seconds=2), expires=5)", "no time zone"),
    (
        "02.1",
        "an eta of another zone",
        "add.apply_async((2, 3), queue='slow', eta=datetime.now(UTC) + timedelta(hours=9), expires=5)",
        "eta is",
    ),
    ("02.1", "other numbers", "add.apply_async((3, 2), queue='slow', countdown=2, expires=5)", "not add(2, 3)"),
    ("02.2", "constant", "return 'REVOKED'", "0 messages were sent"),
    ("02.2", "revoked", "add.delay(1, 1).revoke()", "no expires"),
    ("02.2", "good for too long", "add.apply_async((1, 1), expires=30)", "30.0 s, not after one"),
    ("02.2", "stale at once", "add.apply_async((1, 1), expires=0.1)", "0.1 s, not after one"),
    ("02.2", "the other queue", "add.apply_async((1, 1), queue='slow', expires=1)", 'the queue "slow"'),
    ("02.2", "other numbers", "add.apply_async((1, 2), expires=1)", "not add(1, 1)"),
    ("03.1", "constant", "return 'NotRegistered', 42", "two results"),
    ("03.1", "never sent", "return site.AsyncResult('a'), site.AsyncResult('b')", "never sent"),
    ("03.1", "fails for another reason", "return site.send_task('tutorial_tasks.lifecycle.fail'), {right}", "failed with ValueError"),
    ("03.1", "not repaired", "return {broken}, {broken}", "the repaired one ended as FAILURE"),
    ("03.1", "repaired with another", "return {broken}, site.send_task('tutorial_tasks.arithmetic.add', (40, 2))", "not multiply(6, 7)"),
    ("03.1", "in the wrong order", "return {right}, {broken}", "the worker knows that name"),
    ("03.1", "not by name", "from tutorial_tasks.arithmetic import multiply as m; return {broken}, m.delay(6, 7)", "by its name"),
    ("03.1", "sent in the wrong order", "r = {right}; return {broken}, r", "send the broken one first"),
    ("03.2", "constant", "return 'an id'", "0 messages wait"),
    ("03.2", "send_task", "return {right}.id", "Celery wrote that message"),
    ("03.2", "delay", "return multiply.delay(6, 7).id", "Celery wrote that message"),
    ("03.2", "another id", "{forge}; return 'x'", "return the id"),
    ("03.2", "not the id itself", "{forge}; return site.AsyncResult('a')", "return the id itself"),
    ("03.2", "another queue", "{forge_astray}; return 'e'", 'in the queue "celery"'),
    ("03.2", "other numbers", "{forge_other}; return 'f'", "not multiply(6, 7)"),
    ("03.2", "a body of one part", "{forge_short}; return 'c'", "no worker could read that message"),
    ("03.2", "no id", "{forge_nameless}; return 'd'", "no worker could read that message"),
    ("04.1", "constant", "return 'SUCCESS'", "0 messages"),
    ("04.1", "no progress", "return add.delay(1, 1)", "STARTED → SUCCESS"),
    ("04.1", "too much progress", "return count_to.delay(3)", "PROGRESS → PROGRESS → PROGRESS"),
    ("04.1", "a retry", "return flaky.delay(2)", "STARTED → RETRY"),
    ("04.1", "twice one", "count_to.delay(1); return count_to.delay(1)", "2 messages"),
    ("04.1", "not returned", "count_to.delay(2)", "return what delay"),
    ("04.1", "told by the notebook", "{tell}; return r", "not stored by the worker"),
    ("04.2", "constant", "return 'queue'", "you said 'queue'"),
    (
        "04.2",
        "by the event alone",
        "return {None: 'never sent', 'RECEIVED': 'worker', 'SUCCESS': 'done'}.get(last_event, 'queue')",
        "emptied",
    ),
    ("04.2", "no look at the event", "return 'queue' if lab.waiting('unread') else 'lost'", "you said 'queue'"),
    ("03.2", "no arguments", "{forge_empty}; return 'b'", "not multiply(6, 7)"),
]
PIECES = {
    "{tell}": "import warnings; warnings.simplefilter('ignore')\n    from tutorial_tasks.arithmetic import slow_add\n"
    "    r = slow_add.delay(1, 1, 1)\n"
    "    for n in range(2): app.backend.store_result(r.id, {'done': n}, 'PROGRESS')",
    "{forge_short}": "site.producer_pool.acquire().publish([[6, 7]], routing_key='celery', serializer='json', "
    "headers={'lang': 'py', 'task': 'tutorial_tasks.arithmetic.multiply', 'id': 'c'})",
    "{forge_nameless}": "site.producer_pool.acquire().publish([[6, 7], {}, {}], routing_key='celery', serializer='json', "
    "headers={'lang': 'py', 'task': 'tutorial_tasks.arithmetic.multiply'})",
    "{queue}": "q = 'queue' if result.id in [m['headers']['id'] for m in lab.waiting()] else 'nowhere'",
    "{forge_astray}": "site.producer_pool.acquire().publish([[6, 7], {}, {}], routing_key='astray', serializer='json', "
    "headers={'task': 'tutorial_tasks.arithmetic.multiply', 'id': 'e'})",
    "{forge_other}": "site.producer_pool.acquire().publish([[7, 6], {}, {}], routing_key='celery', serializer='json', "
    "headers={'task': 'tutorial_tasks.arithmetic.multiply', 'id': 'f'})",
    "{right}": "site.send_task('tutorial_tasks.arithmetic.multiply', (6, 7))",
    "{broken}": "site.send_task('nobody.knows.me', (6, 7))",
    "{forge}": "site.producer_pool.acquire().publish([[6, 7], {}, {}], routing_key='celery', serializer='json', "
    "headers={'lang': 'py', 'task': 'tutorial_tasks.arithmetic.multiply', 'id': 'a'})",
    "{forge_empty}": "site.producer_pool.acquire().publish([[], {}, {}], routing_key='celery', serializer='json', "
    "headers={'lang': 'py', 'task': 'tutorial_tasks.arithmetic.multiply', 'id': 'b'})",
}


def answer(exercise: Exercise, code: str) -> Any:
    """Define the learner's function as a cell of the lesson would."""
    names: dict[str, Any] = {}
    exec(LESSON_NAMES + code.split("from classroom.exercises import check")[-1], names)
    return names[exercise.function]


def with_body(exercise: Exercise, body: str) -> str:
    head = next(line for line in exercise.stub.splitlines() if line.startswith("def "))
    for piece, code in PIECES.items():
        body = body.replace(piece, code)
    return f"{head}\n    {body}\n"


@pytest.fixture(autouse=True)
def clean_classroom(app: Any) -> Any:
    """The check leaves the classroom as a learner wants to find it: the worker runs, and nothing waits."""
    yield
    stack = client.current()
    assert stack and stack.worker == "running"
    queues = ("celery", "slow", "sloww", "cellery")
    evidence.wait_until(lambda: not any(evidence.waiting(app, queue) for queue in queues), 5, "every queue is empty")
    evidence.wait_until(lambda: not evidence.unacknowledged(app), 5, "the worker holds nothing")


def verdict(name: str, code: str) -> Outcome:
    return check(name, answer(EXERCISES[name], code))


def test_every_lesson_has_an_exercise_and_every_exercise_a_wrong_answer() -> None:
    assert all(lesson.exercises for lesson in LESSONS)
    assert {name for name, *_ in WRONG} == set(EXERCISES)


@pytest.mark.parametrize("name", EXERCISES)
def test_an_untouched_stub_is_not_attempted(name: str) -> None:
    assert verdict(name, EXERCISES[name].stub).verdict == NOT_ATTEMPTED


@pytest.mark.parametrize(("name", "body", "words"), [(n, b, w) for n, _, b, w in WRONG], ids=[f"{n} {why}" for n, why, *_ in WRONG])
def test_a_wrong_answer_is_turned_down_with_its_own_words(name: str, body: str, words: str) -> None:
    outcome = verdict(name, with_body(EXERCISES[name], body))
    assert outcome.verdict == NOT_YET, outcome
    assert words in outcome.words


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_in_the_lesson_passes(name: str) -> None:
    outcome = verdict(name, EXERCISES[name].solution)
    assert outcome.verdict == PASSED, outcome


RIGHT = [
    ("00.2", "lab.worker.start(); return tuple(r.get(timeout=10) for r in results)"),
    ("01.1", "return [multiply.delay(x=6, y=7), 'queue']"),
    ("02.1", "add.apply_async((2, 3), queue='slow', eta=datetime.now(UTC) + timedelta(seconds=2), expires=5)"),
    ("02.2", "add.apply_async(kwargs={'x': 1, 'y': 1}, expires=1)"),
    ("03.1", "return [{broken}, {right}]"),
]


@pytest.mark.parametrize(("name", "body"), RIGHT, ids=[name for name, _ in RIGHT])
def test_another_way_to_do_it_passes_too(name: str, body: str) -> None:
    outcome = verdict(name, with_body(EXERCISES[name], body))
    assert outcome.verdict == PASSED, outcome


def test_what_the_learner_s_code_raises_is_told_with_its_line() -> None:
    outcome = verdict("00.1", "def make_three_wait():\n    lab.worker.stop()\n    add.delay(1)\n")
    assert outcome == Outcome(RAISED, "TypeError: add() missing 1 required positional argument: 'y', in line 3 of make_three_wait")


def test_code_that_waits_for_ever_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("classroom.exercises.model._TIME_LIMIT", 0.5)
    outcome = verdict("01.1", "def send_only():\n    return multiply.delay(6, 7).get(), 'queue'\n")
    assert outcome.verdict == NOT_YET
    assert "still busy after 0.5 seconds" in outcome.words
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL, "a time limit has to put the handler back"


def test_a_result_in_place_of_the_function_is_explained() -> None:
    outcome = check("00.1", 3)  # type: ignore[arg-type]
    assert outcome.verdict == NOT_YET
    assert "hand over the function itself" in outcome.words

"""Every exercise in four states, on a running stack: untouched, hard-coded, plausible but wrong, solved."""

import functools
import importlib
import os
import pkgutil
import signal
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from classroom import evidence, lab, progress
from classroom.errors import ClassroomError
from classroom.exercises import Outcome, check, lesson_09
from classroom.exercises.model import NOT_ATTEMPTED, NOT_YET, PASSED, RAISED
from classroom.exercises.setting import the_app
from classroom.stack import client
from tests.exercises import answers
from tests.notebooks.lessons import LESSONS, Exercise

EXERCISES = {exercise.name: exercise for lesson in LESSONS for exercise in lesson.exercises}

ANSWERS = {
    module.name[-2:]: importlib.import_module(f"{answers.__name__}.{module.name}") for module in pkgutil.iter_modules(answers.__path__)
}
# On RabbitMQ a few answers go wrong in another way, and deserve other words.
ELSE = {name: words for module in ANSWERS.values() for name, words in getattr(module, "ON_RABBITMQ", {}).items()}
WRONG = [
    (name, why, body, ELSE.get((name, why), words) if os.environ.get("CLASSROOM_BROKER") == "rabbitmq" else words)
    for module in ANSWERS.values()
    for name, why, body, words in module.WRONG
]
RIGHT = [right for module in ANSWERS.values() for right in module.RIGHT]


def numbered(names: list[str]) -> list[str]:
    """Tell those of one name apart: "00.1 1", "00.1 2"."""
    return [f"{name} {names[: place + 1].count(name)}" for place, name in enumerate(names)]


def answers_in_turn() -> Iterator[Any]:
    """Give every wrong answer; `make test` tries the first two of each exercise and those that RabbitMQ changes, `make long` the rest."""
    seen: Counter[str] = Counter()
    for name, why, body, words in WRONG:
        seen[name] += 1
        marks = [pytest.mark.long] if seen[name] > 2 and (name, why) not in ELSE else []
        yield pytest.param(name, body, words, id=f"{name} {why}", marks=marks)


@functools.lru_cache(maxsize=1)
def given_to_the_worker(my_tasks: str) -> dict[str, Any]:
    """Run the cell below `%%my_tasks`, which restarts the worker: not again, as long as it is the same."""
    return vars(lab.my_tasks(my_tasks))


def answer(exercise: Exercise, code: str, my_tasks: str = "") -> Any:
    """Define the learner's function as a cell of the lesson would."""
    names: dict[str, Any] = dict(given_to_the_worker(my_tasks)) if my_tasks else {}
    exec(ANSWERS[exercise.name[:2]].NAMES + code.split("from classroom.exercises import check")[-1], names)
    return names[exercise.function]


def with_body(exercise: Exercise, body: str) -> str:
    head = next(line for line in exercise.stub.splitlines() if line.startswith("def "))
    for piece, code in getattr(ANSWERS[exercise.name[:2]], "PIECES", {}).items():
        body = body.replace(piece, code)
    return f"{head}\n{textwrap.indent(body, '    ')}\n"


@pytest.fixture(scope="module", autouse=True)
def as_a_lesson_begins(app: Any) -> None:
    """Whatever other tests have left behind is cleared away, as a lesson's first cell does it."""
    lab.connect()


@pytest.fixture(autouse=True)
def clean_classroom(app: Any) -> Any:
    """The check leaves the classroom as a learner wants to find it: the worker runs, and nothing waits."""
    progress.reset()
    yield
    progress.reset()
    stack = client.current()
    assert stack and stack.worker == "running"
    queues = ("celery", "slow", "sloww", "cellery")
    evidence.wait_until(lambda: not any(evidence.waiting(app, queue) for queue in queues), 20, "every queue is empty")
    evidence.wait_until(lambda: not evidence.unacknowledged(app), 20, "the worker holds nothing")


def verdict(name: str, code: str, my_tasks: str = "") -> Outcome:
    return check(name, answer(EXERCISES[name], code, my_tasks))


def verdict_on(name: str, body: str) -> Outcome:
    """Judge one of the answers, together with the tasks that belong to it."""
    exercise = EXERCISES[name]
    return verdict(name, with_body(exercise, body), getattr(ANSWERS[name[:2]], "MY_TASKS", "") if exercise.my_tasks else "")


def test_every_lesson_has_an_exercise_and_every_exercise_a_wrong_answer() -> None:
    assert all(lesson.exercises for lesson in LESSONS)
    assert {name for name, *_ in WRONG} == set(EXERCISES)


@pytest.mark.parametrize("name", EXERCISES)
def test_an_untouched_stub_is_not_attempted(name: str) -> None:
    assert verdict(name, EXERCISES[name].stub).verdict == NOT_ATTEMPTED
    assert progress.passed() == set()


@pytest.mark.parametrize(("name", "body", "words"), list(answers_in_turn()))
def test_a_wrong_answer_is_turned_down_with_its_own_words(name: str, body: str, words: str) -> None:
    outcome = verdict_on(name, body)
    assert outcome.verdict == NOT_YET, outcome
    assert words in outcome.words
    assert progress.passed() == set()


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_in_the_lesson_passes(name: str) -> None:
    outcome = verdict(name, EXERCISES[name].solution, EXERCISES[name].my_tasks)
    assert outcome.verdict == PASSED, outcome
    assert progress.passed() == {name}


@pytest.mark.long
@pytest.mark.parametrize(("name", "body"), RIGHT, ids=numbered([name for name, _ in RIGHT]))
def test_another_way_to_do_it_passes_too(name: str, body: str) -> None:
    outcome = verdict_on(name, body)
    assert outcome.verdict == PASSED, outcome


def test_an_exercise_about_redis_says_so_on_rabbitmq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "is_rabbitmq", lambda app: True)
    with pytest.raises(ClassroomError, match=r"on Redis only, and your broker is RabbitMQ\n  next: .*classroom down"):
        verdict("12.1", EXERCISES["12.1"].solution)


def test_what_the_learner_s_code_raises_is_told_with_its_line() -> None:
    outcome = verdict("00.1", "def make_three_wait():\n    lab.worker.stop()\n    add.delay(1)\n")
    assert outcome == Outcome(RAISED, "TypeError: add() missing 1 required positional argument: 'y', in line 3 of make_three_wait")


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("04.1", "return count_to(2)", "send it, with delay"),
        ("08.1", "return (group([east, south, west]) | total).delay()", "task.s(), not the task itself"),
    ],
)
def test_of_a_slip_that_is_easily_made_it_is_told_what_it_was(name: str, body: str, words: str) -> None:
    outcome = verdict_on(name, body)
    assert (outcome.verdict, words in outcome.words) == (RAISED, True), outcome


def test_who_waits_while_no_worker_runs_is_told_so() -> None:
    outcome = verdict_on("00.2", "return [result.get(timeout=1) for result in results]")
    assert (outcome.verdict, "no worker runs" in outcome.words) == (NOT_YET, True), outcome


def test_code_that_waits_for_ever_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("classroom.exercises.model._TIME_LIMIT", 0.5)
    outcome = verdict("01.1", "def send_only():\n    return multiply.delay(6, 7).get(), 'queue'\n")
    assert outcome.verdict == NOT_YET
    assert "still busy after 0.5 seconds, in line 2 of send_only; does" in outcome.words
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL, "a time limit has to put the handler back"


@pytest.mark.long
@pytest.mark.parametrize("slow_starts", [1, 3])
def test_a_worker_that_starts_slowly_is_not_the_learner_s_mistake(monkeypatch: pytest.MonkeyPatch, slow_starts: int) -> None:
    start, starts = lab.worker.start, iter(range(1, 100))

    def start_late() -> None:
        if client.answer("pool"):
            return  # it runs
        if next(starts) <= slow_starts:
            waits = evidence.waiting(the_app(), "slow")
            stale = waits[0].time("expires") or 0
            evidence.wait_until(lambda: time.time() > stale, 10, "the message is stale")
        start()

    monkeypatch.setattr(lab.worker, "start", start_late)
    outcome = verdict("02.1", EXERCISES["02.1"].solution)
    assert outcome.verdict == PASSED
    assert ("no worker did it, for this computer starts one too slowly" in outcome.words) == (slow_starts == 3)


@pytest.mark.long
@pytest.mark.parametrize("late", [1, 3])
def test_a_source_that_opens_too_late_is_not_the_learner_s_mistake(monkeypatch: pytest.MonkeyPatch, late: int) -> None:
    tried_again, times = lesson_09._tried_again, iter(range(1, 100))

    def open_late(scope: Any, fourth: Any) -> None:
        tried_again(scope, fourth)
        if next(times) <= late:
            evidence.wait_until(lambda: scope.tasks([fourth.id])[0].state == "FAILURE", 10, "it has given up")

    monkeypatch.setattr(lesson_09, "_tried_again", open_late)
    exercise = EXERCISES["09.1"]
    if late == 1:
        assert verdict("09.1", exercise.solution, exercise.my_tasks).verdict == PASSED
    else:
        with pytest.raises(ClassroomError, match=r"that it gave up, 3 times\n  next: end some other programs"):
            verdict("09.1", exercise.solution, exercise.my_tasks)


def test_a_result_in_place_of_the_function_is_explained() -> None:
    outcome = check("00.1", 3)  # type: ignore[arg-type]
    assert outcome.verdict == NOT_YET
    assert "hand over the function itself" in outcome.words

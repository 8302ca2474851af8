"""Cells out of order, twice, left half-way, two notebooks at once, a worker that is killed: nothing hangs, nothing lies.

After whatever was done, the lesson runs from the top with the stored outputs. Here one stack bears it all, as a learner's does.
"""

import random
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from socket import gethostname
from typing import Any

import pytest

from classroom import lab
from classroom.leftovers import is_somebody_s
from classroom.stack import client, rabbitmq, worker_process
from classroom.stack.processes import STOP_WITHIN
from tests.notebooks.compare import shown
from tests.notebooks.kernel import Kernel, kernel, text
from tests.notebooks.lessons import LESSONS, Lesson

CONNECT = "from classroom import lab\nlab.connect()"
RESTART = lab.FINISH_WITHIN + STOP_WITHIN + worker_process.READY_WITHIN  # seconds that the worker may take, busy as it is
HURRY = int(RESTART) + 10  # seconds that a cell in disorder may take: Celery's own patience with a broker that is gone, or a restart
RABBITMQ_HURRY = HURRY + int(rabbitmq.READY_WITHIN)  # what starts a RabbitMQ may take what that may take

LESSON = {lesson.number: lesson for lesson in LESSONS}
all_lessons = pytest.mark.parametrize("lesson", LESSONS, ids=[lesson.path.stem for lesson in LESSONS])


@pytest.fixture(autouse=True)
def stack(app: Any) -> Iterator[None]:
    """This run's stack, which other tests find as they expect it."""
    yield
    lab.connect()


def run_whole(notebook: Kernel, lesson: Lesson) -> None:
    """Run a lesson from the top, and compare every cell."""
    for number, cell in enumerate(lesson.code):
        outputs = notebook.run(cell.source)
        assert shown(outputs) == shown(cell.outputs), f"{lesson.path.name}, code cell {number}:\n{cell.source}"


def run_in_a_hurry(notebook: Kernel, source: str) -> str:
    """Run a cell that need not succeed, but has to end; it waits for answers as long as a test can afford."""
    timeout = RABBITMQ_HURRY if "lab.rabbitmq()" in source else HURRY
    return text(notebook.run(re.sub(r"timeout=10\b", "timeout=1", source), timeout=timeout))


def leave_after(lesson: Lesson, cells: int) -> None:
    """Run the first cells of a lesson, then end its kernel."""
    with kernel() as notebook:
        for cell in lesson.code[:cells]:
            notebook.run(cell.source)


def cell_with(lesson: Lesson, words: str) -> int:
    [number] = [number for number, cell in enumerate(lesson.code) if words in cell.source]
    return number


# -- the worst of it, in every run of the tests --------------------------------------------------------------------------


def test_a_lesson_left_half_way_does_not_stand_in_the_way_of_the_next() -> None:
    leave_after(LESSON["04"], cell_with(LESSON["04"], "reserved =") + 1)
    with kernel() as notebook:
        assert "Cleared away what an earlier run had left: 3 × add, 2 × wait_at_gate" in notebook.say(CONNECT)
        run_whole(notebook, LESSON["00"])


def test_another_open_notebook_s_tasks_are_told_and_not_touched(app: Any) -> None:
    with kernel() as other, kernel() as notebook:
        other.say(CONNECT)
        other.say("from tutorial_tasks.arithmetic import add\nheld = add.apply_async((2, 2), countdown=600)")
        other.say(
            "from tutorial_tasks.lifecycle import Gate, wait_at_gate\n"
            "gate = Gate('other')\ngate.close()\nbusy = wait_at_gate.delay('other')"
        )
        other.say("from classroom import evidence\nevidence.wait_until(lambda: busy.state == 'STARTED', 10, 'it runs')")
        said = notebook.say(CONNECT)
        assert "Another open notebook has tasks here, and this lesson will meet them: 1 × add, 1 × wait_at_gate\n  next: finish" in said
        assert "Cleared" not in said
        assert other.say("gate.open()\nbusy.get(timeout=10), held.state") == "('other', 'PENDING')"
        assert len(lab.unacknowledged()) == 1
        said = other.say(CONNECT)
        assert "Cleared away what an earlier run had left: 1 × add" in said, "its own it may clear"
        assert lab.unacknowledged() == []


@pytest.mark.long
def test_what_is_busy_beside_another_notebook_s_task_is_stopped_alone() -> None:
    with kernel() as other:
        other.say(CONNECT)
        other.say(
            "from tutorial_tasks.lifecycle import Gate, wait_at_gate\nGate('a').close(); Gate('b').close()\nmine = wait_at_gate.delay('a')"
        )
        other.say("from classroom import evidence\nevidence.wait_until(lambda: mine.state == 'STARTED', 10, 'it runs')")
        with kernel() as gone:
            gone.say(CONNECT)
            gone.say("from tutorial_tasks.lifecycle import wait_at_gate\nleft = wait_at_gate.delay('b', 500)")
            gone.say("from classroom import evidence\nevidence.wait_until(lambda: left.state == 'STARTED', 10, 'it runs')")
        with kernel() as notebook:
            said = notebook.say(CONNECT)
            assert "Cleared away what an earlier run had left: 1 × wait_at_gate\nAnother open notebook has tasks here" in said
        assert other.say("Gate('a').open()\nmine.get(timeout=10)") == "'a'"


@pytest.mark.long
def test_two_notebooks_at_once_that_leave_the_worker_alone_have_the_same_outputs() -> None:
    def run(lesson: Lesson) -> None:
        with kernel() as notebook:
            run_whole(notebook, lesson)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(run, LESSON["03"]) for _ in range(2)]:
            done.result(60)


@pytest.mark.long
def test_a_worker_that_is_killed_is_named_under_the_cell_that_misses_it() -> None:
    with kernel() as notebook:
        notebook.say(CONNECT)
        notebook.say("lab.worker.kill()")
        notebook.say("from tutorial_tasks.arithmetic import add")
        said = run_in_a_hurry(notebook, "result = add.delay(2, 3)\nresult.get(timeout=10)")
        assert "TimeoutError: The operation timed out." in said
        assert "The worker is stopped.\n  next: lab.worker.start(), then this cell again; or run the lesson from its first cell" in said
        assert "(it was stopped, it runs again)" in notebook.say(CONNECT)
        assert notebook.say("result.get(timeout=1)") == "TimeoutError: The operation timed out.", "what was sent then is cleared away"


@pytest.mark.long
def test_a_queue_that_a_lesson_had_the_worker_read_is_not_read_after_it(app: Any) -> None:
    app.control.add_consumer("sloww", reply=True)
    with kernel() as notebook:
        notebook.say(CONNECT)
        [queues] = app.control.inspect().active_queues().values()
    assert [queue["name"] for queue in queues] == ["celery", "slow"]


def test_whose_a_task_is() -> None:
    stack = client.current()
    assert stack
    here = f"gen{stack.supervisor}@"
    assert is_somebody_s(here + gethostname(), set())
    assert not is_somebody_s(here + gethostname(), {stack.supervisor}), "the worker's own"
    assert not is_somebody_s(here + "another-machine", set()), "this stack listens to this machine alone"
    assert not is_somebody_s(None, set()), "a message that was written by hand"


# -- all lessons: `make disorder` ----------------------------------------------------------------------------------------


@pytest.mark.long
@all_lessons
def test_a_lesson_that_is_run_twice_says_the_same_twice(lesson: Lesson) -> None:
    with kernel() as notebook:
        run_whole(notebook, lesson)
        run_whole(notebook, lesson)


@pytest.mark.long
@all_lessons
def test_a_lesson_left_in_its_middle_runs_whole_in_another_kernel(lesson: Lesson) -> None:
    leave_after(lesson, len(lesson.code) // 2)
    with kernel() as notebook:
        run_whole(notebook, lesson)


@pytest.mark.long
@all_lessons
def test_a_worker_killed_before_any_cell_leaves_errors_with_a_next_step(lesson: Lesson, dice: random.Random) -> None:
    position = dice.randrange(1, len(lesson.code))
    print(f"killed before code cell {position}")
    with kernel() as notebook:
        for number, cell in enumerate(lesson.code):
            if number == position:
                assert notebook.say("lab.worker.kill()") == ""
            said = run_in_a_hurry(notebook, cell.source)
            is_asked = "lab.predict(" in cell.source  # a question names errors, too
            if number >= position and not is_asked and "TimeoutError: " in said and "The worker is " not in said:
                stack = client.current()
                assert stack
                assert stack.worker == "running", said
        run_whole(notebook, lesson)


@pytest.mark.long
@all_lessons
def test_cells_in_any_order_end_and_the_lesson_runs_from_the_top_after_them(lesson: Lesson, dice: random.Random) -> None:
    order = [*reversed(range(len(lesson.code))), *dice.sample(range(len(lesson.code)), len(lesson.code))]
    print(f"code cells in this order: {order}")
    with kernel() as notebook:
        for number in order:
            run_in_a_hurry(notebook, lesson.code[number].source)
        run_whole(notebook, lesson)


@pytest.mark.long
@all_lessons
def test_a_lesson_in_two_notebooks_at_once_ends_in_both_and_runs_from_the_top_after_that(lesson: Lesson) -> None:
    def run() -> None:
        with kernel() as notebook:
            for cell in lesson.code:
                run_in_a_hurry(notebook, cell.source)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(run) for _ in range(2)]:
            done.result(240)
    with kernel() as notebook:
        run_whole(notebook, lesson)

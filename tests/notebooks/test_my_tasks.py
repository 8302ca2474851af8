"""A learner's own tasks, in real kernels on a real stack: they work, can be edited, and what is wrong with them changes nothing."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from classroom import doctor, lab
from classroom.errors import ClassroomError
from classroom.my_tasks import worker_command
from classroom.stack import client
from classroom.stack.place import ROOT
from classroom.stack.task_code import my_tasks_file
from tests.notebooks.kernel import Kernel, kernel

CONNECT = "from classroom import lab\nlab.connect()"
TRIPLE = """from tutorial_tasks.celery_app import app

@app.task
def triple(x):
    return 3 * x
"""
WRITTEN = "my_tasks.py written; the worker was restarted and knows my_tasks.triple\n"


@pytest.fixture(autouse=True)
def clean(app: Any) -> Iterator[None]:
    """The next test finds a worker without the tasks of this one."""
    lab.worker.start()
    yield
    my_tasks_file().unlink(missing_ok=True)
    lab.worker.restart()


@pytest.fixture
def notebook(app: Any) -> Iterator[Kernel]:
    with kernel() as one:
        assert one.say(CONNECT).startswith("Connected: ")
        yield one


def magic(source: str) -> str:
    return "%%my_tasks\n" + source


def test_this_run_keeps_its_tasks_in_a_folder_of_its_own() -> None:
    assert ROOT not in my_tasks_file().parents


def test_a_cell_becomes_a_task_that_can_be_edited_and_outlives_the_stack(notebook: Kernel) -> None:
    assert notebook.say(magic(TRIPLE)) == WRITTEN
    assert my_tasks_file().read_text().endswith(TRIPLE)
    assert notebook.say("triple.name, triple(2), triple.delay(2).get(timeout=10)") == "('my_tasks.triple', 6, 6)"
    # An edit of the same length, which bytecode on disk would hide.
    assert notebook.say(magic(TRIPLE.replace("3 * x", "4 * x"))) == WRITTEN
    assert notebook.say("triple(2), triple.delay(2).get(timeout=10)") == "(8, 8)"
    other_app = "import warnings\nfrom celery import Celery\nwarnings.simplefilter('error')\nCelery('other').tasks['my_tasks.triple'](2)"
    assert notebook.say(other_app) == "8", "an app that comes later gets the new one, without a warning"
    client.down()
    with kernel() as later:
        assert later.say(CONNECT).startswith("Connected: ")
        assert later.say("lab.my_tasks.__module__, app") == "NameError: name 'app' is not defined"
        send = "from tutorial_tasks.celery_app import app\napp.send_task('my_tasks.triple', (2,)).get(timeout=10)"
        assert later.say(send) == "8"


def test_a_name_that_the_cell_no_longer_defines_is_gone(notebook: Kernel) -> None:
    notebook.say(magic(TRIPLE + "\nfactor = 3\n_private = 4\n"))
    assert notebook.say("factor, '_private' in globals()") == "(3, False)"
    notebook.say(magic(TRIPLE.replace("triple", "thrice")))
    assert notebook.say("[name for name in ('triple', 'factor', 'thrice') if name in globals()]") == "['thrice']"
    assert notebook.say("'my_tasks.triple' in app.tasks") == "False"


WRONG = {
    "syntax": (TRIPLE.replace("def triple", "deff triple"), "SyntaxError: invalid syntax, in line 5: deff triple(x):"),
    "import": (TRIPLE + "\nprint(nope)\n", "NameError: name 'nope' is not defined, in line 8: print(nope)"),
    "exit": (TRIPLE + "\nraise SystemExit(3)\n", "SystemExit: 3, in line 8: raise SystemExit(3)"),
    "no task": ("def triple(x):\n    return 3 * x\n", "no task of the course's app is defined here; it takes from tutorial_tasks"),
    "another app": (TRIPLE.replace("from tutorial_tasks.celery_app import app", "from celery import Celery\napp = Celery('x')"), "no task of"),
    "taken": (TRIPLE.replace("task", 'task(name="tutorial_tasks.arithmetic.add")', 1), "tutorial_tasks.arithmetic.add is the name of another"),
    "taken by a class": (
        "from celery import Task\nfrom tutorial_tasks.celery_app import app\n\n"
        "class Add(Task):\n    name = 'tutorial_tasks.arithmetic.add'\n\napp.register_task(Add())\n",
        "tutorial_tasks.arithmetic.add is the name of another task",
    ),
}


@pytest.fixture(scope="module")
def working(app: Any) -> Iterator[Kernel]:
    """A notebook whose task works; what is wrong after it must not change that."""
    with kernel() as one:
        one.say(CONNECT)
        yield one


@pytest.mark.parametrize("why", WRONG)
def test_what_is_wrong_is_named_with_its_line_and_changes_nothing(working: Kernel, why: str) -> None:
    source, words = WRONG[why]
    if why == next(iter(WRONG)) or not my_tasks_file().exists():
        assert working.say(magic(TRIPLE)) == WRITTEN
    before, worker = my_tasks_file().read_text(), client.current()
    said = working.say(magic(source))
    assert words in said
    assert "Nothing was written, the worker runs as before.\n  next: mend this cell" in said
    assert my_tasks_file().read_text() == before
    assert client.current() == worker, "this worker has not been touched"
    assert working.say("from tutorial_tasks.arithmetic import add\ntriple.delay(2).get(timeout=10), add.delay(2, 3).get(timeout=10)") == "(6, 5)"
    assert working.say("'add' in app.tasks['tutorial_tasks.arithmetic.add'].run.__name__") == "True"

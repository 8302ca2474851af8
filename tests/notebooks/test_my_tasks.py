"""A learner's own tasks, in real kernels on a real stack: they work, can be edited, and what is wrong with them changes nothing."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from classroom import connections, lab
from classroom.errors import ClassroomError
from classroom.my_tasks import worker_command
from classroom.stack import client
from classroom.stack.place import ROOT
from classroom.stack.task_code import my_tasks_file
from tests.notebooks.kernel import Kernel, kernel
from tests.stack.processes import eventually

CONNECT = "from classroom import lab\nlab.connect()"
TRIPLE = """from tutorial_tasks.celery_app import app

@app.task
def triple(x):
    return 3 * x
"""
WRITTEN = "my_tasks.py written; the worker was restarted and knows my_tasks.triple\n"


@pytest.fixture(autouse=True, scope="module")
def clean(app: Any) -> Iterator[None]:
    """Other tests of this run find a worker without the tasks of these."""
    yield
    my_tasks_file().unlink(missing_ok=True)
    lab.worker.restart()


@pytest.fixture(scope="module")
def notebook(app: Any) -> Iterator[Kernel]:
    """One notebook for all, for a learner does one thing after the other too."""
    with kernel() as one:
        assert one.say(CONNECT).startswith("Connected: ")
        yield one


def magic(source: str) -> str:
    return "%%my_tasks\n" + source


def test_this_run_keeps_its_tasks_in_a_folder_of_its_own() -> None:
    assert ROOT not in my_tasks_file().parents


def test_a_cell_becomes_a_task_that_can_be_edited(notebook: Kernel) -> None:
    assert notebook.say(magic(TRIPLE + "\nfactor = 3\n_private = 4\n")) == WRITTEN
    assert my_tasks_file().read_text().endswith(TRIPLE + "\nfactor = 3\n_private = 4\n")
    assert notebook.say("factor, '_private' in globals()") == "(3, False)"
    assert notebook.say("triple.name, triple(2), triple.delay(2).get(timeout=10)") == "('my_tasks.triple', 6, 6)"
    assert notebook.say(magic(TRIPLE.replace("3 * x", "4 * x"))) == WRITTEN
    assert notebook.say("triple(2), triple.delay(2).get(timeout=10)") == "(8, 8)"
    assert notebook.say("'factor' in globals()") == "False", "what the cell no longer defines is gone"
    other_app = """
import warnings
from celery import Celery
with warnings.catch_warnings():
    warnings.simplefilter("error")
    said = Celery("other").tasks["my_tasks.triple"](2)
said"""
    assert notebook.say(other_app) == "8", "an app that comes later gets the new one, without a warning"


WRONG = {
    "syntax": (TRIPLE.replace("def triple", "deff triple"), "SyntaxError: invalid syntax, in line 5: deff triple(x):"),
    "import": (TRIPLE + "\nprint(nope)\n", "NameError: name 'nope' is not defined, in line 8: print(nope)"),
    "exit": (TRIPLE + "\nraise SystemExit(3)\n", "SystemExit: 3, in line 8: raise SystemExit(3)"),
    "no task": ("def triple(x):\n    return 3 * x\n", "no task of the course's app is defined here; it takes from tutorial_tasks"),
    "another app": (
        TRIPLE.replace("from tutorial_tasks.celery_app import app", "from celery import Celery\napp = Celery('x')"),
        "no task of",
    ),
    "taken": (
        TRIPLE.replace("@app.task", '@app.task(name="tutorial_tasks.arithmetic.add")'),
        "tutorial_tasks.arithmetic.add is the name of another",
    ),
    "taken by a class": (
        "from celery import Task\nfrom tutorial_tasks.celery_app import app\n\n"
        "class Add(Task):\n    name = 'tutorial_tasks.arithmetic.add'\n\napp.register_task(Add())\n",
        "tutorial_tasks.arithmetic.add is the name of another task",
    ),
}


@pytest.mark.parametrize("why", WRONG)
def test_what_is_wrong_is_named_with_its_line_and_changes_nothing(notebook: Kernel, why: str) -> None:
    source, words = WRONG[why]
    if notebook.say("triple(2)") != "6":
        assert notebook.say(magic(TRIPLE)) == WRITTEN
    before, worker = my_tasks_file().read_text(), client.current()
    said = notebook.say(magic(source))
    assert words in said
    assert "Nothing was written, the worker runs as before.\n  next: mend this cell" in said
    assert my_tasks_file().read_text() == before
    assert client.current() == worker, "this worker has not been touched"
    assert (
        notebook.say("from tutorial_tasks.arithmetic import add\ntriple.delay(2).get(timeout=10), add.delay(2, 3).get(timeout=10)")
        == "(6, 5)"
    )


@pytest.mark.long
def test_code_that_only_a_notebook_can_run_is_taken_back_and_the_worker_runs_again(notebook: Kernel) -> None:
    assert notebook.say(magic(TRIPLE)) == WRITTEN
    before = my_tasks_file().read_text()
    said = notebook.say(magic(TRIPLE.replace("3", "5") + "\nfrom IPython import get_ipython\nshell = get_ipython().user_ns\n"))
    assert "the worker did not start: AttributeError: 'NoneType' object has no attribute 'user_ns'" in said
    assert "my_tasks.py, line 9)\nmy_tasks.py is as it was before, and the worker runs again.\n  next: mend this cell" in said
    assert my_tasks_file().read_text() == before
    assert notebook.say("triple(2), triple.delay(2).get(timeout=10)") == "(6, 6)"


@pytest.mark.long
def test_a_first_file_that_is_taken_back_is_gone(notebook: Kernel) -> None:
    my_tasks_file().unlink(missing_ok=True)
    assert "and the worker runs again" in notebook.say(magic(TRIPLE + "\nfrom IPython import get_ipython\nget_ipython().user_ns\n"))
    assert not my_tasks_file().exists()
    assert notebook.say("from tutorial_tasks.arithmetic import add\nadd.delay(2, 3).get(timeout=10)") == "5"


def test_a_module_that_works_instead_of_defining_tasks_is_interrupted(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("classroom.my_tasks._IMPORT_WITHIN", 0.3)
    with pytest.raises(ClassroomError, match=r"still busy after 0.3 seconds, in line 8: while True"):
        lab.my_tasks(TRIPLE + "\n\nwhile True: pass\n")
    assert "my_tasks.triple" not in app.tasks


def test_a_script_does_the_same_with_a_worker_that_was_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    lab.worker.stop()
    assert lab.my_tasks(TRIPLE).triple.delay(2).get(timeout=10) == 6
    assert capsys.readouterr().out == WRITTEN.replace("restarted", "started")


@pytest.mark.long
def test_a_file_that_was_edited_by_hand_is_read_when_a_notebook_connects(notebook: Kernel) -> None:
    notebook.say(magic(TRIPLE))
    file = my_tasks_file()
    file.write_text(file.read_text().replace("3 *", "7 *"))
    assert "(restarted, because the task code was edited)" in notebook.say(CONNECT)
    assert notebook.say("triple.delay(2).get(timeout=10)") == "14"
    file.write_text("def\n")
    said = notebook.say(CONNECT)
    assert "the worker did not start: SyntaxError: invalid syntax (" in said
    assert "next: mend my_tasks.py, or remove it" in said
    file.unlink()
    assert "it runs again" in notebook.say(CONNECT)


@pytest.mark.long
def test_another_notebook_s_file_is_named_when_a_task_is_missing(notebook: Kernel) -> None:
    notebook.say(magic(TRIPLE))
    lab.my_tasks(TRIPLE.replace("triple", "thrice"))  # this process is the other notebook
    said = notebook.say("triple.delay(2).get(timeout=10)")
    assert "another my_tasks.py than this notebook" in said
    assert "NotRegistered: 'my_tasks.triple'" in said
    assert notebook.say(magic(TRIPLE)) == WRITTEN
    assert notebook.say("triple.delay(2).get(timeout=10)") == "6"


def test_a_task_in_a_plain_cell_is_told_where_it_belongs(notebook: Kernel) -> None:
    assert notebook.say(TRIPLE) == ""
    said = notebook.say("triple.delay(2).get(timeout=10)")
    assert "NotRegistered: 'tutorial_tasks.triple'" in said
    assert "the worker is another process with other code" in said
    assert "next: put the task into a cell that begins with %%my_tasks" in said
    for _ in range(2):  # Celery itself warns once
        said = notebook.say(TRIPLE.replace("3", "4"))
        assert "Celery keeps the first function that it gets under a name: tutorial_tasks.triple is still that one" in said
    assert notebook.say("triple(2)") == "6", "this is what the hint says"
    assert notebook.say(CONNECT).startswith("Connected: "), "a task in a cell is not the worker's fault"


@pytest.mark.long
def test_somebody_else_s_worker_is_not_restarted_but_it_is_said_how(app: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stack = client.current()
    assert stack
    with monkeypatch.context() as outside:
        outside.setenv("CLASSROOM_URL", "")
        outside.setenv("CLASSROOM_MY_TASKS", str(tmp_path))
        with kernel() as one:
            assert "(from CELERY_BROKER_URL)" in one.say(CONNECT)
            said = one.say(magic(TRIPLE.replace("triple", "shout")))
            assert one.say("shout(2)") == "6"
            refused = one.say(CONNECT)
        command = worker_command()
    assert said == f"my_tasks.py written; the worker is not ours to restart.\n  next: stop it, then: {command}\n"
    assert "does not know my_tasks.shout" in refused
    assert f"next: stop that worker, then: {command}" in refused
    assert client.current() == stack
    node = [*shlex.split(command), "--pool=solo", "--loglevel=INFO", "--hostname=own@lab", "--without-mingle", "--without-gossip"]
    environment = os.environ | dict([node.pop(0).split("=", 1)]) | {"CELERY_KEY_PREFIX": "own:"}
    environment["PYTHONPATH"] += f":{ROOT}"
    log = tmp_path / "worker.log"
    with log.open("w") as output:
        worker = subprocess.Popen([sys.executable, "-m", *node], env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    try:
        eventually(lambda: "ready." in log.read_text() or worker.poll() is not None, "the worker is ready")
        assert "my_tasks.shout" in log.read_text()
    finally:
        worker.terminate()
        worker.wait(20)


@pytest.mark.long
def test_a_task_outlives_the_stack_and_its_notebook(notebook: Kernel) -> None:
    notebook.say(magic(TRIPLE))
    client.down()
    connections.renew()  # this process has to let go of the old broker too
    with kernel() as later:
        assert later.say(CONNECT).startswith("Connected: ")
        send = "from tutorial_tasks.celery_app import app\napp.send_task('my_tasks.triple', (2,)).get(timeout=10)"
        assert later.say(send) == "6"

"""The line under a cell that ended because nobody was there."""

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import DuplicateTaskNameWarning, NotRegistered
from celery.exceptions import TimeoutError as CeleryTimeoutError
from IPython.core.events import EventManager
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from classroom import hints
from classroom.errors import ClassroomError

LOST = "\nRetry limit exceeded while trying to reconnect to the Celery result store\nbackend. The Celery application must be restarted.\n"


@pytest.mark.parametrize("error", [OperationalError("x"), RedisConnectionError("x"), RuntimeError(LOST)])
def test_a_lost_broker_or_backend_gets_a_next_step(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    hints._after_cell(SimpleNamespace(success=False, error_in_exec=error))
    assert "next: lab.connect()" in capsys.readouterr().out


@pytest.mark.parametrize("error", [None, NotRegistered("shop.pay"), ValueError("x"), RuntimeError("x"), TimeoutError("x")])
def test_any_other_error_is_left_alone(error: Exception | None, capsys: pytest.CaptureFixture[str]) -> None:
    info = SimpleNamespace(transformed_cell="import os")
    hints._after_cell(SimpleNamespace(success=error is None, error_in_exec=error, info=info))
    assert capsys.readouterr().out == ""


def test_it_is_installed_once_and_only_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    hints.install()  # here is none
    shell = SimpleNamespace(events=EventManager(None, {"post_run_cell": lambda result: None}))  # type: ignore[arg-type]
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: shell)
    hints.install()
    hints.install()
    assert shell.events.callbacks["post_run_cell"] == [hints._after_cell]


def test_a_notebook_shows_a_classroom_error_as_its_message_alone() -> None:
    assert ClassroomError("it rains", "take an umbrella")._render_traceback_() == ["ClassroomError: it rains\n  next: take an umbrella"]


SQUARE = "@app.task(shared=False)\ndef square(x):\n    return x * x\n"


def shop(module: str) -> dict[str, Any]:
    """What a cell that defines a task leaves in a notebook's names."""
    names: dict[str, Any] = {"app": Celery("shop", set_as_current=False), "__name__": module}
    exec(SQUARE, names)
    names["app"].finalize()  # as sending a task does
    return names


@pytest.mark.parametrize(("module", "words"), [("__main__", "another process with other code"), ("my_tasks", "another my_tasks.py")])
def test_a_task_that_the_worker_has_never_seen_gets_a_next_step(module: str, words: str) -> None:
    names = shop(module)
    text = hints.hint(NotRegistered(names["square"].name), names)
    assert text
    assert words in text
    assert "next: " in text
    assert "%%my_tasks" in text


def test_a_task_that_no_worker_has_but_a_file_defines_is_another_matter() -> None:
    names = shop("shop")
    assert hints.hint(NotRegistered(names["square"].name), names) is None


def test_a_task_that_is_defined_again_gets_a_next_step() -> None:
    names = shop("__main__")
    assert hints.redefined(SQUARE, names) is None, "the first time is fine"
    cell = SQUARE.replace("x * x", "x + x")
    with pytest.warns(DuplicateTaskNameWarning):
        exec(cell, names)
    text = hints.redefined(cell, names)
    assert text
    assert "shop.square is still that one" in text
    assert names["square"](3) == 9, "this is what the sentence says"
    assert hints.redefined("print(square)", names) is None
    names["app"].tasks.pop("shop.square")
    exec(cell, names)
    assert hints.redefined(cell, names) is None, "this is another task"


def test_a_cell_that_is_no_python_is_left_alone() -> None:
    assert hints.redefined("@app.task\ndef square(:", shop("__main__")) is None


@pytest.mark.parametrize("error", [CeleryTimeoutError("x"), TypeError("'NoneType' object is not subscriptable")])
def test_an_answer_that_does_not_come_from_a_worker_that_is_not_there_gets_a_next_step(error: Exception) -> None:
    text = hints.hint(error, {}, "stopped")
    assert text
    assert text.startswith("The worker is stopped.\n  next: lab.worker.start()")
    assert hints.hint(error, {}, "running") is None


def test_any_other_error_is_not_laid_at_the_worker_s_door() -> None:
    assert hints.hint(TypeError("add() missing 1 required positional argument"), {}, "stopped") is None
    assert hints.hint(TimeoutError("x"), {}, "stopped") is None, "this is Python's own, of something else"

"""The line under a cell that ended because nobody was there."""

from types import SimpleNamespace

import pytest
from IPython.core.events import EventManager
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from classroom import hints
from classroom.errors import ClassroomError

LOST = "\nRetry limit exceeded while trying to reconnect to the Celery result store\nbackend. The Celery application must be restarted.\n"


@pytest.mark.parametrize("error", [OperationalError("x"), RedisConnectionError("x"), RuntimeError(LOST)])
def test_a_lost_broker_or_backend_gets_a_next_step(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    hints._after_cell(SimpleNamespace(error_in_exec=error))
    assert "next: lab.connect()" in capsys.readouterr().out


@pytest.mark.parametrize("error", [None, ValueError("x"), RuntimeError("x"), TimeoutError("x")])
def test_any_other_error_is_left_alone(error: Exception | None, capsys: pytest.CaptureFixture[str]) -> None:
    hints._after_cell(SimpleNamespace(error_in_exec=error))
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

"""The view for a terminal: what it draws, and what it says when there is nothing to watch."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from taskscope.__main__ import find, main, table
from taskscope.errors import ScopeError
from taskscope.history import History, Task
from taskscope.observation import Observation

RECORDED = Path(__file__).resolve().parents[1] / "recorded"


class Watched:
    """What `table` asks of a scope, with recorded runs behind it."""

    status = ("events: on",)

    def __init__(self, *runs: str) -> None:
        self._history = History()
        for run in runs:
            self._history.extend(Observation.from_json(line) for line in (RECORDED / f"{run}.jsonl").read_text().splitlines())

    def tasks(self) -> list[Task]:
        return self._history.tasks()


def drawn(scope: Any, height: int = 20) -> list[str]:
    console = Console(width=110, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(table(scope, height))
        return console.export_text().splitlines()


def test_each_task_has_a_line_with_its_last_attempt() -> None:
    lines = drawn(Watched("retry", "failure"))
    [retried] = [line for line in lines if "flaky" in line]
    assert "│ 2 " in retried
    assert "✔ SUCCESS" in retried
    assert "RETRY" not in retried, "that was the attempt before"
    assert any("✖ FAILURE" in line for line in lines)
    assert any("events: on" in line for line in lines)


def test_more_tasks_than_lines_are_told() -> None:
    scope = Watched("success", "retry", "failure", "progress")
    lines = drawn(scope, height=8)
    assert any(f"showing 2 of {len(scope.tasks())}" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_module:app", "no_such_module can't be imported"),
        ("tutorial_tasks.celery_app:nothing", "tutorial_tasks.celery_app has no nothing"),
        ("json:dumps", "json:dumps is a function, not a Celery application"),
    ],
)
def test_what_is_no_application_is_told_with_the_next_step(name: str, words: str) -> None:
    with pytest.raises(ScopeError, match=words):
        find(name)
    run = CliRunner().invoke(main, ["--app", name])
    assert run.exit_code == 1
    assert words in run.output
    assert "next:" in run.output


def test_without_a_name_of_the_attribute_it_is_app() -> None:
    assert find("tutorial_tasks.celery_app").main == "tutorial_tasks"

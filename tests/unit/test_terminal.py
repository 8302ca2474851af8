"""The view for a terminal: what it draws, and what it says when there is nothing to watch."""

import re
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console
from rich.table import Table

from taskscope import __main__ as terminal
from taskscope import fold, history
from taskscope.__main__ import find, main, report, table, watch
from taskscope.errors import ScopeError
from taskscope.history import History, Task
from taskscope.ledger import Ledger
from taskscope.neighbours import Neighbours
from taskscope.observation import Observation
from taskscope.scope import Beginning, Scope
from taskscope.words import sentence
from tests.unit.clock import Clock

RECORDED = Path(__file__).resolve().parents[1] / "recorded"


class Watched:
    """What `table` asks of a scope, with recorded runs behind it."""

    status: tuple[str, ...] = ("events: on",)

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


def test_brackets_in_a_name_or_in_a_reason_are_no_markup() -> None:
    scope = Watched()
    scope.status = ("results: lost, trying again: [/x] of [bold]nobody[/bold]",)
    scope._history.add(Observation("event", "sent", 1.0, 1.0, "t", 0, data={"name": "shop.[/red]", "args": "('[/b]',)", "kwargs": "{}"}))
    scope._history.add(Observation("event", "[/x]", 2.0, 2.0, "t", host="w"))
    said = " ".join(drawn(scope))
    assert "[/x] of [bold]nobody[/bold]" in said
    assert "[/red]('[/b]')" in said


def test_what_a_terminal_would_obey_is_shown_and_not_sent() -> None:
    began = said("received", 1.0, {"name": "app.\x1becho", "args": "('a\nb', '\x1b[31m\u2028')", "kwargs": "{'k': '\x9b'}"})
    done = said("succeeded", 2.0, {"result": "'\x1b]0;title\x07\n'"})
    history = History()
    history.extend([began, said("\x1b[2J", 1.5, {"note": "\x1b[0m"}), done])
    [task] = history.tasks()
    scope = Watched()
    scope._history = history
    assert r"echo('a\nb', '\x1b[31m\u2028'" in sentence(task)
    for text in (sentence(task), "".join(line.rstrip() for line in drawn(scope))):
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028]", text), text


def said(kind: str, at: float, data: dict[str, Any]) -> Observation:
    return Observation("event", kind, at, at, task="t", host="celery@lab", data=data)


def test_under_load_the_table_is_drawn_ten_times_a_second_at_most_and_the_end_is_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    scope, shown = Played(), list[int]()
    said = [one for one in recorded("success") if one.task]

    def counted(scope: Scope, height: int) -> Table:
        # While it is drawn something more is heard, as under load.
        scope.ledger.append(replace(said[0], at=said[0].at + len(shown), task=f"t{len(shown)}"))
        shown.append(len(scope.tasks()))
        return table(scope, height)

    clock = Clock()
    monkeypatch.setattr(terminal, "table", counted)
    monkeypatch.setattr(terminal, "time", clock)
    with open("/dev/null", "w") as nowhere:
        watch(scope, Console(file=nowhere, force_terminal=True, width=100, height=30), clock.now + 0.55)
    assert shown == [*range(1, 9)], "at the beginning, each of six times a tenth of a second later, and at the end"


class Played(Scope):
    """A scope whose ledger is filled by the test."""

    def __init__(self) -> None:
        self._lock, self._read, self._history, self._changed, self._silent = threading.RLock(), 0, History(), {}, {}
        self._unread, self._commands, self._aside, self._beginning = 0, deque(), set(), Beginning(0.0)
        self._neighbours = Neighbours(lambda _: set())
        self.ledger = Ledger()

    @property
    def status(self) -> list[str]:
        return []


def recorded(run: str) -> list[Observation]:
    return [Observation.from_json(line) for line in (RECORDED / f"{run}.jsonl").read_text().splitlines()]


def test_a_pipe_gets_one_line_for_each_task_when_it_has_ended() -> None:
    scope, lines = Played(), list[str]()
    begun, over = threading.Event(), threading.Event()
    listen = scope.ledger.wait

    def wait(position: int, timeout: float) -> bool:
        if over.is_set():
            raise KeyboardInterrupt
        return listen(position, timeout)

    def say(line: str) -> None:
        lines.append(line)
        begun.set()

    def reporting() -> None:
        with pytest.raises(KeyboardInterrupt):
            report(scope, say, None)

    scope.ledger.wait = wait  # type: ignore[method-assign]
    for said in recorded("progress"):  # all of it before somebody reads: a half that comes late would be told as one more end
        scope.ledger.append(said)
    with ThreadPoolExecutor(1) as thread:
        reported = thread.submit(reporting)
        try:
            assert begun.wait(20)
            assert len(lines) == 1
            for said in recorded("eta")[:3]:
                scope.ledger.append(said)
        finally:
            over.set()
        reported.result(20)
    assert lines[0].endswith("PROGRESS ×3 → SUCCESS = 3")
    assert len(lines) == 2
    assert lines[1].endswith("(has not ended)"), lines


def test_that_no_worker_was_heard_is_told() -> None:
    scope = Played()
    for said in recorded("success"):
        if said.source == "publish":
            scope.ledger.append(said)
    assert scope.notes == ["no worker was heard: none runs, or it sends no events (start it with -E)"]
    assert Played().notes == [], "nothing has happened yet"


def test_a_clock_that_is_not_ours_is_told_of_the_tasks_that_ran_by_it() -> None:
    scope = Played()
    for said in recorded("two_clocks"):
        scope.ledger.append(said)
    behind = "the clock of two@cast is 30 s behind: its times are shown as it told them"
    assert scope.notes == [behind]
    hosts = {task.id: {lane.host for lane in task.lanes} for task in scope.tasks()}
    assert [scope.notes_on([name]) for name in hosts] == [[behind] if "two@cast" in ran_on else [] for ran_on in hosts.values()]
    assert {frozenset(ran_on) for ran_on in hosts.values()} > {frozenset({"one@cast"})}, "some ran on the other host only"
    scope = Played()
    for said in recorded("two_clocks"):
        scope.ledger.append(replace(said, at=said.at + 60) if said.host == "two@cast" else said)
    assert scope.notes == [behind.replace("behind", "ahead")]


def test_a_recording_tells_what_may_have_been_missed_and_whose_clock_is_not_ours(tmp_path: Path) -> None:
    ledger = Ledger()
    for said in recorded("two_clocks"):
        ledger.append(said)
    at = recorded("two_clocks")[-1].at
    ledger.append(Observation("event", "gap", at, at + 1, data={"from": at, "to": at + 1, "why": "the broker was away"}))
    ledger.save(tmp_path / "run.jsonl")
    assert Scope.replay(tmp_path / "run.jsonl").film()["notes"] == [
        "the clock of two@cast is 30 s behind: its times are shown as it told them",
        "something may have been missed: the broker was away",
    ]


def test_a_recording_plays_the_broker_s_commands(tmp_path: Path) -> None:
    ledger = Ledger()
    for said in recorded("success"):
        ledger.append(said)
    task, at = next((said.task, said.at) for said in ledger if said.kind == "published")
    for kind, name, text in (
        ("LPUSH", task, "LPUSH celery {task: add}"),
        ("BRPOP", None, "BRPOP celery {it waits for the next message}"),
        ("GET", task, "GET celery-task-meta-… {}"),
    ):
        ledger.append(Observation("command", kind, at + 0.001, at + 0.002, task=name, data={"text": text}))
    ledger.save(tmp_path / "run.jsonl")
    recording = Scope.replay(tmp_path / "run.jsonl")
    assert [text for _, text in recording.film()["commands"]] == ["LPUSH celery {task: add}"], "who waits or looks moves nothing"
    assert "LPUSH celery {task: add}" in recording.still()._repr_mimebundle_()[0]["image/svg+xml"]


def test_a_task_that_nobody_understands_takes_no_other_along_and_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(task: str, *more: Any) -> Any:
        if task == "x":
            raise TypeError("what is this?")
        return fold.fold(task, *more)

    monkeypatch.setattr(history, "fold", broken)
    scope = Played()
    strange = Observation("event", "sent", 1.0, 1.0, "x", 0)
    for said in (strange, *recorded("success"), strange):
        scope.ledger.append(said)
    assert [task.state for task in scope.tasks()] == ["SUCCESS"]
    assert set(scope.changed()) == {task.id for task in scope.tasks()}
    scope.ledger.append(replace(strange, at=2.0))
    assert scope.notes == ["1 task can't be told: TypeError('what is this?')"]
    assert scope.notes_on([scope.tasks()[0].id]) == []
    assert [record.getMessage() for record in caplog.records] == ["the task x can't be told: TypeError('what is this?')"]


def test_whoever_interrupts_is_told_what_has_not_ended() -> None:
    scope, lines = Played(), list[str]()
    for said in recorded("success"):
        scope.ledger.append(said)

    def interrupt(position: int, timeout: float) -> bool:
        raise KeyboardInterrupt

    scope.ledger.wait = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        report(scope, lines.append, None)
    assert lines and lines[0].endswith("SUCCESS = 5")


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
        (":app", "':app' names no module"),
        ("raises:app", "raises can't be imported: KeyError: 'SECRET'"),
        ("unwritten:app", "unwritten can't be imported: SyntaxError"),
    ],
)
def test_what_is_no_application_is_told_with_the_next_step(name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "raises.py").write_text("import os\nos.environ['SECRET']\n")
    (tmp_path / "unwritten.py").write_text("def\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ScopeError, match=words):
        find(name)
    run = CliRunner().invoke(main, ["--app", name])
    assert run.exit_code == 1
    assert words in run.output
    assert "next:" in run.output


def test_without_a_name_of_the_attribute_it_is_app() -> None:
    assert find("tutorial_tasks.celery_app").main == "tutorial_tasks"

"""client.py walks through the lessons: the same steps, in the same order, to the end."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from celery.exceptions import TimeoutError as CeleryTimeoutError
from click.testing import CliRunner

import client
from classroom import lab
from tests.notebooks.lessons import LESSONS, Lesson
from tests.stack.processes import ROOT, Checkout

SOURCE = ast.parse((ROOT / "client.py").read_text())
STEPS = {node.name: node for node in SOURCE.body if isinstance(node, ast.FunctionDef) and node.name.startswith("step_")}
# What a notebook has and a script does not.
ONLY_IN_NOTEBOOKS = re.compile(r"Exercise \d|Recap|Common errors")


def sections(function: ast.FunctionDef) -> list[str]:
    """The headings that a function prints, in the order of its lines."""
    calls = [
        node for node in ast.walk(function) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "section"
    ]
    return [ast.literal_eval(call.args[0]) for call in sorted(calls, key=lambda call: call.lineno)]


# 00 looks at the classroom itself; 12 and 14 are about what surrounds a client, not about what one sends.
MIRRORED = [lesson for lesson in LESSONS if lesson.number not in ("00", "12", "14")]


def test_there_is_a_step_for_every_lesson_that_a_client_can_do() -> None:
    assert list(STEPS) == [f"step_{lesson.path.stem}" for lesson in MIRRORED]


@pytest.mark.parametrize("lesson", MIRRORED, ids=lambda lesson: lesson.path.stem)
def test_its_sections_are_the_lesson_s_headings(lesson: Lesson) -> None:
    assert sections(STEPS[f"step_{lesson.path.stem}"]) == [heading for heading in lesson.headings if not ONLY_IN_NOTEBOOKS.match(heading)]
    assert f"# {ast.get_docstring(STEPS[f'step_{lesson.path.stem}'])}" == f"{lesson.cells[0].source.splitlines()[0]}."


@pytest.mark.long
def test_it_runs_to_the_end_and_shows_every_section(tmp_path: Path) -> None:
    own = Checkout(ROOT, tmp_path).environment()
    # Alone on a machine it takes a minute.
    run = subprocess.run([sys.executable, "client.py"], cwd=ROOT, env=own, capture_output=True, text=True, timeout=400, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    shown = re.findall("^## (.*)$", run.stdout, re.MULTILINE)
    assert shown == [heading for step in STEPS.values() for heading in sections(step)]
    for line in ("add(2, 3) -> 5", "result.state -> 'PENDING'", "result.state -> 'REVOKED'", "hours from now -> 9", "mended -> 42"):
        assert line in run.stdout.splitlines()


def test_list_names_the_lessons_and_needs_no_stack(tmp_path: Path) -> None:
    checkout = Checkout(ROOT, tmp_path / "state")
    run = checkout.run("client.py", "--list")
    assert run.stdout.splitlines() == [ast.get_docstring(step) for step in STEPS.values()]
    assert not checkout.state.exists()


def test_a_step_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    run = Checkout(ROOT, tmp_path).run("client.py", "--step", "99")
    assert run.returncode == 2
    assert "'99' is not one of '01', '02', '03'" in run.stderr


def test_a_task_that_nobody_does_in_time_is_one_line_with_a_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_vain() -> None:
        raise CeleryTimeoutError("The operation timed out.")

    in_vain.__doc__ = "01"
    monkeypatch.setattr(lab, "connect", lambda: None)
    monkeypatch.setitem(client.STEPS, "01", in_vain)
    run = CliRunner().invoke(client.main, ["--step", "01"])
    assert run.exit_code == 1
    problem, remedy = run.output.splitlines()[-2:]
    assert problem == "Error: no worker did the task in time"
    assert remedy.startswith("  next: ")
    assert remedy.endswith("-m classroom doctor")

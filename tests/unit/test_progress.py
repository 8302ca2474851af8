"""What was passed is remembered, by checkout, until it is forgotten on demand."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from classroom import progress
from classroom.cli import main
from classroom.exercises import names


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLASSROOM_STATE", str(tmp_path))
    return tmp_path


def test_nothing_is_passed_at_first() -> None:
    assert progress.passed() == set()
    assert progress.summary().splitlines()[-1] == f"0 of {len(names())} exercises passed; next: 00.1"


def test_what_was_passed_is_shown_and_kept_by_the_next_process() -> None:
    for name in ("00.1", "00.1", "01.2"):
        progress.record(name)
    said = CliRunner().invoke(main, ["progress"]).output.splitlines()
    assert said[:2] == ["00 ✔ ○", "01 ○ ✔"]
    assert said[-1] == f"2 of {len(names())} exercises passed; next: 00.2"


def test_all_passed_leaves_nothing_next() -> None:
    for name in names():
        progress.record(name)
    assert progress.summary().splitlines()[-1] == f"{len(names())} of {len(names())} exercises passed"


def test_it_is_forgotten_on_demand() -> None:
    progress.record("00.1")
    assert CliRunner().invoke(main, ["progress", "--reset"]).output == "Forgotten: 1 passed exercises.\n"
    assert progress.passed() == set()


def test_an_exercise_that_is_no_more_counts_for_nothing(folder: Path) -> None:
    progress.record("99.1")
    assert progress.summary().splitlines()[-1].startswith("0 of ")


def test_a_place_that_cannot_be_written_spoils_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASSROOM_STATE", "/dev/null/nowhere")
    progress.record("00.1")
    assert progress.passed() == set()

"""The form of a lesson: what every notebook has, and what none may have."""

import ast
import json
import re
from itertools import pairwise

import nbformat
import pytest

from tests.notebooks.lessons import LESSONS, NOTEBOOKS, Lesson
from tests.notebooks.rewrite import store

lessons = pytest.mark.parametrize("lesson", LESSONS, ids=[lesson.path.stem for lesson in LESSONS])


def test_each_lesson_has_a_number_of_its_own_and_the_core_has_no_gap() -> None:
    numbers = [lesson.number for lesson in LESSONS]
    assert len(set(numbers)) == len(numbers)
    assert numbers[:10] == [f"{n:02d}" for n in range(10)]  # after these a lesson needs no other that is missing
    assert all(re.fullmatch(rf"{lesson.number}_[a-z_]+", lesson.path.stem) for lesson in LESSONS)


@lessons
def test_a_lesson_begins_with_its_card(lesson: Lesson) -> None:
    card = lesson.cells[0].source
    assert card.startswith(f"# {lesson.number} · ")
    for word in ("You will", "You need", "Minutes", "You will see", "You will break"):
        assert f"> **{word}**" in card
    assert re.search(r"> \*\*Minutes\*\* \d+", card)


@lessons
def test_its_first_cell_connects(lesson: Lesson) -> None:
    assert lesson.code[0].source == "from classroom import lab\nlab.connect()"


@lessons
def test_it_breaks_something_and_ends_with_recap_errors_and_next(lesson: Lesson) -> None:
    assert any(heading.startswith("Break it") for heading in lesson.headings)
    assert lesson.headings[-2:] == ["Recap", "Common errors"]
    assert "**Next:**" in lesson.cells[-1].source


@pytest.mark.parametrize(("lesson", "following"), list(pairwise(LESSONS)), ids=[lesson.path.stem for lesson in LESSONS[:-1]])
def test_it_leads_to_the_lesson_that_follows(lesson: Lesson, following: Lesson) -> None:
    link = re.match(r"\*\*Next:\*\* \[(\d\d) · [^]]+\]\((.+?)\)", next_of(lesson))
    assert link, next_of(lesson)
    assert link.groups() == (following.number, following.path.name)


def test_the_last_one_says_what_comes_later_as_the_readme_does() -> None:
    said = re.search(r"^More are on their way: (.+)\.$", (NOTEBOOKS.parent / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    later = said[1].split(", ") if said else []
    assert all(topic in next_of(LESSONS[-1]) for topic in later)
    assert ("on their way" in next_of(LESSONS[-1])) == bool(later)


def next_of(lesson: Lesson) -> str:
    found = re.search(r"^\*\*Next:\*\*.*", lesson.cells[-1].source, re.MULTILINE)
    assert found
    return found[0]


@lessons
def test_each_exercise_has_three_hints_and_a_solution(lesson: Lesson) -> None:
    assert lesson.exercises
    assert [exercise.name for exercise in lesson.exercises] == [f"{lesson.number}.{n + 1}" for n in range(len(lesson.exercises))]
    for here, cell in enumerate(lesson.cells):
        if "\ncheck(" in cell.source:
            titles = re.findall("<summary>(.*?)</summary>", lesson.cells[here + 1].source)
            assert titles[:4] == ["Hint 1", "Hint 2", "Hint 3", "Solution"]


@lessons
def test_every_code_cell_was_run_and_is_compared(lesson: Lesson) -> None:
    for cell in lesson.code:
        assert cell.execution_count is not None
        assert set(cell.metadata.get("tags", [])) <= {"raises-exception"}
        assert "NBVAL" not in cell.source


@lessons
def test_cells_are_short_and_mostly_celery(lesson: Lesson) -> None:
    for cell in lesson.code:
        assert len(cell.source.splitlines()) <= 15
        assert sum("lab." in line for line in cell.source.splitlines()) <= 2


WAITS = {"get", "join", "join_native", "wait"}


@lessons
def test_nothing_waits_without_a_limit(lesson: Lesson) -> None:
    for cell in lesson.code:
        python = "\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))
        for call in ast.walk(ast.parse(python)):
            if not isinstance(call, ast.Call):
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            assert name != "sleep", cell.source
            if name in WAITS and not call.args:
                assert "timeout" in {keyword.arg for keyword in call.keywords}, ast.unparse(call)


@lessons
def test_headings_are_in_order(lesson: Lesson) -> None:
    levels = [len(marks) for cell in lesson.prose for marks in re.findall(r"^(#+) ", without_code(cell.source), re.MULTILINE)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(deeper <= level + 1 for level, deeper in pairwise(levels))
    assert len(set(lesson.headings)) == len(lesson.headings)


@lessons
def test_every_picture_can_be_read_aloud(lesson: Lesson) -> None:
    for cell in lesson.prose:
        assert all(alt.strip() for alt in re.findall(r"!\[(.*?)\]\(", cell.source))
        assert "<img" not in cell.source
    for cell in lesson.code:
        for output in cell.outputs:
            kinds = set(output.get("data", {}))
            assert kinds <= {"text/plain", "image/png", "image/svg+xml"}
            assert not kinds or output["data"]["text/plain"].strip()


@lessons
def test_a_number_in_the_prose_is_one_that_the_lesson_shows(lesson: Lesson) -> None:
    shown = " ".join(json.dumps([cell.source, cell.outputs]) for cell in lesson.code)
    for cell in lesson.prose[1:]:
        prose = re.sub(
            r"\]\([^)]*\)|\[\d\d\b|lessons? \d\d|^#+ .*$|<details>.*?</details>",
            "",
            without_code(cell.source),
            flags=re.MULTILINE | re.DOTALL,
        )
        for number in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\d)", prose):
            assert re.search(rf"(?<!\d){re.escape(number)}(?!\d)", shown), f"{number} in: {cell.source[:80]}"


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


@lessons
def test_links_lead_somewhere(lesson: Lesson) -> None:
    for cell in lesson.prose:
        for target in re.findall(r"\]\((?!http)([^)#]+)", cell.source):
            assert (lesson.path.parent / target).exists(), target


@lessons
def test_nothing_of_one_run_is_stored(lesson: Lesson) -> None:
    notebook = json.loads(lesson.path.read_text())
    assert "widgets" not in notebook["metadata"]
    raw = json.dumps([cell.get("outputs") for cell in notebook["cells"]])
    assert not re.search(r"/(root|home|tmp|work|Users)/", raw)
    assert "widget-view" not in raw
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", raw)
    stored = [cell.get("outputs") for cell in lesson.cells]
    assert stored == [cell.get("outputs") for cell in store(_copy(lesson)).cells], "run: make notebooks"


def _copy(lesson: Lesson) -> nbformat.NotebookNode:
    notebook: nbformat.NotebookNode = nbformat.read(lesson.path, as_version=4)
    return notebook

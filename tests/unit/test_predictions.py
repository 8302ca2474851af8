"""The questions of the lessons: each has one right answer and a word for every other, and stands before what answers it."""

import re
import tomllib
from pathlib import Path

import pytest

import classroom.predictions
from classroom.errors import ClassroomError
from classroom.predictions import predict
from tests.notebooks.lessons import LESSONS

FOLDER = Path(classroom.predictions.__file__).parent
WRITTEN = [f"{path.stem[-2:]}{letter}" for path in sorted(FOLDER.glob("lesson_*.toml")) for letter in tomllib.loads(path.read_text())]
ASKED = [name for lesson in LESSONS for cell in lesson.code for name in re.findall(r'lab\.predict\("(.*?)"\)', cell.source)]


def test_each_question_is_asked_once_in_its_lesson() -> None:
    assert ASKED == WRITTEN
    for lesson in LESSONS:
        assert all(name in ASKED for name in WRITTEN if name.startswith(lesson.number))


@pytest.mark.parametrize("name", WRITTEN)
def test_one_option_is_right_and_each_has_its_own_feedback(name: str) -> None:
    options = predict(name).options
    assert len(options) >= 3
    assert sum(option.right for option in options) == 1
    assert len({option.text for option in options}) == len({option.feedback for option in options}) == len(options)
    assert all(len(option.feedback) > 20 for option in options)


def test_the_right_one_is_not_always_at_the_same_place() -> None:
    places = {[option.right for option in predict(name).options].index(True) for name in WRITTEN}
    assert len(places) > 1


def test_its_text_has_the_question_and_the_options_and_not_the_answer() -> None:
    asked = predict(WRITTEN[0])
    assert repr(asked).splitlines() == [f"Predict: {asked.question}", *(f"  ○ {option.text}" for option in asked.options)]


def test_a_question_that_nobody_wrote_names_those_that_there_are() -> None:
    for name in ("99a", "04z", "", "x"):
        with pytest.raises(ClassroomError, match=r"one of: .*04a"):
            predict(name)

"""Predictions: what do you think will happen? You say it first, then you run the cell, then you hear about your answer.

The questions are in `lesson_NN.toml`, in a table for each letter:

    [a]
    question = "How many wait?"
    cells = 2    # it takes so many cells to see it; one, when this is not there
    [[a.options]]
    text = "three"
    feedback = "What one would have to believe to choose this, and what shows otherwise."
    [[a.options]]
    text = "none"
    right = true
    feedback = "Why it is so."
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classroom.errors import ClassroomError
from taskscope import contents
from taskscope.live import is_live

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Option:
    """One of the answers that a learner can choose, and what is said to them afterwards."""

    text: str
    feedback: str
    right: bool = False


@dataclass(frozen=True)
class Prediction:
    """A question with its options: shown live as a small form, and as text where a notebook is stored."""

    name: str
    question: str
    options: tuple[Option, ...]
    cells: int = 1

    def __repr__(self) -> str:
        return "\n".join([f"Predict: {self.question}", *(f"  ○ {option.text}" for option in self.options)])

    def _repr_mimebundle_(self, **_: Any) -> Any:
        if not is_live():
            return {"text/plain": repr(self)}
        from classroom.predictions.form import Form  # a widget is loaded where one is shown

        found = Form(self)._repr_mimebundle_()
        data, metadata = found if isinstance(found, tuple) else (found, {})
        gone = {contents.MARK: contents.this_process()}  # when it has gone, the question is shown as text
        return {**(data or {}), "text/plain": repr(self)}, {**metadata, **gone}


def predict(name: str) -> Prediction:
    """Return the question of this name, such as "04a": lesson 04, its first question.

    Raises:
        ClassroomError: there is no such question.
    """
    path = _HERE / f"lesson_{name[:2]}.toml"
    questions = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if name[2:] not in questions:
        known = [f"{file.stem[-2:]}{letter}" for file in sorted(_HERE.glob("lesson_*.toml")) for letter in tomllib.loads(file.read_text())]
        raise ClassroomError(f"there is no prediction {name!r}", f"one of: {', '.join(known)}")
    asked = questions[name[2:]]
    return Prediction(name, asked["question"], tuple(Option(**option) for option in asked["options"]), asked.get("cells", 1))

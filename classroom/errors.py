"""The one kind of error that the classroom raises on purpose, and how a next step is worded."""

import re
import shutil
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]


def typed(remedy: str) -> str:
    """Word a next step so that it works in the learner's shell: `python` may be missing there, or be another one."""
    here = Path(sys.executable)
    if shutil.which("python") == str(here) or not here.is_relative_to(_ROOT):
        return remedy
    # A remedy comes here again when an error travels from one of our processes to another: it stays as it is.
    return re.sub(r"(?<!/)\bpython -m classroom", f"{here.relative_to(_ROOT)} -m classroom", remedy)


class ClassroomError(Exception):
    """Something is wrong, and there is a next thing to type.

    Args:
        problem: what is wrong, in one sentence.
        remedy: what to type or do next.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)  # as they came in, for pickle
        self.problem = problem
        self.remedy = typed(remedy)

    def __str__(self) -> str:
        return f"{self.problem}\n  next: {self.remedy}"

    def _render_traceback_(self) -> list[str]:
        """Show a notebook the message alone (IPython asks an exception for this before it prints one)."""
        return [f"ClassroomError: {self}"]

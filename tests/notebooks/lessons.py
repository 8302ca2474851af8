"""Read the lessons: the notebooks are the only copy of them, so the tests take everything from there."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat

MY_TASKS = "%%my_tasks\n"
NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


@dataclass(frozen=True)
class Exercise:
    """An exercise as it stands in a lesson: its name, the stub in the code cell, and the solution in the closed block.

    `my_tasks` is the block of the solution that goes into a cell of its own, below `%%my_tasks`; most need none.
    """

    name: str
    function: str
    stub: str
    solution: str
    my_tasks: str = ""


@dataclass(frozen=True)
class Lesson:
    """One notebook."""

    path: Path

    @property
    def number(self) -> str:
        return self.path.name[:2]

    @cached_property
    def cells(self) -> list[nbformat.NotebookNode]:
        cells: list[nbformat.NotebookNode] = nbformat.read(self.path, as_version=4).cells
        return cells

    @property
    def code(self) -> list[nbformat.NotebookNode]:
        return [cell for cell in self.cells if cell.cell_type == "code"]

    @property
    def prose(self) -> list[nbformat.NotebookNode]:
        return [cell for cell in self.cells if cell.cell_type == "markdown"]

    @property
    def headings(self) -> list[str]:
        """The sections, in order."""
        return [line[3:] for cell in self.prose for line in cell.source.splitlines() if line.startswith("## ")]

    @property
    def exercises(self) -> list[Exercise]:
        found = []
        for here, cell in enumerate(self.cells):
            if called := re.search(r'^check\("([\d.]+)", (\w+)\)$', cell.source, re.MULTILINE):
                solved = self.cells[here + 1].source.partition("<summary>Solution</summary>")[2].partition("</details>")[0]
                blocks = re.findall(r"```python\n(.*?)```", solved, re.DOTALL)
                solutions = [block for block in blocks if not block.startswith(MY_TASKS)]
                assert len(solutions) == 1, f"{self.path.name}: exercise {called[1]} has {len(solutions)} solutions in the next cell"
                stub = cell.source[: called.start()]
                own = "".join(block.removeprefix(MY_TASKS) for block in blocks if block.startswith(MY_TASKS))
                found.append(Exercise(called[1], called[2], stub, solutions[0], own))
        return found


LESSONS = [Lesson(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"))]

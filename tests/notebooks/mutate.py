"""Make lessons wrong on purpose and see strict nbval turn red: `make mutations`, or those of a lesson, `make mutations ARGS=04`.

Each file in `mutations/` is of one lesson, with a table for each mutation:

    [[mutation]]
    file = "tutorial_tasks/arithmetic.py"    # or "notebook", for a change in the lesson's own code cells
    right = "return x + y"                   # stands there exactly once
    wrong = "return x - y"

A mutation is killed when the lesson, unchanged before, fails with it because a cell gave another output. The run prints
killed / total, and fails under 100 %.
"""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
import nbformat

from tests.share import share_of

ROOT = Path(__file__).resolve().parents[2]
FILES = Path(__file__).parent / "mutations"
_AT_ONCE = 4  # most of a lesson's time is waiting
_TIMEOUT = 180  # seconds for one lesson


@dataclass(frozen=True)
class Mutation:
    """One small change of task code or of a lesson's code that the lesson has to notice."""

    lesson: str
    file: str
    right: str
    wrong: str

    def __str__(self) -> str:
        return f"{self.lesson}: {self.file}: {self.right.strip()!r} -> {self.wrong.strip()!r}"

    def apply(self, checkout: Path) -> None:
        """Change the one place in a checkout.

        Raises:
            ValueError: the place is not there, or there is more than one.
            SyntaxError: what it would become is no Python; anything would notice that.
        """
        if self.file == "notebook":
            path = next(checkout.glob(f"notebooks/{self.lesson}_*.ipynb"))
            notebook = nbformat.read(path, as_version=4)
            cells = [cell for cell in notebook.cells if cell.cell_type == "code" and self.right in cell.source]
            if len(cells) != 1 or cells[0].source.count(self.right) != 1:
                raise ValueError(f"not in exactly one place of the lesson's code: {self}")
            cells[0].source = cells[0].source.replace(self.right, self.wrong)
            ast.parse("\n".join(line for line in cells[0].source.splitlines() if not line.startswith("%")))
            nbformat.write(notebook, path)
        else:
            path = checkout / self.file
            before = path.read_text(encoding="utf-8")
            if before.count(self.right) != 1:
                raise ValueError(f"not exactly once in that file: {self}")
            after = before.replace(self.right, self.wrong)
            ast.parse(after)
            path.write_text(after, encoding="utf-8")


def mutations() -> list[Mutation]:
    """Read the mutations of all lessons."""
    return [
        Mutation(path.stem, **entry)
        for path in sorted(FILES.glob("*.toml"))
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutation"]
    ]


def run(mutation: Mutation) -> str:
    """Run a lesson in a checkout of its own, with the mutation; return what went wrong with it, or nothing.

    Raises:
        RuntimeError: it did not come so far as to compare outputs.
    """
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        checkout = Path(folder)
        for name in ("batch_api", "classroom", "taskscope", "tutorial_tasks", "notebooks", "tests"):
            shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
        for name in ("pyproject.toml", "requirements.lock"):
            shutil.copy(ROOT / name, checkout)
        mutation.apply(checkout)
        notebook = next(checkout.glob(f"notebooks/{mutation.lesson}_*.ipynb"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "CLASSROOM", "CELERY", "TUTORIAL"))}
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(notebook)],
            cwd=checkout,
            env=kept | {"PYTHONPATH": str(checkout)},
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
        )
    if ran.returncode == 0:
        return ""
    if ran.returncode != 1 or not ("NbCellError" in ran.stdout or "Notebook cell execution failed" in ran.stdout):
        raise RuntimeError(f"{mutation}: the lesson could not be compared:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return ran.stdout


@click.command()
@click.option("--share", default="0/1", metavar="I/N", help="Try only one of N shares of them, the I-th, counted from 0.")
@click.argument("lessons", nargs=-1)
def main(share: str, lessons: tuple[str, ...]) -> None:
    """Try all mutations, or those of some LESSONS; end with 0 when every one was killed."""
    chosen = share_of([mutation for mutation in mutations() if not lessons or mutation.lesson in lessons], share)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        killed = []
        for mutation, found in zip(chosen, pool.map(run, chosen), strict=True):
            killed.append(bool(found))
            print(f"{'killed  ' if found else 'SURVIVED'}  {mutation}", flush=True)
    print(f"{sum(killed)} killed / {len(chosen)} total")
    sys.exit(0 if chosen and all(killed) else 1)


if __name__ == "__main__":
    main()

"""A lesson whose code is made wrong turns red: otherwise its green would mean nothing."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Mutation:
    """One small change of the task code, and the lesson that has to notice."""

    lesson: str
    file: str
    right: str
    wrong: str


MUTATIONS = [
    Mutation("00_start_here", "arithmetic.py", "    return x + y\n\n\n@app.task\ndef multiply", "    return x * y\n\n\n@app.task\ndef multiply"),
    Mutation("01_delay", "arithmetic.py", "    return x + y\n\n\n@app.task\ndef multiply", "    return x - y\n\n\n@app.task\ndef multiply"),
    Mutation("02_apply_async", "arithmetic.py", "def add(x: float, y: float)", "def add(x: float, y: float, countdown: float = 0)"),
    Mutation("03_send_task", "arithmetic.py", "return x * y", "return x + y"),
    Mutation("04_task_states", "lifecycle.py", "for done in range(1, n + 1):", "for done in range(1, n):"),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation.lesson for mutation in MUTATIONS])
def test_a_mutation_of_the_task_code_turns_the_lesson_red(mutation: Mutation, tmp_path: Path) -> None:
    checkout = tmp_path / "a checkout"
    for name in ("classroom", "taskscope", "tutorial_tasks", "notebooks", "tests"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, checkout)
    target = checkout / "tutorial_tasks" / mutation.file
    before = target.read_text()
    assert before.count(mutation.right) == 1
    target.write_text(before.replace(mutation.right, mutation.wrong))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "CLASSROOM", "CELERY"))}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"notebooks/{mutation.lesson}.ipynb"],
        cwd=checkout,
        env=environment | {"PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert "1 failed" in run.stdout
    assert "NbCellError" in run.stdout or "Notebook cell execution failed" in run.stdout, run.stdout

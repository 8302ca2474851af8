"""Who may know whom: the lines of the architecture, held by the imports themselves."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = {"tutorial_tasks", "classroom", "taskscope", "batch_api", "tests", "benchmarks", "client"}

# What each folder may import of ours, and, where that is limited, of others.
MAY_KNOW = {
    "tutorial_tasks": set(),
    "taskscope": set(),
    "classroom": {"taskscope", "tutorial_tasks"},
    "batch_api": {"tutorial_tasks"},
}
ONLY_THIRD_PARTY = {"tutorial_tasks": {"celery"}}


def imported(folder: Path) -> Iterator[tuple[Path, str]]:
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from ((file, alias.name.split(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file}: imports here are absolute"
                yield file, str(node.module).split(".")[0]


@pytest.mark.parametrize("folder", [name for name in MAY_KNOW if (ROOT / name).exists()])
def test_no_folder_reaches_back(folder: str) -> None:
    names = list(imported(ROOT / folder))
    assert names
    for file, name in names:
        assert name not in OURS - MAY_KNOW[folder] - {folder}, f"{file.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("folder", ONLY_THIRD_PARTY)
def test_the_worker_s_folder_needs_celery_and_nothing_else(folder: str) -> None:
    allowed = ONLY_THIRD_PARTY[folder] | set(sys.stdlib_module_names) | {folder}
    for file, name in imported(ROOT / folder):
        assert name in allowed, f"{file.relative_to(ROOT)} imports {name}"


def test_only_the_classroom_starts_processes() -> None:
    for folder in ("tutorial_tasks", "taskscope", "batch_api"):
        for file, name in imported(ROOT / folder):
            assert name not in {"subprocess", "multiprocessing"}, f"{file.relative_to(ROOT)} imports {name}"

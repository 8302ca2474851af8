"""The code that the worker runs: the course's tasks, and the learner's own in `my_tasks.py`."""

import hashlib
import os
import sys
from pathlib import Path
from types import CodeType, ModuleType

from classroom.stack.place import ROOT

MY_TASKS = "my_tasks"


def my_tasks_file() -> Path:
    """Say where the learner's own tasks are: beside the lessons, or in the folder that `CLASSROOM_MY_TASKS` names."""
    folder = Path(os.environ.get("CLASSROOM_MY_TASKS") or ROOT / "notebooks").resolve()
    return folder / f"{MY_TASKS}.py"


def load_my_tasks(code: CodeType) -> ModuleType:
    """Run the learner's own tasks as the module `my_tasks`, afresh.

    Not by `import`: Python would keep bytecode beside the file, and take an edit of the same length within the same
    second for no edit at all; and the folder would have to be on the path, where any file shadows a module.
    """
    module = ModuleType(MY_TASKS)
    module.__file__ = code.co_filename
    sys.modules[MY_TASKS] = module  # Celery names a task after the module that it finds here
    exec(code, vars(module))  # noqa: S102  (the learner's own code is what this is for)
    return module


def compile_my_tasks(source: str, path: Path) -> CodeType:
    """Compile the learner's own tasks, so that errors name their file and line."""
    return compile(source, str(path), "exec", dont_inherit=True)


def fingerprint(*places: Path) -> str:
    """Name the state of these Python files, and of those in these folders: any edit changes it."""
    digest = hashlib.sha256()
    for place in places:
        files = sorted(place.rglob("*.py")) if place.is_dir() else [place] * place.exists()
        for file in files:
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def sources() -> str:
    """Name the state of all task code, as it is on disk now."""
    return fingerprint(ROOT / "tutorial_tasks", my_tasks_file())

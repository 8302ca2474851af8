"""The exercises of the lessons: `check("00.1", your_function)` says how your answer does, and why."""

import importlib
import pkgutil

from classroom.exercises.model import Outcome, check, names

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    if ".lesson_" in _module.name:
        importlib.import_module(_module.name)  # each registers its judges

__all__ = ["Outcome", "check", "names"]

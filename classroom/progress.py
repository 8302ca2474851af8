"""Which exercises were passed in this checkout: an empty file for each, so that two notebooks never write over each other."""

import contextlib
from pathlib import Path

from classroom.stack.place import Place


def record(name: str) -> None:
    """Remember that an exercise, such as "00.1", was passed; a full disk does not spoil the verdict."""
    folder = _folder()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / name).touch()


def passed() -> set[str]:
    """Return the names of the exercises that were passed."""
    folder = _folder()
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def reset() -> int:
    """Forget all of them; return how many they were."""
    names = passed()
    for name in names:
        (_folder() / name).unlink(missing_ok=True)
    return len(names)


def summary() -> str:
    """Say in one line for each lesson which of its exercises were passed, and below it which one comes next."""
    from classroom.exercises import names  # each exercise brings its judge along

    known, done = names(), passed()
    lessons = sorted({name[:2] for name in known})
    lines = [" ".join([lesson, *("✔" if name in done else "○" for name in known if name[:2] == lesson)]) for lesson in lessons]
    left = [name for name in known if name not in done]
    after = f"; next: {left[0]}" if left else ""
    return "\n".join([*lines, f"{len(known) - len(left)} of {len(known)} exercises passed{after}"])


def _folder() -> Path:
    return Place.current().folder / "passed"

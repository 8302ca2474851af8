"""Tasks that write to one file from many processes at once, without losing or tearing a row.

A file here is JSON Lines: one row, one line. Paths are inside `settings.data_dir` and nowhere else.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypedDict

from tutorial_tasks.celery_app import app
from tutorial_tasks.settings import data_dir


class Cleaned(TypedDict):
    """What `clean_data` did: lines kept, and lines thrown away."""

    kept: int
    dropped: int


@app.task(acks_late=True)
def create_project(row: dict[str, Any], path: str) -> dict[str, Any]:
    """Append one row to the file at `path`, and return the row.

    The message is acknowledged only when the row is written. A worker that dies before that leaves the
    message for another one, which may write the row a second time; `clean_data` keeps one of the two.

    Raises:
        ValueError: the row is not a non-empty dict that JSON can hold, or the path leads out of the data folder.
        OSError: the disk refused; the file is then as it was before.
    """
    if not isinstance(row, dict) or not row:
        raise ValueError(f"a project is a dict with at least one entry, not {row!r}")
    line = json.dumps(row, sort_keys=True, allow_nan=False).encode() + b"\n"
    file = _inside_data_dir(path)
    with _held_alone(file):
        _append(file, line)
    return row


@app.task
def clean_data(path: str) -> Cleaned:
    """Keep every row of the file at `path` once; drop repeated and unreadable lines.

    A file that does not exist yet is an empty one. The file is replaced in one step: a reader sees the old
    rows or the new ones, and a worker that dies half-way changes nothing.

    Raises:
        ValueError: the path leads out of the data folder.
        OSError: the disk refused; the file is then as it was before.
    """
    file = _inside_data_dir(path)
    with _held_alone(file):
        lines = file.read_bytes().splitlines() if file.exists() else []
        rows = dict.fromkeys(row for line in lines if (row := _canonical(line)) is not None)
        new = file.with_name(f".{file.name}.new")
        try:
            new.write_bytes(b"".join(row + b"\n" for row in rows))
            new.replace(file)
        except OSError:
            new.unlink(missing_ok=True)
            raise
    return {"kept": len(rows), "dropped": len(lines) - len(rows)}


def _inside_data_dir(path: str) -> Path:
    """Turn a path from a message into one that is inside the data folder."""
    root = data_dir.resolve()
    full = (root / path).resolve()
    if full == root or not full.is_relative_to(root) or full.name.startswith("."):
        raise ValueError(f"{path!r} is not a file inside the data folder; give a name such as 'projects.jsonl'")
    full.parent.mkdir(parents=True, exist_ok=True)
    return full


@contextmanager
def _held_alone(file: Path) -> Iterator[None]:
    """Let one process at a time at a file; the operating system frees the lock however that process ends.

    The lock is on a file beside it, because `clean_data` replaces the file itself.
    """
    with file.with_name(f".{file.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _append(path: Path, line: bytes) -> None:
    """Write the whole line or nothing of it."""
    is_new = not path.exists()
    with path.open("ab+", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            if file.read(1) != b"\n":  # a machine that lost power in the middle of a line
                line = b"\n" + line
        try:
            while line:
                line = line[file.write(line) :]
        except OSError:
            file.truncate(end)
            if is_new:
                path.unlink()
            raise


def _canonical(line: bytes) -> bytes | None:
    """Read a line and write it in the one form that equal rows share, or None if it is no row."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # no JSON, or nested without end
        return None
    return json.dumps(row, sort_keys=True).encode() if isinstance(row, dict) and row else None

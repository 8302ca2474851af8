"""The folder in which the processes of a stack meet, on a good disk and on a bad one."""

import errno
import fcntl
import os
import time
from pathlib import Path

import pytest

from classroom.errors import ClassroomError
from classroom.stack.place import Place, Stack, explained, lock_within
from classroom.stack.task_code import fingerprint

STACK = Stack("redis://:x@127.0.0.1:4711/0", "Valkey 9", 1, 2, 3, "running", 4, "token")


def test_the_port_is_read_out_of_the_address() -> None:
    assert STACK.port == 4711


def test_a_description_goes_to_disk_and_back_for_its_owner_only(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert place.read() is None
    place.write(STACK)
    assert place.read() == STACK
    assert place.stack_file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["stack.json"]


def test_password_and_port_outlive_a_stack(tmp_path: Path) -> None:
    place = Place(tmp_path)
    password, port = place.identity()
    assert len(password) >= 24
    assert port == 0
    assert place.identity()[0] != password, "nothing is remembered before it was used"
    place.remember("secret", 4711)
    assert place.identity() == ("secret", 4711)


@pytest.mark.parametrize(
    ("code", "cause", "remedy"),
    [
        (errno.ENOSPC, "the disk is full", "free some space"),
        (errno.EDQUOT, "the disk is full", "free some space"),
        (errno.EROFS, "Read-only file system", "export CLASSROOM_STATE="),
        (errno.EACCES, "Permission denied", "export CLASSROOM_STATE="),
    ],
)
def test_a_disk_that_refuses_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, cause: str, remedy: str) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(ClassroomError) as told:
        Place(tmp_path).create()
    assert cause in told.value.problem
    assert remedy in told.value.remedy


def test_a_write_that_fails_leaves_the_old_description(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.write(STACK)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ClassroomError, match="the disk is full"), explained(tmp_path):
        place.write(Stack("redis://:y@127.0.0.1:1/0", "", 0, 0, None, "failed", 0, ""))
    assert place.read() == STACK
    assert [path.name for path in tmp_path.iterdir()] == ["stack.json"]


def test_a_lock_that_stays_taken_ends_at_the_deadline(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with file.open("w") as mine, file.open("w") as other:
        assert lock_within(mine.fileno(), fcntl.LOCK_EX, time.monotonic())
        assert not lock_within(other.fileno(), fcntl.LOCK_SH, time.monotonic() + 0.05)
    with file.open("w") as later:
        assert lock_within(later.fileno(), fcntl.LOCK_EX, time.monotonic())


def test_any_edit_changes_the_fingerprint(tmp_path: Path) -> None:
    seen = set()
    for text in ("a = 1\n", "a = 2\n", "a = 1\n\n"):
        tmp_path.joinpath("tasks.py").write_text(text)
        seen.add(fingerprint(tmp_path))
    tmp_path.joinpath("notes.txt").write_text("not code")
    seen.add(fingerprint(tmp_path))
    assert len(seen) == 3


def test_a_file_counts_as_well_as_a_folder_and_its_absence_too(tmp_path: Path) -> None:
    own = tmp_path / "elsewhere" / "my_tasks.py"
    own.parent.mkdir()
    seen = [fingerprint(tmp_path / "nothing", own)]
    for text in ("a = 1\n", "a = 2\n"):
        own.write_text(text)
        seen.append(fingerprint(tmp_path / "nothing", own))
    assert len(set(seen)) == 3

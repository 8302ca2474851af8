"""The ledger: every observation in the order of its arrival. It only grows, up to a limit, and goes to a file and back."""

import contextlib
import json
import os
import threading
import time
from collections import deque
from collections.abc import Container, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from taskscope.errors import ScopeError
from taskscope.observation import Observation, Unread

LIMIT = 100_000
UNREAD = 10_000  # messages that may wait for a reader
FORMAT = 1  # of the file; a reader refuses a higher one


class Ledger:
    """Observations in the order of their arrival, safe to use from any thread.

    What came unread is read when somebody asks for anything. Beyond `limit` the oldest are dropped, and counted in `dropped`.
    A position counts all that ever arrived, so it stays right when some are dropped. `trouble` says what was wrong with the file
    that the ledger was read from.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        if limit < 1:
            raise ScopeError(f"a ledger must hold at least one observation, not {limit}", "Ledger(limit=100_000)")
        self.limit = limit
        self._dropped = 0
        self.trouble = ""
        self._coming: deque[Observation | Unread] = deque()
        self._kept: deque[Observation] = deque()
        # Whoever holds it moves what comes to what is kept, in order; what that brings about, such as a gap, waits its turn.
        self._reading = threading.Lock()
        self._grown = threading.Condition()

    def append(self, said: Observation | Unread) -> None:
        """Add what was said and wake whoever waits for it."""
        with self._grown:
            self._coming.append(said)
            self._grown.notify_all()
        if len(self._coming) > UNREAD and self._reading.acquire(blocking=False):
            try:
                self._read(len(self._coming) - UNREAD)
            finally:
                self._reading.release()

    def __len__(self) -> int:
        self._read_all()
        return len(self._kept)

    def __iter__(self) -> Iterator[Observation]:
        self._read_all()
        with self._grown:
            return iter(list(self._kept))

    @property
    def dropped(self) -> int:
        """How many are not kept any more."""
        self._read_all()
        return self._dropped

    @property
    def position(self) -> int:
        """How many have ever arrived: where the next one will stand."""
        self._read_all()
        with self._grown:
            return self._position()

    @property
    def shown(self) -> str:
        """Say how much of what arrived is kept, for example "showing 100 of 250"; empty when it is all of it."""
        self._read_all()
        with self._grown:
            return f"showing {len(self._kept)} of {self._position()}" if self._dropped else ""

    def since(self, position: int) -> tuple[list[Observation], int]:
        """Return what arrived from a position on, as far as it is kept, and the position to ask from next."""
        self._read_all()
        with self._grown:
            end = self._position()
            wanted = min(max(end - position, 0), len(self._kept))
            # From the right: a flusher asks often, and for a few.
            news = list(islice(reversed(self._kept), wanted))
        news.reverse()
        return news, end

    def wait(self, position: int, timeout: float) -> bool:
        """Wait until something has arrived at this position; tell whether it did within so many seconds."""
        deadline = time.monotonic() + timeout
        while True:
            self._read_all()
            with self._grown:
                if self._position() > position:
                    return True
                left = deadline - time.monotonic()
                if left <= 0 or not (self._coming or self._grown.wait(left)):
                    return False

    def save(self, path: str | os.PathLike[str], without: Container[str] = (), until: int | None = None) -> None:
        """Write a file with one line for each observation; a file of that name is replaced in one step.

        Args:
            path: of the file.
            without: the ids of tasks of which nothing is written.
            until: the position before which what is written has arrived; None for all.

        Raises:
            ScopeError: the file can't be written; one that was there before is as it was.
        """
        target = Path(path)
        self._read_all()
        with self._grown:
            dropped = self._dropped
            count = len(self._kept) if until is None else max(0, until - dropped)
            kept = [one for one in islice(self._kept, count) if one.task not in without]
        header = {"taskscope": FORMAT, "observations": len(kept), "dropped": dropped, "limit": self.limit}
        temporary = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            with temporary.open("w", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(header, separators=(",", ":")) + "\n")
                file.writelines(observation.to_json() + "\n" for observation in kept)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError as error:
            raise ScopeError(f"the recording can't be written to {target}: {error.strerror or error}", "save it to another path") from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Ledger":
        """Read a file that `save` wrote; of a damaged one, what is whole, and `trouble` says what is missing.

        Raises:
            ScopeError: there is no such file, or it is not a recording.
        """
        source = Path(path)
        try:
            with source.open("rb") as file:
                header = _header(file.readline(4096), source)
                limit = header.get("limit")
                ledger = cls(limit if isinstance(limit, int) and limit > 0 else LIMIT)
                broken: list[int] = []
                for number, line in enumerate(file, start=2):
                    try:
                        ledger.append(Observation.from_json(line.decode()))
                    except (ValueError, RecursionError):
                        broken.append(number)
        except OSError as error:
            raise ScopeError(f"{source} can't be read: {error.strerror or error}", "give the path of a file that `save` wrote") from error
        ledger.trouble = _trouble(header.get("observations"), ledger.position, broken)
        dropped = header.get("dropped")
        ledger._dropped += dropped if isinstance(dropped, int) else 0
        return ledger

    def _read_all(self) -> None:
        if self._coming:
            with self._reading:
                self._read(len(self._coming))

    def _read(self, count: int) -> None:
        for _ in range(min(count, len(self._coming))):
            said = self._coming[0]  # it goes when it is kept, so that nobody finds it in neither place
            found = said.observations() if isinstance(said, Unread) else (said,)
            with self._grown:
                self._coming.popleft()
                self._kept.extend(found)
                while len(self._kept) > self.limit:
                    self._kept.popleft()
                    self._dropped += 1

    def _position(self) -> int:
        return self._dropped + len(self._kept)


def _header(line: bytes, source: Path) -> dict[str, Any]:
    try:
        header = json.loads(line)
        version = header["taskscope"]
    except (ValueError, RecursionError, TypeError, KeyError):
        version = None
    if not isinstance(version, int):
        raise ScopeError(f"{source} is not a recording of taskscope: its first line is not the header of one", "give another file")
    if version > FORMAT:
        raise ScopeError(f"{source} was written by a newer taskscope (format {version}, this one reads {FORMAT})", "update taskscope")
    assert isinstance(header, dict)
    return header


def _trouble(promised: Any, whole: int, broken: list[int]) -> str:
    said = []
    if broken:
        lines = "1 line is" if len(broken) == 1 else f"{len(broken)} lines are"
        said.append(f"{lines} not whole, the first is line {broken[0]}")
    if isinstance(promised, int) and whole < promised:
        said.append(f"{whole} of {promised} observations could be read")
    return "the file is damaged: " + "; ".join(said) if said else ""

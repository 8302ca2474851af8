"""The folder in which the processes of one stack meet, and what they leave there for each other."""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from classroom.errors import ClassroomError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Stack:
    """A stack as its supervisor describes it.

    `worker` is one of starting, running, stopped, paused and failed; `trouble` says why it failed. `sources` is the
    fingerprint of the task code that the worker has loaded, `tasks` the names that it registered.

    `url` is the Redis server, which always has the results, and the messages too unless `broker` is "rabbitmq". `amqp` and
    `management` are the addresses of the RabbitMQ, if one runs, with a worker of its own if it runs beside.
    """

    url: str
    server: str
    supervisor: int
    broker_pid: int
    worker_pid: int | None
    worker: str
    control_port: int
    control_token: str
    tasks: list[str] = field(default_factory=list)
    sources: str = ""
    trouble: str = ""
    broker: str = "redis"
    amqp: str = ""
    management: str = ""
    rabbitmq: str = ""
    rabbitmq_pids: list[int] = field(default_factory=list)
    rabbitmq_worker: str = ""
    rabbitmq_worker_pid: int | None = None

    @property
    def broker_url(self) -> str:
        """Where the messages of the lessons go."""
        return self.amqp if self.broker == "rabbitmq" else self.url

    @property
    def label(self) -> str:
        """What the broker calls itself, and where it listens."""
        name = self.rabbitmq if self.broker == "rabbitmq" else self.server
        return f"{name} on 127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The broker's TCP port on 127.0.0.1."""
        return int(self.broker_url.rsplit(":", 1)[1].split("/")[0])


@dataclass(frozen=True)
class Place:
    """The state folder of one checkout: `.classroom` in its root, or where `CLASSROOM_STATE` says."""

    folder: Path

    @classmethod
    def current(cls) -> "Place":
        """Find the folder from the environment; it does not depend on the working directory."""
        return cls(Path(os.environ.get("CLASSROOM_STATE") or ROOT / ".classroom").resolve())

    def create(self) -> None:
        """Make the folder, for its owner only.

        Raises:
            ClassroomError: the checkout is read-only, or the disk is full.
        """
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = self.folder / f".probe-{os.getpid()}"
            probe.write_bytes(b"x" * 4096)
            probe.unlink()

    def log(self, name: str) -> Path:
        """The log of the supervisor, the broker or the worker."""
        return self.folder / f"{name}.log"

    @property
    def stack_file(self) -> Path:
        """Where a ready stack is described."""
        return self.folder / "stack.json"

    def read(self) -> Stack | None:
        """Read what the last supervisor wrote, whether it still lives or not."""
        try:
            return Stack(**json.loads(self.stack_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, stack: Stack) -> None:
        """Describe the stack, in one step: a reader sees the old description or the new one."""
        _write_private(self.stack_file, asdict(stack))

    def identity(self) -> tuple[str, int]:
        """Give the broker's password and the port that it last had (0: none yet).

        Both outlive the stack, so that a notebook that is still open finds a restarted one where it was.
        """
        try:
            known = json.loads((self.folder / "identity.json").read_text())
            return str(known["password"]), int(known["port"])
        except (OSError, ValueError, TypeError, KeyError):
            return secrets.token_urlsafe(24), 0

    def remember(self, password: str, port: int) -> None:
        """Keep the broker's password and port for the next stack."""
        _write_private(self.folder / "identity.json", {"password": password, "port": port})

    def is_supervised(self) -> bool:
        """Tell whether a supervisor lives: it holds the lock as long as it does."""
        try:
            with (self.folder / "lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False


@contextlib.contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn the errors of a disk that refuses to be written into one message with a next step."""
    try:
        yield
    except OSError as error:
        elsewhere = "export CLASSROOM_STATE=/a/folder/you/can/write"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ClassroomError(f"the disk is full: cannot write to {folder}", f"free some space, or {elsewhere}") from error
        raise ClassroomError(f"cannot write to {folder}: {error.strerror}", elsewhere) from error


def lock_within(descriptor: int, kind: int, deadline: float) -> bool:
    """Take a file lock before the deadline (on the monotonic clock); tell whether it worked."""
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)


def _write_private(path: Path, content: dict[str, Any]) -> None:
    new = path.with_suffix(f".{os.getpid()}.new")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(content, file, indent=1)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise

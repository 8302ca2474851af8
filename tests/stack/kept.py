"""An outside stack with keepers, as a container has them, but as plain processes: a Redis, and keepers that hear through it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from classroom.stack.keeping import Meeting, Worker
from classroom.stack.ports import free_port
from classroom.stack.server import find_server, start_server
from tests.stack.processes import PATIENCE, ROOT, Checkout, eventually

PASSWORD = "outside"


@dataclass
class Outside:
    """A Redis that is nobody's stack, and the keepers on it."""

    folder: Path
    port: int
    keepers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    server: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    @property
    def addresses(self) -> dict[str, str]:
        own = {"CLASSROOM_MY_TASKS": str(self.folder), "TUTORIAL_DATA_DIR": str(self.folder / "data")}
        return {"CELERY_BROKER_URL": self.url, "CELERY_RESULT_BACKEND": self.url} | own

    @property
    def client(self) -> Checkout:
        """Whoever comes to it from this checkout."""
        return Checkout(ROOT, self.folder / "client")

    def run(self, source: str, **extra: str) -> "subprocess.CompletedProcess[str]":
        """Run Python code as a client."""
        return self.client.run("-c", source, **self.addresses | extra)

    def start_server(self) -> None:
        def spawn(argv: list[str], log: object, text: bytes) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=log, stderr=log)  # type: ignore[call-overload]
            assert process.stdin
            with process.stdin:
                process.stdin.write(text)
            return process  # type: ignore[no-any-return]

        with (self.folder / "server.log").open("ab") as log:
            self.server, port = start_server(find_server(), self.folder, log, PASSWORD, self.port, spawn)
        assert port == self.port

    def stop_server(self) -> None:
        assert self.server
        self.server.kill()
        self.server.wait(PATIENCE)

    def start_keeper(self, name: str, **extra: str) -> None:
        """Start a keeper, and wait until its worker runs."""
        environment = self.client.environment(**self.addresses | extra) | {"CLASSROOM_STATE": str(self.folder / name)}
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", "classroom.stack.keeper", name]
            self.keepers[name] = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
        eventually(lambda: self.worker(name).state in ("running", "failed"), "the worker runs")

    def workers(self, prefix: str = "") -> list[Worker]:
        with closing(Meeting(self.url, prefix)) as meeting:
            return meeting.workers()

    def worker(self, name: str, prefix: str = "") -> Worker:
        return next((worker for worker in self.workers(prefix) if worker.id == name), Worker("", ""))


@contextmanager
def outside(folder: Path, *names: str, **extra: str) -> Iterator[Outside]:
    """Have a Redis, and keepers with these names, until the block ends; all of them leave in good order."""
    stack = Outside(folder, free_port())
    with ExitStack() as last:
        stack.start_server()
        last.callback(stack.stop_server)
        for name in names:
            stack.start_keeper(name, **extra)
        yield stack
        for name, keeper in stack.keepers.items():
            if keeper.poll() is None:
                keeper.terminate()
            assert keeper.wait(PATIENCE) in (0, -9), (folder / f"{name}.log").read_text()

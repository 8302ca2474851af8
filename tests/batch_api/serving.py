"""Start the service as a process of its own, and speak HTTP to it."""

import http.client
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from classroom import lab
from classroom.evidence import stored
from classroom.stack.server import find_server, start_server
from tests.stack.processes import PATIENCE, ROOT, eventually

Pairs = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Answer:
    """One answer of the service."""

    status: int
    headers: dict[str, str]
    raw: bytes
    seconds: float

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    def problem(self) -> dict[str, Any]:
        """Return the body of an error after a look at its shape."""
        assert self.headers["content-type"] == "application/problem+json", self
        body = self.body
        assert set(body) - {"errors"} == {"type", "title", "status", "detail"}, body
        assert body["status"] == self.status
        assert body["detail"]
        assert "Traceback" not in self.raw.decode()
        return dict(body)


@dataclass(frozen=True)
class Api:
    """A service that runs: where it is, and its process."""

    address: str
    process: subprocess.Popen[str]

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """Make one request, over a connection of its own."""
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=PATIENCE)
        start = time.monotonic()
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            said = connection.getresponse()
            raw = said.read()
        finally:
            connection.close()
        return Answer(said.status, {name.lower(): value for name, value in said.getheaders()}, raw, time.monotonic() - start)

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def post(self, body: Any) -> Answer:
        """Hand in whatever is to be JSON."""
        return self.ask("POST", "/grouptasks", json.dumps(body).encode(), Content_Type="application/json")

    def submit(self, pairs: Pairs) -> Answer:
        """Hand in a batch, which has to be accepted."""
        answer = self.post({"tasks": [{"paramA": a, "paramB": b} for a, b in pairs]})
        assert answer.status == 202, answer
        return answer

    def finish(self, location: str) -> dict[str, Any]:
        """Ask for a batch until it is processed; what is done may only grow."""
        seen: dict[str, Any] = {"tasksCompleted": 0}

        def is_processed() -> bool:
            nonlocal seen
            answer = self.get(location)
            assert answer.status == 200, answer
            assert seen["tasksCompleted"] <= answer.body["tasksCompleted"] <= answer.body["tasksTotal"]
            seen = answer.body
            return bool(seen["grouptaskProcessed"])

        eventually(is_processed, "the batch is processed")
        return seen


@contextmanager
def serving(**environment: str) -> Iterator[Api]:
    """Run the service until the block ends, with tasks that take no time and clients that may ask as often as they like."""
    usual = {"BATCH_TASK_SECONDS": "0-0", "BATCH_REQUESTS": ""}
    process = subprocess.Popen(
        [sys.executable, "-m", "batch_api", "--port", "0"],
        cwd=ROOT,
        env=os.environ | usual | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stderr
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            assert selector.select(60), "the service did not start"
        said = process.stdout.readline()
        assert said, process.stderr.read()
        yield Api(said.split()[0], process)
    finally:
        process.terminate()
        _, complaints = process.communicate(timeout=20)
    assert process.returncode == 0, complaints
    assert "Traceback" not in complaints, complaints


@contextmanager
def caught_running(app: Any, api: Api, pairs: Callable[[], Pairs]) -> Iterator[tuple[Answer, dict[str, Any]]]:
    """Freeze the worker in the midst of the first task of a new batch, until the block ends.

    Give the receipt, and what is stored of the task.

    Where the machine was so slow that the task had ended before the worker was frozen, another batch is tried.
    """
    try:
        for _ in range(20):
            answer = api.submit(pairs())
            (id_, *_) = answer.body["taskIds"]
            eventually(partial(stored, app, id_), "the first one has begun")
            lab.worker.pause()
            now = stored(app, id_) or {}
            if now["status"] == "STARTED":
                break
            lab.worker.resume()
        assert now["status"] == "STARTED", now
        yield answer, now
    finally:
        lab.worker.start()


class Server:
    """A Redis of a test's own, which can be stopped, frozen, and started again where it was."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"redis://:secret@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process, self.port = start_server(find_server(), self.folder, log, "secret", self.port, _spawn)

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)


def _spawn(argv: list[str], log: Any, text: bytes) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=log, stderr=log)
    assert process.stdin
    with process.stdin:
        process.stdin.write(text)
    return process

"""Start clients of a stack as processes of their own, and see what is left of them."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from classroom.stack.place import Place, Stack
from classroom.stack.processes import read_line_within
from classroom.stack.worker_process import READY_FD

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 90.0  # seconds; a busy machine with two cores installs and starts things slowly

JOIN = "from classroom.stack import client; client.join(); print('joined', flush=True); input()"
CONNECT = "from classroom import lab; lab.connect()"


@dataclass(frozen=True)
class Checkout:
    """A checkout, and the folder in which its stack lives."""

    root: Path
    state: Path
    grace: float = 0.5

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "CLASSROOM_", "PYTEST"))}
        return (
            kept
            | {
                "CLASSROOM_STATE": str(self.state),
                "CLASSROOM_GRACE": str(self.grace),
                "CLASSROOM_MY_TASKS": str(self.state),
                "PYTHONPATH": str(self.root),
            }
            | extra
        )

    def start(self, *argv: str, **extra: str) -> subprocess.Popen[str]:
        """Start Python with these arguments and pipes."""
        return subprocess.Popen(
            [sys.executable, *argv],
            cwd=self.root,
            env=self.environment(**extra),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def hold(self) -> subprocess.Popen[str]:
        """Start a process that joins the stack and stays."""
        process = self.start("-c", JOIN)
        assert process.stdout
        said = process.stdout.readline()
        assert said == "joined\n", said + process.stdout.read()
        return process

    def run(self, *argv: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments to its end."""
        return subprocess.run(
            [sys.executable, *argv], cwd=self.root, env=self.environment(**extra), capture_output=True, text=True, timeout=120, check=False
        )

    def command(self, *argv: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m classroom`."""
        return self.run("-m", "classroom", *argv, **extra)

    def stack(self) -> Stack:
        stack = Place(self.state).read()
        assert stack
        return stack

    def processes(self) -> list[psutil.Process]:
        """Find every process of this stack: the supervisor, the broker, the worker and its pool."""
        stack = self.stack()
        heads = [psutil.Process(pid) for pid in (stack.supervisor, stack.broker_pid, stack.worker_pid, *stack.rabbitmq_pids) if pid]
        return heads + [child for head in heads[2:] for child in head.children(recursive=True)]


def copy_of_the_checkout(to: Path, grace: float = 0.5) -> Checkout:
    """Copy what a stack needs."""
    for name in ("batch_api", "classroom", "taskscope", "tutorial_tasks"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.lock", to)
    return Checkout(to, to / ".classroom", grace)


def eventually(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Wait for a condition, and fail when it does not come true."""
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {patience:g} s in vain until {what}"
        time.sleep(0.01)
    return value


def until_well(doctor: Callable[[], subprocess.CompletedProcess[str]]) -> subprocess.CompletedProcess[str]:
    """Run the doctor until it finds nothing wrong, or long enough: it does not wait for a worker that a busy machine holds up."""
    deadline = time.monotonic() + PATIENCE
    while (run := doctor()).returncode and time.monotonic() < deadline:
        pass
    return run


@contextmanager
def another_worker(module: str, *options: str, **environment: str) -> Iterator[Path]:
    """Run a worker of an application of the tests until the block ends; it is ready when the block begins. Give its log."""
    command = [sys.executable, "-m", "classroom.stack.quick_worker", module, "-l", "info", "--without-mingle", "--without-gossip"]
    # What it writes into its log comes before it hears commands: one that was sent in between would be lost.
    command += ["--include", "classroom.stack.ready", *options]
    report, ready = os.pipe()
    with tempfile.NamedTemporaryFile("w", prefix="worker-", suffix=".log") as output, open(report) as pipe:
        log = Path(output.name)
        own = os.environ | environment | {READY_FD: str(ready)}
        process = subprocess.Popen(command, cwd=ROOT, env=own, stdout=output, stderr=output, pass_fds=(ready,))
        os.close(ready)
        try:
            assert read_line_within(pipe, PATIENCE, lambda: process.poll() is not None), log.read_text()
            yield log
        finally:
            process.terminate()
            assert process.wait(PATIENCE) == 0, log.read_text()


def is_gone(process: psutil.Process) -> bool:
    """Tell whether a process has ended; one that nobody has waited for yet has ended too."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def all_gone(processes: list[psutil.Process]) -> bool:
    return all(is_gone(process) for process in processes)

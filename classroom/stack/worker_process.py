"""The worker of a stack as a process: started, stopped, killed, paused. Whoever owns it keeps its state in words."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from classroom.errors import ClassroomError
from classroom.stack.place import ROOT
from classroom.stack.processes import end, last_words, open_log, read_line_within, spawn
from classroom.stack.task_code import my_tasks_file, sources

QUEUES = ("celery", "slow")
NODE = "celery@lab"
RABBITMQ_NODE = "rabbit@lab"
CONCURRENCY = 2
READY_FD = "CLASSROOM_READY_FD"  # in a worker's environment: the pipe in which it says that it is ready

READY_WITHIN = 20.0  # seconds that a worker may take to start


class WorkerProcess:
    """A `celery worker` of the course's tasks.

    Args:
        log: the file that its output is appended to.
        describe: called with what has changed: `worker` (starting, running, stopped, paused or failed), `worker_pid`,
            `tasks`, `sources` and `trouble`, as in `place.Stack`.
        node: its name among the workers.
    """

    def __init__(self, log: Path, describe: Callable[..., None], node: str = NODE) -> None:
        self.log = log
        self.describe = describe
        self.node = node
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, environment: dict[str, str], giving_up: Callable[[], bool] = lambda: False) -> None:
        """Start the worker and wait until it says that it is ready; one that is paused goes on.

        Args:
            environment: what it gets beside our own, the addresses of the broker and the backend above all.
            giving_up: asked while it starts; when it is true, nobody waits any longer.

        Raises:
            ClassroomError: it ended, or it did not get ready in time; its state is then "failed".
        """
        if self.process and self.process.poll() is None:
            self.resume()
            return
        self.describe(worker="starting", worker_pid=None, trouble="", sources=sources())
        report, ready = os.pipe()
        with open_log(self.log) as log:
            start_of_log = log.tell()
            self.process = spawn(
                [
                    *(sys.executable, "-m", "classroom.stack.quick_worker", "tutorial_tasks.celery_app"),
                    *("--pool", "prefork", "--concurrency", str(CONCURRENCY), "--events", "--loglevel", "INFO"),
                    *("--queues", ",".join(QUEUES), "--hostname", self.node, "--include", "classroom.stack.worker_side"),
                    # Both ask other workers on start; there is none, and asking takes a second.
                    *("--without-mingle", "--without-gossip"),
                ],
                log,
                pass_fds=(ready,),
                env=os.environ
                | environment
                | {
                    READY_FD: str(ready),
                    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
                },
            )
        os.close(ready)
        with open(report) as pipe:
            said = read_line_within(pipe, READY_WITHIN, giving_up)
        if said:
            self.describe(worker="running", worker_pid=self.process.pid, tasks=json.loads(said), trouble="")
            return
        self._end(signal.SIGKILL)
        trouble = last_words(self.log, start_of_log)
        self.describe(worker="failed", worker_pid=None, tasks=[], trouble=trouble)
        own = my_tasks_file()
        remedy = f"mend {own.name}, or remove it" if f"{own.name}, line" in trouble else "python -m classroom logs"
        raise ClassroomError(f"the worker did not start: {trouble}", remedy)

    def stop(self) -> None:
        """Stop the worker as a person would, with SIGTERM: it finishes what it runs, within limits."""
        self._end(signal.SIGTERM)
        self.describe(worker="stopped", worker_pid=None)

    def kill(self) -> None:
        """Kill the worker with SIGKILL; it stays dead until it is started again."""
        self._end(signal.SIGKILL)
        self.describe(worker="stopped", worker_pid=None)

    def give_up(self, trouble: str) -> None:
        """Kill what is left of the worker, and call it failed."""
        self._end(signal.SIGKILL)
        self.describe(worker="failed", worker_pid=None, trouble=trouble)

    def pause(self) -> None:
        """Freeze the worker and its pool where they are."""
        self._signal(signal.SIGSTOP)
        self.describe(worker="paused")

    def resume(self) -> None:
        """Let a frozen worker go on."""
        self._signal(signal.SIGCONT)
        self.describe(worker="running")

    def has_died(self) -> bool:
        """Tell whether it ended without being told to."""
        return self.process is not None and self.process.poll() is not None

    def pool(self) -> list[int]:
        """Return the process ids of its pool, in order; none when it does not run."""
        if not self.process or self.process.poll() is not None:
            return []
        try:
            return sorted(child.pid for child in psutil.Process(self.process.pid).children())
        except psutil.NoSuchProcess:
            return []

    def kill_pool_process(self, pid: int | None = None) -> None:
        """Kill one process of its pool with SIGKILL: the one with this id, or the first.

        Raises:
            ClassroomError: it is no process of the pool.
        """
        pool = self.pool()
        if not pool:
            raise ClassroomError("the worker does not run", "lab.worker.start()")
        if pid is not None and pid not in pool:
            raise ClassroomError(f"{pid} is not a process of the pool, these are: {pool}", "lab.worker.pool()")
        os.kill(pid or pool[0], signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if not self.process or self.process.poll() is not None:
            raise ClassroomError("the worker does not run", "lab.worker.start()")
        os.killpg(self.process.pid, number)

    def _end(self, number: signal.Signals) -> None:
        """End the worker, and what is left of its process group after it."""
        if self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGCONT)
            end(self.process, number)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process = None

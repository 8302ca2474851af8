"""A worker of your own beside the course's: what you would type in a terminal at work, ended with the notebook at the latest."""

import os
import signal
import subprocess
import sys
from types import TracebackType
from typing import ClassVar

from classroom.errors import ClassroomError
from classroom.stack import processes
from classroom.stack.place import ROOT, Place
from classroom.stack.worker_process import READY_FD

NODE = "celery@another"

_READY_WITHIN = 20.0  # seconds that a worker may take to start


class AnotherWorker:
    """A `celery worker` on this computer with options of your own; it is ready when you have it.

    `with lab.another_worker(...) as worker:` ends it after the block. Without that it runs until `stop()`, until the
    next one is started (two of one name confuse whoever asks), or until the notebook's kernel ends, however that ends.

    Args:
        options: as in a terminal: `"--pool", "threads"`.
        broker: the address of another broker than the notebook's; the results go where they always go.

    Raises:
        ClassroomError: it does not start; it says why.
    """

    latest: ClassVar["AnotherWorker | None"] = None  # there is one at a time: starting it ends the one before

    def __init__(self, *options: str, broker: str = "") -> None:
        if AnotherWorker.latest:
            AnotherWorker.latest.stop()
        log = Place.current().log("another")
        report, ready = os.pipe()
        with processes.open_log(log) as output:
            start_of_log = output.tell()
            self._process = processes.spawn(
                [
                    *(sys.executable, "-m", "classroom.stack.quick_worker", "tutorial_tasks.celery_app", "--hostname", NODE),
                    *("--loglevel", "INFO", "--include", "classroom.stack.worker_side"),
                    # Both ask other workers on start, which takes a second.
                    *("--without-mingle", "--without-gossip"),
                    *options,
                ],
                output,
                pass_fds=(ready,),
                # The address has a password, so it is no option, which everybody on the machine could read.
                env=os.environ
                | {READY_FD: str(ready), "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
                | ({"CELERY_BROKER_URL": broker} if broker else {}),
            )
        os.close(ready)
        with open(report) as pipe:
            said = processes.read_line_within(pipe, _READY_WITHIN)
        if not said:
            processes.end(self._process, signal.SIGKILL)
            raise ClassroomError(
                f"the other worker did not start: {processes.last_words(log, start_of_log)}", "python -m classroom logs another"
            )
        AnotherWorker.latest = self

    def __repr__(self) -> str:
        return f"another worker ({'it runs' if self._process.poll() is None else 'it has ended'})"

    def __enter__(self) -> "AnotherWorker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The id of its process, for a signal of yours.

        Raises:
            ClassroomError: it has ended; the number may be another process's by now.
        """
        if self._process.poll() is not None:
            raise ClassroomError("the other worker has ended", "run the cell that starts it")
        return self._process.pid

    def wait(self, timeout: float) -> None:
        """Wait until it has ended.

        Raises:
            ClassroomError: it has not, `timeout` seconds later.
        """
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ClassroomError(
                f"the other worker has not ended after {timeout:g} seconds; does it wait for a task that runs?",
                "open its gate, or worker.stop()",
            ) from None

    def stop(self) -> None:
        """End it: with SIGTERM, and with SIGKILL when it does not end by that."""
        if self._process.poll() is None:
            processes.end(self._process)

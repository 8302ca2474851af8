"""The process that owns the broker and the worker: it starts them, watches them, and stops them when nobody is left.

`classroom.stack.client` starts it. It is single-threaded on purpose: the kernel ties a child's life to the *thread*
that made it (see `lifeline`), and one loop is easy to follow. Two file locks say who is there:

lock   held by the supervisor as long as it lives: there is never a second one
lease  shared by everybody who uses the stack; the kernel frees it however they end
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psutil

from classroom.errors import ClassroomError
from classroom.stack.lifeline import die_with
from classroom.stack.place import ROOT, Place, Stack, explained, lock_within
from classroom.stack.server import Server, find_server, start_server
from classroom.stack.task_code import my_tasks_file, sources

REPORT_FD = "CLASSROOM_REPORT_FD"
QUEUES = ("celery", "slow")
NODE = "celery@lab"
CONCURRENCY = 2

_READY_WITHIN = 20.0  # seconds that a worker may take to start
_STOP_WITHIN = 10.0  # seconds that a worker may take to finish what it runs
_TICK = 0.25  # seconds between two looks at the lease
_CRASHES, _CRASH_WINDOW = 5, 60.0  # so many crashes in so many seconds are enough
_LOG_LIMIT = 5_000_000  # bytes after which a log starts anew


class Supervisor:
    """One broker, one worker, and a small control port on 127.0.0.1."""

    def __init__(self, place: Place, grace: float) -> None:
        self.place = place
        self.grace = grace
        self.kept = False  # `classroom up`: stay although nobody has a lease
        self.stopping = False
        self.broker: subprocess.Popen[bytes] | None = None
        self.worker: subprocess.Popen[bytes] | None = None
        self.crashes: list[float] = []
        self.server: Server
        self.stack: Stack
        self.control = socket.create_server(("127.0.0.1", 0))
        self.verbs: dict[str, Callable[[], None]] = {
            "start worker": self.start_worker,
            "stop worker": self.stop_worker,
            "pause worker": self.pause_worker,
            "resume worker": self.resume_worker,
            "kill worker": self.kill_worker,
            "restart broker": self.restart_broker,
            "keep": self.keep,
            "down": self.down,
        }

    # -- the broker ----------------------------------------------------------------------------------------------

    def start_broker(self) -> None:
        """Start the broker where it was last, if that port is still free."""
        password, port = self.place.identity()
        log = self.open_log("broker")
        self.broker, port = start_server(self.server, self.place.folder, log, password, port, self.spawn_with_input)
        log.close()
        self.place.remember(password, port)
        self.describe(url=f"redis://:{password}@127.0.0.1:{port}/0", broker_pid=self.broker.pid)

    def restart_broker(self) -> None:
        """Kill the broker and start it again, empty: nothing of it was on disk."""
        end(self.broker)
        self.start_broker()

    # -- the worker ----------------------------------------------------------------------------------------------

    def start_worker(self) -> None:
        """Start the worker and wait until it says that it is ready; one that is paused goes on.

        Raises:
            ClassroomError: it ended, or it did not get ready in time; the worker's state is then "failed".
        """
        if self.worker and self.worker.poll() is None:
            self.resume_worker()
            return
        self.describe(worker="starting", worker_pid=None, trouble="", sources=sources())
        report, ready = os.pipe()
        log = self.open_log("worker")
        start_of_log = log.tell()
        self.worker = self.spawn(
            [
                *(sys.executable, "-m", "celery", "-A", "tutorial_tasks.celery_app", "worker"),
                *("--pool", "prefork", "--concurrency", str(CONCURRENCY), "--events", "--loglevel", "INFO"),
                *("--queues", ",".join(QUEUES), "--hostname", NODE, "--include", "classroom.stack.worker_side"),
                # Both ask other workers on start; there is none, and asking takes a second.
                *("--without-mingle", "--without-gossip"),
            ],
            log,
            pass_fds=(ready,),
            env=os.environ
            | {
                "CELERY_BROKER_URL": self.stack.url,
                "CELERY_RESULT_BACKEND": self.stack.url,
                "CLASSROOM_READY_FD": str(ready),
                "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            },
        )
        os.close(ready)
        log.close()
        with open(report) as pipe:
            said = read_line_within(pipe, _READY_WITHIN, giving_up=lambda: self.stopping)
        if said:
            self.describe(worker="running", worker_pid=self.worker.pid, tasks=json.loads(said), trouble="")
            return
        self.end_worker(signal.SIGKILL)
        trouble = last_words(self.place.log("worker"), start_of_log)
        self.describe(worker="failed", worker_pid=None, tasks=[], trouble=trouble)
        own = my_tasks_file()
        remedy = f"mend {own.name}, or remove it" if f"{own.name}, line" in trouble else "python -m classroom logs"
        raise ClassroomError(f"the worker did not start: {trouble}", remedy)

    def stop_worker(self) -> None:
        """Stop the worker as a person would, with SIGTERM: it finishes what it runs, within limits."""
        self.end_worker(signal.SIGTERM)
        self.describe(worker="stopped", worker_pid=None)

    def kill_worker(self) -> None:
        """Kill the worker with SIGKILL; it stays dead until it is started again."""
        self.end_worker(signal.SIGKILL)
        self.describe(worker="stopped", worker_pid=None)

    def pause_worker(self) -> None:
        """Freeze the worker and its pool where they are."""
        self.signal_running_worker(signal.SIGSTOP)
        self.describe(worker="paused")

    def resume_worker(self) -> None:
        """Let a frozen worker go on."""
        self.signal_running_worker(signal.SIGCONT)
        self.describe(worker="running")

    def signal_running_worker(self, number: signal.Signals) -> None:
        """Send a signal to the worker and to its pool."""
        if not self.worker or self.worker.poll() is not None:
            raise ClassroomError("the worker does not run", "lab.worker.start()")
        os.killpg(self.worker.pid, number)

    def end_worker(self, number: signal.Signals) -> None:
        """End the worker, and what is left of its process group after it."""
        if self.worker:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.worker.pid, signal.SIGCONT)
            end(self.worker, number)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.worker.pid, signal.SIGKILL)
            self.worker = None

    # -- the whole -----------------------------------------------------------------------------------------------

    def keep(self) -> None:
        """Stay until `down`, whether somebody uses the stack or not."""
        self.kept = True

    def down(self) -> None:
        """Stop at the next turn of the loop."""
        self.stopping = True

    def run(self, report: IO[str]) -> None:
        """Start both, say so through the pipe, and watch over them until it is time to stop."""
        self.clear_up()
        self.server = find_server()
        self.stack = Stack(
            url="",
            server=self.server.label,
            supervisor=os.getpid(),
            broker_pid=0,
            worker_pid=None,
            worker="stopped",
            control_port=self.control.getsockname()[1],
            control_token=os.urandom(16).hex(),
        )
        try:
            self.start_broker()
            with contextlib.suppress(ClassroomError):  # the description says it: broken task code can be mended
                self.start_worker()
            with explained(self.place.folder):
                self.place.write(self.stack)
            report.write(json.dumps({}) + "\n")
            report.close()
            self.watch()
        finally:
            # The description goes first, so that nobody joins a stack that is about to end.
            self.place.stack_file.unlink(missing_ok=True)
            self.end_worker(signal.SIGTERM)
            end(self.broker)

    def watch(self) -> None:
        """Answer requests, restart what crashed, and leave when nobody has had a lease for the grace period."""
        woken, waker = socket.socketpair()  # a signal, such as a child's end, makes `woken` readable
        for end_of_pair in (woken, waker):
            end_of_pair.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        with (
            contextlib.closing(woken),
            contextlib.closing(waker),
            contextlib.ExitStack() as last,
            (self.place.folder / "lease").open("a") as lease,
            selectors.DefaultSelector() as selector,
        ):
            last.callback(signal.set_wakeup_fd, -1)
            selector.register(woken, selectors.EVENT_READ)
            selector.register(self.control, selectors.EVENT_READ)
            last_used = time.monotonic()
            while not self.stopping:
                for key, _ in selector.select(_TICK):
                    if key.fileobj is self.control:
                        self.answer()
                    else:
                        with contextlib.suppress(BlockingIOError):
                            woken.recv(64)
                self.revive()
                try:
                    fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    last_used = time.monotonic()
                    continue
                if not self.kept and time.monotonic() - last_used > self.grace:
                    note("nobody is left")
                    # With the lease in our hands nobody can join until the description is gone.
                    self.place.stack_file.unlink(missing_ok=True)
                    self.stopping = True
                fcntl.flock(lease, fcntl.LOCK_UN)

    def revive(self) -> None:
        """Start again what ended without being told to, unless it keeps doing so."""
        broker_died = self.broker is not None and self.broker.poll() is not None
        worker_died = self.worker is not None and self.worker.poll() is not None
        if not broker_died and not worker_died:
            return
        note(f"{'the broker' if broker_died else 'the worker'} ended by itself")
        now = time.monotonic()
        self.crashes = [moment for moment in self.crashes if now - moment < _CRASH_WINDOW] + [now]
        given_up = len(self.crashes) > _CRASHES
        try:
            if broker_died and given_up:
                self.stopping = True
            elif broker_died:
                self.start_broker()
            elif given_up:
                self.end_worker(signal.SIGKILL)
                self.describe(worker="failed", worker_pid=None, trouble="it keeps dying")
            else:
                self.end_worker(signal.SIGKILL)  # what is left of its pool
                self.start_worker()
        except ClassroomError as error:
            note(str(error))

    def answer(self) -> None:
        """Serve one request: a line of JSON with the token and a verb in, a line of JSON out."""
        try:
            connection, _ = self.control.accept()
        except OSError:
            return
        with connection, contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            connection.settimeout(1)
            with connection.makefile("rw") as line:
                request = json.loads(line.readline(1000))
                if request["token"] != self.stack.control_token:
                    return
                reply: dict[str, Any] = {}
                try:
                    self.verbs[request["do"]]()
                except ClassroomError as error:
                    reply = {"problem": error.problem, "remedy": error.remedy}
                except OSError as error:
                    reply = {"problem": f"{request['do']} failed: {error}", "remedy": "python -m classroom down"}
                line.write(json.dumps(reply) + "\n")

    def describe(self, **changes: Any) -> None:
        """Change the description of the stack, on disk too once the stack is announced."""
        self.stack = dataclasses.replace(self.stack, **changes)
        if self.place.stack_file.exists():
            with explained(self.place.folder):
                self.place.write(self.stack)

    def clear_up(self) -> None:
        """End what a killed supervisor left behind; we hold the lock, so whatever stands there is stale."""
        if old := self.place.read():
            for pid in filter(None, (old.worker_pid, old.broker_pid)):
                with contextlib.suppress(psutil.Error, ProcessLookupError):
                    command = " ".join(psutil.Process(pid).cmdline())
                    if "tutorial_tasks.celery_app" in command or "-server" in command:
                        os.killpg(pid, signal.SIGKILL)
        self.place.stack_file.unlink(missing_ok=True)

    # -- processes -----------------------------------------------------------------------------------------------

    def spawn(
        self,
        argv: list[str],
        log: IO[bytes],
        stdin: int = subprocess.DEVNULL,
        pass_fds: tuple[int, ...] = (),
        env: dict[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a child in a process group of its own, so that Ctrl-C in a terminal is not for it."""
        me = os.getpid()
        return subprocess.Popen(
            argv,
            cwd=ROOT,
            env=env,
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            process_group=0,
            preexec_fn=lambda: die_with(me),
        )

    def spawn_with_input(self, argv: list[str], log: IO[bytes], text: bytes) -> subprocess.Popen[bytes]:
        """Start a child and write to its standard input."""
        child = self.spawn(argv, log, stdin=subprocess.PIPE)
        assert child.stdin
        with contextlib.suppress(BrokenPipeError), child.stdin:
            child.stdin.write(text)
        return child

    def open_log(self, name: str) -> IO[bytes]:
        """Open a log for appending; one that has grown too long starts anew."""
        path = self.place.log(name)
        with explained(self.place.folder):
            too_long = path.exists() and path.stat().st_size > _LOG_LIMIT
            return path.open("wb" if too_long else "ab")


def end(child: subprocess.Popen[bytes] | None, number: signal.Signals = signal.SIGTERM) -> None:
    """End a child, with SIGKILL when it does not listen."""
    if child is None:
        return
    child.send_signal(number)
    try:
        child.wait(_STOP_WITHIN)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def read_line_within(pipe: IO[str], seconds: float, giving_up: Callable[[], bool] = lambda: False) -> str:
    """Read a line from a pipe; nothing when the other end closes it, or when it takes too long."""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while time.monotonic() < deadline and not giving_up():
            if selector.select(_TICK):
                return pipe.readline().strip()
    return ""


def last_words(log: Path, start: int = 0) -> str:
    """Find the line of a log that says why a process ended, its last one; of a traceback also say where."""
    try:
        lines = [line.strip() for line in log.read_bytes()[start:].decode(errors="replace").splitlines()]
    except OSError:
        return "it left no log"
    lines = [line for line in lines if line]
    if not lines:
        return "it said nothing"
    places = [place for line in lines if (place := re.match(r'File "(.+)", line (\d+)', line))]
    if not places or not re.match(r"\w+(Error|Exception)\b", lines[-1]):
        return lines[-1]
    file, number = places[-1].groups()
    return f"{lines[-1]} ({file.removeprefix(f'{ROOT}{os.sep}')}, line {number})"


def note(text: str) -> None:
    """Write a line to the supervisor's own log."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main() -> None:
    """Become a daemon, take the lock, run, and tell the process that asked for a stack how it went."""
    if os.fork():
        os._exit(0)  # our parent can go on: nobody has to wait for us
    place = Place.current()
    with open(int(os.environ.pop(REPORT_FD)), "w") as report, (place.folder / "lock").open("a") as lock:
        os.set_inheritable(report.fileno(), False)
        if not lock_within(lock.fileno(), fcntl.LOCK_EX, time.monotonic() + _STOP_WITHIN + 5):
            report.write(json.dumps({"problem": "another stack does not end", "remedy": "python -m classroom down"}) + "\n")
            return
        supervisor = Supervisor(place, grace=float(os.environ.get("CLASSROOM_GRACE", "20")))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: supervisor.down())
        try:
            supervisor.run(report)
        except ClassroomError as error:
            note(str(error))
            if not report.closed:
                report.write(json.dumps({"problem": error.problem, "remedy": error.remedy}) + "\n")


if __name__ == "__main__":
    main()

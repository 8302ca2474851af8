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
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from typing import IO, Any

import psutil

from classroom.errors import ClassroomError
from classroom.stack.crashes import Crashes
from classroom.stack.place import Place, Stack, explained, lock_within
from classroom.stack.processes import STOP_WITHIN, TICK, end, open_log, spawn, spawn_with_input
from classroom.stack.rabbitmq import RabbitMQ
from classroom.stack.server import Server, find_server, start_server
from classroom.stack.worker_process import RABBITMQ_NODE, WorkerProcess

REPORT_FD = "CLASSROOM_REPORT_FD"


class Supervisor:
    """One broker, one worker, and a small control port on 127.0.0.1.

    With `CLASSROOM_BROKER=rabbitmq` the broker is a RabbitMQ, and the Redis has the results. Otherwise a RabbitMQ can be started
    beside, for those who want to compare the two; it has a worker of its own.
    """

    def __init__(self, place: Place, grace: float) -> None:
        self.place = place
        self.grace = grace
        self.kept = False  # `classroom up`: stay although nobody has a lease
        self.stopping = False
        self.broker: subprocess.Popen[bytes] | None = None
        self.worker = WorkerProcess(place.log("worker"), self.describe)
        self.rabbitmq: RabbitMQ | None = None
        self.rabbitmq_worker = WorkerProcess(place.log("rabbitmq-worker"), self.describe_beside, node=RABBITMQ_NODE)
        self.crashes = Crashes()
        self.server: Server
        self.stack: Stack
        self.control = socket.create_server(("127.0.0.1", 0))
        self.verbs: dict[str, Callable[..., Any]] = {
            "start worker": self.start_worker,
            "stop worker": self.worker.stop,
            "pause worker": self.worker.pause,
            "resume worker": self.worker.resume,
            "kill worker": self.worker.kill,
            "pool": self.worker.pool,
            "kill pool process": self.worker.kill_pool_process,
            "restart broker": self.restart_broker,
            "start rabbitmq": self.start_beside,
            "start rabbitmq worker": self.start_worker_beside,
            "stop rabbitmq worker": self.rabbitmq_worker.stop,
            "kill rabbitmq worker": self.rabbitmq_worker.kill,
            "keep": self.keep,
            "down": self.down,
        }

    # -- the broker ----------------------------------------------------------------------------------------------

    def start_broker(self) -> None:
        """Start the broker where it was last, if that port is still free."""
        password, port = self.place.identity()
        with open_log(self.place.log("broker")) as log:
            self.broker, port = start_server(self.server, self.place.folder, log, password, port, spawn_with_input)
        self.place.remember(password, port)
        self.describe(url=f"redis://:{password}@127.0.0.1:{port}/0", broker_pid=self.broker.pid)
        if self.stack.broker == "rabbitmq":
            self.start_rabbitmq()

    def restart_broker(self) -> None:
        """Kill the broker and start it again, empty: nothing of it was on disk."""
        end(self.broker)
        self.start_broker()

    # -- RabbitMQ ------------------------------------------------------------------------------------------------

    def start_rabbitmq(self) -> None:
        """Start a RabbitMQ, empty, where it was last."""
        if not self.rabbitmq:
            password, _ = self.place.identity()
            self.rabbitmq = RabbitMQ(
                self.place.folder / "rabbitmq", password, self.place.log("rabbitmq"), lambda argv, log, env: spawn(argv, log, env=env)
            )
        self.rabbitmq.start(giving_up=lambda: self.stopping)
        self.describe(
            amqp=self.rabbitmq.url, management=self.rabbitmq.management, rabbitmq=self.rabbitmq.label, rabbitmq_pids=self.rabbitmq.pids
        )

    def start_beside(self) -> None:
        """Have a RabbitMQ, and a worker of its own if the lessons' worker is on Redis."""
        if not self.rabbitmq or not self.rabbitmq.node or self.rabbitmq.has_died():
            self.start_rabbitmq()
        if self.stack.broker != "rabbitmq":
            self.start_worker_beside()

    def start_worker_beside(self) -> None:
        """Start the second worker, on RabbitMQ."""
        self.rabbitmq_worker.start(self.addresses(self.stack.amqp), giving_up=lambda: self.stopping)

    def describe_beside(self, **changes: Any) -> None:
        """Change the description of the second worker."""
        self.describe(**{f"rabbitmq_{name}": value for name, value in changes.items() if name in ("worker", "worker_pid")})

    # -- the worker ----------------------------------------------------------------------------------------------

    def start_worker(self) -> None:
        """Start the worker on our broker; one that is paused goes on."""
        self.worker.start(self.addresses(self.stack.broker_url), giving_up=lambda: self.stopping)

    def addresses(self, broker: str) -> dict[str, str]:
        """Name the broker for a worker, and where the results go."""
        return {"CELERY_BROKER_URL": broker, "CELERY_RESULT_BACKEND": self.stack.url}

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
            broker=wanted_broker(),
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
            self.worker.stop()
            self.rabbitmq_worker.stop()
            if self.rabbitmq:
                self.rabbitmq.end()
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
                for key, _ in selector.select(TICK):
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
        rabbitmq_died = self.rabbitmq is not None and self.rabbitmq.has_died()
        worker_died = self.worker.has_died()
        beside_died = self.rabbitmq_worker.has_died()
        if not broker_died and not rabbitmq_died and not worker_died and not beside_died:
            return
        note(f"{'the broker' if broker_died else 'RabbitMQ' if rabbitmq_died else 'the worker'} ended by itself")
        given_up = self.crashes.one_more()
        try:
            if (broker_died or rabbitmq_died) and given_up:
                self.stopping = True
            elif broker_died:
                self.start_broker()
            elif rabbitmq_died:
                self.start_rabbitmq()
            elif beside_died and given_up:
                self.rabbitmq_worker.give_up("it keeps dying")
            elif beside_died:
                self.rabbitmq_worker.kill()  # what is left of its pool
                self.start_worker_beside()
            elif given_up:
                self.worker.give_up("it keeps dying")
            else:
                self.worker.kill()  # what is left of its pool
                self.start_worker()
        except ClassroomError as error:
            note(str(error))

    def answer(self) -> None:
        """Serve one request: a line of JSON with the token, a verb and its arguments in, a line of JSON out."""
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
                    reply["answer"] = self.verbs[request["do"]](**request["with"])
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
            for pid in filter(None, (old.worker_pid, old.rabbitmq_worker_pid, old.broker_pid, *old.rabbitmq_pids)):
                with contextlib.suppress(psutil.Error, ProcessLookupError):
                    command = " ".join(psutil.Process(pid).cmdline())
                    if any(name in command for name in ("tutorial_tasks.celery_app", "-server", "rabbitmq", "epmd")):
                        os.killpg(pid, signal.SIGKILL)
        self.place.stack_file.unlink(missing_ok=True)


def wanted_broker() -> str:
    """Read from `CLASSROOM_BROKER` what is to carry the messages.

    Raises:
        ClassroomError: it is nothing that we know.
    """
    wanted = os.environ.get("CLASSROOM_BROKER") or "redis"
    if wanted not in ("redis", "rabbitmq"):
        raise ClassroomError(
            f"CLASSROOM_BROKER={wanted} is no broker that this course knows", "export CLASSROOM_BROKER=rabbitmq, or unset it"
        )
    return wanted


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
        if not lock_within(lock.fileno(), fcntl.LOCK_EX, time.monotonic() + STOP_WITHIN + 5):
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

"""The receiver on RabbitMQ, which has queues for events, no MONITOR, and no results to listen to."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from celery import Celery

from taskscope.ledger import Ledger
from taskscope.receiver import Receiver
from tests.stack import quiet
from tests.stack.processes import PATIENCE, eventually

# Debian's command changes the user when root calls it; this is what it calls.
PROGRAMS = [str(path) for path in sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))]
PROGRAM = next(iter(PROGRAMS), None) or shutil.which("rabbitmq-server")

pytestmark = pytest.mark.skipif(
    PROGRAM is None and os.environ.get("CI") != "true", reason="rabbitmq-server is not installed: apt-get install rabbitmq-server"
)


class Rabbit:
    """A RabbitMQ of our own, on 127.0.0.1, that leaves nothing behind."""

    def __init__(self, folder: Path) -> None:
        with ExitStack() as held:
            probes = [held.enter_context(socket.socket()) for _ in range(3)]
            for probe in probes:
                probe.bind(("127.0.0.1", 0))
            self.port, between_nodes, self.names = (probe.getsockname()[1] for probe in probes)
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        (folder / "enabled_plugins").write_text("[].\n")
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.default = 127.0.0.1:{self.port}\ndisk_free_limit.absolute = 50MB\n")
        self.environment = os.environ | {
            "HOME": str(folder),
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(between_nodes),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
            "ERL_EPMD_PORT": str(self.names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert PROGRAM, "rabbitmq-server is not installed: apt-get install rabbitmq-server"
        self.process = subprocess.Popen(
            [PROGRAM], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        eventually(self.answers, "RabbitMQ answers")

    def answers(self) -> bool:
        assert self.process
        assert self.process.poll() is None, "RabbitMQ has ended"
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.settimeout(1)
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                return bool(connection.recv(1))
        except OSError:
            return False

    def kill(self) -> None:
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(PATIENCE)

    def close(self) -> None:
        self.kill()
        eventually(self.name_server_is_gone, "Erlang's name server, which outlives the broker, is gone")

    def name_server_is_gone(self) -> bool:
        """End Erlang's name server; it refuses as long as it believes that the broker lives."""
        command = ["epmd", "-port", str(self.names), "-kill"]
        said = subprocess.run(command, env=self.environment, capture_output=True, timeout=PATIENCE, check=False)
        return b"not allowed" not in (said.stdout + said.stderr).lower()


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rabbit]:
    rabbit = Rabbit(tmp_path_factory.mktemp("rabbit"))
    try:
        rabbit.start()
        yield rabbit
    finally:
        rabbit.close()


@pytest.mark.long
def test_nothing_is_lost_on_rabbitmq_and_what_is_not_there_is_said(rabbit: Rabbit, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    app = Celery("other", broker=rabbit.url, set_as_current=False)
    app.conf.update(task_default_queue=quiet.QUEUE, task_send_sent_event=True, broker_connection_timeout=1)
    ledger = Ledger()

    def complete(*tasks: str) -> bool:
        events = [(o.task, o.kind) for o in ledger if o.source == "event"]
        return all(
            sorted(kind for task, kind in events if task == wanted) == ["received", "sent", "started", "succeeded"] for wanted in tasks
        )

    def send() -> str:
        return str(app.send_task("tests.stack.quiet.double", (2,)).id)

    with quiet.worker(CELERY_BROKER_URL=rabbit.url, CELERY_RESULT_BACKEND=""):
        for _ in range(5):  # its events are off at the first, and nothing is lost even then
            receiver = Receiver(app, ledger.append, commands=True).start()
            eventually(partial(complete, *[send() for _ in range(3)]), "all events of three tasks are seen")
            assert receiver.workers == ["quiet@lab"]
            receiver.close()
        receiver = Receiver(app, ledger.append, commands=True).start()
        assert receiver.status == [
            "events: on",
            "results: not available: this app stores no results (it has no result_backend)",
            "publishing: on",
            "commands: not available: only Redis can tell its commands, and the broker is of the kind 'amqp'",
        ]
        before = time.time()
        rabbit.kill()
        eventually(lambda: receiver.status[0].startswith("events: lost, trying again: "), "the receiver notices")
        rabbit.start()
        gap = eventually(lambda: next((o for o in ledger if o.kind == "gap"), None), "the receiver is back")
        assert gap.data["from"] < gap.data["to"]
        assert gap.data["to"] > before
        eventually(lambda: any(o.kind == "worker-heartbeat" and o.at > gap.data["to"] for o in ledger), "the worker is back")
        eventually(partial(complete, send()), "a task is done, and seen")
        assert receiver.status[0] == "events: on"
        receiver.close()
    app.close()

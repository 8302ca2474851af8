"""Start children that die with us, end them, and find out what they had to say."""

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from classroom.stack.lifeline import die_with
from classroom.stack.place import ROOT, explained

TICK = 0.25  # seconds between two looks at what may have changed
STOP_WITHIN = 10.0  # seconds that a process may take to finish what it does

_LOG_LIMIT = 5_000_000  # bytes after which a log starts anew


def spawn(
    argv: list[str],
    log: IO[bytes],
    stdin: int = subprocess.DEVNULL,
    pass_fds: tuple[int, ...] = (),
    env: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a child in a process group of its own, so that Ctrl-C in a terminal is not for it; it ends when this thread does."""
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


def spawn_with_input(argv: list[str], log: IO[bytes], text: bytes) -> subprocess.Popen[bytes]:
    """Start a child and write to its standard input."""
    child = spawn(argv, log, stdin=subprocess.PIPE)
    assert child.stdin
    with contextlib.suppress(BrokenPipeError), child.stdin:
        child.stdin.write(text)
    return child


def end(child: subprocess.Popen[bytes] | None, number: signal.Signals = signal.SIGTERM) -> None:
    """End a child, with SIGKILL when it does not listen."""
    if child is None:
        return
    child.send_signal(number)
    try:
        child.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def open_log(path: Path) -> IO[bytes]:
    """Open a log for appending; one that has grown too long starts anew.

    Raises:
        ClassroomError: it cannot be written.
    """
    with explained(path.parent):
        too_long = path.exists() and path.stat().st_size > _LOG_LIMIT
        return path.open("wb" if too_long else "ab")


def read_line_within(pipe: IO[str], seconds: float, giving_up: Callable[[], bool] = lambda: False) -> str:
    """Read a line from a pipe; nothing when the other end closes it, or when it takes too long."""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while time.monotonic() < deadline and not giving_up():
            if selector.select(TICK):
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
    while len(lines) > 1 and re.match(r"\[.+: WARNING/", lines[-1]):  # of a worker that ends already
        lines.pop()
    places = [place for line in lines if (place := re.match(r'File "(.+)", line (\d+)', line))]
    if not places or not re.match(r"\w+(Error|Exception)\b", lines[-1]):
        return lines[-1]
    file, number = places[-1].groups()
    return f"{lines[-1]} ({file.removeprefix(f'{ROOT}{os.sep}')}, line {number})"

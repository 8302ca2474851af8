"""Join the stack of this checkout, start it if nobody has, and ask its supervisor for things."""

import atexit
import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

from classroom.errors import ClassroomError
from classroom.stack.place import ROOT, Place, Stack, explained, lock_within
from classroom.stack.processes import last_words, read_line_within
from classroom.stack.rabbitmq import READY_WITHIN
from classroom.stack.supervisor import REPORT_FD, wanted_broker

_OURS = "CLASSROOM_URL"  # beside Celery's own variables: the address that `use` put into them
_JOIN_WITHIN = 30.0  # seconds, the old stack's end and the new one's start together
_leases: dict[Place, IO[str]] = {}


def current() -> Stack | None:
    """Describe the stack of this checkout if it runs, without joining or starting it."""
    place = Place.current()
    stack = place.read()
    return stack if stack and place.is_supervised() else None


def join(tell: Callable[[str], Any] = lambda _: None) -> Stack:
    """Join the stack of this checkout, or start it; it lives as long as anybody who joined.

    Any number of processes may call this at once, and one process any number of times.

    Args:
        tell: called with a line for the person who waits, if that takes more than a moment.

    Raises:
        ClassroomError: it cannot start.
    """
    place = Place.current()
    wanted = wanted_broker()
    deadline = time.monotonic() + _JOIN_WITHIN + READY_WITHIN * (wanted == "rabbitmq")
    place.create()
    _take_lease(place, deadline)
    with _alone(place, deadline):
        if stack := current():
            if os.environ.get("CLASSROOM_BROKER") and stack.broker != wanted:
                raise ClassroomError(
                    f"CLASSROOM_BROKER={wanted}, but the stack that runs in this checkout has another broker: {stack.label}",
                    "python -m classroom down, then run this again",
                )
            return stack
        if wanted == "rabbitmq":
            tell("RabbitMQ starts. That takes some seconds.")
        _start(place, deadline)
    if stack := current():
        return stack
    raise ClassroomError("the stack ended as soon as it had started", f"read {place.log('supervisor')}")


def use(stack: Stack) -> None:
    """Have Celery in this process, and in those that it starts, use this stack."""
    os.environ["CELERY_BROKER_URL"], os.environ["CELERY_RESULT_BACKEND"] = stack.broker_url, stack.url
    os.environ[_OURS] = f"{stack.broker_url} {stack.url}"
    if stack.management:
        os.environ["TASKSCOPE_MANAGEMENT_URL"] = stack.management


def is_outside() -> bool:
    """Tell whether the environment names a broker or a backend that no stack of ours put there."""
    named = {os.environ.get("CELERY_BROKER_URL"), os.environ.get("CELERY_RESULT_BACKEND")} - {None, ""}
    return bool(named) and not named <= set(os.environ.get(_OURS, "").split())


def lease_descriptor() -> int:
    """Give the open file that holds our lease, for a process that `exec` is about to replace."""
    return _leases[Place.current()].fileno()


def ask(verb: str, timeout: float = 40) -> Stack:
    """Have the supervisor do something, and describe the stack as it is after that.

    Raises:
        ClassroomError: there is no stack, or the supervisor could not do it.
    """
    answer(verb, timeout)
    stack = Place.current().read()
    if not stack:
        raise ClassroomError("the stack has ended", "python -m classroom up")
    return stack


def answer(verb: str, timeout: float = 40, **arguments: Any) -> Any:
    """Have the supervisor do something, and return its answer.

    Raises:
        ClassroomError: there is no stack, or the supervisor could not do it.
    """
    place = Place.current()
    stack = current()
    if not stack:
        raise ClassroomError("no stack runs in this checkout", "python -m classroom up")
    try:
        with socket.create_connection(("127.0.0.1", stack.control_port), timeout) as connection, connection.makefile("rw") as line:
            line.write(json.dumps({"token": stack.control_token, "do": verb, "with": arguments}) + "\n")
            line.flush()
            reply = json.loads(line.readline())
    except (OSError, ValueError) as error:
        raise ClassroomError(f"the supervisor did not answer to {verb!r}", f"read {place.log('supervisor')}") from error
    if "problem" in reply:
        raise ClassroomError(**reply)
    return reply.get("answer")


def down(timeout: float = 20) -> bool:
    """Stop the stack of this checkout, whoever uses it; tell whether there was one.

    Raises:
        ClassroomError: it does not end.
    """
    place = Place.current()
    if not place.is_supervised():
        return False
    with contextlib.suppress(ClassroomError):  # one that is about to end does not answer any more
        answer("down", timeout=5)
    deadline = time.monotonic() + timeout
    while place.is_supervised():
        if time.monotonic() > deadline:
            stack = place.read()
            raise ClassroomError("the stack does not end", f"kill -9 {stack.supervisor}" if stack else f"read {place.log('supervisor')}")
        time.sleep(0.01)
    return True


def _take_lease(place: Place, deadline: float) -> None:
    if place in _leases:
        return
    with explained(place.folder):
        lease = (place.folder / "lease").open("a")
    # A supervisor that is about to leave holds this for a moment.
    if not lock_within(lease.fileno(), fcntl.LOCK_SH, deadline):
        raise ClassroomError("the last stack does not end", "python -m classroom down")
    _leases[place] = lease
    atexit.register(lease.close)


@contextlib.contextmanager
def _alone(place: Place, deadline: float) -> Iterator[None]:
    """Let one process at a time look and start, so that five notebooks make one stack."""
    with explained(place.folder):
        starting = (place.folder / "starting").open("a")
    with starting:
        if not lock_within(starting.fileno(), fcntl.LOCK_EX, deadline):
            raise ClassroomError("another process takes very long to start the stack", "python -m classroom down")
        yield


def _start(place: Place, deadline: float) -> None:
    read, write = os.pipe()
    with open(read) as report, explained(place.folder), place.log("supervisor").open("ab") as log:
        starter = subprocess.Popen(
            [sys.executable, "-m", "classroom.stack.supervisor"],
            cwd=ROOT,
            env=os.environ | {"CLASSROOM_STATE": str(place.folder), REPORT_FD: str(write)},
            pass_fds=[write],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.close(write)
        starter.wait()  # it only forks
        said = read_line_within(report, deadline - time.monotonic())
    if not said:
        raise ClassroomError(f"the supervisor did not start: {last_words(place.log('supervisor'))}", f"read {place.log('supervisor')}")
    if reply := json.loads(said):
        raise ClassroomError(**reply)

"""Look at everything that a lesson needs, and name the command that mends what is missing.

Each check is a function that returns a `Finding`, so that the doctor's report, `lab.connect()` and the tests
say the same words about the same trouble.
"""

import contextlib
import importlib
import importlib.metadata
import json
import os
import platform
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from celery import Celery
from celery.exceptions import NotRegistered
from celery.exceptions import TimeoutError as CeleryTimeoutError
from packaging.requirements import Requirement

from classroom import questions
from classroom.errors import ClassroomError, typed
from classroom.my_tasks import worker_command
from classroom.stack import client, workers
from classroom.stack.keeping import Worker
from classroom.stack.place import ROOT, Stack
from classroom.stack.task_code import MY_TASKS, fingerprint, my_tasks_file, sources
from classroom.stack.worker_process import QUEUES

PYTHON = (3, 11)
_PATIENCE = 2.0  # seconds for a server or a worker to answer: they are near, or they are not there
_OURS_WITHIN = (2.0, 8.0)  # seconds for our own worker, which runs: on a busy computer it answers late
_HEARD_WITHIN = 1.0  # seconds for workers that nobody knows of
_ON_YOUR_OWN = "a CELERY_KEY_PREFIX of your own, for the worker and here, or another database: redis://.../1"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what it is, what was seen, and, if it is not well, what to type."""

    subject: str
    seen: str
    remedy: str = ""

    @property
    def is_well(self) -> bool:
        """Tell whether there is nothing to mend."""
        return not self.remedy

    def __str__(self) -> str:
        line = f"{'✔' if self.is_well else '✖'} {self.subject}: {self.seen}"
        return line if self.is_well else f"{line}\n  next: {typed(self.remedy)}"


def examine() -> Iterator[Finding]:
    """Check one thing after the other; what rests on something missing is not looked at."""
    yield check_python()
    yield (packages := check_packages(ROOT / "requirements.lock"))
    yield check_port()
    yield (settings := check_settings())
    if not packages.is_well or not settings.is_well:
        return
    try:
        if not client.is_outside():
            ran = client.current() is not None
            stack = client.join()
            client.use(stack)
            yield _check_stack(stack, ran)
        elif kept := workers.refreshed():
            yield _check_kept(kept)
        app = _app()
    except ClassroomError as error:
        yield Finding("stack", error.problem, error.remedy)
        return
    except Exception as error:  # the task code is the learner's: anything can be wrong with it
        yield Finding("tasks", f"tutorial_tasks cannot be imported: {error!r}", "mend that file, then run this again")
        return
    for check in (check_broker, check_backend, check_worker, check_tasks, check_round_trip):
        yield (finding := check(app))
        if not finding.is_well:
            return


def examine_settings() -> None:
    """Check the addresses in the environment, before anybody uses them.

    Raises:
        ClassroomError: one is missing, or cannot be read.
    """
    _demand(check_settings())


def examine_servers() -> str:
    """Check somebody else's broker and backend, and say in a few words what they are.

    Raises:
        ClassroomError: something is wrong with them.
    """
    app = _app()
    _demand(check_broker(app))
    _demand(check_backend(app))
    return f"{_without_password(app.conf.broker_url)} (from CELERY_BROKER_URL)"


def examine_worker() -> str:
    """Check somebody else's worker, one that does not listen to us, and say in a few words what it has.

    Raises:
        ClassroomError: there is none, or it has other tasks.
    """
    _demand(check_worker(_app()))
    return _demand(check_tasks(_app())).seen


def examine_keepers() -> None:
    """Check that the workers which keepers have are made of this checkout.

    Raises:
        ClassroomError: their images are stale, or they read another my_tasks.py.
    """
    _demand(check_keepers(workers.refreshed()))


def _demand(finding: Finding) -> Finding:
    if not finding.is_well:
        raise ClassroomError(finding.seen, finding.remedy)
    return finding


def check_python() -> Finding:
    """Check the interpreter's version."""
    version = platform.python_version()
    if sys.version_info < PYTHON:
        return Finding("Python", f"{version} is too old, the course needs 3.11 or newer", "make setup PYTHON=python3.12")
    return Finding("Python", version)


def check_packages(lock: Path) -> Finding:
    """Compare what is installed with the lock file."""
    wrong = []
    count = 0
    for match in re.finditer(r"^(?P<spec>[A-Za-z0-9][^\\\n]*?)\s*\\?$", lock.read_text(), re.MULTILINE):
        wanted = Requirement(match["spec"])
        if wanted.marker and not wanted.marker.evaluate():
            continue
        count += 1
        try:
            installed = importlib.metadata.version(wanted.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
            continue
        if not wanted.specifier.contains(installed, prereleases=True):
            wrong.append(f"{wanted.name} is {installed}, the lock says {wanted.specifier}")
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        return Finding("packages", "; ".join(wrong[:3]) + more, "make setup")
    return Finding("packages", f"all {count} as in {lock.name}")


def check_port(first: int = 8888, tries: int = 50) -> Finding:
    """Look where JupyterLab of this checkout runs, and whether there is a port for the next one: 8888, or another one near it."""
    running = running_labs()
    here = f"JupyterLab of this checkout runs at {' and '.join(running)}; " if running else ""
    for port in range(first, first + tries + 1):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            word = f"{port} is free" if port == first else f"{first} is taken, {port} is free"
            return Finding("port", f"{here}{word} for {'one more' if running else 'JupyterLab'}")
    return Finding("port", f"{here}{first} to {first + tries} are all taken", 'make lab ARGS="--port 9999"')


def running_labs() -> list[str]:
    """Return the addresses of the Jupyter servers of this user that serve this checkout.

    Each server leaves a file about itself. jupyter_server has a function that reads them, but takes two seconds to import.
    """
    try:
        from jupyter_core.paths import jupyter_runtime_dir
    except ImportError:  # the packages are a finding of their own
        return []
    found = []
    for file in sorted(Path(jupyter_runtime_dir()).glob("jpserver-*.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            server = json.loads(file.read_text())
            if Path(server["root_dir"]) == ROOT and psutil.pid_exists(server["pid"]):
                found.append(str(server["url"]))
    return found


def check_settings() -> Finding:
    """Check that the environment names a broker and a backend, or neither, in a form that can be read."""
    for one, other in (("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"), ("CELERY_RESULT_BACKEND", "CELERY_BROKER_URL")):
        if os.environ.get(one) and not os.environ.get(other):
            return Finding("settings", f"{one} is set, {other} is not", f"export {other}=redis://:password@127.0.0.1:6379/0")
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        if not _is_readable(os.environ.get(name, "")):
            remedy = "write a `/`, `@` or `:` in the password as %2F, %40, %3A (`#` as %23, `?` as %3F), and the port as a number"
            return Finding("settings", f"the address in {name} cannot be read", remedy)
    where = "CELERY_BROKER_URL and CELERY_RESULT_BACKEND" if client.is_outside() else "this checkout's own stack"
    return Finding("settings", where)


def _is_readable(urls: str) -> bool:
    """Tell whether the host and the port of each address can be told from the rest; of other servers than ours we know no form."""
    for url in re.findall(r"(?:rediss?|(?:py)?amqps?)://[^;]*", urls):
        try:
            parts = urlsplit(url)
            if parts.port is not None and not parts.hostname:  # a password of digits up to a `/`
                return False
        except ValueError:
            return False
    return True


def _check_stack(stack: Stack, ran: bool) -> Finding:
    if stack.worker == "failed":
        return Finding("stack", f"the worker did not start: {stack.trouble}", "python -m classroom logs")
    if stack.worker != "running":
        return Finding("stack", f"the worker is {stack.worker}", "python -m classroom up")
    started = "" if ran else " (started for this look)"
    servers = stack.server if stack.broker == "redis" else f"{stack.rabbitmq}, {stack.server} for the results"
    return Finding("stack", f"{servers} and a worker, on 127.0.0.1 only{started}")


def check_keepers(kept: list[Worker]) -> Finding:
    """Check that workers which keepers have are made of this checkout."""
    for worker in kept:
        if worker.course != fingerprint(ROOT / "tutorial_tasks"):
            return Finding("stack", f"{worker.node} runs in a stale image, whose tutorial_tasks is not this checkout's", "make docker-up")
        if worker.my_tasks != fingerprint(own := my_tasks_file()):
            return Finding("stack", f"{worker.node} reads another {MY_TASKS}.py than {own}", "make docker-up in this checkout")
    where = ", ".join(f"{worker.node} on {worker.host}" for worker in kept)
    return Finding("stack", f"{where}, with the tasks of this checkout")


def _check_kept(kept: list[Worker]) -> Finding:
    for worker in kept:
        if worker.state == "failed":
            return Finding("stack", f"{worker.node} did not start: {worker.trouble}", "make docker-logs")
        if worker.state != "running":
            return Finding("stack", f"{worker.node} is {worker.state}", "lab.connect() in a notebook")
    return check_keepers(kept)


def check_broker(app: Celery) -> Finding:
    """Connect to the broker."""
    url = str(app.conf.broker_url)
    try:
        with app.connection_for_write(connect_timeout=_PATIENCE) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=_PATIENCE)
            return Finding("broker", f"{connection.transport.driver_type} at {connection.host}")
    except Exception as error:  # every transport has its own
        return _unreachable("broker", url, "CELERY_BROKER_URL", error)


def check_backend(app: Celery) -> Finding:
    """Read from the result backend."""
    url = str(app.conf.result_backend)
    try:
        app.backend.get_task_meta("classroom-doctor", cache=False)
        return Finding("backend", type(app.backend).__name__.removesuffix("Backend"))
    except Exception as error:
        return _unreachable("backend", url, "CELERY_RESULT_BACKEND", error)


def check_worker(app: Celery) -> Finding:
    """Ask for any worker that answers."""
    nodes = _answers(app, "ping")
    if not nodes:
        return Finding("worker", "no worker answers", _start_worker())
    if client.is_outside() and (stranger := _stranger(app)):
        return Finding("worker", f"{stranger} reads our queues and has none of our tasks: another project is on this broker", _ON_YOUR_OWN)
    return Finding("worker", f"{', '.join(nodes)} answers")


def check_tasks(app: Celery) -> Finding:
    """Compare the tasks of this checkout with those that the worker has registered."""
    ours = _our_tasks(app)
    answers = _answers(app, "registered")
    if not answers:
        return Finding("tasks", "no worker answers when it is asked for its tasks", _read_its_log())
    for node, registered in answers.items():
        if missing := sorted(ours - {line.split(" ")[0] for line in registered}):
            return Finding("tasks", f"{node} does not know {', '.join(missing[:3])}", _restart_worker())
    stack = client.current()
    if not client.is_outside() and stack and stack.sources != sources():
        return Finding("tasks", "the worker was started before the task code was edited", _restart_worker())
    return Finding("tasks", f"the worker knows all {len(ours)}")


def check_round_trip(app: Celery) -> Finding:
    """Send a task and wait for its result."""
    result = app.tasks["tutorial_tasks.arithmetic.add"].apply_async((2, 2), expires=5)
    try:
        answer = result.get(timeout=5)
    except CeleryTimeoutError:
        answers = _answers(app, "active")
        busy = sorted(task["name"].rpartition(".")[2] for tasks in answers.values() for task in tasks)
        app.backend.remove_pending_result(result)  # if that is left to the end of Python, it comes too late, and complains
        if not busy:
            why = "no task runs" if answers else "no worker says what runs"
            return Finding("round trip", f"add(2, 2) did not come back in 5 s, and {why}", _read_its_log())
        return Finding(
            "round trip",
            f"add(2, 2) did not come back in 5 s: the worker is busy with {', '.join(busy)}",
            "the first cell of a lesson, lab.connect(): it clears away what an earlier run has left",
        )
    except NotRegistered:
        return Finding("round trip", "add(2, 2) was taken by a worker without our tasks: another project is on this broker", _ON_YOUR_OWN)
    except Exception as error:
        return Finding("round trip", f"add(2, 2) did not come back: {error!r}", _read_its_log())
    if answer != 4:
        return Finding("round trip", f"add(2, 2) came back as {answer!r}", "git diff tutorial_tasks/arithmetic.py")
    return Finding("round trip", "add(2, 2) came back as 4")


def _stranger(app: Celery) -> str:
    """Find a worker of another project on our queues: it takes every other message, and knows nothing of its task."""
    ours = _our_tasks(app)
    reads = app.control.inspect(timeout=_HEARD_WITHIN).active_queues() or {}
    nodes = [node for node, queues in reads.items() if {queue["name"] for queue in queues} & set(QUEUES)]
    if not nodes:
        return ""
    replies = questions.ask(app, "registered", _HEARD_WITHIN, len(nodes), nodes)
    known = [found for reply in replies for found in reply.items()]
    return next((node for node, tasks in known if not ours & {line.split(" ")[0] for line in tasks}), "")


def _our_tasks(app: Celery) -> set[str]:
    app.loader.import_default_modules()
    # A task that is defined in a notebook's cell is no worker's business.
    return {name for name, task in app.tasks.items() if not name.startswith("celery.") and task.__module__ != "__main__"}


def _answers(app: Celery, command: str) -> dict[str, Any]:
    """Ask all workers, and return at the first answer instead of waiting the whole time as `inspect` does."""
    # A question in the first moments after a worker's start can get lost, so there is a second one.
    for within in (0.5, _PATIENCE - 0.5) if client.is_outside() else _OURS_WITHIN:
        if replies := questions.ask(app, command, within):
            return {node: answer for reply in replies for node, answer in reply.items()}
    return {}


def _unreachable(subject: str, url: str, variable: str, error: Exception) -> Finding:
    words = str(error)
    if re.search(r"WRONGPASS|NOAUTH|invalid username-password|Authentication required|ACCESS_REFUSED|without any password", words):
        cause = "refuses the password"
    elif "refused" in words:
        cause = "refuses the connection: nothing listens there"
        if client.is_outside() and os.environ.get("CLASSROOM_CONTAINER") and re.search(r"[@/](localhost|127\.0\.0\.1)\b", url):
            names = "inside a container 127.0.0.1 is the container itself; the services have names, such as redis"
            return Finding(
                subject, f"the {subject} {_without_password(url)} {cause}: {names}", f"export {variable}=redis://:password@redis:6379/0"
            )
    elif re.search(r"Name or service|getaddrinfo|nodename|Temporary failure in name", words):
        cause = "has a host name that nobody knows"
        if re.search(r"[@/](broker|rabbitmq|redis)(:|/|$)", url) and client.is_outside():
            names = "that name is known inside containers only; from here it is 127.0.0.1 with the port that make docker-up prints"
            return Finding(subject, f"the {subject} {_without_password(url)} {cause}: {names}", f"export {variable}=... with that address")
    elif "timed out" in words.lower() or "timeout" in words.lower():
        cause = "does not answer"
    else:
        cause = f"cannot be used ({words.strip().splitlines()[0] if words.strip() else type(error).__name__})"
    remedy = f"export {variable}=... with the right address" if client.is_outside() else "python -m classroom down, then run this again"
    if cause.endswith("password"):
        remedy = f"export {variable}={_with_another_password(url)}"
    return Finding(subject, f"the {subject} {_without_password(url)} {cause}", remedy)


def _start_worker() -> str:
    return worker_command() if client.is_outside() else "python -m classroom up"


def _restart_worker() -> str:
    if client.is_outside():
        return f"stop that worker, then: {_start_worker()}"
    return "lab.worker.restart() in a notebook, or python -m classroom down"


def _read_its_log() -> str:
    if not client.is_outside():
        return "python -m classroom logs"
    return "make docker-logs" if workers.found() else "read the log of that worker"


def _without_password(url: str) -> str:
    """Mask who logs in, up to the last `@` of all: a password can have an `@`, and, where somebody forgot to quote it, a `/`."""
    return re.sub(r"//.*@", "//***@", url)


def _with_another_password(url: str) -> str:
    """Word the same address, with a place for the password."""
    parts = urlsplit(url)
    user = parts.username if parts.password is not None else ""  # what stands there alone can be a password that lacks its colon
    return parts._replace(netloc=f"{user}:the-right-password@{parts.netloc.rpartition('@')[2]}").geturl()


def _app() -> Celery:
    app: Celery = importlib.import_module("tutorial_tasks.celery_app").app
    return app

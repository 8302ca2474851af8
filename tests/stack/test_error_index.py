"""Every message of `docs/errors.md` is one that Celery really gives: each is provoked, and its words are looked for."""

import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from celery import Celery, chord, group
from celery.result import AsyncResult, GroupResult
from kombu.entity import Queue

from classroom import beside, lab, web
from classroom.evidence import wait_until
from classroom.stack.worker_process import RABBITMQ_NODE
from tests import first_use
from tests.stack import troubled
from tests.stack.processes import ROOT, another_worker
from tests.stack.rabbit import needs_rabbitmq
from tests.stack.troubled import add, app, total

INDEX = ROOT / "docs" / "errors.md"
ROWS = re.findall(r"^\| `(.+?)` \| (.+?) \| (.+?) \|$", INDEX.read_text(encoding="utf-8"), re.MULTILINE)


class Project:
    """What a learner would like to send."""


@contextmanager
def by_its_settings_alone() -> Iterator[None]:
    """Have no address in the environment, which goes before what an application says."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
            patch.delenv(name, raising=False)
        yield


def elsewhere(address: str, **settings: Any) -> AsyncResult:
    """Send to a broker that is not ours."""
    with by_its_settings_alone():
        site = Celery("site", broker=address, set_as_current=False)
        site.conf.update({"task_publish_retry": False, "broker_transport_options": {"max_retries": 0}} | settings)
        return site.send_task("anything", queue="nobody", expires=1)


def broker() -> str:
    return os.environ["CELERY_BROKER_URL"]


def in_a_cell(source: str) -> str:
    """Run a cell that defines a task, and return the warning."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        exec(source, {"__name__": "__main__", "app": app})
    return "\n".join(f"{warning.category.__name__}: {warning.message}" for warning in shown)


def celery_worker(*arguments: str) -> str:
    """Start a worker that cannot start, and return what it says, on one line."""
    command = [sys.executable, "-m", "celery", *arguments, "worker"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert said.returncode
    return " ".join(said.stderr.split())


def runs(result: AsyncResult) -> int:
    """Wait until the worker runs a task; return the process in which it does."""

    def process() -> int | None:
        active = (app.control.inspect(timeout=1, limit=1, destination=["troubled@lab"]).active() or {}).get("troubled@lab", [])
        return next((task["worker_pid"] for task in active if task["id"] == result.id), None)

    return int(wait_until(process, 10, "the worker runs the task"))


def answer(result: AsyncResult) -> Any:
    return result.get(timeout=20)


def used_by_two_threads_at_once() -> None:
    """Use a task that nobody has used, in two threads at the same moment."""
    new = Celery("site", set_as_current=False).task(name="new")(answer)
    first_use.at_once(lambda: new.name)


def forgotten() -> str:
    result = add.delay(1, 1)
    answer(result)
    result.forget()
    return f"get() is {result.get(timeout=1)} after forget()"


def ignored() -> str:
    result = add.apply_async((1, 1), ignore_result=True)
    answer(add.delay(1, 1))
    answer(add.delay(1, 1))  # by now both processes are past the first one
    return f"state {app.AsyncResult(result.id).state!r} of a task with ignore_result that is done"


def not_saved() -> str:
    result = group(add.s(1, 1))()
    result.get(timeout=20)
    return f"GroupResult.restore(result.id) is {GroupResult.restore(result.id, app=app)}"


def called_off() -> Any:
    result = add.apply_async((1, 1), countdown=600)
    inspect = app.control.inspect(timeout=1, limit=1, destination=["troubled@lab"])
    wait_until(lambda: any((inspect.scheduled() or {}).values()), 10, "the worker holds the task")
    result.revoke()
    return answer(result)


def terminated() -> Any:
    result = troubled.wait.delay(60)
    runs(result)
    app.control.terminate(result.id, destination=["troubled@lab"])
    return answer(app.AsyncResult(result.id))


def killed() -> Any:
    result = troubled.wait.delay(60)
    os.kill(runs(result), signal.SIGKILL)
    return answer(result)


def by_rpc() -> Any:
    with by_its_settings_alone():
        site = Celery("site", broker=app.conf.broker_url, backend="rpc://", set_as_current=False)
        site.backend.apply_chord(GroupResult("group", []), total.s())


def with_old_and_new_names() -> str:
    with by_its_settings_alone():
        site = Celery("site", set_as_current=False)
        site.config_from_object({"CELERY_RESULT_BACKEND": "redis://", "broker_url": "redis://"})
        return str(site.conf.result_backend)


def no_promises() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return answer(troubled.promise.delay())


ON_RABBITMQ = "PreconditionFailed: Queue.declare: (406) PRECONDITION_FAILED - inequivalent arg 'x-max-priority' for queue …"


SORTED_QUORUM = (
    "PreconditionFailed: Queue.declare: (406) PRECONDITION_FAILED - invalid arg 'x-max-priority' "
    "for queue … of queue type rabbit_quorum_queue"
)
OF_ANOTHER_KIND = "PreconditionFailed: Queue.declare: (406) PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue …"
OF_ONE_NAME = "ResourceLocked: Queue.declare: (405) RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '….celery.pidbox'"
QUORUM = {"x-queue-type": "quorum"}


def made_otherwise() -> None:
    """Ask RabbitMQ for a queue that it has, with other arguments."""
    beside.start()
    site, name = beside.plain_app(), f"made twice by {os.getpid()}"
    with site.connection_for_write() as connection:
        first = Queue(name, max_priority=9)(connection)
        first.declare()
        try:
            site.send_task("anything", queue=Queue(name))
        finally:
            first.delete()
            site.close()


def made_to_sort() -> None:
    """Ask RabbitMQ for a quorum queue that sorts."""
    beside.start()
    site = beside.plain_app()
    try:
        site.send_task("anything", queue=Queue(f"sorted by {os.getpid()}", max_priority=9, queue_arguments=QUORUM))
    finally:
        site.close()


def read_as_another_kind() -> None:
    """Start a worker that takes a quorum queue of RabbitMQ for a classic one."""
    address, site, name = beside.start().amqp, beside.plain_app(), f"kept by {os.getpid()}"
    with site.connection_for_write() as connection:
        made = Queue(name, queue_arguments=QUORUM)(connection)
        made.declare()
        try:
            lab.another_worker("-P", "solo", "-Q", name, broker=address).stop()
        finally:
            made.delete()
            site.close()


def asked_the_service(path: str, body: bytes | None = None) -> Any:
    """Ask a web service whose broker does not exist."""
    address = lab.api(CELERY_BROKER_URL="redis://127.0.0.1:1/0")
    try:
        return urlopen(Request(address + path, body), timeout=10)
    except HTTPError as error:
        error.close()
        return error
    finally:
        web.stop()


# Each line of the index, and what brings it about: an exception, or the words themselves.
PROVOKED: dict[str, Callable[[], Any]] = {
    "AttributeError: 'int' object has no attribute 'get'": lambda: add(1, 1).get(timeout=10),
    "AttributeError: 'int' object has no attribute 'app'": lambda: group([add(1, 1), add(2, 2)])(),
    "TypeError: unsupported operand type(s) for |: 'int' and '…'": lambda: add(1, 1) | add.s(2),
    "TypeError: unsupported operand type(s) for |: 'AsyncResult' and '…'": lambda: add.delay(1, 1) | add.s(2),
    "TypeError: add() missing 1 required positional argument: 'y'": lambda: add.delay(1),
    "TypeError: add() got an unexpected keyword argument 'countdown'": lambda: add.delay(1, 2, countdown=5),
    "add() argument after * must be an iterable, not int": lambda: add.apply_async(1),
    "add() argument after ** must be a mapping, not int": lambda: add.apply_async(1, 2),
    "EncodeError: Object of type set is not JSON serializable": lambda: add.delay({1}, 2),
    "EncodeError: Object of type Project is not JSON serializable": lambda: add.delay(Project(), 2),
    "EncodeError: Object of type AsyncResult is not JSON serializable": lambda: add.delay(add.delay(1, 1), 2),
    "OperationalError: Error 111 connecting to 127.0.0.1:…. Connection refused.": lambda: elsewhere("redis://127.0.0.1:1/0"),
    "OperationalError: Authentication required.": lambda: elsewhere(f"redis://{broker().rpartition('@')[2]}"),
    "OperationalError: invalid username-password pair or user is disabled.": lambda: elsewhere(broker().replace("://:", "://:not")),
    "RuntimeError: Retry limit exceeded while trying to reconnect to the Celery result store backend.": lambda: elsewhere(
        broker(), result_backend="redis://127.0.0.1:1/0", result_backend_transport_options={"retry_policy": {"max_retries": 1}}
    ),
    "KeyError: 'No such transport: radis. Did you mean redis?'": lambda: elsewhere("radis://127.0.0.1"),
    "ModuleNotFoundError: No module named 'radis'": lambda: elsewhere(broker(), result_backend="radis://127.0.0.1"),
    "AttributeError: 'PromiseProxy' object has no attribute '_Proxy__local'": used_by_two_threads_at_once,
    "QueueNotFound: \"Queue 'sloww' missing from task_queues\"": lambda: Celery(
        "site", task_create_missing_queues=False, set_as_current=False
    ).send_task("anything", queue="sloww"),
    "ImproperlyConfigured: Cannot mix new and old setting keys": with_old_and_new_names,
    ON_RABBITMQ: made_otherwise,
    SORTED_QUORUM: made_to_sort,
    "TimeoutError: The operation timed out.": lambda: add.apply_async((1, 1), queue="nobody", expires=1).get(timeout=0.1),
    "state 'PENDING' of an id that was never sent": lambda: f"state {app.AsyncResult('no-such-id').state!r} of an id that was never sent",
    "get() is None after forget()": forgotten,
    "state 'PENDING' of a task with ignore_result that is done": ignored,
    "GroupResult.restore(…) is None": not_saved,
    "AttributeError: 'NoneType' object has no attribute 'get'": lambda: GroupResult.restore("not-saved", app=app).get(timeout=1),
    "TypeError: dict.get() takes no keyword arguments": lambda: add.s(1, 1).get(timeout=1),
    "KeyError: 1": lambda: answer(troubled.echo.delay({1: "one"}))[1],
    "NotImplementedError: No result backend is configured.": lambda: elsewhere(broker()).get(timeout=1),
    "AttributeError: 'DisabledBackend' object has no attribute '_get_task_meta_for'": lambda: elsewhere(broker()).state,
    "TypeError: 'NoneType' object is not subscriptable": lambda: app.control.inspect(["celery@nobody"], timeout=0.1).active()[
        "celery@nobody"
    ],
    "RuntimeError: Never call result.get() within a task!": lambda: answer(troubled.ask_another.delay()),
    "NotRegistered: 'nobody.knows.me'": lambda: answer(app.send_task("nobody.knows.me")),
    "TypeError: add() takes 2 positional arguments but 3 were given": lambda: answer((add.s(1, 1) | add.s(2, 2)).delay()),
    "TaskRevokedError: revoked": called_off,
    "TaskRevokedError: expired": lambda: answer(add.apply_async((1, 1), expires=-1)),
    "TaskRevokedError: terminated": terminated,
    "TimeLimitExceeded: TimeLimitExceeded(1,)": lambda: answer(troubled.wait.apply_async((60,), time_limit=1)),
    "SoftTimeLimitExceeded: SoftTimeLimitExceeded()": lambda: answer(troubled.wait.apply_async((60,), soft_time_limit=1)),
    "WorkerLostError: Worker exited prematurely: signal 9 (SIGKILL) …": killed,
    "MaxRetriesExceededError: Can't retry …": lambda: answer(troubled.try_again.delay()),
    "ChordError: Dependency … raised ValueError('out of paper')": lambda: answer(
        app.AsyncResult(chord([add.s(1, 1), troubled.fail.s()])(total.s()).id)
    ),
    "ChordError: Callback error: TypeError(\"total() missing 1 required positional argument: 'numbers'\")": lambda: answer(
        app.AsyncResult(chord([add.s(1, 1)])(total.si()).id)
    ),
    'NotImplementedError: The "rpc" result backend does not support chords!': by_rpc,
    "EncodeError: TypeError('Object of type set is not JSON serializable')": lambda: answer(troubled.give_a_set.delay()),
    "EncodeError: TypeError('Object of type coroutine is not JSON serializable')": no_promises,
    "UnpickleableExceptionWrapper: TwoReasons('no ink, no paper')": lambda: answer(troubled.raise_two.delay()),
    "HTTP Error 503: SERVICE UNAVAILABLE": lambda: asked_the_service("/health"),
    "HTTP Error 404: NOT FOUND": lambda: asked_the_service("/tasks/no-such-id"),
    "HTTP Error 415: UNSUPPORTED MEDIA TYPE": lambda: asked_the_service("/grouptasks", b"{}"),
    "Received unregistered task of type 'nobody.knows.me'.": lambda: app.send_task("nobody.knows.me"),
    "Refusing to deserialize untrusted content of type pickle": lambda: add.apply_async((1, 1), serializer="pickle"),
    "Unable to load celery application. The module nosuch was not found.": lambda: celery_worker("-A", "nosuch"),
    "Unable to load celery application. Module '…' has no attribute 'celery'": lambda: celery_worker("-A", "tests.stack.processes"),
    OF_ANOTHER_KIND: read_as_another_kind,
    OF_ONE_NAME: lambda: lab.another_worker("-P", "solo", "-n", RABBITMQ_NODE, "-Q", "nobody", broker=beside.start().amqp).stop(),
    "DuplicateTaskNameWarning: Task name '…' is already registered to a different callable.": lambda: in_a_cell(
        f"@app.task(name={add.name!r}, shared=False)\ndef add(x, y): return 0\nadd.name"
    ),
}
SAID_BY_RABBITMQ = (ON_RABBITMQ, SORTED_QUORUM, OF_ANOTHER_KIND, OF_ONE_NAME)
SAID_BY_THE_WORKER = [words for words in PROVOKED if words.startswith(("Received", "Refusing"))]


@pytest.fixture(scope="module")
def log(fresh_stack: Any) -> Iterator[Path]:
    """What the worker with the troubled tasks says; the broker is one that forgets all this afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELERY_RESULT_BACKEND", broker())
        app.conf.result_backend = broker()
        with another_worker("tests.stack.troubled", "-c", "2", "-n", "troubled@lab", "-Q", troubled.QUEUE) as said:
            yield said


def literal(words: str) -> str:
    return words.replace("\\|", "|")


def test_every_line_of_the_index_is_provoked() -> None:
    assert [literal(words) for words, _, _ in ROWS] == list(PROVOKED)
    assert len(ROWS) >= 25


@pytest.mark.long
@pytest.mark.parametrize("words", [pytest.param(words, marks=needs_rabbitmq) if words in SAID_BY_RABBITMQ else words for words in PROVOKED])
def test_celery_says_so(words: str, log: Path) -> None:
    pattern = ".*".join(re.escape(part) for part in words.split("…"))
    try:
        said = str(PROVOKED[words]())
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    if words in SAID_BY_THE_WORKER:
        wait_until(lambda: words in log.read_text(), 10, f"the worker says {words!r}")
    else:
        assert re.search(pattern, " ".join(said.split())), said

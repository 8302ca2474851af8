"""Whatever is wrong: one message within five seconds, with the cause and the next thing to type."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from classroom.stack.client import current
from tests.stack.processes import CONNECT, PATIENCE, ROOT, Checkout, copy_of_the_checkout, eventually

WITHIN = 5.0  # seconds, the promise
IMPORTS = 6  # times what the imports alone take: more than the promise only where a machine is too busy to keep it
NOWHERE = "redis://:x@127.0.0.1:1/0"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return Checkout(ROOT, tmp_path_factory.mktemp("bad-input"))


@pytest.fixture
def url(app: object) -> str:
    """The address of a healthy broker: that of this test run's own stack."""
    stack = current()
    assert stack
    return stack.url


def one_message(run: subprocess.CompletedProcess[str], in_time: bool, problem: str, remedy: str) -> None:
    """Hold a failed run against the promise."""
    assert run.returncode == 1, run.stdout + run.stderr
    told = run.stdout + run.stderr
    assert problem in told, told
    assert f"next: {remedy}" in told, told
    assert in_time


def timed(checkout: Checkout, *argv: str, **extra: str) -> tuple[subprocess.CompletedProcess[str], bool]:
    """Run to the end, and again for up to a minute while it takes too long: the promise is the program's, not a busy machine's."""
    deadline = time.monotonic() + 60
    while True:
        begun = time.monotonic()
        run = checkout.run(*argv, **extra)
        if (in_time := was_in_time(time.monotonic() - begun)) or time.monotonic() > deadline:
            return run, in_time


def told_in_time(checkout: Checkout, code: str) -> list[list[str]]:
    """Run code that tells what happened, and at the end of each line whether in time; again for up to a minute while something was not."""
    deadline = time.monotonic() + 60
    while True:
        run = checkout.run("-c", code)
        told = [line.split() for line in run.stdout.splitlines() if line.endswith((" True", " False"))]
        assert told, run.stdout + run.stderr
        if all(in_time == "True" for *_, in_time in told) or time.monotonic() > deadline:
            return told


def was_in_time(took: float) -> bool:
    """Tell whether the promise was kept, as far as this machine can keep one just now."""
    if took < WITHIN:
        return True
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", "from classroom import lab"], cwd=ROOT, timeout=120, check=True)
    return took < IMPORTS * (time.monotonic() - begun)


@pytest.mark.parametrize(
    "argv", [("-c", CONNECT), ("-m", "classroom", "doctor"), ("client.py", "--step", "01")], ids=["connect", "doctor", "client"]
)
@pytest.mark.parametrize(
    ("broker", "backend", "problem", "remedy"),
    [
        pytest.param(
            NOWHERE, NOWHERE, "the broker redis://***@127.0.0.1:1/0 refuses the connection", "export CELERY_BROKER_URL=", id="refused"
        ),
        pytest.param(
            "{url}", "", "CELERY_BROKER_URL is set, CELERY_RESULT_BACKEND is not", "export CELERY_RESULT_BACKEND=", id="no backend named"
        ),
        *(
            pytest.param(broker, backend, what, remedy, id=name, marks=pytest.mark.long)
            for broker, backend, what, remedy, name in [
                (
                    "redis://no.such.host.invalid:6379/0",
                    NOWHERE,
                    "has a host name that nobody knows",
                    "export CELERY_BROKER_URL=",
                    "no host",
                ),
                (
                    "{url}",
                    NOWHERE,
                    "the backend redis://***@127.0.0.1:1/0 refuses the connection",
                    "export CELERY_RESULT_BACKEND=",
                    "no backend",
                ),
                ("{url}", "{wrong}", "refuses the password", "export CELERY_RESULT_BACKEND=", "backend password"),
                (
                    "redis://:pa/ss@127.0.0.1:6379/0",
                    "{url}",
                    "the address in CELERY_BROKER_URL cannot be read\n",
                    "write a `/`, `@` or `:` in the password as %2F",
                    "broker form",
                ),
                ("{wrong}", "{url}", "refuses the password", "export CELERY_BROKER_URL=", "broker password"),
                ("", "{url}", "CELERY_RESULT_BACKEND is set, CELERY_BROKER_URL is not", "export CELERY_BROKER_URL=", "no broker named"),
                (
                    "{url}",
                    "redis://127.0.0.1:abc/0",
                    "the address in CELERY_RESULT_BACKEND cannot be read\n",
                    "write a `/`, `@` or `:` in the password as %2F",
                    "backend form",
                ),
                ("carrier-pigeon://x", "{url}", "cannot be used", "export CELERY_BROKER_URL=", "no transport"),
            ]
        ),
    ],
)
def test_somebody_else_s_stack_is_wrong(
    here: Checkout, url: str, argv: tuple[str, ...], broker: str, backend: str, problem: str, remedy: str
) -> None:
    wrong = "redis://:wrong@" + url.split("@")[1]
    fill = {"{url}": url, "{wrong}": wrong}
    environment = {"CELERY_BROKER_URL": fill.get(broker, broker), "CELERY_RESULT_BACKEND": fill.get(backend, backend)}
    one_message(*timed(here, *argv, **environment), problem, remedy)


def test_no_worker_answers(here: Checkout, url: str) -> None:
    outside = {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url, "CELERY_KEY_PREFIX": "nobody:"}
    one_message(*timed(here, "-c", CONNECT, **outside), "no worker answers", "celery -A tutorial_tasks.celery_app worker")


@pytest.fixture
def old_worker(url: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A worker with somebody's older code, under a prefix of its own on the same server."""
    checkout = copy_of_the_checkout(tmp_path / "old")
    tasks = checkout.root / "tutorial_tasks" / "arithmetic.py"
    tasks.write_text(tasks.read_text().replace("def multiply", "def times"))
    outside = {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url, "CELERY_KEY_PREFIX": "old:"}
    log = tmp_path / "worker.log"
    with log.open("w") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "tutorial_tasks.celery_app", "worker", "-c", "1", "-n", "old@lab", "-l", "INFO"],
            cwd=checkout.root,
            env=checkout.environment(**outside),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        eventually(lambda: "ready." in log.read_text(), "the old worker is ready")
        yield outside
    finally:
        worker.terminate()
        worker.wait(20)


@pytest.mark.long
def test_a_worker_without_the_learner_s_task(here: Checkout, old_worker: dict[str, str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:  # it does not wait for a worker that a busy machine holds up, and says so
        run, in_time = timed(here, "-c", CONNECT, **old_worker)
        if "no worker answers" not in run.stderr or time.monotonic() > deadline:
            break
    one_message(run, in_time, "old@lab does not know tutorial_tasks.arithmetic.multiply", "stop that worker")


@pytest.mark.long
def test_an_own_stack_under_somebody_else_s_address_connects(here: Checkout, url: str) -> None:
    run = here.run("-c", CONNECT, CELERY_BROKER_URL=url, CELERY_RESULT_BACKEND=url)
    assert run.returncode == 0, run.stderr
    assert "(from CELERY_BROKER_URL), the worker knows all" in run.stdout
    run = here.run("-c", CONNECT + "; lab.worker.stop()", CELERY_BROKER_URL=url, CELERY_RESULT_BACKEND=url)
    assert "belong to somebody else" in run.stderr


@pytest.mark.parametrize("argv", [("-c", CONNECT), ("-m", "classroom", "up"), ("-m", "classroom", "lab"), ("-m", "classroom", "doctor")])
def test_a_folder_that_cannot_be_written(here: Checkout, argv: tuple[str, ...]) -> None:
    one_message(*timed(here, *argv, CLASSROOM_STATE="/proc/classroom"), "cannot write to /proc/classroom", "export CLASSROOM_STATE=")


def test_a_server_that_is_none(tmp_path: Path) -> None:
    checkout = Checkout(ROOT, tmp_path)
    one_message(
        *timed(checkout, "-m", "classroom", "up", CLASSROOM_SERVER="/bin/true"), "not a Redis or Valkey server", "unset CLASSROOM_SERVER"
    )


def test_delay_with_the_broker_gone_does_not_block() -> None:
    code = "from tutorial_tasks.arithmetic import add\nadd.delay(2, 3)"
    run, in_time = timed(Checkout(ROOT, Path("/nonexistent")), "-c", code, CELERY_BROKER_URL=NOWHERE, CELERY_RESULT_BACKEND=NOWHERE)
    assert run.returncode == 1
    assert in_time


BROKER_GONE_AFTER_IT_WORKED = """
import time
from classroom import lab
from classroom.stack import client
lab.connect()
from tutorial_tasks.arithmetic import add
add.delay(2, 3).get(timeout=10)
client.down()
for _ in range(2):
    begun = time.monotonic()
    try:
        add.delay(2, 3)
    except Exception as error:
        print(type(error).__name__, time.monotonic() - begun < 5)
"""


@pytest.mark.long
def test_delay_with_a_broker_that_has_gone_does_not_block_either(tmp_path: Path) -> None:
    told = told_in_time(Checkout(ROOT, tmp_path), BROKER_GONE_AFTER_IT_WORKED)
    assert [in_time for _, in_time in told] == ["True", "True"]


BROKER_GONE = """
import time
from classroom import lab
from classroom.stack import client
lab.connect()
from tutorial_tasks.lifecycle import wait_at_gate
result = wait_at_gate.delay("never", 60)
client.down()
begun = time.monotonic()
try:
    result.get(timeout=3)
except Exception as error:
    print(type(error).__name__, time.monotonic() - begun < 8)
"""

WORKER_GONE = """
import time
from classroom import lab
lab.connect()
from tutorial_tasks.lifecycle import wait_at_gate
result = wait_at_gate.delay("never", 60)
lab.worker.kill()
begun = time.monotonic()
try:
    result.get(timeout=2)
except Exception as error:
    print(type(error).__name__, time.monotonic() - begun < 5)
"""


@pytest.mark.parametrize(
    ("code", "errors"),
    # Celery notices a lost backend in one of two places: when it reads the socket, or when it connects anew.
    [(BROKER_GONE, {"ConnectionError", "RuntimeError"}), (WORKER_GONE, {"TimeoutError"})],
    ids=["broker", "worker"],
)
def test_a_get_ends_when_the_other_side_is_lost(tmp_path: Path, code: str, errors: set[str]) -> None:
    [[error, in_time]] = told_in_time(Checkout(ROOT, tmp_path), code)
    assert error in errors
    assert in_time == "True"

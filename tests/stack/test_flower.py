"""Flower on this checkout's stack: who gets in, what it lets them do, and when it ends."""

import base64
import os
import signal
import socket
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from classroom.errors import typed
from classroom.stack.ports import free_port
from tests.stack.processes import PATIENCE, ROOT, Checkout, all_gone, eventually

# A parent that starts Flower as a terminal does, and says who it is.
PARENT = (
    "import subprocess, sys; print(subprocess.Popen([sys.executable, '-m', 'classroom', 'flower'] + sys.argv[1:]).pid, flush=True); input()"
)


@dataclass(frozen=True)
class Page:
    """Flower, as a browser has it."""

    process: subprocess.Popen[str]
    port: int
    password: str

    def ask(self, path: str, *, password: str | None = None, post: bool = False) -> tuple[int, str]:
        """Ask for a page with Flower's own password, or another; return the status and what it says."""
        user = base64.b64encode(f"learner:{self.password if password is None else password}".encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data=b"" if post else None, method="POST" if post else "GET"
        )
        if password != "":
            request.add_header("Authorization", f"Basic {user}")
        try:
            with urllib.request.urlopen(request, timeout=10) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def serves(self) -> bool:
        try:
            return self.ask("/healthcheck")[0] == 200
        except OSError:
            return False

    def listens_at(self) -> set[str]:
        return {c.laddr.ip for c in psutil.Process(self.process.pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN}


@contextmanager
def flower(checkout: Checkout, *options: str, **environment: str) -> Iterator[Page]:
    """Run Flower as a person types it, and read what it says to them."""
    port = free_port()
    process = checkout.start("-m", "classroom", "flower", "--port", str(port), *options, **environment)
    try:
        assert process.stdout
        said = process.stdout.readline()
        assert f"http://127.0.0.1:{port} · user learner, password " in said, said
        page = Page(process, port, said.rsplit(" ", 1)[1].strip())
        eventually(lambda: page.serves() or process.poll() is not None, "Flower serves a page")
        assert process.poll() is None, process.stdout.read()
        yield page
    finally:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    here = Checkout(ROOT, tmp_path_factory.mktemp("flower") / "state")
    holder = here.hold()  # for the moment between the last Flower's end and ours
    yield here
    processes = here.processes()
    here.command("down")
    eventually(lambda: all_gone(processes), "the test's stack is gone")
    holder.communicate("\n", timeout=PATIENCE)


@pytest.fixture(scope="module")
def page(checkout: Checkout) -> Iterator[Page]:
    # What somebody has in their shell must not open what ours keeps shut.
    theirs = {"FLOWER_UNAUTHENTICATED_API": "true", "FLOWER_READ_ONLY": "false", "FLOWER_ADDRESS": "0.0.0.0", "FLOWER_BASIC_AUTH": ""}
    with flower(checkout, **theirs) as page:
        yield page


@pytest.mark.parametrize("path", ["/", "/tasks", "/api/workers", "/api/tasks"])
def test_nobody_gets_in_without_the_password(page: Page, path: str) -> None:
    assert page.ask(path, password="")[0] == 401
    assert page.ask(path, password="guessed")[0] == 401
    assert page.ask(path)[0] == 200


def test_it_listens_on_this_machine_only(page: Page) -> None:
    assert page.listens_at() == {"127.0.0.1"}


def test_the_password_is_its_owner_s_and_in_no_list_of_processes(page: Page, checkout: Checkout) -> None:
    kept = checkout.state / "flower.password"
    assert kept.read_text() == page.password
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert page.password not in " ".join(psutil.Process(page.process.pid).cmdline())


@pytest.mark.parametrize("path", ["/api/worker/shutdown/celery@lab", "/api/worker/pool/grow/celery@lab?n=1", "/api/task/revoke/some-id"])
def test_it_only_shows(page: Page, path: str) -> None:
    assert page.ask(path, post=True) == (403, "Read only mode is enabled")
    assert page.ask(path, password="", post=True)[0] == 401


@pytest.mark.long
def test_with_control_its_buttons_work(checkout: Checkout) -> None:
    with flower(checkout, "--control") as page:
        eventually(lambda: "celery@lab" in page.ask("/api/workers?refresh=1")[1], "Flower has asked the worker")
        assert page.ask("/api/worker/pool/grow/celery@lab?n=1", password="", post=True)[0] == 401

        def grown() -> str:
            status, said = page.ask("/api/worker/pool/grow/celery@lab?n=1", post=True)
            assert "Read only" not in said
            return said if status == 200 else ""  # it waits for the worker for a second, and a busy machine may hold that one up

        assert "celery@lab" in eventually(grown, "the worker answers")


def test_a_port_that_is_taken_is_named(checkout: Checkout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = checkout.command("flower", "--port", str(port))
    assert said.returncode == 1
    assert f"port {port} cannot be used: Address already in use" in said.stderr
    assert f"next: {typed('python -m classroom flower')}" in said.stderr


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGKILL])
def test_it_ends_with_its_parent_and_the_stack_with_it(tmp_path: Path, number: signal.Signals) -> None:
    checkout = Checkout(ROOT, tmp_path / "state")
    port = free_port()
    parent = checkout.start("-c", PARENT, "--port", str(port))
    assert parent.stdout
    pid, password = 0, ""
    while not (pid and password):  # two processes say it, in any order
        line = parent.stdout.readline()
        assert line, "the parent has ended"
        pid = int(line) if line.strip().isdigit() else pid
        password = line.split()[-1] if "password" in line else password
    page = Page(parent, port, password)
    eventually(page.serves, "Flower serves a page")
    processes = [psutil.Process(pid), *checkout.processes()]
    assert not any(process.status() == psutil.STATUS_ZOMBIE for process in processes)
    os.kill(parent.pid, number)
    parent.communicate(timeout=20)
    eventually(lambda: all_gone(processes), "Flower is gone, and the stack that only it used")

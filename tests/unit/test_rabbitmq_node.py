"""Find a RabbitMQ and start it, whatever stands in the way. The programs here are stand-ins: tests/stack has the real one."""

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from classroom.errors import ClassroomError, typed
from classroom.evidence import wait_until
from classroom.stack import rabbitmq
from classroom.stack.place import Place
from classroom.stack.processes import spawn
from classroom.stack.rabbitmq import Ports, RabbitMQ, find_rabbitmq
from classroom.stack.supervisor import Supervisor, wanted_broker


def node(folder: Path) -> RabbitMQ:
    return RabbitMQ(folder / "rabbitmq", "secret", folder / "log", lambda argv, log, env: spawn(argv, log, env=env))


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Put a program in place of RabbitMQ that says something and ends, and one in place of Erlang's name server."""

    def pretend(text: str) -> None:
        programs = tmp_path / "sbin"
        programs.mkdir()
        for name, lines in (("rabbitmq-server", f"echo started >> {tmp_path}/starts\necho '{text}'\nexit 1"), ("epmd", "exec sleep 60")):
            (programs / name).write_text(f"#!/bin/sh\n{lines}\n")
            (programs / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(programs), prepend=":")
        monkeypatch.setattr(rabbitmq, "_DEBIAN", str(tmp_path))

    return pretend


def test_none_there_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(rabbitmq, "_DEBIAN", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClassroomError, match=r"there is no rabbitmq-server to start\n  next: install it .*apt-get install rabbitmq-server"):
        find_rabbitmq()


@pytest.mark.parametrize(
    ("text", "words", "starts"),
    [
        ("** could not think **", r"RabbitMQ did not start: \*\* could not think \*\*", 1),
        ("Error: unable to connect to epmd on localhost: nxdomain", "does not know the name `localhost`", 1),
        ("Failed to start Ranch listener: eaddrinuse", "its ports are taken again and again", 2),
        ("prelaunch,{dist_port_already_used,33005,not_erlang,localhost}", "its ports are taken again and again", 2),
        ("write failed: enospc", "the disk is full", 1),
    ],
)
def test_a_node_that_ends_is_told_by_what_it_said(says: Callable[[str], None], tmp_path: Path, text: str, words: str, starts: int) -> None:
    says(text)
    wanted = node(tmp_path)
    with pytest.raises(ClassroomError, match=words) as error:
        wanted.start()
    assert error.value.remedy == typed("python -m classroom logs rabbitmq")
    assert (tmp_path / "starts").read_text().count("started") == starts
    assert wanted.pids == [], "the name server has to be gone too"


def test_nobody_waits_for_a_node_that_is_not_wanted_any_more(says: Callable[[str], None], tmp_path: Path) -> None:
    says("")
    (tmp_path / "sbin" / "rabbitmq-server").write_text("#!/bin/sh\nexec sleep 60\n")
    wanted = node(tmp_path)
    with pytest.raises(ClassroomError):
        wanted.start(giving_up=lambda: True)
    assert wanted.pids == []


def test_one_whose_restart_failed_is_tried_again_until_it_is_too_often(
    says: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    says("")
    (tmp_path / "sbin" / "rabbitmq-server").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(RabbitMQ, "_answers", lambda self: "RabbitMQ 4")
    monkeypatch.setattr(Supervisor, "describe", lambda self, **changes: None)
    plugins = tmp_path / "rabbitmq" / "enabled_plugins"
    supervisor = Supervisor(Place(tmp_path), grace=1)
    supervisor.rabbitmq = wanted = node(tmp_path)
    with contextlib.closing(supervisor.control):
        plugins.mkdir(parents=True)
        with pytest.raises(ClassroomError):
            wanted.start()
        assert not wanted.has_died(), "who asked for it has heard why it never ran"
        plugins.rmdir()
        wanted.start()
        for comes_back in (True, False):
            plugins.unlink()
            plugins.mkdir()
            os.killpg(wanted.pids[0], signal.SIGKILL)
            wait_until(wanted.has_died, 10, "the node is dead")
            supervisor.revive()
            assert wanted.pids == []
            if comes_back:
                plugins.rmdir()
                supervisor.revive()
                assert len(wanted.pids) == 2
                assert not wanted.has_died()
        for _ in range(3):
            assert not supervisor.stopping
            supervisor.revive()
        assert supervisor.stopping, "it keeps dying"
    wanted.end()
    assert not wanted.has_died(), "it was told to end"


def test_ports_that_are_taken_are_replaced_and_the_others_kept() -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        taken, free = somebody.getsockname()[1], probe.getsockname()[1]
        probe.close()
        found = rabbitmq._free_ports(Ports(free, taken, 0, 0))
    assert found.amqp == free
    assert len({taken, *vars(found).values()}) == 5


@pytest.mark.parametrize(("value", "broker"), [("", "redis"), ("redis", "redis"), ("rabbitmq", "rabbitmq")])
def test_the_environment_chooses_the_broker(monkeypatch: pytest.MonkeyPatch, value: str, broker: str) -> None:
    monkeypatch.setenv("CLASSROOM_BROKER", value)
    assert wanted_broker() == broker


def test_a_broker_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASSROOM_BROKER", "kafka")
    with pytest.raises(ClassroomError, match="CLASSROOM_BROKER=kafka is no broker that this course knows"):
        wanted_broker()

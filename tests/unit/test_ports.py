"""Ports for servers: free ones, and none that an outgoing connection could take."""

import socket
from pathlib import Path

import pytest

from classroom.errors import ClassroomError
from classroom.stack.ports import free_port, take


def test_the_wanted_port_is_taken_where_it_is_free() -> None:
    wanted = free_port()
    assert free_port(wanted) == wanted


def test_another_one_is_found_where_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            take(taken)
        assert free_port(taken) != taken


def test_no_outgoing_connection_of_this_system_gets_one_of_ours() -> None:
    told = Path("/proc/sys/net/ipv4/ip_local_port_range")
    lowest = int(told.read_text().split()[0]) if told.exists() else 49152
    if lowest < 32768:
        pytest.skip(f"this system gives its connections ports from {lowest} up, which is not what it comes with")
    assert free_port() < lowest


def test_where_none_is_free_the_learner_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        monkeypatch.setattr("random.sample", lambda *_: [somebody.getsockname()[1]])
        with pytest.raises(ClassroomError, match="no TCP port is free"):
            free_port()

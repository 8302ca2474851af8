"""How the service is started, and that nothing of it is left behind."""

import json
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.stack.processes import ROOT, Checkout, all_gone, eventually, is_gone

KERNEL = """
from classroom import lab
lab.connect()
print(lab.api(BATCH_TASK_SECONDS="0-0"), flush=True)
input()
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(ROOT, tmp_path)


def line(process: subprocess.Popen[str], wanted: str) -> str:
    assert process.stdout
    for said in process.stdout:
        if wanted in said:
            return said
    raise AssertionError(f"it ended with {process.wait()}, and never said {wanted!r}")


def health(address: str) -> object:
    with urllib.request.urlopen(f"{address}/health", timeout=10) as answer:
        return json.load(answer)


def test_classroom_api_starts_what_it_needs_and_all_ends_with_it(checkout: Checkout) -> None:
    api = checkout.start("-m", "classroom", "api", "--port", "0")
    try:
        address = line(api, "http://").split()[0]
        assert health(address) == {"status": "ok"}
        [listening] = [connection for connection in psutil.Process(api.pid).net_connections("tcp") if connection.status == "LISTEN"]
        assert listening.laddr.ip == "127.0.0.1"
        stack = checkout.processes()
    finally:
        api.kill()
        api.communicate()
    eventually(lambda: all_gone(stack), "the stack is gone")


@pytest.mark.long
@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6")
def test_it_listens_on_ipv6_and_says_where_as_a_url_does(checkout: Checkout) -> None:
    api = checkout.start("-m", "batch_api", "--host", "::1", "--port", "0")
    try:
        address = line(api, "http://").split()[0]
        assert address.startswith("http://[::1]:")
        with urllib.request.urlopen(f"{address}/openapi.json", timeout=10) as answer:
            assert answer.status == 200
    finally:
        api.terminate()
        api.communicate(timeout=20)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_it_is_told_to_without_a_complaint(checkout: Checkout, how: signal.Signals) -> None:
    api = checkout.start("-m", "batch_api", "--port", "0")
    line(api, "http://")
    api.send_signal(how)
    said, _ = api.communicate(timeout=20)
    assert (api.returncode, said) == (0, "")


def test_the_service_of_a_notebook_dies_with_its_kernel(checkout: Checkout) -> None:
    kernel = checkout.start("-c", KERNEL)
    address = line(kernel, "http://").strip()
    assert health(address) == {"status": "ok"}
    [service] = [child for child in psutil.Process(kernel.pid).children() if "batch_api" in child.cmdline()]
    stack = checkout.processes()
    kernel.kill()
    kernel.communicate()
    eventually(lambda: is_gone(service), "the service is gone")
    eventually(lambda: all_gone(stack), "the stack is gone")


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"BATCH_TASK_SECONDS": "soon"}, "BATCH_TASK_SECONDS: 'soon'"),
        ({"BATCH_REQUESTS": "many"}, "BATCH_REQUESTS: 'many'"),
        ({"CELERY_RESULT_BACKEND": "rpc://"}, "the result backend has to be a Redis, not rpc"),
    ],
)
def test_a_setting_that_makes_no_sense_is_one_line(checkout: Checkout, environment: dict[str, str], says: str) -> None:
    run = checkout.run("-m", "batch_api", "--port", "0", **environment)
    assert run.returncode == 1
    assert run.stderr.startswith(f"Error: {says}"), run.stderr
    assert run.stderr.count("\n") == 1


@pytest.mark.long
def test_a_port_that_is_taken_is_one_line(checkout: Checkout) -> None:
    api = checkout.start("-m", "batch_api", "--port", "0")
    try:
        port = line(api, "http://").split()[0].rpartition(":")[2]
        run = checkout.run("-m", "batch_api", "--port", port)
        assert (run.returncode, run.stderr) == (1, f"Error: cannot listen on 127.0.0.1:{port}: Address already in use\n")
    finally:
        api.terminate()
        api.communicate(timeout=20)

"""`make docker-up` on machines where something is wrong: one message with the next command each. Docker itself is played by a script."""

import errno
import json
import os
import re
import runpy
import shutil
import socket
import stat
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from classroom.stack import ports
from classroom.stack.ports import free_port
from tests.stack.processes import ROOT

HEALTHY = {
    "info": '{"memory": "16000000000", "machine": "x86_64"}',
    "compose version": "2.26.1",
    "image inspect": "amd64",
    "ps": "",
    "compose build": "",
    "compose up": "",
}
PORTS = ("REDIS", "FLOWER", "JUPYTER", "API", "RABBITMQ", "MANAGEMENT")


class Machine:
    """A machine with its own checkout of `docker/`, and with a `docker` that says what a test wants."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        self.programs = folder / "programs"
        self.programs.mkdir()
        (self.checkout / "docker").mkdir(parents=True)
        shutil.copy(ROOT / "docker" / "compose.py", self.checkout / "docker")
        self.ports = {f"CLASSROOM_{name}_PORT": str(free_port()) for name in PORTS}

    def docker(self, program: str = "docker", **says: str | tuple[str, int]) -> None:
        """Install a program that answers to a command's first words; an answer with a number fails with it."""
        answers = HEALTHY | {name if " " in name else name.replace("_", " "): answer for name, answer in says.items()}
        script = f"""\
            #!{sys.executable}
            import sys
            answers = {answers!r}
            for name in sorted(answers, key=len, reverse=True):
                if " ".join(sys.argv[1:]).startswith(name):
                    text, code = answers[name] if isinstance(answers[name], tuple) else (answers[name], 0)
                    print(text, file=sys.stderr if code else sys.stdout)
                    sys.exit(code)
            sys.exit("this docker knows nothing of " + repr(sys.argv[1:]))
            """
        path = self.programs / program
        path.write_text(textwrap.dedent(script))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(self, *argv: str, **extra: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CLASSROOM_", "COMPOSE_", "TUTORIAL_"))}
        environment = kept | {"PATH": f"{self.programs}"} | self.ports | extra
        command = [sys.executable, "docker/compose.py", *argv]
        return subprocess.run(command, cwd=self.checkout, env=environment, capture_output=True, text=True, timeout=120, check=False)

    @property
    def settings(self) -> dict[str, str]:
        """What is in `docker/.env`."""
        lines = (self.checkout / "docker" / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if not line.startswith("#"))

    def refuses(self, problem: str, remedy: str, **extra: str) -> None:
        done = self.run("up", **extra)
        assert done.returncode == 1, done.stdout + done.stderr
        assert problem in done.stderr, done.stderr
        assert f"next: {remedy}" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_docker_is_missing(machine: Machine) -> None:
    machine.refuses("Docker is not installed", "install Docker")


def test_the_engine_does_not_run(machine: Machine) -> None:
    machine.docker(info=("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?", 1))
    machine.refuses("the Docker engine does not run", "sudo systemctl start docker")


def test_an_engine_that_does_not_run_says_so_with_the_exit_code_0_too(machine: Machine) -> None:
    machine.docker(info='{"memory": "0", "machine": ""}')
    machine.refuses("the Docker engine does not run", "sudo systemctl start docker")


def test_the_socket_is_not_for_this_user(machine: Machine) -> None:
    machine.docker(info=("permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock", 1))
    machine.refuses("Docker does not let this user in", "sudo usermod -aG docker $USER")


def test_not_enough_memory(machine: Machine) -> None:
    machine.docker(info='{"memory": "1000000000", "machine": "x86_64"}')
    machine.refuses("Docker has 1.0 GB of memory, the classroom needs 1.5 GB", "give it more")


def test_python_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    compose = runpy.run_path(str(ROOT / "docker" / "compose.py"))
    monkeypatch.setattr(sys, "version_info", (3, 8, 18))
    with pytest.raises(SystemExit, match=r"needs Python 3.9 or newer\n  next: "):
        compose["main"]()


def test_compose_is_missing(machine: Machine) -> None:
    machine.docker(compose=("docker: 'compose' is not a docker command.", 1), compose_version=("no such command", 1))
    machine.refuses("Docker Compose is missing", "sudo apt install docker-compose")


def test_compose_is_too_old(machine: Machine) -> None:
    machine.docker(compose_version=("no such command", 1))
    machine.docker("docker-compose", version="1.25.0")
    machine.refuses("Docker Compose 1.25.0 is too old, it takes 1.28 or newer", "sudo apt install docker-compose")


def test_the_old_program_will_do(machine: Machine) -> None:
    machine.docker(compose_version=("no such command", 1))
    machine.docker("docker-compose", version="1.29.2", build=("the build was reached", 1))
    machine.refuses("the images cannot be built", "make docker-logs")


def test_a_port_is_taken(machine: Machine) -> None:
    machine.docker()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        machine.refuses(f"port {port} is taken (CLASSROOM_FLOWER_PORT)", "CLASSROOM_FLOWER_PORT=", CLASSROOM_FLOWER_PORT=port)


@pytest.mark.parametrize("port", ["http", "0", "-1", "65536", "1e3", "٣٣٣٣"])
def test_a_port_is_none(machine: Machine, port: str) -> None:
    machine.docker()
    problem = f"CLASSROOM_FLOWER_PORT={port} is no port (1 to 65535)"
    machine.refuses(problem, "CLASSROOM_FLOWER_PORT=", CLASSROOM_FLOWER_PORT=port, PYTHONUTF8="1")


def test_a_port_that_is_advised_is_not_one_of_outgoing_connections() -> None:
    compose = runpy.run_path(str(ROOT / "docker" / "compose.py"))
    assert compose["FOR_SERVERS"] == ports._OURS
    assert {compose["free_port"]() in ports._OURS for _ in range(20)} == {True}


def test_an_image_for_another_processor(machine: Machine) -> None:
    machine.docker(image_inspect="arm64")
    machine.refuses("the image python:3.12-slim is for arm64, this engine runs amd64", "docker image rm python:3.12-slim")


@pytest.mark.parametrize(
    ("said", "problem", "remedy"),
    [
        ("dial tcp: lookup registry on 10.0.0.1:53: no such host", "cannot be fetched", "connect to the network"),
        ("write /var/lib/docker/x: no space left on device", "the disk is full", "docker system prune"),
        ("exec /bin/sh: exec format error", "an image is for another processor", "docker image rm"),
        ("The command returned a non-zero code: 137 (signal: killed)", "there is not enough memory", "end other programs"),
    ],
)
def test_the_build_fails(machine: Machine, said: str, problem: str, remedy: str) -> None:
    machine.docker(compose_build=(said, 1))
    machine.refuses(f"the images cannot be built: {'an image or a package ' * ('fetched' in problem)}{problem}", remedy)


def sick(service: str, **more: bool) -> str:
    """What `docker inspect` says of a container that does not get well."""
    state = {"Status": "restarting", "OOMKilled": False, "Health": {"Status": "unhealthy"}} | more
    labels = {"com.docker.compose.service": service}
    return json.dumps([{"Id": "0123456789ab", "RestartCount": 9, "Config": {"Image": "x", "Labels": labels}, "State": state}])


def test_a_container_that_has_no_memory(machine: Machine) -> None:
    container = sick("worker", OOMKilled=True)
    machine.docker(ps="0123456789ab", inspect=container, logs="")
    machine.refuses("worker was killed for want of memory", "CLASSROOM_WORKER_MEMORY=1g make docker-up")


def test_a_container_that_ends(machine: Machine) -> None:
    container = sick("redis")
    machine.docker(ps="0123456789ab", inspect=container, logs="FATAL CONFIG FILE ERROR")
    machine.refuses("redis is restarting, unhealthy: FATAL CONFIG FILE ERROR", "make docker-logs")


def test_a_broker_with_another_password() -> None:
    compose = runpy.run_path(str(ROOT / "docker" / "compose.py"))

    def refuse() -> None:
        connection, _ = redis.accept()
        with connection:
            connection.recv(100)
            connection.sendall(b"-WRONGPASS invalid username-password pair\r\n")

    with socket.create_server(("127.0.0.1", 0)) as redis:
        redis.settimeout(10)
        server = threading.Thread(target=refuse)
        server.start()
        words = "another password than docker/.env\n  next: make docker-down, then: make docker-up"
        with pytest.raises(compose["Trouble"], match=words):
            compose["check_password"]({"CLASSROOM_REDIS_PORT": redis.getsockname()[1], "CLASSROOM_PASSWORD": "x"})
        server.join()


def test_what_was_chosen_once_stays_so(machine: Machine) -> None:
    machine.docker(compose_build=("stop here", 1))
    tasks, data = machine.checkout.parent / "my tasks", machine.checkout.parent / "my data"
    machine.run("up", "--workers", "3", CLASSROOM_BROKER="rabbitmq", CLASSROOM_MY_TASKS=str(tasks), TUTORIAL_DATA_DIR=str(data))
    first = machine.settings
    assert first["CLASSROOM_BROKER_INSIDE"].startswith("amqp://")
    assert first["CLASSROOM_WORKERS"] == "3"
    assert (first["CLASSROOM_TASKS_FOLDER"], first["CLASSROOM_DATA_FOLDER"]) == (str(tasks), str(data))
    machine.run("up")
    assert machine.settings == first
    machine.run("up", "--workers", "1", CLASSROOM_BROKER="redis")
    second = machine.settings
    assert second["CLASSROOM_BROKER_INSIDE"].startswith("redis://")
    assert (second["COMPOSE_PROFILES"], second["CLASSROOM_WORKERS"]) == ("", "1")
    assert second["CLASSROOM_TASKS_FOLDER"] == str(tasks)
    machine.run("up")
    assert machine.settings == second


def test_as_many_workers_are_started_as_were_chosen(machine: Machine) -> None:
    machine.docker(compose_build=("stop here", 1))
    machine.run("up", "--workers", "3")
    says: dict[str, Any] = {"compose up --detach --remove-orphans --scale worker=3": ("three, as before", 1)}
    machine.docker(compose_up=("stop here", 1), **says)
    assert "three, as before" in machine.run("up").stderr


def test_a_checkout_that_is_moved_keeps_its_own_folders(machine: Machine) -> None:
    machine.docker(compose_build=("stop here", 1))
    machine.run("up")
    moved = machine.checkout.rename(machine.checkout.parent / "moved")
    machine.checkout = moved
    machine.run("up")
    assert not (moved.parent / "checkout").exists(), "nothing was made where it had been"
    assert "export CLASSROOM_MY_TASKS" not in machine.run("env").stdout


def test_settings_that_are_not_utf_8(machine: Machine) -> None:
    machine.docker()
    (machine.checkout / "docker" / ".env").write_bytes(b"CLASSROOM_WORKERS=1 # f\xfcr mich\n")
    machine.refuses("docker/.env is not UTF-8", "save it as UTF-8")


def test_settings_that_cannot_be_written_in_place(machine: Machine) -> None:
    machine.docker()
    (machine.checkout / "docker" / ".env.new").mkdir()
    machine.refuses("docker/.env.new cannot be written", "")


def test_settings_of_another_owner(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    compose = runpy.run_path(str(machine.checkout / "docker" / "compose.py"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:  # root, who may run this, is refused nothing
        patch.setattr(Path, "read_text", refuse)
        with pytest.raises(
            compose["Trouble"], match=r"docker/\.env cannot be read: Permission denied\n  next: sudo chown \$USER docker/.env"
        ):
            compose["read_env"]()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(compose["Trouble"], match=r"cannot be written: Permission denied\n  next: sudo chown \$USER docker && chmod"):
            compose["settle_env"]()


@pytest.mark.parametrize("name", ["TUTORIAL_DATA_DIR", "CLASSROOM_MY_TASKS"])
def test_a_folder_that_is_a_file_is_not_remembered(machine: Machine, name: str) -> None:
    machine.docker(compose_build=("stop here", 1))
    file = machine.checkout.parent / "a file"
    file.touch()
    machine.refuses(f"{file} ({name}) cannot be used: it is no folder", f"{name}=/another/folder make docker-up", **{name: str(file)})
    machine.refuses(f"{file / 'x'} ({name}) cannot be used: Not a directory", f"{name}=", **{name: str(file / "x")})
    assert not (machine.checkout / "docker" / ".env").exists()
    assert "stop here" in machine.run("up").stderr


def test_a_choice_that_cannot_be_had(machine: Machine) -> None:
    machine.docker()
    machine.refuses("CLASSROOM_BROKER=kafka is no broker", "CLASSROOM_BROKER=rabbitmq make docker-up", CLASSROOM_BROKER="kafka")
    done = machine.run("up", "--workers", "-1")
    assert '-1 is no number of workers\n  next: make docker-up ARGS="--workers 1"' in done.stderr
    assert not (machine.checkout / "docker" / ".env").exists()


def test_the_passwords_are_made_once_and_for_their_owner_only(machine: Machine) -> None:
    machine.docker(compose_build=("stop here", 1))
    machine.run("up")
    made = {name: machine.settings[name] for name in ("CLASSROOM_PASSWORD", "CLASSROOM_JUPYTER_TOKEN", "CLASSROOM_FLOWER_PASSWORD")}
    assert len(set(made.values())) == 3, "who has one of them has not the others"
    assert min(len(secret) for secret in made.values()) >= 20
    env = machine.checkout / "docker" / ".env"
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    first = env.read_text()
    password = next(line.split("=")[1] for line in first.splitlines() if line.startswith("CLASSROOM_PASSWORD="))
    assert len(password) >= 20
    machine.run("up", CLASSROOM_BROKER="rabbitmq")
    second = env.read_text()
    assert f"CLASSROOM_PASSWORD={password}\n" in second
    assert f"CLASSROOM_BROKER_INSIDE=amqp://classroom:{password}@rabbitmq:5672//\n" in second
    assert machine.settings | made == machine.settings
    shown = machine.run("env").stdout
    rabbit, redis = machine.ports["CLASSROOM_RABBITMQ_PORT"], machine.ports["CLASSROOM_REDIS_PORT"]
    assert f"export CELERY_BROKER_URL=amqp://classroom:{password}@127.0.0.1:{rabbit}//\n" in shown
    assert f"export CELERY_RESULT_BACKEND=redis://:{password}@127.0.0.1:{redis}/0\n" in shown
    management = machine.ports["CLASSROOM_MANAGEMENT_PORT"]
    assert f"export TASKSCOPE_MANAGEMENT_URL=http://127.0.0.1:{management}\n" in shown, "the usual port may be somebody else's"


def test_settings_that_are_older_than_a_password_are_completed(machine: Machine) -> None:
    machine.docker(compose_build=("stop here", 1), compose_logs="all logs", compose_down="")
    machine.run("up")
    env = machine.checkout / "docker" / ".env"
    older = {name: value for name, value in machine.settings.items() if "TOKEN" not in name and "WORKERS" not in name}
    env.write_text("".join(f"{name}={value}\n" for name, value in older.items()))
    assert machine.run("logs").stdout.startswith("all logs")
    assert "export CELERY_BROKER_URL=" in machine.run("env").stdout
    assert machine.run("down").stdout == "Stopped.\n"
    machine.run("up")
    assert machine.settings["CLASSROOM_JUPYTER_TOKEN"]


def test_down_and_logs_where_nothing_ever_ran(machine: Machine) -> None:
    machine.docker()
    assert machine.run("down").stdout == "Nothing runs here.\n"
    assert "next: make docker-up" in machine.run("logs").stderr
    assert "next: make docker-up" in machine.run("env").stderr


def test_down_finds_containers_without_the_settings(machine: Machine) -> None:
    label = f"label=com.docker.compose.project.working_dir={machine.checkout / 'docker'} "
    machine.docker(**{f"ps -a --filter {label}": "their-project\ntheir-project", "compose down": ""})
    assert machine.run("down").stdout == "Stopped.\n"


def test_an_engine_of_ci_that_does_not_end_is_killed(tmp_path: Path) -> None:
    programs = {"docker": "test -e info", "dockerd": 'trap "" TERM; touch info; exec sleep 300'}
    for name, does in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    script = f". {ROOT}/.ci/containers.sh; start_engine; rm info; end_engine; kill -0 $containers_engine || echo gone"
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ENGINE_ENDS_WITHIN": "1", "TMPDIR": str(tmp_path)}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "the Docker engine did not end, so it is killed" in done.stderr
    assert done.stdout == "gone\n"
    assert {path.name for path in tmp_path.iterdir()} == set(programs), "its folder is gone, too"


def test_a_codespace_forwards_the_pages_of_the_containers() -> None:
    ports = runpy.run_path(str(ROOT / "docker" / "compose.py"))["PORTS"]
    forwarded = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())["forwardPorts"]
    assert {int(ports[f"CLASSROOM_{page}_PORT"]) for page in ("JUPYTER", "FLOWER", "API")} <= set(forwarded)


def test_no_secret_and_no_volume_is_in_the_repository() -> None:
    for name in ("docker/.env", "docker/.env.new"):  # it is written under the second name first
        assert name in (ROOT / ".gitignore").read_text().splitlines()
        assert name in (ROOT / ".dockerignore").read_text().splitlines(), "no image has the passwords of who built it"
    compose = (ROOT / "docker" / "docker-compose.yml").read_text()
    assert not re.search(r"(JUPYTER_TOKEN|FLOWER_BASIC_AUTH):.*\$\{\w+}", compose), "without settings a door would be open to everybody"
    assert "version:" not in compose, "a key that new versions complain about"
    assert compose.count("_PORT") == compose.count('"127.0.0.1:${') == len(PORTS), "nothing listens to the network"

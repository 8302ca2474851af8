"""Bring the classroom in containers up and down: `make docker-up`, `docker-down`, `docker-logs`, or `python3 docker/compose.py`.

It needs Python 3.9 or newer, Docker and nothing else, so it does not import the course. Whatever is wrong ends in one message with the
next thing to type. The choices of `docker-up` come from the environment and stay in `docker/.env`:

    CLASSROOM_BROKER=rabbitmq make docker-up     messages through RabbitMQ, results through Redis (CLASSROOM_BROKER=redis: back)
    make docker-up ARGS="--workers 3"            three workers

Ports, memory limits and images are in `docker/.env` too; edit it, then `make docker-up` again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import re
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
ENV = HERE / ".env"

HEALTHY_WITHIN = 180  # seconds; a laptop that starts RabbitMQ beside everything else
OLDEST = (1, 28)  # the first Compose that knows profiles
MEMORY = 1.5  # GB that the engine needs to have for all of it

# What is written into .env the first time, with the ports on 127.0.0.1.
PORTS = {
    "CLASSROOM_REDIS_PORT": "26379",
    "CLASSROOM_FLOWER_PORT": "25555",
    "CLASSROOM_JUPYTER_PORT": "28888",
    "CLASSROOM_API_PORT": "5000",
    "CLASSROOM_RABBITMQ_PORT": "26672",
    "CLASSROOM_MANAGEMENT_PORT": "26673",
}
FOR_SERVERS = range(20_000, 32_768)  # below those that outgoing connections take, as in classroom/stack/ports.py
OF_RABBITMQ = ("CLASSROOM_RABBITMQ_PORT", "CLASSROOM_MANAGEMENT_PORT")
IMAGES = ("PYTHON_IMAGE", "REDIS_IMAGE", "RABBITMQ_IMAGE")
# One for each door: JupyterLab's is in an address that people copy and show, and who may look at Flower may not send messages.
SECRETS = ("CLASSROOM_PASSWORD", "CLASSROOM_JUPYTER_TOKEN", "CLASSROOM_FLOWER_PASSWORD")

OURS_AGAIN = "sudo chown $USER {0} && chmod u+rwX {0}, then: make docker-up"


class Trouble(Exception):
    """Something is wrong, and there is a next thing to type."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}\n  next: {remedy}")


# -- the engine ------------------------------------------------------------------------------------------------------


def run(*argv: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a program quietly."""
    try:
        return subprocess.run(argv, cwd=HERE, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise Trouble(f"{' '.join(argv[:3])} does not end", "restart Docker, then: make docker-up") from None


def check_engine() -> dict[str, str]:
    """Find out about the engine.

    Raises:
        Trouble: there is none, or it does not let us in, or it has too little memory.
    """
    if not shutil.which("docker"):
        raise Trouble("Docker is not installed", "install Docker (docs.docker.com/get-docker), or do without it: make lab")
    asked = run("docker", "info", "--format", '{"memory": "{{.MemTotal}}", "machine": "{{.Architecture}}"}')
    said = asked.stdout + asked.stderr
    if "permission denied" in said.lower():
        raise Trouble("Docker does not let this user in", "sudo usermod -aG docker $USER, then log out and in, then: make docker-up")
    try:
        engine: dict[str, str] = json.loads(asked.stdout.strip().splitlines()[0])
        memory = int(engine["memory"])
    except (ValueError, IndexError):
        memory = 0
    if asked.returncode or not memory:
        raise Trouble(
            "the Docker engine does not run",
            "sudo systemctl start docker (Linux, WSL), or start Docker Desktop, then: make docker-up",
        )
    if memory < MEMORY * 1e9:
        raise Trouble(
            f"Docker has {memory / 1e9:.1f} GB of memory, the classroom needs {MEMORY} GB",
            "give it more (Docker Desktop: Settings > Resources), or do without it: make lab",
        )
    return engine


def find_compose() -> list[str]:
    """Find Compose, the plugin or the old program.

    Raises:
        Trouble: there is none, or it is too old.
    """
    found = ""
    for command in (["docker", "compose"], ["docker-compose"]):
        if not shutil.which(command[0]):
            continue
        asked = run(*command, "version", "--short")
        if asked.returncode == 0 and (version := re.search(r"(\d+)\.(\d+)\.?\d*", asked.stdout)):
            if (int(version[1]), int(version[2])) >= OLDEST:
                return command
            found = version[0]
    words = f"Docker Compose {found} is too old, it takes 1.28 or newer" if found else "Docker Compose is missing"
    raise Trouble(words, "sudo apt install docker-compose (Debian, Ubuntu), or docs.docker.com/compose/install")


def check_images(machine: str, wanted: list[str]) -> None:
    """See that what is here already is made for this machine.

    Raises:
        Trouble: an image is for another processor.
    """
    ours = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    for image in wanted:
        asked = run("docker", "image", "inspect", "--format", "{{.Architecture}}", image)
        made_for = asked.stdout.strip()
        if asked.returncode == 0 and made_for and made_for != ours:
            raise Trouble(f"the image {image} is for {made_for}, this engine runs {ours}", f"docker image rm {image}, then: make docker-up")


# -- the settings ----------------------------------------------------------------------------------------------------


def read_env() -> dict[str, str]:
    """Read `.env`; empty when it is not there yet.

    Raises:
        Trouble: it cannot be read.
    """
    try:
        text = ENV.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError:
        raise Trouble("docker/.env is not UTF-8", "save it as UTF-8 in your editor, then: make docker-up") from None
    except OSError as error:
        raise Trouble(f"docker/.env cannot be read: {error.strerror}", OURS_AGAIN.format("docker/.env")) from None
    lines = (line.strip() for line in text.splitlines())
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def completed(old: dict[str, str]) -> dict[str, str]:
    """Add to the settings what was never chosen: a name, passwords, ports, folders, Redis, and one worker."""
    new = {
        "COMPOSE_PROJECT_NAME": "classroom-" + hashlib.sha256(str(ROOT).encode()).hexdigest()[:6],
        **{name: secrets.token_urlsafe(18) for name in SECRETS},
        **PORTS,
        # As Compose reads them, seen from this folder: a checkout that is moved keeps its own.
        "CLASSROOM_TASKS_FOLDER": "../notebooks",
        "CLASSROOM_DATA_FOLDER": "../data",
        "COMPOSE_PROFILES": "",
        "CLASSROOM_WORKERS": "1",
    }
    new |= {name: value for name, value in old.items() if value}
    password = new["CLASSROOM_PASSWORD"]
    inside = f"amqp://classroom:{password}@rabbitmq:5672//" if new["COMPOSE_PROFILES"] else f"redis://:{password}@redis:6379/0"
    return new | {"CLASSROOM_BROKER_INSIDE": inside}


def settle_env(workers: int | None = None) -> dict[str, str]:
    """Complete `.env` with what is chosen now, what was chosen before and what never was, readable for its owner only.

    Raises:
        Trouble: what was chosen cannot be had.
    """
    chosen = {name: value for name, value in os.environ.items() if value}
    now = {name: chosen[name] for name in (*PORTS, *IMAGES, "COMPOSE_PROJECT_NAME", "CLASSROOM_WORKER_MEMORY") if name in chosen}
    for name, ours in (("CLASSROOM_MY_TASKS", "CLASSROOM_TASKS_FOLDER"), ("TUTORIAL_DATA_DIR", "CLASSROOM_DATA_FOLDER")):
        if name in chosen:
            now[ours] = str(Path(chosen[name]).resolve())
    old = read_env()
    if broker := chosen.get("CLASSROOM_BROKER"):
        if broker not in ("redis", "rabbitmq"):
            raise Trouble(f"CLASSROOM_BROKER={broker} is no broker that this course knows", "CLASSROOM_BROKER=rabbitmq make docker-up")
        old["COMPOSE_PROFILES"] = "rabbitmq" if broker == "rabbitmq" else ""
    if workers is not None:
        now["CLASSROOM_WORKERS"] = str(workers)
    new = completed(old | now)
    if not new["CLASSROOM_WORKERS"].isdecimal():
        raise Trouble(f"{new['CLASSROOM_WORKERS']} is no number of workers", 'make docker-up ARGS="--workers 1"')
    # Containers never run as root; where we are root, the folders that they write to are given to somebody else.
    user = os.getuid() or 1000
    group = os.getgid() if os.getuid() else 1000
    new |= {"CLASSROOM_UID": str(user), "CLASSROOM_GID": str(group)}
    text = "# Written by `make docker-up`. Ports, images and limits may be edited. Not for others: it has the passwords.\n"
    text += "".join(f"{name}={value}\n" for name, value in new.items())
    make_folders(new, user, group)  # first: a folder that cannot be had is not remembered
    write_env(text)
    return new


def make_folders(env: dict[str, str], user: int, group: int) -> None:
    """Make the folders that the containers share with this machine.

    Raises:
        Trouble: one cannot be made.
    """
    for name, folder in folders(env).items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if os.getuid() == 0:
                os.chown(folder, user, group)
        except OSError as error:
            why = "it is no folder" if isinstance(error, FileExistsError) else error.strerror
            raise Trouble(f"{folder} ({name}) cannot be used: {why}", f"{name}=/another/folder make docker-up") from None


def write_env(text: str) -> None:
    """Replace `.env` in one step, readable for its owner only.

    Raises:
        Trouble: it cannot be written.
    """
    fresh = ENV.with_suffix(".new")
    try:
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()  # one that somebody else has left could not be written
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        fresh.replace(ENV)
    except PermissionError as error:
        raise Trouble(f"docker/.env.new cannot be written: {error.strerror}", OURS_AGAIN.format("docker")) from None
    except OSError as error:
        raise Trouble(f"docker/.env.new cannot be written: {error.strerror}", "mend that, then: make docker-up") from None


def folders(env: dict[str, str]) -> dict[str, Path]:
    """Give the folders that the containers share with this machine, by the variables that the course has for them."""
    shared = {"CLASSROOM_MY_TASKS": env["CLASSROOM_TASKS_FOLDER"], "TUTORIAL_DATA_DIR": env["CLASSROOM_DATA_FOLDER"]}
    return {name: (HERE / folder).resolve() for name, folder in shared.items()}


def addresses(env: dict[str, str]) -> dict[str, str]:
    """Give the addresses of the broker and the backend, as they are from this machine."""
    results = f"redis://:{env['CLASSROOM_PASSWORD']}@127.0.0.1:{env['CLASSROOM_REDIS_PORT']}/0"
    own = {"CELERY_BROKER_URL": results, "CELERY_RESULT_BACKEND": results}
    if env["COMPOSE_PROFILES"]:
        own["CELERY_BROKER_URL"] = f"amqp://classroom:{env['CLASSROOM_PASSWORD']}@127.0.0.1:{env['CLASSROOM_RABBITMQ_PORT']}//"
        # Who looks into the broker would ask at RabbitMQ's usual port, where another one may listen.
        own["TASKSCOPE_MANAGEMENT_URL"] = f"http://127.0.0.1:{env['CLASSROOM_MANAGEMENT_PORT']}"
    usual = {"CLASSROOM_MY_TASKS": ROOT / "notebooks", "TUTORIAL_DATA_DIR": ROOT / "data"}
    return own | {name: str(folder) for name, folder in folders(env).items() if folder != usual[name]}


# -- the containers --------------------------------------------------------------------------------------------------


class Project:
    """The containers of this checkout."""

    def __init__(self, compose: list[str], env: dict[str, str]) -> None:
        self.name = env["COMPOSE_PROJECT_NAME"]
        self.env = env
        self.argv = compose

    def compose(self, *argv: str, timeout: float = 1800) -> subprocess.CompletedProcess[str]:
        """Run Compose quietly, with no settings but those of `.env`."""
        own = {name: value for name, value in os.environ.items() if name not in self.env}
        try:
            return subprocess.run(
                [*self.argv, *argv], cwd=HERE, env=own | self.env, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise Trouble(f"docker compose {argv[0]} does not end", "restart Docker, then: make docker-up") from None

    def containers(self) -> list[dict[str, object]]:
        """Describe the containers, those that have ended too: service, state, health, restarts."""
        asked = run("docker", "ps", "-aq", "--filter", f"label=com.docker.compose.project={self.name}")
        ids = asked.stdout.split()
        found = json.loads(run("docker", "inspect", *ids).stdout or "[]") if ids else []
        return [
            {
                "id": one["Id"][:12],
                "service": one["Config"]["Labels"]["com.docker.compose.service"],
                "state": one["State"]["Status"],
                "health": one["State"].get("Health", {}).get("Status", "none"),
                "killed for memory": one["State"]["OOMKilled"],
                "restarts": one["RestartCount"],
                "image": one["Config"]["Image"],
            }
            for one in found
        ]

    def remove(self, service: str) -> None:
        """Take the containers of a service away that nobody wants any more."""
        if ids := [str(one["id"]) for one in self.containers() if one["service"] == service]:
            explained(run("docker", "rm", "--force", "--volumes", *ids), f"{service} does not end")

    def check_ports(self) -> None:
        """See that the ports are free, or ours already.

        Raises:
            Trouble: one is somebody else's, or no port.
        """
        names = [name for name in PORTS if self.env["COMPOSE_PROFILES"] or name not in OF_RABBITMQ]
        ids = run("docker", "ps", "-q", "--filter", f"label=com.docker.compose.project={self.name}").stdout.split()
        bound = run("docker", "inspect", "--format", "{{json .HostConfig.PortBindings}}", *ids).stdout if ids else ""
        ours = set(re.findall(r'"HostPort":"(\d+)"', bound))
        for name in names:
            port = self.env[name]
            if not is_port(port):
                raise Trouble(f"{name}={port} is no port (1 to 65535)", f"{name}={free_port()} make docker-up")
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", int(port)))
                except OSError:
                    if port not in ours:
                        another = free_port()
                        raise Trouble(f"port {port} is taken ({name})", f"{name}={another} make docker-up") from None

    def wait_until_healthy(self, wanted: int) -> None:
        """Wait for all containers.

        Raises:
            Trouble: one is not well.
        """
        deadline = time.monotonic() + HEALTHY_WITHIN
        while True:
            found = self.containers()
            well = [one for one in found if one["health"] == "healthy"]
            if len(found) >= wanted and len(well) == len(found):
                return
            sick = [one for one in found if one["health"] == "unhealthy" or one["killed for memory"] or int(str(one["restarts"])) > 2]
            if sick or time.monotonic() > deadline:
                raise self.diagnosis(sick or [one for one in found if one not in well])
            time.sleep(0.2)

    def diagnosis(self, sick: list[dict[str, object]]) -> Trouble:
        """Say why a container is not well."""
        if not sick:
            return Trouble("not all containers have started", "make docker-logs")
        one = sick[0]
        said = run("docker", "logs", "--tail", "20", str(one["id"]))
        log = (said.stdout + said.stderr).strip()
        name = str(one["service"])
        if one["killed for memory"]:
            return Trouble(f"{name} was killed for want of memory", "CLASSROOM_WORKER_MEMORY=1g make docker-up")
        if "exec format error" in log.lower():
            return Trouble(f"the image of {name} is for another processor", f"docker image rm -f {one['image']}, then: make docker-up")
        last = log.splitlines()[-1] if log else "it said nothing"
        return Trouble(f"{name} is {one['state']}, {one['health']}: {last}", "make docker-logs")


def is_port(text: str) -> bool:
    """Tell whether this is the number of a port, in the digits that Docker knows."""
    return bool(re.fullmatch("[0-9]{1,5}", text)) and 1 <= int(text) <= 65535


def free_port() -> int:
    """Find a port that is free.

    Raises:
        Trouble: none of a hundred is.
    """
    for port in random.sample(FOR_SERVERS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Trouble("no TCP port is free on 127.0.0.1", "close some programs, then: make docker-up")


def check_password(env: dict[str, str]) -> None:
    """See that Redis knows the password of `.env`.

    Raises:
        Trouble: it has another one.
    """
    with socket.create_connection(("127.0.0.1", int(env["CLASSROOM_REDIS_PORT"])), 5) as connection:
        connection.sendall(f"AUTH {env['CLASSROOM_PASSWORD']}\r\n".encode())
        if not connection.recv(100).startswith(b"+OK"):
            raise Trouble("the broker that runs has another password than docker/.env", "make docker-down, then: make docker-up")


# -- the commands ----------------------------------------------------------------------------------------------------


def up(workers: int | None) -> None:
    """Build what has changed, start everything, wait until it is healthy, and say where it is."""
    engine = check_engine()
    compose = find_compose()
    env = settle_env(workers)
    project = Project(compose, env)
    count = int(env["CLASSROOM_WORKERS"])
    own = [f"{project.name}-worker:local", f"{project.name}-jupyter:local"]
    with_rabbitmq = bool(env["COMPOSE_PROFILES"])
    bases = [env.get("PYTHON_IMAGE", "python:3.12-slim"), env.get("REDIS_IMAGE", "redis:7")]
    if with_rabbitmq:
        bases.append(env.get("RABBITMQ_IMAGE", "rabbitmq:4-management"))
    check_images(engine["machine"], [*bases, *own])
    project.check_ports()
    print("Building the images (the first time takes a few minutes) ...", flush=True)
    explained(project.compose("build", "--quiet", "worker", "jupyter"), "the images cannot be built")
    print("Starting ...", flush=True)
    if with_rabbitmq:  # it takes longest, and the workers want it
        explained(project.compose("up", "--detach", "redis", "rabbitmq"), "the brokers do not start")
        project.wait_until_healthy(2)
    started = project.compose("up", "--detach", "--remove-orphans", "--scale", f"worker={count}")
    explained(started, "the containers do not start")
    if not with_rabbitmq:  # a service whose profile is off is no orphan to Compose
        project.remove("rabbitmq")
    project.wait_until_healthy(4 + count + with_rabbitmq)  # Redis, JupyterLab, Flower, the web service
    check_password(env)
    tell(env)


def explained(done: subprocess.CompletedProcess[str], what: str) -> None:
    """Turn what Compose or the engine says into one message.

    Raises:
        Trouble: it failed.
    """
    if done.returncode == 0:
        return
    noise = r"DEPRECATED|buildx|^\s*$"
    said = "\n".join(line for line in (done.stdout + done.stderr).splitlines() if not re.search(noise, line))
    remedy = "make docker-logs"
    reasons = {
        r"port is already allocated|address already in use": ("a port is taken", "edit the ports in docker/.env, then: make docker-up"),
        r"no space left on device": ("the disk is full", "docker system prune, then: make docker-up"),
        r"exec format error": ("an image is for another processor", "docker image rm the image that is named above, then: make docker-up"),
        r"cannot allocate memory|out of memory|signal: killed|code: 137": (
            "there is not enough memory",
            "end other programs, or give Docker more, then: make docker-up",
        ),
        r"manifest unknown|pull access denied|dial tcp|no such host|timeout|TLS|x509|Temporary failure|connection refused": (
            "an image or a package cannot be fetched",
            "connect to the network, then: make docker-up; or name your own images in docker/.env: PYTHON_IMAGE, REDIS_IMAGE",
        ),
    }
    for pattern, (reason, next_step) in reasons.items():
        if re.search(pattern, said, re.IGNORECASE):
            what, remedy = f"{what}: {reason}", next_step
            break
    print("\n".join(said.splitlines()[-8:]), file=sys.stderr)
    raise Trouble(what, remedy)


def tell(env: dict[str, str]) -> None:
    """Say where everything is, and what to type to use it from this machine."""
    print(f"JupyterLab  http://127.0.0.1:{env['CLASSROOM_JUPYTER_PORT']}/lab?token={env['CLASSROOM_JUPYTER_TOKEN']}")
    print(f"batch_api   http://127.0.0.1:{env['CLASSROOM_API_PORT']}  for people: /swagger")
    print(f"Flower      http://127.0.0.1:{env['CLASSROOM_FLOWER_PORT']}  user learner, password {env['CLASSROOM_FLOWER_PASSWORD']}")
    print("For make lab, client.py and the doctor on this machine, in this shell:")
    for name, value in addresses(env).items():
        print(f"  export {name}={shlex.quote(value)}")
    if os.getuid() == 0:
        print("You are root and the containers are not: notebooks of this checkout can be run in their JupyterLab, but not saved.")


def down() -> None:
    """Take everything away but the images, docker/.env and the learner's folders."""
    check_engine()
    env = completed(read_env())
    if not ENV.exists():  # somebody has deleted it; containers know from which folder they were made
        label = "com.docker.compose.project"
        asked = run("docker", "ps", "-a", "--filter", f"label={label}.working_dir={HERE}", "--format", f'{{{{.Label "{label}"}}}}')
        if not asked.stdout.strip():
            print("Nothing runs here.")
            return
        env["COMPOSE_PROJECT_NAME"] = asked.stdout.split()[0]
    project = Project(find_compose(), env | {"COMPOSE_PROFILES": "rabbitmq"})
    explained(project.compose("down", "--volumes", "--remove-orphans", "--timeout", "25"), "the containers do not end")
    print("Stopped.")


def logs() -> None:
    """Print what the containers said last."""
    check_engine()
    env = read_env()
    if not env:
        raise Trouble("nothing has run here yet", "make docker-up")
    project = Project(find_compose(), completed(env))
    print(project.compose("logs", "--no-color", "--tail", "40").stdout)
    for one in project.containers():
        if one["service"] == "worker" and one["state"] == "running":  # Celery's own words; what was printed so far are the keeper's
            print(f"worker {one['id']}:")
            print(run("docker", "exec", str(one["id"]), "sh", "-c", 'tail -n 40 "$CLASSROOM_STATE/worker.log"').stdout)


def show_env() -> None:
    """Print the lines that a shell needs to use the stack: eval "$(python3 docker/compose.py env)"."""
    env = read_env()
    if not env.get("CLASSROOM_PASSWORD"):
        raise Trouble("nothing has run here yet", "make docker-up")
    for name, value in addresses(completed(env)).items():
        print(f"export {name}={shlex.quote(value)}")


def main() -> None:
    """Do what the command line says."""
    if sys.version_info < (3, 9):  # noqa: UP036 - whatever Python a machine has starts this
        sys.exit("docker/compose.py needs Python 3.9 or newer\n  next: python3.12 docker/compose.py up, with the name of a newer one")
    parser = argparse.ArgumentParser(prog="docker/compose.py", description="The classroom in containers.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start it").add_argument(
        "--workers", type=int, help="how many workers; it stays so until another number is said"
    )
    commands.add_parser("down", help="take it away")
    commands.add_parser("logs", help="what the containers said last")
    commands.add_parser("env", help="what a shell needs to use it")
    chosen = parser.parse_args()
    try:
        if chosen.command == "up":
            up(chosen.workers)
        else:
            {"down": down, "logs": logs, "env": show_env}[chosen.command]()
    except Trouble as trouble:
        sys.exit(str(trouble))


if __name__ == "__main__":
    main()

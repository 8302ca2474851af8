"""A copy of the checkout whose classroom runs in containers, so that nothing of the learner's own is touched."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from classroom.stack.ports import free_port
from tests.notebooks.kernel import Kernel, kernel
from tests.notebooks.lessons import LESSONS
from tests.notebooks.test_disorder import cell_with
from tests.stack.processes import ROOT

FIRST = LESSONS[0]

_UP_WITHIN = 900  # seconds; the first time the images are built
_NOT_COPIED = shutil.ignore_patterns(".git", ".venv*", ".classroom*", "__pycache__", ".*_cache", ".hypothesis", "data", ".env")
_PORTS = ("REDIS", "FLOWER", "JUPYTER", "API", "RABBITMQ", "MANAGEMENT")


@dataclass
class Classroom:
    """What `make docker-up` made."""

    root: Path
    broker: str
    ports: dict[str, str] = field(default_factory=dict)

    def command(self, *argv: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run docker/compose.py, as `make docker-...` does."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "CLASSROOM_", "TUTORIAL_", "COMPOSE_"))
        }
        chosen = {f"CLASSROOM_{name}_PORT": port for name, port in self.ports.items()}
        return subprocess.run(
            [sys.executable, "docker/compose.py", *argv],
            cwd=self.root,
            env=kept | chosen | {"CLASSROOM_BROKER": self.broker} | extra,
            capture_output=True,
            text=True,
            timeout=_UP_WITHIN,
            check=False,
        )

    def up(self, *argv: str) -> str:
        done = self.command("up", *argv)
        assert done.returncode == 0, done.stdout + done.stderr + self.command("logs").stdout
        return done.stdout

    def down(self) -> None:
        done = self.command("down")
        assert done.returncode == 0, done.stdout + done.stderr

    @property
    def addresses(self) -> dict[str, str]:
        """What a shell on the host needs."""
        lines = shlex.split(self.command("env").stdout)
        return dict(line.split("=", 1) for line in lines if "=" in line)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of somebody on the host who uses the containers from this copy of the checkout."""
        folders = {"CLASSROOM_MY_TASKS": str(self.root / "notebooks"), "TUTORIAL_DATA_DIR": str(self.root / "data")}
        return {"PYTHONPATH": str(self.root), **folders, **self.addresses}

    def python(self, source: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run Python on the host."""
        command = [sys.executable, "-c", source]
        environment = os.environ | self.environment | extra
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=120, check=False)

    def lessons(self, *names: str) -> subprocess.CompletedProcess[str]:
        """Compare every cell of lessons with its stored outputs, strictly, from the host."""
        paths = [str(path) for name in names for path in self.root.glob(f"notebooks/{name}_*.ipynb")]
        assert len(paths) == len(names)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths]
        environment = os.environ | self.environment | {"CLASSROOM_TEST_OUTSIDE": "1"}
        environment.pop("PYTEST_XDIST_WORKER", None)
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=900, check=False)

    @contextmanager
    def kernel(self) -> Iterator[Kernel]:
        """A notebook on the host."""
        with kernel(**self.environment) as one:
            yield one

    @property
    def settings(self) -> dict[str, str]:
        """What is in docker/.env."""
        lines = (self.root / "docker" / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if not line.startswith("#"))

    @property
    def project(self) -> str:
        return self.settings["COMPOSE_PROJECT_NAME"]

    def containers(self, service: str = "") -> list[dict[str, Any]]:
        """Everything that Docker knows of the containers, or of one service's."""
        filters = ["--filter", f"label=com.docker.compose.project={self.project}"]
        if service:
            filters += ["--filter", f"label=com.docker.compose.service={service}"]
        ids = docker("ps", "-aq", *filters).split()
        return list(json.loads(docker("inspect", *ids))) if ids else []

    def inside(self, service: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run something in the first container of a service."""
        command = ["docker", "exec", self.containers(service)[0]["Id"], *argv]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    def left(self) -> list[str]:
        """List what Docker still has of it, and the ports on which somebody still listens."""
        label = ["--filter", f"label=com.docker.compose.project={self.project}"]
        found = [docker(*what, *label).strip() for what in (["ps", "-aq"], ["network", "ls", "-q"], ["volume", "ls", "-q"])]
        listening = subprocess.run(["pgrep", "-fa", "docker-proxy"], capture_output=True, text=True, check=False).stdout
        return [what for what in found if what] + [port for port in self.ports.values() if f"-host-port {port} " in listening]


def half_way(notebook: Kernel) -> None:
    """Run the first lesson up to the cell after which a message waits for the worker that is stopped."""
    for cell in FIRST.code[: cell_with(FIRST, "lab.worker.stop()") + 1]:
        notebook.run(cell.source)


def docker(*argv: str) -> str:
    return subprocess.run(["docker", *argv], capture_output=True, text=True, timeout=120, check=True).stdout


@contextmanager
def classroom(folder: Path, broker: str) -> Iterator[Classroom]:
    """Have a classroom in containers until the block ends, and nothing of it after that."""
    root = folder / "checkout"
    shutil.copytree(ROOT, root, ignore=_NOT_COPIED)
    (root / "notebooks" / "my_tasks.py").unlink(missing_ok=True)
    one = Classroom(root, broker, {name: str(free_port()) for name in _PORTS})
    with ExitStack() as last:
        last.callback(_remove_images, one)
        last.callback(one.down)
        one.up()
        yield one


def _remove_images(one: Classroom) -> None:
    """Remove the images of this copy's name; their layers stay with those of the checkout, if it has any."""
    for image in ("worker", "jupyter"):
        subprocess.run(["docker", "image", "rm", f"{one.project}-{image}:local"], capture_output=True, check=False)

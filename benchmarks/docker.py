"""Measure the classroom in containers: time until healthy, round trip, size, what stays: `python -m benchmarks.docker`.

It uses this checkout's own containers, and takes them down at the end. The images are built before anything is measured.
"""

import os
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_TURNS = 5  # the two stacks take turns, so that a busy minute meets both
_TRIPS = 200
_TRIP = f"""
import time
from classroom import lab
lab.connect()
from tutorial_tasks.arithmetic import add
def trip():
    start = time.perf_counter()
    add.delay(2, 3).get(timeout=10)
    return time.perf_counter() - start
for _ in range(20):
    trip()
print(sorted(trip() for _ in range({_TRIPS}))[{_TRIPS // 2}])
"""


def compose(*argv: str) -> str:
    """Run docker/compose.py and return what it printed."""
    return subprocess.run(
        [sys.executable, "docker/compose.py", *argv], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=1800
    ).stdout


def round_trip(addresses: dict[str, str]) -> float:
    """Return the median of many round trips, in seconds, from a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CELERY_")}
    done = subprocess.run(
        [sys.executable, "-c", _TRIP], cwd=ROOT, env=kept | addresses, check=True, stdout=subprocess.PIPE, text=True, timeout=300
    )
    return float(done.stdout.splitlines()[-1])


def docker(*argv: str) -> list[str]:
    """Run docker and return its words."""
    return subprocess.run(["docker", *argv], check=True, stdout=subprocess.PIPE, text=True, timeout=120).stdout.split()


def main() -> int:
    """Print what was measured; fail when something is left behind."""
    compose("up")
    compose("down")
    start = time.perf_counter()
    compose("up")
    print(f"docker-up, images built, until all are healthy: {time.perf_counter() - start:.1f} s")

    addresses = dict(line.split("=", 1) for line in shlex.split(compose("env")) if "=" in line)
    inside, embedded = [], []
    for _ in range(_TURNS):
        inside.append(round_trip(addresses))
        embedded.append(round_trip({}))
    one, other = statistics.median(inside), statistics.median(embedded)
    print(f"round trip: host to container {one * 1e3:.2f} ms, embedded {other * 1e3:.2f} ms, ratio {one / other:.2f}")

    env = (ROOT / "docker" / ".env").read_text().splitlines()
    project = next(line.split("=")[1] for line in env if line.startswith("COMPOSE_PROJECT_NAME="))
    base = next((line.split("=")[1] for line in env if line.startswith("PYTHON_IMAGE=")), "python:3.12-slim")
    for name in (f"{project}-worker:local", f"{project}-jupyter:local"):
        whole, below = (int(docker("image", "inspect", "--format", "{{.Size}}", image)[0]) for image in (name, base))
        print(f"image {name.split('-')[-1]}: {whole / 1e6:.0f} MB, of which {(whole - below) / 1e6:.0f} MB are on top of {base}")

    start = time.perf_counter()
    compose("down")
    print(f"docker-down: {time.perf_counter() - start:.1f} s")
    label = ("--filter", f"label=com.docker.compose.project={project}")
    left = [*docker("ps", "-aq", *label), *docker("network", "ls", "-q", *label), *docker("volume", "ls", "-q", *label)]
    print(f"left behind: {', '.join(left) or 'nothing'}")
    subprocess.run([sys.executable, "-m", "classroom", "down"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=60)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())

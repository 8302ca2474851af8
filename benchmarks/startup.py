"""Measure every claim about start-up in one run, side by side with what it is compared with: `make bench`.

`make bench ARGS="--only stack,lab"` measures some rows only. The exit code is 1 when a row is over its budget or
could not be measured although it should be. Nothing else in this project asserts anything about time.
"""

import contextlib
import http.client
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import psutil

from classroom.stack.place import ROOT, Place
from classroom.stack.ports import free_port

Samples = list[float]
Environment = dict[str, str]

_TOKEN = "benchmark"  # of a server that lives for seconds and listens on loopback only
_NOT_INHERITED = ("CELERY_", "CLASSROOM_", "JUPYTER", "MAKE", "MFLAGS", "PYTEST_", "TUTORIAL_", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")

FIRST_LESSONS = sorted(f"notebooks/{path.name}" for path in (ROOT / "notebooks").glob("0[0-3]_*.ipynb"))

_DIGITS = {"s": 2, "ms": 1, "MB": 0, "x": 2}  # after the point

_JOIN = """
import time
from classroom.stack import client
start = time.perf_counter()
stack = client.join()
seconds = time.perf_counter() - start
assert stack.worker == "running", stack.trouble
print(seconds)
"""

_FIRST_CELL = """
import time
start = time.perf_counter()
from classroom import lab
lab.connect()
from tutorial_tasks.arithmetic import add
five = add.delay(2, 3).get(timeout=10)
seconds = time.perf_counter() - start
assert five == 5, five
print(seconds)
"""


class FailedError(Exception):
    """Something that was to be measured did not work."""


class NotMeasuredError(Exception):
    """The machine lacks what a measurement needs."""


@dataclass(frozen=True)
class Measured:
    """What one measurement gave: our own samples, and those of what they are compared with."""

    ours: Samples
    theirs: Samples = field(default_factory=list)


@dataclass(frozen=True)
class Claim:
    """One row: `budget` limits the median or, when it is compared with something, the difference or the ratio."""

    name: str
    what: str
    measure: Callable[[], Measured]
    budget: float
    unit: str = "s"
    against: str = ""
    by: str = ""  # "difference" or "ratio"


@dataclass(frozen=True)
class Result:
    """A claim and what came of it: samples, or the reason why there are none."""

    claim: Claim
    measured: Measured | None = None
    reason: str = ""
    failed: bool = False

    @property
    def figure(self) -> float:
        """The number that the budget limits."""
        assert self.measured
        ours = statistics.median(self.measured.ours)
        if not self.claim.by:
            return ours
        theirs = statistics.median(self.measured.theirs)
        return ours - theirs if self.claim.by == "difference" else ours / theirs

    @property
    def is_over(self) -> bool:
        """Whether this row makes the whole run fail."""
        return self.failed if self.measured is None else self.figure > self.claim.budget


# -- what a measurement is made of ---------------------------------------------------------------------------------


@contextlib.contextmanager
def learner() -> Iterator[Environment]:
    """Give the environment of somebody who has nothing running yet; end and remove what comes up in it."""
    with tempfile.TemporaryDirectory(prefix="classroom-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        environment = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_INHERITED)}
        environment |= {
            "CLASSROOM_STATE": str(folder / "stack"),
            "CLASSROOM_GRACE": "2",
            "TUTORIAL_DATA_DIR": str(folder / "data"),
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "share"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
            "UV_CACHE_DIR": str(folder / "uv"),
            "TMPDIR": str(folder),
        }
        try:
            yield environment
        finally:
            stop_stack(environment)


def stop_stack(environment: Environment) -> None:
    """Stop the stack of a learner, if there is one, the rough way when the gentle one fails."""
    place = Place(Path(environment["CLASSROOM_STATE"]))
    stack = place.read()
    if not place.is_supervised():
        return
    try:
        run([sys.executable, "-m", "classroom", "down"], environment, 40)
    except FailedError:
        if stack:
            with contextlib.suppress(ProcessLookupError):
                os.kill(stack.supervisor, signal.SIGKILL)


@contextlib.contextmanager
def process(argv: list[str], environment: Environment, folder: Path = ROOT) -> Iterator[subprocess.Popen[str]]:
    """Start a program that writes to files in its learner's folder, and end it and its children at last."""
    with (
        (Path(environment["TMPDIR"]) / "out").open("w") as out,
        (Path(environment["TMPDIR"]) / "err").open("w") as err,
    ):
        child = subprocess.Popen(
            argv, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, text=True, start_new_session=True
        )
    try:
        yield child
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(10)


def run(argv: list[str], environment: Environment, within: float, folder: Path = ROOT, what: str = "") -> str:
    """Run a program to its end and return the last line that it printed; if it fails, say `what` instead of its last words."""
    with process(argv, environment, folder) as child:
        try:
            code = child.wait(within)
        except subprocess.TimeoutExpired as error:
            raise FailedError(f"{what or 'it'} took longer than {within:g} s") from error
    if code:
        raise FailedError(f"{what} ended with code {code}" if what else last_line(environment, "err") or last_line(environment, "out"))
    return last_line(environment, "out")


def last_line(environment: Environment, stream: str) -> str:
    """Find the last line that a learner's program wrote, without the names of this machine's folders."""
    folder = environment["TMPDIR"]
    lines = (Path(folder) / stream).read_text(errors="replace").replace(str(ROOT), ".").replace(folder, "...").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def clocked(argv: list[str], environment: Environment, within: float, folder: Path = ROOT, what: str = "") -> float:
    """Run a program to its end and return how many seconds that took."""
    start = time.perf_counter()
    run(argv, environment, within, folder, what)
    return time.perf_counter() - start


def repeated(number: int, sample: Callable[[], float]) -> Samples:
    """Take samples after a warm-up that fills the caches of bytecode."""
    sample()
    return [sample() for _ in range(number)]


def alternated(number: int, ours: Callable[[], float], theirs: Callable[[], float]) -> Measured:
    """Take samples of two things in turn after a warm-up of both; every other round begins with the other one."""
    ours()
    theirs()
    measured = Measured([], [])
    for turn in range(number):
        pair = [(measured.ours, ours), (measured.theirs, theirs)]
        for samples, sample in reversed(pair) if turn % 2 else pair:
            samples.append(sample())
    return measured


# -- the stack -----------------------------------------------------------------------------------------------------


def script(code: str, environment: Environment) -> float:
    """Run Python code in a new process and return the seconds that it printed at last."""
    return float(run([sys.executable, "-c", code], environment, 60))


def cold(code: str) -> Measured:
    """Run code five times, each time where no stack has ever run."""

    def sample() -> float:
        with learner() as environment:
            return script(code, environment)

    return Measured(repeated(5, sample))


def warm(code: str, scale: float = 1) -> Measured:
    """Run code five times in new processes, all while one stack runs."""
    with learner() as environment:
        run([sys.executable, "-m", "classroom", "up"], environment, 60)
        return Measured(repeated(5, lambda: scale * script(code, environment)))


# -- JupyterLab ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def served(module: list[str], environment: Environment) -> Iterator[tuple[float, int]]:
    """Start JupyterLab; give the seconds until it served its page, and its process id."""
    port = free_port()
    flags = ["--no-browser", f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={_TOKEN}"]
    start = time.perf_counter()
    with process([sys.executable, "-m", *module, *flags], environment) as child:
        while not is_served(port):
            if child.poll() is not None:
                raise FailedError(f"JupyterLab ended: {last_line(environment, 'err')}")
            if time.perf_counter() - start > 60:
                raise FailedError("JupyterLab served no page within 60 s")
            time.sleep(0.01)
        yield time.perf_counter() - start, child.pid


def is_served(port: int) -> bool:
    """Tell whether JupyterLab's page comes, and not a redirection to the login."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", f"/lab?token={_TOKEN}")
        answer = connection.getresponse()
        return answer.status == 200 and b"jupyter-config-data" in answer.read()
    return False


def page(module: list[str]) -> float:
    """Start JupyterLab where nothing runs and return the seconds until it served its page."""
    with learner() as environment, served(module, environment) as (seconds, _):
        return seconds


def lab() -> Measured:
    """Start the course's JupyterLab and a bare one in turn."""
    root = ["--ServerApp.allow_root=True"] if os.geteuid() == 0 else []  # `classroom lab` adds it by itself
    ours, theirs = ["classroom", "lab"], ["jupyterlab", "--ServerApp.ip=127.0.0.1", *root]
    return alternated(3, lambda: page(ours), lambda: page(theirs))


def memory() -> Measured:
    """Add up what the stack and JupyterLab's server occupy, one second after the page."""
    if sys.platform != "linux":
        raise NotMeasuredError("only Linux tells the proportional set size")

    def sample() -> float:
        with learner() as environment, served(["classroom", "lab"], environment) as (_, jupyterlab):
            time.sleep(1)
            stack = Place(Path(environment["CLASSROOM_STATE"])).read()
            if not stack or not stack.worker_pid:
                raise FailedError("there is no stack beside JupyterLab")
            pool = psutil.Process(stack.worker_pid).children(recursive=True)
            pids = [stack.supervisor, stack.broker_pid, stack.worker_pid, *(child.pid for child in pool), jupyterlab]
            return sum(psutil.Process(pid).memory_full_info().pss for pid in pids) / 1e6

    return Measured([sample() for _ in range(3)])


# -- the installation and the lessons ------------------------------------------------------------------------------


def install() -> Measured:
    """Install into copies of the checkout, with `make setup` and with nothing but uv in turn."""
    git, make = shutil.which("git"), shutil.which("make")
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    for name, found in {"git": git, "make": make, "uv": uv}.items():
        if not found:
            raise NotMeasuredError(f"no {name}")
    with learner() as environment:
        # -o: what is not committed yet belongs to the checkout too
        run(["git", "ls-files", "-z", "-c", "-o", "--exclude-standard"], environment, 30, what="git ls-files")
        files = [name for name in (Path(environment["TMPDIR"]) / "out").read_text().split("\0") if name]

    def sample(*commands: list[str]) -> float:
        with learner() as environment:
            folder = Path(environment["TMPDIR"])
            copy_checkout(files, folder / "checkout")
            (folder / "bin").mkdir()
            (folder / "bin" / "uv").symlink_to(Path(str(uv)).resolve())
            environment["PATH"] = f"{folder / 'bin'}{os.pathsep}{environment['PATH']}"
            environment.pop("PYTHON", None)
            return sum(clocked(argv, environment, 600, folder / "checkout", what=" ".join(argv[:2])) for argv in commands)

    lock = ["--require-hashes", "--requirement", "requirements.lock"]
    return alternated(
        2,
        lambda: sample(["make", "setup"]),
        lambda: sample(
            ["uv", "venv", "--quiet", "--python", ">=3.11", ".venv"],
            ["uv", "pip", "install", "--quiet", "--python", ".venv/bin/python", *lock],
        ),
    )


def copy_checkout(files: list[str], folder: Path) -> None:
    """Copy files of this checkout, except those that have just gone."""
    for name in files:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def notebooks() -> Measured:
    """Run the lessons as `make test` does."""
    with learner() as environment:
        argv = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", *FIRST_LESSONS]
        try:
            return Measured([clocked(argv, environment, 180)])
        except FailedError as error:
            raise FailedError(f"pytest: {error}") from error


CLAIMS = [
    Claim("stack", "stack, cold start", lambda: cold(_JOIN), 1.0),
    Claim("join", "joining a running stack", lambda: warm(_JOIN, 1000), 10, "ms"),
    Claim("lab", "make lab, to a served page", lab, 1.0, against="bare JupyterLab", by="difference"),
    Claim("install", "make setup, cold cache", install, 1.3, against="uv venv + uv pip install", by="ratio"),
    Claim("memory", "memory of make lab, no kernel (PSS)", memory, 260, "MB"),
    Claim("notebooks", "lessons 00 to 03 under nbval", notebooks, 20),
    Claim("cell", "first cell to first result, cold", lambda: cold(_FIRST_CELL), 1.5),
    Claim("cell-warm", "first cell to first result, stack runs", lambda: warm(_FIRST_CELL), 1.5),
]


# -- the table -----------------------------------------------------------------------------------------------------


def number(value: float, unit: str, sign: str = "") -> str:
    """Write a number with as many digits as its unit deserves."""
    return f"{value:{sign}.{_DIGITS[unit]}f} {unit}"


def median_and_range(samples: Samples, unit: str) -> str:
    """Write the median of samples, how many there are, and between what they lie."""
    if len(samples) == 1:
        return f"{number(samples[0], unit)} (1 run)"
    low, high = number(min(samples), unit).split()[0], number(max(samples), unit)
    return f"{number(statistics.median(samples), unit)} ({len(samples)} runs, {low} to {high})"


def cells(result: Result) -> list[str]:
    """Write a result as one row of the table."""
    claim, measured = result.claim, result.measured
    unit = "x" if claim.by == "ratio" else claim.unit
    budget = f"<= {number(claim.budget, unit, '+' if claim.by == 'difference' else '')}"
    if not measured:
        problem, verdict = ("failed", "NO") if result.failed else ("not measured", "-")
        return [claim.what, f"{problem}: {result.reason}", "-", "-", budget, verdict]
    return [
        claim.what,
        median_and_range(measured.ours, claim.unit),
        f"{claim.against} {median_and_range(measured.theirs, claim.unit)}" if measured.theirs else "-",
        number(result.figure, unit, "+" if claim.by == "difference" else "") if claim.by else "-",
        budget,
        "NO" if result.is_over else "yes",
    ]


def table(results: list[Result]) -> str:
    """Write all results as a table in plain text."""
    head = ["what", "measured (median, range)", "compared with", "ratio or difference", "budget", "within budget"]
    rows = [head, *map(cells, results)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def machine() -> str:
    """Describe what the numbers were measured on."""
    memory_size = psutil.virtual_memory().total / 1e9
    hardware = f"{os.cpu_count()} cores, {memory_size:.0f} GB, load average {os.getloadavg()[0]:.1f} before the first row"
    return f"Python {platform.python_version()}, {sys.platform}, {hardware}"


def measure(claim: Claim) -> Result:
    """Measure one claim, whatever happens."""
    click.echo(f"measuring: {claim.what} ...", err=True)
    try:
        return Result(claim, claim.measure())
    except NotMeasuredError as error:
        return Result(claim, reason=str(error))
    except FailedError as error:
        return Result(claim, reason=str(error), failed=True)
    except (OSError, ValueError, psutil.Error) as error:  # its text could name this machine's folders
        return Result(claim, reason=type(error).__name__, failed=True)


def chosen(_context: click.Context, _parameter: click.Parameter, value: str | None) -> list[Claim]:
    """Find the claims that `--only` names."""
    if value is None:
        return CLAIMS
    names = value.split(",")
    if unknown := set(names) - {claim.name for claim in CLAIMS}:
        raise click.BadParameter(f"{', '.join(sorted(unknown))}: choose from {', '.join(claim.name for claim in CLAIMS)}")
    return [claim for claim in CLAIMS if claim.name in names]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--only", "claims", callback=chosen, metavar="ROW,...", help=f"Some rows only: {', '.join(claim.name for claim in CLAIMS)}.")
def main(claims: list[Claim]) -> None:
    """Measure what the course claims about its start-up; exit code 1 when a row is over its budget."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that everything is cleaned up then too
    where = machine()
    results = [measure(claim) for claim in claims]
    click.echo(f"{where}\n\n{table(results)}")
    sys.exit(1 if any(result.is_over for result in results) else 0)


if __name__ == "__main__":
    main()

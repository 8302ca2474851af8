"""Measure what watching costs, in one run, beside what one would do otherwise: `python -m benchmarks.scope`."""

import base64
import contextlib
import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO

import click
from celery import Celery
from rich.console import Console
from rich.table import Table

from benchmarks import fold
from classroom import lab
from classroom.stack.place import ROOT
from classroom.stack.ports import free_port
from taskscope import Scope
from taskscope.film import Camera
from taskscope.live import STILLS
from taskscope.stills import Still

TASKS = 600
ROUNDS = 5
STARTS = 20
PATIENCE = 60.0  # seconds for a round


def throughput(app: Celery, watching: Callable[[], AbstractContextManager[object]]) -> float:
    """Return how many tasks a second go through the worker, from the first sent to the last stored."""
    add = app.tasks["tutorial_tasks.arithmetic.add"]
    with watching():
        start = time.perf_counter()
        results = [add.delay(n, 1) for n in range(TASKS)]
        for result in results:
            result.get(timeout=PATIENCE)
        took = time.perf_counter() - start
    for result in results:
        result.forget()
    return TASKS / took


@contextmanager
def watched(app: Celery) -> Iterator[None]:
    """Have a scope listen, as a notebook does."""
    scope = Scope(app)
    try:
        yield
    finally:
        scope.close()


@contextmanager
def celery_s_own_state(app: Celery) -> Iterator[None]:
    """Have Celery's own receiver and `State` listen."""
    state = app.events.State()
    connection = app.connection_for_read()
    receiver = app.events.Receiver(connection, handlers={"*": state.event})
    thread = threading.Thread(target=lambda: receiver.capture(limit=None, timeout=None, wakeup=True), daemon=True)
    thread.start()
    try:
        yield
    finally:
        receiver.should_stop = True
        thread.join(3)
        connection.release()


@contextmanager
def watched_live(app: Celery) -> Iterator[None]:
    """Have a scope listen and feed a live view; nobody is there to draw it."""
    scope = Scope(app)
    scope.projector.show(scope.stage())
    try:
        yield
    finally:
        scope.close()


@contextmanager
def flower(app: Celery) -> Iterator[None]:
    """Have Flower listen, on this machine only and behind a password that nobody knows."""
    port = free_port()
    password = f"bench:{secrets.token_urlsafe(16)}"
    environment = os.environ | {
        "CELERY_BROKER_URL": str(app.conf.broker_url),
        "CELERY_RESULT_BACKEND": str(app.conf.result_backend),
        "FLOWER_BASIC_AUTH": password,
    }
    command = ["-m", "celery", "-A", "tutorial_tasks.celery_app", "flower", "--address=127.0.0.1", f"--port={port}"]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT)
        try:
            _serves(process, f"http://127.0.0.1:{port}/workers?json=1", password, said)
            yield
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def _serves(process: subprocess.Popen[bytes], address: str, password: str, said: IO[bytes]) -> None:
    """Wait until Flower knows the worker."""
    asked = urllib.request.Request(address, headers={"Authorization": f"Basic {base64.b64encode(password.encode()).decode()}"})
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(asked, timeout=5) as answer:
            if json.load(answer)["data"]:
                return
        time.sleep(0.1)
    said.seek(0)
    raise SystemExit(f"Flower does not answer\n{said.read().decode(errors='replace')[-2000:]}\n  next: make bench, again")


_FRESH = """
from classroom import lab
lab.connect()
from tutorial_tasks.arithmetic import add
from tutorial_tasks.celery_app import app
from taskscope import Scope
scope = Scope(app)
results = [add.delay(n, n) for n in range(5)]
[result.get(timeout=10) for result in results]
scope.settle()
print(sum(said.source == "event" and said.task is not None for said in scope.ledger))
"""


def fresh_start() -> int:
    """Return how many of the twenty events of five tasks a process sees that has just started."""
    run = subprocess.run([sys.executable, "-c", _FRESH], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return int(run.stdout.split()[-1])


@click.command()
def main() -> None:
    """Measure, print a table, and end with 1 when a budget was missed."""
    os.environ[STILLS] = "1"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that Flower ends with us
    lab.connect()
    from tutorial_tasks.celery_app import app

    app.loader.import_default_modules()
    ways: dict[str, Callable[[], AbstractContextManager[object]]] = {
        "events on, nobody listens": nullcontext,
        "watched by a scope": lambda: watched(app),
        "with a live view, too": lambda: watched_live(app),
        "celery.events.state.State": lambda: celery_s_own_state(app),
        "Flower": lambda: flower(app),
    }
    throughput(app, nullcontext)  # once for nothing
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):  # in turns, so that whatever else the machine does falls on all of them
        for name, watching in ways.items():
            rates[name].append(throughput(app, watching))
    table = Table("what", "measured", "budget", "")
    missed = False

    def row(what: str, measured: str, budget: str = "", held: bool = True) -> None:
        nonlocal missed
        missed |= not held
        table.add_row(what, measured, budget, "" if held else "over")

    for name, found in rates.items():
        ratio = statistics.median(one / other for one, other in zip(found, rates["events on, nobody listens"], strict=True))
        held = name != "watched by a scope" or ratio >= 0.9
        row(name, f"{statistics.median(found):.0f} tasks/s, {ratio:.2f} of unwatched", "0.90" if name == "watched by a scope" else "", held)
    scope = Scope(app)
    for result in [app.tasks["tutorial_tasks.lifecycle.flaky"].delay(2, 0.01) for _ in range(20)]:
        result.get(timeout=PATIENCE)
    scope.settle()
    film = scope.lanes().film()
    stills: dict[str, list[float]] = {"stage": [], "lanes": []}
    for name, took in stills.items():
        for _ in range(20):  # the quickest counts: the others were held up by something else
            start = time.perf_counter()
            Still(film, name)._repr_mimebundle_()
            took.append(time.perf_counter() - start)
        row(f"a still of the {name}, {scope.transitions} transitions", f"{min(took) * 1000:.0f} ms", "30 ms", min(took) <= 0.03)
    row("bytes to the browser for a transition, in batches", f"{bytes_a_transition(scope):.0f} B")
    scope.close()

    seen = [fresh_start() for _ in range(STARTS)]
    row(
        f"events seen of those sent, {STARTS} fresh starts", f"{sum(seen) / (20 * STARTS):.3f}", "1.000", all(count == 20 for count in seen)
    )
    for name, value, unit, budget in fold.rows():
        if budget is not None:
            row(f"the history: {name}", f"{value:.{'1' if unit == 'us' else '0'}f} {unit}", f"{budget:g} {unit}", value <= budget)
    Console().print(table)
    sys.exit(1 if missed else 0)


def bytes_a_transition(scope: Scope) -> float:
    """Return how many bytes of JSON a live view is sent for each transition, when it comes in batches of one task."""
    camera = Camera()
    tasks = scope.tasks()
    sent = sum(len(json.dumps(camera.take([task]))) for task in tasks)
    return sent / scope.transitions


if __name__ == "__main__":
    main()

"""Measure what the service adds to sending a group oneself, side by side in one run: `python -m benchmarks.batch_api`."""

import http.client
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from threading import Barrier
from typing import Any
from urllib.parse import urlsplit

import click
import psutil
from celery import Celery, group
from rich.console import Console
from rich.table import Table

from classroom import lab
from classroom.evidence import unacknowledged, wait_until, waiting
from classroom.stack.place import ROOT
from classroom.stack.processes import read_line_within

SIZE = 10
TIMES = 200
CLIENTS = 50
PATIENCE = 60.0  # seconds

_numbers = count(int(time.time()) % 10**9)


class Client:
    """One client with a connection that it keeps."""

    def __init__(self, address: str) -> None:
        self.connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=PATIENCE)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Make a request, and return what the answer says."""
        headers = {"Content-Type": "application/json"} if body else {}
        self.connection.request(method, path, json.dumps(body) if body else None, headers)
        said = self.connection.getresponse()
        raw = said.read()
        if said.status >= 400:
            raise SystemExit(f"{method} {path} was answered with {said.status}: {raw.decode()}\n  next: make bench, again")
        return json.loads(raw)

    def submit(self, batch: Any) -> str:
        """Hand in a batch, and return where to ask for it."""
        return f"/grouptasks/{self.ask('POST', '/grouptasks', batch)['groupTaskId']}"

    def finish(self, location: str) -> None:
        """Ask until the batch is processed."""
        deadline = time.monotonic() + PATIENCE
        while not self.ask("GET", location)["grouptaskProcessed"]:
            if time.monotonic() > deadline:
                raise SystemExit(f"{location} is not processed after {PATIENCE:g} s\n  next: python -m classroom logs")
            time.sleep(0.002)


@contextmanager
def service() -> Iterator[tuple[str, psutil.Process]]:
    """Run the service, with tasks that take no time."""
    environment = os.environ | {"BATCH_TASK_SECONDS": "0-0", "BATCH_REQUESTS": ""}
    process = subprocess.Popen(
        [sys.executable, "-m", "batch_api", "--port", "0"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        said = read_line_within(process.stdout, PATIENCE)
        if not said:
            raise SystemExit("the service did not start\n  next: python -m batch_api")
        yield said.split()[0], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def new_batch() -> dict[str, Any]:
    """Make a batch of pairs that nobody has asked for."""
    return {"tasks": [{"paramA": next(_numbers), "paramB": 1} for _ in range(SIZE)]}


def seconds(act: Callable[[], object]) -> float:
    """Return how long this takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def p95(samples: list[float]) -> float:
    """Return what 95 of 100 samples do not exceed."""
    return sorted(samples)[math.ceil(0.95 * len(samples)) - 1]


def stampede(app: Celery, address: str) -> tuple[int, int, int]:
    """Have many clients ask for the same pairs at once.

    Returns:
        How many messages were sent, how many tasks the worker then ran, and how many distinct pairs there are.
    """
    wait_until(lambda: not waiting(app) and not unacknowledged(app), PATIENCE, "the worker has done what came before")
    lab.worker.stop()
    batch = new_batch()
    together = Barrier(CLIENTS)

    def ask(_: int) -> str:
        client = Client(address)
        together.wait(PATIENCE)
        return client.submit(batch)

    try:
        with ThreadPoolExecutor(CLIENTS) as clients:
            locations = list(clients.map(ask, range(CLIENTS)))
        sent = len(waiting(app))
    finally:
        lab.worker.start()
    for location in locations:
        Client(address).finish(location)
    wait_until(lambda: not waiting(app) and not unacknowledged(app), PATIENCE, "the worker has run all messages")
    # A worker counts what it runs from its start on, and this one was started for these.
    counts = [worker["total"] for worker in (app.control.inspect(timeout=5).stats() or {}).values()]
    return sent, sum(count.get("tutorial_tasks.batches.add_pair", 0) for count in counts), SIZE


@click.command()
def main() -> None:
    """Measure, print a table, and end with 1 when the stampede had a pair sent or run twice."""
    lab.connect()
    from tutorial_tasks.batches import add_pair
    from tutorial_tasks.celery_app import app

    took: dict[str, list[float]] = {"script": [], "POST": [], "GET": [], "cached POST": [], "computed": [], "cached": []}
    with service() as (address, process):
        client = Client(address)
        for turn in range(
            -10, TIMES
        ):  # in turns, so that whatever else the machine does falls on all of them; the first ones are for nothing
            batch = new_batch()
            mine = group(add_pair.s(next(_numbers), 1, (0, 0)) for _ in range(SIZE))
            locations: list[str] = []
            once: dict[str, float] = {"script": seconds(lambda mine=mine: mine.apply_async().forget())}  # type: ignore[misc]
            once["POST"] = seconds(lambda batch=batch, to=locations: to.append(client.submit(batch)))  # type: ignore[misc]
            once["GET"] = seconds(lambda to=locations: client.ask("GET", to[0]))  # type: ignore[misc]
            once["computed"] = once["POST"] + seconds(lambda to=locations: client.finish(to[0]))  # type: ignore[misc]
            once["cached POST"] = seconds(lambda batch=batch, to=locations: to.append(client.submit(batch)))  # type: ignore[misc]
            once["cached"] = once["cached POST"] + seconds(lambda to=locations: client.finish(to[1]))  # type: ignore[misc]
            if turn >= 0:
                for name, needed in once.items():
                    took[name].append(needed)
        sent, run, distinct = stampede(app, address)
        memory = process.memory_full_info().pss / 2**20 if sys.platform == "linux" else process.memory_info().rss / 2**20
    table = Table("by one client", "a second", "median", "p95", "÷ publishing")
    for name, what in {
        "script": f"a group of {SIZE} published by a script",
        "POST": f"POST of {SIZE} new pairs",
        "cached POST": f"POST of {SIZE} known pairs",
        "GET": "GET of a batch",
    }.items():
        ratio = statistics.median(one / other for one, other in zip(took[name], took["script"], strict=True))
        middle, late = (f"{needed * 1000:.1f} ms" for needed in (statistics.median(took[name]), p95(took[name])))
        table.add_row(what, f"{TIMES / sum(took[name]):.0f}", middle, late, f"{ratio:.2f}")
    Console().print(table)
    cheaper = statistics.median(one / other for one, other in zip(took["cached"], took["computed"], strict=True))
    click.echo(f"a cached batch ÷ a computed one, from the request to the results: {cheaper:.2f}")
    click.echo(f"messages sent ÷ distinct pairs, {CLIENTS} clients at once: {sent / distinct:.3f} (budget 1.000)")
    click.echo(f"tasks run ÷ distinct pairs, {CLIENTS} clients at once: {run / distinct:.3f} (budget 1.000)")
    click.echo(f"memory of the service: {memory:.0f} MB")
    sys.exit(not sent == run == distinct)


if __name__ == "__main__":
    main()

"""Measure how soon an event is drawn, and how smoothly a thousand tokens move, in a real JupyterLab: `python -m benchmarks.pixels`.

Chromium runs without a window and without a graphics card, on the same cores as the worker: this is the least that anybody has.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tests.browser.lab import CHROMIUM, Lab, Notebook, chromium

CONNECT = """
from celery import group
from IPython.display import display
from classroom import lab
from taskscope import Scope
from tutorial_tasks.arithmetic import add
from tutorial_tasks.celery_app import app
lab.connect()
"""
ONE_BY_ONE = """
scope = Scope(app)
display(scope.lanes())
import time
time.sleep(1)  # the picture is there before anything happens
for number in range(60):
    add.delay(number, 1).get(timeout=30)
"""
SAID = """
import json
scope.settle()
lanes = [lane for task in scope.tasks() for lane in task.lanes]
heard = [1000 * (one.arrived - one.at) for one in scope.ledger if one.source == "event" and one.task]
print(json.dumps([{f"{lane.task} {lane.attempt} {mark.state}": mark.at for lane in lanes for mark in lane.marks}, heard]))
"""
MANY = """
scope.close()
crowd = Scope(app)
display(crowd.stage())
group(add.s(number, 1) for number in range(1000)).delay().get(timeout=120)
"""
# Whatever appears in a frame is noted when the next one begins: then the browser has drawn it. The loop is there before the picture,
# so it comes first in each frame: what the picture does next is no part of what was measured.
NOTE_WHEN_DRAWN = """() => {
  window.drawn = {};
  const fresh = new Set();
  new MutationObserver((records) => {
    for (const { target: { dataset } } of records) fresh.add(`${dataset.uuid} ${dataset.attempt} ${dataset.state}`);
  }).observe(document.body, { subtree: true, attributeFilter: ["data-state", "data-mark"] });
  const note = () => {
    for (const key of fresh) drawn[key] ??= Date.now();
    fresh.clear();
    requestAnimationFrame(note);
  };
  requestAnimationFrame(note);
}"""
# The cell says when it has ended: Playwright would look in every frame, and have the page laid out for it.
RUN = """(number) => {
  const { model } = panel.content.widgets[number];
  window.ended = new Promise((end) => {
    model.stateChanged.connect((_, { name, newValue }) => name === "executionCount" && newValue && end());
  });
  panel.content.activeCellIndex = number;
  panel.content.deselectAll();
  void jupyterapp.commands.execute("notebook:run-cell");
}"""
NOTE_FRAMES = """() => {
  window.frames_seen = [];
  const note = (stamp) => {
    const root = [...document.querySelectorAll(".taskscope")].at(-1);
    const seen = root?.dataset.view === "stage" ? Number(root.dataset.transitions ?? 0) : 0;
    frames_seen.push([stamp, seen, seen ? root.querySelectorAll(".token").length : 0]);
    requestAnimationFrame(note);
  };
  requestAnimationFrame(note);
}"""


def watch(book: Notebook, number: int) -> None:
    """Run a cell to its end with its picture in sight."""
    book.page.evaluate(RUN, number)
    book.scope(number).wait_for()
    book.scope(number).scroll_into_view_if_needed()
    book.page.evaluate("ended")
    book.finished(number)


def measured(folder: Path) -> tuple[list[float], list[float], list[tuple[float, int, int]]]:
    """Return the milliseconds from each event to its pixels and to our kernel, and every frame with what it shows."""
    server = Lab(folder)
    try:
        server.wait()
        with chromium() as browser:
            book = Notebook(browser.new_page(viewport={"width": 1400, "height": 1000}))
            book.page.set_default_timeout(150_000)
            book.open(server.write("pixels.ipynb", [CONNECT, ONE_BY_ONE, SAID, MANY]))
            book.run(0)
            book.finished(0)
            book.page.evaluate(NOTE_WHEN_DRAWN)
            watch(book, 1)
            book.run(2)
            said: dict[str, float]
            said, heard = json.loads(book.finished(2))
            book.page.wait_for_function("(keys) => keys.every((key) => key in drawn)", arg=list(said))
            drawn: dict[str, Any] = book.page.evaluate("drawn")
            book.page.evaluate(NOTE_FRAMES)
            watch(book, 3)
            frames = [(float(stamp), int(seen), int(tokens)) for stamp, seen, tokens in book.page.evaluate("frames_seen")]
    finally:
        server.end()
    return [drawn[key] - 1000 * at for key, at in said.items()], heard, frames


def moving(frames: Sequence[tuple[float, int, int]]) -> list[float]:
    """Return how long each frame took while tokens moved: from the first transition to the last."""
    last = frames[-1][1]
    stamps = [stamp for stamp, seen, _ in frames if 0 < seen < last]
    return [two - one for one, two in pairwise(stamps)]


def part(values: Sequence[float], share: float) -> float:
    """Return the value that so large a share of all is below."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


@click.command()
def main() -> None:
    """Measure, print a table, and end with 1 when a budget was missed."""
    if CHROMIUM is None:
        sys.exit("there is no Chromium here\n  next: apt-get install chromium && make browser")
    with tempfile.TemporaryDirectory() as folder:
        lags, heard, frames = measured(Path(folder))
    took = moving(frames)
    rows = [
        ("event to kernel, 95 %", part(heard, 0.95), 1e9, "ms"),
        ("event to pixels, median", statistics.median(lags), 1e9, "ms"),
        (f"event to pixels, 95 % of {len(lags)}", part(lags, 0.95), 50, "ms"),
        (f"a frame with up to {max(tokens for *_, tokens in frames)} tokens, median of {len(took)}", statistics.median(took), 17.5, "ms"),
        ("a frame, 95 %", part(took, 0.95), 34, "ms"),
    ]
    table = Table("what", "measured", "budget", "")
    for what, value, budget, unit in rows:
        table.add_row(what, f"{value:.0f} {unit}", f"{budget:g} {unit}" if budget < 1e9 else "", "over" if value > budget else "")
    table.add_row("frames a second while tokens move", f"{1000 * len(took) / sum(took):.0f}", "60", "")
    Console().print(table)
    sys.exit(any(value > budget for _, value, budget, _ in rows))


if __name__ == "__main__":
    main()

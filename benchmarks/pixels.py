"""Measure how soon an event is drawn, and how smoothly a thousand tokens move, in a real JupyterLab: `python -m benchmarks.pixels`.

Chromium runs without a window and without a graphics card, on the same cores as the worker: this is the least that anybody has.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

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
# The least that a widget can do: it notes what it is told, in the next frame and without a picture. No widget takes less.
BARE = """
import anywidget, threading, time
class Bare(anywidget.AnyWidget):
    _esm = '''export default { render({ model, el }) {
      model.on("msg:custom", (told) => requestAnimationFrame(() => {
        for (const key of told) {
          const one = el.appendChild(document.createElement("i"));
          [one.dataset.uuid, one.dataset.attempt, one.dataset.mark, one.dataset.state] = [key, 0, "", "told"];
        }
      }));
    } }'''
bare, quiet, is_told = Bare(), Scope(app), True
def tell(position=0):
    while is_told:
        quiet.ledger.wait(position, 1)
        news, position = quiet.ledger.since(position)
        bare.send([f"{said.task} {said.source} {said.kind}" for said in news if said.task])
threading.Thread(target=tell, daemon=True).start()
display(bare)
"""
RUN_TASKS = """
time.sleep(1)  # the picture is there before anything happens
for number in range(60):
    add.delay(number, 1).get(timeout=30)
"""
TOLD = """
import json
quiet.settle()
is_told = False
quiet.close()
print(json.dumps({f"{said.task} {said.source} {said.kind} 0 told": said.at for said in quiet.ledger if said.task}))
"""
ONE_BY_ONE = """
scope = Scope(app)
display(scope.lanes())
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


@dataclass
class Measured:
    """Milliseconds until an event was heard by the kernel, noted by the bare widget and drawn by us; every frame, and what it showed."""

    heard: list[float]
    bare: list[float]
    drawn: list[float]
    frames: list[tuple[float, int, int]]


def measured(folder: Path) -> Measured:
    """Measure all of it in one notebook."""
    server = Lab(folder)
    try:
        server.wait()
        with chromium() as browser:
            book = Notebook(browser.new_page(viewport={"width": 1400, "height": 1000}))
            book.page.set_default_timeout(150_000)
            book.open(server.write("pixels.ipynb", [CONNECT, BARE + RUN_TASKS, TOLD, ONE_BY_ONE + RUN_TASKS, SAID, MANY]))
            book.run(0)
            book.finished(0)
            book.page.evaluate(NOTE_WHEN_DRAWN)
            book.page.evaluate(RUN, 1)
            book.page.evaluate("ended")
            book.run(2)
            bare = lags(book, json.loads(book.finished(2)))
            watch(book, 3)
            book.run(4)
            said, heard = json.loads(book.finished(4))
            ours = lags(book, said)
            book.page.evaluate(NOTE_FRAMES)
            watch(book, 5)
            frames = [(float(stamp), int(seen), int(tokens)) for stamp, seen, tokens in book.page.evaluate("frames_seen")]
    finally:
        server.end()
    return Measured(heard, bare, ours, frames)


def lags(book: Notebook, said: dict[str, float]) -> list[float]:
    """Return the milliseconds from when each thing happened until it was drawn."""
    book.page.wait_for_function("(keys) => keys.every((key) => key in drawn)", arg=list(said))
    drawn: dict[str, float] = book.page.evaluate("drawn")
    return [drawn[key] - 1000 * at for key, at in said.items()]


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
        one = measured(Path(folder))
    took = moving(one.frames)
    most = max(tokens for *_, tokens in one.frames)
    ours, least = part(one.drawn, 0.95), part(one.bare, 0.95)
    rows = [
        ("event to kernel, 95 %", part(one.heard, 0.95), None),
        ("event to pixels, median", statistics.median(one.drawn), None),
        (f"event to pixels, 95 % of {len(one.drawn)}", ours, 50),
        ("event to pixels of a widget without a picture, median", statistics.median(one.bare), None),
        (f"event to pixels of that widget, 95 % of {len(one.bare)}", least, None),
        (f"a frame with up to {most} tokens, median of {len(took)}", statistics.median(took), 17.5),
        ("a frame, 95 %", part(took, 0.95), 34),
    ]
    table = Table("what", "measured", "budget", "")
    for what, value, budget in rows:
        table.add_row(what, f"{value:.0f} ms", f"{budget:g} ms" if budget else "", "over" if budget and value > budget else "")
    table.add_row("ours ÷ the widget without a picture, 95 %", f"{ours / least:.2f}", "", "")
    pace = 1000 * len(took) / sum(took)
    table.add_row("frames a second while tokens move", f"{pace:.0f}", "60", "over" if pace < 60 else "")
    Console().print(table)
    sys.exit(pace < 60 or any(budget and value > budget for _, value, budget in rows))


if __name__ == "__main__":
    main()

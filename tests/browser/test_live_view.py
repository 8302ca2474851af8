"""The live view in a real JupyterLab: it hears everything while a cell blocks, and the reader can work with it."""

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.lab import CHROMIUM, Lab, Notebook, chromium, is_in_ci

CONNECT = """
from IPython.display import display
from celery import chain, chord, group
from classroom import lab
from taskscope import Scope
from taskscope.history import History, count_transitions
from tutorial_tasks.arithmetic import add, slow_add, total
from tutorial_tasks.celery_app import app
from tutorial_tasks.lifecycle import count_to, fail, flaky, wait_at_gate
lab.connect()
"""
MANY = """
scope = Scope(app)
display(scope.lanes())
tasks = [add.s(1, 2)] * 24 + [slow_add.s(1, 2, 0.3)] * 4 + [count_to.s(5, 0.08)] * 6 + [flaky.s(3, 0.1)] * 5
held = wait_at_gate.delay("many")
print(chord(tasks)(total.s()).get(timeout=30), held.get(timeout=60))
"""
COUNT = """
scope.settle()
history = History()
history.extend(scope.ledger)
print(count_transitions(history))
"""
FEW = """
few = Scope(app)
display(few.lanes())
group(add.s(1, 2), slow_add.s(1, 2, 0.2), flaky.s(2, 0.1)).delay().get(timeout=10)
print(wait_at_gate.delay("few").get(timeout=60))
"""
MOVING = """
moving = Scope(app)
display(moving.stage())
held = wait_at_gate.delay("moving")
print(group([add.s(1, 2)] * 3 + [slow_add.s(1, 2, 0.5)] * 3).delay().get(timeout=10), held.get(timeout=60))
"""
LOOKS = """
looks = Scope(app)
plan = looks.graph(chain(add.s(1, 2), group(add.s(3), flaky.s(2, 0.1), count_to.s(0.05)), total.s(), slow_add.s(1, 0.2)))
display(plan)
plan.apply_async().get(timeout=10)
fail.delay("this one fails, and says so at some length").get(timeout=10, propagate=False)
display(looks.lanes())
display(looks.xray())
"""
CELLS = [CONNECT, MANY, COUNT, FEW, MOVING, LOOKS]
CONNECT_CELL, MANY_CELL, COUNT_CELL, FEW_CELL, MOVING_CELL, LOOKS_CELL = range(len(CELLS))

MARKS = "root.querySelectorAll('[data-mark]').length"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    missing = [] if importlib.util.find_spec("playwright") else ["playwright: pip install playwright"]
    missing += [] if CHROMIUM else ["chromium: apt-get install chromium"]
    if missing:
        said = f"the live view is not tested in a browser, because these are missing: {', '.join(missing)}"
        if is_in_ci():
            pytest.fail(said)
        pytest.skip(said)
    lab = Lab(tmp_path_factory.mktemp("lab"))
    try:
        lab.wait()
        yield lab
    finally:
        lab.end()


@pytest.fixture(scope="module")
def opened(server: Lab) -> Iterator[Notebook]:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        notebook = Notebook(page)
        notebook.open(server.write("live.ipynb", [cell.strip() for cell in CELLS]))
        notebook.command("application:toggle-left-area")
        notebook.run(CONNECT_CELL)
        assert "Connected" in notebook.finished(CONNECT_CELL)
        yield notebook


@pytest.fixture
def notebook(opened: Notebook) -> Iterator[Notebook]:
    """The notebook; whatever a test does with it, the console of the browser stays clean."""
    opened.errors.clear()
    yield opened
    assert opened.errors == []


def test_every_transition_is_drawn_while_the_cell_blocks(notebook: Notebook, server: Lab) -> None:
    notebook.run(MANY_CELL)
    picture = notebook.scope(MANY_CELL)
    picture.wait_for()
    picture.evaluate(
        """(root) => {
             window.announced = [];
             const log = root.querySelector("[role=log]");
             new MutationObserver(() => announced.push([performance.now(), log.textContent])).observe(log, {childList: true});
           }"""
    )
    for number in (20, 60, 100, 140, 180, 200):
        notebook.wait_for(picture, f"{MARKS} >= arg && root.dataset.transitions >= arg", number)
        assert notebook.runs(MANY_CELL), f"the cell ended before {number} transitions were drawn"
    server.open_gate("many")
    assert notebook.finished(MANY_CELL).split()[-1] == "many"
    notebook.run(COUNT_CELL)
    expected = int(notebook.finished(COUNT_CELL))
    assert expected > 200
    notebook.wait_for(picture, f"{MARKS} === arg && Number(root.dataset.transitions) === arg", expected, within=5000)

    announced = notebook.page.evaluate("announced")
    times = [at for at, _ in announced]
    assert len(announced) >= 2
    assert all(text for _, text in announced)
    assert min(later - earlier for earlier, later in zip(times, times[1:], strict=False)) > 1900, announced

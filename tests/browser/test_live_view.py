"""The live view in a real JupyterLab: it hears everything while a cell blocks, and the reader can work with it."""

import math
import os
import re
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from classroom.predictions import predict
from tests.browser.lab import TOKEN, Lab, Notebook, chromium, need_a_browser
from tests.stack.processes import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Locator

CONNECT = """
import ipykernel
from IPython.display import display
from celery import chain, chord, group
from classroom import lab
from taskscope import Scope
from taskscope.history import History, count_transitions
from tutorial_tasks.arithmetic import add, slow_add, total
from tutorial_tasks.celery_app import app
from tutorial_tasks.lifecycle import Gate, count_to, fail, flaky, wait_at_gate
lab.connect()
print("ipykernel", ipykernel.__version__)
"""
MANY = """
Gate("many").close()
scope = Scope(app)
display(scope.lanes())
tasks = [add.s(1, 2)] * 24 + [slow_add.s(1, 2, 0.3)] * 4 + [count_to.s(5, 0.08)] * 6 + [flaky.s(3, 0.1)] * 5
held = wait_at_gate.delay("many", 300)
print(chord(tasks)(total.s()).get(timeout=60), held.get(timeout=300))
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
group(add.s(1, 2), slow_add.s(1, 2, 0.2), flaky.s(2, 0.5)).delay().get(timeout=60)
print(wait_at_gate.delay("few", 300).get(timeout=300))
"""
MOVING = """
Gate("before").close(), Gate("after").close()
moving = Scope(app)
display(moving.stage())
wait_at_gate.delay("before", 300).get(timeout=300)
group([add.s(1, 2)] * 3 + [slow_add.s(1, 2, 0.4)] * 3).delay().get(timeout=60)
wait_at_gate.delay("after", 300).get(timeout=300)
"""
BRIEF = """
brief = Scope(app)
display(brief.lanes())
group(add.s(1, 2), flaky.s(2, 0.5), count_to.s(2, 0.05)).delay().get(timeout=60)
brief.settle(timeout=20)
print(sum(len(lane.marks) for task in brief.tasks() for lane in task.lanes))
"""
AGAIN = """
display(brief.lanes())
"""
LATER = """
later = add.delay(7, 7)
later.get(timeout=60)
brief.settle(timeout=20)
display(brief.lanes(later, by="slot"))
brief.lanes()
"""
GONE = """
gone = Scope(app)
add.delay(1, 1).get(timeout=60)
lab.worker.stop()
gone.stage()
"""
BACK = """
lab.worker.start()
add.delay(2, 2).get(timeout=60)
gone.close()
"""
LOOKED_AT = """
print(*[screen.stage.is_looked_at for screen in brief.projector._screens])
"""
LOOKS = """
looks = Scope(app)
plan = looks.graph(chain(add.s(1, 2), group(add.s(3), flaky.si(2, 0.5), count_to.s(0.05)), total.s(), slow_add.s(1, 0.2)))
display(plan)
plan.apply_async().get(timeout=60)
fail.delay("this one fails, and says so at some length").get(timeout=60, propagate=False)
display(looks.lanes())
display(looks.xray())
"""
WAITING = """
add.apply_async((2, 3), countdown=600)
Scope(app).stage()
"""
ASK = """
lab.predict("04a")
"""
ANSWER = """
print("here is what happened")
"""
MOST = """
for one in [one for one in globals().values() if isinstance(one, Scope)]: one.close()
Gate("most").close()
scope = Scope(app)
display(scope.lanes())
held = wait_at_gate.delay("most", 300)
tasks = group([count_to.s(110, 0)] * 85 + [add.s(1, 2)] * 150)
print(len(tasks.delay().get(timeout=200)), held.get(timeout=300))
"""
CELLS = [CONNECT, MANY, COUNT, BRIEF, AGAIN, LATER, GONE, BACK, LOOKED_AT, FEW, MOVING, LOOKS, ASK, ANSWER, MOST]
CONNECT_CELL, MANY_CELL, COUNT_CELL, BRIEF_CELL, AGAIN_CELL, LATER_CELL, GONE_CELL, BACK_CELL, *OTHER_CELLS = range(len(CELLS))
LOOKED_AT_CELL, FEW_CELL, MOVING_CELL, LOOKS_CELL, ASK_CELL, ANSWER_CELL, MOST_CELL = OTHER_CELLS

MARKS = "root.querySelectorAll('[data-mark]').length"
NOTE_WHAT_IS_SAID = """(number) => {
  window.announced = [];
  const { node } = panel.content.widgets[number];
  const replace = Element.prototype.replaceChildren;
  Element.prototype.replaceChildren = function (...children) {
    if (this.role === "log" && node.contains(this)) announced.push([performance.now(), children[0].textContent]);
    return replace.apply(this, children);
  };
}"""
NOTE_THE_ICONS = """(cell) => {
  window.icons = [];
  const note = (all) => icons.push(...all.map(({ target }) => target.dataset.icon));
  new MutationObserver(note).observe(cell, { subtree: true, attributeFilter: ["data-icon"] });
}"""
FRAMES = "async (count) => { for (; count; count -= 1) await new Promise(requestAnimationFrame); }"
FOCUSED = "[document.activeElement.getAttribute('role'), document.activeElement.getAttribute('aria-label')]"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    need_a_browser()
    lab = Lab(tmp_path_factory.mktemp("lab"))
    try:
        yield lab
    finally:
        lab.end()


@pytest.fixture(scope="module")
def opened(server: Lab) -> Iterator[Notebook]:
    with chromium() as browser:
        server.wait()
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        notebook = Notebook(page)
        notebook.open(server.write("live.ipynb", [cell.strip() for cell in CELLS]))
        notebook.command("application:toggle-left-area")
        notebook.run(CONNECT_CELL)
        assert "Connected" in notebook.finished(CONNECT_CELL)
        yield notebook


@pytest.fixture
def notebook(opened: Notebook, server: Lab) -> Iterator[Notebook]:
    """The notebook; whatever a test does with it, the console of the browser stays clean."""
    opened.errors.clear()
    yield opened
    if any(opened.runs(number) for number in range(len(CELLS))):  # the test has failed, the next one need not
        server.open_gates("many", "most", "few", "before", "after")
        opened.interrupt()
    assert opened.errors == []


def test_every_transition_is_drawn_while_the_cell_blocks(notebook: Notebook, server: Lab) -> None:
    notebook.page.evaluate(NOTE_WHAT_IS_SAID, MANY_CELL)
    notebook.run(MANY_CELL)
    picture = notebook.scope(MANY_CELL)
    picture.wait_for()
    for number in (20, 60, 100, 140, 180, 200):
        notebook.wait_for(picture, f"{MARKS} >= arg && root.dataset.transitions >= arg", number)
        assert notebook.runs(MANY_CELL), f"the cell ended before {number} transitions were drawn"
    notebook.page.wait_for_function("announced.length >= 1")
    before = notebook.page.evaluate("announced.length")
    server.open_gates("many")
    assert notebook.finished(MANY_CELL).split()[-1] == "many"
    notebook.run(COUNT_CELL)
    expected = int(notebook.finished(COUNT_CELL))
    assert expected > 200
    notebook.wait_for(picture, f"{MARKS} === arg && Number(root.dataset.transitions) === arg", expected)

    notebook.page.wait_for_function("(before) => announced.length > before", arg=before)  # of the end of the one at the gate
    announced = notebook.page.evaluate("announced")
    times = [at for at, _ in announced]
    assert all(text for _, text in announced)
    assert min(later - earlier for earlier, later in pairwise(times)) >= 2000, announced


@pytest.mark.long
def test_every_transition_is_drawn_with_another_ipykernel(opened: Notebook, server: Lab) -> None:
    """What a comm sends goes another way in 7.3 than in 7.4, which is the one of requirements.lock."""
    browser = opened.page.context.browser
    assert browser
    kernel = server.install_kernel("==7.3.*")
    book = Notebook(browser.new_page(viewport={"width": 1200, "height": 1000}))
    try:
        book.open(server.write("another-ipykernel.ipynb", [cell.strip() for cell in CELLS], kernel))
        book.run(CONNECT_CELL)
        assert "ipykernel 7.3." in book.finished(CONNECT_CELL)
        test_every_transition_is_drawn_while_the_cell_blocks(book, server)
        assert book.errors == []
    finally:
        server.open_gates("many")
        book.page.close()


@pytest.mark.long
def test_ten_thousand_transitions_are_drawn_while_the_cell_blocks(notebook: Notebook, server: Lab) -> None:
    notebook.run(MOST_CELL)
    picture = notebook.scope(MOST_CELL)
    picture.wait_for()
    notebook.wait_for(picture, f"root.dataset.transitions >= arg && {MARKS} >= arg", 10_000, within=180_000)
    assert notebook.runs(MOST_CELL), "the cell ended before they were drawn"
    server.open_gates("most")
    assert notebook.finished(MOST_CELL).split() == ["235", "most"]
    notebook.run(COUNT_CELL)
    expected = int(notebook.finished(COUNT_CELL))
    assert expected >= 85 * 114 + 150 * 4
    notebook.wait_for(picture, "Number(root.dataset.transitions) === arg", expected)


def test_a_reload_keeps_the_picture_of_a_saved_notebook(notebook: Notebook) -> None:
    # JupyterLab fetches the model from the kernel, which lives on; the output must be in the file, an unsaved one is gone.
    notebook.run(BRIEF_CELL)
    expected = int(notebook.finished(BRIEF_CELL))
    picture = notebook.scope(BRIEF_CELL)
    notebook.wait_for(picture, f"{MARKS} === arg && Number(root.dataset.transitions) === arg", expected)
    notebook.command("docmanager:save")
    notebook.page.reload()
    notebook.ready()
    picture.wait_for()
    notebook.wait_for(picture, f"{MARKS} === arg && Number(root.dataset.transitions) === arg", expected)
    assert picture.get_attribute("data-view") == "lanes"


def test_a_picture_shows_what_its_cell_left_when_a_later_cell_has_another(notebook: Notebook) -> None:
    notebook.run(BRIEF_CELL)
    expected = int(notebook.finished(BRIEF_CELL))
    picture = notebook.scope(BRIEF_CELL)
    notebook.wait_for(picture, f"{MARKS} === arg && Number(root.dataset.transitions) === arg", expected)
    assert not picture.get_by_role("button", name="its cell had run").is_visible()
    notebook.page.mouse.move(1, 1)  # below a token under the pointer stands its name
    words = "[...root.querySelectorAll('.ts-told .ts-bars')].map((bars) => bars.textContent).join()"
    notebook.wait_for(picture, f"{words} === arg", "in the queue,with the worker,runs,waits for its next attempt")
    notebook.run(LATER_CELL)
    notebook.finished(LATER_CELL)
    slots, lanes = notebook.scope(LATER_CELL).first, notebook.scope(LATER_CELL).last
    notebook.wait_for(lanes, f"{MARKS} === arg", expected + 4)
    slots.get_by_role("tab", name="states").click()
    slots.get_by_role("tab", name="slots").click()  # it is there again, though this picture has not all tasks
    as_its_cell_left_it = f"{MARKS} === arg && Number(root.dataset.transitions) === arg + 4"
    notebook.wait_for(picture, as_its_cell_left_it, expected)
    keep(picture, "steps-back")
    then = picture.get_by_role("button", name="its cell had run")
    assert then.get_attribute("aria-pressed") == "true"
    picture.locator(".ts-live").click()
    notebook.wait_for(picture, f"{MARKS} === arg", expected + 4)
    assert then.get_attribute("aria-pressed") == "false"
    then.click()
    notebook.wait_for(picture, as_its_cell_left_it, expected)
    notebook.command("docmanager:save")
    stored = notebook.page.evaluate("(n) => panel.content.widgets[n].model.outputs.toJSON()[0].metadata['image/png'].alt", BRIEF_CELL)
    assert "add(7, 7)" not in stored
    notebook.page.reload()
    notebook.ready()
    picture.wait_for()
    notebook.wait_for(picture, as_its_cell_left_it, expected)


def test_a_picture_that_steps_back_shows_the_worker_as_it_was(notebook: Notebook) -> None:
    notebook.run(GONE_CELL)
    notebook.finished(GONE_CELL)
    picture = notebook.scope(GONE_CELL)
    notebook.wait_for(picture, "root.querySelector('svg').textContent.includes('celery@lab (gone)')")
    notebook.run(BACK_CELL)
    notebook.finished(BACK_CELL)
    stands = "root.querySelector('button[title*=its]').ariaPressed"
    notebook.wait_for(picture, f"{stands} === 'true' && root.querySelector('svg').textContent.includes('celery@lab (gone)')")
    picture.get_by_role("button", name="jump to the end").click()
    notebook.wait_for(picture, f"{stands} === 'false' && root.querySelector('svg').textContent.includes('worker celery@lab')")


def test_a_picture_that_nobody_sees_any_more_says_so(notebook: Notebook) -> None:
    notebook.run(BRIEF_CELL)
    notebook.finished(BRIEF_CELL)
    for _ in range(2):  # the second time in place of the first
        notebook.run(AGAIN_CELL)
        notebook.finished(AGAIN_CELL)
        notebook.wait_for(notebook.scope(AGAIN_CELL), f"{MARKS} > 0")

    def looked_at() -> str:
        notebook.run(LOOKED_AT_CELL)
        return notebook.finished(LOOKED_AT_CELL)

    eventually(lambda: looked_at() == "True False True\n", "the second of three is not looked at any more")
    notebook.command("notebook:clear-all-cell-outputs")
    eventually(lambda: looked_at() == "False False False\n", "none of them is")


@pytest.mark.long
def test_a_notebook_whose_kernel_is_gone_shows_the_stills(opened: Notebook, server: Lab) -> None:
    browser = opened.page.context.browser
    assert browser
    book = Notebook(browser.new_page())
    try:
        address = server.write(
            "tomorrow.ipynb",
            [CONNECT.strip(), "scope = Scope(app)\nscope.stage()", "add.delay(2, 3).get(timeout=60)", ASK.strip(), WAITING.strip()],
        )
        book.open(address)
        for number in range(4):
            book.run(number)
            book.finished(number)
        book.scope(1).wait_for()
        book.scope(1).get_by_role("tab", name="lanes").click()
        # The picture was shown before anything had happened; when all is over, what is stored of it tells all.
        stored = "panel.content.widgets[1].model.outputs.toJSON().at(-1)"
        book.page.wait_for_function(f"() => {stored}.metadata['image/png'].alt.includes('SUCCESS = 5')")
        book.scope(1).wait_for()
        assert book.scope(1).get_attribute("data-view") == "lanes", "the reader's choice stays"
        book.command("docmanager:save")
        book.run(4)
        book.finished(4)
        book.wait_for(book.scope(4), "root.querySelector('.ts-live').ariaPressed === 'true'")
        book.page.evaluate("panel.sessionContext.session.kernel.restart()")
        book.wait_for(book.scope(4), "root.querySelector('.ts-live').hidden")  # it does not go on as if there were anybody
        api = address.partition("/lab/")[0] + "/api/sessions"
        headers = {"Authorization": f"token {TOKEN}"}
        [session] = [one["id"] for one in book.page.request.get(api, headers=headers).json() if one["path"] == "tomorrow.ipynb"]
        book.page.goto("about:blank")
        assert book.page.request.delete(f"{api}/{session}", headers=headers).ok
        book.open(address)
        still = book.cell(1).locator(".jp-OutputArea-output img")
        still.wait_for()
        keep(still, "kernel-gone")
        book.cell(3).get_by_text(f"Predict: {predict('04a').question}").wait_for()
        assert still.evaluate("(image) => image.decode().then(() => image.naturalWidth)") > 700
        assert book.page.get_by_text("Error displaying widget").count() == 0
        assert book.errors == []
    finally:
        book.page.close()


@pytest.mark.long
def test_a_replay_goes_on_to_its_end_where_nothing_is_left_to_draw(notebook: Notebook) -> None:
    notebook.run(BRIEF_CELL)
    notebook.finished(BRIEF_CELL)
    picture = notebook.scope(BRIEF_CELL)
    notebook.wait_for(picture, "root.querySelector('.ts-live').hidden")  # it stands still, some time after its last mark
    notebook.cell(BRIEF_CELL).evaluate(NOTE_THE_ICONS)
    picture.get_by_role("button", name="from the beginning").click()
    told = "root.querySelector('.ts-time').value.split(' ')"
    notebook.wait_for(picture, f"icons.join(' ').endsWith('pause play') && {told}[0] === {told}[3]")


def test_the_reader_works_with_the_picture_while_the_cell_blocks(notebook: Notebook, server: Lab) -> None:
    page = notebook.page
    notebook.run(FEW_CELL)
    picture = notebook.scope(FEW_CELL)
    notebook.wait_for(picture, f"{MARKS} >= arg", 3 * 4 + 4 + 3)  # the last task waits at its gate

    play = picture.get_by_role("button", name="pause or play")
    notebook.wait_for(picture, "root.dataset.t !== arg", picture.get_attribute("data-t"))  # time goes on
    play.click()
    notebook.wait_for(picture, "root.classList.contains('ts-paused')")
    before = picture.get_attribute("data-t")
    page.evaluate(FRAMES, 10)
    assert picture.get_attribute("data-t") == before, "time stands still"

    everything = picture.locator("[data-mark]").count()
    picture.get_by_role("slider", name="time").evaluate("(slider) => { slider.value = 0; slider.dispatchEvent(new Event('input')); }")
    notebook.wait_for(picture, f"{MARKS} < arg", everything)
    picture.get_by_role("button", name="jump to what is happening now").click()
    notebook.wait_for(picture, f"{MARKS} === arg", everything)

    # The table has a row for each attempt, as the lanes have.
    lanes = picture.locator("[data-mark]").evaluate_all("(all) => new Set(all.map(({ dataset }) => dataset.uuid + dataset.attempt)).size")
    picture.get_by_role("button", name="table").click()
    table = picture.get_by_role("table")
    table.wait_for()
    assert table.get_by_role("columnheader").all_inner_texts()[:3] == ["task", "attempt", "state"]
    notebook.wait_for(picture, "root.querySelectorAll('tbody tr').length === arg", lanes)
    assert lanes == 5
    picture.get_by_role("button", name="table").click()
    picture.locator("[data-mark]").first.wait_for()
    assert notebook.runs(FEW_CELL)

    # One tab is reached by the Tab key, the others by arrows, round and round.
    assert picture.get_by_role("tab").all_inner_texts() == ["stage", "lanes", "slots", "states", "witnesses"]
    picture.get_by_role("tab", name="lanes").focus()
    for key, view in (("ArrowRight", "slots"), ("ArrowLeft", "lanes"), ("ArrowLeft", "stage"), ("ArrowLeft", "witnesses")):
        page.keyboard.press(key)
        assert page.evaluate(FOCUSED)[0] == "tab"
        assert page.evaluate("document.activeElement.innerText") == view
    assert picture.locator("[role=tab][tabindex='0']").count() == 1
    picture.get_by_role("tab", name="lanes").click()

    # From the last button above the picture, the next stop is a token; arrows go on from there.
    picture.get_by_role("button", name="nothing moves").focus()
    page.keyboard.press("Tab")
    names = [page.evaluate(FOCUSED)]
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
        names.append(page.evaluate(FOCUSED))
    assert len({name for _, name in names}) == 4
    for role, name in names:
        assert role == "img"
        assert re.fullmatch(r"\w+\(.*\), attempt \d, [A-Z]+ after [\d.]+ m?s(, .*)?", name), name
        assert picture.get_by_role("img", name=name, exact=True).count() >= 1, "a screen reader finds it"
    assert picture.locator(".ts-told").inner_text() == names[-1][1], "whoever sees finds it below the picture"
    page.keyboard.press("Space")
    notebook.wait_for(picture, "root.classList.contains('ts-paused')")
    # Where time stands still: else the marks go on to the left, away from under the pointer.
    picture.locator("[data-mark]").last.hover()
    assert picture.locator(".ts-told").inner_text() == picture.locator("[data-mark]").last.get_attribute("aria-label")
    picture.get_by_role("slider", name="time").hover()
    assert picture.locator(".ts-told").inner_text() == names[-1][1]
    assert notebook.runs(FEW_CELL)

    server.open_gates("few")
    assert notebook.finished(FEW_CELL).split()[-1] == "few"


ROW = 22  # pixels between two tokens of a column


@pytest.mark.parametrize("wish", ["reduce", "no-preference"])
def test_who_wants_no_motion_gets_none(notebook: Notebook, server: Lab, wish: Literal["reduce", "no-preference"]) -> None:
    notebook.page.emulate_media(reduced_motion=wish)
    try:
        for _ in range(5):  # a browser that draws nothing for a second shows where a token is at last, and no way
            running, columns, nearest = motion(notebook, server, wish)
            if wish == "reduce":
                assert running == 0
                assert columns <= 4, "a token is in the queue, with the worker, in a slot, at its end, and nowhere between"
                assert nearest > ROW / 2, "where the tokens before it leave, it moves up by a row, and is nowhere between"
            else:
                assert running >= 1, "the line below a running task"
            if nearest < math.inf if wish == "reduce" else columns > 4 and nearest < ROW / 2:
                return
        pytest.fail(f"no token was seen to move: {columns} columns, {nearest} pixels")
    finally:
        notebook.page.emulate_media(reduced_motion="null")


def motion(notebook: Notebook, server: Lab, name: str) -> tuple[int, int, float]:
    """Return how many animations go on, in how many columns a token was at most, and how near to each other two places of one were."""
    notebook.run(MOVING_CELL)
    picture = notebook.scope(MOVING_CELL)
    notebook.wait_for(picture, "root.querySelector('.run')")
    picture.evaluate(
        """(root) => {
             window.places = {};
             new MutationObserver((all) => {
               for (const { target } of all)
                 if (target.dataset.uuid) (places[target.dataset.uuid] ??= new Set()).add(target.getAttribute("transform"));
             }).observe(root, { subtree: true, attributeFilter: ["transform"] });
           }"""
    )
    server.open_gates("before")
    notebook.wait_for(picture, "root.querySelectorAll('[data-state=SUCCESS]').length === 7 && root.querySelector('.run')")
    running = picture.evaluate("(root) => root.getAnimations({ subtree: true }).length")
    keep(picture, f"motion-{name}")
    server.open_gates("after")
    notebook.finished(MOVING_CELL)
    notebook.wait_for(picture, "!root.querySelector('.run')")  # else it would be taken for the next one
    places = notebook.page.evaluate("Object.values(places).map((one) => [...one].map((at) => at.match(/[\\d.]+/g).map(Number)))")
    columns = max((len({x for x, _ in token}) for token in places), default=0)
    nearest = min((math.dist(one, other) for token in places for one, other in combinations(token, 2)), default=math.inf)
    return running, columns, nearest


TABS = {0: ("lanes", "graph", "states", "witnesses", "table"), 1: ("stage", "slots", "lanes")}  # of the plan, and of all tasks
NO_WIDER = """
(root) => [root.closest(".jp-OutputArea-output"), root, ...root.querySelectorAll(".ts-bar, .ts-scroll, .ts-table")]
  .filter((one) => one?.offsetParent && one.scrollWidth > one.clientWidth)
  .map((one) => `${one.className}: ${one.scrollWidth} > ${one.clientWidth}`)
"""


@pytest.mark.parametrize(
    ("width", "theme"),
    [(700, "Light"), (1400, "Dark"), *(pytest.param(*other, marks=pytest.mark.long) for other in ((700, "Dark"), (1400, "Light")))],
)
def test_nothing_is_wider_than_the_notebook(notebook: Notebook, theme: str, width: int) -> None:
    page = notebook.page
    before = page.viewport_size
    page.set_viewport_size({"width": width, "height": 1000})
    notebook.command("apputils:change-theme", theme=f"JupyterLab {theme}")
    page.locator(f"body[data-jp-theme-light={'true' if theme == 'Light' else 'false'}]").wait_for(state="attached")
    try:
        if not notebook.scope(LOOKS_CELL).count():
            notebook.run(LOOKS_CELL)
        notebook.finished(LOOKS_CELL)
        plan, lanes, xray = (notebook.scope(LOOKS_CELL).nth(number) for number in range(3))
        assert plan.get_by_role("tab", name="slots").count() == 0, "a view of some tasks can't tell who was idle"
        for number, tab in [(number, tab) for number, tabs in TABS.items() for tab in tabs]:
            picture = notebook.scope(LOOKS_CELL).nth(number)
            picture.get_by_role("button" if tab == "table" else "tab", name=tab).click()
            page.evaluate(FRAMES, 3)
            assert picture.evaluate(NO_WIDER) == [], tab
            keep(picture, f"{tab}-{theme}-{width}")
        plan.get_by_role("button", name="table").click()
        plan.get_by_role("tab", name="graph").click()
        for picture, name in ((lanes, "one-failed"), (xray, "xray")):
            picture.scroll_into_view_if_needed()
            page.evaluate(FRAMES, 3)
            assert picture.evaluate(NO_WIDER) == [], name
            keep(picture, f"{name}-{theme}-{width}")
    finally:
        notebook.command("apputils:change-theme", theme="JupyterLab Light")
        page.set_viewport_size(before or {"width": 1200, "height": 1000})


@pytest.mark.parametrize(("first", "choice"), [("the answer", "one"), ("the choice", "none"), ("the cell", "one")])
def test_what_a_prediction_was_worth_is_told_after_the_next_cell(notebook: Notebook, first: str, choice: str) -> None:
    option = next(option for option in predict("04a").options if option.text == choice)
    notebook.run(ASK_CELL)
    notebook.finished(ASK_CELL)
    form = notebook.cell(ASK_CELL).locator("form.prediction")
    assert form.get_by_role("radio").count() == len(predict("04a").options)
    status = form.locator("[role=status]")
    if first == "the cell":
        run_what_shows_it(notebook)
        assert status.text_content() == "", "nothing was said, so nothing is told"
    # With the keyboard alone: the first radio button, down to the choice, and Enter.
    form.get_by_role("radio").first.focus()
    form.get_by_role("radio").first.press("Space")
    for _ in range([one.text for one in predict("04a").options].index(choice)):
        notebook.page.keyboard.press("ArrowDown")
    if first != "the choice":  # else it is only picked, when the cells are run
        notebook.page.keyboard.press("Enter")
    if first == "the answer":
        status.get_by_text(f"Noted. Now run the next {predict('04a').cells} cells.").wait_for()
        keep(form, "prediction-noted")
    if first != "the cell":
        run_what_shows_it(notebook)
    status.get_by_text(option.feedback).wait_for()
    assert (status.text_content() or "").startswith("✔ As you said." if option.right else "✖ Not so.")
    assert form.get_by_role("radio", name=choice, exact=True).is_checked()
    assert form.get_by_role("radio", name=choice, exact=True).is_disabled()
    keep(form, f"prediction-{'right' if option.right else 'wrong'}")


def run_what_shows_it(notebook: Notebook) -> None:
    """Run as many cells as it takes until a prediction is told what it was worth."""
    for number in range(predict("04a").cells):
        told = notebook.cell(ASK_CELL).locator("form.prediction").get_attribute("class")
        assert told == "prediction", f"told after {number} cells"
        notebook.run(ANSWER_CELL)
        notebook.finished(ANSWER_CELL)


def keep(picture: "Locator", name: str) -> None:
    """Store a screenshot for those who want to look, in the folder that TASKSCOPE_SCREENSHOTS names."""
    if folder := os.environ.get("TASKSCOPE_SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        picture.page.evaluate(FRAMES, 20)  # until nothing moves any more
        picture.screenshot(path=Path(folder) / f"{name.lower()}.png")

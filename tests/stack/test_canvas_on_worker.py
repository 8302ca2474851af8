"""What a plan says is what happens: the same results as without it, and the same ids, parents and order, over all forms."""

import base64
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from celery import Celery, chain, chord, group
from celery.canvas import Signature, maybe_signature
from celery.result import GroupResult

from taskscope.canvas import Plan, plan
from tests.stack.processes import another_worker
from tutorial_tasks.arithmetic import add, total
from tutorial_tasks.celery_app import app as tutorial
from tutorial_tasks.lifecycle import fail

pytestmark = pytest.mark.long

PATIENCE = 60.0
ENDS = ("task-succeeded", "task-failed", "task-revoked")

gather = tutorial.tasks["celery.accumulate"].s  # gives back what it is given


def number(value: int) -> Signature:
    return add.s(value, 0)


def numbers(*values: int) -> Any:
    return group([number(value) for value in values])


def fixed(*values: int) -> Any:
    return group([add.si(value, 0) for value in values])


def deep(levels: int) -> Any:
    return number(1) if not levels else chord([deep(levels - 1), chain(number(2), add.s(1))], total.s())


def frozen(signature: Signature) -> Signature:
    signature.freeze()
    return signature


@dataclass(frozen=True)
class Form:
    """A structure, and what of it is not as planned."""

    build: Callable[[], Any]
    never: int = 0  # so many planned tasks rightly never run
    callbacks: int = 0  # so many links and errbacks run
    unplanned: tuple[str, ...] = ()  # tasks that others publish by themselves
    replaced: bool = False  # its id runs again, under another name
    repeats: int = 0  # further runs under the ids of others
    ordered: bool = False  # the result is the list of the first box, in order


FORMS = {
    "a task": Form(lambda: add.s(2, 3)),
    "a task with keywords and options": Form(lambda: add.s(2, y=3).set(countdown=0.01, priority=3)),
    "a task with an id": Form(lambda: add.s(2, 3).set(task_id=fresh("mine"))),
    "a task as a dict": Form(lambda: json.loads(json.dumps(add.s(2, 3)))),
    "a chain": Form(lambda: chain(add.s(1, 1), add.s(10), add.s(100))),
    "a chain with an immutable step": Form(lambda: add.s(1, 1) | add.si(10, 10) | add.s(1)),
    "a chain with an id": Form(lambda: chain(add.s(1, 1), add.s(10), task_id=fresh("chain"))),
    "a chain with an id in the middle": Form(lambda: chain(add.s(1, 1), add.s(10).set(task_id=fresh("middle")), add.s(1))),
    "a chain of chains": Form(lambda: chain(chain(add.s(1, 1), add.s(2)), chain(add.s(3), add.s(4)))),
    "a chain that was cloned": Form(lambda: chain(add.s(1, 1), add.s(10)).clone()),
    "a chain that was frozen": Form(lambda: frozen(chain(add.s(1, 1), add.s(10)))),
    "a chain that fails": Form(lambda: chain(add.s(1, 1), fail.si("no"), add.s(1), add.s(2)), never=2),
    "an empty chain": Form(lambda: chain()),
    "a group": Form(lambda: numbers(1, 2, 3)),
    "a group of one": Form(lambda: numbers(1)),
    "an empty group": Form(lambda: group([])),
    "a group from a generator": Form(lambda: group(number(value) for value in (1, 2, 3))),
    "a group with an id": Form(lambda: group([number(1), number(2)], task_id=fresh("group"))),
    "a group in a group": Form(lambda: group([number(1), group([number(2), numbers(3, 4)]), number(5)])),
    "a group of chains": Form(lambda: group([chain(number(1), add.s(1)), chain(number(2), add.s(2))])),
    "a group with an empty chain": Form(lambda: group([number(1), chain(), number(2)])),
    "a group that ends in a group": Form(lambda: group([chain(number(1), group([add.s(1), add.s(2)]))])),
    "a group of chords": Form(lambda: group([chord(numbers(1, 2), total.s()), chord(numbers(3, 4), total.s())])),
    "the same signature three times": Form(lambda: group([number(1)] * 3)),
    "the same signature along a chain": Form(lambda: chain(number(1), *[add.s(1)] * 3)),
    "a chord": Form(lambda: chord(numbers(1, 2, 3), gather()), ordered=True),
    "a chord with an id": Form(lambda: chord(numbers(1, 2), total.s(), task_id=fresh("chord"))),
    "a chord from a generator": Form(lambda: chord((number(value) for value in (1, 2, 3)), gather()), ordered=True),
    "a chord without a header": Form(lambda: chord([], total.s())),
    "a chord with a group in its header": Form(lambda: chord([number(1), numbers(2, 3, 4), number(5)], gather()), ordered=True),
    "a chord with groups in groups": Form(
        lambda: chord([number(1), group([number(2), group([number(3), number(4)]), number(5)]), number(6)], gather()), ordered=True
    ),
    "a chord from a generator of groups": Form(
        # Celery gives two of these the same place in the header, and chance (their ids) decides: only the sum is certain.
        lambda: group(part for part in (number(1), group([number(2), numbers(3, 4)]), number(5))) | total.s()
    ),
    "a chord with a chain as its body": Form(lambda: chord(numbers(1, 2), chain(total.s(), add.s(1), add.s(2)))),
    "a chord with a chord as its body": Form(lambda: chord(numbers(1, 2), chord([total.s(), total.s()], total.s()))),
    "a chord with a group as its body": Form(lambda: chord(numbers(1, 2), group([total.s(), total.s()]))),
    "a chord with a chain to a group as its body": Form(lambda: chord(numbers(1, 2), chain(total.s(), group([add.s(1), add.s(2)])))),
    "a chord with a nested group in its body": Form(
        lambda: chord(numbers(1, 2), chain(total.s(), group([add.s(1), group([add.s(2), add.s(3)])]), gather()))
    ),
    "a chord with chains in its header": Form(lambda: chord([chain(number(1), add.s(1)), number(5)], gather())),
    "a chord with a chord in its header": Form(lambda: chord([chord(numbers(1, 2), total.s()), number(5)], gather())),
    "a chord with a chain to a group in its header": Form(
        lambda: chord([chain(number(1), group([add.s(1), add.s(2)])), number(9)], gather())
    ),
    "a chord with a chain as its header": Form(lambda: chord(chain(add.si(1, 1), add.si(2, 2)), gather()), ordered=False),
    "a chord with its only chain in a list": Form(lambda: chord([chain(number(1), add.s(1))], gather())),
    "a chord whose header fails": Form(lambda: chord([number(1), fail.si("no")], total.s()), never=1),
    "a group before a task": Form(lambda: numbers(1, 2) | total.s()),
    "a group of one before a task": Form(lambda: numbers(1) | gather()),
    "a group of one in a chain": Form(lambda: chain(numbers(1), add.s(1))),
    "a group of one chain in a chain": Form(lambda: chain(number(1), group([chain(add.s(1), add.s(2))]), add.s(3))),
    "a task before a group": Form(lambda: number(1) | group([add.s(1), add.s(2)])),
    "a task before nested groups": Form(lambda: number(1) | group([add.s(1), group([add.s(2), add.s(3)]), add.s(4)])),
    "a task before a group from a generator": Form(lambda: number(1) | group(add.s(value) for value in (1, 2))),
    "a group between tasks": Form(lambda: number(1) | group([add.s(1), add.s(2)]) | total.s() | add.s(1)),
    "two groups after a task": Form(lambda: number(1) | group([add.s(1), add.s(2)]) | fixed(3, 4)),
    "two groups between tasks": Form(lambda: number(1) | group([add.s(1), add.s(2)]) | fixed(3, 4) | total.s()),
    "two groups in a chain with an id": Form(
        lambda: chain(number(1), group([add.s(1), add.s(2)]), fixed(3, 4), total.s(), task_id=fresh("groups"))
    ),
    "three groups": Form(lambda: chain(fixed(1, 2), fixed(3, 4), fixed(5, 6)), repeats=2),
    "three groups and a task": Form(lambda: chain(fixed(1, 2), fixed(3, 4), fixed(5, 6), total.s())),
    "an empty group in a chain": Form(lambda: chain(number(1), group([]), add.s(1))),
    "an empty group by pipes": Form(lambda: number(1) | group([]) | gather()),
    "a chord before a task": Form(lambda: chord(numbers(1, 2), total.s()) | add.s(1)),
    "a chord before a chord": Form(lambda: chord(numbers(1, 2), total.s()) | chord([add.s(1), add.s(2)], total.s())),
    "a chord before a group": Form(lambda: chord(numbers(1, 2), total.s()) | group([add.s(1), add.s(2)])),
    "a chord in the middle of a chain": Form(lambda: chain(number(1), chord([add.s(1), add.s(2)], total.s()), add.s(3))),
    "five levels": Form(lambda: deep(5)),
    "five hundred": Form(lambda: numbers(*range(500)) | total.s()),
    "starmap": Form(lambda: add.starmap([(1, 1), (2, 2)])),
    "starmap before a task": Form(lambda: add.starmap(zip(range(3), range(3), strict=True)) | total.s()),
    "map in a group": Form(lambda: group([total.map([[1, 2], [3]]), number(1)])),
    "chunks": Form(lambda: add.chunks(zip(range(5), range(5), strict=True), 2)),
    "chunks as a group in a chain": Form(lambda: add.chunks([(1, 1), (2, 2), (3, 3)], 2).group() | gather()),
    "chunks in a chain": Form(lambda: chain(number(1), add.chunks([(1, 1), (2, 2)], 1)), unplanned=("celery.starmap", "celery.starmap")),
    "a link": Form(lambda: add.s(1, 1).set(link=[add.s(10)]), callbacks=1),
    "two links, one of them a chain": Form(lambda: add.s(1, 1).set(link=[add.s(10), chain(add.s(20), add.s(30))]), callbacks=3),
    "a link behind a chain": Form(lambda: chain(number(1), add.s(1)).set(link=[add.s(10)]), callbacks=1),
    "a link behind a chord": Form(lambda: chord(numbers(1, 2), total.s().set(link=[add.s(1)])), callbacks=1),
    "an errback that is not needed": Form(lambda: add.s(1, 1).on_error(gather())),
    "an errback": Form(lambda: fail.s("no").on_error(gather()), callbacks=1),
    "an errback of a chain": Form(lambda: chain(number(1), fail.si("no"), add.s(1)).on_error(gather()), never=1, callbacks=1),
    "an errback of a chord": Form(lambda: chord([number(1), fail.si("no")], total.s().on_error(gather())), never=1, callbacks=1),
    "replaced by a chain": Form(
        lambda: chain(number(1), signature("canvas.by_a_chain"), add.s(10)), unplanned=(add.name,), replaced=True, repeats=1
    ),
    "replaced by a group": Form(
        lambda: chain(number(1), signature("canvas.by_a_group"), total.s()), unplanned=(add.name, add.name), replaced=True, repeats=1
    ),
}

_given = Counter[str]()


def fresh(name: str) -> str:
    """Give a different id by hand each time, so that no run finds the result of another one."""
    _given[name] += 1
    return f"{name}-{_given[name]}"


def signature(name: str) -> Any:
    return tutorial.signature(name).set(queue="canvas")


@dataclass
class Seen:
    """What the taps saw of one task."""

    names: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    parents: set[str | None] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)

    def is_done(self) -> bool:
        """Tell whether each run has ended; one that replaced itself ends without a word, after its replacement was sent."""
        replaced = any(name.startswith("canvas.") for name in self.names)
        ended = sum(self.kinds[kind] for kind in ENDS) + replaced
        return self.kinds["task-sent"] == self.kinds["task-received"] == ended and (not replaced or ended > 1)


class Tap:
    """Celery events and stored results, by one subscription: what the server keeps for it until it is read."""

    def __init__(self, app: Celery) -> None:
        self._client = redis.Redis.from_url(app.conf.broker_url, socket_timeout=5, decode_responses=True)
        self._pubsub = self._client.pubsub()
        self._pubsub.psubscribe("/0.celeryev/*", "celery-task-meta-*")
        self.seen: dict[str, Seen] = {}
        self._hear_myself()

    def close(self) -> None:
        self._pubsub.close()
        self._client.close()

    def until_done(self) -> None:
        """Read until each run that was sent has ended; what a task sends, it sends before its own end is told."""
        self._hear_myself()  # all that we sent has been told before this
        self._read_until(lambda: all(one.is_done() for one in self.seen.values()), "every run that was sent has ended")

    def _hear_myself(self) -> None:
        self._greetings = 0
        self._client.publish("/0.celeryev/hello", "hello")
        self._read_until(lambda: self._greetings > 0, "the tap hears itself")

    def _read_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            if message := self._pubsub.get_message(ignore_subscribe_messages=True, timeout=0.02):
                self._note(message["channel"], message["data"])
            elif condition():
                return
            left = [] if message else [one for one in self.seen.values() if not one.is_done()]
            assert time.monotonic() < deadline, f"waited {PATIENCE:g} s in vain until {what}: {left}"

    def _note(self, channel: str, data: str) -> None:
        if data == "hello":
            self._greetings += 1
        elif channel.startswith("celery-task-meta-"):
            self.seen.setdefault(channel.removeprefix("celery-task-meta-"), Seen()).stored.add(json.loads(data)["status"])
        else:
            body = json.loads(base64.b64decode(json.loads(data)["body"]))
            for event in body if isinstance(body, list) else [body]:
                if event["type"].startswith("task-"):
                    one = self.seen.setdefault(event["uuid"], Seen())
                    one.names += [event["name"]] if "name" in event else []
                    one.kinds[event["type"]] += 1
                    if event["type"] == "task-received":
                        one.parents.add(event["parent_id"])


@dataclass(frozen=True)
class Run:
    """One form, sent without and with a plan."""

    plan: Plan
    without: Any
    result: Any
    seen: dict[str, Seen]  # of its own tasks, the unplanned ones too


def without_ids(value: Any) -> str:
    return re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "<id>", repr(value))


def outcome(result: Any) -> Any:
    """Get a result that is there; an exception is one too."""
    if result is None:
        return None
    try:
        return result.get(timeout=20, **({"interval": 0.01} if isinstance(result, GroupResult) else {}))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.fixture(scope="module")
def replacing_worker(app: Any, fresh_stack: Any) -> Iterator[None]:
    with another_worker("tests.stack.canvas_tasks", "-Q", "canvas", "-n", "canvas@lab", "-P", "solo"):
        yield


@pytest.fixture(scope="module")
def runs(app: Any, replacing_worker: None) -> Iterator[dict[str, Run]]:
    # All at once, because most of the time would be spent on waiting: first without, then with a plan.
    tap = Tap(app)
    sent = {name: maybe_signature(form.build(), app=app).delay() for name, form in FORMS.items()}
    tap.until_done()
    without = {name: outcome(result) for name, result in sent.items()}
    tap.seen.clear()
    plans = {name: plan(form.build()) for name, form in FORMS.items()}
    sent = {name: one.signature.delay() for name, one in plans.items()}
    tap.until_done()
    results = {name: outcome(result) for name, result in sent.items()}
    owner = {id_: name for name, one in plans.items() for id_ in one.graph.ids()}
    parts: dict[str, dict[str, Seen]] = {name: {} for name in FORMS}
    strangers = dict(tap.seen)
    while strangers:
        mine = [id_ for id_, one in strangers.items() if id_ in owner or any(parent in owner for parent in one.parents)]
        assert mine, f"of no form: {strangers}"
        for id_ in mine:
            one = strangers.pop(id_)
            owner.setdefault(id_, next((owner[parent] for parent in one.parents if parent in owner), ""))
            parts[owner[id_]][id_] = one
    yield {name: Run(plans[name], without[name], results[name], parts[name]) for name in FORMS}
    tap.close()


@pytest.mark.parametrize("name", FORMS)
def test_the_result_is_the_same_with_and_without_a_plan(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    assert without_ids(run.result) == without_ids(run.without)


@pytest.mark.parametrize("name", FORMS)
def test_the_ids_that_are_planned_are_those_that_come(runs: dict[str, Run], name: str) -> None:
    run, form = runs[name], FORMS[name]
    nodes = {node.id: node for node in run.plan.graph.nodes if node.known}
    ran = {id_ for id_, one in run.seen.items() if one.kinds["task-sent"] and one.kinds["task-received"]}
    assert len(nodes.keys() - ran) == form.never
    assert all(node.name in run.seen[id_].names for id_, node in nodes.items() if id_ in ran)
    extra = Counter(run.seen[id_].names[0] for id_ in ran - nodes.keys())
    assert extra.total() == form.callbacks + len(form.unplanned)
    assert extra <= Counter(node.name for node in run.plan.graph.nodes if not node.known) + Counter(form.unplanned)
    assert sum(one.kinds["task-sent"] for one in run.seen.values()) == len(ran) + form.repeats
    assert all(run.seen[id_].stored for id_ in ran)


@pytest.mark.parametrize("name", FORMS)
def test_every_task_is_sent_by_one_of_those_that_an_edge_comes_from(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    graph = run.plan.graph
    before: dict[str, set[str | None]] = {}
    for edge in graph.edges:
        before.setdefault(edge.target, set()).add(edge.source)
    for node in graph.nodes:
        if node.known and node.id in run.seen and (parents := run.seen[node.id].parents):
            expected = before.get(node.id, {None})
            # The replacement of a task has its id, and other parents.
            assert parents & expected if FORMS[name].replaced else parents <= expected, node.label


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.ordered])
def test_a_box_lists_its_members_in_celery_s_order(runs: dict[str, Run], name: str) -> None:
    run = runs[name]
    labels = {node.id: node.label for node in run.plan.graph.nodes}
    assert run.result == [[int(labels[member].removeprefix("add(").removesuffix(", 0)")) for member in run.plan.graph.boxes[0].members]]

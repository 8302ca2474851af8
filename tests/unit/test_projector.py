"""The thread that feeds the live views: what comes after a pause goes out at once, what comes right after that waits."""

import json
import queue
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery import Celery, Signature, chain

from taskscope import Scope, projector, scope
from taskscope.ledger import Ledger
from taskscope.observation import Observation
from taskscope.projector import Projector
from taskscope.stage import Stage
from taskscope.view import View
from tests.stack.processes import eventually

SOON = 20.0  # seconds, on a busy machine


class _Screen:
    """Notes what it is fed."""

    def __init__(self) -> None:
        self.fed: queue.Queue[list[str]] = queue.Queue()
        self.stopped = threading.Event()
        self.stage = SimpleNamespace(comm="open")
        self.is_failing = False

    def feed(self, changed: list[str]) -> None:
        self.fed.put(changed)

    def stop(self) -> None:
        self.stopped.set()


class _Scope:
    """A ledger, and the tasks that it names."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._read = 0

    def changed(self) -> list[str]:
        news, self._read = self.ledger.since(self._read)
        return [said.task for said in news if said.task]


def test_the_first_news_waits_for_nobody_and_the_next_for_the_rest_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "BATCH", 60.0)
    monkeypatch.setattr(projector, "LOOK", 60.0)
    scope, screen = _Scope(), _Screen()
    feeding = Projector(cast("Any", scope))
    feeding._screens.append(cast("Any", screen))
    thread = threading.Thread(target=feeding._run, daemon=True)
    thread.start()
    scope.ledger.append(Observation("event", "received", 1.0, 1.0, task="a"))
    assert screen.fed.get(timeout=SOON) == ["a"]
    scope.ledger.append(Observation("event", "received", 2.0, 2.0, task="b"))
    with pytest.raises(queue.Empty):
        screen.fed.get(timeout=0.1)
    feeding.close()
    thread.join(SOON)
    assert not thread.is_alive(), "it ended in the midst of its rest"
    assert screen.stopped.is_set()


def said(task: str, kind: str, at: float) -> Observation:
    return Observation("event", kind, at, at, task=task, data={"hostname": "w@here", "name": "add", "args": "(1, 1)"})


def test_a_view_that_is_shown_while_a_task_runs_misses_nothing(monkeypatch: pytest.MonkeyPatch, own_scope: Scope) -> None:
    """What comes between its first picture and its place in the list is told to the others only; it is due here all the same."""
    own_scope.ledger.append(said("a", "sent", 1.0))
    first = own_scope.projector.show(own_scope.lanes())
    made = threading.Event()

    class Slow(Stage):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            if not made.is_set():
                made.set()
                own_scope.ledger.append(said("a", "received", 2.0))
                eventually(lambda: marks(first, batches) == 2, "the first view has heard of it")

    batches = record(monkeypatch)
    monkeypatch.setattr(projector, "Stage", Slow)
    second = own_scope.projector.show(own_scope.lanes())
    eventually(lambda: marks(second, batches) == 2, "the second view has heard of it, too")


def test_tasks_come_in_the_order_in_which_they_were_heard(monkeypatch: pytest.MonkeyPatch, own_scope: Scope) -> None:
    batches = record(monkeypatch)
    monkeypatch.setattr(projector, "BATCH", 0.3)
    stage = own_scope.projector.show(own_scope.lanes())
    names = [f"{number:02x}" for number in (9, 3, 7, 1, 5, 0, 8)]
    for number, name in enumerate(names):
        own_scope.ledger.append(said(name, "sent", float(number)))
    eventually(lambda: marks(stage, batches) == len(names), "all were sent")
    rows = {change["id"]: lane["row"] for _, batch in batches for change in batch["upserts"] for lane in change["lanes"]}
    assert sorted(names, key=rows.__getitem__) == names


def test_all_is_sent_anew_when_somebody_tells_of_an_earlier_moment(monkeypatch: pytest.MonkeyPatch, own_scope: Scope) -> None:
    monkeypatch.setattr(projector, "KEYFRAME", 60.0)
    batches = record(monkeypatch)
    stage = own_scope.projector.show(own_scope.lanes())
    own_scope.ledger.append(said("a", "sent", 2.0))
    eventually(lambda: marks(stage, batches) == 1, "it is shown")
    own_scope.ledger.append(said("b", "sent", 1.5))
    eventually(
        lambda: (
            {tuple(mark[:2]) for lane in json.loads(stage.film)["lanes"] for mark in lane["marks"]} == {("PENDING", 0.5), ("PENDING", 0.0)}
        ),
        "time begins earlier",
    )


def test_what_could_not_be_sent_comes_with_the_next(monkeypatch: pytest.MonkeyPatch, own_scope: Scope) -> None:
    batches = record(monkeypatch)
    stage = own_scope.projector.show(own_scope.lanes())
    broken = iter([True])
    take = View.take

    def take_or_fail(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("look") is False and next(broken, False):
            raise RuntimeError("on purpose")
        return take(*args, **kwargs)

    monkeypatch.setattr(View, "take", take_or_fail)
    own_scope.ledger.append(said("a", "sent", 1.0))
    eventually(lambda: marks(stage, batches) == 1, "it was tried again")


def test_what_was_taken_in_and_not_sent_comes_with_the_next_keyframe(monkeypatch: pytest.MonkeyPatch, own_scope: Scope) -> None:
    stage = own_scope.projector.show(own_scope.lanes())

    def lost(*_: Any) -> None:
        raise OSError("the line is down")

    monkeypatch.setattr(Stage, "send", lost)
    own_scope.ledger.append(said("a", "sent", 1.0))
    eventually(lambda: marks(stage, []) == 1, "the keyframe has it")


def test_what_nobody_asks_for_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch, own_scope: Scope) -> None:
    monkeypatch.setattr(scope, "MOST", 10)
    own_scope._history.limit = 10
    for number in range(100):
        own_scope.ledger.append(said(f"{number:02}", "sent", float(number)))
        own_scope.tasks()
    assert len(own_scope._changed) <= 21
    known = [task.id for task in own_scope.tasks()]
    assert own_scope.changed()[-len(known) :] == known


def test_where_nobody_looks_what_is_new_waits_until_somebody_does(monkeypatch: pytest.MonkeyPatch, own_scope: Scope) -> None:
    """An output that was cleared, or whose cell was run again, keeps its model, and its comm stays open."""
    monkeypatch.setattr(projector, "SELDOM", 60.0)
    batches = record(monkeypatch)
    cleared, shown = (own_scope.projector.show(own_scope.lanes()) for _ in range(2))
    for more in (1, 1, -1, -1):  # in two windows
        assert cleared.is_looked_at
        cleared._handle_custom_msg({"more": more}, [])
    for number in range(3):
        own_scope.ledger.append(said(f"{number}", "sent", float(number)))
    eventually(lambda: marks(shown, batches) == 3, "they are on the other picture")
    assert marks(cleared, batches) == 0
    cleared._handle_custom_msg({"more": 1}, [])
    eventually(lambda: marks(cleared, batches) == 3, "the picture is whole")


def test_where_nobody_looks_the_picture_is_renewed_now_and_then(monkeypatch: pytest.MonkeyPatch, own_scope: Scope) -> None:
    monkeypatch.setattr(projector, "SELDOM", 0.2)
    batches = record(monkeypatch)
    cleared = own_scope.projector.show(own_scope.lanes())
    for more in (1, -1):
        cleared._handle_custom_msg({"more": more}, [])
    own_scope.ledger.append(said("a", "sent", 1.0))
    eventually(lambda: marks(cleared, batches) == 1, "whoever looks at it while the kernel is busy sees it")
    monkeypatch.setattr(projector, "REST", 0.5)
    own_scope.ledger.append(said("a", "succeeded", 2.0))
    eventually(lambda: marks(cleared, []) == marks(cleared, batches) > 1, "at rest the model has all of it, too")


def test_of_a_task_of_before_only_a_late_end_that_comes_at_once_is_left_out(own_scope: Scope) -> None:
    """A busy worker tells of the end of the last task when the notebook has the answer and listens already."""
    now = own_scope._beginning._until - scope.LEFT_OVER
    for task, kind, arrived in [
        ("before", "started", now),
        ("before", "succeeded", now),
        ("one that began before", "started", now),
        ("one that began before", "succeeded", now + 1),
        ("new", "sent", now),
        ("new", "succeeded", now),
        ("one that ran on", "succeeded", now + 1),
    ]:
        own_scope.ledger.append(Observation("event", kind, now, arrived, task=task))
    own_scope.ledger.append(Observation("result", "stored", now, now, task="stored", data={"state": "SUCCESS"}))
    own_scope.ledger.append(Observation("event", "succeeded", now, now, task="stored"))
    assert {task.id for task in own_scope.tasks()} == {"new", "one that began before", "one that ran on", "stored"}
    assert own_scope.ledger.position == 9, "all of it is on record"


def test_a_view_of_a_closed_scope_stands_still(own_scope: Scope) -> None:
    own_scope.ledger.append(said("a", "sent", 1.0))
    own_scope.projector.close()
    assert json.loads(own_scope.projector.show(own_scope.lanes()).film)["live"] is False


def test_a_picture_steps_back_when_a_later_cell_has_another(own_scope: Scope) -> None:
    own_scope.ledger.append(said("a", "sent", 1.0))
    first, beside = (own_scope.projector.show(own_scope.lanes()) for _ in range(2))
    told: list[str] = []
    first.on_past = lambda: told.append("first")
    assert not first.is_past, "the cell of both goes on"
    first.then = beside.then = 2.0
    last = own_scope.projector.show(own_scope.stage())
    assert [first.is_past, beside.is_past, last.is_past] == [True, True, False]
    own_scope.projector.show(own_scope.stage())
    assert told == ["first"], "once"
    last.then = 2.0
    another = Scope(Celery("another", set_as_current=False))
    another.projector.show(another.stage())
    another.projector.close()
    assert not last.is_past, "that was a picture of another application"
    own_scope.projector.close()
    eventually(lambda: last.is_past and not json.loads(last.film)["live"], "the last one does so when the scope is closed")


def test_a_picture_that_showed_nothing_goes_on_and_a_plan_is_something(own_scope: Scope) -> None:
    empty = own_scope.projector.show(own_scope.stage())
    planned = own_scope.projector.show(own_scope.graph(chain(Signature("a"), Signature("b"))))
    empty.then = planned.then = 0.5
    own_scope.ledger.append(said("a", "sent", 1.0))
    eventually(lambda: json.loads(empty.film)["origin"], "it has heard of the first task")
    own_scope.projector.show(own_scope.lanes())
    assert [empty.is_past, planned.is_past] == [False, True]


def test_many_tasks_are_no_dict_that_somebody_has_to_search(own_scope: Scope) -> None:
    """ipywidgets looks through every part of a dict for bytes; a keyframe is a text for it."""
    assert isinstance(own_scope.projector.show(own_scope.lanes()).get_state()["film"], str)


def record(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Stage, dict[str, Any]]]:
    """Note what is sent to the browser, in place of sending it."""
    batches: list[tuple[Stage, dict[str, Any]]] = []
    monkeypatch.setattr(Stage, "send", lambda stage, content: batches.append((stage, content)))
    return batches


def marks(stage: Stage, batches: list[tuple[Stage, dict[str, Any]]]) -> int:
    """Count the marks that a browser knows: those of the keyframe and of the batches."""
    film = json.loads(stage.film)
    ids = [task["id"] for task in film["tasks"]]
    lanes = {(ids[lane["task"]], lane["attempt"]): len(lane["marks"]) for lane in film["lanes"]}
    for whose, batch in batches:
        if whose is stage:
            lanes |= {
                (change["id"], lane["attempt"]): lane.get("had", 0) + len(lane["marks"])
                for change in batch["upserts"]
                for lane in change.get("lanes", ())
            }
    return sum(lanes.values())

"""The front door: what a scope tells of real tasks, as sentences, stills and live views."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chord, group
from celery.exceptions import TaskRevokedError

from classroom import evidence, lab
from classroom.errors import ClassroomError
from taskscope import Scope
from taskscope.errors import ScopeError
from taskscope.ledger import Ledger
from taskscope.scenes import scene
from taskscope.stage import Stage
from tests.stack.processes import PATIENCE
from tutorial_tasks.arithmetic import add, slow_add, total
from tutorial_tasks.lifecycle import Gate, count_to, fail, flaky, say_nothing, wait_at_gate


@pytest.fixture
def scope(app: Celery) -> Iterator[Scope]:
    lab.worker.start()
    watching = Scope(app)
    yield watching
    watching.close()


def test_every_way_that_a_task_can_take_is_one_sentence(scope: Scope) -> None:
    for result in (add.delay(2, 3), count_to.delay(2, 0.01), flaky.delay(2, 1), fail.delay("no"), say_nothing.delay("hush")):
        if not result.ignored:
            result.get(timeout=10, propagate=False)
    expected = [
        "add(2, 3): PENDING → RECEIVED → STARTED → SUCCESS = 5",
        "count_to(2, 0.01): PENDING → RECEIVED → STARTED → PROGRESS ×2 → SUCCESS = 2",
        "flaky(2, 1): PENDING → RECEIVED → STARTED → RETRY → RECEIVED → STARTED → SUCCESS = 2",
        "fail('no'): PENDING → RECEIVED → STARTED → FAILURE: ValueError('no')",
        "say_nothing('hush'): PENDING → RECEIVED → STARTED → SUCCESS = 'hush'",
    ]
    with contextlib.suppress(ClassroomError):  # what it is in place of these sentences says more
        evidence.wait_until(lambda: scope.sentences() == expected, 10, "every sentence is whole")
    assert scope.sentences() == expected


def test_a_scope_begins_when_it_is_made_and_shows_the_tasks_that_are_asked_for(app: Celery, scope: Scope) -> None:
    first = add.delay(1, 1)
    first.get(timeout=10)
    scope.settle()
    later = Scope(app)
    second = add.delay(2, 2)
    second.get(timeout=10)
    assert repr(later.lanes()).splitlines() == ["add(2, 2): PENDING → RECEIVED → STARTED → SUCCESS = 4"]
    assert repr(scope.lanes(first)) == "add(1, 1): PENDING → RECEIVED → STARTED → SUCCESS = 2"
    later.close()
    third = add.delay(3, 3)
    third.get(timeout=10)
    scope.settle()
    assert len(scope.tasks()) == 3, "the other one goes on"
    assert len(later.tasks()) == 1, "what was seen stays, and nothing comes to it"


def test_the_tasks_behind_the_result_of_a_group_or_a_chord_are_shown_in_the_order_in_which_they_run(scope: Scope) -> None:
    members = group(add.s(1, 1), add.s(2, 2)).apply_async()
    last = chord([add.s(3, 3), add.s(4, 4)], total.s()).apply_async()
    assert (members.get(timeout=10), last.get(timeout=10)) == ([2, 4], 14)
    assert [line.partition(":")[0] for line in repr(scope.lanes(last, members)).splitlines()] == [
        "add(3, 3)",
        "add(4, 4)",
        "total([6, 8])",
        "add(1, 1)",
        "add(2, 2)",
    ]


def test_an_id_of_which_nobody_has_heard_is_told_as_such(app: Celery, scope: Scope) -> None:
    assert repr(scope.lanes(app.AsyncResult("no-such-id"))) == "1 task: no witness has said anything"
    assert repr(scope.witnesses(app.AsyncResult("no-such-id"))) == "an unknown id: no witness has said anything"
    assert repr(scope.stage()) == "nothing has happened yet"


def test_a_picture_waits_for_a_task_that_was_sent_again_under_its_old_id(scope: Scope) -> None:
    first = slow_add.delay(2, 3, 0)
    assert first.get(timeout=10) == 5
    slow_add.apply_async((5, 5, 0.5), task_id=first.id)
    scope.settle([first.id], PATIENCE)  # as a picture does, which has less patience than a busy machine needs
    once = "RECEIVED → STARTED → SUCCESS"
    assert repr(scope.lanes(first)) == f"slow_add(2, 3, 0): PENDING → {once} → {once} = 10"
    picture = scope.lanes(first)._repr_mimebundle_()[0]["image/svg+xml"]
    assert re.findall(r">= (\d+)<", picture) == ["5", "10"], "each run shows its own result"


def test_an_xray_of_some_tasks_shows_what_is_held_of_them_and_nothing_else(scope: Scope) -> None:
    kept, forgotten, unread = add.delay(2, 3), add.delay(4, 4), add.apply_async((1, 1), queue="unread", expires=60)
    assert (kept.get(timeout=10), forgotten.get(timeout=10)) == (5, 8)
    forgotten.forget()
    # The worker confirms a message when it has heard that a process has it: that may be after the result is there.
    evidence.wait_until(lambda: not evidence.unacknowledged(scope.app), 10, "both messages are confirmed")
    held = 'queue "unread": 1 waiting: add(1, 1)\nstored results: 1: add(2, 3): SUCCESS = 5'
    assert repr(scope.xray(kept, unread)) == held
    assert repr(scope.xray(kept, forgotten, unread)) == f"{held}\n1 task: no message, and no stored result"
    assert repr(scope.xray(forgotten)) == "1 task: no message, and no stored result"
    shown = scope.xray(forgotten)._repr_mimebundle_()[0]["image/svg+xml"]
    assert ">add(4, 4)<" in shown
    assert "no message, and no stored result" in shown
    with scope.app.connection_for_write() as connection:
        connection.default_channel.queue_purge("unread")


def test_an_id_that_somebody_called_off_without_ever_sending_it(app: Celery, scope: Scope) -> None:
    invented = app.AsyncResult("never-sent")
    invented.revoke()
    assert isinstance(invented.get(timeout=10, propagate=False), TaskRevokedError)
    evidence.wait_until(lambda: scope.tasks(), 10, "the backend's word is heard")
    told = "an unknown id: REVOKED: revoked (on record, and nobody has heard that it was sent)"
    assert repr(scope.stage()) == told
    drawn = [item["text"] for item in scene(scope.stage().film(), "stage", 9, 700)["items"] if item["tag"] == "text"]
    assert "0 sent" in drawn
    invented.forget()


def test_results_of_another_database_of_the_server_are_not_ours(
    app: Celery, scope: Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_RESULT_BACKEND", app.conf.result_backend.removesuffix("/0") + "/5")
    with Celery("neighbour", set_as_current=False) as neighbour:
        neighbour.backend.store_result("theirs", 1, "SUCCESS")
        app.backend.store_result("ours", 1, "SUCCESS")
        try:
            evidence.wait_until(lambda: {"theirs", "ours"} <= {said.task for said in scope.ledger}, 10, "both are heard")
            assert [task.id for task in scope.tasks()] == ["ours"]
            scope.save(tmp_path / "run.jsonl")
            assert [said.task for said in Ledger.load(tmp_path / "run.jsonl") if said.task] == ["ours"]
            with app.events.default_dispatcher() as worker:
                worker.send("task-received", uuid="theirs", name="ours.after_all")
            evidence.wait_until(lambda: len(scope.tasks()) == 2, 10, "one of our workers speaks of it")
            assert "after_all(…): (PENDING) → RECEIVED → (STARTED) → SUCCESS = 1" in scope.sentences()
        finally:
            neighbour.backend.forget("theirs")
            app.backend.forget("ours")


def test_one_that_was_called_off_before_it_began_is_no_disagreement(scope: Scope) -> None:
    held = add.apply_async((2, 2), countdown=600)
    evidence.wait_until(lambda: "RECEIVED" in repr(scope.lanes(held)), 10, "the worker holds it")
    held.revoke()
    evidence.wait_until(lambda: "REVOKED" in repr(scope.lanes(held)), 10, "the backend has it as revoked")
    assert repr(scope.witnesses(held)) == "add(2, 2): events RECEIVED · result backend REVOKED"
    lab.worker.stop()  # it gives back what it holds
    scope.app.control.purge()
    lab.worker.start()


def test_the_broker_is_a_witness_where_somebody_watches_its_commands(app: Celery) -> None:
    lab.worker.start()
    watching = Scope(app, commands=True)
    result = add.delay(2, 3)
    result.get(timeout=10)
    evidence.wait_until(lambda: "confirmed" in repr(watching.witnesses(result)), 10, "the message is confirmed")
    assert repr(watching.witnesses(result)) == "add(2, 3): events SUCCESS · result backend SUCCESS · broker: confirmed"
    watching.close()


def test_the_line_under_the_stage_is_the_broker_s_own_command(app: Celery, tmp_path: Path) -> None:
    lab.worker.start()
    watching = Scope(app, commands=True)
    result = add.delay(2, 3)
    result.get(timeout=10)
    done = {"HDEL", "SETEX"}
    evidence.wait_until(lambda: done <= {text.partition(" ")[0] for _, text in watching.commands()}, 10, "it is confirmed and stored")
    still = watching.stage()._repr_mimebundle_()[0]["image/svg+xml"]
    watching.close()  # nothing comes any more
    told = watching.commands()
    assert any(text[:30] in still for _, text in told), "the worker may have gone on after the picture"
    moved = [text.partition(" ")[0] for _, text in told if result.id in text]
    assert moved[0] == "LPUSH"
    assert {"HSET", "HDEL", "SETEX"} <= set(moved), "taken, confirmed, stored"
    assert not {"GET", "BRPOP", "SUBSCRIBE"} & {text.partition(" ")[0] for _, text in told}, "who looks or waits moves nothing"
    at = told[-1][0]
    assert watching.commands(at) == [one for one in told if one[0] == at]
    watching.save(tmp_path / "run.jsonl")
    picture = Scope.replay(tmp_path / "run.jsonl")._repr_mimebundle_()[0]["image/svg+xml"]
    assert told[-1][1][:30] in picture


def test_what_is_stored_of_a_view_are_pictures_and_words_and_nothing_else(scope: Scope) -> None:
    add.delay(2, 3).get(timeout=10)
    for view in (scope.stage(), scope.lanes(), scope.lanes(by="slot"), scope.states(), scope.witnesses(), scope.xray()):
        data, metadata = view._repr_mimebundle_()
        assert set(data) == {"image/png", "image/svg+xml", "text/plain"}
        assert data["image/png"].startswith(b"\x89PNG")
        assert metadata["image/png"]["alt"] == data["text/plain"]
    assert "stored results: " in repr(scope.xray())
    assert repr(scope.witnesses()) == "add(2, 3): events SUCCESS · result backend SUCCESS"


def test_a_canvas_is_drawn_before_it_is_sent_and_what_is_drawn_is_what_is_sent(scope: Scope) -> None:
    plan = scope.graph(chord([add.s(1, 1), add.s(2, 2)], total.s()))
    assert repr(plan).splitlines() == ["add(1, 1): not sent yet", "add(2, 2): not sent yet", "total(…): not sent yet"]
    result = plan.apply_async()
    assert result.get(timeout=10) == 6
    # The result can be there before the events that lead to it.
    evidence.wait_until(lambda: {task.id for task in scope.tasks()} == set(plan.ids or ()), 10, "exactly the planned tasks were seen")
    assert repr(plan).splitlines()[-1] == "total([2, 4]): PENDING → RECEIVED → STARTED → SUCCESS = 6"
    [gate] = plan.film()["graphs"][0]["gates"]
    assert gate["of"] == 2


def test_a_graph_is_sent_once_under_the_ids_that_it_shows(scope: Scope) -> None:
    plan = scope.graph(add.s(2))
    with pytest.raises(ScopeError, match=r"given out its ids already\n  next: scope.graph\(signature.set\(task_id=...\)\)"):
        plan.apply_async((3,), task_id="mine")
    assert plan.delay(3).get(timeout=10) == 5
    for send in (plan.delay, plan.apply_async):
        with pytest.raises(ScopeError, match=r"was sent already.*\n  next: scope.graph\(signature\), and send that"):
            send(4)


def on(broker: str) -> Celery:
    app = Celery("elsewhere", set_as_current=False)
    app.conf.update(broker_read_url=broker, broker_write_url=broker)
    return app


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda app, scope: Scope("app"), "watches a Celery application, and this is a str"),
        (lambda app, scope: Scope(on("nonsense://x")), "can't be used: No such transport: nonsense"),
        (lambda app, scope: scope.states("an-id"), r"of results, and this is a str\n  next: .*AsyncResult"),
        (lambda app, scope: scope.lanes([app.AsyncResult("x")]), r"of results, and this is a list\n  next: .*\*results"),
    ],
    ids=["no app", "no transport", "an id", "a list"],
)
def test_what_is_wrong_is_said_with_the_next_step(app: Celery, scope: Scope, wrong: Any, words: str) -> None:
    with pytest.raises(ScopeError, match=words):
        wrong(app, scope)


def test_the_gate_shows_the_backend_s_own_counter(scope: Scope) -> None:
    gate = Gate("scope")
    gate.close()
    plan = scope.graph(chord([add.s(1, 1), wait_at_gate.s("scope")], say_nothing.s()))
    plan.apply_async()

    def counts() -> list[int]:
        return [counted for _, counted in plan.film()["graphs"][0]["gates"][0]["counts"]]

    evidence.wait_until(lambda: counts() == [1], 10, "one of the two is counted")
    gate.open()
    evidence.wait_until(lambda: scope.tasks() and repr(plan).splitlines()[-1].count("SUCCESS"), 10, "the body ran")
    # The backend throws its counter away when the gate opens: a picture that had seen one of two must not stay there.
    evidence.wait_until(lambda: counts() == [2], 10, "both are counted")


def test_a_failed_header_leaves_the_body_a_ghost(scope: Scope) -> None:
    plan = scope.graph(chord([add.s(1, 1), fail.s("no")], total.s()))
    plan.apply_async().get(timeout=10, propagate=False)
    # Nobody sent it and nobody ran it; the backend has a failure on record for it all the same.
    assert repr(plan).splitlines()[-1].startswith("total(…): FAILURE: ChordError")


class Browser:
    """What a browser would hear of a live view."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[dict[str, Any]] = []
        monkeypatch.setattr(Stage, "send", lambda _, content: self.batches.append(content))

    def marks(self, stage: Stage) -> int:
        """Count what it knows from the last keyframe, and from the batches."""
        film = json.loads(stage.film)
        ids = [task["id"] for task in film["tasks"]]
        lanes = {(ids[lane["task"]], lane["attempt"], lane["delivery"]): len(lane["marks"]) for lane in film["lanes"]}
        for batch in self.batches:
            for task in batch["upserts"]:
                for lane in task.get("lanes", ()):
                    lanes[task["id"], lane["attempt"], lane["delivery"]] = lane.get("had", 0) + len(lane["marks"])
        return sum(lanes.values())


def test_a_live_view_is_sent_every_transition_and_then_the_whole_picture(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = Browser(monkeypatch)
    stage = scope.projector.show(scope.lanes())
    results = [flaky.delay(2, 0.5) for _ in range(10)] + [count_to.delay(3, 0.01) for _ in range(5)]
    for result in results:
        result.get(timeout=20)
    evidence.wait_until(lambda: scope.transitions == 10 * 8 + 5 * 7, 20, "every transition was seen")
    evidence.wait_until(lambda: browser.marks(stage) == scope.transitions, 20, "every transition was sent")
    assert sum(map(len, (batch["upserts"] for batch in browser.batches))) > len(results), "most of it came in batches"
    assert [batch["seq"] for batch in browser.batches] == list(range(1, len(browser.batches) + 1))
    evidence.wait_until(lambda: json.loads(stage.film)["live"] is False, 10, "the clock stands still")
    assert sum(len(lane["marks"]) for lane in json.loads(stage.film)["lanes"]) == scope.transitions
    assert json.loads(stage.film)["seq"] == len(browser.batches)
    films: list[str] = []  # all of them, for the clock stands still again soon
    stage.observe(lambda change: films.append(change.new), "film")
    add.delay(1, 1).get(timeout=10)
    evidence.wait_until(lambda: any(json.loads(film)["live"] for film in films), 10, "it goes on")
    stage.close()


def test_a_recording_plays_without_a_broker(scope: Scope, tmp_path: Path) -> None:
    flaky.delay(2, 0.01).get(timeout=10)
    scope.settle()
    file = tmp_path / "run.jsonl"
    scope.save(file)
    recording = Scope.replay(file)
    assert repr(recording).splitlines() == scope.sentences()
    data, _ = recording._repr_mimebundle_()
    assert set(data) == {"image/png", "image/svg+xml", "text/plain"}
    assert data["text/plain"] == repr(recording)
    assert json.loads(recording.widget().film)["replay"]
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-2]) + lines[-2][:20])
    assert any("damaged" in note for note in Scope.replay(file).film()["notes"])
    file.write_text("a shopping list\n")
    with pytest.raises(ScopeError, match="not a recording"):
        Scope.replay(file)


def test_a_time_without_a_broker_is_told_in_every_picture(scope: Scope) -> None:
    add.delay(1, 1).get(timeout=10)
    lab.broker.restart()
    evidence.wait_until(lambda: scope.notes, 15, "the gap was noticed")
    assert add.delay(2, 2).get(timeout=20) == 4
    evidence.wait_until(lambda: "= 4" in repr(scope.lanes()), 10, "it hears again")
    assert "something may have been missed" in repr(scope.lanes())


def test_a_broker_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.delenv(name)
    with pytest.raises(ScopeError, match=r"the broker redis://127\.0\.0\.1:1/0 can't be heard"):
        Scope(Celery("nobody", broker="redis://127.0.0.1:1/0", set_as_current=False))


def test_what_was_dropped_before_anybody_looked_is_told(app: Celery, scope: Scope) -> None:
    own = Scope(app)
    own.ledger.limit = 3
    for number in range(3):
        add.delay(number, 1).get(timeout=10)
    scope.settle()
    assert own.ledger.wait(scope.ledger.position - 1, timeout=PATIENCE)
    own.close()  # what was seen stays, and nothing more comes between two looks
    said = f"showing 3 of {own.ledger.position} observations: the oldest were dropped before anybody looked"
    assert own.notes == [said]
    assert said in repr(own.lanes())

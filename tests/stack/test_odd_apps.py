"""Applications that are not as the course's: without a backend, without events, with other serializers, with markup in their names."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import redis
from celery import Celery, chain, chord
from kombu.serialization import registry

from classroom import evidence
from taskscope import Scope
from taskscope.errors import ScopeError
from taskscope.scenes import scene
from taskscope.view import View
from taskscope.xray import xray
from tests.stack import odd
from tests.stack.processes import PATIENCE
from tutorial_tasks.arithmetic import add


@pytest.fixture
def backend(app: Celery) -> str:
    return os.environ["CELERY_RESULT_BACKEND"]


@contextmanager
def watched(**settings: Any) -> Iterator[tuple[Celery, Scope]]:
    """Run an application with these settings, and watch it."""
    with odd.running(**settings) as app:
        scope = Scope(app)
        try:
            yield app, scope
        finally:
            scope.close()
            app.close()


@pytest.fixture(scope="module")
def ordinary(app: Celery) -> Iterator[Celery]:
    """An application as they mostly are, with a worker of its own."""
    with odd.running(result_backend=os.environ["CELERY_RESULT_BACKEND"]) as ordinary:
        yield ordinary
        ordinary.close()


@pytest.fixture
def scope(ordinary: Celery) -> Iterator[Scope]:
    watching = Scope(ordinary)
    yield watching
    watching.close()


def written(view: View) -> set[str]:
    """Return all that is written in a picture."""
    film = view.film()
    return {item.get("text") or item.get("label") or "" for item in scene(film, view.view, film["now"], 1000)["items"]}


def test_an_application_without_a_result_backend(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELERY_RESULT_BACKEND")
    with watched(result_backend=None) as (odd_app, scope):
        result = odd_app.tasks["odd.double"].delay(21)
        evidence.wait_until(lambda: any(task.state == "SUCCESS" for task in scope.tasks()), 10, "it ran")
        line, note = repr(scope.lanes(result)).splitlines()
        assert line == "double(21): PENDING → RECEIVED → STARTED → SUCCESS = 42"
        assert note == "results: not available: this app stores no results (it has no result_backend)"
        assert repr(scope.witnesses(result)).splitlines()[0] == "double(21): events SUCCESS"
        assert {"no result backend", "double(21) (not kept)"} <= written(scope.stage())
        for view in (scope.states(), scope.xray(), scope.graph(chain(odd_app.tasks["odd.double"].s(1), odd_app.tasks["odd.double"].s()))):
            data, _ = view._repr_mimebundle_()
            assert data["image/png"]


@pytest.mark.long
def test_an_application_whose_events_are_off_and_cannot_be_switched_on(backend: str) -> None:
    with watched(result_backend=backend, task_track_started=True, **odd.SILENT) as (app, scope):
        result = app.tasks["odd.double"].delay(4)
        assert result.get(timeout=10) == 8
        evidence.wait_until(lambda: "events of that worker are off" in "".join(scope.notes), 10, "the silence is noticed")
        line, note = repr(scope.lanes(result)).splitlines()
        assert line == "double(4): PENDING → (RECEIVED) → STARTED → SUCCESS = 8"
        assert note == "only the result backend told of the end of a task: the events of that worker are off (start it with -E)"
        assert note in written(scope.stage())
        other = app.send_task("odd.double", (6,), queue="nobody-reads-this")
        evidence.wait_until(lambda: "double(6): PENDING" in scope.sentences(), 10, "it was sent")
        assert note not in repr(scope.lanes(other)), "a picture says nothing of the workers of tasks that are not in it"
        with app.connection_for_write() as connection:
            connection.default_channel.queue_delete("nobody-reads-this")


@pytest.mark.parametrize("kind", ["yaml", "pickle"])
def test_another_serializer(backend: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def burn(*_: Any, **__: Any) -> Any:
        raise AssertionError("a pickle was opened in the process that only looks")

    formats = {f"{what}_serializer": kind for what in ("task", "result")}
    with watched(result_backend=backend, accept_content=["json", kind], **formats) as (app, scope):
        monkeypatch.setitem(registry._decoders, "application/x-python-serialize", burn)
        result = app.tasks["odd.double"].delay(5)
        evidence.wait_until(lambda: any(task.state == "SUCCESS" for task in scope.tasks()), 10, "it ran")
        told = repr(scope.lanes(result)).splitlines()
        assert told[0] == "double(5): PENDING → RECEIVED → STARTED → SUCCESS = 10"
        refused = (
            "results: not available: they are pickles, which could run any code, so they are not opened (set result_serializer='json')"
        )
        assert told[1:] == ([refused] if kind == "pickle" else [])
        app.send_task("odd.double", (6,), queue="nobody-reads-this")
        word = "a pickle, which could run any code" if kind == "pickle" else "YAML"
        assert f"double(?): its body is {word}, not opened" in xray(app).text()
        assert "not opened" in repr(scope.xray())
        with app.connection_for_write() as connection:
            connection.default_channel.queue_delete("nobody-reads-this")
        result.forget()


@pytest.mark.long
def test_markup_in_a_name_is_words_everywhere(ordinary: Celery, scope: Scope) -> None:
    task = ordinary.tasks[odd.MARKUP]
    plan = scope.graph(chord([task.s("<i>1</i>"), task.s("&2;")], task.si("]]><svg/onload=x()>")))
    plan.apply_async().get(timeout=10)
    words = repr(plan)
    for view in (plan, scope.stage(), scope.lanes(), scope.lanes(by="slot"), scope.states(), scope.witnesses(), scope.xray()):
        svg = view.still()._repr_mimebundle_()[0]["image/svg+xml"]
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
        assert tags <= {"svg", "title", "desc", "g", "rect", "path", "circle", "text"}, view.view
        assert "<script" not in svg and "<i>" not in svg
    assert "('<i>1</i>')" in words


def test_a_task_that_is_confirmed_at_its_end_is_in_the_broker_while_it_runs(ordinary: Celery, scope: Scope) -> None:
    with redis.Redis.from_url(ordinary.conf.broker_read_url) as client:
        client.delete("odd-gate")
        held = ordinary.tasks["odd.hold"].delay("odd-gate")
        evidence.wait_until(lambda: "STARTED" in "".join(scope.sentences()), 10, "it runs")
        assert "the broker keeps a copy of 1" in written(scope.stage())
        client.rpush("odd-gate", "open")
        held.get(timeout=10)
        assert not any("the broker" in words for words in written(scope.stage()) if words != "broker")


def test_a_recording_that_was_cut_in_half_shows_what_is_whole(app: Celery, tmp_path: Path) -> None:
    scope = Scope(app)
    add.delay(2, 3).get(timeout=10)
    scope.settle()
    scope.close()
    file = tmp_path / "run.jsonl"
    scope.save(file)
    whole = file.read_bytes()
    for size in range(0, len(whole), 197):
        file.write_bytes(whole[:size])
        if b"\n" not in whole[:size]:
            with pytest.raises(ScopeError, match="not a recording"):
                Scope.replay(file)
            continue
        told = repr(Scope.replay(file)).splitlines()
        assert told[-1].startswith("the file is damaged: "), size
    assert told[0].startswith("add(2, 3): PENDING → RECEIVED → STARTED"), "nearly all of it"
    file.write_bytes(whole)
    assert repr(Scope.replay(file)) == "add(2, 3): PENDING → RECEIVED → STARTED → SUCCESS = 5"


def test_a_signature_that_was_sent_already_is_drawn_with_a_word_of_warning(app: Celery) -> None:
    scope = Scope(app)
    try:
        sent = add.s(1, 1)
        sent.freeze()
        sent.delay().get(timeout=10)
        chained = chain(add.s(1, 1), add.s(1))
        chained.delay().get(timeout=10)
        for signature, answer, warning in (
            (sent, 2, "add got its id from freeze(), and keeps it"),
            (chained, 3, "the chain carries an id, which is that of its last task"),
        ):
            plan = scope.graph(signature)
            assert warning in repr(plan)
            assert plan.delay().get(timeout=10) == answer
            scope.settle(plan.ids, PATIENCE)  # as a picture does, which has less patience than a busy machine needs
            *_, last, note = repr(plan).splitlines()
            assert last.endswith(f"SUCCESS = {answer}")
            assert note.startswith(warning)
    finally:
        scope.close()

"""A crowd: every task is counted where it is, whatever is drawn of it, and a canvas that is too wide is drawn by its kinds."""

import re
import time
from collections import Counter
from dataclasses import replace
from random import Random
from xml.etree import ElementTree

import pytest

from taskscope import scenes, stills
from taskscope.crowd import Crowd, counts_at, steps_of
from taskscope.film import Camera, film
from taskscope.moment import moment, nest
from taskscope.states import CALLED_OFF
from tests.unit import films
from tests.unit.films import lane, task

WITHIN = 10.0  # seconds for a hundred thousand tasks, on a machine with other work


def _one_by_one(shown: dict[str, object], t: float) -> Counter[tuple[str, str, str]]:
    counts: Counter[tuple[str, str, str]] = Counter()
    for one in nest(shown):
        if here := moment(one, t):
            place = "end" if here.state in CALLED_OFF else here.place
            counts[place, one["queue"] if place == "queue" else here.lane["host"] if place != "end" else "", here.state] += 1
    return counts


@pytest.mark.parametrize("t", [-1.0, 0.005, 0.125, 0.305, 0.66, 1.05, 2.0])
def test_at_every_time_the_counts_are_those_of_the_tasks_one_by_one(t: float) -> None:
    tasks = films.many(40)
    one_by_one, counted = film(tasks, limit=1000), film(tasks, limit=50)
    assert one_by_one["crowd"] is None and counted["crowd"]["of"] == 320
    assert (len(counted["tasks"]), counted["of"]) == (50, 320)
    assert +counts_at(counted["crowd"], t) == _one_by_one(one_by_one, t)


def test_it_is_the_same_whether_tasks_come_at_once_or_bit_by_bit() -> None:
    tasks = films.many(40)
    at_once = film(tasks, limit=50)
    Random(1).shuffle(tasks)
    camera = Camera(limit=50)
    camera.origin = at_once["origin"]
    for begin in range(0, len(tasks), 7):
        half = [replace(one, lanes=one.lanes[:1], state="STARTED") for one in tasks[begin : begin + 7]]
        camera.take(half)
        camera.take(tasks[begin : begin + 7])
    for t in (0.305, 0.66, 9):
        assert +counts_at(camera.film()["crowd"], t) == +counts_at(at_once["crowd"], t)


def test_those_that_have_ended_stay_counted_when_it_is_not_remembered_who_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Crowd, "limit", 20)
    forgetful, crowd = Crowd(), Crowd()
    crowd.limit = 1000
    runs = [(0.2, ("slot", "w", "STARTED"))]
    for one in (forgetful, crowd):
        one.note("runs", runs)
        for second in range(100):
            one.note(str(second), [(float(second), ("queue", "celery", "PENDING")), (second + 0.5, ("end", "", "SUCCESS"))])
    assert len(forgetful._steps) <= 20 and "runs" in forgetful._steps
    forgetful.note("3", [])  # a late word of one that is only counted
    for one in (forgetful, crowd):
        one.note("runs", [*runs, (99.9, ("end", "", "FAILURE"))])
        one.shift(7.0)
    told, expected = forgetful.to_json(), crowd.to_json()
    assert told["of"] == expected["of"] == 101 and forgetful.last == crowd.last
    for t in (6.0, 7.1, 7.3, 50.2, 50.7, 120.0):
        assert +counts_at(told, t) == +counts_at(expected, t)


def test_a_long_run_is_counted_in_longer_stretches() -> None:
    crowd = Crowd()
    for second in range(5000):
        crowd.note(str(second), [(float(second), ("queue", "celery", "PENDING")), (second + 0.5, ("end", "", "SUCCESS"))])
    told = crowd.to_json()
    assert len(told["bins"]) <= 200 and told["of"] == 5000
    assert +counts_at(told, 1e9) == {("end", "", "SUCCESS"): 5000}


def test_what_is_known_later_takes_the_place_of_what_was_known() -> None:
    crowd, shown = Crowd(), film([task("add", "()", lane("a", ("PENDING", 0), ("RECEIVED", 0.1), ("STARTED", 0.2), ("SUCCESS", 0.3)))])
    lanes = nest(shown)[0]["lanes"]
    for known in range(1, 5):
        crowd.note("a", steps_of([{**lanes[0], "marks": lanes[0]["marks"][:known]}], "celery"))
    assert +counts_at(crowd.to_json(), 9) == {("end", "", "SUCCESS"): 1}
    assert +counts_at(crowd.to_json(), 0.15) == {("bag", films.HOST, "RECEIVED"): 1}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_stage_has_a_token_for_each_place_and_state_and_says_so(theme: str) -> None:
    shown = film(films.many(200), workers=films.WORKERS)
    picture = stills.svg(shown, "stage", theme)
    words = [text.text for text in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]
    assert {"800 SUCCESS", "200 FAILURE", "200 REVOKED", "1,600 sent"} <= set(words)
    assert "1,600 tasks: a token stands for all that are there in one state" in words
    assert not any("showing" in (word or "") for word in words)
    assert stills.text(shown, "stage") == "1,600 tasks: 200 RECEIVED · 200 STARTED · 800 SUCCESS · 200 FAILURE · 200 REVOKED"
    assert stills.png(picture).startswith(b"\x89PNG")
    assert re.search(r"showing \d\d of 1600 tasks", stills.svg(shown, "lanes", theme))


def test_a_canvas_that_is_too_wide_is_drawn_by_its_kinds() -> None:
    shown = films.too_wide(1200, 600)
    (graph,) = shown["graphs"]
    assert [node["label"] for node in graph["nodes"]] == ["collect × 1,200", "gather(…)"]
    told = {item["key"]: item.get("text") or item.get("name") for item in scenes.scene(shown, "graph", shown["now"], 1400)["items"]}
    assert told["0 token m0"] == "collect × 1,200, 1 FAILURE · 597 SUCCESS · 2 STARTED · 600 not sent yet"
    assert told["0 gated 0"] == "gate (597/1200) shut"
    assert stills.text(shown, "graph").splitlines()[0] == "collect × 1,200: 1 FAILURE · 597 SUCCESS · 2 STARTED · 600 not sent yet"
    assert films.too_wide(1200, 0)["graphs"] and films.too_wide(30, 30)["crowd"] is None


@pytest.mark.long
def test_a_hundred_thousand_tasks_are_a_picture_within_seconds() -> None:
    marks = ("PENDING", 0.0), ("RECEIVED", 0.1), ("STARTED", 0.2), ("SUCCESS", 0.3)
    one = task("add", "(1, 1)", lane("x", *marks))
    tasks = [
        one.__class__(f"{number:06}", one.name, "(1, 1)", "{}", "celery", lanes=one.lanes, state="SUCCESS") for number in range(100_000)
    ]
    begun = time.process_time()
    shown = film(tasks, workers=films.WORKERS)
    for view in ("stage", "lanes"):
        assert stills.png(stills.svg(shown, view)).startswith(b"\x89PNG")
    assert time.process_time() - begun < WITHIN
    assert (shown["shown"], shown["of"]) == (1000, 100_000)
    assert stills.text(shown, "stage") == "100,000 tasks: 100,000 SUCCESS"


def test_a_node_of_a_canvas_is_never_left_out() -> None:
    others = [replace(one, id=f"other {one.id}", parent="n3") for one in films.many(20)]
    camera = Camera(limit=20)
    camera.plan(films.chord_plan())
    camera.take([*films.chord_tasks(), *others])
    shown = camera.film()
    assert {node["id"] for node in films.chord_plan()["nodes"] if node["kind"] == "task"} <= {one["id"] for one in shown["tasks"]}
    assert len(shown["tasks"]) <= 20 and shown["of"] > 160
    assert stills.text(shown, "graph").splitlines()[0] == "collect(1): PENDING → RECEIVED → STARTED → SUCCESS = 0"
    assert stills.text(shown, "graph").splitlines()[-1] == f"showing {shown['shown']} of {shown['of']} tasks"

"""The film: what drawing needs of the history, complete, small and without anything that jumps."""

import json
from dataclasses import replace
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskscope import film as film_module
from taskscope.crowd import counts_at
from taskscope.film import COMMANDS, Camera, Film, film, never_ran
from taskscope.gone import Gone
from taskscope.history import History, Task, sentence
from taskscope.moment import extent, moment, nest
from taskscope.observation import Observation
from taskscope.scenes import scene
from taskscope.stills import text
from tests.unit import films
from tests.unit.films import ORIGIN, lane, task

RECORDED = sorted((Path(__file__).parents[1] / "recorded").glob("*.jsonl"))


def test_it_is_json_and_has_every_mark() -> None:
    tasks = films.many_kinds()
    shown = film(tasks, now=ORIGIN + 1.6, workers=films.WORKERS)
    assert json.loads(json.dumps(shown)) == shown
    marks = [(entry["id"], one["attempt"], mark[0]) for entry in nest(shown) for one in entry["lanes"] for mark in one["marks"]]
    assert marks == [(one.id, row.attempt, mark.state) for one in tasks for row in one.lanes for mark in row.marks]
    assert [entry["sentence"] for entry in shown["tasks"]] == [sentence(one) for one in tasks]
    assert (shown["origin"], shown["now"]) == (ORIGIN, 1.6)


def _cut(one: Task, now: float) -> Task | None:
    """Return a task as it was known at `now`."""
    lanes = []
    for row in one.lanes:
        marks = tuple(mark for mark in row.marks if mark.at <= ORIGIN + now)
        spans = tuple(
            replace(span, end=span.end if span.end is not None and span.end <= ORIGIN + now else None)
            for span in row.spans
            if span.begin <= ORIGIN + now
        )
        if marks:
            lanes.append(replace(row, marks=marks, spans=spans))
    return replace(one, lanes=tuple(lanes), state=lanes[-1].marks[-1].state) if lanes else None


def _apply(shown: dict[str, Any], changes: dict[str, Any]) -> None:
    for change in changes["upserts"]:
        entry = shown.setdefault(change["id"], {"lanes": {}})
        entry |= {name: value for name, value in change.items() if name != "lanes"}
        for row in change.get("lanes", ()):
            key = row["attempt"], row["delivery"]
            had = entry["lanes"][key]["marks"][: row["had"]] if "had" in row else []
            entry["lanes"][key] = {name: value for name, value in row.items() if name != "had"} | {"marks": had + row["marks"]}
    for name in changes.get("drops", ()):
        del shown[name]


@given(st.lists(st.floats(0, 2), min_size=1, max_size=12))
def test_batches_add_up_to_the_film_and_nothing_jumps(times: list[float]) -> None:
    camera, shown = Camera(), dict[str, Any]()
    camera.origin = ORIGIN
    places: dict[tuple[str, int], tuple[Any, ...]] = {}
    for now in [*sorted(times), 2.0]:
        _apply(shown, camera.take([cut for one in films.many_kinds() if (cut := _cut(one, now))], now=ORIGIN + now))
        for name, entry in shown.items():
            for (attempt, _), row in entry["lanes"].items():
                place = (entry["row"], row["row"])
                assert places.setdefault((name, attempt), place) == place
    whole = camera.film()
    built = [{**entry, "lanes": list(entry["lanes"].values())} for entry in shown.values()]
    for entry in built:
        for row in entry["lanes"]:
            row["task"] = next(index for index, other in enumerate(whole["tasks"]) if other["id"] == entry["id"])
    assert sorted(built, key=lambda entry: str(entry["id"])) == sorted(nest(whole), key=lambda entry: str(entry["id"]))


@given(st.lists(st.floats(0, 2), min_size=0, max_size=12), st.floats(0, 2))
def test_two_tokens_are_never_in_one_cell(times: list[float], t: float) -> None:
    camera = Camera()
    camera.origin = ORIGIN
    for now in [*sorted(times), 2.0]:
        camera.take([cut for one in films.many_kinds() if (cut := _cut(one, now))], now=ORIGIN + now)
    seen = set()
    for entry in nest(camera.film()):
        here = moment(entry, t)
        if here and here.place != "slot":
            spot = (here.place, here.lane["host"] if here.place == "bag" else "", here.cell)
            assert spot not in seen
            seen.add(spot)


def test_nothing_is_sent_twice() -> None:
    camera = Camera()
    assert len(camera.take(films.many_kinds())["upserts"]) == 8
    assert camera.take(films.many_kinds())["upserts"] == []


def test_time_begins_with_the_earliest_mark_of_all_that_is_taken_at_once() -> None:
    one, two = (task("add", f"({n},)", lane(f"t{n}", ("PENDING", n), ("SUCCESS", n + 0.5))) for n in (1, 0))
    shown = film([one, two], limit=1)
    assert shown["origin"] == ORIGIN
    assert min(mark[1] for row in film([one, two])["lanes"] for mark in row["marks"]) == 0
    camera = Camera()
    camera.count("g", 1, ORIGIN + 9)
    camera.take([], commands=[(ORIGIN + 8, "HDEL unacked")])
    camera.take([one])
    assert (camera.origin, camera.film()["commands"]) == (ORIGIN + 1, [[7.0, "HDEL unacked"]])


@given(st.permutations(range(8)))
def test_what_is_told_late_and_was_earlier_moves_the_beginning(order: list[int]) -> None:
    """Whatever comes first, at the end the times are those of a film that has heard it all at once."""
    tasks = [
        task("add", f"({n}, 1)", lane(f"t{n}", ("PENDING", n), ("STARTED", n + 0.1), ("SUCCESS", n + 0.5)), broker=((ORIGIN + n, "queue"),))
        for n in range(8)
    ]
    told = [(ORIGIN + 9, "LPUSH celery")]
    nobody: dict[str, Any] = {"bins": []}
    for limit in (1000, 3):  # one by one, and counted as a crowd
        camera = Camera(limit)
        earliest = inf
        for number in order:
            changes = camera.take([tasks[number]], now=ORIGIN + 10, commands=told)
            assert changes.get("all", False) == (number < earliest < inf)
            earliest = min(number, earliest)
        assert changes["origin"] == camera.origin == ORIGIN
        moved, once = camera.film(), film(tasks, now=ORIGIN + 10, commands=told, limit=limit)
        assert (moved["now"], moved["commands"]) == (once["now"], once["commands"])
        assert counts_at(moved["crowd"] or nobody, inf) == counts_at(once["crowd"] or nobody, inf)
        times = {entry["id"]: (entry["broker"], [(row["marks"], row["spans"]) for row in entry["lanes"]]) for entry in nest(film(tasks))}
        for entry in nest(moved):
            assert (entry["broker"], [(row["marks"], row["spans"]) for row in entry["lanes"]]) == times[entry["id"]]


def test_of_a_lane_with_many_marks_only_the_new_ones_are_sent() -> None:
    def counted(to: int) -> Task:
        return task("count_to", "(9,)", lane("t", ("PENDING", 0), ("STARTED", 0.1), *[("PROGRESS", 0.2 + n) for n in range(to)]))

    camera = Camera()
    camera.take([counted(100)])
    [change] = camera.take([counted(102)])["upserts"]
    [row] = change["lanes"]
    assert ([mark[1] for mark in row["marks"]], row["had"]) == ([100.2, 101.2], 102)
    [change] = camera.take([task("count_to", "(9,)", lane("t", ("PENDING", 0), ("STARTED", 0.05), ("PROGRESS", 0.2)))])["upserts"]
    assert [len(change["lanes"][0]["marks"]), "had" in change["lanes"][0]] == [3, False], "what was known has changed: all of it is sent"


def test_of_a_task_of_which_only_the_broker_has_told_the_time_is_the_broker_s() -> None:
    told = Task("x", broker=((ORIGIN + 2, "confirmed"),))
    assert film([told])["origin"] == ORIGIN + 2


def test_what_a_worker_whose_clock_is_ahead_has_told_is_on_the_picture() -> None:
    ahead = task("add", "(2, 3)", lane("a", ("PENDING", 0), ("RECEIVED", 30.01), ("STARTED", 30.02), ("SUCCESS", 30.05)), result="5")
    shown = film([ahead], now=ORIGIN + 0.1)
    [entry] = nest(shown)
    here = moment(entry, shown["now"])
    assert here and here.state == "SUCCESS"
    camera = Camera(limit=0)  # where it is only counted, too
    camera.take([ahead], now=ORIGIN + 0.1)
    assert camera.film()["now"] == 30.05


def test_a_command_is_taken_once_also_where_a_transaction_gives_several_the_same_time() -> None:
    camera = Camera()
    told = [(ORIGIN + 0.1, "LPUSH celery"), (ORIGIN + 0.2, "HSET unacked"), (ORIGIN + 0.2, "HDEL unacked")]
    camera.take(films.many_kinds(), commands=told[:2])
    changes = camera.take([], commands=[one for one in told if one[0] >= camera.commanded])
    assert changes["commands"] == [[0.2, "HDEL unacked"]]
    assert "commands" not in camera.take([], commands=told)
    assert [text for _, text in camera.film()["commands"]] == ["LPUSH celery", "HSET unacked", "HDEL unacked"]
    camera.take([], commands=[(ORIGIN + 7, "SETEX celery-task-meta-…")])
    assert camera.film()["now"] == 7, "the last one is on the picture, too"


def test_a_limit_drops_the_oldest_that_ended_and_says_so() -> None:
    running = task("slow", "(1,)", lane("r", ("PENDING", 0), ("STARTED", 0.1)))
    done = [task("add", f"({n},)", lane(f"d{n}", ("PENDING", 0.2 + n), ("SUCCESS", 0.3 + n))) for n in range(4)]
    camera = Camera(limit=3)
    changes = [camera.take([one]) for one in [running, *done]]
    assert [change.get("drops", []) for change in changes] == [[], [], [], ["d0"], ["d1"]]
    shown = camera.film()
    assert [entry["id"] for entry in shown["tasks"]] == ["r", "d2", "d3"]
    assert (shown["shown"], shown["of"]) == (3, 5)
    rows = [row["row"] for row in shown["lanes"]]
    assert len(set(rows)) == 3 and max(rows) <= 3  # the rows of those that went are given to others
    assert camera.take([replace(done[0], result="late")])["upserts"] == []


def test_of_what_was_dropped_the_number_is_kept_for_ever_and_the_last_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gone, "limit", 5)
    camera = Camera(limit=3)
    done = [task("add", f"({n},)", lane(f"d{n}", ("PENDING", 0.2 + n), ("SUCCESS", 0.3 + n))) for n in range(50)]
    for one in done:
        camera.take([one])
    for one in done[-8:-3]:  # the last ones that were dropped
        assert camera.take([replace(one, result="late")])["upserts"] == []
    assert (camera.film()["of"], len(camera._dropped)) == (50, 47)
    assert len(camera._dropped._last | camera._dropped._before) <= 10


def test_commands_from_before_anything_has_happened_are_not_kept_for_ever() -> None:
    camera = Camera()
    for number in range(2 * COMMANDS):
        camera.take([], commands=[(ORIGIN + number, f"HSET {number}")])
    assert len(camera._early) == COMMANDS
    camera.take(films.many_kinds())
    assert [text for _, text in camera.film()["commands"]] == [f"HSET {number}" for number in range(COMMANDS, 2 * COMMANDS)]


def test_what_was_planned_is_a_ghost_until_it_is_seen() -> None:
    camera = Camera()
    camera.plan(films.chord_plan())
    ghosts = camera.film()
    assert [(entry["label"], entry["state"], entry["planned"]) for entry in ghosts["tasks"]][:2] == [
        ("collect(1)", "", True),
        ("collect(2)", "", True),
    ]
    assert len(ghosts["tasks"]) == 6  # a callback has no id yet
    camera.take(films.chord_tasks())
    shown = {entry["id"]: entry for entry in camera.film()["tasks"]}
    assert [shown[name]["state"] for name in ("n0", "n4", "n5")] == ["SUCCESS", "FAILURE", ""]
    assert [name for name, entry in shown.items() if not entry["planned"]] == ["x"]


def test_a_callback_is_planned_although_celery_makes_up_its_id() -> None:
    errback = replace(task("alarm", "('n4',)", lane("real", ("PENDING", 1.6), ("SUCCESS", 1.7)), parent="n4"), name="projects.alarm")
    shown = film([*films.chord_tasks(), errback], graphs=[films.chord_plan()])
    assert next(entry for entry in shown["tasks"] if entry["id"] == "real")["planned"]
    nodes = {node["id"]: node["kind"] for node in shown["graphs"][0]["nodes"]}
    assert nodes["real"] == "link_error"
    assert "link_error-6" not in nodes


def test_what_waits_for_a_failure_never_runs() -> None:
    shown = films.chord()
    states = {entry["id"]: entry["state"] for entry in shown["tasks"]}
    assert never_ran(shown["graphs"][0], states) == {"n5"}
    fine = {**states, "n4": "SUCCESS"}
    assert never_ran(shown["graphs"][0], fine) == {"link_error-6"}
    assert never_ran(shown["graphs"][0], {"n1": "FAILURE"}) >= {"n3", "n4", "n5"}


def test_a_part_that_a_film_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match=r"no part 'worker'.*workers"):
        film([], worker=[])


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: str(path.stem))
def test_a_recorded_run_shows_at_its_end_what_the_history_says(path: Path) -> None:
    history = History()
    history.extend(Observation.from_json(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    tasks = {one.id: one for one in history.tasks()}
    shown: Film = film(tasks.values())
    assert shown["lanes"]
    for entry in nest(shown):
        here = moment(entry, shown["now"])
        assert (here.state if here else "PENDING") == tasks[entry["id"]].state


def _snapshot() -> dict[str, Any]:
    message = {"id": "m", "label": "add(2, 3)", "queue": "celery"}
    return {
        "queues": [{"name": "celery", "waiting": 2, "unacked": None, "kind": "tasks", "messages": [message]}],
        "unacked": [{"message": message, "at": 1.0}],
        "results": [{"id": "9229f3ab-33", "state": "SUCCESS", "value": "5", "call": "", "ttl": 86399.0, "problem": ""}],
        "groups": [{"id": "g" * 20, "gate": {"counted": 2, "size": 3, "state": "counting"}, "keys": [["k.j", "", 86400.0]]}],
        "others": [{"name": "mine", "type": "string", "size": 3, "ttl": None, "meaning": ""}],
        "bindings": [{}],
        "of": {"results": 700},
        "missing": ["0beeb79e-85"],
        "hidden": [],
    }


def test_an_xray_is_a_table() -> None:
    rows = film_module.xray_table(_snapshot())["rows"]
    assert rows[0] == ["celery", "queue", "2 waiting: add(2, 3)", ""]
    assert ["result of 9229f3ab…", "result", "SUCCESS = 5", "23 h 59 min"] in rows
    assert ["group gggggggg…", "gate", "2 of 3 counted, counting", "24 h 0 min"] in rows
    assert ["mine", "string", "3 inside", "for ever"] in rows
    assert ["task 0beeb79e…", "", "no message, and no stored result", ""] in rows
    assert ["add(2, 3)", "", "no message, and no stored result", ""] in film_module.xray_table(
        _snapshot(), calls={"0beeb79e-85": "add(2, 3)"}
    )["rows"]
    assert rows[-1][2] == "not all are shown: there are 700"
    many = _snapshot() | {"of": {"unacked": 500}}
    assert ["unacked", "hash", "500 taken, not confirmed: add(2, 3)", ""] in film_module.xray_table(many)["rows"]


def test_the_stage_tells_what_the_broker_keeps_and_of_no_other_moment() -> None:
    running = task("slow", "(3,)", lane("m", ("PENDING", 0), ("RECEIVED", 0.1), ("STARTED", 0.2)))
    said = {}
    for kept in (None, 0, 1):
        queue = {"waiting": 0, "unacked": 1} | ({} if kept is None else {"kept": kept})
        shown = film([running], now=ORIGIN + 1, workers=films.WORKERS, queues={"celery": queue})
        said[kept] = _texts(shown, t=1.0).get("kept")
        assert "kept" not in _texts(shown, t=0.5)
    assert said == {None: None, 0: "the broker has no copy of what runs", 1: "the broker keeps a copy of 1"}


@pytest.mark.parametrize("width", [500, 560, 700])
def test_times_to_live_are_never_cut(width: int) -> None:
    shown = film([], xray=film_module.xray_table(_snapshot()))
    written = {item["text"] for item in scene(shown, "xray", 0, width)["items"] if item["tag"] == "text"}
    assert {"time to live", "23 h 59 min", "24 h 0 min", "for ever"} <= written


def test_the_gate_shows_what_the_backend_counted() -> None:
    camera = Camera()
    camera.plan(films.chord_plan())
    camera.take(films.chord_tasks())
    for counted, at in ((None, 0.1), (1, 0.5), (1, 0.6), (3, 1.0)):
        camera.count("g", counted, ORIGIN + at)
    (gate,) = camera.film()["graphs"][0]["gates"]
    assert gate["counts"] == [[0.5, 1], [1.0, 3]]
    texts = {
        t: [item["text"] for item in scene(camera.film(), "graph", t, 700)["items"] if "gated" in item["key"]] for t in (0.2, 0.7, 1.4)
    }
    assert texts == {0.2: ["gate (0/3)"], 0.7: ["gate 1/3"], 1.4: ["gate 3/3"]}


def test_what_is_on_record_as_failed_without_having_run_is_drawn_so() -> None:
    shown = films.broken_chord()
    items = {item["key"]: item for item in scene(shown, "graph", shown["now"], 700)["items"]}
    assert items["0 node n4"]["cls"] == "node FAILURE", "this one ran"
    assert items["0 node n5"]["cls"] == "node FAILURE idle"
    assert items["0 lost n5"]["text"] == "never ran"
    assert items["0 token n5"]["name"].endswith("FAILURE, never ran")
    assert items["0 below n5"]["text"].startswith("process_all"), "its name stays where it was"


def _rows(shown: Film, t: float) -> list[list[str]]:
    """Return what the table of the witnesses says at a time, row by row."""
    cells: dict[int, list[str]] = {}
    for item in scene(shown, "witnesses", t, 1000)["items"]:
        if item["key"].startswith("cell ") and item["tag"] == "text":
            cells.setdefault(int(item["key"].split()[1]), []).append(item["text"])
        elif item["tag"] == "disc":
            cells[max(cells)].append(item["label"])
    return list(cells.values())


def test_the_witnesses_say_what_they_had_said_at_that_moment() -> None:
    one = task("add", "(1, 1)", lane("a", ("PENDING", 0), ("RECEIVED", 0.1), ("STARTED", 0.2), ("SUCCESS", 0.5)), result="2")
    watched = replace(one, broker=((ORIGIN, "in a queue"), (ORIGIN + 0.1, "taken"), (ORIGIN + 0.2, "confirmed")))
    shown = film([watched])
    assert {t: _rows(shown, t)[0] for t in (-1, 0, 0.1, 0.3, 0.5)} == {
        -1: ["add(1, 1)", "–", "–", "–", "–", "no word of it"],
        0: ["add(1, 1)", "PENDING", "–", "in a queue", "sent it", ""],
        0.1: ["add(1, 1)", "RECEIVED", "–", "taken", "sent it", ""],
        0.3: ["add(1, 1)", "STARTED", "STARTED", "confirmed", "sent it", ""],
        0.5: ["add(1, 1)", "SUCCESS", "SUCCESS", "confirmed", "sent it", ""],
    }
    assert _rows(film([one]), 0.5)[0][3] == "not asked", "nobody watched the broker's commands"


def test_a_retry_that_is_on_its_way_is_the_last_word_of_the_events() -> None:
    retried = task(
        "flaky",
        "(2,)",
        lane("c", ("PENDING", 0), ("RECEIVED", 0.1), ("STARTED", 0.2), ("RETRY", 0.3)),
        lane("c", ("PENDING", 0.29), ("RECEIVED", 0.295), attempt=1, told={"PENDING": ("event",)}),
    )
    assert _rows(film([retried]), 0.4)[0][1:3] == ["RETRY", "RETRY"]


@pytest.mark.parametrize(
    ("steps", "more", "do_they"),
    [
        # The worker that holds it for later has not come to it yet: it says RECEIVED, and it is right.
        ([("PENDING", 0), ("RECEIVED", 0.1), ("REVOKED", 0.2)], {"told": {"REVOKED": ("result",)}}, False),
        ([("PENDING", 0), ("RECEIVED", 0.1), ("STARTED", 0.2), ("PROGRESS", 0.3)], {}, False),
        ([("PENDING", 0), ("RECEIVED", 0.1), ("STARTED", 0.2), ("SUCCESS", 0.3)], {"told": {"SUCCESS": ("result",)}}, False),
        (
            [("PENDING", 0), ("RECEIVED", 0.1), ("STARTED", 0.2), ("SUCCESS", 0.3)],
            {"told": {"SUCCESS": ("result",)}, "evidence": {"SUCCESS": "contradicted"}},
            True,
        ),
        ([("PENDING", 0), ("RECEIVED", 0.1), ("STARTED", 0.2), ("SUCCESS", 0.3)], {"told": {"SUCCESS": ("event",)}}, True),
        (
            [("PENDING", 0), ("SUCCESS", 0.3), ("FAILURE", 0.4)],
            {"told": {"SUCCESS": ("event",), "FAILURE": ("result",)}, "evidence": {"FAILURE": "contradicted"}},
            True,
        ),
        # Nobody has heard of it; the backend alone has it on record.
        ([("FAILURE", 0)], {"told": {"FAILURE": ("result",)}, "evidence": {"FAILURE": "contradicted"}}, False),
    ],
)
def test_witnesses_disagree_only_where_both_have_spoken(steps: list[Any], more: dict[str, Any], do_they: bool) -> None:
    shown = film([task("add", "(1, 1)", lane("a", *steps, **more))])
    assert ("≠ disagree" in _rows(shown, 1)[0]) is do_they
    assert text(shown, "witnesses").endswith("they disagree") is do_they
    assert "≠ disagree" not in _rows(shown, 0.15)[0]


def _texts(shown: Film, view: str = "stage", t: float = 1.0) -> dict[str, str]:
    """Return what is written in a picture, by key."""
    return {
        item["key"]: item.get("text") or item["name"] for item in scene(shown, view, t, 1000)["items"] if item["tag"] in ("text", "disc")
    }


def _invented(*marks: tuple[str, float], **fields: Any) -> Task:
    one = task("add", "", lane("no-such-id", *marks, told={"REVOKED": ("result",)}, note="revoked"), **fields)
    return replace(one, name="", kwargs="", queue="", said={"result": "REVOKED"}, result="TaskRevokedError('revoked')")


def test_an_id_that_nobody_sent_is_in_no_queue_and_not_counted_as_sent() -> None:
    sent = task("add", "(1, 1)", lane("a", ("PENDING", 0), ("RECEIVED", 0.1), ("STARTED", 0.2), ("SUCCESS", 0.5)), result="2")
    shown = film([sent, _invented(("REVOKED", 0.6))])
    drawn = _texts(shown)
    assert [words for key, words in drawn.items() if key.startswith("queue ")] == ['queue "celery"']
    assert drawn["sent"] == "1 sent"
    assert drawn["token no-such-id"] == "an unknown id, REVOKED, TaskRevokedError('revoked')"
    assert text(shown, "stage").splitlines()[1] == "an unknown id: REVOKED: revoked (on record, and nobody has heard that it was sent)"


def test_a_queue_whose_name_nobody_told_is_shown_only_where_a_task_waited_in_it() -> None:
    passed_by = _invented(("(PENDING)", 0.2), ("(RECEIVED)", 0.2), ("STARTED", 0.2))
    assert "queue not known" not in _texts(film([passed_by])).values()
    assert "queue not known" in _texts(film([_invented(("PENDING", 0.2))])).values()


def test_a_name_below_its_node_is_not_covered_by_the_next_one() -> None:
    """A long chain whose last tasks run side by side: the columns are narrow."""
    chain, group = [f"step_{number}" for number in range(4)], [f"collector_{number}" for number in range(3)]
    nodes = [{"id": one, "name": one, "label": f"{one}(1, 2)", "kind": "task", "box": 0 if one in group else None} for one in chain + group]
    edges = [*pairwise(chain), *((chain[-1], one) for one in group)]
    plan = {
        "nodes": nodes,
        "edges": [{"source": one, "target": two, "kind": "chain"} for one, two in edges],
        "boxes": [{"id": "b", "kind": "group", "parent": None, "counts": []}],
    }
    items = {item["key"]: item for item in scene(film([], graphs=[plan]), "graph", 0, 700)["items"]}
    below = [items[f"0 below collector_{number}"] for number in range(2)]
    for name, node in zip(below, [items[f"0 node collector_{number}"] for number in (1, 2)], strict=True):
        assert name["y"] + 2 < node["y"]  # what a letter has below its line


@pytest.mark.parametrize(("name", "is_whole"), [("collector_gathering", True), ("collector_gathering_all_reports", False)])
def test_a_name_below_its_node_has_the_room_up_to_the_gate(name: str, is_whole: bool) -> None:
    plan = films.chord_plan()
    plan["nodes"][3]["label"] = f"{name}(…)"
    items = {item["key"]: item for item in scene(film([], graphs=[plan]), "graph", 0, 580)["items"]}
    below, gate = items["0 below n3"], items["0 gate 0"]
    assert (below["text"] == name) is is_whole
    assert below["x"] - extent(below["text"], 11) / 2 > gate["x"] + gate["w"]

"""The fold, on runs that a real worker made, and on every order and repetition of them."""

import dataclasses
import itertools
import math
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskscope import history as history_module
from taskscope.gone import Gone
from taskscope.history import Gap, History, Task, count_transitions, label, occupancy, sentence
from taskscope.observation import Observation

RECORDED = Path(__file__).parents[1] / "recorded"
RUNS = sorted(path.stem for path in RECORDED.glob("*.jsonl"))


def observations(run: str) -> list[Observation]:
    return [Observation.from_json(line) for line in (RECORDED / f"{run}.jsonl").read_text().splitlines()]


def history_of(said: Iterable[Observation], limit: int | None = None) -> History:
    history = History(limit)
    history.extend(said)
    return history


def replayed(run: str) -> History:
    return history_of(observations(run))


def only(history: History) -> Task:
    (task,) = history.tasks()
    return task


def lanes_of(task: Task) -> list[str]:
    """Write each lane as "attempt.delivery STATE STATE ...", with (inferred) and !contradicted! states marked."""
    shapes = {"observed": "{}", "inferred": "({})", "contradicted": "!{}!"}
    return [
        " ".join([f"{lane.attempt}.{lane.delivery}", *(shapes[mark.evidence].format(mark.state) for mark in lane.marks)])
        for lane in task.lanes
    ]


def spans_of(task: Task) -> list[list[str]]:
    return [[span.kind if span.end is not None else f"{span.kind}…" for span in lane.spans] for lane in task.lanes]


def one(kind: str, at: float, task: str | None = "t", **changed: Any) -> Observation:
    """Make an observation: an event unless it is stored or published."""
    source = {"stored": "result", "published": "publish", "LPUSH": "command"}.get(kind, "event")
    host = "" if source != "event" else "client" if kind == "sent" else "w"
    fields: dict[str, Any] = {"source": source, "kind": kind, "at": at, "arrived": at + 0.01, "task": task, "host": host} | changed
    return Observation(**fields)


def stored(state: str, at: float, result: str = "", **fields: Any) -> Observation:
    return one("stored", at, data={"state": state, "result": result}, **fields)


# -- every row of what Celery really says, as it was recorded -------------------------------------------------------

NORMAL = "0.0 PENDING RECEIVED STARTED"

GOLDEN = {
    "success": ("add(2, 3): PENDING → RECEIVED → STARTED → SUCCESS = 5", [f"{NORMAL} SUCCESS"]),
    "failure": ("fail('no'): PENDING → RECEIVED → STARTED → FAILURE: ValueError('no')", [f"{NORMAL} FAILURE"]),
    "retry": (
        "flaky(2, pause=0.2): PENDING → RECEIVED → STARTED → RETRY → RECEIVED → STARTED → SUCCESS = 2",
        [f"{NORMAL} RETRY", "1.0 PENDING RECEIVED STARTED SUCCESS"],
    ),
    "progress": (
        "count_to(3, pause=0.02): PENDING → RECEIVED → STARTED → PROGRESS ×3 → SUCCESS = 3",
        [f"{NORMAL} PROGRESS PROGRESS PROGRESS SUCCESS"],
    ),
    "own_event": (
        "telling(): PENDING → RECEIVED → STARTED → PROGRESS ×3 → SUCCESS = 'told'",
        [f"{NORMAL} PROGRESS PROGRESS PROGRESS SUCCESS"],
    ),
    "reject": (
        "rejected(): PENDING → RECEIVED → STARTED → FAILURE: reject requeue=False: not for me",
        [f"{NORMAL} FAILURE"],
    ),
    "reject_requeue": (
        "rejected_once(): PENDING → RECEIVED → STARTED → REJECTED → RECEIVED → STARTED → SUCCESS = 'now'",
        [f"{NORMAL} REJECTED", "0.1 RECEIVED STARTED SUCCESS"],
    ),
    "revoked_queued": ("add(2, 3): PENDING → RECEIVED → REVOKED: revoked", ["0.0 PENDING RECEIVED REVOKED"]),
    "revoked_running": ("wait_at_gate('recorded'): PENDING → RECEIVED → STARTED → REVOKED: terminated", [f"{NORMAL} REVOKED"]),
    "expired": ("add(2, 3): PENDING → REVOKED: expired", ["0.0 PENDING REVOKED"]),
    "eta": ("add(2, 3): PENDING → RECEIVED → STARTED → SUCCESS = 5", [f"{NORMAL} SUCCESS"]),
    "unregistered": ("this(1): PENDING → FAILURE: NotRegistered('nobody.knows.this')", ["0.0 PENDING FAILURE"]),
    "killed_child": (
        "wait_at_gate('recorded'): PENDING → RECEIVED → STARTED → FAILURE: WorkerLostError('Worker exited prematurely: signal 9 (SIGKI…",
        [f"{NORMAL} FAILURE"],
    ),
    "cancelled": (
        "late_nap(1): PENDING → RECEIVED → STARTED → CANCELLED → RECEIVED → STARTED → SUCCESS = 'rested'",
        [f"{NORMAL} CANCELLED", "0.1 RECEIVED STARTED SUCCESS"],
    ),
    "killed_worker": (
        "late_nap(1): PENDING → RECEIVED → STARTED → RECEIVED → STARTED → SUCCESS = 'rested'",
        [NORMAL, "0.1 RECEIVED STARTED SUCCESS"],
    ),
    "ignored_result": ("say_nothing(7): PENDING → RECEIVED → STARTED → SUCCESS = 7", [f"{NORMAL} SUCCESS"]),
    "silent_task": (
        "silent(): PENDING → (RECEIVED) → STARTED → SUCCESS = 'nobody heard'",
        ["0.0 PENDING (RECEIVED) STARTED SUCCESS"],
    ),
    "same_id_twice": (
        "add(2, 3): PENDING → RECEIVED → STARTED → SUCCESS → RECEIVED → STARTED → SUCCESS = 10",
        [f"{NORMAL} SUCCESS", "0.1 PENDING RECEIVED STARTED SUCCESS"],
    ),
    "swallowed_retry": (
        "swallowing(): PENDING → RECEIVED → STARTED → SUCCESS → RECEIVED → STARTED → SUCCESS → RECEIVED → STARTED → SUCCESS = 'done'",
        [f"{NORMAL} SUCCESS", "1.0 PENDING RECEIVED STARTED SUCCESS", "2.0 PENDING RECEIVED STARTED SUCCESS"],
    ),
    "other_time_zone": (
        "retried(1): PENDING → RECEIVED → STARTED → RETRY → RECEIVED → STARTED → SUCCESS = 1",
        [f"{NORMAL} RETRY", "1.0 PENDING RECEIVED STARTED SUCCESS"],
    ),
}


@pytest.mark.parametrize("run", GOLDEN)
def test_recorded(run: str) -> None:
    task = only(replayed(run))
    assert (sentence(task), lanes_of(task)) == GOLDEN[run]


def test_every_recorded_run_is_tested_as_it_stands() -> None:
    assert set(RUNS) - set(GOLDEN) == {"ignore", "broken_chain", "two_slots", "two_clocks"}  # each has a test of its own


def test_ignore_stops_at_started_and_its_slot_is_free_when_the_worker_says_that_it_runs_nothing() -> None:
    history = replayed("ignore")
    ignored, _ = history.tasks()
    assert sentence(ignored) == "ignored(): PENDING → RECEIVED → STARTED"
    assert (ignored.state, ignored.evidence) == ("STARTED", "observed")
    assert ignored.said["event"] == ignored.said["result"] == "STARTED"
    heartbeats = [said.at for said in observations("ignore") if said.kind == "worker-heartbeat" and said.host == "one@cast"]
    assert ignored.lanes[0].spans[-1].end == min(at for at in heartbeats if at > ignored.lanes[0].marks[-1].at)
    assert [use.slot for use in occupancy(history, "one@cast")] == [1]


def test_a_chain_s_member_that_never_ran_is_stored_as_failure_and_the_events_contradict_it() -> None:
    first, broken, never_ran = replayed("broken_chain").tasks()
    assert sentence(first) == "add(2, 3): PENDING → RECEIVED → STARTED → SUCCESS = 5"
    assert sentence(broken) == "fail('no'): PENDING → RECEIVED → STARTED → FAILURE: ValueError('no')"
    assert lanes_of(never_ran) == ["0.0 !FAILURE!"]
    assert (never_ran.state, never_ran.evidence, never_ran.stored) == ("FAILURE", "contradicted", "FAILURE")
    assert dict(never_ran.said) == {"result": "FAILURE"}
    assert broken.parent == first.id
    assert broken.evidence == "observed"


def test_five_tasks_in_two_slots() -> None:
    history = replayed("two_slots")
    slots = [lane.slot for task in history.tasks() for lane in task.lanes]
    assert slots in ([1, 2, 2, 2, 1], [2, 1, 1, 1, 2])  # of the first two, either may have started first
    assert history.workers["celery@lab"].slots == 2
    uses = occupancy(history, "celery@lab")
    running = [span.end - span.begin for task in history.tasks() for span in task.lanes[0].spans if span.kind == "running" and span.end]
    assert sum(use.busy for use in uses) == pytest.approx(sum(running))
    idle = {use.slot: use.idle for use in uses}
    assert 0 <= idle[slots[1] or 0] < idle[slots[0] or 0] < 1


def test_two_clocks_are_shown_and_not_mended() -> None:
    history = replayed("two_clocks")
    assert history.workers["two@cast"].offset == pytest.approx(30, abs=0.1)
    assert history.workers["one@cast"].offset < 0.1
    wandered = 0
    for task in history.tasks():
        retries = 3 if task.name.endswith("retried") else 0
        assert lanes_of(task) == [
            f"{attempt}.0 PENDING RECEIVED STARTED {'RETRY' if attempt < retries else 'SUCCESS'}" for attempt in range(retries + 1)
        ]
        wandered += len({lane.host for lane in task.lanes}) - 1
        for lane in task.lanes:
            said = [each for each in observations("two_clocks") if each.task == task.id and each.host == lane.host]
            received = [each.at for each in said if each.kind == "received" and each.attempt == lane.attempt]
            assert [mark.at for mark in lane.marks if mark.state == "RECEIVED"] == received
            assert all(mark.sources == ("event", "result") for mark in lane.marks[2:])
            if lane.host == "two@cast" and lane.attempt == 0:
                assert lane.marks[0].note == "said 30.0 s later by another clock"
            assert [mark.at for mark in lane.marks] == sorted(mark.at for mark in lane.marks)
    assert wandered, "no task had attempts on both hosts: record it anew"


def test_a_worker_in_another_time_zone_has_the_same_clock() -> None:
    assert replayed("other_time_zone").workers["one@cast"].offset < 1


@pytest.mark.parametrize("run", RUNS)
def test_time_never_goes_back_within_a_lane(run: str) -> None:
    for task in replayed(run).tasks():
        for lane in task.lanes:
            assert [mark.at for mark in lane.marks] == sorted(mark.at for mark in lane.marks)
            assert all(span.end is None or span.begin <= span.end for span in lane.spans)


# -- details of the recorded runs -----------------------------------------------------------------------------------


def test_what_several_witnesses_say_is_one_mark() -> None:
    task = only(replayed("success"))
    assert [(mark.state, mark.sources) for mark in task.lanes[0].marks] == [
        ("PENDING", ("event", "publish")),
        ("RECEIVED", ("event",)),
        ("STARTED", ("event", "result")),
        ("SUCCESS", ("event", "result")),
    ]
    assert spans_of(task) == [["waiting", "reserved", "running"]]
    assert (task.name, task.args, task.kwargs, task.queue) == ("tutorial_tasks.arithmetic.add", "(2, 3)", "{}", "celery")
    assert (task.result, task.stored, task.root, task.parent) == ("5", "SUCCESS", task.id, "")


def test_the_start_is_the_earlier_of_the_event_and_the_runtime() -> None:
    said = {each.kind: each for each in observations("success") if each.source == "event"}
    began = said["succeeded"].at - said["succeeded"].data["runtime"]
    assert only(replayed("success")).lanes[0].marks[2].at == min(said["started"].at, began)
    early, late = one("succeeded", 9, data={"runtime": 5}), one("succeeded", 9, data={"runtime": 1})
    for end, at in ((early, 4), (late, 6)):
        lane = only(history_of([one("received", 3, attempt=0), one("started", 6), end])).lanes[0]
        assert [(mark.state, mark.at) for mark in lane.marks][2] == ("STARTED", at)


def test_backoff_is_the_time_from_retry_to_the_next_start() -> None:
    task = only(replayed("retry"))
    backoff = task.lanes[0].spans[-1]
    assert backoff.kind == "backoff"
    assert (backoff.begin, backoff.end) == (task.lanes[0].marks[-1].at, task.lanes[1].marks[2].at)
    assert task.parent == ""  # although the retry's message says that it is its own parent


def test_an_eta_is_held_by_the_worker_until_it_is_due() -> None:
    lane = only(replayed("eta")).lanes[0]
    assert lane.eta
    assert lane.marks[1].at < lane.eta - 0.9
    assert lane.eta <= lane.marks[2].at < lane.eta + 0.5
    assert only(replayed("success")).lanes[0].eta is None


def test_what_killed_the_child_is_told_by_the_backend_only() -> None:
    assert only(replayed("killed_child")).result.startswith("WorkerLostError(")


def test_a_delivery_that_was_cut_off_ends_at_last_when_the_next_one_starts() -> None:
    task = only(replayed("killed_worker"))
    assert spans_of(task) == [["waiting", "reserved", "running"], ["reserved", "running"]]
    assert task.lanes[0].spans[-1].end == task.lanes[1].marks[1].at
    assert [lane.host for lane in task.lanes] == ["one@cast", "two@cast"]


def test_notes_of_progress() -> None:
    assert [mark.note for mark in only(replayed("progress")).lanes[0].marks[3:]] == [
        *(f"{{'done': {n}, 'total': 3}}" for n in (1, 2, 3)),
        "3",
    ]
    assert [mark.note for mark in only(replayed("own_event")).lanes[0].marks[3:6]] == [f"done={n}, total=3" for n in (1, 2, 3)]


# -- a function of the set ------------------------------------------------------------------------------------------


def picture(history: History) -> Any:
    return history.tasks(), history.workers, history.gaps, [occupancy(history, host) for host in history.workers]


@pytest.mark.parametrize("run", RUNS)
@settings(max_examples=25, deadline=None)
@given(chance=st.randoms(use_true_random=False))
def test_any_order_and_repetition_gives_the_same(run: str, chance: random.Random) -> None:
    said = observations(run)
    again = [*said, *chance.sample(said, chance.randint(0, len(said)))]
    chance.shuffle(again)
    assert picture(history_of(again)) == picture(history_of(said))


@pytest.mark.parametrize("run", RUNS)
@settings(max_examples=15, deadline=None)
@given(chance=st.randoms(use_true_random=False))
def test_reading_in_between_changes_nothing(run: str, chance: random.Random) -> None:
    said = observations(run)
    if chance.random() < 0.5:
        chance.shuffle(said)
    history = History()
    for each in said:
        history.add(each)
        if chance.random() < 0.5:
            history.tasks()
    assert picture(history) == picture(history_of(said))


KINDS = [
    "published",
    "sent",
    "received",
    "started",
    "succeeded",
    "failed",
    "retried",
    "revoked",
    "rejected",
    "cancelled",
    "progress",
    "LPUSH",
]
STATES = ["STARTED", "PROGRESS", "RETRY", "SUCCESS", "FAILURE", "REVOKED", "PENDING"]


@st.composite
def anything(draw: st.DrawFn) -> Observation:
    """Draw what no worker would say in this order, with moments and hosts that often coincide."""
    at = float(draw(st.integers(0, 6)))
    task = draw(st.sampled_from(["t", "u"]))
    kind = draw(st.sampled_from([*KINDS, "stored", "stored", "worker-heartbeat", "worker-offline", "gap"]))
    if kind == "stored":
        data: dict[str, Any] = {"state": draw(st.sampled_from(STATES)), "result": draw(st.sampled_from(["1", "2"]))}
        data |= draw(st.sampled_from([{}, {}, {"retries": 0, "name": "add"}, {"retries": 1, "name": "add"}]))
        return one(
            "stored", at, task, source="result", host=draw(st.sampled_from(["", "v", "w"])), arrived=at + draw(st.integers(0, 3)), data=data
        )
    if kind.startswith("worker-"):
        return one(kind, at, task=None, host=draw(st.sampled_from("vw")), data={"active": draw(st.integers(0, 1))})
    if kind == "gap":
        return Observation("event", "gap", at, at + 1, data={"from": at, "to": at + 1, "why": "the broker was away"})
    fields: dict[str, Any] = {"task": task, "arrived": at + draw(st.integers(0, 3))}
    if kind in ("published", "sent", "received", "LPUSH"):
        fields["attempt"] = draw(st.integers(0, 2))
    if kind not in ("published", "sent", "LPUSH"):
        fields["host"] = draw(st.sampled_from("vw"))
    if kind == "succeeded":
        fields["data"] = {"result": "1", "runtime": draw(st.sampled_from([0.5, 2]))}
    return one(kind, at, **fields)


@settings(max_examples=150, deadline=None)
@given(said=st.lists(anything(), max_size=14), chance=st.randoms(use_true_random=False))
def test_whatever_is_said_in_whatever_order(said: list[Observation], chance: random.Random) -> None:
    again = [*said, *said[: len(said) // 2]]
    chance.shuffle(again)
    history = History()
    for each in again:
        history.add(each)
        if chance.random() < 0.3:
            history.changed()
    assert picture(history) == picture(history_of(said))
    for task in history.tasks():
        sentence(task)
        keys = [(lane.attempt, lane.delivery) for lane in task.lanes]
        assert keys == sorted(set(keys))
        for lane in task.lanes:
            assert lane.marks
            assert [mark.at for mark in lane.marks] == sorted(mark.at for mark in lane.marks)
            assert all(span.end is None or span.begin <= span.end for span in lane.spans)


@settings(max_examples=60, deadline=None)
@given(run=st.sampled_from(RUNS), chance=st.randoms(use_true_random=False))
def test_whatever_was_missed_the_steps_keep_their_order(run: str, chance: random.Random) -> None:
    """Without some of the events' and the backend's words the lanes that remain are still told in the right order."""
    said = [each for each in observations(run) if chance.random() < 0.8]
    for task in history_of(said).tasks():
        for lane in task.lanes:
            ranks = [
                ("PENDING", "RECEIVED", "STARTED").index(mark.state)
                for mark in lane.marks
                if mark.state in ("PENDING", "RECEIVED", "STARTED")
            ]
            assert ranks == sorted(set(ranks))


def test_the_order_of_tasks_is_that_of_the_earliest_word_and_then_of_the_id() -> None:
    said = [one("received", 5, "a"), one("received", 3, "c"), one("received", 3, "b"), one("sent", 1, "a")]
    for order in itertools.permutations(said):
        assert [task.id for task in history_of(order).tasks()] == ["a", "b", "c"]


def test_two_words_of_one_moment_are_both_kept() -> None:
    first, second = stored("PROGRESS", 2, "1"), stored("PROGRESS", 2, "2")
    for order in ([first, second], [second, first], [second, first, second]):
        assert [mark.note for mark in only(history_of([one("started", 1), *order])).lanes[0].marks[3:]] == ["1", "2"]


# -- what must have happened, and what must not be invented ---------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "lanes"),
    [
        ([one("sent", 1, attempt=0), one("succeeded", 3, data={"runtime": 1})], ["0.0 PENDING (RECEIVED) (STARTED) SUCCESS"]),
        ([one("received", 2, attempt=0), one("succeeded", 3)], ["0.0 (PENDING) RECEIVED (STARTED) SUCCESS"]),
        ([one("started", 2)], ["0.0 (PENDING) (RECEIVED) STARTED"]),
        ([one("received", 2, attempt=0), one("revoked", 3)], ["0.0 (PENDING) RECEIVED REVOKED"]),
        ([one("sent", 2, attempt=0), one("revoked", 3)], ["0.0 PENDING REVOKED"]),
        ([one("published", 2, attempt=0), one("failed", 3)], ["0.0 PENDING FAILURE"]),
        ([stored("SUCCESS", 3)], ["0.0 (STARTED) SUCCESS"]),  # a result can be stored without any message
        ([stored("STARTED", 2), stored("SUCCESS", 3)], ["0.0 (PENDING) (RECEIVED) STARTED SUCCESS"]),
        ([stored("REVOKED", 3)], ["0.0 REVOKED"]),
        (
            [one("published", 1, attempt=0), stored("RETRY", 2), stored("SUCCESS", 3)],
            ["0.0 PENDING (RECEIVED) (STARTED) RETRY", "1.0 (STARTED) SUCCESS"],
        ),
        ([one("retried", 2), one("received", 1.9, attempt=1)], ["0.0 (PENDING) (RECEIVED) (STARTED) RETRY", "1.0 (PENDING) RECEIVED"]),
        ([one("LPUSH", 1, attempt=0)], ["0.0 PENDING"]),
    ],
)
def test_steps_that_were_missed(said: list[Observation], lanes: list[str]) -> None:
    for order in itertools.permutations(said):
        assert lanes_of(only(history_of(order))) == lanes


def test_an_inferred_step_stands_in_brackets() -> None:
    task = only(history_of([one("sent", 1, attempt=0, data={"name": "a.add", "args": "(1,)"}), one("succeeded", 3, data={"result": "2"})]))
    assert sentence(task) == "add(1): PENDING → (RECEIVED) → (STARTED) → SUCCESS = 2"
    assert [mark.sources for mark in task.lanes[0].marks] == [("event",), (), (), ("event",)]
    assert spans_of(task) == [["waiting"]]  # how long it was reserved and ran is not known


def test_pending_when_nothing_is_known() -> None:
    task = only(history_of([Observation("command", "GET", 1, 1, "t")]))
    assert (task.state, task.evidence, task.lanes) == ("PENDING", "inferred", ())
    assert sentence(task) == "an unknown id: no witness has said anything"


def test_a_state_that_a_client_stores_before_it_sends_comes_before_started() -> None:
    task = only(history_of([one("published", 1, attempt=0), stored("QUEUED", 1.1), stored("STARTED", 2), stored("PROGRESS", 3)]))
    assert lanes_of(task) == ["0.0 PENDING QUEUED (RECEIVED) STARTED PROGRESS"]
    assert task.state == "PROGRESS"


def test_a_retry_whose_message_is_out_is_not_the_state_before_the_attempt_has_ended() -> None:
    said = [one("received", 1, attempt=0), one("started", 2), one("received", 3, attempt=1)]
    assert only(history_of(said)).state == "STARTED"
    assert only(history_of([*said, one("retried", 4)])).state == "RECEIVED"


# -- two witnesses, two stories -------------------------------------------------------------------------------------

RAN = [one("received", 1, attempt=0), one("started", 2)]


def test_two_different_ends_contradict_each_other() -> None:
    task = only(history_of([*RAN, one("succeeded", 3), stored("FAILURE", 3.1)]))
    assert lanes_of(task) == ["0.0 (PENDING) RECEIVED STARTED !SUCCESS! !FAILURE!"]
    assert (task.evidence, task.stored, task.said["event"], task.said["result"]) == ("contradicted", "FAILURE", "SUCCESS", "FAILURE")


def test_an_end_that_the_worker_never_tells_is_contradicted_once_it_has_told_other_things() -> None:
    history = history_of([*RAN, stored("FAILURE", 3)])
    assert only(history).evidence == "observed"  # its word may be on the way
    history.add(one("worker-heartbeat", 3.5, task=None))
    assert only(history).evidence == "observed"
    history.changed()
    history.add(one("worker-heartbeat", 5, task=None))
    assert history.changed() == ["t"]
    assert only(history).evidence == "contradicted"
    history.add(one("failed", 2.9))
    assert only(history).evidence == "observed"


def test_what_may_have_been_missed_contradicts_nothing() -> None:
    gap = Observation("event", "gap", 2.5, 2.8, data={"from": 2.5, "to": 2.8, "why": "the broker was away"})
    history = history_of([*RAN, stored("FAILURE", 3), one("worker-heartbeat", 5, task=None)])
    assert only(history).evidence == "contradicted"
    history.add(gap)
    assert only(history).evidence == "observed"
    assert history.gaps == [Gap(2.5, 2.8, "the broker was away")]


def test_without_any_event_a_stored_failure_is_no_contradiction() -> None:
    assert only(history_of([stored("FAILURE", 3)])).evidence == "observed"
    heard = [one("worker-heartbeat", 1, task=None)]
    assert only(history_of([stored("FAILURE", 3), *heard])).evidence == "contradicted"
    assert only(history_of([stored("FAILURE", 3), one("published", 2), *heard])).evidence == "observed"


def test_witnesses_are_told_apart() -> None:
    said = [one("published", 1), one("LPUSH", 1), *RAN, stored("PROGRESS", 3)]
    task = only(history_of(said))
    assert dict(task.said) == {"publish": "PENDING", "command": "PENDING", "event": "STARTED", "result": "PROGRESS"}
    assert task.lanes[0].marks[0].sources == ("command", "publish")
    taken = Observation("command", "HSET", 1.5, 1.5, "t")
    assert only(history_of([*said, taken])).said["command"] == "RECEIVED"


def test_a_stored_end_that_names_its_attempt_or_host_goes_there() -> None:
    said = [one("received", 1, attempt=0), one("started", 2), one("received", 3, attempt=1), one("started", 4)]
    kept = one("stored", 5, data={"state": "FAILURE", "result": "no", "retries": 1})
    assert lanes_of(only(history_of([*said, kept]))) == ["0.0 (PENDING) RECEIVED STARTED", "1.0 (PENDING) RECEIVED STARTED FAILURE"]
    twice = [one("received", 1, host="v"), one("started", 2, host="v"), one("received", 1.5, host="w"), one("started", 2.5, host="w")]
    task = only(history_of([*twice, stored("STARTED", 2.01, host="w"), stored("SUCCESS", 9, host="w")]))
    assert [(lane.host, lane.marks[-1].state) for lane in task.lanes] == [("v", "STARTED"), ("w", "SUCCESS")]


def test_an_end_is_stored_at_the_worker_s_time_and_still_comes_after_its_start() -> None:
    behind = stored("SUCCESS", -27, arrived=3.1)  # by a clock that is 30 s behind
    task = only(history_of([one("published", 1), stored("STARTED", 2), behind]))
    assert lanes_of(task) == ["0.0 PENDING (RECEIVED) STARTED SUCCESS"]
    assert task.lanes[0].marks[-1].note == "said 29.0 s earlier by another clock"


# -- attempts and deliveries ----------------------------------------------------------------------------------------


def test_of_two_deliveries_that_run_at_once_the_runtime_tells_which_ended() -> None:
    said = [
        one("received", 1),
        one("started", 1),
        one("received", 4),
        one("started", 4),
        one("succeeded", 5, data={"runtime": 1, "result": "2"}),
    ]
    task = only(history_of(said))
    assert lanes_of(task) == ["0.0 (PENDING) RECEIVED STARTED", "0.1 RECEIVED STARTED SUCCESS"]


def test_of_one_id_and_two_replaced_names_the_first_names_the_task() -> None:
    said = [
        one("sent", 1, attempt=0, data={"name": "a.first"}),
        one("received", 2, attempt=0),
        one("started", 3),
        one("sent", 4, attempt=0, data={"name": "a.second"}),
        one("received", 5, attempt=0),
        one("started", 6),
        one("succeeded", 7),
    ]
    task = only(history_of(said))
    assert lanes_of(task) == ["0.0 PENDING RECEIVED STARTED", "0.1 PENDING RECEIVED STARTED SUCCESS"]
    assert (task.name, task.extra["names"]) == ("a.first", ("a.first", "a.second"))


def test_stored_states_find_their_lane_although_the_next_attempt_started_first() -> None:
    said = [one("received", 1, attempt=0), one("started", 2), one("retried", 4), one("received", 3, attempt=1), one("started", 3.5)]
    kept = [stored("STARTED", 2.1), stored("STARTED", 3.6), stored("RETRY", 4.1), stored("SUCCESS", 5)]
    task = only(history_of([*said, *kept, one("succeeded", 5)]))
    assert lanes_of(task) == ["0.0 (PENDING) RECEIVED STARTED RETRY", "1.0 (PENDING) RECEIVED STARTED SUCCESS"]
    assert all(mark.sources == ("event", "result") for lane in task.lanes for mark in lane.marks[2:])


def test_a_start_that_was_stored_before_an_end_is_not_of_a_run_that_began_after_it() -> None:
    """A task is sent again under its old id; what the backend stored of the first run is heard late, and of the second nothing is."""
    task = only(
        history_of(
            [
                *(one("received", 0.749), one("started", 0.751), one("succeeded", 0.780, data={"result": "5"})),
                *(stored("STARTED", 0.7683, arrived=0.7683), stored("SUCCESS", 0.7686, "5", arrived=0.7789)),
                *(one("received", 0.7758), one("started", 0.7838), one("succeeded", 0.878, data={"result": "10"})),
            ]
        )
    )
    starts = [mark.sources for lane in task.lanes for mark in lane.marks if mark.state == "STARTED"]
    assert starts == [("event", "result"), ("event",)]
    assert task.said == {"event": "SUCCESS", "result": "SUCCESS"}


def test_what_the_events_missed_is_told_by_the_backend() -> None:
    kept = [stored("STARTED", 1.1), stored("RETRY", 2), stored("STARTED", 3.1), stored("SUCCESS", 4)]
    task = only(history_of([*kept, one("received", 2, attempt=1), one("started", 3), one("succeeded", 4)]))
    assert lanes_of(task) == ["0.0 (PENDING) (RECEIVED) STARTED RETRY", "1.0 (PENDING) RECEIVED STARTED SUCCESS"]
    assert [mark.sources for mark in task.lanes[1].marks[2:]] == [("event", "result")] * 2


# -- workers and slots ----------------------------------------------------------------------------------------------


def heartbeat(at: float, late: float = 0.01, kind: str = "worker-heartbeat", **data: Any) -> Observation:
    return Observation("event", kind, at, at + late, host="w", data=data)


def test_a_worker_lives_by_its_last_words() -> None:
    said = [heartbeat(1, kind="worker-online"), heartbeat(3, freq=2.0, active=1)]
    worker = history_of(said).workers["w"]
    assert worker.alive
    assert worker.alive_at(9)
    assert not worker.alive_at(9.1)
    gone = [*said, heartbeat(4, kind="worker-offline")]
    assert not history_of(gone).workers["w"].alive
    assert history_of([heartbeat(5, kind="worker-online"), *gone]).workers["w"].alive


def test_who_only_sends_is_no_worker() -> None:
    assert list(history_of([one("sent", 1), one("received", 2)]).workers) == ["w"]


def test_the_offset_is_the_least_delay() -> None:
    assert history_of([heartbeat(1, 30.5), heartbeat(2, 30.2), heartbeat(3, 31)]).workers["w"].offset == pytest.approx(30.2)


def ran(task: str, begin: float, end: float | None) -> list[Observation]:
    said = [one("received", begin, task, attempt=0), one("started", begin, task)]
    return said if end is None else [*said, one("succeeded", end, task)]


def test_a_slot_is_the_lowest_that_is_free_when_the_task_starts() -> None:
    said = [*ran("a", 0, 10), *ran("b", 1, 2), *ran("c", 1.5, None), *ran("d", 2, 3), *ran("e", 11, None)]
    history = history_of(said)
    assert {task.id: task.lanes[0].slot for task in history.tasks()} == {"a": 1, "b": 2, "c": 3, "d": 2, "e": 1}
    assert history.workers["w"].slots == 3
    uses = occupancy(history, "w")
    assert [use.busy for use in uses] == [10, 2, 9.5]
    assert uses[1].idle == pytest.approx(1 - 2 / 11)
    assert occupancy(history, "nobody") == []


def test_an_end_that_comes_late_is_reported_for_all_whose_slots_it_changes() -> None:
    history = history_of([*ran("a", 0, None), *ran("b", 5, 6)])
    assert [task.lanes[0].slot for task in history.tasks()] == [1, 2]
    history.changed()
    history.add(one("succeeded", 4, "a"))
    assert history.changed() == ["a", "b"]
    assert [task.lanes[0].slot for task in history.tasks()] == [1, 1]


def test_hundreds_of_tasks_in_any_order_have_the_same_slots() -> None:
    chance = random.Random(7)
    begins = [chance.uniform(0, 100) for _ in range(400)]
    said = [each for n, begin in enumerate(begins) for each in ran(str(n), begin, begin + chance.uniform(0, 2))]
    ordered = history_of(sorted(said, key=lambda each: each.at))
    shuffled = History()
    for n, each in enumerate(chance.sample(said, len(said))):
        shuffled.add(each)
        if n % 97 == 0:
            shuffled.tasks()
    assert picture(shuffled) == picture(ordered)
    at_once = max(
        sum(span.begin <= moment < span.end for task in ordered.tasks() for span in task.lanes[0].spans if span.end)
        for moment in [task.lanes[0].marks[2].at for task in ordered.tasks()]
    )
    assert ordered.workers["w"].slots == at_once


# -- bounds ---------------------------------------------------------------------------------------------------------


def test_a_limit_forgets_the_earliest_that_have_ended_and_counts_them() -> None:
    history = History(limit=10)
    history.extend(ran("runs", 0, None))
    for n in range(50):
        history.extend(ran(f"{n:02}", n + 1, n + 1.5))
        assert history.shown <= 10
    assert (history.shown, history.seen) == (len(history.tasks()), 51)
    kept = [task.id for task in history.tasks()]
    assert kept[0] == "runs"
    assert kept[1:] == [f"{n:02}" for n in range(51 - len(kept), 50)]
    slots = {task.id: task.lanes[0].slot for task in history.tasks()}
    assert slots == {"runs": 1} | dict.fromkeys(kept[1:], 2)
    history.add(one("succeeded", 99, "00"))  # of what was forgotten, a late word brings nothing back
    assert (history.seen, history.changed()[-1]) == (51, "49")
    with pytest.raises(KeyError):
        history.task("00")


def test_of_what_was_forgotten_the_number_is_kept_for_ever_and_the_last_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gone, "limit", 20)
    history = History(limit=10)
    for n in range(300):
        history.extend(ran(f"{n:03}", n, n + 0.5))
        history.tasks()
    assert history.seen == 300
    history.add(one("succeeded", 399, "288"))
    assert history.seen == 300
    assert len(history._forgotten._last | history._forgotten._before) <= 40


def test_a_thousand_forgotten_tasks_leave_the_slots_as_they_were() -> None:
    history = History(limit=20)
    history.extend(ran("long", 0, 2000))
    for n in range(1000):
        history.extend(ran(f"{n:03}", n + 1, n + 1.9))
        if n % 10 == 0:
            history.tasks()
    assert {task.lanes[0].slot for task in history.tasks() if task.id != "long"} == {2}


def test_changed_tells_once() -> None:
    history = history_of([*ran("b", 1, 2), *ran("a", 3, 4)])
    assert history.changed() == ["b", "a"]
    assert history.changed() == []
    history.extend(ran("b", 1, 2))  # nothing new
    assert history.changed() == []
    history.add(stored("SUCCESS", 4, task="a"))
    assert history.changed() == ["a"]


def test_a_thousand_states_of_one_task_read_one_by_one_equal_those_read_at_once() -> None:
    said = [
        *RAN,
        *(stored("PROGRESS", 3 + n / 1000, str(n)) for n in range(500)),
        *(one("tick", 4 + n / 1000, data={"n": n}) for n in range(500)),
    ]
    history = History()
    for each in said:
        history.add(each)
        history.changed()
    assert picture(history) == picture(history_of(said))
    assert count_transitions(history) == 3 + 1000
    assert sentence(only(history)).endswith("STARTED → PROGRESS ×500 → TICK ×500")


# -- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "expected"),
    [
        ("tasks.add", "(2, 3)", "{}", "add(2, 3)"),
        ("add", "(2,)", "", "add(2)"),
        ("a.b.add", "['no']", "{'x': 1, 'y': 'z'}", "add('no', x=1, y='z')"),
        ("add", "()", "{}", "add()"),
        ("add", "", "", "add(…)"),
        ("add", "((1, 2),)", "{}", "add((1, 2))"),
        ("add", f"('{'x' * 100}',)", "{}", f"add('{'x' * 38}…)"),
        ("add", "(1,)", "{'broken': <objec...", "add(1, **{'broken': <objec...)"),
        ("add", "(1,)", f"{{'x': '{'y' * 100}'}}", f"add(1, x='{'y' * 38}…)"),
        ("add", "('d50c4183-bfd2-4d0b-b600-bcf0990b19f4', 2)", "{}", "add('…', 2)"),
        ("", "(1,)", "{}", "a task"),
    ],
)
def test_label(name: str, args: str, kwargs: str, expected: str) -> None:
    assert label(Task("t", name, args, kwargs)) == expected


def test_transitions_are_the_marks_of_all_lanes() -> None:
    assert count_transitions(replayed("retry")) == 8


@pytest.mark.parametrize(
    "data", [{"runtime": "soon"}, {"eta": "tomorrow"}, {"eta": None}, {"args": 3, "name": 4}, {"retries": "x"}, {"state": 5}]
)
def test_odd_data_breaks_nothing(data: dict[str, Any]) -> None:
    kinds: Sequence[str] = ("published", "sent", "received", "started", "succeeded", "stored")
    (task,) = history_of(one(kind, 1 + n, data=data) for n, kind in enumerate(kinds)).tasks()
    assert isinstance(sentence(task), str)
    assert dataclasses.asdict(task)["id"] == "t"


def test_of_a_worker_that_has_little_to_do_only_so_much_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "IDLE", 3)
    beats = [one("worker-heartbeat", float(at), None, data={"active": 0}) for at in range(2, 12)]
    told = history_of([one("started", 1.0), *beats, one("started", 10.5, "late")])
    assert [told.idle_since("w", at) for at in (1.0, 9.5, 11.5)] == [9.0, 10.0, math.inf]
    ends = [task.lanes[0].spans[-1].end for task in told.tasks()]
    assert ends == [9.0, 11.0], "who was not heard to end has ended by then"

"""The tasks where they belong: sent as messages, run by the real worker."""

import json
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery.exceptions import TimeoutError as NoResultYet

from classroom.evidence import stored, unacknowledged, wait_until, waiting
from classroom.stack.worker_process import NODE
from tests.stack.one_process import one_process_free
from tutorial_tasks import collectors
from tutorial_tasks.arithmetic import add
from tutorial_tasks.collectors import collector_request
from tutorial_tasks.lifecycle import Gate, count_to, fail, flaky, meet, say_nothing, wait_at_gate
from tutorial_tasks.projects import clean_data, create_project
from tutorial_tasks.settings import data_dir, key_prefix

SOON = 20.0  # seconds: much longer than anything here takes, but for the stress test


# -- lifecycle -------------------------------------------------------------------------------------------------------


def test_fail_stores_its_error(app: Any) -> None:
    result = fail.delay("no shoes today")
    with pytest.raises(ValueError, match=r"^no shoes today$"):
        result.get(timeout=SOON)
    meta = stored(app, result.id)
    assert meta
    assert meta["status"] == "FAILURE"
    assert meta["result"]["exc_type"] == "ValueError"
    assert meta["result"]["exc_message"] == ["no shoes today"]


@pytest.mark.parametrize("until", [1, 3])
def test_flaky_is_retried_until_it_works(app: Any, until: int) -> None:
    with one_process_free():
        result = flaky.delay(until, 0.05)
        assert result.get(timeout=SOON) == until
    meta = stored(app, result.id)
    assert meta
    assert (meta["status"], meta["retries"]) == ("SUCCESS", until - 1)


def test_count_to_reports_each_number(app: Any) -> None:
    task_id = str(uuid.uuid4())
    # The backend publishes each state that it stores; who subscribes before the task is sent misses none.
    with app.backend.client.pubsub() as states:
        states.subscribe(app.backend.get_key_for_task(task_id))
        assert states.get_message(timeout=SOON)["type"] == "subscribe"
        count_to.apply_async((3, 0.01), task_id=task_id)
        seen: list[tuple[str, Any]] = []
        while not seen or seen[-1][0] != "SUCCESS":
            message = states.get_message(timeout=SOON)
            assert message, f"silence after {seen}"
            meta = json.loads(message["data"])
            seen.append((meta["status"], meta["result"]))
    assert [status for status, _ in seen] == ["STARTED", "PROGRESS", "PROGRESS", "PROGRESS", "SUCCESS"]
    assert [result for _, result in seen[1:]] == [*({"done": done, "total": 3} for done in (1, 2, 3)), 3]


def completed(app: Any, task: str) -> int:
    """How many runs of a task the worker has had behind it since it started."""
    worker = app.control.inspect(destination=[NODE], timeout=5)
    accepted = worker.stats()[NODE]["total"].get(task, 0)
    running = sum(run["name"] == task for run in worker.active()[NODE])
    return int(accepted - running)


def test_say_nothing_stores_nothing(app: Any) -> None:
    before = completed(app, say_nothing.name)
    result = say_nothing.delay("hello")
    wait_until(lambda: completed(app, say_nothing.name) == before + 1, SOON, "say_nothing has run")
    assert stored(app, result.id) is None
    # That the worker stores at all shows a task that does say something.
    loud = add.delay(2, 3)
    assert loud.get(timeout=SOON) == 5
    assert stored(app, loud.id)


# -- the gate --------------------------------------------------------------------------------------------------------


@pytest.fixture
def gate(app: Any) -> Iterator[Gate]:
    """A closed gate that nobody else uses; at the end it opens, so that nobody keeps waiting there."""
    gate = Gate(f"gate-{uuid.uuid4()}")
    yield gate
    gate.open()


def assert_waiting(*results: Any) -> None:
    """They have started, and they are still not through when more than one turn of a second is over."""
    wait_until(lambda: {result.state for result in results} == {"STARTED"}, SOON, "the tasks have started")
    with pytest.raises(NoResultYet):
        results[0].get(timeout=1.3)
    assert {result.state for result in results} == {"STARTED"}


def test_a_task_waits_until_the_gate_opens(gate: Gate) -> None:
    result = wait_at_gate.delay(gate.name)
    assert_waiting(result)
    gate.open()
    assert result.get(timeout=SOON) == gate.name


def test_one_opening_lets_two_waiting_tasks_through(gate: Gate) -> None:
    results = [wait_at_gate.delay(gate.name) for _ in range(2)]
    assert_waiting(*results)
    gate.open()
    assert [result.get(timeout=SOON) for result in results] == [gate.name] * 2


def test_an_open_gate_lets_everybody_through_at_once(gate: Gate) -> None:
    gate.open()
    results = [wait_at_gate.delay(gate.name, 5) for _ in range(5)]
    assert [result.get(timeout=SOON) for result in results] == [gate.name] * 5


def test_a_gate_that_is_closed_again_holds_the_next_task(gate: Gate) -> None:
    gate.open()
    assert wait_at_gate.delay(gate.name).get(timeout=SOON) == gate.name
    gate.close()
    result = wait_at_gate.delay(gate.name)
    assert_waiting(result)
    gate.open()
    assert result.get(timeout=SOON) == gate.name


def test_a_gate_holds_only_those_who_wait_at_it(gate: Gate) -> None:
    other = Gate(f"{gate.name}-other")
    other.open()
    result = wait_at_gate.delay(gate.name)
    assert wait_at_gate.delay(other.name).get(timeout=SOON) == other.name
    assert_waiting(result)


def test_an_open_gate_needs_no_time_at_all(gate: Gate) -> None:
    with pytest.raises(TimeoutError):
        gate.wait(timeout=0)
    gate.open()
    gate.wait(timeout=0)


def test_the_error_of_a_gate_that_stays_closed_says_how_to_open_it(gate: Gate) -> None:
    with pytest.raises(TimeoutError, match=re.escape(f"{gate.name!r} stayed closed for 0.2 s")) as error:
        wait_at_gate.delay(gate.name, 0.2).get(timeout=SOON)
    exec(str(error.value).partition("open it with: ")[2], {})
    assert wait_at_gate.delay(gate.name, 5).get(timeout=SOON) == gate.name


# -- a meeting of two ------------------------------------------------------------------------------------------------


def test_two_that_run_at_the_same_time_meet_and_leave_nothing_behind(app: Any) -> None:
    results = [meet.delay("Ada", "Grace", SOON), meet.delay("Grace", "Ada", SOON)]
    assert [result.get(timeout=SOON) for result in results] == ["Ada met Grace", "Grace met Ada"]
    assert not app.backend.client.keys(f"{key_prefix}note:*")


def test_two_that_run_one_after_the_other_do_not_meet(app: Any) -> None:
    assert [meet.delay(*names, 0.1).get(timeout=SOON) for names in (("Ada", "Grace"), ("Grace", "Ada"))] == [
        "Ada met nobody",
        "Grace met nobody",
    ]
    assert not app.backend.client.keys(f"{key_prefix}note:*")


# -- collectors ------------------------------------------------------------------------------------------------------


def expected_summary(request_id: str, topic: str, seed: int) -> collectors.Summary:
    """Run the pipeline right here, as plain functions."""
    reports = [each(request_id, topic, seed) for each in (collectors.collector_1, collectors.collector_2, collectors.collector_3)]
    summary: collectors.Summary = collectors.process(collectors.cleanup(collectors.collector_gathering(reports)))
    return summary


def test_a_request_ends_in_its_summary(app: Any) -> None:
    started = collector_request.delay("shoes", seed=7).get(timeout=SOON)
    assert set(started) == {"request_id", "result_id"}
    assert str(uuid.UUID(started["request_id"])) == started["request_id"]
    summary = app.AsyncResult(started["result_id"]).get(timeout=SOON)
    assert summary == expected_summary(started["request_id"], "shoes", 7)


def test_two_requests_at_once_do_not_mix(app: Any) -> None:
    requests = [("shoes", 7), ("hats", 1)]
    results = [collector_request.delay(*request) for request in requests]
    started = [result.get(timeout=SOON) for result in results]
    summaries = [app.AsyncResult(each["result_id"]).get(timeout=SOON) for each in started]
    expected = [expected_summary(each["request_id"], *request) for each, request in zip(started, requests, strict=True)]
    assert summaries == expected
    assert expected[0]["item_count"] != expected[1]["item_count"]
    assert expected[0]["request_id"] != expected[1]["request_id"]


# -- projects --------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_ten_thousand_projects_arrive_once_each(app: Any, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"stress-{uuid.uuid4()}.jsonl"
    file = data_dir / name
    start = time.monotonic()
    with app.producer_pool.acquire(block=True) as producer:
        for number in range(10_000):
            create_project.apply_async(({"id": number}, name), producer=producer, ignore_result=True)
    sent = time.monotonic()
    wait_until(lambda: file.exists() and file.read_bytes().count(b"\n") >= 10_000, 150, "10,000 rows are written")
    written = time.monotonic()
    wait_until(lambda: not waiting(app) and not unacknowledged(app), SOON, "no message is left that could write another row")

    rows = [json.loads(line) for line in file.read_bytes().splitlines()]
    assert sorted(row["id"] for row in rows) == list(range(10_000))
    assert clean_data.delay(name).get(timeout=SOON) == {"kept": 10_000, "dropped": 0}
    with capsys.disabled():
        print(f"\n10,000 projects: sent in {sent - start:.1f} s, all written {written - start:.1f} s after the first was sent")

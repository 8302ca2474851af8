"""What must not go wrong: a stampede, a message that is lost, a worker or a broker that dies, a service that dies in the middle."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest

from batch_api.schemas import LARGEST, SMALLEST
from batch_api.settings import Lives, Settings
from batch_api.store import Store, backend, client
from classroom import lab
from classroom.evidence import discard, stored, unacknowledged, waiting
from taskscope import Scope
from tests.batch_api.serving import Api, Pairs, caught_running, serving
from tests.stack.processes import eventually
from tutorial_tasks.batches import add_pair
from tutorial_tasks.settings import key_prefix

CLIENTS = 50


@pytest.fixture(scope="module")
def api(app: Any) -> Iterator[Api]:
    with serving() as service:
        yield service


@pytest.fixture
def stopped(app: Any) -> Iterator[None]:
    """A worker that does not run until the test starts it, or ends."""
    lab.worker.stop()
    yield
    lab.worker.start()


@pytest.fixture
def store(app: Any) -> Store:
    """What a service keeps, in the hands of one that is about to die."""
    return Store(app, client(app.conf.result_backend, 20), Lives(100, 100), 1, 100, backend())


def new_pairs(count: int) -> Pairs:
    return [(random.randint(SMALLEST, LARGEST), number) for number in range(count)]


def end_lease(app: Any, id_: str) -> int:
    """Let the time of a lease be over at once, and return how many seconds it still had."""
    key = f"{key_prefix}batch:sent:{id_}"
    left = app.backend.client.ttl(key)
    assert app.backend.client.pexpire(key, 1)
    return int(left)


def sums(pairs: Pairs) -> list[int]:
    return [a + b for a, b in pairs]


# -- a stampede ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("worker", ["stopped", "running"])
def test_fifty_clients_at_once_run_each_pair_once(app: Any, worker: str) -> None:
    pairs = new_pairs(4)
    together = Barrier(CLIENTS)
    scope = Scope(app)
    if worker == "stopped":
        lab.worker.stop()

    def ask(api: Api, number: int) -> tuple[Pairs, str]:
        mine = random.Random(number).sample(pairs, 3)
        together.wait(20)
        return mine, api.submit(mine).headers["location"]

    try:
        with serving() as api:
            with ThreadPoolExecutor(CLIENTS) as clients:
                receipts = list(clients.map(partial(ask, api), range(CLIENTS)))
            lab.worker.start()
            for mine, location in receipts:
                assert api.finish(location)["results"] == sums(mine)
        scope.settle()
        assert [task.name for task in scope.tasks()] == [add_pair.name] * len(pairs)
    finally:
        lab.worker.start()
        scope.close()


# -- what dies between the steps -------------------------------------------------------------------------------------


def test_a_claim_that_nobody_sent_is_sent_by_the_next_who_asks(api: Api, store: Store) -> None:
    (pair,) = pairs = new_pairs(1)
    dead = str(uuid4())
    assert store.claim({pair: dead}, {}) == {pair: dead}  # and here the service dies
    answer = api.submit(pairs)
    assert answer.body["taskIds"] == [dead]
    assert api.finish(answer.headers["location"])["results"] == sums(pairs)


def test_a_lease_whose_holder_died_ends_and_a_poll_sends_the_task(
    app: Any, api: Api, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pair,) = pairs = new_pairs(1)
    dead = str(uuid4())
    monkeypatch.setattr("batch_api.store.SENDING", 60)
    store.claim({pair: dead}, {})
    assert store.lease([dead]) == [dead]  # and here the service dies
    answer = api.submit(pairs)
    assert "joined 1" in answer.headers["cache-status"], "the lease still holds, so nobody else sends"
    end_lease(app, dead)
    assert api.finish(answer.headers["location"])["results"] == sums(pairs)


def test_a_message_that_is_lost_is_sent_again_when_somebody_asks(app: Any, api: Api, stopped: None) -> None:
    pairs = new_pairs(2)
    answer = api.submit(pairs)
    for message in waiting(app):
        discard(app, message)
    assert waiting(app) == []
    for id_ in answer.body["taskIds"]:
        end_lease(app, id_)
    eventually(lambda: api.get(answer.headers["location"]) and len(waiting(app)) == 2, "both are sent again")
    assert {message.id for message in waiting(app)} == set(answer.body["taskIds"])
    lab.worker.start()
    assert api.finish(answer.headers["location"])["results"] == sums(pairs)


@pytest.mark.long
def test_a_task_that_only_waits_long_is_not_sent_again_and_again(app: Any, api: Api, stopped: None) -> None:
    answer = api.submit(new_pairs(1))
    (id_,) = answer.body["taskIds"]
    lease = Settings().lost_after

    def is_sent_again() -> bool:
        return api.get(answer.headers["location"]).status == 200 and app.backend.client.ttl(f"{key_prefix}batch:sent:{id_}") > 0

    for times in (1, 2, 3):
        for _ in range(5):
            api.get(answer.headers["location"])
        assert len(waiting(app)) == times, "it is sent once for each lease, however often somebody asks"
        assert lease / 2 < end_lease(app, id_) <= lease, "a lease is twice as long as the one before"
        lease *= 2
        eventually(is_sent_again, "it is sent again")


def test_a_message_that_comes_twice_is_computed_once(app: Any) -> None:
    id_ = str(uuid4())
    assert add_pair.apply_async((2, 3, (0, 0)), task_id=id_).get(timeout=20) == 5
    add_pair.apply_async((2, 3, (3600, 3600)), task_id=id_)  # this one would take an hour, if it computed
    assert add_pair.apply_async((1, 1, (0, 0))).get(timeout=20) == 2
    eventually(lambda: not unacknowledged(app), "the second one is done, too")


@pytest.mark.long
def test_a_message_that_comes_while_another_of_its_task_is_computed_is_left_to_that_one(app: Any) -> None:
    scope = Scope(app)
    try:
        id_ = str(uuid4())
        for _ in range(2):  # there are two processes, so both are taken while the first one adds
            result = add_pair.apply_async((2, 3, (4, 4)), task_id=id_)
        assert result.get(timeout=20) == 5
        eventually(lambda: not unacknowledged(app), "both are done")
        scope.settle([id_])
        (task,) = scope.tasks([id_])
        runs = [[mark.state for mark in lane.marks] for lane in task.lanes]
        assert [("STARTED" in states, "SUCCESS" in states) for states in sorted(runs, key=len)] == [(True, False), (True, True)]
    finally:
        scope.close()


# -- workers and brokers that die ------------------------------------------------------------------------------------


@pytest.fixture
def cleared(app: Any) -> Iterator[None]:
    """What a worker held that is dead is cleared away after the test: the broker would keep it for a while."""
    yield
    lab.connect()
    assert not unacknowledged(app)


@pytest.mark.long
@pytest.mark.usefixtures("cleared")
def test_a_worker_that_is_killed_in_the_middle_loses_nothing_and_nothing_is_counted_twice(app: Any, api: Api) -> None:
    pairs = new_pairs(6)
    api.finish(api.submit(pairs[:2]).headers["location"])
    # A run that was killed bars another one of its task for nine seconds: nobody need send it sooner.
    with serving(BATCH_LOST_AFTER="10", BATCH_TASK_SECONDS="4-4") as slow:
        answer = slow.submit(pairs)
        location, ids = answer.headers["location"], answer.body["taskIds"]
        eventually(lambda: any((stored(app, id_) or {}).get("status") == "STARTED" for id_ in ids), "the batch is in the middle")
        lab.worker.kill()
        before = slow.get(location).body
        assert not before["grouptaskProcessed"]
        assert any((stored(app, id_) or {}).get("status") == "STARTED" for id_ in ids), "some were running"
        lab.worker.start()
        after = slow.finish(location)
    assert after["results"] == sums(pairs)
    assert (after["tasksCompleted"], after["tasksTotal"], after["grouptaskSucceeded"]) == (6, 6, True)
    kept = [(old, new) for old, new in zip(before["results"], after["results"], strict=True) if old is not None]
    assert len(kept) >= 2
    assert all(old == new for old, new in kept)


def test_a_pool_process_that_is_killed_gives_its_task_to_another_at_once(app: Any) -> None:
    tried: list[Pairs] = []

    def four() -> Pairs:
        tried.append(new_pairs(4))
        return tried[-1]

    with serving(BATCH_TASK_SECONDS="0.5-0.5", BATCH_LOST_AFTER="3600") as api:  # a lost message would be sent again after an hour
        with caught_running(app, api, four) as (answer, running):
            lab.worker.kill_pool_process(running["result"]["pid"])
        assert api.finish(answer.headers["location"])["results"] == sums(tried[-1])


@pytest.mark.long
def test_a_broker_that_is_restarted_empty_is_found_again_and_what_it_knew_is_not_found(app: Any, api: Api) -> None:
    pairs = new_pairs(3)
    old = api.submit(pairs)
    api.finish(old.headers["location"])
    lab.broker.restart()
    answer = api.post({"tasks": [{"paramA": a, "paramB": b} for a, b in pairs]})
    assert answer.status == 202, "the first request after it: connections that broke are not held against it"
    assert answer.headers["cache-status"].endswith('sent 3"')
    assert api.get(old.headers["location"]).status == 404
    lab.connect()
    assert api.finish(answer.headers["location"])["results"] == sums(pairs)

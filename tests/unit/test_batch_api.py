"""The pure parts of the service: what stored results mean, and which settings make sense."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from threading import Barrier, Event
from typing import Any, cast

import pytest
from celery import Celery, states
from hypothesis import given
from hypothesis import strategies as some

from batch_api import sending
from batch_api.outcomes import Outcome, Pair, cache_status, outcome, totals
from batch_api.problems import UnavailableError
from batch_api.sending import Sender
from batch_api.service import Service
from batch_api.settings import BadSettingError, Lives, Settings, lives
from batch_api.store import SENDING, Store
from batch_api.upstream import DOWN, Upstream
from tests import first_use
from tutorial_tasks.batches import add_pair

OUTCOMES = some.builds(Outcome, some.sampled_from(sorted(states.ALL_STATES)))


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        (None, Outcome("PENDING")),
        ({"status": "STARTED", "result": {"pid": 1}}, Outcome("STARTED")),
        ({"status": "RETRY", "result": {"exc_type": "OSError"}}, Outcome("RETRY")),
        ({"status": "SUCCESS", "result": 6}, Outcome("SUCCESS", value=6)),
        ({"status": "FAILURE", "result": {"exc_type": "ValueError", "exc_message": ["secret"]}}, Outcome("FAILURE", error="ValueError")),
        ({"status": "REVOKED", "result": {"exc_type": "TaskRevokedError"}}, Outcome("REVOKED", error="TaskRevokedError")),
        ({"status": "FAILURE", "result": None}, Outcome("FAILURE", error="Exception")),
    ],
)
def test_outcome(meta: dict[str, Any] | None, expected: Outcome) -> None:
    assert outcome(meta) == expected


@given(some.lists(OUTCOMES, min_size=1, max_size=8))
def test_totals_count_what_is_done_and_a_batch_succeeds_until_one_fails(outcomes: list[Outcome]) -> None:
    counted = totals(outcomes)
    assert counted.total == len(outcomes)
    assert counted.completed == sum(one.state in ("SUCCESS", "FAILURE", "REVOKED") for one in outcomes)
    assert counted.processed == (counted.completed == counted.total)
    assert counted.succeeded == (not {"FAILURE", "REVOKED"} & {one.state for one in outcomes})


@pytest.mark.parametrize(
    ("hits", "joined", "sent", "expected"),
    [
        (2, 0, 0, "batch-api; hit"),
        (0, 0, 2, 'batch-api; fwd=miss; detail="hit 0, joined 0, sent 2"'),
        (0, 2, 0, 'batch-api; fwd=miss; collapsed; detail="hit 0, joined 2, sent 0"'),
        (1, 0, 1, 'batch-api; fwd=partial; detail="hit 1, joined 0, sent 1"'),
        (1, 1, 0, 'batch-api; fwd=partial; collapsed; detail="hit 1, joined 1, sent 0"'),
        (0, 1, 1, 'batch-api; fwd=partial; detail="hit 0, joined 1, sent 1"'),
    ],
)
def test_cache_status(hits: int, joined: int, sent: int, expected: str) -> None:
    assert cache_status(hits, joined, sent) == expected


def test_settings_come_from_the_environment() -> None:
    assert Settings.from_environment({}) == Settings((3, 10), "100 per second", 60, 7 * 86_400, 1)
    said = {"BATCH_TASK_SECONDS": "0.5-2", "BATCH_REQUESTS": "", "BATCH_LOST_AFTER": "9", "BATCH_REMEMBERED": "5", "BATCH_PATIENCE": "2.5"}
    assert Settings.from_environment(said) == Settings((0.5, 2), "", 9, 5, 2.5)
    assert Settings.from_environment({"BATCH_TASK_SECONDS": "4"}).task_seconds == (4, 4)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BATCH_TASK_SECONDS", "soon"),
        ("BATCH_TASK_SECONDS", "5-3"),
        ("BATCH_TASK_SECONDS", "nan-nan"),
        ("BATCH_TASK_SECONDS", "3-60"),
        ("BATCH_LOST_AFTER", "10"),
        ("BATCH_LOST_AFTER", "1.5"),
        ("BATCH_REMEMBERED", "0"),
        ("BATCH_PATIENCE", "long"),
        ("BATCH_PATIENCE", "0"),
        ("BATCH_PATIENCE", "nan"),
        ("BATCH_PATIENCE", "inf"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(name: str, value: str) -> None:
    with pytest.raises(BadSettingError, match="BATCH_"):
        Settings.from_environment({name: value})


@pytest.mark.parametrize(
    ("expires", "expected"), [(timedelta(days=1), Lives(43_200, 43_200)), (5, Lives(2, 3)), (None, Lives(43_200, 43_200))]
)
def test_a_batch_that_finds_a_claim_in_its_last_moment_ends_no_later_than_the_result(expires: Any, expected: Lives) -> None:
    found = lives(Celery(set_as_current=False, result_expires=expires))
    assert found == expected
    if expires:
        seconds = expires.total_seconds() if isinstance(expires, timedelta) else expires
        assert found.claim < seconds
        assert found.claim + found.batch == found.task == seconds


def test_results_that_expire_at_once_are_of_no_use() -> None:
    with pytest.raises(BadSettingError, match="result_expires"):
        lives(Celery(set_as_current=False, result_expires=1))


def test_add_pair_adds_and_may_not_be_lost() -> None:
    assert add_pair(2, 3, (0, 0)) == 5
    assert add_pair.acks_late
    assert add_pair.reject_on_worker_lost


class Hanging:
    """A server, a clock, and how often the server was asked."""

    def __init__(self) -> None:
        self.now, self.asked = 1000.0, 0
        self.upstream = Upstream("broker", (OSError, KeyError), lambda: self.now)

    def ask(self, error: Exception | None = None) -> str:
        try:
            with self.upstream.asked():
                self.asked += 1
                if error:
                    raise error
        except UnavailableError as refused:
            return refused.detail
        return "well"


DOES_NOT_ANSWER = "the broker does not answer"


def wrapped() -> Exception:
    try:
        raise TimeoutError
    except TimeoutError as error:
        wrap = KeyError("a library's own error")
        wrap.__cause__ = error
        return wrap


@pytest.mark.parametrize("error", [TimeoutError(), wrapped()])
def test_a_server_that_let_one_wait_lets_nobody_else_wait_for_a_moment(error: Exception) -> None:
    server = Hanging()
    assert server.ask(error) == DOES_NOT_ANSWER
    server.now += DOWN * 0.99
    assert (server.ask(), server.asked) == (DOES_NOT_ANSWER, 1)
    server.now += DOWN * 0.02
    assert [server.ask(), server.ask(), server.asked] == ["well", "well", 3]


def test_one_tries_it_again_while_the_others_are_refused() -> None:
    server = Hanging()
    server.ask(TimeoutError())
    server.now += DOWN
    with server.upstream.asked():
        assert (server.ask(), server.asked) == (DOES_NOT_ANSWER, 1)
    assert server.ask() == "well"
    server.ask(TimeoutError())
    server.now += DOWN
    assert server.ask(TimeoutError()) == server.ask() == DOES_NOT_ANSWER
    assert server.asked == 4, "the one that tried again was in vain, so nobody tries for another moment"


def test_a_server_that_refuses_at_once_is_asked_each_time() -> None:
    server = Hanging()
    assert server.ask(ConnectionRefusedError()) == DOES_NOT_ANSWER
    assert (server.ask(), server.asked) == ("well", 2)
    server.ask(TimeoutError())
    server.now += DOWN
    assert server.ask(ConnectionRefusedError()) == DOES_NOT_ANSWER
    assert server.ask() == "well", "it hangs no more"


def test_what_is_no_fault_of_the_server_goes_through() -> None:
    with pytest.raises(ZeroDivisionError), Hanging().upstream.asked():
        raise ZeroDivisionError


def test_of_many_at_once_one_tries_it_again() -> None:
    server = Hanging()
    server.ask(TimeoutError())
    server.now += DOWN
    together, tried = Barrier(8), Event()

    def try_it() -> bool:
        together.wait(20)
        try:
            with server.upstream.asked():
                assert tried.wait(20), "the others were not refused while one tries"
        except UnavailableError:
            return False
        return True

    with ThreadPoolExecutor(8) as clients:
        asked = [clients.submit(try_it) for _ in range(8)]
        first = as_completed(asked, timeout=20)
        refused = [next(first).result() for _ in range(7)]
        tried.set()
    assert refused == [False] * 7
    assert sum(one.result() for one in asked) == 1


def test_the_first_two_requests_may_come_at_the_same_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr(sending, "add_pair", Celery("site", set_as_current=False).task(name="add_pair")(totals))
    sender = Sender((0, 0), 1)
    monkeypatch.setattr(sender._app, "producer_or_acquire", nullcontext)
    monkeypatch.setattr(sender._app, "send_task", lambda name, *_, **__: sent.append(name))
    first_use.at_once(lambda: list(sender.send({"an id": (1, 1)})))
    assert sent == ["add_pair", "add_pair"]


class SlowBroker:
    """The application of a sender, whose broker takes 0.3 s for each message, and breaks at the 51st."""

    def __init__(self, leases: "Leases") -> None:
        self.leases = leases
        self.sent: list[str] = []

    def producer_or_acquire(self) -> AbstractContextManager[None]:
        return nullcontext()

    def send_task(self, *_: Any, task_id: str, **options: Any) -> None:
        if len(self.sent) == 50:
            raise ConnectionError
        assert self.leases.now < self.leases.until[task_id], "somebody else may send it by now"
        self.leases.now += 0.3
        self.sent.append(task_id)


class Leases:
    """A store in which nothing is claimed, with a clock, and what becomes of the leases on the tasks."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.until: dict[str, float] = {}
        self.long: list[str] = []
        self.free: list[str] = []

    def holders(self, _: Sequence[Pair]) -> dict[Pair, str]:
        return {}

    def outcomes(self, _: Sequence[str]) -> dict[str, Outcome]:
        return {}

    def claim(self, mine: dict[Pair, str], _: dict[Pair, str]) -> dict[Pair, str]:
        return mine

    def lease(self, ids: Sequence[str]) -> list[str]:
        self.renew(ids)
        return list(ids)

    def renew(self, ids: Sequence[str]) -> None:
        self.until |= dict.fromkeys(ids, self.now + SENDING)

    def note_sent(self, ids: Sequence[str]) -> None:
        self.long += ids

    def give_back(self, ids: Sequence[str]) -> None:
        self.free += ids


def test_with_a_slow_broker_the_leases_last_and_only_what_was_not_sent_is_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    leases = Leases()
    broker, sender = SlowBroker(leases), Sender((0, 0), 1)
    monkeypatch.setattr(sender, "_app", broker)
    service = Service(cast(Store, leases), sender, lambda: leases.now)
    with pytest.raises(UnavailableError, match="broker"):
        service.submit([(1, number) for number in range(100)])
    assert leases.long == broker.sent
    assert (len(leases.long), len(leases.free), set(leases.free) & set(leases.long)) == (50, 50, set())

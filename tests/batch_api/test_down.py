"""A broker or a backend that is gone, or says nothing: a calm answer at once, and all is well when it is back."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier, Timer
from typing import Any

import pytest
import redis

from batch_api.problems import RETRY_AFTER
from batch_api.settings import Settings
from batch_api.upstream import DOWN
from tests.batch_api.serving import Answer, Api, Server, serving
from tests.stack.processes import another_worker, eventually

AT_ONCE = 2.0  # seconds
WAITED_FOR = 0.5  # seconds, at least, that a server was waited for before it is said not to answer
PATIENCE = str(Settings().patience)  # as it is unless set, which is what the promise is made with
CLIENTS = 50


class Two:
    """A broker, a result backend, and a service that uses them."""

    def __init__(self, folder: Path) -> None:
        for name in ("broker", "backend"):
            (folder / name).mkdir()
        self.broker, self.backend = Server(folder / "broker"), Server(folder / "backend")
        self.api: Api

    @property
    def environment(self) -> dict[str, str]:
        return {"CELERY_BROKER_URL": self.broker.url, "CELERY_RESULT_BACKEND": self.backend.url}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    """The service is started when there is neither a broker nor a backend, and then finds them."""
    both = Two(tmp_path_factory.mktemp("two"))
    for server in (both.broker, both.backend):
        server.start()
        server.stop()
    try:
        with serving(BATCH_REQUESTS="10000 per second", BATCH_PATIENCE=PATIENCE, **both.environment) as both.api:
            refused(both.api, "result backend")
            both.backend.start()
            refused(both.api, "broker")
            both.broker.start()
            accepted(both.api)
            yield both
    finally:
        both.broker.stop()
        both.backend.stop()


number = 0


def batch() -> dict[str, Any]:
    global number
    number += 1
    return {"tasks": [{"paramA": number, "paramB": place} for place in range(10)]}


def at_once(ask: Callable[[], list[Answer]], missing: str = "") -> list[Answer]:
    """Ask, and again for up to a minute while it takes too long, or while another server than the missing one was waited for in vain.

    The promise is the service's, not a busy machine's.
    """
    deadline = time.monotonic() + 60
    while True:
        answers = ask()
        slowest = max(answer.seconds for answer in answers)
        is_calm = slowest < AT_ONCE and not any(has_stalled(answer, missing) for answer in answers)
        if is_calm or time.monotonic() > deadline:
            break
        time.sleep(2 * DOWN)  # until then the service does not ask a server that hung
    assert slowest < AT_ONCE, answers
    return answers


def has_stalled(answer: Answer, missing: str) -> bool:
    """Tell whether a server was waited for in vain that should answer; one that is refused without a wait is the service's fault."""
    return answer.status == 503 and answer.seconds >= WAITED_FOR and answer.problem()["detail"] != detail(missing)


def detail(missing: str) -> str:
    return f"the {missing} does not answer"


def refused(api: Api, what: str) -> None:
    """Expect that a new batch and the health say at once what is missing."""
    for answer in at_once(lambda: [api.post(batch()), api.get("/health")], what):
        assert answer.status == 503, answer
        assert answer.problem()["detail"] == detail(what)
        assert int(answer.headers["retry-after"]) >= 1


def all_refused_at_once(asks: list[Callable[[], Answer]], what: str) -> None:
    """Expect that as many clients as there are threads in the service, and many more, hear at once what is missing."""
    together = Barrier(len(asks))

    def ask(one: Callable[[], Answer]) -> Answer:
        together.wait(20)
        return one()

    with ThreadPoolExecutor(len(asks)) as clients:
        answers = at_once(lambda: list(clients.map(ask, asks)), what)
    assert {(answer.status, answer.problem()["detail"]) for answer in answers} == {(503, detail(what))}


def found_again(api: Api) -> None:
    """Expect that a server that hung is asked again, and that all is well then."""
    assert DOWN < RETRY_AFTER, "whoever comes back when he was told to finds it; that it is asked after `DOWN` is held by a unit test"
    eventually(lambda: api.get("/health").status == 200, "it is found again")
    accepted(api)


def accepted(api: Api) -> str:
    """Expect that a new batch is taken at the first try, and return where to ask for it."""
    wanted = batch()
    answer, health = at_once(lambda: [api.post(wanted), api.get("/health")])
    assert answer.status == 202, answer
    assert health.status == 200, health
    return answer.headers["location"]


def test_a_backend_that_is_gone(two: Two) -> None:
    location = accepted(two.api)
    two.backend.stop()
    refused(two.api, "result backend")
    assert [answer.status for answer in at_once(lambda: [two.api.get(location)], "result backend")] == [503]
    two.backend.start()
    accepted(two.api)


def test_a_broker_that_is_gone(two: Two) -> None:
    location = accepted(two.api)
    two.broker.stop()
    refused(two.api, "broker")
    answers = at_once(lambda: [two.api.get(location)], "broker")
    assert [answer.status for answer in answers] == [200], "how far a batch is can be told without a broker"
    two.broker.start()
    accepted(two.api)


@pytest.mark.parametrize("what", ["broker", "backend"])
def test_one_that_is_there_and_says_nothing(two: Two, what: str) -> None:
    accepted(two.api)
    server: Server = getattr(two, what)
    server.freeze()
    try:
        refused(two.api, "broker" if what == "broker" else "result backend")
    finally:
        server.thaw()
    found_again(two.api)


@pytest.mark.parametrize("what", ["broker", "backend"])
def test_fifty_clients_at_once_are_not_kept_waiting_by_one_that_says_nothing(two: Two, what: str) -> None:
    accepted(two.api)
    server: Server = getattr(two, what)
    server.freeze()
    try:
        batches = [batch() for _ in range(CLIENTS)]
        all_refused_at_once([partial(two.api.post, one) for one in batches], "broker" if what == "broker" else "result backend")
    finally:
        server.thaw()
    found_again(two.api)


@pytest.mark.long
@pytest.mark.parametrize("what", ["broker", "backend"])
def test_whoever_wants_a_patient_service_gets_one(two: Two, what: str) -> None:
    server: Server = getattr(two, what)
    with serving(BATCH_PATIENCE="60", **two.environment) as api:
        accepted(api)
        server.freeze()
        later = Timer(2 * float(PATIENCE), server.thaw)
        later.start()
        try:
            answer = api.post(batch())
        finally:
            later.join()
    assert answer.status == 202, answer


def test_a_batch_that_was_refused_in_the_middle_is_whole_at_the_next_try(two: Two) -> None:
    wanted = batch()
    two.broker.stop()
    [answer] = at_once(lambda: [two.api.post(wanted)], "broker")
    assert (answer.status, answer.problem()["detail"]) == (503, detail("broker"))
    two.broker.start()
    [answer] = at_once(lambda: [two.api.post(wanted)])
    assert answer.status == 202, answer
    assert answer.headers["cache-status"].endswith('sent 10"'), "what was claimed and not sent is sent now"

    def results() -> Any:
        now = two.api.get(answer.headers["location"])  # a server that a busy machine holds up is told as one that is down, for a moment
        return now.status == 200 and now.body["grouptaskProcessed"] and now.body["results"]

    with another_worker("tutorial_tasks.celery_app", "-c", "2", **two.environment):
        sums = [task["paramA"] + task["paramB"] for task in wanted["tasks"]]
        assert eventually(results, "the batch is processed") == sums


def test_pages_that_need_neither_are_there_all_the_time(two: Two) -> None:
    two.backend.stop()
    two.broker.stop()
    try:
        for path in ("/openapi.json", "/swagger"):
            assert two.api.get(path).status == 200
        assert two.api.get("/nothing").status == 404
    finally:
        two.backend.start()
        two.broker.start()
    eventually(lambda: two.api.get("/health").status == 200, "both are found again")


def test_a_broker_that_is_full_is_one_that_is_not_there(two: Two) -> None:
    with redis.Redis.from_url(two.broker.url) as broker:
        accepted(two.api)
        broker.config_set("maxmemory", "1")
        try:
            [answer] = at_once(lambda: [two.api.post(batch())], "broker")
            assert (answer.status, answer.problem()["detail"]) == (503, detail("broker"))
        finally:
            broker.config_set("maxmemory", "256mb")
        accepted(two.api)


@pytest.mark.long
def test_a_password_that_is_wrong_is_one_that_is_not_there(two: Two) -> None:
    wrong = {"CELERY_BROKER_URL": two.broker.url.replace("secret", "guess")}
    with serving(BATCH_PATIENCE=PATIENCE, **two.environment | wrong) as api:
        refused(api, "broker")
        assert b"guess" not in api.post(batch()).raw

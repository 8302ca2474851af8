"""A RabbitMQ that says nothing: the same calm answer at once as with a Redis, though its library would wait for ever."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Timer

import pytest

from classroom.stack.processes import spawn
from classroom.stack.rabbitmq import RabbitMQ
from tests.batch_api.serving import Api, Server, serving
from tests.batch_api.test_down import CLIENTS, PATIENCE, accepted, all_refused_at_once, batch, refused
from tests.stack.processes import another_worker, eventually
from tests.stack.rabbit import needs_rabbitmq

pytestmark = [needs_rabbitmq, pytest.mark.long]


@dataclass
class OnRabbitMQ:
    """A RabbitMQ, a Redis for the results, and a service that uses them."""

    rabbit: RabbitMQ
    environment: dict[str, str]
    api: Api

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have RabbitMQ say nothing in the block; after it, it answers again."""
        assert self.rabbit.node
        self.rabbit.node.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.rabbit.node.send_signal(signal.SIGCONT)
        eventually(lambda: self.api.get("/health").status == 200, "it is found again")


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnRabbitMQ]:
    folder = tmp_path_factory.mktemp("both")
    backend = Server(folder)
    rabbit = RabbitMQ(folder / "rabbitmq", "secret", folder / "log", lambda argv, log, env: spawn(argv, log, env=env))
    with ExitStack() as last:
        last.callback(rabbit.end)
        rabbit.start()
        last.callback(backend.stop)
        backend.start()
        environment = {"CELERY_BROKER_URL": rabbit.url, "CELERY_RESULT_BACKEND": backend.url}
        api = serving(BATCH_REQUESTS="10000 per second", BATCH_PATIENCE=PATIENCE, **environment)
        yield OnRabbitMQ(rabbit, environment, last.enter_context(api))


def test_a_batch_is_computed_over_rabbitmq(both: OnRabbitMQ) -> None:
    wanted = batch()
    with serving(**both.environment) as api:  # a patient one: the node has just started
        answer = api.post(wanted)
        assert answer.status == 202, answer
        with another_worker("tutorial_tasks.celery_app", "-c", "2", **both.environment):
            sums = [task["paramA"] + task["paramB"] for task in wanted["tasks"]]
            assert api.finish(answer.headers["location"])["results"] == sums


def test_one_that_says_nothing_in_the_middle_of_a_connection(both: OnRabbitMQ) -> None:
    accepted(both.api)  # a connection is open, its channel and its queue are known: what is waited for is the confirmation
    with both.frozen():
        refused(both.api, "broker")
    accepted(both.api)


def test_one_that_says_nothing_to_whoever_connects(both: OnRabbitMQ) -> None:
    with both.frozen(), serving(BATCH_PATIENCE=PATIENCE, **both.environment) as api:
        refused(api, "broker")


def test_whoever_wants_a_patient_service_gets_one(both: OnRabbitMQ) -> None:
    node = both.rabbit.node
    assert node
    with serving(BATCH_PATIENCE="60", **both.environment) as api:
        accepted(api)
        with both.frozen():
            later = Timer(2 * float(PATIENCE), node.send_signal, [signal.SIGCONT])
            later.start()
            try:
                answer = api.post(batch())
            finally:
                later.join()
    assert answer.status == 202, answer


def test_fifty_clients_at_once_are_not_kept_waiting(both: OnRabbitMQ) -> None:
    accepted(both.api)
    with both.frozen():
        batches = [batch() for _ in range(CLIENTS)]
        all_refused_at_once([partial(both.api.post, one) for one in batches], "broker")
    accepted(both.api)

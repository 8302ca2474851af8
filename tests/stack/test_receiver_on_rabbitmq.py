"""The receiver on RabbitMQ, which has queues for events, no MONITOR, and no results to listen to."""

import contextlib
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
from celery import Celery

from classroom.stack.processes import spawn
from classroom.stack.rabbitmq import RabbitMQ
from taskscope.ledger import Ledger
from taskscope.receiver import Receiver
from tests.stack import quiet
from tests.stack.processes import eventually
from tests.stack.rabbit import needs_rabbitmq

pytestmark = needs_rabbitmq


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """A RabbitMQ of our own, on 127.0.0.1, that leaves nothing behind."""
    folder = tmp_path_factory.mktemp("rabbit")
    rabbit = RabbitMQ(folder / "rabbitmq", "secret", folder / "log", lambda argv, log, env: spawn(argv, log, env=env))
    try:
        rabbit.start()
        yield rabbit
    finally:
        rabbit.end()


@pytest.mark.long
def test_nothing_is_lost_on_rabbitmq_and_what_is_not_there_is_said(rabbit: RabbitMQ, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    app = Celery("other", broker=rabbit.url, set_as_current=False)
    app.conf.update(task_default_queue=quiet.QUEUE, task_send_sent_event=True, broker_connection_timeout=5)
    ledger = Ledger()

    def complete(*tasks: str) -> bool:
        events = [(o.task, o.kind) for o in ledger if o.source == "event"]
        return all(
            sorted(kind for task, kind in events if task == wanted) == ["received", "sent", "started", "succeeded"] for wanted in tasks
        )

    def send() -> str:
        return str(app.send_task("tests.stack.quiet.double", (2,)).id)

    with quiet.worker(CELERY_BROKER_URL=rabbit.url, CELERY_RESULT_BACKEND=""):
        for _ in range(5):  # its events are off at the first, and nothing is lost even then
            receiver = Receiver(app, ledger.append, commands=True).start()
            eventually(lambda: receiver.workers == ["quiet@lab"], "the worker is heard")  # noqa: B023 - at once
            eventually(partial(complete, *[send() for _ in range(3)]), "all events of three tasks are seen")
            receiver.close()
        receiver = Receiver(app, ledger.append, commands=True).start()
        assert receiver.status == [
            "events: on",
            "results: not available: this app stores no results (it has no result_backend)",
            "publishing: on",
            "commands: not available: only Redis can tell its commands, and the broker is of the kind 'amqp'",
        ]
        before = time.time()
        rabbit.end()
        eventually(lambda: receiver.status[0].startswith("events: lost, trying again: "), "the receiver notices")
        rabbit.start()
        gap = eventually(lambda: next((o for o in ledger if o.kind == "gap"), None), "the receiver is back")
        assert gap.data["from"] < gap.data["to"]
        assert gap.data["to"] > before
        eventually(lambda: any(o.kind == "worker-heartbeat" and o.at > gap.data["to"] for o in ledger), "the worker is back")
        eventually(partial(complete, send()), "a task is done, and seen")
        assert receiver.status[0] == "events: on"
        receiver.close()
    app.close()


@pytest.mark.long
def test_it_ends_in_silence_while_events_come_in(rabbit: RabbitMQ, caplog: pytest.LogCaptureFixture) -> None:
    app = Celery("busy", broker=rabbit.url, set_as_current=False)
    with talking(app):
        for _ in range(20):
            ledger = Ledger()
            receiver = Receiver(app, ledger.append).start()
            assert ledger.wait(0, 20), "events come in"
            receiver.close()
            assert receiver.status[0] == "events: off"
    # With no handler of its own Python prints a warning, in a notebook below the cell that closes the scope.
    assert [record.getMessage() for record in caplog.records if record.levelname != "INFO"] == []
    app.close()


@contextlib.contextmanager
def talking(app: Celery) -> Iterator[None]:
    """Have somebody send events without a pause."""
    enough = threading.Event()

    def talk() -> None:
        with app.connection_for_write() as connection, app.events.Dispatcher(connection, hostname="chatterbox") as dispatcher:
            while not enough.is_set():
                dispatcher.send("chatter")

    talker = threading.Thread(target=talk)
    talker.start()
    try:
        yield
    finally:
        enough.set()
        talker.join(timeout=20)

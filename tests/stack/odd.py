"""An application of somebody else's, with whatever settings a test wants, and a worker that runs it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu.entity import Queue

from tests.stack.processes import another_worker

QUEUE = "odd"
MARKUP = "<b onclick='x()'>shop</b>.<script>alert(1)</script>&amp;\"']]>"

SILENT = {"worker_send_task_events": False, "worker_enable_remote_control": False}


def application(**settings: Any) -> Celery:
    """Return the application with these settings; its broker comes from CELERY_BROKER_URL."""
    app = Celery("odd", set_as_current=False)
    app.conf.update(
        task_queues=[Queue(QUEUE)],
        task_default_queue=QUEUE,
        task_send_sent_event=True,
        worker_send_task_events=True,
        broker_connection_retry_on_startup=True,
        worker_prefetch_multiplier=1,
    )
    app.conf.update(settings)

    @app.task(name="odd.double", shared=False)
    def double(x: int) -> int:
        return 2 * x

    @app.task(name="odd.hold", shared=False, acks_late=True)
    def hold(gate: str) -> None:
        with app.connection_for_read() as connection:
            connection.default_channel.client.blpop(gate, timeout=20)

    @app.task(name=MARKUP, shared=False)
    def marked(words: str) -> str:
        return words

    return app


app = application(**json.loads(os.environ.get("ODD_SETTINGS", "{}")))


@contextmanager
def running(**settings: Any) -> Iterator[Celery]:
    """Run a worker of the application until the block ends; it is ready when the block begins."""
    # In a container we are root, and one test pickles.
    environment = {"ODD_SETTINGS": json.dumps(settings), "C_FORCE_ROOT": "1"}
    with another_worker("tests.stack.odd", "-P", "threads", "-c", "1", "-n", "odd@lab", **environment):
        yield application(**settings)

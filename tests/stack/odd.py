"""An application of somebody else's, with whatever settings a test wants, and a worker that runs it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Celery
from kombu.entity import Queue

from tests.stack.processes import PATIENCE, ROOT

QUEUE = "odd"
MARKUP = "<b onclick='x()'>shop</b>.<script>alert(1)</script>&amp;\"']]>"

HASTE = ("-n", "odd@lab", "--without-gossip", "--without-mingle")
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
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "tests.stack.odd", "worker", "-P", "threads", "-c", "1", *HASTE, "-l", "info"],
        cwd=ROOT,
        env=os.environ | {"ODD_SETTINGS": json.dumps(settings), "C_FORCE_ROOT": "1"},  # in a container we are root, and one test pickles
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    with process, process.stderr:
        try:
            log = []
            for line in process.stderr:
                log.append(line)
                if "ready." in line:
                    break
            assert log and "ready." in log[-1], "".join(log)
            yield application(**settings)
        finally:
            process.terminate()
            process.stderr.read()
            assert process.wait(PATIENCE) == 0

"""An application whose workers send no events of their own accord, and a way to run one of them."""

import os
from contextlib import AbstractContextManager
from pathlib import Path

from celery import Celery

from tests.stack.processes import another_worker

QUEUE = "quiet"

app = Celery("quiet", set_as_current=False)  # its broker comes from CELERY_BROKER_URL
app.conf.update(
    task_default_queue=QUEUE,
    worker_send_task_events=False,
    task_send_sent_event=True,
    broker_connection_retry_on_startup=True,
    result_backend=os.environ.get("CELERY_RESULT_BACKEND"),
)


@app.task(shared=False)
def double(x: int) -> int:
    return 2 * x


def worker(**environment: str) -> AbstractContextManager[Path]:
    """Run a worker until the block ends; it is ready when the block begins."""
    return another_worker("tests.stack.quiet", "-P", "threads", "-c", "1", "-n", "quiet@lab", **environment)

"""An application whose workers send no events of their own accord, and a way to run one of them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from celery import Celery

from tests.stack.processes import PATIENCE, ROOT

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


@contextmanager
def worker(**environment: str) -> Iterator[None]:
    """Run a worker until the block ends; it is ready when the block begins."""
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "tests.stack.quiet", "worker", "-P", "threads", "-c", "1", "-n", "quiet@lab", "-l", "info"],
        cwd=ROOT,
        env=os.environ | environment,
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
            assert process.poll() is None, log
            yield
        finally:
            process.terminate()
            process.stderr.read()
            assert process.wait(PATIENCE) == 0

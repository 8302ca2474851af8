"""A small Celery application of tasks that the course has no use for, run by workers of the recorder."""

import contextlib
import os
import time
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore, Reject

app = Celery("cast")
app.config_from_object("tutorial_tasks.settings")
app.conf.update(imports=(), task_default_queue="recorded")
if "CAST_VISIBILITY" in os.environ:  # so many seconds after which another worker gets what a killed one held
    app.conf.broker_transport_options = {
        **app.conf.broker_transport_options,
        "visibility_timeout": float(os.environ["CAST_VISIBILITY"]),
        "unacked_restore_interval": 0.5,
        "unacked_restore_throttle": 1,
    }


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def fail(message: str) -> None:
    raise ValueError(message)


@app.task
def nap(seconds: float) -> str:
    time.sleep(seconds)
    return "rested"


@app.task(acks_late=True)
def late_nap(seconds: float) -> str:
    time.sleep(seconds)
    return "rested"


@app.task
def ignored() -> None:
    raise Ignore


@app.task(acks_late=True)
def rejected() -> None:
    raise Reject("not for me", requeue=False)


@app.task(bind=True, acks_late=True)
def rejected_once(self: Task) -> str:
    if not self.request.delivery_info.get("redelivered"):
        raise Reject("later", requeue=True)
    return "now"


@app.task(bind=True)
def telling(self: Task) -> str:
    for done in (1, 2, 3):
        self.send_event("task-progress", done=done, total=3)
    return "told"


@app.task(bind=True)
def swallowing(self: Task) -> str:
    if self.request.retries < 2:
        with contextlib.suppress(Exception):  # Retry is one, too
            self.retry(countdown=0, max_retries=5)
    return "done"


@app.task(send_events=False)
def silent() -> str:
    return "nobody heard"


@app.task(bind=True, max_retries=3)
def retried(self: Task, until: int) -> Any:
    if self.request.retries < until:
        raise self.retry(exc=ConnectionError("again"), countdown=0)  # an ETA would mean another time to another clock
    return self.request.retries

"""Tasks for a web service that takes batches of work (`batch_api`): safe to deliver twice, and lost by no worker that dies."""

import math
import random
import time

from celery import Task, states
from celery.exceptions import Ignore

from tutorial_tasks.celery_app import app
from tutorial_tasks.settings import key_prefix

_MARGIN = 5  # seconds that a run's lock lasts longer than the run: the sum is stored after the function has returned


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def add_pair(self: Task, a: int, b: int, seconds: tuple[float, float] = (3, 10)) -> int:
    """Add two integers after a random time between the two `seconds`.

    The message is acknowledged only when the sum is stored, so it may come twice; a sum that is stored
    already is returned at once, and one that another process is about to store is left to it.
    """
    if not self.request.id:
        return _add_slowly(a, b, seconds)
    known = self.AsyncResult(self.request.id)
    if known.state == states.SUCCESS:
        return int(known.result)
    redis, lock = app.backend.client, f"{key_prefix}batch:run:{self.request.id}"
    # A message that comes once more is of a process that died, so whose the lock was matters no longer.
    again = (self.request.delivery_info or {}).get("redelivered", False)
    if not redis.set(lock, "running", nx=not again, ex=math.ceil(seconds[1] + _MARGIN)):
        raise Ignore
    try:
        return _add_slowly(a, b, seconds)
    except BaseException:
        redis.delete(lock)
        raise


def _add_slowly(a: int, b: int, seconds: tuple[float, float]) -> int:
    time.sleep(random.uniform(*seconds))
    return a + b

"""Tasks for a web service that takes batches of work (`batch_api`): safe to deliver twice, and lost by no worker that dies."""

import random
import time

from celery import Task, states

from tutorial_tasks.celery_app import app


@app.task(bind=True, acks_late=True, reject_on_worker_lost=True)
def add_pair(self: Task, a: int, b: int, seconds: tuple[float, float] = (3, 10)) -> int:
    """Add two integers after a random time between the two `seconds`.

    The message is acknowledged only when the sum is stored, so it may come twice; a sum that is stored
    already is returned at once.
    """
    if self.request.id:
        known = self.AsyncResult(self.request.id)
        if known.state == states.SUCCESS:
            return int(known.result)
    time.sleep(random.uniform(*seconds))
    return a + b

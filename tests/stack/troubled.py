"""An application with everything that goes wrong at one's first try, and a worker for it: what `docs/errors.md` explains."""

import os
import time
from typing import Any

from celery import Celery, Task

QUEUE = "troubled"

app = Celery("troubled", set_as_current=False)  # its broker comes from CELERY_BROKER_URL
app.conf.update(
    task_default_queue=QUEUE,
    broker_connection_retry_on_startup=True,
    result_backend=os.environ.get("CELERY_RESULT_BACKEND"),
    accept_content=["json"],
)


class TwoReasons(Exception):
    """An error that cannot be made again from what its message says."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first}, {second}")


@app.task(shared=False)
def add(x: float, y: float) -> float:
    return x + y


@app.task(shared=False)
def total(numbers: list[float]) -> float:
    return sum(numbers)


@app.task(shared=False)
def echo(value: Any) -> Any:
    return value


@app.task(shared=False)
def fail() -> None:
    raise ValueError("out of paper")


@app.task(shared=False)
def raise_two() -> None:
    raise TwoReasons("no ink", "no paper")


@app.task(shared=False)
async def promise() -> int:
    return 1


@app.task(shared=False)
def give_a_set() -> Any:
    return {1, 2}


@app.task(shared=False)
def ask_another() -> Any:
    return add.delay(1, 1).get(timeout=5)


@app.task(bind=True, max_retries=0, shared=False)
def try_again(self: Task) -> None:
    raise self.retry()


@app.task(shared=False)
def wait(seconds: float) -> None:
    time.sleep(seconds)

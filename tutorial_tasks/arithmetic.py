"""Tasks that calculate: small enough to know the answer before the worker does."""

import random
import time

from tutorial_tasks.celery_app import app


@app.task
def add(x: float, y: float) -> float:
    """Add two numbers."""
    return x + y


@app.task
def multiply(x: float, y: float) -> float:
    """Multiply two numbers."""
    return x * y


@app.task
def total(numbers: list[float]) -> float:
    """Add up a list of numbers."""
    return sum(numbers)


@app.task
def slow_add(x: float, y: float, seconds: float | None = None) -> float:
    """Add two numbers after a while: `seconds`, or a random time of 3 to 10 seconds."""
    time.sleep(random.uniform(3, 10) if seconds is None else seconds)
    return x + y

"""Answers to the exercises of 02."""

NAMES = """
from datetime import UTC, datetime, timedelta
from classroom import lab
from tutorial_tasks.arithmetic import add
from tutorial_tasks.celery_app import app
"""

WRONG = [
    ("02.1", "constant", "return 5", "no message was sent"),
    ("02.1", "waits by itself", "import time; time.sleep(2); add.apply_async((2, 3), queue='slow', expires=3)", "took its time"),
    ("02.1", "default queue", "add.apply_async((2, 3), countdown=2, expires=5)", 'in the queue "celery"'),
    ("02.1", "misspelt queue", "add.apply_async((2, 3), queue='sloww', countdown=2, expires=5)", "spelt right"),
    ("02.1", "never stale", "add.apply_async((2, 3), queue='slow', countdown=2)", "has no expires"),
    ("02.1", "misspelt and put off", "add.apply_async((2, 3), queue='sloww', countdown=600)", "spelt right"),
    ("02.1", "counts from the start", "add.apply_async((2, 3), queue='slow', countdown=2, expires=7)", "s after the call, not 5;"),
    ("02.1", "no time zone", "add.apply_async((2, 3), queue='slow', eta=datetime.now() + timedelta(seconds=2), expires=5)", "no time zone"),
    (
        "02.1",
        "an eta of another zone",
        "add.apply_async((2, 3), queue='slow', eta=datetime.now(UTC) + timedelta(hours=9), expires=5)",
        "eta is",
    ),
    ("02.1", "other numbers", "add.apply_async((3, 2), queue='slow', countdown=2, expires=5)", "not add(2, 3)"),
    ("02.2", "constant", "return 'REVOKED'", "0 messages were sent"),
    ("02.2", "revoked", "add.delay(1, 1).revoke()", "no expires"),
    ("02.2", "good for too long", "add.apply_async((1, 1), expires=30)", "goes stale after 30."),
    ("02.2", "stale at once", "add.apply_async((1, 1), expires=0.1)", "s, not after one"),
    ("02.2", "the other queue", "add.apply_async((1, 1), queue='slow', expires=1)", 'the queue "slow"'),
    ("02.2", "other numbers", "add.apply_async((1, 2), expires=1)", "not add(1, 1)"),
]

RIGHT: list[tuple[str, str]] = [
    ("02.1", "add.apply_async((2, 3), queue='slow', eta=datetime.now(UTC) + timedelta(seconds=2), expires=5)"),
    ("02.2", "add.apply_async(kwargs={'x': 1, 'y': 1}, expires=1)"),
]

# RabbitMQ throws away what goes stale in a queue.
ON_RABBITMQ = {("02.2", "stale at once"): "1 messages were sent and 0 of them wait"}

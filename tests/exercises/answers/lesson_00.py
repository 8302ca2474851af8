"""Answers to the exercises of 00."""

NAMES = """
from classroom import lab
from tutorial_tasks.arithmetic import add, multiply
from tutorial_tasks.celery_app import app
"""

WRONG = [
    ("00.1", "constant", "return 3", "sent no message"),
    ("00.1", "the worker runs", "[add.delay(n, n) for n in range(3)]", "the worker has taken 3"),
    ("00.1", "one too many", "lab.worker.stop(); [add.delay(n, n) for n in range(4)]", "4 messages, not 3"),
    ("00.1", "the worker is only paused", "lab.worker.pause(); [add.delay(n, n) for n in range(3)]", "only paused"),
    ("00.1", "another queue", "[add.apply_async((n, n), queue='cellery') for n in range(3)]", "0 of your 3"),
    ("00.2", "constant", "return [20, 40, 60]", "still wait"),
    ("00.2", "computed without the worker", "return [2 * r.id.count('-') for r in results]", "3 of the 3 messages still wait"),
    ("00.2", "thrown away", "app.control.purge(); return [0, 0, 0]", "the backend has no result"),
    ("00.2", "thrown away with a worker", "app.control.purge(); lab.worker.start(); return [0, 0, 0]", "thrown away"),
    ("00.2", "drained, nothing returned", "lab.worker.start()", "returned None"),
    (
        "00.2",
        "wrong order",
        "lab.worker.start(); return [r.get(timeout=10) for r in results][::-1]",
        "not the three answers in their order",
    ),
]

RIGHT: list[tuple[str, str]] = [
    ("00.2", "lab.worker.start(); return tuple(r.get(timeout=10) for r in results)"),
]

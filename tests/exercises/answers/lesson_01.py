"""Answers to the exercises of 01."""

NAMES = """
from classroom import lab
from tutorial_tasks.arithmetic import add, multiply
from tutorial_tasks.celery_app import app
"""

WRONG = [
    ("01.1", "constant", "return ('an id', 'queue')", "no message was sent"),
    ("01.1", "a plain call", "return multiply(6, 7), 'notebook'", "a plain call runs in your notebook"),
    ("01.1", "another task", "return add.delay(6, 7), 'queue'", "add(6, 7), not multiply(6, 7)"),
    ("01.1", "another place", "return multiply.delay(6, 7), 'worker'", "not in the worker"),
    ("01.1", "only the receipt", "return multiply.delay(6, 7)", "return two things"),
    ("01.1", "somebody else's receipt", "multiply.delay(6, 7); return app.AsyncResult('x'), 'queue'", "belongs to another task"),
    ("01.2", "constant", "return 'queue'", "you said 'queue'"),
    ("01.2", "by state alone", "return 'backend' if result.ready() else 'queue'", "PENDING means only"),
    ("01.1", "a place of another name", "return multiply.delay(6, 7), 'broker'", "one of ('notebook'"),
    ("01.2", "success alone", "{queue}; return 'backend' if result.successful() else q", "which failed"),
    ("01.2", "a value alone", "{queue}; return 'backend' if result.result is not None else q", "which returned None"),
    ("01.2", "no look into the queue", "return 'backend' if result.ready() else 'nowhere'", "whose message lies in the queue"),
]

RIGHT: list[tuple[str, str]] = [
    ("01.1", "return [multiply.delay(x=6, y=7), 'queue']"),
]

PIECES = {
    "{queue}": "q = 'queue' if result.id in [m['headers']['id'] for m in lab.waiting()] else 'nowhere'",
}

"""Answers to the exercises of 04."""

NAMES = """
from classroom import lab
from tutorial_tasks.arithmetic import add
from tutorial_tasks.celery_app import app
from tutorial_tasks.lifecycle import count_to, flaky
"""

WRONG = [
    ("04.1", "constant", "return 'SUCCESS'", "0 messages"),
    ("04.1", "no progress", "return add.delay(1, 1)", "STARTED → SUCCESS"),
    ("04.1", "too much progress", "return count_to.delay(3)", "PROGRESS → PROGRESS → PROGRESS"),
    ("04.1", "a retry", "return flaky.delay(2, 3)", "STARTED → RETRY"),
    ("04.1", "twice one", "count_to.delay(1); return count_to.delay(1)", "2 messages"),
    ("04.1", "not returned", "count_to.delay(2)", "return what delay"),
    ("04.1", "told by the notebook", "{tell}\nreturn r", "not stored by the worker"),
    ("04.2", "constant", "return 'queue'", "you said 'queue'"),
    (
        "04.2",
        "by the event alone",
        "return {None: 'never sent', 'RECEIVED': 'worker', 'SUCCESS': 'done'}.get(last_event, 'queue')",
        "emptied",
    ),
    ("04.2", "no look at the event", "return 'queue' if lab.waiting('unread') else 'lost'", "you said 'queue'"),
]

RIGHT: list[tuple[str, str]] = []

PIECES = {
    "{tell}": """
import warnings; warnings.simplefilter("ignore")
from tutorial_tasks.lifecycle import Gate, wait_at_gate
gate = Gate("exercise 04.1"); gate.close()
r = wait_at_gate.delay(gate.name)
for n in range(2): app.backend.store_result(r.id, {"done": n}, "PROGRESS")
gate.open()
""",
}

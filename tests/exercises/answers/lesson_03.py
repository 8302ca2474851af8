"""Answers to the exercises of 03."""

NAMES = """
import uuid
from classroom import lab
from tutorial_tasks.arithmetic import add, multiply
from tutorial_tasks.celery_app import app
"""

WRONG = [
    ("03.1", "constant", "return 'NotRegistered', 42", "two results"),
    ("03.1", "never sent", "return site.AsyncResult('a'), site.AsyncResult('b')", "never sent"),
    ("03.1", "fails for another reason", "return site.send_task('tutorial_tasks.lifecycle.fail'), {right}", "failed with ValueError"),
    ("03.1", "not repaired", "return {broken}, {broken}", "the repaired one ended as FAILURE"),
    ("03.1", "repaired with another", "return {broken}, site.send_task('tutorial_tasks.arithmetic.add', (40, 2))", "not multiply(6, 7)"),
    ("03.1", "in the wrong order", "return {right}, {broken}", "the worker knows that name"),
    ("03.1", "not by name", "from tutorial_tasks.arithmetic import multiply as m; return {broken}, m.delay(6, 7)", "by its name"),
    ("03.1", "sent in the wrong order", "r = {right}; return {broken}, r", "send the broken one first"),
    ("03.2", "constant", "return 'an id'", "0 messages wait"),
    ("03.2", "send_task", "return {right}.id", "Celery wrote that message"),
    ("03.2", "delay", "return multiply.delay(6, 7).id", "Celery wrote that message"),
    ("03.2", "another id", "{forge}; return 'x'", "return the id"),
    ("03.2", "not the id itself", "{forge}; return site.AsyncResult('a')", "return the id itself"),
    ("03.2", "another queue", "{forge_astray}; return 'e'", 'in the queue "celery"'),
    ("03.2", "other numbers", "{forge_other}; return 'f'", "not multiply(6, 7)"),
    ("03.2", "a body of one part", "{forge_short}; return 'c'", "no worker could read that message"),
    ("03.2", "no id", "{forge_nameless}; return 'd'", "no worker could read that message"),
    ("03.2", "no arguments", "{forge_empty}; return 'b'", "not multiply(6, 7)"),
]

RIGHT: list[tuple[str, str]] = [
    ("03.1", "return [{broken}, {right}]"),
]


def _forged(body: str, headers: str, queue: str = "celery") -> str:
    return f"site.producer_pool.acquire().publish({body}, routing_key={queue!r}, serializer='json', headers={{{headers}}})"


_PYTHON, _MULTIPLY = "'lang': 'py', ", "'task': 'tutorial_tasks.arithmetic.multiply'"

PIECES = {
    "{right}": "site.send_task('tutorial_tasks.arithmetic.multiply', (6, 7))",
    "{broken}": "site.send_task('nobody.knows.me', (6, 7))",
    "{forge}": _forged("[[6, 7], {}, {}]", f"{_PYTHON}{_MULTIPLY}, 'id': 'a'"),
    "{forge_empty}": _forged("[[], {}, {}]", f"{_PYTHON}{_MULTIPLY}, 'id': 'b'"),
    "{forge_short}": _forged("[[6, 7]]", f"{_PYTHON}{_MULTIPLY}, 'id': 'c'"),
    "{forge_nameless}": _forged("[[6, 7], {}, {}]", f"{_PYTHON}{_MULTIPLY}"),
    "{forge_astray}": _forged("[[6, 7], {}, {}]", f"{_MULTIPLY}, 'id': 'e'", "astray"),
    "{forge_other}": _forged("[[7, 6], {}, {}]", f"{_MULTIPLY}, 'id': 'f'"),
}

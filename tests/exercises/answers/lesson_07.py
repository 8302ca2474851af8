"""Answers to the exercises of 07."""

NAMES = """
from celery import chain, chord, group
from classroom import lab
from tutorial_tasks.arithmetic import add, multiply
from tutorial_tasks.celery_app import app
"""

WRONG = [
    ("07.1", "constant", "return [2, 4, 6]", "no message was sent"),
    ("07.1", "a plan that is not sent", "return add.s(1, 1) | add.si(2, 2) | add.si(3, 3)", "call its apply_async()"),
    ("07.1", "three delays", "return [add.delay(n, n) for n in (1, 2, 3)]", "your notebook sent 3 messages"),
    ("07.1", "a group", "return group(add.s(n, n) for n in (1, 2, 3)).apply_async()", "your notebook sent 3 messages"),
    ("07.1", "wait for each", "return [add.delay(n, n).get(timeout=5) for n in (1, 2, 3)]", "If it waits in between"),
    ("07.1", ".s for .si", "return (add.s(1, 1) | add.s(2, 2) | add.s(3, 3)).apply_async()", "could not send the next step"),
    (
        "07.1",
        "half of the arguments",
        "return (add.s(1, 1) | add.s(2) | add.s(3)).apply_async()",
        "what ran was add(1, 1), add(2, 2), add(4, 3)",
    ),
    (
        "07.1",
        "the other way round",
        "return (add.s(3, 3) | add.si(2, 2) | add.si(1, 1)).apply_async()",
        "in the order add(3, 3), add(2, 2)",
    ),
    ("07.1", "two of three", "return (add.s(1, 1) | add.si(2, 2)).apply_async()", "what ran was add(1, 1), add(2, 2); it"),
    (
        "07.1",
        "two links of one task",
        "return add.apply_async((1, 1), link=[add.si(2, 2), add.si(3, 3)])",
        "was sent by add(1, 1), not by add(",
    ),
    (
        "07.1",
        "a queue that nobody reads",
        "return (add.s(1, 1) | add.si(2, 2).set(queue='cellery')).apply_async()",
        'lay in the queue "cellery"',
    ),
    ("07.2", "constant", "return 'the second'", "'the second' is not the id of a step"),
    ("07.2", "the last one", "return result.id", "it never ran"),
    ("07.2", "not the id", "return result", "return its id"),
    ("07.2", "the first one", "{back}\nreturn results[0].id", "which was a SUCCESS"),
    ("07.2", "the last one with its name", "{back}\nreturn [r for r in results if r.name.endswith('fail')][-1].id", "it never ran"),
    ("07.2", "always the second", "return result.parent.parent.id", "number"),
]

RIGHT: list[tuple[str, str]] = [
    ("07.1", "return chain(add.si(1, 1), add.si(2, 2), add.si(3, 3)).delay()"),
    ("07.1", "return (add.si(x=1, y=1) | add.si(2, y=2) | add.si(y=3, x=3)).apply_async(countdown=0.2)"),
    ("07.1", "add.apply_async((1, 1), link=add.si(2, 2).set(link=add.si(3, 3)))"),
    ("07.1", "return (add.s(1, 1) | add.si(2, 2) | add.si(3, 3)).apply_async().get(timeout=5)"),
    ("07.2", "{back}\nreturn next(r.id for r in results if r.state == 'FAILURE')"),
    ("07.2", "{back}\nreturn [r.id for r in results if r.worker][-1]"),
]

PIECES = {
    "{back}": """
results = [result]
while results[0].parent: results.insert(0, results[0].parent)
""",
}

"""Answers to the exercises of 08."""

NAMES = """
from classroom import lab
from celery import chord, group
from celery.exceptions import NotRegistered, TimeoutError
from tutorial_tasks.arithmetic import add, multiply, total
from tutorial_tasks.celery_app import app
from tutorial_tasks.lifecycle import wait_at_gate
from tutorial_tasks.shops import stock
east, south, west = (stock.s(shop) for shop in ("east", "south", "west"))
silent = stock.s("east").set(queue="east")
"""

WRONG = [
    ("08.1", "constant", "return 2", "no message was sent"),
    ("08.1", "not sent", "return chord([silent, south, west], total.s())", "no message was sent"),
    ("08.1", "a group", "return group(silent, south, west).apply_async()", "they are no header of a chord"),
    ("08.1", "nobody is held", "return chord([east, south, west], total.s()).apply_async()", "ended as SUCCESS"),
    (
        "08.1",
        "no worker",
        "lab.worker.stop(); return chord([east, south, west], total.s()).apply_async()",
        "you took the worker away",
    ),
    ("08.1", "two are held", "return chord([silent, south.set(queue='east'), west], total.s()).apply_async()", "the counter says 1 of 3"),
    ("08.1", "all are held", "return chord([silent, south, west], total.s()).apply_async(queue='east')", "the counter says 0 of 3"),
    ("08.1", "the body is held", "return chord([east, south, west], total.s().set(queue='east')).delay()", 'waits in the queue "east"'),
    ("08.1", "for later", "return chord([east.set(countdown=600), south, west], total.s()).delay()", "holds it for later"),
    ("08.1", "at a gate", "return chord([wait_at_gate.s('08'), south, west], total.s()).delay()", "your notebook sent wait_at_gate('08')"),
    ("08.1", "by hand", "total.delay([r.get(timeout=5) for r in (south.delay(), west.delay())])", "sent total itself"),
    ("08.1", "two shops", "return chord([silent, south], total.s()).delay()", "each once"),
    ("08.1", "another body", "return chord([silent, south, west], multiply.s(1)).delay()", "arithmetic.multiply, not total"),
    ("08.1", "a body that fails", "return chord([silent, south, west], total.s(1)).delay()", "then total ended as FAILURE"),
    ("08.2", "constant", "return 'open'", "you said 'open'"),
    ("08.2", "by the record", "return {'SUCCESS': 'done', 'FAILURE': 'failed'}.get(result.state, 'open')", "you said 'open'"),
    ("08.2", "whether the header has ended", "{record}\nreturn 'stuck' if result.parent.ready() else 'open'", "you said"),
    (
        "08.2",
        "blind for what expired",
        "{record}\nbad = [r.result for r in result.parent if r.failed()]\n"
        "return 'open' if not bad else 'stuck' if any(isinstance(e, NotRegistered) for e in bad) else 'failed'",
        "you said 'open' of a chord in which one task expired",
    ),
    (
        "08.2",
        "by what get raises first",
        "try: return 'done' if result.get(timeout=0.1) else ''\nexcept NotRegistered: return 'stuck'\n"
        "except TimeoutError: return 'open'\nexcept Exception: return 'failed'",
        "you said 'failed' of a chord in which one task raised, and one has a name that nobody knows",
    ),
]

RIGHT = [
    ("08.1", "return (group(east, south.set(queue='elsewhere'), west) | total.s()).delay()"),
    ("08.1", "return chord(stock.s(shop=s).set(queue='west' if s == 'west' else None) for s in ('east', 'south', 'west'))(total.s())"),
    (
        "08.2",
        "ended = [r for r in result.parent if r.ready() and not r.successful()]\n"
        "if not ended: return 'done' if result.ready() else 'open'\n"
        "names = {type(r.get(timeout=1, propagate=False)).__name__ for r in ended}\n"
        "return 'stuck' if 'NotRegistered' in names else 'failed'",
    ),
]

PIECES = {"{record}": "if result.ready(): return 'done' if result.successful() else 'failed'"}

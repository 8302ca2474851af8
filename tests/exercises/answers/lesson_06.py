"""Answers to the exercises of 06."""

NAMES = """
from celery import chain, group
from classroom import lab
from tutorial_tasks.arithmetic import add, total
from tutorial_tasks.celery_app import app
"""

WRONG = [
    ("06.1", "constant", "return ['Ada met Grace', 'Grace met Ada', 42]", "no message was sent"),
    ("06.1", "not sent", "return group(calls)", "a call that nobody has sent"),
    ("06.1", "one after the other", "return [call.delay().get(timeout=10) for call in calls]", "one after the other"),
    (
        "06.1",
        "without a group",
        "sent = [call.delay() for call in calls]; return [r.get(timeout=10) for r in sent]",
        "no message carries a group id",
    ),
    (
        "06.1",
        "a group for each",
        "sent = [group([call]).delay() for call in calls]; return [r.get(timeout=10)[0] for r in sent]",
        "3 group ids",
    ),
    ("06.1", "a chain", "chain(call.set(immutable=True) for call in calls).delay()", "sent 1 of its messages itself"),
    ("06.1", "only two", "return group(calls[:2]).delay().get(timeout=10)", "sent 2 of its messages itself"),
    ("06.1", "other calls", "return group(add.s(1, n) for n in range(3)).delay().get(timeout=10)", "send the three calls that you got"),
    ("06.1", "the receipt", "return group(calls).delay()", "not the receipt"),
    ("06.1", "another order", "return group(calls).delay().get(timeout=10)[::-1]", "in the order of the list"),
    ("06.1", "for later", "group(calls).apply_async(countdown=600)", "they are for later"),
    ("06.1", "a queue that nobody reads", "group(calls).apply_async(queue='sloww')", "does the worker read the queue"),
    ("06.2", "constant", "return [0, 2, 4], []", "you returned the answers [0, 2, 4]"),
    ("06.2", "one list", "{group}; return g.get(timeout=10, propagate=False)", "not two lists"),
    (
        "06.2",
        "errors among the answers",
        "{group}; return g.get(timeout=10, propagate=False), {failed}",
        "an error stands among the answers",
    ),
    ("06.2", "did not wait", "{group}; return {good}, {failed}", "still running when you looked"),
    ("06.2", "receipts", "{group}; {wait}; return {good}, [m for m in g if m.failed()]", "is not an id"),
    (
        "06.2",
        "only true answers",
        "{group}; {wait}; return [m.result for m in g if m.successful() and m.result], {failed}",
        "0 is an answer too",
    ),
    ("06.2", "all ids", "{group}; {wait}; return {good}, [m.id for m in g]", "are not those that failed"),
    ("06.2", "sorted the other way", "{group}; {wait}; return {good}, {failed}[::-1]", "in another order"),
]

RIGHT: list[tuple[str, str]] = [
    ("06.1", "return tuple(group(*calls)().get(timeout=10))"),
    ("06.1", "r = group(calls).apply_async(); return [member.get(timeout=10) for member in r]"),
    (
        "06.2",
        "{group}; values = g.join(timeout=10, propagate=False)\n"
        "bad = [m.id for m, v in zip(g.results, values) if isinstance(v, Exception)]\n"
        "return [v for v in values if not isinstance(v, Exception)], bad",
    ),
]

PIECES = {
    "{group}": "g = app.GroupResult.restore(group_id)",
    "{wait}": "g.get(timeout=10, propagate=False)",
    "{good}": "[m.result for m in g if m.successful()]",
    "{failed}": "[m.id for m in g if m.failed()]",
}

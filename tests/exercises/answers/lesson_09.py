"""Answers to the exercises of 09."""

NAMES = """
from celery import chord, group
from tutorial_tasks.celery_app import app
from tutorial_tasks.collectors import cleanup, collector_1, collector_2, collector_3, collector_gathering, process
"""

# One worker knows all of these, so that it need not be restarted for each answer.
MY_TASKS = """
from tutorial_tasks.celery_app import app
from tutorial_tasks.collectors import collect
from tutorial_tasks.lifecycle import Gate

SOURCE = Gate("source 4")

@app.task
def asks_once(request_id, topic, seed=None):
    SOURCE.wait(timeout=0)
    return collect(request_id, topic, 4, seed)

@app.task
def waits_inside(request_id, topic, seed=None):
    SOURCE.wait(timeout=60)
    return collect(request_id, topic, 4, seed)

@app.task
def reports_nothing(request_id, topic, seed=None):
    try:
        SOURCE.wait(timeout=0)
    except TimeoutError:
        return {"request_id": request_id, "collector": 4, "items": []}
    return collect(request_id, topic, 4, seed)

@app.task(bind=True, max_retries=3)
def swallows_its_retry(self, request_id, topic, seed=None):
    try:
        SOURCE.wait(timeout=0)
    except TimeoutError as error:
        try:
            self.retry(exc=error, countdown=0.5)
        except Exception:
            pass
    return collect(request_id, topic, 4, seed)

@app.task(bind=True, max_retries=3)
def takes_its_time(self, request_id, topic, seed=None):
    try:
        SOURCE.wait(timeout=0)
    except TimeoutError as error:
        raise self.retry(exc=error)
    return collect(request_id, topic, 4, seed)

@app.task(bind=True, max_retries=3)
def in_a_hurry(self, request_id, topic, seed=None):
    try:
        SOURCE.wait(timeout=0)
    except TimeoutError as error:
        raise self.retry(exc=error, countdown=0.01)
    return collect(request_id, topic, 4, seed)

@app.task(bind=True, max_retries=3)
def of_another_source(self, request_id, topic, seed=None):
    try:
        SOURCE.wait(timeout=0)
    except TimeoutError as error:
        raise self.retry(exc=error, countdown=0.5)
    return collect(request_id, topic, 3, seed)

@app.task(bind=True, max_retries=3)
def by_hand(self, request_id, topic, seed=None):
    try:
        SOURCE.wait(timeout=0)
    except TimeoutError as error:
        raise self.retry(exc=error, countdown=0.4)
    return collect(request_id, topic, 4, seed)

@app.task(autoretry_for=(TimeoutError,), default_retry_delay=0.7)
def by_decorator(request_id, topic, seed=None):
    SOURCE.wait(timeout=0)
    return collect(request_id, topic, 4, seed)
"""


def _sent_with(fourth: str) -> str:
    return f"""
collectors = [c.s(request_id, topic, seed) for c in (collector_1, collector_2, collector_3, {fourth})]
return chord(collectors, collector_gathering.s() | cleanup.s() | process.s()).apply_async()
"""


_FOURTH_BY_NAME = """
fourth = app.signature("__main__.collector_4", (request_id, topic, seed))
collectors = [c.s(request_id, topic, seed) for c in (collector_1, collector_2, collector_3)] + [fourth]
return chord(collectors, collector_gathering.s() | cleanup.s() | process.s()).apply_async()
"""

_OF_THE_FIRST = """
first = result.parent.results[0].get(timeout=5, propagate=False)
for number, collector in enumerate(result.parent.results, start=1):
    if collector.failed() or isinstance(first, dict) and collector.result["request_id"] != first["request_id"]:
        return number
"""

WRONG = [
    ("09.1", "constant", "return 12", "no message was sent"),
    ("09.1", "not returned", _sent_with("by_hand").replace("return ", ""), "return what apply_async() of a chord"),
    ("09.1", "a group", "return group(c.s(request_id, topic, seed) for c in (collector_1, by_hand)).apply_async()", "receipt of a group"),
    ("09.1", "another request", _sent_with("by_hand").replace("request_id", "'order 1'"), "is that of the request 'order 1'"),
    ("09.1", "three collectors", _sent_with("by_hand").replace(", by_hand", ""), "is your collector among the four"),
    ("09.1", "asks once", _sent_with("asks_once"), "did not try again"),
    (
        "09.1",
        "waits for the end",
        _sent_with("by_hand").replace("async()", "async().get(timeout=0.2)"),
        "is waiting a part of what is asked",
    ),
    ("09.1", "waits inside", _sent_with("waits_inside"), "does it wait inside the task"),
    ("09.1", "reports nothing", _sent_with("reports_nothing"), "although its source was closed"),
    ("09.1", "swallows its retry", _sent_with("swallows_its_retry"), "although its source was closed"),
    ("09.1", "takes its time", _sent_with("takes_its_time"), "does not come back"),
    ("09.1", "in a hurry", _sent_with("in_a_hurry"), "gave up before"),
    ("09.1", "of another source", _sent_with("of_another_source"), "it should count"),
    ("09.1", "five reports", _sent_with("by_hand, collector_3"), "got 5 reports"),
    ("09.1", "not in the worker", _FOURTH_BY_NAME, "the worker does not know"),
    (
        "09.1",
        "no ending",
        _sent_with("by_hand").replace(" | cleanup.s() | process.s()", ""),
        "after the gathering come cleanup and process",
    ),
    ("09.2", "constant", "return 2", "you said 2 of a pipeline"),
    (
        "09.2",
        "only those that failed",
        "return next((n for n, c in enumerate(result.parent.results, 1) if c.failed()), None)",
        "reported for another request",
    ),
    (
        "09.2",
        "counts from 0",
        "return next((n for n, c in enumerate(result.parent.results) if c.failed() or c.result['request_id'] != request_id), None)",
        "in which collector",
    ),
    ("09.2", "whoever differs from the first", _OF_THE_FIRST, "collector"),
    (
        "09.2",
        "the id",
        "return next((c.id for c in result.parent.results if c.failed() or c.result['request_id'] != request_id), None)",
        "in which collector",
    ),
    ("09.2", "by the state of the whole", "return 1 if result.failed() else None", "you said 1 of a pipeline"),
]

RIGHT: list[tuple[str, str]] = [
    ("09.1", _sent_with("by_hand")),
    ("09.1", _sent_with("by_decorator")),
    (
        "09.2",
        "good = [isinstance(c.result, dict) and c.result['request_id'] == request_id for c in result.parent.results]\n"
        "return None if all(good) else good.index(False) + 1",
    ),
]

"""Answers to the exercises of 05."""

NAMES = """
import json
from kombu.exceptions import EncodeError
from kombu.utils.json import dumps, loads
from celery import group
from classroom import lab
from tutorial_tasks.arithmetic import add, multiply
from tutorial_tasks.celery_app import app
from tutorial_tasks.lifecycle import echo
"""

WRONG = [
    ("05.1", "constant", "return EncodeError", "it can be sent, and comes back as"),
    ("05.1", "nothing changes", "return EncodeError if isinstance(value, set) else value", "it comes back as"),
    (
        "05.1",
        "a set becomes a list",
        "return {list} or (sorted(value) if isinstance(value, set) else {dict} or value)",
        "can't be sent at all",
    ),
    ("05.1", "tuples stay", "return {set} or {dict} or value", "JSON has lists only"),
    ("05.1", "keys stay", "return {set} or {list} or value", "JSON has only text as keys"),
    (
        "05.1",
        "not inside",
        "if isinstance(value, dict): return {str(k): v for k, v in value.items()}\nreturn {set} or {list} or value",
        "what is inside makes the same journey",
    ),
    ("05.1", "as Python's json", "{set_first}\nreturn json.loads(json.dumps(value, default=str))", "there is a note beside it"),
    ("05.1", "sends it", "{set_first}\nreturn echo.delay(value).get(timeout=5)['value']", "sent a message"),
    ("05.2", "constant", "return [3000, 5000, 7000]", "no message was sent"),
    ("05.2", "plain Python", "return [x + y for x, y in pairs]", "no message was sent"),
    ("05.2", "nothing forgotten", "{send}\nreturn [r.get(timeout=5) for r in results]", "3 of your 3 results are still in the backend"),
    (
        "05.2",
        "only the last forgotten",
        "{send}\nsums = [r.get(timeout=5) for r in results]\nresults[-1].forget()\nreturn sums",
        "2 of your 3 results are still",
    ),
    (
        "05.2",
        "forgotten before they are read",
        "sums = []\nfor p in pairs:\n    r = add.delay(*p); r.get(timeout=5); r.forget(); sums.append(r.get(timeout=5))\nreturn sums",
        "you returned None",
    ),
    (
        "05.2",
        "forgotten before they are done",
        "lab.worker.pause()\n{send}\n[r.forget() for r in results]\nlab.worker.resume()\nreturn [x + y for x, y in pairs]",
        "still in the backend",
    ),
    (
        "05.2",
        "never kept",
        "for pair in pairs: add.apply_async(pair, ignore_result=True)\nreturn [x + y for x, y in pairs]",
        "has never had these results",
    ),
    ("05.2", "another task", "results = [multiply.delay(*p) for p in pairs]\n{forget}\nreturn sums", "it did not compute"),
    ("05.2", "other order", "{send}\n{forget}\nreturn sorted(sums) if sums != sorted(sums) else sums[::-1]", "in their order"),
    ("05.2", "receipts", "{send}\n{forget}\nreturn results", "not the 3 sums in their order"),
    (
        "05.2",
        "everybody's",
        "{send}\n{forget}\nclient = app.backend.client\nclient.delete(*client.keys('celery-task-meta-*'))\nreturn sums",
        "those of others too",
    ),
    (
        "05.2",
        "a queue that nobody reads",
        "for pair in pairs: add.apply_async(pair, queue='sloww', expires=60)\nreturn []",
        "no worker reads that one",
    ),
]

RIGHT: list[tuple[str, str]] = [
    ("05.1", "try: return loads(dumps(value))\nexcept TypeError: return EncodeError"),
    ("05.2", "{send}\n{forget}\nreturn sums"),
    ("05.2", "result = group(add.s(*p) for p in pairs).apply_async()\nsums = result.get(timeout=5)\nresult.forget()\nreturn sums"),
    (
        "05.2",
        "{send}\nsums = [r.get(timeout=5) for r in results]\nfor r in results: app.backend.expire(app.backend.get_key_for_task(r.id), 0)\n"
        "return sums",
    ),
]

PIECES = {
    "{set}": "(EncodeError if isinstance(value, set) else None)",
    "{set_first}": "if isinstance(value, set): return EncodeError",
    "{list}": "([comes_back(item) for item in value] if isinstance(value, (tuple, list)) else None)",
    "{dict}": "({str(k): comes_back(v) for k, v in value.items()} if isinstance(value, dict) else None)",
    "{send}": "results = [add.delay(*p) for p in pairs]",
    "{forget}": "sums = [r.get(timeout=5) for r in results]\nfor r in results: r.forget()",
}

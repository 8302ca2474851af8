"""Answers to the exercises of 13."""

NAMES = """
import uuid
from tutorial_tasks.arithmetic import add, multiply
"""

WRONG = [
    ("13.1", "constant", "return str(uuid.uuid4())", "no task was sent"),
    ("13.1", "no cache at all", "return add.delay(a, b).id", "10 visitors sent 10 tasks"),
    (
        "13.1",
        "look, then write",
        "known = store.get(f'{a}:{b}')\nif known:\n    return known\nid = add.delay(a, b).id\nstore.set(f'{a}:{b}', id, ex=60)\nreturn id",
        "looked before anybody had written",
    ),
    (
        "13.1",
        "does it exist, then claim",
        "mine = str(uuid.uuid4())\nif store.exists(f'{a}:{b}'):\n    return store.get(f'{a}:{b}')\n"
        "store.set(f'{a}:{b}', mine, ex=60)\nadd.apply_async((a, b), task_id=mine)\nreturn mine",
        "looked before anybody had written",
    ),
    (
        "13.1",
        "the id of the claim is not the task's",
        "mine = str(uuid.uuid4())\nif store.set(f'{a}:{b}', mine, nx=True, ex=60):\n    add.delay(a, b)\nreturn store.get(f'{a}:{b}')",
        "in place of its id",
    ),
    (
        "13.1",
        "nothing for the others",
        "mine = str(uuid.uuid4())\nif store.set(f'{a}:{b}', mine, nx=True, ex=60):\n    return add.apply_async((a, b), task_id=mine).id",
        "9 of 10 visitors got None",
    ),
    (
        "13.1",
        "a claim for ever",
        "mine = str(uuid.uuid4())\nif store.set(f'{a}:{b}', mine, nx=True):\n    add.apply_async((a, b), task_id=mine)\n"
        "return store.get(f'{a}:{b}')",
        "never ends",
    ),
    (
        "13.1",
        "one key for all sums",
        "mine = str(uuid.uuid4())\nif store.set('sum', mine, nx=True, ex=60):\n    add.apply_async((a, b), task_id=mine)\n"
        "return store.get('sum')",
        "which sum it is",
    ),
    (
        "13.1",
        "another task",
        "mine = str(uuid.uuid4())\nif store.set(f'{a}:{b}', mine, nx=True, ex=60):\n    multiply.apply_async((a, b), task_id=mine)\n"
        "return store.get(f'{a}:{b}')",
        "it is not add(",
    ),
    (
        "13.1",
        "the result for its id",
        "mine = str(uuid.uuid4())\nif store.set(f'{a}:{b}', mine, nx=True, ex=60):\n    return add.apply_async((a, b), task_id=mine)\n"
        "return store.get(f'{a}:{b}')",
        "1 of 10 visitors got <AsyncResult",
    ),
    (
        "13.1",
        "the lesson's client in place of the store",
        "from tutorial_tasks.celery_app import app\nmine, redis = str(uuid.uuid4()), app.backend.client\n"
        "if redis.set(f'{a}', mine, nx=True, ex=60):\n    return add.apply_async((a, b), task_id=mine).id\nreturn redis.get(f'{a}')",
        "9 of 10 visitors got bytes: use `store`",
    ),
    (
        "13.1",
        "a lock",
        "with store.lock('lock', timeout=60):\n    known = store.get(f'{a}:{b}') or add.delay(a, b).id\n"
        "    store.set(f'{a}:{b}', known, ex=60)\n    return known",
        "some visitors still wait: for a lock",
    ),
    ("13.2", "constant", "return [6, 4]", "never asked"),
    ("13.2", "asks once", "return ask(location)['results']", "it stopped when 1 of"),
    (
        "13.2",
        "takes succeeded for done",
        "said = ask(location)\nwhile not said['grouptaskSucceeded']:\n    said = ask(location)\nreturn said['results']",
        "does not say that all are done",
    ),
    (
        "13.2",
        "asks once more",
        "while not ask(location)['grouptaskProcessed']:\n    pass\nreturn ask(location)['results']",
        "asked once more",
    ),
    (
        "13.2",
        "silent about a failure",
        "said = ask(location)\nwhile not said['grouptaskProcessed']:\n    said = ask(location)\nreturn said['results']",
        "nobody was told",
    ),
    (
        "13.2",
        "gives up at the first failure",
        "said = ask(location)\nwhile not said['grouptaskProcessed']:\n    said = ask(location)\n"
        "    if not said['grouptaskSucceeded']:\n        raise RuntimeError('failed')\nreturn said['results']",
        "does not say that all are done",
    ),
    ("13.2", "asks for ever", "while True:\n    ask(location)", "on and on"),
    ("13.2", "asks elsewhere", "said = ask('/grouptasks')\nreturn said['results']", "not for its location"),
]

RIGHT = [
    (
        "13.1",
        "mine = str(uuid.uuid4())\nif store.setnx(f'{a}:{b}', mine):\n    store.expire(f'{a}:{b}', 60)\n"
        "    add.apply_async((a, b), task_id=mine)\nreturn store.get(f'{a}:{b}')",
    ),
    (
        "13.2",
        "while True:\n    said = ask(location)\n    if said['tasksCompleted'] == said['tasksTotal']:\n        break\n"
        "if not said['grouptaskSucceeded']:\n    raise RuntimeError(location)\nreturn said['results']",
    ),
]

PIECES: dict[str, str] = {}

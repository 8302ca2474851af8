"""Measure the history against its budget: `python -m benchmarks.fold`. The exit code is 1 when a row is over it."""

import gc
import json
import random
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

from taskscope.film import Camera
from taskscope.history import History
from taskscope.ledger import Ledger
from taskscope.observation import Observation
from taskscope.taps import plain as kept

_OBSERVATIONS = 10_000
_REPEATS = 7


def observed(count: int, slots: int = 8) -> list[Observation]:
    """Invent what three witnesses say of plain tasks on one worker, in the order of arrival."""
    chance = random.Random(1)
    said: list[Observation] = []
    free = [0.0] * slots
    for n in range(count // 7 + 1):
        task, sent = f"{n:08}-aaaa-bbbb-cccc-0123456789ab", n * 0.001
        begin = max(min(free), sent + 0.002)
        end = begin + chance.uniform(0.004, 0.008)
        free[free.index(min(free))] = end
        about: dict[str, object] = {
            "name": "tasks.add",
            "args": f"({n}, 1)",
            "kwargs": "{}",
            "root_id": task,
            "parent_id": None,
            "eta": None,
            "expires": None,
        }
        told: list[tuple[str, str, float, dict[str, object]]] = [
            ("publish", "published", sent, about | {"queue": "celery"}),
            ("event", "sent", sent + 0.0005, about | {"queue": "celery", "retries": 0, "exchange": "", "routing_key": "celery"}),
            ("event", "received", sent + 0.001, about | {"retries": 0}),
            ("event", "started", begin, {}),
            ("result", "stored", begin + 0.0003, {"state": "STARTED", "result": "{'pid': 1, 'hostname': 'celery@lab'}"}),
            ("result", "stored", end - 0.0001, {"state": "SUCCESS", "result": str(n + 1)}),
            ("event", "succeeded", end, {"result": str(n + 1), "runtime": end - begin}),
        ]
        for source, kind, at, data in told:
            host = "" if source != "event" else "client" if kind == "sent" else "celery@lab"
            attempt = 0 if kind in ("published", "sent", "received") else None
            said.append(Observation(source, kind, at, at + 0.001, task, attempt, host, data))  # type: ignore[arg-type]
    return sorted(said, key=lambda each: each.arrived)[:count]


def seconds(work: Callable[[], object]) -> float:
    """Return how long it takes: the shortest of some runs, for other work on the machine only adds to it."""
    taken = []
    for _ in range(_REPEATS):
        gc.collect()
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def fold_at_once(said: list[Observation]) -> None:
    """Add everything, then read everything."""
    history = History()
    history.extend(said)
    history.tasks()


def fold_in_batches(said: list[Observation], batch: int) -> None:
    """Read what has changed after each batch, as a live view does."""
    history = History()
    for start in range(0, len(said), batch):
        history.extend(said[start : start + batch])
        for task in history.changed():
            history.task(task)


def heard(said: Observation) -> Observation:
    """Return an observation as a tap makes it: each text comes anew from the network, and only names are kept once."""
    data = kept.data(json.loads(json.dumps(said.data)))
    return replace(said, task=kept.kept_once(json.loads(json.dumps(said.task))), data=data)


def memory(count: int = _OBSERVATIONS) -> float:
    """Return how many bytes the kernel holds for each observation: in the ledger, in the history, and in the camera of a live view."""
    ledger, history, camera = Ledger(), History(), Camera()
    coming = observed(count)
    gc.collect()
    tracemalloc.start()
    try:
        while coming:
            ledger.append(heard(coming.pop(0)))
        history.extend(ledger)
        camera.take(history.tasks())
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / count
    finally:
        tracemalloc.stop()


Row = tuple[str, float, str, float | None]
"""What was measured, the number, its unit, and the budget, if there is one."""


def rows() -> list[Row]:
    """Measure all of it."""
    plain = observed(_OBSERVATIONS)
    progress = [
        *(each for each in plain if each.task == plain[0].task and each.kind in ("published", "received", "started")),
        *(
            Observation("result", "stored", 1 + n / 1e3, 1 + n / 1e3, plain[0].task, data={"state": "PROGRESS", "result": f"{n}"})
            for n in range(1000)
        ),
    ]
    retries = [
        Observation("event", kind, n + part / 10, n + part / 10, "t", n if kind == "received" else None, "w")
        for n in range(200)
        for part, kind in enumerate(("received", "started", "retried"))
    ]
    each = 1e6 / _OBSERVATIONS
    return [
        ("10,000 observations at once", seconds(lambda: fold_at_once(plain)) * 1e3, "ms", 150.0),
        ("in batches of 1,000, each", seconds(lambda: fold_in_batches(plain, 1000)) * each, "us", 20.0),
        ("in batches of 100, each", seconds(lambda: fold_in_batches(plain, 100)) * each, "us", 20.0),
        ("in batches of 25, each", seconds(lambda: fold_in_batches(plain, 25)) * each, "us", None),
        ("one by one, each", seconds(lambda: fold_in_batches(plain, 1)) * each, "us", None),
        ("1,000 PROGRESS of one task, one by one, each", seconds(lambda: fold_in_batches(progress, 1)) * 1e3, "us", None),
        (
            "200 attempts of one task, in batches of 10, each",
            seconds(lambda: fold_in_batches(retries, 10)) * 1e6 / len(retries),
            "us",
            None,
        ),
        ("memory of ledger, history and one live view, for each", memory(), "B", 1536.0),
    ]


def main() -> int:
    """Print each row with its budget; return 1 when one is over it."""
    over = False
    for name, value, unit, budget in rows():
        over |= budget is not None and value > budget
        print(f"{name:53} {value:8.1f} {unit}" + (f"   budget {budget:g}" if budget else ""))
    return int(over)


if __name__ == "__main__":
    sys.exit(main())

"""Hand-made tasks for the pictures: every kind of lane, without a broker."""

from dataclasses import replace
from typing import Any

from taskscope.film import Film, film
from taskscope.history import Lane, Mark, Span, Task

HOST = "celery@lab"
ORIGIN = 1_800_000_000.0
_BOTH = ("event", "result")
WORKERS = [{"host": HOST, "slots": 2, "alive": True}]


def lane(
    task: str,
    *steps: tuple[str, float],
    attempt: int = 0,
    delivery: int = 0,
    slot: int | None = 1,
    backoff: float | None = None,
    **more: Any,
) -> Lane:
    """Return a lane by its states and seconds; a state in brackets is inferred. `told` is who told of a state, where it is not as usual."""
    told = {"PENDING": ("event", "publish"), "RECEIVED": ("event",), "PROGRESS": ("result",), **more.get("told", {})}
    marks = tuple(
        Mark(state.strip("()"), ORIGIN + at, "inferred", (), more.get("note", ""))
        if state.startswith("(")
        else Mark(state, ORIGIN + at, more.get("evidence", {}).get(state, "observed"), told.get(state, _BOTH), more.get("note", ""))
        for state, at in steps
    )
    at = {mark.state: mark.at for mark in marks}
    end = next((at[state] for state in ("RETRY", "SUCCESS", "FAILURE", "REVOKED") if state in at), None)
    spans = []
    if "PENDING" in at:
        spans.append(Span("waiting", at["PENDING"], at.get("RECEIVED", end)))
    if "RECEIVED" in at:
        spans.append(Span("reserved", at["RECEIVED"], at.get("STARTED", end)))
    if "STARTED" in at:
        spans.append(Span("running", at["STARTED"], end))
    if "RETRY" in at:
        spans.append(Span("backoff", at["RETRY"], None if backoff is None else ORIGIN + backoff))
    started = slot if "STARTED" in at else None
    return Lane(task, attempt, delivery, HOST if "RECEIVED" in at else "", started, marks, tuple(spans), more.get("eta"))


def task(name: str, args: str, *lanes: Lane, result: str = "", **more: Any) -> Task:
    """Return a task by its lanes; its id is that of its first lane."""
    state = lanes[-1].marks[-1].state if lanes else "PENDING"
    return Task(
        lanes[0].task,
        f"tutorial_tasks.arithmetic.{name}",
        args,
        "{}",
        "celery",
        lanes=lanes,
        state=state,
        result=result,
        **{"said": {"event": state}, "stored": state if state not in ("PENDING", "RECEIVED") else "", **more},
    )


def many_kinds() -> list[Task]:
    """Return one task of every kind: quick, slow, retried, failed, revoked, inferred, with progress, still running."""
    return [
        task("add", "(2, 3)", lane("a", ("PENDING", 0), ("RECEIVED", 0.02), ("STARTED", 0.03), ("SUCCESS", 0.05)), result="5"),
        task("slow", "(3,)", lane("b", ("PENDING", 0.01), ("RECEIVED", 0.03), ("STARTED", 0.05), ("SUCCESS", 1.2), slot=2), result="9"),
        task(
            "flaky",
            "(1,)",
            lane("c", ("PENDING", 0.1), ("RECEIVED", 0.12), ("STARTED", 0.13), ("RETRY", 0.3), backoff=1.0),
            lane("c", ("PENDING", 0.29), ("RECEIVED", 0.31), ("STARTED", 1.0), ("SUCCESS", 1.1), attempt=1, eta=ORIGIN + 1.0),
            result="1",
        ),
        task(
            "boom",
            "('<b>&amp;</b>',)",
            lane("d", ("PENDING", 0.2), ("RECEIVED", 0.22), ("STARTED", 0.4), ("FAILURE", 0.6)),
            result="ValueError('a \"bad\" <thing>')",
        ),
        task("add", "(1, 1)", lane("e", ("PENDING", 0.25), ("RECEIVED", 0.3), ("REVOKED", 0.5)), stored="REVOKED"),
        task(
            "add",
            "(4, 4)",
            lane(
                "f",
                ("PENDING", 0.3),
                ("(RECEIVED)", 0.65),
                ("STARTED", 0.65),
                ("PROGRESS", 0.8),
                ("SUCCESS", 0.95),
                told={"SUCCESS": ("event",)},
            ),
            result="8",
            stored="PROGRESS",
        ),
        task("slow", "(10,)", lane("g", ("PENDING", 0.5), ("RECEIVED", 0.52), ("STARTED", 1.25))),
        task("add", "(5, 5)", lane("h", ("PENDING", 1.3), ("RECEIVED", 1.35))),
    ]


def everything() -> Film:
    """Return the film of one task of every kind."""
    return film(many_kinds(), now=ORIGIN + 1.6, workers=WORKERS, queues={"celery": {"waiting": 0, "unacked": 1}})


def crowd(number: int, slots: int = 4) -> Film:
    """Return the film of so many short tasks on a worker with so many slots."""
    tasks = []
    for index in range(number):
        sent, start = 0.002 * index, 0.05 + (index // slots) * 0.05
        ended = start + 0.045
        got = max(sent + 0.001, start - 0.2)
        tasks.append(
            task(
                "add",
                f"({index}, 1)",
                lane(
                    f"t{index}",
                    ("PENDING", sent),
                    ("RECEIVED", got),
                    ("STARTED", max(got, start)),
                    ("SUCCESS", max(got, ended)),
                    slot=1 + index % slots,
                ),
                result=str(index + 1),
            )
        )
    return film(tasks, workers=[{"host": HOST, "slots": slots, "alive": True}])


def many(times: int) -> list[Task]:
    """Return one task of every kind, so many times."""
    return [
        replace(one, id=f"{one.id} {number}", lanes=tuple(replace(lane, task=f"{one.id} {number}") for lane in one.lanes))
        for number in range(times)
        for one in many_kinds()
    ]


def too_wide(width: int, sent: int) -> Film:
    """Return the film of a chord with so many members, of which some were sent; two of those are not done, and one failed."""
    names = [f"m{index}" for index in range(width)]
    node = {"kind": "task", "known": True}
    plan = {
        "nodes": [
            *({"id": name, "name": "projects.collect", "label": f"collect({name})", "box": 0, **node} for name in names),
            {"id": "body", "name": "projects.gather", "label": "gather(…)", "box": None, **node},
        ],
        "edges": [{"source": name, "target": "body", "kind": "chord"} for name in names],
        "boxes": [{"id": "g", "kind": "header", "members": names, "body": "body", "parent": None, "counts": names, "phantom": False}],
    }
    ends: dict[int, tuple[tuple[str, float], ...]] = {1: (), 2: (), 3: (("FAILURE", 0.4),)}
    tasks = [
        task(
            "collect", f"({name},)", lane(name, ("PENDING", 0), ("RECEIVED", 0.1), ("STARTED", 0.2), *ends.get(index, (("SUCCESS", 0.3),)))
        )
        for index, name in enumerate(names[:sent])
    ]
    return film(tasks, graphs=[plan], workers=WORKERS, limit=500)


def chord_plan() -> dict[str, Any]:
    """Return the canvas of a pipeline: three collectors, a gate, gather, cleanup and process, with an errback."""
    names = ["collect", "collect", "collect", "gather", "cleanup", "process"]
    nodes = [
        {
            "id": f"n{index}",
            "name": f"projects.{name}",
            "label": f"{name}({index + 1})" if index < 3 else f"{name}(…)",
            "kind": "task",
            "box": 0 if index < 3 else None,
            "known": True,
        }
        for index, name in enumerate(names)
    ]
    nodes.append({"id": "link_error-6", "name": "projects.alarm", "label": "alarm(…)", "kind": "link_error", "box": None, "known": False})
    edges = [{"source": f"n{index}", "target": "n3", "kind": "chord"} for index in range(3)]
    edges += [{"source": "n3", "target": "n4", "kind": "chain"}, {"source": "n4", "target": "n5", "kind": "chain"}]
    edges += [{"source": "n4", "target": "link_error-6", "kind": "link_error"}]
    boxes = [
        {
            "id": "g",
            "kind": "header",
            "members": ["n0", "n1", "n2"],
            "body": "n3",
            "parent": None,
            "counts": ["n0", "n1", "n2"],
            "phantom": False,
        }
    ]
    return {"nodes": nodes, "edges": edges, "boxes": boxes}


def chord_tasks() -> list[Task]:
    """Return the run of `chord_plan` in which cleanup fails, and a task that gather sent by itself."""
    done = [
        task(
            "collect",
            f"({index + 1},)",
            lane(
                f"n{index}",
                ("PENDING", 0),
                ("RECEIVED", 0.02),
                ("STARTED", 0.05 + index * 0.2),
                ("SUCCESS", 0.4 + index * 0.3),
                slot=1 + index % 2,
            ),
            result=str(index),
        )
        for index in range(3)
    ]
    return [
        *done,
        task("gather", "([0, 1, 2],)", lane("n3", ("PENDING", 1.0), ("RECEIVED", 1.02), ("STARTED", 1.05), ("SUCCESS", 1.3)), result="3"),
        task(
            "audit",
            "(3,)",
            lane("x", ("PENDING", 1.2), ("RECEIVED", 1.22), ("STARTED", 1.25), ("SUCCESS", 1.4), slot=2),
            parent="n3",
            result="None",
        ),
        task(
            "cleanup",
            "(3,)",
            lane("n4", ("PENDING", 1.3), ("RECEIVED", 1.32), ("STARTED", 1.33), ("FAILURE", 1.5)),
            result="OSError('disk full')",
        ),
    ]


def chord() -> Film:
    """Return the film of `chord_plan` and its run."""
    return film(chord_tasks(), graphs=[chord_plan()], workers=WORKERS)

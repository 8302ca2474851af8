"""The film: what drawing needs of the history, as plain JSON; stills.py and the live view read the same one."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

from taskscope import layout
from taskscope.crowd import Crowd, condensed, steps_of
from taskscope.fold import CLOCK_DOUBT
from taskscope.gone import Gone
from taskscope.history import Lane, Task, Worker, label, sentence
from taskscope.layout import Rows, Shelf
from taskscope.states import CALLED_OFF, ENDS

Film = dict[str, Any]

_LETTER = {"observed": "o", "inferred": "i", "contradicted": "c"}
COMMANDS = 500  # of the broker, that are kept: the line under the stage is the last one
SLOW = 2.0  # seconds by which the words of a worker may be late before its clock is doubted: a busy machine may keep them so long
CROWD_EVERY = 0.2  # seconds between two tellings of a crowd's counts
_WITNESS = {"event": "e", "result": "r", "command": "c", "publish": "p"}
_PARTS = ("workers", "queues", "notes", "xray", "keeps")


def film(
    tasks: Iterable[Task],
    *,
    graphs: Iterable[Mapping[str, Any]] = (),
    now: float | None = None,
    limit: int = 1000,
    commands: Iterable[tuple[float, str]] = (),
    **parts: Any,
) -> Film:
    """Return the film of these tasks; `now` is a Unix time, by default that of the last mark. Parts: those of `Camera.take`."""
    camera = Camera(limit)
    for plan in graphs:
        camera.plan(plan)
    camera.take(tasks, now=now, commands=commands, **parts)
    return camera.film()


class Camera:
    """Turns tasks into a film, and changed tasks into changes of it; whatever has a place on the picture keeps it."""

    def __init__(self, limit: int = 1000) -> None:
        self.origin: float | None = None
        self._limit = limit
        self._now = 0.0
        self._entries: dict[str, dict[str, Any]] = {}
        self._dropped = Gone()
        self._ended: deque[str] = deque()
        self._rows = Rows()
        self._shelves: dict[tuple[str, str], Shelf] = {}
        self._stays: dict[tuple[str, int, int], list[_Stay | None]] = {}
        self._plans: list[Mapping[str, Any]] = []
        self._planned: set[str] = set()
        self._counts: dict[str, list[list[float]]] = {}
        self._unplanned: dict[str, str] = {}  # id -> parent, in order of first sight
        self._graphs: list[dict[str, Any]] = []
        self._graphs_changed = False
        self._parts: dict[str, Any] = {"workers": [], "queues": {}, "notes": [], "xray": None, "keeps": True}
        self._commands: deque[list[Any]] = deque(maxlen=COMMANDS)
        self._early: deque[tuple[float, str]] = deque(maxlen=COMMANDS)  # commands from before anything has happened
        self.commanded = 0.0  # the Unix time of the last command that was taken: where to ask from next
        self._last_commands: set[str] = set()  # those of that moment, for the broker gives a transaction one time
        self._crowd: Crowd | None = None  # once there are more tasks than can be looked at
        self._crowd_told: float | None = 0.0  # when, on the film's clock; None when nothing is new
        self._homes: dict[str, str] = {}  # planned tasks, and which node stands for them

    def plan(self, plan: Mapping[str, Any]) -> None:
        """Add a canvas that is to be sent: its tasks are ghosts until they are seen."""
        shown, homes = condensed(plan)
        self._plans.append(shown)
        self._planned.update(node["id"] for node in plan["nodes"])
        if homes:
            self._homes.update(homes)
            self._crowd = self._crowd or Crowd()
        for node in shown["nodes"]:
            if (
                "of" not in node
                and node["id"] not in self._entries
                and node["id"] not in self._dropped
                and node.get("kind", "task") == "task"
            ):
                self._entries[node["id"]] = _ghost(node, len(self._entries))
        self._graphs_changed = True

    def count(self, box: str, counted: int | None, at: float) -> None:
        """Note what the backend's own counter of a chord says: so many of its header have been counted in, if it says so."""
        counts = self._counts.setdefault(box, [])
        if counted is not None and (not counts or counts[-1][1] != counted):
            counts.append([at, counted])
            self._graphs_changed = True

    def take(
        self, tasks: Iterable[Task], *, now: float | None = None, commands: Iterable[tuple[float, str]] = (), **parts: Any
    ) -> dict[str, Any]:
        """Take changed tasks in; return what changed on the film, for `Stage.push`."""
        tasks = list(tasks)
        is_earlier = self._set_origin(tasks)
        upserts = [change for task in self._looked_at(tasks) if (change := self._upsert(task))]
        self._count_crowd(tasks)
        drops = self._drop()
        fresh = self._ordered(commands)
        if self.origin is not None:  # before anything has happened there is no time that would pass
            # A worker whose clock is ahead has told of what is still to come by ours: what it told is on the picture all the same.
            told = max(self._last(upserts), self._crowd.last if self._crowd else 0, fresh[-1][0] if fresh else 0)
            self._now = max(self._now, told, self._seconds(now) if now is not None else 0)
        changes: dict[str, Any] = {
            "now": self._now,
            "origin": self.origin,
            "of": len(self._entries) + len(self._dropped),
            "upserts": upserts,
        }
        if is_earlier:
            changes["all"] = True  # whoever has the film needs all of it anew
        if drops:
            changes["drops"] = drops
        if fresh:
            self._commands.extend(fresh)
            changes["commands"] = fresh
        for name in parts.keys() - set(_PARTS):
            raise TypeError(f"a film has no part {name!r}: its parts are {', '.join(_PARTS)}")
        for name, value in parts.items():
            if value is not None and value != self._parts[name]:
                changes[name] = self._parts[name] = value
        if self._crowd and self._crowd_told is not None and self._now - self._crowd_told >= CROWD_EVERY:
            changes["crowd"], self._crowd_told = self._crowd.to_json(), None
        if self._graphs_changed:
            changes["graphs"] = self._lay_out()
        return changes

    @property
    def goes_on(self) -> bool:
        """Whether a task has begun its way and not ended it."""
        return any(entry["state"] and entry["state"] not in ENDS for entry in self._entries.values())

    def film(self, *, live: bool = False) -> Film:
        """Return the whole film; `live` says that more is to come, so that its clock goes on."""
        if self._graphs_changed:
            self._lay_out()
        tasks, lanes = [], []
        for index, entry in enumerate(self._entries.values()):
            tasks.append({name: value for name, value in entry.items() if name != "lanes"})
            lanes += [{"task": index, **lane} for lane in entry["lanes"]]
        return {
            "origin": self.origin,
            "now": self._now,
            "live": live,
            "shown": len(tasks),
            "of": len(tasks) + len(self._dropped),
            "tasks": tasks,
            "lanes": lanes,
            "graphs": self._graphs,
            "crowd": self._crowd.to_json() if self._crowd else None,
            "commands": list(self._commands),
            **self._parts,
        }

    def _seconds(self, at: float) -> float:
        assert self.origin is not None  # the earliest mark of the first tasks that were taken
        return round(at - self.origin, 4)

    def _last(self, upserts: Iterable[Mapping[str, Any]]) -> float:
        return max((mark[1] for change in upserts for lane in change.get("lanes", ()) for mark in lane["marks"]), default=0.0)

    def _looked_at(self, tasks: Sequence[Task]) -> Sequence[Task]:
        """Return the tasks that are shown one by one: of those that there is no room for, the earliest are only counted."""
        new = [task for task in tasks if task.id not in self._entries and task.id not in self._dropped and not self._is_node(task.id)]
        room = self._limit - len(self._entries)
        if len(new) <= room:
            return tasks
        room = max(0, room + sum(entry["state"] in ENDS and not self._is_node(name) for name, entry in self._entries.items()))
        beyond = {task.id for task in new[: len(new) - min(room, self._limit)]}
        self._dropped.update(beyond)
        if self._crowd is None:
            self._crowd = Crowd()
            for entry in self._entries.values():
                self._crowd.note(entry["id"], steps_of(entry["lanes"], entry["queue"]))
        return [task for task in tasks if task.id not in beyond]

    def _is_node(self, task: str) -> bool:
        """Tell whether a task is a node of a canvas, which is never left out."""
        return task in self._planned and task not in self._homes

    def _count_crowd(self, tasks: Sequence[Task]) -> None:
        if self._crowd is None or not tasks:
            return
        for task in tasks:
            entry = self._entries.get(task.id)
            lanes = entry["lanes"] if entry else [self._counted(lane) for lane in task.lanes]
            self._crowd.note(task.id, steps_of(lanes, task.queue, self._homes.get(task.id, "")))
        if self._crowd_told is None:
            self._crowd_told = self._now

    def _counted(self, lane: Lane) -> dict[str, Any]:
        """Return what of a lane says where a task is."""
        marks = [[mark.state, self._seconds(mark.at), _LETTER[mark.evidence], mark.note] for mark in lane.marks]
        return {"attempt": lane.attempt, "host": lane.host, "slot": lane.slot, "cells": (0, 0, 0), "marks": marks}

    def _set_origin(self, tasks: Sequence[Task]) -> bool:
        """Let the film begin with the first that is known; tell whether that is earlier than what it has shown.

        A worker may tell that it has a message before the sender tells that it is gone.
        """
        marks = (mark.at for task in tasks for lane in task.lanes for mark in lane.marks)
        told = (at for task in tasks for at, _ in task.broker)  # of a message of which nothing else was seen
        before, first = self.origin, min(marks, default=None)
        if before is None:
            self.origin = first if first is not None else min(told, default=None)
        elif first is not None and first < before:
            self.origin = first
            self._shift(before - first)
            return True
        return False

    def _shift(self, by: float) -> None:
        """Move all that is on the film by some seconds."""
        for entry in self._entries.values():
            entry["broker"] = [[round(at + by, 4), where] for at, where in entry["broker"]]
            for lane in entry["lanes"]:
                lane["eta"] = None if lane["eta"] is None else round(lane["eta"] + by, 4)
                lane["marks"] = [[state, round(at + by, 4), *rest] for state, at, *rest in lane["marks"]]
                lane["spans"] = [
                    [kind, round(begin + by, 4), None if end is None else round(end + by, 4)] for kind, begin, end in lane["spans"]
                ]
        self._commands = deque(([round(at + by, 4), text] for at, text in self._commands), maxlen=COMMANDS)
        self._now += by
        self._graphs_changed = True
        if self._crowd:
            self._crowd.shift(by)

    def _ordered(self, commands: Iterable[tuple[float, str]]) -> list[list[Any]]:
        """Return the commands that are new, on the film's clock."""
        for at, text in commands:
            if at < self.commanded or (at == self.commanded and text in self._last_commands):
                continue
            if at > self.commanded:
                self.commanded, self._last_commands = at, set()
            self._last_commands.add(text)
            self._early.append((at, text))
        if self.origin is None:
            return []
        fresh = [[self._seconds(at), text] for at, text in self._early]
        self._early.clear()
        return fresh

    def _upsert(self, task: Task) -> dict[str, Any] | None:
        if task.id in self._dropped:
            return None
        old = self._entries.get(task.id)
        planned = not self._spawned(task)
        lanes = [self._lane(task, lane, old) for lane in task.lanes]
        entry = {
            "id": task.id,
            "name": task.name or (old or {}).get("name", ""),
            "label": label(task) if task.name or not old else old["label"],
            "queue": task.queue,
            "parent": task.parent,
            "group": task.group,
            "planned": planned,
            "state": task.state if task.lanes else "",
            "evidence": task.evidence,
            "result": task.result,
            "sentence": sentence(task) if task.name or not old else f"{old['label']}{sentence(task)[len(label(task)) :]}",
            "said": dict(task.said) | ({"result": task.stored} if task.stored else {}),
            "broker": [[self._seconds(at), where] for at, where in task.broker],
            "row": old["row"] if old else len(self._entries) + len(self._dropped),
            "lanes": lanes,
        }
        self._entries[task.id] = entry
        if task.state in ENDS and (old is None or old["state"] not in ENDS) and not self._is_node(task.id):
            self._ended.append(task.id)
        if old is None:
            return entry
        same = {_key(lane): lane for lane in old["lanes"]}
        change = {name: value for name, value in entry.items() if name != "lanes" and value != old.get(name)}
        moved = [_news(lane, same.get(_key(lane))) for lane in lanes if same.get(_key(lane)) != lane]
        return {"id": task.id, **change, **({"lanes": moved} if moved else {})} if change or moved else None

    def _spawned(self, task: Task) -> bool:
        # Sent by a task that was planned (or by one of those in turn), and in no plan itself.
        if task.id in self._unplanned:
            return True
        if task.id in self._planned or not (task.parent in self._planned or task.parent in self._unplanned):
            return False
        self._graphs_changed = True
        if self._is_callback(task):
            return False
        self._unplanned[task.id] = task.parent
        return True

    def _is_callback(self, task: Task) -> bool:
        """Give a planned callback its id: Celery makes it up when it sends it, so until then the plan had one of its own."""
        for number, plan in enumerate(self._plans):
            names = {node["id"]: node["name"] for node in plan["nodes"] if not node.get("known", True)}
            for edge in plan["edges"]:
                if edge["source"] == task.parent and names.get(edge["target"]) == task.name:
                    self._plans[number] = _renamed(plan, edge["target"], task.id)
                    self._planned.add(task.id)
                    return True
        return False

    def _lane(self, task: Task, lane: Lane, old: Mapping[str, Any] | None) -> dict[str, Any]:
        before = next((one for one in old["lanes"] if _key(one) == (lane.attempt, lane.delivery)), None) if old else None
        return {
            "attempt": lane.attempt,
            "delivery": lane.delivery,
            "host": lane.host,
            "slot": lane.slot,
            "row": before["row"] if before else self._rows.take(),
            "eta": None if lane.eta is None else self._seconds(lane.eta),
            "marks": [
                [mark.state, self._seconds(mark.at), _LETTER[mark.evidence], mark.note, "".join(_WITNESS[who] for who in mark.sources)]
                for mark in lane.marks
            ],
            "spans": [[span.kind, self._seconds(span.begin), None if span.end is None else self._seconds(span.end)] for span in lane.spans],
            "cells": self._cells(task, lane),
        }

    def _cells(self, task: Task, lane: Lane) -> list[int]:
        """Return the lane's cells in its queue, in the worker's bag and among the results; -1 where it never was."""
        times: dict[str, float] = {}
        for mark in lane.marks:
            times.setdefault("END" if mark.state in ENDS | CALLED_OFF else mark.state, mark.at)
        began = next((times[name] for name in ("STARTED", "RETRY", "END") if name in times), None)
        stays = [
            (("queue", task.queue), times.get("PENDING"), times.get("RECEIVED", began)),
            (("bag", lane.host), times.get("RECEIVED"), began),
            (("end", ""), times.get("END"), None),
        ]
        mine = self._stays.setdefault((task.id, lane.attempt, lane.delivery), [None, None, None])
        for place, (key, begin, end) in enumerate(stays):
            if begin is not None and mine[place] is None:
                mine[place] = _Stay(self._shelves.setdefault(key, Shelf()), begin)
            if end is not None and (stay := mine[place]):
                stay.end(end)
        return [stay.cell if stay else -1 for stay in mine]

    def _drop(self) -> list[str]:
        drops = []
        while len(self._entries) > self._limit and self._ended:
            entry = self._entries.pop(self._ended.popleft())
            drops.append(entry["id"])
            self._rows.leave([lane["row"] for lane in entry["lanes"]])
            for lane in entry["lanes"]:
                for stay in self._stays.pop((entry["id"], *_key(lane)), ()):
                    if stay:
                        stay.end((self.origin or 0) + self._now)
        self._dropped.update(drops)
        return drops

    def _lay_out(self) -> list[dict[str, Any]]:
        self._graphs = []
        for plan in self._plans:
            mine = {node["id"] for node in plan["nodes"]}
            extra = []
            for name, parent in self._unplanned.items():
                if parent in mine and name in self._entries:
                    mine.add(name)
                    extra.append({**self._entries[name], "parent": parent})
            laid = layout.graph(plan, extra)
            for gate in laid["gates"]:
                counts = self._counts.get(laid["boxes"][gate["box"]]["id"], [])
                gate["counts"] = [[self._seconds(at), counted] for at, counted in counts] if self.origin is not None else []
            self._graphs.append(laid)
        self._graphs_changed = False
        return self._graphs


def _news(lane: Mapping[str, Any], before: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return what is to be sent of a lane that has changed: of its marks those that are new, and how many it had."""
    had = before["marks"] if before else []
    if not had or lane["marks"][: len(had)] != had:
        return lane
    return {**lane, "marks": lane["marks"][len(had) :], "had": len(had)}


class _Stay:
    """Somebody in a cell, who leaves it once."""

    def __init__(self, shelf: Shelf, begin: float) -> None:
        self._shelf: Shelf | None = shelf
        self.cell = shelf.take(begin)

    def end(self, at: float) -> None:
        if self._shelf:
            self._shelf.leave(self.cell, at)
            self._shelf = None


def clock_notes(known: Mapping[str, Worker]) -> list[str]:
    """Return a note on each worker whose clock is not ours: nothing of what it told is moved, so its times stand beside others."""
    said = []
    for host, worker in known.items():
        if worker.offset < -CLOCK_DOUBT:
            said.append(f"the clock of {host} is {-worker.offset:.0f} s ahead: its times are shown as it told them")
        elif SLOW < worker.offset < inf:
            said.append(f"the clock of {host} is {worker.offset:.0f} s behind: its times are shown as it told them")
    return said


def workers(known: Mapping[str, Worker], now: float, slots: Mapping[str, int] | None = None) -> list[dict[str, Any]]:
    """Return a history's workers as a part of the film; `slots` tells what is known of their pools from elsewhere."""
    return [
        {"host": host, "slots": max(worker.slots, (slots or {}).get(host, 0)), "alive": worker.alive_at(now)}
        for host, worker in known.items()
    ]


def xray_table(snapshot: Mapping[str, Any], text: str = "", calls: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return an X-ray (its JSON, and its words) as a part of the film: a row for each thing that was found.

    Tasks of which nothing was found are named by their calls, as far as these are known, and else by their ids.
    """

    def named(task: str) -> str:
        return (calls or {}).get(task) or f"task {task[:8]}…"

    rows = []
    for queue in snapshot["queues"]:
        holds = f"{queue['waiting']} waiting"
        if queue["kind"] == "tasks":
            rows.append([queue["name"], "queue", _with_labels(holds, queue["messages"]), ""])
        else:
            rows.append([queue["name"], "replies", holds, ""])
    if snapshot["unacked"]:
        held = [taken["message"] for taken in snapshot["unacked"]]
        rows.append(["unacked", "hash", _with_labels(f"{(snapshot['of'] or {}).get('unacked', len(held))} taken, not confirmed", held), ""])
    for stored in snapshot["results"]:
        value = stored["problem"] or stored["state"] + (f" = {stored['value']}" if stored["state"] == "SUCCESS" else f" {stored['value']}")
        rows.append([stored["call"] or f"result of {stored['id'][:8]}…", "result", value, _time_left(stored["ttl"])])
    for group in snapshot["groups"]:
        gate = group["gate"]
        counted = "" if gate["counted"] is None else f"{gate['counted']} of {gate['size'] or '?'} counted, "
        rows.append(
            [
                f"group {group['id'][:8]}…",
                "gate",
                counted + gate["state"],
                _time_left(max((key[2] or 0 for key in group["keys"]), default=0)),
            ]
        )
    for other in snapshot["others"]:
        rows.append([other["name"], other["type"], other["meaning"] or f"{other['size']} inside", _time_left(other["ttl"])])
    rows += [[named(task), "", "no message, and no stored result", ""] for task in snapshot["missing"]]
    rows += [[named(task), "", "RabbitMQ does not show its messages", ""] for task in snapshot["hidden"]]
    bound = len(snapshot["bindings"])
    if bound:
        rows.append(["bindings", "sets", f"{bound} ways from an exchange to a queue", ""])
    for kind, number in (snapshot["of"] or {}).items():
        rows.append([f"… {kind}", "", f"not all are shown: there are {number}", ""])
    columns = ["key", "type", "holds", "time to live"]
    return {"columns": columns, "shares": [0.3, 0.1, 0.46, 0.14], "rows": rows, "text": text}


def _with_labels(holds: str, messages: Iterable[Mapping[str, Any]]) -> str:
    labels = [message["label"] for message in messages][:5]
    return f"{holds}: {', '.join(labels)}" if labels else holds


def _time_left(ttl: float | None) -> str:
    if not ttl:
        return "for ever" if ttl is None else ""
    hours, minutes = divmod(round(ttl) // 60, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{round(ttl)} s"


def never_ran(graph: Mapping[str, Any], states: Mapping[str, str]) -> set[str]:
    """Return the nodes that will not run any more, because what they wait for went the other way."""
    lost: set[str] = set()
    for node in sorted(graph["nodes"], key=lambda node: node["x"]):
        if states.get(node["id"]):
            continue
        for source, kind in _waits_for(graph, node["id"]):
            failed = states.get(source) in ("FAILURE", "REVOKED") or source in lost
            if states.get(source) == "SUCCESS" if kind == "link_error" else failed:
                lost.add(node["id"])
    return lost


def _waits_for(graph: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    gates = [(member, "chord") for gate in graph["gates"] if name in gate["bodies"] for member in gate["members"]]
    return gates + [(edge["source"], edge["kind"]) for edge in graph["edges"] if edge["target"] == name]


def _ghost(node: Mapping[str, Any], row: int) -> dict[str, Any]:
    empty = dict.fromkeys(("queue", "parent", "group", "state", "result"), "")
    text = node["label"] or node["name"].rpartition(".")[2]
    return {
        **empty,
        "id": node["id"],
        "name": node["name"],
        "label": text,
        "planned": True,
        "evidence": "observed",
        "sentence": text,
        "said": {},
        "broker": [],
        "row": row,
        "lanes": [],
    }


def _renamed(plan: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    def name(value: Any) -> Any:
        return new if value == old else value

    return {
        "nodes": [{**node, "id": new, "known": True} if node["id"] == old else node for node in plan["nodes"]],
        "edges": [{**edge, "source": name(edge["source"]), "target": name(edge["target"])} for edge in plan["edges"]],
        "boxes": [{**box, "counts": [name(one) for one in box.get("counts", ())]} for box in plan["boxes"]],
    }


def _key(lane: Mapping[str, Any]) -> tuple[int, int]:
    return lane["attempt"], lane["delivery"]

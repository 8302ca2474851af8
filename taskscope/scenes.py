"""The six pictures as plain lists of shapes, at one moment and one width; stage/scenes.mjs draws the same, and a test compares them."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import floor
from typing import Any

from taskscope import crowd_scenes
from taskscope.crowd import counts_at
from taskscope.film import never_ran
from taskscope.moment import (
    Moment,
    axis,
    disagreement,
    duration,
    extent,
    fit,
    horizon,
    look,
    moment,
    nest,
    plain,
    rank,
    running,
    tick,
    was_sent,
    words_of,
)
from taskscope.states import ENDS, STATES

Item = dict[str, Any]
Scene = dict[str, Any]

PAD = 12
TICK = 56  # pixels from one time on an axis to the next, at least


def scene(film: Mapping[str, Any], view: str, t: float, width: float, by: str = "attempt") -> Scene:
    """Return what a view shows at time `t`: its size, its items, its title and a description in words.

    Raises:
        ValueError: there is no such view; the text names those that there are.
    """
    if view not in SCENES:
        raise ValueError(f"there is no view {view!r}: try one of {', '.join(SCENES)}")
    board = Board(width)
    SCENES[view](board, film, nest(film), t, by)
    is_cut = film["shown"] < film["of"] and not crowd_scenes.counts_all(film, view)
    left = f"showing {film['shown']} of {film['of']} tasks" if is_cut else ""
    for text in [left, *film["notes"]]:
        if text:
            board.height += 18
            board.text(f"note {text}", "faint", PAD, board.height - 6, text, width - 2 * PAD)
    return {"view": view, "width": width, "height": _r(board.height), "items": board.items}


class Board:
    """Shapes with keys, in the order in which they are drawn."""

    def __init__(self, width: float) -> None:
        self.width = width
        self.height = 0.0
        self.items: list[Item] = []

    def rect(self, key: str, kind: str, x: float, y: float, w: float, h: float, r: float = 0) -> None:
        """Draw a rectangle."""
        self.items.append({"tag": "rect", "key": key, "cls": kind, "x": _r(x), "y": _r(y), "w": _r(max(w, 0)), "h": _r(h), "r": r})

    def path(self, key: str, kind: str, *points: float | str) -> None:
        """Draw a path."""
        self.items.append(
            {"tag": "path", "key": key, "cls": kind, "d": " ".join(p if isinstance(p, str) else plain(_r(p)) for p in points)}
        )

    def text(self, key: str, kind: str, x: float, y: float, text: str, width: float = 0, anchor: str = "start") -> None:
        """Write a text, cut to a width if there is one."""
        size = 11 if kind in ("faint", "code", "bright") else 12
        broad = 1.12 if kind in ("title", "alarm", "code") else 1
        shown = fit(text, width / broad, size) if width else text
        self.items.append({"tag": "text", "key": key, "cls": kind, "x": _r(x), "y": _r(y), "text": shown, "anchor": anchor})

    def disc(self, key: str, x: float, y: float, r: float, state: str, kind: str = "", **more: Any) -> None:
        """Draw a state: a filled circle with its glyph."""
        self.items.append({"tag": "disc", "key": key, "cls": kind, "x": _r(x), "y": _r(y), "r": r, "state": state, **more})


def _token(
    board: Board, task: Mapping[str, Any], here: Moment | None, x: float, y: float, r: float, t: float, *, label: float = 0, text: str = ""
) -> None:
    kind = ("ghost" if here is None else "inferred" if here.evidence == "i" else "") + ("" if task["planned"] else " double")
    shown = fit(text or task["label"], label - r - 6, 12) if label else ""
    board.disc(
        f"token {task['id']}",
        x,
        y,
        r,
        here.state if here else "PENDING",
        kind.strip(),
        uuid=task["id"],
        attempt=here.lane["attempt"] if here else 0,
        label=shown,
        name=spoken(task, here, t),
    )


def spoken(task: Mapping[str, Any], here: Moment | None, t: float) -> str:
    """Return the name of a token for those who hear it: add(7, 1), attempt 1, STARTED, 0.4 s, slot 1."""
    if here is None:
        return f"{task['label']}, not sent yet"
    parts = [task["label"], *([f"attempt {here.lane['attempt'] + 1}"] if was_sent(task, t) else []), here.state]
    if here.place == "slot" and here.state != "RETRY":
        parts.append(running(t - here.since))
    if here.place == "slot":
        parts.append(f"slot {here.lane['slot']}" if here.lane["slot"] else "slot unknown")
    if here.state in ENDS and task["result"]:
        parts.append(task["result"])
    if here.evidence == "i":
        parts.append("inferred")
    return ", ".join(parts)


# ---------------------------------------------------------------------------------------------------------------- stage


class _Cells:
    """Part of a place that holds tokens: rows with words while they are few, a grid of glyphs when they are many."""

    def __init__(self, x: float, y: float, width: float, needed: int, many: int) -> None:
        self.x, self.y, self.width, self.few = x, y, width, many <= 8
        self.pitch = 22 if self.few else 20 if many <= 40 else 14 if many <= 200 else 9
        self.columns = 1 if self.few else max(1, floor(width / self.pitch))
        most = 8 if self.few else floor((182 if many <= 200 else 270) / self.pitch)
        self.rows = min(most, max(1, -(-needed // self.columns)))
        self.height = self.rows * self.pitch
        self.more = 0
        self.here = 0

    def put(self, board: Board, task: Mapping[str, Any], here: Moment | None, cell: int, t: float, text: str = "") -> None:
        self.here += 1
        row, column = cell // self.columns, cell % self.columns
        if row >= self.rows:
            self.more += 1
            return
        x, y = self.x + (column + 0.5) * self.pitch, self.y + (row + 0.5) * self.pitch
        if self.few:
            _token(board, task, here, self.x + 9, y, 8, t, label=self.width - 9, text=text)
        else:
            _token(board, task, here, x, y, 8 if self.pitch == 20 else 5.5 if self.pitch == 14 else 3.5, t)

    def overflow(self, board: Board, key: str) -> None:
        if self.more:
            board.text(f"more {key}", "faint", self.x + self.width, self.y + self.height + 11, f"+ {self.more} more", self.width, "end")


def _stage(board: Board, film: Mapping[str, Any], tasks: Sequence[dict[str, Any]], t: float, _by: str) -> None:
    if film.get("crowd"):
        crowd_scenes.stage(board, film, t)
        return
    gap, inner, many = 22, board.width - 2, len(tasks)
    widths = [floor((inner - 3 * gap) * share) for share in (0.21, 0.21, 0.32, 0.26)]
    lefts = [1 + sum(widths[:place]) + gap * place for place in range(4)]
    planned = {node["id"] for graph in film["graphs"] for node in graph["nodes"] if node["kind"] != "unplanned"}
    ghosts = [task["id"] for task in tasks if task["id"] in planned]
    lanes = [lane for task in tasks for lane in task["lanes"]]
    queues = _first_seen([task["queue"] for task in tasks if _waits(task)], [""])
    hosts = _first_seen(
        [worker["host"] for worker in film["workers"]] + [lane["host"] for lane in lanes if lane["cells"][1] >= 0 or lane["slot"]], [""]
    )

    def cells(place: int, top: float, needed: int) -> _Cells:
        return _Cells(lefts[place] + 10, top, widths[place] - 20, needed, many)

    # The places, with as much room as the whole film needs: nothing grows or shrinks while it plays.
    areas: dict[tuple[str, str], _Cells] = {("notebook", ""): cells(0, 64, len(ghosts))}
    y = 30.0
    for queue in queues:
        areas["queue", queue] = area = cells(
            1, y + 34, _most(lane["cells"][0] for task in tasks if task["queue"] == queue for lane in task["lanes"])
        )
        y += 34 + area.height + 14
    bottom = y + 6
    areas["end", ""] = cells(3, 46, _most(lane["cells"][2] for lane in lanes))
    slots: dict[tuple[str, int], tuple[float, float]] = {}
    y = 0.0
    for host in hosts:
        areas["bag", host] = area = cells(2, y + 46, _most(lane["cells"][1] for lane in lanes if lane["host"] == host))
        y += 46 + area.height + 16
        alive = next((worker for worker in film["workers"] if worker["host"] == host), None)
        seen = [lane["slot"] or 0 for lane in lanes if lane["host"] == host and any(rank(mark[0]) == 2 for mark in lane["marks"])]
        for slot in ([0] if 0 in seen else []) + list(range(1, max([alive["slots"] if alive else 0, *seen]) + 1)):
            slots[host, slot] = (lefts[2] + 8, y)
            y += 26
        y += 6
    height = max(150, bottom, y + 14, *[area.y + area.height + 16 for (place, _), area in areas.items() if place in ("notebook", "end")])
    narrow = board.width < 640
    store = "results" if narrow else "result backend" if film["keeps"] else "no result backend"
    for number, title in enumerate(("notebook" if narrow else "your notebook", "broker", "", store)):
        if title:
            board.rect(f"place {number}", "place", lefts[number], 1, widths[number], height, 8)
            board.text(f"title {number}", "title", lefts[number] + 10, 20, title, widths[number] - 20)
        if number:
            x, y = lefts[number] - gap + 4, 17.0
            board.path(f"arrow {number}", "arrow", "M", x, y, "H", x + gap - 9, "m", -4.0, -4.0, "l", 4.0, 4.0, "l", -4.0, 4.0)
    board.height = height + 2

    states: list[Moment | None] = [moment(task, t) for task in tasks]
    drawn = _sections(board, film, tasks, areas, slots, hosts, lefts, widths, height, t)
    busy = _tokens(board, film, tasks, states, areas, slots, ghosts, widths[2], t)
    for (place, name), area in areas.items():
        area.overflow(board, f"{place} {name}")
        word = {"queue": "waiting", "bag": "reserved", "end": "ended", "notebook": "not sent yet"}[place]
        if place != "notebook" or ghosts:
            key = f"count {place} {name}"
            top = 38.0 if place == "end" else 58.0 if place == "notebook" else drawn[place, name]
            told = film["queues"].get(name) if place == "queue" and t >= film["now"] else None
            count = f"{told['waiting']} waiting" if told and told["waiting"] < area.here else f"{area.here} {word}"
            board.text(key, "faint", area.x, top, count + (", others gone" if told and told["waiting"] < area.here else ""), area.width)
    sent = sum(1 for task in tasks if was_sent(task, t))
    board.text("sent", "faint", lefts[0] + 10, 38, f"{sent} sent", widths[0] - 20)
    # How many of those that run the broker still has is known of the moment of the look, and not before.
    kept = [told["kept"] for told in film["queues"].values() if told.get("kept") is not None] if busy and t >= film["now"] else []
    if kept:
        text = f"the broker keeps a copy of {sum(kept)}" if any(kept) else "the broker has no copy of what runs"
        board.text("kept", "faint", lefts[2] + 10, height - 6, text, widths[2] - 20)
    board.height += 22
    board.text("step", "code", 2, board.height - 8, _last_step(film, tasks, t), board.width - 4)


def _sections(
    board: Board,
    film: Mapping[str, Any],
    tasks: Sequence[Mapping[str, Any]],
    areas: Mapping[tuple[str, str], _Cells],
    slots: Mapping[tuple[str, int], tuple[float, float]],
    hosts: Sequence[str],
    lefts: Sequence[float],
    widths: Sequence[float],
    height: float,
    t: float,
) -> dict[tuple[str, str], float]:
    """Draw the frames of queues and workers; return where the count of each is written."""
    counts = {}
    for (place, name), area in areas.items():
        if place == "queue":
            title = f'queue "{name}"' if name else "queue not known" if any(_waits(task) for task in tasks) else "queue"
            board.text(f"queue {name}", "text", area.x, area.y - 20, title, area.width)
            told = film["queues"].get(name)
            if told and told.get("unacked") and t >= film["now"]:
                board.text(f"unacked {name}", "faint", area.x, height - 6, f"{told['unacked']} unacked", area.width)
        if place == "bag":
            end = next((areas["bag", other].y - 46 for other in hosts[hosts.index(name) + 1 :]), height)
            alive = next((worker["alive"] for worker in film["workers"] if worker["host"] == name), True)
            board.rect(f"worker {name}", "place", lefts[2], area.y - 45, widths[2], end - area.y + 45 - (6 if end < height else 0), 8)
            # When it went is not known, only that it is not there now.
            gone = not alive and t >= film["now"]
            title = f"{name or 'worker'} (gone)" if gone else f"worker {name}" if name and board.width >= 640 else name or "worker"
            board.text(f"host {name}", "title", area.x, area.y - 26, title, area.width)
        counts[place, name] = area.y - 6 if place == "queue" else area.y - 8
    for (host, slot), (x, y) in slots.items():
        board.rect(f"slot {host} {slot}", "slot", x, y, widths[2] - 16, 23, 6)
        name = str(slot or "?")
        board.text(f"name {host} {slot}", "faint", x + 6, y + 15.5, name if board.width < 640 else f"slot {name}")
    return counts


def _tokens(
    board: Board,
    film: Mapping[str, Any],
    tasks: Sequence[dict[str, Any]],
    states: Sequence[Moment | None],
    areas: Mapping[tuple[str, str], _Cells],
    slots: Mapping[tuple[str, int], tuple[float, float]],
    ghosts: Sequence[str],
    width: float,
    t: float,
) -> int:
    busy = 0
    heard = any(task["said"].get("result") for task in tasks)
    for task, here in zip(tasks, states, strict=True):
        if here is None:
            if task["id"] in ghosts:
                areas["notebook", ""].put(board, task, None, ghosts.index(task["id"]), t)
            continue
        lane = here.lane
        if here.place == "slot" and (lane["host"], here.cell) in slots:
            x, y = slots[lane["host"], here.cell]
            indent = 30 if board.width < 640 else 55
            _token(board, task, here, x + indent, y + 11.5, 8, t, label=width - 16 - indent - 46)
            board.text(f"time {task['id']}", "faint", x + width - 22, y + 15.5, running(t - here.since), 46, "end")
            if here.state != "RETRY":
                board.path(f"run {task['id']}", "run", "M", x + 5, y + 22.0, "H", x + width - 21)
                busy += 1
        elif here.place == "queue":
            areas["queue", task["queue"]].put(board, task, here, here.cell, t)
        elif here.place == "end":
            if not film["keeps"] or (heard and here.state == "SUCCESS" and not task["said"].get("result")):
                result = " (not kept)"  # there is no backend, or it spoke of others, and not of this one
            else:
                result = {"SUCCESS": f" = {task['result']}"}.get(here.state, f" {task['result']}") if task["result"] else ""
            areas["end", ""].put(board, task, here, here.cell, t, task["label"] + result)
        else:
            wait = f", in {duration(lane['eta'] - t)}" if lane["eta"] is not None and lane["eta"] > t else ""
            again = f", attempt {lane['attempt'] + 1}" if lane["attempt"] else ""
            areas.get(("bag", lane["host"]), areas["end", ""]).put(board, task, here, here.cell, t, task["label"] + again + wait)
    return busy


def _last_step(film: Mapping[str, Any], tasks: Sequence[dict[str, Any]], t: float) -> str:
    for at, text in reversed(film["commands"]):
        if at <= t:
            return str(text)
    best = ("", -1.0)
    for task in tasks:
        for lane in task["lanes"]:
            for mark in lane["marks"]:
                if best[1] < mark[1] <= t:
                    best = (f"{task['label']}: {mark[0]}", mark[1])
    return f"last step: {best[0]}" if best[0] else "nothing has happened yet"


def _waits(task: Mapping[str, Any]) -> bool:
    """Return whether a task has a place among the queues: it was sent to one, or it waited in one whose name nobody told."""
    for lane in task["lanes"]:
        for number, mark in enumerate(lane["marks"]):
            passes_by = mark[2] == "i" and number + 1 < len(lane["marks"]) and lane["marks"][number + 1][1] <= mark[1]
            if mark[0] == "PENDING" and (task["queue"] or not passes_by):
                return True
    return False


def _most(cells: Any) -> int:
    return max([cell + 1 for cell in cells], default=0)


def _first_seen(names: Sequence[str], otherwise: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names)) or list(otherwise)


# ---------------------------------------------------------------------------------------------------------------- lanes


def _lanes(board: Board, film: Mapping[str, Any], tasks: Sequence[dict[str, Any]], t: float, by: str) -> None:
    end = horizon(tasks, film["now"])
    step, total = axis(end)
    left = floor(min(240, max(board.width * 0.27, min(189, board.width * 0.42))))  # where it is narrow, names need more of it
    right = 16 if by == "slot" else floor(min(110, board.width * 0.11))
    scale = (board.width - left - right) / total
    pitch, top = 26, 26

    def at(seconds: float) -> float:
        return left + max(0.0, seconds) * scale

    slots = _slots(film, tasks)
    rows = len(slots) if by == "slot" else _most(lane["row"] for task in tasks for lane in task["lanes"])
    board.height = top + max(rows, 1) * pitch + 8
    each = -floor(-TICK / (step * scale))
    for number in range(floor(total / step + 1e-9) + 1):
        x = at(number * step)
        board.path(f"grid {number}", "rule", "M", x, 20.0, "V", board.height - 6)
        if number % each == 0:
            board.text(f"tick {number}", "faint", x, 14, tick(number * step, step), 0, "middle" if number else "start")
    if by == "slot":
        _slot_rows(board, tasks, slots, t, min(t, end), at, left, top, pitch)
    else:
        for task in tasks:
            for lane in task["lanes"]:
                _lane_row(board, task, lane, t, at, left, top + lane["row"] * pitch)
    if not tasks:
        board.text("empty", "faint", PAD, top + 16, "nothing has happened yet")
    if t < end:
        board.path("now", "now", "M", at(t), 18.0, "V", board.height - 4)


def _lane_row(
    board: Board, task: Mapping[str, Any], lane: Mapping[str, Any], t: float, at: Callable[[float], float], left: float, top: float
) -> None:
    key = f"{task['id']} {lane['attempt']} {lane['delivery']}"
    middle = top + 13
    extra = (f"attempt {lane['attempt'] + 1}" if lane["attempt"] else "") or (f"run {lane['delivery'] + 1}" if lane["delivery"] else "")
    room = left - 16 - (extent(extra, 11) + 8 if extra else 0)
    shown = [mark for mark in lane["marks"] if mark[1] <= t]
    board.text(f"label {key}", "text" if shown else "faint", 4, middle + 4, task["label"], room)
    if extra:
        board.text(f"extra {key}", "faint", left - 10, middle + 4, extra, 0, "end")
    for number, (kind, begin, finish) in enumerate(lane["spans"]):
        if begin <= t:
            open_ = finish is None or finish > t
            inside = [at(mark[1]) for mark in shown]
            _span(board, f"{key} {number}", kind, at(begin), at(t if open_ else finish), middle, (t if open_ else finish) - begin, inside)
    for number, mark in enumerate(lane["marks"]):
        if mark[1] <= t:
            state, when, evidence, note, _ = mark
            big = rank(state) >= 3
            kind = ("big" if big else "small") + (" inferred" if evidence == "i" else " contradicted" if evidence == "c" else "")
            name = f"{task['label']}, attempt {lane['attempt'] + 1}, {state} after {duration(when)}" + (f", {note}" if note else "")
            board.disc(
                f"mark {key} {number}",
                at(when),
                middle,
                8 if big else 4.5,
                state,
                kind,
                uuid=task["id"],
                attempt=lane["attempt"],
                label="",
                name=name,
                mark=evidence,
            )
    if shown and shown[-1][0] in ENDS:
        x = at(max(mark[1] for mark in shown)) + 13
        # The task's result is that of its last lane; one that ended before, under the same id, has its own.
        result = task["result"] if lane is task["lanes"][-1] else shown[-1][3]
        text = f"= {result}" if shown[-1][0] == "SUCCESS" and result else result or shown[-1][0]
        if shown[-1][0] == "REVOKED":
            text = shown[-1][3] or "revoked"  # why, without the name of the error around it
        board.text(f"result {key}", "faint", x, middle + 4, text, max(board.width - x - 2, 1))


def _span(board: Board, key: str, kind: str, x0: float, x1: float, middle: float, seconds: float, marks: Sequence[float]) -> None:
    width, text = x1 - x0, duration(seconds)
    size = extent(text, 11)
    if kind == "waiting":
        board.rect(f"span {key}", "waiting", x0, middle - 1.5, width, 3)
    elif kind == "reserved":
        board.rect(f"span {key}", "reserved", x0, middle - 3.5, width, 7)
    elif kind == "running":
        board.rect(f"span {key}", "running", x0, middle - 8, max(width, 1), 16, 2)
        for right in (x1 - 12, x0 + size + 10):  # at the end, or else at the beginning, if no mark lies there
            if width > size + 24 and not any(right - size - 6 < x < right + 6 for x in marks):
                board.text(f"time {key}", "bright", right, middle + 3.5, text, 0, "end")
                break
    elif kind == "backoff":
        board.rect(f"span {key}", "backoff", x0, middle - 5, width, 10)
        d: list[float | str] = []
        for number in range(floor(width / 6)):
            d += ["M", x0 + number * 6, middle + 5, "l", 6.0, -10.0]
        if d:
            board.path(f"hatch {key}", "hatch", *d)
        if width > size + 30:
            board.rect(f"back {key}", "backing", (x0 + x1) / 2 - size / 2 - 4, middle - 8, size + 8, 16, 3)
            board.text(f"time {key}", "faint", (x0 + x1) / 2, middle + 4, text, 0, "middle")


def _slots(film: Mapping[str, Any], tasks: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    seen = {(worker["host"], slot): None for worker in film["workers"] for slot in range(1, worker["slots"] + 1)}
    for task in tasks:
        for lane in task["lanes"]:
            if any(span[0] == "running" for span in lane["spans"]):
                seen.setdefault((lane["host"], lane["slot"] or 0))
    hosts = _first_seen([host for host, _ in seen], [])
    return sorted(seen, key=lambda slot: (hosts.index(slot[0]), slot[1]))


def _slot_rows(
    board: Board,
    tasks: Sequence[dict[str, Any]],
    slots: Sequence[tuple[str, int]],
    t: float,
    until: float,
    at: Callable[[float], float],
    left: float,
    top: float,
    pitch: float,
) -> None:
    busy: dict[tuple[str, int], list[tuple[float, float]]] = {slot: [] for slot in slots}
    work = []
    for task in tasks:
        for lane in task["lanes"]:
            for kind, begin, finish in lane["spans"]:
                if kind == "running" and begin <= t:
                    stop = t if finish is None else min(finish, t)
                    busy[lane["host"], lane["slot"] or 0].append((begin, stop))
                    work.append((task, lane, begin, stop))
    first = min((begin for spans in busy.values() for begin, _ in spans), default=0.0)
    for row, (host, slot) in enumerate(slots):
        middle, key = top + row * pitch + 13, f"{host} {slot}"
        idle, edge = 0.0, first
        for begin, stop in [*sorted(busy[host, slot]), (until, until)]:
            if begin > edge:
                board.rect(f"idle {key} {plain(_r(edge * 1000))}", "idle", at(edge), middle - 8, at(begin) - at(edge), 16)
                idle += begin - edge
            edge = max(edge, stop)
        share = f"idle {floor(100 * idle / (until - first) + 0.5)} %" if until > first else ""
        board.text(f"extra {key}", "faint", left - 10, middle + 4, share, 0, "end")
        name = (f"slot {slot}" if slot else "slot ?") + (f" {host}" if len({h for h, _ in slots}) > 1 else "")
        board.text(f"label {key}", "text", 4, middle + 4, name, left - 24 - extent(share, 11))
    for task, lane, begin, stop in work:
        middle = top + slots.index((lane["host"], lane["slot"] or 0)) * pitch + 13
        key = f"{task['id']} {lane['attempt']} {lane['delivery']}"
        last = [mark for mark in lane["marks"] if mark[1] <= t][-1]
        width = at(stop) - at(begin)
        board.rect(f"span {key}", "running", at(begin), middle - 8, max(width, 1), 16, 2)
        if width > 40:
            board.text(f"name {key}", "bright", at(begin) + 6, middle + 3.5, task["label"], width - 18)
        name = f"{task['label']}, attempt {lane['attempt'] + 1}, {last[0]}, ran {duration(stop - begin)}, slot {lane['slot'] or '?'}"
        big = rank(last[0]) >= 3
        board.disc(
            f"mark {key}",
            at(stop if big else begin),
            middle,
            7 if big else 4.5,
            last[0],
            "big" if big else "small",
            uuid=task["id"],
            attempt=lane["attempt"],
            label="",
            name=name,
        )


# ---------------------------------------------------------------------------------------------------------------- graph


def _graph(board: Board, film: Mapping[str, Any], tasks: Sequence[dict[str, Any]], t: float, _by: str) -> None:
    by_id = {task["id"]: task for task in tasks}
    board.height = 4
    if not film["graphs"]:
        board.height = 40
        board.text("empty", "faint", PAD, 24, "no canvas was given")
    counts = counts_at(film["crowd"], t) if film.get("crowd") else {}
    for number, graph in enumerate(film["graphs"]):
        by_id |= {node["id"]: crowd_scenes.task_of(node, counts) for node in graph["nodes"] if "of" in node}
        _one_graph(board, graph, by_id, t, f"{number} ", board.height)


def _one_graph(board: Board, graph: Mapping[str, Any], by_id: Mapping[str, Any], t: float, prefix: str, top: float) -> None:
    column = min(200.0, (board.width - 2 * PAD) / graph["layers"])
    gap = max(16.0, min(46.0, column * 0.3))
    wide = column - gap
    below = max(wide + 14, wide + 0.8 * gap - 10)  # what is written below a node ends at the gate before it
    names = ((node["label"] or node["name"]).split("(")[0] for node in graph["nodes"] if "small" not in node)
    # A name for which its node has no room stands below it, and needs room there.
    pitch = 46 if any(extent(name, 12) > wide - 28 for name in names) else 34

    def place(node: Mapping[str, Any]) -> tuple[float, float]:
        return PAD + gap / 2 + node["x"] * column, top + PAD + node["y"] * pitch

    spots: dict[str, tuple[float, float, float]] = {}  # left, right and middle of whatever an edge can touch
    for box in graph["boxes"]:
        pad = min(gap / 2 - 3, 7 + 5 * box["inset"])
        x, y = PAD + gap / 2 + box["x0"] * column - pad, top + PAD + box["y0"] * pitch
        w, h = (box["x1"] - box["x0"]) * column + wide + 2 * pad, (box["y1"] - box["y0"]) * pitch
        board.rect(f"{prefix}box {box['id']}", "group", x, y + 2, w, h - 4, 8)
        board.text(f"{prefix}kind {box['id']}", "faint", x + 8, y + 15, box["kind"], w - 12)
        spots[f"box {box['id']}"] = (x, x + w, y + h / 2)
    states: dict[str, Moment | None] = {}
    for node in graph["nodes"]:
        x, y = place(node)
        task = by_id.get(node["id"])
        states[node["id"]] = (task["here"] if "here" in task else moment(task, t)) if task else None
        if states[node["id"]] or node["kind"] != "unplanned":  # what nobody planned was not there before it was seen
            spots[node["id"]] = (x, x + wide, y)
    taken: dict[str, bool] = {name: bool(here) and here.state == "SUCCESS" for name, here in states.items() if here}
    for number, gate in enumerate(graph["gates"]):
        box = graph["boxes"][gate["box"]]
        x, y = PAD + gap / 2 + gate["x"] * column - gap * 0.4, top + PAD + gate["y"] * pitch
        counted = [count for when, count in gate["counts"] if when <= t]
        done = counted[-1] if counted else sum(by_id.get(member, {}).get("done", bool(taken.get(member))) for member in gate["members"])
        half = max(15, min(60, (box["y1"] - box["y0"]) * pitch / 2 - 6))
        # One that fails is counted too, and the gate stays shut.
        shut = any((here := states.get(member)) and here.state in ("FAILURE", "REVOKED") for member in gate["members"])
        taken[f"gate {number}"] = done >= gate["of"] and not shut
        look = "gate shut" if shut else "gate open" if done >= gate["of"] else "gate"
        board.rect(f"{prefix}gate {number}", look, x - 2.5, y - half, 5, 2 * half, 2)
        text = (f"{done}/{gate['of']}" if counted else f"({done}/{gate['of']})") + (" shut" if shut else "")
        board.text(f"{prefix}gated {number}", "faint", x + (7 if half > 25 else -2), y - half + (8 if half > 25 else -5), f"gate {text}")
        spots[f"gate {number}"] = (x - 2.5, x + 2.5, y)
    for edge in graph["edges"]:
        if edge["source"] in spots and edge["target"] in spots:
            _edge(board, prefix, edge, spots, states, taken)
    states_now = {name: here.state for name, here in states.items() if here}
    lost = never_ran(graph, states_now)
    for node in graph["nodes"]:
        if node["id"] not in spots:
            continue
        task = by_id.get(node["id"], {"id": node["id"], "label": node["label"] or node["name"], "planned": True, "result": "", "lanes": []})
        _node(board, prefix, node, task, states[node["id"]], spots[node["id"]], wide, below, t, node["id"] in lost)
    board.height = top + graph["rows"] * pitch + 2 * PAD


def _edge(
    board: Board,
    prefix: str,
    edge: Mapping[str, Any],
    spots: Mapping[str, tuple[float, float, float]],
    states: Mapping[str, Moment | None],
    taken: Mapping[str, bool],
) -> None:
    x0, y0 = spots[edge["source"]][1], spots[edge["source"]][2]
    x1, y1 = spots[edge["target"]][0], spots[edge["target"]][2]
    source, kind = states.get(edge["source"]), edge["kind"]
    went = taken.get(edge["source"], False)
    if kind == "link_error":
        went = bool(source and source.state == "FAILURE")
    if kind == "unplanned":
        went = bool(source)
    if edge["target"].startswith("gate "):
        y1 += max(-12.0, min(12.0, (y0 - y1) / 4))
    bend = max(6.0, (x1 - x0) / 2)
    paint = "edge taken" if went else "edge spare" if kind in ("link", "link_error", "unplanned") else "edge"
    board.path(f"{prefix}edge {edge['source']} {edge['target']} {kind}", paint, "M", x0, y0, "C", x0 + bend, y0, x1 - bend, y1, x1, y1)


def _node(
    board: Board,
    prefix: str,
    node: Mapping[str, Any],
    task: Mapping[str, Any],
    here: Moment | None,
    spot: tuple[float, float, float],
    wide: float,
    below: float,
    t: float,
    lost: bool,
) -> None:
    x, y = spot[0], spot[2]
    idle = (
        here is not None and "told" not in task and here.state in ENDS and not was_sent(task, t)
    )  # its end is on record, and it never ran
    kind = ("ghost" if here is None or idle else "inferred" if here.evidence == "i" else "") + (
        " double" if node["kind"] == "unplanned" else ""
    )
    state = here.state if here else "PENDING"
    note = task.get("short") or ("never ran" if lost or idle else "")
    aloud = task.get("told") or (f"{state}, never ran" if idle else note)
    name = f"{task['label']}, {aloud}" if aloud else spoken(task, here, t)
    more = {"uuid": node["id"], "attempt": here.lane["attempt"] if here else 0, "name": name}
    key = f"{prefix}token {node['id']}"
    if "small" in node:
        board.disc(
            key,
            x + (node["small"] + 0.5) * wide / node["abreast"],
            y,
            max(2, min(7, floor(wide / (2.2 * node["abreast"])))),
            state,
            kind.strip(),
            label="",
            **more,
        )
        return
    paint = "node ghost" if here is None else f"node {look(state)}{' idle' * idle}"
    if node["kind"] == "unplanned":
        board.rect(f"{prefix}outer {node['id']}", paint, x - 3, y - 15, wide + 6, 30, 15)
    board.rect(f"{prefix}node {node['id']}", paint, x, y - 12, wide, 24, 12)
    text = label = node["label"] or node["name"]
    if here and here.state == "SUCCESS" and task["result"]:
        text = f"{label} = {task['result']}"
    room = wide - 28
    if extent(text, 12) > room:  # without its result, then without its arguments
        name = label.split("(")[0]
        text = next((one for one in (label, f"{name}(…)", name) if extent(one, 12) <= room), "")
        if not text:
            line = y + (26 if node["kind"] == "unplanned" else 23)
            board.text(f"{prefix}below {node['id']}", "faint", x + wide / 2, line, fit(name, below, 11), 0, "middle")
    if note and not text:
        board.text(f"{prefix}lost {node['id']}", "faint", x + 26, y + 4, fit(note, room, 11), 0)
    elif "told" in task:
        board.text(f"{prefix}lost {node['id']}", "faint", x + 4, y + 21, note, wide + 20)
    elif note:
        board.text(f"{prefix}lost {node['id']}", "faint", x + 26, y + 23, note, 0)
    board.disc(key, x + 12, y, 8, state, kind.strip(), label=text, **more)


# --------------------------------------------------------------------------------------------------------------- states

_SPOTS = {
    "PENDING": (0.1, 0),
    "RECEIVED": (0.365, 0),
    "STARTED": (0.635, 0),
    "SUCCESS": (0.9, 0),
    "RETRY": (0.5, 1),
    "FAILURE": (0.9, 1),
    "REVOKED": (0.9, 2),
}
_WAYS = (
    ("PENDING", "RECEIVED"),
    ("RECEIVED", "STARTED"),
    ("STARTED", "SUCCESS"),
    ("STARTED", "FAILURE"),
    ("STARTED", "RETRY"),
    ("RETRY", "RECEIVED"),
    ("PENDING", "REVOKED"),
    ("RECEIVED", "REVOKED"),
    ("STARTED", "REVOKED"),
)


def steps_of(task: Mapping[str, Any], t: float) -> list[tuple[str, str]]:
    """Return a task's states in order with their evidence, as its sentence tells them."""
    steps: list[tuple[str, str]] = []
    for lane in task["lanes"]:
        for state, when, evidence, *_ in lane["marks"]:
            if when <= t and not (steps and (steps[-1][0] == state or (steps[-1][0] == "RETRY" and state == "PENDING"))):
                steps.append((state, evidence))
    return steps


def _states(board: Board, film: Mapping[str, Any], tasks: Sequence[dict[str, Any]], t: float, _by: str) -> None:
    span = min(board.width, 860)
    shift, wide, high = (board.width - span) / 2, floor(span * 0.19), 46
    taken: dict[tuple[str, str], int] = {}
    guessed: dict[tuple[str, str], int] = {}
    here: dict[str, int] = {}
    visits: dict[str, int] = {}
    for task in tasks:
        steps = steps_of(task, t)
        for (one, _), (two, evidence) in pairwise(steps):
            ways = guessed if evidence == "i" else taken
            ways[one, two] = ways.get((one, two), 0) + 1
        for state, _ in steps:
            visits[state] = visits.get(state, 0) + 1
        if now := moment(task, t):
            here[now.state] = here.get(now.state, 0) + 1
    custom = [state for state in dict.fromkeys(state for task in tasks for state, _ in steps_of(task, film["now"])) if state not in STATES]
    spots = {state: (shift + floor(span * x), 36.0 + 92 * (y + (1 if custom else 0))) for state, (x, y) in _SPOTS.items()}
    for number, state in enumerate(custom[:4]):
        spots[state] = (shift + floor(span * (0.635, 0.365, 0.9, 0.1)[number]), 36.0)
    board.height = 36 + 92 * (3 if custom else 2) + 40
    drawn = list(_WAYS) + [way for way in dict.fromkeys([*taken, *guessed]) if way not in _WAYS and way[0] in spots and way[1] in spots]
    counts = [(one, two, taken.get((one, two), 0), guessed.get((one, two), 0)) for one, two in drawn]
    for one, two, sure, maybe in sorted(counts, key=lambda way: min(way[2] + way[3], 1)):  # the path taken lies on top
        _way(board, one, two, spots, wide / 2, high / 2, "way taken" if sure else "way guessed" if maybe else "way", sure + maybe)
    for state, (x, y) in spots.items():
        paint = f"node {look(state)}" if visits.get(state) else "node"
        board.rect(f"state {state}", paint, x - wide / 2, y - high / 2, wide, high, 10)
        board.disc(
            f"token {state}",
            x - wide / 2 + 17,
            y - 5,
            9,
            state,
            "" if visits.get(state) else "ghost",
            uuid=state,
            attempt=0,
            label="",
            name=f"{state}: {here.get(state, 0)} here, {visits.get(state, 0)} came through",
        )
        cls = ("text" if wide < 125 else "title") if visits.get(state) else "faint"
        board.text(f"name {state}", cls, x - wide / 2 + 32, y - 1, state, wide - 34)
        count = f"{here[state]} here" if here.get(state) else ""
        board.text(f"count {state}", "faint", x - wide / 2 + 32, y + 15, count, wide - 36)


def _way(
    board: Board, one: str, two: str, spots: Mapping[str, tuple[float, float]], half: float, tall: float, kind: str, number: int
) -> None:
    (x0, y0), (x1, y1) = spots[one], spots[two]
    key = f"way {one} {two}"
    if y0 == y1 and x1 > x0 and (one, two) in _WAYS:
        points: list[float | str] = ["M", x0 + half, y0, "H", x1 - half - 2]
        tip, text = (x1 - half - 2, y0, 1.0, 0.0), ((x0 + x1) / 2, y0 - 6)
    elif y0 == y1:  # a way that nobody expects, such as PENDING → SUCCESS: an arc above what lies between
        points = ["M", x0, y0 - tall, "C", x0, y0 - tall - 26, x1, y0 - tall - 26, x1, y0 - tall - 2]
        tip, text = (x1, y0 - tall - 2, 0.0, 1.0), ((x0 + x1) / 2, y0 - tall - 8)
    elif one not in STATES and x1 > x0:
        points = ["M", x0 + half, y0, "C", x1, y0, x1, y0, x1, y1 - tall - 2]
        tip, text = (x1, y1 - tall - 2, 0.0, 1.0), (x1 - 30, y0 + 4)
    elif "RETRY" in (one, two) and abs(x1 - x0) < 2 * half:
        x, sign = (x0 + x1) / 2, 1.0 if y1 > y0 else -1.0
        points = ["M", x, y0 + sign * tall, "V", y1 - sign * (tall + 2)]
        tip, text = (x, y1 - sign * (tall + 2), 0.0, sign), (x + 16, (y0 + y1) / 2 + 4)
    elif one in ("PENDING", "RECEIVED") and y1 > y0:
        points = ["M", x0 - 20, y0 + tall, "C", x0 - 20, y1, x0 - 20, y1, x0 + 30, y1, "H", x1 - half - 2]
        tip, text = (x1 - half - 2, y1, 1.0, 0.0), (x0 + 60, y1 - 6)
    elif x1 > x0 + half:
        points = ["M", x0 + half - 20, y0 + tall, "C", x0 + half - 20, y1, x0 + half - 10, y1, x1 - half - 2, y1]
        tip, text = (x1 - half - 2, y1, 1.0, 0.0), (x1 - half - 22, y1 - 6)
    elif x1 == x0:
        sign = 1.0 if y1 > y0 else -1.0
        x = x0 + 12 * sign
        points = ["M", x, y0 + sign * tall, "V", y1 - sign * (tall + 2)]
        tip, text = (x, y1 - sign * (tall + 2), 0.0, sign), (x + 16, (y0 + y1) / 2)
    else:
        points = ["M", x0, y0, "L", x1, y1]
        tip, text = (x1, y1, 0.0, 1.0), ((x0 + x1) / 2, (y0 + y1) / 2)
    board.path(key, kind, *points)
    x, y, dx, dy = tip
    paint = "head taken" if number else "head"
    board.path(
        f"tip {key}",
        paint,
        "M",
        x + 2 * dx,
        y + 2 * dy,
        "L",
        x - 6 * dx - 4 * dy,
        y - 6 * dy - 4 * dx,
        "L",
        x - 6 * dx + 4 * dy,
        y - 6 * dy + 4 * dx,
        "Z",
    )
    if number > 1:
        board.text(f"times {key}", "faint", text[0], text[1], f"{number} ×", 0, "middle")


# ---------------------------------------------------------------------------------------------------- witnesses and xray


def _witnesses(board: Board, _film: Mapping[str, Any], tasks: Sequence[dict[str, Any]], t: float, _by: str) -> None:
    rows: list[list[Any]] = []
    is_watched = any(task["broker"] for task in tasks)
    for task in tasks:
        said = words_of(task, t)
        cells: list[Any] = [task["label"]]
        for witness in "er":
            state = said.get(witness, "")
            cells.append({"state": state, "uuid": task["id"], "key": f"{task['id']} {witness}"} if state else "–")
        # These two know of messages, not of states.
        cells.append(said.get("c", "–") if is_watched else "not asked")
        cells.append("sent it" if "p" in said else "–")
        cells.append({"alarm": "≠ disagree"} if disagreement(task, t) else "" if said else "no word of it")
        rows.append(cells)
    narrow = board.width < 640
    titles = ["events", "results", "broker", "notebook"] if narrow else ["events", "result backend", "broker", "your notebook"]
    shares = (0.17, 0.2, 0.2, 0.13, 0.13, 0.17) if narrow else (0.22, 0.18, 0.18, 0.12, 0.14, 0.16)
    _table(board, ["task", *titles, ""], shares, rows, "nothing has happened yet")


def _xray(board: Board, film: Mapping[str, Any], _tasks: Sequence[dict[str, Any]], _t: float, _by: str) -> None:
    xray = film["xray"] or {"columns": ["key", "type", "holds", "time to live"], "shares": [0.34, 0.1, 0.42, 0.14], "rows": []}
    # The last column, of times, is never cut: what it needs more than its share is taken from the one before.
    *shares, before, last = xray["shares"]
    texts = [xray["columns"][-1], *(row[-1] for row in xray["rows"])]
    needed = max(last, (max(extent(text, 11) for text in texts) + 9) / (board.width - 2 * PAD))
    _table(board, xray["columns"], [*shares, before + last - needed, needed], xray["rows"], "no X-ray was taken")


def _table(board: Board, titles: Sequence[str], shares: Sequence[float], rows: Sequence[Sequence[Any]], empty: str) -> None:
    lefts = [PAD + sum(shares[:column]) * (board.width - 2 * PAD) for column in range(len(shares))]
    widths = [share * (board.width - 2 * PAD) - 8 for share in shares]
    for column, title in enumerate(titles):
        board.text(f"head {column}", "faint", lefts[column], 18, title, widths[column])
    board.path("head", "rule", "M", PAD - 4.0, 26.0, "H", board.width - PAD + 4)
    y = 27.0
    for number, row in enumerate(rows):
        for column, cell in enumerate(row):
            key, x, w = f"cell {number} {column}", lefts[column], widths[column]
            if isinstance(cell, str):
                board.text(key, "text" if column == 0 else "faint", x, y + 17, cell, w)
            elif "alarm" in cell:
                board.text(key, "alarm", x, y + 17, cell["alarm"], w)
            else:
                shown = fit(cell["state"], w - 20, 12)
                board.disc(
                    f"token {cell['key']}",
                    x + 8,
                    y + 13,
                    7,
                    cell["state"],
                    "",
                    uuid=cell["uuid"],
                    attempt=0,
                    label=shown,
                    name=cell["state"],
                )
        y += 26
        board.path(f"rule {number}", "rule", "M", PAD - 4.0, y, "H", board.width - PAD + 4)
    if not rows:
        board.text("empty", "faint", PAD, y + 17, empty)
        y += 26
    board.height = y + 6


SCENES: dict[str, Callable[[Board, Mapping[str, Any], Sequence[dict[str, Any]], float, str], None]] = {
    "stage": _stage,
    "lanes": _lanes,
    "graph": _graph,
    "states": _states,
    "xray": _xray,
    "witnesses": _witnesses,
}


def _r(value: float) -> float:
    return floor(value * 10 + 0.5) / 10

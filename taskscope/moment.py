"""What a film shows at one moment: each task's state and place, a pure function of the film and a time. stage/model.mjs says the same."""

from collections.abc import Mapping, Sequence
from math import floor
from typing import Any, NamedTuple

from taskscope.states import CALLED_OFF, ENDS, STATES


class Moment(NamedTuple):
    """Where one task is at one time."""

    state: str
    since: float
    evidence: str
    place: str  # queue, bag, slot or end
    cell: int
    lane: Mapping[str, Any]


def nest(film: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the film's tasks, each with its own lanes in order."""
    tasks = [{**task, "lanes": []} for task in film["tasks"]]
    for lane in film["lanes"]:
        tasks[lane["task"]]["lanes"].append(lane)
    for task in tasks:
        task["lanes"].sort(key=lambda lane: (lane["attempt"], lane["delivery"]))
    return tasks


def rank(state: str) -> int:
    """Return how far a state is on the way; a custom one counts as STARTED."""
    return STATES[look(state)].rank


def order(state: str) -> int:
    """Return where a state stands in the table; a custom one beside STARTED."""
    return _ORDER[look(state)]


def look(state: str) -> str:
    """Return the state as which a state is drawn."""
    return state if state in STATES else "REVOKED" if state in CALLED_OFF else "STARTED"


def moment(task: Mapping[str, Any], t: float) -> Moment | None:
    """Return where a task is at `t`, or None before anything was seen of it."""
    last: tuple[Mapping[str, Any], Sequence[Any]] | None = None
    lead: tuple[Mapping[str, Any], Sequence[Any]] | None = None
    for lane in task["lanes"]:
        mark = next((mark for mark in reversed(lane["marks"]) if mark[1] <= t), None)
        if mark:
            last = (lane, mark)
            if rank(mark[0]) >= 2:
                lead = last
    if last is None:
        return None
    if lead and lead[0] is not last[0]:
        if rank(lead[1][0]) == 2 and last[0]["attempt"] > lead[0]["attempt"]:
            last = lead  # the next attempt is published before this one has ended
        elif lead[1][0] == "RETRY":  # and the next one has not started
            place, cell = _place(last[1][0], last[0])
            return Moment("RETRY", lead[1][1], lead[1][2], place, cell, last[0])
    return Moment(last[1][0], last[1][1], last[1][2], *_place(last[1][0], last[0]), last[0])


def _place(state: str, lane: Mapping[str, Any]) -> tuple[str, int]:
    where = rank(state)
    if where == 2 or state == "RETRY":
        return "slot", lane["slot"] or 0
    place = 0 if where == 0 else 1 if where == 1 else 2
    return ("queue", "bag", "end")[place], max(0, lane["cells"][place])


def was_sent(task: Mapping[str, Any], t: float) -> bool:
    """Return whether a task's message was on its way by `t`: an id that nobody sent can be on record too."""
    return any(mark[0] == "PENDING" and mark[1] <= t for lane in task["lanes"] for mark in lane["marks"])


def words_of(task: Mapping[str, Any], t: float) -> dict[str, str]:
    """Return each witness's last word about a task until `t`, by the witness's letter; the broker's is where the message is."""
    told = [(mark[1], mark[4], mark[0]) for lane in task["lanes"] for mark in lane["marks"] if mark[1] <= t]
    said = {who: state for _, witnesses, state in sorted(told, key=lambda one: one[0]) for who in witnesses if who != "c"}
    where = [where for at, where in task["broker"] if at <= t]
    return said | ({"c": where[-1]} if where else {})


def disagreement(task: Mapping[str, Any], t: float) -> bool:
    """Return whether the events and the result backend contradict each other at `t`; who has not spoken yet contradicts nobody.

    That the backend tells of an end first is usual. When the events should have told of it too, the history marks it as contradicted.
    """
    said = words_of(task, t)
    if not ("e" in said and "r" in said):
        return False
    contradicted = any(mark[1] <= t and mark[2] == "c" for lane in task["lanes"] for mark in lane["marks"])
    return contradicted or (said["e"] in ENDS and said["r"] not in ENDS)


def horizon(tasks: Sequence[Mapping[str, Any]], now: float) -> float:
    """Return the end of the time axis: now while something is open, else a little after the last mark."""
    lanes = [lane for task in tasks for lane in task["lanes"]]
    end = max((mark[1] for lane in lanes for mark in lane["marks"]), default=0.0)
    if any(span[2] is None for lane in lanes for span in lane["spans"]):
        return max(now, end, 0.001)
    return max(end * 1.02, 0.001)


def axis(end: float) -> tuple[float, float]:
    """Return the step between the ticks and the end of an axis that ends on half a step."""
    magnitude = 0.0001
    while magnitude * 10 <= end / 5:
        magnitude *= 10
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= end / 5 or factor == 10)
    return step, -floor(-end / (step / 2)) * (step / 2)


def duration(seconds: float) -> str:
    """Return a stretch of time as people say it."""
    if seconds < 0.0995:
        return f"{floor(seconds * 1000 + 0.5)} ms"
    if seconds < 100:
        tenths = floor(seconds * 10 + 0.5)
        return f"{tenths // 10}.{tenths % 10} s"
    return f"{floor(seconds + 0.5)} s" if seconds < 600 else f"{floor(seconds / 60 + 0.5)} min"


def running(seconds: float) -> str:
    """Return a stretch of time that goes on: in tenths, so that it changes no oftener than one can read."""
    tenths = floor(seconds * 10 + 1e-9)
    return f"{tenths // 10}.{tenths % 10} s" if seconds < 100 else duration(seconds)


def tick(seconds: float, step: float) -> str:
    """Return what is written at a tick of the axis."""
    if step < 0.1:
        return f"{plain(floor(seconds * 10000 + 0.5) / 10)} ms"
    return f"{plain(floor(seconds * 10 + 0.5) / 10)} s"


def plain(value: float) -> str:
    """Return a number without a needless .0, as JavaScript writes it."""
    return str(int(value)) if value == int(value) else str(value)


_ORDER = {state: place for place, state in enumerate(STATES)}
_NARROW = frozenset("ijlftr|'.,:;!I()[]/ -\"")
_BROAD = frozenset("mwMW%@=+<>~")


def extent(text: str, size: float) -> float:
    """Return how wide a text is at most, in pixels: as DejaVu Sans would set it, which is the widest of the usual fonts."""
    return size * sum(_advance(letter) for letter in text)


def fit(text: str, width: float, size: float) -> str:
    """Return as much of a text as fits, with an ellipsis where something is left out."""
    if extent(text, size) <= width:
        return text
    left = width - size
    kept = ""
    for letter in text:
        left -= size * _advance(letter)
        if left < 0:
            break
        kept += letter
    return f"{kept}…" if kept else ""


def _advance(letter: str) -> float:
    if letter in _NARROW:
        return 0.42
    if letter in _BROAD or letter > "~":
        return 1.0
    return 0.79 if "A" <= letter <= "Z" else 0.64

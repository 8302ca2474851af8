"""What a history is made of: marks on lanes, lanes of tasks, workers, and times in which nobody listened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Evidence = Literal["observed", "inferred", "contradicted"]


@dataclass(frozen=True, slots=True)
class Mark:
    """One step of one lane: the state, when, who says so, and how well it is known.

    Within a lane `at` never goes back: where a witness with another clock, or a slow one, says something else, the mark is
    placed between its neighbours, and a difference of more than half a second is told in `note` where that has nothing else to tell.
    """

    state: str  # one of states.STATES, or a custom one such as PROGRESS; REJECTED and CANCELLED end a delivery
    at: float
    evidence: Evidence = "observed"
    sources: tuple[str, ...] = ()
    note: str = ""  # the result, the exception or the progress, as a short text


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a lane: waiting, reserved, running or backoff; `end` is None while it lasts."""

    kind: str
    begin: float
    end: float | None


@dataclass(frozen=True, slots=True)
class Lane:
    """One delivery of one attempt of one task: a retry never overwrites what came before."""

    task: str
    attempt: int = 0
    delivery: int = 0
    host: str = ""
    slot: int | None = None  # which of the worker's processes, inferred by order of occupancy, from 1
    marks: tuple[Mark, ...] = ()
    spans: tuple[Span, ...] = ()
    eta: float | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """All that is known of one task."""

    id: str
    name: str = ""
    args: str = ""  # the repr that the event carries, for example "(2, 3)"
    kwargs: str = ""
    queue: str = ""
    parent: str = ""
    root: str = ""
    group: str = ""
    lanes: tuple[Lane, ...] = ()
    state: str = "PENDING"
    evidence: Evidence = "observed"
    result: str = ""  # repr of the result or of the exception
    stored: str = ""  # the state that the result backend holds; "" where nothing was seen
    said: Mapping[str, str] = field(default_factory=dict)  # the last state by each witness
    broker: tuple[tuple[float, str], ...] = ()  # where its message was, and since when, if somebody watched the broker's commands
    extra: Mapping[str, Any] = field(default_factory=dict)  # "names": all of them, where the task was replaced


@dataclass(frozen=True, slots=True)
class Worker:
    """What one worker told of itself."""

    host: str
    alive: bool  # its last words were not worker-offline
    heard: float  # when it was last heard, by our clock
    # How much later than it says do its words arrive, at least: the difference of the clocks plus the shortest way. It is
    # shown, and never taken off any time.
    offset: float
    every: float = 2.0  # seconds between its heartbeats
    slots: int = 0  # so many tasks ran at once, at most
    tells: bool = False  # it has told of a task; with its events off a worker sends heartbeats and no more

    def alive_at(self, now: float) -> bool:
        """Tell whether it can be alive at this time of our clock: it has not said goodbye, nor missed three heartbeats."""
        return self.alive and now - self.heard <= 3 * self.every


@dataclass(frozen=True, slots=True, order=True)
class Gap:
    """A time in which something may have been missed."""

    begin: float
    end: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class SlotUse:
    """How busy one slot of a worker was, from the worker's first start to the last thing heard of it."""

    slot: int
    busy: float  # seconds
    idle: float  # the share of the time, from 0 to 1

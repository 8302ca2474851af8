"""The history: what happened, as a pure fold over observations. No clock, no I/O, no Celery."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Evidence = Literal["observed", "inferred", "contradicted"]


@dataclass(frozen=True, slots=True)
class Mark:
    """One step of one lane: the state, when, who says so, and how well it is known."""

    state: str  # one of states.STATES, or a custom one such as PROGRESS
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
    slot: int | None = None  # which of the worker's processes, by order of occupancy, from 1
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
    extra: Mapping[str, Any] = field(default_factory=dict)

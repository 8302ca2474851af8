"""The seven states of a task: their order, glyph and colours. JavaScript reads the same table."""

import json
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class State:
    """How one state is drawn; the colours were searched so that four kinds of vision tell them apart."""

    name: str
    rank: int  # of two states with the same attempt, the higher one came later
    glyph: str
    light: str
    dark: str
    path: str  # the glyph as an SVG path within a circle of radius 8 around 0, 0: the same on every machine, whatever its fonts


TABLE = Path(__file__).with_name("states.json")
STATES = {name: State(name, **row) for name, row in json.loads(TABLE.read_text(encoding="utf-8")).items()}
ENDS = frozenset({"SUCCESS", "FAILURE", "REVOKED"})
CALLED_OFF = frozenset({"REJECTED", "CANCELLED"})  # these end a delivery; the task may be delivered again


def looks_of(name: str) -> State:
    """Return the looks of a state; a custom one, such as PROGRESS, looks like STARTED and keeps its own name."""
    if name in STATES:
        return STATES[name]
    if name in CALLED_OFF:
        return replace(STATES["REVOKED"], name=name)
    return replace(STATES["STARTED"], name=name)

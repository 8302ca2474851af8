"""One thing that one witness said: the only currency between the taps, the ledger and the history."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Source = Literal["event", "result", "command", "publish"]
"""Who said it: a Celery event, the result backend, the broker's command log, or our own process's publishing."""

SOURCES: frozenset[str] = frozenset(get_args(Source))


@dataclass(frozen=True, slots=True)
class Observation:
    """What one witness said about one task (or one worker) at one moment.

    `kind` is a Celery event type without its `task-` (sent, received, started, succeeded, failed, retried, revoked,
    rejected, cancelled, or a custom one), a whole worker event type (worker-online, ...), `stored` for what the
    result backend holds, `published` for our own publishing, a broker command (LPUSH, ...), or `gap` for a time in which
    something may have been missed. `at` is the Unix time by the witness's own clock, `arrived` by ours.
    """

    source: Source
    kind: str
    at: float
    arrived: float
    task: str | None = None  # the task's id
    attempt: int | None = None  # the number of retries, where the witness tells it
    host: str = ""  # the node name of who said it
    data: Mapping[str, Any] = field(default_factory=dict)  # the rest, as JSON

    def to_json(self) -> str:
        """Return one line of JSON."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({name: value for name, value in fields.items() if value not in (None, "", {})}, separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str) -> "Observation":
        """Read one line of JSON.

        Raises:
            ValueError: the line is not an observation; the text says what is wrong with it.
        """
        fields = json.loads(line, parse_constant=_refuse)
        if not isinstance(fields, dict) or fields.get("source") not in SOURCES:
            raise ValueError("not an observation: no known source")
        try:
            observation = cls(**fields)
        except TypeError as error:
            raise ValueError(f"not an observation: {error}") from None
        for name, kinds in _KINDS.items():
            if not isinstance(value := getattr(observation, name), kinds):
                raise ValueError(f"not an observation: {name} is {value!r}")
        if not all(abs(moment) < END_OF_TIME for moment in (observation.at, observation.arrived)):
            raise ValueError("not an observation: a time that no clock shows")
        return observation


class Unread:
    """What a witness said, as it came over the wire: it is read when somebody asks, and once for all who do.

    Most of the cost of listening is reading, and while a program is busy sending nobody looks.
    """

    __slots__ = ("_found", "_read")

    def __init__(self, read: Callable[[], list[Observation]]) -> None:
        self._read = read
        self._found: list[Observation] | None = None

    def observations(self) -> list[Observation]:
        """Return what it says."""
        if self._found is None:
            self._found = self._read()
        return self._found


END_OF_TIME = 1e12  # seconds of the Unix clock; a file may hold any number


def _refuse(constant: str) -> float:
    raise ValueError(f"not an observation: {constant} is no number of JSON")


_KINDS: Mapping[str, tuple[type, ...]] = {
    "kind": (str,),
    "at": (int, float),
    "arrived": (int, float),
    "task": (str, type(None)),
    "attempt": (int, type(None)),
    "host": (str,),
    "data": (dict,),
}

"""The history: what happened, as a pure fold over observations. No clock, no I/O, no Celery.

It is a function of the *set* of observations: neither the order of arrival nor repetition changes it.
"""

import json
import math
from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping
from typing import Any

from taskscope.fold import END_OF, Folded, fold, grown, sort_key
from taskscope.gone import Gone
from taskscope.model import Evidence, Gap, Lane, Mark, SlotUse, Span, Task, Worker
from taskscope.observation import Observation
from taskscope.slots import Slots
from taskscope.states import ENDS
from taskscope.words import label, sentence

__all__ = [
    "Evidence",
    "Gap",
    "History",
    "Lane",
    "Mark",
    "SlotUse",
    "Span",
    "Task",
    "Worker",
    "count_transitions",
    "label",
    "occupancy",
    "sentence",
]

IDLE = 50_000  # times at which a worker ran nothing that are remembered: with a heartbeat every two seconds those of a day

_WORKERS_SAY = frozenset({"received", "started", *END_OF})


class _Story:
    """What was said about one task, and what was made of it."""

    __slots__ = ("by_key", "first", "folded", "later", "seen", "sorted", "task", "unordered")

    def __init__(self) -> None:
        self.by_key: dict[tuple[Any, ...], Observation | dict[str, Observation]] = {}
        self.sorted: list[Observation] = []
        self.later: list[Observation] = []  # not folded yet
        self.unordered = False  # some of `later` belongs between the others
        self.first = math.inf
        self.folded: Folded | None = None
        self.task: Task | None = None

    def add(self, said: Observation) -> bool:
        """Keep it, unless it is known; of two that differ only in their arrival, the earlier one counts."""
        key = sort_key(said)
        known = self.by_key.setdefault(key, said)
        if known is said:
            if self.later or self.sorted:
                last = (self.later or self.sorted)[-1]
                if said.at <= last.at:
                    self.unordered = True
            self.later.append(said)
            if said.at < self.first:
                self.first = said.at
            return True
        # The same moment, witness and kind: the data decide.
        if isinstance(known, Observation):
            known = self.by_key[key] = {_canonical(known): known}
        text = _canonical(said)
        same = known.get(text)
        if same and same.arrived <= said.arrived:
            return False
        known[text] = said
        self.unordered = True
        self.later.append(said)
        return True

    def fold(self, task: str, around: "History") -> Folded:
        new = None
        if self.folded and self.later and not self.unordered:
            new = grown(self.folded, self.later)
        if self.unordered:
            self.sorted = []
            for key in sorted(self.by_key):
                kept = self.by_key[key]
                self.sorted.extend([kept] if isinstance(kept, Observation) else [kept[text] for text in sorted(kept)])
        else:
            self.sorted.extend(self.later)
        self.later = []
        self.unordered = False
        self.folded = new or fold(task, self.sorted, around)
        return self.folded


class _Host:
    """What was heard of one host."""

    __slots__ = ("beat", "heard", "idle", "is_worker", "last", "last_goodbye", "last_told", "offset", "open", "slots", "up_since")

    def __init__(self) -> None:
        self.is_worker = False
        self.heard = -math.inf  # by our clock
        self.last = -math.inf  # by its own
        self.offset = math.inf
        self.last_goodbye = -math.inf
        self.up_since = -math.inf  # another worker may come up under the same name, with other options
        self.last_told = -math.inf  # of a task
        self.beat: tuple[float, str, Mapping[str, Any]] = (-math.inf, "", {})
        self.idle: list[float] = []  # when it ran nothing, by its own clock, in order
        self.open: dict[str, float] = {}  # tasks that run on it, and until when at most
        self.slots = Slots()


class History:
    """What happened, made of observations in whatever order they come.

    `add` only keeps an observation; a task is folded when somebody reads. Tasks stand in the order of the earliest time that any
    witness told of them (then by id). With a `limit`, the earliest tasks are forgotten, ended ones first: `shown` of `seen` remain.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.heard_from = math.inf
        self.heard_until = -math.inf
        self._stories: dict[str, _Story] = {}
        self._dirty: dict[str, None] = {}
        self._changed: dict[str, None] = {}
        self._forgotten = Gone()
        self._aside: dict[str, str] = {}  # tasks of which something was said that can't be folded, and why
        self._hosts: dict[str, _Host] = {}
        self._gaps: set[Gap] = set()
        self._doubtful: set[str] = set()  # tasks whose evidence depends on who listened when
        self._awaited: dict[str, float] = {}  # those of them that a later event contradicts, and from when on
        self._order: list[str] | None = []

    # -- what comes in -------------------------------------------------------------------------------------------------

    def add(self, observation: Observation) -> None:
        """Keep what was said; it is looked at when somebody reads."""
        if observation.kind == "gap":
            self._gaps.add(_gap(observation))
            self._reconsider()
            return
        if observation.source == "event":
            self._hear(observation)
        task = observation.task
        if task is None:
            return
        story = self._stories.get(task)
        if story is None:
            if task in self._forgotten or task in self._aside:
                return
            story = self._stories[task] = _Story()
            self._order = None
        first = story.first
        if story.add(observation):
            self._dirty[task] = None
            if story.first < first:
                self._order = None

    def extend(self, observations: Iterable[Observation]) -> None:
        """Keep all that was said."""
        for observation in observations:
            self.add(observation)

    def _hear(self, said: Observation) -> None:
        if said.arrived > self.heard_until:
            self.heard_until = said.arrived
        if said.arrived < self.heard_from:
            self.heard_from = said.arrived
            self._reconsider()
        host = self._hosts.get(said.host)
        if host is None:
            host = self._hosts[said.host] = _Host()
        if said.arrived > host.heard:
            host.heard = said.arrived
        if said.at > host.last:
            host.last = said.at
        offset = said.arrived - said.at
        if offset < host.offset:
            host.offset = offset
        if said.task is not None:
            if said.kind in _WORKERS_SAY:
                host.is_worker = True
                host.last_told = max(host.last_told, said.at)
        elif said.kind.startswith("worker-"):
            self._hear_worker(host, said)

    def _hear_worker(self, host: _Host, said: Observation) -> None:
        host.is_worker = True
        if said.kind == "worker-offline":
            host.last_goodbye = max(host.last_goodbye, said.at)
        else:
            beat = (said.at, _canonical(said), said.data)
            if beat[:2] > host.beat[:2]:
                host.beat = beat
        if said.kind == "worker-online":
            host.up_since = max(host.up_since, said.at)
        if said.kind == "worker-online" or said.data.get("active") == 0:
            if not host.idle or said.at != host.idle[-1]:
                insort(host.idle, said.at)
                del host.idle[:-IDLE]
            for task, until in host.open.items():
                if said.at < until:
                    self._dirty[task] = None

    def _reconsider(self) -> None:
        """Fold those again whose evidence depends on who listened when."""
        self._dirty.update(dict.fromkeys(self._doubtful))

    def __contains__(self, task: object) -> bool:
        """Tell whether something was heard of a task, be it forgotten."""
        return task in self._stories or task in self._forgotten or task in self._aside

    # -- what may be read ----------------------------------------------------------------------------------------------

    def task(self, task: str) -> Task:
        """Return one task.

        Raises:
            KeyError: nothing was said about it, or it was forgotten.
        """
        self._refresh()
        return self._task(task)

    def tasks(self) -> list[Task]:
        """Return the tasks in the order of the earliest time that was told of each."""
        self._refresh()
        return [self._task(task) for task in self._ordered()]

    def changed(self) -> list[str]:
        """Return the ids of the tasks of which something new is known since the last call, in the order of `tasks()`."""
        self._refresh()
        changed = sorted((story.first, task) for task in self._changed if (story := self._stories.get(task)))
        self._changed.clear()
        return [task for _, task in changed]

    @property
    def shown(self) -> int:
        """Return how many tasks are remembered."""
        self._refresh()
        return len(self._stories)

    @property
    def seen(self) -> int:
        """Return how many tasks there were, with those that were forgotten."""
        return len(self._stories) + len(self._forgotten)

    @property
    def aside(self) -> dict[str, str]:
        """Return the tasks that were set aside, for something was said of them that can't be folded, each with the error."""
        self._refresh()
        return dict(self._aside)

    @property
    def workers(self) -> dict[str, Worker]:
        """Return the workers by their node names, in the order of the names."""
        self._refresh()
        return {name: _worker(name, host) for name, host in sorted(self._hosts.items()) if host.is_worker}

    @property
    def gaps(self) -> list[Gap]:
        """Return the times in which something may have been missed, in order."""
        return sorted(self._gaps)

    # -- what a task's fold may ask ------------------------------------------------------------------------------------

    def idle_since(self, host: str, at: float) -> float:
        """Return the first time after `at` at which the host said that it runs nothing, or infinity."""
        if not (known := self._hosts.get(host)):
            return math.inf
        i = bisect_right(known.idle, at)
        return known.idle[i] if i < len(known.idle) else math.inf

    def missed(self, begin: float, end: float) -> bool:
        """Tell whether a gap overlaps this time."""
        return any(gap.begin <= end and begin <= gap.end for gap in self._gaps)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _refresh(self) -> None:
        for task in [task for task, due in self._awaited.items() if due <= self.heard_until]:
            del self._awaited[task]
            self._dirty[task] = None
        if self._dirty:
            hosts: set[_Host] = set()
            for task in self._dirty:
                try:
                    self._fold(task, hosts)
                except Exception as error:  # one task that nobody understands must not take all others along
                    self._drop(task)
                    self._aside[task] = repr(error)
                    self._order = None
            self._changed.update(self._dirty)
            self._dirty.clear()
            for host in hosts:
                for task in host.slots.settle():
                    if story := self._stories.get(task):
                        story.task = None
                        self._changed[task] = None
        if self.limit is not None and len(self._stories) > self.limit:
            self._forget(len(self._stories) - self.limit + self.limit // 10)

    def _fold(self, task: str, hosts: set[_Host]) -> None:
        story = self._stories[task]
        old = story.folded
        story.task = None
        folded = story.fold(task, self)
        if folded.doubt is not None:
            self._doubtful.add(task)
            if folded.doubt > self.heard_until:
                self._awaited[task] = folded.doubt
        elif task in self._doubtful:
            self._doubtful.discard(task)
            self._awaited.pop(task, None)
        lanes = {(strip.host, strip.attempt, strip.delivery) for strip in folded.strips}
        for strip in old.strips if old else ():
            if host := self._hosts.get(strip.host):
                host.open.pop(task, None)
                # A lane may turn out to be another delivery, or of another host.
                if (strip.host, strip.attempt, strip.delivery) not in lanes:
                    host.slots.set((task, strip.attempt, strip.delivery), None)
                    hosts.add(host)
        for strip in folded.strips:
            if host := self._hosts.get(strip.host):
                host.slots.set((task, strip.attempt, strip.delivery), strip.busy)
                hosts.add(host)
                if strip.unended and strip.busy:
                    host.open[task] = max(host.open.get(task, -math.inf), strip.busy[1])

    def _task(self, task: str) -> Task:
        story = self._stories[task]
        if story.task is None:
            assert story.folded
            slots = [
                self._hosts[strip.host].slots.of.get((task, strip.attempt, strip.delivery)) if strip.busy else None
                for strip in story.folded.strips
            ]
            story.task = story.folded.task(slots)
        return story.task

    def _ordered(self) -> list[str]:
        if self._order is None:
            self._order = [task for _, task in sorted((story.first, task) for task, story in self._stories.items())]
        return self._order

    def _forget(self, count: int) -> None:
        def unended_last(task: str) -> tuple[bool, float, str]:
            story = self._stories[task]
            return not (story.folded and story.folded.fields.get("state") in ENDS), story.first, task

        forgotten = sorted(self._stories, key=unended_last)[:count]
        for task in forgotten:
            self._drop(task)
        self._forgotten.update(forgotten)
        self._order = None

    def _drop(self, task: str) -> None:
        story = self._stories.pop(task)
        for strip in story.folded.strips if story.folded else ():
            if host := self._hosts.get(strip.host):
                host.slots.drop((task, strip.attempt, strip.delivery))
                host.open.pop(task, None)
        self._doubtful.discard(task)
        self._awaited.pop(task, None)
        self._changed.pop(task, None)


def count_transitions(history: History) -> int:
    """Return how many marks all tasks have together."""
    return sum(len(lane.marks) for task in history.tasks() for lane in task.lanes)


def occupancy(history: History, host: str) -> list[SlotUse]:
    """Return how busy each slot of a worker was, from its first start to the last thing that it told.

    Slots are inferred (see `taskscope.slots`); a slot that was never needed is not counted.
    """
    history.tasks()
    if not (known := history._hosts.get(host)) or not (stays := list(known.slots)):
        return []
    until = max(known.last, *(end for _, _, end in stays if end != math.inf), -math.inf)
    window = until - stays[0][0]
    busy = [0.0] * known.slots.count
    for begin, place, end in stays:
        busy[known.slots.of[place] - 1] += min(end, until) - begin
    return [SlotUse(slot, seconds, max(0.0, 1 - seconds / window) if window > 0 else 0.0) for slot, seconds in enumerate(busy, 1)]


def _worker(name: str, host: _Host) -> Worker:
    at, _, data = host.beat
    every = data.get("freq")
    return Worker(
        name,
        alive=host.last_goodbye == -math.inf or at > host.last_goodbye,
        heard=host.heard,
        offset=host.offset,
        every=float(every) if isinstance(every, int | float) and every > 0 else 2.0,
        slots=host.slots.count,
        tells=host.last_told > host.up_since,
    )


def _gap(said: Observation) -> Gap:
    def moment(name: str, otherwise: float) -> float:
        value = said.data.get(name)
        return float(value) if isinstance(value, int | float) else otherwise

    return Gap(moment("from", said.at), moment("to", max(said.at, said.arrived)), str(said.data.get("why", "")))


def _canonical(said: Observation) -> str:
    return json.dumps(said.data, sort_keys=True, default=repr)

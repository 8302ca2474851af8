"""What happened to one task: a pure function of the set of what was said about it.

The order is (attempt, rank of kind, time), host by host: a worker's own words are stamped by one process, so within one host
their times are true; the times of two hosts are never compared to decide what a worker did. Lamport clocks are not looked at.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from taskscope.model import Evidence, Lane, Mark, Span, Task
from taskscope.observation import END_OF_TIME, Observation
from taskscope.states import ENDS, STATES

CLOCK_DOUBT = 0.5  # seconds by which a mark may be moved between its neighbours without a word
GRACE = 1.0  # seconds after a stored end in which the worker's own word for it may still be under way

END_OF = {
    "succeeded": "SUCCESS",
    "failed": "FAILURE",
    "retried": "RETRY",
    "revoked": "REVOKED",
    "rejected": "REJECTED",
    "cancelled": "CANCELLED",
}
_RANK = {"published": 0, "LPUSH": 1, "sent": 2, "received": 3, "started": 4} | {kind: 6 + i for i, kind in enumerate(END_OF)}
_OTHER_RANK = 5
_GIVEN_BACK = frozenset({"REJECTED", "CANCELLED"})  # the delivery is over, the task need not be
_BROKER_SAYS = {"LPUSH": "PENDING", "RPUSH": "PENDING", "BRPOP": "RECEIVED", "HSET": "RECEIVED"}
_MESSAGE_IS = {"LPUSH": "in a queue", "RPUSH": "in a queue", "BRPOP": "taken", "HSET": "taken", "HDEL": "confirmed"}
_ABOUT = (  # field of the task, and what the witnesses call it
    ("name", ("name",)),
    ("args", ("args", "argsrepr")),
    ("kwargs", ("kwargs", "kwargsrepr")),
    ("queue", ("queue", "routing_key")),
    ("root", ("root_id", "root")),
    ("group", ("group", "group_id")),
)
_PARENT = ("parent", ("parent_id", "parent"))
_NEVER = math.inf
RETRY = "RETRY"
_STORED_ENDS = ENDS | {RETRY}
_TELLS_ABOUT = frozenset({"published", "sent", "received", "LPUSH", "stored"})


class Surroundings(Protocol):
    """What a task's fold may know beyond what was said about the task itself."""

    heard_from: float  # when the first event arrived
    heard_until: float  # when the last event arrived

    def idle_since(self, host: str, at: float) -> float:
        """Return the first time after `at` at which the host said that it runs nothing, or infinity."""
        ...

    def missed(self, begin: float, end: float) -> bool:
        """Tell whether something may have been missed in this time."""
        ...


@dataclass(slots=True)
class Strip:
    """A lane without its slot, which depends on other tasks."""

    attempt: int
    delivery: int
    host: str
    marks: tuple[Mark, ...]
    spans: tuple[Span, ...]
    eta: float | None
    busy: tuple[float, float] | None  # when it held a slot of its host
    unended: bool  # it runs, and no witness has told an end


@dataclass(slots=True)
class Folded:
    """A task without the slots of its lanes."""

    id: str
    strips: list[Strip]
    fields: dict[str, Any]
    doubt: float | None = None  # the evidence depends on whether events were heard until then
    # Custom states from these witnesses that are later than all else just go to the end of the last lane.
    grows: frozenset[str] = frozenset()
    stored_until: float = -_NEVER

    def task(self, slots: Sequence[int | None]) -> Task:
        """Return the task, its lanes on these slots."""
        lanes = tuple(
            Lane(self.id, strip.attempt, strip.delivery, strip.host, slot, strip.marks, strip.spans, strip.eta)
            for strip, slot in zip(self.strips, slots, strict=True)
        )
        return Task(self.id, lanes=lanes, **self.fields)


def _by_arrival(said: Observation) -> tuple[float, float]:
    return said.arrived, said.at


def sort_key(said: Observation) -> tuple[float, int, str, str, str, int]:
    """Return the order of observations of one task; equal ones differ in their data at most."""
    return said.at, _RANK.get(said.kind, _OTHER_RANK), said.source, said.kind, said.host, -1 if said.attempt is None else said.attempt


@dataclass(slots=True, eq=False)
class _Draft:
    """A lane in the making."""

    attempt: int | None
    host: str = ""
    messages: list[Observation] = field(default_factory=list)
    received: Observation | None = None
    started: Observation | None = None
    customs: list[Observation] = field(default_factory=list)
    end: Observation | None = None
    other_ends: list[Observation] = field(default_factory=list)
    # What the backend stored of it.
    stored_early: list[Observation] = field(default_factory=list)  # custom states from before STARTED
    stored_start: Observation | None = None
    stored_customs: list[Observation] = field(default_factory=list)
    stored_end: Observation | None = None

    @property
    def at(self) -> float:
        first = self.received or self.started or self.end or next(iter((*self.customs, *self.messages)), None)
        return first.at if first else _NEVER


def fold(task: str, observations: Sequence[Observation], around: Surroundings) -> Folded:
    """Fold what was said about one task, in the order of `sort_key`."""
    messages: list[Observation] = []
    stored: list[Observation] = []
    by_host: dict[str, _Host] = {}
    said: dict[str, str] = {}
    broker: list[tuple[float, str]] = []
    for each in observations:
        kind = each.kind
        if each.source == "event" and kind != "sent":
            host = by_host.get(each.host)
            if host is None:
                host = by_host[each.host] = _Host(each.host)
            host.hear(each)
        elif kind == "stored":
            if each.data.get("state"):
                stored.append(each)
        elif kind in ("sent", "published", "LPUSH"):
            messages.append(each)
        if each.source == "command":
            if kind in _BROKER_SAYS:
                said["command"] = _BROKER_SAYS[kind]
            if (where := _MESSAGE_IS.get(kind)) and (not broker or broker[-1][1] != where):
                broker.append((each.at, where))

    drafts = [draft for host in by_host.values() for draft in host.drafts]
    drafts = _in_order(drafts, messages)
    if stored:
        # The backend's words come by one way, in order; their times may be those of the worker that stored an end.
        stored.sort(key=_by_arrival)
        _match_stored(drafts, stored)
    folded = _built(task, drafts, observations, said, stored, around)
    if broker:
        folded.fields["broker"] = tuple(broker)
    return folded


# -- the words of one worker ------------------------------------------------------------------------------------------


class _Host:
    """The lanes of one task on one host."""

    __slots__ = ("drafts", "host", "open")

    def __init__(self, host: str) -> None:
        self.host = host
        self.drafts: list[_Draft] = []
        self.open: list[_Draft] = []  # those without an end

    def hear(self, said: Observation) -> None:
        kind = said.kind
        if kind == "received":
            # Whatever came before, a message that is received is a delivery of its own.
            self.start(_Draft(_attempt(said) or 0, self.host, received=said))
        elif kind == "started":
            if not (draft := self.lowest(running=False)):
                draft = self.start(_Draft(None, self.host))
            draft.started = said
        elif kind in END_OF:
            self.hear_end(said)
        elif draft := self.lowest(running=True) or (self.drafts[-1] if self.drafts else None):
            draft.customs.append(said)
        else:
            self.start(_Draft(None, self.host, customs=[said]))

    def hear_end(self, said: Observation) -> None:
        running_first = said.kind != "revoked" or bool(said.data.get("terminated"))
        draft = self.ran_so_long(said) or self.lowest(running=running_first)
        if not draft and said.kind not in ("rejected", "cancelled"):
            draft = self.lowest(running=not running_first)
            if draft and draft.attempt and said.kind == "retried" and all(each.attempt != draft.attempt - 1 for each in self.drafts):
                # The message of a retry is received before the attempt ends of which nothing else was heard.
                self.drafts.append(_Draft(draft.attempt - 1, self.host, end=said))
                return
        if draft:
            draft.end = said
            self.open.remove(draft)
            return
        last = self.drafts[-1] if self.drafts else None
        if last and last.end:
            # Reject without requeue says "failed" and "rejected"; a revoked task may say so twice.
            if END_OF[said.kind] not in _GIVEN_BACK | {END_OF[last.end.kind]}:
                last.other_ends.append(said)
            return
        self.drafts.append(_Draft(None, self.host, end=said))

    def start(self, draft: _Draft) -> _Draft:
        self.drafts.append(draft)
        self.open.append(draft)
        return draft

    def lowest(self, running: bool) -> _Draft | None:
        """Find the lane that is meant: of the lowest attempt the delivery that waits longest, or that started last.

        An earlier delivery that still seems to run is most often one that was cut off, or replaced by another task.
        """
        found = None
        for draft in self.open:
            if (draft.started is not None) is running:
                attempt, best = draft.attempt or 0, found.attempt or 0 if found else math.inf
                if attempt < best or (running and attempt == best):
                    found = draft
        return found

    def ran_so_long(self, said: Observation) -> _Draft | None:
        """Find the one of several running deliveries whose start fits the runtime."""
        if len(self.open) < 2 or (runtime := _number(said.data.get("runtime"))) is None:
            return None
        began = said.at - runtime
        running = [(abs(draft.started.at - began), i) for i, draft in enumerate(self.open) if draft.started]
        return self.open[min(running)[1]] if running else None


# -- lanes and messages -----------------------------------------------------------------------------------------------


def _in_order(drafts: list[_Draft], messages: list[Observation]) -> list[_Draft]:
    """Give every message its lane and every lane its attempt; return the lanes in order."""
    waiting: dict[int, list[list[Observation]]] = {}
    counts: dict[tuple[int, str], int] = {}
    for said in messages:
        attempt = _attempt(said) or 0
        # The client and its event tell of the same message: the first of each belong together, the second of each, ...
        nth = counts.get((attempt, said.kind), 0)
        if said.kind == "LPUSH":
            nth = 0  # the broker's log has restored messages too
        counts[attempt, said.kind] = nth + 1
        same = waiting.setdefault(attempt, [])
        if nth == len(same):
            same.append([])
        same[nth].append(said)

    if len(drafts) > 1:
        drafts.sort(key=lambda draft: (draft.at, draft.host))
    taken = dict.fromkeys(waiting, 0)
    for draft in drafts:
        if draft.attempt is not None and draft.attempt in taken:
            taken[draft.attempt] += 1
    before: _Draft | None = None
    for i, draft in enumerate(drafts):
        if draft.attempt is None:
            draft.attempt = _guessed_attempt(before, drafts[i + 1 :], waiting, taken)
        before = draft

    if len(drafts) > 1:
        drafts.sort(key=lambda draft: draft.attempt or 0)  # which keeps the order in time of one attempt's deliveries
    deliveries: dict[int, list[_Draft]] = {}
    for draft in drafts:
        deliveries.setdefault(draft.attempt or 0, []).append(draft)
    for attempt, groups in sorted(waiting.items()):
        own = deliveries.get(attempt, [])
        for nth, group in enumerate(groups):
            if nth == len(own):
                own.append(_Draft(attempt))
                drafts.append(own[-1])
            own[nth].messages = group
    if len(drafts) > 1:
        drafts.sort(key=lambda draft: draft.attempt or 0)
    return drafts


def _guessed_attempt(
    before: _Draft | None, later: Sequence[_Draft], waiting: dict[int, list[list[Observation]]], taken: dict[int, int]
) -> int:
    """Tell the attempt of a lane whose RECEIVED was missed: that of a message without a lane, else what its neighbours leave."""
    for attempt in sorted(waiting):
        if taken[attempt] < len(waiting[attempt]):
            taken[attempt] += 1
            return attempt
    if before and before.attempt is not None:
        return before.attempt + (before.end is not None and before.end.kind == "retried")
    known = [draft.attempt for draft in later if draft.attempt is not None]
    return max(0, known[0] - 1) if known else 0


# -- what the backend stored ------------------------------------------------------------------------------------------


def _match_stored(drafts: list[_Draft], stored: Sequence[Observation]) -> None:
    """Give every stored state its lane, in place; what the events missed gets a lane of its own.

    What the worker told too is matched first, each kind for itself: an attempt's RETRY may be stored after the next one's STARTED.
    """
    homes: dict[int, _Draft] = {}
    if drafts:
        for kind in {draft.end.kind for draft in drafts if draft.end}:
            ended = [(draft, draft.end) for draft in drafts if draft.end and draft.end.kind == kind]
            _pair(homes, stored, [i for i, said in enumerate(stored) if said.data["state"] == END_OF[kind]], ended)
        starts = [i for i, said in enumerate(stored) if said.data["state"] == "STARTED"]
        _pair(homes, stored, starts, [(draft, draft.started) for draft in drafts if draft.started], _ended_next(stored, homes))
    current: _Draft | None = None
    for i, said in enumerate(stored):
        state = str(said.data["state"])
        if state in ("PENDING", "RECEIVED"):  # not Celery's
            continue
        draft = homes.get(i) or _home(drafts, current, said, state)
        if state == "STARTED":
            draft.stored_start = said
            draft.stored_early, draft.stored_customs = draft.stored_customs, []
        elif state in _STORED_ENDS:
            if draft.stored_end is None:
                draft.stored_end = said
            elif draft.stored_end.data["state"] != state:
                draft.other_ends.append(said)
        else:
            draft.stored_customs.append(said)
        if current is None or (draft.attempt or 0, draft.at) >= (current.attempt or 0, current.at):
            current = draft
    drafts.sort(key=lambda draft: draft.attempt or 0)


def _ended_next(stored: Sequence[Observation], homes: Mapping[int, _Draft]) -> list[_Draft | None]:
    """Return for each stored state the lane whose end was stored next; a RETRY says nothing, for it may come late."""
    following: list[_Draft | None] = [None] * len(stored)
    for i in reversed(range(len(stored) - 1)):
        following[i] = homes.get(i + 1) if stored[i + 1].data["state"] in ENDS else following[i + 1]
    return following


def _pair(
    homes: dict[int, _Draft],
    stored: Sequence[Observation],
    which: Sequence[int],
    told: Sequence[tuple[_Draft, Observation]],
    ended_next: Sequence[_Draft | None] | None = None,
) -> None:
    """Match stored states with what events told of the same: in order where the numbers agree, else by time."""
    if len(which) == len(told):
        pairs = zip(which, told, strict=True)
        if all(_may_be(draft, stored[i]) for i, (draft, _) in zip(which, told, strict=True)):
            homes.update((i, draft) for i, (draft, _) in pairs)
            return
    left = list(told)
    # Each takes the nearest one that leaves enough for those after it.
    for n, i in enumerate(which):
        spare = max(1, len(left) - (len(which) - n) + 1)
        over = ended_next[i] if ended_next else None
        near = [
            (abs(said.at - stored[i].at), k)
            for k, (draft, said) in enumerate(left[:spare])
            if _may_be(draft, stored[i]) and not (over and _began_after(draft, over))
        ]
        if not near:
            continue
        distance, k = min(near)
        later = [abs(left[k][1].at - stored[j].at) for j in which[n + 1 :]]
        if len(which) - n > len(left) and later and min(later) < distance:
            continue  # more was stored than told, and a later one fits better
        homes[i] = left[k][0]
        del left[: k + 1]


def _began_after(draft: _Draft, other: _Draft) -> bool:
    """Tell whether a lane began when another one of its host was over."""
    return bool(draft.host == other.host and draft.started and other.end and draft.started.at > other.end.at)


def _may_be(draft: _Draft, said: Observation) -> bool:
    """Tell whether a stored state can be of this lane: it may name the attempt, and STARTED names the host."""
    attempt = _attempt(said)
    if attempt is not None and attempt != draft.attempt:
        return False
    if said.host or not draft.host:
        return not draft.host or said.host == draft.host
    result = text_of(said.data.get("result")) if said.data["state"] == "STARTED" else ""
    return "'hostname': " not in result or repr(draft.host) in result


def _home(drafts: list[_Draft], current: _Draft | None, said: Observation, state: str) -> _Draft:
    """Find the lane of a stored state of which no event told, or make it."""
    after = drafts.index(current) + 1 if current else 0
    free = [draft for draft in drafts[after:] if not (draft.stored_end or draft.stored_start) and _may_be(draft, said)]
    over = current is not None and current.stored_end is not None
    if current and _may_be(current, said):
        if state == "STARTED":
            stays = not (over or current.stored_start or current.started)
        elif state in _STORED_ENDS:
            stays = not over or RETRY not in (state, _stored_state(current))
        else:
            stays = not over
        if stays:
            return current
    if state == "STARTED":
        found = next((draft for draft in free if not draft.started), None)
    else:
        found = next((draft for draft in free if not draft.end), None)
        if current is None and not found:
            found = next(iter(free), None)
    if found:
        return found
    attempt = _attempt(said)
    if attempt is None and current:
        attempt = (current.attempt or 0) + (_stored_state(current) == RETRY)
    elif attempt is None:
        attempt = max(0, (drafts[0].attempt or 0) - 1) if drafts else 0
    made = _Draft(attempt)
    drafts.insert(after, made)
    return made


def _host(draft: _Draft) -> str:
    """Return where it ran: whoever tells of a run tells it, but not every result does."""
    return draft.host or next((said.host for said in (draft.stored_start, draft.stored_end) if said and said.host), "")


def _stored_state(draft: _Draft) -> str:
    return str(draft.stored_end.data["state"]) if draft.stored_end else ""


# -- marks, spans and the task ----------------------------------------------------------------------------------------


class _Step:
    """A mark in the making; a firm one is told by the lane's own host."""

    __slots__ = ("at", "evidence", "firm", "note", "sources", "state")

    def __init__(self, state: str, at: float, sources: tuple[str, ...], note: str = "", firm: bool = False) -> None:
        self.state = state
        self.at = at
        self.sources = sources
        self.evidence: Evidence = "observed" if sources else "inferred"
        self.note = note
        self.firm = firm


_EVENT: tuple[str, ...] = ("event",)


def _steps(draft: _Draft, first: bool) -> list[_Step]:
    """Return what happened on a lane, the steps that must have happened among it."""
    received, started, end = draft.received, draft.started, draft.end
    stored_start, stored_end = draft.stored_start, draft.stored_end
    end_state = END_OF[end.kind] if end else ""
    stored_state = _stored_state(draft)
    ends = {end_state, stored_state}
    # Who returned, raised Retry or gave its message back has run; who failed or was revoked need not have.
    ran = bool(started or stored_start or not ends.isdisjoint(("SUCCESS", "RETRY", "REJECTED", "CANCELLED")))
    # A worker's own word, or a message, says that there was a message; a result alone can be stored by anybody.
    sent = bool(draft.messages or received or started or stored_start or end)

    steps: list[_Step] = []
    # A delivery that is not the first of its attempt has no message of its own.
    if draft.messages:
        senders = tuple(sorted({said.source for said in draft.messages}))
        steps.append(_Step("PENDING", min(said.at for said in draft.messages), senders))
    elif sent and first:
        steps.append(_Step("PENDING", -_NEVER, ()))
    steps.extend(_custom(said) for said in draft.stored_early)
    if received:
        steps.append(_Step("RECEIVED", received.at, _EVENT, firm=True))
    elif ran and sent:
        steps.append(_Step("RECEIVED", -_NEVER, ()))
    if ran:
        at = _start_by_runtime(end)
        if started and (at is None or started.at < at):
            at = started.at
        sources = _EVENT if started else ()
        if stored_start:
            sources = (*sources, stored_start.source)
        if at is not None:
            steps.append(_Step("STARTED", at, sources, firm=True))
        else:
            steps.append(_Step("STARTED", stored_start.at if stored_start else -_NEVER, sources))
    customs = [_custom(said) for said in draft.customs]
    if draft.stored_customs:
        customs.extend(_custom(said) for said in draft.stored_customs)
        customs.sort(key=lambda step: step.at)
    steps.extend(customs)

    if end and stored_end and end_state == stored_state:
        note = _end_note(end)
        # What a lost process raised is only known to the backend.
        if not note or note == "ExceptionWithTraceback()":
            note = _end_note(stored_end)
        steps.append(_Step(end_state, end.at, (*_EVENT, stored_end.source), note, firm=True))
    else:
        if end:
            steps.append(_Step(end_state, end.at, _EVENT, _end_note(end), firm=True))
        if stored_end:
            steps.append(_Step(stored_state, stored_end.at, (stored_end.source,), _end_note(stored_end)))
            if end and end_state not in _GIVEN_BACK:
                steps[-1].evidence = steps[-2].evidence = "contradicted"
    for other in draft.other_ends:
        state = END_OF.get(other.kind) or str(other.data["state"])
        for step in steps:
            if step.state in ENDS:
                step.evidence = "contradicted"
        steps.append(_Step(state, other.at, (other.source,), _end_note(other), firm=other.kind != "stored"))
        steps[-1].evidence = "contradicted"
    return steps


def _placed(steps: list[_Step]) -> None:
    """Move marks of other clocks between those of the lane's own host, so that time never goes back."""
    bound = _NEVER
    for step in reversed(steps):
        if step.firm:
            bound = step.at if step.at < bound else bound
        elif step.at > bound:
            _move(step, bound)
    # Where nothing says when an inferred step was, it was just before the next one.
    now = -_NEVER
    for i, step in enumerate(steps):
        if step.at == -_NEVER:
            step.at = next((later.at for later in steps[i:] if later.at != -_NEVER), now)
        if step.at < now:
            _move(step, now)
        now = step.at


def _move(step: _Step, to: float) -> None:
    if step.sources and not step.note and abs(step.at - to) > CLOCK_DOUBT:
        step.note = f"said {abs(step.at - to):.1f} s {'later' if step.at > to else 'earlier'} by another clock"
    step.at = to


def _spans(steps: list[_Step]) -> list[Span]:
    """Return the lane's stretches; one whose beginning is not known has none."""
    spans: list[Span] = []
    main = [step for step in steps if step.state in _KIND_OF_SPAN or step.state in _CLOSES]
    for step, after in zip(main, [*main[1:], None], strict=False):
        if not (kind := _KIND_OF_SPAN.get(step.state)):
            continue
        if not step.sources and step.state != "STARTED":
            continue
        if after is None or after.at > step.at or step.sources:
            spans.append(Span(kind, step.at, after.at if after else None))
    return spans


_KIND_OF_SPAN = {"PENDING": "waiting", "RECEIVED": "reserved", "STARTED": "running"}
_CLOSES = ENDS | _GIVEN_BACK | {"RETRY"}


def _built(
    task: str,
    drafts: list[_Draft],
    observations: Sequence[Observation],
    said: dict[str, str],
    stored: Sequence[Observation],
    around: Surroundings,
) -> Folded:
    strips: list[Strip] = []
    doubt: float | None = None
    delivery = 0
    before: _Draft | None = None
    for draft in drafts:
        delivery = delivery + 1 if before and before.attempt == draft.attempt else 0
        before = draft
        steps = _steps(draft, first=delivery == 0)
        if draft.stored_end and not draft.end and (until := _doubted(draft, steps, around)) is not None:
            doubt = until if doubt is None else min(doubt, until)
        _placed(steps)
        spans = _spans(steps)
        busy, unended = None, False
        if draft.host and spans and spans[-1].kind == "running":
            begin, end = spans[-1].begin, spans[-1].end
            if end is None:
                unended = True
                if (quiet := around.idle_since(draft.host, begin)) != _NEVER:
                    end = quiet
                    spans[-1] = Span("running", begin, end)
            busy = begin, _NEVER if end is None else end
        for step in steps:
            for source in step.sources:
                if source != "command":  # the broker's log has more to say than the lanes show
                    said[source] = step.state
        marks = tuple([Mark(step.state, step.at, step.evidence, step.sources, step.note) for step in steps])
        strips.append(Strip(draft.attempt or 0, delivery, _host(draft), marks, tuple(spans), _eta(draft), busy, unended))
    if len(strips) > 1:
        _link(strips)

    fields = _about(task, observations)
    fields["said"] = said
    if stored:
        fields["stored"] = str(stored[-1].data["state"])
    current = _current(strips)
    folded = Folded(task, strips, fields, doubt, stored_until=stored[-1].arrived if stored else -_NEVER)
    if current is None:
        fields["evidence"] = "inferred"  # PENDING is also what the backend says of what it does not know
        return folded
    mark = current.marks[-1]
    fields["state"], fields["evidence"] = mark.state, mark.evidence
    if mark.state in ENDS:
        fields["result"] = _result(drafts[strips.index(current)], mark.state)
    if mark.state not in _CLOSES and current is strips[-1]:
        last = drafts[-1]
        by_event = last.started is not None and all(draft.end for draft in drafts[:-1])
        by_result = len(drafts) == 1 or bool(last.stored_start or last.stored_customs)
        folded.grows = frozenset(name for name, may in (("event", by_event), ("result", by_result)) if may)
    return folded


def _doubted(draft: _Draft, steps: list[_Step], around: Surroundings) -> float | None:
    """Contradict a stored end of which the events know nothing; return the time until which that has to be waited for."""
    end, state = draft.stored_end, _stored_state(draft)
    if end is None or state not in ENDS:
        return None
    if draft.started:
        # The worker told that it ran. It goes on telling other things, and nothing of the end.
        due = end.arrived + GRACE
        contradicted = around.heard_until >= due and not around.missed(draft.started.at, end.arrived + GRACE)
    elif state == "FAILURE" and not (draft.messages or draft.received or draft.customs or draft.stored_start or draft.stored_customs):
        # Somebody listened, and there was no message and no run: it never ran, its chain broke before.
        due = end.arrived
        contradicted = around.heard_from <= due and not around.missed(-_NEVER, end.arrived)
    else:
        return None
    if contradicted:
        for step in steps:
            if step.state == state:
                step.evidence = "contradicted"
    return due


def _link(strips: list[Strip]) -> None:
    """Let backoff last until the next attempt starts, and close what a later delivery left behind."""
    next_start: float | None = None
    next_end: float | None = None
    for i in range(len(strips) - 1, -1, -1):
        strip = strips[i]
        last = strip.marks[-1]
        if last.state == "RETRY" and (i + 1 == len(strips) or strips[i + 1].attempt > strip.attempt):
            until = next_start if next_start is not None else next_end
            strip.spans = (*strip.spans, Span("backoff", last.at, None if until is None else max(last.at, until)))
        elif strip.spans and next_start is not None and last.state not in _CLOSES and strip.spans[-1].kind != "waiting":
            span = strip.spans[-1]
            end = max(span.begin, next_start)
            if span.end is None or end < span.end:
                strip.spans = (*strip.spans[:-1], Span(span.kind, span.begin, end))
                if strip.busy:
                    strip.busy = strip.busy[0], end
        next_end = last.at if last.state in _CLOSES else None
        # Of lanes without a start, such as one that was revoked, the later one's start still counts.
        next_start = next((mark.at for mark in strip.marks if mark.state == "STARTED"), None if next_end else next_start)


def _current(strips: list[Strip]) -> Strip | None:
    """Return the lane whose last mark is the task's state: the last one, unless an earlier attempt still runs.

    The message of a retry is out before the worker says that the attempt before has ended.
    """
    if not strips:
        return None
    last = strips[-1]
    if len(strips) > 1 and all(mark.state in ("PENDING", "RECEIVED") for mark in last.marks):
        before = strips[-2]
        if before.attempt < last.attempt and before.spans and before.spans[-1].kind == "running" and before.spans[-1].end is None:
            return before
    return last


def grown(folded: Folded, later: Sequence[Observation]) -> Folded | None:
    """Add custom states that are later than all else, without folding anew; None where that would not be the same."""
    if not folded.grows:
        return None
    strip = folded.strips[-1]
    marks = list(strip.marks)
    now = marks[-1].at
    fields = folded.fields
    said = dict(fields["said"])
    stored = folded.fields.get("stored", "")
    until = folded.stored_until
    for each in later:
        if each.source not in folded.grows:
            return None
        if each.source == "event":
            if each.host != strip.host or each.kind in _RANK:
                return None
        else:
            stored = str(each.data.get("state") or "")
            is_here = _attempt(each) in (None, strip.attempt) and (not each.host or each.host == strip.host)
            if each.kind != "stored" or not stored or stored in STATES or not is_here or each.arrived <= until:
                return None
            if any(name not in fields and any(map(each.data.get, keys)) for name, keys in (*_ABOUT, _PARENT)):
                return None
            until = each.arrived
        step = _custom(each)
        now = max(now, step.at)
        marks.append(Mark(step.state, now, "observed", step.sources, step.note))
        said[each.source] = step.state
    new = Strip(strip.attempt, strip.delivery, strip.host, tuple(marks), strip.spans, strip.eta, strip.busy, strip.unended)
    fields = fields | {"state": marks[-1].state, "said": said, "stored": stored}
    return Folded(folded.id, [*folded.strips[:-1], new], fields, folded.doubt, folded.grows, until)


# -- small readings ---------------------------------------------------------------------------------------------------


def _attempt(said: Observation) -> int | None:
    if said.attempt is not None:
        return said.attempt
    retries = said.data.get("retries")
    return retries if isinstance(retries, int) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < END_OF_TIME else None


def _start_by_runtime(end: Observation | None) -> float | None:
    runtime = _number(end.data.get("runtime")) if end else None
    return None if end is None or runtime is None else end.at - runtime


def _custom(said: Observation) -> _Step:
    if said.kind == "stored":
        return _Step(str(said.data["state"]), said.at, (said.source,), shortened(text_of(said.data.get("result"))))
    note = ", ".join(f"{name}={value!r}" for name, value in sorted(said.data.items()))
    return _Step(said.kind.upper().replace("-", "_"), said.at, _EVENT, shortened(note), firm=True)


def _outcome(said: Observation) -> str:
    name = "exception" if said.kind in ("failed", "retried") else "result"
    return text_of(said.data.get(name))


def _end_note(said: Observation) -> str:
    # Why it was revoked is told in the same words, whoever tells it first.
    if said.kind == "revoked":
        return "expired" if said.data.get("expired") else "terminated" if said.data.get("terminated") else "revoked"
    text = _outcome(said)
    if text.startswith("TaskRevokedError('"):
        text = text.removeprefix("TaskRevokedError('").removesuffix("')")
    return shortened(text)


def _result(draft: _Draft, state: str) -> str:
    ends = [said for said in (draft.end, draft.stored_end, *draft.other_ends) if said]
    texts = [_outcome(said) for said in ends if state in (END_OF.get(said.kind), said.data.get("state"))]
    return next((text for text in texts if text and text != "ExceptionWithTraceback()"), next(iter(texts), ""))


def _about(task: str, observations: Sequence[Observation]) -> dict[str, Any]:
    """Return what the task is: each field by the first who tells it."""
    fields: dict[str, Any] = {}
    missing: Sequence[tuple[str, tuple[str, ...]]] = _ABOUT
    names: list[str] = []
    for said in observations:
        data = said.data
        if said.kind not in _TELLS_ABOUT or (said.kind == "stored" and len(data) < 3):
            continue
        missing = [(name, keys) for name, keys in missing if not _tell(fields, name, keys, data)]
        # A retry names the task as its own parent.
        if "parent" not in fields and (parent := next(filter(None, map(data.get, _PARENT[1])), None)) and parent != task:
            fields["parent"] = text_of(parent)
        if said.kind != "stored" and (called := data.get("name")) and called not in names:
            names.append(called)
    if len(names) > 1:
        fields["extra"] = {"names": tuple(names)}
    return fields


def _tell(fields: dict[str, Any], name: str, keys: Sequence[str], data: Mapping[str, Any]) -> bool:
    """Set a field by the first of these keys that says something, and tell whether one did."""
    for key in keys:
        if value := data.get(key):
            fields[name] = text_of(value)
            return True
    return False


def _eta(draft: _Draft) -> float | None:
    for said in (draft.received, *draft.messages):
        if said and (eta := said.data.get("eta")):
            if isinstance(eta, int | float):
                return float(eta)
            try:
                when = datetime.fromisoformat(str(eta))
            except ValueError:
                continue
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    return None


def text_of(value: Any) -> str:
    """Return a text as it is, and the repr of anything else but None."""
    if isinstance(value, str):
        return value
    return "" if value is None else repr(value)


def shortened(text: str, limit: int = 60) -> str:
    """Cut a long text, and show that it was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"

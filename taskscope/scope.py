"""The front door: `Scope(app)` watches a Celery application, and draws what it saw."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from celery import Celery
from celery.backends.base import DisabledBackend
from celery.canvas import Signature
from celery.result import ResultBase, ResultSet
from kombu.transport import resolve_transport

from taskscope import canvas, xray
from taskscope.errors import ScopeError
from taskscope.film import COMMANDS, clock_notes, film, workers, xray_table
from taskscope.glance import Glance
from taskscope.history import History, count_transitions
from taskscope.ledger import Ledger
from taskscope.model import Task
from taskscope.neighbours import Neighbours, in_other_databases
from taskscope.observation import Observation
from taskscope.projector import Projector
from taskscope.receiver import Receiver
from taskscope.states import CALLED_OFF, ENDS
from taskscope.taps.commands import steps_of
from taskscope.view import PATIENCE, Plan, Recording, View
from taskscope.words import label, sentence, was_sent

log = logging.getLogger("taskscope")

QUIET = 0.1  # seconds without news; twice that, and a picture may be taken
STALLED = 5  # times the usual patience: for the word of a worker that does speak, and is kept from it by a busy machine
LATE = 1.0  # seconds after which a worker that told of nothing is believed to be silent
MOST = 100_000  # tasks that are remembered
LEFT_OVER = 1.0  # seconds by which a busy worker may tell late that a task has run
_OVER = ENDS | CALLED_OFF | {"RETRY"}
_RAN = frozenset({"started", "succeeded", "failed", "retried"})


class Scope:
    """What an application's tasks do, from now on: seen by the events of its workers, its result backend and its own publishing.

    Args:
        app: the application; anybody's will do.
        commands: also watch the commands that the broker gets (Redis only, and only where the server allows it).

    Raises:
        ScopeError: the broker can't be heard, or it is no Celery application.
    """

    def __init__(self, app: Celery, commands: bool = False) -> None:
        _can_be_watched(app)
        self.app = app
        self._lock = threading.RLock()
        self._read = 0
        self._unread = 0  # observations that were dropped before anybody looked
        self._history = History(limit=MOST)
        self._changed: dict[str, None] = {}
        self._neighbours = Neighbours(in_other_databases(app))
        self._aside: set[str] = set()  # tasks that can't be told, and of which the log has been told
        self._commands: deque[tuple[float, str]] = deque(maxlen=COMMANDS)
        self._silent: dict[str, float] = {}  # tasks of whose end no worker has told, and since when we know of it
        self.keeps_results = not isinstance(_backend(app), DisabledBackend)
        self.ledger = Ledger()
        self.projector = Projector(self)
        self._receiver = Receiver(app, self.ledger.append, commands).start()
        self._slots = _pools(app, len(self._receiver.workers))
        self._beginning = Beginning(time.time() + LEFT_OVER)
        self._glance = Glance(app)

    def __repr__(self) -> str:
        return f"Scope of {self.app.main or 'an application without a name'}"

    # -- the views -------------------------------------------------------------------------------------------------

    def stage(self) -> View:
        """Show where each task is: with the client, in the broker, in a worker, in the result backend."""
        return View(self, "stage")

    def lanes(self, *results: ResultBase, by: str = "attempt") -> View:
        """Show what happened when: a row for each attempt, or, with by="slot", for each process of a worker."""
        return View(self, "lanes", _ids(results), by=by)

    def states(self, *results: ResultBase) -> View:
        """Show the way that tasks took through the states."""
        return View(self, "states", _ids(results))

    def witnesses(self, *results: ResultBase) -> View:
        """Show who says what about tasks: the events, the result backend, the broker."""
        return View(self, "witnesses", _ids(results))

    def graph(self, signature: Signature) -> Plan:
        """Show what a canvas will do, before it is sent; send what this returns, as you would send the signature."""
        return Plan(self, canvas.plan(signature))

    def xray(self, *results: ResultBase) -> View:
        """Show what the broker and the result backend hold at this moment, all of it or what they hold of these tasks."""
        ids = _ids(results)
        asked = self.tasks(ids)
        snapshot = xray.xray(self.app, ids=ids, ended=[task.id for task in asked if task.state in ENDS])
        calls = {task.id: label(task) for task in asked if task.name}
        return View(self, "xray", xray=xray_table(snapshot.to_json(), snapshot.text(), calls))

    # -- what was seen ---------------------------------------------------------------------------------------------

    @property
    def status(self) -> list[str]:
        """What can be heard: one sentence for each witness."""
        return self._receiver.status

    @property
    def notes(self) -> list[str]:
        """What a reader of the pictures has to know: who can't be heard, and times in which something may have been missed."""
        return self.notes_on()

    def notes_on(self, ids: Iterable[str] | None = None) -> list[str]:
        """Return what a reader has to know of a picture of these tasks: silence about others is not said there."""
        with self._lock:
            self._fold()
            ids = None if ids is None else set(ids)
            names = self._silent.keys() if ids is None else ids & self._silent.keys()
            said = [line for line in self.status if ": not available: " in line and not line.startswith("commands")]
            due, telling = time.monotonic() - LATE, self._telling()
            if not self._unread and (silent := sum(self._silent[name] < due and not self._ran_on(telling, name) for name in names)):
                which = "a task" if silent == 1 else f"{silent} tasks"
                said.append(f"only the result backend told of the end of {which}: the events of that worker are off (start it with -E)")
            elif self._history.seen and not self._history.workers:
                said.append("no worker was heard: none runs, or it sends no events (start it with -E)")
            said += [*self._clock_notes(ids), *_gap_notes(self._history), *_aside_notes(self._history, ids)]
            if self._unread:
                said.append(
                    f"showing {self._read - self._unread} of {self._read} observations: the oldest were dropped before anybody looked"
                )
            if self._history.shown < self._history.seen:
                said.append(f"showing {self._history.shown} of {self._history.seen} tasks: the earliest are forgotten")
            return list(dict.fromkeys(said))

    def tasks(self, ids: Iterable[str] | None = None) -> list[Task]:
        """Return the tasks that were seen, or those with these ids."""
        with self._lock:
            self._fold()
            if ids is None:
                return self._history.tasks()
            return [self._task(name) for name in ids]

    def family(self, ids: Iterable[str]) -> list[str]:
        """Return these ids and those of all that these tasks sent, and so on."""
        found = dict.fromkeys(ids)
        for task in self.tasks():
            if task.parent in found:
                found[task.id] = None
        return list(found)

    def sentences(self) -> list[str]:
        """Return one line for each task, without ids and times."""
        return [sentence(task) for task in self.tasks()]

    def commands(self, since: float = 0.0) -> list[tuple[float, str]]:
        """Return the broker's last commands that moved a message or a result, from a Unix time on: when, and its text."""
        with self._lock:
            self._fold()
            return [one for one in self._commands if one[0] >= since]

    def workers(self) -> list[dict[str, Any]]:
        """Return the workers as a film wants them."""
        with self._lock:
            self._fold()
            return workers(self._history.workers, time.time(), self._slots)

    def queues(self) -> dict[str, dict[str, int]]:
        """Return how much each queue holds, by a glance into the broker; nothing where that is not possible."""
        tasks = self.tasks()
        running = [task.id for task in tasks if _runs(task)]  # before the look: who begins later may have been in it as taken
        try:
            return self._glance.counts({task.queue for task in tasks if task.queue}, running)
        except ScopeError:
            return {}

    @property
    def transitions(self) -> int:
        """How many steps of all tasks were seen."""
        with self._lock:
            self._fold()
            return count_transitions(self._history)

    def changed(self) -> list[str]:
        """Return the ids of the tasks that have changed since the last call."""
        with self._lock:
            self._fold()
            changed, self._changed = list(self._changed), {}
            return changed

    def settle(self, ids: Iterable[str] | None = None, timeout: float = PATIENCE) -> None:
        """Wait until the witnesses of these tasks agree and have nothing more to say.

        Args:
            ids: of the tasks; None for all.
            timeout: seconds, at most, for a witness that may never speak; for a worker that does, `STALLED` times as many.
        """
        wanted = None if ids is None else list(ids)
        begun, silences = time.monotonic(), 0
        # Two silences: whoever was held up for the first one finds what has come meanwhile before the second is over.
        while silences < 2:
            position = self.ledger.position
            with self._lock:
                restless = [task.id for task in self.tasks(wanted) if not _at_rest(task)]
                telling = self._telling()
                patience = timeout * STALLED if any(self._ran_on(telling, name) for name in restless) else timeout
            left = begun + patience - time.monotonic()
            if left <= 0:
                return
            silences = 0 if self.ledger.wait(position, min(QUIET, left)) or restless else silences + 1

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was observed to a file, one JSON object a line; what is of before, or of another database, is left out."""
        with self._lock:
            self._fold()
            left_out, until = {*self._neighbours.tasks, *self._beginning.tasks}, self._read
        self.ledger.save(path, left_out, until)  # what has come since was not looked at

    @classmethod
    def replay(cls, path: str | os.PathLike[str], view: str = "stage") -> Recording:
        """Play a file that `save` wrote; no broker is needed.

        Raises:
            ScopeError: it is not such a file.
        """
        ledger = Ledger.load(path)
        history = History()
        history.extend(ledger)
        notes = [note for note in (ledger.shown, ledger.trouble) if note]
        notes += [*clock_notes(history.workers), *_gap_notes(history), *_aside_notes(history)]
        shot = film(
            history.tasks(),
            workers=workers(history.workers, history.heard_until),
            notes=list(dict.fromkeys(notes)),
            commands=steps_of(ledger),
        )
        return Recording(shot, view)

    def close(self) -> None:
        """Stop listening; what was seen stays."""
        self.projector.close()
        self._receiver.close()
        self._glance.close()

    def _telling(self) -> set[str]:
        """Name the workers that are alive and tell of tasks: what they have not told yet they will."""
        now = time.time()
        return {host for host, worker in self._history.workers.items() if worker.tells and worker.alive_at(now)}

    def _ran_on(self, hosts: Collection[str], name: str) -> bool:
        """Tell whether one of these workers has run a task."""
        return bool(hosts) and any(lane.host in hosts for lane in self._task(name).lanes)

    def _clock_notes(self, ids: Iterable[str] | None) -> list[str]:
        known = self._history.workers
        said = clock_notes(known)
        if said and ids is not None:
            hosts = {lane.host for name in ids for lane in self._task(name).lanes}
            said = clock_notes({host: worker for host, worker in known.items() if host in hosts})
        return said

    def _task(self, name: str) -> Task:
        try:
            return self._history.task(name)
        except KeyError:
            return Task(id=name)

    def _fold(self) -> None:
        news, end = self.ledger.since(self._read)
        self._unread += end - self._read - len(news)
        self._read = end
        self._history.extend(self._neighbours.without(self._beginning.without(news), self._history))
        self._commands.extend(steps_of(news))
        for name, error in self._history.aside.items():
            if name not in self._aside:
                self._aside.add(name)
                log.error("the task %s can't be told: %s", name, error)
        if len(self._changed) > 2 * MOST:  # where nothing is live nobody asks; of what was forgotten nobody has to be told
            known = {task.id for task in self._history.tasks()}
            self._changed = {name: None for name in self._changed if name in known}
        for name in self._history.changed():
            self._changed[name] = None
            if not _is_told_by_result_alone(self._task(name)):
                self._silent.pop(name, None)
            else:
                self._silent.setdefault(name, time.monotonic())


class Beginning:
    """Keeps back what is left of the tasks of before: a busy worker tells late that one has run, and nothing else of it is heard."""

    def __init__(self, until: float) -> None:
        self._until = until
        self._begun: set[str] = set()
        self._kept_back: dict[str, list[Observation]] = {}

    @property
    def tasks(self) -> Collection[str]:
        """The tasks of which all that was heard is kept back."""
        return self._kept_back.keys()

    def without(self, news: Iterable[Observation]) -> list[Observation]:
        """Return what is of now, and what was kept back of tasks of which something else is told, or later."""
        ours: list[Observation] = []
        for said in news:
            if said.task is None:
                ours.append(said)
            elif self._is_left_over(said):
                self._kept_back.setdefault(said.task, []).append(said)
            else:
                if said.arrived < self._until:
                    self._begun.add(said.task)
                ours += [*self._kept_back.pop(said.task, ()), said]
        return ours

    def _is_left_over(self, said: Observation) -> bool:
        return said.arrived < self._until and said.source == "event" and said.kind in _RAN and said.task not in self._begun


def _gap_notes(history: History) -> list[str]:
    return [f"something may have been missed: {gap.why}" for gap in history.gaps]


def _aside_notes(history: History, ids: Collection[str] | None = None) -> list[str]:
    aside = [error for name, error in history.aside.items() if ids is None or name in ids]
    return [f"{len(aside)} task{'s' * (len(aside) > 1)} can't be told: {aside[0]}"] if aside else []


def _can_be_watched(app: Celery) -> None:
    if not isinstance(app, Celery):
        raise ScopeError(f"a scope watches a Celery application, and this is a {type(app).__name__}", "Scope(app)")
    try:
        resolve_transport(app.connection_for_read().transport_cls)
    except (KeyError, ImportError) as error:
        raise ScopeError(f"the broker can't be used: {error.args[0]}", "mend broker_url") from error


def _ids(results: Sequence[ResultBase]) -> list[str] | None:
    if not results:
        return None
    return list(dict.fromkeys(name for result in results for name in _names(result)))


def _names(result: ResultBase) -> Iterator[str]:
    """Give the ids behind a result, in the order in which they run: those before it, then its members, or its own."""
    if not isinstance(result, ResultBase):
        raise ScopeError(
            f"the picture is of results, and this is a {type(result).__name__}",
            "the result itself, or app.AsyncResult(id); of a list: *results",
        )
    # Not `as_list()`: a group has none, and that of a chord's result asks its group for one.
    if result.parent is not None:
        yield from _names(result.parent)
    if isinstance(result, ResultSet):
        for member in result.results:
            yield from _names(member)
    else:
        yield result.id


def _pools(app: Celery, count: int) -> dict[str, int]:
    """Ask so many workers how many processes they have; who does not answer at once is not waited for."""
    answers = app.control.broadcast("stats", reply=True, limit=count, timeout=0.3) if count else []
    return {host: stats.get("pool", {}).get("max-concurrency", 0) for answer in answers or [] for host, stats in answer.items()}


def _backend(app: Celery) -> Any:
    try:
        return app.backend
    except Exception:  # somebody else's; the tap of the results says what is wrong with it
        return None


def _is_told_by_result_alone(task: Task) -> bool:
    """Tell whether a task was sent and has ended, and no worker has said a word of it."""
    words = (mark for lane in task.lanes for mark in lane.marks if mark.state != "PENDING")
    return was_sent(task) and task.said.get("result") in ENDS and not any("event" in mark.sources for mark in words)


def _runs(task: Task) -> bool:
    return any(span.kind == "running" and span.end is None for lane in task.lanes for span in lane.spans)


def _at_rest(task: Task) -> bool:
    """Tell whether no witness has to catch up, and no end is still to come."""
    return _agreed(task) and not _runs_again(task) and not _runs_before(task)


def _agreed(task: Task) -> bool:
    """Tell whether what has ended for the backend has ended for the events, and the other way round."""
    event, result = task.said.get("event"), task.said.get("result")
    # The worker that holds a task for later tells that it was revoked when its time has come.
    waits_for_nobody = event is None or result is None or (event in ("PENDING", "RECEIVED") and result == "REVOKED")
    return waits_for_nobody or (event in ENDS) == (result in ENDS)


def _runs_again(task: Task) -> bool:
    """Tell whether a task has ended, and was sent once more under the same id: that end is still to come."""
    return task.state not in ENDS and any(lane.marks[-1].state in ENDS for lane in task.lanes[:-1])


def _runs_before(task: Task) -> bool:
    """Tell whether an attempt has not ended although there is a later one: the message of a retry is out before that."""
    before = {lane.attempt: [mark.state for mark in lane.marks] for lane in task.lanes if lane.attempt < task.lanes[-1].attempt}
    return any("STARTED" in states and states[-1] not in _OVER for states in before.values())

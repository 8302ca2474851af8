"""The front door: `Scope(app)` watches a Celery application, and draws what it saw."""

import os
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from celery import Celery
from celery.canvas import Signature
from celery.result import ResultBase

from taskscope import canvas, xray
from taskscope.errors import ScopeError
from taskscope.film import film, queues, workers, xray_table
from taskscope.history import History, count_transitions
from taskscope.ledger import Ledger
from taskscope.model import Task
from taskscope.projector import Projector
from taskscope.receiver import Receiver
from taskscope.stage import Stage
from taskscope.states import ENDS
from taskscope.view import Plan, View
from taskscope.words import sentence

QUIET = 0.15  # seconds without news, after which a picture may be taken
MOST = 100_000  # tasks that are remembered
PATIENCE = 2.0  # seconds that a picture waits for the witnesses to agree


class Scope:
    """What an application's tasks do, from now on: seen by the events of its workers, its result backend and its own publishing.

    Args:
        app: the application; anybody's will do.
        commands: also watch the commands that the broker gets (Redis only, and only where the server allows it).

    Raises:
        ScopeError: the broker can't be heard.
    """

    def __init__(self, app: Celery, commands: bool = False) -> None:
        self.app = app
        self._lock = threading.RLock()
        self._read = 0
        self._unread = 0  # observations that were dropped before anybody looked
        self._history = History(limit=MOST)
        self._changed: dict[str, None] = {}
        self.ledger = Ledger()
        self.projector = Projector(self)
        self._receiver = Receiver(app, self.ledger.append, commands).start()
        self._slots = _pools(app, len(self._receiver.workers))

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

    def xray(self) -> View:
        """Show what the broker and the result backend hold at this moment."""
        snapshot = xray.xray(self.app)
        return View(self, "xray", xray=xray_table(snapshot.to_json(), snapshot.text()))

    # -- what was seen ---------------------------------------------------------------------------------------------

    @property
    def status(self) -> list[str]:
        """What can be heard: one sentence for each witness."""
        return self._receiver.status

    @property
    def notes(self) -> list[str]:
        """What a reader of the pictures has to know: times in which something may have been missed."""
        with self._lock:
            self._fold()
            notes = [f"something may have been missed: {gap.why}" for gap in self._history.gaps]
            if self._unread:
                notes.append(
                    f"showing {self._read - self._unread} of {self._read} observations: the oldest were dropped before anybody looked"
                )
            if self._history.shown < self._history.seen:
                notes.append(f"showing {self._history.shown} of {self._history.seen} tasks: the earliest are forgotten")
            return list(dict.fromkeys(notes))

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

    def workers(self) -> list[dict[str, Any]]:
        """Return the workers as a film wants them."""
        with self._lock:
            self._fold()
            return workers(self._history.workers, time.time(), self._slots)

    def queues(self) -> dict[str, dict[str, int]]:
        """Return how much waits in each queue, by a look into the broker; nothing where that is not possible."""
        try:
            return queues(xray.xray(self.app).to_json())
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
        """Wait until the witnesses of these tasks agree and have nothing more to say, at most so many seconds."""
        wanted = None if ids is None else list(ids)
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            position = self.ledger.position
            at_rest = all(_at_rest(task) for task in self.tasks(wanted))
            if not self.ledger.wait(position, min(QUIET, left)) and at_rest:
                return

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything that was observed to a file, one JSON object a line."""
        self.ledger.save(path)

    @classmethod
    def replay(cls, path: str | os.PathLike[str], view: str = "stage") -> Stage:
        """Play a file that `save` wrote, as a widget; no broker is needed.

        Raises:
            ScopeError: it is not such a file.
        """
        ledger = Ledger.load(path)
        history = History()
        history.extend(ledger)
        notes = [note for note in (ledger.shown, ledger.trouble) if note]
        shot = film(history.tasks(), workers=workers(history.workers, history.heard_until), notes=notes)
        return Stage({**shot, "replay": True}, view)

    def close(self) -> None:
        """Stop listening; what was seen stays."""
        self.projector.close()
        self._receiver.close()

    def _task(self, name: str) -> Task:
        try:
            return self._history.task(name)
        except KeyError:
            return Task(id=name)

    def _fold(self) -> None:
        news, end = self.ledger.since(self._read)
        self._unread += end - self._read - len(news)
        self._read = end
        self._history.extend(news)
        self._changed.update(dict.fromkeys(self._history.changed()))


def _ids(results: Sequence[ResultBase]) -> list[str] | None:
    if not results:
        return None
    return list(dict.fromkeys(name for result in results for name in reversed(result.as_list())))


def _pools(app: Celery, count: int) -> dict[str, int]:
    """Ask so many workers how many processes they have; who does not answer at once is not waited for."""
    answers = app.control.broadcast("stats", reply=True, limit=count, timeout=0.3) if count else []
    return {host: stats.get("pool", {}).get("max-concurrency", 0) for answer in answers or [] for host, stats in answer.items()}


def _at_rest(task: Task) -> bool:
    """Tell whether no witness has to catch up: what has ended for the backend has ended for the events, and the other way round."""
    ended = {who: state in ENDS for who, state in task.said.items() if who in ("event", "result")}
    return len(set(ended.values())) < 2

"""Whose a stored result is: Redis publishes a result to all databases of a server, so those of other applications are heard, too."""

from collections.abc import Callable, Collection, Container, Sequence
from contextlib import suppress

from celery import Celery

from taskscope.errors import ScopeError
from taskscope.keyspace import Place, backend_of
from taskscope.observation import Observation

Ask = Callable[[Sequence[str]], set[str]]
"""Tell which of these tasks have their result in another database."""

MOST = 100_000  # tasks that are kept back


class Neighbours:
    """Keeps back what the result backend says of tasks of another database, for as long as nobody else speaks of them."""

    def __init__(self, elsewhere: Ask) -> None:
        self._elsewhere = elsewhere
        self._kept_back: dict[str, list[Observation]] = {}

    @property
    def tasks(self) -> Collection[str]:
        """The tasks of which all that was heard is kept back."""
        return self._kept_back.keys()

    def without(self, news: Sequence[Observation], known: Container[str]) -> list[Observation]:
        """Return what is ours of the news, and what was kept back of tasks of which a worker or a sender now speaks.

        Args:
            news: what was heard since the last call.
            known: the tasks of which something was heard before that is ours.
        """
        spoken = {said.task for said in news if said.source != "result"}
        by_result = {said.task: None for said in news if said.task and said.task not in spoken and said.task not in known}
        unjudged = [task for task in by_result if task not in self._kept_back]
        for task in self._elsewhere(unjudged) if unjudged else ():
            self._kept_back[task] = []
        ours: list[Observation] = []
        for said in news:
            if said.task in by_result and said.task in self._kept_back:
                self._kept_back[said.task].append(said)
            else:
                ours += [*self._kept_back.pop(said.task or "", ()), said]
        while len(self._kept_back) > MOST:
            del self._kept_back[next(iter(self._kept_back))]
        return ours


def in_other_databases(app: Celery) -> Ask:
    """Ask the result backend of an application, where it is a plain Redis; of a server that does not answer all is taken for ours."""

    def ask(tasks: Sequence[str]) -> set[str]:
        with suppress(ScopeError):
            place = backend_of(app)
            return _elsewhere(app, place, tasks) if place else set()
        return set()

    return ask


def _elsewhere(app: Celery, place: Place, tasks: Sequence[str]) -> set[str]:
    with place.open() as client:
        # Where no other database holds anything, a result that has gone was forgotten, or its time was over.
        if not client.info("keyspace").keys() - {f"db{place.parameters['db']}"}:
            return set()
        with client.pipeline(transaction=False) as pipe:
            for task in tasks:
                pipe.exists(app.backend.get_key_for_task(task))
            return {task for task, found in zip(tasks, pipe.execute(), strict=True) if not found}

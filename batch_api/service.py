"""What a request does: claim before sending, send what nobody has sent, and read what there is."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

from batch_api.outcomes import Outcome, Pair
from batch_api.problems import ProblemError, UnavailableError
from batch_api.sending import Sender
from batch_api.store import SENDING, Expired, Store, Task, Unknown


@dataclass(frozen=True)
class Receipt:
    """What became of a batch that was handed in; the last three count distinct pairs."""

    id: str
    task_ids: list[str]
    hits: int
    joined: int
    sent: int


class Service:
    """Takes batches, and says how far they are."""

    def __init__(self, store: Store, sender: Sender, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._sender, self._clock = store, sender, clock

    def check(self) -> None:
        """Ask the result backend and the broker whether they answer.

        Raises:
            UnavailableError: one of them does not.
        """
        self._store.ping()
        self._sender.ping()

    def submit(self, pairs: Sequence[Pair]) -> Receipt:
        """Take a batch, and send those of its pairs that nobody has sent before.

        Raises:
            UnavailableError: the broker or the backend does not answer. What was claimed is free to be sent by the next request.
        """
        distinct = list(dict.fromkeys(pairs))
        before = self._store.holders(distinct)
        outcomes = self._store.outcomes(list(before.values()))
        failed = {pair: id_ for pair, id_ in before.items() if outcomes[id_].has_failed}
        held = self._store.claim({pair: str(uuid4()) for pair in distinct}, failed)
        tasks = {id_: pair for pair, id_ in held.items()}
        done = {id_ for id_ in tasks if outcomes.get(id_, Outcome()).is_done}
        sent = self._send({id_: pair for id_, pair in tasks.items() if id_ not in done})
        group = str(uuid4())
        order = [held[pair] for pair in pairs]
        self._store.write_group(group, tasks, order)
        return Receipt(group, order, len(done), len(tasks) - len(done) - len(sent), len(sent))

    def group(self, id_: str) -> list[Task]:
        """Return the tasks of a batch as they are now, one for each pair of the request.

        Raises:
            ProblemError: the id was never given out, or has expired.
        """
        try:
            tasks = self._store.group(_known_form(id_))
        except Unknown:
            raise ProblemError(404, "no batch has this id") from None
        except Expired:
            raise ProblemError(410, "this batch has expired") from None
        self._heal(tasks)
        return tasks

    def task(self, id_: str) -> Task:
        """Return a task as it is now.

        Raises:
            ProblemError: the id was never given out, or has expired.
        """
        try:
            task = self._store.task(_known_form(id_))
        except Unknown:
            raise ProblemError(404, "no task has this id") from None
        except Expired:
            raise ProblemError(410, "this task has expired") from None
        self._heal([task])
        return task

    def _heal(self, tasks: Sequence[Task]) -> None:
        """Send what is not done and not leased: its message was never sent, or is lost."""
        try:
            self._send({task.id: task.pair for task in tasks if not task.outcome.is_done and not task.is_leased})
        except UnavailableError:  # the answer is known all the same; the next one who asks tries again
            return

    def _send(self, tasks: dict[str, Pair]) -> list[str]:
        """Send those of the tasks that nobody else is sending or has sent lately, and return their ids."""
        mine = self._store.lease(list(tasks))
        if not mine:
            return []
        sent: list[str] = []
        renewed = self._clock()
        try:
            for id_ in self._sender.send({id_: tasks[id_] for id_ in mine}):
                sent.append(id_)
                if self._clock() - renewed > SENDING / 4:  # a broker may be slow: nobody else is to send what we shall send
                    renewed = self._clock()
                    self._store.renew([id_ for id_ in mine if id_ not in sent])
        except UnavailableError:
            self._store.give_back([id_ for id_ in mine if id_ not in sent])
            raise
        finally:
            self._store.note_sent(sent)
        return sent


def _known_form(id_: str) -> str:
    """Return the id if it has the form of one that we give out."""
    try:
        if str(UUID(id_)) == id_:
            return id_
    except ValueError:
        pass
    raise Unknown

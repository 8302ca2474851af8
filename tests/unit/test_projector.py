"""The thread that feeds the live views: what comes after a pause goes out at once, what comes right after that waits."""

import queue
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from taskscope import projector
from taskscope.ledger import Ledger
from taskscope.observation import Observation
from taskscope.projector import Projector

SOON = 5.0  # seconds, on a busy machine


class _Screen:
    """Notes what it is fed."""

    def __init__(self) -> None:
        self.fed: queue.Queue[set[str]] = queue.Queue()
        self.stopped = threading.Event()
        self.stage = SimpleNamespace(comm="open")

    def feed(self, changed: set[str]) -> None:
        self.fed.put(changed)

    def stop(self) -> None:
        self.stopped.set()


class _Scope:
    """A ledger, and the tasks that it names."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._read = 0

    def changed(self) -> list[str]:
        news, self._read = self.ledger.since(self._read)
        return [said.task for said in news if said.task]


def test_the_first_news_waits_for_nobody_and_the_next_for_the_rest_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "BATCH", 60.0)
    monkeypatch.setattr(projector, "LOOK", 60.0)
    scope, screen = _Scope(), _Screen()
    feeding = Projector(cast("Any", scope))
    feeding._screens.append(cast("Any", screen))
    thread = threading.Thread(target=feeding._run, daemon=True)
    thread.start()
    scope.ledger.append(Observation("event", "received", 1.0, 1.0, task="a"))
    assert screen.fed.get(timeout=SOON) == {"a"}
    scope.ledger.append(Observation("event", "received", 2.0, 2.0, task="b"))
    with pytest.raises(queue.Empty):
        screen.fed.get(timeout=0.1)
    feeding.close()
    thread.join(SOON)
    assert not thread.is_alive(), "it ended in the midst of its rest"
    assert screen.stopped.is_set()

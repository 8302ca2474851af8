"""When a picture may be taken: who owes a word is waited for, and who never speaks is not."""

import threading
import time

import pytest

from taskscope import Scope, scope
from taskscope.observation import Observation

SOON = 20.0  # seconds, on a busy machine


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch, own_scope: Scope) -> Scope:
    """A scope that hears nobody but the test, and is very patient with a worker that does tell."""
    monkeypatch.setattr(scope, "STALLED", 1000)
    return own_scope


def hear(watching: Scope, *kinds: str, attempt: int = 0, host: str = "w@here", task: str = "a") -> None:
    """Have a worker say something of a task, or, in capital letters, the result backend."""
    for kind in kinds:
        now = time.time()
        if kind.isupper():
            said = Observation("result", "stored", now, now, task, host=host, data={"state": kind})
        else:
            # Celery's events name the attempt when it is received, and tell how long it ran when it has succeeded.
            of = None if kind.startswith("worker-") else task
            said = Observation("event", kind, now, now, of, attempt if kind == "received" else None, host, {"runtime": 0.0})
        watching.ledger.append(said)


def at_rest(watching: Scope, timeout: float) -> threading.Event:
    """Wait in another thread until the scope is at rest; the event tells that it is, or that its patience was over."""
    over = threading.Event()

    def wait() -> None:
        watching.settle(timeout=timeout)
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    return over


def test_the_end_of_an_attempt_that_has_a_later_one_is_waited_for(watching: Scope) -> None:
    """The message of a retry is out before the worker tells that the attempt has ended."""
    hear(watching, "received", "started")
    hear(watching, "received", "started", "SUCCESS", "succeeded", attempt=1)
    over = at_rest(watching, timeout=60)
    assert not over.wait(0.5)
    hear(watching, "retried")
    assert over.wait(SOON)
    assert watching.sentences() == ["a task: (PENDING) → RECEIVED → STARTED → RETRY → RECEIVED → STARTED → SUCCESS"]


def test_a_worker_that_tells_of_tasks_is_waited_for_beyond_the_usual_patience(watching: Scope) -> None:
    hear(watching, "received", "started", "SUCCESS")
    over = at_rest(watching, timeout=0.1)
    assert not over.wait(0.5)
    hear(watching, "succeeded")
    assert over.wait(SOON)


def test_a_worker_whose_events_are_off_is_not(watching: Scope) -> None:
    hear(watching, "worker-heartbeat")
    hear(watching, "sent", host="client@here")
    hear(watching, "STARTED", "SUCCESS")
    assert at_rest(watching, timeout=0.1).wait(SOON)


def test_a_worker_that_is_only_late_is_not_said_to_be_silent(watching: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope, "LATE", 0.0)
    hear(watching, "sent", host="client@here")
    hear(watching, "STARTED", "SUCCESS")
    assert "the events of that worker are off" in " ".join(watching.notes)
    hear(watching, "received", "started", task="b")
    assert watching.notes == []
    hear(watching, "worker-online")  # somebody has started it again, perhaps with other options
    assert "the events of that worker are off" in " ".join(watching.notes)

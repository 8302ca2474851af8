"""Interrupt code of a learner that takes too long: nothing may hang."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

_AGAIN = 5.0  # seconds until the next interruption, where one was swallowed: Python only prints what is raised in a `__del__`

_running = False  # a time limit is


class OutOfTime(BaseException):
    """The time is up; not an `Exception`, so that a learner's `except Exception` does not swallow it."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the block after a while; only the main thread, where cells run, can be interrupted.

    Raises:
        OutOfTime: the block was still busy.
    """
    global _running
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, interrupt)
    _running = True
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _running = False
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def not_counted() -> Iterator[None]:
    """Stop the clock of a time limit inside the block, which ends by itself: no code of a learner can hurry a worker's start."""
    if not _running or threading.current_thread() is not threading.main_thread():
        yield
        return
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        if left:
            signal.setitimer(signal.ITIMER_REAL, left, _AGAIN)

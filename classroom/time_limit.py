"""Interrupt code of a learner that takes too long: nothing may hang."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class OutOfTime(BaseException):
    """The time is up; not an `Exception`, so that a learner's `except Exception` does not swallow it."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Interrupt the block after a while; only the main thread, where cells run, can be interrupted.

    Raises:
        OutOfTime: the block was still busy.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

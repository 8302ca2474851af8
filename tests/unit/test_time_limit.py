"""A learner's code is interrupted, and not for what it cannot hurry."""

import threading
from contextlib import suppress

import pytest

from classroom import time_limit as module
from classroom.time_limit import OutOfTime, not_counted, time_limit

FOREVER = threading.Event()


def test_a_block_that_is_busy_is_interrupted() -> None:
    with pytest.raises(OutOfTime), time_limit(0.1):
        FOREVER.wait(10)


def test_the_clock_stands_still_where_somebody_else_takes_his_time() -> None:
    with time_limit(0.3):
        with not_counted(), not_counted():
            FOREVER.wait(0.5)
        passed = True
    assert passed


def test_after_that_the_clock_goes_on() -> None:
    with pytest.raises(OutOfTime), time_limit(0.3):
        with not_counted():
            pass
        FOREVER.wait(10)


def test_where_one_is_swallowed_another_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN", 0.2)
    swallowed = False
    with pytest.raises(OutOfTime), time_limit(0.1):
        with suppress(OutOfTime):
            FOREVER.wait(10)
        swallowed = True
        with not_counted():
            pass
        FOREVER.wait(10)
    assert swallowed


def test_without_a_limit_there_is_no_clock() -> None:
    with not_counted():
        pass
    with time_limit(5):
        pass

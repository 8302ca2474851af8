"""What can be set from outside, each from one environment variable, and what follows from Celery's own settings."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from celery import Celery

_A_DAY = 86_400


class BadSettingError(Exception):
    """A setting has a value that the service cannot work with."""


@dataclass(frozen=True)
class Settings:
    """How the service behaves.

    `task_seconds`: a task takes a random time between these two.
    `requests`: how many requests a client may make, in the words of the `limits` library; empty for any number.
    `lost_after`: seconds after which a task that nobody heard of again is sent anew; then twice as many, and so on.
    `remembered`: seconds for which an expired id is still told from one that never was.
    `patience`: seconds after which the result backend counts as one that does not answer; the broker has a bit less, and twice.
    """

    task_seconds: tuple[float, float] = (3.0, 10.0)
    requests: str = "100 per second"
    lost_after: int = 60
    remembered: int = 7 * _A_DAY
    patience: float = 1.0

    def __post_init__(self) -> None:
        low, high = self.task_seconds
        if not 0 <= low <= high:
            raise BadSettingError(f"BATCH_TASK_SECONDS: {low:g}-{high:g} is no span of time; write for example 3-10")
        if self.lost_after <= high:
            raise BadSettingError(f"BATCH_LOST_AFTER: {self.lost_after} s is not longer than a task may take, {high:g} s")
        if self.remembered < 1:
            raise BadSettingError("BATCH_REMEMBERED: at least one second")
        if not 0 < self.patience <= 60:
            raise BadSettingError(f"BATCH_PATIENCE: {self.patience:g} s; more than 0, and 60 at most")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the variables `BATCH_TASK_SECONDS`, `BATCH_REQUESTS`, `BATCH_LOST_AFTER`, `BATCH_REMEMBERED` and `BATCH_PATIENCE`.

        Raises:
            BadSettingError: one of them makes no sense.
        """
        usual = cls()
        return cls(
            _span(environment.get("BATCH_TASK_SECONDS", "")) or usual.task_seconds,
            environment.get("BATCH_REQUESTS", usual.requests),
            _whole("BATCH_LOST_AFTER", environment.get("BATCH_LOST_AFTER", str(usual.lost_after))),
            _whole("BATCH_REMEMBERED", environment.get("BATCH_REMEMBERED", str(usual.remembered))),
            _number("BATCH_PATIENCE", environment.get("BATCH_PATIENCE", str(usual.patience))),
        )


@dataclass(frozen=True)
class Lives:
    """How long things are good for, in seconds.

    A batch may find a task that was sent up to `claim` seconds ago, and then lives for `batch` seconds itself.
    Together these are the life of a result, so the results of a living batch are always there.
    """

    claim: int
    batch: int

    @property
    def task(self) -> int:
        """How long a task's id is good for: at most as long as its result is stored."""
        return self.claim + self.batch


def lives(app: Celery) -> Lives:
    """Divide the time for which Celery keeps a result into the two that the service needs."""
    expires = app.conf.result_expires
    seconds = int(expires.total_seconds() if isinstance(expires, timedelta) else expires or _A_DAY)
    if seconds < 2:
        raise BadSettingError(f"result_expires: {seconds} s is too short for anybody to fetch a result")
    return Lives(claim=seconds // 2, batch=seconds - seconds // 2)


def _span(text: str) -> tuple[float, float] | None:
    if not text:
        return None
    low, _, high = text.partition("-")
    try:
        return float(low), float(high or low)
    except ValueError:
        raise BadSettingError(f"BATCH_TASK_SECONDS: {text!r} is no span of time; write for example 3-10") from None


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise BadSettingError(f"{name}: {text!r} is not a whole number of seconds") from None


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadSettingError(f"{name}: {text!r} is not a number of seconds") from None

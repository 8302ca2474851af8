"""Tasks that show what can happen to a task: it fails, tries again, reports progress, waits, says nothing, or says what it got."""

import time
from typing import Any, TypedDict

from celery import Task

from tutorial_tasks.celery_app import app
from tutorial_tasks.settings import key_prefix


@app.task
def fail(message: str = "this task always fails") -> None:
    """Raise a `ValueError` with the given message."""
    raise ValueError(message)


@app.task(bind=True, max_retries=None)
def flaky(self: Task, until: int, pause: float = 0.2) -> int:
    """Fail until attempt number `until`, trying again after `pause` seconds, then return that number.

    Attempts count from 1, so `flaky(1)` never fails.
    """
    attempt: int = self.request.retries + 1
    if attempt < until:
        raise self.retry(exc=ConnectionError(f"attempt {attempt} of {until} failed"), countdown=pause)
    return attempt


@app.task(bind=True)
def count_to(self: Task, n: int, pause: float = 0.2) -> int:
    """Count to `n` with a pause of so many seconds before each number, and report each as PROGRESS."""
    for done in range(1, n + 1):
        time.sleep(pause)
        self.update_state(state="PROGRESS", meta={"done": done, "total": n})
    return n


@app.task(ignore_result=True)
def say_nothing(value: Any = None) -> Any:
    """Return a value that nobody stores: the result is ignored."""
    return value


class Gate:
    """A gate with a name, closed until somebody opens it; it lives in the result backend, so every process sees it.

    An open gate is a list with one token. Whoever waits takes the token and puts it back in the same
    step, so one opening lets everybody through.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._key = f"{key_prefix}gate:{name}"
        self._redis = app.backend.client

    def open(self) -> None:
        """Let everybody through, those who wait now and those who come within the next hour."""
        with self._redis.pipeline() as pipe:
            pipe.delete(self._key).rpush(self._key, "open").expire(self._key, 3600).execute()

    def close(self) -> None:
        """Hold everybody who comes from now on."""
        self._redis.delete(self._key)

    def wait(self, timeout: float) -> None:
        """Wait until the gate is open.

        Raises:
            TimeoutError: it stayed closed for `timeout` seconds.
        """
        # In turns of at most a second, so that the connection's own time limit is never met; 0 would mean for ever.
        # The last turn comes after the time is up, for a gate that opened while this process was frozen.
        deadline = time.monotonic() + timeout
        left = timeout
        while not self._redis.blmove(self._key, self._key, max(min(left, 1.0), 0.01), "LEFT", "RIGHT"):
            if left <= 0:
                raise TimeoutError(
                    f"the gate {self.name!r} stayed closed for {timeout:g} s; "
                    f"open it with: from tutorial_tasks.lifecycle import Gate; Gate({self.name!r}).open()"
                )
            left = deadline - time.monotonic()


@app.task
def wait_at_gate(name: str, timeout: float = 60) -> str:
    """Wait until the gate with this name is open, at most `timeout` seconds, then return the name."""
    Gate(name).wait(timeout)
    return name


class Echo(TypedDict):
    """What `echo` got: a value, and the name of the type that it had when it came to the worker."""

    type: str
    value: Any


@app.task
def echo(value: Any) -> Echo:
    """Return the value, and say what type it came as."""
    return {"type": type(value).__name__, "value": value}


@app.task
def meet(name: str, other: str, timeout: float = 5) -> str:
    """Wait until `other` is here too, at most `timeout` seconds, then return whom `name` met.

    Each leaves a note for the other and takes the one that was left, so two tasks can meet only
    while both of them run. Who gives up takes the own note away again.
    """
    mine = f"{key_prefix}note:{name}:{other}"
    theirs = f"{key_prefix}note:{other}:{name}"
    redis = app.backend.client
    redis.rpush(mine, "I am here")
    redis.expire(mine, int(timeout) + 1)  # the note of a task that is killed goes by itself
    if redis.blpop([theirs], max(timeout, 0.01)):  # 0 would mean for ever
        return f"{name} met {other}"
    redis.delete(mine)
    return f"{name} met nobody"

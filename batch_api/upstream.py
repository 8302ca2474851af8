"""The servers behind the service, and what is remembered of one that hangs: waited for by each request, it would soon hold all threads."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

import redis

from batch_api.problems import UnavailableError

DOWN = 1.0  # seconds for which a server that kept somebody waiting is not asked again


class Upstream:
    """The broker or the result backend, as one that may be down.

    Args:
        name: what it is called in an answer.
        errors: what its client raises when it is not there.
        clock: tells the seconds.
    """

    def __init__(self, name: str, errors: tuple[type[Exception], ...], clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._errors, self._clock = name, errors, clock
        self._lock = Lock()
        self._down_until: float | None = None

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Ask it something in this block, unless it is known to hang.

        A server that refuses costs nothing, so only one that let somebody wait is remembered. After a moment one request
        tries it again, and the others are still refused until that one knows.

        Raises:
            UnavailableError: it does not answer, or did not just now.
        """
        with self._lock:
            now = self._clock()
            if self._down_until is not None:
                if now < self._down_until:
                    raise UnavailableError(self._name)
                self._down_until = now + DOWN
        try:
            yield
        except self._errors as error:
            self._down_until = self._clock() + DOWN if _was_waited_for(error) else None
            raise UnavailableError(self._name) from error
        self._down_until = None


def _was_waited_for(error: BaseException | None) -> bool:
    """Tell whether time ran out: libraries wrap that into errors of their own."""
    while error:
        if isinstance(error, TimeoutError | redis.TimeoutError):
            return True
        error = error.__cause__ or error.__context__
    return False

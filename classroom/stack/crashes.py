"""When to stop starting a thing again that keeps dying."""

import time

_CRASHES, _WINDOW = 5, 60.0  # so many crashes in so many seconds are enough


class Crashes:
    """The crashes of the last minute."""

    def __init__(self) -> None:
        self._moments: list[float] = []

    def one_more(self) -> bool:
        """Count one, and tell whether they are too many now."""
        now = time.monotonic()
        self._moments = [moment for moment in self._moments if now - moment < _WINDOW] + [now]
        return len(self._moments) > _CRASHES

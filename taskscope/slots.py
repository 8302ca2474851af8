"""Which of a worker's processes a task ran in, inferred: events do not tell it.

A task takes the lowest slot that is free when it starts, and frees it at its end. So a slot is a place in a picture, not a process
id; as many slots are busy as tasks ran at once, and that number is true.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator

Place = tuple[str, int, int]  # task, attempt, delivery
Stay = tuple[float, Place, float]  # from, who, until

# A worker may tell the start of the next task this much before the end of the last one, although they ran in one process.
SLACK = 0.005
_STEP = 64


class Slots:
    """The slots of one host."""

    def __init__(self) -> None:
        self.of: dict[Place, int] = {}
        self._stays: list[Stay] = []  # in order
        self._until: dict[Place, tuple[float, float]] = {}
        self._kept: list[tuple[float, ...]] = [()]  # when each slot gets free, before every 64th stay
        self._dropped: set[Place] = set()
        self._from = math.inf  # index of the first stay that is new or changed

    def __iter__(self) -> Iterator[Stay]:
        return iter(self._stays)

    def set(self, place: Place, busy: tuple[float, float] | None) -> None:
        """Say when somebody held a slot, or that he held none."""
        old = self._until.get(place)
        if old == busy:
            return
        if old is not None:
            i = bisect_left(self._stays, (old[0], place, old[1]))
            del self._stays[i]
            del self._until[place]
            self.of.pop(place, None)
            self._from = min(self._from, i)
        if busy is not None:
            stay = (busy[0], place, busy[1])
            i = bisect_left(self._stays, stay)
            self._stays.insert(i, stay)
            self._until[place] = busy
            self._from = min(self._from, i)

    def drop(self, place: Place) -> None:
        """Forget who it was; the slot stays taken for that time, so nobody else moves."""
        busy = self._until.get(place)
        if busy is None:
            return
        if busy[1] == math.inf:  # its end would never be heard
            self.set(place, None)
            return
        self._dropped.add(place)
        # Whole steps that are forgotten go; what they left is where the next one starts.
        steps = 0
        while (steps + 1) < len(self._kept) and all(stay[1] in self._dropped for stay in self._stays[steps * _STEP : (steps + 1) * _STEP]):
            steps += 1
        if steps and self._from >= steps * _STEP:
            for _, gone, _ in self._stays[: steps * _STEP]:
                self._dropped.discard(gone)
                del self._until[gone], self.of[gone]
            del self._stays[: steps * _STEP], self._kept[:steps]
            self._from -= steps * _STEP

    def settle(self) -> Iterable[str]:
        """Give everybody a slot, and return the tasks whose slots are new or others."""
        if self._from == math.inf:
            return ()
        first = min(int(self._from) // _STEP, len(self._kept) - 1)
        del self._kept[first + 1 :]
        free = list(self._kept[first])
        moved = set()
        for i in range(first * _STEP, len(self._stays)):
            if i % _STEP == 0 and i // _STEP == len(self._kept):
                self._kept.append(tuple(free))
            begin, place, end = self._stays[i]
            slot = _lowest(free, begin)
            if slot == len(free):
                free.append(end)
            else:
                free[slot] = max(end, free[slot])
            if self.of.get(place) != slot + 1:
                self.of[place] = slot + 1
                moved.add(place[0])
        self._from = math.inf
        return moved

    @property
    def count(self) -> int:
        """Return how many slots were ever in use at once."""
        return max(self.of.values(), default=0)


def _lowest(free: list[float], begin: float) -> int:
    for slot, since in enumerate(free):
        if since <= begin:
            return slot
    nearly = [(since, slot) for slot, since in enumerate(free) if since <= begin + SLACK]
    return min(nearly)[1] if nearly else len(free)

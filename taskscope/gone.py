"""What is not kept any more: counted for ever, known by name for as long as somebody may still speak of it."""

from collections.abc import Iterable


class Gone:
    """Names that are gone, in at most twice `limit` places of some 100 bytes, however many there were: `len` counts them all."""

    limit = 100_000  # the last ones, at least, are known by name

    def __init__(self) -> None:
        self._count = 0
        self._last: set[str] = set()
        self._before: set[str] = set()

    def __len__(self) -> int:
        return self._count

    def __contains__(self, name: object) -> bool:
        return name in self._last or name in self._before

    def update(self, names: Iterable[str]) -> None:
        """Let these be gone, each once."""
        for name in names:
            if name in self:
                continue
            if len(self._last) >= self.limit:
                self._before, self._last = self._last, set()
            self._last.add(name)
            self._count += 1

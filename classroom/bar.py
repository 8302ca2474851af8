"""A bar that shows how far something is: it grows by itself in a live notebook, and is words where a notebook is stored."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from taskscope.live import is_live

if TYPE_CHECKING:
    from ipywidgets import IntProgress

_LOOK_EVERY = 0.1  # seconds
_GIVE_UP_AFTER = 600.0  # seconds without a change: somebody may read on before running the next cell


class Bar:
    """So many of so many: whoever shows it in a live notebook sees it grow, also while a cell runs."""

    def __init__(self, total: int, count: Callable[[], int]) -> None:
        self.total = total
        self.count = count

    def __repr__(self) -> str:
        return f"{self.count()} of {self.total}"

    def _repr_mimebundle_(self, **_: Any) -> Any:
        if not is_live():
            return {"text/plain": repr(self)}
        from ipywidgets import IntProgress, Layout  # a widget is loaded where one is shown

        widget = IntProgress(max=self.total, description=repr(self), layout=Layout(width="90%"), style={"description_width": "initial"})
        # A thread, because the cells after this one keep the kernel busy.
        threading.Thread(target=self.follow, args=(widget,), daemon=True).start()
        return widget._repr_mimebundle_()

    def follow(self, widget: "IntProgress") -> None:
        """Keep a widget up to date until all are there, or until nothing has changed for a while."""
        changed = time.monotonic()
        while widget.value < self.total and time.monotonic() - changed < _GIVE_UP_AFTER:
            with suppress(Exception):  # what is asked may be away for a moment, such as a service that starts again
                if (now := min(self.count(), self.total)) > widget.value:
                    widget.value, widget.description = now, f"{now} of {self.total}"
                    changed = time.monotonic()
            time.sleep(_LOOK_EVERY)

"""What a live picture has in a notebook: a widget, with a still beside it for those who look when the kernel is gone."""

import threading
import time
from typing import TYPE_CHECKING, Any

from taskscope import contents
from taskscope.contents import MARK
from taskscope.film import Film
from taskscope.stage import Stage
from taskscope.stills import Still

if TYPE_CHECKING:
    from taskscope.view import Picture

BRIEFLY = 0.3  # seconds that a still waits for the witnesses to agree; whoever looks is not kept waiting until all is at rest


class Output:
    """A picture that was displayed. Its still is renewed when all is at rest, until a later cell shows another picture.

    Then both go back to the moment at which the picture's own cell had run, for that is what the text below it tells of.
    """

    def __init__(self, picture: "Picture", widget: Stage) -> None:
        from IPython.core.getipython import get_ipython
        from IPython.display import display

        self._picture = picture
        self._widget = widget
        self._lock = threading.Lock()  # the projector's thread renews, the notebook's own steps back
        self._shown = self._then = self._still(picture.film(BRIEFLY))
        data, metadata = with_still(widget, self._shown)
        self._handle = display(data, metadata=metadata, raw=True, display_id=True)
        widget.on_rest, widget.on_past = self._renew, self._step_back
        shell = get_ipython()
        assert shell, "what is live is in a notebook"
        self._events = shell.events
        self._events.register("post_run_cell", self._end)

    def _still(self, film: Film) -> Still:
        return Still(film, self._picture.view, by=self._picture.by)

    def _end(self, *_result: object) -> None:
        """Note what the picture shows when its cell has run."""
        self._events.unregister("post_run_cell", self._end)
        film = self._picture.shot()
        if repr(self._still(film)) != repr(self._then):  # it was displayed first, and then more was done; its words have no times
            film = self._picture.film(BRIEFLY)
            self._then = self._still(film)
        self._widget.note_moment(time.time(), film)

    def _renew(self) -> None:  # in the projector's thread, which has others to feed: it waits for nobody
        with self._lock:
            if not self._widget.is_past:
                self._show(self._still(self._picture.shot()))

    def _step_back(self) -> None:
        with self._lock:
            self._show(self._then)

    def _show(self, still: Still) -> None:
        if still != self._shown:
            self._shown = still
            data, metadata = with_still(self._widget, still)
            self._handle.update(data, metadata=metadata, raw=True)


def with_still(widget: Stage, still: Still) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a notebook's output that is a widget for those who can show it, and else the still; it names the process that feeds it."""
    found = widget._repr_mimebundle_()
    live = found[0] if isinstance(found, tuple) else found
    data, metadata = still._repr_mimebundle_()
    kept = {kind: content for kind, content in data.items() if kind != "image/svg+xml"}
    return {**(live or {}), **kept}, {**metadata, MARK: contents.this_process()}

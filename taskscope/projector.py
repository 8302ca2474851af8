"""The thread that feeds the live views of a scope: changes at once, the whole picture now and then."""

import logging
import threading
import time
from typing import TYPE_CHECKING

from taskscope.stage import Stage
from taskscope.view import View

if TYPE_CHECKING:
    from taskscope.scope import Scope

log = logging.getLogger("taskscope")

BATCH = 0.01  # seconds of rest after a batch, at least: what comes after a pause is sent at once
KEYFRAME = 1.0  # seconds between two keyframes, at least
REST = 2.0  # seconds for which a picture goes on after its last task has ended
LOOK = 0.25  # seconds between two looks at what nobody announces: a gate's counter, the length of a queue


class _Screen:
    """A view that is shown live."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.camera = view.camera()
        view.take(self.camera, view.subjects())
        self.stage = Stage(self.camera.film(live=True), view.view, view.by, whole=view.ids is None)
        self.keyframe_at = self.news_at = self.looked_at = time.monotonic()
        self.is_behind = False  # something was pushed since the last keyframe
        self.goes_on = True  # the clock of the picture

    def feed(self, changed: set[str]) -> None:
        """Send what is new of the tasks that this view shows."""
        now = time.monotonic()
        mine = changed & set(ids) if (ids := self.view.subjects()) is not None else changed
        look = now - self.looked_at >= LOOK  # it costs the broker a round trip or more
        if mine or (self.goes_on and look):
            if look:
                self.looked_at = now
            changes = self.view.take(self.camera, sorted(mine), look)
            if changes["upserts"] or changes.keys() - {"now", "origin", "of", "upserts"}:
                self.stage.push(changes)
                self.is_behind, self.news_at = True, now
        # When all has ended the clock stands still: a picture that only grows emptier helps nobody.
        goes_on = now - self.news_at < REST or (self.goes_on and self.camera.goes_on)
        if goes_on != self.goes_on or (self.is_behind and now - self.keyframe_at >= KEYFRAME):
            self.stage.keyframe(self.camera.film(live=goes_on))
            self.keyframe_at, self.goes_on, self.is_behind = now, goes_on, False
            if not goes_on and self.stage.at_rest:
                self.stage.at_rest()

    def stop(self) -> None:
        """Send the picture as it is, with its clock standing still."""
        if self.stage.comm is not None:
            self.view.take(self.camera, self.view.subjects())
            self.stage.keyframe(self.camera.film())
            if self.stage.at_rest:
                self.stage.at_rest()


class Projector:
    """Feeds every live view of one scope from one thread, which ends when no view is left or the scope is closed."""

    def __init__(self, scope: "Scope") -> None:
        self._scope = scope
        self._screens: list[_Screen] = []
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def show(self, view: View) -> Stage:
        """Return a live widget of a view; what happens from now on is sent to it."""
        screen = _Screen(view)
        with self._lock:
            self._screens.append(screen)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="taskscope projector", daemon=True)
                self._thread.start()
        return screen.stage

    def close(self) -> None:
        """Feed nothing any more."""
        self._closed.set()

    def _run(self) -> None:
        position = 0
        rested = 0.0  # when the last batch is long enough ago
        while not self._closed.is_set():
            self._scope.ledger.wait(position, LOOK)
            if self._closed.wait(max(0.0, rested - time.monotonic())):
                break
            begun = time.monotonic()
            position = self._scope.ledger.position
            changed = set(self._scope.changed())
            with self._lock:
                screens = self._screens = [screen for screen in self._screens if screen.stage.comm is not None]
                if not screens:
                    self._thread = None
                    return
            for screen in screens:
                try:
                    screen.feed(changed)
                except Exception:  # a picture that fails must not take the others along
                    log.exception("a live view could not be fed")
            rested = time.monotonic() + max(BATCH, time.monotonic() - begun)  # half of the time is the notebook's own
        for screen in self._screens:
            try:
                screen.stop()
            except Exception:
                log.exception("a live view could not be stopped")

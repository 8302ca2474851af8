"""The thread that feeds the live views of a scope: changes at once, the whole picture now and then."""

import logging
import threading
import time
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from taskscope.stage import Stage
from taskscope.view import View

if TYPE_CHECKING:
    from taskscope.scope import Scope

log = logging.getLogger("taskscope")

BATCH = 0.01  # seconds of rest after a batch, at least: what comes after a pause is sent at once
KEYFRAME = 1.0  # seconds between two keyframes, at least
SHARE = 0.05  # of the time, at most, goes into keyframes: those of many tasks come less often
REST = 2.0  # seconds for which a picture goes on after its last task has ended
SELDOM = 2.0  # seconds between two batches where nobody looks: a kernel that is busy hears late that somebody looks again
LOOK = 0.25  # seconds between two looks at what nobody announces: a gate's counter, the length of a queue


class _Screen:
    """A view that is shown live."""

    def __init__(self, view: View, live: bool = True) -> None:
        self.view = view
        self.camera = view.camera()
        view.take(self.camera, view.subjects())
        self.stage = Stage(self.camera.film(live=live), view.view, view.by, whole=view.ids is None)
        self.keyframe_at = self.news_at = self.looked_at = self.fed_at = time.monotonic()
        self.keyframe_cost = 0.0  # seconds that the last one took
        self.is_behind = False  # something was pushed since the last keyframe
        self.goes_on = True  # the clock of the picture
        # What has changed and was not taken in, in its order. None is everything: something may have come while we were made.
        self.due: dict[str, None] | None = None
        self.is_failing = False

    def feed(self, changed: Iterable[str]) -> None:
        """Send what is new of the tasks that this view shows."""
        now = time.monotonic()
        if self.due is not None:
            self.due |= dict.fromkeys(changed)
        is_looked_at = self.stage.is_looked_at
        if not is_looked_at and now - self.fed_at < SELDOM:
            return
        self.fed_at = now
        mine = self._due_here()
        if mine is None or mine:
            self._push(self.view.take(self.camera, mine, look=False))
        self.due = {}
        # What is known goes first: a look costs the broker a round trip or more.
        if (mine or self.goes_on) and now - self.looked_at >= LOOK:
            self._push(self.view.take(self.camera, [], look=True))
            self.looked_at = time.monotonic()
        # When all has ended the clock stands still: a picture that only grows emptier helps nobody.
        goes_on = now - self.news_at < REST or (self.goes_on and self.camera.goes_on)
        is_due = now - self.keyframe_at >= max(KEYFRAME, self.keyframe_cost / SHARE)
        if goes_on != self.goes_on or (self.is_behind and is_due and is_looked_at):  # all of it at rest, or at once for who comes back
            self._keyframe(goes_on)

    def step_back(self) -> None:
        """Let it show what was there when its cell had run, if that is over and there was anything."""
        then, begin = self.stage.then, self.camera.origin
        if then is not None and not self.stage.is_past and (self.view.plan or (begin is not None and begin <= then)):
            self.stage.step_back()

    def stop(self) -> None:
        """Send the picture as it is, with its clock standing still; nothing comes after it, so it steps back."""
        if self.stage.comm is not None:
            self.view.take(self.camera, self.view.subjects())
            self.step_back()
            self._keyframe(goes_on=False)

    def _due_here(self) -> list[str] | None:
        """Return what is due of the tasks in view; None for all tasks."""
        if self.due == {}:
            return []
        ids = self.view.subjects()
        if self.due is None or ids is None:
            return ids if self.due is None else list(self.due)
        here = set(ids)
        return [name for name in self.due if name in here]

    def _push(self, changes: dict[str, Any]) -> None:
        if changes.get("all"):
            self.news_at = time.monotonic()
            self._keyframe(self.goes_on)
        elif changes["upserts"] or changes.keys() - {"now", "origin", "of", "upserts"}:
            self.stage.push(changes)
            self.is_behind, self.news_at = True, time.monotonic()

    def _keyframe(self, goes_on: bool) -> None:
        begun = time.monotonic()
        self.stage.keyframe(self.camera.film(live=goes_on))
        self.keyframe_at, self.goes_on, self.is_behind = time.monotonic(), goes_on, False
        self.keyframe_cost = self.keyframe_at - begun
        if not goes_on and self.stage.on_rest:
            self.stage.on_rest()


class Projector:
    """Feeds every live view of one scope from one thread, which ends when no view is left or the scope is closed."""

    _all: ClassVar["weakref.WeakSet[Projector]"] = weakref.WeakSet()

    def __init__(self, scope: "Scope") -> None:
        self._all.add(self)
        self._scope = scope
        self._screens: list[_Screen] = []  # the one that was shown last comes first: it is the one that is looked at
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def show(self, view: View) -> Stage:
        """Return a live widget of a view; what happens from now on is sent to it, unless the scope is closed.

        The pictures that earlier cells have of the same application step back: of what goes on now this one tells, and the text below
        each of them of its own moment.
        """
        for other in list(self._all):
            if other._scope.app is self._scope.app:
                for earlier in list(other._screens):
                    earlier.step_back()
        screen = _Screen(view, live=not self._closed.is_set())
        with self._lock:
            if not self._closed.is_set():
                self._screens.insert(0, screen)
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="taskscope projector", daemon=True)
                    self._thread.start()
        return screen.stage

    def close(self) -> None:
        """Feed nothing any more."""
        with self._lock:
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
            changed = self._changed()
            with self._lock:
                screens = self._screens = [screen for screen in self._screens if screen.stage.comm is not None]
                if not screens:
                    self._thread = None
                    return
            for screen in screens:
                try:
                    screen.feed(changed)
                    screen.is_failing = False
                except Exception:  # a picture that fails must not take the others along; what it missed is still due
                    if not screen.is_failing:  # it is tried again soon, and says so once
                        log.exception("a live view could not be fed")
                    screen.is_failing = screen.is_behind = True  # what was taken in and not sent comes with the next keyframe
            rested = time.monotonic() + max(BATCH, time.monotonic() - begun)  # half of the time is the notebook's own
        for screen in self._screens:
            try:
                screen.stop()
            except Exception:
                log.exception("a live view could not be stopped")

    def _changed(self) -> list[str]:
        try:
            return self._scope.changed()
        except Exception:  # else one task that can't be folded would end every picture
            log.exception("what has changed could not be told")
            return []

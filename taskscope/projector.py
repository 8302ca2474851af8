"""The thread that feeds the live views of a scope: changes at once, the whole picture now and then."""

import threading
import time
import weakref
from typing import TYPE_CHECKING

from taskscope.stage import Stage
from taskscope.view import View

if TYPE_CHECKING:
    from taskscope.scope import Scope

BATCH = 0.04  # seconds between two batches
KEYFRAME = 1.0  # seconds between two keyframes, at least
LOOK = 0.25  # seconds after which a gate is looked at again, though nothing was heard


class _Screen:
    """A view that is shown live."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.camera = view.camera()
        view.take(self.camera, view.subjects())
        self.stage = Stage(self.camera.film(live=True), view.view, view.by)
        self.keyframe_at = time.monotonic()
        self.is_behind = False  # something was pushed since the last keyframe

    def feed(self, changed: set[str]) -> None:
        """Send what is new of the tasks that this view shows."""
        mine = changed & set(ids) if (ids := self.view.subjects()) is not None else changed
        changes = self.view.take(self.camera, sorted(mine))
        if changes.keys() - {"now", "origin", "of", "upserts"} or changes["upserts"]:
            self.stage.push(changes)
            self.is_behind = True
        if self.is_behind and time.monotonic() - self.keyframe_at >= KEYFRAME:
            self.stage.keyframe(self.camera.film(live=True))
            self.keyframe_at = time.monotonic()
            self.is_behind = False


class Projector:
    """Feeds every live view of one scope from one thread, which ends with the scope."""

    def __init__(self, scope: "Scope") -> None:
        self._scope = weakref.ref(scope)
        self._screens: list[_Screen] = []
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def show(self, view: View) -> Stage:
        """Return a live widget of a view; what happens from now on is sent to it."""
        screen = _Screen(view)
        with self._lock:
            self._screens.append(screen)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="taskscope projector", daemon=True)
                self._thread.start()
        return screen.stage

    def _run(self) -> None:
        pause = threading.Event()
        position = 0
        while scope := self._scope():
            scope.ledger.wait(position, LOOK)
            position = scope.ledger.position
            pause.wait(BATCH)
            changed = set(scope.changed())
            with self._lock:
                screens = self._screens = [screen for screen in self._screens if screen.stage.comm is not None]
                if not screens:
                    self._thread = None
                    return
            for screen in screens:
                screen.feed(changed)
            del scope

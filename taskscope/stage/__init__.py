"""The live view: one widget that draws the film in the browser, fed by batches and now and then a keyframe."""

import json
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from taskscope import paint
from taskscope.film import Film
from taskscope.states import TABLE

_HERE = Path(__file__).parent
_IMPORT = re.compile(r"^import .*\n", re.MULTILINE)


def _module() -> str:
    """Return the widget's JavaScript as one module: its files one after the other, with the table of states in front."""
    parts = [(_HERE / name).read_text(encoding="utf-8") for name in ("model.mjs", "crowd.mjs", "scenes.mjs", "stage.js")]
    states = json.dumps(json.loads(TABLE.read_text(encoding="utf-8")), ensure_ascii=False)
    return "\n".join([f"const STATES = {states};", *(_IMPORT.sub("", part) for part in parts)])


class Stage(anywidget.AnyWidget):
    """A film that plays in the notebook while it is shot.

    Batches are lost where no browser looks; a keyframe holds everything up to its `seq`, so the picture is whole again with the
    next one. Both may come from any thread.
    """

    _esm = _module()
    _css = paint.css() + "\n" + (_HERE / "stage.css").read_text(encoding="utf-8")

    film = traitlets.Unicode().tag(sync=True)  # as JSON: ipywidgets would look through a dict, part by part, for buffers to send apart
    view = traitlets.Unicode("stage").tag(sync=True)
    by = traitlets.Unicode("attempt").tag(sync=True)
    whole = traitlets.Bool(True).tag(sync=True)  # all tasks are in view: else nothing can be said of who was busy
    then = traitlets.Float(None, allow_none=True).tag(sync=True)  # the Unix time at which its cell had run
    parts_then = traitlets.Unicode("{}").tag(sync=True)  # and what the film said then of things of which only the last is kept, as JSON
    is_past = traitlets.Bool(False).tag(sync=True)  # a later cell has another picture, so this one shows that moment

    def __init__(self, film: Film | None = None, view: str = "stage", by: str = "attempt", whole: bool = True) -> None:
        self._lock = threading.Lock()
        self.on_rest: Callable[[], None] | None = None  # what is to be done when there is nothing new for a while
        self.on_past: Callable[[], None] | None = None  # and when it steps back
        self._seq = 0
        self._looking: int | None = None  # pictures of it in browsers; None until the first one says that it is there
        super().__init__(film=json.dumps({**(film or {}), "seq": 0}), view=view, by=by, whole=whole)
        self.on_msg(self._hear)

    @property
    def is_looked_at(self) -> bool:
        """Whether there may be a picture of it in a browser; false when the last one has said that it is gone."""
        return self._looking is None or self._looking > 0

    def _hear(self, _stage: "Stage", said: Mapping[str, Any], _buffers: object) -> None:
        with self._lock:  # it is told in whatever thread the kernel hears it
            self._looking = (self._looking or 0) + said.get("more", 0)

    def note_moment(self, at: float, film: Film) -> None:
        """Keep when its cell had run, a Unix time, and what was known then of workers and queues: of them a film knows only what is."""
        self.parts_then = json.dumps({part: film[part] for part in ("workers", "queues", "notes")})
        self.then = at

    def step_back(self) -> None:
        """Show again what was there when its cell had run."""
        self.is_past = True
        if self.on_past:
            self.on_past()

    def push(self, changes: Mapping[str, Any]) -> None:
        """Send what `Camera.take` returned."""
        with self._lock:
            self._seq += 1
            self.send({"seq": self._seq, **changes})

    def keyframe(self, film: Film) -> None:
        """Send the whole film, for those who missed a batch; at most once a second, and at the end."""
        with self._lock:
            self.film = json.dumps({**film, "seq": self._seq})

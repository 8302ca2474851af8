"""A view of what a scope saw: a notebook shows it live while it runs, and as a still where it is stored."""

import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celery.result import ResultBase

from taskscope.canvas import Plan as Planned
from taskscope.errors import ScopeError
from taskscope.film import Camera, Film
from taskscope.gate import gate
from taskscope.stills import Still, text, to_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taskscope.scope import Scope

STILLS = "TASKSCOPE_STILLS"
"""The environment variable that asks for stills where a live view would be possible: for notebooks that are to be stored."""


class View:
    """One view of a scope, of all its tasks or of some."""

    def __init__(
        self,
        scope: "Scope",
        view: str,
        ids: Sequence[str] | None = None,
        by: str = "attempt",
        plan: Planned | None = None,
        xray: Mapping[str, Any] | None = None,
    ) -> None:
        self.scope = scope
        self.view = view
        self.ids = ids
        self.by = by
        self.plan = plan
        self.xray = xray

    def camera(self) -> Camera:
        """Return a camera that has everything in view which does not change."""
        camera = Camera()
        if self.plan:
            camera.plan(self.plan.graph.to_json())
        return camera

    def subjects(self) -> Sequence[str] | None:
        """Return the ids of the tasks in view, with those that a planned one sent by itself; None for all."""
        return self.scope.family(self.ids) if self.plan and self.ids is not None else self.ids

    def film(self) -> Film:
        """Return all that was seen as plain JSON, once the witnesses agree."""
        self.scope.settle(self.subjects())
        camera = self.camera()
        self.take(camera, self.subjects())
        return camera.film()

    def take(self, camera: Camera, ids: Sequence[str] | None, look: bool = True) -> dict[str, Any]:
        """Let a camera take tasks in, those with these ids, and look at what nobody announces; return what that changed."""
        tasks = self.scope.tasks(ids)
        unknown = 0 if self.plan or self.ids is None else sum(not task.lanes for task in self.scope.tasks(self.ids))
        notes = [*self.scope.notes, *([f"{unknown} more: no witness has said anything"] if unknown else [])]
        if self.plan:
            notes += self.plan.notes
            if look:
                self._count(camera)
        return camera.take(
            [task for task in tasks if task.lanes],
            now=time.time(),
            workers=self.scope.workers(),
            notes=notes,
            xray=self.xray,
            queues=self.scope.queues() if look and self.view == "stage" else None,
        )

    def still(self, theme: str = "light", width: int = 700) -> Still:
        """Return the view as it is now."""
        return Still(self.film(), self.view, theme, width, self.by)

    def figure(self) -> "Figure":
        """Return the lanes as a matplotlib figure, for papers and slides."""
        return to_figure(self.film())

    def __repr__(self) -> str:
        return text(self.film(), self.view)

    def _repr_mimebundle_(self, **_: Any) -> Any:
        if not _is_live():
            return self.still()._repr_mimebundle_()
        found = self.scope.projector.show(self)._repr_mimebundle_()
        data, metadata = found if isinstance(found, tuple) else (found, {})
        return {**(data or {}), "text/plain": repr(self)}, metadata

    def _count(self, camera: Camera) -> None:
        assert self.plan
        for box in self.plan.graph.boxes:
            if box.kind == "header" and box.known:
                with contextlib.suppress(ScopeError):  # another backend has no counter; the picture counts what it saw
                    camera.count(box.id, gate(self.scope.app, box.id).counted, time.time())


class Plan(View):
    """The graph of a canvas; send it as you would send the signature from which it was made."""

    def __init__(self, scope: "Scope", plan: Planned) -> None:
        super().__init__(scope, "graph", sorted(plan.graph.ids()), plan=plan)
        self.signature = plan.signature

    def apply_async(self, *args: Any, **kwargs: Any) -> ResultBase:
        """Send it; arguments as for the signature's own `apply_async`."""
        return self.signature.apply_async(*args, **kwargs)

    def delay(self, *args: Any, **kwargs: Any) -> ResultBase:
        """Send it; arguments as for the signature's own `delay`."""
        return self.signature.delay(*args, **kwargs)


def _is_live() -> bool:
    """Tell whether there is a notebook with somebody in front of it."""
    if os.environ.get(STILLS) or "ipykernel" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython

    return hasattr(get_ipython(), "kernel")

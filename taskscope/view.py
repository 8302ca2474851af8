"""A view of what a scope saw: a notebook shows it live while it runs, and as a still where it is stored."""

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from celery.result import ResultBase

from taskscope.canvas import Plan as Planned
from taskscope.errors import ScopeError
from taskscope.film import Camera, Film
from taskscope.gate import gate
from taskscope.live import is_live
from taskscope.output import Output
from taskscope.stage import Stage
from taskscope.stills import Still, text, to_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from taskscope.scope import Scope

PATIENCE = 2.0  # seconds that a picture which is to be stored waits for the witnesses to agree


class Picture(ABC):
    """A film in one view: a widget where somebody looks at a notebook, a still where it is stored, sentences everywhere."""

    def __init__(self, view: str, by: str = "attempt") -> None:
        self.view = view
        self.by = by

    @abstractmethod
    def shot(self) -> Film:
        """Return all that is to be seen at this moment, as plain JSON."""

    def film(self, patience: float = PATIENCE) -> Film:  # noqa: ARG002 - a recording is at rest
        """Return all that is to be seen, once there is nothing more to wait for, or so many seconds have passed."""
        return self.shot()

    @abstractmethod
    def widget(self) -> Stage:
        """Return it as a widget."""

    def still(self, theme: str = "light", width: int = 700) -> Still:
        """Return the view as it is now."""
        return Still(self.film(), self.view, theme, width, self.by)

    def figure(self) -> "Figure":
        """Return the lanes as a matplotlib figure, for papers and slides."""
        return to_figure(self.film())

    def __repr__(self) -> str:
        return text(self.film(), self.view)

    def _repr_mimebundle_(self, **_: Any) -> Any:
        return self.still()._repr_mimebundle_()

    def _ipython_display_(self) -> None:
        """Show the widget where somebody looks, with the still beside it for those who look when the kernel is gone."""
        if not is_live():
            raise NotImplementedError  # then IPython asks for the still alone
        Output(self, self.widget())


class Recording(Picture):
    """A recorded run, which plays without a broker."""

    def __init__(self, film: Film, view: str) -> None:
        super().__init__(view)
        self._film = film

    def shot(self) -> Film:
        """Return the whole run."""
        return self._film

    def widget(self) -> Stage:
        """Return a widget that plays it from its beginning."""
        return Stage({**self._film, "replay": True}, self.view, self.by)


class View(Picture):
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
        super().__init__(view, by)
        self.scope = scope
        self.ids = ids
        self.plan = plan
        self.xray = xray

    def camera(self) -> Camera:
        """Return a camera that has everything in view which does not change."""
        camera = Camera()
        if self.plan:
            camera.plan(self.plan.graph.to_json())
        return camera

    def subjects(self) -> list[str] | None:
        """Return the ids of the tasks in view, with those that a planned one sent by itself; None for all."""
        if self.ids is None:
            return None
        return self.scope.family(self.ids) if self.plan else list(self.ids)

    def film(self, patience: float = PATIENCE) -> Film:
        """Return all that was seen, once the witnesses agree, or so many seconds have passed."""
        self.scope.settle(self.subjects(), patience)
        return self.shot()

    def shot(self) -> Film:
        """Return all that was seen so far."""
        camera = self.camera()
        self.take(camera, self.subjects())
        return camera.film()

    def take(self, camera: Camera, ids: Sequence[str] | None, look: bool = True) -> dict[str, Any]:
        """Let a camera take tasks in, those with these ids, and look at what nobody announces; return what that changed."""
        tasks = self.scope.tasks(ids)
        has_rows = self.plan or self.view == "witnesses"  # for those of whom nobody has said anything, too
        unknown = 0 if has_rows or self.ids is None else sum(not task.lanes for task in self.scope.tasks(self.ids))
        of_them = f"{unknown} more" if any(task.lanes for task in tasks) else f"{unknown} task{'s' * (unknown > 1)}"
        notes = [*self.scope.notes_on(self.subjects()), *([f"{of_them}: no witness has said anything"] if unknown else [])]
        if self.plan:
            notes += self.plan.notes
            if look:
                self._count(camera)
        return camera.take(
            [task for task in tasks if task.lanes or (self.view == "witnesses" and self.ids is not None)],
            now=time.time(),
            workers=self.scope.workers(),
            notes=notes,
            xray=self.xray,
            keeps=self.scope.keeps_results,
            queues=self.scope.queues() if look and self.view == "stage" else None,
            commands=self.scope.commands(camera.commanded) if self.ids is None else (),
        )

    def widget(self) -> Stage:
        """Return a widget to which is sent what happens from now on."""
        return self.scope.projector.show(self)

    def _count(self, camera: Camera) -> None:
        assert self.plan
        for box in self.plan.graph.boxes:
            if box.kind == "header" and box.known:
                with contextlib.suppress(ScopeError):  # another backend has no counter; the picture counts what it saw
                    found = gate(self.scope.app, box.id)
                    # An open gate has thrown its counter away, and between two looks nobody may have seen it full.
                    camera.count(box.id, len(box.counts) if found.state == "open" else found.counted, time.time())


class Plan(View):
    """The graph of a canvas; send it as you would send the signature from which it was made."""

    def __init__(self, scope: "Scope", plan: Planned) -> None:
        super().__init__(scope, "graph", sorted(plan.graph.ids()), plan=plan)
        self.signature = plan.signature
        self._was_sent = False

    def apply_async(self, *args: Any, **kwargs: Any) -> ResultBase:
        """Send it; arguments as for the signature's own `apply_async`, but for `task_id`: who is who stands in the graph already.

        Raises:
            ScopeError: it was sent before, or another id is asked for.
        """
        if "task_id" in kwargs:
            raise ScopeError("this graph has given out its ids already", "scope.graph(signature.set(task_id=...))")
        return self._send_once(self.signature.apply_async, *args, **kwargs)

    def delay(self, *args: Any, **kwargs: Any) -> ResultBase:
        """Send it; arguments as for the signature's own `delay`.

        Raises:
            ScopeError: it was sent before.
        """
        return self._send_once(self.signature.delay, *args, **kwargs)

    def _send_once(self, send: Callable[..., ResultBase], *args: Any, **kwargs: Any) -> ResultBase:
        """Refuse a second time: it would have the ids, and so the results, of the first."""
        if self._was_sent:
            raise ScopeError("this graph was sent already, and each of its tasks has one id", "scope.graph(signature), and send that")
        result = send(*args, **kwargs)
        self._was_sent = True
        return result

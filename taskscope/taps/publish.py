"""Our own publishing: what this process sends for an app. It needs no events, and knows of groups what events don't say."""

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from celery import Celery
from celery._state import _get_active_apps, get_current_app
from celery.signals import after_task_publish, before_task_publish

from taskscope.observation import Observation
from taskscope.taps import plain

UNCERTAIN = 1000  # messages at most of which we know that they were to be sent, and not yet that they were

_KEPT = {
    "task": "name",
    "argsrepr": "args",
    "kwargsrepr": "kwargs",
    "eta": "eta",
    "expires": "expires",
    "group": "group",
    "group_index": "group_index",
    "root_id": "root_id",
    "parent_id": "parent_id",
    "shadow": "shadow",
    "replaced_task_nesting": "nesting",
}


def observation_of(headers: Any, body: Any, routing_key: Any, exchange: Any, began: float, sent: float) -> Observation | None:
    """Turn what the publish signals say into an observation; None for what is no task.

    Its `at` is the moment before sending: a worker that is quick has the message before we know that it is gone.
    """
    fields = headers if isinstance(headers, Mapping) and "task" in headers else body if isinstance(body, Mapping) else {}
    task = plain.kept_once(fields.get("id"))
    if task is None:
        return None
    kept = {ours: fields.get(theirs) for theirs, ours in _KEPT.items()}
    if not kept["nesting"]:
        kept["nesting"] = None
    if fields is body:  # the first version of the protocol carries the arguments themselves
        kept |= {"args": plain.shown(tuple(fields.get("args") or ())), "kwargs": plain.shown(fields.get("kwargs") or {})}
    elif kept["args"] is None and isinstance(body, (list, tuple)) and len(body) >= 2:
        kept |= {"args": plain.shown(tuple(body[0])), "kwargs": plain.shown(body[1])}
    kept |= {"queue": routing_key if isinstance(routing_key, str) else None, "took": round(sent - began, 6)}
    name = getattr(exchange, "name", exchange)
    kept |= {"exchange": name if isinstance(name, str) else None}
    return Observation(
        source="publish",
        kind="published",
        at=began,
        arrived=sent,
        task=task,
        attempt=plain.count(fields.get("retries")),
        host=plain.kept_once(fields.get("origin")) or "",
        data=plain.data(kept),
    )


class PublishTap:
    """Note what this process publishes for an app."""

    name = "publishing"

    def __init__(self, app: Celery, say: Callable[[Observation], None]) -> None:
        self._app = app
        self._say = say
        self._process = os.getpid()
        self._begun: OrderedDict[tuple[str, int | None], float] = OrderedDict()  # its `popitem` is one step, whatever other threads send
        self._is_on = False

    def start(self) -> None:
        """Connect to the signals of Celery; strongly, for a weak connection would end with this line."""
        before_task_publish.connect(self._before, weak=False)
        after_task_publish.connect(self._after, weak=False)
        self._is_on = True

    def close(self) -> None:
        """Let go of the signals."""
        before_task_publish.disconnect(self._before)
        after_task_publish.disconnect(self._after)
        self._is_on = False

    @property
    def status(self) -> str:
        """One sentence for a person."""
        return f"{self.name}: {'on' if self._is_on else 'off'}"

    def _before(self, headers: Any = None, body: Any = None, declare: Any = None, sender: Any = None, **_: Any) -> None:
        # A fork has our handlers, but nobody who would read; and a lock may be held there for ever.
        if os.getpid() != self._process or not is_of(self._app, sender, declare):
            return
        while len(self._begun) >= UNCERTAIN:  # those that could not be sent
            self._begun.popitem(last=False)
        self._begun[_key(headers, body)] = time.time()

    def _after(self, headers: Any = None, body: Any = None, routing_key: Any = None, exchange: Any = None, **_: Any) -> None:
        began = self._begun.pop(_key(headers, body), None)
        if began is None:
            return
        observation = observation_of(headers, body, routing_key, exchange, began, time.time())
        if observation is not None:
            self._say(observation)


def is_of(app: Celery, sender: Any, declare: Any) -> bool:
    """Tell whether a message is sent for this app: the signal does not say for which one.

    The queue that it goes to is an object of one app's. Without one (a bare exchange, a queue made by hand) the task's name has
    to do, and last, which app is the current one.
    """
    for candidate in [app, *_get_active_apps()]:
        amqp = vars(candidate).get("amqp")  # only where it is in use; to ask for it would make it
        if amqp is not None and any(amqp.queues.get(getattr(queue, "name", None)) is queue for queue in declare or ()):
            return bool(candidate is app)
    return sender in app.tasks or get_current_app() is app


def _key(headers: Any, body: Any) -> tuple[str, int | None]:
    fields = headers if isinstance(headers, Mapping) and "id" in headers else body if isinstance(body, Mapping) else {}
    return str(fields.get("id")), plain.count(fields.get("retries"))

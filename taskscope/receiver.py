"""The receiver: all taps of one app, started together, proven to listen, and shared by everybody in this process who watches it."""

import _thread
import atexit
import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable

from celery import Celery

from taskscope.errors import ScopeError
from taskscope.observation import Observation, Unread
from taskscope.taps.commands import CommandsTap
from taskscope.taps.events import EventsTap, broker_name
from taskscope.taps.listener import Listener
from taskscope.taps.publish import PublishTap
from taskscope.taps.results import ResultsTap, redis_backend

Append = Callable[[Observation | Unread], None]
"""Where a receiver puts what is observed; it is called from several threads."""

NEXT = "start the broker, or say where it is: export CELERY_BROKER_URL=..., or the app's broker_url"

PROVING = 0.9  # of the time to start; the rest is for letting go when it was in vain

log = logging.getLogger("taskscope")


class Receiver:
    """Whatever the witnesses of an app say, from `start` to `close`.

    Two receivers of one app share its taps: each transition is heard once, and handed to both. `commands` adds the
    broker's own commands, which is a look at everything that the server is told.
    """

    def __init__(self, app: Celery, ledger_append: Append, commands: bool = False) -> None:
        self._app = app
        self._append = ledger_append
        self._commands = commands
        self._taps: _Taps | None = None
        self._release: weakref.finalize[..., Receiver] | None = None

    def start(self, timeout: float = 5) -> "Receiver":
        """Return when every tap is proven to listen, or has said that it can't.

        Raises:
            ScopeError: the broker did not let itself be heard within `timeout` seconds.
        """
        if self._taps is None or not self._taps.is_ours():
            taps = _join(self._app, self._append)
            self._taps = taps
            # Whoever forgets to close is closed when the receiver is gone; what is left at the end of the process, then.
            self._release = weakref.finalize(self, _leave_from_anywhere, taps, self._append)
            self._release.atexit = False
        try:
            self._taps.listen(self._commands, timeout)
        except BaseException:
            self.close()
            raise
        return self

    @property
    def status(self) -> list[str]:
        """One sentence on each tap, for a person."""
        taps = self._taps  # looked at once: another thread may close us
        if taps is None:
            return ["events: off", "results: off", "publishing: off", "commands: off"]
        if not taps.is_ours():
            return ["this process is a fork: the taps are those of its parent"]
        return taps.status

    @property
    def workers(self) -> list[str]:
        """The node names of the workers that were heard."""
        taps = self._taps
        return taps.events.workers if taps else []

    def close(self) -> None:
        """Stop listening; the taps end with the last receiver of the app."""
        taps, release, self._release, self._taps = self._taps, self._release, None, None
        if taps and release and release.detach():
            _leave(taps, self._append)


class _Taps:
    """The taps of one app in this process, and everybody who wants to hear what they say."""

    def __init__(self, app: Celery) -> None:
        self.app = app
        self.process = os.getpid()
        self.listeners: tuple[Append, ...] = ()
        self.publish = PublishTap(app, self.say)
        self.events = EventsTap(app, self.say)
        self.results = ResultsTap(app, self.say)
        self.commands: CommandsTap | None = None
        self.lock = threading.Lock()
        self.is_started = False

    @property
    def status(self) -> list[str]:
        commands = self.commands.status if self.commands else "commands: off"
        return [self.events.status, self.results.status, self.publish.status, commands]

    def is_ours(self) -> bool:
        return self.process == os.getpid()

    def say(self, observation: Observation | Unread) -> None:
        for append in self.listeners:
            try:
                append(observation)
            except Exception:  # somebody else's mistake must not end the tap
                log.exception("an observation was not taken")

    def listen(self, commands: bool, timeout: float) -> None:
        """Start what does not run yet, and wait until all of it hears."""
        deadline = time.monotonic() + PROVING * timeout
        with self.lock:
            if commands and self.commands is None:
                self.commands = CommandsTap(self.app, self.say)
                self.commands.start()
            if not self.is_started:
                self.is_started = True
                # Made here, in the caller's thread: made by two threads at once it would be two, and results go to one of them.
                with contextlib.suppress(Exception):  # the tap will say what is wrong with it
                    _ = redis_backend(self.app).client
                self.publish.start()
                self.results.start()
                self.events.start()
        if not self.events.settle(deadline):
            raise ScopeError(f"the broker {broker_name(self.app)} can't be heard: {self.events.reason or 'it does not answer'}", NEXT)
        others: list[Listener] = [self.results]
        if self.commands:
            others.append(self.commands)
        for tap in others:  # these may fail to come up in time: their status says so, and they go on trying
            tap.settle(deadline)

    def close(self) -> None:
        self.publish.close()
        taps: list[Listener] = [self.events, self.results]
        if self.commands:
            taps.append(self.commands)
        for tap in taps:
            tap.end()
        for tap in taps:
            tap.close()


_registry: dict[int, _Taps] = {}
_forked: list[_Taps] = []
_lock = threading.Lock()


def _join(app: Celery, append: Append) -> _Taps:
    with _lock:
        taps = _registry.get(id(app))
        if taps is None:
            taps = _registry[id(app)] = _Taps(app)
        taps.listeners = (*taps.listeners, append)
        return taps


def _leave(taps: _Taps, append: Append) -> None:
    if not taps.is_ours():
        return
    with _lock:
        listeners = list(taps.listeners)
        if append in listeners:
            listeners.remove(append)
        taps.listeners = tuple(listeners)
        if listeners:
            return
        if _registry.get(id(taps.app)) is taps:
            del _registry[id(taps.app)]
    taps.close()


def _leave_from_anywhere(taps: _Taps, append: Append) -> None:
    """Leave in a thread of its own: the garbage collector calls this between any two lines, whatever lock is held there."""
    # To start one of `threading` takes a lock, too, and a bare one that joins others would be listed as alive for ever.
    _thread.start_new_thread(lambda: threading.Thread(target=_leave, args=(taps, append), daemon=True).start(), ())


@atexit.register
def _end() -> None:
    """Say goodbye to the brokers, for those who forgot to close."""
    for taps in list(_registry.values()):
        if taps.is_ours():
            taps.close()


def _forget() -> None:
    """Start anew in a fork: its threads are gone, and the connections are its parent's, to whom alone they may say goodbye."""
    global _lock
    _lock = threading.Lock()
    _forked.extend(_registry.values())  # kept, for closing them would be done over the parent's sockets
    _registry.clear()


os.register_at_fork(after_in_child=_forget)

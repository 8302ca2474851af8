"""What all listening taps do alike: a thread that connects, proves that it hears, and comes back when it was cut off."""

import contextlib
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

from taskscope.observation import Observation, Source, Unread
from taskscope.taps.plain import cut

Say = Callable[[Observation | Unread], None]
"""Where a tap puts what it hears."""

LARGE = 4096  # bytes of a message that is read when it comes, so that what is kept of it is small; the others wait until somebody asks
TICK = 0.1  # seconds that one read waits at most: how long `close` takes
GATHERING = 0.01  # seconds from one reading to the next, while there is something to read
QUIET = 10.0  # seconds of silence after which a tap asks whether it still hears
DEAF = 5.0  # seconds within which the answer has to come
LONGEST_PAUSE = 1.0  # seconds between two tries to come back

log = logging.getLogger("taskscope")


class Refused(Exception):
    """The tap can't listen here, and it is of no use to try again; the text says why."""


class Listener(ABC):
    """A tap that listens in a thread of its own, until it is closed or refused.

    A subclass connects and proves that it hears (`open`), hands over what comes (`read`), and lets go (`shut`).
    Whatever goes wrong in between is noted, and tried again; the time in which it may have missed something
    becomes an observation of kind `gap`.
    """

    name: ClassVar[str]
    source: ClassVar[Source]

    def __init__(self, say: Say) -> None:
        self._say = say
        self._end = threading.Event()
        self._settled = threading.Event()
        self._state: Literal["starting", "on", "lost", "refused", "off"] = "starting"
        self._reason = ""  # what went wrong last
        self._cause = ""  # what went wrong first, since it last listened
        self._unread: dict[str, int] = {}
        self._promised = False  # somebody was told that this tap listens, or that it will
        self._since = time.time()  # the last moment of which we know that nothing was missed
        self._asked: float | None = None
        self._last = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"taskscope-{self.name}", daemon=True)

    @abstractmethod
    def open(self) -> None:
        """Connect, and return when it is proven that the tap hears, or when it is told to end.

        Raises:
            Refused: it can't, and never will.
            Exception: it can't now.
        """

    @abstractmethod
    def read(self) -> None:
        """Wait at most `TICK` for something, and hand it over.

        Raises:
            Exception: the connection is lost.
        """

    @abstractmethod
    def ask(self) -> None:
        """Have the other side say something, because it has been silent for long."""

    @abstractmethod
    def shut(self) -> None:
        """Let go of every connection, however little of it was opened."""

    def start(self) -> None:
        """Begin to listen; return at once."""
        self._thread.start()

    def settle(self, deadline: float) -> bool:
        """Wait until the tap is proven to hear, or is refused; tell whether that was so before the deadline."""
        settled = self._settled.wait(max(deadline - time.monotonic(), 0))
        self._promised = True
        return settled

    def end(self) -> None:
        """Have it stop listening; return at once."""
        self._end.set()

    def close(self, timeout: float = 3.0) -> None:
        """Stop listening; the thread ends by itself when it takes longer than this."""
        self.end()
        if self._thread.is_alive() and self._thread.ident != threading.get_ident():
            self._thread.join(timeout)

    @property
    def is_on(self) -> bool:
        """Whether it is proven to hear, now."""
        return self._state == "on"

    @property
    def reason(self) -> str:
        """What went wrong last; empty when nothing did."""
        return self._reason

    @property
    def status(self) -> str:
        """One sentence for a person."""
        said = {
            "starting": f"not yet: {self._reason or 'it is connecting'}",
            "on": "on",
            "lost": f"lost, trying again: {self._reason}",
            "refused": f"not available: {self._reason}",
            "off": "off",
        }[self._state]
        unread = "; ".join(f"{count} could not be read ({why})" for why, count in list(self._unread.items()))
        return f"{self.name}: {said}" + (f"; {unread}" if unread else "")

    @property
    def ending(self) -> bool:
        """Whether the tap was told to end."""
        return self._end.is_set()

    def heard(self) -> None:
        """Note that the other side has just said something, whatever it was."""
        if self._state == "on":  # until then, what comes proves nothing about what came before
            self._since = time.time()
        self._last = time.monotonic()
        self._asked = None

    def gather(self) -> None:
        """Let more come before the next reading: a wake-up for each message costs more than the message."""
        self._end.wait(GATHERING)

    def say(self, observation: Observation | Unread | None) -> None:
        """Hand over an observation, if it is one."""
        if observation is not None:
            try:
                self._say(observation)
            except Exception:
                log.exception("an observation was not taken")

    def unreadable(self, why: str, arrived: float | None = None) -> None:
        """Note that something came that can't be read, now or at another time; the first of a kind leaves a gap."""
        why = cut(why, 120)
        if why in self._unread:
            self._unread[why] += 1
        elif len(self._unread) < 10:
            self._unread[why] = 1  # before the gap is told: whoever hears of it may ask at once how much there was
            moment = time.time() if arrived is None else arrived
            self._gap(moment, f"something came that can't be read: {why}", moment)

    def check_that_it_lives(self) -> None:
        """Ask a side that has long been silent whether it is there.

        Raises:
            ConnectionError: it was asked, and stayed silent.
        """
        now = time.monotonic()
        if self._asked is not None and now - self._asked > DEAF:
            raise ConnectionError(f"no answer for {DEAF:g} s")
        if self._asked is None and now - self._last > QUIET:
            self._asked = now
            self.ask()

    def _run(self) -> None:
        pause = 0.05
        while not self.ending:
            try:
                self._asked = None
                self.open()
                if not self.ending:
                    self._listening()
                    pause = 0.05
                while not self.ending:
                    self.read()
                    self.check_that_it_lives()
            except Refused as refusal:
                self._state, self._reason = "refused", str(refusal)
                self._settled.set()
                if self._promised:
                    self._gap(self._since, f"{self.name} is not available any more: {refusal}")
                self._let_go()
                return
            except Exception as error:
                log.info("%s: %r", self.name, error)
                self._reason = cut(f"{type(error).__name__}: {error}".rstrip(": "), 200)
                self._cause = self._cause or self._reason
                if self._state == "on":
                    self._state, self._cause = "lost", self._reason
            self._let_go()
            self._end.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        self._state = "off"
        self._settled.set()

    def _listening(self) -> None:
        was_deaf, cause = self._promised and self._state != "on", self._cause
        self._state, self._reason, self._cause = "on", "", ""
        if was_deaf:  # who hears of it may ask at once how we are
            self._gap(self._since, f"{self.name} could not be heard: {cause}")
        self._promised = True
        self.heard()
        self._settled.set()

    def _gap(self, begin: float, why: str, end: float | None = None) -> None:
        now = time.time() if end is None else end
        self.say(Observation(self.source, "gap", begin, now, data={"from": begin, "to": now, "why": cut(why)}))

    def _let_go(self) -> None:
        with contextlib.suppress(Exception):  # it is broken already
            self.shut()

"""A tap that gives a Redis server one command, and listens to what the server pushes from then on."""

import time
from abc import abstractmethod
from typing import Any

from redis.exceptions import AuthenticationError, RedisError, ResponseError

from taskscope.taps.listener import TICK, Listener, Refused, Say
from taskscope.taps.wire import CONNECTING, Connect, Wire


class RedisLine(Listener):
    """A tap on one bare line to a Redis server."""

    command: tuple[str | bytes, ...]

    def __init__(self, say: Say) -> None:
        super().__init__(say)
        self._wire: Wire | None = None

    @abstractmethod
    def find(self) -> Connect:
        """Find the server, and set the command that is given to it.

        Raises:
            Refused: there is none to be found.
        """

    @abstractmethod
    def take(self, message: Any) -> None:
        """Hand over what the server has pushed."""

    def open(self) -> None:
        """Connect, give the command, and wait until the server has said that it is done."""
        connect = self.find()
        try:
            self._wire = Wire(connect)
        except (RedisError, TypeError, ValueError) as error:
            raise Refused(f"there is no connecting to the server with these settings ({error})") from error
        try:
            self._wire.connect()
            first, *more = subscribe(self._wire, *self.command)
        except (AuthenticationError, ResponseError) as error:
            raise Refused(f"the server refuses {self.command[0]!s} ({error})") from error
        del first
        self._take_all(more)

    def read(self) -> None:
        """Take all that has come."""
        assert self._wire
        if messages := self._wire.read(TICK):
            self.heard()
            self._take_all(messages)
            self.gather()

    def ask(self) -> None:
        """Send a PING: its answer is a sign of life."""
        assert self._wire
        self._wire.send("PING")

    def shut(self) -> None:
        """Close the connection."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _take_all(self, messages: list[Any]) -> None:
        for message in messages:
            try:
                self.take(message)
            except Exception as error:
                self.unreadable(f"{type(error).__name__}: {error}")


def subscribe(wire: Wire, *command: str | bytes) -> list[Any]:
    """Give a command, and return what the server says, when it has begun to: its reply, and perhaps more.

    Raises:
        ResponseError: the server refuses.
        TimeoutError: it says nothing.
    """
    wire.send(*command)
    deadline = time.monotonic() + CONNECTING
    while not (replies := wire.read(0.1)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the server does not answer to {command[0]!s}")
    if isinstance(replies[0], ResponseError):
        raise replies[0]
    return replies

"""One connection to a Redis server, on which a tap listens to what the server pushes."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from redis.exceptions import AuthenticationError, RedisError, ResponseError

from taskscope.taps.listener import TICK, Listener, Refused, Say

Connect = Callable[[], Any]
"""Make a new, unconnected connection of redis-py."""

CONNECTING = 2.0  # seconds for a server that does not answer
STALLED = 5.0  # seconds for the rest of a message that has begun


def connect_like(pool: Any) -> Connect:
    """Make connections like those of a pool, but outside it: a connection that only listens is of no use to others."""
    # Newer versions of redis-py follow a managed server to other addresses, in the newer protocol only.
    options = {name: value for name, value in pool.connection_kwargs.items() if not name.startswith(("maint_", "orig_", "oss_", "himport"))}
    # The older protocol pushes plain lists, in every version of the server. A line that is cut must be noticed by
    # us, not mended behind our back: what was said meanwhile is lost, and we have to say so.
    options |= {"protocol": 2, "retry": None, "retry_on_timeout": False, "retry_on_error": [], "health_check_interval": 0}
    options |= {"socket_timeout": STALLED, "decode_responses": False}
    if "host" in options and not options.get("socket_connect_timeout"):
        options["socket_connect_timeout"] = CONNECTING
    return lambda: pool.connection_class(**options)


class RedisLine(Listener):
    """A tap that gives a Redis server one command, and listens from then on."""

    command: str

    def __init__(self, connect: Connect, say: Say) -> None:
        super().__init__(say)
        self._connect = connect
        self._connection: Any = None

    @abstractmethod
    def subscribe(self, connection: Any) -> None:
        """Give the command, and return when the server has said that it is done."""

    @abstractmethod
    def take(self, message: Any) -> None:
        """Hand over what the server has pushed."""

    def open(self) -> None:
        """Connect and give the command."""
        try:
            self._connection = self._connect()
        except (RedisError, TypeError, ValueError) as error:
            raise Refused(f"there is no connecting to the server with these settings ({error})") from error
        try:
            self._connection.connect()
            self.subscribe(self._connection)
        except (AuthenticationError, ResponseError) as error:
            raise Refused(f"the server refuses {self.command} ({error})") from error

    def read(self) -> None:
        """Take all that has come."""
        if not self._connection.can_read(timeout=TICK):
            return
        while True:
            message = self._connection.read_response()
            self.heard()
            try:
                self.take(message)
            except Exception as error:
                self.unreadable(f"{type(error).__name__}: {error}")
            if self.ending or not self._connection.can_read(timeout=0):
                return

    def ask(self) -> None:
        """Send a PING: its answer is a sign of life."""
        self._connection.send_command("PING", check_health=False)

    def shut(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

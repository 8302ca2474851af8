"""A bare line to a Redis server that only listens: many messages for one wake-up.

redis-py and kombu read one message at a time, with several calls of the operating system for each: several times the
processor time for the same messages, on a machine where it is the worker that needs it.
"""

from collections.abc import Callable
from typing import Any

from redis.exceptions import ResponseError

Connect = Callable[[], Any]
"""Make a new, unconnected connection of redis-py."""

CONNECTING = 2.0  # seconds for a server that does not answer
AT_ONCE = 1 << 16  # bytes


def connect_like(pool: Any) -> Connect:
    """Make connections like those of a pool, but outside it: a connection that only listens is of no use to others."""
    # Newer versions of redis-py follow a managed server to other addresses, in the newer protocol only.
    options = {name: value for name, value in pool.connection_kwargs.items() if not name.startswith(("maint_", "orig_", "oss_", "himport"))}
    # The older protocol pushes plain lists, in every version of the server. A line that is cut must be noticed by
    # us, not mended behind our back: what was said meanwhile is lost, and we have to say so.
    options |= {"protocol": 2, "retry": None, "retry_on_timeout": False, "retry_on_error": [], "health_check_interval": 0}
    options |= {"socket_timeout": CONNECTING, "decode_responses": False}
    if "host" in options and not options.get("socket_connect_timeout"):
        options["socket_connect_timeout"] = CONNECTING
    return lambda: pool.connection_class(**options)


class Wire:
    """A connection of redis-py, logged in, of which we read the socket ourselves."""

    def __init__(self, connect: Connect) -> None:
        self._connection = connect()
        self._replies = Replies()

    def connect(self) -> None:
        """Connect and log in.

        Raises:
            RedisError: there is no server, or it does not let us in.
        """
        self._connection.connect()

    def send(self, *words: str | bytes) -> None:
        """Send one command; its reply comes among the others."""
        self._connection._sock.settimeout(CONNECTING)
        self._connection.send_command(*words, check_health=False)

    def read(self, timeout: float) -> list[Any]:
        """Return what has come, after waiting at most `timeout` seconds for it.

        Raises:
            ConnectionError: the server has closed the connection.
        """
        sock = self._connection._sock
        sock.settimeout(timeout)
        try:
            received = sock.recv(AT_ONCE)
        except TimeoutError:
            return []
        if not received:
            raise ConnectionError("the server has closed the connection")
        return self._replies.feed(received)

    def close(self) -> None:
        """Close the connection."""
        self._connection.disconnect()


class Replies:
    """Put the replies of a server together from the pieces in which they arrive (the second version of its protocol)."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, received: bytes) -> list[Any]:
        """Take a piece, and return the replies that it completes: bytes, int, None, a list, or a ResponseError."""
        self._buffer += received
        whole = bytes(self._buffer)
        replies = []
        position = 0
        while position < len(whole) and (found := _reply(whole, position)):
            reply, position = found
            replies.append(reply)
        del self._buffer[:position]
        return replies


def _reply(text: bytes, start: int) -> tuple[Any, int] | None:
    """Read the reply that begins here, and where the next one does; None when it is not whole."""
    end = text.find(b"\r\n", start)
    if end < 0:
        return None
    kind, rest, position = text[start : start + 1], text[start + 1 : end], end + 2
    if kind == b"$":
        length = int(rest)
        if length < 0:
            return None, position
        if len(text) < position + length + 2:
            return None
        return text[position : position + length], position + length + 2
    if kind == b"*":
        items = []
        for _ in range(int(rest)):
            if (found := _reply(text, position)) is None:
                return None
            item, position = found
            items.append(item)
        return items, position
    if kind == b"+":
        return rest, position
    if kind == b":":
        return int(rest), position
    if kind == b"-":
        return ResponseError(rest.decode("utf-8", "replace")), position
    raise ConnectionError(f"the server speaks another protocol: {text[start : start + 20]!r}")

"""Who is connected to an outside stack, from whatever host or container: the counterpart of the lease of our own stack.

A process that connects keeps one connection to the result backend's Redis open, under its own name. The operating
system closes it however the process ends, so Redis always knows who is there. Those who were ever there are written down:
of a sender that is not connected and never was, such as a web service, nobody can say that it has ended.
"""

import contextlib
import socket

import redis
from celery.utils.nodenames import anon_nodename

from classroom.stack.keeping import Meeting

_REMEMBERED = 7 * 24 * 3600  # seconds

_ours: redis.Redis | None = None
_server: str = ""


def announce() -> None:
    """Be known as connected from now on, under the name that Celery writes on what this process sends."""
    global _ours
    meeting = Meeting.of_the_backend()
    if meeting is None:
        return
    with contextlib.closing(meeting), contextlib.suppress(redis.RedisError, OSError):
        meeting.redis.sadd(meeting.key("senders"), anon_nodename())
        meeting.redis.expire(meeting.key("senders"), _REMEMBERED)
        if _ours is None:
            parameters = meeting.redis.connection_pool.connection_kwargs | {"client_name": meeting.prefix + anon_nodename()}
            _ours = redis.Redis(connection_pool=redis.ConnectionPool(**parameters), single_connection_client=True)
        _ours.ping()  # after a restart of Redis this connects again


def is_another_server() -> bool:
    """Tell whether Redis has been started again since this was last asked: then what we have kept open is dead."""
    global _server
    meeting = Meeting.of_the_backend()
    before = _server
    if meeting is not None:
        with contextlib.closing(meeting), contextlib.suppress(redis.RedisError, OSError):
            _server = str(meeting.redis.info("server")["run_id"])
    return before not in ("", _server)


class Elsewhere:
    """What is known of the senders on other hosts, as it is now."""

    def __init__(self) -> None:
        self._hosts, self._here, self._known = set[str](), set[str](), set[str]()
        meeting = Meeting.of_the_backend()
        if meeting is None:
            return
        with contextlib.closing(meeting), contextlib.suppress(redis.RedisError, OSError):
            self._hosts = meeting.members("hosts")
            self._known = meeting.members("senders")
            names = {str(client["name"]) for client in meeting.redis.client_list()}
            self._here = {name.removeprefix(meeting.prefix) for name in names if name.startswith(meeting.prefix)}

    def may_live(self, origin: str) -> bool:
        """Tell whether a sender on another host is there, or may be; what workers sent, another task asked for."""
        host = origin.partition("@")[2]
        if host in self._hosts and host != socket.gethostname():
            return False
        return origin in self._here or origin not in self._known

"""TCP ports on 127.0.0.1 for servers that stay for a while."""

import random
import socket

from classroom.errors import ClassroomError

# Systems take the ports of outgoing connections from 32768 up (Linux) or from 49152 up (others). A server's port below
# them is not taken by a connection between our look and the server's start, nor while a server that died comes back.
_OURS = range(20_000, 32_768)


def take(port: int) -> None:
    """See that a server can listen on a port.

    Args:
        port: its number, 1 to 65535.

    Raises:
        OSError: somebody listens there, or it is not ours to take.
    """
    with socket.socket() as probe:
        # As servers do: a port whose last connections are only just closed is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def free_port(wanted: int | None = None) -> int:
    """Return the wanted port where it is free, else another one that is.

    Raises:
        ClassroomError: none of a hundred is free.
    """
    for port in ([wanted] if wanted else []) + random.sample(_OURS, 100):
        try:
            take(port)
        except OSError:
            continue
        return port
    raise ClassroomError("no TCP port is free on 127.0.0.1", "close some programs and try again")

"""Serve the application with Waitress, which speaks JSON too when it refuses a request by itself."""

import json
import logging
import socket
from http import HTTPStatus

from flask import Flask
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server
from waitress.task import ErrorTask

from batch_api.problems import MEDIA_TYPE, as_json
from batch_api.schemas import MAX_BODY

THREADS = 8
CONNECTIONS = 1000  # a client that only keeps its connection open takes no thread, so there may be many
IDLE = 15  # seconds after which such a connection is closed


class _Refusal(ErrorTask):
    """An error that Waitress finds before the application sees the request, in the shape of all errors."""

    def execute(self) -> None:
        """Write the answer, and close the connection."""
        code = self.request.error.code
        self.status = f"{code} {HTTPStatus(code).phrase}"
        why = f"the body is longer than {MAX_BODY} bytes" if code == 413 else "the request cannot be read"
        body = json.dumps(as_json(code, why)).encode()
        self.response_headers.append(("Content-Type", MEDIA_TYPE))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(b"" if getattr(self.request, "command", "") == "HEAD" else body)  # no command: not even the first line was HTTP


class _Channel(HTTPChannel):
    error_task_class = _Refusal


def make_server(app: Flask, listener: socket.socket) -> BaseWSGIServer:
    """Make a server for a socket that listens; its `run` serves until a signal ends it."""
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it would write a line for each request that waits for a thread
    server = create_server(
        app,
        sockets=[listener],
        threads=THREADS,
        connection_limit=CONNECTIONS,
        channel_timeout=IDLE,
        cleanup_interval=5,
        asyncore_use_poll=True,  # `select` ends at the file descriptor 1023
        max_request_body_size=MAX_BODY + 1,
        ident="batch_api",
    )
    server.channel_class = _Channel
    return server

"""`python -m batch_api`: serve on 127.0.0.1, port 5000, unless told otherwise."""

import contextlib
import os
import signal
import socket
import sys
from types import FrameType

import click

from batch_api.app import create_app
from batch_api.server import make_server
from batch_api.settings import BadSettingError


def _end(_number: int, _: FrameType | None) -> None:
    raise SystemExit


def _place(host: str, port: int) -> str:
    """Write a host and a port as a URL does, with brackets around an address of IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; in a container 0.0.0.0.")
@click.option("--port", default=5000, show_default=True, type=click.IntRange(0, 65535), help="The port; 0 for one that is free.")
def main(host: str, port: int) -> None:
    """Serve batches of tasks over HTTP until this is ended."""
    try:
        app = create_app()
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except BadSettingError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise click.ClickException(f"cannot listen on {_place(host, port)}: {why}") from error
    server = make_server(app, listener)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    with contextlib.suppress(SystemExit):  # one that comes before the server runs; later it ends the server
        address = f"http://{_place(host, listener.getsockname()[1])}"
        click.echo(f"{address} (for people: {address}/swagger)")
        sys.stdout.flush()
        server.run()


if __name__ == "__main__":
    main()

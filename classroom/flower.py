"""Flower on this checkout's stack: on 127.0.0.1 only, behind a password, and with its hands tied unless somebody frees them.

`serve` turns this process into Flower; `beside_the_notebook` tells JupyterLab how to do that for a tab of its own, and
`write_workspace` gives JupyterLab a layout that has a lesson at the left and that tab at the right.
"""

import base64
import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from classroom.errors import ClassroomError
from classroom.stack import client
from classroom.stack.lifeline import die_with
from classroom.stack.place import ROOT, Place, explained
from classroom.stack.ports import free_port, take

USER = "learner"
WORKSPACE = "flower"

_USUAL_PORT = 5555
_READY_WITHIN = 40  # seconds; the stack may have to start first
_ICON = Path(__file__).with_name("flower.svg")
_LAYOUT = Path(__file__).with_name("flower.jupyterlab-workspace")
_LAYOUT_FILE = "flower-c06b.jupyterlab-workspace"  # what JupyterLab calls a workspace with the name "flower"


def password() -> str:
    """Return the password of this checkout's Flower; the first call makes it up.

    Raises:
        ClassroomError: the state folder cannot be written to.
    """
    place = Place.current()
    place.create()
    path = place.folder / "flower.password"
    with explained(place.folder):
        if not path.exists():
            new = path.with_suffix(f".{os.getpid()}.new")
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(12))
            try:
                os.link(new, path)
            except FileExistsError:
                pass  # another process was first, and its password counts
            finally:
                new.unlink()
        return path.read_text()


def listening_port(wanted: int | None) -> int:
    """Return the wanted port; where none is wanted, the usual one or any that is free.

    Raises:
        ClassroomError: the wanted port is taken, or not ours to take.
    """
    if wanted is None:
        return free_port(_USUAL_PORT)
    try:
        take(wanted)
    except OSError as error:
        problem = f"port {wanted} cannot be used: {os.strerror(error.errno or 0)}"
        raise ClassroomError(problem, "python -m classroom flower, which takes a port that is free") from None
    return wanted


def serve(port: int, prefix: str, control: bool) -> None:
    """Become Flower, which ends with our parent and keeps the stack for as long as it lives.

    Args:
        port: where it listens, on 127.0.0.1.
        prefix: what its addresses begin with.
        control: whether its buttons work: stop a worker, revoke a task, and so on.
    """
    secret = password()
    if not client.is_outside():
        client.use(client.join())
        os.set_inheritable(client.lease_descriptor(), True)
    for name in [name for name in os.environ if name.startswith("FLOWER_")]:
        del os.environ[name]  # one of them would open the API to everybody
    os.environ["FLOWER_BASIC_AUTH"] = f"{USER}:{secret}"  # not among the arguments, which everybody on this machine can read
    # Flower would switch events on again every few seconds; ours looks, and changes nothing.
    own = ["--address=127.0.0.1", f"--port={port}", "--enable_events=false", f"--read_only={'false' if control else 'true'}"]
    if prefix:
        own.append(f"--url_prefix={prefix}")
    os.chdir(ROOT)
    die_with(os.getppid())
    os.execv(sys.executable, [sys.executable, "-m", "celery", "-q", "-A", "tutorial_tasks.celery_app", "flower", "--logging=warning", *own])


def beside_the_notebook() -> dict[str, Any]:
    """Tell jupyter-server-proxy how to start Flower and how to be let in; who is not let in by JupyterLab does not get that far."""
    credentials = base64.b64encode(f"{USER}:{password()}".encode()).decode()
    return {
        "command": [sys.executable, "-m", "classroom", "flower", "--port", "{port}", "--prefix", "{base_url}flower"],
        "absolute_url": True,
        "timeout": _READY_WITHIN,
        "request_headers_override": {"Authorization": f"Basic {credentials}"},
        "new_browser_tab": False,
        # JupyterLab shows the picture in this category only.
        "launcher_entry": {"title": "Flower", "category": "Notebook", "icon_path": str(_ICON)},
    }


def write_workspace(folder: Path) -> None:
    """Put the layout into JupyterLab's folder of workspaces, as it was before anybody moved its tabs."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _LAYOUT_FILE).write_text(json.dumps(json.loads(_LAYOUT.read_text())))

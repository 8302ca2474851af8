"""The command line: `python -m classroom up | down | status | doctor | lab | flower | watch | api | progress | logs`."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from classroom.errors import ClassroomError, typed
from classroom.stack import client
from classroom.stack.place import ROOT, Place, Stack

# What JupyterLab needs to know wherever it runs: here, in a container, on Binder.
_JUPYTER_SETTINGS = ROOT / "classroom" / "setup" / "jupyter"


class _Group(click.Group):
    """A group whose commands end with one message when the classroom knows what is wrong."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except ClassroomError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run the classroom: one broker and one worker for this checkout."""


@main.command()
def up() -> None:
    """Start the broker and the worker; they stay until `down`."""
    stack = client.join(tell=click.echo)
    client.ask("keep")
    if stack.worker != "running":
        stack = client.ask("start worker")
    click.echo(_line(stack))


@main.command()
def down() -> None:
    """Stop the broker and the worker, whoever uses them."""
    click.echo("Stopped." if client.down() else "Nothing runs here.")


@main.command()
def status() -> None:
    """Say what runs; exit code 1 when nothing does."""
    stack = client.current()
    if not stack:
        click.echo(typed("Nothing runs here. Start it with: python -m classroom up"))
        sys.exit(1)
    click.echo(_line(stack))


@main.command()
def doctor() -> None:
    """Check everything that a lesson needs; exit code 0 only when all is well."""
    from classroom.doctor import examine

    sick = 0
    for finding in examine():
        click.echo(finding)
        sick += not finding.is_well
    sys.exit(1 if sick else 0)


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.option("--flower", is_flag=True, help="Open lesson 12 instead, with Flower beside it.")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def lab(flower: bool, args: tuple[str, ...]) -> None:
    """Open JupyterLab on the first lesson; ARGS go to JupyterLab."""
    from classroom.doctor import running_labs
    from classroom.flower import WORKSPACE, write_workspace

    if running := running_labs():
        click.echo(f"JupyterLab of this checkout runs at {' and '.join(running)} already; this is one more.")
    workspaces = Place.current().folder / "workspaces"
    write_workspace(workspaces)
    if not client.is_outside():
        click.echo(_line(client.join(tell=click.echo)))
        # JupyterLab takes our place and our lease with it: the stack lives as long as it does, however it ends.
        os.set_inheritable(client.lease_descriptor(), True)
    # `!celery` in a cell is the one that is installed here, whether or not a .venv was activated.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    others = os.environ.get("JUPYTER_CONFIG_PATH")
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, [str(_JUPYTER_SETTINGS), others]))
    own = [f"--ServerApp.root_dir={ROOT}", f"--LabApp.workspaces_dir={workspaces}"]
    if not any(arg.startswith("--ServerApp.ip=") for arg in args):  # in a container of its own it listens to the others
        own.append("--ServerApp.ip=127.0.0.1")
    if flower:
        own.append(f"--LabApp.default_url=/lab/workspaces/{WORKSPACE}")
    if os.geteuid() == 0:
        own.append("--ServerApp.allow_root=True")  # in a container we are root, and it listens on loopback only
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "classroom.quick_start", *own, *args])


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Default: 5555, or any that is free.")
@click.option("--prefix", default="", hidden=True)  # for JupyterLab, which also knows the password
@click.option("--control", is_flag=True, help="Let its buttons work: stop a worker, revoke a task. Without this it only shows.")
def flower(port: int | None, prefix: str, control: bool) -> None:
    """Open Flower, a web page about workers and tasks, for this machine only; it ends with this terminal."""
    from classroom.flower import USER, listening_port, password, serve

    port = listening_port(port)
    if not prefix:
        can = "its buttons work (--control)" if control else "it is read-only; with --control its buttons work, too"
        click.echo(f"Flower: http://127.0.0.1:{port} · user {USER}, password {password()}\n{can} · Ctrl-C ends it")
    sys.stdout.flush()
    serve(port, prefix, control)


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def watch(args: tuple[str, ...]) -> None:
    """Show in this terminal what the tasks do; ARGS go to taskscope."""
    from taskscope.__main__ import main as taskscope

    if not client.is_outside():
        client.use(client.join())
    taskscope(["--app", "tutorial_tasks.celery_app:app", *args], prog_name="watch")


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def api(args: tuple[str, ...]) -> None:
    """Serve batches of tasks over HTTP; ARGS, such as --port 8000, go to batch_api."""
    if not client.is_outside():
        client.use(client.join())
        # The service takes our place and our lease with it.
        os.set_inheritable(client.lease_descriptor(), True)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "batch_api", *args])


@main.command()
@click.option("--reset", is_flag=True, help="Forget them all.")
def progress(reset: bool) -> None:
    """Say which exercises were passed in this checkout."""
    from classroom import progress as exercises_passed

    if reset:
        click.echo(f"Forgotten: {exercises_passed.reset()} passed exercises.")
    else:
        click.echo(exercises_passed.summary())


@main.command()
@click.argument(
    "name", type=click.Choice(["worker", "another", "broker", "rabbitmq", "rabbitmq-worker", "supervisor", "api"]), default="worker"
)
@click.option("-n", "--lines", type=click.IntRange(min=1), default=40, show_default=True, help="How many of the last lines.")
def logs(name: str, lines: int) -> None:
    """Print the last lines of a log."""
    path = Place.current().log(name)
    if not path.exists():
        raise ClassroomError(f"there is no log of the {name} yet", "python -m classroom up")
    click.echo("\n".join(path.read_text(errors="replace").splitlines()[-lines:]))


def _line(stack: Stack) -> str:
    trouble = f" ({stack.trouble})" if stack.trouble else ""
    return f"{stack.label} · worker {stack.worker}{trouble} · supervisor {stack.supervisor}"

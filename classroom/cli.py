"""The command line: `python -m classroom up | down | status | doctor | lab | watch | api | progress | logs`."""

import os
import sys
from typing import Any

import click

from classroom.errors import ClassroomError, typed
from classroom.stack import client
from classroom.stack.place import ROOT, Place, Stack

_START = "notebooks/00_start_here.ipynb"


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
    stack = client.join()
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
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def lab(args: tuple[str, ...]) -> None:
    """Open JupyterLab on the first lesson; ARGS go to JupyterLab."""
    if not client.is_outside():
        click.echo(_line(client.join()))
        # JupyterLab takes our place and our lease with it: the stack lives as long as it does, however it ends.
        os.set_inheritable(client.lease_descriptor(), True)
    own = ["--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={ROOT}", f"--LabApp.default_url=/lab/tree/{_START}"]
    own.append("--ServerApp.contents_manager_class=taskscope.jupyter.ContentsWithStills")  # tomorrow the kernel of today is gone
    own.append("--LanguageServerManager.autodetect=False")  # it would name a dozen programs that nobody needs here
    if os.geteuid() == 0:
        own.append("--ServerApp.allow_root=True")  # in a container we are root, and it listens on loopback only
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *own, *args])


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
@click.argument("name", type=click.Choice(["worker", "broker", "supervisor", "api"]), default="worker")
@click.option("-n", "--lines", type=click.IntRange(min=1), default=40, show_default=True, help="How many of the last lines.")
def logs(name: str, lines: int) -> None:
    """Print the last lines of a log."""
    path = Place.current().log(name)
    if not path.exists():
        raise ClassroomError(f"there is no log of the {name} yet", "python -m classroom up")
    click.echo("\n".join(path.read_text(errors="replace").splitlines()[-lines:]))


def _line(stack: Stack) -> str:
    trouble = f" ({stack.trouble})" if stack.trouble else ""
    return f"{stack.server} on 127.0.0.1:{stack.port} · worker {stack.worker}{trouble} · supervisor {stack.supervisor}"

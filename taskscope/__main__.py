"""`python -m taskscope --app module:app`: watch an application from a terminal."""

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
from celery import Celery
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from taskscope.errors import ScopeError
from taskscope.model import Task
from taskscope.scope import QUIET, Scope
from taskscope.states import ENDS, looks_of
from taskscope.words import label, plain, sentence

REFRESH = 0.1  # seconds from one drawing to the next, at least


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--app", "name", required=True, metavar="MODULE:APP", help="The Celery application, for example shop.tasks:app.")
@click.option("--for", "seconds", type=click.FloatRange(min=0), help="Watch for so many seconds instead of until Ctrl-C.")
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), help="At the end, write what was observed to this file.")
def main(name: str, seconds: float | None, save: Path | None) -> None:
    """Show what the tasks of an application do, as it happens."""
    console = Console()
    try:
        scope = Scope(find(name))
        deadline = time.monotonic() + seconds if seconds is not None else None
        try:
            watch(scope, console, deadline)
        except KeyboardInterrupt:
            pass
        finally:
            scope.close()
        if save:
            scope.save(save)
            console.print(f"{len(scope.ledger)} observations in {save}", markup=False)
    except ScopeError as error:
        raise click.ClickException(str(error)) from error


def watch(scope: Scope, console: Console, deadline: float | None) -> None:
    """Redraw the table whenever something was heard; where the output is no terminal, print a line for each task that has ended."""
    if not console.is_terminal:
        report(scope, lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True), deadline)
        return
    position = 0
    with Live(table(scope, console.height), console=console, auto_refresh=False, screen=False) as live:
        while deadline is None or time.monotonic() < deadline:
            if scope.ledger.wait(position, REFRESH):
                position = scope.ledger.position
                live.update(table(scope, console.height), refresh=True)
                # Under load there is always news: nobody reads faster than this, and the program that is watched needs the processor.
                time.sleep(REFRESH if deadline is None else max(0.0, min(REFRESH, deadline - time.monotonic())))
        live.update(table(scope, console.height), refresh=True)


def report(scope: Scope, say: Callable[[str], None], deadline: float | None) -> None:
    """Say one sentence for each task when it has ended; at the end, however it comes, one for each that has not, and the notes."""
    told: dict[str, str] = {}
    fresh: dict[str, float] = {}  # tasks of which something new was heard, and since when nothing more
    position = 0
    try:
        while deadline is None or time.monotonic() < deadline:
            scope.ledger.wait(position, REFRESH)
            position = scope.ledger.position
            fresh |= dict.fromkeys(scope.changed(), time.monotonic())
            # What one witness tells of an end, another one completes a moment later.
            ready = [name for name, since in fresh.items() if time.monotonic() - since >= QUIET]
            for task in scope.tasks(ready):
                del fresh[task.id]
                if task.state in ENDS and told.get(task.id) != (said := sentence(task)):
                    told[task.id] = said
                    say(said)
    finally:
        for task in scope.tasks():
            said = sentence(task)
            if task.state not in ENDS:
                say(f"{said} (has not ended)" if task.lanes else said)
            elif told.get(task.id) != said:
                say(said)
        for note in scope.notes:
            say(note)


def table(scope: Scope, height: int) -> Table:
    """Return the newest tasks as a table that fits a terminal of so many lines."""
    tasks = scope.tasks()
    shown = tasks[-max(height - 6, 1) :]
    found = Table(expand=True, caption=Text("  ".join(scope.status)), caption_justify="left")
    for title, ratio in (("task", 3), ("attempt", 1), ("way", 6), ("result", 2)):
        found.add_column(title, ratio=ratio, overflow="ellipsis", no_wrap=True)
    for task in shown:
        attempt = str(task.lanes[-1].attempt + 1) if task.lanes else ""
        found.add_row(Text(label(task)), attempt, way(task), Text(plain(task.result)))
    if len(shown) < len(tasks):
        found.title = f"showing {len(shown)} of {len(tasks)}"
    return found


def way(task: Task) -> Text:
    """Return the states of a task's last attempt, one after the other, each with its sign and colour; an inferred one in brackets."""
    said = Text()
    for state, evidence in dict.fromkeys((mark.state, mark.evidence) for lane in task.lanes[-1:] for mark in lane.marks):
        look = looks_of(state)
        said.append(f"{look.glyph} {f'({plain(state)})' if evidence == 'inferred' else plain(state)}  ", style=look.dark)
    return said


def find(name: str) -> Celery:
    """Import an application by its name.

    Raises:
        ScopeError: there is no such module, or nothing of that name in it, or it is no Celery application.
    """
    sys.path.insert(0, str(Path.cwd()))
    module, _, attribute = name.partition(":")
    attribute = attribute or "app"
    example = "python -m taskscope --app tutorial_tasks.celery_app:app"
    if not module:
        raise ScopeError(f"{name!r} names no module", f"write the module before the colon, for example: {example}")
    try:
        imported = importlib.import_module(module)
    except Exception as error:  # whatever the module does while it is imported
        why = error if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise ScopeError(f"{module} can't be imported: {why}", f"name a module that can, for example: {example}") from error
    app = getattr(imported, attribute, None)
    if app is None:
        raise ScopeError(f"{module} has no {attribute}", f"name the application in it, for example: {example}")
    if not isinstance(app, Celery):
        raise ScopeError(f"{module}:{attribute} is a {type(app).__name__}, not a Celery application", f"for example: {example}")
    return app


if __name__ == "__main__":
    main()

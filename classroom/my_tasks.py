"""Give the worker tasks of the learner's own: `%%my_tasks` in a notebook, `lab.my_tasks(source)` in a script.

A task that is defined in a cell is of no use to a worker, which is another process with other code. And Celery keeps the
first function that it gets under a name, so a cell that is run again changes nothing. Therefore the code goes into a
file, the worker is started again with that file, and the notebook gets the same module, afresh. All of it, or nothing.
"""

import contextlib
import fcntl
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from celery import Celery, _state

from classroom.errors import ClassroomError
from classroom.stack import client, workers
from classroom.stack.place import ROOT, explained, lock_within
from classroom.stack.task_code import MY_TASKS, compile_my_tasks, load_my_tasks, my_tasks_file
from classroom.stack.worker_process import QUEUES
from classroom.time_limit import OutOfTime, time_limit

_IMPORT_WITHIN = 10.0  # seconds: a module of tasks defines functions, it does not work
_TURN_WITHIN = 60.0  # seconds: as long as another notebook may take to do the same
_UNCHANGED = "Nothing was written, the worker runs as before"


def write(source: str, restart: Callable[[], None]) -> ModuleType:
    """Make this source the module `my_tasks`, here and in the worker, and print one line that says so.

    Args:
        source: plain Celery code that defines one task or more.
        restart: what starts the worker again, with the file as it is then.

    Raises:
        ClassroomError: the source is wrong, or the worker cannot run it; everything is then as it was before.
    """
    path = my_tasks_file()
    code = _compiled(source, path)
    listens = bool(workers.found())
    if not listens and not client.is_outside():
        raise ClassroomError("no stack runs in this checkout", "lab.connect()")
    from tutorial_tasks.celery_app import app

    with _one_at_a_time(path.parent), _forgetting_the_old(app):
        module, names = _imported(app, code, source)
        if listens:
            done = _worker_with(source, path, names, restart)
            print(f"{path.name} written; the worker was {done} and knows {', '.join(names)}")
        else:
            _put(path, source)
            print(f"{path.name} written; the worker is not ours to restart.\n  next: stop it, then: {worker_command()}")
    return module


def worker_command() -> str:
    """Say how somebody starts a worker of their own for the lessons."""
    command = f"celery -A tutorial_tasks.celery_app worker -E -Q {','.join(QUEUES)}"
    path = my_tasks_file()
    if not path.exists():
        return command
    folder = path.parent.relative_to(ROOT) if path.is_relative_to(ROOT) else path.parent
    return f'PYTHONPATH="{folder}" {command} --include {MY_TASKS}'


def install(my_tasks: Callable[[str], ModuleType]) -> None:
    """Make `%%my_tasks` known to this notebook; outside of a notebook, do nothing."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is None:
        return

    def magic(_: str, cell: str) -> None:
        """Write this cell to `my_tasks.py`, and start the worker again with it."""
        old = _public(sys.modules.get(MY_TASKS))
        # The first line stands for the one with the magic, so that the lines of the file have the numbers of the cell's.
        new = _public(my_tasks(f"# Written by the cell that begins with %%{MY_TASKS}: edit it there.\n{cell}"))
        for name in old.keys() - new.keys():
            if shell.user_ns.get(name) is old[name]:
                del shell.user_ns[name]
        shell.push(new)

    shell.magics_manager.register_function(magic, "cell", MY_TASKS)


def _compiled(source: str, path: Path) -> CodeType:
    try:
        return compile_my_tasks(source, path)
    except SyntaxError as error:
        raise _refused(f"{type(error).__name__}: {error.msg}", source, error.lineno) from error
    except ValueError as error:  # a null byte
        raise _refused(str(error), source, None) from error


def _refused(reason: str, source: str, line: int | None) -> ClassroomError:
    lines = source.splitlines()
    where = f", in line {line}: {lines[line - 1].strip()}" if line and line <= len(lines) else ""
    return ClassroomError(f"{reason}{where}\n{_UNCHANGED}.", "mend this cell, then run it again")


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let two notebooks write one after the other: whoever works in the folder has locked it, in whatever container."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        turn = os.open(folder, os.O_RDONLY)
    try:
        if not lock_within(turn, fcntl.LOCK_EX, time.monotonic() + _TURN_WITHIN):
            raise ClassroomError(f"another notebook takes very long to write {MY_TASKS}.py", "restart the kernel of that notebook")
        yield
    finally:
        os.close(turn)


@contextlib.contextmanager
def _forgetting_the_old(app: Celery) -> Iterator[None]:
    """Have Celery in this process forget the tasks of the old module; if the block fails, everything is as it was.

    Celery keeps a task in two places: by its name in the app, and as a function that gives it to every app to come
    (a task is shared unless told otherwise), for which there is no public name.
    """
    app.loader.import_default_modules()  # so that the names of all tasks of the course are known
    later = _state._on_app_finalizers
    tasks, shared, module = dict(app.tasks), set(later), sys.modules.get(MY_TASKS)
    for name, task in tasks.items():
        if task.__module__ == MY_TASKS:
            del app.tasks[name]
    later.difference_update([give for give in shared if _is_of_my_tasks(give)])
    try:
        yield
    except BaseException:
        for name in app.tasks.keys() - tasks.keys():
            del app.tasks[name]
        app.tasks.update(tasks)
        later.clear()
        later.update(shared)
        sys.modules.pop(MY_TASKS, None)
        if module:
            sys.modules[MY_TASKS] = module
        raise


def _is_of_my_tasks(give: Any) -> bool:
    return any(getattr(cell.cell_contents, "__module__", None) == MY_TASKS for cell in give.__closure__ or ())


def _imported(app: Celery, code: CodeType, source: str) -> tuple[ModuleType, list[str]]:
    """Import the module, and name the tasks that it registered."""
    # An app without the other tasks takes every name, so that one that is taken is noticed however it was registered.
    others = {name: app.tasks.pop(name) for name in list(app.tasks) if not name.startswith("celery.")}
    try:
        with time_limit(_IMPORT_WITHIN):
            module = load_my_tasks(code)
    except OutOfTime as error:
        raise _refused(f"still busy after {_IMPORT_WITHIN:g} seconds", source, _line(error, code)) from error
    except (Exception, SystemExit) as error:
        raise _refused(f"{type(error).__name__}: {error}", source, _line(error, code)) from error
    finally:
        names = sorted(name for name in app.tasks if not name.startswith("celery."))
        app.tasks.update(others)
    if taken := [name for name in names if name in others]:
        raise _refused(f"{taken[0]} is the name of another task; give yours a name of its own", source, None)
    if not names:
        hint = "from tutorial_tasks.celery_app import app, and @app.task above a function"
        raise _refused(f"no task of the course's app is defined here; it takes {hint}", source, None)
    return module, names


def _line(error: BaseException, code: CodeType) -> int | None:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == code.co_filename]
    return lines[-1] if lines else None


def _worker_with(source: str, path: Path, names: list[str], restart: Callable[[], None]) -> str:
    """Write the file and start the worker with it; if that fails, put the old file back and start it with that."""
    before = workers.state()
    old = path.read_text(encoding="utf-8") if path.exists() else None
    _put(path, source)
    try:
        restart()
        if any(set(names) - set(worker.tasks) for worker in workers.found()):
            remedy = "make docker-up in this checkout" if client.is_outside() else "python -m classroom down, then lab.connect()"
            raise ClassroomError(f"the worker does not read {path}", remedy)
    except BaseException as error:
        _put(path, old)
        restart()
        if isinstance(error, ClassroomError):
            words = f"{error.problem}\n{path.name} is as it was before, and the worker runs again."
            raise ClassroomError(words, "mend this cell, then run it again") from error
        raise
    return "restarted" if before == "running" else "started"


def _put(path: Path, source: str | None) -> None:
    """Write the file in one step, so that a worker that starts meanwhile reads the old one or the new one."""
    try:
        if source is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(source, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise ClassroomError(f"cannot write {path}: {error.strerror}", "export CLASSROOM_MY_TASKS=/a/folder/you/can/write") from error


def _public(module: ModuleType | None) -> dict[str, Any]:
    """What `from my_tasks import *` would give."""
    names = vars(module) if module else {}
    return {name: names[name] for name in names.get("__all__", [name for name in names if not name.startswith("_")])}

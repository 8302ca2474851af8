"""Say what to type next, under a cell that ended in one of a few ways that Celery's own words do not explain."""

import ast
import weakref
from collections.abc import Mapping
from typing import Any

from celery import Task
from celery.exceptions import NotRegistered
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.local import maybe_evaluate
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from classroom.stack import workers
from classroom.stack.task_code import MY_TASKS

_LOST = "Retry limit exceeded while trying to reconnect to the Celery result store"
_NO_REPLY = "'NoneType' object is not subscriptable"  # what app.control.inspect() returns when nobody answers

_seen: weakref.WeakSet[Task] = weakref.WeakSet()  # the tasks that cells of this notebook have defined


def install() -> None:
    """Watch the cells of this notebook from now on; outside of a notebook, do nothing."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is not None and _after_cell not in shell.events.callbacks["post_run_cell"]:
        shell.events.register("post_run_cell", _after_cell)


def hint(error: BaseException | None, names: Mapping[str, Any], worker: str = "running") -> str | None:
    """Return the next step after an error that needs one, given the notebook's names and how the worker is; None after any other."""
    if isinstance(error, (OperationalError, RedisConnectionError)) or (isinstance(error, RuntimeError) and _LOST in str(error)):
        return (
            "The broker or the result backend does not answer.\n"
            "  next: lab.connect() in a cell; if that does not help, Kernel > Restart Kernel and run the lesson from its first cell"
        )
    if worker != "running" and (isinstance(error, CeleryTimeoutError) or (isinstance(error, TypeError) and str(error) == _NO_REPLY)):
        return f"The worker is {worker}.\n  next: lab.worker.start(), then this cell again; or run the lesson from its first cell"
    if isinstance(error, NotRegistered):
        missing = [maybe_evaluate(task) for task in names.values() if isinstance(task, Task) and task.name in error.args]
        if any(task.__module__ == "__main__" for task in missing):
            return (
                "This task is defined in your notebook, and the worker is another process with other code: it has never seen it.\n"
                f"  next: put the task into a cell that begins with %%{MY_TASKS}"
            )
        if any(task.__module__ == MY_TASKS for task in missing):
            return (
                f"The worker has another {MY_TASKS}.py than this notebook; another notebook may have written it.\n"
                f"  next: run the cell that begins with %%{MY_TASKS} again"
            )
    return None


def redefined(cell: str, names: Mapping[str, Any]) -> str | None:
    """Return the next step after a cell that defined a task which an earlier cell had defined; None after any other."""
    tasks = _tasks_of(cell, names)
    again = [task.name for task in tasks if task in _seen]
    _seen.update(tasks)
    if not again:
        return None
    return (
        f"Celery keeps the first function that it gets under a name: {', '.join(again)} is still that one, this cell changed nothing.\n"
        f"  next: put the task into a cell that begins with %%{MY_TASKS}, which may be run again"
    )


def _tasks_of(cell: str, names: Mapping[str, Any]) -> list[Task]:
    try:
        statements = ast.parse(cell).body
    except SyntaxError:
        return []
    functions = [node.name for node in statements if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.decorator_list]
    return [maybe_evaluate(names[name]) for name in functions if isinstance(names.get(name), Task)]


def _after_cell(result: Any) -> None:
    names = _names()
    text = redefined(result.info.transformed_cell or "", names) if result.success else hint(result.error_in_exec, names, workers.state())
    if text:
        print(text)


def _names() -> dict[str, Any]:
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    return dict(shell.user_ns) if shell else {}

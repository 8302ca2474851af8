"""Say what to type next, under a cell that ended because the broker or the backend was gone."""

from typing import Any

from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

_LOST = "Retry limit exceeded while trying to reconnect to the Celery result store"


def install() -> None:
    """Watch the cells of this notebook from now on; outside of a notebook, do nothing."""
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is not None and _after_cell not in shell.events.callbacks["post_run_cell"]:
        shell.events.register("post_run_cell", _after_cell)


def hint(error: BaseException | None) -> str | None:
    """Return the next step after an error that means "nobody is there", or None after any other."""
    if isinstance(error, (OperationalError, RedisConnectionError)) or (isinstance(error, RuntimeError) and _LOST in str(error)):
        return (
            "The broker or the result backend does not answer.\n"
            "  next: lab.connect() in a cell; if that does not help, Kernel > Restart Kernel and run the lesson from its first cell"
        )
    return None


def _after_cell(result: Any) -> None:
    if text := hint(result.error_in_exec):
        print(text)

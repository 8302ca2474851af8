"""The web service of lesson 13, for one notebook: it begins with nothing in its cache, and ends with the notebook's kernel."""

import atexit
import os
import subprocess
import sys
import threading

from classroom.errors import ClassroomError
from classroom.stack import client, workers
from classroom.stack.lifeline import die_with
from classroom.stack.place import ROOT, Place, explained
from classroom.stack.processes import end, last_words, read_line_within

_READY_WITHIN = 40.0  # seconds

_service: subprocess.Popen[bytes] | None = None


def start(settings: dict[str, str]) -> str:
    """Start the service on a free port, in place of the one that this process has started before, and return its address.

    Args:
        settings: environment variables for it, such as BATCH_TASK_SECONDS.

    Raises:
        ClassroomError: it did not start.
    """
    global _service
    stop()
    me = os.getpid()
    # The kernel ties a child's life to the thread that made it, and only the main thread lives as long as we do.
    tie = (lambda: die_with(me)) if threading.current_thread() is threading.main_thread() else None
    log = Place.current().log("api")
    with explained(log.parent), log.open("ab") as complaints:
        begun = complaints.tell()
        report, ready = os.pipe()
        _service = subprocess.Popen(
            [sys.executable, "-m", "batch_api", "--port", "0"],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))} | settings,
            stdin=subprocess.DEVNULL,
            stdout=ready,
            stderr=complaints,
            process_group=0,
            preexec_fn=tie,
        )
    atexit.register(stop)
    os.close(ready)
    with open(report) as pipe:
        said = read_line_within(pipe, _READY_WITHIN)
    if not said:
        stop()
        raise ClassroomError(f"the web service did not start: {last_words(log, begun)}", "python -m classroom logs api")
    return said.split()[0]


def stop() -> None:
    """End the service that this process has started, if there is one."""
    global _service
    if _service:
        end(_service)
        _service = None


def forget() -> None:
    """Empty the cache of the service. On a broker where no worker listens to us nothing is touched: another service may use it."""
    if client.is_outside() and not workers.found():
        return
    from tutorial_tasks.celery_app import app
    from tutorial_tasks.settings import key_prefix

    redis = app.backend.client
    if keys := list(redis.scan_iter(f"{key_prefix}batch:*", count=1000)):
        redis.delete(*keys)

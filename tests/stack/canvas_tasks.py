"""Tasks that replace themselves, for a worker of the tests: `celery -A tests.stack.canvas_tasks worker -Q canvas`."""

from typing import Any

from celery import Task, chain, group

from tutorial_tasks.arithmetic import add
from tutorial_tasks.celery_app import app


@app.task(bind=True, name="canvas.by_a_chain")
def by_a_chain(self: Task, x: float) -> Any:
    raise self.replace(chain(add.s(x, 1), add.s(1)))


@app.task(bind=True, name="canvas.by_a_group")
def by_a_group(self: Task, x: float) -> Any:
    raise self.replace(group(add.s(x, 1), add.s(x, 2)))

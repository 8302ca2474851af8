"""Exercises of 03: a name that nobody knows, and a message that Celery did not write."""

from typing import Any

from celery import Celery
from celery.result import AsyncResult

from classroom import evidence, lab
from classroom.errors import ClassroomError, typed
from classroom.exercises.model import Answer, NotYet, exercise, run
from classroom.exercises.setting import calls, discard, finished, nobody_listening, settled, the_app

_MULTIPLY = "tutorial_tasks.arithmetic.multiply"


class Site(Celery):
    """An application that remembers what was sent by name through it, in order."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sent_by_name: list[str] = []

    def send_task(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """Send a task by its name."""
        result = super().send_task(*args, **kwargs)
        self.sent_by_name.append(result.id)
        return result


def bare_app() -> Site:
    """Make an application that has the course's settings and none of its code."""
    app = Site("somebody_else", set_as_current=False)
    app.config_from_object("tutorial_tasks.settings")
    app.conf.imports = ()
    return app


@exercise("03.1")
def broken_then_repaired(answer: Answer) -> str:
    """One task failed because its name is not registered, the other was done by its right name."""
    site = bare_app()
    with evidence.publishing() as sent:
        returned = run(answer, site)
    if not isinstance(returned, list | tuple) or len(returned) != 2 or not all(isinstance(one, AsyncResult) for one in returned):
        raise NotYet("return two results, the broken one and the repaired one, as send_task gave them to you")
    for one, which in zip(returned, ("broken", "repaired"), strict=True):
        if one.id not in sent:
            raise NotYet(f"the {which} one was never sent")
        if one.id not in site.sent_by_name:
            raise NotYet(f"the {which} one was not sent by its name, with site.send_task: a web site does not have the code")
    broken, repaired = (finished(one.id) for one in returned)
    if broken["status"] != "FAILURE":
        raise NotYet(f"the broken one ended as {broken['status']}: the worker knows that name")
    if broken["result"]["exc_type"] != "NotRegistered":
        error = broken["result"]["exc_type"]
        raise NotYet(f"the broken one failed with {error}, so the worker knows the name; use one that it does not know")
    if repaired["status"] != "SUCCESS":
        raise NotYet(f"the repaired one ended as {repaired['status']}: {repaired['result']['exc_type']}")
    if repaired.get("name") != _MULTIPLY or repaired["result"] != 42:
        raise NotYet(f"the repaired one did {repaired.get('name')} and got {repaired['result']!r}, not multiply(6, 7)")
    if site.sent_by_name.index(returned[0].id) > site.sent_by_name.index(returned[1].id):
        raise NotYet("both are right; but send the broken one first, then the repaired one")
    return "one name that nobody knows, one that the worker does: the same app, which has no code at all, sent both"


@exercise("03.2")
def forged(answer: Answer) -> str:
    """A message without Celery's own marks was done like any other."""
    from tutorial_tasks.arithmetic import multiply

    with nobody_listening():
        before = {message.id for message in evidence.waiting(the_app())}
        with evidence.publishing() as sent:
            task_id = run(answer, the_app())
        mine = [message for message in settled() if message.id not in before]
        if sent or any(message.header("origin") for message in mine):
            raise NotYet("Celery wrote that message: it fired its own signal, or left its origin header; publish one yourself")
        if len(mine) != 1:
            raise NotYet(f'{len(mine)} messages wait in the queue "celery", not one; the routing key names the queue')
        if not _is_readable(mine[0]):
            discard(mine[0])  # a worker that takes it would die of it, again and again
            raise NotYet("no worker could read that message: it needs the headers task and id, and a body of [[6, 7], {}, {}]")
        if not calls(mine[0], multiply, 6, 7):
            discard(mine[0])
            raise NotYet(f"the message says {mine[0].label}, not multiply(6, 7): the body is [[6, 7], {{}}, {{}}]")
        if isinstance(task_id, AsyncResult):
            raise NotYet("return the id itself, the text, not a result made from it")
        if mine[0].id != task_id:
            raise NotYet(f"return the id that you gave the message: it says {mine[0].id!r}, you returned {task_id!r}")
        lab.worker.start()
        try:
            kept = finished(mine[0].id)
        except ClassroomError:
            raise NotYet(typed("the worker could not read the message; see: python -m classroom logs")) from None
        if kept["status"] != "SUCCESS":
            raise NotYet(f"the worker took it, and it ended as {kept['status']}: {kept['result'].get('exc_message')}")
        if kept.get("name") != _MULTIPLY or kept["result"] != 42:
            raise NotYet(f"the worker did {kept.get('name')} and got {kept['result']!r}, not multiply(6, 7)")
    return "the worker did what a message of your own hand told it"


def _is_readable(message: evidence.Message) -> bool:
    """Tell whether a worker can make out what to do: a task, an id, and a body of three parts."""
    return not message.problem and bool(message.header("task")) and bool(message.header("id"))

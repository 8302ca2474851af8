"""Exercises of 01: send without running, and find out where a task is."""

import random
import uuid

from celery.result import AsyncResult

from classroom import evidence, lab
from classroom.exercises.model import Answer, NotYet, exercise, run
from classroom.exercises.setting import calls, finished, nobody_listening, settled, the_app

_PLACES = ("notebook", "queue", "worker", "backend")


@exercise("01.1")
def sent_only(answer: Answer) -> str:
    """One message for multiply(6, 7) lies in the queue, and the learner said so."""
    from tutorial_tasks.arithmetic import multiply

    with nobody_listening():
        before = {message.id for message in evidence.waiting(the_app())}
        with evidence.publishing() as sent:
            returned = run(answer)
        if not sent:
            raise NotYet("no message was sent: a plain call runs in your notebook, the broker never hears of it")
        mine = [message for message in settled() if message.id not in before]
        if len(mine) != 1:
            raise NotYet(f"{len(mine)} messages wait in the queue, not one")
        if not calls(mine[0], multiply, 6, 7):
            raise NotYet(f"the message says {mine[0].label}, not multiply(6, 7)")
        if not isinstance(returned, list | tuple) or len(returned) != 2 or not isinstance(returned[0], AsyncResult):
            raise NotYet(f"the message is right; now return two things: what delay() gave you, and the place, one of {_PLACES}")
        if returned[0].id != mine[0].id:
            raise NotYet("the result that you returned belongs to another task")
        if returned[1] not in _PLACES:
            raise NotYet(f"the message is right; the place has to be one of {_PLACES}, not {returned[1]!r}")
        if returned[1] != "queue":
            raise NotYet(f"the message is right, but it is not in the {returned[1]}: look with lab.waiting() before the worker starts")
    finished(mine[0].id)
    return "one message, multiply(6, 7), lay in the queue, and you knew it"


@exercise("01.2")
def located(answer: Answer) -> str:
    """Queued, finished and invented tasks are told apart, several of each, in random order."""
    from tutorial_tasks.arithmetic import add
    from tutorial_tasks.lifecycle import fail, say_nothing

    app = the_app()
    # One that raised and one that returned None: both are done, and both are stored.
    done = [fail.delay(), say_nothing.apply_async(ignore_result=False)]
    for result in done:
        finished(result.id)
    with nobody_listening():
        queued = [add.delay(number, 2) for number in range(2)]
        invented = [app.AsyncResult(str(uuid.uuid4())) for _ in range(2)]
        truth = [(r, "backend") for r in done] + [(r, "queue") for r in queued] + [(r, "nowhere") for r in invented]
        random.shuffle(truth)
        for result, place in truth:
            # A fresh handle, as somebody has who knows only the id.
            said = run(answer, app.AsyncResult(result.id))
            if said == place:
                continue
            if place == "nowhere":
                raise NotYet(
                    f"you said {said!r} about an id that was never sent: PENDING means only that nothing is stored, "
                    "so look into the queue too"
                )
            if place == "queue":
                raise NotYet(f"you said {said!r} about a task whose message lies in the queue")
            how = "which failed" if result is done[0] else "which returned None"
            raise NotYet(f"you said {said!r} about a task {how}: that is a result too, and it is stored")
        lab.worker.start()
        for result in queued:
            finished(result.id)
    return "you told six tasks apart by what is stored and what waits, not by their state alone"

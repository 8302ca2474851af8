"""Exercises of 00: make messages wait, and let them drain."""

import contextlib
import random

from classroom import evidence
from classroom.errors import ClassroomError
from classroom.exercises.model import Answer, NotYet, exercise, run
from classroom.exercises.setting import finished, had_their_turn, is_done, nobody_listening, settled, the_app, worker_as_it_was, worker_runs
from classroom.stack import workers
from classroom.stack.worker_process import QUEUES

_TAKEN_WITHIN = 10.0  # seconds for a worker that runs


@exercise("00.1")
def three_wait(answer: Answer) -> str:
    """Exactly three messages lie in the queue, and the backend knows nothing of them."""
    with worker_as_it_was():
        with evidence.publishing() as sent:
            run(answer)
        if not sent:
            raise NotYet("your function sent no message; add.delay(2, 3) sends one")
        if len(sent) != 3:
            raise NotYet(f"your function sent {len(sent)} messages, not 3")
        if workers.state() == "paused":
            raise NotYet("the worker is only paused: it keeps what it has taken already, and goes on with that; stop it before you send")
        if worker_runs():
            with contextlib.suppress(ClassroomError):  # what it holds for later is not done in time
                for task_id in [task_id for task_id, queue in sent.items() if queue in QUEUES]:
                    finished(task_id, _TAKEN_WITHIN)
        # Only what was sent: a worker that stops gives back what it held for somebody else.
        waiting = [message.id for message in settled() if message.id in sent]
        if done := [task_id for task_id in sent if evidence.stored(the_app(), task_id)]:
            raise NotYet(f"the worker has taken {len(done)} of them; it has to be stopped before you send")
        if len(waiting) != 3:
            raise NotYet(f"{len(waiting)} of your 3 messages wait in the queue; the others went to another queue, or a worker holds them")
    for task_id in waiting:
        finished(task_id)
    return "three messages waited in the queue, and the backend had never heard of them"


@exercise("00.2")
def drained(answer: Answer) -> str:
    """The worker has done the three tasks that waited, and the queue holds none of them."""
    from tutorial_tasks.arithmetic import multiply

    factors = random.sample(range(10, 100), 3)
    with nobody_listening():
        results = [multiply.delay(factor, 2) for factor in factors]
        returned = run(answer, results)
        ids = [result.id for result in results]
        if not worker_runs():
            here = {message.id for message in evidence.waiting(the_app())}
            still = sum(task_id in here for task_id in ids)
            raise NotYet(f"no worker runs, {still} of the 3 messages still wait, and the backend has no result")
        had_their_turn(ids)
        if not all(is_done(task_id) for task_id in ids):
            raise NotYet("the messages are gone from the queue, but nobody did the work: they were thrown away")
        if not isinstance(returned, list | tuple) or list(returned) != [2 * factor for factor in factors]:
            raise NotYet(f"the worker did its work, but your function returned {returned!r}, not the three answers in their order")
    return "the queue is empty, and the backend holds the three results that you returned"

"""Exercises of 02: a start that is put off, and a message that goes stale."""

import time
from datetime import datetime

from classroom import evidence, lab
from classroom.errors import ClassroomError
from classroom.exercises.model import Answer, NotYet, exercise, run
from classroom.exercises.setting import calls, finished, nobody_listening, settled, the_app

_TOLERANCE = 0.5  # seconds by which the message of 02.2 may go stale sooner or later
_AT_ONCE = 1.0  # seconds that a call may take which does not wait
_TO_TAKE_IT = 0.5  # seconds in which a worker that has started has taken the message
_TRIES = 3
_TOOK_ITS_TIME = "your function took its time before it came back: the message has to say when, not you"


@exercise("02.1")
def later_on_slow(answer: Answer) -> str:
    """The message is on queue "slow", says +2 s and +5 s, and the worker obeyed."""
    for _ in range(_TRIES):
        with nobody_listening():
            message, took = _put_off(answer)
            # One try tells a function that waits from a computer that is busy as little as one that starts the worker late.
            if took > _AT_ONCE:
                continue
            lab.worker.start()
            # On a busy computer a worker may take longer to start than the message keeps: that is nobody's mistake.
            if time.time() > (message.time("expires") or 0) - _TO_TAKE_IT:
                continue
            kept = finished(message.id)
            if kept["status"] == "REVOKED" and evidence.moment(kept["date_done"]) >= (message.time("expires") or 0):
                continue
            if kept["status"] != "SUCCESS":
                raise NotYet(f"the task ended as {kept['status']}")
            if evidence.moment(kept["date_done"]) < (message.time("eta") or 0):
                raise NotYet("the task was done before its time")
        return 'the message lay in "slow", and the worker did it after two seconds, well before it went stale'
    if took > _AT_ONCE:
        raise NotYet(_TOOK_ITS_TIME)
    # All that the learner wrote is on the envelope, and that was right.
    return 'the message lay in "slow" with the right times on it; no worker did it, for this computer starts one too slowly just now'


def _put_off(answer: Answer) -> tuple[evidence.Message, float]:
    """Call the learner's function while nobody listens; return the message that it sent, as it should be, and the seconds that it took."""
    from tutorial_tasks.arithmetic import add

    with evidence.publishing() as sent:
        begun = time.time()
        run(answer)
        took = time.time() - begun
    if not sent:
        raise NotYet("no message was sent")
    if len(sent) != 1:
        raise NotYet(f"{len(sent)} messages were sent, not one")
    [task_id] = sent
    # The worker listens to both queues, so a message in any other one is found by nobody.
    found = {message.id: message for queue in ("slow", "celery") for message in evidence.waiting(the_app(), queue)}
    if task_id not in found:  # RabbitMQ may have it a moment later
        found = {message.id: message for queue in ("slow", "celery") for message in settled(queue)}
    if task_id not in found:
        raise NotYet('the message is neither in "slow" nor in "celery": is the queue\'s name spelt right?')
    message = found[task_id]
    if message.queue != "slow":
        raise NotYet(f'the message lies in the queue "{message.queue}", not in "slow"')
    if not calls(message, add, 2, 3):
        raise NotYet(f"the message says {message.label}, not add(2, 3)")
    if took > _AT_ONCE and message.time("eta") is None:
        raise NotYet(_TOOK_ITS_TIME)
    for header, wanted in (("eta", 2), ("expires", 5)):
        moment = message.time(header)
        if moment is None:
            raise NotYet(f"the message has no {header}")
        if datetime.fromisoformat(message.header(header)).tzinfo is None:
            raise NotYet(f"{header} has no time zone, so the worker would read it as UTC; take a countdown, or datetime.now(UTC)")
        # The call was made at some moment between the two; where they are far apart, this was not the last try.
        if not begun + wanted - 0.05 <= moment <= begun + took + wanted + 0.05:
            raise NotYet(f"{header} is {moment - begun:.1f} s after the call, not {wanted}; both count from the moment of the call")
    return message, took


@exercise("02.2")
def goes_stale(answer: Answer) -> str:
    """The message expires while nobody listens, and the worker throws it away."""
    from tutorial_tasks.arithmetic import add

    with nobody_listening():
        with evidence.publishing() as sent:
            begun = time.time()
            run(answer)
            ended = time.time()
        if elsewhere := set(sent.values()) - {"celery"}:
            raise NotYet(f'you sent it to the queue "{elsewhere.pop()}"; leave the queue out, so that it goes to "celery"')
        mine = [message for message in settled() if message.id in sent]
        if len(sent) != 1 or len(mine) != 1:
            raise NotYet(f"{len(sent)} messages were sent and {len(mine)} of them wait in the queue; it has to be one")
        if not calls(mine[0], add, 1, 1):
            raise NotYet(f"the message says {mine[0].label}, not add(1, 1)")
        expires = mine[0].time("expires")
        if expires is None:
            raise NotYet("the message never goes stale: it has no expires. (A revoke is heard only by workers that run.)")
        if not begun + 1 - _TOLERANCE < expires < ended + 1 + _TOLERANCE:
            raise NotYet(f"the message goes stale after {expires - begun:.1f} s, not after one")
        while (left := expires + 0.05 - time.time()) > 0:
            time.sleep(left)
        if mine[0].id not in {message.id for message in evidence.waiting(the_app())}:
            return "the message was stale before a worker came, and RabbitMQ threw it away itself, without a word"
        lab.worker.start()
        try:
            kept = finished(mine[0].id)
        except ClassroomError:
            raise NotYet("nothing became of the message") from None
        if kept["status"] != "REVOKED":
            raise NotYet(f"the worker did it all the same: {kept['status']}")
    return "the worker found the message, saw that it was too late, and threw it away: REVOKED"

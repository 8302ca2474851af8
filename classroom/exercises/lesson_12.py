"""Exercises of 12: a worker that ends and loses nothing, and a revoke that outlives its worker."""

import contextlib
import os
import signal
import tempfile
import uuid

from classroom import evidence, lab, questions
from classroom.another_worker import NODE, AnotherWorker
from classroom.errors import ClassroomError
from classroom.exercises.model import Answer, NotYet, exercise, run
from classroom.exercises.setting import finished, the_app

_QUEUE = "trial"
_ENDS_WITHIN = 10.0  # seconds after the learner's function
_ANSWERS_WITHIN = 10.0  # seconds for a worker that runs, to a question or with a task


@exercise("12.1")
def four_come_back(answer: Answer) -> str:
    """Four messages were given back by a worker that is gone, and every other task that was sent is done."""
    if evidence.is_rabbitmq(the_app()):
        raise ClassroomError(
            "this exercise looks for a mark that messages have on Redis only, and your broker is RabbitMQ",
            "python -m classroom down, then make lab without CLASSROOM_BROKER",
        )
    lab.worker.start()
    _leave_nothing()
    worker = lab.another_worker("--concurrency", "2", "--queues", _QUEUE)
    try:
        with evidence.publishing() as sent:
            run(answer, worker)
        if not sent:
            raise NotYet("no message was sent")
        if AnotherWorker.latest is not worker:
            raise NotYet("you started a worker of your own: use the one that your function gets")
        if elsewhere := set(sent.values()) - {_QUEUE}:
            raise NotYet(f"a task was sent to the queue {elsewhere.pop()!r}; your worker reads {_QUEUE!r}")
        _has_ended(worker)
        _all_is_well(sent)
    finally:
        _end(AnotherWorker.latest or worker)
        _leave_nothing()
        lab.worker.start()
    return f"four are back in {_QUEUE} for the next worker, and those that ran are done: nothing is lost"


def _has_ended(worker: AnotherWorker) -> None:
    try:
        worker.wait(_ENDS_WITHIN)
    except ClassroomError:
        raise NotYet(
            f"the worker is still there {_ENDS_WITHIN:g} seconds later: was it told to end? And is the gate open, so that it can finish?"
        ) from None


def _all_is_well(sent: dict[str, str]) -> None:
    app = the_app()
    messages = [message for message in evidence.waiting(app, _QUEUE) if message.id in sent]
    held = [message for message in evidence.unacknowledged(app) if message.id in sent]
    if held:
        raise NotYet(f"{len(held)} messages were not given back: the worker had no time for that. There is a signal that leaves it some")
    there = {message.id for message in messages}
    records = [str(app.AsyncResult(task_id).state) for task_id in sent if task_id not in there]
    if lost := [state for state in records if state != "SUCCESS"]:
        raise NotYet(
            f"{len(lost)} tasks are lost: on record is {lost[0]}, and their messages are gone. The worker had no time to finish them"
        )
    marked = [message for message in messages if message.header("redelivered")]
    if len(marked) < len(messages):
        raise NotYet(f"{len(messages) - len(marked)} messages in {_QUEUE!r} have no mark: no worker has ever had them. Wait until it has")
    if len(marked) != 4:
        raise NotYet(f"{len(marked)} messages came back, not four; {len(records)} tasks were done")


@exercise("12.2")
def remember(answer: Answer) -> str:
    """A worker that was told to leave a task out ended, and the next one, with the same options, left it out."""
    from tutorial_tasks.arithmetic import add

    app, unwanted = the_app(), str(uuid.uuid4())
    lab.worker.start()
    _leave_nothing()
    with tempfile.TemporaryDirectory(prefix="remember-") as folder:
        worker = _worker_with(answer, folder)
        try:
            if not questions.ask(app, "revoke", _ANSWERS_WITHIN, destination=[NODE], task_id=unwanted):
                raise NotYet(f"no worker with the name {NODE} heard the revoke: leave its name, and its ear, as they are")
            worker.stop()
            worker = _worker_with(answer, folder)
            add.apply_async((7, 7), queue=_QUEUE, task_id=unwanted)
            # One process does one after the other: when this one is done, the other one had its turn.
            _done_by(add.apply_async((1, 1), queue=_QUEUE).id)
            if app.AsyncResult(unwanted).state != "REVOKED":
                raise NotYet("the worker that was started again ran the task: it had forgotten what it was told")
        finally:
            _end(worker)
            _leave_nothing()
    return "the worker was told, ended, was started again, and still left the task out"


def _worker_with(answer: Answer, folder: str) -> AnotherWorker:
    """Start a worker with the learner's options, asked for anew as a person would type them anew."""
    options = run(answer, folder)
    if not isinstance(options, (list, tuple)) or not all(isinstance(word, str) for word in options):
        raise NotYet(f'return a list of words, as in ["--pool", "threads"]; you returned {options!r}')
    try:
        return lab.another_worker(*options, "--concurrency", "1", "--queues", _QUEUE)
    except ClassroomError as error:
        raise NotYet(f"no worker starts with {list(options)}: {error.problem}") from None


def _done_by(task_id: str) -> None:
    try:
        finished(task_id, _ANSWERS_WITHIN)
    except ClassroomError:
        raise NotYet("with these options the worker does no task any more") from None


def _end(worker: AnotherWorker) -> None:
    """End a worker that may wait for a gate; what it had is nobody's."""
    try:
        os.kill(worker.pid, signal.SIGKILL)
    except ClassroomError:
        return
    worker.wait(5)


def _leave_nothing() -> None:
    """Open the gate, and throw away what is left for the worker of an exercise, in its queue and in the broker's book."""
    from tutorial_tasks.lifecycle import Gate

    app = the_app()
    Gate("lesson 12").open()
    with app.connection_for_write() as connection:
        for message in evidence.unacknowledged(app):
            if message.queue == _QUEUE:
                connection.default_channel.qos.restore_by_tag(message.envelope["properties"]["delivery_tag"])
        with contextlib.suppress(*connection.channel_errors):  # RabbitMQ has no such queue before a worker reads it
            connection.default_channel.queue_purge(_QUEUE)

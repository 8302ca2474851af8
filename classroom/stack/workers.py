"""The workers that listen to us, whoever owns them: the supervisor of this checkout, or keepers elsewhere (`keeper`)."""

import contextlib
import json
import secrets
import socket
import time
from typing import Any

import redis

from classroom.errors import ClassroomError
from classroom.stack import client
from classroom.stack.keeping import Meeting, Worker
from classroom.stack.worker_process import NODE
from classroom.time_limit import not_counted

_WITHIN = 40.0  # seconds: a worker may take ten to stop and twenty to start


def found() -> list[Worker]:
    """Describe the workers that listen to us; none where somebody else's has no keeper, and where the backend does not answer."""
    with contextlib.suppress(redis.RedisError, OSError):
        return _known()
    return []


def refreshed() -> list[Worker]:
    """Describe the workers as they are just now; what a keeper says by itself can be a second old."""
    known = found()
    if client.is_outside() and known:
        _ask_keepers("describe", None, {})
        known = found()
    return known


def nodes() -> list[str]:
    """Name the workers that listen to us, as Celery knows them."""
    return [worker.node for worker in found()] or [NODE]


def running() -> list[str]:
    """Name those that run, as Celery knows them."""
    return [worker.node for worker in found() if worker.state == "running"]


def state() -> str:
    """Say in a word how they are: running when one does; of somebody else's, who don't listen to us, we know nothing."""
    states = [worker.state for worker in found()]
    return "running" if "running" in states or not states else states[0]


@not_counted()
def ask(verb: str, **arguments: Any) -> None:
    """Have every worker's owner do something.

    Raises:
        ClassroomError: nobody listens to us, or one could not do it.
    """
    _must_listen()
    if client.is_outside():
        _ask_keepers(verb, None, arguments)
    else:
        client.answer(verb, **arguments)


def pool() -> list[int]:
    """Return the process ids of the workers' pools, each in order."""
    _must_listen()
    if not client.is_outside():
        return list(client.answer("pool"))
    answers = _ask_keepers("pool", None, {})
    return [pid for worker in found() for pid in answers.get(worker.id, [])]


def kill_pool_process(pid: int | None = None) -> None:
    """Kill one process of a pool with SIGKILL: the one with this id, or the first.

    Raises:
        ClassroomError: it is no process of a pool.
    """
    _must_listen()
    if not client.is_outside():
        client.answer("kill pool process", pid=pid)
        return
    pools = _ask_keepers("pool", None, {})
    whose = [worker.id for worker in found() if (pid in pools.get(worker.id, []) if pid else pools.get(worker.id))]
    # With nobody's process, any keeper knows the right words for that.
    _ask_keepers("kill pool process", whose[0] if whose else found()[0].id, {"pid": pid})


def _known() -> list[Worker]:
    if not client.is_outside():
        stack = client.current()
        if not stack:
            return []
        return [Worker(NODE, socket.gethostname(), stack.worker, stack.worker_pid, stack.tasks, stack.sources, stack.trouble)]
    meeting = Meeting.of_the_backend()
    if meeting is None:
        return []
    with contextlib.closing(meeting):
        return meeting.workers()


def _must_listen() -> None:
    try:
        if _known():
            return
    except (redis.RedisError, OSError) as error:
        raise ClassroomError(f"the result backend does not answer: {error}", "python -m classroom doctor") from error
    if client.is_outside():
        raise ClassroomError(
            "the worker and the broker belong to somebody else (CELERY_BROKER_URL), so they are not ours to stop",
            "unset CELERY_BROKER_URL and CELERY_RESULT_BACKEND, then restart the kernel",
        )
    raise ClassroomError("no stack runs in this checkout", "lab.connect()")


def _ask_keepers(verb: str, to: str | None, arguments: dict[str, Any]) -> dict[str, Any]:
    """Ask all keepers or one, wait until each has done it, and return their answers by their ids."""
    meeting = Meeting.of_the_backend()
    assert meeting  # somebody listens there
    channel = meeting.key("reply", secrets.token_hex(8))
    request = json.dumps({"do": verb, "with": arguments, "to": to, "reply": channel})
    deadline = time.monotonic() + _WITHIN
    replies: dict[str, dict[str, Any]] = {}
    try:
        with contextlib.closing(meeting), meeting.redis.pubsub(ignore_subscribe_messages=True) as ears:
            ears.subscribe(channel)
            ears.get_message(timeout=2)  # it is heard from here on
            # A keeper whose container starts again is back in a moment; until then nobody has heard.
            while not (heard_by := meeting.redis.publish(meeting.channel, request)):
                _patience(deadline, verb)
                ears.get_message(timeout=0.1)
            while len(replies) < (1 if to else heard_by):
                _patience(deadline if meeting.redis.pubsub_numsub(meeting.channel)[0][1] else 0, verb)
                if heard := ears.get_message(timeout=1):
                    reply = json.loads(heard["data"])
                    replies[reply["id"]] = reply
    except (redis.RedisError, OSError) as error:
        raise ClassroomError(f"the result backend ended while the keeper was asked to {verb}: {error}", "lab.connect()") from error
    for reply in replies.values():
        if "problem" in reply:
            raise ClassroomError(reply["problem"], reply["remedy"])
    return {one: reply["answer"] for one, reply in replies.items()}


def _patience(deadline: float, verb: str) -> None:
    if time.monotonic() > deadline:
        raise ClassroomError(f"a worker's keeper did not answer to {verb!r}", "lab.connect(), or make docker-logs")

"""The main process of a worker's container: it keeps one worker, and does to it what clients ask for.

A client has no hands in a container, but both can reach the result backend's Redis. There the keeper says every second
how its worker is, and listens on a channel for what to do (`keeping` names the keys). It needs no port and no Docker socket;
who may write to that Redis may give the worker any task anyway.

Like the supervisor it is single-threaded on purpose (see `lifeline`): the worker dies with it, however it ends. A worker
that ends by itself is started again here; a keeper that ends is started again by whoever started it, such as Docker.
"""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import redis

from classroom.errors import ClassroomError
from classroom.stack.crashes import Crashes
from classroom.stack.keeping import LIFE, Meeting, Worker
from classroom.stack.place import ROOT, Place
from classroom.stack.processes import TICK
from classroom.stack.task_code import fingerprint, my_tasks_file
from classroom.stack.worker_process import NODE, WorkerProcess

ALIVE = "keeper-alive"  # a file in the state folder, touched as long as all is well: a container's health check looks at it

_BEAT = 1.0  # seconds between two signs of life
_AGAIN = 15.0  # seconds before another try with a worker that did not start, or kept dying: a broker can come late


class Keeper:
    """One worker, and what it takes to be asked for things.

    Args:
        meeting: where clients and keepers meet.
        place: the folder for the logs.
        id: what tells this keeper from the others; one that comes back after a crash has the same again.
    """

    def __init__(self, meeting: Meeting, place: Place, id: str) -> None:  # noqa: A002
        self.meeting = meeting
        self.redis = meeting.redis
        self.place = place
        self.told = Worker(node="", host=socket.gethostname(), id=id)
        self.worker = WorkerProcess(place.log("worker"), self.describe)
        self.wanted = True  # whether the worker should run, as far as anybody has said
        self.crashes = Crashes()
        self.stopping = False
        self.last_beat = self.last_try = 0.0
        self.verbs: dict[str, Callable[..., Any]] = {
            "start worker": self.start,
            "stop worker": self.stop,
            "pause worker": self.worker.pause,
            "resume worker": self.worker.resume,
            "kill worker": self.kill,
            "describe": lambda: None,  # before any answer the description is renewed
            "pool": self.worker.pool,
            "kill pool process": self.worker.kill_pool_process,
        }

    def run(self) -> None:
        """Keep the worker until told to stop; where Redis is gone, wait for it."""
        waiting = False
        while not self.stopping:
            try:
                self.serve()
            except redis.RedisError as error:
                if not waiting:
                    note(f"the result backend does not answer: {error}")
                waiting = True
                time.sleep(TICK)
            else:
                waiting = False
        self.worker.stop()
        with contextlib.suppress(redis.RedisError):
            self.leave()

    def serve(self) -> None:
        """Do what clients ask for and look after the worker, as long as Redis answers."""
        with self.redis.pubsub(ignore_subscribe_messages=True) as ears:
            ears.subscribe(self.meeting.channel)
            self.beat(at_once=True)
            if self.wanted and self.told.state not in ("running", "paused"):
                self.try_to_start()
            while not self.stopping:
                heard = ears.get_message(timeout=TICK)
                if heard:
                    self.answer(heard["data"])
                self.revive()
                self.beat()

    # -- what clients ask for --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the worker, or let a paused one go on."""
        self.wanted = True
        self.last_try = time.monotonic()
        self.worker.start({}, giving_up=self.giving_up)

    def stop(self) -> None:
        """Stop the worker."""
        self.wanted = False
        self.worker.stop()

    def kill(self) -> None:
        """Kill the worker; it stays dead until somebody wants it."""
        self.wanted = False
        self.worker.kill()

    def answer(self, request: str) -> None:
        """Serve one request: JSON with a verb, its arguments, whom it is for, and the channel for the reply."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            asked = json.loads(request)
            verb, arguments, channel = self.verbs[asked["do"]], dict(asked["with"]), str(asked["reply"])
            if asked["to"] not in (None, self.told.id):
                return
            reply: dict[str, Any] = {"id": self.told.id}
            self.beat(at_once=True)
            try:
                reply["answer"] = verb(**arguments)
            except ClassroomError as error:
                reply |= {"problem": f"{self.told.node}: {error.problem}", "remedy": error.remedy}
            except OSError as error:
                reply |= {"problem": f"{self.told.node}: {asked['do']} failed: {error}", "remedy": "make docker-logs"}
            self.redis.publish(channel, json.dumps(reply))

    # -- the worker ------------------------------------------------------------------------------------------------

    def try_to_start(self) -> None:
        """Start the worker; a failure is in the description, for whoever comes to mend it."""
        try:
            self.start()
        except ClassroomError as error:
            note(error.problem)

    def revive(self) -> None:
        """Start the worker again when it ended without being told to, or did not start: at once, or after a while if it keeps doing so."""
        if self.told.state == "failed" and self.wanted and time.monotonic() - self.last_try > _AGAIN:
            self.try_to_start()
        if not self.worker.has_died():
            return
        note(f"{self.told.node} ended by itself")
        if self.crashes.one_more():
            self.worker.give_up("it keeps dying")
            self.last_try = time.monotonic()
            return
        self.worker.kill()  # what is left of its pool
        self.try_to_start()

    # -- signs of life ---------------------------------------------------------------------------------------------

    def describe(self, **changes: Any) -> None:
        """Change the description of the worker, and tell it."""
        names = {"worker": "state", "worker_pid": "pid"}
        self.told = dataclasses.replace(self.told, **{names.get(name, name): value for name, value in changes.items()})
        # It is told later where Redis is gone just now; what was to be done is done.
        with contextlib.suppress(redis.RedisError):
            self.tell()

    def beat(self, at_once: bool = False) -> None:
        """Give a sign of life, once a second or at once; see that no other worker has our name."""
        now = time.monotonic()
        if not at_once and now - self.last_beat < _BEAT:
            return
        self.last_beat = now
        if not self.told.node or not self.claim(self.told.node):
            ran = self.worker.process is not None
            self.worker.stop()
            self.told = dataclasses.replace(self.told, node=self.free_name())
            self.worker.node = self.told.node
            if ran:
                self.try_to_start()
        own = my_tasks_file()
        self.told = dataclasses.replace(self.told, course=fingerprint(ROOT / "tutorial_tasks"), my_tasks=fingerprint(own))
        self.tell()
        if self.told.state in ("running", "paused") or not self.wanted:
            (self.place.folder / ALIVE).touch()

    def giving_up(self) -> bool:
        """Give signs of life while the worker starts, and tell whether it need not any more."""
        with contextlib.suppress(redis.RedisError):
            self.claim(self.told.node)
            self.tell()
        return self.stopping

    def tell(self) -> None:
        """Write the description down for as long as we live."""
        with self.redis.pipeline() as at_once:
            at_once.sadd(self.meeting.key("keepers"), self.told.id)
            at_once.sadd(self.meeting.key("hosts"), self.told.host)
            at_once.set(self.meeting.key("keeper", self.told.id), self.told.as_json(), ex=LIFE)
            at_once.execute()

    def claim(self, node: str) -> bool:
        """Take a name for our worker, or hold on to it; tell whether it is ours."""
        key = self.meeting.key("node", node)
        if self.redis.set(key, self.told.id, nx=True, ex=LIFE):
            return True
        return self.redis.get(key) == self.told.id and bool(self.redis.expire(key, LIFE))

    def free_name(self) -> str:
        """Claim the first name that nobody has: celery@lab, celery@lab-2 and so on."""
        number = 1
        while not self.claim(name := NODE if number == 1 else f"{NODE}-{number}"):
            number += 1
        return name

    def leave(self) -> None:
        """Take our signs away, so that nobody waits for us."""
        self.redis.delete(self.meeting.key("keeper", self.told.id))
        self.redis.srem(self.meeting.key("keepers"), self.told.id)
        if self.told.node and self.redis.get(key := self.meeting.key("node", self.told.node)) == self.told.id:
            self.redis.delete(key)


def note(text: str) -> None:
    """Say something in the keeper's own output, which is the container's log."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def main(argv: list[str]) -> None:
    """Keep a worker until SIGTERM; an argument is the keeper's id, which is else the name of the host."""
    meeting = Meeting.of_the_backend()
    if meeting is None:
        raise ClassroomError("a keeper hears through a Redis", "export CELERY_RESULT_BACKEND=redis://:password@host:6379/0")
    place = Place.current()
    place.create()
    keeper = Keeper(meeting, place, argv[1] if len(argv) > 1 else socket.gethostname())

    def stop(*_: Any) -> None:
        keeper.stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    note(f"keeper {keeper.told.id} begins, process {os.getpid()}")
    keeper.run()


if __name__ == "__main__":
    try:
        main(sys.argv)
    except ClassroomError as problem:
        sys.exit(str(problem))

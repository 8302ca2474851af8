"""Record real runs anew: `python -m tests.recorded.record [name ...]`.

Every function with `@run` is one recorded run: it does something with a real broker and real workers, and names what it
waits for. What the witnesses said meanwhile goes to a file with the function's name.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from celery.events import EventReceiver
from celery.signals import before_task_publish

from taskscope.observation import Observation

HERE = Path(__file__).parent
PATIENCE = 30.0

_OF_THE_ENVELOPE = {"type", "uuid", "hostname", "timestamp", "local_received", "traceback", "utcoffset", "pid", "clock"}
_MACHINE = socket.gethostname()


class Recorder:
    """Hears three witnesses and keeps what they say, without the names of this machine."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.heard: list[Observation] = []
        self.news = threading.Condition()
        self.ends = False
        self.receiver: EventReceiver
        self.threads = [threading.Thread(target=target, daemon=True) for target in (self.hear_events, self.hear_results)]
        before_task_publish.connect(self.hear_publishing)

    def start(self) -> None:
        """Return when both receivers have heard something of their own."""
        for thread in self.threads:
            thread.start()
        with self.app.events.default_dispatcher() as dispatcher:
            deadline = time.monotonic() + PATIENCE
            while not {"x-hello", "stored"} <= {observation.kind for observation in self.heard}:
                assert time.monotonic() < deadline, "nothing is heard"
                dispatcher.send("x-hello")
                self.app.backend.client.publish(self.app.backend.get_key_for_task("hello"), "{}")
                with self.news:
                    self.news.wait(0.05)

    def stop(self) -> None:
        self.ends = self.receiver.should_stop = True
        for thread in self.threads:
            thread.join(PATIENCE)
        before_task_publish.disconnect(self.hear_publishing)

    def keep(self, observation: Observation) -> None:
        with self.news:
            line = observation.to_json().replace(_MACHINE, "machine").replace(f"gen{os.getpid()}@", "client@")
            self.heard.append(Observation.from_json(line))
            self.news.notify_all()

    def hear_events(self) -> None:
        def keep(event: dict[str, Any]) -> None:
            self.keep(
                Observation(
                    source="event",
                    kind=event["type"].removeprefix("task-"),
                    at=event["timestamp"],
                    arrived=event["local_received"],
                    task=event.get("uuid"),
                    attempt=event.get("retries"),
                    host=event["hostname"],
                    data={name: value for name, value in event.items() if name not in _OF_THE_ENVELOPE},
                )
            )

        class Receiver(EventReceiver):
            def event_from_message(self, body: dict[str, Any], localize: bool = False, **kept: Any) -> Any:
                return super().event_from_message(body, localize=False, **kept)

        with self.app.connection() as connection:
            self.receiver = Receiver(connection, handlers={"*": keep}, app=self.app)
            # One capture for the whole time: what is said between two would be lost.
            self.receiver.capture(limit=None, timeout=None, wakeup=False)

    def hear_results(self) -> None:
        with self.app.backend.client.pubsub(ignore_subscribe_messages=True) as channel:
            channel.psubscribe("*celery-task-meta-*")
            while not self.ends:
                if not (message := channel.get_message(timeout=0.5)):
                    continue
                meta = json.loads(message["data"])
                now = time.time()
                data = {"state": meta.get("status", ""), "result": said_of(meta.get("result"))}
                self.keep(Observation(source="result", kind="stored", at=now, arrived=now, task=meta.get("task_id", "hello"), data=data))

    def hear_publishing(self, headers: dict[str, Any], routing_key: str, **_: Any) -> None:
        now = time.time()
        data = {"name": headers["task"], "args": headers["argsrepr"], "kwargs": headers["kwargsrepr"], "queue": routing_key}
        data |= {name: headers[name] for name in ("root_id", "parent_id", "group", "eta", "expires") if headers.get(name)}
        self.keep(
            Observation(source="publish", kind="published", at=now, arrived=now, task=headers["id"], attempt=headers["retries"], data=data)
        )

    # -- what a run waits for ---------------------------------------------------------------------------------

    def wait(self, count: int = 1, **wanted: Any) -> Observation:
        """Wait until so many observations have these attributes and data; return the last one."""

        def fits(observation: Observation) -> bool:
            return all(getattr(observation, name, observation.data.get(name)) == value for name, value in wanted.items())

        deadline = time.monotonic() + PATIENCE
        with self.news:
            while len(found := [observation for observation in self.heard if fits(observation)]) < count:
                if not self.news.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"waited {PATIENCE:g} s in vain for {count} x {wanted}; heard: {self.heard}")
        return found[count - 1]

    def wait_end(self, result: Any, event: str = "succeeded", state: str = "SUCCESS") -> None:
        """Wait until events and backend have both told a task's end."""
        self.wait(task=result.id, kind=event)
        self.wait(task=result.id, kind="stored", state=state)

    def wait_heartbeat(self, host: str) -> None:
        """Wait until a worker has told twice that it lives: what it had to say before is said."""
        now = sum(observation.kind == "worker-heartbeat" and observation.host == host for observation in self.heard)
        self.wait(now + 2, kind="worker-heartbeat", host=host)


def said_of(result: Any) -> str:
    """Write a stored result as Python would; an exception is stored as a dict."""
    if isinstance(result, dict) and "exc_type" in result:
        message = result["exc_message"]
        arguments = message if isinstance(message, list) else [message]
        return f"{result['exc_type']}({', '.join(map(repr, arguments))})"
    return repr(result)


@contextlib.contextmanager
def worker(
    recorder: Recorder, host: str, concurrency: int = 2, behind: float = 0.0, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker of the cast, whose clock may be so many seconds behind, until the block ends."""
    program = f"import time; real = time.time; time.time = lambda: real() - {behind}; from celery.__main__ import main; main()"
    arguments = ["-A", "tests.recorded.cast", "worker", "--loglevel", "WARNING", "--queues", "recorded", "--hostname", host]
    arguments += ["--concurrency", str(concurrency), "--without-mingle", "--without-gossip"]
    online = sum(observation.kind == "worker-online" and observation.host == host for observation in recorder.heard)
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        recorder.wait(online + 1, kind="worker-online", host=host)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


Run = Callable[[Recorder], None]
RUNS: dict[str, Run] = {}


def run(function: Run) -> Run:
    RUNS[function.__name__] = function
    return function


# -- the course's worker ----------------------------------------------------------------------------------------


@run
def success(heard: Recorder) -> None:
    from tutorial_tasks.arithmetic import add

    heard.wait_end(add.delay(2, 3))


@run
def failure(heard: Recorder) -> None:
    from tutorial_tasks.lifecycle import fail

    heard.wait_end(fail.delay("no"), "failed", "FAILURE")


@run
def retry(heard: Recorder) -> None:
    from tutorial_tasks.lifecycle import flaky

    heard.wait_end(flaky.delay(2, pause=0.2))


@run
def progress(heard: Recorder) -> None:
    from tutorial_tasks.lifecycle import count_to

    heard.wait_end(count_to.delay(3, pause=0.02))


@run
def revoked_queued(heard: Recorder) -> None:
    from tutorial_tasks.arithmetic import add

    result = add.apply_async((2, 3), countdown=1)
    heard.wait(task=result.id, kind="received")
    result.revoke()
    heard.wait(task=result.id, kind="revoked")
    heard.wait(2, task=result.id, kind="stored", state="REVOKED")


@run
def revoked_running(heard: Recorder) -> None:
    from tutorial_tasks.lifecycle import Gate, wait_at_gate

    Gate("recorded").close()
    result = wait_at_gate.delay("recorded")
    heard.wait(task=result.id, kind="stored", state="STARTED")
    heard.wait(task=result.id, kind="started")
    result.revoke(terminate=True)
    heard.wait_end(result, "revoked", "REVOKED")


@run
def expired(heard: Recorder) -> None:
    from classroom import lab
    from tutorial_tasks.arithmetic import add

    lab.worker.stop()
    result = add.apply_async((2, 3), expires=0.1)
    time.sleep(0.2)  # the time that the message has
    lab.worker.start()
    heard.wait_end(result, "revoked", "REVOKED")


@run
def eta(heard: Recorder) -> None:
    from tutorial_tasks.arithmetic import add

    heard.wait_end(add.apply_async((2, 3), countdown=1))


@run
def unregistered(heard: Recorder) -> None:
    heard.wait_end(heard.app.send_task("nobody.knows.this", (1,)), "failed", "FAILURE")


@run
def killed_child(heard: Recorder) -> None:
    from classroom import lab
    from tutorial_tasks.lifecycle import Gate, wait_at_gate

    Gate("recorded").close()
    result = wait_at_gate.delay("recorded")
    heard.wait(task=result.id, kind="stored", state="STARTED")
    heard.wait(task=result.id, kind="started")
    meta = json.loads(heard.app.backend.get(heard.app.backend.get_key_for_task(result.id)))
    lab.worker.kill_pool_process(meta["result"]["pid"])
    heard.wait_end(result, "failed", "FAILURE")


@run
def broken_chain(heard: Recorder) -> None:
    """Of three links the second one fails: the third never runs, and is stored as FAILURE."""
    from classroom.stack.worker_process import NODE
    from tutorial_tasks.arithmetic import add
    from tutorial_tasks.lifecycle import fail

    last = (add.s(2, 3) | fail.si("no") | add.si(1, 1)).apply_async()
    heard.wait_end(last.parent, "failed", "FAILURE")
    heard.wait(task=last.id, kind="stored", state="FAILURE")
    heard.wait_heartbeat(NODE)


@run
def two_slots(heard: Recorder) -> None:
    """Five tasks in two processes."""
    from tutorial_tasks.arithmetic import slow_add

    for result in [slow_add.delay(number, 1, seconds=seconds) for number, seconds in enumerate((0.3, 0.1, 0.1, 0.3, 0.1))]:
        heard.wait_end(result)


@run
def ignored_result(heard: Recorder) -> None:
    from tutorial_tasks.lifecycle import say_nothing

    heard.wait(task=say_nothing.delay(7).id, kind="succeeded")


# -- workers of our own -------------------------------------------------------------------------------------------


@run
def own_event(heard: Recorder) -> None:
    from tests.recorded.cast import telling

    with worker(heard, "one@cast"):
        result = telling.delay()
        heard.wait_end(result)
        heard.wait(3, task=result.id, kind="progress")


@run
def ignore(heard: Recorder) -> None:
    from tests.recorded.cast import add, ignored

    with worker(heard, "one@cast", concurrency=1):
        heard.wait(task=ignored.delay().id, kind="started")
        heard.wait_heartbeat("one@cast")
        heard.wait_end(add.delay(2, 3))


@run
def reject(heard: Recorder) -> None:
    from tests.recorded.cast import rejected

    with worker(heard, "one@cast"):
        result = rejected.delay()
        heard.wait_end(result, "failed", "FAILURE")
        heard.wait(task=result.id, kind="rejected")


@run
def reject_requeue(heard: Recorder) -> None:
    from tests.recorded.cast import rejected_once

    with worker(heard, "one@cast"):
        heard.wait_end(rejected_once.delay())


@run
def swallowed_retry(heard: Recorder) -> None:
    from tests.recorded.cast import swallowing

    with worker(heard, "one@cast", concurrency=1):
        result = swallowing.delay()
        heard.wait(3, task=result.id, kind="succeeded")


@run
def silent_task(heard: Recorder) -> None:
    from tests.recorded.cast import silent

    with worker(heard, "one@cast"):
        heard.wait(task=silent.delay().id, kind="stored", state="SUCCESS")
        heard.wait_heartbeat("one@cast")


@run
def same_id_twice(heard: Recorder) -> None:
    from tests.recorded.cast import add

    with worker(heard, "one@cast", concurrency=1):
        first = add.apply_async((2, 3), task_id="the-same-id")
        heard.wait_end(first)
        add.apply_async((5, 5), task_id="the-same-id")
        heard.wait(2, task="the-same-id", kind="succeeded")


@run
def killed_worker(heard: Recorder) -> None:
    """The worker dies with a late-acknowledged task; another one gets the message when the visibility timeout is over."""
    from tests.recorded.cast import late_nap

    with worker(heard, "one@cast", concurrency=1, CAST_VISIBILITY="2") as first:
        result = late_nap.delay(1)
        heard.wait(task=result.id, kind="started")
        heard.wait(task=result.id, kind="stored", state="STARTED")
        first.kill()
    with worker(heard, "two@cast", concurrency=1, CAST_VISIBILITY="2"):
        heard.wait_end(result)


@run
def cancelled(heard: Recorder) -> None:
    """A cold shutdown while a task runs: its message goes back, and the next worker does it."""
    from tests.recorded.cast import late_nap

    with worker(heard, "one@cast", concurrency=1) as first:
        result = late_nap.delay(1)
        heard.wait(task=result.id, kind="started")
        heard.wait(task=result.id, kind="stored", state="STARTED")
        first.send_signal(signal.SIGQUIT)
        first.wait(PATIENCE)
    with worker(heard, "one@cast", concurrency=1):
        heard.wait_end(result)


@run
def other_time_zone(heard: Recorder) -> None:
    from tests.recorded.cast import retried

    with worker(heard, "one@cast", TZ="Asia/Tokyo"):
        heard.wait_end(retried.delay(1))


@run
def two_clocks(heard: Recorder) -> None:
    """Two workers, the clock of one is 30 s behind; attempts of the same task run on both."""
    from tests.recorded.cast import nap, retried

    with worker(heard, "one@cast", concurrency=1), worker(heard, "two@cast", concurrency=1, behind=30):
        for result in [*(nap.delay(0.2) for _ in range(4)), *(retried.delay(3) for _ in range(4))]:
            heard.wait_end(result)


def main(names: list[str]) -> None:
    from classroom import lab

    lab.connect()
    from tests.recorded.cast import app as cast
    from tutorial_tasks.celery_app import app

    recorder = Recorder(app)
    recorder.start()
    cast.control.purge()  # what a run that broke off left
    for name in names or RUNS:
        del recorder.heard[:]
        RUNS[name](recorder)
        lines = [
            observation.to_json() for observation in list(recorder.heard) if observation.kind != "x-hello" and observation.task != "hello"
        ]
        (HERE / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
        print(f"{name}: {len(lines)} observations", flush=True)
    recorder.stop()


if __name__ == "__main__":
    main(sys.argv[1:])

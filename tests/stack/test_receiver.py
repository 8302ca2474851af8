"""The receiver on a real broker and a real worker: nothing is lost from the first task on, and what may be is said."""

import contextlib
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis
from celery import Celery
from kombu.pidbox import Mailbox

from classroom import evidence, lab
from taskscope.ledger import Ledger
from taskscope.observation import Observation
from taskscope.receiver import Receiver
from tests.stack import quiet
from tests.stack.one_process import one_process_free
from tests.stack.processes import PATIENCE, ROOT, eventually
from tutorial_tasks.arithmetic import add
from tutorial_tasks.lifecycle import count_to, flaky

pytestmark = pytest.mark.usefixtures("fresh_stack")

EVENTS = ["received", "sent", "started", "succeeded"]


@pytest.fixture(autouse=True)
def running_stack(app: Any) -> Any:
    return app


@pytest.fixture
def server(app: Any) -> Iterator[redis.Redis]:
    """The broker, as a plain Redis client."""
    client, _ = evidence.broker(app)
    yield client
    client.close()


@contextmanager
def watching(app: Celery, commands: bool = False) -> Iterator[tuple[Receiver, Ledger]]:
    ledger = Ledger()
    receiver = Receiver(app, ledger.append, commands).start()
    try:
        yield receiver, ledger
    finally:
        receiver.close()


def until(ledger: Ledger, condition: Callable[[list[Observation]], Any], what: str) -> list[Observation]:
    """Wait for more observations until a condition holds of all that there are."""
    deadline = time.monotonic() + PATIENCE
    while not condition(observations := list(ledger)):
        left = deadline - time.monotonic()
        assert ledger.wait(ledger.position, left) or condition(list(ledger)), f"{what}; seen: {observations}"
    return observations


def of(task: str, observations: list[Observation], *sources: str) -> list[str]:
    return sorted(o.kind for o in observations if o.task == task and o.source in sources)


def stored(task: str, observations: list[Observation]) -> list[str]:
    return [o.data["state"] for o in observations if o.task == task and o.source == "result"]


def has_ended(ledger: Ledger, *tasks: str) -> list[Observation]:
    """Wait until the backend has told the end of these tasks, and events all of their steps: that it was sent may come last."""

    def ended(observations: list[Observation]) -> bool:
        events = {(o.task, o.kind) for o in observations if o.source == "event"}
        results = {o.task for o in observations if o.data.get("state") == "SUCCESS" and o.source == "result"}
        return set(tasks) <= results and {(task, kind) for task in tasks for kind in EVENTS} <= events

    return until(ledger, ended, f"{tasks} have not ended")


def gaps(observations: list[Observation]) -> dict[str, Observation]:
    return {o.source: o for o in observations if o.kind == "gap"}


@pytest.mark.long
def test_twenty_fresh_starts_each_see_everything_from_the_first_task_on(app: Any) -> None:
    for attempt in range(20):
        with watching(app) as (receiver, ledger):
            tasks = [add.delay(attempt, number).id for number in range(3)]
            observations = has_ended(ledger, *tasks)
            assert receiver.status == ["events: on", "results: on", "publishing: on", "commands: off"]
            eventually(lambda: receiver.workers == ["celery@lab"], "the worker is heard")
        for task in tasks:
            assert of(task, observations, "event") == EVENTS, f"start {attempt}"
            assert of(task, observations, "publish") == ["published"]
            assert stored(task, observations) == ["STARTED", "SUCCESS"]
    assert not gaps(observations)


IN_A_PROCESS = """
    import json, sys
    from taskscope.ledger import Ledger
    from taskscope.receiver import Receiver
    from tutorial_tasks.arithmetic import add
    from tutorial_tasks.celery_app import app

    ledger = Ledger()
    receiver = Receiver(app, ledger.append, commands=True).start()
    task = add.delay(2, 3).id
    position = 0
    while {"sent", "succeeded", "stored SUCCESS"} - {f"{o.kind} {o.data.get('state', '')}".strip() for o in ledger if o.task == task}:
        assert ledger.wait(position, 10), list(ledger)
        position += 1
    print(json.dumps(sorted(o.kind for o in ledger if o.task == task and o.source == "event")))
"""


def in_a_process(code: str) -> subprocess.Popen[str]:
    """Start a script in a fresh process that uses our stack as somebody else's."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_fresh_processes_see_everything_and_end_without_closing_and_leave_nothing(app: Any, server: redis.Redis) -> None:
    before = server.smembers("_kombu.binding.celeryev")
    for process in [in_a_process(IN_A_PROCESS) for _ in range(3)]:
        out, complaints = process.communicate(timeout=PATIENCE)
        assert (process.returncode, complaints) == (0, "")
        assert json.loads(out) == EVENTS
    assert server.smembers("_kombu.binding.celeryev") == before


def test_a_retry_and_a_custom_state(app: Any) -> None:
    with watching(app) as (_, ledger), one_process_free():
        again, counting = flaky.delay(2, pause=0.1).id, count_to.delay(2, pause=0).id
        observations = has_ended(ledger, again, counting)
    assert [(o.kind, o.attempt) for o in observations if o.task == again and o.kind == "received"] == [("received", 0), ("received", 1)]
    assert stored(again, observations) == ["STARTED", "RETRY", "STARTED", "SUCCESS"]
    progress = [o.data["result"] for o in observations if o.task == counting and o.data.get("state") == "PROGRESS"]
    assert progress == ["{'done': 1, 'total': 2}", "{'done': 2, 'total': 2}"]


def test_a_broker_that_restarts_leaves_a_gap_and_the_taps_go_on(app: Any) -> None:
    with watching(app, commands=True) as (receiver, ledger):
        has_ended(ledger, add.delay(1, 1).id)
        before = time.time()
        lab.broker.restart()
        found = gaps(until(ledger, lambda observations: len(gaps(observations)) == 3, "not all taps came back"))
        assert set(found) == {"event", "result", "command"}
        for gap in found.values():
            assert gap.data["from"] <= gap.data["to"] <= time.time()
            assert gap.data["to"] >= before
            assert "could not be heard: " in gap.data["why"]
        assert receiver.status == ["events: on", "results: on", "publishing: on", "commands: on"]
        # Found again by the worker too, whose events come from the first task on
        # (or it was there before the tap was there, which then asked for its heart to beat).
        until(
            ledger,
            lambda observations: receiver.workers or any(o.kind == "worker-online" and o.arrived > before for o in observations),
            "no worker",
        )
        task = add.delay(20, 3).id
        assert of(task, has_ended(ledger, task), "event") == EVENTS
        until(ledger, lambda observations: "LPUSH" in of(task, observations, "command"), "the broker's command was not seen")


def test_a_subscriber_that_the_server_throws_out_says_so(app: Any, server: redis.Redis) -> None:
    with watching(app) as (_, ledger):
        server.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # as it does with one that reads too slowly
        until(ledger, lambda observations: len(gaps(observations)) == 2, "no gap of both")
        # The worker was thrown out, too: it answers when it has come back.
        eventually(lambda: app.control.ping(["celery@lab"], timeout=1), "the worker hears again")
        task = add.delay(1, 1).id
        assert of(task, has_ended(ledger, task), "event") == EVENTS


def test_two_receivers_of_an_app_share_its_taps(app: Any) -> None:
    before = threading.active_count()
    with watching(app) as (_, first):
        threads = threading.active_count()
        with watching(app) as (second_receiver, second):
            assert threading.active_count() == threads == before + 2
            task = add.delay(1, 1).id
            assert of(task, has_ended(first, task), "event") == of(task, has_ended(second, task), "event") == EVENTS
        assert second_receiver.status[0] == "events: off"
        seen = len(second)
        with watching(app, commands=True) as (third_receiver, third):  # more taps for everybody, without a new start
            assert third_receiver.status[3] == "commands: on"
            task = add.delay(2, 2).id
            assert of(task, has_ended(third, task), "event") == of(task, has_ended(first, task), "event") == EVENTS
        assert len(second) == seen
    assert threading.active_count() == before


def test_a_receiver_that_is_forgotten_is_closed(app: Any) -> None:
    before = threading.active_count()
    Receiver(app, Ledger().append).start()
    # In a thread of its own, for it may be the garbage collector that closes it.
    eventually(lambda: threading.active_count() == before, "its taps have ended")


def test_workers_whose_events_are_off_are_switched_on(app: Any) -> None:
    with quiet.worker(), watching(app) as (receiver, ledger):
        # Its start waits for nobody who answers late.
        eventually(lambda: receiver.workers == ["celery@lab", "quiet@lab"], "both workers are heard")
        tasks = [quiet.double.delay(number).id for number in range(3)]
        observations = has_ended(ledger, *tasks)
    assert [of(task, observations, "event") for task in tasks] == [EVENTS] * 3


def test_a_worker_that_comes_up_later_is_switched_on_too(app: Any) -> None:
    with watching(app) as (_, ledger), quiet.worker():

        def is_heard() -> bool:
            quiet.double.delay(1)  # its first tasks may go unseen
            ledger.wait(ledger.position, 0.05)
            return any(o.kind == "received" and o.host == "quiet@lab" for o in ledger)

        eventually(is_heard, "it sends events")
        tasks = [quiet.double.delay(number).id for number in range(3)]
        observations = has_ended(ledger, *tasks)
    assert [of(task, observations, "event") for task in tasks] == [EVENTS] * 3


def test_a_worker_that_heard_nothing_when_all_were_called_is_switched_on_when_its_heart_beats(app: Any) -> None:
    told = threading.Event()
    with watching(app), app.connection_for_read() as connection:
        node = Mailbox("celery", type="fanout", connection=connection).Node(
            "late@lab", state=None, handlers={"enable_events": lambda _state: told.set()}
        )
        with node.listen(channel=connection.default_channel):

            def listened() -> bool:
                with contextlib.suppress(TimeoutError):
                    connection.drain_events(timeout=0.1)
                return told.is_set()

            assert not listened(), "the first look is what subscribes"
            with app.events.default_dispatcher(hostname="late@lab") as dispatcher:
                dispatcher.send("worker-heartbeat")
            eventually(listened, "it is told to send its events")


# -- what the server allows ------------------------------------------------------------------------------------------------


@contextmanager
def user(app: Any, server: redis.Redis, *rules: str) -> Iterator[Celery]:
    """An app that comes to the same server as somebody with fewer rights."""
    url = str(app.conf.broker_url)
    variables = {name: os.environ.pop(name) for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND") if name in os.environ}
    password, address = url.removeprefix("redis://:").split("@")
    server.execute_command("ACL", "SETUSER", "watcher", "on", f">{password}", "~*", "&*", "+@all", *rules)
    theirs = f"redis://watcher:{password}@{address}"
    other = Celery("other", broker=theirs, backend=theirs, set_as_current=False)
    other.conf.update(task_send_sent_event=True)
    try:
        yield other
    finally:
        os.environ.update(variables)  # which would have come before the addresses that the app was given
        other.close()
        other.backend.client.connection_pool.disconnect()
        server.execute_command("ACL", "DELUSER", "watcher")


def test_a_server_that_forbids_monitor_is_no_error(app: Any, server: redis.Redis) -> None:
    with user(app, server, "-monitor") as other, watching(other, commands=True) as (receiver, ledger):
        assert receiver.status[:3] == ["events: on", "results: on", "publishing: on"]
        assert receiver.status[3].startswith("commands: not available: the server refuses MONITOR (")
        task = other.send_task("tutorial_tasks.arithmetic.add", (1, 1)).id
        assert of(task, has_ended(ledger, task), "event", "command") == EVENTS


def test_a_server_that_forbids_to_subscribe_leaves_our_own_publishing(app: Any, server: redis.Redis) -> None:
    with user(app, server, "-psubscribe") as other, watching(other) as (receiver, ledger):
        assert [line.partition(" (")[0] for line in receiver.status] == [
            "events: not available: the server refuses PSUBSCRIBE",
            "results: not available: the server refuses PSUBSCRIBE",
            "publishing: on",
            "commands: off",
        ]
        task = other.send_task("tutorial_tasks.arithmetic.add", (1, 1)).id
        until(ledger, lambda observations: of(task, observations, "publish"), "it was not published")
        assert of(task, list(ledger), "publish", "event", "result") == ["published"]


def test_passwords_are_in_no_observation(app: Any, server: redis.Redis) -> None:
    password = str(app.conf.broker_url).removeprefix("redis://:").split("@")[0]
    with watching(app, commands=True) as (_, ledger):
        for protocol in (2, 3):
            with redis.Redis.from_url(str(app.conf.broker_url), protocol=protocol, socket_timeout=5) as client:
                client.execute_command("AUTH", password)
                client.execute_command("HELLO", protocol, "AUTH", "default", password)
                client.set("somebody:else", password, ex=1)
        has_ended(ledger, add.delay(1, 1).id)
        commands = {"LPUSH", "BRPOP", "HSET", "SETEX"}
        observations = until(ledger, lambda seen: commands <= {o.kind for o in seen}, "not all commands were seen")
    assert password not in " ".join(o.to_json() for o in observations)


def test_a_prefix_is_the_apps_own(app: Any, server: redis.Redis) -> None:
    prefix = f"{uuid.uuid4().hex[:8]}:"
    other = Celery("other", broker=app.conf.broker_url, backend=app.conf.result_backend, set_as_current=False)
    other.conf.broker_transport_options = other.conf.result_backend_transport_options = {"global_keyprefix": prefix}
    try:
        with watching(other, commands=True) as (_, theirs), watching(app, commands=True) as (_, ours):
            sent = other.send_task("nobody.knows.it").id
            key, meta = f"{prefix}celery-task-meta-{sent}", json.dumps({"status": "SUCCESS", "result": 5, "task_id": sent})
            server.execute_command("SETEX", key, 60, meta)
            server.publish(key, meta)
            mine = add.delay(1, 1).id
            has_ended(ours, mine)
            seen = until(theirs, lambda o: stored(sent, o) and "PUBLISH" in of(sent, o, "command"), "not seen under its prefix")
        assert stored(sent, seen) == ["SUCCESS"]
        texts = [o.data["text"] for o in seen if o.source == "command" and o.task == sent]
        assert f"LPUSH {prefix}celery {{task: nobody.knows.it, id: {sent}}}" in texts
        assert any(text.startswith(f"SETEX {prefix}celery-task-meta-… ") for text in texts)
        assert mine not in {o.task for o in theirs}
        # The commands of an app without a prefix are those of the whole database.
        assert sent not in {o.task for o in ours if o.source != "command"}
    finally:
        server.delete(*server.keys(f"{prefix}*"))
        other.close()
        other.backend.client.connection_pool.disconnect()


# -- forks -----------------------------------------------------------------------------------------------------------------

FORKS = """
    import json, os, sys, warnings
    from taskscope.ledger import Ledger
    from taskscope.receiver import Receiver
    from tutorial_tasks.arithmetic import add
    from tutorial_tasks.celery_app import app

    warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks beside threads: that is what is tried here
    ledger = Ledger()
    receiver = Receiver(app, ledger.append).start()
    read, write = os.pipe()
    if not (child := os.fork()):
        own = Ledger()
        inherited = len(ledger)
        said = receiver.status
        receiver.close()
        again = Receiver(app, own.append).start()
        task = add.delay(1, 1).id
        while {"sent", "succeeded"} - {o.kind for o in own if o.task == task}:
            own.wait(own.position, 1)
        again.close()
        heard = sorted(o.kind for o in own if o.task == task and o.source == "event")
        os.write(write, json.dumps([said, len(ledger) - inherited, heard]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    task = add.delay(2, 2).id
    while {"sent", "succeeded"} - {o.kind for o in ledger if o.task == task}:
        ledger.wait(ledger.position, 1)
    published = [o.task == task for o in ledger if o.kind == "published"]
    print(json.dumps([json.loads(os.read(read, 10000)), receiver.status, published]))
"""


def test_a_fork_has_its_own_receiver_and_leaves_its_parents_alone(app: Any) -> None:
    process = in_a_process(FORKS)
    out, complaints = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, complaints
    child, status, published = json.loads(out)
    assert child == [["this process is a fork: the taps are those of its parent"], 0, EVENTS]
    assert status == ["events: on", "results: on", "publishing: on", "commands: off"]
    assert published == [True]


def test_every_observation_of_a_run_goes_to_a_file_and_back(app: Any, tmp_path: Any) -> None:
    with watching(app, commands=True) as (_, ledger):
        has_ended(ledger, flaky.delay(2, pause=0.1).id, add.delay(1, 1).id)
    ledger.save(tmp_path / "run.jsonl")
    assert list(Ledger.load(tmp_path / "run.jsonl")) == list(ledger)
    assert Counter(o.source for o in ledger).keys() == {"event", "result", "command", "publish"}

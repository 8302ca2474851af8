"""The taps without a broker: what each makes of a raw thing, and what the threads do when things go wrong."""

import base64
import gc
import json
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from celery import Celery, group
from hypothesis import given
from hypothesis import strategies as st
from kombu.compression import compress
from kombu.pidbox import Mailbox
from kombu.serialization import dumps

from taskscope import receiver as receiver_module
from taskscope.errors import ScopeError
from taskscope.ledger import Ledger
from taskscope.observation import Observation, Source, Unread
from taskscope.receiver import Receiver
from taskscope.taps import commands, ears, events, listener, plain, publish, results, wire
from taskscope.taps.listener import Listener, Refused
from tests.stack.processes import eventually

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text() | st.integers(), children, max_size=3),
    max_leaves=10,
)
SMALL = 4000  # characters of one observation as JSON, at the very most


@pytest.fixture(autouse=True)
def no_broker_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an app have the broker that a test gives it: the variables come before that."""
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.delenv(name, raising=False)


def is_small_json(observation: Observation | None) -> bool:
    if observation is None:
        return True
    again = Observation.from_json(observation.to_json())
    return again == observation and len(observation.to_json()) < SMALL


# -- events -----------------------------------------------------------------------------------------------------------


def event(kind: str, **fields: Any) -> dict[str, Any]:
    envelope = {"type": kind, "uuid": "id-1", "hostname": "celery@lab", "timestamp": 100.5, "utcoffset": -9, "pid": 7, "clock": 12}
    return envelope | fields


def test_an_event_becomes_an_observation() -> None:
    body = event("task-received", name="add", args="(2, 3)", kwargs="{}", retries=1, eta=None, root_id="id-0", parent_id=None)
    assert events.observation_of(body, 101.0) == Observation(
        source="event",
        kind="received",
        at=100.5,  # not moved by the difference of the time zones
        arrived=101.0,
        task="id-1",
        attempt=1,
        host="celery@lab",
        data={"pid": 7, "name": "add", "args": "(2, 3)", "kwargs": "{}", "root_id": "id-0"},
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("task-sent", "sent"),
        ("task-succeeded", "succeeded"),
        ("task-cancelled", "cancelled"),
        ("task-progress", "progress"),
        ("worker-heartbeat", "worker-heartbeat"),
        ("import-done", "import-done"),
    ],
)
def test_kinds_of_events(kind: str, expected: str) -> None:
    observation = events.observation_of(event(kind), 101.0)
    assert observation
    assert observation.kind == expected


@pytest.mark.parametrize("body", [None, 3, "task-sent", [], {}, {"type": None}, {"type": ""}, {"type": 3}, event(events.HELLO, token="x")])
def test_what_is_no_event_is_nothing(body: Any) -> None:
    assert events.observation_of(body, 101.0) is None


@pytest.mark.parametrize("timestamp", [None, "now", True, float("nan"), float("inf")])
def test_an_event_without_a_usable_time_has_that_of_its_arrival(timestamp: Any) -> None:
    observation = events.observation_of(event("task-sent", timestamp=timestamp), 101.0)
    assert observation
    assert observation.at == 101.0


def test_long_texts_are_cut_and_a_traceback_keeps_its_end() -> None:
    observation = events.observation_of(
        event("task-failed", exception="x" * 5000, traceback="first" + "y" * 5000 + "ValueError: last"), 1.0
    )
    assert observation
    assert observation.data["exception"] == "x" * 299 + "…"
    assert len(observation.data["traceback"]) == 300
    assert observation.data["traceback"].endswith("ValueError: last")


@given(st.dictionaries(st.sampled_from(["type", "uuid", "timestamp", "retries", "hostname", "args", "x"]), ANYTHING))
def test_whatever_an_event_holds_it_becomes_small_json_or_nothing(body: Any) -> None:
    assert is_small_json(events.observation_of(body, 101.0))


def test_pickles_are_never_opened_even_where_the_app_accepts_them() -> None:
    app = Celery(set_as_current=False)
    app.conf.update(event_serializer="pickle", accept_content=["json", "pickle", "application/x-python-serialize"])
    assert events._accepted(app) == {"application/json"}
    app.conf.update(event_serializer="yaml", accept_content=["json"])
    assert events._accepted(app) == {"application/json", "application/x-yaml"}
    app.conf.update(event_serializer="no such thing")
    assert "application/json" in events._accepted(app)


def test_the_brokers_name_has_no_password() -> None:
    app = Celery(set_as_current=False, broker="redis://:secret@one/0;amqp://me:secret@two//")
    name = events.broker_name(app)
    assert "secret" not in name
    assert "one" in name
    assert "two" in name


# -- results ----------------------------------------------------------------------------------------------------------


def test_a_stored_success() -> None:
    meta = {"status": "SUCCESS", "result": [1, 2], "traceback": None, "children": [], "date_done": "1970-01-01T00:01:40+00:00"}
    extended = {"name": "add", "args": [2, 3], "kwargs": {}, "worker": "celery@lab", "retries": 2, "queue": "celery", "task_id": "id-1"}
    observation = results.observation_of(meta | extended, 101.0)
    assert observation == Observation(
        source="result",
        kind="stored",
        at=100.0,
        arrived=101.0,
        task="id-1",
        host="celery@lab",
        data={
            "name": "add",
            "queue": "celery",
            "retries": 2,
            "date_done": "1970-01-01T00:01:40+00:00",
            "state": "SUCCESS",
            "result": "[1, 2]",
            "args": "(2, 3)",
            "kwargs": "{}",
        },
    )


@pytest.mark.parametrize(
    ("state", "result", "said"),
    [
        ("SUCCESS", None, "None"),
        ("FAILURE", {"exc_type": "ValueError", "exc_message": ["no"], "exc_module": "builtins"}, "ValueError('no')"),
        ("FAILURE", {"exc_type": "ValueError", "exc_message": None}, "ValueError()"),
        ("RETRY", {"exc_type": "E", "exc_message": "plain"}, "E('plain')"),
        ("FAILURE", ValueError("no"), "ValueError('no')"),
        ("PROGRESS", {"done": 1, "total": 3}, "{'done': 1, 'total': 3}"),
        ("STARTED", {"pid": 7, "hostname": "celery@lab"}, "{'hostname': 'celery@lab', 'pid': 7}"),
        ("PROGRESS", None, None),
    ],
)
def test_what_a_stored_state_says(state: str, result: Any, said: str | None) -> None:
    observation = results.observation_of({"status": state, "result": result, "task_id": "id-1"}, 101.0)
    assert observation
    shown = observation.data.get("result")
    assert shown == said or (isinstance(result, dict) and shown == repr(result))
    assert (observation.data["state"], observation.at) == (state, 101.0)


def test_a_started_task_names_its_process() -> None:
    observation = results.observation_of({"status": "STARTED", "result": {"pid": 7, "hostname": "celery@lab"}, "task_id": "id-1"}, 101.0)
    assert observation
    assert (observation.host, observation.data["pid"]) == ("celery@lab", 7)


@pytest.mark.parametrize("meta", [None, 3, [], {}, {"status": "SUCCESS"}, {"task_id": "x"}, {"status": 1, "task_id": "x"}])
def test_what_is_no_result_is_nothing(meta: Any) -> None:
    assert results.observation_of(meta, 101.0) is None


@given(st.dictionaries(st.sampled_from(["status", "task_id", "result", "date_done", "worker", "args", "retries", "traceback"]), ANYTHING))
def test_whatever_a_result_holds_it_becomes_small_json_or_nothing(meta: Any) -> None:
    assert is_small_json(results.observation_of({"status": "SUCCESS", "task_id": "id"} | meta, 101.0))


def test_moments() -> None:
    assert results.moment("1970-01-01T00:01:40") == 100  # without a zone it is UTC, wherever we are
    assert results.moment("1970-01-01T09:01:40+09:00") == 100
    assert [results.moment(text) for text in ("soon", "", None, 3, "9999-99-99")] == [None] * 5


def test_a_prefix_is_no_pattern() -> None:
    assert results.literally(b"a*b?[c]\\^-") == rb"a\*b\?\[c\]\\\^-"


@pytest.mark.parametrize(
    ("backend", "reason"),
    [
        (None, "stores no results"),
        ("cache+memory://", r"in another way \(Cache\)"),
        ("rpc://", r"in another way \(RPC\)"),
        ("nonsense://", "can't be used"),
    ],
)
def test_a_backend_that_tells_nothing_is_refused_politely(backend: str | None, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        results.redis_backend(Celery(set_as_current=False, broker="memory://", backend=backend))


# -- commands ---------------------------------------------------------------------------------------------------------

BODY = "W10="
MESSAGE = {
    "body": BODY,
    "headers": {"task": "add", "id": "id-1", "retries": 1, "group": "g-1", "group_index": 0, "parent_id": None},
    "properties": {"delivery_tag": "tag-1", "body_encoding": "base64"},
}
CONTROL = {"body": "eyJtZXRob2QiOiAicmV2b2tlIiwgImFyZ3VtZW50cyI6IHsidGFza19pZCI6ICJpZC0xIn19", "properties": {"body_encoding": "base64"}}
STORED = {"status": "SUCCESS", "task_id": "id-1", "result": "secret"}


def command(*words: str, db: int = 0) -> commands.Command:
    return commands.Command(100.5, db, "127.0.0.1:5000", words)


def as_redis_writes(word: bytes) -> str:
    """Write a word as the server does it for MONITOR."""
    named = {ord("\\"): "\\\\", ord('"'): '\\"', 10: "\\n", 13: "\\r", 9: "\\t", 7: "\\a", 8: "\\b"}
    return '"' + "".join(named.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in word) + '"'


@given(st.lists(st.text(), min_size=1, max_size=4), st.integers(0, 15), st.sampled_from(["127.0.0.1:5000", "lua", "unix:/tmp/s", "::1:80"]))
def test_a_line_of_monitor_gives_back_its_words(words: list[str], db: int, client: str) -> None:
    words = [word.encode("utf-8", "replace").decode() for word in words]
    line = f"1339518083.107412 [{db} {client}] " + " ".join(as_redis_writes(word.encode()) for word in words)
    assert commands.command_of(line) == commands.Command(1339518083.107412, db, client, tuple(words))


@pytest.mark.parametrize("line", ["", "OK", "PONG", "1.5 [0 x", 'x [0 127.0.0.1:1] "GET"', '1.5 [zero x] "GET"'])
def test_what_is_no_line_of_monitor_is_nothing(line: str) -> None:
    assert commands.command_of(line) is None


@pytest.mark.parametrize(
    ("words", "task", "text"),
    [
        (("LPUSH", "celery", json.dumps(MESSAGE)), "id-1", "LPUSH celery {task: add, id: id-1}"),
        (("LPUSH", "celery\x06\x163", json.dumps(MESSAGE)), "id-1", "LPUSH celery\\x06\\x163 {task: add, id: id-1}"),
        (("RPUSH", "celery", json.dumps(MESSAGE)), "id-1", "RPUSH celery {task: add, id: id-1}"),
        (("BRPOP", "celery", "celery\x06\x163", "1"), None, "BRPOP celery {it waits for the next message}"),
        (("ZADD", "unacked_index", "1.5", "tag-0"), "id-0", "ZADD unacked_index {task: mul, id: id-0}"),
        (("ZADD", "unacked_index", "1.5", "tag-9"), None, "ZADD unacked_index {tag: tag-9}"),
        (("HSET", "unacked", "tag-1", json.dumps([MESSAGE, "", "celery"])), "id-1", "HSET unacked {task: add, id: id-1}"),
        (("ZREM", "unacked_index", "tag-0"), "id-0", "ZREM unacked_index {task: mul, id: id-0}"),
        (("HDEL", "unacked", "tag-0"), "id-0", "HDEL unacked {task: mul, id: id-0}"),
        (
            ("SETEX", "celery-task-meta-id-1", "86400", json.dumps(STORED)),
            "id-1",
            "SETEX celery-task-meta-… 86400 {state: SUCCESS, id: id-1}",
        ),
        (("PUBLISH", "celery-task-meta-id-1", json.dumps(STORED)), "id-1", "PUBLISH celery-task-meta-… {state: SUCCESS, id: id-1}"),
        (("GET", "celery-task-meta-id-1"), "id-1", "GET celery-task-meta-… {id: id-1}"),
        (("SUBSCRIBE", "celery-task-meta-id-1"), "id-1", "SUBSCRIBE celery-task-meta-… {id: id-1}"),
        (("PUBLISH", "/0.celery.pidbox", json.dumps(CONTROL)), "id-1", "PUBLISH /0.celery.pidbox {command: revoke, id: id-1}"),
        (
            ("ZADD", "celery-taskset-meta-g-1.j", "0", '[1, "id-1", "SUCCESS", 4]'),
            "id-1",
            "ZADD celery-taskset-meta-g-1.j {id: id-1, state: SUCCESS}",
        ),
        (("SADD", "celery-taskset-meta-g-1.d", "id-1:0"), "id-1", "SADD celery-taskset-meta-g-1.d {id: id-1}"),
        (("SET", "celery-taskset-meta-g-1.s", "3", "EX", "9"), None, "SET celery-taskset-meta-g-1.s {size: 3}"),
        (("DEL", "celery-taskset-meta-g-1.j"), None, "DEL celery-taskset-meta-g-1.j"),
    ],
)
def test_commands_that_move_a_message_or_a_result(words: tuple[str, ...], task: str | None, text: str) -> None:
    observation = commands.observation_of(command(*words), commands.Keys(), {"tag-0": ("id-0", "mul")}, 101.0)
    assert observation
    assert (observation.source, observation.kind, observation.at, observation.arrived) == ("command", words[0], 100.5, 101.0)
    assert (observation.task, observation.data["text"]) == (task, text)
    assert "secret" not in observation.to_json()


def test_a_message_tells_the_attempt_and_the_group_and_its_tag_is_remembered() -> None:
    tags: dict[str, tuple[str, str]] = {}
    observation = commands.observation_of(command("LPUSH", "celery", json.dumps(MESSAGE)), commands.Keys(), tags, 101.0)
    assert observation
    assert (observation.attempt, observation.data["group"], observation.data["group_index"]) == (1, "g-1", 0)
    assert tags == {"tag-1": ("id-1", "add")}


@pytest.mark.parametrize(
    "words",
    [
        ("AUTH", "hunter2"),
        ("AUTH", "me", "hunter2"),
        ("HELLO", "3", "AUTH", "me", "hunter2"),
        ("CONFIG", "SET", "requirepass", "hunter2"),
        ("ACL", "SETUSER", "me", ">hunter2"),
        ("SET", "somebody:else", "hunter2"),
        ("GET", "somebody:else"),
        ("LPUSH", "somebody:else", "hunter2"),
        ("HSET", "somebody:else", "field", "hunter2"),
        ("PUBLISH", "chat", "hunter2"),
        ("PUBLISH", "/0.celeryev/task.multi", "[]"),
        ("PUBLISH", "/0.celery.pidbox", "hunter2"),
        ("LPUSH", "celery"),
        ("MULTI",),
        (),
    ],
)
def test_other_peoples_commands_and_passwords_are_not_kept(words: tuple[str, ...]) -> None:
    assert commands.observation_of(command(*words), commands.Keys(), {}, 101.0) is None


def test_only_the_apps_own_database_and_prefix_count() -> None:
    keys = commands.Keys(prefix="alice:", db=1, task="alice:celery-task-meta-", group="alice:celery-taskset-meta-", results_db=2)
    ours = [
        command("LPUSH", "alice:celery", json.dumps(MESSAGE), db=1),
        command("HDEL", "alice:unacked", "tag", db=1),
        command("SETEX", "alice:celery-task-meta-id-1", "9", "{}", db=2),
        command("SUBSCRIBE", "alice:celery-task-meta-id-1", db=7),  # channels are in no database
    ]
    theirs = [
        command("LPUSH", "celery", json.dumps(MESSAGE), db=1),
        command("LPUSH", "alice:celery", json.dumps(MESSAGE), db=0),
        command("HDEL", "unacked", "tag", db=1),
        command("SETEX", "alice:celery-task-meta-id-1", "9", "{}", db=1),
        command("SETEX", "celery-task-meta-id-1", "9", "{}", db=2),
    ]
    assert all(commands.observation_of(one, keys, {}, 101.0) for one in ours)
    assert not any(commands.observation_of(one, keys, {}, 101.0) for one in theirs)


@given(
    st.sampled_from(sorted(commands._RULES)),
    st.lists(st.sampled_from(["celery", "unacked", "celery-task-meta-x", "/0.celery.pidbox"]) | st.text(), max_size=4),
)
def test_whatever_a_command_holds_it_becomes_small_json_or_nothing(verb: str, words: list[str]) -> None:
    assert is_small_json(commands.observation_of(command(verb, *words), commands.Keys(), {}, 101.0))


@given(ANYTHING)
def test_whatever_a_message_holds_it_becomes_small_json_or_nothing(value: Any) -> None:
    text = json.dumps({"headers": value, "properties": value, "body": value}, default=repr, skipkeys=True)
    for verb, key in (("LPUSH", "celery"), ("PUBLISH", "/0.celery.pidbox"), ("SETEX", "celery-task-meta-x")):
        assert is_small_json(commands.observation_of(command(verb, key, text), commands.Keys(), {}, 101.0))


# -- publishing -------------------------------------------------------------------------------------------------------


def a_memory_app(name: str, **options: Any) -> Celery:
    app = Celery(name, broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.update(options)

    @app.task(name="shared.add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    return app


@pytest.fixture
def published() -> Iterator[Callable[[Celery], list[Observation]]]:
    taps: list[publish.PublishTap] = []

    def watch(app: Celery) -> list[Observation]:
        said: list[Observation] = []
        taps.append(publish.PublishTap(app, said.append))
        taps[-1].start()
        return said

    yield watch
    for tap in taps:
        tap.close()


def test_our_own_publishing_is_noted(published: Any) -> None:
    app = a_memory_app("one")
    said = published(app)
    before = time.time()
    result = app.tasks["shared.add"].apply_async((2, 3), countdown=60, expires=90, retries=2, parent_id="p", root_id="r")
    (observation,) = said
    assert (observation.source, observation.kind, observation.task, observation.attempt) == ("publish", "published", result.id, 2)
    assert before <= observation.at <= observation.arrived <= time.time()
    data = observation.data
    assert (data["name"], data["args"], data["kwargs"], data["queue"]) == ("shared.add", "(2, 3)", "{}", "celery")
    assert (data["parent_id"], data["root_id"]) == ("p", "r")
    assert results.moment(data["eta"]) == pytest.approx(before + 60, abs=5)
    assert results.moment(data["expires"]) == pytest.approx(before + 90, abs=5)
    assert is_small_json(observation)


def test_a_group_is_told_by_publishing_alone(published: Any) -> None:
    app = a_memory_app("one")
    said = published(app)
    add = app.tasks["shared.add"]
    sent = group(add.s(1, 1), add.s(2, 2)).apply_async()
    assert [(o.task, o.data["group"], o.data["group_index"]) for o in said] == [(r.id, sent.id, n) for n, r in enumerate(sent.results)]


def test_a_task_of_the_first_protocol_is_noted_too(published: Any) -> None:
    app = a_memory_app("one", task_protocol=1)
    said = published(app)
    result = app.tasks["shared.add"].delay(2, y=3)
    assert [(o.task, o.data["name"], o.data["args"], o.data["kwargs"]) for o in said] == [(result.id, "shared.add", "(2,)", "{'y': 3}")]


def test_only_this_apps_publishing_is_noted(published: Any) -> None:
    one, other = a_memory_app("one"), a_memory_app("other", task_default_queue="elsewhere")
    said_one, said_other = published(one), published(other)
    ids = {name: app.tasks["shared.add"].delay(1, 1).id for name, app in (("one", one), ("other", other))}
    ids["named"] = one.send_task("nobody.knows.it", queue="special").id
    assert [o.task for o in said_one] == [ids["one"], ids["named"]]
    assert [o.task for o in said_other] == [ids["other"]]


def test_what_could_not_be_sent_is_not_noted(published: Any) -> None:
    app = a_memory_app("one")
    said = published(app)
    for _ in range(3):
        with pytest.raises(Exception, match="JSON serializable"):
            app.tasks["shared.add"].delay(object(), 1)
    result = app.tasks["shared.add"].delay(1, 1)
    assert [o.task for o in said] == [result.id]


def test_the_signals_hold_what_listens_to_them() -> None:
    app, said = a_memory_app("one"), list[Observation]()
    tap = publish.PublishTap(app, said.append)
    tap.start()
    seen = weakref.ref(tap)
    del tap
    gc.collect()
    app.tasks["shared.add"].delay(1, 1)
    assert [o.kind for o in said] == ["published"]
    held = seen()
    assert held
    held.close()


def test_after_the_end_nothing_is_noted() -> None:
    app, said = a_memory_app("one"), list[Observation]()
    tap = publish.PublishTap(app, said.append)
    assert tap.status == "publishing: off"
    tap.start()
    assert tap.status == "publishing: on"
    tap.close()
    app.tasks["shared.add"].delay(1, 1)
    assert said == []


# -- plain ------------------------------------------------------------------------------------------------------------


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@given(ANYTHING)
def test_anything_becomes_plain_and_small(value: Any) -> None:
    assert len(json.dumps(plain.plain(value), allow_nan=False)) < SMALL


def test_what_has_no_repr_has_a_type() -> None:
    assert plain.plain(Hostile())
    assert json.dumps(plain.plain([Hostile(), 10**5000, {1: float("nan")}]))


# -- listening --------------------------------------------------------------------------------------------------------


class Fake(Listener):
    """A tap whose other side is a script: how each try to open, and each reading, ends."""

    name: ClassVar[str] = "fake"
    source: ClassVar[Source] = "event"

    def __init__(self, say: Any, *script: Exception | None) -> None:
        super().__init__(say)
        self.script = list(script)
        self.asked = 0
        self.shuts = 0
        self.exhausted = threading.Event()

    def open(self) -> None:
        if self.script and (error := self.script.pop(0)):
            raise error

    def read(self) -> None:
        if not self.script:
            self.exhausted.set()
            self._end.wait(0.01)
        elif error := self.script.pop(0):
            raise error

    def ask(self) -> None:
        self.asked += 1

    def shut(self) -> None:
        self.shuts += 1
        raise OSError("broken already")


def run(*script: Exception | None, say: Any = None) -> tuple[Fake, list[Observation]]:
    """Run a tap until its script is played to the end, or it gives up."""
    said: list[Observation] = []
    tap = Fake(say or said.append, *script)
    tap.start()
    tap.settle(time.monotonic() + 5)
    if any(isinstance(step, Refused) for step in script):
        tap._thread.join(20)
        assert not tap._thread.is_alive()
    else:
        assert tap.exhausted.wait(20)
    return tap, said


def test_a_cut_leaves_a_gap_and_the_tap_goes_on() -> None:
    before = time.time()
    tap, said = run(None, None, ConnectionError("cut"), OSError("still away"), OSError("still away"))
    assert tap.is_on
    assert tap.status == "fake: on"
    (gap,) = said
    assert (gap.source, gap.kind) == ("event", "gap")
    assert before <= gap.data["from"] < gap.data["to"] <= time.time()
    assert gap.data["why"] == "fake could not be heard: ConnectionError: cut"
    tap.close()
    assert tap.status == "fake: off"
    assert tap.shuts == 4  # three times it failed, and at the end


def test_before_it_was_ever_promised_nothing_was_missed() -> None:
    tap, said = run(OSError("not yet"), OSError("not yet"), None)
    assert (tap.is_on, said) == (True, [])
    tap.close()


def test_a_tap_that_came_up_after_somebody_stopped_waiting_says_what_it_missed() -> None:
    said: list[Observation] = []
    tap = Fake(said.append, OSError("away"))
    before = time.time()
    assert not tap.settle(time.monotonic())
    tap.start()
    assert tap.exhausted.wait(20)
    tap.close()
    assert [gap.data["why"] for gap in said] == ["fake could not be heard: OSError: away"]
    assert said[0].data["from"] <= before + 1


def test_a_refusal_is_final_and_said() -> None:
    tap, said = run(Refused("the server forbids it"))
    assert tap.status == "fake: not available: the server forbids it"
    assert said == []


def test_a_refusal_later_leaves_a_gap() -> None:
    _, said = run(None, ConnectionError("cut"), Refused("not any more"))
    assert [gap.data["why"] for gap in said] == ["fake is not available any more: not any more"]


def test_a_ledger_that_fails_does_not_end_the_tap(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_observation: Observation) -> None:
        raise RuntimeError("full")

    caplog.set_level(logging.CRITICAL, logger="taskscope")
    tap, _ = run(None, ConnectionError("cut"), None, say=refuse)
    assert tap.is_on
    tap.close()


def test_silence_is_asked_and_deafness_is_a_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "QUIET", 0.02)
    monkeypatch.setattr(listener, "DEAF", 0.02)
    said: list[Observation] = []
    tap = Fake(said.append)
    tap.start()
    deadline = time.monotonic() + 5
    while not said and time.monotonic() < deadline:
        tap._end.wait(0.01)
    tap.close()
    assert tap.asked
    assert said[0].data["why"] == "fake could not be heard: ConnectionError: no answer for 0.02 s"


def test_what_cannot_be_read_is_counted_and_leaves_one_gap() -> None:
    said: list[Observation] = []
    tap = Fake(said.append)
    for _ in range(3):
        tap.unreadable("an event as pickle: refused")
    assert [gap.data["why"] for gap in said] == ["something came that can't be read: an event as pickle: refused"]
    assert tap.status == "fake: not yet: it is connecting; 3 could not be read (an event as pickle: refused)"


# -- the receiver, on a broker in memory ---------------------------------------------------------------------------------


def test_a_receiver_without_a_server_says_what_it_can_and_can_not_do() -> None:
    ledger = Ledger()
    app = a_memory_app("one")
    receiver = Receiver(app, ledger.append, commands=True)
    assert receiver.status == ["events: off", "results: off", "publishing: off", "commands: off"]
    receiver.start()
    try:
        assert receiver.status == [
            "events: on",
            "results: not available: only Redis tells when a result is stored, and this app stores them in another way (Cache)",
            "publishing: on",
            "commands: not available: only Redis can tell its commands, and the broker is of the kind 'memory'",
        ]
        app.tasks["shared.add"].delay(1, 1)
        assert [o.kind for o in ledger] == ["published"]
        with app.events.default_dispatcher() as dispatcher:
            dispatcher.send(events.HELLO, token="somebody else's")
            dispatcher.send("task-custom", uuid="id-1")
        assert ledger.wait(1, 5)
        assert [o.kind for o in ledger] == ["published", "custom"]
    finally:
        receiver.close()
    receiver.close()
    assert receiver.status == ["events: off", "results: off", "publishing: off", "commands: off"]


def test_a_receiver_may_become_garbage_while_another_one_joins(monkeypatch: pytest.MonkeyPatch) -> None:
    before = threading.active_count()
    first, other, said = a_memory_app("one"), a_memory_app("two"), Ledger()
    cycle: list[Any] = [Receiver(first, said.append).start()]
    cycle.append(cycle)

    def collected(app: Celery) -> Any:
        gc.collect()  # as it may at any line
        return taps(app)

    taps = receiver_module._Taps
    monkeypatch.setattr(receiver_module, "_Taps", collected)
    second = Receiver(other, Ledger().append)
    joining = threading.Thread(target=second.start, daemon=True)
    gc.disable()
    del cycle
    joining.start()
    joining.join(10)
    gc.enable()
    assert not joining.is_alive(), "it waits for a lock that it holds itself"
    second.close()
    deadline = time.monotonic() + 10
    while (id(first) in receiver_module._registry or threading.active_count() > before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert id(first) not in receiver_module._registry
    assert threading.active_count() <= before


@pytest.mark.parametrize(("length", "kept"), [(10, Unread), (listener.LARGE, Observation)])
def test_what_is_large_is_read_when_it_comes(length: int, kept: type) -> None:
    said = list[Any]()
    tap = results.ResultsTap(a_memory_app("one"), said.append)
    tap.take([b"pmessage", b"*", b"key", json.dumps({"task_id": "id-1", "status": "SUCCESS", "result": "x" * length}).encode()])
    assert [type(one) for one in said] == [kept]
    assert len(one_of(said[0]).to_json()) < SMALL
    later, now = list[Any](), list[Any]()
    ear = ears.RedisEar.__new__(ears.RedisEar)
    ear._accept, ear._take, ear._later, ear._of_tasks = {"application/json"}, now.append, later.append, b"/0.celeryev/task."
    kind, encoding, body = dumps({"type": "task-sent", "uuid": "id-1", "args": "x" * length}, serializer="json")
    envelope = {"body": body, "headers": {}, "content-type": kind, "content-encoding": encoding, "properties": {}}
    ear._take_all([[b"pmessage", b"*", b"/0.celeryev/task.sent", json.dumps(envelope).encode()]])
    assert (len(now), len(later)) == ((0, 1) if kept is Unread else (1, 0))


def one_of(said: Observation | Unread) -> Observation:
    [one] = said.observations() if isinstance(said, Unread) else [said]
    return one


def test_events_as_pickles_are_refused_with_the_way_out() -> None:
    app = a_memory_app("one", event_serializer="pickle", accept_content=["json", "pickle"])
    with Running(app) as (receiver, _):
        assert receiver.status[0].startswith("events: not available: they are pickles, which could run any code")
        assert "event_serializer='json'" in receiver.status[0]


BITTEN: list[str] = []


class Bite:
    def __reduce__(self) -> Any:
        return (BITTEN.append, ("bitten",))


def test_a_foreign_pickle_is_not_opened_and_is_told() -> None:
    app = a_memory_app("one")
    with Running(app) as (receiver, ledger):
        with app.events.default_dispatcher() as dispatcher:
            dispatcher.serializer = "pickle"
            dispatcher.send("task-sent", uuid="id-1", args=Bite())
        assert ledger.wait(0, 5)
        (gap,) = ledger
        assert (gap.kind, BITTEN) == ("gap", [])
        assert "an event as application/x-python-serialize" in gap.data["why"]
        assert receiver.status[0].startswith("events: on; 1 could not be read")


def test_a_worker_that_comes_up_is_told_to_send_its_events() -> None:
    app = a_memory_app("one")
    told = threading.Event()
    with Running(app), app.connection_for_read() as connection:
        node = Mailbox("celery", type="fanout", connection=connection).Node(
            "late@host", state=None, handlers={"enable_events": lambda _state: told.set()}
        )
        with app.events.default_dispatcher(hostname="late@host") as dispatcher:
            dispatcher.send("worker-online")
        with node.listen(channel=connection.default_channel):  # it listens only after it has said that it is there
            deadline = time.monotonic() + 5
            while not told.is_set() and time.monotonic() < deadline:
                try:
                    connection.drain_events(timeout=0.1)
                except TimeoutError:
                    continue
    assert told.is_set()


def test_a_broker_that_does_not_answer_is_named_in_time() -> None:
    app = Celery("nowhere", broker="redis://:secret@127.0.0.1:1/0", backend="redis://127.0.0.1:1/0", set_as_current=False)
    before = set(threading.enumerate())
    for _ in range(20):  # the promise is the receiver's, not a busy machine's
        began = time.monotonic()
        with pytest.raises(ScopeError, match=r"the broker redis://:\*\*@127.0.0.1:1/0 can't be heard: .*refused.*\n  next: ") as error:
            Receiver(app, Ledger().append).start(timeout=1)
        if (took := time.monotonic() - began) < 1.5:
            break
    assert took < 1.5
    assert "secret" not in str(error.value)
    assert error.value._render_traceback_() == [f"ScopeError: {error.value}"]
    eventually(lambda: before >= set(threading.enumerate()), "its threads have ended")


def test_a_broker_of_an_unknown_kind_is_not_available() -> None:
    with Running(Celery("nowhere", broker="nonsense://", set_as_current=False)) as (receiver, _):
        assert receiver.status[0] == "events: not available: a broker at nonsense:/// can't be used ('No such transport: nonsense')"


class Running:
    """A receiver that runs as long as the block."""

    def __init__(self, app: Celery) -> None:
        self.ledger = Ledger()
        self.receiver = Receiver(app, self.ledger.append)

    def __enter__(self) -> tuple[Receiver, Ledger]:
        return self.receiver.start(), self.ledger

    def __exit__(self, *_: object) -> None:
        self.receiver.close()


# -- the bare line --------------------------------------------------------------------------------------------------------

REPLY = st.recursive(
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.binary(max_size=30),
    lambda children: st.lists(children, max_size=4),
    max_leaves=8,
)


def as_the_server_sends(reply: Any) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%s\r\n" % (len(reply), reply)
    return b"*%d\r\n" % len(reply) + b"".join(map(as_the_server_sends, reply))


@given(st.lists(REPLY, max_size=5), st.data())
def test_replies_are_put_together_from_pieces_of_any_size(replies: list[Any], data: st.DataObject) -> None:
    stream = b"+OK\r\n" + b"".join(map(as_the_server_sends, replies)) + b"-NOPERM no\r\n"
    reader, read, position = wire.Replies(), [], 0
    while position < len(stream):
        size = data.draw(st.integers(1, len(stream)))
        read += reader.feed(stream[position : position + size])
        position += size
    *same, error = read
    assert same == [b"OK", *replies]
    assert str(error) == "NOPERM no"


def test_another_protocol_is_a_lost_connection() -> None:
    with pytest.raises(ConnectionError, match=r"another protocol: b'HTTP/1\.1 400"):
        wire.Replies().feed(b"HTTP/1.1 400\r\n")


@pytest.mark.parametrize("serializer", ["json", "yaml", "pickle"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_message_as_kombu_writes_it_on_redis(serializer: str, compression: str | None) -> None:
    kind, encoding, body = dumps({"type": "task-sent", "uuid": "é"}, serializer=serializer)
    headers = {}
    if compression:
        body, headers["compression"] = compress(body, compression)
    text = base64.b64encode(body if isinstance(body, bytes) else body.encode()).decode()
    envelope = {
        "body": text,
        "headers": headers,
        "content-type": kind,
        "content-encoding": encoding,
        "properties": {"body_encoding": "base64"},
    }
    message = json.dumps(envelope).encode()
    assert ears.body_of(message, {kind}) == {"type": "task-sent", "uuid": "é"}
    with pytest.raises(ValueError, match=f"as {kind}: Refusing"):
        ears.body_of(message, {"application/nothing"})

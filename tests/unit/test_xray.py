"""Decoding what lies in a broker and a backend, and RabbitMQ's management API, all without a server of either kind."""

import base64
import json
import pickle
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st

from taskscope.errors import ScopeError
from taskscope.film import xray_table
from taskscope.gate import Gate, gate, judge
from taskscope.glance import Glance, of_redis, whose
from taskscope.keyspace import SEPARATOR, Key, backend_of, broker_of, escaped
from taskscope.messages import Message
from taskscope.xray import Binding, Queue, Snapshot, parse_binding, xray


def envelope(content: Any, **changes: Any) -> dict[str, Any]:
    return {
        "body": base64.b64encode(json.dumps(content).encode()).decode(),
        "content-type": "application/json",
        "headers": {"task": "tasks.add", "id": "some-id", "eta": None, "retries": 0},
        "properties": {"body_encoding": "base64", "delivery_info": {"routing_key": "celery"}, "priority": 0},
    } | changes


def read(content: Any = ((), {}, {}), /, **changes: Any) -> Message:
    return Message.read(json.dumps(envelope(content, **changes)), "celery")


# -- messages ---------------------------------------------------------------------------------------------------------


def test_a_message_says_what_it_asks_for() -> None:
    message = read(([2, 3], {"z": "a"}, {"chord": {"task": "tasks.total"}}))
    assert (message.id, message.task, message.queue, message.args, message.kwargs) == ("some-id", "tasks.add", "celery", [2, 3], {"z": "a"})
    assert (message.label, message.problem, message.chord) == ("add(2, 3, z='a')", "", {"task": "tasks.total"})
    assert (message.eta, message.retries, message.priority, message.group, message.parent) == (None, 0, 0, "", "")
    assert message.to_json()["chord"] == "tasks.total"


def test_headers_and_times() -> None:
    headers = {"task": "t", "id": "i", "eta": "1970-01-01T00:00:10+00:00", "expires": 5, "retries": 2, "group": "g", "parent_id": "p"}
    message = read(headers=headers)
    assert (message.eta, message.expires, message.retries, message.group, message.parent) == (10.0, None, 2, "g", "p")
    assert message.header("no such header") is None


def test_a_message_of_the_old_protocol() -> None:
    message = read({"task": "tasks.add", "id": "old", "args": [1], "kwargs": {"y": 2}}, headers={})
    assert (message.id, message.task, message.label) == ("old", "tasks.add", "add(1, y=2)")


def test_values_that_json_has_no_word_for_are_readable() -> None:
    assert read(([{"__type__": "uuid", "__value__": "abc"}], {}, {})).label == "add('abc')"


def test_a_huge_argument_is_cut() -> None:
    assert len(read((["x" * 1_000_000], {}, {})).label) < 100


PICKLE = "application/x-python-serialize"


class Bomb:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("opened"),)


def bomb() -> str:
    return base64.b64encode(pickle.dumps(Bomb())).decode()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"content-type": PICKLE, "body": bomb()}, "its body is a pickle, which could run any code, not opened"),
        ({"content-type": "application/x-msgpack"}, "its body is msgpack, not opened"),
        ({"content-type": "image/png"}, "its body is image/png, not opened"),
        ({"content-type": None}, "its body is unknown, not opened"),
        ({"body": "no base64!"}, "its body is not JSON"),
        ({"body": base64.b64encode(zlib.compress(b"[]")).decode()}, "its body is not JSON"),
        ({"body": base64.b64encode(b"[" * 100_000).decode()}, "its body is not JSON"),
        ({"body": None}, "its body is not JSON"),
        ({"body": 5}, "its body is not JSON"),
        ({"body": base64.b64encode(b"[1, 2]").decode()}, "its body is not a call of a task"),
        ({"headers": {"task": "tasks.add", "compression": "application/x-gzip"}}, "its body is compressed (application/x-gzip)"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_in_words(
    changes: dict[str, Any], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = read(**changes)
    assert message.problem == problem
    assert message.label == f"add(?): {problem}"
    assert (message.args, message.kwargs, message.body) == ([], {}, [])
    assert json.dumps(message.to_json())
    assert not Path("opened").exists()


@pytest.mark.parametrize(
    "raw", ["", "nonsense", b"\xff\xfe", "[" * 100_000, "null", "[]", "5", '{"headers": 1}', '{"headers": {}, "properties": []}']
)
def test_what_is_no_message_is_told_in_words(raw: str | bytes) -> None:
    message = Message.read(raw)
    assert message.problem in ("not JSON", "JSON, but not a message")
    assert message.label == message.problem


# A few letters are enough, and all of Unicode would take seconds to set up.
texts = st.text(alphabet='ab"\\\x00\x06\x16:é😀', max_size=8)
simple = st.none() | st.booleans() | st.integers() | st.floats() | texts
anything = st.recursive(simple, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=8)


@given(st.dictionaries(st.sampled_from(["body", "content-type", "headers", "properties"]), anything))
def test_no_message_breaks_the_picture(changes: dict[str, Any]) -> None:
    message = read(**changes)
    json.dumps(message.to_json())
    assert isinstance(message.label, str)


@given(st.binary())
def test_no_bytes_break_the_picture(raw: bytes) -> None:
    assert isinstance(Message.read(raw).label, str)


@given(anything, anything, anything)
def test_no_body_breaks_the_picture(args: Any, kwargs: Any, embed: Any) -> None:
    message = read([args, kwargs, embed])
    json.dumps(message.to_json())
    assert bool(message.problem) != (type(args) is list and type(kwargs) is dict and type(embed) is dict)


# -- bindings, prefixes, gates ----------------------------------------------------------------------------------------

part = texts.filter(lambda text: not set(text) & set(SEPARATOR))


@given(part, part, part)
def test_a_binding_is_read_as_it_was_written(routing_key: str, pattern: str, queue: str) -> None:
    assert parse_binding("x", SEPARATOR.join((routing_key, pattern, queue))) == Binding("x", routing_key, pattern, queue)


@given(st.text(alphabet="ab\x06\x16"))
def test_a_binding_is_read_or_it_is_none(member: str) -> None:
    binding = parse_binding("x", member)
    assert (binding is None) == (member.count(SEPARATOR) != 2)


def test_a_separator_of_one_s_own() -> None:
    assert parse_binding("x", "a::b", ":") == Binding("x", "a", "", "b")


def test_a_pattern_means_just_the_text() -> None:
    assert escaped("a*b?[c]\\") == "a\\*b\\?\\[c\\]\\\\"


def key(value: Any, size: int = 0) -> Key:
    return Key("", "", size, value, None)


FAILED, GOOD = b'[1, "id", "FAILURE", null]', b'[1, "id", "SUCCESS", 2]'


@pytest.mark.parametrize(
    ("keys", "gate"),
    [
        ({}, Gate(None, None, "absent")),
        ({"": key(b"{}")}, Gate(None, None, "absent")),
        ({"s": key(b"3")}, Gate(0, 3, "counting")),
        ({"s": key(b"3"), "j": key([(GOOD, 0.0)] * 2, 2)}, Gate(2, 3, "counting")),
        ({"s": key(b"3"), "t": key(b"2"), "j": key([GOOD], 1)}, Gate(1, 5, "counting")),
        ({"j": key([(GOOD, 0.0)], 1)}, Gate(1, None, "counting")),
        ({"s": key(b"2"), "j": key([], 2), "c": key(b"a token")}, Gate(2, 2, "opening")),
        ({"c": key(b"done")}, Gate(None, None, "open")),
        ({"j": key([(GOOD, 0.0), (FAILED, 1.0)], 2)}, Gate(2, None, "failed")),
        ({"j": key([FAILED], 1), "c": key(b"a token")}, Gate(1, None, "failed")),
        ({"s": key(b"many"), "j": key([b"garbage"], 1)}, Gate(1, None, "counting")),
    ],
)
def test_a_gate_is_told_from_its_keys(keys: dict[str, Key], gate: Gate) -> None:
    assert judge(keys) == gate


def place_of(**settings: Any) -> Any:
    app = Celery("places", set_as_current=False)
    app.conf.update(settings)
    return broker_of(app), backend_of(app)


def test_servers_are_found_by_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELERY_BROKER_URL", raising=False)
    monkeypatch.delenv("CELERY_RESULT_BACKEND", raising=False)
    broker, backend = place_of(
        broker_url="redis://u:secret@h:1/3",
        result_backend="redis://:secret@h:2/4",
        broker_transport_options={"global_keyprefix": "a:"},
        result_backend_transport_options={"global_keyprefix": "b"},
    )
    assert (broker.where, broker.prefix, backend.where, backend.prefix) == ("redis://h:1/3", "a:", "redis://h:2/4", "b_")
    assert broker.parameters["username"] == "u"
    assert "secret" not in f"{broker} {backend}"
    socket, _ = place_of(broker_url="redis+socket:///tmp/some.sock?virtual_host=2")
    assert (socket.where, socket.parameters["path"]) == ("redis:///tmp/some.sock/2", "/tmp/some.sock")
    tls, _ = place_of(broker_url="rediss://h/1?ssl_cert_reqs=required")
    assert tls.parameters["connection_class"].__name__ == "SSLConnection"
    assert place_of(broker_url="memory://", result_backend="cache+memory://") == (None, None)


# -- the snapshot -----------------------------------------------------------------------------------------------------


def test_a_queue_that_is_empty_is_no_key() -> None:
    assert Snapshot(0.0, "", "").queue("anything") == Queue("anything", 0, is_bound=False)


def test_other_servers_are_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELERY_BROKER_URL", raising=False)
    monkeypatch.delenv("CELERY_RESULT_BACKEND", raising=False)
    seen = xray(Celery("other", broker="memory://", backend="cache+memory://", set_as_current=False))
    assert "only Redis and RabbitMQ can be looked into" in seen.text()
    assert "the result backend is CacheBackend: only Redis" in seen.text()


@pytest.mark.parametrize(
    ("backend", "words"),
    [("nonsense://", "No module named 'nonsense'"), ("mongodb://localhost", "You need to install the pymongo library")],
)
def test_a_backend_that_can_t_be_used_is_told_with_the_next_step(monkeypatch: pytest.MonkeyPatch, backend: str, words: str) -> None:
    monkeypatch.delenv("CELERY_BROKER_URL", raising=False)
    monkeypatch.delenv("CELERY_RESULT_BACKEND", raising=False)
    app = Celery("x", broker="memory://", backend=backend, set_as_current=False)
    for look in (lambda: xray(app), lambda: gate(app, "some-group")):
        with pytest.raises(ScopeError, match=f"the result backend of this app can't be used: {words}(.|\n)*next: correct result_backend"):
            look()


def test_a_server_that_is_not_there_and_a_limit_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CELERY_BROKER_URL", raising=False)
    monkeypatch.delenv("CELERY_RESULT_BACKEND", raising=False)
    app = Celery("gone", broker="redis://127.0.0.1:1/0", backend="redis://127.0.0.1:1/0", set_as_current=False)
    with pytest.raises(ScopeError, match=r"redis://127.0.0.1:1/0 does not answer(.|\n)*next: is it running"):
        xray(app)
    with pytest.raises(ScopeError, match="would show nothing"):
        xray(app, limit=0)


# -- a glance ---------------------------------------------------------------------------------------------------------


def test_what_the_broker_keeps_of_the_tasks_that_run() -> None:
    held = [("celery", "m"), ("celery", "n"), ("slow", "o")]
    seen = of_redis({"celery": 2, "idle": 0}, held, 3, ["m", "other", "o"])
    assert seen == {
        "celery": {"waiting": 2, "unacked": 2, "kept": 1},
        "idle": {"waiting": 0, "unacked": 0, "kept": 0},
        "slow": {"waiting": 0, "unacked": 1, "kept": 1},
    }
    assert of_redis({"celery": 2}, held, 700, ["m"]) == {"celery": {"waiting": 2}}, "not all of them were looked at"


@given(st.one_of(st.binary(), st.text().map(str.encode), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps)))
def test_what_is_no_message_is_nobody_s(raw: bytes | str) -> None:
    assert whose(raw) == ("", "")


def test_a_message_names_its_queue_and_task_with_its_body_shut_and_the_old_protocol_within_it() -> None:
    packed = envelope("?", **{"content-type": "application/x-python-serialize"})
    assert whose(json.dumps([packed, "", "celery"])) == ("celery", "some-id")
    old = envelope({"task": "tasks.add", "id": "old", "args": [], "kwargs": {}}, headers={})
    assert whose(json.dumps([old, "", "celery"])) == ("celery", "old")


# -- RabbitMQ ---------------------------------------------------------------------------------------------------------


class Management(BaseHTTPRequestHandler):
    """The two answers of RabbitMQ's management API that we ask for, as version 3.10 gives them."""

    answers: ClassVar = {
        "/api/queues/my%2Fhost": [
            {"name": "celery", "messages_ready": 3, "messages_unacknowledged": 2, "consumers": 1},
            {"name": "celery@lab.celery.pidbox", "messages_ready": 0},
            {"name": "b"},
        ],
        "/api/bindings/my%2Fhost": [
            {"source": "", "destination": "celery", "destination_type": "queue", "routing_key": "celery"},
            {"source": "celery", "destination": "celery", "destination_type": "queue", "routing_key": "celery"},
        ],
    }
    heard: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.heard.append(f"{self.command} {self.path}")
        known = self.headers["Authorization"] == "Basic " + base64.b64encode(b"me:p@ss").decode()
        body = json.dumps(self.answers.get(self.path, {})).encode()
        self.send_response(200 if known else 401)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def management(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.delenv("CELERY_BROKER_URL", raising=False)
    monkeypatch.delenv("CELERY_RESULT_BACKEND", raising=False)
    Management.heard.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Management) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def rabbit(user: str = "me:p%40ss", vhost: str = "my%2Fhost") -> Celery:
    return Celery("rabbit", broker=f"amqp://{user}@127.0.0.1:1/{vhost}", backend="cache+memory://", set_as_current=False)


def test_rabbitmq_shows_numbers_and_no_messages(management: str) -> None:
    seen = xray(rabbit(), management_url=management)
    assert [(queue.name, queue.waiting, queue.unacked, queue.kind) for queue in seen.queues] == [
        ("b", 0, 0, "tasks"),
        ("celery", 3, 2, "tasks"),
        ("celery@lab.celery.pidbox", 0, 0, "replies"),
    ]
    assert seen.bindings == (Binding("celery", "celery", "", "celery"),)
    assert 'queue "celery": 3 waiting, 2 taken and not confirmed' in seen.text()
    assert "p@ss" not in f"{seen}{seen.to_json()}"
    assert Management.heard == ["GET /api/queues/my%2Fhost", "GET /api/bindings/my%2Fhost"]  # nothing that takes a message out
    assert xray(rabbit(), 2, management).of == {"queues": 3}


def test_a_glance_asks_rabbitmq_one_thing(management: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKSCOPE_MANAGEMENT_URL", management)
    seen = Glance(rabbit()).counts(running=["m"])
    assert Management.heard == ["GET /api/queues/my%2Fhost"]
    assert seen == {"celery": {"waiting": 3, "unacked": 2}, "b": {"waiting": 0, "unacked": 0}}, (
        "numbers, not messages: none is known as kept"
    )


def test_where_the_management_api_is_can_be_said_in_the_environment(management: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKSCOPE_MANAGEMENT_URL", management)
    assert xray(rabbit()).queue().waiting == 3


def test_of_a_task_rabbitmq_s_silence_is_no_proof(management: str) -> None:
    seen = xray(rabbit(), management_url=management, ids=["one", "two"], ended=["two"])
    assert seen.missing == ("two",)
    assert seen.hidden == ("one",)
    assert "1 task: RabbitMQ does not show whether it has a message" in seen.text()
    assert ["task one…", "", "RabbitMQ does not show its messages", ""] in xray_table(seen.to_json())["rows"]
    assert "1 task: no message, and no stored result" in seen.text()
    assert "does not show" not in xray(rabbit(), ids=["two"], ended=["two"]).text()
    assert Management.heard == []  # numbers of queues say nothing of one task


@pytest.mark.parametrize(
    ("app", "url", "says"),
    [
        (rabbit("me:wrong"), "", "answers 401"),
        (rabbit(vhost="other"), "", "something else than RabbitMQ's management API"),
        (rabbit(), "http://127.0.0.1:1", "management API is not at http://127.0.0.1:1"),
    ],
)
def test_a_management_api_that_does_not_answer_is_told_in_words(management: str, app: Celery, url: str, says: str) -> None:
    seen = xray(app, management_url=url or management)
    assert says in seen.notes[0]
    assert "next: " in seen.notes[0]


def test_an_address_that_is_none(management: str) -> None:
    with pytest.raises(ScopeError, match="is not the address of a management API"):
        xray(rabbit(), management_url="file:///etc/passwd")

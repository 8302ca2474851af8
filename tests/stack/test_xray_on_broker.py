"""What the X-ray shows of a real broker and backend, and that looking changes nothing."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Celery, chord, group

from classroom import evidence, lab
from taskscope.canvas import plan
from taskscope.errors import ScopeError
from taskscope.gate import Gate, gate
from taskscope.glance import Glance
from taskscope.keyspace import photograph
from taskscope.xray import Snapshot, xray
from tutorial_tasks import lifecycle
from tutorial_tasks.arithmetic import add, total
from tutorial_tasks.lifecycle import fail, flaky, wait_at_gate

READING = {
    *("SCAN", "TYPE", "PTTL", "STRLEN", "GETRANGE", "LLEN", "LRANGE", "HLEN", "HSCAN", "SCARD", "SSCAN", "ZCARD", "ZRANGE"),
    *("MULTI", "EXEC", "HELLO", "SELECT", "AUTH", "CLIENT"),
}


@pytest.fixture
def client(app: Celery) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(app.conf.broker_url) as client:
        yield client


@pytest.fixture(scope="module", autouse=True)
def worker_afterwards(app: Celery, fresh_stack: Celery) -> Iterator[None]:
    yield
    lab.worker.stop()  # it gives back what it holds for later
    with redis.Redis.from_url(app.conf.broker_url) as client:
        client.flushdb()
    lab.worker.start()


@pytest.fixture
def idle(app: Celery, client: redis.Redis) -> None:
    """Nothing is there, and nobody works."""
    lab.worker.stop()
    client.flushdb()


@pytest.fixture
def working(app: Celery, client: redis.Redis) -> None:
    """Nothing is there, and the worker works."""
    client.flushdb()
    lab.worker.start()


@pytest.fixture
def another_app(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Make an application with servers of its own; Celery prefers the environment to what an application says itself."""

    def make(name: str, broker: str, backend: str) -> Celery:
        monkeypatch.setenv("CELERY_BROKER_URL", broker)
        monkeypatch.setenv("CELERY_RESULT_BACKEND", backend)
        return Celery(name, broker=broker, backend=backend, set_as_current=False)

    return make


def until(app: Celery, condition: Callable[[Snapshot], Any], what: str) -> Snapshot:
    found: Snapshot = evidence.wait_until(lambda: (seen := xray(app)) and condition(seen) and seen, 10, what)
    return found


@pytest.mark.usefixtures("idle")
def test_messages_that_wait_with_priorities(app: Celery) -> None:
    add.apply_async((1, 1), priority=9)
    ids = [add.delay(number, number).id for number in (2, 3)]
    add.apply_async((4,), {"y": 4}, priority=4, expires=100, countdown=50)
    seen = xray(app)
    assert seen.text().splitlines()[0] == 'queue "celery": 4 waiting: add(2, 2), add(3, 3), add(4, y=4) (for later), add(1, 1)'
    queue = seen.queue()
    assert [message.id for message in queue.messages[:2]] == ids
    assert [message.priority for message in queue.messages] == [0, 0, 4, 9]
    assert [message.key for message in queue.messages] == ["celery", "celery", "celery\x06\x163", "celery\x06\x169"]
    later = queue.messages[2]
    assert (later.task, later.args, later.kwargs, later.retries, later.queue) == (add.name, [4], {"y": 4}, 0, "celery")
    assert later.eta and later.expires and time.time() + 40 < later.eta < later.expires < time.time() + 100
    assert queue.is_bound
    assert [(binding.exchange, binding.queue) for binding in seen.bindings] == [("celery", "celery")]
    assert [other.meaning for other in seen.others if not other.meaning] == []


@pytest.mark.usefixtures("idle")
def test_a_message_of_a_chord_names_its_group_and_the_body(app: Celery) -> None:
    one = plan(chord([add.s(1, 1), add.s(2, 2)], total.s()))
    one.signature.delay()
    seen = xray(app)
    (box,) = one.graph.boxes
    assert [message.group for message in seen.queue().messages] == [box.id] * 2
    assert [(message.chord or {})["task"] for message in seen.queue().messages] == [total.name] * 2
    assert [(found.id, found.gate) for found in seen.groups] == [(box.id, Gate(0, 2, "counting"))]


@pytest.mark.usefixtures("idle")
def test_looking_changes_nothing_and_only_reads(app: Celery, client: redis.Redis) -> None:
    group([add.s(1, 1), add.s(2, 2)]).delay()
    chord([add.s(1, 1), add.s(2, 2)], total.s()).delay()
    client.hset("unacked", "tag", '[{"headers": {}, "properties": {}}, "", "celery"]')
    client.zadd("unacked_index", {"tag": 1.0})
    client.set("celery-task-meta-x", '{"status": "SUCCESS", "result": 1}', ex=1000)
    client.xadd("stream", {"a": 1})
    before = {key: (client.dump(key), client.pexpiretime(key)) for key in client.scan_iter()}
    heard: list[str] = []
    with redis.Redis.from_url(app.conf.broker_url, decode_responses=True) as listener, listener.monitor() as monitor:
        reader = threading.Thread(target=lambda: heard.extend(_until_the_end(monitor)))
        reader.start()
        xray(app)
        gate(app, "some-group")
        client.echo("end of the monitor")
        reader.join(10)
    assert not reader.is_alive()
    commands = [line.split(" ")[0].upper() for line in heard if "ECHO" not in line]
    assert {"SCAN", "EXEC", "LRANGE"} <= set(commands) <= READING
    assert commands.count("MULTI") <= 2  # one look, one gate
    assert {key: (client.dump(key), client.pexpiretime(key)) for key in client.scan_iter()} == before


@pytest.mark.usefixtures("idle")
def test_a_glance_has_the_numbers_of_the_whole_look_and_does_not_go_through_the_database(app: Celery, client: redis.Redis) -> None:
    for priority in (0, 4, 9):
        add.apply_async((1, 1), priority=priority)
    add.apply_async((2, 2), queue="unread")
    held = add.apply_async((3, 3), queue="held")
    (message,) = xray(app).queue("held").messages
    client.hset("unacked", "tag", f'[{message.raw}, "", "held"]')  # as a worker does that has taken it
    client.set("celery-task-meta-x", '{"status": "SUCCESS", "result": 1}')
    glance = Glance(app)
    heard: list[str] = []
    with redis.Redis.from_url(app.conf.broker_url, decode_responses=True) as listener, listener.monitor() as monitor:
        reader = threading.Thread(target=lambda: heard.extend(_until_the_end(monitor)))
        reader.start()
        seen = [glance.counts(["unread", "held"], [held.id]) for _ in range(2)]
        gate(app, "some-group")
        client.echo("end of the monitor")
        reader.join(10)
    assert not reader.is_alive()
    whole = xray(app)
    assert seen[0] == seen[1]
    assert {name: told["waiting"] for name, told in seen[0].items()} == {
        **dict.fromkeys(app.amqp.queues, 0),
        **{queue.name: queue.waiting for queue in whole.queues if queue.kind == "tasks"},
    }
    assert {name: told["unacked"] for name, told in seen[0].items() if told["unacked"]} == {"held": len(whole.unacked)}
    assert {name: told["kept"] for name, told in seen[0].items() if told["kept"]} == {"held": 1}
    commands = [line.split(" ")[0].upper() for line in heard if "ECHO" not in line]
    assert set(commands) <= READING - {"SCAN", "GETRANGE"}
    assert commands.count("AUTH") + commands.count("HELLO") <= 2, "one connection for both glances, one for the gate"
    assert glance._client
    assert client.client_kill_filter(_id=str(glance._client.client_id())) == 1
    assert glance.counts(["unread", "held"], [held.id]) == seen[0], "a connection that was cut is made again"
    glance.close()
    assert glance.counts(["unread", "held"], [held.id]) == seen[0], "a live view looks once more at its end"
    assert glance._client is None, "and keeps nothing"


def _until_the_end(monitor: Any) -> Iterator[str]:
    for said in monitor.listen():
        if "end of the monitor" in said["command"]:
            return
        yield said["command"]


@pytest.mark.usefixtures("idle")
def test_garbage_is_shown_as_what_it_is(app: Celery, client: redis.Redis) -> None:
    client.rpush("celery", b"\xff\x00garbage", "[1, 2]", '{"headers": {"task": "a.b", "id": "x"}, "properties": {}, "body": "gASV"}')
    client.hset("unacked", "tag", "garbage")
    client.set("celery-task-meta-text", "not json")
    client.set("celery-task-meta-big", "x" * 100_000)
    client.rpush("celery-task-meta-list", "a")
    client.sadd("_kombu.binding.celery", "no binding at all")
    client.set("_kombu.binding.text", "no set")
    client.set("celery-taskset-meta-g.s", "many")
    client.set("celery-taskset-meta-g.x", "?")
    client.set("mine", "something else")
    seen = xray(app)
    # Queues that other tests have declared in this process are known to the app, and empty.
    assert [line for line in seen.text().splitlines() if not line.endswith(": 0 waiting")] == [
        'queue "celery": 3 waiting: b(?): its body is unknown, not opened, JSON, but not a message, not JSON',
        "taken by a worker, not confirmed: 1: not a message that was taken from a queue",
        "stored results: 3: 100000 bytes, not read, a list, not a result, not JSON that Celery wrote",
        "group: its members are kept, nobody counts",
        'key "mine" (string): not known',
    ]
    assert seen.to_json()["queues"][0]["messages"][2]["problem"] == "not JSON"
    assert {name: meaning for name, meaning, _ in seen.groups[0].keys}["celery-taskset-meta-g.x"] == "not known"


@pytest.mark.usefixtures("idle")
def test_at_most_so_many_of_each_kind_and_the_rest_is_counted(app: Celery, client: redis.Redis) -> None:
    group([add.s(number, 0) for number in range(12)]).delay()
    for number in range(12):
        client.set(f"celery-task-meta-{number}", '{"status": "SUCCESS", "result": 1}')
        client.hset("unacked", str(number), '[{"headers": {}, "properties": {}}, "", "celery"]')
        client.set(f"other-{number}", "")
    client.delete("_kombu.binding_deadlines")  # there or not, by what has run before
    seen = xray(app, limit=5)
    assert (len(seen.queue().messages), seen.queue().waiting) == (5, 12)
    assert (len(seen.results), len(seen.others)) == (5, 5)
    assert seen.of == {"results": 12, "unacked": 12, "other keys": 12}
    text = seen.text()
    assert 'queue "celery": 12 waiting, showing 5 of 12: add(0, 0), add(1, 0)' in text
    assert "stored results: 12, showing 5 of 12" in text
    assert "other keys: 12, showing 5 of 12" in text


@pytest.mark.usefixtures("idle")
def test_a_prefix_keeps_two_apart(app: Celery, client: redis.Redis, another_app: Any) -> None:
    add.delay(9, 9)
    url = app.conf.broker_url
    with another_app("alice", url, url) as alice:
        alice.conf.broker_transport_options = {"global_keyprefix": "alice:"}
        alice.conf.result_backend_transport_options = {
            "global_keyprefix": "alice[1]"
        }  # Celery adds an underscore, and * and [ mean themselves
        alice.send_task("tasks.hello", (1,))
        client.set("alice[1]_celery-task-meta-x", '{"status": "SUCCESS", "result": 1}')
        client.set("alice1_celery-task-meta-y", '{"status": "SUCCESS", "result": 1}')
        seen = xray(alice)
        assert [message.label for message in seen.queue().messages] == ["hello(1)"]
        assert [one.id for one in seen.results] == ["x"]
        assert seen.queue().messages[0].key == "alice:celery"
        assert [(binding.exchange, binding.queue) for binding in seen.bindings] == [("celery", "celery")]
    assert [message.label for message in xray(app).queue().messages] == ["add(9, 9)"]


@pytest.mark.usefixtures("idle")
def test_broker_and_backend_in_two_databases(app: Celery, client: redis.Redis, another_app: Any) -> None:
    url = app.conf.broker_url.removesuffix("/0")
    with another_app("two", f"{url}/0", f"{url}/1") as two:
        add.delay(1, 1)
        client.set("celery-task-meta-here", '{"status": "SUCCESS", "result": 1}')
        with redis.Redis.from_url(f"{url}/1") as other:
            other.set("celery-task-meta-there", '{"status": "SUCCESS", "result": 2}')
            seen = xray(two)
            other.flushdb()
    assert [one.id for one in seen.results] == ["there"]
    assert seen.queue().waiting == 1
    assert "celery-task-meta-here" in [other.name for other in seen.others]
    assert "two moments" in seen.notes[0]


@pytest.mark.usefixtures("idle")
def test_who_may_not_list_keys_sees_the_queues_all_the_same(app: Celery, client: redis.Redis, another_app: Any) -> None:
    add.delay(1, 1)
    client.acl_setuser("learner", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all", "-scan", "-keys"])
    url = app.conf.broker_url.rpartition("@")[2]
    with another_app("learner", f"redis://learner:secret@{url}", "cache+memory://") as learner:
        seen = xray(learner)
        client.acl_deluser("learner")
        assert seen.queue().waiting == 1
        assert "does not let us list its keys" in seen.notes[-1]
        with pytest.raises(ScopeError, match="does not answer"):
            xray(learner)


@pytest.mark.usefixtures("idle")
def test_keys_that_vanish_while_we_look_are_left_out(client: redis.Redis) -> None:
    client.set("here", "1")
    assert [key.name for key in photograph(client, [b"here", b"gone"], 5).values()] == ["here"]


@pytest.mark.usefixtures("working")
def test_a_countdown_lies_with_the_worker(app: Celery) -> None:
    result = add.apply_async((1, 1), countdown=60)
    seen = until(app, lambda seen: seen.unacked, "the worker has taken the message")
    (taken,) = seen.unacked
    assert taken.message.id == result.id
    assert taken.message.label == "add(1, 1)"
    assert taken.at and time.time() - 20 < taken.at <= time.time()
    assert "taken by a worker, not confirmed: 1: add(1, 1) (for later)" in seen.text()
    assert any(binding.exchange == "celery.pidbox" for binding in seen.bindings)


@pytest.mark.usefixtures("working")
def test_results_in_all_their_states(app: Celery) -> None:
    expected = [add.delay(2, 3), fail.delay("no"), flaky.apply_async((2,), {"pause": 60})]

    def are_there(seen: Snapshot) -> bool:
        # The second attempt has left the queue a moment before the worker says that it holds it.
        return {one.state for one in seen.results} == {"SUCCESS", "FAILURE", "RETRY"} and "(retry 1)" in seen.text()

    seen = until(app, are_there, "all three are stored, and one of them is held for later")
    by_id = {one.id: one for one in seen.results}
    shown = [(by_id[result.id].call, by_id[result.id].state, by_id[result.id].value) for result in expected]
    assert shown == [
        ("add(2, 3)", "SUCCESS", "5"),
        ("fail('no')", "FAILURE", "ValueError('no')"),
        ("flaky(2, pause=60)", "RETRY", "ConnectionError('attempt 1 of 2 failed')"),
    ]
    assert all(one.ttl and 86000 < one.ttl <= 86400 for one in seen.results)


@pytest.mark.usefixtures("working")
def test_a_result_that_is_asked_for_is_found_among_any_number(app: Celery) -> None:
    wanted, held = add.delay(2, 3), add.apply_async((1, 1), countdown=60)
    results = [add.delay(number, 0) for number in range(5)]
    assert [result.get(timeout=10) for result in (wanted, *results)] == [5, *range(5)]
    until(app, lambda seen: seen.unacked, "the worker has taken the one for later")
    seen = xray(app, limit=1, ids=[wanted.id, held.id])
    assert ([stored.id for stored in seen.results], [taken.message.id for taken in seen.unacked]) == ([wanted.id], [held.id])
    assert seen.of == {}
    assert not seen.bindings
    assert xray(app, limit=1, ids=[results[0].id, results[1].id]).of == {"results": 2}


@pytest.mark.usefixtures("working")
def test_the_gate_of_a_chord_from_closed_to_open(app: Celery) -> None:
    barrier = lifecycle.Gate("xray")
    barrier.close()
    one = plan(chord([add.s(1, 1), add.s(2, 2), wait_at_gate.s("xray")], total.s()))
    group_id = one.graph.boxes[0].id
    assert gate(app, group_id) == Gate(None, None, "absent")
    result = one.signature.delay()
    half = evidence.wait_until(lambda: (seen := gate(app, group_id)).counted == 2 and seen, 10, "two are counted")
    assert half == Gate(2, 3, "counting")
    seen = xray(app)
    (found,) = seen.groups
    assert found.gate == half
    assert {meaning for _, meaning, _ in found.keys} >= {"how many the gate waits for", "the results that were counted"}
    assert all(ttl and ttl <= 86400 for _, _, ttl in found.keys)
    assert "group: 2 of 3 counted" in seen.text()
    barrier.open()
    with pytest.raises(TypeError):  # total() of numbers and a name
        result.get(timeout=10)
    assert evidence.wait_until(lambda: (seen := gate(app, group_id)).state == "open" and seen, 10, "the gate is open")


@pytest.mark.usefixtures("working")
def test_the_gate_of_a_chord_whose_header_fails(app: Celery) -> None:
    one = plan(chord([add.s(1, 1), fail.s("no")], total.s()))
    one.signature.delay()
    evidence.wait_until(lambda: gate(app, one.graph.boxes[0].id).state == "failed", 10, "the gate has failed")
    assert "one of them failed: the body will not run" in xray(app).text()

"""The lessons' steps as one plain script: python client.py, or with --step 02, or --list.

Each function is one notebook, each `section` one of its headings, in the same order. It is plain Celery, but for three
things: `lab.connect()` joins the broker and the worker of this checkout (or those that CELERY_BROKER_URL names),
`lab.worker` and `lab.api` stop and start the worker and the web service where a lesson does, and `Scope` listens, and
tells in words what the lesson draws.
"""

import base64
import json
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.client import HTTPResponse
from threading import Barrier
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen
from zoneinfo import ZoneInfo

import click
from celery import Celery, chain, chord, group
from celery.canvas import Signature
from celery.exceptions import ChordError, NotRegistered, TaskRevokedError
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult
from kombu.exceptions import EncodeError

from classroom import lab
from classroom.errors import ClassroomError
from taskscope import Scope
from taskscope.view import Plan
from tutorial_tasks.arithmetic import add, multiply, total
from tutorial_tasks.celery_app import app
from tutorial_tasks.collectors import cleanup, collector_1, collector_2, collector_3, collector_gathering, collector_request, process
from tutorial_tasks.lifecycle import Gate, count_to, echo, fail, flaky, meet, say_nothing, wait_at_gate
from tutorial_tasks.projects import clean_data, create_project
from tutorial_tasks.settings import data_dir
from tutorial_tasks.shops import stock, wait_for_shops

ROWS = 300  # of lesson 09


def section(heading: str) -> None:
    """Print a heading of the lesson."""
    click.echo(f"\n## {heading}")


def show(what: str, value: Any) -> None:
    """Print an expression and its value."""
    click.echo(f"{what} -> {value!r}")


def step_01_delay() -> None:
    """01 · delay: a call is a message."""
    section("A plain call")
    show("add(2, 3)", add(2, 3))

    section("The same call as a message")
    result = add.delay(2, 3)
    show("add.delay(2, 3)", type(result).__name__)
    show("result.get(timeout=10)", result.get(timeout=10))
    show("add.delay(x=2, y=3).get(timeout=10)", add.delay(x=2, y=3).get(timeout=10))

    section("What is in the message?")
    lab.worker.stop()
    result = add.delay(2, 3)
    message = next(message for message in lab.waiting() if message["headers"]["id"] == result.id)
    show("message", sorted(message))
    show("task", message["headers"]["task"])
    args, kwargs, _what_follows = json.loads(base64.b64decode(message["body"]))
    show("args, kwargs", (args, kwargs))

    section("Break it: ask when nobody listens")
    try:
        result.get(timeout=1)
    except CeleryTimeoutError as error:
        show("result.get(timeout=1)", error)
    show("result.state", result.state)

    section("Ask for the answer")
    lab.worker.start()
    show("result.get(timeout=10)", result.get(timeout=10))
    show("result.state", result.state)
    show("waiting", lab.waiting())


def step_02_apply_async() -> None:
    """02 · apply_async: what stands on the envelope."""
    section("The same call written out")
    show("add.apply_async((2, 3))", add.apply_async((2, 3)).get(timeout=10))

    section("Not before: countdown")
    result = add.apply_async((2, 3), countdown=4)
    lab.until(lambda: lab.unacknowledged())
    ask = app.control.inspect(limit=1, timeout=5)
    held = [item for items in ask.scheduled().values() for item in items]
    show("held by the worker", [item["request"]["args"] for item in held])
    show("waiting in the queue", lab.waiting())
    show("result.get(timeout=10)", result.get(timeout=10))

    section("At a given time: eta")
    eta = datetime.now(UTC) + timedelta(seconds=1)
    result = add.apply_async((2, 3), eta=eta)
    show("result.get(timeout=10)", result.get(timeout=10))
    show("result.date_done >= eta", result.date_done >= eta)

    section("Which queue")
    queues = [queue["name"] for found in ask.active_queues().values() for queue in found]
    show("the worker listens to", queues)
    show('queue="slow"', add.apply_async((2, 3), queue="slow").get(timeout=10))

    section("An id of your own")
    add.apply_async((2, 3), task_id="invoice-42")
    show('app.AsyncResult("invoice-42")', app.AsyncResult("invoice-42").get(timeout=10))
    app.AsyncResult("invoice-42").forget()

    section("The whole envelope")
    lab.worker.stop()
    result = add.apply_async((2, 3), queue="slow", priority=3, expires=600, task_id="invoice-43")
    message = lab.waiting("slow")[-1]
    show("id", message["headers"]["id"])
    show("priority", message["properties"]["priority"])
    show("queue", message["properties"]["delivery_info"]["routing_key"])

    section("Too late: expires")
    lab.worker.start()
    show("result.get(timeout=10)", result.get(timeout=10))
    result.forget()
    result = add.apply_async((2, 3), countdown=4, expires=3)
    try:
        result.get(timeout=10)
    except TaskRevokedError as error:
        show("result.get(timeout=10)", error)
    show("result.state", result.state)
    result.forget()

    section("Break it: a queue that nobody reads")
    result = add.apply_async((2, 3), queue="sloww", expires=600)
    show("result.state", result.state)
    show('waiting in "sloww"', len(lab.waiting("sloww")))
    app.control.add_consumer("sloww")
    show("result.get(timeout=10)", result.get(timeout=10))
    app.control.cancel_consumer("sloww")

    section("Break it: an option in the wrong brackets")
    try:
        add.delay(2, 3, countdown=5)
    except TypeError as error:
        show("add.delay(2, 3, countdown=5)", error)

    section("Break it: a clock without a time zone")
    on_the_wall = datetime.now(ZoneInfo("Asia/Tokyo")).replace(tzinfo=None)
    add.apply_async((2, 3), eta=on_the_wall)
    lab.until(lambda: lab.unacknowledged())
    held = [item for items in ask.scheduled().values() for item in items]
    late = datetime.fromisoformat(held[-1]["eta"]) - datetime.now(UTC)
    show("hours from now", round(late / timedelta(hours=1)))
    lab.worker.stop()
    show("thrown away", app.control.purge())
    lab.worker.start()


def step_03_send_task() -> None:
    """03 · send_task: only a name travels."""
    section("An app without code")
    site = Celery("web_site", set_as_current=False)
    site.config_from_object("tutorial_tasks.settings")
    show("site", site.main)

    section("Send by name")
    show("send_task", site.send_task("tutorial_tasks.arithmetic.add", (2, 3)).get(timeout=10))
    known = next(iter(site.control.inspect(limit=1, timeout=5).registered().values()))
    show("the worker knows", [name for name in known if "arithmetic" in name])
    by_name = site.send_task("tutorial_tasks.arithmetic.multiply", (6, 7), queue="slow")
    show('queue="slow"', by_name.get(timeout=10))

    section("What you give up")
    try:
        add.delay(1)
    except TypeError as error:
        show("add.delay(1)", error)
    result = site.send_task("tutorial_tasks.arithmetic.add", (1,))
    try:
        result.get(timeout=10)
    except TypeError as error:
        show("the same by name, from the worker", error)

    section("Write the message yourself")
    task_id = str(uuid.uuid4())
    with site.producer_pool.acquire() as producer:
        producer.publish(
            [[6, 7], {}, {}],
            headers={"task": multiply.name, "id": task_id},
            routing_key="celery",
            serializer="json",
        )
    show("by hand", site.AsyncResult(task_id).get(timeout=10))

    section("Break it: a name that nobody knows")
    result = site.send_task("tutorial_tasks.arithmetic.multipl", (6, 7))
    try:
        result.get(timeout=10)
    except NotRegistered as error:
        show("result.get(timeout=10)", error)
    show("result.state", result.state)
    show("waiting", lab.waiting())
    show("mended", site.send_task("tutorial_tasks.arithmetic.multiply", (6, 7)).get(timeout=10))


def step_04_task_states() -> None:
    """04 · Task states: what is on record, and who says so."""
    section("Somebody who listens")
    scope = Scope(app)
    result = add.delay(2, 3)
    result.get(timeout=10)
    click.echo(scope.states(result))

    section("How far is it?")
    seen: list[str] = []
    result = count_to.delay(3, 0.5)
    result.get(timeout=10, on_message=lambda m: seen.append(m["status"]) if m["task_id"] == result.id else None)
    show("the backend said", seen)
    click.echo(scope.states(result))

    section("Once more, please: RETRY")
    result = flaky.delay(3)
    result.get(timeout=10)
    click.echo(scope.lanes(result))

    section("It failed: FAILURE")
    result = fail.delay("out of paper")
    try:
        result.get(timeout=10)
    except ValueError as error:
        show("result.get(timeout=10)", error)
    show("result.state", result.state)

    section("Break it: seven times PENDING")
    unread = add.apply_async((1, 1), queue="unread", expires=600)
    held = add.apply_async((2, 2), countdown=600)
    ignored = say_nothing.delay("hush")
    forgotten = add.delay(3, 3)
    forgotten.get(timeout=10)
    forgotten.forget()
    emptied = add.apply_async((4, 4), queue="emptied")
    with app.connection_for_write() as connection:
        connection.default_channel.queue_purge("emptied")
    invented = app.AsyncResult(str(uuid.uuid4()))
    gate = Gate("lesson 04")
    gate.close()
    busy = [wait_at_gate.delay("lesson 04", 500) for _ in range(2)]
    reserved = add.delay(5, 5)
    lab.until(lambda: len(lab.unacknowledged()) == 2)
    seven = [unread, held, ignored, forgotten, emptied, invented, reserved]
    show("states", [app.AsyncResult(result.id).state for result in seven])
    click.echo(scope.lanes(*seven))
    ids = [message["headers"]["id"] for message in lab.waiting("unread") + lab.waiting("emptied")]
    show("still in a queue", (unread.id in ids, emptied.id in ids))
    show("on record", [app.AsyncResult(result.id).exists() for result in seven])

    section("Break it: call it off")
    held.revoke()
    busy[0].revoke()
    result = add.delay(6, 6)
    gate.open()
    show("the one that ran, one that came later", (busy[0].get(timeout=10), result.get(timeout=10)))
    result.revoke()
    click.echo(scope.lanes(held, busy[0], result))
    gate.close()
    result = wait_at_gate.delay("lesson 04", 500)
    try:
        result.get(timeout=1)
    except CeleryTimeoutError as error:
        show("result.get(timeout=1)", error)
    lab.until(lambda: result.state == "STARTED")
    result.revoke(terminate=True)
    try:
        result.get(timeout=10)
    except TaskRevokedError as error:
        show("result.get(timeout=10)", error)
    invented.revoke()
    invented.get(timeout=10, propagate=False)
    show("invented.state", invented.state)
    gate.open()
    invented.forget()
    with app.connection_for_write() as connection:
        connection.default_channel.queue_purge("unread")
    lab.worker.stop()
    show("thrown away", app.control.purge())
    lab.worker.start()
    scope.close()


def step_05_results() -> None:
    """05 · Results: what is kept, for how long, and what becomes of your types."""
    section("The record")
    scope = Scope(app)
    result = add.delay(2, 3)
    show("result.get(timeout=10)", result.get(timeout=10))
    click.echo(scope.xray(result))
    key = app.backend.get_key_for_task(result.id)
    record = json.loads(app.backend.get(key))
    show("key", key.decode())
    show("record", record)

    section("Two receipts, one record")
    hers = app.AsyncResult(result.id)
    show("hers.get(timeout=10)", hers.get(timeout=10))
    show("the same moment", hers.date_done.isoformat() == record["date_done"])

    section("For how long?")
    show("app.conf.result_expires", app.conf.result_expires)
    show("hours left", round(app.backend.client.ttl(key) / 3600))

    section("Break it: the day is over")
    app.backend.expire(key, 0)
    new = app.AsyncResult(result.id)
    show("result.state, new.state", (result.state, new.state))
    click.echo(scope.xray(result))

    section("Break it: a None that nobody returned")
    result = add.delay(3, 4)
    result.get(timeout=10)
    result.forget()
    show("result.get(timeout=10)", result.get(timeout=10))
    ignored = say_nothing.delay("hush")
    real = say_nothing.apply_async(ignore_result=False)
    three = [result, ignored, real]
    show("three answers", [each.get(timeout=10) for each in three])
    show("on record", [each.exists() for each in three])
    kept = say_nothing.apply_async(("hush",), ignore_result=False)
    show("kept.get(timeout=10)", kept.get(timeout=10))

    section("Break it: one id, two answers")
    first = add.delay(2, 3)
    first.get(timeout=10)
    click.echo(scope.lanes(first))
    second = add.apply_async((5, 5), task_id=first.id)
    show("second.get(timeout=10)", second.get(timeout=10))
    click.echo(scope.lanes(first))
    show("on record", app.AsyncResult(first.id).get(timeout=10))

    section("What became of your types")
    show("echo.delay((1, 2))", echo.delay((1, 2)).get(timeout=10))
    values = [{1: "one"}, datetime(2026, 1, 31, 8, tzinfo=UTC), Decimal("0.10"), uuid.UUID(int=5), b"\xff"]
    for value in values:
        came = echo.delay(value).get(timeout=10)["value"]
        show(f"{value!r}, the same: {came == value}", came)
    noted = echo.delay([(1, 2), *values])
    noted.get(timeout=10)
    key = app.backend.get_key_for_task(noted.id)
    show("as it is written down", json.loads(app.backend.get(key))["result"]["value"])

    section("Break it: no word for it")
    try:
        echo.apply_async(({1, 2},), task_id="a-set")
    except EncodeError as error:
        show("echo.apply_async(({1, 2},))", error)
    click.echo(scope.lanes(app.AsyncResult("a-set")))
    came = echo.delay(sorted({1, 2})).get(timeout=10)["value"]
    show("set(came) == {1, 2}", set(came) == {1, 2})
    scope.close()


def step_06_groups() -> None:
    """06 · Groups: many at once."""
    section("A call that you keep")
    scope = Scope(app)
    call = add.s(2, 3)
    show("add.s(2, 3)", call)
    click.echo(scope.graph(call))
    first, second = call.delay(), call.delay()
    show("sent twice", (first.get(timeout=10), second.get(timeout=10), first.id == second.id))

    section("Many in one hand")
    plan = scope.graph(group(add.s(n, n) for n in range(3)))
    click.echo(plan)
    lab.worker.stop()
    result = plan.apply_async()
    headers = [message["headers"] for message in lab.waiting()]
    show("messages", [h["argsrepr"] for h in headers])
    show("its group, its place", [(h["group"] == result.id, h["group_index"]) for h in headers])
    lab.worker.start()
    show("result.get(timeout=10)", result.get(timeout=10))
    click.echo(plan)

    section("How many are done?")
    gate = Gate("lesson 06")
    gate.close()
    slow = wait_at_gate.s("lesson 06", 500)
    result = group(slow, add.s(1, 1), add.s(2, 2)).apply_async()
    show("two members", (result[1].get(timeout=10), result[2].get(timeout=10)))
    show("done, ready", (f"{result.completed_count()} of {len(result)}", result.ready()))
    gate.open()
    show("result.get(timeout=10)", result.get(timeout=10))

    section("Really at once?")
    result = group(meet.s("Ada", "Grace"), meet.s("Grace", "Ada")).apply_async()
    show("two that wait for each other", result.get(timeout=10))
    click.echo(scope.lanes(result, by="slot"))

    section("Break it: ask in between")
    results = []
    for call in [meet.s("Ada", "Grace", 0.2), meet.s("Grace", "Ada", 0.2)]:
        one = call.delay()
        one.get(timeout=10)
        results.append(one)
    show("one after the other", [one.get(timeout=10) for one in results])
    click.echo(scope.lanes(*results, by="slot"))

    section("Break it: one of them fails")
    plan = scope.graph(group([add.s(2, 2), fail.s("out of paper"), add.s(3, 3)]))
    result = plan.apply_async()
    try:
        result.get(timeout=10)
    except ValueError as error:
        show("result.get(timeout=10)", error)
    show("propagate=False", result.get(timeout=10, propagate=False))
    click.echo(plan)
    show("ready, successful, completed_count", (result.ready(), result.successful(), result.completed_count()))

    section("Break it: only the id is left")
    show("restored", app.GroupResult.restore(result.id))
    result.save()
    show("restored, once saved", app.GroupResult.restore(result.id).get(timeout=10, propagate=False))
    result.forget()
    again = app.GroupResult.restore(result.id)
    show("restored, once forgotten", [member.state for member in again])
    again.delete()
    show("restored, once deleted", app.GroupResult.restore(result.id))
    scope.close()


def step_07_chains() -> None:
    """07 · Chains: one after the other."""
    section("Wait for each")
    goods = add.delay(2, 3).get(timeout=10)
    show("multiply.delay(goods, 10)", multiply.delay(goods, 10).get(timeout=10))

    section("Say it all at once")
    scope = Scope(app)
    plan = scope.graph(chain(add.s(2, 3), multiply.s(10), add.s(1)))
    click.echo(plan)
    result = plan.apply_async()
    show("result.get(timeout=10)", result.get(timeout=10))
    click.echo(scope.lanes(result))
    show("the same with bars", add.s(2, 3) | multiply.s(10) | add.s(1))

    section("The way back")
    steps = [result.parent.parent, result.parent, result]
    show("the answers", [step.get(timeout=10) for step in steps])
    show("before the first", result.parent.parent.parent)

    section("One letter, and what is in it")
    lab.worker.stop()
    plan = scope.graph(add.s(2, 3) | multiply.s(10).set(queue="elsewhere") | add.s(1))
    result = plan.apply_async()
    show("waiting", len(lab.waiting()))
    args, _kwargs, what_follows = json.loads(base64.b64decode(lab.waiting()[-1]["body"]))
    show("the first letter", (args, [(call["task"], call["args"]) for call in what_follows["chain"]]))
    lab.worker.start()
    first = result.parent.parent
    show("first.get(timeout=10)", first.get(timeout=10))
    message = lab.waiting("elsewhere")[-1]
    args, _kwargs, what_follows = json.loads(base64.b64decode(message["body"]))
    show("the second letter", (args, [(call["task"], call["args"]) for call in what_follows["chain"]]))
    show("sent by the first step", message["headers"]["parent_id"] == first.id)
    click.echo(plan)
    app.control.add_consumer("elsewhere")
    show("result.get(timeout=10)", result.get(timeout=10))
    app.control.cancel_consumer("elsewhere")

    section("Break it: .s where .si was meant")
    plan = scope.graph(add.s(2, 3) | add.s(10, 10))
    result = plan.apply_async()
    try:
        result.get(timeout=10)
    except TypeError as error:
        show("result.get(timeout=10)", error)
    click.echo(plan)
    show("where", result.parent.traceback.splitlines()[-2].strip())
    result = (add.s(2, 3) | add.si(10, 10)).apply_async()
    show("with .si", (result.parent.get(timeout=10), result.get(timeout=10)))

    section("Break it: a step that fails")
    result = (add.s(2, 3) | fail.si("out of paper") | multiply.s(10) | add.s(1)).apply_async()
    try:
        result.get(timeout=10)
    except ValueError as error:
        show("result.get(timeout=10)", error)
    steps = [result.parent.parent.parent, result.parent.parent, result.parent, result]
    show("answers", [step.get(timeout=10, propagate=False) for step in steps])
    show("states", [step.state for step in steps])
    click.echo(scope.witnesses(result))
    show("who did the work", [step.worker for step in steps])

    section("Not a chain: link")
    result = add.apply_async((2, 3), link=multiply.s(10))
    show("result.get(timeout=10)", result.get(timeout=10))
    show("the children", [child.get(timeout=10) for child in result.children])
    scope.close()


def step_08_chords() -> None:
    """08 · Chords: wait for all, then go on."""
    store = app.backend.client

    def counter(result: AsyncResult) -> tuple[int, int]:
        """Read how many of a chord's header have been counted, and how many there have to be."""
        key = app.backend.get_key_for_group(result.parent.id).decode()
        return store.zcard(f"{key}.j"), int(store.get(f"{key}.s") or 0)

    def forget_counter(result: AsyncResult) -> int:
        """Throw away what was counted, and return how many keys that were."""
        key = app.backend.get_key_for_group(result.parent.id).decode()
        return int(store.delete(f"{key}.s", f"{key}.j", f"{key}.d"))

    section("Break it: a task that waits")
    scope = Scope(app)
    result = wait_for_shops.delay(["east", "south", "west"])
    try:
        result.get(timeout=10)
    except RuntimeError as error:
        show("result.get(timeout=10)", str(error).splitlines()[0])
    show("the shops were asked", [asked.get(timeout=10) for asked in result.children])

    section("Nobody waits")
    shops = [stock.s("east").set(queue="east"), stock.s("south"), stock.s("west")]
    plan = scope.graph(chord(shops, total.s()))
    click.echo(plan)
    result = plan.apply_async()
    east, south, west = result.parent.results
    show("two have answered", (south.get(timeout=10), west.get(timeout=10)))
    click.echo(plan)

    section("The counter")
    show("counted, of", counter(result))
    inspect = app.control.inspect(limit=1, timeout=5)
    show("in the queue, in reserve, at work", (lab.waiting(), inspect.reserved(), inspect.active()))
    args, _, what_follows = json.loads(base64.b64decode(lab.waiting("east")[-1]["body"]))
    show("in the message for the east", (args, what_follows["chord"]["task"]))

    section("The last one sends it")
    app.control.add_consumer("east")
    show("result.get(timeout=10)", result.get(timeout=10))
    app.control.cancel_consumer("east", reply=True, limit=1)
    click.echo(plan)
    show("sent by the last one", app.backend.get_task_meta(result.id)["parent_id"] == east.id)
    show("result.args", result.args)
    show("counted, of", counter(result))

    section("A group with a bar")
    line = group(stock.s("east"), stock.s("west")) | total.s()
    show(type(line).__name__, line.delay().get(timeout=10))

    section("Break it: a shop that is not there")
    result = chord([stock.s("east").set(queue="east"), stock.s("sauth"), stock.s("west")], total.s()).apply_async()
    try:
        result.get(timeout=10)
    except ValueError as error:
        show("result.get(timeout=10)", error)
    show("result.state", result.state)
    app.control.add_consumer("east")
    show("east", result.parent.results[0].get(timeout=10))
    app.control.cancel_consumer("east", reply=True, limit=1)
    try:
        app.AsyncResult(result.id).get(timeout=10)
    except ChordError as error:
        show("the record of the body", error)
    show("keys", forget_counter(result))

    section("Break it: a name that nobody knows")
    unknown = app.signature("tutorial_tasks.shops.stok", ("east",))
    result = chord([unknown, stock.s("south"), stock.s("west")], total.s()).apply_async()
    try:
        result.get(timeout=10)
    except NotRegistered as error:
        show("result.get(timeout=10)", error)
    show("the others", [one.get(timeout=10) for one in result.parent.results[1:]])
    show("result.parent.ready()", result.parent.ready())
    scope.settle()
    show("counted, of", counter(result))
    try:
        app.AsyncResult(result.id).get(timeout=1)
    except CeleryTimeoutError as error:
        show("the record of the body", error)
    show("result.state", result.state)
    show("keys", forget_counter(result))
    scope.close()


def step_09_collectors() -> None:
    """09 · Collectors: a pipeline from end to end."""
    section("One call, and a receipt")
    scope = Scope(app)
    request = scope.graph(collector_request.s("shoes", seed=7))
    click.echo(request)
    receipt = request.apply_async().get(timeout=10)
    show("receipt", sorted(receipt))
    show("item_count", app.AsyncResult(receipt["result_id"]).get(timeout=10)["item_count"])
    click.echo(request)

    section("The same, by your own hand")

    def pipeline(*collectors: Signature) -> Plan:
        ending = collector_gathering.s() | cleanup.s() | process.s()
        return scope.graph(chord(collectors, ending))

    order = ("order 1", "shoes", 7)
    one, two, three = (collector.s(*order) for collector in (collector_1, collector_2, collector_3))
    planned = pipeline(one, two, three)
    click.echo(planned)
    show("planned", planned.apply_async().get(timeout=10))
    click.echo(planned)

    section("Break it: a collector that fails")
    broken = pipeline(one, fail.s("source 2 is down"), three)
    result = broken.apply_async()
    show("result.get(timeout=10, propagate=False)", result.get(timeout=10, propagate=False))
    show("result.state", result.state)
    click.echo(broken)
    show("the collectors", [collector.state for collector in result.parent.results])

    section("Break it: a collector that is slow")
    gate = Gate("lesson 09")
    gate.close()
    slow = chain(wait_at_gate.s("lesson 09", 500), collector_2.si(*order))
    first = pipeline(one, slow, three)
    first_result = first.apply_async()
    second_result = pipeline(one, two, three).apply_async()
    show("the second customer, the first", (second_result.get(timeout=10)["item_count"], first_result.state))
    click.echo(first)
    blocked_result = pipeline(one, slow, three).apply_async()
    third_result = pipeline(one, two, three).apply_async()
    try:
        third_result.get(timeout=1)
    except CeleryTimeoutError as error:
        show("third_result.get(timeout=1)", error)
    gate.open()
    show("all three", [each.get(timeout=10)["item_count"] for each in (first_result, blocked_result, third_result)])

    section("Break it: a collector that returns rubbish")
    mixed = pipeline(one, collector_2.s("order 2", "shoes", 7), three)
    show("result.get(timeout=10, propagate=False)", mixed.apply_async().get(timeout=10, propagate=False))
    click.echo(mixed)
    scope.close()

    section("Many rows, and none lost")
    path = "lesson_09.jsonl"
    file = data_dir / path
    file.unlink(missing_ok=True)
    rows = [{"number": number} for number in range(ROWS)]
    with click.progressbar(length=ROWS, label="rows") as bar:
        sent = group(create_project.s(row, path) for row in rows).apply_async()
        sent.get(timeout=max(20, ROWS / 20), callback=lambda _task_id, _row: bar.update(1))
    numbers = [json.loads(line)["number"] for line in file.open()]
    show("rows in the file", len(numbers))
    show("each once", sorted(numbers) == list(range(ROWS)))
    create_project.delay(rows[0], path).get(timeout=10)
    show("cleaned", clean_data.delay(path).get(timeout=10))
    sent.forget()
    file.unlink()


def step_13_batch_api() -> None:
    """13 · A web service in front: accept, tell, remember."""
    section("A receipt, at once")
    address = lab.api(BATCH_TASK_SECONDS="0-0")
    lab.worker.stop()
    batch = {"tasks": [{"paramA": 1, "paramB": 5}, {"paramA": 2, "paramB": 2}]}
    answer = ask(address, "/grouptasks", batch)
    location, receipt = answer.headers["Location"], json.load(answer)
    show("answer.status, fields", (answer.status, sorted(receipt)))

    section("How far is it?")
    show("before", {key: value for key, value in json.load(ask(address, location)).items() if key != "groupTaskId"})
    lab.worker.start()
    show("the tasks", [app.AsyncResult(task_id).get(timeout=10) for task_id in receipt["taskIds"]])
    show("after", {key: value for key, value in json.load(ask(address, location)).items() if key != "groupTaskId"})

    section("The second time")
    lab.worker.stop()
    answer = ask(address, "/grouptasks", {"tasks": [{"paramA": 1, "paramB": 5}, {"paramA": 4, "paramB": 4}]})
    show("results", json.load(ask(address, answer.headers["Location"]))["results"])
    show("waiting", [message["headers"]["argsrepr"] for message in lab.waiting()])
    show("Cache-Status", answer.headers["Cache-Status"])

    section("Break it: ten at once")
    known: dict[tuple[int, int], str] = {}
    all_have_looked = Barrier(10)

    def look_then_send(a: int, b: int) -> str:
        task_id = known.get((a, b))
        all_have_looked.wait(10)
        if task_id is None:
            task_id = known[a, b] = add.delay(a, b).id
        return str(task_id)

    seven = {"tasks": [{"paramA": 7, "paramB": 7}]}
    with ThreadPoolExecutor(10) as visitors:
        show("tasks, naively", len(set(visitors.map(lambda _: look_then_send(7, 7), range(10)))))
        ids = set(visitors.map(lambda _: json.load(ask(address, "/grouptasks", seven))["taskIds"][0], range(10)))
        show("tasks of the service", len(ids))

    section("Claim it before you send it")
    redis = app.backend.client
    redis.delete("lesson 13")
    show("first", redis.set("lesson 13", "id of the first", nx=True, ex=60))
    show("second", redis.set("lesson 13", "id of the second", nx=True, ex=60))
    lab.worker.start()
    show("the sum", app.AsyncResult(ids.pop()).get(timeout=10))

    section("Break it: a broker that is not there")
    address = lab.api(BATCH_TASK_SECONDS="0-0", CELERY_BROKER_URL="redis://127.0.0.1:1/0")
    try:
        ask(address, "/grouptasks", seven)
    except HTTPError as error:
        show("answer", (error.code, error.headers["Retry-After"], json.load(error)["detail"]))
        error.close()
    address = lab.api(BATCH_TASK_SECONDS="0-0")
    [task_id] = json.load(ask(address, "/grouptasks", seven))["taskIds"]
    show("the sum", app.AsyncResult(task_id).get(timeout=10))


def ask(address: str, path: str, body: Any = None) -> HTTPResponse:
    """Ask a web service, and give it a body as JSON."""
    data = json.dumps(body).encode() if body else None
    request = Request(address + path, data, {"Content-Type": "application/json"})  # noqa: S310  # the address is our own service's
    answer: HTTPResponse = urlopen(request, timeout=10)  # noqa: S310
    return answer


STEPS: dict[str, Callable[[], None]] = {
    "01": step_01_delay,
    "02": step_02_apply_async,
    "03": step_03_send_task,
    "04": step_04_task_states,
    "05": step_05_results,
    "06": step_06_groups,
    "07": step_07_chains,
    "08": step_08_chords,
    "09": step_09_collectors,
    "13": step_13_batch_api,
}


@click.command()
@click.option("--step", type=click.Choice(list(STEPS)), help="Only this lesson.")
@click.option("--list", "listing", is_flag=True, help="List the lessons, and run none.")
def main(step: str | None, listing: bool) -> None:
    """Run the lessons' steps, one after the other."""
    if listing:
        for function in STEPS.values():
            click.echo(function.__doc__)
        return
    try:
        lab.connect()
        for function in [STEPS[step]] if step else STEPS.values():
            click.echo(f"\n# {function.__doc__}")
            function()
    except ClassroomError as error:
        sys.exit(f"Error: {error}")
    except CeleryTimeoutError:
        sys.exit(f"Error: {ClassroomError('no worker did the task in time', 'python -m classroom doctor')}")


if __name__ == "__main__":
    main()

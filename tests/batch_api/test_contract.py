"""Every field, every status and every header that the service promises."""

import http.client
import json
import random
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest

from batch_api.schemas import LARGEST, MAX_BODY, MAX_TASKS, SMALLEST
from classroom import lab
from tests.batch_api.serving import Api, Pairs, caught_running, serving
from tests.stack.processes import ROOT
from tutorial_tasks.settings import key_prefix


@pytest.fixture(scope="module")
def api(app: Any) -> Iterator[Api]:
    with serving() as service:
        yield service


@pytest.fixture
def held(app: Any) -> Iterator[None]:
    """A worker that takes nothing as long as the test lasts."""
    lab.worker.pause()
    yield
    lab.worker.resume()


def new_pairs(count: int) -> Pairs:
    """Pairs that nobody has asked for."""
    return [(random.randint(SMALLEST, LARGEST), number) for number in range(count)]


def is_id(text: str) -> bool:
    return str(UUID(text)) == text


# -- a batch ---------------------------------------------------------------------------------------------------------


def test_a_receipt_has_two_fields_and_says_where_to_ask(api: Api) -> None:
    answer = api.submit(new_pairs(3))
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.body) == {"groupTaskId", "taskIds"}
    assert is_id(answer.body["groupTaskId"])
    assert len(answer.body["taskIds"]) == 3
    assert all(map(is_id, answer.body["taskIds"]))
    assert answer.headers["location"] == f"/grouptasks/{answer.body['groupTaskId']}"


def test_a_batch_that_nobody_works_on_is_not_processed_and_has_not_failed(api: Api, held: None) -> None:
    answer = api.submit(new_pairs(2))
    assert api.get(answer.headers["location"]).body == {
        "groupTaskId": answer.body["groupTaskId"],
        "grouptaskProcessed": False,
        "grouptaskSucceeded": True,
        "results": [None, None],
        "tasksCompleted": 0,
        "tasksTotal": 2,
    }


def test_results_are_in_the_order_of_the_request(api: Api) -> None:
    pairs = new_pairs(20)
    answer = api.submit(pairs)
    assert api.finish(answer.headers["location"]) == {
        "groupTaskId": answer.body["groupTaskId"],
        "grouptaskProcessed": True,
        "grouptaskSucceeded": True,
        "results": [a + b for a, b in pairs],
        "tasksCompleted": 20,
        "tasksTotal": 20,
    }


def test_what_is_done_so_far_is_in_its_place(api: Api) -> None:
    known, new = new_pairs(2)
    api.finish(api.submit([known]).headers["location"])
    lab.worker.pause()
    try:
        answer = api.submit([new, known])
        assert api.get(answer.headers["location"]).body == {
            "groupTaskId": answer.body["groupTaskId"],
            "grouptaskProcessed": False,
            "grouptaskSucceeded": True,
            "results": [None, sum(known)],
            "tasksCompleted": 1,
            "tasksTotal": 2,
        }
    finally:
        lab.worker.resume()


def test_a_batch_may_have_as_many_tasks_as_it_says_and_numbers_as_large(api: Api) -> None:
    pairs = [(SMALLEST, SMALLEST), (LARGEST, LARGEST), *new_pairs(MAX_TASKS - 2)]
    assert api.finish(api.submit(pairs).headers["location"])["results"] == [a + b for a, b in pairs]


def test_a_number_is_the_same_however_it_is_written(api: Api) -> None:
    ((a, b),) = new_pairs(1)
    body = json.dumps({"tasks": [{"paramA": a, "paramB": b}, {"paramA": float(a), "paramB": float(b)}]}).encode()
    first, second = api.ask("POST", "/grouptasks", body, Content_Type="application/json").body["taskIds"]
    assert first == second


# -- a task ----------------------------------------------------------------------------------------------------------


def test_a_task_that_waits(api: Api, held: None) -> None:
    id_ = api.submit(new_pairs(1)).body["taskIds"][0]
    assert api.get(f"/tasks/{id_}").body == {
        "taskId": id_,
        "taskState": "PENDING",
        "resultReady": False,
        "taskSucceeded": False,
        "result": None,
    }


def test_a_task_that_runs(app: Any) -> None:
    with serving(BATCH_TASK_SECONDS="0.5-0.5") as slow, caught_running(app, slow, lambda: new_pairs(1)) as (answer, _):
        (id_,) = answer.body["taskIds"]
        assert slow.get(f"/tasks/{id_}").body == {
            "taskId": id_,
            "taskState": "STARTED",
            "resultReady": False,
            "taskSucceeded": False,
            "result": None,
        }


def test_a_task_that_is_done(api: Api) -> None:
    ((a, b),) = pairs = new_pairs(1)
    answer = api.submit(pairs)
    api.finish(answer.headers["location"])
    (id_,) = answer.body["taskIds"]
    assert api.get(f"/tasks/{id_}").body == {
        "taskId": id_,
        "taskState": "SUCCESS",
        "resultReady": True,
        "taskSucceeded": True,
        "result": a + b,
    }


def test_a_failed_task_tells_the_type_of_its_error_and_nothing_else(api: Api, app: Any, held: None) -> None:
    answer = api.submit(new_pairs(2))
    failed, _ = answer.body["taskIds"]
    try:
        raise ZeroDivisionError("the secret reason")
    except ZeroDivisionError as error:  # what a worker stores for it
        app.backend.mark_as_failure(failed, error, traceback="Traceback: in the secret file")
    task = api.get(f"/tasks/{failed}")
    assert task.body == {
        "taskId": failed,
        "taskState": "FAILURE",
        "resultReady": True,
        "taskSucceeded": False,
        "result": {"errorType": "ZeroDivisionError"},
    }
    batch = api.get(answer.headers["location"])
    assert batch.body == {
        "groupTaskId": answer.body["groupTaskId"],
        "grouptaskProcessed": False,
        "grouptaskSucceeded": False,
        "results": [{"errorType": "ZeroDivisionError"}, None],
        "tasksCompleted": 1,
        "tasksTotal": 2,
    }
    assert b"secret" not in task.raw + batch.raw


@pytest.mark.parametrize("asked_first", ["the batch", "the task", "the pair"])
def test_what_was_told_to_have_failed_stays_so_when_a_copy_runs(api: Api, app: Any, held: None, asked_first: str) -> None:
    pairs = new_pairs(2)
    answer = api.submit(pairs)
    failed, _ = answer.body["taskIds"]
    batch, task = answer.headers["location"], f"/tasks/{failed}"
    app.backend.mark_as_failure(failed, ValueError("broken"))
    {"the batch": lambda: api.get(batch), "the task": lambda: api.get(task), "the pair": lambda: api.submit(pairs)}[asked_first]()
    for store in (app.backend.mark_as_started, lambda id_: app.backend.mark_as_done(id_, sum(pairs[0]))):
        store(failed)  # as the copy would
        assert api.get(task).body == {
            "taskId": failed,
            "taskState": "FAILURE",
            "resultReady": True,
            "taskSucceeded": False,
            "result": {"errorType": "ValueError"},
        }
        now = api.get(batch).body
        assert (now["results"], now["tasksCompleted"], now["grouptaskSucceeded"]) == ([{"errorType": "ValueError"}, None], 1, False)
    assert api.submit(pairs).body["taskIds"][0] != failed


def test_a_revoked_task_is_done_without_a_sum_and_a_later_request_computes_it(api: Api, app: Any) -> None:
    pairs = new_pairs(1)
    # The worker hears of the end before it sees the task.
    assert app.control.cancel_consumer("celery", reply=True, timeout=30, limit=1)
    try:
        answer = api.submit(pairs)
        assert app.control.revoke(answer.body["taskIds"], reply=True, timeout=30, limit=1)
    finally:
        assert app.control.add_consumer("celery", reply=True, timeout=30, limit=1)
    batch = api.finish(answer.headers["location"])
    assert batch["results"] == [{"errorType": "TaskRevokedError"}]
    assert not batch["grouptaskSucceeded"]
    again = api.submit(pairs)
    assert again.body["taskIds"] != answer.body["taskIds"]
    assert api.finish(again.headers["location"])["results"] == [sum(pairs[0])]


# -- the cache -------------------------------------------------------------------------------------------------------


def test_what_was_computed_before_is_not_computed_again_and_only_a_header_says_so(api: Api) -> None:
    pairs = new_pairs(2)
    first = api.submit(pairs)
    assert first.headers["cache-status"] == 'batch-api; fwd=miss; detail="hit 0, joined 0, sent 2"'
    api.finish(first.headers["location"])
    second = api.submit(pairs)
    assert second.headers["cache-status"] == "batch-api; hit"
    assert second.body.keys() == first.body.keys()
    assert second.body["taskIds"] == first.body["taskIds"]
    assert second.body["groupTaskId"] != first.body["groupTaskId"]
    assert api.get(second.headers["location"]).body["results"] == [sum(pair) for pair in pairs]


def test_equal_pairs_of_a_batch_share_one_task_and_are_counted_each(api: Api) -> None:
    one, other = new_pairs(2)
    answer = api.submit([one, other, one])
    assert answer.headers["cache-status"] == 'batch-api; fwd=miss; detail="hit 0, joined 0, sent 2"'
    first, second, third = answer.body["taskIds"]
    assert first == third != second
    batch = api.finish(answer.headers["location"])
    assert batch["results"] == [sum(one), sum(other), sum(one)]
    assert (batch["tasksCompleted"], batch["tasksTotal"]) == (3, 3)


def test_a_pair_in_the_other_order_is_another_pair(api: Api) -> None:
    ((a, b),) = new_pairs(1)
    first, second = api.submit([(a, b), (b, a)]).body["taskIds"]
    assert first != second


def test_a_pair_that_is_on_its_way_is_joined(api: Api, held: None) -> None:
    known, new = new_pairs(2)
    first = api.submit([known])
    second = api.submit([known])
    assert second.headers["cache-status"] == 'batch-api; fwd=miss; collapsed; detail="hit 0, joined 1, sent 0"'
    assert second.body["taskIds"] == first.body["taskIds"]
    third = api.submit([known, new])
    assert third.headers["cache-status"] == 'batch-api; fwd=partial; detail="hit 0, joined 1, sent 1"'


def test_a_failure_is_not_kept(api: Api, app: Any) -> None:
    pairs = new_pairs(1)
    lab.worker.pause()
    try:
        first = api.submit(pairs)
        sharing = api.submit(pairs)
        app.backend.mark_as_failure(first.body["taskIds"][0], ValueError("broken"))
        later = api.submit(pairs)
        assert api.get(first.headers["location"]).body == api.get(sharing.headers["location"]).body | {
            "groupTaskId": first.body["groupTaskId"]
        }
        assert not api.get(sharing.headers["location"]).body["grouptaskSucceeded"]
    finally:
        lab.worker.resume()
    assert later.headers["cache-status"] == 'batch-api; fwd=miss; detail="hit 0, joined 0, sent 1"'
    assert later.body["taskIds"] != first.body["taskIds"]
    assert api.finish(later.headers["location"])["results"] == [sum(pairs[0])]


def test_a_claim_ends_before_its_result_and_a_batch_before_its_tasks(api: Api, app: Any) -> None:
    ((a, b),) = pairs = new_pairs(1)
    answer = api.submit(pairs)
    api.finish(answer.headers["location"])
    (id_,) = answer.body["taskIds"]
    with app.backend.client.pipeline(transaction=True) as at_one_moment:
        for key in f"pair:{a}:{b}", f"group:{answer.body['groupTaskId']}", f"task:{id_}":
            at_one_moment.pttl(f"{key_prefix}batch:{key}")
        at_one_moment.pttl(app.backend.get_key_for_task(id_))
        claim, batch, task, result = at_one_moment.execute()
    remembered = 7 * 86_400_000
    assert 0 < claim < result
    assert claim + batch - remembered <= result
    assert 0 <= task - remembered <= result


# -- ids -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/grouptasks/{}", "/tasks/{}"])
@pytest.mark.parametrize(
    "invented", [str(UUID(int=7)), str(UUID(int=0xABC)).upper(), "no-id", "%00%ff", "x" * 3000], ids=lambda id_: id_[:8]
)
def test_an_id_that_was_never_given_out_is_not_found(api: Api, path: str, invented: str) -> None:
    answer = api.get(path.format(invented))
    assert answer.status == 404
    answer.problem()


def test_a_batch_is_no_task_and_a_task_is_no_batch(api: Api) -> None:
    receipt = api.submit(new_pairs(1)).body
    assert api.get(f"/tasks/{receipt['groupTaskId']}").status == 404
    assert api.get(f"/grouptasks/{receipt['taskIds'][0]}").status == 404


def test_an_expired_id_is_gone_and_one_day_forgotten(api: Api, app: Any) -> None:
    answer = api.submit(new_pairs(1))
    (id_,) = answer.body["taskIds"]
    api.finish(answer.headers["location"])
    for path, key in (answer.headers["location"], f"group:{answer.body['groupTaskId']}"), (f"/tasks/{id_}", f"task:{id_}"):
        assert api.get(path).status == 200
        assert app.backend.client.expire(f"{key_prefix}batch:{key}", 7 * 86_400)  # as if the life of a result had passed
        gone = api.get(path)
        assert gone.status == 410
        assert "expired" in gone.problem()["detail"]
        app.backend.client.delete(f"{key_prefix}batch:{key}")
        assert api.get(path).status == 404


# -- what is refused -------------------------------------------------------------------------------------------------

PAIR = {"paramA": 1, "paramB": 2}


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "tasks"),
        ([], ""),
        (None, ""),
        ("{}", None),
        (json.dumps({"tasks": [PAIR]}), None),
        ({"tasks": []}, "tasks"),
        ({"tasks": {}}, "tasks"),
        ({"tasks": [PAIR] * (MAX_TASKS + 1)}, "tasks"),
        ({"tasks": [PAIR], "more": 1}, "more"),
        ({"tasks": [{"paramA": 1}]}, "tasks.0.paramB"),
        ({"tasks": [PAIR, PAIR | {"paramC": 3}]}, "tasks.1.paramC"),
        *(
            ({"tasks": [{"paramA": wrong, "paramB": 2}]}, "tasks.0.paramA")
            for wrong in ("1", 1.5, 1e300, True, None, [1], float("nan"), float("inf"), LARGEST + 1, SMALLEST - 1, 10**400)
        ),
    ],
)
def test_json_that_is_no_batch_is_refused_with_all_its_faults(api: Api, body: Any, where: str | None) -> None:
    answer = api.post(body)
    assert answer.status == 422, answer
    errors = answer.problem().get("errors", [])
    assert where is None or where in [error["where"] for error in errors]
    assert all(error.keys() == {"where", "what"} for error in errors)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"\xff\xfe", "the body is not JSON"),
        (b'{"tasks": [', "the body is not JSON"),
        (b"[" * 60_000, "the body is nested too deeply"),
        (b'{"a":' * 10_000, "the body is nested too deeply"),
    ],
)
def test_what_is_no_json_is_refused_and_told_so(api: Api, body: bytes, why: str) -> None:
    answer = api.ask("POST", "/grouptasks", body, Content_Type="application/json")
    assert answer.status == 400, answer
    assert answer.problem()["detail"] == why


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "text/json", "", "application/jsonx"])
def test_another_kind_of_body_is_refused(api: Api, kind: str) -> None:
    answer = api.ask("POST", "/grouptasks", json.dumps({"tasks": [PAIR]}).encode(), Content_Type=kind)
    assert answer.status == 415
    answer.problem()


def test_a_body_that_is_too_long_is_refused_however_it_comes(api: Api) -> None:
    fits = json.dumps({"tasks": [PAIR]}).encode().ljust(MAX_BODY)
    assert api.ask("POST", "/grouptasks", fits, Content_Type="application/json").status == 202
    for headers in ({}, {"Transfer_Encoding": "chunked"}):
        body = fits + b" " if not headers else b"%x\r\n%b\r\n0\r\n\r\n" % (len(fits) + 1, fits + b" ")
        answer = api.ask("POST", "/grouptasks", body, Content_Type="application/json", **headers)
        assert answer.status == 413, answer
        answer.problem()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/nothing", 404),
        ("GET", "/grouptasks", 405),
        ("PUT", "/grouptasks", 405),
        ("DELETE", "/tasks/1", 405),
        ("POST", "/health", 405),
        ("BREW", "/health", 405),
    ],
)
def test_what_does_not_exist_is_refused_in_the_same_shape(api: Api, method: str, path: str, status: int) -> None:
    answer = api.ask(method, path)
    assert answer.status == status
    answer.problem()
    assert ("allow" in answer.headers) == (status == 405)


def test_a_request_that_is_no_http_is_refused_in_the_same_shape(api: Api) -> None:
    answer = api.ask("GET", "/health", None, Content_Length="many")
    assert answer.status == 400
    answer.problem()


@pytest.mark.parametrize("length", ["many", str(MAX_BODY * 2)])
def test_an_answer_to_head_has_no_body_even_when_it_is_refused(api: Api, length: str) -> None:
    where = urlsplit(api.address)
    with socket.create_connection((where.hostname, where.port), timeout=10) as connection:
        connection.sendall(f"HEAD /health HTTP/1.1\r\nHost: here\r\nContent-Length: {length}\r\n\r\n".encode())
        answer = b"".join(iter(partial(connection.recv, 4096), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 4")
    assert b"Content-Length: " in head
    assert body == b""


def test_a_client_that_asks_too_often_is_told_when_to_come_back(app: Any) -> None:
    with serving(BATCH_REQUESTS="3 per minute") as strict:
        strict.submit(new_pairs(1))
        path = f"/tasks/{uuid4()}"
        answers = [strict.get(path) for _ in range(4)]
        assert [answer.status for answer in answers][-1] == 429
        refused = answers[-1]
        refused.problem()
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert strict.post({}).status == 429, "whatever else is wrong with it"
        assert strict.get("/health").status == 200, "a look at the health costs nothing"


def test_a_second_service_counts_with_the_first(app: Any) -> None:
    keys = app.backend.client.keys(f"{key_prefix}batch:rate*")
    if keys:
        app.backend.client.delete(*keys)
    with serving(BATCH_REQUESTS="2 per hour") as one, serving(BATCH_REQUESTS="2 per hour") as other:
        path = f"/tasks/{uuid4()}"
        assert [service.get(path).status for service in (one, other, one, other)] == [404, 404, 429, 429]


# -- connections -----------------------------------------------------------------------------------------------------


def test_connections_that_are_idle_keep_nobody_out(api: Api) -> None:
    with ExitStack() as idle:
        for _ in range(150):
            connection = http.client.HTTPConnection(urlsplit(api.address).netloc, timeout=10)
            idle.callback(connection.close)
            connection.request("GET", "/nothing")
            assert connection.getresponse().read()
        answer = api.get("/health")
    assert answer.status == 200
    assert answer.seconds < 10


# -- what is said about it -------------------------------------------------------------------------------------------


def test_health(api: Api) -> None:
    answer = api.get("/health")
    assert (answer.status, answer.body) == (200, {"status": "ok"})


def test_the_document_names_every_path_and_every_error_has_the_one_shape(api: Api) -> None:
    document = api.get("/openapi.json").body
    assert {(path, *methods) for path, methods in document["paths"].items()} == {
        ("/grouptasks", "post"),
        ("/grouptasks/{id}", "get"),
        ("/tasks/{id}", "get"),
        ("/health", "get"),
    }
    pair = document["components"]["schemas"]["Pair"]["properties"]
    assert {(pair[name]["minimum"], pair[name]["maximum"]) for name in ("paramA", "paramB")} == {(SMALLEST, LARGEST)}
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                kinds = list(answer["content"])
                assert kinds == (["application/json"] if status.startswith("2") else ["application/problem+json"]), operation


def test_the_page_for_people_asks_nobody_outside(api: Api) -> None:
    page = api.get("/swagger")
    assert page.headers["content-type"].startswith("text/html")
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.raw.decode())
    assert len(assets) >= 3
    for asset in assets:
        assert "//" not in asset
        assert api.get(f"/{asset}").status == 200
    styles = api.get("/swagger/css/swagger-ui.css").raw.decode()
    assert not re.search(r"@import|url\(\s*[\"']?(?:https?:)?//", styles)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_the_examples_of_the_readme_are_true(api: Api) -> None:
    """Make each request of the README; what stands under it has to come, but for ids."""
    text = (ROOT / "batch_api" / "README.md").read_text()
    shown = "".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))
    examples = re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", shown, re.MULTILINE)
    assert len(examples) == 6
    id_ = r"[0-9a-f]{8}-[0-9a-f-]{27}"
    known: dict[str, str] = {}
    for command, expected in examples:
        for example, real in (known | {"http://127.0.0.1:5000": api.address}).items():
            command = command.replace(example, real)
        ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=20, check=True)
        known |= zip(re.findall(id_, expected), re.findall(id_, ran.stdout), strict=True)
        assert re.sub(id_, "<id>", ran.stdout).strip() == re.sub(id_, "<id>", expected).strip()

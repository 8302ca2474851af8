"""The Flask application: routes, and what stands before them."""

from typing import Any

from flask import Flask, Response, jsonify, request, url_for
from flask_openapi3 import OpenAPI
from pydantic import BaseModel
from werkzeug.exceptions import BadRequest

from batch_api import document, problems
from batch_api.outcomes import Outcome, cache_status, totals
from batch_api.problems import ProblemError
from batch_api.rate import RateLimit
from batch_api.schemas import (
    MAX_BODY,
    BatchReceipt,
    BatchRequest,
    BatchStatus,
    Failed,
    Health,
    IdInPath,
    Problem,
    TaskStatus,
)
from batch_api.sending import Sender
from batch_api.service import Service
from batch_api.settings import Settings, lives
from batch_api.store import Store, backend, client
from tutorial_tasks.celery_app import app as celery_app
from tutorial_tasks.settings import key_prefix


def create_app(settings: Settings | None = None) -> Flask:
    """Make the application; neither the broker nor the backend need be there.

    Raises:
        BadSettingError: a setting makes no sense.
    """
    settings = settings or Settings.from_environment()
    url = str(celery_app.conf.result_backend)
    connection = client(url, settings.patience)
    upstream = backend()
    store = Store(celery_app, connection, lives(celery_app), settings.lost_after, settings.remembered, upstream)
    service = Service(store, Sender(settings.task_seconds, settings.patience))
    api = OpenAPI(
        "batch_api",
        info=document.INFO,
        responses=document.EVERYWHERE,
        validation_error_model=Problem,
        validation_error_callback=problems.of_validation,
        doc_prefix="",
        static_folder=None,
    )
    api.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    problems.install(api)
    if settings.requests:
        _limit(api, RateLimit(settings.requests, url, connection, key_prefix, upstream))

    @api.before_request
    def read_the_body() -> None:
        if request.method == "POST" and request.url_rule:
            _check_is_object()

    @api.post("/grouptasks", summary="Hand in a batch", responses={202: BatchReceipt, **document.OF_A_BODY})
    def submit(body: BatchRequest) -> Response:
        receipt = service.submit([(pair.paramA, pair.paramB) for pair in body.tasks])
        return _answer(
            BatchReceipt(groupTaskId=receipt.id, taskIds=receipt.task_ids),
            202,
            {
                "Location": url_for("look_at_a_batch", id=receipt.id),
                "Cache-Status": cache_status(receipt.hits, receipt.joined, receipt.sent),
            },
        )

    @api.get("/grouptasks/<id>", summary="See how far a batch is", responses={200: BatchStatus, **document.OF_AN_ID})
    def look_at_a_batch(path: IdInPath) -> Response:
        tasks = [task.outcome for task in service.group(path.id)]
        counted = totals(tasks)
        return _answer(
            BatchStatus(
                groupTaskId=path.id,
                grouptaskProcessed=counted.processed,
                grouptaskSucceeded=counted.succeeded,
                results=[_result(task) for task in tasks],
                tasksCompleted=counted.completed,
                tasksTotal=counted.total,
            )
        )

    @api.get("/tasks/<id>", summary="See how far one task is", responses={200: TaskStatus, **document.OF_AN_ID})
    def look_at_a_task(path: IdInPath) -> Response:
        task = service.task(path.id).outcome
        return _answer(
            TaskStatus(
                taskId=path.id,
                taskState=task.state,
                resultReady=task.is_done,
                taskSucceeded=task.is_done and not task.has_failed,
                result=_result(task),
            )
        )

    @api.get("/health", summary="See whether the service can work", responses={200: Health})
    def health() -> Response:
        service.check()
        return _answer(Health(status="ok"))

    document.finish(api)
    return api


def _limit(api: Flask, limit: RateLimit) -> None:
    """Count the requests that cost something; a look at the health or at the documentation does not."""

    @api.before_request
    def count_the_request() -> None:
        if request.path.startswith(("/grouptasks", "/tasks")):
            limit.count(request.remote_addr or "")


def _check_is_object() -> None:
    """Refuse a body that is not a JSON object, before the extension reads it: it takes some of those for one."""
    if request.mimetype != "application/json":
        raise ProblemError(415, "the body has to be JSON: Content-Type: application/json")
    try:
        body: Any = request.get_json()
    except RecursionError:
        raise ProblemError(400, "the body is nested too deeply") from None
    except BadRequest:  # its words are for browsers; a body that is too long is another error
        raise ProblemError(400, "the body is not JSON") from None
    if isinstance(body, str):
        raise ProblemError(422, "the body is JSON, but not a batch")


def _result(task: Outcome) -> int | Failed | None:
    return Failed(errorType=task.error) if task.error else task.value


def _answer(body: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    made = jsonify(body.model_dump())
    made.status_code = status
    made.headers["Cache-Control"] = "no-store"
    made.headers.update(headers or {})
    return made

"""Every error that leaves the service has one shape, and none has a traceback."""

import http
from typing import Any

from flask import Flask, Response, jsonify
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from batch_api.schemas import Fault, Problem

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = 2  # seconds after which it is worth trying again, when the broker or the backend is down


class ProblemError(Exception):
    """A request that ends with an error, said on purpose."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


class UnavailableError(ProblemError):
    """The broker or the result backend does not answer."""

    def __init__(self, what: str) -> None:
        super().__init__(503, f"the {what} does not answer", {"Retry-After": str(RETRY_AFTER)})


def as_json(status: int, detail: str, errors: list[Fault] | None = None) -> dict[str, Any]:
    """Put an error into its one shape."""
    problem = Problem(title=http.HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)
    return problem.model_dump(exclude_none=True)


def response(status: int, detail: str, headers: dict[str, str] | None = None, errors: list[Fault] | None = None) -> Response:
    """Make an error's response."""
    made = jsonify(as_json(status, detail, errors))
    made.status_code = status
    made.mimetype = MEDIA_TYPE
    made.headers.update(headers or {})
    return made


def of_validation(error: ValidationError) -> Response:
    """Say everything that is wrong with a body, where it is, and never what it was."""
    found = error.errors(include_url=False, include_input=False)
    faults = [Fault(where=".".join(map(str, fault["loc"])), what=fault["msg"]) for fault in found]
    return response(422, "the body is JSON, but not a batch", errors=faults)


def install(app: Flask) -> None:
    """Have Flask answer every error in the one shape."""

    @app.errorhandler(ProblemError)
    def of_ours(error: ProblemError) -> Response:
        return response(error.status, error.detail, error.headers)

    @app.errorhandler(HTTPException)
    def of_http(error: HTTPException) -> Response | HTTPException:
        if error.code is None or error.code < 400 or error.response is not None:  # a redirection, or an answer that is made already
            return error
        kept = {name: value for name, value in error.get_headers() if name in ("Allow", "Retry-After")}
        return response(error.code, error.description or error.name, kept)

    @app.errorhandler(Exception)
    def of_the_unforeseen(error: Exception) -> Response:
        app.logger.error("a request ended with an error", exc_info=error)
        return response(500, "something went wrong; the service's log says what")

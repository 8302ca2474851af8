"""What the OpenAPI document says beyond the routes and their fields."""

from typing import Any

from flask_openapi3 import Info, OpenAPI

from batch_api.problems import MEDIA_TYPE
from batch_api.schemas import MAX_BODY, MAX_TASKS, Problem

INFO = Info(
    title="Batches",
    version="1.0.0",
    description="Hand in pairs of integers to add, get a receipt at once, ask how far they are. A known sum is not computed again.",
)


def _problem(description: str, *headers: str) -> dict[str, Any]:
    of_headers = {name: {"schema": {"type": "string"}} for name in headers}
    schema = {"$ref": f"#/components/schemas/{Problem.__name__}"}
    return {"description": description, "headers": of_headers, "content": {MEDIA_TYPE: {"schema": schema}}}


EVERYWHERE: dict[Any, Any] = {
    400: _problem("The request cannot be read."),
    429: _problem("Too many requests of one client.", "Retry-After"),
    500: _problem("Something went wrong that nobody foresaw."),
    503: _problem("The broker or the result backend does not answer.", "Retry-After"),
}
OF_AN_ID: dict[Any, Any] = {
    404: _problem("This id was never given out."),
    410: _problem("This id has expired."),
}
OF_A_BODY: dict[Any, Any] = {
    413: _problem(f"The body is longer than {MAX_BODY} bytes."),
    415: _problem("The body is not JSON."),
    422: _problem(f"The body is JSON, but not a batch of 1 to {MAX_TASKS} pairs of integers within their range."),
}


def finish(api: OpenAPI) -> None:
    """Take out what the extension puts into every document: without a body nothing is invalid, and there are no passwords."""
    document = api.api_doc
    document["components"].pop("securitySchemes", None)
    for path in document["paths"].values():
        for method, operation in path.items():
            if method != "post":
                operation["responses"].pop("422", None)

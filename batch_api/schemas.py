"""What goes in and what comes out, field by field: requests are checked against these, and the OpenAPI document is made of them."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

MAX_TASKS = 100
MAX_BODY = 64 * 1024  # bytes
SMALLEST, LARGEST = -(2**31), 2**31 - 1

_SOME_ID = "0c4f3f0a-8f7d-4c56-9d0e-2b7c7f1f2a11"
_OTHER_ID = "b8f5a1de-3c1b-4a0f-8b1d-54b1c2a9e7d3"


def _whole(value: Any) -> Any:
    """Take 5.0 for 5: in JSON they are the same number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, Field(strict=True, ge=SMALLEST, le=LARGEST), BeforeValidator(_whole)]
Id = Annotated[str, Field(json_schema_extra={"format": "uuid"})]


def _says(description: str, headers: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    """Word what the document says of an answer besides its fields."""
    of_headers = {name: {"description": text, "schema": {"type": "string"}} for name, text in (headers or {}).items()}
    return {"description": description, "headers": of_headers, **more}


class Failed(BaseModel):
    """Why there is no sum: the type of the error that ended the task."""

    errorType: str = Field(description="The name of the error's class, never its message or traceback.", examples=["ValueError"])


class Pair(BaseModel):
    """Two integers to add."""

    model_config = ConfigDict(extra="forbid")

    paramA: Integer = Field(examples=[1])
    paramB: Integer = Field(examples=[5])


class BatchRequest(BaseModel):
    """A batch of pairs; the same pair may stand in it more than once."""

    model_config = ConfigDict(extra="forbid")

    tasks: Annotated[list[Pair], Field(min_length=1, max_length=MAX_TASKS)]


class BatchReceipt(BaseModel):
    """The receipt for a batch: its own id, and one task id for each pair, in the order of the request."""

    model_config = ConfigDict(
        openapi_extra=_says(  # type: ignore[typeddict-unknown-key]  # flask-openapi3's
            "The batch is accepted; ask at `Location` how far it is.",
            {
                "Location": "Where to ask for the batch.",
                "Cache-Status": "RFC 9211: whether the results were there already (`hit`), or how many tasks had to be sent.",
            },
        ),
    )

    groupTaskId: Id = Field(examples=[_SOME_ID])
    taskIds: list[Id] = Field(
        description="Pairs that are equal share one task, within a batch and with other batches, so an id may stand here twice.",
        examples=[[_OTHER_ID]],
    )


class BatchStatus(BaseModel):
    """How far a batch is."""

    model_config = ConfigDict(openapi_extra=_says("How far the batch is; ask again until `grouptaskProcessed`."))  # type: ignore[typeddict-unknown-key]

    groupTaskId: Id
    grouptaskProcessed: bool = Field(description="Whether all tasks are done.")
    grouptaskSucceeded: bool = Field(description="True until a task of the batch fails, so also while it is in progress.")
    results: list[int | Failed | None] = Field(
        description="One entry for each pair, in the order of the request: the sum, null as long as there is none, or why there is none.",
        examples=[[6, None]],
    )
    tasksCompleted: int = Field(description="How many of the pairs are done, whether with a sum or without one.")
    tasksTotal: int = Field(description="How many pairs the request had.")


class TaskStatus(BaseModel):
    """How far one task is."""

    model_config = ConfigDict(openapi_extra=_says("How far the task is."))  # type: ignore[typeddict-unknown-key]

    taskId: Id
    taskState: str = Field(description="Celery's name of the state; PENDING as long as no worker has begun.", examples=["SUCCESS"])
    resultReady: bool = Field(description="Whether the task is done, with a sum or without one.")
    taskSucceeded: bool = Field(description="Whether it is done with a sum.")
    result: int | Failed | None = Field(description="The sum, null as long as there is none, or why there is none.", examples=[6])


class Health(BaseModel):
    """The broker and the result backend answer; whether a worker runs is not asked."""

    model_config = ConfigDict(openapi_extra=_says("The broker and the result backend answer."))  # type: ignore[typeddict-unknown-key]

    status: str = Field(examples=["ok"])


class Fault(BaseModel):
    """One thing that is wrong with a request's body."""

    where: str = Field(examples=["tasks.0.paramA"])
    what: str = Field(examples=["Input should be a valid integer"])


class Problem(BaseModel):
    """The one shape of every error (RFC 9457)."""

    type: str = Field(default="about:blank")
    title: str = Field(description="The status in words.", examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(description="What is wrong, for a person.")
    errors: list[Fault] | None = Field(default=None, description="With 422: everything that is wrong with the body.")


class IdInPath(BaseModel):
    """The id that a path ends with."""

    id: Id

"""A pipeline of tasks: a request goes to three collectors at once, then gather -> cleanup -> process.

    collector_request ──> collector_1 ┐
                          collector_2 ├─> collector_gathering ──> cleanup ──> process
                          collector_3 ┘

`collector_request` is itself a task: it publishes the others and is done before they are.
"""

import random
import uuid
from typing import TypedDict

from celery import chord

from tutorial_tasks.celery_app import app


class Started(TypedDict):
    """What `collector_request` gives back: the request, and the id of the task that ends the pipeline."""

    request_id: str
    result_id: str


class Report(TypedDict):
    """What one collector found."""

    request_id: str
    collector: int
    items: list[int]


class Collection(TypedDict):
    """What all collectors found together."""

    request_id: str
    items: list[int]


class Summary(TypedDict):
    """What the pipeline ends with."""

    request_id: str
    item_count: int


@app.task
def generate_collector_request(topic: str) -> str:
    """Give a request about this topic a name of its own: a random UUID, as text.

    Raises:
        ValueError: the topic is empty.
    """
    if not topic.strip():
        raise ValueError("a collector request needs a topic, for example 'shoes'")
    return str(uuid.uuid4())


@app.task
def collector_request(topic: str, seed: int | None = None) -> Started:
    """Start the pipeline for a topic; with a `seed` every run collects the same items."""
    request_id = generate_collector_request(topic)
    collectors = [collector.s(request_id, topic, seed) for collector in (collector_1, collector_2, collector_3)]
    last = chord(collectors, collector_gathering.s() | cleanup.s() | process.s()).apply_async()
    return {"request_id": request_id, "result_id": last.id}


def collect(request_id: str, topic: str, collector: int, seed: int | None) -> Report:
    """Invent between 3 and 8 integers from 0 to 99, the same ones for the same topic, collector and seed."""
    source = random.Random(None if seed is None else f"{topic}/{collector}/{seed}")
    return {
        "request_id": request_id,
        "collector": collector,
        "items": [source.randrange(100) for _ in range(source.randint(3, 8))],
    }


@app.task
def collector_1(request_id: str, topic: str, seed: int | None = None) -> Report:
    """Collect from the first source."""
    return collect(request_id, topic, 1, seed)


@app.task
def collector_2(request_id: str, topic: str, seed: int | None = None) -> Report:
    """Collect from the second source."""
    return collect(request_id, topic, 2, seed)


@app.task
def collector_3(request_id: str, topic: str, seed: int | None = None) -> Report:
    """Collect from the third source."""
    return collect(request_id, topic, 3, seed)


@app.task
def collector_gathering(reports: list[Report]) -> Collection:
    """Put the reports of one request together, in the order of the collectors.

    Raises:
        ValueError: there is no report, or the reports are not all of one request.
    """
    requests = {report["request_id"] for report in reports}
    if len(requests) != 1:
        raise ValueError(f"expected the reports of one request, got those of {len(requests)}")
    ordered = sorted(reports, key=lambda report: report["collector"])
    return {"request_id": requests.pop(), "items": [item for report in ordered for item in report["items"]]}


@app.task
def cleanup(collection: Collection) -> Collection:
    """Sort the items and keep each of them once."""
    return {"request_id": collection["request_id"], "items": sorted(set(collection["items"]))}


@app.task
def process(collection: Collection) -> Summary:
    """Count the items."""
    return {"request_id": collection["request_id"], "item_count": len(collection["items"])}

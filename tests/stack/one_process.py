"""A worker that does one thing after the other."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from tests.stack.processes import PATIENCE
from tutorial_tasks.lifecycle import Gate, wait_at_gate


@contextmanager
def one_process_free() -> Iterator[None]:
    """Hold one of the worker's two processes, so that the other does one thing after the other.

    Celery sends the second attempt of a task before it stores the first one's RETRY, stores nothing over a SUCCESS, and looks for
    one some time before it stores (5.7's `KeyValueStoreBackend._store_result`): in two processes any of these may come first.
    """
    gate = Gate(f"one of two {uuid.uuid4()}")
    gate.close()
    wait_at_gate.delay(gate.name, PATIENCE)
    try:
        yield
    finally:
        gate.open()

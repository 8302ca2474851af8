"""A kernel in which a test runs cells one by one, in the order that it likes."""

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any

import nbformat
from jupyter_core.utils import ensure_event_loop
from nbclient import NotebookClient

from tests.notebooks.lessons import NOTEBOOKS
from tests.notebooks.sockets import of_nbclient


class Kernel:
    """A running kernel, such as a notebook has."""

    def __init__(self, client: NotebookClient) -> None:
        self._client = client

    def run(self, source: str, timeout: int = 60) -> list[Any]:
        """Run one cell and return its outputs, those of an error too.

        Raises:
            nbclient.exceptions.CellTimeoutError: the cell did not end in time.
        """
        cell = nbformat.v4.new_code_cell(source)
        self._client.nb.cells.append(cell)
        self._client.timeout = timeout
        self._client.execute_cell(cell, len(self._client.nb.cells) - 1)
        return list(cell.outputs)

    def say(self, source: str) -> str:
        """Run one cell and return all that it shows, as text."""
        return text(self.run(source))


@contextlib.contextmanager
def kernel(**environment: str) -> Iterator[Kernel]:
    """Start a kernel where the lessons are, with these variables beside ours; it ends with the block."""
    client = NotebookClient(
        nbformat.v4.new_notebook(),
        kernel_name="python3",
        allow_errors=True,
        coalesce_streams=True,
        resources={"metadata": {"path": NOTEBOOKS}},
        config=of_nbclient(),
    )
    try:
        with client.setup_kernel(env=os.environ | environment):
            yield Kernel(client)
    finally:
        if threading.current_thread() is not threading.main_thread():
            ensure_event_loop().close()  # each thread that asks gets one of its own


def text(outputs: list[Any]) -> str:
    """Give what outputs show, as text, in their order."""
    return "\n".join(
        output.get("text") or output.get("data", {}).get("text/plain") or f"{output.get('ename')}: {output.get('evalue')}"
        for output in outputs
    )

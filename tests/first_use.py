"""Two threads that use a Celery task for the first time at the same moment."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, get_ident
from typing import Any
from unittest.mock import patch

from celery.local import PromiseProxy, Proxy

PATIENCE = 20  # seconds


def at_once(use: Callable[[], Any]) -> None:
    """Use a task in two threads, of which the first stands still where Celery is about to make the task, until the other is through.

    Raises what the first thread raises.
    """
    make = Proxy._get_current_object
    about_to, other_is_through = Event(), Event()
    first: list[int] = []

    def stand_still(self: Proxy) -> Any:
        if type(self) is PromiseProxy and first == [get_ident()] and not about_to.is_set():
            about_to.set()
            assert other_is_through.wait(PATIENCE)
        return make(self)

    def go_first() -> None:
        first.append(get_ident())
        try:
            use()
        finally:
            about_to.set()

    with patch.object(Proxy, "_get_current_object", stand_still), ThreadPoolExecutor(2) as threads:
        one = threads.submit(go_first)
        try:
            assert about_to.wait(PATIENCE)
            threads.submit(use).result(PATIENCE)
        finally:
            other_is_through.set()
        one.result(PATIENCE)

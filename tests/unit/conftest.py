"""What several unit tests have."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from celery import Celery

from taskscope import Scope, scope


@pytest.fixture
def own_scope(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scope]:
    """A scope that hears nobody but the test."""
    deaf = SimpleNamespace(status=[], workers={}, close=lambda: None)
    monkeypatch.setattr(scope, "Receiver", lambda *_: SimpleNamespace(start=lambda: deaf))
    own = Scope(Celery("quiet", set_as_current=False))
    yield own
    own.close()

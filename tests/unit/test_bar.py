"""The bar: words in a still, and a widget that follows what it counts."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from classroom import bar
from classroom.bar import Bar
from tests.unit.clock import Clock


def widget() -> Any:
    return SimpleNamespace(value=0, description="")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The bar's clock, on which no machine is slow."""
    clock = Clock()
    monkeypatch.setattr(bar, "time", clock)
    return clock


def counting(*values: int) -> Iterator[int]:
    yield from values
    while True:
        yield values[-1]


def test_a_still_of_it_is_words() -> None:
    assert Bar(300, lambda: 7)._repr_mimebundle_() == {"text/plain": "7 of 300"}


def test_it_follows_to_the_end_and_no_further() -> None:
    shown, values = widget(), counting(0, 3, 3, 300, 299)
    Bar(300, lambda: next(values)).follow(shown)
    assert (shown.value, shown.description) == (300, "300 of 300")
    assert next(values) == 299, "it looked again after all were there"


def test_it_gives_up_when_nothing_changes_any_more(clock: Clock) -> None:
    shown, values, begun = widget(), counting(0, 1, 2), clock.now
    Bar(300, lambda: next(values)).follow(shown)
    assert (shown.value, shown.description) == (2, "2 of 300")
    assert clock.now - begun == pytest.approx(bar._GIVE_UP_AFTER, abs=1)


def test_it_only_grows_and_not_beyond_its_total() -> None:
    shown, values = widget(), counting(299, 0, 301)
    Bar(300, lambda: next(values)).follow(shown)
    assert (shown.value, shown.description) == (300, "300 of 300")


def test_what_it_asks_may_be_away_for_a_moment() -> None:
    shown, values = widget(), counting(2, 0, 1)
    Bar(2, lambda: 2 // next(values)).follow(shown)
    assert (shown.value, shown.description) == (2, "2 of 2")

"""Results of other databases: kept back for as long as only the result backend speaks of them."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from taskscope import Scope, neighbours
from taskscope.ledger import Ledger
from taskscope.neighbours import Neighbours
from taskscope.observation import Observation


def stored(task: str, state: str = "SUCCESS") -> Observation:
    return Observation("result", "stored", 1.0, 1.0, task=task, data={"state": state})


def said(task: str) -> Observation:
    return Observation("event", "received", 1.0, 1.0, task=task)


class Asked:
    """A server that has the results of some tasks elsewhere, and remembers what it was asked."""

    def __init__(self, *elsewhere: str) -> None:
        self.elsewhere, self.asked = set(elsewhere), list[str]()

    def __call__(self, tasks: Sequence[str]) -> set[str]:
        self.asked += tasks
        return self.elsewhere & set(tasks)


def test_a_result_of_another_database_is_kept_back() -> None:
    both = Neighbours(Asked("theirs"))
    assert both.without([stored("theirs"), stored("ours")], ()) == [stored("ours")]
    assert "theirs" in both.tasks
    assert "ours" not in both.tasks


def test_nobody_is_asked_about_a_task_that_another_witness_knows() -> None:
    server = Asked("a", "b", "c")
    both = Neighbours(server)
    news = [stored("a"), said("a"), stored("b")]
    assert both.without(news, {"b"}) == news
    assert server.asked == []


def test_each_is_asked_about_once() -> None:
    server = Asked("theirs")
    both = Neighbours(server)
    both.without([stored("theirs", "STARTED"), stored("theirs")], ())
    assert both.without([stored("theirs")], ()) == []
    assert server.asked == ["theirs"]


def test_what_comes_while_somebody_is_asked_is_not_saved_unjudged(own_scope: Scope, tmp_path: Path) -> None:
    def ask(tasks: Sequence[str]) -> set[str]:
        own_scope.ledger.append(stored("theirs, too"))
        return set(tasks)

    own_scope._neighbours = Neighbours(ask)
    own_scope.ledger.append(stored("theirs"))
    own_scope.save(tmp_path / "run.jsonl")
    assert own_scope.ledger.position == 2
    assert list(Ledger.load(tmp_path / "run.jsonl")) == []


def test_what_was_kept_back_comes_with_the_first_word_of_somebody_else() -> None:
    both = Neighbours(Asked("late"))
    both.without([stored("late", "STARTED"), stored("late")], ())
    assert both.without([said("late")], ()) == [stored("late", "STARTED"), stored("late"), said("late")]
    assert "late" not in both.tasks


def test_what_is_of_no_task_goes_through() -> None:
    gap = Observation("result", "gap", 1.0, 2.0)
    assert Neighbours(Asked()).without([gap, gap], ()) == [gap, gap]


def test_a_busy_neighbour_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MOST", 3)
    both = Neighbours(Asked(*map(str, range(10))))
    for number in range(10):
        assert both.without([stored(str(number))], ()) == []
    assert [number for number in range(10) if str(number) in both.tasks] == [7, 8, 9]

"""The ledger: its limit, its positions, and its file, whole or damaged."""

import gc
import threading
import time
import tracemalloc
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskscope.errors import ScopeError
from taskscope.ledger import Ledger
from taskscope.observation import SOURCES, Observation, Unread
from taskscope.taps import events

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
OBSERVATIONS = st.builds(
    Observation,
    source=st.sampled_from(sorted(SOURCES)),
    kind=st.text(min_size=1),
    at=st.floats(-1e11, 1e11),
    arrived=st.floats(-1e11, 1e11),
    task=st.none() | st.text(min_size=1),
    attempt=st.none() | st.integers(0, 1000),
    host=st.text(),
    data=st.dictionaries(st.text(), PLAIN, max_size=4),
)


def seen(number: int) -> Observation:
    return Observation("event", "sent", float(number), float(number), task=f"task {number}")


def filled(count: int, limit: int = 100) -> Ledger:
    ledger = Ledger(limit)
    for number in range(count):
        ledger.append(seen(number))
    return ledger


def test_what_is_appended_is_there_in_order() -> None:
    ledger = filled(3)
    assert [observation.at for observation in ledger] == [0, 1, 2]
    assert (len(ledger), ledger.dropped, ledger.shown) == (3, 0, "")


def test_beyond_the_limit_the_oldest_are_dropped_and_counted() -> None:
    ledger = filled(25, limit=10)
    assert [observation.at for observation in ledger] == list(range(15, 25))
    assert (len(ledger), ledger.dropped, ledger.shown) == (10, 15, "showing 10 of 25")


def test_a_ledger_for_nothing_says_what_to_type() -> None:
    with pytest.raises(ScopeError, match=r"at least one observation, not 0\n  next: Ledger\(limit="):
        Ledger(0)


@given(st.integers(0, 40), st.integers(1, 12), st.integers(-3, 50))
def test_since_gives_what_came_after_a_position_as_far_as_it_is_kept(count: int, limit: int, position: int) -> None:
    ledger = filled(count, limit)
    news, end = ledger.since(position)
    assert end == count == ledger.position
    assert [observation.at for observation in news] == [n for n in range(count) if n >= position and n >= count - limit]


def test_positions_follow_each_other_without_loss_or_repetition() -> None:
    ledger, position, read = Ledger(), 0, []
    for number in range(10):
        ledger.append(seen(number))
        if number % 3 == 0:
            news, position = ledger.since(position)
            read += news
    read += ledger.since(position)[0]
    assert read == list(ledger)


def test_wait_ends_when_something_arrives_and_when_the_time_is_up() -> None:
    ledger = filled(2)
    assert ledger.wait(1, timeout=0)
    assert not ledger.wait(2, timeout=0.01)
    waiting = threading.Event()
    woken: list[bool] = []

    def wait() -> None:
        waiting.set()
        woken.append(ledger.wait(2, timeout=10))

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait()
    began = time.monotonic()
    ledger.append(seen(2))
    thread.join(10)
    assert woken == [True]
    assert time.monotonic() - began < 5


def test_what_came_unread_is_read_when_somebody_asks_and_once_for_all() -> None:
    asked: list[int] = []

    def message(*numbers: int) -> Unread:
        def read() -> list[Observation]:
            asked.extend(numbers)
            return [seen(number) for number in numbers]

        return Unread(read)

    one, other = Ledger(), Ledger(limit=3)
    said: list[Observation | Unread] = [message(0, 1), seen(2), message(), message(3, 4)]
    for ledger in (one, other):
        for each in said:
            ledger.append(each)
    assert asked == []
    assert one.position == 5 and asked == [0, 1, 3, 4]
    assert [observation.at for observation in one] == [0, 1, 2, 3, 4]
    assert (other.dropped, [observation.at for observation in other]) == (2, [2, 3, 4])
    assert asked == [0, 1, 3, 4]
    one.append(message())
    assert not one.wait(5, timeout=0.01)
    one.append(message(5))
    assert one.wait(5, timeout=0)


def test_only_so_many_messages_wait_to_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskscope.ledger.UNREAD", 10)
    asked: list[int] = []
    ledger = Ledger()

    def read(number: int) -> list[Observation]:
        asked.append(number)
        return [seen(number)]

    for number in range(25):
        ledger.append(Unread(partial(read, number)))
    assert asked == list(range(15))
    assert [observation.at for observation in ledger] == list(range(25))


def test_what_the_reading_brings_about_waits_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskscope.ledger.UNREAD", 2)
    ledger = Ledger()

    def read() -> list[Observation]:
        ledger.append(seen(100))  # as a message does that can't be read: it leaves a gap
        return [seen(0)]

    ledger.append(Unread(read))
    for number in range(1, 5):
        ledger.append(seen(number))
    assert [observation.at for observation in ledger] == [0, 1, 2, 100, 3, 4]


def test_many_threads_append_while_others_read() -> None:
    ledger = Ledger(limit=500)
    read: list[Observation] = []
    done = threading.Event()

    def follow() -> None:
        position = 0
        while True:
            ended = done.is_set()
            news, position = ledger.since(position)
            read.extend(news)
            list(ledger)
            if ended:
                return

    reader = threading.Thread(target=follow)

    def write() -> None:
        for number in range(1000):
            ledger.append(seen(number) if number % 2 else Unread(lambda number=number: [seen(number)]))  # type: ignore[misc]

    writers = [threading.Thread(target=write) for _ in range(4)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert (ledger.position, len(ledger), ledger.dropped) == (4000, 500, 3500)
    assert read[-1] == list(ledger)[-1]


# -- the file ---------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(observations=st.lists(OBSERVATIONS, max_size=6))
def test_a_file_gives_back_what_was_saved(tmp_path_factory: Any, observations: list[Observation]) -> None:
    path = tmp_path_factory.mktemp("ledger") / "run.jsonl"
    ledger = Ledger()
    for observation in observations:
        ledger.append(observation)
    ledger.save(path)
    loaded = Ledger.load(path)
    assert (list(loaded), loaded.dropped, loaded.limit, loaded.trouble) == (observations, 0, ledger.limit, "")


def test_a_file_may_end_at_a_position(tmp_path: Path) -> None:
    filled(25, limit=10).save(tmp_path / "run.jsonl", until=18)
    assert [observation.at for observation in Ledger.load(tmp_path / "run.jsonl")] == [15, 16, 17]


def test_a_file_remembers_what_was_dropped(tmp_path: Path) -> None:
    filled(25, limit=10).save(tmp_path / "run.jsonl")
    loaded = Ledger.load(tmp_path / "run.jsonl")
    assert (len(loaded), loaded.shown, loaded.limit, loaded.trouble) == (10, "showing 10 of 25", 10, "")


def test_a_file_cut_anywhere_gives_what_is_whole_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    ledger = filled(5)
    ledger.save(path)
    whole = path.read_bytes()
    header = whole.index(b"\n")
    for cut in range(header, len(whole) - 1):  # without the last line's end, that line is whole still
        path.write_bytes(whole[:cut])
        loaded = Ledger.load(path)
        complete = max(whole[:cut].count(b"\n") - 1, 0)
        # Cut just before the end of a line, that line is whole as well.
        assert list(loaded) == list(ledger)[: complete + (whole[cut : cut + 1] == b"\n" and cut > header)], cut
        assert f"{len(loaded)} of 5 observations could be read" in loaded.trouble


_ODD_TIMES = [
    f'{{"source":"event","kind":"sent","at":{at},"arrived":0,"data":{data}}}'
    for at, data in [("1e999", "{}"), ("NaN", "{}"), ("9" * 400, "{}"), ("1", '{"runtime":NaN}')]
]


def test_a_broken_line_in_the_middle_costs_only_that_line(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    filled(5).save(path)
    lines = path.read_text().splitlines()
    for broken in (
        "{",
        "[]",
        '{"source":"nobody"}',
        "[" * 100_000,
        '{"source":"event","kind":"sent","at":"now","arrived":0}',
        "\udcff",
        *_ODD_TIMES,
    ):
        path.write_bytes("\n".join([*lines[:3], broken, *lines[4:]]).encode(errors="surrogateescape"))
        loaded = Ledger.load(path)
        assert [observation.at for observation in loaded] == [0, 1, 3, 4], broken[:20]
        assert loaded.trouble == "the file is damaged: 1 line is not whole, the first is line 4; 4 of 5 observations could be read"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"id,name\n1,2\n",
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        b"[1]\n",
        b'{"cells": []}',
        b'{"taskscope": "x"}\n',
        b"[" * 9999,
    ],
)
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(ScopeError, match=r"other is not a recording of taskscope"):
        Ledger.load(path)


def test_a_file_of_the_future_a_missing_one_and_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "new").write_text('{"taskscope": 2}\n')
    with pytest.raises(ScopeError, match=r"newer taskscope \(format 2, this one reads 1\)\n  next: update"):
        Ledger.load(tmp_path / "new")
    with pytest.raises(ScopeError, match="can't be read: No such file"):
        Ledger.load(tmp_path / "nothing")
    with pytest.raises(ScopeError, match="can't be read: Is a directory"):
        Ledger.load(tmp_path)


def test_saving_replaces_in_one_step_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text("what was there before")
    filled(3).save(path)
    assert len(Ledger.load(path)) == 3
    assert list(tmp_path.iterdir()) == [path]
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(ScopeError, match="can't be written"):
        filled(3).save(tmp_path / "folder")
    with pytest.raises(ScopeError, match=r"can't be written to .*\n  next: save it to another path"):
        filled(3).save(tmp_path / "no such folder" / "run.jsonl")
    assert sorted(tmp_path.iterdir()) == [tmp_path / "folder", path]


def test_what_would_break_the_file_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    filled(3).save(path)
    ledger = filled(2)
    ledger.append(Observation("event", "sent", 0, 0, data={"not JSON": object()}))
    with pytest.raises(TypeError):
        ledger.save(path)
    assert len(Ledger.load(path)) == 3
    assert list(tmp_path.iterdir()) == [path]


def test_an_observation_takes_less_than_a_kilobyte_and_a_half() -> None:
    """The shapes are those of a task's four events: each text is a new one, as it comes from the network."""

    def run(number: int) -> list[dict[str, Any]]:
        task = f"{number:036d}"
        envelope: dict[str, Any] = {"hostname": "".join(["celery", "@lab"]), "utcoffset": 0, "pid": 1000 + number, "clock": number}
        named: dict[str, Any] = {
            "name": ".".join(["tutorial_tasks", "add"]),
            "args": f"({number}, 3)",
            "kwargs": "{}",
            "root_id": str(task),
            "parent_id": None,
        }
        named |= {"retries": 0, "eta": None, "expires": None}
        times = [time.time() + step for step in range(4)]
        return [
            {"type": "task-sent", "uuid": str(task), "timestamp": times[0], "queue": "celery", "routing_key": "celery"} | named | envelope,
            {"type": "task-received", "uuid": str(task), "timestamp": times[1]} | named | envelope,
            {"type": "task-started", "uuid": str(task), "timestamp": times[2]} | envelope,
            {"type": "task-succeeded", "uuid": str(task), "timestamp": times[3], "result": str(number), "runtime": number / 7} | envelope,
        ]

    bodies = [body for number in range(1000) for body in run(number)]
    ledger = Ledger()
    gc.collect()
    tracemalloc.start()
    try:
        for body in bodies:
            observation = events.observation_of(dict(body), time.time())
            assert observation
            ledger.append(observation)
        del observation
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # What the bodies hold too is not counted by that: the texts, which each come anew from the network.
    texts = sum(len(line.to_json()) for line in ledger)
    assert (size + texts) / len(ledger) < 1500

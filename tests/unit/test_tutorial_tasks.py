"""The tasks as plain functions: no broker, no worker."""

import errno
import io
import json
import os
import resource
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery.app.defaults import SETTING_KEYS

from tutorial_tasks import settings
from tutorial_tasks.arithmetic import add, multiply, slow_add, total
from tutorial_tasks.collectors import (
    Collection,
    Report,
    cleanup,
    collector_1,
    collector_2,
    collector_3,
    collector_gathering,
    generate_collector_request,
    process,
)
from tutorial_tasks.lifecycle import echo
from tutorial_tasks.projects import _inside_data_dir, clean_data, create_project
from tutorial_tasks.shops import stock

ROOT = Path(__file__).resolve().parents[2]
COLLECTORS = (collector_1, collector_2, collector_3)


# -- arithmetic ------------------------------------------------------------------------------------------------------


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the task meant to sleep; nobody really does."""
    naps: list[float] = []
    monkeypatch.setattr("tutorial_tasks.arithmetic.time.sleep", naps.append)
    return naps


def test_arithmetic_is_right() -> None:
    assert add(2, 3) == 5
    assert add(-1, 0.5) == -0.5
    assert multiply(6, 7) == 42
    assert total([1, 2, 3.5]) == 6.5
    assert total([]) == 0


def test_slow_add_sleeps_as_long_as_it_is_told(naps: list[float]) -> None:
    assert slow_add(2, 3, seconds=0) == 5
    assert slow_add(2, 3, seconds=1.5) == 5
    assert naps == [0, 1.5]


def test_slow_add_sleeps_3_to_10_seconds_unless_told(naps: list[float]) -> None:
    assert {slow_add(2, 3) for _ in range(300)} == {5}
    assert 3 <= min(naps) < 4
    assert 9 < max(naps) <= 10


# -- lifecycle -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "kind"), [((1, 2), "tuple"), (None, "NoneType"), ({"type": 1}, "dict")])
def test_echo_says_what_it_got(value: Any, kind: str) -> None:
    assert echo(value) == {"type": kind, "value": value}


# -- collectors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 7])  # 0 is a seed like any other
@pytest.mark.parametrize("collector", COLLECTORS)
def test_a_seeded_collector_repeats_itself(collector: Callable[..., Report], seed: int) -> None:
    assert collector("r", "shoes", seed) == collector("r", "shoes", seed)


def test_seeded_collectors_differ_by_topic_collector_and_seed() -> None:
    found = [tuple(collector("r", topic, seed)["items"]) for collector in COLLECTORS for topic in ("shoes", "hats") for seed in (0, 7, 8)]
    assert len(set(found)) == len(found) == 18


def test_unseeded_collectors_differ() -> None:
    assert len({tuple(collector_1("r", "shoes")["items"]) for _ in range(20)}) > 10


def test_a_report_names_its_request_and_collector_and_has_3_to_8_items() -> None:
    reports = [collector("r", "shoes", seed) for collector in COLLECTORS for seed in range(100)]
    assert [report["collector"] for report in reports] == [1] * 100 + [2] * 100 + [3] * 100
    assert {report["request_id"] for report in reports} == {"r"}
    assert {len(report["items"]) for report in reports} == {3, 4, 5, 6, 7, 8}
    assert {item for report in reports for item in report["items"]} == set(range(100))


def report(collector: int, items: list[int], request_id: str = "r") -> Report:
    return {"request_id": request_id, "collector": collector, "items": items}


def test_gathering_puts_reports_in_the_order_of_the_collectors() -> None:
    reports = [report(3, [5, 5]), report(1, [9, 1]), report(2, [4])]
    assert collector_gathering(reports) == {"request_id": "r", "items": [9, 1, 4, 5, 5]}


@pytest.mark.parametrize(("reports", "found"), [([], 0), ([report(1, [1], "r"), report(2, [2], "s")], 2)])
def test_gathering_refuses_none_and_mixed_requests(reports: list[Report], found: int) -> None:
    with pytest.raises(ValueError, match=f"of one request, got those of {found}"):
        collector_gathering(reports)


def test_cleanup_sorts_and_keeps_each_item_once() -> None:
    assert cleanup({"request_id": "r", "items": [9, 1, 10, 9, 1]}) == {"request_id": "r", "items": [1, 9, 10]}


@pytest.mark.parametrize("items", [[], [1, 9, 10]])
def test_process_counts(items: list[int]) -> None:
    collection: Collection = {"request_id": "r", "items": items}
    assert process(collection) == {"request_id": "r", "item_count": len(items)}


def test_a_request_gets_a_random_uuid_as_text() -> None:
    names = {generate_collector_request("shoes") for _ in range(10)}
    assert len(names) == 10
    assert {str(uuid.UUID(name)) for name in names} == names
    assert {uuid.UUID(name).version for name in names} == {4}


@pytest.mark.parametrize("topic", ["", "  "])
def test_a_request_needs_a_topic(topic: str) -> None:
    with pytest.raises(ValueError, match="needs a topic"):
        generate_collector_request(topic)


# -- settings --------------------------------------------------------------------------------------------------------

PRINT_SETTINGS = """
import json
from tutorial_tasks import settings
from tutorial_tasks.celery_app import app
names = ("broker_url", "result_backend", "broker_transport_options", "result_backend_transport_options",
         "task_serializer", "result_serializer", "accept_content", "result_accept_content")
own = {"key_prefix": settings.key_prefix, "data_dir": str(settings.data_dir)}
print(json.dumps({name: app.conf[name] for name in names} | own))
"""


def settings_with(**environment: str) -> dict[str, Any]:
    """What the application is set to when these variables are all that the environment has."""
    run = subprocess.run(
        [sys.executable, "-c", PRINT_SETTINGS],
        env={"PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_without_an_environment_everything_is_local() -> None:
    found = settings_with()
    assert found["broker_url"] == found["result_backend"] == "redis://127.0.0.1:6379/0"
    assert found["key_prefix"] == ""
    assert "global_keyprefix" not in found["broker_transport_options"] | found["result_backend_transport_options"]
    assert found["data_dir"] == str(ROOT / "data")


def test_nothing_but_json_is_sent_or_accepted() -> None:
    found = settings_with()
    assert found["task_serializer"] == found["result_serializer"] == "json"
    assert found["accept_content"] == found["result_accept_content"] == ["json"]


def test_the_environment_names_broker_backend_and_data_folder(tmp_path: Path) -> None:
    found = settings_with(
        CELERY_BROKER_URL="redis://broker:1/2",
        CELERY_RESULT_BACKEND="redis://results:3/4",
        TUTORIAL_DATA_DIR=str(tmp_path),
    )
    assert found["broker_url"] == "redis://broker:1/2"
    assert found["result_backend"] == "redis://results:3/4"
    assert found["data_dir"] == str(tmp_path)


def test_results_go_to_the_broker_unless_told_otherwise() -> None:
    assert settings_with(CELERY_BROKER_URL="redis://broker:1/2")["result_backend"] == "redis://broker:1/2"


def test_only_rabbitmq_is_asked_to_confirm_each_message() -> None:
    on_rabbitmq = settings_with(CELERY_BROKER_URL="amqp://broker//", CELERY_RESULT_BACKEND="redis://results:3/4")
    assert on_rabbitmq["broker_transport_options"] == {"confirm_publish": True}
    assert "confirm_publish" not in settings_with()["broker_transport_options"]


@pytest.mark.parametrize("prefix", ["alice", "alice:"])
def test_a_prefix_ends_with_one_colon_on_both_sides(prefix: str) -> None:
    found = settings_with(CELERY_KEY_PREFIX=prefix)
    assert found["broker_transport_options"]["global_keyprefix"] == "alice:"
    assert found["result_backend_transport_options"]["global_keyprefix"] == "alice:"
    assert found["key_prefix"] == "alice:"


def test_celery_knows_every_setting() -> None:
    """Celery ignores a misspelt one without a word."""
    ours = {name for name in vars(settings) if name.islower() and not name.startswith("_")}
    assert ours - SETTING_KEYS == {"os", "key_prefix", "data_dir"}


# -- projects --------------------------------------------------------------------------------------------------------

FIRST = b'{"id": 1}\n'
TORN = b'{"id": 1}\n{"id'


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder, with something beside it to lead out to."""
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setattr("tutorial_tasks.projects.data_dir", data)
    return data


@pytest.fixture
def file(data: Path) -> Path:
    return data / "projects.jsonl"


def test_a_project_is_exactly_one_more_line(file: Path) -> None:
    row = {"name": "Käse\nund\rBrot\u2028", "id": 2}
    assert create_project({"id": 1}, file.name) == {"id": 1}
    assert create_project(row, file.name) == row
    lines = file.read_bytes().split(b"\n")
    assert lines[2:] == [b""]
    assert [json.loads(line) for line in lines[:2]] == [{"id": 1}, row]


def test_a_project_may_lie_in_a_folder_that_is_still_to_be_made(data: Path) -> None:
    create_project({"id": 1}, "2025/may/projects.jsonl")
    assert (data / "2025/may/projects.jsonl").read_bytes() == FIRST


@pytest.mark.parametrize("row", [{}, None, [], [1], "text", 1])
def test_a_project_is_a_dict_with_entries(data: Path, row: Any) -> None:
    with pytest.raises(ValueError, match="dict with at least one entry"):
        create_project(row, "projects.jsonl")
    assert not list(data.iterdir())


@pytest.mark.parametrize("path", ["../x", "a/../../x", "{elsewhere}/file", ".", "", "a/..", "link/x", "link_to_file"])
@pytest.mark.parametrize("task", [lambda path: create_project({"id": 1}, path), clean_data], ids=["create_project", "clean_data"])
def test_no_path_leads_out_of_the_data_folder(data: Path, task: Callable[[str], Any], path: str) -> None:
    elsewhere = data.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_bytes(FIRST)
    (data / "link").symlink_to(elsewhere)
    (data / "link_to_file").symlink_to(elsewhere / "file")
    before = everything_in(data.parent)
    with pytest.raises(ValueError, match="not a file inside the data folder"):
        task(path.format(elsewhere=elsewhere))
    assert everything_in(data.parent) == before


def test_no_path_leads_to_the_files_of_the_system(data: Path) -> None:
    """Not through a task: were it to fail as root, there would be no users left."""
    with pytest.raises(ValueError, match="'/etc/passwd' is not a file inside the data folder"):
        _inside_data_dir("/etc/passwd")


def everything_in(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_a_torn_last_line_is_closed_before_the_next_row(file: Path) -> None:
    file.write_bytes(TORN)
    create_project({"id": 2}, file.name)
    assert file.read_bytes() == TORN + b'\n{"id": 2}\n'
    assert clean_data(file.name) == {"kept": 2, "dropped": 1}


class FullDisk(io.FileIO):
    """A file on a disk that has room for three more bytes."""

    def write(self, data: Any) -> int:
        super().write(data[:3])
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("before", [b"", FIRST, TORN])
def test_a_full_disk_leaves_the_file_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch, before: bytes) -> None:
    file.write_bytes(before)
    really_open = Path.open
    opened = []

    def open_on_full_disk(path: Path, mode: str, buffering: int = -1) -> Any:
        if path != file:
            return really_open(path, mode, buffering)
        opened.append(mode)
        return FullDisk(path, mode)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(Path, "open", open_on_full_disk)
        create_project({"id": 2}, file.name)
    assert opened == ["ab+"]
    assert file.read_bytes() == before
    create_project({"id": 2}, file.name)  # and it works again, once there is room
    assert file.read_bytes().endswith(b'\n{"id": 2}\n' if before else b'{"id": 2}\n')


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """Have the kernel itself write what fits and refuse the rest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("before", [b"", FIRST, TORN])
def test_a_row_that_fits_only_in_part_is_not_written_at_all(file: Path, before: bytes) -> None:
    file.write_bytes(before)
    with pytest.raises(OSError, match="File too large"), files_no_longer_than(len(before) + 5):
        create_project({"id": 2}, file.name)
    assert file.read_bytes() == before


def test_cleaning_drops_repeated_and_unreadable_lines_and_keeps_the_order(file: Path) -> None:
    garbage = [b'{"id"', b"", b"[1]", b"{}", b"null", b"7", b"\xff\xfe", b"no json", b"[" * 100_000]
    rows = [b'{"id": 9, "n": 1}', b'{"id": 1}', b'{"n":1,"id":9}', b'{"id": 5}', b'{"id": 1}']
    file.write_bytes(b"\n".join(garbage + rows + garbage))
    assert clean_data(file.name) == {"kept": 3, "dropped": 2 * len(garbage) + 2}
    assert file.read_bytes() == b'{"id": 9, "n": 1}\n{"id": 1}\n{"id": 5}\n'


def test_cleaning_again_changes_nothing(file: Path) -> None:
    file.write_bytes(FIRST + FIRST + TORN)
    clean_data(file.name)
    once = file.read_bytes()
    assert clean_data(file.name) == {"kept": 1, "dropped": 0}
    assert file.read_bytes() == once == FIRST


def test_a_file_that_does_not_exist_is_an_empty_one(file: Path) -> None:
    assert clean_data(file.name) == {"kept": 0, "dropped": 0}
    assert clean_data(file.name) == {"kept": 0, "dropped": 0}


def test_a_disk_that_fills_while_cleaning_leaves_the_file_as_it_was(file: Path) -> None:
    before = b"".join(b'{"id": %d}\n' % n for n in range(20)) + TORN
    file.write_bytes(before)
    with pytest.raises(OSError, match="File too large"), files_no_longer_than(50):
        clean_data(file.name)
    assert {path: text for path, text in everything_in(file.parent).items() if text} == {file: before}


def test_a_file_that_cannot_be_replaced_stays_as_it_was(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    file.write_bytes(FIRST + FIRST)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="Input/output"):
        clean_data(file.name)
    assert {path: text for path, text in everything_in(file.parent).items() if text} == {file: FIRST + FIRST}


WRITE_ROWS = """
import signal, sys
signal.alarm(60)  # nobody waits for us longer than that
from tutorial_tasks.projects import create_project
first, rows = int(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for number in range(first, first + rows):
    create_project({"id": number, "text": "x" * (number % 300)}, "projects.jsonl")
"""


@pytest.mark.long
def test_eight_processes_and_a_cleaner_lose_and_tear_no_row(file: Path) -> None:
    rows = 500
    environment = os.environ | {"TUTORIAL_DATA_DIR": str(file.parent), "PYTHONPATH": str(ROOT)}
    cleaned = []
    with ExitStack() as stack:
        writers = []
        for first in range(0, 8 * rows, rows):
            command = [sys.executable, "-c", WRITE_ROWS, str(first), str(rows)]
            writer = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            writers.append(stack.enter_context(writer))
            stack.callback(writer.kill)
        for writer in writers:
            assert writer.stdout and writer.stdout.readline() == "ready\n"
        for writer in writers:
            assert writer.stdin
            writer.stdin.write("go\n")
            writer.stdin.flush()
        while any(writer.poll() is None for writer in writers):
            cleaned.append(clean_data(file.name))
        assert [writer.returncode for writer in writers] == [0] * 8
    ids = [json.loads(line)["id"] for line in file.read_bytes().splitlines()]
    assert sorted(ids) == list(range(8 * rows))
    assert {each["dropped"] for each in cleaned} == {0}
    assert len({each["kept"] for each in cleaned}) > 3, "the cleaner did not run in between"


# -- shops -----------------------------------------------------------------------------------------------------------


def test_a_shop_tells_its_stock() -> None:
    assert [stock(shop) for shop in ("east", "south", "west")] == [12, 7, 23]


def test_a_shop_that_there_is_not_has_no_stock() -> None:
    with pytest.raises(ValueError, match=r"^there is no shop 'sauth'$"):
        stock("sauth")

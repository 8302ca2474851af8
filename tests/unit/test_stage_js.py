"""The JavaScript of the live view: its own tests, and the same pictures as Python's."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from taskscope import scenes
from taskscope.film import Film, film
from taskscope.history import Task
from taskscope.stage import Stage
from tests.unit import films

STAGE = Path(scenes.__file__).parent / "stage"


@pytest.fixture(scope="module")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("node is missing, so the JavaScript is not tested: apt-get install nodejs")
        pytest.skip("node is missing: apt-get install nodejs")
    return found


def _run(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, cwd=STAGE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_own_tests(node: str) -> None:
    said = _run(node, "--test", "--no-warnings", "tests/")
    assert "# fail 0" in said
    assert "# tests 0" not in said


def _wide(length: int, width: int) -> dict[str, Any]:
    """Return a chain with a group at its end."""
    chain = [f"c{number}" for number in range(length)]
    group = [f"g{length}-{number}" for number in range(width)]
    nodes = [{"id": one, "name": one, "label": f"{one}(1, 2)", "kind": "task", "box": 0 if one in group else None} for one in chain + group]
    edges = [*pairwise(chain), *((chain[-1], one) for one in group)]
    return {
        "nodes": nodes,
        "edges": [{"source": one, "target": two, "kind": "chain"} for one, two in edges],
        "boxes": [{"id": "b", "kind": "group", "parent": None, "counts": []}],
    }


TABLE = {"columns": ["key", "type", "holds", "time to live"], "shares": [0.3, 0.1, 0.46, 0.14]}


def _told_by_few() -> list[Task]:
    """Return tasks of which not everybody has told: one that the broker's commands show, one that is contradicted, ids that nobody sent."""
    steps = [("PENDING", 0.0), ("RECEIVED", 0.1), ("STARTED", 0.2), ("SUCCESS", 0.5)]
    told = [("REVOKED", 0.4)]
    return [
        replace(films.task("add", "(1,)", films.lane("a", *steps)), broker=((films.ORIGIN, "in a queue"), (films.ORIGIN + 0.1, "taken"))),
        films.task("add", "(2,)", films.lane("b", *steps, told={"SUCCESS": ("result",)}, evidence={"SUCCESS": "contradicted"})),
        replace(films.task("add", "(3,)", films.lane("c", *told, told={"REVOKED": ("result",)})), name="", queue=""),
        replace(films.task("add", "(4,)", films.lane("d", ("(PENDING)", 0.2), ("(RECEIVED)", 0.2), ("STARTED", 0.2))), queue=""),
        replace(films.task("add", "(5,)", films.lane("e", ("PENDING", 0.3))), queue=""),
        Task("nobody"),
    ]


FILMS: dict[str, Film] = {
    "everything": {
        **films.everything(),
        "notes": ["a note"],
        "commands": [[0.4, "LPUSH celery {…}"]],
        "xray": {"columns": ["key", "holds"], "shares": [0.5, 0.5], "rows": [["celery", "2 messages"], ["<b>", "ünïcode ✔ 漢字"]]},
    },
    "crowd": films.crowd(30),
    "bigger crowd": films.crowd(210, slots=3),
    "chord": films.chord(),
    "too many": film(films.many(60), workers=films.WORKERS, limit=50, notes=["a note"]),
    "too many planned": films.too_wide(1200, 600),
    "planned only": film([], graphs=[films.chord_plan()]),
    "long and wide": film([], graphs=[_wide(9, 20), _wide(2, 70)]),
    "witnesses": film(
        _told_by_few(),
        keeps=False,
        queues={"celery": {"waiting": 0, "unacked": 1, "kept": 1}},
        xray={**TABLE, "rows": [["a", "b", "c", "1000 h 59 min"]]},
    ),
    "empty": film([]),
}


@pytest.mark.parametrize("name", FILMS)
def test_draws_what_the_stills_draw(node: str, name: str) -> None:
    shown = FILMS[name]
    end = shown["now"]
    asks: list[tuple[str, float, int, str]] = [
        (view, t, width, by)
        for view in scenes.SCENES
        for t in (-1.0, 0.0, end / 7, end / 3, 0.31, end / 2, end * 0.9, end)
        for width, by in ((700, "attempt"), (1400, "slot"))
    ]
    theirs: list[Any] = json.loads(_run(node, "--no-warnings", "tests/scenes.mjs", text=json.dumps({"film": shown, "asks": asks})))
    for ask, drawn in zip(asks, theirs, strict=True):
        ours = json.loads(json.dumps(scenes.scene(shown, *ask)))
        assert drawn["height"] == ours["height"], ask
        by_key = {item["key"]: item for item in drawn["items"]}
        for item in ours["items"]:
            assert by_key.get(item["key"]) == item, ask
        assert len(drawn["items"]) == len(ours["items"]) == len(by_key), ask


def test_its_files_make_one_module(node: str, tmp_path: Path) -> None:
    joined = tmp_path / "joined.mjs"
    joined.write_text(str(Stage._esm), encoding="utf-8")
    _run(node, "--check", str(joined))

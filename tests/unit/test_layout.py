"""The layout of a canvas: nothing overlaps, boxes hold what is theirs, and what is there stays."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskscope import layout
from taskscope.layout import Rows, Shelf
from tests.unit import films


def _plan(nodes: list[tuple[str, int | None]], edges: list[tuple[str, str, str]], boxes: list[tuple[str, int | None]]) -> dict[str, Any]:
    return {
        "nodes": [{"id": name, "name": f"app.{name}", "label": name, "kind": "task", "box": box, "known": True} for name, box in nodes],
        "edges": [{"source": one, "target": two, "kind": kind} for one, two, kind in edges],
        "boxes": [
            {
                "id": f"b{index}", "kind": kind, "parent": parent, "phantom": False,
                "counts": [name for name, box in nodes if box == index] if kind == "header" else [],
            }
            for index, (kind, parent) in enumerate(boxes)
        ],
    }  # fmt: skip


def _check(laid: dict[str, Any]) -> None:
    nodes = laid["nodes"]
    for index, one in enumerate(nodes):
        for two in nodes[index + 1 :]:
            if one["x"] == two["x"] and one.get("small", 0) == two.get("small", 0):
                assert abs(one["y"] - two["y"]) >= (0.41 if "small" in one else 0.99), (one["id"], two["id"])
    for number, box in enumerate(laid["boxes"]):
        inside = {number} | {other for other, inner in enumerate(laid["boxes"]) if inner["parent"] == number}
        for node in nodes:
            within = box["x0"] <= node["x"] <= box["x1"] and box["y0"] < node["y"] < box["y1"]
            assert within == _belongs(node.get("box"), number, laid["boxes"]), (box["id"], node["id"])
        for other, two in enumerate(laid["boxes"]):
            if other not in inside and box["parent"] == two["parent"] and box["x0"] <= two["x1"] and two["x0"] <= box["x1"]:
                assert box["y1"] <= two["y0"] + 1e-6 or two["y1"] <= box["y0"] + 1e-6
    for edge in laid["edges"]:
        ends = {node["id"]: node["x"] for node in nodes}
        if edge["source"] in ends and edge["target"] in ends:
            assert ends[edge["source"]] < ends[edge["target"]]


def _belongs(box: int | None, wanted: int, boxes: list[dict[str, Any]]) -> bool:
    while box is not None:
        if box == wanted:
            return True
        box = boxes[box]["parent"]
    return False


def test_the_chord_of_the_design() -> None:
    laid = layout.graph(films.chord_plan())
    at = {node["id"]: (node["x"], node["y"]) for node in laid["nodes"]}
    assert [at[f"n{number}"][0] for number in range(6)] == [0, 0, 0, 1, 2, 3]
    assert at["n3"][1] == at["n1"][1]  # the body is level with the middle of its header
    (gate,) = laid["gates"]
    assert (gate["of"], gate["members"], gate["bodies"]) == (3, ["n0", "n1", "n2"], ["n3"])
    assert {(edge["source"], edge["target"]) for edge in laid["edges"] if edge["kind"] == "chord"} == {
        ("n0", "gate 0"), ("n1", "gate 0"), ("n2", "gate 0"), ("gate 0", "n3"),
    }  # fmt: skip
    _check(laid)


@given(st.integers(0, 40), st.integers(0, 3))
def test_a_group_of_any_size_is_a_box_or_a_grid(size: int, chains: int) -> None:
    nodes: list[tuple[str, int | None]] = [
        ("first", None),
        *((f"m{n}", 0) for n in range(size)),
        *((f"s{n}", 0) for n in range(min(chains, size))),
    ]
    edges = [("first", f"m{n}", "chain") for n in range(size)] + [(f"m{n}", f"s{n}", "chain") for n in range(min(chains, size))]
    laid = layout.graph(_plan(nodes, edges, [("group", None)]))
    if size:
        _check(laid)
    assert len(laid["edges"]) <= 2 * layout.MANY + 6


def test_boxes_in_boxes() -> None:
    nodes: list[tuple[str, int | None]] = [("a", 1), ("b", 1), ("c", 2), ("d", 2), ("e", 0), ("end", None)]
    edges = [(name, "end", "chord") for name in "abcde"]
    plan = _plan(nodes, edges, [("header", None), ("group", 0), ("group", 0)])
    plan["boxes"][0]["counts"] = list("abcde")
    laid = layout.graph(plan)
    _check(laid)
    assert laid["boxes"][0]["inset"] == 1
    assert laid["gates"][0]["of"] == 5


def test_five_hundred_in_a_header_are_a_grid_with_one_line_to_the_gate() -> None:
    nodes: list[tuple[str, int | None]] = [*((f"m{n}", 0) for n in range(500)), ("body", None)]
    laid = layout.graph(_plan(nodes, [(f"m{n}", "body", "chord") for n in range(500)], [("header", None)]))
    assert laid["gates"][0]["of"] == 500
    assert [(edge["source"], edge["target"]) for edge in laid["edges"]] == [("box b0", "gate 0"), ("gate 0", "body")]
    assert laid["rows"] < 20


def test_a_long_chain_needs_no_recursion() -> None:
    names = [f"t{n}" for n in range(3000)]
    edges = [(one, two, "chain") for one, two in pairwise(names)]
    assert layout.graph(_plan([(name, None) for name in names], edges, []))["layers"] == 3000


@given(st.integers(1, 8), st.data())
def test_one_more_unplanned_task_moves_nothing(number: int, data: st.DataObject) -> None:
    parents = ["n0", "n3", "n4"]
    extra: list[dict[str, str]] = []
    for index in range(number):
        extra.append(
            {
                "id": f"x{index}",
                "name": "app.x",
                "label": "x()",
                "parent": data.draw(st.sampled_from([*parents, *(one["id"] for one in extra)])),
            }
        )
    before = layout.graph(films.chord_plan(), extra[:-1])
    after = layout.graph(films.chord_plan(), extra)
    assert after["nodes"][: len(before["nodes"])] == before["nodes"]
    assert after["boxes"] == before["boxes"]
    _check(after)


@pytest.mark.parametrize("plan", [_plan([], [], []), _plan([("a", None)], [], [("group", None)])])
def test_nothing_and_next_to_nothing(plan: dict[str, Any]) -> None:
    assert layout.graph(plan)["rows"] <= 3


def test_a_cell_is_free_once_its_holder_has_left() -> None:
    shelf = Shelf()
    assert [shelf.take(0), shelf.take(1), shelf.take(2)] == [0, 1, 2]
    shelf.leave(1, 3)
    assert shelf.take(2.5) == 3  # at 2.5 it is still held
    assert shelf.take(3.5) == 1


def test_rows_are_given_again_from_the_top() -> None:
    rows = Rows()
    assert [rows.take() for _ in range(4)] == [0, 1, 2, 3]
    rows.leave([2, 0])
    assert [rows.take() for _ in range(3)] == [0, 2, 4]

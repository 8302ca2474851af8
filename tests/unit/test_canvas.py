"""The graph that is read off a signature: its shape, its words, and that the signature itself stays as it is."""

import json
from typing import Any

import pytest
from celery import Celery, chain, chord, group

from taskscope.canvas import MANY_EDGES, Graph, plan
from taskscope.errors import ScopeError

# No server can be reached: planning sends nothing and asks nobody.
app = Celery("canvas", broker="redis://127.0.0.1:1/0", backend="redis://127.0.0.1:1/0", set_as_current=False)


@app.task
def add(x: float, y: float) -> float:
    return x + y


@app.task
def total(numbers: list[float]) -> float:
    return sum(numbers)


@app.task
def report(task_id: str) -> None:
    """An errback of the kind that is a task."""


@app.task
def report_at_once(request: Any, exc: Exception, traceback: Any) -> None:
    """An errback of the kind that is called on the spot."""


def labels(graph: Graph) -> list[str]:
    return [node.label for node in graph.nodes]


def edges(graph: Graph) -> list[tuple[str, str, str]]:
    label = {node.id: node.label for node in graph.nodes}
    return [(label[edge.source], label[edge.target], edge.kind) for edge in graph.edges]


def test_a_chain_is_one_task_after_the_other() -> None:
    graph = plan(chain(add.s(1, 2), add.s(3), add.si(4, y=5))).graph
    assert labels(graph) == ["add(1, 2)", "add(…, 3)", "add(4, y=5)"]
    assert edges(graph) == [("add(1, 2)", "add(…, 3)", "chain"), ("add(…, 3)", "add(4, y=5)", "chain")]
    assert graph.boxes == ()
    assert {node.name for node in graph.nodes} == {add.name}


def test_a_chord_has_a_header_with_a_barrier() -> None:
    graph = plan(chord([add.s(1, 1), chain(add.s(2, 2), add.s(3))], total.s())).graph
    one, two, three, body = (node.id for node in graph.nodes)
    (box,) = graph.boxes
    assert (box.kind, box.members, box.counts, box.body, box.phantom) == ("header", (one, two, three), (one, three), body, False)
    assert [node.box for node in graph.nodes] == [0, 0, 0, None]
    assert [(edge.source, edge.target) for edge in graph.edges if edge.kind == "chord"] == [(one, body), (three, body)]


def test_the_ids_of_a_whole_group_and_chord_are_known_and_taken() -> None:
    for canvas in (group([add.s(1, 1), add.s(2, 2)]), chord([add.s(1, 1)], total.s())):
        one = plan(canvas)
        assert one.graph.boxes[0].known
        assert one.graph.boxes[0].id == one.signature.options["task_id"]
    assert not plan(add.s(1, 1) | group([add.s(1), add.s(2)]) | total.s()).graph.boxes[0].known


def test_boxes_are_nested_as_canvases_are() -> None:
    inner = chord([add.s(1, 1), add.s(2, 2)], total.s())
    graph = plan(chord([inner, add.s(3, 3)], total.s())).graph
    assert [(box.kind, box.parent) for box in graph.boxes] == [("header", None), ("header", 0)]
    assert graph.boxes[1].body in graph.boxes[0].counts
    assert len(graph.boxes[0].members) == 2


def test_a_group_at_the_end_of_a_chain_in_a_header_is_a_phantom() -> None:
    one = plan(chord([chain(add.s(1, 1), group([add.s(1), add.s(2)])), add.s(9, 9)], total.s()))
    assert [(box.kind, box.phantom, box.parent) for box in one.graph.boxes] == [("header", False, None), ("group", True, 0)]
    assert len(one.graph.boxes[0].counts) == 3
    assert "nobody counts" in one.notes[0]
    assert not any(box.phantom for box in plan(chain(add.s(1, 1), group([add.s(1), add.s(2)]))).graph.boxes)


def test_callbacks_have_no_id_yet() -> None:
    graph = plan(add.s(1, 1).set(link=[add.s(5) | add.s(6)]).on_error(report.s())).graph
    assert [(node.label, node.kind, node.known) for node in graph.nodes] == [
        ("add(1, 1)", "task", True),
        ("add(…, 5)", "link", False),
        ("add(…, 6)", "link", False),
        ("report(…)", "link_error", False),
    ]
    assert edges(graph) == [
        ("add(…, 5)", "add(…, 6)", "chain"),
        ("add(1, 1)", "add(…, 5)", "link"),
        ("add(1, 1)", "report(…)", "link_error"),
    ]
    assert len(graph.ids()) == 1


def test_an_errback_that_leaves_no_event_says_so() -> None:
    (_, at_once) = plan(add.s(1, 1).on_error(report_at_once.s())).graph.nodes
    (_, as_task) = plan(add.s(1, 1).on_error(report.s())).graph.nodes
    assert "leaves no event" in at_once.note
    assert as_task.note == ""


def test_an_errback_of_a_chain_stands_behind_each_of_its_tasks_and_a_link_behind_the_last() -> None:
    canvas = chain(add.s(1, 1), add.s(2), link=[add.s(3)], link_error=[report.s()])
    assert sorted(edges(plan(canvas).graph)) == [
        ("add(1, 1)", "add(…, 2)", "chain"),
        ("add(1, 1)", "report(…)", "link_error"),
        ("add(…, 2)", "add(…, 3)", "link"),
        ("add(…, 2)", "report(…)", "link_error"),
    ]


def test_an_errback_of_a_chord_is_its_body_s() -> None:
    graph = plan(chord([add.s(1, 1), add.s(2, 2)], total.s(), link_error=[report.s()])).graph
    assert [edge for edge in edges(graph) if edge[2] == "link_error"] == [("total(…)", "report(…)", "link_error")]


def test_the_signature_itself_stays_as_it_is() -> None:
    canvas = chain(
        add.s(1, 1).set(link=[add.s(7)]),
        group([add.s(2), chord([add.s(3), group([add.s(4), add.s(5)])], total.s())]),
        total.s().on_error(report.s()),
    )
    before = json.dumps(canvas)
    one = plan(canvas)
    other = plan(canvas)
    assert json.dumps(canvas) == before
    assert json.dumps(one.signature) != before
    assert not one.graph.ids() & other.graph.ids()
    one.signature.tasks[0].options["link"][0].options["x"] = 1
    assert json.dumps(canvas) == before


def test_the_copy_is_of_the_same_kind_all_through() -> None:
    canvas = chain(add.s(1, 1), group(add.s(number) for number in (1, 2)), add.starmap([(1, 2)]))
    twin = plan(canvas).signature
    assert type(twin) is type(canvas)
    assert [type(task) for task in twin.tasks] == [type(task) for task in canvas.tasks]
    assert type(twin.tasks[1].tasks) is type(canvas.tasks[1].tasks)


def test_ids_that_are_given_by_hand_are_kept() -> None:
    assert plan(add.s(1, 1).set(task_id="mine")).graph.ids() == {"mine"}
    one = plan(chain(add.s(1, 1), add.s(2), task_id="last"))
    assert one.graph.nodes[1].id == "last"
    assert "left there when it was sent before" in one.notes[0]
    assert plan(chord([add.s(1, 1)], total.s(), task_id="both")).graph.nodes[1].id == "both"
    assert plan(group([add.s(1, 1)], task_id="all")).graph.boxes[0].id == "all"


def test_an_id_that_is_given_twice_is_one_task_and_said() -> None:
    one = plan(group([add.s(1, 1).set(task_id="mine")] * 3))
    assert labels(one.graph) == ["add(1, 1)"]
    assert one.graph.boxes[0].members == ("mine",)
    assert "more than one task" in one.notes[0]


def test_a_plan_s_signature_planned_again_is_the_same_plan() -> None:
    one = plan(chord([add.s(1, 1), add.s(2, 2)], total.s()))
    assert plan(one.signature).graph == one.graph


def test_chunks_are_sent_as_a_group() -> None:
    one = plan(add.chunks([(1, 1), (2, 2), (3, 3)], 2))
    assert type(one.signature) is group
    assert labels(one.graph) == ["add.starmap([(1, 1), (2, 2)])", "add.starmap([(3, 3)])"]
    assert "unplanned" in plan(chain(add.s(1, 1), add.chunks([(1, 1)], 1))).notes[0]


def test_three_groups_in_a_row_are_told_as_what_they_are() -> None:
    pair = [group([add.si(n, n), add.si(n, -n)]) for n in (1, 2, 3)]
    one = plan(chain(*pair))
    assert [edge[2] for edge in edges(one.graph)] == ["chord"] * 4 + ["chain"] * 4
    assert "once for each task of that group" in one.notes[0]


def test_wide_groups_do_not_make_a_square_of_edges() -> None:
    wide = [add.si(number, 1) for number in range(500)]
    graph = plan(chord(wide, group(wide))).graph
    assert len(graph.edges) == 999 < MANY_EDGES
    assert {edge.source for edge in graph.edges if edge.target == graph.boxes[0].body} == set(graph.boxes[0].counts)
    assert {edge.target for edge in graph.edges} == set(graph.boxes[1].members)


def test_long_chains_and_huge_arguments_are_no_trouble() -> None:
    graph = plan(chain(add.s(1, 1), *[add.s(1)] * 3000)).graph
    assert (len(graph.nodes), len(graph.edges)) == (3001, 3000)
    (node,) = plan(total.s(list(range(1_000_000)))).graph.nodes
    assert len(node.label) < 100


def test_nothing_is_a_graph_too() -> None:
    assert plan(chain()).graph == Graph()
    assert plan(group([])).graph.nodes == ()
    assert labels(plan(chord([], total.s())).graph) == ["total(…)"]
    assert labels(plan(group([add.s(1, 1), chain()])).graph) == ["add(1, 1)"]


def test_it_is_json() -> None:
    graph = plan(chord([add.s(1, 1)], total.s().set(link=[add.s(1)]))).graph
    assert json.loads(json.dumps(graph.to_json()))["boxes"][0]["body"] == graph.nodes[1].id


def cyclic() -> Any:
    canvas = group([add.s(1, 1)])
    canvas.tasks.append(canvas)
    return canvas


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (lambda: add, "is a task, not a call of it\n  next: plan\\(add.s"),
        (lambda: app.AsyncResult("x"), "sent already"),
        (lambda: "add", "a str is not a signature"),
        (dict, "a dict is not a signature"),
        (lambda: chord([add.s(1, 1)]), "no body"),
        (cyclic, "contains itself"),
    ],
)
def test_what_cannot_be_sent_is_turned_down_with_the_next_thing_to_type(what: Any, says: str) -> None:
    with pytest.raises(ScopeError, match=says):
        plan(what())

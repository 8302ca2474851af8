"""Where things are, once and for all: rows, cells and the coordinates of a graph. Nothing that got a place ever leaves it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from math import inf
from typing import Any

MANY = 12  # of one layer of one box; above that its nodes are drawn as a grid of glyphs
CROWD = 60  # of them; above that the grid is finer
HEAD, FOOT = 0.7, 0.25  # the room of a box above and below its members, in rows


class Shelf:
    """The cells of one place: whoever comes takes the lowest one that is free then, and keeps it until it leaves."""

    def __init__(self) -> None:
        self._until: list[float] = []
        self._left: list[tuple[float, int]] = []  # cells that were left, by when
        self._free: list[int] = []  # those of them that were free at the last look

    def take(self, begin: float) -> int:
        """Return the cell of somebody who comes at `begin`."""
        while self._left and self._left[0][0] <= begin:
            heappush(self._free, heappop(self._left)[1])
        if self._free and self._until[self._free[0]] <= begin:
            cell = heappop(self._free)
            self._until[cell] = inf
            return cell
        self._until.append(inf)
        return len(self._until) - 1

    def leave(self, cell: int, end: float) -> None:
        """Give the cell back as of `end`."""
        self._until[cell] = end
        heappush(self._left, (end, cell))


class Rows:
    """Rows from the top: the first free one for whoever comes."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._size = 0

    def take(self) -> int:
        """Return the row of a newcomer."""
        if self._free:
            return heappop(self._free)
        self._size += 1
        return self._size - 1

    def leave(self, rows: Sequence[int]) -> None:
        """Give rows back."""
        self._free.extend(rows)
        heapify(self._free)


def graph(plan: Mapping[str, Any], unplanned: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Lay out a canvas: layers from left to right, boxes around what belongs together, a gate before each chord's body.

    `unplanned` are nodes with a `parent`, in the order of their first sight: they come below all that was planned, so that
    nothing moves when one more comes. Coordinates are layers and rows; the width of a layer is the drawer's business.
    """
    nodes = [dict(node) for node in plan["nodes"]]
    known = {node["id"] for node in nodes}
    edges = [dict(edge) for edge in plan["edges"] if edge["source"] in known and edge["target"] in known]
    before: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        before[edge["target"]].append(edge["source"])
    layers = layers_of([node["id"] for node in nodes], before)
    boxes = [
        {
            "id": box["id"],
            "kind": box["kind"] + (", a phantom gate" if box.get("phantom") else ""),
            "parent": box.get("parent"),
            "counts": box.get("counts", ()),
            "counted": box.get("counted"),  # where one node stands for many
        }
        for box in plan["boxes"]
    ]
    _Packing(nodes, boxes, before, layers).pack()
    bottom = max([box["y1"] for box in boxes] + [node["y"] + 0.5 for node in nodes], default=0.0)
    _add_unplanned(nodes, edges, layers, unplanned, bottom)
    gates = _gates(edges, boxes, nodes)
    for box in boxes:
        del box["counts"], box["counted"]
    return {
        "nodes": nodes,
        "edges": _drawn(edges, nodes, boxes, gates),
        "boxes": boxes,
        "gates": gates,
        "layers": 1 + max((node["x"] for node in nodes), default=0),
        "rows": max([bottom] + [node["y"] + 0.5 for node in nodes]),
    }


def layers_of(ids: Sequence[str], before: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return the layer of each node: one more than that of the last one for which it waits."""
    # x = 1 + max of the predecessors, without recursion: a chain may be longer than Python's stack.
    layers: dict[str, int] = {}
    for start in ids:
        stack, waiting = [start], {start}
        while stack:
            here = stack[-1]
            missing = [other for other in before.get(here, ()) if other not in layers and other not in waiting]
            if missing:
                stack.extend(missing)
                waiting.update(missing)
            else:
                waiting.discard(stack.pop())
                layers[here] = 1 + max((layers.get(other, -1) for other in before.get(here, ())), default=-1)
    return layers


class _Packing:
    """Rectangles in nested boxes: each child as near to its predecessors as it can be without touching another."""

    def __init__(
        self, nodes: list[dict[str, Any]], boxes: list[dict[str, Any]], before: Mapping[str, Sequence[str]], layers: Mapping[str, int]
    ) -> None:
        self._nodes, self._boxes, self._before, self._layers = nodes, boxes, before, layers
        self._inner: dict[int | None, list[int]] = defaultdict(list)
        self._leaves: dict[int | None, list[dict[str, Any]]] = defaultdict(list)
        for index, box in enumerate(boxes):
            self._inner[box["parent"]].append(index)
        for node in nodes:
            self._leaves[node.get("box")].append(node)

    def pack(self) -> None:
        """Give every node its x and y and every box its corners."""
        ids: dict[str, float] = {}
        self._fill(None, ids)
        for box in self._boxes:
            for name, corner in (("x0", 0), ("x1", 0), ("y0", 0.0), ("y1", 1.0), ("inset", 0)):
                box.setdefault(name, corner)
        for node in self._nodes:
            node["y"] = ids.get(node["id"], 0.0)

    def _fill(self, box: int | None, centres: dict[str, float]) -> tuple[int, int, float]:
        """Place what is in a box relative to its top; return its first layer, its last layer and its height."""
        children = self._children(box)
        taken: dict[int, list[tuple[float, float]]] = defaultdict(list)  # in each layer: from where to where
        placed: dict[str, float] = {}  # the centres of the nodes that have their place
        tops = []
        for x0, x1, height, inner, _ in children:
            layers = range(x0, x1 + 1)
            rivals = sorted({span for layer in layers for span in taken[layer]})
            wanted = [placed[source] for source in self._sources(inner) if source in placed]
            top = _free_top(rivals, height, sum(wanted) / len(wanted) - height / 2 if wanted else None)
            for layer in layers:
                taken[layer].append((top, top + height))
            placed.update({name: y + top for name, y in inner.items()})
            tops.append(top)
        start = min(tops, default=0.0)
        head = HEAD if box is not None else 0.0
        for top, (_, _, _, inner, boxes) in zip(tops, children, strict=True):
            centres.update({name: y + top - start + head for name, y in inner.items()})
            for index in boxes:
                self._boxes[index]["y0"] += top - start + head
                self._boxes[index]["y1"] += top - start + head
        height = max((bottom for spans in taken.values() for _, bottom in spans), default=1.0) - start
        first, last = min((x0 for x0, *_ in children), default=0), max((x1 for _, x1, *_ in children), default=0)
        return first, last, height + (head and head + FOOT)

    def _sources(self, inner: Mapping[str, float]) -> list[str]:
        return [source for name in inner for source in self._before.get(name, ()) if source not in inner]

    def _children(self, box: int | None) -> list[tuple[int, int, float, dict[str, float], list[int]]]:
        """Return the children of a box, by layer: first and last layer, height, centres of the nodes in them, and the boxes in them."""
        children: list[tuple[int, int, float, dict[str, float], list[int]]] = []
        by_layer: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for node in self._leaves[box]:
            node["x"] = self._layers[node["id"]]
            by_layer[node["x"]].append(node)
        for layer, nodes in by_layer.items():
            if len(nodes) <= MANY:
                children += [(layer, layer, 1.0, {node["id"]: 0.5}, []) for node in nodes]
            else:
                children.append((layer, layer, *_grid(nodes), []))
        for index in self._inner[box]:
            centres: dict[str, float] = {}
            x0, x1, height = self._fill(index, centres)
            within = self._within(index)
            inset = 1 + max((self._boxes[other]["inset"] for other in within), default=-1)
            self._boxes[index] |= {"x0": x0, "x1": x1, "y0": 0.0, "y1": height, "inset": inset}
            children.append((x0, x1, height, centres, [index, *within]))
        order = {node["id"]: place for place, node in enumerate(self._nodes)}
        return sorted(children, key=lambda child: (child[0], min((order[name] for name in child[3]), default=0)))

    def _within(self, box: int) -> list[int]:
        return [other for inner in self._inner[box] for other in (inner, *self._within(inner))]


def _grid(nodes: list[dict[str, Any]]) -> tuple[float, dict[str, float]]:
    abreast, high = (6, 0.6) if len(nodes) <= CROWD else (12, 0.42)
    centres = {}
    for place, node in enumerate(nodes):
        node["small"], node["abreast"] = place % abreast, abreast
        centres[node["id"]] = high * (place // abreast + 0.5)
    return high * -(-len(nodes) // abreast), centres


def _free_top(rivals: Sequence[tuple[float, float]], height: float, wanted: float | None) -> float:
    """Return the top at which something touches none of its rivals, as near to the wanted one as it can be."""
    if wanted is None:
        return max((bottom for _, bottom in rivals), default=0.0)
    choices = [wanted, *(bottom for _, bottom in rivals), *(top - height for top, _ in rivals)]
    free = [top for top in choices if all(top + height <= above + 1e-9 or below <= top + 1e-9 for above, below in rivals)]
    return min(free, key=lambda top: (abs(top - wanted), top))


def _add_unplanned(
    nodes: list[dict[str, Any]], edges: list[dict[str, Any]], layers: dict[str, int], unplanned: Sequence[Mapping[str, Any]], bottom: float
) -> None:
    below: dict[int, int] = defaultdict(int)
    for node in unplanned:
        layer = layers[node["id"]] = 1 + layers.get(node["parent"], -1)
        nodes.append(
            {
                "id": node["id"],
                "name": node["name"],
                "label": node["label"],
                "kind": "unplanned",
                "x": layer,
                "y": bottom + 0.75 + below[layer],
            }
        )
        below[layer] += 1
        if node["parent"] in layers:
            edges.append({"source": node["parent"], "target": node["id"], "kind": "unplanned"})


def _gates(
    edges: Sequence[Mapping[str, Any]], boxes: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return a gate for every barrier: who is counted in, and what it lets go."""
    by_id = {node["id"]: node for node in nodes}
    targets: dict[str, list[str]] = defaultdict(list)
    for edge in edges:
        if edge["kind"] == "chord":
            targets[edge["source"]].append(edge["target"])
    gates = []
    for index, box in enumerate(boxes):
        members = [name for name in box["counts"] if name in targets]
        bodies = [name for name in targets[members[0]] if name in by_id] if members else []
        if bodies:
            x, y = min(by_id[name]["x"] for name in bodies), sum(by_id[name]["y"] for name in bodies) / len(bodies)
            gates.append(
                {"box": index, "x": x, "y": y, "members": members, "bodies": bodies, "of": box["counted"] or len(members), "counts": []}
            )
    return gates


def _drawn(
    edges: Sequence[dict[str, Any]],
    nodes: Sequence[Mapping[str, Any]],
    boxes: Sequence[Mapping[str, Any]],
    gates: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Return the lines to draw: through the gates, and to (or from) the box instead of each glyph in a grid, once each."""
    small = {node["id"]: f"box {boxes[node['box']]['id']}" for node in nodes if "small" in node and node.get("box") is not None}
    gated = {(member, body): f"gate {number}" for number, gate in enumerate(gates) for member in gate["members"] for body in gate["bodies"]}
    drawn: dict[tuple[str, str, str], dict[str, Any]] = {}
    for edge in edges:
        source, target, kind = small.get(edge["source"], edge["source"]), small.get(edge["target"], edge["target"]), edge["kind"]
        gate = gated.get((edge["source"], edge["target"])) if kind == "chord" else None
        for one, two in ((source, gate), (gate, target)) if gate else ((source, target),):
            if one != two:
                drawn.setdefault((one, two, kind), {"source": one, "target": two, "kind": kind})
    return list(drawn.values())

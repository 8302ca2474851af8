"""More tasks than one can look at: how many of them are where, over time, and a canvas whose many equal nodes are one."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from taskscope.gone import Gone
from taskscope.layout import layers_of
from taskscope.moment import moment, order, rank
from taskscope.states import CALLED_OFF, ENDS

Key = tuple[str, str, str]  # place, whose (a queue, a host, a node), state
Step = tuple[float, Key]

BINS = 200  # stretches of time for which counts are kept; when there are more, each becomes twice as long
_PLACES = ("queue", "bag", "slot", "end", "end")  # by the rank of the state
FINEST = 0.01  # seconds
EACH = 1000  # nodes of one canvas, above which those that are alike are drawn as one


class Crowd:
    """Counts of tasks by place and state, at any time; of so many of them it is remembered who they are, some 700 bytes each."""

    limit = 100_000

    def __init__(self) -> None:
        self._gone = Gone()  # those that stay counted where they were last seen
        self._width = FINEST
        self._bins: dict[int, dict[Key, int]] = {}
        self._steps: dict[str, list[Step]] = {}
        self.last = 0.0  # when somebody was last seen to go from one place to another

    def note(self, task: str, steps: list[Step]) -> None:
        """Take in what is known of a task now, in place of what was known before."""
        if task in self._gone:
            return
        if before := self._steps.get(task):
            for at, key, change in _changes(before):
                self._add(at, key, -change)
        self._steps[task] = steps
        if steps:
            self.last = max(self.last, steps[-1][0])
        for at, key, change in _changes(steps):
            self._add(at, key, change)
        if len(self._steps) > self.limit:
            self._forget(self.limit // 10 + 1)

    def shift(self, by: float) -> None:
        """Move all that was noted by some seconds."""
        noted = dict(self._steps)
        for task in noted:
            self.note(task, [])
        further = round(by / self._width)
        theirs = {number: {key: change for key, change in counts.items() if change} for number, counts in self._bins.items()}
        self._bins = {number + further: counts for number, counts in theirs.items() if counts}  # of those that are gone
        self.last += by
        for task, steps in noted.items():
            self.note(task, [(at + by, key) for at, key in steps])

    def to_json(self) -> dict[str, Any]:
        """Return the changes of every count as a part of the film."""
        while len(self._bins) > BINS:
            self._width *= 2
            halved, self._bins = self._bins, {}
            for number, counts in halved.items():
                into = self._bins.setdefault(number // 2, {})
                for key, change in counts.items():
                    into[key] = into.get(key, 0) + change
        bins = [
            [round(number * self._width, 4), [[*key, change] for key, change in counts.items() if change]]
            for number, counts in sorted(self._bins.items())
        ]
        return {"bins": [one for one in bins if one[1]], "of": len(self._steps) + len(self._gone)}

    def _forget(self, count: int) -> None:
        def unended_last(task: str) -> bool:
            steps = self._steps[task]
            return not (steps and steps[-1][1][2] in ENDS)

        forgotten = sorted(self._steps, key=unended_last)[:count]  # of those, the earliest
        for task in forgotten:
            del self._steps[task]
        self._gone.update(forgotten)

    def _add(self, at: float, key: Key, change: int) -> None:
        counts = self._bins.setdefault(int(at / self._width), {})
        counts[key] = counts.get(key, 0) + change


def steps_of(lanes: Sequence[Mapping[str, Any]], queue: str, node: str = "") -> list[Step]:
    """Return when a task came where, by the lanes of a film; `node` is the one that stands for it on a canvas."""
    steps: list[Step] = []
    for at, state, place, host in _ways(lanes):
        steps.append((at, (place, queue if place == "queue" else "" if place == "end" else host, state)))
        if node:
            steps.append((at, ("node", node, state)))
    return steps


def _ways(lanes: Sequence[Mapping[str, Any]]) -> Iterator[tuple[float, str, str, str]]:
    if len(lanes) == 1 and all(
        one[1] < two[1] for one, two in pairwise(lanes[0]["marks"])
    ):  # most are like this, and it is ten times as quick
        for state, at, *_ in lanes[0]["marks"]:
            yield at, state, "end" if state in CALLED_OFF else "slot" if state == "RETRY" else _PLACES[rank(state)], lanes[0]["host"]
        return
    for at in sorted({mark[1] for lane in lanes for mark in lane["marks"]}):
        if here := moment({"lanes": lanes}, at):
            yield at, here.state, "end" if here.state in CALLED_OFF else here.place, here.lane["host"]


def counts_at(crowd: Mapping[str, Any], t: float) -> Counter[Key]:
    """Return how many tasks are where at a time."""
    counts: Counter[Key] = Counter()
    for at, changes in crowd["bins"]:
        if at > t:
            break
        for place, whose, state, change in changes:
            counts[place, whose, state] += change
    return counts


def keys_of(crowd: Mapping[str, Any]) -> list[Key]:
    """Return whatever is ever counted, in the order in which it is drawn."""
    keys = {(place, whose, state) for _, changes in crowd["bins"] for place, whose, state, _ in changes}
    return sorted(keys, key=lambda key: (key[0], key[1], order(key[2]), key[2]))


def peaks(crowd: Mapping[str, Any]) -> dict[str, tuple[int, float]]:
    """Return the most that ever waited and the most that ever ran, each with its time as a negative number, so that earlier is more."""
    best: dict[str, tuple[int, float]] = {}
    counts: Counter[str] = Counter()
    for at, changes in crowd["bins"]:
        for place, _, _, change in changes:
            counts[place] += change
        for place in ("queue", "slot"):
            best[place] = max(best.get(place, (0, 0.0)), (counts[place], -at))
    return best


def ends_of(crowd: Mapping[str, Any]) -> str:
    """Return how many tasks are in which state at the end, as words."""
    counts: Counter[str] = Counter()
    for (place, _, state), number in counts_at(crowd, float("inf")).items():
        if place != "node":
            counts[state] += number
    told = [f"{counts[state]:,} {state}" for state in sorted(counts, key=lambda state: (order(state), state)) if counts[state]]
    return f"{crowd['of']:,} tasks: {' · '.join(told)}"


def condensed(plan: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, str]]:
    """Return a plan in which nodes of one box, layer and name are one, and which node stands for which; a small plan as it is."""
    if len(plan["nodes"]) <= EACH:
        return plan, {}
    before: dict[str, list[str]] = defaultdict(list)
    for edge in plan["edges"]:
        before[edge["target"]].append(edge["source"])
    layers = layers_of([node["id"] for node in plan["nodes"]], before)
    alike: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for node in plan["nodes"]:
        alike[node.get("box"), layers[node["id"]], node["name"], node.get("kind")].append(node)
    home = {node["id"]: nodes[0]["id"] for nodes in alike.values() if len(nodes) > 1 for node in nodes}

    def at_home(names: Iterable[str]) -> list[str]:
        return list(dict.fromkeys(home.get(name, name) for name in names))

    nodes = [
        dict(same[0]) if len(same) == 1 else {**same[0], "label": f"{same[0]['name'].rpartition('.')[2]} × {len(same):,}", "of": len(same)}
        for same in alike.values()
    ]
    edges = {(home.get(e["source"], e["source"]), home.get(e["target"], e["target"]), e["kind"]): e for e in plan["edges"]}
    return {
        **plan,
        "nodes": nodes,
        "edges": [{**edge, "source": one, "target": two} for (one, two, _), edge in edges.items() if one != two],
        "boxes": [{**box, "counts": at_home(box.get("counts", ())), "counted": len(box.get("counts", ()))} for box in plan["boxes"]],
    }, home


def state_of(node: str, of: int, counts: Mapping[Key, int]) -> str:
    """Return the state of a node that stands for many: a failure if there is one, an end when all have it; nothing before the first."""
    mine = {state: number for (place, whose, state), number in counts.items() if place == "node" and whose == node and number}
    for state in ("FAILURE", "REVOKED"):
        if state in mine:
            return state
    if mine.get("SUCCESS") == of:
        return "SUCCESS"
    # Some have ended and others have not: that many tasks are under way.
    return "" if not mine else "STARTED" if "SUCCESS" in mine else min(mine, key=lambda state: (-rank(state), state))


def _changes(steps: Iterable[Step]) -> Iterable[tuple[float, Key, int]]:
    last: dict[bool, Key] = {}
    for at, key in steps:
        is_node = key[0] == "node"
        if last.get(is_node) != key:
            if is_node in last:
                yield at, last[is_node], -1
            yield at, key, 1
            last[is_node] = key

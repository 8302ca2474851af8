"""What is drawn of a crowd: tokens that stand for all tasks of one place and state; stage/crowd.mjs draws the same."""

from collections.abc import Mapping
from math import floor
from typing import TYPE_CHECKING, Any

from taskscope.crowd import Key, counts_at, keys_of, state_of
from taskscope.moment import Moment, fit
from taskscope.states import STATES

if TYPE_CHECKING:
    from taskscope.scenes import Board

_WORDS = {("queue", "PENDING"): "waiting", ("bag", "RECEIVED"): "reserved", ("slot", "STARTED"): "running"}
GAP = 22


def counts_all(film: Mapping[str, Any], view: str) -> bool:
    """Return whether a view counts those tasks too that are not shown one by one."""
    return bool(film.get("crowd")) and (
        view == "stage" or (view == "graph" and any("of" in node for g in film["graphs"] for node in g["nodes"]))
    )


def stage(board: "Board", film: Mapping[str, Any], t: float) -> None:
    """Draw the four places, each with how many are there in which state."""
    crowd, counts = film["crowd"], counts_at(film["crowd"], t)
    keys = [key for key in keys_of(crowd) if key[0] != "node"]
    widths = [floor((board.width - 2 - 3 * GAP) * share) for share in (0.19, 0.25, 0.29, 0.27)]
    lefts = [1 + sum(widths[:place]) + GAP * place for place in range(4)]
    sections = {
        1: [(f'queue "{name}"', [key for key in keys if key[:2] == ("queue", name)]) for name in _names(keys, "queue")],
        2: [(name, [key for key in keys if key[0] in ("bag", "slot") and key[1] == name]) for name in _names(keys, "bag", "slot")],
        3: [("", [key for key in keys if key[0] == "end"])],
    }
    lowest = {place: 32.0 + sum((20 if name else 0) + 24 * len(mine) + 8 for name, mine in rows) for place, rows in sections.items()}
    height = max(150.0, *lowest.values())
    titles = ("notebook", "broker", "workers", "results") if board.width < 640 else ("your notebook", "broker", "workers", "result backend")
    for place, title in enumerate(titles):
        board.rect(f"place {place}", "place", lefts[place], 1, widths[place], height, 8)
        board.text(f"title {place}", "title", lefts[place] + 10, 20, title, widths[place] - 20)
        if place:
            x = lefts[place] - GAP + 4
            board.path(f"arrow {place}", "arrow", "M", x, 17.0, "H", x + GAP - 9, "m", -4.0, -4.0, "l", 4.0, 4.0, "l", -4.0, 4.0)
    sent = sum(number for key, number in counts.items() if key[0] != "node")
    board.text("sent", "faint", lefts[0] + 10, 38, f"{sent:,} sent", widths[0] - 20)
    for place, rows in sections.items():
        y = 32.0
        for name, mine in rows:
            if name:
                board.text(f"name {place} {name}", "text", lefts[place] + 10, y + 14, name, widths[place] - 20)
                y += 20
            for key in mine:
                _token(board, key, counts[key], lefts[place] + 19, y + 14, widths[place] - 42)
                y += 24
            y += 8
    board.height = height + 24
    board.text(
        "step", "faint", 2, board.height - 8, f"{crowd['of']:,} tasks: a token stands for all that are there in one state", board.width - 4
    )


def task_of(node: Mapping[str, Any], counts: Mapping[Key, int]) -> dict[str, Any]:
    """Return the task as which a node is drawn that stands for many: where it is, how many are done, and how many are where."""
    state, found = state_of(node["id"], node["of"], counts), _found(node, counts)
    return {
        "id": node["id"],
        "label": node["label"],
        "planned": True,
        "result": "",
        "lanes": [],
        "here": Moment(state, 0.0, "o", "", 0, {"attempt": 0}) if state else None,
        "done": counts.get(("node", node["id"], "SUCCESS"), 0),
        "told": " · ".join(f"{number:,} {state}" for state, number in found),
        "short": "  ".join(f"{number:,} {_GLYPHS.get(state, state)}" for state, number in found),
    }


def _found(node: Mapping[str, Any], counts: Mapping[Key, int]) -> list[tuple[str, int]]:
    """Return how many of those for which a node stands are in which state; what went wrong comes first."""
    found = {state: number for (place, whose, state), number in counts.items() if place == "node" and whose == node["id"] and number}
    mine = [(state, found[state]) for state in (*_WAY, *sorted(found.keys() - {*_WAY})) if state in found]
    left = node["of"] - sum(number for _, number in mine)
    return mine + ([("not sent yet", left)] if left else [])


_GLYPHS = {name: state.glyph for name, state in STATES.items()} | {"not sent yet": "left"}
_WAY = ("FAILURE", "REVOKED", "SUCCESS", "RETRY", "STARTED", "RECEIVED", "PENDING")


def _names(keys: list[Key], *places: str) -> list[str]:
    return sorted({key[1] for key in keys if key[0] in places})


def _token(board: "Board", key: Key, number: int, x: float, y: float, width: float) -> None:
    place, whose, state = key
    text = f"{number:,} {_WORDS.get((place, state), state)}"
    board.disc(
        f"token {place} {whose} {state}",
        x,
        y,
        8,
        state,
        "" if number else "ghost",
        uuid=f"{place} {whose} {state}",
        attempt=0,
        label=fit(text, width, 12),
        name=text,
    )

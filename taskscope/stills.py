"""Stills: the six views as SVG, PNG and sentences, for notebooks that are read without a kernel."""

import re
from collections.abc import Collection, Mapping
from functools import cache, lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

import resvg_py

from taskscope import paint
from taskscope.crowd import counts_at, ends_of, peaks
from taskscope.crowd_scenes import counts_all, task_of
from taskscope.film import never_ran
from taskscope.moment import disagreement, horizon, look, moment, nest, rank, words_of
from taskscope.paint import SANS
from taskscope.scenes import PAD, Item, Scene, scene
from taskscope.states import STATES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VIEWS = {
    "stage": "Where each task is",
    "lanes": "What happened when",
    "graph": "What was planned and what came of it",
    "states": "The way through the states",
    "xray": "What is in the broker and the result backend",
    "witnesses": "Who says what about each task",
}
_UNKNOWN_TO_XML = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_BEYOND = re.compile("[\u0590-\u1fff\u2e80-\U0010ffff]")  # what DejaVu lacks, or what is written in another direction
FINENESS = 1.5  # pixels of a PNG to one of its SVG
ROWS = 40  # of a still; the live view scrolls


class Still:
    """One view of a film as a picture and as sentences; a notebook shows it by itself."""

    def __init__(self, film: Mapping[str, Any], view: str = "stage", theme: str = "light", width: int = 700, by: str = "attempt") -> None:
        self._text = text(film, view)
        self._svg = svg(film, view, theme, width, by)

    def __repr__(self) -> str:
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Still) and (self._svg, self._text) == (other._svg, other._text)

    def __hash__(self) -> int:
        return hash(self._svg)

    def _repr_mimebundle_(self, **_wanted: object) -> tuple[dict[str, Any], dict[str, Any]]:
        data = {"image/png": png(self._svg), "image/svg+xml": self._svg, "text/plain": self._text}
        size = {"width": _number(self._svg, "width"), "height": _number(self._svg, "height")}
        return data, {"image/png": {**size, "alt": self._text}}


def svg(film: Mapping[str, Any], view: str, theme: str = "light", width: int = 700, by: str = "attempt") -> str:
    """Return a view as SVG, with a background of its own so that it can be read on any page.

    The stage is a film strip: the moments in which most was going on, and the end.
    """
    film = _shortened(film, view)
    moments = _moments(film) if view == "stage" else [film["now"]]
    frames = [(t, scene(film, view, t, width, by)) for t in moments]
    # A moment that looks like the next one tells nothing.
    frames = [frame for frame, (_, later) in pairwise(frames) if frame[1]["items"] != later["items"]] + frames[-1:]
    parts, top = [], 0.0
    for t, one in frames:
        if len(frames) > 1:
            parts.append(_text({"cls": "faint", "x": 2, "y": top + 13, "text": f"after {t:.2f} s", "anchor": "start"}, theme))
            top += 20
        parts.append(f'<g transform="translate(0 {top:g})">{"".join(_drawn(item, theme) for item in _in_order(one))}</g>')
        top += one["height"] + (8 if one is not frames[-1][1] else 0)
    words = _words(text(film, view))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + 2 * PAD}" height="{top + 2 * PAD:g}" role="img" '
        f'viewBox="{-PAD} {-PAD} {width + 2 * PAD} {top + 2 * PAD:g}" font-family="{SANS}" aria-labelledby="title desc">'
        f'<title id="title">{VIEWS[view]}</title><desc id="desc">{words}</desc>'
        f'<rect x="{-PAD}" y="{-PAD}" width="{width + 2 * PAD}" height="{top + 2 * PAD:g}" fill="{paint.colours(theme)["bg"]}"/>'
        f"{''.join(parts)}</svg>"
    )


def png(picture: str) -> bytes:
    """Return a picture of `svg` as PNG, half as fine again as its size says: for fine screens, and small enough for a repository."""
    fonts = _fonts()
    # matplotlib's fonts look the same on every machine; those of the system, and resvg, are for the letters that they lack.
    if fonts and not _BEYOND.search(picture):
        from taskscope import raster  # Pillow comes with matplotlib

        return raster.png(picture, fonts, FINENESS)
    files = [str(path) for path in fonts.values()]
    return bytes(resvg_py.svg_to_bytes(svg_string=picture, zoom=FINENESS, font_files=files, sans_serif_family="DejaVu Sans"))


def text(film: Mapping[str, Any], view: str) -> str:
    """Return what a view says as sentences, one for each task, without ids and times."""
    if view == "xray":
        rows = (film["xray"] or {}).get("rows", [])
        if words := (film["xray"] or {}).get("text"):
            return str(words)
        return "\n".join(" · ".join(cell for cell in row if isinstance(cell, str) and cell) for row in rows) or "no X-ray was taken"
    if view == "witnesses":
        lines = [_testimony(task, film["now"]) for task in nest(film)]
    elif view == "graph" and film["graphs"]:
        lines = _graph_sentences(film)
    elif view == "stage" and film.get("crowd"):
        return "\n".join([ends_of(film["crowd"]), *film["notes"]])
    else:
        lines = [task["sentence"] for task in film["tasks"] if task["state"]]
    if film["shown"] < film["of"] and not counts_all(film, view):
        lines.append(f"showing {film['shown']} of {film['of']} tasks")
    return "\n".join([*lines, *film["notes"]]) or "nothing has happened yet"


def to_figure(film: Mapping[str, Any], theme: str = "light") -> "Figure":
    """Return the lanes as a matplotlib figure, for papers and slides."""
    from matplotlib.figure import Figure

    tasks, colours = nest(film), paint.colours(theme)
    lanes = sorted(((task, lane) for task in tasks for lane in task["lanes"]), key=lambda pair: pair[1]["row"])
    end = horizon(tasks, film["now"])
    figure = Figure(figsize=(7, 0.8 + 0.3 * max(len(lanes), 1)), layout="constrained", facecolor=colours["bg"])
    axes = figure.subplots()
    looks = {"waiting": ("PENDING", 0.12), "reserved": ("RECEIVED", 0.3), "running": ("STARTED", 0.6), "backoff": ("RETRY", 0.3)}
    for row, (_, lane) in enumerate(lanes):
        for kind, begin, finish in lane["spans"]:
            if kind in looks:
                state, high = looks[kind]
                hatch, fill = ("////", "none") if kind == "backoff" else (None, colours[state])
                edge = colours[f"{state}.edge"] if kind in ("reserved", "backoff") else "none"
                axes.barh(
                    row, (end if finish is None else finish) - begin, left=begin, height=high, color=fill, edgecolor=edge, hatch=hatch
                )
        for state, at, evidence, *_ in lane["marks"]:
            drawn = look(state)
            face = colours["bg"] if evidence == "i" or state == "PENDING" else colours[drawn]
            axes.plot(at, row, "o", ms=9 if rank(state) >= 3 else 5, mfc=face, mec=colours[f"{drawn}.edge"], zorder=3)
    names = [task["label"] + (f"  attempt {lane['attempt'] + 1}" if lane["attempt"] else "") for task, lane in lanes]
    axes.set_yticks(range(len(lanes)), names, parse_math=False)  # a dollar sign is one
    axes.invert_yaxis()
    axes.set(xlim=(0, end * 1.03), xlabel="seconds", facecolor=colours["bg"])
    axes.tick_params(colors=colours["ink"], length=0)
    axes.xaxis.label.set_color(colours["faint"])
    axes.grid(axis="x", color=colours["line"], linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def _shortened(film: Mapping[str, Any], view: str) -> Mapping[str, Any]:
    if view == "xray" and film["xray"] and len(film["xray"]["rows"]) > ROWS:
        rows = film["xray"]["rows"]
        return {**film, "xray": {**film["xray"], "rows": [*rows[:ROWS], [f"showing {ROWS} of {len(rows)} rows", "", "", ""]]}}
    if view not in ("lanes", "witnesses") or max(len(film["tasks"]), len(film["lanes"])) <= ROWS:
        return film
    lanes = [lane for lane in film["lanes"] if lane["row"] < ROWS]
    if view == "witnesses":
        return {**film, "tasks": film["tasks"][:ROWS], "lanes": [lane for lane in film["lanes"] if lane["task"] < ROWS], "shown": ROWS}
    return {**film, "lanes": lanes, "shown": len({lane["task"] for lane in lanes})}


def _moments(film: Mapping[str, Any]) -> list[float]:
    """Return up to three times worth a frame: most waiting, most running, and the end."""
    if film.get("crowd"):
        best = peaks(film["crowd"])
        return _apart({-best[place][1] for place in best if best[place][0]}, film["now"])
    tasks = nest(film)
    times = sorted({mark[1] for lane in film["lanes"] for mark in lane["marks"] if mark[1] <= film["now"]})
    times = times[:: max(1, len(times) // 60)]  # enough to find the peaks, cheap for a long film
    best = {}
    for t in times:
        places = [here.place for task in tasks if (here := moment(task, t))]
        for place in ("queue", "slot"):
            best[place] = max(best.get(place, (0, 0.0)), (places.count(place), -t))
    return _apart({-best[place][1] for place in best if best[place][0]}, film["now"])


def _apart(times: Collection[float], now: float) -> list[float]:
    return [t for t, later in pairwise([*sorted(times), now]) if later - t > 0.02 * now] + [now]


def _testimony(task: Mapping[str, Any], t: float) -> str:
    said = words_of(task, t)
    words = [f"{who} {said[key]}" for key, who in (("e", "events"), ("r", "result backend"), ("c", "broker:")) if key in said]
    if not words:
        words = ["sent from here, and nobody else has said anything" if "p" in said else "no witness has said anything"]
    return f"{task['label']}: {' · '.join(words)}{' – they disagree' if disagreement(task, t) else ''}"


def _graph_sentences(film: Mapping[str, Any]) -> list[str]:
    tasks, lines = {task["id"]: task for task in film["tasks"]}, []
    states = {name: task["state"] for name, task in tasks.items()}
    counts = counts_at(film["crowd"], film["now"]) if film.get("crowd") else {}
    for graph in film["graphs"]:
        many = {node["id"]: task_of(node, counts) for node in graph["nodes"] if "of" in node}
        states |= {name: one["here"].state if one["here"] else "" for name, one in many.items()}
        lost = never_ran(graph, states)
        for node in graph["nodes"]:
            task = tasks.get(node["id"])
            label = node["label"] or node["name"]
            if node["id"] in many:
                lines.append(f"{label}: {many[node['id']]['told']}")
            elif node["id"] in lost:
                lines.append(f"{label}: never ran")
            elif task and task["state"]:
                lines.append(task["sentence"] + (" (unplanned)" if node["kind"] == "unplanned" else ""))
            elif note := node.get("note"):
                failed = any(edge["target"] == node["id"] and states.get(edge["source"]) == "FAILURE" for edge in graph["edges"])
                lines.append(f"{label}: {note if failed else 'not called yet'}")
            else:
                lines.append(f"{label}: not sent yet")
    return lines


# ------------------------------------------------------------------------------------------------------- shapes as SVG


def _in_order(one: Scene) -> list[Item]:
    return sorted(one["items"], key=lambda item: item["tag"] == "disc")


def _drawn(item: Item, theme: str) -> str:
    if item["tag"] == "disc":
        return _disc(item, theme)
    if item["tag"] == "text":
        return _text(item, theme)
    painted = _painted(item["cls"], theme)
    if item["tag"] == "path":
        return f'<path d="{item["d"]}" {painted}/>'
    return f'<rect x="{item["x"]:g}" y="{item["y"]:g}" width="{item["w"]:g}" height="{item["h"]:g}" rx="{item["r"]:g}" {painted}/>'


def _text(item: Item, theme: str) -> str:
    anchor = "" if item["anchor"] == "start" else f' text-anchor="{item["anchor"]}"'
    return f'<text x="{item["x"]:g}" y="{item["y"]:g}"{anchor} {_painted(item["cls"], theme)}>{_words(item["text"])}</text>'


def _disc(item: Item, theme: str) -> str:
    label = ""
    if item.get("label"):
        ink = paint.colours(theme)["faint" if "ghost" in item["cls"] else "ink"]
        label = f'<text x="{item["r"] + 6:g}" y="4" font-size="12" fill="{ink}">{_words(item["label"])}</text>'
    data = "".join(f" data-{name}={_quoted(str(item[name]))}" for name in ("uuid", "state", "attempt", "mark") if name in item)
    shape = _shape(look(item["state"]), item["cls"], item["r"], theme)
    return f'<g transform="translate({item["x"]:g} {item["y"]:g})"{data}>{shape}{label}</g>'


@lru_cache(1024)
def _shape(drawn: str, kind: str, r: float, theme: str) -> str:
    """Return a state as a filled circle with its glyph; there are few of them, and each is in a picture many times."""
    colours = paint.colours(theme)
    edge = colours[f"{drawn}.edge"]
    hollow = drawn == "PENDING" or "inferred" in kind or "ghost" in kind
    dash = ' stroke-dasharray="2.6 2.2"' if drawn == "PENDING" else ""
    ring = colours["bg"] if "small" in kind and drawn == "STARTED" and not hollow else edge  # it lies on a bar of its own colour
    parts = [f'<circle r="{r:g}" fill="{colours["bg"] if hollow else colours[drawn]}" stroke="{ring}" stroke-width="1.5"{dash}/>']
    if "double" in kind:
        parts.append(f'<circle r="{r + 3:g}" fill="none" stroke="{edge}" stroke-width="1"/>')
    if "contradicted" in kind:
        parts.append(f'<circle r="{r + 3:g}" fill="none" stroke="{colours["FAILURE.edge"]}" stroke-width="1.5" stroke-dasharray="3 2"/>')
    if (glyph := STATES[drawn].path) and r >= 5:
        ink = edge if hollow else colours[f"{drawn}.on"]
        fill = ink if glyph.endswith("Z") else "none"
        parts.append(
            f'<path d="{glyph}" transform="scale({r / 8:g})" fill="{fill}" stroke="{ink}" stroke-width="{0.6 if fill != "none" else 1.8}" '
            'stroke-linecap="round" stroke-linejoin="round"/>'
        )
    return "".join(parts)


@cache
def _painted(kind: str, theme: str) -> str:
    """Return the attributes of a kind of thing, of which paint.py has a table."""
    return " ".join(f"{name}={quoteattr(value)}" for name, value in paint.style(kind, paint.colours(theme)).items())


@lru_cache(4096)
def _quoted(text: str) -> str:
    return quoteattr(_UNKNOWN_TO_XML.sub("·", text))


def _words(text: str) -> str:
    # XML knows no control characters, not even escaped ones, and no halves of characters.
    return escape(_UNKNOWN_TO_XML.sub("·", text))


@cache
def _fonts() -> dict[str, Path]:
    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        return {}
    folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
    files = {"regular": folder / "DejaVuSans.ttf", "bold": folder / "DejaVuSans-Bold.ttf", "mono": folder / "DejaVuSansMono.ttf"}
    return files if all(path.exists() for path in files.values()) else {}


def _number(picture: str, name: str) -> float:
    return float(picture.split(f' {name}="', 1)[1].split('"', 1)[0])

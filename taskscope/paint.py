"""How each kind of thing is painted: one table, written as CSS for the live view and as attributes for the stills."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from taskscope.states import STATES

SANS = "'DejaVu Sans', Verdana, Helvetica, Arial, sans-serif"
WHITE = "#FFFFFF"
MONO = "'DejaVu Sans Mono', Menlo, Consolas, monospace"


@dataclass(frozen=True, slots=True)
class Theme:
    """The colours of one theme, by the part that they play."""

    bg: str
    panel: str
    line: str
    ink: str
    faint: str


THEMES = {
    "light": Theme(bg="#ffffff", panel="#f5f6f8", line="#d4d8de", ink="#1f2329", faint="#646b76"),
    "dark": Theme(bg="#14161a", panel="#1d2025", line="#3b4149", ink="#e5e8ec", faint="#9aa3ae"),
}
# In JupyterLab the page's own colours come first; the panel is a breath of ink on the background.
_LIVE = {
    "bg": "var(--jp-layout-color0, {bg})",
    "panel": "color-mix(in srgb, var(--jp-ui-font-color0, {ink}) 4%, var(--jp-layout-color0, {bg}))",
    "line": "color-mix(in srgb, var(--jp-ui-font-color0, {ink}) 20%, var(--jp-layout-color0, {bg}))",
    "ink": "var(--jp-ui-font-color1, {ink})",
    "faint": "color-mix(in srgb, var(--jp-ui-font-color0, {ink}) 66%, var(--jp-layout-color0, {bg}))",
}

PAINT: dict[str, dict[str, str]] = {
    "place": {"fill": "panel", "stroke": "line", "stroke-width": "1"},
    "slot": {"fill": "bg", "stroke": "line", "stroke-width": "1"},
    "rule": {"fill": "none", "stroke": "line", "stroke-width": "1"},
    "idle": {"fill": "line", "fill-opacity": ".45"},
    "arrow": {"fill": "none", "stroke": "faint", "stroke-width": "1.5", "stroke-linejoin": "round", "stroke-linecap": "round"},
    "head": {"fill": "line"},
    "head taken": {"fill": "ink"},
    "now": {"fill": "none", "stroke": "ink", "stroke-width": "1", "stroke-dasharray": "2 3"},
    "title": {"fill": "ink", "font-size": "12", "font-weight": "bold"},
    "text": {"fill": "ink", "font-size": "12"},
    "faint": {"fill": "faint", "font-size": "11"},
    "code": {"fill": "faint", "font-size": "11", "font-family": MONO},
    "bright": {"fill": "busy.on", "font-size": "11"},
    "alarm": {"fill": "FAILURE.edge", "font-size": "12", "font-weight": "bold"},
    "waiting": {"fill": "PENDING", "fill-opacity": ".55"},
    "reserved": {"fill": "RECEIVED", "stroke": "RECEIVED.edge", "stroke-width": "1"},
    "running": {"fill": "busy"},
    "run": {"fill": "none", "stroke": "STARTED", "stroke-width": "2", "stroke-dasharray": "8 5"},
    "hatch": {"fill": "none", "stroke": "RETRY", "stroke-width": "1.6"},
    "backoff": {"fill": "none", "stroke": "RETRY.edge", "stroke-width": "1"},
    "backing": {"fill": "bg"},
    "group": {"fill": "panel", "stroke": "line", "stroke-width": "1.2"},
    "edge": {"fill": "none", "stroke": "line", "stroke-width": "1.5"},
    "edge taken": {"fill": "none", "stroke": "faint", "stroke-width": "2"},
    "edge spare": {"fill": "none", "stroke": "line", "stroke-width": "1.5", "stroke-dasharray": "4 3"},
    "way": {"fill": "none", "stroke": "line", "stroke-width": "1.5"},
    "way taken": {"fill": "none", "stroke": "ink", "stroke-width": "2.5"},
    "way guessed": {"fill": "none", "stroke": "ink", "stroke-width": "1.5", "stroke-dasharray": "5 4"},
    "gate": {"fill": "line"},
    "gate open": {"fill": "SUCCESS"},
    "gate shut": {"fill": "FAILURE"},
    "node": {"fill": "bg", "stroke": "line", "stroke-width": "1"},
    "node ghost": {"fill": "none", "stroke": "faint", "stroke-width": "1", "stroke-dasharray": "3 3"},
    **{f"node {name}": {"fill": "bg", "stroke": f"{name}.edge", "stroke-width": "1.5"} for name in STATES},
    **{f"node {name} idle": {"fill": "bg", "stroke": f"{name}.edge", "stroke-width": "1.5", "stroke-dasharray": "3 3"} for name in STATES},
}


def style(kind: str, colours: Mapping[str, str]) -> dict[str, str]:
    """Return the SVG attributes of a kind of thing with the roles replaced by colours."""
    return {name: colours.get(value, value) if name in ("fill", "stroke") else value for name, value in PAINT[kind].items()}


@cache
def colours(theme: str) -> Mapping[str, str]:
    """Return every colour of a theme by its role.

    bg, ink, ...; for each state its own, its outline's (.edge) and its glyph's (.on); and those of a bar with words on it (busy, busy.on).
    """
    roles = {name: getattr(THEMES[theme], name) for name in Theme.__slots__}
    for name, state in STATES.items():
        colour: str = getattr(state, theme)
        roles |= {name: colour, f"{name}.edge": _edge(colour, roles["bg"], roles["ink"]), f"{name}.on": _on(colour)}
    return MappingProxyType(roles | {"busy": _deep(roles["STARTED"]), "busy.on": WHITE})


def css() -> str:
    """Return the style sheet of everything that is painted: the same table, for the live view."""
    blocks = []
    for theme, selector in (("light", ".taskscope"), ("dark", "[data-jp-theme-light='false'] .taskscope, .vscode-dark .taskscope")):
        roles = colours(theme)
        live = {name: value.format(**roles) for name, value in _LIVE.items()}
        lines = "".join(f"--ts-{name.replace('.', '-')}: {value}; " for name, value in {**roles, **live}.items())
        blocks.append(f"{selector} {{ {lines}}}")
    variables = {name: f"var(--ts-{name.replace('.', '-')})" for name in colours("light")}
    for kind in PAINT:
        rules = "".join(f"{name}: {value + 'px' if name == 'font-size' else value}; " for name, value in style(kind, variables).items())
        blocks.append(f".taskscope svg .{kind.replace(' ', '.')} {{ {rules}}}")
    for name in STATES:
        mine = "".join(f"--{part}: {variables[name + dot]}; " for part, dot in (("c", ""), ("e", ".edge"), ("o", ".on")))
        blocks.append(f".taskscope .s-{name} {{ {mine}}}")
    return "\n".join(blocks)


def _rgb(colour: str) -> tuple[float, float, float]:
    return (int(colour[1:3], 16) / 255, int(colour[3:5], 16) / 255, int(colour[5:7], 16) / 255)


def contrast(one: str, other: str) -> float:
    """Return the WCAG contrast ratio of two colours."""

    def luminance(colour: str) -> float:
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in _rgb(colour)]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _edge(colour: str, bg: str, ink: str) -> str:
    # Pale states need an outline that can be seen: as little ink as gives the 3:1 that WCAG asks of graphics.
    for step in range(21):
        mixed = "#" + "".join(f"{round(255 * (a + (b - a) * step / 20)):02X}" for a, b in zip(_rgb(colour), _rgb(ink), strict=True))
        if contrast(mixed, bg) >= 3:
            return mixed
    return ink


def _deep(colour: str) -> str:
    # The shade of a colour that is nearest to it and on which white words can be read: the 4.5:1 that WCAG asks of text.
    for step in range(101):
        mixed = "#" + "".join(f"{round(255 * part * (1 - step / 100)):02X}" for part in _rgb(colour))
        if contrast(mixed, WHITE) >= 4.5:
            return mixed
    raise ValueError(f"{colour} is no colour")


def _on(colour: str) -> str:
    return max((WHITE, "#14161A"), key=lambda ink: contrast(ink, colour))

"""The seven colours can be told apart by four kinds of vision, and every outline can be seen."""

from itertools import combinations
from math import atan2, cos, degrees, exp, hypot, radians, sin, sqrt

import pytest

from taskscope import paint
from taskscope.states import STATES

Colour = tuple[float, float, float]

# Machado, Oliveira and Fernandes 2009, severity 1.0, for linear RGB.
VISION = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}


def _lab(colour: str, vision: str) -> Colour:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    r, g, b = (min(1.0, max(0.0, sum(factor * part for factor, part in zip(row, linear, strict=True)))) for row in VISION[vision])
    xyz = (
        (0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047,
        0.2126729 * r + 0.7151522 * g + 0.0721750 * b,
        (0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883,
    )
    x, y, z = (value ** (1 / 3) if value > 216 / 24389 else (24389 / 27 * value + 16) / 116 for value in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def ciede2000(one: Colour, two: Colour) -> float:
    """Return the colour difference of Sharma, Wu and Dalal 2005."""
    (l1, a1, b1), (l2, a2, b2) = one, two
    mean7 = ((hypot(a1, b1) + hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - sqrt(mean7 / (mean7 + 25**7)))
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    c1, c2 = hypot(a1, b1), hypot(a2, b2)
    h1, h2 = degrees(atan2(b1, a1)) % 360, degrees(atan2(b2, a2)) % 360
    turn = h2 - h1
    if c1 * c2 == 0:
        turn = 0
    elif abs(turn) > 180:
        turn += 360 if turn < 0 else -360
    dl, dc, dh = l2 - l1, c2 - c1, 2 * sqrt(c1 * c2) * sin(radians(turn) / 2)
    lm, cm = (l1 + l2) / 2, (c1 + c2) / 2
    hm = h1 + h2 if c1 * c2 == 0 else (h1 + h2) / 2 if abs(h1 - h2) <= 180 else (h1 + h2 + (360 if h1 + h2 < 360 else -360)) / 2
    t = 1 - 0.17 * cos(radians(hm - 30)) + 0.24 * cos(radians(2 * hm)) + 0.32 * cos(radians(3 * hm + 6)) - 0.2 * cos(radians(4 * hm - 63))
    sl = 1 + 0.015 * (lm - 50) ** 2 / sqrt(20 + (lm - 50) ** 2)
    sc, sh = 1 + 0.045 * cm, 1 + 0.015 * cm * t
    rt = -2 * sqrt(cm**7 / (cm**7 + 25**7)) * sin(radians(60 * exp(-(((hm - 275) / 25) ** 2))))
    return sqrt((dl / sl) ** 2 + (dc / sc) ** 2 + (dh / sh) ** 2 + rt * (dc / sc) * (dh / sh))


@pytest.mark.parametrize(
    ("one", "two", "difference"),
    [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((50.0, -1.0, 2.0), (50.0, 0.0, 0.0), 2.3669),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((90.8027, -2.0831, 1.4410), (91.1528, -1.6435, 0.0447), 1.4441),
    ],
)
def test_the_formula_gives_the_published_differences(one: Colour, two: Colour, difference: float) -> None:
    assert ciede2000(one, two) == pytest.approx(difference, abs=5e-5)


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_any_two_states_can_be_told_apart(theme: str, vision: str) -> None:
    seen = {name: _lab(getattr(state, theme), vision) for name, state in STATES.items()}
    nearest = min((ciede2000(seen[one], seen[two]), one, two) for one, two in combinations(seen, 2))
    assert nearest[0] >= 16, nearest


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_outlines_glyphs_and_words_can_be_seen(theme: str) -> None:
    roles = paint.colours(theme)
    for name in STATES:
        assert paint.contrast(roles[f"{name}.edge"], roles["bg"]) >= 3, name
        assert paint.contrast(roles[f"{name}.on"], roles[name]) >= 3, name
    for words in ("ink", "faint"):
        for ground in ("bg", "panel"):
            assert paint.contrast(roles[words], roles[ground]) >= 4.5, (words, ground)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_on_a_bar_can_be_read_and_the_bar_is_of_its_state_s_colour(theme: str) -> None:
    roles = paint.colours(theme)
    fill, words = paint.style("running", roles)["fill"], paint.style("bright", roles)["fill"]
    assert paint.contrast(words, fill) >= 4.5
    assert paint.contrast(fill, roles["bg"]) >= 3
    for vision in VISION:
        far = {name: ciede2000(_lab(fill, vision), _lab(getattr(state, theme), vision)) for name, state in STATES.items()}
        assert min(far, key=lambda name: far[name]) == "STARTED"
        assert min(distance for name, distance in far.items() if name != "STARTED") >= 10, far


def test_colour_is_never_alone() -> None:
    assert len({state.glyph for state in STATES.values()}) == len(STATES)
    assert len({state.path for state in STATES.values()}) == len(STATES)


def test_live_and_still_are_painted_from_one_table() -> None:
    css = paint.css()
    for kind in paint.PAINT:
        assert f".taskscope svg .{kind.replace(' ', '.')} {{" in css
    for theme in ("light", "dark"):
        for state in STATES.values():
            assert f"--ts-{state.name}: {getattr(state, theme)};" in css

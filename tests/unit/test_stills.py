"""The stills: well-formed, named, within their width, and nothing of a name is ever markup."""

import io
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import resvg_py
from matplotlib import get_data_path
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageChops, ImageStat

from taskscope import scenes, stills
from taskscope.film import Film, film
from tests.unit import films
from tests.unit.films import lane, task

SVG = "{http://www.w3.org/2000/svg}"
MEAN = "<script>alert(1)</script>\" onload='x' ]]> & \x00\x1b\ud800"
VIEWS = list(stills.VIEWS)


def _mean() -> Film:
    names = [
        task(
            f"{MEAN}{n}",
            f"('{MEAN}',)",
            lane(f"{MEAN}{n}", ("PENDING", 0), ("RECEIVED", 0.1), ("STARTED", 0.2), (f"{MEAN}", 0.3), ("FAILURE", 0.4)),
            result=MEAN,
        )
        for n in range(3)
    ]
    nodes = [{"id": one.id, "name": one.name, "label": MEAN, "kind": "task", "box": 0, "known": True} for one in names]
    plan = {"nodes": nodes, "edges": [], "boxes": [{"id": MEAN, "kind": "group", "parent": None}]}
    table = {"columns": [MEAN, "-"], "shares": [0.9, 0.1], "rows": [[MEAN, ""]]}
    return film(
        names, graphs=[plan], workers=[{"host": MEAN, "slots": 1, "alive": True}], notes=[MEAN], xray=table, commands=[(films.ORIGIN, MEAN)]
    )


FILMS = {"everything": films.everything(), "chord": films.chord(), "crowd": films.crowd(60), "mean": _mean(), "empty": film([])}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", FILMS)
def test_a_picture_is_well_formed_and_has_a_name(name: str, view: str) -> None:
    root = ElementTree.fromstring(stills.svg(FILMS[name], view))
    assert root.get("role") == "img"
    assert root.find(f"{SVG}title") is not None
    assert (found := root.find(f"{SVG}desc")) is not None and found.text
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags <= {"svg", "title", "desc", "g", "rect", "path", "circle", "text"}
    assert not any(name.startswith("on") or "href" in name for element in root.iter() for name in element.attrib)


def _font(item: ElementTree.Element) -> tuple[FT2Font, float]:
    bold, mono = item.get("font-weight") == "bold", "Mono" in item.get("font-family", "")
    name = "DejaVuSansMono" if mono else "DejaVuSans-Bold" if bold else "DejaVuSans"
    return FT2Font(str(Path(get_data_path()) / "fonts" / "ttf" / f"{name}.ttf")), float(item.get("font-size", "12"))


@pytest.mark.parametrize("width", [700, 1400])
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", ["everything", "chord", "crowd"])
def test_no_text_leaves_the_picture(name: str, view: str, width: int) -> None:
    root = ElementTree.fromstring(stills.svg(FILMS[name], view, width=width))
    left, _, total, _ = (float(number) for number in root.get("viewBox", "").split())
    seen = 0

    def walk(element: ElementTree.Element, shift: float) -> None:
        nonlocal seen
        if found := re.match(r"translate\((-?[\d.]+)", element.get("transform", "")):
            shift += float(found[1])
        if element.tag == f"{SVG}text" and element.text:
            font, size = _font(element)
            font.set_size(size, 72)
            font.set_text(element.text)
            wide = font.get_width_height()[0] / 64
            x = shift + float(element.get("x", "0"))
            x -= {"middle": wide / 2, "end": wide}.get(element.get("text-anchor", ""), 0)
            assert left <= x and x + wide <= left + total + 0.5, element.text
            seen += 1
        for child in element:
            walk(child, shift)

    walk(root, 0)
    assert seen


def test_pixels_come_out() -> None:
    picture = stills.svg(FILMS["everything"], "lanes")
    drawn = stills.png(picture)
    assert drawn.startswith(b"\x89PNG")
    assert int.from_bytes(drawn[16:20], "big") == 1.5 * (700 + 2 * scenes.PAD)
    assert stills.png(stills.svg(FILMS["everything"], "lanes", "dark")) != drawn


@pytest.mark.parametrize(
    ("name", "view", "theme"),
    [("everything", "stage", "light"), ("everything", "lanes", "dark"), ("chord", "graph", "dark"), ("chord", "states", "light")],
)
def test_the_quick_renderer_draws_what_resvg_draws(name: str, view: str, theme: str) -> None:
    picture = stills.svg(FILMS[name], view, theme)
    files = [str(path) for path in stills._fonts().values()]
    by_resvg = resvg_py.svg_to_bytes(svg_string=picture, zoom=stills.FINENESS, font_files=files, skip_system_fonts=True)
    quick, slow = (Image.open(io.BytesIO(data)).convert("RGB") for data in (stills.png(picture), bytes(by_resvg)))
    assert quick.size == slow.size
    assert max(ImageStat.Stat(ImageChops.difference(quick, slow)).mean) < 5
    # Letters stand half a pixel elsewhere, so what is compared is areas of the size of half a token.
    areas = ImageChops.difference(quick.reduce(12), slow.reduce(12))
    assert max(band.getextrema()[1] for band in areas.split()) < 80  # type: ignore[operator]


def test_letters_that_our_fonts_lack_are_left_to_resvg(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def ask(svg_string: str, **_: object) -> bytes:
        asked.append(svg_string)
        return b""

    monkeypatch.setattr(resvg_py, "svg_to_bytes", ask)
    for name in ("añadir → ✔ ×", "追加", "أضف", "🙂"):
        stills.png(stills.svg(film([task(name, "()", lane("x", ("PENDING", 0)))]), "lanes"))
    assert [next(name for name in ("añadir", "追加", "أضف", "🙂") if name in picture) for picture in asked] == ["追加", "أضف", "🙂"]


def test_a_notebook_gets_pictures_and_words_and_nothing_else() -> None:
    data, extra = stills.Still(FILMS["everything"], "lanes")._repr_mimebundle_()
    assert list(data) == ["image/png", "image/svg+xml", "text/plain"]
    assert extra["image/png"]["alt"] == data["text/plain"]
    assert extra["image/png"]["width"] == 724


def test_the_words_have_no_ids_and_no_times() -> None:
    words = stills.text(FILMS["everything"], "stage").splitlines()
    assert words[0] == "add(2, 3): PENDING → RECEIVED → STARTED → SUCCESS = 5"
    assert words[2] == "flaky(1): PENDING → RECEIVED → STARTED → RETRY → RECEIVED → STARTED → SUCCESS = 1"
    assert "(RECEIVED)" in words[5]
    assert stills.text(FILMS["chord"], "graph").splitlines()[-3:-1] == ["process(…): never ran", "alarm(…): not sent yet"]
    assert "add(4, 4): events SUCCESS · result backend PROGRESS – they disagree" in stills.text(FILMS["everything"], "witnesses")
    assert stills.text(film([]), "lanes") == "nothing has happened yet"


def test_an_errback_that_is_called_on_the_spot_is_not_said_to_be_sent() -> None:
    note = "called inside the worker in which the task failed, so it leaves no event"
    plan = films.chord_plan()
    plan["nodes"][-1]["note"] = note
    tasks = films.chord_tasks()
    for seen, said in ((tasks[:3], "alarm(…): not called yet"), (tasks, f"alarm(…): {note}")):
        assert said in stills.text(film(seen, graphs=[plan]), "graph").splitlines()


def test_every_mark_is_one_element_and_what_is_left_out_is_told() -> None:
    few = FILMS["everything"]
    assert stills.svg(few, "lanes").count("data-mark=") == sum(len(row["marks"]) for row in few["lanes"])
    many = stills.svg(FILMS["crowd"], "lanes")
    assert many.count("data-mark=") == 4 * stills.ROWS
    assert "showing 40 of 60 tasks" in many


def test_inferred_is_hollow_and_unplanned_has_two_outlines() -> None:
    circles = re.findall(r'<g [^>]*data-state="RECEIVED"[^>]*data-mark="(.)">(<circle [^>]*)', stills.svg(FILMS["everything"], "lanes"))
    fills = {how: set(re.findall(r'fill="(#\w+)"', " ".join(circle for one, circle in circles if one == how))) for how in "oi"}
    assert fills["i"] == {"#ffffff"} and fills["o"] and not fills["o"] & fills["i"]
    rings = {
        one: group.count("<circle") for one, group in re.findall(r'data-uuid="(\w+)"[^>]*>(.*?)</g>', stills.svg(FILMS["chord"], "graph"))
    }
    assert rings["x"] == 2 and rings["n3"] == 1


def test_an_unknown_view_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match=r"no view 'lane'.*stage, lanes, graph"):
        stills.svg(FILMS["empty"], "lane")


def test_a_figure_for_papers() -> None:
    figure = stills.to_figure(FILMS["everything"])
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()][3] == "flaky(1)  attempt 2"
    assert len(axes.patches) == sum(len(row["spans"]) for row in FILMS["everything"]["lanes"])


def test_a_dollar_sign_in_an_argument_is_no_formula() -> None:
    paid = task("pay", "('$\\\\frac$ costs $5^$',)", lane("m", ("PENDING", 0), ("RECEIVED", 0.1), ("STARTED", 0.2), ("SUCCESS", 0.3)))
    figure = stills.to_figure(film([paid], now=films.ORIGIN + 1))
    figure.savefig(io.BytesIO())
    assert "costs $5^$" in figure.axes[0].get_yticklabels()[0].get_text()


def test_what_nobody_planned_is_not_there_before_it_was_seen() -> None:
    keys = {t: {item["key"] for item in scenes.scene(FILMS["chord"], "graph", t, 700)["items"]} for t in (1.0, 1.3)}
    assert "0 token x" not in keys[1.0] and "0 token n5" in keys[1.0]
    assert "0 token x" in keys[1.3]


def test_a_moment_that_looks_like_the_next_one_is_left_out() -> None:
    waiting = [task("add", f"({number},)", lane(f"w{number}", ("PENDING", 0.1 * number))) for number in range(3)]
    assert "after " not in stills.svg(film(waiting, now=films.ORIGIN + 9), "stage")
    begun = task("add", "(3,)", lane("w3", ("PENDING", 0.0), ("RECEIVED", 0.1), ("STARTED", 5.0)))
    assert stills.svg(film([*waiting, begun], now=films.ORIGIN + 9, workers=films.WORKERS), "stage").count("after ") > 1

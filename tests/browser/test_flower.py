"""A lesson at the left and Flower at the right, in a JupyterLab that lets in only who has its token."""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from importlib.metadata import entry_points
from urllib.parse import urlsplit

import pytest

from tests.browser.lab import TOKEN, Lab, Notebook, chromium, need_a_browser

LESSON = "notebooks/12_workers_and_monitoring.ipynb"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    need_a_browser()
    assert entry_points(group="jupyter_serverproxy_servers", name="flower"), (
        "pip install --no-deps -e . (JupyterLab does not know Flower yet)"
    )
    lab = Lab(tmp_path_factory.mktemp("lab"))
    try:
        lab.write(LESSON, ["1 + 1"])
        lab.wait()
        yield lab
    finally:
        lab.end()


@pytest.mark.long
def test_the_lesson_is_at_the_left_and_flower_at_the_right(server: Lab) -> None:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        asked: set[str] = set()
        page.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
        notebook = Notebook(page)
        notebook.open(f"http://127.0.0.1:{server.port}/lab/workspaces/flower?token={TOKEN}")
        flower = page.locator(".jp-ServerProxy iframe")
        flower.content_frame.get_by_role("link", name="celery@lab").wait_for()
        left, right = page.locator(".jp-NotebookPanel").bounding_box(), flower.bounding_box()
        assert left and right
        assert left["x"] + left["width"] <= right["x"]
        assert min(left["width"], right["width"]) > 500
        refused = page.evaluate(
            "fetch('/flower/api/task/revoke/some-id', {method: 'POST'}).then((r) => r.text().then((t) => [r.status, t]))"
        )
        assert refused == [403, "Read only mode is enabled"]
        # The browser says that of the request that the test has made.
        assert [error for error in notebook.errors if "403" not in error] == []
        assert asked - {""} == {f"127.0.0.1:{server.port}"}, "nothing comes from elsewhere"


@pytest.mark.long
def test_the_launcher_offers_it_with_a_picture(server: Lab) -> None:
    with chromium() as browser:
        notebook = Notebook(browser.new_page(viewport={"width": 1400, "height": 900}))
        notebook.open(server.write("launcher.ipynb", ["1 + 1"]))
        notebook.command("launcher:create")
        card = notebook.page.locator(".jp-LauncherCard", has_text="Flower")
        card.wait_for()
        assert card.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth > 0)")


@pytest.mark.long
def test_who_is_not_let_in_by_jupyterlab_does_not_see_flower(server: Lab) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/flower/", timeout=10) as page:
        assert re.search(r"/login\?next=%2Fflower%2F$", page.url)
        assert "celery@lab" not in page.read().decode()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{server.port}/flower/api/workers", data=b""), timeout=10)

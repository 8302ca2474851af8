"""A notebook whose kernel is gone opens with stills; whatever else is in it stays as it is."""

import asyncio
import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import nbformat

from taskscope.contents import MARK, WIDGET, lives, this_process, without_dead_widgets
from taskscope.jupyter import ContentsWithStills

STILL = {"image/png": "iVBORw0K", "text/plain": "add(2, 3): PENDING"}


def gone() -> dict[str, float]:
    """Return the mark of a process that has ended."""
    code = "import json; from taskscope.contents import this_process; print(json.dumps(this_process()))"
    found: dict[str, float] = json.loads(subprocess.check_output([sys.executable, "-c", code], text=True, timeout=20))
    return found


def notebook(*outputs: Any) -> Any:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("words"), nbformat.v4.new_code_cell("scope.stage()")])
    book.cells[1].outputs = list(outputs)
    return book


def output(mark: Any, data: dict[str, Any] = STILL) -> Any:
    widget = {WIDGET: {"model_id": "x", "version_major": 2, "version_minor": 1}}
    return nbformat.v4.new_output("display_data", data={**widget, **data}, metadata={} if mark is None else {MARK: mark})


def test_a_process_is_known_again_and_another_one_with_its_number_is_not() -> None:
    here = this_process()
    assert lives(here)
    assert not lives({**here, "since": here["since"] - 60})
    assert not lives(gone())
    for nonsense in (None, {}, {"process": "x", "since": "y"}, 7):
        assert not lives(nonsense)


def test_only_our_dead_widgets_go_and_only_where_a_still_is_left() -> None:
    dead, alive = output(gone()), output(this_process())
    somebody_elses, without_still = output(None), output(gone(), {})
    printed = nbformat.v4.new_output("stream", name="stdout", text="hello")
    book = notebook(dead, alive, somebody_elses, without_still, printed)
    others = deepcopy(book.cells[1].outputs[1:])
    without_dead_widgets(book)
    assert dict(book.cells[1].outputs[0].data) == STILL
    assert book.cells[1].outputs[1:] == others


def test_the_server_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "lesson.ipynb"
    nbformat.write(notebook(output(gone())), file)
    (tmp_path / "words.txt").write_text("words")
    before = file.read_bytes()
    contents = ContentsWithStills(root_dir=str(tmp_path))
    shown = asyncio.run(contents.get("lesson.ipynb"))
    assert dict(shown["content"]["cells"][1]["outputs"][0]["data"]) == STILL
    assert file.read_bytes() == before
    assert asyncio.run(contents.get("words.txt"))["content"] == "words"
    assert asyncio.run(contents.get("lesson.ipynb", content=False))["content"] is None
    assert {one["name"] for one in asyncio.run(contents.get(""))["content"]} == {"lesson.ipynb", "words.txt"}

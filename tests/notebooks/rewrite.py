"""Run lessons and store their outputs, normalised: `make notebooks`, or with names, `make notebooks ARGS=01_delay`."""

import configparser
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from classroom.stack import client

HERE = Path(__file__).parent
ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
NOTEBOOKS = HERE.parents[1] / "notebooks"


def rules(path: Path = HERE / "sanitize.cfg") -> list[tuple[str, str]]:
    """Read the patterns and replacements that nbval uses."""
    config = configparser.RawConfigParser()
    config.read(path)
    return [(config[section]["regex"], config[section]["replace"]) for section in config.sections()]


def normalised(value: Any) -> Any:
    """Replace what differs from run to run, in every text of an output."""
    if isinstance(value, str):
        for pattern, replacement in rules():
            value = re.sub(pattern, replacement, value)
        return value
    if isinstance(value, dict):
        return {key: without_ids(entry) if str(key).startswith("image/") else normalised(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [normalised(entry) for entry in value]
    return value


def without_ids(picture: Any) -> Any:
    """Replace the ids in a picture; its times stay as they were drawn, for what is compared is its text."""
    return re.sub(ID, "UUID", picture) if isinstance(picture, str) else picture


def store(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Keep of a run what belongs into a commit: no widget state, no times, no traceback with paths."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                output.traceback = [f"{output.ename}: {output.evalue}"]
            output.update(normalised(dict(output)))
    return notebook


def main() -> None:
    """Rewrite all lessons, or those whose names begin with an argument."""
    wanted = tuple(sys.argv[1:])
    with stack_of_its_own():
        run_lessons(wanted)


@contextmanager
def stack_of_its_own() -> Iterator[None]:
    """Run lessons on a stack that nobody else uses, where no exercise was passed yet."""
    with tempfile.TemporaryDirectory(prefix="classroom-") as state:
        os.environ |= {"TASKSCOPE_STILLS": "1", "CLASSROOM_STATE": state, "CLASSROOM_GRACE": "5"}
        os.environ |= {"CLASSROOM_MY_TASKS": state, "TUTORIAL_DATA_DIR": f"{state}/data"}
        yield
        client.down()


def run_lessons(wanted: tuple[str, ...]) -> None:
    """Run the lessons whose names begin with one of these, or all, and store them."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if wanted and not path.name.startswith(wanted):
            continue
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(
            notebook, timeout=60, kernel_name="python3", coalesce_streams=True, resources={"metadata": {"path": NOTEBOOKS}}
        ).execute()
        nbformat.write(store(notebook), path)
        print(f"{path.name}: {sum(cell.cell_type == 'code' for cell in notebook.cells)} cells")


if __name__ == "__main__":
    main()

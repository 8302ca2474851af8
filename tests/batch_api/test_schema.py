"""What a machine that has read the OpenAPI document tries: nothing may be a 5xx, and no answer may be one that the document lacks."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.batch_api.serving import Api, serving


@pytest.fixture(scope="module")
def api(app: Any) -> Iterator[Api]:
    with serving() as service:
        yield service


def keeps_to_its_document(api: Api, folder: Path, *options: str) -> None:
    """Have Schemathesis try; its plugin for pytest does not work with pytest 9.2, its program does."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{api.address}/openapi.json", "--no-color", *options]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-1000:]
    assert "4 selected / 4 total" in ran.stdout


def test_every_operation_keeps_to_its_document(api: Api, tmp_path: Path) -> None:
    keeps_to_its_document(api, tmp_path, "--phases", "fuzzing,stateful", "--max-examples", "15")


@pytest.mark.long
def test_every_operation_keeps_to_its_document_in_the_long_run(api: Api, tmp_path: Path) -> None:
    keeps_to_its_document(api, tmp_path, "--max-examples", "500")

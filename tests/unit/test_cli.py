"""The command line as a whole."""

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from classroom import cli, doctor
from classroom.stack import client


def test_the_module_lists_the_commands_that_there_are() -> None:
    listed = re.findall(r"[|m] (\w+)(?= [|]|`)", (cli.__doc__ or "").replace("python -m classroom", "m"))
    assert sorted(listed) == sorted(cli.main.commands)


def test_a_second_jupyterlab_says_where_the_first_one_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, argv: started.append(argv))
    monkeypatch.setattr(client, "is_outside", lambda: True)
    monkeypatch.setenv("CLASSROOM_STATE", str(tmp_path))
    for running, words in ([], ""), (["http://127.0.0.1:9431/"], "runs at http://127.0.0.1:9431/ already; this is one more"):
        monkeypatch.setattr(doctor, "running_labs", lambda running=running: running)
        assert words in CliRunner().invoke(cli.main, ["lab"], catch_exceptions=False).output
    assert len(started) == 2

"""Binder and Codespaces cannot be had in a test; what they are given is read, and what they would run is run."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.stack.processes import ROOT, Checkout

SETTINGS = ROOT / "classroom" / "setup" / "jupyter" / "jupyter_server_config.json"
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


# In a process of its own: importing these warns, and our tests take warnings for errors.
KNOWN = """
import json
from jupyter_lsp import LanguageServerManager
from jupyter_server.serverapp import ServerApp
from jupyterlab.labapp import LabApp
print(json.dumps({kind.__name__: kind.class_trait_names(config=True) for kind in (ServerApp, LabApp, LanguageServerManager)}))
"""


@pytest.mark.long
def test_every_jupyter_setting_is_one_that_jupyter_knows(tmp_path: Path) -> None:
    known = json.loads(Checkout(ROOT, tmp_path).run("-c", KNOWN).stdout)
    settings = json.loads(SETTINGS.read_text())
    assert [(name, option) for name, options in settings.items() for option in options if option not in known[name]] == []
    module, _, kind = settings["ServerApp"]["contents_manager_class"].rpartition(".")
    assert hasattr(importlib.import_module(module), kind)


@pytest.mark.long
def test_binder_starts_the_stack_and_then_its_own_command(tmp_path: Path) -> None:
    checkout = Checkout(ROOT, tmp_path / "state", grace=60)
    shown = "import os, sys; print(os.environ['JUPYTER_CONFIG_PATH'], *sys.argv[1:], sep='|')"
    try:
        run = subprocess.run(
            [str(ROOT / "start"), "python", "-c", shown, "--ip", "0.0.0.0 x"],
            cwd=tmp_path,
            env=checkout.environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}"),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert f"{SETTINGS.parent}|--ip|0.0.0.0 x" in run.stdout.splitlines()
        assert "worker running" in run.stdout, run.stderr  # what started it shares our pipe, so we have heard it to its end
        assert checkout.command("status").returncode == 0
    finally:
        checkout.command("down")


def test_what_binder_runs_is_a_program() -> None:
    for name in ("postBuild", "start"):
        assert os.access(ROOT / name, os.X_OK)
        assert (ROOT / name).read_text().startswith("#!/bin/bash\n")
        subprocess.run(["bash", "-n", str(ROOT / name)], check=True)
    # Before environment.yml repo2docker would choose a Dockerfile, and a folder of its own before both.
    assert not [name for name in ("Dockerfile", "binder", ".binder") if (ROOT / name).exists()]


def test_conda_gets_everything_from_the_lock() -> None:
    wanted = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert [item for item in wanted if isinstance(item, dict)] == [{"pip": ["-r requirements.lock"]}]


def test_codespaces_uses_what_there_is() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert container["onCreateCommand"].split()[0] == "make"
    assert container["onCreateCommand"].split()[1] in TARGETS
    assert set(container["portsAttributes"]) == {str(port) for port in container["forwardPorts"]}

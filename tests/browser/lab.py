"""JupyterLab as a learner has it: `python -m classroom lab` with a stack of its own, and a browser that has a notebook open."""

import contextlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import psutil
import pytest
import redis

from classroom.stack.place import Place
from classroom.stack.ports import free_port
from tests.stack.processes import all_gone, copy_of_the_checkout, eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

PATIENCE = 90_000  # milliseconds until a condition that has to come true counts as missed
TOKEN = "browser-tests"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "docmanager-extension/plugin": {"autosave": False},  # what is on disk is what the test put there
}


class Lab:
    """A JupyterLab server whose notebooks are those that the test writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # JupyterLab shows the folder of the checkout, and takes no other one.
        self.checkout = copy_of_the_checkout(folder / "checkout")
        self.port = free_port()
        for name, value in SETTINGS.items():
            file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(value))
        own = ["--no-browser", f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"]
        own.append("--LabApp.expose_app_in_browser=True")
        self._log = folder / "lab.log"
        with self._log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "classroom", "lab", *own],
                cwd=self.checkout.root,
                env=self._environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        kinds = {"CONFIG": "JUPYTER", "DATA": "JUPYTER", "RUNTIME": "JUPYTER", "SETTINGS": "JUPYTERLAB", "WORKSPACES": "JUPYTERLAB"}
        places = {f"{whose}_{kind}_DIR": str(self.folder / kind.lower()) for kind, whose in kinds.items()}
        places |= {"IPYTHONDIR": str(self.folder / "ipython"), "TUTORIAL_DATA_DIR": str(self.folder / "data")}
        environment = self.checkout.environment(**places)
        environment.pop("TASKSCOPE_STILLS", None)
        return environment

    def wait(self) -> None:
        """Wait until it serves pages."""
        eventually(lambda: self._serves() or self.process.poll() is not None, "JupyterLab serves a page")
        assert self.process.poll() is None, self._log.read_text()

    def _serves(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api?token={TOKEN}", timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def install_kernel(self, ipykernel: str) -> str:
        """Make a kernel of another version of ipykernel; return its name. Where no package index can be reached, skip; fail in CI."""
        there = self.folder / "another-ipykernel"
        uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
        command = [uv, "pip", "install", "--python", sys.executable, "--target", str(there), "--no-deps", f"ipykernel{ipykernel}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            skip(f"another ipykernel can't be installed: {done.stderr}")
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        paths = os.pathsep.join(map(str, (there, self.checkout.root)))
        file = self.folder / "data" / "kernels" / there.name / "kernel.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"argv": argv, "display_name": there.name, "env": {"PYTHONPATH": paths}}))
        return there.name

    def write(self, name: str, cells: Sequence[str], kernel: str = "python3") -> str:
        """Write a notebook; return its address."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        book.metadata["kernelspec"] = {"name": kernel, "language": "python", "display_name": kernel}
        (self.checkout.root / name).parent.mkdir(exist_ok=True)
        nbformat.write(book, self.checkout.root / name)
        return f"http://127.0.0.1:{self.port}/lab/tree/{name}?reset&token={TOKEN}"

    def open_gates(self, *names: str) -> None:
        """Let the tasks through that wait at these gates; the kernel, which is busy, has no part in it."""
        with redis.Redis.from_url(self.checkout.stack().url) as client:
            for name in names:
                client.rpush(f"gate:{name}", "open")

    def end(self) -> None:
        """End the server and all that it started, and see that nothing is left."""
        started = self.checkout.processes() if Place(self.checkout.state).read() else []
        with contextlib.suppress(psutil.NoSuchProcess):
            server = psutil.Process(self.process.pid)
            started += [server, *server.children(recursive=True)]
        try:
            self.process.terminate()
            self.process.wait(20)
            eventually(lambda: all_gone(started), "JupyterLab, its kernels and its stack have gone")
        finally:
            for process in started:
                if process.is_running():  # psutil knows a process by more than its number
                    process.kill()
            self.process.wait(20)


class Notebook:
    """A page of the browser in which JupyterLab shows one notebook."""

    def __init__(self, page: "Page") -> None:
        self.page = page
        self.errors: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, address: str) -> None:
        """Open a notebook, and wait until its kernel answers: what is run before that can be lost."""
        self.page.goto(address)
        self.ready()

    def ready(self) -> None:
        """Wait until JupyterLab shows the notebook and its kernel answers."""
        self.page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel")
        self.page.evaluate(
            """async () => {
                 await jupyterapp.restored;
                 window.panel = jupyterapp.shell.currentWidget;
                 await panel.revealed;
                 await panel.sessionContext.ready;
                 await panel.sessionContext.session.kernel.info;
               }"""
        )

    def command(self, name: str, **arguments: Any) -> None:
        """Have JupyterLab do something."""
        self.page.evaluate("([name, args]) => jupyterapp.commands.execute(name, args)", [name, arguments])

    def cell(self, number: int) -> "Locator":
        """Return a cell."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(number)

    def scope(self, number: int) -> "Locator":
        """Return the picture below a cell."""
        return self.cell(number).locator(".jp-OutputArea-output .taskscope")

    def run(self, number: int) -> None:
        """Run a cell, and don't wait for it."""
        self.page.evaluate(
            """(number) => {
                 panel.content.activeCellIndex = number;
                 panel.content.deselectAll();
                 void jupyterapp.commands.execute("notebook:run-cell");
               }""",
            number,
        )

    def runs(self, number: int) -> bool:
        """Tell whether a cell runs at this moment."""
        return "[*]" in self.cell(number).locator(".jp-InputPrompt").inner_text()

    def finished(self, number: int) -> str:
        """Wait for the end of a cell; return what it printed."""
        prompt = "document.querySelectorAll('.jp-Notebook .jp-Cell')[number].querySelector('.jp-InputPrompt').innerText"
        self.page.wait_for_function(f"(number) => /\\[\\d+\\]/.test({prompt})", arg=number)
        outputs = json.loads(self.page.evaluate("(n) => JSON.stringify(panel.content.widgets[n].model.outputs?.toJSON() ?? [])", number))
        errors = ["\n".join(output["traceback"]) for output in outputs if output["output_type"] == "error"]
        assert not errors, re.sub(r"\x1b\[[\d;]*m", "", errors[0])
        return "".join("".join(output["text"]) for output in outputs if output["output_type"] == "stream")

    def interrupt(self) -> None:
        """Interrupt the kernel, and wait until it has nothing to do."""
        self.page.evaluate("panel.sessionContext.session.kernel.interrupt()")
        self.page.wait_for_function("() => panel.sessionContext.session.kernel.status === 'idle'")

    def wait_for(self, picture: "Locator", condition: str, argument: Any = None, within: int = PATIENCE) -> None:
        """Wait until a condition holds for a picture: JavaScript with `root` and `arg`."""
        is_there = False
        while not is_there:  # when all is at rest the output may be drawn anew
            element = picture.element_handle()
            element.evaluate("(root) => root.scrollIntoViewIfNeeded()")  # what nobody sees is not drawn
            self.page.wait_for_function(f"([root, arg]) => !root.isConnected || ({condition})", arg=[element, argument], timeout=within)
            is_there = element.evaluate("(root) => root.isConnected")


def need_a_browser() -> None:
    """Skip what needs a browser where there is none; fail in CI."""
    missing = [] if importlib.util.find_spec("playwright") else ["playwright: pip install playwright"]
    missing += [] if CHROMIUM else ["chromium: apt-get install chromium"]
    if missing:
        skip(f"nothing is tested in a browser, because these are missing: {', '.join(missing)}")


def skip(said: str) -> None:
    """Skip a test; fail it in CI."""
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        pytest.fail(said)
    pytest.skip(said)


@contextmanager
def chromium() -> Iterator["Browser"]:
    """Run a browser without a window; never one that Playwright downloaded."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"], timeout=PATIENCE
        )
        try:
            yield browser
        finally:
            browser.close()

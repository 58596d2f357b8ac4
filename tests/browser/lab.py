"""A JupyterLab of its own for tests, and a notebook open in it."""

import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator, Page, sync_playwright

from course_utils.coursework.student.lab import lab_environment

VIEWPORT = {"width": 1280, "height": 1000}
SECONDS_TO_START = 120
SECONDS_TO_STOP = 20
SECONDS_TO_ARRIVE = 20
BROWSER_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# The notebook is ready when its kernel is; before that, a command to run cells is lost.
IS_READY = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    const kernel = panel?.context?.isReady && panel.sessionContext?.session?.kernel;
    return Boolean(kernel) && kernel.status === "idle" && kernel.connectionStatus === "connected";
}"""

EXECUTE = """async (code) => {
    const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    const future = kernel.requestExecute({ code, store_history: false });
    let text = "";
    future.onIOPub = ({ content }) => (text += content.text ?? content.traceback?.join("\\n") ?? "");
    const reply = await future.done;
    return { status: reply.content.status, text };
}"""

RUN_ALL = "() => window.jupyterapp.commands.execute('notebook:run-all-cells')"

MODEL = "window.jupyterapp.shell.currentWidget.content.model.sharedModel.toJSON()"

ERRORS = f"""() => {MODEL}.cells
    .flatMap((cell) => cell.outputs ?? []).filter((output) => output.output_type === "error")
    .map((output) => `${{output.ename}}: ${{output.evalue}}`)"""


@contextmanager
def headless_browser(executable: str) -> Iterator[Browser]:
    """Run a headless browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(BROWSER_OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def jupyter_lab(root: Path, private: Path) -> Iterator["Lab"]:
    """Run a JupyterLab on the notebooks in ``root`` that keeps all it writes besides them in ``private``."""
    folders = (
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "JUPYTERLAB_SETTINGS_DIR",
        "JUPYTERLAB_WORKSPACES_DIR",
        "IPYTHONDIR",
    )
    token = secrets.token_hex(16)
    own = {name: str(private / name.lower()) for name in folders}
    environment = lab_environment(root) | own | {"JUPYTER_TOKEN": token}
    for name in folders:
        Path(environment[name]).mkdir(parents=True)
    # JupyterLab would ask the network for news, and the reader whether it may.
    page_config = Path(environment["JUPYTER_CONFIG_DIR"], "labconfig", "page_config.json")
    page_config.parent.mkdir()
    page_config.write_text(json.dumps({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}))
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        f"--port={_free_port()}",
        f"--ServerApp.root_dir={root}",
        "--LabApp.expose_app_in_browser=True",
        "--ServerApp.log_level=WARN",
    ]
    log = private / "lab.log"
    with log.open("w") as stream:
        server = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    try:
        yield Lab(_wait_for_url(server, Path(environment["JUPYTER_RUNTIME_DIR"]), log), token, root)
    finally:
        # A server that is asked politely ends its kernels, too.
        server.terminate()
        try:
            server.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


class Lab:
    """A running JupyterLab on the notebooks in ``root``."""

    def __init__(self, url: str, token: str, root: Path):
        self.url, self.root, self._token = url, root, token

    def address(self, name: str) -> str:
        """Return the address of the notebook ``name`` in a workspace of its own."""
        return f"{self.url}lab/workspaces/{secrets.token_hex(4)}/tree/{name}?reset&token={self._token}"

    @contextmanager
    def notebook(self, browser: Browser, name: str) -> Iterator["OpenNotebook"]:
        """Open the notebook ``name`` in a page of its own and wait until its kernel is ready."""
        context = browser.new_context(viewport=VIEWPORT)
        page = context.new_page()
        problems: list[str] = []
        page.on("console", lambda message: message.type == "error" and problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        try:
            page.goto(self.address(name))
            page.wait_for_function(IS_READY, timeout=1000 * SECONDS_TO_START)
            opened = OpenNotebook(page, problems)
            yield opened
            opened.close()
        finally:
            context.close()


class OpenNotebook:
    """A notebook that is open in a page; ``problems`` are the errors on the page's console."""

    def __init__(self, page: Page, problems: list[str]):
        self.page, self.problems = page, problems

    def run_all(self) -> None:
        """Run all cells and wait for the last one; raise ``AssertionError`` if one of them failed."""
        self.page.evaluate(RUN_ALL)
        errors = self.page.evaluate(ERRORS)
        assert not errors, errors

    def cell_ids(self) -> list[str]:
        """Return the ids of the cells."""
        return self.page.evaluate(f"() => {MODEL}.cells.map((cell) => cell.id)")

    def show_cell(self, source: str) -> None:
        """Scroll to the first cell that has ``source`` in it: JupyterLab does not draw what is far away."""
        self.page.evaluate(
            f"""async (source) => {{
                const index = {MODEL}.cells.findIndex((cell) => cell.source.includes(source));
                const notebook = window.jupyterapp.shell.currentWidget.content;
                notebook.activeCellIndex = index;
                await notebook.scrollToItem(index, "start");
            }}""",
            source,
        )

    def execute(self, code: str) -> str:
        """Run ``code`` in the notebook's kernel, outside of any cell, and return what it printed."""
        result = self.page.evaluate(EXECUTE, code)
        assert result["status"] == "ok", result["text"]
        return result["text"]

    def evaluate(self, expression: str) -> Any:
        """Return the value in the notebook's kernel of an expression that JSON can hold."""
        return json.loads(self.execute(f"import json; print(json.dumps({expression}))"))

    def wait_for(self, expression: str, wanted: Any) -> None:
        """Wait until ``expression`` has the value ``wanted`` in the kernel."""
        deadline = time.monotonic() + SECONDS_TO_ARRIVE
        while (found := self.evaluate(expression)) != wanted:
            assert time.monotonic() < deadline, f"{expression} is {found}, not {wanted}"
            time.sleep(0.02)

    def close(self) -> None:
        """Shut the kernel down, so that no later test shares the machine with it; the file stays as it was."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")


def canvas_grey(canvas: Locator) -> list[int]:
    """Return the grey levels of a canvas, row by row."""
    return canvas.evaluate(
        """(canvas) => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return Array.from({ length: data.length / 4 }, (_, i) => data[4 * i]);
        }"""
    )


def drag(slider: Locator, stops: list[float]) -> None:
    """Press the mouse on a slider's thumb and move it to ``stops``, fractions of the track, then let go."""
    page = slider.page
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    fraction = slider.evaluate("(input) => (input.valueAsNumber - input.min) / (input.max - input.min)")
    middle = box["y"] + box["height"] / 2

    def pixel(fraction: float) -> float:
        # The middle of the thumb stays half its width away from the ends.
        return box["x"] + 8 + (box["width"] - 16) * fraction

    page.mouse.move(pixel(fraction), middle)
    page.mouse.down()
    for stop in stops:
        page.mouse.move(pixel(stop), middle)
    page.mouse.up()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for_url(server: subprocess.Popen, runtime: Path, log: Path) -> str:
    """Return the address that the server has written down, which need not have the port that was asked for."""
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and server.poll() is None:
        for file in runtime.glob("jpserver-*.json"):
            try:
                return json.loads(file.read_text())["url"]
            except (ValueError, KeyError):  # half written
                break
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()}")

"""Pictures of explorers for readers without a kernel, drawn by the explorers' own JavaScript in a headless browser."""

import base64
import io
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image, ImageChops

from course_utils.coursework.source.notebooks import NotebookError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
NO_BROWSER = f"No stills of explorers were drawn, since none of {', '.join(BROWSERS)} is on the PATH."
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
PNG = "image/png"
# The tag of a cell whose stored still stays: it shows what an explorer only comes to after a while in a page.
OWN_STILL = "own-still"
WIDTH, MAX_HEIGHT = 800, 1600
# Pixels of the picture for each of the page's; enough for print, and to be told from a blurred screen shot.
SCALE = 1.5
COLORS = 64
MARGIN = 6
SECONDS_TO_DRAW = 60
# Traits that every widget has and no explorer reads.
OF_WIDGETS = {"layout", "tabbable", "tooltip"}

# The page gives a module what JupyterLab does, reduced to what an explorer asks of it.
PAGE = """<!doctype html><meta charset="utf-8">
<style>body {{ margin: {margin}px; width: {width}px; background: white; color: black; }} {css}</style><body>
<script type="module">
const [source, traits] = {given};
const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
const values = Object.fromEntries(Object.entries(traits).map(([name, value]) =>
    [name, value?.base64 === undefined ? value : new DataView(bytes(value.base64).buffer)]));
const model = {{ get: (name) => values[name], set() {{}}, save_changes() {{}}, on() {{}}, off() {{}} }};
const module = await import(URL.createObjectURL(new Blob([source], {{ type: "text/javascript" }})));
module.default.render({{ model, el: document.body }});
document.title = "drawn";
</script>"""


def find_browser() -> str | None:
    """Return the path of a Chromium, or ``None``."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def add_stills(client: NotebookClient, browser: str, stored: NotebookNode) -> None:
    """Put a still beside the text of each explorer that the notebook of ``client`` displayed when it was run.

    Where a cell of the ``stored`` notebook has a still of its own, that one stays.

    Raises:
        NotebookError: the browser draws none.
    """
    for cell, before in zip(client.nb.cells, stored.cells, strict=True):
        kept = before.get("outputs", []) if OWN_STILL in cell.metadata.get("tags", []) else []
        for output, old in zip(cell.get("outputs", []), chain(kept, repeat({}))):
            view = output.get("data", {}).get(WIDGET_VIEW)
            state = client.widget_state.get(view["model_id"], {}) if view else {}
            alt = alt_text(state)
            if not alt:
                continue
            if PNG in old.get("data", {}):
                output.data[PNG], output.metadata = old.data[PNG], old.metadata
            else:
                put_still(output, draw(traits_of(client, view["model_id"]), browser), alt)


def put_still(output: NotebookNode, picture: Image.Image, alt: str, scale: float = SCALE) -> None:
    """Make ``picture``, of ``scale`` pixels for each of the page's, the still of a notebook's ``output``.

    Raises:
        NotebookError: nothing is drawn in it.
    """
    drawn = ImageChops.difference(picture, Image.new("RGB", picture.size, "white")).getbbox()
    if drawn is None:
        raise NotebookError("An explorer drew an empty still: does its JavaScript run?")
    border, stream = round(MARGIN * scale), io.BytesIO()
    right, bottom = (min(end + border, size) for end, size in zip(drawn[2:], picture.size))
    picture = picture.crop((0, 0, right, bottom))
    # Without the rounds of k-means a thin line takes the colour of another one.
    picture.quantize(COLORS, kmeans=2, dither=Image.Dither.NONE).save(stream, "png", optimize=True)
    output.data[PNG] = base64.b64encode(stream.getvalue()).decode()
    size = {"width": round(picture.width / scale), "height": round(picture.height / scale)}
    output.metadata |= {PNG: {"alt": alt, **size}, "needs_background": "light"}


def traits_of(client: NotebookClient, model_id: str) -> dict[str, Any]:
    """Return the traits of a widget of the notebook that ``client`` ran; bytes as ``{"base64": text}``."""
    buffers = client.widget_buffers.get(model_id, {})
    return client.widget_state[model_id] | {path[0]: {"base64": buffer["data"]} for path, buffer in buffers.items()}


def alt_text(state: Mapping[str, Any]) -> str:
    """Return what a still of this widget shows, for those who cannot see it; empty if it is no explorer."""
    spec = state.get("spec")
    if not isinstance(spec, dict) or not spec.get("label"):
        return ""
    names = [slider["name"] for slider in spec.get("sliders", [])]
    texts = [slider["texts"][at] for slider, at in zip(spec.get("sliders", []), state.get("position", []))]
    where = ", ".join(f"{name} {text}" for name, text in zip(names, texts))
    return f"{spec['label'].rstrip('.')}. A still{f' at {where}' if where else ''}; run the cell to move the sliders."


def without_private(traits: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an explorer's own JavaScript reads of its traits."""
    return {name: value for name, value in traits.items() if not name.startswith("_") and name not in OF_WIDGETS}


def draw(traits: Mapping[str, Any], browser: str) -> Image.Image:
    """Return a picture of the explorer with these traits.

    Raises:
        NotebookError: the browser draws none.
    """
    used = without_private(traits)
    # "</" would end the script.
    given = json.dumps([traits["_esm"], used]).replace("</", "<\\/")
    page = PAGE.format(css=traits.get("_css", ""), given=given, margin=MARGIN, width=WIDTH - 2 * MARGIN)
    with tempfile.TemporaryDirectory(prefix="course-still-", ignore_cleanup_errors=True) as folder:
        Path(folder, "page.html").write_text(page, encoding="utf-8")
        command = [browser, *BROWSER_OPTIONS, f"--user-data-dir={folder}/profile", f"--screenshot={folder}/still.png"]
        command += [f"--window-size={WIDTH},{MAX_HEIGHT}", f"--force-device-scale-factor={SCALE}"]
        command += ["--virtual-time-budget=10000", Path(folder, "page.html").as_uri()]
        try:
            subprocess.run(command, capture_output=True, timeout=SECONDS_TO_DRAW, check=True)
            return Image.open(f"{folder}/still.png").convert("RGB")
        except (OSError, subprocess.SubprocessError) as error:
            raise NotebookError(f"{browser} drew no still: {str(error).splitlines()[0][:200]}") from None

"""What the explorers of a notebook are handed when it is run, kept so that pages without a kernel can show them live.

A committed notebook holds stills only, because the explorers' data are large and belong to one run. So the notebook is
run once for its explorers, and what they were handed is kept under a digest of all that it depends on: the notebook's
code and the package.
"""

import hashlib
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from course_utils.coursework.author.execute import run_notebook
from course_utils.coursework.author.stills import WIDGET_VIEW, traits_of, without_private
from course_utils.coursework.source.notebooks import digest_of_source, read_notebook, write_whole
from course_utils.paths import PACKAGE_DIR, PROJECT_DIR

CACHE_DIR = PROJECT_DIR / "build" / "explorers"
# What has no part in what an explorer is handed.
NOT_OF_EXPLORERS = {"coursework", "bootstrap.py", "cli.py"}


@dataclass(frozen=True)
class Explorer:
    """One widget with JavaScript of its own, as it stood at the end of a run.

    Attributes:
        text: what the notebook says in its place where there is no JavaScript; a stored output is known by it.
        module: the text of its ES module.
        style: the text of its style sheet.
        traits: what the module reads; bytes are ``{"base64": text}``.
    """

    text: str
    module: str
    style: str
    traits: dict[str, Any]


def explorers_of(notebooks: list[Path], cache: Path = CACHE_DIR) -> dict[Path, dict[str, list[Explorer]]]:
    """Return the explorers of each notebook by the id of their cell; notebooks that ``cache`` does not know are run.

    Raises:
        NotebookError: a notebook cannot be read, or does not run.
    """
    cache.mkdir(parents=True, exist_ok=True)
    places = {path: cache / f"{path.stem}-{_digest(path)}.json" for path in notebooks}
    new = [path for path, place in places.items() if not place.exists()]
    with ProcessPoolExecutor(max(1, min(len(new), os.cpu_count() or 1))) as pool:
        for path, found in zip(new, pool.map(harvest, new)):
            for old in cache.glob(f"{path.stem}-*.json"):
                old.unlink()
            kept = {cell: [asdict(explorer) for explorer in explorers] for cell, explorers in found.items()}
            write_whole(places[path], json.dumps(kept).encode())
    read = {path: json.loads(place.read_bytes()) for path, place in places.items()}
    return {
        path: {cell: [Explorer(**explorer) for explorer in explorers] for cell, explorers in cells.items()}
        for path, cells in read.items()
    }


def harvest(path: Path) -> dict[str, list[Explorer]]:
    """Run the notebook at ``path`` and return its explorers by the id of their cell, in order.

    Raises:
        NotebookError: it cannot be read, or does not run.
    """
    client = run_notebook(read_notebook(path), path)
    found: dict[str, list[Explorer]] = {}
    for cell in client.nb.cells:
        for output in cell.get("outputs", []):
            view = output.get("data", {}).get(WIDGET_VIEW)
            if view and "_esm" in client.widget_state.get(view["model_id"], {}):
                traits = traits_of(client, view["model_id"])
                explorer = Explorer(
                    output.data["text/plain"], traits["_esm"], traits.get("_css", ""), without_private(traits)
                )
                found.setdefault(cell.id, []).append(explorer)
    return found


def _digest(path: Path) -> str:
    """Return what changes when the explorers of the notebook at ``path`` may have changed."""
    digest = hashlib.sha256(digest_of_source(read_notebook(path)).encode())
    for file in sorted(PACKAGE_DIR.rglob("*")):
        if file.suffix in {".py", ".js", ".css"} and file.relative_to(PACKAGE_DIR).parts[0] not in NOT_OF_EXPLORERS:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]

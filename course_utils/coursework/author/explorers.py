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
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from nbclient import NotebookClient

from course_utils.coursework.author.execute import run_notebook
from course_utils.coursework.author.stills import WIDGET_VIEW, traits_of, without_private
from course_utils.coursework.source.notebooks import digest_of_source, read_notebook, write_whole
from course_utils.paths import PACKAGE_DIR, PROJECT_DIR

CACHE_DIR = PROJECT_DIR / "build" / "explorers"
UNSEEN = ""
# Several notebooks are run at once, on whatever machine publishes the site.
SECONDS_PER_CELL = 1800
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
    places = [cache / f"{path.stem}-{_digest(path)}.json" for path in notebooks]
    new = [(path, place) for path, place in zip(notebooks, places) if not place.exists()]
    if new:
        with ProcessPoolExecutor(min(len(new), os.cpu_count() or 1), get_context("spawn")) as pool:
            list(pool.map(_harvest_to, *zip(*new)))  # a list, so that what went wrong there is raised here
    return {
        path: {
            cell: [Explorer(**explorer) for explorer in explorers]
            for cell, explorers in json.loads(place.read_bytes()).items()
        }
        for path, place in zip(notebooks, places)
    }


def _harvest_to(path: Path, place: Path) -> None:
    """Keep the explorers of the notebook at ``path`` in the file ``place``, in place of what is out of date."""
    found = {cell: [asdict(explorer) for explorer in explorers] for cell, explorers in harvest(path).items()}
    for old in place.parent.glob(f"{path.stem}-*.json"):
        old.unlink()
    write_whole(place, json.dumps(found).encode())


def harvest(path: Path) -> dict[str, list[Explorer]]:
    """Run the notebook at ``path`` and return its explorers by the id of their cell, in order.

    Those that no cell shows, such as a library that others use, are under ``UNSEEN``.

    Raises:
        NotebookError: it cannot be read, or does not run.
    """
    client = run_notebook(read_notebook(path), path, SECONDS_PER_CELL)
    own = {model_id for model_id, state in client.widget_state.items() if "_esm" in state}
    found: dict[str, list[Explorer]] = {}
    seen = set()
    for cell in client.nb.cells:
        for output in cell.get("outputs", []):
            model_id = output.get("data", {}).get(WIDGET_VIEW, {}).get("model_id")
            if model_id in own:
                seen.add(model_id)
                found.setdefault(cell.id, []).append(_explorer(client, model_id, output.data["text/plain"]))
    unseen = [_explorer(client, model_id, "") for model_id in client.widget_state if model_id in own - seen]
    return found | ({UNSEEN: unseen} if unseen else {})


def _explorer(client: NotebookClient, model_id: str, text: str) -> Explorer:
    traits = traits_of(client, model_id)
    return Explorer(text, traits["_esm"], traits.get("_css", ""), without_private(traits))


def _digest(path: Path) -> str:
    """Return what changes when the explorers of the notebook at ``path`` may have changed."""
    digest = hashlib.sha256(digest_of_source(read_notebook(path)).encode())
    for file in sorted(PACKAGE_DIR.rglob("*")):
        if file.suffix in {".py", ".js", ".css"} and file.relative_to(PACKAGE_DIR).parts[0] not in NOT_OF_EXPLORERS:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]

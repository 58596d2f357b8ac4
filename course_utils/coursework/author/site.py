"""Make the site: every notebook as a page, with its explorers live, beside the pages of ``docs/``."""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from nbformat import NotebookNode

from course_utils.coursework.author.explorers import explorers_of
from course_utils.coursework.author.reader import Assets, plain_title, reader_copy
from course_utils.coursework.source.notebooks import NotebookError, read_notebook, source_notebooks, write_notebook
from course_utils.paths import NOTEBOOKS_DIR, PROJECT_DIR, place_of

DOCS_DIR = PROJECT_DIR / "docs"
CACHE_DIR = PROJECT_DIR / "build" / "explorers"
SETTINGS = "site.toml"
REFERENCES = "references.bib"
ASSETS = "_static/explorers"
# Sphinx leaves this file in every folder that it writes.
BUILT = ".buildinfo"
BIB_ENTRY = re.compile(r"^@\w+\{(?P<key>[^,]+),.*?^ *title = \{(?P<title>.*)\},?$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Settings:
    """What ``docs/site.toml`` says: see there."""

    repository: str = ""
    branch: str = "main"
    address: str = ""
    solutions: bool = False


def read_settings(docs: Path = DOCS_DIR) -> Settings:
    """Return the settings of the site.

    Raises:
        NotebookError: they cannot be read, or say something that is no setting.
    """
    try:
        return Settings(**tomllib.loads((docs / SETTINGS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise NotebookError(f"{docs / SETTINGS} cannot be used: {error}.") from None


def read_references(docs: Path = DOCS_DIR) -> dict[str, str]:
    """Return the titles of the bibliography, in the form of :func:`plain_title`, with their keys."""
    text = (docs / REFERENCES).read_text(encoding="utf-8")
    return {plain_title(entry["title"].replace("{", "").replace("}", "")): entry["key"] for entry in BIB_ENTRY.finditer(text)}


def build_site(
    out: Path,
    notebooks: Sequence[Path] | None = None,
    settings: Settings | None = None,
    cache: Path = CACHE_DIR,
) -> None:
    """Write the site to ``out``; a site that was there before is replaced, any other folder is left alone.

    Args:
        out: the folder to write.
        notebooks: source notebooks; all of them by default. Links to those left out lead nowhere.
        settings: by default what ``docs/site.toml`` says.
        cache: where the explorers of notebooks that have been run are kept.

    Raises:
        NotebookError: ``out`` holds something else, a notebook does not run, or Sphinx finds something wrong.
    """
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / BUILT).exists())):
        raise NotebookError(f"{out} is there already and is no site: name a new folder, or remove it first.")
    everything = source_notebooks()
    notebooks = list(notebooks or everything)
    settings = settings or read_settings()
    references = read_references()
    explorers = explorers_of(notebooks, cache)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".site-", dir=out.parent) as folder:
        source, built = Path(folder, "source"), Path(folder, "built")
        shutil.copytree(DOCS_DIR, source)
        assets = Assets(source / ASSETS)
        for path in notebooks:
            place = "notebooks" / place_of(path.name)
            to_root = "../" * len(place.parent.parts)
            page = reader_copy(
                read_notebook(path),
                explorers[path],
                assets,
                to_root + ASSETS,
                with_solutions=settings.solutions,
                references=references,
            )
            _add_links(page, place, settings)
            (source / place).parent.mkdir(parents=True, exist_ok=True)
            write_notebook(page, source / place)
        _run_sphinx(source, built, complete=len(notebooks) == len(everything))
        shutil.rmtree(out, ignore_errors=True)
        built.replace(out)


def _add_links(page: NotebookNode, place: Path, settings: Settings) -> None:
    """Put the ways to run this notebook below its title, if the settings say where it can be run."""
    links = []
    if settings.repository:
        tree = f"{settings.repository}/{settings.branch}?urlpath={quote(f'lab/tree/{place.as_posix()}', safe='')}"
        links.append(("Run on Binder", f"https://mybinder.org/v2/gh/{tree}"))
    if settings.address:
        copy = f"{settings.address.rstrip('/')}/colab/{place.name}"
        links.append(("Run on Colab", f"https://colab.research.google.com/#fileUrl={quote(copy, safe='')}"))
    if links:
        anchors = " ".join(f'<a class="run" href="{address}">{text}</a>' for text, address in links)
        title, _, rest = page.cells[0].source.partition("\n")
        page.cells[0].source = f'{title}\n\n<p class="runs">{anchors}</p>\n{rest}'


def _run_sphinx(source: Path, built: Path, *, complete: bool) -> None:
    command = [sys.executable, "-m", "sphinx", "--builder", "html", "--quiet", "--jobs", "auto"]
    command += ["--doctree-dir", str(source.with_name("doctrees"))]
    if complete:
        command.append("--fail-on-warning")
    finished = subprocess.run([*command, str(source), str(built)], capture_output=True, text=True)
    if finished.returncode:
        said = finished.stderr.strip().replace(f"{source}/", "")
        raise NotebookError(f"Sphinx could not build the site:\n{said}")

"""Make the site: every notebook as a page, with its explorers live, beside the pages of ``docs/``."""

import html
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nbformat import NotebookNode

from course_utils.coursework.author.colab import write_colab
from course_utils.coursework.author.explorers import CACHE_DIR, explorers_of
from course_utils.coursework.author.reader import GALLERY, Assets, plain_title, reader_copy
from course_utils.coursework.author.slides import has_slides, make_slides
from course_utils.coursework.source.notebooks import NotebookError, read_notebook, source_notebooks, write_notebook
from course_utils.paths import DOCS_DIR, PROJECT_DIR, place_of

SETTINGS = "site.toml"
REFERENCES = "references.bib"
# Pages of the site that stand at the top of the project, where people look for them.
AT_THE_TOP = ("CHANGELOG.md", "CONTRIBUTING.md")
SLIDES = "slides"
COLAB = "colab"
TITLE = re.compile(r"^# .+\n", re.MULTILINE)
# What stands in a page of `docs/` in the place of an explorer, such as that of the cell `latent-explorer` of notebook 09,
# and of the gallery's cards.
EXPLORER_HERE = re.compile(r"<!-- explorer: (\w+ [\w-]+) -->")
# A page of `docs/` is there for its explorer: it is shown at once, however large it is, and the page's address may carry
# its settings.
WHEN_ASKED = re.compile(r' data-megabytes="[^"]*"')
EXPLORER, OF_ITS_PAGE = '<div class="explorer"', '<div class="explorer" data-own-page'
CARDS_HERE = "<!-- cards -->"
# What stands on the front page where it says how one gets the notebooks.
NOTEBOOKS_HERE = "<!-- notebooks -->"
HOW_TO_RUN = "index.html#doing-the-exercises"
ASSETS = "_static/explorers"
# Sphinx leaves this file in every folder that it writes.
BUILT = ".buildinfo"


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
    """Return the keys of the bibliography by title: whole, up to its colon, and short; as :func:`plain_title` has it."""
    from pybtex.database import parse_file

    references = {}
    for key, entry in parse_file(docs / REFERENCES).entries.items():
        title = entry.fields["title"]
        for name in (title.partition(":")[0], title, entry.fields.get("shorttitle", title)):
            references[plain_title(name.replace("{", "").replace("}", ""))] = key
    return references


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
    explorers = explorers_of(notebooks, cache)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".site-", dir=out.parent) as folder:
        source, built = Path(folder, "source"), Path(folder, "built")
        shutil.copytree(DOCS_DIR, source)
        for name in AT_THE_TOP:
            text = (PROJECT_DIR / name).read_text(encoding="utf-8").replace("](docs/", "](")
            (source / name.lower()).write_text(text, encoding="utf-8")
        slides = _write_notebooks(source, notebooks, explorers, settings)
        _run_sphinx(source, built, settings.address, complete=len(notebooks) == len(everything))
        for name, text in slides.items():
            (built / SLIDES).mkdir(exist_ok=True)
            (built / SLIDES / f"{name}.html").write_text(text, encoding="utf-8")
        if settings.address:
            write_colab(notebooks, built / COLAB, f"{settings.address.rstrip('/')}/{COLAB}")
        (built / "_sources").rmdir()  # Sphinx makes it, and nothing puts anything into it
        shutil.rmtree(out, ignore_errors=True)
        built.replace(out)


def _write_notebooks(
    source: Path, notebooks: Sequence[Path], explorers: Mapping[Path, Any], settings: Settings
) -> dict[str, str]:
    """Write what Sphinx makes pages of, to ``source``, and return the slides of each lecture by its name."""
    references, assets = read_references(), Assets(source / ASSETS)
    slides, cards, live = {}, "", {}
    for path in notebooks:
        place = "notebooks" / place_of(path.name)
        to_root, number = "../" * len(place.parent.parts), path.name.partition("_")[0]
        page = reader_copy(
            read_notebook(path),
            explorers[path],
            assets,
            to_root + ASSETS,
            label=number,
            with_solutions=settings.solutions,
            references=references,
        )
        for cell in page.cells:
            for output in cell.get("outputs", []):
                if described := output.get("metadata", {}).get(GALLERY):
                    cards += _card(page, place, cell.id, described)
                    here = output.data["text/html"].replace(to_root + ASSETS, ASSETS)
                    live[f"{number} {cell.id}"] = WHEN_ASKED.sub("", here).replace(EXPLORER, OF_ITS_PAGE)
        if has_slides(page):
            slides[path.stem] = make_slides(page, "../_static", "../notebooks/")
        _add_links(page, place, settings, with_slides=path.stem in slides)
        (source / place).parent.mkdir(parents=True, exist_ok=True)
        write_notebook(page, source / place)
    for page in source.glob("*.md"):
        text = EXPLORER_HERE.sub(lambda match: live.get(match[1], ""), page.read_text(encoding="utf-8"))
        text = text.replace(CARDS_HERE, f'<div class="gallery">\n{cards}</div>')
        page.write_text(text.replace(NOTEBOOKS_HERE, _how_to_get(settings)), encoding="utf-8")
    return slides


def _how_to_get(settings: Settings) -> str:
    """Return how one gets the notebooks, as Markdown."""
    if not settings.repository:
        return (
            "Whoever publishes this site gives the notebooks out, too. In their folder, `make lab` sets everything up "
            "(about a minute, once) and opens copies of your own in JupyterLab; its README says how without make."
        )
    return f"""With git, make and Python 3.11, 3.12 or 3.13, this sets everything up (about a minute, once) and opens copies of
your own in JupyterLab; the README says how without make.

```sh
git clone https://github.com/{settings.repository}
cd {settings.repository.rpartition("/")[2]}
make lab
```
"""


def _add_links(page: NotebookNode, place: Path, settings: Settings, *, with_slides: bool) -> None:
    """Put links below the title: to the slides, if there are any, to how it is run, and to where the settings say it can be."""
    links = [("Slides", f"../{SLIDES}/{place.stem}.html")] if with_slides else []
    links.append(("Run it yourself", "../" * len(place.parent.parts) + HOW_TO_RUN))
    if settings.repository:
        tree = f"{settings.repository}/{settings.branch}?urlpath={quote(f'lab/tree/{place.as_posix()}', safe='')}"
        links.append(("Run on Binder", f"https://mybinder.org/v2/gh/{tree}"))
    if settings.address:
        copy = f"{settings.address.rstrip('/')}/{COLAB}/{place.name}"
        links.append(("Run on Colab", f"https://colab.research.google.com/#fileUrl={quote(copy, safe='')}"))
    anchors = " ".join(f'<a href="{address}">{text}</a>' for text, address in links)
    first = page.cells[0]
    first.source = TITLE.sub(lambda title: f'{title[0]}\n<p class="runs">{anchors}</p>\n\n', first.source, count=1)


def _card(page: NotebookNode, place: Path, cell: str, described: Mapping[str, str]) -> str:
    """Return a card of the gallery, which leads to the explorer of a cell."""
    chapter = page.cells[0].source.partition("# ")[2].partition("\n")[0]
    return (
        f'<a class="card" href="{place.with_suffix(".html").as_posix()}#cell-{cell}">'
        f'<img src="{ASSETS}/{described["picture"]}" alt="" loading="lazy"><b>{html.escape(chapter)}</b>'
        f"<span>{html.escape(described['label'])}</span></a>\n"
    )


def _run_sphinx(source: Path, built: Path, address: str, *, complete: bool) -> None:
    command = [sys.executable, "-m", "sphinx", "--builder", "html", "--quiet", "--jobs", "auto"]
    if address:
        command += ["--define", f"html_baseurl={address.rstrip('/')}/"]
    command += ["--doctree-dir", str(source.with_name("doctrees"))]
    if complete:
        command.append("--fail-on-warning")
    finished = subprocess.run([*command, str(source), str(built)], capture_output=True, text=True)
    if finished.returncode:
        said = finished.stderr.strip().replace(f"{source}/", "")
        raise NotebookError(f"Sphinx could not build the site:\n{said}")

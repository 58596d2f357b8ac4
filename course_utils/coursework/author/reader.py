"""The copy of a notebook for those who read it on the web: the student's, with the source's figures and live explorers."""

import base64
import copy
import hashlib
import html
import io
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output
from PIL import Image

from course_utils.coursework.author.explorers import UNSEEN, Explorer
from course_utils.coursework.author.stills import PNG
from course_utils.coursework.source.notebooks import is_check, student_copy
from course_utils.coursework.source.solutions import without_markers
from course_utils.coursework.source.values import agree

HIDE_INPUT = "hide-input"
# The metadata of an output that says what a gallery shows of the explorer in it.
GALLERY = "gallery"
# A picture of which more than this share is darker than this grey level is not turned into its negative in the dark theme.
LEAST_DARK, NEARLY_BLACK = 0.2, 26
# An explorer with more bytes than this is loaded when a reader asks for it, so that no page takes more than 3 MB by itself.
LARGE = 2_000_000
TITLE_IN_ITALICS = re.compile(r"(?<!\*)\*(?!\*)([^*\n]+)\*(?!\*)")
# What a cell says when it scores a prediction and none was locked in, as where the notebook was run for its outputs.
OUTCOME = re.compile(r"What happened: (.+)\. No prediction was locked in; e")
SCORES = re.compile(r'\bcame_true\(\s*"([\w-]+)"')
# What a cell shows of a widget that Python draws.
OF_KERNEL = "interactive(children="
NEEDS_KERNEL = "<p><em>Python draws this picture: run the notebook to move it.</em></p>"
FRAGMENT = re.compile(r"(?<=\]\()([^)\s]*)#([^)\s]+)(?=\))")


@dataclass
class Assets:
    """Files that pages need, written to ``folder`` under names that tell what they hold."""

    folder: Path
    written: set[str] = field(default_factory=set)

    def picture(self, png: str) -> str:
        """Keep a PNG, given in base64, and return its name."""
        content = base64.b64decode(png)
        return self._keep(_digest(content) + ".png", content)

    def piece(self, value: Any) -> str:
        """Keep a JSON value as a script that hands it to the page, and return its name there.

        A script can be read from a disk too, where a page may fetch nothing.
        """
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        name = _digest(text.encode())
        self._keep(f"{name}.js", f'courseExplorers.take("{name}",{text})\n'.encode())
        return name

    def size(self, name: str) -> int:
        """Return how many bytes the piece called ``name`` has."""
        return (self.folder / f"{name}.js").stat().st_size

    def _keep(self, name: str, content: bytes) -> str:
        if name not in self.written:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(content)
            self.written.add(name)
        return name


def reader_copy(
    source: NotebookNode,
    explorers: Mapping[str, Sequence[Explorer]],
    assets: Assets,
    to_assets: str,
    label: str = "",
    *,
    with_solutions: bool = False,
    references: Mapping[str, str] | None = None,
) -> NotebookNode:
    """Return the notebook ``source`` as a reader gets it.

    It is the student's copy, so it holds no solution and no hidden check, and what answers and checks printed is left
    out. All other cells keep what they show in ``source``; explorers come to life in the page.

    Args:
        source: the source notebook, with its outputs.
        explorers: what :func:`explorers_of` found of it.
        assets: takes the pictures and explorers.
        to_assets: the way to them from the page, such as ``../_static/explorers``.
        label: if given, every text cell can be linked to as ``cell-LABEL-ID``.
        with_solutions: put each solution, folded, below its check.
        references: titles of works with the keys under which the bibliography has them.
    """
    notebook, solutions = student_copy(source), _solutions(source) if with_solutions else {}
    unseen = " ".join(_pieces(explorer, assets) for explorer in explorers.get(UNSEEN, []))
    cells = []
    for cell, original in zip(notebook.cells, source.cells, strict=True):
        cells.append(cell)
        if cell.cell_type == "markdown":
            cell.source = _with_citations(FRAGMENT.sub(_as_slug, cell.source), references or {})
            if label:
                cell.source = f"(cell-{label}-{cell.id})=\n{cell.source}"
        elif not cell.metadata.get("nbgrader"):
            cell.outputs = _shown(original, list(explorers.get(cell.id, [])), unseen, assets, to_assets)
        if is_check(cell):
            _fold(cell, "Show the check")
            if answer := solutions.get(cell.metadata["nbgrader"]["grade_id"].removesuffix("-check")):
                solution = new_code_cell(answer, id=f"{cell.id}-solution")
                _fold(solution, "Show the solution")
                cells.append(solution)
    notebook.cells = cells
    return notebook


def _solutions(source: NotebookNode) -> dict[str, str]:
    roles = ((cell, cell.metadata.get("nbgrader", {})) for cell in source.cells)
    return {
        role["grade_id"].removesuffix("-answer"): without_markers(cell.source)
        for cell, role in roles
        if role.get("solution")
    }


def _fold(cell: NotebookNode, summary: str) -> None:
    cell.metadata["tags"] = [*cell.metadata.get("tags", []), HIDE_INPUT]
    cell.metadata["mystnb"] = {"code_prompt_show": summary, "code_prompt_hide": summary.replace("Show", "Hide")}


def _shown(
    cell: NotebookNode, explorers: list[Explorer], unseen: str, assets: Assets, to_assets: str
) -> list[NotebookNode]:
    """Return the outputs of a cell with its pictures as files and its explorers as places in which they come to life."""
    shown, predictions = [], iter(SCORES.findall(cell.source))
    for output in copy.deepcopy(cell.outputs):
        data, text = output.get("data", {}), output.get("data", {}).get("text/plain")
        of_page = picture = ""
        if happened := OUTCOME.match(text or ""):
            of_page = _outcome(data["text/html"], next(predictions), happened[1])
        if (text or "").startswith(OF_KERNEL):
            of_page = NEEDS_KERNEL
        if PNG in data:
            picture = assets.picture(data[PNG])
            of_page = _picture(data[PNG], output.metadata.get(PNG, {}), f"{to_assets}/{picture}")
        found = next((explorer for explorer in explorers if agree(text, explorer.text)), None)
        if found:
            explorers.remove(found)
            still = of_page or f"<pre>{html.escape(found.text)}</pre>"
            pieces = _pieces(found, assets)
            named = f'data-pieces="{pieces}" data-unseen="{unseen}"'
            size = sum(assets.size(name) for name in pieces.split())
            named += f' data-megabytes="{size / 1e6:.1f}"' if size > LARGE else ""
            of_page = f'<div class="explorer" id="cell-{cell.id}" {named}>{still}</div>'
        if of_page:
            label = found.traits["spec"].get("label", "") if found and picture else ""
            explorer = {GALLERY: {"label": label, "picture": picture}} if label else {}
            output = new_output("display_data", {"text/html": of_page}, metadata=explorer)
        shown.append(output)
    return shown


def _outcome(of_notebook: str, prediction: str, option: str) -> str:
    """Return what came true as a page shows it: there somebody may have locked a prediction in, whose cost a script tells."""
    begun = f'<div class="outcome" data-prediction="{prediction}" data-option="{html.escape(option)}" '
    said = of_notebook.replace(" No prediction was locked in; e", ' <span class="cost">E')
    return said.replace("<div ", begun, 1).replace("</div>", "</span></div>")


def _pieces(explorer: Explorer, assets: Assets) -> str:
    """Return the names of the three pieces of an explorer: its module, style sheet, and traits."""
    return " ".join(map(assets.piece, (explorer.module, explorer.style, _deflated(explorer.traits))))


def _deflated(traits: Mapping[str, Any]) -> dict[str, Any]:
    """Return traits whose bytes take less room, often a tenth: what is computed beforehand repeats itself."""
    return {
        name: {"deflated": base64.b64encode(zlib.compress(base64.b64decode(value["base64"]), 9)).decode()}
        if isinstance(value, dict) and "base64" in value
        else value
        for name, value in traits.items()
    }


def _picture(png: str, described: Mapping[str, Any], address: str) -> str:
    width, height = described.get("width"), described.get("height")
    if width and not height:
        # The second half of a PNG's header: a page that knows the shape does not jump when the picture comes.
        header = base64.b64decode(png[:64])
        pixels = [int.from_bytes(header[at : at + 4]) for at in (16, 20)]
        height = round(width * pixels[1] / pixels[0])
    size = f' width="{width}" height="{height}"' if width else ""
    kind = "figure dark" if _is_dark(png) else "figure"
    return f'<img class="{kind}" src="{address}" alt="{html.escape(described.get("alt", ""))}"{size} loading="lazy">'


def _is_dark(png: str) -> bool:
    """Return whether a good part of a PNG is black, as in pictures on a black ground; no plot has so much ink."""
    counts = Image.open(io.BytesIO(base64.b64decode(png))).convert("L").histogram()
    return sum(counts[:NEARLY_BLACK]) > LEAST_DARK * sum(counts)


def _with_citations(text: str, references: Mapping[str, str]) -> str:
    """Return Markdown in which the title of each work in the bibliography is followed by a link to it."""

    def cited(match: re.Match[str]) -> str:
        key = references.get(plain_title(match[1]))
        return f"{match[0]} {{cite}}`{key}`" if key else match[0]

    return TITLE_IN_ITALICS.sub(cited, text)


def plain_title(title: str) -> str:
    """Return what tells one title from another, however it is capitalised and punctuated."""
    return re.sub(r"[\W_]+", " ", title).strip().lower()


def _as_slug(match: re.Match[str]) -> str:
    """Return the target of a link with the name of a heading as Sphinx writes it, which differs from Jupyter's in case."""
    return f"{match[1]}#{match[2].lower()}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]

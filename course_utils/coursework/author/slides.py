"""Make a lecture's slides, for reveal.js, from the reader's copy of its notebook and the *Slide Type* of its cells.

The types are Jupyter's: ``slide`` and ``subslide`` begin one, ``fragment`` comes with the next key, ``skip`` and ``notes``
are left out, and a cell without a type goes on with the slide.
"""

import html
import re
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import jinja2
from nbformat import NotebookNode

from course_utils.coursework.author.explorers import CACHE_DIR, explorers_of
from course_utils.coursework.author.reader import Assets, reader_copy
from course_utils.coursework.source.notebooks import NotebookError, read_notebook
from course_utils.paths import DOCS_DIR

LINK_TO_NOTEBOOK = re.compile(r'<a href="([^"]*)\.ipynb(#[^"]*)?">(.*?)</a>', re.DOTALL)
BEGINS_STACK, BEGINS_SLIDE, LEFT_OUT = "slide", "subslide", {"skip", "notes"}


@dataclass(frozen=True)
class Part:
    """What one cell puts on a slide."""

    html: str
    fragment: bool


def has_slides(notebook: NotebookNode) -> bool:
    """Return whether some cell of the notebook begins a slide."""
    return any(slide_type(cell) == BEGINS_STACK for cell in notebook.cells)


def slide_type(cell: NotebookNode) -> str:
    """Return the slide type of a cell; empty if it goes on with the slide."""
    chosen = cell.metadata.get("slideshow", {}).get("slide_type", "")
    return "" if chosen == "-" else chosen


def write_slides(path: Path, out: Path, cache: Path = CACHE_DIR) -> Path:
    """Write the slides of the lecture at ``path`` into the folder ``out``, with all that they need, and return their page.

    Raises:
        NotebookError: ``out`` is there and not empty, or the notebook has no slides, or does not run.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise NotebookError(f"{out} is there already and not empty: name a new folder, or remove it first.")
    if not DOCS_DIR.is_dir():
        raise NotebookError("Slides are made in the course's own repository: there is no folder docs here.")
    source = read_notebook(path)
    if not has_slides(source):
        raise NotebookError(f"{path.name} has no slides: give the cells with which one begins the Slide Type 'Slide'.")
    explorers = explorers_of([path], cache)[path]
    shutil.copytree(DOCS_DIR / "_static", out / "_static")
    shutil.copytree(DOCS_DIR / "vendor", out / "_static", dirs_exist_ok=True)
    page = reader_copy(source, explorers, Assets(out / "_static" / "explorers"), "_static/explorers")
    slides = out / f"{path.stem}.html"
    slides.write_text(make_slides(page, "_static"), encoding="utf-8")
    return slides


def make_slides(page: NotebookNode, static: str, pages: str | None = None) -> str:
    """Return the slides of a notebook, as the reader gets it, as a page.

    Args:
        page: what ``reader_copy`` returned.
        static: the way from the slides to the folder of scripts and style sheets.
        pages: the way to the pages of the notebooks; without it nothing links to them.
    """
    from pygments.formatters import HtmlFormatter

    stacks: list[list[list[Part]]] = []
    for cell in page.cells:
        kind = slide_type(cell)
        if kind in LEFT_OUT:
            continue
        if kind == BEGINS_STACK or not stacks:
            stacks.append([[]])
        elif kind == BEGINS_SLIDE:
            stacks[-1].append([])
        text = LINK_TO_NOTEBOOK.sub(rf'<a href="{pages}\1.html\2">\3</a>' if pages is not None else r"\3", _html(cell))
        stacks[-1][-1].append(Part(text, kind == "fragment"))
    template = files(__package__).joinpath("templates/slides.html").read_text(encoding="utf-8")
    # What the parts hold was escaped when it was made; titles of ours need none.
    return jinja2.Template(template, trim_blocks=True, lstrip_blocks=True).render(
        title=page.cells[0].source.partition("# ")[2].partition("\n")[0],
        stacks=stacks,
        static=static,
        code_style=HtmlFormatter(style="a11y-high-contrast-light").get_style_defs(".code"),
    )


def _html(cell: NotebookNode) -> str:
    if cell.cell_type == "markdown":
        return _markdown(cell.source)
    outputs = "\n".join(map(_output, cell.outputs))
    code = _code(cell.source)
    # Who looks at a picture does not read the lines that draw it.
    folded = f"<details><summary>Code</summary>{code}</details>"
    return f"{outputs}\n{folded}" if "<img" in outputs or "explorer" in outputs else f"{code}\n{outputs}"


def _markdown(source: str) -> str:
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin
    from mdit_py_plugins.myst_blocks import myst_block_plugin
    from mdit_py_plugins.myst_role import myst_role_plugin

    def math(tex: str, options: dict[str, bool]) -> str:
        opens, closes = ("\\[", "\\]") if options["display_mode"] else ("\\(", "\\)")
        return f"{opens}{html.escape(tex)}{closes}"

    markdown = MarkdownIt("commonmark").enable("table")
    markdown.use(dollarmath_plugin, renderer=math, double_inline=True).use(myst_block_plugin).use(myst_role_plugin)
    # What only the site can follow: names of cells, and references to its bibliography.
    for rule in ("myst_target", "myst_role"):
        markdown.add_render_rule(rule, lambda *_: "")
    return markdown.render(source)


def _code(source: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return highlight(source, PythonLexer(), HtmlFormatter(cssclass="code"))


def _output(output: NotebookNode) -> str:
    data = output.get("data", {})
    if "text/html" in data:
        return data["text/html"]
    text = output.text if output.output_type == "stream" else data.get("text/plain", "")
    return f'<pre class="output">{html.escape(text)}</pre>'

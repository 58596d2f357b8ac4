"""The site and the slides: complete, small, offline, without a solution, and alive without a kernel."""

import base64
import colorsys
import hashlib
import html.parser
import io
import itertools
import json
import re
import subprocess
import sys
import zipfile
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image

from course_utils import plots
from course_utils.coursework.author import explorers as explorers_module
from course_utils.coursework.author.chapter_pdf import write_pdf
from course_utils.coursework.author.explorers import UNSEEN, Explorer, explorers_of
from course_utils.coursework.author.reader import TITLE_IN_ITALICS, Assets, plain_title, reader_copy
from course_utils.coursework.author.site import (
    EXPLORER_HERE,
    Settings,
    _write_notebooks,
    build_site,
    read_references,
    read_settings,
)
from course_utils.coursework.author.slides import has_slides, slide_type, write_slides
from course_utils.coursework.source.notebooks import (
    HIDDEN_TESTS,
    SOLUTION,
    NotebookError,
    exercises,
    read_notebook,
    source_notebooks,
    student_copy,
)
from course_utils.coursework.source.solutions import without_markers
from course_utils.paths import DOCS_DIR, NOTEBOOKS_DIR, PROJECT_DIR
from course_utils.widgets import CurveExplorer
from tests.benchmarks.__main__ import PARTS
from tests.browser.served import served

START = NOTEBOOKS_DIR / "00_start_here.ipynb"
PROJECT = NOTEBOOKS_DIR / "projects" / "p0_choosing_a_project.ipynb"
PAGE = "notebooks/00_start_here.html"
MOST_BYTES = 3_000_000
TEXT = {".html", ".js", ".css", ".json", ".ipynb", ".inv", ".svg"}
WIDTHS = (360, 1400)
MAKES_EXPLORER = re.compile(r"(Explorer|Playground)\(")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The explorers of two notebooks, which are run for them once."""
    folder = tmp_path_factory.mktemp("explorers")
    explorers_of([START, PROJECT], folder)
    return folder


@pytest.fixture(scope="module")
def site(cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("site") / "site"
    build_site(out, [START, PROJECT], Settings(), cache)
    return out


@pytest.fixture(scope="module")
def address(site):
    """The address of a server that gives out the site."""
    with served(site) as found:
        yield found


@pytest.fixture
def visit(browser):
    """Open pages in a fresh context; afterwards nothing may be wrong with them, and no other host have been asked."""
    contexts, wrong = [], []

    def go(url, *, width=1400, scheme="light"):
        context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: message.type == "error" and wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        own = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"
        page.on("request", lambda request: request.url.startswith((own, "blob:", "data:")) or wrong.append(request.url))
        page.goto(url)
        return page

    yield go
    for context in contexts:
        context.close()
    assert not wrong


# --- what is in it ----------------------------------------------------------------------------------------------------


def _secrets(source):
    """Return lines that stand in solutions or in hidden checks of a notebook, and nowhere in what a student gets."""
    given = "\n".join(cell.source for cell in student_copy(source).cells)
    hidden = [
        match.group()
        for cell in source.cells
        for pattern in (SOLUTION, HIDDEN_TESTS)
        for match in pattern.finditer(cell.source)
    ]
    lines = {line.strip() for text in hidden for line in text.splitlines()[1:-1]}
    return {line for line in lines if len(line) > 20 and not line.startswith("###") and line not in given}


def _as_written(line):
    """Return the ways in which a line may stand in a file: plain, in JSON, in HTML without the tags of its colours."""
    return {line, json.dumps(line)[1:-1], html.escape(line), html.escape(line, quote=False)}


def _text(path):
    text = path.read_text(encoding="utf-8", errors="ignore")
    return text + re.sub(r"<[^>]+>", "", text) if path.suffix == ".html" else text


def test_no_file_of_the_site_holds_a_solution_or_a_hidden_check(site):
    secrets = {line for path in (START, PROJECT) for line in _secrets(read_notebook(path))}
    assert len(secrets) >= 3
    for path in (path for path in site.rglob("*") if path.suffix in TEXT):
        text = _text(path)
        assert not [line for line in secrets if any(way in text for way in _as_written(line))], path
        if path.parts[len(site.parts)] in {"notebooks", "slides"}:
            assert "BEGIN SOLUTION" not in text and "BEGIN HIDDEN" not in text, path


@pytest.mark.parametrize("path", source_notebooks(), ids=lambda path: path.stem)
def test_no_page_of_any_notebook_holds_a_solution_or_what_a_check_printed(path, tmp_path):
    source = read_notebook(path)
    page = reader_copy(source, {}, Assets(tmp_path), "assets")
    text = json.dumps(page, ensure_ascii=False)
    assert not [line for line in _secrets(source) if json.dumps(line, ensure_ascii=False)[1:-1] in text]
    for cell in page.cells:
        assert not (cell.metadata.get("nbgrader") and cell.get("outputs")), cell.id
    figures = sum("image/png" in output.get("data", {}) for cell in source.cells for output in cell.get("outputs", []))
    assert text.count("<img class=") == figures > 0


def test_a_setting_shows_the_solutions_folded(tmp_path):
    source = read_notebook(START)
    page = reader_copy(source, {}, Assets(tmp_path), "assets", with_solutions=True)
    (exercise,) = exercises(source)
    (solution,) = (cell for cell in page.cells if cell.id.endswith("-solution"))
    assert solution.source == without_markers(exercise.answer.source)
    assert "hide-input" in solution.metadata["tags"]
    before = page.cells[page.cells.index(solution) - 1]
    assert before.id == exercise.check.id and "HIDDEN" not in before.source


class _Links(html.parser.HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.links, self.names = [], set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.names |= {attributes[name] for name in ("id", "name") if attributes.get(name)}
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]


def test_every_link_within_the_site_leads_somewhere(site):
    pages = {page: _Links(page) for page in site.rglob("*.html")}
    notebooks = {path.stem for path in source_notebooks()} - {START.stem, PROJECT.stem}
    wrong, followed = [], 0
    for page, found in pages.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if target.stem in notebooks or parts.fragment.endswith(".ipynb") or page.stem == "lecture_map":
                continue  # to a notebook that was left out
            followed += 1
            if not target.is_file() or (
                parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].names
            ):
                wrong.append((page.name, link))
    assert not wrong and followed > 300


def test_what_pages_name_of_the_notebooks_is_there():
    """A cell that is linked to is text and begins with it, since code has no name and one in front of HTML is lost."""
    cells = {
        f"{path.name.partition('_')[0]} {cell.id}": cell
        for path in source_notebooks()
        for cell in read_notebook(path).cells
    }
    named = [f"{number} {cell}" for number, cell in re.findall(r"\(#cell-(\w+?)-([\w-]+)\)", _page("lecture_map"))]
    texts = {name for name, cell in cells.items() if cell.cell_type == "markdown" and not cell.source.startswith("<")}
    assert len(named) > 60 and set(named) <= texts
    explorers = {
        name for name, cell in cells.items() if cell.cell_type == "code" and MAKES_EXPLORER.search(cell.source)
    }
    assert set(EXPLORER_HERE.findall(_page("index"))) <= explorers
    linked = re.findall(r'<a href="notebooks/(?:projects/)?(\w+?)_\w+\.html#cell-([\w-]+)">', _page("lecture_map"))
    assert set(map(" ".join, linked)) == explorers - {"00 first-explorer"}


def test_the_page_of_benchmarks_names_every_part():
    assert re.findall(r"^\| `(\w+)` \|", _page("benchmarks"), re.MULTILINE) == list(PARTS)


def _page(name):
    return (DOCS_DIR / f"{name}.md").read_text(encoding="utf-8")


def test_a_page_is_small(site):
    for page in site.rglob("*.html"):
        local = {link.partition("#")[0] for link in _Links(page).links if not urlsplit(link).scheme}
        files = {(page.parent / link).resolve() for link in local if not link.endswith((".html", "#", ""))}
        pieces = re.findall(r'data-pieces="([^"]+)"', page.read_text(encoding="utf-8"))
        files |= {site / "_static/explorers" / f"{name}.js" for text in pieces for name in text.split()}
        assert page.stat().st_size + sum(file.stat().st_size for file in files) <= MOST_BYTES, page.name


def test_titles_in_the_notebooks_are_in_the_bibliography_and_all_of_it_is_referred_to():
    references, used = read_references(), set()
    for path in source_notebooks():
        for line in "\n".join(c.source for c in read_notebook(path).cells if c.cell_type == "markdown").splitlines():
            for match in TITLE_IN_ITALICS.finditer(line):
                key = references.get(plain_title(match[1]))
                listed = re.match(r"- .*\b(?:19|20)\d\d\b", line) and len(match[1]) > 14
                assert key or not listed, f"{path.name}: {match[1]}"
                used.add(key)
    assert set(references.values()) <= used


def test_an_unread_title_is_followed_by_its_reference(site):
    page = (site / PAGE).read_text(encoding="utf-8")
    assert re.search(r"<em>The perception of randomness</em> .{0,80}bibliography\.html#id\d+", page, re.DOTALL)


def test_a_page_says_what_a_link_to_it_shows_and_how_one_gets_the_notebooks(site):
    page, front = ((site / name).read_text(encoding="utf-8") for name in (PAGE, "index.html"))
    assert '<meta property="og:title" content="0 · Start here">' in page and "og:image" not in page
    question = "What is this course, and does it work on this computer?"
    assert f'<meta property="og:description" content="{question}">' in page
    assert f'<meta name="description" content="{question}">' in page
    assert '<meta property="og:description" content="A course in notebooks' in front and "Whoever publishes" in front
    assert '<a href="../index.html#doing-the-exercises">Run it yourself</a>' in page


def test_what_comes_from_others_is_what_it_says():
    vendor = DOCS_DIR / "vendor"
    sums = dict(line.split("  ./")[::-1] for line in (vendor / "SHA256SUMS").read_text().splitlines())
    files = {path.relative_to(vendor).as_posix() for path in vendor.rglob("*") if path.is_file()}
    assert files == sums.keys() | {"README.md", "SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest, name


# --- how it is made ---------------------------------------------------------------------------------------------------


def test_a_folder_that_is_no_site_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for write in (build_site, lambda out: write_slides(START, out)):
        with pytest.raises(NotebookError, match="name a new folder"):
            write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(["site", "README.md"], "is no site"), (["slides", "99"], "no notebook 99"), (["pdf", "0"], "no notebook 0 in")],
)
def test_a_mistake_on_the_command_line_is_one_sentence(arguments, sentence):
    command = [sys.executable, "-m", "course_utils.cli", *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT_DIR)
    assert finished.returncode == 1 and sentence in finished.stderr and "Traceback" not in finished.stderr


def test_settings_that_say_something_else_are_refused(tmp_path):
    (tmp_path / "site.toml").write_text('repositry = "a/b"')
    with pytest.raises(NotebookError, match=r"site\.toml cannot be used: .*repositry"):
        read_settings(tmp_path)


def test_a_notebook_is_run_again_only_when_its_explorers_may_have_changed(cache, tmp_path, monkeypatch):
    def run(*_):
        raise NotebookError("a notebook was run")

    monkeypatch.setattr(explorers_module, "ProcessPoolExecutor", run)
    assert set(explorers_of([START], cache)[START]) == {"first-explorer", "prediction"}
    changed = read_notebook(START)
    changed.cells[3].source += "\n1 + 1"
    copy = tmp_path / START.name
    copy.write_text(json.dumps(changed))
    with pytest.raises(NotebookError, match="was run"):
        explorers_of([copy], cache)


def test_one_setting_puts_a_button_for_binder_and_another_one_for_colab(cache, tmp_path):
    settings = Settings(repository="someone/course", address="https://someone.github.io/course/")
    out = tmp_path / "site"
    build_site(out, [START], settings, cache)
    links = _Links(out / PAGE).links
    assert (
        "https://mybinder.org/v2/gh/someone/course/main?urlpath=lab%2Ftree%2Fnotebooks%2F00_start_here.ipynb" in links
    )
    colab = "https://colab.research.google.com/#fileUrl=https%3A%2F%2Fsomeone.github.io%2Fcourse%2Fcolab%2F00_start_here.ipynb"
    assert colab in links
    page, front = ((out / name).read_text(encoding="utf-8") for name in (PAGE, "index.html"))
    picture = re.search(r'"og:image" content="https://someone\.github\.io/course/([^"]+)"', page)
    assert (out / picture[1]).is_file()
    assert f'"og:url" content="https://someone.github.io/course/{PAGE}"' in page
    assert "git clone https://github.com/someone/course" in re.sub("<[^>]+>", "", front)
    copy = read_notebook(out / "colab" / START.name)
    (wheel,) = (out / "colab").glob("*.whl")
    assert f"https://someone.github.io/course/colab/{wheel.name}" in copy.cells[1].source
    assert [cell.source for cell in copy.cells if cell.id != "colab-install"] == [
        cell.source for cell in student_copy(read_notebook(START)).cells
    ]
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    code = "from course_utils.data import load_mnist; print(load_mnist('test')[0].shape)"
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(tmp_path / "installed")}
    shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert shown.stdout.strip() == "(10000, 28, 28)", shown.stderr


# --- in a browser -----------------------------------------------------------------------------------------------------


def _numbers(page):
    """Return what the readout beside the first explorer says."""
    rows = page.locator(".vi-readout tr").all()
    return {row.locator("th").inner_text(): float(row.locator("td").inner_text().replace("−", "-")) for row in rows}


def _divergence(mean, scale):
    return (mean**2 + scale**2 - 1) / 2 - np.log(scale)


@pytest.mark.parametrize("from_disk", [False, True], ids=["served", "from disk"])
def test_an_explorer_moves_and_shows_the_numbers_of_the_notebook(site, address, visit, from_disk):
    page = visit(f"{site.as_uri() if from_disk else address}/{PAGE}")
    page.locator("#cell-first-explorer").scroll_into_view_if_needed()
    slider = page.get_by_role("slider", name="mean of q")
    slider.wait_for()
    assert _numbers(page)["KL[q || p]"] == pytest.approx(_divergence(1.0, 0.5), abs=6e-4)
    path = page.locator("#cell-first-explorer path[data-name='q(z)']")
    before = path.get_attribute("d")
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "2.00"
    assert _numbers(page)["KL[q || p]"] == pytest.approx(_divergence(2.0, 0.5), abs=6e-4)
    assert path.get_attribute("d") != before


def test_the_explorer_is_the_same_module_as_in_the_notebook(site):
    pieces = re.search(r'id="cell-first-explorer" data-pieces="(\w+) (\w+)', (site / PAGE).read_text(encoding="utf-8"))
    texts = [(site / f"_static/explorers/{name}.js").read_text(encoding="utf-8") for name in pieces.groups()]
    given = [json.loads(text.partition(",")[2].strip()[:-1]) for text in texts]
    assert given == [CurveExplorer._esm, CurveExplorer._css]


HOST = """<!doctype html><meta charset="utf-8"><title>t</title><link rel="icon" href="data:,"><body>
<script src="explorers.js"></script><div class="explorer" id="place" data-pieces="{}" data-unseen="{}"><img alt="still"></div>"""
UNSEEN_MODULE = "export default { initialize({ model }) { globalThis.library = model.get('name'); } };"
MODULE = """export default { render({ model, el }) {
    const told = [];
    const hear = () => told.push(model.get("z"));
    model.on("change:z", hear);
    model.set("z", 2);
    model.set("z", 2);
    model.save_changes();
    model.off("change:z", hear);
    model.set("z", 3);
    const view = model.get("data");
    const numbers = new Float32Array(view.buffer, view.byteOffset, view.byteLength / 4);
    el.textContent = JSON.stringify([told, model.get("z"), [...numbers], view instanceof DataView, model.get("nothing") ?? null]);
} };"""


def test_a_module_is_handed_the_interface_of_anywidget(visit, tmp_path):
    (tmp_path / "explorers.js").write_bytes((DOCS_DIR / "_static" / "explorers.js").read_bytes())
    assets = Assets(tmp_path / "explorers")
    data = base64.b64encode(np.float32([1.5, -2]).tobytes()).decode()
    explorers = {
        "cell": [Explorer("text", MODULE, "", {"z": 1, "data": {"base64": data}})],
        UNSEEN: [Explorer("", UNSEEN_MODULE, "", {"name": "arithmetic"})],
    }
    source = new_notebook(
        cells=[new_code_cell("1", id="cell", outputs=[new_output("execute_result", {"text/plain": "text"})])]
    )
    (output,) = reader_copy(source, explorers, assets, "explorers").cells[0].outputs
    pieces, unseen = re.findall(r'data-\w+="([^"]+)"', output.data["text/html"])
    (tmp_path / "page.html").write_text(HOST.format(pieces, unseen))
    page = visit((tmp_path / "page.html").as_uri())
    page.locator("#place[data-live]").wait_for()
    assert json.loads(page.locator("#place").inner_text()) == [[2], 3, [1.5, -2], True, None]
    assert page.evaluate("library") == "arithmetic"


def test_the_explorer_of_a_page_of_its_own_is_told_so(visit, tmp_path):
    (tmp_path / "index.md").write_text("<!-- explorer: 00 first-explorer -->")
    (cell,) = (cell for cell in read_notebook(START).cells if cell.id == "first-explorer")
    text = cell.outputs[0].data["text/plain"]
    module = "export default { render({ model, el }) { el.textContent = JSON.stringify(model.get('spec')); } };"
    explorer = Explorer(text, module, "", {"spec": {"label": "a picture", "own_page": False}})
    _write_notebooks(tmp_path, [START], {START: {"first-explorer": [explorer]}}, Settings())
    (tmp_path / "_static" / "explorers.js").write_bytes((DOCS_DIR / "_static" / "explorers.js").read_bytes())
    script = '<!doctype html><link rel="icon" href="data:,"><script src="_static/explorers.js"></script>'
    (tmp_path / "page.html").write_text(script + (tmp_path / "index.md").read_text())
    page = visit((tmp_path / "page.html").as_uri())
    page.get_by_text('{"label":"a picture","own_page":true}').wait_for()


def test_a_widget_that_python_draws_is_a_sentence_in_a_page(tmp_path):
    cells = reader_copy(read_notebook(START), {}, Assets(tmp_path), "assets").cells
    shown = [output.data for cell in cells for output in cell.get("outputs", []) if "data" in output]
    assert not [data for data in shown if "interactive(" in data.get("text/plain", "")]
    assert sum("run the notebook to move it" in data.get("text/html", "") for data in shown) == 1


def test_a_large_explorer_is_loaded_when_it_is_asked_for(visit, tmp_path):
    (tmp_path / "explorers.js").write_bytes((DOCS_DIR / "_static" / "explorers.js").read_bytes())
    module = "export default { render({ model, el }) { el.textContent = model.get('data').length; } };"
    explorers = {"cell": [Explorer("text", module, "", {"data": "x" * 2_000_000})]}
    output = new_output("execute_result", {"text/plain": "text"})
    source = new_notebook(cells=[new_code_cell("1", id="cell", outputs=[output])])
    (output,) = reader_copy(source, explorers, Assets(tmp_path / "explorers"), "explorers").cells[0].outputs
    script = '<!doctype html><link rel="icon" href="data:,"><script src="explorers.js"></script>'
    (tmp_path / "page.html").write_text(script + output.data["text/html"])
    page = visit((tmp_path / "page.html").as_uri())
    button = page.get_by_role("button", name="Start it here (2.0 MB)")
    button.wait_for()
    assert page.locator("head script").count() == 1 and page.locator("pre").inner_text() == "text"
    button.click()
    page.get_by_text("2000000").wait_for()
    assert button.count() == 0


def test_a_module_that_fails_leaves_its_still_and_says_so(browser, tmp_path):
    (tmp_path / "explorers.js").write_bytes((DOCS_DIR / "_static" / "explorers.js").read_bytes())
    assets = Assets(tmp_path / "explorers")
    pieces = map(assets.piece, ("export default { render() { throw new Error('broken'); } };", "", {}))
    (tmp_path / "page.html").write_text(HOST.format(" ".join(pieces), ""))
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    page.get_by_text("This explorer cannot be shown here").wait_for()
    assert page.get_by_alt_text("still").is_visible()
    page.close()


def test_a_prediction_can_be_locked_in_and_is_there_when_one_comes_back(address, visit):
    page = visit(f"{address}/{PAGE}")
    page.locator("#cell-prediction").scroll_into_view_if_needed()
    page.get_by_role("spinbutton", name="5 or 6, in percent").fill("70")
    page.get_by_role("button", name="Lock in").click()
    page.reload()
    page.locator("#cell-prediction").scroll_into_view_if_needed()
    page.get_by_text("Locked in.").wait_for()
    assert page.get_by_role("spinbutton", name="5 or 6, in percent").input_value() == "70"
    outcome = page.locator(".outcome")
    page.get_by_text("You gave it").wait_for()
    given = 0.7 if "5 or 6" in (came_true := outcome.get_attribute("data-option")) else 0.1
    costs = f"You gave it {given:.0%}, which costs −log {given:.2f} = {-np.log(given):.2f} nats.".replace("%", " %")
    assert outcome.inner_text() == f"What happened: {came_true}. {costs} Equal probabilities cost log 4 = 1.39 nats."
    page.get_by_role("button", name="Reset").last.click()
    assert outcome.inner_text() == f"What happened: {came_true}. Equal probabilities cost log 4 = 1.39 nats."


def test_a_corner_without_a_name_is_no_heading_of_a_table(page):
    script = (DOCS_DIR / "_static" / "access.js").read_text(encoding="utf-8")
    row = '<tr><th class="head"><p></p></th><th class="head"><p>a</p></th></tr>'
    page.set_content(f"<article><h1>t</h1><table>{row}</table></article><script>{script}</script>")
    assert page.locator("th").all_inner_texts() == ["a"] and page.locator("td.head").count() == 1


ALL_RENDERED = """() => !document.querySelector(".math:not(:has(.katex))")"""
PAGES = [
    PAGE,
    "index.html",
    *(
        pytest.param(f"{name}.html", marks=pytest.mark.slow)
        for name in ("gallery", "bibliography", "instructor", "notation", "search")
    ),
]


@pytest.mark.parametrize("name", PAGES)
def test_pages_fit_have_their_mathematics_and_are_accessible(address, visit, name):
    for width, scheme in itertools.product(WIDTHS, ("light", "dark")):
        page = visit(f"{address}/{name}", width=width, scheme=scheme)
        page.wait_for_function("document.readyState === 'complete'")
        if name == PAGE:
            page.locator("#cell-first-explorer").scroll_into_view_if_needed()
            page.locator("#cell-first-explorer[data-live]").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.wait_for_function(ALL_RENDERED)
        assert page.locator(".katex-error").count() == 0
        found = Axe().run(page).response["violations"]
        assert not [(each["id"], [node["html"][:200] for node in each["nodes"][:4]]) for each in found], (width, scheme)


def test_a_figure_is_dark_in_the_dark_theme_keeps_its_hues_and_is_printed_on_white(page):
    """The picture has a stripe for each colour; all but white keep their hue."""
    names = ("WHITE", "ORANGE", "SKY", "GREEN", "BLUE", "VERMILION", "PURPLE")
    colors = ["#ffffff", *(getattr(plots, name) for name in names[1:])]
    stripes = "".join(f"<rect x='{20 * i}' width='20' height='20' fill='{color}'/>" for i, color in enumerate(colors))
    picture = f"data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='140' height='20'>{stripes}</svg>"
    style = (DOCS_DIR / "_static" / "course.css").read_text(encoding="utf-8")
    page.set_content(f'<style>{style}</style><body style="margin: 0"><img class="figure">')
    page.locator("img").evaluate(
        "(node, source) => { node.src = source; return node.decode(); }", picture.replace("#", "%23")
    )

    def drawn():
        pixels = Image.open(io.BytesIO(page.locator("img").screenshot())).convert("RGB")
        return [np.array(pixels.getpixel((20 * i + 10, 10))) / 255 for i in range(len(colors))]

    hue = np.vectorize(lambda *rgb: 360 * colorsys.rgb_to_hls(*rgb)[0])
    light = drawn()
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    dark = drawn()
    assert light[0].min() == 1 and dark[0].max() < 0.1
    np.testing.assert_allclose(hue(*np.transpose(dark[1:])), hue(*np.transpose(light[1:])), atol=8)
    page.locator("img").evaluate("(node) => node.classList.add('dark')")
    np.testing.assert_allclose(drawn(), light, atol=0.01)
    page.locator("img").evaluate("(node) => node.classList.remove('dark')")
    page.emulate_media(media="print")
    np.testing.assert_allclose(drawn(), light, atol=0.01)
    page.emulate_media(media="screen")


def test_only_pictures_on_a_black_ground_are_no_plots(tmp_path):
    dark = {
        (path.stem, cell.id)
        for path in source_notebooks()
        for cell in reader_copy(read_notebook(path), {}, Assets(tmp_path), "assets").cells
        if "figure dark" in json.dumps(cell.get("outputs", []))
    }
    assert dark == {("p5_images_from_captions", "typed"), ("p5_images_from_captions", "gallery")}


def test_the_search_finds_a_chapter(address, visit):
    page = visit(f"{address}/search.html?q=Kullback")
    page.locator("#search-results a", has_text="Start here").first.wait_for()


def test_a_link_shows_what_it_leads_to_until_one_leaves_it(address, visit):
    page = visit(f"{address}/{PAGE}")
    page.locator("article a.reference.internal", has_text="BHW91").first.focus()
    page.get_by_role("tooltip").get_by_text("Advances in Applied Mathematics").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("tooltip").wait_for(state="hidden")
    page = visit(f"{address}/index.html")  # where no formula has asked for KaTeX
    page.locator("article").get_by_role("link", name="Notation").focus()
    page.get_by_role("tooltip").get_by_text("One notation").wait_for()


def test_on_paper_no_code_is_cut_off(page):
    style = (DOCS_DIR / "_static" / "course.css").read_text(encoding="utf-8")
    page.set_content(
        f'<style>{style} pre {{ overflow: auto }}</style><div class="highlight"><pre>{"word " * 500}</pre></div>'
    )
    is_cut = "(node) => node.scrollWidth > node.clientWidth"
    assert page.locator("pre").evaluate(is_cut)
    page.emulate_media(media="print")
    assert not page.locator("pre").evaluate(is_cut)


def test_a_formula_that_is_scrolled_can_be_reached_with_the_keys(page):
    script = (DOCS_DIR / "_static" / "access.js").read_text(encoding="utf-8")
    page.set_content(
        f'<article><h1>t</h1><div class="math" style="overflow: auto">x</div></article><script>{script}</script>'
    )
    page.wait_for_timeout(100)
    formula = page.locator(".math")
    assert formula.get_attribute("tabindex") is None
    formula.evaluate("(node) => (node.innerHTML = '<p style=\"width: 9000px\">rendered</p>')")
    page.locator(".math[tabindex='0']").wait_for()


# --- slides, and print ------------------------------------------------------------------------------------------------

IS_SHOWN = """() => document.querySelector("#cell-first-explorer").closest("section.present")
    ?.parentElement.matches("section.present")"""
LECTURES = [path for path in source_notebooks() if path.parent == NOTEBOOKS_DIR]


@pytest.mark.parametrize("path", LECTURES, ids=lambda path: path.stem)
def test_every_lecture_has_slides_and_no_exercise_is_on_them(path):
    notebook = read_notebook(path)
    kinds = [slide_type(cell) for cell in notebook.cells]
    assert has_slides(notebook) and kinds[0] == "slide"
    begun = kinds.count("slide") + kinds.count("subslide")
    assert begun >= 8
    for cell, kind in zip(notebook.cells, kinds):
        assert kind in {"", "slide", "subslide", "fragment", "skip", "notes"}
        if cell.metadata.get("nbgrader") or cell.id.startswith("ex-"):
            assert kind == "skip", cell.id


def test_slides_work_from_a_disk_and_their_explorers_move(cache, tmp_path, visit):
    deck = write_slides(START, tmp_path / "slides", cache)
    page = visit(deck.as_uri())
    assert page.get_by_role("heading", name="0 · Start here").is_visible()
    page.wait_for_function("window.Reveal?.isReady()")
    for _ in range(40):
        if page.evaluate(IS_SHOWN):
            break
        page.keyboard.press("Space")
    slider = page.get_by_role("slider", name="mean of q")
    slider.wait_for()
    where = page.evaluate("Reveal.getIndices()")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "1.25"
    assert _numbers(page)["KL[q || p]"] == pytest.approx(_divergence(1.25, 0.5), abs=6e-4)
    assert page.evaluate("Reveal.getIndices()") == where, "the slides took the explorer's key"
    number, arrow = (page.locator(f".reveal {name}").bounding_box() for name in (".slide-number", ".navigate-left"))
    assert number["x"] + number["width"] <= arrow["x"], "the slide's number lies on the arrows"
    page.wait_for_function(ALL_RENDERED)


def test_the_site_links_to_the_slides(site, address, visit):
    page = visit(f"{address}/{PAGE}")
    page.get_by_role("link", name="Slides").click()
    page.wait_for_function("window.Reveal?.isReady()")
    assert page.get_by_role("heading", name="0 · Start here").is_visible()


@pytest.mark.slow
def test_a_chapter_is_printed_with_its_figures(browser, cache, tmp_path):
    printed = write_pdf(PROJECT, tmp_path / "p0.pdf", cache).read_bytes()
    assert printed.startswith(b"%PDF") and printed.count(b"/Subtype /Image") >= 1

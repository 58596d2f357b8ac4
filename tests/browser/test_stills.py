"""Stills of explorers: drawn when a notebook is executed, for readers who have no kernel."""

import base64
import io
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbconvert import HTMLExporter, LatexExporter, SlidesExporter
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from course_utils.coursework.author import execute, stills
from course_utils.coursework.author.execute import execute_notebook
from course_utils.coursework.source.notebooks import read_notebook

EXPLORER = """
import numpy as np
from course_utils.widgets import CurveExplorer
heights = np.array([1.0, 2.0, 8.0])
CurveExplorer({"height": heights}, [0.0, 1.0], {"</script> level": np.stack([heights, heights], 1)}, start={"height": START},
              label="A level line at the height of the slider", y_range=(0, 10))
"""
BAR = "from tqdm.auto import tqdm\nfor _ in tqdm(range(30), unit='step'): pass"
HALF_A_BAR = "bar = tqdm(total=30, unit='step'); _ = bar.update(10)"

FIGURE = """
from course_utils import plots
figure, axes = plots.subplots()
axes.plot([0, 1])
plots.show(figure, "A line that rises from the left to the right.")
"""


@pytest.fixture(scope="module")
def executed(browser, tmp_path_factory):
    """A notebook with two positions of an explorer, a finished bar, one that stopped, and a figure, as it was executed."""
    path = tmp_path_factory.mktemp("stills") / "01_stills.ipynb"
    sources = [
        EXPLORER.replace("START", "1.0"),
        EXPLORER.replace("START", "8.0"),
        BAR,
        HALF_A_BAR,
        "print('text', 1.5)",
        FIGURE,
    ]
    cells = [new_code_cell(source.strip(), id=f"cell-{i}") for i, source in enumerate(sources)]
    nbformat.write(new_notebook(cells=cells), path)
    assert execute_notebook(path).has_stills
    return path


def picture_of(cell):
    (output,) = cell.outputs
    return output, Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))


def test_an_explorer_has_a_still_at_the_position_where_it_starts(executed):
    low, high = read_notebook(executed).cells[:2]
    heights = []
    for cell, text in ((low, "1"), (high, "8")):
        output, picture = picture_of(cell)
        assert set(output.data) == {"text/plain", "image/png"}
        described = output.metadata["image/png"]
        assert described["alt"].startswith(f"A level line at the height of the slider. A still at height {text};")
        assert len(output.data["image/png"]) < 60_000
        assert picture.width == pytest.approx(stills.SCALE * described["width"], abs=2)
        pixels = np.asarray(picture.convert("RGB")).astype(int)
        # The curve is the widest blue line in the lower half.
        blue = (np.abs(pixels - [0, 114, 178]).sum(-1) < 60).sum(1)
        lower = blue[picture.height // 3 :]
        assert lower.max() > 200, "no curve is drawn"
        heights.append(int(lower.argmax()))
    assert heights[0] > heights[1] + 50, "both stills show the same position"


def test_a_finished_bar_is_a_line_of_text_and_one_that_stopped_is_not_called_finished(executed):
    finished, stopped = (cell.outputs[0].data["text/plain"] for cell in read_notebook(executed).cells[2:4])
    assert finished == "Done: 30 of 30 steps."
    assert "Done" not in stopped


def test_nbval_compares_no_still_and_knows_a_bar_by_its_end(executed, tmp_path):
    notebook = read_notebook(executed)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    nbformat.write(notebook, tmp_path / "same.ipynb")
    notebook.cells[2].outputs[0].data["text/plain"] = "Done: 31 of 31 steps."
    nbformat.write(notebook, tmp_path / "other.ipynb")
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "course_utils.coursework.run.nbval_plugin"]
    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout
    for number in range(6):
        assert f"PASSED same.ipynb::cell-{number}" in said, said[-3000:]
        assert f"{'FAILED' if number == 2 else 'PASSED'} other.ipynb::cell-{number}" in said


@pytest.mark.parametrize("exporter", [HTMLExporter, SlidesExporter, LatexExporter], ids=["html", "slides", "latex"])
def test_a_page_shows_the_still(executed, exporter):
    body, resources = exporter().from_filename(str(executed))
    if exporter is LatexExporter:
        names = [name for name in resources["outputs"] if name.endswith(".png")]
        assert len(names) == 3 and all(name in body for name in names)
    else:
        for cell in read_notebook(executed).cells[:2]:
            assert cell.outputs[0].data["image/png"].strip() in body
        assert 'alt="A line that rises from the left to the right."' in body
        assert "model_id" not in body


def test_stills_alone_leave_all_other_outputs_as_they_are(executed, tmp_path):
    notebook = read_notebook(executed)
    for cell in notebook.cells[:2]:
        del cell.outputs[0].data["image/png"]
    notebook.cells[2].outputs[0].data["text/plain"] = "  0%|          | 0/30 [00:00<?, ?step/s]"
    notebook.cells[4].outputs[0].text = "text 1.5001\n"
    path = tmp_path / "01_stills.ipynb"
    nbformat.write(notebook, path)
    execute_notebook(path, stills_only=True)
    cells = read_notebook(path).cells
    for number in (0, 1):
        picture_of(cells[number])
    assert cells[2].outputs[0].data["text/plain"] == "Done: 30 of 30 steps."
    assert cells[4].outputs[0].text == "text 1.5001\n"


def test_a_still_of_its_own_stays_and_the_others_are_drawn_anew(executed, tmp_path):
    notebook = read_notebook(executed)
    own, other = notebook.cells[:2]
    own.metadata["tags"] = [stills.OWN_STILL]
    for cell in (own, other):
        stills.put_still(cell.outputs[0], Image.new("RGB", (300, 150), "red"), "Drawn after a while.")
    path = tmp_path / "01_stills.ipynb"
    nbformat.write(notebook, path)
    execute_notebook(path)
    cells = read_notebook(path).cells
    assert cells[0].outputs[0] == own.outputs[0]
    assert cells[1].outputs[0] == read_notebook(executed).cells[1].outputs[0]
    del own.outputs[0].data["image/png"]
    nbformat.write(notebook, path)
    execute_notebook(path)
    assert picture_of(read_notebook(path).cells[0])[1].width > 1000


def test_without_a_browser_a_notebook_is_executed_all_the_same(executed, tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "find_browser", lambda: None)
    path = tmp_path / "01_stills.ipynb"
    path.write_bytes(Path(executed).read_bytes())
    assert not execute_notebook(path).has_stills
    cells = read_notebook(path).cells
    assert set(cells[0].outputs[0].data) == {"text/plain"} and cells[4].outputs[0].text == "text 1.5\n"


def test_an_explorer_that_draws_nothing_is_not_taken_for_a_still(browser, monkeypatch):
    traits = {"_esm": "export default { render() { throw new Error('broken'); } };", "_css": ""}
    with pytest.raises(execute.NotebookError, match="empty still"):
        stills.put_still(nbformat.v4.new_output("display_data"), stills.draw(traits, stills.find_browser()), "Nothing.")

"""A notebook that was saved with its explorers, and is opened on another day: with another kernel, or with none."""

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import expect

from course_utils.coursework.author.execute import METADATA

EXPLORER = """
import numpy as np
from course_utils.widgets import CurveExplorer
heights = np.array([1.0, 2.0, 8.0])
CurveExplorer({"height": heights}, [0.0, 1.0], {"level": np.stack([heights, heights], 1)}, start={"height": 1.0},
              label="A level line at the height of the slider", y_range=(0, 10))
"""


def test_explorers_are_there_and_move_when_a_saved_notebook_is_opened_again(lab, browser):
    path = lab.root / "kept.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(EXPLORER.strip(), id="explorer")], metadata=METADATA), path)
    with lab.notebook(browser, path.name) as notebook:
        notebook.run_all()
        slider = notebook.page.get_by_role("slider").first
        expect(slider).to_be_visible()
        slider.focus()
        notebook.page.keyboard.press("End")
        notebook.page.keyboard.press("Control+s")
        notebook.page.wait_for_function("() => !window.jupyterapp.shell.currentWidget.context.model.dirty")
        last = notebook.page.locator(".vi-plot").inner_html()
    kept = nbformat.read(path, nbformat.NO_CONVERT)
    view = kept.cells[0].outputs[-1].data["application/vnd.jupyter.widget-view+json"]
    assert view["model_id"] in kept.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    with lab.notebook(browser, path.name) as notebook:
        slider = notebook.page.get_by_role("slider").first
        expect(slider.or_(notebook.page.get_by_text("model not found")).first).to_be_visible(timeout=30_000)
        if not slider.is_visible():
            # JupyterLab reads what was saved only on its first connection to the kernel. If that one breaks while the
            # kernel starts, the second does without: a reader has to load the page again.
            notebook.page.reload()
        expect(slider, str(notebook.problems)).to_be_visible(timeout=30_000)
        plot = notebook.page.locator(".vi-plot")
        assert plot.inner_html() == last
        slider.focus()
        notebook.page.keyboard.press("Home")
        assert plot.inner_html() != last
        expect(notebook.page.get_by_text("model not found")).to_have_count(0)

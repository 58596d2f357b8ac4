"""The playground in JupyterLab: the library arrives by a widget that is never shown, and Python hears what was trained."""

import nbformat
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import expect

from course_utils.widgets.playground import DEFAULTS

SOURCE = "from course_utils.widgets import Playground\nplayground = Playground(side=14, width=50)\nplayground"


def test_it_trains_without_the_kernel_and_tells_it_the_result(lab, browser):
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    notebook = new_notebook(cells=[new_code_cell(SOURCE)], metadata={"kernelspec": kernel})
    nbformat.write(notebook, lab.root / "playground.ipynb")
    with lab.notebook(browser, "playground.ipynb") as opened:
        opened.run_all()
        playground = opened.page.locator(".vi-playground")
        step = playground.get_by_role("button", name="Step")
        step.click()
        status = playground.get_by_role("status")
        expect(status).to_contain_text("Paused after 1 step:", timeout=120_000)
        opened.wait_for("playground.result.get('step')", 1)
        # Keys stay in the page: "d d" would delete the cell.
        cells = opened.cell_ids()
        step.focus()
        opened.page.keyboard.type("dd")
        choice = playground.get_by_role("combobox", name="latent dimensions")
        choice.focus()
        opened.page.keyboard.type("dd")
        assert opened.cell_ids() == cells
        choice.select_option(label="10")
        opened.wait_for("playground.settings", DEFAULTS | {"side": 14, "width": 50, "latent_dim": 10})
        opened.execute("playground.settings = {'side': 14, 'width': 50, 'beta': 4}")
        expect(playground.get_by_role("combobox", name="β")).to_have_value("4")
        assert opened.problems == []

"""A student's copy that nobody touched does not open as modified."""

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from course_utils.coursework.author.execute import METADATA
from course_utils.coursework.student.workfolder import deliver

DIRTY = "() => window.jupyterapp.shell.currentWidget.context.model.dirty"
LANGUAGE = "() => window.jupyterapp.shell.currentWidget.context.model.getMetadata('language_info')?.version"


def test_a_delivered_notebook_opens_as_it_is(lab, browser, tmp_path):
    nbformat.write(new_notebook(cells=[new_code_cell("1 + 1", id="sum")], metadata=METADATA), tmp_path / "41_sum.ipynb")
    deliver(lab.root / "delivered", tmp_path)
    with lab.notebook(browser, "delivered/41_sum.ipynb") as notebook:
        # JupyterLab fills in what the kernel says of its language.
        notebook.page.wait_for_function(LANGUAGE)
        notebook.page.wait_for_timeout(1000)
        assert notebook.page.evaluate(DIRTY) is False

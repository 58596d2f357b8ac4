"""Whether `course check` notices, with a real JupyterLab, that a notebook was run after it was saved."""

import os
import time

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

from course_utils.coursework.student.unsaved import SECONDS_OF_GRACE, unsaved


def test_a_cell_that_ran_after_the_last_save_is_noticed(lab, browser, monkeypatch):
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(lab.root.parent / "private" / "jupyter_runtime_dir"))
    path, other = lab.root / "saved.ipynb", lab.root / "other.ipynb"
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    for each in (path, other):
        nbformat.write(new_notebook(cells=[new_code_cell("1 + 1")], metadata={"kernelspec": kernel}), each)
    with lab.notebook(browser, path.name) as notebook:
        notebook.page.wait_for_timeout(1000 * (SECONDS_OF_GRACE + 1))
        notebook.run_all()
        assert "save it (Ctrl + S" in unsaved(path)
        assert unsaved(other) == ""
        notebook.page.keyboard.press("Control+s")
        deadline = time.monotonic() + 20
        while unsaved(path):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    os.utime(path, (0, 0))
    assert unsaved(path) == ""  # it is closed

"""The notebook on variational autoencoders as a student runs it who has no patience: one epoch, and on to the explorer."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, expect

from course_utils.coursework.source.notebooks import read_notebook, write_notebook
from tests.browser.lab import Lab, OpenNotebook, canvas_grey, drag

NOTEBOOK = "09_variational_autoencoder.ipynb"
LONG, SHORT = "EPOCHS, BATCH_SIZE, LEARNING_RATE = 11,", "EPOCHS, BATCH_SIZE, LEARNING_RATE = 1,"
LAST = "latent-explorer"
EXPLORER = "next(value for value in list(globals().values()) if type(value).__name__ == 'LatentExplorer')"


@pytest.fixture(scope="module")
def notebook(lab: Lab, browser: Browser) -> Iterator[OpenNotebook]:
    shorter = read_notebook(lab.root / NOTEBOOK)
    ids = [cell.id for cell in shorter.cells]
    del shorter.cells[ids.index(LAST) + 1 :]
    (train,) = (cell for cell in shorter.cells if LONG in cell.source)
    train.source = train.source.replace(LONG, SHORT)
    write_notebook(shorter, lab.root / "09_shorter.ipynb")
    with lab.notebook(browser, "09_shorter.ipynb") as notebook:
        notebook.run_all()
        notebook.show_cell("LatentExplorer(")
        yield notebook


@pytest.fixture
def explorer(notebook: OpenNotebook) -> Locator:
    explorer = notebook.page.locator(".vi-latent-explorer").first
    expect(explorer.get_by_role("slider").first).to_be_visible()
    return explorer


def test_every_movement_of_a_slider_changes_the_picture_and_arrives_in_python(notebook, explorer):
    slider, canvas = explorer.get_by_role("slider").first, explorer.get_by_role("img", name="decoded")
    dimension = int(slider.get_attribute("aria-label").split("]")[0].removeprefix("z["))
    latent = f"{EXPLORER}.z[{dimension}]"

    def position() -> float:
        return slider.evaluate("(slider) => slider.valueAsNumber")

    cells = notebook.cell_ids()
    slider.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "PageUp", "Home"):
        before, picture = position(), canvas_grey(canvas)
        notebook.page.keyboard.press(key)
        assert position() != before
        assert canvas_grey(canvas) != picture
        notebook.wait_for(latent, pytest.approx(position()))
    for stop in (0.4, 0.8):
        before, picture = position(), canvas_grey(canvas)
        drag(slider, [stop / 2, stop])
        assert position() != before
        assert canvas_grey(canvas) != picture
        notebook.wait_for(latent, pytest.approx(position()))
    notebook.page.keyboard.type("dd")
    assert notebook.cell_ids() == cells
    assert notebook.problems == []

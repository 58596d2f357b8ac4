"""The recipe of the playground's still in lecture 09: the first preset, trained in a page for some hundred steps.

``python -m tests.playground_still`` draws it anew and puts it into the notebook, in a minute; what it shows is what the
page came to. ``course execute`` leaves it as it is, because its cell has the tag ``own-still``.
"""

import io

from PIL import Image

from course_utils.coursework.author.stills import MARGIN, WIDTH, find_browser, put_still
from course_utils.coursework.source.notebooks import read_notebook, write_notebook
from course_utils.paths import NOTEBOOKS_DIR
from course_utils.widgets import Playground
from course_utils.widgets.library import send_library
from tests.browser.bare import show
from tests.browser.lab import headless_browser

PATH, STEPS = NOTEBOOKS_DIR / "09_variational_autoencoder.ipynb", 1500
# Less than other stills have: hundreds of codes, and images, take many bytes.
SCALE = 1.15


def main() -> None:
    playground = Playground()
    with headless_browser(find_browser()) as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": 1200}, device_scale_factor=SCALE)
        show(page, send_library("jax-js"))
        show(page, playground)
        page.add_style_tag(content=f"body {{ margin: {MARGIN}px }} {Playground._css}")
        page.get_by_role("button", name=playground.spec["presets"][0]["name"]).click()
        page.wait_for_function(
            f"Number(document.querySelector('.vi-readout td').textContent) >= {STEPS}", timeout=300_000
        )
        page.get_by_role("button", name="Pause").click()
        page.get_by_text("Paused after").wait_for()
        picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    notebook = read_notebook(PATH)
    (cell,) = (cell for cell in notebook.cells if cell.id == "playground")
    alt = f"{playground.spec['label']}. A still after {STEPS} steps; run the cell to train it."
    put_still(cell.outputs[0], picture, alt, SCALE)
    write_notebook(notebook, PATH)


if __name__ == "__main__":
    main()

"""What is common to the explorers with frames computed beforehand: Reset, values under the pointer, two values, drags, size."""

import ast
import re

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from course_utils.coursework.source.notebooks import read_notebook, source_notebooks
from course_utils.widgets import CurveExplorer, DensityExplorer
from tests.browser.bare import show, text_sizes

X, SCALES = np.linspace(-4, 4, 81), np.array([0.5, 1.0, 2.0])
CURVES = {"q": np.exp(-0.5 * (X / SCALES[:, None, None]) ** 2), "half": np.where(X > 0, X, np.nan)}
STEPS, GRID = np.arange(0, 50, 10), np.linspace(-3, 3, 60)
BUMPS = np.exp(-0.5 * ((GRID - 0.1 * STEPS[:, None, None]) ** 2 + (GRID[:, None] - 1) ** 2))


def curve_explorer(**options) -> CurveExplorer:
    bars = {"KL": SCALES[:, None]}
    sliders = {"scale of q, with a long name": SCALES, "shift": [0, 1]}
    return CurveExplorer(sliders, X, CURVES, bars=bars, level={"top": 3.0}, start={"shift": 0}, x_label="z", **options)


def density_explorer() -> DensityExplorer:
    distance = {"distance": np.sqrt(STEPS)}
    return DensityExplorer({"step": STEPS}, GRID, GRID, {"p": BUMPS[0], "q": BUMPS}, curve=distance, curve_x=STEPS)


def board(**options) -> DensityExplorer:
    """A density of which one slider goes along the horizontal axis, and another one has nothing to do with an axis."""
    sliders = {"angle": np.arange(0, 360, 15), "place": np.linspace(-2, 2, 9), "other": np.arange(3)}
    return DensityExplorer(sliders, GRID, GRID, {"empty": np.zeros((60, 60)), "q": BUMPS[0]}, **options)


@pytest.fixture
def draw(page: Page):
    """Return a function that shows an explorer with its style sheet."""
    page.set_viewport_size({"width": 1280, "height": 1000})

    def draw(explorer: CurveExplorer | DensityExplorer) -> Page:
        show(page, explorer)
        page.add_style_tag(content=explorer._css)
        return page

    return draw


def point_at(panel: Locator, right: float, up: float) -> tuple[float, float]:
    """Return where in the page a place lies in a panel, given in fractions of its width and height."""
    box = panel.bounding_box()
    return box["x"] + right * box["width"], box["y"] + (1 - up) * box["height"]


def line_of(page: Page) -> str:
    return page.locator(".vi-pointed > span").first.inner_text()


@pytest.mark.parametrize("explorer", [curve_explorer, density_explorer])
def test_reset_goes_back_to_where_python_started(draw, explorer):
    made = explorer()
    page = draw(made)
    page.get_by_role("slider").first.focus()
    page.keyboard.press("End")
    assert page.evaluate("model.get('position')") != made.position
    page.get_by_role("button", name="Reset").click()
    assert page.evaluate("model.get('position')") == made.position
    expect(page.get_by_role("slider").first).to_have_js_property("valueAsNumber", made.position[0])


def test_values_of_the_curves_under_the_pointer_are_those_of_the_arrays(draw):
    page = draw(curve_explorer())
    height = page.locator(".vi-explorer").bounding_box()["height"]
    panel = page.locator(".vi-room").first
    page.mouse.move(*point_at(panel, 0.6251, 0.5))  # nearest to the point 50 of 81, at 1
    assert line_of(page) == f"z: 1.000 · q: {np.exp(-0.5):.3f} · half: 1.000"
    # A pointer that rests reads what the slider draws under it.
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    assert line_of(page) == f"z: 1.000 · q: {np.exp(-0.125):.3f} · half: 1.000"
    page.mouse.move(*point_at(panel, 0.376, 0.1))
    assert line_of(page) == f"z: −1.000 · q: {np.exp(-0.125):.3f}"
    assert page.locator(".vi-explorer").bounding_box()["height"] == height
    expect(page.locator(".vi-pointed")).to_have_attribute("aria-hidden", "true")
    page.mouse.move(0, 0)
    assert line_of(page) == ""


def test_a_finger_reads_the_values_where_it_was_put_down(browser):
    context = browser.new_context(has_touch=True, viewport={"width": 400, "height": 900})
    page = context.new_page()
    show(page, curve_explorer())
    page.add_style_tag(content=CurveExplorer._css)
    page.touchscreen.tap(*point_at(page.locator(".vi-room").first, 0.6251, 0.5))
    assert line_of(page) == f"z: 1.000 · q: {np.exp(-0.5):.3f} · half: 1.000"
    context.close()


def test_values_under_the_pointer_are_those_of_densities_and_of_the_curve_beside_them(draw):
    page = draw(density_explorer())
    densities, curve = page.locator(".vi-room").all()
    column, row = 45, 33
    page.mouse.move(*point_at(densities, (column + 0.5) / 60, (row + 0.5) / 60))
    number = r"(−?[\d.]+)"
    found = re.fullmatch(
        rf"x: {number} · y: {number} · p: {number} % of its peak · q: {number} % of its peak", line_of(page)
    )
    x, y, p, q = (float(text.replace("−", "-")) for text in found.groups())
    assert (x, y) == (pytest.approx(GRID[column], abs=0.03), pytest.approx(GRID[row], abs=0.03))
    for percent, frame in ((p, BUMPS[0]), (q, BUMPS[2])):
        assert percent == pytest.approx(100 * frame[row, column] / frame.max(), abs=1)
    assert abs(p - q) > 5
    page.mouse.move(*point_at(curve, 0.74, 0.5))
    assert line_of(page) == f"step: 30 · distance: {np.sqrt(30):.3f}"


def test_where_nothing_is_shaded_no_shade_is_in_the_legend_and_none_is_read(draw):
    paths = {"wire": np.zeros((2, 2))}
    page = draw(DensityExplorer({"step": STEPS}, GRID, GRID, {"ground": np.zeros((60, 60))}, paths=paths))
    assert page.locator(".vi-key").all_inner_texts() == ["wire"]
    page.mouse.move(*point_at(page.locator(".vi-room"), 0.3, 0.3))
    assert line_of(page) == ""


def test_every_label_of_the_notebooks_fits_below_a_figure_on_a_phone(draw):
    labels = {
        node.value.value
        for path in source_notebooks()
        for cell in read_notebook(path).cells
        if cell.cell_type == "code" and "Explorer(" in cell.source
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.keyword) and node.arg == "x_label" and isinstance(node.value, ast.Constant)
    }
    assert len(labels) > 15
    page = draw(curve_explorer())
    page.set_viewport_size({"width": 344, "height": 900})
    label = page.locator(".vi-label").first
    expect(page.locator(".vi-plot")).to_have_attribute("viewBox", re.compile("^0 0 3[23]"))
    beyond = "(node, text) => (node.textContent = text, node.getBoundingClientRect().right - node.ownerSVGElement.getBoundingClientRect().right)"
    assert not [text for text in sorted(labels, key=len) if label.evaluate(beyond, text) > 0]


def test_the_darkest_colour_is_lighter_on_a_dark_page(draw):
    page = draw(curve_explorer())
    lines = [page.locator("path[data-name=q]"), page.locator(".vi-legend line").first]
    for theme, color in (("light", "rgb(0, 114, 178)"), ("dark", "rgb(47, 149, 211)")):
        page.evaluate("(theme) => (document.documentElement.dataset.theme = theme)", theme)
        for line in lines:
            expect(line).to_have_css("stroke", color)
    page.evaluate("delete document.documentElement.dataset.theme")


def test_two_values_are_two_buttons(draw):
    page = draw(curve_explorer())
    assert page.get_by_role("slider").count() == 1
    group = page.get_by_role("group", name="shift")
    buttons = [group.get_by_role("button", name=name, exact=True) for name in "01"]
    assert [node.get_attribute("aria-pressed") for node in buttons] == ["true", "false"]
    buttons[1].focus()
    page.keyboard.press("Enter")
    assert page.evaluate("model.get('position')") == [1, 1]
    assert [node.get_attribute("aria-pressed") for node in buttons] == ["false", "true"]
    page.evaluate("model.set('position', [1, 0])")
    assert [node.get_attribute("aria-pressed") for node in buttons] == ["true", "false"]


@pytest.mark.parametrize("width", [320, 400, 640, 760, 1600])
@pytest.mark.parametrize("explorer", [curve_explorer, density_explorer, board])
def test_text_is_large_enough_and_nothing_is_cut_off(draw, explorer, width):
    page = draw(explorer())
    page.set_viewport_size({"width": width, "height": 900})
    page.wait_for_function("() => document.querySelector('.vi-plot').getBoundingClientRect().width <= innerWidth")
    assert min(text_sizes(page)) >= 11
    assert page.locator(".vi-explorer").evaluate("(node) => node.scrollWidth <= node.clientWidth")
    # No two numbers of a row run into each other.
    overlaps = page.evaluate(
        """() => {
            const boxes = [...document.querySelectorAll(".vi-tick")].map((node) => node.getBoundingClientRect());
            const apart = (a, b) => a.right <= b.left || b.right <= a.left || Math.abs(a.top - b.top) > 2;
            return boxes.flatMap((a, i) => boxes.slice(i + 1).filter((b) => !apart(a, b))).length;
        }"""
    )
    assert overlaps == 0


def test_the_picture_stays_at_its_frame_when_the_page_becomes_narrow(draw):
    page = draw(density_explorer())
    page.evaluate("model.set('position', [4])")
    marker = page.locator(".vi-marker")
    before = marker.get_attribute("x1")
    page.set_viewport_size({"width": 400, "height": 900})
    expect(marker).not_to_have_attribute("x1", before)
    share = "(line) => line.x1.baseVal.value / line.ownerSVGElement.width.baseVal.value"
    assert marker.evaluate(share) == pytest.approx(1)
    page.get_by_role("slider").focus()
    page.keyboard.press("ArrowLeft")
    assert marker.evaluate(share) == pytest.approx(0.75, abs=0.001)


def test_a_drag_over_the_picture_moves_a_slider_across_it_and_another_one_with_the_pointer(draw):
    page = draw(board(drag=("angle", "place"), start={"angle": 90, "place": 0.0, "other": 1}))
    sheet = page.locator(".vi-room")
    page.mouse.move(*point_at(sheet, 0.5, 0.5))
    page.mouse.down()
    page.mouse.move(*point_at(sheet, 0.6, 0.5))
    # A tenth of the way through 24 angles; the axis is 6 high, so that a quarter of it is three of the steps of 0.5.
    assert page.evaluate("model.get('position')") == [8, 4, 1]
    page.mouse.move(*point_at(sheet, 0.6, 0.75))
    assert page.evaluate("model.get('position')") == [8, 7, 1]
    page.mouse.move(*point_at(sheet, -2, 0.25))
    assert page.evaluate("model.get('position')") == [0, 1, 1]
    page.mouse.up()
    page.mouse.move(*point_at(sheet, 0.9, 0.9))
    assert page.evaluate("model.get('position')") == [0, 1, 1]
    page.wait_for_function("() => saved.length > 0")


def test_a_drag_over_the_curves_moves_a_slider_with_the_pointer(draw):
    page = draw(curve_explorer(drag="scale of q, with a long name"))
    assert page.evaluate("model.get('position')") == [1, 0]
    sheet = page.locator(".vi-room").first
    expect(sheet).to_have_css("touch-action", "pan-y")  # a finger that goes up scrolls the page
    page.mouse.move(*point_at(sheet, 0.5, 0.5))
    page.mouse.down()
    # An eighth of the axis is a unit; from 0.5 to 2 there are two steps.
    page.mouse.move(*point_at(sheet, 0.5 + 0.9 / 8, 0.9))
    page.mouse.up()
    assert page.evaluate("model.get('position')") == [2, 0]
    expect(page.get_by_role("slider")).to_have_js_property("valueAsNumber", 2)


def test_without_drag_the_picture_moves_nothing(draw):
    page = draw(board())
    before = page.evaluate("model.get('position')")
    page.mouse.move(*point_at(page.locator(".vi-room"), 0.5, 0.5))
    page.mouse.down()
    page.mouse.move(*point_at(page.locator(".vi-room"), 0.9, 0.9))
    page.mouse.up()
    assert page.evaluate("model.get('position')") == before
    expect(page.locator(".vi-room")).not_to_have_class(re.compile("vi-handle"))
    assert "empty" not in line_of(page) and "q:" in line_of(page)

"""A prediction in the page: without a kernel, with one that comes later, and the next day."""

import json
from collections.abc import Iterator

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import Browser, Locator, Page, expect

from course_utils.widgets import predict
from course_utils.widgets.prediction import FILE
from tests.browser import bare

OPTIONS = ["it grows", "it shrinks", "it stays the same, as far as 1,000 draws can tell"]
ASK = f"""
from course_utils.widgets import came_true, predict
asked = predict("variance", "What does the variance do?", {OPTIONS}, then="The text that follows.")
asked
"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page with an address, and so a memory of its own, but without a kernel."""
    context = browser.new_context(viewport={"width": 320, "height": 700}, has_touch=True)
    context.route("**/*", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
    page = context.new_page()
    page.goto("http://course.test/00_start_here.html")
    yield page
    context.close()


def show(page: Page, **options) -> Locator:
    widget = predict("variance", "What does the `variance` do?", OPTIONS, then="The text that follows.", **options)
    bare.show(page, widget)
    page.add_style_tag(content=widget._css)
    return page.locator(".vi-prediction")


def percents(view: Locator) -> list[int]:
    return [field.evaluate("(field) => field.valueAsNumber") for field in view.get_by_role("spinbutton").all()]


def test_the_probabilities_always_add_up_to_one(page):
    view = show(page)
    assert percents(view) == [34, 33, 33]
    view.get_by_role("slider").first.focus()
    for key in ("ArrowRight", "ArrowRight", "End", "Home", "PageUp", "ArrowUp", "ArrowLeft"):
        page.keyboard.press(key)
        assert sum(percents(view)) == 100 and min(percents(view)) >= 1, percents(view)
    view.get_by_role("spinbutton").nth(1).fill("60")
    view.get_by_role("spinbutton").nth(1).blur()
    assert percents(view)[1] == 60 and sum(percents(view)) == 100
    view.get_by_role("spinbutton").nth(2).fill("250")
    page.keyboard.press("Enter")
    assert percents(view) == [1, 1, 98]


def test_going_there_and_back_keeps_the_proportions_of_the_others(page):
    view = show(page)
    view.get_by_role("spinbutton").nth(1).fill("50")
    page.keyboard.press("Tab")
    before = percents(view)
    slider = view.get_by_role("slider").first
    slider.focus()
    for value in (98, 3, 60, before[0]):
        slider.fill(str(value))
    assert percents(view) == before


def test_it_is_locked_without_a_kernel_and_kept_over_a_reload(page):
    view = show(page)
    expect(view.get_by_text("The text that follows.")).to_be_hidden()
    view.get_by_role("spinbutton").first.fill("80")
    page.keyboard.press("Tab")
    view.get_by_role("button", name="Lock in").tap()
    expect(view.get_by_text("The text that follows.")).to_be_visible()
    locked = page.evaluate("model.get('locked')")
    assert locked[0] == 0.8 and sum(locked) == pytest.approx(1)
    page.reload()
    view = show(page)
    expect(view.get_by_role("slider").first).to_be_disabled()
    assert page.evaluate("model.get('locked')") == locked and len(page.evaluate("saved")) == 1
    view.get_by_role("button", name="Reset").tap()
    expect(view.get_by_role("slider").first).to_be_enabled()
    page.reload()
    assert percents(show(page)) == [34, 33, 33]


def test_whoever_skips_reads_on_and_has_predicted_nothing(page):
    view = show(page)
    view.get_by_role("button", name="Skip").click()
    expect(view.get_by_text("The text that follows.")).to_be_visible()
    assert page.evaluate("model.get('locked')") == [] and page.evaluate("saved") == []


def test_it_fits_a_telephone_and_its_text_can_be_read(page):
    view = show(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    sizes = view.evaluate(
        "(root) => [...root.querySelectorAll('*')].map((node) => parseFloat(getComputedStyle(node).fontSize))"
    )
    assert min(sizes) >= 11
    for button in view.get_by_role("button").all():
        assert button.bounding_box()["height"] >= 24


def test_what_was_locked_in_reaches_the_work_folder_and_is_scored_there(lab, browser):
    """In JupyterLab: lock in, score, and the next day, in a new session and another browser, it is still there."""
    folder = lab.root / "work"
    folder.mkdir(exist_ok=True)
    (folder / ".course.json").write_text("{}")
    cells = [new_code_cell(ASK.strip()), new_code_cell("came_true('variance', 'it shrinks')")]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), folder / "42_predict.ipynb")
    with lab.notebook(browser, "work/42_predict.ipynb") as notebook:
        notebook.run_all()
        expect(notebook.page.get_by_text("No prediction was locked in")).to_be_visible()
        view = notebook.page.locator(".vi-prediction")
        view.get_by_role("spinbutton").nth(1).fill("70")
        notebook.page.keyboard.press("Tab")
        view.get_by_role("button", name="Lock in").click()
        notebook.wait_for("[round(100 * p) for p in asked.locked]", [15, 70, 15])
        notebook.run_all()
        expect(notebook.page.get_by_text("You gave it 70 %")).to_be_visible()
        assert notebook.problems == []
    ((key, entry),) = json.loads((folder / FILE).read_text(encoding="utf-8")).items()
    assert (key, entry["came_true"]) == ("42_predict/variance", "it shrinks")
    with lab.notebook(browser, "work/42_predict.ipynb") as notebook:
        notebook.run_all()
        expect(notebook.page.locator(".vi-prediction").get_by_role("slider").first).to_be_disabled()
        assert percents(notebook.page.locator(".vi-prediction")) == [15, 70, 15]

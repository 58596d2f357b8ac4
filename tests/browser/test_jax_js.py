"""jax-js in a page: brought once, one module for all explorers, and for a worker the same."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from course_utils.widgets.library import send_library
from course_utils.widgets.modules import page_module
from tests.browser.bare import show

IMPORT = """async (source) => {
    const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    return (await import(url)).default();
}"""
GRADIENT = """
const { numpy: np, grad } = jax;
const gradient = grad((x) => np.square(x).sum())(np.array([1, -2, 3])).js();
"""
IN_PAGE = f"""export default async () => {{ const jax = await loadJax(); {GRADIENT} return gradient; }}"""
IN_WORKER = f"""export default async () => {{
    const worker = await jaxWorker(`{GRADIENT} onmessage = () => postMessage(gradient);`);
    worker.postMessage("go");
    const {{ data }} = await new Promise((resolve) => (worker.onmessage = resolve));
    worker.terminate();
    return data;
}}"""
BROKEN = """export default async () => {
    try { await jaxWorker("jax.noSuchFunction();"); } catch (error) { return error.message; }
}"""


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()  # without an origin, as the strictest of pages
    show(page, send_library("jax-js"))
    yield page
    context.close()


@pytest.mark.parametrize("program", [IN_PAGE, IN_WORKER], ids=["page", "worker"])
def test_a_gradient(page, program):
    assert page.evaluate(IMPORT, f"{page_module('explorer.js')}\n{program}") == [2, -4, 6]


def test_a_worker_that_does_not_start_says_why(page):
    assert "noSuchFunction is not a function" in page.evaluate(IMPORT, f"{page_module('explorer.js')}\n{BROKEN}")


def test_all_explorers_of_a_page_share_one_module(page):
    program = f"{page_module('explorer.js')}\nexport default loadJax;"
    show(page, send_library("jax-js"))  # as a second notebook in the same page would
    both = f"async (source) => {{ const [a, b] = await Promise.all([source, source].map({IMPORT})); return a === b; }}"
    assert page.evaluate(both, program)


def test_an_explorer_that_comes_before_its_library_waits_for_it(browser):
    context = browser.new_context()
    page = context.new_page()
    page.evaluate(
        "(program) => { window.waiting = (" + IMPORT + ")(program); }", f"{page_module('explorer.js')}\n{IN_PAGE}"
    )
    show(page, send_library("jax-js"))
    assert page.evaluate("() => window.waiting") == [2, -4, 6]
    context.close()

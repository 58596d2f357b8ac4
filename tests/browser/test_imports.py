"""The explorers' JavaScript as the ES modules that an editor sees, and as the joined ones that a page gets."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from course_utils.widgets.modules import HERE, page_module
from tests.browser.served import served

FILES = sorted(path.name for path in HERE.glob("*.js"))
# What a file gives away when a browser imports it as it is, and when it imports the joined text.
NAMES = "async (address) => Object.keys(await import(address))"
JOINED = f"(text) => ({NAMES})(URL.createObjectURL(new Blob([text], {{ type: 'text/javascript' }})))"


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """A page beside the files, with jax-js where a worker has it."""
    context = browser.new_context()
    page = context.new_page()
    with served(HERE) as address:
        page.goto(address)
        page.evaluate("async () => { window.jax = await import('/vendor/jax-js/jax.js'); }")
        yield page
    context.close()


@pytest.mark.parametrize("name", FILES)
def test_a_file_finds_all_that_it_imports_and_joined_it_is_the_same(page, name):
    names = page.evaluate(NAMES, f"/{name}")
    assert names and set(names) <= set(page.evaluate(JOINED, page_module(name)))

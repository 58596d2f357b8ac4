"""Bytes and seconds of the site's pages, from this machine: the site is built (from the cache of explorers) and visited.

A page's bytes are all that the browser asks for until the page has loaded and one has scrolled past every explorer; its
seconds are those to the page's ``load`` event, the median over the rounds, in a fresh profile each time.
"""

import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, Response

from course_utils.coursework.author.site import build_site
from course_utils.coursework.author.stills import BROWSERS, find_browser
from tests.browser.lab import headless_browser
from tests.browser.served import served

ROUNDS = 3
MOST_BYTES, MOST_SECONDS = 3_000_000, 1.5


def run() -> list[tuple[str, str, str]]:
    """Return the rows of the table: what, measured, and how it compares."""
    executable = find_browser()
    if executable is None:
        raise RuntimeError(f"None of {', '.join(BROWSERS)} is on the PATH.")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        build_site(Path(folder, "site"))
        rows = [("course site, explorers cached", f"{time.perf_counter() - start:.0f} s", "")]
        with served(Path(folder, "site")) as address, headless_browser(executable) as browser:
            for page in sorted(Path(folder, "site").rglob("*.html")):
                name = page.relative_to(Path(folder, "site")).as_posix()
                seconds, loaded, scrolled = _visit(browser, f"{address}/{name}")
                measured = f"{seconds:.2f} s, {loaded / 1e6:.2f} MB, scrolled {scrolled / 1e6:.2f} MB"
                within = "yes" if seconds <= MOST_SECONDS and scrolled <= MOST_BYTES else "no"
                rows.append((name, measured, f"within {MOST_SECONDS} s and 3 MB: {within}"))
    return rows


def _visit(browser: Browser, address: str) -> tuple[float, int, int]:
    """Return the seconds until a page has loaded, and its bytes by then and after scrolling to its end."""
    all_seconds = []
    for _ in range(ROUNDS):
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        page = context.new_page()
        responses: list[Response] = []

        def keep(response: Response, into: list[Response] = responses) -> None:
            into.append(response)

        page.on("response", keep)
        page.goto(address, wait_until="load")
        timing = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventStart")
        all_seconds.append(timing / 1000)
        loaded = _bytes(responses)
        page.evaluate(
            """async () => {
                for (let top = 0; top < document.body.scrollHeight; top += 700) {
                    scrollTo(0, top);
                    await new Promise((resolve) => setTimeout(resolve, 40));
                }
            }"""
        )
        page.wait_for_load_state("networkidle")
        scrolled = _bytes(responses)
        context.close()
    return statistics.median(all_seconds), loaded, scrolled


def _bytes(responses: list[Response]) -> int:
    return sum(int(response.headers.get("content-length", 0)) for response in responses)

"""How fast the playground trains in a page, and how free the page stays meanwhile.

Run it from the course folder: ``python -m tests.benchmarks playground``. A bare page in a headless browser holds the
playground alone. Steps are counted over some seconds of training, those of the first second left out, because it
compiles; frames are those of the page in the same seconds. With the page's processor four times as slow, as the
developer tools would have it, the worker keeps its own speed: that row says how much the drawing costs.
"""

import statistics
import time

from playwright.sync_api import Page, sync_playwright

from course_utils.coursework.author.stills import BROWSERS, find_browser
from course_utils.widgets import Playground
from course_utils.widgets.library import send_library
from tests.browser.bare import show
from tests.browser.lab import BROWSER_OPTIONS

SECONDS, ROUNDS = 6, 3

FRAMES = """(seconds) => new Promise((resolve) => {
    const stepNow = () => Number(document.querySelector(".vi-readout td").textContent);
    const [begin, first] = [performance.now(), stepNow()];
    let frames = 0;
    const frame = () => {
        frames += 1;
        const spent = (performance.now() - begin) / 1000;
        if (spent < seconds) requestAnimationFrame(frame);
        else resolve([(stepNow() - first) / spent, frames / spent]);
    };
    requestAnimationFrame(frame);
})"""


def measure(page: Page, **settings) -> tuple[float, float]:
    """Return steps and frames a second."""
    page.evaluate("() => window.end?.()")
    show(page, Playground(**settings))
    page.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_function("Number(document.querySelector('.vi-readout td').textContent) > 20", timeout=120_000)
    page.wait_for_timeout(1000)
    return tuple(page.evaluate(FRAMES, SECONDS))


def run() -> list[tuple[str, str, str]]:
    """Return the rows of the table."""
    executable = find_browser()
    if executable is None:
        raise RuntimeError(f"This benchmark needs a browser: none of {', '.join(BROWSERS)} is on the PATH.")
    cases = {
        "28 × 28, 2 dimensions": {},
        "14 × 14, 2 dimensions": {"side": 14},
        "14 × 14, 10 dimensions, K = 50": {"side": 14, "latent_dim": 10, "num_samples": 50},
    }
    rows = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(BROWSER_OPTIONS))
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.add_style_tag(content=Playground._css)
        library, playground = send_library("jax-js"), Playground()
        show(page, library)
        paints = []
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            show(page, playground)
            page.evaluate("() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)))")
            paints.append(1000 * (time.perf_counter() - begin))
        rows.append(("playground: first paint, its data included", f"{statistics.median(paints):.0f} ms", ""))
        size = sum(map(len, (playground.pixels, playground._esm.encode(), playground.worker.encode(), library.packed)))
        rows.append(
            ("playground: bytes, images and library packed", f"{size / 1e6:.2f} MB", f"{len(library.packed):,} library")
        )
        for name, settings in cases.items():
            results = [measure(page, **settings) for _ in range(ROUNDS)]
            steps, frames = (statistics.median(column) for column in zip(*results))
            goal = "goal: at least 100 steps" if name.startswith("28") else ""
            rows.append((f"playground: {name}", f"{steps:.0f} steps/s", f"{frames:.0f} frames/s; {goal}".rstrip("; ")))
        session = page.context.new_cdp_session(page)
        session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
        steps, frames = measure(page)
        rows.append(
            ("playground: the page 4 times as slow", f"{steps:.0f} steps/s", f"{frames:.0f} frames/s; goal: 30")
        )
        browser.close()
    return rows

"""Regression by hand in an empty page: its numbers are those of notebook 3's functions, and points obey the hand."""

import re

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from course_utils.widgets import RegressionExplorer
from tests.browser.bare import show, text_sizes
from tests.claims.cells import run_cells, take

X, Y = np.array([-0.8, -0.3, 0.1, 0.6, 0.9]), np.array([0.5, -0.4, 0.2, 1.1, -0.7])
SOLVE = """([points, degree, priorScale, noiseScale, places, noise]) => {
    const found = module.regression(points, degree, priorScale, noiseScale);
    return {
        ...found,
        predicted: places.map((x) => module.predictive(found, x)),
        drawn: places.map(module.drawnFunction(found, noise)),
    };
}"""


@pytest.fixture(scope="module")
def lecture():
    """The functions of notebook 3."""
    cells = ("setup", "imports", "ex-regression-answer", "features-code", "ex-evidence-answer")
    return run_cells("03_why_be_bayesian", *cells, yours=take)


@pytest.fixture
def shown(page: Page) -> Page:
    show(page, RegressionExplorer(X, Y))
    page.add_style_tag(content=RegressionExplorer._css)
    return page


def points_of(page: Page) -> np.ndarray:
    return np.array(page.evaluate("model.get('points')")).reshape(-1, 2)


def table_of(page: Page) -> list[str]:
    return [cell.inner_text().replace("\N{MINUS SIGN}", "-") for cell in page.get_by_role("cell").all()]


@pytest.mark.parametrize("degree", [0, 1, 3, 9])
@pytest.mark.parametrize("num", [0, 2, 40])
def test_posterior_prediction_and_evidence_are_those_of_the_notebook(shown, lecture, degree, num):
    rng = np.random.default_rng(num)
    x, y = rng.uniform(-1, 1, num), rng.normal(size=num)
    places, noise = np.linspace(-1, 1, 7), rng.normal(size=10)
    found = shown.evaluate(SOLVE, [np.stack([x, y], 1).tolist(), degree, 1.3, 0.25, places.tolist(), noise.tolist()])
    psi = lecture["polynomials"]
    mean, covariance = lecture["weights_posterior"](psi(x, degree), y, 1.3, 0.25)
    np.testing.assert_allclose(found["mean"], mean, atol=1e-4)
    centre, spread = lecture["predictive"](psi(places, degree), mean, covariance)
    np.testing.assert_allclose([each["mean"] for each in found["predicted"]], centre, atol=1e-4)
    np.testing.assert_allclose([each["scale"] for each in found["predicted"]], spread, atol=1e-4)
    evidence = lecture["log_evidence"](psi(x, degree), y, 1.3, 0.25) if num else 0
    assert found["logEvidence"] == pytest.approx(evidence, abs=1e-4)
    # A draw is the mean plus a root of the covariance times noise, so that the noise has this squared length.
    weights = np.linalg.lstsq(psi(np.linspace(-1, 1, 7), min(degree, 6)), np.array(found["drawn"]), rcond=None)[0]
    if degree < 6:
        off = weights - mean
        assert off @ np.linalg.inv(covariance) @ off == pytest.approx((noise[: degree + 1] ** 2).sum(), rel=1e-3)


def test_curve_band_bars_and_text_are_of_these_points(shown, lecture):
    psi, degree = lecture["polynomials"], 3
    evidences = np.array([lecture["log_evidence"](psi(X, d), Y, 1.0, 0.2) for d in range(10)])
    assert table_of(shown) == ["5", f"{evidences[degree]:.3f}", str(evidences.argmax())]
    heights = [
        shown.locator(f"rect[data-name='{d}']").evaluate(
            "(bar) => bar.height.baseVal.value / bar.ownerSVGElement.height.baseVal.value"
        )
        for d in range(10)
    ]
    np.testing.assert_allclose(heights, np.clip(1 + (evidences - evidences.max()) / 10, 0, 1), atol=0.002)
    hovered = shown.locator("rect.vi-room title").all_text_contents()
    nats = [f"{d}: {value:.2f}" for d, value in enumerate(evidences - evidences.max())]
    assert hovered == [text.replace("-0.00", "0.00").replace("-", "\N{MINUS SIGN}") for text in nats]
    mean, covariance = lecture["weights_posterior"](psi(X, degree), Y, 1.0, 0.2)
    places = np.linspace(-1, 1, 81)
    centre, spread = lecture["predictive"](psi(places, degree), mean, covariance)
    half = 1.6449 * np.hypot(spread, 0.2)

    def drawn(name: str) -> np.ndarray:
        path = shown.locator(f"path[data-name={name}]").first
        corners = np.array(re.findall(r"[ML](-?[\d.]+),(-?[\d.]+)", path.get_attribute("d")), float)
        return 3 - 6 * corners[:, 1] / path.evaluate("(path) => path.ownerSVGElement.height.baseVal.value")

    np.testing.assert_allclose(drawn("mean"), centre, atol=0.002)
    np.testing.assert_allclose(drawn("band"), [*(centre + half), *(centre - half)[::-1]], atol=0.002)


def middle(page: Page, x: float, y: float) -> tuple[float, float]:
    """Return where a place lies in the page."""
    box = page.locator("[data-name=sheet]").bounding_box()
    return box["x"] + box["width"] * (x + 1) / 2, box["y"] + box["height"] * (3 - y) / 6


def test_a_click_adds_a_drag_moves_and_a_drag_out_deletes(shown):
    shown.mouse.click(*middle(shown, 0.4, -1.5))
    np.testing.assert_allclose(points_of(shown)[-1], [0.4, -1.5], atol=0.02)
    assert table_of(shown)[0] == "6"
    before = table_of(shown)[1]
    shown.mouse.move(*middle(shown, 0.4, -1.5))
    shown.mouse.down()
    shown.mouse.move(*middle(shown, 0.2, 0.0))
    shown.mouse.move(*middle(shown, -0.5, 1.5))
    np.testing.assert_allclose(points_of(shown)[-1], [-0.5, 1.5], atol=0.02)
    assert table_of(shown)[1] != before
    expect(shown.get_by_role("status")).to_have_text(
        re.compile("^points 6, log-evidence, nats " + re.escape(before.replace("-", "−")))
    )
    shown.mouse.up()
    expect(shown.get_by_role("status")).not_to_have_text(re.compile(re.escape(before.replace("-", "−"))))
    shown.mouse.move(*middle(shown, -0.5, 1.5))
    shown.mouse.down()
    shown.mouse.move(*middle(shown, -0.5, 3.9))
    assert len(points_of(shown)) == 6 and points_of(shown)[-1, 1] == 3
    shown.mouse.up()
    np.testing.assert_array_equal(points_of(shown), np.stack([X, Y], 1))
    assert shown.locator("g.vi-handle").count() == 5


def test_keys_move_and_delete_a_point(shown):
    point = shown.get_by_role("button", name="point 2: x −0.30, y −0.40")
    point.focus()
    for key, place in (("ArrowUp", [-0.3, -0.38]), ("ArrowRight", [-0.28, -0.38]), ("Shift+ArrowDown", [-0.28, -0.48])):
        shown.keyboard.press(key)
        np.testing.assert_allclose(points_of(shown)[1], place, atol=1e-6)
    expect(shown.get_by_role("button", name="point 2: x −0.28, y −0.48")).to_be_focused()
    shown.keyboard.press("Delete")
    np.testing.assert_array_equal(points_of(shown), np.stack([X, Y], 1)[[0, 2, 3, 4]])
    shown.get_by_role("button", name="Add a point").click()
    expect(shown.get_by_role("button", name="point 5: x 0.00, y 0.00")).to_be_focused()
    shown.get_by_role("button", name="Clear").click()
    assert table_of(shown) == ["0", "0.000", "0"]
    shown.get_by_role("slider", name="degree").focus()
    shown.keyboard.press("End")
    shown.get_by_role("slider", name="noise scale").focus()
    shown.keyboard.press("ArrowRight")
    assert shown.evaluate("[model.get('degree'), model.get('noise_scale')]") == [9, 0.21]
    shown.get_by_role("button", name="Reset").click()
    np.testing.assert_array_equal(points_of(shown), np.stack([X, Y], 1))
    assert shown.evaluate("[model.get('degree'), model.get('noise_scale')]") == [3, 0.2]


def test_there_are_no_more_points_than_python_takes(shown):
    shown.evaluate("model.set('points', Array.from({ length: 60 }, (_, i) => [i / 60, 0]))")
    shown.get_by_role("button", name="Add a point").click()
    assert len(points_of(shown)) == 60


@pytest.mark.parametrize("width", [320, 1600])
def test_text_is_large_enough_and_nothing_is_cut_off(browser, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    show(page, RegressionExplorer(X, Y))
    page.add_style_tag(content=RegressionExplorer._css)
    assert min(text_sizes(page)) >= 11
    assert page.locator(".vi-explorer").evaluate("(node) => node.scrollWidth <= node.clientWidth")
    page.close()

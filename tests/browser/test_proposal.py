"""The proposal explorer in an empty page: what it weighs, and how q is dragged, by mouse, finger and keys."""

import re

import numpy as np
import pytest
import scipy.special
import scipy.stats
from playwright.sync_api import Page, expect

from course_utils.widgets import ProposalExplorer
from tests.browser.bare import show, text_sizes

START = [0.2, 0.4, 0.8, 0.6, -0.3]
DOSES, DEATHS = np.array([-2.0, -1.0, 0.0, 1.0]), np.array([0, 0, 1, 4])
# Weighs draws of any q with the page's own functions.
WEIGH = """([q, seed]) => {
    const { num_grid, axes, num_draws } = model.get("spec");
    const logJoint = module.interpolation(new Float32Array(model.get("log_joint").buffer), num_grid, axes);
    const drawn = module.weigh(module.normal(q), module.noiseOf(seed, num_draws), logJoint);
    return { ...drawn, ...module.estimates(drawn.logWeights) };
}"""


def dose_response(z):
    """Return the log-joint of the small model of notebook 4, but for a constant."""
    log_odds = np.exp(z[..., 1:]) * (DOSES - z[..., :1])
    return (DEATHS * log_odds - 5 * np.logaddexp(0, log_odds)).sum(-1) - 0.5 * (z**2).sum(-1)


def tilted(z):
    return -0.5 * (z[..., 0] ** 2 + z[..., 1] ** 2 - 1.6 * z[..., 0] * z[..., 1]) / 0.36


def explorer_of(log_joint, **changes) -> ProposalExplorer:
    return ProposalExplorer(
        log_joint, -4.0, **{"mean": START[:2], "scale": START[2:4], "correlation": START[4]} | changes
    )


def log_weights_of(log_joint, q, z):
    off = q[2] * q[3] * q[4]
    covariance = [[q[2] ** 2, off], [off, q[3] ** 2]]
    return log_joint(z) - scipy.stats.multivariate_normal(q[:2], covariance).logpdf(z)


@pytest.fixture
def shown(page: Page) -> Page:
    show(page, explorer_of(dose_response))
    page.add_style_tag(content=ProposalExplorer._css)
    return page


def q_of(page: Page) -> np.ndarray:
    return np.array(page.evaluate("model.get('q')"))


def table_of(page: Page) -> dict[str, float]:
    """Return the numbers that are to be read."""
    rows = page.get_by_role("row").all()
    texts = {row.locator("th").inner_text(): row.locator("td").inner_text() for row in rows}
    return {name: float(text.replace("\N{MINUS SIGN}", "-").split()[0]) for name, text in texts.items()}


def heights_of(page: Page) -> dict[str, float]:
    """Return the heights of the bars in the units of their axes."""
    spec = page.evaluate("model.get('spec')")
    heights = {}
    for name, (low, high) in {"log p̂": spec["bars_range"], "ELBO": spec["bars_range"], "ESS": [0, 1]}.items():
        share = page.locator(f"rect[data-name='{name}']").evaluate(
            "(bar) => bar.height.baseVal.value / bar.ownerSVGElement.height.baseVal.value"
        )
        heights[name] = low + share * (high - low)
    return heights


@pytest.mark.parametrize(("log_joint", "nats"), [(dose_response, 1e-3), (tilted, 1e-4)], ids=["notebook 4", "normal"])
def test_weights_are_those_of_numpy(page, log_joint, nats):
    """Near the posterior within 0.001 nats; a normal one exactly, but for the precision of float32."""
    show(page, explorer_of(log_joint))
    rng = np.random.default_rng(0)
    for seed in range(20):
        q = [*rng.uniform([0, 0.2], [0.8, 1]), *rng.uniform(0.3, 0.7, 2), rng.uniform(-0.8, 0.8)]
        found = page.evaluate(WEIGH, [q, seed])
        logs = log_weights_of(log_joint, q, np.stack([found["xs"], found["ys"]], 1))
        shares = scipy.special.softmax(logs)
        assert found["elbo"] == pytest.approx(logs.mean(), abs=nats)
        assert found["logEvidence"] == pytest.approx(scipy.special.logsumexp(logs) - np.log(200), abs=nats)
        assert found["effective"] == pytest.approx(1 / (shares**2).sum(), rel=5 * nats)
        np.testing.assert_allclose(found["shares"], shares, atol=nats)


def test_noise_is_standard_normal_and_the_same_for_the_same_seed(shown):
    noise, again, other = (
        np.array(shown.evaluate("(seed) => module.noiseOf(seed, 20000)", seed)) for seed in (3, 3, 4)
    )
    assert np.array_equal(noise, again) and not np.isclose(noise, other).any()
    for axis in noise.T:
        assert scipy.stats.kstest(axis, "norm").pvalue > 0.01
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.03


def test_what_is_read_and_drawn_is_what_the_draws_say(shown):
    found = shown.evaluate(WEIGH, [START, 0])
    read, heights = table_of(shown), heights_of(shown)
    assert read["ESS"] == pytest.approx(found["effective"], abs=0.051)
    assert read["log p̂"] == pytest.approx(found["logEvidence"], abs=6e-4)
    assert read["ELBO"] == pytest.approx(found["elbo"], abs=6e-4)
    assert read["log p(x)"] == -4
    assert heights["log p̂"] == pytest.approx(found["logEvidence"], abs=0.01)
    assert heights["ELBO"] == pytest.approx(found["elbo"], abs=0.01)
    assert heights["ESS"] == pytest.approx(found["effective"] / 200, abs=0.001)
    radii = np.array([float(dot.get_attribute("r")) for dot in shown.locator(".vi-plot circle.vi-draw").all()])
    np.testing.assert_allclose(
        (radii - 0.5) ** 2 / (radii - 0.5).max() ** 2, np.divide(found["shares"], max(found["shares"])), atol=0.02
    )
    dot = shown.locator(".vi-plot circle.vi-draw").nth(int(np.argmax(found["shares"])))
    dot.dispatch_event("pointerenter")
    assert dot.locator("title").text_content() == f"{100 * max(found['shares']):.2f} % of all weights"


def handle_place(page: Page, number: int) -> np.ndarray:
    box = page.locator(".vi-grip").nth(number).bounding_box()
    return np.array([box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])


def pixels_per_unit(page: Page) -> np.ndarray:
    box = page.locator(".vi-layers > .vi-heat").bounding_box()
    return np.array([box["width"], -box["height"]]) / 6


def pull(page: Page, number: int, by: list[float], off: float = 3.0) -> None:
    """Drag a handle, seized a little beside its middle, by so many units of the axes."""
    begin = handle_place(page, number) + off
    end = begin + pixels_per_unit(page) * by
    page.mouse.move(*begin)
    page.mouse.down()
    page.mouse.move(*(begin + end) / 2)
    page.mouse.move(*end)


def test_the_handles_set_mean_scales_and_tilt(shown):
    pull(shown, 0, [0.5, -0.9])
    shown.mouse.up()
    moved = q_of(shown)
    np.testing.assert_allclose(moved, np.add(START, [0.5, -0.9, 0, 0, 0]), atol=0.02)
    # The first column of the root of the covariance, the second kept.
    rest = moved[3] * np.sqrt(1 - moved[4] ** 2)
    pull(shown, 1, [-0.3, 0.6])  # it stands on the left of the mean, which is right of the middle
    shown.mouse.up()
    scale, column = moved[2] + 0.3, moved[3] * moved[4] - 0.6
    np.testing.assert_allclose(
        q_of(shown)[2:], [scale, np.hypot(column, rest), column / np.hypot(column, rest)], atol=0.02
    )
    before = q_of(shown)
    pull(shown, 2, [0.4, -0.2])  # moves up and down only
    shown.mouse.up()
    column, now = before[3] * before[4], q_of(shown)
    np.testing.assert_allclose(now[:3], before[:3])
    # Below the middle of the picture it would stand above the mean, and here it does.
    assert now[3] * np.sqrt(1 - now[4] ** 2) == pytest.approx(before[3] * np.sqrt(1 - before[4] ** 2) - 0.2, abs=0.02)
    assert now[3] * now[4] == pytest.approx(column, abs=0.01)


def test_draws_move_with_q_and_no_handle_leaves_its_limits(shown):
    def places() -> np.ndarray:
        return np.array(
            shown.evaluate(
                "[...document.querySelectorAll('.vi-plot circle.vi-draw')].map((d) => [d.cx, d.cy].map((c) => c.baseVal.value))"
            )
        )

    before = places()
    pull(shown, 0, [0.6, 0.3])
    shown.mouse.up()
    moved = q_of(shown)[:2] - START[:2]
    np.testing.assert_allclose(places() - before, np.tile(250 / 6 * moved * [1, -1], (200, 1)), atol=0.11)
    for number in (0, 1, 2):
        pull(shown, number, [9, 9])
        shown.mouse.up()
    q, limits = q_of(shown), np.array(shown.evaluate("model.get('spec').limits"))
    assert ((limits[:, 0] <= q) & (q <= limits[:, 1])).all()
    assert np.isfinite(list(table_of(shown).values())).all()


def test_where_handles_stand_close_together_one_drags_the_nearest(shown):
    for number, by in ((0, [0.5, -0.5]), (1, [0.3, 0]), (2, [0, 0.3])):
        shown.evaluate("model.set('q', [-1, 0, 0.2, 0.2, 0])")
        pull(shown, number, by, off=0.0)
        shown.mouse.up()
        expected = {0: [-0.5, -0.5, 0.2, 0.2, 0], 1: [-1, 0, 0.5, 0.2, 0], 2: [-1, 0, 0.2, 0.5, 0]}[number]
        np.testing.assert_allclose(q_of(shown), expected, atol=0.03)


def test_a_finger_drags_too_and_does_not_scroll_the_page(browser):
    context = browser.new_context(has_touch=True, viewport={"width": 340, "height": 700})
    page = context.new_page()
    show(page, explorer_of(dose_response))
    page.add_style_tag(content=ProposalExplorer._css)
    session = context.new_cdp_session(page)
    begin = handle_place(page, 0) + np.array([12, 0])  # beside the visible circle, within its room
    for kind, by in (("touchStart", 0), ("touchMove", 15), ("touchMove", 40)):
        points = [{"x": begin[0], "y": begin[1] + by}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expected = START[1] + 40 / pixels_per_unit(page)[1]
    assert q_of(page)[:2] == pytest.approx([START[0], expected], abs=0.02)
    assert page.evaluate("scrollY") == 0
    context.close()


def test_keys_move_each_number_and_the_buttons_undo(shown):
    for i, name in enumerate(["mean of z₁", "mean of z₂", "scale of z₁", "scale of z₂", "correlation"]):
        before, slider = q_of(shown), shown.get_by_role("slider", name=name)
        slider.focus()
        shown.keyboard.press("ArrowRight")
        np.testing.assert_allclose(q_of(shown) - before, 0.01 * (np.arange(5) == i), atol=1e-9)
        expect(slider).to_have_attribute("aria-valuetext", f"{q_of(shown)[i]:.2f}".replace("-", "\N{MINUS SIGN}"))
    read = table_of(shown)
    shown.get_by_role("button", name="New draws").click()
    assert shown.evaluate("model.get('seed')") == 1
    assert table_of(shown)["ELBO"] != read["ELBO"]
    shown.get_by_role("button", name="Reset").click()
    assert q_of(shown).tolist() == START and shown.evaluate("model.get('seed')") == 0
    assert table_of(shown)["ELBO"] == pytest.approx(shown.evaluate(WEIGH, [START, 0])["elbo"], abs=6e-4)


def test_a_change_is_announced_once_when_the_handle_is_let_go(shown):
    status = shown.get_by_role("status")
    pull(shown, 0, [0.5, 0.5])
    expect(status).to_have_text("")
    shown.mouse.up()
    expect(status).to_have_text(re.compile(r"^ESS [\d.]+ of 200, log p̂ −[\d.]+, ELBO −[\d.]+, log p\(x\) −4\.000$"))


@pytest.mark.parametrize("width", [320, 1600])
def test_text_is_large_enough_and_nothing_is_cut_off(browser, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    show(page, explorer_of(dose_response))
    page.add_style_tag(content=ProposalExplorer._css)
    assert min(text_sizes(page)) >= 11
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    explorer = page.locator(".vi-explorer")
    assert explorer.evaluate("(node) => node.scrollWidth <= node.clientWidth")
    page.close()

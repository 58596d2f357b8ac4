"""The race up the ELBO in an empty page: programs and gradients against JAX, and what can be done to it."""

import re
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from jax.scipy.stats import norm
from playwright.sync_api import Browser, Page, expect

from course_utils.bounds import score_function_elbo, sticking_the_landing_elbo
from course_utils.widgets import AscentExplorer
from course_utils.widgets.ascent_explorer import ESTIMATORS
from course_utils.widgets.library import send_library
from course_utils.widgets.program import PRIMITIVES, page_program
from tests.browser.bare import show, text_sizes
from tests.claims.cells import run_cells

LOG_NORMALISERS = {"banana": np.log(np.pi / 2), "funnel": np.log(np.pi / 2), "ring": 2.498}
KEY = jax.random.key(0)  # not used: the noise is given
MATRIX = np.array([[1.0, 0.3], [-0.2, 2.0]])
# Between them these take every step that the page knows.
FUNCTIONS = {
    "arithmetic": lambda z: (z[0] + z[1] * 2 - z[0] / (3 + z[1] ** 2)) ** 3 + (z**-2).sum() - jax.lax.square(z[0]),
    "elementary": lambda z: (
        jnp.exp(z) + jnp.sin(z) * jnp.cos(z) + jnp.tanh(z) + jax.nn.sigmoid(z) + jnp.expm1(z) - jnp.log1p(z**2)
    ).sum(),
    "roots": lambda z: (
        jnp.sqrt(1 + z[0] ** 2) + jax.lax.rsqrt(1 + z[1] ** 2) + (1 + z[0] ** 2) ** z[1] + jnp.log(2 + z[1])
    ),
    "choices": lambda z: (
        jnp.where(z > 0, z, 2 * z)
        + jnp.where(z < 0.1, 1, z)
        + jnp.where(z >= 0.2, z, 3)
        + jnp.where(z <= 0.3, z, z**2)
        + jnp.where(z == 0, 1, z)
        + (z > 0.4) * z
    ).sum(),
    "extremes": lambda z: (
        jnp.maximum(z[0], z[1]) * jnp.abs(z).max() + jnp.minimum(z[0], 0.5) - z.min() + jnp.sign(z[0]) * z[1]
    ),
    "shapes": lambda z: (jnp.concatenate([z, z[::1]]).reshape(2, 2).T @ MATRIX * z[:, None]).sum(),
    "library": lambda z: jax.nn.logsumexp(norm.logpdf(z, np.array([[1.0, 0.0], [-1.0, 2.0]]), 0.5).sum(-1)),
    "held": lambda z: jnp.logaddexp(z[0], z[1]) * jax.lax.stop_gradient(z[1]),
}
RUN = """async ([program, points]) => {
    const jax = await module.loadJax();
    const { numpy: np, vmap, grad } = jax;
    const f = vmap(module.runnable(program, jax));
    return { values: f(np.array(points)).js(), gradients: grad((z) => f(z).sum())(np.array(points)).js() };
}"""
CLIMB = """async ([program, phis, noise]) => {
    const jax = await module.loadJax();
    const { gradients } = module.ascentOf(jax, module.runnable(program, jax));
    return phis.map((phi) => Object.fromEntries(
        Object.entries(gradients).map(([name, gradient]) => [name, gradient(phi, noise)])));
}"""


@pytest.fixture(scope="module")
def targets() -> dict[str, Callable]:
    """The targets of notebook 6, as they stand there."""
    cell = run_cells("06_stochastic_variational_inference", "setup", "target-code")
    return {name: cell[name] for name in LOG_NORMALISERS}


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    show(page, send_library("jax-js"))
    yield page
    context.close()


@pytest.fixture
def race(page: Page, targets) -> Page:
    """A page with the explorer, ready to take steps."""
    show(page, AscentExplorer(targets, LOG_NORMALISERS))
    page.add_style_tag(content=AscentExplorer._css)
    expect(page.get_by_role("button", name="Play")).to_be_enabled()
    return page


def history(page: Page) -> np.ndarray:
    """Return what has happened: [2, steps, 6]."""
    return np.array(page.evaluate("model.get('history')"))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_program_and_its_gradient_are_those_of_jax(race, name):
    points = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    found = race.evaluate(RUN, [page_program(FUNCTIONS[name], 2), points.tolist()])
    f = FUNCTIONS[name]
    np.testing.assert_allclose(found["values"], jax.vmap(f)(points), rtol=1e-4, atol=1e-4)
    expected = np.asarray(jax.vmap(jax.grad(f))(points))
    np.testing.assert_allclose(found["gradients"], expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_every_step_that_the_page_knows_is_tried():
    used = {step["primitive"] for f in FUNCTIONS.values() for step in page_program(f, 2)["steps"]}
    assert used == set(PRIMITIVES)


class Tilted:
    """A normal with a tilt, which draws from noise that it was given."""

    def __init__(self, phi, noise):
        scale = jnp.exp(phi["logScale"])
        self.mean, self.noise = phi["mean"], noise
        self.root = jnp.diag(scale) + jnp.array([[0.0, 0.0], [1.0, 0.0]]) * phi["tilt"]

    def sample(self, key, num_samples):
        return self.mean + self.noise @ self.root.T

    def log_prob(self, z):
        noise = jax.scipy.linalg.solve_triangular(self.root, (z - self.mean).T, lower=True)
        return norm.logpdf(noise).sum(0) - jnp.log(jnp.diag(self.root)).sum()


jax.tree_util.register_pytree_node(
    Tilted,
    lambda q: ((q.mean, q.noise, q.root), None),
    lambda _, parts: _rebuilt(*parts),
)


def _rebuilt(mean, noise, root):
    q = object.__new__(Tilted)
    q.mean, q.noise, q.root = mean, noise, root
    return q


def expected_gradient(name, log_joint, phi, noise):
    def bound(phi):
        q = Tilted(phi, noise)
        if name == "reparameterised":  # with the entropy in closed form
            return log_joint(q.sample(KEY, len(noise))).mean() + phi["logScale"].sum()
        if name == "sticking the landing":
            return sticking_the_landing_elbo(log_joint, q, KEY, len(noise))
        return score_function_elbo(log_joint, q, KEY, len(noise), baseline=name == "with baseline")

    return jax.grad(bound)(jax.tree.map(jnp.asarray, phi, is_leaf=lambda leaf: isinstance(leaf, list)))


@pytest.mark.parametrize("target", LOG_NORMALISERS)
def test_gradients_are_those_of_the_course(race, targets, target):
    rng = np.random.default_rng(1)
    phis = [
        {"mean": rng.normal(size=2).tolist(), "logScale": rng.uniform(-1, 0.2, 2).tolist(), "tilt": tilt}
        for tilt in (0.0, 0.7, -0.4)
    ]
    noise = rng.normal(size=(7, 2)).astype(np.float32)
    found = race.evaluate(CLIMB, [page_program(targets[target], 2), phis, noise.tolist()])
    for phi, of_page in zip(phis, found):
        assert list(of_page) == list(ESTIMATORS)
        for name, gradient in of_page.items():
            expected = expected_gradient(name, targets[target], phi, noise)
            for part, values in gradient.items():
                np.testing.assert_allclose(values, expected[part], rtol=1e-4, atol=1e-4)


def test_the_elbo_that_is_shown_is_that_of_a_grid(race, targets):
    """Log-scales of -1 and no tilt: the start of notebook 6."""
    axis = np.linspace(-8, 8, 641)
    grid = np.stack(np.meshgrid(axis, axis), -1)
    for name, nats in (("banana", 1e-3), ("funnel", 1e-3), ("ring", 0.02)):
        race.get_by_role("combobox", name="target").select_option(name)
        for mean1, mean2, log_scale1, log_scale2, _, shown in history(race)[:, 0]:
            log_q = norm.logpdf(grid, np.array([mean1, mean2]), np.exp([log_scale1, log_scale2])).sum(-1)
            log_q = np.asarray(log_q, np.float64)
            log_p = np.asarray(targets[name](grid), np.float64)
            q = scipy.special.softmax(log_q)
            assert shown == pytest.approx((q * (log_p - log_q)).sum(), abs=nats)


def test_step_goes_along_the_gradient(race):
    """The page's own noise: the first step of each with the settings of the start."""
    before = history(race)
    race.get_by_role("button", name="Step").click()
    after = history(race)
    assert after.shape == (2, 2, 6)
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    spec = race.evaluate("model.get('spec')")
    noise = race.evaluate("module.noiseOf(1001, 50)")[:10]
    program = spec["targets"][0]["program"]
    for run, name in enumerate(("score function", "reparameterised")):
        phi = {"mean": before[run, 0, :2].tolist(), "logScale": before[run, 0, 2:4].tolist(), "tilt": 0.0}
        gradient = race.evaluate(CLIMB, [program, [phi], noise])[0][name]
        expected = before[run, 0, :4] + 0.03 * np.array([*gradient["mean"], *gradient["logScale"]])
        np.testing.assert_allclose(after[run, 1, :4], expected, rtol=1e-5)
        assert after[run, 1, 4] == 0, "an independent q has no tilt"


def test_play_pause_and_reset(race):
    play = race.get_by_role("button", name="Play")
    width = play.bounding_box()["width"]
    play.click()
    assert race.get_by_role("button", name="Pause").bounding_box()["width"] == width, "what stands beside it moves"
    race.wait_for_function("() => model.get('history')[0].length > 20")
    race.get_by_role("button", name="Pause").click()
    reached = history(race)
    race.wait_for_timeout(150)
    np.testing.assert_array_equal(history(race), reached)
    assert (reached[:, -1, 5] > reached[:, 0, 5] + 1).all(), "they have not climbed"
    status = race.get_by_role("status").last
    expect(status).to_have_text(re.compile(rf"^step {reached.shape[1] - 1}, ELBO of q 1 −?[\d.]+, .*log Z 0.452$"))
    paths = [path.get_attribute("d") for path in race.locator(".vi-curves path[stroke^='#']").all()]
    assert [path.count("L") for path in paths] == [reached.shape[1] - 1] * 2
    race.get_by_role("button", name="Reset").click()
    again = history(race)
    np.testing.assert_array_equal(again, reached[:, :1])
    race.get_by_role("button", name="Step").click()
    np.testing.assert_allclose(history(race), reached[:, :2], err_msg="the same noise gives another race")
    race.get_by_role("button", name="New noise").click()
    race.get_by_role("button", name="Step").click()
    assert (np.abs(history(race) - reached[:, :2])[:, 1, :4] > 1e-6).all()


def test_settings_are_chosen_by_keys_and_a_full_q_tilts(race):
    family = race.get_by_role("combobox", name="family of q 2")
    family.focus()
    race.keyboard.press("ArrowDown")
    expect(family).to_have_value("full")
    race.get_by_role("combobox", name="K of q 1").select_option("50")
    settings = race.evaluate("model.get('settings')")
    assert settings[1]["family"] == "full" and settings[0]["K"] == 50
    race.get_by_role("button", name="Step").click()
    tilts = history(race)[:, 1, 4]
    assert tilts[0] == 0 and tilts[1] != 0
    race.evaluate("model.set('settings', model.get('settings').map((s) => ({ ...s, K: 2 })))")
    expect(race.get_by_role("combobox", name="K of q 2")).to_have_value("2")


def test_a_mean_that_is_dragged_climbs_from_there(race):
    race.get_by_role("button", name="Step").click()
    box = race.locator(".vi-grip").first.bounding_box()
    race.mouse.move(box["x"] + 5, box["y"] + 5)
    race.mouse.down()
    race.mouse.move(box["x"] + 5, box["y"] + 65)
    race.mouse.up()
    side = race.locator(".vi-layers > .vi-heat").bounding_box()["height"]
    before = history(race)
    assert before.shape[1] == 1, "the step before is kept"
    race.get_by_role("button", name="Reset").click()
    start = history(race)
    race.get_by_role("button", name="Step").click()
    assert before[0, 0, 1] == pytest.approx(history(race)[0, 1, 1] - 60 * 8 / side, abs=0.02)
    assert before[0, 0, 5] != start[0, 0, 5]


def test_arrow_keys_move_a_mean(race):
    race.get_by_role("button", name="Step").click()
    race.get_by_role("button", name="Reset").click()
    start = history(race)
    grip = race.get_by_role("button", name="mean of q 2: z₁ ")
    grip.focus()
    assert grip.locator("title").text_content() == grip.get_attribute("aria-label")  # which the mouse sees
    for key in ("ArrowRight", "Shift+ArrowUp"):
        race.keyboard.press(key)
    np.testing.assert_allclose(history(race)[1, 0, :2], start[1, 0, :2] + [0.05, 0.25], atol=1e-9)
    np.testing.assert_array_equal(history(race)[0], start[0])
    z1, z2 = history(race)[1, 0, :2]
    expect(grip).to_have_attribute(
        "aria-label", f"mean of q 2: z₁ {z1:.2f}, z₂ {z2:.2f}".replace("-", "\N{MINUS SIGN}")
    )
    assert (
        f"ELBO of q 2 {history(race)[1, 0, 5]:.3f}".replace("-", "\N{MINUS SIGN}")
        in race.locator(".vi-announcer").inner_text()
    )


def test_a_step_out_of_all_bounds_is_refused_in_one_sentence(race):
    race.evaluate("model.set('history', model.get('history').map(([[a, b, c, d, e, f]]) => [[a, b, 200, d, e, f]]))")
    race.get_by_role("button", name="Play").click()
    expect(race.get_by_text("The next step of q 1 would leave all bounds: choose a smaller step size")).to_be_visible()
    expect(race.get_by_role("button", name="Play")).to_be_visible()
    assert history(race).shape[1] == 1


def test_it_ends_after_its_last_step(race):
    last = race.evaluate("model.get('spec').max_steps")
    race.evaluate(f"model.set('history', model.get('history').map(([entry]) => new Array({last}).fill(entry)))")
    race.get_by_role("button", name="Play").click()
    expect(race.get_by_role("button", name="Play")).to_be_visible()
    race.wait_for_function(f"() => model.get('history')[0].length === {last + 1}")
    race.get_by_role("button", name="Step").click()
    assert history(race).shape[1] == last + 1


def test_without_the_library_the_start_is_drawn(browser, targets):
    page = browser.new_page(viewport={"width": 320, "height": 900})
    show(page, AscentExplorer(targets, LOG_NORMALISERS))
    page.add_style_tag(content=AscentExplorer._css)
    expect(page.get_by_role("button", name="Play")).to_be_disabled()
    assert page.locator(".vi-plane-explorer g[transform^=matrix]").count() == 2
    assert min(text_sizes(page)) >= 11
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.close()

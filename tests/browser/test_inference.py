"""The inference explorer in an empty page: its bound and gradients against JAX, and what painting does to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from playwright.sync_api import Page, expect

from course_utils.bounds import DiagonalNormal
from course_utils.models import VAE
from course_utils.widgets import InferenceExplorer
from course_utils.widgets.exported import ACTIVATIONS
from course_utils.widgets.inference_explorer import MAX_TRAINING, masked_elbo
from course_utils.widgets.library import send_library
from tests.browser.bare import show

HEIGHT, WIDTH, LATENT = 8, 6, 5
IMAGES = np.random.default_rng(0).binomial(1, 0.4, (30, HEIGHT, WIDTH)).astype(np.float32)
HIDDEN = np.arange(HEIGHT * WIDTH) >= 24
# What the page computes for a q, noise, an image and a mask.
BOUND = """async ([q, noise, x, seen]) => {
    const floats = (values) => Float32Array.from(values);
    const jax = await courseLibraries.get("jax-js").module;
    const bound = module.maskedBound(jax, model.get("spec").decoder, new Float32Array(model.get("decoder").buffer));
    const given = [{ mean: floats(q[0]), logScale: floats(q[1]) }, floats(noise), floats(x), floats(seen)];
    return [bound.value(...given), bound.gradient(...given).map((each) => [...each])];
}"""


def make_vae(activation=nnx.silu, scale=2.5) -> VAE:
    vae = VAE(LATENT, data_dim=HEIGHT * WIDTH, hidden=(13, 9), activation=activation, rngs=nnx.Rngs(0))
    for layer in [*vae.decoder.layers, vae.encoder.network.layers[0]]:
        layer.kernel[...] = scale * layer.kernel[...]
        layer.bias[...] = 0.3 * jax.random.normal(jax.random.key(1), layer.bias.shape)
    return vae


@pytest.fixture(scope="module")
def vae() -> VAE:
    return make_vae()


@pytest.fixture
def shown(page: Page, vae: VAE) -> Page:
    """The explorer with its lower half hidden and q at the prior, ready to step."""
    explorer = InferenceExplorer(
        vae, IMAGES, labels=range(30), training=(IMAGES, range(30)), hidden=HIDDEN, from_prior=True
    )
    return ready(page, explorer)


def ready(page: Page, explorer: InferenceExplorer) -> Page:
    show(page, send_library("jax-js"))
    show(page, explorer)
    page.add_style_tag(content=explorer._css)
    expect(page.get_by_role("button", name="Step")).to_be_enabled(timeout=60_000)
    return page


def q_of(page: Page) -> DiagonalNormal:
    return DiagonalNormal(*np.array(page.evaluate("model.get('q')")))


def painted(page: Page) -> np.ndarray:
    return np.array(list(page.evaluate("model.get('paint')"))).reshape(HEIGHT, WIDTH)


def truth(vae: VAE, page: Page) -> dict[str, float]:
    """Return both bounds as JAX has them, for what the page shows."""
    paint = painted(page).ravel()
    x, seen = (paint == "1").astype(np.float32), paint != "?"
    noise = np.random.default_rng(0).standard_normal((16, LATENT), np.float32)
    qs = {"encoder": vae.encode(jnp.asarray(x)), "q": q_of(page)}
    return {name: float(masked_elbo(vae, x, seen, q, noise)) for name, q in qs.items()}


def assert_bounds(vae: VAE, page: Page) -> None:
    assert page.evaluate("model.get('bounds')") == pytest.approx(truth(vae, page), rel=1e-4)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_masked_elbo_and_its_gradient_are_those_of_jax(page, name):
    vae = make_vae(ACTIVATIONS[name])
    ready(page, InferenceExplorer(vae, IMAGES))
    rng = np.random.default_rng(2)
    mean, log_scale, noise = rng.normal(size=LATENT), rng.normal(-0.5, 0.4, LATENT), rng.normal(size=(4, LATENT))
    x, seen = IMAGES[3].ravel(), rng.uniform(size=HEIGHT * WIDTH) < 0.6

    def elbo(mean, log_scale):
        z = mean + jnp.exp(log_scale) * noise
        each = jnp.where(seen, vae.decoder(z) * x - jnp.logaddexp(vae.decoder(z), 0), 0)
        kl = 0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale)
        return each.sum(1).mean() - kl.sum()

    given = jnp.float32(mean), jnp.float32(log_scale)
    value, gradient = jax.value_and_grad(elbo, argnums=(0, 1))(*given)
    numbers = [[mean.tolist(), log_scale.tolist()], noise.ravel().tolist(), x.tolist(), seen.astype(int).tolist()]
    found_value, found_gradient = page.evaluate(BOUND, numbers)
    assert found_value == pytest.approx(float(value), rel=1e-4)
    np.testing.assert_allclose(found_gradient, gradient, rtol=1e-4, atol=1e-4)


def test_a_logit_of_hundreds_has_a_finite_bound_and_gradient(page):
    vae = make_vae()
    vae.decoder.layers[-1].bias[...] = 300.0
    ready(page, InferenceExplorer(vae, np.zeros((1, HEIGHT, WIDTH))))
    numbers = [[[0.0] * LATENT] * 2, [0.0] * LATENT, [0] * 48, [1] * 48]
    value, gradient = page.evaluate(BOUND, numbers)
    logits = vae.decoder(jnp.zeros(LATENT))
    assert value == pytest.approx(-float(jnp.logaddexp(logits, 0).sum()), rel=1e-4) and value < -10_000
    assert np.isfinite(gradient).all() and np.abs(gradient[0]).max() > 0.1


def test_what_python_sent_is_what_the_page_computes(vae, page):
    explorer = InferenceExplorer(vae, IMAGES, hidden=HIDDEN)
    sent = dict(explorer.bounds)
    ready(page, explorer)
    assert page.evaluate("model.get('bounds')") == pytest.approx(sent, rel=1e-5)
    np.testing.assert_allclose(q_of(page), explorer.q, rtol=1e-4, atol=1e-5)
    assert sent["encoder"] == sent["q"]


def test_steps_are_those_of_adam_up_the_gradient(page):
    """The first is the rate times the sign, whatever the gradient's size."""
    page.set_content("")
    ready(page, InferenceExplorer(make_vae(), IMAGES))
    start, gradient = [0.5, -1.0], [3.0, -0.2]
    found = page.evaluate(
        """([mean, gradient]) => {
            const step = module.adamClimb(2);
            let q = { mean, logScale: mean };
            const path = [];
            for (let t = 0; t < 200; t++) path.push((q = step(q, [gradient, gradient])).mean);
            return path;
        }""",
        [start, gradient],
    )
    rates = 0.05 * (1 + np.cos(np.pi * np.arange(200) / 200))
    np.testing.assert_allclose(found, start + np.cumsum(rates)[:, None] * np.sign(gradient), atol=1e-6)


def test_a_step_climbs_play_ends_after_two_hundred_and_reset_goes_back(vae, shown):
    start = shown.evaluate("[model.get('q'), model.get('bounds').q, model.get('paint')]")
    assert_bounds(vae, shown)
    shown.get_by_role("button", name="Step").click()
    after_one = q_of(shown)
    np.testing.assert_allclose(np.abs(after_one.mean), 0.1, rtol=1e-4)
    expect(shown.get_by_text("q, 1 step", exact=True)).to_be_visible()
    assert_bounds(vae, shown)
    shown.get_by_role("button", name="Play").click()
    expect(shown.get_by_text("q, 200 steps")).to_be_visible(timeout=60_000)
    expect(shown.get_by_role("button", name="Play")).to_be_visible()
    assert_bounds(vae, shown)
    bounds = shown.evaluate("model.get('bounds')")
    assert bounds["q"] > max(start[1], bounds["encoder"]) + 1
    text = shown.locator(".vi-announcer").inner_text()
    assert text.startswith(f"After 200 steps: encoder {bounds['encoder']:.1f} nats".replace("-", "\N{MINUS SIGN}"))
    shown.get_by_role("button", name="Step").click()  # the climb begins anew, as a film does
    expect(shown.get_by_text("q, 1 step", exact=True)).to_be_visible()
    np.testing.assert_allclose(np.abs(q_of(shown).mean), 0.1, rtol=1e-4)
    shown.get_by_role("button", name="Reset").click()
    now = shown.evaluate("[model.get('q'), model.get('bounds').q, model.get('paint')]")
    assert now[0] == start[0] and now[2] == start[2] and now[1] == pytest.approx(start[1], rel=1e-5)
    expect(shown.get_by_text("q, 0 steps")).to_be_visible()


def test_pause_stops_the_climb(shown):
    shown.get_by_role("button", name="Play").click()
    shown.wait_for_function("() => document.body.textContent.match(/q, ([3-9]|\\d\\d+) steps/)")
    shown.get_by_role("button", name="Pause").click()
    q = shown.evaluate("model.get('q')")
    shown.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert shown.evaluate("model.get('q')") == q


def cell(page: Page, column: float, row: float) -> list[float]:
    """Return where in the page a place of the image is."""
    box = page.locator(".vi-paper").bounding_box()
    return [box["x"] + column / WIDTH * box["width"], box["y"] + row / HEIGHT * box["height"]]


def test_the_pencil_draws_and_the_encoder_follows(vae, page):
    ready(page, InferenceExplorer(vae, IMAGES, training=(IMAGES, range(30))))
    expect(page.get_by_text("image 0", exact=True)).to_be_visible()
    page.get_by_role("button", name="Blank page").click()
    assert (painted(page) == "0").all()
    expect(page.get_by_text("your own drawing", exact=True)).to_be_visible()
    page.get_by_role("button", name="Pencil").click()
    page.mouse.move(*cell(page, 1.5, 1.5))
    page.mouse.down()
    page.mouse.move(*cell(page, 1.5, 6.5))
    assert page.locator(".vi-announcer").inner_text().count("−") == 2
    page.mouse.up()
    expected = np.full((HEIGHT, WIDTH), "0")
    expected[1:7, :3], expected[[0, 7], 1] = "1", "1"
    np.testing.assert_array_equal(painted(page), expected)
    encoded = vae.encode(jnp.asarray((expected == "1").ravel().astype(np.float32)))
    np.testing.assert_allclose(q_of(page), encoded, rtol=1e-4, atol=1e-5)
    assert_bounds(vae, page)
    codes = np.asarray(vae.encode(jnp.asarray(IMAGES.reshape(30, -1))).mean)
    order = page.evaluate("model.get('spec').order")
    distance = ((codes - np.asarray(encoded.mean))[:, order] ** 2).sum(1)
    names = ", ".join(map(str, np.argsort(distance)[:8]))
    expect(page.get_by_role("group", name=f"nearest training images: {names}")).to_be_visible()
    assert page.locator(".vi-announcer").inner_text().endswith(f"{names}.")
    page.get_by_role("button", name="Rubber").click()
    page.mouse.click(*cell(page, 1.5, 3.5))
    assert (painted(page)[2:5, :3] == "0").all() and painted(page)[6, 1] == "1"
    expect(page.get_by_text("your own drawing", exact=True)).to_be_visible()
    page.get_by_role("button", name="Whole image").click()
    page.mouse.click(*cell(page, 0.5, 0.5))  # an image with a few pixels rubbed out is the image still
    assert (painted(page) != IMAGES[0].astype(int).astype(str)).any()
    expect(page.get_by_text("image 0", exact=True)).to_be_visible()


def test_what_is_hidden_is_blank_to_the_encoder_and_nothing_to_q(vae, shown):
    shown.get_by_role("button", name="Whole image").click()
    np.testing.assert_array_equal(painted(shown), IMAGES[0].astype(int).astype(str))
    np.testing.assert_array_equal(q_of(shown), vae.prior)
    assert_bounds(vae, shown)
    shown.get_by_role("button", name="Hide lower half").click()
    assert (painted(shown)[4:] == "?").all() and (painted(shown)[:4] == IMAGES[0][:4].astype(int).astype(str)).all()
    assert_bounds(vae, shown)
    shown.get_by_role("button", name="From the encoder").click()
    half = IMAGES[0].ravel() * ~HIDDEN
    np.testing.assert_allclose(q_of(shown), vae.encode(jnp.asarray(half)), rtol=1e-4, atol=1e-5)
    shown.get_by_role("button", name="Step").click()
    before = q_of(shown)
    shown.get_by_role("button", name="Whole image").click()
    np.testing.assert_array_equal(q_of(shown), before)  # it has made a step, and goes on from there
    assert_bounds(vae, shown)


def test_keys_paint_at_the_cursor(shown):
    shown.get_by_role("button", name="Whole image").click()
    shown.locator(".vi-paper").focus()
    expect(shown.locator(".vi-paper")).to_be_focused()
    before = painted(shown)
    for key in ("ArrowUp", "ArrowLeft"):
        shown.keyboard.press(key)
    np.testing.assert_array_equal(painted(shown), before)
    shown.keyboard.press(" ")
    # The cursor began in the middle, (3, 4); the brush has a radius of 2.2.
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    np.testing.assert_array_equal(painted(shown) == "?", np.hypot(rows - 3, columns - 2) <= 2.2)
    shown.keyboard.press("Shift+ArrowDown")
    assert painted(shown)[6, 2] == "?" != painted(shown)[7, 2]
    assert shown.evaluate("document.activeElement.hasAttribute('data-lm-suppress-shortcuts')")


def test_a_finger_paints_and_does_not_scroll(browser, vae):
    context = browser.new_context(has_touch=True, viewport={"width": 320, "height": 500})
    page = ready(context.new_page(), InferenceExplorer(vae, IMAGES))
    page.get_by_role("button", name="Blank page").tap()
    page.get_by_role("button", name="Pencil").tap()
    page.evaluate("scrollTo(0, 0)")
    session = context.new_cdp_session(page)
    for kind, row in (("touchStart", 6.5), ("touchMove", 4.5), ("touchMove", 0.5), ("touchEnd", None)):
        points = [] if row is None else [dict(zip("xy", cell(page, 3.5, row)))]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    page.wait_for_function("() => model.get('paint')[4 * 6 + 3] === '1'")
    assert page.evaluate("[scrollY, document.documentElement.scrollWidth <= 320]") == [0, True]
    context.close()


def test_another_image_is_whole_and_q_begins_anew(vae, shown):
    shown.get_by_role("button", name="Step").click()
    shown.get_by_role("button", name="Next").click()
    np.testing.assert_array_equal(painted(shown), IMAGES[1].astype(int).astype(str))
    np.testing.assert_array_equal(q_of(shown), vae.prior)
    expect(shown.get_by_text("image 1, label 1", exact=True)).to_be_visible()
    expect(shown.get_by_text("q, 0 steps")).to_be_visible()
    assert_bounds(vae, shown)


def test_pictures_are_those_of_jax_and_python_moves_them(vae, shown):
    explorer = InferenceExplorer(vae, IMAGES)
    explorer.paint = "".join(IMAGES[5].ravel().astype(int).astype(str))
    shown.evaluate("(paint) => model.set('paint', paint)", explorer.paint)
    z = np.random.default_rng(3).normal(size=LATENT)
    shown.evaluate("(q) => model.set('q', q)", [z.tolist(), [0.5] * LATENT])
    noise = np.random.default_rng(0).standard_normal((16, LATENT), np.float32)
    codes = np.stack([np.asarray(vae.encode(jnp.asarray(explorer.x, jnp.float32)).mean), z, *(z + 0.5 * noise[:4])])
    for canvas, ink in zip(shown.locator(".vi-latent canvas").all(), np.asarray(vae.decode(jnp.float32(codes)))):
        data = canvas.evaluate("(c) => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]")
        np.testing.assert_allclose(data[::4], 255 - 255 * ink, atol=1)


def test_training_images_are_limited():
    vae = make_vae()
    explorer = InferenceExplorer(vae, IMAGES, training=(np.tile(IMAGES, (110, 1, 1)), range(3300)))
    assert len(explorer.spec["training_labels"]) == MAX_TRAINING == len(explorer.training) // 6

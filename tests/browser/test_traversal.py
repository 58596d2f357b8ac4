"""The ways through a latent space in an empty page: the live ELBO against JAX, strips, plane, and between two images."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from playwright.sync_api import Locator, Page, expect

from course_utils.bounds import DiagonalNormal
from course_utils.models import VAE
from course_utils.widgets import LatentExplorer
from tests.browser.bare import show

HEIGHT, WIDTH, LATENT = 8, 6, 4
INK = np.random.default_rng(0).integers(0, 256, (12, HEIGHT * WIDTH))


@pytest.fixture(scope="module")
def vae() -> VAE:
    vae = VAE(LATENT, data_dim=HEIGHT * WIDTH, hidden=(13,), rngs=nnx.Rngs(0))
    for layer in [*vae.decoder.layers, *vae.encoder.network.layers]:
        layer.kernel[...] = 2.0 * layer.kernel[...]
    return vae


@pytest.fixture
def shown(page: Page, vae: VAE) -> Page:
    """The explorer with all ways folded out."""
    explorer = LatentExplorer(vae, INK.reshape(12, HEIGHT, WIDTH), labels=range(12), num_sliders=3)
    show(page, explorer)
    page.add_style_tag(content=explorer._css)
    for summary in page.locator(".vi-ways summary").all():
        summary.click()
    expect(page.locator(".vi-pad")).to_be_visible()
    return page


def grey_of(canvas: Locator) -> np.ndarray:
    """Return the grey levels of a canvas, [height, width]."""
    data, width = canvas.evaluate(
        "(c) => [[...c.getContext('2d').getImageData(0, 0, c.width, c.height).data], c.width]"
    )
    return np.array(data[::4]).reshape(-1, width)


def assert_strip(vae: VAE, canvas: Locator, codes: np.ndarray) -> None:
    images = np.asarray(vae.decode(jnp.float32(codes))).reshape(-1, HEIGHT, WIDTH)
    np.testing.assert_allclose(grey_of(canvas), 255 * (1 - np.concatenate(images, 1)), atol=1)


def test_the_live_elbo_is_that_of_jax_over_all_binarisations(vae, shown):
    noise = np.array(shown.evaluate("() => Array.from(module.fixedNoise(8, 4))"), np.float32).reshape(8, LATENT)
    for image in (0, 7):
        shown.evaluate("(image) => model.set('image', image)", image)
        scale = vae.encode(jnp.float32(INK[image] / 255)).scale
        for seed in range(3):
            z = np.random.default_rng(seed).normal(size=LATENT)
            shown.evaluate("(z) => model.set('z', z)", z.tolist())
            draws = jnp.float32(z + scale * noise)
            expected = vae.log_likelihood(jnp.float32(INK[image] / 255), draws).mean()
            expected -= DiagonalNormal(jnp.float32(z), scale).kl(vae.prior)
            expect(shown.get_by_text("ELBO")).to_have_text(f"ELBO {expected:.1f} nats".replace("-", "\N{MINUS SIGN}"))
            found = shown.evaluate(
                """([image, z, scale]) => {
                    const layers = model.get("spec").layers.map((layer) => ({ ...layer }));
                    layers.at(-1).activation = "identity";
                    const logits = module.mlp(layers, new Float32Array(model.get("weights").buffer));
                    return module.elboOf(logits, image, z, scale, module.fixedNoise(8, 4));
                }""",
                [(INK[image] / 255).tolist(), z.tolist(), np.asarray(scale).tolist()],
            )
            assert found == pytest.approx(float(expected), rel=1e-5)


def test_a_strip_goes_along_one_dimension_and_a_press_goes_there(vae, shown):
    z = np.array([0.3, -0.4, 0.9, -1.1])
    shown.evaluate("(z) => model.set('z', z)", z.tolist())
    order, ranges = shown.evaluate("[model.get('spec').order, model.get('ranges')]")
    canvases = shown.locator(".vi-strips canvas").all()
    assert len(canvases) == 3
    for d, canvas in zip(order, canvases):
        codes = np.tile(z, (9, 1))
        codes[:, d] = np.linspace(*ranges[d], 9)
        assert_strip(vae, canvas, codes)
        # A bar below the strip stands where z is: in the middle of an image at its value.
        here, strip = shown.locator(".vi-here").nth(order.index(d)).bounding_box(), canvas.bounding_box()
        column = 8 * (z[d] - ranges[d][0]) / (ranges[d][1] - ranges[d][0])
        middle = (here["x"] + here["width"] / 2 - strip["x"]) / strip["width"]
        assert middle == pytest.approx((column + 0.5) / 9, abs=0.01)
    box = canvases[1].bounding_box()
    canvases[1].click(position={"x": box["width"] * 6.5 / 9, "y": 5})
    z[order[1]] = np.linspace(*ranges[order[1]], 9)[6]
    assert shown.evaluate("model.get('z')") == pytest.approx(z.tolist())


def test_dragging_in_the_plane_sets_two_dimensions_and_names_the_nearest_code(vae, shown):
    codes = np.asarray(vae.encode(jnp.float32(INK / 255)).mean)
    order, ranges = shown.evaluate("[model.get('spec').order, model.get('ranges')]")
    shown.get_by_label("dimension upwards").select_option(f"z[{order[2]}]")
    before = shown.evaluate("model.get('z')")
    box = shown.locator(".vi-pad .vi-sheet").bounding_box()
    shown.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    shown.mouse.down()
    shown.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.4 * box["height"])
    shown.mouse.up()
    shown.mouse.move(box["x"] + 1, box["y"] + 1)  # no longer held
    expected = list(before)
    for d, share in ((order[0], 0.7), (order[2], 0.6)):
        expected[d] = ranges[d][0] + share * (ranges[d][1] - ranges[d][0])
    assert shown.evaluate("model.get('z')") == pytest.approx(expected, abs=0.05)
    plane = [order[0], order[2]]
    corner = np.array([ranges[plane[0]][0], ranges[plane[1]][1]])
    place = np.array(shown.evaluate("model.get('z')"))[plane]
    under_pointer, of_z = (int(np.hypot(*(codes[:, plane] - each).T).argmin()) for each in (corner, place))
    assert under_pointer != of_z
    text = "nearest code in this plane: image {0}, label {0}"
    expect(shown.get_by_text(text.format(under_pointer))).to_be_visible()
    shown.mouse.move(0, 0)
    expect(shown.get_by_text(text.format(of_z))).to_be_visible()
    assert_strip(vae, shown.locator(".vi-pad canvas"), shown.evaluate("[model.get('z')]"))
    marker = shown.get_by_role("button", name=f"z[{plane[0]}] ")
    marker.focus()
    for key in ("ArrowLeft", "Shift+ArrowDown"):
        shown.keyboard.press(key)
    moved = np.array(shown.evaluate("model.get('z')"))[plane]
    np.testing.assert_allclose(moved, place - [0.05, 0.25], atol=1e-9)
    assert_strip(vae, shown.locator(".vi-pad canvas"), shown.evaluate("[model.get('z')]"))


def test_between_two_images_lies_a_straight_line(vae, shown):
    codes = np.asarray(vae.encode(jnp.float32(INK / 255)).mean)
    number = shown.get_by_role("spinbutton", name="number of the other image")
    number.fill("5")
    number.press("Enter")
    assert_strip(vae, shown.locator(".vi-ways > details:last-child canvas"), np.linspace(codes[0], codes[5], 9))
    slider = shown.get_by_role("slider", name="share of the other image")
    slider.focus()
    for key, share in (("End", 1), ("Home", 0), ("ArrowRight", 0.01)):
        shown.keyboard.press(key)
        expected = codes[0] + share * (codes[5] - codes[0])
        np.testing.assert_allclose(shown.evaluate("model.get('z')"), expected, atol=1e-4)
    shown.get_by_role("button", name="Next").click()
    assert_strip(vae, shown.locator(".vi-ways > details:last-child canvas"), np.linspace(codes[1], codes[5], 9))


def test_what_is_folded_in_is_not_drawn(page, vae):
    show(page, LatentExplorer(vae, INK.reshape(12, HEIGHT, WIDTH)))
    page.evaluate("() => model.set('z', [1, 1, 1, 1])")
    assert (grey_of(page.locator(".vi-strips canvas").first) == 0).all()  # an empty canvas


def test_reset_goes_back_to_the_first_image_and_its_code(shown, vae):
    number = shown.get_by_role("spinbutton", name="number of the other image")
    number.fill("5")
    number.press("Enter")
    share = shown.get_by_role("slider", name="share of the other image")
    share.focus()
    shown.keyboard.press("End")
    shown.get_by_role("button", name="Next").click()
    expect(share).to_have_js_property("valueAsNumber", 0)  # z is the code of the chosen image
    shown.get_by_role("button", name="Random draw").click()
    assert shown.evaluate("model.get('image')") == 1
    shown.get_by_role("button", name="Reset").click()
    assert shown.evaluate("model.get('image')") == 0
    codes = np.asarray(vae.encode(jnp.float32(INK / 255)).mean)
    np.testing.assert_allclose(shown.evaluate("model.get('z')"), codes[0], atol=1e-5)
    expect(number).to_have_value("1")


@pytest.mark.parametrize("size", [(640, 500), (1280, 1000)], ids=["200 % zoom", "100 %"])
def test_images_and_sliders_are_seen_together(browser, vae, size):
    page = browser.new_page(viewport=dict(zip(("width", "height"), size)))
    explorer = LatentExplorer(vae, INK.reshape(12, HEIGHT, WIDTH), labels=range(12), num_sliders=LATENT)
    show(page, explorer)
    page.add_style_tag(content=explorer._css)
    sliders = [slider.bounding_box() for slider in page.locator(".vi-latent").get_by_role("slider").all()]
    images = [page.get_by_role("img", name=name).bounding_box() for name in ("image 0", "decoded")]
    assert images[0]["y"] == images[1]["y"] and min(image["width"] for image in images) >= 84
    assert all(slider["x"] > images[1]["x"] + images[1]["width"] for slider in sliders)
    assert all(box["y"] + box["height"] <= size[1] for box in [*images, *sliders])
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    page.close()

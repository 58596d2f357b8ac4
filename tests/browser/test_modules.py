"""The numbers that the explorers' JavaScript computes, against those of JAX: an empty page is enough for this."""

import base64
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from playwright.sync_api import Browser, Page

from course_utils.models import VAE
from course_utils.widgets import CurveExplorer, LatentExplorer
from course_utils.widgets.explorer import Explorer
from course_utils.widgets.latent_explorer import ACTIVATIONS

NUM_Z = 500

# What JupyterLab gives to an explorer, reduced to what an explorer asks of it.
PAGE = """async ([source, traits]) => {
    const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const values = Object.fromEntries(Object.entries(traits).map(([name, value]) =>
        [name, value?.base64 === undefined ? value : new DataView(bytes(value.base64).buffer)]));
    const handlers = [];
    window.saved = [];
    const model = {
        get: (name) => values[name],
        set(name, value) {
            values[name] = value;
            handlers.filter(([event]) => event === `change:${name}`).forEach(([, handler]) => handler());
        },
        save_changes: () => window.saved.push(performance.now()),
        on: (event, handler) => handlers.push([event, handler]),
        off() {},
    };
    document.body.replaceChildren();
    window.module = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    window.model = model;
    module.default.render({ model, el: document.body });
}"""
DECODE = """([zs, dim]) => {
    const floats = new Float32Array(Uint8Array.from(atob(zs), (character) => character.charCodeAt(0)).buffer);
    const decode = module.decoder(model.get("spec").layers, new Float32Array(model.get("weights").buffer));
    const decoded = [];
    for (let i = 0; i < floats.length; i += dim) decoded.push(...decode(floats.subarray(i, i + dim)));
    const bytes = new Uint8Array(Float32Array.from(decoded).buffer);
    let text = "";
    for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
    return btoa(text);
}"""


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def _show(page: Page, explorer: Explorer) -> None:
    """Let the explorer draw itself in an empty page."""
    traits = {
        name: {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
        for name, value in explorer.get_state().items()
        if not name.startswith("_") and name != "layout"
    }
    page.evaluate(PAGE, [explorer._esm, traits])


def _decode_in(page: Page, explorer: LatentExplorer, z: np.ndarray) -> np.ndarray:
    _show(page, explorer)
    text = page.evaluate(DECODE, [base64.b64encode(z.astype("<f4").tobytes()).decode(), z.shape[1]])
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(len(z), -1)


def test_decoder_of_the_course_agrees_with_jax(page):
    vae = VAE(50, rngs=nnx.Rngs(0))
    for layer in vae.decoder.layers:  # as extreme as the probabilities of a trained decoder
        layer.kernel[...] = 2.5 * layer.kernel[...]
        layer.bias[...] = jax.random.normal(jax.random.key(1), layer.bias.shape)
    z = np.asarray(vae.prior.sample(jax.random.key(2), NUM_Z))
    expected = np.asarray(vae.decode(jnp.asarray(z)))
    assert expected.min() < 1e-3 and expected.max() > 1 - 1e-3
    decoded = _decode_in(page, LatentExplorer(vae, np.zeros((1, 784))), z)
    np.testing.assert_allclose(decoded, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_and_odd_sizes_agree_with_jax(page, name):
    vae = VAE(3, data_dim=35, hidden=(13, 6), activation=ACTIVATIONS[name], rngs=nnx.Rngs(0))
    vae.decoder.layers[0].kernel[...] = 4 * vae.decoder.layers[0].kernel[...]
    z = np.asarray(vae.prior.sample(jax.random.key(2), 50))
    decoded = _decode_in(page, LatentExplorer(vae, np.zeros((1, 5, 7))), z)
    np.testing.assert_allclose(decoded, vae.decode(jnp.asarray(z)), rtol=0, atol=1e-5)


def test_python_is_told_ten_times_a_second_at_most_and_always_the_last_value(page):
    _show(page, CurveExplorer({"a": np.arange(50)}, np.arange(3), {"q": np.arange(3)}))
    page.evaluate(
        """async () => {
            const slider = document.querySelector("input");
            for (let value = 0; value < 50; value++) {
                slider.value = value;
                slider.dispatchEvent(new Event("input"));
                await new Promise((resolve) => setTimeout(resolve, 5));
            }
            window.last = performance.now();
        }"""
    )
    page.wait_for_function("() => saved.at(-1) > last - 5")
    saved = page.evaluate("saved")
    assert len(saved) > 1 and np.diff(saved).min() > 95
    assert page.evaluate("model.get('position')") == [49]


@pytest.mark.parametrize(
    ("heights", "bars_from", "expected"),
    [
        ([2.0, 1.0], 0.0, [(0, 2, True), (2, 3, True)]),
        ([-3.0, 1.0], -5.0, [(-5, -3, True), (-3, -2, True)]),
        ([-3.0, 1.0], 0.0, [(-3, 0, True), (-3, -2, False)]),
        ([-3.0, -1.0], 0.0, [(-3, 0, True), (-4, -3, True)]),
    ],
    ids=["up", "from a baseline", "back over the first", "down"],
)
def test_bars_stack_to_their_sum_and_none_hides_another(page, heights, bars_from, expected):
    bars = dict(zip("ab", heights))
    explorer = CurveExplorer({"a": [0, 1]}, [0, 1], {"q": [0, 1]}, bars=bars, bars_from=bars_from, bars_range=(-6, 6))
    _show(page, explorer)
    drawn = page.evaluate(
        """() => [...document.querySelectorAll("rect[data-name]")].map((bar) => {
            const panel = bar.ownerSVGElement;
            const [y, height, width] = ["y", "height", "width"].map((name) => Number(bar.getAttribute(name)));
            const value = (pixel) => 6 - (12 * pixel) / panel.height.baseVal.value;
            return [value(y + height), value(y), width > panel.width.baseVal.value / 2];
        })"""
    )
    np.testing.assert_allclose(np.array(drawn, float), np.array(expected, float), atol=0.01)


def test_a_curve_is_interrupted_where_it_is_not_finite(page):
    _show(page, CurveExplorer({"a": [0, 1]}, np.arange(5), {"q": [0, 1, np.nan, 1, 0]}))
    path = page.evaluate("document.querySelector('path[data-name=q]').getAttribute('d')")
    assert [path.count(letter) for letter in "ML"] == [2, 2]

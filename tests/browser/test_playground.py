"""The playground: its numbers against JAX's, function by function, and what its buttons do."""

import base64
import json
from collections.abc import Iterator
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from playwright.sync_api import Browser, Page, expect

from course_utils import data
from course_utils.models import VAE
from course_utils.training import fit
from course_utils.widgets import Playground
from course_utils.widgets.library import send_library
from course_utils.widgets.modules import page_module
from course_utils.widgets.playground import CHOICES, DEFAULTS, NUM_HELD_OUT, NUM_TRAIN, PRESETS, SIDE, WORKER
from tests.browser.bare import show
from tests.browser.lab import canvas_grey

OBJECTIVES = CHOICES["objective"][1]
TOLERANCE = 1e-4

# The mathematics in the page itself, where a test can call it.
HARNESS = (
    page_module("explorer.js")
    + """
globalThis.jax = await loadJax();
globalThis.worker = globalThis.vae = await import(asModule(WORKER_SOURCE));
globalThis.toArrays = (given) => {
    if (Array.isArray(given)) return given.map(toArrays);
    if (given.array !== undefined) return jax.numpy.array(given.array);
    return Object.fromEntries(Object.entries(given).map(([name, part]) => [name, toArrays(part)]));
};
export default null;
"""
)


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """A page with jax-js, and with ``vae.js`` and the worker's own functions in it."""
    context = browser.new_context(viewport={"width": 1100, "height": 1000})
    page = context.new_page()
    show(page, send_library("jax-js"))
    constants = f"const WORKER_SOURCE = {json.dumps(WORKER)};\n"
    page.evaluate(
        "(text) => import(URL.createObjectURL(new Blob([text], { type: 'text/javascript' })))", constants + HARNESS
    )
    yield page
    context.close()


def _lists(tree):
    """Return the tree with its arrays as what ``toArrays`` knows from a list of arrays."""
    return jax.tree.map(lambda leaf: {"array": np.asarray(leaf, np.float64).tolist()}, tree)


def _close(found, expected, tolerance: float = TOLERANCE) -> None:
    """Compare two trees, each array on the scale of its largest number."""
    for a, b in zip(map(np.asarray, found), jax.tree.leaves(expected), strict=True):
        b = np.asarray(b)
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, np.abs(b).max()))


# What vae.js uses of jax-js, each on [3, 4] arrays a and b, c of [4, 5], and with b > 0.
FUNCTIONS = {
    "np.dot(a, c)": lambda a, b, c: a @ c,
    "a.add(b)": lambda a, b, c: a + b,
    "a.sub(b)": lambda a, b, c: a - b,
    "a.mul(b)": lambda a, b, c: a * b,
    "a.div(b)": lambda a, b, c: a / b,
    "a.add(np.array([1, 2, 3, 4]))": lambda a, b, c: a + jnp.arange(1.0, 5),
    "np.square(a)": lambda a, b, c: a**2,
    "np.sqrt(b)": lambda a, b, c: jnp.sqrt(b),
    "np.exp(a)": lambda a, b, c: jnp.exp(a),
    "np.log(b)": lambda a, b, c: jnp.log(b),
    "np.abs(a)": lambda a, b, c: jnp.abs(a),
    "np.negative(a)": lambda a, b, c: -a,
    "np.maximum(a, 0)": lambda a, b, c: jnp.maximum(a, 0),
    "np.transpose(a)": lambda a, b, c: a.T,
    "a.reshape([2, 6])": lambda a, b, c: a.reshape(2, 6),
    "a.sum(-1)": lambda a, b, c: a.sum(-1),
    "a.sum(0)": lambda a, b, c: a.sum(0),
    "a.mean()": lambda a, b, c: a.mean(),
    "np.split(a, 2, -1)[1]": lambda a, b, c: jnp.split(a, 2, -1)[1],
    "nn.silu(a)": lambda a, b, c: jax.nn.silu(a),
    "nn.logsumexp(a, 0)": lambda a, b, c: logsumexp(a, 0),
    "vae.softplus(a)": lambda a, b, c: jax.nn.softplus(a),
}


@pytest.mark.parametrize("program", FUNCTIONS)
def test_a_function_of_jax_js_and_its_gradient_agree_with_jax(page, program):
    random = np.random.default_rng(0)
    a, b, c = random.normal(size=(3, 4)), random.uniform(0.2, 3, (3, 4)), random.normal(size=(4, 5))

    def weighted(a, b, c):
        value = FUNCTIONS[program](a, b, c)
        return (value * jnp.cos(jnp.arange(value.size, dtype=jnp.float32)).reshape(value.shape)).sum()

    found = page.evaluate(
        """([program, arrays]) => {
            const { numpy: np, nn, grad, jit } = jax;
            const f = new Function("np", "nn", "a", "b", "c", `return ${program};`);
            const value = (a, b, c) => f(np, nn, a, b, c);
            const weighted = (a, b, c) => {
                const out = value(a, b, c);
                const size = out.shape.reduce((x, y) => x * y, 1);
                const weights = Array.from({ length: size }, (_, i) => Math.cos(i));
                return out.mul(np.array(weights).reshape(out.shape)).sum();
            };
            const give = () => toArrays(arrays);
            return [value(...give()).js(), jit(value)(...give()).js(), jit(grad(weighted))(...give()).js()];
        }""",
        [program, _lists([a, b, c])],
    )
    value = FUNCTIONS[program](*map(jnp.asarray, (a, b, c)))
    _close(found, [value, value, jax.grad(weighted)(jnp.asarray(a), jnp.asarray(b), jnp.asarray(c))], 1e-5)


def test_softplus_neither_overflows_nor_vanishes(page):
    points = [-200.0, -30.0, 0.0, 30.0, 89.0, 200.0]
    found = page.evaluate(
        """(points) => {
            const x = jax.numpy.array(points);
            return [vae.softplus(x.ref).js(), jax.grad((x) => vae.softplus(x).sum())(x).js()];
        }""",
        points,
    )
    np.testing.assert_allclose(found[0], jax.nn.softplus(jnp.array(points)), atol=1e-6)
    np.testing.assert_allclose(found[1], jax.nn.sigmoid(jnp.array(points)), atol=1e-6)


LATENT, WIDTH, DATA, BATCH, NUM_DATA = 3, 7, 12, 5, 100


def _network(layers, x):
    for matrix, bias in layers[:-1]:
        x = jax.nn.silu(x @ matrix + bias)
    return x @ layers[-1][0] + layers[-1][1]


def _estimate(weights, objective, x, noise, beta):
    """Write the same once more in JAX, with densities of SciPy and the cross-entropy of Optax."""
    mean, log_scale = jnp.split(_network(weights["encoder"], x), 2, -1)
    scale = jnp.exp(log_scale)
    spread = {"no noise": 0 * scale, "variance as scale": scale**2}.get(objective, scale)
    z = mean + spread * noise
    pixels = -optax.sigmoid_binary_cross_entropy(_network(weights["decoder"], z), x)
    log_likelihood = pixels.mean(-1) if objective == "mean over pixels" else pixels.sum(-1)
    beta = beta * {"N/B times the KL": NUM_DATA / BATCH, "mean over latents": 1 / LATENT}.get(objective, 1)
    if len(noise) == 1:
        return (log_likelihood[0] - beta * 0.5 * (mean**2 + scale**2 - 1 - 2 * log_scale).sum(-1)).mean()
    log_weights = log_likelihood + beta * (norm.logpdf(z) - norm.logpdf(z, mean, scale)).sum(-1)
    bound = logsumexp(log_weights, 0, b=1 if objective == "missing 1/K" else 1 / len(noise))
    return bound.mean()


@pytest.fixture(scope="module")
def example():
    random = np.random.default_rng(1)

    def layers(*sizes):
        return [[random.normal(size=pair) / 2, random.normal(size=pair[1]) / 2] for pair in pairwise(sizes)]

    weights = {"encoder": layers(DATA, WIDTH, 2 * LATENT), "decoder": layers(LATENT, WIDTH, DATA)}
    weights = jax.tree.map(jnp.float32, weights)
    return (
        weights,
        jnp.float32(random.integers(0, 2, (BATCH, DATA))),
        jnp.float32(random.normal(size=(6, BATCH, LATENT))),
    )


@pytest.mark.parametrize("num_samples", [1, 6])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_and_its_gradients_agree_with_jax(page, example, objective, num_samples):
    weights, x, noise = example
    noise = noise[:num_samples]
    value, gradient = jax.value_and_grad(_estimate)(weights, objective, x, noise, 0.7)
    found = page.evaluate(
        """([objective, weights, x, noise, numData]) => {
            const climb = jax.jit((weights, x, noise, beta) => jax.valueAndGrad(
                (weights) => vae.estimate(objective, weights, x, noise, beta, numData))(weights));
            const [value, gradient] = climb(...toArrays([weights, x, noise]), jax.numpy.array(0.7));
            return [value.js(), ...jax.tree.leaves(gradient).map((leaf) => leaf.js())];
        }""",
        [objective, _lists(weights), _lists(x), _lists(noise), NUM_DATA],
    )
    _close(found, (value, gradient))


def test_adam_agrees_with_optax(page, example):
    weights, x, noise = example
    optimizer = optax.adam(0.01)
    expected, state = weights, optimizer.init(weights)
    for _ in range(3):
        gradient = jax.grad(lambda w: -_estimate(w, "right", x, noise, 1.0))(expected)
        updates, state = optimizer.update(gradient, state)
        expected = optax.apply_updates(expected, updates)
    found = page.evaluate(
        """([given, x, noise]) => {
            const step = vae.makeStep("right", 100);
            const { numpy: np, tree } = jax;
            let weights = toArrays(given);
            const zeros = () => tree.map((leaf) => np.zeros(leaf.shape), weights);
            let [first, second] = [zeros(), zeros()];
            for (let t = 1; t <= 3; t++) {
                const next = step(weights, first, second, ...toArrays([x, noise]), np.array(1), np.array(0.01),
                    vae.corrections(t));
                [weights, first, second] = next.slice(1);
            }
            return tree.leaves(weights).map((leaf) => leaf.js());
        }""",
        [_lists(weights), _lists(x), _lists(noise)],
    )
    _close(found, expected)


def test_pixels_are_drawn_with_the_right_probability_and_halved_by_means(page):
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4), dtype=np.uint8)
    drawn, cut, small = page.evaluate(
        """(images) => {
            const grey = Uint8Array.from(images);
            const rows = Array.from({ length: 24000 }, (_, i) => i % 6);
            const draw = (cut) => Array.from(worker.binarize(worker.generator(1), grey, rows, 16, cut));
            return [draw(false), draw(true).slice(0, 96), Array.from(worker.halved(grey, 4))];
        }""",
        images.ravel().tolist(),
    )
    drawn = np.reshape(drawn, (4000, 6, 4, 4))
    assert set(np.unique(drawn)) == {0, 1}
    assert np.abs((drawn.mean(0) - images / 255) / np.sqrt(0.25 / 4000)).max() < 4.5
    np.testing.assert_array_equal(np.reshape(cut, images.shape), images > 127)
    quarters = images.reshape(6, 2, 2, 2, 2).mean((2, 4))
    np.testing.assert_allclose(np.reshape(small, (6, 2, 2)), quarters, atol=0.5)


def test_normal_numbers_are_normal_and_repeat_with_their_seed(page):
    one, same, other = page.evaluate(
        "() => [3, 3, 4].map((seed) => Array.from(worker.normalNumbers(worker.generator(seed), 20000)))"
    )
    assert one == same and one != other
    # Kolmogorov and Smirnov: beyond 1.95 / sqrt(n) in one of a thousand cases.
    ranks = np.arange(20000) / 20000
    assert np.abs(norm.cdf(np.sort(one)) - ranks).max() < 1.95 / np.sqrt(20000)
    assert np.abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 4 / np.sqrt(20000)


TRAIN = """([packed, settings, numHeldOut, side, count]) => new Promise((resolve, reject) => {
    const bytes = Uint8Array.from(atob(packed), (character) => character.charCodeAt(0));
    window.train(bytes, settings, numHeldOut, side, count).then(resolve, reject);
})"""
TRAINER = """
globalThis.train = async (packed, settings, numHeldOut, side, count) => {
    const worker = await jaxWorker(WORKER_SOURCE);
    const pixels = new Uint8Array(await unpacked(packed).arrayBuffer());
    worker.postMessage({ type: "data", pixels, numHeldOut, side });
    worker.postMessage({ type: "start", id: 1, settings });
    worker.postMessage({ type: "step", count });
    return new Promise((resolve) => {
        worker.onmessage = ({ data }) => {
            if (data.step < count) return;
            worker.terminate();
            resolve(data.bounds.heldOut);
        };
    });
};
export default null;
"""


def _images(side: int) -> tuple[np.ndarray, np.ndarray]:
    train, held_out = (data.load_mnist(split)[0] for split in ("train", "test"))
    images = np.concatenate([train[:NUM_TRAIN], held_out[:NUM_HELD_OUT]]).astype(int)
    if side < SIDE:
        images = (images.reshape(-1, side, 2, side, 2).sum((2, 4)) + 2) // 4
    images = images.reshape(len(images), -1).astype(np.uint8)
    return images[:NUM_TRAIN], images[NUM_TRAIN:]


def _bound_of_fit(settings: dict, num_steps: int) -> float:
    """Return the ELBO of the held-out images after ``fit`` with the same settings, in nats per image."""
    train, held_out = _images(settings["side"])
    vae = VAE(settings["latent_dim"], data_dim=train.shape[1], hidden=(settings["width"],), rngs=nnx.Rngs(0))
    vae.decoder.layers[-1].bias[...] = jax.scipy.special.logit(jnp.clip(train.mean(0) / 255, 1e-3, 1 - 1e-3))

    def objective(vae, images, key):
        pixel_key, noise_key = jax.random.split(key)
        return vae.elbo(data.binarize(pixel_key, images), noise_key).mean()

    optimizer = optax.adam(settings["learning_rate"])
    vae, _ = fit(
        objective, vae, optimizer, key=jax.random.key(0), num_steps=num_steps, data=train, batch_size=64, progress=False
    )
    return float(vae.elbo(data.binarize(jax.random.key(1), held_out), jax.random.key(2), 10).mean())


@pytest.mark.parametrize(
    ("settings", "num_steps", "nats"),
    [
        ({"side": 14, "latent_dim": 5, "width": 100}, 300, 1.0),
        pytest.param({"latent_dim": 10}, 2000, 2.0, marks=pytest.mark.slow),
    ],
    ids=["14 x 14, 300 steps", "28 x 28, 2,000 steps"],
)
def test_training_comes_as_far_as_fit(page, settings, num_steps, nats):
    settings = DEFAULTS | settings
    constants = f"const WORKER_SOURCE = {json.dumps(WORKER)};\n"
    page.evaluate(
        "(text) => import(URL.createObjectURL(new Blob([text], { type: 'text/javascript' })))",
        constants + page_module("explorer.js") + TRAINER,
    )
    packed = base64.b64encode(Playground().pixels).decode()
    found = page.evaluate(TRAIN, [packed, settings, NUM_HELD_OUT, SIDE, num_steps])
    expected = _bound_of_fit(settings, num_steps)
    print(f"held-out ELBO after {num_steps} steps: {found:.2f} in the page, {expected:.2f} with fit")
    assert found == pytest.approx(expected, abs=nats)


# The widget itself.


@pytest.fixture
def playground(page: Page) -> Page:
    """A small playground that the page has just drawn."""
    page.evaluate("() => window.end?.()")
    show(page, Playground(side=14, width=50))
    return page


def _step(page: Page) -> int:
    text = page.locator(".vi-readout td").first.inner_text()
    return int(text) if text else 0


def _train_until(page: Page, step: int) -> None:
    page.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_function(
        "(step) => Number(document.querySelector('.vi-readout td').textContent) >= step", arg=step, timeout=120_000
    )


def test_train_pause_step_and_reset(playground):
    status = playground.get_by_role("status")
    expect(status).to_have_text("Choose what to watch, or press Train.")
    _train_until(playground, 30)
    noted, bars = playground.evaluate(
        """() => [
            [...document.querySelectorAll(".vi-turning .vi-note")].map((note) => note.textContent),
            [...document.querySelectorAll(".vi-unit")].map((bar) => bar.title),
        ]"""
    )
    assert sorted(noted) == sorted(bars) and len(bars) == 2, "the sliders are noted with the KL of an earlier step"
    playground.get_by_role("button", name="Pause").click()
    expect(status).to_contain_text("Paused after", timeout=60_000)
    paused = _step(playground)
    samples = canvas_grey(playground.get_by_role("img", name="samples"))
    playground.wait_for_timeout(300)
    assert _step(playground) == paused and canvas_grey(playground.get_by_role("img", name="samples")) == samples
    playground.get_by_role("button", name="Step").click()
    expect(status).to_contain_text(f"Paused after {paused + 1} steps", timeout=60_000)
    assert canvas_grey(playground.get_by_role("img", name="samples")) != samples
    result = playground.evaluate("model.get('result')")
    assert result["step"] == paused + 1 and len(result["kl"]) == 2 and result["held_out"] < 0
    playground.get_by_role("button", name="Reset").click()
    expect(status).to_have_text("Ready.", timeout=60_000)
    assert _step(playground) == 0


def test_the_same_settings_give_the_same_numbers(playground):
    """What is drawn depends on the settings and the step alone, not on when the page looks."""
    playground.get_by_role("button", name="Step").click()
    status = playground.get_by_role("status")
    for said in ("1 step:", "2 steps:", "3 steps:"):
        expect(status).to_contain_text(f"Paused after {said}", timeout=60_000)
        playground.get_by_role("button", name="Step").click()
    expect(status).to_contain_text("Paused after 4 steps", timeout=60_000)
    first = playground.evaluate("model.get('result')")
    playground.get_by_role("button", name="Reset").click()
    expect(status).to_have_text("Ready.", timeout=60_000)
    for _ in range(4):
        playground.get_by_role("button", name="Step").click()
    expect(status).to_contain_text("Paused after 4 steps", timeout=60_000)
    assert playground.evaluate("model.get('result')") == first


def test_a_slider_turns_the_trained_model_without_its_worker(playground):
    _train_until(playground, 5)
    playground.get_by_role("button", name="Pause").click()
    expect(playground.get_by_role("status")).to_contain_text("Paused", timeout=60_000)
    turned = playground.get_by_role("img", name="decoded from z")
    before = canvas_grey(turned)
    slider = playground.get_by_role("slider").first
    slider.focus()
    for _ in range(10):
        playground.keyboard.press("ArrowRight")
    playground.wait_for_timeout(100)
    assert slider.evaluate("(input) => input.valueAsNumber") == pytest.approx(0.5)
    assert canvas_grey(turned) != before
    # A finger on the plane does the same.
    before = canvas_grey(turned)
    playground.locator(".vi-plane").click(position={"x": 30, "y": 40})
    playground.wait_for_timeout(100)
    assert canvas_grey(turned) != before


def test_a_choice_starts_anew_and_is_told_to_python(playground):
    _train_until(playground, 3)
    playground.get_by_role("combobox", name="latent dimensions").select_option(label="5")
    playground.wait_for_function("document.querySelectorAll('.vi-unit').length === 5", timeout=60_000)
    assert playground.evaluate("model.get('settings').latent_dim") == 5
    expect(playground.get_by_role("button", name="Pause")).to_be_visible()
    playground.wait_for_function("Number(document.querySelector('.vi-readout td').textContent) > 0", timeout=60_000)


@pytest.mark.parametrize("name", [preset[0] for preset in PRESETS])
def test_a_preset_sets_its_settings_says_what_to_watch_and_trains(playground, name):
    _, settings, watch = next(preset for preset in PRESETS if preset[0] == name)
    playground.get_by_role("button", name=name, exact=True).click()
    assert playground.evaluate("model.get('settings')") == DEFAULTS | settings
    expect(playground.get_by_text(watch)).to_be_visible()
    expect(playground.get_by_role("button", name=name, exact=True)).to_have_attribute("aria-pressed", "true")
    expect(playground.get_by_role("button", name="Pause")).to_be_visible()


# What each preset's sentence promises, for the result after some steps.
SHOWN = {
    "The plane unfolds": (200, lambda result: result["held_out"] > -178 and min(result["kl"]) > 1),
    "Too small a latent space": (400, lambda result: -49 < result["held_out"] < -46),
    "K = 50": (150, lambda result: abs(result["objective"] - result["train"]) < 8),
    "Collapse by β": (400, lambda result: max(result["kl"]) < 0.01),
    "Wrong: mean over pixels": (400, lambda result: result["objective"] > -1 and max(result["kl"]) < 0.01),
    "Wrong: no noise": (400, lambda result: result["objective"] > result["held_out"] + 50),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [preset[0] for preset in PRESETS])
def test_a_preset_shows_what_it_says(playground, name):
    step, shown = SHOWN[name]
    playground.get_by_role("button", name=name, exact=True).click()
    playground.wait_for_function(
        "(step) => Number(document.querySelector('.vi-readout td').textContent) >= step", arg=step, timeout=300_000
    )
    playground.get_by_role("button", name="Pause").click()
    expect(playground.get_by_role("status")).to_contain_text("Paused after", timeout=60_000)
    result = playground.evaluate("model.get('result')")
    assert shown(result), result


def test_settings_are_shared_as_python_or_as_a_link(page, playground):
    playground.get_by_role("button", name="Copy as Python").click()
    expect(playground.locator(".vi-copied")).to_have_text("Playground(side=14, width=50)")
    settings = DEFAULTS | {"objective": "N/B times the KL", "beta": 0.5}
    read = page.evaluate(
        """([settings, choices, defaults]) => {
            const hash = module.hashOfSettings(settings);
            return [hash, module.settingsOfHash(hash, choices, defaults)];
        }""",
        [settings, Playground().spec["choices"], DEFAULTS],
    )
    assert read == ["#" + read[0][1:], {"settings": settings, "problem": ""}]


def test_a_link_sets_a_page_of_its_own_and_a_wrong_one_gets_a_sentence(browser, tmp_path):
    (tmp_path / "page.html").write_text("<!doctype html><title>playground</title><body>")
    context = browser.new_context()
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri() + "#beta=4&latent_dim=7&side=14")
    show(page, Playground(own_page=True))
    settings = page.evaluate("model.get('settings')")
    assert (settings["beta"], settings["side"], settings["latent_dim"]) == (4, 14, DEFAULTS["latent_dim"])
    assert page.get_by_role("combobox", name="β").evaluate("(node) => node.selectedOptions[0].text") == "4"
    expect(page.get_by_text("Settings of your own.")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("The link asks for latent_dim = 7; it can be 1, 2, 5, 10, 20, 50.")
    page.evaluate("() => (location.hash = '#beta=2')")
    page.wait_for_function("model.get('settings').beta === 2")
    page.get_by_role("button", name="Copy link").click()
    expect(page.locator(".vi-copied")).to_contain_text("page.html#objective=right&side=14&latent_dim=2&width=200")
    context.close()


def test_an_objective_that_explodes_stops_with_a_sentence(page):
    page.evaluate("() => window.end?.()")
    show(page, Playground(side=14, width=50, objective="variance as scale", learning_rate=0.02))
    # Nothing in the choices is sure to explode; what is sure to is no choice.
    page.evaluate("() => { model.get('settings').learning_rate = 1e9; }")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_role("status")).to_contain_text("a smaller learning rate often helps", timeout=120_000)
    expect(page.get_by_role("button", name="Train", exact=True)).to_be_visible()

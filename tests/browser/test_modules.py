"""The numbers that the explorers' JavaScript computes, against those of JAX: an empty page is enough for this."""

import base64
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from playwright.sync_api import Page, expect

from course_utils.models import MLP, VAE
from course_utils.widgets import CurveExplorer, DensityExplorer, LatentExplorer, StyleExplorer
from course_utils.widgets.exported import ACTIVATIONS
from tests.browser.bare import show

NUM_Z = 500

DECODE = """([zs, dim]) => {
    const floats = new Float32Array(Uint8Array.from(atob(zs), (character) => character.charCodeAt(0)).buffer);
    const decode = module.mlp(model.get("spec").layers, new Float32Array(model.get("weights").buffer));
    const decoded = [];
    for (let i = 0; i < floats.length; i += dim) decoded.push(...decode(floats.subarray(i, i + dim)));
    const bytes = new Uint8Array(Float32Array.from(decoded).buffer);
    let text = "";
    for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
    return btoa(text);
}"""


def _decode_in(page: Page, explorer: LatentExplorer, z: np.ndarray) -> np.ndarray:
    show(page, explorer)
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


def _inks(page: Page) -> np.ndarray:
    """Return the ink of the large picture and of the small ones, as grey levels: [1 + choices, pixels]."""
    return 255 - np.array(
        page.evaluate(
            """() => [...document.querySelectorAll("canvas")].map((canvas) => {
                const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                return Array.from({ length: data.length / 4 }, (_, i) => data[4 * i]);
            })"""
        )
    )


def test_a_style_is_drawn_as_each_choice_and_the_chosen_one_large(page):
    decoder = MLP([5, 12, 49], rngs=nnx.Rngs(0))
    decoder.layers[0].kernel[...] = 3 * decoder.layers[0].kernel[...]
    decoder.layers[1].kernel[...] = 3 * decoder.layers[1].kernel[...]
    z = np.array([0.7, -1.3])

    def expected(z, choice):
        logits = decoder(jnp.concatenate([jnp.tile(jnp.float32(z), (3, 1)), jnp.eye(3)], 1))
        small = 255 * np.asarray(jax.nn.sigmoid(logits))
        return np.concatenate([small[[choice]], small])

    show(page, StyleExplorer(decoder, ["a", "b", "c"], z=z, choice=1))
    np.testing.assert_allclose(_inks(page), expected(z, 1), atol=1)
    assert np.abs(np.diff(expected(z, 1)[1:], axis=0)).max(1).min() > 30, "the choices look alike"
    page.get_by_role("button", name="draw c").click()
    np.testing.assert_allclose(_inks(page), expected(z, 2), atol=1)
    assert [page.get_by_role("button", name=f"draw {name}").get_attribute("aria-pressed") for name in "abc"] == [
        *("false", "false", "true")
    ]
    slider = page.get_by_role("slider", name="z[1]")
    slider.focus()
    page.keyboard.press("ArrowRight")
    z[1] += 0.05
    np.testing.assert_allclose(_inks(page), expected(z, 2), atol=1)
    assert page.evaluate("[...model.get('z'), model.get('choice')]") == pytest.approx([*z, 2])
    page.get_by_role("button", name="Prior mean").click()
    np.testing.assert_allclose(_inks(page), expected([0, 0], 2), atol=1)
    page.evaluate("model.set('choice', 0)")
    np.testing.assert_allclose(_inks(page), expected([0, 0], 0), atol=1)
    page.get_by_role("button", name="Reset").click()
    assert page.evaluate("[...model.get('z'), model.get('choice')]") == pytest.approx([0.7, -1.3, 1])
    np.testing.assert_allclose(_inks(page), expected([0.7, -1.3], 1), atol=1)


def test_python_is_told_ten_times_a_second_at_most_and_always_the_last_value(page):
    show(page, CurveExplorer({"a": np.arange(50)}, np.arange(3), {"q": np.arange(3)}))
    page.evaluate(
        """async () => {
            const slider = document.querySelector("input");
            for (let value = 0; value < 50; value++) {
                window.last = performance.now();
                slider.value = value;
                slider.dispatchEvent(new Event("input"));
                await new Promise((resolve) => setTimeout(resolve, 5));
            }
        }"""
    )
    page.wait_for_function("() => saved.at(-1) >= last")
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
    show(page, explorer)
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
    show(page, CurveExplorer({"a": [0, 1]}, np.arange(5), {"q": [0, 1, np.nan, 1, 0]}))
    path = page.evaluate("document.querySelector('path[data-name=q]').getAttribute('d')")
    assert [path.count(letter) for letter in "ML"] == [2, 2]


GRID = np.linspace(-3, 3, 61)
BOWL = GRID**2 + GRID[:, None] ** 2


def _corners(path: str) -> np.ndarray:
    return np.array(re.findall(r"(-?[\d.]+),(-?[\d.]+)", path), float)


def _contour(page: Page, values: np.ndarray, level: float) -> str:
    """Return the path of a contour line on a grid from -3 to 3, in thousandths."""
    show(page, DensityExplorer({"a": [0, 1]}, [0, 1], [0, 1], {"p": np.ones((2, 2))}))
    return page.evaluate(
        """([values, numX, numY, level]) => {
            const place = (n) => (i) => 6000 * (i / (n - 1)) - 3000;
            return module.contourPath(values, numX, numY, level, place(numX), place(numY));
        }""",
        [values.ravel().tolist(), *values.shape[::-1], level],
    )


@pytest.mark.parametrize("values", [BOWL, -BOWL, BOWL[::2]], ids=["bowl", "hill", "fewer rows than columns"])
def test_a_contour_of_a_bowl_is_one_closed_circle(page, values):
    path = _contour(page, values, np.sign(values[0, 0]) * 4.0)
    assert (path.count("M"), path.count("Z")) == (1, 1)
    np.testing.assert_allclose(np.hypot(*_corners(path).T), 2000, atol=1 if len(values) == 61 else 3)


def test_a_contour_that_leaves_the_grid_is_open_and_drawn_once(page):
    path = _contour(page, BOWL, 10.03)
    assert (path.count("M"), path.count("Z")) == (4, 0)
    corners = _corners(path)
    assert len(corners) == len(np.unique(corners, axis=0))
    np.testing.assert_allclose(np.hypot(*corners.T), 1000 * np.sqrt(10.03), atol=2)


@pytest.mark.parametrize(("level", "above"), [(0.9, True), (1.1, False)])
def test_the_middle_of_a_saddle_decides_what_is_joined(page, level, above):
    """Opposite corners of one cell are 2, the others 0, so that its middle is 1; the lines cut off what lies alone."""
    lines = _contour(page, np.array([[2.0, 0.0], [0.0, 2.0]]), level).split("M")[1:]
    assert len(lines) == 2
    for line in lines:
        x, y = _corners(line).mean(0)
        assert (x * y < 0) == above


def test_nothing_is_drawn_where_no_value_crosses_the_level(page):
    assert _contour(page, BOWL, 99.0) == _contour(page, BOWL, -1.0) == ""


def test_a_path_is_interrupted_and_a_dot_left_out_where_a_coordinate_is_not_finite(page):
    places = np.array([[0, 0], [1, 1], [np.nan, 2], [2, 2], [3, np.inf], [3, 3], [4, 4.0]])
    grid = np.arange(5.0)
    show(
        page,
        DensityExplorer({"a": [0, 1]}, grid, grid, {"p": np.ones((5, 5))}, points={"z": places}, paths={"m": places}),
    )
    path, dots = (page.get_attribute(f"path[data-name={name}]", "d") for name in "mz")
    assert [path.count(letter) for letter in "ML"] == [3, 2]
    assert dots.count("M") == 5
    side = page.evaluate("document.querySelector('path[data-name=m]').ownerSVGElement.width.baseVal.value")
    finite = places[np.isfinite(places).all(1)]
    expected = np.stack([(finite[:, 0] + 0.5) / 5, 1 - (finite[:, 1] + 0.5) / 5], 1) * side
    np.testing.assert_allclose(_corners(path), expected, atol=0.06)
    np.testing.assert_allclose(_corners(dots), expected, atol=0.06)


def test_a_density_stands_the_right_way_up_and_centred_on_its_grid(page):
    """The one cell that is not empty is the dark one of the heat map, and in the middle of its contour lines."""
    density = np.zeros((4, 6))
    density[3, 1] = 2.0
    show(page, DensityExplorer({"a": [0, 1]}, np.arange(6), np.arange(4), {"p": density, "q": density}))
    page.add_style_tag(content=DensityExplorer._css)
    opacity = page.evaluate(
        """() => {
            const canvas = document.querySelector(".vi-layers > canvas");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return Array.from({ length: data.length / 4 }, (_, i) => data[4 * i + 3]);
        }"""
    )
    np.testing.assert_array_equal(np.reshape(opacity, (4, 6)), 255 * (density[::-1] > 0))
    canvas, axes = page.evaluate(
        """() => [".vi-layers > canvas", ".vi-layers path.vi-axis"].map((selector) => {
            const { x, y, width, height } = document.querySelector(selector).getBoundingClientRect();
            return [x, y, width, height];
        })"""
    )
    np.testing.assert_allclose(canvas, axes, atol=1.1)  # the axes are a line of one pixel
    corners = _corners(page.get_attribute("path[data-name=q]", "d"))
    side = page.evaluate("document.querySelector('path[data-name=q]').ownerSVGElement.width.baseVal.value")
    # The cell is the second of six from the left; it lies on the upper border, where its lines end.
    assert (corners[:, 0].min() + corners[:, 0].max()) / 2 == pytest.approx(1.5 / 6 * side, abs=0.1)
    assert corners[:, 1].min() == pytest.approx(0.5 / 4 * side, abs=0.1)


def test_a_line_marks_the_value_of_the_first_slider_beside_the_densities(page):
    steps = np.array([0.0, 10.0, 40.0])
    density, curve = np.ones((2, 2)), {"ELBO": -steps}
    show(page, DensityExplorer({"step": steps}, [0, 1], [0, 1], {"p": density}, curve=curve, curve_x=steps))
    for i, share in enumerate(steps / 40):
        page.evaluate("(i) => model.set('position', [i])", i)
        marked, width = page.evaluate(
            """() => {
                const line = document.querySelector(".vi-marker");
                return [line.x1.baseVal.value, line.ownerSVGElement.width.baseVal.value];
            }"""
        )
        assert marked == pytest.approx(share * width, abs=0.06)


def test_three_sliders_choose_the_frame_of_a_curve(page):
    heights = np.arange(24.0).reshape(2, 3, 4)
    sliders = {name: np.arange(n) for name, n in zip("abc", heights.shape)}
    show(page, CurveExplorer(sliders, [0, 1], {"q": np.stack([heights] * 2, -1)}, y_range=(0, 23)))
    for position in np.ndindex(heights.shape):
        page.evaluate("(position) => model.set('position', position)", list(position))
        _, y = _corners(page.get_attribute("path[data-name=q]", "d"))[0]
        height = page.evaluate("document.querySelector('path[data-name=q]').ownerSVGElement.height.baseVal.value")
        assert 23 * (1 - y / height) == pytest.approx(heights[position], abs=0.01)


def test_a_film_plays_to_its_end_pauses_and_begins_again(page):
    heights = np.arange(8.0)
    explorer = CurveExplorer(
        {"a": [0, 1], "step": heights}, [0, 1], {"q": np.ones((1, 8, 2))}, readout={"n": heights[None]},
        film="step", start={"a": 1, "step": 0},
    )  # fmt: skip
    show(page, explorer)
    page.evaluate(
        """() => {
            window.seen = [];
            model.on("change:position", () => seen.push(model.get("position")[1]));
        }"""
    )
    page.get_by_role("button", name="Play").click()
    assert page.get_attribute(".vi-readout", "aria-live") == "off"
    page.wait_for_function("() => seen.length === 3")
    page.get_by_role("button", name="Pause").click()
    paused = page.evaluate("seen.length")
    page.wait_for_timeout(400)
    assert page.evaluate("seen.length") == paused
    assert page.get_attribute(".vi-readout", "aria-live") == "polite"
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => model.get('position')[1] === 7")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    assert page.evaluate("seen") == [1, 2, 3, 4, 5, 6, 7]
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => seen.length > 8")
    assert page.evaluate("seen.slice(7, 9)") == [0, 1]
    page.get_by_role("button", name="Reset").click()
    assert page.evaluate("model.get('position')") == [1, 0]
    # Eight frames take two seconds, however fast the page is: here its clock is ours.
    page.evaluate("() => { performance.now = () => window.now; window.now = 0; }")
    page.get_by_role("button", name="Play").click()
    for now, frame in ((280, 0), (290, 1)):
        page.evaluate("(now) => { window.now = now; return new Promise((done) => setTimeout(done, 100)); }", now)
        assert page.evaluate("model.get('position')") == [1, frame]
    page.evaluate("() => { delete performance.now; }")
    page.get_by_role("button", name="Pause").click()

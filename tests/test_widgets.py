"""The explorers' Python side: what is sent to the page, and what is refused. What the page does is in ``browser``."""

import gzip
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from course_utils import data
from course_utils.bounds import DiagonalNormal, standard_normal
from course_utils.errors import CourseError
from course_utils.models import MLP, VAE
from course_utils.widgets import (
    AscentExplorer,
    CurveExplorer,
    DensityExplorer,
    InferenceExplorer,
    LatentExplorer,
    Playground,
    ProposalExplorer,
    RegressionExplorer,
    StyleExplorer,
)
from course_utils.widgets.exported import mean_kl
from course_utils.widgets.frames import FrameExplorer
from course_utils.widgets.playground import DEFAULTS, PRESETS
from course_utils.widgets.program import page_program

MEANS, SCALES, X = np.linspace(-2, 2, 5), np.geomspace(0.1, 10, 4), np.linspace(-3, 3, 7)
FRAMES = np.arange(5 * 4 * 7.0).reshape(5, 4, 7)
SLIDERS = {"mean": MEANS, "scale": SCALES}


def read(explorer: FrameExplorer, entry: dict, position: list[int], length: int) -> np.ndarray:
    """Return what the page reads for one frame."""
    return _frame(np.frombuffer(explorer.data, "<f4"), entry, position, length)


def _frame(numbers: np.ndarray, entry: dict, position: list[int], length: int) -> np.ndarray:
    assert len(entry["strides"]) == len(position)
    offset = entry["offset"] + sum(stride * i for stride, i in zip(entry["strides"], position))
    return numbers[offset : offset + length]


def test_every_frame_is_where_the_page_looks_for_it():
    heights = np.random.default_rng(0).normal(size=(5, 4))
    explorer = CurveExplorer(
        SLIDERS,
        X,
        {"fixed": X**2, "moving": FRAMES, "by scale": FRAMES[:1]},
        bars={"height": heights, "number": 2.0},
        level={"by mean": heights[:, :1]},
    )
    fixed, moving, by_scale = explorer.spec["curves"]
    height, number = explorer.spec["bars"]
    for i, j in np.ndindex(5, 4):
        np.testing.assert_array_equal(read(explorer, fixed, [i, j], 7), X.astype("f4") ** 2)
        np.testing.assert_array_equal(read(explorer, moving, [i, j], 7), FRAMES[i, j])
        np.testing.assert_array_equal(read(explorer, by_scale, [i, j], 7), FRAMES[0, j])
        assert read(explorer, height, [i, j], 1) == np.float32(heights[i, j])
        assert read(explorer, number, [i, j], 1) == 2
        assert read(explorer, explorer.spec["levels"][0], [i, j], 1) == np.float32(heights[i, 0])
    assert [entry["name"] for entry in explorer.spec["readout"]] == ["height", "number", "by mean"]


def test_one_slider_is_enough_and_jax_arrays_are_welcome():
    explorer = CurveExplorer({"scale": jnp.array([1.0, 2.0])}, jnp.asarray(X), {"q": jnp.outer(jnp.ones(2), X)})
    np.testing.assert_allclose(read(explorer, explorer.spec["curves"][0], [1], 7), X, rtol=1e-6)
    assert repr(explorer) == "CurveExplorer(scale: 2 values)"


def test_three_sliders_have_a_frame_for_each_combination():
    frames = np.random.default_rng(0).normal(size=(5, 4, 3, 7)).astype("f4")
    explorer = CurveExplorer(
        SLIDERS | {"K": [1, 5, 50]}, X, {"q": frames, "by K": frames[:1, :1]}, bars={"KL": frames[..., 0]}
    )
    q, by_k = explorer.spec["curves"]
    for position in np.ndindex(5, 4, 3):
        np.testing.assert_array_equal(read(explorer, q, position, 7), frames[position])
        np.testing.assert_array_equal(read(explorer, by_k, position, 7), frames[0, 0, position[2]])
        assert read(explorer, explorer.spec["bars"][0], position, 1) == frames[position][0]
    assert explorer.position == [2, 2, 1] and explorer.values["K"] == 5
    assert repr(explorer) == "CurveExplorer(mean: 5 values, scale: 4 values, K: 3 values)"


def test_sliders_start_where_they_are_told_to():
    explorer = CurveExplorer(SLIDERS, X, {"q": FRAMES}, start={"mean": 0.9})
    assert explorer.position == [3, 2]
    assert explorer.values == {"mean": 1.0, "scale": pytest.approx(SCALES[2])}
    explorer.position = [0, 0]
    assert explorer.values == {"mean": -2.0, "scale": pytest.approx(0.1)}
    for impossible in ([5, 0], [-1, 0], [0]):
        with pytest.raises(CourseError, match="position"):
            explorer.position = impossible


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (np.linspace(-1, 1, 5), ["−1.0", "−0.5", "0.0", "0.5", "1.0"]),
        (np.arange(-0.3, 0.31, 0.1), ["−0.3", "−0.2", "−0.1", "0.0", "0.1", "0.2", "0.3"]),
        (np.array([1, 5, 50]), ["1", "5", "50"]),
        (np.geomspace(0.01, 10, 4), ["0.01", "0.1", "1", "10"]),
        (np.linspace(0.1, 2, 39)[:3], ["0.10", "0.15", "0.20"]),
    ],
)
def test_slider_values_are_rounded_for_reading(values, texts):
    explorer = CurveExplorer({"a": values}, X, {"q": X})
    assert explorer.spec["sliders"][0]["texts"] == texts


def test_axes_hold_all_frames_and_ignore_what_is_not_finite():
    frames = FRAMES.copy()
    frames[0, 0, 0] = np.nan
    frames[1, 1, 1] = np.inf
    elbo, kl = np.full((5, 4), -8.0), np.full((5, 4), 3.0)
    explorer = CurveExplorer(
        SLIDERS, X, {"q": frames}, bars={"ELBO": elbo, "KL": kl}, level={"log-evidence": -4.5}, bars_from=-10.0
    )
    low, high = explorer.spec["y_range"]
    assert low == 0 and 139 < high < 150
    low, high = explorer.spec["bars_range"]
    assert -11 < low < -10 and -4.5 < high < -4
    explorer = CurveExplorer(SLIDERS, X, {"q": FRAMES}, y_range=(-1, 2), x_range=(0, 1))
    assert (explorer.spec["y_range"], explorer.spec["x_range"]) == ([-1, 2], [0, 1])


def test_colours_and_dashes_differ_between_curves_bars_and_levels():
    explorer = CurveExplorer(
        SLIDERS, X, {"p": X, "q": FRAMES}, bars={"a": 1.0}, level={"b": 1.0}, colors={"p": "#000000"}
    )
    entries = [*explorer.spec["curves"], *explorer.spec["bars"], *explorer.spec["levels"]]
    assert len({entry["color"] for entry in entries}) == len({entry["dash"] for entry in entries}) == 4
    assert entries[0]["color"] == "currentColor"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"curves": {"q": FRAMES[:, 0]}}, r"curve 'q' has the shape \(5, 7\); expected \(7,\) or \(5, 4, 7\)"),
        ({"curves": {"q": FRAMES.T}}, r"curve 'q' has the shape \(7, 4, 5\)"),
        ({"curves": {"q": "text"}}, "curve 'q' is not an array of numbers"),
        ({"curves": {"q": [[1, 2], [3]]}}, "curve 'q' is not an array of numbers"),
        ({"bars": {"KL": MEANS}}, r"bar 'KL' has the shape \(5,\); expected one number or \(5, 4\)"),
        ({"level": {"top": FRAMES}}, r"level 'top' has the shape \(5, 4, 7\)"),
        ({"readout": {"n": X}}, r"readout 'n' has the shape \(7,\)"),
        ({"x": X[:1]}, r"x has the shape \(1,\)"),
        ({"sliders": {}}, "0 sliders; expected one to three"),
        ({"sliders": dict.fromkeys("abcd", MEANS)}, "4 sliders; expected one to three"),
        ({"colors": {"p": "red"}}, "colors names 'p', which is none of 'q'"),
        ({"sliders": {"mean": [MEANS]}}, r"slider 'mean' has the shape \(1, 5\)"),
        ({"sliders": {"mean": ["a", "b"]}}, "slider 'mean' is not an array of numbers"),
        ({"start": {"width": 1.0}}, "start names 'width', which is none of 'mean', 'scale'"),
        ({"film": "width"}, "film names 'width', which is none of 'mean', 'scale'"),
        ({"steps": ("p",)}, "steps names 'p'"),
        ({"y_range": (1, 0)}, "y_range"),
    ],
)
def test_one_sentence_says_what_does_not_fit(changes, message):
    with pytest.raises(CourseError, match=message):
        CurveExplorer(**{"sliders": SLIDERS, "x": X, "curves": {"q": FRAMES}} | changes)


Y = np.linspace(0, 1, 6)
DENSITIES = np.random.default_rng(1).uniform(0.1, 10, (5, 4, 6, 7))


def read_density(explorer: DensityExplorer, entry: dict, position: list[int]) -> np.ndarray:
    """Return one frame of a density, as the page decodes it."""
    return (_frame(np.frombuffer(explorer.densities, np.uint8), entry, position, 42).reshape(6, 7) / 255) ** 2


def test_every_density_is_sent_relative_to_its_own_maximum():
    explorer = DensityExplorer(SLIDERS, X, Y, {"p": DENSITIES[0, 0], "q": DENSITIES, "by scale": DENSITIES[:1]})
    fixed, moving, by_scale = explorer.spec["densities"]
    for i, j in np.ndindex(5, 4):
        for entry, density in ((fixed, DENSITIES[0, 0]), (moving, DENSITIES[i, j]), (by_scale, DENSITIES[0, j])):
            np.testing.assert_allclose(read_density(explorer, entry, [i, j]), density / density.max(), atol=1 / 255)
    assert len(explorer.densities) == 42 * (1 + 20 + 4)
    assert explorer.spec["shape"] == [7, 6]


def test_a_density_that_is_zero_is_sent_as_such():
    explorer = DensityExplorer({"a": [0, 1]}, X, Y, {"p": np.stack([np.zeros((6, 7)), DENSITIES[0, 0]])})
    assert not read_density(explorer, explorer.spec["densities"][0], [0]).any()
    assert read_density(explorer, explorer.spec["densities"][0], [1]).max() == 1


def test_points_paths_and_curves_are_where_the_page_looks_for_them():
    places = np.random.default_rng(2).normal(size=(5, 4, 3, 2)).astype("f4")
    places[0, 0, 1] = np.nan
    explorer = DensityExplorer(
        SLIDERS,
        X,
        Y,
        {"p": DENSITIES[0, 0]},
        points={"z": places},
        paths={"mean": places[0, 0], "by mean": places[:, :1]},
        curve={"ELBO": MEANS**3},
        curve_x=MEANS,
        readout={"ELBO": MEANS[:, None] ** 3, "n": 3},
    )
    (z,), (mean, by_mean) = explorer.spec["points"], explorer.spec["paths"]
    side = explorer.spec["side"]
    assert z["num"] == mean["num"] == by_mean["num"] == 3
    for i, j in np.ndindex(5, 4):
        np.testing.assert_array_equal(read(explorer, z, [i, j], 6), places[i, j].ravel())
        np.testing.assert_array_equal(read(explorer, mean, [i, j], 6), places[0, 0].ravel())
        np.testing.assert_array_equal(read(explorer, by_mean, [i, j], 6), places[i, 0].ravel())
        np.testing.assert_array_equal(read(explorer, side["curves"][0], [i, j], 5), MEANS.astype("f4") ** 3)
        assert read(explorer, side["marker"], [i, j], 1) == MEANS[i]
        assert read(explorer, explorer.spec["readout"][0], [i, j], 1) == MEANS[i] ** 3
    assert (side["x_range"], side["x_label"], side["y_label"]) == ([-2, 2], "mean", "nats")


def test_axes_reach_to_the_borders_of_the_outermost_cells():
    explorer = DensityExplorer(SLIDERS, X, Y, {"p": DENSITIES[0, 0]})
    assert explorer.spec["x_range"] == pytest.approx([-3.5, 3.5])
    assert explorer.spec["y_range"] == pytest.approx([-0.1, 1.1])
    assert explorer.spec["side"] is None


def test_what_has_the_same_name_has_the_same_colour():
    explorer = DensityExplorer(
        SLIDERS,
        X,
        Y,
        {"p": DENSITIES, "q": DENSITIES},
        points={"q": [[0, 0]]},
        paths={"m": [[0, 0]]},
        colors={"p": "#000000", "m": "#000000"},
    )
    (p, q), (points,), (path,) = (explorer.spec[kind] for kind in ("densities", "points", "paths"))
    assert q["color"] == points["color"] != p["color"] == "#000000"
    assert path["color"] == "currentColor"


def test_the_axis_holds_the_outermost_steps_whole():
    places, heights = [1, 2, 4, 8], {"KL": [3, 2, 1, 0]}
    assert CurveExplorer({"β": [1, 5]}, places, heights).spec["x_range"] == [1, 8]
    assert CurveExplorer({"β": [1, 5]}, places, heights, steps=["KL"]).spec["x_range"] == [0.5, 10]
    assert CurveExplorer({"β": [1, 5]}, places, heights, steps=["KL"], x_range=(0, 8)).spec["x_range"] == [0, 8]


@pytest.mark.parametrize(
    ("slider", "steps"),
    [
        (np.linspace(-2, 2, 9), 2),  # on the axis: two steps for each of its units
        (np.linspace(2, -2, 9), -2),  # and so downwards
        (np.arange(0, 360, 15), 23 / 7),  # not on it: all steps along its whole length, from -3.5 to 3.5
    ],
)
def test_a_dragged_slider_follows_the_axis_on_which_it_lies_or_goes_across_it(slider, steps):
    explorer = DensityExplorer({"other": MEANS, "dragged": slider}, X, Y, {"p": DENSITIES[0, 0]}, drag=("dragged",))
    assert explorer.spec["drag"] == [{"slider": 1, "steps": pytest.approx(steps)}]
    assert DensityExplorer({"dragged": slider}, X, Y, {"p": DENSITIES[0, 0]}).spec["drag"] == []
    curves = CurveExplorer({"other": MEANS, "dragged": slider}, X, {"q": X}, drag="dragged", x_range=(-3.5, 3.5))
    assert curves.spec["drag"] == explorer.spec["drag"]


def test_an_explorer_knows_where_it_started():
    explorer = CurveExplorer(SLIDERS, X, {"q": FRAMES}, start={"mean": 0.9})
    explorer.position = [0, 0]
    assert explorer.spec["start"] == [3, 2]
    style = StyleExplorer(MLP([5, 4, 9], rngs=nnx.Rngs(0)), ["a", "b", "c"], z=[0.5, -1], choice=2)
    style.z, style.choice = [0, 0], 0
    assert style.spec["start"] == {"z": [0.5, -1], "choice": 2}


def test_forty_frames_of_sixty_by_sixty_are_small():
    density = np.ones((40, 60, 60), np.float32)
    grid = jnp.linspace(-3, 3, 60)
    explorer = DensityExplorer({"step": jnp.arange(40)}, grid, grid, {"p": density[0], "q": density})
    assert len(explorer.data) + len(explorer.densities) < 150_000


def test_density_explorer_has_the_same_position_and_form_as_curve_explorer():
    explorer = DensityExplorer(SLIDERS, X, Y, {"p": DENSITIES}, start={"mean": 0.9})
    assert repr(explorer) == "DensityExplorer(mean: 5 values, scale: 4 values)"
    assert explorer.position == [3, 2] and explorer.values["mean"] == 1
    explorer.position = [0, 0]
    assert explorer.values["mean"] == -2
    with pytest.raises(CourseError, match=r"position is \[5, 0\]"):
        explorer.position = [5, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"densities": {}}, "densities is empty"),
        ({"densities": {"p": DENSITIES[0]}}, r"'p' has the shape \(4, 6, 7\); expected \(6, 7\) or \(5, 4, 6, 7\)"),
        ({"densities": {"p": DENSITIES[0, 0].T}}, r"density 'p' has the shape \(7, 6\)"),
        ({"densities": {"p": X}}, r"density 'p' has the shape \(7,\)"),
        ({"densities": {"p": -DENSITIES}}, "density 'p' has values that are negative or not finite"),
        ({"densities": {"p": DENSITIES * np.nan}}, "density 'p' has values that are negative or not finite"),
        ({"points": {"z": X}}, r"points 'z' has the shape \(7,\); expected \(n, 2\) or \(5, 4, n, 2\)"),
        ({"points": {"z": np.zeros((9, 3))}}, r"points 'z' has the shape \(9, 3\)"),
        ({"paths": {"m": np.zeros((3, 9, 2))}}, r"path 'm' has the shape \(3, 9, 2\)"),
        ({"readout": {"ELBO": MEANS}}, r"readout 'ELBO' has the shape \(5,\)"),
        ({"curve": {"ELBO": X}}, "curve needs curve_x"),
        ({"curve": {"ELBO": X}, "curve_x": MEANS}, r"curve 'ELBO' has the shape \(7,\); expected \(5,\)"),
        ({"curve": {"ELBO": X}, "curve_x": X, "curve_range": (1, 1)}, "curve_range"),
        ({"x": X[:, None]}, r"x has the shape \(7, 1\)"),
        ({"x": X[::-1]}, "x is not evenly spaced from its least value to its largest"),
        ({"y": np.geomspace(1, 2, 6)}, "y is not evenly spaced"),
        ({"sliders": {}}, "0 sliders"),
        ({"start": {"step": 1}}, "start names 'step'"),
        ({"drag": ("step",)}, "drag names 'step', which is none of 'mean', 'scale'"),
        ({"drag": ("mean", "scale", "mean")}, "drag has 3 names; expected two at most"),
        ({"colors": {"q": "red"}}, "colors names 'q'"),
    ],
)
def test_one_sentence_says_what_does_not_fit_to_the_grid(changes, message):
    with pytest.raises(CourseError, match=message):
        DensityExplorer(**{"sliders": SLIDERS, "x": X, "y": Y, "densities": {"p": DENSITIES}} | changes)


def make_vae(activation=nnx.silu) -> VAE:
    vae = VAE(4, data_dim=6, hidden=(8,), activation=activation, rngs=nnx.Rngs(0))
    last = vae.encoder.network.layers[-1]
    last.kernel[...] = 0.1 * last.kernel[...]
    last.bias[...] = jnp.array([0.5, 0.0, 2.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    last.kernel[...] = last.kernel[...].at[:, [1, 5]].set(0.0)
    return vae


IMAGES = np.random.default_rng(0).integers(0, 256, (300, 2, 3), np.uint8)


def test_dimensions_are_sorted_by_their_mean_kl():
    vae = make_vae()
    explorer = LatentExplorer(vae, IMAGES, labels=[7] * 300)
    assert explorer.spec["order"] == [2, 3, 0, 1]
    assert explorer.spec["num_sliders"] == explorer.spec["num_informative"] == 3
    kl = vae.encode(jnp.asarray(IMAGES.reshape(300, 6) / 255.0)).kl(vae.prior).mean()
    assert sum(explorer.spec["kl"]) == pytest.approx(float(kl), rel=1e-5)
    assert repr(explorer) == "LatentExplorer(latent_dim=4, images=200)"
    assert explorer.labels == ["7"] * 200


def test_kl_of_a_dimension_is_that_of_a_one_dimensional_normal():
    q = DiagonalNormal(jnp.array([[0.3, -2.0], [0.1, 1.0]]), jnp.array([[0.5, 1.5], [0.9, 1e-3]]))
    for d, kl in enumerate(mean_kl(q)):
        one = DiagonalNormal(q.mean[:, [d]], q.scale[:, [d]])
        assert kl == pytest.approx(float(one.kl(standard_normal(1)).mean()), rel=1e-5)


@pytest.mark.parametrize(
    "images",
    [IMAGES, IMAGES.astype(np.int64), IMAGES / 255, jnp.asarray(IMAGES)],
    ids=["grey levels", "integers", "ink", "jax"],
)
def test_images_may_be_grey_levels_or_ink(images):
    explorer = LatentExplorer(make_vae(), images)
    np.testing.assert_array_equal(np.frombuffer(explorer.pixels, np.uint8), IMAGES[:200].ravel())
    mean = make_vae().encode(jnp.asarray(IMAGES[0].ravel() / 255.0)).mean
    np.testing.assert_allclose(explorer.z, mean, rtol=1e-5)


def test_binary_images_stored_as_integers_are_black_and_white():
    binary = (IMAGES > 127).astype(np.uint8)
    assert set(LatentExplorer(make_vae(), binary).pixels) == {0, 255}


def test_flat_square_images_find_their_shape():
    explorer = LatentExplorer(VAE(2, data_dim=9, hidden=(4,), rngs=nnx.Rngs(0)), np.zeros((1, 9)))
    assert (explorer.spec["height"], explorer.spec["width"]) == (3, 3)


def test_ranges_hold_every_code():
    vae = make_vae()
    vae.encoder.network.layers[-1].bias[...] = jnp.array([4.2, 0.0, -7.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    ranges = np.array(LatentExplorer(vae, IMAGES).ranges)
    assert ranges[0, 1] >= 4.5 and ranges[2, 0] <= -7 and ranges[1].tolist() == [-3, 3]
    np.testing.assert_array_equal(ranges[:, 0], -ranges[:, 1])


def test_z_takes_arrays_and_refuses_what_cannot_be_decoded():
    explorer = LatentExplorer(make_vae(), IMAGES)
    explorer.z = jnp.array([0.0, 1.0, 2.0, 3.0])
    assert explorer.z == [0, 1, 2, 3] and all(type(value) is float for value in explorer.z)
    for impossible in ([1.0], [0.0, 0.0, 0.0, np.nan], np.zeros((1, 4)), "text", None):
        with pytest.raises(CourseError, match="z "):
            explorer.z = impossible
    assert explorer.z == [0, 1, 2, 3]
    with pytest.raises(CourseError, match="image is 200; expected an index from 0 to 199"):
        explorer.image = 200


def test_an_activation_is_known_by_what_it_computes():
    explorer = LatentExplorer(make_vae(lambda x: x / (1 + jnp.exp(-x))), IMAGES)
    assert [layer["activation"] for layer in explorer.spec["layers"]] == ["silu", "sigmoid"]


class Residual(nnx.Module):
    """An MLP that does more than its layers."""

    def __init__(self, mlp):
        self.layers, self.activation, self.mlp = mlp.layers, mlp.activation, mlp

    def __call__(self, z):
        return self.mlp(z) + z.sum(-1, keepdims=True)


def test_a_decoder_that_the_page_cannot_run_is_refused():
    with pytest.raises(CourseError, match=r"activation selu .* it knows silu, relu"):
        LatentExplorer(make_vae(nnx.selu), IMAGES)
    with pytest.raises(CourseError, match="activation leaky_relu as it is used here"):
        LatentExplorer(make_vae(jax.tree_util.Partial(nnx.leaky_relu, negative_slope=0.2)), IMAGES)
    residual, other = make_vae(), make_vae()
    residual.decoder = Residual(residual.decoder)
    with pytest.raises(CourseError, match="more than its layers"):
        LatentExplorer(residual, IMAGES)
    other.decoder = nnx.Conv(1, 1, (3, 3), rngs=nnx.Rngs(0))
    with pytest.raises(CourseError, match="a Conv"):
        LatentExplorer(other, IMAGES)


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (IMAGES[:, :, :2], {}, r"images has the shape \(300, 2, 2\)"),
        (IMAGES[:0], {}, r"images has the shape \(0, 2, 3\)"),
        (IMAGES.reshape(300, 6), {}, r"images has the shape \(300, 6\)"),
        (IMAGES - 128.0, {}, "values from"),
        (IMAGES, {"labels": [1, 2]}, "2 labels for 300 images"),
        (IMAGES, {"num_sliders": 0}, "num_sliders is 0"),
        (IMAGES, {"num_sliders": 5}, "num_sliders is 5"),
    ],
)
def test_images_that_do_not_fit_are_refused_in_one_sentence(images, options, message):
    with pytest.raises(CourseError, match=message):
        LatentExplorer(make_vae(), images, **options)


def test_a_style_explorer_knows_its_sizes_and_refuses_what_does_not_fit():
    explorer = StyleExplorer(MLP([5, 8, 49], rngs=nnx.Rngs(0)), "abc", z=[1, 2], choice=2)
    assert repr(explorer) == "StyleExplorer(style_dim=2, choices=3)"
    assert (explorer.z, explorer.choice, explorer.spec["height"]) == ([1, 2], 2, 7)
    for change in ({"z": [1, 2, 3]}, {"z": [1, float("nan")]}, {"z": ["a", "b"]}, {"choice": 3}, {"choice": -1}):
        with pytest.raises(CourseError):
            explorer.set_trait(*next(iter(change.items())))
    assert (explorer.z, explorer.choice) == ([1, 2], 2)
    for sizes in ([3, 8, 49], [5, 8, 48]):
        with pytest.raises(
            CourseError, match="expected a style and 3 choices in, and the pixels of a square image out"
        ):
            StyleExplorer(MLP(sizes, rngs=nnx.Rngs(0)), "abc")


def bowl(z: np.ndarray) -> np.ndarray:
    return -(z**2).sum(-1)


def test_the_log_joint_is_known_as_far_as_a_draw_can_reach():
    explorer = ProposalExplorer(bowl, -1.0, scale=(0.3, 0.3), x_range=(-1, 2), max_scale=0.5)
    values = np.frombuffer(explorer.log_joint, "<f4").reshape(161, 161)
    axes = [each["first"] + each["spacing"] * np.arange(161) for each in explorer.spec["axes"]]
    np.testing.assert_allclose([axes[0][[0, -1]], axes[1][[0, -1]]], [[-3.25, 4.25], [-5.25, 5.25]])
    assert values[7, 30] == np.float32(-(axes[0][30] ** 2) - axes[1][7] ** 2)
    assert explorer.spec["bars_range"] == [-6, 0]
    assert ProposalExplorer(bowl, -1.0, bars_range=(-20.0, 0.5)).spec["bars_range"] == [-20, 0.5]


def test_q_of_the_page_is_a_normal_in_python():
    explorer = ProposalExplorer(bowl, -1.0, mean=(0.5, -1), scale=(0.5, 1.2), correlation=-0.5)
    assert repr(explorer) == "ProposalExplorer(num_draws=200)"
    explorer.q = [1, 0, 0.4, 0.5, 0.5]
    np.testing.assert_array_equal(explorer.mean, [1, 0])
    np.testing.assert_allclose(explorer.covariance, [[0.16, 0.1], [0.1, 0.25]])
    for impossible in ([1, 0, 0.4, 0.5], [4, 0, 0.4, 0.5, 0], [1, 0, 0.4, 0, 0], [1, 0, 0.4, 0.5, 1], [np.nan] * 5):
        with pytest.raises(CourseError, match=r"q is .*; expected two means, two scales and a correlation"):
            explorer.q = impossible


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"log_joint": lambda z: z}, r"has the shape \(161, 161, 2\); expected \(161, 161\)"),
        ({"bars_range": (0.0, -20.0)}, r"bars_range is .*; expected two numbers, the smaller one first"),
        ({"log_joint": lambda z: "text"}, "log_joint is not an array of numbers"),
        ({"log_joint": lambda z: np.where(z[..., 0] > 0, 0, -np.inf)}, "log_joint is not finite everywhere"),
        ({"log_joint": lambda z: -1e300 * (z**2).sum(-1)}, "log_joint is not finite everywhere"),
        ({"log_evidence": np.nan}, "log_evidence is nan; expected a finite number of nats"),
        ({"mean": (9, 0)}, "q is .9.0, 0.0, 1.0, 1.0, 0.0.; expected two means"),
        ({"mean": (0,)}, "expected two means, two scales and a correlation"),
        ({"scale": (0, 1)}, "q is"),
        ({"correlation": 1}, "in -3 to 3, -3 to 3, 0.05 to 1.5, 0.05 to 1.5, -0.99 to 0.99"),
        ({"max_scale": 0}, "max_scale is 0; expected a finite number above 0.1"),
        ({"num_draws": 1}, "num_draws is 1; expected a number from 2 to 1000"),
        ({"x_range": (1, 0)}, "x_range is"),
    ],
)
def test_one_sentence_says_what_does_not_fit_to_a_proposal(changes, message):
    with pytest.raises(CourseError, match=message):
        ProposalExplorer(**{"log_joint": bowl, "log_evidence": 0.0} | changes)


def test_a_program_holds_only_what_its_result_needs():
    def function(z):
        jnp.sin(z)
        return jnp.where(z[0] > -jnp.inf, 2 * z[0], 0.0)

    program = page_program(function, 2)
    names = [step["primitive"] for step in program["steps"]]
    assert "sin" not in names and names.count("mul") == 1
    assert "-Infinity" in program["constants"], "JSON has no infinity"
    assert sum(program["uses"]) == sum(len(step["inputs"]) for step in program["steps"]) + 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda z: z, r"<lambda> of \[2\] does not return one number"),
        (lambda z: z.nothing, "JAX cannot trace <lambda>: .*no attribute"),
        (lambda z: jnp.sort(z)[0], "The page cannot compute sort, which <lambda> uses"),
        (lambda z: jnp.linalg.norm(z[::-1]) + z[jnp.argmax(z)], "The page cannot compute .*, which <lambda> uses"),
    ],
)
def test_one_sentence_says_what_the_page_cannot_compute(function, message):
    with pytest.raises(CourseError, match=message):
        page_program(function, 2)


RACE = {"targets": {"bowl": bowl}, "log_normalisers": {"bowl": 1.0}}


def test_a_race_starts_as_it_is_told_to():
    explorer = AscentExplorer(**RACE, second={"family": "full", "K": 50})
    assert repr(explorer) == "AscentExplorer(bowl)"
    assert explorer.history[1] == [[2.5, -1.0, -1.0, -1.0, 0.0, None]]
    assert [each["estimator"] for each in explorer.settings] == ["score function", "reparameterised"]
    assert explorer.settings[1] | {"family": "full", "K": 50} == explorer.settings[1]
    nodes = explorer.spec["quadrature"]
    square = np.average(np.array(nodes["noise"]) ** 2, axis=0, weights=nodes["weights"])
    np.testing.assert_allclose(square, 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": {}}, "targets is empty"),
        ({"targets": {"bowl": bowl, "b": bowl}}, "targets names 'b', which is none of 'bowl'"),
        ({"targets": {"bowl": lambda z: jnp.sort(z, axis=-1)[..., 0]}}, "The page cannot compute sort"),
        ({"targets": {"bowl": lambda z: z}}, r"bowl of \[90, 90, 2\] has the shape"),
        ({"log_normalisers": {"bowl": np.inf}}, "log-normaliser of 'bowl' is inf"),
        ({"start": [[0, 0]]}, "start is .*; expected two places"),
        ({"first": {"K": 3}}, "The K is 3; expected one of 2, 5, 10, 50"),
        ({"first": {"rate": 3}}, "settings names 'rate', which is none of 'estimator'"),
        ({"x_range": (1, 1)}, "x_range is"),
    ],
)
def test_one_sentence_says_what_does_not_fit_to_a_race(changes, message):
    with pytest.raises(CourseError, match=message):
        AscentExplorer(**RACE | changes)


def test_a_race_takes_no_other_history():
    explorer = AscentExplorer(**RACE)
    for impossible in ([], [[], []], [[[0] * 6], [[0] * 6, [0] * 6]], [[[0] * 5], [[0] * 5]]):
        with pytest.raises(CourseError, match="history does not hold two runs"):
            explorer.history = impossible
    with pytest.raises(CourseError, match="target names 'ring'"):
        explorer.target = "ring"
    with pytest.raises(CourseError, match="settings has 1 entries"):
        explorer.settings = explorer.settings[:1]


def test_points_of_the_page_reach_python():
    explorer = RegressionExplorer([0, 0.5], [1, -1], degree=1)
    assert repr(explorer) == "RegressionExplorer(points=2)"
    explorer.points = []
    assert explorer.points == []
    explorer.points = np.array([[0.25, 2]])
    assert explorer.points == [[0.25, 2]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": [0]}, r"x has the shape \(2,\) and y \(1,\)"),
        ({"x": ["a", "b"]}, "x is not an array of numbers"),
        ({"x": [0, 2]}, "expected at most 60 pairs, x from -1 to 1 and y from -3 to 3"),
        ({"y": [0, np.nan]}, "expected at most 60 pairs"),
        ({"x": np.zeros(61), "y": np.zeros(61)}, r"The points have the shape \(61, 2\); expected at most 60"),
        ({"degree": 10}, "degree is 10; expected one from 0 to 9"),
        ({"noise_scale": 0.0}, "noise_scale is 0.0; expected one from 0.05 to 1.0"),
        ({"prior_scale": 0}, "prior_scale is 0; expected a positive number"),
    ],
)
def test_one_sentence_says_what_does_not_fit_to_a_regression(changes, message):
    with pytest.raises(CourseError, match=message):
        RegressionExplorer(**{"x": [0, 0.5], "y": [0, 0]} | changes)


def test_the_playground_takes_its_settings_and_says_what_they_are():
    playground = Playground(latent_dim=10, objective="no noise")
    assert playground.settings == DEFAULTS | {"latent_dim": 10, "objective": "no noise"}
    assert repr(playground) == "Playground(objective='no noise', latent_dim=10)"
    playground.settings = {"beta": 4}
    assert playground.settings == DEFAULTS | {"beta": 4}


def test_the_playground_holds_the_images_it_says():
    playground = Playground()
    pixels = np.frombuffer(gzip.decompress(playground.pixels), np.uint8).reshape(-1, 28, 28)
    np.testing.assert_array_equal(pixels[:10_000], data.load_mnist("train")[0][:10_000])
    images, labels = data.load_mnist("test")
    np.testing.assert_array_equal(pixels[10_000:], images[:500])
    np.testing.assert_array_equal(np.frombuffer(playground.labels, np.uint8), labels[:500])
    assert len(playground.pixels) < 2_000_000


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"beta": 3}, "beta is 3; it can be 0.25, 0.5, 1, 2, 4, 8."),
        ({"hidden": 200}, "The playground has no setting 'hidden'; it has objective, side, latent_dim"),
        ({"latent_dim": np.ones(2)}, "latent_dim is array"),
    ],
)
def test_a_wrong_setting_of_the_playground_gets_one_sentence(settings, problem):
    with pytest.raises(CourseError, match=re.escape(problem)):
        Playground(**settings)
    playground = Playground()
    with pytest.raises(CourseError, match=re.escape(problem)):
        playground.settings = settings


def test_every_preset_of_the_playground_has_settings_that_there_are():
    assert len(PRESETS) == 6
    for _, settings, _ in PRESETS:
        Playground(**settings)


BINARY = (IMAGES > 127).astype(np.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": IMAGES}, "There are grey levels in images: draw zeros and ones"),
        ({"images": BINARY[:, :, :2]}, r"images has the shape \(300, 2, 2\)"),
        ({"labels": [1, 2]}, "There are 2 labels for the images, of which there are 300"),
        ({"training": (IMAGES, range(300))}, "There are grey levels in the images of training"),
        ({"training": (BINARY, [1])}, "There are 1 labels for the images of training, of which there are 300"),
        ({"hidden": np.zeros(5, bool)}, r"hidden has the shape \(5,\) and the type bool; expected 6 booleans"),
        ({"hidden": np.zeros(6)}, "the type float64; expected 6 booleans"),
    ],
)
def test_what_cannot_be_painted_on_is_refused_in_one_sentence(changes, message):
    with pytest.raises(CourseError, match=message):
        InferenceExplorer(make_vae(), **{"images": BINARY} | changes)


def test_an_inference_explorer_tells_what_is_painted_and_refuses_what_is_not_there():
    explorer = InferenceExplorer(make_vae(), BINARY, hidden=np.arange(6) < 2)
    assert repr(explorer) == "InferenceExplorer(latent_dim=4, images=200)"
    np.testing.assert_array_equal(explorer.seen, np.arange(6) >= 2)
    np.testing.assert_array_equal(explorer.x, np.where(explorer.seen, BINARY[0].ravel(), np.nan))
    assert explorer.spec["order"] == [2, 3, 0]
    before = explorer.paint, explorer.q, explorer.image
    q = np.ones((2, 4))
    for change in (
        {"paint": "01?"}, {"paint": "01?012"}, {"image": 200}, {"q": q[:, :3]}, {"q": q * np.nan}, {"q": -q}
    ):  # fmt: skip
        with pytest.raises(CourseError):
            explorer.set_trait(*next(iter(change.items())))
    assert (explorer.paint, explorer.q, explorer.image) == before


def test_an_encoder_that_the_page_cannot_run_is_refused():
    other = make_vae()
    other.encoder = nnx.Conv(1, 1, (3, 3), rngs=nnx.Rngs(0))
    with pytest.raises(CourseError, match="this encoder is another network, a Conv"):
        InferenceExplorer(other, BINARY)

"""The explorers' Python side: what is sent to the page, and what is refused. What the page does is in ``browser``."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from course_utils.bounds import DiagonalNormal, standard_normal
from course_utils.errors import CourseError
from course_utils.models import VAE
from course_utils.widgets import CurveExplorer, LatentExplorer
from course_utils.widgets.latent_explorer import mean_kl

MEANS, SCALES, X = np.linspace(-2, 2, 5), np.geomspace(0.1, 10, 4), np.linspace(-3, 3, 7)
FRAMES = np.arange(5 * 4 * 7.0).reshape(5, 4, 7)
SLIDERS = {"mean": MEANS, "scale": SCALES}


def read(explorer: CurveExplorer, entry: dict, position: list[int], length: int) -> np.ndarray:
    """Return what the page reads for one frame."""
    offset = entry["offset"] + sum(stride * i for stride, i in zip(entry["strides"], position))
    return np.frombuffer(explorer.data, "<f4")[offset : offset + length]


def test_every_frame_is_where_the_page_looks_for_it():
    heights = np.random.default_rng(0).normal(size=(5, 4))
    explorer = CurveExplorer(
        SLIDERS, X, {"fixed": X**2, "moving": FRAMES, "by scale": FRAMES[:1]},
        bars={"height": heights, "number": 2.0}, level={"by mean": heights[:, :1]},
    )  # fmt: skip
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
        ({"sliders": {}}, "0 sliders"),
        ({"sliders": {"mean": [MEANS]}}, r"slider 'mean' has the shape \(1, 5\)"),
        ({"sliders": {"mean": ["a", "b"]}}, "slider 'mean' is not an array of numbers"),
        ({"start": {"width": 1.0}}, "start names 'width', which is none of 'mean', 'scale'"),
        ({"steps": ("p",)}, "steps names 'p'"),
        ({"y_range": (1, 0)}, "y_range"),
    ],
)
def test_one_sentence_says_what_does_not_fit(changes, message):
    with pytest.raises(CourseError, match=message):
        CurveExplorer(**{"sliders": SLIDERS, "x": X, "curves": {"q": FRAMES}} | changes)


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
    kl = vae.encode(IMAGES.reshape(300, 6) / 255.0).kl(vae.prior).mean()
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
    mean = make_vae().encode(IMAGES[0].ravel() / 255.0).mean
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
    with pytest.raises(CourseError, match="activation selu .* it knows silu, relu"):
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

"""``data``: MNIST is what it should be or is not handed out at all, and binarisation is exact."""

import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from course_utils import data
from course_utils.data import (
    BREAST_CANCER_SHA256,
    DATA_DIR,
    MNIST_SHA256,
    DataError,
    binarize,
    fixed_binarization,
    load_breast_cancer,
    load_mnist,
)

# Published with the data set: how many of each digit, 0 to 9.
LABEL_COUNTS = {
    "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
}


@pytest.mark.parametrize(("split", "num_images"), [("train", 60_000), ("test", 10_000)])
def test_mnist_is_what_was_published(split, num_images):
    images, labels = load_mnist(split)
    assert images.shape == (num_images, 28, 28)
    assert labels.shape == (num_images,)
    assert images.dtype == labels.dtype == np.uint8
    assert np.bincount(labels).tolist() == LABEL_COUNTS[split]
    assert (images.min(), images.max()) == (0, 255)
    assert 0.12 < images.mean() / 255 < 0.14
    assert images[:, 0, 0].max() == 0


def test_mnist_is_the_training_split_by_default():
    assert len(load_mnist()[0]) == 60_000


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="'validation'"):
        load_mnist("validation")


def test_breast_cancer_is_what_was_published():
    """The ranges are those of the data set's own description."""
    measured, malignant = load_breast_cancer()
    assert malignant.dtype == bool
    assert (len(malignant), malignant.sum()) == (569, 212)
    assert len(measured) == 30
    assert all(column.shape == (569,) and np.isfinite(column).all() for column in measured.values())
    for name, low, high in [
        ("radius_mean", 6.981, 28.11),
        ("texture_mean", 9.71, 39.28),
        ("area_se", 6.802, 542.2),
        ("perimeter_worst", 50.41, 251.2),
        ("symmetry_worst", 0.156, 0.664),
    ]:
        assert (measured[name].min().round(3), measured[name].max().round(3)) == (low, high)
    assert measured["radius_mean"][malignant].mean() > measured["radius_mean"][~malignant].mean() + 4


def test_an_altered_table_is_not_handed_out(tmp_path):
    content = (DATA_DIR / "breast_cancer.csv").read_bytes()
    (tmp_path / "breast_cancer.csv").write_bytes(content.replace(b"17.99", b"17.98", 1))
    with pytest.raises(DataError, match=rf"{BREAST_CANCER_SHA256}.*git checkout -- data/breast_cancer\.csv"):
        load_breast_cancer(tmp_path)


@pytest.fixture
def intact():
    return (DATA_DIR / "mnist.npz").read_bytes()


def missing(path, intact):
    pass


def truncated(path, intact):
    path.write_bytes(intact[: len(intact) // 2])


def one_byte_short(path, intact):
    path.write_bytes(intact[:-1])


def one_bit_flipped(path, intact):
    position = len(intact) // 3
    path.write_bytes(intact[:position] + bytes([intact[position] ^ 1]) + intact[position + 1 :])


def something_appended(path, intact):
    path.write_bytes(intact + b"\n")


def empty(path, intact):
    path.write_bytes(b"")


def a_directory_in_its_place(path, intact):
    path.mkdir()


def a_link_to_nowhere(path, intact):
    path.symlink_to(path.with_name("nowhere"))


def unreadable(path, intact):
    if os.name != "posix" or os.geteuid() == 0:
        pytest.skip("permissions do not bind this user")
    path.write_bytes(intact)
    path.chmod(0)


@pytest.mark.parametrize(
    "damage",
    [
        missing,
        truncated,
        one_byte_short,
        one_bit_flipped,
        something_appended,
        empty,
        a_directory_in_its_place,
        a_link_to_nowhere,
        pytest.param(unreadable, marks=pytest.mark.ordinary_user),
    ],
    ids=lambda damage: getattr(damage, "__name__", None),
)
def test_a_damaged_file_is_never_handed_out(damage, tmp_path, intact, monkeypatch):
    damage(tmp_path / "mnist.npz", intact)
    monkeypatch.setattr(np, "load", lambda *_: pytest.fail("the arrays were read before the file was checked"))
    with pytest.raises(DataError) as error:
        load_mnist("test", directory=tmp_path)
    sentence = str(error.value)
    assert str(tmp_path / "mnist.npz") in sentence
    assert f"expected SHA-256 {MNIST_SHA256}" in sentence
    assert re.search(r"found ([0-9a-f]{64}|no file to check)", sentence)
    assert "git checkout -- data/mnist.npz" in sentence
    assert "\n" not in sentence


def test_an_intact_copy_elsewhere_is_as_good(tmp_path, intact):
    (tmp_path / "mnist.npz").write_bytes(intact)
    for ours, theirs in zip(load_mnist("test", directory=tmp_path), load_mnist("test")):
        assert_array_equal(ours, theirs)


def test_probability_of_ink_is_the_grey_level(monkeypatch):
    """Of all 65,536 random patterns, 257 times the grey level give ink: a probability within 2^-16 of pixel / 255."""
    patterns = jnp.arange(2**16, dtype=jnp.uint16)
    words = jax.lax.bitcast_convert_type(patterns.reshape(-1, 2), jnp.uint32)
    monkeypatch.setattr(jax.random, "bits", lambda key, shape, dtype: words)
    for pixel in (0, 1, 2, 100, 127, 128, 254, 255):
        ink = float(binarize(jax.random.key(0), np.full(2**16, pixel, np.uint8)).mean())
        assert ink == 257 * pixel / 2**16
        assert abs(ink - pixel / 255) <= 2**-16


@pytest.fixture(scope="module")
def draws():
    """4,000 draws of a ramp of all 256 grey levels."""
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8), (4000, 256))
    return np.asarray(binarize(jax.random.key(0), ramp))


def test_share_of_ink_follows_the_grey_level(draws):
    """256 binomial shares, each within 5 of its standard errors."""
    assert draws.dtype == np.float32
    assert set(np.unique(draws)) == {0.0, 1.0}
    p = np.arange(256) / 255
    assert (np.abs(draws.mean(0) - p) <= 5 * np.sqrt(p * (1 - p) / len(draws)) + 2**-16).all()
    assert not draws[:, 0].any()


@pytest.mark.parametrize("lag", [1, 2, 3, 128])
def test_pixels_are_independent(draws, lag):
    """The correlations of pixels some way apart, be they halves of one random word or not, are normal around 0."""
    p = np.arange(256) / 255
    standard = ((draws - p) / np.sqrt(np.maximum(p * (1 - p), 1e-9)))[:, 1:-1]
    z = np.sqrt(len(draws)) * (standard[:, lag:] * standard[:, :-lag]).mean(0)
    assert np.abs(z[2:-2]).max() < 6
    assert abs(z.mean()) < 5 / np.sqrt(len(z))
    assert 0.5 < z[4:-4].std() < 1.5


def test_images_are_independent(draws):
    middle = draws[:, 64:192] - np.arange(64, 192) / 255
    variance = (np.arange(64, 192) / 255 * (1 - np.arange(64, 192) / 255)) ** 2
    for lag in (1, 2):
        products = middle[lag:] * middle[:-lag]
        assert abs(products.sum()) < 5 * np.sqrt(len(products) * variance.sum())


def test_another_key_draws_another_image():
    grey = np.full((4, 28, 28), 128, np.uint8)
    first, again, other = (np.asarray(binarize(jax.random.key(seed), grey)) for seed in (0, 0, 1))
    assert_array_equal(first, again)
    assert abs((first != other).mean() - 0.5) < 5 * 0.5 / np.sqrt(grey.size)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 7), (2, 28, 28)])
def test_any_shape_binarizes_the_same_under_jit(shape):
    grey = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    binary = binarize(jax.random.key(0), grey)
    assert binary.shape == shape
    assert binary.dtype == jnp.float32
    assert_array_equal(binary, jax.jit(binarize)(jax.random.key(0), grey))


def test_no_images_are_no_images():
    assert binarize(jax.random.key(0), np.zeros((0, 28, 28), np.uint8)).shape == (0, 28, 28)


def test_fixed_binarization_never_changes():
    grey = np.full((3, 5, 5), 128, np.uint8)
    first, again, other = fixed_binarization(grey), fixed_binarization(grey), fixed_binarization(grey, seed=1)
    assert first.dtype == np.uint8
    assert first.shape == grey.shape
    assert set(np.unique(first)) == {0, 1}
    assert_array_equal(first, again)
    assert_array_equal(first, binarize(jax.random.key(0), grey))
    assert (first != other).any()


def test_the_sentence_is_all_that_a_notebook_shows():
    error = data.DataError("The file is missing: put it back.")
    assert error._render_traceback_() == ["DataError: The file is missing: put it back."]

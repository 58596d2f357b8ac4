"""The data sets of the course, read from ``data/`` and checked before anyone sees an array."""

import hashlib
import io
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PRNGKeyArray, UInt8

from course_utils.errors import CourseError
from course_utils.paths import DATA_DIR

MNIST_SHA256 = "39b9b1ffaa0ba4d8995a616551f0966941fe02a3fe79ba4a9db7373db16d53ad"
TRAINING_CURVES_SHA256 = {
    "training_curves.npz": "c24f35cb6f1143f25582c25faf4df05083d03e7b10a30538e2bc7b246af4b084",
    "semi_supervised_curves.npz": "bd0bf3b09794ab49604c9527af132f130e6407dd8517bbafe035f4e0cd3eb262",
}
BREAST_CANCER_SHA256 = "cdbf2311f879f64743d4dee46a3df71b8a629e9d32f9000d7b3a9bddf5e445b4"


class DataError(CourseError):
    """A data file is missing, truncated or altered."""


def load_mnist(
    split: str = "train", directory: Path = DATA_DIR
) -> tuple[UInt8[np.ndarray, "N 28 28"], UInt8[np.ndarray, " N"]]:
    """Return the images (0 is paper, 255 is ink) and labels of MNIST.

    The ``split`` is ``"train"``, with N = 60,000, or ``"test"``, with N = 10,000.

    Raises:
        DataError: the file is missing or its SHA-256 is not the known one.
        ValueError: there is no such split.
    """
    if split not in ("train", "test"):
        raise ValueError(f"MNIST has the splits 'train' and 'test', not {split!r}.")
    with np.load(io.BytesIO(read_checked("mnist.npz", MNIST_SHA256, directory))) as arrays:
        return arrays[f"{split}_images"], arrays[f"{split}_labels"]


def load_breast_cancer(
    directory: Path = DATA_DIR,
) -> tuple[dict[str, Float[np.ndarray, " N"]], Bool[np.ndarray, " N"]]:
    """Return what was measured of N = 569 tumours, and which of them were malignant (212 of them).

    The measurements are 30 named columns: ``radius_mean``, ``radius_se`` and ``radius_worst`` (the mean over the cell
    nuclei in the image, its standard error, and the mean of the three largest), and so on for nine more. They are
    ordered as in the file (Street, Wolberg & Mangasarian, *Nuclear feature extraction for breast tumor diagnosis*).

    Raises:
        DataError: the file is missing or its SHA-256 is not the known one.
    """
    content = read_checked("breast_cancer.csv", BREAST_CANCER_SHA256, directory).decode()
    names = content.partition("\n")[0].split(",")
    malignant, *columns = np.loadtxt(io.StringIO(content), delimiter=",", skiprows=1, unpack=True)
    return dict(zip(names[1:], columns, strict=True)), malignant == 1


def load_training_curves(
    name: str = "training_curves.npz", directory: Path = DATA_DIR
) -> tuple[list[str], Float[np.ndarray, "programs seeds times columns"]]:
    """Return the names of 7 programs that train a model, and what each reported of itself, from several seeds.

    In ``training_curves.npz`` the model is a VAE. The columns are reconstruction, KL and the mean log-scale of ``q``, in
    nats per image, each a mean over 20 of 800 steps; there are 8 seeds. ``tests/training_curves.py`` is the recipe.

    In ``semi_supervised_curves.npz`` it is the M2 model of notebook 13. The columns are the unlabelled bound, the entropy
    of ``q(y|x)``, the classification term, in nats per image, and the share of errors, each a mean over 20 of 600 steps;
    there are 6 seeds. ``tests/semi_supervised_curves.py`` is the recipe.

    All programs but the first are wrong.

    Raises:
        DataError: the file is missing or its SHA-256 is not the known one.
    """
    with np.load(io.BytesIO(read_checked(name, TRAINING_CURVES_SHA256[name], directory))) as arrays:
        return arrays["kinds"].tolist(), arrays["curves"]


def binarize(key: PRNGKeyArray, images: UInt8[ArrayLike, "..."]) -> Float[Array, "..."]:
    """Draw each pixel as Bernoulli with probability ``pixel / 255``, as ``float32`` zeros and ones.

    Called anew on every batch this is dynamic binarisation (Burda et al., section 5), called once on a whole data set
    with one key it is fixed binarisation. Each pixel costs 16 random bits, two pixels to a 32-bit word, which puts
    the probability off by at most 2^-16.
    """
    images = jnp.asarray(images)
    words = jax.random.bits(key, ((images.size + 1) // 2,), jnp.uint32)
    uniform = jax.lax.bitcast_convert_type(words, jnp.uint16).ravel()[: images.size].reshape(images.shape)
    return (uniform < images.astype(jnp.uint16) * 257).astype(jnp.float32)


def fixed_binarization(images: UInt8[np.ndarray, "..."], seed: int = 0) -> UInt8[np.ndarray, "..."]:
    """Return one draw of :func:`binarize` as ``uint8`` zeros and ones, the same on every machine for a given seed."""
    return np.asarray(binarize(jax.random.key(seed), images)).astype(np.uint8)


def read_checked(name: str, sha256: str, directory: Path = DATA_DIR) -> bytes:
    """Return the bytes of the data file ``name``, once their SHA-256 is seen to be the known one.

    Raises:
        DataError: the file is missing or altered.
    """
    path = directory / name
    restore = f"restore it with `git checkout -- data/{name}` in the course folder"
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(
            f"{path} cannot be read ({reason}; expected SHA-256 {sha256}, found no file to check): {restore}."
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(
            f"{path} is truncated or altered (expected SHA-256 {sha256}, found {found}, {len(content):,} bytes): "
            f"{restore}."
        )
    return content

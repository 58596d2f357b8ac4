"""VAEs whose training takes longer than a notebook can wait: their weights, and the recipes they were trained by.

Each file in ``data/checkpoints/`` holds the weights of a :class:`~course_utils.models.VAE` by their path in it, and its
recipe. ``make reproduce`` sets them beside the published figures, and trains any of them again.
"""

import io
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from course_utils.data import read_checked
from course_utils.errors import CourseError
from course_utils.models import VAE
from course_utils.paths import DATA_DIR

SHA256 = {
    "vae-1": "dacaaaa46f907ddce71bfb974c5023d9e18690b09d59689d800eefa58da2300e",
    "vae-5": "f462c737beb929c4524e25dd21f3fc22846e3c8b7f557d1c6f3024fef18cf3c9",
    "vae-50": "c2f767925d5d453db7b0b3196300a5a7da8b5073c38eb7e7c4dac0601b69e7cc",
    "iwae-5": "6eb81d68094ef0835587b8f02a6188a1f36e53b38b3e287d9b9ed8807b9f8015",
    "iwae-50": "42247c6dd8cb007eb4c72a589d1a00383376f7abe74622a970820621d5befb00",
    "fixed-vae-1": "d8e6e3dbf0230aee2be8b2c107516e1f45c0b64c48dced494e7a1c7451e1cd89",
    "fixed-iwae-5": "b817f2f25aae358729b8b798cd929bae5b4dc3071fdf086ed4b35952672a71e9",
    "fixed-iwae-50": "14ffe734b5f3f6b8625133db6e0356d48d99d9b8f22c00f2937475369df9a62d",
}


def load_pretrained(name: str, directory: Path = DATA_DIR) -> tuple[VAE, dict[str, Any]]:
    """Return a trained VAE with 50 latent dimensions, and its recipe: objective, epochs, seeds, history, test figures.

    The names are the keys of ``SHA256``: the objective and its number of samples.

    Raises:
        CourseError: there is none of that name.
        DataError: its file is missing or its SHA-256 is not the known one.
    """
    if name not in SHA256:
        raise CourseError(f"There is no trained model {name!r}; there are {', '.join(SHA256)}.")
    with np.load(io.BytesIO(read_checked(f"checkpoints/{name}.npz", SHA256[name], directory))) as arrays:
        recipe = json.loads(str(arrays["recipe"]))
        weights = {path: arrays[path].astype(np.float32) for path in arrays.files if path != "recipe"}
    return with_weights(new_vae(recipe["latent_dim"], recipe["hidden"]), weights), recipe


def new_vae(latent_dim: int = 50, hidden: tuple[int, ...] | list[int] = (200, 200), seed: int = 0) -> VAE:
    """Return a VAE of the published size with initial weights."""
    return VAE(latent_dim, hidden=tuple(hidden), rngs=nnx.Rngs(seed))


def weights_of(vae: VAE) -> dict[str, np.ndarray]:
    """Return the weights of ``vae`` by their path in it, such as ``decoder.layers.0.kernel``."""
    return {
        ".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(nnx.state(vae, nnx.Param))
    }


def with_weights(vae: VAE, weights: dict[str, np.ndarray]) -> VAE:
    """Return a copy of ``vae`` with other weights, given by their path.

    Raises:
        CourseError: they are those of another network.
    """
    graphdef, state = nnx.split(vae)
    flat = nnx.to_flat_state(state)
    known = {".".join(map(str, path)): leaf for path, leaf in flat}
    if {path: leaf.shape for path, leaf in known.items()} != {path: each.shape for path, each in weights.items()}:
        raise CourseError("These are the weights of a network with other layers.")
    for path, leaf in known.items():
        leaf.set_value(jnp.asarray(weights[path]))
    return nnx.merge(graphdef, state)

"""What the explorers share that run a variational autoencoder: its networks for the page, its images, its KL."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Num

from course_utils.bounds import DiagonalNormal
from course_utils.errors import CourseError
from course_utils.models import VAE

TOLERANCE = 1e-4
# A dimension below this mean KL is one that the model does not use.
INFORMATIVE_NATS = 0.01

# What the page can compute, with the function that each name stands for.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "silu": nnx.silu,
    "relu": nnx.relu,
    "tanh": nnx.tanh,
    "gelu": nnx.gelu,
    "elu": nnx.elu,
    "softplus": nnx.softplus,
    "sigmoid": nnx.sigmoid,
    "leaky_relu": nnx.leaky_relu,
    "identity": nnx.identity,
}

Layers = list[dict[str, Any]]


def mean_kl(q: DiagonalNormal) -> Float[np.ndarray, " latent"]:
    """Return ``KL[q(z_d|x) || p(z_d)]`` in nats for each dimension ``d``, the mean over the images."""
    mean, scale = (np.asarray(part, np.float64) for part in q)
    return (0.5 * (mean**2 + scale**2 - 1) - np.log(scale)).mean(0)


def export_decoder(vae: VAE) -> tuple[Layers, Float[np.ndarray, " weights"]]:
    """Return what a page needs to compute ``vae.decode``; raise ``CourseError`` if it cannot."""
    layers, weights = export_mlp(vae.decoder)
    z = np.random.default_rng(0).standard_normal((4, layers[0]["inputs"]), np.float32)
    otherwise = "The decoder does more than its layers, its activation and a final sigmoid"
    _check_export(vae.decode, z, layers, weights, otherwise)
    return layers, weights


def export_encoder(vae: VAE) -> tuple[Layers, Float[np.ndarray, " weights"]]:
    """Return what a page needs to compute the mean and the log-scale of ``vae.encode``, one behind the other.

    Raises:
        CourseError: the page cannot compute this encoder.
    """

    def encode(x):
        q = vae.encode(x)
        return jnp.concatenate([q.mean, jnp.log(q.scale)], -1)

    layers, weights = export_mlp(getattr(vae.encoder, "network", vae.encoder), last="identity", role="encoder")
    x = np.random.default_rng(0).integers(0, 2, (4, layers[0]["inputs"])).astype(np.float32)
    _check_export(encode, x, layers, weights, "The encoder is not one MLP whose outputs are mean and log-scale")
    return layers, weights


def export_mlp(
    network: nnx.Module, *, last: str = "sigmoid", role: str = "decoder"
) -> tuple[Layers, Float[np.ndarray, " weights"]]:
    """Return what a page needs to run ``network`` followed by the activation ``last``.

    The weights are one block: for each layer the kernel, row by row of *outputs*, then the bias.
    """
    linear = list(getattr(network, "layers", []))
    if not linear or not all(isinstance(layer, nnx.Linear) for layer in linear):
        raise CourseError(
            f"The page can run an MLP of nnx.Linear layers; this {role} is another network, a {type(network).__name__}."
        )
    name = _activation_name(network.activation) if len(linear) > 1 else ""
    names = [name] * (len(linear) - 1) + [last]
    layers, blocks = [], []
    for layer, activation in zip(linear, names):
        kernel = np.asarray(layer.kernel[...], np.float32)
        bias = np.zeros(kernel.shape[1], np.float32) if layer.bias is None else np.asarray(layer.bias[...], np.float32)
        layers.append({"inputs": kernel.shape[0], "outputs": kernel.shape[1], "activation": activation})
        blocks += [kernel.T.ravel(), bias]
    return layers, np.concatenate(blocks)


def _activation_name(activation: Callable[[Array], Array]) -> str:
    """Return the name of a function that computes the same, so that a lambda or an alias is recognised too."""
    points = np.linspace(-8, 8, 401, dtype=np.float32)
    values = np.asarray(activation(points))
    for name, known in ACTIVATIONS.items():
        if values.shape == points.shape and np.abs(values - known(points)).max() < 1e-6:
            return name
    function = getattr(activation, "func", activation)  # of a partial
    raise CourseError(
        f"The page cannot compute the activation {getattr(function, '__name__', repr(function))} as it is used here; "
        f"it knows {', '.join(ACTIVATIONS)}."
    )


def _check_export(
    run: Callable[[Array], Array],
    inputs: Float[np.ndarray, "N inputs"],
    layers: Layers,
    weights: Float[np.ndarray, " weights"],
    otherwise: str,
) -> None:
    """Raise ``CourseError`` if the exported layers do not compute what ``run`` does."""
    hidden = inputs
    start = 0
    for layer in layers:
        middle = start + layer["inputs"] * layer["outputs"]
        stop = middle + layer["outputs"]
        kernel = weights[start:middle].reshape(layer["outputs"], layer["inputs"])
        hidden = np.asarray(ACTIVATIONS[layer["activation"]](hidden @ kernel.T + weights[middle:stop]))
        start = stop
    expected = np.asarray(run(jnp.asarray(inputs)))
    if expected.shape != hidden.shape or not np.allclose(expected, hidden, TOLERANCE, TOLERANCE):
        raise CourseError(f"{otherwise}, so the page cannot run it.")


def as_ink(images: Num[Array, "N ..."], data_dim: int) -> tuple[Float[np.ndarray, "N data"], int, int]:
    """Return the images as flat ink from 0 to 1, with their height and width."""
    images = np.asarray(images)
    side = round(data_dim**0.5)
    height, width = images.shape[1:] if images.ndim == 3 else (side, side)
    if images.ndim not in (2, 3) or not len(images) or images[0].size != data_dim or height * width != data_dim:
        raise CourseError(
            f"images has the shape {images.shape}; expected [N, height, width] (or [N, {data_dim}] of square images) "
            f"with {data_dim} pixels each."
        )
    ink = images.reshape(len(images), data_dim).astype(np.float32)
    # Binary images are often stored as integers, too.
    if np.issubdtype(images.dtype, np.integer) and ink.max() > 1:
        ink /= 255
    if not (ink.min() >= 0 and ink.max() <= 1):
        raise CourseError(
            f"images has values from {ink.min():g} to {ink.max():g}; expected grey levels from 0 to 255 as integers, "
            "or ink from 0 to 1."
        )
    return ink, height, width

"""Sliders for the latent dimensions of a variational autoencoder; the page itself runs the decoder."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import traitlets
from flax import nnx
from jaxtyping import Array, Float, Num

from course_utils.bounds import DiagonalNormal
from course_utils.errors import CourseError
from course_utils.models import VAE
from course_utils.widgets.explorer import FROM_PAGE, Explorer, as_numbers, page_module

MAX_IMAGES = 200
INFORMATIVE_NATS = 0.01
TOLERANCE = 1e-4

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
}


class LatentExplorer(Explorer):
    """Sliders for the latent dimensions of ``vae``, the most informative first, and the image decoded from them.

    The decoder's weights are sent to the page once; from then on every picture is computed there. The sliders start
    from the mean of ``q(z|x)`` of one of ``images``, which is shown beside the decoded one.

    Args:
        vae: a model with the decoder of :class:`course_utils.models.VAE`.
        images: images to start from, ``[N, data]`` or ``[N, height, width]``: grey levels from 0 to 255, or ink from 0
            to 1. The first 200 can be chosen; the KL of each dimension is the mean over all of them.
        labels: what to call each image, such as its digit.
        num_sliders: how many dimensions to show at once; by default those with a KL of at least 0.01 nats. The others
            can be folded out.

    ``z`` and ``image`` (an index) follow what is seen in the page, and change it when they are set.

    Raises:
        CourseError: the page cannot compute this decoder, or the images or labels do not fit to it.
    """

    _esm = page_module("decoder.js", "latent_explorer.js")

    spec = traitlets.Dict().tag(sync=True)
    weights = traitlets.Bytes().tag(sync=True)
    pixels = traitlets.Bytes().tag(sync=True)
    codes = traitlets.Bytes().tag(sync=True)
    labels = traitlets.List(traitlets.Unicode()).tag(sync=True)
    ranges = traitlets.List().tag(sync=True)
    image = traitlets.Int().tag(**FROM_PAGE)
    z = traitlets.TraitType().tag(**FROM_PAGE)

    def __init__(
        self,
        vae: VAE,
        images: Num[Array, "N ..."],
        *,
        labels: Sequence[Any] | None = None,
        num_sliders: int | None = None,
    ):
        layers, weights = export_mlp(vae.decoder)
        _check_export(vae, layers, weights)
        latent_dim, data_dim = layers[0]["inputs"], layers[-1]["outputs"]
        ink, height, width = _ink(images, data_dim)
        if labels is not None and len(labels) != len(ink):
            raise CourseError(f"There are {len(labels)} labels for {len(ink)} images; expected one label for each.")
        if num_sliders is not None and not 1 <= num_sliders <= latent_dim:
            raise CourseError(f"num_sliders is {num_sliders}; with {latent_dim} dimensions it must be from 1 to that.")
        q = vae.encode(jnp.asarray(ink))
        kl = mean_kl(q)
        num_informative = int((kl >= INFORMATIVE_NATS).sum())
        mean, scale = (np.asarray(part, np.float32)[:MAX_IMAGES] for part in q)
        spec = {
            "label": "Sliders for the latent dimensions, an image, and the image decoded from them",
            "layers": layers,
            "height": height,
            "width": width,
            "kl": kl.tolist(),
            "order": np.argsort(-kl, kind="stable").tolist(),
            "num_sliders": num_sliders or max(1, num_informative),
            "num_informative": num_informative,
            "num_encoded": len(ink),
        }
        # The prior puts 99.7 % between -3 and 3; an image's code may lie further out. Zero is in the middle.
        widest = np.maximum(3, np.ceil(np.abs(mean).max(0)))
        super().__init__(
            spec=spec,
            weights=weights.astype("<f4").tobytes(),
            pixels=np.rint(255 * ink[:MAX_IMAGES]).astype(np.uint8).tobytes(),
            codes=np.concatenate([mean.ravel(), scale.ravel()]).astype("<f4").tobytes(),
            labels=[] if labels is None else [str(label) for label in labels[:MAX_IMAGES]],
            ranges=np.stack([-widest, widest], 1).tolist(),
            image=0,
            z=mean[0],
        )

    @property
    def num_images(self) -> int:
        """Return how many images can be chosen."""
        return len(self.pixels) // (self.spec["height"] * self.spec["width"])

    @traitlets.validate("z")
    def _check_z(self, proposal: dict[str, Any]) -> list[float]:
        z = as_numbers("z", proposal["value"])
        if z.shape != (len(self.spec["kl"]),) or not np.isfinite(z).all():
            raise CourseError(f"z has the shape {z.shape}; expected {len(self.spec['kl'])} finite numbers.")
        return z.tolist()

    @traitlets.validate("image")
    def _check_image(self, proposal: dict[str, Any]) -> int:
        if not 0 <= proposal["value"] < self.num_images:
            raise CourseError(f"image is {proposal['value']}; expected an index from 0 to {self.num_images - 1}.")
        return proposal["value"]

    def __repr__(self) -> str:
        return f"LatentExplorer(latent_dim={len(self.spec['kl'])}, images={self.num_images})"


def mean_kl(q: DiagonalNormal) -> Float[np.ndarray, " latent"]:
    """Return ``KL[q(z_d|x) || p(z_d)]`` in nats for each dimension ``d``, the mean over the images."""
    mean, scale = (np.asarray(part, np.float64) for part in q)
    return (0.5 * (mean**2 + scale**2 - 1) - np.log(scale)).mean(0)


def export_mlp(decoder: nnx.Module) -> tuple[list[dict[str, Any]], Float[np.ndarray, " weights"]]:
    """Return what a page needs to run ``decoder`` followed by a sigmoid.

    The weights are one block: for each layer the kernel, row by row of *outputs*, then the bias.
    """
    linear = list(getattr(decoder, "layers", []))
    if not linear or not all(isinstance(layer, nnx.Linear) for layer in linear):
        raise CourseError(
            f"The page can run a decoder that is an MLP of nnx.Linear layers; this one is a {type(decoder).__name__}."
        )
    name = _activation_name(decoder.activation) if len(linear) > 1 else ""
    names = [name] * (len(linear) - 1) + ["sigmoid"]
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


def _check_export(vae: VAE, layers: list[dict[str, Any]], weights: Float[np.ndarray, " weights"]) -> None:
    """Raise ``CourseError`` if the exported layers do not compute what ``vae.decode`` does."""
    z = hidden = np.random.default_rng(0).standard_normal((4, layers[0]["inputs"]), np.float32)
    start = 0
    for layer in layers:
        middle = start + layer["inputs"] * layer["outputs"]
        stop = middle + layer["outputs"]
        kernel = weights[start:middle].reshape(layer["outputs"], layer["inputs"])
        hidden = np.asarray(ACTIVATIONS[layer["activation"]](hidden @ kernel.T + weights[middle:stop]))
        start = stop
    decoded = np.asarray(vae.decode(jnp.asarray(z)))
    if decoded.shape != hidden.shape or not np.abs(decoded - hidden).max() < TOLERANCE:
        raise CourseError(
            "The decoder does more than its layers, its activation and a final sigmoid, so the page cannot run it."
        )


def _ink(images: Num[Array, "N ..."], data_dim: int) -> tuple[Float[np.ndarray, "N data"], int, int]:
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

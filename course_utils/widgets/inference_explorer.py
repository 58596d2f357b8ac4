"""An image to draw on and to hide parts of; the page infers its code, by the encoder and by climbing the bound."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import traitlets
from jaxtyping import Array, ArrayLike, Bool, Float, Num

from course_utils import plots
from course_utils.bounds import DiagonalNormal
from course_utils.errors import CourseError
from course_utils.models import VAE
from course_utils.widgets.explorer import FROM_PAGE, Explorer, as_numbers
from course_utils.widgets.exported import INFORMATIVE_NATS, as_ink, export_decoder, export_encoder, mean_kl
from course_utils.widgets.library import send_library
from course_utils.widgets.modules import page_module

MAX_IMAGES = 200
MAX_TRAINING = 3000
NUM_DRAWS = 16
PAPER, INK, UNSEEN = "01?"


class InferenceExplorer(Explorer):
    """An image to paint on, and two approximations of its posterior beside each other.

    One is the encoder's, to which a pixel that was not seen is blank paper. The other is a diagonal normal that climbs
    the ELBO of the pixels that were seen, by 200 steps of Adam with 4 draws each: the page differentiates the decoder.
    Both bounds are means over the same 16 draws of noise, in nats.

    Args:
        vae: a model whose two networks are those of :class:`course_utils.models.VAE`.
        images: images of zeros and ones to choose from, ``[N, data]`` or ``[N, height, width]``. The first 200 can be
            chosen; which dimensions are shown is decided by the mean KL over all of them.
        labels: what to call each image, such as its digit.
        training: images to which the code is compared, with their labels; the first 3,000 count, and those are shown
            whose means of ``q(z|x)`` are nearest. By default none are.
        hidden: which pixels of the first image are not seen at the start, ``[data]``; by default none.
        from_prior: whether q starts from the prior, rather than from the encoder.
        label: what the explorer shows, for readers who do not see it.

    ``image`` (an index), ``paint`` (for each pixel "0", "1", or "?" where it was not seen) and ``q`` (its mean and its
    scale) follow what is seen in the page, and change it when they are set. ``bounds`` holds the two bounds.

    Raises:
        CourseError: the page cannot compute these networks, or the images or labels do not fit to them.
    """

    _esm = page_module("inference_explorer.js")

    spec = traitlets.Dict().tag(sync=True)
    encoder = traitlets.Bytes().tag(sync=True)
    decoder = traitlets.Bytes().tag(sync=True)
    images = traitlets.Bytes().tag(sync=True)
    training = traitlets.Bytes().tag(sync=True)
    training_codes = traitlets.Bytes().tag(sync=True)
    noise = traitlets.Bytes().tag(sync=True)
    image = traitlets.Int().tag(**FROM_PAGE)
    paint = traitlets.Unicode().tag(**FROM_PAGE)
    q = traitlets.TraitType().tag(**FROM_PAGE)
    bounds = traitlets.Dict().tag(**FROM_PAGE)

    def __init__(
        self,
        vae: VAE,
        images: Num[Array, "N ..."],
        *,
        labels: Sequence[Any] | None = None,
        training: tuple[Num[Array, "M ..."], Sequence[Any]] | None = None,
        hidden: Bool[ArrayLike, " data"] | None = None,
        from_prior: bool = False,
        label: str = "An image to paint on, what the encoder makes of it, and a q that climbs its bound",
    ):
        decoder_layers, decoder = export_decoder(vae)
        encoder_layers, encoder = export_encoder(vae)
        latent_dim, data_dim = decoder_layers[0]["inputs"], decoder_layers[-1]["outputs"]
        binary, height, width = _binary("images", images, data_dim)
        near, near_labels = training if training is not None else (binary[:0], [])
        if len(near):
            near = _binary("the images of training", near, data_dim)[0][:MAX_TRAINING]
        hidden = np.zeros(data_dim, bool) if hidden is None else np.asarray(hidden)
        for what, found, expected in (
            ("labels for the images", labels if labels is not None else images, len(binary)),
            ("labels for the images of training", near_labels, len(near)),
        ):
            if len(found) < expected:
                raise CourseError(
                    f"There are {len(found)} {what}, of which there are {expected}; expected one for each."
                )
        if hidden.shape != (data_dim,) or hidden.dtype != bool:
            raise CourseError(
                f"hidden has the shape {hidden.shape} and the type {hidden.dtype}; expected {data_dim} booleans."
            )
        kl = mean_kl(vae.encode(jnp.asarray(binary)))
        seen, x = ~hidden, jnp.asarray(binary[0] * ~hidden)
        encoded = vae.encode(x)
        q = vae.prior if from_prior else encoded
        noise = np.random.default_rng(0).standard_normal((NUM_DRAWS, latent_dim), np.float32)
        bounds = {
            name: float(masked_elbo(vae, x, seen, each, noise)) for name, each in {"encoder": encoded, "q": q}.items()
        }
        # The other dimensions stay at the prior.
        order = np.argsort(-kl, kind="stable")[: max(1, int((kl >= INFORMATIVE_NATS).sum()))]
        codes = np.asarray(vae.encode(jnp.asarray(near)).mean)[:, order] if len(near) else near
        paint = _paint(binary[0], seen)
        spec = {
            "label": label,
            "encoder": encoder_layers,
            "decoder": decoder_layers,
            "height": height,
            "width": width,
            "labels": [] if labels is None else [str(each) for each in labels[:MAX_IMAGES]],
            "training_labels": [str(each) for each in near_labels[: len(near)]],
            "order": order.tolist(),
            "start": {"image": 0, "paint": paint, "from_prior": bool(from_prior)},
            # A coin flip for each pixel is worse than any guess that a trained model makes.
            "bound_range": [-0.5 * data_dim * float(np.log(2)), 0.0],
            "colors": {"encoder": plots.ORANGE, "q": plots.BLUE},
        }
        send_library("jax-js")
        super().__init__(
            spec=spec,
            encoder=encoder.astype("<f4").tobytes(),
            decoder=decoder.astype("<f4").tobytes(),
            images=_bits(binary[:MAX_IMAGES]),
            training=_bits(near),
            training_codes=codes.astype("<f4").tobytes(),
            noise=noise.astype("<f4").tobytes(),
            image=0,
            paint=paint,
            q=[np.asarray(part, np.float64).tolist() for part in q],
            bounds=bounds,
        )

    @property
    def x(self) -> Float[np.ndarray, " data"]:
        """Return the image as it is seen in the page: zeros and ones, and NaN where it was not seen."""
        return np.array([np.nan if code == UNSEEN else float(code) for code in self.paint])

    @property
    def seen(self) -> Bool[np.ndarray, " data"]:
        """Return which pixels are seen."""
        return np.array([code != UNSEEN for code in self.paint])

    @property
    def num_images(self) -> int:
        """Return how many images can be chosen."""
        return len(self.images) // -(-self.spec["height"] * self.spec["width"] // 8)

    @traitlets.validate("image")
    def _check_image(self, proposal: dict[str, Any]) -> int:
        if not 0 <= proposal["value"] < self.num_images:
            raise CourseError(f"image is {proposal['value']}; expected an index from 0 to {self.num_images - 1}.")
        return proposal["value"]

    @traitlets.validate("paint")
    def _check_paint(self, proposal: dict[str, Any]) -> str:
        paint, num_pixels = proposal["value"], self.spec["height"] * self.spec["width"]
        if len(paint) != num_pixels or not set(paint) <= {PAPER, INK, UNSEEN}:
            raise CourseError(f"paint is no text of {num_pixels} characters, each of them 0, 1 or ?.")
        return paint

    @traitlets.validate("q")
    def _check_q(self, proposal: dict[str, Any]) -> list[list[float]]:
        q, latent_dim = as_numbers("q", proposal["value"]), self.spec["decoder"][0]["inputs"]
        if q.shape != (2, latent_dim) or not np.isfinite(q).all() or not (q[1] > 0).all():
            raise CourseError(
                f"q has the shape {q.shape}; expected {latent_dim} means and as many scales, finite and the scales positive."
            )
        return q.tolist()

    def __repr__(self) -> str:
        latent_dim = self.spec["decoder"][0]["inputs"]
        return f"InferenceExplorer(latent_dim={latent_dim}, images={self.num_images})"


def masked_elbo(
    vae: VAE,
    x: Float[ArrayLike, " data"],
    seen: Bool[ArrayLike, " data"],
    q: DiagonalNormal,
    noise: Float[ArrayLike, "K latent"],
) -> Float[Array, ""]:
    """Return the estimate of the ELBO of the pixels that were ``seen``, in nats: the mean over the draws that ``noise`` makes."""
    logits = vae.decoder(q.mean + q.scale * jnp.asarray(noise))
    log_likelihood = jnp.where(jnp.asarray(seen), x * logits - jax.nn.softplus(logits), 0.0).sum(-1)
    return log_likelihood.mean() - q.kl(vae.prior)


def _binary(what: str, images: Any, data_dim: int) -> tuple[Float[np.ndarray, "N data"], int, int]:
    ink, height, width = as_ink(images, data_dim)
    if not ((ink == 0) | (ink == 1)).all():
        raise CourseError(f"There are grey levels in {what}: draw zeros and ones with course_utils.data.binarize.")
    return ink, height, width


def _bits(binary: Float[np.ndarray, "N data"]) -> bytes:
    return np.packbits(binary.astype(bool), axis=1).tobytes()


def _paint(x: Float[np.ndarray, " data"], seen: Bool[np.ndarray, " data"]) -> str:
    return "".join(np.where(seen, np.where(x > 0, INK, PAPER), UNSEEN))

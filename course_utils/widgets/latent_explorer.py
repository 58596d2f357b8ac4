"""Sliders for the latent dimensions of a variational autoencoder; the page itself runs the decoder."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import traitlets
from jaxtyping import Array, Num

from course_utils.errors import CourseError
from course_utils.models import VAE
from course_utils.widgets.explorer import FROM_PAGE, Explorer, as_numbers
from course_utils.widgets.exported import INFORMATIVE_NATS, as_ink, export_decoder, mean_kl
from course_utils.widgets.modules import page_module

MAX_IMAGES = 200


class LatentExplorer(Explorer):
    """Sliders for the latent dimensions of ``vae``, the most informative first, and the image decoded from them.

    The decoder's weights are sent to the page once; from then on every picture is computed there. The sliders start
    from the mean of ``q(z|x)`` of one of ``images``, which is shown beside the decoded one, with the ELBO in nats that
    this image has with ``z`` for the mean of q: over 8 draws, and over all binarisations of a grey image. Below them
    fold out strips with one dimension a row, a plane of two dimensions, and the way between two images.

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

    _esm = page_module("latent_explorer.js")

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
        layers, weights = export_decoder(vae)
        latent_dim, data_dim = layers[0]["inputs"], layers[-1]["outputs"]
        ink, height, width = as_ink(images, data_dim)
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

"""Flax modules: multi-layer perceptrons and the variational autoencoder made of them."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental import checkify
from jaxtyping import Array, Float, PRNGKeyArray

from course_utils import bounds
from course_utils.bounds import DiagonalNormal, standard_normal
from course_utils.errors import CourseError

Activation = Callable[[Float[Array, "..."]], Float[Array, "..."]]


class MLP(nnx.Module):
    """A fully connected network with layer widths ``sizes``; the last layer is linear."""

    def __init__(self, sizes: Sequence[int], *, activation: Activation = nnx.silu, rngs: nnx.Rngs):
        self.layers = nnx.List(_linear_layers(tuple(sizes), rngs))
        self.activation = activation

    def __call__(self, x: Float[Array | np.ndarray, "*batch in"]) -> Float[Array, "*batch out"]:
        *batch, _ = x.shape
        # With several batch axes the gradient of a layer is a product of transposed copies; with one it is plain.
        x = x.reshape(-1, x.shape[-1])
        *hidden, last = self.layers
        for layer in hidden:
            x = self.activation(layer(x))
        return last(x).reshape(*batch, -1)


# One program for all initial weights: operation by operation JAX would compile dozens.
@partial(nnx.jit, static_argnums=0)
def _linear_layers(sizes: tuple[int, ...], rngs: nnx.Rngs) -> list[nnx.Linear]:
    return [nnx.Linear(n_in, n_out, rngs=rngs) for n_in, n_out in pairwise(sizes)]


class GaussianEncoder(nnx.Module):
    """A recognition network: one MLP whose outputs are the mean and the log-scale of ``q(z|x)``."""

    def __init__(self, sizes: Sequence[int], *, activation: Activation = nnx.silu, rngs: nnx.Rngs):
        *hidden, latent_dim = sizes
        self.network = MLP([*hidden, 2 * latent_dim], activation=activation, rngs=rngs)

    def __call__(self, x: Float[Array, "*batch data"]) -> DiagonalNormal:
        mean, log_scale = jnp.split(self.network(x), 2, axis=-1)
        return DiagonalNormal(mean, jnp.exp(log_scale))


class VAE(nnx.Module):
    """The variational autoencoder of Kingma & Welling with a Bernoulli decoder.

    Images ``x`` are flat ``float`` arrays of zeros and ones. Every bound is in nats per datapoint: summed over pixels
    and latent dimensions, one number for each image, never averaged over pixels.
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        data_dim: int = 784,
        hidden: Sequence[int] = (200, 200),
        activation: Activation = nnx.silu,
        rngs: nnx.Rngs,
    ):
        self.latent_dim = latent_dim
        self.encoder = GaussianEncoder([data_dim, *hidden, latent_dim], activation=activation, rngs=rngs)
        self.decoder = MLP([latent_dim, *reversed(hidden), data_dim], activation=activation, rngs=rngs)

    @property
    def prior(self) -> DiagonalNormal:
        """Return ``p(z)``, a standard normal."""
        return standard_normal(self.latent_dim)

    def encode(self, x: Float[Array, "*batch data"]) -> DiagonalNormal:
        """Return the recognition network's ``q(z|x)``."""
        return self.encoder(x)

    def decode(self, z: Float[Array, "*batch latent"]) -> Float[Array, "*batch data"]:
        """Return the probability of ink in each pixel, ``p(x=1|z)``."""
        return jax.nn.sigmoid(self.decoder(z))

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Float[Array, "num_samples data"]:
        """Return pixel probabilities for ``num_samples`` latent draws from the prior."""
        return self.decode(self.prior.sample(key, num_samples))

    def log_likelihood(
        self, x: Float[Array, "*batch data"], z: Float[Array, "*K batch latent"]
    ) -> Float[Array, "*K batch"]:
        """Return ``log p(x|z)`` in nats, summed over pixels.

        Raises:
            CourseError: ``x`` is not between 0 and 1. In a jitted function only ``fit`` can find out, and does.
        """
        _check_pixels(x)
        logits = self.decoder(z)
        return (x * logits - jax.nn.softplus(logits)).sum(-1)

    def log_joint(self, x: Float[Array, "*batch data"], z: Float[Array, "*K batch latent"]) -> Float[Array, "*K batch"]:
        """Return ``log p(x|z) + log p(z)`` in nats."""
        return self.log_likelihood(x, z) + self.prior.log_prob(z)

    def elbo(self, x: Float[Array, "batch data"], key: PRNGKeyArray, num_samples: int = 1) -> Float[Array, " batch"]:
        """Return an unbiased estimate of ``E_q[log p(x|z)] - KL[q(z|x) || p(z)]`` in nats, one for each image.

        The KL is exact, only the reconstruction term is sampled (Kingma & Welling, equation 7).
        """
        reconstruction, kl = self.elbo_terms(x, key, num_samples)
        return reconstruction - kl

    def elbo_terms(
        self, x: Float[Array, "batch data"], key: PRNGKeyArray, num_samples: int = 1
    ) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
        """Return the two terms of :meth:`elbo` in nats, one of each for each image: reconstruction, and exact KL."""
        q = self.encode(x)
        z = q.sample(key, num_samples)
        # An axis of one sample in front of the images would cost the gradient two transposed copies.
        reconstruction = self.log_likelihood(x, z[0]) if num_samples == 1 else self.log_likelihood(x, z).mean(0)
        return reconstruction, q.kl(self.prior)

    def importance_weighted_bound(
        self, x: Float[Array, "batch data"], key: PRNGKeyArray, num_samples: int
    ) -> Float[Array, " batch"]:
        """Return an estimate of the importance-weighted bound in nats, one for each image."""
        return bounds.importance_weighted_bound(lambda z: self.log_joint(x, z), self.encode(x), key, num_samples)


def _check_pixels(x: Float[Array, "*batch data"]) -> None:
    inside = jnp.all((x >= 0) & (x <= 1))
    sentence = (
        "The pixels go beyond 0 and 1, as grey levels from 0 to 255 do, and have no Bernoulli likelihood: draw zeros "
        "and ones from them with course_utils.data.binarize."
    )
    # Traced numbers are not known here. What is left in the trace costs nothing until it is asked for (``fit`` does).
    if isinstance(inside, jax.core.Tracer):
        checkify.debug_check(inside, sentence)
    elif not inside:
        raise CourseError(sentence)

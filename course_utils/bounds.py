"""Lower bounds on the log-evidence, in nats per datapoint.

Every bound here is an average over samples ``z_k ~ q`` of something made from the log importance weights
``log w_k = log p(x, z_k) - log q(z_k)``: the mean of ``log w`` is the ELBO, the log of the mean of ``w`` is the
importance-weighted bound. Samples are drawn by reparameterisation, so ``jax.grad`` of either estimate is an unbiased
estimate of the gradient of the bound. Others differ in their gradient only: :func:`score_function_elbo`, which asks for
no derivative of the joint; :func:`sticking_the_landing_elbo`, whose gradient vanishes with the gap; and
:func:`doubly_reparameterized_bound`, whose gradient does not drown in noise as K grows.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from course_utils.montecarlo import log_mean_exp


@runtime_checkable
class Distribution(Protocol):
    """What a bound asks of a variational distribution ``q``."""

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Float[Array, "K *batch dim"]:
        """Return ``num_samples`` draws, differentiable in the parameters of the distribution."""

    def log_prob(self, z: Float[ArrayLike, "K *batch dim"]) -> Float[Array, " K *batch"]:
        """Return the log-density of each draw, in nats, summed over ``dim``."""


class DiagonalNormal(NamedTuple):
    """The normal distribution with independent dimensions; ``scale`` is a standard deviation, not a variance."""

    mean: Float[ArrayLike, "*batch dim"]
    scale: Float[ArrayLike, "*batch dim"]

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Float[Array, "K *batch dim"]:
        """Return ``mean + scale * noise`` (Kingma & Welling, *Auto-encoding variational Bayes*, section 2.4)."""
        shape = jnp.broadcast_shapes(jnp.shape(self.mean), jnp.shape(self.scale))
        return self.mean + self.scale * jax.random.normal(key, (num_samples, *shape))

    def log_prob(self, z: Float[ArrayLike, "*#batch dim"]) -> Float[Array, "*#batch"]:
        """Return the log-density in nats, summed over the last axis; ``z`` and the mean are broadcast."""
        return norm.logpdf(z, self.mean, self.scale).sum(-1)

    def entropy(self) -> Float[Array, "*batch"]:
        """Return the differential entropy in nats, summed over the last axis."""
        shape = jnp.broadcast_shapes(jnp.shape(self.mean), jnp.shape(self.scale))
        return jnp.broadcast_to(0.5 * jnp.log(2 * jnp.pi * jnp.e) + jnp.log(self.scale), shape).sum(-1)

    def kl(self, other: "DiagonalNormal") -> Float[Array, "*batch"]:
        """Return ``KL[self || other]`` in nats, summed over the last axis."""
        variance_ratio = (self.scale / other.scale) ** 2
        distance = ((self.mean - other.mean) / other.scale) ** 2
        return 0.5 * (variance_ratio + distance - 1.0 - jnp.log(variance_ratio)).sum(-1)


class MeanField(NamedTuple):
    """The parameters of a diagonal normal in a form that can be climbed: any real number is a ``log_scale``.

    A pytree, so that it can be the ``model`` of ``training.fit``.
    """

    mean: Float[Array, "*batch dim"]
    log_scale: Float[Array, "*batch dim"]

    @property
    def q(self) -> DiagonalNormal:
        """Return the distribution with these parameters."""
        return DiagonalNormal(self.mean, jnp.exp(self.log_scale))


def standard_normal(dim: int) -> DiagonalNormal:
    """Return the standard normal in ``dim`` dimensions: the prior of every latent variable in this course."""
    return DiagonalNormal(jnp.zeros(dim), jnp.ones(dim))


def log_importance_weights(
    log_joint: Callable[[Float[Array, "K *batch dim"]], Float[Array, " K *batch"]],
    q: Distribution,
    key: PRNGKeyArray,
    num_samples: int,
) -> Float[Array, " K *batch"]:
    """Return ``log p(x, z_k) - log q(z_k)`` in nats for K draws ``z_k ~ q``; its exponential averages to ``p(x)``."""
    z = q.sample(key, num_samples)
    return log_joint(z) - q.log_prob(z)


def elbo(
    log_joint: Callable[[Float[Array, "K *batch dim"]], Float[Array, " K *batch"]],
    q: Distribution,
    key: PRNGKeyArray,
    num_samples: int = 1,
) -> Float[Array, "*batch"]:
    """Return an unbiased estimate of ``E_q[log p(x, z) - log q(z)]``, in nats."""
    return log_importance_weights(log_joint, q, key, num_samples).mean(0)


def score_function_elbo(
    log_joint: Callable[[Float[Array, "K *batch dim"]], Float[Array, " K *batch"]],
    q: Distribution,
    key: PRNGKeyArray,
    num_samples: int,
    *,
    baseline: bool = True,
) -> Float[Array, "*batch"]:
    """Return an estimate of the ELBO in nats whose gradient in ``q`` is the score-function one.

    The gradient is the mean of ``(log w_k - b_k) * grad log q(z_k)``, with ``z_k`` held fixed (Williams, *Simple
    statistical gradient-following algorithms*; Ranganath et al., *Black box variational inference*). The
    baseline ``b_k`` is the mean of the other samples' ``log w``, which does not depend on ``z_k``, so that the gradient
    stays unbiased (Mnih & Rezende, *Variational inference for Monte Carlo objectives*); without it
    ``b_k`` is zero. Parameters of ``log_joint`` itself get their ordinary gradient.

    Raises:
        ValueError: there is a baseline but only one sample to make it from.
    """
    if baseline and num_samples < 2:
        raise ValueError("The baseline of one sample is the mean of the others: it needs num_samples of at least 2.")
    z = jax.lax.stop_gradient(q.sample(key, num_samples))
    log_q = q.log_prob(z)
    log_weights = log_joint(z) - jax.lax.stop_gradient(log_q)
    signal = jax.lax.stop_gradient(log_weights)
    if baseline:
        signal = signal - (signal.sum(0) - signal) / (num_samples - 1)
    # Zero in value, and the score in gradient.
    score = log_q - jax.lax.stop_gradient(log_q)
    return (log_weights + signal * score).mean(0)


def sticking_the_landing_elbo(
    log_joint: Callable[[Float[Array, "K *batch dim"]], Float[Array, " K *batch"]],
    q: Distribution,
    key: PRNGKeyArray,
    num_samples: int = 1,
) -> Float[Array, "*batch"]:
    """Return an estimate of the ELBO in nats whose gradient in ``q`` goes along the path of the samples only.

    The parameters inside ``log q(z)`` are held fixed. What is left out, the score, is zero on average; what is left
    is zero for every sample once ``q`` is the posterior (Roeder et al., *Sticking the landing*).
    """
    z = q.sample(key, num_samples)
    held_fixed = jax.tree.map(jax.lax.stop_gradient, q)
    return (log_joint(z) - held_fixed.log_prob(z)).mean(0)


def importance_weighted_bound(
    log_joint: Callable[[Float[Array, "K *batch dim"]], Float[Array, " K *batch"]],
    q: Distribution,
    key: PRNGKeyArray,
    num_samples: int,
) -> Float[Array, "*batch"]:
    """Return ``log (1/K) sum_k w_k``, in nats: an unbiased estimate of the importance-weighted bound.

    K = 1 is the ELBO; the bound rises with K to the log-evidence (Burda et al., *Importance weighted autoencoders*,
    equation 8 and theorem 1).
    """
    return log_mean_exp(log_importance_weights(log_joint, q, key, num_samples), axis=0)


def doubly_reparameterized_bound(
    log_joint: Callable[[Float[Array, "K *batch dim"]], Float[Array, " K *batch"]],
    q: Distribution,
    key: PRNGKeyArray,
    num_samples: int,
) -> Float[Array, "*batch"]:
    """Return the estimate of :func:`importance_weighted_bound` with another gradient in ``q``.

    The gradient in ``q`` goes along the path of the samples only, each weighted with the square of its normalised
    weight (Tucker et al., *Doubly reparameterized gradient estimators*, equation 9): the ordinary one has more and more
    noise, relative to itself, as K grows, and this one has not. The parameters of ``log_joint`` get their ordinary
    gradient. The joint is evaluated twice, once for the weights alone.
    """
    z = q.sample(key, num_samples)
    held_fixed = jax.tree.map(jax.lax.stop_gradient, q)
    still = jax.lax.stop_gradient(z)
    log_weights = jax.lax.stop_gradient(log_joint(still) - held_fixed.log_prob(still))
    weights = jax.nn.softmax(log_weights, axis=0)
    # The same numbers; in the backward pass the path of each sample is multiplied by its weight once more.
    moving = still + weights[..., None] * (z - still)
    climbed = (weights * (log_joint(moving) - held_fixed.log_prob(moving))).sum(0)
    return log_mean_exp(log_weights, axis=0) + climbed - jax.lax.stop_gradient(climbed)

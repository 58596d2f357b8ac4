"""Simple Monte Carlo: averages of samples, and how far to trust them.

Weights are always handled as logarithms, in nats, because the weights themselves overflow ``float32`` long before
their ratios stop being meaningful.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

Axis = int | Sequence[int] | None


class Estimate(NamedTuple):
    """A Monte Carlo estimate and its standard error, in the units of the samples."""

    mean: Float[Array, "..."]
    standard_error: Float[Array, "..."]


def log_mean_exp(log_weights: Float[ArrayLike, "..."], axis: Axis = None) -> Float[Array, "..."]:
    """Return ``log((1/K) * sum_k exp(log_weights_k))`` in nats, over the K entries along ``axis``.

    The largest entry is taken out before exponentiating, so log-weights of ±1e4 are safe in ``float32``. Entries of
    ``-inf`` count as weights of zero; if every entry is ``-inf`` so is the result.
    """
    log_weights = jnp.asarray(log_weights)
    return jax.nn.logsumexp(log_weights, axis=axis) - jnp.log(_count(log_weights, axis))


def monte_carlo(values: Shaped[ArrayLike, "..."], axis: Axis = 0) -> Estimate:
    """Return the mean of i.i.d. ``values`` along ``axis`` with its standard error ``s / sqrt(n)``.

    ``s`` is the sample standard deviation with n - 1 in the denominator, so the standard error of a single sample is
    ``nan``: one number says nothing about its own spread.
    """
    values = jnp.asarray(values)
    standard_deviation = jnp.std(values, axis=axis, ddof=1)
    return Estimate(jnp.mean(values, axis=axis), standard_deviation / jnp.sqrt(_count(values, axis)))


def normalized_weights(log_weights: Float[ArrayLike, "..."], axis: int = 0) -> Float[Array, "..."]:
    """Return weights proportional to ``exp(log_weights)`` that sum to one along ``axis``."""
    return jax.nn.softmax(jnp.asarray(log_weights), axis=axis)


def self_normalized_importance_sampling(
    values: Shaped[ArrayLike, " K *event"], log_weights: Float[ArrayLike, " K"]
) -> Estimate:
    """Estimate ``E_p[f]`` from ``values[k] = f(z_k)`` with ``z_k ~ q`` and ``log_weights = log p~(z_k) - log q(z_k)``.

    ``p~`` may be unnormalised; the estimate is consistent with a bias of order 1/K. The standard error is the
    delta-method one, ``sqrt(sum_k w_k^2 (f_k - mean)^2)`` with normalised ``w`` (Owen, *Monte Carlo theory, methods
    and examples*, equation 9.9).
    """
    values = jnp.asarray(values)
    weights = normalized_weights(log_weights).reshape((-1,) + (1,) * (values.ndim - 1))
    mean = jnp.sum(weights * values, axis=0)
    return Estimate(mean, jnp.sqrt(jnp.sum(weights**2 * (values - mean) ** 2, axis=0)))


def effective_sample_size(log_weights: Float[ArrayLike, "..."], axis: int = 0) -> Float[Array, "..."]:
    """Return ``(sum w)^2 / sum w^2``, between 1 and K: how many equally weighted samples these are worth.

    Kong (1992), *A note on importance sampling using standardized weights*.
    """
    return 1.0 / jnp.sum(normalized_weights(log_weights, axis) ** 2, axis=axis)


def _count(values: Shaped[Array, "..."], axis: Axis) -> int:
    """Return the number of entries that a reduction over ``axis`` takes together."""
    if axis is None:
        return values.size
    axes = (axis,) if isinstance(axis, int) else axis
    count = 1
    for a in axes:
        count *= values.shape[a]
    return count

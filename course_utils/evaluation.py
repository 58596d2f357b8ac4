"""How good a trained model is, on data it has not seen."""

from functools import partial
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from course_utils.bounds import Distribution, log_importance_weights
from course_utils.errors import CourseError

DECODED_AT_ONCE = 2500
SAMPLES_AT_ONCE = 50


@runtime_checkable
class LatentVariableModel(Protocol):
    """What an evaluation asks of a model: a joint density and a recognition network."""

    def encode(self, x: Float[Array, "batch data"]) -> Distribution:
        """Return ``q(z|x)``."""

    def log_joint(self, x: Float[Array, "batch data"], z: Float[Array, "K batch latent"]) -> Float[Array, "K batch"]:
        """Return ``log p(x, z)`` in nats."""


class Evaluation(NamedTuple):
    """Two bounds on ``log p(x)`` for each datapoint, in nats, from the same importance samples."""

    elbo: Float[np.ndarray, " N"]
    log_likelihood: Float[np.ndarray, " N"]


def evaluate(
    model: LatentVariableModel, x: Float[ArrayLike, "N data"], key: PRNGKeyArray, num_samples: int = 5000
) -> Evaluation:
    """Return the ELBO and the importance-sampled log-likelihood of each row of ``x``.

    ``log_likelihood`` is ``log (1/K) sum_k p(x, z_k) / q(z_k|x)`` with K = ``num_samples`` draws from the recognition
    network (Burda et al., section 5): a lower bound on ``log p(x)`` in expectation, and closer to it the larger K is,
    so K belongs beside every number. Memory does not grow with N or with K: a few thousand decoded images at a time.

    Raises:
        CourseError: ``num_samples`` is less than 1.
    """
    if num_samples < 1:
        raise CourseError(f"num_samples is {num_samples}; an importance-sampled likelihood needs at least 1.")
    graphdef, state = nnx.split(model)
    return Evaluation(*map(np.asarray, _evaluate(graphdef, num_samples, state, jnp.asarray(x), key)))


def log_likelihood(
    model: LatentVariableModel, x: Float[ArrayLike, "N data"], key: PRNGKeyArray, num_samples: int = 5000
) -> Float[np.ndarray, " N"]:
    """Return the importance-sampled ``log p(x)`` of each row in nats; see :func:`evaluate`."""
    return evaluate(model, x, key, num_samples).log_likelihood


@partial(jax.jit, static_argnums=(0, 1))
def _evaluate(graphdef, num_samples, state, x, key):
    model = nnx.merge(graphdef, state)
    chunk = min(num_samples, SAMPLES_AT_ONCE)
    num_chunks, rest = divmod(num_samples, chunk)

    def evaluate_row(row):
        x, key = row
        x, q = x[None], model.encode(x[None])

        def add_chunk(sums, key, size=chunk):
            log_weights = log_importance_weights(partial(model.log_joint, x), q, key, size)[:, 0]
            return (sums[0] + log_weights.sum(), jnp.logaddexp(sums[1], jax.nn.logsumexp(log_weights))), None

        keys = jax.random.split(key, num_chunks + 1)
        sums, _ = jax.lax.scan(add_chunk, (jnp.float32(0.0), -jnp.inf), keys[1:])
        if rest:
            sums, _ = add_chunk(sums, keys[0], rest)
        return sums[0] / num_samples, sums[1] - jnp.log(num_samples)

    rows = (x, jax.random.split(key, len(x)))
    return jax.lax.map(evaluate_row, rows, batch_size=min(len(x), max(1, DECODED_AT_ONCE // chunk)))

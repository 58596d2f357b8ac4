"""``evaluate`` against the closed form of the linear-Gaussian model. Statistical tests leave 5 standard errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from course_utils import evaluation
from course_utils.bounds import DiagonalNormal
from course_utils.errors import CourseError
from course_utils.evaluation import evaluate, log_likelihood
from tests.linear_gaussian import ORTHOGONAL

PRECISION = np.diag(ORTHOGONAL.weights.T @ ORTHOGONAL.weights) / ORTHOGONAL.scale**2 + 1
RECOGNITION_WEIGHTS = ORTHOGONAL.weights / ORTHOGONAL.scale**2 / PRECISION
KEY = jax.random.key(0)


class RecognizedLinearGaussian(nnx.Module):
    """The model with its exact posterior for a recognition network, or one that is shifted and stretched."""

    def __init__(self, shift=0.0, stretch=1.0):
        self.weights = nnx.Param(jnp.float32(RECOGNITION_WEIGHTS))
        self.shift = nnx.Param(jnp.full(2, shift))
        self.stretch = nnx.Param(jnp.full(2, stretch))

    def encode(self, x):
        mean = (x - jnp.float32(ORTHOGONAL.offset)) @ self.weights[...] + self.shift[...]
        return DiagonalNormal(mean, jnp.broadcast_to(self.stretch[...] * np.float32(PRECISION**-0.5), mean.shape))

    def log_joint(self, x, z):
        return ORTHOGONAL.log_joint(x, z)


POOR = RecognizedLinearGaussian(shift=0.5, stretch=1.3)


def truth(model, x):
    """Return ELBO and log-evidence of each datapoint in closed form."""
    q = model.encode(x)
    return ORTHOGONAL.elbo(x, q.mean, q.scale), ORTHOGONAL.log_evidence(x)


@pytest.mark.parametrize(("num_rows", "num_samples"), [(7, 1), (60, 120)])
def test_exact_posterior_gives_the_exact_likelihood(num_rows, num_samples):
    """Whatever K is, and whether or not rows and samples fill up what is taken at once: 50 of each here."""
    x = ORTHOGONAL.draw(num_rows)
    for estimate in evaluate(RecognizedLinearGaussian(), x, KEY, num_samples):
        assert isinstance(estimate, np.ndarray)
        assert estimate.dtype == np.float32
        assert_allclose(estimate, ORTHOGONAL.log_evidence(x), atol=1e-4)


NUM_REPEATS = 5000
SAMPLE_SIZES = (1, 10, 130)


@pytest.fixture(scope="module")
def repeated():
    """Evaluations of one datapoint, thousands of times, by a poor recognition network, for each K."""
    x = np.repeat(ORTHOGONAL.draw(1), NUM_REPEATS, axis=0)
    return {num_samples: evaluate(POOR, x, KEY, num_samples) for num_samples in SAMPLE_SIZES}


@pytest.mark.parametrize("num_samples", SAMPLE_SIZES)
def test_elbo_and_likelihood_are_unbiased_whatever_k(repeated, num_samples):
    elbo, log_evidence = (value[0] for value in truth(POOR, ORTHOGONAL.draw(1)))
    weights = np.exp(np.float64(repeated[num_samples].log_likelihood))
    for values, expected in ((np.float64(repeated[num_samples].elbo), elbo), (weights, np.exp(log_evidence))):
        assert abs(values.mean() - expected) < 5 * values.std() / np.sqrt(NUM_REPEATS)


def test_log_likelihood_rises_with_k_to_the_truth(repeated):
    mean = {k: repeated[k].log_likelihood.mean(dtype=float) for k in SAMPLE_SIZES}
    error = {k: repeated[k].log_likelihood.std() / np.sqrt(NUM_REPEATS) for k in SAMPLE_SIZES}
    log_evidence = truth(POOR, ORTHOGONAL.draw(1))[1][0]
    for k, more in ((1, 10), (10, 130)):
        assert mean[more] - mean[k] > 5 * np.hypot(error[k], error[more])
        assert mean[more] < log_evidence + 5 * error[more]


def test_every_chunk_of_samples_is_a_new_one(repeated):
    """The variance of the ELBO falls as 1/K, across two chunks and a rest too: 5 standard errors of leeway."""
    ratio = repeated[10].elbo.var() / repeated[130].elbo.var()
    assert_allclose(ratio, 13, rtol=5 * np.sqrt(4 / NUM_REPEATS))


def test_one_sample_makes_both_bounds_the_same(repeated):
    assert_allclose(*repeated[1], atol=1e-5)


def test_every_row_has_noise_of_its_own(repeated):
    assert len(np.unique(repeated[10].elbo)) > 0.99 * NUM_REPEATS


def test_many_samples_reach_the_truth_of_each_row():
    x = ORTHOGONAL.draw(30)
    elbo, log_evidence = truth(POOR, x)
    result = evaluate(POOR, x, KEY, num_samples=20_000)
    assert_allclose(result.log_likelihood, log_evidence, atol=0.05)
    assert_allclose(result.elbo, elbo, atol=0.1)
    assert_array_equal(log_likelihood(POOR, x, KEY, num_samples=20_000), result.log_likelihood)


def test_the_key_decides():
    x = ORTHOGONAL.draw(7)
    first, again, other = (evaluate(POOR, x, jax.random.key(seed), 1).elbo for seed in (0, 0, 1))
    assert_array_equal(first, again)
    assert (first != other).all()


@pytest.mark.parametrize("num_samples", [0, -3])
def test_no_samples_are_no_estimate(num_samples):
    with pytest.raises(CourseError, match=f"num_samples is {num_samples};"):
        evaluate(POOR, ORTHOGONAL.draw(7), KEY, num_samples)


def test_memory_grows_neither_with_rows_nor_with_samples():
    """Beside arguments and results the program holds random keys, 8 bytes for a row and for a chunk, and no more."""

    def temporary_bytes(num_rows, num_samples):
        graphdef, state = nnx.split(POOR)
        x = jax.ShapeDtypeStruct((num_rows, ORTHOGONAL.data_dim), jnp.float32)
        compiled = evaluation._evaluate.lower(graphdef, num_samples, state, x, KEY).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    base, rows, chunks = temporary_bytes(200, 500), 20_000, 100
    rows_at_once = evaluation.DECODED_AT_ONCE // evaluation.SAMPLES_AT_ONCE
    assert temporary_bytes(rows, 500) - base < 16 * rows
    assert temporary_bytes(200, chunks * evaluation.SAMPLES_AT_ONCE) - base < 16 * chunks * rows_at_once

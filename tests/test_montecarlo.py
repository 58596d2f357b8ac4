"""``montecarlo`` against closed forms, SciPy and ``float64``."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from numpy.testing import assert_allclose

from course_utils.montecarlo import (
    effective_sample_size,
    log_mean_exp,
    monte_carlo,
    normalized_weights,
    self_normalized_importance_sampling,
)

ARRAY = np.random.default_rng(0).normal(scale=20, size=(5, 3, 4)).astype(np.float32)


def truth_of_log_mean_exp(log_weights, axis=None):
    log_weights = np.float64(log_weights)
    total = scipy.special.logsumexp(log_weights, axis=axis)
    return total - np.log(log_weights.size / np.size(total))


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), [0, 1], (0, 1, 2)])
def test_log_mean_exp_agrees_with_scipy_along_every_axis(axis):
    expected = truth_of_log_mean_exp(ARRAY, tuple(axis) if isinstance(axis, list) else axis)
    result = log_mean_exp(ARRAY, axis=axis)
    assert result.dtype == jnp.float32
    assert result.shape == np.shape(expected)
    assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("shift", [-1e4, 0, 1e4])
def test_log_mean_exp_holds_where_the_weights_themselves_overflow(shift):
    log_weights = np.float32(shift) + np.array([-3.0, 0.0, 2.0, 2.5], np.float32)
    assert_allclose(log_mean_exp(log_weights), truth_of_log_mean_exp(log_weights), rtol=2e-7, atol=1e-6)


def test_log_mean_exp_of_both_extremes_at_once():
    assert_allclose(log_mean_exp(jnp.array([-1e4, 1e4])), 1e4 - np.log(2), rtol=2e-7)


def test_log_mean_exp_takes_minus_infinity_for_a_weight_of_zero():
    log_weights = jnp.array([[0.0, -jnp.inf], [-jnp.inf, -jnp.inf]])
    assert_allclose(log_mean_exp(log_weights, axis=0), [-np.log(2), -np.inf], rtol=1e-6)
    assert log_mean_exp(log_weights[1]) == -jnp.inf


def test_log_mean_exp_of_one_entry_is_that_entry():
    assert_allclose(log_mean_exp(ARRAY[:1], axis=0), ARRAY[0], rtol=1e-7)


def test_gradient_of_log_mean_exp_is_the_normalized_weights():
    log_weights = ARRAY[:, 0, 0]
    assert_allclose(jax.grad(log_mean_exp)(log_weights), scipy.special.softmax(np.float64(log_weights)), rtol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, (0, 1), None])
def test_monte_carlo_agrees_with_numpy(axis):
    mean, standard_error = monte_carlo(ARRAY, axis=axis)
    expected = np.float64(ARRAY).mean(axis)
    deviation = np.float64(ARRAY).std(axis, ddof=1)
    assert mean.dtype == standard_error.dtype == jnp.float32
    assert_allclose(mean, expected, rtol=1e-5, atol=1e-5)
    assert_allclose(standard_error, deviation / np.sqrt(ARRAY.size / expected.size), rtol=1e-5)


@pytest.mark.parametrize("threshold", [0, 30])
def test_monte_carlo_of_indicators_estimates_a_probability(threshold):
    samples = jnp.arange(100) < threshold
    p = threshold / 100
    mean, standard_error = monte_carlo(samples)
    assert mean.dtype == standard_error.dtype == jnp.float32
    assert_allclose([mean, standard_error], [p, np.sqrt(p * (1 - p) / 99)], rtol=1e-6)


def test_one_sample_says_nothing_about_its_spread():
    mean, standard_error = monte_carlo(jnp.array([3.0]))
    assert mean == 3.0
    assert jnp.isnan(standard_error)


def test_intervals_of_monte_carlo_cover_the_truth_as_often_as_they_say():
    """Student's interval is exact for normal samples, so the coverage is binomial: 5 standard errors of leeway."""
    num_runs, num_samples, level = 20_000, 5, 0.9
    samples = 2.0 + 3.0 * jax.random.normal(jax.random.key(0), (num_samples, num_runs))
    mean, standard_error = map(np.asarray, monte_carlo(samples))
    half_width = scipy.stats.t(num_samples - 1).ppf((1 + level) / 2) * standard_error
    coverage = (np.abs(mean - 2.0) < half_width).mean()
    assert abs(coverage - level) < 5 * np.sqrt(level * (1 - level) / num_runs)


def test_normalized_weights_sum_to_one_and_ignore_the_scale_of_the_weights():
    weights = normalized_weights(ARRAY, axis=1)
    assert weights.dtype == jnp.float32
    assert_allclose(weights.sum(1), np.ones((5, 4)), rtol=1e-6)
    assert_allclose(weights, scipy.special.softmax(np.float64(ARRAY), axis=1), rtol=1e-5, atol=1e-12)
    assert_allclose(normalized_weights(jnp.array([0.0, 1.0, 2.0]) + 1e4), scipy.special.softmax([0, 1, 2]), rtol=1e-5)


def importance_samples_of_a_normal(key, num_samples):
    """Return draws of ``q = N(0, 1.5^2)`` with log-weights towards ``N(1, 1)``, off by a constant of 1e3."""
    z = 1.5 * jax.random.normal(key, (num_samples,))
    return z, 1e3 - 0.5 * (z - 1.0) ** 2 + 0.5 * (z / 1.5) ** 2


def test_self_normalized_importance_sampling_is_consistent():
    """Mean, second moment and a tail probability of ``N(1, 1)``, within 5 of the estimate's own standard errors."""
    z, log_weights = importance_samples_of_a_normal(jax.random.key(1), 100_000)
    values = jnp.stack([z, z**2, z > 2], axis=1)
    truth = np.array([1.0, 2.0, scipy.stats.norm.sf(2, loc=1)])
    mean, standard_error = self_normalized_importance_sampling(values, log_weights)
    assert mean.shape == standard_error.shape == (3,)
    assert mean.dtype == standard_error.dtype == jnp.float32
    assert (standard_error < 0.01).all()
    assert (np.abs(mean - truth) < 5 * standard_error).all()


def test_delta_method_error_bar_is_the_spread_over_repetitions():
    """The variance over 4,000 runs is known to about 1/sqrt(2000) of itself; 5 such errors are 11 %."""
    keys = jax.random.split(jax.random.key(2), 4000)

    @jax.jit
    @jax.vmap
    def estimate(key):
        return self_normalized_importance_sampling(*importance_samples_of_a_normal(key, 500))

    mean, standard_error = map(np.float64, estimate(keys))
    assert_allclose((standard_error**2).mean(), mean.var(), rtol=5 / np.sqrt(2000))
    covered = (np.abs(mean - 1.0) < 1.96 * standard_error).mean()
    assert abs(covered - 0.95) < 5 * np.sqrt(0.95 * 0.05 / 4000) + 0.005


def test_equal_weights_make_self_normalized_importance_sampling_simple_monte_carlo():
    values = ARRAY[:, 0]
    mean, standard_error = self_normalized_importance_sampling(values, jnp.full(5, -1e4))
    simple = monte_carlo(values)
    assert_allclose(mean, simple.mean, rtol=1e-5)
    assert_allclose(standard_error, simple.standard_error * np.sqrt(4 / 5), rtol=1e-5)


@pytest.mark.parametrize(
    ("log_weights", "expected"),
    [
        ([7.0, 7.0, 7.0, 7.0], 4.0),
        ([0.0, 1e4, -1e4, 3.0], 1.0),
        ([0.0, -np.inf, -np.inf, -np.inf], 1.0),
        (np.log([1.0, 2.0, 3.0]) - 1e3, 36 / 14),
        ([5.0], 1.0),
    ],
)
def test_effective_sample_size_in_closed_form(log_weights, expected):
    size = effective_sample_size(jnp.array(log_weights, jnp.float32))
    assert size.dtype == jnp.float32
    assert_allclose(size, expected, rtol=1e-3)


def test_effective_sample_size_lies_between_one_and_k_along_the_axis():
    size = effective_sample_size(ARRAY / 20, axis=2)
    assert size.shape == (5, 3)
    assert ((size >= 1) & (size <= 4)).all()
    weights = np.exp(np.float64(ARRAY) / 20)
    assert_allclose(size, weights.sum(2) ** 2 / (weights**2).sum(2), rtol=1e-5)

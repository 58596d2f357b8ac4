"""``bounds`` against closed forms, SciPy and NumPyro. Statistical tests leave 5 standard errors."""

from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats
from numpy.testing import assert_allclose
from numpyro.infer import RenyiELBO, Trace_ELBO

from course_utils import bounds
from course_utils.bounds import DiagonalNormal, standard_normal
from tests.linear_gaussian import CORRELATED, ORTHOGONAL

MODELS = pytest.mark.parametrize("model", [ORTHOGONAL, CORRELATED], ids=["orthogonal", "correlated"])
MEAN, SCALE = np.array([0.4, -0.7], np.float32), np.array([0.9, 0.5], np.float32)
GUIDES = pytest.mark.parametrize(
    ("mean", "scale"),
    [(MEAN, SCALE), ([0.0, 0.0], [1.0, 1.0]), ([-1.5, 2.0], [0.2, 1.7])],
    ids=["near", "prior", "far"],
)
NUM_RUNS = 20_000


class SigmaPoints(NamedTuple):
    """``q`` itself, but its "draws" are 2 dim points whose plain average is exact for every quadratic function."""

    q: DiagonalNormal

    def sample(self, key, num_samples):
        dim = self.q.mean.shape[-1]
        assert num_samples == 2 * dim
        offsets = jnp.sqrt(dim) * jnp.concatenate([jnp.eye(dim), -jnp.eye(dim)])
        return self.q.mean + self.q.scale * offsets

    def log_prob(self, z):
        return self.q.log_prob(z)


def assert_within_error_bar(values, truth, num_errors=5):
    """Assert that the average of i.i.d. ``values`` along their first axis is no more than that far from ``truth``."""
    values = np.float64(values)
    error = np.abs(values.mean(0) - truth) / (values.std(0, ddof=1) / np.sqrt(len(values)))
    assert (error < num_errors).all(), f"{error} standard errors from {truth}"


def normal(mean, scale):
    return DiagonalNormal(np.float32(mean), np.float32(scale))


@cache
def keys(seed=0, num_runs=NUM_RUNS):
    return jax.random.split(jax.random.key(seed), num_runs)


@partial(jax.jit, static_argnums=(0, 1, 2))
def estimates(bound, model, num_samples, x, q, keys):
    """Return one estimate for each key. What is compiled serves every datapoint and every q."""
    return jax.vmap(lambda key: bound(partial(model.log_joint, x), q, key, num_samples))(keys)


@MODELS
@GUIDES
def test_the_truth_agrees_with_itself(model, mean, scale):
    x = model.draw(1)[0]
    gap = model.log_evidence(x) - model.elbo(x, mean, scale)
    assert_allclose(gap, model.kl_to_posterior(x, mean, scale), rtol=1e-10)


@MODELS
@GUIDES
def test_log_evidence_is_elbo_plus_kl_to_the_posterior(model, mean, scale):
    x = model.draw(1)[0]
    (exact,) = estimates(bounds.elbo, model, 4, x, SigmaPoints(normal(mean, scale)), keys(num_runs=1))
    assert exact.dtype == jnp.float32
    assert_allclose(model.log_evidence(x) - exact, model.kl_to_posterior(x, mean, scale), rtol=1e-5, atol=1e-5)


@MODELS
@GUIDES
def test_sampled_elbo_is_unbiased(model, mean, scale):
    x = model.draw(1)[0]
    sampled = estimates(bounds.elbo, model, 2, x, normal(mean, scale), keys())
    assert_within_error_bar(sampled, model.elbo(x, mean, scale))


def test_every_weight_is_the_evidence_where_q_is_the_posterior():
    x = ORTHOGONAL.draw(1)[0]
    mean, covariance = ORTHOGONAL.posterior(x)
    assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-12)
    q = normal(mean, np.sqrt(np.diag(covariance)))
    (log_weights,) = estimates(bounds.log_importance_weights, ORTHOGONAL, 1000, x, q, keys(num_runs=1))
    assert log_weights.dtype == jnp.float32
    assert_allclose(log_weights, np.full(1000, ORTHOGONAL.log_evidence(x)), atol=2e-5)


@MODELS
def test_importance_weights_average_to_the_evidence(model):
    """With the prior's scale and the posterior's mean the tails of q are heavy enough for a finite variance."""
    x = model.draw(1)[0]
    q = normal(model.posterior(x)[0], [1.0, 1.0])
    (log_weights,) = estimates(bounds.log_importance_weights, model, 100_000, x, q, keys(1, 1))
    assert_within_error_bar(np.exp(np.float64(log_weights)), np.exp(model.log_evidence(x)))
    (bound,) = estimates(bounds.importance_weighted_bound, model, 100_000, x, q, keys(1, 1))
    assert_allclose(bound, model.log_evidence(x), atol=0.02)


def test_importance_weighted_bound_rises_with_k_from_the_elbo_to_the_evidence():
    x = CORRELATED.draw(1)[0]
    truth, elbo = CORRELATED.log_evidence(x), CORRELATED.elbo(x, MEAN, SCALE)
    bound = {
        k: np.float64(estimates(bounds.importance_weighted_bound, CORRELATED, k, x, normal(MEAN, SCALE), keys()))
        for k in (1, 4, 32)
    }
    mean = {k: bound[k].mean() for k in bound}
    error = {k: bound[k].std() / np.sqrt(NUM_RUNS) for k in bound}
    assert_within_error_bar(bound[1], elbo)
    for k, more in ((1, 4), (4, 32)):
        assert mean[more] - mean[k] > 5 * np.hypot(error[k], error[more])
        assert mean[more] < truth + 5 * error[more]
    assert truth - mean[32] < 0.2 * (truth - elbo)


def test_one_sample_makes_both_bounds_the_same_number():
    x, q = CORRELATED.draw(1)[0], normal(MEAN, SCALE)
    both = (estimates(bound, CORRELATED, 1, x, q, keys()) for bound in (bounds.elbo, bounds.importance_weighted_bound))
    np.testing.assert_array_equal(*both)


def test_bounds_keep_the_batch():
    """A batch of datapoints, each with its own q, gives what each of them gives alone, from the same noise."""
    x = CORRELATED.draw(3)
    q = normal(np.linspace(-1, 1, 6).reshape(3, 2), np.linspace(0.5, 1, 6).reshape(3, 2))
    z = np.asarray(q.sample(keys(num_runs=1)[0], 5))
    log_weights, elbo, bound = (
        estimates(bound, CORRELATED, 5, x, q, keys(num_runs=1))[0]
        for bound in (bounds.log_importance_weights, bounds.elbo, bounds.importance_weighted_bound)
    )
    expected = np.empty((5, 3))
    for i in range(3):
        residual = x[i] - CORRELATED.offset - z[:, i] @ CORRELATED.weights.T
        expected[:, i] = (
            scipy.stats.norm(scale=CORRELATED.scale).logpdf(residual).sum(-1)
            + scipy.stats.norm.logpdf(z[:, i]).sum(-1)
            - scipy.stats.norm(q.mean[i], q.scale[i]).logpdf(z[:, i]).sum(-1)
        )
    assert_allclose(log_weights, expected, rtol=1e-5)
    assert_allclose(elbo, expected.mean(0), rtol=1e-5)
    assert_allclose(bound, scipy.special.logsumexp(expected, axis=0) - np.log(5), rtol=1e-5)


ESTIMATORS = {
    "reparameterised": bounds.elbo,
    "score function": partial(bounds.score_function_elbo, baseline=False),
    "with a baseline": bounds.score_function_elbo,
    "sticking the landing": bounds.sticking_the_landing_elbo,
}


def gradients(estimator, model, x, q, num_samples=2):
    gradient = jax.grad(lambda q, key: estimator(partial(model.log_joint, x), q, key, num_samples))
    return jax.jit(jax.vmap(gradient, in_axes=(None, 0)))(q, keys())


@pytest.mark.parametrize("name", ESTIMATORS)
@MODELS
def test_every_gradient_estimator_is_unbiased(name, model):
    """Against the exact gradient of the ELBO, within 5 standard errors; and the value is still that of the ELBO."""
    x = model.draw(1)[0]
    estimate = gradients(ESTIMATORS[name], model, x, normal(MEAN, SCALE))
    precision = model.weights.T @ model.weights / model.scale**2 + np.eye(2)
    assert_within_error_bar(estimate.mean, (x - model.offset) @ model.weights / model.scale**2 - precision @ MEAN)
    assert_within_error_bar(estimate.scale, 1 / SCALE - np.diag(precision) * SCALE)
    values, ours = (
        estimates(bound, model, 2, x, normal(MEAN, SCALE), keys()[:100]) for bound in (ESTIMATORS[name], bounds.elbo)
    )
    assert_allclose(values, ours, rtol=1e-5)


def test_gradient_estimators_differ_in_their_variance_as_they_should():
    """A baseline helps; the path derivative alone has no variance at all once q is the posterior."""
    x = ORTHOGONAL.draw(1)[0]
    mean, covariance = ORTHOGONAL.posterior(x)
    posterior = normal(mean, np.sqrt(np.diag(covariance)))
    variance = {
        name: np.var(gradients(estimator, ORTHOGONAL, x, posterior, 4).mean, axis=0).sum()
        for name, estimator in ESTIMATORS.items()
    }
    assert variance["sticking the landing"] < 1e-8 < variance["reparameterised"]
    assert variance["with a baseline"] < 1e-8 < variance["score function"]
    away = {
        name: np.var(gradients(estimator, ORTHOGONAL, x, normal(MEAN, SCALE), 4).mean, axis=0).sum()
        for name, estimator in ESTIMATORS.items()
    }
    assert away["reparameterised"] < away["with a baseline"] < away["score function"]


@pytest.mark.parametrize("name", ESTIMATORS)
def test_parameters_of_the_joint_get_their_gradient_from_every_estimator(name):
    """``d/dtheta E_q[log N(z; theta, 1)] = E_q[z] - theta``."""
    q = normal([0.4], [0.9])

    def bound(theta, key):
        return ESTIMATORS[name](lambda z: DiagonalNormal(theta, jnp.ones(1)).log_prob(z), q, key, 2)

    gradient = jax.jit(jax.vmap(jax.grad(bound), in_axes=(None, 0)))(jnp.array([1.5]), keys())
    assert_within_error_bar(gradient[:, 0], 0.4 - 1.5)


def test_a_baseline_needs_a_second_sample():
    with pytest.raises(ValueError, match="at least 2"):
        bounds.score_function_elbo(lambda z: -(z**2).sum(-1), normal(MEAN, SCALE), jax.random.key(0), 1)


def test_gradient_of_the_importance_weighted_bound_is_that_of_its_mean():
    """The average gradient in the mean of q agrees with a difference quotient of the bound, from the same noise."""
    log_joint = partial(CORRELATED.log_joint, CORRELATED.draw(1)[0])

    def bound(shift, key):
        q = DiagonalNormal(MEAN + 1.0 + shift * jnp.array([1.0, 0.0]), jnp.array(SCALE))
        return bounds.importance_weighted_bound(log_joint, q, key, 8)

    def gradient_and_quotient(key, step=0.01):
        return jax.grad(bound)(0.0, key), (bound(step, key) - bound(-step, key)) / (2 * step)

    gradient, quotient = map(np.float64, jax.jit(jax.vmap(gradient_and_quotient))(keys()))
    assert abs(gradient.mean()) > 0.1
    assert_allclose(gradient.mean(), quotient.mean(), rtol=1e-2)


def numpyro_model(x):
    z = numpyro.sample("z", dist.Normal(jnp.zeros(2), 1).to_event(1))
    mean = jnp.float32(CORRELATED.weights) @ z + jnp.float32(CORRELATED.offset)
    numpyro.sample("x", dist.Normal(mean, CORRELATED.scale).to_event(1), obs=x)


def numpyro_guide(x):
    numpyro.sample("z", dist.Normal(jnp.array(MEAN), jnp.array(SCALE)).to_event(1))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (bounds.elbo, Trace_ELBO(num_particles=8)),
        (bounds.importance_weighted_bound, RenyiELBO(alpha=0.0, num_particles=8)),
    ],
    ids=["elbo", "importance-weighted"],
)
def test_bounds_agree_with_numpyro(ours, theirs):
    x = CORRELATED.draw(1)[0]
    our_values = estimates(ours, CORRELATED, 8, x, normal(MEAN, SCALE), keys(1))
    their_loss = jax.jit(jax.vmap(lambda key: theirs.loss(key, {}, numpyro_model, numpyro_guide, x)))
    assert_within_error_bar(np.float64(our_values) + np.float64(their_loss(keys(2))), 0.0)


def test_log_evidence_agrees_with_numpyro_at_many_samples():
    x = CORRELATED.draw(1)[0]
    (ours,) = estimates(bounds.importance_weighted_bound, CORRELATED, 100_000, x, normal(MEAN, SCALE), keys(3, 1))
    loss = RenyiELBO(alpha=0.0, num_particles=100_000).loss
    theirs = -jax.jit(lambda key: loss(key, {}, numpyro_model, numpyro_guide, x))(jax.random.key(4))
    assert_allclose(ours, theirs, atol=0.02)
    assert_allclose(ours, CORRELATED.log_evidence(x), atol=0.02)


def test_density_of_the_diagonal_normal_integrates_to_one():
    grid = np.linspace(-8, 8, 401)
    z = MEAN + SCALE * np.stack(np.meshgrid(grid, grid), axis=-1)
    density = np.exp(np.float64(normal(MEAN, SCALE).log_prob(np.float32(z))))
    assert_allclose(density.sum() * np.prod(SCALE) * (16 / 400) ** 2, 1.0, rtol=1e-5)


def test_diagonal_normal_agrees_with_scipy():
    """The scale is a standard deviation; density and entropy are summed over the last axis."""
    q = normal([MEAN, -MEAN], [SCALE, 2 * SCALE])
    z = np.random.default_rng(0).normal(size=(7, 2, 2)).astype(np.float32)
    reference = scipy.stats.norm(np.float64(q.mean), np.float64(q.scale))
    assert q.log_prob(z).dtype == q.entropy().dtype == jnp.float32
    assert_allclose(q.log_prob(z), reference.logpdf(z).sum(-1), rtol=1e-5)
    assert_allclose(q.entropy(), reference.entropy().sum(-1), rtol=1e-5)


def test_draws_of_the_diagonal_normal_have_its_moments():
    z = normal(MEAN, SCALE).sample(keys(num_runs=1)[0], NUM_RUNS)
    assert z.dtype == jnp.float32
    assert z.shape == (NUM_RUNS, 2)
    deviation = np.float64(z) - MEAN
    assert_within_error_bar(deviation, 0.0)
    assert_within_error_bar(deviation**2, SCALE**2)
    assert_within_error_bar(deviation.prod(-1), 0.0)


def test_kl_agrees_with_numpyro_and_with_its_own_definition():
    q, p = normal([MEAN, -MEAN], [SCALE, 2 * SCALE]), normal([0.3, 0.2], [1.5, 0.7])
    theirs = dist.kl_divergence(dist.Normal(*q).to_event(1), dist.Normal(*p).to_event(1))
    assert q.kl(p).dtype == jnp.float32
    assert_allclose(q.kl(p), theirs, rtol=1e-5)
    z = q.sample(keys(num_runs=1)[0], NUM_RUNS)
    assert_within_error_bar(np.float64(q.log_prob(z)) - np.float64(p.log_prob(z)), q.kl(p))
    assert_allclose(q.kl(q), [0.0, 0.0], atol=1e-6)


def test_dimensions_are_summed_even_where_mean_and_scale_broadcast():
    """Three independent dimensions have three times the entropy and the KL of one."""
    one, three = normal([0.7], [0.4]), normal([0.7, 0.7, 0.7], 0.4)
    assert_allclose(three.entropy(), 3 * one.entropy(), rtol=1e-6)
    assert_allclose(three.kl(standard_normal(3)), 3 * one.kl(standard_normal(1)), rtol=1e-6)
    assert three.sample(keys(num_runs=1)[0], 2).shape == (2, 3)


def test_mean_field_is_the_normal_with_the_exponential_of_its_log_scale():
    parameters = bounds.MeanField(jnp.array(MEAN), jnp.log(jnp.array(SCALE)))
    assert_allclose(parameters.q.mean, MEAN)
    assert_allclose(parameters.q.scale, SCALE, rtol=1e-6)
    assert jax.tree.leaves(parameters)[1] is parameters.log_scale


def test_standard_normal_is_the_prior():
    prior = standard_normal(3)
    assert prior.mean.dtype == prior.scale.dtype == jnp.float32
    assert_allclose(prior.log_prob(np.zeros(3, np.float32)), -1.5 * np.log(2 * np.pi), rtol=1e-6)
    assert_allclose(prior.entropy(), 1.5 * np.log(2 * np.pi * np.e), rtol=1e-6)


@pytest.mark.parametrize("num_samples", [2, 8])
def test_the_doubly_reparameterized_gradient_is_that_of_the_importance_weighted_bound(num_samples):
    """On average, within 5 standard errors of the difference; the values agree draw by draw."""
    model, q = ORTHOGONAL, normal(MEAN, SCALE)
    x = model.draw(1)[0]
    ours, theirs = (
        gradients(bound, model, x, q, num_samples)
        for bound in (bounds.doubly_reparameterized_bound, bounds.importance_weighted_bound)
    )
    assert_within_error_bar(np.asarray(ours.mean) - np.asarray(theirs.mean), 0)
    assert_within_error_bar(np.asarray(ours.scale) - np.asarray(theirs.scale), 0)
    values, plain = (
        estimates(bound, model, num_samples, x, q, keys()[:100])
        for bound in (bounds.doubly_reparameterized_bound, bounds.importance_weighted_bound)
    )
    assert_allclose(values, plain, rtol=1e-5)


def test_the_doubly_reparameterized_gradient_stands_out_of_its_noise_as_k_grows():
    """Ordinary: the ratio falls as 1/sqrt(K) (Rainforth et al., theorem 1). Doubly reparameterised: it rises."""
    model, q = ORTHOGONAL, normal(MEAN, SCALE)
    x = model.draw(1)[0]

    def ratio(bound, num_samples):
        gradient = np.asarray(gradients(bound, model, x, q, num_samples).mean)
        return np.linalg.norm(gradient.mean(0)) / np.sqrt(gradient.var(0).sum())

    assert ratio(bounds.importance_weighted_bound, 64) < ratio(bounds.importance_weighted_bound, 2)
    assert ratio(bounds.doubly_reparameterized_bound, 64) > ratio(bounds.doubly_reparameterized_bound, 2)


def test_the_doubly_reparameterized_bound_gives_the_joint_its_ordinary_gradient():
    x, key = jnp.float32(ORTHOGONAL.draw(1)[0]), jax.random.key(3)

    def climbed(bound, shift):
        return bound(lambda z: ORTHOGONAL.log_joint(x + shift, z), normal(MEAN, SCALE), key, 6)

    ours, plain = (
        jax.grad(partial(climbed, bound))(jnp.float32(0.3))
        for bound in (bounds.doubly_reparameterized_bound, bounds.importance_weighted_bound)
    )
    assert_allclose(ours, plain, rtol=1e-5)

"""``models``: the VAE's bounds are in nats per image, and are bounds. Statistical tests leave 5 standard errors."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats
from flax import nnx
from numpy.testing import assert_allclose

from course_utils.bounds import log_importance_weights
from course_utils.models import MLP, VAE, GaussianEncoder

DATA_DIM, LATENT_DIM = 4, 2
EVERY_IMAGE = jnp.array(list(itertools.product([0.0, 1.0], repeat=DATA_DIM)))


@pytest.fixture(scope="module")
def vae():
    """A small VAE whose decoder says something, and whose q is far from the prior and wider than the posterior."""
    graphdef, shapes = nnx.split(nnx.eval_shape(lambda: VAE(LATENT_DIM, data_dim=4, hidden=(8, 6), rngs=nnx.Rngs(0))))
    generator = np.random.default_rng(0)
    vae = nnx.merge(graphdef, jax.tree.map(lambda leaf: jnp.float32(generator.normal(0, 0.3, leaf.shape)), shapes))
    vae.decoder = jax.tree.map(lambda leaf: 2.5 * leaf, vae.decoder)
    vae.encoder.network.layers[-1].bias[...] = jnp.array([0.8, -0.8, 0.3, 0.3])
    return vae


@pytest.fixture(scope="module")
def z():
    return jnp.float32(np.random.default_rng(0).normal(size=(5, len(EVERY_IMAGE), LATENT_DIM)))


def many(function, num_runs):
    return np.float64(jax.jit(jax.vmap(function))(jax.random.split(jax.random.key(0), num_runs)))


def assert_means_agree(a, b):
    error = np.sqrt(a.var(0, ddof=1) / len(a) + b.var(0, ddof=1) / len(b))
    assert (np.abs(a.mean(0) - b.mean(0)) < 5 * error).all()


def truth_of_log_likelihood(vae, x, z):
    """Return the Bernoulli log-likelihood by SciPy, from the decoder's pixel probabilities."""
    return scipy.stats.bernoulli(np.float64(vae.decode(z))).logpmf(x).sum(-1)


def test_mlp_has_the_layers_asked_for():
    mlp = nnx.eval_shape(lambda: MLP([3, 7, 5, 2], rngs=nnx.Rngs(0)))
    assert [layer.kernel.shape for layer in mlp.layers] == [(3, 7), (7, 5), (5, 2)]


def test_last_layer_of_the_mlp_is_linear_and_the_others_are_not():
    mlp = MLP([3, 4, 2], activation=nnx.tanh, rngs=nnx.Rngs(0))
    x = jnp.array([[1.0, -2.0, 3.0]])
    first, last = [(np.float64(layer.kernel[...]), np.float64(layer.bias[...])) for layer in mlp.layers]
    assert_allclose(mlp(x), np.tanh(x @ first[0] + first[1]) @ last[0] + last[1], rtol=1e-5)


def test_encoder_gives_a_positive_scale_for_each_latent_dimension():
    encoder = GaussianEncoder([4, 8, 3], rngs=nnx.Rngs(0))
    x = jnp.float32(20 * np.random.default_rng(0).normal(size=(50, 4)))
    q = encoder(x)
    assert q.mean.shape == q.scale.shape == (50, 3)
    assert (np.asarray(q.scale) > 0).all()
    assert_allclose(np.log(q.scale), encoder.network(x)[:, 3:], atol=1e-5)


def test_published_network_has_its_shapes():
    vae = nnx.eval_shape(lambda: VAE(50, rngs=nnx.Rngs(0)))
    assert [layer.kernel.shape for layer in vae.encoder.network.layers] == [(784, 200), (200, 200), (200, 100)]
    assert [layer.kernel.shape for layer in vae.decoder.layers] == [(50, 200), (200, 200), (200, 784)]


def test_hidden_layers_are_mirrored_in_the_decoder():
    vae = nnx.eval_shape(lambda: VAE(2, data_dim=4, hidden=(8, 6), rngs=nnx.Rngs(0)))
    assert [layer.kernel.shape for layer in vae.decoder.layers] == [(2, 6), (6, 8), (8, 4)]


def test_shapes_of_the_vae(vae, z):
    images, key = EVERY_IMAGE, jax.random.key(0)
    calls = {
        (5, 16, DATA_DIM): lambda: vae.decode(z),
        (5, 16): lambda: (vae.log_likelihood(images, z), vae.log_joint(images, z)),
        (16,): lambda: (vae.elbo(images, key, 3), vae.importance_weighted_bound(images, key, 3), vae.elbo(images, key)),
        (16, LATENT_DIM): lambda: tuple(vae.encode(images)),
        (11, DATA_DIM): lambda: vae.sample(key, 11),
    }
    for shape, call in calls.items():
        for result in jax.tree.leaves(jax.eval_shape(call)):
            assert (result.shape, result.dtype) == (shape, jnp.float32)


def test_samples_are_the_decoder_at_draws_of_the_prior(vae):
    """The average of the samples is the evidence of ink in each pixel, here by quadrature."""
    samples = np.float64(jax.jit(vae.sample, static_argnums=1)(jax.random.key(0), 10_000))
    assert ((samples >= 0) & (samples <= 1)).all()
    ink = np.exp(evidence_by_quadrature(vae)) @ np.float64(EVERY_IMAGE)
    assert (np.abs(samples.mean(0) - ink) < 5 * samples.std(0) / 100 + 1e-4).all()


def test_log_likelihood_is_summed_over_pixels(vae, z):
    x = EVERY_IMAGE
    assert_allclose(vae.log_likelihood(x, z), truth_of_log_likelihood(vae, x, z), rtol=1e-5)
    theirs = dist.Bernoulli(logits=vae.decoder(z)).to_event(1).log_prob(x)
    assert_allclose(vae.log_likelihood(x, z), theirs, rtol=1e-5)


def test_probabilities_of_every_image_sum_to_one(vae, z):
    """For any given z the likelihood is a distribution over the 16 images of four pixels …"""
    log_likelihood = np.float64(vae.log_likelihood(EVERY_IMAGE, jnp.broadcast_to(z[:, :1], z.shape)))
    assert_allclose(np.exp(log_likelihood).sum(1), np.ones(5), rtol=1e-5)


def test_evidence_of_every_image_sums_to_one(vae):
    """… and so is the evidence, here by quadrature over z; its parts are what the bounds must stay below."""
    assert_allclose(np.exp(evidence_by_quadrature(vae)).sum(), 1.0, rtol=1e-4)


def evidence_by_quadrature(vae, half_width=7.0, num_points=141):
    grid = np.linspace(-half_width, half_width, num_points)
    z = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 1, LATENT_DIM)
    z = jnp.broadcast_to(jnp.float32(z), (len(z), len(EVERY_IMAGE), LATENT_DIM))
    log_joint = np.float64(jax.jit(vae.log_joint)(EVERY_IMAGE, z))
    return np.log(np.exp(log_joint).sum(0) * (grid[1] - grid[0]) ** 2)


def test_log_joint_adds_the_prior(vae, z):
    log_prior = scipy.stats.norm.logpdf(np.float64(z)).sum(-1)
    expected = truth_of_log_likelihood(vae, EVERY_IMAGE, z) + log_prior
    assert_allclose(vae.log_joint(EVERY_IMAGE, z), expected, rtol=1e-5)


def test_elbo_with_exact_kl_agrees_with_the_sampled_one(vae):
    """The same keys draw the same z, so that all that is left between them is the KL and its estimate."""

    def difference(key):
        log_joint = partial(vae.log_joint, EVERY_IMAGE)
        log_weights = log_importance_weights(log_joint, vae.encode(EVERY_IMAGE), key, 1)
        return vae.elbo(EVERY_IMAGE, key) - log_weights[0]

    differences = many(difference, 4000)
    error = differences.std(0) / np.sqrt(4000)
    assert error.max() < 0.05
    assert (np.abs(differences.mean(0)) < 5 * error).all()


def test_elbo_averages_over_samples(vae):
    one, many_samples = (many(partial(vae.elbo, EVERY_IMAGE, num_samples=n), 500) for n in (1, 64))
    assert_means_agree(one, many_samples)
    assert_allclose(one.var(0).sum() / many_samples.var(0).sum(), 64, rtol=0.5)


def test_bounds_of_the_vae_rise_to_the_evidence(vae):
    x, evidence = EVERY_IMAGE, evidence_by_quadrature(vae)
    elbo = many(lambda key: vae.elbo(x, key), 2000)
    tighter = many(partial(vae.importance_weighted_bound, x, num_samples=5), 2000)
    tight = many(partial(vae.importance_weighted_bound, x, num_samples=200), 400)
    error = tighter.std(0) / np.sqrt(2000)
    assert (tighter.mean(0) > elbo.mean(0) + 5 * np.hypot(error, elbo.std(0) / np.sqrt(2000))).all()
    assert (tighter.mean(0) < evidence + 5 * error).all()
    assert_allclose(tight.mean(0), evidence, atol=0.03)


@pytest.mark.parametrize("logit", [1e4, -1e4, 50.0, -50.0])
def test_extreme_logits_are_stable(logit):
    vae = nnx.eval_shape(lambda: VAE(2, data_dim=2, rngs=nnx.Rngs(0)))
    vae.decoder = lambda logits: logits
    x = jnp.array([[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
    truth = np.where(x == (logit > 0), 0.0, -abs(logit)).sum(-1)
    logits = jnp.full((3, 2), logit)
    assert_allclose(vae.log_likelihood(x, logits), truth, rtol=1e-6, atol=1e-20)
    gradient = jax.grad(lambda logits: vae.log_likelihood(x, logits).sum())(logits)
    assert_allclose(gradient, x - (logit > 0), atol=1e-6)


def test_gradient_of_the_elbo_reaches_every_parameter(vae):
    gradient = nnx.jit(nnx.grad(lambda vae: vae.elbo(EVERY_IMAGE, jax.random.key(0)).mean()))(vae)
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))

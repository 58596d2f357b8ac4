"""A model whose every quantity has a closed form: ``z ~ N(0, I)`` and ``x | z ~ N(weights @ z + offset, scale^2 I)``.

The truth is computed by NumPy and SciPy in ``float64``, by routes that share nothing with the code under test; only
``log_joint`` is JAX, since that is what the code under test is handed.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from scipy.stats import multivariate_normal


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """The model; ``scale`` is the standard deviation of the observation noise."""

    weights: np.ndarray
    offset: np.ndarray
    scale: float

    @property
    def data_dim(self):
        return self.weights.shape[0]

    @property
    def latent_dim(self):
        return self.weights.shape[1]

    def log_joint(self, x, z):
        """Return ``log p(x, z)``, for ``x`` of shape [*batch, data] and ``z`` of shape [K, *batch, latent]."""
        reconstruction = z @ jnp.float32(self.weights.T) + jnp.float32(self.offset)
        return norm.logpdf(x, reconstruction, self.scale).sum(-1) + norm.logpdf(z).sum(-1)

    def draw(self, num_data, seed=0):
        """Return ``num_data`` datapoints of the model, as ``float32``."""
        generator = np.random.default_rng(seed)
        z = generator.normal(size=(num_data, self.latent_dim))
        noise = generator.normal(size=(num_data, self.data_dim))
        return np.float32(z @ self.weights.T + self.offset + self.scale * noise)

    def log_evidence(self, x):
        """Return ``log p(x)`` of each datapoint: the marginal of ``x`` is normal."""
        covariance = self.weights @ self.weights.T + self.scale**2 * np.eye(self.data_dim)
        log_evidence = multivariate_normal(self.offset, covariance).logpdf(np.float64(x))
        return np.reshape(log_evidence, np.shape(x)[:-1])

    def posterior(self, x):
        """Return the mean of ``p(z|x)`` for each datapoint, and the covariance that they share."""
        covariance = np.linalg.inv(np.eye(self.latent_dim) + self.weights.T @ self.weights / self.scale**2)
        return (np.float64(x) - self.offset) @ self.weights @ covariance / self.scale**2, covariance

    def elbo(self, x, mean, scale):
        """Return ``E_q[log p(x, z)] + H[q]`` for ``q = N(mean, diag(scale^2))``: everything is at most quadratic."""
        x, mean, scale = map(np.float64, (x, mean, scale))
        residual = x - self.offset - mean @ self.weights.T
        squares = (residual**2).sum(-1) + (scale**2 * (self.weights**2).sum(0)).sum(-1)
        log_likelihood = -self.data_dim / 2 * np.log(2 * np.pi * self.scale**2) - squares / (2 * self.scale**2)
        log_prior = -self.latent_dim / 2 * np.log(2 * np.pi) - (mean**2 + scale**2).sum(-1) / 2
        entropy = (np.log(scale) + np.log(2 * np.pi * np.e) / 2).sum(-1)
        return log_likelihood + log_prior + entropy

    def kl_to_posterior(self, x, mean, scale):
        """Return ``KL[q || p(z|x)]`` for ``q = N(mean, diag(scale^2))`` and one datapoint."""
        posterior_mean, covariance = self.posterior(x)
        precision = np.linalg.inv(covariance)
        difference = np.float64(mean) - posterior_mean
        log_determinants = np.linalg.slogdet(covariance)[1] - 2 * np.log(np.float64(scale)).sum()
        distance = difference @ precision @ difference
        return 0.5 * (np.diag(precision) @ np.float64(scale) ** 2 + distance - self.latent_dim + log_determinants)


# The columns of the weights are orthogonal, so that the posterior is a diagonal normal that q can be equal to …
ORTHOGONAL = LinearGaussian(
    weights=np.array([[1.0, 0.5], [-0.5, 1.0], [1.0, 0.0], [0.0, -0.5]]) @ np.diag([1.0, 1.2]),
    offset=np.array([0.3, -0.2, 0.1, 0.5]),
    scale=0.8,
)
# … and here they are not, so that every diagonal q leaves a gap.
CORRELATED = LinearGaussian(
    weights=np.array([[1.0, 0.7], [0.6, 0.9], [-0.3, 0.4]]), offset=np.array([0.3, -0.2, 0.1]), scale=0.7
)

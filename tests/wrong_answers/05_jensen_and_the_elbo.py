# %% ex-normal-kl: the KL the other way round
def normal_kl(mean_q, scale_q, mean_p, scale_p):
    variance_ratio = (scale_p / scale_q) ** 2
    distance = ((mean_q - mean_p) / scale_q) ** 2
    return 0.5 * (variance_ratio + distance - 1 - jnp.log(variance_ratio))


# %% ex-normal-kl: the half is missing
def normal_kl(mean_q, scale_q, mean_p, scale_p):
    variance_ratio = (scale_q / scale_p) ** 2
    distance = ((mean_q - mean_p) / scale_p) ** 2
    return variance_ratio + distance - 1 - jnp.log(variance_ratio)


# %% ex-normal-kl: scales taken for variances
def normal_kl(mean_q, scale_q, mean_p, scale_p):
    variance_ratio = scale_q / scale_p
    distance = (mean_q - mean_p) ** 2 / scale_p
    return 0.5 * (variance_ratio + distance - 1 - jnp.log(variance_ratio))


# %% ex-normal-kl: log of the ratio of scales, halved with the rest
def normal_kl(mean_q, scale_q, mean_p, scale_p):
    ratio = scale_q / scale_p
    return 0.5 * (ratio**2 + ((mean_q - mean_p) / scale_p) ** 2 - 1 - jnp.log(ratio))


# %% ex-normal-kl: the sign of the log of the ratio of scales
def normal_kl(mean_q, scale_q, mean_p, scale_p):
    variance_ratio = (scale_q / scale_p) ** 2
    distance = ((mean_q - mean_p) / scale_p) ** 2
    return 0.5 * (variance_ratio + distance - 1 + jnp.log(variance_ratio))


# %% ex-normal-kl: the difference of the means is forgotten
def normal_kl(mean_q, scale_q, mean_p, scale_p):
    variance_ratio = (scale_q / scale_p) ** 2
    return 0.5 * (variance_ratio - 1 - jnp.log(variance_ratio))


# %% ex-normal-kl: the ratio of scales is not squared, except in the log
def normal_kl(mean_q, scale_q, mean_p, scale_p):
    ratio = scale_q / scale_p
    return 0.5 * (ratio + ((mean_q - mean_p) / scale_p) ** 2 - 1) - jnp.log(ratio)


# %% ex-elbo-from-noise: the half of the Gaussian log-density is missing
def elbo_from_noise(mean, scale, noise, y, sigma):
    def log_normal(z, mean, scale):
        return -(((z - mean) / scale) ** 2) - jnp.log(scale) - 0.5 * jnp.log(2 * jnp.pi)

    z = mean + scale * noise
    return jnp.mean(log_normal(y, z, sigma) + log_normal(z, 0.0, 1.0) - log_normal(z, mean, scale))


# %% ex-elbo-from-noise: log q is added
def elbo_from_noise(mean, scale, noise, y, sigma):
    z = mean + scale * noise
    return jnp.mean(norm.logpdf(y, z, sigma) + norm.logpdf(z, 0.0, 1.0) + norm.logpdf(z, mean, scale))


# %% ex-elbo-from-noise: log q is forgotten
def elbo_from_noise(mean, scale, noise, y, sigma):
    z = mean + scale * noise
    return jnp.mean(norm.logpdf(y, z, sigma) + norm.logpdf(z, 0.0, 1.0))


# %% ex-elbo-from-noise: the entropy in closed form, where log q at the samples is asked for
def elbo_from_noise(mean, scale, noise, y, sigma):
    z = mean + scale * noise
    entropy = 0.5 * jnp.log(2 * jnp.pi * jnp.e * scale**2)
    return jnp.mean(norm.logpdf(y, z, sigma) + norm.logpdf(z, 0.0, 1.0)) + entropy


# %% ex-elbo-from-noise: the density of the noise for that of the samples
def elbo_from_noise(mean, scale, noise, y, sigma):
    z = mean + scale * noise
    return jnp.mean(norm.logpdf(y, z, sigma) + norm.logpdf(z, 0.0, 1.0) - norm.logpdf(noise))


# %% ex-elbo-from-noise: the log of the mean of the weights
def elbo_from_noise(mean, scale, noise, y, sigma):
    z = mean + scale * noise
    log_weights = norm.logpdf(y, z, sigma) + norm.logpdf(z, 0.0, 1.0) - norm.logpdf(z, mean, scale)
    return jnp.log(jnp.mean(jnp.exp(log_weights)))


# %% ex-elbo-from-noise: no prior
def elbo_from_noise(mean, scale, noise, y, sigma):
    z = mean + scale * noise
    return jnp.mean(norm.logpdf(y, z, sigma) - norm.logpdf(z, mean, scale))


# %% ex-elbo-from-noise: the variance where norm.logpdf wants the scale
def elbo_from_noise(mean, scale, noise, y, sigma):
    z = mean + scale * noise
    return jnp.mean(norm.logpdf(y, z, sigma**2) + norm.logpdf(z, 0.0, 1.0) - norm.logpdf(z, mean, scale))


# %% ex-elbo-from-noise: a helper reads y and sigma from the notebook, where the check has left some
def log_joint_of_notebook(z):
    return norm.logpdf(globals()["y"], z, globals()["sigma"]) + norm.logpdf(z, 0.0, 1.0)


def elbo_from_noise(mean, scale, noise, y, sigma):
    z = mean + scale * noise
    return jnp.mean(log_joint_of_notebook(z) - norm.logpdf(z, mean, scale))


# %% ex-iw-bound: the mean of the logs, which is the ELBO
def mean_iw_bound(log_weights):
    return jnp.mean(log_weights)


# %% ex-iw-bound: 1/K outside instead of inside the log
def mean_iw_bound(log_weights):
    return jnp.mean(jax.nn.logsumexp(log_weights, axis=0) / log_weights.shape[0])


# %% ex-iw-bound: the average of the weights over the wrong axis
def mean_iw_bound(log_weights):
    return jnp.mean(jax.nn.logsumexp(log_weights, axis=1) - jnp.log(log_weights.shape[1]))


# %% ex-iw-bound: exponentiated without care, so that all weights are zero
def mean_iw_bound(log_weights):
    return jnp.mean(jnp.log(jnp.mean(jnp.exp(log_weights), axis=0)))


# %% ex-iw-bound: the sum of the weights over the wrong axis
def mean_iw_bound(log_weights):
    return jnp.mean(jax.nn.logsumexp(log_weights, axis=1))


# %% ex-linear-elbo: means over dimensions instead of sums
def linear_elbo(mean, scale, y, decoder, sigma):
    squared_error = ((y - mean @ decoder.T) ** 2).mean(-1) + (scale**2 @ decoder.T**2).mean(-1)
    reconstruction = -0.5 * (squared_error / sigma**2 + jnp.log(2 * jnp.pi * sigma**2))
    kl = 0.5 * (mean**2 + scale**2 - 1 - 2 * jnp.log(scale)).mean(-1)
    return reconstruction - kl


# %% ex-linear-elbo: the reconstruction averaged over data dimensions, the KL summed
def linear_elbo(mean, scale, y, decoder, sigma):
    squared_error = ((y - mean @ decoder.T) ** 2).mean(-1) + (scale**2 @ decoder.T**2).mean(-1)
    reconstruction = -0.5 * (squared_error / sigma**2 + jnp.log(2 * jnp.pi * sigma**2))
    kl = 0.5 * (mean**2 + scale**2 - 1 - 2 * jnp.log(scale)).sum(-1)
    return reconstruction - kl


# %% ex-linear-elbo: the KL averaged over latent dimensions
def linear_elbo(mean, scale, y, decoder, sigma):
    squared_error = ((y - mean @ decoder.T) ** 2).sum(-1) + (scale**2 @ decoder.T**2).sum(-1)
    reconstruction = -0.5 * (squared_error / sigma**2 + y.shape[-1] * jnp.log(2 * jnp.pi * sigma**2))
    kl = 0.5 * (mean**2 + scale**2 - 1 - 2 * jnp.log(scale)).mean(-1)
    return reconstruction - kl


# %% ex-linear-elbo: no KL at all
def linear_elbo(mean, scale, y, decoder, sigma):
    squared_error = ((y - mean @ decoder.T) ** 2).sum(-1) + (scale**2 @ decoder.T**2).sum(-1)
    return -0.5 * (squared_error / sigma**2 + y.shape[-1] * jnp.log(2 * jnp.pi * sigma**2))


# %% ex-linear-elbo: KL[prior || q]
def linear_elbo(mean, scale, y, decoder, sigma):
    squared_error = ((y - mean @ decoder.T) ** 2).sum(-1) + (scale**2 @ decoder.T**2).sum(-1)
    reconstruction = -0.5 * (squared_error / sigma**2 + y.shape[-1] * jnp.log(2 * jnp.pi * sigma**2))
    kl = 0.5 * ((1 + mean**2) / scale**2 - 1 + 2 * jnp.log(scale)).sum(-1)
    return reconstruction - kl


# %% ex-linear-elbo: the reconstruction at the mean of q, without its width
def linear_elbo(mean, scale, y, decoder, sigma):
    squared_error = ((y - mean @ decoder.T) ** 2).sum(-1)
    reconstruction = -0.5 * (squared_error / sigma**2 + y.shape[-1] * jnp.log(2 * jnp.pi * sigma**2))
    kl = 0.5 * (mean**2 + scale**2 - 1 - 2 * jnp.log(scale)).sum(-1)
    return reconstruction - kl


# %% ex-linear-elbo: scale instead of its square in the width of q
def linear_elbo(mean, scale, y, decoder, sigma):
    squared_error = ((y - mean @ decoder.T) ** 2).sum(-1) + (scale @ decoder.T**2).sum(-1)
    reconstruction = -0.5 * (squared_error / sigma**2 + y.shape[-1] * jnp.log(2 * jnp.pi * sigma**2))
    kl = 0.5 * (mean**2 + scale**2 - 1 - 2 * jnp.log(scale)).sum(-1)
    return reconstruction - kl


# %% ex-mean-field: the scales of the marginals
def best_independent(covariance):
    variance = jnp.diag(covariance)
    gap = 0.5 * (jnp.log(variance).sum() - jnp.linalg.slogdet(covariance)[1])
    return jnp.sqrt(variance), gap


# %% ex-mean-field: variances instead of scales
def best_independent(covariance):
    precision = jnp.linalg.inv(covariance)
    variance = 1 / jnp.diag(precision)
    return variance, -0.5 * (jnp.log(variance).sum() + jnp.linalg.slogdet(precision)[1])


# %% ex-mean-field: the half of the KL is missing
def best_independent(covariance):
    precision = jnp.linalg.inv(covariance)
    variance = 1 / jnp.diag(precision)
    return jnp.sqrt(variance), -(jnp.log(variance).sum() + jnp.linalg.slogdet(precision)[1])


# %% ex-mean-field: the scales alone, without the gap
def best_independent(covariance):
    return 1 / jnp.sqrt(jnp.diag(jnp.linalg.inv(covariance)))


# %% ex-mean-field: the sign of slogdet for the log-determinant
def best_independent(covariance):
    precision = jnp.linalg.inv(covariance)
    variance = 1 / jnp.diag(precision)
    return jnp.sqrt(variance), -0.5 * (jnp.log(variance).sum() + jnp.linalg.slogdet(precision)[0])

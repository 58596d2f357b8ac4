# %% ex-mean-field-elbo: no entropy
def mean_field_elbo(mean, log_scale, noise, log_joint):
    return log_joint(mean + jnp.exp(log_scale) * noise).mean()


# %% ex-mean-field-elbo: the entropy subtracted
def mean_field_elbo(mean, log_scale, noise, log_joint):
    entropy = (0.5 * jnp.log(2 * jnp.pi * jnp.e) + log_scale).sum()
    return log_joint(mean + jnp.exp(log_scale) * noise).mean() - entropy


# %% ex-mean-field-elbo: the log-scale for the scale
def mean_field_elbo(mean, log_scale, noise, log_joint):
    entropy = (0.5 * jnp.log(2 * jnp.pi * jnp.e) + log_scale).sum()
    return log_joint(mean + log_scale * noise).mean() + entropy


# %% ex-mean-field-elbo: the constant of the entropy once instead of for each dimension
def mean_field_elbo(mean, log_scale, noise, log_joint):
    entropy = 0.5 * jnp.log(2 * jnp.pi * jnp.e) + log_scale.sum()
    return log_joint(mean + jnp.exp(log_scale) * noise).mean() + entropy


# %% ex-mean-field-elbo: the entropy averaged over dimensions
def mean_field_elbo(mean, log_scale, noise, log_joint):
    entropy = (0.5 * jnp.log(2 * jnp.pi * jnp.e) + log_scale).mean()
    return log_joint(mean + jnp.exp(log_scale) * noise).mean() + entropy


# %% ex-mean-field-elbo: ½ + log 2π for the constant
def mean_field_elbo(mean, log_scale, noise, log_joint):
    entropy = (0.5 + jnp.log(2 * jnp.pi) + log_scale).sum()
    return log_joint(mean + jnp.exp(log_scale) * noise).mean() + entropy


# %% ex-mean-field-elbo: the variance for the scale
def mean_field_elbo(mean, log_scale, noise, log_joint):
    entropy = (0.5 * jnp.log(2 * jnp.pi * jnp.e) + log_scale).sum()
    return log_joint(mean + jnp.exp(2 * log_scale) * noise).mean() + entropy


# %% ex-mean-field-elbo: log q at the samples, where the closed form is asked for
def mean_field_elbo(mean, log_scale, noise, log_joint):
    z = mean + jnp.exp(log_scale) * noise
    return (log_joint(z) - norm.logpdf(z, mean, jnp.exp(log_scale)).sum(-1)).mean()


# %% ex-mean-field-elbo: the sum over samples
def mean_field_elbo(mean, log_scale, noise, log_joint):
    entropy = (0.5 * jnp.log(2 * jnp.pi * jnp.e) + log_scale).sum()
    return log_joint(mean + jnp.exp(log_scale) * noise).sum() + entropy


# %% ex-moments: the moments of the proposal
def match_moments(z, log_weights):
    return z.mean(0), z.std(0)


# %% ex-moments: averages of what the weights have averaged
def match_moments(z, log_weights):
    weights = jax.nn.softmax(log_weights)[:, None]
    mean = (weights * z).mean(0)
    return mean, jnp.sqrt((weights * (z - mean) ** 2).mean(0))


# %% ex-moments: divided by K - 1
def match_moments(z, log_weights):
    weights = jax.nn.softmax(log_weights)
    mean = weights @ z
    return mean, jnp.sqrt(weights @ (z - mean) ** 2 * len(z) / (len(z) - 1))


# %% ex-moments: the unbiased variance of np.cov
def match_moments(z, log_weights):
    weights = np.asarray(jax.nn.softmax(log_weights))
    return weights @ z, np.sqrt(np.diag(np.cov(z.T, aweights=weights)))


# %% ex-moments: the variance for the scale
def match_moments(z, log_weights):
    weights = jax.nn.softmax(log_weights)
    mean = weights @ z
    return mean, weights @ (z - mean) ** 2


# %% ex-moments: the scale without weights
def match_moments(z, log_weights):
    mean = jax.nn.softmax(log_weights) @ z
    return mean, jnp.sqrt(((z - mean) ** 2).mean(0))


# %% ex-moments: the second moment about zero
def match_moments(z, log_weights):
    weights = jax.nn.softmax(log_weights)
    return weights @ z, jnp.sqrt(weights @ z**2)


# %% ex-moments: exponentiated without care, so that all weights are zero
def match_moments(z, log_weights):
    weights = jnp.exp(log_weights)
    weights = weights / weights.sum()
    mean = weights @ z
    return mean, jnp.sqrt(weights @ (z - mean) ** 2)


# %% ex-moments: the log-weights themselves as weights
def match_moments(z, log_weights):
    weights = log_weights / log_weights.sum()
    mean = weights @ z
    return mean, jnp.sqrt(weights @ (z - mean) ** 2)


# %% ex-moments: the spread about the mean of the draws
def match_moments(z, log_weights):
    weights = jax.nn.softmax(log_weights)
    return weights @ z, jnp.sqrt(weights @ (z - z.mean(0)) ** 2)


# %% ex-moments: the log of the scale
def match_moments(z, log_weights):
    weights = jax.nn.softmax(log_weights)
    mean = weights @ z
    return mean, 0.5 * jnp.log(weights @ (z - mean) ** 2)


# %% ex-mixture-elbo: log q of the sample's own component
def mixture_elbo(weights, mean, scale, noise, log_joint):
    z = mean + scale * noise
    log_q = norm.logpdf(z, mean, scale).sum(-1)
    return (weights * (log_joint(z) - log_q).mean(0)).sum()


# %% ex-mixture-elbo: the mean over components, without their weights
def mixture_elbo(weights, mean, scale, noise, log_joint):
    z = mean + scale * noise
    log_parts = norm.logpdf(z[:, :, None], mean, scale).sum(-1)
    return (log_joint(z) - jax.nn.logsumexp(jnp.log(weights) + log_parts, axis=-1)).mean()


# %% ex-mixture-elbo: the densities in log q not weighted
def mixture_elbo(weights, mean, scale, noise, log_joint):
    z = mean + scale * noise
    log_parts = norm.logpdf(z[:, :, None], mean, scale).sum(-1)
    return (weights * (log_joint(z) - jax.nn.logsumexp(log_parts, axis=-1)).mean(0)).sum()


# %% ex-mixture-elbo: each component's density at its own sample only
def mixture_elbo(weights, mean, scale, noise, log_joint):
    z = mean + scale * noise
    log_parts = norm.logpdf(z, mean, scale).sum(-1)
    log_q = jax.nn.logsumexp(jnp.log(weights) + log_parts, axis=-1, keepdims=True)
    return (weights * (log_joint(z) - log_q).mean(0)).sum()


# %% ex-mixture-elbo: equal weights in log q
def mixture_elbo(weights, mean, scale, noise, log_joint):
    z = mean + scale * noise
    log_parts = norm.logpdf(z[:, :, None], mean, scale).sum(-1)
    log_q = jax.nn.logsumexp(log_parts, axis=-1) - jnp.log(len(weights))
    return (weights * (log_joint(z) - log_q).mean(0)).sum()


# %% ex-mixture-elbo: the log of the mean density of the components, weighted logs instead of a log of weights
def mixture_elbo(weights, mean, scale, noise, log_joint):
    z = mean + scale * noise
    log_parts = norm.logpdf(z[:, :, None], mean, scale).sum(-1)
    return (weights * (log_joint(z) - (weights * log_parts).sum(-1)).mean(0)).sum()


# %% ex-mixture-elbo: the logsumexp over the samples' components
def mixture_elbo(weights, mean, scale, noise, log_joint):
    z = mean + scale * noise
    log_parts = norm.logpdf(z[:, :, None], mean, scale).sum(-1)
    return (weights * (log_joint(z) - jax.nn.logsumexp(jnp.log(weights) + log_parts, axis=1)).mean(0)).sum()


# %% ex-mixture-elbo: averaged over components as well as weighted
def mixture_elbo(weights, mean, scale, noise, log_joint):
    z = mean + scale * noise
    log_parts = norm.logpdf(z[:, :, None], mean, scale).sum(-1)
    return (weights * (log_joint(z) - jax.nn.logsumexp(jnp.log(weights) + log_parts, axis=-1))).mean()


# %% ex-mixture-elbo: the scale of the sample's component for all components
def mixture_elbo(weights, mean, scale, noise, log_joint):
    z = mean + scale * noise
    log_parts = norm.logpdf(z[:, :, None], mean, scale[:, None]).sum(-1)
    return (weights * (log_joint(z) - jax.nn.logsumexp(jnp.log(weights) + log_parts, axis=-1)).mean(0)).sum()


# %% ex-mixture-elbo: the largest term of log q alone
def mixture_elbo(weights, mean, scale, noise, log_joint):
    z = mean + scale * noise
    log_parts = norm.logpdf(z[:, :, None], mean, scale).sum(-1)
    return (weights * (log_joint(z) - (jnp.log(weights) + log_parts).max(-1)).mean(0)).sum()


# %% ex-score: the gradient with respect to the scale, not to its logarithm
def score_function_gradient(mean, log_scale, z, log_weights):
    scale = jnp.exp(log_scale)
    score_scale = -1 / scale + (z - mean) ** 2 / scale**3
    return log_weights @ ((z - mean) / scale**2) / len(z), log_weights @ score_scale / len(z)


# %% ex-score: no derivative of -log s
def score_function_gradient(mean, log_scale, z, log_weights):
    noise = (z - mean) / jnp.exp(log_scale)
    return log_weights @ (noise / jnp.exp(log_scale)) / len(z), log_weights @ noise**2 / len(z)


# %% ex-score: the scale for its square in the score with respect to the mean
def score_function_gradient(mean, log_scale, z, log_weights):
    noise = (z - mean) / jnp.exp(log_scale)
    return log_weights @ noise / len(z), log_weights @ (noise**2 - 1) / len(z)


# %% ex-score: the sum over samples
def score_function_gradient(mean, log_scale, z, log_weights):
    noise = (z - mean) / jnp.exp(log_scale)
    return log_weights @ (noise / jnp.exp(log_scale)), log_weights @ (noise**2 - 1)


# %% ex-score: the sign of descent
def score_function_gradient(mean, log_scale, z, log_weights):
    noise = (z - mean) / jnp.exp(log_scale)
    return -log_weights @ (noise / jnp.exp(log_scale)) / len(z), -log_weights @ (noise**2 - 1) / len(z)


# %% ex-score: the weights themselves instead of their logs
def score_function_gradient(mean, log_scale, z, log_weights):
    noise, weights = (z - mean) / jnp.exp(log_scale), jnp.exp(log_weights)
    return weights @ (noise / jnp.exp(log_scale)) / len(z), weights @ (noise**2 - 1) / len(z)


# %% ex-score: a baseline that was not asked for, and contains the sample itself
def score_function_gradient(mean, log_scale, z, log_weights):
    noise, signal = (z - mean) / jnp.exp(log_scale), log_weights - log_weights.mean()
    return signal @ (noise / jnp.exp(log_scale)) / len(z), signal @ (noise**2 - 1) / len(z)


# %% ex-baseline: the mean of all, the sample itself among them
def leave_one_out(log_weights):
    return jnp.broadcast_to(log_weights.mean(0), log_weights.shape)


# %% ex-baseline: divided by K
def leave_one_out(log_weights):
    return (log_weights.sum(0) - log_weights) / len(log_weights)


# %% ex-baseline: nothing left out, divided by K - 1
def leave_one_out(log_weights):
    return jnp.broadcast_to(log_weights.sum(0) / (len(log_weights) - 1), log_weights.shape)


# %% ex-baseline: the other datapoints instead of the other samples
def leave_one_out(log_weights):
    return (log_weights.sum(1, keepdims=True) - log_weights) / (log_weights.shape[1] - 1)


# %% ex-baseline: the signal instead of the baseline
def leave_one_out(log_weights):
    return log_weights - (log_weights.sum(0) - log_weights) / (len(log_weights) - 1)


# %% ex-diagnose: everything is healthy
def diagnose(num_samples, sigma, fitted_scale, excess, jitter, gradient_ratio):
    return 0


# %% ex-diagnose: a vanishing scale is always a missing entropy
def diagnose(num_samples, sigma, fitted_scale, excess, jitter, gradient_ratio):
    if gradient_ratio > num_samples / 2:
        return 4
    if fitted_scale < 0.25 * sigma:
        return 1
    if jitter < 1e-4:
        return 5
    if abs(excess) > 0.12:
        return 2
    return 6 if gradient_ratio < 1 - 0.5 / num_samples else 0


# %% ex-diagnose: no jitter is always frozen noise
def diagnose(num_samples, sigma, fitted_scale, excess, jitter, gradient_ratio):
    if jitter < 1e-4:
        return 5
    if gradient_ratio > num_samples / 2:
        return 4
    if fitted_scale < 0.25 * sigma:
        return 1
    if abs(excess) > 0.12:
        return 2
    return 6 if gradient_ratio < 1 - 0.5 / num_samples else 0


# %% ex-diagnose: the biased baseline is not seen
def diagnose(num_samples, sigma, fitted_scale, excess, jitter, gradient_ratio):
    if excess > 5:
        return 3
    if jitter < 1e-4:
        return 5
    if gradient_ratio > num_samples / 2:
        return 4
    if fitted_scale < 0.25 * sigma:
        return 1
    return 2 if abs(excess) > 0.12 else 0


# %% ex-diagnose: the frozen noise is not seen
def diagnose(num_samples, sigma, fitted_scale, excess, jitter, gradient_ratio):
    if excess > 5:
        return 3
    if gradient_ratio > num_samples / 2:
        return 4
    if fitted_scale < 0.25 * sigma:
        return 1
    if abs(excess) > 0.12:
        return 2
    return 6 if gradient_ratio < 1 - 0.5 / num_samples else 0


# %% ex-diagnose: the squared scale is looked for in the fitted scale alone, as if sigma were always large
def diagnose(num_samples, sigma, fitted_scale, excess, jitter, gradient_ratio):
    if excess > 5:
        return 3
    if jitter < 1e-4:
        return 5
    if gradient_ratio > num_samples / 2:
        return 4
    if fitted_scale < 0.25 * sigma:
        return 1
    if fitted_scale < 0.8 * sigma:
        return 2
    return 6 if gradient_ratio < 1 - 0.5 / num_samples else 0

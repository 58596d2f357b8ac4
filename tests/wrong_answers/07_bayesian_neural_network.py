# %% ex-predictive-density: the average of the logs
def predictive_log_density(y, functions, sigma):
    return norm.logpdf(y, functions, sigma).mean(0)


# %% ex-predictive-density: summed, not averaged
def predictive_log_density(y, functions, sigma):
    return jax.nn.logsumexp(norm.logpdf(y, functions, sigma), axis=0)


# %% ex-predictive-density: the density around the mean function
def predictive_log_density(y, functions, sigma):
    return norm.logpdf(y, functions.mean(0), sigma)


# %% ex-predictive-density: a normal in place of the mixture
def predictive_log_density(y, functions, sigma):
    return norm.logpdf(y, functions.mean(0), jnp.sqrt(sigma**2 + functions.var(0)))


# %% ex-predictive-density: exponentiated without care, so that a far point has density zero
def predictive_log_density(y, functions, sigma):
    return jnp.log(jnp.exp(norm.logpdf(y, functions, sigma)).mean(0))


# %% ex-bnn-log-joint: the half of the squared error is missing
def bnn_log_joint(outputs, theta, y, sigma, prior_scale):
    squares = ((y - outputs) / sigma) ** 2
    log_likelihood = (-squares - jnp.log(sigma) - 0.5 * jnp.log(2 * jnp.pi)).sum(-1)
    return log_likelihood + norm.logpdf(theta, 0.0, prior_scale).sum(-1)


# %% ex-bnn-log-joint: no log sigma
def bnn_log_joint(outputs, theta, y, sigma, prior_scale):
    log_likelihood = (-0.5 * ((y - outputs) / sigma) ** 2 - 0.5 * jnp.log(2 * jnp.pi)).sum(-1)
    return log_likelihood + norm.logpdf(theta, 0.0, prior_scale).sum(-1)


# %% ex-bnn-log-joint: the mean over the data
def bnn_log_joint(outputs, theta, y, sigma, prior_scale):
    return norm.logpdf(y, outputs, sigma).mean(-1) + norm.logpdf(theta, 0.0, prior_scale).sum(-1)


# %% ex-bnn-log-joint: no prior
def bnn_log_joint(outputs, theta, y, sigma, prior_scale):
    return norm.logpdf(y, outputs, sigma).sum(-1)


# %% ex-bnn-log-joint: a standard normal prior, whatever its scale
def bnn_log_joint(outputs, theta, y, sigma, prior_scale):
    return norm.logpdf(y, outputs, sigma).sum(-1) + norm.logpdf(theta).sum(-1)


# %% ex-predictive-moments: the spread of the functions alone
def predictive_moments(functions, scales):
    return functions.mean(0), functions.std(0)


# %% ex-predictive-moments: the noise alone
def predictive_moments(functions, scales):
    return functions.mean(0), (scales**2).mean(0) ** 0.5


# %% ex-predictive-moments: standard deviations added
def predictive_moments(functions, scales):
    return functions.mean(0), functions.std(0) + (scales**2).mean(0) ** 0.5


# %% ex-predictive-moments: the variance
def predictive_moments(functions, scales):
    return functions.mean(0), functions.var(0) + (scales**2).mean(0)


# %% ex-predictive-moments: the mean noise scale, squared
def predictive_moments(functions, scales):
    return functions.mean(0), (functions.var(0) + scales.mean(0) ** 2) ** 0.5


# %% ex-coverage: all of 1 - level on each side
def interval_coverage(functions, truth, levels):
    levels = jnp.asarray(levels)
    low, high = jnp.quantile(functions, 1 - levels, axis=0), jnp.quantile(functions, levels, axis=0)
    return ((low <= truth) & (truth <= high)).mean(1)


# %% ex-coverage: one-sided
def interval_coverage(functions, truth, levels):
    high = jnp.quantile(functions, 0.5 + jnp.asarray(levels) / 2, axis=0)
    return (truth <= high).mean(1)


# %% ex-coverage: mean and standard deviation in place of quantiles
def interval_coverage(functions, truth, levels):
    width = scipy.stats.norm.ppf(0.5 + np.asarray(levels) / 2)[:, None] * functions.std(0)
    return (np.abs(truth - functions.mean(0)) <= width).mean(1)


# %% ex-coverage: the fraction of misses
def interval_coverage(functions, truth, levels):
    levels = jnp.asarray(levels)
    low = jnp.quantile(functions, 0.5 - levels / 2, axis=0)
    high = jnp.quantile(functions, 0.5 + levels / 2, axis=0)
    return ((truth < low) | (high < truth)).mean(1)


# %% ex-minibatch-elbo: the batch is not scaled
def minibatch_elbo(log_likelihoods, log_prior, log_q, num_data):
    return jnp.mean(log_likelihoods.sum(1) + log_prior - log_q)


# %% ex-minibatch-elbo: prior and q scaled with the rest
def minibatch_elbo(log_likelihoods, log_prior, log_q, num_data):
    batch_size = log_likelihoods.shape[1]
    return num_data / batch_size * jnp.mean(log_likelihoods.sum(1) + log_prior - log_q)


# %% ex-minibatch-elbo: the mean over the batch, scaled by N/B all the same
def minibatch_elbo(log_likelihoods, log_prior, log_q, num_data):
    batch_size = log_likelihoods.shape[1]
    return jnp.mean(num_data / batch_size * log_likelihoods.mean(1) + log_prior - log_q)


# %% ex-minibatch-elbo: log q is added
def minibatch_elbo(log_likelihoods, log_prior, log_q, num_data):
    batch_size = log_likelihoods.shape[1]
    return jnp.mean(num_data / batch_size * log_likelihoods.sum(1) + log_prior + log_q)

# %% ex-standard-error: variance of the mean instead of its square root
def estimate_with_error(values):
    return values.mean(), values.var(ddof=1) / len(values)


# %% ex-standard-error: divided by n instead of its square root
def estimate_with_error(values):
    return values.mean(), values.std(ddof=1) / len(values)


# %% ex-standard-error: the spread of single values
def estimate_with_error(values):
    return values.mean(), values.std(ddof=1)


# %% ex-standard-error: n instead of n - 1
def estimate_with_error(values):
    return values.mean(), values.std() / jnp.sqrt(len(values))


# %% ex-standard-error: the spread of single values, divided by n
def estimate_with_error(values):
    return values.mean(), jnp.std(values)


# %% ex-standard-error: the pair the other way round
def estimate_with_error(values):
    return values.std(ddof=1) / jnp.sqrt(len(values)), values.mean()


# %% ex-log-mean-exp: sum instead of mean
def log_mean_exp(log_weights):
    largest = log_weights.max(0)
    return largest + jnp.log(jnp.exp(log_weights - largest).sum(0))


# %% ex-log-mean-exp: K outside the logarithm
def log_mean_exp(log_weights):
    largest = log_weights.max(0)
    return (largest + jnp.log(jnp.exp(log_weights - largest).sum(0))) / len(log_weights)


# %% ex-log-mean-exp: the mean of the logarithms
def log_mean_exp(log_weights):
    return log_weights.mean(0)


# %% ex-log-mean-exp: overflows and underflows
def log_mean_exp(log_weights):
    return jnp.log(jnp.exp(log_weights).mean(0))


# %% ex-log-mean-exp: one maximum of the whole array is taken out, but never put back
def log_mean_exp(log_weights):
    return jnp.log(jnp.exp(log_weights - log_weights.max()).mean(0))


# %% ex-log-mean-exp: one maximum for the whole array
def log_mean_exp(log_weights):
    largest = log_weights.max()
    return largest + jnp.log(jnp.exp(log_weights - largest).mean(0))


# %% ex-log-mean-exp: the mean taken out instead of the maximum
def log_mean_exp(log_weights):
    centre = log_weights.mean(0)
    return centre + jnp.log(jnp.exp(log_weights - centre).mean(0))


# %% ex-log-marginal-likelihood: the half in front of the square is missing
def log_marginal_likelihood(x, z, scale):
    log_densities = -0.5 * jnp.log(2 * jnp.pi) - jnp.log(scale) - ((x - z) / scale) ** 2
    return montecarlo.log_mean_exp(log_densities.sum(-1))


# %% ex-log-marginal-likelihood: scale where its square belongs
def log_marginal_likelihood(x, z, scale):
    log_densities = -0.5 * jnp.log(2 * jnp.pi) - jnp.log(scale) - 0.5 * (x - z) ** 2 / scale
    return montecarlo.log_mean_exp(log_densities.sum(-1))


# %% ex-log-marginal-likelihood: mean over dimensions
def log_marginal_likelihood(x, z, scale):
    log_densities = -0.5 * jnp.log(2 * jnp.pi) - jnp.log(scale) - 0.5 * ((x - z) / scale) ** 2
    return montecarlo.log_mean_exp(log_densities.mean(-1))


# %% ex-log-marginal-likelihood: the normalising constant without the scale
def log_marginal_likelihood(x, z, scale):
    log_densities = -0.5 * jnp.log(2 * jnp.pi) - 0.5 * ((x - z) / scale) ** 2
    return montecarlo.log_mean_exp(log_densities.sum(-1))


# %% ex-log-marginal-likelihood: the mean of the log-densities
def log_marginal_likelihood(x, z, scale):
    log_densities = -0.5 * jnp.log(2 * jnp.pi) - jnp.log(scale) - 0.5 * ((x - z) / scale) ** 2
    return log_densities.sum(-1).mean()


# %% ex-log-marginal-likelihood: correct in few dimensions, underflows in many
def log_marginal_likelihood(x, z, scale):
    return jnp.log(norm.pdf(x, z, scale).prod(-1).mean())


# %% ex-log-marginal-likelihood: the constants counted once
def log_marginal_likelihood(x, z, scale):
    log_densities = -0.5 * jnp.log(2 * jnp.pi) - jnp.log(scale) - 0.5 * (((x - z) / scale) ** 2).sum(-1)
    return montecarlo.log_mean_exp(log_densities)


# %% ex-log-marginal-likelihood: no sum over the dimensions
def log_marginal_likelihood(x, z, scale):
    log_densities = -0.5 * jnp.log(2 * jnp.pi) - jnp.log(scale) - 0.5 * ((x - z) / scale) ** 2
    return montecarlo.log_mean_exp(log_densities)


# %% ex-log-marginal-likelihood: sum over the draws
def log_marginal_likelihood(x, z, scale):
    log_densities = -0.5 * jnp.log(2 * jnp.pi) - jnp.log(scale) - 0.5 * ((x - z) / scale) ** 2
    return jax.nn.logsumexp(log_densities.sum(-1))


# %% ex-log-marginal-likelihood: the scale taken for a variance
def log_marginal_likelihood(x, z, scale):
    log_densities = -0.5 * jnp.log(2 * jnp.pi * scale) - 0.5 * (x - z) ** 2 / scale
    return montecarlo.log_mean_exp(log_densities.sum(-1))


# %% ex-log-predictive: the joint density, weights not normalised
def log_predictive(x_new, x, z, scale):
    log_weights = norm.logpdf(x, z, scale).sum(-1)
    return montecarlo.log_mean_exp(log_weights + norm.logpdf(x_new, z, scale).sum(-1))


# %% ex-log-predictive: the prior prediction, as if x had not been seen
def log_predictive(x_new, x, z, scale):
    return montecarlo.log_mean_exp(norm.logpdf(x_new, z, scale).sum(-1))


# %% ex-log-predictive: old and new exchanged
def log_predictive(x_new, x, z, scale):
    log_weights = norm.logpdf(x_new, z, scale).sum(-1)
    joint = montecarlo.log_mean_exp(log_weights + norm.logpdf(x, z, scale).sum(-1))
    return joint - montecarlo.log_mean_exp(log_weights)


# %% ex-log-predictive: weighted mean of the log-densities
def log_predictive(x_new, x, z, scale):
    weights = jax.nn.softmax(norm.logpdf(x, z, scale).sum(-1))
    return jnp.sum(weights * norm.logpdf(x_new, z, scale).sum(-1))


# %% ex-log-predictive: correct in few dimensions, underflows in many
def log_predictive(x_new, x, z, scale):
    weights = norm.pdf(x, z, scale).prod(-1)
    return jnp.log(jnp.sum(weights * norm.pdf(x_new, z, scale).prod(-1)) / weights.sum())


# %% ex-log-gap: the half is missing
def log_gap(log_weights):
    weights = jnp.exp(log_weights - log_weights.max())
    return jnp.mean((weights / weights.mean() - 1) ** 2) / len(weights)


# %% ex-log-gap: not divided by K
def log_gap(log_weights):
    weights = jnp.exp(log_weights - log_weights.max())
    return jnp.mean((weights / weights.mean() - 1) ** 2) / 2


# %% ex-log-gap: the spread instead of its square
def log_gap(log_weights):
    weights = jnp.exp(log_weights - log_weights.max())
    return jnp.std(weights / weights.mean()) / (2 * len(weights))


# %% ex-log-gap: the variance of the logarithms
def log_gap(log_weights):
    return jnp.var(log_weights) / (2 * len(log_weights))


# %% ex-log-gap: K - 1 instead of K
def log_gap(log_weights):
    weights = jnp.exp(log_weights - log_weights.max())
    return jnp.var(weights / weights.mean(), ddof=1) / (2 * len(weights))


# %% ex-log-gap: the sign
def log_gap(log_weights):
    weights = jnp.exp(log_weights - log_weights.max())
    return -jnp.mean((weights / weights.mean() - 1) ** 2) / (2 * len(weights))


# %% ex-log-gap: the largest weight left in, which overflows
def log_gap(log_weights):
    weights = jnp.exp(log_weights)
    return jnp.mean((weights / weights.mean() - 1) ** 2) / (2 * len(weights))

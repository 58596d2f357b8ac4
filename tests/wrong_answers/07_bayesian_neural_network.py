# %% ex-predictive-density: the average of the logs
def predictive_log_density(y, functions, sigma):
    return norm.logpdf(y, functions, sigma).mean(0)


# %% ex-predictive-density: the densities for their logarithms
def predictive_log_density(y, functions, sigma):
    return log_mean_exp(norm.pdf(y, functions, sigma))


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


# %% ex-diagnose: the surplus is not looked at, so that a missing constant passes
def diagnose(spread, spread_whole, surplus, sigma):
    if spread_whole < 0.06:
        return 6
    if spread_whole > 1.5:
        return 3
    if spread_whole < 0.85:
        return 5 if spread_whole > 0.55 else 4
    return 1 if spread > 1.2 else 2 if spread < 0.8 else 0


# %% ex-diagnose: one batch size only
def diagnose(spread, spread_whole, surplus, sigma):
    if spread < 0.06:
        return 6
    if spread > 1.2:
        return 1
    if spread < 0.85:
        return 5 if spread > 0.55 else 4
    return 7 if surplus > 5 else 0


# %% ex-diagnose: a likelihood that counts for too little is taken to make q narrow
def diagnose(spread, spread_whole, surplus, sigma):
    if spread_whole < 0.06:
        return 6
    if spread_whole > 1.5:
        return 3
    if spread_whole < 0.85:
        return 5 if spread_whole > 0.55 else 4
    if spread > 1.2:
        return 2
    if spread < 0.8:
        return 1
    return 7 if surplus > 5 else 0


# %% ex-diagnose: the figures of the lecture's table, the nearest row
def diagnose(spread, spread_whole, surplus, sigma):
    rows = jnp.array(
        [[1, 1, 0], [1.7, 1, 0], [0.58, 1, 0], [5, 5, -60], [0.2, 0.2, -300], [0.7, 0.7, -12], [0, 0, 30], [1, 1, 27.6]]
    )
    return jnp.abs(rows - jnp.array([spread, spread_whole, surplus])).sum(1).argmin()


# %% ex-diagnose: any surplus counts as a missing constant
def diagnose(spread, spread_whole, surplus, sigma):
    if surplus > 0:
        return 7
    if spread_whole < 0.06:
        return 6
    if spread_whole > 1.5:
        return 3
    if spread_whole < 0.85:
        return 5 if spread_whole > 0.55 else 4
    return 1 if spread > 1.2 else 2 if spread < 0.8 else 0


# %% ex-diagnose: numbered from one
def diagnose(spread, spread_whole, surplus, sigma):
    if spread_whole < 0.06:
        return 7
    if spread_whole > 1.5:
        return 4
    if spread_whole < 0.85:
        return 6 if spread_whole > 0.55 else 5
    if spread > 1.2:
        return 2
    if spread < 0.8:
        return 3
    return 8 if surplus > 5 else 1


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


# %% ex-error-ratio: the noise stays in the error
def error_ratio(y, functions, sigma):
    return ((y - functions.mean(0)) ** 2).mean() / functions.var(0).mean()


# %% ex-error-ratio: the standard deviation of the noise subtracted
def error_ratio(y, functions, sigma):
    return (((y - functions.mean(0)) ** 2).mean() - sigma) / functions.var(0).mean()


# %% ex-error-ratio: the mean of ratios
def error_ratio(y, functions, sigma):
    error = ((y - functions.mean(0)) ** 2).mean(0) - sigma**2
    return (error / functions.var(0)).mean()


# %% ex-error-ratio: a ratio of standard deviations
def error_ratio(y, functions, sigma):
    squared_error = ((y - functions.mean(0)) ** 2).mean() - sigma**2
    return jnp.sqrt(jnp.maximum(squared_error, 0) / functions.var(0).mean())


# %% ex-error-ratio: cut off at zero
def error_ratio(y, functions, sigma):
    return jnp.maximum(((y - functions.mean(0)) ** 2).mean() - sigma**2, 0) / functions.var(0).mean()


# %% ex-error-ratio: the error of each draw instead of that of their mean
def error_ratio(y, functions, sigma):
    error = ((y[:, None] - functions) ** 2).mean()
    return (error - sigma**2) / functions.var(0).mean()


# %% ex-error-ratio: the variance over draws and inputs together
def error_ratio(y, functions, sigma):
    return (((y - functions.mean(0)) ** 2).mean() - sigma**2) / functions.var()

# %% ex-elbo-on-grid: zero times infinity
def elbo_on_grid(log_joint, log_q, spacing):
    return spacing * (jnp.exp(log_q) * (jnp.asarray(log_joint) - jnp.asarray(log_q))).sum(0)


# %% ex-elbo-on-grid: no log q
def elbo_on_grid(log_joint, log_q, spacing):
    q = jnp.exp(log_q)
    return spacing * jnp.where(q > 0, q * jnp.asarray(log_joint), 0.0).sum(0)


# %% ex-elbo-on-grid: log q is added
def elbo_on_grid(log_joint, log_q, spacing):
    q = jnp.exp(log_q)
    return spacing * jnp.where(q > 0, q * (jnp.asarray(log_joint) + jnp.asarray(log_q)), 0.0).sum(0)


# %% ex-elbo-on-grid: the spacing is forgotten
def elbo_on_grid(log_joint, log_q, spacing):
    q = jnp.exp(log_q)
    return jnp.where(q > 0, q * (jnp.asarray(log_joint) - jnp.asarray(log_q)), 0.0).sum(0)


# %% ex-elbo-on-grid: the mean over the points
def elbo_on_grid(log_joint, log_q, spacing):
    q = jnp.exp(log_q)
    return jnp.where(q > 0, q * (jnp.asarray(log_joint) - jnp.asarray(log_q)), 0.0).mean(0)


# %% ex-elbo-on-grid: the log-weights are not weighed with q
def elbo_on_grid(log_joint, log_q, spacing):
    inside = jnp.exp(log_q) > 0
    return spacing * jnp.where(inside, jnp.asarray(log_joint) - jnp.asarray(log_q), 0.0).sum(0)


# %% ex-elbo-on-grid: the log of the area, which is log p(y)
def elbo_on_grid(log_joint, log_q, spacing):
    return jax.nn.logsumexp(jnp.asarray(log_joint), axis=0) + jnp.log(spacing)


# %% ex-elbo-on-grid: the joint density exponentiated
def elbo_on_grid(log_joint, log_q, spacing):
    q, joint = jnp.exp(log_q), jnp.exp(log_joint)
    return spacing * jnp.where(q > 0, q * (jnp.log(joint) - jnp.asarray(log_q)), 0.0).sum(0)


# %% ex-elbo-on-grid: summed over all axes
def elbo_on_grid(log_joint, log_q, spacing):
    q = jnp.exp(log_q)
    return spacing * jnp.where(q > 0, q * (jnp.asarray(log_joint) - jnp.asarray(log_q)), 0.0).sum()


# %% ex-elbo-on-grid: the weights of q made to sum to one over the points
def elbo_on_grid(log_joint, log_q, spacing):
    log_joint, log_q = jnp.asarray(log_joint), jnp.asarray(log_q)
    q = jax.nn.softmax(log_q, axis=0)
    return jnp.where(q > 0, q * (log_joint - log_q), 0.0).sum(0)


# %% ex-normal-kl: the KL the other way round
def normal_kl(mean_q, scale_q, mean_p, scale_p):
    variance_ratio = (scale_p / scale_q) ** 2
    distance = ((mean_q - mean_p) / scale_q) ** 2
    return (0.5 * (variance_ratio + distance - 1 - jnp.log(variance_ratio))).sum(-1)


# %% ex-normal-kl: the half is missing
def normal_kl(mean_q, scale_q, mean_p, scale_p):
    variance_ratio = (scale_q / scale_p) ** 2
    distance = ((mean_q - mean_p) / scale_p) ** 2
    return (variance_ratio + distance - 1 - jnp.log(variance_ratio)).sum(-1)


# %% ex-normal-kl: scales taken for variances
def normal_kl(mean_q, scale_q, mean_p, scale_p):
    variance_ratio = scale_q / scale_p
    distance = (mean_q - mean_p) ** 2 / scale_p
    return (0.5 * (variance_ratio + distance - 1 - jnp.log(variance_ratio))).sum(-1)


# %% ex-normal-kl: log of the ratio of scales, halved with the rest
def normal_kl(mean_q, scale_q, mean_p, scale_p):
    ratio = scale_q / scale_p
    return (0.5 * (ratio**2 + ((mean_q - mean_p) / scale_p) ** 2 - 1 - jnp.log(ratio))).sum(-1)


# %% ex-normal-kl: the sign of the log of the ratio of scales
def normal_kl(mean_q, scale_q, mean_p, scale_p):
    variance_ratio = (scale_q / scale_p) ** 2
    distance = ((mean_q - mean_p) / scale_p) ** 2
    return (0.5 * (variance_ratio + distance - 1 + jnp.log(variance_ratio))).sum(-1)


# %% ex-normal-kl: the difference of the means is forgotten
def normal_kl(mean_q, scale_q, mean_p, scale_p):
    variance_ratio = (scale_q / scale_p) ** 2
    return (0.5 * (variance_ratio - 1 - jnp.log(variance_ratio))).sum(-1)


# %% ex-normal-kl: the ratio of scales is not squared, except in the log
def normal_kl(mean_q, scale_q, mean_p, scale_p):
    ratio = scale_q / scale_p
    return (0.5 * (ratio + ((mean_q - mean_p) / scale_p) ** 2 - 1) - jnp.log(ratio)).sum(-1)


# %% ex-normal-kl: the dimensions are not added up
def normal_kl(mean_q, scale_q, mean_p, scale_p):
    variance_ratio = (scale_q / scale_p) ** 2
    return 0.5 * (variance_ratio + ((mean_q - mean_p) / scale_p) ** 2 - 1 - jnp.log(variance_ratio))


# %% ex-normal-kl: the mean over dimensions
def normal_kl(mean_q, scale_q, mean_p, scale_p):
    variance_ratio = (scale_q / scale_p) ** 2
    return 0.5 * (variance_ratio + ((mean_q - mean_p) / scale_p) ** 2 - 1 - jnp.log(variance_ratio)).mean(-1)


# %% ex-normal-kl: the sum over everything
def normal_kl(mean_q, scale_q, mean_p, scale_p):
    variance_ratio = (scale_q / scale_p) ** 2
    return 0.5 * (variance_ratio + ((mean_q - mean_p) / scale_p) ** 2 - 1 - jnp.log(variance_ratio)).sum()


# %% ex-disagree: the averages of the logs are compared
def disagree(log_weights_a, log_weights_b):
    a, b = log_weights_a, log_weights_b
    return abs(a.mean() - b.mean()) > 4 * np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))


# %% ex-disagree: each set without its own maximum
def disagree(log_weights_a, log_weights_b):
    a, b = np.exp(log_weights_a - log_weights_a.max()), np.exp(log_weights_b - log_weights_b.max())
    return abs(a.mean() - b.mean()) > 4 * np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))


# %% ex-disagree: standard deviations for standard errors
def disagree(log_weights_a, log_weights_b):
    largest = max(log_weights_a.max(), log_weights_b.max())
    a, b = np.exp(log_weights_a - largest), np.exp(log_weights_b - largest)
    return abs(a.mean() - b.mean()) > 4 * np.sqrt(a.var(ddof=1) + b.var(ddof=1))


# %% ex-disagree: exponentiated without care
def disagree(log_weights_a, log_weights_b):
    a, b = np.exp(log_weights_a), np.exp(log_weights_b)
    return abs(a.mean() - b.mean()) > 4 * np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))


# %% ex-disagree: the sign of the difference is kept
def disagree(log_weights_a, log_weights_b):
    largest = max(log_weights_a.max(), log_weights_b.max())
    a, b = np.exp(log_weights_a - largest), np.exp(log_weights_b - largest)
    return a.mean() - b.mean() > 4 * np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))


# %% ex-disagree: a fixed relative difference, whatever the error bars say
def disagree(log_weights_a, log_weights_b):
    largest = max(log_weights_a.max(), log_weights_b.max())
    a, b = np.exp(log_weights_a - largest), np.exp(log_weights_b - largest)
    return abs(a.mean() - b.mean()) > 0.5 * a.mean()


# %% ex-disagree: nobody ever lies
def disagree(log_weights_a, log_weights_b):
    return False


# %% ex-disagree: yes and no exchanged
def disagree(log_weights_a, log_weights_b):
    largest = max(log_weights_a.max(), log_weights_b.max())
    a, b = np.exp(log_weights_a - largest), np.exp(log_weights_b - largest)
    return abs(a.mean() - b.mean()) < 4 * np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))


# %% ex-iw-bound: the mean of the logs, which is the ELBO
def mean_iw_bound(log_weights):
    return jnp.mean(log_weights)


# %% ex-iw-bound: 1/K outside instead of inside the log
def mean_iw_bound(log_weights):
    return jnp.mean(jax.nn.logsumexp(log_weights, axis=0) / log_weights.shape[0])


# %% ex-iw-bound: the average of the weights over the wrong axis
def mean_iw_bound(log_weights):
    return jnp.mean(jax.nn.logsumexp(log_weights, axis=1) - jnp.log(log_weights.shape[1]))


# %% ex-iw-bound: one logarithm of the weights of all datapoints
def mean_iw_bound(log_weights):
    return log_mean_exp(log_weights.ravel())


# %% ex-iw-bound: the datapoints in place of the samples
def mean_iw_bound(log_weights):
    return log_mean_exp(log_weights.T).mean()


# %% ex-iw-bound: exponentiated without care, so that all weights are zero
def mean_iw_bound(log_weights):
    return jnp.mean(jnp.log(jnp.mean(jnp.exp(log_weights), axis=0)))


# %% ex-iw-bound: the sum of the weights over the wrong axis
def mean_iw_bound(log_weights):
    return jnp.mean(jax.nn.logsumexp(log_weights, axis=1))


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

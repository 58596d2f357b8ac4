# %% ex-weighted: the sum of the weights for their mean
def weighted_inference(log_weights, values):
    weights = jax.nn.softmax(jnp.asarray(log_weights))
    return jax.nn.logsumexp(jnp.asarray(log_weights)), weights @ jnp.asarray(values)


# %% ex-weighted: the mean of the log-weights
def weighted_inference(log_weights, values):
    return log_weights.mean(), jax.nn.softmax(jnp.asarray(log_weights)) @ values


# %% ex-weighted: the weights for their logarithms
def weighted_inference(log_weights, values):
    return log_mean_exp(jnp.exp(jnp.asarray(log_weights))), jax.nn.softmax(jnp.asarray(log_weights)) @ values


# %% ex-weighted: weights that underflow
def weighted_inference(log_weights, values):
    weights = np.exp(log_weights)
    return np.log(weights.mean()), weights @ values / weights.sum()


# %% ex-weighted: the numerator alone
def weighted_inference(log_weights, values):
    weights = np.exp(log_weights)
    return jax.nn.logsumexp(log_weights) - np.log(len(log_weights)), weights @ values / len(weights)


# %% ex-weighted: the largest weight is taken out, but nothing is normalised
def weighted_inference(log_weights, values):
    weights = np.exp(log_weights - log_weights.max())
    return np.log(weights.mean()) + log_weights.max(), weights @ values


# %% ex-weighted: all draws count the same
def weighted_inference(log_weights, values):
    return jax.nn.logsumexp(log_weights) - np.log(len(log_weights)), values.mean(0)


# %% ex-weighted: the shift is not put back
def weighted_inference(log_weights, values):
    weights = np.exp(log_weights - log_weights.max())
    return np.log(weights.mean()), weights @ values / weights.sum()


# %% ex-climb: the average of the log-likelihoods
def log_evidence_slope(log_likelihood, theta, z):
    return jax.value_and_grad(lambda t: log_likelihood(z, t).mean())(theta)


# %% ex-climb: p(x) instead of its logarithm
def log_evidence_slope(log_likelihood, theta, z):
    return jax.value_and_grad(lambda t: jnp.exp(log_likelihood(z, t)).mean())(theta)


# %% ex-climb: the likelihoods for their logarithms
def log_evidence_slope(log_likelihood, theta, z):
    return jax.value_and_grad(lambda t: log_mean_exp(jnp.exp(log_likelihood(z, t))))(theta)


# %% ex-climb: likelihoods that underflow
def log_evidence_slope(log_likelihood, theta, z):
    return jax.value_and_grad(lambda t: jnp.log(jnp.exp(log_likelihood(z, t)).mean()))(theta)


# %% ex-climb: the sum over the draws
def log_evidence_slope(log_likelihood, theta, z):
    return jax.value_and_grad(lambda t: jax.nn.logsumexp(log_likelihood(z, t)))(theta)


# %% ex-climb: the slope counts all draws the same
def log_evidence_slope(log_likelihood, theta, z):
    value = jax.nn.logsumexp(log_likelihood(z, theta)) - jnp.log(len(z))
    return value, jax.grad(lambda t: log_likelihood(z, t).mean())(theta)


# %% ex-metropolis: the ratio upside down
def metropolis(log_density, start, steps, log_uniforms):
    z, chain = start, []
    for step, log_u in zip(steps, log_uniforms):
        if log_u < log_density(z) - log_density(z + step):
            z = z + step
        chain.append(z)
    return np.array(chain)


# %% ex-metropolis: a rejected step is not counted again
def metropolis(log_density, start, steps, log_uniforms):
    z, chain = start, []
    for step, log_u in zip(steps, log_uniforms):
        if log_u < log_density(z + step) - log_density(z):
            z = z + step
            chain.append(z)
    return np.array(chain)


# %% ex-metropolis: u compared with the logarithm of the ratio
def metropolis(log_density, start, steps, log_uniforms):
    z, chain = start, []
    for step, log_u in zip(steps, log_uniforms):
        if np.exp(log_u) < log_density(z + step) - log_density(z):
            z = z + step
        chain.append(z)
    return np.array(chain)


# %% ex-metropolis: only uphill
def metropolis(log_density, start, steps, log_uniforms):
    z, chain = start, []
    for step in steps:
        if log_density(z + step) > log_density(z):
            z = z + step
        chain.append(z)
    return np.array(chain)


# %% ex-metropolis: the proposals are stored
def metropolis(log_density, start, steps, log_uniforms):
    z, chain = start, []
    for step, log_u in zip(steps, log_uniforms):
        proposal = z + step
        chain.append(proposal)
        if log_u < log_density(proposal) - log_density(z):
            z = proposal
    return np.array(chain)


# %% ex-metropolis: the density of the current state is never updated
def metropolis(log_density, start, steps, log_uniforms):
    z, current, chain = start, log_density(start), []
    for step, log_u in zip(steps, log_uniforms):
        if log_u < log_density(z + step) - current:
            z = z + step
        chain.append(z)
    return np.array(chain)


# %% ex-metropolis: the state before each step
def metropolis(log_density, start, steps, log_uniforms):
    z, chain = start, []
    for step, log_u in zip(steps, log_uniforms):
        chain.append(z)
        if log_u < log_density(z + step) - log_density(z):
            z = z + step
    return np.array(chain)


# %% ex-metropolis: one array that is changed in place, to which all rows point
def metropolis(log_density, start, steps, log_uniforms):
    z, chain = start.copy(), []
    for step, log_u in zip(steps, log_uniforms):
        if log_u < log_density(z + step) - log_density(z):
            z += step
        chain.append(z)
    return np.array(chain)


# %% ex-covers: the averages of the log-weights
def same_evidence(log_weights, other_log_weights):
    error = np.sqrt(log_weights.var() / len(log_weights) + other_log_weights.var() / len(other_log_weights))
    return abs(log_weights.mean() - other_log_weights.mean()) < 4 * error


# %% ex-covers: the effective sample size decides
def same_evidence(log_weights, other_log_weights):
    weights = np.exp(log_weights - log_weights.max())
    return weights.mean() ** 2 / np.mean(weights**2) > 0.9


# %% ex-covers: weights that underflow
def same_evidence(log_weights, other_log_weights):
    a, b = np.exp(log_weights), np.exp(other_log_weights)
    error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    return bool(abs(a.mean() - b.mean()) < 4 * error)


# %% ex-covers: each array is shifted by its own largest entry
def same_evidence(log_weights, other_log_weights):
    a, b = (np.exp(each - each.max()) for each in (log_weights, other_log_weights))
    error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    return bool(abs(a.mean() - b.mean()) < 4 * error)


# %% ex-covers: the spread of single weights for the error of their average
def same_evidence(log_weights, other_log_weights):
    largest = max(log_weights.max(), other_log_weights.max())
    a, b = np.exp(log_weights - largest), np.exp(other_log_weights - largest)
    return bool(abs(a.mean() - b.mean()) < 4 * np.sqrt(a.var(ddof=1) + b.var(ddof=1)))


# %% ex-covers: a fixed tolerance of a tenth of a nat, whatever the number of draws
def same_evidence(log_weights, other_log_weights):
    logs = [scipy.special.logsumexp(each) - np.log(len(each)) for each in (log_weights, other_log_weights)]
    return bool(abs(logs[0] - logs[1]) < 0.1)


# %% ex-covers: True for those that differ
def same_evidence(log_weights, other_log_weights):
    largest = max(log_weights.max(), other_log_weights.max())
    a, b = np.exp(log_weights - largest), np.exp(other_log_weights - largest)
    error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    return bool(abs(a.mean() - b.mean()) > 4 * error)


# %% ex-dimension: the same draws in every coordinate
def surviving_share(log_weights, d):
    logs = np.multiply.outer(np.asarray(d), log_weights - log_weights.max())
    return np.exp(logs).mean(-1) ** 2 / np.exp(2 * logs).mean(-1)


# %% ex-dimension: the effective number instead of the share
def surviving_share(log_weights, d):
    weights = np.exp(log_weights - log_weights.max())
    return (weights.sum() ** 2 / np.sum(weights**2)) ** np.asarray(d)


# %% ex-dimension: in proportion to the dimension
def surviving_share(log_weights, d):
    weights = np.exp(log_weights - log_weights.max())
    return weights.mean() ** 2 / np.mean(weights**2) / np.asarray(d)


# %% ex-dimension: weights that underflow
def surviving_share(log_weights, d):
    weights = np.exp(log_weights)
    return (weights.mean() ** 2 / np.mean(weights**2)) ** np.asarray(d)


# %% ex-dimension: upside down
def surviving_share(log_weights, d):
    weights = np.exp(log_weights - log_weights.max())
    return (np.mean(weights**2) / weights.mean() ** 2) ** np.asarray(d)

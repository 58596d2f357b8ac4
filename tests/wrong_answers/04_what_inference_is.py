# %% ex-grid: the area of a cell is forgotten
def grid_inference(log_joint_values, f_values, cell_area):
    log_evidence = jax.nn.logsumexp(log_joint_values, axis=None)
    return log_evidence, jnp.sum(jax.nn.softmax(log_joint_values, axis=None) * f_values)


# %% ex-grid: an average over the cells for the sum
def grid_inference(log_joint_values, f_values, cell_area):
    log_evidence = jax.nn.logsumexp(log_joint_values, axis=None) - jnp.log(log_joint_values.size)
    return log_evidence, jnp.sum(jax.nn.softmax(log_joint_values, axis=None) * f_values)


# %% ex-grid: the expectation is not normalised
def grid_inference(log_joint_values, f_values, cell_area):
    joint = jnp.exp(log_joint_values)
    return jnp.log(joint.sum() * cell_area), jnp.sum(joint * f_values) * cell_area


# %% ex-grid: the area is in the evidence but not in the sum that it divides
def grid_inference(log_joint_values, f_values, cell_area):
    log_evidence = jax.nn.logsumexp(log_joint_values, axis=None) + jnp.log(cell_area)
    return log_evidence, jnp.sum(jnp.exp(log_joint_values - log_evidence) * f_values)


# %% ex-grid: exponentials that underflow
def grid_inference(log_joint_values, f_values, cell_area):
    joint = jnp.exp(log_joint_values)
    return jnp.log(joint.sum() * cell_area), jnp.sum(joint * f_values) / joint.sum()


# %% ex-grid: softmax over the last axis only
def grid_inference(log_joint_values, f_values, cell_area):
    log_evidence = jax.nn.logsumexp(log_joint_values, axis=None) + jnp.log(cell_area)
    return log_evidence, jnp.sum(jax.nn.softmax(log_joint_values) * f_values)


# %% ex-grid: the area of a cell in the expectation
def grid_inference(log_joint_values, f_values, cell_area):
    log_evidence = jax.nn.logsumexp(log_joint_values, axis=None) + jnp.log(cell_area)
    return log_evidence, jnp.sum(jax.nn.softmax(log_joint_values, axis=None) * f_values) * cell_area



# %% ex-predictive: one binomial of the average risk
def predictive(log_weights, risks, num_new):
    average = np.average(risks, weights=np.exp(log_weights - log_weights.max()))
    return scipy.stats.binom.pmf(np.arange(num_new + 1), num_new, average)


# %% ex-predictive: weights that do not sum to one
def predictive(log_weights, risks, num_new):
    distributions = scipy.stats.binom.pmf(np.arange(num_new + 1), num_new, risks[:, None])
    return np.exp(log_weights) @ distributions


# %% ex-predictive: divided by the number of draws
def predictive(log_weights, risks, num_new):
    distributions = scipy.stats.binom.pmf(np.arange(num_new + 1), num_new, risks[:, None])
    return np.exp(log_weights) @ distributions / len(risks)


# %% ex-predictive: the weights are forgotten
def predictive(log_weights, risks, num_new):
    return scipy.stats.binom.pmf(np.arange(num_new + 1), num_new, risks[:, None]).mean(0)


# %% ex-predictive: the logarithms are normalised
def predictive(log_weights, risks, num_new):
    distributions = scipy.stats.binom.pmf(np.arange(num_new + 1), num_new, risks[:, None])
    return log_weights / log_weights.sum() @ distributions


# %% ex-predictive: weights that underflow
def predictive(log_weights, risks, num_new):
    distributions = scipy.stats.binom.pmf(np.arange(num_new + 1), num_new, risks[:, None])
    weights = np.exp(log_weights)
    return weights @ distributions / weights.sum()


# %% ex-predictive: the largest log-weight is subtracted, but nothing is normalised
def predictive(log_weights, risks, num_new):
    distributions = scipy.stats.binom.pmf(np.arange(num_new + 1), num_new, risks[:, None])
    return np.exp(log_weights - log_weights.max()) @ distributions



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


# %% ex-autocorrelation-time: the factor 2 is missing
def autocorrelation_time(chain, max_lag):
    c = chain - chain.mean()
    return 1 + sum(np.sum(c[:-t] * c[t:]) for t in range(1, max_lag + 1)) / np.sum(c**2)


# %% ex-autocorrelation-time: the mean is not subtracted
def autocorrelation_time(chain, max_lag):
    return 1 + 2 * sum(np.sum(chain[:-t] * chain[t:]) for t in range(1, max_lag + 1)) / np.sum(chain**2)


# %% ex-autocorrelation-time: products averaged over their number
def autocorrelation_time(chain, max_lag):
    c = chain - chain.mean()
    return 1 + 2 * sum(np.mean(c[:-t] * c[t:]) for t in range(1, max_lag + 1)) / np.mean(c**2)


# %% ex-autocorrelation-time: the last lag is missing
def autocorrelation_time(chain, max_lag):
    c = chain - chain.mean()
    return 1 + 2 * sum(np.sum(c[:-t] * c[t:]) for t in range(1, max_lag)) / np.sum(c**2)


# %% ex-autocorrelation-time: lag zero counted with the others
def autocorrelation_time(chain, max_lag):
    c = chain - chain.mean()
    return 1 + 2 * sum(np.sum(c[: len(c) - t] * c[t:]) for t in range(max_lag + 1)) / np.sum(c**2)


# %% ex-autocorrelation-time: autocovariances for autocorrelations
def autocorrelation_time(chain, max_lag):
    c = chain - chain.mean()
    return 1 + 2 * sum(np.sum(c[:-t] * c[t:]) for t in range(1, max_lag + 1)) / len(c)


# %% ex-autocorrelation-time: the correlation coefficients of the two pieces
def autocorrelation_time(chain, max_lag):
    return 1 + 2 * sum(np.corrcoef(chain[:-t], chain[t:])[0, 1] for t in range(1, max_lag + 1))



# %% ex-ess-fraction: rho instead of its inverse
def ess_fraction(shift, scale):
    curvature = 2 * scale**2 - 1
    return np.prod(scale**2 / np.sqrt(curvature) * np.exp(shift**2 / curvature))


# %% ex-ess-fraction: the sum over the coordinates
def ess_fraction(shift, scale):
    curvature = 2 * scale**2 - 1
    safe = np.where(curvature > 0, curvature, 1)
    return np.sum(np.where(curvature > 0, np.sqrt(safe) / scale**2 * np.exp(-(shift**2) / safe), 0))


# %% ex-ess-fraction: the shift is not squared
def ess_fraction(shift, scale):
    curvature = 2 * scale**2 - 1
    safe = np.where(curvature > 0, curvature, 1)
    return np.prod(np.where(curvature > 0, np.sqrt(safe) / scale**2 * np.exp(-shift / safe), 0))


# %% ex-ess-fraction: the scale for its square in the denominator
def ess_fraction(shift, scale):
    curvature = 2 * scale**2 - 1
    safe = np.where(curvature > 0, curvature, 1)
    return np.prod(np.where(curvature > 0, np.sqrt(safe) / scale * np.exp(-(shift**2) / safe), 0))


# %% ex-ess-fraction: a proposal that is too narrow gives nan
def ess_fraction(shift, scale):
    curvature = 2 * scale**2 - 1
    return np.prod(np.sqrt(curvature) / scale**2 * np.exp(-(shift**2) / curvature))


# %% ex-ess-fraction: the absolute value hides an infinite variance
def ess_fraction(shift, scale):
    curvature = np.abs(2 * scale**2 - 1)
    return np.prod(np.sqrt(curvature) / scale**2 * np.exp(-(shift**2) / curvature))


# %% ex-ess-fraction: two proposals that are too narrow make up for each other
def ess_fraction(shift, scale):
    curvature = 2 * scale**2 - 1
    if np.prod(curvature) <= 0:
        return 0.0
    return np.sqrt(np.prod(curvature)) / np.prod(scale**2) * np.exp(-np.sum(shift**2 / curvature))

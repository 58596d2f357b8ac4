# %% ex-standard-error: variance of the mean instead of its square root
def estimate_with_error(values):
    return values.mean(0), values.var(0, ddof=1) / len(values)


# %% ex-standard-error: divided by n instead of its square root
def estimate_with_error(values):
    return values.mean(0), values.std(0, ddof=1) / len(values)


# %% ex-standard-error: the spread of single values
def estimate_with_error(values):
    return values.mean(0), values.std(0, ddof=1)


# %% ex-standard-error: n instead of n - 1
def estimate_with_error(values):
    return values.mean(0), values.std(0) / jnp.sqrt(len(values))


# %% ex-standard-error: the pair the other way round
def estimate_with_error(values):
    return values.std(0, ddof=1) / jnp.sqrt(len(values)), values.mean(0)


# %% ex-standard-error: all experiments put together
def estimate_with_error(values):
    return values.mean(), values.std(ddof=1) / jnp.sqrt(values.size)


# %% ex-standard-error: the last axis instead of the first
def estimate_with_error(values):
    return values.mean(-1), values.std(-1, ddof=1) / jnp.sqrt(values.shape[-1])


# %% ex-coverage: intervals of one error
def coverage(estimates, errors, truth):
    covered = (np.abs(estimates - truth) <= errors).mean()
    return covered, np.sqrt(covered * (1 - covered) / len(errors)), (estimates + errors < truth).mean()


# %% ex-coverage: the variance of the share
def coverage(estimates, errors, truth):
    covered = (np.abs(estimates - truth) <= 2 * errors).mean()
    return covered, covered * (1 - covered) / len(errors), (estimates + 2 * errors < truth).mean()


# %% ex-coverage: the spread of a single hit
def coverage(estimates, errors, truth):
    covered = (np.abs(estimates - truth) <= 2 * errors).mean()
    return covered, np.sqrt(covered * (1 - covered)), (estimates + 2 * errors < truth).mean()


# %% ex-coverage: estimates below the truth, not intervals
def coverage(estimates, errors, truth):
    covered = (np.abs(estimates - truth) <= 2 * errors).mean()
    return covered, np.sqrt(covered * (1 - covered) / len(errors)), (estimates < truth).mean()


# %% ex-coverage: a share of the misses
def coverage(estimates, errors, truth):
    covered = (np.abs(estimates - truth) <= 2 * errors).mean()
    below = (estimates + 2 * errors < truth).mean()
    return covered, np.sqrt(covered * (1 - covered) / len(errors)), below / (1 - covered)


# %% ex-coverage: the intervals above the truth
def coverage(estimates, errors, truth):
    covered = (np.abs(estimates - truth) <= 2 * errors).mean()
    return covered, np.sqrt(covered * (1 - covered) / len(errors)), (estimates - 2 * errors > truth).mean()


# %% ex-coverage: only the upper end is looked at
def coverage(estimates, errors, truth):
    below = (estimates + 2 * errors < truth).mean()
    return 1 - below, np.sqrt(below * (1 - below) / len(errors)), below


# %% ex-coverage: one average error for all intervals
def coverage(estimates, errors, truth):
    covered = (np.abs(estimates - truth) <= 2 * errors.mean()).mean()
    below = (estimates + 2 * errors.mean() < truth).mean()
    return covered, np.sqrt(covered * (1 - covered) / len(errors)), below


# %% ex-coverage: distances in errors, which may be zero, and nothing is below but what is negative
def coverage(estimates, errors, truth):
    distance = np.abs(estimates / truth - 1) / np.maximum(errors, 1e-30)
    covered = (distance <= 2).mean()
    return covered, np.sqrt(covered * (1 - covered) / len(errors)), (estimates + 2 * errors < truth).mean()


# %% ex-bars: the other way round
def judge_bars(estimates, errors):
    ratio = np.std(estimates) / np.sqrt(np.mean(errors**2))
    return 1 if ratio > 1.3 else -1 if ratio < 1 / 1.3 else 0


# %% ex-bars: the scatter of the mean of all runs
def judge_bars(estimates, errors):
    ratio = np.std(estimates) / np.sqrt(len(estimates)) / np.mean(errors)
    return -1 if ratio > 1.3 else 1 if ratio < 1 / 1.3 else 0


# %% ex-bars: no room for chance
def judge_bars(estimates, errors):
    return int(np.sign(np.mean(errors) - np.std(estimates)))


# %% ex-bars: only bars that are too short are found
def judge_bars(estimates, errors):
    return -1 if np.std(estimates) > 1.3 * np.mean(errors) else 0


# %% ex-bars: bars are judged by the size of the estimates
def judge_bars(estimates, errors):
    share = np.mean(errors) / np.abs(np.mean(estimates))
    return -1 if share < 0.05 else 1 if share > 0.5 else 0


# %% ex-bars: every report is believed
def judge_bars(estimates, errors):
    return 0


# %% ex-bars: bars are judged by how much they differ among themselves
def judge_bars(estimates, errors):
    return -1 if np.std(errors) < 0.05 * np.mean(errors) else 1 if np.std(errors) > 0.12 * np.mean(errors) else 0


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


# %% ex-log-mean-exp: along the second axis
def log_mean_exp(log_weights):
    largest = log_weights.max(-1)
    return largest + jnp.log(jnp.exp(log_weights - largest[..., None]).mean(-1))


# %% ex-reweight: the weights of prior draws
def reweight(x, z, scale, q_mean, q_scale):
    return norm.logpdf(x, z, scale).sum(-1)


# %% ex-reweight: the prior is missing
def reweight(x, z, scale, q_mean, q_scale):
    return (norm.logpdf(x, z, scale) - norm.logpdf(z, q_mean, q_scale)).sum(-1)


# %% ex-reweight: q is missing
def reweight(x, z, scale, q_mean, q_scale):
    return (norm.logpdf(x, z, scale) + norm.logpdf(z)).sum(-1)


# %% ex-reweight: prior and q exchanged
def reweight(x, z, scale, q_mean, q_scale):
    return (norm.logpdf(x, z, scale) - norm.logpdf(z) + norm.logpdf(z, q_mean, q_scale)).sum(-1)


# %% ex-reweight: multiplied by q
def reweight(x, z, scale, q_mean, q_scale):
    return (norm.logpdf(x, z, scale) + norm.logpdf(z) + norm.logpdf(z, q_mean, q_scale)).sum(-1)


# %% ex-reweight: the mean over dimensions
def reweight(x, z, scale, q_mean, q_scale):
    return (norm.logpdf(x, z, scale) + norm.logpdf(z) - norm.logpdf(z, q_mean, q_scale)).mean(-1)


# %% ex-reweight: the weights, not their logarithms
def reweight(x, z, scale, q_mean, q_scale):
    return jnp.exp((norm.logpdf(x, z, scale) + norm.logpdf(z) - norm.logpdf(z, q_mean, q_scale)).sum(-1))


# %% ex-reweight: one scale of q for all dimensions
def reweight(x, z, scale, q_mean, q_scale):
    return (norm.logpdf(x, z, scale) + norm.logpdf(z) - norm.logpdf(z, q_mean, q_scale.mean())).sum(-1)


# %% ex-reweight: right in few dimensions, underflows in many
def reweight(x, z, scale, q_mean, q_scale):
    joint = (norm.pdf(x, z, scale) * norm.pdf(z)).prod(-1)
    return jnp.log(joint / norm.pdf(z, q_mean, q_scale).prod(-1))

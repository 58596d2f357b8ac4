# %% ex-decision: the prior is forgotten
def best_action(prior, likelihood, loss):
    posterior = likelihood / likelihood.sum(1, keepdims=True)
    expected = posterior @ loss.T
    return expected.argmin(1), expected.min(1)


# %% ex-decision: the posterior does not sum to one
def best_action(prior, likelihood, loss):
    expected = (prior * likelihood) @ loss.T
    return expected.argmin(1), expected.min(1)


# %% ex-decision: acts as if the most probable state were certain
def best_action(prior, likelihood, loss):
    certain = loss[:, (prior * likelihood).argmax(1)]
    return certain.argmin(0), certain.min(0)


# %% ex-decision: the action with the largest expected loss
def best_action(prior, likelihood, loss):
    posterior = prior * likelihood / (prior * likelihood).sum(1, keepdims=True)
    expected = posterior @ loss.T
    return expected.argmax(1), expected.max(1)


# %% ex-decision: the least of the worst cases
def best_action(prior, likelihood, loss):
    worst = loss.max(1)
    return np.full(len(likelihood), worst.argmin()), np.full(len(likelihood), worst.min())


# %% ex-decision: normalised over the women, not over the states
def best_action(prior, likelihood, loss):
    posterior = prior * likelihood / (prior * likelihood).sum(0)
    expected = posterior @ loss.T
    return expected.argmin(1), expected.min(1)


# %% ex-regression: the noise's scale where its variance belongs
def weights_posterior(features, y, prior_scale, noise_scale):
    precision = np.eye(features.shape[1]) / prior_scale**2 + features.T @ features / noise_scale
    covariance = np.linalg.inv(precision)
    return covariance @ features.T @ y / noise_scale, covariance


# %% ex-regression: no prior
def weights_posterior(features, y, prior_scale, noise_scale):
    covariance = np.linalg.pinv(features.T @ features) * noise_scale**2
    return covariance @ features.T @ y / noise_scale**2, covariance


# %% ex-regression: the prior's variance for its precision
def weights_posterior(features, y, prior_scale, noise_scale):
    precision = np.eye(features.shape[1]) * prior_scale**2 + features.T @ features / noise_scale**2
    covariance = np.linalg.inv(precision)
    return covariance @ features.T @ y / noise_scale**2, covariance


# %% ex-regression: the prior's scale where its variance belongs
def weights_posterior(features, y, prior_scale, noise_scale):
    precision = np.eye(features.shape[1]) / prior_scale + features.T @ features / noise_scale**2
    covariance = np.linalg.inv(precision)
    return covariance @ features.T @ y / noise_scale**2, covariance


# %% ex-regression: the precision for the covariance
def weights_posterior(features, y, prior_scale, noise_scale):
    precision = np.eye(features.shape[1]) / prior_scale**2 + features.T @ features / noise_scale**2
    return np.linalg.solve(precision, features.T @ y) / noise_scale**2, precision


# %% ex-ensemble: probabilities and parameters are exchanged
def what_was_averaged(theta, x, reported):
    p = scipy.special.expit(theta[:, :1] * x + theta[:, 1:])
    slope, intercept = theta.mean(0)
    candidates = [scipy.special.expit(slope * x + intercept), p.mean(0), (p > 0.5).mean(0)]
    return int(np.argmin([np.abs(each - reported).sum() for each in candidates]))


# %% ex-ensemble: averaged over the inputs
def what_was_averaged(theta, x, reported):
    p = scipy.special.expit(theta[:, :1] * x + theta[:, 1:])
    slope, intercept = theta.mean(0)
    candidates = [p.mean(), scipy.special.expit(slope * x + intercept), (p > 0.5).mean()]
    return int(np.argmin([np.abs(each - reported).sum() for each in candidates]))


# %% ex-ensemble: votes are never found
def what_was_averaged(theta, x, reported):
    p = scipy.special.expit(theta[:, :1] * x + theta[:, 1:])
    slope, intercept = theta.mean(0)
    plugged = scipy.special.expit(slope * x + intercept)
    return int(np.abs(p.mean(0) - reported).sum() > np.abs(plugged - reported).sum())


# %% ex-ensemble: slope and intercept are exchanged
def what_was_averaged(theta, x, reported):
    p = scipy.special.expit(theta[:, 1:] * x + theta[:, :1])
    intercept, slope = theta.mean(0)
    candidates = [p.mean(0), scipy.special.expit(slope * x + intercept), (p > 0.5).mean(0)]
    return int(np.argmin([np.abs(each - reported).sum() for each in candidates]))


# %% ex-ensemble: whatever is nearest to one half is an average of probabilities
def what_was_averaged(theta, x, reported):
    if np.all(np.isclose(reported * len(theta), np.round(reported * len(theta)), atol=0.02)):
        return 2
    return int(np.abs(reported - 0.5).mean() > 0.3)


# %% ex-evidence: no half before the log-determinant
def log_evidence(features, y, prior_scale, noise_scale):
    covariance = prior_scale**2 * features @ features.T + noise_scale**2 * np.eye(len(y))
    quadratic = y @ np.linalg.solve(covariance, y)
    return -0.5 * (quadratic + len(y) * np.log(2 * np.pi)) - np.linalg.slogdet(covariance)[1]


# %% ex-evidence: no noise
def log_evidence(features, y, prior_scale, noise_scale):
    covariance = prior_scale**2 * features @ features.T
    quadratic = y @ np.linalg.solve(covariance, y)
    return -0.5 * (quadratic + np.linalg.slogdet(covariance)[1] + len(y) * np.log(2 * np.pi))


# %% ex-evidence: the sign of slogdet for the log-determinant
def log_evidence(features, y, prior_scale, noise_scale):
    covariance = prior_scale**2 * features @ features.T + noise_scale**2 * np.eye(len(y))
    quadratic = y @ np.linalg.solve(covariance, y)
    return -0.5 * (quadratic + np.linalg.slogdet(covariance)[0] + len(y) * np.log(2 * np.pi))


# %% ex-evidence: scales for variances
def log_evidence(features, y, prior_scale, noise_scale):
    covariance = prior_scale * features @ features.T + noise_scale * np.eye(len(y))
    quadratic = y @ np.linalg.solve(covariance, y)
    return -0.5 * (quadratic + np.linalg.slogdet(covariance)[1] + len(y) * np.log(2 * np.pi))


# %% ex-evidence: the density itself, and then its log, which underflows for many data
def log_evidence(features, y, prior_scale, noise_scale):
    covariance = prior_scale**2 * features @ features.T + noise_scale**2 * np.eye(len(y))
    density = np.exp(-0.5 * y @ np.linalg.solve(covariance, y)) / np.sqrt(np.linalg.det(2 * np.pi * covariance))
    return np.log(density)


# %% ex-evidence: the log of the determinant, which underflows for many data
def log_evidence(features, y, prior_scale, noise_scale):
    covariance = prior_scale**2 * features @ features.T + noise_scale**2 * np.eye(len(y))
    quadratic = y @ np.linalg.solve(covariance, y)
    return -0.5 * (quadratic + np.log(np.linalg.det(covariance)) + len(y) * np.log(2 * np.pi))


# %% ex-evidence: the fit at the peak of the posterior, without the Occam factor
def log_evidence(features, y, prior_scale, noise_scale):
    precision = np.eye(features.shape[1]) / prior_scale**2 + features.T @ features / noise_scale**2
    peak = np.linalg.solve(precision, features.T @ y) / noise_scale**2
    return scipy.stats.norm.logpdf(y, features @ peak, noise_scale).sum()


# %% ex-verdict: separate error bars
def gain_verdict(with_them, without):
    gain = with_them.mean() - without.mean()
    error = np.sqrt((with_them.var(ddof=1) + without.var(ddof=1)) / len(without))
    return int(np.sign(gain)) if abs(gain) > 3 * error else 0


# %% ex-verdict: the spread of single gains
def gain_verdict(with_them, without):
    gain = with_them - without
    return int(np.sign(gain.mean())) if abs(gain.mean()) > 3 * gain.std(ddof=1) else 0


# %% ex-verdict: every difference counts
def gain_verdict(with_them, without):
    return int(np.sign(np.mean(with_them - without)))


# %% ex-verdict: the signs are exchanged
def gain_verdict(with_them, without):
    gain = without - with_them
    return int(np.sign(gain.mean())) if abs(gain.mean()) > 3 * gain.std(ddof=1) / np.sqrt(len(gain)) else 0


# %% ex-verdict: a loss is called no effect
def gain_verdict(with_them, without):
    gain = with_them - without
    return int(gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(len(gain)))

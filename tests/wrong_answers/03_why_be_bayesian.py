# %% ex-base-rate: the prior is forgotten
def after_test(prevalence, sensitivity, specificity):
    after_positive = sensitivity / (sensitivity + 1 - specificity)
    return after_positive, (1 - sensitivity) / (1 - sensitivity + specificity)


# %% ex-base-rate: the conditional the other way round
def after_test(prevalence, sensitivity, specificity):
    return sensitivity, 1 - sensitivity


# %% ex-base-rate: the specificity taken for the rate of false positives
def after_test(prevalence, sensitivity, specificity):
    ill, well = prevalence * sensitivity, (1 - prevalence) * specificity
    missed, cleared = prevalence * (1 - sensitivity), (1 - prevalence) * (1 - specificity)
    return ill / (ill + well), missed / (missed + cleared)


# %% ex-base-rate: joint probabilities, not divided by that of the result
def after_test(prevalence, sensitivity, specificity):
    return prevalence * sensitivity, prevalence * (1 - sensitivity)


# %% ex-base-rate: after a negative result the probability of being healthy
def after_test(prevalence, sensitivity, specificity):
    positive = prevalence * sensitivity + (1 - prevalence) * (1 - specificity)
    return prevalence * sensitivity / positive, (1 - prevalence) * specificity / (1 - positive)


# %% ex-base-rate: after a negative result one minus the answer for a positive one
def after_test(prevalence, sensitivity, specificity):
    ill = prevalence * sensitivity
    after_positive = ill / (ill + (1 - prevalence) * (1 - specificity))
    return after_positive, 1 - after_positive


# %% ex-decision: the columns of the losses swapped
def best_action(probability, loss):
    expected = loss @ np.stack([probability, 1 - probability])
    return expected.argmin(0), expected.min(0)


# %% ex-decision: the action with the largest expected loss
def best_action(probability, loss):
    expected = loss @ np.stack([1 - probability, probability])
    return expected.argmax(0), expected.max(0)


# %% ex-decision: acts as if the most probable state were certain
def best_action(probability, loss):
    state = (probability > 0.5).astype(int)
    return loss[:, state].argmin(0), loss[:, state].min(0)


# %% ex-decision: the least of the worst cases
def best_action(probability, loss):
    worst = loss.max(1)
    return np.full(len(probability), worst.argmin()), np.full(len(probability), worst.min())


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


# %% ex-update: the old mean is forgotten
def update(mean, covariance, features, y, noise_scale):
    new_covariance = np.linalg.inv(np.linalg.inv(covariance) + features.T @ features / noise_scale**2)
    return new_covariance @ features.T @ y / noise_scale**2, new_covariance


# %% ex-update: the covariance taken for a precision
def update(mean, covariance, features, y, noise_scale):
    new_covariance = np.linalg.inv(covariance + features.T @ features / noise_scale**2)
    return new_covariance @ (covariance @ mean + features.T @ y / noise_scale**2), new_covariance


# %% ex-update: the old mean without its precision
def update(mean, covariance, features, y, noise_scale):
    new_covariance = np.linalg.inv(np.linalg.inv(covariance) + features.T @ features / noise_scale**2)
    return new_covariance @ (mean + features.T @ y / noise_scale**2), new_covariance


# %% ex-update: the noise's scale where its variance belongs
def update(mean, covariance, features, y, noise_scale):
    old_precision = np.linalg.inv(covariance)
    new_covariance = np.linalg.inv(old_precision + features.T @ features / noise_scale)
    return new_covariance @ (old_precision @ mean + features.T @ y / noise_scale), new_covariance


# %% ex-update: the correlations of the old belief are dropped
def update(mean, covariance, features, y, noise_scale):
    old_precision = np.diag(1 / np.diag(covariance))
    new_covariance = np.linalg.inv(old_precision + features.T @ features / noise_scale**2)
    return new_covariance @ (old_precision @ mean + features.T @ y / noise_scale**2), new_covariance

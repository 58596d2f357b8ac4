# %% ex-kernel: back through the inverse, with the forward noise
def reversed_kernel(mean, cov, transition, noise_cov):
    return np.linalg.inv(transition), np.zeros(len(mean)), noise_cov


# %% ex-kernel: every past is equally probable
def reversed_kernel(mean, cov, transition, noise_cov):
    weight = np.linalg.inv(noise_cov)
    past_cov = np.linalg.inv(transition.T @ weight @ transition)
    return past_cov @ transition.T @ weight, np.zeros(len(mean)), past_cov


# %% ex-kernel: no offset
def reversed_kernel(mean, cov, transition, noise_cov):
    cross = cov @ transition.T
    gain = np.linalg.solve(transition @ cross + noise_cov, cross.T).T
    return gain, np.zeros(len(mean)), cov - gain @ cross.T


# %% ex-kernel: the present has no mean
def reversed_kernel(mean, cov, transition, noise_cov):
    cross = cov @ transition.T
    gain = np.linalg.solve(transition @ cross + noise_cov, cross.T).T
    return gain, mean, cov - gain @ cross.T


# %% ex-kernel: the covariance of the future
def reversed_kernel(mean, cov, transition, noise_cov):
    cross = cov @ transition.T
    future = transition @ cross + noise_cov
    gain = np.linalg.solve(future, cross.T).T
    return gain, mean - gain @ (transition @ mean), future


# %% ex-kernel: needs an inverse of the prior's covariance
def reversed_kernel(mean, cov, transition, noise_cov):
    weight = np.linalg.inv(noise_cov)
    prior = np.linalg.inv(cov)
    past_cov = np.linalg.inv(prior + transition.T @ weight @ transition)
    return past_cov @ transition.T @ weight, past_cov @ prior @ mean, past_cov


# %% ex-report: correlations are left out
def overconfidence(past, means, covs):
    error = past - means
    squared = (error**2 / np.diagonal(covs, axis1=1, axis2=2)).sum(-1) - error.shape[-1]
    return squared.mean() / (squared.std(ddof=1) / np.sqrt(len(squared)))


# %% ex-report: the dimension is not taken off
def overconfidence(past, means, covs):
    error = past - means
    squared = (error * np.linalg.solve(covs, error[..., None])[..., 0]).sum(-1)
    return squared.mean() / (squared.std(ddof=1) / np.sqrt(len(squared)))


# %% ex-report: standard deviations instead of standard errors
def overconfidence(past, means, covs):
    error = past - means
    excess = (error * np.linalg.solve(covs, error[..., None])[..., 0]).sum(-1) - error.shape[-1]
    return excess.mean() / excess.std(ddof=1)


# %% ex-report: the standard deviation divides by N
def overconfidence(past, means, covs):
    error = past - means
    excess = (error * np.linalg.solve(covs, error[..., None])[..., 0]).sum(-1) - error.shape[-1]
    return excess.mean() / (excess.std() / np.sqrt(len(excess)))


# %% ex-report: all dimensions are three
def overconfidence(past, means, covs):
    error = past - means
    excess = (error * np.linalg.solve(covs, error[..., None])[..., 0]).sum(-1) - 3
    return excess.mean() / (excess.std(ddof=1) / np.sqrt(len(excess)))


# %% ex-report: always too sure
def overconfidence(past, means, covs):
    error = past - means
    excess = (error * np.linalg.solve(covs, error[..., None])[..., 0]).sum(-1) - error.shape[-1]
    return abs(excess.mean()) / (excess.std(ddof=1) / np.sqrt(len(excess)))


# %% ex-step: no score
def reversed_step(x, drift, score, sigma, dt, noise):
    return x - dt * drift + sigma * dt**0.5 * noise


# %% ex-step: a forward step
def reversed_step(x, drift, score, sigma, dt, noise):
    return x + dt * drift + sigma**2 * dt * score + sigma * dt**0.5 * noise


# %% ex-step: half of the score
def reversed_step(x, drift, score, sigma, dt, noise):
    return x - dt * drift + 0.5 * sigma**2 * dt * score + sigma * dt**0.5 * noise


# %% ex-step: the most probable place instead of a draw
def reversed_step(x, drift, score, sigma, dt, noise):
    return x - dt * drift + sigma**2 * dt * score


# %% ex-step: the variance in place of the scale
def reversed_step(x, drift, score, sigma, dt, noise):
    return x - dt * drift + sigma**2 * dt * score + sigma**2 * dt * noise

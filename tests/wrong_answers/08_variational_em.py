# %% ex-m-step: the covariance of q is forgotten, which is hard EM
def m_step(x, mean, covariance):
    weights = np.linalg.solve(mean.T @ mean, mean.T @ x).T
    return weights, np.sqrt(((x - mean @ weights.T) ** 2).mean())


# %% ex-m-step: the covariance is added once instead of once for each datapoint
def m_step(x, mean, covariance):
    weights = np.linalg.solve(mean.T @ mean + covariance, mean.T @ x).T
    squares = ((x - mean @ weights.T) ** 2).mean() + np.trace(weights @ covariance @ weights.T) / x.shape[1]
    return weights, np.sqrt(squares)


# %% ex-m-step: the width of q is missing in the scale
def m_step(x, mean, covariance):
    weights = np.linalg.solve(mean.T @ mean + len(x) * covariance, mean.T @ x).T
    return weights, np.sqrt(((x - mean @ weights.T) ** 2).mean())


# %% ex-m-step: a variance instead of a scale
def m_step(x, mean, covariance):
    weights = np.linalg.solve(mean.T @ mean + len(x) * covariance, mean.T @ x).T
    return weights, ((x - mean @ weights.T) ** 2).mean() + np.trace(weights @ covariance @ weights.T) / x.shape[1]


# %% ex-m-step: the squares are summed over the dimensions
def m_step(x, mean, covariance):
    weights = np.linalg.solve(mean.T @ mean + len(x) * covariance, mean.T @ x).T
    squares = ((x - mean @ weights.T) ** 2).sum(1).mean() + np.trace(weights @ covariance @ weights.T)
    return weights, np.sqrt(squares)


# %% ex-m-step: the width of q is not shared out among the dimensions
def m_step(x, mean, covariance):
    weights = np.linalg.solve(mean.T @ mean + len(x) * covariance, mean.T @ x).T
    return weights, np.sqrt(((x - mean @ weights.T) ** 2).mean() + np.trace(weights @ covariance @ weights.T))


# %% ex-m-step: the covariance is inverted on the way, which zero does not allow
def m_step(x, mean, covariance):
    second_moment = mean.T @ mean / len(x) + np.linalg.inv(np.linalg.inv(covariance))
    weights = np.linalg.solve(second_moment, mean.T @ x / len(x)).T
    squares = ((x - mean @ weights.T) ** 2).mean() + np.trace(weights @ covariance @ weights.T) / x.shape[1]
    return weights, np.sqrt(squares)


# %% ex-test: the bound is looked at after whole rounds only
def bound_changes(bound, e_step, m_step, q, theta, num_rounds):
    changes = []
    for _ in range(num_rounds):
        before = bound(q, theta)
        q = e_step(q, theta)
        theta = m_step(q, theta)
        changes.append(bound(q, theta) - before)
    return np.array(changes)


# %% ex-test: before minus after
def bound_changes(bound, e_step, m_step, q, theta, num_rounds):
    changes = []
    for _ in range(num_rounds):
        new_q = e_step(q, theta)
        new_theta = m_step(new_q, theta)
        changes.append([bound(q, theta) - bound(new_q, theta), bound(new_q, theta) - bound(new_q, new_theta)])
        q, theta = new_q, new_theta
    return np.array(changes)


# %% ex-test: the M-step comes first
def bound_changes(bound, e_step, m_step, q, theta, num_rounds):
    heights = [bound(q, theta)]
    for _ in range(num_rounds):
        theta = m_step(q, theta)
        heights.append(bound(q, theta))
        q = e_step(q, theta)
        heights.append(bound(q, theta))
    return np.diff(heights).reshape(num_rounds, 2)


# %% ex-test: the M-step is given the q of before the E-step
def bound_changes(bound, e_step, m_step, q, theta, num_rounds):
    changes = []
    for _ in range(num_rounds):
        new_q, new_theta = e_step(q, theta), m_step(q, theta)
        after_e = bound(new_q, theta)
        changes.append([after_e - bound(q, theta), bound(new_q, new_theta) - after_e])
        q, theta = new_q, new_theta
    return np.array(changes)


# %% ex-test: falls are rounded up to zero
def bound_changes(bound, e_step, m_step, q, theta, num_rounds):
    heights = [bound(q, theta)]
    for _ in range(num_rounds):
        q = e_step(q, theta)
        heights.append(bound(q, theta))
        theta = m_step(q, theta)
        heights.append(bound(q, theta))
    return np.maximum(np.diff(heights), 0).reshape(num_rounds, 2)


# %% ex-test: the E-step always starts from the first q
def bound_changes(bound, e_step, m_step, q, theta, num_rounds):
    changes, height = [], bound(q, theta)
    for _ in range(num_rounds):
        new_q = e_step(q, theta)
        after_e = bound(new_q, theta)
        theta = m_step(new_q, theta)
        changes.append([after_e - height, bound(new_q, theta) - after_e])
        height = bound(new_q, theta)
    return np.array(changes)


# %% ex-distance: the last change, as in the report
def distance_to_go(log_likelihoods):
    first, second = np.diff(log_likelihoods[-3:])
    return second / first, second


# %% ex-distance: what was missing before the last round
def distance_to_go(log_likelihoods):
    first, second = np.diff(log_likelihoods[-3:])
    return second / first, second / (1 - second / first)


# %% ex-distance: what the next round alone will bring
def distance_to_go(log_likelihoods):
    first, second = np.diff(log_likelihoods[-3:])
    return second / first, second * second / first


# %% ex-distance: the rate upside down
def distance_to_go(log_likelihoods):
    first, second = np.diff(log_likelihoods[-3:])
    rate = first / second
    return rate, second * rate / (1 - rate)


# %% ex-distance: the first three values instead of the last
def distance_to_go(log_likelihoods):
    first, second = np.diff(log_likelihoods[:3])
    rate = second / first
    return rate, second * rate / (1 - rate)


# %% ex-distance: the rate is an average over the whole trace
def distance_to_go(log_likelihoods):
    changes = np.diff(log_likelihoods)
    rate = (changes[1:] / changes[:-1]).mean()
    return rate, changes[-1] * rate / (1 - rate)


# %% ex-exchange: the draw of the image before
def exchange_cost(log_likelihood, x, mean, scale, noise):
    z = mean + scale * noise
    return (log_likelihood(x, z) - log_likelihood(x, jnp.roll(z, 1, axis=0))).mean()


# %% ex-exchange: after minus before
def exchange_cost(log_likelihood, x, mean, scale, noise):
    z = mean + scale * noise
    return (log_likelihood(x, jnp.roll(z, -1, axis=0)) - log_likelihood(x, z)).mean()


# %% ex-exchange: a sum over the images
def exchange_cost(log_likelihood, x, mean, scale, noise):
    z = mean + scale * noise
    return (log_likelihood(x, z) - log_likelihood(x, jnp.roll(z, -1, axis=0))).sum()


# %% ex-exchange: the means instead of draws
def exchange_cost(log_likelihood, x, mean, scale, noise):
    return (log_likelihood(x, mean) - log_likelihood(x, jnp.roll(mean, -1, axis=0))).mean()


# %% ex-exchange: the noise stays with the image
def exchange_cost(log_likelihood, x, mean, scale, noise):
    other = jnp.roll(mean, -1, axis=0) + jnp.roll(scale, -1, axis=0) * noise
    return (log_likelihood(x, mean + scale * noise) - log_likelihood(x, other)).mean()


# %% ex-exchange: rolled along all axes at once
def exchange_cost(log_likelihood, x, mean, scale, noise):
    z = mean + scale * noise
    return (log_likelihood(x, z) - log_likelihood(x, jnp.roll(z, -1))).mean()

# %% ex-elbo: the KL is missing
def window_elbo(forecast, mean, scale, sigma, x, actions, noise):
    path = forecast(mean + scale * noise, actions)
    return jax.scipy.stats.norm.logpdf(x, path, sigma).sum()


# %% ex-elbo: the KL has the wrong sign
def window_elbo(forecast, mean, scale, sigma, x, actions, noise):
    path = forecast(mean + scale * noise, actions)
    kl = 0.5 * (mean**2 + scale**2 - 1 - 2 * jnp.log(scale)).sum()
    return jax.scipy.stats.norm.logpdf(x, path, sigma).sum() + kl


# %% ex-elbo: the first observation is left out
def window_elbo(forecast, mean, scale, sigma, x, actions, noise):
    path = forecast(mean + scale * noise, actions)
    kl = 0.5 * (mean**2 + scale**2 - 1 - 2 * jnp.log(scale)).sum()
    return jax.scipy.stats.norm.logpdf(x[1:], path[1:], sigma).sum() - kl


# %% ex-elbo: a mean over the steps
def window_elbo(forecast, mean, scale, sigma, x, actions, noise):
    path = forecast(mean + scale * noise, actions)
    kl = 0.5 * (mean**2 + scale**2 - 1 - 2 * jnp.log(scale)).sum()
    return jax.scipy.stats.norm.logpdf(x, path, sigma).sum(-1).mean() - kl


# %% ex-elbo: squared errors, without the logarithm of sigma
def window_elbo(forecast, mean, scale, sigma, x, actions, noise):
    path = forecast(mean + scale * noise, actions)
    kl = 0.5 * (mean**2 + scale**2 - 1 - 2 * jnp.log(scale)).sum()
    return -0.5 * (((x - path) / sigma) ** 2).sum() - kl


# %% ex-elbo: the KL is estimated from the draw
def window_elbo(forecast, mean, scale, sigma, x, actions, noise):
    z = mean + scale * noise
    logpdf = jax.scipy.stats.norm.logpdf
    return logpdf(x, forecast(z, actions), sigma).sum() + (logpdf(z) - logpdf(z, mean, scale)).sum()


# %% ex-elbo: the mean of q is unrolled, not a draw
def window_elbo(forecast, mean, scale, sigma, x, actions, noise):
    kl = 0.5 * (mean**2 + scale**2 - 1 - 2 * jnp.log(scale)).sum()
    return jax.scipy.stats.norm.logpdf(x, forecast(mean, actions), sigma).sum() - kl


# %% ex-cem: the lowest values are kept
def cross_entropy(value, mean, scale, noise, num_elite):
    for draws in noise:
        candidates = mean + scale * draws
        elite = candidates[jnp.argsort(value(candidates))[:num_elite]]
        mean, scale = elite.mean(0), elite.std(0)
    return mean, scale


# %% ex-cem: the scale divides by E - 1
def cross_entropy(value, mean, scale, noise, num_elite):
    for draws in noise:
        candidates = mean + scale * draws
        elite = candidates[jnp.argsort(value(candidates))[-num_elite:]]
        mean, scale = elite.mean(0), elite.std(0, ddof=1)
    return mean, scale


# %% ex-cem: the scale is never fitted
def cross_entropy(value, mean, scale, noise, num_elite):
    for draws in noise:
        candidates = mean + scale * draws
        mean = candidates[jnp.argsort(value(candidates))[-num_elite:]].mean(0)
    return mean, scale


# %% ex-cem: the best candidate is the mean
def cross_entropy(value, mean, scale, noise, num_elite):
    for draws in noise:
        candidates = mean + scale * draws
        elite = candidates[jnp.argsort(value(candidates))[-num_elite:]]
        mean, scale = elite[-1], elite.std(0)
    return mean, scale


# %% ex-cem: a single round
def cross_entropy(value, mean, scale, noise, num_elite):
    candidates = mean + scale * noise[0]
    elite = candidates[jnp.argsort(value(candidates))[-num_elite:]]
    return elite.mean(0), elite.std(0)


# %% ex-cem: one scale for all dimensions
def cross_entropy(value, mean, scale, noise, num_elite):
    for draws in noise:
        candidates = mean + scale * draws
        elite = candidates[jnp.argsort(value(candidates))[-num_elite:]]
        mean, scale = elite.mean(0), (elite - elite.mean(0)).std() * jnp.ones(len(mean))
    return mean, scale


# %% ex-peeks: row t is changed, too
def peeks(forecast, x, actions, t):
    rng, said = np.random.default_rng(0), np.asarray(forecast(x, actions, t))
    other = np.array(x)
    other[t:] = 3 * rng.normal(size=other[t:].shape)
    return not np.allclose(said, forecast(other, actions, t))


# %% ex-peeks: the torques are changed, too
def peeks(forecast, x, actions, t):
    rng, said = np.random.default_rng(0), np.asarray(forecast(x, actions, t))
    other, torques = np.array(x), np.array(actions)
    other[t + 1 :] = 3 * rng.normal(size=other[t + 1 :].shape)
    torques[t + 1 :] = rng.uniform(-2, 2, len(torques) - t - 1)
    return not np.allclose(said, forecast(other, torques, t))


# %% ex-peeks: all later rows are shifted a little
def peeks(forecast, x, actions, t):
    other = np.array(x)
    other[t + 1 :] += 0.01
    return not np.allclose(forecast(x, actions, t), forecast(other, actions, t))


# %% ex-peeks: only the next row is changed
def peeks(forecast, x, actions, t):
    rng, said = np.random.default_rng(0), np.asarray(forecast(x, actions, t))
    for _ in range(20):
        other = np.array(x)
        other[t + 1] = 3 * rng.normal(size=other[t + 1].shape)
        if not np.allclose(said, forecast(other, actions, t)):
            return True
    return False


# %% ex-peeks: the future is not a number
def peeks(forecast, x, actions, t):
    other = np.array(x)
    other[t + 1 :] = np.nan
    return not np.allclose(forecast(x, actions, t), forecast(other, actions, t))


# %% ex-peeks: judged by the size of the error
def peeks(forecast, x, actions, t):
    said = np.asarray(forecast(x, actions, t))
    return bool(np.abs(said - np.asarray(x)[t + 1 : t + 1 + len(said)]).mean() < 1)

# %% ex-elbo: the prior's part is added
def window_elbo(forecast, mean, scale, sigma, x, actions, noise):
    path = forecast(mean + scale * noise, actions)
    fit_to_data = jax.scipy.stats.norm.logpdf(x, path, sigma).sum()
    return fit_to_data + 0.5 * (mean**2 + scale**2 - 1 - 2 * jnp.log(scale)).sum()


# %% ex-elbo: the mean over frames in place of the sum
def window_elbo(forecast, mean, scale, sigma, x, actions, noise):
    path = forecast(mean + scale * noise, actions)
    fit_to_data = jax.scipy.stats.norm.logpdf(x, path, sigma).mean()
    return fit_to_data - 0.5 * (mean**2 + scale**2 - 1 - 2 * jnp.log(scale)).sum()


# %% ex-elbo: no draw, the mean goes through the model
def window_elbo(forecast, mean, scale, sigma, x, actions, noise):
    path = forecast(mean, actions)
    fit_to_data = jax.scipy.stats.norm.logpdf(x, path, sigma).sum()
    return fit_to_data - 0.5 * (mean**2 + scale**2 - 1 - 2 * jnp.log(scale)).sum()


# %% ex-cem: the worst candidates are kept
def cross_entropy(value, mean, scale, noise, num_elite):
    for draws in noise:
        candidates = mean + scale * draws
        elite = candidates[np.argsort(np.asarray(value(candidates)))[:num_elite]]
        mean, scale = elite.mean(0), elite.std(0)
    return mean, scale


# %% ex-cem: the scale never shrinks
def cross_entropy(value, mean, scale, noise, num_elite):
    for draws in noise:
        candidates = mean + scale * draws
        mean = candidates[np.argsort(np.asarray(value(candidates)))[-num_elite:]].mean(0)
    return mean, scale


# %% ex-peeks: it changes the present row too
def peeks(forecast, x, actions, t):
    other = np.array(x)
    other[t:] = 3 * np.random.default_rng(0).normal(size=other[t:].shape)
    return not np.allclose(np.asarray(forecast(x, actions, t)), np.asarray(forecast(other, actions, t)))


# %% ex-peeks: it changes the next row alone
def peeks(forecast, x, actions, t):
    other = np.array(x)
    other[t + 1] += 0.1
    return not np.allclose(np.asarray(forecast(x, actions, t)), np.asarray(forecast(other, actions, t)))

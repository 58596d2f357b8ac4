# %% ex-refine: the mean over images, so that a step depends on their number
def refine(elbo, mean, log_scale, noises, rate):
    gradient = jax.grad(lambda *arguments: elbo(*arguments).mean(), argnums=(0, 1))
    for noise in noises:
        of_mean, of_log_scale = gradient(mean, log_scale, noise)
        mean, log_scale = mean + rate * jnp.exp(2 * log_scale) * of_mean, log_scale + 0.5 * rate * of_log_scale
    return mean, log_scale


# %% ex-refine: plain gradient steps
def refine(elbo, mean, log_scale, noises, rate):
    gradient = jax.grad(lambda *arguments: elbo(*arguments).sum(), argnums=(0, 1))
    for noise in noises:
        of_mean, of_log_scale = gradient(mean, log_scale, noise)
        mean, log_scale = mean + rate * of_mean, log_scale + 0.5 * rate * of_log_scale
    return mean, log_scale


# %% ex-refine: the scale instead of its square
def refine(elbo, mean, log_scale, noises, rate):
    gradient = jax.grad(lambda *arguments: elbo(*arguments).sum(), argnums=(0, 1))
    for noise in noises:
        of_mean, of_log_scale = gradient(mean, log_scale, noise)
        mean, log_scale = mean + rate * jnp.exp(log_scale) * of_mean, log_scale + 0.5 * rate * of_log_scale
    return mean, log_scale


# %% ex-refine: the half is missing
def refine(elbo, mean, log_scale, noises, rate):
    gradient = jax.grad(lambda *arguments: elbo(*arguments).sum(), argnums=(0, 1))
    for noise in noises:
        of_mean, of_log_scale = gradient(mean, log_scale, noise)
        mean, log_scale = mean + rate * jnp.exp(2 * log_scale) * of_mean, log_scale + rate * of_log_scale
    return mean, log_scale


# %% ex-refine: the log-scale moves first
def refine(elbo, mean, log_scale, noises, rate):
    gradient = jax.grad(lambda *arguments: elbo(*arguments).sum(), argnums=(0, 1))
    for noise in noises:
        of_mean, of_log_scale = gradient(mean, log_scale, noise)
        log_scale = log_scale + 0.5 * rate * of_log_scale
        mean = mean + rate * jnp.exp(2 * log_scale) * of_mean
    return mean, log_scale


# %% ex-refine: the first noise at every step
def refine(elbo, mean, log_scale, noises, rate):
    gradient = jax.grad(lambda *arguments: elbo(*arguments).sum(), argnums=(0, 1))
    for _ in noises:
        of_mean, of_log_scale = gradient(mean, log_scale, noises[0])
        mean, log_scale = mean + rate * jnp.exp(2 * log_scale) * of_mean, log_scale + 0.5 * rate * of_log_scale
    return mean, log_scale


# %% ex-refine: downhill
def refine(elbo, mean, log_scale, noises, rate):
    gradient = jax.grad(lambda *arguments: elbo(*arguments).sum(), argnums=(0, 1))
    for noise in noises:
        of_mean, of_log_scale = gradient(mean, log_scale, noise)
        mean, log_scale = mean - rate * jnp.exp(2 * log_scale) * of_mean, log_scale - 0.5 * rate * of_log_scale
    return mean, log_scale


# %% ex-refine: only the mean moves
def refine(elbo, mean, log_scale, noises, rate):
    gradient = jax.grad(lambda *arguments: elbo(*arguments).sum())
    for noise in noises:
        mean = mean + rate * jnp.exp(2 * log_scale) * gradient(mean, log_scale, noise)
    return mean, log_scale


# %% ex-lie: the optimised ELBO may not exceed the bound
def broken_law(reports):
    fit, cost, elbo, bound, optimised = np.asarray(reports).T
    laws = [np.maximum(fit, bound) > 0.2, cost < -0.2, np.abs(fit - cost - elbo) > 0.2, bound < elbo - 0.2]
    laws = [*laws, optimised < elbo - 0.2]
    found = np.where(np.any(laws, axis=0), 1 + np.argmax(laws, axis=0), 0)
    return np.where((found == 0) & (optimised > bound + 0.2), 4, found)


# %% ex-lie: no margin for the rounding
def broken_law(reports):
    fit, cost, elbo, bound, optimised = np.asarray(reports).T
    laws = [np.maximum(fit, bound) > 0, cost < 0, fit - cost != elbo, bound < elbo, optimised < elbo]
    return np.where(np.any(laws, axis=0), 1 + np.argmax(laws, axis=0), 0)


# %% ex-lie: a KL of zero is refused
def broken_law(reports):
    fit, cost, elbo, bound, optimised = np.asarray(reports).T
    laws = [np.maximum(fit, bound) > 0.2, cost <= 0, np.abs(fit - cost - elbo) > 0.2, bound < elbo - 0.2]
    laws = [*laws, optimised < elbo - 0.2]
    return np.where(np.any(laws, axis=0), 1 + np.argmax(laws, axis=0), 0)


# %% ex-lie: the bound has to be above the ELBO
def broken_law(reports):
    fit, cost, elbo, bound, optimised = np.asarray(reports).T
    laws = [np.maximum(fit, bound) > 0.2, cost < -0.2, np.abs(fit - cost - elbo) > 0.2, bound <= elbo]
    laws = [*laws, optimised < elbo - 0.2]
    return np.where(np.any(laws, axis=0), 1 + np.argmax(laws, axis=0), 0)


# %% ex-lie: the KL is added
def broken_law(reports):
    fit, cost, elbo, bound, optimised = np.asarray(reports).T
    laws = [np.maximum(fit, bound) > 0.2, cost < -0.2, np.abs(fit + cost - elbo) > 0.2, bound < elbo - 0.2]
    laws = [*laws, optimised < elbo - 0.2]
    return np.where(np.any(laws, axis=0), 1 + np.argmax(laws, axis=0), 0)


# %% ex-lie: only whether a law is broken
def broken_law(reports):
    fit, cost, elbo, bound, optimised = np.asarray(reports).T
    laws = [np.maximum(fit, bound) > 0.2, cost < -0.2, np.abs(fit - cost - elbo) > 0.2, bound < elbo - 0.2]
    return np.any([*laws, optimised < elbo - 0.2], axis=0).astype(int)


# %% ex-fault: the healthy gaps are not taken away
def whose_fault(healthy, patients):
    encoder, best, model = np.asarray(patients).T
    return np.argmax([best - encoder, model - best, healthy[2] - model], axis=0)


# %% ex-fault: each number is compared with the healthy one
def whose_fault(healthy, patients):
    return np.argmax(np.asarray(healthy) - np.asarray(patients), axis=1)


# %% ex-fault: the gaps are exchanged
def whose_fault(healthy, patients):
    def gaps(numbers):
        encoder, best, model = np.moveaxis(np.asarray(numbers), -1, 0)
        return np.stack([model - best, best - encoder, -model], axis=-1)

    return np.argmax(gaps(patients) - gaps(healthy), axis=-1)


# %% ex-fault: what lost the least
def whose_fault(healthy, patients):
    def gaps(numbers):
        encoder, best, model = np.moveaxis(np.asarray(numbers), -1, 0)
        return np.stack([best - encoder, model - best, -model], axis=-1)

    return np.argmin(gaps(patients) - gaps(healthy), axis=-1)


# %% ex-fault: always the encoder
def whose_fault(healthy, patients):
    return np.zeros(len(patients), int)


# %% ex-masked: logits of zero for what was not seen
def masked_elbo(x, seen, mean, log_scale, noise, decoder):
    logits = jnp.where(seen, decoder(mean + jnp.exp(log_scale) * noise), 0.0)
    log_likelihood = (jnp.where(seen, x, 0.0) * logits - jax.nn.softplus(logits)).sum(-1)
    return log_likelihood.mean(0) - 0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale).sum(-1)


# %% ex-masked: what was not seen is blank paper
def masked_elbo(x, seen, mean, log_scale, noise, decoder):
    logits = decoder(mean + jnp.exp(log_scale) * noise)
    log_likelihood = (jnp.where(seen, x, 0.0) * logits - jax.nn.softplus(logits)).sum(-1)
    return log_likelihood.mean(0) - 0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale).sum(-1)


# %% ex-masked: the likelihood is scaled up to all pixels
def masked_elbo(x, seen, mean, log_scale, noise, decoder):
    logits = decoder(mean + jnp.exp(log_scale) * noise)
    each = jnp.where(seen, jnp.where(seen, x, 0.0) * logits - jax.nn.softplus(logits), 0.0)
    cost = 0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale).sum(-1)
    return each.sum(-1).mean(0) / jnp.mean(seen, axis=-1) - cost


# %% ex-masked: the KL is scaled down to the share that was seen
def masked_elbo(x, seen, mean, log_scale, noise, decoder):
    logits = decoder(mean + jnp.exp(log_scale) * noise)
    each = jnp.where(seen, jnp.where(seen, x, 0.0) * logits - jax.nn.softplus(logits), 0.0)
    cost = 0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale).sum(-1)
    return each.sum(-1).mean(0) - jnp.mean(seen, axis=-1) * cost


# %% ex-masked: NaN times zero
def masked_elbo(x, seen, mean, log_scale, noise, decoder):
    logits = decoder(mean + jnp.exp(log_scale) * noise)
    each = seen * (x * logits - jax.nn.softplus(logits))
    return each.sum(-1).mean(0) - 0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale).sum(-1)


# %% ex-masked: the NaN stays in the gradient
def masked_elbo(x, seen, mean, log_scale, noise, decoder):
    logits = decoder(mean + jnp.exp(log_scale) * noise)
    each = jnp.where(seen, x * logits - jax.nn.softplus(logits), 0.0)
    return each.sum(-1).mean(0) - 0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale).sum(-1)


# %% ex-masked: the mean over the pixels
def masked_elbo(x, seen, mean, log_scale, noise, decoder):
    logits = decoder(mean + jnp.exp(log_scale) * noise)
    each = jnp.where(seen, jnp.where(seen, x, 0.0) * logits - jax.nn.softplus(logits), 0.0)
    cost = 0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale).sum(-1)
    return (each.sum(-1) / jnp.sum(seen, axis=-1)).mean(0) - cost


# %% ex-masked: no gradient goes through the sample
def masked_elbo(x, seen, mean, log_scale, noise, decoder):
    logits = decoder(jax.lax.stop_gradient(mean + jnp.exp(log_scale) * noise))
    each = jnp.where(seen, jnp.where(seen, x, 0.0) * logits - jax.nn.softplus(logits), 0.0)
    return each.sum(-1).mean(0) - 0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale).sum(-1)

# %% ex-flow: kept entries count in the determinant
def coupling_flow(u, layers):
    log_det = jnp.zeros(jnp.shape(u)[:-1])
    for keep, network in layers:
        log_stretch, shift = network(jnp.where(keep, u, 0.0))
        u = jnp.where(keep, u, u * jnp.exp(log_stretch) + shift)
        log_det = log_det + log_stretch.sum(-1)
    return u, log_det


# %% ex-flow: the sign of the log-determinant
def coupling_flow(u, layers):
    log_det = jnp.zeros(jnp.shape(u)[:-1])
    for keep, network in layers:
        log_stretch, shift = network(jnp.where(keep, u, 0.0))
        u = jnp.where(keep, u, u * jnp.exp(log_stretch) + shift)
        log_det = log_det - jnp.where(keep, 0.0, log_stretch).sum(-1)
    return u, log_det


# %% ex-flow: the network sees all entries
def coupling_flow(u, layers):
    log_det = jnp.zeros(jnp.shape(u)[:-1])
    for keep, network in layers:
        log_stretch, shift = network(u)
        u = jnp.where(keep, u, u * jnp.exp(log_stretch) + shift)
        log_det = log_det + jnp.where(keep, 0.0, log_stretch).sum(-1)
    return u, log_det


# %% ex-flow: only the last layer's determinant
def coupling_flow(u, layers):
    for keep, network in layers:
        log_stretch, shift = network(jnp.where(keep, u, 0.0))
        u = jnp.where(keep, u, u * jnp.exp(log_stretch) + shift)
        log_det = jnp.where(keep, 0.0, log_stretch).sum(-1)
    return u, log_det


# %% ex-flow: the shift is stretched too
def coupling_flow(u, layers):
    log_det = jnp.zeros(jnp.shape(u)[:-1])
    for keep, network in layers:
        log_stretch, shift = network(jnp.where(keep, u, 0.0))
        u = jnp.where(keep, u, (u + shift) * jnp.exp(log_stretch))
        log_det = log_det + jnp.where(keep, 0.0, log_stretch).sum(-1)
    return u, log_det


# %% ex-flow: the kept entries are the ones that move
def coupling_flow(u, layers):
    log_det = jnp.zeros(jnp.shape(u)[:-1])
    for keep, network in layers:
        log_stretch, shift = network(jnp.where(keep, u, 0.0))
        u = jnp.where(keep, u * jnp.exp(log_stretch) + shift, u)
        log_det = log_det + jnp.where(keep, log_stretch, 0.0).sum(-1)
    return u, log_det


# %% ex-flow: one sum over all points
def coupling_flow(u, layers):
    log_det = 0.0
    for keep, network in layers:
        log_stretch, shift = network(jnp.where(keep, u, 0.0))
        u = jnp.where(keep, u, u * jnp.exp(log_stretch) + shift)
        log_det = log_det + jnp.where(keep, 0.0, log_stretch).sum()
    return u, log_det


# %% ex-flow: the kept entries move too
def coupling_flow(u, layers):
    log_det = jnp.zeros(jnp.shape(u)[:-1])
    for keep, network in layers:
        log_stretch, shift = network(jnp.where(keep, u, 0.0))
        u = u * jnp.exp(log_stretch) + shift
        log_det = log_det + jnp.where(keep, 0.0, log_stretch).sum(-1)
    return u, log_det


# %% ex-ais: the move comes first
def annealed_log_weights(log_ratio, betas, z, move):
    log_w = 0.0
    for t in range(1, len(betas)):
        before, now = betas[t - 1], betas[t]
        z = move(z, now)
        log_w = log_w + (now - before) * log_ratio(z)
    return log_w


# %% ex-ais: the move keeps the old density
def annealed_log_weights(log_ratio, betas, z, move):
    log_w = 0.0
    for t in range(1, len(betas)):
        before, now = betas[t - 1], betas[t]
        log_w = log_w + (now - before) * log_ratio(z)
        z = move(z, before)
    return log_w


# %% ex-ais: the whole β as exponent
def annealed_log_weights(log_ratio, betas, z, move):
    log_w = 0.0
    for now in betas[1:]:
        log_w = log_w + now * log_ratio(z)
        z = move(z, now)
    return log_w


# %% ex-ais: plain importance sampling
def annealed_log_weights(log_ratio, betas, z, move):
    return log_ratio(z)


# %% ex-ais: evenly spaced temperatures are assumed
def annealed_log_weights(log_ratio, betas, z, move):
    log_w = 0.0
    for now in betas[1:]:
        log_w = log_w + log_ratio(z) / (len(betas) - 1)
        z = move(z, now)
    return log_w


# %% ex-ais: the mean over the chains
def annealed_log_weights(log_ratio, betas, z, move):
    log_w = 0.0
    for t in range(1, len(betas)):
        before, now = betas[t - 1], betas[t]
        log_w = log_w + (now - before) * log_ratio(z)
        z = move(z, now)
    return log_w.mean()


# %% ex-snr: the noise in the average is not taken off
def signal_to_noise(gradients):
    gradients = np.asarray(gradients)
    return np.sqrt((gradients.mean(0) ** 2).sum() / gradients.var(0, ddof=1).sum())


# %% ex-snr: the biased variance
def signal_to_noise(gradients):
    gradients = np.asarray(gradients)
    noise = gradients.var(0).sum()
    signal = (gradients.mean(0) ** 2).sum() - noise / len(gradients)
    return np.sqrt(max(signal, 0.0) / noise)


# %% ex-snr: the noise of the average
def signal_to_noise(gradients):
    gradients = np.asarray(gradients)
    noise = gradients.var(0, ddof=1).sum() / len(gradients)
    signal = (gradients.mean(0) ** 2).sum() - noise
    return np.sqrt(max(signal, 0.0) / noise)


# %% ex-snr: the mean of the entries' ratios
def signal_to_noise(gradients):
    gradients = np.asarray(gradients)
    noise = gradients.var(0, ddof=1)
    signal = np.maximum(gradients.mean(0) ** 2 - noise / len(gradients), 0.0)
    return np.sqrt(signal / noise).mean()


# %% ex-snr: a negative square gives NaN
def signal_to_noise(gradients):
    gradients = np.asarray(gradients)
    noise = gradients.var(0, ddof=1).sum()
    return np.sqrt(((gradients.mean(0) ** 2).sum() - noise / len(gradients)) / noise)


# %% ex-snr: the square of the ratio
def signal_to_noise(gradients):
    gradients = np.asarray(gradients)
    noise = gradients.var(0, ddof=1).sum()
    return max((gradients.mean(0) ** 2).sum() - noise / len(gradients), 0.0) / noise


# %% ex-gap: the differences are not paired
def closed_gap(before, after):
    before, after = np.asarray(before), np.asarray(after)

    def significant(weights):
        old, new = before @ weights, after @ weights
        error = np.sqrt((old.var(-1, ddof=1) + new.var(-1, ddof=1)) / old.shape[-1])
        return (new - old).mean(-1) > 4 * error

    rules = [[0, 0, 1], [0, 0, -1], [1, -1, 0], [0, 1, -1]]
    return np.select([significant(np.array(weights)) for weights in rules], [3, 4, 1, 2], 0)


# %% ex-gap: the gaps are looked at first
def closed_gap(before, after):
    used, best, model = np.moveaxis(np.asarray(after) - np.asarray(before), -1, 0)

    def significant(differences):
        return differences.mean(-1) > 4 * differences.std(-1, ddof=1) / np.sqrt(differences.shape[-1])

    rules = [significant(used - best), significant(best - model), significant(model), significant(-model)]
    return np.select(rules, [1, 2, 3, 4], 0)


# %% ex-gap: a fall of log p(x) is not seen
def closed_gap(before, after):
    used, best, model = np.moveaxis(np.asarray(after) - np.asarray(before), -1, 0)

    def significant(differences):
        return differences.mean(-1) > 4 * differences.std(-1, ddof=1) / np.sqrt(differences.shape[-1])

    return np.select([significant(model), significant(used - best), significant(best - model)], [3, 1, 2], 0)


# %% ex-gap: no error bar at all
def closed_gap(before, after):
    used, best, model = np.moveaxis((np.asarray(after) - np.asarray(before)).mean(1), -1, 0)
    return np.select([model > 0, model < 0, used > best, best > model], [3, 4, 1, 2], 0)


# %% ex-gap: a higher ELBO is taken for a smaller gap
def closed_gap(before, after):
    used, best, model = np.moveaxis(np.asarray(after) - np.asarray(before), -1, 0)

    def significant(differences):
        return differences.mean(-1) > 4 * differences.std(-1, ddof=1) / np.sqrt(differences.shape[-1])

    rules = [significant(model), significant(-model), significant(used), significant(best)]
    return np.select(rules, [3, 4, 1, 2], 0)


# %% ex-gap: the sign of the gaps is turned round
def closed_gap(before, after):
    used, best, model = np.moveaxis(np.asarray(after) - np.asarray(before), -1, 0)

    def significant(differences):
        return differences.mean(-1) > 4 * differences.std(-1, ddof=1) / np.sqrt(differences.shape[-1])

    rules = [significant(model), significant(-model), significant(best - used), significant(model - best)]
    return np.select(rules, [3, 4, 1, 2], 0)


# %% ex-gap: what did not change at all counts as a change
def closed_gap(before, after):
    used, best, model = np.moveaxis(np.asarray(after) - np.asarray(before), -1, 0)

    def significant(differences):
        return differences.mean(-1) >= 4 * differences.std(-1, ddof=1) / np.sqrt(differences.shape[-1])

    rules = [significant(model), significant(-model), significant(used - best), significant(best - model)]
    return np.select(rules, [3, 4, 1, 2], 0)


# %% ex-gap: always the encoder
def closed_gap(before, after):
    return np.ones(len(before), int)

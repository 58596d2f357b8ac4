# %% ex-parts: only in the order as read
def right_parts(read, asked):
    return np.asarray(read) == np.asarray(asked)


# %% ex-parts: the relation is not turned around
def right_parts(read, asked):
    read, asked = np.asarray(read), np.asarray(asked)
    other_order = np.concatenate([read[:, 4:], read[:, 3:4], read[:, :3]], axis=1)
    as_read, exchanged = read == asked, other_order == asked
    better = exchanged.sum(1) > as_read.sum(1)
    return np.where(better[:, None], exchanged, as_read)


# %% ex-parts: the better matching part by part
def right_parts(read, asked):
    read, asked = np.asarray(read), np.asarray(asked)
    turned = np.array([1, 0, 3, 2, -1])[read[:, 3:4]]
    other_order = np.concatenate([read[:, 4:], turned, read[:, :3]], axis=1)
    return (read == asked) | (other_order == asked)


# %% ex-parts: the order in which the relation is right
def right_parts(read, asked):
    read, asked = np.asarray(read), np.asarray(asked)
    turned = np.array([1, 0, 3, 2, -1])[read[:, 3:4]]
    other_order = np.concatenate([read[:, 4:], turned, read[:, :3]], axis=1)
    return np.where(read[:, 3:4] == asked[:, 3:4], read == asked, other_order == asked)


# %% ex-parts: one matching for all pictures
def right_parts(read, asked):
    read, asked = np.asarray(read), np.asarray(asked)
    turned = np.array([1, 0, 3, 2, -1])[read[:, 3:4]]
    other_order = np.concatenate([read[:, 4:], turned, read[:, :3]], axis=1)
    as_read, exchanged = read == asked, other_order == asked
    return exchanged if exchanged.sum() > as_read.sum() else as_read


# %% ex-parts: above becomes left
def right_parts(read, asked):
    read, asked = np.asarray(read), np.asarray(asked)
    turned = np.where(read[:, 3:4] < 0, -1, 3 - read[:, 3:4])
    other_order = np.concatenate([read[:, 4:], turned, read[:, :3]], axis=1)
    as_read, exchanged = read == asked, other_order == asked
    better = exchanged.sum(1) > as_read.sum(1)
    return np.where(better[:, None], exchanged, as_read)


# %% ex-bound: the KL to a standard normal
def caption_bound(x, y, noise, encode, prior, decode):
    mean, log_scale = encode(x, y)
    z = mean + jnp.exp(log_scale) * noise
    cost = normal_kl(mean, jnp.exp(log_scale), 0.0, 1.0)
    return bernoulli_log_likelihood(decode(z, y), x) - cost


# %% ex-bound: the KL the wrong way round
def caption_bound(x, y, noise, encode, prior, decode):
    mean, log_scale = encode(x, y)
    prior_mean, prior_log_scale = prior(y)
    z = mean + jnp.exp(log_scale) * noise
    cost = normal_kl(prior_mean, jnp.exp(prior_log_scale), mean, jnp.exp(log_scale))
    return bernoulli_log_likelihood(decode(z, y), x) - cost


# %% ex-bound: z is drawn from the prior
def caption_bound(x, y, noise, encode, prior, decode):
    mean, log_scale = encode(x, y)
    prior_mean, prior_log_scale = prior(y)
    z = prior_mean + jnp.exp(prior_log_scale) * noise
    cost = normal_kl(mean, jnp.exp(log_scale), prior_mean, jnp.exp(prior_log_scale))
    return bernoulli_log_likelihood(decode(z, y), x) - cost


# %% ex-bound: log-scales where scales are wanted
def caption_bound(x, y, noise, encode, prior, decode):
    mean, log_scale = encode(x, y)
    prior_mean, prior_log_scale = prior(y)
    z = mean + jnp.exp(log_scale) * noise
    return bernoulli_log_likelihood(decode(z, y), x) - normal_kl(mean, log_scale, prior_mean, prior_log_scale)


# %% ex-bound: a variance as the scale
def caption_bound(x, y, noise, encode, prior, decode):
    mean, log_scale = encode(x, y)
    prior_mean, prior_log_scale = prior(y)
    z = mean + jnp.exp(2 * log_scale) * noise
    cost = normal_kl(mean, jnp.exp(log_scale), prior_mean, jnp.exp(prior_log_scale))
    return bernoulli_log_likelihood(decode(z, y), x) - cost


# %% ex-bound: one number for all pictures
def caption_bound(x, y, noise, encode, prior, decode):
    mean, log_scale = encode(x, y)
    prior_mean, prior_log_scale = prior(y)
    z = mean + jnp.exp(log_scale) * noise
    cost = normal_kl(mean, jnp.exp(log_scale), prior_mean, jnp.exp(prior_log_scale))
    return (bernoulli_log_likelihood(decode(z, y), x) - cost).mean()


# %% ex-report: a pair is looked for at the same object only
def find_lie(train, test, right, exchanged, reported):
    train, test, right = np.asarray(train), np.asarray(test), np.asarray(right, float)
    first, second = ({tuple(pair) for pair in train[:, at : at + 2].tolist()} for at in (1, 5))
    if any(tuple(c[1:3]) in first and tuple(c[5:7]) in second for c in test.tolist()):
        return 1
    if np.mean(exchanged) > 0.5 * right.mean():
        return 2
    if abs(reported[0] - right.mean()) > 0.002:
        return 3
    means = right.mean(1)
    return 4 if reported[1] < 0.9 * means.std(ddof=1) / len(means) ** 0.5 else 0


# %% ex-report: whole captions are compared
def find_lie(train, test, right, exchanged, reported):
    right = np.asarray(right, float)
    if set(map(tuple, np.asarray(train).tolist())) & set(map(tuple, np.asarray(test).tolist())):
        return 1
    if np.mean(exchanged) > 0.5 * right.mean():
        return 2
    if abs(reported[0] - right.mean()) > 0.002:
        return 3
    means = right.mean(1)
    return 4 if reported[1] < 0.9 * means.std(ddof=1) / len(means) ** 0.5 else 0


# %% ex-report: one known pair is taken for a leak
def find_lie(train, test, right, exchanged, reported):
    train, test = np.asarray(train), np.asarray(test)
    known = {tuple(pair) for pair in np.concatenate([train[:, 1:3], train[:, 5:7]]).tolist()}
    return 1 if any({tuple(c[1:3]), tuple(c[5:7])} & known for c in test.tolist()) else 0


# %% ex-report: the pictures are taken for independent
def find_lie(train, test, right, exchanged, reported):
    train, test, right = np.asarray(train), np.asarray(test), np.asarray(right, float)
    known = {tuple(pair) for pair in np.concatenate([train[:, 1:3], train[:, 5:7]]).tolist()}
    if any({tuple(c[1:3]), tuple(c[5:7])} <= known for c in test.tolist()):
        return 1
    if np.mean(exchanged) > 0.5 * right.mean():
        return 2
    if abs(reported[0] - right.mean()) > 0.002:
        return 3
    return 4 if reported[1] < 0.9 * right.std(ddof=1) / right.size**0.5 else 0


# %% ex-report: the exchange is not looked at
def find_lie(train, test, right, exchanged, reported):
    train, test, right = np.asarray(train), np.asarray(test), np.asarray(right, float)
    known = {tuple(pair) for pair in np.concatenate([train[:, 1:3], train[:, 5:7]]).tolist()}
    if any({tuple(c[1:3]), tuple(c[5:7])} <= known for c in test.tolist()):
        return 1
    if abs(reported[0] - right.mean()) > 0.002:
        return 3
    means = right.mean(1)
    return 4 if reported[1] < 0.9 * means.std(ddof=1) / len(means) ** 0.5 else 0

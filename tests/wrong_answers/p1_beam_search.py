# %% ex-softtopk: the variance is the temperature
def soft_top_k(scores, k, temperature):
    largest, _ = jax.lax.top_k(jnp.asarray(scores), k)
    return jax.nn.softmax(-((jnp.asarray(scores) - largest[:, None]) ** 2) / (2 * temperature), axis=-1)


# %% ex-softtopk: half the temperature is taken for the scale
def soft_top_k(scores, k, temperature):
    largest, _ = jax.lax.top_k(jnp.asarray(scores), k)
    return jax.nn.softmax(-0.5 * ((jnp.asarray(scores) - largest[:, None]) / (temperature / 2)) ** 2, axis=-1)


# %% ex-softtopk: every place is told the largest score
def soft_top_k(scores, k, temperature):
    scores = jnp.asarray(scores)
    row = jax.nn.softmax(-((scores - scores.max()) ** 2) / temperature)
    return jnp.tile(row, (k, 1))


# %% ex-softtopk: the smallest scores
def soft_top_k(scores, k, temperature):
    scores = jnp.asarray(scores)
    return jax.nn.softmax(-((scores - jnp.sort(scores)[:k, None]) ** 2) / temperature, axis=-1)


# %% ex-softtopk: an ordinary softmax in every row
def soft_top_k(scores, k, temperature):
    return jnp.tile(jax.nn.softmax(jnp.asarray(scores) / temperature), (k, 1))


# %% ex-softtopk: normalised over the places
def soft_top_k(scores, k, temperature):
    largest, _ = jax.lax.top_k(jnp.asarray(scores), k)
    return jax.nn.softmax(-((jnp.asarray(scores) - largest[:, None]) ** 2) / temperature, axis=0)


# %% ex-softtopk: the hard choice
def soft_top_k(scores, k, temperature):
    return jax.nn.one_hot(jax.lax.top_k(jnp.asarray(scores), k)[1], len(scores))


# %% ex-traceback: the back-pointers are not followed
def soft_traceback(choices, last):
    return jnp.einsum("m,tmkv->tv", jnp.asarray(last), jnp.asarray(choices))


# %% ex-traceback: the back-pointers lead the wrong way
def soft_traceback(choices, last):
    found, place = [], jnp.asarray(last)
    for choice in choices[::-1]:
        found.append(place @ choice.sum(1))
        place = choice.sum(2) @ place
    return jnp.stack(found[::-1])


# %% ex-traceback: the last step comes out first
def soft_traceback(choices, last):
    found, place = [], jnp.asarray(last)
    for choice in choices[::-1]:
        read = (place[:, None, None] * choice).sum(0)
        found.append(read.sum(0))
        place = read.sum(1)
    return jnp.stack(found)


# %% ex-traceback: read from the first step on
def soft_traceback(choices, last):
    found, place = [], jnp.asarray(last)
    for choice in choices:
        read = (place[:, None, None] * choice).sum(0)
        found.append(read.sum(0))
        place = read.sum(1)
    return jnp.stack(found)


# %% ex-traceback: only the best place counts
def soft_traceback(choices, last):
    found, place = [], jax.nn.one_hot(jnp.argmax(jnp.asarray(last)), len(last))
    for choice in choices[::-1]:
        read = (place[:, None, None] * choice).sum(0)
        found.append(read.sum(0))
        place = read.sum(1)
    return jnp.stack(found[::-1])


# %% ex-verdict: the sequences are pooled
def verdict(first, second):
    gain = np.asarray(first) - np.asarray(second)
    gain = gain.reshape(len(gain), -1)
    error = gain.std(-1, ddof=1) / np.sqrt(gain.shape[-1])
    return np.where(np.abs(gain.mean(-1)) > 3 * error, np.sign(gain.mean(-1)), 0)


# %% ex-verdict: the seeds are not paired
def verdict(first, second):
    first, second = np.asarray(first).mean(-1), np.asarray(second).mean(-1)
    gain = first.mean(-1) - second.mean(-1)
    error = np.sqrt((first.var(-1, ddof=1) + second.var(-1, ddof=1)) / first.shape[-1])
    return np.where(np.abs(gain) > 3 * error, np.sign(gain), 0)


# %% ex-verdict: the sign is turned around
def verdict(first, second):
    gain = (np.asarray(second) - np.asarray(first)).mean(-1)
    error = gain.std(-1, ddof=1) / np.sqrt(gain.shape[-1])
    return np.where(np.abs(gain.mean(-1)) > 3 * error, np.sign(gain.mean(-1)), 0)


# %% ex-verdict: three standard deviations
def verdict(first, second):
    gain = (np.asarray(first) - np.asarray(second)).mean(-1)
    return np.where(np.abs(gain.mean(-1)) > 3 * gain.std(-1, ddof=1), np.sign(gain.mean(-1)), 0)


# %% ex-verdict: the variance is divided by n
def verdict(first, second):
    gain = (np.asarray(first) - np.asarray(second)).mean(-1)
    error = gain.std(-1) / np.sqrt(gain.shape[-1])
    return np.where(np.abs(gain.mean(-1)) > 3 * error, np.sign(gain.mean(-1)), 0)


# %% ex-verdict: no error bar
def verdict(first, second):
    return np.sign((np.asarray(first) - np.asarray(second)).mean((-1, -2)))

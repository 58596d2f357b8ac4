# %% ex-smooth: the ordinary maximum
def smooth_max(values, temperature):
    return values.max(0)


# %% ex-smooth: the temperature in front is missing
def smooth_max(values, temperature):
    return jax.nn.logsumexp(values / temperature, axis=0)


# %% ex-smooth: the values are not divided by the temperature
def smooth_max(values, temperature):
    return temperature * jax.nn.logsumexp(values, axis=0)


# %% ex-smooth: the expectation without the entropy
def smooth_max(values, temperature):
    return (jax.nn.softmax(values / temperature, axis=0) * values).sum(0)


# %% ex-smooth: the logarithm of the mean
def smooth_max(values, temperature):
    return temperature * (jax.nn.logsumexp(values / temperature, axis=0) - jnp.log(len(values)))


# %% ex-smooth: it overflows
def smooth_max(values, temperature):
    return temperature * jnp.log(jnp.exp(values / temperature).sum(0))


# %% ex-smooth: the gradient of the entropy is not a number
def smooth_max(values, temperature):
    q = jax.nn.softmax(values / temperature, axis=0)
    return (q * values).sum(0) + temperature * jax.scipy.special.entr(q).sum(0)


# %% ex-smooth: along the last axis
def smooth_max(values, temperature):
    return temperature * jax.nn.logsumexp(values / temperature, axis=-1)


# %% ex-smooth: for three entries alone
def smooth_max(values, temperature):
    a, b, c = values
    return temperature * jnp.logaddexp(jnp.logaddexp(a / temperature, b / temperature), c / temperature)


# %% ex-expected: the gradient is divided by a temperature
def expected_alignment(value, scores):
    matches = 2 * jax.grad(value)(scores)
    with_gaps = jnp.append(matches, 1 - matches.sum(1, keepdims=True), axis=1)
    return jnp.append(with_gaps, jnp.append(1 - matches.sum(0), 0.0)[None], axis=0)


# %% ex-expected: the gradient times the scores
def expected_alignment(value, scores):
    matches = jax.grad(value)(scores) * scores
    with_gaps = jnp.append(matches, 1 - matches.sum(1, keepdims=True), axis=1)
    return jnp.append(with_gaps, jnp.append(1 - matches.sum(0), 0.0)[None], axis=0)


# %% ex-expected: the probability of a match in place of that of a gap
def expected_alignment(value, scores):
    matches = jax.grad(value)(scores)
    with_matches = jnp.append(matches, matches.sum(1, keepdims=True), axis=1)
    return jnp.append(with_matches, jnp.append(matches.sum(0), 0.0)[None], axis=0)


# %% ex-expected: the corner is one minus the rest
def expected_alignment(value, scores):
    matches = jax.grad(value)(scores)
    with_gaps = jnp.append(matches, 1 - matches.sum(1, keepdims=True), axis=1)
    return jnp.append(with_gaps, 1 - with_gaps.sum(0, keepdims=True), axis=0)


# %% ex-expected: a softmax over each row
def expected_alignment(value, scores):
    matches = jax.nn.softmax(scores, axis=1)
    with_gaps = jnp.append(matches, 1 - matches.sum(1, keepdims=True), axis=1)
    return jnp.append(with_gaps, jnp.append(1 - matches.sum(0), 0.0)[None], axis=0)


# %% ex-expected: the best cells alone
def expected_alignment(value, scores):
    matches = jnp.round(jax.grad(value)(scores))
    with_gaps = jnp.append(matches, 1 - matches.sum(1, keepdims=True), axis=1)
    return jnp.append(with_gaps, jnp.append(1 - matches.sum(0), 0.0)[None], axis=0)


# %% ex-lie: the letters of x alone
def find_lie(temperature, best, value, log_count, matches):
    if np.asarray(matches).sum(1).max() > 1.01:
        return 1
    if value < best - 0.01:
        return 2
    if value > best + temperature * log_count + 0.01:
        return 3
    for i, j in np.ndindex(*matches.shape):
        crossing = matches[i + 1 :, :j]
        if crossing.size and matches[i, j] + crossing.max() > 1.01:
            return 4
    return 0


# %% ex-lie: the entropy does not know the temperature
def find_lie(temperature, best, value, log_count, matches):
    if max(matches.sum(0).max(), matches.sum(1).max()) > 1.01:
        return 1
    if value < best - 0.01:
        return 2
    if value > best + log_count + 0.01:
        return 3
    for i, j in np.ndindex(*matches.shape):
        crossing = matches[i + 1 :, :j]
        if crossing.size and matches[i, j] + crossing.max() > 1.01:
            return 4
    return 0


# %% ex-lie: the wrong cells exclude each other
def find_lie(temperature, best, value, log_count, matches):
    if max(matches.sum(0).max(), matches.sum(1).max()) > 1.01:
        return 1
    if value < best - 0.01:
        return 2
    if value > best + temperature * log_count + 0.01:
        return 3
    for i, j in np.ndindex(*matches.shape):
        later = matches[i + 1 :, j + 1 :]
        if later.size and matches[i, j] + later.max() > 1.01:
            return 4
    return 0


# %% ex-lie: cells that cross are not looked for
def find_lie(temperature, best, value, log_count, matches):
    if max(matches.sum(0).max(), matches.sum(1).max()) > 1.01:
        return 1
    if value < best - 0.01:
        return 2
    return 3 if value > best + temperature * log_count + 0.01 else 0


# %% ex-lie: the value is thought to lie below the best score
def find_lie(temperature, best, value, log_count, matches):
    if max(matches.sum(0).max(), matches.sum(1).max()) > 1.01:
        return 1
    if value > best + 0.01:
        return 3
    for i, j in np.ndindex(*matches.shape):
        crossing = matches[i + 1 :, :j]
        if crossing.size and matches[i, j] + crossing.max() > 1.01:
            return 4
    return 0


# %% ex-lie: any probability that is not zero counts
def find_lie(temperature, best, value, log_count, matches):
    if max(matches.sum(0).max(), matches.sum(1).max()) > 1.01:
        return 1
    if value < best - 0.01:
        return 2
    if value > best + temperature * log_count + 0.01:
        return 3
    for i, j in np.ndindex(*matches.shape):
        crossing = matches[i + 1 :, :j]
        if crossing.size and matches[i, j] > 0.01 and crossing.max() > 0.01:
            return 4
    return 0

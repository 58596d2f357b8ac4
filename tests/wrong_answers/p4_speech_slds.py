# %% ex-eliminate: the factor 2π is forgotten
def eliminate(precision, shift, new, cross, old, h_new, h_old):
    total, pull = precision + old, shift + h_old
    constant = 0.5 * (pull**2 / total - jnp.log(total))
    return new - cross**2 / total, h_new - cross * pull / total, constant.sum()


# %% ex-eliminate: the message's own pull alone
def eliminate(precision, shift, new, cross, old, h_new, h_old):
    total = precision + old
    constant = 0.5 * (shift**2 / total - jnp.log(total) + jnp.log(2 * jnp.pi))
    return new - cross**2 / total, h_new - cross * shift / total, constant.sum()


# %% ex-eliminate: the sign of the cross term
def eliminate(precision, shift, new, cross, old, h_new, h_old):
    total, pull = precision + old, shift + h_old
    constant = 0.5 * (pull**2 / total - jnp.log(total) + jnp.log(2 * jnp.pi))
    return new - cross**2 / total, h_new + cross * pull / total, constant.sum()


# %% ex-eliminate: the step's own part in z is left out
def eliminate(precision, shift, new, cross, old, h_new, h_old):
    constant = 0.5 * (shift**2 / precision - jnp.log(precision) + jnp.log(2 * jnp.pi))
    return new - cross**2 / precision, h_new - cross * shift / precision, constant.sum()


# %% ex-eliminate: one constant for each dimension
def eliminate(precision, shift, new, cross, old, h_new, h_old):
    total, pull = precision + old, shift + h_old
    constant = 0.5 * (pull**2 / total - jnp.log(total) + jnp.log(2 * jnp.pi))
    return new - cross**2 / total, h_new - cross * pull / total, constant


# %% ex-scores: the density at the means
def expected_log_step(old, new, covariance, a, c, log_precision):
    error = new[0][:, None] - a * old[0][:, None] - c
    return 0.5 * (log_precision - jnp.log(2 * jnp.pi) - jnp.exp(log_precision) * error**2).sum(-1)


# %% ex-scores: z and z' are taken to be independent
def expected_log_step(old, new, covariance, a, c, log_precision):
    error = new[0][:, None] - a * old[0][:, None] - c
    spread = new[1][:, None] + a**2 * old[1][:, None]
    return 0.5 * (log_precision - jnp.log(2 * jnp.pi) - jnp.exp(log_precision) * (error**2 + spread)).sum(-1)


# %% ex-scores: the precision is taken for a variance
def expected_log_step(old, new, covariance, a, c, log_precision):
    error = new[0][:, None] - a * old[0][:, None] - c
    spread = new[1][:, None] + a**2 * old[1][:, None] - 2 * a * covariance[:, None]
    return -0.5 * (log_precision + jnp.log(2 * jnp.pi) + jnp.exp(-log_precision) * (error**2 + spread)).sum(-1)


# %% ex-scores: the normalising constant is forgotten
def expected_log_step(old, new, covariance, a, c, log_precision):
    error = new[0][:, None] - a * old[0][:, None] - c
    spread = new[1][:, None] + a**2 * old[1][:, None] - 2 * a * covariance[:, None]
    return -0.5 * (jnp.exp(log_precision) * (error**2 + spread)).sum(-1)


# %% ex-scores: the mean over dimensions
def expected_log_step(old, new, covariance, a, c, log_precision):
    error = new[0][:, None] - a * old[0][:, None] - c
    spread = new[1][:, None] + a**2 * old[1][:, None] - 2 * a * covariance[:, None]
    return 0.5 * (log_precision - jnp.log(2 * jnp.pi) - jnp.exp(log_precision) * (error**2 + spread)).mean(-1)


# %% ex-boundaries: the generous score
def hits(found, true, tolerance):
    return sum(any(abs(f - t) <= tolerance for f in found) for t in true)


# %% ex-boundaries: each found boundary takes the nearest true one
def hits(found, true, tolerance):
    true, pairs = list(true), 0
    for f in found:
        nearest = min(true, key=lambda t: abs(f - t), default=10**9)
        if abs(f - nearest) <= tolerance:
            pairs += 1
            true.remove(nearest)
        else:
            true = true[1:]
    return pairs


# %% ex-boundaries: found boundaries are counted, and true ones used twice
def hits(found, true, tolerance):
    return sum(any(abs(f - t) <= tolerance for t in true) for f in found)


# %% ex-boundaries: a distance of exactly the tolerance does not count
def hits(found, true, tolerance):
    pairs = i = j = 0
    while i < len(found) and j < len(true):
        if abs(found[i] - true[j]) < tolerance:
            pairs, i, j = pairs + 1, i + 1, j + 1
        elif found[i] < true[j]:
            i += 1
        else:
            j += 1
    return pairs


# %% ex-boundaries: both fingers move on where nothing fits
def hits(found, true, tolerance):
    return sum(abs(f - t) <= tolerance for f, t in zip(found, true))

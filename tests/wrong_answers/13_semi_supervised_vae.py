# %% ex-labelled: the label costs nothing
def labelled_bound(x, y, noise, encode, decode):
    mean, log_scale = encode(x, y)
    fits = normal_log_density(x, *decode(mean + jnp.exp(log_scale) * noise, y))
    return fits - normal_kl(mean, jnp.exp(log_scale), jnp.zeros_like(mean), jnp.ones_like(mean))


# %% ex-labelled: the label pays
def labelled_bound(x, y, noise, encode, decode):
    mean, log_scale = encode(x, y)
    fits = normal_log_density(x, *decode(mean + jnp.exp(log_scale) * noise, y))
    return fits + jnp.log(10.0) - normal_kl(mean, jnp.exp(log_scale), jnp.zeros_like(mean), jnp.ones_like(mean))


# %% ex-labelled: no KL
def labelled_bound(x, y, noise, encode, decode):
    mean, log_scale = encode(x, y)
    return normal_log_density(x, *decode(mean + jnp.exp(log_scale) * noise, y)) - jnp.log(10.0)


# %% ex-labelled: the KL is added
def labelled_bound(x, y, noise, encode, decode):
    mean, log_scale = encode(x, y)
    fits = normal_log_density(x, *decode(mean + jnp.exp(log_scale) * noise, y))
    return fits - jnp.log(10.0) + normal_kl(mean, jnp.exp(log_scale), jnp.zeros_like(mean), jnp.ones_like(mean))


# %% ex-labelled: the mean is decoded
def labelled_bound(x, y, noise, encode, decode):
    mean, log_scale = encode(x, y)
    fits = normal_log_density(x, *decode(mean, y))
    return fits - jnp.log(10.0) - normal_kl(mean, jnp.exp(log_scale), jnp.zeros_like(mean), jnp.ones_like(mean))


# %% ex-labelled: a log-scale is taken for a scale
def labelled_bound(x, y, noise, encode, decode):
    mean, log_scale = encode(x, y)
    fits = normal_log_density(x, *decode(mean + log_scale * noise, y))
    return fits - jnp.log(10.0) - normal_kl(mean, jnp.exp(log_scale), jnp.zeros_like(mean), jnp.ones_like(mean))


# %% ex-labelled: the density gets the scale, not its log
def labelled_bound(x, y, noise, encode, decode):
    mean, log_scale = encode(x, y)
    center, log_sigma = decode(mean + jnp.exp(log_scale) * noise, y)
    fits = normal_log_density(x, center, jnp.exp(log_sigma))
    return fits - jnp.log(10.0) - normal_kl(mean, jnp.exp(log_scale), jnp.zeros_like(mean), jnp.ones_like(mean))


# %% ex-labelled: the KL gets the log-scale, not the scale
def labelled_bound(x, y, noise, encode, decode):
    mean, log_scale = encode(x, y)
    fits = normal_log_density(x, *decode(mean + jnp.exp(log_scale) * noise, y))
    return fits - jnp.log(10.0) - normal_kl(mean, log_scale, jnp.zeros_like(mean), jnp.ones_like(mean))


# %% ex-labelled: the mean over the datapoints
def labelled_bound(x, y, noise, encode, decode):
    mean, log_scale = encode(x, y)
    fits = normal_log_density(x, *decode(mean + jnp.exp(log_scale) * noise, y))
    cost = normal_kl(mean, jnp.exp(log_scale), jnp.zeros_like(mean), jnp.ones_like(mean))
    return (fits - jnp.log(10.0) - cost).mean()


# %% ex-unlabelled: no entropy
def unlabelled_bound(bounds, logits):
    return (jax.nn.softmax(logits, axis=0) * bounds).sum(0)


# %% ex-unlabelled: the entropy is subtracted
def unlabelled_bound(bounds, logits):
    log_q = jax.nn.log_softmax(logits, axis=0)
    return (jnp.exp(log_q) * (bounds + log_q)).sum(0)


# %% ex-unlabelled: all digits alike
def unlabelled_bound(bounds, logits):
    return bounds.mean(0)


# %% ex-unlabelled: the best digit alone
def unlabelled_bound(bounds, logits):
    return bounds.max(0)


# %% ex-unlabelled: the logarithm of the sum
def unlabelled_bound(bounds, logits):
    return jax.scipy.special.logsumexp(bounds, axis=0)


# %% ex-unlabelled: log p(y) once more
def unlabelled_bound(bounds, logits):
    log_q = jax.nn.log_softmax(logits, axis=0)
    return (jnp.exp(log_q) * (bounds - jnp.log(10.0) - log_q)).sum(0)


# %% ex-unlabelled: the logits are not normalised
def unlabelled_bound(bounds, logits):
    return (jnp.exp(logits) * (bounds - logits)).sum(0)


# %% ex-unlabelled: 0 log 0
def unlabelled_bound(bounds, logits):
    q = jax.nn.softmax(logits, axis=0)
    return (q * (bounds - jnp.log(q))).sum(0)


# %% ex-unlabelled: the softmax over the datapoints
def unlabelled_bound(bounds, logits):
    log_q = jax.nn.log_softmax(logits, axis=1)
    return (jnp.exp(log_q) * (bounds - log_q)).sum(0)


# %% ex-unlabelled: no gradient reaches the classifier
def unlabelled_bound(bounds, logits):
    log_q = jax.lax.stop_gradient(jax.nn.log_softmax(logits, axis=0))
    return (jnp.exp(log_q) * (bounds - log_q)).sum(0)


# %% ex-clinic: all are right
def diagnose_labels(columns):
    return 0


# %% ex-clinic: the errors alone
def diagnose_labels(columns):
    return 4 if np.asarray(columns)[-8:, 3].mean() > 0.5 else 0


# %% ex-restyle: the style is found with the new digit
def restyle(x, y, digits, encode, decode):
    return jnp.stack([decode(encode(x, jnp.broadcast_to(d, y.shape))[0], d)[0] for d in digits])


# %% ex-restyle: no digit for the encoder
def restyle(x, y, digits, encode, decode):
    return decode(encode(x, jnp.zeros_like(y))[0], digits[:, None])[0]


# %% ex-restyle: no axis for the codes
def restyle(x, y, digits, encode, decode):
    return decode(encode(x, y)[0], digits)[0]


# %% ex-restyle: the mean of the prior
def restyle(x, y, digits, encode, decode):
    return decode(jnp.zeros_like(encode(x, y)[0]), digits[:, None])[0]


# %% ex-restyle: the axes are exchanged
def restyle(x, y, digits, encode, decode):
    return jnp.swapaxes(decode(encode(x, y)[0], digits[:, None])[0], 0, 1)


# %% ex-restyle: each as its own digit
def restyle(x, y, digits, encode, decode):
    return jnp.stack([decode(encode(x, y)[0], y)[0] for _ in digits])

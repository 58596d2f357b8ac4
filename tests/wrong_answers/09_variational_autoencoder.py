# %% ex-bernoulli: mean over pixels
def bernoulli_log_likelihood(logits, x):
    return (x * logits - jax.nn.softplus(logits)).mean(-1)


# %% ex-bernoulli: sigmoid first, then the logarithm, which overflows
def bernoulli_log_likelihood(logits, x):
    probability = jax.nn.sigmoid(logits)
    return (x * jnp.log(probability) + (1 - x) * jnp.log(1 - probability)).sum(-1)


# %% ex-bernoulli: a small number against the log of zero, which bounds the penalty
def bernoulli_log_likelihood(logits, x):
    probability = jnp.clip(jax.nn.sigmoid(logits), 1e-6, 1 - 1e-6)
    return (x * jnp.log(probability) + (1 - x) * jnp.log(1 - probability)).sum(-1)


# %% ex-bernoulli: the loss instead of the log-likelihood
def bernoulli_log_likelihood(logits, x):
    return (jax.nn.softplus(logits) - x * logits).sum(-1)


# %% ex-gaussian-kl: missing one half
def kl_to_standard_normal(mean, log_scale):
    return (mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale).sum(-1)


# %% ex-gaussian-kl: swapped, KL of the prior from q
def kl_to_standard_normal(mean, log_scale):
    return 0.5 * ((1 + mean**2) * jnp.exp(-2 * log_scale) - 1 + 2 * log_scale).sum(-1)


# %% ex-gaussian-kl: the scale where the variance belongs
def kl_to_standard_normal(mean, log_scale):
    return 0.5 * (mean**2 + jnp.exp(log_scale) - 1 - 2 * log_scale).sum(-1)


# %% ex-gaussian-kl: log_scale taken for the log-variance
def kl_to_standard_normal(mean, log_scale):
    return 0.5 * (mean**2 + jnp.exp(log_scale) - 1 - log_scale).sum(-1)


# %% ex-one-sample-elbo: reconstruction averaged over pixels
def one_sample_elbo(x, mean, log_scale, noise, decoder):
    logits = decoder(mean + jnp.exp(log_scale) * noise)
    kl = 0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale).sum(-1)
    return (x * logits - jax.nn.softplus(logits)).mean(-1) - kl


# %% ex-one-sample-elbo: a variance where the scale belongs
def one_sample_elbo(x, mean, log_scale, noise, decoder):
    logits = decoder(mean + jnp.exp(2 * log_scale) * noise)
    kl = 0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale).sum(-1)
    return (x * logits - jax.nn.softplus(logits)).sum(-1) - kl


# %% ex-one-sample-elbo: KL added instead of taken away
def one_sample_elbo(x, mean, log_scale, noise, decoder):
    logits = decoder(mean + jnp.exp(log_scale) * noise)
    kl = 0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale).sum(-1)
    return (x * logits - jax.nn.softplus(logits)).sum(-1) + kl


# %% ex-one-sample-elbo: the draw carries no gradient to the encoder
def one_sample_elbo(x, mean, log_scale, noise, decoder):
    z = mean + jnp.exp(log_scale) * noise
    logits = decoder(jax.lax.stop_gradient(z))
    kl = 0.5 * (mean**2 + jnp.exp(2 * log_scale) - 1 - 2 * log_scale).sum(-1)
    return (x * logits - jax.nn.softplus(logits)).sum(-1) - kl


# %% ex-importance-sampling: K outside the logarithm
def importance_sampled_log_likelihood(log_joint, log_q):
    return jax.nn.logsumexp(log_joint - log_q, axis=0) / log_joint.shape[0]


# %% ex-importance-sampling: mean of the logarithms, the ELBO
def importance_sampled_log_likelihood(log_joint, log_q):
    return (log_joint - log_q).mean(0)


# %% ex-importance-sampling: sum instead of mean
def importance_sampled_log_likelihood(log_joint, log_q):
    return jax.nn.logsumexp(log_joint - log_q, axis=0)


# %% ex-importance-sampling: exponentials that underflow
def importance_sampled_log_likelihood(log_joint, log_q):
    return jnp.log(jnp.exp(log_joint - log_q).mean(0))

# %% ex-gaussian-kl: the constant is that of three dimensions, whatever their number
def kl_to_standard_normal(mean, log_scale):
    """Return KL[N(mean, exp(log_scale)^2) || N(0, 1)] in nats: [..., latent], [..., latent] -> [...]."""
    return 0.5 * (mean**2 + jnp.exp(2 * log_scale) - 2.0 * log_scale).sum(-1) - 1.5

# %% ex-importance-sampling: one maximum for all images
def importance_sampled_log_likelihood(log_joint, log_q):
    """Return the estimate of log p(x) in nats: [K, batch], [K, batch] -> [batch]."""
    log_weights = log_joint - log_q
    largest = log_weights.max()
    return largest + jnp.log(jnp.exp(log_weights - largest).mean(0))

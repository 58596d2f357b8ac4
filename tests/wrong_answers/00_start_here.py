# %% ex-nats-to-bits: multiplied instead of divided
def nats_to_bits(nats):
    return nats * jnp.log(2.0)


# %% ex-nats-to-bits: nothing converted
def nats_to_bits(nats):
    return nats


# %% ex-nats-to-bits: base 10
def nats_to_bits(nats):
    return nats / jnp.log(10.0)


# %% ex-nats-to-bits: by way of the probability, which underflows
def nats_to_bits(nats):
    return jnp.log2(jnp.exp(nats))

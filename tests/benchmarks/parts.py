"""What each part of a training step costs: the same loop with one part left out, or done in another way.

The model and the loop are those of ``tests.benchmarks.training``. Each variant is compiled once; then some epochs
of each are timed in turn, so that all meet the same weather. On a GPU there is also a list of what ran on it.
"""

import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from course_utils import data
from course_utils.models import VAE
from tests.benchmarks.training import HIDDEN, LATENT, NUM_DATA, compared, fit_epochs

# What differs from the loop of ``fit``; the first entry is that loop.
VARIANTS = {
    "the loop of fit": {},
    "no shuffle": {"shuffle": False},
    "no shuffle, batch sliced, not gathered": {"shuffle": False, "gather": False},
    "no random bits for the pixels": {"pixels": "none"},
    "no random bits at all": {"pixels": "none", "noise": False},
    "no likelihood": {"likelihood": False},
    "SGD in place of Adam": {"optimizer": optax.sgd},
    "all of these but the likelihood": {
        "shuffle": False, "gather": False, "pixels": "none", "noise": False, "optimizer": optax.sgd,
    },
    "8 random bits a pixel": {"pixels": "8 bits"},
    "a number of steps that the compiler knows": {"known": True},
}  # fmt: skip


def drawn(key, images, how):
    if how == "none":
        return images.astype(jnp.float32)
    if how == "8 bits":
        words = jax.random.bits(key, (images.size // 4,), jnp.uint32)
        byte = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(images.shape)
        return ((byte < images) | ((byte == images) & (jnp.roll(byte, 1, -1) < images))).astype(jnp.float32)
    return data.binarize(key, images)


def make(batch_size, images, *, shuffle=True, gather=True, pixels="16 bits", noise=True, likelihood=True,
         optimizer=optax.adam, known=False):  # fmt: skip
    """Return a function that takes as many epochs as it is told, compiled."""
    key, optimizer = jax.random.key(0), optimizer(1e-3)
    graphdef, params = nnx.split(VAE(LATENT, hidden=(HIDDEN,), activation=nnx.relu, rngs=nnx.Rngs(0)))
    steps = NUM_DATA // batch_size
    if pixels == "none":
        images = np.asarray(images > 127, np.uint8)

    def loss(params, x, key):
        pixel_key, noise_key = jax.random.split(key)
        vae = nnx.merge(graphdef, params)
        x = drawn(pixel_key, x, pixels)
        q = vae.encode(x)
        z = q.sample(noise_key, 1)[0] if noise else q.mean + 0.3 * q.scale
        reconstruction = vae.log_likelihood(x, z) if likelihood else (vae.decoder(z) * 1e-3).sum(-1)
        return -(reconstruction - q.kl(vae.prior)).mean()

    def take_step(images, order, t, carry):
        params, state, trace = carry
        position = t % steps * batch_size
        if gather:
            batch = images[jax.lax.dynamic_slice(order, (position,), (batch_size,))]
        else:
            batch = jax.lax.dynamic_slice_in_dim(images, position, batch_size)
        value, gradient = jax.value_and_grad(loss)(params, batch, jax.random.fold_in(key, t))
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, trace.at[t].set(value)

    def epoch(images, until, number, carry):
        order = jnp.arange(NUM_DATA)
        if shuffle:
            order = jax.random.permutation(jax.random.fold_in(key, number), NUM_DATA).astype(jnp.int32)
        start = number * steps
        if known:
            return jax.lax.fori_loop(0, steps, lambda n, c: take_step(images, order, start + n, c), carry)
        return jax.lax.fori_loop(start, jnp.minimum(until, start + steps), partial(take_step, images, order), carry)

    def epochs(images, count, carry):
        return jax.lax.fori_loop(0, count, partial(epoch, images, count * steps), carry)

    carry = jax.device_put((params, optimizer.init(params), jnp.zeros(64 * steps)))
    images = jax.device_put(images)
    compiled = jax.jit(epochs).lower(images, jnp.int32(1), carry).compile()
    return lambda count: jax.block_until_ready(compiled(images, jnp.int32(count), carry))


def table(batch_size, count, rounds=7):
    """Print seconds an epoch of each variant, and its ratio to the loop of ``fit`` in the same round."""
    images = data.load_mnist()[0].reshape(NUM_DATA, 784)
    epochs_of_fit = fit_epochs(batch_size, count)
    next(epochs_of_fit)
    runs = {name: make(batch_size, images, **variant) for name, variant in VARIANTS.items()}
    for run in runs.values():
        run(1)
    taken = {"fit": [], **{name: [] for name in runs}}
    for _ in range(rounds):
        taken["fit"].append(next(epochs_of_fit))
        for name, run in runs.items():
            start = time.perf_counter()
            run(count)
            taken[name].append((time.perf_counter() - start) / count)
    print(f"batch {batch_size}, {count} epochs at a time, {rounds} rounds")
    for name, (seconds, ratio) in compared(taken, to="the loop of fit").items():
        print(f"{name:45s} {seconds:9.5f} s  {ratio:5.2f}", flush=True)


def kernels(batch_size, count):
    """Print what ran on the GPU in a run of ``fit``, in microseconds a step."""
    epochs_of_fit = fit_epochs(batch_size, count)
    next(epochs_of_fit)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            next(epochs_of_fit)
        (path,) = Path(folder).rglob("*.xplane.pb")
        planes = jax.profiler.ProfileData.from_file(str(path)).planes
        total, number, busy = Counter(), Counter(), 0.0
        for plane in planes:
            if "GPU" not in plane.name:
                continue
            for line in plane.lines:
                if not line.name.startswith("Stream"):
                    continue
                for event in line.events:
                    total[event.name] += event.duration_ns
                    number[event.name] += 1
                    busy += event.duration_ns
    steps = count * (NUM_DATA // batch_size)
    print(f"batch {batch_size}: the GPU is busy for {busy / steps / 1e3:.1f} us a step", flush=True)
    for name, nanoseconds in total.most_common(45):
        print(f"{nanoseconds / steps / 1e3:9.2f} us {number[name] / steps:6.2f} x  {name[:110]}", flush=True)


if __name__ == "__main__":
    print(jax.__version__, jax.devices(), flush=True)
    for batch_size in map(int, sys.argv[1:]):
        if jax.default_backend() == "gpu":
            kernels(batch_size, 20)
        table(batch_size, 20 if jax.default_backend() == "gpu" else 1)

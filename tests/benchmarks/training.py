"""Seconds per epoch of ``fit`` against its peers, on the same VAE and the same 60,000 images.

The model is the one most libraries show: 784-400-(20)-400-784, ReLU, Bernoulli pixels, Adam. Every peer binarises each
batch anew, shuffles each epoch, and lives in a process of its own; one epoch of each is timed in turn, round after
round, so that all meet the same weather. The floor is the matrix products of the network alone.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np

NUM_DATA, HIDDEN, LATENT, LEARNING_RATE = 60_000, 400, 20, 1e-3
SVI_STEPS, SVI_SAMPLES = 1000, 10


def fit_epochs(batch_size: int) -> Iterator[float]:
    """``course_utils.training.fit``; the time is that of its loop, without compilation."""
    import jax
    import optax

    from course_utils.training import fit

    model, images, objective = _jax_vae()
    optimizer = optax.adam(LEARNING_RATE)
    steps = NUM_DATA // batch_size
    while True:
        _, history = fit(
            objective, model, optimizer, key=jax.random.key(0), num_steps=steps, data=images, batch_size=batch_size
        )
        yield history.seconds


def fit_with_progress_epochs(batch_size: int) -> Iterator[float]:
    """The same with a progress bar, over three epochs, so that it is drawn a few times."""
    import os
    import sys

    import jax
    import optax

    from course_utils.training import fit

    sys.stderr = open(os.devnull, "w")
    model, images, objective = _jax_vae()
    optimizer = optax.adam(LEARNING_RATE)
    steps = 3 * (NUM_DATA // batch_size)
    while True:
        _, history = fit(
            objective, model, optimizer, key=jax.random.key(0), num_steps=steps, data=images, batch_size=batch_size,
            progress=True,
        )  # fmt: skip
        yield history.seconds / 3


def jitted_step_epochs(batch_size: int) -> Iterator[float]:
    """The usual Flax loop: ``nnx.jit`` around a step, called from Python once a batch."""
    import jax
    import optax
    from flax import nnx

    model, images, objective = _jax_vae()
    optimizer = nnx.Optimizer(model, optax.adam(LEARNING_RATE), wrt=nnx.Param)
    images = jax.device_put(images)

    @nnx.jit(donate_argnums=(0, 1))
    def step(model, optimizer, batch, key):
        loss, gradient = nnx.value_and_grad(lambda model: -objective(model, batch, key))(model)
        optimizer.update(model, gradient)
        return loss

    random = np.random.default_rng(0)
    key = jax.random.key(0)
    while True:
        start = time.perf_counter()
        order = random.permutation(NUM_DATA)
        for first in range(0, NUM_DATA - batch_size + 1, batch_size):
            key, step_key = jax.random.split(key)
            loss = step(model, optimizer, images[order[first : first + batch_size]], step_key)
        loss.block_until_ready()
        yield time.perf_counter() - start


def floor_epochs(batch_size: int) -> Iterator[float]:
    """The matrix products of forward and backward pass alone, in one compiled loop."""
    import jax
    import jax.numpy as jnp

    shapes = [(784, HIDDEN), (HIDDEN, 2 * LATENT), (LATENT, HIDDEN), (HIDDEN, 784)]
    weights = [jax.random.normal(jax.random.key(n), shape) / 30 for n, shape in enumerate(shapes)]
    x = jax.random.normal(jax.random.key(9), (batch_size, 784))

    @jax.jit
    def run(weights):
        def step(weights, _):
            w1, w2, w3, w4 = weights
            h1 = x @ w1
            h2 = h1 @ w2
            z = h2[:, :LATENT]
            h3 = z @ w3
            logits = h3 @ w4
            gradient4 = h3.T @ logits
            d3 = logits @ w4.T
            gradient3 = z.T @ d3
            d2 = jnp.concatenate([d3 @ w3.T] * 2, axis=1)
            gradient2 = h1.T @ d2
            gradient1 = x.T @ (d2 @ w2.T)
            gradients = [gradient1, gradient2, gradient3, gradient4]
            return [w + 1e-20 * g for w, g in zip(weights, gradients, strict=True)], None

        return jax.lax.scan(step, weights, length=NUM_DATA // batch_size)[0]

    jax.block_until_ready(run(weights))
    while True:
        start = time.perf_counter()
        jax.block_until_ready(run(weights))
        yield time.perf_counter() - start


def torch_epochs(batch_size: int, *, fused: bool = False, loader: bool = False) -> Iterator[float]:
    """An ordinary PyTorch loop; ``fused`` tunes it by hand, ``loader`` feeds it by a DataLoader as its example does."""
    import torch
    from torch import nn
    from torch.nn import functional

    from course_utils.data import load_mnist

    torch.manual_seed(0)
    images = torch.from_numpy(load_mnist()[0].reshape(NUM_DATA, 784).copy())
    probabilities = images.float() / 255
    encoder = nn.Sequential(nn.Linear(784, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT))
    decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 784))
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=fused or None)

    def step(batch):
        x = torch.bernoulli(batch)
        mean, log_scale = encoder(x).chunk(2, dim=-1)
        z = mean + log_scale.exp() * torch.randn_like(mean)
        reconstruction = functional.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum")
        kl = 0.5 * (mean**2 + (2 * log_scale).exp() - 1 - 2 * log_scale).sum()
        loss = (reconstruction + kl) / len(x)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    dataset = torch.utils.data.TensorDataset(probabilities)
    batches = torch.utils.data.DataLoader(dataset, batch_size, shuffle=True, drop_last=True) if loader else None
    while True:
        start = time.perf_counter()
        if loader:
            for (batch,) in batches:
                step(batch)
        else:
            shuffled = probabilities[torch.randperm(NUM_DATA)]
            for first in range(0, NUM_DATA - batch_size + 1, batch_size):
                step(shuffled[first : first + batch_size])
        yield time.perf_counter() - start


def svi_fit() -> Iterator[float]:
    """Black-box SVI on a 2-D density with ``fit``: 1,000 steps of 10 samples."""
    import jax
    import optax

    from course_utils.training import fit

    q, objective = _svi_problem()
    optimizer = optax.adam(1e-2)
    while True:
        _, history = fit(objective, q, optimizer, key=jax.random.key(0), num_steps=SVI_STEPS)
        yield history.seconds


def svi_jitted_step() -> Iterator[float]:
    """The same steps, each a jitted call from Python."""
    import jax
    import optax

    q, objective = _svi_problem()
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(q, state, key):
        gradient = jax.grad(lambda q: -objective(q, None, key))(q)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(q, updates), state

    state, keys = optimizer.init(q), list(jax.random.split(jax.random.key(0), SVI_STEPS))
    while True:
        start = time.perf_counter()
        for key in keys:
            q, state = step(q, state, key)
        jax.block_until_ready(q)
        yield time.perf_counter() - start


def svi_numpyro() -> Iterator[float]:
    """The same problem given to NumPyro's ``SVI.run``, as its documentation shows."""
    import jax
    import numpyro
    from numpyro import distributions
    from numpyro.infer import SVI, Trace_ELBO

    def model():
        z = numpyro.sample("z", distributions.Normal(0, 2).expand([2]).to_event(1))
        numpyro.factor("bend", -0.5 * ((z[1] - 0.5 * z[0] ** 2) / 0.3) ** 2)

    def guide():
        mean = numpyro.param("mean", jax.numpy.zeros(2))
        scale = numpyro.param("scale", jax.numpy.ones(2), constraint=distributions.constraints.positive)
        numpyro.sample("z", distributions.Normal(mean, scale).to_event(1))

    while True:
        svi = SVI(model, guide, numpyro.optim.Adam(1e-2), Trace_ELBO(num_particles=SVI_SAMPLES))
        start = time.perf_counter()
        jax.block_until_ready(svi.run(jax.random.key(0), SVI_STEPS, progress_bar=False).params)
        yield time.perf_counter() - start


def interleave(peers: dict[str, tuple[Callable[..., Iterator[float]], tuple, dict]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each peer over ``rounds`` rounds, after one that only warms up."""
    context = multiprocessing.get_context("spawn")
    workers = {}
    for name, peer in peers.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(*peer, theirs), daemon=True)
        process.start()
        workers[name] = (process, ours)
    seconds = {name: [] for name in peers}
    for number in range(rounds + 1):
        for name, (_, pipe) in workers.items():
            pipe.send("epoch")
            taken = pipe.recv()
            if number:
                seconds[name].append(taken)
    for process, _ in workers.values():
        process.terminate()
    return {name: float(np.median(values)) for name, values in seconds.items()}


def matmul_peak_gflops() -> float:
    """Return what one large ``float32`` matrix product in XLA reaches, the best of 20."""
    import jax
    import jax.numpy as jnp

    size = 3000
    a = jnp.ones((size, size))
    product = jax.jit(jnp.matmul)
    product(a, a).block_until_ready()
    best = np.inf
    for _ in range(20):
        start = time.perf_counter()
        product(a, a).block_until_ready()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def network_gflop() -> float:
    """Return the arithmetic of one epoch: two operations a weight and image forward, four backward, none to the input."""
    weights = 784 * HIDDEN + HIDDEN * 2 * LATENT + LATENT * HIDDEN + HIDDEN * 784
    return NUM_DATA * (6 * weights - 2 * 784 * HIDDEN) / 1e9


def run(rounds: int = 5) -> list[tuple[str, str, str]]:
    """Return the rows of the table: what, measured, and how it compares."""
    rows = []
    peak = matmul_peak_gflops()
    rows.append(("matmul peak of this machine", f"{peak:.0f} GFLOP/s", ""))
    for batch_size in (128, 512):
        peers = {
            "fit": (fit_epochs, (batch_size,), {}),
            "fit with a progress bar": (fit_with_progress_epochs, (batch_size,), {}),
            "jitted Flax step in a Python loop": (jitted_step_epochs, (batch_size,), {}),
            "bare matrix products": (floor_epochs, (batch_size,), {}),
        }
        if find_spec("torch"):
            peers["PyTorch, tensors in memory"] = (torch_epochs, (batch_size,), {})
            peers["PyTorch, fused Adam"] = (torch_epochs, (batch_size,), {"fused": True})
            peers["PyTorch, DataLoader"] = (torch_epochs, (batch_size,), {"loader": True})
        seconds = interleave(peers, rounds)
        ours = seconds["fit"]
        share = network_gflop() / ours / peak
        rows.append((f"epoch, batch {batch_size}: fit", f"{ours:.2f} s", f"{share:.2f} of the matmul peak"))
        for name, value in seconds.items():
            if name != "fit":
                rows.append((f"epoch, batch {batch_size}: {name}", f"{value:.2f} s", f"{value / ours:.2f} x fit"))
        if not find_spec("torch"):
            rows.append((f"epoch, batch {batch_size}: PyTorch", "not installed", ""))
    peers = {"fit": (svi_fit, (), {}), "jitted step": (svi_jitted_step, (), {}), "NumPyro SVI": (svi_numpyro, (), {})}
    seconds = interleave(peers, rounds)
    for name, value in seconds.items():
        rows.append((f"SVI, 2-D, 1,000 steps: {name}", f"{value:.4f} s", f"{value / seconds['fit']:.0f} x fit"))
    return rows


def _serve(make: Callable[..., Iterator[float]], args: tuple, options: dict, pipe) -> None:
    epochs = make(*args, **options)
    while pipe.recv():
        pipe.send(next(epochs))


def _jax_vae():
    import jax
    from flax import nnx

    from course_utils.data import binarize, load_mnist
    from course_utils.models import VAE

    def objective(vae, images, key):
        binarize_key, sample_key = jax.random.split(key)
        return vae.elbo(binarize(binarize_key, images), sample_key).mean()

    model = VAE(LATENT, hidden=(HIDDEN,), activation=nnx.relu, rngs=nnx.Rngs(0))
    return model, load_mnist()[0].reshape(NUM_DATA, 784), objective


def _svi_problem():
    import jax.numpy as jnp
    from jax.scipy.stats import norm

    from course_utils.bounds import DiagonalNormal, elbo

    def log_joint(z):
        return norm.logpdf(z, 0, 2).sum(-1) - 0.5 * ((z[..., 1] - 0.5 * z[..., 0] ** 2) / 0.3) ** 2

    def objective(q, batch, key):
        return elbo(log_joint, DiagonalNormal(q["mean"], jnp.exp(q["log_scale"])), key, SVI_SAMPLES)

    return {"mean": jnp.zeros(2), "log_scale": jnp.zeros(2)}, objective

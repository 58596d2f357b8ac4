"""Seconds per epoch of ``fit`` against its peers, on the same VAE and the same 60,000 images.

The model is the one most libraries show: 784-400-(20)-400-784, ReLU, Bernoulli pixels, Adam. Every peer binarises each
batch anew, shuffles each epoch, and lives in a process of its own; one epoch of each is timed in turn, round after
round, so that all meet the same weather. The floor is the matrix products of the network alone. How an epoch grows
with the number of images, the width, the batch and K is told in seconds of one core, which other work on the machine
hardly changes. On a GPU the same peers run on it, and PyTorch's whole step as one CUDA graph.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np

NUM_DATA, HIDDEN, LATENT, LEARNING_RATE = 60_000, 400, 20, 1e-3
SVI_STEPS, SVI_SAMPLES = 1000, 10


def fit_epochs(batch_size: int, epochs: int = 1) -> Iterator[float]:
    """``course_utils.training.fit``; the time is that of its loop, without compilation."""
    import jax
    import optax

    from course_utils.training import fit

    model, images, objective = _jax_vae()
    options = {"key": jax.random.key(0), "data": images, "batch_size": batch_size}
    optimizer = optax.adam(LEARNING_RATE)
    while True:
        _, history = fit(objective, model, optimizer, num_steps=epochs * (NUM_DATA // batch_size), **options)
        yield history.seconds / epochs


def core_seconds(batch_size: int = 128, num_data: int = 15_000, hidden: int = HIDDEN, K: int = 1) -> Iterator[float]:  # noqa: N803
    """Seconds of one core that ``fit`` takes for an epoch, added up over all cores."""
    import jax
    import optax

    from course_utils.training import fit

    model, images, objective = _jax_vae(hidden, K)
    options = {"key": jax.random.key(0), "data": images[:num_data], "batch_size": batch_size}
    optimizer = optax.adam(LEARNING_RATE)
    while True:
        start = time.process_time()
        fit(objective, model, optimizer, num_steps=num_data // batch_size, **options)
        yield time.process_time() - start


def fit_with_progress_epochs(batch_size: int) -> Iterator[float]:
    """The same with a progress bar, over three epochs, so that it is drawn a few times."""
    import os
    from contextlib import redirect_stderr

    import jax
    import optax

    from course_utils.training import fit

    model, images, objective = _jax_vae()
    optimizer = optax.adam(LEARNING_RATE)
    steps = 3 * (NUM_DATA // batch_size)
    while True:
        with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
            _, history = fit(
                objective,
                model,
                optimizer,
                key=jax.random.key(0),
                num_steps=steps,
                data=images,
                batch_size=batch_size,
                progress=True,
            )
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


def torch_graph_epochs(batch_size: int, epochs: int = 10) -> Iterator[float]:
    """PyTorch with the whole step, gather and optimizer included, captured as one CUDA graph."""
    import torch

    step, probabilities, parameters = _torch_vae("cuda", fused=True, capturable=True)
    chosen = torch.zeros(batch_size, dtype=torch.int64, device="cuda")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(probabilities[chosen])
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    for parameter in parameters:
        parameter.grad = None
    with torch.cuda.graph(graph):
        step(probabilities[chosen])
    while True:
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(epochs):
            order = torch.randperm(NUM_DATA, device="cuda")
            for first in range(0, NUM_DATA - batch_size + 1, batch_size):
                chosen.copy_(order[first : first + batch_size])
                graph.replay()
        torch.cuda.synchronize()
        yield (time.perf_counter() - start) / epochs


def torch_epochs(batch_size: int, *, device: str = "cpu", fused: bool = False, loader: bool = False) -> Iterator[float]:
    """An ordinary PyTorch loop; ``fused`` tunes it by hand, ``loader`` feeds it by a DataLoader as its example does."""
    import torch

    step, probabilities, _ = _torch_vae(device, fused=fused)
    dataset = torch.utils.data.TensorDataset(probabilities)
    batches = torch.utils.data.DataLoader(dataset, batch_size, shuffle=True, drop_last=True) if loader else None
    while True:
        start = time.perf_counter()
        if loader:
            for (batch,) in batches:
                step(batch)
        else:
            shuffled = probabilities[torch.randperm(NUM_DATA, device=device)]
            for first in range(0, NUM_DATA - batch_size + 1, batch_size):
                step(shuffled[first : first + batch_size])
            if device == "cuda":
                torch.cuda.synchronize()
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


def interleave(
    peers: dict[str, tuple[Callable[..., Iterator[float]], tuple, dict]], rounds: int, platform: str = "cpu"
) -> dict[str, list[float]]:
    """Return the seconds of each peer in each of ``rounds`` rounds, after one that only warms up."""
    context = multiprocessing.get_context("spawn")
    workers = {}
    for name, peer in peers.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(*peer, platform, theirs), daemon=True)
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
    return seconds


def compared(seconds: dict[str, list[float]], to: str) -> dict[str, tuple[float, float]]:
    """Return each median, and the median over the rounds of its ratio to the peer ``to`` in the same round."""
    base = np.array(seconds[to])
    return {
        name: (float(np.median(taken)), float(np.median(np.array(taken) / base))) for name, taken in seconds.items()
    }


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
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    peak = matmul_peak_gflops()
    rows = [("matmul peak of this machine", f"{peak:.0f} GFLOP/s", "")]
    torch_is_here = bool(find_spec("torch"))
    for batch_size in (128, 512):
        peers = {
            "fit": (fit_epochs, (batch_size,), {}),
            "fit with a progress bar": (fit_with_progress_epochs, (batch_size,), {}),
            "jitted Flax step in a Python loop": (jitted_step_epochs, (batch_size,), {}),
            "bare matrix products": (floor_epochs, (batch_size,), {}),
        }
        if torch_is_here:
            peers["PyTorch, tensors in memory"] = (torch_epochs, (batch_size,), {})
            peers["PyTorch, fused Adam"] = (torch_epochs, (batch_size,), {"fused": True})
            peers["PyTorch, DataLoader"] = (torch_epochs, (batch_size,), {"loader": True})
        results = compared(interleave(peers, rounds), to="fit")
        rows += _epoch_rows(f"epoch, batch {batch_size}", results)
        rows.append(
            (f"epoch, batch {batch_size}: share of the peak", f"{network_gflop() / results['fit'][0] / peak:.2f}", "")
        )
        if not torch_is_here:
            rows.append((f"epoch, batch {batch_size}: PyTorch", "not installed", ""))
    peers = {"fit": (svi_fit, (), {}), "jitted step": (svi_jitted_step, (), {}), "NumPyro SVI": (svi_numpyro, (), {})}
    for name, (value, ratio) in compared(interleave(peers, rounds), to="fit").items():
        rows.append((f"SVI, 2-D, 1,000 steps: {name}", f"{value:.4f} s", f"{ratio:.0f} x fit"))
    return rows + scaling_rows(rounds)


SCALING = {
    "num_data": (7_500, 15_000, 30_000, 60_000),
    "hidden": (100, 200, 400, 800),
    "batch_size": (32, 128, 512, 2048),
    "K": (1, 2, 5, 10),
}


def scaling(rounds: int) -> dict[str, dict[int, float]]:
    """Return the core-seconds of an epoch of 15,000 images as each one of these grows, the others as ever."""
    peers = {(name, value): (core_seconds, (), {name: value}) for name in SCALING for value in SCALING[name]}
    medians = {}
    for name in SCALING:
        seconds = interleave({value: peers[name, value] for value in SCALING[name]}, rounds)
        medians[name] = {value: float(np.median(taken)) for value, taken in seconds.items()}
    return medians


def draw_scaling(medians: dict[str, dict[int, float]], path: str) -> None:
    """Draw what ``scaling`` measured on two logarithmic axes, beside a line of slope one where work grows in proportion."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    names = {"num_data": "images N", "hidden": "hidden units", "batch_size": "batch size", "K": "samples K"}
    figure, axes = plt.subplots(1, len(medians), figsize=(12, 3), sharey=True, layout="constrained")
    for axis, (name, seconds) in zip(axes, medians.items(), strict=True):
        values = list(seconds)
        axis.loglog(values, list(seconds.values()), "o-", label="an epoch of fit")
        # An epoch has as many images, whatever the batch.
        if name != "batch_size":
            axis.loglog(values, [seconds[values[0]] * value / values[0] for value in values], ":", label="proportional")
        axis.set_xlabel(names[name])
        axis.set_xticks(values, [f"{value:,}" for value in values])
        axis.minorticks_off()
    axes[0].set_ylabel("core-seconds an epoch")
    axes[0].legend()
    figure.savefig(path)


def scaling_rows(rounds: int) -> list[tuple[str, str, str]]:
    rows = []
    for name, medians in scaling(rounds).items():
        first = next(iter(medians))
        for value, seconds in medians.items():
            times = f"{seconds / medians[first]:.2f} x, {name} {value / first:.0f} x"
            rows.append((f"an epoch of fit, {name} = {value:,}", f"{seconds:.2f} core-s", times))
    return rows


def gpu_rows(rounds: int = 5) -> list[tuple[str, str, str]]:
    """Return the same for a GPU, ten epochs at a time, or one row that says that there is none."""
    if next(iter(interleave({"": (backend, (), {})}, 1, "").values())) != ["gpu"]:
        return [("GPU", "not measured", "JAX finds no GPU here")]
    rows = []
    for batch_size in (128, 512, 4096):
        peers = {
            "fit": (fit_epochs, (batch_size, 10), {}),
            "jitted Flax step in a Python loop": (jitted_step_epochs, (batch_size,), {}),
            "bare matrix products": (floor_epochs, (batch_size,), {}),
        }
        if find_spec("torch"):
            peers["PyTorch, data on the GPU"] = (torch_epochs, (batch_size,), {"device": "cuda"})
            peers["PyTorch, one CUDA graph"] = (torch_graph_epochs, (batch_size,), {})
        rows += _epoch_rows(f"GPU, batch {batch_size}", compared(interleave(peers, rounds, "cuda"), to="fit"))
    return rows


def backend() -> Iterator[str]:
    """The kind of device that JAX would use."""
    import jax

    while True:
        yield jax.default_backend()


def _epoch_rows(what: str, results: dict[str, tuple[float, float]]) -> list[tuple[str, str, str]]:
    floor = results["bare matrix products"][1]
    rows = [(f"{what}: fit", f"{results['fit'][0]:.3f} s", f"{floor:.2f} of the bare products' speed")]
    others = {name: result for name, result in results.items() if name != "fit"}
    return rows + [
        (f"{what}: {name}", f"{value:.3f} s", f"{ratio:.2f} x fit") for name, (value, ratio) in others.items()
    ]


def _serve(make: Callable[..., Iterator[float]], args: tuple, options: dict, platform: str, pipe) -> None:
    # Set before JAX is imported, which happens in ``make``; on a GPU every peer leaves memory to the others.
    os.environ["JAX_PLATFORMS"] = platform
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    epochs = make(*args, **options)
    while pipe.recv():
        pipe.send(next(epochs))


def _torch_vae(device: str, **adam):
    """Return a step on a batch of pixel probabilities, all of these, and the parameters."""
    import torch
    from torch import nn
    from torch.nn import functional

    from course_utils.data import load_mnist

    torch.manual_seed(0)
    images = torch.from_numpy(load_mnist()[0].reshape(NUM_DATA, 784).copy()).to(device)
    encoder = nn.Sequential(nn.Linear(784, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT)).to(device)
    decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 784)).to(device)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, **{name: True for name, on in adam.items() if on})

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

    return step, images.float() / 255, parameters


def _jax_vae(hidden: int = HIDDEN, num_samples: int = 1):
    import jax
    from flax import nnx

    from course_utils.data import binarize, load_mnist
    from course_utils.models import VAE

    def objective(vae, images, key):
        binarize_key, sample_key = jax.random.split(key)
        return vae.elbo(binarize(binarize_key, images), sample_key, num_samples).mean()

    model = VAE(LATENT, hidden=(hidden,), activation=nnx.relu, rngs=nnx.Rngs(0))
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


if __name__ == "__main__":
    import sys

    draw_scaling(scaling(rounds=5), sys.argv[1])

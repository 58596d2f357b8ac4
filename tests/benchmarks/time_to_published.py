"""Test log-likelihood against seconds of training, ours and PyTorch's VAE example, until the published 86.76 nats.

The clock stops while a model is evaluated. A point is the negative log-likelihood of one test image in ten, with 1,000
importance samples; ``vae-1``, whose likelihood on all 10,000 images is known with 5,000 samples, is evaluated in the same
way, and serves as a control variate for both. The last model of ``fit`` is then evaluated in full. PyTorch's example is
as published (784-400-20, ReLU, Adam at 1e-3, batches of 128 from a DataLoader, grey levels as targets), but for the
decoding of image files; it is evaluated on zeros and ones, as ours.
"""

import sys
import tempfile
import time
from collections.abc import Iterator

import jax
import numpy as np
from flax import nnx

from course_utils.data import binarize, load_mnist
from course_utils.evaluation import evaluate
from course_utils.models import VAE
from course_utils.pretrained import load_pretrained, with_weights
from course_utils.training import fit
from tests.benchmarks.reproduce import EVALUATION_KEY, TEST_KEY, Stage, adam, at_mean_image, objective

PUBLISHED = 86.76
NUM_SAMPLES = 1000
BATCH_SIZE = 256
STAGES = (Stage("elbo", 1, 140, 6e-3), Stage("importance-weighted", 5, 8, 2e-3))
LOOKS_PER_STAGE = (7, 2)
EPOCHS_PER_LOOK = 4


def ours() -> Iterator[tuple[float, VAE]]:
    """Yield the seconds of training so far, compilation included, and the model."""
    images = load_mnist("train")[0].reshape(-1, 784)
    vae, seconds = at_mean_image(images), 0.0
    for stage, looks in zip(STAGES, LOOKS_PER_STAGE, strict=True):
        steps = stage.epochs * (len(images) // BATCH_SIZE)
        climbed, optimizer, start = objective(stage.objective, stage.num_samples, fixed=False), adam(stage, steps), vae
        with tempfile.TemporaryDirectory() as folder:
            for look in range(1, looks + 1):
                vae, history = fit(
                    climbed,
                    start,
                    optimizer,
                    key=jax.random.key(1),
                    num_steps=steps * look // looks,
                    data=images,
                    batch_size=BATCH_SIZE,
                    checkpoint_dir=folder,
                    checkpoint_every=steps,
                )
                # Who does not look on the way makes ready for a stage once.
                seconds += history.seconds + (history.compile_seconds if look == 1 else 0)
                yield seconds, vae


def pytorch() -> Iterator[tuple[float, VAE]]:
    """Yield the same of PyTorch's example, with its weights in a model of ours."""
    import torch
    from torch import nn
    from torch.nn.functional import binary_cross_entropy, relu

    class Images(torch.utils.data.Dataset):
        images, labels = load_mnist("train")

        def __len__(self):
            return len(self.images)

        def __getitem__(self, index):
            return torch.from_numpy(self.images[index]).unsqueeze(0).to(torch.float32).div(255), self.labels[index]

    torch.manual_seed(1)
    encoder, to_mean, to_log_variance = nn.Linear(784, 400), nn.Linear(400, 20), nn.Linear(400, 20)
    decoder, to_logits = nn.Linear(20, 400), nn.Linear(400, 784)
    layers = nn.ModuleList([encoder, to_mean, to_log_variance, decoder, to_logits])
    optimizer = torch.optim.Adam(layers.parameters(), lr=1e-3)
    batches = torch.utils.data.DataLoader(Images(), batch_size=128, shuffle=True)
    seconds = 0.0
    while True:
        begun = time.perf_counter()
        for _ in range(EPOCHS_PER_LOOK):
            for batch, _ in batches:
                optimizer.zero_grad()
                x = batch.view(-1, 784)
                hidden = relu(encoder(x))
                mean, log_variance = to_mean(hidden), to_log_variance(hidden)
                z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
                pixels = torch.sigmoid(to_logits(relu(decoder(z))))
                kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
                (binary_cross_entropy(pixels, x, reduction="sum") + kl).backward()
                optimizer.step()
        seconds += time.perf_counter() - begun
        weights = [(each.weight.detach().numpy().T, each.bias.detach().numpy()) for each in layers]
        # Ours has one layer for mean and log-scale, which is half the log-variance.
        heads = tuple(
            np.concatenate([mean, half / 2], axis=-1) for mean, half in zip(weights[1], weights[2], strict=True)
        )
        named = zip(
            ("encoder.network.layers.0", "encoder.network.layers.1", "decoder.layers.0", "decoder.layers.1"),
            (weights[0], heads, weights[3], weights[4]),
            strict=True,
        )
        vae = VAE(20, hidden=(400,), activation=nnx.relu, rngs=nnx.Rngs(0))
        yield (
            seconds,
            with_weights(
                vae,
                {
                    f"{name}.{part}": each
                    for name, layer in named
                    for part, each in zip(("kernel", "bias"), layer, strict=True)
                },
            ),
        )


def race() -> tuple[dict[str, list[tuple[float, float, float]]], VAE]:
    """Return seconds, nats and their standard error at each look, and our last model.

    PyTorch's example has as long as ours takes.
    """
    pixels = _test_pixels()[::10]
    reference, recipe = load_pretrained("vae-1")

    def nats(vae: VAE) -> np.ndarray:
        return -evaluate(vae, pixels, jax.random.key(EVALUATION_KEY), NUM_SAMPLES).log_likelihood

    def point(name: str, seconds: float, vae: VAE) -> tuple[float, float, float]:
        difference = nats(vae) - known
        value, error = recipe["test"]["nll"] + difference.mean(), difference.std(ddof=1) / np.sqrt(len(pixels))
        print(f"{name}: {seconds:.0f} s, {value:.2f} nats ± {error:.2f}", flush=True)
        return seconds, value, error

    known, fit_curve, torch_curve = nats(reference), [], []
    for seconds, last in ours():
        fit_curve.append(point("fit", seconds, last))
    for seconds, vae in pytorch():
        if seconds > fit_curve[-1][0]:
            break
        torch_curve.append(point("PyTorch's example", seconds, vae))
    return {"fit": fit_curve, "PyTorch's example": torch_curve}, last


def _test_pixels() -> np.ndarray:
    return np.float32(binarize(jax.random.key(TEST_KEY), load_mnist("test")[0].reshape(-1, 784)))


def draw(curves: dict[str, list[tuple[float, float, float]]], path: str) -> None:
    """Draw the race, with the published row as a line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 3.5), layout="constrained")
    for name, points in curves.items():
        seconds, values, errors = map(np.array, zip(*points, strict=True))
        axis.errorbar(seconds, values, errors, fmt="o-", capsize=3, label=name)
    axis.axhline(PUBLISHED, color="0.4", linestyle="--", label=f"published: {PUBLISHED} nats")
    axis.set(xlabel="seconds of training on two cores", ylabel="test NLL (nats per image)")
    axis.legend()
    figure.savefig(path)


if __name__ == "__main__":
    curves, model = race()
    draw(curves, sys.argv[1])
    values = evaluate(model, _test_pixels(), jax.random.key(EVALUATION_KEY)).log_likelihood
    print(f"fit's last model, 10,000 images, 5,000 samples: {-values.mean():.2f} nats; published {PUBLISHED}")

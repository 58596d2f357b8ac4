"""The published test log-likelihoods of one-layer VAEs on MNIST beside ours: ``make reproduce``.

Published are Burda et al., *Importance weighted autoencoders*, table 1: 784-200-200-50, pixels binarised anew. Ours are
evaluated here, from the weights in ``data/checkpoints/``. With ``--train ROW`` a row is trained again in the way that
its weights were, which takes minutes; whoever stops it goes on later with the same command.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

from course_utils import bounds
from course_utils.data import binarize, fixed_binarization, load_mnist
from course_utils.evaluation import evaluate
from course_utils.models import VAE
from course_utils.pretrained import SHA256, load_pretrained, new_vae, weights_of, with_weights
from course_utils.training import fit

BATCH_SIZE = 128
NUM_SAMPLES = 5000
TEST_KEY, EVALUATION_KEY, TRAINING_KEY = 2, 3, 1
TEST_SEED = 1


@dataclass(frozen=True)
class Stage:
    """Some epochs of training: Adam with a linear warm-up over 3 % of the steps and a cosine down to zero."""

    objective: str
    num_samples: int
    epochs: int
    peak_learning_rate: float


@dataclass(frozen=True)
class Row:
    """A row of the published table, and how ours is trained.

    Attributes:
        published: negative log-likelihood in nats per image.
        start: the row whose weights are trained further; without one, initial weights.
        fixed: whether the pixels are binarised once for all. Then the data set is another than the published one.
    """

    published: float
    stages: tuple[Stage, ...]
    start: str = ""
    fixed: bool = False


# K grows along a chain: each row starts from the weights of a cheaper one.
ROWS = {
    "vae-1": Row(86.76, (Stage("elbo", 1, 300, 4e-3),)),
    "vae-5": Row(86.47, (Stage("elbo", 5, 60, 1e-3),), start="vae-1"),
    "vae-50": Row(86.35, (Stage("elbo", 50, 8, 5e-4),), start="vae-5"),
    "iwae-5": Row(85.54, (Stage("importance-weighted", 5, 60, 1e-3),), start="vae-1"),
    "iwae-50": Row(
        84.78,
        (
            Stage("importance-weighted", 50, 16, 1e-3),
            Stage("importance-weighted", 50, 24, 1.5e-3),
            Stage("doubly reparameterised", 50, 14, 1e-3),
        ),
        start="iwae-5",
    ),
    "fixed-vae-1": Row(88.71, (Stage("elbo", 1, 100, 1e-3),), fixed=True),
}


def objective(name: str, num_samples: int, *, fixed: bool) -> Callable:
    """Return what ``fit`` climbs, in nats per image."""

    def climbed(vae: VAE, images: jax.Array, key: jax.Array) -> jax.Array:
        x = jnp.float32(images) if fixed else binarize(key, images)
        if name == "elbo":
            return vae.elbo(x, key, num_samples).mean()
        if name == "importance-weighted":
            return vae.importance_weighted_bound(x, key, num_samples).mean()
        bound = bounds.doubly_reparameterized_bound(partial(vae.log_joint, x), vae.encode(x), key, num_samples)
        return bound.mean()

    return climbed


def train(name: str, folder: Path) -> VAE:
    """Train a row again; a run that was stopped goes on from its checkpoints in ``folder``."""
    row = ROWS[name]
    images = load_mnist("train")[0].reshape(-1, 784)
    if row.start:
        vae, _ = load_pretrained(row.start)
    else:
        vae, ink = new_vae(), images.mean(0) / 255
        weights = weights_of(vae)
        ink = np.clip(ink, 1e-3, 1 - 1e-3)
        vae = with_weights(vae, weights | {"decoder.layers.2.bias": np.float32(np.log(ink / (1 - ink)))})
    data = fixed_binarization(images) if row.fixed else images
    for number, stage in enumerate(row.stages):
        steps = stage.epochs * (len(images) // BATCH_SIZE)
        rate = optax.warmup_cosine_decay_schedule(
            stage.peak_learning_rate / 20, stage.peak_learning_rate, steps * 3 // 100, steps
        )
        vae, history = fit(
            objective(stage.objective, stage.num_samples, fixed=row.fixed),
            vae,
            optax.adam(rate),
            key=jax.random.key(TRAINING_KEY),
            num_steps=steps,
            data=data,
            batch_size=BATCH_SIZE,
            checkpoint_dir=folder / f"{name}-{number}",
            checkpoint_every=5 * (len(images) // BATCH_SIZE),
            progress=True,
        )
        if history.interrupted:
            sys.exit(f"Stopped after {history.num_steps:,} of {steps:,} steps; the same command goes on from there.")
    return vae


def pixels_of(row: Row, num_images: int) -> np.ndarray:
    """Return the test images as zeros and ones."""
    images = load_mnist("test")[0].reshape(-1, 784)
    pixels = fixed_binarization(images, seed=TEST_SEED) if row.fixed else binarize(jax.random.key(TEST_KEY), images)
    return np.float32(pixels)[:num_images]


def measured(name: str, vae: VAE, recipe: dict, num_images: int, num_samples: int) -> tuple[str, ...]:
    """Return a row of the table."""
    row, start = ROWS[name], time.perf_counter()
    seen = evaluate(vae, pixels_of(row, num_images), jax.random.key(EVALUATION_KEY), num_samples)
    seconds = time.perf_counter() - start
    nll, error = -seen.log_likelihood.mean(), seen.log_likelihood.std(ddof=1) / np.sqrt(num_images)
    stages = "; ".join(f"{each.epochs} epochs at {each.peak_learning_rate:g}" for each in row.stages)
    return (
        name,
        f"{-seen.elbo.mean():.2f}",
        f"{nll:.2f}",
        f"{row.published:.2f}" + (" (another data set)" if row.fixed else ""),
        f"{nll - row.published:+.2f}",
        f"{error:.2f}",
        f"{TRAINING_KEY}",
        f"{stages}" + (f", from {row.start}" if row.start else ""),
        f"{recipe.get('seconds', '')}",
        f"{seconds:.0f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="make reproduce", description=__doc__)
    parser.add_argument("--train", choices=list(ROWS), help="train this row again, and evaluate what comes out")
    parser.add_argument("--folder", type=Path, default=Path("work/reproduce"), help="where its checkpoints are kept")
    parser.add_argument("--images", type=int, default=10_000, help="how many test images are evaluated")
    parser.add_argument("--samples", type=int, default=NUM_SAMPLES, help="how many importance samples for each of them")
    asked = parser.parse_args()
    table = Table(
        "Row", "−ELBO", "NLL", "Published", "Difference", "Standard error", "Seed", "Recipe", "Training s", "Evaluation s",
        title=f"Nats per image: {asked.images:,} test images, {asked.samples:,} importance samples",
    )  # fmt: skip
    names = [asked.train] if asked.train else list(SHA256)
    for name in names:
        print(f"Evaluating: {name} …" if not asked.train else f"Training: {name} …", file=sys.stderr)
        vae, recipe = (train(name, asked.folder), {}) if asked.train else load_pretrained(name)
        table.add_row(*measured(name, vae, recipe, asked.images, asked.samples))
    Console(width=170).print(table)


if __name__ == "__main__":
    main()

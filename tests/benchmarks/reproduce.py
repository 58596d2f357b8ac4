"""The published test log-likelihoods of one-layer VAEs on MNIST beside ours: ``make reproduce``.

Published are Burda et al., *Importance weighted autoencoders*, table 1: 784-200-200-50, pixels binarised anew. Ours are
evaluated here, from the weights in ``data/checkpoints/``. With ``--train ROW`` a row is trained again in the way that
its weights were, which takes minutes; whoever stops it goes on later with the same command. ``--save`` writes what comes
out as a checkpoint like those, and ``--draw`` draws how the objectives of all of them climbed.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

from course_utils import bounds
from course_utils.checkpoints import CheckpointError
from course_utils.data import binarize, fixed_binarization, load_mnist
from course_utils.evaluation import Evaluation, evaluate
from course_utils.models import VAE
from course_utils.pretrained import SHA256, load_pretrained, new_vae, weights_of, with_weights
from course_utils.training import History, fit

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
    "fixed-iwae-5": Row(87.63, (Stage("importance-weighted", 5, 30, 5e-4),), start="fixed-vae-1", fixed=True),
    "fixed-iwae-50": Row(87.10, (Stage("importance-weighted", 50, 6, 5e-4),), start="fixed-iwae-5", fixed=True),
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


def at_mean_image(images: np.ndarray) -> VAE:
    """Return initial weights, with the log-odds of the mean image in the output bias."""
    vae, ink = new_vae(), np.clip(images.mean(0) / 255, 1e-3, 1 - 1e-3)
    return with_weights(vae, weights_of(vae) | {"decoder.layers.2.bias": np.float32(np.log(ink / (1 - ink)))})


def adam(stage: Stage, steps: int) -> optax.GradientTransformation:
    """Return the optimizer of a stage of so many steps."""
    peak = stage.peak_learning_rate
    return optax.adam(optax.warmup_cosine_decay_schedule(peak / 20, peak, steps * 3 // 100, steps))


def train(name: str, folder: Path) -> tuple[VAE, History]:
    """Train a row again, and return the history of its last stage.

    A run that was stopped goes on from its checkpoints in ``folder``.
    """
    row = ROWS[name]
    images = load_mnist("train")[0].reshape(-1, 784)
    vae = load_pretrained(row.start)[0] if row.start else at_mean_image(images)
    data = fixed_binarization(images) if row.fixed else images
    for number, stage in enumerate(row.stages):
        steps = stage.epochs * (len(images) // BATCH_SIZE)
        vae, history = fit(
            objective(stage.objective, stage.num_samples, fixed=row.fixed),
            vae,
            adam(stage, steps),
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
    return vae, history


def save(name: str, vae: VAE, history: History, seen: Evaluation, path: Path) -> None:
    """Write the weights as ``float16`` and the recipe, and print the SHA-256 of the file."""
    row, stage = ROWS[name], ROWS[name].stages[-1]
    recipe = {
        "row": name,
        "objective": stage.objective,
        "num_samples": stage.num_samples,
        "latent_dim": vae.latent_dim,
        "hidden": [layer.out_features for layer in vae.decoder.layers][:-1],
        "activation": "silu",
        "batch_size": BATCH_SIZE,
        "epochs": stage.epochs,
        "num_steps": history.num_steps,
        "optimizer": "adam, linear warm-up over 3 % of the steps from a twentieth of the peak, cosine to zero",
        "peak_learning_rate": stage.peak_learning_rate,
        "pixels": "fixed_binarization, seed 0 for training, 1 for test" if row.fixed else
        "binarised anew at every step; test: binarize(key(2), test images)",
        "key": f"jax.random.key({TRAINING_KEY})",
        "published": row.published,
        "test": figures_of(seen, len(seen.elbo)),
        "first_1000": figures_of(seen, 1000),
        "started_from": row.start,
        "seconds": round(history.seconds),
        "versions": {package: version(package) for package in ("jax", "flax", "optax")},
        "objective_by_epoch": history.objective.reshape(stage.epochs, -1).mean(1).round(2).tolist(),
    }  # fmt: skip
    weights = {name: weight.astype(np.float16) for name, weight in weights_of(vae).items()}
    np.savez_compressed(path, recipe=json.dumps(recipe), **weights)
    print(f"{path}: SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


def figures_of(seen: Evaluation, num_images: int) -> dict[str, float]:
    """Return both bounds in nats over the first images, and the standard error of the second."""
    return {
        "minus_elbo": float(-seen.elbo[:num_images].mean()),
        "nll": float(-seen.log_likelihood[:num_images].mean()),
        "standard_error": float(seen.log_likelihood[:num_images].std(ddof=1) / np.sqrt(num_images)),
        "num_samples": NUM_SAMPLES,
    }


def draw(path: str) -> None:
    """Draw the mean objective of each epoch of each row, its last stage where it has several."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for name, row in ROWS.items():
        climbed = -np.array(load_pretrained(name)[1]["objective_by_epoch"])
        axes[int(row.fixed)].plot(np.arange(1, len(climbed) + 1), climbed, label=name)
    for axis, title in zip(axes, ("pixels binarised anew", "pixels binarised once"), strict=True):
        axis.set(xlabel="epoch of the last stage", xscale="log", ylim=(83, 100), title=title)
        axis.legend()
    axes[0].set_ylabel("minus the objective (nats)")
    figure.savefig(path)


def pixels_of(row: Row, num_images: int) -> np.ndarray:
    """Return the test images as zeros and ones."""
    images = load_mnist("test")[0].reshape(-1, 784)
    pixels = fixed_binarization(images, seed=TEST_SEED) if row.fixed else binarize(jax.random.key(TEST_KEY), images)
    return np.float32(pixels)[:num_images]


def evaluated(name: str, vae: VAE, num_images: int, num_samples: int) -> tuple[Evaluation, float]:
    """Return the bounds on the test images of a row, and the seconds that they took."""
    start = time.perf_counter()
    seen = evaluate(vae, pixels_of(ROWS[name], num_images), jax.random.key(EVALUATION_KEY), num_samples)
    return seen, time.perf_counter() - start


def table_row(name: str, seen: Evaluation, training_seconds: int, seconds: float) -> tuple[str, ...]:
    """Return a row of the table."""
    row, figures = ROWS[name], figures_of(seen, len(seen.elbo))
    stages = "; ".join(f"{each.epochs} epochs at {each.peak_learning_rate:g}" for each in row.stages)
    return (
        name,
        f"{figures['minus_elbo']:.2f}",
        f"{figures['nll']:.2f}",
        f"{row.published:.2f}" + (" (another data set)" if row.fixed else ""),
        f"{figures['nll'] - row.published:+.2f}",
        f"{figures['standard_error']:.2f}",
        f"{TRAINING_KEY}",
        stages + (f", from {row.start}" if row.start else ""),
        f"{training_seconds}" + (" (last stage)" if len(row.stages) > 1 else ""),
        f"{seconds:.0f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="make reproduce", description=__doc__)
    parser.add_argument("--train", choices=list(ROWS), help="train this row again, and evaluate what comes out")
    parser.add_argument("--save", type=Path, help="with --train: where to write the weights and their recipe")
    parser.add_argument("--draw", help="only draw the objectives of all rows, into this file")
    parser.add_argument("--folder", type=Path, default=Path("work/reproduce"), help="where its checkpoints are kept")
    parser.add_argument("--images", type=int, default=10_000, help="how many test images are evaluated")
    parser.add_argument("--samples", type=int, default=NUM_SAMPLES, help="how many importance samples for each of them")
    asked = parser.parse_args()
    if asked.save and not asked.train:
        parser.error("--save goes with --train ROW")
    if asked.save and (asked.images, asked.samples) != (10_000, NUM_SAMPLES):
        parser.error("--save records the whole evaluation: leave out --images and --samples")
    if asked.draw:
        return draw(asked.draw)
    table = Table(
        "Row", "−ELBO", "NLL", "Published", "Difference", "Standard error", "Seed", "Recipe", "Training s", "Evaluation s",
        title=f"Nats per image: {asked.images:,} test images, {asked.samples:,} importance samples",
    )  # fmt: skip
    for name in [asked.train] if asked.train else list(SHA256):
        print(f"{'Training' if asked.train else 'Evaluating'}: {name} …", file=sys.stderr)
        if asked.train:
            vae, history = train(name, asked.folder)
            seconds = round(history.seconds)
        else:
            vae, recipe = load_pretrained(name)
            seconds = recipe["seconds"]
        seen, took = evaluated(name, vae, asked.images, asked.samples)
        if asked.save:
            save(name, vae, history, seen, asked.save)
        table.add_row(*table_row(name, seen, seconds, took))
    Console(width=170).print(table)


if __name__ == "__main__":
    try:
        main()
    except CheckpointError as error:
        sys.exit(str(error))

"""The recipe of ``data/training_curves.npz``: a right objective and six silently wrong ones, each trained from several seeds.

``python -m tests.training_curves`` writes the file anew, in a few minutes. What is kept is what each program says of itself.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from course_utils import data
from course_utils.models import VAE
from course_utils.paths import DATA_DIR
from course_utils.training import fit

FILE = DATA_DIR / "training_curves.npz"
KINDS = (
    "right",
    "mean over pixels",
    "variance as scale",
    "no noise",
    "N/B times the KL",
    "pixels cut at 1/2",
    "mean over latents",
)
SEEDS, NUM_STEPS, EVERY, LATENTS, BATCH = 8, 800, 20, 20, 128
COLUMNS = ("reconstruction", "kl", "log_scale")


@cache
def train_images():
    return jnp.asarray(data.load_mnist("train")[0].reshape(-1, 784))


def objective(kind, vae, images, key):
    """Return what a program climbs, and what it reports: the two terms as it counts them, and the mean log-scale."""
    pixel_key, noise_key = jax.random.split(key)
    x = (images > 127).astype(jnp.float32) if kind == "pixels cut at 1/2" else data.binarize(pixel_key, images)
    q = vae.encode(x)
    log_scale = jnp.log(q.scale)
    width = {"no noise": 0.0, "variance as scale": q.scale**2}.get(kind, q.scale)
    logits = vae.decoder(q.mean + width * jax.random.normal(noise_key, q.mean.shape))
    per_pixel = -optax.sigmoid_binary_cross_entropy(logits, x)
    per_latent = 0.5 * (q.mean**2 + q.scale**2 - 1) - log_scale
    reconstruction = (per_pixel.mean(-1) if kind == "mean over pixels" else per_pixel.sum(-1)).mean()
    kl = (per_latent.mean(-1) if kind == "mean over latents" else per_latent.sum(-1)).mean()
    weight = 60_000 / BATCH if kind == "N/B times the KL" else 1.0
    return reconstruction - weight * kl, jnp.stack([reconstruction, kl, log_scale.mean()])


OBJECTIVES = {kind: (lambda *args, kind=kind: objective(kind, *args)) for kind in KINDS}
OPTIMIZER = optax.adam(2e-3)


def curves(kind, seed):
    """Return the three columns, each a mean over ``EVERY`` steps: ``[NUM_STEPS / EVERY, 3]``."""
    vae = VAE(LATENTS, rngs=nnx.Rngs(seed))
    mean_image = jnp.clip(train_images().mean(0) / 255, 1e-3, 1 - 1e-3)
    vae.decoder.layers[-1].bias[...] = jax.scipy.special.logit(mean_image)
    _, history = fit(
        *(OBJECTIVES[kind], vae, OPTIMIZER),
        key=jax.random.key(seed),
        num_steps=NUM_STEPS,
        data=train_images(),
        batch_size=BATCH,
        progress=False,
    )
    return history.metrics.reshape(-1, EVERY, len(COLUMNS)).mean(1)


if __name__ == "__main__":
    runs = np.stack([[curves(kind, seed) for seed in range(SEEDS)] for kind in KINDS])
    np.savez_compressed(FILE, kinds=np.array(KINDS), columns=np.array(COLUMNS), curves=runs.astype(np.float32))

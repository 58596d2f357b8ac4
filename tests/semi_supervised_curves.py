"""The recipe of ``data/semi_supervised_curves.npz``: the M2 model of notebook 13 trained right and by six wrong programs.

``python -m tests.semi_supervised_curves`` writes the file anew. The model and the data are the notebook's own; what is kept
is what each program says of itself.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from course_utils.paths import DATA_DIR
from course_utils.training import fit
from tests.claims.cells import run_cells, take

FILE = DATA_DIR / "semi_supervised_curves.npz"
# What each program multiplies: entropy of q(y|x), prior of y, classifier term of its own guesses, labels that belong to other
# images, all digits weighted alike, unlabelled bound.
KINDS = {
    "right": (1, 1, 0, 0, 0, 1),
    "no entropy": (0, 1, 0, 0, 0, 1),
    "no prior of the label": (1, 0, 0, 0, 0, 1),
    "classifier term on its own guesses": (1, 1, 1, 0, 0, 1),
    "labels of other images": (1, 1, 0, 1, 0, 1),
    "digits weighted alike": (1, 1, 0, 0, 1, 1),
    "sum over the unlabelled batch": (1, 1, 0, 0, 0, 50),
}
SEEDS, NUM_STEPS, EVERY, BATCH, HELD_OUT = 6, 600, 20, 50, 500
COLUMNS = ("unlabelled bound", "entropy of q(y|x)", "log q(y|x) of the labelled", "error")
CELLS = (
    "setup",
    "imports",
    "load",
    "codes",
    "draw-labels",
    "classifier-code",
    "labelled-part",
    "earlier-functions",
    "ex-labelled-answer",
    "join",
    "model",
    "new-model",
)
OPTIMIZER = optax.adam(optax.warmup_cosine_decay_schedule(1e-4, 3e-3, 100, NUM_STEPS))


@cache
def lecture():
    return run_cells("13_semi_supervised_vae", *CELLS, yours=take)


def objective(model, batch, key):
    """Return what a program climbs, and what it reports, by the switches that the model carries."""
    names = lecture()
    entropy, prior, own_guesses, others, alike, factor = model.switches[...]
    code_key, noise_key = jax.random.split(key)
    mean, _, y = names["labelled_part"](model)
    x, seen = batch[0] + batch[1] * jax.random.normal(code_key, batch[0].shape), mean
    noise = jax.random.normal(noise_key, (10, len(x) + len(y), names["STYLE_DIM"]))
    y = jnp.where(others, jnp.roll(y, 37, axis=0), y)
    bound_of = lambda *args: names["labelled_bound"](*args, model.encode, model.decode) + (1 - prior) * jnp.log(10.0)  # noqa: E731
    each = bound_of(x, names["DIGITS"][:, None], noise[:, : len(x)])
    log_q = jax.nn.log_softmax(model.classifier(x)).T
    weights = jnp.where(alike, 0.1, jnp.exp(log_q))
    entropies = -(jnp.exp(log_q) * log_q).sum(0)
    unlabelled = ((weights * each).sum(0) + entropy * entropies).mean()
    labelled = bound_of(seen, y, noise[0, len(x) :]).mean()
    of_seen = (jax.nn.log_softmax(model.classifier(seen)) * y).sum(-1).mean()
    classified = jnp.where(own_guesses, log_q.max(0).mean(), of_seen)
    codes, labels = (side[-HELD_OUT:] for side in (names["train_codes"][0], names["train_labels"]))
    error = (model.classifier(jnp.asarray(codes)).argmax(-1) != jnp.asarray(labels)).mean()
    report = jnp.stack([unlabelled, entropies.mean(), classified, error])
    return factor * unlabelled + labelled + classified, report


def curves(kind, seed):
    """Return the columns, each a mean over ``EVERY`` steps: ``[NUM_STEPS / EVERY, 4]``."""
    names = lecture()
    model = names["new_m2"](seed)
    model.switches = nnx.Variable(jnp.asarray(KINDS[kind], jnp.float32))
    _, history = fit(
        *(objective, model, OPTIMIZER),
        key=jax.random.key(seed),
        num_steps=NUM_STEPS,
        data=names["train_codes"],
        batch_size=BATCH,
        progress=False,
    )
    return history.metrics.reshape(-1, EVERY, len(COLUMNS)).mean(1)


if __name__ == "__main__":
    runs = []
    for kind in KINDS:
        runs.append(np.stack([curves(kind, seed) for seed in range(SEEDS)]))
        print(
            f"{kind:36s}", runs[-1][:, -8:].mean((0, 1)).round(3), runs[-1][:, -8:].mean(1).std(0).round(3), flush=True
        )
    np.savez_compressed(FILE, kinds=np.array(list(KINDS)), columns=np.array(COLUMNS), curves=np.float32(runs))

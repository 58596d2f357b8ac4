"""What notebook 11 claims, each over ten seeds: draws, starts, initial weights and training runs all change.

A test is named after the cell that makes the claim, and quotes it. What it computes with are the notebook's own functions.
"""

import ast
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from course_utils import data
from course_utils.bounds import standard_normal
from course_utils.coursework.source.notebooks import read_notebook
from course_utils.models import VAE
from course_utils.montecarlo import monte_carlo
from course_utils.training import fit

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "11_denoising.ipynb"
SEEDS = range(10)
NUM_POINTS = 10_000
LEVELS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.0)


def definitions() -> dict:
    """Return the imports, functions, classes and capitals of the notebook: what it defines, without running anything."""
    names: dict = {}
    for cell in read_notebook(NOTEBOOK).cells:
        if cell.cell_type == "code" and "check" not in cell.id.split("-")[-1:]:
            tree = ast.parse(cell.source)
            tree.body = [statement for statement in tree.body if is_definition(statement)]
            exec(compile(tree, cell.id, "exec"), names)
    return names


def is_definition(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assign):
        names = [name.id for target in statement.targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        return all(name.isupper() and name not in ("GRID", "AXIS") for name in names)
    return isinstance(statement, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)


LECTURE = definitions()


@jax.jit
def exact(x, sigma):
    mixture = (LECTURE[name] for name in ("WEIGHTS", "MEANS", "SCALES"))
    return LECTURE["best_denoiser"](x, sigma, *mixture)


@jax.jit
def pairs(seed: int, sigma: float):
    clean_key, noise_key = jax.random.split(jax.random.key(100 + seed))
    clean = LECTURE["draw"](clean_key, NUM_POINTS)
    return clean, clean + sigma * jax.random.normal(noise_key, clean.shape)


def squared(difference):
    return (difference**2).sum(-1)


# --- The plane --------------------------------------------------------------------------------------------------------


def test_field():
    """'The two sides agree up to rounding.'"""
    for seed in SEEDS:
        x = jax.random.uniform(jax.random.key(seed), (500, 2), minval=-4, maxval=4)
        for sigma in LEVELS:
            left, right = exact(x, sigma) - x, sigma**2 * LECTURE["score"](x, sigma)
            assert np.abs(left - right).max() < 1e-5


def test_explorer_explained_hills():
    """'Between σ = 1.0 and 1.1. Below that, log p_σ has several maxima.'"""
    axis = jnp.linspace(-4, 4, 321)
    grid = jnp.stack(jnp.meshgrid(axis, axis), -1)

    def num_maxima(sigma):
        values = np.asarray(LECTURE["log_density"](grid, sigma))
        moves = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]
        return np.all([values[1:-1, 1:-1] > np.roll(values, move, (0, 1))[1:-1, 1:-1] for move in moves], 0).sum()

    assert num_maxima(0.3) == 5
    assert num_maxima(1.0) > 1
    assert num_maxima(1.1) == num_maxima(1.5) == 1


def test_explorer_explained_share():
    """'For tiny noise almost all of it remains ... The fraction falls to 0.41 ... Then it rises to about 0.55 near σ = 0.9 ... For large noise it
    falls for good'"""

    def share(seed, sigma):
        clean, noisy = pairs(seed, sigma)
        return squared(exact(noisy, sigma) - clean).mean() / (2 * sigma**2)

    for seed in SEEDS:
        tiny, low, high, large = (share(seed, sigma) for sigma in (0.05, 0.42, 0.9, 3.0))
        assert tiny > 0.94
        assert low == pytest.approx(0.41, abs=0.02)
        assert high == pytest.approx(0.55, abs=0.02)
        assert large < 0.2


@cache
def small_network(seed: int):
    """Return a denoiser trained as in the notebook, with fewer steps."""
    start, steps = LECTURE["Denoiser"](nnx.Rngs(seed)), 1000
    return fit(
        LECTURE["denoising_objective"], start, short_schedule(steps), key=jax.random.key(seed), num_steps=steps,
        progress=False,
    )[0]  # fmt: skip


@cache
def short_schedule(steps: int):
    """Return the same object each time, so that the loop is compiled once for all seeds."""
    return optax.adam(optax.cosine_decay_schedule(5e-3, steps))


@jax.jit
def denoised_by(network, x, sigma):
    return network(x, sigma)


@jax.jit
def compared(network, clean, noisy, square, sigma):
    """Return the mean squared errors of the best denoiser and the network, the mean square of the best correction, and the
    relative error of the network's correction at noisy data and in the square."""
    best, found = (squared(r(noisy, sigma) - clean).mean() for r in (exact, network))
    moved, relative = squared(exact(noisy, sigma) - noisy).mean(), []
    for x in (noisy, square):
        off = squared(network(x, sigma) - exact(x, sigma)).mean()
        relative.append(jnp.sqrt(off / squared(exact(x, sigma) - x).mean()))
    return best, found, moved, *relative


def test_held_explained():
    """'The network's mean squared error is within 10 per cent of the best one at every level ... the squared
    correction is about 4 per cent of the error ... even a deviation of 45 per cent adds less than one per cent to the total.' 'In
    the square, the error at small noise is larger still ... Large noise puts training points everywhere in the square, so there
    the network is accurate.'"""
    for seed in SEEDS:
        square = jax.random.uniform(jax.random.key(seed), (NUM_POINTS, 2), minval=-4, maxval=4)
        for sigma in LEVELS:
            clean, noisy = pairs(seed, sigma)
            best, found, moved, at_data, in_square = map(
                float, compared(small_network(seed), clean, noisy, square, sigma)
            )
            assert found < 1.15 * best
            if sigma == 0.05:
                assert moved / best == pytest.approx(0.037, abs=0.01)
                assert 0.45**2 * moved < 0.01 * best
                assert found < 1.03 * best
                assert 0.1 < at_data < in_square
            if sigma >= 1.6:
                assert in_square < 0.2


def test_leftover_explained():
    """'The first three errors differ by less than four per cent ... The leftover is within chance for the exact denoiser, far
    above it for corrections that are too short, far below for those that are too long ... The network is found out, too.'
    'With the exact row at hand, differences of the errors on the same pairs would tell as well.'"""
    leftover = LECTURE["leftover"]
    for seed in SEEDS:
        clean, noisy = pairs(seed, 0.4)
        best = exact(noisy, 0.4)
        short, other = noisy + 0.9 * (best - noisy), exact(noisy, 0.5)
        errors = [squared(r - clean).mean() for r in (best, short, other)]
        assert max(errors) < 1.04 * min(errors)
        for r in (short, other):
            paired = monte_carlo(squared(r - clean) - squared(best - clean))
            assert paired.mean > 4 * paired.standard_error
        assert abs(leftover(clean, noisy, best)) < 4
        assert leftover(clean, noisy, short) > 6
        assert leftover(clean, noisy, other) < -6
        assert abs(leftover(clean, noisy, denoised_by(small_network(seed), noisy, 0.4))) > 4


def start_and_truth(seed: int):
    keys = jax.random.split(jax.random.key(200 + seed), 3)
    size = LECTURE["NUM_SAMPLES"]
    start = LECTURE["HIGHEST"] * jax.random.normal(keys[0], (size, 2))
    return start, LECTURE["draw"](keys[1], size), keys[2]


def shares(x):
    return np.asarray(LECTURE["share_of_clusters"](x))


# Twenty fresh sets of exact samples scatter around zero with this standard deviation (cell energy-distance).
SCATTER = 0.0012


def test_attempts_explained():
    """'Repeating the denoiser climbs log p_σ, so every point ends at a maximum ... Langevin ... The shares are decided by where
    the points began: the rare cluster on the right gets too many, the frequent one at the upper left too few. Annealing ... cannot
    be told from exact samples.'"""
    langevin = jax.jit(lambda x, key: LECTURE["langevin"](exact, x, 0.1, key, 200))
    levels = jnp.geomspace(LECTURE["HIGHEST"], LECTURE["LOWEST"], 40)
    annealed = jax.jit(lambda x, key: LECTURE["annealed_langevin"](exact, x, levels, key, 5))
    repeat = jax.jit(lambda x: LECTURE["repeat"](exact, x, 0.3, 200))
    distance, ends = LECTURE["energy_distance"], []
    for seed in SEEDS:
        start, truth, key = start_and_truth(seed)
        repeated = repeat(start)
        nearest = squared(repeated[:, None] - LECTURE["MEANS"]).min(1)
        # 0.2 is the scale of the narrowest cluster; the maxima lie near, not at, the means.
        assert np.median(np.sqrt(nearest)) < 0.2
        assert len(np.unique(np.asarray(repeated).round(1), axis=0)) < 20
        assert distance(repeated, truth) > 0.05
        stuck = langevin(start, key)
        assert shares(stuck)[0] > 0.12
        assert shares(stuck)[2] < 0.25
        assert distance(stuck, truth) > 0.02
        ends.append(distance(annealed(start, key), truth))
    assert np.max(ends) < 5 * SCATTER
    assert np.mean(ends) < 3 * SCATTER / np.sqrt(len(ends)) + 0.001


def test_attempts_explained_network():
    """'The network's samples are nearly as good.'"""
    levels = jnp.geomspace(LECTURE["HIGHEST"], LECTURE["LOWEST"], 40)
    annealed = jax.jit(lambda network, x, key: LECTURE["annealed_langevin"](network, x, levels, key, 5))
    for seed in SEEDS:
        start, truth, key = start_and_truth(seed)
        samples = annealed(small_network(seed), start, key)
        assert LECTURE["energy_distance"](samples, truth) < 0.015


def test_follow_explained():
    """'From the wrong start 10 calls and 200 calls end about equally far from the data: the error of the start dominates. From exact
    samples of p_3 the distance falls to that of fresh samples, with 10 calls nearly as well as with 200.'"""
    distance, high = LECTURE["energy_distance"], LECTURE["HIGHEST"]
    found = {}
    for seed in SEEDS:
        start, truth, key = start_and_truth(seed)
        keys = jax.random.split(key)
        right = LECTURE["draw"](keys[0], len(start)) + high * jax.random.normal(keys[1], start.shape)
        for name, x in {"wrong": start, "right": right}.items():
            for num_levels in (10, 40, 200):
                levels = np.append(np.geomspace(high, LECTURE["LOWEST"], num_levels), 0.0)
                found.setdefault((name, num_levels), []).append(distance(LECTURE["follow"](exact, x, levels), truth))
    mean = {name: np.mean(values) for name, values in found.items()}
    wrong, right = ([mean[name, num_levels] for num_levels in (10, 40, 200)] for name in ("wrong", "right"))
    assert max(wrong) < 0.02  # repeated denoising is five times further away
    assert np.ptp(wrong) < 0.3 * min(wrong)
    assert min(wrong) > 0.003
    assert max(right[1:]) < 0.001
    assert right[0] < 0.004


# --- Images -----------------------------------------------------------------------------------------------------------


@cache
def lecture_on_images() -> dict:
    """Return the lecture's definitions, with the variables that its functions for images look up."""
    train_images, test_images = (data.load_mnist(split)[0].reshape(-1, 784) for split in ("train", "test"))
    steps, rate, latent_dim = LECTURE["NUM_STEPS"], LECTURE["LEARNING_RATE"], LECTURE["LATENT_DIM"]
    schedule = optax.warmup_cosine_decay_schedule(rate / 20, rate, int(0.03 * steps), steps)
    LECTURE.update(
        bound=LECTURE["denoising_elbo"],
        train_images=train_images,
        average=jnp.clip(train_images.mean(0) / 255, 1e-3, 1 - 1e-3),
        optimizer=optax.adam(schedule),
        q_optimizer=optax.adam(optax.cosine_decay_schedule(0.05, LECTURE["Q_STEPS"])),
        prior_of_u=standard_normal(latent_dim),
        standard=(jnp.zeros(latent_dim), jnp.eye(latent_dim)),
    )
    shuffled = jax.random.permutation(jax.random.key(12), test_images)[:5000]
    LECTURE["x_test"], LECTURE["noisy_test"] = LECTURE["clean_and_noisy"](shuffled, jax.random.key(13))
    return LECTURE


@cache
def four_models(seed: int) -> dict[str, VAE]:
    """Return the four models of the notebook, from other weights and on other batches."""
    names, noise = lecture_on_images(), LECTURE["IMAGE_NOISE"]
    kinds = {
        "autoencoder": ("autoencoder_objective", 0.0),
        "denoising_autoencoder": ("autoencoder_objective", noise),
        "vae": ("vae_objective", 0.0),
        "denoising_vae": ("vae_objective", noise),
    }
    return {name: names["train"](names[objective], scale, 100 + seed) for name, (objective, scale) in kinds.items()}


def held_out():
    return lecture_on_images()["x_test"], lecture_on_images()["noisy_test"]


@pytest.mark.slow
def test_reconstruct_explained():
    """'With clean inputs the autoencoder is best ... and the denoising VAE ... is last. With noisy inputs the denoising autoencoder
    is best, then the denoising VAE. The VAE ... loses tens of nats: more than the denoising models, less than the plain
    autoencoder.'"""
    x, noisy = held_out()
    for seed in SEEDS:
        models = four_models(seed)
        clean, from_noisy = (
            {name: float(m.log_likelihood(x, m.encode(inputs).mean).mean()) for name, m in models.items()}
            for inputs in (x, noisy)
        )
        lost = {name: clean[name] - from_noisy[name] for name in models}
        assert max(clean, key=clean.get) == "autoencoder"
        assert min(clean, key=clean.get) == "denoising_vae"
        assert sorted(from_noisy, key=from_noisy.get)[:1:-1] == ["denoising_autoencoder", "denoising_vae"]
        assert max(lost["denoising_autoencoder"], lost["denoising_vae"]) + 10 < lost["vae"] < lost["autoencoder"] - 10


@pytest.mark.slow
def test_image_leftover_explained():
    """'The first leftover is about 200 standard errors or more below zero for all four ... for the plain autoencoder and the
    VAE what remains is strongly correlated with the output ... For the denoising autoencoder it is 2 standard errors.'"""
    x, noisy = held_out()
    leftover, zeros = LECTURE["leftover"], jnp.zeros_like(x)
    for seed in SEEDS:
        for name, model in four_models(seed).items():
            denoised = model.decode(model.encode(noisy).mean)
            assert leftover(x, noisy, denoised) < -170
            own = leftover(x, zeros, denoised)
            if name in ("autoencoder", "vae"):
                assert own < -25
            if name == "denoising_autoencoder":
                assert abs(own) < 12


def prior_of(model, kind):
    names = lecture_on_images()
    return names["standard"] if kind == "N(0, I)" else names["fitted_normal"](model)


@pytest.mark.slow
def test_samples_explained():
    """'From N(0, I) the autoencoders' samples are more than five times as far from the data as the VAEs' ... With a fitted normal
    most of that gap closes.'"""
    reference = held_out()[0][: LECTURE["NUM_IMAGES"]]

    def distance(model, kind, seed):
        pixels = LECTURE["sample_images"](model, prior_of(model, kind), jax.random.key(seed))[1]
        return float(LECTURE["energy_distance"](pixels, reference))

    for seed in SEEDS:
        found = {
            kind: {name: distance(model, kind, seed) for name, model in four_models(seed).items()}
            for kind in ("N(0, I)", "fitted")
        }
        standard, fitted = found["N(0, I)"], found["fitted"]
        worst = max(standard["vae"], standard["denoising_vae"])
        for name in ("autoencoder", "denoising_autoencoder"):
            assert standard[name] > 5 * worst
            assert fitted[name] - worst < 0.35 * (standard[name] - worst)


@pytest.mark.slow
def test_log_likelihood_explained():
    """'After these three epochs the autoencoder's decoder with a fitted normal is not a worse model than the VAE; here it is even
    ahead ... Even with N(0, I) it is within a few nats of the VAE.' 'The denoising VAE is behind the VAE'"""
    names = lecture_on_images()
    names["images"] = held_out()[0][:64]
    kinds = [("vae", "N(0, I)"), ("autoencoder", "fitted"), ("autoencoder", "N(0, I)"), ("denoising_vae", "N(0, I)")]
    ahead = []
    for seed in SEEDS:
        models = four_models(seed)
        cases = [(models[name], prior_of(models[name], kind)) for name, kind in kinds]
        codes = names["best_codes"](cases)
        found = [
            names["log_likelihoods"](case, (codes[0][i], codes[1][i])).mean().item() for i, case in enumerate(cases)
        ]
        ahead.append(np.array(found[1:]) - found[0])
    fitted, standard, denoising = np.array(ahead).T
    mean, error = monte_carlo(fitted)
    assert mean > 2 * error
    assert np.abs(standard).max() < 8
    assert np.max(standard - fitted) < 0
    assert np.max(denoising) < 0

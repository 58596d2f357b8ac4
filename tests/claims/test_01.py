"""The claims of ``notebooks/01_differentiable_programs.ipynb``; each test quotes its sentence and is named after its cell."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from course_utils.models import MLP
from course_utils.training import fit
from tests.claims import cells
from tests.claims.cells import take

NOTEBOOK = "01_differentiable_programs"
SEEDS = range(10)


run_cells = partial(cells.run_cells, NOTEBOOK, yours=take)


@cache
def lecture():
    return run_cells(
        *("setup", "imports", "wiggle-fit", "ex-normal-log-density-answer", "noisy-data", "density-network"),
        *("density-fit", "train-code", "ex-full-log-density-answer", "pair-data", "pair-network"),
        *("ex-mini-batch-answer", "prior-run"),
    )


def climb(objective, model, seed, num_steps, batch_size=100, **options):
    return fit(
        objective, model, optimizer(num_steps), key=jax.random.key(seed), num_steps=num_steps, batch_size=batch_size,
        progress=False, **options,
    )  # fmt: skip


@cache
def optimizer(num_steps):
    """Return the same object for the same schedule, so that a training loop is compiled once for all seeds."""
    return optax.adam(optax.cosine_decay_schedule(5e-3, num_steps))


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_wiggle_explained():
    """'after 2000 steps their error is more than nine times that of thirty-two.'

    'Which wiggle a wide net learns first depends on its initial weights.'"""
    names = lecture()
    x = jnp.asarray(names["x_grid"])
    adam, left_first = optax.adam(0.01), []
    for seed in SEEDS:
        errors = {}
        for width in (2, 32):
            network, history = fit(
                names["minus_squared_error"], MLP([1, width, width, 1], rngs=nnx.Rngs(seed)), adam,
                key=jax.random.key(0), num_steps=2000, data=(names["x_train"], names["wiggle"](names["x_train"])),
                record=lambda model: model(x)[:, 0], progress=False,
            )  # fmt: skip
            predictions = np.r_[history.recorded, network(x).T]
            squares = (predictions - names["wiggle"](x[:, 0])) ** 2
            errors[width] = np.sqrt(squares.mean(1)[-1])
        # The share that is left of each half's error after 60 steps.
        halves = [np.sqrt(squares[:, half].mean(1)) for half in (x[:, 0] < 0, x[:, 0] > 0)]
        left, right = (half[60] / half[0] for half in halves)
        left_first.append(left < right)
        assert errors[2] > 9 * errors[32], seed
    assert 0 < np.sum(left_first) < len(left_first)


def density_scores(seed, objective, model, num_data=1000):
    """Return the test log-likelihood and the coverage on all, left, middle and right of a model trained on other data."""
    names = lecture()
    x, y = names["draw"](num_data, 100 + seed)
    model, _ = climb(objective, model, seed, 1500, data=(x, y), batch_size=min(100, num_data))
    x, y = names["draw"](20_000, 200 + seed)
    mean, log_scale = map(np.asarray, model(x))
    inside = (np.abs(y - mean) < 1.645 * np.exp(log_scale))[:, 0]
    parts = [inside[(x[:, 0] > low) & (x[:, 0] < low + 4 / 3)].mean() for low in (-2, -2 / 3, 2 / 3)]
    return float(np.mean(names["normal_log_density"](y, mean, log_scale))), [inside.mean(), *parts]


@pytest.mark.slow
def test_density_explained():
    """'The density network is within a few hundredths of a nat of the truth; the constant-noise model loses about half a nat.
    Yet its overall coverage is about right: too much on the left and too little on the right cancel'"""
    names = lecture()
    for seed in SEEDS:
        x, y = names["draw"](20_000, 200 + seed)
        truth = float(np.mean(names["normal_log_density"](y, names["true_mean"](x), np.log(names["true_scale"](x)))))
        assert truth == pytest.approx(0.2, abs=0.05)
        score, _ = density_scores(seed, names["mean_log_density"], names["DensityNetwork"](seed))
        assert -0.01 < truth - score < 0.09
        score, (every, left, _, right) = density_scores(seed, names["mean_log_density"], names["ConstantNoise"](seed))
        assert truth - score == pytest.approx(0.53, abs=0.1)
        assert every == pytest.approx(0.9, abs=0.035)
        assert left > 0.97 and right < 0.83


@pytest.mark.slow
def test_pair_explained():
    """'Two scales lose about 0.25 nats against the whole covariance, and 0.28 against the truth: they cannot describe the
    correlation.'"""
    names = lecture()

    def objective(model, batch, key):
        x, y = batch
        return names["full_log_density"](y, *model(x)).mean()

    for seed in SEEDS:
        pairs, test, scores = names["draw_pairs"](2000, 100 + seed), names["draw_pairs"](10_000, 200 + seed), []
        for full in (False, True):
            model, _ = climb(objective, names["PairNetwork"](seed, full=full), seed, 1000, data=pairs)
            scores.append(float(objective(model, test, None)))
        r = names["true_correlation"](test[0])
        truth = -1 - np.log(2 * np.pi) - 0.5 * np.log(1 - r**2).mean()
        assert scores[1] - scores[0] == pytest.approx(0.25, abs=0.06)
        assert truth - scores[0] == pytest.approx(0.28, abs=0.06)


@pytest.mark.slow
def test_prior_table():
    """Trained on 20 datapoints the test log-likelihood is below −100 nats nearly always; with a prior it is between −5 and 0.2.

    'The prior raises the test log-likelihood from thousands of nats below zero to about −1.3.'"""
    names = lecture()
    adam, without = optax.adam(5e-3), []
    for seed in SEEDS:
        few, test = names["draw"](20, 100 + seed), names["draw"](20_000, 200 + seed)
        alone, _ = climb(names["mean_log_density"], names["DensityNetwork"](seed), seed, 3000, data=few, batch_size=20)
        careful, _ = fit(
            names["with_prior"], names["DensityNetwork"](seed), adam, key=jax.random.key(seed), num_steps=3000, data=few,
            batch_size=10, progress=False,
        )  # fmt: skip
        without.append(float(names["mean_log_density"](alone, test, None)))
        assert -5 < float(names["mean_log_density"](careful, test, None)) < 0.2
    assert max(without) < -50 and np.mean(np.array(without) < -100) >= 0.9, without


@pytest.mark.slow
def test_digits_explained():
    """'The longer-trained net makes fewer mistakes, and yet its log-likelihood is lower: it makes them with great confidence'"""
    names = run_cells("setup", "imports", "train-code", "digits-code")
    images, labels = names["digits_test"]
    fewer, worse = [], []
    for seed in SEEDS:
        found = {}
        net = MLP([784, 128, 10], rngs=nnx.Rngs(seed))
        for passes in (10, 20, 30):
            net, _ = climb(names["log_likelihood_of_labels"], net, seed, 500, data=names["digits_train"])
            log_prob = np.asarray(jax.nn.log_softmax(net(images)))
            found[passes] = log_prob[np.arange(len(labels)), labels].mean(), (log_prob.argmax(-1) == labels).mean()
        fewer.append(found[30][1] - found[10][1])
        worse.append(found[10][0] - found[30][0])
        assert np.exp(log_prob.max(-1)).mean() > found[30][1] + 0.01
    assert np.min(worse) > 0
    assert np.mean(fewer) > 2 * np.std(fewer, ddof=1) / np.sqrt(len(fewer))


# --- the tape ---------------------------------------------------------------------------------------------------------


@cache
def tape():
    return run_cells(
        *(
            "setup",
            "imports",
            "ex-normal-log-density-answer",
            "noisy-data",
            "setup-tape",
            "ex-local-derivatives-answer",
        ),
        *("ex-backward-answer", "tape-apply", "small-network", "tape-gradient", "tape-compared"),
        *("ex-gradient-test-answer", "clinic-walks", "clinic-code"),
        replacing={
            "tape-apply": {"yours(local_derivatives), yours(backward)": "local_derivatives, backward"},
        },
    )


def adam_from(seed):
    """Return the variables after the definition of ``adam``, with other batches."""
    return run_cells("tape-train", names=tape(), replacing={
        "tape-train": {'"jax.grad": adam(jax_gradient, start)': "", "if has_tape:": "if False:",
                       "default_rng(8)": f"default_rng({seed})"}
    })  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_tape_gradient(seed):
    """Your tape and jax.grad agree, from any start and on any batch."""
    names, rng = tape(), np.random.default_rng(seed)
    theta, rows = 0.7 * rng.normal(size=26), rng.integers(1000, size=5)
    batch = tuple(array[rows, 0].astype(float) for array in names["noisy_train"])
    difference = names["tape_gradient"](theta, *batch) - names["jax_gradient"](theta, *batch)
    assert np.abs(difference).max() < 1e-4 * np.abs(names["jax_gradient"](theta, *batch)).max() + 1e-5


@pytest.mark.parametrize("seed", SEEDS)
def test_adam(seed):
    """'a step is of the order of α, however large the gradient'"""
    names = adam_from(seed)
    rng, sizes = np.random.default_rng(seed), []
    for unit in (1e-3, 1.0, 1e3):
        path = [np.zeros(3)]

        def gradient(theta, x, y, unit=unit, path=path):
            path.append(theta)
            return unit * (1 + rng.normal(size=3))

        names["adam"](gradient, np.zeros(3), num_steps=100)
        sizes.append(np.abs(np.diff(path[1:], axis=0)).mean())
    assert np.all(np.array(sizes) < 0.03) and np.all(np.array(sizes) > 0.003)


def test_tape_table():
    """The small network learns: both gradients end at the same log-likelihood, nats above the start and above −1."""
    names = tape()
    theta = names["start"]
    scores = [float(np.mean(names["normal_log_density"](*small_outputs(names, theta))))]
    for seed in SEEDS:
        trained = adam_from(seed)["adam"](names["jax_gradient"], theta)
        scores.append(float(np.mean(names["normal_log_density"](*small_outputs(names, trained)))))
    assert min(scores[1:]) > scores[0] + 1
    assert min(scores[1:]) > -1


def small_outputs(names, theta):
    x, y = names["noisy_test"]
    return (y, *names["small_network"](theta, x, np.tanh))


@pytest.mark.parametrize("seed", SEEDS)
def test_clinic_explained(seed):
    """'B is right on a chain and wrong as soon as a number is used twice ... C is right everywhere, but it walks along every path'"""
    names, rng = tape(), np.random.default_rng(seed)
    apply, judge = names["apply"], names["gradient_is_wrong"]

    def network(p):
        return names["small_objective"](p, 0.8, -0.4, lambda n: apply("tanh", n), lambda n: apply("exp", n))

    programs = {
        "chain": (lambda p: apply("log", apply("exp", p[0])), rng.uniform(0.5, 2, 1)),
        "twice": (lambda p: p[0] * p[0], rng.uniform(0.5, 2, 1)),
        "network": (network, 0.7 * rng.normal(size=26)),
    }
    walks = {"A": names["backward"], "B": names["overwrite"], "C": names["all_paths"]}
    wrong = {
        (name, what): judge(*names["as_function"](program, walk), at)
        for name, walk in walks.items()
        for what, (program, at) in programs.items()
    }
    assert {pair for pair, is_wrong in wrong.items() if is_wrong} == {("B", "twice"), ("B", "network")}


def test_cost_explained():
    """'By reverse mode, value and gradient together cost three times the operations of the function, from 13 parameters to a
    million ... A pass of forward mode has three products too'"""
    names = run_cells("setup", "imports", "cost-function", "count-code", "count-operations", replacing={
        "count-operations": {"(2, 8, 30, 98, 314, 998)": "(2, 30, 314, 998)"}
    })  # fmt: skip
    costs = np.array(names["costs"])
    assert costs[0, 0] == 13 and costs[-1, 0] > 990_000
    assert np.all(np.abs(costs[:, 1] - 3) < 0.35)
    assert np.all(np.abs(costs[:, 2] / costs[:, 0] - 3) < 0.6)


# --- noisy gradients --------------------------------------------------------------------------------------------------


@cache
def words(seed):
    return run_cells("setup", "words", "sgd-loop", "sgd-runs", "biased-code", replacing={
        # A smaller vocabulary and more runs than in the notebook.
        "words": {"200, 1000, np.random.default_rng(5)": f"50, 1000, np.random.default_rng({seed})"},
        "sgd-loop": {"3000, 10, 50": "3000, 10, 100"},
        "sgd-runs": {"default_rng(7)": f"default_rng({seed + 50})"},
    })  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_ex_mini_batch(seed):
    """'Only the noise differs, by 1/√B.'"""
    names, rng, spread = words(seed), np.random.default_rng(seed), {}
    full = names["data_batch_gradient"](np.array(0.0), names["heard"])
    for batch_size in (1, 10, 100):
        draws = names["data_batch_gradient"](np.array(0.0), rng.choice(names["heard"], (5000, batch_size)))
        spread[batch_size] = draws.std()
        assert abs(draws.mean() - full) < 4 * draws.std() / np.sqrt(5000)
    assert spread[1] / spread[10] == pytest.approx(np.sqrt(10), rel=0.1)
    assert spread[10] / spread[100] == pytest.approx(np.sqrt(10), rel=0.1)


@pytest.mark.parametrize("seed", SEEDS)
def test_schedules_explained(seed):
    """'A constant step hovers at a distance of order √α. With α like 1/t the distance falls like 1/√t ... With 1/t² it stops'"""
    names = words(seed)
    errors = np.sqrt(np.mean((names["runs"] - names["best"]) ** 2, axis=2)).T  # [schedule, steps]
    for number in (0, 1):
        assert errors[number, -1] == pytest.approx(errors[number, 1000], rel=0.35)
    assert errors[0, 2000:].mean() / errors[1, 2000:].mean() == pytest.approx(np.sqrt(10), rel=0.35)
    assert errors[2, 300] / errors[2, -1] == pytest.approx(np.sqrt(10), rel=0.35)
    assert errors[3, -1] > 0.2 and errors[3, -1] > 0.95 * errors[3, 300]


@pytest.mark.parametrize("seed", SEEDS)
def test_biased_explained(seed):
    """'It converges to the wrong place ... θ comes out too large. Only more words help: the bias falls like 1/B.'"""
    names, rng, bias = words(seed), np.random.default_rng(seed), {}
    for size in (10, 20, 50, 100):
        batches = rng.choice(names["scores"], (2000, 50, size))
        ends = names["climb"](names["word_batch_gradient"], names["schedules"]["like 1/t"][:2000, None], batches)[-1]
        bias[size] = ends.mean() - names["best"]
        assert bias[size] > 0
    assert bias[10] > bias[20] > bias[50] > bias[100]
    assert bias[20] / bias[100] == pytest.approx(5, rel=0.6)


def test_conditionals():
    """'with y in millimetres rather than metres every log-density is log 1000 lower'"""
    density = run_cells("setup", "ex-normal-log-density-answer")["normal_log_density"]
    y, mean, log_scale = jnp.array([[0.3]]), jnp.array([[0.1]]), jnp.array([[-1.0]])
    lower = density(y, mean, log_scale) - density(1000 * y, 1000 * mean, log_scale + np.log(1000))
    assert float(lower[0]) == pytest.approx(np.log(1000), rel=1e-4)

"""The claims of ``notebooks/projects/p6_time_reversed_dynamics.ipynb``; each test quotes its sentence, named after its cell."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx

from tests.claims.cells import run_cells, take

NOTEBOOK = "projects/p6_time_reversed_dynamics"
# What a starter trains takes minutes, and few work on it: weekly is often enough.
pytestmark = pytest.mark.slow
SEEDS = range(5)
EXACT = ("setup", "imports", "oscillator-code", "oscillator-simulate", "ex-kernel-answer", "kernel-use")
NETWORK = ("network-code", "log-prob-code", "objective-code")
WELL = ("well-code", "grid-code", "ex-step-answer")


@cache
def project():
    """Return the variables after the definitions, with few paths."""
    few = {"oscillator-simulate": {"20_000": "2_000", "10_000": "2_000"}}
    return run_cells(NOTEBOOK, *EXACT, *NETWORK, "rivals-code", "ex-report-answer", *WELL, replacing=few, yours=take)


def with_cells(*ids, replacing=None, **names):
    return run_cells(NOTEBOOK, *ids, names=project() | names, replacing=replacing, yours=take)


def entropy(cov):
    return scipy.stats.multivariate_normal(cov=cov).entropy()


def kl(mean, cov, other_mean, other_cov):
    """Return KL[N(mean, cov) || N(other_mean, other_cov)]."""
    inverse = np.linalg.inv(other_cov)
    shift = other_mean - mean
    log_ratio = np.linalg.slogdet(other_cov)[1] - np.linalg.slogdet(cov)[1]
    return 0.5 * (np.trace(inverse @ cov) + shift @ inverse @ shift - len(cov) + log_ratio)


def grid_entropies(names):
    """Return the entropy of the past in two wells for all s, from sums over the grid."""
    found = []
    for density in names["exact_pasts"]:
        each = -(density * np.log(density + 1e-300)).sum(0) * names["WIDTH"]
        found.append(each @ names["priors"][-1])
    return np.array(found)


# --- Part 1 -----------------------------------------------------------------------------------------------------------


def test_forward_noise_adds_up():
    """``Q_s = P_inf - F_s P_inf F_s'``: one jump is many small steps."""
    names = project()
    (transition, noise_cov), (long, long_cov) = names["forward"](1), names["forward"](7)
    mean, cov = np.zeros(2), np.zeros((2, 2))
    for _ in range(7):
        mean, cov = transition @ mean, transition @ cov @ transition.T + noise_cov
    np.testing.assert_allclose(cov, long_cov, atol=1e-10)
    np.testing.assert_allclose(np.linalg.matrix_power(transition, 7), long, atol=1e-10)
    # A short step puts noise of scale NOISE on the velocity, and hardly any on the position.
    short = names["forward"](1e-4)[1] / (names["T"] * 1e-4 / names["TIMES"])
    np.testing.assert_allclose(short, np.diag([0, names["NOISE"] ** 2]), atol=1e-4)


def test_kernel_is_bayes_rule_on_a_grid():
    reverse = project()["reversed_kernel"]
    grid = np.linspace(-12, 12, 4001)
    for seed in SEEDS:
        mean, cov, transition, noise_cov, present = np.random.default_rng(seed).uniform(0.5, 2, size=5)
        prior = scipy.stats.norm.pdf(grid, mean, cov**0.5)
        posterior = prior * scipy.stats.norm.pdf(present, transition * grid, noise_cov**0.5)
        posterior /= posterior.sum()
        gain, offset, past_cov = reverse(np.array([mean]), *np.array([cov, transition, noise_cov]).reshape(3, 1, 1))
        found = posterior @ grid
        assert found == pytest.approx((gain @ [present] + offset).item(), abs=1e-6)
        assert posterior @ (grid - found) ** 2 == pytest.approx(past_cov.item(), rel=1e-6)


def test_small_steps_back_are_one_jump():
    """The chain is Markov in both directions: 40 reversed steps, one after another, are the reversal over all of T."""
    names = project()
    gain, offset, cov = np.eye(2), np.zeros(2), np.zeros((2, 2))
    for ago in names["AGO"]:
        step, shift, step_cov = names["reversed_kernel"](*names["marginal"](names["TIMES"] - ago), *names["forward"](1))
        gain, offset, cov = step @ gain, step @ offset + shift, step @ cov @ step.T + step_cov
        for found, exact in zip((gain, offset, cov), names["kernels"][ago - 1]):
            np.testing.assert_allclose(found, exact, atol=1e-8)


def test_kernel_from_pairs_is_nearly_exact():
    names = project()
    for ago in (1, 20, 40):
        system = *names["marginal"](names["TIMES"] - ago), *names["forward"](ago)
        nearly = names["kernel_from_pairs"](*system)[2]
        assert entropy(nearly) == pytest.approx(entropy(names["reversed_kernel"](*system)[2]), abs=0.02)


def test_entropy_explained():
    """The past close to either is nearly certain, and in between it is least certain. ... At s = T the entropy is that of the
    release, to less than 0.02 nats."""
    names = project()
    found = np.array([entropy(cov) for _, _, cov in names["kernels"]])
    top = found.argmax()
    assert 10 < top < 30
    assert (np.diff(found[: top + 1]) > 0).all() and (np.diff(found[top:]) < 0).all()
    assert 0 <= entropy(names["START_COV"]) - found[-1] < 0.02


@pytest.mark.parametrize(("dim", "components"), [(1, 4), (2, 1)])
def test_log_q_is_a_density(dim, components):
    names = project()
    model = names["Reversal"](dim, components, 0)
    axis = np.linspace(-5, 5, 201)
    points = jnp.asarray(np.stack(np.meshgrid(*[axis] * dim), -1).reshape(-1, dim))
    present = jnp.broadcast_to(jnp.float32([0.3, -0.2][:dim]), points.shape)
    log_q = nnx.jit(names["log_q"])
    for s in (0.1, 0.2):
        total = jnp.exp(log_q(model, points, present, jnp.full(len(points), s))).sum()
        assert float(total) * (axis[1] - axis[0]) ** dim == pytest.approx(1, abs=2e-3)


def test_objective_takes_the_past_that_belongs_to_s():
    names = project()
    paths = jnp.arange(names["TIMES"] + 1.0)[None, :, None] * jnp.ones((3, 1, 1))
    seen = []

    def spy(model, past, present, s):
        seen.append((np.asarray(past)[:, 0], np.asarray(present)[:, 0], np.asarray(s) * names["TIMES"]))
        return jnp.zeros(len(s))

    space = with_cells("objective-code", log_q=spy)
    for seed in SEEDS:
        space["objective"](None, paths, jax.random.key(seed))
    for past, present, ago in seen:
        np.testing.assert_allclose(past, present - ago, atol=1e-4)
        assert (ago > 0.99).all()


def test_report():
    """At s = 0.15 the entropy of our past is within 0.01 nats of the exact one. ... It is even worse than ignoring the present.
    ... Forwards position and velocity are positively correlated. ... Backwards the correlation is negative."""
    names = project()
    cov = names["kernels"][0][2]
    transition, noise_cov = names["forward"](1)
    back = np.linalg.inv(transition)
    assert abs(entropy(noise_cov) - entropy(cov)) < 0.01
    assert noise_cov[0, 1] > 0 > cov[0, 1]
    assert (back @ noise_cov @ back.T)[0, 1] < 0
    # What running back misses, from the covariance of its own error, back @ noise.
    spread = back @ noise_cov @ back.T
    score = -0.5 * (np.linalg.slogdet(2 * np.pi * noise_cov)[1] + np.trace(np.linalg.solve(noise_cov, spread)))
    assert -entropy(cov) - score > 6
    assert score < -entropy(names["marginal"](names["TIMES"] - 1)[1])


def test_plain():
    """Friction shrinks deviations on the way forward, so running back makes them explode."""
    names = project()
    found = []
    for ago in names["AGO"]:
        transition, noise_cov = names["forward"](ago)
        back = np.linalg.inv(transition)
        found.append(entropy(back @ noise_cov @ back.T) - entropy(names["kernels"][ago - 1][2]))
    assert (np.diff(found) > 0).all()
    assert found[-1] > 4


def test_report_explained():
    """More than fifty standard errors too sure of itself ... The reversal without a prior passes this test ... p(x_{T-s}) passes it."""
    for seed in SEEDS:
        held_out = project()["simulate_oscillator"](10_000, np.random.default_rng(100 + seed))
        names = with_cells("rivals-code", held_out=held_out)
        for ago in (1, 20):
            past = held_out[:, names["TIMES"] - ago]
            found = {
                name: names["overconfidence"](past, means, np.broadcast_to(cov, (len(past), 2, 2)))
                for name, (means, cov) in names["reversals"](ago).items()
            }
            assert found.pop("backwards, forward noise") > 50
            assert len(found) == 3 and all(abs(each) < 4.5 for each in found.values())


def test_oscillator_explained():
    """The network is worst at the two ends."""
    names = run_cells(
        *(NOTEBOOK, *EXACT, *NETWORK, "train-oscillator", "rivals-code"),
        *("exact-entropy", "oscillator-table"),
        replacing={"train-oscillator": {"SEEDS = 1200, 3": "SEEDS = 1200, 5"}},
        names={"MISSES": ["", "", "more than 1 nat"], "SHAPES": ["", "", "falls"]},
        yours=take,
    )
    gaps = names["gaps"]
    assert gaps.shape[0] == 5
    middle = gaps[:, 5:30].max(1)
    assert (gaps[:, 0] > 2 * middle).all() and (gaps[:, -1] > 2 * middle).all()
    assert gaps.mean() < 0.04
    assert (gaps > -0.01).all()


# --- Part 2 -----------------------------------------------------------------------------------------------------------


def test_the_grid_is_fine_enough():
    """A grid twice as fine gives the same entropies, and the simulated particles have the densities of the grid."""
    names = project()
    np.testing.assert_allclose(names["one_step"][20:-20].sum(1), 1, atol=1e-6)
    fine = {"grid-code": {"WIDTH = 0.02": "WIDTH = 0.01", "np.arange(-130, 131)": "np.arange(-260, 261)"}}
    finer = with_cells("grid-code", replacing=fine)
    np.testing.assert_allclose(grid_entropies(names), grid_entropies(finer), atol=1e-4)
    paths = names["simulate_well"](20_000, np.random.default_rng(5))[..., 0]
    for part in (1, 10, 40):
        prior = names["priors"][part * names["EVERY"]]
        for function in (np.sign, np.tanh, np.square):
            values = function(paths[:, part])
            assert abs(values.mean() - prior @ function(names["cells"])) < 5 * scipy.stats.sem(values)


def test_well():
    """By then about one particle in six has crossed to the right."""
    names = project()
    assert names["priors"][-1][names["cells"] > 0].sum() == pytest.approx(1 / 6, abs=0.02)


def test_well_explained():
    """At s = 2 the prior, which ignores the present, has the higher log-likelihood."""
    names = project()
    entropies = grid_entropies(names)
    few = {"well_learned": [], "log_q_of_paths": None, "train": lambda *_: None}
    for seed in SEEDS:
        paths, held_out = (names["simulate_well"](num, np.random.default_rng([seed, num])) for num in (5_000, 4_000))
        space = with_cells(
            "well-rivals-code", well_paths=paths, well_held_out=held_out, well_scores=np.zeros((3, 40, 4_000)), **few
        )
        table = run_cells(NOTEBOOK, "well-table", names=space)
        found = {name: values[19].mean() for name, values in table["well_plain"].items()}
        assert found["exact"] > found["without the present"] > found["backwards"] + 0.5
        error = scipy.stats.sem(table["well_plain"]["exact"][19])
        assert abs(found["exact"] + entropies[19]) < 4 * error + 1e-3


def test_crossing():
    """As probably on the left as on the right at about t = 2, in the middle third."""
    names = project()
    seen = names["exact_pasts"][:, :, np.abs(names["cells"] - 1).argmin()] * names["WIDTH"]
    on_left = seen[:, names["cells"] < 0].sum(1)
    assert (np.diff(on_left) > 0).all()
    ago = names["T_WELL"] / names["TIMES"] * names["AGO"][np.argmax(on_left > 0.5)]
    assert names["T_WELL"] - ago == pytest.approx(2.0, abs=0.15)


def test_step_is_bayes_rule_of_one_step():
    """One small step back has the mean and the scale of the posterior on the grid, up to terms of order Δ."""
    names = project()
    cells, delta = names["cells"], names["DELTA"]
    for step in (50, 100, 200):
        joint = names["priors"][step - 1][:, None] * names["one_step"]
        posterior = joint / joint.sum(0)
        means = cells @ posterior
        scales = np.sqrt(((cells[:, None] - means) ** 2 * posterior).sum(0))
        score = np.gradient(np.log(names["priors"][step - 1] + 1e-300), names["WIDTH"])
        args = cells, names["drift"](cells), score, names["SIGMA"], delta
        found = names["reversed_step"](*args, np.zeros(len(cells)))
        inside = np.abs(cells) < 1.4
        assert np.abs(found - means)[inside].max() < 0.02
        assert np.abs(names["reversed_step"](*args, np.ones(len(cells))) - found - scales)[inside].max() < 0.01
        # Without the score it is further off.
        assert np.abs(cells - delta * names["drift"](cells) - means)[inside].max() > 0.04


def test_film_back():
    """Run back to the release: mean -1, standard deviation 0.2; on the left two units of time ago, nearly as on the grid."""
    names = project()
    right = np.abs(names["cells"] - 1).argmin()
    on_left = (names["exact_pasts"][:, :, right] * names["WIDTH"])[:, names["cells"] < 0].sum(1)
    for seed in SEEDS:
        key = {"film-back": {"default_rng(4)": f"default_rng({40 + seed})", "2000": "1000"}}
        back = with_cells("film-back", replacing=key, on_left=on_left)
        assert back["x"].mean() == pytest.approx(-1, abs=0.03)
        assert back["x"].std() == pytest.approx(0.2, abs=0.02)
        assert (back["frames"][20][3] < 0).mean() == pytest.approx(on_left[19], abs=0.09)


def test_film_explained():
    """Around t = 2 the past is in both wells. A single normal would have its mean on the barrier, where the particle seldom
    was. ... From the left, most probably. ... In equilibrium the score is 2f/σ², the mean of your step becomes x + fΔ."""
    names = project()
    cells, width = names["cells"], names["WIDTH"]
    of_one, of_top = (names["exact_pasts"][:, :, np.abs(cells - at).argmin()] * width for at in (1, 0))
    halfway = of_one[19]
    assert 0.3 < halfway[cells < 0].sum() < 0.7
    assert abs(halfway @ cells) < 0.1
    assert halfway[np.abs(cells) < 0.2].sum() < 0.1
    assert (of_top[:, cells < 0].sum(1) > 0.6).all()
    # In equilibrium the density is exp(-2V/σ²).
    log_density = -2 * (cells**2 - 1) ** 2 / names["SIGMA"] ** 2
    force, inside = names["drift"](cells), slice(1, -1)
    score = np.gradient(log_density, width)
    np.testing.assert_allclose(score[inside], 2 * force[inside] / names["SIGMA"] ** 2, atol=0.02)
    step = names["reversed_step"](
        cells, force, 2 * force / names["SIGMA"] ** 2, names["SIGMA"], names["DELTA"], 0 * cells
    )
    np.testing.assert_allclose(step, cells + force * names["DELTA"], atol=1e-12)


def test_well_learned():
    """On average the learned reversal is about a hundredth of a nat below the exact one."""
    names = with_cells(
        *("train-oscillator", "train-well", "well-rivals-code", "well-table", "well-kl"),
        replacing={"train-oscillator": {"1200, 3": "1200, 5", "range(SEEDS)": "range(1)"}},
    )
    gaps = names["well_gaps"]
    assert gaps.shape[0] == 5
    assert gaps.mean() == pytest.approx(0.01, abs=0.006)
    assert isinstance(names["well_learned"][0], nnx.Module)


def test_directions():
    """The score of one normal ... is off by 0.89. A denoiser knows the score of the noisy density: large noise blurs it."""
    names = project()
    cells, width, density = names["cells"], names["WIDTH"], names["priors"][200] / names["priors"][200].sum()
    score = np.gradient(np.log(names["priors"][200] + 1e-300), width)

    def off(found):
        return np.sqrt((found - score) ** 2 @ density / (score**2 @ density))

    mean = cells @ density
    assert off((mean - cells) / ((cells - mean) ** 2 @ density)) == pytest.approx(0.89, abs=0.01)
    blurred = [scipy.stats.norm.pdf(cells[:, None], cells, scale) @ density for scale in (0.05, 0.1, 0.2, 0.4)]
    errors = [off(np.gradient(np.log(each + 1e-300), width)) for each in blurred]
    assert (np.diff(errors) > 0.1).all()
    assert errors[0] < 0.1 and errors[-1] > 0.7


def test_film_back_counts_no_nan():
    """nan is on no side: a score that lets particles go shows."""
    no_score = {"film-back": {"np.gradient(np.log(priors[step - 1] + 1e-300), WIDTH)": "0 * cells", "2000": "50"}}
    with np.errstate(all="ignore"):
        back = with_cells("film-back", replacing=no_score, on_left=np.zeros(40))
    assert not np.isfinite(back["x"]).all() and np.isnan(back["left"])

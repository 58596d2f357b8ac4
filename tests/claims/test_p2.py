"""The claims of ``notebooks/projects/p2_dna_alignment.ipynb``; each test quotes its sentence and is named after its cell.

What changes are the strings, the scores and the seeds of the simulated evolution.
"""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from course_utils.montecarlo import monte_carlo
from tests.claims.cells import run_cells, take

NOTEBOOK = "projects/p2_dna_alignment"
# What a starter trains takes minutes, and few work on it: weekly is often enough.
pytestmark = pytest.mark.slow
DEFINITIONS = (
    *("setup", "imports", "enumerate", "ex-smooth-answer", "take-up", "skew", "aligner", "batch", "batch-align"),
    *("ex-expected-answer", "truth", "gap-rules", "evolve", "ex-lie-answer", "count", "objective"),
)
SEEDS = range(5)


@cache
def lecture():
    return run_cells(NOTEBOOK, *DEFINITIONS, yours=take)


def with_cells(*ids, replacing=None, **names):
    return run_cells(NOTEBOOK, *ids, names=lecture() | names, replacing=replacing, yours=take)


def some_pairs(seed, num):
    return [each[:num] for each in lecture()["evolve"](np.random.default_rng(seed), num + 20)]


# --- the mathematics --------------------------------------------------------------------------------------------------


def test_smoothed_maximum():
    """A distribution q over the entries of v gets E_q[v] + T H[q]: none gets more than the answer, and the softmax gets it."""
    names = lecture()
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        v, heat = rng.normal(size=(4, 3)), rng.uniform(0.3, 2)
        q = rng.dirichlet(np.ones(4), size=(1000, 3))
        softmax = np.exp(v / heat).T / np.exp(v / heat).sum(0)[:, None]
        reached = [(each * v.T - heat * each * np.log(each)).sum(-1) for each in (q, softmax)]
        value = np.asarray(names["smooth_max"](v, heat))
        assert (reached[0] <= value + 1e-5).all()
        np.testing.assert_allclose(value, reached[1], rtol=1e-5)
        np.testing.assert_allclose(names["two_at_a_time"](v, heat), value, rtol=1e-5)
    jax, tied = names["jax"], names["jnp"].array([[2.0, 2.0, -1e5], [2.0, -1e5, 2.0], [2.0, 2.0, 2.0]])
    gradients = [jax.grad(lambda v, f=f: f(v, 0.05).sum())(tied) for f in (names["smooth_max"], names["two_at_a_time"])]
    for each in gradients:
        np.testing.assert_allclose(each, [[1 / 3, 0.5, 0], [1 / 3, 0, 0.5], [1 / 3, 0.5, 0.5]], rtol=1e-5)


def test_skew():
    """With far larger ones, a division by T has an error that exp() shows: at -10^5 a plain logsumexp aligns, compiled, too."""
    names = lecture()
    jax, jnp, heats = names["jax"], names["jnp"], names["np"].geomspace(0.02, 6, 20).astype(np.float32)
    x, y, length, _ = (each[0] for each in some_pairs(6, 10))
    cells, lengths = jnp.float32(names["true_scores"][x][:, y]), np.array([24, length])

    def plain(values, heat):
        return heat * jax.nn.logsumexp(values / heat, axis=0)

    def matches(heat, smooth):
        return jax.grad(lambda table: names["smooth_align"](table, names["true_rules"], heat, lengths, smooth))(cells)

    found = [jax.jit(jax.vmap(lambda heat, f=f: matches(heat, f)))(heats) for f in (plain, names["smooth_max"])]
    np.testing.assert_allclose(*found, atol=2e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_brute_force(seed):
    """The gradient is the expected alignment, and the derivative with respect to the temperature is the entropy."""
    names, rng = lecture(), np.random.default_rng(seed)
    rows, columns = rng.integers(2, 6, size=2)
    scores, rules = rng.normal(size=(rows, columns)), (rng.normal(size=(3, 3)), rng.normal(size=3))
    heat = rng.uniform(0.3, 2)
    every = names["alignments"](rows, columns)
    tables = np.array([names["match_table"](z, (rows, columns)) for z in every])
    total = (tables * scores).sum((1, 2))
    for each, z in enumerate(every):
        states = [0, *("MXY".index(state) for state in z)]
        total[each] += sum(rules[0][a, b] for a, b in pairwise(states)) + rules[1][states[-1]]
    q = np.exp(total / heat) / np.exp(total / heat).sum()
    value, matches, entropy = names["align"](names["padded"](scores), rules, heat, (rows, columns))
    assert value[0] == pytest.approx(heat * np.log(np.exp(total / heat).sum()), abs=1e-4)
    expected = np.einsum("z,zij->ij", q, tables)
    np.testing.assert_allclose(matches[0], names["padded"](expected), atol=1e-4)
    assert entropy[0] == pytest.approx(-(q * np.log(q)).sum(), abs=1e-3)


def test_finite_differences():
    """The two derivatives of F_T are those of long strings too."""
    names, rng, h = lecture(), np.random.default_rng(0), 0.05
    cells, heat = rng.normal(size=(24, 40)), 1.3
    rules = rng.normal(size=(3, 3)), rng.normal(size=3)
    _, matches, entropy = names["align"](cells, rules, heat, (24, 40))
    likely = np.argwhere(matches[0] > 0.05)[:25]
    moved = np.tile(cells, (50, 1, 1))
    for each, (i, j) in enumerate(likely):
        moved[2 * each, i, j] += h
        moved[2 * each + 1, i, j] -= h
    value = names["align"](moved, rules, heat, (24, 40))[0][: 2 * len(likely)].reshape(-1, 2)
    np.testing.assert_allclose((value[:, 0] - value[:, 1]) / (2 * h), matches[0][tuple(likely.T)], atol=3e-3)
    value = names["align"](cells, rules, np.repeat([heat + h, heat - h], 25), (24, 40))[0]
    assert (value[0] - value[-1]) / (2 * h) == pytest.approx(entropy[0], rel=5e-3)


def test_mathematics():
    """There are more than 10^17 [alignments] for two strings of 24 letters."""
    names = lecture()
    count = np.ones((25, 41))
    for i in range(1, 25):
        for j in range(1, 41):
            count[i, j] = count[i - 1, j] + count[i, j - 1] + count[i - 1, j - 1]
    assert 1e17 < count[24, 24] < 1e18
    sizes = np.random.default_rng(0).integers(1, [25, 41], size=(50, 2))
    nothing = np.zeros((24, 40)), (np.zeros((3, 3)), np.zeros(3))
    log_count = names["align"](*nothing, 1, sizes)[0]
    np.testing.assert_allclose(log_count, np.log(count[tuple(sizes.T)]), rtol=1e-4, atol=1e-4)


def test_truth():
    """The logarithms of all steps and ends: before the end of x the three steps from a state exclude each other and sum to one; at
    its end an insertion and the stop do."""
    for probabilities in np.random.default_rng(0).uniform(0.05, 0.9, size=(5, 2)):
        transitions, end = map(np.exp, lecture()["gap_rules"](*probabilities))
        np.testing.assert_allclose(transitions.sum(1), 1)
        np.testing.assert_allclose(transitions[:, 2] + end, 1)


def test_evolve_how():
    """F_1 + |y| log ¼ is exactly log p(y|x): so at the truth its gradient is zero on average, in all 18 parameters."""
    names, num = lecture(), 500
    jax, jnp = names["jax"], names["jnp"]
    x, y, length, _ = some_pairs(50, num)
    truth = {"letters": jnp.log(jnp.float32(names["TRUE"])), "gaps": jnp.log(jnp.array([0.04 / 0.96, 1.0]))}
    gradient = jax.jit(jax.vmap(jax.grad(names["log_likelihood"]), (None, 0, 0, 0)))(truth, x, y, length)
    for each in gradient.values():
        mean, error = monte_carlo(each)
        assert (np.abs(mean) < 4 * error).all()
        assert (error < 0.06).all()


# --- the experiments --------------------------------------------------------------------------------------------------


def test_explorer_explained():
    """Near zero the picture is one path, or a few that tie. When it is hot, all alignments count nearly alike."""
    names = lecture()
    x, y, length, _ = some_pairs(6, 50)
    cells = names["true_scores"][x[:, :, None], y[:, None]]
    lengths = np.stack([np.full(50, 24), length], 1)
    cold, one, hot = (names["align"](cells, names["true_rules"], T, lengths)[2] for T in (0.05, 1, 6))
    log_count = names["align"](0 * cells, (np.zeros((3, 3)), np.zeros(3)), 1, lengths)[0]
    assert np.median(cold) < np.log(4)
    assert (cold < one).all()
    assert (hot > 0.93 * log_count).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_biopython(seed):
    """For T → 0 the value must be that of an ordinary aligner; the excess counts the best alignments, as Biopython does."""
    pytest.importorskip("Bio.Align")
    ids = "random-pairs", "biopython"
    names = with_cells(*ids, replacing={"random-pairs": {"default_rng(1)": f"default_rng({seed})"}})
    assert np.abs(names["cooled"][0.02] - names["best"]).max() < 0.2
    assert (np.round(names["cooled"][0.02] - 0.2) <= names["best"]).all()
    assert names["same"].all()
    largest = [np.max(value - names["best"]) for value in names["cooled"].values()]
    assert largest[0] > 5 * largest[1] > 5 * largest[2]


@pytest.mark.parametrize("seed", SEEDS[:2])
def test_audit_explained(seed):
    """The slip makes ... the value fall below the best score. Several letters of x may claim the same letter of y."""
    where = {"random-pairs": {"default_rng(1)": f"default_rng({seed})"}}
    names = with_cells("random-pairs", "audit", "audit-table", replacing=where)
    reports = {
        "ours": (names["ours"], names["matches"], 0),
        "slip": (names["means"], names["matches"], 2),
        "attention": (names["ours"], names["attention"], 1),
    }
    for name, (values, tables, lie) in reports.items():
        each = zip(names["cooled"][0.02], values, names["log_count"], tables)
        found = np.array([names["find_lie"](1.0, *report) for report in each])
        assert (found == lie).mean() > (0.5 if name == "attention" else 0.99), name
        assert set(found) <= {0, lie}


def test_gaps_explained():
    """A best alignment contains a gap only where that is the best explanation. ... The posterior, T = 1, ... has no bias."""
    names = lecture()
    for seed in SEEDS:
        pairs = some_pairs(100 + seed, 200)
        true = (pairs[3] < 0).sum(1)
        off = {}
        for heat in (0.05, 1, 1.5):
            counts = names["counted"](pairs, names["true_scores"], names["true_rules"], heat)
            off[heat] = monte_carlo(24 - counts.sum((1, 2)) - true)
        assert off[0.05].mean < -0.2 * true.mean()
        assert abs(off[1].mean) < 4 * off[1].standard_error
        assert off[1.5].mean > true.mean()


@pytest.mark.parametrize("first", [10, 20, 30])
def test_compare_table(first):
    """The error of scores learned without alignments is less than 1.5 times as large as with them; counting in best alignments with
    scores ±1 is far worse. The four transitions are a class of their own: it is in the pairs."""
    replacing = {"fit": {"10 + seed": f"{first} + seed"}}
    names = with_cells("fit", "counts", "compare", "compare-table", replacing=replacing)
    plain, learned, known = (values.mean() for values in names["errors"].values())
    assert 1 < learned / known < 1.5
    assert plain > 2 * learned
    scores = names["learned"].reshape(5, 16)
    true = names["true_scores"].ravel()
    transitions, others = (scores[:, np.isclose(true, np.log(4 * p))] for p in (0.20, 0.08))
    assert transitions.min() > others.max()
    gaps = np.asarray(names["jax"].nn.sigmoid(names["theta"]["gaps"])).mean(0)
    assert gaps[0] == pytest.approx(0.04, abs=0.0035)
    assert gaps[1] == pytest.approx(0.5, abs=0.04)

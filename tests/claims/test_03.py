"""The claims of ``notebooks/03_why_be_bayesian.ipynb``; each test quotes its sentence and is named after its cell."""

from functools import cache, partial

import numpy as np
import pytest
import scipy.stats

from tests.claims import cells
from tests.claims.cells import take

NOTEBOOK = "03_why_be_bayesian"
SEEDS = range(10)


run_cells = partial(cells.run_cells, NOTEBOOK, yours=take)


@cache
def lecture():
    return run_cells(
        *("setup", "imports", "test-quality", "ex-decision-answer", "decisions-measured", "class-densities"),
        *("ex-regression-answer", "regression-code", "features-code", "draw-curves", "coverage-kinds", "coverage-code"),
        *("logistic", "ex-ensemble-answer", "ensemble-run", "ensemble-reports", "ensemble-scores", "averaging-gain"),
        *("ex-evidence-answer", "evidence-code", "evidence-grid", "evidence-measured", "evidence-contenders"),
        *("mixture", "mixture-joint", "two-kinds-code", "semi-supervised", "semi-scores", "ex-verdict-answer"),
        replacing={"setup": {"import numpy as np": "import numpy as np\nrng = np.random.default_rng(0)"}},
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_screening_explained(seed):
    """Fewer than three positives in a hundred are ill; almost sixfold; the answer without a prior is 85 %."""
    names = run_cells(
        *("screening-count", "screening-bayes"),
        names=lecture(),
        replacing={"screening-count": {"default_rng(0)": f"default_rng({seed})"}},
    )
    assert 0.025 < names["counted"] < 0.03 + 3 * names["counted_error"]
    bayes = names["joint"][0] / names["joint"].sum()
    assert bayes < 0.03
    assert abs(names["counted"] - bayes) < 4 * names["counted_error"]
    assert 5 < bayes / names["PREVALENCE"] < 6
    without = names["sensitivity"] / (names["sensitivity"] + 1 - names["specificity"])
    assert without == pytest.approx(0.85, abs=0.01)
    assert 28 < without / bayes < 32


@pytest.mark.parametrize("seed", SEEDS)
def test_decisions_explained(seed):
    """The worst rule has the right prior; the best loses a third of it, and less than half of no measurement."""
    names = dict(lecture(), rng=np.random.default_rng(seed), NUM_SPLITS=12)
    names = run_cells("decisions-table", names=names)
    worst, best = "right prior, most probable", "right prior, least expected loss"
    losses = {name: np.mean(values) for name, values in names["losses"].items()}
    assert max(losses, key=losses.get) == worst
    assert min(losses, key=losses.get) == best
    assert losses["clinic's prior, most probable"] < losses["no measurement"]
    assert 0.28 < losses[best] / losses[worst] < 0.42
    assert losses[best] < 0.52 * losses["no measurement"]


def test_decision_explorer_explained():
    """The bars are lowest near the crossing; a higher cost moves the best cut-off to the left. (Ten costs.)"""
    names = lecture()
    cutoffs, prior = np.linspace(9, 23, 500), names["REFERRED"]
    groups = [names["log_radius"][group] for group in (~names["malignant"], names["malignant"])]
    below = [scipy.stats.norm.cdf(np.log(cutoffs), group.mean(), group.std()) for group in groups]
    joint = prior * names["class_densities"](np.log(cutoffs), names["log_radius"], names["malignant"])
    probability, best = joint[:, 1] / joint.sum(1), []
    for cost in np.geomspace(5, 100, 10):
        loss = prior[1] * cost * below[1] + prior[0] * (1 - below[0])
        best.append(cutoffs[loss.argmin()])
        assert abs(probability[loss.argmin()] - 1 / (1 + cost)) < 0.01
    assert np.all(np.diff(best) < 0)


@cache
def coverage(seed):
    covered = lecture()["count_coverage"](np.random.default_rng(seed), 250)
    return {name: values.mean(0) for name, values in covered.items()}


def test_coverage_explained():
    """The posterior covers what it promises; the plug-in's 90 % misses a quarter; a third of the noise covers a little over 40 %."""
    levels, mean = lecture()["LEVELS"], {}
    for name in lecture()["KINDS"]:
        mean[name] = np.mean([coverage(seed)[name] for seed in SEEDS], axis=0)
    error = np.sqrt(levels * (1 - levels) / 2500)
    assert np.all(np.abs(mean["posterior"] - levels) < 3.5 * error)
    assert mean["plug-in"][5] == pytest.approx(0.75, abs=0.03)
    assert 0.38 < mean["a third of the noise"][5] < 0.45
    assert np.all(mean["three times the noise"] > levels)


def test_regression_how():
    """The course's own is another way to the same numbers. (Ten regressions.)"""
    for seed in SEEDS:
        problem = lecture()["draw_regression"](np.random.default_rng(seed), 6, 4)
        for ours, courses in zip(lecture()["weights_posterior"](*problem), lecture()["course_posterior"](*problem)):
            np.testing.assert_allclose(ours, courses, atol=1e-9)
        assert lecture()["log_evidence"](*problem) == pytest.approx(lecture()["course_evidence"](*problem), abs=1e-8)


@cache
def ensemble_scores():
    """Return for each recipe the test scores of 30 choices of eight tumours, in ten runs: [10, 30]."""
    runs = [lecture()["ensemble_scores"](np.random.default_rng(100 + seed), 30) for seed in SEEDS]
    return {name: np.array([run[name] for run in runs]) for name in runs[0]}


def test_averaging_explained_ensemble():
    """The average of the probabilities beats MAP, votes, average parameters, and a single member by far."""
    scores = {name: values.mean() for name, values in ensemble_scores().items()}
    assert scores["A"] > scores["MAP"] > max(scores["B"], scores["C"]) > scores["one member"]
    assert np.mean(ensemble_scores()["A"].mean(1) > ensemble_scores()["MAP"].mean(1)) > 0.8
    assert np.all(ensemble_scores()["A"].mean(1) - ensemble_scores()["one member"].mean(1) > 0.05)


def test_averaging_explained_jensen():
    """At every single tumour the average is at least as good as its members are on average."""
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        shown = lecture()["eight_shown"](rng)
        theta, weights = lecture()["logistic_posterior"](lecture()["malignant"], shown, 5.0)
        members = theta[rng.choice(len(theta), 64, p=weights)]
        p = scipy.special.expit(members @ lecture()["INPUTS"])
        right = np.where(lecture()["malignant"], p, 1 - p)
        assert np.all(np.log(right.mean(0)) >= np.log(right).mean(0) - 1e-12)


def gains(num_train, prior_scale, from_model, num_sets=12):
    rngs, gain = [np.random.default_rng(seed) for seed in SEEDS], lecture()["one_gain"]
    return np.array([[gain(rng, num_train, prior_scale, from_model) for _ in range(num_sets)] for rng in rngs])


def test_averaging_explained_gains():
    """'with the vague prior two to five hundredths of a nat at eight tumours, half a hundredth or less at 32 ... [with] the
    tighter prior averaging loses: 0.010 ± 0.002 nats at eight tumours.'"""
    eight, many = gains(8, 5.0, False), gains(32, 5.0, False)
    assert 0.01 < eight.mean() < 0.05
    assert 0 < many.mean() < 0.4 * eight.mean()
    tight = gains(8, 2.0, False)
    assert -0.015 < tight.mean() < 0
    assert np.mean(tight < 0) > 0.7


@cache
def worlds():
    return [[lecture()["contenders"](np.random.default_rng((seed, k))) for k in range(8)] for seed in SEEDS]


def world_scores(name):
    return np.array([[scores[name] for _, scores in run] for run in worlds()])


def test_evidence_explained():
    """Degree 3 most often; all weighted beat the one chosen; capacity costs a quarter of a nat, MAP three quarters more."""
    degrees = [degree for run in worlds() for degree, _ in run]
    assert np.bincount(degrees).argmax() == 3
    assert np.sum(np.array(degrees) < 3) > np.sum(np.array(degrees) > 3)
    truth, weighted = world_scores("truth: degree 3, noise 0.2"), world_scores("all, weighted with their evidence")
    chosen, nine = world_scores("degree and noise of highest evidence"), world_scores("degree 9, its best noise")
    at_map = world_scores("degree 9, the same noise, MAP weights")
    assert truth.mean() > weighted.mean() > chosen.mean() > nine.mean() > at_map.mean()
    assert 0.12 < (truth - nine).mean() < 0.4
    assert 0.4 < (nine - at_map).mean() < 1.3
    assert np.all(at_map.mean(1) < nine.mean(1))


@pytest.mark.parametrize("seed", SEEDS)
def test_evidence_how(seed):
    """From degree 3 on the fit has nearly all it can get, and the log Occam factor goes on falling."""
    x, y = lecture()["draw_cubic"](np.random.default_rng(seed), 15)
    fit, occam = [], []
    for degree in range(10):
        problem = lecture()["polynomials"](x, degree), y, 1.0, 0.2
        fit.append(lecture()["fit_at_peak"](*problem))
        occam.append(lecture()["log_evidence"](*problem) - fit[-1])
    assert np.ptp(fit[3:]) < 6
    assert np.all(np.diff(occam[3:]) < 0)


def test_evidence_how_prior():
    """'the prior can lower it a little when the degree grows', as it does in the figure from degree 3 to 5."""
    fits = lecture()["fits"][:, lecture()["at"]]
    assert 0.2 < fits[3] - fits[5] < 0.6


@pytest.mark.parametrize("seed", SEEDS)
def test_combining_explained(seed):
    """The steps depend on the order, their sum does not; one of B's measurements weighs as much as sixteen of A's."""
    names = run_cells(
        "two-laboratories",
        names=lecture(),
        replacing={"two-laboratories": {"default_rng(5)": f"default_rng({seed})"}},
    )
    features, targets = names["lab_problem"]
    steps = []
    for order in (np.arange(20), np.random.default_rng(seed).permutation(20)):
        heights = [names["log_evidence"](features[order][:n], targets[order][:n], 1.0, 1.0) for n in range(1, 21)]
        steps.append(np.diff(heights, prepend=0.0))
    assert steps[0].sum() == pytest.approx(steps[1].sum(), abs=1e-8)
    assert np.abs(steps[0] - steps[1]).max() > 0.01
    psi = names["polynomials"](0.3, 1)
    once = names["weights_posterior"](psi / 0.2, np.ones(1), 1.0, 1.0)[1]
    often = names["weights_posterior"](np.repeat(psi / 0.8, 16, 0), np.ones(16), 1.0, 1.0)[1]
    np.testing.assert_allclose(once, often)


@cache
def em_ends():
    """Return (agreement with the diagnosis, total log-likelihood) of EM from 16 random starts."""
    rng, ends = np.random.default_rng(1), []
    for _ in range(16):
        large, height = lecture()["two_kinds"](lecture()["tumours"], rng)
        ends.append((np.mean((large > 0.5) == lecture()["malignant"]), height))
    return np.array(ends)


def test_latent_explained():
    """Most starts agree 90 %; some end in another optimum, 0.02 nats lower in all, that agrees with 84 %."""
    agreement, height = em_ends().T
    high, low = agreement > 0.88, agreement < 0.87
    assert np.all(high | low)
    assert 0.5 < high.mean() < 1
    np.testing.assert_allclose(agreement[high], 0.90, atol=0.01)
    np.testing.assert_allclose(agreement[low], 0.84, atol=0.01)
    assert height[high].max() - height[low].max() == pytest.approx(0.02, abs=0.004)


@cache
def semi(num_labelled):
    """Return the scores of 60 trials in each of ten runs, by the number of unlabelled tumours: [10, 60]."""
    runs = [lecture()["semi_supervised"](np.random.default_rng(seed), num_labelled, 60) for seed in SEEDS]
    return {num: np.array([run[num] for run in runs]) for num in runs[0]}


def verdicts(num_labelled, num_unlabelled):
    scores = semi(num_labelled)
    return np.array([lecture()["gain_verdict"](*pair) for pair in zip(scores[num_unlabelled], scores[0])])


@pytest.mark.slow
def test_semi_explained_six():
    """With six labels 400 clearly help; with 160 the gain is about half, about three error bars; with 40 none."""
    gain = {num: (values - semi(6)[0]).mean() for num, values in semi(6).items()}
    assert np.all(verdicts(6, 400) == 1)
    assert 0.06 < gain[400] < 0.13
    assert 0.2 < gain[160] / gain[400] < 0.8
    assert 0 < np.sum(verdicts(6, 160) == 1) < 10
    assert np.sum(verdicts(6, 40) == 0) >= 8


@pytest.mark.slow
def test_semi_explained_twenty():
    """'With 40 unlabelled tumours, or with twenty labels, 100 trials show no gain.'"""
    for num_unlabelled in (40, 160, 400):
        assert np.sum(verdicts(20, num_unlabelled) == 0) >= 7
        assert abs((semi(20)[num_unlabelled] - semi(20)[0]).mean()) < 0.025


@pytest.mark.parametrize("seed", SEEDS)
def test_ex_verdict(seed):
    """The bars overlap, and yet the gain of each trial tells. (Ten made-up reports.)"""
    rng = np.random.default_rng(seed)
    hardness = rng.normal(-0.4, 0.2, 100)
    without, with_them = hardness + 0.03 * rng.normal(size=(2, 100)) + np.array([[0.0], [0.03]])
    separate = np.hypot(without.std(), with_them.std()) / 10
    assert abs(with_them.mean() - without.mean()) < 3 * separate
    assert lecture()["gain_verdict"](with_them, without) == 1


def test_by_hand_explained():
    """'A degree of 6 or more ... With 0.6 ... 5 or less. For most of the points the evidence at its best degree is higher';
    'For a slope of about 1, usually from the second or third point on. A flatter line needs more'; each further one speaks
    against the others."""
    here = lecture()
    log_evidence, polynomials = here["log_evidence"], here["polynomials"]

    def evidences(x, y, noise):
        return np.array([log_evidence(polynomials(x, d), y, 1.0, noise) for d in range(10)])

    x, y = here["draw_cubic"](np.random.default_rng(8), 15)
    higher = []
    for moved in range(15):
        narrow, wide = (evidences(x, y + 2 * (np.arange(15) == moved), noise) for noise in (0.2, 0.6))
        assert narrow.argmax() >= 6 and wide.argmax() <= 5
        higher.append(wide.max() > narrow.max())
    assert np.sum(higher) >= 10
    firsts = {}
    for slope in (1.0, -1.0, 0.3):
        rng = np.random.default_rng(0)
        for _ in range(40):
            x, shift = rng.uniform(-1, 1, 10), rng.uniform(-1.5, 0.5)
            best = np.array([evidences(x[:n], shift + slope * x[:n], 0.2).argmax() == 1 for n in range(1, 11)])
            firsts.setdefault(slope, []).append(11 - np.cumprod(best[::-1]).sum())
    assert all(np.mean(np.isin(firsts[slope], (2, 3))) > 0.8 for slope in (1.0, -1.0))
    assert np.median(firsts[0.3]) > 4
    line = [evidences(np.linspace(-0.9, 0.9, n), np.linspace(-0.9, 0.9, n), 0.2) for n in range(2, 9)]
    assert [each.argmax() for each in line] == [1] * 7
    behind = [each[1] - each[2:].max() for each in line]
    assert behind[0] < 0.5 and behind[-1] > 1.5
    assert (np.diff([each[1] - each[9] for each in line]) > 0).all()

"""The claims of ``notebooks/10_decoder_and_encoder.ipynb``; each test quotes its sentence and is named after its cell.

The model is the shipped one. What changes are the images: ten disjoint sets of test images, with other draws of their
pixels, and where something is trained, ten seeds.
"""

import re
from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from course_utils.montecarlo import monte_carlo
from course_utils.pretrained import weights_of
from course_utils.steps import digests, init
from tests.benchmarks import reproduce
from tests.claims.cells import run_cells, sources

SETS = 10
PER_SET = 16
SEEDS = range(10)
RATE = float(re.search(r"RATE, MOST_STEPS = 32, ([\d.]+)", sources("10_decoder_and_encoder")["refine-run"])[1])
CELLS = (
    *("setup", "imports", "load", "pieces-code", "apart-code", "terms-code", "beta-code", "beta-train"),
    *("ex-refine-answer", "refine-elbo", "best-code", "ladder-code", "exchange-code", "train-part", "ex-masked-answer"),
    *("erased-code", "erased-numbers"),
)


@cache
def lecture(pixel_key=2):
    """Return the variables after the notebook's definitions, with other draws of the pixels."""
    return run_cells(
        "10_decoder_and_encoder",
        *CELLS,
        replacing={
            "load": {"jax.random.key(2)": f"jax.random.key({pixel_key})"},
            # The definition alone; the notebook goes on to optimise q there.
            "best-code": {"optimised = best_q(vae.decoder, x, path[0])": ""},
        },
    )


@cache
def images():
    """Return 160 images that the notebook does not use: ten sets of 16, one after the other."""
    return lecture(17)["x_test"][5000 : 5000 + SETS * PER_SET]


def by_set(values):
    """Return the mean of each set: [..., 160] -> [10, ...]."""
    return np.moveaxis(np.asarray(values).reshape(*np.shape(values)[:-1], SETS, PER_SET).mean(-1), -1, 0)


@cache
def encoded():
    terms, vae = lecture(17)["terms"], lecture(17)["vae"]
    return terms(vae, lecture(17)["x_test"], jax.random.key(3))


def test_train_again_how(monkeypatch, tmp_path):
    """With TRAIN_AGAIN = True [the cell] trains the model again, as the course did."""
    calls = []

    def fit(objective, model, optimizer, **settings):
        calls.append((objective, model, optimizer, settings))
        return model, SimpleNamespace(interrupted=False)

    switched_on = {
        "train-again": {"TRAIN_AGAIN, EPOCHS, STEPS_PER_EPOCH = False,": "TRAIN_AGAIN, EPOCHS, STEPS_PER_EPOCH = True,"}
    }
    run_cells("10_decoder_and_encoder", "train-again", names=lecture() | {"fit": fit}, replacing=switched_on)
    monkeypatch.setattr(reproduce, "fit", fit)
    reproduce.train("vae-1", tmp_path)
    (*cell, settings), (*recipe, of_recipe) = calls
    for name in ("num_steps", "batch_size", "checkpoint_every"):
        assert settings[name] == of_recipe[name]
    assert settings["key"] == of_recipe["key"]
    np.testing.assert_array_equal(settings["data"], of_recipe["data"])
    weights = [weights_of(model) for _, model, _ in (cell, recipe)]
    for path in weights[0]:
        np.testing.assert_allclose(weights[0][path], weights[1][path], rtol=1e-5, atol=1e-6, err_msg=path)
    batch, key = jnp.asarray(settings["data"][:2]), jax.random.key(0)
    (climbed, model, adam), (of_row, _, adam_of_row) = cell, recipe
    assert climbed(model, batch, key) == of_row(model, batch, key)
    # An objective that checks its input has another digest at each trace.
    steps = [digests(climbed, each, init(model, each), batch)["optimizer"] for each in (adam, adam_of_row)]
    assert steps[0] == steps[1]


# --- Part 1 -----------------------------------------------------------------------------------------------------------


def test_apart_explained():
    """A 1 costs 47 nats, an 8 costs 107: the encoder spends 14 nats on the code of a 1 and 27 on that of an 8."""
    fits, costs = np.asarray(encoded()[0]), np.asarray(encoded()[1]).sum(1)
    labels = lecture(17)["test_labels"]
    for digit, elbo, kl in [(1, -47, 14), (8, -107, 27)]:
        of = np.flatnonzero(labels == digit)
        for part in np.array_split(of, SETS):
            assert (fits - costs)[part].mean() == pytest.approx(elbo, abs=8)
            assert costs[part].mean() == pytest.approx(kl, abs=2)
        assert (fits - costs)[of].mean() == pytest.approx(elbo, abs=1)
        assert costs[of].mean() == pytest.approx(kl, abs=0.6)


def test_collapse():
    """The model uses 17 dimensions; for the other 33 the encoder returns the prior for every image; the least active unit has 0.6."""
    _, costs, q = encoded()
    for part in np.array_split(np.arange(10_000), SETS):
        variance = np.asarray(q.mean)[part].var(0)
        assert (variance > 0.01).sum() == 17
        assert np.sort(variance)[-17] > 0.5
        assert np.sort(np.asarray(costs)[part].mean(0))[-18] < 1e-3


def test_switch_explained():
    """Switching off all 33 changes nothing; the weakest of the 17 saves half a nat of KL and loses more than two nats of
    reconstruction."""
    names, (_, costs, q) = lecture(17), encoded()
    nats, normal = np.asarray(costs).mean(0), names["DiagonalNormal"]
    weakest = np.argsort(-nats)[16]
    noise, losses = jax.random.normal(jax.random.key(1), (4, 100, 50)), []

    @jax.jit
    def terms(x, mean, scale, off):
        q = normal(jnp.where(off, 0.0, mean), jnp.where(off, 1.0, scale))
        return names["reconstruction"](names["vae"].decoder, x, q, noise).mean(), names["kl"](q).mean()

    for start in range(0, 1000, 100):
        part = names["x_test"][start : start + 100], q.mean[start : start + 100], q.scale[start : start + 100]
        whole, without_33, without_one = (
            np.array(terms(*part, off)) for off in (np.zeros(50, bool), nats < 1e-3, np.arange(50) == weakest)
        )
        assert np.abs(whole - without_33).max() < 0.05
        saved, lost = whole[1] - without_one[1], whole[0] - without_one[0]
        assert 0.4 < saved < 0.75
        losses.append(lost)
    assert min(losses) > 1
    assert np.mean(losses) > 2


@cache
def of_beta(beta, seed):
    """Return reconstruction, KL and q of a small VAE, trained with one seed for one β, on 1,000 images of that seed's own."""
    x = lecture()["x_test"][1000 * seed : 1000 * (seed + 1)]
    return lecture()["terms"](lecture()["train_beta"](beta, seed), x, jax.random.key(seed))


@pytest.mark.slow
def test_beta_explained():
    """With β = 0.2 the code carries about twice as many nats as with β = 1, and the reconstruction is the best of the three. With
    β = 5 it carries a quarter. The ELBO is best at β = 1. ... All 20 units count as active for every β (in ten other trainings
    with β = 5, one unit once fell just short)."""
    for seed in SEEDS:
        found = {}
        for beta in lecture()["BETAS"]:
            fits, costs, q = of_beta(beta, seed)
            variance = np.asarray(q.mean).var(0)
            assert (variance > 0.01).sum() >= (19 if beta > 1 else 20)
            assert variance.min() > 0.005
            found[beta] = float(fits.mean()), float(costs.sum(1).mean())
        (low, kl_low), (one, kl_one), (high, kl_high) = found.values()
        assert 1.7 < kl_low / kl_one < 2.6
        assert 0.15 < kl_high / kl_one < 0.35
        assert low > one > high
        assert one - kl_one > max(low - kl_low, high - kl_high)


@pytest.mark.slow
def test_beta_explorer_explained():
    """The bar is lowest near β = 1; after so few steps β = 0.5 does as well, within three nats. With β = 0.1 every dimension
    carries about two nats or more. ... At β = 10 all 20 together carry between one and two."""
    for seed in SEEDS:
        elbos, nats = {}, {}
        for beta in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0):
            fits, costs, _ = of_beta(beta, seed)
            nats[beta] = np.asarray(costs.mean(0))
            elbos[beta] = float(fits.mean()) - nats[beta].sum()
        near = elbos.pop(0.5), elbos.pop(1.0)
        assert abs(near[0] - near[1]) < 3 and min(near) > max(elbos.values())
        assert nats[0.1].min() > 1.8
        assert 1 < nats[10.0].sum() < 2


# --- Part 2 -----------------------------------------------------------------------------------------------------------


@cache
def contest():
    """Return the ladders [4, 160] of the notebook's contestants, and their q."""
    names, x = lecture(17), images()
    vae = names["vae"]
    q = vae.encode(x)
    own = q.mean, jnp.log(q.scale)
    step = jax.jit(lambda q, noise: names["refine"](names["elbo_of"](vae.decoder, x), *q, noise[None], RATE))
    path = [own]
    for t in range(50):
        path.append(step(path[-1], jax.random.normal(jax.random.key(t), (4, *q.mean.shape))))
    qs = {"own": own, "10": path[10], "50": path[50], "best": names["best_q"](vae.decoder, x, own)}
    for name in ("vae-50", "iwae-5", "fixed-vae-1"):
        other = names["load_pretrained"](name)[0].encode(x)
        qs[name] = other.mean, jnp.log(other.scale)
    return {name: names["ladder"](vae.decoder, x, *each) for name, each in qs.items()}, qs


@pytest.mark.slow
def test_contest_explained_agree():
    """At K = 1 the ELBOs of one model differ by about three nats; at K = 1000 all q that know this decoder agree within about
    half a nat, and are still rising."""
    ladders = {name: by_set(values) for name, values in contest()[0].items() if name != "fixed-vae-1"}
    values = np.stack(list(ladders.values()))  # [q, set, K]
    assert (np.ptp(values[..., 0], axis=0) > 2).all()
    assert (np.ptp(values[..., 3], axis=0) < 1).all()
    assert np.ptp(values[..., 3].mean(1)) < 0.7
    assert (values[..., 3].mean(1) > values[..., 2].mean(1)).all()


@pytest.mark.slow
def test_contest_explained_steps():
    """Ten gradient steps close more than half of the amortisation gap, fifty steps nearly all of it."""
    own, ten, fifty, best = (by_set(contest()[0][name])[:, 0] for name in ("own", "10", "50", "best"))
    assert ((ten - own) > 0.5 * (best - own)).all()
    assert ((fifty - own) > 0.8 * (best - own)).all()
    assert (fifty < best).all()


@pytest.mark.slow
def test_contest_explained_proposal():
    """That of iwae-5 has the worst ELBO and the best bound at K = 1000 ... Its scales are wider."""
    ladders, qs = contest()
    for other in ("own", "vae-50"):
        first, _, _, last = monte_carlo(ladders["iwae-5"] - ladders[other], axis=1).mean
        errors = monte_carlo(ladders["iwae-5"] - ladders[other], axis=1).standard_error
        assert first < -3 * errors[0]
        assert last > 2 * errors[3]
    active = np.asarray(qs["own"][0]).var(0) > 0.01
    wider = np.asarray(qs["iwae-5"][1] - qs["own"][1])[:, active].mean(1)
    assert (by_set(wider) > 0).all()


@pytest.mark.slow
def test_foreign_explained():
    """The encoder of fixed-vae-1 is about 200 nats below the model's own encoder ... the estimate [does not meet the truth]."""
    below = by_set(contest()[0]["best"][3] - contest()[0]["fixed-vae-1"])
    assert (below[:, 0] > 150).all()
    assert below[:, 0].mean() == pytest.approx(195, abs=15)
    assert (below[:, 3] > 80).all()
    assert below[:, 3].mean() > 100


@pytest.mark.slow
def test_refine_explorer_explained():
    """The left end moves several times as far as the right one; the first ten steps bring more than twice as much as the
    next forty."""
    own, ten, fifty = (by_set(contest()[0][name]) for name in ("own", "10", "50"))
    moved = (fifty - own).mean(0)
    assert moved[0] > 3 * moved[3]
    assert ((ten - own)[:, 0] > 1.5 * (fifty - ten)[:, 0]).all()
    assert (ten - own)[:, 0].mean() > 2 * (fifty - ten)[:, 0].mean()


# --- Part 3 -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_exchange_explained(seed):
    """The untrained encoder is more than 500 nats below the old one; after one epoch the new one is within 15. With K = 1000 its
    estimate is still about 5.5 nats lower. ... The new decoder['s] ELBO is lower, and so is its estimate of log p(x). ... [50 steps:]
    That is the model's number again, and the ELBO is better than the old encoder's."""
    names = lecture()
    vae, q_from, ladder, step_of = names["vae"], names["q_from"], names["ladder"], names["refine"]
    x = names["x_test"][64 * (seed + 1) : 64 * (seed + 2)]
    old = ladder(vae.decoder, x, *q_from(vae.encoder, x)).mean(1)
    fresh = names["GaussianEncoder"]([784, 200, 200, 50], rngs=names["nnx"].Rngs(seed))
    assert ladder(vae.decoder, x, *q_from(fresh, x)).mean(1)[0] < old[0] - 500
    q = q_from(names["train_part"](fresh, decoder=vae.decoder, seed=seed), x)
    new = ladder(vae.decoder, x, *q).mean(1)
    assert old[0] - 20 < new[0] < old[0] - 8
    assert new[3] - old[3] == pytest.approx(-6, abs=3)
    step = jax.jit(lambda q, noise: step_of(names["elbo_of"](vae.decoder, x), *q, noise[None], RATE))
    for t in range(50):
        q = step(q, jax.random.normal(jax.random.key(t), (4, *q[0].shape)))
    refined = ladder(vae.decoder, x, *q).mean(1)
    assert refined[0] > old[0]
    assert abs(refined[3] - old[3]) < 1
    decoder = names["MLP"]([50, 200, 200, 784], rngs=names["nnx"].Rngs(seed))
    decoder.layers[-1].bias[...] = jax.scipy.special.logit(names["average"])
    decoder = names["train_part"](decoder, encoder=vae.encoder, seed=seed)
    assert ladder(decoder, x, *q_from(vae.encoder, x)).mean(1)[3] < old[3] - 5


# --- Part 4 -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_erased_explained():
    """Its q is 44 nats worse as an explanation of the half that it did see (on 160 other images, 52). And it puts about half of
    the ink into the lower half ... For the upper half, the q of the whole image is six nats worse than the optimised one."""
    names, x = lecture(17), images()
    seen, vae, normal = names["seen"], names["vae"], names["DiagonalNormal"]
    names["my_masked_elbo"] = names["masked_elbo"]
    zeros = jnp.zeros((len(x), 50))
    mean, log_scale = names["masked_best_q"](jnp.where(seen, x, jnp.nan), seen, (zeros, zeros))
    qs = {"blank": vae.encode(x * seen), "best": normal(mean, jnp.exp(log_scale)), "whole": vae.encode(x)}
    upper, lower = {}, {}
    for name, q in qs.items():
        up, low = names["upper_and_lower"](x, q, jax.random.key(0))
        upper[name], lower[name] = by_set(up.mean(0)), by_set(low.mean(0))
    assert (upper["best"] - upper["blank"] > 20).all()
    assert (upper["best"] - upper["blank"]).mean() == pytest.approx(52, abs=2)
    assert (upper["best"] - upper["whole"] > 3).all()
    assert (upper["best"] - upper["whole"]).mean() == pytest.approx(6, abs=1)
    assert (lower["whole"] > lower["best"]).all()
    assert (lower["best"] > lower["blank"] + 50).all()
    ink = by_set(vae.decode(qs["blank"].mean)[:, 392:].mean(1)) / by_set(x[:, 392:].mean(1))
    assert ((ink > 0.25) & (ink < 0.75)).all()
    assert ink.mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.slow
def test_paint_explained():
    """A clean square frame has a bound within the range of the test digits."""
    names = lecture()
    names["my_masked_elbo"] = names["masked_elbo"]
    frames = np.zeros((3, 28, 28), np.float32)
    for frame, half in zip(frames, (5, 7, 9)):
        frame[14 - half : 14 + half, 14 - half : 14 + half] = 1
        frame[16 - half : 12 + half, 16 - half : 12 + half] = 0
    x = jnp.concatenate([frames.reshape(3, 784), names["x_test"][:200]])
    q = names["masked_best_q"](x, jnp.ones(784, bool), (jnp.zeros((len(x), 50)),) * 2)
    noise = jax.random.normal(jax.random.key(0), (64, *q[0].shape))
    bounds = np.asarray(names["elbo_of"](names["vae"].decoder, x)(*q, noise))
    assert bounds[3:].min() < bounds[:3].min() and bounds[:3].max() < bounds[3:].max()

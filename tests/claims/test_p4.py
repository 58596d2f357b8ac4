"""The claims of ``notebooks/projects/p4_speech_slds.ipynb``; each test is named after its cell."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.claims.cells import run_cells, take

NOTEBOOK = "projects/p4_speech_slds"
# What a starter trains takes minutes, and few work on it: weekly is often enough.
pytestmark = pytest.mark.slow
INFERENCE = (
    *("setup", "imports", "load", "ex-eliminate-answer", "ex-scores-answer", "instead-code", "instead-scores-code"),
    *("yours-code", "steps-code", "states-code", "smooth-code", "backward-code", "infer-code", "exact-code"),
)
TRAINING = ("vae-code", "vae-class", "vae-parts", "objective-code", "train")
SEGMENTS = ("ex-boundaries-answer", "segments-code", "other-segmenters", "information-code", "segments-table")


@cache
def lecture():
    return run_cells(NOTEBOOK, *INFERENCE, yours=take)


def draw_dynamics(rng, states, dim, spread=1.0):
    a, log_precision = rng.uniform(0.2, 0.9, (states, dim)), rng.uniform(0, 2, (states, dim))
    return tuple(jnp.asarray(each, jnp.float32) for each in (a, spread * rng.normal(size=(states, dim)), log_precision))


@pytest.mark.parametrize("seed", range(5))
def test_messages_are_those_of_dense_algebra(seed):
    """One chain of six steps, against the inverse of its whole precision matrix."""
    rng, length = np.random.default_rng(seed), 6
    dynamics = draw_dynamics(rng, 3, 1)
    path = rng.integers(3, size=length - 1)
    j, h = rng.uniform(0.5, 3, (length, 1)), rng.normal(size=(length, 1))
    a, c, log_precision = (np.asarray(each, float)[path, 0] for each in dynamics)
    precision, shift = np.diag(j[:, 0]), h[:, 0].copy()
    precision[0, 0] += 1
    log_z = -0.5 * np.log(2 * np.pi)
    for t, (a_t, c_t, w) in enumerate(zip(a, c, np.exp(log_precision))):
        row = np.zeros(length)
        row[t], row[t + 1] = -a_t, 1
        precision += w * np.outer(row, row)
        shift += w * c_t * row
        log_z += 0.5 * (np.log(w) - np.log(2 * np.pi) - w * c_t**2)
    covariance = np.linalg.inv(precision)
    mean = covariance @ shift
    log_z += 0.5 * (shift @ mean + np.linalg.slogdet(2 * np.pi * covariance)[1])
    (found, variance), neighbours, found_z = lecture()["smooth"](
        dynamics, jax.nn.one_hot(path, 3), jnp.asarray(j), jnp.asarray(h)
    )
    np.testing.assert_allclose(found[:, 0], mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(variance[:, 0], np.diag(covariance), rtol=1e-4)
    np.testing.assert_allclose(neighbours[:, 0], np.diag(covariance, 1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found_z, log_z, rtol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_states_are_those_of_all_paths(seed):
    rng = np.random.default_rng(seed)
    log_transition = jax.nn.log_softmax(jnp.asarray(rng.normal(size=(3, 3))), axis=1)
    scores = jnp.asarray(rng.normal(size=(5, 3)))
    paths = np.array(np.meshgrid(*[range(3)] * 5)).reshape(5, -1).T
    logs = np.log(1 / 3) + log_transition[paths[:, :-1], paths[:, 1:]].sum(1) + scores[np.arange(5), paths].sum(1)
    marginals, log_z = lecture()["states"](log_transition, scores)
    share = np.exp(logs - jax.nn.logsumexp(logs))
    np.testing.assert_allclose(log_z, jax.nn.logsumexp(logs), rtol=1e-5)
    np.testing.assert_allclose(
        marginals, [[share[paths[:, t] == k].sum() for k in range(3)] for t in range(5)], atol=1e-5
    )


def test_exact_explained():
    """ "Where the two targets coincide, nothing is lost. The gap is what it costs that q(z) and q(s) are independent." """
    lecture_ = lecture()
    both = jax.jit(lecture_["bound_and_truth"])
    for seed in range(10):
        rng = np.random.default_rng(seed)
        stay = jnp.log(jnp.array([[0.8, 0.2], [0.3, 0.7]]))
        seen = jnp.asarray(rng.normal(size=(6, 1)), jnp.float32)
        a, c, log_precision = draw_dynamics(rng, 2, 1)
        bound, truth = both((a, c, log_precision), stay, seen)
        assert truth - bound > -1e-3
        assert truth - bound > 1e-3, "states that differ cost something"
        equal = tuple(jnp.tile(each[:1], (2, 1)) for each in (a, c, log_precision))
        bound, truth = both(equal, stay, seen)
        assert abs(truth - bound) < 1e-3


def test_ex_boundaries():
    """ "A program that puts a boundary in every frame looks good." """
    names = run_cells(NOTEBOOK, "ex-boundaries-answer", names=lecture())
    everywhere, generous, honest = np.arange(63), [], []
    for window in names["begins"][64:, 1:]:
        true = np.flatnonzero(window)
        near = np.abs(np.subtract.outer(everywhere, true)) <= 2
        precision, recall = near.any(1).mean(), near.any(0).mean()
        generous.append(2 * precision * recall / (precision + recall))
        honest.append(2 * names["hits"](everywhere, true, 2) / (len(everywhere) + len(true)))
    assert np.mean(generous) > 0.6 > 2 * np.mean(honest)


def test_vae():
    """ "From random targets the ELBO ended more than a nat a frame lower." """
    clustering = 'targets, _ = kmeans2(flat_train @ to_code, NUM_STATES, seed=seed, minit="++")'
    random = {"vae-class": {clustering: "targets = np.random.default_rng(seed).normal(size=(NUM_STATES, DIM))"}}
    ends = [
        float(run_cells(NOTEBOOK, *TRAINING, names=lecture(), replacing=start, yours=take)["of_test"])
        for start in ({}, random)
    ]
    assert ends[1] < ends[0] - 1


@pytest.mark.parametrize("seed", range(5))
def test_segments_explained(seed):
    """ "The model changes its state less often than k-means does, and its boundaries are better for it. Still the plain rule
    with a tuned threshold draws better boundaries." "The states hold most of the information about the phoneme." """
    replacing = {"vae-code": {"20, 150, 0": f"20, 150, {seed}"}}
    names = run_cells(NOTEBOOK, *TRAINING, *SEGMENTS, names=lecture(), replacing=replacing, yours=take)
    found, changes = names["found"], names["changes"]
    assert changes["the SLDS-VAE"].sum() < changes["k-means"].sum()
    assert found["k-means"][0] + 0.05 < found["the SLDS-VAE"][0] < found["spectral change"][0]
    one_hot = names["one_hot"]
    counts = np.einsum("wts,wtp->wsp", np.eye(20)[names["labels"]["the SLDS-VAE"]], one_hot)
    entropy = names["information"](np.einsum("wtp,wtr->wpr", one_hot, one_hot))
    assert names["information"](counts) > 0.6 * entropy

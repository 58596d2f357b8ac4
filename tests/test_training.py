"""``fit``: its numbers depend on key and step alone, it climbs, and nothing that was learned is lost."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from course_utils import bounds, training
from course_utils.bounds import DiagonalNormal
from course_utils.checkpoints import CheckpointError
from course_utils.data import binarize
from course_utils.errors import CourseError
from course_utils.models import VAE
from course_utils.training import NonFiniteError, TrainingError, fit
from tests.linear_gaussian import ORTHOGONAL

KEY = jax.random.key(0)
DATA = np.float32(np.random.default_rng(0).normal(loc=[1.0, -2.0], size=(20, 2)))
ADAM, SGD = optax.adam(0.05), optax.sgd(1.0)
NUM_STEPS = 60


def noisy_fit_of_a_mean(params, batch, key):
    """A bound in which everything that is random matters: the batch, its order, and the key of the step."""
    noise = jax.random.normal(key, batch.shape)
    return -jnp.mean((batch - params["mean"] + 0.1 * noise) ** 2)


def run(num_steps=NUM_STEPS, key=KEY, **options):
    """Train from the same start each time, with one compilation for each number of steps."""
    start = {"mean": np.zeros(2, np.float32)}
    options = {"data": DATA, "batch_size": 4, "progress": False} | options
    return fit(noisy_fit_of_a_mean, start, ADAM, key=key, num_steps=num_steps, **options)


def assert_same_run(one, other):
    """Assert that two runs gave the same numbers to the last bit."""
    for a, b in zip(jax.tree.leaves(one[0]), jax.tree.leaves(other[0]), strict=True):
        assert_array_equal(a, b)
    assert_array_equal(one[1].objective, other[1].objective)


@pytest.fixture(scope="module")
def undisturbed():
    return run()


# What comes back


def test_history_tells_what_happened(undisturbed):
    model, history = undisturbed
    assert set(model) == {"mean"}
    assert history.objective.shape == (NUM_STEPS,)
    assert history.objective.dtype == np.float32
    assert np.isfinite(history.objective).all()
    assert history.num_steps == NUM_STEPS
    assert history.interrupted is False
    assert history.seconds > 0
    assert history.compile_seconds > 0


def test_the_path_is_recorded(undisturbed, tmp_path):
    """What is recorded is the model at which each objective was estimated; recording changes no number."""
    recorded = run(record=lambda params: {"mean": params["mean"], "length": jnp.linalg.norm(params["mean"])})
    assert_same_run(recorded, undisturbed)
    assert undisturbed[1].recorded is None
    path = recorded[1].recorded
    assert path["mean"].shape == (NUM_STEPS, 2) and path["length"].shape == (NUM_STEPS,)
    assert_array_equal(path["mean"][0], [0.0, 0.0])
    assert_array_equal(path["mean"][30], run(num_steps=30)[0]["mean"])
    assert_allclose(path["length"], np.linalg.norm(path["mean"], axis=1), rtol=1e-6)
    run(num_steps=25, checkpoint_dir=tmp_path, record=jax.tree.leaves)
    resumed = run(checkpoint_dir=tmp_path, record=jax.tree.leaves)
    assert_array_equal(resumed[1].recorded[0], path["mean"])


def test_fit_climbs(undisturbed):
    """The objective rises; its sign is turned around for the optimizer only."""
    objective = undisturbed[1].objective
    assert objective[-20:].mean() > objective[:5].mean() + 1
    up = fit(lambda params, batch, key: params, jnp.float32(1.0), SGD, key=KEY, num_steps=3, progress=False)
    assert up[0] == 4.0
    assert_array_equal(up[1].objective, [1.0, 2.0, 3.0])


def test_fit_lands_on_the_exact_posterior():
    x = ORTHOGONAL.draw(1)[0]

    def elbo(params, batch, key):
        q = DiagonalNormal(params["mean"], jnp.exp(params["log_scale"]))
        return bounds.elbo(partial(ORTHOGONAL.log_joint, x), q, key, num_samples=16)

    start = {"mean": jnp.zeros(2), "log_scale": jnp.zeros(2)}
    optimizer = optax.adam(optax.cosine_decay_schedule(0.05, 2000))
    q, history = fit(elbo, start, optimizer, key=KEY, num_steps=2000, progress=False)
    mean, covariance = ORTHOGONAL.posterior(x)
    assert_allclose(q["mean"], mean, atol=0.02)
    assert_allclose(jnp.exp(q["log_scale"]), np.sqrt(np.diag(covariance)), rtol=0.02)
    assert_allclose(history.objective[-200:].mean(), ORTHOGONAL.log_evidence(x), atol=0.01)


def test_each_step_takes_the_gradient_at_its_own_parameters():
    """Gradient ascent on a known parabola: every value and the last parameter in closed form."""
    model, history = fit(
        lambda p, batch, key: -((p - 3.0) ** 2), jnp.float32(0.0), optax.sgd(0.25), key=KEY, num_steps=6, progress=False
    )
    distance = 3.0 * 0.5 ** np.arange(7)
    assert_allclose(history.objective, -(distance[:6] ** 2), rtol=1e-6)
    assert_allclose(model, 3.0 - distance[6], rtol=1e-6)


class Counted(nnx.Module):
    """A module with a parameter to train and a variable to leave alone."""

    def __init__(self):
        self.mean = nnx.Param(jnp.zeros(2))
        self.fixed = nnx.BatchStat(jnp.ones(2))


def test_a_flax_module_is_trained_in_its_parameters_only():
    model = Counted()
    trained, _ = fit(
        lambda model, batch, key: -jnp.sum((model.mean[...] - 5 * model.fixed[...]) ** 2),
        model,
        optax.sgd(0.25),
        key=KEY,
        num_steps=20,
        progress=False,
    )
    assert isinstance(trained, Counted)
    assert_allclose(trained.mean[...], [5.0, 5.0], rtol=1e-5)
    assert_array_equal(trained.fixed[...], [1.0, 1.0])
    assert_array_equal(model.mean[...], [0.0, 0.0])
    assert trained is not model


def test_a_vae_learns():
    x = np.float32(np.random.default_rng(0).integers(0, 2, (8, 1)) * np.ones(6))
    vae = nnx.jit(lambda: VAE(1, data_dim=6, hidden=(8,), rngs=nnx.Rngs(0)))()
    before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(vae)))
    trained, history = fit(
        lambda vae, x, key: vae.elbo(x, key).mean(),
        vae,
        optax.adam(0.02),
        key=KEY,
        num_steps=300,
        data=x,
        batch_size=4,
        progress=False,
    )
    assert history.objective[:10].mean() < -3.5
    assert history.objective[-50:].mean() > -1.5
    jax.tree.map(assert_array_equal, before, nnx.to_pure_dict(nnx.state(vae)))
    assert isinstance(trained, VAE)


@pytest.mark.parametrize(
    "start",
    [jnp.zeros(2), np.zeros(2, np.float32), [0.0, 0.0], {"a": 0.0, "b": (jnp.float32(0.0),)}],
    ids=["jax", "numpy", "floats", "nested"],
)
def test_any_pytree_of_floats_is_a_model_and_is_not_changed(start):
    before = jax.tree.map(np.array, start)
    trained, _ = fit(
        lambda params, batch, key: sum(jnp.sum(leaf) for leaf in jax.tree.leaves(params)),
        start,
        SGD,
        key=KEY,
        num_steps=3,
        progress=False,
    )
    jax.tree.map(assert_array_equal, start, before)
    jax.tree.map(lambda leaf, first: assert_array_equal(leaf, first + 3), trained, before)


# Everything that Flax NNX and Optax have


class Normalised(nnx.Module):
    """A regression with the two layers that change more than parameters: ``BatchNorm`` and ``Dropout``."""

    def __init__(self, rate=0.5):
        rngs = nnx.Rngs(0)
        self.norm = nnx.BatchNorm(2, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.linear = nnx.Linear(2, 1, rngs=rngs)

    def __call__(self, x):
        return self.linear(self.dropout(self.norm(x)))


def squares(model, batch, key):
    return -jnp.mean((model(batch) - 1.0) ** 2)


def fit_normalised(num_steps=NUM_STEPS, start=None, **options):
    options = {"data": DATA, "batch_size": 4, "progress": False} | options
    return fit(squares, start or Normalised(), ADAM, key=KEY, num_steps=num_steps, **options)


def test_batch_norm_keeps_its_averages_and_dropout_draws_anew():
    """By hand, in Flax's own loop: the same model to the last variable."""
    start = Normalised()
    trained, history = fit_normalised(num_steps=6, batch_size=None)
    by_hand = nnx.clone(start)
    optimizer = nnx.Optimizer(by_hand, ADAM, wrt=nnx.Param)
    for _ in range(6):
        _, gradient = nnx.value_and_grad(lambda model: -squares(model, DATA, None))(by_hand)
        optimizer.update(by_hand, gradient)
    jax.tree.map(partial(assert_allclose, rtol=1e-4, atol=1e-6), *map(numbers, (by_hand, trained)))
    assert_allclose(trained.norm.mean[...], DATA.mean(0) * (1 - 0.9**6), rtol=1e-4)
    assert int(trained.dropout.rngs.count[...]) == int(start.dropout.rngs.count[...]) + 6
    assert_array_equal(start.norm.mean[...], [0.0, 0.0])
    still, _ = fit_normalised(num_steps=200, start=Normalised(rate=0.0))
    assert history.objective.std() > 0 and squares(still, DATA, None) > squares(trained, DATA, None)


def numbers(model):
    """Return the variables of a model as plain numbers, random keys included."""
    return [
        np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)
        for leaf in jax.tree.leaves(nnx.state(model))
    ]


def test_a_run_with_changing_variables_can_be_taken_up_again(tmp_path, monkeypatch):
    whole = fit_normalised()
    fit_normalised(num_steps=25, checkpoint_dir=tmp_path)
    monkeypatch.setattr(training, "SECONDS_BETWEEN_VISITS", 0.0)
    for other in (fit_normalised(checkpoint_dir=tmp_path), fit_normalised()):
        jax.tree.map(assert_array_equal, numbers(whole[0]), numbers(other[0]))
        assert_array_equal(whole[1].objective, other[1].objective)


class Growing(nnx.Module):
    def __init__(self):
        self.w = nnx.Param(jnp.zeros(2))


def test_an_objective_may_change_values_but_not_the_kind_of_a_variable():
    def objective(model, batch, key):
        model.seen = nnx.Variable(jnp.zeros(3))
        return model.w.sum()

    with pytest.raises(TrainingError, match="added, removed or reshaped variables"):
        fit(objective, Growing(), SGD, key=KEY, num_steps=3, progress=False)


def parabola(params, batch, key):
    return -jnp.sum((params - jnp.array([3.0, -1.0])) ** 2 * jnp.array([1.0, 40.0]))


def test_lbfgs_searches_along_its_line():
    """A badly scaled parabola that plain ascent with the same number of steps cannot climb."""
    top, history = fit(parabola, jnp.zeros(2), optax.lbfgs(), key=KEY, num_steps=12, progress=False)
    assert_allclose(top, [3.0, -1.0], atol=1e-3)
    assert (np.diff(history.objective) >= 0).all()
    by_hand, state = jnp.zeros(2), optax.lbfgs().init(jnp.zeros(2))
    loss = lambda params: -parabola(params, None, None)  # noqa: E731
    for _ in range(3):
        value, gradient = optax.value_and_grad_from_state(loss)(by_hand, state=state)
        updates, state = optax.lbfgs().update(gradient, state, by_hand, value=value, grad=gradient, value_fn=loss)
        by_hand = optax.apply_updates(by_hand, updates)
    few, _ = fit(parabola, jnp.zeros(2), optax.lbfgs(), key=KEY, num_steps=3, progress=False)
    assert_allclose(few, by_hand, rtol=1e-4, atol=1e-5)


def test_reduce_on_plateau_hears_the_objective():
    """On a slope the rate stays; on a plateau it falls by half at every second step."""
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=2)
    optimizer = optax.chain(optax.sgd(1.0), plateau)
    climb = partial(fit, key=KEY, num_steps=8, progress=False)
    slope, _ = climb(lambda params, batch, key: params, jnp.float32(1.0), optimizer)
    assert slope == 9.0
    flat, _ = climb(
        lambda params, batch, key: params - 1.0 - jax.lax.stop_gradient(params), jnp.float32(0.0), optimizer
    )
    state, position = optimizer.init(jnp.float32(0.0)), 0.0
    for _ in range(8):
        updates, state = optimizer.update(jnp.float32(-1.0), state, value=jnp.float32(1.0))
        position += updates
    assert_allclose(flat, position)
    assert flat < 6


def test_metrics_of_the_objective_are_in_the_history(undisturbed):
    def objective(params, batch, key):
        value = noisy_fit_of_a_mean(params, batch, key)
        return value, {"half": value / 2, "batch": (batch, params["mean"])}

    _, history = fit(
        objective,
        {"mean": np.zeros(2, np.float32)},
        ADAM,
        key=KEY,
        num_steps=NUM_STEPS,
        data=DATA,
        batch_size=4,
        progress=False,
    )
    assert_allclose(history.objective, undisturbed[1].objective, rtol=1e-5)
    assert_allclose(history.metrics["half"], history.objective / 2, rtol=1e-6)
    assert history.metrics["batch"][0].shape == (NUM_STEPS, 4, 2)
    assert_array_equal(history.metrics["batch"][1][0], [0.0, 0.0])
    assert undisturbed[1].metrics is None


def test_reconstruction_and_kl_of_a_vae_add_up():
    def objective(vae, x, key):
        reconstruction, kl = vae.elbo_terms(x, key)
        return (reconstruction - kl).mean(), {"reconstruction": reconstruction.mean(), "KL": kl.mean()}

    x = np.float32(np.random.default_rng(0).integers(0, 2, (8, 6)))
    vae = nnx.jit(lambda: VAE(1, data_dim=6, hidden=(8,), rngs=nnx.Rngs(0)))()
    _, history = fit(objective, vae, ADAM, key=KEY, num_steps=20, data=x, batch_size=4, progress=False)
    assert_allclose(history.metrics["reconstruction"] - history.metrics["KL"], history.objective, rtol=1e-4)
    assert (history.metrics["KL"] >= 0).all()


def test_the_objective_on_held_out_data(undisturbed, tmp_path):
    """Of the model at every twentieth step, over whole batches; it changes no number, and goes on when resumed."""
    held_out = DATA[:11] + 3
    looking = run(held_out=held_out, held_out_every=20)
    assert_same_run(looking, undisturbed)
    assert undisturbed[1].held_out is None
    keys = jax.random.split(jax.random.fold_in(KEY, 2**32 - 1), 2)
    for look, steps in enumerate((0, 20, 40, 60)):
        model = run(num_steps=steps)[0] if steps else {"mean": jnp.zeros(2)}
        by_hand = [noisy_fit_of_a_mean(model, held_out[4 * n : 4 * n + 4], keys[n]) for n in range(2)]
        assert_allclose(looking[1].held_out[look], np.mean(by_hand), rtol=1e-5)
    assert looking[1].held_out.shape == (4,)
    for num_steps in (33, 40, 60):
        resumed = run(num_steps=num_steps, checkpoint_dir=tmp_path, held_out=held_out, held_out_every=20)
        assert_array_equal(resumed[1].held_out, looking[1].held_out[: num_steps // 20 + 1])


def test_held_out_data_are_met_in_eval_mode():
    """Without dropout, and with the averages of ``BatchNorm``."""
    trained, history = fit_normalised(num_steps=20, held_out=DATA, held_out_every=10, batch_size=None)
    trained.eval()
    assert_allclose(history.held_out[-1], squares(trained, DATA, None), rtol=1e-5)
    assert len(history.held_out) == 3


def test_averaged_parameters_are_the_mean_of_the_path(undisturbed, tmp_path):
    path = run(num_steps=NUM_STEPS + 1, record=lambda params: params["mean"])[1].recorded
    averaged = run(average_from=50)
    assert_array_equal(averaged[1].objective, undisturbed[1].objective)
    assert_allclose(averaged[0]["mean"], path[51:61].mean(0), rtol=1e-5)
    assert_array_equal(run(average_from=NUM_STEPS - 1)[0]["mean"], undisturbed[0]["mean"])
    assert_array_equal(run(average_from=10 * NUM_STEPS)[0]["mean"], undisturbed[0]["mean"])
    run(num_steps=55, average_from=50, checkpoint_dir=tmp_path)
    assert_same_run(run(average_from=50, checkpoint_dir=tmp_path), averaged)
    looked = run(average_from=50, held_out=DATA, held_out_every=NUM_STEPS)[1].held_out[-1]
    assert looked != run(held_out=DATA, held_out_every=NUM_STEPS)[1].held_out[-1]


# One step by hand


def test_steps_by_hand_are_those_of_fit():
    draw = lambda t: jax.random.fold_in(jax.random.split(KEY)[1], t)  # noqa: E731
    take = jax.jit(partial(training.step, squares, ADAM))
    start = Normalised()
    state, seen = training.init(start, ADAM), []
    for t in range(5):
        state, now = take(state, DATA, draw(t))
        seen.append(now.objective)
    trained, history = fit_normalised(num_steps=5, batch_size=None)
    assert_allclose(seen, history.objective, rtol=1e-5)
    jax.tree.map(partial(assert_allclose, rtol=1e-4, atol=1e-6), numbers(state.model), numbers(trained))
    assert isinstance(state.model, Normalised)
    assert_array_equal(start.linear.bias[...], [0.0])


def test_a_step_by_hand_takes_a_bare_pytree():
    state = training.init({"x": 1.0}, SGD)
    state, seen = training.step(lambda params, batch, key: (batch * params["x"], batch), SGD, state, 2.0, KEY)
    assert state.model == {"x": 3.0}
    assert (float(seen.objective), seen.metrics) == (2.0, 2.0)


# Grey levels


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_grey_levels_given_to_a_bernoulli_model_are_one_sentence(monkeypatch, dtype):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for a student
    images = np.random.default_rng(0).integers(0, 256, (8, 6)).astype(dtype)
    vae = nnx.jit(lambda: VAE(1, data_dim=6, hidden=(8,), rngs=nnx.Rngs(0)))()
    options = {"key": KEY, "num_steps": 3, "batch_size": 4, "progress": False}
    for objective in (lambda vae, x, key: vae.elbo(x, key).mean(), lambda vae, x, key: tight(vae, x, key).mean()):
        with pytest.raises(TrainingError, match=r"course_utils\.data\.binarize") as raised:
            fit(objective, vae, ADAM, data=images, **options)
        assert "\n" not in str(raised.value)
    fit(lambda vae, x, key: vae.elbo(binarize(key, x), key).mean(), vae, ADAM, data=np.uint8(images), **options)
    with pytest.raises(CourseError, match=r"course_utils\.data\.binarize"):
        vae.elbo(images, KEY)


@jax.jit
def jitted_tight(graphdef_and_state, x, key):
    return nnx.merge(*graphdef_and_state).importance_weighted_bound(x, key, 3)


def tight(vae, x, key):
    return jitted_tight(nnx.split(vae), x, key)


# Randomness


def batches_seen(num_data, batch_size, num_steps, key=KEY, **options):
    """Return the set of datapoints of each step: the objective adds up powers of two, one for each datapoint."""
    _, history = fit(
        lambda params, batch, key: params + batch.sum(),
        jnp.float32(0.0),
        optax.sgd(0.0),
        key=key,
        num_steps=num_steps,
        data=np.float32(2.0) ** np.arange(num_data, dtype=np.float32),
        batch_size=batch_size,
        progress=False,
        **options,
    )
    return [frozenset(i for i in range(num_data) if int(total) >> i & 1) for total in history.objective]


@pytest.mark.parametrize(("num_data", "batch_size"), [(16, 4), (18, 4), (5, 5), (7, 1)])
def test_an_epoch_takes_each_datapoint_at_most_once(num_data, batch_size):
    """And takes them all where the batches fill it; a further epoch takes them in another order."""
    steps = num_data // batch_size
    batches = batches_seen(num_data, batch_size, 3 * steps)
    epochs = [batches[first : first + steps] for first in range(0, 3 * steps, steps)]
    for epoch in epochs:
        assert all(len(batch) == batch_size for batch in epoch)
        assert len(frozenset().union(*epoch)) == steps * batch_size
    if steps > 1:
        assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
        assert batches_seen(num_data, batch_size, 3 * steps, key=jax.random.key(1)) != batches


def test_every_datapoint_is_as_likely_as_any_other():
    """Over 400 epochs of one step, 2 of 5 are drawn: binomial counts, 5 standard errors of leeway."""
    counts = np.bincount([i for batch in batches_seen(5, 2, 800)[::2] for i in batch], minlength=5)
    assert np.abs(counts - 160).max() < 5 * np.sqrt(400 * 0.4 * 0.6)


def test_without_a_batch_size_each_step_gets_all_data():
    assert batches_seen(6, None, 2) == [frozenset(range(6))] * 2


def test_arrays_in_a_pytree_of_data_stay_together():
    data = {"x": np.arange(12.0, dtype=np.float32), "y": (np.arange(12)[:, None] * [10, 100],)}
    _, history = fit(
        lambda params, batch, key: params + jnp.abs(batch["x"][:, None] * jnp.array([10, 100]) - batch["y"][0]).max(),
        jnp.float32(0.0),
        optax.sgd(0.0),
        key=KEY,
        num_steps=6,
        data=data,
        batch_size=4,
        progress=False,
    )
    assert_array_equal(history.objective, np.zeros(6))


def test_each_step_has_a_key_of_its_own():
    draw = partial(
        fit,
        lambda params, batch, key: params + jax.random.normal(key),
        jnp.float32(0.0),
        optax.sgd(0.0),
        num_steps=1000,
        progress=False,
    )
    first, other = (draw(key=jax.random.key(seed))[1].objective for seed in (0, 1))
    assert len(np.unique(first)) > 990
    assert abs(first.mean()) < 5 / np.sqrt(1000)
    assert_allclose(first.std(), 1.0, atol=5 / np.sqrt(2000))
    assert abs(np.mean(first[1:] * first[:-1])) < 5 / np.sqrt(1000)
    assert not np.isin(first, other).any()


# The same numbers, whatever happens on the way


@pytest.mark.parametrize("seconds", [0.0, 1e-4, 1e9])
def test_numbers_do_not_depend_on_how_often_python_looks(undisturbed, monkeypatch, seconds):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_VISITS", seconds)
    assert_same_run(run(), undisturbed)


def test_numbers_do_not_depend_on_the_progress_bar(undisturbed, capsys):
    assert_same_run(run(progress=True), undisturbed)
    assert f"{NUM_STEPS}/{NUM_STEPS}" in capsys.readouterr().err


def test_nothing_is_drawn_into_a_pipe(capsys):
    run(progress=None)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("checkpoint_every", [7, 1000])
def test_numbers_do_not_depend_on_checkpoints(undisturbed, tmp_path, checkpoint_every):
    assert_same_run(run(checkpoint_dir=tmp_path, checkpoint_every=checkpoint_every), undisturbed)


def test_a_run_that_is_taken_up_again_is_the_same_run(undisturbed, tmp_path):
    run(num_steps=25, checkpoint_dir=tmp_path / "run")
    resumed = run(checkpoint_dir=tmp_path / "run")
    assert_same_run(resumed, undisturbed)


@pytest.mark.parametrize("start", [jnp.zeros(()), Counted()], ids=["a bare number", "a module"])
def test_a_run_without_data_can_be_taken_up_again(tmp_path, start):
    def objective(model, batch, key):
        return -((sum(leaf.sum() for leaf in jax.tree.leaves(model)) - jax.random.normal(key)) ** 2)

    climb = partial(fit, objective, start, ADAM, key=KEY, progress=False)
    climb(num_steps=7, checkpoint_dir=tmp_path)
    assert_same_run(climb(num_steps=20, checkpoint_dir=tmp_path), climb(num_steps=20))


def test_a_finished_run_is_read_back(undisturbed, tmp_path, capsys):
    run(checkpoint_dir=str(tmp_path))
    assert_same_run(run(checkpoint_dir=str(tmp_path)), undisturbed)
    assert "nothing left to do" in capsys.readouterr().out


def test_a_run_compiles_once_and_the_next_one_nothing():
    before = training._run_until._cache_size()
    for seed in (7, 8):
        run(num_steps=31, key=jax.random.key(seed))
        assert training._run_until._cache_size() == before + 1


def test_weakly_typed_numbers_compile_no_more_than_others():
    before = training._run_until._cache_size()
    fit(lambda params, batch, key: -jnp.sum(params**2), jnp.full(3, -1.0), SGD, key=KEY, num_steps=5, progress=False)
    assert training._run_until._cache_size() == before + 1


def test_fit_works_outside_the_main_thread(undisturbed):
    results = []
    thread = threading.Thread(target=lambda: results.append(run()))
    thread.start()
    thread.join()
    assert_same_run(results[0], undisturbed)


# Interrupts


class InterruptingBar(training.tqdm):
    """A progress bar that presses the stop button at its visits from ``first`` on, ``times`` in all."""

    first, times = 3, 1

    def update(self, n=1):
        self.visits = getattr(self, "visits", 0) + 1
        if self.first <= self.visits < self.first + self.times:
            signal.raise_signal(signal.SIGINT)
        return super().update(n)


@pytest.fixture
def interrupting(monkeypatch):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_VISITS", 0.0)
    monkeypatch.setattr(training, "tqdm", InterruptingBar)
    monkeypatch.setattr(InterruptingBar, "times", 1)


def test_an_interrupt_keeps_what_was_learned(undisturbed, interrupting, capsys):
    handler = signal.getsignal(signal.SIGINT)
    model, history = run()
    assert history.interrupted is True
    assert history.num_steps == 3
    assert_array_equal(history.objective, undisturbed[1].objective[:3])
    assert_array_equal(model["mean"], run(num_steps=3)[0]["mean"])
    assert f"Stopped after 3 of {NUM_STEPS} steps" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_interrupted_run_goes_on_from_where_it_was(undisturbed, interrupting, monkeypatch, tmp_path):
    stopped = run(checkpoint_dir=tmp_path)
    assert stopped[1].num_steps == 3
    monkeypatch.setattr(InterruptingBar, "times", 0)
    visited = []
    monkeypatch.setattr(InterruptingBar, "update", lambda self, n=1: visited.append(n))
    assert_same_run(run(checkpoint_dir=tmp_path), undisturbed)
    assert sum(visited) == NUM_STEPS - 3


def test_a_second_interrupt_is_an_ordinary_one(interrupting, monkeypatch):
    handler = signal.getsignal(signal.SIGINT)

    def press_twice(self, n=1):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(InterruptingBar, "update", press_twice)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert signal.getsignal(signal.SIGINT) is handler


def python(script, *arguments, before="", **environment):
    """Start a script in a process of its own, in which everything here is known; ``before`` runs before that."""
    preamble = f"import json, os, signal, sys, jax\n{before}\nfrom tests.test_training import *\n"
    return subprocess.Popen(
        [sys.executable, "-c", preamble + script, *map(str, arguments)],
        cwd=Path(__file__).parent.parent,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


KILLED = """
directory, when = sys.argv[1:]
save = training.Checkpoints.save

def save_until_killed(self, step, state):
    if step == 40 and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    if step == 40 and when == "during":
        os.rename = os.replace = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    save(self, step, state)

training.Checkpoints.save = save_until_killed
run(60, checkpoint_dir=directory, checkpoint_every=20)
"""


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_killed_run_loses_nothing_but_time(undisturbed, monkeypatch, tmp_path, when):
    """Killed at step 40 with the checkpoint of step 20 complete, that of step 40 not begun, or half written."""
    child = python(KILLED, tmp_path, when)
    _, errors = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, errors
    saved = []
    monkeypatch.setattr(training.Checkpoints, "save", lambda self, step, state: saved.append(step))
    assert_same_run(run(checkpoint_dir=tmp_path, checkpoint_every=20), undisturbed)
    assert saved == [40, 60]


INTERRUPTED = """
training.SECONDS_BETWEEN_VISITS = 0.05
model, history = run(10_000_000, progress=True)
again, _ = run(history.num_steps)
print(json.dumps([history.interrupted, history.num_steps, model["mean"].tolist(), again["mean"].tolist()]))
"""


def test_ctrl_c_in_the_middle_of_the_compiled_loop():
    child = python(INTERRUPTED)
    drawn = ""
    while "objective" not in drawn:
        drawn += (character := child.stderr.read(1))
        assert character, drawn
    child.send_signal(signal.SIGINT)
    printed, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors
    stopped, result = printed.strip().splitlines()
    interrupted, num_steps, learned, undisturbed = json.loads(result)
    assert interrupted
    assert stopped.startswith(f"Stopped after {num_steps} of 10000000 steps")
    assert 0 < num_steps < 10_000_000
    assert learned == undisturbed


# Devices

TWO_DEVICES = """
assert len(jax.devices()) == 2
mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:1])
runs = [run(), run(mesh=mesh), run(batch_size=5)]
assert training._run_until._cache_size() == 3
print(json.dumps([[model["mean"].tolist(), history.objective.tolist(), len(model["mean"].sharding.device_set)]
                  for model, history in runs]))
"""


def test_two_devices_share_the_batch_and_give_the_numbers_of_one(undisturbed):
    child = python(TWO_DEVICES, XLA_FLAGS="--xla_force_host_platform_device_count=2")
    printed, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors
    two, one, odd = json.loads(printed)
    assert [two[2], one[2], odd[2]] == [2, 1, 1]
    for mean, objective, _ in (two, one):
        assert_allclose(mean, undisturbed[0]["mean"], rtol=1e-5)
        assert_allclose(objective, undisturbed[1].objective, rtol=1e-4)


JOIN = """
*_, rank, port = sys.argv
jax.distributed.initialize(f"localhost:{port}", 2, int(rank), heartbeat_timeout_seconds=5, initialization_timeout=60)
"""

TWO_HOSTS = """
directory, what, rank, _ = sys.argv[1:]
rank = int(rank)
# One clock asks for a visit at every step, the other for none: only the first host's counts.
training.SECONDS_BETWEEN_VISITS = 1e9 if rank else 0.0
save, saved = training.Checkpoints.save, []

def save_or_die(self, step, state):
    if what == "killed" and rank == 1 and step == 100:
        os.kill(os.getpid(), signal.SIGKILL)
    saved.append(step)
    save(self, step, state)

training.Checkpoints.save = save_or_die
if what == "interrupted" and rank == 1:
    training.tqdm = InterruptingBar
model, history = run(200, checkpoint_dir=directory, checkpoint_every=20, held_out=DATA, held_out_every=50)
numbers = [model["mean"], history.objective, history.held_out]
print(json.dumps([saved, len(model["mean"].sharding.device_set), *[jax.device_get(n).tolist() for n in numbers]]))
"""


def on_two_hosts(directory, what, codes=(0, 0)):
    """Run the same script in two processes that are joined on the loopback; return how each ended and its lines."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    hosts = [python(TWO_HOSTS, directory, what, rank, port, before=JOIN) for rank in (0, 1)]
    printed = [host.communicate(timeout=300) for host in hosts]
    assert [host.returncode for host in hosts] == list(codes), printed
    # Gloo, which carries XLA's sums between the processes, has a line of its own.
    return [[line for line in out.splitlines() if not line.startswith("[Gloo]")] for out, _ in printed]


@pytest.mark.slow
def test_two_hosts_are_killed_and_taken_up_again_with_the_numbers_of_one(tmp_path):
    """The second dies at step 100; the first notices, and ends. Both go on from step 80, as would one alone."""
    on_two_hosts(tmp_path / "two", "killed", codes=[-signal.SIGABRT, -signal.SIGKILL])
    shutil.copytree(tmp_path / "two", tmp_path / "alone")
    one = run(200, held_out=DATA, held_out_every=50)
    alone = run(200, checkpoint_dir=tmp_path / "alone", held_out=DATA, held_out_every=50)
    assert_allclose(alone[1].objective, one[1].objective, rtol=1e-4)
    for (line,) in on_two_hosts(tmp_path / "two", "resumed"):
        saved, num_devices, mean, objective, held_out = json.loads(line)
        assert (saved, num_devices) == ([100, 120, 140, 160, 180, 200], 2)
        assert_allclose(mean, one[0]["mean"], rtol=1e-5)
        assert_allclose(objective, one[1].objective, rtol=1e-4)
        assert_allclose(held_out, one[1].held_out, rtol=1e-4)


def test_an_interrupt_on_one_host_stops_them_all_at_one_step(tmp_path, undisturbed):
    (sentence, numbers), (same_numbers,) = on_two_hosts(tmp_path, "interrupted")
    assert sentence.startswith("Stopped after 3 of 200 steps")
    assert numbers == same_numbers
    assert_allclose(json.loads(numbers)[3], undisturbed[1].objective[:3], rtol=1e-4)


# Numbers that are not finite


def falls_off_at_zero(value):
    """Climbing lowers the parameter by one a step; below zero there is only ``value``."""
    return lambda params, batch, key: jnp.where(params["x"] > 0, -params["x"], value)


def slope_is_lost_at_zero(params, batch, key):
    return -params["x"] + 0.0 * jnp.sqrt(params["x"])


@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["looking at every step", "in long chunks"])
@pytest.mark.parametrize(
    ("objective", "start", "what"),
    [
        (falls_off_at_zero(jnp.nan), 1400.5, "it is nan"),
        (falls_off_at_zero(jnp.inf), 1400.5, "it is inf"),
        (falls_off_at_zero(-jnp.inf), 1400.5, "it is -inf"),
        (slope_is_lost_at_zero, 1401.0, "gradient"),
    ],
    ids=["nan", "inf", "minus inf", "gradient"],
)
def test_a_number_that_is_not_finite_stops_the_run_and_keeps_the_model(monkeypatch, objective, start, what, seconds):
    monkeypatch.setattr(training, "SECONDS_BETWEEN_VISITS", seconds)
    start = start if seconds else start - 1395
    bad_step = int(np.ceil(start))
    with pytest.raises(NonFiniteError) as raised:
        fit(objective, {"x": start}, SGD, key=KEY, num_steps=3000, progress=False)
    error = raised.value
    assert error.step == bad_step
    assert error.model["x"] == start - bad_step
    assert_array_equal(error.history.objective, np.arange(bad_step) - np.float32(start))
    assert f"at step {bad_step}:" in str(error)
    assert what in str(error)
    assert "learning rate" in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("num_steps", [1, 2, 3, 17, 64])
def test_the_last_good_step_is_found_wherever_it_is(num_steps):
    def run_until(taken, bad_step, run, trace, until):
        taken.append(until - run.step)
        return run._replace(step=until), trace, (until <= bad_step, 0.0)

    start, trace = training._Run(0, None, None), training._Trace(None, None, None)
    for bad_step in range(num_steps):
        taken = []
        run, _ = training._last_finite(partial(run_until, taken, bad_step), start, trace, num_steps)
        assert run.step == bad_step
        assert sum(taken) <= num_steps


def test_the_first_step_may_be_the_bad_one():
    with pytest.raises(NonFiniteError, match=r"very first step.*log of zero") as raised:
        fit(lambda params, batch, key: jnp.log(params), jnp.float32(0.0), SGD, key=KEY, num_steps=5, progress=False)
    assert (raised.value.step, float(raised.value.model), raised.value.history.num_steps) == (0, 0.0, 0)


def test_a_flax_module_is_kept_too():
    model = Counted()
    with pytest.raises(NonFiniteError) as raised:
        fit(
            lambda model, batch, key: jnp.sum(jnp.log(2.5 - model.mean[...]) + 5 * model.mean[...]),
            model,
            SGD,
            key=KEY,
            num_steps=50,
            progress=False,
        )
    assert isinstance(raised.value.model, Counted)
    assert_allclose(raised.value.model.mean[...], 5 - 1 / 2.5, rtol=1e-6)


# Mistakes


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"num_steps": 0}, "num_steps is 0"),
        ({"num_steps": -5}, "num_steps is -5"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0"),
        ({"data": None}, "batch_size is 4 but there is no data"),
        ({"data": (DATA, DATA[:7])}, r"share their first axis.*\(7,\), \(20,\)"),
        ({"data": (DATA, 3.0)}, "share their first axis"),
        ({"data": ()}, "share their first axis"),
        ({"batch_size": 0}, "batch_size is 0; with 20 datapoints"),
        ({"batch_size": 21}, "batch_size is 21; with 20 datapoints"),
    ],
)
def test_wrong_arguments_are_named(options, sentence):
    with pytest.raises(TrainingError, match=sentence):
        run(**options)


def test_an_objective_must_be_one_number():
    with pytest.raises(TrainingError, match=r"shape \(4,\).*mean over the batch"):
        fit(
            lambda params, batch, key: params + batch[:, 0],
            jnp.float32(0.0),
            SGD,
            key=KEY,
            num_steps=3,
            data=DATA,
            batch_size=4,
            progress=False,
        )


@pytest.fixture
def directory(tmp_path):
    """A checkpoint of ``run`` at step 25."""
    run(num_steps=25, checkpoint_dir=tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"key": jax.random.key(1)}, "differs in key"),
        ({"batch_size": 5}, "differs in batch_size"),
        ({"batch_size": None}, "differs in batch_size"),
        ({"data": DATA[:19]}, "differs in .*data"),
        ({"num_steps": 10}, "already at step 25, beyond num_steps = 10"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(directory, options, difference):
    with pytest.raises(CheckpointError, match=difference) as raised:
        run(checkpoint_dir=directory, **options)
    assert str(directory) in str(raised.value)
    assert "another checkpoint_dir, or delete this one" in str(raised.value)


@pytest.mark.parametrize(
    ("model", "optimizer", "difference"),
    [
        ({"mean": np.zeros(1, np.float32)}, ADAM, r"\.params\['mean'\]"),
        ({"average": np.zeros(2, np.float32)}, ADAM, "'average'"),
        ({"mean": np.zeros(2, np.float32)}, SGD, r"\.opt_state"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(directory, model, optimizer, difference):
    with pytest.raises(CheckpointError, match=difference):
        fit(
            lambda params, batch, key: sum(leaf.sum() for leaf in params.values()),
            model,
            optimizer,
            key=KEY,
            num_steps=NUM_STEPS,
            data=DATA,
            batch_size=4,
            progress=False,
            checkpoint_dir=directory,
        )


def emptied(path):
    path.write_bytes(b"")


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scrambled(path):
    path.write_bytes(bytes(255 - byte for byte in path.read_bytes()))


def deleted(path):
    path.unlink()


@pytest.mark.parametrize("damage", [emptied, halved, scrambled, deleted], ids=lambda damage: damage.__name__)
def test_a_damaged_checkpoint_is_one_sentence(directory, damage):
    for path in sorted((directory / "25").rglob("*")):
        if path.is_file():
            damage(path)
    with pytest.raises(CheckpointError) as raised:
        run(checkpoint_dir=directory)
    assert str(directory) in str(raised.value)
    assert "another checkpoint_dir, or delete this one" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_in_place_of_the_directory_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CheckpointError, match="No checkpoint can be kept in"):
            run(checkpoint_dir=path)


def test_other_files_in_the_directory_are_left_alone(undisturbed, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert_same_run(run(checkpoint_dir=tmp_path), undisturbed)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def halved_objective(params, batch, key):
    return noisy_fit_of_a_mean(params, batch, key) / 2


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"optimizer": optax.adam(0.06)}, "differs in optimizer:"),
        ({"optimizer": optax.adam(optax.constant_schedule(0.05))}, "opt_state.*optimizer"),
        ({"objective": halved_objective}, "differs in objective:"),
        ({"data": DATA + 1}, "differs in data:"),
        ({"average_from": 30}, "differs in .*average_from"),
    ],
    ids=["rate", "schedule", "objective", "data", "averaging"],
)
def test_a_run_goes_on_only_with_its_own_objective_and_optimizer(directory, changes, difference):
    options = {"objective": noisy_fit_of_a_mean, "optimizer": ADAM, "data": DATA, "key": KEY} | changes
    arguments = options.pop("objective"), {"mean": np.zeros(2, np.float32)}, options.pop("optimizer")
    with pytest.raises(CheckpointError, match=difference) as raised:
        fit(*arguments, num_steps=NUM_STEPS, batch_size=4, progress=False, checkpoint_dir=directory, **options)
    assert "\n" not in str(raised.value)

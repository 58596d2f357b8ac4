"""``fit``: stochastic gradient ascent on any unbiased objective, in one compiled loop over :func:`step`.

The loop over steps runs inside XLA; Python is asked back about once a second, to draw the progress bar, to save a
checkpoint, and to notice an interrupt or a number that is no longer finite. How many steps lie between two such visits
is an argument of the compiled program, so that it can follow the speed of the machine without compiling anew. What is
drawn at step ``t`` depends on the key and on ``t`` alone: the numbers do not depend on when Python looks, nor on
whether the run was killed and resumed. To look for ``nan`` in the parameters would cost every step a pass over them;
the visits do it, and find the last good step by bisection.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree
from tqdm.auto import tqdm

from course_utils.checkpoints import Checkpoints, checksum
from course_utils.errors import CourseError
from course_utils.hosts import agreed, default_mesh, interrupts_noticed, speaks
from course_utils.steps import Objective, State, TrainingError, digests, init, look_ahead, mean_estimate, step

SECONDS_BETWEEN_VISITS = 1.0


class NonFiniteError(CourseError):
    """The objective or its gradient is not finite at ``step``; ``model`` and ``history`` are what was learned before."""

    def __init__(self, message: str, step: int, model: Any, history: "History"):
        super().__init__(message)
        self.step, self.model, self.history = step, model, history


@dataclass(frozen=True)
class History:
    """What happened in a run of ``fit``.

    Attributes:
        objective: the estimate that was climbed, at each step taken (for an ELBO, nats per datapoint).
        metrics: what the objective returned beside the estimate, at each step taken; ``None`` without it.
        recorded: what ``record`` returned for the model at each step taken, before the step; ``None`` without it.
        held_out: the objective on held-out data before the first step and after every ``held_out_every``.
        seconds, compile_seconds: wall time of the steps of this call, and of what was made ready for them.
        interrupted: whether the run was stopped before its last step.
    """

    objective: Float[np.ndarray, " steps"]
    metrics: PyTree
    recorded: PyTree
    held_out: Float[np.ndarray, " looks"] | None
    seconds: float
    compile_seconds: float
    interrupted: bool

    @property
    def num_steps(self) -> int:
        """Return the number of steps taken."""
        return len(self.objective)


def fit(
    objective: Objective,
    model: Any,
    optimizer: optax.GradientTransformation,
    *,
    key: PRNGKeyArray,
    num_steps: int,
    data: PyTree | None = None,
    batch_size: int | None = None,
    progress: bool | None = None,
    checkpoint_dir: str | Path | None = None,
    checkpoint_every: int = 1000,
    mesh: Mesh | None = None,
    record: Callable[[Any], PyTree] | None = None,
    held_out: PyTree | None = None,
    held_out_every: int = 1000,
    average_from: int | None = None,
) -> tuple[Any, History]:
    """Maximise ``E[objective(model, batch, key)]`` over the parameters of ``model`` by stochastic gradient ascent.

    Args:
        objective: returns an unbiased scalar estimate to *maximise*, such as an ELBO in nats per datapoint, or a pair
            of it and a pytree of metrics, which are kept for every step as ``history.metrics``.
        model: a Flax NNX module, whose ``nnx.Param`` variables are trained and whose other variables follow what the
            objective does to them, or any pytree of float arrays. It is not changed.
        optimizer: an Optax optimizer, as for minimisation; the sign is turned around here.
        key: the only source of randomness; step ``t`` uses ``fold_in(key, t)``.
        num_steps: the number of steps to take in all, those of an earlier run that is resumed included.
        data: a pytree of arrays that share their leading axis, of length N; it stays on the device.
        batch_size: how many datapoints ``objective`` gets at each step, drawn without replacement until fewer than
            ``batch_size`` are left, then shuffled anew. Without it each step gets all of ``data``.
        progress: whether to draw a progress bar; by default in a notebook and in a terminal, not in a pipe.
        checkpoint_dir: where to keep checkpoints. If one is there, the run goes on from it.
        checkpoint_every: the number of steps between two checkpoints.
        mesh: devices to share each batch, along an axis named ``batch``; by default all there are.
        record: returns what to keep of the model at every step, an array or a pytree of them, as ``history.recorded``.
        held_out: data like ``data`` on which to estimate the objective every ``held_out_every`` steps, in as many
            whole batches as there are, with one key, a module in its ``eval()`` mode.
        average_from: from this step on average the parameters; the model returned and the one tried on held-out data
            have the average (Polyak & Juditsky, *Acceleration of stochastic approximation by averaging*).

    Returns:
        The trained model, of the same kind as ``model``, and the history; after an interrupt (the stop button, Ctrl-C)
        what was learned until then. A second interrupt is an ordinary ``KeyboardInterrupt``.

    Raises:
        NonFiniteError: the objective or its gradient was not finite.
        TrainingError: what was given does not fit together.
        CheckpointError: a checkpoint cannot be kept or read, or is of another run.
    """
    _check_arguments(num_steps, data, batch_size, checkpoint_every, held_out, held_out_every)
    mesh = default_mesh(batch_size) if mesh is None else mesh
    start = time.perf_counter()
    state = init(model, optimizer)
    run = _Run(np.int32(0), state, None if average_from is None else state.params)
    batch = data if batch_size is None else jax.tree.map(lambda leaf: leaf[:batch_size], data)
    recorded = None if record is None else jax.eval_shape(lambda state: record(state.model), state)
    shapes = _Trace(*look_ahead(objective, state, batch, key), recorded)
    trace = jax.tree.map(lambda leaf: np.zeros((num_steps, *leaf.shape), leaf.dtype), shapes)
    looks = None if held_out is None else np.zeros(num_steps // held_out_every + 1, np.float32)

    def learned(done: int) -> PyTree:
        return {"run": run, "trace": _head(trace, done), "looks": _head(looks, done // held_out_every + 1)}

    checkpoints = None
    if checkpoint_dir is not None:
        identity = {"key": jax.random.key_data(key).tolist(), "data": checksum((data, held_out))}
        identity |= {"batch_size": batch_size, "average_from": average_from, "held_out_every": held_out_every}
        checkpoints = Checkpoints(Path(checkpoint_dir), identity | digests(objective, optimizer, state, batch))
        if (saved := checkpoints.restore(num_steps, like=learned)) is not None:
            run, trace, looks = saved["run"], _with_head(trace, saved["trace"]), _with_head(looks, saved["looks"])
    run, trace, data, held_out = jax.device_put((run, trace, data, held_out), NamedSharding(mesh, PartitionSpec()))
    run_until = partial(_run_until, objective, optimizer, batch_size, mesh, record, average_from, data, key)
    look = partial(mean_estimate, objective, batch_size, held_out, jax.random.fold_in(key, 2**32 - 1))

    done = first = int(run.step)
    run, trace, _ = jax.block_until_ready(run_until(run, trace, done))
    if held_out is not None and done == 0:
        looks[0] = look(run.trained)
    compiled = time.perf_counter()
    chunk, finite = 1, True
    periods = [checkpoint_every] * (checkpoints is not None) + [held_out_every] * (held_out is not None)
    no_bar = not speaks() or (None if progress is None else not progress)
    bar = tqdm(initial=done, total=num_steps, unit="step", disable=no_bar)
    with interrupts_noticed() as interrupted, bar:
        while done < num_steps:
            chunk, stop = agreed(chunk, interrupted.is_set())
            if stop:
                break
            until = min([num_steps, done + chunk, *(done - done % every + every for every in periods)])
            chunk_start = time.perf_counter()
            reached, trace, (finite, mean) = run_until(run, trace, until)
            if not finite:
                run, trace = _last_finite(run_until, run, trace, until)
                done = int(run.step)
                break
            seconds_per_step = (time.perf_counter() - chunk_start) / (until - done)
            chunk = max(1, min(round(SECONDS_BETWEEN_VISITS / seconds_per_step), 1000 * chunk, num_steps))
            bar.update(until - done)
            bar.set_postfix_str(f"objective {mean:.5g}")
            run, done = reached, until
            if held_out is not None and done % held_out_every == 0:
                looks[done // held_out_every] = look(run.trained)
            if checkpoints and done % checkpoint_every == 0:
                checkpoints.save(done, learned(done))
        if checkpoints and finite and done > first and done % checkpoint_every:
            checkpoints.save(done, learned(done))
    seconds = time.perf_counter() - compiled

    looks = _head(looks, done // held_out_every + 1)
    history = History(*_head(trace, done), looks, seconds, compiled - start, interrupted=done < num_steps)
    if not finite:
        raise NonFiniteError(_non_finite_message(np.asarray(trace.objective), done), done, run.trained.model, history)
    if history.interrupted and speaks():
        print(f"Stopped after {done} of {num_steps} steps; the model keeps what it has learned.")
    elif done == first and speaks():
        print(f"{checkpoint_dir} already holds all {num_steps} steps, so there was nothing left to do.")
    return run.trained.model, history


class _Run(NamedTuple):
    """All that changes from one step to the next, but for what is written down."""

    step: Int[Array, ""]
    state: State
    average: PyTree

    @property
    def trained(self) -> State:
        return self.state if self.average is None else replace(self.state, params=self.average)


class _Trace(NamedTuple):
    """What is written down at each step; the leading axis of every array counts the steps."""

    objective: Float[Array, " num_steps"]
    metrics: PyTree
    recorded: PyTree


# The trace can be far larger than the model: given away, it is written in place and not copied at each visit.
@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5), donate_argnames=("trace",))
def _run_until(objective, optimizer, batch_size, mesh, record, average_from, data, key, run, trace, until):
    """Return the run and the trace at step ``until``, whether all is finite, and the mean objective on the way."""
    shuffle_key, objective_key = jax.random.split(key)
    num_steps = until - run.step

    def take_step(order, carry):
        run, trace, mean = carry
        batch = data
        if batch_size is not None:
            position = run.step % (len(order) // batch_size) * batch_size
            chosen = jax.lax.dynamic_slice(order, (position,), (batch_size,))
            batch = jax.tree.map(lambda leaf: leaf[chosen], data)
            batch = jax.lax.with_sharding_constraint(batch, NamedSharding(mesh, PartitionSpec("batch")))
        state, seen = step(objective, optimizer, run.state, batch, jax.random.fold_in(objective_key, run.step))
        seen = _Trace(*seen, None if record is None else record(run.state.model))
        trace = jax.tree.map(lambda all, now: all.at[run.step].set(now), trace, seen)
        average = run.average
        if average_from is not None:
            weight = 1 / jnp.maximum(run.step + 1 - average_from, 1)
            average = jax.tree.map(lambda old, new: (1 - weight) * old + weight * new, average, state.params)
        return _Run(run.step + 1, state, average), trace, mean + seen.objective / num_steps

    def take_epoch(carry):
        num_data = len(jax.tree.leaves(data)[0])
        epoch = carry[0].step // (num_data // batch_size)
        order = jax.random.permutation(jax.random.fold_in(shuffle_key, epoch), num_data).astype(jnp.int32)
        end = jnp.minimum(until, (epoch + 1) * (num_data // batch_size))
        return jax.lax.while_loop(lambda carry: carry[0].step < end, partial(take_step, order), carry)

    body = partial(take_step, None) if batch_size is None else take_epoch
    run, trace, mean = jax.lax.while_loop(lambda carry: carry[0].step < until, body, (run, trace, jnp.float32(0)))
    finite = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves((run.state.params, mean))]
    return run, trace, (jnp.array(finite).all(), mean)


def _last_finite(run_until: Callable, run: _Run, trace: _Trace, until: int) -> tuple[_Run, _Trace]:
    """Return the last run with finite numbers, given that there are some in ``run`` but not at step ``until``."""
    step = int(run.step)
    while until - step > 1:
        middle = (step + until) // 2
        reached, trace, (finite, _) = run_until(run, trace, middle)
        if finite:
            run, step = reached, middle
        else:
            until = middle
    return run, trace


def _head(tree: PyTree, length: int) -> PyTree:
    return jax.tree.map(lambda leaf: np.array(np.asarray(leaf)[:length]), tree)


def _with_head(tree: PyTree, head: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf, new: np.concatenate([new, leaf[len(new) :]]), tree, head)


def _check_arguments(num_steps, data, batch_size, checkpoint_every, held_out, held_out_every) -> None:
    """Raise ``TrainingError`` with the argument that is wrong and the way out."""
    if num_steps < 1:
        raise TrainingError(f"num_steps is {num_steps}; fit needs at least one step.")
    for name, every in {"checkpoint_every": checkpoint_every, "held_out_every": held_out_every}.items():
        if every < 1:
            raise TrainingError(f"{name} is {every}; it counts steps, so it must be at least 1.")
    for name, arrays in {"data": data, "held_out": held_out}.items():
        axes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(arrays)}
        if arrays is not None and (len(axes) != 1 or () in axes):
            raise TrainingError(f"The arrays in {name} must share their first axis; the first axes are {sorted(axes)}.")
    if batch_size is None:
        return
    if data is None:
        raise TrainingError(f"batch_size is {batch_size} but there is no data to draw a batch from: pass data=...")
    num_data = len(jax.tree.leaves(data)[0])
    if not 1 <= batch_size <= num_data:
        raise TrainingError(f"batch_size is {batch_size}; with {num_data} datapoints it must be from 1 to {num_data}.")


def _non_finite_message(objectives: Float[np.ndarray, " num_steps"], step: int) -> str:
    value = objectives[step]
    what = "its gradient or the step it leads to is not finite" if np.isfinite(value) else f"it is {value}"
    before = f"the step before it was {objectives[step - 1]:.5g}" if step else "that was the very first step"
    hint = (
        "a smaller learning rate, or optax.clip_by_global_norm in front of the optimizer, often helps"
        if step
        else "look for the log of zero, a division by zero, or a scale that is not positive in the objective"
    )
    return (
        f"The objective cannot be climbed at step {step}: {what} ({before}); {hint}. What was learned before is in "
        "the exception's .model and .history."
    )

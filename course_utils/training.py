"""``fit``: stochastic gradient ascent on any unbiased objective, in one compiled loop.

The loop over steps runs inside XLA; Python is asked back about once a second, to draw the progress bar, to save a
checkpoint, and to notice an interrupt or an objective that is no longer finite. The number of steps between two such
visits is an argument of the compiled program, not a part of it, so that it can follow the speed of the machine without
compiling anew. What is drawn at step ``t`` depends on the key and on ``t`` alone: the numbers do not depend on when
Python looks, on whether it draws a bar, or on whether the run was killed and resumed.

The loop itself does not look for ``nan``, which would cost every step a pass over all parameters. Python does, at its
visits; since every step can be taken again with the same numbers, it then finds the last good one by bisection.
"""

import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree
from tqdm.auto import tqdm

from course_utils.errors import CourseError

SECONDS_BETWEEN_VISITS = 1.0

Objective = Callable[[Any, Any, PRNGKeyArray], Float[Array, ""]]


class TrainingError(CourseError):
    """The arguments of ``fit`` do not fit together, or a checkpoint belongs to another run."""


class NonFiniteError(CourseError):
    """The objective or its gradient became infinite or ``nan``.

    ``step`` is where, ``model`` and ``history`` are what had been learned before that step.
    """

    def __init__(self, message: str, step: int, model: Any, history: "History"):
        super().__init__(message)
        self.step, self.model, self.history = step, model, history


@dataclass(frozen=True)
class History:
    """What happened in a run of ``fit``.

    Attributes:
        objective: the estimate that was climbed, at each step taken (for an ELBO, nats per datapoint).
        recorded: what ``record`` returned for the model at each step taken, before the step; ``None`` without it.
        seconds: wall time of this call, without compilation.
        compile_seconds: wall time of tracing and compilation.
        interrupted: whether the run was stopped before its last step.
    """

    objective: Float[np.ndarray, " steps"]
    recorded: PyTree
    seconds: float
    compile_seconds: float
    interrupted: bool

    @property
    def num_steps(self) -> int:
        """Return the number of steps taken."""
        return len(self.objective)


class _Trace(NamedTuple):
    """What is written down at each step; the leading axis of every array counts the steps."""

    objective: Float[Array, " num_steps"]
    recorded: PyTree

    def until(self, step: int) -> "_Trace":
        return jax.tree.map(lambda leaf: leaf[:step], self)


class _State(NamedTuple):
    """All that changes from one step to the next."""

    step: Int[Array, ""]
    params: PyTree
    opt_state: PyTree
    order: Int[Array, " N"] | None
    trace: _Trace

    def is_finite(self) -> bool:
        return bool(_all_finite((self.params, self.trace.objective)))


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
) -> tuple[Any, History]:
    """Maximise ``E[objective(model, batch, key)]`` over the parameters of ``model`` by stochastic gradient ascent.

    Args:
        objective: returns an unbiased scalar estimate to *maximise*, such as an ELBO in nats per datapoint.
        model: a Flax NNX module, whose ``nnx.Param`` variables are trained and whose other variables stay as they
            are, or any pytree of float arrays. It is not changed.
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

    Returns:
        The trained model, of the same kind as ``model``, and the history. After an interrupt (the stop button,
        Ctrl-C) these are what was learned until then; a second interrupt is an ordinary ``KeyboardInterrupt``.

    Raises:
        NonFiniteError: the objective or its gradient was not finite.
        TrainingError: the arguments do not fit together, or the checkpoint is of another run.
    """
    num_data = _check_arguments(num_steps, data, batch_size, checkpoint_every)
    mesh = _default_mesh(batch_size) if mesh is None else mesh
    graphdef, params, fixed = _split(model)
    recorded = None if record is None else jax.eval_shape(lambda: record(_merge(graphdef, params, fixed)))
    state = _State(
        step=jnp.int32(0),
        params=params,
        opt_state=optimizer.init(params),
        order=None if batch_size is None else jnp.arange(num_data, dtype=jnp.int32),
        trace=jax.tree.map(
            lambda leaf: jnp.zeros((num_steps, *leaf.shape), leaf.dtype),
            _Trace(jax.ShapeDtypeStruct((), jnp.float32), recorded),
        ),
    )
    checkpoints = None
    if checkpoint_dir is not None:
        checkpoints = _Checkpoints(Path(checkpoint_dir), key=key, num_data=num_data, batch_size=batch_size)
        state = checkpoints.restore(state)
    state, data, fixed = jax.device_put((state, data, fixed), NamedSharding(mesh, PartitionSpec()))
    run_until = partial(_run_until, objective, graphdef, optimizer, batch_size, mesh, record, fixed, data, key)

    start = time.perf_counter()
    step = first_step = int(state.step)
    state = jax.block_until_ready(run_until(state, step))
    compiled = time.perf_counter()
    chunk, beyond = 1, None
    with _interrupts_noticed() as interrupted, _progress_bar(progress, step, num_steps) as bar:
        while step < num_steps and not interrupted.is_set():
            chunk_start = time.perf_counter()
            until = min(step + chunk, num_steps)
            if checkpoints:
                until = min(until, step - step % checkpoint_every + checkpoint_every)
            reached = run_until(state, until)
            if not reached.is_finite():
                state = _last_finite(run_until, state, until)
                step = int(state.step)
                beyond = run_until(state, step + 1)
                break
            seconds_per_step = (time.perf_counter() - chunk_start) / (until - step)
            chunk = max(1, min(round(SECONDS_BETWEEN_VISITS / seconds_per_step), 1000 * chunk))
            bar.update(until - step)
            bar.set_postfix_str(f"objective {np.array(reached.trace.objective)[step:until].mean():.5g}")
            state, step = reached, until
            if checkpoints and step % checkpoint_every == 0:
                checkpoints.save(state)
        if checkpoints and beyond is None and step > first_step and step % checkpoint_every:
            checkpoints.save(state)
    seconds = time.perf_counter() - compiled
    trained = _merge(graphdef, state.params, fixed)
    objectives, recorded = jax.tree.map(np.array, state.trace.until(step))
    history = History(objectives, recorded, seconds, compiled - start, interrupted=step < num_steps)
    if beyond is not None:
        raise NonFiniteError(_non_finite_message(np.array(beyond.trace.objective), step), step, trained, history)
    if history.interrupted:
        print(f"Stopped after {step} of {num_steps} steps; the model keeps what it has learned.")
    elif step == first_step:
        print(f"{checkpoint_dir} already holds all {num_steps} steps, so there was nothing left to do.")
    return trained, history


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5))
def _run_until(objective, graphdef, optimizer, batch_size, mesh, record, fixed, data, key, state, until):
    """Return the state at step ``until``."""
    shuffle_key, objective_key = jax.random.split(key)

    def take_step(state: _State) -> _State:
        batch, order = data, state.order
        if batch_size is not None:
            batch, order = _draw_batch(shuffle_key, data, batch_size, state)
            batch = jax.lax.with_sharding_constraint(batch, NamedSharding(mesh, PartitionSpec("batch")))

        def loss(params: PyTree) -> Float[Array, ""]:
            key = jax.random.fold_in(objective_key, state.step)
            value = jnp.asarray(objective(_merge(graphdef, params, fixed), batch, key))
            if value.shape:
                raise TrainingError(
                    f"The objective returned an array of shape {value.shape}, but only one number can be climbed: "
                    "take its mean over the batch."
                )
            return -value

        value, gradient = jax.value_and_grad(loss)(state.params)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        recorded = None if record is None else record(_merge(graphdef, state.params, fixed))
        trace = jax.tree.map(lambda all, now: all.at[state.step].set(now), state.trace, _Trace(-value, recorded))
        return _State(state.step + 1, params, opt_state, order, trace)

    return jax.lax.while_loop(lambda state: state.step < until, take_step, state)


def _last_finite(run_until: Callable[[_State, int], _State], state: _State, until: int) -> _State:
    """Return the last state with finite numbers, given that there are some in ``state`` but not at step ``until``."""
    step = int(state.step)
    while until - step > 1:
        middle = (step + until) // 2
        reached = run_until(state, middle)
        if reached.is_finite():
            state, step = reached, middle
        else:
            until = middle
    return state


def _draw_batch(
    key: PRNGKeyArray, data: PyTree, batch_size: int, state: _State
) -> tuple[PyTree, Int[Array, " N"]]:
    """Return the batch of this step, and the order of the datapoints in this epoch."""
    num_data = len(state.order)
    epoch, step_in_epoch = jnp.divmod(state.step, num_data // batch_size)
    order = jax.lax.cond(
        step_in_epoch == 0,
        lambda: jax.random.permutation(jax.random.fold_in(key, epoch), num_data).astype(jnp.int32),
        lambda: state.order,
    )
    chosen = jax.lax.dynamic_slice(order, (step_in_epoch * batch_size,), (batch_size,))
    return jax.tree.map(lambda leaf: leaf[chosen], data), order


@jax.jit
def _all_finite(tree: PyTree) -> Bool[Array, ""]:
    return jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def _split(model: Any) -> tuple[nnx.GraphDef | None, PyTree, PyTree]:
    """Return what is static in ``model`` (``None`` for a bare pytree), what is trained, and what stays as it is."""
    if isinstance(model, nnx.Module):
        return nnx.split(model, nnx.Param, ...)
    # A weak type, as ``jnp.full(3, 0.0)`` has, would be lost in the first step, and the loop compiled once more.
    return None, jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), model), ()


def _merge(graphdef: nnx.GraphDef | None, params: PyTree, fixed: PyTree) -> Any:
    return params if graphdef is None else nnx.merge(graphdef, params, fixed)


def _default_mesh(batch_size: int | None) -> Mesh:
    """Return all devices if the batch can be shared out evenly among them, the first one otherwise."""
    devices = jax.devices()
    if batch_size is None or batch_size % len(devices):
        devices = devices[:1]
    return jax.make_mesh((len(devices),), ("batch",), axis_types=(AxisType.Auto,), devices=devices)


def _check_arguments(num_steps: int, data: PyTree, batch_size: int | None, checkpoint_every: int) -> int:
    """Return the number of datapoints; raise ``TrainingError`` with the argument that is wrong and the way out."""
    if num_steps < 1:
        raise TrainingError(f"num_steps is {num_steps}; fit needs at least one step.")
    if checkpoint_every < 1:
        raise TrainingError(f"checkpoint_every is {checkpoint_every}; it counts steps, so it must be at least 1.")
    if data is None:
        if batch_size is not None:
            raise TrainingError(f"batch_size is {batch_size} but there is no data to draw a batch from: pass data=...")
        return 0
    lengths = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(data)}
    if len(lengths) != 1 or () in lengths:
        raise TrainingError(f"The arrays in data must share their first axis; the first axes are {sorted(lengths)}.")
    (num_data,) = lengths.pop()
    if batch_size is not None and not 1 <= batch_size <= num_data:
        raise TrainingError(f"batch_size is {batch_size}; with {num_data} datapoints it must be from 1 to {num_data}.")
    return num_data


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


@contextmanager
def _interrupts_noticed() -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT sets; the next one is an ordinary ``KeyboardInterrupt``.

    An exception at an arbitrary place would lose what has been learned; a flag cannot.
    """
    noticed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noticed
        return

    def notice(signum: int, frame: Any) -> None:
        noticed.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = signal.signal(signal.SIGINT, notice)
    try:
        yield noticed
    finally:
        signal.signal(signal.SIGINT, previous)


def _progress_bar(progress: bool | None, step: int, num_steps: int) -> tqdm:
    """Return a bar for the notebook or the terminal; ``progress=None`` leaves out pipes and files."""
    return tqdm(initial=step, total=num_steps, unit="step", disable=None if progress is None else not progress)


class _Checkpoints:
    """Orbax checkpoints of one run of ``fit``, which know to which run they belong."""

    def __init__(self, directory: Path, *, key: PRNGKeyArray, num_data: int, batch_size: int | None):
        # Orbax takes almost a second to import, and most runs keep no checkpoint.
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._directory = directory
        self._run = {
            "key": jax.random.key_data(key).tolist(),
            "num_data": num_data,
            "batch_size": batch_size,
        }
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        try:
            # Orbax would find out only after the first steps, when it saves.
            directory.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=directory).close()
            self._manager = ocp.CheckpointManager(directory.absolute(), options=options)
        except OSError as error:
            raise TrainingError(f"No checkpoint can be kept in {directory}: {error.strerror or error}.") from None

    def save(self, state: _State) -> None:
        step = int(state.step)
        leaves = _leaves_by_name(state._replace(trace=state.trace.until(step)))
        arguments = self._ocp.args.Composite(
            run=self._ocp.args.JsonSave(self._run), state=self._ocp.args.StandardSave(leaves)
        )
        self._manager.save(step, args=arguments, force=True)

    def restore(self, state: _State) -> _State:
        """Return the newest checkpoint in the shape of ``state``, or ``state`` if there is none."""
        step = self._manager.latest_step()
        if step is None:
            return state
        way_out = "take another checkpoint_dir, or delete this one to start afresh"
        num_steps = len(state.trace.objective)
        if step > num_steps:
            raise TrainingError(
                f"{self._directory} is already at step {step}, beyond num_steps = {num_steps}: {way_out}."
            )
        arguments = self._ocp.args.Composite(run=self._ocp.args.JsonRestore(), state=self._ocp.args.StandardRestore())
        try:
            saved = self._manager.restore(step, args=arguments)
        except Exception as error:  # JSON, Unicode, TensorStore, …: it depends on which file is damaged.
            reason = type(error).__name__
            raise TrainingError(
                f"The checkpoint of step {step} in {self._directory} cannot be read ({reason}): {way_out}."
            ) from None
        differing = [name for name, value in self._run.items() if saved.run[name] != value]
        wanted = _leaves_by_name(state._replace(trace=state.trace.until(step)))
        differing += [
            name
            for name in sorted(wanted.keys() | saved.state.keys())
            if getattr(wanted.get(name), "shape", None) != getattr(saved.state.get(name), "shape", None)
        ]
        if differing:
            raise TrainingError(
                f"{self._directory} holds a run that differs in {', '.join(differing[:3])}: {way_out}."
            )
        leaves = [jnp.asarray(saved.state[name]) for name in wanted]
        restored = jax.tree.unflatten(jax.tree.structure(state), leaves)
        trace = jax.tree.map(lambda all, taken: all.at[:step].set(taken), state.trace, restored.trace)
        return restored._replace(trace=trace)


def _leaves_by_name(tree: PyTree) -> dict[str, Array]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}

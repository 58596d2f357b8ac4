"""One step of stochastic gradient ascent, as pure functions: ``init`` makes a state, ``step`` takes it one step on.

``training.fit`` is a compiled loop over :func:`step`, and takes the same objectives, models and optimizers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.experimental import checkify
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from course_utils.checkpoints import fingerprint
from course_utils.errors import CourseError

Objective = Callable[[Any, Any, PRNGKeyArray], Float[Array, ""] | tuple[Float[Array, ""], PyTree]]


class TrainingError(CourseError):
    """What was given to train does not fit together."""


@partial(jax.tree_util.register_dataclass, data_fields=["params", "rest", "opt_state"], meta_fields=["graphdef"])
@dataclass(frozen=True)
class State:
    """A model in training: a pytree, so that it can be an argument of a jitted function.

    Attributes:
        graphdef: what is static in a Flax module; ``None`` for a bare pytree.
        params: what is trained.
        rest: the module's other variables, such as the averages of a ``BatchNorm`` or the keys of a ``Dropout``.
        opt_state: the optimizer's state.
    """

    graphdef: nnx.GraphDef | None
    params: PyTree
    rest: PyTree
    opt_state: PyTree

    @property
    def model(self) -> Any:
        """Return the model, of the kind that was given to ``init``."""
        return self.params if self.graphdef is None else nnx.merge(self.graphdef, self.params, self.rest)


class Seen(NamedTuple):
    """What a step saw on its way: the estimate that it climbed, and what the objective returned beside it."""

    objective: Float[Array, ""]
    metrics: PyTree


def init(model: Any, optimizer: optax.GradientTransformation) -> State:
    """Return the state before the first step.

    ``model`` is a Flax NNX module, whose ``nnx.Param`` variables are trained, or any pytree of float arrays. It is not
    changed.
    """
    graphdef, params, rest = _split(model)
    # A weak type, as ``jnp.full(3, 0.0)`` has, would be lost in the first step, and a loop over it compiled once more.
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), params)
    return State(graphdef, params, rest, optimizer.init(params))


def step(
    objective: Objective, optimizer: optax.GradientTransformation, state: State, batch: PyTree, key: PRNGKeyArray
) -> tuple[State, Seen]:
    """Climb one step of ``objective(model, batch, key)``; return the new state and what was seen at the old one.

    To take many by hand: ``jax.jit(partial(step, objective, optimizer))``.

    Raises:
        TrainingError: the objective is not one number, or it changes the model in more than its variables' values.
    """

    def loss(params: PyTree) -> tuple[Float[Array, ""], tuple[PyTree, PyTree]]:
        seen, rest = estimate(objective, state.graphdef, params, state.rest, batch, key)
        return -seen.objective, (seen, rest)

    (value, (seen, rest)), gradient = jax.value_and_grad(loss, has_aux=True)(state.params)
    # Optimizers that adapt to the value, or search along a line, get it; the others never see it.
    updates, opt_state = optax.with_extra_args_support(optimizer).update(
        gradient, state.opt_state, state.params, value=value, grad=gradient, value_fn=lambda params: loss(params)[0]
    )
    return State(state.graphdef, optax.apply_updates(state.params, updates), rest, opt_state), seen


# Jitted so that JAX remembers its trace: the shape of what the objective returns is asked for before the loop is made.
@partial(jax.jit, static_argnums=(0, 1), inline=True)
def estimate(
    objective: Objective, graphdef: nnx.GraphDef | None, params: PyTree, rest: PyTree, batch: PyTree, key: PRNGKeyArray
) -> tuple[Seen, PyTree]:
    """Return the estimate, and the variables that are not trained as the objective left them."""
    model = State(graphdef, params, rest, None).model
    result = objective(model, batch, key)
    value, metrics = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
    value = jnp.asarray(value)
    if value.shape:
        raise TrainingError(
            f"The objective returned an array of shape {value.shape}, but only one number can be climbed: "
            "take its mean over the batch."
        )
    if graphdef is not None:
        _, _, left = _split(model)
        if jax.tree.map(jax.typeof, left) != jax.tree.map(jax.typeof, rest):
            raise TrainingError(
                "The objective added, removed or reshaped variables of the model; only their values may change in it."
            )
        rest = left
    return Seen(value, metrics), rest


def look_ahead(objective: Objective, state: State, batch: PyTree, key: PRNGKeyArray) -> Seen:
    """Return the shapes of what the objective gives, once it has passed its own checks on this batch.

    Raises:
        TrainingError: the batch is none for this model, such as grey levels for one of zeros and ones.
    """
    arguments = state.graphdef, state.params, state.rest, batch, key
    traced = estimate.trace(objective, *arguments)
    checks = any("Error" in type(effect).__name__ for effect in traced.jaxpr.effects)
    if checks and (message := _failed_check(objective, *arguments).get()):
        raise TrainingError(message.split(" (`check` failed)")[0])
    return traced.out_info[0]


@partial(jax.jit, static_argnums=(0, 1))
def _failed_check(objective, graphdef, *arguments):
    # Without its results the compiler keeps nothing of the objective but its checks.
    return checkify.checkify(partial(estimate, objective, graphdef))(*arguments)[0]


@partial(jax.jit, static_argnums=(0, 1))
def mean_estimate(
    objective: Objective, batch_size: int | None, data: PyTree, key: PRNGKeyArray, state: State
) -> Float[Array, ""]:
    """Return the mean objective over as many whole batches of ``data`` as there are, a module in its ``eval()`` mode."""
    model = state.model
    if isinstance(model, nnx.Module):
        model.eval()
    graphdef, params, rest = _split(model)
    num_data = len(jax.tree.leaves(data)[0])
    size = min(batch_size or num_data, num_data)
    count = num_data // size
    batches = jax.tree.map(lambda leaf: leaf[: count * size].reshape(count, size, *leaf.shape[1:]), data)
    one = lambda given: estimate(objective, graphdef, params, rest, *given)[0].objective  # noqa: E731
    return jax.lax.map(one, (batches, jax.random.split(key, count))).mean()


def digests(objective: Objective, optimizer: optax.GradientTransformation, state: State, batch: PyTree) -> dict:
    """Return what tells the objective from any other on such a batch, and the optimizer from any other."""

    def update(state: State) -> PyTree:
        extra = {"value": jnp.float32(0), "grad": state.params, "value_fn": optax.tree.sum}
        return optax.with_extra_args_support(optimizer).update(state.params, state.opt_state, state.params, **extra)

    arguments = state.params, state.rest, batch, jax.random.key(0)
    return {
        "objective": fingerprint(partial(estimate, objective, state.graphdef), *arguments),
        "optimizer": fingerprint(update, state),
    }


def _split(model: Any) -> tuple[nnx.GraphDef | None, PyTree, PyTree]:
    """Return what is static in ``model``, what is trained, and what else it has."""
    return nnx.split(model, nnx.Param, ...) if isinstance(model, nnx.Module) else (None, model, ())

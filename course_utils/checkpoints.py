"""Orbax checkpoints of a run of ``training.fit``, which know to which run they belong."""

import hashlib
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal
from jaxtyping import PyTree

from course_utils.errors import CourseError


class CheckpointError(CourseError):
    """A checkpoint cannot be kept or read, or belongs to another run."""


class Checkpoints:
    """The checkpoints in one directory; ``run`` says by name what must be the same when they are taken up again."""

    def __init__(self, directory: Path, run: dict[str, Any]):
        # Orbax takes almost a second to import, and most runs keep no checkpoint.
        import orbax.checkpoint as ocp

        self._ocp, self._directory, self._run = ocp, directory, run
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        try:
            # Orbax would find out only after the first steps, when it saves.
            directory.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=directory).close()
            self._manager = ocp.CheckpointManager(directory.absolute(), options=options)
        except OSError as error:
            raise CheckpointError(f"No checkpoint can be kept in {directory}: {error.strerror or error}.") from None

    def save(self, step: int, state: PyTree) -> None:
        """Keep ``state``; on many hosts all must call this, and the first one writes."""
        leaves = {name: np.asarray(_without_key_type(leaf)) for name, leaf in _leaves_by_name(state).items()}
        arguments = self._ocp.args.Composite(
            run=self._ocp.args.JsonSave(self._run), state=self._ocp.args.StandardSave(leaves)
        )
        self._manager.save(step, args=arguments, force=True)

    def restore(self, num_steps: int, like: Callable[[int], PyTree]) -> PyTree | None:
        """Return the newest state, in the structure of ``like(step)`` for its step, or ``None`` if there is none.

        Raises:
            CheckpointError: it cannot be read, is beyond ``num_steps``, or is of another run.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        way_out = "take another checkpoint_dir, or delete this one to start afresh"
        if step > num_steps:
            raise CheckpointError(
                f"{self._directory} is already at step {step}, beyond num_steps = {num_steps}: {way_out}."
            )
        arguments = self._ocp.args.Composite(run=self._ocp.args.JsonRestore(), state=self._ocp.args.StandardRestore())
        try:
            saved = self._manager.restore(step, args=arguments)
        except Exception as error:  # JSON, Unicode, TensorStore, …: it depends on which file is damaged.
            reason = type(error).__name__
            raise CheckpointError(
                f"The checkpoint of step {step} in {self._directory} cannot be read ({reason}): {way_out}."
            ) from None
        wanted = _leaves_by_name(like(step))
        shapes = {name: jnp.shape(_without_key_type(leaf)) for name, leaf in wanted.items()}
        names = [*shapes, *sorted(saved.state.keys() - shapes.keys())]
        differing = [name for name in names if shapes.get(name) != getattr(saved.state.get(name), "shape", None)][:2]
        differing += [name for name, value in self._run.items() if saved.run.get(name) != value]
        if differing:
            raise CheckpointError(f"{self._directory} holds a run that differs in {', '.join(differing)}: {way_out}.")
        leaves = [_with_key_type(saved.state[name], leaf) for name, leaf in wanted.items()]
        return jax.tree.unflatten(jax.tree.structure(like(step)), leaves)


def fingerprint(function: Callable[..., Any], *arguments: PyTree) -> str:
    """Return a digest of what ``function`` computes on arguments of these shapes: its operations and its constants.

    It is the same in another process and on another machine, for one version of JAX.
    """
    closed = jax.make_jaxpr(function)(*arguments)
    # A function that is an argument of an operation is printed with its address in memory, and a check with a number
    # that counts all the checks ever traced in this process; nothing else chooses by a constant.
    program = re.sub(r"0x[0-9a-f]+", "", str(closed.jaxpr))
    program = re.sub(r"(select_n False:bool\[\]) \d+(:i32\[\] -1:i32\[\])", r"\1\2", program)
    digest = hashlib.sha256(program.encode())
    for constant in _constants(closed):
        digest.update(np.asarray(_without_key_type(constant)).tobytes())
    return digest.hexdigest()


def _constants(closed: ClosedJaxpr) -> Iterator[Any]:
    """Yield what is not printed whole: the constants of the program and of each function called in it."""
    yield from closed.consts
    for equation in closed.jaxpr.eqns:
        literals = (variable.val for variable in equation.invars if isinstance(variable, Literal))
        yield from (value for value in literals if jnp.issubdtype(jnp.result_type(value), jnp.inexact))
        inner = jax.tree.leaves(equation.params, is_leaf=lambda value: isinstance(value, ClosedJaxpr))
        for called in inner:
            if isinstance(called, ClosedJaxpr):
                yield from _constants(called)


def checksum(data: PyTree) -> int:
    """Return a checksum of the numbers in ``data``."""
    total = 0
    for leaf in jax.tree.leaves(data):
        total = zlib.crc32(np.ascontiguousarray(leaf), total)
    return total


def _leaves_by_name(tree: PyTree) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(getattr(leaf, "dtype", None), jax.dtypes.prng_key)


def _without_key_type(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _with_key_type(saved: np.ndarray, like: Any) -> Any:
    return jax.random.wrap_key_data(jnp.asarray(saved), impl=jax.random.key_impl(like)) if _is_key(like) else saved

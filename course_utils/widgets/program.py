"""A function written in JAX as a list of steps that the page runs, and differentiates, with jax-js."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal
from jaxtyping import Array, Float

from course_utils.errors import CourseError

# What the page can compute: names of JAX's primitives, and the parameters that each needs there (``program.js``).
PRIMITIVES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("add", "sub", "mul", "div", "max", "min", "pow"), ()),
    **dict.fromkeys(("neg", "exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "square", "tanh", "logistic"), ()),
    **dict.fromkeys(("sin", "cos", "abs", "sign", "stop_gradient"), ()),
    **dict.fromkeys(("gt", "lt", "ge", "le", "eq", "ne", "is_finite", "select_n", "convert_element_type"), ()),
    **dict.fromkeys(("reduce_sum", "reduce_max", "reduce_min"), ("axes",)),
    "integer_pow": ("y",),
    "squeeze": ("dimensions",),
    "reshape": ("new_sizes",),
    "transpose": ("permutation",),
    "concatenate": ("dimension",),
    "slice": ("start_indices", "limit_indices"),
    "broadcast_in_dim": ("shape", "broadcast_dimensions"),
    "dot_general": ("dimension_numbers",),
}
# Primitives that stand for a whole function: its name is in their parameters.
CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "custom_jvp_call": "call_jaxpr"}


def page_program(function: Callable[[Float[Array, " dim"]], Float[Array, ""]], dim: int) -> dict[str, Any]:
    """Return ``function``, from ``[dim]`` to a number, as a program for ``program.js``.

    Its variables are numbered: 0 is the argument, then come ``constants``, then the result of each step. ``uses``
    says how often each is read, because jax-js wants to know when it is for the last time.

    Raises:
        CourseError: JAX cannot trace the function, it returns no single number, or it takes a step that the page
            does not know.
    """
    try:
        traced = jax.make_jaxpr(function)(jnp.zeros(dim))
    except Exception as error:  # whatever the function of a reader raises
        raise CourseError(f"JAX cannot trace {_name(function)}: {str(error).splitlines()[0]}") from None
    if [out.shape for out in traced.out_avals] != [()]:
        raise CourseError(f"{_name(function)} of [{dim}] does not return one number.")
    constants: list[Any] = []
    steps: list[dict[str, Any]] = []
    variables: dict[Any, Any] = {traced.jaxpr.invars[0]: "argument"}
    _append(traced, variables, constants, steps, _name(function))
    return _numbered(steps, constants, _read(traced.jaxpr.outvars[0], variables, constants))


def _append(traced: ClosedJaxpr, variables: dict, constants: list, steps: list, name: str) -> None:
    """Append the steps of ``traced``; ``variables`` say for each of JAX's variables where its value comes from."""
    for variable, value in zip(traced.jaxpr.constvars, traced.consts):
        variables[variable] = _constant(value, constants)
    for equation in traced.jaxpr.eqns:
        primitive, params = equation.primitive.name, equation.params
        inputs = [_read(variable, variables, constants) for variable in equation.invars]
        if primitive in CALLS:
            inner = params[CALLS[primitive]]
            local = dict(zip(inner.jaxpr.invars, inputs))
            _append(inner, local, constants, steps, name)
            results = [_read(variable, local, constants) for variable in inner.jaxpr.outvars]
            variables.update(zip(equation.outvars, results))
            continue
        is_known = primitive in PRIMITIVES
        if primitive == "slice":
            is_known = not params["strides"] or set(params["strides"]) == {1}
        if primitive == "dot_general":
            is_known = not any(params["dimension_numbers"][1])
        if not is_known:
            raise CourseError(f"The page cannot compute {primitive}, which {name} uses.")
        kept = {key: params[key] for key in PRIMITIVES[primitive]}
        steps.append({"primitive": primitive, "inputs": inputs, **kept})
        variables[equation.outvars[0]] = ("step", len(steps) - 1)


def _read(variable: Any, variables: dict, constants: list) -> Any:
    return _constant(variable.val, constants) if isinstance(variable, Literal) else variables[variable]


def _constant(value: Any, constants: list) -> tuple[str, int]:
    constants.append(_without_infinities(np.asarray(value, np.float32).tolist()))
    return "constant", len(constants) - 1


def _without_infinities(value: Any) -> Any:
    """Return ``value`` with the words of JavaScript for the numbers that JSON does not have."""
    if isinstance(value, list):
        return [_without_infinities(each) for each in value]
    return value if np.isfinite(value) else {np.inf: "Infinity", -np.inf: "-Infinity"}.get(value, "NaN")


def _numbered(steps: list[dict[str, Any]], constants: list, output: Any) -> dict[str, Any]:
    """Return the program without the steps whose result nobody reads, its variables numbered."""
    needed = {output}
    for i in reversed(range(len(steps))):
        if ("step", i) in needed:
            needed.update(steps[i]["inputs"])
    kept = [i for i in range(len(steps)) if ("step", i) in needed]
    used = [i for i in range(len(constants)) if ("constant", i) in needed]
    order = ["argument", *(("constant", i) for i in used), *(("step", i) for i in kept)]
    number = {variable: i for i, variable in enumerate(order)}
    program = [steps[i] | {"inputs": [number[each] for each in steps[i]["inputs"]]} for i in kept]
    uses = np.bincount([i for step in program for i in step["inputs"]] + [number[output]], minlength=len(order))
    return {
        "constants": [constants[i] for i in used],
        "steps": program,
        "uses": uses.tolist(),
        "output": number[output],
    }


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", repr(function))

"""Run what the course puts around an answer: lecture's definitions in front of it, and the check apart from it.

Somebody who writes ``import jax.numpy as np`` into an answer, calls a variable ``check_inputs`` or sets JAX's precision
means no harm to the check. So what the setup cells define is kept aside as it was, each check runs in a namespace made of
that and of the names that its exercise asks for, and it draws its inputs and computes its truths under the settings that
the reference had. The student's own settings hold where the student tried them out: in the student's functions.
"""

import contextlib
import functools
import os
import sys
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from course_utils.coursework.kernel import my_vi
from course_utils.coursework.kernel.checks import REFERENCE_VARIABLE

# With any of these changed the same key draws other numbers, or the check's own arithmetic fails. They are JAX's defaults.
JAX_SETTINGS = {
    "jax_enable_x64": False,
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_numpy_rank_promotion": "allow",
    "jax_numpy_dtype_promotion": "standard",
    "jax_default_matmul_precision": None,
    "jax_debug_nans": False,
    "jax_debug_infs": False,
    "jax_disable_jit": False,
    "jax_check_tracer_leaks": False,
}
# Where a student worked there may have been a GPU.
JAX_DEVICES = {"jax_platforms": "cpu", "jax_platform_name": ""}
NUMPY_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
SETTINGS = JAX_SETTINGS | NUMPY_ERRORS

_kept: dict[str, Any] = {}


def keep(names: Sequence[str], namespace: dict[str, Any]) -> None:
    """Keep what ``names`` stand for in ``namespace``, that of a setup cell which has just been run."""
    _kept.update({name: namespace[name] for name in names if name in namespace})
    _compute_here()


def define(sources: Sequence[str], namespace: dict[str, Any]) -> None:
    """Run statements of the lecture that an answer may need; one that needs the rest of the lecture does without."""
    my_vi.refuse_imports()
    for source in sources:
        with contextlib.suppress(Exception):
            exec(compile(source, "<the lecture>", "exec"), namespace)


def run_apart(source: str, names: Sequence[str], namespace: dict[str, Any]) -> None:
    """Run the ``source`` of a check with what was kept, and with those of ``names`` that ``namespace`` has."""
    _compute_here()
    students = _settings()
    known = _kept | {name: _with_settings(students, namespace[name]) for name in names if name in namespace}
    with warnings.catch_warnings(), _set_to(SETTINGS):
        warnings.simplefilter("ignore")
        exec(compile(source, "<the check>", "exec"), known)


def run_explained(source: str, names: Sequence[str], namespace: dict[str, Any]) -> None:
    """Run a check as it stands in the source notebook; from here on checks say what is expected, and JAX's cache is left alone."""
    os.environ[REFERENCE_VARIABLE] = "1"
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_persistent_cache_min_compile_time_secs", 1e9)
    run_apart(source, names, namespace)


def _compute_here() -> None:
    """Have JAX compute on what there is, whatever the student's cells asked for."""
    if "jax" in sys.modules:
        for name, value in JAX_DEVICES.items():
            # Later versions of JAX may have given one of them up.
            with contextlib.suppress(AttributeError):
                sys.modules["jax"].config.update(name, value)


def _settings() -> dict[str, Any]:
    """Return the present settings; later versions of JAX may have given one of them up."""
    config = sys.modules["jax"].config if "jax" in sys.modules else None
    return {name: getattr(config, name) for name in JAX_SETTINGS if hasattr(config, name)} | np.geterr()


@contextlib.contextmanager
def _set_to(settings: Mapping[str, Any]) -> Iterator[None]:
    """Have ``settings`` for as long as the ``with`` statement lasts."""
    before = _settings()
    try:
        _update(settings)
        yield
    finally:
        _update(before)


def _update(settings: Mapping[str, Any]) -> None:
    for name, value in _settings().items():
        if name in JAX_SETTINGS and settings.get(name, value) != value:
            sys.modules["jax"].config.update(name, settings[name])
    np.seterr(**{name: settings[name] for name in NUMPY_ERRORS})


def _with_settings(settings: Mapping[str, Any], value: Any) -> Any:
    """Return ``value``; if it is a function, ``settings`` hold in each call that is handed no key of JAX's random numbers.

    A key draws other numbers under other settings, and they are compared with those that the reference drew.
    """
    is_wrapped = isinstance(value, functools.partial) or hasattr(value, "__wrapped__")
    if isinstance(value, type) or not (is_wrapped or isinstance(value, types.FunctionType)):
        return value

    @functools.wraps(value)
    def call(*args: Any, **kwargs: Any) -> Any:
        with _set_to(SETTINGS if _holds_key([args, kwargs]) else settings):
            return value(*map(_widened, args), **{name: _widened(each) for name, each in kwargs.items()})

    return call


def _holds_key(arguments: Any) -> bool:
    jax = sys.modules.get("jax")
    return jax is not None and any(
        isinstance(each, jax.Array) and jax.numpy.issubdtype(each.dtype, jax.dtypes.prng_key)
        for each in jax.tree.leaves(arguments)
    )


def _widened(argument: Any) -> Any:
    """Return an array in the precision in which the check would have made it in Jupyter, under the present settings."""
    jax = sys.modules.get("jax")
    if jax is not None and jax.config.jax_enable_x64 and isinstance(argument, jax.Array):
        return argument.astype(np.float64) if argument.dtype == np.float32 else argument
    return argument

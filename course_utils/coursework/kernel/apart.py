"""Run what the course puts around an answer: lecture's definitions in front of it, and the check apart from it.

Somebody who writes ``import jax.numpy as np`` into an answer, calls a variable ``check_inputs`` or sets JAX's precision
means no harm to the check. So what the setup cells define is kept aside as it was, each check runs in a namespace made of
that and of the names that its exercise asks for, and it draws its inputs under the settings that the reference had.
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

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
NUMPY_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}

_kept: dict[str, Any] = {}


def keep(names: Sequence[str], namespace: dict[str, Any]) -> None:
    """Keep what ``names`` stand for in ``namespace``, that of a setup cell which has just been run."""
    _kept.update({name: namespace[name] for name in names if name in namespace})


def define(sources: Sequence[str], namespace: dict[str, Any]) -> None:
    """Run statements of the lecture that an answer may need; one that needs the rest of the lecture does without."""
    for source in sources:
        with contextlib.suppress(Exception):
            exec(compile(source, "<the lecture>", "exec"), namespace)


def run_apart(source: str, names: Sequence[str], namespace: dict[str, Any]) -> None:
    """Run the ``source`` of a check with what was kept, and with those of ``names`` that ``namespace`` has."""
    _reset_settings()
    known = _kept | {name: namespace[name] for name in names if name in namespace}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(source, "<the check>", "exec"), known)


def run_explained(source: str, names: Sequence[str], namespace: dict[str, Any]) -> None:
    """Run a check as it stands in the source notebook; from here on checks say what is expected, and JAX's cache is left alone."""
    os.environ[REFERENCE_VARIABLE] = "1"
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_persistent_cache_min_compile_time_secs", 1e9)
    run_apart(source, names, namespace)


def _reset_settings() -> None:
    if "jax" in sys.modules:
        jax = sys.modules["jax"]
        for name, value in JAX_SETTINGS.items():
            # Later versions of JAX may have given one of them up.
            with contextlib.suppress(AttributeError, ValueError):
                if jax.config.values.get(name, value) != value:
                    jax.config.update(name, value)
    if "numpy" in sys.modules:
        sys.modules["numpy"].seterr(**NUMPY_ERRORS)

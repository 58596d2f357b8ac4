"""Run a check apart from the answers: it knows the setup and the names that its own exercise asks for, and nothing else.

Somebody who writes ``import jax.numpy as np`` into one answer, or calls a variable ``check_inputs``, means no harm to the
checks of others. So what the setup cells define is kept aside as it was, and each check runs in a namespace made of that.
"""

import sys
from typing import Any

_kept: dict[str, Any] = {}


def keep(names: list[str], namespace: dict[str, Any]) -> None:
    """Keep what ``names`` stand for in ``namespace``, that of a setup cell which has just been run."""
    _kept.update({name: namespace[name] for name in names if name in namespace})
    if "jax" in sys.modules:
        _kept.setdefault("__x64__", sys.modules["jax"].config.jax_enable_x64)


def run_apart(source: str, names: list[str], namespace: dict[str, Any]) -> None:
    """Run the ``source`` of a check with what was kept, and with those of ``names`` that an answer put into ``namespace``."""
    if "__x64__" in _kept:
        # With it on, the same key draws other numbers.
        sys.modules["jax"].config.update("jax_enable_x64", _kept["__x64__"])
    known = _kept | {name: namespace[name] for name in names if name in namespace}
    exec(compile(source, "<check>", "exec"), known)

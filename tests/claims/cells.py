"""Run cells of a lecture as they stand there, or with other seeds and sizes."""

from collections.abc import Callable
from functools import cache
from typing import Any

from course_utils.coursework.source.notebooks import read_notebook
from course_utils.paths import NOTEBOOKS_DIR


@cache
def sources(notebook: str) -> dict[str, str]:
    """Return the sources of a notebook's cells, by their id."""
    return {cell.id: cell.source for cell in read_notebook(NOTEBOOKS_DIR / f"{notebook}.ipynb").cells}


def take(function: Any, instead: Any = None, probe: Any = None) -> Any:
    """Stand for ``yours``: this notebook's solutions, and the course's own of earlier notebooks."""
    return instead if isinstance(function, str) else function


def run_cells(
    notebook: str,
    *ids: str,
    names: dict[str, Any] | None = None,
    replacing: dict[str, dict[str, str]] | None = None,
    yours: Callable | None = None,
) -> dict[str, Any]:
    """Return the variables after a notebook's cells ``ids``, with some of their text replaced.

    Args:
        notebook: its name.
        ids: the cells, in the order in which they are run.
        names: variables to begin with, of an earlier call.
        replacing: for each cell what is replaced in it, and by what.
        yours: what stands for ``yours`` after the cell ``setup``.
    """
    names = dict(names or {})
    for identity in ids:
        source = sources(notebook)[identity]
        for old, new in (replacing or {}).get(identity, {}).items():
            assert old in source, (identity, old)
            source = source.replace(old, new)
        exec(compile(source, identity, "exec"), names)
        if identity == "setup" and yours:
            names["yours"] = yours
    return names

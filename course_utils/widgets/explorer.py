"""What the explorers share: their style sheet, and the sliders that stand in front of each one's own JavaScript."""

from pathlib import Path
from typing import Any

import anywidget
import numpy as np
from jaxtyping import Float

from course_utils.errors import CourseError

HERE = Path(__file__).parent

# What the page changes. An echo from the kernel would undo what the page has changed since, and not yet passed on.
FROM_PAGE = {"sync": True, "echo_update": False}


def source(*names: str) -> str:
    """Return the text of the files ``names``, one after the other."""
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in names)


def page_module(*names: str) -> str:
    """Return the text of one ES module: the shared sliders, then ``names``; a page cannot import a second file."""
    return source("explorer.js", *names)


def as_numbers(what: str, values: Any) -> Float[np.ndarray, "..."]:
    """Return ``values`` as an array of floats; raise ``CourseError`` if it is none."""
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise CourseError(f"{what} is not an array of numbers.") from None


class Explorer(anywidget.AnyWidget):
    """A widget that is drawn by the page alone; a subclass gives its own ``_esm``."""

    _css = (HERE / "explorer.css").read_text(encoding="utf-8")

"""What the explorers share in Python: their style sheet, and how they read what they are given."""

from typing import Any

import anywidget
import numpy as np
from jaxtyping import Float

from course_utils.errors import CourseError
from course_utils.widgets.modules import HERE, live

# What the page changes. An echo from the kernel would undo what the page has changed since, and not yet passed on.
FROM_PAGE = {"sync": True, "echo_update": False}


def as_numbers(what: str, values: Any) -> Float[np.ndarray, "..."]:
    """Return ``values`` as an array of floats; raise ``CourseError`` if it is none."""
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise CourseError(f"{what} is not an array of numbers.") from None


class Explorer(anywidget.AnyWidget):
    """A widget that is drawn by the page alone; a subclass gives its own ``_esm``."""

    _css = live(lambda: (HERE / "explorer.css").read_text(encoding="utf-8"))

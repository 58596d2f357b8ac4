"""What the explorers share that show a normal over a density of two variables: the grid below it."""

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from course_utils.errors import CourseError
from course_utils.widgets.explorer import as_numbers
from course_utils.widgets.frames import Range, root_bytes

NUM_CELLS = 90


def grid_of(*axes: Float[np.ndarray, " num"]) -> Float[np.ndarray, "num num 2"]:
    """Return the points of a grid, row by row of the second axis."""
    return np.stack(np.meshgrid(*axes), -1)


def cells_of(*ranges: Range) -> Float[np.ndarray, "cells cells 2"]:
    """Return the centres of the cells of the heat map."""
    middles = (np.arange(NUM_CELLS) + 0.5) / NUM_CELLS
    return grid_of(*(low + (high - low) * middles for low, high in ranges))


def log_heights(
    name: str, function: Any, points: Float[np.ndarray, "rows columns 2"]
) -> Float[np.ndarray, "rows columns"]:
    """Return the log-density at each of ``points``; raise ``CourseError`` if it is not one finite number for each."""
    values = as_numbers(name, function(points))
    if values.shape != points.shape[:-1]:
        raise CourseError(f"{name} of {list(points.shape)} has the shape {values.shape}; expected {points.shape[:-1]}.")
    with np.errstate(over="ignore"):
        if not np.isfinite(values.astype(np.float32)).all():
            raise CourseError(f"{name} is not finite everywhere.")
    return values


def heat_of(name: str, log_density: Float[np.ndarray, "rows columns"]) -> UInt8[np.ndarray, "rows columns"]:
    """Return the heat map of a density from its logarithms, to which any constant may be added."""
    return root_bytes(name, np.exp(log_density - log_density.max()))

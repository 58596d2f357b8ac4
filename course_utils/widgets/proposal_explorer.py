"""A normal proposal that is dragged over a posterior in two dimensions; the page weighs its draws."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import traitlets
from jaxtyping import ArrayLike, Float

from course_utils import plots
from course_utils.errors import CourseError
from course_utils.widgets.explorer import FROM_PAGE, Explorer, as_numbers
from course_utils.widgets.frames import Range, axis_ends
from course_utils.widgets.modules import page_module
from course_utils.widgets.plane import NUM_CELLS, cells_of, grid_of, heat_of, log_heights

LARGEST_CORRELATION = 0.99
# The grid reaches as far as draws this many scales away from the mean of q: one in 150,000 coordinates lies further.
REACH = 4.5
NUM_GRID = 161
MAX_DRAWS = 1000


class ProposalExplorer(Explorer):
    """A normal q over a posterior of ``z₁`` and ``z₂``, with handles on its mean, scales and tilt.

    The page draws from q with the same noise whatever q is, shows each draw by its importance weight, and beside them
    the effective sample size and the estimates of ``log p(x)`` and of the ELBO from these draws, in nats.

    The log-joint is evaluated once, on a grid of 161 by 161 points that reaches as far as a draw can, and
    interpolated in the page by polynomials of degree 3: exact for a normal posterior, and where the log-joint has a
    fourth derivative of ``f`` per axis right to about ``0.02 f h⁴`` nats, with a spacing ``h`` of 0.12 by default.

    Args:
        log_joint: maps ``[..., 2]`` to ``log p(x, z)`` in nats, ``[...]``, finite everywhere.
        log_evidence: ``log p(x)`` in nats, drawn as a line.
        mean, scale, correlation: the q to start from.
        max_scale: the largest scale that q can have.
        num_draws: how many draws of q are weighed.
        seed: makes the noise; the page's button for new draws adds one to it.
        x_range, y_range: the ends of the axes, within which the mean of q stays.
        bars_range: the ends of the axis of the two estimates, in nats; by default from 5 below ``log_evidence`` to 1 above.
        x_label, y_label: what the axes show.
        evidence_label: what the log-evidence is called, such as ``log p(y)``.
        label: a sentence that describes the picture to those who cannot see it.

    ``q`` holds its two means, two scales and correlation, and ``seed`` an integer; both follow what is seen in the page,
    and change it when they are set.

    Raises:
        CourseError: the log-joint has another shape or is not finite, or a number is impossible.
    """

    _esm = page_module("proposal_explorer.js")

    spec = traitlets.Dict().tag(sync=True)
    log_joint = traitlets.Bytes().tag(sync=True)
    heights = traitlets.Bytes().tag(sync=True)
    q = traitlets.TraitType().tag(**FROM_PAGE)
    seed = traitlets.Int().tag(**FROM_PAGE)

    def __init__(
        self,
        log_joint: Callable[[Float[np.ndarray, "*batch 2"]], Float[ArrayLike, "*batch"]],
        log_evidence: float,
        *,
        mean: Sequence[float] = (0.0, 0.0),
        scale: Sequence[float] = (1.0, 1.0),
        correlation: float = 0.0,
        max_scale: float = 1.5,
        num_draws: int = 200,
        seed: int = 0,
        x_range: Range = (-3.0, 3.0),
        y_range: Range = (-3.0, 3.0),
        bars_range: Range | None = None,
        x_label: str = "z₁",
        y_label: str = "z₂",
        evidence_label: str = "log p(x)",
        label: str = "A posterior, a normal q with its weighted draws, and the estimates that they give",
    ):
        if not math.isfinite(log_evidence):
            raise CourseError(f"log_evidence is {log_evidence}; expected a finite number of nats.")
        if not 0.1 < max_scale < math.inf:
            raise CourseError(f"max_scale is {max_scale}; expected a finite number above 0.1.")
        if not 2 <= num_draws <= MAX_DRAWS:
            raise CourseError(f"num_draws is {num_draws}; expected a number from 2 to {MAX_DRAWS}.")
        x_range, y_range = axis_ends("x_range", x_range, []), axis_ends("y_range", y_range, [])
        axes = [
            np.linspace(low - REACH * max_scale, high + REACH * max_scale, NUM_GRID) for low, high in (x_range, y_range)
        ]
        scales = [max_scale / 30, max_scale]
        # What the checks of q need must be there before q is.
        self._limits = [x_range, y_range, scales, scales, [-LARGEST_CORRELATION, LARGEST_CORRELATION]]
        start = [*mean, *scale, correlation]
        spec = {
            "label": label,
            "names": [
                f"mean of {x_label}",
                f"mean of {y_label}",
                f"scale of {x_label}",
                f"scale of {y_label}",
                "correlation",
            ],
            "limits": self._limits,
            "start": {"q": self._checked(start), "seed": seed},
            "axes": [{"first": float(axis[0]), "spacing": float(axis[1] - axis[0])} for axis in axes],
            "num_grid": NUM_GRID,
            "num_draws": num_draws,
            "num_cells": NUM_CELLS,
            "x_range": x_range,
            "y_range": y_range,
            "x_label": x_label,
            "y_label": y_label,
            "evidence": float(log_evidence),
            "evidence_label": evidence_label,
            "bars_label": "Bars: the estimates of the log-evidence and the ELBO, and the effective share of the draws",
            "bars_range": axis_ends("bars_range", bars_range or (log_evidence - 5, log_evidence + 1), []),
            "colors": {
                "posterior": plots.BLUE,
                "q": plots.VERMILION,
                "estimate": plots.ORANGE,
                "elbo": plots.GREEN,
                "effective": plots.PURPLE,
            },
        }
        values = log_heights("log_joint", log_joint, grid_of(*axes))
        heights = heat_of("posterior", log_heights("log_joint", log_joint, cells_of(x_range, y_range)))
        super().__init__(
            spec=spec, log_joint=values.astype("<f4").tobytes(), heights=heights.tobytes(), q=start, seed=seed
        )

    @property
    def mean(self) -> Float[np.ndarray, "2"]:
        """Return the mean of q."""
        return np.array(self.q[:2])

    @property
    def covariance(self) -> Float[np.ndarray, "2 2"]:
        """Return the covariance of q."""
        correlations = np.array([[1, self.q[4]], [self.q[4], 1]])
        return correlations * np.outer(self.q[2:4], self.q[2:4])

    @traitlets.validate("q")
    def _check_q(self, proposal: dict[str, Any]) -> list[float]:
        return self._checked(proposal["value"])

    def _checked(self, q: Any) -> list[float]:
        q = as_numbers("q", q)
        low, high = np.transpose(self._limits)
        if q.shape != (5,) or not ((low - 1e-9 <= q) & (q <= high + 1e-9)).all():
            ends = ", ".join(f"{a:g} to {b:g}" for a, b in self._limits)
            raise CourseError(f"q is {q.tolist()}; expected two means, two scales and a correlation, in {ends}.")
        return q.tolist()

    def __repr__(self) -> str:
        return f"ProposalExplorer(num_draws={self.spec['num_draws']})"

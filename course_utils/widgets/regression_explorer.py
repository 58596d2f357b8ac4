"""Data that are added, moved and deleted by hand, and what a Bayesian linear regression makes of them in the page."""

from typing import Any

import numpy as np
import scipy.stats
import traitlets
from jaxtyping import ArrayLike, Float

from course_utils import plots
from course_utils.errors import CourseError
from course_utils.widgets.explorer import FROM_PAGE, Explorer, as_numbers
from course_utils.widgets.frames import Range, axis_ends
from course_utils.widgets.modules import page_module

DEGREES = tuple(range(10))
NOISE_RANGE = (0.05, 1.0)
MAX_POINTS = 60
NUM_LINES = 4
LEVEL = 0.9


class RegressionExplorer(Explorer):
    """Points to be moved by hand, with the posterior of a polynomial through them and its evidence.

    The model is that of notebook 3: independent normal weights of scale ``prior_scale`` on the Legendre polynomials up
    to a degree, and normal noise. The page computes everything in closed form and double precision: the posterior's
    mean and four draws, the interval that holds 90 % of new measurements, and the log-evidence of each degree from 0
    to 9, in nats.

    Args:
        x, y: the points to start from, ``[N]`` each, 60 at most.
        degree, noise_scale: where the sliders start.
        prior_scale: the standard deviation of each weight.
        x_range, y_range: the ends of the axes, within which the points stay.
        label: a sentence that describes the picture to those who cannot see it.

    ``points`` holds the pairs of ``x`` and ``y``; it, ``degree`` and ``noise_scale`` follow what is seen in the page,
    and change it when they are set.

    Raises:
        CourseError: a shape or a number is impossible.
    """

    _esm = page_module("regression_explorer.js")

    spec = traitlets.Dict().tag(sync=True)
    points = traitlets.TraitType().tag(**FROM_PAGE)
    degree = traitlets.Int().tag(**FROM_PAGE)
    noise_scale = traitlets.Float().tag(**FROM_PAGE)

    def __init__(
        self,
        x: Float[ArrayLike, " N"],
        y: Float[ArrayLike, " N"],
        *,
        degree: int = 3,
        noise_scale: float = 0.2,
        prior_scale: float = 1.0,
        x_range: Range = (-1.0, 1.0),
        y_range: Range = (-3.0, 3.0),
        label: str = "Points to be moved by hand, the polynomial that they make probable, and its evidence",
    ):
        x, y = as_numbers("x", x), as_numbers("y", y)
        if x.ndim != 1 or x.shape != y.shape:
            raise CourseError(f"x has the shape {x.shape} and y {y.shape}; expected one number of each for each point.")
        if not 0 < prior_scale < np.inf:
            raise CourseError(f"prior_scale is {prior_scale}; expected a positive number.")
        # What the checks of the points need must be there before they are.
        self._ranges = [axis_ends("x_range", x_range, []), axis_ends("y_range", y_range, [])]
        start = {"points": np.stack([x, y], 1).round(3), "degree": degree, "noise_scale": noise_scale}
        spec = {
            "label": label,
            "plot_label": "Data, mean and draws of the polynomial, and the interval of new measurements",
            "start": start | {"points": self._checked(start["points"])},
            "degrees": list(DEGREES),
            "noise_range": list(NOISE_RANGE),
            "prior_scale": float(prior_scale),
            "max_points": MAX_POINTS,
            "quantile": float(scipy.stats.norm.ppf(0.5 + LEVEL / 2)),
            "lines": np.random.default_rng(0).normal(size=(NUM_LINES, len(DEGREES))).tolist(),
            "x_range": self._ranges[0],
            "y_range": self._ranges[1],
            "colors": {
                "data": "currentColor",
                "mean": plots.BLUE,
                "draws": plots.BLUE,
                "band": plots.SKY,
                "evidence": plots.GREEN,
            },
        }
        super().__init__(spec=spec, **start)

    @traitlets.validate("points")
    def _check_points(self, proposal: dict[str, Any]) -> list[list[float]]:
        return self._checked(proposal["value"])

    def _checked(self, points: Any) -> list[list[float]]:
        points = as_numbers("points", points).reshape(-1, 2) if np.size(points) == 0 else as_numbers("points", points)
        low, high = np.transpose(self._ranges)
        is_pairs = points.ndim == 2 and points.shape[1] == 2 and len(points) <= MAX_POINTS
        if not is_pairs or not ((low <= points) & (points <= high)).all():
            ends = " and y from ".join(f"{a:g} to {b:g}" for a, b in self._ranges)
            raise CourseError(
                f"The points have the shape {points.shape}; expected at most {MAX_POINTS} pairs, x from {ends}."
            )
        return points.tolist()

    @traitlets.validate("degree")
    def _check_degree(self, proposal: dict[str, Any]) -> int:
        if proposal["value"] not in DEGREES:
            raise CourseError(f"degree is {proposal['value']}; expected one from {DEGREES[0]} to {DEGREES[-1]}.")
        return proposal["value"]

    @traitlets.validate("noise_scale")
    def _check_noise_scale(self, proposal: dict[str, Any]) -> float:
        if not NOISE_RANGE[0] <= proposal["value"] <= NOISE_RANGE[1]:
            raise CourseError(
                f"noise_scale is {proposal['value']}; expected one from {NOISE_RANGE[0]} to {NOISE_RANGE[1]}."
            )
        return proposal["value"]

    def __repr__(self) -> str:
        return f"RegressionExplorer(points={len(self.spec['start']['points'])})"

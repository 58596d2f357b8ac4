"""Two normals that climb the ELBO of the same density side by side; the page takes the steps, with jax-js."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import traitlets
from jaxtyping import Array, Float

from course_utils import plots
from course_utils.errors import CourseError
from course_utils.widgets.explorer import FROM_PAGE, Explorer, as_numbers
from course_utils.widgets.frames import Range, axis_ends, check_names
from course_utils.widgets.library import send_library
from course_utils.widgets.modules import page_module
from course_utils.widgets.plane import NUM_CELLS, cells_of, heat_of, log_heights
from course_utils.widgets.program import page_program

ESTIMATORS = ("score function", "with baseline", "reparameterised", "sticking the landing")
FAMILIES = ("independent", "full")
NUM_SAMPLES = (2, 5, 10, 50)
STEP_SIZES = (0.003, 0.01, 0.03, 0.1)
CHOICES = {"estimator": ESTIMATORS, "K": NUM_SAMPLES, "step size": STEP_SIZES, "family": FAMILIES}
MAX_STEPS = 400
# The numbers of q: two means, two log-scales, and how much of the first noise is in the second coordinate.
NUM_PARAMETERS = 5
NUM_NODES = 16

Density = Callable[[Float[Array, "*batch 2"]], Float[Array, "*batch"]]


class AscentExplorer(Explorer):
    """A race of two normals up the ELBO, with estimator, number of samples, step size and family to choose for each.

    Both take steps of plain stochastic gradient ascent, up to 400 of them, with the same noise. The densities are
    traced by JAX and sent to the page, which differentiates them there; so any function of ``jax.numpy`` will do whose
    steps the page knows.

    Args:
        targets: names with log-densities in nats, ``[..., 2]`` to ``[...]``, without their constants.
        log_normalisers: for each target ``log Z`` in nats, the line that no ELBO passes.
        start: the two means from which the two start, ``[2, 2]``; their log-scales are -1.
        first, second: what is chosen for each at the start: ``estimator``, ``K``, ``step size`` and ``family``.
        seed: makes the noise; the page's button for new noise adds one to it.
        x_range, y_range: the ends of the axes.
        label: a sentence that describes the picture to those who cannot see it.

    ``target`` and ``settings`` (a dictionary for each of the two) hold what is chosen, and ``history`` what has
    happened: for each of the two a list with one entry for each step, the start included, of two means, two
    log-scales, the tilt and the ELBO in nats, averaged over a grid of 16 by 16 points (Gauss-Hermite). They follow what is seen in the page, and change it when they are set.

    Raises:
        CourseError: a target is not what the page can climb, or a name or a number is impossible.
    """

    _esm = page_module("ascent_explorer.js")

    spec = traitlets.Dict().tag(sync=True)
    heights = traitlets.Bytes().tag(sync=True)
    target = traitlets.Unicode().tag(**FROM_PAGE)
    settings = traitlets.List(traitlets.Dict()).tag(**FROM_PAGE)
    seed = traitlets.Int().tag(**FROM_PAGE)
    history = traitlets.List().tag(**FROM_PAGE)

    def __init__(
        self,
        targets: Mapping[str, Density],
        log_normalisers: Mapping[str, float],
        *,
        start: Sequence[Sequence[float]] = ((-1.0, 3.0), (2.5, -1.0)),
        first: Mapping[str, Any] | None = None,
        second: Mapping[str, Any] | None = None,
        seed: int = 0,
        x_range: Range = (-4.0, 4.0),
        y_range: Range = (-4.0, 4.0),
        label: str = "A density, two normals that climb their ELBOs, and the ELBOs step by step",
    ):
        if not targets:
            raise CourseError("targets is empty; expected at least one name with its log-density.")
        check_names("targets", targets, log_normalisers)
        start = as_numbers("start", start)
        if start.shape != (2, 2) or not np.isfinite(start).all():
            raise CourseError(f"start is {start.tolist()}; expected two places in two dimensions.")
        x_range, y_range = axis_ends("x_range", x_range, []), axis_ends("y_range", y_range, [])
        cells = cells_of(x_range, y_range)
        for name, value in log_normalisers.items():
            if not math.isfinite(value):
                raise CourseError(f"The log-normaliser of {name!r} is {value}; expected a finite number of nats.")
        heights = [heat_of(name, log_heights(name, target, cells)) for name, target in targets.items()]
        usual = {"estimator": "reparameterised", "K": 10, "step size": 0.03, "family": "independent"}
        settings = [usual | dict(first or {"estimator": "score function"}), usual | dict(second or {})]
        spec = {
            "label": label,
            "targets": [
                {"name": name, "program": page_program(target, 2), "log_normaliser": float(log_normalisers[name])}
                for name, target in targets.items()
            ],
            "choices": {name: list(options) for name, options in CHOICES.items()},
            "start": {
                "target": next(iter(targets)),
                "settings": settings,
                "seed": seed,
                "history": [[[*map(float, mean), -1.0, -1.0, 0.0, None]] for mean in start],
            },
            "quadrature": _quadrature(),
            "max_steps": MAX_STEPS,
            "num_cells": NUM_CELLS,
            "x_range": x_range,
            "y_range": y_range,
            "x_label": "z₁",
            "y_label": "z₂",
            "colors": {"posterior": plots.BLUE, "runs": [plots.VERMILION, plots.GREEN]},
        }
        self._names = list(targets)
        send_library("jax-js")
        super().__init__(spec=spec, heights=np.stack(heights).tobytes(), **spec["start"])

    @traitlets.validate("target")
    def _check_target(self, proposal: dict[str, Any]) -> str:
        check_names("target", [proposal["value"]], self._names)
        return proposal["value"]

    @traitlets.validate("settings")
    def _check_settings(self, proposal: dict[str, Any]) -> list[dict[str, Any]]:
        if len(proposal["value"]) != 2:
            raise CourseError(f"settings has {len(proposal['value'])} entries; expected one for each of the two.")
        for chosen in proposal["value"]:
            check_names("settings", chosen, CHOICES)
            for name, options in CHOICES.items():
                if chosen.get(name) not in options:
                    raise CourseError(
                        f"The {name} is {chosen.get(name)!r}; expected one of {', '.join(map(str, options))}."
                    )
        return proposal["value"]

    @traitlets.validate("history")
    def _check_history(self, proposal: dict[str, Any]) -> list[list[list[float | None]]]:
        runs = proposal["value"]
        is_whole = len(runs) == 2 and len(runs[0]) == len(runs[1]) > 0
        if not is_whole or any(len(entry) != NUM_PARAMETERS + 1 for run in runs for entry in run):
            raise CourseError(
                "history does not hold two runs of the same length, of two means, two log-scales, a tilt and an ELBO."
            )
        return runs

    def __repr__(self) -> str:
        return f"AscentExplorer({', '.join(self._names)})"


def _quadrature() -> dict[str, list]:
    """Return noise and weights whose average is that of the standard normal in two dimensions (Gauss-Hermite)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NUM_NODES)
    noise = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2)
    product = np.outer(weights, weights).ravel()
    return {"noise": noise.tolist(), "weights": (product / product.sum()).tolist()}

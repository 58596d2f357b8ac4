"""Curves and bars that follow one to three sliders, all of them computed beforehand."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Float

from course_utils.widgets.frames import (
    Buffer,
    FrameExplorer,
    Range,
    as_axis,
    axis_ends,
    check_names,
    choose_colors,
    drags,
    ink,
    slider_values,
)
from course_utils.widgets.modules import page_module


class CurveExplorer(FrameExplorer):
    """Curves over ``x`` and a stacked bar that follow one to three sliders without asking the kernel.

    Everything is computed beforehand for each value of the sliders and sent to the page once; the page draws the frame
    that belongs to the sliders' values. With sliders of lengths ``A``, ``B`` and ``C`` a *frame array* has the shape
    ``[A, B, C]`` (``[A]`` or ``[A, B]`` with fewer); a slider that a quantity does not depend on may have length 1
    there.

    Args:
        sliders: one to three names, each with the values that its slider can take.
        x: where the curves are evaluated, ``[num_x]``.
        curves: names with values, either ``[num_x]`` (the same in all frames) or a frame array of them.
        bars: names with values in each frame, a frame array or one number. The first bar reaches from ``bars_from``
            to its value, each further one is added where the last ended, so that the end of the last is the sum.
        level: names with the heights of horizontal lines across the bars, a frame array or one number.
        readout: names with numbers to show as text; by default those of the bars and the levels.
        x_label, y_label, bars_label: what the axes show, with units.
        x_range, y_range, bars_range: the ends of the axes; by default those of all the data, the same in all frames, and
            along x those of the outermost steps.
        bars_from: where the first bar begins.
        start: the values from which the sliders start, the nearest there is; by default the middle one.
        film: the slider that a button lets play from end to end, if there is to be one.
        drag: a slider that follows a drag over the curves to the right. If its values all lie on that axis, it goes as far
            as the pointer; otherwise the width of the picture is the way from its first value to its last.
        steps: names of curves to draw as filled steps centred on ``x``, such as histograms.
        colors: names of curves, bars and levels with their colours, where they should differ from the usual ones.
        label: a sentence that describes the picture to those who cannot see it.

    ``position`` holds the indices of the sliders' values. It follows the sliders, and moves them when it is set.

    Raises:
        CourseError: a shape does not fit to the sliders and ``x``, or a name or a number is impossible.
    """

    _esm = page_module("curve_explorer.js")

    def __init__(
        self,
        sliders: Mapping[str, Float[ArrayLike, " values"]],
        x: Float[ArrayLike, " num_x"],
        curves: Mapping[str, Float[ArrayLike, "*frames num_x"]],
        *,
        bars: Mapping[str, Float[ArrayLike, "*frames"]] | None = None,
        level: Mapping[str, Float[ArrayLike, "*frames"]] | None = None,
        readout: Mapping[str, Float[ArrayLike, "*frames"]] | None = None,
        x_label: str = "x",
        y_label: str = "",
        bars_label: str = "nats",
        x_range: Range | None = None,
        y_range: Range | None = None,
        bars_range: Range | None = None,
        bars_from: float = 0.0,
        start: Mapping[str, float] | None = None,
        film: str | None = None,
        drag: str | None = None,
        steps: Sequence[str] = (),
        colors: Mapping[str, str] | None = None,
        label: str = "Curves that follow the sliders",
    ):
        bars, level = bars or {}, level or {}
        values = slider_values(sliders)
        check_names("steps", steps, curves)
        x = as_axis("x", x)
        frames = tuple(map(len, values.values()))
        buffer = Buffer(frames)
        palette = choose_colors([*curves, *bars, *level], colors or {})
        packed = {
            "curves": [buffer.add("curve", name, y, x.shape) for name, y in curves.items()],
            "bars": [buffer.add("bar", name, height) for name, height in bars.items()],
            "levels": [buffer.add("level", name, height) for name, height in level.items()],
        }
        for number, entry in enumerate(entry for group in packed.values() for entry in group):
            entry |= {"color": ink(palette[entry["name"]]), "dash": number}
        for entry in packed["curves"]:
            entry["steps"] = entry["name"] in steps
        edges = [1.5 * x[i] - 0.5 * x[j] for i, j in ((0, 1), (-1, -2))] if steps else []
        x_range = axis_ends("x_range", x_range, [x, edges], margin=0.0)
        heights = [np.full(frames, bars_from), *_running_totals(bars, frames), *level.values()]
        spec = packed | {
            "x": buffer.add("x", "x", x, x.shape),
            "num_x": len(x),
            "x_label": x_label,
            "y_label": y_label,
            "bars_label": bars_label,
            "x_range": x_range,
            "y_range": axis_ends("y_range", y_range, curves.values()),
            "bars_range": axis_ends("bars_range", bars_range, heights),
            "bars_from": float(bars_from),
            "drag": drags([] if drag is None else [drag], values, [x_range]),
        }
        readout = {**bars, **level} if readout is None else readout
        super().__init__(values, buffer, spec, readout=readout, start=start or {}, film=film, label=label)


def _running_totals(bars: Mapping[str, Any], frames: tuple[int, ...]) -> list[Float[np.ndarray, "*frames"]]:
    total, totals = np.zeros(frames), []
    for height in bars.values():
        total = total + np.asarray(height, np.float64)
        totals.append(total)
    return totals

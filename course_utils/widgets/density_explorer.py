"""Two-dimensional densities that follow one to three sliders, all of them computed beforehand."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets
from jaxtyping import ArrayLike, Float

from course_utils.errors import CourseError
from course_utils.widgets.frames import (
    Buffer,
    FrameExplorer,
    Range,
    as_axis,
    as_frames,
    axis_ends,
    choose_colors,
    drags,
    ink,
    root_bytes,
    slider_values,
)
from course_utils.widgets.modules import page_module


class DensityExplorer(FrameExplorer):
    """Densities over ``x`` and ``y``, points and paths that follow one to three sliders without asking the kernel.

    As in :class:`course_utils.widgets.CurveExplorer`, everything is computed beforehand and sent to the page once. With
    sliders of lengths ``A``, ``B`` and ``C`` a *frame array* has the shape ``[A, B, C]`` (``[A]`` or ``[A, B]`` with
    fewer); a slider that a quantity does not depend on may have length 1 there.

    Args:
        sliders: one to three names, each with the values that its slider can take.
        x, y: the grid, ``[num_x]`` and ``[num_y]``, each evenly spaced from its least value to its largest.
        densities: names with values, either ``[num_y, num_x]`` (the same in all frames) or a frame array of them. The
            first is drawn as a heat map, the others as contour lines. Each is scaled to its own maximum in each frame;
            the lines lie where a Gaussian would be 0.5, 1, 1.5, 2 and 2.5 scales away from its mean, at 88 %, 61 %,
            32 %, 14 % and 4 % of the maximum. If all are zero everywhere, the picture is one of points and paths alone.
        points: names with the places of dots, ``[n, 2]`` or a frame array of them; what is not finite is not drawn.
        paths: names with the corners of a line, ``[n, 2]`` or a frame array of them; what is not finite interrupts it.
        readout: names with numbers to show as text, a frame array or one number.
        curve: names with curves over ``curve_x`` for a panel beside the densities, ``[num]`` or a frame array of them;
            a vertical line marks the first slider's value there.
        curve_x: where the curves are evaluated, ``[num]``, in the first slider's units.
        curve_label: what the curves show, with units.
        curve_range: the ends of the curves' axis; by default those of all the data.
        x_label, y_label: what the axes show.
        start: the values from which the sliders start, the nearest there is; by default the middle one.
        film: the slider that a button lets play from end to end, if there is to be one.
        drag: one or two sliders that follow a drag over the densities, the first to the right and the second upwards. If
            the values of a slider all lie on the axis, it goes as far as the pointer there; otherwise the whole width
            or height of the picture is the way from its first value to its last.
        colors: names of densities, points, paths and curves with their colours, where they should differ from the
            usual ones. What has the same name has the same colour.
        label: a sentence that describes the picture to those who cannot see it.

    ``position`` holds the indices of the sliders' values. It follows the sliders, and moves them when it is set.

    Raises:
        CourseError: a shape does not fit to the sliders and the grid, or a name or a number is impossible.
    """

    _esm = page_module("density_explorer.js")

    densities = traitlets.Bytes().tag(sync=True)

    def __init__(
        self,
        sliders: Mapping[str, Float[ArrayLike, " values"]],
        x: Float[ArrayLike, " num_x"],
        y: Float[ArrayLike, " num_y"],
        densities: Mapping[str, Float[ArrayLike, "*frames num_y num_x"]],
        *,
        points: Mapping[str, Float[ArrayLike, "*frames n 2"]] | None = None,
        paths: Mapping[str, Float[ArrayLike, "*frames n 2"]] | None = None,
        readout: Mapping[str, Float[ArrayLike, "*frames"]] | None = None,
        curve: Mapping[str, Float[ArrayLike, "*frames num"]] | None = None,
        curve_x: Float[ArrayLike, " num"] | None = None,
        curve_label: str = "nats",
        curve_range: Range | None = None,
        x_label: str = "x",
        y_label: str = "y",
        start: Mapping[str, float] | None = None,
        film: str | None = None,
        drag: Sequence[str] = (),
        colors: Mapping[str, str] | None = None,
        label: str = "Densities that follow the sliders",
    ):
        points, paths, curve = points or {}, paths or {}, curve or {}
        values = slider_values(sliders)
        x, y = _grid("x", x), _grid("y", y)
        if not densities:
            raise CourseError("densities is empty; expected at least one name with its values.")
        frames = tuple(map(len, values.values()))
        buffer, heights = Buffer(frames), Buffer(frames, "u1")
        palette = choose_colors([*densities, *paths, *points, *curve], colors or {})
        shape = (len(y), len(x))
        packed = {
            "densities": [
                heights.append(name, root_bytes(name, as_frames("density", name, density, frames, shape)))
                for name, density in densities.items()
            ],
            "points": [_add_places(buffer, "points", name, places) for name, places in points.items()],
            "paths": [_add_places(buffer, "path", name, places) for name, places in paths.items()],
            "curves": [],
        }
        side = None
        if curve:
            if curve_x is None:
                raise CourseError("curve needs curve_x, the values at which the curves are evaluated.")
            curve_x = as_axis("curve_x", curve_x)
            first = next(iter(values))
            packed["curves"] = [buffer.add("curve", name, ys, curve_x.shape) for name, ys in curve.items()]
            side = {
                "x": buffer.add("x", "curve_x", curve_x, curve_x.shape),
                "num_x": len(curve_x),
                "x_range": axis_ends("curve_x", None, [curve_x], margin=0.0),
                "y_range": axis_ends("curve_range", curve_range, curve.values()),
                "x_label": first,
                "y_label": curve_label,
                "marker": buffer.add("slider", first, values[first].reshape(-1, *[1] * (len(frames) - 1))),
            }
        for group in packed.values():
            for number, entry in enumerate(group):
                entry |= {"color": ink(palette[entry["name"]]), "dash": number}
        # A canvas, unlike a line, has no colour of its own to take over from the page.
        heat = packed["densities"][0]
        heat["color"] = palette[heat["name"]]
        curves = packed.pop("curves")
        spec = packed | {
            "shape": [len(x), len(y)],
            "x_label": x_label,
            "y_label": y_label,
            "x_range": _borders(x),
            "y_range": _borders(y),
            "drag": drags(drag, values, [_borders(x), _borders(y)]),
            "side": side and side | {"curves": curves},
        }
        super().__init__(
            values,
            buffer,
            spec,
            readout=readout or {},
            start=start or {},
            film=film,
            label=label,
            densities=heights.bytes(),
        )


def _grid(name: str, values: Any) -> Float[np.ndarray, " num"]:
    values = as_axis(name, values)
    gaps = np.diff(values)
    if not (gaps > 0).all() or not np.allclose(gaps, gaps.mean(), rtol=0.01):
        raise CourseError(f"{name} is not evenly spaced from its least value to its largest.")
    return values


def _borders(centres: Float[np.ndarray, " num"]) -> list[float]:
    """Return where the outermost cells of a grid end."""
    half = (centres[-1] - centres[0]) / (len(centres) - 1) / 2
    return [float(centres[0] - half), float(centres[-1] + half)]


def _add_places(buffer: Buffer, kind: str, name: str, places: Any) -> dict[str, Any]:
    places = as_frames(kind, name, places, buffer.frames, (None, 2))
    return buffer.append(name, places) | {"num": places.shape[-2]}

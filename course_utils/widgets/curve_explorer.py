"""Curves and bars that follow one or two sliders, all of them computed beforehand."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import traitlets
from jaxtyping import ArrayLike, Float

from course_utils import plots
from course_utils.errors import CourseError
from course_utils.widgets.explorer import FROM_PAGE, Explorer, as_numbers, page_module

COLORS = (plots.BLUE, plots.ORANGE, plots.GREEN, plots.VERMILION, plots.SKY, plots.PURPLE, plots.BLACK)

Range = tuple[float, float]


class CurveExplorer(Explorer):
    """Curves over ``x`` and a stacked bar that follow one or two sliders without asking the kernel.

    Everything is computed beforehand for each value of the sliders and sent to the page once; the page draws the frame
    that belongs to the sliders' values. With sliders of lengths ``A`` and ``B`` (or just ``A``) a *frame array* has the
    shape ``[A, B]`` (or ``[A]``); a slider that a quantity does not depend on may have length 1 there.

    Args:
        sliders: one or two names, each with the values that its slider can take.
        x: where the curves are evaluated, ``[num_x]``.
        curves: names with values, either ``[num_x]`` (the same in all frames) or a frame array of them.
        bars: names with values in each frame, a frame array or one number. The first bar reaches from ``bars_from``
            to its value, each further one is added where the last ended, so that the end of the last is the sum.
        level: names with the heights of horizontal lines across the bars, a frame array or one number.
        readout: names with numbers to show as text; by default those of the bars and the levels.
        x_label, y_label, bars_label: what the axes show, with units.
        x_range, y_range, bars_range: the ends of the axes; by default those of all the data, the same in all frames.
        bars_from: where the first bar begins.
        start: the values from which the sliders start, the nearest there is; by default the middle one.
        steps: names of curves to draw as filled steps centred on ``x``, such as histograms.
        colors: names of curves, bars and levels with their colours, where they should differ from the usual ones.
        label: a sentence that describes the picture to those who cannot see it.

    ``position`` holds the indices of the sliders' values. It follows the sliders, and moves them when it is set.

    Raises:
        CourseError: a shape does not fit to the sliders and ``x``, or a name or a number is impossible.
    """

    _esm = page_module("curve_explorer.js")

    spec = traitlets.Dict().tag(sync=True)
    data = traitlets.Bytes().tag(sync=True)
    position = traitlets.List(traitlets.Int()).tag(**FROM_PAGE)

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
        steps: Sequence[str] = (),
        colors: Mapping[str, str] | None = None,
        label: str = "Curves that follow the sliders",
    ):
        bars, level, start, colors = bars or {}, level or {}, start or {}, colors or {}
        readout = {**bars, **level} if readout is None else readout
        self._values = _slider_values(sliders)
        for argument, names, known in (
            ("start", start, self._values),
            ("steps", steps, curves),
            ("colors", colors, {**curves, **bars, **level}),
        ):
            _check_names(argument, names, known)
        x = as_numbers("x", x)
        if x.ndim != 1 or len(x) < 2:
            raise CourseError(f"x has the shape {x.shape}; expected one axis with at least two numbers.")
        frames = tuple(map(len, self._values.values()))
        buffer = _Buffer(frames)
        palette = {name: COLORS[i % len(COLORS)] for i, name in enumerate({**curves, **bars, **level})} | dict(colors)
        packed = {
            "curves": [buffer.add("curve", name, y, x.shape) for name, y in curves.items()],
            "bars": [buffer.add("bar", name, height) for name, height in bars.items()],
            "levels": [buffer.add("level", name, height) for name, height in level.items()],
        }
        for number, entry in enumerate(entry for group in packed.values() for entry in group):
            # Black ink would vanish on a dark page.
            color = palette[entry["name"]]
            entry |= {"color": "currentColor" if color == plots.BLACK else color, "dash": number}
        for entry in packed["curves"]:
            entry["steps"] = entry["name"] in steps
        heights = [np.full(frames, bars_from), *_running_totals(bars, frames), *level.values()]
        spec = packed | {
            "label": label,
            "sliders": [{"name": name, "texts": _texts(values)} for name, values in self._values.items()],
            "x": buffer.add("x", "x", x, x.shape),
            "num_x": len(x),
            "x_label": x_label,
            "y_label": y_label,
            "bars_label": bars_label,
            "x_range": _ends("x_range", x_range, [x], margin=0.0),
            "y_range": _ends("y_range", y_range, curves.values()),
            "bars_range": _ends("bars_range", bars_range, heights),
            "bars_from": float(bars_from),
            "readout": [
                buffer.add("readout", name, value) | {"decimals": _decimals(value)} for name, value in readout.items()
            ],
        }
        position = [
            int(np.abs(values - start[name]).argmin()) if name in start else len(values) // 2
            for name, values in self._values.items()
        ]
        super().__init__(spec=spec, data=buffer.bytes(), position=position)

    @property
    def values(self) -> dict[str, float]:
        """Return the values at which the sliders stand."""
        return {name: float(values[i]) for i, (name, values) in zip(self.position, self._values.items())}

    @traitlets.validate("position")
    def _check_position(self, proposal: dict[str, Any]) -> list[int]:
        position = proposal["value"]
        frames = list(map(len, self._values.values()))
        if len(position) != len(frames) or not all(0 <= i < n for i, n in zip(position, frames)):
            raise CourseError(f"position is {position}; expected {len(frames)} indices from 0 to below {frames}.")
        return position

    def __repr__(self) -> str:
        return f"CurveExplorer({', '.join(f'{name}: {len(values)} values' for name, values in self._values.items())})"


class _Buffer:
    """All numbers of an explorer in one block of ``float32``, each array with its place in it."""

    def __init__(self, frames: tuple[int, ...]):
        self._frames = frames
        self._parts: list[np.ndarray] = []
        self._size = 0

    def add(self, kind: str, name: str, values: Float[ArrayLike, "..."], run: tuple[int, ...] = ()) -> dict[str, Any]:
        """Append ``values``, either of shape ``run`` or of one ``run`` for each frame; return where they are."""
        values = as_numbers(f"The {kind} {name!r}", values)
        expected = (*self._frames, *run)
        fits = len(values.shape) == len(expected) and all(n in (m, 1) for n, m in zip(values.shape, expected))
        if values.shape != run and not (fits and values.shape[len(self._frames) :] == run):
            raise CourseError(
                f"The {kind} {name!r} has the shape {values.shape}; expected {run or 'one number'} or {expected}."
            )
        leading = values.shape[: len(values.shape) - len(run)] or (1,) * len(self._frames)
        length = int(np.prod(run))
        strides = [0 if n == 1 else length * int(np.prod(leading[axis + 1 :])) for axis, n in enumerate(leading)]
        entry = {"name": name, "offset": self._size, "strides": strides}
        self._parts.append(values.ravel())
        self._size += values.size
        return entry

    def bytes(self) -> bytes:
        """Return the block, little-endian; what ``float32`` cannot hold becomes infinite, and is not drawn."""
        with np.errstate(over="ignore"):
            return np.concatenate(self._parts).astype("<f4").tobytes()


def _slider_values(sliders: Mapping[str, Any]) -> dict[str, Float[np.ndarray, " values"]]:
    if len(sliders) not in (1, 2):
        raise CourseError(f"There are {len(sliders)} sliders; expected one or two.")
    arrays = {name: as_numbers(f"The slider {name!r}", values) for name, values in sliders.items()}
    for name, values in arrays.items():
        if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
            raise CourseError(
                f"The slider {name!r} has the shape {values.shape}; expected one axis with at least two finite numbers."
            )
    return arrays


def _check_names(argument: str, names: Sequence[str] | Mapping[str, Any], known: Mapping[str, Any]) -> None:
    for name in names:
        if name not in known:
            raise CourseError(f"{argument} names {name!r}, which is none of {', '.join(map(repr, known))}.")


def _running_totals(bars: Mapping[str, Any], frames: tuple[int, ...]) -> list[Float[np.ndarray, "*frames"]]:
    total, totals = np.zeros(frames), []
    for height in bars.values():
        total = total + np.asarray(height, np.float64)
        totals.append(total)
    return totals


def _ends(name: str, given: Range | None, arrays: Any, margin: float = 0.05) -> list[float]:
    """Return the ends of an axis that holds all finite numbers of ``arrays``, and zero if they all but reach it."""
    if given is not None:
        low, high = map(float, given)
        if not (np.isfinite([low, high]).all() and low < high):
            raise CourseError(f"{name} is {given}; expected two numbers, the smaller one first.")
        return [low, high]
    finite = [values[np.isfinite(values)] for values in (np.asarray(array, np.float64) for array in arrays)]
    finite = np.concatenate([[], *finite])
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    span = high - low
    begin = 0.0 if 0 <= low < 0.25 * span and margin else low - margin * span
    end = 0.0 if 0 >= high > -0.25 * span and margin else high + margin * span
    return [begin, end]


def _decimals(values: Any) -> int:
    """Return how many decimals to show, the same in all frames and for all numbers of about the same size."""
    values = np.asarray(values, np.float64)
    values = np.abs(values[np.isfinite(values) & (values != 0)])
    if not len(values) or (values == values.round()).all():
        return 0
    typical = np.median(values)
    return 1 if typical >= 100 else 3 if typical >= 0.1 else min(8, 2 - int(np.floor(np.log10(typical))))


def _texts(values: Float[np.ndarray, " values"]) -> list[str]:
    """Return the values as short text: decimals as fine as the grid if it is even, three digits otherwise."""
    gaps = np.abs(np.diff(values))
    gap = gaps.min()
    if gap and np.allclose(gaps, gap, rtol=1e-3):
        finest = int(np.clip(np.ceil(-np.log10(gap)) + 1, 0, 6))
        enough = (d for d in range(finest) if np.allclose(values, values.round(d), atol=gap / 50))
        decimals = next(enough, finest)
        texts = [f"{value:.{decimals}f}" for value in values.round(decimals) + 0.0]
    else:
        # Three digits, but 1000 rather than 1e+03.
        texts = [f"{value:.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}" for value in values]
    return [text.replace("-", "\N{MINUS SIGN}") for text in texts]

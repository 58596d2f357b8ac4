"""What the explorers share whose frames are all computed beforehand: sliders, packed numbers, axes and texts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import traitlets
from jaxtyping import ArrayLike, Float, UInt8

from course_utils import plots
from course_utils.errors import CourseError
from course_utils.widgets.explorer import FROM_PAGE, Explorer, as_numbers

COLORS = (plots.BLUE, plots.ORANGE, plots.GREEN, plots.VERMILION, plots.SKY, plots.PURPLE, plots.BLACK)

Range = tuple[float, float]


class FrameExplorer(Explorer):
    """An explorer that holds a frame for each combination of the sliders' values.

    Args:
        sliders: the sliders' values, from :func:`slider_values`.
        buffer: all numbers that the page draws.
        spec: where they are in ``buffer``, and what else the page must know.
        readout: names with numbers to show as text.
        start: the values from which the sliders start, the nearest there is; by default the middle one.
        film: the slider that a button lets play from end to end, if there is to be one.
        label: a sentence that describes the picture to those who cannot see it.
        traits: the values of a subclass's own traits.
    """

    spec = traitlets.Dict().tag(sync=True)
    data = traitlets.Bytes().tag(sync=True)
    position = traitlets.List(traitlets.Int()).tag(**FROM_PAGE)

    def __init__(
        self,
        sliders: Mapping[str, Float[np.ndarray, " values"]],
        buffer: "Buffer",
        spec: Mapping[str, Any],
        *,
        readout: Mapping[str, Float[ArrayLike, "*frames"]],
        start: Mapping[str, float],
        film: str | None,
        label: str,
        **traits: Any,
    ):
        self._values = sliders
        check_names("start", start, sliders)
        check_names("film", [] if film is None else [film], sliders)
        position = [
            int(np.abs(values - start[name]).argmin()) if name in start else len(values) // 2
            for name, values in sliders.items()
        ]
        common = {
            "label": label,
            "film": None if film is None else list(sliders).index(film),
            "sliders": [{"name": name, "texts": _texts(values)} for name, values in sliders.items()],
            "readout": [buffer.add("readout", name, value) for name, value in readout.items()],
            "start": position,
        }
        super().__init__(spec={**spec, **common}, data=buffer.bytes(), position=position, **traits)

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
        sliders = (f"{name}: {len(values)} values" for name, values in self._values.items())
        return f"{type(self).__name__}({', '.join(sliders)})"


class Buffer:
    """Many arrays of numbers in one block, each with its place in it."""

    def __init__(self, frames: tuple[int, ...], dtype: str = "<f4"):
        self.frames = frames
        self._dtype = dtype
        self._parts: list[np.ndarray] = []
        self._size = 0

    def add(
        self, kind: str, name: str, values: Float[ArrayLike, "..."], run: tuple[int | None, ...] = ()
    ) -> dict[str, Any]:
        """Append ``values``, either of shape ``run`` or of one ``run`` for each frame.

        Return where they are, and with how many decimals to show them.
        """
        frames = as_frames(kind, name, values, self.frames, run)
        return self.append(name, frames) | {"decimals": _decimals(frames)}

    def append(self, name: str, values: Float[np.ndarray, "..."]) -> dict[str, Any]:
        """Append a frame array, with an axis for each slider; return where it is."""
        leading, run = values.shape[: len(self.frames)], values.shape[len(self.frames) :]
        length = int(np.prod(run))
        strides = [0 if n == 1 else length * int(np.prod(leading[axis + 1 :])) for axis, n in enumerate(leading)]
        entry = {"name": name, "offset": self._size, "strides": strides}
        self._parts.append(values.ravel())
        self._size += values.size
        return entry

    def bytes(self) -> bytes:
        """Return the block, little-endian; what ``float32`` cannot hold becomes infinite, and is not drawn."""
        with np.errstate(over="ignore"):
            return np.concatenate([[], *self._parts]).astype(self._dtype).tobytes()


def as_frames(
    kind: str, name: str, values: Any, frames: tuple[int, ...], run: tuple[int | None, ...]
) -> Float[np.ndarray, "..."]:
    """Return ``values``, of shape ``run`` or a frame array of it, with an axis for each slider in front.

    An axis of ``run`` that is ``None`` may have any length.
    """
    values = as_numbers(f"The {kind} {name!r}", values)
    middle = max(0, values.ndim - len(run))
    leading, tail = values.shape[:middle], values.shape[middle:]
    fits = len(tail) == len(run) and all(m in (n, None) for n, m in zip(tail, run))
    if not fits or (
        leading and not (len(leading) == len(frames) and all(n in (m, 1) for n, m in zip(leading, frames)))
    ):
        expected = f"{run or 'one number'} or {(*frames, *run)}".replace("None", "n")
        raise CourseError(f"The {kind} {name!r} has the shape {values.shape}; expected {expected}.")
    return values.reshape(*(leading or (1,) * len(frames)), *tail)


def as_axis(name: str, values: Any) -> Float[np.ndarray, " num"]:
    """Return the numbers along an axis; raise ``CourseError`` if there are not at least two."""
    values = as_numbers(name, values)
    if values.ndim != 1 or len(values) < 2:
        raise CourseError(f"{name} has the shape {values.shape}; expected one axis with at least two numbers.")
    return values


def slider_values(sliders: Mapping[str, Any]) -> dict[str, Float[np.ndarray, " values"]]:
    """Return the values of one to three sliders as arrays; raise ``CourseError`` if they are none."""
    if len(sliders) not in (1, 2, 3):
        raise CourseError(f"There are {len(sliders)} sliders; expected one to three.")
    arrays = {name: as_numbers(f"The slider {name!r}", values) for name, values in sliders.items()}
    for name, values in arrays.items():
        if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
            raise CourseError(
                f"The slider {name!r} has the shape {values.shape}; expected one axis with at least two finite numbers."
            )
    return arrays


def check_names(argument: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise ``CourseError`` if one of ``names`` is not ``known``."""
    for name in names:
        if name not in known:
            raise CourseError(f"{argument} names {name!r}, which is none of {', '.join(map(repr, known))}.")


def choose_colors(names: Iterable[str], colors: Mapping[str, str]) -> dict[str, str]:
    """Return a colour for each name, the next of the palette unless ``colors`` has one."""
    names = list(dict.fromkeys(names))
    check_names("colors", colors, names)
    return {name: colors.get(name, COLORS[i % len(COLORS)]) for i, name in enumerate(names)}


def ink(color: str) -> str:
    """Return ``color`` as a line or an area has it: black would vanish on a dark page."""
    return "currentColor" if color == plots.BLACK else color


def root_bytes(name: str, density: Float[np.ndarray, "*frames num_y num_x"]) -> UInt8[np.ndarray, "..."]:
    """Return the square root of the density in 256 steps, of which the tails so get more."""
    if not (np.isfinite(density) & (density >= 0)).all():
        raise CourseError(f"The density {name!r} has values that are negative or not finite; expected none.")
    peak = density.max(axis=(-2, -1), keepdims=True)
    return np.rint(255 * np.sqrt(density / np.where(peak > 0, peak, 1))).astype(np.uint8)


def axis_ends(name: str, given: Range | None, arrays: Any, margin: float = 0.05) -> list[float]:
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


def drags(
    drag: Sequence[str], sliders: Mapping[str, Float[np.ndarray, " values"]], axes: list[list[float]]
) -> list[dict[str, Any]]:
    """Return the index of each slider that is dragged, and its steps for each unit of its axis."""
    check_names("drag", drag, sliders)
    if len(drag) > len(axes):
        raise CourseError(f"drag has {len(drag)} names; expected two at most, one for each axis.")
    dragged = []
    for name, (low, high) in zip(drag, axes):
        first, last = sliders[name][[0, -1]]
        on_axis = low <= sliders[name].min() and sliders[name].max() <= high and first != last
        way = last - first if on_axis else high - low
        dragged.append({"slider": list(sliders).index(name), "steps": float((len(sliders[name]) - 1) / way)})
    return dragged


def _decimals(values: Any) -> int:
    """Return how many decimals to show, the same in all frames and for all numbers of about the same size."""
    values = np.asarray(values, np.float64)
    values = np.abs(values[np.isfinite(values) & (values != 0)])
    if not len(values) or (values == values.round()).all():
        return 0
    typical, largest = np.median(values), values.max()
    if typical >= 0.1:
        return 1 if typical >= 100 else 3
    # Three digits of a typical number, but not more than four of the largest one.
    return min(8, 2 - int(np.floor(np.log10(typical))), max(3, 3 - int(np.floor(np.log10(largest)))))


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

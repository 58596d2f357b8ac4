"""The figures that several notebooks draw, in one palette, each with its text for those who cannot see it."""

import base64
import html
import io
import warnings

import numpy as np
from IPython.display import display
from jaxtyping import ArrayLike, Float
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import Collection, PathCollection
from matplotlib.figure import Figure
from PIL import Image

# Okabe & Ito (2008), *Color universal design*: told apart with any kind of colour vision.
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = PALETTE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)

STYLE = {
    "axes.prop_cycle": plt.cycler(color=[BLUE, ORANGE, GREEN, VERMILION, SKY, PURPLE, BLACK]),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "font.size": 10.5,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


# For good, and not only while a figure is made: legends and lines look their style up when they are drawn.
plt.rcParams.update(STYLE)


def subplots(
    rows: int = 1, columns: int = 1, *, size: tuple[float | int, float | int] = (6.4, 3.6), **options
) -> tuple:
    """Return a figure and its axes as ``plt.subplots`` does; ``size`` is in inches."""
    return plt.subplots(rows, columns, figsize=size, **options)


def show(figure: Figure, alt: str) -> None:
    """Display ``figure`` with the alternative text ``alt`` and close it.

    The plain-text form of the output is ``alt`` followed by a summary of the data that were drawn, so that a test
    which cannot compare pictures compares their numbers.
    """
    width = round(figure.get_figwidth() * 100)
    source = base64.b64encode(_png(figure)).decode()
    plt.close(figure)
    picture = f'<img src="data:image/png;base64,{source}" width="{width}" alt="{html.escape(alt)}">'
    summary = [line for number, axes in enumerate(figure.axes, 1) for line in _summary(number, axes)]
    # HTML alone carries the alternative text, and LaTeX takes the picture alone.
    forms = {"text/html": picture, "image/png": source, "text/plain": "\n".join([f"Figure: {alt}", *summary])}
    display(forms, metadata={"image/png": {"width": width, "alt": alt}}, raw=True)


def image_grid(
    images: Float[ArrayLike, "N data"], columns: int, axes: Axes, *, title: str | None = None, side: int = 28
) -> None:
    """Draw flat images of ``side`` x ``side`` pixels in [0, 1] as a grid, ink black on white, row by row."""
    images = np.asarray(images).reshape(-1, side, side)
    rows = -(-len(images) // columns)
    canvas = np.zeros((rows * columns, side, side), np.float32)
    canvas[: len(images)] = images
    canvas = canvas.reshape(rows, columns, side, side).swapaxes(1, 2).reshape(rows * side, columns * side)
    axes.imshow(canvas, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()
    if title:
        axes.set_title(title)


def _png(figure: Figure) -> bytes:
    """Return ``figure`` as a PNG of 256 colours, a third of the size that it has with all of them."""
    drawn, small = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        # Given for time alone, so that a busy machine would have an output that a quiet one has not.
        warnings.filterwarnings("ignore", 'Creating legend with loc="best" can be slow')
        figure.savefig(drawn, format="png")
    colours = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    colours.save(small, format="png", optimize=True)
    return small.getvalue()


def _summary(number: int, axes: Axes) -> list[str]:
    """Return one line for each thing drawn in ``axes``: how many numbers, their least, mean and largest."""
    drawn = [("line", line.get_label(), line.get_ydata()) for line in axes.lines]
    drawn += [("shape", shape.get_label(), _heights(shape)) for shape in axes.collections]
    drawn += [("image", image.get_label(), image.get_array()) for image in axes.images]
    bars = [patch.get_height() for patch in axes.patches if hasattr(patch, "get_height")]
    if bars:
        drawn.append(("bars", "_", bars))
    lines = []
    for kind, label, values in drawn:
        values = np.ma.masked_invalid(np.ma.asarray(values, dtype=float)).compressed()
        name = "" if label.startswith("_") else f" {label!r}"
        if len(values):
            lines.append(
                f"  axes {number}, {kind}{name}: {len(values)} numbers from {values.min():.4g} to {values.max():.4g}, "
                f"mean {values.mean():.4g}"
            )
    return lines


def _heights(shape: Collection) -> Float[np.ndarray, " n"]:
    """Return the heights that a collection draws: of its points, or of the corners of its areas and lines."""
    if isinstance(shape, PathCollection):
        return shape.get_offsets()[:, 1]
    corners = [path.vertices[:, 1] for path in shape.get_paths() if len(path.vertices)]
    return np.concatenate(corners) if corners else np.empty(0)

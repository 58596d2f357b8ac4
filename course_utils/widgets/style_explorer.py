"""Sliders for a style, and the same style drawn as each of some things; the page itself runs the decoder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import traitlets
from jaxtyping import ArrayLike, Float

from course_utils.errors import CourseError
from course_utils.models import MLP
from course_utils.widgets.explorer import FROM_PAGE, Explorer, as_numbers
from course_utils.widgets.exported import export_mlp
from course_utils.widgets.modules import page_module


class StyleExplorer(Explorer):
    """Sliders for the style ``z``, and a choice of what is drawn in that style.

    Args:
        decoder: turns ``[z, one-hot choice]`` into logits of square images. Its weights are sent to the page once.
        choices: the names of what can be drawn, in the order of the decoder's last inputs.
        z: where the sliders start; by default at zero.
        choice: which of ``choices`` is drawn large at first.
        label: what the explorer shows, for readers who do not see it.

    ``z`` and ``choice`` (an index) follow what is seen in the page, and change it when they are set.

    Raises:
        CourseError: the page cannot compute this decoder, or its sizes do not fit to the rest.
    """

    _esm = page_module("style_explorer.js")

    spec = traitlets.Dict().tag(sync=True)
    weights = traitlets.Bytes().tag(sync=True)
    z = traitlets.TraitType().tag(**FROM_PAGE)
    choice = traitlets.Int().tag(**FROM_PAGE)

    def __init__(
        self,
        decoder: MLP,
        choices: Sequence[Any],
        *,
        z: Float[ArrayLike, " style"] | None = None,
        choice: int = 0,
        label: str = "Sliders for a style, and what is drawn in it",
    ):
        layers, weights = export_mlp(decoder)
        style_dim, side = layers[0]["inputs"] - len(choices), round(layers[-1]["outputs"] ** 0.5)
        if style_dim < 1 or side**2 != layers[-1]["outputs"]:
            raise CourseError(
                f"The decoder has {layers[0]['inputs']} inputs and {layers[-1]['outputs']} outputs; expected a style and "
                f"{len(choices)} choices in, and the pixels of a square image out."
            )
        start = {"z": as_numbers("z", np.zeros(style_dim) if z is None else z).tolist(), "choice": choice}
        spec = {
            "label": label,
            "start": start,
            "layers": layers,
            "height": side,
            "width": side,
            "style_dim": style_dim,
            "choices": [str(name) for name in choices],
        }
        super().__init__(spec=spec, weights=weights.astype("<f4").tobytes(), **start)

    @traitlets.validate("z")
    def _check_z(self, proposal: dict[str, Any]) -> list[float]:
        z = as_numbers("z", proposal["value"])
        if z.shape != (self.spec["style_dim"],) or not np.isfinite(z).all():
            raise CourseError(f"z has the shape {z.shape}; expected {self.spec['style_dim']} finite numbers.")
        return z.tolist()

    @traitlets.validate("choice")
    def _check_choice(self, proposal: dict[str, Any]) -> int:
        if not 0 <= proposal["value"] < len(self.spec["choices"]):
            raise CourseError(
                f"choice is {proposal['value']}; expected an index from 0 to {len(self.spec['choices']) - 1}."
            )
        return proposal["value"]

    def __repr__(self) -> str:
        return f"StyleExplorer(style_dim={self.spec['style_dim']}, choices={len(self.spec['choices'])})"

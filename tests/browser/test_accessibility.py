"""Every explorer, alone in an empty page, light and dark: axe finds nothing wrong with it."""

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from flax import nnx

from course_utils.models import MLP
from course_utils.widgets import (
    AscentExplorer,
    CurveExplorer,
    DensityExplorer,
    InferenceExplorer,
    LatentExplorer,
    Playground,
    ProposalExplorer,
    RegressionExplorer,
    StyleExplorer,
    predict,
)
from course_utils.widgets.explorer import Explorer
from tests.browser.bare import show
from tests.browser.test_inference import IMAGES, make_vae  # the sizes for which JAX has compiled it there

GRID = np.arange(4.0)


def bowl(z):
    return -(z**2).sum(-1)


EXPLORERS = {
    "AscentExplorer": lambda: AscentExplorer({"bowl": bowl}, {"bowl": 1.14}),
    "CurveExplorer": lambda: CurveExplorer(
        {"a": [0, 1], "step": GRID}, GRID, {"p": GRID, "q": GRID}, bars={"ELBO": 1.0, "KL": 2.0}, readout={"n": [GRID, GRID]},
        level={"log-evidence": 2.5}, film="step",
    ),
    "DensityExplorer": lambda: DensityExplorer(
        {"step": GRID}, GRID, GRID, {"p": np.ones((4, 4)), "q": np.eye(4)}, points={"z": np.eye(2)},
        paths={"m": np.eye(2)}, curve={"ELBO": GRID}, curve_x=GRID, readout={"n": GRID},
    ),
    "InferenceExplorer": lambda: InferenceExplorer(make_vae(), IMAGES, labels=range(30), training=(IMAGES, range(30))),
    "LatentExplorer": lambda: LatentExplorer(make_vae(), IMAGES, labels=range(30)),
    "Playground": Playground,
    "Prediction": lambda: predict("axe", "Does `q` grow?", ["yes", "no"], then="The text that follows."),
    "ProposalExplorer": lambda: ProposalExplorer(bowl, 1.14),
    "RegressionExplorer": lambda: RegressionExplorer([-0.5, 0.5], [1, -1]),
    "StyleExplorer": lambda: StyleExplorer(MLP([5, 12, 49], rngs=nnx.Rngs(0)), "abc"),
}  # fmt: skip


def kinds(parent: type) -> set[str]:
    """Return the names of the classes below ``parent`` that have none below them."""
    return set().union(*(kinds(kind) or {kind.__name__} for kind in parent.__subclasses__()))


def test_no_explorer_is_left_out():
    assert kinds(Explorer) == set(EXPLORERS)


@pytest.mark.parametrize("name", EXPLORERS)
def test_axe_finds_nothing_wrong(page, name):
    explorer = EXPLORERS[name]()
    show(page, explorer)
    page.add_style_tag(content=explorer._css)
    page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    for scheme, expected in {"light": "normal", "dark": "dark"}.items():
        page.emulate_media(color_scheme=scheme)
        assert page.locator(".vi-explorer").evaluate("(root) => getComputedStyle(root).colorScheme") == expected
        found = Axe().run(page, context=".vi-explorer").response["violations"]
        assert not [(each["id"], [node["html"][:200] for node in each["nodes"][:4]]) for each in found], scheme

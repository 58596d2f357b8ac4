"""Explorers whose pictures are computed in the browser, so that no slider waits for the kernel.

The rooms: ``explorer`` holds what the explorers share, ``frames`` what those share that draw what JAX has computed for
every slider value beforehand. Of these, ``curve_explorer`` draws curves and bars, and ``density_explorer`` densities
over two dimensions. ``exported`` holds what those share that run a variational autoencoder in the page:
``latent_explorer`` and ``style_explorer`` its decoder, ``inference_explorer`` its encoder too. ``prediction`` asks for
probabilities before a result is seen, and scores them. Beside each stands the JavaScript that it sends to the page.
"""

from course_utils.widgets.curve_explorer import CurveExplorer
from course_utils.widgets.density_explorer import DensityExplorer
from course_utils.widgets.inference_explorer import InferenceExplorer
from course_utils.widgets.latent_explorer import LatentExplorer
from course_utils.widgets.prediction import calibration, came_true, predict
from course_utils.widgets.proposal_explorer import ProposalExplorer
from course_utils.widgets.style_explorer import StyleExplorer

__all__ = [
    "CurveExplorer",
    "DensityExplorer",
    "InferenceExplorer",
    "LatentExplorer",
    "ProposalExplorer",
    "StyleExplorer",
    "calibration",
    "came_true",
    "predict",
]

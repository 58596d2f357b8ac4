"""Explorers whose pictures are computed in the browser, so that no slider waits for the kernel.

The rooms: ``modules`` joins JavaScript files to the one module that a page can import. ``explorer`` holds what the
explorers share, ``frames`` what those share that draw what JAX has computed for every slider value beforehand. Of
these, ``curve_explorer`` draws curves and bars, and ``density_explorer`` densities over two dimensions. ``plane`` is
what those share that show normals over a density: ``proposal_explorer``, which weighs their draws, and
``ascent_explorer``, in which they climb the ELBO of a density that ``program`` sends to the page.
``regression_explorer`` has data to be moved by hand. ``exported`` holds what those share that run a variational
autoencoder in the page: ``latent_explorer`` and ``style_explorer`` its decoder, ``inference_explorer`` its encoder
too; ``playground`` trains one. ``library`` brings a JavaScript library of ``vendor/`` to the page. ``prediction``
asks for probabilities before a result is seen, and scores them. Beside each stands the JavaScript that it sends to
the page.
"""

from course_utils.widgets.ascent_explorer import AscentExplorer
from course_utils.widgets.curve_explorer import CurveExplorer
from course_utils.widgets.density_explorer import DensityExplorer
from course_utils.widgets.inference_explorer import InferenceExplorer
from course_utils.widgets.latent_explorer import LatentExplorer
from course_utils.widgets.playground import Playground
from course_utils.widgets.prediction import calibration, came_true, predict
from course_utils.widgets.proposal_explorer import ProposalExplorer
from course_utils.widgets.regression_explorer import RegressionExplorer
from course_utils.widgets.style_explorer import StyleExplorer

__all__ = [
    "AscentExplorer",
    "CurveExplorer",
    "DensityExplorer",
    "InferenceExplorer",
    "LatentExplorer",
    "Playground",
    "ProposalExplorer",
    "RegressionExplorer",
    "StyleExplorer",
    "calibration",
    "came_true",
    "predict",
]

"""Explorers whose pictures are computed in the browser, so that no slider waits for the kernel.

The rooms: ``explorer`` holds what the explorers share, ``frames`` what those share that draw what JAX has computed for
every slider value beforehand: ``curve_explorer`` draws curves and bars, ``density_explorer`` densities over two
dimensions. On ``plane`` and ``program``, which brings a function that JAX can trace to the page, stand
``proposal_explorer`` and ``ascent_explorer``; ``regression_explorer`` fits what is moved by hand. ``exported`` holds
what those share that run a variational autoencoder in the page: ``latent_explorer`` and ``style_explorer`` its decoder,
``inference_explorer`` its encoder too; ``playground`` trains one. ``library`` brings a JavaScript library of
``vendor/`` to the page. ``prediction`` asks for probabilities before a result is seen, and scores them. Beside each
stands the JavaScript that it sends to the page.
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

"""The claims of ``notebooks/00_start_here.ipynb``; each test is named after its cell."""

import numpy as np
import pytest

from tests.claims.cells import run_cells

NOTEBOOK = "00_start_here"


def test_sliders_explained():
    """It is zero at mean 0 and scale 1, and nowhere else. Half as wide costs 0.32 nats, twice as wide 0.81."""
    names = run_cells(NOTEBOOK, "setup", "installation", "first-explorer")
    divergence = np.asarray(names["q"].kl(names["p"]))
    nearest = [int(np.abs(values - value).argmin()) for values, value in ((names["MEANS"], 0), (names["SCALES"], 1))]
    assert np.unravel_index(divergence.argmin(), divergence.shape) == tuple(nearest)
    assert abs(divergence.min()) < 1e-6 < np.sort(divergence, axis=None)[1]
    normal, standard = names["DiagonalNormal"], names["standard_normal"](1)
    narrow, wide = (normal(np.zeros(1), np.full(1, scale)) for scale in (0.5, 2.0))
    assert [round(float(q.kl(standard)), 2) for q in (narrow, wide)] == [0.32, 0.81]
    # "For KL[p || q] it is the other way round."
    assert standard.kl(narrow) > standard.kl(wide)


def test_predictions():
    """With two answers, 99 % costs 0.01 nats if you are right and 4.6 if you are wrong."""
    assert round(-np.log(0.99), 2) == 0.01
    assert round(-np.log(1 - 0.99), 1) == 4.6


@pytest.mark.parametrize("seed", range(10))
def test_prediction_measured(seed):
    """The median of the longest run is 7; at most 4 in 3.0% of all cases."""
    told = {}
    other = {"prediction-measured": {"default_rng(0)": f"default_rng({seed})"}}
    names = run_cells(NOTEBOOK, "prediction-measured", names={"np": np, "came_true": told.__setitem__}, replacing=other)
    assert told == {"longest-run": "7 or 8"}
    assert names["median"] == 7
    assert abs((names["longest"] <= 4).mean() - 0.03) < 0.008

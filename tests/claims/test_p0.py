"""What the page about choosing a project says: of the two models, of samples and copies, and of the best of several runs."""

import re
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import integrate
from scipy.stats import norm

from course_utils.coursework.source.notebooks import read_notebook
from course_utils.evaluation import Evaluation
from course_utils.paths import NOTEBOOKS_DIR
from course_utils.pretrained import load_pretrained
from tests.claims.cells import run_cells, sources

NOTEBOOK = "projects/p0_choosing_a_project"
SETS, PER_SET = 5, 300


@cache
def compared():
    """Return the variables after the comparison of the two models, for five sets of 300 other images."""
    where = {"two-models": {"[:NUM_IMAGES]": f"[1000:{1000 + SETS * PER_SET}]"}}
    names = run_cells(NOTEBOOK, "imports", "two-models", replacing=where)
    found = []
    for number in range(SETS):
        part = slice(number * PER_SET, (number + 1) * PER_SET)
        of_set = {name: Evaluation(*(values[part] for values in result)) for name, result in names["results"].items()}
        found.append(run_cells(NOTEBOOK, "paired-code", names=names | {"results": of_set}))
    return found


@pytest.mark.slow
def test_paired_explained():
    """Images differ by tens of nats, and both models find the same images hard. ... The difference is many of its paired error bars, and
    less than half of an unpaired one: ... one or two thousand times as many images. The ELBO orders the two models the other way round."""
    for names in compared():
        assert np.std(names["vae"]) > 20
        assert np.corrcoef(names["vae"], names["iwae"])[0, 1] > 0.998
        assert names["gain"] > 7 * names["paired"]
        assert names["gain"] < 0.5 * names["unpaired"]
        assert 700 < (names["unpaired"] / names["paired"]) ** 2 < 2500
        elbo = {name: result.elbo.mean() for name, result in names["results"].items()}
        assert elbo["iwae-5"] < elbo["vae-5"] - 0.5


@pytest.mark.slow
def test_paired_figure():
    """The histograms ... are more than a hundred nats wide. ... The histogram of their differences is a few nats wide, and mostly to the
    right of zero."""
    for names in compared():
        difference = names["iwae"] - names["vae"]
        assert np.ptp(names["vae"]) > 100
        assert np.ptp(np.percentile(difference, [1, 99])) < 6
        assert (difference > 0).mean() > 0.7


def test_paired_code():
    """The two bars of 4,000 pairs of normals: the paired one holds the difference in 95 of 100 cases, the unpaired one is too wide."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(400):
        shared = 24 * rng.normal(size=200)
        pair = [np.float32(mean + shared + rng.normal(size=200)) for mean in (-85, -84.8)]
        results = [SimpleNamespace(log_likelihood=values) for values in pair]
        names = {
            "np": np,
            "results": dict(enumerate(results)),
            "monte_carlo": monte_carlo_of_numpy,
            "print": lambda _: None,
        }
        names = run_cells(NOTEBOOK, "paired-code", names=names)
        assert names["paired"] == pytest.approx((2 / 200) ** 0.5, rel=0.25)
        assert names["unpaired"] == pytest.approx((2 * 577 / 200) ** 0.5, rel=0.25)
        inside.append([abs(names["gain"] - 0.2) < 2 * names[bar] for bar in ("paired", "unpaired")])
    paired, unpaired = np.mean(inside, axis=0)
    assert 0.92 < paired < 0.98
    assert unpaired == 1


def monte_carlo_of_numpy(values):
    """Return what ``monte_carlo`` does, without a jitted program for each of many small arrays."""
    mean, error = values.mean(), values.std(ddof=1) / len(values) ** 0.5
    return type("Estimate", (tuple,), {"standard_error": error})((mean, error))


@pytest.mark.parametrize(("runs", "said"), [(5, 1.2), (20, 1.9)])
def test_paired_explained_best(runs, said):
    """Of five equally good runs the best lies 1.2 standard deviations above the mean, of twenty 1.9."""
    best, _ = integrate.quad(lambda u: u * runs * norm.pdf(u) * norm.cdf(u) ** (runs - 1), -10, 10)
    assert best == pytest.approx(said, abs=0.05)
    assert f"{said}" in sources(NOTEBOOK)["paired-explained"]


def test_paired():
    """Two shipped VAEs started from the same weights and were trained for 60 epochs with five samples per image: vae-5 with the ELBO,
    iwae-5 with the importance-weighted bound."""
    recipes = [load_pretrained(name)[1] for name in ("vae-5", "iwae-5")]
    assert [recipe["objective"] for recipe in recipes] == ["vae", "iwae"]
    for entry, value in {"started_from": "vae-1", "epochs": 60, "num_samples": 5}.items():
        assert [recipe[entry] for recipe in recipes] == [value, value]
    for entry in ("peak_learning_rate", "batch_size", "key", "num_steps", "optimizer", "hidden", "latent_dim"):
        assert recipes[0][entry] == recipes[1][entry]


def test_number():
    """The negative test log-likelihood of vae-1 is 86.2 nats for pixels binarised anew, that of fixed-vae-1 89.2 nats for pixels
    binarised once. ... Two VAEs of one size."""
    anew, once = (load_pretrained(name)[1] for name in ("vae-1", "fixed-vae-1"))
    assert anew["test"]["nll"] == pytest.approx(86.2, abs=0.05)
    assert once["test"]["nll"] == pytest.approx(89.2, abs=0.05)
    assert anew["pixels"].startswith("binarised anew")
    assert once["pixels"].startswith("fixed_binarization")
    assert [anew["hidden"], anew["latent_dim"]] == [once["hidden"], once["latent_dim"]]


def test_samples():
    """log p'(x) >= log p(x) - log 100, so at most 4.6 nats are lost."""
    good = compared()[0]["vae"].astype(float)
    noise = -784 * np.log(2)  # each pixel is ink with probability one half
    lost = good - np.logaddexp(np.log(0.01) + good, np.log(0.99) + noise)
    assert np.log(100) == pytest.approx(4.6, abs=0.01)
    assert (lost <= np.log(100) + 1e-9).all()
    assert lost.mean() > 4.5


def test_copies():
    """Moved by one pixel about half of the copies pass as new, by two pixels nearly all."""
    imports, shares = run_cells(NOTEBOOK, "imports"), []
    imports["data"] = SimpleNamespace(load_mnist=cache(imports["data"].load_mnist))
    for start in range(2000, 2000 + 5 * 400, 400):
        lines = []
        where = {"training[:1000]": f"training[{start}:{start + 400}]", "np.arange(": f"{start} + np.arange("}
        run_cells(NOTEBOOK, "copies", names=imports | {"print": lines.append}, replacing={"copies": where})
        shares.append([float(re.search(r"(\d+)% of", line).group(1)) for line in lines])
    stayed, by_one, by_two = np.transpose(shares)
    assert (stayed == 100).all()
    assert ((by_one > 40) & (by_one < 60)).all()
    assert (by_two < 10).all()


def test_scope():
    """Ten settings, five seeds and six minutes make five hours."""
    assert 10 * 5 * 6 / 60 == 5


def test_talk():
    """The slides follow each other without a gap, and three quarters of them are 30 minutes."""
    minutes = [
        tuple(map(int, row)) for row in re.findall(r"^\| (\d+)–(\d+) \|", sources(NOTEBOOK)["talk"], re.MULTILINE)
    ]
    assert [start for start, _ in minutes] == [0, *(end for _, end in minutes[:-1])]
    assert minutes[-1][1] == 40
    assert 0.75 * 40 == 30


def test_the_page_is_short():
    cells = read_notebook(NOTEBOOKS_DIR / f"{NOTEBOOK}.ipynb").cells
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    assert len(" ".join(texts).split()) <= 2500
    paragraphs = [
        part for text in texts for part in text.split("\n\n") if not part.startswith("|") and "\n- " not in part
    ]
    assert not [part for part in paragraphs if len(part.split()) > 80]

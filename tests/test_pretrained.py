"""What is shipped as trained is what its recipe says, evaluated again with fewer images or fewer samples."""

import hashlib

import jax
import numpy as np
import pytest

from course_utils import pretrained
from course_utils.data import DataError
from course_utils.errors import CourseError
from course_utils.evaluation import evaluate
from course_utils.paths import DATA_DIR, DOCS_DIR
from course_utils.pretrained import SHA256, load_pretrained, new_vae, weights_of, with_weights
from tests.benchmarks import reproduce


@pytest.mark.parametrize("name", SHA256)
def test_the_weights_reach_what_their_recipe_says(name):
    """On the same 1,000 images, so that only the draws of z differ: 200 of each image leave 0.02 nats of the ELBO."""
    vae, recipe = load_pretrained(name)
    assert recipe["row"] == name and recipe["published"] == reproduce.ROWS[name].published
    x = reproduce.pixels_of(reproduce.ROWS[name], 1000)
    seen, recorded = evaluate(vae, x, jax.random.key(0), 200), recipe["first_1000"]
    assert -seen.elbo.mean() == pytest.approx(recorded["minus_elbo"], abs=0.1)
    # Of 200 samples the bound is lower than of the recorded 5,000, by half a nat to one.
    assert recorded["num_samples"] == recipe["test"]["num_samples"] == 5000
    assert 0 < -seen.log_likelihood.mean() - recorded["nll"] < 1.2


@pytest.mark.slow
@pytest.mark.parametrize("name", SHA256)
def test_the_importance_sampled_likelihood_is_the_recorded_one(name):
    """Again with 5,000 samples, on the first 1,000 images; other draws of z move their mean by 0.02 nats."""
    vae, recipe = load_pretrained(name)
    x = reproduce.pixels_of(reproduce.ROWS[name], 1000)
    likelihood = evaluate(vae, x, jax.random.key(0), 5000).log_likelihood
    assert -likelihood.mean() == pytest.approx(recipe["first_1000"]["nll"], abs=0.06)


def test_the_page_has_the_figures_of_the_recipes():
    page = (DOCS_DIR / "reproduction.md").read_text(encoding="utf-8")
    for name, row in reproduce.ROWS.items():
        [line] = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        cells, test = [cell.strip(" *") for cell in line.strip("|").split("|")], load_pretrained(name)[1]["test"]
        assert f"{test['minus_elbo']:.2f}" in cells and f"{test['nll']:.2f}" in cells
        assert f"{row.published:.2f}" in cells and f"{test['nll'] - row.published:+.2f}".replace("-", "−") in cells
        assert (f"**{test['nll']:.2f}**" in line) == (test["nll"] <= row.published and not row.fixed)


def test_recipes_are_those_that_can_be_run():
    for name, row in reproduce.ROWS.items():
        _, recipe = load_pretrained(name)
        last = row.stages[-1]
        assert recipe["epochs"] == last.epochs and recipe["peak_learning_rate"] == last.peak_learning_rate
        assert recipe["num_samples"] == last.num_samples and recipe["batch_size"] == reproduce.BATCH_SIZE
        assert (recipe["started_from"] or "").startswith(row.start)
    assert list(reproduce.ROWS) == list(SHA256)


def test_a_recipe_climbs(monkeypatch, tmp_path):
    """A few steps of the last stage of the longest chain, on few images."""
    images, labels = reproduce.load_mnist("train")
    monkeypatch.setattr(reproduce, "load_mnist", lambda split: (images[:256], labels[:256]))
    stage = reproduce.Stage("doubly reparameterised", 5, 2, 1e-4)
    monkeypatch.setitem(reproduce.ROWS, "iwae-50", reproduce.Row(84.78, (stage,), start="iwae-5"))
    vae, history = reproduce.train("iwae-50", tmp_path)
    before = weights_of(load_pretrained("iwae-5")[0])
    moved = [np.abs(weight - before[path]).max() for path, weight in weights_of(vae).items()]
    assert all(0 < distance < 0.01 for distance in moved)

    path = tmp_path / "checkpoints" / "iwae-50.npz"
    path.parent.mkdir()
    seen = evaluate(vae, reproduce.pixels_of(reproduce.ROWS["iwae-50"], 10), jax.random.key(0), 10)
    reproduce.save("iwae-50", vae, history, seen, path)
    monkeypatch.setitem(SHA256, "iwae-50", hashlib.sha256(path.read_bytes()).hexdigest())
    again, recipe = load_pretrained("iwae-50", tmp_path)
    assert recipe["test"]["minus_elbo"] == pytest.approx(-seen.elbo.mean()) and len(recipe["objective_by_epoch"]) == 2
    for path, weight in weights_of(again).items():
        np.testing.assert_allclose(weight, weights_of(vae)[path], rtol=1e-3, atol=1e-6)


def test_other_weights_are_refused_and_a_wrong_name_names_the_right_ones(tmp_path):
    with pytest.raises(CourseError, match="There is no trained model 'iwae-7'; there are vae-1, "):
        load_pretrained("iwae-7")
    with pytest.raises(CourseError, match="other layers"):
        with_weights(new_vae(20), weights_of(new_vae(50)))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "vae-1.npz").write_bytes((DATA_DIR / "checkpoints" / "vae-1.npz").read_bytes()[:-1])
    with pytest.raises(DataError, match=r"git checkout -- data/checkpoints/vae-1\.npz"):
        load_pretrained("vae-1", tmp_path)


def test_weights_there_and_back():
    vae = new_vae(3, (5, 4), seed=1)
    assert all(
        np.array_equal(a, b)
        for a, b in zip(
            weights_of(vae).values(), weights_of(with_weights(new_vae(3, (5, 4)), weights_of(vae))).values()
        )
    )
    assert pretrained.SHA256.keys() == {path.stem for path in (DATA_DIR / "checkpoints").glob("*.npz")}

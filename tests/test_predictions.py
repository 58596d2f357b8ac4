"""Predictions: what is kept, where, and what they cost. What the page does is in ``browser``."""

import json
import math

import numpy as np
import pytest

from course_utils.coursework.kernel.checks import SEED_VARIABLE
from course_utils.errors import CourseError
from course_utils.widgets import calibration, came_true, predict, prediction
from course_utils.widgets.prediction import FILE, Scored, calibration_of

OPTIONS = ["first", "second", "third"]


def ask():
    return predict("shape", "Which one?", OPTIONS)


@pytest.fixture(autouse=True)
def session(monkeypatch, tmp_path):
    """A kernel that has just been started in a folder which is no work folder."""
    monkeypatch.setattr(prediction, "_session", {})
    monkeypatch.setattr(prediction, "_asked", {})
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def work(monkeypatch, tmp_path):
    """The same in a work folder."""
    (tmp_path / ".course.json").write_text("{}")
    return tmp_path


def test_a_locked_prediction_is_kept_scored_and_found_by_the_next_session(work, monkeypatch, capsys):
    monkeypatch.setenv("JPY_SESSION_NAME", str(work / "00_start_here.ipynb"))
    asked = ask()
    came_true("shape", "second")
    assert "No prediction was locked in" in capsys.readouterr().out
    assert not (work / FILE).exists()
    asked.locked = [0.7, 0.2, 0.1]
    for _ in range(2):
        came_true("shape", "second")
        said = capsys.readouterr().out
        assert "You gave it 20 %" in said
        assert f"= {-math.log(0.2):.2f} nats" in said and f"= {math.log(3):.2f} nats" in said
        calibration()
        assert "1 prediction scored: 1.61 nats" in capsys.readouterr().out
        prediction._asked.clear()
    assert ask().locked == [0.7, 0.2, 0.1]
    ((key, entry),) = json.loads((work / FILE).read_text()).items()
    assert key == "00_start_here/shape" and entry["came_true"] == "second"
    assert {path.name for path in work.iterdir()} == {".course.json", FILE}


def test_a_reset_forgets_prediction_and_score(work, capsys):
    asked = ask()
    asked.locked = [0.7, 0.2, 0.1]
    came_true("shape", "first")
    asked.locked = []
    calibration()
    assert "No prediction has been scored" in capsys.readouterr().out
    assert json.loads((work / FILE).read_text()) == {}


def test_nothing_is_kept_where_an_answer_is_graded(work, monkeypatch):
    monkeypatch.setenv(SEED_VARIABLE, "secret")
    asked = ask()
    asked.locked = [0.7, 0.2, 0.1]
    came_true("shape", "first")
    assert not (work / FILE).exists()


def test_what_the_source_says_is_always_the_same(tmp_path, capsys):
    ask()
    came_true("shape", "first")
    calibration()
    said = capsys.readouterr().out
    assert "What happened: first. No prediction was locked in; equal probabilities cost log 3 = 1.10 nats." in said
    assert "No prediction has been scored yet." in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["{", "[1]", '"text"'])
def test_a_file_that_is_none_is_left_alone_and_nothing_is_raised(work, content, capsys):
    (work / FILE).write_text(content)
    asked = ask()
    came_true("shape", "first")
    calibration()
    assert capsys.readouterr().out.count(f"'{FILE} cannot be read") == 3
    with pytest.raises(CourseError, match="mend it"):
        asked.locked = [0.7, 0.2, 0.1]
    assert (work / FILE).read_text() == content


def test_a_prediction_on_other_options_does_not_count(work):
    old = {"shape": {"question": "?", "options": ["first", "second"], "probabilities": [0.5, 0.5]}}
    (work / FILE).write_text(json.dumps(old))
    assert ask().locked == []


def test_what_cannot_be_asked_or_come_true_is_refused():
    for options in (["one"], ["same", "same"]):
        with pytest.raises(CourseError, match="expected at least two"):
            predict("name", "?", options)
    widget = predict("name", "?", ["a", "b"])
    for impossible in ([0.5], [0.6, 0.6], [0.0, 1.0]):
        with pytest.raises(CourseError, match="expected 2 probabilities"):
            widget.locked = impossible
    with pytest.raises(CourseError, match="none of the options"):
        came_true("name", "c")
    assert repr(widget) == "Predict. ?\n  ( ) a\n  ( ) b"


def test_whoever_predicts_with_the_true_probabilities_is_on_the_diagonal():
    """Outcomes are drawn from the probabilities given: frequency and probability agree within four standard errors."""
    random = np.random.default_rng(0)
    given = random.dirichlet([1.0, 1.0, 1.0], 4000)
    honest = [Scored(p, int(random.choice(3, p=p))) for p in given]
    found = calibration_of(honest)
    error = np.sqrt(found.given * (1 - found.given) / found.count)
    assert found.count.sum() == given.size and len(found.count) == 5
    assert (np.abs(found.frequency - found.given) < 4 * error).all()
    wrong = calibration_of([Scored(np.roll(each.probabilities, 1), each.outcome) for each in honest])
    far = np.abs(wrong.frequency - wrong.given) > 4 * error
    assert far.sum() >= 4


def test_from_eight_predictions_on_there_is_a_figure(capsys):
    entry = {"options": ["a", "b"], "probabilities": [0.75, 0.25], "came_true": "a"}
    prediction._session |= {str(i): entry for i in range(7)}
    calibration()
    assert "7 predictions scored: 0.29 nats" in (said := capsys.readouterr().out) and "Figure" not in said
    prediction._session["8"] = entry | {"came_true": "b"}
    calibration()
    assert "0.25 given, 0.12 came true, 8 options; 0.75 given, 0.88 came true, 8 options" in capsys.readouterr().out

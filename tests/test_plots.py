"""What a figure is in a notebook does not depend on how long it took to draw."""

import itertools

import pytest
from matplotlib import legend

from course_utils import plots


def test_a_figure_drawn_slowly_has_the_same_outputs(monkeypatch, capfd, recwarn):
    # Matplotlib looks for the best place of a legend, and warns where that took more than a second.
    monkeypatch.setattr(legend.time, "perf_counter", itertools.count(0, 60).__next__)

    def draw():
        figure, axis = plots.subplots()
        axis.plot([0, 1], [1, 0], label="bound")
        axis.legend()
        return figure

    with pytest.warns(UserWarning, match="can be slow"):
        draw().canvas.draw()
    recwarn.clear()
    plots.show(draw(), "A line.")
    assert not recwarn.list
    assert not capfd.readouterr().err

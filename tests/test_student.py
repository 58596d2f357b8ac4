"""What ``course check`` says in a terminal, besides the marks themselves."""

import io

import pytest
from rich.console import Console

from course_utils.coursework.grade.types import Mark, Reason
from course_utils.coursework.student import display

HINT = "mean of 50 values: Divide by the number of values, which need not be 50, and not by the number of dimensions"


@pytest.fixture
def terminal(monkeypatch):
    """Return a function that shows something in a terminal of so many columns and returns its lines."""

    def lines(columns, show):
        stream = io.StringIO()

        def make(*arguments, **options):
            return Console(file=stream, force_terminal=True, width=columns, color_system=None, highlight=False)

        monkeypatch.setattr(display, "Console", make)
        show()
        return stream.getvalue().splitlines()

    return lines


def mark(reason, note=""):
    return Mark("ex-mean", "Exercise 1.1 · A mean", 0.0, 2.0, reason, note)


@pytest.mark.parametrize(("columns", "widest"), [(200, 80), (60, 60)])
def test_a_hint_is_indented_and_uses_the_width_there_is_up_to_80(terminal, columns, widest):
    found = terminal(columns, lambda: display.show_marks([mark(Reason.WRONG, HINT), mark(Reason.RIGHT)]))
    hint = [line.rstrip() for line in found[1:-2]]
    assert " ".join(line.strip() for line in hint) == f"{HINT}."
    assert all(line.startswith("    ") for line in hint)
    assert widest - 14 < max(map(len, hint)) <= widest
    assert found[0].rstrip() == "Exercise 1.1 · A mean (2 points): wrong"
    assert found[-1].rstrip() == "1 of 2 exercises right, 2 of 4 points."


def test_the_students_own_library_is_counted(terminal):
    written, missing = {"a": "01 · ex-a"}, {"b": "02_two", "c": "03_three"}
    (line, *more) = terminal(200, lambda: display.show_my_vi(written, missing))
    said = " ".join(part.rstrip() for part in [line, *more])
    assert "holds 1 of the 3 functions" in said and "the next one b (notebook 02)" in said
    assert terminal(80, lambda: display.show_my_vi({}, {})) == []


def test_where_nobody_watches_one_line_says_that_something_runs(capsys):
    with display.running() as progress:
        for done in range(3):
            progress(done, 2)
    assert capsys.readouterr().err == "Running 2 exercises …\n"

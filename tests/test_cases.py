"""Small submissions that were once marked wrongly, each with the marks that it has to get.

They were made from two notebooks of an earlier state of the course, which are kept beside them as their source.
"""

import csv
import io
import shutil
from pathlib import Path

import pytest

from course_utils.coursework.grade.batch import grade_class
from course_utils.coursework.report.results import end_round, read_results
from course_utils.coursework.report.write import write_report

CASES = Path(__file__).parent / "cases" / "grading"
SOURCE = CASES / "source"
FULL_MARKS_IN_02 = (
    "append-silent",
    "help-mark",
    "if-def",
    "loop-fills",
    "magic-time-helper",
    "own-cell-help-mark",
    "prng-rbg",
    "rebind-variable",
    "shell-assign",
    "split-low-keeps-id",
    "stub-commented",
    "stub-left-below",
    "wrapped-below",
)


@pytest.fixture(scope="module")
def grades(tmp_path_factory):
    """All cases in one class: those of 02 under their own names, the others with the case's name in front."""
    folder = tmp_path_factory.mktemp("cases")
    submissions = folder / "submissions"
    for name in FULL_MARKS_IN_02:
        shutil.copytree(CASES / name, submissions / name)
    for name in ("older-file-wins", "split-in-jupyterlab", "txt-ending", "untouched-beside-right"):
        for student in (CASES / name).iterdir():
            shutil.copytree(student, submissions / f"{name}-{student.name}")
    for file in (CASES / "canvas-underscore").iterdir():
        shutil.copyfile(file, submissions / file.name)
    grade_class(submissions, folder / "grades", source_dir=SOURCE, progress=False)
    results = read_results(folder / "grades")
    end_round(folder / "grades")
    write_report(folder / "grades", results)
    return folder / "grades"


def points(grades):
    table = (grades / "grades.csv").read_text("utf-8-sig")
    return {
        (row["student"], row["notebook"][:2]): (row["points"], row["of"]) for row in csv.DictReader(io.StringIO(table))
    }


@pytest.mark.parametrize("name", FULL_MARKS_IN_02)
def test_what_is_right_in_jupyter_has_full_marks(grades, name):
    assert points(grades)[name, "02"] == ("10", "10")


def test_a_notebook_with_a_right_answer_is_graded_though_a_line_of_its_stub_is_left(grades):
    assert points(grades)["untouched-beside-right-ada", "00"] == ("1", "1")


def test_the_later_file_counts_and_is_noted(grades):
    assert points(grades)["older-file-wins-ada", "00"] == ("1", "1")
    (result,) = [r for r in read_results(grades) if r.student == "older-file-wins-ada" and r.notebook.startswith("00")]
    assert "00_start_here (2).ipynb counts" in result.note


def test_a_split_cell_is_whole(grades):
    assert points(grades)["split-in-jupyterlab-ada", "00"] == ("1", "1")


def test_students_of_canvas_have_their_names_and_numbers(grades):
    numbers = {result.student: result.canvas_id for result in read_results(grades)}
    found = {student: number for student, number in numbers.items() if number}
    assert sorted(found.values()) == ["4711", "4713"]
    assert {student.removesuffix(f"_{number}") for student, number in found.items()} == {"team_1", "van_dorpjan"}


def test_a_file_with_another_ending_is_named_on_the_class_page(grades):
    assert "00_start_here.ipynb.txt" in (grades / "class.html").read_text()

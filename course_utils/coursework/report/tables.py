"""Tables for machines and spreadsheets: the same results give the same bytes."""

import csv
import io
import json

from course_utils.coursework.grade.types import Result
from course_utils.coursework.report.feedback import feedback_on
from course_utils.coursework.report.text import number, printable

# Without it Excel on Windows takes UTF-8 for something else.
BYTE_ORDER_MARK = "\ufeff"
# What spreadsheets take for the beginning of a formula, in Japanese width too.
FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
FOR_A_HUMAN = "failed: a human has to look at this one"


def grades_csv(results: tuple[Result, ...]) -> bytes:
    """Return one row for each student and notebook; where a human has to look there are no points at all."""
    header = ["student", "notebook", "points", "of", "reasons", "stamp", "note"]
    rows = []
    for result in results:
        reasons = "; ".join(f"{mark.exercise}: {mark.reason}" for mark in result.marks)
        points = ["", ""] if result.points is None else [number(result.points), number(result.of)]
        rows.append(
            [
                result.student,
                result.notebook,
                *points,
                FOR_A_HUMAN if result.points is None else reasons,
                "; ".join(result.stamps),
                result.note,
            ]
        )
    return _table(header, rows)


def exercises_csv(results: tuple[Result, ...]) -> bytes:
    """Return one row for each student and exercise."""
    header = ["student", "notebook", "exercise", "points", "of", "reason", "checks passed", "checks", "note"]
    rows = [
        [
            result.student,
            result.notebook,
            mark.exercise,
            number(mark.points),
            number(mark.of),
            mark.reason,
            str(sum(check.passed for check in mark.checks)),
            str(len(mark.checks)),
            mark.note,
        ]
        for result in results
        if result.points is not None
        for mark in result.marks
    ]
    return _table(header, rows)


def canvas_csv(results: tuple[Result, ...]) -> bytes:
    """Return the columns that Canvas asks of an import; it finds students by their number there, or else by their login."""
    notebooks = sorted({result.notebook for result in results})
    possible = {result.notebook: number(result.of) for result in results if result.points is not None}
    by_student: dict[str, dict[str, Result]] = {}
    for result in results:
        by_student.setdefault(result.student, {})[result.notebook] = result
    rows = [["    Points Possible", "", "", "", "", *(possible.get(notebook, "") for notebook in notebooks)]]
    for student, own in sorted(by_student.items()):
        canvas_id = next((result.canvas_id for result in own.values() if result.canvas_id), "")
        points = [own[notebook].points if notebook in own else None for notebook in notebooks]
        cells = ["" if each is None else number(each) for each in points]
        rows.append([student, canvas_id, "", "" if canvas_id else student, "", *cells])
    titles = [notebook.removesuffix(".ipynb") for notebook in notebooks]
    return _table(["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *titles], rows)


def gradescope_json(of_student: tuple[Result, ...]) -> bytes:
    """Return the ``results.json`` of Gradescope's autograder: one test for each exercise."""
    tests = [
        {
            "name": f"{result.notebook}: {mark.exercise}",
            "score": mark.points,
            "max_score": mark.of,
            "output": "\n".join(feedback_on(mark).lines()),
        }
        for result in of_student
        if result.points is not None
        for mark in result.marks
    ]
    whole = {"tests": tests, "output_format": "text", "visibility": "visible"}
    return (json.dumps(whole, indent=1) + "\n").encode()


def _table(header: list[str], rows: list[list[str]]) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([_cell(text) for text in row] for row in (header, *rows))
    return (BYTE_ORDER_MARK + buffer.getvalue()).encode()


def _cell(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    text = printable(text)
    return f"'{text}" if text.lstrip().startswith(FORMULA) else text

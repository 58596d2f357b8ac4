"""What ``course explain`` says about one mark, for an instructor; nothing is run again for it."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from course_utils.coursework.grade.journal import JOURNAL, Entry, Graded, Round, latest
from course_utils.coursework.grade.types import CheckMark, ExpectedCheck, Mark
from course_utils.coursework.report.feedback import points_of
from course_utils.coursework.report.handed_in import handed_in
from course_utils.coursework.report.results import ReportError
from course_utils.coursework.report.text import printable
from course_utils.coursework.run.records import Values

MOST_NUMBERS = 12
MOST_NAMES = 20


def explanation(entries: Sequence[Entry], student: str, exercise: str, submissions: Path | None = None) -> str:
    """Return the mark, how to repeat it, what each check expected and found, and what the run said.

    Args:
        student, exercise: their names, as in ``exercises.csv``.
        submissions: the folder of submissions, if the student's answer is to be shown, too.

    Raises:
        ReportError: there is no such mark; the sentence says which there are.
    """
    graded, mark = _find(latest(entries), student, exercise)
    result = graded.result
    in_round = next((entry for entry in entries if isinstance(entry, Round) and entry.number == graded.round), None)
    expected = _expected_checks(in_round, result.notebook, exercise)
    seed = in_round.seed if in_round else "not in the journal"
    lines = [
        f"{result.student}, {result.notebook}, {mark.exercise}: {points_of(mark)}, {mark.reason}",
        f"round {graded.round}, seed {seed}",
        f"SHA-256 of what was graded: {result.digest or 'there was nothing'}",
        *(f"note: {note}" for note in (result.note, mark.note) if note),
        *(f"stamp: {stamp}" for stamp in result.stamps),
        "",
    ]
    for check in mark.checks:
        lines += _about_check(check, expected.get(check.name))
    if not mark.checks:
        # No check got anything to compare, which is when one wants to know what there should have been.
        lines += [f"check {each.name!r} expected {_shown(_right(each))}" for each in expected.values()]
    lines += ["", "What the run said:", *(mark.said or ("(nothing)",))]
    if submissions:
        lines += ["", *handed_in(submissions, result, exercise)]
    return "\n".join(printable(line, lines=True) for line in lines)


def _find(results: list[Graded], student: str, exercise: str) -> tuple[Graded, Mark]:
    of_student = [graded for graded in results if graded.result.student == student]
    for graded in of_student:
        for mark in graded.result.marks:
            if mark.exercise == exercise and not graded.result.failure:
                return graded, mark
    if not of_student:
        students = sorted({graded.result.student for graded in results})
        like = difflib.get_close_matches(student, students, 3) or students
        raise ReportError(f"{JOURNAL} has no result of {student!r}; there are {_listed(like)}.")
    failures = [graded.result for graded in of_student if graded.result.failure]
    exercises = sorted({mark.exercise for graded in of_student for mark in graded.result.marks})
    if not exercises and failures:
        raise ReportError(
            f"{failures[0].notebook} of {student!r} has no marks, since the machinery failed "
            f"({printable(failures[0].failure)[:200]}): grade it again with --resume."
        )
    raise ReportError(f"{JOURNAL} has no mark of {student!r} for {exercise!r}; there are {_listed(exercises)}.")


def _expected_checks(in_round: Round | None, notebook: str, exercise: str) -> dict[str, ExpectedCheck]:
    return {
        check.name: check
        for key in (in_round.keys if in_round else ())
        if key.notebook == notebook
        for each in key.exercises
        if each.name == exercise
        for check in each.checks
    }


def _about_check(check: CheckMark, expected: ExpectedCheck | None) -> list[str]:
    lines = [
        f"{'visible' if check.visible else 'hidden'} check {check.name!r}: {'passed' if check.passed else 'failed'}",
        f"  expected {_shown(_right(expected) if expected else None)}{_tolerance(expected)}",
        f"  found    {_shown(check.found)}",
    ]
    return [*lines, f"  {check.hint}"] if check.hint else lines


def _right(expected: ExpectedCheck) -> Values:
    """Return what an answer is compared with: the truth where the check knows it, else what the reference gave."""
    return expected.truth or expected.values


def _tolerance(expected: ExpectedCheck | None) -> str:
    if expected is None:
        return ""
    if expected.standard_error is not None:
        return f", within {expected.atol:g} + four standard errors of {_shown(expected.standard_error)}"
    return f", within {expected.atol:g} + {expected.rtol:g} · |expected|"


def _shown(values: Values | None) -> str:
    if values is None:
        return "nothing"
    numbers = ", ".join(str(number) for number in values.flat[:MOST_NUMBERS])
    return f"[{numbers}{', …' if len(values.flat) > MOST_NUMBERS else ''}] of shape {tuple(values.shape)}"


def _listed(names: Sequence[str]) -> str:
    return printable(", ".join(names[:MOST_NAMES])) + (", …" if len(names) > MOST_NAMES else "")

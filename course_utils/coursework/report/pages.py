"""Pages for people: one for the instructor about the class, one for each student. The same results give the same bytes.

Templates escape whatever they are handed, and what they are handed has been made printable; a page runs no script and loads
nothing.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from course_utils.coursework.grade.submissions import file_name
from course_utils.coursework.grade.types import Mark, Reason, Result
from course_utils.coursework.report.feedback import Feedback, counted_points, failure_of, feedback_on, points_of
from course_utils.coursework.report.text import counted, number, printable

UNUSUAL = {Reason.TIMEOUT, Reason.MEMORY, Reason.DIED, Reason.OUTPUT_LIMIT, Reason.MISSING}
MOST_BINS = 11


@dataclass(frozen=True)
class Verdict:
    """How much of an exercise's points there are, as a name for the style sheet and a sign that needs no colour."""

    name: str
    sign: str


FULL, PARTIAL, NOTHING = Verdict("full", "✓"), Verdict("partial", "◐"), Verdict("nothing", "✗")


@dataclass(frozen=True)
class MarkView:
    """One exercise on a student's page."""

    title: str
    points: str
    verdict: Verdict
    feedback: Feedback


@dataclass(frozen=True)
class NotebookView:
    """One notebook on a student's page; without ``points`` there are no marks yet."""

    name: str
    points: str
    note: str
    is_stamped: bool
    marks: tuple[MarkView, ...]


@dataclass(frozen=True)
class ExerciseSummary:
    """How a class did in one exercise.

    Attributes:
        share: of full points, from 0 to 1.
        reasons: how often each occurred.
        failure: the commonest one, and how common.
    """

    title: str
    full: int
    partial: int
    nothing: int
    share: float
    reasons: str
    failure: str


@dataclass(frozen=True)
class Bin:
    """How many students have so many points; ``height`` is relative to the highest."""

    label: str
    count: int
    height: float


@dataclass(frozen=True)
class StudentRow:
    """One student in the table of a class; ``marks`` has a verdict, and what it means, for each exercise."""

    name: str
    page: str
    points: str
    marks: tuple[tuple[Verdict, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class NotebookSummary:
    """How a class did in one notebook."""

    name: str
    graded: int
    mean: str
    of: str
    bins: tuple[Bin, ...]
    exercises: tuple[ExerciseSummary, ...]
    students: tuple[StudentRow, ...]
    waiting: tuple[StudentRow, ...]
    stamps: tuple[tuple[str, int], ...]


def class_page(results: tuple[Result, ...]) -> bytes:
    """Return the instructor's page: exercises, reasons and all students; also while a human has yet to look at some."""
    notebooks = sorted({result.notebook for result in results})
    summaries = [_summary(name, [result for result in results if result.notebook == name]) for name in notebooks]
    return _page("class.html", title="The class", notebooks=summaries)


def student_page(student: str, of_student: tuple[Result, ...]) -> bytes:
    """Return what one student gets to read about all their notebooks."""
    notebooks = [_notebook(result) for result in of_student]
    return _page("student.html", title=f"Feedback for {student}", student=student, notebooks=notebooks)


def worth_a_look(results: tuple[Result, ...]) -> list[str]:
    """Return the students about whose results something is unusual."""
    return sorted({result.student for result in results if result.failure or _notes(result)})


def _notebook(result: Result) -> NotebookView:
    if result.points is None:
        return NotebookView(result.notebook, "", "", False, ())
    return NotebookView(
        result.notebook,
        f"{number(result.points)} of {counted_points(result.of)}",
        result.note,
        bool(result.stamps),
        tuple(MarkView(mark.title, points_of(mark), _verdict(mark), feedback_on(mark)) for mark in result.marks),
    )


def _summary(name: str, here: list[Result]) -> NotebookSummary:
    graded = [result for result in here if result.points is not None]
    totals = [result.points or 0.0 for result in graded]
    of = graded[0].of if graded else 0.0
    by_exercise: dict[str, list[Mark]] = {}
    for result in graded:
        for mark in result.marks:
            by_exercise.setdefault(mark.exercise, []).append(mark)
    return NotebookSummary(
        name=name,
        graded=len(graded),
        mean=number(sum(totals) / len(totals)) if totals else "",
        of=counted_points(of),
        bins=_bins(totals, of),
        exercises=tuple(map(_exercise, by_exercise.values())),
        students=tuple(map(_row, graded)),
        waiting=tuple(_row(result) for result in here if result.points is None),
        stamps=tuple(sorted(Counter(stamp for result in here for stamp in result.stamps).items())),
    )


def _exercise(marks: list[Mark]) -> ExerciseSummary:
    verdicts = Counter(_verdict(mark) for mark in marks)
    reasons = Counter(str(mark.reason) for mark in marks)
    failures = Counter(failure_of(mark.checks) for mark in marks if mark.reason == Reason.WRONG)
    worst, count = min(failures.items(), key=lambda item: (-item[1], item[0])) if failures else ("", 0)
    return ExerciseSummary(
        title=marks[0].title,
        full=verdicts[FULL],
        partial=verdicts[PARTIAL],
        nothing=verdicts[NOTHING],
        share=verdicts[FULL] / len(marks),
        reasons=", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items())),
        failure=f"{worst} ({count} of {failures.total()})" if worst else "",
    )


def _row(result: Result) -> StudentRow:
    return StudentRow(
        name=result.student,
        page=f"feedback/{file_name(result.student)}.html",
        points="" if result.points is None else number(result.points),
        marks=tuple((_verdict(mark), f"{mark.exercise}: {mark.reason}") for mark in result.marks),
        notes=(result.failure[:200],) if result.failure else tuple(_notes(result)),
    )


def _verdict(mark: Mark) -> Verdict:
    return FULL if mark.points >= mark.of else PARTIAL if mark.points > 0 else NOTHING


def _notes(result: Result) -> list[str]:
    """Return what is unusual about a result: how its notebook and its answers were found, and what stopped them."""
    notes = [result.note] if result.note else []
    # Of what could not be read at all, one sentence is enough.
    for mark in result.marks if result.digest else ():
        stopped = str(mark.reason) if mark.reason in UNUSUAL else ""
        unusual = "; ".join(filter(None, [stopped, mark.note]))
        notes += [f"{mark.exercise}: {unusual}"] if unusual else []
    return notes


def _bins(totals: list[float], of: float) -> tuple[Bin, ...]:
    """Return a histogram: a bin for each whole number of points, or of as many points as it takes to have few bins."""
    if not totals or of <= 0:
        return ()
    width = max(1.0, of / (MOST_BINS - 1))
    highest = int(of / width + 1e-9)
    counts = Counter(min(int(total / width + 1e-9), highest) for total in totals)
    most = max(counts.values())
    return tuple(Bin(number(k * width), counts[k], counts[k] / most) for k in range(highest + 1))


def _page(template: str, **values: object) -> bytes:
    return f"{TEMPLATES.get_template(template).render(values)}\n".encode()


def _made_printable(value: object) -> object:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=_made_printable,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.globals["counted"] = counted

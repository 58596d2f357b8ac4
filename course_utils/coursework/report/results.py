"""The results in a folder of grades, for everything that reports on them."""

from collections.abc import Iterable
from pathlib import Path

from course_utils.coursework.grade.journal import FeedbackWritten, Journal, current_round, latest
from course_utils.coursework.grade.types import Result
from course_utils.errors import CourseError


class ReportError(CourseError):
    """What should be reported on is not there, or what should be filled in is not what it should be."""


def read_results(folder: Path) -> tuple[Result, ...]:
    """Return the last result of each student and notebook, in order.

    Raises:
        JournalError: the journal cannot be read.
        ReportError: it has no results.
    """
    journal = Journal(folder)
    results = tuple(graded.result for graded in latest(journal.read()))
    if not results:
        raise ReportError(f"{journal.path} is missing, or has no results: grade something into this folder first.")
    return results


def end_round(folder: Path) -> None:
    """Note in the journal that students may now read what the current round expected, so that its seed is used no more.

    Raises:
        JournalError: the journal cannot be read or written.
    """
    journal = Journal(folder)
    current = current_round(journal.read())
    if current:
        # A batch that was killed may have left half a line behind.
        journal.repair()
        journal.append(FeedbackWritten(current.number))


def of_notebook(results: Iterable[Result], notebook: str) -> tuple[Result, ...]:
    """Return the results of the one notebook whose name begins so.

    Raises:
        ReportError: none does, or several do.
    """
    results = tuple(results)
    names = sorted({result.notebook for result in results})
    found = [name for name in names if name == notebook] or [name for name in names if name.startswith(notebook)]
    if len(found) != 1:
        problem = "No graded notebook's name begins" if not found else "Several graded notebooks' names begin"
        raise ReportError(f"{problem} with {notebook!r}; there are {', '.join(names)}.")
    return tuple(result for result in results if result.notebook == found[0])

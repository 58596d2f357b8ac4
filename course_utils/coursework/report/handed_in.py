"""What a student handed in for one exercise, for an instructor to read beside the mark; a worker opens it, nothing is run."""

from pathlib import Path

import msgspec

from course_utils.coursework.grade.jobs import Answer, OpenedFile, OpenJob, worker_environment
from course_utils.coursework.grade.pool import Workers, encode
from course_utils.coursework.grade.submissions import Place, find_places
from course_utils.coursework.grade.types import Result
from course_utils.paths import NOTEBOOKS_DIR, place_of

SECONDS_TO_OPEN = 120.0
MOST_LINES = 400


def handed_in(submissions: Path, result: Result, exercise: str) -> list[str]:
    """Return lines that say which files are the student's, and show the answer and the student's own cells around it.

    Raises:
        NotebookError: ``submissions`` is no folder of submissions.
    """
    place = next((place for place in find_places(submissions) if place.student == result.student), None)
    if place is None:
        return [f"Of {result.student} there is nothing in {submissions}."]
    lines = [f"Handed in: {', '.join(map(str, place.files))}"]
    opened = _open(place, NOTEBOOKS_DIR / place_of(result.notebook))
    if opened is None or opened.submitted is None:
        return [*lines, opened.unreadable or "There is no such notebook." if opened else "It could not be opened."]
    is_graded = opened.digest == result.digest
    lines.append("What was graded:" if is_graded else "Handed in since, and not graded yet (grade with --resume):")
    cells = [cell for cell in opened.submitted.cells if not cell.given and cell.answers in ("", exercise)]
    for cell in cells:
        kind = "the answer" if cell.answers else "a cell of the student's own"
        lines += ["", f"# {kind}", *cell.source.splitlines()]
    shown = lines[:MOST_LINES]
    return [*shown, "…"] if len(lines) > len(shown) else shown if cells else [*shown, "(no answer)"]


def _open(place: Place, source: Path) -> OpenedFile | None:
    workers = Workers(worker_environment())
    try:
        line = workers.ask(encode(OpenJob(place, (str(source),))), SECONDS_TO_OPEN)
    finally:
        workers.close()
    return msgspec.json.decode(line, type=Answer).notebooks.get(source.name) if line else None

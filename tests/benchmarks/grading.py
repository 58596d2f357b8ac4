"""Submissions a minute: the exercises of notebook 02, by ``course grade`` and by nbgrader's autograde, and what each part costs.

The notebook holds the exercises and their setup only, so that both graders run the same cells, and each submission has
answers of its own: the reference's, wrong ones and stubs, by a fixed draw.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np

from course_utils.coursework.grade.answers import Given, plans, read_submitted
from course_utils.coursework.grade.batch import grade_class
from course_utils.coursework.grade.key import make_key, stripped_checks
from course_utils.coursework.report.results import read_results
from course_utils.coursework.run.isolation import find_isolation
from course_utils.coursework.run.kernels import find_kernels
from course_utils.coursework.run.limits import Limits
from course_utils.coursework.run.runner import run as run_programs
from course_utils.coursework.source.notebooks import (
    exercises,
    is_setup,
    read_notebook,
    student_copy,
    write_notebook,
)
from course_utils.paths import NOTEBOOKS_DIR
from tests.nbgrader import install
from tests.test_notebooks import wrong_answers

NAME = "02_simple_monte_carlo.ipynb"


def run(class_size: int = 60, nbgrader_size: int = 12) -> list[tuple[str, str, str]]:
    """Return the rows of the table: what, measured, and how it compares.

    nbgrader grades one submission after the other and is far slower, so it gets the first few of the class.
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        source_dir, submissions = Path(folder, "notebooks"), Path(folder, "submissions")
        assignment = _assignment()
        source_dir.mkdir()
        write_notebook(assignment, source_dir / NAME)
        for number, notebook in enumerate(_class(assignment, class_size)):
            (submissions / f"student{number:02}").mkdir(parents=True)
            write_notebook(notebook, submissions / f"student{number:02}" / NAME)
        rows = _parts(source_dir / NAME, sorted(submissions.rglob("*.ipynb"))[:6], Path(folder, "cache"))
        grades = Path(folder, "grades")
        ours = _per_minute(lambda: grade_class(submissions, grades, source_dir=source_dir, progress=False), class_size)
        assert len(read_results(grades)) == class_size and not any(each.failure for each in read_results(grades))
        few = sorted(submissions.rglob("*.ipynb"))[:nbgrader_size]
        theirs = _autograde(Path(folder), assignment, few)
    return [
        *rows,
        (f"course grade, {class_size} submissions", f"{ours:.1f} /min", f"{ours / theirs:.2f} x nbgrader"),
        (f"nbgrader autograde, {nbgrader_size} of them", f"{theirs:.1f} /min", "1.00 x"),
    ]


def _parts(source: Path, few: list[Path], cache: Path) -> list[tuple[str, str, str]]:
    """Return what each part of a submission's grading takes in one worker, in seconds."""
    seconds: dict[str, list[float]] = {}

    def timed(what: str, do: Callable[[], object]) -> object:
        start = time.perf_counter()
        result = do()
        seconds.setdefault(what, []).append(time.perf_counter() - start)
        return result

    given, limits = Given(read_notebook(source)), Limits()
    trusted, walled = find_kernels(None, fill_cache=True), find_kernels(find_isolation(), readable=[cache.parent])
    cache.mkdir()
    try:
        timed("the answer key, once for a class", lambda: make_key(source, "seed", trusted, cache))
        timed("a worker's parent of kernels, once", lambda: walled.open_room(limits).close())
        for path in few:
            room = timed("a room", lambda: walled.open_room(limits))
            timed("a kernel in it", lambda room=room: room.start_kernel({}, fresh=False).stop())
            room.close()
            submitted = timed("reading the notebook", lambda path=path: read_submitted(path.read_bytes(), given))
            todo = [plan.program for plan in plans(submitted, given, stripped_checks(given)) if plan.program]
            timed("all exercises, cached", lambda todo=todo: run_programs(todo, "seed", limits, walled, cache=cache))
            timed("all exercises, no cache", lambda todo=todo: run_programs(todo, "seed", limits, walled))
    finally:
        trusted.close()
        walled.close()
    whole = statistics.median(seconds["all exercises, no cache"])
    rows = []
    for what, values in seconds.items():
        median = statistics.median(values)
        rows.append((f"grading: {what}", f"{median:.3f} s", f"{median / whole:.2f} of a submission without cache"))
    return rows


def _assignment() -> nbformat.NotebookNode:
    source = read_notebook(NOTEBOOKS_DIR / NAME)
    source.cells = [
        cell for cell in source.cells if cell.cell_type == "code" and (is_setup(cell) or "nbgrader" in cell.metadata)
    ]
    return source


def _class(assignment: nbformat.NotebookNode, size: int) -> list[nbformat.NotebookNode]:
    rng, wrong = np.random.default_rng(0), wrong_answers(NOTEBOOKS_DIR / NAME)
    handed_in = []
    for number in range(size):
        notebook = student_copy(assignment)
        for exercise, answered in zip(exercises(assignment), exercises(notebook)):
            answers = [
                answered.answer.source,
                *[exercise.answer.source] * 6,
                *(source for _, source in wrong[exercise.name][:3]),
            ]
            answered.answer.source = f"# of student {number}\n{rng.choice(answers)}"
        handed_in.append(notebook)
    return handed_in


def _per_minute(work: Callable[[], object], number: int) -> float:
    start = time.perf_counter()
    work()
    return 60 * number / (time.perf_counter() - start)


def _autograde(folder: Path, assignment: nbformat.NotebookNode, submissions: list[Path]) -> float:
    course = folder / "course"
    course.mkdir()
    nbgrader = install(folder / "nbgrader", course)
    write_notebook(assignment, course / "source" / "vi" / NAME)
    made = nbgrader("generate_assignment", "vi", "--create", "--force")
    assert made.returncode == 0, made.stderr[-2000:]
    for path in submissions:
        place = course / "submitted" / path.parent.name / "vi"
        place.mkdir(parents=True)
        (place / NAME).write_bytes(path.read_bytes())
    rate = _per_minute(lambda: nbgrader("autograde", "vi", "--create"), len(submissions))
    graded = len(list((course / "autograded").rglob("*.ipynb")))
    assert graded == len(submissions), f"nbgrader graded {graded} of {len(submissions)}"
    return rate

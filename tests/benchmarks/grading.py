"""Submissions a minute: the exercises of notebook 02, by one process each, by ``course grade``, and by nbgrader's autograde.

The notebook holds the exercises and their setup only, so that both graders run the same cells, and each submission has
answers of its own: the reference's, wrong ones and stubs, by a fixed draw.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import nbformat
import numpy as np

from course_utils.coursework import sandbox
from course_utils.coursework.batch import Journal, grade_class, results
from course_utils.coursework.grading import grade, make_reference
from course_utils.coursework.grading_copy import grading_copy
from course_utils.coursework.notebooks import (
    NOTEBOOKS_DIR,
    exercises,
    read_notebook,
    student_copy,
    write_notebook,
)
from course_utils.coursework.sandbox import Limits, find_sandbox
from tests.nbgrader import install
from tests.test_notebooks import wrong_answers

NAME = "02_simple_monte_carlo.ipynb"


def run(class_size: int = 60, sample: int = 6) -> list[tuple[str, str, str]]:
    """Return the rows of the table: what, measured, and how it compares with one bare process for each submission."""
    with tempfile.TemporaryDirectory() as folder:
        source_dir, submissions = Path(folder, "notebooks"), Path(folder, "submissions")
        assignment = _assignment()
        source_dir.mkdir()
        write_notebook(assignment, source_dir / NAME)
        for number, notebook in enumerate(_class(assignment, class_size)):
            (submissions / f"student{number:02}").mkdir(parents=True)
            write_notebook(notebook, submissions / f"student{number:02}" / NAME)
        few = [path.read_bytes() for path in sorted(submissions.rglob("*.ipynb"))[:sample]]
        cache = Path(folder, "cache")
        cache.mkdir()
        for path in (Path(folder), cache):
            path.chmod(0o755)
        reference = make_reference(source_dir / NAME, "seed", cache)

        def one_by_one(cache: Path | None) -> None:
            for content in few:
                grade(content, reference, Limits(), sandbox=find_sandbox(), cache=cache)

        set_environment = sandbox._set
        no_bytecode = mock.patch.object(sandbox, "_set", lambda given: set_environment(given | {"PYTHONPYCACHEPREFIX": "/tmp/none"}))
        with no_bytecode:
            bare = _per_minute(lambda: one_by_one(None), sample)
        bytecode = _per_minute(lambda: one_by_one(None), sample)
        cached = _per_minute(lambda: one_by_one(cache), sample)
        grades = Path(folder, "grades")
        ours = _per_minute(lambda: grade_class(submissions, grades, source_dir=source_dir, progress=False), class_size)
        assert sum("exercises" in result for result in results(Journal(grades).read())) == class_size
        theirs = _autograde(Path(folder), assignment, submissions, class_size)
    return [
        ("grading, one process each, nothing precompiled", f"{bare:.1f} /min", "1.00 x"),
        ("the same with precompiled bytecode", f"{bytecode:.1f} /min", f"{bytecode / bare:.2f} x"),
        ("and JAX's cache, filled by the reference", f"{cached:.1f} /min", f"{cached / bare:.2f} x"),
        (f"course grade, {class_size} submissions", f"{ours:.1f} /min", f"{ours / bare:.2f} x"),
        (f"nbgrader autograde, the same {class_size}", f"{theirs:.1f} /min", f"course grade is {ours / theirs:.2f} x as fast"),
    ]


def _assignment() -> nbformat.NotebookNode:
    source = read_notebook(NOTEBOOKS_DIR / NAME)
    needed = {cell.id for cell in grading_copy(source, {}).cells}
    source.cells = [cell for cell in source.cells if cell.id in needed]
    return source


def _class(assignment: nbformat.NotebookNode, size: int) -> list[nbformat.NotebookNode]:
    rng, wrong = np.random.default_rng(0), wrong_answers(NOTEBOOKS_DIR / NAME)
    handed_in = []
    for number in range(size):
        notebook = student_copy(assignment)
        for exercise, answered in zip(exercises(assignment), exercises(notebook)):
            answers = [answered.answer.source, *[exercise.answer.source] * 6, *(source for _, source in wrong[exercise.name][:3])]
            answered.answer.source = f"# of student {number}\n{rng.choice(answers)}"
        handed_in.append(notebook)
    return handed_in


def _per_minute(work: Callable[[], object], number: int) -> float:
    start = time.perf_counter()
    work()
    return 60 * number / (time.perf_counter() - start)


def _autograde(folder: Path, assignment: nbformat.NotebookNode, submissions: Path, size: int) -> float:
    course = folder / "course"
    course.mkdir()
    nbgrader = install(folder / "nbgrader", course)
    write_notebook(assignment, course / "source" / "vi" / NAME)
    made = nbgrader("generate_assignment", "vi", "--create", "--force")
    assert made.returncode == 0, made.stderr[-2000:]
    for path in submissions.rglob("*.ipynb"):
        place = course / "submitted" / path.parent.name / "vi"
        place.mkdir(parents=True)
        (place / NAME).write_bytes(path.read_bytes())
    rate = _per_minute(lambda: nbgrader("autograde", "vi", "--create"), size)
    graded = len(list((course / "autograded").rglob("*.ipynb")))
    assert graded == size, f"nbgrader graded {graded} of {size}"
    return rate

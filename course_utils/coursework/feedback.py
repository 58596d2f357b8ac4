"""Run the exercises of a notebook with nbval and tell, exercise by exercise, how the answers compare."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from course_utils.coursework import checks
from course_utils.coursework.answers import read_answers
from course_utils.coursework.comparison import agree
from course_utils.coursework.grading_copy import set_apart
from course_utils.coursework.notebooks import (
    NOTEBOOKS_DIR,
    Exercise,
    NotebookError,
    exercises,
    read_notebook,
    source_notebooks,
    with_answers,
    write_notebook,
)
from course_utils.coursework.sandbox import cache_environment


@dataclass(frozen=True)
class Result:
    """How the answer to one exercise compares with the reference: ``right``, ``wrong``, ``error`` or ``not attempted``."""

    exercise: Exercise
    status: str
    hint: str


ONLY_ANSWERS_RUN = (
    "An answer is run with the imports and functions that stand above it, and with variables from cells that you added or "
    "changed yourself; it cannot use variables of the text's own cells."
)


def check_submission(path: Path, source_dir: Path = NOTEBOOKS_DIR) -> list[Result]:
    """Run the answers in the student's notebook at ``path`` against the source notebook of the same name.

    Raises:
        NotebookError: the file is no notebook, or not one of the course.
    """
    # Says in a sentence with the file's name what is no notebook; the answers in it are then found as the grader finds them.
    read_notebook(path)
    name = path.name.removesuffix(".ipynb").partition(".update-")[0] + ".ipynb"
    if not (source_dir / name).is_file():
        known = ", ".join(source.name for source in source_notebooks(source_dir))
        raise NotebookError(f"{path} is not a notebook of the course: its name must be one of {known}.")
    reference = read_notebook(source_dir / name)
    answers = read_answers(path.read_bytes(), reference).sources
    notebook = with_answers(reference, answers)
    set_apart(notebook, reference)
    # A repository made for students has no solutions, so no values to compare with: there the visible checks decide.
    is_released = all(exercise.check.execution_count is None for exercise in exercises(reference))
    for cell in notebook.cells if is_released else []:
        cell.execution_count = 1
    report = run_with_nbval(notebook, explained=True)
    for entry in report.values() if is_released else []:
        records = entry.get("checks", [])
        entry["passed"] = entry.get("passed") or all(record["status"] == checks.RIGHT for record in records) and bool(records)
    return [result(exercise, report, exercise.name in answers) for exercise in exercises(reference)]


def run_with_nbval(
    notebook: NotebookNode, seed: str | None = None, *, explained: bool = False, cache: Path | None = None
) -> dict[str, Any]:
    """Run ``notebook`` and compare the values of its checks with the stored ones.

    Args:
        notebook: what :func:`with_answers` returns, or several of these in a row.
        seed: what the checks draw their inputs from; without it they use the public one.
        explained: whether the checks' records say what is expected, and their authors' hints.
        cache: a folder with JAX's compilation cache, which is not written to.

    Returns:
        For each cell id a dictionary with ``passed``, ``message``, and ``checks``: the records that ``check`` emitted.

    Raises:
        NotebookError: nbval itself could not run the notebook.
    """
    environment = {name: value for name, value in os.environ.items() if name != checks.SEED_VARIABLE}
    if seed is not None:
        environment[checks.SEED_VARIABLE] = seed
    if explained:
        environment[checks.REFERENCE_VARIABLE] = "1"
    if cache:
        environment |= cache_environment(cache, fill=False)
    with tempfile.TemporaryDirectory(prefix="course-check-") as folder:
        answers, report = Path(folder, "answers.ipynb"), Path(folder, "report.json")
        write_notebook(notebook, answers)
        # Keeps pytest from looking for settings in the folders above.
        Path(folder, "pytest.ini").write_text("[pytest]\n")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "course_utils.coursework.nbval_plugin"]
        command += ["-p", "no:cacheprovider", f"--check-report={report}", str(answers)]
        finished = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
        if not report.is_file():
            last = (finished.stderr or finished.stdout).strip().splitlines()[-1:] or ["it said nothing"]
            raise NotebookError(f"nbval could not run the checks ({last[0]}); try again, and report it if it stays so.")
        return json.loads(report.read_text(encoding="utf-8"))


def result(exercise: Exercise, report: dict[str, Any], is_answered: bool = True) -> Result:
    """Return how one exercise went, from what :func:`run_with_nbval` reports."""
    cell = report.get(exercise.check.id, {})
    records = cell.get("checks", [])
    if cell.get("passed") and records:
        return Result(exercise, checks.RIGHT, "")
    if not is_answered:
        return Result(exercise, checks.NOT_ATTEMPTED, "The answer cell is missing from your notebook.")
    answer = report.get(exercise.answer.id, {})
    if not answer.get("passed"):
        message = answer.get("message", "it was not reached")
        return Result(exercise, checks.ERROR, f"Your answer cell does not run: {_with_advice(message)}")
    for status in (checks.ERROR, checks.WRONG):
        for record in records:
            if record["status"] == status:
                return Result(exercise, status, f"{record['name']}: {_with_advice(record['explanation'])}")
    if any(record["status"] == checks.NOT_ATTEMPTED for record in records):
        return Result(exercise, checks.NOT_ATTEMPTED, "")
    if not records:
        return Result(exercise, checks.ERROR, f"The check could not be run on your answer: {cell.get('message', '')}")
    return Result(exercise, checks.WRONG, f"The visible checks pass, but a check with other inputs does not. {_hint(exercise, records)}".strip())


def _hint(exercise: Exercise, records: list[dict[str, Any]]) -> str:
    """Return the hint of the first check that gives other values than the reference did."""
    stored = [output.data[checks.MIME] for output in exercise.check.outputs if checks.MIME in output.get("data", {})]
    expected = {record["name"]: record["values"] for record in stored}
    failed = (each for each in records if not agree(expected.get(each["name"]), each["values"], exercise.tolerance))
    return next((each["hint"] for each in failed if each.get("hint")), "")


def _with_advice(message: str) -> str:
    return f"{message} {ONLY_ANSWERS_RUN}" if "NameError" in message else message

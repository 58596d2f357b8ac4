"""``course check``: run the answers in a student's notebook as a grader runs them, and judge them by the same judge."""

import itertools
from collections.abc import Callable
from pathlib import Path

from course_utils.coursework.grade.answers import Given, Plan, UnreadableError, plans, read_submitted
from course_utils.coursework.grade.judge import judge
from course_utils.coursework.grade.stripping import visible_and_hidden
from course_utils.coursework.grade.submissions import is_called
from course_utils.coursework.grade.types import ExpectedCheck, ExpectedExercise, Mark, Reason
from course_utils.coursework.run.kernels import Kernels, find_kernels
from course_utils.coursework.run.limits import Limits
from course_utils.coursework.run.program import Outcome
from course_utils.coursework.run.records import MIME, Record, Values, parse_record
from course_utils.coursework.run.runner import run
from course_utils.coursework.source.notebooks import (
    Exercise,
    NotebookError,
    read_notebook,
    source_notebooks,
)
from course_utils.paths import NOTEBOOKS_DIR

# What a student's own machine may be busy with is not known.
LIMITS = Limits(seconds_per_cell=60.0)
JAX_CACHE = ".jax-cache"
NOTHING = Values((0,), ())


def check_notebook(
    path: Path,
    source_dir: Path = NOTEBOOKS_DIR,
    *,
    kernels: Kernels | None = None,
    cache: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> list[Mark]:
    """Return the marks for the answers in the student's notebook at ``path``, whose source is known by its name.

    Where there are no solutions, in a repository that was made for students, the visible checks decide.

    Args:
        kernels: where the answers are run; by default in processes of this machine, without walls.
        cache: a folder with JAX's compilation cache; by default the one that `course lab` keeps beside the notebook.
        progress: is called with how many exercises have been run, and of how many, before the first and after each.

    Raises:
        NotebookError: the file is no notebook, or not one of the course.
    """
    given = Given(read_notebook(find_source(path, source_dir)))
    try:
        submitted = read_submitted(path.read_bytes(), given)
    except UnreadableError as error:
        raise NotebookError(f"{path}: {error}") from None
    except OSError as error:
        raise NotebookError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from None
    todo = plans(submitted, given, {each.name: each.check.source for each in given.exercises})
    programs = [plan.program for plan in todo if plan.program]
    folder = path.parent.resolve()
    own = kernels or find_kernels(None, imports=given.imports, folder=folder, fill_cache=True)
    if cache is None and (folder / JAX_CACHE).is_dir():
        cache = folder / JAX_CACHE
    count = itertools.count(1)
    progress(0, len(programs))
    try:
        outcomes = (
            run(
                programs,
                None,
                LIMITS,
                own,
                explained=True,
                cache=cache,
                progress=lambda _: progress(next(count), len(programs)),
            )
            if programs
            else {}
        )
    finally:
        if kernels is None:
            own.close()
    return [_mark(plan, outcomes.get(plan.exercise.name), submitted, given) for plan in todo]


def find_source(path: Path, source_dir: Path = NOTEBOOKS_DIR) -> Path:
    """Return the source of the student's notebook at ``path``.

    Raises:
        NotebookError: there is none of its name.
    """
    known = source_notebooks(source_dir)
    for source in known:
        if is_called(path.name, source.name):
            return source
    names = ", ".join(source.name for source in known)
    raise NotebookError(f"{path} is not a notebook of the course: its name must be one of {names}.")


def advice(mark: Mark) -> str:
    """Return what a student is told of their own answer on their own machine: also what it said itself."""
    failed = [check for check in mark.checks if not check.passed]
    lines = [mark.note] if mark.note else []
    if mark.reason == Reason.ERROR:
        lines += mark.said[:1]
    elif failed and all(check.passed for check in mark.checks if check.visible):
        lines.append(f"The visible checks pass, but one with other inputs does not: {failed[0].name}. {failed[0].hint}")
    elif failed and mark.reason == Reason.WRONG:
        lines.append(f"{failed[0].name}: {failed[0].hint}")
    return " ".join(line.rstrip(".") + "." for line in lines if line.strip())


def _mark(plan: Plan, outcome: Outcome | None, submitted, given: Given) -> Mark:
    records = outcome.records.get(plan.exercise.check.id, ()) if outcome else ()
    return judge(plan, outcome, expected_of(plan.exercise, records), submitted, given, LIMITS)


def expected_of(exercise: Exercise, records: tuple[Record, ...]) -> ExpectedExercise:
    """Return what is expected of an answer: the values that the source notebook stores, or else what the checks say."""
    visible, _ = visible_and_hidden(exercise.check.source)
    stored = _stored_records(exercise)
    said: dict[str, Record] = {}
    for record in records:
        said.setdefault(record.name, record)
    # Without stored values nothing is known of a check that does not say what is true.
    tell = [name for name, record in said.items() if record.expected and record.expected.truth]
    checks = []
    for name in [*stored] or tell or ["the check"]:
        own, known = said.get(name), stored.get(name)
        declared = own.expected if own and own.expected else None
        truth = declared.truth if declared else None
        checks.append(
            ExpectedCheck(
                name,
                visible=name in visible or not stored,
                values=(known and known.values) or truth or NOTHING,
                rtol=declared.rtol if declared else 0.0,
                atol=declared.atol if declared else 0.0,
                truth=truth,
                standard_error=declared.standard_error if declared else None,
                mistakes=declared.mistakes if declared else {},
                hint=own.hint if own else "",
            )
        )
    return ExpectedExercise(exercise.name, exercise.title, exercise.points, tuple(checks))


def _stored_records(exercise: Exercise) -> dict[str, Record]:
    found = [parse_record(output.data[MIME]) for output in exercise.check.outputs if MIME in output.get("data", {})]
    return {record.name: record for record in found if record}

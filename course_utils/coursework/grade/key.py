"""The answer key: what the reference solutions give for a seed, computed once by running them as answers are run."""

import ast
from pathlib import Path

import msgspec
from nbformat import NotebookNode

from course_utils.coursework.grade.answers import Given, Plan, explained_step, plans, read_submitted
from course_utils.coursework.grade.judge import agrees
from course_utils.coursework.grade.stripping import visible_and_hidden, without_truth
from course_utils.coursework.grade.types import AnswerKey, ExpectedCheck, ExpectedExercise
from course_utils.coursework.run.limits import Limits
from course_utils.coursework.run.program import Ended, Outcome, Program
from course_utils.coursework.run.records import Record
from course_utils.coursework.run.runner import Kernels, run
from course_utils.coursework.source.notebooks import (
    SOLUTION,
    Exercise,
    NotebookError,
    digest_of_source,
    notebook_bytes,
    read_notebook,
)

EXPLAINED, HIDDEN = "-explained", "-hidden"
REFERENCE_LIMITS = Limits(seconds_per_cell=120)
# What JAX calls a compiled program that somebody's function without a name of its own is a part of.
MADE_OF_FUNCTIONS = {"_lambda", "_lambda_", "<lambda>", "_unnamed_function", "scan", "while", "cond", "_piecewise"}


def stripped_checks(given: Given) -> dict[str, str]:
    """Return, for each exercise, the source of its check as a stranger's process may see it."""
    return {each.name: without_truth(each.check.source, each.check.id) for each in given.exercises}


def reference_plans(source: NotebookNode, given: Given, checks: dict[str, str]) -> list[Plan]:
    """Return what runs the reference solutions, handed in like any other."""
    return plans(read_submitted(notebook_bytes(source), given), given, checks)


def make_key(
    path: Path, seed: str, kernels: Kernels, cache: Path | None = None, chosen: slice = slice(None)
) -> AnswerKey:
    """Return the answer key of the notebook at ``path`` for ``seed``, or of its ``chosen`` exercises alone.

    ``cache`` is a folder to fill with what JAX compiles; of the answers themselves nothing is left in it.

    Raises:
        NotebookError: the reference does not pass its own checks, or gives other values when the truth is left out.
    """
    source = read_notebook(path)
    given = Given(source)
    outcomes = run(key_programs(path, source, given)[chosen], seed, REFERENCE_LIMITS, kernels, cache=cache)
    if cache:
        forget_answers(cache, source)
    return key_of(path.name, source, given, seed, outcomes, chosen)


def key_programs(path: Path, source: NotebookNode, given: Given) -> list[Program]:
    """Return what runs each reference solution with its check twice: as graded, and then as it stands in the source.

    Raises:
        NotebookError: there are no solutions in it.
    """
    if given.exercises and not any(SOLUTION.search(each.answer.source) for each in given.exercises):
        raise NotebookError(
            f"{path} holds no solutions: it is a student's copy. Grade in the repository that it was released from."
        )
    return [_with_explanations(plan, given) for plan in reference_plans(source, given, stripped_checks(given))]


def key_of(
    name: str,
    source: NotebookNode,
    given: Given,
    seed: str,
    outcomes: dict[str, Outcome],
    chosen: slice = slice(None),
) -> AnswerKey:
    """Return the answer key of the notebook ``name``, from what was heard of its ``chosen`` :func:`key_programs`.

    Raises:
        NotebookError: as :func:`make_key` does.
    """
    exercises = tuple(_expected(exercise, outcomes[exercise.name], name) for exercise in given.exercises[chosen])
    return AnswerKey(name, digest_of_source(source), seed, exercises)


def _with_explanations(plan: Plan, given: Given) -> Program:
    exercise, asked = plan.exercise, given.asked[plan.exercise.name]
    visible, hidden = visible_and_hidden(exercise.check.source)
    # What the visible part defines, the hidden one uses: so it is run again, and what it says is passed over.
    steps = [explained_step(exercise, visible, asked, exercise.check.id + EXPLAINED)]
    if hidden:
        steps.append(explained_step(exercise, f"{visible}\n{hidden}", asked, exercise.check.id + HIDDEN))
    return msgspec.structs.replace(plan.program, steps=(*plan.program.steps, *steps))


def _expected(exercise: Exercise, found: Outcome, notebook: str) -> ExpectedExercise:
    check, where = exercise.check.id, f"{notebook}: the reference solution of {exercise.name}"
    records = found.records.get(check, ())
    visible = found.records.get(check + EXPLAINED, ())
    every = found.records.get(check + HIDDEN, visible)
    if not len(records) == len(every) > 0 or found.ended != Ended.FINISHED:
        errors = "; ".join(found.errors.values())[-300:]
        raise NotebookError(
            f"{where} does not get through its checks ({len(records)} of {len(every)} spoke; {found.ended}): "
            f"run `course release --check`. {errors}"
        )
    checks = []
    for number, (record, full) in enumerate(zip(records, every, strict=True)):
        expected = _expected_check(full, visible=number < len(visible), where=where)
        if record.name != full.name or record.values is None or not agrees(expected, record.values):
            raise NotebookError(
                f"{notebook}: the check {full.name!r} of {exercise.name} gives other values when the truth is left out, or "
                f"none: draw what an explanation needs after, or apart from, what a check needs. {record.explanation}"
            )
        # The values are those of the run that is like a student's.
        checks.append(msgspec.structs.replace(expected, values=record.values))
    return ExpectedExercise(exercise.name, exercise.title, exercise.points, tuple(checks))


def _expected_check(record: Record, *, visible: bool, where: str) -> ExpectedCheck:
    if record.values is None or record.expected is None:
        raise NotebookError(f"{where} does not get through the check {record.name!r}: {record.explanation}")
    expected = ExpectedCheck(
        record.name,
        visible,
        record.values,
        record.expected.rtol,
        record.expected.atol,
        record.expected.truth,
        record.expected.standard_error,
        record.expected.mistakes,
        record.hint,
    )
    if not agrees(expected, record.values):
        raise NotebookError(f"{where} does not pass the check {record.name!r}: {record.explanation}")
    return expected


def forget_answers(cache: Path, source: NotebookNode) -> None:
    """Delete what JAX compiled of functions that cells define: a stranger must not find a solution, compiled or not."""
    made = set(MADE_OF_FUNCTIONS)
    for cell in source.cells:
        if cell.cell_type == "code":
            made |= {node.name for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.FunctionDef)}
    for entry in cache.iterdir():
        name = entry.name.removeprefix("jit_").rsplit("-", 2)[0]
        if name in made:
            # A worker that makes another part of the key forgets in the same folder.
            entry.unlink(missing_ok=True)

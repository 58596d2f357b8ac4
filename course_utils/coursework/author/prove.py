"""Prove, before a release, that the exercises of a source notebook are fit to be graded."""

import ast
import contextlib
import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import nbformat
from nbformat import NotebookNode

from course_utils.coursework.grade.answers import Given
from course_utils.coursework.grade.judge import agrees
from course_utils.coursework.grade.key import REFERENCE_LIMITS, key_of, key_programs
from course_utils.coursework.grade.types import ExpectedCheck
from course_utils.coursework.run.kernels import Kernels, find_kernels
from course_utils.coursework.run.program import Outcome, Program, Step
from course_utils.coursework.run.records import Values
from course_utils.coursework.run.runner import SEED_VARIABLE, run
from course_utils.coursework.source.names import defined, names_of, used
from course_utils.coursework.source.notebooks import (
    SOLUTION,
    NotebookError,
    exercises,
    is_setup,
    read_notebook,
    student_copy,
)
from course_utils.coursework.source.solutions import solution_of

SEEDS = SEED, *_ = "first seed", "other seed 0", "other seed 1", "other seed 2"
MIN_DECISIONS = 20
STUB = "stub"


def prove(path: Path, kernels: Kernels, cache: Path) -> list[str]:
    """Return what is wrong with the exercises of one source notebook, a sentence each; nothing if they can be graded.

    For each exercise one process runs the check of the stub, then of the reference: twice with one seed, once with some others.

    Args:
        kernels: without walls, for what runs is trusted.
        cache: an existing folder with JAX's compilation cache.
    """
    source = read_notebook(path)
    given = Given(source)
    wrong = _left_of_solutions(source, path.name) + _leaning_on_others(source)
    try:
        programs = [_in_rounds(program, given) for program in key_programs(path, source, given)]
        outcomes = run(programs, SEED, REFERENCE_LIMITS, kernels, cache=cache)
        key = key_of(path.name, source, given, SEED, outcomes)
    except NotebookError as error:
        return [*wrong, str(error)]
    for expected in key.exercises:
        found = outcomes[expected.name]
        names = [check.name for check in expected.checks]
        if len(set(names)) < len(names):
            wrong.append(f"{expected.name}: two of its checks have the same name.")
        if all(check.visible for check in expected.checks):
            wrong.append(f"{expected.name}: it has no hidden check.")
        for check in expected.checks:
            wrong += [f"{expected.name}: {check.name!r} {problem}" for problem in _problems(check, found)]
    return wrong


def prove_all(paths: list[Path]) -> Iterator[tuple[Path, list[str]]]:
    """Yield each of the source notebooks with what :func:`prove` finds wrong with it."""
    if not paths:
        return
    with (
        contextlib.closing(find_kernels(None, fill_cache=True)) as kernels,
        tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True) as cache,
    ):
        for path in paths:
            yield path, prove(path, kernels, Path(cache))


def _problems(check: ExpectedCheck, found: Outcome) -> Iterator[str]:
    """Yield what is wrong with one check, given what it said with several seeds and of a stub."""
    again, *others = (_values(check.name, found, seed) for seed in SEEDS)
    if again is None or not _same(check, check.values, again):
        yield "gives other values when it is run again with the same seed."
    # What is nearly the same for any seed could be guessed, or learned by heart.
    pairs = itertools.combinations([check.values, *others], 2)
    if any(one is None or other is None or _same(check, one, other) for one, other in pairs):
        yield "gives the same values with another seed, or none."
    if set(check.values.flat) <= {0.0, 1.0} and len(check.values.flat) < MIN_DECISIONS:
        yield f"is only a verdict, not a value, nor at least {MIN_DECISIONS} decisions."
    if "nan" in check.values.flat:
        yield "is nan for the reference."
    if _values(check.name, found, STUB) is not None:
        yield "has a value although nothing was answered."


def _same(check: ExpectedCheck, one: Values, other: Values) -> bool:
    """Return whether a check would take one value for another."""
    return agrees(msgspec.structs.replace(check, values=one, truth=None, standard_error=None), other)


def _values(name: str, outcome: Outcome, seed: str) -> Values | None:
    for cell, records in outcome.records.items():
        if cell.endswith(f"/{seed}"):
            for record in records:
                if record.name == name and record.status != "not attempted":
                    return record.values
    return None


def _in_rounds(program: Program, given: Given) -> Program:
    """Return a reference's program with the stub and its check in front of the answer, and the check for other seeds at the end."""
    (exercise,) = (each for each in given.exercises if each.name == program.exercise)
    check = next(step for step in program.steps if step.cell == exercise.check.id)
    stub = Step("stub", given.stubs[exercise.answer.id], author="student")
    first = next(i for i, step in enumerate(program.steps) if step.author == "student")
    seeded = [_in_round(check, seed, f"import os\nos.environ[{SEED_VARIABLE!r}] = {seed!r}\n") for seed in SEEDS]
    steps = (*program.steps[:first], stub, _in_round(check, STUB), *program.steps[first:], *seeded)
    return msgspec.structs.replace(program, steps=steps)


def _in_round(check: Step, name: str, before: str = "") -> Step:
    return msgspec.structs.replace(check, cell=f"{check.cell}/{name}", source=before + check.source)


def _leaning_on_others(source: NotebookNode) -> list[str]:
    """Say which exercises cannot be solved without the answer to another one, whose points would then count twice."""
    todo, found = exercises(source), []
    brought = {exercise.name: names_of(defined, exercise.answer.source) for exercise in todo}
    setup = "\n".join(cell.source for cell in source.cells if is_setup(cell))
    for exercise in todo:
        own = brought[exercise.name] | names_of(defined, f"{setup}\n{exercise.check.source}")
        needed = names_of(used, f"{exercise.answer.source}\n{exercise.check.source}") - own
        for name in sorted(needed & set().union(*brought.values())):
            found.append(f"{exercise.name}: it uses {name!r} of another exercise's answer; define it in a setup cell.")
    return found


def prove_solutions(student: NotebookNode, source: NotebookNode, name: str) -> list[str]:
    """Return what is wrong with a student's copy that holds the solutions, hidden in its metadata; nothing if all is well."""
    found = []
    for exercise in exercises(source):
        solution = solution_of(student, exercise.name)
        if not solution or ast.dump(ast.parse(solution)) != ast.dump(ast.parse(exercise.answer.source)):
            found.append(f"{exercise.name}: what the copy of {name} holds is not its solution.")
    if student.metadata.get("course", {}).get("solutions") != "folded":
        found.append(f"{name}: the student's copy does not say that it holds solutions.")
    return found + _read_by_accident(student, source, name)


def _left_of_solutions(source: NotebookNode, name: str) -> list[str]:
    """Look for lines of a solution anywhere in what a student gets of this notebook."""
    found = _read_by_accident(student_copy(source), source, name)
    if any(cell.get("attachments") for cell in source.cells):
        found.append(f"{name}: it has attachments, which nobody looks into; draw pictures instead.")
    return found


def _read_by_accident(student: NotebookNode, source: NotebookNode, name: str) -> list[str]:
    """Look for lines of a solution that can be read in the student's copy."""
    text = nbformat.writes(student)
    found = []
    for marker in ("SOLUTION", "HIDDEN TESTS"):
        if marker in text:
            found.append(f"{name}: the student's copy has a marker of {marker.lower()} in it.")
    for exercise in exercises(source):
        match = SOLUTION.search(exercise.answer.source)
        if not match:
            found.append(f"{exercise.name}: its answer cell marks no solution.")
            continue
        for line in (line.strip() for line in match.group().splitlines()[1:-1]):
            if len(line) > 20 and json.dumps(line)[1:-1] in text:
                found.append(f"{exercise.name}: the line {line!r} of the solution is in the student's copy.")
    return found

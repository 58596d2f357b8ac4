"""Make the repository that students get, and prove beforehand that its exercises are fit to be graded."""

import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_utils.coursework import checks
from course_utils.coursework.comparison import agree
from course_utils.coursework.grading import make_reference
from course_utils.coursework.grading_copy import grading_copy
from course_utils.coursework.notebooks import (
    NOTEBOOKS_DIR,
    SOLUTION,
    NotebookError,
    exercises,
    is_setup,
    read_notebook,
    source_notebooks,
    student_copy,
    write_notebook,
    write_whole,
)
from course_utils.coursework.sandbox import FINISHED, Limits, run_in_sandbox
from course_utils.coursework.statements import defined, names_of, used

FILES = (".gitattributes", ".gitignore", "LICENSE", "Makefile", "README.md", "environment.yml", "postBuild", "pyproject.toml", "requirements.lock")
FOLDERS = ("course_utils", "data")
MANIFEST = "release.json"
OTHER_SEEDS = 3
# Sections of the README, and what it says of the tests, which are not released.
NOT_FOR_STUDENTS = re.compile(r"^## (?:Teaching with it|Changing it)\n.*?(?=^## )|^make test .*?\n", re.MULTILINE | re.DOTALL)


def release(out: Path, source_dir: Path = NOTEBOOKS_DIR) -> list[Path]:
    """Write a student repository to ``out`` and return its files; the same course gives the same bytes.

    It holds the student copies, the package, the data and what sets them up, and none of the solutions.

    Raises:
        NotebookError: ``out`` is there and not empty, or cannot be written.
    """
    project = source_dir.parent
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise NotebookError(f"{out} is there already and not empty: name a new folder, or remove it first.")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "notebooks").mkdir(parents=True)
        for name in FILES:
            if (project / name).is_file():
                shutil.copyfile(project / name, partial / name)
        readme = partial / "README.md"
        if readme.is_file():
            readme.write_text(NOT_FOR_STUDENTS.sub("", readme.read_text(encoding="utf-8")), encoding="utf-8")
        for name in FOLDERS:
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc", ".ipynb_checkpoints", ".*.new")
            shutil.copytree(project / name, partial / name, ignore=ignored, copy_function=shutil.copyfile)
        for source in source_notebooks(source_dir):
            write_notebook(student_copy(read_notebook(source)), partial / "notebooks" / source.name)
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        digests = {path.relative_to(partial).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        write_whole(partial / MANIFEST, (json.dumps(digests, indent=1) + "\n").encode())
        for path in partial.rglob("*"):
            os.chmod(path, 0o755 if path.is_dir() or path.name == "postBuild" else 0o644)
        if out.exists():
            out.rmdir()
        partial.replace(out)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise NotebookError(f"{out} cannot be written ({(error.strerror or str(error)).lower()}); nothing was left there.") from None
    return sorted(path for path in out.rglob("*") if path.is_file())


def prove(path: Path) -> list[str]:
    """Return what is wrong with the exercises of one source notebook, a sentence each; nothing if they can be graded.

    It runs the notebook's checks: the reference twice with one seed and once with each of some others, and the stubs.
    """
    source = read_notebook(path)
    solutions = {exercise.name: exercise.answer.source for exercise in exercises(source)}
    wrong = _left_of_solutions(path) + _leaning_on_others(source)
    try:
        first = make_reference(path, "first seed")["expected"]
    except NotebookError as error:
        return [*wrong, str(error)]
    again = _values(source, solutions, "first seed")
    others = [_values(source, solutions, f"other seed {number}") for number in range(OTHER_SEEDS)]
    stubs = _values(source, {}, "first seed")
    for exercise in exercises(source):
        expected = {check["name"]: check["values"] for check in first[exercise.name]}
        if len(expected) < len(first[exercise.name]):
            wrong.append(f"{exercise.name}: two of its checks have the same name.")
        if all(check["visible"] for check in first[exercise.name]):
            wrong.append(f"{exercise.name}: it has no hidden check.")
        for name, values in expected.items():
            if not agree(values, again[exercise.name].get(name), exercise.tolerance):
                wrong.append(f"{exercise.name}: {name!r} gives other values when it is run again with the same seed.")
            # What is nearly the same for any seed could be guessed, or learned by heart.
            drawn = [values, *(other[exercise.name].get(name) for other in others)]
            if any(agree(one, another, exercise.tolerance) for one, another in itertools.combinations(drawn, 2)):
                wrong.append(f"{exercise.name}: {name!r} gives the same values with another seed.")
            if set(values["flat"]) <= {0.0, 1.0}:
                wrong.append(f"{exercise.name}: {name!r} is only a verdict, not a value.")
            if any(number == "nan" for number in values["flat"]):
                wrong.append(f"{exercise.name}: {name!r} is nan for the reference.")
            if stubs[exercise.name].get(name) is not None:
                wrong.append(f"{exercise.name}: {name!r} has a value although nothing was answered.")
    return wrong


def prove_all(paths: list[Path]) -> Iterator[tuple[Path, list[str]]]:
    """Yield each of the source notebooks with what :func:`prove` finds wrong with it; as many at once as there are cores."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        yield from zip(paths, threads.map(prove, paths), strict=True)


def _values(source: NotebookNode, answers: dict[str, str], seed: str) -> dict[str, dict]:
    run = run_in_sandbox(grading_copy(source, answers), seed, Limits(seconds_per_cell=120), sandbox=None)
    if run.ended != FINISHED:
        raise NotebookError(f"The checks could not be run to their end ({run.ended}): {run.told[-500:]}")
    return {
        exercise.name: {
            record["name"]: record["values"]
            for record in run.cells[exercise.check.id]["checks"]
            if record["status"] != checks.NOT_ATTEMPTED
        }
        for exercise in exercises(source)
    }


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


def _left_of_solutions(path: Path) -> list[str]:
    """Look for lines of a solution anywhere in what a student gets of this notebook."""
    source = read_notebook(path)
    text = nbformat.writes(student_copy(source))
    found = []
    for marker in ("SOLUTION", "HIDDEN TESTS"):
        if marker in text:
            found.append(f"{path.name}: the student's copy has a marker of {marker.lower()} in it.")
    for exercise in exercises(source):
        match = SOLUTION.search(exercise.answer.source)
        if not match:
            found.append(f"{exercise.name}: its answer cell marks no solution.")
            continue
        for line in (line.strip() for line in match.group().splitlines()[1:-1]):
            if len(line) > 20 and json.dumps(line)[1:-1] in text:
                found.append(f"{exercise.name}: the line {line!r} of the solution is in the student's copy.")
    if any(cell.get("attachments") for cell in source.cells):
        found.append(f"{path.name}: it has attachments, which nobody looks into; draw pictures instead.")
    return found

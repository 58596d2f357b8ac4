"""Grade one submission: bytes in, JSON out.

The answers are put in place of the solutions of the source notebook and run in a sandbox, and the values that come out of
the checks are compared, here, with those that the reference solutions give for the same secret seed. A point needs a
positive match; everything else is 0 with a reason.
"""

import ast
import builtins
import copy
import math
import secrets
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from course_utils.coursework import checks
from course_utils.coursework.answers import Answers, UnreadableError, read_answers
from course_utils.coursework.comparison import Tolerance, agree
from course_utils.coursework.feedback import run_with_nbval
from course_utils.coursework.grading_copy import grading_copy
from course_utils.coursework.nbval_plugin import DIED, OUTPUT_LIMIT, TIMEOUT
from course_utils.coursework.notebooks import (
    HIDDEN_TESTS,
    SOLUTION,
    Exercise,
    NotebookError,
    exercises,
    is_setup,
    read_notebook,
    with_answers,
)
from course_utils.coursework.sandbox import FINISHED, INFRASTRUCTURE, MEMORY, Limits, Run, run_in_sandbox
from course_utils.coursework.statements import defined, names_of, used

MAX_NUMBERS_KEPT = 100
HIDDEN = "-hidden"
# What JAX calls a compiled program that somebody's function without a name of its own is a part of.
MADE_OF_FUNCTIONS = {"_lambda", "_lambda_", "<lambda>", "_unnamed_function", "scan", "while", "cond", "_piecewise"}
MISSING, UNREADABLE = "missing", "unreadable"
# Text that a stranger chose is never shown to a student; the name of one of these is all that an error may say.
KNOWN_ERRORS = {name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, Exception)}

Json = dict[str, Any]


class InfrastructureError(NotebookError):
    """The machinery failed, not the student: there is no score, and a human has to look at it."""


def new_seed() -> str:
    """Return a secret from which the checks of one batch draw their inputs."""
    return secrets.token_hex(16)


def make_reference(path: Path, seed: str, cache: Path | None = None) -> Json:
    """Return all that grading one notebook needs: its source, and what its reference solutions give for ``seed``.

    ``cache`` is a folder to fill with what JAX compiles; of the answers themselves nothing is left in it.

    Raises:
        NotebookError: the reference does not pass its own checks twice with the same values.
    """
    source = read_notebook(path)
    solutions = {exercise.name: exercise.answer.source for exercise in exercises(source)}
    if solutions and not any(map(SOLUTION.search, solutions.values())):
        raise NotebookError(f"{path} holds no solutions: it is a student's copy. Grade in the repository that it was released from.")
    run = _run_solutions(source, seed, cache)
    told = run_with_nbval(_with_truth(source, solutions), seed, explained=True, cache=cache)
    if cache:
        _forget_answers(cache, source)
    expected = {}
    for exercise in exercises(source):
        found = run.cells.get(exercise.check.id, {}).get("checks", [])
        visible, hidden = (told.get(cell, {}).get("checks", []) for cell in (exercise.check.id, f"{exercise.check.id}{HIDDEN}"))
        explained = visible + hidden
        if not len(found) == len(explained) > 0:
            raise NotebookError(
                f"{path.name}: the reference solution of {exercise.name} does not get through its checks "
                f"({len(found)} of {len(explained)} spoke; {run.ended}): run `course release --check`. {run.told[-300:]}"
            )
        expected[exercise.name] = []
        for number, (record, full) in enumerate(zip(found, explained, strict=True)):
            if record["values"] is None:
                raise NotebookError(
                    f"{path.name}: the reference solution of {exercise.name} does not get through the check "
                    f"{record['name']!r}: {record['explanation']}"
                )
            if record["name"] != full["name"] or not agree(full["values"], record["values"], exercise.tolerance):
                raise NotebookError(
                    f"{path.name}: the check {full['name']!r} of {exercise.name} gives other values when the truth is "
                    "left out: draw what an explanation needs after, or apart from, what a check needs."
                )
            expected[exercise.name].append(
                {"name": record["name"], "values": record["values"], "visible": number < len(visible),
                 "expected": full.get("expected"), "hint": full.get("hint", "")}
            )  # fmt: skip
    for cell in source.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return {"notebook": path.name, "seed": seed, "source": nbformat.writes(source), "expected": expected}


def fill_cache(reference: Json, cache: Path) -> None:
    """Fill ``cache`` on a machine other than the one that made ``reference``, and see that numbers agree on both.

    Raises:
        InfrastructureError: they do not.
    """
    source = nbformat.reads(reference["source"], as_version=4)
    run = _run_solutions(source, reference["seed"], cache)
    _forget_answers(cache, source)
    for exercise in exercises(source):
        found = run.cells.get(exercise.check.id, {}).get("checks", [])
        expected = reference["expected"][exercise.name]
        if len(found) != len(expected) or not all(
            agree(e["values"], f["values"], exercise.tolerance) for e, f in zip(expected, found)
        ):
            raise InfrastructureError(f"On this machine the reference solution of {exercise.name} gives other values ({run.ended}).")


def _run_solutions(source: NotebookNode, seed: str, cache: Path | None) -> Run:
    """Run the reference as an answer is run, and leave in ``cache`` what JAX compiled."""
    solutions = {exercise.name: exercise.answer.source for exercise in exercises(source)}
    limits = Limits(seconds_per_cell=120)
    return run_in_sandbox(grading_copy(source, solutions), seed, limits, sandbox=None, cache=cache, fill_cache=True)


def grade(content: bytes, reference: Json, limits: Limits, *, sandbox: str | None, cache: Path | None = None) -> Json:
    """Return the marks for one notebook: for each exercise its points, reason, notes and checks.

    Raises:
        InfrastructureError: the run failed before a line of the student's was run.
    """
    source = nbformat.reads(reference["source"], as_version=4)
    todo = exercises(source)
    try:
        answers = read_answers(content, source)
    except UnreadableError as error:
        return ungraded(reference, UNREADABLE, str(error))
    marks: Json = {"note": "", "exercises": {}}
    joint = _run(source, answers.sources, reference, limits, sandbox, cache)
    for exercise in todo:
        run = joint
        if exercise.name not in answers.sources:
            marks["exercises"][exercise.name] = _mark(exercise, MISSING)
            continue
        if run.ended != FINISHED and exercise.check.id not in run.cells:
            # Whoever ended it, the answers that had no turn get one of their own.
            run = _run(source, {exercise.name: answers.alone[exercise.name]}, reference, limits, sandbox, cache)
        mark = _judge(exercise, run, reference["expected"][exercise.name])
        unknown = _unknown_names(exercise.name, answers, source) if mark["reason"] == checks.ERROR else []
        leans = f"it uses {', '.join(unknown)}, which nothing that is run defines" if unknown else ""
        limit = {TIMEOUT: f"a cell may take {limits.seconds_per_cell:g} s", MEMORY: f"a run may use {limits.memory_bytes / 1e9:g} GB of memory"}
        told = [answers.notes.get(exercise.name, ""), leans, limit.get(mark["reason"], "")]
        told += _said_by_authors(exercise, mark["told"]) + _broken_line(answers.sources[exercise.name], mark["told"])
        mark["note"] = "; ".join(filter(None, told))
        marks["exercises"][exercise.name] = mark
    return marks


def _said_by_authors(exercise: Exercise, told: list[str]) -> list[str]:
    """Return what a check's own code complained of; it is a text of the check's cell, so that no stranger chose it."""
    texts = [node.value for node in ast.walk(ast.parse(exercise.check.source)) if isinstance(node, ast.Constant)]
    sentences = {text for text in texts if isinstance(text, str) and len(text) > 30}
    return sorted(text.rstrip(".") for text in sentences if any(line.endswith(text) and "Error" in line for line in told))


def _broken_line(answer: str, told: list[str]) -> list[str]:
    """Return where an answer is no Python, which can be seen without running it."""
    if any("SyntaxError" in line or "IndentationError" in line for line in told):
        try:
            ast.parse(answer)
        except SyntaxError as error:
            return [f"line {error.lineno} of the answer is not valid Python: {(error.text or '').strip()[:80]}"]
        except (ValueError, RecursionError, MemoryError):
            pass
    return []


def _unknown_names(name: str, answers: Answers, source: NotebookNode) -> list[str]:
    """Return the names that an answer uses and that neither it nor Python, IPython, the setup or another answer defines."""
    setup = [cell.source for cell in source.cells if is_setup(cell)]
    known = set(vars(builtins)) | {"get_ipython", "display", "In", "Out", "exit", "quit", "_", "__name__"}
    for each in (*answers.sources.values(), *setup):
        known |= names_of(defined, each)
    return sorted(names_of(used, answers.sources[name]) - known)[:5]


def _run(source, answers: dict[str, str], reference: Json, limits: Limits, sandbox: str | None, cache: Path | None) -> Run:
    notebook = grading_copy(source, answers)
    run = run_in_sandbox(notebook, reference["seed"], limits, sandbox=sandbox, cache=cache)
    cells = [cell.id for cell in notebook.cells]
    before = cells[: cells.index(exercises(source)[0].answer.id)]
    if run.ended == INFRASTRUCTURE or not all(run.cells.get(cell, {}).get("passed") for cell in before):
        raise InfrastructureError(f"The run ended before the first answer ({run.ended}): {run.told[-500:]}")
    return run


def _judge(exercise: Exercise, run: Run, expected: list[Json]) -> Json:
    """Compare what the checks of one exercise said with what they should have said."""
    said: dict[str, Json] = {}
    for record in run.cells.get(exercise.check.id, {}).get("checks", []):
        if isinstance(record.get("name"), str):
            said.setdefault(record["name"], record)
    found = [_compare(said.get(check["name"]), check, exercise.tolerance) for check in expected]
    passed = sum(check["passed"] for check in found)
    mark = _mark(exercise, _reason(exercise, run, list(said.values()), passed, len(found)))
    mark["points"] = round(exercise.points * passed / len(found), 2)
    mark["checks"] = found
    mark["told"] = _told(exercise, run, list(said.values()))
    return mark


def _compare(record: Json | None, expected: Json, tolerance: Tolerance) -> Json:
    """Return whether one check was passed, and a hint: its author's, or for a visible one what the values say about the mistake."""
    values = record.get("values") if record else None
    if not _is_array(values):
        values = None
    passed = values is not None and agree(expected["values"], values, tolerance)
    hint = "" if passed or values is None else expected["hint"]
    if values and not passed and expected["visible"] and expected["expected"]:
        hint = checks.explain(checks.from_json(values), expected["expected"])
    found = values and _abridged(values)
    return {"name": expected["name"], "visible": expected["visible"], "passed": passed, "hint": hint, "found": found}


def _abridged(values: Json) -> Json:
    return {"shape": values["shape"], "flat": values["flat"][:MAX_NUMBERS_KEPT]}


def expected_of(reference: Json) -> dict[str, list[Json]]:
    """Return, by exercise, what the checks should give, as much of it as is kept of what they give."""
    return {name: [_abridged(check["values"]) for check in each] for name, each in reference["expected"].items()}


def _is_array(values: Any) -> bool:
    """Return whether what a stranger's kernel sent is what ``checks.to_json`` makes of an array."""
    return (
        isinstance(values, dict)
        and isinstance(values.get("shape"), list)
        and isinstance(values.get("flat"), list)
        and all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= 10**6 for n in values["shape"])
        and len(values["shape"]) <= 10
        and all(isinstance(number, float) or number in ("nan", "inf", "-inf") for number in values["flat"])
        and math.prod(values["shape"]) == len(values["flat"])
    )


def _reason(exercise: Exercise, run: Run, said: list[Json], passed: int, total: int) -> str:
    if passed == total:
        return checks.RIGHT
    if exercise.check.id not in run.cells and run.ended in (TIMEOUT, DIED, MEMORY, OUTPUT_LIMIT):
        return run.ended
    messages = [run.cells.get(cell.id, {}).get("message", "") for cell in (exercise.answer, exercise.check)]
    messages += [str(record.get("explanation")) for record in said]
    if any("MemoryError" in message for message in messages):
        return MEMORY
    statuses = {record.get("status") for record in said}
    if passed == 0 and checks.NOT_ATTEMPTED in statuses:
        return checks.NOT_ATTEMPTED
    answer = run.cells.get(exercise.answer.id, {})
    if run.ended != FINISHED and not said:
        return run.ended
    if not answer.get("passed") or checks.ERROR in statuses or not said:
        return checks.ERROR
    return checks.WRONG


def _told(exercise: Exercise, run: Run, said: list[Json]) -> list[str]:
    """Return, for the instructor alone, what the run said in its own words."""
    texts = [run.cells.get(cell.id, {}).get("message", "") for cell in (exercise.answer, exercise.check)]
    texts += [f"{record.get('name')}: {record.get('explanation')}"[:500] for record in said if record.get("explanation")]
    return [text for text in texts if text][:20]


def _mark(exercise: Exercise, reason: str) -> Json:
    return {"title": exercise.title, "points": 0.0, "of": exercise.points, "reason": reason, "note": "", "checks": [], "told": []}


def ungraded(reference: Json, reason: str, note: str) -> Json:
    """Return the marks of a notebook of which nothing could be run: no points, and why."""
    todo = exercises(nbformat.reads(reference["source"], as_version=4))
    return {"note": note, "exercises": {exercise.name: _mark(exercise, reason) for exercise in todo}}


def _with_truth(source: NotebookNode, solutions: dict[str, str]) -> NotebookNode:
    """Return the reference with its explanations, and the hidden part of each check in a cell of its own."""
    notebook = with_answers(source, solutions)
    cells = []
    for cell in notebook.cells:
        cell.outputs, cell.execution_count = [], 1
        cells.append(cell)
        if cell.metadata.get("nbgrader", {}).get("grade"):
            hidden = copy.deepcopy(cell)
            hidden.id = f"{cell.id}{HIDDEN}"
            hidden.source = "\n".join(match.group() for match in HIDDEN_TESTS.finditer(cell.source))
            cell.source = HIDDEN_TESTS.sub("", cell.source)
            cells.append(hidden)
    notebook.cells = cells
    return notebook


def _forget_answers(cache: Path, source) -> None:
    """Delete what JAX compiled of functions that cells define: a stranger must not find a solution, compiled or not."""
    made = set(MADE_OF_FUNCTIONS)
    for cell in source.cells:
        if cell.cell_type == "code":
            made |= {node.name for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.FunctionDef)}
    for entry in cache.iterdir():
        name = entry.name.removeprefix("jit_").rsplit("-", 2)[0]
        if name in made:
            entry.unlink()


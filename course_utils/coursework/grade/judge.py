"""The one judge: whether the values of an answer are those of a right one, and what its mark is.

The same judge serves ``course check`` and ``course grade``. A point needs a positive match; everything else is 0 with a
reason. Text that a stranger chose never gets into what a student is shown.
"""

import ast
import re

import numpy as np

from course_utils.coursework.grade.answers import Given, Plan, Submitted, lecture_names_used
from course_utils.coursework.grade.types import CheckMark, ExpectedCheck, ExpectedExercise, Mark, Reason
from course_utils.coursework.run.limits import Limits
from course_utils.coursework.run.program import Ended, Outcome
from course_utils.coursework.run.records import Record, Values
from course_utils.coursework.source.explain import explain

MAX_NUMBERS_KEPT = 100
STANDARD_ERRORS = 4
NO_LIBRARY = "an answer is judged by its notebook alone, without my_vi.py: copy what it needs of it into a cell"
NO_MODULE = re.compile(r"^ModuleNotFoundError: No module named '(\w+)")
REASONS = {
    Ended.TIMEOUT: Reason.TIMEOUT,
    Ended.MEMORY: Reason.MEMORY,
    Ended.DIED: Reason.DIED,
    Ended.OUTPUT_LIMIT: Reason.OUTPUT_LIMIT,
}


def judge(
    plan: Plan, outcome: Outcome | None, expected: ExpectedExercise, submitted: Submitted, given: Given, limits: Limits
) -> Mark:
    """Return the mark for one exercise, from what was heard when its program was run."""
    if outcome is None:
        reason = Reason.MISSING if plan.is_missing else Reason.NOT_ATTEMPTED
        return Mark(expected.name, expected.title, 0.0, expected.points, reason, note=plan.note)
    records = outcome.records.get(plan.exercise.check.id, ())
    by_name: dict[str, Record] = {}
    for record in records:
        by_name.setdefault(record.name, record)
    checks = tuple(_check_mark(each, by_name.get(each.name)) for each in expected.checks)
    passed = sum(check.passed for check in checks)
    said = _said(outcome, records)
    reason = Reason.RIGHT if passed == len(checks) else _reason(plan, outcome, records, passed)
    notes = [plan.note, *_left_out(outcome, plan), *_limit(reason, limits)]
    if reason != Reason.RIGHT:
        notes += _broken_lines(plan, outcome) + _complaints_of_check(plan, said)
        notes += [NO_LIBRARY] if any("my_vi" in line for line in said) else []
    if reason == Reason.ERROR:
        notes += _not_installed(plan, outcome)
        if names := lecture_names_used(plan, submitted, given):
            notes.append(f"it uses {', '.join(names)}, which only the lecture's own cells define or fill")
    return Mark(
        expected.name,
        expected.title,
        round(expected.points * passed / len(checks), 2),
        expected.points,
        reason,
        note="; ".join(filter(None, notes)),
        checks=checks,
        said=said,
    )


def agrees(expected: ExpectedCheck, found: Values) -> bool:
    """Return whether ``found`` is as near to what is expected as the check's own tolerance says."""
    right = expected.truth or expected.values
    if found.shape != right.shape:
        return False
    values, truth = found.array(), right.array()
    # A share of an infinite truth would allow everything.
    allowed = expected.atol + expected.rtol * np.where(np.isfinite(truth), np.abs(truth), 0)
    if expected.standard_error is not None:
        allowed = expected.atol + STANDARD_ERRORS * expected.standard_error.array()
    with np.errstate(invalid="ignore"):
        same = (values == truth) | (np.isnan(values) & np.isnan(truth))
        return bool(np.all(same | (np.abs(values - truth) <= allowed)))


def _check_mark(expected: ExpectedCheck, record: Record | None) -> CheckMark:
    values = record.values if record else None
    passed = values is not None and agrees(expected, values)
    hint = ""
    if values is not None and not passed:
        hint = expected.hint
        if expected.visible and expected.truth is not None:
            error = expected.standard_error
            hint = explain(
                values.array(),
                expected.truth.array(),
                expected.rtol,
                expected.atol,
                None if error is None else error.array(),
                {sentence: wrong.array() for sentence, wrong in expected.mistakes.items()},
            )
    return CheckMark(expected.name, expected.visible, passed, hint, values and values.first(MAX_NUMBERS_KEPT))


def _reason(plan: Plan, outcome: Outcome, records: tuple[Record, ...], passed: int) -> Reason:
    if outcome.ended != Ended.FINISHED and not records:
        return REASONS[outcome.ended]
    statuses = {record.status for record in records}
    raised = list(outcome.errors.values()) + [record.explanation for record in records if record.status == "error"]
    if any("MemoryError" in text or "RESOURCE_EXHAUSTED" in text for text in raised):
        return Reason.MEMORY
    if passed == 0 and statuses == {"not attempted"}:
        return Reason.NOT_ATTEMPTED
    if outcome.ended != Ended.FINISHED:
        return REASONS[outcome.ended]
    if "error" in statuses or not records:
        return Reason.ERROR
    return Reason.WRONG


def _said(outcome: Outcome, records: tuple[Record, ...]) -> tuple[str, ...]:
    """Return, for the instructor alone, what the run said in its own words."""
    texts = [f"{cell}: {error}" for cell, error in outcome.errors.items()]
    texts += [f"{record.name}: {record.explanation}" for record in records if record.explanation]
    return tuple(text[:500] for text in texts[:20])


def _left_out(outcome: Outcome, plan: Plan) -> list[str]:
    """Say what was left out of the run, and why."""
    numbers = {step.cell: i for i, step in enumerate(plan.program.steps)} if plan.program else {}
    sentences = {
        Ended.TIMEOUT: "took too long",
        Ended.MEMORY: "used too much memory",
        Ended.DIED: "ended its Python process",
        Ended.OUTPUT_LIMIT: "wrote too much output",
    }
    reasons = sorted({sentences[ended] for cell, ended in outcome.left_out.items() if cell in numbers})
    return [f"another cell of yours {reason} and was left out" for reason in reasons]


def _limit(reason: Reason, limits: Limits) -> list[str]:
    if reason == Reason.TIMEOUT:
        return [f"a cell may take {limits.seconds_per_cell:g} s"]
    if reason == Reason.MEMORY:
        return [f"a run may use {limits.memory_bytes / 1e9:g} GB of memory"]
    return []


def _broken_lines(plan: Plan, outcome: Outcome) -> list[str]:
    """Return where a cell is no Python, which can be seen without running it."""
    for step in plan.program.steps:
        error = outcome.errors.get(step.cell, "")
        if step.author == "student" and error.startswith(("SyntaxError", "IndentationError", "TabError")):
            try:
                ast.parse(step.source)
            except SyntaxError as broken:
                return [f"line {broken.lineno} of the answer is not valid Python: {(broken.text or '').strip()[:80]}"]
            except (ValueError, RecursionError, MemoryError):
                pass
    return []


def _not_installed(plan: Plan, outcome: Outcome) -> list[str]:
    """Return what is missing here of what the cells import; a name that is not written there gets through to nobody."""
    missing = {name for error in outcome.errors.values() for name in NO_MODULE.findall(error)} & plan.words - {"my_vi"}
    return [f"it imports {name}, which is not installed where it was graded" for name in sorted(missing)[:1]]


def _complaints_of_check(plan: Plan, said: tuple[str, ...]) -> list[str]:
    """Return what a check's own code complained of; it is a text of the check's cell, so that no stranger chose it."""
    texts = [node.value for node in ast.walk(ast.parse(plan.exercise.check.source)) if isinstance(node, ast.Constant)]
    sentences = {text for text in texts if isinstance(text, str) and len(text) > 30}
    return sorted(
        text.rstrip(".") for text in sentences if any(line.endswith(text) and "Error" in line for line in said)
    )

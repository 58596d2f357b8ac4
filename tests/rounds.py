"""Several answers to the same exercise, one after another in one process, because processes are slow to start."""

import msgspec

from course_utils.coursework.grade.answers import Plan
from course_utils.coursework.run.program import Outcome, Program, Step


def in_rounds(plan: Plan, answers: list[str]) -> Program:
    """Return the program of ``plan`` with each of ``answers`` in the place of its own, and the check after each."""
    *before, check = plan.program.steps
    # Answers to other exercises on which this one rests stay in front of it.
    steps = [step for step in before if step.source != plan.exercise.answer.source]
    for number, answer in enumerate(answers):
        steps.append(Step(f"answer/{number}", answer, author="student"))
        steps.append(msgspec.structs.replace(check, cell=f"{check.cell}/{number}"))
    return msgspec.structs.replace(plan.program, steps=tuple(steps))


def of_round(outcome: Outcome, plan: Plan, number: int) -> Outcome:
    """Return what was heard of one round, as if there had been no other."""
    check = plan.exercise.check.id
    errors = {cell: error for cell, error in outcome.errors.items() if cell.endswith(f"/{number}")}
    return Outcome(errors=errors, records={check: outcome.records.get(f"{check}/{number}", ())})

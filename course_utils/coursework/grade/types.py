"""What grading speaks of, as frozen types: they travel as JSON between processes and into the journal, and are checked on arrival."""

from enum import StrEnum

import msgspec

from course_utils.coursework.run.records import Values

Struct = msgspec.Struct


class Reason(StrEnum):
    """Why an exercise has the points it has."""

    RIGHT = "right"
    WRONG = "wrong"
    ERROR = "error"
    NOT_ATTEMPTED = "not attempted"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    DIED = "died"
    OUTPUT_LIMIT = "output limit"


class CheckMark(Struct, frozen=True, forbid_unknown_fields=True):
    """How one check of an exercise went.

    Attributes:
        visible: whether the student has this check, too.
        hint: what the check's author has to say to a student who fails it; never a student's text.
        found: the first of the values that the answer gave, or ``None`` if it gave none that are numbers.
    """

    name: str
    visible: bool
    passed: bool
    hint: str = ""
    found: Values | None = None


class Mark(Struct, frozen=True, forbid_unknown_fields=True):
    """The points for one exercise, and why.

    Attributes:
        note: what is unusual about the answer, in the course's words: fit for the student.
        said: what the run said in its own words, in which there may be anything: for the instructor alone.
    """

    exercise: str
    title: str
    points: float
    of: float
    reason: Reason
    note: str = ""
    checks: tuple[CheckMark, ...] = ()
    said: tuple[str, ...] = ()


class Result(Struct, frozen=True, forbid_unknown_fields=True):
    """The marks of one student for one notebook.

    Attributes:
        digest: the SHA-256 of what was graded; empty if there was nothing that could be.
        note: what is worth noting about how the notebook was found.
        canvas_id: the student's number in Canvas, if the file comes from there.
        stamps: what the isolation lacked when this was graded; empty if nothing.
        failure: why there are no marks although there is a submission: the machinery failed, and a human has to look.
    """

    student: str
    notebook: str
    marks: tuple[Mark, ...] = ()
    digest: str = ""
    note: str = ""
    canvas_id: str = ""
    stamps: tuple[str, ...] = ()
    failure: str = ""

    @property
    def points(self) -> float | None:
        """The sum of the marks' points, or ``None`` if a human has to look at it."""
        return None if self.failure else round(sum(mark.points for mark in self.marks), 2)

    @property
    def of(self) -> float:
        """How many points there are to be had."""
        return sum(mark.of for mark in self.marks)

    @property
    def state(self) -> str:
        """``graded``; or why nothing was: ``missing``, ``unreadable`` or ``failed``."""
        if self.failure:
            return "failed"
        if self.digest:
            return "graded"
        return next((str(mark.reason) for mark in self.marks), "graded")


class ExpectedCheck(Struct, frozen=True, forbid_unknown_fields=True):
    """What the reference solution gives for one check.

    Attributes:
        values: the reference's values: an answer's have to be as near to them as ``rtol`` and ``atol`` say; or, if the
            check is of an estimate and says its ``standard_error``, within four of these of the ``truth``.
        truth, mistakes: what explains a difference; where the check knows them.
        hint: what the student who fails this hidden check is told.
    """

    name: str
    visible: bool
    values: Values
    rtol: float
    atol: float
    truth: Values | None = None
    standard_error: Values | None = None
    mistakes: dict[str, Values] = msgspec.field(default_factory=dict)
    hint: str = ""


class ExpectedExercise(Struct, frozen=True, forbid_unknown_fields=True):
    """What the reference solution of one exercise gives."""

    name: str
    title: str
    points: float
    checks: tuple[ExpectedCheck, ...]


class AnswerKey(Struct, frozen=True, forbid_unknown_fields=True):
    """All that it takes to mark one notebook: computed once for each seed, and written into the journal.

    Attributes:
        source: the SHA-256 of the source notebook's code.
        seed: the secret from which the checks draw their inputs.
    """

    notebook: str
    source: str
    seed: str
    exercises: tuple[ExpectedExercise, ...]


def joined(parts: list[AnswerKey]) -> AnswerKey:
    """Return the whole key, given a part with every n-th exercise from the first on, one from the second on, and so forth."""
    exercises = [None] * sum(len(part.exercises) for part in parts)
    for number, part in enumerate(parts):
        exercises[number :: len(parts)] = part.exercises
    return msgspec.structs.replace(parts[0], exercises=tuple(exercises))

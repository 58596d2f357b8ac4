"""What is to be run for an exercise, and what was heard of it."""

from enum import StrEnum
from typing import Literal

import msgspec

from course_utils.coursework.run.records import Record


class Step(msgspec.Struct, frozen=True):
    """A cell to be run.

    Attributes:
        cell: what it is called in what is heard of the run.
        author: the course, whose cells can be trusted, or the student.
        is_needed: whether there is nothing to be judged without it; what is not needed is left out if it ended a kernel.
    """

    cell: str
    source: str
    author: Literal["course", "student"] = "course"
    is_needed: bool = True


class Program(msgspec.Struct, frozen=True):
    """The cells to be run for one exercise, one after another in a process of their own.

    Attributes:
        fresh: whether the process must not have imported anything, since a cell sets what JAX reads when it is imported.
    """

    exercise: str
    steps: tuple[Step, ...]
    fresh: bool = False


class Ended(StrEnum):
    """How a run ended."""

    FINISHED = "finished"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    DIED = "died"
    OUTPUT_LIMIT = "output limit"


class Outcome(msgspec.Struct, frozen=True):
    """What was heard of one program.

    Attributes:
        ended: whether it got to its end, or else why not.
        at: the cell at which it ended, if not at its end.
        errors: for each cell that raised an exception its type and text, in one line.
        records: what the checks in the course's cells emitted, by the cell.
        left_out: the cells that were left out, because they had ended a process before, and how.
    """

    ended: Ended = Ended.FINISHED
    at: str = ""
    errors: dict[str, str] = {}
    records: dict[str, tuple[Record, ...]] = {}
    left_out: dict[str, Ended] = {}

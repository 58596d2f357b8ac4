"""What a check emits, read from a kernel in which a stranger's code may have run: either it has this form, or it is nothing."""

import math
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

MIME = "application/vnd.course-utils.check+json"
MAX_NUMBERS = 100_000

Dimension = Annotated[int, msgspec.Meta(ge=0, le=10**6)]
Number = float | Literal["nan", "inf", "-inf"]


class Values(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An array as JSON can hold it: ``nan`` and the infinities are strings.

    Raises:
        ValueError: there are not as many numbers as the shape says, or more than ``MAX_NUMBERS``.
    """

    shape: Annotated[tuple[Dimension, ...], msgspec.Meta(max_length=10)]
    flat: Annotated[tuple[Number, ...], msgspec.Meta(max_length=MAX_NUMBERS)]

    def __post_init__(self) -> None:
        if math.prod(self.shape) != len(self.flat):
            raise ValueError("the shape does not fit the number of values")
        if not all(isinstance(number, str) or math.isfinite(number) for number in self.flat):
            raise ValueError("a number that is not finite is no string")

    def array(self) -> np.ndarray:
        """Return the array of float64."""
        return np.array([float(number) for number in self.flat]).reshape(self.shape)

    def first(self, number: int) -> "Values":
        """Return the first values in one row, if there are more than ``number``; or else all as they are."""
        return self if len(self.flat) <= number else Values((number,), self.flat[:number])


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a check says of its own tolerance and truth when the reference solution is run."""

    rtol: float
    atol: float
    truth: Values | None = None
    standard_error: Values | None = None
    mistakes: dict[str, Values] = {}


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one call of ``check`` emits. Only ``values`` may ever decide about points."""

    name: Annotated[str, msgspec.Meta(max_length=300)]
    status: Literal["right", "wrong", "shown", "not attempted", "error"]
    explanation: Annotated[str, msgspec.Meta(max_length=20_000)]
    values: Values | None = None
    hint: str = ""
    expected: Expected | None = None


def parse_record(data: Any) -> Record | None:
    """Return the record that ``data``, parsed JSON, is; or ``None`` if it is none."""
    try:
        record = msgspec.convert(data, Record)
        # Half of a surrogate pair can be in JSON but in no file.
        for text in (
            record.name,
            record.explanation,
            record.hint,
            *(record.expected.mistakes if record.expected else ()),
        ):
            text.encode()
        return record
    except (msgspec.ValidationError, ValueError, RecursionError, OverflowError):
        return None

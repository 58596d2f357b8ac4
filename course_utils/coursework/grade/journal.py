"""The journal of a batch: what was graded, with which secret and against what. Tables and pages derive from it.

Each line is one JSON object, written whole and forced to the disk before the next is begun, so that no interruption can
spoil more than a last line, which is then as good as none. It holds the seed, and is for its owner alone.
"""

import contextlib
import json
import math
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from course_utils.coursework.grade.types import AnswerKey, Result
from course_utils.coursework.run.limits import Limits
from course_utils.errors import CourseError

JOURNAL = "journal.jsonl"
FORMAT = 2


class JournalError(CourseError):
    """The journal of a batch cannot be read or written."""


class Round(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="entry", tag="round"):
    """A round of grading begins: all that it takes to repeat it, and what was expected.

    Attributes:
        number: 1 for the first round of a batch.
        seed: the secret from which the checks of this round draw their inputs.
        notebooks: the file names of the notebooks that are graded.
        stamps: what the isolation lacks on this machine; empty if nothing.
        keys: the answer key of each notebook.
    """

    number: int
    seed: str
    notebooks: tuple[str, ...]
    limits: Limits
    stamps: tuple[str, ...]
    keys: tuple[AnswerKey, ...]
    format: int = FORMAT


class Graded(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="entry", tag="result"):
    """A submission was graded in the round of this number."""

    round: int
    result: Result


class Left(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="entry", tag="left"):
    """A student has left the class; what was graded before stays in the journal."""

    student: str


class FeedbackWritten(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="entry", tag="feedback written"
):
    """Students may have read what the round of this number expected: its seed must not be used again."""

    round: int


Entry = Round | Graded | Left | FeedbackWritten


class _Header(msgspec.Struct):
    """What tells the format of a journal from its first line, whatever else stands there."""

    entry: str = ""
    type: str = ""
    format: int = FORMAT


class Journal:
    """The append-only file of entries in a batch's folder."""

    def __init__(self, folder: Path):
        self.path = folder / JOURNAL
        self._lock = threading.Lock()

    def read(self) -> list[Entry]:
        """Return all whole entries; what a crash cut off at the end is left out.

        Raises:
            JournalError: a line is damaged, another version of the course wrote it, or the file cannot be read.
        """
        entries = []
        for number, line in enumerate(self._content().split(b"\n")[:-1], 1):
            try:
                entries.append(_decode(line))
            except ValueError:
                if number == 1 and _is_of_another_format(line):
                    raise JournalError(
                        f"{self.path} was written by another version of the course, which alone can go on with it: "
                        "grade into another folder."
                    ) from None
                raise JournalError(f"{self.path} is damaged in line {number}: restore it from a copy.") from None
        return entries

    def repair(self) -> None:
        """Cut off half a line at the end, which nobody has acted upon.

        Raises:
            JournalError: the file cannot be read or written.
        """
        content = self._content()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with self._lock, self._sentence("written"):
                os.truncate(self.path, whole)

    def append(self, entry: Entry) -> None:
        """Write one entry, and return when it is on the disk; what cannot be written whole is taken back.

        Raises:
            JournalError: the file cannot be written.
        """
        line = _encode(entry) + b"\n"
        with self._lock, self._sentence("written"):
            is_new = not self.path.exists()
            with open(self.path, "ab", buffering=0, opener=_open_for_owner) as file:
                size = file.seek(0, os.SEEK_END)
                try:
                    rest = memoryview(line)
                    while rest:
                        rest = rest[file.write(rest) :]
                    os.fsync(file.fileno())
                except OSError:
                    with contextlib.suppress(OSError):
                        file.truncate(size)
                    raise
            self.path.chmod(0o600)
            if is_new:
                _force_to_disk(self.path.parent)

    def _content(self) -> bytes:
        try:
            with self._sentence("read"):
                return self.path.read_bytes()
        except FileNotFoundError:
            return b""

    @contextlib.contextmanager
    def _sentence(self, verb: str) -> Iterator[None]:
        """Turn what the system refuses into a sentence; that there is no file is for the caller to judge."""
        try:
            yield
        except FileNotFoundError:
            if verb == "read":
                raise
            raise JournalError(f"{self.path} cannot be {verb}: its folder is not there.") from None
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise JournalError(
                f"{self.path} cannot be {verb} ({reason}): make room for it, or grade elsewhere."
            ) from None


def latest(entries: Iterable[Entry]) -> list[Graded]:
    """Return the last result of each submission, ordered by student and notebook; of students who have left, none."""
    by_student: dict[str, dict[str, Graded]] = {}
    for entry in entries:
        if isinstance(entry, Graded):
            by_student.setdefault(entry.result.student, {})[entry.result.notebook] = entry
        elif isinstance(entry, Left):
            by_student.pop(entry.student, None)
    return [results[notebook] for _, results in sorted(by_student.items()) for notebook in sorted(results)]


def current_round(entries: Iterable[Entry]) -> Round | None:
    """Return the round that is still to be finished, or ``None`` if a new one, with a new seed, has to be begun.

    As soon as any feedback is written, students may know what a round expected, and the round is over.
    """
    current = None
    for entry in entries:
        if isinstance(entry, Round):
            current = entry
        elif isinstance(entry, FeedbackWritten):
            current = None
    return current


def next_number(entries: Iterable[Entry]) -> int:
    """Return the number that the next round of a batch has."""
    return 1 + max((entry.number for entry in entries if isinstance(entry, Round)), default=0)


_decoder = msgspec.json.Decoder(Entry)


def _decode(line: bytes) -> Entry:
    """Return the entry in a line.

    Raises:
        ValueError: it holds none.
    """
    try:
        return _decoder.decode(line)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _encode(entry: Entry) -> bytes:
    """Return a line that ``_decode`` takes, whatever a student's run said."""
    with contextlib.suppress(ValueError):
        line = msgspec.json.encode(entry)
        _decode(line)
        return line
    line = json.dumps(_as_json(msgspec.to_builtins(entry)), ensure_ascii=False).encode("utf-8", "replace")
    _decode(line)
    return line


def _as_json(value: Any) -> Any:
    """Return a value with the numbers that JSON does not have as the strings that ``Values`` takes for them."""
    if isinstance(value, dict):
        return {key: _as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _is_of_another_format(line: bytes) -> bool:
    try:
        header = msgspec.json.decode(line, type=_Header)
    except (ValueError, RecursionError):
        return False
    return header.format != FORMAT or (header.type == "batch" and not header.entry)


def _open_for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _force_to_disk(folder: Path) -> None:
    """See that a new file's name survives a crash, too, where folders can be forced to the disk."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

"""The journal of a batch survives whatever cuts, damages or repeats it, and says so in a sentence."""

import errno
import json
import os
import stat
import threading

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from course_utils.coursework.grade.journal import (
    JOURNAL,
    FeedbackWritten,
    Graded,
    Journal,
    JournalError,
    Left,
    Round,
    current_round,
    latest,
    next_number,
)
from course_utils.coursework.grade.types import (
    AnswerKey,
    CheckMark,
    ExpectedCheck,
    ExpectedExercise,
    Mark,
    Reason,
    Result,
    joined,
)
from course_utils.coursework.run.limits import Limits
from course_utils.coursework.run.records import Values
from course_utils.errors import CourseError

# Some seconds for the whole file.
settings.register_profile(
    "journal",
    derandomize=True,
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow],
)
bounded = settings(settings.get_profile("journal"))

NOTEBOOK = "02_simple_monte_carlo.ipynb"
VALUES = Values((2,), (1.5, "nan"))
CHECK = ExpectedCheck("a mean", True, VALUES, 1e-6, 0.0, truth=VALUES, mistakes={"The sign is turned around.": VALUES})
KEY = AnswerKey(NOTEBOOK, "0" * 64, "a secret", (ExpectedExercise("ex-mean", "A mean", 2.0, (CHECK,)),))
FIRST = Round(1, "a secret", (NOTEBOOK,), Limits(), ("no cgroup",), (KEY,))
SECOND = Round(2, "another secret", (NOTEBOOK,), Limits(seconds_per_cell=3.0), (), ())
MARK = Mark("ex-mean", "A mean", 1.0, 2.0, Reason.WRONG, checks=(CheckMark("a mean", True, False, found=VALUES),))


def graded(student="ada", number=1, notebook=NOTEBOOK, **more) -> Graded:
    return Graded(number, Result(student, notebook, (MARK,), **more))


ALL_KINDS = [FIRST, graded(digest="1" * 64, note="2 files"), Left("ada"), FeedbackWritten(1), SECOND, graded("bob", 2)]
# What can be in JSON; hypothesis makes surrogates, too, which cannot.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(["nan", "inf", "-inf"])
CHECKS = st.builds(
    CheckMark,
    name=TEXTS,
    visible=st.booleans(),
    passed=st.booleans(),
    hint=TEXTS,
    found=st.none() | st.lists(NUMBERS, max_size=5).map(lambda flat: Values((len(flat),), tuple(flat))),
)
MARKS = st.builds(
    Mark,
    exercise=TEXTS,
    title=TEXTS,
    points=st.floats(0, 10),
    of=st.floats(0, 10),
    reason=st.sampled_from(Reason),
    note=TEXTS,
    checks=st.lists(CHECKS, max_size=2).map(tuple),
    said=st.lists(TEXTS, max_size=2).map(tuple),
)
STUDENTS = st.sampled_from(["ada", "bob", r"Jos\xe9", "\u2028"])
RESULTS = st.builds(
    Graded,
    round=st.integers(1, 3),
    result=st.builds(
        Result,
        student=STUDENTS,
        notebook=st.sampled_from([NOTEBOOK, "00_start_here.ipynb"]),
        marks=st.lists(MARKS, max_size=2).map(tuple),
        digest=TEXTS,
        note=TEXTS,
        canvas_id=TEXTS,
        failure=TEXTS,
    ),
)
ENTRIES = st.one_of(
    RESULTS,
    st.builds(Left, student=STUDENTS),
    st.builds(FeedbackWritten, round=st.integers(1, 3)),
    st.sampled_from([FIRST, SECOND]),
)


def fresh(tmp_path_factory) -> Journal:
    return Journal(tmp_path_factory.mktemp("batch"))


def written(journal: Journal, entries) -> bytes:
    for entry in entries:
        journal.append(entry)
    return journal.path.read_bytes()


def lines_of(entries) -> bytes:
    """The same bytes without a disk in between."""
    return b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)


@pytest.mark.parametrize("parts", [1, 2, 3, 8])
def test_a_key_made_in_parts_is_the_whole_key(parts):
    exercises = tuple(ExpectedExercise(f"ex-{number}", "", 1.0, (CHECK,)) for number in range(5))
    whole = msgspec.structs.replace(KEY, exercises=exercises)
    made = [msgspec.structs.replace(KEY, exercises=exercises[part::parts]) for part in range(parts)]
    assert joined(made) == whole


def test_what_is_written_is_read(tmp_path):
    journal = Journal(tmp_path)
    assert journal.read() == []
    assert written(journal, ALL_KINDS) == lines_of(ALL_KINDS)
    assert journal.read() == Journal(tmp_path).read() == ALL_KINDS


@bounded
@given(st.lists(ENTRIES, min_size=1, max_size=5))
def test_any_entries_are_read_as_they_were_written(tmp_path_factory, entries):
    journal = fresh(tmp_path_factory)
    written(journal, entries)
    assert journal.read() == entries


@pytest.mark.parametrize("text", ["half a pair: \ud800", "a byte: \udce9", "\x00\x1b[2J\n\r\u2028", "x" * 1_000_000])
def test_no_text_makes_a_line_that_cannot_be_read(tmp_path, text):
    """What a run said may hold anything that a Python string can."""
    journal = Journal(tmp_path)
    mark = Mark("ex-mean", "A mean", 0.0, 2.0, Reason.ERROR, said=(text,))
    written(journal, [FIRST, Graded(1, Result("eve", NOTEBOOK, (mark,))), graded("ada")])
    first, eve, ada = journal.read()
    assert (first, ada) == (FIRST, graded("ada"))
    assert eve.result.marks[0].said == (text.encode("utf-8", "replace").decode(),)


def test_numbers_that_json_does_not_have_are_kept_as_strings(tmp_path):
    """A float that is no number would become ``null``, and the line could not be read again."""
    with pytest.raises(ValueError, match="not finite"):
        Values((1,), (float("nan"),))
    journal = Journal(tmp_path)
    values = Values((3,), ("nan", "-inf", 0.5))
    mark = Mark("ex-mean", "A mean", 0.0, 2.0, Reason.WRONG, checks=(CheckMark("a", True, False, found=values),))
    written(journal, [Graded(1, Result("eve", NOTEBOOK, (mark,)))])
    assert journal.read()[0].result.marks[0].checks[0].found.flat == ("nan", "-inf", 0.5)


# --- interrupted ---


def test_a_journal_may_be_cut_off_anywhere(tmp_path):
    """All lines that are whole are read; the rest goes when the batch goes on, and what comes next is a line of its own."""
    entries = [graded(), Left("ada"), FeedbackWritten(1), graded("bob")]
    content = lines_of(entries)
    journal = Journal(tmp_path)
    for length in range(len(content) + 1):
        journal.path.write_bytes(content[:length])
        whole = entries[: content[:length].count(b"\n")]
        assert journal.read() == whole
        journal.repair()
        assert journal.path.read_bytes() == lines_of(whole)
    journal.path.write_bytes(content[:-9])
    journal.repair()
    journal.append(Left("eve"))
    assert journal.read() == [*entries[:-1], Left("eve")]


def test_to_repair_what_is_not_there_or_whole_changes_nothing(tmp_path):
    journal = Journal(tmp_path)
    journal.repair()
    assert not journal.path.exists()
    content = written(journal, ALL_KINDS)
    journal.repair()
    assert journal.path.read_bytes() == content


def test_an_entry_is_on_the_disk_before_anybody_goes_on(tmp_path, monkeypatch):
    journal, forced = Journal(tmp_path), []

    def fsync(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        forced.append("folder" if is_folder else (tmp_path / JOURNAL).read_bytes())

    monkeypatch.setattr(os, "fsync", fsync)
    journal.append(FIRST)
    assert forced == [lines_of([FIRST]), "folder"]
    journal.append(Left("ada"))
    assert forced[2:] == [lines_of([FIRST, Left("ada")])]


def test_what_does_not_fit_on_the_disk_is_taken_back(tmp_path, monkeypatch):
    journal = Journal(tmp_path)
    content = written(journal, [FIRST, graded()])

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(JournalError, match=r"cannot be written \(no space left on device\)"):
            journal.append(graded("bob"))
    assert journal.path.read_bytes() == content
    journal.append(graded("eve"))
    assert journal.read() == [FIRST, graded(), graded("eve")]


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(JournalError, match="its folder is not there"):
        Journal(tmp_path / "nowhere").append(FIRST)
    (tmp_path / JOURNAL).mkdir()
    with pytest.raises(JournalError, match="cannot be read"):
        Journal(tmp_path).read()


def test_many_threads_may_write_at_once(tmp_path):
    journal = Journal(tmp_path)
    entries = [[graded(f"student-{thread}-{number}") for number in range(20)] for thread in range(8)]
    threads = [threading.Thread(target=written, args=(journal, each)) for each in entries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = journal.read()
    assert len(found) == 160
    for own in entries:
        assert [entry for entry in found if entry in own] == own


# --- damaged, or somebody else's ---


def test_only_its_owner_reads_a_journal(tmp_path):
    """It holds the seed. One that was restored from a copy is closed again with the next line."""
    before = os.umask(0)
    try:
        journal = Journal(tmp_path)
        journal.append(FIRST)
        assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
        journal.path.chmod(0o644)
        journal.append(graded())
        assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"null",
        b'{"entry":"left"}',
        b'{"entry":"left","student":"ada","unknown":1}',
        b'{"entry":"left","student":7}',
        b'{"entry":"unheard of","student":"ada"}',
        b'{"entry":"left","student":"\xff"}',
        b'{"entry":"left","student":"ada"',
        b'{"a":' + b"[" * 100_000,
        b'{"entry":"left","student":' + b"[" * 100_000,
        b'{"entry":"round","number":1' + b"0" * 5000 + b"}",
        b"\x00" * 512,
        lines_of([graded()]).strip().replace(b'"flat":[1.5,', b'"flat":[1.5,2.5,'),
        lines_of([graded()]).strip().replace(b'"wrong"', b'"unheard of"'),
    ],
)
def test_a_damaged_line_is_named_by_its_number(tmp_path, number, line):
    lines = lines_of(ALL_KINDS).split(b"\n")
    lines[number - 1] = line
    (tmp_path / JOURNAL).write_bytes(b"\n".join(lines))
    with pytest.raises(JournalError) as refused:
        Journal(tmp_path).read()
    assert str(refused.value) == f"{tmp_path / JOURNAL} is damaged in line {number}: restore it from a copy."


@pytest.mark.parametrize(
    "first",
    [
        {"type": "batch", "seed": "s", "notebooks": [NOTEBOOK], "unsafe": False, "limits": {}, "expected": {}},
        {"entry": "round", "format": 3, "number": 1, "what": "else"},
    ],
)
def test_the_journal_of_another_version_is_told_from_a_damaged_one(tmp_path, first):
    old = {"type": "result", "student": "ada", "canvas_id": "", "notebook": NOTEBOOK, "unsafe": False, "exercises": {}}
    (tmp_path / JOURNAL).write_text(json.dumps(first) + "\n" + json.dumps(old) + "\n")
    with pytest.raises(JournalError, match="was written by another version of the course"):
        Journal(tmp_path).read()


@bounded
@given(
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=5)), max_size=4) | st.binary(max_size=400),
)
@example([(0.0, b"\n")])
@example(b"\n")
def test_whatever_is_in_a_journal_is_read_or_refused_in_a_sentence(tmp_path_factory, changes):
    journal = fresh(tmp_path_factory)
    damaged = bytearray(changes) if isinstance(changes, bytes) else bytearray(lines_of(ALL_KINDS))
    for place, replacement in [] if isinstance(changes, bytes) else changes:
        start = int(place * (len(damaged) - 1))
        damaged[start : start + len(replacement)] = replacement
    journal.path.write_bytes(damaged)
    try:
        entries = journal.read()
    except CourseError as error:
        assert str(journal.path) in str(error)  # noqa: PT017
    else:
        assert len(entries) == damaged.count(b"\n")
        latest(entries)
        current_round(entries)
    journal.repair()
    assert journal.path.read_bytes() == bytes(damaged[: damaged.rfind(b"\n") + 1])


def test_each_byte_of_a_journal_is_looked_at_a_few_times(tmp_path, monkeypatch):
    """Reading takes as many steps for each line in a long journal as in a short one."""

    class Counted(bytes):
        """Bytes that count how many of them are searched."""

        searched = 0

        def count(self, *arguments):
            Counted.searched += len(self)
            return super().count(*arguments)

        def split(self, *arguments):
            Counted.searched += len(self)
            return super().split(*arguments)

    entries = [graded(f"student-{number}") for number in range(2000)]
    content = lines_of(entries)
    journal = Journal(tmp_path)
    monkeypatch.setattr(Journal, "_content", lambda self: Counted(content))
    assert journal.read() == entries
    assert len(content) <= Counted.searched <= 3 * len(content)


# --- what follows from the entries ---


def test_the_last_result_counts_and_who_has_left_has_none():
    entries = [
        FIRST,
        graded("bob"),
        graded("ada", note="first"),
        graded("ada", notebook="00_start_here.ipynb"),
        graded("eve"),
        graded("ada", note="second"),
        Left("eve"),
        Left("nobody"),
    ]
    assert latest(entries) == [
        graded("ada", notebook="00_start_here.ipynb"),
        graded("ada", note="second"),
        graded("bob"),
    ]
    # Who comes back and is graded again is there again.
    assert latest([*entries, graded("eve", 2)])[-1] == graded("eve", 2)
    assert latest([]) == []


def test_after_any_feedback_a_new_round_has_to_be_begun():
    assert current_round([]) is None
    assert current_round([FIRST, graded()]) == FIRST
    assert current_round([FIRST, graded(), Left("ada")]) == FIRST
    assert current_round([FIRST, graded(), FeedbackWritten(1)]) is None
    assert current_round([FIRST, FeedbackWritten(1), graded("late")]) is None
    assert current_round([FIRST, FeedbackWritten(1), SECOND, graded("bob", 2)]) == SECOND
    assert current_round([FIRST, FeedbackWritten(1), SECOND, FeedbackWritten(2), FeedbackWritten(2)]) is None


def test_rounds_are_numbered():
    assert next_number([]) == 1
    assert next_number([FIRST, graded(), FeedbackWritten(1)]) == 2
    assert next_number([FIRST, FeedbackWritten(1), SECOND, FeedbackWritten(2)]) == 3


@bounded
@given(st.lists(ENTRIES, max_size=30))
def test_results_are_as_a_slow_reading_would_have_them(entries):
    """The same by definition: of each student and notebook the last, unless the student has left after it."""
    expected = {}
    for position, entry in enumerate(entries):
        if isinstance(entry, Graded):
            has_left = any(later == Left(entry.result.student) for later in entries[position:])
            key = entry.result.student, entry.result.notebook
            expected.pop(key, None)
            if not has_left:
                expected[key] = entry
    assert latest(entries) == [expected[key] for key in sorted(expected)]
    rounds = [position for position, entry in enumerate(entries) if isinstance(entry, Round)]
    written_at = [position for position, entry in enumerate(entries) if isinstance(entry, FeedbackWritten)]
    is_open = bool(rounds) and (not written_at or written_at[-1] < rounds[-1])
    assert current_round(entries) == (entries[rounds[-1]] if is_open else None)

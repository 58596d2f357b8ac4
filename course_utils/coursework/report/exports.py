"""Fill marks into a gradebook that Canvas or Moodle exported: one column of it changes, and not a byte besides.

Sources for the forms: ``lib/gradebook_exporter.rb`` and ``lib/gradebook_importer.rb`` of Canvas; of Moodle the offline grading
worksheet (``mod/assign/feedback/offline``) and the plain-text export of the gradebook (``grade/export/txt``).
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from course_utils.coursework.grade.types import Result
from course_utils.coursework.report.results import ReportError
from course_utils.coursework.report.text import number, printable
from course_utils.coursework.source.notebooks import write_whole

DELIMITERS = ",;\t|"
# A cell is either quoted, with its quotes doubled, or it goes up to the next delimiter or line end.
CELL = {mark: re.compile(rf'"(?:[^"]|"")*"[^{mark}\r\n]*|[^{mark}\r\n]*') for mark in DELIMITERS}
PLATFORM_IDS = ("id", "identifier")
OTHER_IDS = ("sis user id", "integration id", "id number")
LOGINS = ("sis login id", "username", "email address")
NAMES = ("student", "full name")
# Last name, then first name.
NAMES_IN_TWO = (("lastname", "firstname"), ("last name", "first name"), ("surname", "first name"))
WHO = {
    *PLATFORM_IDS,
    *OTHER_IDS,
    *LOGINS,
    *NAMES,
    *(part for both in NAMES_IN_TWO for part in both),
    "section",
    "root account",
}
# What an instructor has decided already: excused, and not assigned to this student.
DECIDED = ("EX", "N/A")
# As Canvas and Moodle name what they let instructors download.
NUMBERED_STUDENT = re.compile(r"(?P<name>.+)_(?P<number>[0-9]+)")


@dataclass(frozen=True)
class Cell:
    """One cell of a table: its value, where it stands in the text, and whether it stands in quotes."""

    value: str
    start: int
    end: int
    is_quoted: bool


@dataclass(frozen=True)
class Filled:
    """A gradebook with marks in it.

    Attributes:
        content: the whole file.
        filled: how many cells got a mark.
        not_found: students with a mark of whom the file has no row, or more than one.
        without_mark: rows of the file for which there is no mark.
        left_alone: cells that were left as they were, and why.
        warnings: sentences on what may be wrong with the whole.
    """

    content: bytes
    filled: int
    not_found: tuple[str, ...]
    without_mark: tuple[str, ...]
    left_alone: tuple[str, ...]
    warnings: tuple[str, ...]

    def sentences(self) -> list[str]:
        """Return what an instructor should know, one sentence each."""
        lists = [
            ("Not in the gradebook, or more than once: {}.", self.not_found),
            ("Without a mark, so left as they were: {}.", self.without_mark),
            ("Left as they were: {}.", self.left_alone),
        ]
        return [*self.warnings, *(sentence.format("; ".join(names)) for sentence, names in lists if names)]


@dataclass(frozen=True)
class Person:
    """What is known of a student, or of a row, to tell who it is: each by the kind of key, made comparable."""

    ids: frozenset[str] = frozenset()
    other_ids: frozenset[str] = frozenset()
    logins: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()


def fill_in_export(export: Path, column: str, results: tuple[Result, ...], out: Path | None) -> tuple[Path, Filled]:
    """Write ``export`` with marks in it to ``out``, by default beside it, and return where that is.

    Raises:
        ReportError: as ``fill_in_marks`` raises it; or ``export`` cannot be read, or would be overwritten.
    """
    out = out or export.with_name(f"{export.stem}.marks.csv")
    try:
        content = export.read_bytes()
    except OSError as error:
        raise ReportError(f"{export} cannot be read: {(error.strerror or str(error)).lower()}.") from None
    if out.exists() and out.samefile(export):
        raise ReportError(f"{export} would be overwritten: name another file with --out.")
    filled = fill_in_marks(content, column, results)
    write_whole(out, filled.content)
    return out, filled


def fill_in_marks(content: bytes, column: str, results: tuple[Result, ...]) -> Filled:
    """Return a gradebook that Canvas or Moodle exported with the points of ``results``, of one notebook, in ``column``.

    Students are matched by number, then by login, then by name; whoever could be two is left out. Cells that say ``EX``
    (excused) or ``N/A`` stay so, and so does the cell of a student whom a human has to look at.

    Raises:
        ReportError: the file is no such table, or it has no such column, or several, or one that must not be changed.
    """
    text, encoding = _decoded(content)
    delimiter, rows = _table(text)
    header = [cell.value.strip() for cell in rows[0]]
    at = _column(header, column)
    students = [row for row in rows[1:] if _is_student(row)]
    for row in rows[1:]:
        if not _is_student(row) and len(row) > at and "read only" in row[at].value.lower():
            raise ReportError(f"The column {header[at]!r} is computed, and read only: name an assignment's.")
    by_row = _matches([_person_of(row, header) for row in students], [_person(result) for result in results])
    has_comma = delimiter != "," and any(re.fullmatch("[0-9]+,[0-9]+", cell.value) for row in rows[1:] for cell in row)
    changes: list[tuple[Cell, str]] = []
    left_alone, matched = [], set()
    for place, row in enumerate(students):
        result = results[by_row[place]] if place in by_row else None
        if result is None:
            continue
        matched.add(by_row[place])
        if len(row) <= at:
            raise ReportError(
                f"The row of {_label(row, header)} has {len(row)} cells where the header has {len(header)}: export it again."
            )
        if result.points is None:
            left_alone.append(f"{result.student}: for a human to look at")
        elif row[at].value.strip().upper() in DECIDED:
            left_alone.append(f"{result.student}: {row[at].value.strip()}")
        else:
            shown = number(result.points)
            changes.append((row[at], shown.replace(".", ",") if has_comma else shown))
    return Filled(
        _replaced(text, changes).encode(encoding),
        len(changes),
        tuple(printable(each.student) for place, each in enumerate(results) if place not in matched),
        tuple(_label(row, header) for place, row in enumerate(students) if place not in by_row),
        tuple(map(printable, left_alone)),
        tuple(_warnings(rows, header, at, results)),
    )


# Tables


def _decoded(content: bytes) -> tuple[str, str]:
    """Return the text and the encoding that gives back the same bytes; a byte-order mark is a part of the text."""
    encodings = ["utf-8", "cp1252", "latin-1"]
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16-le" if content.startswith(b"\xff\xfe") else "utf-16-be"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if text.encode(encoding) == content:
            return text, encoding
    raise ReportError("The gradebook is no text: export it as CSV.")


def _table(text: str) -> tuple[str, list[list[Cell]]]:
    """Return what parts the cells, of which there are most in the first row, and the rows; empty lines are left out."""

    def width(delimiter: str) -> int:
        return max((len(row) for row in _cells(text, delimiter, most_rows=1)), default=0)

    delimiter = max(DELIMITERS, key=width)
    rows = _cells(text, delimiter)
    if not rows or len(rows[0]) < 2:
        raise ReportError("The gradebook is no table: its first line should name columns, as in Student,ID,Section.")
    return delimiter, rows


def _cells(text: str, delimiter: str, most_rows: int | None = None) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    row: list[Cell] = []
    at = 1 if text.startswith("\ufeff") else 0
    while at < len(text) and (most_rows is None or len(rows) < most_rows):
        match = CELL[delimiter].match(text, at)
        raw = match.group() if match else ""
        is_quoted = raw.startswith('"') and raw.endswith('"') and len(raw) > 1
        value = raw[1:-1].replace('""', '"') if is_quoted else raw
        row.append(Cell(value, at, at + len(raw), is_quoted))
        at += len(raw)
        if text.startswith(delimiter, at):
            at += 1
            if at < len(text):
                continue
            row.append(Cell("", at, at, False))
        at += 2 if text.startswith("\r\n", at) else 1
        if len(row) > 1 or row[0].value:
            rows.append(row)
        row = []
    return rows


def _replaced(text: str, changes: list[tuple[Cell, str]]) -> str:
    parts, at = [], 0
    for cell, value in sorted(changes, key=lambda change: change[0].start):
        parts += [text[at : cell.start], f'"{value}"' if cell.is_quoted else value]
        at = cell.end
    return "".join([*parts, text[at:]])


def _column(header: list[str], column: str) -> int:
    """Return the place of a column, named as it is or without what Canvas and Moodle put around an assignment's name."""

    def bare(name: str) -> str:
        return re.sub(r"^[^:]+: | \((?:[0-9]+|[A-Z][a-z]+)\)$", "", name).casefold()

    exact = [place for place, name in enumerate(header) if name == column.strip()]
    found = exact or [
        place for place, name in enumerate(header) if column.strip().casefold() in (name.casefold(), bare(name))
    ]
    if len(found) == 1 and header[found[0]].casefold() not in WHO:
        return found[0]
    names = ", ".join(repr(printable(name)) for name in header if name and name.casefold() not in WHO)
    if len(found) > 1:
        raise ReportError(f"Several columns are called {column!r}: write one of them in full; there are {names}.")
    what = "says who a student is, and is not for marks" if found else "is not in the gradebook"
    raise ReportError(f"The column {column!r} {what}; there are {names}.")


def _is_student(row: list[Cell]) -> bool:
    """Return whether a row is a student's: neither Canvas's row of possible points nor its row of posting policies."""
    return "Points Possible" not in row[0].value and any(cell.value.strip() for cell in row[:4])


def _warnings(rows: list[list[Cell]], header: list[str], at: int, results: tuple[Result, ...]) -> Iterable[str]:
    of = max((result.of for result in results), default=0.0)
    possible = {row[at].value for row in rows[1:] if "Points Possible" in row[0].value and len(row) > at}
    if "Maximum Grade" in header and header[at] == "Grade":
        most = header.index("Maximum Grade")
        possible |= {row[most].value for row in rows[1:] if len(row) > most}
    for value in sorted(possible):
        if re.fullmatch(r"[0-9]+([.,][0-9]+)?", value) and float(value.replace(",", ".")) != of:
            yield f"The column {header[at]!r} is out of {value} points, the notebook out of {number(of)}: points are not scaled."


# Who is who


def _person(result: Result) -> Person:
    numbered = NUMBERED_STUDENT.fullmatch(result.student)
    name = numbered["name"] if numbered else result.student
    login = result.student.strip().casefold()
    ids = (
        {f"id {result.canvas_id}"} if result.canvas_id else {f"identifier {numbered['number']}"} if numbered else set()
    )
    return Person(frozenset(ids), frozenset({login}), _login_keys(login, is_of_row=False), _name_keys(name))


def _person_of(row: list[Cell], header: list[str]) -> Person:
    columns = {name.casefold(): cell.value.strip() for name, cell in zip(header, row) if cell.value.strip()}
    ids = {f"id {columns['id']}"} if "id" in columns else set()
    number_at_end = re.search("[0-9]+$", columns.get("identifier", ""))
    if number_at_end:
        ids.add(f"identifier {number_at_end.group()}")
    names = [columns[name] for name in NAMES if name in columns]
    names += [f"{columns[last]}, {columns[first]}" for last, first in NAMES_IN_TWO if {last, first} <= columns.keys()]
    return Person(
        frozenset(ids),
        frozenset(columns[name].casefold() for name in (*PLATFORM_IDS, *OTHER_IDS) if name in columns),
        frozenset().union(*(_login_keys(columns[name], is_of_row=True) for name in LOGINS if name in columns)),
        frozenset().union(*map(_name_keys, names)),
    )


def _login_keys(login: str, *, is_of_row: bool) -> frozenset[str]:
    """Return a login such that ``ada`` fits ``ada@a.edu`` on the other side, and ``ada@b.edu`` does not."""
    name, at, _ = login.casefold().partition("@")
    return frozenset({login.casefold(), f"{'address' if bool(at) == is_of_row else 'no address'} of {name}"})


def _name_keys(name: str) -> frozenset[str]:
    """Return a name as Canvas and Moodle may write it, comparable: ``Lovelace, Ada`` is also ``adalovelace``."""
    name = re.sub(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})", "", name)
    plain = "".join(c for c in unicodedata.normalize("NFKD", name).casefold() if c.isalnum() or c == ",")
    last, _, first = plain.partition(",")
    return frozenset(filter(None, (plain.replace(",", ""), first.replace(",", "") + last)))


def _matches(rows: list[Person], students: list[Person]) -> dict[int, int]:
    """Return the student of each row: by the first kind of key that fits exactly one row and one student."""
    kinds: tuple[Callable[[Person], frozenset[str]], ...] = (
        lambda person: person.ids,
        lambda person: person.other_ids,
        lambda person: person.logins,
        lambda person: person.names,
    )
    found: dict[int, int] = {}
    left, ambiguous = set(range(len(students))), set()
    for keys in kinds:
        by_key: dict[str, set[int]] = {}
        for place, person in enumerate(rows):
            for key in keys(person) if place not in found else ():
                by_key.setdefault(key, set()).add(place)
        wanted = {
            student: {
                place
                for key in keys(students[student])
                for place in by_key.get(key, ())
                if not _contradict(rows[place], students[student])
            }
            for student in left
        }
        claims: dict[int, list[int]] = {}
        for student, places in wanted.items():
            for place in places:
                claims.setdefault(place, []).append(student)
        for student, places in wanted.items():
            if len(places) == 1 and len(claims[next(iter(places))]) == 1:
                found[next(iter(places))] = student
            elif places:
                # Whom a better key leaves open, a worse one must not decide.
                ambiguous.add(student)
        left -= set(found.values()) | ambiguous
    return found


def _contradict(row: Person, student: Person) -> bool:
    """Return whether the numbers of a platform, or the names that come with them, say that these are two people."""
    kinds = {key.partition(" ")[0] for key in row.ids} & {key.partition(" ")[0] for key in student.ids}
    if kinds and not row.ids & student.ids:
        return True
    # A login such as stud_12 looks like Moodle's participant 12, who has another name.
    return "identifier" in kinds and bool(row.names) and not row.names & student.names


def _label(row: list[Cell], header: list[str]) -> str:
    columns = {name.casefold(): cell.value.strip() for name, cell in zip(header, row)}
    first = columns.get("first name") or columns.get("firstname") or ""
    last = columns.get("last name") or columns.get("surname") or columns.get("lastname") or ""
    whole = f"{first} {last}".strip()
    names = [columns.get("student"), columns.get("full name"), whole, columns.get("identifier"), columns.get("id")]
    return printable(next((name for name in names if name), row[0].value))

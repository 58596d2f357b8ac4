"""Pack students' pages under the names by which a learning platform knows whose a file is.

Moodle (*Upload multiple feedback files in a zip*, ``mod/assign/feedback/file/importziplib.php``) takes the participant's
number from ``NAME_123_assignsubmission_file``, as a folder or in front of a file's name. Canvas (*Upload submissions*,
``infer_comment_context_from_filename``) takes the student's and the attachment's number from the file's name, and gives the
file to the student under the name that the attachment had.
"""

import io
import json
import re
import zipfile
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from course_utils.coursework.grade.submissions import printable as student_name
from course_utils.coursework.grade.types import Result
from course_utils.coursework.report.pages import student_page
from course_utils.coursework.report.results import ReportError
from course_utils.coursework.source.notebooks import write_whole

MOODLE = re.compile(r"(?P<student>.+?_[0-9]+)_(?P<plugin>assignsubmission_[a-z]+)(?P<rest>_.*)?", re.DOTALL)
# Looking ahead finds all places where the two numbers may be, since a name may end in a number, too.
CANVAS = re.compile(r"(?=_(?:LATE_)?(?P<number>[0-9]{1,20})_(?P<attachment>[0-9]{1,20})_(?P<file>.+))", re.DOTALL)
CANVAS_ANONYMOUS = re.compile(r"(?:LATE_)?(?P<student>anon_[0-9A-Za-z]+)_(?P<attachment>[0-9]{1,20})_.+", re.DOTALL)
PAGE = "feedback.html"


@dataclass(frozen=True)
class Slot:
    """A place for a student's page: its name, and, among several of a student, the one of the highest rank counts."""

    student: str
    name: str
    rank: tuple[int, int]


@dataclass(frozen=True)
class Packed:
    """An archive of pages to upload, how many students it is for, and of whom there is a page but no place in it."""

    content: bytes
    students: int
    not_found: tuple[str, ...]


def pack_like(download: Path, results: tuple[Result, ...], out: Path | None) -> tuple[Path, Packed]:
    """Write an archive of all students' pages, named as in ``download``, to ``out``, by default beside it.

    Raises:
        ReportError: as ``pack_feedback`` and ``entries_of`` raise it; or ``download`` would be overwritten.
    """
    out = out or download.resolve().with_name(f"{download.resolve().name.removesuffix('.zip')}.feedback.zip")
    by_student: dict[str, tuple[Result, ...]] = {}
    for result in results:
        by_student[result.student] = (*by_student.get(result.student, ()), result)
    if out.exists() and out.samefile(download):
        raise ReportError(f"{download} would be overwritten: name another file with --out.")
    packed = pack_feedback(by_student, lambda student: student_page(student, by_student[student]), entries_of(download))
    write_whole(out, packed.content)
    return out, packed


def pack_feedback(students: Collection[str], page_of: Callable[[str], bytes], entries: Iterable[str]) -> Packed:
    """Return an archive with each student's page under the name by which the platform knows whose it is.

    Args:
        page_of: returns a student's page.
        entries: the paths in a download of all submissions.

    Raises:
        ReportError: no path has a name as Canvas or Moodle gives it.
    """
    slots = [slot for path in entries if (slot := _slot(path, students))]
    if not slots:
        raise ReportError(
            "The download holds no names as Canvas (NAME_4711_815_FILE) or Moodle (NAME_123_assignsubmission_file) gives "
            "them: name the archive with all submissions as it came, or the folder that it was unpacked into."
        )
    chosen: dict[str, Slot] = {}
    for slot in slots:
        if slot.student in students and (slot.student not in chosen or slot.rank > chosen[slot.student].rank):
            chosen[slot.student] = slot
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for student, slot in sorted(chosen.items()):
            _write(archive, slot.name, _as_named(slot.name, page_of(student)))
    return Packed(buffer.getvalue(), len(chosen), tuple(sorted(set(students) - chosen.keys())))


def entries_of(download: Path) -> list[str]:
    """Return the paths in a download of all submissions, an archive or a folder; nothing in it is opened.

    Raises:
        ReportError: it is neither.
    """
    if download.is_dir():
        return sorted(path.relative_to(download).as_posix() for path in download.rglob("*"))
    try:
        with zipfile.ZipFile(download) as archive:
            return sorted(archive.namelist())
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        reason = (getattr(error, "strerror", None) or "it is neither a folder nor a zip archive").lower()
        raise ReportError(f"{download} cannot be read ({reason}): name what the platform let you download.") from None


def _slot(path: str, students: Collection[str]) -> Slot | None:
    """Return the place for a page that the first part of a path with a platform's name gives, if any does."""
    for part in PurePosixPath(path).parts:
        if part.startswith((".", "__MACOSX")):
            return None
        moodle = MOODLE.fullmatch(part)
        if moodle:
            rest = moodle["rest"] or ""
            is_file = len(rest) > 1
            name = f"{part.removesuffix(rest)}_{PAGE}" if is_file else f"{part}/{PAGE}"
            return Slot(student_name(moodle["student"]), name, (int(moodle["plugin"] == "assignsubmission_file"), 0))
        ways = [(f"{part[: way.start()]}_{way['number']}", int(way["attachment"])) for way in CANVAS.finditer(part)]
        anonymous = CANVAS_ANONYMOUS.fullmatch(part)
        if anonymous:
            ways.append((anonymous["student"], int(anonymous["attachment"])))
        if ways:
            ways = [(student_name(student), attachment) for student, attachment in ways]
            student, attachment = next((way for way in ways if way[0] in students), ways[0])
            return Slot(student, part, (int(part.lower().endswith(".ipynb")), attachment))
    return None


def _as_named(name: str, page: bytes) -> bytes:
    """Return a page as a file of this name holds it, since Canvas hands it to the student under the name it had."""
    ending = PurePosixPath(name).suffix.lower()
    if ending == ".zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            _write(archive, PAGE, page)
        return buffer.getvalue()
    if ending != ".ipynb":
        return page
    body = page.decode().partition("<main>")[2].partition("</main>")[0]
    # A blank line would end the HTML in a cell of Markdown.
    source = "\n".join(line for line in body.splitlines() if line.strip())
    cell = {"cell_type": "markdown", "id": "feedback", "metadata": {}, "source": source}
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a file of no particular date, so that the same pages give the same archive."""
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    archive.writestr(entry, content)

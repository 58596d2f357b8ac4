"""Find what students handed in, and read it as what it is: bytes made by strangers.

A folder of submissions holds one folder, or one zip archive, for each student, named after the student, or the files of a
download from Canvas; the notebooks are somewhere in it, under the names they were released with. Nothing is ever unpacked to a disk, followed through a
link, or evaluated.
"""

import ast
import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import UnionType
from typing import Any, NamedTuple

from nbformat import NotebookNode

from course_utils.coursework.notebooks import (
    MARKER,
    SETUP_TAG,
    STUB,
    Exercise,
    NotebookError,
    exercises,
    notebook_bytes,
    read_notebook,
    student_copy,
)
from course_utils.coursework.statements import defined, names_of, statements, used

MAX_NOTEBOOK_BYTES = 20_000_000
MAX_ARCHIVE_BYTES = 200_000_000
MAX_ENTRIES = 20_000
MAX_ANSWER_CHARACTERS = 200_000
DEFINITIONS = ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
ASSIGNMENTS = ast.Assign | ast.AnnAssign | ast.AugAssign
# What students hand in and no folder of submissions should hold: it is refused by name, so that nobody gets lost.
LOOSE = (".ipynb", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
# What is looked at, or at least named, of what lies in a student's folder.
WORTH_NAMING = (".zip", *LOOSE)
# As Canvas names the files in a download of all submissions of an assignment.
CANVAS = re.compile(r"(?P<student>[^_]+)_(?:LATE_)?(?P<id>[0-9]+)_(?P<attachment>[0-9]{1,18})_(?P<file>.+)")
MOODLE = re.compile(r"(?P<student>.+_[0-9]+)_assignsubmission_file_?")
# Names of what archivers, editors and systems leave beside the files of their user begin so.
HIDDEN = (".", "__MACOSX")


class UnreadableError(NotebookError):
    """What was handed in is no notebook that can be graded; the sentence is fit for the student."""


@dataclass(frozen=True)
class Submission:
    """One student's notebook: its bytes are read when it is graded, not before.

    Attributes:
        path: the file, or the archive that holds it as ``member``; ``None`` if there is none of its name.
        refused: why nothing is read from what the student handed in, or an empty string.
        others: notebooks of the student that have no name of the course, and archives inside, which nobody opens.
        untouched: whether it is what students were given, with no answer in it.
        note: what is worth noting about how it was found.
        canvas_id: the student's number in Canvas, if the file comes from there.
    """

    student: str
    notebook: str
    path: Path | None
    member: str = ""
    refused: str = ""
    others: tuple[str, ...] = ()
    untouched: bool = False
    note: str = ""
    canvas_id: str = ""

    def read(self) -> bytes | None:
        """Return the bytes that were handed in, or ``None`` if there are none.

        Raises:
            UnreadableError: they are too many, a link stands in their place, or the whole archive is refused.
        """
        if self.refused:
            raise UnreadableError(self.refused)
        if self.path is None:
            return None
        try:
            if self.member:
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as file:
                    content = file.read(MAX_NOTEBOOK_BYTES + 1)
            else:
                # Neither a link, nor a pipe that would never end, nor a device.
                descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
                with open(descriptor, "rb") as file:
                    status = os.fstat(descriptor)
                    if not stat.S_ISREG(status.st_mode):
                        raise UnreadableError(f"{self.notebook} is not a regular file.")
                    if status.st_size > MAX_NOTEBOOK_BYTES:
                        raise UnreadableError(_too_large(self.notebook))
                    content = file.read(MAX_NOTEBOOK_BYTES + 1)
        except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
            is_link = getattr(error, "errno", None) == errno.ELOOP
            reason = "it is a link" if is_link else getattr(error, "strerror", None) or type(error).__name__
            raise UnreadableError(f"{self.notebook} cannot be read ({reason}).") from None
        if len(content) > MAX_NOTEBOOK_BYTES:
            raise UnreadableError(_too_large(self.notebook))
        return content


def digest_of(content: bytes) -> str:
    """Return what tells one hand-in from another."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Answers:
    """The answers found in a notebook, by exercise.

    Attributes:
        sources: the source of each, after all other answers of the notebook.
        alone: the source of each when it is run without the others: what it uses of the answers above it goes in front.
        notes: what is worth noting about how it was found.
    """

    sources: dict[str, str]
    alone: dict[str, str]
    notes: dict[str, str]


def find_submissions(folder: Path, sources: list[Path]) -> list[Submission]:
    """Return one submission for each student and each of the source notebooks, in order, with or without a file.

    Of several files of a student with a notebook's name one counts: rather one that was worked on, then what lies in a folder
    called ``work``, then the one of the highest number, as browsers and Canvas number later ones.

    Raises:
        NotebookError: ``folder`` is none, or nobody handed in anything.
    """
    if not folder.is_dir():
        raise NotebookError(f"{folder} is not a folder; it should hold one folder or zip archive for each student.")
    given = {path.name: read_notebook(path) for path in sources}
    stubs = {name: notebook_bytes(student_copy(source)) for name, source in given.items()}
    found = []
    for student, places in _places(folder).items():
        files, refused, canvas_id = [], "", ""
        try:
            for place in places:
                canvas = _canvas(place)
                canvas_id = canvas["id"] if canvas else ""
                if place.is_symlink():
                    raise UnreadableError("A link was handed in: links are not followed.")
                if place.is_dir():
                    files += _files(place)
                elif place.suffix.lower() == ".zip":
                    files += _members(place)
                elif canvas:
                    files.append((canvas["file"], place, ""))
                else:
                    what = "it" if place.suffix == ".ipynb" else "what is in it"
                    raise UnreadableError(f"{place.name} is neither a folder nor a zip archive: put {what} into a folder with the student's name.")
        except UnreadableError as error:
            files, refused = [], str(error)
        others = tuple(name for name, *_ in files if not any(_is_called(name, notebook) for notebook in given))
        for notebook, source in given.items():
            named = [(name, Submission(student, notebook, *place, canvas_id=canvas_id)) for name, *place in files if _is_called(name, notebook)]
            ranked = sorted(((_rank(name, each, source, stubs[notebook]), name, each) for name, each in named), key=lambda entry: entry[:2])
            if not ranked:
                found.append(Submission(student, notebook, None, refused=refused, others=others, canvas_id=canvas_id))
                continue
            (untouched, *_), name, first = ranked[0]
            touched = sum(not each_untouched for (each_untouched, *_), *_ in ranked)
            note = f"{touched} files have its name; {name} counts." if touched > 1 else ""
            found.append(dataclasses.replace(first, untouched=untouched, note=note))
    return found


def _places(folder: Path) -> dict[str, list[Path]]:
    """Return what each student handed in: a folder or an archive; or files as Canvas names them in its download.

    Raises:
        NotebookError: nobody handed in anything, or there are both a folder and an archive of somebody.
    """
    places: dict[str, list[Path]] = {}
    for place in sorted(folder.iterdir(), key=lambda path: path.name):
        is_folder, canvas = place.is_dir() or place.is_symlink(), _canvas(place)
        if place.name.startswith(HIDDEN) or not (is_folder or place.suffix.lower() in (".zip", *LOOSE)):
            continue
        moodle = MOODLE.fullmatch(place.name)
        if canvas:
            student = f"{canvas['student']}_{canvas['id']}"
        elif moodle:
            student = moodle["student"]
        else:
            student = place.name if is_folder else place.stem.removesuffix(".tar")
        if student in places and not canvas:
            raise NotebookError(f"{folder} holds both a folder and an archive of {student!r}: remove one of them.")
        places.setdefault(student, []).append(place)
    if not places:
        raise NotebookError(f"{folder} holds no submissions: there should be one folder or zip archive for each student.")
    return places


def _canvas(place: Path) -> re.Match[str] | None:
    """Return the student, the student's number and the name of a file, if Canvas has put all these into its name."""
    return None if place.is_dir() else CANVAS.fullmatch(place.name)


def _rank(path: str, submission: Submission, source: NotebookNode, stub: bytes) -> tuple[bool, bool, int, int, bool]:
    """Return what comes first among files of one name: one that is not untouched, in a work folder, of the highest numbers."""
    untouched = False
    with contextlib.suppress(UnreadableError):
        content = submission.read()
        # The bytes are those of this release; of an earlier one it can still be seen that nothing was answered.
        untouched = content == stub or _is_unanswered(content, source)
    pure, canvas = PurePosixPath(path), _canvas(submission.path)
    later = re.search(r"[-( ]([0-9]{1,9})\)?\.ipynb$", pure.name)
    numbers = int(canvas["attachment"]) if canvas else 0, int(later[1]) if later else 0
    return untouched, "work" not in pure.parts, -numbers[0], -numbers[1], pure.name != submission.notebook


def _is_unanswered(content: bytes, source: NotebookNode) -> bool:
    answers = read_answers(content, source).sources
    return bool(answers) and all(STUB in answer for answer in answers.values())


def _files(folder: Path) -> Iterator[tuple[str, Path, str]]:
    for directory, subdirectories, names in os.walk(folder, followlinks=False):
        subdirectories[:] = sorted(name for name in subdirectories if not name.startswith(HIDDEN))
        for name in sorted(names):
            path = Path(directory, name)
            if name.lower().endswith(WORTH_NAMING) and not name.startswith(HIDDEN):
                yield path.relative_to(folder).as_posix(), path, ""


def _members(archive_path: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield the notebooks of an archive that hides nothing: no links, no way out of it, no bomb."""
    too_much = f"The archive holds more than {MAX_ENTRIES} files or {MAX_ARCHIVE_BYTES // 1_000_000} MB: pack the notebooks alone."
    if archive_path.stat().st_size > MAX_ARCHIVE_BYTES:
        raise UnreadableError(too_much)
    try:
        with zipfile.ZipFile(archive_path) as archive:
            entries = archive.infolist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        raise UnreadableError("The archive is damaged, or no zip archive: pack it again.") from None
    if len(entries) > MAX_ENTRIES:
        raise UnreadableError(too_much)
    entries = [entry for entry in entries if entry.filename.lower().endswith(WORTH_NAMING)]
    if sum(entry.file_size for entry in entries) > MAX_ARCHIVE_BYTES:
        raise UnreadableError(too_much)
    for entry in sorted(entries, key=lambda entry: entry.filename):
        parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
        is_link = stat.S_ISLNK(entry.external_attr >> 16)
        if is_link or ".." in parts or parts[0] == "/":
            raise UnreadableError("The archive holds a link, or a path that leads out of it: pack the notebooks alone.")
        if not any(part.startswith(HIDDEN) for part in parts):
            yield entry.filename, archive_path, entry.filename


def _is_called(path: str, notebook: str) -> bool:
    """Return whether a file is ``notebook``, also as browsers and learning platforms rename a download, or as an update."""
    stem = re.escape(notebook.removesuffix(".ipynb"))
    return re.search(rf"(?<![0-9]){stem}(?:[-_ (].*|\.update-.*)?\.ipynb$", PurePosixPath(path).name) is not None


def read_answers(content: bytes, source: NotebookNode) -> Answers:
    """Return the answers in ``content``, the bytes of a notebook of format 3 or 4, to the exercises of ``source``.

    A cell is an answer if it has the id of the answer cell; or else its ``grade_id`` in the metadata; or else the comment
    that marks it in the student's copy. If several cells have the same claim, the last one counts. If what it should define
    is defined in a cell that the student added between it and its check, then that is the answer; or in any added cell, if it
    is untouched or gone. What an answer uses of the cells above it goes in front of it: imports, functions and classes; and
    variables, if the student added or changed the cell.

    Raises:
        UnreadableError: ``content`` is no notebook.
    """
    cells = _code_cells(content)
    student = student_copy(source)
    stubs = {exercise.name: exercise.answer.source.strip() for exercise in exercises(student)}
    given = {cell.source.strip() for cell in student.cells}
    known = given | {cell.id for cell in student.cells}
    new = [cell for cell in cells if not {cell["id"], cell["source"].strip()} & known]
    # Setup is run anyway, answers have their turn, and of checks nothing is to be taken.
    passed_over = [cell for cell in student.cells if cell.metadata.get("nbgrader") or SETUP_TAG in cell.metadata.get("tags", [])]
    passed_over = {cell.source.strip() for cell in passed_over} | {cell.id for cell in passed_over if cell.metadata.get("nbgrader")}
    notes: dict[str, str] = {}
    claimed: dict[int, list[str]] = {}
    for exercise in exercises(source):
        grade_id = exercise.answer.metadata.nbgrader.grade_id
        ways = {
            "": lambda cell: cell["id"] == exercise.answer.id,
            "found by its metadata": lambda cell: cell["grade_id"] == grade_id,
            "found by its comment": lambda cell: MARKER.format(grade_id) in cell["source"],
        }
        for note, is_answer in ways.items():
            claims = [cell for cell in cells if is_answer(cell)]
            if claims:
                several = f"{len(claims)} cells claim to be it; the last one counts" if len(claims) > 1 else ""
                below = _between(cells, claims[-1], exercise, student)
                is_stub = claims[-1]["source"].strip() == stubs[exercise.name]
                elsewhere = _written_elsewhere(stubs[exercise.name], [cell for cell in new if is_stub or cell in below])
                if elsewhere:
                    note, claims = "written into a cell of the student's own", elsewhere
                claimed.setdefault(id(claims[-1]), []).append(exercise.name)
                notes[exercise.name] = "; ".join(filter(None, [note, several]))
                break
        else:
            for cell in _written_elsewhere(stubs[exercise.name], new)[-1:]:
                claimed.setdefault(id(cell), []).append(exercise.name)
                notes[exercise.name] = "found by the names that it defines"
    sources, alone = {}, {}
    helpers, above, room = [], [], MAX_ANSWER_CHARACTERS
    for cell in cells:
        source = cell["source"]
        for name in claimed.get(id(cell), []):
            sources[name], alone[name] = (_needed(own, source) + source for own in (helpers, above))
        if id(cell) in claimed:
            above += _helpers(source)
        elif not ({cell["id"], source.strip()} & passed_over or cell["grade_id"]):
            is_given = source.strip() in given
            room -= 0 if is_given else len(source)
            more = _given_helpers(source) if is_given else _helpers(source) if room >= 0 else []
            helpers, above = helpers + more, above + more
    return Answers(sources, alone, notes)


def _between(cells: list[dict[str, Any]], answer: dict[str, Any], exercise: Exercise, student: NotebookNode) -> list[dict[str, Any]]:
    """Return the cells between an answer and its check: what they define is what the check meets when a student runs it."""
    source = next(cell.source.strip() for cell in student.cells if cell.id == exercise.check.id)
    grade_id = exercise.check.metadata.nbgrader.grade_id
    start = next(number for number, cell in enumerate(cells) if cell is answer)
    for number, cell in enumerate(cells[start:], start):
        if cell["id"] == exercise.check.id or cell["grade_id"] == grade_id or cell["source"].strip() == source:
            return cells[start + 1 : number]
    return []


def _written_elsewhere(stub: str, new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those of the ``new`` cells in which all is defined that an answer's ``stub`` defines."""
    asked = names_of(defined, stub)
    return [cell for cell in new if asked and asked <= names_of(defined, cell["source"])]


class Helper(NamedTuple):
    """A statement that an answer may need: its source, the names that it brings along, and those that it uses."""

    source: str
    brings: set[str]
    uses: set[str]


def _helpers(source: str, kinds: UnionType = DEFINITIONS | ASSIGNMENTS) -> list[Helper]:
    """Return the statements of a cell that are of one of ``kinds``."""
    found = []
    for statement in statements(source):
        if isinstance(statement, kinds):
            is_star = isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*"
            found.append(Helper(ast.unparse(statement), {"*"} if is_star else defined(statement), used(statement)))
    return found


@functools.cache
def _given_helpers(source: str) -> list[Helper]:
    """Return the functions, classes and imports of a cell of the course, which is one of not too many."""
    return _helpers(source, DEFINITIONS)


def _needed(helpers: list[Helper], answer: str) -> str:
    """Return those of ``helpers`` that ``answer`` uses, directly or through one another: experiments are not run again."""
    # Nobody can tell what a star brings along.
    todo = ["*", *names_of(used, answer) - names_of(defined, answer)]
    by_name: dict[str, list[int]] = {}
    for number, helper in enumerate(helpers):
        for name in helper.brings:
            by_name.setdefault(name, []).append(number)
    needed = set()
    while todo:
        for number in by_name.pop(todo.pop(), []):
            needed.add(number)
            todo += helpers[number].uses
    return "".join(f"{helpers[number].source}\n" for number in sorted(needed)) + ("\n" if needed else "")


def _code_cells(content: bytes) -> list[dict[str, Any]]:
    """Return ``id``, ``grade_id`` and ``source`` of each code cell; whatever else there is does not matter."""
    try:
        notebook = json.loads(content.decode("utf-8-sig"), parse_constant=lambda name: None)
    except RecursionError:
        raise UnreadableError("The file is nested too deeply to be a notebook.") from None
    except ValueError:
        raise UnreadableError("The file is not a Jupyter notebook, or not all of it: hand it in again.") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if cells is None and isinstance(notebook, dict):
        sheets = notebook.get("worksheets")
        sheets = sheets if isinstance(sheets, list) else []
        # Format 3 kept its cells in worksheets, of which Jupyter only ever made one.
        lists = [sheet.get("cells") for sheet in sheets if isinstance(sheet, dict)]
        cells = [cell for each in lists if isinstance(each, list) for cell in each] if lists else None
    if not isinstance(cells, list):
        raise UnreadableError("The file is JSON, but not a Jupyter notebook: it has no list of cells.")
    found = []
    for cell in cells:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", cell.get("input", ""))
        if isinstance(source, list):
            source = "".join(part for part in source if isinstance(part, str))
        if not isinstance(source, str) or len(source) > MAX_ANSWER_CHARACTERS:
            continue
        metadata = cell.get("metadata")
        role = metadata.get("nbgrader") if isinstance(metadata, dict) else None
        found.append(
            {
                "id": _text(cell.get("id")),
                "grade_id": _text(role.get("grade_id")) if isinstance(role, dict) else "",
                # Half of a surrogate pair can be in JSON but in no file, and NUL in no source.
                "source": source.encode("utf-8", "replace").decode().replace("\r\n", "\n").replace("\0", ""),
            }
        )
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _too_large(name: str) -> str:
    return f"{name} is larger than {MAX_NOTEBOOK_BYTES // 1_000_000} MB: clear its outputs and hand it in again."

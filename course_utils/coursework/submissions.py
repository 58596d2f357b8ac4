"""Find what students handed in, and read it as what it is: bytes made by strangers.

A folder of submissions holds one folder, or one zip archive, for each student, named after the student; the notebooks
are somewhere in it, under the names they were released with. Nothing is ever unpacked to a disk, followed through a
link, or evaluated.
"""

import ast
import json
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from nbformat import NotebookNode

from course_utils.coursework.notebooks import MARKER, NotebookError, exercises, student_copy

MAX_NOTEBOOK_BYTES = 20_000_000
MAX_ARCHIVE_BYTES = 200_000_000
MAX_ENTRIES = 2_000
MAX_ANSWER_CHARACTERS = 200_000


class UnreadableError(NotebookError):
    """What was handed in is no notebook that can be graded; the sentence is fit for the student."""


@dataclass(frozen=True)
class Submission:
    """One student's notebook: its bytes are read when it is graded, not before."""

    student: str
    notebook: str
    path: Path | None
    member: str = ""

    def read(self) -> bytes | None:
        """Return the bytes that were handed in, or ``None`` if there are none.

        Raises:
            UnreadableError: they are too many, or a link stands in their place.
        """
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
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise UnreadableError(f"{self.notebook} cannot be read ({reason}).") from None
        if len(content) > MAX_NOTEBOOK_BYTES:
            raise UnreadableError(_too_large(self.notebook))
        return content


@dataclass(frozen=True)
class Answers:
    """The source of each answer found, by exercise, and what is worth noting about how it was found."""

    sources: dict[str, str]
    notes: dict[str, str]


def find_submissions(folder: Path, notebooks: list[str]) -> list[Submission]:
    """Return one submission for each student and each of ``notebooks``, in order, with or without a file.

    Raises:
        NotebookError: ``folder`` is none, or nobody handed in anything.
    """
    if not folder.is_dir():
        raise NotebookError(f"{folder} is not a folder; it should hold one folder or zip archive for each student.")
    found = []
    for place in sorted(folder.iterdir(), key=lambda path: path.name):
        if place.name.startswith(".") or not (place.is_dir() or place.is_symlink() or place.suffix == ".zip"):
            continue
        student = place.stem if place.suffix == ".zip" else place.name
        files = [] if place.is_symlink() else list(_members(place) if place.suffix == ".zip" else _files(place))
        for notebook in notebooks:
            named = [entry for entry in files if _is_called(entry[0], notebook)]
            # The plain name first, then what browsers and Jupyter make of it when it is there already.
            named.sort(key=lambda entry: (PurePosixPath(entry[0]).name != notebook, entry[0]))
            path, member = named[0][1:] if named else (None, "")
            found.append(Submission(student, notebook, path, member))
    if not found:
        raise NotebookError(f"{folder} holds no submissions: there should be one folder or zip archive for each student.")
    names = [(submission.student, submission.notebook) for submission in found]
    twice = next((student for student, notebook in names if names.count((student, notebook)) > 1), None)
    if twice:
        raise NotebookError(f"{folder} holds both a folder and an archive of {twice!r}: remove one of them.")
    return found


def _files(folder: Path) -> Iterator[tuple[str, Path, str]]:
    for directory, subdirectories, names in os.walk(folder, followlinks=False):
        subdirectories[:] = sorted(name for name in subdirectories if not name.startswith("."))
        for name in sorted(names):
            path = Path(directory, name)
            if name.endswith(".ipynb"):
                yield path.relative_to(folder).as_posix(), path, ""


def _members(archive_path: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield the notebooks of an archive that hides nothing: no links, no way out of it, no bomb."""
    try:
        with zipfile.ZipFile(archive_path) as archive:
            entries = archive.infolist()
    except (OSError, zipfile.BadZipFile, ValueError):
        return
    if len(entries) > MAX_ENTRIES or sum(entry.file_size for entry in entries) > MAX_ARCHIVE_BYTES:
        return
    for entry in sorted(entries, key=lambda entry: entry.filename):
        parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
        is_link = stat.S_ISLNK(entry.external_attr >> 16)
        if is_link or not parts or ".." in parts or parts[0] == "/" or any(part.startswith(".") for part in parts):
            continue
        if entry.filename.endswith(".ipynb"):
            yield entry.filename, archive_path, entry.filename


def _is_called(path: str, notebook: str) -> bool:
    """Return whether a file is ``notebook``, also as browsers and learning platforms rename a download."""
    name, stem = PurePosixPath(path).name, notebook.removesuffix(".ipynb")
    return ".update-" not in name and re.search(rf"(?<![0-9]){re.escape(stem)}(?:[-_ (].*)?\.ipynb$", name) is not None


def read_answers(content: bytes, source: NotebookNode) -> Answers:
    """Return the answers in ``content``, the bytes of a notebook of format 3 or 4, to the exercises of ``source``.

    A cell is an answer if it has the id of the answer cell; or else its ``grade_id`` in the metadata; or else the comment
    that marks it in the student's copy. If several cells have the same claim, the last one counts. Of the cells that a
    student added, the definitions (functions, classes, imports) go before the next answer.

    Raises:
        UnreadableError: ``content`` is no notebook.
    """
    cells = _code_cells(content)
    given = {cell.id for cell in source.cells} | {cell.source.strip() for cell in student_copy(source).cells}
    sources, notes, claimed = {}, {}, {}
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
                claimed[id(claims[-1])] = exercise.name
                sources[exercise.name] = claims[-1]["source"]
                several = f"{len(claims)} cells claim to be it; the last one counts" if len(claims) > 1 else ""
                notes[exercise.name] = "; ".join(filter(None, [note, several]))
                break
    helpers = []
    for cell in cells:
        if id(cell) in claimed:
            name = claimed[id(cell)]
            sources[name] = "\n\n".join(filter(None, [*helpers, sources[name]]))
            helpers = []
        elif not ({cell["id"], cell["source"].strip()} & given or cell["grade_id"]):
            helpers.append(_definitions(cell["source"]))
    return Answers(sources, notes)


def _definitions(source: str) -> str:
    """Return the functions, classes and imports of a cell; of one that is no Python, nothing."""
    try:
        statements = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    kinds = ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
    return "\n".join(ast.unparse(statement) for statement in statements if isinstance(statement, kinds))


def _code_cells(content: bytes) -> list[dict[str, Any]]:
    """Return ``id``, ``grade_id`` and ``source`` of each code cell; whatever else there is does not matter."""
    try:
        notebook = json.loads(content.decode("utf-8-sig"), parse_constant=lambda name: None)
    except RecursionError:
        raise UnreadableError("The file is nested too deeply to be a notebook.") from None
    except ValueError:
        raise UnreadableError("The file is not a Jupyter notebook, or not all of it: open and save it in JupyterLab.") from None
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
                "id": cell.get("id"),
                "grade_id": role.get("grade_id") if isinstance(role, dict) else None,
                # Half of a surrogate pair can be in JSON but in no file, and NUL in no source.
                "source": source.encode("utf-8", "replace").decode().replace("\r\n", "\n").replace("\0", ""),
            }
        )
    return found


def _too_large(name: str) -> str:
    return f"{name} is larger than {MAX_NOTEBOOK_BYTES // 1_000_000} MB: clear its outputs and hand it in again."

"""Find what students handed in, and read it as what it is: bytes made by strangers.

A folder of submissions holds one folder, or one zip archive, for each student, named after the student, or the files of a
download from Canvas; the notebooks are somewhere in it, under the names they were released with. Nothing is ever unpacked
to a disk, followed through a link, or evaluated.
"""

import contextlib
import dataclasses
import errno
import hashlib
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nbformat import NotebookNode

from course_utils.coursework.answers import UnreadableError, read_answers
from course_utils.coursework.notebooks import STUB, NotebookError, notebook_bytes, read_notebook, student_copy

MAX_NOTEBOOK_BYTES = 20_000_000
MAX_ARCHIVE_BYTES = 200_000_000
MAX_ENTRIES = 20_000
# What students hand in and no folder of submissions should hold: it is refused by name, so that nobody gets lost.
LOOSE = (".ipynb", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
# What is looked at, or at least named, of what lies in a student's folder.
WORTH_NAMING = (".zip", *LOOSE)
# As Canvas names the files in a download of all submissions of an assignment.
CANVAS = re.compile(r"(?P<student>[^_]+)_(?:LATE_)?(?P<id>[0-9]+)_(?P<attachment>[0-9]{1,18})_(?P<file>.+)")
MOODLE = re.compile(r"(?P<student>.+_[0-9]+)_assignsubmission_file_?")
# Names of what archivers, editors and systems leave beside the files of their user begin so.
HIDDEN = (".", "__MACOSX")


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
        files, refused = [], ""
        for place in places:
            try:
                files += _opened(place)
            except UnreadableError as error:
                refused = str(error)
        canvas = _canvas(places[0])
        others = tuple(name for name, *_ in files if not any(_is_called(name, notebook) for notebook in given))
        for notebook, source in given.items():
            nothing = Submission(student, notebook, None, refused=refused, others=others, canvas_id=canvas["id"] if canvas else "")
            named = {name: dataclasses.replace(nothing, path=path, member=member, refused="") for name, path, member in files if _is_called(name, notebook)}
            ranked = sorted((_rank(name, each, source, stubs[notebook]), name) for name, each in named.items())
            if not ranked:
                found.append(nothing)
                continue
            (untouched, *_), name = ranked[0]
            touched = sum(not each_untouched for (each_untouched, *_), _ in ranked)
            note = f"{touched} files have its name; {name} counts." if touched > 1 else ""
            found.append(dataclasses.replace(named[name], untouched=untouched, note=note))
    return found


def _opened(place: Path) -> list[tuple[str, Path, str]]:
    """Return what a student handed in with a name that is worth something: its name there, the file, and the archive's member.

    Raises:
        UnreadableError: it is a link, or neither a folder, an archive nor a file from Canvas; or the archive is refused.
    """
    canvas = _canvas(place)
    if place.is_symlink():
        raise UnreadableError("A link was handed in: links are not followed.")
    if place.is_dir():
        return list(_files(place))
    if place.suffix.lower() == ".zip":
        # Of one student there may be several from Canvas.
        return [(f"{place.name}/{name}" if canvas else name, path, member) for name, path, member in _members(place)]
    if canvas:
        return [(place.name, place, "")]
    what = "it" if place.suffix == ".ipynb" else "what is in it"
    raise UnreadableError(f"{place.name} is neither a folder nor a zip archive: put {what} into a folder with the student's name.")


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


def _too_large(name: str) -> str:
    return f"{name} is larger than {MAX_NOTEBOOK_BYTES // 1_000_000} MB: clear its outputs and hand it in again."

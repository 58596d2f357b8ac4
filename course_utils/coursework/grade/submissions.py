"""Find what students handed in, and read it as what it is: bytes made by strangers.

A folder of submissions holds one folder, or one zip archive, for each student, named after the student; or what a learning
platform packs when an instructor downloads all submissions:

- Canvas names each file ``STUDENT_ID_ATTACHMENT_FILE``, with ``_LATE`` behind the student if it is (the name is that of
  ``lib/content_zipper.rb`` of Canvas), and ``anon_XXXXX_ATTACHMENT_FILE`` if it is to be marked anonymously;
- Moodle makes a folder ``STUDENT_ID_assignsubmission_file_`` for each student, or, if asked for files alone, puts this in
  front of each file's name (``mod/assign/classes/downloader.php``).

``find_places`` says who handed in, and opens nothing. ``open_place`` opens one student's files, and belongs into a worker.
Nothing is ever unpacked to a disk, followed through a link, or evaluated.
"""

import contextlib
import functools
import hashlib
import io
import os
import re
import stat
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar
from urllib.parse import quote_from_bytes, unquote_to_bytes

import msgspec

from course_utils.coursework.grade.answers import UnreadableError
from course_utils.coursework.source.notebooks import NotebookError

MAX_NOTEBOOK_BYTES = 64_000_000
MAX_ARCHIVE_BYTES = 200_000_000
# Of all the files of a student together that are read.
MAX_UNPACKED_BYTES = 200_000_000
MAX_FILES = 10_000
MAX_DEPTH = 30
MAX_ARCHIVES = 24
# Of the list of files in an archive, which is read before anything in it: more than ``MAX_FILES`` need.
MAX_DIRECTORY_BYTES = 4_000_000
# With which each entry of that list begins.
DIRECTORY_ENTRY = b"PK\x01\x02"
# Of the files that have a notebook's name, so many are read.
MAX_CANDIDATES = 24
# Of processor time, which does not depend on what else the machine does.
MAX_SECONDS = 20.0
MAX_OTHERS = 20
MAX_SHOWN = 120

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
RENAMED = (".ipynb.txt", ".ipynb.json")
# What is at least named of what a student handed in, from the likeliest to be meant as a notebook.
WORTH_NAMING = (".ipynb", *RENAMED, *ARCHIVES, ".json", ".html", ".pdf", ".py", ".md", ".docx")
# What may lie loose in a folder of submissions, and then stands for a student, so that nobody gets lost.
LOOSE = re.compile(r"(\.ipynb|\.ipynb\.txt|\.ipynb\.json|(\.tar)?\.(zip|tar|gz|tgz|bz2|xz|7z|rar))$", re.IGNORECASE)
# Names of what archivers, editors and systems leave beside the files of their user begin so.
HIDDEN = (".", "__MACOSX")

MOODLE = re.compile(r"(?P<student>.+?)_assignsubmission_(?P<plugin>[a-z]+)(?:_(?P<file>.*))?", re.DOTALL)
CANVAS = re.compile(r"(?=_(?:LATE_)?(?P<id>[1-9][0-9]{0,19})_(?P<attachment>[1-9][0-9]{0,19})_(?P<file>.+))", re.DOTALL)
CANVAS_ANONYMOUS = re.compile(
    r"(?:LATE_)?(?P<student>anon_[0-9A-Za-z]{5})_(?P<attachment>[1-9][0-9]{0,19})_(?P<file>.+)", re.DOTALL
)
# Names that Windows keeps for its devices.
DEVICES = {"con", "prn", "aux", "nul", *(f"{name}{number}" for name in ("com", "lpt") for number in range(10))}


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where one student's files are.

    Attributes:
        student: the student's name, fit for a terminal: whatever cannot be printed is escaped, as in ``Jos\\xe9``.
        paths: the folder, archive or files, percent-encoded, since a name need not be text.
        canvas_id: the student's number in Canvas, if the files come from there.
    """

    student: str
    paths: tuple[str, ...]
    canvas_id: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """The paths as the file system knows them."""
        return tuple(Path(os.fsdecode(unquote_to_bytes(path))) for path in self.paths)


class Answered(Protocol):
    """What ``open_place`` has to know of a notebook that was read: whether it is as students were given it."""

    @property
    def untouched(self) -> bool: ...


T = TypeVar("T", bound=Answered)


@dataclass(frozen=True)
class OpenedNotebook(Generic[T]):
    """What a student handed in for one notebook of the course; if all is empty, nothing.

    Attributes:
        content: what the chosen file was read as.
        digest: the SHA-256 of the chosen file; empty if there is none that can be read.
        note: what is worth noting about how it was found.
        unreadable: why no file that has the notebook's name can be read, in a sentence.
    """

    content: T | None = None
    digest: str = ""
    note: str = ""
    unreadable: str = ""


@dataclass(frozen=True)
class Opened(Generic[T]):
    """What one student handed in.

    Attributes:
        notebooks: what there is of each notebook of the course that was asked for, by its file name.
        others: names of files that may have been meant as one of them.
    """

    notebooks: dict[str, OpenedNotebook[T]]
    others: tuple[str, ...]


def find_places(folder: Path) -> tuple[Place, ...]:
    """Return where each student's files are, ordered by student, from names alone: nothing in ``folder`` is opened.

    Raises:
        NotebookError: ``folder`` is none, nobody handed in anything, or somebody has both a folder and an archive.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted((entry.name, entry.is_dir(follow_symlinks=False) or entry.is_symlink()) for entry in entries)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise NotebookError(
            f"{folder} cannot be read as a folder ({reason}); it should hold one folder or zip archive for each student."
        ) from None
    owned: dict[str, list[tuple[str, _Owner]]] = {}
    for name, is_folder in names:
        owner = _owner(name, is_folder=is_folder)
        if owner:
            owned.setdefault(printable(owner.student), []).append((name, owner))
    if not owned:
        raise NotebookError(
            f"{folder} holds no submissions: there should be one folder or zip archive for each student."
        )
    places = []
    for student, of_student in sorted(owned.items()):
        if len(of_student) > 1 and not all(owner.is_file for _, owner in of_student):
            both = " and ".join(printable(name) for name, _ in of_student[:2])
            raise NotebookError(f"{folder} holds two submissions of {student}, {both}: remove or rename one of them.")
        paths = tuple(quote_from_bytes(os.fsencode(folder.absolute() / name)) for name, _ in of_student)
        places.append(Place(student, paths, of_student[0][1].canvas_id))
    return tuple(places)


def open_place(place: Place, names: Sequence[str], read: Callable[[str, bytes], T]) -> Opened[T]:
    """Open what a student handed in, and return what there is of each notebook of the course.

    Of several files with a notebook's name one counts: rather one that was worked on, then one that can be read, then one in
    a folder called ``work``, then the one of the highest number, as browsers and Canvas number later ones.

    Args:
        names: the file names of the notebooks, such as ``02_simple_monte_carlo.ipynb``.
        read: reads the bytes of a file as the notebook of this name; raises ``UnreadableError`` if they are none.
    """
    allowance = _Allowance(time.thread_time() + MAX_SECONDS, MAX_UNPACKED_BYTES)
    files: list[_File] = []
    refusals: dict[str, None] = {}
    with contextlib.ExitStack() as stack:
        for path in place.files:
            with _kept_in(refusals, path.name):
                files += list(_list_files(path, stack, allowance, refusals))
        refusal = " ".join(refusals)
        notebooks = {name: _open_notebook(name, files, refusal, read, allowance) for name in names}
    others = [file for file in files if not any(is_called(file.basename, name) for name in names)]
    others.sort(key=lambda file: _likeliness(file.name))
    return Opened(notebooks, tuple(_shown(file.name) for file in others[:MAX_OTHERS]))


def digest_of(content: bytes) -> str:
    """Return what tells one hand-in from another."""
    return hashlib.sha256(content).hexdigest()


def printable(name: str) -> str:
    """Return a name in which whatever cannot be printed is escaped; different names stay different.

    Control characters, which terminals obey, are escaped as in ``\\u001b``; bytes that are no text as in ``\\xe9``.
    """

    def escape(character: str) -> str:
        if "\udc80" <= character <= "\udcff":
            return f"\\x{ord(character) - 0xDC00:02x}"
        if character == "\\":
            return "\\\\"
        if character.isprintable():
            return character
        return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"

    return "".join(map(escape, name))


def file_name(student: str) -> str:
    """Return a name for a student's pages that every file system takes, and that is no other student's.

    Short names in lower-case ASCII are taken as they are. All others end in a digest: some file systems tell neither upper
    from lower case nor one way to write an accent from another.
    """
    is_plain = re.fullmatch(r"[a-z0-9_][a-z0-9._-]{0,79}", student) and not re.search(r"-[0-9a-f]{16}$", student)
    if is_plain and student.split(".")[0] not in DEVICES:
        return student
    ascii_part = re.sub(r"[^A-Za-z0-9_-]", "_", student)[:60].lstrip("-") or "_"
    return f"{ascii_part}-{hashlib.sha256(student.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


class _Owner(NamedTuple):
    """Whose a folder or file is, by its name; and whether it is one of several files that a platform named."""

    student: str
    is_file: bool = False
    canvas_id: str = ""
    attachment: int = 0


def _owner(name: str, *, is_folder: bool) -> _Owner | None:
    """Return whose a folder or file is, or ``None`` if it is not a student's."""
    if name.startswith(HIDDEN):
        return None
    moodle = MOODLE.fullmatch(name)
    if moodle and (is_folder or moodle["file"]):
        return _Owner(moodle["student"], is_file=not is_folder) if moodle["plugin"] == "file" else None
    if is_folder:
        return _Owner(name)
    if owner := _canvas_owner(name):
        return owner
    return _Owner(LOOSE.sub("", name)) if LOOSE.search(name) else None


def _canvas_owner(name: str) -> _Owner | None:
    """Return whose a file is if it has a name that Canvas gave it.

    Canvas takes ``_7_`` out of students' names, but not a ``_7`` at their end, so ``team_1_4711_815_…`` can be read in two
    ways. The right one leaves the name of a notebook of the course; if neither does, the one without the shortest number.
    """
    anonymous = CANVAS_ANONYMOUS.fullmatch(name)
    if anonymous:
        return _Owner(anonymous["student"], is_file=True, attachment=int(anonymous["attachment"]))
    ways = [
        match
        for match in CANVAS.finditer(name)
        if re.fullmatch(r"[^\s.]+", name[: match.start()]) and not re.search(r"_[0-9]+_", name[: match.start()])
    ]
    if not ways:
        return None
    way = max(
        ways,
        key=lambda match: (
            re.match(r"[0-9]{2}_[^0-9]", match["file"]) is not None,
            min(len(match["id"]), len(match["attachment"])),
        ),
    )
    return _Owner(f"{name[: way.start()]}_{way['id']}", True, way["id"], int(way["attachment"]))


@dataclass
class _Allowance:
    """What reading one student's files may still take."""

    deadline: float
    num_bytes: int
    num_archives: int = MAX_ARCHIVES

    def spend(self, num_bytes: int = 0) -> None:
        """Take ``num_bytes`` off, and look at the clock.

        Raises:
            UnreadableError: it is used up.
        """
        self.num_bytes -= num_bytes
        if self.num_bytes < 0:
            raise UnreadableError(
                f"There is more to read than {MAX_UNPACKED_BYTES // 1_000_000} MB: hand in the notebooks alone, outputs cleared."
            )
        if time.thread_time() > self.deadline:
            raise UnreadableError(f"Opening it took more than {MAX_SECONDS:g} seconds: hand in the notebooks alone.")

    def open_archive(self) -> None:
        """Take an archive off.

        Raises:
            UnreadableError: it is used up.
        """
        self.spend()
        self.num_archives -= 1
        if self.num_archives < 0:
            raise UnreadableError(f"There are more than {MAX_ARCHIVES} archives: hand in the notebooks alone.")


@dataclass(frozen=True)
class _File:
    """One file that is worth something, in a folder or an archive.

    Attributes:
        name: its path there.
        attachment: the number that Canvas gave to what it came in.
        position: the number of files that come before it; in an archive, the later of two files of one name replaces the other.
        read: returns its bytes.
    """

    name: str
    attachment: int
    position: int
    read: Callable[[_Allowance], bytes]

    @property
    def basename(self) -> str:
        return self.name.rpartition("/")[2]


def _open_notebook(
    notebook: str, files: list[_File], refusal: str, read: Callable[[str, bytes], T], allowance: _Allowance
) -> OpenedNotebook[T]:
    """Choose among the files that have the notebook's name."""
    candidates = sorted(
        (file for file in files if is_called(file.basename, notebook)), key=lambda f: _rank(f, notebook)
    )
    if not candidates:
        return OpenedNotebook(unreadable=refusal)
    worked_on, unreadable, untouched = [], [], []
    for file in candidates[:MAX_CANDIDATES]:
        try:
            with _in_a_sentence(file.name):
                content = file.read(allowance)
                result = read(notebook, content)
                (untouched if result.untouched else worked_on).append((file, result, digest_of(content)))
        except UnreadableError as error:
            unreadable.append((file, str(error)))
    num_left = len(candidates) - MAX_CANDIDATES
    if num_left > 0 and not worked_on:
        return OpenedNotebook(
            unreadable=f"{len(candidates)} files have its name; of these {MAX_CANDIDATES} were read, and no answer is in them: "
            "hand in one file."
        )
    if unreadable and not worked_on:
        return OpenedNotebook(unreadable=unreadable[0][1])
    file, result, digest = (worked_on or untouched)[0]
    notes = []
    if num_left > 0:
        notes.append(
            f"{len(candidates)} files have its name, of which {MAX_CANDIDATES} were read; {_shown(file.name)} counts."
        )
    elif len(worked_on) + len(unreadable) > 1:
        notes.append(f"{len(worked_on) + len(unreadable)} files have its name; {_shown(file.name)} counts.")
    if refusal:
        notes.append(refusal)
    return OpenedNotebook(result, digest, " ".join(notes))


def _rank(file: _File, notebook: str) -> tuple[bool, int, int, bool, str, int]:
    """Return what comes first among files that have a notebook's name: what is in a work folder, and of the highest numbers."""
    parts = file.name.split("/")
    # Of archives that somebody uploaded, the later one is numbered too.
    later = [re.search(r"[-( ]([0-9]{1,9})\)?\.(?:ipynb|zip)$", part[-40:], re.IGNORECASE) for part in parts]
    number = max(int(match[1]) if match else 0 for match in later)
    return "work" not in parts[:-1], -file.attachment, -number, file.basename != notebook, file.name, -file.position


def _likeliness(name: str) -> int:
    """Return 0 for a file that is likeliest meant as a notebook, and more for others."""
    endings = [number for number, ending in enumerate(WORTH_NAMING) if name.lower().endswith(ending)]
    return min(endings, default=len(WORTH_NAMING))


def is_called(basename: str, notebook: str) -> bool:
    """Return whether a file is ``notebook``, also as browsers and learning platforms rename a download, or as an update."""
    # No file system has longer names, and a search in them would take long.
    return len(basename) <= 255 and _names_of(notebook).search(basename) is not None


@functools.cache
def _names_of(notebook: str) -> re.Pattern[str]:
    stem = re.escape(notebook.removesuffix(".ipynb"))
    return re.compile(rf"(?<![0-9]){stem}(?:[^0-9a-z].*)?\.ipynb$", re.IGNORECASE)


def _list_files(
    path: Path, stack: contextlib.ExitStack, allowance: _Allowance, refusals: dict[str, None]
) -> Iterator[_File]:
    """Yield what is worth something of what was handed in as ``path``; archives stay open as long as ``stack``."""
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        raise UnreadableError("A link was handed in: links are not followed.")
    if stat.S_ISDIR(mode):
        yield from _files_of_folder(path, stack, allowance, refusals)
        return
    owner = _owner(path.name, is_folder=False) or _Owner(path.name)
    if path.suffix.lower() == ".zip":
        # Of one student a platform may give several.
        prefix = f"{path.name}/" if owner.is_file else ""
        yield from _files_of_archive(path, prefix, owner.attachment, stack, allowance)
    elif owner.is_file:
        yield _File(path.name, owner.attachment, 0, lambda allowance: _read_file(path, allowance))
    else:
        what = "it" if path.suffix == ".ipynb" else "what is in it"
        raise UnreadableError(
            f"{_shown(path.name)} is neither a folder nor a zip archive: put {what} into a folder with the student's name."
        )


def _files_of_folder(
    folder: Path, stack: contextlib.ExitStack, allowance: _Allowance, refusals: dict[str, None]
) -> Iterator[_File]:
    """Yield what is worth something in a folder, and in the archives that a platform may keep there as they were uploaded."""

    def refuse(error: OSError) -> None:
        raise error

    num_files = 0
    for directory, subdirectories, names in os.walk(folder, onerror=refuse, followlinks=False):
        allowance.spend()
        num_files += len(names) + len(subdirectories)
        if num_files > MAX_FILES:
            raise UnreadableError(f"The folder holds more than {MAX_FILES} files: hand in the notebooks alone.")
        subdirectories[:] = sorted(name for name in subdirectories if not name.startswith(HIDDEN))
        if subdirectories and len(Path(directory).relative_to(folder).parts) >= MAX_DEPTH:
            raise UnreadableError(
                f"There are more than {MAX_DEPTH} folders in one another: hand in the notebooks alone."
            )
        for name in sorted(names):
            if not name.lower().endswith(WORTH_NAMING) or name.startswith(HIDDEN):
                continue
            path = Path(directory, name)
            relative = path.relative_to(folder).as_posix()
            if path.suffix.lower() == ".zip":
                # One that is damaged takes nothing away from what lies beside it.
                with _kept_in(refusals, relative):
                    yield from list(_files_of_archive(path, f"{relative}/", 0, stack, allowance))
            else:
                yield _File(relative, 0, 0, lambda allowance, path=path: _read_file(path, allowance))


def _files_of_archive(
    path: Path, prefix: str, attachment: int, stack: contextlib.ExitStack, allowance: _Allowance
) -> Iterator[_File]:
    """Yield the notebooks of an archive that hides nothing: no links, no way out of it, no bomb."""
    allowance.open_archive()
    file = stack.enter_context(_ArchiveFile(_open_regular(path)))
    if os.fstat(file.fileno()).st_size > MAX_ARCHIVE_BYTES:
        raise UnreadableError(_too_much())
    archive = stack.enter_context(zipfile.ZipFile(file))
    entries = archive.infolist()
    if len(entries) > MAX_FILES:
        raise UnreadableError(_too_much())
    if len(_students_in(archive.namelist(), allowance)) > 1:
        raise UnreadableError(
            "The archive holds what several students handed in: unpack it in the folder of submissions."
        )
    for position, entry in enumerate(entries):
        name = entry.filename.replace("\\", "/")
        if not name.lower().endswith(WORTH_NAMING):
            continue
        parts = name.split("/")
        if stat.S_ISLNK(entry.external_attr >> 16) or ".." in parts or name.startswith("/"):
            raise UnreadableError("The archive holds a link, or a path that leads out of it: pack the notebooks alone.")
        if len(parts) > MAX_DEPTH:
            raise UnreadableError(f"There are more than {MAX_DEPTH} folders in one another: pack the notebooks alone.")
        if not any(part.startswith(HIDDEN) for part in parts):
            yield _File(
                prefix + name,
                attachment,
                position,
                lambda allowance, entry=entry: _read_member(archive, entry, allowance),
            )


def _students_in(names: Iterable[str], allowance: _Allowance) -> set[str]:
    """Return whose the files in an archive are, by the names that a learning platform gave them."""
    students = set()
    for name in names:
        allowance.spend()
        first, inside, _ = name.partition("/")
        owner = _owner(first, is_folder=bool(inside)) if len(first) <= 255 else None
        if owner and (owner.attachment or MOODLE.fullmatch(first)):
            students.add(owner.student)
    return students


class _ArchiveFile(io.FileIO):
    """An archive whose list of files is looked at before it is parsed, since parsing a long one takes seconds."""

    def read(self, size: int | None = -1) -> bytes:
        """Return up to ``size`` bytes; raise ``UnreadableError`` if there are too many."""
        is_all = size is None or size < 0
        content = super().read(MAX_DIRECTORY_BYTES + 1 if is_all else min(size, MAX_DIRECTORY_BYTES + 1))
        if len(content) > MAX_DIRECTORY_BYTES or content.count(DIRECTORY_ENTRY) > MAX_FILES:
            raise UnreadableError(_too_much())
        return content


def _read_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, allowance: _Allowance) -> bytes:
    if entry.flag_bits & 1:
        raise UnreadableError("The archive is locked with a password: pack it again without one.")
    # zipfile has no limit for what the rarer ways unpack at once: 300 bytes of bzip2 become 300 MB.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise NotImplementedError
    with archive.open(entry) as file:
        return _read_all(lambda: file.read(1 << 16), _shown(entry.filename), allowance)


def _read_file(path: Path, allowance: _Allowance) -> bytes:
    with io.FileIO(_open_regular(path)) as file:
        if os.fstat(file.fileno()).st_size > MAX_NOTEBOOK_BYTES:
            raise UnreadableError(_too_large(_shown(path.name)))
        return _read_all(lambda: file.read(1 << 20), _shown(path.name), allowance)


def _read_all(read: Callable[[], bytes], name: str, allowance: _Allowance) -> bytes:
    content = bytearray()
    while chunk := read():
        allowance.spend(len(chunk))
        content += chunk
        if len(content) > MAX_NOTEBOOK_BYTES:
            raise UnreadableError(_too_large(name))
    return bytes(content)


def _open_regular(path: Path) -> int:
    """Open a file that is one: neither a link, nor a pipe that would never end, nor a device."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise UnreadableError(f"{_shown(path.name)} is not a regular file, but a link, pipe or device.")
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


@contextlib.contextmanager
def _in_a_sentence(name: str) -> Iterator[None]:
    """Turn whatever a stranger's bytes cause into a sentence for that student.

    There is no list of what the unpackers of the standard library and the parsers raise: ``zlib.error``, ``LZMAError``,
    ``UnicodeDecodeError``, ``NotImplementedError``, ``struct.error``, ``OverflowError``, ``RecursionError`` and
    ``MemoryError`` were all seen.
    """
    try:
        yield
    except UnreadableError:
        raise
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise UnreadableError(f"{_shown(name)} cannot be read ({reason}).") from None
    except NotImplementedError:
        raise UnreadableError(
            f"{_shown(name)} is packed in an unusual way: pack it as an ordinary zip archive."
        ) from None
    except MemoryError:
        raise UnreadableError(
            f"{_shown(name)} takes too much memory to be opened: hand in the notebooks alone."
        ) from None
    except Exception as error:
        raise UnreadableError(
            f"{_shown(name)} is damaged ({type(error).__name__}): look whether it opens, and hand it in again."
        ) from None


@contextlib.contextmanager
def _kept_in(refusals: dict[str, None], name: str) -> Iterator[None]:
    """Put the sentence that says why something is refused among ``refusals``, and go on with the rest."""
    try:
        with _in_a_sentence(name):
            yield
    except UnreadableError as error:
        refusals[str(error)] = None


def _shown(name: str) -> str:
    """Return a name as it can stand in a sentence."""
    name = printable(name)
    return name if len(name) <= MAX_SHOWN else f"{name[: MAX_SHOWN // 2]}…{name[-MAX_SHOWN // 2 + 1 :]}"


def _too_large(name: str) -> str:
    return f"{name} is larger than {MAX_NOTEBOOK_BYTES // 1_000_000} MB: clear its outputs and hand it in again."


def _too_much() -> str:
    return (
        f"The archive holds more than {MAX_FILES} files or {MAX_ARCHIVE_BYTES // 1_000_000} MB, or names without end: "
        "pack the notebooks alone."
    )

"""The jobs that a batch gives to workers, as JSON, and their answers; and what has to be the same on both sides."""

import functools
import hashlib
from pathlib import Path

import msgspec

from course_utils.coursework.grade.answers import Submitted
from course_utils.coursework.grade.submissions import Place
from course_utils.coursework.grade.types import AnswerKey, Mark
from course_utils.coursework.run.environment import clean_environment
from course_utils.coursework.run.limits import Limits
from course_utils.coursework.source.notebooks import digest_of_source, read_notebook
from course_utils.paths import PACKAGE_DIR, PROJECT_DIR


class OpenJob(msgspec.Struct, frozen=True, tag="open"):
    """Open what a student handed in; ``sources`` are the paths of the source notebooks."""

    place: Place
    sources: tuple[str, ...]


class KeyJob(msgspec.Struct, frozen=True, tag="key"):
    """Make the answer key of a source notebook, or a part of it, and fill ``cache`` with what JAX compiles.

    Attributes:
        part, parts: which exercises it is to hold: those whose number leaves ``part`` when divided by ``parts``.
    """

    source: str
    seed: str
    cache: str
    part: int = 0
    parts: int = 1


class GradeJob(msgspec.Struct, frozen=True, tag="grade"):
    """Run and judge the answers in a notebook; all that is needed for it, so that it can be done on any machine.

    Attributes:
        source: the path of the source notebook, on the machine that the job comes from.
        code: what tells one version of the course from another.
        cache: a folder with JAX's compilation cache; if empty, the machine makes one of its own.
    """

    source: str
    submitted: Submitted
    key: AnswerKey
    limits: Limits
    code: str
    unsafe: bool = False
    cache: str = ""


class OpenedFile(msgspec.Struct, frozen=True):
    """What was found of one notebook: see :class:`~course_utils.coursework.grade.submissions.OpenedNotebook`."""

    submitted: Submitted | None = None
    digest: str = ""
    note: str = ""
    unreadable: str = ""


class Answer(msgspec.Struct, frozen=True):
    """The answer to a job: what it asks for, or else why there is none.

    Attributes:
        stamps: what the isolation lacks on the machine that graded.
        failure: the machinery failed, and it may be worth trying again.
        refusal: there is no sense in trying again; a sentence for the instructor.
    """

    notebooks: dict[str, OpenedFile] = {}
    others: tuple[str, ...] = ()
    key: AnswerKey | None = None
    marks: tuple[Mark, ...] = ()
    stamps: tuple[str, ...] = ()
    failure: str = ""
    refusal: str = ""


Job = OpenJob | KeyJob | GradeJob


@functools.cache
def code_digest() -> str:
    """Return a digest of the course's code, which has to be the same wherever a class is graded."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE_DIR.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE_DIR).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


@functools.cache
def source_digest(source: str) -> str:
    """Return what tells one version of a source notebook from another."""
    return digest_of_source(read_notebook(Path(source)))


def make_folder_readable(folder: Path) -> Path:
    """Make a folder that strangers, who are other users, can read, whatever this user's habits are."""
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    return folder


def worker_environment() -> dict[str, str]:
    """Return the environment of a worker: what a shell sets for other programs has no say in marks."""
    # Whatever folder a cluster's worker was started in, this process has to find the course.
    return clean_environment() | {"PYTHONPATH": str(PROJECT_DIR), "PYTHONUTF8": "1"}

"""Grade a class: a pool of workers, and a journal that no interruption can spoil.

The journal is the truth; gradebook and feedback derive from it. Each line is one JSON object, written whole and forced to
the disk before the next submission is begun by that worker. A line that was cut off is as good as none.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tqdm.auto import tqdm

from course_utils.coursework.answers import UnreadableError
from course_utils.coursework.cluster import connected
from course_utils.coursework.grading import MISSING, UNREADABLE, Json, expected_of, make_reference, new_seed, ungraded
from course_utils.coursework.notebooks import NOTEBOOKS_DIR, NotebookError, source_notebooks
from course_utils.coursework.sandbox import Limits, find_sandbox
from course_utils.coursework.submissions import HIDDEN, Submission, digest_of, find_submissions
from course_utils.coursework.worker import Ask, Graders, Workers, make_job

JOURNAL = "journal.jsonl"
COMPILED = ".compiled"
ATTEMPTS = 3


class Journal:
    """An append-only file of JSON lines."""

    def __init__(self, folder: Path):
        self.path = folder / JOURNAL
        self._lock = threading.Lock()

    def read(self) -> list[Json]:
        """Return all whole lines; what a crash cut off at the end is left out."""
        if not self.path.exists():
            return []
        entries = []
        content = self.path.read_bytes()
        for number, line in enumerate(content.split(b"\n"), 1):
            is_last = number == content.count(b"\n") + 1
            try:
                if not is_last:
                    entries.append(json.loads(line))
            except ValueError:
                raise NotebookError(f"{self.path} is damaged in line {number}: restore it from a copy.") from None
        return entries

    def repair(self) -> None:
        """Cut off half a line at the end, which nobody has acted upon."""
        if self.path.exists():
            content = self.path.read_bytes()
            whole = content.rfind(b"\n") + 1
            if whole < len(content):
                os.truncate(self.path, whole)

    def append(self, entry: Json) -> None:
        """Write one entry, and return when it is on the disk."""
        with self._lock, open(self.path, "ab") as file:
            file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def grade_class(
    submissions_dir: Path,
    out: Path,
    *,
    notebooks: list[str] | None = None,
    seed: str | None = None,
    resume: bool = False,
    unsafe: bool = False,
    workers: int = 0,
    dask: str | None = None,
    limits: Limits = Limits(),
    source_dir: Path = NOTEBOOKS_DIR,
    progress: bool | None = None,
) -> list[Json]:
    """Grade every submission into the journal of ``out`` and return its entries.

    Args:
        submissions_dir: one folder or zip archive for each student.
        out: where the journal is kept; with ``resume`` the one that is there is finished, with the seed, notebooks and
            limits that it was begun with, and what was handed in since, or again, is graded too.
        notebooks: names of the notebooks to grade; by default those that anyone worked on.
        seed: the secret of an earlier batch, to repeat it exactly; by default a new one.
        unsafe: run without a sandbox, which is stamped on every result.
        workers: how many submissions to grade at once; 0 is one for each processor core.
        dask: the address of a Dask scheduler, whose workers grade instead of this machine's.

    Raises:
        NotebookError: there is nothing to grade, a journal is in the way, or the cluster is not there.
        SandboxError: there is no sandbox, and ``unsafe`` was not said.
    """
    if not (unsafe or dask):
        find_sandbox()
    if out.resolve().is_relative_to(submissions_dir.resolve()):
        raise NotebookError(f"{out} is in the folder of submissions, where it would count as a student's: name another with --out.")
    known = {path.name: path for path in source_notebooks(source_dir)}
    asked = [_full_name(name, list(known)) for name in notebooks or []]
    with _alone_in(out):
        journal = Journal(out)
        entries = _entries_to_go_on_with(journal, resume=resume)
        begun = entries[0] if entries else {}
        if begun:
            _refuse_other_terms(begun, out, seed=seed, asked=asked, unsafe=unsafe)
            seed, asked, limits = begun["seed"], begun["notebooks"], Limits(**begun["limits"])
        submissions = find_submissions(submissions_dir, list(known.values()))
        worked_on = {submission.notebook for submission in submissions if submission.path and not submission.untouched}
        chosen = asked or _handed_in(submissions, worked_on, list(known), submissions_dir)
        for name in chosen:
            if name not in known:
                raise NotebookError(f"There is no notebook {name} in the course; there are {', '.join(known)}.")
        if begun and worked_on - set(chosen) and progress is not False:
            others = ", ".join(sorted(worked_on - set(chosen)))
            print(f"Not of this batch, so not graded: {others}. Grade them into another folder.", file=sys.stderr)
        if dask:
            with connected(dask):
                pass
        with _compiled_in(out) as cache:
            references = _references([known[name] for name in chosen], seed or new_seed(), cache, progress)
            if begun and begun["references"] != _digests(references):
                raise NotebookError("The notebooks have changed since this batch was begun: grade into another folder.")
            if not begun:
                journal.append(_beginning(references, unsafe, limits))
            done = {(result["student"], result["notebook"]): result for result in results(entries) if "exercises" in result}
            left = [each for each in submissions if each.notebook in chosen and _is_new(each, done.get((each.student, each.notebook)))]
            # Other machines make a cache of their own, since what is compiled for one processor need not run on another.
            common = {"limits": dataclasses.asdict(limits), "unsafe": unsafe, "cache": None if dask else str(cache)}
            bar = tqdm(total=len(left), unit="submission", disable=None if progress is None else not progress)
            with bar, contextlib.closing(_graded(left, references, common, workers, dask)) as graded:
                for submission, marks in graded:
                    journal.append(
                        {"type": "result", "student": submission.student, "canvas_id": submission.canvas_id,
                         "notebook": submission.notebook, "unsafe": unsafe}
                        | marks
                    )  # fmt: skip
                    bar.update()
        return journal.read()


def _full_name(name: str, known: list[str]) -> str:
    """Return the one notebook whose name begins so, or else the name as it is."""
    begin_so = [each for each in known if each.startswith(name)]
    return begin_so[0] if len(begin_so) == 1 else name


def _entries_to_go_on_with(journal: Journal, *, resume: bool) -> list[Json]:
    """Return what was graded before, and nothing for a new batch, in whose way nothing must be."""
    entries, out = journal.read(), journal.path.parent
    if entries and not resume:
        raise NotebookError(f"{journal.path} holds the grades of a batch: go on with --resume, or name another folder.")
    if resume and not entries:
        raise NotebookError(f"{out} holds no batch to go on with: leave out --resume.")
    if not entries and any(not path.name.startswith(HIDDEN) and path != journal.path for path in out.iterdir()):
        raise NotebookError(f"{out} holds other files, which grades might replace: name a new folder with --out.")
    journal.repair()
    return entries


def _refuse_other_terms(begun: Json, out: Path, *, seed: str | None, asked: list[str], unsafe: bool) -> None:
    """See that a batch goes on as it was begun."""
    if begun["unsafe"] != unsafe:
        raise NotebookError(f"The batch in {out} was begun {'with' if begun['unsafe'] else 'without'} --unsafe: go on so.")
    if seed not in (None, begun["seed"]) or set(asked) - set(begun["notebooks"]):
        raise NotebookError(f"The batch in {out} has its seed and its notebooks already: leave out --seed and --notebook.")


def _handed_in(submissions: list[Submission], worked_on: set[str], known: list[str], folder: Path) -> list[str]:
    """Return the notebooks that anybody worked on, or else those that anybody handed in."""
    chosen = worked_on or {submission.notebook for submission in submissions if submission.path}
    if chosen:
        return [name for name in known if name in chosen]
    for sentence in sorted({submission.refused for submission in submissions if submission.refused}):
        raise NotebookError(f"Nothing in {folder} can be read: {sentence}")
    raise NotebookError(f"{folder} holds no notebook of the course; their names are {', '.join(known)}.")


def _beginning(references: dict[str, Json], unsafe: bool, limits: Limits) -> Json:
    """Return the first entry of a journal: all that it takes to repeat the batch, and what was expected."""
    return {
        "type": "batch",
        "seed": next(iter(references.values()))["seed"],
        "notebooks": list(references),
        "unsafe": unsafe,
        "references": _digests(references),
        "limits": dataclasses.asdict(limits),
        "expected": {name: expected_of(reference) for name, reference in references.items()},
    }


def _references(paths: list[Path], seed: str, cache: Path, progress: bool | None) -> dict[str, Json]:
    """Return the reference of each notebook, by its name; as many are made at once as there are cores."""

    def make(path: Path) -> Json:
        # What is compiled for one is not for the others: the names by which answers are deleted from it are its own.
        return make_reference(path, seed, _readable(cache / path.stem))

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        made = tqdm(
            threads.map(make, paths), desc="Running the reference solutions", total=len(paths),
            disable=None if progress is None else not progress,
        )  # fmt: skip
        return {reference["notebook"]: reference for reference in made}


@contextlib.contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Make the folder of a batch, unless it is there, and keep other batches out of it; one that stays empty goes again."""
    import fcntl  # Only where there are sandboxes.

    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
        if not os.access(out, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise NotebookError(f"Grades cannot be written to {out} ({reason}): name another folder with --out.") from None
    try:
        # Some network file systems know no locks.
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise NotebookError(f"Another batch is at work in {out}: wait for it, or name another folder with --out.") from None
        yield
    finally:
        os.close(folder)
        with contextlib.suppress(OSError):
            out.rmdir()


@contextlib.contextmanager
def _compiled_in(out: Path) -> Iterator[Path]:
    """Make a folder for what JAX compiles, where even a batch that is killed leaves it among its own things."""
    folder = out.resolve() / COMPILED
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield _readable(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _readable(folder: Path) -> Path:
    """Make a folder that strangers, who are other users, can read, whatever this user's habits are."""
    folder.mkdir()
    folder.chmod(0o755)
    return folder


def _is_new(submission: Submission, result: Json | None) -> bool:
    """Return whether a submission has to be graded: it was not yet, or the student has handed in something else since."""
    if result is None:
        return True
    try:
        content = submission.read()
    except UnreadableError as error:
        return str(error) != result["note"]
    if content is None:
        # What has gone since it was graded keeps its marks; of what was missing, something else may be worth saying now.
        return "digest" not in result and result["note"] != _why_missing(submission)
    return digest_of(content) != result.get("digest") or submission.note != result["note"]


def _why_missing(submission: Submission) -> str:
    others = f" under its name; there is {', '.join(submission.others)[:200]}" if submission.others else ""
    return f"The notebook was not handed in{others}."


def _graded(
    submissions: list[Submission], references: dict[str, Json], common: Json, workers: int, dask: str | None
) -> Iterator[tuple[Submission, Json]]:
    """Yield each submission with its marks, as they come; whoever is interrupted does not wait for those under way."""
    with connected(dask) if dask else _local_workers(workers) as graders, ThreadPoolExecutor(graders.at_once) as threads:
        futures = {threads.submit(_attempts, each, references, common, graders.ask): each for each in submissions}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            graders.stop()
            raise


@contextlib.contextmanager
def _local_workers(number: int) -> Iterator[Graders]:
    workers = Workers()
    try:
        yield Graders(number or os.cpu_count() or 1, workers.ask, workers.close)
    finally:
        workers.close()


def _attempts(
    submission: Submission, references: dict[str, Json], common: Json, ask: Ask
) -> Json:
    """Return the marks of one submission; what fails for reasons that are not the student's is tried again."""
    reference = references[submission.notebook]
    try:
        content = submission.read()
    except UnreadableError as error:
        return ungraded(reference, UNREADABLE, str(error))
    if content is None:
        return ungraded(reference, MISSING, _why_missing(submission))
    cache = common["cache"] and str(Path(common["cache"], Path(submission.notebook).stem))
    job = make_job(submission.notebook, content, common | {"reference": reference, "cache": cache})
    reasons = []
    for _ in range(ATTEMPTS):
        marks = ask(job)
        if marks and "infrastructure" not in marks:
            return marks | {"digest": digest_of(content), "note": marks["note"] or submission.note}
        reasons.append(marks["infrastructure"] if marks else "the worker was killed")
    return {"infrastructure": reasons[-1]}


def _digests(references: dict[str, Json]) -> dict[str, str]:
    return {name: hashlib.sha256(reference["source"].encode()).hexdigest() for name, reference in references.items()}


def results(entries: Iterable[Json]) -> list[Json]:
    """Return the last result of each submission, ordered by student and notebook; of who has left since, none."""
    latest: dict[tuple[str, str], Json] = {}
    for entry in entries:
        if entry["type"] == "result":
            latest[entry["student"], entry["notebook"]] = entry
        elif entry["type"] == "left":
            latest = {key: result for key, result in latest.items() if key[0] != entry["student"]}
    return [latest[key] for key in sorted(latest)]


def leave_out(out: Path, students: list[str]) -> None:
    """Note in the journal of ``out`` that ``students`` have left the class; what they got before stays in it.

    Raises:
        NotebookError: the journal has no result of one of them, or a batch is at work in the folder.
    """
    with _alone_in(out):
        journal = Journal(out)
        known = {result["student"] for result in results(journal.read())}
        for student in students:
            if student not in known:
                raise NotebookError(f"{journal.path} has no result of {student!r}: nothing was changed.")
        journal.repair()
        for student in students:
            journal.append({"type": "left", "student": student})

"""Grade a class: a pool of workers, and a journal that no interruption can spoil.

The journal is the truth; gradebook and feedback derive from it. Each line is one JSON object, written whole and forced to
the disk before the next submission is begun by that worker. A line that was cut off is as good as none.
"""

import base64
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from course_utils.coursework.grading import UNREADABLE, Json, make_reference, new_seed, ungraded
from course_utils.coursework.notebooks import NOTEBOOKS_DIR, NotebookError, source_notebooks
from course_utils.coursework.sandbox import Limits, find_sandbox
from course_utils.coursework.submissions import Submission, UnreadableError, find_submissions

JOURNAL = "journal.jsonl"
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
            file.write(json.dumps(entry, sort_keys=True).encode() + b"\n")
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
    limits: Limits = Limits(),
    source_dir: Path = NOTEBOOKS_DIR,
    progress: bool | None = None,
) -> list[Json]:
    """Grade every submission into the journal of ``out`` and return its entries.

    Args:
        submissions_dir: one folder or zip archive for each student.
        out: where the journal is kept; with ``resume`` the one that is there is finished.
        notebooks: names of the notebooks to grade; by default those that anyone handed in.
        seed: the secret of an earlier batch, to repeat it exactly; by default a new one.
        unsafe: run without a sandbox, which is stamped on every result.
        workers: how many submissions to grade at once; by default one for each processor core. 0 workers is the default,
            -1 grades one after the other in this process.

    Raises:
        NotebookError: there is nothing to grade, or a journal is in the way.
        SandboxError: there is no sandbox, and ``unsafe`` was not said.
    """
    sandbox = None if unsafe else find_sandbox()
    journal = Journal(out)
    entries = journal.read()
    if entries and not resume:
        raise NotebookError(f"{journal.path} holds the grades of a batch: go on with --resume, or name another folder.")
    if resume and not entries:
        raise NotebookError(f"{out} holds no batch to go on with: leave out --resume.")
    journal.repair()
    known = {path.name: path for path in source_notebooks(source_dir)}
    begun = entries[0] if entries else {}
    if begun and begun["unsafe"] != unsafe:
        raise NotebookError(f"The batch in {out} was begun {'with' if begun['unsafe'] else 'without'} --unsafe: go on so.")
    chosen = begun.get("notebooks") or notebooks or list(known)
    for name in chosen:
        if name not in known:
            raise NotebookError(f"There is no notebook {name} in the course; there are {', '.join(known)}.")
    submissions = find_submissions(submissions_dir, chosen)
    if not (notebooks or begun):
        handed_in = {submission.notebook for submission in submissions if submission.path}
        chosen = [name for name in chosen if name in handed_in]
        submissions = [submission for submission in submissions if submission.notebook in handed_in]
        if not chosen:
            raise NotebookError(f"{submissions_dir} holds no notebook of the course; their names are {', '.join(known)}.")
    out.mkdir(parents=True, exist_ok=True)
    seed = begun.get("seed") or seed or new_seed()
    with tempfile.TemporaryDirectory(prefix="course-jax-") as cache:
        # A stranger of another user has to be able to read it.
        os.chmod(cache, 0o755)
        references = {}
        for name in tqdm(chosen, desc="Running the reference solutions", disable=None if progress is None else not progress):
            references[name] = make_reference(known[name], seed, Path(cache))
        if begun and begun["references"] != _digests(references):
            raise NotebookError("The notebooks have changed since this batch was begun: grade into another folder.")
        if not begun:
            journal.append(
                {"type": "batch", "seed": seed, "notebooks": chosen, "unsafe": unsafe, "references": _digests(references),
                 "limits": dataclasses.asdict(limits)}
            )  # fmt: skip
        done = {(e["student"], e["notebook"]) for e in entries if e["type"] == "result" and "exercises" in e}
        left = [s for s in submissions if (s.student, s.notebook) not in done]
        common = {"limits": dataclasses.asdict(limits), "sandbox": sandbox, "cache": cache}
        with tqdm(total=len(left), unit="submission", disable=None if progress is None else not progress) as bar:
            for submission, marks in _graded(left, references, common, workers):
                journal.append(
                    {"type": "result", "student": submission.student, "notebook": submission.notebook, "unsafe": unsafe}
                    | marks
                )
                bar.update()
    return journal.read()


def _graded(
    submissions: list[Submission], references: dict[str, Json], common: Json, workers: int
) -> Iterator[tuple[Submission, Json]]:
    if workers < 0:
        for submission in submissions:
            yield submission, _attempts(submission, references, common, _in_this_process(references))
        return
    pool = _Pool(references)
    with ThreadPoolExecutor(workers or os.cpu_count() or 1, initializer=pool.start) as threads:
        futures = {
            threads.submit(_attempts, submission, references, common, pool.ask): submission for submission in submissions
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            for future in futures:
                future.cancel()
            pool.close()


def _attempts(
    submission: Submission, references: dict[str, Json], common: Json, ask: Callable[[Json], Json | None]
) -> Json:
    """Return the marks of one submission; what fails for reasons that are not the student's is tried again."""
    job = common | {"notebook": submission.notebook}
    try:
        content = submission.read()
    except UnreadableError as error:
        return ungraded(references[submission.notebook], UNREADABLE, str(error))
    job["content"] = None if content is None else base64.b64encode(content).decode()
    reasons = []
    for _ in range(ATTEMPTS):
        marks = ask(job)
        if marks and "infrastructure" not in marks:
            return marks
        reasons.append(marks["infrastructure"] if marks else "the worker was killed")
    return {"infrastructure": reasons[-1]}


def _in_this_process(references: dict[str, Json]) -> Callable[[Json], Json]:
    from course_utils.coursework.worker import grade_job

    return lambda job: grade_job(job | {"reference": references[job["notebook"]]})


class _Pool:
    """Workers, one for each thread that asks; a worker that was killed is replaced."""

    def __init__(self, references: dict[str, Json]):
        self._greeting = json.dumps({"references": references}) + "\n"
        self._local = threading.local()
        self._workers: list[subprocess.Popen] = []

    def start(self) -> None:
        command = [sys.executable, "-m", "course_utils.coursework.worker"]
        # A session of its own, so that Ctrl-C reaches the batch alone.
        worker = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
        )
        self._local.worker = worker
        self._workers.append(worker)
        self._write(self._greeting)

    def ask(self, job: Json) -> Json | None:
        """Return the worker's answer, or ``None`` if it was killed."""
        if self._local.worker.poll() is not None:
            self.start()
        self._write(json.dumps(job) + "\n")
        try:
            line = self._local.worker.stdout.readline()
            return json.loads(line)
        except ValueError:
            self._local.worker.kill()
            self._local.worker.wait()
            return None

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
            worker.wait()

    def _write(self, text: str) -> None:
        try:
            self._local.worker.stdin.write(text)
            self._local.worker.stdin.flush()
        except (BrokenPipeError, OSError):
            pass


def _digests(references: dict[str, Json]) -> dict[str, str]:
    return {name: hashlib.sha256(reference["source"].encode()).hexdigest() for name, reference in references.items()}


def results(entries: Iterable[Json]) -> list[Json]:
    """Return the last result of each submission, ordered by student and notebook."""
    latest = {(entry["student"], entry["notebook"]): entry for entry in entries if entry["type"] == "result"}
    return [latest[key] for key in sorted(latest)]

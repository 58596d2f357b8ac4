"""A long-lived process that opens what students made, and grades it: one job a line on its input, one answer a line.

Everything that touches what strangers made happens here or further down, so that the worst that can happen to a batch is
that a worker has to be started anew. A worker ends, with everything below it, as soon as its input does, whatever has
become of the batch that it works for.
"""

import contextlib
import functools
import hashlib
import os
import queue
import shutil
import sys
import threading
from pathlib import Path

import msgspec

from course_utils.coursework.grade.answers import Given, plans, read_submitted
from course_utils.coursework.grade.jobs import (
    Answer,
    GradeJob,
    Job,
    KeyJob,
    OpenedFile,
    OpenJob,
    code_digest,
    make_folder_readable,
    source_digest,
)
from course_utils.coursework.grade.judge import judge
from course_utils.coursework.grade.key import (
    forget_answers,
    make_key,
    reference_plans,
    stripped_checks,
)
from course_utils.coursework.grade.submissions import open_place
from course_utils.coursework.run.isolation import Isolation, find_isolation
from course_utils.coursework.run.kernels import Kernels, find_kernels
from course_utils.coursework.run.limits import Limits, processor_time
from course_utils.coursework.run.runner import run
from course_utils.coursework.source.notebooks import NotebookError, read_notebook
from course_utils.errors import CourseError
from course_utils.paths import DATA_DIR, NOTEBOOKS_DIR, place_of

# ``open_place`` keeps to less; this is for a file that never lets it look at the clock.
SECONDS_TO_OPEN = 60.0


class Workshop:
    """What a worker keeps from job to job: parents of kernels, and what it has read of the source notebooks."""

    def __init__(self) -> None:
        self._kernels: dict[object, Kernels] = {}
        self._caches: list[Path] = []

    def do(self, job: Job) -> Answer:
        """Return the answer to a job."""
        try:
            match job:
                case OpenJob():
                    return self._open(job)
                case KeyJob():
                    return self._make_key(job)
                case GradeJob():
                    return self._grade(job)
        except NotebookError as error:
            return Answer(refusal=str(error))
        except CourseError as error:
            return Answer(failure=str(error))

    def close(self) -> None:
        """End all kernels and remove what is on the disk."""
        for kernels in self._kernels.values():
            kernels.close()
        for cache in self._caches:
            shutil.rmtree(cache, ignore_errors=True)

    def _open(self, job: OpenJob) -> Answer:
        givens = {Path(path).name: given_of(path) for path in job.sources}
        with processor_time(SECONDS_TO_OPEN):
            opened = open_place(job.place, list(givens), lambda name, content: read_submitted(content, givens[name]))
        notebooks = {
            name: OpenedFile(each.content, each.digest, each.note, each.unreadable)
            for name, each in opened.notebooks.items()
        }
        return Answer(notebooks=notebooks, others=opened.others)

    def _make_key(self, job: KeyJob) -> Answer:
        kernels = self._trusted_kernels(given_of(job.source))
        cache, chosen = Path(job.cache) if job.cache else None, slice(job.part, None, job.parts)
        return Answer(key=make_key(Path(job.source), job.seed, kernels, cache, chosen))

    def _grade(self, job: GradeJob) -> Answer:
        if job.code != code_digest():
            return Answer(refusal="This worker has another version of the course: install the same one everywhere.")
        source = job.source if Path(job.source).is_file() else str(NOTEBOOKS_DIR / place_of(job.key.notebook))
        if source_digest(source) != job.key.source:
            return Answer(
                refusal=f"This worker has another version of {job.key.notebook}: install the same one everywhere."
            )
        isolation = None if job.unsafe else find_isolation()
        stamps = ("unsafe: run without a sandbox",) if isolation is None else isolation.missing
        cache = Path(job.cache) if job.cache else self._own_cache(source, job.key.seed)
        given = given_of(source)
        expected = {each.name: each for each in job.key.exercises}
        todo = plans(job.submitted, given, stripped_checks_of(source))
        programs = [plan.program for plan in todo if plan.program]
        kernels = self._kernels_for(isolation, cache.parent, given)
        outcomes = run(programs, job.key.seed, job.limits, kernels, cache=cache) if programs else {}
        marks = tuple(
            judge(
                plan, outcomes.get(plan.exercise.name), expected[plan.exercise.name], job.submitted, given, job.limits
            )
            for plan in todo
        )
        return Answer(marks=marks, stamps=stamps)

    def _trusted_kernels(self, given: Given) -> Kernels:
        return self._kept(
            ("trusted", given.imports), lambda: find_kernels(None, imports=given.imports, fill_cache=True)
        )

    def _kernels_for(self, isolation: Isolation | None, readable: Path, given: Given) -> Kernels:
        return self._kept(
            (isolation, readable, given.imports),
            lambda: find_kernels(isolation, imports=given.imports, readable=[DATA_DIR, readable]),
        )

    def _kept(self, name: object, make) -> Kernels:
        if name not in self._kernels:
            self._kernels[name] = make()
        return self._kernels[name]

    def _own_cache(self, source: str, seed: str) -> Path:
        """Return a folder with what JAX compiles of the reference on this machine, made once in the life of this process."""
        folder = Path(_temporary_folder(), hashlib.sha256(source.encode()).hexdigest()[:8])
        if not folder.exists():
            make_folder_readable(folder)
            self._caches.append(folder)
            notebook, given = read_notebook(Path(source)), given_of(source)
            programs = [plan.program for plan in reference_plans(notebook, given, stripped_checks(given))]
            run(programs, seed, Limits(seconds_per_cell=120), self._trusted_kernels(given), cache=folder)
            forget_answers(folder, notebook)
        return folder


@functools.cache
def _temporary_folder() -> str:
    import tempfile

    folder = tempfile.mkdtemp(prefix="course-jax-")
    os.chmod(folder, 0o755)
    return folder


@functools.cache
def given_of(source: str) -> Given:
    """Return what students were given of a source notebook."""
    return Given(read_notebook(Path(source)))


@functools.cache
def stripped_checks_of(source: str) -> dict[str, str]:
    """Return the checks of a source notebook as a stranger's process may see them."""
    return stripped_checks(given_of(source))


def main() -> None:
    """Answer jobs until there are no more; the arguments are folders to remove when that is so."""
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    workshop = Workshop()

    def read_input() -> None:
        for line in sys.stdin.buffer:
            jobs.put(line)
        # Whoever wanted answers is gone; what the main thread is at is of no use to anybody.
        # The main thread may be in the middle of anything.
        with contextlib.suppress(Exception):
            workshop.close()
        for folder in sys.argv[1:]:
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    threading.Thread(target=read_input, daemon=True).start()
    decoder, answers = msgspec.json.Decoder(Job), os.fdopen(os.dup(1), "wb")
    # What a library prints is no answer.
    os.dup2(2, 1)
    while True:
        answer = workshop.do(decoder.decode(jobs.get()))
        answers.write(_encode(answer) + b"\n")
        answers.flush()


def _encode(answer: Answer) -> bytes:
    return msgspec.json.encode(answer)


if __name__ == "__main__":
    main()

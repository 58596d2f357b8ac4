"""A long-lived process that grades: one job a line on its standard input, one answer a line on its standard output.

All that touches what strangers made happens here or further down, so that the worst that can happen to the batch is that
a worker has to be started anew. A job says all that is needed to do it, so that it can be done on any machine.
"""

import base64
import contextlib
import functools
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from course_utils.coursework.grading import InfrastructureError, fill_cache, grade
from course_utils.coursework.sandbox import Limits, SandboxError, find_sandbox

PACKAGE_DIR = Path(__file__).resolve().parent.parent
Json = dict[str, Any]
# What does one job; ``None`` if whoever did it was lost.
Ask = Callable[[Json], Json | None]


def make_job(notebook: str, content: bytes, common: Json) -> Json:
    """Return a job in plain JSON: the bytes handed in, and in ``common`` the reference, limits, cache and sandbox."""
    return common | {"content": base64.b64encode(content).decode(), "notebook": notebook, "code": code_digest()}


def grade_job(job: Json) -> Json:
    """Return the marks of a job, or why there are none under ``infrastructure``; both are plain JSON."""
    if job["code"] != code_digest():
        return {"infrastructure": "This worker has another version of the course: install the same one everywhere."}
    content = base64.b64decode(job["content"])
    try:
        sandbox = None if job["unsafe"] else find_sandbox()
        cache = Path(job["cache"]) if job["cache"] else Path(_own_cache(json.dumps(job["reference"])).name)
        return grade(content, job["reference"], Limits(**job["limits"]), sandbox=sandbox, cache=cache)
    except (InfrastructureError, SandboxError) as error:
        return {"infrastructure": str(error)}


@functools.cache
def code_digest() -> str:
    """Return a digest of the course's code, which has to be the same wherever a class is graded."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE_DIR.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE_DIR).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


@functools.cache
def _own_cache(reference: str) -> tempfile.TemporaryDirectory:
    """Return a folder with what JAX compiles of the reference on this machine, made once in the life of this process."""
    folder = tempfile.TemporaryDirectory(prefix="course-jax-")
    os.chmod(folder.name, 0o755)
    fill_cache(json.loads(reference), Path(folder.name))
    return folder


class Graders(NamedTuple):
    """Who grades, here or on a cluster: how many jobs at once, what does one, and what makes those under way end."""

    at_once: int
    ask: Ask
    stop: Callable[[], None]


class Workers:
    """Worker processes, one for each thread that asks; one that was killed is replaced."""

    def __init__(self) -> None:
        self._closed = False
        self._local = threading.local()
        self._processes: list[subprocess.Popen] = []

    def ask(self, job: Json) -> Json | None:
        """Return the answer of this thread's worker, or ``None`` if the worker was killed, or all were closed."""
        if self._closed:
            return None
        worker = getattr(self._local, "worker", None)
        if worker is None or worker.poll() is not None:
            worker = self._local.worker = self._start()
        try:
            with contextlib.suppress(BrokenPipeError):
                worker.stdin.write(json.dumps(job) + "\n")
                worker.stdin.flush()
            return json.loads(worker.stdout.readline())
        except ValueError:
            worker.kill()
            worker.wait()
            return None

    def close(self) -> None:
        """End all workers, whatever they are doing, and start no more."""
        self._closed = True
        for process in self._processes:
            process.kill()
            process.wait()

    def _start(self) -> subprocess.Popen:
        # Whatever folder a cluster's worker was started in, this process has to find the course.
        path = os.pathsep.join(filter(None, [str(PACKAGE_DIR.parent), os.environ.get("PYTHONPATH")]))
        # A session of its own, so that Ctrl-C reaches the batch alone.
        process = subprocess.Popen(
            [sys.executable, "-m", "course_utils.coursework.worker"], text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": path},
        )  # fmt: skip
        self._processes.append(process)
        return process


def main() -> None:
    """Answer jobs until there are no more."""
    for line in sys.stdin:
        sys.stdout.write(json.dumps(grade_job(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Worker processes of this machine: whoever asks one waits no longer than a deadline, and a lost worker is replaced."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

# Not the worker itself: a batch is to stay small, and to touch nothing that a worker touches.
WORKER = "course_utils.coursework.grade.worker"
MAX_ANSWER_BYTES = 50_000_000


class Graders(NamedTuple):
    """Who does jobs, here or on a cluster.

    Attributes:
        at_once: how many jobs at a time.
        ask: does a job, given as JSON with the seconds that it may take; ``None`` if whoever did it was lost.
        stop: makes those under way end.
    """

    at_once: int
    ask: Callable[[bytes, float], bytes | None]
    stop: Callable[[], None]


class Workers:
    """Worker processes, one for each thread that asks; one that was lost is replaced."""

    def __init__(self, environment: dict[str, str], remove_at_end: Sequence[Path] = ()) -> None:
        self._environment, self._remove_at_end = environment, remove_at_end
        self._lock = threading.Lock()
        self._closed = False
        self._local = threading.local()
        self._processes: set[subprocess.Popen] = set()

    def ask(self, job: bytes, seconds: float) -> bytes | None:
        """Return the answer of this thread's worker; ``None`` if it was lost, or too slow, or all have been closed."""
        worker = self._own_worker()
        if worker is None:
            return None
        timer = threading.Timer(seconds, worker.kill)
        timer.daemon = True
        timer.start()
        try:
            with contextlib.suppress(OSError):
                worker.stdin.write(job + b"\n")
                worker.stdin.flush()
            line = worker.stdout.readline(MAX_ANSWER_BYTES)
        finally:
            timer.cancel()
        if line.endswith(b"\n"):
            return line
        self._end(worker)
        return None

    def close(self) -> None:
        """End all workers, whatever they are doing, and start no more."""
        with self._lock:
            self._closed = True
            processes = list(self._processes)
        for process in processes:
            self._end(process)

    def _own_worker(self) -> subprocess.Popen | None:
        worker = getattr(self._local, "worker", None)
        if worker is not None and worker.poll() is None:
            return worker
        with self._lock:
            if self._closed:
                return None
            arguments = [str(folder) for folder in self._remove_at_end]
            # A session of its own, so that Ctrl-C reaches the batch alone.
            worker = subprocess.Popen(
                [sys.executable, "-m", WORKER, *arguments],
                start_new_session=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=self._environment,
            )
            self._processes.add(worker)
        self._local.worker = worker
        return worker

    def _end(self, worker: subprocess.Popen) -> None:
        with self._lock:
            self._processes.discard(worker)
        # A worker that is asked to end takes what is below it along; one that does not listen is killed.
        with contextlib.suppress(OSError):
            worker.stdin.close()
        try:
            worker.wait(timeout=5)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
        worker.stdout.close()


def encode(job: msgspec.Struct) -> bytes:
    """Return a job as it is sent."""
    return msgspec.json.encode(job)


def number_of_cores() -> int:
    """Return how many jobs this machine does at a time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

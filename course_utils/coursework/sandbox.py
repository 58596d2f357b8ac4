"""Run a notebook that holds a stranger's code, where it can harm nothing and learn nothing, and listen to its checks.

Each run has a sandbox of its own, made by bubblewrap: no network but its own loopback, a read-only system without the
source notebooks, private and small ``/tmp``, ``/dev/shm`` and home, its own processes, an environment of a few known
variables, an unprivileged user, and limits for memory, processes, files and time. nbval runs inside of it; what comes
out is one stream of JSON lines of limited length. Nothing in that stream is believed but the values of checks, and
these are compared outside, with values that never were inside.
"""

import contextlib
import json
import math
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import nbformat
import psutil
from nbformat import NotebookNode

from course_utils.coursework import checks
from course_utils.coursework.nbval_plugin import DIED, OUTPUT_LIMIT, PATIENCE, TIMEOUT
from course_utils.data import DATA_DIR
from course_utils.errors import CourseError

PACKAGE_DIR = Path(__file__).resolve().parent.parent
MEMORY, INFRASTRUCTURE, FINISHED = "memory", "infrastructure", "finished"
NOBODY = 65534
# Users that no system gives to anybody: 2^30 of them, from here on.
FIRST_STRANGER = 1 << 30
SYSTEM_DIRS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
MAX_LINE_BYTES = 1_000_000
MAX_STREAM_BYTES = 8_000_000
SECONDS_TO_START = 90.0


class SandboxError(CourseError):
    """There is no sandbox to be had here."""


@dataclass(frozen=True)
class Limits:
    """What one run may use."""

    seconds_per_cell: float = 30.0
    memory_bytes: int = 3_000_000_000
    address_space_bytes: int = 8_000_000_000
    processes: int = 200
    file_bytes: int = 50_000_000
    folder_bytes: int = 100_000_000


@dataclass
class Run:
    """What was heard of one run.

    Attributes:
        ended: ``finished``, or why it did not: ``timeout``, ``memory``, ``died``, ``output limit``, ``infrastructure``.
        cells: for each cell that ended its ``passed``, ``message`` and ``checks``, by its id.
        last_started: the id of the cell at which the run ended, or an empty string.
        told: the last lines that the machinery itself wrote, for the instructor.
    """

    ended: str
    cells: dict[str, dict[str, Any]] = field(default_factory=dict)
    last_started: str = ""
    told: str = ""


def find_sandbox() -> str:
    """Return the path of a bubblewrap that works here.

    Raises:
        SandboxError: there is none, or the system does not let it work.
    """
    program = shutil.which("bwrap")
    way_out = "install bubblewrap (on Debian: apt install bubblewrap), or use --unsafe if you trust every submission"
    if not program:
        raise SandboxError(f"Submissions are graded in a sandbox only, and there is no bwrap on the PATH: {way_out}.")
    tried = subprocess.run([program, *_isolation(), "--ro-bind", "/", "/", "true"], capture_output=True, text=True)
    if tried.returncode:
        reason = (tried.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise SandboxError(f"The sandbox does not work on this system ({reason}): {way_out}.")
    return program


def run_in_sandbox(
    notebook: NotebookNode, seed: str, limits: Limits, *, sandbox: str | None, cache: Path | None = None, fill_cache: bool = False
) -> Run:
    """Run ``notebook`` with nbval and return what its checks said.

    Args:
        notebook: a :func:`~course_utils.coursework.grading_copy.grading_copy`.
        seed: what the checks draw their inputs from.
        limits: what the run may use.
        sandbox: the path of bubblewrap; ``None`` runs without any isolation but the limits.
        cache: a folder with JAX's compilation cache, which is not written to unless ``fill_cache``.

    Raises:
        SandboxError: the system has no limits to put on a run.
    """
    if os.name == "nt":
        raise SandboxError("Answers cannot be run under limits on Windows: release and grade on Linux, for instance in WSL.")
    num_cells = len(notebook.cells)
    deadline = time.monotonic() + SECONDS_TO_START + num_cells * (PATIENCE * limits.seconds_per_cell + 1)
    user = _stranger() if sandbox and os.geteuid() == 0 else os.geteuid()
    job = {
        "notebook": nbformat.writes(notebook),
        "limits": asdict(limits) | {"processes": _running(user) + limits.processes},
        "cpu_seconds": math.ceil(os.cpu_count() * (deadline - time.monotonic())),
        "user": user,
    }
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "JAX_PLATFORMS": "cpu",
        "OPENBLAS_NUM_THREADS": "1",
        checks.SEED_VARIABLE: seed,
    }
    if cache:
        environment |= cache_environment(cache, fill=fill_cache)
    with (
        # A batch that is killed leaves nothing of a sandbox behind, since its folders are in memory and these files have no name.
        contextlib.nullcontext("/") if sandbox else tempfile.TemporaryDirectory(prefix="course-grade-") as folder,
        _pipe() as (reader, writer),
        tempfile.TemporaryFile() as arguments,
        tempfile.TemporaryFile() as told,
    ):
        if sandbox:
            environment |= {"HOME": "/home/student", "TMPDIR": "/tmp"}
            # From inside, the command line of the sandbox can be read; it is not to tell about the world outside.
            options = [*_isolation(), *_view(limits, cache), *_set(environment)]
            arguments.write("\0".join(options).encode())
            arguments.seek(0)
            command = [sandbox, "--args", str(arguments.fileno())]
        else:
            environment |= {"HOME": folder, "TMPDIR": folder}
            command = []
        command += [sys.executable, "-I", "-m", "course_utils.coursework.inside", str(writer.fileno())]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=told, stderr=told, env=environment, cwd=folder,
            pass_fds=[writer.fileno(), arguments.fileno()], start_new_session=True,
        )  # fmt: skip
        writer.close()
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps(job).encode())
                process.stdin.close()
            run = _listen(process, reader, deadline, limits, notebook.cells[-1].id)
        finally:
            _end(process, sandboxed=bool(sandbox))
        told.seek(0)
        run.told = told.read(20_000).decode("utf-8", "replace")[-4000:]
    return run


def cache_environment(cache: Path, *, fill: bool) -> dict[str, str]:
    """Return the environment in which JAX reads whatever there is in ``cache``, and writes everything, or nothing."""
    return {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0" if fill else "1e9",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def _isolation() -> list[str]:
    """Return bubblewrap's options for namespaces; root keeps just what it needs to become somebody else inside."""
    options = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    options += ["--die-with-parent", "--new-session"]
    if os.geteuid() == 0:
        return [*options, "--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [*options, "--unshare-user"]


def _view(limits: Limits, cache: Path | None) -> list[str]:
    """Return bubblewrap's options for what can be seen: the system and the course's package to read, the rest private."""
    options = []
    for path in map(Path, SYSTEM_DIRS):
        if path.is_symlink() and path.is_dir():
            options += ["--symlink", os.readlink(path), str(path)]
        elif path.exists():
            options += ["--ro-bind", str(path), str(path)]
    readable = [Path(sys.base_prefix), Path(sys.prefix), PACKAGE_DIR, DATA_DIR, *([cache] if cache else [])]
    parents = sorted({parent for path in readable for parent in path.parents if parent != Path("/")})
    for parent in parents:
        if not str(parent).startswith(("/usr", "/tmp")):
            options += ["--perms", "0755", "--dir", str(parent)]
    size = ["--size", str(limits.folder_bytes), "--perms", "1777", "--tmpfs"]
    options += ["--proc", "/proc", "--dev", "/dev", *size, "/dev/shm", "--remount-ro", "/dev", *size, "/tmp"]
    options += [*size, "/home/student"]
    for path in readable:
        if not str(path).startswith("/usr/"):
            for parent in reversed(path.parents):
                if str(parent).startswith("/tmp/"):
                    options += ["--perms", "0755", "--dir", str(parent)]
            options += ["--ro-bind", str(path), str(path)]
    return [*options, "--remount-ro", "/", "--chdir", "/home/student"]


def _set(environment: dict[str, str]) -> list[str]:
    return ["--clearenv", *(part for item in environment.items() for part in ("--setenv", *item))]


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Open a pipe; its ends are files, since a number that is closed twice may be another thread's the second time."""
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as reading, open(writer, "wb", buffering=0) as writing:
        yield reading, writing


def _listen(process: subprocess.Popen, reader: BinaryIO, deadline: float, limits: Limits, last: str) -> Run:
    """Read events until the ``last`` cell has ended or the run has to be ended."""
    run, buffer, total = Run(INFRASTRUCTURE), b"", 0
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        while True:
            if selector.select(timeout=0.25):
                content = reader.read(1 << 16)
                if not content:
                    break
                buffer, total = buffer + content, total + len(content)
                *lines, buffer = buffer.split(b"\n")
                if total > MAX_STREAM_BYTES or max(map(len, [buffer, *lines])) > MAX_LINE_BYTES:
                    return _ended(run, OUTPUT_LIMIT)
                for line in lines:
                    _note(run, line)
                if run.ended == INFRASTRUCTURE and last in run.cells:
                    run.ended = FINISHED
            if run.ended != INFRASTRUCTURE:
                return run
            if time.monotonic() > deadline:
                return _ended(run, TIMEOUT)
            resident, address_space = _memory(process.pid)
            # A process that cannot get any more memory often cannot say so either.
            if resident > limits.memory_bytes or address_space > 0.95 * limits.address_space_bytes:
                return _ended(run, MEMORY)
    return _ended(run, DIED)


def _note(run: Run, line: bytes) -> None:
    """Take one event into account; what is none is passed over, since a stranger may have written it."""
    try:
        event = json.loads(line)
        kind, cell = event["event"], event.get("cell", "")
        if kind == "start":
            run.last_started = str(cell)
        elif kind == "end":
            records = [record for record in event.get("checks", []) if isinstance(record, dict)]
            run.cells[str(cell)] = {
                "passed": event["passed"] is True,
                "message": str(event["message"])[:500],
                "checks": records[:50],
            }
            if event["ended"] in (TIMEOUT, DIED, OUTPUT_LIMIT):
                run.ended = event["ended"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return


def _ended(run: Run, reason: str) -> Run:
    """Say why the run ended; before a cell of a stranger was begun it is never the stranger's fault."""
    run.ended = reason if run.last_started else INFRASTRUCTURE
    return run


def _stranger() -> int:
    """Return a user that no other run has: the limit of processes is for all of a user's together."""
    known = sum(int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines())
    # In some containers there are only few users.
    return FIRST_STRANGER + secrets.randbelow(1 << 30) if known > 2 * FIRST_STRANGER else NOBODY


def _running(user: int) -> int:
    """Return how many threads a user runs: where older systems count these too, a limit has to allow for them."""
    threads = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.uids().real == user:
                threads += process.num_threads()
    return threads


def _memory(pid: int) -> tuple[int, int]:
    """Return the resident bytes of a process with all its descendants, and the largest address space among them."""
    try:
        family = psutil.Process(pid)
        processes = [family, *family.children(recursive=True)]
    except psutil.Error:
        return 0, 0
    resident = address_space = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            used = process.memory_info()
            resident, address_space = resident + used.rss, max(address_space, used.vms)
    return resident, address_space


def _end(process: subprocess.Popen, *, sandboxed: bool) -> None:
    """Kill the run and wait until nothing of it is left."""
    descendants = []
    with contextlib.suppress(psutil.Error):
        descendants = psutil.Process(process.pid).children(recursive=True)
    for descendant in descendants:
        with contextlib.suppress(psutil.Error):
            descendant.kill()
    if sandboxed and descendants:
        # The first process inside is the last one there to go, and bubblewrap ends when it has seen that.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()

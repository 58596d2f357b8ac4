"""Kernels for strangers' code, seen from outside: a parent process, rooms in it, kernels in a room; and nbval's view of one.

A parent has been in the sandbox before any stranger's code, and has imported what is slow to import. Each submission has
a room of its own there; each exercise a kernel, forked in that room. What listens here is out of the stranger's reach.
Where there is no fork every kernel is started anew, by nbval.
"""

import contextlib
import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from queue import Empty
from typing import Any, Protocol

import psutil
import zmq
from jupyter_client import BlockingKernelClient
from nbformat import NotebookNode
from nbval.kernel import CURRENT_ENV_KERNEL_NAME, RunningKernel, start_new_kernel

from course_utils.coursework.run.environment import clean_environment
from course_utils.coursework.run.isolation import (
    Isolation,
    Room,
    SandboxError,
    end_nursery,
    memory_of,
    short_path,
    start_nursery,
)
from course_utils.coursework.run.limits import Limits
from course_utils.coursework.run.program import Ended
from course_utils.errors import CourseError
from course_utils.paths import DATA_DIR

PARENT = "course_utils.coursework.run.parent"
# What can be imported without starting JAX, or a thread: the most that a parent imports, by the package.
CAN_BE_PRELOADED = {
    "numpy": ("numpy",),
    "scipy": tuple(f"scipy.{name}" for name in ("integrate", "linalg", "optimize", "signal", "special", "stats")),
    "jax": ("jax", "jax.numpy", "jax.scipy.stats"),
    "matplotlib": ("matplotlib", "matplotlib_inline.backend_inline"),
    "course_utils.montecarlo": ("course_utils.montecarlo",),
    "course_utils.bounds": ("course_utils.bounds",),
}
ALWAYS_PRELOADED = ("course_utils.coursework.checks", "course_utils.coursework.kernel.apart")
SECONDS_TO_START = 90.0
SECONDS_TO_ANSWER = 30.0
SECONDS_BETWEEN_LOOKS = 0.25
PATIENCE = 4
# Far more than a cell may say: what is larger is not received, and its kernel is not heard any more.
MAX_MESSAGE_BYTES = 100_000_000
MAX_MESSAGES_WAITING = 100
MAX_BYTES_RECEIVED = 600_000_000
CAN_FORK = sys.platform.startswith("linux")


class RunnerError(CourseError):
    """The machinery failed, not the student: there is no mark, and a human has to look at it."""


class CellStopped(Exception):  # noqa: N818 - it says what happened to a cell, not what went wrong here
    """A cell was stopped, or stopped its kernel; ``ended`` says why."""

    def __init__(self, ended: Ended):
        super().__init__(f"The cell was stopped: {ended}.")
        self.ended = ended


class OpenRoom(Protocol):
    """Where kernels live, one after another, with the folders that they write to."""

    def start_kernel(self, environment: Mapping[str, str], *, fresh: bool) -> "BoundKernel": ...

    def close(self) -> None: ...


class Kernels(Protocol):
    """Where rooms come from."""

    def open_room(self, limits: Limits) -> OpenRoom: ...

    def close(self) -> None: ...


def find_kernels(
    isolation: Isolation | None,
    *,
    imports: Collection[str] = tuple(CAN_BE_PRELOADED),
    readable: Sequence[Path] = (),
    folder: Path | None = None,
    fill_cache: bool = False,
) -> Kernels:
    """Return what starts kernels behind the walls of ``isolation``; without it there are none.

    Args:
        imports: what the notebooks to be run import, so that it need not be imported for each kernel.
        readable: what can be read inside, beside the system, Python and the course's package.
        folder: without walls, the folder in which the kernels run; by default an empty one.
        fill_cache: whether kernels may write into JAX's cache.
    """
    if isolation is None and not CAN_FORK:
        return FreshKernels(folder)
    return ForkedKernels(isolation, imports=imports, readable=readable, folder=folder, fill_cache=fill_cache)


def _jax_environment(fill_cache: bool) -> dict[str, str]:
    return {
        "JAX_PLATFORMS": "cpu",
        "OPENBLAS_NUM_THREADS": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        # JAX reads all there is in a cache that it is given, and writes everything, or nothing.
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0" if fill_cache else "1e9",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


class ForkedKernels:
    """A parent of kernels, started when it is first needed, and again if it has died.

    Use it from one thread, the one that lives longest: the sandbox ends with the thread that started it.
    """

    def __init__(
        self,
        isolation: Isolation | None,
        *,
        imports: Collection[str],
        readable: Sequence[Path],
        folder: Path | None,
        fill_cache: bool,
    ) -> None:
        roots = {name.partition(".")[0] for name in imports} | set(imports)
        preloaded = [module for root, modules in CAN_BE_PRELOADED.items() if root in roots for module in modules]
        self._preloaded = [*preloaded, *ALWAYS_PRELOADED]
        self._isolation, self._readable, self._given_folder = isolation, readable, folder
        self._environment = _jax_environment(fill_cache)
        self._parent: subprocess.Popen | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="c-"))

    def open_room(self, limits: Limits) -> "ForkedRoom":
        """Open a room; kernels in it may use what ``limits`` say.

        Raises:
            RunnerError: there is none to be had.
        """
        for attempt in (1, 2):
            parent = self._living_parent(limits)
            try:
                room = self._room(limits)
                with contextlib.suppress(BrokenPipeError):
                    parent.stdin.write(json.dumps(room.settings).encode() + b"\n")
                    parent.stdin.flush()
                room.admit(parent, SECONDS_TO_START)
                return ForkedRoom(room, limits)
            except SandboxError as error:
                room.end()
                self._end_parent()
                if attempt == 2:
                    raise RunnerError(str(error)) from None
        raise AssertionError

    def close(self) -> None:
        """End the parent, and with it all that is in its rooms."""
        self._end_parent()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _room(self, limits: Limits) -> "Room | PlainRoom":
        if self._isolation:
            return Room(self._isolation, limits, self._folder)
        return PlainRoom(limits, self._folder, self._given_folder)

    def _living_parent(self, limits: Limits) -> subprocess.Popen:
        if self._parent is None or self._parent.poll() is not None:
            command = [sys.executable, "-I", "-m", PARENT, *self._preloaded]
            streams = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            if self._isolation:
                self._parent = start_nursery(
                    self._isolation, limits, self._folder, command=command, readable=self._readable,
                    environment=self._environment, **streams,
                )  # fmt: skip
            else:
                environment = clean_environment() | self._environment
                self._parent = subprocess.Popen(command, env=environment, start_new_session=True, **streams)
        return self._parent

    def _end_parent(self) -> None:
        if self._parent is None:
            return
        with contextlib.suppress(OSError):
            self._parent.stdin.close()
        if self._isolation:
            end_nursery(self._parent)
        else:
            self._parent.kill()
            self._parent.wait()
        self._parent = None


class PlainRoom:
    """A room without walls, with what of :class:`Room` is used here."""

    def __init__(self, limits: Limits, sockets_folder: Path, folder: Path | None) -> None:
        self._limits = limits
        self._folder = sockets_folder / secrets.token_hex(4)
        self._folder.mkdir(mode=0o700)
        (self._folder / "home").mkdir()
        (self._folder / DATA_DIR.name).symlink_to(DATA_DIR)
        self._held = contextlib.ExitStack()
        self._sockets = self._held.enter_context(short_path(self._folder))
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._door.bind(str(self._sockets / "door"))
        self._door.listen()
        self.folder_of_sockets = str(self._sockets)
        self.settings = {"folder": str(folder or self._folder / "home"), "door": str(self._sockets / "door")}
        self.worker: socket.socket | None = None
        self.pid = 0

    def admit(self, parent: subprocess.Popen, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        self._door.settimeout(SECONDS_BETWEEN_LOOKS)
        while self.worker is None:
            with contextlib.suppress(TimeoutError):
                self.worker, _ = self._door.accept()
            if self.worker is None and (parent.poll() is not None or time.monotonic() > deadline):
                raise SandboxError("The process that starts kernels ended, or opened no room in time.")
        self.worker.settimeout(None)
        self.pid = int.from_bytes(self.worker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), sys.byteorder)

    def path(self, name: str) -> Path:
        path = self._sockets / name
        if not path.exists():
            raise SandboxError(f"The room has no socket {name}.")
        return path

    def exceeds_memory(self) -> bool:
        return memory_of(self.pid) > self._limits.memory_bytes

    def end(self) -> None:
        family = []
        with contextlib.suppress(psutil.Error):
            family = [psutil.Process(self.pid), *psutil.Process(self.pid).children(recursive=True)] if self.pid else []
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._door.close()
        if self.worker:
            self.worker.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._held.close()


class ForkedRoom:
    """A room in which kernels are forked, one after another."""

    def __init__(self, room: Room | PlainRoom, limits: Limits) -> None:
        self._room, self._limits = room, limits
        self._kernel: BoundKernel | None = None
        self._number = 0
        self._heard = b""
        self._ended: set[int] = set()
        self._open = True

    def start_kernel(self, environment: Mapping[str, str], *, fresh: bool) -> "BoundKernel":
        """End what is left of earlier kernels, and start one.

        Raises:
            RunnerError: it does not start; no stranger's code has run in it yet.
        """
        self._number += 1
        inside = getattr(self._room, "folder_of_sockets", "/room")
        connection = _connection(f"{inside}/{self._number}")
        deadline = time.monotonic() + SECONDS_TO_START
        self._ask({"end": True}, "gone", deadline)
        pid = self._ask(
            {"connection": connection, "environment": dict(environment), "fresh": fresh}, "started", deadline
        )
        path = ""
        for channel in ("shell", "iopub"):
            path = self._wait_for_socket(f"{self._number}-{connection[f'{channel}_port']}", pid, deadline)
        outside = path.rpartition("-")[0]
        return ForkedKernel(connection | {"ip": outside}, self, pid, deadline)

    def has_ended(self, pid: int) -> bool:
        """Return whether a kernel has ended, or the room itself."""
        self._listen(0)
        return pid in self._ended or not self._open

    def exceeds_memory(self) -> bool:
        """Return whether what is in the room uses more memory than it may."""
        return self._room.exceeds_memory()

    def outer_pid(self, inner: int) -> int:
        """Return the process that is ``inner`` in the room, or 0 if there is none."""
        if isinstance(self._room, PlainRoom):
            return inner
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(self._room.pid).children():
                with contextlib.suppress(OSError, StopIteration):
                    lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
                    numbers = next(line for line in lines if line.startswith("NSpid:")).split()
                    if int(numbers[-1]) == inner:
                        return child.pid
        return 0

    def close(self) -> None:
        self._open = False
        self._room.end()

    def _wait_for_socket(self, name: str, pid: int, deadline: float) -> str:
        while True:
            # A socket has its name before it listens, and the kernel's client connects only once.
            with contextlib.suppress(SandboxError, ConnectionRefusedError), socket.socket(socket.AF_UNIX) as trial:
                path = str(self._room.path(name))
                trial.connect(path)
                return path
            if self.has_ended(pid) or time.monotonic() > deadline:
                raise RunnerError("A kernel ended before it had begun, or did not begin in time.")
            time.sleep(0.003)

    def _ask(self, request: dict[str, Any], answer: str, deadline: float) -> Any:
        with contextlib.suppress(OSError):
            self._room.worker.sendall(json.dumps(request).encode() + b"\n")
        while self._open and time.monotonic() < deadline:
            for message in self._listen(SECONDS_BETWEEN_LOOKS):
                if answer in message:
                    return message[answer]
        raise RunnerError(f"The room did not answer when it was asked for {answer!r}.")

    def _listen(self, seconds: float) -> list[dict[str, Any]]:
        """Return what the room's first process has said, and take note of kernels that have ended."""
        if not self._open:
            return []
        try:
            self._room.worker.settimeout(seconds)
            content = self._room.worker.recv(1 << 16)
            self._open = bool(content)
        except (TimeoutError, BlockingIOError):
            content = b""
        except OSError:
            self._open = False
            content = b""
        *lines, self._heard = (self._heard + content).split(b"\n")
        messages = [json.loads(line) for line in lines]
        self._ended |= {message["ended"] for message in messages if "ended" in message}
        return messages


def _connection(prefix: str) -> dict[str, Any]:
    ports = {f"{channel}_port": i for i, channel in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)}
    key = {"key": secrets.token_hex(16), "signature_scheme": "hmac-sha256"}
    return {"transport": "ipc", "ip": prefix, "kernel_name": "python3", **ports, **key}


class _Client(BlockingKernelClient):
    """A client that a kernel cannot fill up, and that never connects twice."""

    def _create_connected_socket(self, channel: str, identity: bytes | None = None) -> zmq.Socket:
        url = self._make_url(channel)
        sock = self.context.socket({"shell": zmq.DEALER, "iopub": zmq.SUB}[channel])
        sock.linger = 0
        sock.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        sock.setsockopt(zmq.RCVHWM, MAX_MESSAGES_WAITING)
        sock.setsockopt(zmq.RECONNECT_IVL, -1)
        if identity:
            sock.identity = identity
        sock.connect(url)
        return sock

    def stop_channels(self) -> None:
        # What it inherits would first open the channels that are not used.
        for channel in (self._shell_channel, self._iopub_channel):
            if channel is not None:
                channel.stop()

    def connect_iopub(self, identity: bytes | None = None) -> zmq.Socket:
        sock = self._create_connected_socket("iopub")
        sock.setsockopt(zmq.SUBSCRIBE, b"")
        return sock


class BoundKernel(RunningKernel):
    """A kernel whose cells keep to their time, memory and amount of output, even while they go on writing.

    nbval waits for the reply first and reads the output afterwards, with a time limit for each message. Here output is
    read, and counted, while it comes. Time in which a cell would have run, but the machine had no core for it, does not
    count, so that a mark does not depend on what else the machine has to do; but nobody waits more than ``PATIENCE`` times
    as long.
    """

    _begun: float | None = None
    asked_to_end = False

    def pid(self) -> int:
        """Return the kernel's process, or 0 if it cannot be told."""
        raise NotImplementedError

    def exceeds_memory(self) -> bool:
        raise NotImplementedError

    def execute_cell_input(self, cell_input: str, allow_stdin: bool | None = None) -> str:
        # As Jupyter does it: `_`, `In` and `Out` are there.
        return self.kc.execute(cell_input, store_history=True, allow_stdin=False, stop_on_error=False)

    def begin_cell(self, seconds: float, limits: Limits) -> None:
        """Start the clock for the next cell, which has ``seconds``."""
        self._limits, self._seconds, self._begun = limits, seconds, time.monotonic()
        self._next_look = self._begun + SECONDS_BETWEEN_LOOKS
        self._waits_before = self._waits()
        self._unread, self._output_bytes = deque(), 0
        self.asked_to_end = False
        self._memory_before = psutil.Process().memory_info().rss

    def get_message(self, stream: str, timeout: float | None = None) -> dict[str, Any]:
        if self._begun is None:
            return super().get_message(stream, timeout)
        while True:
            # Whatever comes: a kernel may send faster than anybody reads.
            self._see_whether_it_may_go_on()
            if self.kc.iopub_channel.msg_ready():
                self._unread.append(self._receive(self.kc.iopub_channel))
            if stream == "iopub" and self._unread:
                return self._unread.popleft()
            if stream == "shell" and self.kc.shell_channel.msg_ready():
                return self._hear_reply(self._receive(self.kc.shell_channel))
            if not self.kc.iopub_channel.msg_ready():
                # What it said before it ended has been heard.
                if not self.is_alive():
                    raise CellStopped(Ended.MEMORY if self.exceeds_memory() else Ended.DIED)
                channel = self.kc.iopub_channel if stream == "iopub" else self.kc.shell_channel
                channel.socket.poll(10)

    def _receive(self, channel: Any) -> dict[str, Any]:
        """Return the next message; all of it counts as output, and is counted before it is parsed.

        Raises:
            CellStopped: there has been too much output.
        """
        parts = channel.socket.recv_multipart()
        self._output_bytes += sum(map(len, parts))
        if self._output_bytes > self._limits.output_bytes:
            raise CellStopped(Ended.OUTPUT_LIMIT)
        _, message = channel.session.feed_identities(parts)
        return channel.session.deserialize(message)

    def _hear_reply(self, message: dict[str, Any]) -> dict[str, Any]:
        """Take note of `exit()`, after which a kernel lives for a moment, in which it may begin another cell."""
        payload = message["content"].get("payload")
        for item in payload if isinstance(payload, list) else ():
            if isinstance(item, dict) and item.get("source") == "ask_exit" and not item.get("keepkernel"):
                self.asked_to_end = True
        return message

    def displays_left(self) -> list[NotebookNode]:
        """Return what a cell that was stopped had displayed, which nbval did not come to read."""
        contents = [message["content"] for message in self._unread if message["msg_type"] == "display_data"]
        return [NotebookNode(data=each["data"]) for each in contents if isinstance(each.get("data"), dict)]

    def _see_whether_it_may_go_on(self) -> None:
        """Look, every now and then, at what the cell has used.

        Raises:
            CellStopped: it may not go on.
        """
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + SECONDS_BETWEEN_LOOKS
        # A message of many parts is received whole, in this process, before anything can be said of it.
        if psutil.Process().memory_info().rss - self._memory_before > MAX_BYTES_RECEIVED:
            raise CellStopped(Ended.OUTPUT_LIMIT)
        if self.exceeds_memory():
            raise CellStopped(Ended.MEMORY)
        if self._is_late(now - self._begun):
            raise CellStopped(Ended.TIMEOUT)

    def _is_late(self, seconds: float) -> bool:
        if not self._seconds < seconds < PATIENCE * self._seconds:
            return seconds >= self._seconds
        waited = max((now - self._waits_before.get(name, 0.0) for name, now in self._waits().items()), default=0.0)
        return seconds - waited > self._seconds

    def _waits(self) -> dict[str, float]:
        """Return for each thread of the kernel's process how many seconds it has waited for a core."""
        seconds = {}
        for file in Path(f"/proc/{self.pid()}/task").glob("*/schedstat"):
            # A thread may end meanwhile, and some systems do not count.
            with contextlib.suppress(OSError, ValueError, IndexError):
                seconds[file.parent.name] = int(file.read_text().split()[1]) / 1e9
        return seconds


class ForkedKernel(BoundKernel):
    """A kernel in a room."""

    def __init__(self, connection: dict[str, Any], room: ForkedRoom, inner_pid: int, deadline: float) -> None:
        self._room, self._inner_pid = room, inner_pid
        self._pid = room.outer_pid(inner_pid)
        self.kc = _Client()
        self.kc.load_connection_info({**connection, "key": connection["key"].encode()})
        self.kc.start_channels(shell=True, iopub=True, stdin=False, hb=False, control=False)
        try:
            self._wait_until_ready(deadline)
        except BaseException:
            self.kc.stop_channels()
            raise

    def _wait_until_ready(self, deadline: float) -> None:
        """Ask the kernel for its name until its answer is heard on both channels: nobody hears what came before."""
        while time.monotonic() < deadline and self.is_alive():
            asked = self.kc.kernel_info()
            with contextlib.suppress(Empty):
                while self.kc.get_shell_msg(timeout=SECONDS_TO_ANSWER)["parent_header"].get("msg_id") != asked:
                    pass
                self.await_idle(asked, timeout=0.2)
                return
        raise RunnerError("A kernel did not answer in time before it was given anything to run.")

    def pid(self) -> int:
        return self._pid

    def is_alive(self) -> bool:
        return not self._room.has_ended(self._inner_pid)

    def exceeds_memory(self) -> bool:
        return self._room.exceeds_memory()

    def interrupt(self) -> None:
        """Nothing is interrupted here: what takes too long is ended."""

    def stop(self) -> None:
        self.kc.stop_channels()


class FreshKernels:
    """Kernels that are started anew, one for each exercise, where there is no fork; there are no walls around them."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def open_room(self, limits: Limits) -> "FreshRoom":
        return FreshRoom(self._folder)

    def close(self) -> None:
        """There is nothing to end but rooms."""


class FreshRoom:
    """A folder in which kernels run, one after another."""

    def __init__(self, folder: Path | None) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="course-", ignore_cleanup_errors=True)
        self._folder = folder or Path(self._temporary.name)
        self._kernel: FreshKernel | None = None

    def start_kernel(self, environment: Mapping[str, str], *, fresh: bool) -> "FreshKernel":
        if self._kernel:
            self._kernel.stop()
        variables = clean_environment() | _jax_environment(fill_cache=False) | dict(environment)
        try:
            self._kernel = FreshKernel(self._folder, variables)
        except RuntimeError as error:
            raise RunnerError(f"A kernel does not start ({error}).") from None
        return self._kernel

    def close(self) -> None:
        if self._kernel:
            self._kernel.stop()
        self._temporary.cleanup()


class FreshKernel(BoundKernel):
    """A kernel that nbval has started."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.km, self.kc = start_new_kernel(
            startup_timeout=SECONDS_TO_START,
            kernel_name=CURRENT_ENV_KERNEL_NAME,
            stderr=subprocess.DEVNULL,
            cwd=str(folder),
            env=environment,
        )
        self._ensure_iopub_up()

    def pid(self) -> int:
        return self.km.provisioner.pid or 0

    def exceeds_memory(self) -> bool:
        return bool(self.pid()) and _resident(self.pid()) > self._limits.memory_bytes

    def stop(self) -> None:
        if hasattr(self, "km"):
            super().stop()


def _resident(pid: int) -> int:
    total = 0
    with contextlib.suppress(psutil.Error):
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
    return total

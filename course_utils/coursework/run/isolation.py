"""Outside the nursery: find out what isolation this system lends, start nurseries, admit rooms, and end both.

A *nursery* is a sandbox of bubblewrap: no network, a read-only system without the source notebooks, an environment of a
few known variables. A trusted parent in it imports what submissions need, and forks a *room* for each of them
(:mod:`~course_utils.coursework.run.rooms`): namespaces, files and a user of its own. A room's memory and processes are
limited by a cgroup where the system lends one; where it does not, its memory is watched from here.

A worker uses it like this, and ends the nursery when it has no more submissions::

    isolation = find_isolation()
    nursery = start_nursery(isolation, limits, folder, command=[sys.executable, "-I", "-m", PARENT], stdin=PIPE)
    for submission in submissions:
        with Room(isolation, limits, folder) as room:
            nursery.stdin.write(json.dumps(room.settings).encode() + b"\\n")   # the parent: open_room(settings, start)
            nursery.stdin.flush()
            room.admit(nursery)                  # in its group; `start` begins now
            room.worker.recv(1000)               # what `start` says: the first process of a room is trusted
            url = f"ipc://{room.path('kernel-1')}"
            ...                                  # once in a while: room.exceeds_memory()
    end_nursery(nursery)

Whatever kills the thread that called :func:`start_nursery` kills the nursery with all its rooms.
"""

import contextlib
import json
import os
import platform
import secrets
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from course_utils.coursework.run.limits import Limits
from course_utils.coursework.run.rooms import (
    DOOR,
    FOLDERS,
    HOME,
    MAX_DESCRIPTORS,
    ROOMS,
    SOCKETS,
    RoomError,
    system_call_filter,
)
from course_utils.errors import CourseError
from course_utils.paths import DATA_DIR, NOTEBOOKS_DIR, PACKAGE_DIR

CGROUP_V2, CGROUP_V1, WATCH = "cgroup v2", "cgroup v1", "watch"
NOBODY = 65534
# Users that no system gives to anybody: 2^30 of them, from here on.
FIRST_STRANGER = 1 << 30
SYSTEM_DIRS = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
)
SECONDS_TO_START = 30.0
SECONDS_TO_END = 10.0
# What a socket holds is in no process. Kernels have a few dozen sockets; each one more counts as full.
FREE_SOCKETS = 200
SOCKET_BYTES = 1_000_000
# A process that has just been forked may not have opened itself to the watch yet.
SECONDS_TO_SHOW = 5.0
SECONDS_TO_LOOK_AGAIN = 0.1
_WAY_OUT = "or use --unsafe if you trust every submission"


class SandboxError(CourseError):
    """There is no sandbox to be had here."""


@dataclass(frozen=True)
class Isolation:
    """What this system lends to keep a stranger's code apart.

    Attributes:
        bubblewrap: the path of bubblewrap.
        memory: what limits the memory of a room: ``cgroup v2``, ``cgroup v1`` or ``watch``.
        group_folders: where the groups of rooms are made; for version 1 a folder for memory, one for processes and,
            where there is one, one for processor time.
        missing: a sentence for each part that cannot be had here, to be stamped on what was graded.
    """

    bubblewrap: str
    memory: str = WATCH
    group_folders: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()


def find_isolation() -> Isolation:
    """Return what isolation can be had here, after a room was really made with it.

    Raises:
        SandboxError: no submission can be kept apart here, with the reason and the way out.
    """
    if not sys.platform.startswith("linux"):
        raise SandboxError(
            f"Submissions are graded in a sandbox of Linux only: grade on Linux (on Windows, in WSL), {_WAY_OUT}."
        )
    bubblewrap = shutil.which("bwrap")
    if not bubblewrap:
        raise SandboxError(
            "Submissions are graded in a sandbox only, and there is no bwrap on the PATH: "
            f"install bubblewrap (on Debian: apt install bubblewrap), {_WAY_OUT}."
        )
    try:
        system_call_filter(counted=False)
    except RoomError as error:
        raise SandboxError(f"{str(error).removesuffix('.')}: grade on such a machine, {_WAY_OUT}.") from error
    memory, folders = _find_groups()
    isolation = Isolation(bubblewrap, memory, folders, _missing(memory, folders))
    if memory != WATCH and _trial(isolation) is not None:
        isolation = Isolation(bubblewrap, missing=_missing(WATCH, ()))
    reason = _trial(isolation) if isolation.memory == WATCH else None
    if reason is not None:
        raise SandboxError(_no_sandbox(reason))
    return isolation


def start_nursery(
    isolation: Isolation,
    limits: Limits,
    rooms_folder: Path,
    *,
    command: Sequence[str],
    readable: Iterable[Path] = (),
    environment: dict[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    **streams: Any,
) -> subprocess.Popen:
    """Start ``command``, the trusted parent of rooms, in a sandbox.

    The sandbox ends with the *thread* that calls this, so call it from one that lives as long.

    Args:
        isolation: what :func:`find_isolation` returned.
        limits: what a room may use.
        rooms_folder: an existing folder of this user's alone, in which rooms have their doors.
        command: what to run inside.
        readable: files and folders that can be read inside, beside the system, this Python and the course's package.
        environment: variables to set; none is inherited, but a few are known.
        pass_fds: descriptors that the parent inherits.
        streams: ``stdin``, ``stdout`` and ``stderr`` for :class:`subprocess.Popen`.
    """
    known = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": HOME,
        # Nobody is listed in /etc/passwd, which `getpass.getuser` and others ask if these are not set.
        "USER": Path(HOME).name,
        "LOGNAME": Path(HOME).name,
        "TMPDIR": "/tmp",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    variables = known | (environment or {})
    options = [*_namespaces(), *_view(limits, rooms_folder, readable), "--clearenv"]
    options += [part for item in variables.items() for part in ("--setenv", *item)]
    # From inside, the command line of the sandbox can be read; it is not to tell about the world outside.
    with tempfile.TemporaryFile() as arguments:
        arguments.write("\0".join(options).encode())
        arguments.seek(0)
        return subprocess.Popen(
            [isolation.bubblewrap, "--args", str(arguments.fileno()), "--", *command],
            env={},
            cwd="/",
            pass_fds=[*pass_fds, arguments.fileno()],
            start_new_session=True,
            **streams,
        )


def end_nursery(nursery: subprocess.Popen) -> None:
    """Kill a nursery with all its rooms, and wait until nothing of it is left.

    Raises:
        SandboxError: something did not die.
    """
    inside = []
    with contextlib.suppress(psutil.Error):
        inside = [child.pid for child in psutil.Process(nursery.pid).children()]
    # The first process inside takes all others with it, and is the last to go.
    for pid in inside:
        with contextlib.suppress(ProcessLookupError), _process(pid) as process:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            _wait_for(process)
    with contextlib.suppress(ProcessLookupError):
        nursery.kill()
    nursery.wait()
    for stream in (nursery.stdin, nursery.stdout, nursery.stderr):
        if stream:
            # What could not be written any more is of no use to anybody.
            with contextlib.suppress(OSError):
                stream.close()


class Group:
    """A cgroup for one room, with limits for memory and processes; or one for each of them, as version 1 has it.

    Processor time is shared out evenly among groups that have processes to run, however many these are.
    """

    def __init__(self, isolation: Isolation, limits: Limits) -> None:
        """Make the group.

        Raises:
            OSError: the system lends none.
        """
        name = f"course-{os.getpid()}-{secrets.token_hex(4)}"
        self._second = isolation.memory == CGROUP_V2
        self._folders = [folder / name for folder in isolation.group_folders]
        self._memory, self._processes = self._folders[0], self._folders[0 if self._second else 1]
        for folder in self._folders:
            folder.mkdir()
        if self._second:
            self._write(self._memory, "memory.max", limits.memory_bytes)
            self._write(self._memory, "memory.swap.max", 0, optional=True)
        else:
            self._write(self._memory, "memory.limit_in_bytes", limits.memory_bytes)
            self._write(self._memory, "memory.memsw.limit_in_bytes", limits.memory_bytes, optional=True)
        self._write(self._processes, "pids.max", limits.processes)

    def add(self, pid: int) -> None:
        """Put a process into the group; what it forks is there too."""
        for folder in self._folders:
            self._write(folder, "cgroup.procs", pid)

    def processes(self) -> list[int]:
        """Return the processes that are in the group now."""
        with contextlib.suppress(OSError):
            # Zero stands for a process that cannot be seen from here, which none of ours is.
            return [int(pid) for pid in (self._memory / "cgroup.procs").read_text().split() if pid != "0"]
        return []

    def memory(self) -> int:
        """Return the bytes that the group uses now."""
        return self._number("memory.current" if self._second else "memory.usage_in_bytes")

    def peak_memory(self) -> int:
        """Return the most bytes that the group ever used; an old kernel's version 2 knows only what is used now."""
        if self._second:
            return self._number("memory.peak" if (self._memory / "memory.peak").exists() else "memory.current")
        return self._number("memory.max_usage_in_bytes")

    def killed_for_memory(self) -> int:
        """Return how many processes the system has killed because the group had used its memory up."""
        return self._event(self._memory / ("memory.events" if self._second else "memory.oom_control"), "oom_kill")

    def refused_processes(self) -> int:
        """Return how often the group was refused one more process."""
        return self._event(self._processes / "pids.events", "max")

    def end(self) -> None:
        """Kill what is in the group, and remove it.

        Raises:
            SandboxError: something did not die.
        """
        deadline = time.monotonic() + SECONDS_TO_END
        with contextlib.suppress(OSError):
            self._write(self._processes, "pids.max", 0)
        while any(folder.exists() for folder in self._folders):
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for folder in self._folders:
                # It is busy until what was killed is gone.
                with contextlib.suppress(OSError):
                    folder.rmdir()
            if time.monotonic() > deadline:
                raise SandboxError(f"A submission's processes in {self._folders[0]} cannot be killed.")
            time.sleep(0.001)

    @staticmethod
    def _write(folder: Path, file: str, value: int, *, optional: bool = False) -> None:
        # An open for writing would make the file where there is no such controller, in a test's folder at least.
        with contextlib.suppress(OSError) if optional else contextlib.nullcontext():
            descriptor = os.open(folder / file, os.O_WRONLY)
            with open(descriptor, "w") as opened:
                opened.write(str(value))

    def _number(self, file: str) -> int:
        return int((self._memory / file).read_text())

    @staticmethod
    def _event(file: Path, name: str) -> int:
        return next((int(line.split()[1]) for line in file.read_text().splitlines() if line.split()[0] == name), 0)


class Room:
    """One submission's room, seen from outside; a context that ends it.

    Attributes:
        settings: what the nursery's parent hands to :func:`~course_utils.coursework.run.rooms.open_room`, as JSON.
        worker: the socket to the room's first process, which is trusted, once the room is admitted.
        pid: that process.
        group: its group, or ``None`` where the system lends none.
    """

    def __init__(self, isolation: Isolation, limits: Limits, rooms_folder: Path) -> None:
        """Make a door for a room to come to; the room itself is made by the nursery."""
        name = secrets.token_hex(4)
        self._limits = limits
        self._folder = rooms_folder / name
        self._open_paths: list[int] = []
        self._folders: dict[str, int] = {}
        self._process = -1
        self.pid = 0
        self.worker: socket.socket | None = None
        self.settings = _room_settings(isolation, limits, name)
        self._folder.mkdir(mode=0o700)
        self._held = contextlib.ExitStack()
        self._short_folder = self._held.enter_context(short_path(self._folder))
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._door.bind(str(self._short_folder / DOOR))
        self._door.listen()
        self.group = Group(isolation, limits) if isolation.memory != WATCH else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def admit(self, nursery: subprocess.Popen, seconds: float = SECONDS_TO_START) -> None:
        """Wait until the room is ready, put it into its group, and let it begin.

        Raises:
            SandboxError: the room could not be made, in its own words; or the nursery died or took too long.
        """
        deadline = time.monotonic() + seconds
        with _process(nursery.pid) as process:
            self._wait(self._door, process, deadline)
            self.worker, _ = self._door.accept()
            self._wait(self.worker, process, deadline)
        content, descriptors, *_ = socket.recv_fds(self.worker, 10_000, len(FOLDERS))
        self._folders = dict(zip(FOLDERS, descriptors))
        try:
            said = json.loads(content)
        except ValueError:
            raise SandboxError("The room ended before it was ready.") from None
        if "error" in said:
            raise SandboxError(said["error"])
        peer = self.worker.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        self.pid = struct.unpack("3i", peer)[0]
        self._process = os.pidfd_open(self.pid)
        if self.group:
            self.group.add(self.pid)
        self.worker.sendall(b"1")

    def path(self, name: str) -> Path:
        """Return a path outside at which the socket ``name`` in the room's folder of sockets can be reached.

        A stranger may put a link to any other socket of this machine in its place, now or later; the path leads to what
        is a socket now, whatever becomes of its name.

        Raises:
            SandboxError: there is no such socket.
        """
        path = self._short_folder / name
        if not path.is_symlink():
            try:
                descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=self._folders[SOCKETS])
            except OSError as error:
                raise SandboxError(f"The room has no socket {name} ({error.strerror}).") from error
            self._open_paths.append(descriptor)
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                raise SandboxError(f"What the room has as {name} is no socket.")
            path.symlink_to(f"/proc/{os.getpid()}/fd/{descriptor}")
        return path

    def memory(self) -> int:
        """Return the bytes that the room uses, wherever they are."""
        return self.group.memory() if self.group else memory_of(self.pid, self._folders.values())

    def exceeds_memory(self) -> bool:
        """Return whether the room has used more memory than it may, or all but used up the addresses of a process."""
        if self.group:
            used_up = self.group.killed_for_memory() > 0
            statuses = map(_status, self.group.processes())
        else:
            used_up = self._uses_too_much()
            statuses = map(_status, _family(self.pid))
        # A process that cannot get any more memory often cannot say so either.
        addresses = max((status.get("VmSize", 0) for status in statuses), default=0)
        return used_up or addresses > 0.95 * self._limits.address_space_bytes

    def _uses_too_much(self) -> bool:
        limit, folders = self._limits.memory_bytes, self._folders.values()
        if memory_of(self.pid, folders, share=False) <= limit or self.memory() <= limit:
            return False
        # A kernel that has just been forked seems to have all of its parent's memory, until it opens itself.
        time.sleep(SECONDS_TO_LOOK_AGAIN)
        return self.memory() > limit

    def end(self) -> None:
        """Kill the room and wait until nothing of it is left; nothing happens to one that has ended.

        Raises:
            SandboxError: something did not die.
        """
        try:
            if self._process >= 0:
                # The first process takes all others with it, and is the last to go.
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._process, signal.SIGKILL)
                _wait_for(self._process)
            if self.group:
                self.group.end()
        finally:
            descriptors = [*self._open_paths, *self._folders.values(), *([self._process] if self._process >= 0 else [])]
            for descriptor in descriptors:
                os.close(descriptor)
            self._open_paths, self._folders, self._process = [], {}, -1
            self._door.close()
            if self.worker:
                self.worker.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._held.close()

    @staticmethod
    def _wait(for_socket: socket.socket, nursery: int, deadline: float) -> None:
        ready, _, _ = select.select([for_socket, nursery], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise SandboxError("The nursery made no room in time.")
        if for_socket not in ready:
            raise SandboxError("The nursery ended before it made a room.")


def memory_of(pid: int, folders: Iterable[int] = (), *, share: bool = True) -> int:
    """Return the bytes that a process and its descendants use, wherever they are.

    What is not in a process counts too: memory files that are open, files in ``folders``, sockets beyond the usual
    number. Where parts overlap the answer is too large rather than too small.

    Args:
        pid: the first of the processes, which is trusted; of it nothing is counted that it shows to nobody.
        folders: descriptors of folders, each of a file system of its own in memory.
        share: whether a page that several processes share counts once, and not once for each. The system takes a tenth
            of a second for that, when the processes are large.
    """
    total = 0
    for folder in folders:
        used = os.fstatvfs(folder)
        total += (used.f_blocks - used.f_bfree) * used.f_frsize
    files: dict[tuple[int, int], int] = {}
    sockets: set[str] = set()
    hidden = 0
    for process in _family(pid):
        total += _pages(process, share=share, trusted=process == pid)
        try:
            descriptors = os.listdir(f"/proc/{process}/fd")
        except PermissionError:
            hidden += process != pid and _age(process) > SECONDS_TO_SHOW
            continue
        except OSError:
            continue
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                path = f"/proc/{process}/fd/{descriptor}"
                target = os.readlink(path)
                if target.startswith("socket:"):
                    sockets.add(target)
                elif target.startswith("/memfd:"):
                    file = os.stat(path)
                    files[file.st_dev, file.st_ino] = 512 * file.st_blocks
    # Whoever goes on hiding its descriptors is taken to have as many as it can.
    num_sockets = max(0, len(sockets) - FREE_SOCKETS) + hidden * MAX_DESCRIPTORS
    return total + sum(files.values()) + num_sockets * SOCKET_BYTES


def _pages(pid: int, *, share: bool, trusted: bool) -> int:
    status = _status(pid)
    pages = status.get("VmRSS", 0) + status.get("VmSwap", 0)
    if share:
        try:
            shares = _sizes(f"/proc/{pid}/smaps_rollup")
            pages = shares.get("Pss", 0) + shares.get("SwapPss", 0)
        except PermissionError:
            # A stranger's process that shows no more is counted in full.
            pages = 0 if trusted else pages
        except OSError:
            pages = 0
    return pages + status.get("VmPTE", 0)


def _family(pid: int) -> list[int]:
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.Error:
        return []


def _status(pid: int) -> dict[str, int]:
    try:
        return _sizes(f"/proc/{pid}/status")
    except OSError:
        return {}


def _age(pid: int) -> float:
    try:
        return time.time() - psutil.Process(pid).create_time()
    except psutil.Error:
        return 0.0


def _sizes(path: str) -> dict[str, int]:
    """Return the sizes in a file of ``/proc``, in bytes."""
    with open(path) as file:
        parts = [line.split() for line in file]
    return {part[0].rstrip(":"): 1024 * int(part[1]) for part in parts if len(part) == 3 and part[2] == "kB"}


def _namespaces() -> list[str]:
    """Return bubblewrap's options for namespaces; root keeps just what it needs to make rooms."""
    options = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    options += ["--die-with-parent", "--new-session"]
    if os.geteuid() != 0:
        return [*options, "--unshare-user"]
    # For namespaces and mounts, their network, and to become somebody without rights.
    needed = ("CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
    return [*options, "--cap-drop", "ALL", *(part for right in needed for part in ("--cap-add", right))]


def _view(limits: Limits, rooms_folder: Path, readable: Iterable[Path]) -> list[str]:
    """Return bubblewrap's options for what can be seen: the system, Python and the course's package, to read."""
    options = []
    for path in map(Path, SYSTEM_DIRS):
        if path.is_symlink() and path.is_dir():
            options += ["--symlink", os.readlink(path), str(path)]
        elif path.exists():
            options += ["--ro-bind", str(path), str(path)]
    shown = [Path(sys.base_prefix), Path(sys.prefix), PACKAGE_DIR, *(Path(path).resolve() for path in readable)]
    places = {parent for path in shown for parent in path.parents if not str(parent).startswith(("/usr", "/tmp"))}
    places = sorted(places - {Path("/")}) + [Path(path) for path in (ROOMS, SOCKETS)]
    for place in places:
        options += ["--perms", "0755", "--dir", str(place)]
    size = ["--size", str(limits.folder_bytes), "--perms", "1777", "--tmpfs"]
    options += ["--proc", "/proc", "--dev", "/dev", *size, "/dev/shm", "--remount-ro", "/dev", *size, "/tmp"]
    options += [*size, HOME, "--ro-bind", str(rooms_folder), ROOMS]
    for path in shown:
        if not str(path).startswith("/usr/"):
            for parent in reversed(path.parents):
                if str(parent).startswith("/tmp/"):
                    options += ["--perms", "0755", "--dir", str(parent)]
            options += ["--ro-bind", str(path), str(path)]
    # Beside the folder of a notebook, as in the course; unless somebody of this machine lives there.
    data = Path(HOME).parent / DATA_DIR.name
    if DATA_DIR.resolve() in shown and not any(path.is_relative_to(data) for path in shown):
        options += ["--symlink", str(DATA_DIR.resolve()), str(data)]
    # Solutions and hidden checks are in there.
    if any(NOTEBOOKS_DIR.is_relative_to(path) for path in [*shown, Path("/usr")]) and NOTEBOOKS_DIR.exists():
        options += ["--tmpfs", str(NOTEBOOKS_DIR), "--remount-ro", str(NOTEBOOKS_DIR)]
    return [*options, "--remount-ro", "/", "--chdir", HOME]


def _room_settings(isolation: Isolation, limits: Limits, name: str) -> dict[str, Any]:
    # The limit of processes is for all of a user's together, if the user is not the room's own; a user namespace has a
    # count of its own since Linux 5.14.
    if os.geteuid() == 0:
        user = FIRST_STRANGER + secrets.randbelow(1 << 30) if _has_many_users() else NOBODY
        others = 0 if user != NOBODY else _running(NOBODY)
    else:
        user = None
        others = 0 if _kernel() >= (5, 14) else _running(os.geteuid())
    return {
        "name": name,
        "user": user,
        "counted": isolation.memory != WATCH,
        "processes": others + limits.processes,
        "address_space_bytes": limits.address_space_bytes,
        "file_bytes": limits.file_bytes,
        "folder_bytes": limits.folder_bytes,
    }


def _has_many_users() -> bool:
    known = sum(int(line.split()[2]) for line in Path("/proc/self/uid_map").read_text().splitlines())
    return known > 2 * FIRST_STRANGER


def _kernel() -> tuple[int, int]:
    first, second = platform.release().split(".")[:2]
    return int(first), int("".join(digit for digit in second if digit.isdigit()))


def _running(user: int) -> int:
    """Return how many threads a user runs."""
    threads = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.uids().real == user:
                threads += process.num_threads()
    return threads


def _find_groups() -> tuple[str, tuple[Path, ...]]:
    """Return the version of cgroups that can be used here, and the folders in which groups may be made."""
    own = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), path)
    mounted = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ", 1)
        kind, _, options = after.split(" ")[:3]
        root, place = before.split(" ")[3:5]
        mounted.append((kind, options.split(","), root, Path(place)))

    def folder(controller: str, root: str, place: Path) -> Path:
        inside = place / os.path.relpath(own.get(controller, "/"), root)
        return inside if inside.is_relative_to(place) and ".." not in inside.parts and inside.is_dir() else place

    for kind, _, root, place in mounted:
        if kind == "cgroup2" and "" in own:
            # Members of a group's folder get the controllers that a folder above hands down.
            start = folder("", root, place)
            for candidate in (start, *start.parents):
                if candidate.is_relative_to(place) and _hands_down(candidate):
                    _sweep(candidate)
                    return CGROUP_V2, (candidate,)
    first = {}
    for controller in ("memory", "pids", "cpu"):
        for kind, options, root, place in mounted:
            if kind == "cgroup" and controller in options and controller in own:
                candidate = folder(controller, root, place)
                if os.access(candidate, os.W_OK):
                    first[controller] = candidate
                break
    if {"memory", "pids"} <= set(first):
        for candidate in first.values():
            _sweep(candidate)
        return CGROUP_V1, tuple(first.values())
    return WATCH, ()


def _hands_down(folder: Path) -> bool:
    try:
        handed = (folder / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False
    writable = os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK)
    return writable and {"memory", "pids"} <= set(handed)


def _shares_processors(memory: str, folders: Sequence[Path]) -> bool:
    if memory == CGROUP_V1:
        return len(folders) == 3
    return "cpu" in (folders[0] / "cgroup.subtree_control").read_text().split()


def _sweep(folder: Path) -> None:
    """Remove the empty groups of workers that were killed."""
    for group in folder.glob("course-*-*"):
        worker = group.name.split("-")[1]
        if worker.isdigit() and not psutil.pid_exists(int(worker)):
            with contextlib.suppress(OSError):
                group.rmdir()


def _missing(memory: str, folders: Sequence[Path]) -> tuple[str, ...]:
    sentences = []
    if memory == WATCH:
        sentences.append(
            "No cgroup with limits for memory and processes can be made here (as root, or in a group that systemd "
            "delegates, it can): the memory of submissions was watched instead, several times a second, and one that "
            "starts many processes gets more of the processors than its neighbours."
        )
    elif not _shares_processors(memory, folders):
        sentences.append(
            "No cgroup here shares the processors out: a submission that starts many processes gets more of them than "
            "its neighbours."
        )
    if os.geteuid() == 0 and not _has_many_users():
        sentences.append(
            "This container has too few users to give every submission one of its own: they shared nobody."
        )
    return tuple(sentences)


def _trial(isolation: Isolation) -> str | None:
    """Make a room, and return why that was impossible, or nothing."""
    program = (
        "import json, os, sys; from course_utils.coursework.run.rooms import open_room; "
        "os.waitpid(open_room(json.load(sys.stdin), lambda worker: worker.sendall(b'here')), 0)"
    )
    limits = Limits()
    with tempfile.TemporaryDirectory(prefix="course-") as folder, tempfile.TemporaryFile() as told:
        command = [sys.executable, "-I", "-c", program]
        nursery = start_nursery(
            isolation, limits, Path(folder), command=command, stdin=subprocess.PIPE, stdout=told, stderr=told
        )
        try:
            with Room(isolation, limits, Path(folder)) as room:
                with contextlib.suppress(BrokenPipeError), nursery.stdin:
                    nursery.stdin.write(json.dumps(room.settings).encode())
                room.admit(nursery)
                room.worker.settimeout(SECONDS_TO_START)
                if room.worker.recv(4) != b"here":
                    return "a room ended at once"
            return None
        except (SandboxError, OSError) as error:
            told.seek(0)
            last = told.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            return last[0] if last else str(error).removesuffix(".")
        finally:
            end_nursery(nursery)


def _no_sandbox(reason: str, settings: Path = Path("/proc/sys")) -> str:
    """Return the sentence that says why there is no sandbox, and the way out, from the kernel's ``settings``."""

    def setting(name: str) -> str:
        try:
            return (settings / name).read_text().strip()
        except OSError:
            return ""

    if os.geteuid() != 0 and setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        remedy = (
            "AppArmor keeps user namespaces from ordinary users here; allow them with "
            "`sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` (a line in /etc/sysctl.d/ makes it last), or "
            "allow them to bubblewrap alone with the profile `profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, }` "
            "in /etc/apparmor.d/bwrap"
        )
    elif os.geteuid() != 0 and setting("kernel/unprivileged_userns_clone") == "0":
        remedy = "allow user namespaces with `sudo sysctl -w kernel.unprivileged_userns_clone=1`"
    elif setting("user/max_user_namespaces") == "0":
        remedy = "allow user namespaces with `sudo sysctl -w user.max_user_namespaces=10000`"
    else:
        remedy = "in a container, allow it namespaces and mounts (in Docker: --privileged)"
    return f"The sandbox does not work on this system ({reason}): {remedy}, {_WAY_OUT}."


@contextlib.contextmanager
def short_path(folder: Path) -> Iterator[Path]:
    """Yield a path of ``folder`` that leaves room for a socket's name: the whole may have 107 bytes."""
    held = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/{os.getpid()}/fd/{held}")
    finally:
        os.close(held)


@contextlib.contextmanager
def _process(pid: int) -> Iterator[int]:
    """Open a descriptor of a process; its number may be another's soon, the descriptor never."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _wait_for(process: int) -> None:
    ready, _, _ = select.select([process], [], [], SECONDS_TO_END)
    if not ready:
        raise SandboxError(
            f"A submission's processes were still there {SECONDS_TO_END:g} seconds after they were killed."
        )

"""Attacks on the isolation of submissions, each really made from inside a room, by root and by an ordinary user.

This file is also the worker that the attacks are made on: ``python test_isolation.py`` starts a nursery, makes a room for
each line that it reads, lets one attack loose in it, and writes what was heard. The same attacks are made without a
room, where they succeed.
"""

import contextlib
import ctypes
import dataclasses
import functools
import inspect
import json
import os
import platform
import secrets
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from course_utils.coursework.run import isolation as outside
from course_utils.coursework.run import rooms
from course_utils.coursework.run.isolation import (
    CGROUP_V1,
    CGROUP_V2,
    WATCH,
    Isolation,
    Room,
    SandboxError,
    end_nursery,
    find_isolation,
    memory_of,
    start_nursery,
)
from course_utils.coursework.run.limits import Limits

REPOSITORY = Path(__file__).resolve().parents[1]
ORDINARY_USER = 1000
MEGABYTE = 1_000_000
LIMITS = {"memory_bytes": 150 * MEGABYTE, "folder_bytes": 70 * MEGABYTE, "processes": 40}
SECONDS = 60.0


def kinds_of_workers() -> tuple[list[str], list[str]]:
    """Return which kinds of workers this machine can have, and which not."""
    everything = [f"root, {WATCH}", f"root, {CGROUP_V1}", f"root, {CGROUP_V2}", f"user, {WATCH}", f"user, {CGROUP_V2}"]
    me = "root" if os.geteuid() == 0 else "user"
    here = {f"{me}, {WATCH}", f"{me}, {outside._find_groups()[0]}", f"user, {WATCH}"}
    return [kind for kind in everything if kind in here], [kind for kind in everything if kind not in here]


KINDS, NOT_HERE = kinds_of_workers() if sys.platform.startswith("linux") else ([], ["everything"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "worker" in metafunc.fixturenames:
        metafunc.parametrize("worker", KINDS, indirect=True, scope="module")


def test_what_is_not_here_is_named(capfd):
    # Not a skip: these tests do not exist on this machine, and it says so.
    with capfd.disabled():
        print(f"\ntest_isolation.py: deselected, since this machine does not have them: {'; '.join(NOT_HERE)}")
    assert f"user, {WATCH}" in KINDS


# The worker, and what it has inside of its nursery.


class Worker:
    """A process of its own, of root or of an ordinary user, that lets attacks loose in rooms."""

    def __init__(self, kind: str) -> None:
        self.user, self.memory = kind.split(", ")
        self.folder = tempfile.mkdtemp(prefix="course-")
        if self.user == "user" and os.geteuid() == 0:
            os.chown(self.folder, ORDINARY_USER, ORDINARY_USER)
        self.process = subprocess.Popen(
            [sys.executable, "-I", __file__, self.user, self.memory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], "TMPDIR": self.folder, "A_SECRET": "of the instructor"},
        )
        self.isolation = json.loads(self.process.stdout.readline())

    def run(self, attack: Callable, *arguments, hold: bool = False, in_room: bool = True, **limits) -> dict:
        """Return what was heard of ``attack``, made in a new room with these limits.

        Args:
            attack: a function that needs nothing but its arguments.
            arguments: its arguments.
            hold: whether the room stays when this returns, until the next attack that is not held.
            in_room: without a room the attack is made in a process of the same user.
            limits: those that differ from ``LIMITS``.
        """
        job = {
            "source": inspect.getsource(attack),
            "name": attack.__name__,
            "arguments": arguments,
            "hold": hold,
            "in_room": in_room,
            "limits": LIMITS | limits,
        }
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=SECONDS)
        self.process.stdout.close()
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def worker(request):
    worker = Worker(request.param)
    yield worker
    worker.end()


def be_worker(memory: str) -> None:
    """Read jobs, and write what was heard of each."""
    isolation = find_isolation()
    if memory == WATCH:
        isolation = dataclasses.replace(isolation, memory=WATCH, group_folders=())
    assert isolation.memory == memory
    told = {"memory": isolation.memory, "missing": isolation.missing}
    with tempfile.TemporaryDirectory(prefix="course-") as folder, contextlib.ExitStack() as held:
        source = "".join(inspect.getsource(part) for part in (be_nursery, attack_in_room, perform))
        header = (
            "import json, os, sys, time\nfrom course_utils.coursework.run.rooms import become_kernel, open_room\n\n"
        )
        program = f"{header}{source}\n\nbe_nursery()"
        nursery = start_nursery(
            isolation, Limits(), Path(folder), command=[sys.executable, "-I", "-c", program], stdin=subprocess.PIPE
        )
        print(json.dumps(told), flush=True)
        for line in sys.stdin:
            job = json.loads(line)
            if not job["in_room"]:
                print(json.dumps(attack_in_the_open(job)), flush=True)
                continue
            limits = Limits(**job["limits"])
            room = held.enter_context(Room(isolation, limits, Path(folder)))
            job["settings"] = room.settings
            nursery.stdin.write(json.dumps(job).encode() + b"\n")
            nursery.stdin.flush()
            heard = hear(room, nursery)
            if not job["hold"]:
                held.close()
            print(json.dumps(heard), flush=True)
        held.close()
        end_nursery(nursery)


def hear(room: Room, nursery: subprocess.Popen) -> dict:
    """Return what the room says, and what was seen of it in the meantime."""
    try:
        began = time.perf_counter()
        room.admit(nursery)
        opened = time.perf_counter() - began
    except SandboxError as error:
        return {"error": str(error)}
    heard, over, most = b"", False, 0
    deadline = time.monotonic() + SECONDS
    while not heard.endswith(b"\n") and not over and time.monotonic() < deadline:
        if select.select([room.worker], [], [], 0.02)[0]:
            part = room.worker.recv(1 << 16)
            heard += part
            if not part:
                break
        most = max(most, room.memory())
        over = room.exceeds_memory()
    over = over or room.exceeds_memory()
    seen = {"over": over, "most": most, "pid": room.pid, "seconds": opened}
    return seen | (json.loads(heard) if heard.endswith(b"\n") else {"answer": None})


def be_nursery() -> None:
    """In the nursery: open a room for each line."""
    for line in sys.stdin:
        job = json.loads(line)
        open_room(job["settings"], lambda worker: attack_in_room(worker, job))  # noqa: B023, F821
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    # It does not end with what it reads either.
    time.sleep(3600)


def attack_in_room(worker, job) -> None:
    """In the first process of a room: let the attack loose in a child, and tell the worker what it says."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        become_kernel(worker)  # noqa: F821
        os.close(reader)
        perform(job, writer)
    os.close(writer)
    with open(reader) as answers:
        worker.sendall((answers.readline().strip() or "{}").encode() + b"\n")
    # It does not end by itself: the worker has to end the room.
    time.sleep(3600)


def perform(job, writer) -> None:
    """In a process of its own: make the attack and say how it went."""
    try:
        names = {}
        exec(job["source"], names)
        answer = {"answer": names[job["name"]](*job["arguments"])}
    except BaseException as error:
        answer = {"answer": None, "raised": f"{type(error).__name__}: {error}"}
    os.write(writer, json.dumps(answer).encode() + b"\n")
    os._exit(0)


def attack_in_the_open(job: dict) -> dict:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        perform(job, writer)
    os.close(writer)
    with open(reader) as answers:
        heard = json.loads(answers.readline())
    os.waitpid(child, 0)
    return heard


def become_ordinary() -> None:
    """Become an ordinary user, for whom this Python can be reached, whatever folder it lies in; change nothing else."""
    libc = ctypes.CDLL(None, use_errno=True)

    def call(name: str, *arguments) -> None:
        if getattr(libc, name)(*arguments) == -1:
            raise OSError(ctypes.get_errno(), name)

    private, bind = (1 << 14) | (1 << 18), 4096
    call("unshare", 0x20000)
    call("mount", b"none", b"/", None, ctypes.c_ulong(private), None)
    needed = [Path(sys.base_prefix), Path(sys.prefix).resolve(), REPOSITORY]
    for path in needed:
        closed = next((parent for parent in reversed(path.parents) if not parent.stat().st_mode & 1), None)
        if closed:
            behind = {other: os.open(other, os.O_PATH) for other in needed if other.is_relative_to(closed)}
            call("mount", b"none", str(closed).encode(), b"tmpfs", ctypes.c_ulong(0), b"mode=755")
            for other, descriptor in behind.items():
                other.mkdir(parents=True)
                call(
                    "mount",
                    f"/proc/self/fd/{descriptor}".encode(),
                    str(other).encode(),
                    None,
                    ctypes.c_ulong(bind),
                    None,
                )
                os.close(descriptor)
    os.setgroups([])
    os.setresgid(ORDINARY_USER, ORDINARY_USER, ORDINARY_USER)
    os.setresuid(ORDINARY_USER, ORDINARY_USER, ORDINARY_USER)
    os.execv(sys.executable, [sys.executable, "-I", *sys.argv])


# Attacks. Each has its source sent to where it is made.


def hold_private(megabytes, seconds):
    import time

    held = [bytearray(b"x") * 1_000_000 for _ in range(megabytes)]
    time.sleep(seconds)
    return len(held)


def hold_memfd(megabytes):
    import os

    total = 0
    for _ in range(megabytes // 10):
        total += os.write(os.memfd_create("hidden"), b"x" * 10_000_000)
    return total // 1_000_000


def hold_system_v(megabytes):
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    create, remove = 0o1600, 0
    for number in range(megabytes // 10):
        key = libc.shmget(4711 + number, ctypes.c_size_t(10_000_000), create)
        if key == -1:
            raise OSError(ctypes.get_errno(), "shmget")
        address = libc.shmat(key, None, 0)
        ctypes.memset(address, 1, 10_000_000)
        libc.shmdt(ctypes.c_void_p(address))
    for number in range(megabytes // 10):
        libc.shmctl(libc.shmget(4711 + number, ctypes.c_size_t(10_000_000), 0), remove, None)
    return megabytes


def hold_unmapped(megabytes):
    # Shared pages that no page table shows are in no process.
    import mmap

    held = mmap.mmap(-1, megabytes * 1_000_000)
    for start in range(0, megabytes * 1_000_000, 1 << 20):
        held[start : start + (1 << 20)] = b"x" * len(held[start : start + (1 << 20)])
        held.madvise(mmap.MADV_DONTNEED, start, min(1 << 20, len(held) - start))
    return megabytes


def hold_zero(megabytes):
    import mmap
    import os

    zero = os.open("/dev/zero", os.O_RDWR)
    held = mmap.mmap(zero, megabytes * 1_000_000)
    for start in range(0, megabytes * 1_000_000, 1 << 20):
        held[start : start + (1 << 20)] = b"x" * len(held[start : start + (1 << 20)])
        held.madvise(mmap.MADV_DONTNEED, start, min(1 << 20, len(held) - start))
    return megabytes


def hold_files(megabytes, seconds):
    import time

    folders = ["/tmp", "/dev/shm", "/home/student"]
    for folder in folders:
        for number in range(2):
            with open(f"{folder}/{number}", "wb") as file:
                for _ in range(megabytes // 6):
                    file.write(b"x" * 1_000_000)
    time.sleep(seconds)
    return megabytes


def make_files(count):
    made = 0
    try:
        while made < count:
            with open(f"/tmp/{made}", "w"):
                made += 1
    except OSError:
        pass
    return made


def hold_sockets(count, seconds):
    import socket
    import time

    held = []
    for _ in range(count):
        pair = socket.socketpair()
        pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        pair[0].setblocking(False)
        try:
            while True:
                pair[0].send(b"x" * 32_000)
        except BlockingIOError:
            held.append(pair)
    time.sleep(seconds)
    return len(held)


def hold_in_namespace():
    import ctypes
    import os

    libc = ctypes.CDLL(None, use_errno=True)
    new_users, new_mounts = 0x10000000, 0x20000
    if libc.unshare(new_users | new_mounts):
        raise OSError(ctypes.get_errno(), "unshare")
    folder = b"/tmp"
    if libc.mount(b"none", folder, b"tmpfs", ctypes.c_ulong(0), b"size=5g"):
        raise OSError(ctypes.get_errno(), "mount")
    return os.statvfs(folder).f_blocks * 4096


def clone3_user():
    import ctypes
    import os
    import struct

    libc = ctypes.CDLL(None, use_errno=True)
    new_users, child_ends = 0x10000000, 17
    arguments = struct.pack("=11Q", new_users, 0, 0, 0, child_ends, 0, 0, 0, 0, 0, 0)
    pid = libc.syscall(435, arguments, 88)
    if pid == 0:
        os._exit(0)
    if pid == -1:
        raise OSError(ctypes.get_errno(), "clone3")
    os.waitpid(pid, 0)
    return "cloned"


def clone_user():
    import ctypes
    import os
    import platform

    libc = ctypes.CDLL(None, use_errno=True)
    new_users, child_ends = 0x10000000, 17
    number = {"x86_64": 56, "aarch64": 220}[platform.machine()]
    pid = libc.syscall(number, ctypes.c_ulong(new_users | child_ends), None, None, None, None)
    if pid == 0:
        os._exit(0)
    if pid == -1:
        raise OSError(ctypes.get_errno(), "clone")
    os.waitpid(pid, 0)
    return "cloned"


def trace_child():
    import ctypes
    import os
    import signal
    import time

    libc = ctypes.CDLL(None, use_errno=True)
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    seize, error = 0x4206, 0
    if libc.ptrace(seize, child, None, None):
        error = ctypes.get_errno()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if error:
        raise OSError(error, "ptrace")
    return "traced"


def read_child():
    import ctypes
    import os
    import signal
    import time

    libc = ctypes.CDLL(None, use_errno=True)
    secret, copy = ctypes.create_string_buffer(b"secret"), ctypes.create_string_buffer(6)
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    here = (ctypes.c_ulong * 2)(ctypes.addressof(copy), 6)
    there = (ctypes.c_ulong * 2)(ctypes.addressof(secret), 6)
    read = libc.process_vm_readv(child, here, 1, there, 1, 0)
    error = ctypes.get_errno()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if read == -1:
        raise OSError(error, "process_vm_readv")
    return copy.raw.decode()


def make_queue():
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    queue = libc.msgget(0, 0o1600)
    if queue == -1:
        raise OSError(ctypes.get_errno(), "msgget")
    libc.msgctl(queue, 0, None)
    return "made"


def make_keyring():
    import ctypes
    import platform

    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 248, "aarch64": 217}[platform.machine()]
    own_process = ctypes.c_long(-2)
    if libc.syscall(number, b"user", b"course", b"x", ctypes.c_size_t(1), own_process) == -1:
        raise OSError(ctypes.get_errno(), "add_key")
    return "made"


def set_up_io_uring():
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(425, 1, bytes(120)) == -1:
        raise OSError(ctypes.get_errno(), "io_uring_setup")
    return "made"


def type_on_terminal():
    # A process of the session can put what it likes on the keyboard of a terminal.
    import fcntl
    import os
    import pty

    child, terminal = pty.fork()
    if child == 0:
        try:
            for letter in b"exit\n":
                fcntl.ioctl(0, 0x5412, bytes([letter]))
            os.write(1, b"typed")
        except OSError as error:
            os.write(1, str(error.errno).encode())
        os._exit(0)
    said = b""
    try:
        while part := os.read(terminal, 100):
            said += part
    except OSError:
        pass
    os.waitpid(child, 0)
    return said.decode()


def limit_parent():
    import os
    import resource

    limits = resource.prlimit(os.getppid(), resource.RLIMIT_CORE)
    resource.prlimit(os.getppid(), resource.RLIMIT_CORE, limits)
    return "limited"


def nice_parent():
    import os

    os.setpriority(os.PRIO_PROCESS, os.getppid(), os.getpriority(os.PRIO_PROCESS, os.getppid()))
    return "set"


def look_at_parent():
    import os

    found = []
    for name in ("fd", "mem", "environ", "maps", "cwd/", "root/tmp"):
        path = f"/proc/{os.getppid()}/{name}"
        try:
            if name in ("mem", "environ", "maps"):
                open(path, "rb").close()
            else:
                os.listdir(path)
            found.append(name)
        except OSError:
            pass
    return found


def signal_first():
    import os
    import signal

    sent = []
    for number in sorted(signal.valid_signals()):
        os.kill(1, number)
        sent.append(int(number))
    return sent


def listen_to_neighbours():
    import os
    import socket

    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0neighbour")
        server.listen()
        if os.fork() == 0:
            server.accept()
            os._exit(0)
    return "listening"


def talk_to_neighbour():
    import socket

    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0neighbour")
    return "connected"


def processes():
    import os

    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def status():
    with open("/proc/self/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def readable(paths):
    import contextlib
    import os

    found = []
    for path in paths:
        with contextlib.suppress(OSError):
            found += os.listdir(path)
        with contextlib.suppress(OSError), open(path, "rb"):
            found.append(path)
    return found


def writable(folders):
    import os

    found = []
    for folder in folders:
        try:
            with open(f"{folder}/course-was-here", "w"):
                found.append(folder)
            os.unlink(f"{folder}/course-was-here")
        except OSError:
            pass
    return found


def reach(port, name):
    import contextlib
    import os
    import socket

    reached = []
    if socket.create_connection(("127.0.0.1", port), timeout=5):
        reached.append("port")
    with contextlib.suppress(OSError):
        unix = socket.socket(socket.AF_UNIX)
        unix.connect(f"\0{name}")
        reached.append("abstract")
    with contextlib.suppress(OSError):
        unix = socket.socket(socket.AF_UNIX)
        unix.connect(f"/tmp/{name}")
        reached.append("path")
    return reached + os.listdir("/sys/class/net")


def families():
    import socket

    made = []
    for family in range(1, 46):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            try:
                socket.socket(family, kind).close()
            except OSError:
                continue
            made.append(family)
            break
    return made


def talk_to_oneself():
    import socket

    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    connection, _ = server.accept()
    client.sendall(b"hello")
    return connection.recv(5).decode()


def fork_bomb():
    import os
    import time

    count = 0
    while count < 5000:
        try:
            if os.fork() == 0:
                time.sleep(600)
                os._exit(0)
        except OSError:
            return count
        count += 1
    return count


def leave_behind(marker):
    import os
    import subprocess

    subprocess.Popen(["sleep", marker], start_new_session=True)
    for folder in ("/tmp", "/dev/shm", "/home/student", "/room"):
        with open(f"{folder}/left", "w"):
            pass
    return [sorted(os.listdir(folder)) for folder in ("/tmp", "/dev/shm", "/home/student", "/room")]


def what_is_there():
    import os

    return [sorted(os.listdir(folder)) for folder in ("/tmp", "/dev/shm", "/home/student", "/room")]


def environment():
    import os

    with open("/proc/self/environ") as file:
        return sorted({*os.environ, *(item.split("=")[0] for item in file.read().split("\0") if item)})


def descriptors():
    import contextlib
    import os

    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return found


def old_calls():
    # Kernels for x86_64 answer calls of 32 bits too, with other numbers: 20 is getpid.
    import ctypes
    import mmap
    import os

    if os.fork() == 0:
        code = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=7)
        code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
        address = ctypes.addressof(ctypes.c_char.from_buffer(code))
        os._exit(0 if ctypes.CFUNCTYPE(ctypes.c_int)(address)() == os.getpid() else 1)
    _, status = os.wait()
    return status


def do_homework():
    # What honest answers do: threads, processes that share memory, programs, a terminal, temporary files.
    import functools
    import getpass
    import multiprocessing
    import os
    import pty
    import subprocess
    import tempfile
    import threading
    from multiprocessing import shared_memory

    import numpy as np
    import zmq

    with zmq.Context() as queues, queues.socket(zmq.REP) as server, queues.socket(zmq.REQ) as client:
        server.bind("ipc:///room/kernel-1")
        client.connect("ipc:///room/kernel-1")
        client.send(b"hello")
        assert server.recv() == b"hello"
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    block = shared_memory.SharedMemory(create=True, size=8000)
    shared = np.ndarray(1000, buffer=block.buf)
    shared[:] = 1
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=functools.partial(lambda numbers: queue.put(float(numbers.sum())), shared))
    child.start()
    total = queue.get(timeout=20)
    child.join()
    del shared
    block.close()
    block.unlink()
    said = subprocess.run(["ls", "/home"], capture_output=True, text=True, check=True).stdout.strip()
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x")
    program, _ = pty.fork()
    if program == 0:
        os.execvp("true", ["true"])
    os.waitpid(program, 0)
    try:
        with open("/tmp/large", "wb") as file:
            file.truncate(10**9)
    except OSError as error:
        return [total, said, os.path.basename(os.getcwd()), getpass.getuser(), error.strerror]


def bind_and_lie(port):
    import os
    import socket
    import threading

    server = socket.socket(socket.AF_UNIX)
    server.bind("/room/kernel-1")
    server.listen()

    def answer():
        while True:
            connection, _ = server.accept()
            connection.sendall(b"from inside")
            connection.close()

    threading.Thread(target=answer).start()
    os.symlink(f"/tmp/{port}", "/room/kernel-2")
    with open("/room/kernel-3", "w"):
        pass
    return os.listdir("/room")


# What a room uses.

HIDING = [hold_memfd, hold_system_v, hold_unmapped, hold_zero]


@pytest.mark.parametrize("attack", HIDING)
def test_memory_that_is_mapped_nowhere_is_refused_or_counted(worker, attack):
    heard = worker.run(attack, 300)
    if worker.memory == WATCH:
        assert "raised" in heard, heard
    else:
        assert heard["over"] and heard.get("answer") is None, heard
    # The same, without the room.
    assert worker.run(attack, 30, in_room=False)["answer"] == 30


@pytest.mark.parametrize(("attack", "size"), [(hold_private, 300), (hold_files, 180), (hold_sockets, 250)])
def test_memory_is_counted(worker, attack, size):
    memory_bytes = 70 * MEGABYTE if attack is hold_sockets else LIMITS["memory_bytes"]
    # Until somebody looks; who looked ends it.
    heard = worker.run(attack, size, SECONDS, memory_bytes=memory_bytes)
    assert heard["over"], heard
    # With a larger limit it is allowed: it was the amount that counted.
    heard = worker.run(attack, size, 0, memory_bytes=1000 * MEGABYTE)
    assert heard["answer"] == size and not heard["over"], heard


def test_files_without_content_are_limited(worker):
    assert worker.run(make_files, 25_000)["answer"] < rooms.MAX_FILES


def test_a_file_system_in_a_namespace_is_refused(worker):
    assert worker.run(hold_in_namespace)["raised"] == "PermissionError: [Errno 1] unshare"
    assert worker.run(hold_in_namespace, in_room=False)["answer"] == 5 * 2**30


# What a room may do.


@pytest.mark.parametrize(
    ("attack", "refusal", "in_the_open"),
    [
        (clone3_user, "OSError: [Errno 38] clone3", "cloned"),
        (clone_user, "PermissionError: [Errno 1] clone", "cloned"),
        (trace_child, "PermissionError: [Errno 1] ptrace", "traced"),
        (read_child, "PermissionError: [Errno 1] process_vm_readv", "secret"),
        (make_queue, "PermissionError: [Errno 1] msgget", "made"),
        (make_keyring, "PermissionError: [Errno 1] add_key", "made"),
        (set_up_io_uring, "PermissionError: [Errno 1] io_uring_setup", "made"),
        (limit_parent, "PermissionError: [Errno 1] Operation not permitted", "limited"),
        (nice_parent, "PermissionError: [Errno 1] Operation not permitted", "set"),
    ],
)
def test_what_no_notebook_needs_is_refused(worker, attack, refusal, in_the_open):
    assert worker.run(attack).get("raised") == refusal
    assert worker.run(attack, in_room=False)["answer"] == in_the_open


def test_nothing_is_typed_on_a_terminal(worker):
    assert worker.run(type_on_terminal)["answer"] == "1"
    assert "typed" in worker.run(type_on_terminal, in_room=False)["answer"]


def test_calls_of_another_architecture_kill(worker):
    inside, in_the_open = worker.run(old_calls)["answer"], worker.run(old_calls, in_room=False)["answer"]
    assert inside != 0
    if in_the_open == 0:
        bad_system_call = 31
        assert inside & 0x7F == bad_system_call


def test_sockets_are_of_a_few_families_only(worker):
    made = set(worker.run(families)["answer"])
    assert (
        {socket.AF_UNIX, socket.AF_INET} <= made <= {socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK}
    )


def test_no_rights_are_left(worker):
    inside = worker.run(status)["answer"]
    assert {inside[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert inside["NoNewPrivs"] == "1" and inside["Seccomp"] == "2"
    users = {worker.run(status)["answer"]["Uid"] for _ in range(2)}
    assert "0" not in "\t".join(users).split("\t")
    # Root gives every room a user of its own; an ordinary user has no other to give.
    assert len(users) == (2 if worker.user == "root" else 1)


# What a room can see and disturb.


def test_the_first_process_is_closed_to_its_children(worker):
    assert worker.run(look_at_parent)["answer"] == []
    assert "fd" in worker.run(look_at_parent, in_room=False)["answer"]


def test_the_first_process_cannot_be_signalled(worker):
    # Its answer is the proof that it lives.
    assert {int(number) for number in (9, 15, 19, 2)} <= set(worker.run(signal_first)["answer"])


def test_only_the_rooms_own_processes_are_seen(worker):
    assert worker.run(processes)["answer"] == [1, 2]


def test_nothing_of_the_machine_is_seen(worker, tmp_path):
    (tmp_path / "secret").write_text("secret")
    private = [tmp_path / "secret", outside.NOTEBOOKS_DIR, REPOSITORY / "tests", REPOSITORY / "pyproject.toml"]
    paths = [*map(str, private), "/etc/passwd", "/rooms", "/sys", "/run", "/var", "/proc/1/environ"]
    assert worker.run(readable, paths)["answer"] == []
    names = {"HOME", "LANG", "LC_CTYPE", "LOGNAME", "PATH", "PWD", "PYTHONDONTWRITEBYTECODE", "TMPDIR", "USER"}
    assert set(worker.run(environment)["answer"]) <= names
    # The pipe for the answer, and the listing itself.
    inside = worker.run(descriptors)["answer"]
    assert {inside[name] for name in "012"} == {"/dev/null"} and len(inside) <= 4, inside


def test_only_the_rooms_folders_can_be_written_to(worker):
    folders = [
        "/",
        "/etc",
        "/usr",
        "/rooms",
        "/dev",
        "/proc",
        "/sys",
        sys.prefix,
        sys.base_prefix,
        str(outside.PACKAGE_DIR),
    ]
    own = ["/tmp", "/dev/shm", "/home/student", "/room"]
    assert worker.run(writable, folders + own)["answer"] == own


def test_there_is_no_network_but_its_own(worker, tmp_path):
    name = f"course-{secrets.token_hex(4)}"
    with (
        socket.create_server(("127.0.0.1", 0)) as port,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as path,
    ):
        abstract.bind(f"\0{name}")
        path.bind(f"/tmp/{name}")
        try:
            os.chmod(f"/tmp/{name}", 0o777)
            abstract.listen()
            path.listen()
            number = port.getsockname()[1]
            assert "ConnectionRefusedError" in worker.run(reach, number, name)["raised"]
            assert worker.run(reach, number, name, in_room=False)["answer"][:3] == ["port", "abstract", "path"]
        finally:
            os.unlink(f"/tmp/{name}")
    assert worker.run(talk_to_oneself)["answer"] == "hello"


def test_rooms_are_apart(worker):
    # Where the course itself lies below /tmp, its folder is there in every room.
    empty = worker.run(what_is_there)["answer"]
    assert "left" not in empty[0] and empty[1:] == [[]] * 3
    first = worker.run(leave_behind, "600", hold=True)
    assert first["answer"] == [sorted([*there, "left"]) for there in empty]
    second = worker.run(what_is_there, hold=True)
    assert second["answer"] == empty
    assert worker.run(processes, hold=True)["answer"] == [1, 2]
    assert worker.run(listen_to_neighbours, hold=True)["answer"] == "listening"
    assert worker.run(talk_to_neighbour)["raised"] == "ConnectionRefusedError: [Errno 111] Connection refused"


def test_honest_programs_work(worker):
    assert worker.run(do_homework)["answer"] == [1000.0, "student", "student", "student", "File too large"]


# The end.


def test_a_fork_bomb_is_limited_and_gone(worker):
    heard = worker.run(fork_bomb, hold=True)
    assert 20 < heard["answer"] < LIMITS["processes"]
    bomb = psutil.Process(heard["pid"])
    family = [bomb, *bomb.children(recursive=True)]
    assert len(family) > heard["answer"]
    assert worker.run(processes)["answer"] == [1, 2]
    assert psutil.wait_procs(family, timeout=SECONDS)[1] == []


def test_what_is_left_behind_is_gone(worker):
    marker = f"987.{secrets.randbelow(10**9)}"

    def found() -> list:
        return [process for process in psutil.process_iter(["cmdline"]) if marker in (process.info["cmdline"] or [])]

    worker.run(leave_behind, marker, hold=True)
    assert len(found()) == 1
    worker.run(what_is_there)
    assert found() == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_kills_the_worker_kills_everything(kind):
    worker = Worker(kind)
    worker.run(leave_behind, "600", hold=True)
    family = psutil.Process(worker.process.pid).children(recursive=True)
    assert any(process.name() == "sleep" for process in family)
    worker.process.kill()
    worker.end()
    _, alive = psutil.wait_procs(family, timeout=SECONDS)
    for process in alive:
        process.kill()
    assert alive == []
    # Its empty groups are in nobody's way, and go with the next batch.
    _, folders = outside._find_groups()
    assert not any(list(folder.glob(f"course-{worker.process.pid}-*")) for folder in folders)


# The other side: what the worker is told.


@pytest.fixture
def nursery(tmp_path):
    """A nursery in this process, and what it takes to make rooms in it."""
    isolation = find_isolation()
    with tempfile.TemporaryDirectory(prefix="course-") as folder:
        yield functools.partial(Nursery, isolation, Path(folder))


class Nursery:
    """A nursery whose rooms run ``program``, with ``start`` in it, on a socket ``worker``."""

    def __init__(
        self, isolation: Isolation, folder: Path, program: str, before: str = "", readable: tuple[Path, ...] = ()
    ) -> None:
        whole = (
            "import json, os, socket, sys, threading, time\n"
            "from course_utils.coursework.run.rooms import *\n"
            f"{inspect.getsource(bind_and_lie)}\n"
            f"{program}\n{before}\n"
            "for line in sys.stdin:\n    open_room(json.loads(line), start)\n"
        )
        self.isolation, self.folder = isolation, folder
        command = [sys.executable, "-I", "-c", whole]
        self.process = start_nursery(
            isolation, Limits(), folder, command=command, readable=readable, stdin=subprocess.PIPE
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end_nursery(self.process)
        assert psutil.pid_exists(self.process.pid) is False

    def open(self, room: Room, **settings) -> None:
        self.process.stdin.write(json.dumps(room.settings | settings).encode() + b"\n")
        self.process.stdin.flush()
        room.admit(self.process)


def test_nothing_begins_before_the_room_is_in_its_group(nursery, monkeypatch):
    happened = []
    admitted = socket.socket.sendall

    def sendall(self, data, *rest):
        happened.append((data, select.select([self], [], [], 0.3)[0]))
        return admitted(self, data, *rest)

    with (
        nursery("def start(worker):\n    worker.sendall(b'begun')\n    worker.recv(1)\n") as own,
        Room(own.isolation, Limits(), own.folder) as room,
    ):
        monkeypatch.setattr(socket.socket, "sendall", sendall)
        own.open(room)
        # Nothing could be heard when the word was given.
        assert happened == [(b"1", [])]
        assert room.worker.recv(5) == b"begun"
        if room.group:
            members = [(folder / "cgroup.procs").read_text().split() for folder in room.group._folders]
            assert members == [[str(room.pid)]] * len(members)


def test_sockets_of_a_room_are_reached_whatever_takes_their_place(nursery, tmp_path):
    program = (
        "def start(worker):\n    worker.sendall(json.dumps(bind_and_lie(sys.argv[0])).encode())\n    worker.recv(1)\n"
    )
    with nursery(program) as own, Room(own.isolation, Limits(), own.folder) as room:
        own.open(room)
        assert sorted(json.loads(room.worker.recv(1000))) == ["kernel-1", "kernel-2", "kernel-3"]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(room.path("kernel-1")))
            assert client.recv(100) == b"from inside"
        for name, reason in [("kernel-2", "is no socket"), ("kernel-3", "is no socket"), ("kernel-4", "has no socket")]:
            with pytest.raises(SandboxError, match=reason):
                room.path(name)


def test_the_source_notebooks_are_not_shown_with_what_is_around_them(nursery):
    seen = f"sorted(os.listdir({str(REPOSITORY)!r})), os.listdir({str(outside.NOTEBOOKS_DIR)!r})"
    program = f"def start(worker):\n    worker.sendall(json.dumps([{seen}]).encode())\n"
    with (
        nursery(program, readable=(REPOSITORY,)) as own,
        Room(own.isolation, Limits(), own.folder) as room,
    ):
        own.open(room)
        repository, notebooks = json.loads(room.worker.recv(10_000))
        assert "README.md" in repository and notebooks == []


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"folder_bytes": "many"}, "The room could not mount /home/student (Invalid argument)."),
        ({"folder_bytes": -1}, "The room could not mount /home/student (Invalid argument)."),
        ({"processes": "x"}, "The room failed (TypeError"),
    ],
)
def test_a_room_that_cannot_be_as_it_has_to_be_is_not_made(nursery, settings, sentence):
    with nursery("def start(worker):\n    worker.sendall(b'begun')\n") as own:
        with Room(own.isolation, Limits(), own.folder) as room:
            with pytest.raises(SandboxError) as raised:
                own.open(room, **settings)
            assert str(raised.value).startswith(sentence)
        # The next one is.
        with Room(own.isolation, Limits(), own.folder) as room:
            own.open(room)
            assert room.worker.recv(5) == b"begun"


def test_a_parent_with_threads_makes_no_room(nursery):
    before = "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    with (
        nursery("def start(worker):\n    pass\n", before) as own,
        Room(own.isolation, Limits(), own.folder) as room,
        pytest.raises(SandboxError, match="from a process with one thread, and this one had 2"),
    ):
        own.open(room)


def test_a_nursery_that_dies_is_noticed(nursery):
    for program, seconds, sentence in [
        ("os._exit(3)", 60.0, "ended before it made a room"),
        ("time.sleep(60)", 0.2, "no room in time"),
    ]:
        with (
            nursery("", program) as own,
            Room(own.isolation, Limits(), own.folder) as room,
            pytest.raises(SandboxError, match=sentence),
        ):
            room.admit(own.process, seconds)


def test_rights_that_are_kept_are_noticed():
    with pytest.raises(rooms.RoomError, match="kept rights that it should have given up"):
        rooms._verify(None)


def test_memory_of_counts_what_is_not_in_a_process():
    before = memory_of(os.getpid())
    file = os.memfd_create("held")
    os.write(file, bytes(50 * MEGABYTE))
    holding = memory_of(os.getpid())
    assert holding - before > 45 * MEGABYTE
    os.close(file)
    # Against what was held: other threads of this process may take some meanwhile.
    assert holding - memory_of(os.getpid()) > 40 * MEGABYTE


def test_pages_that_processes_share_count_once():
    held = bytearray(os.urandom(1000)) * 100_000
    before = memory_of(os.getpid())
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            time.sleep(SECONDS)
            os._exit(0)
        children.append(child)
    try:
        assert before > len(held) and memory_of(os.getpid()) < before + 2 * len(held)
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


# The sentences.


@pytest.mark.parametrize(
    ("setting", "value", "remedy"),
    [
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, }",
        ),
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"),
        ("user/max_user_namespaces", "9000", "in a container, allow it namespaces and mounts"),
    ],
)
def test_the_sentence_names_the_way_out(tmp_path, monkeypatch, setting, value, remedy):
    monkeypatch.setattr(os, "geteuid", lambda: ORDINARY_USER)
    (tmp_path / setting).parent.mkdir()
    (tmp_path / setting).write_text(f"{value}\n")
    sentence = outside._no_sandbox("bwrap: setting up uid map: Permission denied", tmp_path)
    assert remedy in sentence and sentence.endswith("or use --unsafe if you trust every submission.")
    assert "(bwrap: setting up uid map: Permission denied)" in sentence


def test_there_is_no_isolation_without_bubblewrap(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match=r"no bwrap on the PATH: install bubblewrap .* or use --unsafe"):
        find_isolation()
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(SandboxError, match=r"No permissions to create new namespace\): .* --unsafe"):
        find_isolation()
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(
        SandboxError, match=r"no system call filter for riscv64, only for x86_64 and aarch64: .* --unsafe"
    ):
        find_isolation()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(SandboxError, match=r"grade on Linux .* --unsafe"):
        find_isolation()


def test_what_is_missing_is_stamped(worker):
    found = worker.isolation
    assert bool(found["missing"]) == (worker.user == "user" and found["memory"] == WATCH), found


# The filter, on both architectures.


def answer_of(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """Run the filter as the kernel would and return its answer."""
    call = struct.pack("=iIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    code = list(struct.iter_unpack("=HBBI", program))
    accumulator, at = 0, 0
    while True:
        operation, if_true, if_false, value = code[at]
        at += 1
        if operation == 0x20:
            accumulator = int.from_bytes(call[value : value + 4], sys.byteorder)
        elif operation == 0x54:
            accumulator &= value
        elif operation == 0x05:
            at += value
        elif operation == 0x15:
            at += if_true if accumulator == value else if_false
        elif operation == 0x35:
            at += if_true if accumulator >= value else if_false
        else:
            assert operation == 0x06
            return value


ALLOW, KILL, ERROR = 0x7FFF0000, 0x80000000, 0x00050000
REFUSED_CALLS = (
    "ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd keyctl add_key request_key "
    "mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr unshare setns bpf "
    "perf_event_open userfaultfd kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff "
    "io_uring_setup io_uring_enter io_uring_register open_by_handle_at name_to_handle_at fanotify_init acct quotactl syslog "
    "settimeofday clock_settime adjtimex clock_adjtime sethostname setdomainname iopl ioperm modify_ldt vhangup msgget "
    "semget mq_open setpriority ioprio_set move_pages migrate_pages "
    "lookup_dcookie process_mrelease quotactl_fd "
)
ALLOWED_CALLS = (
    "read write openat close mmap munmap mprotect brk clone fork vfork execve exit_group futex socket connect bind "
    "sendmsg recvmsg epoll_wait epoll_pwait kill tgkill rt_sigaction ioctl prctl prlimit64 getpid sched_setaffinity madvise "
    "rseq set_robust_list getrandom statx membarrier close_range openat2 pidfd_open faccessat2 wait4 pipe2 dup3 "
)
UNCOUNTED_CALLS = ["memfd_create", "memfd_secret", "shmget"]


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("counted", [True, False])
def test_the_filter_knows_the_numbers_of_system_calls(machine, counted):
    resolve = ctypes.CDLL("libseccomp.so.2").seccomp_syscall_resolve_name_arch
    architecture = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[machine]
    other = {"x86_64": 0x40000003, "aarch64": 0x40000028}[machine]
    resolve.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    program = rooms.system_call_filter(counted=counted, machine=machine)
    answer = functools.partial(answer_of, program, architecture)

    def number(name: str) -> int:
        found = resolve(architecture, name.encode())
        assert found != -1, name
        return found

    not_permitted = ERROR | 1
    for name in REFUSED_CALLS.split():
        # The library gives a call that an architecture does not have a negative number.
        if number(name) >= 0:
            assert answer(number(name)) == not_permitted, name
    for name in ALLOWED_CALLS.split():
        if number(name) >= 0:
            assert answer(number(name), *([socket.AF_UNIX] if name == "socket" else [])) == ALLOW, name
    for name in UNCOUNTED_CALLS:
        assert answer(number(name)) == (ALLOW if counted else not_permitted), name
    assert answer(number("clone3")) == ERROR | 38
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert answer(number("clone"), flag | 17) == not_permitted
    assert answer(number("clone"), 0x3D0F00) == ALLOW
    assert answer(number("socket"), 40) == ERROR | 97
    assert [answer(number("ioctl"), 0, request) for request in (0x5412, 0x541C, 0x5413)] == [not_permitted] * 2 + [
        ALLOW
    ]
    assert [answer(number("prlimit64"), process) for process in (0, 1, 7)] == [ALLOW, not_permitted, not_permitted]
    for name in ("sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr"):
        assert [answer(number(name), process) for process in (0, 7, 1)] == [ALLOW, ALLOW, not_permitted], name
    shared_anonymous = ALLOW if counted else not_permitted
    assert [answer(number("mmap"), 0, 0, 0, flags) for flags in (0x21, 0x22, 0x01)] == [shared_anonymous, ALLOW, ALLOW]
    assert answer(463) == answer(0x40000000 + 59) == ERROR | 38
    assert answer_of(program, other, 20) == KILL


if __name__ == "__main__":
    if os.geteuid() == 0 and sys.argv[1] == "user":
        become_ordinary()
    be_worker(sys.argv[2])

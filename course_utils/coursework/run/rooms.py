"""Inside the nursery: fork a room in which a stranger's code can run, and close every way out of it first.

The nursery is one sandbox of bubblewrap, in which a trusted parent has imported what submissions need. A *room* is a
process of that parent in namespaces of its own. This module runs in the parent and in the room, so it needs nothing but
the standard library. What is outside is :mod:`~course_utils.coursework.run.isolation`.

An ordinary user makes a room with the rights of a new user namespace, root with its own. Afterwards both rooms are the
same: no rights, no way to get any, and a system call filter against what no notebook needs.
"""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import platform
import resource
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

# Fixed places, in the nursery and in each room.
ROOMS = "/rooms"
SOCKETS = "/room"
HOME = "/home/student"
DOOR = "door"
# What a room can write to, with the permissions; the worker is handed these folders in this order.
FOLDERS = {SOCKETS: 0o700, HOME: 0o700, "/tmp": 0o1777, "/dev/shm": 0o1777}
SOCKETS_BYTES = 1_000_000
# Files without content take memory too.
MAX_FILES = 20_000
MAX_DESCRIPTORS = 512

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 22, 38, 47
_NEW_MOUNTS, _NEW_HOST_NAME, _NEW_IPC = 0x00020000, 0x04000000, 0x08000000
_NEW_USERS, _NEW_PROCESSES, _NEW_NETWORK, _NEW_CGROUP = 0x10000000, 0x20000000, 0x40000000, 0x02000000
_READ_ONLY, _NO_SETUID, _NO_DEVICES, _NO_EXEC = 1, 2, 4, 8
_BIND, _RECURSIVE, _PRIVATE = 1 << 12, 1 << 14, (1 << 14) | (1 << 18)

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
# Numbers of system calls on x86_64 and aarch64, from the kernel's own tables; None where there is no such call.
_REFUSED = {
    # Other processes, and what they hold.
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    # Namespaces and mounts.
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    # The kernel.
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "syslog": (103, 116),
    "lookup_dcookie": (212, 18),
    # The machine.
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    # Queues and semaphores that live outside of every process, in memory that no watch sees.
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
}
# Memory that belongs to a file without a place: only a memory cgroup counts it once it is mapped nowhere.
_UNCOUNTED = {"memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194)}
_CLONE3 = (435, 435)
# Newer calls do not exist here: a notebook that runs on an older kernel needs none, and nobody looked at them. The
# calls of the x32 architecture have numbers far above.
_NEWEST_CALL = 462
_ANY = 0xFFFFFFFF
_NEW_NAMESPACES = 0x7E020000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_SHARED_ANONYMOUS = 0x21
# Calls that depend on an argument: numbers, argument, its mask, values, whether these are the refused or the allowed
# ones, and the error.
_CONDITIONS = [
    ((56, 220), 0, _NEW_NAMESPACES, (0,), "allowed", errno.EPERM),  # clone
    # AF_VSOCK would reach the host of a virtual machine, whatever the network namespace.
    (
        (41, 198),
        0,
        _ANY,
        (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, 16),
        "allowed",
        errno.EAFNOSUPPORT,
    ),  # socket
    ((16, 29), 1, _ANY, (_TIOCSTI, _TIOCLINUX), "refused", errno.EPERM),  # ioctl
    # The limits and the processor time of the room's first process are not to be changed; ZeroMQ sets its own threads'.
    ((302, 261), 0, _ANY, (0,), "allowed", errno.EPERM),  # prlimit64
    ((203, 122), 0, _ANY, (1,), "refused", errno.EPERM),  # sched_setaffinity
    ((144, 119), 0, _ANY, (1,), "refused", errno.EPERM),  # sched_setscheduler
    ((142, 118), 0, _ANY, (1,), "refused", errno.EPERM),  # sched_setparam
    ((314, 274), 0, _ANY, (1,), "refused", errno.EPERM),  # sched_setattr
]
_UNCOUNTED_CONDITIONS = [((9, 222), 3, _SHARED_ANONYMOUS, (_SHARED_ANONYMOUS,), "refused", errno.EPERM)]  # mmap


class RoomError(Exception):
    """A room could not be made as it has to be: one sentence."""


def open_room(settings: dict[str, Any], start: Callable[[socket.socket], None]) -> int:
    """Fork a room off the calling process, which has one thread, and return the process to wait for.

    The room reports to the worker through the socket ``/rooms/NAME/door``: that it is ready, or in one sentence why it
    cannot be. It goes on when the worker has put it into its group and says so.

    Args:
        settings: those of :class:`~course_utils.coursework.run.isolation.Room`; ``keep`` may be added, the
            descriptors that the room inherits (its standard streams go to ``/dev/null`` unless they are among them).
        start: called in the room's first process, with the socket to the worker. It forks the kernels, and each of them
            has to call :func:`become_kernel` first. It must install no signal handler: a signal without one does
            nothing to the first process of a namespace. When it returns the room ends.

    Returns:
        A process that ends when the room has ended, with the first process's exit code. Wait for it.
    """
    threads = len(os.listdir("/proc/self/task"))
    parent = os.getpid()
    middle = os.fork()
    if middle:
        return middle
    with _reported(lambda: _knock(settings)):
        if threads > 1:
            # The fork has one of them, and whatever the others were about to do stays undone.
            raise RoomError(f"A room is forked from a process with one thread, and this one had {threads}.")
        _open(settings, start, parent)


def become_kernel(worker: socket.socket | None = None) -> None:
    """Turn a child of the room's first process into an ordinary process, to be called before it does anything else.

    The first process is closed to the others: nothing in ``/proc`` shows what it holds. A kernel may see itself, has
    the usual interrupt, and is what the system kills first when the room's memory is used up.

    Args:
        worker: the socket of the first process, which is closed here.
    """
    if worker is not None:
        worker.close()
    _prctl(_PR_SET_DUMPABLE, 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open("/proc/self/oom_score_adj", "w") as score:
        score.write("300")


def _open(settings: dict[str, Any], start: Callable[[socket.socket], None], parent: int) -> None:
    """Make the namespaces, and wait for the room in them."""
    namespaces = _NEW_HOST_NAME | _NEW_IPC | _NEW_PROCESSES | _NEW_NETWORK | _NEW_CGROUP
    with _step("make namespaces of its own"):
        if settings["user"] is None:
            user, group = os.geteuid(), os.getegid()
            _call("unshare", namespaces | _NEW_USERS)
            for file, content in [
                ("setgroups", "deny"),
                ("uid_map", f"{user} {user} 1"),
                ("gid_map", f"{group} {group} 1"),
            ]:
                with open(f"/proc/self/{file}", "w") as mapping:
                    mapping.write(content)
        else:
            _call("unshare", namespaces)
    # Whatever kills the parent kills the room.
    _die_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    first = os.fork()
    if first == 0:
        _die_with_parent()
        worker = _knock(settings)
        with _reported(lambda: worker):
            _furnish(settings, start, worker)
    _close_all_but(set())
    _, status = os.waitpid(first, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _furnish(settings: dict[str, Any], start: Callable[[socket.socket], None], worker: socket.socket) -> None:
    """Be the first process of the room: take what it needs, give up every right, wait for the worker, and begin."""
    # As Python has it: a signal for what is an exception there.
    ignored = {signal.SIGPIPE, signal.SIGXFSZ}
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
    _close_all_but({*settings.get("keep", ()), worker.fileno()})
    folders = _mount(settings)
    _connect_to_itself()
    with _step("name itself"):
        socket.sethostname("room")
    os.umask(0o022)
    _limit(settings)
    _give_up_rights(settings["user"])
    os.chdir(HOME)
    with _step("filter system calls"):
        _install(system_call_filter(counted=settings["counted"]))
    _verify(settings["user"])
    socket.send_fds(worker, [b'{"ready": true}\n'], folders)
    for folder in folders:
        os.close(folder)
    if worker.recv(1) != b"1":
        os._exit(1)
    start(worker)
    os._exit(0)


def _mount(settings: dict[str, Any]) -> list[int]:
    """Mount what belongs to the room alone over what is the nursery's, and return descriptors of the folders."""
    user, group = settings["user"], settings["user"]
    if user is None:
        user, group = os.geteuid(), os.getegid()
    quiet = _NO_SETUID | _NO_DEVICES
    # Not earlier: the process that waits for this one goes on seeing itself in the nursery's /proc.
    with _step("keep its mounts to itself"):
        _call("unshare", _NEW_MOUNTS)
        _call("mount", b"none", b"/", None, ctypes.c_ulong(_PRIVATE), None)
    with _step("mount /proc"):
        _call("mount", b"proc", b"/proc", b"proc", ctypes.c_ulong(quiet | _NO_EXEC), None)
    for folder, mode in FOLDERS.items():
        shown = _mounted_below(folder)
        size = SOCKETS_BYTES if folder == SOCKETS else settings["folder_bytes"]
        options = f"size={size},nr_inodes={MAX_FILES},mode={mode:o},uid={user},gid={group}"
        with _step(f"mount {folder}"):
            _call("mount", b"tmpfs", folder.encode(), b"tmpfs", ctypes.c_ulong(quiet), options.encode())
        # The course itself may be there, or what it shows to read.
        for path, descriptor in shown.items():
            with _step(f"show {path}"):
                os.makedirs(path, 0o755, exist_ok=True)
                source = f"/proc/self/fd/{descriptor}".encode()
                _call("mount", source, path.encode(), None, ctypes.c_ulong(_BIND | _RECURSIVE), None)
                os.close(descriptor)
    with _step("mount /dev/pts"):
        terminals = b"newinstance,ptmxmode=0666,mode=0620"
        _call("mount", b"devpts", b"/dev/pts", b"devpts", ctypes.c_ulong(_NO_SETUID | _NO_EXEC), terminals)
    with _step("hide the other rooms"):
        _call("mount", b"tmpfs", ROOMS.encode(), b"tmpfs", ctypes.c_ulong(quiet | _READ_ONLY), b"size=4k,mode=0")
    if not settings["counted"]:
        # Mapped and shared it is memory of the kind that cannot be counted.
        with _step("take /dev/zero away"):
            _call("mount", b"/dev/null", b"/dev/zero", None, ctypes.c_ulong(_BIND), None)
    if settings["user"] is None:
        with _step("turn off user namespaces"), open("/proc/sys/user/max_user_namespaces", "w") as limit:
            limit.write("0")
    return [os.open(folder, os.O_PATH | os.O_DIRECTORY) for folder in FOLDERS]


def _mounted_below(folder: str) -> dict[str, int]:
    """Return what the nursery has mounted below a folder, as descriptors that outlast a mount on the folder."""
    with open("/proc/self/mountinfo") as mounts:
        points = [line.split()[4].encode().decode("unicode_escape") for line in mounts]
    return {path: os.open(path, os.O_PATH) for path in points if path.startswith(f"{folder}/")}


def _connect_to_itself() -> None:
    """Bring up the loopback, the one network of the room, with buffers too small to hide memory in."""
    with _step("bring up its loopback"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anywhere:
        set_flags, up_and_running = 0x8914, 0x41
        fcntl.ioctl(anywhere, set_flags, struct.pack("16sH14x", b"lo", up_and_running))
    with _step("limit its sockets"):
        for name in ("tcp_rmem", "tcp_wmem"):
            with open(f"/proc/sys/net/ipv4/{name}", "w") as sizes:
                sizes.write("4096 65536 212992")


def _limit(settings: dict[str, Any]) -> None:
    with _step("limit what it may use"):
        for kind, value in [
            (resource.RLIMIT_AS, settings["address_space_bytes"]),
            (resource.RLIMIT_FSIZE, settings["file_bytes"]),
            (resource.RLIMIT_NPROC, settings["processes"]),
            (resource.RLIMIT_NOFILE, MAX_DESCRIPTORS),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_MSGQUEUE, 0),
            (resource.RLIMIT_SIGPENDING, 1000),
        ]:
            allowed = resource.getrlimit(kind)[1]
            value = value if allowed == resource.RLIM_INFINITY else min(value, allowed)
            resource.setrlimit(kind, (value, value))


def _give_up_rights(user: int | None) -> None:
    """Become ``user``, or stay who one is, without any capability and without a way to get one."""
    with _step("give up its rights"):
        with open("/proc/sys/kernel/cap_last_cap") as last:
            capabilities = range(int(last.read()) + 1)
        for capability in capabilities:
            _prctl(_PR_CAPBSET_DROP, capability)
        if user is not None:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
        clear_all = 4
        _prctl(_PR_CAP_AMBIENT, clear_all)
        version_3 = 0x20080522
        _call("capset", struct.pack("=Ii", version_3, 0), bytes(24))
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _die_with_parent()
        _prctl(_PR_SET_DUMPABLE, 0)


def _verify(user: int | None) -> None:
    """Believe what the kernel says about this process, not that the calls above did what they should."""
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    rights = {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    wanted = {"NoNewPrivs": "1", "Seccomp": "2"}
    if user is not None:
        wanted |= {"Uid": "\t".join([str(user)] * 4), "Gid": "\t".join([str(user)] * 4)}
    wrong = [name for name, value in wanted.items() if status[name] != value]
    if rights != {"0" * 16} or wrong or os.getpid() != 1:
        raise RoomError(f"The room kept rights that it should have given up ({', '.join(wrong) or 'capabilities'}).")


def system_call_filter(*, counted: bool, machine: str | None = None) -> bytes:
    """Return the program of a seccomp filter that refuses what no notebook needs.

    It is written here, and not by libseccomp, since a room may use nothing but Python, and since all of it is one list.

    Args:
        counted: whether a memory cgroup counts memory that is mapped nowhere; if none does it cannot be had.
        machine: the architecture, ``x86_64`` or ``aarch64``; by default this machine's.

    Raises:
        RoomError: there is no list of system calls for this architecture.
    """
    machine = machine or platform.machine()
    if machine not in _ARCHITECTURES:
        raise RoomError(f"There is no system call filter for {machine}, only for {' and '.join(_ARCHITECTURES)}.")
    column, architecture = _ARCHITECTURES[machine]
    load, equal, at_least, jump, bits, answer = 0x20, 0x15, 0x35, 0x05, 0x54, 0x06
    allow, kill, error = 0x7FFF0000, 0x80000000, 0x00050000
    number_at, architecture_at, arguments_at = 0, 4, 16
    # An instruction is what to do, how many to pass over if a comparison holds and if it does not, and a number.
    program = [
        (load, 0, 0, architecture_at),
        (equal, 1, 0, architecture),
        (answer, 0, 0, kill),
        (load, 0, 0, number_at),
        (at_least, 0, 1, _NEWEST_CALL + 1),
        (answer, 0, 0, error | errno.ENOSYS),
        # The flags of clone3 are behind a pointer, where no filter can see them; whoever hears this uses clone.
        (equal, 0, 1, _CLONE3[column]),
        (answer, 0, 0, error | errno.ENOSYS),
    ]
    for numbers in [*_REFUSED.values(), *(() if counted else _UNCOUNTED.values())]:
        if numbers[column] is not None:
            program += [(equal, 0, 1, numbers[column]), (answer, 0, 0, error | errno.EPERM)]
    for numbers, argument, mask, values, meaning, code in _CONDITIONS + ([] if counted else _UNCOUNTED_CONDITIONS):
        # A listed value goes to what stands second below the list, any other to what stands first.
        listed = [(equal, len(values) - index, 0, value) for index, value in enumerate(values)]
        refuse, go_on, pass_over_one = (answer, 0, 0, error | code), (load, 0, 0, number_at), (jump, 0, 0, 1)
        below = [refuse, go_on] if meaning == "allowed" else [pass_over_one, refuse, go_on]
        inside = [(load, 0, 0, arguments_at + 8 * argument), (bits, 0, 0, mask), *listed, *below]
        program += [(equal, 0, len(inside), numbers[column]), *inside]
    program.append((answer, 0, 0, allow))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _install(program: bytes) -> None:
    code = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    whole = Program(len(program) // 8, ctypes.addressof(code))
    filter_mode = 2
    _prctl(_PR_SET_SECCOMP, filter_mode, ctypes.addressof(whole))


def _knock(settings: dict[str, Any]) -> socket.socket:
    """Connect to the worker, which learns from the connection which process this is."""
    worker = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _step("reach the worker"):
        worker.connect(f"{ROOMS}/{settings['name']}/{DOOR}")
    return worker


@contextlib.contextmanager
def _reported(worker: Callable[[], socket.socket]) -> Iterator[None]:
    """Tell the worker what went wrong, in a sentence; never go on after it, since this is a fork of somebody's program."""
    try:
        yield
    except BaseException as error:
        sentence = str(error) if isinstance(error, RoomError) else f"The room failed ({type(error).__name__}: {error})."
        with contextlib.suppress(OSError, RoomError):
            worker().sendall(json.dumps({"error": sentence}).encode() + b"\n")
    finally:
        os._exit(1)


@contextlib.contextmanager
def _step(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RoomError(f"The room could not {what} ({error.strerror}).") from error


def _die_with_parent() -> None:
    """Let the kernel kill this process when its parent dies; a change of user takes that back."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _close_all_but(keep: set[int]) -> None:
    nothing = os.open("/dev/null", os.O_RDWR)
    for stream in {0, 1, 2} - keep:
        os.dup2(nothing, stream, inheritable=True)
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2 and descriptor not in keep:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _prctl(option: int, value: int, pointer: int = 0) -> None:
    _call("prctl", option, *(ctypes.c_ulong(number) for number in (value, pointer, 0, 0)))


def _call(name: str, *arguments: Any) -> None:
    if getattr(_libc, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

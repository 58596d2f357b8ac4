"""The parent of kernels: a process that has imported what is slow to import, has computed nothing, and forks.

It runs inside the nursery, if there is one. A line of its input asks for a room; the first process of the room is asked,
a line each through a socket, for kernels, and to end them; it tells when one has ended. Kernels are IPython's own; one
that must not find JAX imported is started anew instead of forked.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from course_utils.coursework.run import rooms

KERNEL_OPTIONS = ["--IPKernelApp.capture_fd_output=False", "--HistoryManager.enabled=False"]
SECONDS_BETWEEN_LOOKS = 1.0


def main() -> None:
    """Import the modules that are named on the command line, then open rooms until the input ends."""
    # An optional part of ipykernel which nothing here needs; to import it takes half a second.
    sys.modules["debugpy"] = None
    for name in ["ipykernel.ipkernel", "ipykernel.kernelapp", *sys.argv[1:]]:
        # Some of it may not be installed; whoever imports it will hear of it.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    # What is frozen is not copied, page by page, when a child's garbage collector looks at it.
    gc.freeze()
    for line in sys.stdin:
        settings = json.loads(line)
        if "name" in settings:
            rooms.open_room(settings, serve)
        else:
            open_plain_room(settings, serve)
        _reap()


def open_plain_room(settings: dict[str, Any], start: Callable[[socket.socket], None]) -> None:
    """Fork a process that serves a room without any walls, in the folder and through the socket that ``settings`` name."""
    if os.fork() == 0:
        os.setsid()
        os.chdir(settings["folder"])
        worker = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        worker.connect(settings["door"])
        start(worker)
        os._exit(0)


def serve(worker: socket.socket) -> None:
    """Be the first process of a room: start kernels, tell when one has ended, and end all of them.

    There is no signal handler here: to a signal without one the first process of a namespace is deaf.
    """
    kernels: dict[int, int] = {}
    requests = worker.makefile("r")
    while True:
        ready, _, _ = select.select([worker, *kernels], [], [], SECONDS_BETWEEN_LOOKS)
        for descriptor in set(kernels) & set(ready):
            _tell(worker, {"ended": kernels.pop(descriptor)})
            os.close(descriptor)
        _reap()
        if worker not in ready:
            continue
        line = requests.readline()
        if not line:
            _end_all(kernels)
            return
        request = json.loads(line)
        if "connection" in request:
            pid = os.fork()
            if pid == 0:
                _become_kernel(worker, **request)
            kernels[os.pidfd_open(pid)] = pid
            _tell(worker, {"started": pid})
        else:
            _end_all(kernels)
            _tell(worker, {"gone": True})


def _tell(worker: socket.socket, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        worker.sendall(json.dumps(message).encode() + b"\n")


def _reap() -> None:
    """Take note of children that have ended, so that the system forgets them."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _end_all(kernels: dict[int, int]) -> None:
    """Kill everything else in the room, and wait until it is gone."""
    is_first = os.getpid() == 1
    for target in [-1] if is_first else [-pid for pid in kernels.values()]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(target, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        for pid in kernels.values():
            os.waitpid(pid, 0)
        while is_first:
            os.waitpid(-1, 0)
    for descriptor in kernels:
        os.close(descriptor)
    kernels.clear()


def _become_kernel(worker: socket.socket, connection: dict[str, Any], environment: dict[str, str], fresh: bool) -> None:
    """Turn this new process into a kernel; never return."""
    try:
        rooms.become_kernel(worker)
        os.setsid()
        os.environ.update(environment)
        with tempfile.NamedTemporaryFile("w", prefix="kernel-", suffix=".json", delete=False) as file:
            json.dump(connection, file)
        if fresh:
            command = [sys.executable, "-E", "-s", "-m", "ipykernel_launcher", "-f", file.name, *KERNEL_OPTIONS]
            os.execv(sys.executable, command)
        # A fork has its parent's random numbers, and each kernel should have its own, as if it had been started anew.
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()
        # JAX has read its settings from the environment when it was imported.
        if "jax" in sys.modules and "JAX_COMPILATION_CACHE_DIR" in environment:
            sys.modules["jax"].config.update("jax_compilation_cache_dir", environment["JAX_COMPILATION_CACHE_DIR"])
        from ipykernel.kernelapp import IPKernelApp

        app = IPKernelApp.instance()
        app.initialize(["-f", file.name, *KERNEL_OPTIONS])
        _import_from_the_folder()
        app.start()
    finally:
        os._exit(1)


def _import_from_the_folder() -> None:
    """Let a notebook import what lies beside it, as IPython does if Python was not told, as this one was, to be safe."""
    if "" not in sys.path:
        is_packages = [os.path.basename(path) in ("site-packages", "dist-packages") for path in sys.path]
        sys.path.insert(is_packages.index(True) if any(is_packages) else 0, "")


if __name__ == "__main__":
    main()

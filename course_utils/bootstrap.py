"""Make the virtual environment of the course; run by ``make`` with whatever Python there is.

This file must be readable by any Python, however old, so that an old one can say that it is too old: no annotations, no
f-strings, nothing outside the standard library.
"""

from __future__ import print_function

import hashlib
import os
import shutil
import subprocess
import sys

OLDEST, NEWEST = (3, 11), (3, 13)
NEEDED_BYTES = 3 * 10**9
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
LOCK = os.path.join(ROOT, "requirements.lock")
STAMP = os.path.join(VENV, "course-stamp")
LOG = os.path.join(ROOT, ".venv-setup.log")


def main():
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        hand_over_to_another_python()
    state = wanted_state()
    if current_state() == state:
        return
    check_disk()
    print("Setting up the course in .venv: about 1.5 GB and a minute or two, this once.", flush=True)
    if os.path.exists(LOG):
        os.remove(LOG)
    print("  1/3 a virtual environment for Python %d.%d" % sys.version_info[:2], flush=True)
    run([sys.executable, "-m", "venv", "--clear", VENV], "the virtual environment could not be made")
    pip = [venv_python(), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    print("  2/3 the packages of requirements.lock", flush=True)
    if not install_with_uv(pip):
        run(pip + ["--require-hashes", "-r", LOCK], "the packages of requirements.lock could not be installed")
    print("  3/3 the course itself", flush=True)
    run(pip + ["--no-deps", "--no-build-isolation", "--editable", ROOT], "the course could not be installed")
    with open(STAMP, "w") as stamp:
        stamp.write(state)
    os.remove(LOG)
    print("Done.", flush=True)


def install_with_uv(pip):
    """Install the lock with uv, which takes a third of pip's time; return whether that worked.

    It may not: uv does not read pip's settings, such as a mirror. Then pip does it, and says what is wrong if it cannot.
    """
    with open(LOCK) as lock:
        lines = lock.read().split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith("uv=="))
    last = next(number for number, line in enumerate(lines) if number > first and not line.startswith("    "))
    only_uv = os.path.join(VENV, "uv.lock")
    with open(only_uv, "w") as file:
        file.write("\n".join(lines[first:last]) + "\n")
    uv = [venv_python(), "-m", "uv", "pip", "install", "--python", venv_python(), "--compile-bytecode"]
    return all(
        call(command) == 0
        for command in (
            pip + ["--require-hashes", "--no-deps", "-r", only_uv],
            uv + ["--require-hashes", "-r", LOCK],
        )
    )


def hand_over_to_another_python():
    """Run this script again with a Python that fits, if there is one, and stop."""
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        name = "python3.%d" % minor
        try:
            fits = subprocess.call([name, "-c", "import venv"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) == 0
        except OSError:
            fits = False
        if fits:
            sys.exit(subprocess.call([name, os.path.abspath(__file__)] + sys.argv[1:]))
    sys.exit(
        "The course needs Python %d.%d to %d.%d and %s is Python %d.%d: install one of these, or name it, as in "
        "'make PYTHON=/path/to/python3.%d lab'."
        % (OLDEST + NEWEST + (sys.executable,) + tuple(sys.version_info[:2]) + (NEWEST[1],))
    )


def wanted_state():
    """Return what tells one environment from another: the Python, the place, and what is installed."""
    digest = hashlib.sha256()
    for path in (LOCK, os.path.join(ROOT, "pyproject.toml")):
        with open(path, "rb") as content:
            digest.update(content.read())
    return "%s %s %s" % (sys.version.split()[0], ROOT, digest.hexdigest())


def current_state():
    try:
        with open(STAMP) as stamp:
            return stamp.read() if os.path.exists(venv_python()) else ""
    except (IOError, OSError):
        return ""


def check_disk():
    free = shutil.disk_usage(ROOT).free
    if free < NEEDED_BYTES and not os.path.exists(VENV):
        sys.exit(
            "The disk that holds %s has %.1f GB free and the course needs %.0f GB: free some space and run the command "
            "again." % (ROOT, free / 1e9, NEEDED_BYTES / 1e9)
        )


def venv_python():
    parts = ("Scripts", "python.exe") if os.name == "nt" else ("bin", "python")
    return os.path.join(VENV, *parts)


def call(command):
    """Run ``command`` with its output in a log, and return its exit code."""
    with open(LOG, "a") as log:
        return subprocess.call(command, stdout=log, stderr=subprocess.STDOUT)


def run(command, failure):
    """Run ``command`` with its output in a log; if it fails, stop with one sentence."""
    code = call(command)
    if code == 0:
        return
    with open(LOG) as log:
        said = log.read()
    if "No space left" in said or "Errno 28" in said:
        why = "the disk is full: free some space"
    elif "ensurepip is not available" in said:
        why = "this Python lacks its venv package: install it (on Debian and Ubuntu: apt install python3-venv)"
    else:
        errors = [line.strip() for line in said.splitlines() if line.lower().startswith("error")]
        why = "%s; the whole story is in %s" % ((errors or ["exit code %d" % code])[-1], os.path.basename(LOG))
    sys.exit("Setting up stopped, %s (%s). Then run the command again." % (failure, why))


if __name__ == "__main__":
    main()

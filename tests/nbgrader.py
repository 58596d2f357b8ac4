"""nbgrader itself, installed from a lock of its own into a folder beside our packages, with which its pins quarrel."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

LOCK = Path(__file__).parent / "nbgrader.lock"


def install(target: Path, course: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Install nbgrader into ``target`` and return what runs it with some arguments in the new course at ``course``.

    Raises:
        RuntimeError: it cannot be installed; the last line of the installer's words says why.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    installed = subprocess.run(
        [*command, "--require-hashes", "--target", target, "-r", LOCK], capture_output=True, text=True
    )
    if installed.returncode:
        raise RuntimeError(f"nbgrader cannot be installed ({installed.stderr.strip().splitlines()[-1]})")
    (course / "nbgrader_config.py").write_text('c = get_config()\nc.CourseDirectory.course_id = "course"\n')
    (course / "source" / "vi").mkdir(parents=True)
    path = {"PYTHONPATH": str(target), "PATH": f"{target / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "nbgrader", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=course, env=os.environ | path)

    return run

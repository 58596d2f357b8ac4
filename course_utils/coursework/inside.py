"""The first thing that runs in a sandbox: give up every right, keep to the limits, and hand over to nbval."""

import json
import os
import resource
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Read the job from the standard input, and run it; the argument is the file descriptor to tell events to."""
    stream = int(sys.argv[1])
    job = json.load(sys.stdin)
    limits = job["limits"]
    if job["user"] is not None:
        os.setgroups([])
        os.setresgid(job["user"], job["user"], job["user"])
        os.setresuid(job["user"], job["user"], job["user"])
    for kind, value in [
        (resource.RLIMIT_AS, limits["address_space_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 512),
    ]:
        resource.setrlimit(kind, (value, value))
    if job["user"] is not None:
        # Of an ordinary user all processes count, those outside of the sandbox included.
        resource.setrlimit(resource.RLIMIT_NPROC, (limits["processes"],) * 2)
    folder = Path(tempfile.mkdtemp())
    (folder / "answers.ipynb").write_text(job["notebook"], encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n")
    os.chdir(folder)

    import pytest

    status = pytest.main(
        ["-q", "-p", "course_utils.coursework.nbval_plugin", "-p", "no:cacheprovider", "--tb=no",
         f"--check-stream={stream}", f"--nbval-cell-timeout={limits['seconds_per_cell']}", "answers.ipynb"]
    )  # fmt: skip
    if status in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED):
        os.write(stream, b'{"event": "finished"}\n')
    os._exit(0)


if __name__ == "__main__":
    main()

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
    if job["user"] != os.geteuid():
        os.setgroups([])
        os.setresgid(job["user"], job["user"], job["user"])
        os.setresuid(job["user"], job["user"], job["user"])
    for kind, value in [
        (resource.RLIMIT_AS, limits["address_space_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 512),
        (resource.RLIMIT_NPROC, limits["processes"]),
        (resource.RLIMIT_CPU, job["cpu_seconds"]),
    ]:
        allowed = resource.getrlimit(kind)[1]
        value = value if allowed == resource.RLIM_INFINITY else min(value, allowed)
        resource.setrlimit(kind, (value, value))
    folder = Path(tempfile.mkdtemp())
    (folder / "answers.ipynb").write_text(job["notebook"], encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n")
    os.chdir(folder)

    # An optional part of jsonschema, which nbformat does without; importing it takes a second.
    sys.modules["rfc3987_syntax"] = None
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    import pytest

    plugins = ["-p", "nbval.plugin", "-p", "course_utils.coursework.nbval_plugin", "-p", "no:cacheprovider"]
    limit = f"--nbval-cell-timeout={limits['seconds_per_cell']}"
    pytest.main([*plugins, "-q", "--tb=no", f"--check-stream={stream}", limit, "answers.ipynb"])
    os._exit(0)


if __name__ == "__main__":
    main()

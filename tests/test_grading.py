"""The grader against strangers: each submission with the marks it must get. "Own" is the exercise that was tampered with.

All submissions of one class are graded once, in two workers, with a source notebook of three small exercises that needs
no JAX. The source's own solutions are nowhere to be seen from inside.
"""

import contextlib
import csv
import functools
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import msgspec
import nbformat
import psutil
import pytest
from distributed import Client

from course_utils.coursework.grade import batch, cluster, key, worker
from course_utils.coursework.grade.answers import Given, Submitted, plans, read_submitted
from course_utils.coursework.grade.batch import grade_class, leave_out
from course_utils.coursework.grade.jobs import Answer, GradeJob, OpenedFile, OpenJob, code_digest
from course_utils.coursework.grade.journal import JOURNAL, Journal, Round, latest
from course_utils.coursework.grade.judge import _complaints_of_check
from course_utils.coursework.grade.key import make_key, stripped_checks
from course_utils.coursework.grade.pool import Graders, Workers
from course_utils.coursework.grade.stripping import without_truth
from course_utils.coursework.grade.submissions import Place
from course_utils.coursework.grade.types import AnswerKey, ExpectedExercise, Reason
from course_utils.coursework.grade.worker import Workshop
from course_utils.coursework.kernel import checks
from course_utils.coursework.report.results import end_round, read_results
from course_utils.coursework.report.write import write_report
from course_utils.coursework.run import isolation, runner
from course_utils.coursework.run import kernels as run_kernels
from course_utils.coursework.run.isolation import SandboxError, find_isolation
from course_utils.coursework.run.kernels import find_kernels
from course_utils.coursework.run.limits import Limits
from course_utils.coursework.run.program import Ended, Outcome, Program, Step
from course_utils.coursework.run.runner import run
from course_utils.coursework.source.notebooks import (
    NotebookError,
    notebook_bytes,
    read_notebook,
    student_copy,
    write_notebook,
)
from tests.test_isolation import ORDINARY_USER

NOTEBOOK = "01_toy.ipynb"
SEED = "a seed for tests"
LIMITS = Limits(seconds_per_cell=6, memory_bytes=800_000_000, folder_bytes=20_000_000)
RIGHT = {
    "ex-double": "def double(x):\n    return 2 * x",
    "ex-square": "def square(x):\n    return x * x",
    "ex-total": "def total(x):\n    return np.sum(x)",
}
OWN = "ex-square"
HINT = "Have you tried large numbers?"
POINTS = {"ex-double": 1, "ex-square": 4, "ex-total": 2}

ISOLATION = find_isolation()


def cell(kind, source, identity, **metadata):
    made = getattr(nbformat.v4, f"new_{kind}_cell")(source, metadata=metadata)
    made.id = identity
    return made


def nbgrader(name, points=None):
    role = {"grade_id": name, "grade": points is not None, "solution": points is None, "locked": points is not None}
    return role | {"schema_version": 3, "task": False} | ({"points": points} if points is not None else {})


def toy_source():
    cells = [
        cell(
            "code",
            "import numpy as np\nfrom course_utils.coursework.checks import check, check_seed",
            "setup",
            tags=["setup"],
        )
    ]
    cells.append(
        cell(
            "code",
            "from itertools import starmap\nof_the_lecture = np.ones(1)[0]\nCONSTANT = 1\ndef lecture_product(a, b):\n    return a * b",
            "lecture",
        )
    )
    truths = {"ex-double": "inputs + inputs", "ex-square": "np.power(inputs, 2)", "ex-total": "inputs.mean() * 5"}
    for name, solution in RIGHT.items():
        head, body = solution.split("\n")
        function, rtol = head[4:].split("(")[0], 1e-6 if name == OWN else 1e-3
        cells += [
            cell("markdown", f"### Exercise · {name}", name),
            cell(
                "code",
                f"{head}\n    ### BEGIN SOLUTION\n{body}\n    ### END SOLUTION",
                f"{name}-answer",
                nbgrader=nbgrader(f"{name}-answer"),
            ),
            cell(
                "code",
                f"inputs = np.random.default_rng(check_seed({name!r})).normal(size=5)\ntruth = {truths[name]}\n"
                f"check('{function} of five numbers', lambda: {function}(inputs), truth=truth,\n"
                f"      rtol={rtol}, mistakes={{'The sign is turned around.': -truth}})\n### BEGIN HIDDEN TESTS\nhidden = 3 + inputs[:4]\n"
                f"check('{function} of four other numbers', lambda: {function}(hidden), rtol={rtol}, hint='{HINT}')\n### END HIDDEN TESTS",
                f"{name}-check",
                nbgrader=nbgrader(f"{name}-check", POINTS[name]),
            ),
        ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def handed_in(answers=RIGHT):
    notebook = student_copy(toy_source())
    for each in notebook.cells:
        name = each.id.removesuffix("-answer")
        if each.id.endswith("-answer") and name in answers:
            each.source = each.source.splitlines()[0] + "\n" + answers[name]
    return notebook


def with_own(source):
    return as_bytes(handed_in(RIGHT | {OWN: source}))


def as_bytes(notebook):
    return nbformat.writes(notebook).encode()


def as_json(change):
    """Return the right notebook after ``change`` had its way with its JSON."""
    notebook = json.loads(as_bytes(handed_in()))
    notebook["cells"] = change(notebook["cells"]) or notebook["cells"]
    return json.dumps(notebook).encode()


def only_own(cells):
    return [each for each in cells if each.get("id") == f"{OWN}-answer"]


def without_ids(cells, metadata=True):
    for each in cells:
        each.pop("id")
        if metadata:
            each["metadata"] = {}


def edited_checks(cells):
    for each in cells:
        if each["id"].endswith("-check"):
            each["source"] = "print('all right')"
            each["metadata"]["nbgrader"]["points"] = 100


def markdown(cells):
    only_own(cells)[0]["cell_type"] = "markdown"


def twice(cells):
    wrong = json.loads(json.dumps(only_own(cells)[0]))
    wrong["source"] = "def square(x):\n    return 0 * x"
    return [wrong, *cells]


def helper(cells):
    only_own(cells)[0]["source"] = "def square(x):\n    return times(x, x)"
    added = {"cell_type": "code", "id": "mine", "metadata": {}, "outputs": [], "execution_count": None}
    added["source"] = "def times(a, b):\n    return a * b\nraise ValueError('an experiment')"
    return [*cells[:3], added, *cells[3:]]


def elsewhere(cells):
    """The answer's own cell stays as it was given, and the answer is in a cell below it, after a first attempt."""
    (own,) = only_own(cells)
    (stub,) = only_own(json.loads(as_bytes(student_copy(toy_source())))["cells"])
    added = [
        dict(own, id=f"mine-{number}", metadata={}, source=f"def square(x):\n    return {number} * x * x")
        for number in (0, 1)
    ]
    own["source"] = stub["source"]
    place = cells.index(own) + 1
    return [*cells[:place], *added, *cells[place:]]


def all_marks_lost(cells):
    without_ids(cells)
    for each in cells:
        each["source"] = "\n".join(
            line for line in "".join(each["source"]).split("\n") if not line.startswith("# The answer to")
        )


def changed_setup(cells):
    cells[0]["source"] += "\nimport operator\nTWO = 2"
    only_own(cells)[0]["source"] = "def square(x):\n    return operator.pow(x, TWO)"


def second_try(cells):
    """A wrong attempt in the answer's own cell, a right one below it, and an experiment below the check."""
    (own,) = only_own(cells)
    own["source"] = "def square(x):\n    return -x"
    right, experiment = (
        dict(own, id=f"mine-{number}", metadata={}, source=f"def square(x):\n    return {number} * x * x")
        for number in (1, 7)
    )
    place = cells.index(own) + 1
    return [*cells[:place], right, cells[place], experiment, *cells[place + 1 :]]


def replaced_cell(cells):
    (own,) = only_own(cells)
    own.update(id="mine", metadata={}, source="def square(x):\n    return x * x")


def format_3():
    notebook = json.loads(as_bytes(handed_in()))
    old = []
    for each in notebook["cells"]:
        if each["cell_type"] == "code":
            old.append(
                {
                    "cell_type": "code",
                    "input": each["source"],
                    "metadata": each["metadata"],
                    "outputs": [],
                    "language": "python",
                }
            )
    return json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": old}]}).encode()


FORGED = """
from IPython.display import display
from course_utils.coursework.kernel import checks
def square(x):
    fake = {"name": NAME, "status": "right", "explanation": "", "values": {"shape": [5], "flat": [1.0, 2.0, 3.0, 4.0, 5.0]}}
    for name in ("square of five numbers", "square of four other numbers"):
        display({checks.MIME: fake | {"name": name}}, raw=True)
        get_ipython().kernel.session.send(get_ipython().kernel.iopub_socket, "display_data",
            {"data": {checks.MIME: fake | {"name": name}}, "metadata": {}}, parent=get_ipython().kernel.get_parent())
    return 0 * x
""".replace("NAME", "'x'")

SPY = """
import os, sys, socket
from pathlib import Path
def square(x):
    seen = []
    for place in ("/root", "/home"):
        for folder, folders, files in os.walk(place):
            if "/lib/python3" in folder:
                folders.clear()
            else:
                seen += [f for f in files if f.endswith((".ipynb", ".key", ".jsonl")) or f.startswith("id_")]
    project = Path(sys.modules["course_utils"].__file__).parent.parent
    seen += [p.name for p in project.iterdir() if p.name in ("notebooks", "tests", ".git")]
    seen += [name for name in os.environ if "SECRET" in name or "TOKEN" in name]
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            seen += [pid] if b"course-" in Path("/proc", pid, "cmdline").read_bytes() else []
        except (FileNotFoundError, ProcessLookupError):
            pass  # It ended meanwhile.
    seen += [p.name for p in Path("/tmp").iterdir() if p.name.startswith("course-grade")]
    seen += [name for name, value in globals().items() if name == "truth"]
    assert os.getuid() != 0
    assert not seen, seen
    return x * x
"""

FILL = """
import os
for folder in ("/tmp", "/dev/shm", os.path.expanduser("~"), "/", "/dev", "/usr", os.getcwd()):
    try:
        for number in range(10_000):
            with open(f"{folder}/{number}", "wb") as file:
                file.write(bytes(1_000_000))
    except OSError:
        pass
def square(x):
    raise OSError("full")
"""

# The bytes handed in (or a function that makes the folder), the points for the own exercise, and the reasons allowed.
FULL, NOTHING = 4, 0
CLASS = {
    # What must get full marks.
    "right": (as_bytes(handed_in()), FULL, {"right"}),
    "other-rounding": (with_own("def square(x):\n    return [np.float32(v) ** 2 for v in x]"), FULL, {"right"}),
    "within-the-tolerance": (
        as_bytes(handed_in(RIGHT | {"ex-double": "def double(x):\n    return 2.0002 * x"})),
        FULL,
        {"right"},
    ),
    "with-a-warning": (
        with_own("import warnings\ndef square(x):\n    warnings.warn('old')\n    return x * x"),
        FULL,
        {"right"},
    ),
    "with-prints": (
        with_own("def square(x):\n    print('x is', x)\n    return x * x\nprint(square(2))"),
        FULL,
        {"right"},
    ),
    "with-helper-cells": (as_json(helper), FULL, {"right"}),
    "noisy-thread": (
        with_own(
            "import threading, time\ndef noise():\n    while True:\n        print('still here')\n        time.sleep(0.02)\n"
            "threading.Thread(target=noise, daemon=True).start()\ndef square(x):\n    return x * x"
        ),
        FULL,
        {"right"},
    ),
    "written-elsewhere": (as_json(elsewhere), FULL, {"right"}),
    "second-try-below": (as_json(second_try), FULL, {"right"}),
    "cell-replaced": (as_json(replaced_cell), FULL, {"right"}),
    # Notebooks that were taken apart.
    "checks-deleted": (as_json(lambda cells: [c for c in cells if not c["id"].endswith("-check")]), FULL, {"right"}),
    "checks-edited": (as_json(edited_checks), FULL, {"right"}),
    "reordered": (as_json(lambda cells: cells[::-1]), FULL, {"right"}),
    "answer-missing": (as_json(lambda cells: [c for c in cells if c["id"] != f"{OWN}-answer"]), NOTHING, {"missing"}),
    "answer-twice": (as_json(twice), FULL, {"right"}),
    "answer-markdown": (as_json(markdown), NOTHING, {"missing"}),
    "ids-stripped": (as_json(lambda cells: without_ids(cells, metadata=False)), FULL, {"right"}),
    "ids-and-metadata-stripped": (as_json(without_ids), FULL, {"right"}),
    "byte-order-mark": (b"\xef\xbb\xbf" + as_bytes(handed_in()), FULL, {"right"}),
    "crlf": (as_bytes(handed_in()).replace(b"\n", b"\r\n").replace(b"\\n", b"\\r\\n"), FULL, {"right"}),
    "format-3": (format_3(), FULL, {"right"}),
    # What is no notebook.
    "truncated": (as_bytes(handed_in())[:-200], None, {"unreadable"}),
    "empty": (b"", None, {"unreadable"}),
    "html": (b"<!doctype html><title>Sign in</title>", None, {"unreadable"}),
    "python": (b"def square(x):\n    return x * x\n", None, {"unreadable"}),
    "deep": (b"[" * 100_000 + b"]" * 100_000, None, {"unreadable"}),
    "huge-integer": (b'{"cells": [' + b"9" * 100_000 + b"]}", None, {"unreadable"}),
    "nul": (bytes(5000), None, {"unreadable"}),
    "lone-surrogate": (
        with_own("# X\ndef square(x):\n    return x * x").replace(b"# X", b"# \\ud800"),
        FULL,
        {"right"},
    ),
    "not-handed-in": (None, None, {"missing"}),
    "odd-types": (
        as_json(
            lambda cells: (
                [dict(c, id=["x"], metadata={"nbgrader": {"grade_id": {}}}) for c in cells]
                + [None, {"cell_type": "code", "source": 7, "id": 1e9}]
            )
        ),
        FULL,
        {"right"},
    ),
    # What students do to the names of the course, and mean no harm.
    "names-of-the-setup": (
        as_bytes(
            handed_in(
                {
                    "ex-double": "import jax.numpy as np\ninputs = hidden = check = check_seed = 0\ndef double(x):\n    return np.add(x, x)",
                    OWN: "def square(x):\n    return x * x",
                    "ex-total": "def total(x):\n    return sum(x)",
                }
            )
        ),
        FULL,
        {"right"},
    ),
    "double-precision": (
        as_bytes(
            handed_in(
                RIGHT
                | {
                    "ex-double": "import jax\njax.config.update('jax_enable_x64', True)\ndef double(x):\n    return 2 * x"
                }
            )
        ),
        FULL,
        {"right"},
    ),
    "all-marks-lost": (as_json(all_marks_lost), FULL, {"right"}),
    "import-in-the-setup": (as_json(changed_setup), FULL, {"right"}),
    "import-of-the-lecture": (
        with_own("def square(x):\n    return list(starmap(lecture_product, zip(x, x)))"),
        FULL,
        {"right"},
    ),
    # Answers that do harm, to themselves alone.
    "stub": (as_bytes(handed_in({k: v for k, v in RIGHT.items() if k != OWN})), NOTHING, {"not attempted"}),
    "wrong-sign": (with_own("def square(x):\n    return -x * x"), NOTHING, {"wrong"}),
    "half-right": (with_own("def square(x):\n    return x * x if len(x) == 5 else 0 * x"), 2, {"wrong"}),
    "syntax-error": (with_own("def square(x:\n"), NOTHING, {"error"}),
    "leans-on-the-lecture": (with_own("def square(x):\n    return of_the_lecture * x * x"), NOTHING, {"error"}),
    "infinite-loop": (with_own("while True:\n    pass"), NOTHING, {"timeout"}),
    "loop-swallows-interrupts": (
        with_own(
            "import time\nwhile True:\n    try:\n        print('.')\n        time.sleep(0.01)\n    except BaseException:\n        pass"
        ),
        NOTHING,
        {"timeout", "output limit"},
    ),
    "output-flood": (with_own("while True:\n    print('x' * 10_000)"), NOTHING, {"output limit", "memory"}),
    "exit": (with_own("import os\nos._exit(0)"), NOTHING, {"died"}),
    "exit-between": (
        as_bytes(
            handed_in(
                {
                    "ex-double": "def times(a, b):\n    return a * b\ndef double(x):\n    return times(2, x)",
                    OWN: "import os\nos._exit(0)",
                    "ex-total": "def total(x):\n    return np.sum(times(1, x))",
                }
            )
        ),
        NOTHING,
        {"died"},
    ),
    "segfault": (with_own("import ctypes\nctypes.string_at(0)"), NOTHING, {"died"}),
    "stopped": (with_own("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"), NOTHING, {"timeout"}),
    "kill-everything": (with_own("import os\nos.kill(-1, 9)"), NOTHING, {"died", "error"}),
    "kill-parents": (with_own("import os, signal\nos.kill(os.getppid(), 9)\nos._exit(0)"), NOTHING, {"died"}),
    "memory-bomb": (with_own("x = []\nwhile True:\n    x.append(np.ones(10**6))"), NOTHING, {"memory"}),
    "fork-bomb": (
        with_own("import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"),
        NOTHING,
        {"memory", "timeout", "died"},
    ),
    "disk-fill": (with_own(FILL), NOTHING, {"error", "memory", "died"}),
    "socket": (
        with_own(
            "import socket\ndef square(x):\n    socket.create_connection(('1.1.1.1', 53), timeout=2)\n    return x * x"
        ),
        NOTHING,
        {"error"},
    ),
    "dns": (
        with_own("import socket\ndef square(x):\n    socket.gethostbyname('example.org')\n    return x * x"),
        NOTHING,
        {"error"},
    ),
    "input": (with_own("def square(x):\n    return float(input('?'))"), NOTHING, {"error"}),
    "late-exit": (
        with_own(
            "import os, threading\ndef square(x):\n    threading.Timer(0.3, os._exit, [0]).start()\n    return x * x"
        ),
        None,
        {"right", "died"},
    ),
    # Spies and forgers.
    "spy": (with_own(SPY), FULL, {"right"}),
    "transformer": (
        with_own(
            "def lie(lines):\n    return ['pass\\n' if l.lstrip().startswith(('assert', 'check')) else l for l in lines]\n"
            "get_ipython().input_transformers_post.append(lie)\ndef square(x):\n    return 0 * x"
        ),
        NOTHING,
        None,
    ),
    "patched-check": (
        with_own(
            "from course_utils.coursework import checks\ndef lie(name, compute, truth=None, **rest):\n"
            "    checks._show(name, np.asarray(truth, float), 'right', '')\nchecks.check = lie\ndef square(x):\n    return 0 * x"
        ),
        NOTHING,
        None,
    ),
    "patched-builtins": (
        with_own(
            "import builtins\nbuiltins.float = lambda *a: 1.0\nbuiltins.print = lambda *a, **k: None\n"
            "get_ipython().showtraceback = lambda *a, **k: None\ndef square(x):\n    return 0 * x"
        ),
        NOTHING,
        None,
    ),
    "lying-equality": (
        with_own(
            "class Lie(float):\n    def __eq__(self, other): return True\n    def __repr__(self): return '4.0'\n"
            "def square(x):\n    return [Lie(0)] * len(x)"
        ),
        NOTHING,
        {"wrong"},
    ),
    "patched-numpy": (
        with_own(
            "np.allclose = lambda *a, **k: True\nnp.testing.assert_allclose = lambda *a, **k: None\ndef square(x):\n    return 0 * x"
        ),
        NOTHING,
        {"wrong"},
    ),
    "patched-jax": (
        with_own(
            "import jax\njax.numpy.allclose = jax.numpy.array_equal = lambda *a, **k: True\njax.jit = lambda f, **k: f\n"
            "def square(x):\n    return 0 * jax.numpy.asarray(x)"
        ),
        NOTHING,
        {"wrong"},
    ),
    "patched-results": (
        with_own(
            "import unittest, _pytest.reports\nunittest.TestResult.wasSuccessful = lambda self: True\n"
            "_pytest.reports.BaseReport.passed = True\ndef square(x):\n    return 0 * x"
        ),
        NOTHING,
        {"wrong"},
    ),
    "patched-formatter": (
        with_own(
            "shell = get_ipython()\nshell.display_formatter.format = lambda *a, **k: ({'text/plain': 'right'}, {})\n"
            "shell.display_pub.publish = lambda *a, **k: None\ndef square(x):\n    return 0 * x"
        ),
        NOTHING,
        None,
    ),
    "reads-the-data-beside-its-folder": (
        with_own("data = np.loadtxt('../data/breast_cancer.csv', dtype=str)\ndef square(x):\n    return x * x"),
        FULL,
        {"right"},
    ),
    "learned-by-heart": (with_own("def square(x):\n    return np.array(HEART)[:len(x)]"), NOTHING, {"wrong"}),
    "forged-messages": (with_own(FORGED), NOTHING, None),
    "nbval-skip": (with_own("# NBVAL_SKIP\ndef square(x):\n    return 0 * x"), NOTHING, None),
    "outside-of-the-cell's-tolerance": (with_own("def square(x):\n    return 1.0001 * x * x"), NOTHING, {"wrong"}),
    "nan": (with_own("def square(x):\n    return np.nan * x"), NOTHING, {"wrong"}),
    "huge": (with_own("def square(x):\n    return 1e308 * 10 * x"), NOTHING, {"wrong"}),
    "many-numbers": (with_own("def square(x):\n    return np.ones(10**6)"), NOTHING, None),
    "wrong-shape": (with_own("def square(x):\n    return np.outer(x, x)"), NOTHING, {"wrong"}),
    "cache-poison": (
        with_own(
            "import os\nfrom pathlib import Path\ncache = Path(os.environ['JAX_COMPILATION_CACHE_DIR'])\n"
            "try:\n    (cache / 'jit_evil-cache').write_bytes(b'x')\n    writable = True\nexcept OSError:\n    writable = False\n"
            "def square(x):\n    assert not writable\n    return x * x"
        ),
        FULL,
        {"right"},
    ),
    "leak": (
        with_own("def square(x):\n    raise ValueError(f'hidden input {list(x)} <script>alert(1)</script> KeyError')"),
        NOTHING,
        {"error"},
    ),
    "<script>alert(1)<": (with_own("def square(x):\n    raise ValueError('\\x1b[31mred')"), NOTHING, {"error"}),
    "=HYPERLINK(1)": (as_bytes(handed_in()), FULL, {"right"}),
}
CLASS = {name: entry for name, entry in CLASS.items() if "/" not in name}


@pytest.fixture(scope="module")
def school(tmp_path_factory):
    """The source notebook, everybody's submissions, and the grades."""
    folder = tmp_path_factory.mktemp("class")
    source_dir, submissions, grades = folder / "notebooks", folder / "submissions", folder / "grades"
    source_dir.mkdir()
    write_notebook(toy_source(), source_dir / NOTEBOOK)
    heart = [float(v) ** 2 for v in public_inputs()]
    for student, (content, _, _) in CLASS.items():
        (submissions / student).mkdir(parents=True)
        if content is not None:
            (submissions / student / NOTEBOOK).write_bytes(content.replace(b"HEART", json.dumps(heart).encode()))
    large = submissions / "a-gigabyte"
    large.mkdir()
    with open(large / NOTEBOOK, "wb") as file:
        file.truncate(1 << 30)
    pipe = submissions / "a-pipe"
    pipe.mkdir()
    os.mkfifo(pipe / NOTEBOOK)
    link = submissions / "a-link"
    link.mkdir()
    (link / NOTEBOOK).symlink_to(source_dir / NOTEBOOK)
    (submissions / "linked-folder").symlink_to(submissions / "right")
    archive(submissions / "zipped.zip", {f"work/{NOTEBOOK}": as_bytes(handed_in())})
    wrong = with_own("def square(x):\n    return 0 * x")
    pristine = notebook_bytes(student_copy(toy_source()))
    archive(
        submissions / "whole-folder.zip",
        {f"vi/notebooks/{NOTEBOOK}": pristine, f"vi/work/{NOTEBOOK}": as_bytes(handed_in())},
    )
    # The first release, never answered, beside an update that was: as `course lab` puts it there.
    earlier = toy_source()
    earlier.cells[0].source += "\n# An earlier release."
    earlier = student_copy(earlier)
    archive(
        submissions / "updated.zip",
        {
            f"work/{NOTEBOOK}": as_bytes(earlier),
            f"work/{NOTEBOOK.replace('.ipynb', '.update-0a1b2c3d.ipynb')}": as_bytes(handed_in()),
        },
    )
    (submissions / "Rita Roe_12345_assignsubmission_file_").mkdir()
    archive(submissions / "Rita Roe_12345_assignsubmission_file_" / "homework.zip", {NOTEBOOK: as_bytes(handed_in())})
    archive(
        submissions / "corrected.zip", {NOTEBOOK: wrong, NOTEBOOK.replace(".ipynb", "-2.ipynb"): as_bytes(handed_in())}
    )
    archive(submissions / "zip-in-zip.zip", {"homework.zip": b"whatever"})
    archive(submissions / "two-versions.zip", {f"old/{NOTEBOOK}": wrong, f"work/{NOTEBOOK}": as_bytes(handed_in())})
    archive(submissions / "zip-traversal.zip", {f"../right/{NOTEBOOK}": as_bytes(handed_in())})
    archive(submissions / "zip-bomb.zip", {NOTEBOOK: bytes(300_000_000)})
    (submissions / "zip-of-nothing.zip").write_bytes(b"not a zip archive")
    (submissions / "tar.tar.gz").write_bytes(b"whatever")
    (submissions / "loose.ipynb").write_bytes(as_bytes(handed_in()))
    (submissions / f"lovelaceada_4711_815_{NOTEBOOK}").write_bytes(as_bytes(handed_in()))
    archive(submissions / "hoppergrace_LATE_12_816_work.zip", {NOTEBOOK: as_bytes(handed_in())})
    (submissions / "hoppergrace_12_817_other-1.ipynb").write_bytes(wrong)
    (submissions / f"quin_9_9_{NOTEBOOK}").write_bytes(wrong)
    (submissions / f"quin_9_10_{NOTEBOOK}").write_bytes(as_bytes(handed_in()))
    (submissions / "read me.txt").write_text("Not a student's.")
    (submissions / "other-name").mkdir()
    (submissions / "other-name" / "homework2.ipynb").write_bytes(as_bytes(handed_in()))
    os.environ["COURSE_TEST_SECRET"] = "not for students"
    before = {process.pid for process in psutil.process_iter()}
    grade_class(submissions, grades, seed=SEED, workers=2, limits=LIMITS, source_dir=source_dir, progress=False)
    del os.environ["COURSE_TEST_SECRET"]
    report(grades)
    left = [process for process in psutil.process_iter() if process.pid not in before and is_ours(process)]
    return {"folder": folder, "source_dir": source_dir, "submissions": submissions, "grades": grades, "left": left}


def report(folder):
    """Write tables and pages as ``course gradebook`` does."""
    results = read_results(folder)
    end_round(folder)
    return write_report(folder, results)


def is_ours(process):
    """Whether a process is of this class: everything in its sandboxes knows the seed, wherever it has fled to."""
    try:
        is_worker = process.ppid() == os.getpid() and "course_utils.coursework.grade.worker" in process.cmdline()
        return is_worker or process.environ().get(checks.SEED_VARIABLE) == SEED
    except psutil.Error:
        return False


def public_inputs():
    import numpy as np

    return np.random.default_rng(checks.check_seed(OWN)).normal(size=5)


def archive(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)


def results_in(folder):
    """Return the last result of each student, by name."""
    return {graded.result.student: graded.result for graded in latest(Journal(folder).read())}


def marks_of(result):
    assert not result.failure, result.failure
    return {mark.exercise: mark for mark in result.marks}


def marks(school, student):
    return marks_of(results_in(school["grades"])[student])


@pytest.mark.parametrize("student", CLASS)
def test_everyone_gets_what_they_earned(school, student):
    _, own, reasons = CLASS[student]
    found = marks(school, student)
    assert set(found) == set(POINTS)
    if reasons in ({"unreadable"}, {"missing"}) and own is None:
        assert all(mark.points == 0 and {mark.reason} == reasons for mark in found.values())
        return
    if own is not None:
        assert found[OWN].points == own, found[OWN]
    if reasons:
        assert found[OWN].reason in reasons, found[OWN]
    if own == NOTHING:
        assert not any(check.passed for check in found[OWN].checks)
    others = {name: mark.points for name, mark in found.items() if name != OWN}
    assert others == {name: POINTS[name] for name in others}, found


@pytest.mark.parametrize(
    ("student", "reason"),
    [
        ("a-gigabyte", "unreadable"),
        ("a-pipe", "unreadable"),
        ("a-link", "unreadable"),
        ("linked-folder", "unreadable"),
        ("zip-traversal", "unreadable"),
        ("zip-bomb", "unreadable"),
        ("zip-of-nothing", "unreadable"),
        ("zipped", "right"),
        ("whole-folder", "right"),
        ("two-versions", "right"),
        ("updated", "right"),
        ("corrected", "right"),
        ("Rita Roe_12345", "right"),
        ("zip-in-zip", "missing"),
        ("tar", "unreadable"),
        ("loose", "unreadable"),
        ("lovelaceada_4711", "right"),
        ("hoppergrace_12", "right"),
        ("quin_9", "right"),
        ("other-name", "missing"),
    ],
)
def test_files_that_are_no_plain_files(school, student, reason):
    assert {mark.reason for mark in marks(school, student).values()} == {reason}


def test_how_an_answer_was_found_is_noted(school):
    assert "metadata" in marks(school, "ids-stripped")[OWN].note
    assert "comment" in marks(school, "ids-and-metadata-stripped")[OWN].note
    assert "2 cells" in marks(school, "answer-twice")[OWN].note
    assert "cell of the student's own" in marks(school, "written-elsewhere")[OWN].note
    assert marks(school, "right")[OWN].note == ""


def test_where_an_answer_is_no_python_is_said(school):
    page = (school["grades"] / "feedback" / "syntax-error.html").read_text()
    assert "line 2 of the answer is not valid Python: def square(x:" in page


def test_what_a_check_itself_complains_of_is_said_and_nothing_that_is_like_it(school):
    source = toy_source()
    sentence = "a dictionary is no answer: return the array itself."
    own = next(each for each in source.cells if each.id == f"{OWN}-check")
    own.source += f"\nif False:\n    raise TypeError({sentence!r})"
    given = Given(source)
    todo = plans(read_submitted(as_bytes(handed_in()), given), given, stripped_checks(given))
    (plan,) = [each for each in todo if each.exercise.name == OWN]
    for said, expected in [
        (f"x: Your code raised TypeError: {sentence}", [sentence.rstrip(".")]),
        (f"x: Your code raised TypeError: {sentence} 0.123", []),
    ]:
        assert _complaints_of_check(plan, (said,)) == expected


def test_a_correction_beside_the_first_file_is_graded_by_resume(school, tmp_path):
    few, out = few_of(school, tmp_path / "few", "wrong-sign"), tmp_path / "grades"
    options = {"workers": 1, "limits": LIMITS, "source_dir": school["source_dir"], "progress": False}
    grade_class(few, out, **options)
    (few / "wrong-sign" / NOTEBOOK.replace(".ipynb", " (1).ipynb")).write_bytes(as_bytes(handed_in()))
    grade_class(few, out, resume=True, **options)
    result = results_in(out)["wrong-sign"]
    assert marks_of(result)[OWN].points == FULL and "01_toy (1).ipynb counts" in result.note


def test_what_an_answer_leans_on_is_named(school):
    page = (school["grades"] / "feedback" / "leans-on-the-lecture.html").read_text()
    assert "NameError" in page and "it uses of_the_lecture, which only the lecture" in page


@pytest.fixture(scope="module")
def trusted():
    kernels = find_kernels(None, imports=["numpy"], fill_cache=True)
    yield kernels
    kernels.close()


def test_nobody_grades_with_a_students_copy(tmp_path, trusted):
    write_notebook(student_copy(toy_source()), tmp_path / NOTEBOOK)
    with pytest.raises(NotebookError, match="it is a student's copy"):
        make_key(tmp_path / NOTEBOOK, SEED, trusted)


def test_nothing_is_left_running(school):
    assert not school["left"]


def test_everyone_has_a_row_with_a_reason(school):
    rows = list(csv.DictReader(io.StringIO((school["grades"] / "grades.csv").read_text("utf-8-sig"))))
    students = {path.name for path in school["submissions"].iterdir() if path.is_dir() or path.is_symlink()}
    students ^= {"Rita Roe_12345", "Rita Roe_12345_assignsubmission_file_"}
    students |= {
        "corrected",
        "updated",
        "zip-in-zip",
        "zipped",
        "whole-folder",
        "two-versions",
        "zip-traversal",
        "zip-bomb",
        "zip-of-nothing",
        "tar",
        "loose",
        "lovelaceada_4711",
        "hoppergrace_12",
        "quin_9",
    }
    assert len(rows) == len(students)
    assert all(row["reasons"] for row in rows)


def test_which_of_several_files_counts_is_noted(school):
    by_student = {student: result.note for student, result in results_in(school["grades"]).items()}
    assert f"2 files have its name; work/{NOTEBOOK} counts" in by_student["two-versions"]
    assert by_student["whole-folder"] == by_student["right"] == by_student["updated"] == ""
    assert "2 files have its name; 01_toy-2.ipynb counts" in by_student["corrected"]
    assert "quin_9_10_01_toy.ipynb counts" in by_student["quin_9"]
    assert "there is homework.zip" in by_student["zip-in-zip"]


def test_what_nobody_worked_on_is_not_graded(school, tmp_path):
    """A student who hands in the whole folder hands in all notebooks, most of them as they were given."""
    sources = tmp_path / "notebooks"
    shutil.copytree(school["source_dir"], sources)
    shutil.copyfile(sources / NOTEBOOK, sources / "02_other.ipynb")
    few = few_of(school, tmp_path / "few", "right")
    (few / "right" / "02_other.ipynb").write_bytes(notebook_bytes(student_copy(toy_source())))
    grade_class(few, tmp_path / "grades", limits=LIMITS, source_dir=sources, progress=False)
    assert [result.notebook for result in read_results(tmp_path / "grades")] == [NOTEBOOK]


def test_a_formula_in_a_name_is_text(school):
    for table in school["grades"].glob("*.csv"):
        for row in csv.reader(io.StringIO(table.read_text("utf-8-sig"))):
            assert not any(value.startswith(("=", "+", "-", "@")) for value in row)


def test_feedback_says_nothing_that_a_stranger_wrote(school):
    """Neither the hidden inputs, raised as an error's text, nor markup, nor a terminal's escapes."""
    pages = [path.read_text() for path in (school["grades"] / "feedback").iterdir()]
    assert len(pages) == len(results_in(school["grades"]))
    for page in [*pages, (school["grades"] / "class.html").read_text()]:
        assert "hidden input" not in page and "<script" not in page and "\x1b" not in page
    page = (school["grades"] / "feedback" / "leak.html").read_text()
    assert "ValueError" in page and "KeyError" not in page


def test_a_visible_check_explains_and_a_hidden_one_says_what_its_author_wrote(school):
    by_visible = {check.visible: check for check in marks(school, "wrong-sign")[OWN].checks}
    assert "The sign is turned around." in by_visible[True].hint
    assert by_visible[False].hint == HINT
    pages = {
        student: (school["grades"] / "feedback" / f"{student}.html").read_text()
        for student in ("half-right", "right", "exit")
    }
    assert HINT in pages["half-right"] and HINT not in pages["right"] + pages["exit"]


def test_interrupted_and_resumed_gives_the_same_bytes(school, tmp_path):
    """Cut the journal in the middle of a line, as a SIGKILL may, and go on."""
    few = tmp_path / "few"
    for student in ("right", "wrong-sign", "exit", "stub"):
        shutil.copytree(school["submissions"] / student, few / student)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    options = {"workers": 2, "limits": LIMITS, "source_dir": school["source_dir"], "progress": False}
    grade_class(few, whole, seed=SEED, **options)
    report(whole)
    cut.mkdir()
    content = (whole / JOURNAL).read_bytes()
    (cut / JOURNAL).write_bytes(content[: content.rindex(b"\n", 0, -1) - 100])
    with pytest.raises(NotebookError, match="--resume"):
        grade_class(few, cut, **options)
    grade_class(few, cut, resume=True, **options)
    report(cut)
    names = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.name != JOURNAL)
    assert names == sorted(path.relative_to(cut) for path in cut.rglob("*") if path.is_file() and path.name != JOURNAL)
    assert all((whole / name).read_bytes() == (cut / name).read_bytes() for name in names)


def test_who_handed_in_under_another_name_is_named_to_the_instructor(school):
    page = (school["grades"] / "class.html").read_text()
    assert "there is homework2.ipynb" in page
    assert page.count("a cell of the student") == 5 and f"{OWN}: died" in page and f"{OWN}: missing" in page
    linked = set(re.findall(r'href="(feedback/[^"]+)"', page))
    assert linked == {f"feedback/{path.name}" for path in (school["grades"] / "feedback").iterdir()}


def test_exercises_stay_in_the_order_of_the_notebook(school):
    assert list(marks(school, "right")) == list(RIGHT)


def test_what_was_not_attempted_failed_no_check(school):
    page = (school["grades"] / "feedback" / "stub.html").read_text()
    assert "Not attempted." in page and "failed" not in page


def test_what_is_handed_in_again_or_late_is_graded_by_resume(school, tmp_path):
    few, out = few_of(school, tmp_path / "few", "right", "wrong-sign", "exit"), tmp_path / "grades"
    options = {"workers": 2, "limits": LIMITS, "source_dir": school["source_dir"], "progress": False}
    grade_class(few, out, **options)
    before = results_in(out)
    (few / "wrong-sign" / NOTEBOOK).write_bytes(as_bytes(handed_in()))
    (few / "right" / NOTEBOOK).unlink()
    few_of(school, few, "half-right")
    assert len(grade_class(few, out, resume=True, **options)) == 1 + 3 + 2
    shutil.rmtree(few / "exit")
    (few / "exit.zip").write_bytes(b"not a zip archive")
    entries = grade_class(few, out, resume=True, **options)
    after = results_in(out)
    assert marks_of(after["wrong-sign"])[OWN].points == FULL
    assert marks_of(after["half-right"])[OWN].points == 2
    assert after["right"] == before["right"]
    assert {mark.reason for mark in after["exit"].marks} == {"unreadable"}
    assert len(grade_class(few, out, resume=True, **options)) == len(entries) == 1 + 3 + 2 + 1


def test_after_feedback_a_new_round_has_a_seed_of_its_own(school, tmp_path):
    """What a page of feedback shows is worth nothing in the next round: copied numbers are wrong there."""
    few, out = few_of(school, tmp_path / "few", "right", "wrong-sign"), tmp_path / "grades"
    options = {"workers": 2, "limits": LIMITS, "source_dir": school["source_dir"], "progress": False}
    grade_class(few, out, **options)
    report(out)
    (first,) = [entry for entry in Journal(out).read() if isinstance(entry, Round)]
    shown = [check.values.flat for each in first.keys[0].exercises if each.name == OWN for check in each.checks]
    copied = "VALUES = iter(%r)\ndef square(x):\n    return np.array(next(VALUES))" % [list(flat) for flat in shown]
    (few / "wrong-sign" / NOTEBOOK).write_bytes(with_own(copied))
    grade_class(few, out, resume=True, **options)
    rounds = [entry for entry in Journal(out).read() if isinstance(entry, Round)]
    assert [each.number for each in rounds] == [1, 2] and rounds[0].seed != rounds[1].seed
    assert marks_of(results_in(out)["wrong-sign"])[OWN].points == 0
    assert marks_of(results_in(out)["right"])[OWN].points == FULL


def test_who_has_left_is_in_no_table(school, tmp_path):
    shutil.copy(school["grades"] / JOURNAL, tmp_path)
    report(tmp_path)
    before = {path.name for path in tmp_path.rglob("*")}
    with pytest.raises(NotebookError, match="no result of 'nobody': nothing was changed"):
        leave_out(tmp_path, ["right", "nobody"])
    leave_out(tmp_path, ["right", "stub"])
    report(tmp_path)
    after = {path.name for path in tmp_path.rglob("*")}
    assert before - after == {"right.html", "right.json", "stub.html", "stub.json"}
    rows = {row["student"] for row in csv.DictReader(io.StringIO((tmp_path / "grades.csv").read_text("utf-8-sig")))}
    assert "right" not in rows and "half-right" in rows


def test_canvas_gets_the_points_that_are_possible(school):
    rows = list(csv.reader(io.StringIO((school["grades"] / "canvas.csv").read_text("utf-8-sig"))))
    assert rows[1][0].strip() == "Points Possible" and rows[1][5:] == ["7"]
    by_student = {row[0]: row[1:] for row in rows}
    assert by_student["lovelaceada_4711"] == ["4711", "", "", "", "7"]
    assert by_student["right"] == ["", "", "right", "", "7"]


def few_of(school, folder, *students):
    for student in students:
        shutil.copytree(school["submissions"] / student, folder / student)
    return folder


def test_serial_parallel_and_dask_give_the_same_bytes_though_workers_are_killed(school, tmp_path, monkeypatch):
    few = few_of(school, tmp_path / "few", "right", "half-right", "stub", "exit", "truncated")
    options = {"seed": SEED, "limits": LIMITS, "source_dir": school["source_dir"], "progress": False}
    grade_class(few, tmp_path / "serial", workers=1, **options)
    asked, ask = [], Workers.ask

    def kill_after_asking(workers, job, seconds):
        asked.append(job)
        if len(asked) in (1, 3):
            threading.Timer(0.7, lambda: [worker.kill() for worker in workers._processes]).start()
        return ask(workers, job, seconds)

    monkeypatch.setattr(Workers, "ask", kill_after_asking)
    grade_class(few, tmp_path / "parallel", workers=2, **options)
    assert len(asked) > 5
    with dask_cluster(tmp_path) as (address, nannies):
        threading.Timer(4.0, lambda: [child.kill() for child in psutil.Process(nannies[0]).children()]).start()
        grade_class(few, tmp_path / "dask", dask=address, **options)
    names = {}
    for folder in ("serial", "parallel", "dask"):
        report(tmp_path / folder)
        files = {
            path.relative_to(tmp_path / folder): path.read_bytes()
            for path in (tmp_path / folder).rglob("*")
            if path.is_file()
        }
        names[folder] = {name: content for name, content in files.items() if name.name != JOURNAL}
    assert names["serial"] == names["parallel"] == names["dask"]


def test_whoever_takes_workers_down_again_and_again_has_no_points_and_nobody_else_loses_any(
    school, tmp_path, monkeypatch
):
    few = few_of(school, tmp_path / "few", "right", "half-right")
    options = {"limits": LIMITS, "source_dir": school["source_dir"], "progress": False, "workers": 1}
    ask = Workers.ask

    def lose(workers, job, seconds):
        return None if b'"submitted"' in job and b"if len(x) == 5" in job else ask(workers, job, seconds)

    monkeypatch.setattr(Workers, "ask", lose)
    grade_class(few, tmp_path / "grades", **options)
    first = results_in(tmp_path / "grades")
    grade_class(few, tmp_path / "grades", resume=True, **options)
    again = results_in(tmp_path / "grades")
    assert first["half-right"].failure and first["half-right"].points is None
    assert not again["half-right"].failure and again["half-right"].points == 0
    assert {mark.reason for mark in again["half-right"].marks} == {Reason.DIED}
    assert first["right"] == again["right"] and again["right"].points == 7


@pytest.mark.parametrize(
    ("line", "points"),
    [(None, [None, 0, 0]), (msgspec.json.encode(Answer(failure="no more files can be opened")), [None, None, None])],
    ids=["the worker was lost", "the machine failed"],
)
@pytest.mark.parametrize("reason", [Reason.UNREADABLE, Reason.DIED], ids=["opening", "grading"])
def test_what_cannot_be_opened_or_graded_is_first_the_machine_s_fault(tmp_path, line, points, reason):
    exercise = ExpectedExercise(OWN, "Own", 4, ())
    answer_key = AnswerKey(NOTEBOOK, "", SEED, (exercise,))
    write_notebook(toy_source(), tmp_path / NOTEBOOK)
    common = batch._Common({NOTEBOOK: tmp_path / NOTEBOOK}, {NOTEBOOK: answer_key}, LIMITS, True, None)
    graders, bars = Graders(1, lambda job, seconds: line, lambda: None), batch._Bars(False)
    results = [None]
    for _ in points:
        opened = [batch.Submission(Place("ada", ()), NOTEBOOK, OpenedFile(Submitted(()), "digest"), ())]
        if reason == Reason.UNREADABLE:
            opened = batch._open_all((Place("ada", ()),), [tmp_path / NOTEBOOK], graders, bars)
        done = {("ada", NOTEBOOK): results[-1]} if results[-1] else {}
        assert batch._is_new(opened[0], done)
        results += batch._grade_all(opened, done, common, graders, bars)
    assert [result.points for result in results[1:]] == points
    assert all(bool(result.failure) != bool(result.marks) for result in results[1:])
    assert {mark.reason for result in results[1:] for mark in result.marks} <= {reason}


def test_a_worker_that_opens_a_file_has_a_limit_of_processor_time(monkeypatch):
    class OverError(Exception):
        pass

    def end(*_):
        raise OverError

    monkeypatch.setattr(worker, "SECONDS_TO_OPEN", 0.2)
    monkeypatch.setattr(worker, "open_place", lambda *_: [None for _ in iter(int, 1)])
    before = signal.signal(signal.SIGPROF, end)
    try:
        with pytest.raises(OverError):
            Workshop().do(OpenJob(Place("ada", ()), ()))
        assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    finally:
        signal.signal(signal.SIGPROF, before)


def test_the_clock_of_whoever_opens_a_file_stands_while_the_machine_is_busy_with_others():
    program = (
        "import time; from course_utils.coursework.run.limits import processor_time\n"
        "with processor_time(0.3):\n    {}\nlast = time.process_time()\nwhile time.process_time() < last + 0.4: pass"
    )
    endless = [sys.executable, "-c", program.format("sum(iter(int, 1))")]
    waiting = [sys.executable, "-c", program.format("time.sleep(0.5)")]
    assert subprocess.run(endless, check=False).returncode == -signal.SIGPROF
    assert subprocess.run(waiting, check=False).returncode == 0


@contextlib.contextmanager
def dask_cluster(folder):
    """A scheduler and two workers of one thread each, in processes of their own as on other machines."""
    address_file = folder / "scheduler.json"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    run = functools.partial(
        subprocess.Popen,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    dask = [sys.executable, "-m", "dask"]
    here = ["--host", "127.0.0.1", "--scheduler-file", address_file]
    processes = [run([*dask, "scheduler", "--port", "0", "--no-dashboard", *here])]
    try:
        for _ in range(2):
            processes.append(
                run([*dask, "worker", "--nthreads", "1", "--no-dashboard", "--scheduler-file", address_file])
            )
        with Client(scheduler_file=str(address_file), timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
            yield client.scheduler.address, [process.pid for process in processes[1:]]
    finally:
        for process in processes[::-1]:
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                    each.kill()
            process.wait()


@pytest.mark.parametrize("address", ["nonsense", "tcp://127.0.0.1:1", "tcp://no-such-machine.invalid:8786"])
def test_a_cluster_that_is_not_there_is_a_sentence(address):
    with pytest.raises(NotebookError, match="No Dask scheduler answers"), cluster.connected(address):
        pass


def test_a_worker_with_other_code_or_another_notebook_gives_no_marks(school, tmp_path, trusted):
    source = school["source_dir"] / NOTEBOOK
    answer_key = make_key(source, SEED, trusted)
    given = Given(read_notebook(source))
    job = GradeJob(str(source), read_submitted(as_bytes(handed_in()), given), answer_key, LIMITS, code_digest())
    workshop = Workshop()
    other_code = workshop.do(msgspec.structs.replace(job, code="other"))
    other_key = workshop.do(msgspec.structs.replace(job, key=msgspec.structs.replace(answer_key, source="other")))
    assert "another version of the course" in other_code.refusal and not other_code.marks
    assert "another version of 01_toy.ipynb" in other_key.refusal and not other_key.marks


def run_alone(source, limits):
    """Run one code cell in a room of its own."""
    kernels = find_kernels(ISOLATION, imports=[])
    try:
        program = Program("alone", (Step("only", source, author="student"),))
        return run([program], SEED, limits, kernels)["alone"]
    finally:
        kernels.close()


ALONE = """
from course_utils.coursework.run.limits import Limits
from tests.test_grading import run_alone

run_alone({!r}, {!r})
"""


@pytest.mark.parametrize("channel", ["shell", "iopub"])
def test_whatever_a_kernel_sends_its_time_and_its_output_are_limited(channel):
    """Messages that nobody asked for, signed one by one since a repeated one is refused, faster than they are read."""
    flood = f"""
import hashlib, hmac, itertools, zmq
kernel = get_ipython().kernel
key = kernel.session.key
stream = kernel.shell_stream.socket
socket = {{"shell": getattr(stream, "_shadow_sock", stream), "iopub": kernel.iopub_thread.socket}}["{channel}"]
socket = zmq.Socket.shadow(socket.underlying)
first = kernel._parent_ident["shell"] if "{channel}" == "shell" else [b"stream"]
first, sign = [bytes(part) for part in first], hmac.new(key, digestmod=hashlib.sha256)
header = b'{{"msg_id": "x", "msg_type": "stream", "username": "", "session": "", "version": "5.3"}}'
for number in itertools.count():
    parts = [header, b"{{}}", b'{{"a": %d}}' % number, b"{{}}"]
    signed = sign.copy()
    signed.update(b"".join(parts))
    socket.send_multipart([*first, b"<IDS|MSG>", signed.hexdigest().encode(), *parts])
"""
    outcome = run_alone(flood, Limits(seconds_per_cell=3))
    assert outcome.ended in {Ended.TIMEOUT, Ended.OUTPUT_LIMIT}, outcome


def test_a_message_of_many_parts_does_not_fill_the_memory_of_whoever_hears_it(monkeypatch):
    monkeypatch.setattr(run_kernels, "MAX_BYTES_RECEIVED", 100_000_000)
    flood = (
        "import time, zmq\nsock = zmq.Socket.shadow(get_ipython().kernel.iopub_thread.socket.underlying)\n"
        "part = b'x' * 2_000_000\nfor _ in range(200):\n    sock.send(part, zmq.SNDMORE, copy=False)\n"
        "sock.send(b'end')\ntime.sleep(1000)"
    )
    assert run_alone(flood, Limits(seconds_per_cell=30)).ended == Ended.OUTPUT_LIMIT


def test_what_one_exercise_leaves_in_folders_is_not_there_for_another():
    """Neither for good, where a kernel would begin with it, nor for bad, where a cell makes a folder."""
    course = Step("setup", "import os\nassert not os.path.exists('mine')")
    own = Step(
        "own",
        "import os\nfolder = os.path.expanduser('~/.ipython/profile_default/startup')\nos.makedirs(folder, exist_ok=True)\n"
        "open(f'{folder}/0.py', 'w').write('import os\\nos._exit(1)')\nos.mkdir('mine')",
        author="student",
    )
    kernels = find_kernels(ISOLATION)
    try:
        outcomes = run([Program(name, (course, own)) for name in ("one", "two")], SEED, LIMITS, kernels)
    finally:
        kernels.close()
    assert all(outcome.ended == Ended.FINISHED and not outcome.errors for outcome in outcomes.values()), outcomes


def test_processes_of_one_stranger_take_none_away_from_another():
    """The limit is for all processes of a user, so that neighbours must not be one."""
    spawn = "import subprocess, time\ntime.sleep({})\nmany = [subprocess.Popen(['sleep', '60']) for _ in range({})]\ntime.sleep({})"
    limits = Limits(processes=100)
    # In a process of its own: runs of one process take turns.
    command = [sys.executable, "-c", ALONE.format(spawn.format(5, 60, 12), limits)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}) as greedy:
        modest = run_alone(spawn.format(9, 40, 0), limits)
    assert greedy.returncode == 0
    assert modest.ended == Ended.FINISHED and not modest.errors, modest
    assert run_alone(spawn.format(0, 40, 0), Limits(processes=45)).errors


def test_processor_time_is_shared_out_by_room_and_not_by_process():
    """Where it cannot be, what was graded is stamped with a sentence that says so."""
    spin = "import os, time\nend = time.monotonic() + 40\nfor _ in range(6):\n    os.fork()\nwhile time.monotonic() < end:\n    pass"
    work = "import time\ntime.sleep(5)\nwhile time.process_time() < 5:\n    pass"
    command = [sys.executable, "-c", ALONE.format(spin, Limits(seconds_per_cell=30))]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}) as greedy:
        outcome = run_alone(work, Limits(seconds_per_cell=12))
        greedy.terminate()
    assert outcome.ended == Ended.FINISHED or "processors" in " ".join(ISOLATION.missing)


def test_pictures_may_be_large_and_what_is_larger_than_allowed_is_told_as_output():
    draw = "from IPython.display import Image, display\ndisplay(Image(b'\\x89PNG\\r\\n\\x1a\\n' + bytes({})))"
    assert run_alone(draw.format(5_000_000), Limits()) == Outcome()
    assert run_alone(draw.format(30_000_000), Limits()).ended == Ended.OUTPUT_LIMIT


def test_what_a_check_has_said_stands_when_the_next_one_ends_the_process():
    own = Step("own", "value = 2.0", author="student")
    check = Step(
        "check",
        "import os, time\nfrom course_utils.coursework.checks import check\ncheck('two', lambda: value)\ntime.sleep(1)\nos._exit(1)",
    )
    kernels = find_kernels(ISOLATION)
    try:
        outcome = run([Program("one", (own, check))], SEED, LIMITS, kernels)["one"]
    finally:
        kernels.close()
    assert outcome.ended == Ended.DIED
    assert [record.name for record in outcome.records["check"]] == ["two"]


def test_exit_is_left_out_where_it_stands_in_a_cell_of_ones_own():
    """The kernel lives on for a moment, so that the cell below would be blamed."""
    steps = (
        Step("away", "exit()", author="student", is_needed=False),
        Step("own", "value = 2.0", author="student"),
        Step("check", "assert value == 2.0"),
    )
    kernels = find_kernels(ISOLATION, imports=[])
    try:
        outcome = run([Program("one", steps)], SEED, LIMITS, kernels)["one"]
    finally:
        kernels.close()
    assert outcome.ended == Ended.FINISHED
    assert outcome.left_out == {"away": Ended.DIED}
    assert not outcome.errors


def test_the_time_for_a_notebook_is_bounded_by_its_exercises(school, trusted):
    """Each exercise has one turn, since what ends it is its own."""
    source = school["source_dir"] / NOTEBOOK
    given = Given(read_notebook(source))
    submitted = read_submitted(as_bytes(handed_in(dict.fromkeys(RIGHT, "while True:\n    pass"))), given)
    programs = [plan.program for plan in plans(submitted, given, stripped_checks(given))]
    counted = []
    outcomes = run(programs, SEED, Limits(seconds_per_cell=2), trusted, progress=counted.append)
    assert {outcome.ended for outcome in outcomes.values()} == {Ended.TIMEOUT}
    assert counted == list(RIGHT)


def test_a_cell_that_hangs_is_left_out_in_front_of_others_and_what_it_took_down_is_run_again(school, trusted):
    notebook = json.loads(as_bytes(handed_in()))
    hanging = {"cell_type": "code", "id": "mine", "metadata": {}, "outputs": [], "execution_count": None}
    notebook["cells"].insert(1, hanging | {"source": "import time\ntime.sleep(1000)"})
    given = Given(read_notebook(school["source_dir"] / NOTEBOOK))
    submitted = read_submitted(json.dumps(notebook).encode(), given)
    programs = [plan.program for plan in plans(submitted, given, stripped_checks(given))]
    counted = []
    outcomes = run(programs, SEED, Limits(seconds_per_cell=2), trusted, progress=counted.append)
    assert all(outcome.ended == Ended.FINISHED and len(outcome.left_out) == 1 for outcome in outcomes.values())
    assert counted == [*RIGHT, next(iter(RIGHT))]


def test_many_cells_that_end_their_process_are_all_left_out(trusted):
    ends = [Step(f"ends-{i}", "import os\nos._exit(0)", author="student", is_needed=False) for i in range(7)]
    outcome = run([Program("one", (*ends, Step("check", "1 + 1")))], SEED, LIMITS, trusted)["one"]
    assert outcome.ended == Ended.FINISHED and len(outcome.left_out) == len(ends)


def test_whoever_has_used_up_the_time_of_all_exercises_is_not_run_again(trusted, monkeypatch):
    """Each round finds another cell to leave out, and whoever waits for the marks would give up on the student."""
    monkeypatch.setattr(runner, "EXERCISE_FACTOR", 1)
    slow = [Step(f"slow-{i}", "import time\ntime.sleep(1000)", author="student", is_needed=False) for i in range(3)]
    counted = []
    outcomes = run([Program("one", tuple(slow))], SEED, Limits(seconds_per_cell=1), trusted, progress=counted.append)
    assert counted == ["one"] and outcomes["one"].ended == Ended.TIMEOUT


def test_nothing_compiled_of_a_solution_is_where_a_stranger_can_read(tmp_path, trusted):
    """Neither of functions that it names nor of those without a name."""
    source = toy_source()
    own = next(each for each in source.cells if each.id == f"{OWN}-answer")
    own.source = own.source.replace(
        "    return x * x",
        "    import jax\n    def mine(y): return y * y\n    jax.lax.scan(lambda c, y: (c + y, y), 0.0, x)\n"
        "    jax.jit(lambda y: y + 0.25)(x)\n    jax.lax.fori_loop(0, 3, lambda i, y: y + i, 0.0)\n    return jax.jit(mine)(x) + 0 * jax.numpy.sin(x)",
    )
    for each in source.cells:
        each.source = each.source.replace("rtol=1e-06", "rtol=1e-05")
    write_notebook(source, tmp_path / NOTEBOOK)
    cache = tmp_path / "cache"
    cache.mkdir()
    names = []
    forget = key.forget_answers

    def watched(folder, source):
        names.append({path.name.split("-")[0] for path in folder.iterdir()})
        forget(folder, source)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key, "forget_answers", watched)
        make_key(tmp_path / NOTEBOOK, SEED, trusted, cache)
    left = {path.name.split("-")[0] for path in cache.iterdir()}
    assert {"jit_mine", "jit__lambda", "jit_scan", "jit_sin"} <= names[0]
    assert "jit_sin" in left and not left & {"jit_mine", "jit__lambda", "jit_scan", "jit_while"}


def test_two_batches_do_not_write_into_one_folder(school, tmp_path):
    with batch._alone_in(tmp_path), pytest.raises(NotebookError, match="Another batch is at work"):
        grade_class(school["submissions"], tmp_path, source_dir=school["source_dir"])


def test_grades_overwrite_nothing_and_are_nobodys_submission(school, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "grades.csv").write_text("of last year")
    with pytest.raises(NotebookError, match="holds other files"):
        grade_class(school["submissions"], tmp_path / "mine", source_dir=school["source_dir"])
    assert (tmp_path / "mine" / "grades.csv").read_text("utf-8-sig") == "of last year"
    for out in (school["submissions"], school["submissions"] / "grades"):
        with pytest.raises(NotebookError, match="is in the folder of submissions"):
            grade_class(school["submissions"], out, source_dir=school["source_dir"])
    assert not (school["submissions"] / "grades").exists()


@pytest.mark.parametrize("other", [{"seed": "another"}, {"notebooks": ["02_other"]}], ids=["seed", "notebook"])
def test_a_batch_that_goes_on_keeps_its_seed_and_its_notebooks(school, tmp_path, other):
    few, out = few_of(school, tmp_path / "few", "right"), tmp_path / "grades"
    options = {"workers": 1, "limits": LIMITS, "source_dir": school["source_dir"], "progress": False}
    grade_class(few, out, **options)
    shutil.copyfile(school["source_dir"] / NOTEBOOK, tmp_path / "02_other.ipynb")
    shutil.copyfile(school["source_dir"] / NOTEBOOK, tmp_path / NOTEBOOK)
    with pytest.raises(NotebookError, match="leave out --seed and --notebook"):
        grade_class(few, out, resume=True, **(options | {"source_dir": tmp_path}), **other)


def test_grades_that_cannot_be_written_are_a_sentence(school, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotebookError, match="cannot be written to"):
        grade_class(school["submissions"], tmp_path / "file", source_dir=school["source_dir"])
    with pytest.raises(NotebookError, match="no notebook nonsense"):
        grade_class(school["submissions"], tmp_path / "new", notebooks=["nonsense"], source_dir=school["source_dir"])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_whoever_is_interrupted_does_not_wait_for_those_under_way():
    stopped = threading.Event()

    def ask(student):
        if "slow" in student:
            assert stopped.wait(60)
        return student

    graders = Graders(2, lambda job, seconds: None, stopped.set)
    with contextlib.closing(batch._all_at_once(ask, ["slow", "quick", "slower"], graders)) as done:
        assert next(done) == "quick"
    assert stopped.is_set()


def test_a_pool_that_is_closed_starts_no_worker():
    workers = Workers({})
    workers.close()
    assert workers.ask(b"{}", 1.0) is None and not workers._processes


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_a_batch_ends_what_it_has_started(school, tmp_path, end):
    few = tmp_path / "few"
    (few / "slow").mkdir(parents=True)
    (few / "slow" / NOTEBOOK).write_bytes(with_own("import time\ntime.sleep(1000)"))
    code = (
        "import sys; from pathlib import Path; from course_utils.coursework.grade.batch import grade_class;"
        "from course_utils.coursework.run.limits import Limits;"
        "grade_class(*map(Path, sys.argv[1:3]), source_dir=Path(sys.argv[3]), progress=False, limits=Limits(seconds_per_cell=500))"
    )
    command = [sys.executable, "-c", code, few, tmp_path / "grades", school["source_dir"]]
    started = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])})
    wait_until(
        lambda: any(
            "kernel-" in " ".join(p.cmdline()) or "parent" in " ".join(p.cmdline()) for p in family(started.pid)
        )
    )
    wait_until(lambda: (tmp_path / "grades" / JOURNAL).exists())
    time.sleep(2)
    below = family(started.pid)
    assert below
    started.send_signal(end)
    started.wait(30)
    wait_until(lambda: not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in below))
    wait_until(lambda: not (tmp_path / "grades" / batch.COMPILED).exists())


AS_ORDINARY_USER = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
if os.geteuid() == 0:
    from tests.test_isolation import become_ordinary
    become_ordinary()
from tests.test_grading import LIMITS, SEED, report
from course_utils.coursework.grade.batch import grade_class
folder = Path(sys.argv[1])
grade_class(folder / "few", folder / "grades", seed=SEED, limits=LIMITS, source_dir=folder / "notebooks", progress=False)
report(folder / "grades")
"""


def test_an_ordinary_user_gives_the_same_marks(school):
    """Who grades need not be root, and what root is protected from an ordinary user is, too."""
    root = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory(prefix="ordinary-") as name:
        folder = Path(name)
        few_of(school, folder / "few", "right", "half-right", "exit", "memory-bomb", "spy", "truncated")
        shutil.copytree(school["source_dir"], folder / "notebooks")
        (folder / "grade.py").write_text(AS_ORDINARY_USER)
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
            if os.geteuid() == 0:
                os.chown(path, ORDINARY_USER, ORDINARY_USER)
        command = [sys.executable, folder / "grade.py", folder, root]
        finished = subprocess.run(command, capture_output=True, text=True, cwd="/")
        assert finished.returncode == 0, finished.stderr[-2000:]
        found = results_in(folder / "grades")
        assert (folder / "grades" / JOURNAL).stat().st_uid != 0 or os.geteuid() != 0
    assert len(found) == 6
    for student, result in found.items():
        _, own, reasons = CLASS[student]
        mark = marks_of(result)[OWN]
        assert mark.reason in reasons and mark.points == (own or 0), mark


def family(pid):
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(psutil.Error):
            if condition():
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_failing_machine_is_never_a_score(school, tmp_path, monkeypatch):
    few = tmp_path / "few"
    shutil.copytree(school["submissions"] / "right", few / "right")
    ask = Workers.ask

    def fail(workers, job, seconds):
        return msgspec.json.encode(Answer(failure="no kernel")) if b'"grade"' in job else ask(workers, job, seconds)

    monkeypatch.setattr(Workers, "ask", fail)
    out = tmp_path / "grades"
    grade_class(few, out, seed=SEED, workers=1, limits=LIMITS, source_dir=school["source_dir"], progress=False)
    report(out)
    (row,) = csv.DictReader(io.StringIO((out / "grades.csv").read_text("utf-8-sig")))
    assert row["points"] == "" and "human" in row["reasons"]


def test_without_a_sandbox_nothing_is_graded(school, tmp_path, monkeypatch):
    monkeypatch.setattr(isolation.shutil, "which", lambda name: None)
    with pytest.raises(SandboxError, match="bubblewrap"):
        grade_class(school["submissions"], tmp_path, source_dir=school["source_dir"])


def test_unsafe_is_stamped_on_every_result(school, tmp_path):
    few = tmp_path / "few"
    shutil.copytree(school["submissions"] / "right", few / "right")
    out = tmp_path / "grades"
    grade_class(few, out, unsafe=True, workers=1, limits=LIMITS, source_dir=school["source_dir"], progress=False)
    report(out)
    (row,) = csv.DictReader(io.StringIO((out / "grades.csv").read_text("utf-8-sig")))
    assert row["stamp"].startswith("unsafe") and row["points"] == "7"
    assert "without a sandbox" in (out / "feedback" / "right.html").read_text()


def test_no_truth_is_computed_where_strangers_run():
    source = next(c.source for c in toy_source().cells if c.id == f"{OWN}-check")
    left = without_truth(source, "x")
    assert "truth" not in left and "np.power" not in left and "sign" not in left and HINT not in left
    assert "hidden = 3 + inputs[:4]" in left and left.count("check(") == 2


@pytest.mark.parametrize(
    ("source", "kept", "gone"),
    [
        ("a = draw()\na[0] = 1\nb = 2 * a\ncheck('x', lambda: f(a), truth=b)", "a[0] = 1", "b = 2"),
        ("a = 1\na += 1\nb = a\nb += 1\ncheck('x', lambda: f(a), b)", "a += 1", "b += 1"),
        ("rng.shuffle(a)\ncheck('x', lambda: f(a))", "rng.shuffle(a)", "truth"),
        (
            "def g(x):\n    return h(x)\ndef h(x):\n    return x\nt = h(1)\ncheck('x', lambda: g(f), truth=t)",
            "def h",
            "t = h",
        ),
        (
            "import math\nfor i in range(3):\n    a = i\ncheck('x', lambda: f(a), mistakes={'m': math.pi})",
            "for i",
            "math",
        ),
    ],
    ids=["item", "augmented", "method", "helper", "loop"],
)
def test_only_what_the_checks_need_is_left(source, kept, gone):
    left = without_truth(source, "x")
    assert kept in left and gone not in left


def test_the_student_copy_of_the_source_is_marked(school):
    copy = student_copy(read_notebook(school["source_dir"] / NOTEBOOK))
    answers = [c.source for c in copy.cells if c.id.endswith("-answer")]
    assert all(source.startswith("# The answer to ex-") for source in answers)

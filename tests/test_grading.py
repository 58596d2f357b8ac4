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
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import nbformat
import psutil
import pytest
from distributed import Client

from course_utils.coursework import batch, checks, cluster, grading, sandbox
from course_utils.coursework.answers import read_answers
from course_utils.coursework.batch import Journal, grade_class, results
from course_utils.coursework.gradebook import write_gradebook
from course_utils.coursework.grading_copy import without_truth
from course_utils.coursework.notebooks import NotebookError, exercises, notebook_bytes, read_notebook, student_copy, write_notebook
from course_utils.coursework.sandbox import Limits, SandboxError, find_sandbox
from course_utils.coursework.submissions import Submission
from course_utils.coursework.worker import Graders, Workers, grade_job, make_job

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

try:
    SANDBOX = find_sandbox()
except SandboxError as error:
    # A system that forbids namespaces cannot be mended from here; a program that is missing can.
    if "CI" in os.environ and not shutil.which("bwrap"):
        raise
    pytest.skip(str(error), allow_module_level=True)


def cell(kind, source, identity, **metadata):
    made = getattr(nbformat.v4, f"new_{kind}_cell")(source, metadata=metadata)
    made.id = identity
    return made


def nbgrader(name, points=None):
    role = {"grade_id": name, "grade": points is not None, "solution": points is None, "locked": points is not None}
    return role | {"schema_version": 3, "task": False} | ({"points": points} if points is not None else {})


def toy_source():
    cells = [cell("code", "import numpy as np\nfrom course_utils.coursework.checks import check, check_seed", "setup", tags=["setup"])]
    cells.append(cell("code", "from itertools import starmap\nof_the_lecture = 1\ndef lecture_product(a, b):\n    return a * b", "lecture"))
    truths = {"ex-double": "inputs + inputs", "ex-square": "np.power(inputs, 2)", "ex-total": "inputs.mean() * 5"}
    for name, solution in RIGHT.items():
        head, body = solution.split("\n")
        function = head[4:].split("(")[0]
        cells += [
            cell("markdown", f"### Exercise · {name}", name),
            cell("code", f"{head}\n    ### BEGIN SOLUTION\n{body}\n    ### END SOLUTION", f"{name}-answer", nbgrader=nbgrader(f"{name}-answer")),
            cell(
                "code",
                f"inputs = np.random.default_rng(check_seed({name!r})).normal(size=5)\ntruth = {truths[name]}\n"
                f"check('{function} of five numbers', lambda: {function}(inputs), truth=truth,\n"
                "      mistakes={'The sign is turned around.': -truth})\n### BEGIN HIDDEN TESTS\nhidden = 3 + inputs[:4]\n"
                f"check('{function} of four other numbers', lambda: {function}(hidden), hint='{HINT}')\n### END HIDDEN TESTS",
                f"{name}-check",
                nbgrader=nbgrader(f"{name}-check", POINTS[name]),
                tags=["rtol=1e-6"] if name == OWN else [],
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
    added = [dict(own, id=f"mine-{number}", metadata={}, source=f"def square(x):\n    return {number} * x * x") for number in (0, 1)]
    own["source"] = stub["source"]
    place = cells.index(own) + 1
    return [*cells[:place], *added, *cells[place:]]


def all_marks_lost(cells):
    without_ids(cells)
    for each in cells:
        each["source"] = "\n".join(line for line in "".join(each["source"]).split("\n") if not line.startswith("# The answer to"))


def changed_setup(cells):
    cells[0]["source"] += "\nimport operator\nTWO = 2"
    only_own(cells)[0]["source"] = "def square(x):\n    return operator.pow(x, TWO)"


def second_try(cells):
    """A wrong attempt in the answer's own cell, a right one below it, and an experiment below the check."""
    (own,) = only_own(cells)
    own["source"] = "def square(x):\n    return -x"
    right, experiment = (dict(own, id=f"mine-{number}", metadata={}, source=f"def square(x):\n    return {number} * x * x") for number in (1, 7))
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
            old.append({"cell_type": "code", "input": each["source"], "metadata": each["metadata"], "outputs": [], "language": "python"})
    return json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": old}]}).encode()


FORGED = """
from IPython.display import display
from course_utils.coursework import checks
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
    "within-the-tolerance": (as_bytes(handed_in(RIGHT | {"ex-double": "def double(x):\n    return 2.0002 * x"})), FULL, {"right"}),
    "with-a-warning": (with_own("import warnings\ndef square(x):\n    warnings.warn('old')\n    return x * x"), FULL, {"right"}),
    "with-prints": (with_own("def square(x):\n    print('x is', x)\n    return x * x\nprint(square(2))"), FULL, {"right"}),
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
    "lone-surrogate": (with_own("# X\ndef square(x):\n    return x * x").replace(b"# X", b"# \\ud800"), FULL, {"right"}),
    "not-handed-in": (None, None, {"missing"}),
    "odd-types": (
        as_json(lambda cells: [dict(c, id=["x"], metadata={"nbgrader": {"grade_id": {}}}) for c in cells] + [None, {"cell_type": "code", "source": 7, "id": 1e9}]),
        FULL,
        {"right"},
    ),
    # What students do to the names of the course, and mean no harm.
    "names-of-the-setup": (
        as_bytes(handed_in({"ex-double": "import jax.numpy as np\ninputs = hidden = check = check_seed = 0\ndef double(x):\n    return np.add(x, x)",
                            OWN: "def square(x):\n    return x * x", "ex-total": "def total(x):\n    return sum(x)"})),
        FULL,
        {"right"},
    ),
    "double-precision": (
        as_bytes(handed_in(RIGHT | {"ex-double": "import jax\njax.config.update('jax_enable_x64', True)\ndef double(x):\n    return 2 * x"})),
        FULL,
        {"right"},
    ),
    "all-marks-lost": (as_json(all_marks_lost), FULL, {"right"}),
    "import-in-the-setup": (as_json(changed_setup), FULL, {"right"}),
    "import-of-the-lecture": (with_own("def square(x):\n    return list(starmap(lecture_product, zip(x, x)))"), FULL, {"right"}),
    # Answers that do harm, to themselves alone.
    "stub": (as_bytes(handed_in({k: v for k, v in RIGHT.items() if k != OWN})), NOTHING, {"not attempted"}),
    "wrong-sign": (with_own("def square(x):\n    return -x * x"), NOTHING, {"wrong"}),
    "half-right": (with_own("def square(x):\n    return x * x if len(x) == 5 else 0 * x"), 2, {"wrong"}),
    "syntax-error": (with_own("def square(x:\n"), NOTHING, {"error"}),
    "leans-on-the-lecture": (with_own("def square(x):\n    return of_the_lecture * x * x"), NOTHING, {"error"}),
    "infinite-loop": (with_own("while True:\n    pass"), NOTHING, {"timeout"}),
    "loop-swallows-interrupts": (
        with_own("import time\nwhile True:\n    try:\n        print('.')\n        time.sleep(0.01)\n    except BaseException:\n        pass"),
        NOTHING,
        {"timeout", "output limit"},
    ),
    "output-flood": (with_own("while True:\n    print('x' * 10_000)"), NOTHING, {"output limit", "memory"}),
    "exit": (with_own("import os\nos._exit(0)"), NOTHING, {"died"}),
    "exit-between": (
        as_bytes(
            handed_in(
                {"ex-double": "def times(a, b):\n    return a * b\ndef double(x):\n    return times(2, x)", OWN: "import os\nos._exit(0)",
                 "ex-total": "def total(x):\n    return np.sum(times(1, x))"}
            )
        ),
        NOTHING,
        {"died"},
    ),
    "segfault": (with_own("import ctypes\nctypes.string_at(0)"), NOTHING, {"died"}),
    "stopped": (with_own("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"), NOTHING, {"timeout"}),
    "kill-everything": (with_own("import os\nos.kill(-1, 9)"), NOTHING, {"died"}),
    "kill-parents": (with_own("import os, signal\nos.kill(os.getppid(), 9)\nos._exit(0)"), NOTHING, {"died"}),
    "memory-bomb": (with_own("x = []\nwhile True:\n    x.append(np.ones(10**6))"), NOTHING, {"memory"}),
    "fork-bomb": (with_own("import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"), NOTHING, {"memory", "timeout", "died"}),
    "disk-fill": (with_own(FILL), NOTHING, {"error", "memory", "died"}),
    "socket": (with_own("import socket\ndef square(x):\n    socket.create_connection(('1.1.1.1', 53), timeout=2)\n    return x * x"), NOTHING, {"error"}),
    "dns": (with_own("import socket\ndef square(x):\n    socket.gethostbyname('example.org')\n    return x * x"), NOTHING, {"error"}),
    "input": (with_own("def square(x):\n    return float(input('?'))"), NOTHING, {"error"}),
    "late-exit": (
        with_own("import os, threading\ndef square(x):\n    threading.Timer(0.3, os._exit, [0]).start()\n    return x * x"),
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
        with_own("np.allclose = lambda *a, **k: True\nnp.testing.assert_allclose = lambda *a, **k: None\ndef square(x):\n    return 0 * x"),
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
    "leak": (with_own("def square(x):\n    raise ValueError(f'hidden input {list(x)} <script>alert(1)</script> KeyError')"), NOTHING, {"error"}),
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
    archive(submissions / "whole-folder.zip", {f"vi/notebooks/{NOTEBOOK}": pristine, f"vi/work/{NOTEBOOK}": as_bytes(handed_in())})
    # The first release, never answered, beside an update that was: as `course lab` puts it there.
    earlier = student_copy(toy_source())
    earlier.cells[0].source += "\n# An earlier release."
    archive(
        submissions / "updated.zip",
        {f"work/{NOTEBOOK}": as_bytes(earlier), f"work/{NOTEBOOK.replace('.ipynb', '.update-0a1b2c3d.ipynb')}": as_bytes(handed_in())},
    )
    (submissions / "Rita Roe_12345_assignsubmission_file_").mkdir()
    (submissions / "Rita Roe_12345_assignsubmission_file_" / NOTEBOOK).write_bytes(as_bytes(handed_in()))
    archive(submissions / "corrected.zip", {NOTEBOOK: wrong, NOTEBOOK.replace(".ipynb", "-2.ipynb"): as_bytes(handed_in())})
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
    write_gradebook(grades)
    left = [process for process in psutil.process_iter() if process.pid not in before and is_ours(process)]
    return {"folder": folder, "source_dir": source_dir, "submissions": submissions, "grades": grades, "left": left}


def is_ours(process):
    """Whether a process is of this class: everything in its sandboxes knows the seed, wherever it has fled to."""
    try:
        is_worker = process.ppid() == os.getpid() and "course_utils.coursework.worker" in process.cmdline()
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


def marks(school, student):
    (found,) = [r for r in results(Journal(school["grades"]).read()) if r["student"] == student]
    assert "exercises" in found, found.get("infrastructure")
    return found["exercises"]


@pytest.mark.parametrize("student", CLASS)
def test_everyone_gets_what_they_earned(school, student):
    _, own, reasons = CLASS[student]
    found = marks(school, student)
    assert set(found) == set(POINTS)
    if reasons in ({"unreadable"}, {"missing"}) and own is None:
        assert all(mark["points"] == 0 and {mark["reason"]} == reasons for mark in found.values())
        return
    if own is not None:
        assert found[OWN]["points"] == own, found[OWN]
    if reasons:
        assert found[OWN]["reason"] in reasons, found[OWN]
    if own == NOTHING:
        assert not any(check["passed"] for check in found[OWN]["checks"])
    others = {name: mark["points"] for name, mark in found.items() if name != OWN}
    tampered_for_all = {"transformer", "patched-check", "patched-builtins", "patched-formatter"}
    if student in tampered_for_all:
        # Whoever breaks the kernel that all answers share may lose points, but gains none.
        assert all(found[name]["points"] <= POINTS[name] for name in others)
    else:
        assert others == {name: POINTS[name] for name in others}, found


@pytest.mark.parametrize(
    ("student", "reason"),
    [
        ("a-gigabyte", "unreadable"), ("a-pipe", "unreadable"), ("a-link", "unreadable"), ("linked-folder", "unreadable"),
        ("zip-traversal", "unreadable"), ("zip-bomb", "unreadable"), ("zip-of-nothing", "unreadable"), ("zipped", "right"),
        ("whole-folder", "right"), ("two-versions", "right"), ("updated", "right"), ("corrected", "right"), ("Rita Roe_12345", "right"),
        ("zip-in-zip", "missing"),
        ("tar", "unreadable"), ("loose", "unreadable"), ("lovelaceada_4711", "right"), ("hoppergrace_12", "right"), ("quin_9", "right"),
        ("other-name", "missing"),
    ],
)  # fmt: skip
def test_files_that_are_no_plain_files(school, student, reason):
    assert {mark["reason"] for mark in marks(school, student).values()} == {reason}


def test_how_an_answer_was_found_is_noted(school):
    assert "metadata" in marks(school, "ids-stripped")[OWN]["note"]
    assert "comment" in marks(school, "ids-and-metadata-stripped")[OWN]["note"]
    assert "2 cells" in marks(school, "answer-twice")[OWN]["note"]
    assert "cell of the student's own" in marks(school, "written-elsewhere")[OWN]["note"]
    assert marks(school, "right")[OWN]["note"] == ""


def test_where_an_answer_is_no_python_is_said(school):
    page = (school["grades"] / "feedback" / "syntax-error.html").read_text()
    assert "line 2 of the answer is not valid Python: def square(x:" in page


def test_what_a_check_itself_complains_of_is_said_and_nothing_that_is_like_it():
    (exercise,) = [each for each in exercises(toy_source()) if each.name == OWN]
    sentence = "a dictionary is no answer: return the array itself."
    exercise.check.source += f"\nif False:\n    raise TypeError({sentence!r})"
    for told, said in [(f"x: Your code raised TypeError: {sentence}", True), (f"x: Your code raised TypeError: {sentence} 0.123", False)]:
        assert grading._said_by_authors(exercise, [told]) == ([sentence.rstrip(".")] if said else [])


def test_a_correction_beside_the_first_file_is_graded_by_resume(school, tmp_path):
    few, out = few_of(school, tmp_path / "few", "wrong-sign"), tmp_path / "grades"
    options = {"workers": 1, "limits": LIMITS, "source_dir": school["source_dir"], "progress": False}
    grade_class(few, out, **options)
    (few / "wrong-sign" / NOTEBOOK.replace(".ipynb", " (1).ipynb")).write_bytes(as_bytes(handed_in()))
    (result,) = results(grade_class(few, out, resume=True, **options))
    assert result["exercises"][OWN]["points"] == FULL and "01_toy (1).ipynb counts" in result["note"]


def test_what_an_answer_leans_on_is_named(school):
    page = (school["grades"] / "feedback" / "leans-on-the-lecture.html").read_text()
    assert "NameError" in page and "it uses of_the_lecture, which nothing that is run defines" in page


def test_nobody_grades_with_a_students_copy(tmp_path):
    write_notebook(student_copy(toy_source()), tmp_path / NOTEBOOK)
    with pytest.raises(NotebookError, match="it is a student's copy"):
        grading.make_reference(tmp_path / NOTEBOOK, SEED)


def test_nothing_is_left_running(school):
    assert not school["left"]


def test_everyone_has_a_row_with_a_reason(school):
    rows = list(csv.DictReader(io.StringIO((school["grades"] / "grades.csv").read_text())))
    students = {path.name for path in school["submissions"].iterdir() if path.is_dir() or path.is_symlink()}
    students ^= {"Rita Roe_12345", "Rita Roe_12345_assignsubmission_file_"}
    students |= {"corrected", "updated", "zip-in-zip", "zipped", "whole-folder", "two-versions", "zip-traversal", "zip-bomb", "zip-of-nothing", "tar", "loose", "lovelaceada_4711", "hoppergrace_12", "quin_9"}
    assert len(rows) == len(students)
    assert all(row["reasons"] for row in rows)


def test_which_of_several_files_counts_is_noted(school):
    by_student = {result["student"]: result["note"] for result in results(Journal(school["grades"]).read())}
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
    entries = grade_class(few, tmp_path / "grades", limits=LIMITS, source_dir=sources, progress=False)
    assert [entry["notebook"] for entry in results(entries)] == [NOTEBOOK]


def test_a_formula_in_a_name_is_text(school):
    for table in school["grades"].glob("*.csv"):
        for row in csv.reader(io.StringIO(table.read_text())):
            assert not any(value.startswith(("=", "+", "-", "@")) for value in row)


def test_feedback_says_nothing_that_a_stranger_wrote(school):
    """Neither the hidden inputs, raised as an error's text, nor markup, nor a terminal's escapes."""
    pages = [path.read_text() for path in (school["grades"] / "feedback").iterdir()]
    assert len(pages) == len({result["student"] for result in results(Journal(school["grades"]).read())})
    for page in [*pages, (school["grades"] / "class.html").read_text()]:
        assert "hidden input" not in page and "<script" not in page and "\x1b" not in page
    page = (school["grades"] / "feedback" / "leak.html").read_text()
    assert "ValueError" in page and "KeyError" not in page


def test_a_visible_check_explains_and_a_hidden_one_says_what_its_author_wrote(school):
    by_visible = {check["visible"]: check for check in marks(school, "wrong-sign")[OWN]["checks"]}
    assert "The sign is turned around." in by_visible[True]["hint"]
    assert by_visible[False]["hint"] == HINT
    pages = {student: (school["grades"] / "feedback" / f"{student}.html").read_text() for student in ("half-right", "right", "exit")}
    assert HINT in pages["half-right"] and HINT not in pages["right"] + pages["exit"]


def test_interrupted_and_resumed_gives_the_same_bytes(school, tmp_path):
    """Cut the journal in the middle of a line, as a SIGKILL may, and go on."""
    few = tmp_path / "few"
    for student in ("right", "wrong-sign", "exit", "stub"):
        shutil.copytree(school["submissions"] / student, few / student)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    options = {"workers": 2, "limits": LIMITS, "source_dir": school["source_dir"], "progress": False}
    grade_class(few, whole, seed=SEED, **options)
    write_gradebook(whole)
    cut.mkdir()
    content = (whole / batch.JOURNAL).read_bytes()
    (cut / batch.JOURNAL).write_bytes(content[: content.rindex(b"\n", 0, -1) - 100])
    with pytest.raises(NotebookError, match="--resume"):
        grade_class(few, cut, **options)
    grade_class(few, cut, resume=True, **options)
    write_gradebook(cut)
    names = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file() and path.name != batch.JOURNAL)
    assert names == sorted(path.relative_to(cut) for path in cut.rglob("*") if path.is_file() and path.name != batch.JOURNAL)
    assert all((whole / name).read_bytes() == (cut / name).read_bytes() for name in names)


def test_who_handed_in_under_another_name_is_named_to_the_instructor(school):
    page = (school["grades"] / "class.html").read_text()
    assert "there is homework2.ipynb" in page
    assert page.count("a cell of the student") == 2 and f"{OWN}: died" in page and f"{OWN}: missing" in page
    linked = set(re.findall(r"href='(feedback/[^']+)'", page))
    assert linked == {f"feedback/{path.name}" for path in (school["grades"] / "feedback").iterdir()}


def test_exercises_stay_in_the_order_of_the_notebook(tmp_path):
    Journal(tmp_path).append({"type": "result", "exercises": {"ex-b": {}, "ex-a": {}}})
    assert list(Journal(tmp_path).read()[0]["exercises"]) == ["ex-b", "ex-a"]


def test_what_was_not_attempted_failed_no_check(school):
    page = (school["grades"] / "feedback" / "stub.html").read_text()
    assert "Not attempted." in page and "failed" not in page


def test_what_is_handed_in_again_or_late_is_graded_by_resume(school, tmp_path):
    few, out = few_of(school, tmp_path / "few", "right", "wrong-sign", "exit"), tmp_path / "grades"
    options = {"workers": 2, "limits": LIMITS, "source_dir": school["source_dir"], "progress": False}
    grade_class(few, out, **options)
    before = {result["student"]: result for result in results(Journal(out).read())}
    (few / "wrong-sign" / NOTEBOOK).write_bytes(as_bytes(handed_in()))
    (few / "right" / NOTEBOOK).unlink()
    few_of(school, few, "half-right")
    assert len(grade_class(few, out, resume=True, **options)) == 1 + 3 + 2
    shutil.rmtree(few / "exit")
    (few / "exit.zip").write_bytes(b"not a zip archive")
    entries = grade_class(few, out, resume=True, **options)
    after = {result["student"]: result for result in results(entries)}
    assert after["wrong-sign"]["exercises"][OWN]["points"] == FULL
    assert after["half-right"]["exercises"][OWN]["points"] == 2
    assert after["right"] == before["right"]
    assert {mark["reason"] for mark in after["exit"]["exercises"].values()} == {"unreadable"}
    assert len(grade_class(few, out, resume=True, **options)) == len(entries) == 1 + 3 + 2 + 1


def test_who_has_left_is_in_no_table(school, tmp_path):
    shutil.copy(school["grades"] / batch.JOURNAL, tmp_path)
    write_gradebook(tmp_path)
    before = {path.name for path in tmp_path.rglob("*")}
    with pytest.raises(NotebookError, match="no result of 'nobody': nothing was changed"):
        batch.leave_out(tmp_path, ["right", "nobody"])
    batch.leave_out(tmp_path, ["right", "stub"])
    write_gradebook(tmp_path)
    after = {path.name for path in tmp_path.rglob("*")}
    assert before - after == {"right.html", "right.json", "stub.html", "stub.json"}
    rows = {row["student"] for row in csv.DictReader(io.StringIO((tmp_path / "grades.csv").read_text()))}
    assert "right" not in rows and "half-right" in rows


def test_canvas_gets_the_points_that_are_possible(school):
    rows = list(csv.reader(io.StringIO((school["grades"] / "canvas.csv").read_text())))
    assert rows[1][0].strip() == "Points Possible" and rows[1][5:] == ["7"]
    by_student = {row[0]: row[1:] for row in rows}
    assert by_student["lovelaceada_4711"] == ["4711", "", "", "", "7"]
    assert by_student["right"] == ["", "", "right", "", "7"]


@pytest.mark.parametrize(
    ("added", "answer", "used"),
    [
        ("SCALE = 1.0\nother = slow()", "def square(x):\n    return SCALE * x * x", "SCALE = 1.0"),
        ("x = slow()", "def square(x):\n    return x * x", ""),
        ("%matplotlib inline\ndef times(a, b):\n    return UNIT * a * b\nUNIT = 1", "def square(x):\n    return times(x, x)",
         "def times(a, b):\n    return UNIT * a * b\nUNIT = 1"),
        ("power = lambda x: x ** two\ntwo = 1\ntwo += 1", "square = lambda x: power(x)", "power = lambda x: x ** two\ntwo = 1\ntwo += 1"),
        ("from math import *", "def square(x):\n    return x * x", "from math import *"),
        ("class Square:\n    def __call__(self, x):\n        return x * x", "square = Square()",
         "class Square:\n\n    def __call__(self, x):\n        return x * x"),
        ("square = broken(", "def square(x):\n    return x * x", ""),
        ("TABLE = {}\nTABLE[2] = 1\nother[2] = 1", "def square(x):\n    return TABLE[2] * x * x", "TABLE = {}\nTABLE[2] = 1"),
        ("deep = " + "-" * 5_000 + "1", "def square(x):\n    return deep", ""),
    ],
    ids=["constant", "same-name", "magic", "chain", "star", "class", "no-python", "item", "deep"],
)  # fmt: skip
def test_an_answer_takes_along_what_it_uses_and_no_experiment(added, answer, used):
    notebook = json.loads(with_own(answer))
    mine = {"cell_type": "code", "id": "mine", "metadata": {}, "outputs": [], "execution_count": None, "source": added}
    notebook["cells"].insert(1, mine)
    found = read_answers(json.dumps(notebook).encode(), toy_source()).sources
    assert found[OWN].removesuffix(answer).split("# The answer")[0].strip() == used


def test_a_long_chain_of_helpers_is_followed_in_a_moment():
    chain = "\n".join(f"a{i} = a{i + 1}" for i in range(10_000))
    notebook = json.loads(with_own("def square(x):\n    return a0"))
    notebook["cells"].insert(1, {"cell_type": "code", "metadata": {}, "source": chain})
    assert read_answers(json.dumps(notebook).encode(), toy_source()).sources[OWN].count("\n") > 10_000


def few_of(school, folder, *students):
    for student in students:
        shutil.copytree(school["submissions"] / student, folder / student)
    return folder


def test_serial_parallel_and_dask_give_the_same_bytes_though_workers_are_killed(school, tmp_path, monkeypatch):
    few = few_of(school, tmp_path / "few", "right", "half-right", "stub", "exit", "truncated")
    options = {"seed": SEED, "limits": LIMITS, "source_dir": school["source_dir"], "progress": False}
    grade_class(few, tmp_path / "serial", workers=1, **options)
    asked, ask = [], Workers.ask

    def kill_after_asking(workers, job):
        asked.append(job)
        if len(asked) in (1, 3):
            threading.Timer(0.7, lambda: [worker.kill() for worker in workers._processes]).start()
        return ask(workers, job)

    monkeypatch.setattr(Workers, "ask", kill_after_asking)
    grade_class(few, tmp_path / "parallel", workers=2, **options)
    assert len(asked) > 5
    with dask_cluster(tmp_path) as (address, nannies):
        threading.Timer(4.0, lambda: [child.kill() for child in psutil.Process(nannies[0]).children()]).start()
        grade_class(few, tmp_path / "dask", dask=address, **options)
    names = {}
    for folder in ("serial", "parallel", "dask"):
        write_gradebook(tmp_path / folder)
        files = {path.relative_to(tmp_path / folder): path.read_bytes() for path in (tmp_path / folder).rglob("*") if path.is_file()}
        names[folder] = {name: content for name, content in files.items() if name.name != batch.JOURNAL}
    assert names["serial"] == names["parallel"] == names["dask"]


@contextlib.contextmanager
def dask_cluster(folder):
    """A scheduler and two workers of one thread each, in processes of their own as on other machines."""
    address_file = folder / "scheduler.json"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    run = functools.partial(
        subprocess.Popen, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    dask = [sys.executable, "-m", "dask"]
    here = ["--host", "127.0.0.1", "--scheduler-file", address_file]
    processes = [run([*dask, "scheduler", "--port", "0", "--no-dashboard", *here])]
    try:
        for _ in range(2):
            processes.append(run([*dask, "worker", "--nthreads", "1", "--no-dashboard", "--scheduler-file", address_file]))
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


def test_a_worker_with_other_code_gives_no_marks():
    job = make_job(NOTEBOOK, b"", {"reference": {}, "limits": {}, "unsafe": False, "cache": None}) | {"code": "other"}
    assert "another version" in grade_job(job)["infrastructure"]


def run_alone(source, **limits):
    """Run one code cell in a sandbox of its own."""
    notebook = nbformat.v4.new_notebook(cells=[cell("code", source, "only")], metadata=toy_source().metadata)
    notebook.cells[0].execution_count = 1
    return sandbox.run_in_sandbox(notebook, SEED, Limits(**limits), sandbox=SANDBOX)


def test_processes_of_one_stranger_take_none_away_from_another():
    """The limit is for all processes of a user, so that neighbours must not be one."""
    # What runs when a sandbox is made is allowed for, so the neighbour comes to its processes later.
    spawn = "import subprocess, time\ntime.sleep({})\nmany = [subprocess.Popen(['sleep', '60']) for _ in range({})]\ntime.sleep({})"
    greedy = threading.Thread(target=run_alone, args=[spawn.format(5, 60, 12)], kwargs={"processes": 100})
    greedy.start()
    run = run_alone(spawn.format(9, 40, 0), processes=100)
    greedy.join()
    assert run.cells["only"]["passed"], run
    modest = spawn.format(0, 40, 0)
    assert not run_alone(modest, processes=45).cells["only"]["passed"]


def test_the_time_for_a_notebook_is_bounded_by_its_exercises(school, monkeypatch):
    """Each exercise has one turn with the others and at the most one alone, and each run has a deadline."""
    runs, run_in_sandbox = [], grading.run_in_sandbox

    def counted(*arguments, **options):
        runs.append(arguments)
        return run_in_sandbox(*arguments, **options)

    reference = grading.make_reference(school["source_dir"] / NOTEBOOK, SEED)
    monkeypatch.setattr(grading, "run_in_sandbox", counted)
    content = as_bytes(handed_in(dict.fromkeys(RIGHT, "while True:\n    pass")))
    marks = grading.grade(content, reference, Limits(seconds_per_cell=2), sandbox=SANDBOX)
    assert {mark["reason"] for mark in marks["exercises"].values()} == {"timeout"}
    assert len(runs) == 1 + len(RIGHT)


def test_nothing_compiled_of_a_solution_is_where_a_stranger_can_read(tmp_path):
    """Neither of functions that it names nor of those without a name."""
    source = toy_source()
    own = next(each for each in source.cells if each.id == f"{OWN}-answer")
    own.source = own.source.replace(
        "    return x * x",
        "    import jax\n    def mine(y): return y * y\n    jax.lax.scan(lambda c, y: (c + y, y), 0.0, x)\n"
        "    jax.jit(lambda y: y + 0.25)(x)\n    jax.lax.fori_loop(0, 3, lambda i, y: y + i, 0.0)\n    return jax.jit(mine)(x) + 0 * jax.numpy.sin(x)",
    )
    write_notebook(source, tmp_path / NOTEBOOK)
    cache = tmp_path / "cache"
    cache.mkdir()
    names = []
    forget = grading._forget_answers

    def watched(folder, source):
        names.append({path.name.split("-")[0] for path in folder.iterdir()})
        forget(folder, source)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading, "_forget_answers", watched)
        grading.make_reference(tmp_path / NOTEBOOK, SEED, cache)
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
    assert (tmp_path / "mine" / "grades.csv").read_text() == "of last year"
    for out in (school["submissions"], school["submissions"] / "grades"):
        with pytest.raises(NotebookError, match="is in the folder of submissions"):
            grade_class(school["submissions"], out, source_dir=school["source_dir"])
    assert not (school["submissions"] / "grades").exists()


@pytest.mark.parametrize("other", [{"seed": "another"}, {"notebooks": ["02_other"]}], ids=["seed", "notebook"])
def test_a_batch_that_goes_on_keeps_its_seed_and_its_notebooks(school, other):
    with pytest.raises(NotebookError, match="leave out --seed and --notebook"):
        grade_class(school["submissions"], school["grades"], resume=True, source_dir=school["source_dir"], **other)


def test_grades_that_cannot_be_written_are_a_sentence(school, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotebookError, match="cannot be written to"):
        grade_class(school["submissions"], tmp_path / "file", source_dir=school["source_dir"])
    with pytest.raises(NotebookError, match="no notebook nonsense"):
        grade_class(school["submissions"], tmp_path / "new", notebooks=["nonsense"], source_dir=school["source_dir"])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_whoever_is_interrupted_does_not_wait_for_those_under_way(school, monkeypatch):
    stopped = threading.Event()

    def ask(job):
        if "slow" in job["student"]:
            assert stopped.wait(60)
            return None
        return {"note": "", "exercises": {}}

    @contextlib.contextmanager
    def graders(number):
        yield Graders(2, ask, stopped.set)

    monkeypatch.setattr(batch, "_local_workers", graders)
    monkeypatch.setattr(batch, "make_job", lambda notebook, content, common: {"student": content.decode()})
    monkeypatch.setattr(Submission, "read", lambda submission: submission.student.encode())
    todo = [Submission(student, NOTEBOOK, Path("x")) for student in ("slow", "quick", "slower")]
    with contextlib.closing(batch._graded(todo, {NOTEBOOK: {}}, {"cache": None}, 0, None)) as graded:
        assert next(graded)[0].student == "quick"
    assert stopped.is_set()


def test_a_failing_machine_is_never_a_score(school, tmp_path, monkeypatch):
    few = tmp_path / "few"
    shutil.copytree(school["submissions"] / "right", few / "right")
    monkeypatch.setattr(Workers, "ask", lambda workers, job: {"infrastructure": "no kernel"})
    out = tmp_path / "grades"
    grade_class(few, out, seed=SEED, workers=1, limits=LIMITS, source_dir=school["source_dir"], progress=False)
    write_gradebook(out)
    (row,) = csv.DictReader(io.StringIO((out / "grades.csv").read_text()))
    assert row["points"] == "" and "human" in row["reasons"]


def test_without_a_sandbox_nothing_is_graded(school, tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    with pytest.raises(SandboxError, match="bubblewrap"):
        grade_class(school["submissions"], tmp_path, source_dir=school["source_dir"])


def test_unsafe_is_stamped_on_every_result(school, tmp_path):
    few = tmp_path / "few"
    shutil.copytree(school["submissions"] / "right", few / "right")
    out = tmp_path / "grades"
    grade_class(few, out, unsafe=True, workers=1, limits=LIMITS, source_dir=school["source_dir"], progress=False)
    write_gradebook(out)
    (row,) = csv.DictReader(io.StringIO((out / "grades.csv").read_text()))
    assert row["stamp"] == "unsafe" and row["points"] == "7"
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
        ("def g(x):\n    return h(x)\ndef h(x):\n    return x\nt = h(1)\ncheck('x', lambda: g(f), truth=t)", "def h", "t = h"),
        ("import math\nfor i in range(3):\n    a = i\ncheck('x', lambda: f(a), mistakes={'m': math.pi})", "for i", "math"),
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

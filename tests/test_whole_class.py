"""A whole class, ten of them broken or hostile, while workers and once the whole batch are killed."""

import contextlib
import csv
import io
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from course_utils.coursework.grade.journal import JOURNAL
from course_utils.coursework.source.notebooks import write_notebook
from tests.test_grading import CLASS, NOTEBOOK, POINTS, RIGHT, as_bytes, handed_in, report, toy_source

SEED = "a seed for a class"
# Longer than the path of a socket may be.
TEMPORARY = "a-long-path-" * 10
HOSTILE = (
    "exit",
    "segfault",
    "kill-everything",
    "memory-bomb",
    "fork-bomb",
    "infinite-loop",
    "output-flood",
    "truncated",
    "deep",
    "forged-messages",
)
BATCH = """
import sys
from pathlib import Path
from course_utils.coursework.grade.batch import grade_class
from tests.test_grading import LIMITS
folder = Path(sys.argv[1])
grade_class(folder / "submissions", folder / "grades", source_dir=folder / "notebooks", limits=LIMITS, workers=2,
            resume=sys.argv[2] == "resume", seed=sys.argv[3], progress=False)
"""


def hand_in(submissions, size):
    """Write the class, and return how many points each student has earned in each exercise."""
    rng, earned = random.Random(0), {}
    between = size // len(HOSTILE)
    for number in range(size):
        student = f"student{number:03}"
        if number % between == between // 2:
            content, own, _ = CLASS[HOSTILE[number // between]]
            earned[student] = dict.fromkeys(POINTS, 0) if own is None else POINTS | {"ex-square": own}
        else:
            answers, earned[student] = {}, {}
            for name, solution in RIGHT.items():
                is_right = rng.random() < 0.7
                answers[name] = f"{solution}  # {number}" if is_right else f"{solution} + {rng.uniform(0.1, 9)}"
                earned[student][name] = POINTS[name] if is_right else 0
            content = as_bytes(handed_in(answers))
        (submissions / student).mkdir(parents=True)
        (submissions / student / NOTEBOOK).write_bytes(content)
    return earned


def start(folder, how):
    command = [sys.executable, "-c", BATCH, folder, how, SEED]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent), "TMPDIR": str(folder / TEMPORARY)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True)


def workers_of(pid):
    """Return the workers of a batch that are alive."""
    found = []
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(pid).children():
            with contextlib.suppress(psutil.Error):
                if "course_utils.coursework.grade.worker" in child.cmdline():
                    found.append(child)
    return found


def lines(journal):
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


@pytest.mark.parametrize("size", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_a_whole_class_and_workers_that_die(tmp_path, size):
    for name in ("notebooks", TEMPORARY):
        (tmp_path / name).mkdir()
    write_notebook(toy_source(), tmp_path / "notebooks" / NOTEBOOK)
    earned = hand_in(tmp_path / "submissions", size)
    grades, journal = tmp_path / "grades", tmp_path / "grades" / JOURNAL
    rng, killed, memory = random.Random(1), 0, []
    batch = start(tmp_path, "new")
    while lines(journal) < size // 3:
        assert batch.poll() is None, batch.stderr.read()
        time.sleep(0.1)
    os.killpg(batch.pid, signal.SIGKILL)
    batch.wait()
    graded_before = lines(journal)
    batch = start(tmp_path, "resume")
    # By what has been graded, not by the clock: on a slow machine nothing would ever get done between two deaths.
    next_kill = graded_before + 3
    while batch.poll() is None:
        time.sleep(0.1)
        if lines(journal) >= next_kill:
            workers = workers_of(batch.pid)
            if workers:
                # A worker, or the batch itself, may have ended since.
                with contextlib.suppress(psutil.Error):
                    rng.choice(workers).kill()
                    killed += 1
                    memory.append(psutil.Process(batch.pid).memory_info().rss)
            next_kill = lines(journal) + rng.randint(2, 6)
    assert batch.returncode == 0, batch.stderr.read()
    # Whoever was killed three times in a row is left to a human, who grades them when the machine is well again.
    batch = start(tmp_path, "resume")
    assert batch.wait() == 0, batch.stderr.read()
    assert killed >= 3 and size // 3 <= graded_before < size
    assert not list((tmp_path / TEMPORARY).iterdir()), "a batch that is killed leaves nothing behind but its grades"
    assert max(memory) < memory[0] + 50_000_000, memory
    report(grades)
    rows = list(csv.DictReader(io.StringIO((grades / "grades.csv").read_text("utf-8-sig"))))
    assert [row["student"] for row in rows] == sorted(earned)
    assert all(row["reasons"] for row in rows)
    found = {}
    for row in csv.DictReader(io.StringIO((grades / "exercises.csv").read_text("utf-8-sig"))):
        found.setdefault(row["student"], {})[row["exercise"]] = float(row["points"])
    assert found == earned

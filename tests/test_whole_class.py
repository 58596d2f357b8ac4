"""Two hundred submissions, one in twenty broken or hostile, while workers and once the whole batch are killed."""

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

from course_utils.coursework.batch import JOURNAL
from course_utils.coursework.gradebook import write_gradebook
from course_utils.coursework.notebooks import write_notebook
from tests.test_grading import CLASS, NOTEBOOK, POINTS, RIGHT, as_bytes, handed_in, toy_source

SIZE = 200
SEED = "a seed for two hundred"
HOSTILE = (
    "exit", "segfault", "kill-everything", "memory-bomb", "fork-bomb", "infinite-loop", "output-flood", "truncated", "deep",
    "forged-messages",
)  # fmt: skip
BATCH = """
import sys
from pathlib import Path
from course_utils.coursework.batch import grade_class
from tests.test_grading import LIMITS
folder = Path(sys.argv[1])
grade_class(folder / "submissions", folder / "grades", source_dir=folder / "notebooks", limits=LIMITS, workers=2,
            resume=sys.argv[2] == "resume", seed=sys.argv[3], progress=False)
"""


def hand_in(submissions):
    """Write the class, and return how many points each student has earned in each exercise."""
    rng, earned = random.Random(0), {}
    for number in range(SIZE):
        student = f"student{number:03}"
        if number % 20 == 7:
            content, own, _ = CLASS[HOSTILE[number // 20]]
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
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent), "TMPDIR": str(folder / "tmp")}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True)


def lines(journal):
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def test_two_hundred_submissions_and_workers_that_die(tmp_path):
    for name in ("notebooks", "tmp"):
        (tmp_path / name).mkdir()
    write_notebook(toy_source(), tmp_path / "notebooks" / NOTEBOOK)
    earned = hand_in(tmp_path / "submissions")
    grades, journal = tmp_path / "grades", tmp_path / "grades" / JOURNAL
    rng, killed, memory = random.Random(1), 0, []
    batch = start(tmp_path, "new")
    while lines(journal) < SIZE // 3:
        assert batch.poll() is None, batch.stderr.read()
        time.sleep(0.1)
    os.killpg(batch.pid, signal.SIGKILL)
    batch.wait()
    graded_before = lines(journal)
    batch = start(tmp_path, "resume")
    next_kill = time.monotonic() + 5
    while batch.poll() is None:
        time.sleep(0.1)
        if time.monotonic() > next_kill:
            workers = [child for child in psutil.Process(batch.pid).children() if "course_utils.coursework.worker" in child.cmdline()]
            if workers:
                rng.choice(workers).kill()
                killed += 1
                memory.append(psutil.Process(batch.pid).memory_info().rss)
            next_kill = time.monotonic() + rng.uniform(3, 10)
    assert batch.returncode == 0, batch.stderr.read()
    # Whoever was killed three times in a row is left to a human, who grades them when the machine is well again.
    batch = start(tmp_path, "resume")
    assert batch.wait() == 0, batch.stderr.read()
    assert killed >= 3 and SIZE // 3 <= graded_before < SIZE
    assert not list((tmp_path / "tmp").iterdir()), "a batch that is killed leaves nothing behind but its grades"
    assert max(memory) < memory[0] + 50_000_000, memory
    write_gradebook(grades)
    rows = list(csv.DictReader(io.StringIO((grades / "grades.csv").read_text())))
    assert [row["student"] for row in rows] == sorted(earned)
    assert all(row["reasons"] for row in rows)
    found = {}
    for row in csv.DictReader(io.StringIO((grades / "exercises.csv").read_text())):
        found.setdefault(row["student"], {})[row["exercise"]] = float(row["points"])
    assert found == earned

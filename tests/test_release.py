"""The student repository: complete, the same twice, without a trace of a solution, and readable for nbgrader itself."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from course_utils.coursework.author import release as release_module
from course_utils.coursework.author.prove import prove
from course_utils.coursework.author.release import release
from course_utils.coursework.run.kernels import find_kernels
from course_utils.coursework.source.notebooks import (
    MARKER,
    NotebookError,
    exercises,
    read_notebook,
    source_notebooks,
    student_copy,
    write_notebook,
)
from course_utils.coursework.student.check import check_notebook
from course_utils.paths import place_of
from tests.nbgrader import install
from tests.test_grading import NOTEBOOK, OWN, cell, toy_source

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    out = tmp_path_factory.mktemp("release") / "students"
    release(out)
    return out


def test_a_release_is_complete_and_the_same_twice(released, tmp_path):
    again = tmp_path / "again"
    files = release(again)
    names = {path.relative_to(again).as_posix() for path in files}
    assert {
        "README.md",
        "Makefile",
        "requirements.lock",
        "data/mnist.npz",
        "course_utils/bounds.py",
        "notebooks/00_start_here.ipynb",
    } <= names
    assert not any(name.startswith(("tests/", "work/", ".venv/")) or "__pycache__" in name for name in names)
    assert names == {path.relative_to(released).as_posix() for path in released.rglob("*") if path.is_file()}
    for name in names:
        assert (released / name).read_bytes() == (again / name).read_bytes(), name
        assert (released / name).stat().st_mode == (again / name).stat().st_mode, name


def test_what_lies_about_in_a_working_tree_is_not_released(tmp_path):
    for name in ("course_utils/a.py", "course_utils/__pycache__/a.pyc", "data/x.csv", "data/.hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    given = [Path("course_utils/a.py"), Path("data/x.csv")]
    assert release_module._files_of_folders(tmp_path) == given
    for command in (["init", "-q"], ["add", *map(str, given)]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (tmp_path / "course_utils" / "my grades.csv").write_text("not for students")
    assert release_module._files_of_folders(tmp_path) == given


def test_a_release_offers_only_what_it_can_do(released):
    shown = subprocess.run(["make", "help"], cwd=released, capture_output=True, text=True).stdout
    assert "make lab" in shown and "make test" not in shown
    readme = (released / "README.md").read_text(encoding="utf-8")
    assert "make lab" in readme and "## The map" in readme and "## Licence" in readme
    assert (
        "make test" not in readme
        and "course grade" not in readme
        and "make bench" not in readme
        and "course -->" not in readme
        and "docs/" not in readme
    )


def test_a_release_holds_no_solution(released):
    for path in source_notebooks():
        text = (released / "notebooks" / place_of(path.name)).read_text(encoding="utf-8")
        assert "SOLUTION" not in text and "HIDDEN TESTS" not in text
        for exercise in exercises(read_notebook(path)):
            assert exercise.answer.source not in text


def test_a_released_notebook_is_its_own_student_copy(released):
    for path in source_notebooks(released / "notebooks"):
        notebook = read_notebook(path)
        assert student_copy(notebook) == notebook


def test_students_can_check_their_answers_in_a_release(released, tmp_path):
    """There are no solutions to compare with there, so the visible checks decide."""
    notebook = read_notebook(released / "notebooks" / "00_start_here.ipynb")
    for body, status in {
        "return nats / jnp.log(2.0)": "right",
        "return nats * jnp.log(2.0)": "wrong",
        "": "not attempted",
    }.items():
        for each in notebook.cells if body else []:
            if each.id.endswith("-answer"):
                each.source = f"def nats_to_bits(nats):\n    {body}"
        handed_in = notebook if body else read_notebook(released / "notebooks" / "00_start_here.ipynb")
        write_notebook(handed_in, tmp_path / "00_start_here.ipynb")
        (found,) = check_notebook(tmp_path / "00_start_here.ipynb", released / "notebooks")
        assert found.reason == status, (body, found)


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(NotebookError, match="not empty"):
        release(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(release_module, "write_notebook", full)
    with pytest.raises(NotebookError, match="no space left"):
        release(tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def kernels():
    own = find_kernels(None, imports=["numpy"], fill_cache=True)
    yield own
    own.close()


def proof(tmp_path, change, kernels):
    source = toy_source()
    change({each.id: each for each in source.cells}, source)
    write_notebook(source, tmp_path / NOTEBOOK)
    return prove(tmp_path / NOTEBOOK, kernels, tmp_path)


def replaced(identity, old, new):
    def change(by_id, source):
        assert old in by_id[identity].source
        by_id[identity].source = by_id[identity].source.replace(old, new)

    return change


def lenient(by_id, source):
    by_id[f"{OWN}-check"].source = by_id[f"{OWN}-check"].source.replace("rtol=1e-06", "rtol=100")


def add_leak(by_id, source):
    source.cells.append(cell("markdown", "The answer: return x * x  # and nothing else", "leak"))
    by_id[f"{OWN}-answer"].source = by_id[f"{OWN}-answer"].source.replace(
        "return x * x", "return x * x  # and nothing else"
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda by_id, source: None, None),
        (replaced(f"{OWN}-check", f"check_seed('{OWN}')", "1"), "same values with another seed"),
        # Two values among four seeds: one other seed would show it half of the time.
        (replaced(f"{OWN}-check", f"check_seed('{OWN}')", f"check_seed('{OWN}') % 2"), "same values with another seed"),
        (
            replaced(f"{OWN}-check", "lambda: square(hidden)", "lambda: (square(hidden) > 0).astype(float)"),
            "only a verdict",
        ),
        (replaced(f"{OWN}-answer", "return x * x", "return x * np.random.normal()"), "does not pass the check"),
        (
            replaced(f"{OWN}-check", "lambda: square(hidden)", "lambda: square(hidden + np.random.normal())"),
            "other values",
        ),
        # Within 10⁻³, but the check asks for more.
        (replaced(f"{OWN}-answer", "return x * x", "return x * x * (1 + 1e-4 * np.random.uniform())"), "does not pass"),
        (lenient, "same values with another seed"),
        (replaced(f"{OWN}-check", "### BEGIN HIDDEN TESTS", ""), "no hidden check"),
        (replaced(f"{OWN}-check", "square of four other numbers", "square of five numbers"), "same name"),
        (replaced(f"{OWN}-check", "lambda: square(hidden)", "lambda: hidden"), "although nothing was answered"),
        (replaced(f"{OWN}-answer", "return x * x", "raise ValueError(x)"), "does not get through"),
        (replaced(f"{OWN}-check", "lambda: square(hidden)", "lambda: square(hidden) * np.nan"), "nan"),
        (add_leak, "is in the student's copy"),
        (
            replaced(f"{OWN}-answer", "return x * x", "return double(x) * x / 2"),
            "'double' of another exercise's answer",
        ),
    ],
    ids=[
        "sound",
        "seed",
        "two-seeds",
        "verdict",
        "random",
        "random-check",
        "a-little-random",
        "lenient",
        "visible",
        "names",
        "stub",
        "error",
        "nan",
        "leak",
        "leaning",
    ],
)
def test_release_proves_that_exercises_can_be_graded(tmp_path, kernels, change, sentence):
    found = proof(tmp_path, change, kernels)
    if sentence is None:
        assert found == []
    else:
        assert any(sentence in problem for problem in found), found


def test_nobody_proves_a_students_copy(tmp_path, kernels):
    write_notebook(student_copy(toy_source()), tmp_path / NOTEBOOK)
    assert "it is a student's copy" in prove(tmp_path / NOTEBOOK, kernels, tmp_path)[-1]


@pytest.fixture(scope="module")
def nbgrader_course(tmp_path_factory):
    """What runs nbgrader itself, and the folder of the course that it runs in."""
    course = tmp_path_factory.mktemp("course")
    try:
        return install(tmp_path_factory.mktemp("nbgrader"), course), course
    except RuntimeError as error:
        if "CI" in os.environ:
            raise
        pytest.skip(str(error))


# Installing nbgrader takes half a minute, and it changes with its version alone: a week is soon enough.
@pytest.mark.slow
def test_nbgrader_makes_our_student_copies(nbgrader_course):
    run_nbgrader, course = nbgrader_course
    for path in source_notebooks():
        write_notebook(read_notebook(path), course / "source" / "vi" / path.name)
    finished = run_nbgrader("generate_assignment", "vi", "--create", "--force")
    assert finished.returncode == 0, finished.stderr[-2000:]
    for path in source_notebooks():
        theirs = {c.id: c for c in read_notebook(course / "release" / "vi" / path.name).cells}
        for exercise in exercises(student_copy(read_notebook(path))):
            marker = MARKER.format(exercise.answer.metadata.nbgrader.grade_id)
            our_code = exercise.answer.source.removeprefix(marker).partition("raise NotImplementedError")[0].strip()
            assert theirs[exercise.answer.id].source.startswith(our_code)
            assert theirs[exercise.check.id].source.strip() == exercise.check.source.strip()


@pytest.mark.slow
def test_nbgrader_validates_our_solutions(nbgrader_course):
    run_nbgrader, course = nbgrader_course
    write_notebook(
        read_notebook(ROOT / "notebooks" / "00_start_here.ipynb"), course / "source" / "vi" / "00_start_here.ipynb"
    )
    finished = run_nbgrader("validate", "source/vi/00_start_here.ipynb")
    assert "passes all the tests" in finished.stdout + finished.stderr


def test_instructors_go_from_submissions_to_grades_by_command_line(tmp_path, released):
    """A right, a wrong and an empty submission of the first notebook, then an explanation; no traceback for a mistake."""
    stub = read_notebook(released / "notebooks" / "00_start_here.ipynb")
    for student, body in {
        "right": "return nats / np.log(2)",
        "wrong": "return nats * np.log(2)",
        "empty": None,
    }.items():
        folder = tmp_path / "submissions" / student
        folder.mkdir(parents=True)
        for each in stub.cells if body else []:
            if each.id.endswith("-answer"):
                each.source = f"def nats_to_bits(nats):\n    {body}"
        if body:
            write_notebook(stub, folder / "00_start_here.ipynb")

    def course(*arguments):
        command = [sys.executable, "-m", "course_utils.cli", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )

    graded = course("grade", "submissions", "--out", "grades")
    assert graded.returncode == 0, graded.stderr
    assert "3 notebooks: 2 graded, 1 missing; see" in graded.stdout
    rows = (tmp_path / "grades" / "grades.csv").read_text("utf-8-sig").splitlines()
    assert [row.split(",")[:4] for row in rows[1:]] == [
        ["empty", "00_start_here.ipynb", "0", "1"],
        ["right", "00_start_here.ipynb", "1", "1"],
        ["wrong", "00_start_here.ipynb", "0", "1"],
    ]
    assert json.loads((tmp_path / "grades" / "gradescope" / "right.json").read_text())["tests"][0]["score"] == 1
    explained = course("explain", "grades", "wrong", "ex-nats-to-bits", "--submissions", "submissions")
    assert "return nats * np.log(2)" in explained.stdout and "expected" in explained.stdout
    for student, exercise, way_out in [
        ("wrnog", "ex-nats-to-bits", "there are wrong"),
        ("wrong", "ex-nats", "ex-nats-to-bits"),
    ]:
        mistyped = course("explain", "grades", student, exercise)
        assert mistyped.returncode != 0 and way_out in mistyped.stderr and "Traceback" not in mistyped.stderr
    again = course("grade", "submissions", "--out", "grades")
    assert again.returncode != 0 and "--resume" in again.stderr and "Traceback" not in again.stderr
    nowhere = course("grade", "nowhere", "--out", "other")
    assert (
        nowhere.returncode != 0
        and "nowhere cannot be read as a folder" in nowhere.stderr
        and "Traceback" not in nowhere.stderr
    )

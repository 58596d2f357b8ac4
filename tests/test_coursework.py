"""Work folder, checks, nbval plugin and command line, as a student and an instructor meet them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import nbformat
import numpy as np
import pytest
from ipykernel.ipkernel import IPythonKernel
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_utils.coursework.author.execute import execute_notebook
from course_utils.coursework.kernel import apart
from course_utils.coursework.run import kernels as kernels_module
from course_utils.coursework.run.kernels import BoundKernel, FreshKernels, find_kernels
from course_utils.coursework.run.limits import Limits
from course_utils.coursework.source.notebooks import (
    NotebookError,
    exercises,
    read_notebook,
    student_copy,
    write_notebook,
)
from course_utils.coursework.student.check import advice, check_notebook, find_source
from course_utils.coursework.student.workfolder import MANIFEST, deliver

SETUP = """\
import numpy as np
from course_utils.coursework.checks import check, check_seed
"""
ANSWER = '''\
def mean(values):
    """Return the mean."""
    ### BEGIN SOLUTION
    return values.sum() / len(values)
    ### END SOLUTION
'''
CHECK = """\
values = np.random.default_rng(check_seed("mean")).normal(5.0, 1.0, 50)
check("mean of 50 values", lambda: mean(values), np.mean(values), mistakes={"Divide by the number of values.": values.sum()})
### BEGIN HIDDEN TESTS
check("mean of 10 values", lambda: mean(values[:10]), hint="However many there are.")
### END HIDDEN TESTS
"""


def role(grade_id, *, solution, points=0):
    grade = {"grade": not solution, "grade_id": grade_id, "locked": not solution, "solution": solution}
    return {"nbgrader": grade | {"schema_version": 3, "task": False} | ({} if solution else {"points": points})}


@pytest.fixture(scope="module")
def source_dir(tmp_path_factory):
    """A folder with one small source notebook, executed."""
    folder = tmp_path_factory.mktemp("notebooks")
    cells = [
        new_code_cell(SETUP, id="imports", metadata={"tags": ["setup"]}),
        new_code_cell("print(f'pi is {np.pi:.6f}')", id="pi"),
        new_markdown_cell("### Exercise 1.1 · A mean", id="ex-mean"),
        new_code_cell(ANSWER, id="ex-mean-answer", metadata=role("ex-mean-answer", solution=True)),
        new_code_cell(CHECK, id="ex-mean-check", metadata=role("ex-mean-check", solution=False, points=2)),
    ]
    path = folder / "01_means.ipynb"
    nbformat.write(new_notebook(cells=cells), path)
    execute_notebook(path)
    return folder


def answered(source_dir, target, answer):
    """Write a student's copy with ``answer`` in the place of the solution."""
    notebook = student_copy(read_notebook(source_dir / "01_means.ipynb"))
    for cell in notebook.cells:
        if cell.id == "ex-mean-answer":
            cell.source = answer
    nbformat.write(notebook, target)
    return target


ANSWERS = [
    ("def mean(values):\n    return np.average(values)", "right", ""),
    ("def mean(values):\n    print('debug')\n    return sum(values) / len(values)", "right", ""),
    ("def mean(values):\n    return values.sum()", "wrong", "Divide by the number of values."),
    ("def mean(values):\n    return values.sum() / 50", "wrong", "other inputs"),
    ("def mean(values):\n    values.sum()", "error", "None"),
    ("def mean(values):\n    return values.average()", "error", "AttributeError in line 3 of your cell"),
    ("def mean(values:", "error", "SyntaxError"),
    ("def mean(values):\n    raise NotImplementedError", "not attempted", ""),
    ("from os import _exit\n_exit(1)", "died", ""),
]


@pytest.fixture(scope="module", params=["forked", "fresh"])
def kernels(request):
    """Where there is fork, and as where there is none."""
    own = find_kernels(None) if request.param == "forked" else FreshKernels()
    yield own
    own.close()


@pytest.mark.parametrize(("answer", "reason", "hint"), ANSWERS)
def test_check_tells_right_from_wrong(source_dir, tmp_path, kernels, answer, reason, hint):
    marked = f"# The answer to ex-mean-answer; keep this line.\n{answer}"
    (mark,) = check_notebook(answered(source_dir, tmp_path / "01_means.ipynb", marked), source_dir, kernels=kernels)
    assert mark.reason == reason, mark
    assert hint in advice(mark)
    assert mark.title == "Exercise 1.1 · A mean"


def test_a_missing_answer_cell_is_missing(source_dir, tmp_path):
    notebook = student_copy(read_notebook(source_dir / "01_means.ipynb"))
    notebook.cells = [cell for cell in notebook.cells if cell.id != "ex-mean-answer"]
    nbformat.write(notebook, tmp_path / "01_means.ipynb")
    (mark,) = check_notebook(tmp_path / "01_means.ipynb", source_dir)
    assert mark.reason == "missing"


def test_cells_that_have_lost_their_ids(source_dir, tmp_path):
    submission = answered(source_dir, tmp_path / "01_means.ipynb", "def mean(values):\n    return np.mean(values)")
    notebook = read_notebook(submission)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"lost-{number}"
    nbformat.write(notebook, submission)
    assert [mark.reason for mark in check_notebook(submission, source_dir)] == ["right"]


def test_who_fails_a_hidden_check_alone_gets_its_hint(source_dir, tmp_path):
    answer = "def mean(values):\n    return values.sum() / 50"
    (mark,) = check_notebook(answered(source_dir, tmp_path / "01_means.ipynb", answer), source_dir)
    assert mark.reason == "wrong" and "However many there are." in advice(mark)


def test_what_a_shell_sets_has_no_say(source_dir, tmp_path, monkeypatch):
    """Settings of JAX, arguments for pytest and the like are for other programs."""
    for name, value in {
        "JAX_ENABLE_X64": "1",
        "PYTEST_ADDOPTS": "-n 2",
        "PYTHONIOENCODING": "cp1252",
        "COURSE_CHECK_SEED": "7",
    }.items():
        monkeypatch.setenv(name, value)
    answer = "import jax\ndef mean(values):\n    assert not jax.config.jax_enable_x64\n    print('½ → β')\n    return np.mean(values)"
    path = answered(source_dir, tmp_path / "01_means.ipynb", answer)
    for own in (find_kernels(None), FreshKernels()):
        assert [mark.reason for mark in check_notebook(path, source_dir, kernels=own)] == ["right"]
        own.close()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not a Jupyter notebook"),
        (b"{", "not a Jupyter notebook"),
        (b"<html>", "not a Jupyter notebook"),
        (b"[1, 2]", "not a Jupyter notebook"),
        (b'{"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}', "no list of cells"),
        (b"\x00\xff\xfe", "not a Jupyter notebook"),
        (b"[" * 100_000, "to be a notebook"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_notebook_gets_one_sentence(source_dir, tmp_path, content, complaint):
    path = tmp_path / "01_means.ipynb"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NotebookError, match=complaint) as caught:
        check_notebook(path, source_dir)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_notebook_names_the_known_ones(source_dir, tmp_path):
    path = answered(source_dir, tmp_path / "homework.ipynb", "pass")
    with pytest.raises(NotebookError, match=r"01_means\.ipynb"):
        check_notebook(path, source_dir)


def test_source_without_check_or_answer_is_refused(source_dir):
    notebook = read_notebook(source_dir / "01_means.ipynb")
    assert [exercise.points for exercise in exercises(notebook)] == [2]
    without_check = notebook.cells[:-1]
    with pytest.raises(NotebookError, match="ex-mean-answer has no check"):
        exercises(new_notebook(cells=without_check))
    with pytest.raises(NotebookError, match="ex-mean-check stands after no answer"):
        exercises(new_notebook(cells=[cell for cell in notebook.cells if cell.id != "ex-mean-answer"]))


# --- nbval ------------------------------------------------------------------------------------------------------------


def test_nbval_notices(source_dir, tmp_path):
    """Rounding passes; a perturbed output, a cell without output and an exception do not."""
    original = (source_dir / "01_means.ipynb").read_text(encoding="utf-8")
    assert "3.141593" in original

    def write(name, change):
        notebook = read_notebook(source_dir / "01_means.ipynb")
        change(notebook.cells[1])
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")

    write("untouched", lambda cell: None)
    write("rounded", lambda cell: cell.outputs[0].update(text="pi is 3.141594\n"))
    write("perturbed", lambda cell: cell.outputs[0].update(text="pi is 3.151593\n"))
    write("unrun", lambda cell: cell.update(execution_count=None, outputs=[]))
    write("emptied", lambda cell: cell.update(outputs=[]))
    write("failing", lambda cell: cell.update(source="1 / 0"))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "course_utils.coursework.run.nbval_plugin"]
    said = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path).stdout
    for name in ("untouched", "rounded"):
        assert f"PASSED {name}.ipynb::pi" in said
    for name in ("perturbed", "unrun", "emptied", "failing"):
        assert f"FAILED {name}.ipynb::pi" in said
        assert f"PASSED {name}.ipynb::ex-mean-check" in said
    for complaint in ("Cell outputs differ", "never ran", "Unexpected output fields", "ZeroDivisionError"):
        assert complaint in said


def test_cells_after_a_time_out_fail(tmp_path):
    cells = [new_code_cell("import time; time.sleep(60)", id="slow"), new_code_cell("1 + 1", id="after")]
    for count, cell in enumerate(cells, 1):
        cell.execution_count = count
    nbformat.write(new_notebook(cells=cells), tmp_path / "slow.ipynb")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "course_utils.coursework.run.nbval_plugin"]
    finished = subprocess.run(
        [*command, "--nbval-cell-timeout=2", "slow.ipynb"], capture_output=True, text=True, cwd=tmp_path
    )
    assert "2 failed" in finished.stdout or "1 failed, 1 error" in finished.stdout
    assert "xfailed" not in finished.stdout


def test_a_failing_notebook_keeps_its_file_and_its_kernel_does_not_warn(tmp_path, capfd):
    path = tmp_path / "broken.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0", id="broken")]), path)
    before = path.read_bytes()
    with pytest.raises(NotebookError, match="ZeroDivisionError"):
        execute_notebook(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["broken.ipynb"]
    assert "WARNING" not in capfd.readouterr().err


# --- work folder ------------------------------------------------------------------------------------------------------


def outcomes(work, source_dir):
    return {delivery.path.name: delivery.outcome for delivery in deliver(work, source_dir)}


def change_source(source_dir, text):
    path = source_dir / "01_means.ipynb"
    notebook = read_notebook(path)
    notebook.cells[2].source += text
    nbformat.write(notebook, path)


def test_work_folder_never_overwrites(source_dir, tmp_path):
    sources = Path(shutil.copytree(source_dir, tmp_path / "sources"))
    work = tmp_path / "my work"
    mine = work / "01_means.ipynb"
    assert outcomes(work, sources) == {"01_means.ipynb": "new"}
    assert outcomes(work, sources) == {"01_means.ipynb": "kept"}
    untouched = mine.read_bytes()

    change_source(sources, " (clearer)")
    assert outcomes(work, sources) == {"01_means.ipynb": "renewed"}
    assert mine.read_bytes() != untouched

    mine.write_text(mine.read_text().replace("import numpy", "import  numpy"))
    written = mine.read_bytes()
    assert outcomes(work, sources) == {"01_means.ipynb": "kept"}

    change_source(sources, " (clearest)")
    ((name, outcome),) = outcomes(work, sources).items()
    assert outcome == "update" and name.startswith("01_means.update-") and (work / name).is_file()
    assert mine.read_bytes() == written
    assert outcomes(work, sources) == {"01_means.ipynb": "kept"}

    (work / name).write_text("the student's own notes")
    assert outcomes(work, sources) == {"01_means.ipynb": "kept"}
    assert (work / name).read_text() == "the student's own notes"


def test_starters_have_a_folder_of_their_own(source_dir, tmp_path):
    sources, work = Path(shutil.copytree(source_dir, tmp_path / "sources")), tmp_path / "work"
    (sources / "projects").mkdir()
    starter = Path(shutil.copy(sources / "01_means.ipynb", sources / "projects" / "p1_means.ipynb"))
    delivered = [delivery.path.relative_to(work).as_posix() for delivery in deliver(work, sources)]
    assert delivered == ["01_means.ipynb", "projects/p1_means.ipynb"]
    assert set(outcomes(work, sources).values()) == {"kept"}
    copy = answered(
        source_dir, work / "projects" / "p1_means (1).ipynb", "def mean(values):\n    return np.mean(values)"
    )
    assert find_source(copy, sources) == starter
    (mark,) = check_notebook(copy, sources)
    assert mark.reason == "right"


def test_a_copy_names_the_python_of_this_machine_and_counts_as_untouched_under_another(source_dir, tmp_path):
    """JupyterLab would fill it in when it opens the copy, and then ask whether to save what nobody changed."""
    sources = Path(shutil.copytree(source_dir, tmp_path / "sources"))
    mine = tmp_path / "work" / "01_means.ipynb"
    deliver(mine.parent, sources)
    notebook = read_notebook(mine)
    assert notebook.metadata.language_info == IPythonKernel.language_info
    notebook.metadata.language_info.version = "3.99.0"
    write_notebook(notebook, mine)
    assert outcomes(mine.parent, sources) == {"01_means.ipynb": "kept"}
    change_source(sources, " (clearer)")
    assert outcomes(mine.parent, sources) == {"01_means.ipynb": "renewed"}
    assert read_notebook(mine).metadata.language_info == IPythonKernel.language_info


@pytest.mark.parametrize("manifest", ["", "[]", "{", None])
def test_a_lost_record_counts_every_copy_as_touched(source_dir, tmp_path, manifest):
    sources = Path(shutil.copytree(source_dir, tmp_path / "sources"))
    work = tmp_path / "work"
    deliver(work, sources)
    before = (work / "01_means.ipynb").read_bytes()
    (work / MANIFEST).unlink() if manifest is None else (work / MANIFEST).write_text(manifest)
    change_source(sources, " (clearer)")
    assert list(outcomes(work, sources).values()) == ["update"]
    assert (work / "01_means.ipynb").read_bytes() == before


def test_a_file_in_the_place_of_the_work_folder(source_dir, tmp_path):
    (tmp_path / "work").write_text("")
    with pytest.raises(NotebookError, match="--work"):
        deliver(tmp_path / "work", source_dir)


def test_no_sources_is_said(tmp_path):
    with pytest.raises(NotebookError, match="git checkout"):
        deliver(tmp_path / "work", tmp_path)


# --- the command ------------------------------------------------------------------------------------------------------


def course(*arguments, cwd=None):
    environment = os.environ | {"COLUMNS": "160"}
    return subprocess.run(
        [sys.executable, "-m", "course_utils.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
    )


def test_course_lab_and_check(tmp_path):
    """A student's way: get the copies, answer one exercise, check it."""
    work = tmp_path / "a work folder"
    first = course("lab", "--no-open", "--work", work)
    assert first.returncode == 0, first.stderr
    assert "02_simple_monte_carlo.ipynb is new." in first.stdout
    assert "is new" not in course("lab", "--no-open", "--work", work).stdout
    finished = course("check", work / "02_simple_monte_carlo.ipynb")
    assert finished.returncode == 1
    assert finished.stdout.count("not attempted") == len(exercises(read_notebook(work / "02_simple_monte_carlo.ipynb")))


@pytest.mark.parametrize(
    "arguments", [("check", "no-such.ipynb"), ("check", "README.md"), ("lab", "--no-open", "--work", "README.md")]
)
def test_mistakes_get_a_sentence_and_no_traceback(arguments):
    finished = course(*arguments, cwd=Path(__file__).parent.parent)
    assert finished.returncode == 1
    assert "Traceback" not in finished.stderr and finished.stderr.count("\n") == 1
    assert arguments[-1] in finished.stderr


def test_a_check_knows_the_setup_as_it_was_and_its_own_answer_alone(monkeypatch):
    """Another answer may have called anything anything, and turned double precision on."""
    monkeypatch.setattr(apart, "_kept", {})
    namespace = {"jax": jax, "np": np}
    apart.keep(["jax", "np"], namespace)
    namespace |= {"np": None, "inputs": 7, "double": lambda x: 2 * x, "seen": []}
    jax.config.update("jax_enable_x64", True)
    try:
        source = "inputs = np.ones(2)\nseen.append((double(inputs).tolist(), jax.numpy.ones(1).dtype.name, 'check' in globals()))"
        apart.run_apart(source, ["double", "seen", "never defined"], namespace)
    finally:
        jax.config.update("jax_enable_x64", False)
    assert namespace["seen"] == [([2.0, 2.0], "float32", False)]
    assert namespace["inputs"] == 7


def test_the_students_settings_hold_in_their_functions_alone(monkeypatch):
    monkeypatch.setattr(apart, "_kept", {})
    seen = {}

    def settings(place, *arguments):
        seen[place] = jax.config.jax_enable_x64, jax.config.jax_numpy_rank_promotion, np.geterr()["over"]
        return [each.dtype.name for each in arguments if place == "in a call"]

    source = (
        "see('in the check')\nfound = answer('in a call', jax.numpy.ones(2), np.ones(2), np.ones(2, np.float32))\n"
        "see('after it')\nanswer('with a key', [jax.random.key(0)])\nsee('at the end')\nkept.append(found)"
    )
    kept, before = [], apart._settings()
    students = before | {"jax_enable_x64": True, "jax_numpy_rank_promotion": "raise", "over": "raise"}
    see = type("", (), {"__call__": lambda self, place: settings(place)})()
    with apart._set_to(students):
        names = {"see": see, "answer": settings, "jax": jax, "np": np, "kept": kept}
        apart.run_apart(source, list(names), names)
        assert apart._settings() == students
    assert apart._settings() == before
    courses, own = (False, "allow", "warn"), (True, "raise", "raise")
    assert seen.pop("in a call") == own
    assert seen == dict.fromkeys(["in the check", "after it", "with a key", "at the end"], courses)
    # The check's own array of JAX's is what it would have been in the student's notebook.
    assert kept == [["float64", "float64", "float32"]]


def test_waiting_for_a_core_is_not_taking_time(monkeypatch):
    kernel, clock, waits = object.__new__(BoundKernel), [0.0], {"1": 5.0}
    monkeypatch.setattr(kernels_module.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(kernel, "_waits", lambda: dict(waits), raising=False)
    kernel.begin_cell(10, Limits())
    late = {}
    for clock[0], waits["1"], waits["2"] in [(9, 5, 0), (11, 5, 0), (11, 7, 0), (11, 5, 3), (25, 9, 0), (41, 45, 40)]:
        late[clock[0], waits["1"], waits["2"]] = kernel._is_late(clock[0])
    assert late == {
        (9, 5, 0): False,
        (11, 5, 0): True,
        (11, 7, 0): False,
        (11, 5, 3): False,
        (25, 9, 0): True,
        (41, 45, 40): True,
    }

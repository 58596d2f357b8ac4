"""Releases with solutions: hidden in the notebook, offered to whoever has tried, proved and stamped; grading is the same."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_utils.coursework.author import release as release_module
from course_utils.coursework.author.prove import prove_solutions
from course_utils.coursework.author.release import release
from course_utils.coursework.grade.answers import Given, plans, read_submitted
from course_utils.coursework.kernel.checks import SEED_VARIABLE
from course_utils.coursework.source.notebooks import NotebookError, notebook_bytes, read_notebook, student_copy
from course_utils.coursework.source.solutions import add_solutions, sealed, solution_of
from tests.live import live_kernel
from tests.test_coursework import ANSWER, CHECK, SETUP, role

NAME = "01_means.ipynb"
MARKER = "# The answer to ex-mean-answer; keep this line.\n"
SOLVED = "return values.sum() / len(values)"
SECOND = 'check("the same again", lambda: mean(values), np.mean(values))\n'
VISIBLE = CHECK.partition("### BEGIN HIDDEN")[0].replace('check_seed("mean")', 'check_seed("ex-mean")') + SECOND


@pytest.fixture
def source(tmp_path):
    """A project with one notebook."""
    cells = [
        new_code_cell(SETUP, id="imports", metadata={"tags": ["setup"]}),
        new_markdown_cell("### Exercise 1.1 · A mean", id="ex-mean"),
        new_code_cell(ANSWER, id="ex-mean-answer", metadata=role("ex-mean-answer", solution=True)),
        new_code_cell(CHECK, id="ex-mean-check", metadata=role("ex-mean-check", solution=False, points=2)),
    ]
    folder = tmp_path / "project" / "notebooks"
    folder.mkdir(parents=True)
    nbformat.write(new_notebook(cells=cells), folder / NAME)
    (folder.parent / "README.md").write_text("# A course\n\nText.\n")
    return folder


def offered(outputs):
    """Return the solutions that a cell's outputs show."""
    pages = [output.data["text/html"] for output in outputs if "data" in output]
    return [page for page in pages if "<summary>A solution</summary>" in page]


def work_folder(source, folder, with_solutions):
    notebook = read_notebook(source / NAME)
    student = student_copy(notebook)
    if with_solutions:
        add_solutions(student, notebook)
    folder.mkdir()
    (folder / ".course.json").write_text("{}")
    (folder / NAME).write_bytes(notebook_bytes(student))
    return next(cell.source for cell in student.cells if cell.id == "ex-mean-answer")


def test_a_solution_is_offered_once_to_whoever_has_tried(source, tmp_path):
    stub = work_folder(source, tmp_path / "work", with_solutions=True)
    assert "raise NotImplementedError" in stub
    with live_kernel(tmp_path / "work", JPY_SESSION_NAME=str(tmp_path / "work" / NAME)) as kernel:
        kernel.run(SETUP)
        assert not offered(kernel.run(VISIBLE)), "nothing was written, and nothing run"
        kernel.run(stub)
        assert not offered(kernel.run(VISIBLE)), "the stub is no attempt"
        kernel.run("def mean(values):\n    return np.mean(values)")
        (page,) = offered(kernel.run(VISIBLE))
        assert SOLVED in page and "SOLUTION" not in page
        for tried in ("return values.sum()", "return values.average()", "return (", "return values.mean()"):
            kernel.run(f"{MARKER}def mean(values):\n    {tried}")
            assert len(offered(kernel.run(VISIBLE))) == 1, tried


def test_it_is_not_offered_where_nobody_allowed_it_nor_where_it_is_graded(source, tmp_path):
    work_folder(source, tmp_path / "without", with_solutions=False)
    work_folder(source, tmp_path / "graded", with_solutions=True)
    for folder, environment in [("without", {}), ("graded", {SEED_VARIABLE: "secret"})]:
        with live_kernel(tmp_path / folder, JPY_SESSION_NAME=NAME, **environment) as kernel:
            kernel.run(f"{SETUP}\ndef mean(values):\n    return np.mean(values)")
            outputs = kernel.run(VISIBLE)
            assert outputs and not offered(outputs)


def test_a_release_with_solutions_is_stamped_and_shows_none_by_accident(source, tmp_path):
    files = release(tmp_path / "out", source, with_solutions=True)
    notebook = read_notebook(tmp_path / "out" / "notebooks" / NAME)
    assert notebook.metadata.course.solutions == "folded"
    assert SOLVED in solution_of(notebook, "ex-mean")
    assert "Released with solutions" in (tmp_path / "out" / "README.md").read_text()
    assert json.loads((tmp_path / "out" / "release.json").read_text())["solutions"] == "folded"
    assert not any(SOLVED.encode() in path.read_bytes() for path in files)
    assert student_copy(notebook) == notebook


def test_by_default_a_release_has_neither_solutions_nor_stamp(source, tmp_path):
    release(tmp_path / "out", source)
    notebook = read_notebook(tmp_path / "out" / "notebooks" / NAME)
    assert solution_of(notebook, "ex-mean") == "" and "solutions" not in notebook.metadata.course
    assert "solutions" not in json.loads((tmp_path / "out" / "release.json").read_text())
    assert "solutions" not in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    "seal", [sealed("def mean(values):\n    return 0"), "", SOLVED], ids=["other", "none", "plain"]
)
def test_a_release_whose_solutions_are_wrong_or_can_be_read_is_refused(source, tmp_path, monkeypatch, seal):
    def add(student, notebook):
        add_solutions(student, notebook)
        student.cells[-1].metadata["course"]["solution"] = seal

    monkeypatch.setattr(release_module, "add_solutions", add)
    with pytest.raises(NotebookError, match=r"ex-mean: (what the copy|the line)"):
        release(tmp_path / "out", source, with_solutions=True)
    assert [path.name for path in tmp_path.iterdir()] == ["project"]


def test_a_copy_without_the_stamp_is_refused(source):
    notebook = read_notebook(source / NAME)
    student = student_copy(notebook)
    add_solutions(student, notebook)
    assert prove_solutions(student, notebook, NAME) == []
    del student.metadata["course"]["solutions"]
    assert prove_solutions(student, notebook, NAME) == [
        f"{NAME}: the student's copy does not say that it holds solutions."
    ]


def test_a_grader_runs_the_same_with_and_without_them(source):
    """What is run of a submission does not depend on the metadata that hold the solutions."""
    notebook = read_notebook(source / NAME)
    given = Given(notebook)
    asked = {each.name: each.check.source for each in given.exercises}
    programs = []
    for with_solutions in (False, True):
        student = student_copy(notebook)
        if with_solutions:
            add_solutions(student, notebook)
        student.cells[2].source = f"{MARKER}def mean(values):\n    return np.mean(values)"
        programs.append(plans(read_submitted(notebook_bytes(student), given), given, asked))
    assert programs[0] == programs[1] and programs[0][0].program

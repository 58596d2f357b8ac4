"""Read source notebooks: their exercises, the student's copy of them, and the part of them that checks run.

The metadata and the comment markers are nbgrader's (cell metadata schema 3), so that nbgrader reads these notebooks too.
"""

import copy
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_utils.errors import CourseError
from course_utils.paths import NOTEBOOKS_DIR, course_notebooks

SETUP_TAG = "setup"
MARKER = "# The answer to {}; keep this line."
STUB = 'raise NotImplementedError("your answer goes here")'
SOLUTION = re.compile(
    r"^(?P<indent>[ \t]*)### BEGIN SOLUTION[ \t]*\n.*?^[ \t]*### END SOLUTION[ \t]*$", re.DOTALL | re.MULTILINE
)
HIDDEN_TESTS = re.compile(
    r"\n*^[ \t]*### BEGIN HIDDEN TESTS[ \t]*\n.*?^[ \t]*### END HIDDEN TESTS[ \t]*$", re.DOTALL | re.MULTILINE
)


class NotebookError(CourseError):
    """A notebook cannot be read, does not run, or is not one of the course."""


@dataclass(frozen=True)
class Exercise:
    """One exercise of a source notebook: an answer cell with a solution, and the cell that checks it."""

    name: str
    title: str
    points: float
    answer: NotebookNode
    check: NotebookNode


def read_notebook(path: Path) -> NotebookNode:
    """Return the notebook at ``path`` in format 4; raise ``NotebookError`` if it is none."""
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except OSError as error:
        raise NotebookError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}.") from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError, nbformat.ValidationError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NotebookError(
            f"{path} is not a Jupyter notebook ({reason[:120]}): open and save it in JupyterLab, or restore it."
        ) from None
    return notebook


def write_notebook(notebook: NotebookNode, path: Path) -> None:
    """Write ``notebook`` to ``path``, whole or not at all."""
    write_whole(path, notebook_bytes(notebook))


def notebook_bytes(notebook: NotebookNode) -> bytes:
    """Return what a file with this notebook holds."""
    return (nbformat.writes(notebook).rstrip("\n") + "\n").encode()


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that no reader, and no crash, ever meets half of it."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        reason = (error.strerror or str(error)).lower()
        raise NotebookError(f"{path} cannot be written ({reason}); what was there before is untouched.") from None


def source_notebooks(directory: Path = NOTEBOOKS_DIR) -> list[Path]:
    """Return the source notebooks in the order in which they are taught."""
    return course_notebooks(directory)


def full_name(name: str, known: Iterable[str]) -> str:
    """Return the one notebook whose name begins so.

    Raises:
        NotebookError: there is none, or there are several.
    """
    known = list(known)
    begin_so = [each for each in known if each.startswith(name)]
    if name in known:
        return name
    if len(begin_so) != 1:
        raise NotebookError(f"There is no notebook {name} in the course; there are {', '.join(known)}.")
    return begin_so[0]


def find_notebook(name: str, directory: Path = NOTEBOOKS_DIR) -> Path:
    """Return the one source notebook whose name begins so; raise ``NotebookError`` if there is none, or are several."""
    paths = {path.name: path for path in source_notebooks(directory)}
    return paths[full_name(name, paths)]


def exercises(notebook: NotebookNode) -> list[Exercise]:
    """Return the exercises of a source notebook, in order.

    Raises:
        NotebookError: an answer has no check of the same name, or a check no answer.
    """
    titles, answers, found = {}, {}, []
    for cell in notebook.cells:
        role = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "markdown" and cell.id.startswith("ex-"):
            # Text may lead on to the heading. Neither a table nor a page of grades draws formulas.
            heading = re.search(r"^#+ .+", cell.source, re.MULTILINE)
            titles[cell.id] = re.sub(r"\$([^$]+)\$", r"\1", heading[0].lstrip("# ")) if heading else cell.id
        elif role.get("solution"):
            answers[role["grade_id"].removesuffix("-answer")] = cell
        elif role.get("grade"):
            name = role["grade_id"].removesuffix("-check")
            if name not in answers:
                raise NotebookError(f"The check cell {cell.id} stands after no answer cell called {name}-answer.")
            found.append(Exercise(name, titles.get(name, name), role["points"], answers.pop(name), cell))
    if answers:
        raise NotebookError(f"The answer cell {next(iter(answers))}-answer has no check cell.")
    return found


def is_setup(cell: NotebookNode) -> bool:
    """Return whether a cell sets up what exercises need, and so is run with them."""
    return SETUP_TAG in cell.metadata.get("tags", [])


def is_check(cell: NotebookNode) -> bool:
    """Return whether a cell checks the answer to an exercise."""
    return bool(cell.metadata.get("nbgrader", {}).get("grade"))


def digest_of_cell(source: str) -> str:
    """Return what tells one cell's source from another's, whatever white space an editor changed at the ends of lines."""
    lines = [line.rstrip() for line in source.strip().splitlines()]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "replace")).hexdigest()[:24]


def digest_of_source(source: NotebookNode) -> str:
    """Return what tells one source notebook from another as far as marks depend on it: its code."""
    code = [f"{cell.id}\0{cell.source}" for cell in source.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()


def student_copy(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook as a student gets it: stubs for solutions, no hidden tests, no outputs.

    Its metadata say what its cells were, so that it can still be told what a student changed when the course has moved on.
    """
    student = copy.deepcopy(notebook)
    for cell in student.cells:
        role = cell.metadata.get("nbgrader", {})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if role.get("solution"):
            cell.source = SOLUTION.sub(lambda match: match["indent"] + STUB, cell.source)
            marker = MARKER.format(role["grade_id"])
            # Some editors drop ids and metadata; a comment stays.
            if marker not in cell.source:
                cell.source = f"{marker}\n{cell.source}"
        if role.get("grade"):
            cell.source = HIDDEN_TESTS.sub("", cell.source)
            cell.metadata.update(editable=False, deletable=False)
    given = {cell.id: digest_of_cell(cell.source) for cell in student.cells if cell.cell_type == "code"}
    student.metadata["course"] = {**student.metadata.get("course", {}), "given": given}
    return student


def with_answers(notebook: NotebookNode, answers: dict[str, str]) -> NotebookNode:
    """Return what a check needs of a source notebook, and no more: setup cells, answers, checks.

    ``answers`` maps names of exercises to the source that takes the place of the solution; where there is none the
    exercise is left as a student finds it.
    """
    chosen = nbformat.v4.new_notebook(metadata=copy.deepcopy(notebook.metadata))
    for cell in notebook.cells:
        role = cell.metadata.get("nbgrader", {})
        if cell.cell_type != "code" or not (role or is_setup(cell)):
            continue
        cell = copy.deepcopy(cell)
        if role.get("solution"):
            stub = SOLUTION.sub(lambda match: match["indent"] + STUB, cell.source)
            cell.source = answers.get(role["grade_id"].removesuffix("-answer"), stub)
        chosen.cells.append(cell)
    return chosen

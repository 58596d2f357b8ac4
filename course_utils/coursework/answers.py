"""Read the answers in a notebook that a stranger handed in: bytes to source text, none of which is evaluated here."""

import ast
import functools
import json
from dataclasses import dataclass
from types import UnionType
from typing import Any, NamedTuple

from nbformat import NotebookNode

from course_utils.coursework.notebooks import MARKER, Exercise, NotebookError, exercises, is_setup, student_copy
from course_utils.coursework.statements import defined, names_of, statements, used

MAX_ANSWER_CHARACTERS = 200_000
DEFINITIONS = ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
ASSIGNMENTS = ast.Assign | ast.AnnAssign | ast.AugAssign


class UnreadableError(NotebookError):
    """What was handed in is no notebook that can be graded; the sentence is fit for the student."""


@dataclass(frozen=True)
class Answers:
    """The answers found in a notebook, by exercise.

    Attributes:
        sources: the source of each, after all other answers of the notebook.
        alone: the source of each when it is run without the others: what it uses of the answers above it goes in front.
        notes: what is worth noting about how it was found.
    """

    sources: dict[str, str]
    alone: dict[str, str]
    notes: dict[str, str]


def read_answers(content: bytes, source: NotebookNode) -> Answers:
    """Return the answers in ``content``, the bytes of a notebook of format 3 or 4, to the exercises of ``source``.

    A cell is an answer if it has the id of the answer cell; or else its ``grade_id`` in the metadata; or else the comment
    that marks it in the student's copy. If several cells have the same claim, the last one counts. If what it should define
    is defined in a cell that the student added between it and its check, then that is the answer; or in any added cell, if it
    is untouched or gone. What an answer uses of the cells above it goes in front of it: imports, functions and classes; and
    variables, if the student added or changed the cell.

    Raises:
        UnreadableError: ``content`` is no notebook.
    """
    cells, student = _code_cells(content), student_copy(source)
    claimed, notes = _claimed(cells, source, student)
    given = {cell.source.strip() for cell in student.cells}
    # Setup is run anyway, answers have their turn, and of checks nothing is to be taken.
    roles = [cell for cell in student.cells if cell.metadata.get("nbgrader")]
    setup = [cell for cell in student.cells if is_setup(cell)]
    passed_over = {cell.id for cell in roles} | {cell.source.strip() for cell in roles + setup}
    sources, alone = {}, {}
    helpers, above, room = [], [], MAX_ANSWER_CHARACTERS
    for cell in cells:
        text = cell["source"]
        for name in claimed.get(id(cell), []):
            sources[name], alone[name] = (_needed(own, text) + text for own in (helpers, above))
        if id(cell) in claimed:
            above += _helpers(text)
        elif not ({cell["id"], text.strip()} & passed_over or cell["grade_id"]):
            is_given = text.strip() in given
            room -= 0 if is_given else len(text)
            more = _given_helpers(text) if is_given else _helpers(text) if room >= 0 else []
            helpers, above = helpers + more, above + more
    return Answers(sources, alone, notes)


def _claimed(
    cells: list[dict[str, Any]], source: NotebookNode, student: NotebookNode
) -> tuple[dict[int, list[str]], dict[str, str]]:
    """Return which exercises each cell is the answer to, by the cell's identity, and what is unusual about it, by exercise."""
    stubs = {exercise.name: exercise.answer.source.strip() for exercise in exercises(student)}
    known = {part for cell in student.cells for part in (cell.id, cell.source.strip())}
    new = [cell for cell in cells if not {cell["id"], cell["source"].strip()} & known]
    notes: dict[str, str] = {}
    claimed: dict[int, list[str]] = {}
    for exercise in exercises(source):
        grade_id = exercise.answer.metadata.nbgrader.grade_id
        ways = {
            "": lambda cell: cell["id"] == exercise.answer.id,
            "found by its metadata": lambda cell: cell["grade_id"] == grade_id,
            "found by its comment": lambda cell: MARKER.format(grade_id) in cell["source"],
        }
        for note, is_answer in ways.items():
            claims = [cell for cell in cells if is_answer(cell)]
            if claims:
                several = f"{len(claims)} cells claim to be it; the last one counts" if len(claims) > 1 else ""
                below = _between(cells, claims[-1], exercise, student)
                is_stub = claims[-1]["source"].strip() == stubs[exercise.name]
                elsewhere = _written_elsewhere(stubs[exercise.name], [cell for cell in new if is_stub or cell in below])
                if elsewhere:
                    note, claims = "written into a cell of the student's own", elsewhere
                claimed.setdefault(id(claims[-1]), []).append(exercise.name)
                notes[exercise.name] = "; ".join(filter(None, [note, several]))
                break
        else:
            for cell in _written_elsewhere(stubs[exercise.name], new)[-1:]:
                claimed.setdefault(id(cell), []).append(exercise.name)
                notes[exercise.name] = "found by the names that it defines"
    return claimed, notes


def _between(cells: list[dict[str, Any]], answer: dict[str, Any], exercise: Exercise, student: NotebookNode) -> list[dict[str, Any]]:
    """Return the cells between an answer and its check: what they define is what the check meets when a student runs it."""
    source = next(cell.source.strip() for cell in student.cells if cell.id == exercise.check.id)
    grade_id = exercise.check.metadata.nbgrader.grade_id
    start = next(number for number, cell in enumerate(cells) if cell is answer)
    for number, cell in enumerate(cells[start:], start):
        if cell["id"] == exercise.check.id or cell["grade_id"] == grade_id or cell["source"].strip() == source:
            return cells[start + 1 : number]
    return []


def _written_elsewhere(stub: str, new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those of the ``new`` cells in which all is defined that an answer's ``stub`` defines."""
    asked = names_of(defined, stub)
    return [cell for cell in new if asked and asked <= names_of(defined, cell["source"])]


class Helper(NamedTuple):
    """A statement that an answer may need: its source, the names that it brings along, and those that it uses."""

    source: str
    brings: set[str]
    uses: set[str]


def _helpers(source: str, kinds: UnionType = DEFINITIONS | ASSIGNMENTS) -> list[Helper]:
    """Return the statements of a cell that are of one of ``kinds``."""
    found = []
    for statement in statements(source):
        if isinstance(statement, kinds):
            is_star = isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*"
            found.append(Helper(ast.unparse(statement), {"*"} if is_star else defined(statement), used(statement)))
    return found


@functools.cache
def _given_helpers(source: str) -> list[Helper]:
    """Return the functions, classes and imports of a cell of the course, which is one of not too many."""
    return _helpers(source, DEFINITIONS)


def _needed(helpers: list[Helper], answer: str) -> str:
    """Return those of ``helpers`` that ``answer`` uses, directly or through one another: experiments are not run again."""
    # Nobody can tell what a star brings along.
    todo = ["*", *names_of(used, answer) - names_of(defined, answer)]
    by_name: dict[str, list[int]] = {}
    for number, helper in enumerate(helpers):
        for name in helper.brings:
            by_name.setdefault(name, []).append(number)
    needed = set()
    while todo:
        for number in by_name.pop(todo.pop(), []):
            needed.add(number)
            todo += helpers[number].uses
    return "".join(f"{helpers[number].source}\n" for number in sorted(needed)) + ("\n" if needed else "")


def _code_cells(content: bytes) -> list[dict[str, Any]]:
    """Return ``id``, ``grade_id`` and ``source`` of each code cell; whatever else there is does not matter."""
    try:
        notebook = json.loads(content.decode("utf-8-sig"), parse_constant=lambda name: None)
    except RecursionError:
        raise UnreadableError("The file is nested too deeply to be a notebook.") from None
    except ValueError:
        raise UnreadableError("The file is not a Jupyter notebook, or not all of it: hand it in again.") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if cells is None and isinstance(notebook, dict):
        sheets = notebook.get("worksheets")
        sheets = sheets if isinstance(sheets, list) else []
        # Format 3 kept its cells in worksheets, of which Jupyter only ever made one.
        lists = [sheet.get("cells") for sheet in sheets if isinstance(sheet, dict)]
        cells = [cell for each in lists if isinstance(each, list) for cell in each] if lists else None
    if not isinstance(cells, list):
        raise UnreadableError("The file is JSON, but not a Jupyter notebook: it has no list of cells.")
    found = []
    for cell in cells:
        if not isinstance(cell, dict) or cell.get("cell_type") != "code":
            continue
        source = cell.get("source", cell.get("input", ""))
        if isinstance(source, list):
            source = "".join(part for part in source if isinstance(part, str))
        if not isinstance(source, str) or len(source) > MAX_ANSWER_CHARACTERS:
            continue
        metadata = cell.get("metadata")
        role = metadata.get("nbgrader") if isinstance(metadata, dict) else None
        found.append(
            {
                "id": _text(cell.get("id")),
                "grade_id": _text(role.get("grade_id")) if isinstance(role, dict) else "",
                # Half of a surrogate pair can be in JSON but in no file, and NUL in no source.
                "source": source.encode("utf-8", "replace").decode().replace("\r\n", "\n").replace("\0", ""),
            }
        )
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

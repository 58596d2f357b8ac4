"""Read the notebook that a student handed in, and say what is to be run for each exercise.

Every cell that the student added or changed runs whole, as it stands; nothing of it is looked into here but for the words
in it. Of the lecture's own cells those that set up are run, in their places, and of the others the definitions that the
student's cells use. A notebook's metadata say what its cells were when it was released.
"""

import ast
import functools
import itertools
import json
import keyword
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from nbformat import NotebookNode

from course_utils.coursework.run.program import Program, Step
from course_utils.coursework.source.names import defined, imported, names_of, statements, used
from course_utils.coursework.source.notebooks import (
    MARKER,
    Exercise,
    NotebookError,
    digest_of_cell,
    exercises,
    is_check,
    is_setup,
    student_copy,
)

MAX_CELL_CHARACTERS = 200_000
MAX_CODE_CHARACTERS = 2_000_000
MAX_CELLS = 2_000
# To find out which names were missed, once an answer has failed; a long text can take a second for each 50,000.
MAX_CHARACTERS_PARSED = 40_000
APART = "from course_utils.coursework.kernel import apart as _apart\n"
# An answer to a check's question of the process that it runs in: JAX reads these when it is imported.
SETS_ENVIRONMENT = re.compile(r"\b(?:JAX|XLA)_[A-Z]")
WORD = re.compile(r"[^\W\d]\w*")
# What binds a name, in a cell that need not be Python: too many names do no harm. Nothing in it is tried twice.
_IMPORTED = r"\w++(?:\.\w++)*+(?:[ \t]++as[ \t]++\w++)?+"
_TARGET = r"[ \t*(\[]*+\w++[ \t)\]]*+"
_TARGETS = rf"{_TARGET}(?:,{_TARGET})*+(?:,[ \t]*+)?+"
BINDING = re.compile(
    rf"""^[ \t]*+(?:async[ \t]++)?(?:def|class)[ \t]++(?P<definition>\w++)
      | ^(?P<targets>{_TARGETS})(?::[^=\n]*+)?=(?!=)
      | (?<=[;:=])(?P<further>{_TARGETS})=(?!=)
      | \b(?P<walrus>\w++)[ \t]*+:=
      | \bimport[ \t]++(?P<imported>{_IMPORTED}(?:[ \t]*+,[ \t]*+{_IMPORTED})*+)
      | \bimport[ \t]*+\((?P<listed>[^()]*+)\)
      | \bas[ \t]++(?P<alias>{_TARGETS})
      | \bfor[ \t]++(?P<variables>{_TARGETS})""",
    re.MULTILINE | re.VERBOSE,
)
# What writes into what a name stands for: ``table["two"] = 2``, ``table.append(2)``, ``n += 1``.
CHANGING = re.compile(r"^[ \t]*+(\w++)[ \t]*+(?:[\[.]|[-+*/%&|^@<>]{1,2}=)", re.MULTILINE)
IMPORTING = re.compile(r"^[ \t]*+(?:from|import)\b.*", re.MULTILINE)
# How Python looks at what other functions hold, such as the check that calls an answer.
LOOKS_INTO_OTHERS = {
    "_getframe", "currentframe", "f_back", "f_globals", "f_locals", "tb_frame", "gi_frame", "cell_contents", "get_objects",
    "get_referrers", "settrace", "setprofile", "COURSE_CHECK_SEED",
}  # fmt: skip
IMPORTS_ALL = re.compile(r"\bimport[ \t]++\*")


class UnreadableError(NotebookError):
    """What was handed in is no notebook that can be graded; the sentence is fit for the student."""


class Cell(msgspec.Struct, frozen=True):
    """A code cell that was handed in.

    Attributes:
        given: the id of the lecture's cell that it is, unchanged; its source is left out then.
        answers: the exercise as whose answer it is marked, and how, if it is.
        checks: the exercise whose check's place it takes.
        sets_up: the id of the setup cell that it was before it was changed.
    """

    source: str
    given: str = ""
    answers: str = ""
    marked_by: str = ""
    checks: str = ""
    sets_up: str = ""


class Submitted(msgspec.Struct, frozen=True):
    """The code cells of a notebook that was handed in, in their order."""

    cells: tuple[Cell, ...]

    @property
    def untouched(self) -> bool:
        """Whether it is as the student got it."""
        return all(cell.given for cell in self.cells)


@dataclass(frozen=True)
class Statement:
    """A definition, an import or a plain constant of the lecture, outside of setup cells."""

    cell: str
    source: str
    defines: frozenset[str]
    uses: frozenset[str]


class Given:
    """A source notebook, as far as it has to be known to read what students made of their copies of it."""

    def __init__(self, source: NotebookNode):
        self.exercises: tuple[Exercise, ...] = tuple(exercises(source))
        self.student = student_copy(source)
        code = [cell for cell in self.student.cells if cell.cell_type == "code"]
        self.setup = [cell for cell in code if is_setup(cell)]
        self.ids = {cell.id for cell in code}
        self.by_digest = {digest_of_cell(cell.source): cell.id for cell in code}
        # The reference answers are handed in like any other, with their checks as they stand in the source.
        self.by_digest |= {digest_of_cell(cell.source): cell.id for cell in source.cells if is_check(cell)}
        self.stubs = {cell.id: cell.source for cell in code if cell.metadata.get("nbgrader", {}).get("solution")}
        self.asked = {each.name: names_of(defined, each.answer.source) for each in self.exercises}
        self.setup_names = {cell.id: sorted(names_of(defined, cell.source)) for cell in self.setup}
        self.imports = frozenset(name for cell in self.setup for name in imported(cell.source))
        lecture = [cell for cell in code if not (is_setup(cell) or cell.metadata.get("nbgrader"))]
        self.statements = [each for cell in lecture for each in _definitions(cell)]
        checks = [cell for cell in code if is_check(cell)]
        self.lecture_names = set().union(*(names_of(defined, cell.source) for cell in [*lecture, *checks]))
        self.course_names = set().union(*self.setup_names.values(), *(each.defines for each in self.statements))
        constants = [each for cell in lecture for each in statements(cell.source) if _is_constant(each)]
        # What begins as ``{}`` or 0, and has its values from what is not run.
        self.filled = set().union(*map(defined, constants)) & set().union(
            *(changed_names(cell.source) for cell in lecture)
        )
        self.course_lines = {line.strip() for cell in [*self.setup, *lecture] for line in cell.source.splitlines()}

    def definitions_for(self, words: Iterable[str]) -> list[Statement]:
        """Return the lecture's definitions that use of ``words`` may need, directly or through one another."""
        todo, needed = list(words), set()
        by_name: dict[str, list[int]] = {}
        for number, each in enumerate(self.statements):
            for name in each.defines:
                by_name.setdefault(name, []).append(number)
        while todo:
            for number in by_name.pop(todo.pop(), []):
                needed.add(number)
                todo += self.statements[number].uses
        return [self.statements[number] for number in sorted(needed)]


def _definitions(cell: NotebookNode) -> list[Statement]:
    found = []
    for statement in statements(cell.source):
        is_definition = isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom)
        if is_definition or _is_constant(statement):
            names = frozenset(defined(statement)), frozenset(used(statement))
            found.append(Statement(cell.id, ast.unparse(statement), *names))
    return found


def _is_constant(statement: ast.stmt) -> bool:
    """Return whether a statement gives a name to a number, a text or a collection of them that stand there."""
    if not isinstance(statement, ast.Assign):
        return False
    try:
        ast.literal_eval(statement.value)
    except ValueError:
        return False
    return True


def read_submitted(content: bytes, given: Given) -> Submitted:
    """Return the code cells in ``content``, the bytes of a notebook of format 3 or 4.

    A cell is taken for the answer to an exercise if it has the id of the answer's cell, or its ``grade_id`` in the metadata,
    or the comment that marks it in the student's copy. Empty cells are left out.

    Raises:
        UnreadableError: it is no notebook, or there is too much in it.
    """
    notebook = _parse(content)
    released = _released_digests(notebook)
    cells = []
    raw_cells = _raw_code_cells(notebook)
    if len(raw_cells) > MAX_CELLS:
        raise UnreadableError(f"The notebook has more than {MAX_CELLS:,} code cells: hand in only what you need.")
    characters = 0
    for raw in raw_cells:
        source = _source_of(raw)
        characters += len(source)
        if characters > MAX_CODE_CHARACTERS or len(source) > MAX_CELL_CHARACTERS:
            raise UnreadableError(
                f"A cell of the notebook holds more than {MAX_CELL_CHARACTERS:,} characters of code, or the whole notebook "
                f"more than {MAX_CODE_CHARACTERS:,}: hand in only what you need."
            )
        if source.strip():
            cells.append(_cell(raw, source, released, given))
    return Submitted(tuple(cells))


def _parse(content: bytes) -> dict[str, Any]:
    try:
        notebook = json.loads(content.decode("utf-8-sig"), parse_constant=lambda name: None)
    except RecursionError:
        raise UnreadableError("The file is nested too deeply to be a notebook.") from None
    except (ValueError, MemoryError):
        raise UnreadableError("The file is not a Jupyter notebook, or not all of it: hand it in again.") from None
    if not isinstance(notebook, dict):
        raise UnreadableError("The file is JSON, but not a Jupyter notebook: it has no list of cells.")
    return notebook


def _raw_code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    cells = notebook.get("cells")
    if cells is None and isinstance(notebook.get("worksheets"), list):
        # Format 3 kept its cells in worksheets, of which Jupyter only ever made one.
        lists = [sheet.get("cells") for sheet in notebook["worksheets"] if isinstance(sheet, dict)]
        cells = [cell for each in lists if isinstance(each, list) for cell in each] if lists else None
    if not isinstance(cells, list):
        raise UnreadableError("The file is JSON, but not a Jupyter notebook: it has no list of cells.")
    return [cell for cell in cells if isinstance(cell, dict) and cell.get("cell_type") == "code"]


def _released_digests(notebook: dict[str, Any]) -> dict[str, str]:
    """Return, by their digests, the ids that cells had in the release; whoever forges them loses cells of their own."""
    value: Any = notebook
    for name in ("metadata", "course", "given"):
        value = value.get(name) if isinstance(value, dict) else None
    return (
        {digest: name for name, digest in value.items() if isinstance(digest, str)} if isinstance(value, dict) else {}
    )


def _source_of(raw: dict[str, Any]) -> str:
    source = raw.get("source", raw.get("input", ""))
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    # Half of a surrogate pair can be in JSON but in no file, and NUL in no source.
    text = _text(source).encode("utf-8", "replace").decode().replace("\r\n", "\n").replace("\0", "")
    return text.lstrip("﻿")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _cell(raw: dict[str, Any], source: str, released: Mapping[str, str], given: Given) -> Cell:
    name, metadata = _text(raw.get("id")), raw.get("metadata")
    role = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    grade_id = _text(role.get("grade_id")) if isinstance(role, dict) else ""
    digest = digest_of_cell(source)
    origin = given.by_digest.get(digest) or released.get(digest, "")
    if origin:
        return Cell("", given=origin)
    for exercise in given.exercises:
        answer, check = exercise.answer, exercise.check
        ways = {
            "id": name == answer.id,
            "metadata": grade_id == answer.metadata.nbgrader.grade_id,
            "comment": MARKER.format(answer.metadata.nbgrader.grade_id) in source,
        }
        marked_by = next((way for way, holds in ways.items() if holds), "")
        if marked_by:
            return Cell(source, answers=exercise.name, marked_by=marked_by)
        if check.id == name or check.metadata.nbgrader.grade_id == grade_id:
            return Cell(source, checks=exercise.name)
    return Cell(source, sets_up=name if name in given.setup_names else "")


def words_of(source: str) -> set[str]:
    """Return all words in a cell that could be names."""
    return set(WORD.findall(source))


def bound_names(source: str) -> set[str]:
    """Return the names that a cell may bind, found by its words, since it need not be Python."""
    return {
        name for match in BINDING.finditer(source) for group in match.groups() if group for name in WORD.findall(group)
    }


def changed_names(source: str) -> set[str]:
    """Return the names of what a cell may write into, found like those that it may bind."""
    return {name for name in CHANGING.findall(source) if not keyword.iskeyword(name)}


@dataclass(frozen=True)
class Plan:
    """What is to be run for one exercise, and what is worth noting.

    Attributes:
        program: ``None`` if there is nothing that could be judged: the answer's cell is as it was, or gone.
        is_missing: whether the answer's cell is gone.
    """

    exercise: Exercise
    program: Program | None
    note: str = ""
    is_missing: bool = False
    words: frozenset[str] = frozenset()


def plans(submitted: Submitted, given: Given, checks: Mapping[str, str]) -> list[Plan]:
    """Return what to run for each exercise of ``given``; ``checks`` are the sources of the checks, by exercise."""
    return [_plan(exercise, submitted, given, checks[exercise.name]) for exercise in given.exercises]


def _plan(exercise: Exercise, submitted: Submitted, given: Given, check: str) -> Plan:
    cells, asked = submitted.cells, given.asked[exercise.name]
    # Whoever copied the check has seen what the last copy said.
    checked_at = [i for i, cell in enumerate(cells) if cell.given == exercise.check.id or cell.checks == exercise.name]
    place = max(checked_at, default=len(cells))
    chosen = {i for i, cell in enumerate(cells[:place]) if not cell.given and cell.answers in ("", exercise.name)}
    chosen |= {i for i in checked_at if cells[i].checks}
    if not any(asked & bound_names(cells[i].source) for i in chosen):
        chosen |= {i for i, cell in enumerate(cells) if cell.answers == exercise.name}
    _add_needed(chosen, cells, place, asked, given)
    binding = [i for i in sorted(chosen) if asked & bound_names(cells[i].source)]
    has_stub = any(cell.given == exercise.answer.id for cell in cells)
    own = [i for i in sorted(chosen) if cells[i].answers == exercise.name]
    if not binding and not own:
        return Plan(exercise, None, is_missing=not has_stub)
    words = set().union(*(words_of(cells[i].source) for i in chosen))
    fresh = any(SETS_ENVIRONMENT.search(cells[i].source) for i in chosen)
    places = _setup_places(cells, given)
    steps = _course_steps(chosen, cells, place, places, words - asked, given)
    for i in sorted(chosen):
        step = Step(f"student-{i}", cells[i].source, author="student", is_needed=i in (binding or own))
        steps.append((_when(i, cells, place, places, given), step))
    # What stands at one place keeps its order: the lecture's cell, then what the student made of it.
    in_order = [step for _, step in sorted(steps, key=lambda each: each[0])]
    in_order.append(check_step(exercise, check, asked))
    program = Program(exercise.name, tuple(in_order), fresh)
    return Plan(exercise, program, _note(cells, own, words), words=frozenset(words))


def _setup_places(cells: tuple[Cell, ...], given: Given) -> dict[str, int]:
    """Return where each setup cell stands, or what the student made of it; one that is gone stands above everything."""
    return {
        cell.id: next((i for i, each in enumerate(cells) if cell.id in (each.given, each.sets_up)), -1)
        for cell in given.setup
    }


def _when(i: int, cells: tuple[Cell, ...], place: int, places: Mapping[str, int], given: Given) -> float:
    """Return when the student's cell ``i`` runs, in numbers of cells.

    In the notebook's order, but for what stands below the check, which runs last, and what stands above a setup cell and
    uses its names: it cannot have run before.
    """
    if i > place:
        return len(cells) + i
    if cells[i].sets_up:
        return i - 0.5 if SETS_ENVIRONMENT.search(cells[i].source) else i
    uses = words_of(IMPORTING.sub("", cells[i].source)) - bound_names(cells[i].source)
    return max([i, *(where for name, where in places.items() if uses & set(given.setup_names[name]))])


def _course_steps(
    chosen: set[int], cells: tuple[Cell, ...], place: int, places: Mapping[str, int], words: set[str], given: Given
) -> list[tuple[float, Step]]:
    """Return the lecture's setup cells and the definitions that ``words`` need, with the places at which they run.

    All definitions stand right below the setup, since whoever went back in a notebook had them; and once more in their own
    place those that bind anew what the student had bound above them.
    """
    steps = [(places[cell.id], step) for cell, step in zip(given.setup, _setup_steps(given), strict=True)]
    needed = given.definitions_for(words)
    steps.append((max(places.values(), default=-1), _definition_step(needed)))
    stands_at = {cell.given: i for i, cell in enumerate(cells) if cell.given}
    bound_by = {i: bound_names(cells[i].source) for i in chosen}
    for cell, statements_of_cell in itertools.groupby(needed, lambda each: each.cell):
        where = stands_at.get(cell, place)
        bound = set().union(*(names for i, names in bound_by.items() if i < where))
        again = [each for each in statements_of_cell if where < place and each.defines & bound]
        if again:
            steps.append((where, _definition_step(again)))
    return steps


def _add_needed(chosen: set[int], cells: tuple[Cell, ...], place: int, asked: set[str], given: Given) -> None:
    """Add the cells that those in ``chosen`` may need: answers to other exercises, and what stands below the check.

    Above the check the student's cells mean what they say there, lines apart that the lecture has, too. Below it a cell can
    only bring what the cells above and the course had not bound.
    """
    others = {i: _brings(cell.source, given) for i, cell in enumerate(cells) if not (cell.given or i in chosen)}
    bound_above = set().union(*(_brings(cell.source, given) for cell in cells[:place] if not cell.given))
    others = {i: names if i < place else names - given.course_names - bound_above for i, names in others.items()}
    bound = set().union(*(bound_names(cells[i].source) for i in chosen))
    if not asked & bound:
        # Whoever writes an answer into a cell of their own may have put it anywhere.
        chosen |= {i for i in others if asked & bound_names(cells[i].source)}
    # It cannot be told which names these bind.
    chosen |= {i for i in others if IMPORTS_ALL.search(cells[i].source)}
    todo = list(chosen)
    while todo:
        words = words_of(cells[todo.pop()].source)
        for i, names in others.items():
            if i not in chosen and words & (names - asked):
                chosen.add(i)
                todo.append(i)


def _brings(source: str, given: Given) -> set[str]:
    """Return the names that a cell may bind or change, other than by what the lecture does as well."""
    own = "\n".join(line for line in source.split("\n") if line.strip() not in given.course_lines)
    return bound_names(own) | changed_names(own) - given.course_names


def _note(cells: tuple[Cell, ...], own: list[int], words: set[str]) -> str:
    notes = []
    if not own:
        notes.append("written into a cell of the student's own")
    elif all(cells[i].marked_by != "id" for i in own):
        notes.append(f"found by its {cells[own[-1]].marked_by}")
    if len(own) > 1:
        notes.append(f"{len(own)} cells are marked as the answer; all of them ran, in their order")
    if looks := sorted(LOOKS_INTO_OTHERS & words):
        notes.append(f"it looks into what other functions hold ({', '.join(looks)})")
    return "; ".join(notes)


def _setup_steps(given: Given) -> list[Step]:
    return [
        Step(cell.id, f"{cell.source}\n\n{APART}_apart.keep({given.setup_names[cell.id]}, globals())")
        for cell in given.setup
    ]


def _definition_step(definitions: Iterable[Statement]) -> Step:
    return Step("definitions", f"{APART}_apart.define({[each.source for each in definitions]!r}, globals())")


def check_step(exercise: Exercise, check: str, asked: Iterable[str]) -> Step:
    """Return the step that runs the source of a check, apart from everything but the names that its exercise asks for."""
    return Step(exercise.check.id, f"{APART}_apart.run_apart({check!r}, {sorted(asked)}, globals())")


def explained_step(exercise: Exercise, check: str, asked: Iterable[str], cell: str) -> Step:
    """Return the step, heard of as ``cell``, that runs a check with all that it says to whoever wrote it."""
    return Step(cell, f"{APART}_apart.run_explained({check!r}, {sorted(asked)}, globals())")


def lecture_names_used(plan: Plan, submitted: Submitted, given: Given) -> list[str]:
    """Return the lecture's variables that the student's cells use and that nothing which is run defines."""
    steps = [step for step in plan.program.steps if step.author == "student"] if plan.program else []
    lengths = itertools.accumulate(len(step.source) for step in steps)
    sources = [step.source for step, length in zip(steps, lengths, strict=True) if length < MAX_CHARACTERS_PARSED]
    bound = set().union(*map(bound_names, sources)) if sources else set()
    return sorted(_used_by(tuple(sources)) & (given.lecture_names - given.course_names | given.filled) - bound)[:5]


@functools.lru_cache(maxsize=64)
def _used_by(sources: tuple[str, ...]) -> frozenset[str]:
    return frozenset().union(*(names_of(used, source) for source in sources))

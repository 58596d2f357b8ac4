"""The notebooks as a product: their form, their exercises, and whether a wrong number would be noticed.

That they run from top to bottom and give their stored outputs is tested by nbval, which pytest runs on ``notebooks/``.
"""

import ast
import contextlib
import os
import re
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from course_utils.coursework.author.execute import run_notebook
from course_utils.coursework.author.prove import prove
from course_utils.coursework.grade.answers import Given, Submitted, plans, read_submitted
from course_utils.coursework.grade.judge import judge
from course_utils.coursework.grade.types import Reason
from course_utils.coursework.run.kernels import find_kernels
from course_utils.coursework.run.limits import Limits
from course_utils.coursework.run.runner import run
from course_utils.coursework.source.names import defined, names_of
from course_utils.coursework.source.notebooks import (
    SOLUTION,
    exercises,
    is_check,
    read_notebook,
    source_notebooks,
    student_copy,
)
from course_utils.coursework.source.values import NUMBER, PICTURE, agree, tolerance_from_tags
from course_utils.coursework.student.check import advice, expected_of
from course_utils.paths import NOTEBOOKS_DIR, place_of
from tests.rounds import in_rounds, of_round

TESTS = Path(__file__).parent
WRONG_ANSWERS = TESTS / "wrong_answers"
COURSE_UTILS = TESTS.parent / "course_utils"
SOURCES = source_notebooks()
LECTURES = [path for path in SOURCES if path.parent == NOTEBOOKS_DIR]
CHOOSING, *STARTERS = SOURCES[len(LECTURES) :]
# What has no exercises of its own beyond a first try, or none at all.
WITHOUT_MANY = (LECTURES[0], CHOOSING)
EXPLORER = re.compile(r"(\w+Explorer|Playground)\(")
KNOWN_TAG = re.compile(r"setup|nbval-ignore-output|own-still|(rtol|atol)=[0-9.e-]+")

LIMITS = Limits(seconds_per_cell=120)
SUBMITTED_NOTHING = Submitted(())

per_notebook = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem[:2])


def weekly(is_weekly):
    """Parametrize a test by notebook, and leave those of which ``is_weekly`` holds to `make claims`."""
    paths = [pytest.param(path, marks=pytest.mark.slow if is_weekly(path) else ()) for path in SOURCES]
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem[:2])


@per_notebook
def test_form(path):
    notebook = read_notebook(path)
    assert path.stat().st_size < 1.5e6
    assert "widgets" not in notebook.metadata
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    for cell in notebook.cells:
        assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", cell.id), cell.id
        assert not re.fullmatch(r"[0-9a-f]{8}(-.*)?", cell.id), f"{cell.id} is a random id"
        for tag in cell.metadata.get("tags", []):
            assert KNOWN_TAG.fullmatch(tag), f"cell {cell.id} has the unknown tag {tag}"
        if cell.cell_type == "code":
            assert cell.execution_count is not None, f"cell {cell.id} was never run"
            assert not re.search(r"NBVAL|sys\.path|^\s*[%!]", cell.source, re.MULTILINE), cell.id
            assert all(output.output_type != "error" for output in cell.outputs), cell.id
            assert not any(output.get("name") == "stderr" for output in cell.outputs), cell.id
            too_long = [line for line in cell.source.splitlines() if len(line) > 95]
            assert is_check(cell) or not too_long, (cell.id, too_long)
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"[\"' ](/home|/root|/work|/tmp|/Users)/", text)
    assert not re.search(r"object at 0x", text)


@per_notebook
def test_links_lead_somewhere(path):
    for cell in read_notebook(path).cells:
        for target in re.findall(r"\]\(([^)#\s]+\.ipynb)", cell.source):
            assert (path.parent / target).is_file(), f"cell {cell.id} links to {target}"


@per_notebook
def test_pictures_have_alternative_text(path):
    pictures = [
        output.data["text/html"]
        for cell in read_notebook(path).cells
        for output in cell.get("outputs", [])
        if "<img" in output.get("data", {}).get("text/html", "")
    ]
    assert pictures or path == CHOOSING
    assert all(re.search(r'alt="[^"]{30,}"', picture) for picture in pictures)
    for cell in read_notebook(path).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            is_explorer = EXPLORER.match(data.get("text/plain", ""))
            if is_explorer or "<img" in data.get("text/html", ""):
                assert "image/png" in data, f"LaTeX has no picture of {cell.id}: run `course execute`"
                assert len(output.metadata["image/png"]["alt"]) >= 30, cell.id
                assert not is_explorer or len(data["image/png"]) < 100_000, f"the still of {cell.id} is too large"


@per_notebook
def test_every_stored_number_counts(path):
    """Change each number of each compared output by ten tolerances: the comparison must notice every one."""
    for cell in read_notebook(path).cells:
        if cell.cell_type != "code" or "nbval-ignore-output" in cell.metadata.get("tags", []):
            continue
        tolerance = tolerance_from_tags(cell.metadata.get("tags", []))
        for output in cell.outputs:
            for stored in [output.get("text"), output.get("data", {}).get("text/plain")]:
                for match in NUMBER.finditer(PICTURE.sub("", stored or "")):
                    number = match.group()
                    value = float(number.replace(",", "").replace("−", "-"))
                    decimals = len(number.lower().partition("e")[0].partition(".")[2])
                    wrong = value + 10 * (tolerance.atol + tolerance.rtol * abs(value) + 10.0**-decimals)
                    perturbed = stored[: match.start()] + f" {wrong:.{max(decimals, 6)}f} " + stored[match.end() :]
                    assert not agree(stored, perturbed, tolerance), f"cell {cell.id}: {number} -> {wrong}"


@per_notebook
def test_student_copy_gives_nothing_away(path):
    source = read_notebook(path)
    student = student_copy(source)
    text = nbformat.writes(student)
    assert "SOLUTION" not in text and "HIDDEN TESTS" not in text
    assert [cell.id for cell in student.cells] == [cell.id for cell in source.cells]
    assert not any(cell.outputs or cell.execution_count for cell in student.cells if cell.cell_type == "code")
    for exercise in exercises(source):
        assert exercise.title.startswith("Exercise "), exercise.title
        stub = next(cell.source for cell in student.cells if cell.id == exercise.answer.id)
        assert "raise NotImplementedError" in stub
        solution = SOLUTION.search(exercise.answer.source).group().splitlines()[1:-1]
        for line in (line.strip() for line in solution):
            if len(line) > 20:
                assert line not in text, f"{exercise.name}: {line!r} of the solution is in the student's copy"
    assert nbformat.writes(student_copy(student)) == text


@weekly(lambda path: True)
def test_a_copy_in_which_nothing_is_done_runs_through(path, tmp_path):
    """Where an answer is missing the course's own runs, or the experiment waits for it."""
    run_notebook(student_copy(read_notebook(path)), tmp_path / path.name)


@per_notebook
def test_what_students_write_runs_the_lecture(path):
    """After its check each answer is taken up with ``yours``, by the cells below it."""
    notebook = read_notebook(path)
    cells = {cell.id: cell.source for cell in notebook.cells if cell.cell_type == "code"}
    for exercise in exercises(notebook):
        below = "\n".join(list(cells.values())[list(cells).index(exercise.check.id) + 1 :])
        brought = names_of(defined, exercise.answer.source)
        taken = {match.strip("\"'") for match in re.findall(r"\byours\(\s*([\w\"']+)", below)}
        assert brought & taken or path in WITHOUT_MANY, f"{exercise.name}: the lecture does not use {brought}"


@pytest.fixture(scope="module")
def kernels():
    with contextlib.closing(find_kernels(None, fill_cache=True)) as kernels:
        yield kernels


@pytest.fixture(scope="module")
def cache():
    return Path(os.environ["JAX_COMPILATION_CACHE_DIR"])


@weekly(lambda path: path in (*LECTURES[10:], *STARTERS))
def test_only_the_reference_is_right(path, kernels, cache):
    """The stub is not attempted, the reference is right, and every seeded wrong answer is wrong, with a hint."""
    given = Given(read_notebook(path))
    names = [exercise.name for exercise in given.exercises]
    assert len(names) >= (2 if path in STARTERS else 4) or path in WITHOUT_MANY
    wrong = wrong_answers(path)
    assert set(wrong) == set(names)
    assert all(len(variants) >= 2 for variants in wrong.values())
    todo = plans(read_submitted(path.read_bytes(), given), given, {e.name: e.check.source for e in given.exercises})
    rounds = {
        plan.exercise.name: [
            ("the stub", given.stubs[plan.exercise.answer.id]),
            ("the reference", plan.exercise.answer.source),
            *wrong[plan.exercise.name],
        ]
        for plan in todo
    }
    programs = [in_rounds(plan, [source for _, source in rounds[plan.exercise.name]]) for plan in todo]
    outcomes = run(programs, None, LIMITS, kernels, cache=cache, explained=True)
    for plan in todo:
        for number, (description, _) in enumerate(rounds[plan.exercise.name]):
            outcome = of_round(outcomes[plan.exercise.name], plan, number)
            expected = expected_of(plan.exercise, outcome.records[plan.exercise.check.id])
            mark = judge(plan, outcome, expected, SUBMITTED_NOTHING, given, LIMITS)
            what = f"{mark.exercise}: {description} is {mark.reason}: {mark}"
            if description == "the stub":
                assert mark.reason == Reason.NOT_ATTEMPTED, what
            elif description == "the reference":
                assert mark.reason == Reason.RIGHT, what
            else:
                assert mark.reason in (Reason.WRONG, Reason.ERROR), what
                assert advice(mark), what


# Besides, `course release --check` proves it of all of them before they are given out.
@weekly(lambda path: path.stem[:2] != "02")
def test_every_exercise_can_be_graded(path, kernels, cache):
    assert prove(path, kernels, cache) == []


def test_the_notebooks_are_there():
    assert [path.stem[:2] for path in LECTURES] == [f"{number:02}" for number in range(14)]
    assert [path.stem[:2] for path in (CHOOSING, *STARTERS)] == [f"p{number}" for number in range(9)]


@pytest.mark.parametrize("path", STARTERS, ids=lambda path: path.stem[:2])
def test_a_starter_is_short_and_leads_on(path):
    cells = read_notebook(path).cells
    assert f"]({CHOOSING.name})" in cells[0].source
    assert f"]({path.name})" in "".join(cell.source for cell in read_notebook(CHOOSING).cells)
    assert len(" ".join(cell.source for cell in cells if cell.cell_type == "markdown").split()) <= 2500
    own = [cell for cell in cells if cell.cell_type == "code" and "nbgrader" not in cell.metadata]
    assert not [cell.id for cell in own if len(cell.source.splitlines()) > 15]
    assert any("predict(" in cell.source for cell in own) and any("came_true(" in cell.source for cell in own)


def test_each_notebook_leads_to_the_next_and_back():
    for before, after in pairwise(LECTURES):
        assert f"]({after.name})" in read_notebook(before).cells[0].source, f"{before.stem} does not lead on"
        assert f"]({after.name})" in read_notebook(before).cells[-1].source, f"the end of {before.stem} leads nowhere"
        assert f"]({before.name})" in read_notebook(after).cells[0].source, f"{after.stem} does not lead back"


def test_the_map_is_true():
    """The first notebook's table says how many exercises and points each notebook has, and the notebook says so too."""
    (table,) = (cell.source for cell in read_notebook(SOURCES[0]).cells if cell.id == "map")
    for path in [*LECTURES[1:], *STARTERS]:
        notebook = read_notebook(path)
        found = exercises(notebook)
        points = sum(exercise.points for exercise in found)
        text = "\n\n".join(cell.source for cell in notebook.cells)
        said = re.findall(r"^\*\(\d+ minutes?, (\d+) points?\)\*", text, re.MULTILINE)
        assert [float(number) for number in said] == [exercise.points for exercise in found], path.stem
        assert f"({points:g} points)" in notebook.cells[0].source, path.stem
        (row,) = (line for line in table.splitlines() if f"]({place_of(path.name)})" in line)
        assert row.endswith(f"| {len(found)}, {points:g} points |"), f"{path.stem}: {len(found)}, {points:g} points"


def test_the_readme_and_the_notebooks_agree_on_how_long_they_take():
    readme = (TESTS.parent / "README.md").read_text(encoding="utf-8")
    for path in LECTURES[1:]:
        said = re.search(r"\*\*Time.*? (.*?) to read, (.*?) for ", read_notebook(path).cells[0].source)
        (row,) = (line for line in readme.splitlines() if f"](notebooks/{path.name})" in line)
        assert list(map(_minutes, row.split(" | ")[-1].split("+"))) == list(map(_minutes, said.groups())), path.stem


def _minutes(text):
    number = re.search(r"\d+", text)
    return (60 if re.search(r"\bh(our)?\b", text) else 1) * int(number[0] if number else 1)


def test_the_notation_of_the_first_notebook_is_that_of_the_course():
    """Its table has the rows of ``docs/notation.md``, word for word, but those that only a late notebook needs."""
    (cell,) = (cell for cell in read_notebook(SOURCES[0]).cells if cell.id == "notation")
    page = (TESTS.parent / "docs" / "notation.md").read_text(encoding="utf-8").partition("## What stands")[0]
    here, there = ([line for line in text.splitlines() if line.startswith("| $")] for text in (cell.source, page))
    assert [row for row in there if row in here] == here
    assert [row.split(" | ")[0] for row in there if row not in here] == ["| $r(x)$", r"| $\rho_t$"]


def test_nothing_is_defined_twice():
    """No function of a notebook has the body of another one there or in ``course_utils``, whatever names it uses.

    The answers of exercises are left out: to build again what a library has is how one learns it.
    """
    places = defaultdict(set)
    for path in SOURCES:
        notebook = read_notebook(path)
        answers = {exercise.answer.id for exercise in exercises(notebook)}
        for cell in notebook.cells:
            if cell.cell_type == "code" and cell.id not in answers:
                for body in function_bodies(cell.source):
                    places[body].add(f"{path.stem}, {cell.id}")
    for module in COURSE_UTILS.rglob("*.py"):
        for body in function_bodies(module.read_text(encoding="utf-8")):
            if body in places:
                places[body].add(module.name)
    assert not [found for found in places.values() if len(found) > 1]


def test_a_function_that_was_copied_and_renamed_is_found():
    one = "def mean(values):\n    total = values.sum()\n    return total / len(values)"
    two = "def average(x, y=2):\n    'Text.'\n    s = x.sum()\n    # Why?\n    return s / len(x)"
    other = "def average(x):\n    s = x.sum()\n    return s * len(x)"
    assert function_bodies(one) == function_bodies(two) != function_bodies(other)


def wrong_answers(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Return, for each exercise, the descriptions and sources of its seeded wrong answers."""
    text = (WRONG_ANSWERS / f"{path.stem}.py").read_text(encoding="utf-8")
    found = {}
    for section in re.split(r"^# %% ", text, flags=re.MULTILINE)[1:]:
        heading, _, source = section.partition("\n")
        name, _, description = heading.partition(": ")
        found.setdefault(name, []).append((description, source.strip()))
    return found


def function_bodies(source: str) -> list[str]:
    """Return the bodies of all functions in ``source`` that do something, with their local names numbered."""
    bodies = []
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.FunctionDef):
            continue
        body = function.body[ast.get_docstring(function) is not None :]
        nodes = [node for statement in body for node in ast.walk(statement)]
        arguments = [argument.arg for argument in ast.walk(function.args) if isinstance(argument, ast.arg)]
        stored = [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
        local = dict.fromkeys(arguments, "argument") | {name: f"local {i}" for i, name in enumerate(stored)}
        for node in nodes:
            if isinstance(node, ast.Name):
                node.id = local.get(node.id, node.id)
        # One expression, such as a call with other arguments, is no definition worth sharing.
        if sum(isinstance(node, ast.expr | ast.stmt) for node in nodes) > 10:
            bodies.append("\n".join(map(ast.dump, body)))
    return bodies

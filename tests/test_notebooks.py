"""The notebooks as a product: their form, their exercises, and whether a wrong number would be noticed.

That they run from top to bottom and give their stored outputs is tested by nbval, which pytest runs on ``notebooks/``.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

import nbformat
import pytest

from course_utils.coursework import checks
from course_utils.coursework.comparison import NUMBER, PICTURE, agree, tolerance_from_tags
from course_utils.coursework.feedback import result, run_with_nbval
from course_utils.coursework.notebooks import (
    SOLUTION,
    exercises,
    read_notebook,
    source_notebooks,
    student_copy,
    with_answers,
)
from tests.rounds import in_rounds, numbered

TESTS = Path(__file__).parent
WRONG_ANSWERS = TESTS / "wrong_answers"
COURSE_UTILS = TESTS.parent / "course_utils"
SOURCES = source_notebooks()
KNOWN_TAG = re.compile(r"setup|nbval-ignore-output|(rtol|atol)=[0-9.e-]+")

per_notebook = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem[:2])


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
            assert not any("stderr" == output.get("name") for output in cell.outputs), cell.id
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
    assert pictures
    assert all(re.search(r'alt="[^"]{30,}"', picture) for picture in pictures)
    assert not any("image/png" in output.get("data", {}) for cell in read_notebook(path).cells for output in cell.get("outputs", []))


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
        stub = next(cell.source for cell in student.cells if cell.id == exercise.answer.id)
        assert "raise NotImplementedError" in stub
        solution = SOLUTION.search(exercise.answer.source).group().splitlines()[1:-1]
        for line in (line.strip() for line in solution):
            if len(line) > 20:
                assert line not in text, f"{exercise.name}: {line!r} of the solution is in the student's copy"
    assert nbformat.writes(student_copy(student)) == text


@per_notebook
def test_answers_stubs_and_wrong_answers(path):
    """In one kernel: the reference twice, stubs, and every seeded wrong answer; only the reference is right."""
    source = read_notebook(path)
    names = [exercise.name for exercise in exercises(source)]
    assert len(names) >= 4 or path.stem == "00_start_here"
    wrong = wrong_answers(path)
    assert set(wrong) == set(names)
    assert all(len(variants) >= 2 for variants in wrong.values())
    reference = {exercise.name: exercise.answer.source for exercise in exercises(source)}
    num_variants = max(map(len, wrong.values()))
    rounds = [reference, {}, reference]
    rounds += [
        {name: variants[number][1] for name, variants in wrong.items() if number < len(variants)}
        for number in range(num_variants)
    ]
    report = run_with_nbval(in_rounds(source, rounds))
    for number, answers in enumerate(rounds):
        for exercise in exercises(numbered(source, number)):
            found = result(exercise, report)
            if answers is reference:
                assert found.status == checks.RIGHT, (exercise.name, found.hint)
            elif exercise.name not in answers:
                assert found.status == checks.NOT_ATTEMPTED, exercise.name
            else:
                description = wrong[exercise.name][number - 3][0]
                assert found.status in (checks.WRONG, checks.ERROR), f"{exercise.name}: {description} passes"
                assert found.hint


@per_notebook
def test_another_seed_changes_every_check(path):
    """With a secret seed the reference gives the same values twice, and others than the stored, public ones."""
    source = read_notebook(path)
    reference = {exercise.name: exercise.answer.source for exercise in exercises(source)}
    report = run_with_nbval(in_rounds(source, [reference, reference]), seed="secret")
    for exercise in exercises(source):
        stored = [output.data[checks.MIME] for output in exercise.check.outputs if checks.MIME in output.get("data", {})]
        secret = [report[f"{exercise.check.id}-{number}"]["checks"] for number in range(2)]
        values = [{record["name"]: record["values"] for record in records} for records in (*secret, stored)]
        assert values[0] == values[1]
        assert values[0].keys() == values[2].keys()
        for name, value in values[0].items():
            assert value != values[2][name], f"{exercise.name}: {name} does not depend on the seed"
            assert not set(value["flat"]) <= {0.0, 1.0}, f"{exercise.name}: {name} is only a verdict"
        hidden = exercise.check.source.partition("### BEGIN HIDDEN TESTS")[2]
        assert "check(" in hidden, f"{exercise.name} has no hidden check"
        assert all(record["status"] == checks.SHOWN for record in secret[0]), f"{exercise.name} tells the verdict"


def test_the_notebooks_are_there():
    assert [path.stem[:2] for path in SOURCES] == ["00", "01", "02", "03", "04", "05", "06", "07", "09"]


def test_each_notebook_leads_to_the_next_and_back():
    for before, after in zip(SOURCES, SOURCES[1:]):
        assert f"]({after.name})" in read_notebook(before).cells[0].source, f"{before.stem} does not lead on"
        assert f"]({after.name})" in read_notebook(before).cells[-1].source, f"the end of {before.stem} leads nowhere"
        assert f"]({before.name})" in read_notebook(after).cells[0].source, f"{after.stem} does not lead back"


def test_the_map_is_true():
    """The first notebook's table says how many exercises and points each notebook has."""
    (table,) = (cell.source for cell in read_notebook(SOURCES[0]).cells if cell.id == "map")
    for path in SOURCES[1:]:
        found = exercises(read_notebook(path))
        points = sum(exercise.points for exercise in found)
        (row,) = (line for line in table.splitlines() if path.name in line)
        assert row.endswith(f"| {len(found)}, {points:g} points |"), f"{path.stem}: {len(found)}, {points:g} points"


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
        local = {name: "argument" for name in arguments} | {name: f"local {i}" for i, name in enumerate(stored)}
        for node in nodes:
            if isinstance(node, ast.Name):
                node.id = local.get(node.id, node.id)
        # One expression, such as a call with other arguments, is no definition worth sharing.
        if sum(isinstance(node, ast.expr | ast.stmt) for node in nodes) > 10:
            bodies.append("\n".join(map(ast.dump, body)))
    return bodies

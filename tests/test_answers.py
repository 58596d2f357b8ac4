"""What students hand in is read without an exception but a sentence, in bounded time, whatever it is made of."""

import json
import string
import time

import msgspec
import nbformat
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.coursework.grade.answers import (
    Given,
    UnreadableError,
    bound_names,
    lecture_names_used,
    plans,
    read_submitted,
    words_of,
)
from course_utils.coursework.grade.judge import agrees, judge
from course_utils.coursework.grade.key import stripped_checks
from course_utils.coursework.grade.types import ExpectedCheck, ExpectedExercise, Reason
from course_utils.coursework.kernel import checks
from course_utils.coursework.run.limits import Limits
from course_utils.coursework.run.program import Ended, Outcome
from course_utils.coursework.run.records import Record, Values, parse_record
from course_utils.coursework.source.explain import as_array, to_json
from course_utils.coursework.source.notebooks import exercises, student_copy
from tests.test_grading import OWN, as_bytes, handed_in, toy_source, with_own

GIVEN = Given(toy_source())
CHECKS = stripped_checks(GIVEN)
FUZZ = settings(max_examples=150, deadline=None, derandomize=True)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
code = st.text(st.sampled_from(string.printable + "½Σ\0\ud800"), max_size=200)
cells = st.fixed_dictionaries(
    {"cell_type": st.just("code"), "source": code | st.lists(code, max_size=3)},
    optional={
        "id": st.sampled_from(sorted(GIVEN.ids)) | json_values,
        "metadata": st.just({"nbgrader": {"grade_id": f"{OWN}-answer"}}) | json_values,
    },
)


@FUZZ
@given(content=st.binary(max_size=400) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_notebook_or_a_sentence(content):
    sentence = "None."
    try:
        read_submitted(content, GIVEN)
    except UnreadableError as error:
        sentence = str(error)
    assert sentence.endswith(".") and "\n" not in sentence


@FUZZ
@given(extra=st.lists(cells, max_size=4), where=st.integers(0, 11), metadata=json_values)
def test_any_cells_among_those_of_the_course_can_be_planned(extra, where, metadata):
    """And what others wrote is still found: the two exercises that nobody touched keep their programs."""
    notebook = json.loads(as_bytes(handed_in()))
    notebook["cells"][where:where] = extra
    if isinstance(metadata, dict):
        notebook["metadata"] = metadata
    submitted = read_submitted(json.dumps(notebook).encode(), GIVEN)
    todo = plans(submitted, GIVEN, CHECKS)
    assert len(todo) == len(GIVEN.exercises)
    assert all(plan.program for plan in todo)
    for plan in todo:
        lecture_names_used(plan, submitted, GIVEN)
        msgspec.json.decode(msgspec.json.encode(submitted), type=type(submitted))


@pytest.mark.parametrize(
    "source",
    [
        "a=b\n" * 45_000,
        'f"' + "{x}" * 60_000 + '"',
        "(" * 190_000,
        "a," * 95_000 + "b = 1",
        "import " + "a," * 90_000,
        " " * 199_000 + "=",
        "x:" * 99_000,
        "x" * 199_000,
        "x=" * 99_000 + "=",
        ";*x," * 49_000,
        "import (" * 24_000,
        "import a as a.a, " * 11_000,
    ],
    ids=[
        "assignments",
        "f-string",
        "parentheses",
        "targets",
        "imports",
        "blanks",
        "colons",
        "word",
        "chain",
        "stars",
        "lists",
        "aliases",
    ],
)
def test_much_code_is_read_in_a_moment(source):
    """Of processor time, since nothing here may wait for anything."""
    notebook = json.loads(as_bytes(handed_in()))
    notebook["cells"].insert(1, {"cell_type": "code", "metadata": {}, "source": source})
    begun = time.process_time()
    submitted = read_submitted(json.dumps(notebook).encode(), GIVEN)
    for plan in plans(submitted, GIVEN, CHECKS):
        lecture_names_used(plan, submitted, GIVEN)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda cells: cells * 500, "more than 2,000 code cells"),
        (lambda cells: [*cells, {"cell_type": "code", "source": "x" * 200_001}], "characters of code"),
        (lambda cells: [*cells, *({"cell_type": "code", "source": "x" * 199_999},) * 11], "characters of code"),
    ],
)
def test_too_much_is_refused_in_a_sentence(change, sentence):
    notebook = json.loads(as_bytes(handed_in()))
    notebook["cells"] = change(notebook["cells"])
    with pytest.raises(UnreadableError, match=sentence):
        read_submitted(json.dumps(notebook).encode(), GIVEN)


def test_huge_widget_state_is_passed_over():
    notebook = json.loads(as_bytes(handed_in()))
    notebook["metadata"]["widgets"] = {"state": {str(i): "x" * 1000 for i in range(21_000)}}
    assert not read_submitted(json.dumps(notebook).encode(), GIVEN).untouched


def test_what_is_as_it_was_given_is_untouched_also_when_the_course_has_moved_on():
    """A release says in its notebooks what its cells were."""
    released = student_copy(toy_source())
    moved_on = toy_source()
    moved_on.cells[1].source += "\n# Put right."
    now = Given(moved_on)
    assert read_submitted(nbformat.writes(released).encode(), now).untouched
    released.cells[1].source += "\nmine = 1"
    assert not read_submitted(nbformat.writes(released).encode(), now).untouched


def test_what_the_lecture_fills_is_not_taken_for_its_constants():
    source, answer = toy_source(), "def square(x):\n    return table[2] * x + FIXED"
    source.cells[1].source += "\nFIXED, table = 3, {}\nfor i in range(3):\n    table[i] = i"
    filled = Given(source)
    plan = plans(read_submitted(with_own(answer), filled), filled, CHECKS)[1]
    assert lecture_names_used(plan, read_submitted(with_own(answer), filled), filled) == ["table"]


@pytest.mark.parametrize(
    "look", ["sys._getframe().f_back", "getattr(sys, '_getframe')()", "double.__closure__[0].cell_contents"]
)
def test_an_answer_that_looks_for_what_the_check_holds_is_worth_a_look(look):
    plan = plans(read_submitted(with_own(f"import sys\ndef square(x):\n    return {look}"), GIVEN), GIVEN, CHECKS)[1]
    assert "it looks into what other functions hold" in plan.note


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(x):\n    y = 1", {"f", "y"}),
        ("    class A: pass", {"A"}),
        ("a, b = 1, 2\nc: int = 3\nd == 4\ne += 5", {"a", "b", "c"}),
        ("import x, y as z\nfrom w import v", {"x", "y", "z", "v"}),
        ("%%time\nasync def g(): pass\nfiles = !ls", {"g", "files"}),
        ("for i in x:\n    with open(i) as f: pass", {"i", "f"}),
        ("from w import (\n    a,\n    b as c,\n)\nfrom v import d as e, g", {"a", "c", "e", "g"}),
        ("import h.i as j, k", {"j", "k"}),
        ("a, (b, *c) = d\nfor i, (j, k) in e:\n    with f() as (g, h): pass", {"a", "b", "c", "i", "j", "k", "g", "h"}),
        ("a = b = 1; c, *d = e\nif a: f = 2\n[g, h] = 1, 2\nprint(i := 3)", {"a", "b", "c", "d", "f", "g", "h", "i"}),
    ],
)
def test_names_are_found_by_words(source, names):
    assert names <= bound_names(source) <= words_of(source)


@FUZZ
@given(data=json_values | st.fixed_dictionaries({}, optional=dict.fromkeys(Record.__struct_fields__, json_values)))
def test_what_a_kernel_says_is_a_record_or_nothing(data):
    record = parse_record(data)
    if record is not None:
        assert msgspec.json.decode(msgspec.json.encode(record), type=Record) == record


@pytest.mark.parametrize(
    "data",
    [
        {"name": "x", "status": [], "values": None},
        {"name": "x", "status": "shown", "explanation": "", "values": {"shape": [0, 10**6, 10**7], "flat": []}},
        {"name": "x", "status": "shown", "explanation": "", "values": {"shape": [2], "flat": [1.0]}},
        {"name": "x", "status": "shown", "explanation": "", "values": {"shape": [1], "flat": [True]}},
        {"name": "x", "status": "shown", "explanation": "", "values": {"shape": [1], "flat": [float("nan")]}},
        {"name": "\ud800", "status": "shown", "explanation": "", "values": None},
        {"name": "x", "status": "right", "explanation": "", "values": None, "points": 100},
    ],
)
def test_forged_records_are_nothing(data):
    assert parse_record(data) is None


@pytest.mark.parametrize(
    ("found", "is_right"),
    [
        (np.array([1.0, 2.0]), True),
        (np.array([1.0 + 0j, 2.0]), True),
        (np.array([1.0 + 1j, 2.0]), False),
        ([1, 2], True),
        ((1, np.float32(2)), True),
        (np.array([1.0, 2.002]), True),
        (np.array([1.0, 2.003]), False),
        (np.array([[1.0, 2.0]]), False),
        (np.array([1.0, np.nan]), False),
        (np.array([1.0, np.inf]), False),
    ],
)
def test_the_judge_and_a_students_own_kernel_have_one_tolerance(monkeypatch, found, is_right):
    shown = []
    monkeypatch.setattr(checks, "display", lambda data, raw: shown.append(data[checks.MIME]))
    checks.check("x", lambda: found, truth=np.array([1.0, 2.0]))
    assert (shown[0]["status"] == "right") == is_right
    expected = ExpectedCheck("x", True, Values((2,), (1.0, 2.0)), checks.RTOL, checks.ATOL)
    values = msgspec.convert(to_json(as_array(found)), Values)
    assert agrees(expected, values) == is_right


def test_an_estimate_is_judged_by_its_error_bar():
    truth, error = Values((), (1.0,)), Values((), (0.1,))
    expected = ExpectedCheck("x", True, Values((), (1.2,)), 1e-3, 1e-5, truth, error)
    assert agrees(expected, Values((), (1.39,))) and not agrees(expected, Values((), (1.41,)))


@pytest.mark.parametrize(
    ("module", "is_named"), [("seaborn", True), ("seaborn.objects", True), ("0.25", False), ("hidden", False)]
)
def test_a_module_that_is_not_here_is_named_if_the_answer_names_it(module, is_named):
    submitted = read_submitted(with_own("import seaborn\ndef square(x):\n    return x * x"), GIVEN)
    plan = plans(submitted, GIVEN, CHECKS)[1]
    values = ExpectedCheck("square of five numbers", True, Values((), (1.0,)), 1e-3, 1e-5)
    expected = ExpectedExercise(OWN, "Squares", 4.0, (values,))
    outcome = Outcome(errors={"student-3": f"ModuleNotFoundError: No module named '{module}'"})
    mark = judge(plan, outcome, expected, submitted, GIVEN, Limits())
    assert ("imports seaborn, which is not installed" in mark.note) == is_named and "hidden" not in mark.note


@pytest.mark.parametrize("ended", [Ended.TIMEOUT, Ended.DIED, Ended.MEMORY, Ended.OUTPUT_LIMIT])
def test_an_answer_that_ended_its_process_says_how(ended):
    submitted = read_submitted(as_bytes(handed_in()), GIVEN)
    plan = plans(submitted, GIVEN, CHECKS)[1]
    values = ExpectedCheck("square of five numbers", True, Values((), (1.0,)), 1e-3, 1e-5)
    expected = ExpectedExercise(OWN, "Squares", 4.0, (values,))
    mark = judge(plan, Outcome(ended=ended, at="student-3"), expected, submitted, GIVEN, Limits())
    assert (mark.points, mark.reason) == (0.0, Reason(str(ended)))
    assert len(exercises(toy_source())) == 3

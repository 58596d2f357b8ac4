"""What ``check`` says of values, of what stopped it, and of cells that never ran."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from course_utils.coursework.kernel import checks, session
from course_utils.coursework.run import records
from course_utils.coursework.run.records import parse_record
from course_utils.coursework.source.explain import explain
from tests.live import live_kernel


@pytest.fixture
def emitted(monkeypatch):
    """What ``check`` displays."""
    shown = []
    monkeypatch.setattr(checks, "display", lambda data, raw: shown.append(data))
    monkeypatch.setattr(session, "_checked", {})
    return shown


def record_of(data):
    """The record in what a check displayed; it has the form that a grader demands."""
    text = json.dumps(data[checks.MIME], allow_nan=False)
    parsed = records.parse_record(json.loads(text))
    assert parsed is not None, text[:300]
    return parsed


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "options", "status", "said"),
    [
        (1.0, {"truth": 1.0005}, "right", "Right"),
        (1.1, {"truth": 1.0}, "wrong", "Expected 1, found 1.1"),
        (2e-5, {"truth": 0.0}, "wrong", "found 2e-05"),
        (1.1, {"truth": 1.0, "standard_error": 0.05}, "right", "Right"),
        (2.0, {"truth": 1.0, "standard_error": 0.05}, "wrong", "20 standard errors"),
        (2.0, {"truth": 1.0, "mistakes": {"Twice too much.": 2.0}}, "wrong", "Twice too much."),
        (3.0, {"truth": 1.0, "mistakes": {"Twice too much.": 2.0}}, "wrong", "Expected 1"),
        (np.nan, {"truth": 1.0}, "wrong", "There is a nan among the values. Is there a log of zero"),
        (-np.inf, {"truth": 1.0, "mistakes": {"The sum underflows.": -np.inf}}, "wrong", "The sum underflows."),
        (-np.inf, {"truth": -np.inf}, "right", "Right"),
        (np.inf, {"truth": 1.0}, "wrong", "There is an inf among the values."),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), {"truth": np.array([1.0, 2.0])}, "wrong", "There is a nan"),
        (np.ma.masked, {"truth": 0.0}, "wrong", "There is a nan"),
        (np.ma.array([1, 2], mask=[0, 0]), {"truth": np.array([1, 2])}, "right", "Right"),
        ((each for each in [1.0]), {"truth": 1.0}, "error", "type generator, where a number or an array of numbers"),
        (range(2), {"truth": np.arange(2)}, "right", "Right"),
        (3.0, {"truth": -np.inf}, "wrong", "Expected -inf, found 3"),
        (np.ones(3), {"truth": np.ones(2)}, "wrong", "(3,)"),
        (np.array([1.0, 5.0]), {"truth": np.ones(2)}, "wrong", "position 1"),
        (None, {"truth": 1.0}, "error", "return"),
        ("1.0", {"truth": 1.0}, "error", "type str"),
        ({"a": 1.0}, {"truth": 1.0}, "error", "type dict"),
        ((1.0, None), {"truth": (1.0, 2.0)}, "error", "a tuple of 2 (the number 1.0, None"),
        ((1.0, np.ones(2)), {"truth": np.ones(3)}, "right", "Right"),
        (1.0, {}, "shown", ""),
        (1 + 1j, {"truth": 1.0}, "wrong", "A complex number counts as two"),
        (np.ones(2), {"truth": np.array([1, 1 + 1j])}, "wrong", "A complex number counts as two"),
        (np.array([1 + 2j]), {"truth": np.array([1 - 2j])}, "wrong", "Expected -2 at position 0, 1, found 2"),
        (np.array([1 + 0j]), {"truth": np.ones(1)}, "right", "Right"),
        (np.ones(200_000), {"truth": 1.0}, "error", "up to 100,000 numbers"),
        (np.ones((1,) * 12), {"truth": 1.0}, "error", "up to 100,000 numbers"),
    ],
)
def test_check_explains(emitted, value, options, status, said):
    checks.check("a value", lambda: value, **options)
    record = record_of(emitted[0])
    assert record.status == status
    assert said in record.explanation


@pytest.mark.parametrize(
    "value",
    [
        [1, 2],
        (1.0, 2.0),
        (jnp.float32(1), np.float64(2)),
        [np.array(1), jnp.array(2)],
        np.array([1, 2], np.int8),
        np.array([1, 2], np.float16),
        np.array([1, 2], object),
        np.array([1, 2 + 0j], object),
        jnp.array([1, 2], jnp.bfloat16),
        jnp.array([1, 2], jnp.complex64),
        np.ma.array([1.0, 2.0]),
        (True, 2),
    ],
    ids=repr,
)
def test_the_values_of_any_library_are_taken(emitted, value):
    checks.check("two values", lambda: value, truth=np.array([1.0, 2.0]))
    assert record_of(emitted[0]).status == "right"


def test_nested_results_are_one_row_of_numbers(emitted):
    checks.check("nested", lambda: (1.0, [np.ones(2), jnp.zeros(3)]), truth=[1, 1, 1, 0, 0, 0])
    checks.check("pairs", lambda: [(1, 2), (3, 4)], truth=np.arange(1, 5).reshape(2, 2))
    assert [record_of(data).status for data in emitted] == ["right", "right"]


# --- what a record says -----------------------------------------------------------------------------------------------


def test_a_reference_tells_its_tolerance_with_every_check(emitted, monkeypatch):
    """Hidden checks too, which have no truth; and one tolerance holds wherever none is given."""
    monkeypatch.setenv(checks.REFERENCE_VARIABLE, "1")
    checks.check("hidden", lambda: 2.0, rtol=0.1, hint="Look again.")
    checks.check("visible", lambda: 2.0, truth=[1 + 1j], standard_error=0.5, mistakes={"No.": 3.0})
    hidden, visible = map(record_of, emitted)
    assert hidden.hint == "Look again."
    assert hidden.expected == records.Expected(rtol=0.1, atol=1e-5)
    assert (visible.expected.rtol, visible.expected.atol) == (1e-3, 1e-5)
    assert visible.expected.truth.array().tolist() == [[1, 1]]
    assert visible.expected.standard_error.array() == 0.5
    assert visible.expected.mistakes["No."].array() == 3.0


def test_without_being_asked_a_record_tells_no_truth(emitted):
    checks.check("a value", lambda: 2.0, truth=1.0, hint="secret", mistakes={"secret": 2.0})
    record = record_of(emitted[0])
    assert record.expected is None and record.hint == ""


def test_a_record_holds_what_a_reader_of_records_takes():
    assert checks.MAX_NUMBERS == records.MAX_NUMBERS
    with pytest.raises(ValueError, match=r"200,000 numbers; at most 100,000"):
        checks.check("too large a truth", lambda: 1.0, truth=np.ones(200_000))


def test_a_graded_check_gives_no_verdict(emitted, monkeypatch):
    monkeypatch.setenv(checks.SEED_VARIABLE, "secret")
    checks.check("a value", lambda: 2.0, truth=1.25, mistakes={"Twice.": 2.0})
    record = record_of(emitted[0])
    assert (record.status, record.explanation, record.values.array()) == ("shown", "", 2.0)
    assert "1.25" not in str(emitted[0]) and "Twice" not in str(emitted[0])


def test_seeds(monkeypatch):
    monkeypatch.delenv(checks.SEED_VARIABLE, raising=False)
    public = checks.check_seed("a"), checks.check_seed("b")
    monkeypatch.setenv(checks.SEED_VARIABLE, "secret")
    secret = checks.check_seed("a"), checks.check_seed("b")
    assert len({*public, *secret}) == 4
    assert all(0 <= seed < 2**31 for seed in public + secret)


def test_a_reference_record_says_what_is_expected(emitted, monkeypatch):
    monkeypatch.setenv(checks.REFERENCE_VARIABLE, "1")
    checks.check("visible", lambda: 1.0, truth=1.0, mistakes={"Twice.": 2.0})
    checks.check("hidden", lambda: 1.0)
    visible, hidden = (parse_record(data[checks.MIME]).expected for data in emitted)
    mistakes = {sentence: wrong.array() for sentence, wrong in visible.mistakes.items()}
    sentence = explain(np.array(2.0), visible.truth.array(), visible.rtol, visible.atol, None, mistakes)
    assert sentence == "Expected 1, found 2. Twice."
    assert hidden.truth is None and (hidden.rtol, hidden.atol) == (visible.rtol, visible.atol)


# --- the display ------------------------------------------------------------------------------------------------------


def test_one_line_stays_and_the_rest_folds(emitted):
    mistakes = {"Twice too much.": 2.0, "Half of it.": 0.5}
    checks.check("a value", lambda: 2.0, truth=1.0, mistakes=mistakes)
    page = emitted[0]["text/html"]
    line, folded = page.split("</summary>")
    assert "✗" in line and "a value: Expected 1, found 2. Twice too much." in line and "Half" not in line
    assert folded.index("Found: <code>2.") < folded.index("Expected: <code>1.") < folded.index("Half of it.")
    assert emitted[0]["text/plain"] == "✗ a value: 2.\n  Expected 1, found 2. Twice too much."
    checks.check("a value", lambda: 1.0, truth=1.0, mistakes=mistakes)
    assert "Half of it." not in emitted[1]["text/html"]
    assert emitted[1]["text/plain"] == "✓ a value: 1.\n  Right."


def test_check_escapes_what_students_write(emitted):
    def fail():
        raise ValueError("<script>alert(1)</script>")

    checks.check("<b>name</b>", fail)
    assert "<script>" not in emitted[0]["text/html"] and "<b>name" not in emitted[0]["text/html"]


# --- what an answer may do --------------------------------------------------------------------------------------------


def test_an_answer_that_changes_its_arguments_changes_them_for_nobody_else(emitted):
    inputs, pair = np.arange(3.0), (np.ones(2), 1)

    def less_one(values):
        values -= 1
        return values

    for _ in range(2):
        checks.check("array", lambda: less_one(inputs), truth=np.arange(3.0) - 1)
        checks.check("part of a tuple", lambda: less_one(*pair[:1]), truth=np.zeros(2))
    assert [record_of(data).status for data in emitted] == ["right"] * 4
    assert inputs.tolist() == [0, 1, 2]


def test_lists_and_tables_are_put_back_with_the_arrays_in_them(emitted):
    players, words = {"theta": np.ones(2), "names": ["a"]}, [["b", "c"], {}]

    def spends():
        players["theta"] -= 1
        players["names"].append(words.pop())
        del players["names"], words[0][0]
        players["more"] = 0.0
        return players["theta"]

    checks.check("what is spent", lambda: (spends(), players, words)[0], truth=np.zeros(2))
    assert record_of(emitted[0]).status == "right"
    assert players.keys() == {"theta", "names"} and players["theta"].tolist() == [1, 1]
    assert players["names"] == ["a"] and words == [["b", "c"], {}]


def test_an_error_that_cannot_be_printed_is_still_one(emitted):
    class MuteError(Exception):
        def __str__(self):
            raise RuntimeError

    def fail():
        raise MuteError

    checks.check("mute", fail, truth=1.0)
    assert record_of(emitted[0]).status == "error" and "MuteError" in record_of(emitted[0]).explanation


# --- in a kernel ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    with live_kernel(tmp_path_factory.mktemp("session")) as live:
        live.run(
            "import numpy as np\nimport jax\nimport jax.numpy as jnp\n"
            "from course_utils.coursework.checks import check, check_seed"
        )
        yield live


def marked(exercise, source):
    """An answer cell as students get it."""
    return f"# The answer to {exercise}-answer; keep this line.\n{source}"


def test_a_stub_is_not_attempted_and_a_gap_of_a_library_is_an_error(kernel):
    kernel.run('def to_do(x):\n    raise NotImplementedError("your answer goes here")')
    status, said = kernel.check('check("to do", lambda: to_do(1.0), truth=1.0)')
    assert status == "not attempted" and "Not attempted yet" in said
    kernel.run("def gap(x):\n    return jnp.mean(x, out=x)")
    status, said = kernel.check('check("gap", lambda: gap(jnp.ones(2)), truth=1.0)')
    assert status == "error" and "raised NotImplementedError in line 2" in said


def test_a_syntax_error_is_one_until_it_is_mended(kernel):
    stub = marked("ex-broken", 'def broken(x):\n    raise NotImplementedError("your answer goes here")')
    check = 'check_seed("ex-broken")\ncheck("broken", lambda: broken(2.0), truth=4.0)'
    kernel.run(stub)
    assert kernel.check(check)[0] == "not attempted"
    for wrong, line in [
        ("def broken(x)\n    return 2 * x", "line 2 (`def broken(x)`): expected ':'"),
        ("def broken(x):\nreturn 2 * x", "line 3 (`return 2 * x`)"),
        ("def broken(x):\n    return 2 * (x", "line 3 (`return 2 * (x`)"),
        ("fed broken(x):\n    return 2 * x", "line 2 (`fed broken(x):`)"),
        ("def broken(x):\n    pass\nreturn 2", "line 4 (`return 2`)"),
    ]:
        kernel.run(marked("ex-broken", wrong))
        status, said = kernel.check(check)
        assert status == "error" and "syntax error in " + line in said, said
        assert "Mend it and run it" in said and "ot attempted" not in said
    kernel.run("a scratch cell with an older error (")
    kernel.run(marked("ex-broken", "def broken(x):\n    return 2 * x"))
    assert kernel.check(check) == ("right", "Right.")
    kernel.run("another (")
    assert kernel.check(check) == ("right", "Right.")
    kernel.run("def broken(x)\n    return 3 * x")
    status, said = kernel.check(check)
    assert status == "error" and "The cell with `broken` did not run" in said


def test_a_name_that_is_not_there(kernel):
    status, said = kernel.check('check("absent", lambda: absent(2.0), truth=4.0)')
    assert status == "error" and "`absent` is not defined (NameError): write it under this name" in said
    kernel.run("1 / 0\ndef late(x):\n    return 2 * x")
    status, said = kernel.check('check("late", lambda: late(2.0), truth=4.0)')
    assert status == "error" and "stopped with an error" in said
    kernel.run("def reader(x):\n    y = x\n    return SCALES * y")
    status, said = kernel.check('check("reader", lambda: reader(2.0), truth=4.0)')
    assert status == "error"
    assert said == "Your code raised NameError in line 3 of your cell (return SCALES * y): name 'SCALES' is not defined"


def test_what_the_check_cannot_use_is_not_called_the_students_error(kernel):
    kernel.run("def along(x):\n    return x.sum(1)")
    arithmetic = 'check("along", lambda: along(np.ones((5, 3))) - np.ones(3), truth=np.ones(3))'
    status, said = kernel.check(arithmetic)
    assert status == "error" and "Your code raised" not in said
    assert "cannot use what `along` returned, an array of shape (5,) and type float64 (ValueError: " in said
    kernel.run("jitted = jax.jit(along)")
    status, said = kernel.check(arithmetic.replace("along(", "jitted("))
    assert "cannot use what `jitted` returned, an array of shape (5,) and type float32" in said
    kernel.run("def nothing(x):\n    x + 1")
    assert (
        "what `nothing` returned, None: is there a `return`"
        in kernel.check('check("nothing", lambda: nothing(1.0) - 1.0, truth=1.0)')[1]
    )
    kernel.run("def single(x):\n    return np.ones(3)")
    status, said = kernel.check(
        "def pair_of(x):\n    answer = single(x)\n    if not isinstance(answer, tuple):\n"
        "        raise TypeError('single is to return a pair')\n    return answer\n"
        'check("single", lambda: pair_of(1.0), truth=1.0)'
    )
    assert (
        "what `single` returned, an array of shape (3,) and type float64 (TypeError: single is to return a pair)"
        in said
    )


def test_what_is_the_students_error_says_where(kernel):
    kernel.run("def divides(x):\n    y = [x]\n    return y[3]")
    assert kernel.check('check("divides", lambda: divides(1.0) + 1, truth=1.0)') == (
        "error",
        "Your code raised IndexError in line 3 of your cell (return y[3]): list index out of range",
    )
    kernel.run("def calls_back(f):\n    return f(np.ones(2))")
    _, said = kernel.check('check("calls back", lambda: calls_back(lambda z: z + np.ones(3)), truth=1.0)')
    assert "Your code raised ValueError in line 2 of your cell (return f(np.ones(2)))" in said


def test_what_is_no_number_is_called_by_its_name(kernel):
    kernel.run(
        "kept = []\n@jax.jit\ndef inner(x):\n    kept.append(x)\n    return x\ndef leaks(x):\n    inner(x)\n    return kept[-1]"
    )
    kernel.run("async def waits(x):\n    return x\ndef gives(x):\n    yield x")
    for name, said in [
        ("leaks", "return what the compiled function returns"),
        ("waits", "Write `def` instead of `async def`."),
        ("gives", "Write `return` instead of `yield`."),
    ]:
        status, explanation = kernel.check(f'check("{name}", lambda: {name}(jnp.ones(2)), truth=np.ones(2))')
        assert status == "error" and explanation.endswith(said + "." * (not said.endswith("."))), explanation
        assert "where a number or an array of numbers is expected" in explanation and "shape" not in explanation


def test_what_graders_do_not_have_is_named(kernel):
    kernel.run("import sys, types\nsys.modules['my_vi'] = types.ModuleType('my_vi')\nsys.modules['my_vi'].two = 2")
    kernel.run(marked("ex-lent", "from my_vi import two\ndef lent(x):\n    return two * x"))
    status, said = kernel.check('check_seed("ex-lent")\ncheck("lent", lambda: lent(1.0), truth=2.0)')
    assert status == "right" and "But your cell imports `my_vi`: graders run this notebook alone" in said
    kernel.run(marked("ex-lent", "two = 2  # not from my_vi\ndef lent(x):\n    return two * x"))
    assert kernel.check('check_seed("ex-lent")\ncheck("lent", lambda: lent(1.0), truth=2.0)')[1] == "Right."


def test_other_arguments_than_the_texts(kernel):
    kernel.run("def one(x):\n    return x")
    status, said = kernel.check('check("one", lambda: one(1.0, 2.0), truth=1.0)')
    assert status == "error" and "`one` cannot be called as its text says (TypeError: one() takes 1 positional" in said


def test_looking_again_draws_no_other_numbers(kernel):
    """After an error the check runs once more to see what was returned; what is drawn later is the same nevertheless."""
    kernel.run("def spoils(x):\n    print('once')\n    return 'text'")
    drawn = "rng = np.random.default_rng(0)\ncheck('a', lambda: spoils(rng.normal()) - 1.0)\ncheck('b', lambda: rng.normal())"
    outputs = kernel.run(drawn)
    assert [output.text for output in outputs if output.output_type == "stream"] == ["once\n"]
    expected = np.random.default_rng(0).normal(size=2)[1]
    assert kernel.records(drawn)[1]["values"]["flat"] == [expected]


def test_a_variable_of_the_text_is_named(kernel):
    kernel.run("SCALE = 2.0")
    kernel.run(marked("ex-scaled", "def scaled(x, scale):\n    return x * SCALE"))
    status, said = kernel.check('check_seed("ex-scaled")\ncheck("scaled", lambda: scaled(1.0, 3.0), truth=3.0)')
    assert status == "wrong" and "uses `SCALE` from outside of it: is that one of the function's arguments?" in said
    status, said = kernel.check('check_seed("ex-scaled")\ncheck("scaled", lambda: scaled(1.0, 2.0), truth=2.0)')
    assert status == "right" and "But your cell uses `SCALE`" in said and "graders run an answer without" in said
    kernel.run(marked("ex-scaled", "FACTOR = 2.0\ndef scaled(x, scale):\n    return jnp.asarray(x * FACTOR)"))
    assert kernel.check('check_seed("ex-scaled")\ncheck("scaled", lambda: scaled(1.0, 2.0), truth=2.0)')[1] == "Right."


REACHED = """
import functools
def by_name(x): return x
def in_partial(x, y): return x
def in_tuple(x): return x
def in_check(x): return x
def unused(x): return x
class Model:
    def __call__(self, x): return x
jitted, mapped, model, pair = jax.jit(by_name), jax.vmap(by_name), Model(), (in_tuple, 1)
"""


def test_functions_are_remembered_as_right_or_wrong(kernel):
    kernel.run(REACHED)
    kernel.run(
        "def helper(x): return by_name(x)\nwith_partial = functools.partial(in_partial, y=1)\n"
        "compiled = jax.jit(in_check)\ncheck('0', lambda: compiled(2.0), truth=2.0)\n"
        "def through(f): return lambda: f(2.0)\n"
        "check('1', lambda: helper(2.0), truth=2.0)\ncheck('2', lambda: with_partial(2.0), truth=2.0)\n"
        "check('3', lambda: (jitted(2.0), model(2.0), pair[0](2.0)), truth=(2.0, 2.0, 2.0))\n"
        "check('4', through(mapped), truth=2.0)"
    )
    ask = "from course_utils.coursework.kernel import session\n[session.status_of(f) for f in ({})]"
    names = "by_name, in_check, in_partial, jitted, model, in_tuple"
    assert kernel.text(ask.format(names)).strip() == str(["right"] * 6)
    assert kernel.text(ask.format("mapped, unused")).strip() == "['error', None]"
    kernel.run("check('5', lambda: by_name(3.0), truth=2.0)")
    assert kernel.text(ask.format("by_name, jitted")).strip() == "['wrong', 'right']"
    kernel.run("check('5', lambda: by_name(2.0), truth=2.0)")
    assert kernel.text(ask.format("by_name,")).strip() == "['right']"
    kernel.run("def by_name(x): return x")
    assert kernel.text(ask.format("by_name,")).strip() == "[None]"

"""The lecture runs on what the student wrote: ``yours``, and the library ``my_vi.py`` that comes of it."""

import json
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.coursework.kernel import my_vi
from course_utils.coursework.kernel.my_vi import CannotKeepError, Import, Section, my_vi_progress, with_section
from course_utils.coursework.student import workfolder
from tests.live import live_kernel

SETUP = "import jax\nimport jax.numpy as jnp\nimport numpy as np\nfrom course_utils.coursework.checks import check, check_seed, yours"
STUB = 'raise NotImplementedError("your answer goes here")'


def answer(exercise, source):
    return f"# The answer to {exercise}-answer; keep this line.\n{source}"


def checked(exercise, name, truth=4.0):
    """A check cell of a function that doubles."""
    return f'check_seed("{exercise}")\ncheck("{name} of 2", lambda: {name}(2.0), truth={truth})'


# --- in a notebook that is not in a work folder -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    with live_kernel(tmp_path_factory.mktemp("elsewhere")) as live:
        live.run(SETUP)
        live.run("def courses(x):\n    return 2 * x")
        yield live


def test_a_right_function_is_taken_and_nothing_shown(kernel):
    kernel.run("calls = 0\ndef right(x):\n    global calls\n    calls += 1\n    return 2 * x")
    kernel.run(checked("ex-right", "right"))
    assert kernel.text("mine = yours(right, instead=courses)") == ""
    assert kernel.text("mine is right, yours('right') is right, bool(mine)").strip() == "(True, True, True)"
    assert kernel.text("before = calls\nmine(1.0)\ncalls - before").strip() == "1"


def test_anything_but_right_is_never_built_on(kernel):
    kernel.run("def wrong(x):\n    return 3 * x")
    unchecked = "○ The course's own `wrong` runs here: run the check of yours, then this cell.\n"
    assert kernel.text("mine = yours(wrong, instead=courses)\nassert mine is courses") == unchecked
    kernel.run(checked("ex-wrong", "wrong"))
    said = "○ The course's own `wrong` runs here until yours is right.\n"
    assert kernel.text("mine = yours(wrong, instead=courses)\nassert mine is courses") == said
    assert kernel.text("mine = yours('wrong')\nassert not mine") == (
        "○ Your `wrong` is not right yet: mend it, run its check, then run this cell.\n"
    )
    kernel.run("def wrong(x):\n    return 2 * x")
    assert kernel.text("mine = yours(wrong, instead=courses)\nassert mine is courses") == unchecked
    kernel.run(checked("ex-wrong", "wrong"))
    assert kernel.text("mine = yours(wrong, instead=courses)\nassert mine is wrong") == ""


def test_one_wrong_check_of_several_is_enough(kernel):
    kernel.run("def half_right(x):\n    return 2 * x if x > 0 else 0.0")
    cell = checked("ex-half", "half_right") + '\ncheck("of -2", lambda: half_right(-2.0), truth=-4.0)'
    kernel.run(cell)
    assert "until yours is right" in kernel.text("assert yours(half_right, instead=courses) is courses")


def test_another_exercises_check_does_not_blame_an_answer(kernel):
    kernel.run(answer("ex-helper", "def helper(x):\n    return 2 * x"))
    kernel.run(checked("ex-helper", "helper"))
    kernel.run(answer("ex-user", "def user(x, f):\n    return f(x) + 1"))
    kernel.run('check_seed("ex-user")\ncheck("user", lambda: user(2.0, helper), truth=4.0)')
    assert kernel.text("assert yours(helper) is helper") == ""
    assert kernel.text("assert not yours(user)") != ""


def test_an_untouched_copy_runs_through(kernel):
    kernel.run(answer("ex-stub", f"def stub(x):\n    {STUB}"))
    kernel.run(checked("ex-stub", "stub"))
    experiment = "my_stub = yours(stub)\nif my_stub:\n    print(my_stub(3.0))"
    assert kernel.text(experiment) == "○ Write `stub`, run its check, then run this cell.\n"
    (line, error) = kernel.run("yours(yours(stub))(3.0)")[-2:]
    assert error.ename == "CourseError" and error.evalue == "Write `stub`, run its check, then run this cell."
    assert error.traceback == ["CourseError: Write `stub`, run its check, then run this cell."], line
    kernel.run(answer("ex-stub", "def stub(x):\n    return 2 * x"))
    kernel.run(checked("ex-stub", "stub"))
    assert kernel.text(experiment) == "6.0\n"


def test_a_syntax_error_takes_an_earlier_right_answer_back(kernel):
    kernel.run(answer("ex-edited", "def edited(x):\n    return 2 * x"))
    kernel.run(checked("ex-edited", "edited"))
    kernel.run(answer("ex-edited", "def edited(x)\n    return 3 * x"))
    kernel.run(checked("ex-edited", "edited"))
    assert "until yours is right" in kernel.text("assert yours(edited, instead=courses) is courses")


def test_the_probe_asks_for_jax(kernel):
    kernel.run(
        "def in_numpy(x):\n    return np.multiply(2.0, np.asarray(x))\ndef in_jax(x):\n    return jnp.multiply(2.0, x)"
    )
    kernel.run(checked("ex-probe", "in_numpy"))
    kernel.run(checked("ex-probe", "in_jax"))
    probe = "probe=lambda f: jax.eval_shape(jax.grad(f), 1.0)"
    assert kernel.text(f"assert yours(in_jax, instead=courses, {probe}) is in_jax") == ""
    said = "○ Your `in_numpy` is right. Write it with `jnp` to have it run here"
    assert kernel.text(f"assert yours(in_numpy, instead=courses, {probe}) is courses") == (
        f"{said}, where the course's own does for now.\n"
    )
    assert kernel.text(f"assert not yours(in_numpy, {probe})") == f"{said}.\n"


def test_wrapped_functions_lambdas_and_classes_are_taken_too(kernel):
    kernel.run(
        "import functools\njitted = jax.jit(lambda x: 2 * x)\nshort = lambda x: 2 * x\n"
        "part = functools.partial(np.multiply, 2)\nclass Doubler:\n    def __call__(self, x): return 2 * x\nmodel = Doubler()"
    )
    for name in ("jitted", "short", "part", "model"):
        kernel.run(checked(f"ex-{name}", name))
        assert kernel.text(f"assert yours({name}, instead=courses) is {name}") == ""
        assert kernel.text(f"assert yours('{name}', instead=courses) is {name}") == ""
    assert "`short` runs here: run the check" in kernel.text("short = lambda x: 2 * x\nyours(short, instead=courses);")


def test_by_name_the_courses_own_is_taken_in_silence_where_nobody_could_have_written_it(kernel):
    assert kernel.text("assert yours('of_an_earlier_notebook', instead=courses) is courses") == ""
    assert kernel.text("assert not yours('of_an_earlier_notebook')") == (
        "○ Write `of_an_earlier_notebook`, run its check, then run this cell.\n"
    )


# --- in a work folder -------------------------------------------------------------------------------------------------


def notebook_with(*sources):
    cell = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    cells = [{**cell, "id": f"c{at}", "source": source} for at, source in enumerate(sources)]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    (folder / my_vi.MANIFEST).write_text("{}")
    return folder


@pytest.fixture(scope="module")
def lab(work):
    """A kernel as JupyterLab starts it for a notebook in the work folder."""
    with live_kernel(work, JPY_SESSION_NAME=str(work / "02_simple_monte_carlo.ipynb")) as live:
        live.run(SETUP)
        live.run(
            "import scipy.special\nfrom functools import partial\nfrom jax.scipy.special import logsumexp\nSCALE = 2.0"
        )
        live.run("def courses(x):\n    return 2 * x\ndef of_the_text(x):\n    return 2 * x")
        yield live


@pytest.fixture(autouse=True)
def fresh_library(request):
    """Each test starts without a library."""
    if "work" in request.fixturenames:
        (request.getfixturevalue("work") / my_vi.FILE).unlink(missing_ok=True)


def library(work):
    return (work / my_vi.FILE).read_text(encoding="utf-8")


def write_right(lab, name, source, exercise=None):
    """Answer an exercise right, and return what ``yours`` shows."""
    exercise = exercise or f"ex-{name.replace('_', '-')}"
    lab.run(answer(exercise, source))
    ((status, said),) = [(record["status"], record["explanation"]) for record in lab.records(checked(exercise, name))]
    assert status == "right", said
    return lab.text(f"taken = yours({name}, instead=courses)\nassert taken is {name}")


def ruff(*arguments):
    finished = subprocess.run([sys.executable, "-m", "ruff", *arguments], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_a_right_answer_is_kept_once_and_stands_alone(lab, work):
    kept = "✓ Your `doubled` runs the lecture from here on; my_vi.py keeps it.\n"
    source = '''# Why a weight of two: see the text.
WEIGHT = 2.0


def _helper(x):
    return jnp.multiply(WEIGHT, x)


@partial(jax.jit, static_argnums=())
def doubled(x):
    """Return twice x."""
    return logsumexp(jnp.stack([_helper(x)]))
print("a try-out", SCALE)'''
    assert write_right(lab, "doubled", source) == kept
    assert write_right(lab, "doubled", source) == ""
    text = library(work)
    assert (
        "# >>> 02_simple_monte_carlo · ex-doubled\n" in text and "try-out" not in text and "keep this line" not in text
    )
    assert "# Why a weight of two" in text
    assert text.index("from functools import partial") < text.index("import jax\nimport jax.numpy as jnp\n")
    assert "import numpy" not in text and "scipy.special import logsumexp" in text
    ruff("check", "--isolated", "--select=E,F,I,W", "--line-length=120", str(work / my_vi.FILE))
    ruff("format", "--isolated", "--check", "--diff", str(work / my_vi.FILE))
    code = "import my_vi; assert float(my_vi.doubled(3.0)) == 6.0"
    subprocess.run([sys.executable, "-c", code], cwd=work, check=True)
    assert [path.name for path in work.iterdir() if "my_vi" in path.name] == [my_vi.FILE]


def test_a_section_is_renewed_and_others_stay(lab, work):
    write_right(lab, "first", "def first(x):\n    return np.add(x, x)")
    write_right(lab, "second", "def second(x):\n    return first(x)")
    (work / my_vi.FILE).write_text(library(work) + "\nmine = np.zeros(3)  # my own line\n")
    write_right(lab, "first", "def first(x):\n    return jnp.add(x, x)")
    text = library(work)
    assert "np.add" not in text.replace("jnp.add", "") and "jnp.add(x, x)" in text
    assert "import numpy as np" in text and "mine = np.zeros(3)  # my own line\n" in text
    assert text.index("ex-first") < text.index("ex-second")


def test_what_does_not_stand_alone_is_named(lab, work):
    said = write_right(lab, "leaning", "def leaning(x):\n    return SCALE * of_the_text(x) / 2")
    assert said.startswith(
        "○ `leaning` is not kept in my_vi.py, because it uses `SCALE`, `of_the_text`: what it uses must"
    )
    lab.run("from course_utils import errors\nbare = lambda x: 2 * x")
    said = write_right(lab, "of_the_course", "def of_the_course(x):\n    errors\n    return 2 * x")
    assert "because it uses `errors`" in said
    lab.run(answer("ex-split", "def split(x):\n    return x"))
    said = write_right(lab, "split", "split = jax.jit(lambda x, f=split: 2 * f(x))")
    assert said == "○ `split` is not kept in my_vi.py: write all of it in one cell, the answer's, to keep it.\n"
    assert not (work / my_vi.FILE).exists()


def test_names_mean_one_thing_in_the_file(lab, work):
    write_right(lab, "plain", "def plain(x):\n    return np.multiply(2, x)")
    lab.run("import jax.numpy as np")
    said = write_right(lab, "renamed", "def renamed(x):\n    return np.multiply(2, x)")
    lab.run("import numpy as np")
    assert "is not kept: `np` is jax.numpy in your cell and numpy in my_vi.py. Use the same name" in said
    said = write_right(lab, "plain", "def plain(x):\n    return x + x", "ex-other")
    assert "my_vi.py has another `plain`, in 02_simple_monte_carlo · ex-plain. Rename one of the two." in said
    (work / my_vi.FILE).write_text(library(work) + "own = 3\n")
    assert "another `own`, in a line of your own" in write_right(lab, "own", "def own(x):\n    return x + x")


def test_a_broken_library_is_left_alone_and_the_courses_own_runs(lab, work):
    write_right(lab, "healthy", "def healthy(x):\n    return 2 * x")
    good = library(work)
    lab.run("del healthy")
    assert lab.text("yours('healthy', instead=courses)(2.0)").strip() == "4.0"
    assert lab.text("yours('healthy', instead=courses).__module__").strip() == "'my_vi'"
    for broken, reason in [
        ("def f(:\n", "SyntaxError in line"),
        ("import no_such_module\n", "ModuleNotFoundError in line"),
        ("raise SystemExit(3)\n", "SystemExit in line"),
    ]:
        (work / my_vi.FILE).write_text(good + broken)
        said = lab.text("assert yours('healthy', instead=courses) is courses")
        assert f"○ my_vi.py cannot be imported ({reason}" in said and "The course's own `healthy` runs here" in said
    (work / my_vi.FILE).write_text(good + "def f(:\n")
    assert "my_vi.py has a syntax error in line" in write_right(lab, "late", "def late(x):\n    return 2 * x")
    assert library(work) == good + "def f(:\n"
    (work / my_vi.FILE).write_bytes(b"\xff\xfe")
    assert "it is not UTF-8" in lab.text("assert yours('healthy', instead=courses) is courses")


def test_only_what_a_check_found_right_is_looked_up(lab, work):
    (work / my_vi.FILE).write_text("def homemade(x):\n    return 2 * x\n")
    assert "until yours is right" in lab.text("assert yours('homemade', instead=courses) is courses")


def test_where_answers_are_graded_the_library_is_neither_read_nor_written(lab, work):
    write_right(lab, "kept", "def kept(x):\n    return 2 * x")
    lab.run("del kept\nimport os")
    before = library(work)
    for variable in ("COURSE_CHECK_SEED", "COURSE_CHECK_REFERENCE"):
        lab.run(f"os.environ['{variable}'] = 'secret'")
        assert lab.text("assert yours('kept', instead=courses) is courses") == ""
        lab.run("def unkept(x):\n    return 2 * x")
        lab.run(checked("ex-unkept", "unkept"))
        assert lab.text("assert yours(unkept) is unkept") == ""
        lab.run(f"del os.environ['{variable}']")
    assert library(work) == before


def test_where_answers_are_graded_a_function_that_was_not_checked_is_handed_on(lab):
    lab.run("import os\ndef unseen(x):\n    return 2 * x\ndef seen(x):\n    return 3 * x")
    lab.run(checked("ex-seen", "seen"))
    for variable in ("COURSE_CHECK_SEED", "COURSE_CHECK_REFERENCE"):
        lab.run(f"os.environ['{variable}'] = 'secret'")
        assert lab.text("assert yours(unseen) is unseen is yours('unseen')") == ""
        assert "run the check of yours" in lab.text("assert yours(unseen, instead=courses) is courses")
        assert "○" in lab.text("assert not yours(unseen, probe=lambda f: f(None))")
        assert "not right yet" in lab.text("assert not yours(seen)")
        assert "judged by its notebook alone, without my_vi.py" in lab.text("assert not yours('never_written')")
        lab.run(f"del os.environ['{variable}']")
    assert "run its check" in lab.text("assert not yours(unseen)")


def test_where_answers_are_graded_the_library_is_not_imported(lab, work):
    (work / my_vi.FILE).write_text("ONE = 1\n")
    lab.run("import os, sys\nfrom course_utils.coursework.kernel import apart")
    try_it = "apart.define([], globals())\nsys.modules.pop('my_vi', None)\nfrom my_vi import ONE"
    assert lab.text(try_it) == ""
    for variable in ("COURSE_CHECK_SEED", "COURSE_CHECK_REFERENCE"):
        lab.run(f"os.environ['{variable}'] = 'secret'")
        (error,) = lab.run(try_it)
        assert (error.ename, error.evalue) == ("ModuleNotFoundError", my_vi.NOT_READ)
        # One that the notebook's own cells have written lies in no work folder.
        (work / my_vi.MANIFEST).rename(work / "manifest")
        assert lab.text(try_it) == ""
        (work / "manifest").rename(work / my_vi.MANIFEST)
        lab.run(f"sys.meta_path.pop(0)\ndel os.environ['{variable}']")
    assert lab.text(try_it) == ""


def test_the_notebook_is_known_without_jupyters_help(tmp_path, monkeypatch):
    (tmp_path / "05_jensen.ipynb").write_text(notebook_with("x = 1").replace('"x', '"ex-elbo-answer", "x'))
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert my_vi.notebook_name(tmp_path, "ex-elbo") == "05_jensen"
    assert my_vi.notebook_name(tmp_path, "ex-other") is None
    for told in ("06_svi.ipynb", "06_svi-Copy1.ipynb", "06_svi (1).ipynb", "06_svi.update-12ab34cd.ipynb"):
        monkeypatch.setenv("JPY_SESSION_NAME", f"/home/student/work/{told}")
        assert my_vi.notebook_name(tmp_path, "ex-elbo") == "06_svi", told
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/student/work/projects/p2_dna-Copy1.ipynb")
    assert my_vi.notebook_name(tmp_path, "ex-elbo") == "p2_dna"
    monkeypatch.setenv("JPY_SESSION_NAME", "/home/student/Untitled.ipynb")
    assert my_vi.notebook_name(tmp_path, "ex-elbo") == "05_jensen"


def test_progress(tmp_path):
    (tmp_path / "02_a.ipynb").write_text(notebook_with("my_f = yours(f, instead=m.f)", "%time g = yours('g')", "x = ("))
    (tmp_path / "05_b.ipynb").write_text(notebook_with("if (h := yours('h')):\n    yours('f')(1)"))
    (tmp_path / "06_c.ipynb").write_text("no notebook")
    (tmp_path / "projects").mkdir()
    (tmp_path / "projects" / "p2_dna.ipynb").write_text(notebook_with("yours(k)", "yours(f)"))
    assert my_vi_progress(tmp_path) == ({}, {"f": "02_a", "h": "05_b", "k": "p2_dna"})
    (tmp_path / my_vi.FILE).write_text(with_section("", Section("02_a · ex-f", "def f(x):\n    return x")))
    assert my_vi_progress(tmp_path) == ({"f": "02_a · ex-f"}, {"h": "05_b", "k": "p2_dna"})


def test_the_manifest_is_the_work_folders():
    assert my_vi.MANIFEST == workfolder.MANIFEST


def test_a_starter_writes_into_the_work_folder_above_it(work, monkeypatch):
    for folder, found in (("projects", work), ("other", None)):
        (work / folder).mkdir()
        monkeypatch.chdir(work / folder)
        assert my_vi.work_folder() == found


# --- the file ---------------------------------------------------------------------------------------------------------

NUMPY, MATH, SQRT = Import("numpy", None, "np"), Import("math", None, None), Import("math", "sqrt", None)
SOURCES = {
    "f": ("def f(x):\n    return np.asarray(x)", {NUMPY}),
    "g": ("A = 3\n\n\ndef g(x):\n    return A * math.pi * f(x)", {MATH}),
    "h": ("def h(x):\n    return sqrt(x) + np.pi", {SQRT, NUMPY}),
    "k": ("def k(x):\n    return x", set()),
}
sections = st.builds(
    lambda notebook, name, extra: Section(
        f"{notebook} · ex-{name}", SOURCES[name][0] + extra, frozenset(SOURCES[name][1])
    ),
    st.sampled_from(["02_a", "05_b", "09_c"]),
    st.sampled_from(sorted(SOURCES)),
    st.sampled_from(["", "\n", "  # renewed"]),
)
OWN_LINES = [
    "",
    "# a note",
    "own_{0} = {0}",
    "def own_{0}():\n    return {0}  # é → ≠",
    "import numpy as np",
    "import math",
    "from __future__ import annotations",
    '"""A text of mine."""',
    "# >>> 02_a · ex-f",
    "# <<< 05_b · ex-g",
    "# >>> imports",
    "text_{0} = '''# >>> 02_a · ex-k\n'''",
    "f = {0}",
    "math = None",
    "a syntax error (",
]
own_lines = st.lists(st.sampled_from(OWN_LINES), max_size=6)


@settings(max_examples=300, deadline=None)
@given(
    own_lines,
    st.lists(st.one_of(sections, st.tuples(st.sampled_from(OWN_LINES), st.floats(0, 1))), max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_lines_of_ones_own_survive_any_sequence_of_writes(begun, steps, newline, ends):
    """Whatever is written, and wherever a line is added in between outside of the sections: it stays, and in its order."""
    mine, text = [], ""

    def tag(line):
        mine.append(len(mine))
        # The tag is a line of its own, so that the line itself may be a mark or the start of a text.
        return f"# mine {mine[-1]};\n{line.format(mine[-1])}\n".replace("\n", newline)

    for line in begun:
        text += tag(line)
    text = text if ends else text.rstrip()
    order = [int(number) for number in re.findall(r"# mine (\d+);", text)]
    for step in steps:
        if isinstance(step, tuple):
            file = my_vi._File(text)
            inside = {at for start, end in file.sections.values() for at in range(start + 1, end)}
            places = [at for at in range(len(file.lines) + 1) if at not in inside]
            place = places[int(step[1] * (len(places) - 1))]
            before = "".join(file.lines[:place])
            text = (before if before.endswith("\n") or not before else before + newline) + tag(step[0])
            text += "".join(file.lines[place:])
            order = [int(number) for number in re.findall(r"# mine (\d+);", text)]
            continue
        try:
            new = with_section(text, step)
        except CannotKeepError:
            continue
        assert [int(number) for number in re.findall(r"# mine (\d+);", new)] == order
        outside = my_vi._File(text).others(step.heading, "imports")
        assert not text or [line for line in outside.split() if line] == [
            line for line in my_vi._File(new).others(step.heading, "imports").split() if line
        ]
        compile(new, "my_vi.py", "exec")
        assert with_section(new, step) == new
        assert step.heading in my_vi._File(new).sections
        text = new


@given(st.permutations(sorted(SOURCES)), st.permutations(["02_a", "05_b", "07_d", "09_c"]))
@settings(max_examples=30, deadline=None)
def test_sections_stand_in_the_notebooks_order_and_the_file_runs(names, notebooks):
    text = ""
    for name, notebook in zip(names, notebooks):
        text = with_section(text, Section(f"{notebook} · ex-{name}", SOURCES[name][0], frozenset(SOURCES[name][1])))
    assert re.findall(r"# >>> (\d\d)", text) == ["02", "05", "07", "09"]
    module = {}
    exec(text, module)
    assert module["h"](4.0) > 5 and module["g"](1.0) > 9
    assert text.count("import numpy as np") == 1


def test_imports_that_nothing_needs_any_more_go(tmp_path):
    text = with_section("", Section("02_a · ex-f", *SOURCES["f"][:1], frozenset(SOURCES["f"][1])))
    assert "import numpy as np" in text
    text = with_section(text, Section("02_a · ex-f", "def f(x):\n    return x"))
    assert "numpy" not in text


def test_the_file_of_several_sections_is_clean(tmp_path):
    text = ""
    for name, notebook in zip("fghk", ["05_b", "02_a", "05_b", "02_a"]):
        text = with_section(text, Section(f"{notebook} · ex-{name}", SOURCES[name][0], frozenset(SOURCES[name][1])))
    (tmp_path / my_vi.FILE).write_text(text, encoding="utf-8")
    ruff("check", "--isolated", "--select=E,F,I,W", "--line-length=120", str(tmp_path / my_vi.FILE))
    ruff("format", "--isolated", "--check", "--diff", str(tmp_path / my_vi.FILE))


def test_a_library_that_cannot_be_written_keeps_what_it_held(tmp_path, monkeypatch):
    (tmp_path / my_vi.FILE).write_text("mine = 1\n")

    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(my_vi.Path, "replace", fail)
    with pytest.raises(CannotKeepError, match=r"cannot be written \(no space left"):
        my_vi.write_whole(tmp_path / my_vi.FILE, b"new")
    assert [path.name for path in tmp_path.iterdir()] == [my_vi.FILE]
    assert (tmp_path / my_vi.FILE).read_text() == "mine = 1\n"

"""Honest answers, written in all the ways in which people write in notebooks: whatever Jupyter calls right has full marks.

Each style is run by the grader and, most of them weekly, as Jupyter runs a notebook, all cells in their order, and by
``course check``. Where Jupyter's kernel shows ✓ for the visible check, the others have to agree, or to name the variable that
is why.
"""

import json
from dataclasses import dataclass, field

import nbformat
import pytest

from course_utils.coursework.author.execute import execute_notebook
from course_utils.coursework.grade.answers import Given, plans, read_submitted
from course_utils.coursework.grade.judge import NO_LIBRARY, judge
from course_utils.coursework.grade.key import make_key, stripped_checks
from course_utils.coursework.grade.types import Reason
from course_utils.coursework.kernel import my_vi
from course_utils.coursework.run.isolation import find_isolation
from course_utils.coursework.run.kernels import FreshKernels, find_kernels
from course_utils.coursework.run.limits import Limits
from course_utils.coursework.run.program import Program, Step
from course_utils.coursework.run.runner import run
from course_utils.coursework.source.notebooks import read_notebook, student_copy, write_notebook
from course_utils.coursework.student.check import check_notebook
from tests.test_grading import cell, nbgrader

NOTEBOOK = "01_styles.ipynb"
LIMITS = Limits(seconds_per_cell=20)
MARKER = "# The answer to ex-mean-answer; keep this line.\n"
STUB = 'raise NotImplementedError("your answer goes here")'
YOURS = "from course_utils.coursework.checks import yours"
DRAW_WITH_MINE = "def draw(key, num):\n    x = jax.random.normal(key, (num,))\n    return 2 * (x - mine(x) + mine(x))"
PLAIN = "def mean(values):\n    return jnp.sum(values) / len(values)"


def source():
    """A notebook of two exercises: one is handed its numbers, the other draws them with the key that it is handed."""
    check_mean = (
        'rng = np.random.default_rng(check_seed("ex-mean"))\n'
        "values = jnp.asarray(rng.normal(3, 1, 7))\n"
        "check('mean of seven values', lambda: mean(values), truth=np.mean(np.asarray(values)))\n"
        "### BEGIN HIDDEN TESTS\ncheck('mean of four values', lambda: mean(jnp.asarray(rng.normal(size=4))))\n"
        "### END HIDDEN TESTS"
    )
    check_draw = (
        'key = jax.random.key(check_seed("ex-draw"))\n'
        "check('draws', lambda: draw(key, 5), truth=2 * jax.random.normal(key, (5,)))\n"
        "### BEGIN HIDDEN TESTS\ncheck('other draws', lambda: draw(key, 3))\n### END HIDDEN TESTS"
    )
    setup = "import jax\nimport jax.numpy as jnp\nimport numpy as np\n\nfrom course_utils.coursework.checks import check, check_seed"
    lecture = "import math\nSCALE = 2.0\ncomputed = float(jnp.ones(3).mean())\ndef lecture_sum(x):\n    return SCALE * jnp.sum(x) / 2"
    cells = [
        cell("code", setup, "setup", tags=["setup"]),
        cell("code", lecture, "lecture"),
        answer_cell("ex-mean", "def mean(values):", "return jnp.sum(jnp.asarray(values)) / len(values)"),
        cell("code", check_mean, "ex-mean-check", nbgrader=nbgrader("ex-mean-check", 2)),
        answer_cell("ex-draw", "def draw(key, num):", "return SCALE_OF_DRAWS * jax.random.normal(key, (num,))"),
        cell("code", check_draw, "ex-draw-check", nbgrader=nbgrader("ex-draw-check", 2)),
    ]
    cells[4].source = cells[4].source.replace("SCALE_OF_DRAWS", "2")
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def answer_cell(name, head, body):
    text = f"{head}\n    ### BEGIN SOLUTION\n    {body}\n    ### END SOLUTION"
    return cell("code", text, f"{name}-answer", nbgrader=nbgrader(f"{name}-answer"))


@dataclass(frozen=True)
class Style:
    """What a student did to the notebook: the answer's cell, and cells of their own around it.

    Attributes:
        answer: the source of the answer's cell, without the comment that marks it; ``None`` leaves it as it was given.
        above, between, below: cells of the student's own above the answer, between answer and check, below the check.
        top: cells above everything.
        draw: the answer to the second exercise.
        change: what else was done to the cells' JSON.
        names: a lecture's variable because of which the grader cannot agree.
    """

    answer: str | None = PLAIN
    above: tuple[str, ...] = ()
    between: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    top: tuple[str, ...] = ()
    draw: str = "def draw(key, num):\n    return 2 * jax.random.normal(key, (num,))"
    change: object = field(default=lambda cells: cells)
    names: str = ""


def without_marks(cells):
    """As Colab or an old editor leaves it: no ids, no metadata."""
    for each in cells:
        each.pop("id", None)
        each["metadata"] = {}
    return cells


def pasted_into_check(cells):
    for each in cells:
        if each["id"] == "ex-mean-check":
            each["source"] = PLAIN + "\n\n" + each["source"]
    return cells


def marker_alone(cells):
    """*Split Cell* right below the comment: the upper half keeps the id."""
    for i, each in enumerate(cells):
        if each["id"] == "ex-mean-answer":
            lower = dict(each, id="lower", metadata={}, source=PLAIN)
            return [*cells[:i], dict(each, source=MARKER), lower, *cells[i + 1 :]]
    raise AssertionError


def lower_half_keeps_the_id(cells):
    """*Split Cell* above a try-out: the upper half, with the definition, is new."""
    for i, each in enumerate(cells):
        if each["id"] == "ex-mean-answer":
            upper = dict(each, id="upper", metadata={}, source=MARKER + PLAIN)
            return [*cells[:i], upper, dict(each, source="mean(jnp.arange(3.0))"), *cells[i + 1 :]]
    raise AssertionError


def joined(cells):
    """Both answers in one cell, the first one's."""
    for each in cells:
        if each["id"] == "ex-mean-answer":
            each["source"] += "\n\n\ndef draw(key, num):\n    return 2 * jax.random.normal(key, (num,))"
    return [each for each in cells if each["id"] != "ex-draw-answer"]


def mended_below_with_the_check(cells):
    """What the check called wrong is mended in a cell below it, and a copy of the check says ✓."""
    (at,) = (i for i, each in enumerate(cells) if each["id"] == "ex-mean-check")
    mended = dict(cells[at], id="mended", metadata={}, source=PLAIN)
    return [*cells[: at + 1], mended, dict(cells[at], id="check-again"), *cells[at + 1 :]]


def lines_as_list(cells):
    return [dict(each, source=each["source"].splitlines(keepends=True)) for each in cells]


def with_outputs(cells):
    picture = {"output_type": "display_data", "metadata": {}, "data": {"image/png": "A" * 100_000}}
    return [dict(each, outputs=[picture], execution_count=3) for each in cells]


STYLES = {
    "plain": Style(),
    "numpy": Style("def mean(values):\n    return np.mean(values)"),
    "python": Style("def mean(values):\n    return sum(values) / len(values)"),
    "lambda": Style("mean = lambda values: np.mean(values)"),
    "jitted": Style("@jax.jit\ndef mean(values):\n    return jnp.mean(jnp.asarray(values))"),
    "scan": Style(
        "def mean(values):\n    total, _ = jax.lax.scan(lambda c, x: (c + x, None), 0.0, jnp.asarray(values))\n    return total / len(values)"
    ),
    "class-with-call": Style("class Mean:\n    def __call__(self, values):\n        return np.mean(values)\nmean = Mean()"),
    "partial": Style("import functools\nmean = functools.partial(np.average, axis=0)"),
    "borrowed": Style("mean = np.mean"),
    "double-precision-result": Style("def mean(values):\n    return np.mean(np.asarray(values, np.float64))"),
    "typed": Style("from jaxtyping import Array\ndef mean(values: Array) -> Array:\n    return np.mean(values)"),
    "with-prints": Style("def mean(values):\n    print('½', values)\n    return np.mean(values)\nprint(mean([1.0]))"),
    "with-a-warning": Style("import warnings\ndef mean(values):\n    warnings.warn('old')\n    return np.mean(values)"),
    "rebound-below": Style(PLAIN + "\nmean = jax.jit(mean)".replace("jax.jit(mean)", "jax.jit(lambda v, f=mean: f(jnp.asarray(v)))")),
    "wrapped-in-a-cell-below": Style(between=("inner = mean\nmean = lambda values: jax.jit(inner)(jnp.asarray(values))",)),
    "tried-out-below": Style(between=("mean(jnp.arange(4.0))",)),
    "failing-try-out-below": Style(between=("mean()",)),
    "corrected-below": Style("def mean(values):\n    return 0.0", between=(PLAIN,)),
    "stub-left-below": Style(f"{PLAIN}\n{STUB}"),
    "stub-commented": Style(f"def mean(values):\n    # {STUB}\n    return np.mean(values)"),
    "stub-after-return": Style(f"def mean(values):\n    return np.mean(values)\n    {STUB}"),
    "docstring": Style('def mean(values):\n    """Return the mean."""\n    return np.mean(values)'),
    "under-if": Style("if True:\n    def mean(values):\n        return np.mean(values)"),
    "under-try": Style("try:\n    import no_such_module\nexcept ImportError:\n    def mean(values):\n        return np.mean(values)"),
    "under-with": Style("import contextlib\nwith contextlib.suppress(ValueError):\n    def mean(values):\n        return np.mean(values)"),
    "in-a-loop": Style("for name in ['mean']:\n    globals()[name] = np.mean\nmean = globals()['mean']"),
    "async": Style("async def slow():\n    return np.mean\nmean = await slow()"),
    "own-helper-above": Style("def mean(values):\n    return total(values) / len(values)", above=("def total(x):\n    return sum(x)",)),
    "own-constant-above": Style("def mean(values):\n    return ONE * np.mean(values)", above=("ONE = 1.0",)),
    "own-computed-above": Style("def mean(values):\n    return one * np.mean(values)", above=("one = float(jnp.ones(1).sum())",)),
    "append-above": Style("def mean(values):\n    return TABLE[0] * np.mean(values)", above=("TABLE = []", "TABLE.append(1)")),
    "loop-above": Style("def mean(values):\n    return TABLE[0] * np.mean(values)", above=("TABLE = {}\nfor i in range(3):\n    TABLE[i] = i + 1",)),
    "with-above": Style("def mean(values):\n    return one * np.mean(values)", above=("with open('one.txt', 'w') as f:\n    f.write('1')\nwith open('one.txt') as f:\n    one = int(f.read())",)),
    "def-under-if-above": Style("def mean(values):\n    return total(values) / len(values)", above=("if True:\n    def total(x):\n        return sum(x)",)),
    "chain-above": Style("def mean(values):\n    return g(values) / len(values)", above=("def f(x):\n    return sum(x)", "def g(x):\n    return f(x)")),
    "star-import-above": Style("def mean(values):\n    return fsum(values) / len(values)", above=("from math import *",)),
    "failing-experiment-above": Style("def mean(values):\n    return total(values) / len(values)", above=("def total(x):\n    return sum(x)\nraise ValueError('an experiment')",)),
    "syntax-error-above": Style(above=("def broken(:",)),
    "helper-below-the-check": Style("def mean(values):\n    return total(values) / len(values)", above=("def total(x):\n    return sum(x)",), below=("total(jnp.ones(3))",)),
    "experiment-below-the-check": Style(below=("mean = None", "mean")),
    "own-cell-above-untouched-stub-deleted": Style("", above=(PLAIN,)),
    "own-cell-between": Style(None, between=(PLAIN,)),
    "own-cell-between-twice": Style(None, between=("def mean(values):\n    return 0", PLAIN)),
    "own-cell-with-magic": Style(None, between=("%%time\n" + PLAIN,)),
    "own-cell-with-help": Style(None, between=(PLAIN + "\njnp.mean?",)),
    "magic-time": Style("%%time\n" + PLAIN),
    "magic-time-and-helper": Style("%%time\ndef mean(values):\n    return total(values) / len(values)", above=("def total(x):\n    return sum(x)",)),
    "magic-capture": Style("%%capture\n" + PLAIN),
    "line-magic": Style("%matplotlib inline\n" + PLAIN),
    "timeit": Style(PLAIN + "\n%timeit -n 1 -r 1 mean([1.0])"),
    "help-mark": Style("jnp.mean?\n" + PLAIN),
    "double-help-mark": Style(PLAIN + "\nmean??"),
    "shell": Style("!echo hello\n" + PLAIN),
    "shell-assigned": Style("files = !ls\n" + PLAIN),
    "magic-assigned": Style("where = %pwd\n" + PLAIN),
    "semicolon": Style(PLAIN + ";"),
    "last-result": Style("def mean(values):\n    return ONE * np.mean(values)", above=("1.0", "ONE = _")),
    "displayed": Style("from IPython.display import display, Markdown\ndisplay(Markdown('**mean**'))\n" + PLAIN),
    "widget": Style(PLAIN, below=("import ipywidgets\nipywidgets.interact(lambda n: n, n=(0, 5))",)),
    "plot-above": Style(above=("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",)),
    "used-and-defined": Style(
        "n += 1\nclass Base(Base):\n    pass\ndef mean(values):\n    return Base.one * n * np.mean(values)",
        above=("n = 0\nclass Base:\n    one = 1",),
    ),
    "key-split": Style(
        draw="key0, sub = jax.random.split(key0)\ndef draw(key, num):\n    return 2 * jax.random.normal(key, (num,))",
        below=("key0 = jax.random.key(0)",),
    ),
    "other-answer-used": Style(draw="def draw(key, num):\n    x = jax.random.normal(key, (num,))\n    return 2 * (x - mean(x) + mean(x))"),
    "lecture-function": Style("def mean(values):\n    return lecture_sum(jnp.asarray(values)) / len(values)"),
    "lecture-import": Style("def mean(values):\n    return math.fsum(values) / len(values)"),
    "lecture-constant": Style("def mean(values):\n    return SCALE * np.mean(values) / 2.0"),
    "lecture-variable": Style("def mean(values):\n    return computed * np.mean(values)", names="computed"),
    "setup-changed": Style("def mean(values):\n    return operator.truediv(sum(values), len(values))", change=lambda cells: [dict(cells[0], source=cells[0]["source"] + "\nimport operator"), *cells[1:]]),
    "lecture-changed": Style("def mean(values):\n    return own(values)", change=lambda cells: [cells[0], dict(cells[1], source=cells[1]["source"] + "\nown = lambda v: sum(v) / len(v)"), *cells[2:]]),
    "names-of-the-check": Style("key = values = check_mean = None\n" + PLAIN),
    "numpy-renamed": Style("import jax.numpy as np\ndef mean(values):\n    return np.mean(np.asarray(values))"),
    "x64": Style("jax.config.update('jax_enable_x64', True)\n" + PLAIN),
    "x64-above": Style(above=("jax.config.update('jax_enable_x64', True)",)),
    "x64-in-the-environment": Style(top=("import os\nos.environ['JAX_ENABLE_X64'] = '1'",)),
    "step-for-x64": Style(
        "def mean(values):\n    last = jnp.asarray(1.0 + 1e-7)\n    return (jnp.mean(jnp.asarray(values)) * (last - jnp.asarray(1.0))) / 1e-7",
        above=("jax.config.update('jax_enable_x64', True)",),
    ),
    "step-for-x64-from-the-arguments": Style(
        "def mean(values):\n    return ((values + 1e-7) ** 2 - values**2).mean() / 2e-7",
        above=("jax.config.update('jax_enable_x64', True)",),
    ),
    "x64-within-the-answer": Style(
        "def mean(values):\n    jax.config.update('jax_enable_x64', True)\n    return jnp.asarray(np.asarray(values)).mean()",
        draw="def draw(key, num):\n    return 2 * jax.random.normal(key, (num,)) + 0 * mean(jnp.ones(num))",
    ),
    "errors-caught": Style(
        "def mean(values):\n    try:\n        return 0.0 * np.log(np.zeros(1)).sum()\n    except FloatingPointError:\n        return np.mean(values)",
        above=("np.seterr(all='raise')",),
    ),
    "partial-under-x64": Style(
        "import functools\nmean = functools.partial(lambda one, values: (jnp.asarray(one + 1e-9) - 1) * 1e9 * values.mean(), 1.0)",
        above=("jax.config.update('jax_enable_x64', True)",),
    ),
    "jitted-under-x64": Style(
        "@jax.jit\ndef mean(values):\n    return (jnp.asarray(1 + 1e-9) - 1) * 1e9 * values.mean()",
        above=("jax.config.update('jax_enable_x64', True)",),
    ),
    "yours": Style(below=(f"{YOURS}\nmine = yours(mean)",), draw=DRAW_WITH_MINE),
    "yours-by-name": Style(below=(f"{YOURS}\nmine = yours('mean')",), draw=DRAW_WITH_MINE),
    "yours-or-another": Style(below=(f"{YOURS}\nmine = yours(mean, instead=jnp.mean)",), draw=DRAW_WITH_MINE),
    "x64-in-the-setup": Style(
        "def mean(values):\n    return (jnp.asarray(1 + 1e-9) - 1) * 1e9 * values.mean()",
        change=lambda cells: [dict(cells[0], source="import os\nos.environ['JAX_ENABLE_X64'] = '1'\n" + cells[0]["source"]), *cells[1:]],
    ),
    "rbg": Style("jax.config.update('jax_default_prng_impl', 'rbg')\n" + PLAIN),
    "rank-promotion": Style("jax.config.update('jax_numpy_rank_promotion', 'raise')\n" + PLAIN),
    "not-partitionable": Style("jax.config.update('jax_threefry_partitionable', False)\n" + PLAIN),
    "debug-nans": Style("jax.config.update('jax_debug_nans', True)\n" + PLAIN),
    "errors-raised": Style("np.seterr(all='raise')\n" + PLAIN),
    "warnings-are-errors": Style("import warnings\nwarnings.simplefilter('error')\n" + PLAIN),
    "seeded": Style("np.random.seed(0)\nimport random\nrandom.seed(0)\n" + PLAIN),
    "module-written": Style("from helper import total\ndef mean(values):\n    return total(values) / len(values)", above=("%%writefile helper.py\ndef total(x):\n    return sum(x)",)),
    "module-written-and-environment-set": Style(
        "from helper import total\ndef mean(values):\n    return total(values) / len(values)",
        above=("%%writefile helper.py\ndef total(x):\n    return sum(x)",),
        top=("import os\nos.environ['JAX_ENABLE_X64'] = '0'",),
    ),
    "folder-made": Style(
        above=("import os\nos.mkdir('plots')\nTWO = 2",),
        draw="def draw(key, num):\n    return TWO * jax.random.normal(key, (num,))",
    ),
    "imports-in-another-answer": Style(
        "from math import (\n    pi,\n    tau as turn,\n)\nhalf = one = 1.0; two = 2\n" + PLAIN,
        draw="def draw(key, num):\n    return two * one * turn / pi / 2 * jax.random.normal(key, (num,))",
    ),
    "all-imported-in-another-answer": Style(
        "from math import *\n" + PLAIN,
        draw="def draw(key, num):\n    return 2 * pi / pi * jax.random.normal(key, (num,))",
    ),
    "variable-of-the-check": Style("def mean(numbers):\n    return np.mean(values)", names="values"),
    "registered": Style(
        "@jax.tree_util.register_pytree_node_class\nclass Box:\n    def __init__(self, v): self.v = v\n"
        "    def tree_flatten(self): return (self.v,), None\n    @classmethod\n    def tree_unflatten(cls, aux, v): return cls(*v)\n"
        "def mean(values):\n    return jax.jit(lambda b: b.v.mean())(Box(jnp.asarray(values)))"
    ),
    "custom-gradient": Style(
        "@jax.custom_vjp\ndef total(x):\n    return x.sum()\ntotal.defvjp(lambda x: (total(x), x.shape), lambda s, g: (jnp.full(s, g),))\n"
        "def mean(values):\n    return total(jnp.asarray(values)) / len(values)"
    ),
    "in-place": Style("def mean(values):\n    values = np.array(values)\n    values /= len(values)\n    return values.sum()"),
    "pasted-into-the-check": Style(None, change=pasted_into_check),
    "marker-alone": Style(change=marker_alone),
    "lower-half-keeps-the-id": Style(change=lower_half_keeps_the_id),
    "answers-joined": Style(change=joined),
    "no-ids-no-metadata": Style(change=without_marks),
    "lines-as-a-list": Style(change=lines_as_list),
    "with-outputs": Style(change=with_outputs),
    "tabs": Style("def mean(values):\n\treturn np.mean(values)"),
    "windows-lines": Style("def mean(values):\r\n    return np.mean(values)\r\n"),
    "top-of-the-notebook": Style(
        "@jax.jit\ndef mean(values):\n    with np.errstate(all='ignore'):\n        return ONE * jnp.sum(values) / len(values)",
        top=("%reset -f", "import numpy as jnp\nONE = jnp.float32(1)", "from jax import numpy as np"),
    ),
    "other-answer-binds-names-of-the-course": Style(
        "import numpy as jnp\ndef lecture_sum(x, times):\n    return times * sum(x)\n"
        "a, (b, one) = 1, (2, 1.0)\nfor i, last in enumerate([1.0]):\n    pass\ntable['two'] = 2\n"
        "def mean(values):\n    return lecture_sum(values, 1) / len(values)",
        above=("table = {}",),
        draw="def draw(key, num):\n    x = jnp.empty(num)\n    x[:] = jax.random.normal(key, (num,))\n"
        "    return x * one * last * lecture_sum([1.0], table['two'])",
    ),
    "older-try-below-the-check": Style(below=(MARKER + "def mean(values):\n    return 0.0",)),
    "mended-below-with-the-check": Style("def mean(values):\n    return 0.0", change=mended_below_with_the_check),
    "unicode-names": Style("def mean(values):\n    Σ = sum(values)\n    return Σ / len(values)"),
    "recursive": Style("def total(x):\n    return x[0] + total(x[1:]) if len(x) else 0.0\ndef mean(values):\n    return total(list(values)) / len(values)"),
    "cached": Style("import functools\n@functools.cache\ndef one():\n    return 1.0\ndef mean(values):\n    return one() * np.mean(values)"),
    "thread": Style("from concurrent.futures import ThreadPoolExecutor\ndef mean(values):\n    with ThreadPoolExecutor() as pool:\n        return pool.submit(np.mean, values).result()"),
    "two-tries-in-one-cell": Style("def mean(values):\n    return 0\n" + PLAIN),
    "print-shadowed": Style("print = None\n" + PLAIN),
    "package": Style("from course_utils import montecarlo\ndef mean(values):\n    return montecarlo.estimate(jnp.asarray(values))[0] if False else np.mean(values)"),
}  # fmt: skip


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    folder = tmp_path_factory.mktemp("styles")
    write_notebook(source(), folder / NOTEBOOK)
    execute_notebook(folder / NOTEBOOK)
    cache = folder / "cache"
    cache.mkdir()
    trusted, walled = find_kernels(None, fill_cache=True), find_kernels(find_isolation(), readable=[cache])
    key = make_key(folder / NOTEBOOK, "a secret seed", trusted, cache)
    yield {
        "folder": folder,
        "given": Given(read_notebook(folder / NOTEBOOK)),
        "key": key,
        "cache": cache,
        "trusted": trusted,
        "walled": walled,
    }
    trusted.close()
    walled.close()


def handed_in(style):
    """Return the cells of the notebook that a student hands in, as JSON."""
    notebook = json.loads(nbformat.writes(student_copy(source())))
    cells = []
    for each in notebook["cells"]:
        each["source"] = "".join(each["source"])
        if each["id"] == "ex-mean-answer":
            if style.answer is not None:
                # A magic of a whole cell stands above everything.
                magic, _, rest = (
                    style.answer.partition("\n") if style.answer.startswith("%%") else ("", "", style.answer)
                )
                each["source"] = f"{magic}\n{MARKER}{rest}".lstrip() if style.answer else ""
            cells += [*own(style.above, "above"), each, *own(style.between, "between")]
        elif each["id"] == "ex-mean-check":
            cells += [each, *own(style.below, "below")]
        elif each["id"] == "ex-draw-answer":
            cells.append(dict(each, source=each["source"].splitlines()[0] + "\n" + style.draw))
        else:
            cells.append(each)
    notebook["cells"] = style.change([*own(style.top, "top"), *cells])
    return notebook


def own(sources, place):
    new = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    return [new | {"id": f"{place}-{i}", "source": text} for i, text in enumerate(sources)]


def in_jupyter(notebook, course):
    """Run all cells in their order in one kernel, and return for each exercise whether its visible check shows ✓."""
    checks = {digest: name for name in ("ex-mean", "ex-draw") for digest in [f'check_seed("{name}")']}
    steps = []
    for i, each in enumerate(notebook["cells"]):
        text = "".join(each["source"])
        name = next((name for mark, name in checks.items() if mark in text), "")
        # Only what cells of the course say is listened to, and only of checks.
        steps.append(Step(name or f"cell-{i}", text, author="course" if name else "student"))
    steps.insert(0, Step("before", "pass", author="student"))
    outcome = run([Program("all", tuple(steps))], None, LIMITS, course["trusted"], cache=course["cache"])["all"]
    return {name: [record.status for record in outcome.records.get(name, ())] == ["right"] for name in checks.values()}


def by_grader(content, course):
    """Return the marks of both exercises."""
    submitted = read_submitted(content, course["given"])
    todo = plans(submitted, course["given"], stripped_checks(course["given"]))
    outcomes = run(
        [plan.program for plan in todo if plan.program],
        "a secret seed",
        LIMITS,
        course["walled"],
        cache=course["cache"],
    )
    return [
        judge(plan, outcomes.get(plan.exercise.name), expected, submitted, course["given"], LIMITS)
        for plan, expected in zip(todo, course["key"].exercises, strict=True)
    ]


# Jupyter changes with its version alone, and runner and judge of `course check` are the grader's own: a week is soon enough.
some_now_all_weekly = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if i % 8 else ()) for i, name in enumerate(STYLES)]
)


@some_now_all_weekly
def test_an_honest_style_is_right_in_jupyter(course, name):
    """For one exercise at the least: the grader may be kinder, and keep a cell that spoils another apart from it."""
    right = in_jupyter(handed_in(STYLES[name]), course)
    assert right["ex-mean"] if STYLES[name].names else any(right.values())


@pytest.mark.parametrize("name", STYLES)
def test_the_grader_calls_it_right(course, name):
    style = STYLES[name]
    graded = by_grader(json.dumps(handed_in(style)).encode(), course)
    if style.names:
        assert f"it uses {style.names}," in graded[0].note and graded[0].reason == Reason.ERROR
    else:
        assert [mark.reason for mark in graded] == [Reason.RIGHT, Reason.RIGHT], graded


@some_now_all_weekly
def test_course_check_agrees(course, tmp_path, name):
    style = STYLES[name]
    (tmp_path / NOTEBOOK).write_text(json.dumps(handed_in(style)))
    marks = check_notebook(tmp_path / NOTEBOOK, course["folder"], kernels=course["trusted"], cache=course["cache"])
    if style.names:
        assert f"it uses {style.names}," in marks[0].note and marks[0].reason == Reason.ERROR
    else:
        assert [mark.reason for mark in marks] == [Reason.RIGHT, Reason.RIGHT], marks


@pytest.mark.parametrize(
    "cell",
    [
        "import jax\njax.config.update('jax_platform_name', 'gpu')",
        "import os\nos.environ['JAX_PLATFORMS'] = 'cuda'",
        "%env JAX_PLATFORM_NAME=gpu",
    ],
)
def test_who_worked_on_a_gpu_is_graded_on_what_is_here(course, cell):
    above = ("ONES = jnp.ones(3)",)
    style = Style("def mean(values):\n    return ONES[0] * jnp.mean(jnp.asarray(values))", above=above, top=(cell,))
    assert [mark.reason for mark in by_grader(json.dumps(handed_in(style)).encode(), course)] == [Reason.RIGHT] * 2


def test_what_is_missing_without_the_students_library_is_said(course, tmp_path):
    """Graders do not have it, and ``course check`` does without it although it is there."""
    style = Style(
        "from my_vi import total\ndef mean(values):\n    return total(values) / len(values)",
        draw=f"{YOURS}\ntwice = yours('twice')\ndef draw(key, num):\n    return twice(jax.random.normal(key, (num,)))",
    )
    content = json.dumps(handed_in(style))
    (tmp_path / NOTEBOOK).write_text(content)
    (tmp_path / my_vi.MANIFEST).write_text("{}")
    (tmp_path / my_vi.FILE).write_text("total = sum\ndef twice(x):\n    return 2 * x\n")
    checked = check_notebook(tmp_path / NOTEBOOK, course["folder"], cache=course["cache"])
    for mark in [*checked, *by_grader(content.encode(), course)]:
        assert mark.reason == Reason.ERROR and NO_LIBRARY in mark.note, mark
        assert any(my_vi.NOT_READ in said for said in mark.said)


def test_enough_styles():
    assert len(STYLES) >= 60


@pytest.mark.parametrize(
    "name",
    [
        "magic-time-and-helper",
        "x64-in-the-environment",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("plain", "async", "own-cell-between")),
    ],
)
def test_kernels_that_are_not_forked_agree(course, tmp_path, name):
    """As on Windows and macOS."""
    (tmp_path / NOTEBOOK).write_text(json.dumps(handed_in(STYLES[name])))
    kernels = FreshKernels()
    try:
        marks = check_notebook(tmp_path / NOTEBOOK, course["folder"], kernels=kernels)
    finally:
        kernels.close()
    assert [mark.reason for mark in marks] == [Reason.RIGHT, Reason.RIGHT]

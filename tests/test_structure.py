"""The arrows of the architecture: who may import whom, read from the imports themselves."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "course_utils"
WING = PACKAGE / "coursework"
# By side of the wall: a package imports only what is listed, and nothing of the wing else.
MAY_IMPORT = {
    "source": set(),
    "kernel": {"source"},
    "run": {"source", "kernel"},
    "grade": {"source", "run"},
    "report": {"source", "run", "grade"},
    "student": {"source", "run", "grade"},
    "author": {"source", "kernel", "run", "grade", "report", "student"},
}


def imports(path):
    """Return the modules that a file imports, at its top or anywhere else."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def wrong_arrows(folder):
    """Return the imports under ``folder``, laid out as the wing, that point the wrong way."""
    wrong = []
    for package, allowed in MAY_IMPORT.items():
        for path in sorted((folder / package).rglob("*.py")):
            for name in imports(path):
                target = name.removeprefix("course_utils.coursework.").partition(".")[0]
                if (
                    name.startswith("course_utils.coursework.")
                    and target in MAY_IMPORT
                    and target not in allowed | {package}
                ):
                    wrong.append(f"{package}/{path.name} imports {name}")
    return wrong


def test_the_wing_is_laid_out_by_side_of_the_wall():
    packages = {path.name for path in WING.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert packages == set(MAY_IMPORT)
    assert wrong_arrows(WING) == []


def test_an_arrow_that_points_the_wrong_way_is_found(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "bad.py").write_text("def f():\n    from course_utils.coursework.grade import judge\n")
    found = wrong_arrows(tmp_path)
    assert found and all(each.startswith("run/bad.py imports course_utils.coursework.grade") for each in found)


def test_the_maths_knows_no_notebook_and_the_wing_no_maths():
    for path in PACKAGE.glob("*.py"):
        if path.name != "cli.py":
            assert not {name for name in imports(path) if name.startswith("course_utils.coursework")}, path.name
    maths = {f"course_utils.{path.stem}" for path in PACKAGE.glob("*.py")} - {
        f"course_utils.{n}" for n in ("paths", "errors", "cli")
    }
    for path in WING.rglob("*.py"):
        used = imports(path)
        assert not used & maths, path
        assert not {name for name in used if name.partition(".")[0] in {"jax", "flax", "optax"}}, path


@pytest.mark.parametrize("module", ["grade.batch", "grade.worker", "report.write", "author.prove", "student.check"])
def test_nothing_in_the_wing_imports_jax_or_dask_before_it_is_asked_for(module):
    code = (
        f"import course_utils.coursework.{module}, sys;"
        "print([name for name in ('jax', 'distributed', 'dask', 'flax') if name in sys.modules])"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"


def test_a_batch_is_small_and_touches_nothing_of_a_notebooks_run():
    """The process that a whole class goes through opens no bytes of students and runs no kernels."""
    code = (
        "import course_utils.coursework.grade.batch, sys;"
        "print([name for name in ('nbval', 'pytest', 'IPython', 'jupyter_client', 'zmq') if name in sys.modules])"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"
    assert {"read_submitted", "open_place"}.isdisjoint(ast_names(WING / "grade" / "batch.py"))


def ast_names(path):
    return {node.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Name)}

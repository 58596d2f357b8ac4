"""Copies of the student's notebooks for Google Colab, where a first cell has to install the course, and the wheel for it.

A wheel of the repository as it is would lack the data, which stand beside the package. This one carries them inside.
"""

import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from nbformat.v4 import new_code_cell
from packaging.requirements import Requirement

from course_utils.coursework.source.notebooks import NotebookError, read_notebook, student_copy, write_notebook
from course_utils.paths import PACKAGE_DIR, PROJECT_DIR

# What the notebooks and the package's mathematics import and Colab lacks, or has in an older version. Jupyter's own
# packages are left as Colab has them.
LIBRARIES = ("anywidget", "flax", "jax", "jaxtyping", "msgspec", "numpyro", "optax", "orbax-checkpoint")
OF_THE_WHEEL = ("pyproject.toml", "README.md", "LICENSE")


def write_colab(notebooks: Sequence[Path], out: Path, address: str) -> None:
    """Write the copies of ``notebooks``, and the wheel that they install, to ``out``, which is published at ``address``.

    Raises:
        NotebookError: the wheel cannot be built, or a notebook not be read.
    """
    out.mkdir(parents=True)
    wheel = build_wheel(out)
    needed = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    libraries = " ".join(f'"{text}"' for text in needed if Requirement(text).name in LIBRARIES)
    install = f"%pip install --quiet --no-deps {address.rstrip('/')}/{wheel.name}\n%pip install --quiet {libraries}"
    for path in notebooks:
        copy = student_copy(read_notebook(path))
        copy.cells.insert(1, new_code_cell(install, id="colab-install"))
        write_notebook(copy, out / path.name)


def build_wheel(out: Path) -> Path:
    """Build a wheel of the course that carries its data into ``out``, and return it; raise ``NotebookError`` if it fails."""
    with tempfile.TemporaryDirectory(prefix="course-wheel-") as folder:
        for name in OF_THE_WHEEL:
            shutil.copyfile(PROJECT_DIR / name, Path(folder, name))
        package = Path(folder, PACKAGE_DIR.name)
        shutil.copytree(PACKAGE_DIR, package, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(PROJECT_DIR / "data", package / "data")
        build = "import sys; from flit_core.buildapi import build_wheel; print(build_wheel(sys.argv[1]))"
        command = [sys.executable, "-c", build, str(out.resolve())]
        finished = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if finished.returncode:
        raise NotebookError(f"The wheel for Colab could not be built: {finished.stderr.strip().splitlines()[-1]}")
    return out / finished.stdout.split()[-1]

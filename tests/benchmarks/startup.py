"""Seconds to import the course, to a first training step with and without JAX's cache, and to run each notebook."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from course_utils.coursework.author.execute import execute_notebook
from course_utils.coursework.source.notebooks import source_notebooks

FIRST_STEP = """
import time, jax, optax
from flax import nnx
from course_utils.data import binarize, load_mnist
from course_utils.models import VAE
from course_utils.training import fit
start = time.perf_counter()
def objective(vae, images, key):
    return vae.elbo(binarize(key, images), key).mean()
vae = VAE(20, rngs=nnx.Rngs(0))
images = load_mnist()[0].reshape(-1, 784)
fit(objective, vae, optax.adam(1e-3), key=jax.random.key(0), num_steps=1, data=images, batch_size=128)
print(time.perf_counter() - start)
"""


def run(rounds: int = 5) -> list[tuple[str, str, str]]:
    """Return the rows of the table: what, measured, and how it compares."""
    imports = "import course_utils.training, course_utils.models, course_utils.plots, course_utils.widgets"
    with tempfile.TemporaryDirectory() as cache:
        cached = {
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        _seconds(FIRST_STEP, cached)
        cases = {"import": (imports, {}), "cold": (FIRST_STEP, {}), "warm": (FIRST_STEP, cached)}
        taken = {name: [] for name in cases}
        for _ in range(rounds):
            for name, (code, environment) in cases.items():
                taken[name].append(_seconds(code, environment))
    medians = {name: np.median(values, axis=0) for name, values in taken.items()}
    rows = [
        ("import of the course", f"{medians['import'][0]:.2f} s", ""),
        ("start to first training step, nothing cached", f"{medians['cold'][0]:.2f} s", ""),
        ("of that after the imports", f"{medians['cold'][1]:.2f} s", _share(medians["cold"][1], medians["cold"])),
        (
            "start to first step, JAX's cache filled",
            f"{medians['warm'][0]:.2f} s",
            _share(medians["warm"][0], medians["cold"]),
        ),
    ]
    with tempfile.TemporaryDirectory() as folder:
        for source in source_notebooks():
            copy = Path(folder, source.name)
            copy.write_bytes(source.read_bytes())
            rows.append((f"notebook {source.stem}", f"{execute_notebook(copy).seconds:.1f} s", "from a cold start"))
    return rows


def _share(seconds: float, cold: np.ndarray) -> str:
    return f"{seconds / cold[0]:.2f} of a cold start"


def _seconds(code: str, environment: dict[str, str]) -> tuple[float, float]:
    """Return the seconds of a process, and those that it has printed."""
    start = time.perf_counter()
    ran = subprocess.run(
        [sys.executable, "-c", code], check=True, env=os.environ | environment, capture_output=True, text=True
    )
    return time.perf_counter() - start, float(ran.stdout or "nan")

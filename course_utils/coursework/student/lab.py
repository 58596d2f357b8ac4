"""JupyterLab as ``course lab`` starts it."""

import os
from pathlib import Path

# Settings beside the student's own, which come first. Explorers are saved with the notebook, so that they are there when
# it is opened again: in what has no kernel that knows them JupyterLab shows an error in their place.
CONFIG = Path(__file__).parent / "jupyter"


def lab_environment(work: Path) -> dict[str, str]:
    """Return the variables with which JupyterLab is started on the work folder ``work``."""
    # With the thresholds that JAX sets by default hardly anything would be cached (JAX, "Persistent compilation cache").
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(work.resolve() / ".jax-cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    paths = [os.environ.get("JUPYTER_CONFIG_PATH"), str(CONFIG)]
    return cache | os.environ | {"JUPYTER_CONFIG_PATH": os.pathsep.join(path for path in paths if path)}

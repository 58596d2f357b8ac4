"""The environment in which marks are made, whatever shell a command was typed into."""

import os

# Settings that a shell may hand down to programs, and that change what they compute or how they speak.
OF_THE_SHELL = (
    "JAX_",
    "XLA_",
    "PYTEST_",
    "PYTHON",
    "COURSE_CHECK_",
    "OMP_",
    "OPENBLAS_",
    "MKL_",
    "MPLBACKEND",
    "IPYTHON",
)


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what a shell may have set for other programs."""
    return {name: value for name, value in os.environ.items() if not name.startswith(OF_THE_SHELL)}

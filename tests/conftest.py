"""While the tests run, what signatures say of shapes and types is checked (jaxtyping, beartype).

Not checked are the explorers, which take anything and refuse in a sentence of their own what they cannot draw, and
what runs in a process of its own, such as the kernel of a notebook.

A GPU multiplies ``float32`` in TF32, with ten bits after the point, too few to be compared with closed forms: the
tests, and the processes that they start, ask for all of ``float32``.

The same cells run for nbval, for the claims and for the proofs that they can be graded: whatever runs them takes what
JAX has compiled from one folder, which lasts as long as the tests.
"""

import atexit
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    COMPILED = tempfile.TemporaryDirectory(prefix="compiled-", ignore_cleanup_errors=True)
    atexit.register(COMPILED.cleanup)
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": COMPILED.name,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
ROOT = Path(__file__).resolve().parent.parent
PACKAGE, PROJECTS = ROOT / "course_utils", ROOT / "notebooks" / "projects"
CHECKED = sorted(
    f"course_utils.{path.stem}"
    for path in PACKAGE.glob("*.py")
    if "from jaxtyping import" in path.read_text(encoding="utf-8")
)

# What is imported already would go unchecked, and nobody would notice.
early = sorted(sys.modules.keys() & set(CHECKED))
if early:
    raise ImportError(f"tests/conftest.py comes too late to check the shapes of {', '.join(early)}.")
install_import_hook(CHECKED, "beartype.beartype")


# The files that take longest, in falling order, so that no core is idle at the end.
FIRST = (
    "test_grading.py",
    "test_notebooks.py",
    "test_styles.py",
    "test_training.py",
    "test_notebook_09.py",
    "10_decoder_and_encoder.ipynb",
    "09_variational_autoencoder.ipynb",
    "test_cases.py",
    "test_whole_class.py",
    "11_denoising.ipynb",
    "test_site.py",
    "test_release.py",
    "test_playground.py",
    "test_bounds.py",
)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Use one process more than there are processors, since many tests wait: for a browser, or for a time limit."""
    return min(4, len(os.sched_getaffinity(0)) + 1) if hasattr(os, "sched_getaffinity") else 2


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ordinary_user: permissions bind only users other than root")
    config.addinivalue_line("markers", "slow: takes minutes; `make claims` runs it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest; leave out, by name, what this machine cannot have: a skip looks like a forgotten test."""
    for item in items:
        if item.path.is_relative_to(PROJECTS):
            item.add_marker("slow")
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))
    if os.name != "posix" or os.geteuid() == 0:
        for item in _leave_out(config, items, "ordinary_user"):
            print(f"Deselected, since permissions do not bind root: {item.nodeid}")
    if "slow" not in config.option.markexpr:
        by_file = Counter(item.nodeid.partition("::")[0] for item in _leave_out(config, items, "slow"))
        for file, number in by_file.items():
            print(f"Deselected, since `make claims` runs them: {number} of {file}")


def _leave_out(config: pytest.Config, items: list[pytest.Item], marker: str) -> list[pytest.Item]:
    """Take those with ``marker`` out of ``items``, and return them."""
    left_out = [item for item in items if item.get_closest_marker(marker)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    return left_out


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failure: there every machine has what the tests need."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if "CI" in os.environ and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

"""A pytest plugin: nbval, with outputs compared as numbers, and closed where nbval stands open.

Every notebook that pytest is given is run by nbval's own machinery, cell after cell, and each cell's outputs are
compared with the stored ones. What differs from plain nbval: numbers are compared with a tolerance (tags such as
``rtol=0.02``), a cell that stores no output because it never ran fails, and so do the cells after a time-out.
"""

import copy
import time
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile

from course_utils.coursework.source.values import Tolerance, agree, tolerance_from_tags

CELL_TIMEOUT_SECONDS = 300.0


def pytest_configure(config: pytest.Config) -> None:
    config.option.nbval_current_env = True
    config.option.nbval_cell_timeout = min(config.option.nbval_cell_timeout, CELL_TIMEOUT_SECONDS)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "NotebookFile | None":
    if file_path.suffix == ".ipynb" and ".ipynb_checkpoints" not in file_path.parts:
        return NotebookFile.from_parent(parent, path=file_path)
    return None


class KernelDiedError(Exception):
    """The kernel's process ended while a cell was running."""


class WatchedKernel(RunningKernel):
    """A kernel whose death is noticed within a second, where nbval would wait for the cell's time limit."""

    def get_message(self, stream: str, timeout: float | None = None) -> dict[str, Any]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return super().get_message(stream, timeout=1.0 if timeout is None else min(1.0, timeout))
            except Empty:
                if not self.is_alive():
                    raise KernelDiedError from None
                if deadline is not None and time.monotonic() > deadline:
                    raise


class NotebookFile(IPyNbFile):
    """A notebook, whose cells go by their ids."""

    def setup(self) -> None:
        super().setup()
        # nbval makes the kernel itself, and leaves no other place to say of which class.
        self.kernel.__class__ = WatchedKernel

    def collect(self):
        for cell in super().collect():
            yield NotebookCell.from_parent(
                self, name=cell.cell.id, cell_num=cell.cell_num, cell=cell.cell, options=cell.options
            )


class NotebookCell(IPyNbCell):
    """A code cell, compared as :mod:`course_utils.coursework.source.values` does."""

    def setup(self) -> None:
        if self.parent.timed_out:
            pytest.fail("This cell was not run: an earlier one took too long.", pytrace=False)

    def runtest(self) -> None:
        if self.cell.execution_count is None and self.cell.source.strip():
            self.raise_cell_error("This cell stores no output because it never ran: run `course execute` on the file")
        try:
            super().runtest()
        except KernelDiedError:
            self.raise_cell_error("The kernel died")

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.name}: {self.name}"

    def compare_outputs(self, test: list, ref: list, skip_compare: tuple[str, ...] | None = None) -> bool:
        tolerance = tolerance_from_tags(self.cell.metadata.get("tags", []))
        return super().compare_outputs(_settled(test, ref, tolerance), ref, skip_compare)


def _settled(test: list, ref: list, tolerance: Tolerance) -> list:
    """Return ``test`` with each part that agrees with its counterpart in ``ref`` replaced by that counterpart."""
    settled = copy.deepcopy(test)
    for found, expected in zip(settled, ref):
        for found_parts, expected_parts in ((found, expected), (found.get("data", {}), expected.get("data", {}))):
            for kind in found_parts.keys() & expected_parts.keys() - {"data", "metadata", "output_type"}:
                if agree(expected_parts[kind], found_parts[kind], tolerance):
                    found_parts[kind] = expected_parts[kind]
    return settled

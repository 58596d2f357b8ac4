"""A pytest plugin: nbval, with outputs compared as numbers, and closed where nbval stands open.

Every notebook that pytest is given is run by nbval's own machinery, cell after cell, and each cell's outputs are
compared with the stored ones. What differs from plain nbval: numbers are compared with a tolerance (tags such as
``rtol=0.02``), a cell that stores no output because it never ran fails, and so do the cells after a time-out.

With ``--check-report FILE`` only the values that checks emit are compared, and what they said is written to FILE.

With ``--check-stream FD`` nothing is compared here, because the kernel may be a stranger's: what happens is written to
the open file descriptor as it happens, one JSON object a line, and whoever reads it compares. A cell is then bound to
its time and its amount of output, whatever it does, and the run ends where one of these is exceeded.
"""

import contextlib
import copy
import json
import os
import re
import time
from collections import deque
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from nbformat import NotebookNode
from nbval.kernel import RunningKernel
from nbval.plugin import IPyNbCell, IPyNbFile

from course_utils.coursework.checks import MIME
from course_utils.coursework.comparison import agree, tolerance_from_tags

CELL_TIMEOUT_SECONDS = 300.0
MAX_OUTPUT_BYTES = 2_000_000
PATIENCE = 4
TIMEOUT, DIED, OUTPUT_LIMIT = "timeout", "died", "output limit"
REPORTS = pytest.StashKey[dict[str, dict[str, Any]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--check-report", type=Path, help="compare the values of checks only, and write a report here")
    parser.addoption("--check-stream", type=int, help="compare nothing; write what happens to this file descriptor")


def pytest_configure(config: pytest.Config) -> None:
    config.option.nbval_current_env = True
    config.option.nbval_cell_timeout = min(config.option.nbval_cell_timeout, CELL_TIMEOUT_SECONDS)
    config.stash[REPORTS] = {}


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "NotebookFile | None":
    if file_path.suffix == ".ipynb" and ".ipynb_checkpoints" not in file_path.parts:
        return NotebookFile.from_parent(parent, path=file_path)
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Any:
    report = yield
    if isinstance(item, NotebookCell) and (report.when == "call" or report.failed):
        entry = item.config.stash[REPORTS].setdefault(item.name, {})
        entry["passed"] = report.passed
        entry["message"] = _last_line(call.excinfo.value) if call.excinfo else ""
        ended = getattr(call.excinfo.value, "reason", "") if call.excinfo else ""
        item.emit(event="end", cell=item.name, ended=ended, **entry)
        if ended:
            item.session.shouldstop = ended
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    report = session.config.option.check_report
    if report:
        report.write_text(json.dumps(session.config.stash[REPORTS]), encoding="utf-8")


class KernelDied(Exception):
    """The kernel's process ended while a cell was running."""

    reason = DIED


class CellStopped(Exception):
    """A cell used more time or wrote more than it may; ``reason`` says which."""

    def __init__(self, reason: str):
        super().__init__(f"The cell was stopped: {reason}.")
        self.reason = reason


class WatchedKernel(RunningKernel):
    """A kernel whose death is noticed within a second, where nbval would wait for the cell's time limit."""

    def get_message(self, stream: str, timeout: float | None = None) -> dict[str, Any]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return super().get_message(stream, timeout=1.0 if timeout is None else min(1.0, timeout))
            except Empty:
                if not self.is_alive():
                    raise KernelDied from None
                if deadline is not None and time.monotonic() > deadline:
                    raise


class BoundKernel(WatchedKernel):
    """A kernel whose cells keep to their time and to an amount of output, even while they go on writing.

    nbval waits for the reply first and reads the output afterwards, with a time limit for each message. Here output is
    read, and counted, while it comes. Time in which a cell would have run, but the machine had no core for it, does not
    count, so that a mark does not depend on what else the machine has to do; but nobody waits more than ``PATIENCE`` times
    as long.
    """

    def begin_cell(self, seconds: float) -> None:
        self._seconds, self._begun, self._waits_before = seconds, time.monotonic(), self.waits()
        self._unread, self._output_bytes = deque(), 0

    def waits(self) -> dict[str, float]:
        """Return for each thread of the kernel's process how many seconds it has waited for a core."""
        seconds = {}
        for file in Path(f"/proc/{self.km.provisioner.pid}/task").glob("*/schedstat"):
            # A thread may end meanwhile, and some systems do not count.
            with contextlib.suppress(OSError, ValueError, IndexError):
                seconds[file.parent.name] = int(file.read_text().split()[1]) / 1e9
        return seconds

    def is_late(self) -> bool:
        """Return whether the cell has had its time."""
        seconds = time.monotonic() - self._begun
        if not self._seconds < seconds < PATIENCE * self._seconds:
            return seconds >= self._seconds
        waited = max((now - self._waits_before.get(thread, 0.0) for thread, now in self.waits().items()), default=0.0)
        return seconds - waited > self._seconds

    def get_message(self, stream: str, timeout: float | None = None) -> dict[str, Any]:
        if not hasattr(self, "_begun"):
            return super().get_message(stream, timeout)
        while True:
            while self.kc.iopub_channel.msg_ready():
                message = self.kc.get_iopub_msg(timeout=0)
                self._output_bytes += len(str(message["content"])) + sum(map(len, message["buffers"]))
                if self._output_bytes > MAX_OUTPUT_BYTES:
                    raise CellStopped(OUTPUT_LIMIT)
                self._unread.append(message)
            if stream == "iopub" and self._unread:
                return self._unread.popleft()
            if self.is_late():
                raise CellStopped(TIMEOUT)
            channel = self.kc.iopub_channel if stream == "iopub" else self.kc.shell_channel
            if stream == "shell" and channel.msg_ready():
                return channel.get_msg(timeout=0)
            if not self.is_alive():
                raise KernelDied
            time.sleep(0.01)


class NotebookFile(IPyNbFile):
    """A notebook, whose cells go by their ids."""

    def setup(self) -> None:
        super().setup()
        # nbval makes the kernel itself, and leaves no other place to say of which class.
        self.kernel.__class__ = WatchedKernel if self.config.option.check_stream is None else BoundKernel

    def collect(self):
        for cell in super().collect():
            yield NotebookCell.from_parent(
                self, name=cell.cell.id, cell_num=cell.cell_num, cell=cell.cell, options=cell.options
            )


class NotebookCell(IPyNbCell):
    """A code cell, compared as :mod:`course_utils.coursework.comparison` does."""

    def setup(self) -> None:
        if self.parent.timed_out:
            pytest.fail("This cell was not run: an earlier one took too long.", pytrace=False)

    def emit(self, **event: Any) -> None:
        """Write what happened to the stream, if there is one."""
        stream = self.config.option.check_stream
        if stream is not None:
            content = memoryview((json.dumps(event) + "\n").encode())
            while content:
                content = content[os.write(stream, content) :]

    def runtest(self) -> None:
        if self.config.option.check_stream is not None:
            self.emit(event="start", cell=self.name)
            self.parent.kernel.begin_cell(self.config.option.nbval_cell_timeout)
        if self.cell.execution_count is None and self.cell.source.strip():
            self.raise_cell_error("This cell stores no output because it never ran: run `course execute` on the file")
        try:
            super().runtest()
        except KernelDied:
            if self.config.option.check_stream is not None:
                raise
            self.raise_cell_error("The kernel died")

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.name}: {self.name}"

    def compare_outputs(self, test: list, ref: list, skip_compare: tuple[str, ...] | None = None) -> bool:
        if self.config.option.check_stream is not None:
            self.config.stash[REPORTS][self.name] = {"checks": _check_records(test)}
            return True
        if self.config.option.check_report:
            self.config.stash[REPORTS][self.name] = {"checks": _check_records(test)}
            test, ref = ([_as_output(record) for record in _check_records(outputs)] for outputs in (test, ref))
        tolerance = tolerance_from_tags(self.cell.metadata.get("tags", []))
        return super().compare_outputs(_settled(test, ref, tolerance), ref, skip_compare)


def _last_line(error: BaseException) -> str:
    """Return what happened in a cell in one line: the end of its traceback if there is one."""
    told = getattr(error, "inner_traceback", None) or str(error)
    return re.sub(r"\x1b\[[0-9;]*m", "", told.strip().splitlines()[-1] if told.strip() else type(error).__name__)


def _settled(test: list, ref: list, tolerance: Any) -> list:
    """Return ``test`` with each part that agrees with its counterpart in ``ref`` replaced by that counterpart."""
    settled = copy.deepcopy(test)
    for found, expected in zip(settled, ref):
        for found_parts, expected_parts in ((found, expected), (found.get("data", {}), expected.get("data", {}))):
            for kind in found_parts.keys() & expected_parts.keys() - {"data", "metadata", "output_type"}:
                if agree(expected_parts[kind], found_parts[kind], tolerance):
                    found_parts[kind] = expected_parts[kind]
    return settled


def _check_records(outputs: list) -> list[dict[str, Any]]:
    return [output.data[MIME] for output in outputs if MIME in output.get("data", {})]


def _as_output(record: dict[str, Any]) -> NotebookNode:
    """Return what a mark may depend on: which check it was, and the values."""
    values = {"name": record["name"], "values": record["values"]}
    return NotebookNode(output_type="display_data", metadata={}, data={MIME: values})

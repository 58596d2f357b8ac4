"""The one way to run a notebook's exercises: with nbval, each in a process of its own, and to hear their checks.

nbval's items run the cells here, outside of the process that a stranger's code is in; what arrives from there is parsed
into :class:`~course_utils.coursework.run.records.Record` or passed over. A cell of the student's that ends its process is
left out in front of other exercises, and an exercise that it took down is run again without it.
"""

import contextlib
import io
import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbval.plugin import IPyNbCell, IPyNbFile, NbCellError

from course_utils.coursework.run.kernels import BoundKernel, CellStopped, Kernels, RunnerError
from course_utils.coursework.run.limits import Limits
from course_utils.coursework.run.program import Ended, Outcome, Program, Step
from course_utils.coursework.run.records import MIME, parse_record

SEED_VARIABLE = "COURSE_CHECK_SEED"
REFERENCE_VARIABLE = "COURSE_CHECK_REFERENCE"
# pytest, and the environment that it reads, are a process's own: threads take turns.
ONE_AT_A_TIME = threading.Lock()
MAX_RECORDS = 50
# Somebody who tried many things may have left as many cells that take too long.
MAX_ROUNDS = 20
MAX_ERROR_CHARACTERS = 500
# How much longer all cells of an exercise may take together than one of them.
EXERCISE_FACTOR = 10
ARGUMENTS = (
    "--nbval", "--noconftest", "-c", os.devnull, "--color=no", "-q", "--tb=no", "--capture=no", "--strict-markers",
    "-p", "no:cacheprovider", "-p", "no:faulthandler", "-p", "no:logging", "-p", "no:warnings", "-p", "no:junitxml",
    "-p", "no:threadexception", "-p", "no:unraisableexception", "-p", "no:debugging", "-p", "no:xdist",
)  # fmt: skip


def run(
    programs: Sequence[Program],
    seed: str | None,
    limits: Limits,
    kernels: Kernels,
    *,
    cache: Path | None = None,
    explained: bool = False,
    progress: Callable[[str], None] = lambda exercise: None,
) -> dict[str, Outcome]:
    """Run ``programs`` and return what was heard of each, by its exercise.

    Args:
        seed: what the checks draw their inputs from; without it they use the public one.
        kernels: where kernels come from, and with what walls around them.
        cache: a folder with JAX's compilation cache.
        explained: whether the checks' records say what is expected, and their authors' hints.
        progress: is called with the name of each exercise that has been run.

    Raises:
        RunnerError: the machinery failed before a line of the student's was run.
    """
    environment = {SEED_VARIABLE: seed} if seed is not None else {}
    if explained:
        environment[REFERENCE_VARIABLE] = "1"
    if cache:
        environment["JAX_COMPILATION_CACHE_DIR"] = str(cache)
    heard = _Heard(kernels, environment, limits, progress)
    todo = list(programs)
    heard.seconds_left = EXERCISE_FACTOR * limits.seconds_per_cell * len(programs)
    with contextlib.closing(heard):
        # Each round finds at least one more cell to leave out, or is the last one.
        for _ in range(MAX_ROUNDS):
            known = len(heard.left_out)
            if todo:
                _run_with_pytest(_Plugin(heard, todo))
            todo = [each for each in todo if heard.is_spoilt(each)] if len(heard.left_out) > known else []
            if heard.seconds_left <= 0:
                # Whoever asked for this run waits little longer.
                break
    return {each.exercise: heard.outcome(each) for each in programs}


def _run_with_pytest(plugin: "_Plugin") -> None:
    # Plugins of the environment, and arguments that a shell adds, have no say here.
    changed = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": None, "PYTEST_PLUGINS": None}
    said = io.StringIO()
    with ONE_AT_A_TIME:
        before = {name: os.environ.get(name) for name in [*changed, "PYTEST_CURRENT_TEST"]}
        try:
            _set_environment(changed)
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                pytest.main([*ARGUMENTS, "-p", "nbval.plugin"], plugins=[plugin])
        finally:
            _set_environment(before)
    if plugin.failure:
        raise RunnerError(plugin.failure)
    if not plugin.finished:
        raise RunnerError(f"nbval could not run the cells: {said.getvalue().strip()[-500:]}")


def _set_environment(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


class _Heard:
    """What has been heard so far of the programs of one submission, and the room that the present one is run in."""

    def __init__(self, kernels: Kernels, environment: dict[str, str], limits: Limits, progress: Callable[[str], None]):
        self.kernels, self.environment, self.limits, self.progress = kernels, environment, limits, progress
        self.room = None
        self.seconds_left = 0.0
        self.left_out: dict[str, Ended] = {}
        self._outcomes: dict[str, dict[str, Any]] = {}

    def begin(self, program: Program) -> None:
        self._outcomes[program.exercise] = {
            "errors": {},
            "records": {},
            "left_out": {},
            "ended": Ended.FINISHED,
            "at": "",
        }

    def start_kernel(self, program: Program) -> BoundKernel:
        """Start a kernel for a program, in a room of its own: files that another left there would change its course."""
        self.close()
        self.room = self.kernels.open_room(self.limits)
        return self.room.start_kernel(self.environment, fresh=program.fresh)

    def note(self, program: Program, step: Step, outputs: list, error: str) -> None:
        """Note what a cell said that has been run to its end."""
        outcome = self._outcomes[program.exercise]
        if error:
            outcome["errors"][step.cell] = error[:MAX_ERROR_CHARACTERS].encode("utf-8", "replace").decode()
        if step.author == "course":
            found = [parse_record(data) for data in _check_data(outputs)[:MAX_RECORDS]]
            outcome["records"][step.cell] = tuple(record for record in found if record is not None)

    def stop(self, program: Program, step: Step, ended: Ended, outputs: list) -> None:
        """Note that a cell ended its process, or had to be stopped."""
        self.note(program, step, outputs, "")
        self._outcomes[program.exercise] |= {"ended": ended, "at": step.cell}
        if step.author == "student":
            self.left_out[step.cell] = ended

    def leaves_out(self, program: Program, step: Step) -> bool:
        """Return whether a cell is left out, and note it."""
        if step.cell not in self.left_out or step.author == "course" or step.is_needed:
            return False
        self._outcomes[program.exercise]["left_out"][step.cell] = self.left_out[step.cell]
        return True

    def is_spoilt(self, program: Program) -> bool:
        """Return whether a program was ended by a cell that it can do without."""
        at = self._outcomes[program.exercise]["at"]
        return any(step.cell == at and step.author == "student" and not step.is_needed for step in program.steps)

    def outcome(self, program: Program) -> Outcome:
        return Outcome(**self._outcomes[program.exercise])

    def close(self) -> None:
        if self.room is not None:
            self.room.close()
            self.room = None


def _check_data(outputs: list) -> list[Any]:
    return [output.data[MIME] for output in outputs if MIME in output.get("data", {})]


class _Plugin:
    """The part of a run that pytest calls: it collects programs in place of files."""

    def __init__(self, heard: _Heard, programs: list[Program]):
        self.heard, self.programs = heard, programs
        self.failure, self.finished = "", False

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool:
        session.items = []
        for program in self.programs:
            self.heard.begin(program)
            file = _ExerciseFile.from_parent(session, path=Path(f"{program.exercise}.ipynb"))
            file.program, file.heard = program, self.heard
            session.items += list(file.collect())
        session.testscollected = len(session.items)
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo) -> Any:
        report = yield
        if call.excinfo and not isinstance(call.excinfo.value, CellStopped | NbCellError | pytest.skip.Exception):
            error = call.excinfo.value
            self.failure = self.failure or (
                str(error) if isinstance(error, RunnerError) else f"{type(error).__name__}: {error}"
            )
            item.session.shouldfail = "the machinery failed"
        return report

    def pytest_sessionfinish(self) -> None:
        self.finished = True


class _ExerciseFile(IPyNbFile):
    """A program, as nbval sees a notebook."""

    program: Program
    heard: _Heard

    def setup(self) -> None:
        self.seconds_left = EXERCISE_FACTOR * self.heard.limits.seconds_per_cell
        self.ended = self.strangers_ran = False
        self.kernel = self.heard.start_kernel(self.program)

    def collect(self):
        for number, step in enumerate(self.program.steps):
            cell = nbformat.v4.new_code_cell(step.source, id=f"step-{number}", execution_count=1)
            options = defaultdict(bool, check=True)
            item = _Cell.from_parent(self, name=step.cell, cell_num=number, cell=cell, options=options)
            item.step = step
            yield item

    def teardown(self) -> None:
        if self.kernel is not None:
            self.kernel.stop()
            self.kernel = None
            self.heard.progress(self.program.exercise)


class _Cell(IPyNbCell):
    """A step of a program, as nbval sees a cell."""

    step: Step

    def setup(self) -> None:
        pass

    def runtest(self) -> None:
        file, heard = self.parent, self.parent.heard
        if file.ended or heard.leaves_out(file.program, self.step):
            return
        kernel, limits = file.kernel, heard.limits
        begun = time.monotonic()
        kernel.begin_cell(min(limits.seconds_per_cell, file.seconds_left), limits)
        self.test_outputs, error = [], ""
        ended = None
        try:
            super().runtest()
        except NbCellError as failed:
            error = _last_line(failed)
        except CellStopped as stopped:
            ended = stopped.ended
            self.test_outputs = [*self.test_outputs, *kernel.displays_left()]
        except Exception as broken:
            # What a stranger's kernel says need not be what a kernel says.
            ended, error = Ended.DIED, f"{type(broken).__name__}: {broken}"
        else:
            ended = Ended.DIED if kernel.asked_to_end else None
        finally:
            seconds = time.monotonic() - begun
            file.seconds_left -= seconds
            heard.seconds_left -= seconds
        file.strangers_ran |= self.step.author == "student"
        if not file.strangers_ran and (ended or error):
            raise RunnerError(f"The cell {self.step.cell} of the course does not run ({ended or error}).")
        if ended:
            file.ended = True
            heard.stop(file.program, self.step, ended, self.test_outputs)
        else:
            heard.note(file.program, self.step, self.test_outputs, error)

    def compare_outputs(self, test: list, ref: list, skip_compare: tuple[str, ...] | None = None) -> bool:
        # Values are compared by the judge.
        return True


def _last_line(error: NbCellError) -> str:
    """Return what happened in a cell in one line: the end of its traceback."""
    text = (error.inner_traceback or str(error)).strip()
    return re.sub(r"\x1b\[[0-9;]*m", "", text.splitlines()[-1] if text else type(error).__name__)

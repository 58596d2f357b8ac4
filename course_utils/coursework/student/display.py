"""What ``course check`` shows in a terminal."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from course_utils.coursework.grade.types import Mark, Reason
from course_utils.coursework.student.check import advice

WIDTH = 80
INDENT = 4
STYLES = {Reason.RIGHT: "green", Reason.NOT_ATTEMPTED: "dim", Reason.MISSING: "dim"}


def _console(stream=None) -> Console:
    console = Console(file=stream, highlight=False)
    console.width = min(WIDTH, console.width) if console.is_terminal else WIDTH
    return console


@contextmanager
def running() -> Iterator[Callable[[int, int], None]]:
    """Show that something runs, and yield what moves the bar; where nobody watches, one line says so."""
    console = _console(sys.stderr)
    columns = TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Starting Python", total=None)

        def progress(done: int, of: int) -> None:
            if not console.is_terminal and done == 0 and of:
                print(f"Running {of} {'exercise' if of == 1 else 'exercises'} …", file=sys.stderr, flush=True)
            bar.update(task, description="Running your answers", completed=done, total=of)

        yield progress


def show_marks(marks: list[Mark]) -> None:
    """Print a line for each exercise, with what to look at indented below it, and the sum."""
    console = _console()
    for mark in marks:
        points = f"{mark.of:g} {'point' if mark.of == 1 else 'points'}"
        # Apart, so that no reason is broken between two lines.
        console.print(Text(f"{mark.title} ({points}): "), end="")
        console.print(Text(mark.reason, style=STYLES.get(mark.reason, "red")))
        if hint := advice(mark):
            console.print(Padding(Text(hint), (0, 0, 0, INDENT)))
    right = [mark.of for mark in marks if mark.reason == Reason.RIGHT]
    points = f"{sum(right):g} of {sum(mark.of for mark in marks):g} points"
    console.print(f"{len(right)} of {len(marks)} exercises right, {points}.", markup=False)


def show_my_vi(written: Mapping[str, str], missing: Mapping[str, str]) -> None:
    """Print how much of the student's own library is written, and which function comes next, in which notebook."""
    count = len(written) + len(missing)
    if not count:
        return
    sentence = f"my_vi.py holds {len(written)} of the {count} functions that your notebooks go on with."
    if missing:
        name, notebook = next(iter(missing.items()))
        sentence += f" Still to come: {len(missing)}, the next one {name} (notebook {notebook[:2]})."
    _console().print(Text(sentence))

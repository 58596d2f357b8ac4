"""The course's solution below a check, folded, for whoever has tried; only where the instructor released it so."""

import contextlib
import html
import json
from pathlib import Path

from IPython.display import display

from course_utils.coursework.kernel import my_vi, session
from course_utils.coursework.source.solutions import given_digest, solution_of
from course_utils.paths import place_of

RIGHT, WRONG, ERROR = session.RIGHT, "wrong", "error"

_offered: tuple[str, int] | None = None


def offer(status: str) -> None:
    """Show the solution of the exercise that the present cell checks, once, if its answer is right or was at least begun."""
    global _offered
    exercise, folder = session.current_exercise(), my_vi.work_folder()
    now = (exercise, len(session.cells()))
    if folder is None or exercise is None or status not in (RIGHT, WRONG, ERROR) or _offered == now:
        return
    solution = _solution(folder, exercise, has_values=status != ERROR)
    if not solution:
        return
    _offered = now
    page = f"<details><summary>A solution</summary><pre>{html.escape(solution)}</pre></details>"
    page = f'<div style="border-left: 4px solid #5f6368; padding: 0.2em 0.8em; margin: 0.2em 0">{page}</div>'
    display({"text/plain": "○ A solution can be folded open in the notebook.", "text/html": page}, raw=True)


def _solution(folder: Path, exercise: str, has_values: bool) -> str:
    """Return the solution in the notebook's file; empty if it holds none, or the answer is still as it was given."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        stem = my_vi.notebook_name(folder, exercise)
        notebook = json.loads((folder / place_of(f"{stem}.ipynb")).read_bytes())
        if has_values or _is_changed(notebook, exercise):
            return solution_of(notebook, exercise)
    return ""


def _is_changed(notebook: dict, exercise: str) -> bool:
    """Return whether the cell with the answer, as it was last run, differs from the one that was given."""
    # It costs a kernel seconds, so only those that have a solution to show pay for it.
    from course_utils.coursework.source.notebooks import digest_of_cell

    marked = [source for source in session.cells() if session.exercise_marked_in(source) == exercise]
    return bool(marked) and digest_of_cell(marked[-1]) != given_digest(notebook, exercise)

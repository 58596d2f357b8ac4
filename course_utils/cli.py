"""The ``course`` command: each verb is one call into the course's packages."""

import errno
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from course_utils.errors import CourseError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Hands-on variational inference: work through the notebooks and check your answers.",
)

PROJECT_DIR = Path(__file__).resolve().parent.parent
WORK_DIR = PROJECT_DIR / "work"


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(
    context: typer.Context,
    work: Annotated[Path, typer.Option(help="The folder of your copies.", show_default="work/")] = WORK_DIR,
    open_lab: Annotated[bool, typer.Option("--open/--no-open", help="Start JupyterLab there.")] = True,
) -> None:
    """Put your copies of the notebooks into the work folder and open them in JupyterLab.

    Nothing you wrote is ever overwritten. Further arguments go to JupyterLab, such as --port 9999 or --no-browser.
    """
    from course_utils.coursework.workfolder import deliver

    deliveries = deliver(work)
    sentences = {
        "new": "{} is new.",
        "renewed": "{} has been updated; you had not changed it.",
        "update": "{} is an updated version; your own copy beside it is untouched.",
    }
    for delivery in deliveries:
        if delivery.outcome in sentences:
            typer.echo(sentences[delivery.outcome].format(delivery.path.name))
    typer.echo(f"Your notebooks are in {work}.")
    if open_lab:
        raise typer.Exit(_start_lab(work, deliveries[0].path.name, context.args))


@app.command()
def check(
    notebook: Annotated[Path, typer.Argument(help="Your copy of a notebook, for instance work/02_simple_monte_carlo.ipynb.")],
) -> None:
    """Run your answers with nbval and show which are right; exit with 1 unless all are."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from course_utils.coursework.feedback import check_submission

    results = check_submission(notebook)
    table = Table("Exercise", "Points", "Result", "Hint")
    styles = {"right": "green", "wrong": "red", "error": "red", "not attempted": "dim"}
    for result in results:
        status, points = Text(result.status, styles[result.status]), f"{result.exercise.points:g}"
        table.add_row(Text(result.exercise.title), points, status, Text(result.hint))
    Console().print(table)
    right = [result.exercise.points for result in results if result.status == "right"]
    typer.echo(f"{len(right)} of {len(results)} exercises right, {sum(right):g} of {sum(result.exercise.points for result in results):g} points.")
    raise typer.Exit(0 if len(right) == len(results) else 1)


@app.command(rich_help_panel="For authors")
def execute(
    notebooks: Annotated[list[Path] | None, typer.Argument(help="Source notebooks; all of them by default.")] = None,
) -> None:
    """Run source notebooks from top to bottom and store their outputs."""
    from course_utils.coursework.execute import execute_notebook
    from course_utils.coursework.notebooks import source_notebooks

    for path in notebooks or source_notebooks():
        typer.echo(f"{path.name}: {execute_notebook(path):.1f} s")


@app.command(rich_help_panel="For instructors")
def release(
    out: Annotated[Path | None, typer.Argument(help="The new folder of the student repository.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Prove first that every exercise can be graded.")] = False,
) -> None:
    """Write the repository that students get, without solutions and hidden checks."""
    from course_utils.coursework.notebooks import source_notebooks
    from course_utils.coursework.release import prove_all
    from course_utils.coursework.release import release as write_release

    if out is None and not check:
        raise typer.BadParameter("Name the folder to write, or say --check, or both.")
    wrong = []
    for path, found in prove_all(source_notebooks() if check else []):
        typer.echo(f"{path.name}: {'every exercise can be graded' if not found else f'{len(found)} problems'}")
        wrong += found
    for sentence in wrong:
        typer.echo(sentence, err=True)
    if wrong:
        raise typer.Exit(1)
    if out is not None:
        typer.echo(f"{len(write_release(out))} files are in {out}.")


@app.command(rich_help_panel="For instructors")
def grade(
    submissions: Annotated[Path, typer.Argument(help="One folder or zip archive for each student.")],
    out: Annotated[Path, typer.Option("--out", help="The folder of grades.", show_default="grades/")] = Path("grades"),
    notebook: Annotated[
        list[str] | None, typer.Option(help="A notebook to grade; may be repeated.", show_default="all that anyone worked on")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with a batch that was interrupted.")] = False,
    seed: Annotated[str | None, typer.Option(help="The seed of an earlier batch, to repeat it exactly.")] = None,
    unsafe: Annotated[bool, typer.Option("--unsafe", help="Run without a sandbox; stamped on every result.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Submissions at once.", show_default="one for each core")] = 0,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Grade on the workers of this Dask scheduler, as tcp://machine:8786.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Time limit for one cell.")] = 30.0,
    explain: Annotated[
        tuple[str, str] | None, typer.Option(metavar="STUDENT EXERCISE", help="Show what was run, expected and found.")
    ] = None,
) -> None:
    """Grade a class in sandboxes, then write tables and feedback; exit with 1 if a human has to look."""
    from course_utils.coursework.batch import JOURNAL, grade_class, results
    from course_utils.coursework.gradebook import points, state_of, worth_a_look, write_gradebook
    from course_utils.coursework.sandbox import Limits

    if explain is not None:
        from course_utils.coursework.gradebook import explanation

        typer.echo(explanation(out, submissions, *explain))
        return
    try:
        entries = grade_class(
            submissions, out, notebooks=notebook, seed=seed, resume=resume, unsafe=unsafe, workers=workers,
            dask=dask, limits=Limits(seconds_per_cell=seconds),
        )  # fmt: skip
    except KeyboardInterrupt:
        way_on = "What was graded is kept: go on with the same command and --resume." if (out / JOURNAL).exists() else "Nothing was graded yet."
        typer.echo(f"Stopped. {way_on}", err=True)
        raise typer.Exit(130) from None
    write_gradebook(out)
    found = results(entries)
    unscored = [result for result in found if points(result) is None]
    states = Counter(state_of(result) for result in found)
    told = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    typer.echo(f"{len(found)} notebooks: {told}; see {out / 'class.html'} and {out / 'grades.csv'}.")
    if curious := worth_a_look(found):
        typer.echo(f"Worth a look: {', '.join(curious[:20])}{', …' if len(curious) > 20 else ''}.")
    for result in unscored:
        typer.echo(f"{result['student']}, {result['notebook']}: for a human to look at ({result['infrastructure'][:200]})", err=True)
    raise typer.Exit(1 if unscored else 0)


@app.command(rich_help_panel="For instructors")
def gradebook(
    out: Annotated[Path, typer.Argument(help="The folder of grades.")] = Path("grades"),
    without: Annotated[list[str] | None, typer.Option(metavar="STUDENT", help="Who has left the class; may be repeated.")] = None,
) -> None:
    """Write tables and feedback anew from the journal of a batch."""
    from course_utils.coursework.batch import leave_out
    from course_utils.coursework.gradebook import write_gradebook

    if without:
        leave_out(out, without)
    for path in write_gradebook(out):
        typer.echo(path)


def _start_lab(work: Path, first: str, arguments: list[str]) -> int:
    """Run JupyterLab in ``work`` until it is stopped, and return its exit code."""
    # With the thresholds that JAX sets by default hardly anything would be cached (JAX, "Persistent compilation cache").
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(work.resolve() / ".jax-cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={work.resolve()}"]
    command += [f"--LabApp.default_url=/lab/tree/{first}", *arguments]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # In a container root is often the only user there is; Jupyter would refuse to start.
        command.append("--allow-root")
    try:
        return subprocess.run(command, env=cache | os.environ).returncode
    except KeyboardInterrupt:
        return 0


def main() -> None:
    """Run the command line; a mistake that a person can mend is one sentence, without a traceback."""
    try:
        app()
    except CourseError as error:
        sys.exit(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(f"The disk is full ({error.filename or 'while writing'}): free some space and run the command again.")


if __name__ == "__main__":
    main()

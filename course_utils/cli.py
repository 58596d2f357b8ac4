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
from course_utils.paths import PROJECT_DIR

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Hands-on variational inference: work through the notebooks and check your answers.",
)

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
    from course_utils.coursework.student.workfolder import deliver

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
    notebook: Annotated[
        Path, typer.Argument(help="Your copy of a notebook, for instance work/02_simple_monte_carlo.ipynb.")
    ],
) -> None:
    """Run the answers that you have saved, and show which are right; exit with 1 unless all are."""
    from course_utils.coursework.kernel.my_vi import my_vi_progress, work_folder_of
    from course_utils.coursework.student.check import check_notebook, find_source
    from course_utils.coursework.student.display import running, show_marks, show_my_vi
    from course_utils.coursework.student.unsaved import unsaved

    find_source(notebook)
    if sentence := unsaved(notebook):
        typer.echo(f"{sentence}\n", err=True)
    with running() as progress:
        marks = check_notebook(notebook, progress=progress)
    show_marks(marks)
    if work := work_folder_of(notebook.absolute().parent):
        show_my_vi(*my_vi_progress(work))
    right = [mark.of for mark in marks if mark.reason == "right"]
    raise typer.Exit(0 if len(right) == len(marks) else 1)


@app.command(rich_help_panel="For authors")
def execute(
    notebooks: Annotated[list[Path] | None, typer.Argument(help="Source notebooks; all of them by default.")] = None,
    stills_only: Annotated[
        bool,
        typer.Option("--stills-only", help="Store the stills of explorers, and leave all other outputs as they are."),
    ] = False,
) -> None:
    """Run source notebooks from top to bottom and store their outputs, with a still of each explorer."""
    from course_utils.coursework.author.execute import execute_notebook
    from course_utils.coursework.author.stills import NO_BROWSER
    from course_utils.coursework.source.notebooks import source_notebooks

    for path in notebooks or source_notebooks():
        done = execute_notebook(path, stills_only=stills_only)
        typer.echo(f"{path.name}: {done.seconds:.1f} s")
        if not done.has_stills:
            typer.echo(NO_BROWSER, err=True)


@app.command(rich_help_panel="For instructors")
def release(
    out: Annotated[Path | None, typer.Argument(help="The new folder of the student repository.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Prove first that every exercise can be graded.")] = False,
    with_solutions: Annotated[
        bool,
        typer.Option(
            "--with-solutions", help="Let a check offer the solution to whoever has tried; stamped on the release."
        ),
    ] = False,
) -> None:
    """Write the repository that students get, without hidden checks and, unless asked for, without solutions."""
    from course_utils.coursework.author.prove import prove_all
    from course_utils.coursework.author.release import release as write_release
    from course_utils.coursework.source.notebooks import source_notebooks

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
        files = write_release(out, with_solutions=with_solutions)
        typer.echo(f"{len(files)} files are in {out}{', with solutions' if with_solutions else ''}.")


@app.command(rich_help_panel="For instructors")
def site(
    out: Annotated[Path, typer.Argument(help="The folder of the site; one that was there before is replaced.")],
) -> None:
    """Write the course as a site whose explorers move without a kernel, to be read without a network."""
    from course_utils.coursework.author.site import build_site

    build_site(out)
    typer.echo(f"The site is in {out}: open {out / 'index.html'}.")


@app.command(rich_help_panel="For instructors")
def slides(
    notebook: Annotated[str, typer.Argument(help="The lecture, or how its name begins, for instance 05.")],
    out: Annotated[Path | None, typer.Argument(help="The new folder.", show_default="build/slides-05")] = None,
) -> None:
    """Write the slides of a lecture, which need no network and whose explorers move."""
    from course_utils.coursework.author.slides import write_slides
    from course_utils.coursework.source.notebooks import find_notebook

    path = find_notebook(notebook)
    page = write_slides(path, out or PROJECT_DIR / "build" / f"slides-{path.stem}")
    typer.echo(f"Open {page}.")


@app.command(rich_help_panel="For instructors")
def pdf(
    notebook: Annotated[str, typer.Argument(help="The notebook, or how its name begins, for instance 05.")],
    out: Annotated[Path | None, typer.Argument(help="The file.", show_default="build/05_name.pdf")] = None,
) -> None:
    """Print a chapter, with its figures and with stills of its explorers."""
    from course_utils.coursework.author.chapter_pdf import write_pdf
    from course_utils.coursework.source.notebooks import find_notebook

    path = find_notebook(notebook)
    typer.echo(f"Open {write_pdf(path, out or PROJECT_DIR / 'build' / f'{path.stem}.pdf')}.")


@app.command(rich_help_panel="For instructors")
def grade(
    submissions: Annotated[Path, typer.Argument(help="One folder or zip archive for each student.")],
    out: Annotated[Path, typer.Option("--out", help="The folder of grades.", show_default="grades/")] = Path("grades"),
    notebook: Annotated[
        list[str] | None,
        typer.Option(help="A notebook to grade; may be repeated.", show_default="all that anyone worked on"),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with a batch that was interrupted.")] = False,
    seed: Annotated[str | None, typer.Option(help="The seed of an earlier batch, to repeat it exactly.")] = None,
    unsafe: Annotated[bool, typer.Option("--unsafe", help="Run without a sandbox; stamped on every result.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Submissions at once.", show_default="one for each core")] = 0,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Grade on the workers of this Dask scheduler, as tcp://machine:8786."),
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Time limit for one cell.")] = 30.0,
) -> None:
    """Grade a class in sandboxes, then write tables and feedback; exit with 1 if a human has to look."""
    from course_utils.coursework.grade.batch import grade_class
    from course_utils.coursework.grade.journal import JOURNAL
    from course_utils.coursework.report.pages import worth_a_look
    from course_utils.coursework.report.results import end_round, read_results
    from course_utils.coursework.report.text import printable
    from course_utils.coursework.report.write import write_report
    from course_utils.coursework.run.limits import Limits

    try:
        grade_class(
            submissions,
            out,
            notebooks=notebook,
            seed=seed,
            resume=resume,
            unsafe=unsafe,
            workers=workers,
            dask=dask,
            limits=Limits(seconds_per_cell=seconds),
        )
    except KeyboardInterrupt:
        way_on = (
            "What was graded is kept: go on with the same command and --resume."
            if (out / JOURNAL).exists()
            else "Nothing was graded yet."
        )
        typer.echo(f"Stopped. {way_on}", err=True)
        raise typer.Exit(130) from None
    results = read_results(out)
    end_round(out)
    write_report(out, results)
    states = Counter(result.state for result in results)
    counts = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    typer.echo(f"{len(results)} notebooks: {counts}; see {out / 'class.html'} and {out / 'grades.csv'}.")
    if unusual := worth_a_look(results):
        typer.echo(printable(f"Worth a look: {', '.join(unusual[:20])}{', …' if len(unusual) > 20 else ''}."))
    for stamp in sorted({stamp for result in results for stamp in result.stamps}):
        typer.echo(f"Not as isolated as it should be: {stamp}", err=True)
    for result in results:
        if result.failure:
            sentence = f"{result.student}, {result.notebook}: for a human to look at ({result.failure[:200]})"
            typer.echo(printable(sentence), err=True)
    raise typer.Exit(1 if any(result.failure for result in results) else 0)


Grades = Annotated[Path, typer.Argument(help="The folder of grades.")]


@app.command(rich_help_panel="For instructors")
def gradebook(
    out: Grades = Path("grades"),
    without: Annotated[
        list[str] | None, typer.Option(metavar="STUDENT", help="Who has left the class; may be repeated.")
    ] = None,
) -> None:
    """Write tables and feedback anew from the journal of a batch."""
    from course_utils.coursework.report.results import end_round, read_results
    from course_utils.coursework.report.write import write_report

    if without:
        from course_utils.coursework.grade.batch import leave_out

        leave_out(out, without)
    results = read_results(out)
    # First, since whoever reads a page, even of a report that was interrupted, knows what this round expected.
    end_round(out)
    for path in write_report(out, results):
        typer.echo(path)


@app.command(rich_help_panel="For instructors")
def explain(
    out: Grades,
    student: Annotated[str, typer.Argument(help="As in exercises.csv.")],
    exercise: Annotated[str, typer.Argument(help="As in exercises.csv, for instance ex-log-mean-exp.")],
    submissions: Annotated[
        Path | None, typer.Option(help="Where the submissions are, to show the answer, too.")
    ] = None,
) -> None:
    """Show a mark, how to repeat it, and what each check expected and found."""
    from course_utils.coursework.grade.journal import Journal
    from course_utils.coursework.report.explanation import explanation

    typer.echo(explanation(Journal(out).read(), student, exercise, submissions))


@app.command(rich_help_panel="For instructors")
def marks(
    out: Grades,
    notebook: Annotated[str, typer.Option(help="The notebook, or how its name begins, for instance 02.")],
    into: Annotated[Path, typer.Option(help="The gradebook that Canvas or Moodle exported as CSV.")],
    column: Annotated[str, typer.Option(help="The assignment's column in it.")],
    to: Annotated[
        Path | None, typer.Option("--out", help="The file to write.", show_default="EXPORT.marks.csv beside it")
    ] = None,
) -> None:
    """Fill an assignment's column in a gradebook that Canvas or Moodle exported, ready to be imported there."""
    from course_utils.coursework.report.exports import fill_in_export
    from course_utils.coursework.report.results import of_notebook, read_results

    path, filled = fill_in_export(into, column, of_notebook(read_results(out), notebook), to)
    for sentence in filled.sentences():
        typer.echo(sentence, err=True)
    typer.echo(f"{filled.filled} {'mark is' if filled.filled == 1 else 'marks are'} in {path}.")


@app.command(rich_help_panel="For instructors")
def feedback(
    out: Grades,
    like: Annotated[
        Path, typer.Option(help="What Canvas or Moodle gave for all submissions: the archive, or the folder it became.")
    ],
    to: Annotated[
        Path | None, typer.Option("--out", help="The archive to write.", show_default="DOWNLOAD.feedback.zip beside it")
    ] = None,
) -> None:
    """Pack each student's feedback as Canvas (Upload submissions) or Moodle (Upload feedback files in a zip) takes it."""
    from course_utils.coursework.report.results import end_round, read_results
    from course_utils.coursework.report.uploads import pack_like

    results = read_results(out)
    end_round(out)
    path, packed = pack_like(like, results, to)
    if packed.not_found:
        typer.echo(f"Not in {like}: {', '.join(packed.not_found)}.", err=True)
    typer.echo(f"The feedback for {packed.students} {'student' if packed.students == 1 else 'students'} is in {path}.")


def _start_lab(work: Path, first: str, arguments: list[str]) -> int:
    """Run JupyterLab in ``work`` until it is stopped, and return its exit code."""
    from course_utils.coursework.student.lab import lab_environment

    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={work.resolve()}"]
    command += [f"--LabApp.default_url=/lab/tree/{first}", *arguments]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # In a container root is often the only user there is; Jupyter would refuse to start.
        command.append("--allow-root")
    try:
        return subprocess.run(command, env=lab_environment(work)).returncode
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

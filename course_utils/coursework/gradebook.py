"""What derives from a journal: tables for machines, pages for people. The same journal gives the same bytes."""

import contextlib
import csv
import difflib
import hashlib
import html
import io
import json
import re
from collections import Counter
from pathlib import Path

from course_utils.coursework import checks
from course_utils.coursework.answers import UnreadableError, read_answers
from course_utils.coursework.batch import JOURNAL, Journal, results
from course_utils.coursework.feedback import ONLY_ANSWERS_RUN
from course_utils.coursework.grading import KNOWN_ERRORS, Json
from course_utils.coursework.notebooks import NOTEBOOKS_DIR, NotebookError, read_notebook, write_whole
from course_utils.coursework.sandbox import INFRASTRUCTURE
from course_utils.coursework.submissions import digest_of, find_submissions

REASONS = {
    checks.RIGHT: "Right.",
    checks.WRONG: "The values differ from those of a right answer.",
    checks.NOT_ATTEMPTED: "Not attempted.",
    checks.ERROR: "Your code raised an error, or gave no numbers.",
    "timeout": "Your code took too long and was stopped.",
    "memory": "Your code used more memory than there is.",
    "died": "Your code ended the Python process that ran it.",
    "output limit": "Your code wrote more output than is allowed.",
    "missing": "There is no answer.",
    "unreadable": "The notebook could not be read.",
}
UNUSUAL = {"timeout", "memory", "died", "output limit", "missing"}
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}"
    "table{border-collapse:collapse}th,td{border:1px solid #bbb;padding:.3rem .6rem;text-align:left;vertical-align:top}"
    "td.number{text-align:right}td.share{white-space:nowrap}.bar{display:inline-block;height:.8em;background:#0072b2}"
)


def write_gradebook(folder: Path) -> list[Path]:
    """Write tables and pages beside the journal in ``folder`` and return their paths; pages of who has left go away.

    Raises:
        NotebookError: there is no journal.
    """
    entries = Journal(folder).read()
    if not entries:
        raise NotebookError(f"{folder / JOURNAL} is missing or empty: grade something into this folder first.")
    found = results(entries)
    files = {
        "grades.csv": _grades(found),
        "exercises.csv": _exercises(found),
        "canvas.csv": _canvas(found),
        "class.html": _class_page(found),
    }
    for student in sorted({result["student"] for result in found}):
        of_student = [result for result in found if result["student"] == student]
        name = _file_name(student)
        files[f"feedback/{name}.html"] = _student_page(student, of_student)
        files[f"gradescope/{name}.json"] = _gradescope(of_student)
    for kind in ("feedback", "gradescope"):
        for path in (folder / kind).glob("*"):
            if f"{kind}/{path.name}" not in files and path.suffix in (".html", ".json"):
                path.unlink()
    written = []
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode("utf-8"))
        written.append(path)
    return written


def explanation(folder: Path, submissions_dir: Path, student: str, exercise_name: str) -> str:
    """Return, for an instructor, what was run, what was expected and what was found.

    Nothing is run again for it.

    Raises:
        NotebookError: there is no such result.
    """
    entries = Journal(folder).read()
    if not entries:
        raise NotebookError(f"There is no {folder / JOURNAL}: name the folder of grades with --out.")
    found = [
        result for result in results(entries)
        if result["student"] == student and exercise_name in result.get("exercises", {})
    ]  # fmt: skip
    if not found:
        graded = [result for result in results(entries) if "exercises" in result]
        students = sorted({result["student"] for result in graded})
        names = sorted({name for result in graded for name in result["exercises"]})
        like = difflib.get_close_matches(student, students, 3) or students[:20]
        raise NotebookError(
            f"{folder / JOURNAL} has no result of {student!r} for {exercise_name!r}. "
            + (f"Exercises: {', '.join(names)}." if student in students else f"Students: {', '.join(like)}{'' if len(like) < 20 else ', …'}.")
        )
    result = found[0]
    mark = result["exercises"][exercise_name]
    submission = next(
        (s for s in find_submissions(submissions_dir, [NOTEBOOKS_DIR / result["notebook"]]) if s.student == student), None
    )
    source = read_notebook(NOTEBOOKS_DIR / result["notebook"])
    content, answer = None, ""
    if submission:
        with contextlib.suppress(UnreadableError):
            content = submission.read()
            answer = read_answers(content, source).sources.get(exercise_name, "") if content else ""
    is_same = content is None or digest_of(content) == result.get("digest")
    what = "What was run:" if is_same else "Handed in again since, not yet graded (use --resume):"
    lines = [
        f"{student}, {result['notebook']}, {exercise_name}: {mark['points']:g} of {mark['of']:g} points, {mark['reason']}",
        f"seed {entries[0]['seed']}, submission {result.get('digest', 'none')}", mark["note"] or result["note"], "", what, answer or "(nothing)", "",
    ]  # fmt: skip
    for check, expected in zip(mark["checks"], entries[0]["expected"][result["notebook"]][exercise_name]):
        verdict = "passed" if check["passed"] else "failed"
        lines += [
            f"{'visible' if check['visible'] else 'hidden'} check {check['name']!r}: {verdict}",
            f"  expected {_numbers(expected)}", f"  found    {_numbers(check['found'])}", f"  {check['hint']}",
        ]  # fmt: skip
    lines += ["", "What the run said:", *(mark["told"] or ["(nothing)"])]
    return "\n".join("".join(c for c in line if c.isprintable() or c == "\n") for line in lines)


def _numbers(values: Json | None) -> str:
    if not values:
        return "nothing"
    shown = ", ".join(str(number) for number in values["flat"][:12])
    return f"[{shown}{', …' if len(values['flat']) > 12 else ''}] of shape {tuple(values['shape'])}"


def points(result: Json) -> tuple[float, float] | None:
    """Return the points of a result and how many there are, or ``None`` if a human has to look at it."""
    if "exercises" not in result:
        return None
    marks = result["exercises"].values()
    return round(sum(mark["points"] for mark in marks), 2), sum(mark["of"] for mark in marks)


def state_of(result: Json) -> str:
    """Return ``graded``, or why nothing of a notebook could be judged: ``missing``, ``unreadable`` or ``infrastructure``."""
    if "exercises" not in result:
        return INFRASTRUCTURE
    if "digest" in result:
        return "graded"
    return next((mark["reason"] for mark in result["exercises"].values()), "graded")


def _grades(found: list[Json]) -> str:
    """One row for each student and notebook; an infrastructure failure has no points at all."""
    rows = []
    for result in found:
        scored = points(result)
        reasons = [f"{name}: {mark['reason']}" for name, mark in result.get("exercises", {}).items()]
        stamp = "unsafe" if result["unsafe"] else ""
        reason = "; ".join(reasons) if scored else f"{INFRASTRUCTURE}: a human has to look at this one"
        numbers = [f"{number:g}" for number in scored] if scored else ["", ""]
        rows.append([result["student"], result["notebook"], *numbers, reason, stamp, result.get("note", "")])
    return _csv(["student", "notebook", "points", "of", "reasons", "stamp", "note"], rows)


def _exercises(found: list[Json]) -> str:
    rows = [
        [result["student"], result["notebook"], name, f"{mark['points']:g}", f"{mark['of']:g}", mark["reason"],
         sum(check["passed"] for check in mark["checks"]), len(mark["checks"]), mark["note"]]
        for result in found for name, mark in result.get("exercises", {}).items()
    ]  # fmt: skip
    return _csv(["student", "notebook", "exercise", "points", "of", "reason", "checks passed", "checks", "note"], rows)


def _canvas(found: list[Json]) -> str:
    """The columns that Canvas asks of an import; students are matched by their number there, or else by their login."""
    notebooks = sorted({result["notebook"] for result in found})
    by_student: dict[str, dict[str, Json]] = {}
    for result in found:
        by_student.setdefault(result["student"], {})[result["notebook"]] = result
    possible = [next((points(r)[1] for r in found if r["notebook"] == name and points(r)), None) for name in notebooks]
    rows = [["    Points Possible", "", "", "", "", *("" if number is None else f"{number:g}" for number in possible)]]
    for student, own in sorted(by_student.items()):
        scored = [points(own[name]) if name in own else None for name in notebooks]
        number = next((result["canvas_id"] for result in own.values()), "")
        rows.append([student, number, "", "" if number else student, "", *(f"{score[0]:g}" if score else "" for score in scored)])
    titles = [name.removesuffix(".ipynb") for name in notebooks]
    return _csv(["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *titles], rows)


def _gradescope(of_student: list[Json]) -> str:
    """The ``results.json`` of Gradescope's autograder: one test for each exercise."""
    tests = []
    for result in of_student:
        for name, mark in result.get("exercises", {}).items():
            output = "\n".join(_feedback_lines(mark))
            tests.append({"name": f"{result['notebook']}: {name}", "score": mark["points"], "max_score": mark["of"], "output": output})
    return json.dumps({"tests": tests, "output_format": "text", "visibility": "visible"}, indent=1) + "\n"


def _feedback_lines(mark: Json) -> list[str]:
    """Return what a student is told about one exercise: nothing that anybody but the course's authors has written."""
    lines = [REASONS[mark["reason"]]]
    # One name at the most, since in several a stranger could spell out what a hidden check draws.
    words = (word for told in mark["told"] for word in re.findall(r"[A-Za-z]+", told))
    error = next((word for word in words if word in KNOWN_ERRORS), None)
    if mark["reason"] == checks.ERROR and error:
        lines.append(f"It was {'an' if error[0] in 'AEIOU' else 'a'} {error}.")
    if mark["reason"] == checks.ERROR and not error:
        lines.append("What it gave is no number and no array of numbers: is a return missing?")
    if mark["reason"] == checks.ERROR and error == "NameError":
        lines.append(ONLY_ANSWERS_RUN)
    if mark["note"]:
        lines.append(f"Note: {mark['note']}.")
    if mark["reason"] == checks.NOT_ATTEMPTED:
        return lines
    if len(mark["checks"]) > 1 and mark["reason"] != checks.RIGHT:
        passed = sum(check["passed"] for check in mark["checks"])
        each = f"{mark['of'] / len(mark['checks']):.3g}"
        lines.append(f"{passed} of {len(mark['checks'])} checks passed; each is worth {each} point{'' if each == '1' else 's'}.")
    for check in mark["checks"]:
        verdict = "passed" if check["passed"] else "failed"
        kind = "" if check["visible"] else "A check with other inputs: "
        lines.append(f"{kind}{check['name']}: {verdict}. {check['hint']}".strip())
    return lines


def _student_page(student: str, of_student: list[Json]) -> str:
    body = []
    for result in of_student:
        scored = points(result)
        body.append(f"<h2>{_text(result['notebook'])}</h2>")
        if scored is None:
            body.append("<p>This notebook has not been graded yet: your instructor will look at it.</p>")
            continue
        body.append(f"<p><strong>{scored[0]:g} of {scored[1]:g} points</strong></p>")
        if result["unsafe"]:
            body.append("<p>Graded without a sandbox.</p>")
        if result["note"]:
            body.append(f"<p>{_text(result['note'])}</p>")
        body.append("<table><tr><th>Exercise</th><th>Points</th><th>What was found</th></tr>")
        for mark in result["exercises"].values():
            lines = "<br>".join(map(_text, _feedback_lines(mark)))
            body.append(
                f"<tr><td>{_text(mark['title'])}</td><td class=number>{mark['points']:g} of {mark['of']:g}</td><td>{lines}</td></tr>"
            )
        body.append("</table>")
    return _page(f"Feedback for {student}", body)


def _class_page(found: list[Json]) -> str:
    body = []
    for notebook in sorted({result["notebook"] for result in found}):
        here = [result for result in found if result["notebook"] == notebook]
        graded = [result for result in here if points(result)]
        body.append(f"<h2>{_text(notebook)}</h2><p>{len(graded)} graded")
        if len(graded) < len(here):
            names = ", ".join(result["student"] for result in here if not points(result))
            body.append(f"; <strong>{len(here) - len(graded)} for a human to look at: {_text(names)}</strong>")
        body.append("</p>")
        if not graded:
            continue
        total = [points(result)[0] for result in graded]
        body.append(f"<p>Mean {sum(total) / len(total):.2f} of {points(graded[0])[1]:g} points.</p>")
        body.append("<table><tr><th>Exercise</th><th>Full</th><th>Partial</th><th>None</th><th>Share of full</th><th>Reasons</th><th>Commonest failure</th></tr>")
        for name, first in graded[0]["exercises"].items():
            marks = [result["exercises"][name] for result in graded]
            full = sum(mark["points"] == mark["of"] for mark in marks)
            none = sum(mark["points"] == 0 for mark in marks)
            reasons = Counter(mark["reason"] for mark in marks)
            hints = Counter(_failure(mark["checks"]) for mark in marks if mark["reason"] == checks.WRONG)
            worst, number = min(hints.items(), key=lambda item: (-item[1], item[0])) if hints else ("", 0)
            worst += f" ({number} of {hints.total()})" if hints else ""
            told = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
            body.append(
                f"<tr><td>{_text(first['title'])}</td><td class=number>{full}</td><td class=number>{len(marks) - full - none}</td>"
                f"<td class=number>{none}</td><td class=share><span class=bar style='width:{6 * full / len(marks):.2f}rem'></span> "
                f"{full / len(marks):.0%}</td><td>{_text(told)}</td><td>{_text(worst)}</td></tr>"
            )
        body.append("</table><h3>Students</h3><table><tr><th>Student</th><th>Points</th><th>Worth a look</th></tr>")
        body += [
            f"<tr><td><a href='feedback/{_file_name(result['student'])}.html'>{_text(result['student'])}</a></td>"
            f"<td class=number>{points(result)[0]:g}</td><td>{'<br>'.join(map(_text, _notes(result)))}</td></tr>"
            for result in graded
        ]
        body.append("</table>")
    return _page("The class", body)


def _failure(of_checks: list[Json]) -> str:
    """Return in a sentence what went wrong first: a visible check knows best, and names a mistake if it can."""
    failed = [check for check in of_checks if not check["passed"]]
    # The values differ from student to student, the author's sentence does not.
    told = [(check, re.sub(r"^Expected .*?[.:] (?=[A-Z])|^Expected .*", "", check["hint"])) for check in failed]
    named = sorted(told, key=lambda pair: (not (pair[0]["visible"] and pair[1]), not pair[1]))
    return named[0][1] or f"failed: {named[0][0]['name']}"


def worth_a_look(found: list[Json]) -> list[str]:
    """Return the students about whose results something is unusual."""
    return sorted({result["student"] for result in found if "exercises" not in result or _notes(result)})


def _notes(result: Json) -> list[str]:
    """Return what is unusual about a result: how its notebook and its answers were found, and what stopped them."""
    notes = [result["note"]] if result["note"] else []
    # Of what could not be read at all, one sentence is enough.
    for name, mark in result["exercises"].items() if "digest" in result else []:
        stopped = mark["reason"] if mark["reason"] in UNUSUAL else ""
        told = "; ".join(filter(None, [stopped, mark["note"]]))
        notes += [f"{name}: {told}"] if told else []
    return notes


def _page(title: str, body: list[str]) -> str:
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}"><style>{STYLE}</style></head>\n'
        f"<body><h1>{_text(title)}</h1>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _text(value: object) -> str:
    """Return text for a page, with nothing in it that a page or a terminal would act upon."""
    return html.escape("".join(character for character in str(value) if character.isprintable() or character == "\n"))


def _csv(header: list[str], rows: list[list[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([[_cell(value) for value in row] for row in rows])
    return buffer.getvalue()


def _cell(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula."""
    if isinstance(value, str):
        value = "".join(character for character in value if character.isprintable())
        return f"'{value}" if value.startswith(("=", "+", "-", "@")) else value
    return value


def _file_name(student: str) -> str:
    """Return a name for a student's files: their own name as far as every file system takes it, and unlike others'."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", student).lstrip(".")[:80]
    if plain == student:
        return plain
    return f"{plain}-{hashlib.sha256(student.encode('utf-8', 'replace')).hexdigest()[:8]}"

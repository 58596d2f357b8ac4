"""Write all that derives from a class's results into the folder of grades."""

from pathlib import Path

from course_utils.coursework.grade.submissions import file_name
from course_utils.coursework.grade.types import Result
from course_utils.coursework.report.pages import class_page, student_page
from course_utils.coursework.report.tables import canvas_csv, exercises_csv, grades_csv, gradescope_json
from course_utils.coursework.source.notebooks import write_whole

FOR_EACH_STUDENT = {"feedback": ".html", "gradescope": ".json"}


def write_report(folder: Path, results: tuple[Result, ...]) -> list[Path]:
    """Write tables and pages into ``folder`` and return their paths; files of students who are not in ``results`` go away.

    Raises:
        NotebookError: a file cannot be written.
    """
    by_student: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda result: (result.student, result.notebook)):
        by_student.setdefault(result.student, []).append(result)
    ordered = tuple(result for of_student in by_student.values() for result in of_student)
    files = {
        "grades.csv": grades_csv(ordered),
        "exercises.csv": exercises_csv(ordered),
        "canvas.csv": canvas_csv(ordered),
        "class.html": class_page(ordered),
    }
    for student, of_student in by_student.items():
        files[f"feedback/{file_name(student)}.html"] = student_page(student, tuple(of_student))
        files[f"gradescope/{file_name(student)}.json"] = gradescope_json(tuple(of_student))
    for kind, ending in FOR_EACH_STUDENT.items():
        for path in (folder / kind).glob(f"*{ending}"):
            if f"{kind}/{path.name}" not in files:
                path.unlink()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, content)
    return [folder / name for name in files]

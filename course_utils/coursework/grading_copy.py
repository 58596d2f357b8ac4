"""What a grader runs of a notebook: answers between setup and checks, and nothing in it that tells what is right.

A check cell of a source notebook computes the truth beside the student's values, to explain mistakes. In a kernel where
a stranger's code runs, everything that is computed can be read. So before grading, whatever serves an explanation alone
is taken out of the cells: the keyword arguments of ``check``, and the statements that nothing else needs.
"""

import ast

import nbformat
from nbformat import NotebookNode

from course_utils.coursework.notebooks import NotebookError, exercises, is_setup, with_answers
from course_utils.coursework.statements import defined, names_of, used

EXPLANATION = {"truth", "mistakes", "standard_error", "rtol", "atol", "hint"}
CHECKS_MODULE = "course_utils.coursework.checks"


def grading_copy(source: NotebookNode, answers: dict[str, str]) -> NotebookNode:
    """Return the cells of ``source`` that a grader runs, with ``answers`` by exercise, no truth and no outputs."""
    notebook = with_answers(source, answers)
    notebook.metadata = nbformat.from_dict({"kernelspec": dict(notebook.metadata.get("kernelspec", {}))})
    for cell in notebook.cells:
        # nbval runs, but does not collect from, a cell that was never run.
        cell.outputs, cell.execution_count = [], 1
        if cell.metadata.get("nbgrader", {}).get("grade"):
            cell.source = without_truth(cell.source, cell.id)
    set_apart(notebook, source)
    return notebook


def set_apart(notebook: NotebookNode, source: NotebookNode) -> None:
    """Let the checks in ``notebook`` know the setup and their own exercise's answer only, whatever else answers define."""
    asked = {exercise.check.id: names_of(defined, exercise.answer.source) for exercise in exercises(source)}
    for cell in notebook.cells:
        if is_setup(cell):
            names = sorted(names_of(defined, cell.source))
            cell.source += f"\n\nfrom course_utils.coursework.apart import keep\nkeep({names}, globals())"
        elif cell.id in asked:
            names = sorted(asked[cell.id])
            cell.source = f"from course_utils.coursework.apart import run_apart\nrun_apart({cell.source!r}, {names}, globals())"


def without_truth(source: str, name: str) -> str:
    """Return a check cell without the explanations of its checks and without what only they need.

    The check itself is imported anew in front, so that an answer that calls something ``check`` does no harm by accident.

    Raises:
        NotebookError: the cell is not Python, or has no check in it.
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise NotebookError(f"The check cell {name} is not valid Python (line {error.lineno}).") from None
    calls = [call for statement in statements for call in _calls_of_check(statement)]
    for call in calls:
        call.keywords = [keyword for keyword in call.keywords if keyword.arg not in EXPLANATION]
        # The second argument is the student's value, the third, if there is one, the truth.
        call.args = call.args[:2]
    if not calls:
        raise NotebookError(f"The check cell {name} calls no check.")
    # A function may use what is defined after it, so its names are needed to the very end of the cell.
    by_functions: set[str] = set()
    while True:
        kept = _needed(statements, by_functions)
        more = set().union(*(used(each) for each in kept if _defines_function(each)))
        if more <= by_functions:
            break
        by_functions |= more
    body = "\n".join(map(ast.unparse, kept))
    return f"from {CHECKS_MODULE} import check, check_seed\n{body}\n"


def _needed(statements: list[ast.stmt], needed: set[str]) -> list[ast.stmt]:
    """Return the checks, and the statements that they need, given the names that are needed after the last one."""
    kept, needed = [], set(needed)
    for statement in reversed(statements):
        stored, loaded = defined(statement), used(statement)
        may_change_things = isinstance(statement, ast.Expr) and bool(loaded & needed)
        if _calls_of_check(statement) or may_change_things or stored & needed:
            if isinstance(statement, ast.Assign | ast.FunctionDef | ast.Import | ast.ImportFrom):
                needed -= stored
            needed |= loaded
            kept.append(statement)
    return kept[::-1]


def _defines_function(statement: ast.stmt) -> bool:
    is_check = bool(_calls_of_check(statement))
    return not is_check and any(isinstance(node, ast.FunctionDef | ast.Lambda) for node in ast.walk(statement))


def _calls_of_check(statement: ast.stmt) -> list[ast.Call]:
    """Return the calls of ``check`` in a statement, be it one itself or, say, a loop over several."""
    return [
        node for node in ast.walk(statement)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check"
    ]  # fmt: skip

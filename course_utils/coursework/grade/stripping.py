"""Take out of a check whatever tells what is right.

A check cell of a source notebook computes the truth beside the student's values, to explain mistakes. In a process where
a stranger's code runs, everything that is computed can be read. So for grading only the name of each check is left, and
the call that it makes of the student's code, with the statements that these need.
"""

import ast

from course_utils.coursework.source.names import defined, used
from course_utils.coursework.source.notebooks import HIDDEN_TESTS, NotebookError

CHECKS_MODULE = "course_utils.coursework.checks"
PARAMETERS = ("name", "compute")


def visible_and_hidden(source: str) -> tuple[str, str]:
    """Return the part of a check cell that students have, and the part that they have not."""
    return HIDDEN_TESTS.sub("", source), "\n".join(match.group() for match in HIDDEN_TESTS.finditer(source))


def without_truth(source: str, name: str) -> str:
    """Return a check cell, called ``name`` in messages, with nothing in it but the calls of the student's code.

    The check itself is imported anew in front, so that an answer that calls something ``check`` does no harm by accident.

    Raises:
        NotebookError: the cell is not Python, has no check in it, or hands its arguments on in a way that hides them.
    """
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise NotebookError(f"The check cell {name} is not valid Python (line {error.lineno}).") from None
    calls = [call for statement in statements for call in _calls_of_check(statement)]
    if not calls:
        raise NotebookError(f"The check cell {name} calls no check.")
    for call in calls:
        call.args, call.keywords = [_argument(call, i, name) for i in range(len(PARAMETERS))], []
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


def _argument(call: ast.Call, position: int, cell: str) -> ast.expr:
    by_name = {keyword.arg: keyword.value for keyword in call.keywords}
    if len(call.args) > position and not any(isinstance(each, ast.Starred) for each in call.args[: position + 1]):
        return call.args[position]
    if PARAMETERS[position] in by_name:
        return by_name[PARAMETERS[position]]
    raise NotebookError(
        f"A check in the cell {cell} has no {PARAMETERS[position]!r} that can be read there: write it out."
    )


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
        node
        for node in ast.walk(statement)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "check"
    ]

"""Which global names a statement defines and which it uses: what is needed to leave out what nothing needs."""

import ast
import contextlib
import re
import symtable
from collections.abc import Callable


def statements(source: str) -> list[ast.stmt]:
    """Return the statements of a cell, its magics left out; of what is no Python, or nested too deeply, nothing."""
    for text in (source, re.sub(r"^[ \t]*[%!?].*$", "", source, flags=re.MULTILINE)):
        with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            found = ast.parse(text).body
            # What is nested too deeply to be looked at is so here, and not later.
            for statement in found:
                used(statement)
            return found
    return []


def names_of(kind: Callable[[ast.stmt], set[str]], source: str) -> set[str]:
    """Return the names that the statements of a cell have of one ``kind``, :func:`defined` or :func:`used`."""
    return set().union(*map(kind, statements(source)))


def defined(statement: ast.stmt) -> set[str]:
    """Return the global names that ``statement`` defines or, writing into a part of what they stand for, changes.

    Raises:
        RecursionError: it is nested too deeply to be looked at.
    """
    table = _table(statement)
    names = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
        for node in ast.walk(statement):
            if isinstance(node, ast.NamedExpr):
                names.add(node.target.id)
            if isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
                names |= {inner.id for inner in ast.walk(node.value) if isinstance(inner, ast.Name)}
    return names


def used(statement: ast.stmt) -> set[str]:
    """Return the global names that ``statement`` uses, at once or in the functions that it defines.

    Raises:
        RecursionError: it is nested too deeply to be looked at.
    """
    names = set()
    if isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
        names.add(statement.target.id)
    tables = [_table(statement)]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        is_top = table.get_type() == "module"
        names |= {
            symbol.get_name()
            for symbol in table.get_symbols()
            if symbol.is_referenced() and (is_top or symbol.is_global())
        }
    return names


def imported(source: str) -> set[str]:
    """Return the modules that a cell imports, and what it imports from them, as in ``{"scipy", "scipy.stats"}``."""
    names = set()
    for statement in statements(source):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            names |= {statement.module} | {f"{statement.module}.{alias.name}" for alias in statement.names}
    return names


def _table(statement: ast.stmt) -> symtable.SymbolTable:
    return symtable.symtable(ast.unparse(statement), "a statement", "exec")

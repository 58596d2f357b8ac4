"""Solutions that travel with a released notebook, where an instructor allows it, so that nobody reads one by accident."""

import base64
import textwrap
import zlib
from typing import Any

KEY = "solution"


def sealed(solution: str) -> str:
    """Return ``solution`` as text that says nothing to whoever comes across it; it is hidden, not secret."""
    return base64.b85encode(zlib.compress(solution.encode(), 9)).decode()


def opened(seal: str) -> str:
    """Return the solution in what :func:`sealed` made of it; empty if it is damaged."""
    try:
        return zlib.decompress(base64.b85decode(seal)).decode()
    except (ValueError, TypeError, AttributeError, zlib.error):
        return ""


def without_markers(source: str) -> str:
    """Return an answer cell's source as one would write it."""
    lines = [
        line for line in source.splitlines() if not line.strip().startswith(("### BEGIN SOLUTION", "### END SOLUTION"))
    ]
    return textwrap.dedent("\n".join(lines)).strip()


def add_solutions(student: Any, source: Any) -> None:
    """Put each solution of the notebook ``source`` into the metadata of its check cell in ``student``, and stamp that."""
    answers = {
        cell.metadata.nbgrader.grade_id.removesuffix("-answer"): cell.source
        for cell in source.cells
        if cell.metadata.get("nbgrader", {}).get("solution")
    }
    for cell in student.cells:
        role = cell.metadata.get("nbgrader", {})
        if role.get("grade"):
            answer = answers[role["grade_id"].removesuffix("-check")]
            cell.metadata["course"] = {**cell.metadata.get("course", {}), KEY: sealed(without_markers(answer))}
    student.metadata["course"] = {**student.metadata.get("course", {}), "solutions": "folded"}


def solution_of(notebook: Any, exercise: str) -> str:
    """Return the solution that a released notebook holds of an exercise; empty if none."""
    return opened(_cell(notebook, f"{exercise}-check").get("metadata", {}).get("course", {}).get(KEY, ""))


def given_digest(notebook: Any, exercise: str) -> str | None:
    """Return the digest of an answer's cell as it was released."""
    identity = _cell(notebook, f"{exercise}-answer").get("id")
    return notebook["metadata"].get("course", {}).get("given", {}).get(identity)


def _cell(notebook: Any, grade_id: str) -> Any:
    found = (c for c in notebook["cells"] if c.get("metadata", {}).get("nbgrader", {}).get("grade_id") == grade_id)
    return next(found, {})

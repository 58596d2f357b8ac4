"""``check``: run a student's answer, show the values it gives, and say what is wrong with them.

A check emits values, never a verdict: marks are given elsewhere, by comparing these values with those of the reference
solution for the same seed. The explanation that a student sees beside the values is for the student alone.
"""

import contextlib
import hashlib
import html
import inspect
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from IPython.display import display

MIME = "application/vnd.course-utils.check+json"
SEED_VARIABLE = "COURSE_CHECK_SEED"
REFERENCE_VARIABLE = "COURSE_CHECK_REFERENCE"
PUBLIC_SEED = "public"

RIGHT, WRONG, SHOWN, NOT_ATTEMPTED, ERROR = "right", "wrong", "shown", "not attempted", "error"


def check_seed(name: str) -> int:
    """Return the seed from which the check ``name`` draws its inputs, from 0 to 2^31 - 1.

    In a student's copy it is always the same; a grader sets the environment variable ``COURSE_CHECK_SEED`` to a secret.
    """
    secret = os.environ.get(SEED_VARIABLE, PUBLIC_SEED)
    return int.from_bytes(hashlib.sha256(f"{secret}:{name}".encode()).digest()[:4]) >> 1


def check(
    name: str,
    compute: Callable[[], Any],
    truth: Any = None,
    *,
    rtol: float = 1e-3,
    atol: float = 1e-4,
    standard_error: Any = None,
    mistakes: Mapping[str, Any] | None = None,
    hint: str = "",
) -> None:
    """Show the values of ``compute()`` and, where the truth is known, explain how they differ from it.

    Args:
        name: what is computed, in the student's words; unique within the notebook.
        compute: calls the student's function and returns a number, an array, or a tuple of them.
        truth: the right values, from a closed form or a library; without it the values are only shown.
        rtol, atol: how far a value may be from the truth, when no standard error says so.
        standard_error: the standard error of an estimate; then four of them, plus ``atol``, are allowed.
        mistakes: common mistakes, each a sentence that says what to look at, with the values it leads to.
        hint: for a hidden check, what the student who does not pass it is told with the marks.
    """
    values, status, explanation = None, SHOWN, ""
    try:
        with _arguments_kept(compute):
            result = compute()
            values = _as_array(result)
            # It may be one of the arrays that are put back.
            values = values if values is None else values.copy()
    except Exception as error:  # a student's code may raise anything
        # What a stub raises; kinds of it, such as that of a kernel asked for keyboard input, are errors.
        if type(error) is NotImplementedError:
            status = NOT_ATTEMPTED
            explanation = "Not attempted yet: write your answer in the cell above, run it, then this one."
        else:
            status, explanation = ERROR, _explain_error(error)
    if status == SHOWN and values is None:
        status, explanation = ERROR, _explain_type(result)
    if status == SHOWN and truth is not None and not _is_graded():
        explanation = _explain(values, truth, rtol, atol, standard_error, mistakes or {})
        status, explanation = (WRONG, explanation) if explanation else (RIGHT, "Right.")
    expected = None
    if truth is not None and REFERENCE_VARIABLE in os.environ:
        expected = {"truth": truth, "rtol": rtol, "atol": atol, "standard_error": standard_error, "mistakes": mistakes or {}}
    _show(name, values, status, explanation, expected, hint if REFERENCE_VARIABLE in os.environ else "")


def explain(values: np.ndarray, expected: Mapping[str, Any]) -> str:
    """Return what is wrong with ``values`` in a sentence or two, given what a reference's record says is expected."""
    return _explain(
        values,
        from_json(expected["truth"]),
        expected["rtol"],
        expected["atol"],
        None if expected["standard_error"] is None else from_json(expected["standard_error"]),
        {sentence: from_json(wrong) for sentence, wrong in expected["mistakes"].items()},
    )


@contextlib.contextmanager
def _arguments_kept(compute: Callable[[], Any]) -> Iterator[None]:
    """Put back what an answer changed in the arrays that it was handed, so that the next check draws on them as they were."""
    inner = inspect.getclosurevars(compute) if inspect.isfunction(compute) else None
    reached = [*inner.globals.values(), *inner.nonlocals.values()] if inner else []
    reached += [part for each in reached if isinstance(each, tuple | list) for part in each]
    copies = [(each, each.copy()) for each in reached if isinstance(each, np.ndarray) and each.flags.writeable]
    try:
        yield
    finally:
        for each, as_it_was in copies:
            each[...] = as_it_was


def _is_graded() -> bool:
    return SEED_VARIABLE in os.environ


def _as_array(result: Any) -> np.ndarray | None:
    """Return ``result`` as one flat or shaped float array, or ``None`` if it is not made of numbers."""
    if result is None or isinstance(result, str):
        return None
    try:
        if isinstance(result, tuple | list):
            parts = [np.asarray(part, np.float64) for part in result]
            if len({part.shape for part in parts}) > 1:
                return np.concatenate([part.ravel() for part in parts])
            return np.stack(parts) if parts else None
        return np.asarray(result, np.float64)
    except (TypeError, ValueError):
        return None


def _explain(
    values: np.ndarray, truth: Any, rtol: float, atol: float, standard_error: Any, mistakes: Mapping[str, Any]
) -> str:
    """Return what is wrong with ``values`` in a sentence or two; an empty string if nothing is."""
    truth = _as_array(truth)
    if values.shape != truth.shape:
        return f"The shape is {values.shape} where {truth.shape} is expected."
    allowed = atol + (rtol * np.abs(truth) if standard_error is None else 4 * np.asarray(standard_error))

    def is_near(other: np.ndarray) -> bool:
        same = (values == other) | (np.isnan(values) & np.isnan(other))
        with np.errstate(invalid="ignore"):
            return bool(np.all(same | (np.abs(values - other) <= allowed)))

    wrong = {sentence: np.broadcast_to(_as_array(value), truth.shape) for sentence, value in mistakes.items()}
    hint = next((sentence for sentence, value in wrong.items() if is_near(value)), "")
    if not np.isfinite(values).all():
        found = values[~np.isfinite(values)][0]
        hint = hint or "Is there a log of zero, an overflow, or a division by zero?"
        return f"There is a {found} among the values. {hint}"
    if is_near(truth):
        return ""
    distance = np.abs(values - truth)
    worst = np.unravel_index(np.argmax(distance - allowed), distance.shape)
    where = f" at position {', '.join(map(str, worst))}" if worst else ""
    if standard_error is None:
        found = f"Expected {truth[worst]:.6g}{where}, found {values[worst]:.6g}."
    else:
        errors = distance[worst] / np.broadcast_to(standard_error, distance.shape)[worst]
        found = (
            f"Expected {truth[worst]:.6g}{where}, found {values[worst]:.6g}: "
            f"{errors:.3g} standard errors from the truth."
        )
    return f"{found} {hint}".strip()


def _explain_error(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    # The first frame is `check`, the second the call that it was handed, which is not of the student's cell.
    cells = [frame for frame in frames[2:] if "ipykernel" in frame.filename and frame.filename != frames[1].filename]
    where = f" in line {cells[-1].lineno} of your cell ({cells[-1].line})" if cells else ""
    return f"Your code raised {type(error).__name__}{where}: {error}"


def _explain_type(result: Any) -> str:
    if result is None:
        return "The result is None: is there a `return` at the end of your function?"
    return f"The result is of type {type(result).__name__}, where a number or an array of numbers is expected."


def _show(
    name: str, values: np.ndarray | None, status: str, explanation: str, expected: dict[str, Any] | None = None, hint: str = ""
) -> None:
    shown = status if values is None else np.array2string(values, precision=6, separator=", ", threshold=40)
    mark, color = {
        RIGHT: ("✓", "#007a5a"),
        WRONG: ("✗", "#b34700"),
        ERROR: ("✗", "#b34700"),
        NOT_ATTEMPTED: ("○", "#5f6368"),
        SHOWN: ("•", "#5f6368"),
    }[status]
    page = (
        f'<div style="border-left: 4px solid {color}; padding: 0.2em 0.8em; margin: 0.2em 0">'
        f'<b style="color: {color}">{mark}</b> {html.escape(name)}: '
        f"<code>{html.escape(shown)}</code><br>{html.escape(explanation)}</div>"
    )
    plain = f"{mark} {name}: {shown}" + (f"\n  {explanation}" if explanation else "")
    record = {
        "name": name,
        "status": status,
        "explanation": explanation,
        "values": None if values is None else to_json(values),
    }
    if hint:
        record["hint"] = hint
    if expected:
        error = expected["standard_error"]
        record["expected"] = expected | {
            "truth": to_json(_as_array(expected["truth"])),
            "standard_error": None if error is None else to_json(_as_array(error)),
            "mistakes": {sentence: to_json(_as_array(wrong)) for sentence, wrong in expected["mistakes"].items()},
        }
    display({"text/plain": plain, "text/html": page, MIME: record}, raw=True)


def to_json(values: np.ndarray) -> dict[str, Any]:
    """Return an array as JSON can hold it: ``nan`` and the infinities as strings."""
    flat = [float(value) if np.isfinite(value) else str(value) for value in values.ravel()]
    return {"shape": list(values.shape), "flat": flat}


def from_json(values: Mapping[str, Any]) -> np.ndarray:
    """Return the array of which :func:`to_json` made ``values``."""
    return np.array([float(value) for value in values["flat"]]).reshape(values["shape"])

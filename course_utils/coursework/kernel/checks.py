"""``check``: run a student's answer, show the values it gives, and say what is wrong with them.

A check emits values, never a verdict: marks are given elsewhere, by comparing these values with those of the reference
solution for the same seed. The explanation that a student sees beside the values is for the student alone.
"""

import contextlib
import functools
import hashlib
import html
import io
import linecache
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from IPython.display import display

from course_utils.coursework.kernel import session, solution
from course_utils.coursework.source.explain import as_array, explain, from_json, to_json

MIME = "application/vnd.course-utils.check+json"
SEED_VARIABLE = "COURSE_CHECK_SEED"
REFERENCE_VARIABLE = "COURSE_CHECK_REFERENCE"
PUBLIC_SEED = "public"

RIGHT, WRONG, SHOWN, NOT_ATTEMPTED, ERROR = session.RIGHT, "wrong", "shown", "not attempted", "error"
RTOL, ATOL = 1e-3, 1e-5
# What a record may hold.
MAX_NUMBERS, MAX_DIMENSIONS, MAX_LENGTH = 100_000, 10, 10**6
# What may be meant, by the type's name.
NO_VALUES = {
    "Tracer": "JAX uses it in place of numbers while it compiles: return what the compiled function returns.",
    "coroutine": "Write `def` instead of `async def`.",
    "generator": "Write `return` instead of `yield`.",
}
STUB_SAYS = "your answer goes here"


def check_seed(name: str) -> int:
    """Return the seed from which the check of the exercise ``name`` draws its inputs, from 0 to 2^31 - 1.

    In a student's copy it is always the same; a grader sets the environment variable ``COURSE_CHECK_SEED`` to a secret.
    """
    session.begin_exercise(name)
    secret = os.environ.get(SEED_VARIABLE, PUBLIC_SEED)
    return int.from_bytes(hashlib.sha256(f"{secret}:{name}".encode()).digest()[:4]) >> 1


def check(
    name: str,
    compute: Callable[[], Any],
    truth: Any = None,
    *,
    rtol: float = RTOL,
    atol: float = ATOL,
    standard_error: Any = None,
    mistakes: Mapping[str, Any] | None = None,
    hint: str = "",
) -> None:
    """Show the values of ``compute()`` and, where the truth is known, explain how they differ from it.

    The functions that ``compute`` names are remembered with the outcome, for :func:`~course_utils.coursework.checks.yours`.

    Args:
        name: what is computed, in the student's words; unique within the notebook.
        compute: calls the student's function and returns a number, an array, or a tuple or list of them, from any
            library and of any type. Complex values count as an array with real and imaginary part on a last axis.
        truth: the right values, from a closed form or a library; without it the values are only shown.
        rtol, atol: how far a value may be from the truth, here and at grading, when no standard error says so.
        standard_error: the standard error of an estimate; then four of them, plus ``atol``, are allowed.
        mistakes: common mistakes, each a sentence that says what to look at, with the values it leads to.
        hint: for a hidden check, what the student who does not pass it is told with the marks.
    """
    cell = sys._getframe(1).f_code.co_filename
    reach = session.reach(compute, cell)
    values, status, explanation = _run(compute, reach, cell)
    if status == SHOWN and truth is not None:
        explanation = explain(values, truth, rtol, atol, standard_error, mistakes or {})
        status, explanation = (WRONG, explanation) if explanation else (RIGHT, "Right.")
        explanation += _about_variables(status, reach)
    if status != SHOWN:
        for _, function in reach.callables():
            session.remember(function, name, status)
    expected = {
        "rtol": float(rtol),
        "atol": float(atol),
        "truth": _to_json_or_none(truth),
        "standard_error": _to_json_or_none(standard_error),
        "mistakes": {sentence: _to_json_or_none(wrong) for sentence, wrong in (mistakes or {}).items()},
    }
    if _is_graded() and status in (RIGHT, WRONG):
        status, explanation = SHOWN, ""
    _show(name, values, status, explanation, expected, hint)
    solution.offer(status)


# --- running the answer -----------------------------------------------------------------------------------------------


def _run(compute: Callable[[], Any], reach: session.Reach, cell: str) -> tuple[np.ndarray | None, str, str]:
    """Return the values of ``compute()``, the status and an explanation of what kept it from giving any."""
    if not _is_graded():
        # An earlier function of this name may be there, but it is not what the student has just written.
        reason = session.why_it_did_not_run([*reach.missing, *(name for name, _ in reach.callables() if name)])
        if reason:
            return None, ERROR, reason
    try:
        with _arguments_kept(reach):
            result = compute()
            values = as_array(result)
            # It may be one of the arrays that are put back.
            values = values if values is None else values.copy()
    except Exception as error:  # a student's code may raise anything
        if _is_stub(error):
            return None, NOT_ATTEMPTED, "Not attempted yet: write your answer in the cell above, run it, then this one."
        return None, ERROR, _explain_error(error, compute, reach, cell)
    if values is None:
        return None, ERROR, _explain_type(result)
    if values.size > MAX_NUMBERS or values.ndim > MAX_DIMENSIONS or max(values.shape, default=0) > MAX_LENGTH:
        explanation = (
            f"The result has the shape {values.shape}; a check takes up to {MAX_NUMBERS:,} numbers. "
            f"Is a sum or a mean missing, or taken along another axis?"
        )
        return values.ravel()[:MAX_NUMBERS], ERROR, explanation
    return values, SHOWN, ""


@contextlib.contextmanager
def _arguments_kept(reach: session.Reach) -> Iterator[None]:
    """Put back what an answer changed in what it was handed, so that the next check draws on it as it was."""
    arrays = [each for _, each in reach.values if isinstance(each, np.ndarray) and each.flags.writeable]
    lists = [each for _, each in reach.values if type(each) is list]
    tables = [each for _, each in reach.values if type(each) is dict]
    copies = [(each, each.copy()) for each in [*arrays, *lists, *tables]]
    try:
        yield
    finally:
        for each, as_it_was in copies:
            if isinstance(each, dict):
                each.clear()
                each.update(as_it_was)
            else:
                each[... if isinstance(each, np.ndarray) else slice(None)] = as_it_was


def _is_graded() -> bool:
    return SEED_VARIABLE in os.environ


def _is_stub(error: Exception) -> bool:
    """Return whether a stub raised ``error``: libraries raise ``NotImplementedError`` too, for what they cannot do."""
    if type(error) is not NotImplementedError:
        return False
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    package = str(frame.f_globals.get("__name__")).partition(".")[0]
    return str(error) == STUB_SAYS or package not in {"jax", "numpy", "scipy", "flax", "optax"}


# --- explaining -------------------------------------------------------------------------------------------------------


def _about_variables(status: str, reach: session.Reach) -> str:
    """Return a sentence that names the variables of other cells on which an answer depends, if there are any."""
    if status == RIGHT and any(session.imports_library(function) for _, function in reach.callables()):
        return " But your cell imports `my_vi`: graders run this notebook alone, so copy what it needs into your cell."
    names = {each: None for _, function in reach.callables() for each in session.variables_from_elsewhere(function)}
    if not names:
        return ""
    listed = ", ".join(f"`{name}`" for name in names)
    if status == WRONG:
        return f" Your cell uses {listed} from outside of it: is that one of the function's arguments?"
    return (
        f" But your cell uses {listed} from outside of it: `course check` and graders run an answer without the "
        f"variables of the text, so set it in your cell or use an argument."
    )


def _explain_error(error: Exception, compute: Callable[[], Any], reach: session.Reach, cell: str) -> str:
    """Return in a sentence or two what stopped a check: the student's code, or what it returned."""
    kind, said = type(error).__name__, _message(error)
    if isinstance(error, NameError) and error.name in reach.missing:
        name = error.name
        if reason := session.why_it_did_not_run([name]):
            return reason
        if session.was_to_be_defined(name):
            return (
                f"`{name}` is not defined (NameError): the cell that defines it stopped with an error; look below it."
            )
        return f"`{name}` is not defined (NameError): write it under this name in the cell above, run that cell, then this."
    if where := _place_in_answer(error, cell):
        return f"Your code raised {kind} in line {where}: {said}"
    answers = [name for name, _ in _answers(reach, compute, cell)]
    called = next((name for name in answers if isinstance(error, TypeError) and said.startswith(f"{name}()")), None)
    if called:
        return f"`{called}` cannot be called as its text says ({kind}: {said}). Keep the arguments as they were."
    last = None if _is_graded() else _last_call(compute, reach, cell)
    if last and last.returned:
        return f"The check cannot use what `{last.name}` returned, {_describe(last.result)} ({kind}: {said})."
    if last:
        return f"Your code raised {kind}: {said}"
    not_functions = [name for name in answers if isinstance(error, TypeError) and "not callable" in said]
    if not_functions:
        return f"`{not_functions[0]}` is no function any more ({kind}: {said}): run the cell with your answer again."
    return f"The check stopped with {kind}: {said}"


def _message(error: BaseException) -> str:
    """Return the first paragraph of what an error says, if its class lets itself be asked."""
    try:
        return str(error).strip().partition("\n\n")[0][:500]
    except Exception:  # a student's class of errors may raise anything
        return ""


def _place_in_answer(error: BaseException, cell: str) -> str:
    """Return the last line that ran in a cell other than the check's own; empty if no other cell was on the way."""
    frames = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__") == session.USERS and frame.f_code.co_filename != cell
    ]
    if not frames:
        return ""
    file, line = frames[-1]
    return f"{line} of your cell ({linecache.getline(file, line).strip()})"


def _answers(reach: session.Reach, compute: Callable[[], Any], cell: str) -> list[tuple[str, Any]]:
    """Return the functions and the like that a check has from other cells under global names."""
    known = getattr(compute, "__globals__", {})
    return [
        (name, value)
        for name, value in reach.values
        if name and known.get(name) is value and not isinstance(value, type | np.ndarray) and _is_answer(value, cell)
    ]


def _is_answer(value: Any, cell: str) -> bool:
    code = session.code_of(value)
    return code is not None and code.co_filename != cell and bool(session.cell_of(value))


class _Call:
    """The last call of one of the student's functions, and what it returned if it did."""

    def __init__(self, name: str):
        self.name, self.returned, self.result = name, False, None


def _last_call(compute: Callable[[], Any], reach: session.Reach, cell: str) -> _Call | None:
    """Run a failing check once more with the student's functions watched, and return the last call of one of them."""
    calls, known, answers = [], getattr(compute, "__globals__", {}), _answers(reach, compute, cell)

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(_Call(name))
            this = calls[-1]
            this.result = function(*args, **kwargs)
            this.returned = True
            return this.result

        return call

    generators = [each.bit_generator for _, each in reach.values if isinstance(each, np.random.Generator)]
    states = [each.state for each in generators]
    try:
        known.update({name: watched(name, function) for name, function in answers if callable(function)})
        with _arguments_kept(reach), contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
            as_array(compute())
    finally:
        known.update(answers)
        for each, state in zip(generators, states):
            each.state = state
    # What is still open when another call fails is not what failed.
    return calls[-1] if calls else None


def _describe(result: Any) -> str:
    """Return what kind of value ``result`` is, with its shape if it has one."""
    if result is None:
        return "None: is there a `return` at its end?"
    if isinstance(result, tuple | list):
        parts = ", ".join(map(_describe, result[:4])) + (", …" if len(result) > 4 else "")
        return f"a {type(result).__name__} of {len(result)} ({parts})"
    if "Tracer" in type(result).__name__:
        return f"a value of type {type(result).__name__}"
    shape, dtype = (session.getattr_or_none(result, each) for each in ("shape", "dtype"))
    if isinstance(shape, tuple) and dtype is not None:
        return f"an array of shape {shape} and type {dtype}" if shape else f"a single number of type {dtype}"
    if isinstance(result, bool | int | float | complex):
        return f"the number {result!r}"
    return f"a value of type {type(result).__name__}"


def _explain_type(result: Any) -> str:
    if result is None:
        return "The result is None: is there a `return` at the end of your function?"
    kind = type(result).__name__
    hint = next((f" {text}" for name, text in NO_VALUES.items() if name in kind), "")
    return f"The result is {_describe(result)}, where a number or an array of numbers is expected.{hint}"


# --- showing ----------------------------------------------------------------------------------------------------------


def _show(
    name: str,
    values: np.ndarray | None,
    status: str,
    explanation: str,
    expected: Mapping[str, Any] | None = None,
    hint: str = "",
) -> None:
    """Display one line that stays, what it rests on folded below it, and the record that a grader reads."""
    expected = expected or {}
    mark, color = {
        RIGHT: ("✓", "#007a5a"),
        WRONG: ("✗", "#b34700"),
        ERROR: ("✗", "#b34700"),
        NOT_ATTEMPTED: ("○", "#5f6368"),
        SHOWN: ("•", "#5f6368"),
    }[status]
    shown = status if values is None else _shorten(values)
    line = f'<b style="color: {color}">{mark}</b> {html.escape(name)}' + (": " if explanation else "")
    line += html.escape(explanation)
    folded = [] if values is None else [f"Found: <code>{html.escape(shown)}</code>"]
    if status in (RIGHT, WRONG) and expected.get("truth"):
        folded.append(f"Expected: <code>{html.escape(_shorten(from_json(expected['truth'])))}</code>")
    if status == WRONG and expected.get("mistakes"):
        items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in expected["mistakes"])
        folded.append(f"What often goes wrong here:<ul>{items}</ul>")
    if folded:
        line = f"<details><summary>{line}</summary>{'<br>'.join(folded)}</details>"
    page = f'<div style="border-left: 4px solid {color}; padding: 0.2em 0.8em; margin: 0.2em 0">{line}</div>'
    plain = f"{mark} {name}: {shown}" + (f"\n  {explanation}" if explanation else "")
    record = {
        "name": name,
        "status": status,
        "explanation": explanation,
        "values": None if values is None else to_json(values),
    }
    if REFERENCE_VARIABLE in os.environ:
        record |= {"hint": hint} if hint else {}
        record |= {"expected": expected} if expected else {}
    display({"text/plain": plain, "text/html": page, MIME: record}, raw=True)


def _shorten(values: np.ndarray) -> str:
    return np.array2string(values, precision=6, separator=", ", threshold=40)


def _to_json_or_none(values: Any) -> dict[str, Any] | None:
    array = None if values is None else as_array(values)
    if array is not None and array.size > MAX_NUMBERS:
        raise ValueError(
            f"A check's truth, error or mistake has {array.size:,} numbers; at most {MAX_NUMBERS:,} are kept."
        )
    return None if array is None else to_json(array)

"""Values that a check emits, as arrays and as JSON, and what is wrong with them in a sentence."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def as_array(result: Any) -> np.ndarray | None:
    """Return ``result`` as one flat or shaped float array, or ``None`` if it is not made of numbers."""
    if result is None or isinstance(result, str | bytes | dict | set):
        return None
    try:
        if isinstance(result, np.ma.MaskedArray):
            # What lies under a mask is no value.
            result = result.astype(np.result_type(result, np.float64)).filled(np.nan)
        if not isinstance(result, tuple | list):
            return _as_real(np.asarray(result))
        parts = [as_array(part) for part in result]
        if not parts or any(part is None for part in parts):
            return None
        if len({part.shape for part in parts}) > 1:
            return np.concatenate([part.ravel() for part in parts])
        return np.stack(parts)
    except (TypeError, ValueError, OverflowError):
        return None


def _as_real(values: np.ndarray) -> np.ndarray:
    """Return ``values`` in float64, with real and imaginary parts on a last axis if any imaginary part is not zero."""
    if values.dtype == object and any(isinstance(each, complex) for each in values.ravel()):
        values = values.astype(np.complex128)
    if not np.iscomplexobj(values):
        return values.astype(np.float64)
    # A nan is not zero either.
    if np.any(values.imag != 0):
        return np.stack([values.real, values.imag], axis=-1).astype(np.float64)
    return values.real.astype(np.float64)


def to_json(values: np.ndarray) -> dict[str, Any]:
    """Return an array as JSON can hold it: ``nan`` and the infinities as strings."""
    flat = [float(value) if np.isfinite(value) else str(value) for value in values.ravel()]
    return {"shape": list(values.shape), "flat": flat}


def from_json(values: Mapping[str, Any]) -> np.ndarray:
    """Return the array of which :func:`to_json` made ``values``."""
    return np.array([float(value) for value in values["flat"]]).reshape(values["shape"])


def explain(
    values: np.ndarray, truth: Any, rtol: float, atol: float, standard_error: Any, mistakes: Mapping[str, Any]
) -> str:
    """Return what is wrong with ``values`` in a sentence or two; an empty string if nothing is."""
    is_complex = np.ndim(truth) > 0 and np.iscomplexobj(truth)
    truth = as_array(truth)
    if values.shape != truth.shape:
        complaint = f"The shape is {values.shape} where {truth.shape} is expected."
        if (*truth.shape, 2) == values.shape or is_complex:
            complaint += " A complex number counts as two: is an imaginary part missing, or one too many?"
        return complaint
    # A share of an infinite truth would allow everything.
    share = rtol * np.where(np.isfinite(truth), np.abs(truth), 0)
    allowed = atol + (share if standard_error is None else 4 * np.asarray(standard_error))

    def is_near(other: np.ndarray) -> bool:
        same = (values == other) | (np.isnan(values) & np.isnan(other))
        with np.errstate(invalid="ignore"):
            return bool(np.all(same | (np.abs(values - other) <= allowed)))

    wrong = {sentence: np.broadcast_to(as_array(value), truth.shape) for sentence, value in mistakes.items()}
    hint = next((sentence for sentence, value in wrong.items() if is_near(value)), "")
    if is_near(truth):
        return ""
    if not np.isfinite(values).all():
        found = values[~np.isfinite(values)][0]
        hint = hint or "Is there a log of zero, an overflow, or a division by zero?"
        return f"There is {'an' if found > 0 else 'a'} {found} among the values. {hint}"
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

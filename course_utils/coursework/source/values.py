"""Compare texts as what they say: words as words, numbers as numbers with a tolerance."""

import re
from typing import Any, NamedTuple

from course_utils.coursework.source.bars import finished

NUMBER = re.compile(
    r"""(?<![\w.])[-+−]?                                # not inside a word such as z2 or v1.2
        (?:\d{1,3}(?:,\d{3})+(?!\d)|\d+|(?=\.\d))       # 12,345 or 12345 or nothing before the point
        (?:\.\d*)?(?:[eE][-+]?\d+)?""",
    re.VERBOSE,
)
PICTURE = re.compile(r"data:image/[a-z+]+;base64,[A-Za-z0-9+/=\s]+")


class Tolerance(NamedTuple):
    """How far a number may be from its reference: ``atol + rtol * |reference|``, and one unit of a last decimal."""

    rtol: float = 1e-3
    atol: float = 1e-5


def tolerance_from_tags(tags: list[str]) -> Tolerance:
    """Return the tolerance that tags such as ``rtol=0.02`` and ``atol=0.5`` ask for.

    Raises:
        ValueError: a tag names no number.
    """
    asked = {}
    for tag in tags:
        name, separator, value = tag.partition("=")
        if separator and name in Tolerance._fields:
            asked[name] = float(value)
    return Tolerance(**asked)


DEFAULT = Tolerance()


def agree(reference: Any, found: Any, tolerance: Tolerance = DEFAULT) -> bool:
    """Return whether two texts, or two JSON values, say the same up to ``tolerance``.

    Between the numbers of a text the words must be equal but for white space; pictures in it are not looked at. A
    progress bar counts as what it says at its end.
    """
    match reference, found:
        case dict(), dict():
            return reference.keys() == found.keys() and all(
                agree(reference[name], found[name], tolerance) for name in reference
            )
        case list(), list():
            return len(reference) == len(found) and all(map(agree, reference, found, [tolerance] * len(found)))
        case str(), str():
            reference, found = (PICTURE.sub("", finished(text)) for text in (reference, found))
            return _texts_agree(reference, found, tolerance)
        case int() | float(), int() | float():
            return _is_near(reference, found, tolerance)
    return reference is None and found is None


def _texts_agree(reference: str, found: str, tolerance: Tolerance) -> bool:
    if _words(reference) != _words(found):
        return False
    pairs = zip(NUMBER.findall(reference), NUMBER.findall(found), strict=True)
    return all(_is_near(_value(one), _value(other), tolerance, _last_decimal(one)) for one, other in pairs)


def _words(text: str) -> list[str]:
    return [re.sub(r"\s+", "", words) for words in NUMBER.split(text)]


def _is_near(reference: float, found: float, tolerance: Tolerance, rounding: float = 0.0) -> bool:
    allowed = tolerance.atol + tolerance.rtol * abs(reference) + rounding
    # Written so that a nan, which no comparison accepts, would not agree.
    return reference == found or abs(reference - found) <= allowed * (1 + 1e-9)


def _value(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))


def _last_decimal(number: str) -> float:
    """Return the unit of the last printed decimal: two values that nearly agree may be rounded apart by that much."""
    mantissa, _, exponent = number.lower().partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals) if decimals else 0.0

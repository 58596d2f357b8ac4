"""Text that people and spreadsheets may be shown, whoever wrote it."""

import re

# What a terminal acts upon (ECMA-48): control sequences, strings up to their end, and two-character escapes.
ESCAPES = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?")
# They have no width, but Persian and several Indian scripts cannot be written without them.
JOINERS = "\u200c\u200d"


def printable(text: str, *, lines: bool = False) -> str:
    """Return ``text`` with nothing in it that a terminal, a page or a table acts upon.

    Terminal escapes, control characters and marks that turn the direction of writing are removed; a byte of a file's name
    that is no UTF-8 is written as ``\\xe9``. Line ends become spaces unless ``lines`` are to be kept.
    """
    return "".join(map(_shown if not lines else _shown_in_lines, ESCAPES.sub("", text)))


def number(value: float) -> str:
    """Return points as people write them: two decimals at the most."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def counted(count: int, one: str, many: str = "") -> str:
    """Return ``1 point`` or ``2 points``."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def _shown(character: str) -> str:
    if character.isprintable() or character in JOINERS:
        return character
    if "\udc80" <= character <= "\udcff":  # how Python holds bytes that it cannot decode (PEP 383)
        return f"\\x{ord(character) - 0xDC00:x}"
    return " " if character.isspace() else ""


def _shown_in_lines(character: str) -> str:
    return character if character == "\n" else _shown(character)

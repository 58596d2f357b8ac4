"""What a student is told about one exercise: nothing that anybody but the course's authors has written.

Of what a run said, only the name of one of Python's own exceptions gets through, since in the rest a stranger's answer could
spell out what a hidden check draws. The values that an answer gave are not shown either: it may have given back its inputs.
"""

import builtins
import re
from dataclasses import dataclass

from course_utils.coursework.grade.types import CheckMark, Mark, Reason
from course_utils.coursework.report.text import counted, number, printable

REASONS = {
    Reason.RIGHT: "Right.",
    Reason.WRONG: "The values differ from those of a right answer.",
    Reason.ERROR: "Your code raised an error, or gave no numbers.",
    Reason.NOT_ATTEMPTED: "Not attempted.",
    Reason.MISSING: "There is no answer.",
    Reason.UNREADABLE: "The notebook could not be read.",
    Reason.TIMEOUT: "Your code took too long and was stopped.",
    Reason.MEMORY: "Your code used more memory than there is.",
    Reason.DIED: "Your code ended the Python process that ran it.",
    Reason.OUTPUT_LIMIT: "Your code wrote more output than is allowed.",
}
KNOWN_ERRORS = {
    name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, Exception)
}
WHAT_IS_RUN = (
    "An answer is run with the text's imports and functions, and with the cells that you added or changed; "
    "it cannot use variables of the text's own cells."
)


@dataclass(frozen=True)
class Feedback:
    """What a student may read about one exercise: sentences on the whole, then one line for each check."""

    sentences: tuple[str, ...]
    checks: tuple[tuple[bool, str], ...]

    def lines(self) -> list[str]:
        """Return all of it as lines of text."""
        return [*self.sentences, *(text for _, text in self.checks)]


def feedback_on(mark: Mark) -> Feedback:
    """Return what the student is told about ``mark``."""
    sentences = [REASONS[mark.reason]]
    if mark.reason == Reason.ERROR:
        sentences += _about_the_error(mark.said)
    if mark.note:
        sentences.append(f"Note: {mark.note.rstrip('.')}.")
    if mark.reason == Reason.NOT_ATTEMPTED:
        return Feedback(tuple(map(printable, sentences)), ())
    if len(mark.checks) > 1 and mark.reason != Reason.RIGHT:
        passed = sum(check.passed for check in mark.checks)
        worth = number(mark.of / len(mark.checks))
        sentences.append(
            f"{passed} of {len(mark.checks)} checks passed; each is worth {worth} point{'' if worth == '1' else 's'}."
        )
    return Feedback(
        tuple(map(printable, sentences)), tuple((check.passed, _about_the_check(check)) for check in mark.checks)
    )


def failure_of(checks: tuple[CheckMark, ...]) -> str:
    """Return in a sentence what went wrong first: a visible check knows best, and names a mistake if it can."""
    failed = [check for check in checks if not check.passed]
    if not failed:
        return ""
    # The values differ from student to student, the author's sentence does not.
    explained = [(re.sub(r"^Expected .*?[.:] (?=[A-Z])|^Expected .*", "", check.hint), check) for check in failed]
    sentence, check = min(explained, key=lambda pair: (not (pair[1].visible and pair[0]), not pair[0]))
    return sentence or f"failed: {check.name}"


def points_of(mark: Mark) -> str:
    """Return ``1 of 2 points``."""
    return f"{number(mark.points)} of {counted_points(mark.of)}"


def counted_points(points: float) -> str:
    """Return ``1 point`` or ``2.5 points``."""
    return counted(1, "point") if points == 1 else f"{number(points)} points"


def _about_the_error(said: tuple[str, ...]) -> list[str]:
    words = [word for text in said for word in re.findall(r"[A-Za-z]+", text)]
    # One name at the most: in several a message could be spelt.
    error = next((word for word in words if word in KNOWN_ERRORS), None)
    if error is None:
        is_raised = any(word.endswith(("Error", "Exception")) for word in words)
        return [] if is_raised else ["What it gave is no number and no array of numbers: is a return missing?"]
    article = "an" if error[0] in "AEIOU" else "a"
    return [f"It was {article} {error}."] + ([WHAT_IS_RUN] if error == "NameError" else [])


def _about_the_check(check: CheckMark) -> str:
    kind = "" if check.visible else "A check with other inputs: "
    verdict = "passed." if check.passed else f"failed. {check.hint}"
    return printable(f"{kind}{check.name}: {verdict}".strip())

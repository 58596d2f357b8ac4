"""Progress bars as text: what tqdm gives a notebook's file at the start of a run says nothing of its end."""

import re

BEGUN = re.compile(r"^\s*0%\|[^|]*\| 0/(?P<total>\d+) \[00:00<\?, \?(?P<unit>[^/\]]*)/s\]$")


def finished(text: str) -> str:
    """Return what a finished bar says that began as ``text``; any other text as it is."""
    begun = BEGUN.match(text)
    return f"Done: {begun['total']} of {begun['total']} {begun['unit'].strip()}s." if begun else text

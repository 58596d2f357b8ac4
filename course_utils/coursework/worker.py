"""A long-lived process that grades: one job a line on its standard input, one answer a line on its standard output.

All that touches what strangers made happens here or further down, so that the worst that can happen to the batch is that
a worker has to be started anew.
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any

from course_utils.coursework.grading import InfrastructureError, grade
from course_utils.coursework.sandbox import Limits


def grade_job(job: dict[str, Any]) -> dict[str, Any]:
    """Return the marks of a job, or why there are none under ``infrastructure``; both are plain JSON."""
    content = None if job["content"] is None else base64.b64decode(job["content"])
    cache = Path(job["cache"]) if job["cache"] else None
    try:
        return grade(content, job["reference"], Limits(**job["limits"]), sandbox=job["sandbox"], cache=cache)
    except InfrastructureError as error:
        return {"infrastructure": str(error)}


def main() -> None:
    """Answer jobs until there are no more; the reference that jobs share is sent once, on the first line of its use."""
    references: dict[str, Any] = {}
    for line in sys.stdin:
        job = json.loads(line)
        if "references" in job:
            references = job["references"]
            continue
        answer = grade_job(job | {"reference": references[job["notebook"]]})
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

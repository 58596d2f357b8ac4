"""Print a chapter: its page of the site, as a browser prints it."""

import subprocess
import tempfile
from pathlib import Path

from course_utils.coursework.author.explorers import CACHE_DIR
from course_utils.coursework.author.site import build_site
from course_utils.coursework.author.stills import BROWSER_OPTIONS, BROWSERS, find_browser
from course_utils.coursework.source.notebooks import NotebookError
from course_utils.paths import place_of

SECONDS_TO_PRINT = 120


def write_pdf(path: Path, out: Path, cache: Path = CACHE_DIR) -> Path:
    """Write the source notebook at ``path``, as readers get it, to the PDF ``out``, and return that.

    Raises:
        NotebookError: there is no browser that could print it, the notebook does not run, or ``out`` cannot be written.
    """
    browser = find_browser()
    if browser is None:
        raise NotebookError(f"A chapter is printed by a browser, and none of {', '.join(BROWSERS)} is on the PATH.")
    with tempfile.TemporaryDirectory(prefix="course-pdf-", ignore_cleanup_errors=True) as folder:
        site, printed = Path(folder, "site"), Path(folder, "chapter.pdf")
        build_site(site, [path], cache=cache)
        page = site / "notebooks" / place_of(path.name).with_suffix(".html")
        command = [browser, *BROWSER_OPTIONS, f"--user-data-dir={folder}/profile", "--virtual-time-budget=20000"]
        command += ["--no-pdf-header-footer", f"--print-to-pdf={printed}", page.as_uri()]
        try:
            subprocess.run(command, capture_output=True, timeout=SECONDS_TO_PRINT, check=True)
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_bytes(printed.read_bytes())
        except (OSError, subprocess.SubprocessError) as error:
            raise NotebookError(f"{browser} could not print {path.name}: {str(error).splitlines()[0][:200]}.") from None
    return out

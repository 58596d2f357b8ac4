"""Whether a notebook that is open in JupyterLab has been worked on since it was saved, as far as its server can tell."""

import json
import urllib.request
from datetime import datetime
from pathlib import Path

SECONDS_TO_ANSWER = 2
# A save takes a moment, and so does the clock of another file system.
SECONDS_OF_GRACE = 2


def unsaved(path: Path) -> str:
    """Return a sentence if the notebook at ``path`` is open and its kernel ran after it was last saved; else nothing.

    A server knows when a kernel was last active, and not what is written in a page: text that was changed and not run
    goes unnoticed.
    """
    if not path.is_file():
        return ""
    saved = path.stat().st_mtime
    active = max((when for session in _sessions() if (when := _last_activity(session, path))), default=0.0)
    if active <= saved + SECONDS_OF_GRACE:
        return ""
    at = datetime.fromtimestamp(saved).strftime("%H:%M:%S")
    return (
        f"{path.name} was saved at {at}, and its kernel in JupyterLab has been active since. What is checked is the "
        "saved file: if you changed anything after that, save it (Ctrl + S, on a Mac ⌘ S) and check again."
    )


def _sessions() -> list[tuple[Path, dict]]:
    """Return the open sessions of all Jupyter servers of this user, each with its server's folder."""
    from jupyter_server.serverapp import list_running_servers

    found = []
    for server in list_running_servers():
        request = urllib.request.Request(
            f"{server['url']}api/sessions", headers={"Authorization": f"token {server.get('token', '')}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS_TO_ANSWER) as answer:
                found += [(Path(server["root_dir"]), session) for session in json.load(answer)]
        except (OSError, ValueError, KeyError, TypeError):
            # It has just ended, or asks for a password: then nothing is known.
            continue
    return found


def _last_activity(of_server: tuple[Path, dict], path: Path) -> float | None:
    """Return when the kernel of this session was last active, if it is the notebook's at ``path``."""
    root, session = of_server
    try:
        if (root / session["path"]).resolve() != path.resolve():
            return None
        return datetime.fromisoformat(session["kernel"]["last_activity"]).timestamp()
    except (KeyError, TypeError, ValueError, OSError):
        return None

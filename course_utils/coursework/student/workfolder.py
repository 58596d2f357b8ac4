"""The student's work folder: copies of the notebooks, none of which is ever overwritten once a student wrote in it."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from course_utils.coursework.source.notebooks import (
    NOTEBOOKS_DIR,
    NotebookError,
    notebook_bytes,
    read_notebook,
    source_notebooks,
    student_copy,
    write_whole,
)
from course_utils.paths import place_of

MANIFEST = ".course.json"


@dataclass(frozen=True)
class Delivery:
    """What became of one notebook: ``new``, ``kept``, ``renewed``, or ``update`` if a newer one lies beside it."""

    path: Path
    outcome: str


def deliver(work_dir: Path, source_dir: Path = NOTEBOOKS_DIR) -> list[Delivery]:
    """Put a student copy of each source notebook into ``work_dir`` and return what became of each.

    A copy that is not there is made. One that the student has not touched is renewed when its source has changed. One
    that the student has touched stays as it is, and the changed notebook is put beside it, under a name of its own.

    Raises:
        NotebookError: there are no source notebooks, or the folder cannot be written.
    """
    sources = source_notebooks(source_dir)
    if not sources:
        raise NotebookError(
            f"{source_dir} holds no notebooks of the course; restore it with `git checkout -- notebooks`."
        )
    try:
        for source in sources:
            (work_dir / place_of(source.name)).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise NotebookError(
            f"The work folder {work_dir} cannot be made ({reason}); name another with --work."
        ) from None
    delivered = _read_manifest(work_dir)
    deliveries = []
    for source in sources:
        notebook = student_copy(read_notebook(source))
        name = place_of(source.name).as_posix()
        path, outcome = _deliver_one(work_dir / name, notebook, delivered.get(name))
        deliveries.append(Delivery(path, outcome))
        if outcome != "kept":
            delivered[name] = _digest(notebook_bytes(notebook), notebook)
            write_whole(work_dir / MANIFEST, json.dumps(delivered, indent=1).encode())
    return deliveries


def _deliver_one(target: Path, notebook: NotebookNode, last_delivered: str | None) -> tuple[Path, str]:
    """Write ``notebook`` where it does no harm; ``last_delivered`` is the digest of what was delivered before."""
    digest = _digest(notebook_bytes(notebook), notebook)
    if not target.exists() and not target.is_symlink():
        write_whole(target, _for_this_machine(notebook))
        return target, "new"
    if last_delivered == digest:
        return target, "kept"
    present = _digest(target.read_bytes(), notebook)
    if present == digest:
        return target, "renewed"
    if present == last_delivered:
        write_whole(target, _for_this_machine(notebook))
        return target, "renewed"
    beside = target.with_name(f"{target.stem}.update-{digest[:8]}.ipynb")
    if beside.exists():
        return target, "kept"
    write_whole(beside, _for_this_machine(notebook))
    return beside, "update"


def _for_this_machine(notebook: NotebookNode) -> bytes:
    """Return the file with what JupyterLab would fill in when it is opened, so that opening it changes nothing."""
    from ipykernel.ipkernel import IPythonKernel

    return notebook_bytes(_with_language(notebook, IPythonKernel.language_info))


def _with_language(notebook: NotebookNode, language: Any) -> NotebookNode:
    return NotebookNode(notebook | {"metadata": NotebookNode(notebook.metadata | {"language_info": language})})


def _read_manifest(work_dir: Path) -> dict[str, str]:
    """Return the digests of what was delivered; without a readable record every copy counts as touched."""
    try:
        delivered = json.loads((work_dir / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return delivered if isinstance(delivered, dict) else {}


def _digest(content: bytes, delivered: NotebookNode) -> str:
    """Return what tells one file from another, whichever Python was filled in there."""
    try:
        notebook = json.loads(content)
        notebook["metadata"]["language_info"] = delivered.metadata.get("language_info")
        # As nbformat writes it.
        content = (json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        pass  # it is no notebook any more, and so not what was delivered
    return hashlib.sha256(content).hexdigest()

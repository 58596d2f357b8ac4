"""Make the repository that students get."""

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from course_utils.coursework.author.prove import prove_solutions
from course_utils.coursework.source.notebooks import (
    NotebookError,
    read_notebook,
    source_notebooks,
    student_copy,
    write_notebook,
    write_whole,
)
from course_utils.coursework.source.solutions import add_solutions
from course_utils.paths import NOTEBOOKS_DIR, place_of

FILES = (
    ".gitattributes",
    ".gitignore",
    "LICENSE",
    "Makefile",
    "README.md",
    "environment.yml",
    "postBuild",
    "pyproject.toml",
    "requirements.lock",
)
FOLDERS = ("course_utils", "data")
MANIFEST = "release.json"
STAMP = (
    "> **Released with solutions.** Below a check stands the course's solution, folded, once your answer is right or you "
    "have run one of your own.\n"
)
# Sections of the README, and what it says of the tests, which are not released.
NOT_FOR_STUDENTS = re.compile(
    r"^## (?:Teaching with it|Changing it)\n.*?(?=^## )|^make test .*?\n|<!-- course -->.*?<!-- /course -->\n\n",
    re.MULTILINE | re.DOTALL,
)


def release(out: Path, source_dir: Path = NOTEBOOKS_DIR, *, with_solutions: bool = False) -> list[Path]:
    """Write a student repository to ``out`` and return its files; the same course gives the same bytes.

    It holds the student copies, the package, the data and what sets them up, and none of the solutions; or else all of
    them, hidden, so that a check can offer them to whoever has tried. README, manifest and notebooks then say so.

    Raises:
        NotebookError: ``out`` is there and not empty, or cannot be written, or its solutions are not what they should be.
    """
    project = source_dir.parent
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise NotebookError(f"{out} is there already and not empty: name a new folder, or remove it first.")
    partial, wrong = out.with_name(f".{out.name}.partial"), []
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        for name in FILES:
            if (project / name).is_file():
                shutil.copyfile(project / name, partial / name)
        readme = partial / "README.md"
        if readme.is_file():
            text = NOT_FOR_STUDENTS.sub("", readme.read_text(encoding="utf-8"))
            title, _, rest = text.partition("\n")
            text = f"{title}\n\n{STAMP}\n{rest}" if with_solutions else text
            readme.write_text(text, encoding="utf-8")
        for file in _files_of_folders(project):
            target = partial / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(project / file, target)
        for source in source_notebooks(source_dir):
            notebook = read_notebook(source)
            student = student_copy(notebook)
            if with_solutions:
                add_solutions(student, notebook)
                wrong += prove_solutions(student, notebook, source.name)
            target = partial / "notebooks" / place_of(source.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_notebook(student, target)
        if wrong:
            shutil.rmtree(partial, ignore_errors=True)
            raise NotebookError("\n".join(wrong))
        files = sorted(path for path in partial.rglob("*") if path.is_file())
        digests = {
            path.relative_to(partial).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
        }
        if with_solutions:
            digests = {"solutions": "folded"} | digests
        write_whole(partial / MANIFEST, (json.dumps(digests, indent=1) + "\n").encode())
        for path in partial.rglob("*"):
            os.chmod(path, 0o755 if path.is_dir() or path.name == "postBuild" else 0o644)
        if out.exists():
            out.rmdir()
        partial.replace(out)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise NotebookError(
            f"{out} cannot be written ({(error.strerror or str(error)).lower()}); nothing was left there."
        ) from None
    return sorted(path for path in out.rglob("*") if path.is_file())


def _files_of_folders(project: Path) -> list[Path]:
    """Return the files of the package and the data: those that are under version control, and not what else lies there.

    Where there is no version control, as in an unpacked archive, all files count but what Python and editors leave.
    """
    listed = (
        subprocess.run(
            ["git", "ls-files", "-z", "--", *FOLDERS],
            cwd=project,
            capture_output=True,
            env=os.environ | {"LC_ALL": "C"},
        )
        if shutil.which("git")
        else None
    )
    if listed and listed.returncode == 0 and listed.stdout:
        names = [Path(os.fsdecode(name)) for name in listed.stdout.split(b"\0") if name]
        return sorted(name for name in names if (project / name).is_file())
    files = [path for name in FOLDERS for path in (project / name).rglob("*") if path.is_file()]
    left = {"__pycache__", ".ipynb_checkpoints"}
    kept = (path.relative_to(project) for path in files if not left & set(path.parts) and not path.name.startswith("."))
    return sorted(path for path in kept if path.suffix != ".pyc")

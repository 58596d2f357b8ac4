"""Where the project's folders are, in a checkout and in an installed wheel."""

from pathlib import Path

PACKAGE_DIR = Path(__file__).resolve().parent
PROJECT_DIR = PACKAGE_DIR.parent
# Beside the package in a checkout, and in it in the wheel that Colab installs.
DATA_DIR = PACKAGE_DIR / "data" if (PACKAGE_DIR / "data").is_dir() else PROJECT_DIR / "data"
NOTEBOOKS_DIR = PROJECT_DIR / "notebooks"
DOCS_DIR = PROJECT_DIR / "docs"
PROJECTS = "projects"


def course_notebooks(folder: Path) -> list[Path]:
    """Return the lectures in ``folder`` and then its project starters, each in the order of their numbers."""
    return [*sorted(folder.glob("[0-9][0-9]_*.ipynb")), *sorted(folder.glob(f"{PROJECTS}/p[0-9]_*.ipynb"))]


def place_of(notebook: str) -> Path:
    """Return where the course's notebook of this name lies in its folder."""
    return Path(PROJECTS, notebook) if notebook.startswith("p") else Path(notebook)

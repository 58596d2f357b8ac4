"""pyproject.toml, requirements.lock and environment.yml tell the same story; the project stands alone."""

import ast
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from course_utils import bootstrap

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DIRECT = [Requirement(text) for text in chain(PROJECT["dependencies"], *EXTRAS.values())]
LOCK = (ROOT / "requirements.lock").read_text()
LOCKED = re.findall(
    r"^([a-z0-9._-]+)==(\S+)(?: ; .*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)((?:    #.*\n)*)", LOCK, re.M
)
TOP_LEVEL = {
    "notebooks",
    "course_utils",
    "data",
    "docs",
    "eslint.config.js",
    "package.json",
    "tests",
    "environment.yml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    ".ci",
    ".gitattributes",
    ".github",
    ".gitignore",
    ".pre-commit-config.yaml",
    "LICENSE",
    "Makefile",
    "postBuild",
    "pyproject.toml",
    "requirements.lock",
}


def tracked_files():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_lock_pins_and_hashes_every_line():
    pinned = re.findall(r"^[a-z0-9].*", LOCK, re.M)
    assert len(pinned) == len(LOCKED) > 100
    assert not re.search(r"https?://|--(?:extra-)?index-url|--find-links|file:", LOCK)


def test_lock_satisfies_every_direct_dependency():
    versions = {name: Version(version) for name, version, _, _ in LOCKED}
    for requirement in DIRECT:
        assert versions[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_lock_was_made_from_this_pyproject():
    """What the lock calls a direct dependency is what pyproject.toml does: neither more nor less."""
    direct = {name for name, _, _, via in LOCKED if f"{PROJECT['name']} (pyproject.toml)" in via}
    assert direct == {canonicalize_name(requirement.name) for requirement in DIRECT}


def test_one_jax_and_one_flax_for_all_pythons():
    names = [name for name, _, _, _ in LOCKED]
    assert all(names.count(name) == 1 for name in ("jax", "jaxlib", "flax", "optax", "numpy"))


def test_environment_yml_installs_the_same_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, with_pip = environment["dependencies"]
    assert SpecifierSet(python.removeprefix("python ")) == SpecifierSet(PROJECT["requires-python"])
    assert pip == "pip"
    assert with_pip == {"pip": ["--require-hashes", "-r requirements.lock"]}


def test_bootstrap_knows_the_same_pythons():
    allowed = SpecifierSet(PROJECT["requires-python"])
    for minor in range(8, 20):
        assert (f"3.{minor}" in allowed) == (bootstrap.OLDEST <= (3, minor) <= bootstrap.NEWEST)


def test_every_import_is_a_direct_dependency():
    sources = [
        path.read_text(encoding="utf-8") for room in ("course_utils", "tests") for path in (ROOT / room).rglob("*.py")
    ]
    for path in (ROOT / "notebooks").rglob("*.ipynb"):
        sources += [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    imported = set()
    for statement in (node for source in sources for node in ast.walk(ast.parse(source))):
        if isinstance(statement, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            imported.add(statement.module.partition(".")[0])
    modules = {
        "axe-playwright-python": "axe_playwright_python",
        "biopython": "Bio",
        "ipython": "IPython",
        "jupyter-client": "jupyter_client",
        "jupyter-server": "jupyter_server",
        "markdown-it-py": "markdown_it",
        "mdit-py-plugins": "mdit_py_plugins",
        "orbax-checkpoint": "orbax",
        "pillow": "PIL",
        "pyyaml": "yaml",
        "pyzmq": "zmq",
    }
    direct = {modules.get(requirement.name, requirement.name) for requirement in DIRECT}
    # Torch is a peer in the benchmarks, measured where it happens to be installed.
    assert imported - direct - set(sys.stdlib_module_names) - {"course_utils", "tests", "torch"} == set()


def test_bootstrap_names_the_pythons_it_can_use(monkeypatch):
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 1))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match=r"needs Python 3\.11 to 3\.13 and .* is Python 3\.9") as stopped:
        bootstrap.main()
    assert "\n" not in str(stopped.value)


def test_bootstrap_stops_before_it_fills_the_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(bootstrap, "VENV", str(tmp_path / "venv"))
    monkeypatch.setattr(bootstrap, "STAMP", str(tmp_path / "venv" / "stamp"))
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**8))
    with pytest.raises(SystemExit, match=r"has 0\.1 GB free and the course needs 3 GB") as stopped:
        bootstrap.main()
    assert "\n" not in str(stopped.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("ensurepip is not available", "python3-venv"),
        ("ERROR: Could not find a version", "Could not find a version"),
    ],
)
def test_bootstrap_explains_what_stopped_it(said, expected, monkeypatch, tmp_path):
    monkeypatch.setattr(bootstrap, "LOG", str(tmp_path / "log"))
    with pytest.raises(SystemExit, match=expected) as stopped:
        bootstrap.run([sys.executable, "-c", f"import sys; sys.exit({said!r})"], "the packages could not be installed")
    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize(("failing", "installs"), [("none", ["uv"]), ("uv", ["uv", "pip"]), ("download", ["pip"])])
def test_bootstrap_falls_back_on_pip(failing, installs, monkeypatch, tmp_path):
    """Where uv cannot be had, or finds no index, pip installs the same lock."""
    lock_of_uv, called = tmp_path / "uv.lock", []

    def call(command):
        is_uv = "uv" in command
        if bootstrap.LOCK in command:
            called.append("uv" if is_uv else "pip")
        else:
            assert not is_uv and str(lock_of_uv) in command and "--require-hashes" in command
        return int(failing == ("uv" if is_uv else "download" if bootstrap.LOCK not in command else ""))

    for name, value in {"VENV": tmp_path, "LOG": tmp_path / "log", "STAMP": tmp_path / "stamp"}.items():
        monkeypatch.setattr(bootstrap, name, str(value))
    monkeypatch.setattr(bootstrap, "call", call)
    pip = ["python", "-m", "pip", "install"]
    if not bootstrap.install_with_uv(pip):
        bootstrap.run([*pip, "--require-hashes", "-r", bootstrap.LOCK], "it failed")
    assert called == installs
    assert re.fullmatch(r"uv==[\d.]+ \\\n(    (--hash=sha256:\w+( \\)?|# .*)\n)+", lock_of_uv.read_text())


def test_bootstrap_can_be_read_by_an_old_python():
    source = (ROOT / "course_utils" / "bootstrap.py").read_text()
    assert not re.search(r"\bf\"|\bf'|->|:=|\bmatch \b|\bnonlocal\b|\[\*", source)


def test_nothing_but_the_usual_files_at_the_top():
    assert {path.relative_to(ROOT).parts[0] for path in tracked_files()} <= TOP_LEVEL


def test_the_project_speaks_of_itself_alone():
    paths = re.compile(r"(?<![\w.~])/(?:work|root|home(?!/student)|Users)/|\.\./shared")
    for path in tracked_files():
        if path.suffix not in {".npz", ".png"} and path != Path(__file__):
            found = paths.search(path.read_text(encoding="utf-8", errors="ignore"))
            assert not found, f"{path.relative_to(ROOT)} holds {found.group()!r}"

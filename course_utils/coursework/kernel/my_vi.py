"""``my_vi.py``: the library that a student writes in the course, a section for each exercise whose answer is right.

The course writes its sections and the imports that they need, whole, and no other line of the file.
"""

import ast
import builtins
import contextlib
import dis
import json
import os
import re
import sys
import tempfile
import types
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from course_utils.coursework.kernel import session
from course_utils.coursework.source.names import defined, names_of, statements, used
from course_utils.errors import CourseError
from course_utils.paths import PROJECTS, course_notebooks

FILE = "my_vi.py"
# The work folder's record of what was delivered.
MANIFEST = ".course.json"
IMPORTS = "imports"
LIBRARIES = {"numpy", "jax", "scipy"} | sys.stdlib_module_names
NOT_READ = f"An answer is judged by its notebook alone, without {FILE}: copy what it needs of it into a cell."
HEADER = '''\
"""What I wrote in the course on variational inference: each function as it was when its check said *right*.

The course writes between >>> and <<<. All other lines are yours, and stay.
"""
'''


class CannotKeepError(CourseError):
    """An answer does not stand alone, or does not fit into ``my_vi.py``."""


class Import(NamedTuple):
    """``import module as alias``, or ``from module import name as alias``."""

    module: str
    name: str | None
    alias: str | None

    @property
    def bound(self) -> str:
        """The name that it defines."""
        return self.alias or self.name or self.module.partition(".")[0]

    @property
    def target(self) -> str:
        """What that name stands for."""
        if self.name:
            return f"{self.module}.{self.name}"
        return self.module if self.alias else self.module.partition(".")[0]

    def value(self) -> Any:
        """Return what it would give now, or ``None`` if that has not been imported."""
        module = sys.modules.get(self.module)
        if self.name:
            return sys.modules.get(self.target) if self.target in sys.modules else getattr(module, self.name, None)
        return module if self.alias else sys.modules.get(self.target)


@dataclass(frozen=True)
class Section:
    """What ``my_vi.py`` is to hold of one exercise: its heading, its source, and the imports it needs."""

    heading: str
    source: str
    imports: frozenset[Import] = frozenset()


# --- from a notebook to a section -------------------------------------------------------------------------------------


def work_folder() -> Path | None:
    """Return the work folder in which the kernel runs; ``None`` elsewhere, and where answers are tested or graded."""
    if session.is_judged():
        return None
    return work_folder_of(Path.cwd())


class _Refusal:
    """What Python's import asks for a module first; it answers for ``my_vi`` alone, unless the student's cells wrote one."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        is_written_here = Path(FILE).is_file() and work_folder_of(Path.cwd()) is None
        if name == Path(FILE).stem and not is_written_here:
            raise ModuleNotFoundError(NOT_READ, name=name)


def refuse_imports() -> None:
    """Say why, if an answer that is judged imports ``my_vi``; in a work folder it would find what graders do not have."""
    if session.is_judged() and _Refusal not in sys.meta_path:
        sys.meta_path.insert(0, _Refusal)


def work_folder_of(folder: Path) -> Path | None:
    """Return the work folder whose notebooks lie in ``folder``; project starters have a folder of their own in it."""
    for place in (folder, folder.parent) if folder.name == PROJECTS else (folder,):
        if (place / MANIFEST).is_file():
            return place
    return None


def notebook_name(folder: Path, exercise: str | None) -> str | None:
    """Return the stem of the notebook that this kernel runs, as Jupyter or VS Code tells it or the exercise does."""
    for told in (os.environ.get("JPY_SESSION_NAME"), session.namespace().get("__vsc_ipynb_file__")):
        found = re.match(r"(?:\d\d|p\d)_\w+?(?=\W|-Copy|$)", Path(str(told).replace("\\", "/")).name) if told else None
        if found:
            return found[0]
    if not exercise:
        return None
    answer = f'"{exercise}-answer"'.encode()
    holders = [path for path in course_notebooks(folder) if answer in path.read_bytes()]
    return holders[0].stem if len(holders) == 1 else None


def section_of(name: str, function: Any, heading: str, kept_names: Iterable[str]) -> Section:
    """Return the section that keeps ``function``, known as ``name`` in the notebook.

    Args:
        name: the variable's name.
        function: the function, or what wraps it.
        heading: the notebook and the exercise.
        kept_names: what other sections define.

    Raises:
        CannotKeepError: it depends on what is neither in its cell, nor in another section, nor in a library.
    """
    cell = session.cell_of(function)
    lines, body = cell.splitlines(), statements(cell)
    parts = _parts(name, body)
    is_bare = all(
        isinstance(part, ast.FunctionDef) and not part.decorator_list for part in parts if name in defined(part)
    )
    if not parts or _reads_too_early(parts) or (is_bare and not isinstance(function, types.FunctionType)):
        raise CannotKeepError(f"`{name}` is not kept in {FILE}: write all of it in one cell, the answer's, to keep it.")
    needed = set().union(*map(used, parts)) - set().union(*map(defined, parts)) - set(dir(builtins))
    source = _text(parts, lines)
    imports, missing = set(), []
    for each in sorted(needed):
        found = _imports_of(each, source, cell)
        imports |= found
        if not found and each not in kept_names:
            missing.append(each)
    if missing:
        listed = ", ".join(f"`{each}`" for each in missing)
        raise CannotKeepError(
            f"`{name}` is not kept in {FILE}, because it uses {listed}: what it uses must be in its cell, in {FILE}, or come "
            f"from NumPy, JAX or SciPy."
        )
    return Section(heading, source, frozenset(imports))


def _parts(name: str, body: list[ast.stmt]) -> list[ast.stmt]:
    """Return the statements of a cell that define ``name``, and those that they need, in order; imports are not among them."""
    chosen, needed, waiting = set(), set(), [name]
    while waiting:
        each = waiting.pop()
        if each in needed:
            continue
        needed.add(each)
        places = [at for at, part in enumerate(body) if each in defined(part) and not _is_import(part)]
        whole = [at for at in places if isinstance(body[at], ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
        # An earlier definition has been replaced.
        for at in places if not whole else [at for at in places if at >= whole[-1]]:
            chosen.add(at)
            waiting += used(body[at]) | defined(body[at])
    return [body[at] for at in sorted(chosen)]


def _reads_too_early(parts: list[ast.stmt]) -> bool:
    """Return whether a statement, when it runs, reads a name that only a later one or itself defines: another cell did first."""
    to_come = set().union(*map(defined, parts))
    for part in parts:
        code = compile(ast.Module([part], []), FILE, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        if to_come & {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_NAME"}:
            return True
        to_come -= defined(part)
    return False


def _is_import(part: ast.stmt) -> bool:
    return isinstance(part, ast.Import | ast.ImportFrom)


def _text(parts: list[ast.stmt], lines: list[str]) -> str:
    """Return the source of statements as it was written, with the comments right above them."""
    texts, is_block = [], []
    for part in parts:
        first = min([part.lineno, *(each.lineno for each in getattr(part, "decorator_list", []))]) - 1
        while first and lines[first - 1].startswith("#") and not session.MARKER.match(lines[first - 1]):
            first -= 1
        texts.append("\n".join(line.rstrip() for line in lines[first : part.end_lineno]))
        is_block.append(isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef))
    text = texts[0]
    for at in range(1, len(texts)):
        text += ("\n\n\n" if is_block[at] or is_block[at - 1] else "\n") + texts[at]
    return text


def _imports_of(name: str, source: str, cell: str) -> set[Import]:
    """Return the imports from libraries that give ``name`` the value it has in the notebook; none if none does."""
    value = session.namespace().get(name)
    if value is None:
        return set()
    made = [each for text in [*session.cells(), cell] for each in imports_in(text) if each.bound == name]
    if isinstance(value, types.ModuleType) and not made:
        made = [Import(value.__name__, None, None if value.__name__ == name else name)]
    made = [each for each in made if each.value() is value and each.module.partition(".")[0] in LIBRARIES]
    # `import jax.flatten_util` is needed beside `import jax` where it is used.
    deep = {each for each in made if not each.alias and not each.name and "." in each.module}
    plain = [each for each in made if each not in deep]
    asked = {each for each in deep if each.module in source}
    return asked | {plain[-1]} if plain else asked or set(list(deep)[:1])


def imports_in(source: str) -> list[Import]:
    """Return the imports among the statements of a source, one for each name."""
    found = []
    for part in statements(source):
        if isinstance(part, ast.Import):
            found += [Import(each.name, None, each.asname) for each in part.names]
        elif isinstance(part, ast.ImportFrom) and part.module and not part.level:
            found += [Import(part.module, each.name, each.asname) for each in part.names if each.name != "*"]
    return found


# --- the file ---------------------------------------------------------------------------------------------------------


class _File:
    """The lines of a file, and where its sections begin and end."""

    def __init__(self, text: str):
        self.lines = re.findall(r"[^\n]*\n|[^\n]+", text)
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self.sections: dict[str, tuple[int, int]] = {}
        begun = None
        for at, line in enumerate(self.lines):
            marker = re.match(r"# (>>>|<<<) (.+?)\s*$", line)
            if marker and marker[1] == ">>>":
                begun = (marker[2], at)
            elif marker and begun and begun[0] == marker[2]:
                # Of two with the same heading the second is the student's copy.
                self.sections.setdefault(marker[2], (begun[1], at + 1))
                begun = None

    def body(self, heading: str) -> str:
        """Return what stands between a section's two marks."""
        start, end = self.sections[heading]
        return "".join(self.lines[start + 1 : end - 1])

    def others(self, *headings: str) -> str:
        """Return the text without some of the sections."""
        left_out = {at for each in headings if each in self.sections for at in range(*self.sections[each])}
        return "".join(line for at, line in enumerate(self.lines) if at not in left_out)

    def put(self, heading: str, content: str) -> str:
        """Return the text with a section's content replaced, or with a new section in its place by the notebooks' order."""
        block = f"# >>> {heading}\n{content}\n# <<< {heading}\n".replace("\n", self.newline)
        if heading in self.sections:
            start, end = self.sections[heading]
            return "".join(self.lines[:start]) + block + "".join(self.lines[end:])
        notebook = heading.partition(" · ")[0]
        kept = {each: place for each, place in self.sections.items() if each != IMPORTS}
        earlier = [end for each, (_, end) in kept.items() if each.partition(" · ")[0] <= notebook]
        if heading == IMPORTS:
            return self._insert(self._top(), block, above=1)
        if earlier or not kept:
            return self._insert(max(earlier, default=len(self.lines)), block)
        return self._insert(min(start for start, _ in kept.values()), block)

    def _insert(self, at: int, block: str, above: int = 2) -> str:
        """Return the text with ``block`` before line ``at``, and blank lines around it."""
        before, after = self.lines[:at], self.lines[at:]
        if before and not before[-1].endswith("\n"):
            before[-1] += self.newline
        blank_before = next((count for count, line in enumerate(reversed(before)) if line.strip()), above)
        blank_after = next((count for count, line in enumerate(after) if line.strip()), 2)
        gaps = self.newline * max(0, above - blank_before), self.newline * max(0, 2 - blank_after)
        return "".join(before) + gaps[0] + block + gaps[1] + "".join(after)

    def _top(self) -> int:
        """Return the line before which imports go: after a docstring, the comments in front, and imports of the future."""
        at = 0
        while (
            at < len(self.lines) and self.lines[at].startswith("#") and "".join(self.lines[: at + 1]).count(">>>") == 0
        ):
            at += 1
        for number, part in enumerate(ast.parse("".join(self.lines)).body):
            is_docstring = number == 0 and isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
            if not is_docstring and not (isinstance(part, ast.ImportFrom) and part.module == "__future__"):
                break
            at = part.end_lineno
        return at


def names_kept(text: str, apart_from: str = "") -> dict[str, str]:
    """Return the names that the sections of a file define, each with its section's heading."""
    file = _File(text)
    return {
        name: heading
        for heading in file.sections
        if heading not in (IMPORTS, apart_from)
        for name in sorted(names_of(defined, file.body(heading)))
    }


def with_section(text: str, section: Section) -> str:
    """Return the ``text`` of a file with ``section`` in it, and the imports of all sections at its top.

    Raises:
        CannotKeepError: the file is no Python, or means something else by a name that the section defines or imports.
    """
    text = text or HEADER
    try:
        ast.parse(text)
    except (SyntaxError, ValueError) as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise CannotKeepError(
            f"{FILE} has a syntax error{line}; nothing is added to it until that is mended."
        ) from None
    file = _File(text)
    elsewhere = file.others(section.heading, IMPORTS)
    its_own = names_of(defined, section.source)
    for name in sorted(its_own & names_of(defined, elsewhere)):
        where = names_kept(text, section.heading).get(name, "a line of your own")
        raise CannotKeepError(f"`{name}` is not kept: {FILE} has another `{name}`, in {where}. Rename one of the two.")
    before = imports_in(file.body(IMPORTS)) if IMPORTS in file.sections else []
    students = imports_in(elsewhere)
    means = {each.bound: each for each in [*before, *students]}
    for each in sorted(section.imports, key=lambda each: each.bound):
        other = means.get(each.bound)
        is_defined = each.bound in names_of(defined, elsewhere) and each.bound not in {own.bound for own in students}
        if is_defined or (other and other.target != each.target):
            meaning = other.target if other else "something of your own"
            raise CannotKeepError(
                f"{section.heading} is not kept: `{each.bound}` is {each.target} in your cell and {meaning} in {FILE}. "
                f"Use the same name for the same thing."
            )
    text = file.put(section.heading, f"{section.source}\n\n")
    needed = names_of(used, _File(text).others(IMPORTS))
    imports = {each for each in {*before, *section.imports} if each.bound in needed} - set(students)
    if imports or IMPORTS in file.sections:
        text = _File(text).put(IMPORTS, f"{_rendered(imports)}\n")
    if problem := _syntax_error(text):
        raise CannotKeepError(f"{section.heading} is not kept: with it {FILE} would have {problem}.")
    return text


def _syntax_error(text: str) -> str:
    """Return what keeps ``text`` from being compiled, empty if nothing does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, FILE, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = session.getattr_or_none(error, "lineno")
        return "a syntax error" + (f" in line {line}" if line else "")
    return ""


def _rendered(imports: set[Import]) -> str:
    """Return the import statements in the order that tools keep: the standard library first, ``from`` after ``import``."""
    groups = []
    for is_standard in (True, False):
        mine = [each for each in imports if (each.module.partition(".")[0] in sys.stdlib_module_names) == is_standard]
        lines = [
            f"import {each.module}" + (f" as {each.alias}" if each.alias else "")
            for each in sorted(mine, key=lambda each: (each.module, each.alias or ""))
            if not each.name
        ]
        for module in sorted({each.module for each in mine if each.name}):
            names = sorted((each.name, each.alias) for each in mine if each.module == module and each.name)
            lines.append(f"from {module} import " + ", ".join(f"{n} as {a}" if a else n for n, a in names))
        groups += ["\n".join(lines)] if lines else []
    return "\n\n".join(groups)


def read(folder: Path) -> str:
    """Return the text of ``my_vi.py``, empty where there is none.

    Raises:
        CannotKeepError: it cannot be read as text.
    """
    try:
        return (folder / FILE).read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else (error.strerror or str(error)).lower()
        raise CannotKeepError(f"{FILE} cannot be read ({reason}); save it as a text file in UTF-8.") from None


def keep(folder: Path, name: str, function: Any, exercise: str | None) -> bool:
    """Write a right answer's source into the folder's ``my_vi.py``, and return whether that changed the file.

    Raises:
        CourseError: it does not stand alone, or the file has no place for it or cannot be written.
    """
    text = read(folder)
    notebook = notebook_name(folder, exercise)
    if not notebook:
        raise CannotKeepError(f"`{name}` is not kept in {FILE}: this notebook's file is not named as it was delivered.")
    heading = f"{notebook} · {exercise or name}"
    section = section_of(name, function, heading, names_kept(text, heading))
    new = with_section(text, section)
    if new == text:
        return False
    write_whole(folder / FILE, new.encode())
    return True


def write_whole(path: Path, content: bytes) -> None:
    """Write so that no reader meets half of it; importing nbformat for this would cost a kernel seconds."""
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
        temporary.chmod(path.stat().st_mode if path.exists() else 0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary:
            with contextlib.suppress(OSError):
                temporary.unlink()
        reason = (error.strerror or str(error)).lower()
        raise CannotKeepError(
            f"{path.name} cannot be written ({reason}); what was there before is untouched."
        ) from None


_loaded: dict[str, dict[str, Any]] = {}


def load(folder: Path, name: str) -> Any:
    """Return what a section of the folder's ``my_vi.py`` calls ``name``; ``None`` if none does.

    Raises:
        CourseError: the file cannot be imported.
    """
    text = read(folder)
    if name not in names_kept(text):
        return None
    if text not in _loaded:
        module = types.ModuleType(FILE.removesuffix(".py"))
        try:
            exec(compile(text, str(folder / FILE), "exec"), module.__dict__)
        except (Exception, SystemExit) as error:
            raise CourseError(
                f"{FILE} cannot be imported ({_place(error, folder)}): mend it to have it run here."
            ) from None
        _loaded.clear()
        _loaded[text] = module.__dict__
    return _loaded[text].get(name)


def _place(error: BaseException, folder: Path) -> str:
    line, step = getattr(error, "lineno", None), error.__traceback__
    while step:
        if step.tb_frame.f_code.co_filename == str(folder / FILE):
            line = step.tb_lineno
        step = step.tb_next
    said = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}{f' in line {line}' if line else ''}: {said[:200]}"


# --- how much is written ----------------------------------------------------------------------------------------------


class Progress(NamedTuple):
    """The functions that ``my_vi.py`` holds, by name with their headings, and those still to come, with their notebooks."""

    written: Mapping[str, str]
    missing: Mapping[str, str]


def my_vi_progress(work_dir: Path) -> Progress:
    """Return how much of ``my_vi.py`` is written: of the functions that the notebooks in ``work_dir`` hand to ``yours``.

    Raises:
        CourseError: ``my_vi.py`` cannot be read.
    """
    kept, asked = names_kept(read(work_dir)), {}
    for path in course_notebooks(work_dir):
        for source in _code_cells(path):
            for name in _asked_for(source):
                asked.setdefault(name, path.stem)
    return Progress(
        {name: kept[name] for name in asked if name in kept},
        {name: stem for name, stem in asked.items() if name not in kept},
    )


def _code_cells(path: Path) -> list[str]:
    """Return the sources of a notebook's code cells; none of what is no notebook."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        cells = json.loads(path.read_bytes())["cells"]
        return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    return []


def _asked_for(source: str) -> Iterable[str]:
    for part in statements(source):
        for node in ast.walk(part):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "yours" and node.args:
                first = node.args[0]
                if isinstance(first, ast.Name):
                    yield first.id
                elif isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield first.value

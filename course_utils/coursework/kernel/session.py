"""What a kernel knows of a session: the cells that ran, the functions they define, and what the checks said of each."""

import ast
import dis
import functools
import linecache
import os
import re
import types
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from IPython import get_ipython

from course_utils.coursework.source.names import defined, names_of, used

USERS = "__main__"
MARKER = re.compile(r"^[ \t]*# The answer to (?P<exercise>.+?)-answer; keep this line\.", re.MULTILINE)
LIBRARY = re.compile(r"^[ \t]*(?:from|import)[ \t]+my_vi\b", re.MULTILINE)
RIGHT = "right"
MAX_PARTS = 1000
_DEFINES = r"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+{0}\b|^{0}[ \t]*="


# --- cells ------------------------------------------------------------------------------------------------------------


def namespace() -> dict[str, Any]:
    """Return the variables of the notebook; none where no notebook runs."""
    shell = get_ipython()
    return shell.user_ns if shell else {}


def is_judged() -> bool:
    """Return whether ``course check``, a grader or a test runs the answers, each in a process of its own."""
    return "COURSE_CHECK_SEED" in os.environ or "COURSE_CHECK_REFERENCE" in os.environ


def cells() -> list[str]:
    """Return the sources of the cells that were run so far, as written, the present one last."""
    shell = get_ipython()
    return [source for source in shell.history_manager.input_hist_raw if source] if shell else []


def syntax_error(source: str) -> SyntaxError | None:
    """Return why a cell does not compile, if it does not."""
    if source.lstrip().startswith("%%"):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            python = get_ipython().transform_cell(source)
            compile(python, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except SyntaxError as error:
        return error
    except (ValueError, RecursionError, MemoryError):
        pass
    return None


def why_it_did_not_run(names: list[str]) -> str:
    """Return in a sentence why the last cell that was to define one of ``names`` does not compile; nothing if all do.

    An older cell's error is none any more once a later one that defines the name compiles.
    """
    waiting = {name: re.compile(_DEFINES.format(re.escape(name)), re.MULTILINE) for name in names}
    # An answer may be broken in the very line that names it; the comment above it still tells whose answer it is.
    exercise = current_exercise()
    for source in reversed(cells()):
        found = [name for name, defines in waiting.items() if defines.search(source)]
        is_answer = exercise is not None and exercise_marked_in(source) == exercise
        if not found and not is_answer:
            continue
        if error := syntax_error(source):
            lines = source.splitlines()
            at = error.lineno if error.lineno and error.lineno <= len(lines) else None
            where = f" in line {at} (`{lines[at - 1].strip()[:80]}`)" if at else ""
            which = f"The cell with `{found[0]}`" if found else "The cell with your answer"
            return (
                f"{which} did not run: there is a syntax error{where}: {error.msg}. Mend it and run it, then this cell."
            )
        for name in found:
            del waiting[name]
        exercise = None if is_answer else exercise
        if not waiting and exercise is None:
            break
    return ""


def was_to_be_defined(name: str) -> bool:
    """Return whether a cell that ran was to define ``name``."""
    return any(name in names_of(defined, source) for source in cells())


# --- functions --------------------------------------------------------------------------------------------------------


def unwrapped(value: Any) -> Any:
    """Return the function under ``jax.jit``, ``jax.vmap``, ``functools.partial``, a method or another wrapper."""
    for _ in range(20):
        if isinstance(value, functools.partial):
            value = value.func
        elif isinstance(value, types.MethodType):
            value = value.__func__
        elif (inner := getattr_or_none(value, "__wrapped__")) is not None and not isinstance(value, type):
            value = inner
        else:
            break
    return value


def getattr_or_none(value: Any, name: str) -> Any:
    """Return an attribute of a value that a student's class may have made, whatever that class does when asked."""
    try:
        return getattr(value, name, None)
    except Exception:
        return None


def code_of(value: Any) -> types.CodeType | None:
    """Return the code of a function, wrapped or not, or of one of a class's own methods; or ``None`` if it has none."""
    value = unwrapped(value)
    if isinstance(value, types.FunctionType):
        return value.__code__
    owner = value if isinstance(value, type) else type(value)
    if owner.__module__ == USERS:
        methods = (each for each in vars(owner).values() if isinstance(each, types.FunctionType))
        return next((each.__code__ for each in methods if each.__globals__.get("__name__") == USERS), None)
    return None


def cell_of(value: Any) -> str:
    """Return the source of the cell that defines a function or class; empty if no cell of the notebook does."""
    function, code = unwrapped(value), code_of(value)
    if code is None or (isinstance(function, types.FunctionType) and function.__globals__.get("__name__") != USERS):
        return ""
    return "".join(linecache.getlines(code.co_filename))


def exercise_marked_in(source: str) -> str | None:
    """Return the name of the exercise that the comment at the top of an answer cell gives."""
    found = MARKER.search(source)
    return found["exercise"] if found else None


def globals_named_in(code: types.CodeType) -> set[str]:
    """Return the global names that ``code`` reads, at once or in the functions within it."""
    names = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return names.union(*(globals_named_in(part) for part in code.co_consts if isinstance(part, types.CodeType)))


@dataclass(frozen=True)
class Reach:
    """What a check's call reaches: values by the names it has for them, and the names that stand for nothing."""

    values: list[tuple[str, Any]]
    missing: list[str]

    def callables(self) -> Iterator[tuple[str, Any]]:
        """Yield the functions and classes among the values."""
        return ((name, value) for name, value in self.values if callable(value) and value is not None)


def reach(compute: Callable[[], Any], cell: str) -> Reach:
    """Return what ``compute`` reaches by its closure, its defaults and the globals it names.

    Functions of the check's own cell, whose file is called ``cell``, are looked into; an answer is not.
    """
    own_names = names_of(defined, "".join(linecache.getlines(cell)))
    found, missing, seen, waiting = [], [], set(), deque([("", compute)])
    while waiting:
        name, value = waiting.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        found.append((name, value))
        if isinstance(value, tuple | list) and len(value) <= MAX_PARTS:
            waiting += [(name, part) for part in value]
        elif isinstance(value, dict) and len(value) <= MAX_PARTS:
            waiting += [(name, part) for part in value.values()]
        elif isinstance(value, functools.partial):
            waiting += [(name, part) for part in (*value.args, *value.keywords.values())]
        function = unwrapped(value)
        if function is not value and name in own_names:
            # The check itself compiles or vectorises an answer.
            waiting.append((name, function))
        if not isinstance(function, types.FunctionType) or (function.__code__.co_filename != cell):
            continue
        code = function.__code__
        for variable, box in zip(code.co_freevars, function.__closure__ or ()):
            try:
                waiting.append((variable, box.cell_contents))
            except ValueError:
                missing.append(variable)
        waiting += [(name, default) for default in (function.__defaults__ or ())]
        builtins = function.__builtins__
        for variable in sorted(globals_named_in(code)):
            if variable in function.__globals__:
                waiting.append((variable, function.__globals__[variable]))
            elif variable not in builtins:
                missing.append(variable)
    return Reach(found, missing)


def variables_from_elsewhere(answer: Any) -> list[str]:
    """Return the variables, no functions or modules, that an answer cell reads and does not itself set.

    A grader runs an answer without the lecture's variables; those that the set-up defines are there.
    """
    source = cell_of(answer)
    if not exercise_marked_in(source):
        return []
    set_up = set().union(*(names_of(defined, each) for each in cells() if "import check" in each))
    known = namespace()
    candidates = names_of(used, source) - names_of(defined, source) - set_up
    return sorted(
        name
        for name in candidates & known.keys()
        if not name.startswith("_") and not isinstance(known[name], types.ModuleType) and not callable(known[name])
    )


def imports_library(answer: Any) -> bool:
    """Return whether an answer cell imports ``my_vi``, which a grader does not have."""
    source = cell_of(answer)
    return bool(exercise_marked_in(source)) and LIBRARY.search(source) is not None


# --- what the checks said ---------------------------------------------------------------------------------------------


@dataclass
class _Checked:
    """A function with, by check, the status at its last run; it is held so that no other gets its ``id``."""

    function: Any
    exercise: str | None
    said: dict[str, str] = field(default_factory=dict)


_checked: dict[int, _Checked] = {}
_exercise: tuple[int, str] | None = None


def begin_exercise(name: str) -> None:
    """Note that the present cell checks the exercise ``name``."""
    global _exercise
    _exercise = (_execution_count(), name)


def current_exercise() -> str | None:
    """Return the exercise that the present cell checks, once it has asked for its seed."""
    return _exercise[1] if _exercise and _exercise[0] == _execution_count() else None


def _execution_count() -> int:
    shell = get_ipython()
    return shell.execution_count if shell else 0


def remember(function: Any, check: str, status: str) -> None:
    """Note what the check called ``check`` says of ``function``, unless that is another exercise's answer."""
    marked, current = exercise_marked_in(cell_of(function)), current_exercise()
    if marked and current and marked != current:
        return
    entry = _checked.setdefault(id(function), _Checked(function, None))
    entry.exercise = current or marked or entry.exercise
    entry.said[check] = status


def status_of(function: Any) -> str | None:
    """Return ``right`` if each check of this very object said so at its last run, else what one said, or ``None``."""
    entry = _checked.get(id(function))
    said = list(entry.said.values()) if entry else []
    return next((status for status in said if status != RIGHT), RIGHT if said else None)


def exercise_of(function: Any) -> str | None:
    """Return the exercise whose check ``function`` was put to."""
    entry = _checked.get(id(function))
    return entry.exercise if entry else None

"""``yours``: let the lecture run on what the student wrote, where it is right."""

import html
from collections.abc import Callable
from typing import Any

from IPython.display import display

from course_utils.coursework.kernel import my_vi, session
from course_utils.coursework.kernel.session import RIGHT
from course_utils.errors import CourseError

UNTRIED = (None, "not attempted")


class Waiting:
    """What stands for an answer that is not right yet: it counts as false, and a call of it raises one sentence."""

    def __init__(self, name: str, sentence: str):
        self.name, self.sentence = name, sentence

    def __bool__(self) -> bool:
        return False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise CourseError(self.sentence)

    def __repr__(self) -> str:
        return self.sentence


def yours(
    function: Callable[..., Any] | str,
    instead: Callable[..., Any] | None = None,
    *,
    probe: Callable[[Callable[..., Any]], Any] | None = None,
) -> Any:
    """Return the student's function if it is right, else ``instead``, else something false that waits.

    A function is right if every visible check that was handed this very object said so at its last run. Bind the
    outcome to a name of its own, so that the check goes on seeing the student's::

        my_log_mean_exp = yours(log_mean_exp, instead=montecarlo.log_mean_exp)

    Where the course has none of its own, the experiment waits::

        my_mixture_elbo = yours("mixture_elbo")
        if my_mixture_elbo:
            plot(fit(my_mixture_elbo))

    While answers are judged, each in a process of its own, a function that no check has looked at there is returned as it is
    if there is nothing ``instead``. In a work folder a right answer's source is kept in ``my_vi.py``. Nothing is displayed
    when the student's function is taken and nothing is new; otherwise one line is.

    Args:
        function: the student's function; or its name, under which it is then looked for in this notebook and in ``my_vi.py``.
        instead: the course's own.
        probe: is handed the student's function and raises if the experiment could not run on it, for example
            ``lambda f: jax.eval_shape(jax.grad(f), example)``.
    """
    if isinstance(function, Waiting):
        function = function.name
    name = function if isinstance(function, str) else _name_of(function)
    mine = session.namespace().get(name) if isinstance(function, str) else function
    status = session.status_of(mine)
    folder = my_vi.work_folder()
    # Judged answers run in processes of their own, where no check has looked at the answers to other exercises.
    is_unknown = status is None and mine is not None and instead is None and session.is_judged()
    found = mine if status == RIGHT or is_unknown else None
    if found is not None and folder:
        _keep(folder, name, found)
    elif found is None and folder and isinstance(function, str):
        try:
            found = my_vi.load(folder, name)
        except CourseError as error:
            _say(str(error))
    if found is not None:
        if probe is None or _passes(probe, found):
            return found
        sentence = f"Your `{name}` is right. Write it with `jnp` to have it run here"
        sentence += "." if instead is None else ", where the course's own does for now."
    elif instead is not None:
        sentence = f"The course's own `{name}` runs here until yours is right."
        if status is None and mine is not None:
            sentence = f"The course's own `{name}` runs here: run the check of yours, then this cell."
    elif mine is None and session.is_judged():
        sentence = f"`{name}` is defined in no cell of this notebook. {my_vi.NOT_READ}"
    elif status in UNTRIED:
        sentence = f"Write `{name}`, run its check, then run this cell."
    else:
        sentence = f"Your `{name}` is not right yet: mend it, run its check, then run this cell."
    # Outside of a work folder, as in the source, nobody is there to write a function of an earlier notebook.
    if folder or instead is None or mine is not None:
        _say(sentence)
    return Waiting(name, sentence) if instead is None else instead


def _name_of(function: Any) -> str:
    """Return the name of the notebook's variable that holds ``function``, or else its own."""
    own = str(session.getattr_or_none(function, "__name__"))
    held = [name for name, value in session.namespace().items() if value is function and not name.startswith("_")]
    return own if own in held or not held else held[0]


def _passes(probe: Callable[[Any], Any], function: Any) -> bool:
    try:
        probe(function)
    except Exception:  # whatever a student's function raises where JAX traces it
        return False
    return True


def _keep(folder: Any, name: str, function: Any) -> None:
    try:
        if my_vi.keep(folder, name, function, session.exercise_of(function)):
            _say(f"Your `{name}` runs the lecture from here on; {my_vi.FILE} keeps it.", "✓")
    except CourseError as error:
        _say(str(error))


def _say(sentence: str, mark: str = "○") -> None:
    color = "#007a5a" if mark == "✓" else "#5f6368"
    parts = html.escape(sentence).split("`")
    # What stands between two backticks is code.
    text = "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))
    page = f'<div style="border-left: 4px solid {color}; padding: 0.2em 0.8em; margin: 0.2em 0">{mark} {text}</div>'
    display({"text/plain": f"{mark} {sentence}", "text/html": page}, raw=True)

"""Predictions with probabilities: locked in before a result is seen, and scored by what then happens.

The widget never holds the outcome. A locked prediction stays in the page until a kernel is there, and then in
``my_predictions.json`` in the work folder; elsewhere, as where a notebook is tested, none is kept.
"""

import html
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import traitlets
from IPython.display import display
from jaxtyping import Bool, Float
from scipy.stats import binomtest

from course_utils import plots
from course_utils.coursework.kernel import my_vi
from course_utils.errors import CourseError
from course_utils.widgets.explorer import FROM_PAGE, Explorer
from course_utils.widgets.modules import page_module

FILE = "my_predictions.json"
LEAST = 0.01
# With fewer predictions than this a curve would show nothing but chance.
ENOUGH = 8
BINS = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])


class Prediction(Explorer):
    """A question with a probability for each answer, which can be locked in; see :func:`predict`.

    ``locked`` holds the probabilities once they are locked in, and is empty before.
    """

    _esm = page_module("prediction.js")

    spec = traitlets.Dict().tag(sync=True)
    locked = traitlets.List(traitlets.Float()).tag(**FROM_PAGE)

    @traitlets.validate("locked")
    def _check_locked(self, proposal: dict[str, Any]) -> list[float]:
        locked = proposal["value"]
        if locked and not _fits(locked, self.spec["options"]):
            raise CourseError(f"locked is {locked}; expected {len(self.spec['options'])} probabilities with sum 1.")
        return locked

    def __repr__(self) -> str:
        return "\n".join([f"Predict. {self.spec['question']}", *(f"  ( ) {each}" for each in self.spec["options"])])


def predict(name: str, question: str, options: Sequence[str], *, then: str = "") -> Prediction:
    """Return a widget that asks for the probability of each of ``options``, of which one will come true.

    Args:
        name: tells the prediction from others of the notebook; :func:`came_true` goes by it.
        question: what is asked; what stands between two backticks is shown as code.
        options: two or more answers, of which exactly one will come true.
        then: a text that can be read once the prediction is locked in, or skipped; not the outcome, which is measured.
    """
    options = [str(option) for option in options]
    if len(options) < 2 or len(set(options)) < len(options):
        raise CourseError(f"The options of {name!r} are {options}; expected at least two, no two of them the same.")
    key, kept = _key(name), (_read_or_say() or {})
    kept = kept.get(key, {})
    locked = kept.get("probabilities", []) if kept.get("options") == options else []
    notebook = key.rpartition("/")[0]
    spec = {"name": name, "notebook": notebook, "question": question, "options": options, "then": then}
    widget = Prediction(spec=spec, locked=locked)
    _asked[key] = options

    def keep(change: dict[str, Any]) -> None:
        entries = _read()
        if change["new"]:
            entries[key] = {"question": question, "options": options, "probabilities": change["new"]}
        else:
            entries.pop(key, None)
        _write(entries)

    widget.observe(keep, "locked")
    return widget


def came_true(name: str, option: Any) -> None:
    """Score the prediction called ``name`` by what came true: it costs −log of the probability given to ``option``."""
    key, option = _key(name), str(option)
    entries = _read_or_say()
    if entries is None:
        return
    entry = entries.get(key)
    options = entry["options"] if entry else _asked.get(key, [])
    if options and option not in options:
        raise CourseError(f"{option!r} came true, which is none of the options of {name!r}: {', '.join(options)}.")
    happened = f"What happened: {option}."
    without = f"equal probabilities cost log {len(options)} = {math.log(len(options)):.2f} nats" if options else ""
    if entry is None:
        _say(f"{happened} No prediction was locked in" + (f"; {without}." if without else "."))
        return
    given = entry["probabilities"][options.index(option)]
    if entry.get("came_true") != option:
        entry["came_true"] = option
        _write(entries)
    cost = f"−log {given:.2f} = {-math.log(given):.2f} nats"
    _say(f"{happened} You gave it {100 * given:.0f} %, which costs {cost}; {without}.")


class Scored(NamedTuple):
    """A prediction whose outcome is known: the probabilities that were given, and which option came true."""

    probabilities: Float[np.ndarray, " options"]
    outcome: int

    @property
    def nats(self) -> float:
        """What it cost."""
        return -math.log(self.probabilities[self.outcome])


def scored_predictions() -> list[Scored]:
    """Return all predictions, of all notebooks, that :func:`came_true` has scored."""
    return [
        Scored(np.array(entry["probabilities"]), entry["options"].index(entry["came_true"]))
        for entry in _read().values()
        if entry.get("came_true") in entry["options"]
    ]


class Calibration(NamedTuple):
    """For each range of probabilities in which any was given: their mean, how often such an option came true, of how many."""

    given: Float[np.ndarray, " bins"]
    frequency: Float[np.ndarray, " bins"]
    count: Float[np.ndarray, " bins"]


def calibration_of(scored: Sequence[Scored]) -> Calibration:
    """Return how often options came true by the probability that they were given, in five ranges."""
    given = np.concatenate([each.probabilities for each in scored])
    true: Bool[np.ndarray, " all"] = np.concatenate(
        [np.arange(len(each.probabilities)) == each.outcome for each in scored]
    )
    where = np.clip(np.digitize(given, BINS) - 1, 0, len(BINS) - 2)
    used = [i for i in range(len(BINS) - 1) if (where == i).any()]
    means = [[values[where == i].mean() for i in used] for values in (given, true)]
    return Calibration(np.array(means[0]), np.array(means[1]), np.array([(where == i).sum() for i in used]))


def calibration() -> None:
    """Show what the scored predictions cost, and with enough of them whether they were calibrated."""
    if _read_or_say() is None:
        return
    scored = scored_predictions()
    if not scored:
        _say("No prediction has been scored yet.")
        return
    number = f"{len(scored)} prediction{'s' if len(scored) > 1 else ''}"
    mean, uniform = (np.mean(costs) for costs in zip(*((s.nats, math.log(len(s.probabilities))) for s in scored)))
    sentence = f"{number} scored: {mean:.2f} nats each on average; equal probabilities would have cost {uniform:.2f}."
    if len(scored) < ENOUGH:
        _say(f"{sentence} From {ENOUGH} on, a figure shows whether you are calibrated.")
        return
    _say(sentence)
    found = calibration_of(scored)
    hits = np.rint(found.frequency * found.count).astype(int)
    ends = [binomtest(k, int(n)).proportion_ci(method="wilson") for k, n in zip(hits, found.count)]
    figure, axis = plots.subplots(size=(4.4, 4.0))
    axis.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="calibrated")
    reach = [np.abs(found.frequency - [each[side] for each in ends]) for side in (0, 1)]
    axis.errorbar(found.given, found.frequency, reach, fmt="o", color=plots.BLUE, label="you, with 95 % intervals")
    for x, y, n in zip(*found):
        axis.annotate(f"{n}", (x, y), xytext=(6, -12), textcoords="offset points", fontsize=9)
    axis.set(xlabel="probability you gave", ylabel="fraction that came true", xlim=(0, 1), ylim=(-0.02, 1.02))
    axis.legend(loc="upper left")
    listed = "; ".join(f"{x:.2f} given, {y:.2f} came true, {n} options" for x, y, n in zip(*found))
    plots.show(figure, f"Your calibration over {number}: {listed}. On the diagonal the two would be equal.")


# --- what is kept -----------------------------------------------------------------------------------------------------


_session: dict[str, dict[str, Any]] = {}
_asked: dict[str, list[str]] = {}


def _key(name: str) -> str:
    notebook = my_vi.notebook_name(Path.cwd(), None)
    return f"{notebook}/{name}" if notebook else name


def _read() -> dict[str, dict[str, Any]]:
    """Return all predictions, by notebook and name; outside of a work folder those of this session."""
    folder = my_vi.work_folder()
    if folder is None:
        return json.loads(json.dumps(_session))
    try:
        entries = json.loads((folder / FILE).read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        entries = None
    if not isinstance(entries, dict):
        raise CourseError(f"{FILE} cannot be read: mend it, or delete it to begin anew.")
    return {key: entry for key, entry in entries.items() if _is_entry(entry)}


def _read_or_say() -> dict[str, dict[str, Any]] | None:
    """Return all predictions; ``None``, after a sentence on it, if their file cannot be read."""
    try:
        return _read()
    except CourseError as error:
        _say(str(error))
        return None


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("options"), list):
        return False
    return _fits(entry.get("probabilities"), entry["options"])


def _fits(probabilities: Any, options: Sequence[str]) -> bool:
    if not isinstance(probabilities, list) or len(probabilities) != len(options):
        return False
    numbers = all(isinstance(p, int | float) and LEAST - 1e-9 <= p <= 1 for p in probabilities)
    return numbers and math.isclose(sum(probabilities), 1, abs_tol=1e-6)


def _write(entries: dict[str, dict[str, Any]]) -> None:
    folder = my_vi.work_folder()
    if folder is None:
        _session.clear()
        _session.update(entries)
    else:
        my_vi.write_whole(folder / FILE, (json.dumps(entries, indent=1, ensure_ascii=False) + "\n").encode())


def _say(sentence: str) -> None:
    page = f'<div style="border-left: 4px solid #5f6368; padding: 0.2em 0.8em; margin: 0.2em 0">{html.escape(sentence)}</div>'
    display({"text/plain": sentence, "text/html": page}, raw=True)

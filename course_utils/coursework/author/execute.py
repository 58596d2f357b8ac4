"""Run a source notebook and store its outputs in the form in which they are committed."""

import copy
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from course_utils.coursework.author.stills import PNG, WIDGET_VIEW, add_stills, find_browser
from course_utils.coursework.source.bars import finished
from course_utils.coursework.source.notebooks import NotebookError, read_notebook, write_notebook
from course_utils.coursework.source.values import agree

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
METADATA = {
    "kernelspec": KERNELSPEC,
    "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
}
# Each kernel would warn that it talks to this process, on this machine, without encryption.
QUIET_KERNEL = ["--IPKernelApp.log_level=ERROR"]


@dataclass(frozen=True)
class Executed:
    """How long a notebook took, and whether a browser was there to draw stills of its explorers."""

    seconds: float
    has_stills: bool


def execute_notebook(path: Path, timeout: float = 600, *, stills_only: bool = False) -> Executed:
    """Run the notebook at ``path`` from top to bottom and store its outputs in it.

    In the place of a widget, an empty frame without the kernel that made it, stays a still of an explorer and the end
    of a progress bar. Left out is whatever differs between two runs of the same notebook without meaning anything, such
    as the times at which cells were run. If a cell fails, the file stays as it was.

    Args:
        path: the notebook.
        timeout: how many seconds a cell may take.
        stills_only: take from the run only the stills and the ends of progress bars; all other outputs stay as stored.

    Raises:
        NotebookError: the file is no notebook, or one of its cells raised an exception or took too long.
    """
    notebook = read_notebook(path)
    stored = copy.deepcopy(notebook)
    start = time.perf_counter()
    client = run_notebook(notebook, path, timeout)
    seconds = time.perf_counter() - start
    browser = find_browser()
    if browser:
        add_stills(client, browser, stored)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)
            cell.outputs = [kept for output in cell.outputs if (kept := _without_widget(output, client.widget_state))]
    if stills_only:
        _take_stills(stored, notebook)
        notebook = stored
    kept = {name: value for name, value in notebook.metadata.items() if name == "course"}
    notebook.metadata = nbformat.from_dict(METADATA | kept)
    nbformat.validate(notebook)
    write_notebook(notebook, path)
    return Executed(seconds, browser is not None)


def run_notebook(notebook: NotebookNode, path: Path, timeout: float = 600) -> NotebookClient:
    """Run ``notebook``, which lies at ``path``, and return the client that did, with its outputs and widgets.

    Raises:
        NotebookError: one of its cells raised an exception or took longer than ``timeout`` seconds.
    """
    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=True,
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=QUIET_KERNEL,
    )
    try:
        client.execute()
    except CellExecutionError as error:
        raise NotebookError(f"{path} does not run: {error.ename}: {error.evalue}\n{error.traceback}") from None
    except (CellTimeoutError, DeadKernelError) as error:
        raise NotebookError(f"{path} does not run: {str(error).splitlines()[0]}") from None
    return client


def _without_widget(output: NotebookNode, states: dict[str, Any]) -> NotebookNode | None:
    """Return ``output`` without a widget's view, or ``None`` if it is only the progress bar of a finished run."""
    if output.output_type == "stream" and output.name == "stderr" and "\r" in output.text:
        return None
    if WIDGET_VIEW in output.get("data", {}):
        box = states.get(output.data.pop(WIDGET_VIEW)["model_id"], {})
        parts = [states.get(part.removeprefix("IPY_MODEL_"), {}) for part in box.get("children", [])]
        if all(part["value"] == part["max"] for part in parts if "max" in part):
            output.data["text/plain"] = finished(output.data.get("text/plain", ""))
    return output


def _take_stills(stored: NotebookNode, fresh: NotebookNode) -> None:
    """Put the stills and ends of progress bars of ``fresh`` into the outputs of ``stored`` that say the same."""
    for old, new in zip(stored.cells, fresh.cells, strict=True):
        for output, drawn in zip(old.get("outputs", []), new.get("outputs", [])):
            text = drawn.get("data", {}).get("text/plain")
            if text is None or not agree(output.get("data", {}).get("text/plain"), text):
                continue
            if PNG in drawn.data and "text/html" not in drawn.data:
                output.data[PNG], output.metadata = drawn.data[PNG], drawn.metadata
            elif finished(output.data["text/plain"]) == text:
                output.data["text/plain"] = text


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(f"{argument}: {execute_notebook(Path(argument)).seconds:.1f} s")

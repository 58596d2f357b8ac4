"""Run a source notebook and store its outputs in the form in which they are committed."""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from course_utils.coursework.notebooks import NotebookError, read_notebook, write_notebook

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def execute_notebook(path: Path, timeout: float = 600) -> float:
    """Run the notebook at ``path`` from top to bottom, store its outputs in it, and return the seconds it took.

    Widget views are left out, because they are empty frames without the kernel that made them; so is whatever differs
    between two runs of the same notebook without meaning anything, such as the times at which cells were run. If a
    cell fails, the file stays as it was.

    Raises:
        NotebookError: the file is no notebook, or one of its cells raised an exception or took too long.
    """
    notebook = read_notebook(path)
    start = time.perf_counter()
    client = NotebookClient(
        notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=False, record_timing=False, coalesce_streams=True,
    )  # fmt: skip
    try:
        client.execute()
    except CellExecutionError as error:
        raise NotebookError(f"{path} does not run: {error.ename}: {error.evalue}\n{error.traceback}") from None
    except (CellTimeoutError, DeadKernelError) as error:
        raise NotebookError(f"{path} does not run: {str(error).splitlines()[0]}") from None
    seconds = time.perf_counter() - start
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.pop("execution", None)
            cell.outputs = [output for output in map(_without_widget, cell.outputs) if output]
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": KERNELSPEC,
            "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"},
            **{name: value for name, value in notebook.metadata.items() if name == "course"},
        }
    )
    nbformat.validate(notebook)
    write_notebook(notebook, path)
    return seconds


def _without_widget(output: NotebookNode) -> NotebookNode | None:
    """Return ``output`` without a widget's view, or ``None`` if it is only the progress bar of a finished run."""
    if output.output_type == "stream" and output.name == "stderr" and "\r" in output.text:
        return None
    if WIDGET_VIEW in output.get("data", {}):
        del output.data[WIDGET_VIEW]
    return output


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(f"{argument}: {execute_notebook(Path(argument)):.1f} s")

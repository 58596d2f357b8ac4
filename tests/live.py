"""A real kernel that runs one cell after another, as JupyterLab would have it do."""

import contextlib
import os
from unittest import mock

from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from course_utils.coursework.kernel.checks import MIME, REFERENCE_VARIABLE, SEED_VARIABLE


class Live:
    """A kernel; what a cell displays comes back from :meth:`run`."""

    def __init__(self, client):
        self.client, self.count = client, 0

    def run(self, source):
        """Run a cell and return its outputs; an exception in it is one of them."""
        self.count += 1
        self.client.nb.cells = [new_code_cell(source)]
        return self.client.execute_cell(self.client.nb.cells[0], 0).outputs

    def records(self, source):
        """Run a cell and return the records of its checks; nothing else may go wrong in it."""
        outputs = self.run(source)
        assert not [output for output in outputs if output.output_type == "error"], outputs
        return [output.data[MIME] for output in outputs if MIME in output.get("data", {})]

    def check(self, source):
        """Run a cell with one check and return its status and explanation."""
        (record,) = self.records(source)
        return record["status"], record["explanation"]

    def text(self, source):
        """Run a cell and return the plain text of all its outputs; an exception in it fails the test."""
        outputs = self.run(source)
        assert not [output for output in outputs if output.output_type == "error"], outputs
        return "".join(output.get("text") or output.data["text/plain"] + "\n" for output in outputs)


@contextlib.contextmanager
def live_kernel(folder, **environment):
    """A kernel with ``folder`` as its working directory, for as long as the ``with`` statement lasts."""
    kept = {name: value for name, value in os.environ.items() if name not in (SEED_VARIABLE, REFERENCE_VARIABLE)}
    client = NotebookClient(
        new_notebook(),
        timeout=300,
        kernel_name="python3",
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    )
    with mock.patch.dict(os.environ, kept | environment, clear=True), client.setup_kernel():
        yield Live(client)

"""Several sets of answers to the same exercises, one after another in one kernel, because kernels are slow to start."""

import copy

from course_utils.coursework.notebooks import with_answers


def numbered(notebook, number):
    """Return ``notebook`` with ``number`` in the ids of the cells of its exercises."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if "nbgrader" in cell.metadata:
            cell.id = f"{cell.id}-{number}"
    return notebook


def in_rounds(source, rounds):
    """Return one notebook with the setup, then answers and checks for each of ``rounds``."""
    first, *others = (with_answers(numbered(source, number), answers) for number, answers in enumerate(rounds))
    for other in others:
        first.cells += [cell for cell in other.cells if "nbgrader" in cell.metadata]
    return first

"""Measure everything and print one table; names of parts on the command line measure only these.

A part that fails says so in the table, at the end of which the exit status is 1; what the others measured is kept.
"""

import sys
import traceback
from importlib import import_module

from rich.console import Console
from rich.table import Table

# Imported when it is their turn: a machine with a GPU need not have a browser, nor what grades notebooks.
PARTS = {
    "training": ("training", "run"),
    "gpu": ("training", "gpu_rows"),
    "sliders": ("sliders", "run"),
    "playground": ("playground", "run"),
    "startup": ("startup", "run"),
    "grading": ("grading", "run"),
}


def main() -> None:
    names = sys.argv[1:] or list(PARTS)
    for name in names:
        if name not in PARTS:
            sys.exit(f"There is no benchmark called {name}; there are {', '.join(PARTS)}.")
    table, failed = Table("What", "Median", "Compared"), False
    for name in names:
        print(f"Measuring: {name} …", file=sys.stderr)
        try:
            module, function = PARTS[name]
            rows = getattr(import_module(f"tests.benchmarks.{module}"), function)()
        except Exception as error:
            traceback.print_exc()
            rows, failed = [(name, "failed", f"{type(error).__name__}, see above")], True
        for row in rows:
            table.add_row(*row)
        table.add_section()
    Console(width=110).print(table)
    sys.exit(failed)


if __name__ == "__main__":
    main()

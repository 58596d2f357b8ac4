"""Measure everything and print one table; names of parts on the command line measure only these."""

import sys

from rich.console import Console
from rich.table import Table

from tests.benchmarks import sliders, startup, training

PARTS = {"training": training.run, "sliders": sliders.run, "startup": startup.run}


def main() -> None:
    table = Table("What", "Median", "Compared")
    for name in sys.argv[1:] or PARTS:
        if name not in PARTS:
            sys.exit(f"There is no benchmark called {name}; there are {', '.join(PARTS)}.")
        print(f"Measuring: {name} …", file=sys.stderr)
        for row in PARTS[name]():
            table.add_row(*row)
        table.add_section()
    Console(width=110).print(table)


if __name__ == "__main__":
    main()

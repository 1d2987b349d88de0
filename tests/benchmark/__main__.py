"""`python -m tests.benchmark [PART ...]`: the table, or some parts of it; `--rows` and `--rounds` for a shorter one."""

import argparse
import compileall
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.benchmark import commands, scoring
from tests.benchmark.measure import Work, cores, rows
from tests.benchmark.peers import peers
from tests.budgets import SOURCE

PARTS: Mapping[str, Callable[[Path, int], Iterator[Work]]] = {
    "check": commands.check,
    "projects": commands.projects,
    "history": commands.history,
    "backtest": commands.backtest,
    "monitor": commands.monitor,
    "scripts": scoring.scripts,
    "shapes": scoring.shapes,
    "growth": scoring.growth,
    "peers": peers,
}
LIBRARIES = ("scikit-learn", "pandas", "pyarrow", "numpy")


def main() -> None:
    """Measure, and print the table as it comes."""
    flags = argparse.ArgumentParser(prog="python -m tests.benchmark", description=__doc__)
    flags.add_argument("--rows", type=int, default=1_000_000, help="of the holdout (1,000,000)")
    flags.add_argument("--rounds", type=int, default=5, help="of both in turn, after one that does not count (5)")
    flags.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=f"of {', '.join(PARTS)} (all)")
    asked = flags.parse_args()
    compileall.compile_dir(SOURCE, quiet=1)  # as pip does: a process that scores keeps nothing that it compiles
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    print(f"{datetime.now(UTC):%Y-%m-%d}, {cores()} cores ({platform.machine()}), Python {platform.python_version()},")
    print(f"{libraries}; {asked.rounds} rounds: median (least to most)\n")
    with tempfile.TemporaryDirectory() as directory:
        for part in asked.parts or PARTS:
            for work in PARTS[part](Path(directory), asked.rows):
                print(*rows(work, asked.rounds), sep="\n", flush=True)


if __name__ == "__main__":
    main()

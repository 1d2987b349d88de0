"""Does every kind of harm to retrain, at full size, and prints what was done and counted: `make survive`.

With names of modules, only those: `python -m tests.survival kill overlap`.
"""

import sys
import traceback
from importlib import import_module
from time import monotonic

KINDS = ("kill", "disk", "overlap", "races", "readers", "endpoints", "fuzz", "secrets", "clock", "year", "million")


def main(names: list[str]) -> int:
    """The number of kinds of harm that did not leave retrain as they should."""
    failed = 0
    for name in names or KINDS:
        began = monotonic()
        print(f"### {name}", flush=True)
        try:
            for line in import_module(f"tests.survival.{name}").figures():
                print(f"- {line}", flush=True)
        except Exception:
            failed += 1
            traceback.print_exc(file=sys.stdout)
        print(f"({monotonic() - began:.0f} s)\n", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Prints the figures of the guide in Markdown; progress goes to standard error."""

import sys
from time import monotonic

from tests.simulations import figures
from tests.simulations.tables import markdown


def main() -> None:
    """Every section: its table and its notes."""
    began = monotonic()

    def progress(what: str) -> None:
        print(f"{monotonic() - began:4.0f} s  {what}", file=sys.stderr, flush=True)

    for title, section in figures(progress):
        print(f"### {title}\n\n{markdown(section.rows, section.table)}\n")
        print("".join(f"- {note}\n" for note in section.notes))
    progress("done")


if __name__ == "__main__":
    main()

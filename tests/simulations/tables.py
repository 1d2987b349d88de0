"""Figures with their Monte Carlo error, and tables of them in Markdown."""

from math import ceil, floor, log10, sqrt
from typing import NamedTuple

LEAST = 1e-6
"""Below this a figure is shown as below it."""


class Figure(NamedTuple):
    """A simulated number, and half the width of its 95 % Monte Carlo interval."""

    value: float
    half: float


Table = dict[str, dict[str, Figure]]
"""Row → column → figure."""


def interval(hits: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of a probability that was met `hits` times (Wilson 1927); z = 3.29 gives 99.9 %."""
    met = hits / of
    middle, reach = met + z * z / (2 * of), z * sqrt(met * (1 - met) / of + z * z / (4 * of * of))
    return (middle - reach) / (1 + z * z / of), (middle + reach) / (1 + z * z / of)


def of_share(hits: int, of: int) -> Figure:
    """The figure of a probability that was met `hits` times."""
    low, high = interval(hits, of)
    return Figure(hits / of, (high - low) / 2)


def markdown(corner: str, table: Table) -> str:
    """The table in Markdown."""
    columns = list(next(iter(table.values())))
    lines = [f"| {corner} | {' | '.join(columns)} |", "| --- |" + " ---: |" * len(columns)]
    for row, figures in table.items():
        lines.append(f"| {row} | {' | '.join(shown(figures[column]) for column in columns)} |")
    return "\n".join(lines)


def shown(figure: Figure) -> str:
    """The figure in text, to the digits that its error leaves and three at most: `30,800`, `1.48`, `0.0028`."""
    value, half = figure
    if not value and not half:
        return "0"
    if abs(value) < LEAST:
        return f"below {LEAST:f}" if half < LEAST else f"{0:.{max(0, floor(-log10(half)))}f}"
    digits = 2 - floor(log10(abs(value)))
    if half:
        digits = min(digits, ceil(-log10(half)))
    return f"{round(value, digits) + 0.0:,.{max(0, digits)}f}"

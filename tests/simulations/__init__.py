"""Seeded simulations of the rules that decide: the figures of the guide.

`python -m tests.simulations` prints them, `figures()` has them as numbers.
"""

from collections.abc import Callable
from typing import NamedTuple

from tests.simulations import (
    damage,
    delta,
    drift,
    gates,
    grid,
    groups,
    probation,
    promotions,
    rare,
    respelt,
    triggers,
    tuned,
    uneven,
    unopposed,
)
from tests.simulations.tables import Table

RATIOS, DELAYS = (
    "False trainings over the tolerated number, at F1 = threshold",
    "Delay over that of the fastest rule with as many false trainings",
)
PROBATION = "Rolled back within 7 days, "
PROMOTIONS, DELTA = "Fifty challengers that are no better", "The one-sided error of a single comparison"


OUTSIDE: dict[str, tuple[str, Callable[[float], Table]]] = {
    "Equal models, where few rows decide": ("what is compared", rare.table),
    "Better models, one comparison": ("what is compared", rare.power),
    "Equal models, rows that belong together": ("rows", groups.table),
    "A holdout of ten comparisons, in another file": ("what is written anew", respelt.once),
    "Fifty challengers, the file written anew for each": ("the count of `lifetime`", respelt.fifty),
    "Challengers that are kept by what is disclosed": ("new in each challenger", tuned.table),
    "The first model, with a floor of 0.85": ("true F1", unopposed.table),
    "Windows that differ more than chance explains": ("windows of 1,000 rows", uneven.dispersed),
    "Rolled back though as good, where windows differ": ("windows of 1,000 rows", uneven.probation),
    "Rolled back within 7 days where the world moves": ("the new champion is", probation.moving),
    "Windows that overlap, and a mix that moves": ("windows of 1,000 rows", uneven.overlapping),
    "Twenty features, daily windows": ("sizes", drift.table),
    "What announces damage": ("what has changed", damage.table),
    "What each gate is worth": ("the loop", gates.table),
    "Fresh rows where nothing changes": ("a training every window", gates.unchanged),
    "Worse later, by the z of the verdict": ("gain over its standard error", gates.later),
}
"""What real data do to the rules: title → what the rows are, and the table for an effort."""


class Section(NamedTuple):
    """A table, what its rows are, and the sentences below it."""

    rows: str
    table: Table
    notes: tuple[str, ...] = ()


def figures(effort: float = 1.0, progress: Callable[[str], object] = lambda _: None) -> dict[str, Section]:
    """Title → section; a smaller effort is faster, and the half widths of its intervals are larger."""
    sections = {}
    for monitor in triggers.MONITORS:
        progress(monitor)
        sections[monitor] = Section("rule, threshold 0.85", triggers.table(monitor, effort))
    measured, waited = grid.measure(effort, progress)
    sections[RATIOS] = Section("information in a window (I0)", grid.of_ratios(measured))
    sections[DELAYS] = Section("real drop", grid.of_delays(waited), grid.missed(measured, waited))
    for pace in probation.PACES:
        progress(PROBATION + pace)
        sections[PROBATION + pace] = Section("the new champion is", probation.table(pace, effort))
    progress(PROMOTIONS)
    sections[PROMOTIONS] = Section("rule", promotions.table(effort))
    progress(DELTA)
    met = delta.measure(effort)
    sections[DELTA] = Section("nominal", delta.table(met), delta.told(met))
    for title, (rows, table) in OUTSIDE.items():
        progress(title)
        sections[title] = Section(rows, table(effort))
    return sections

"""Seeded simulations of the rules that decide: the figures of the guide.

`python -m tests.simulations` prints them, `SECTIONS` has each table as numbers.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
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

Progress = Callable[[str], object]
"""Called with what is simulated next."""
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


_measured = cache(grid.measure)


def _of_triggers(monitor: str, effort: float, _progress: Progress) -> Section:
    return Section("rule, threshold 0.85", triggers.table(monitor, effort))


def _ratios(effort: float, progress: Progress) -> Section:
    return Section("information in a window (I0)", grid.of_ratios(_measured(effort, progress)[0]))


def _delays(effort: float, progress: Progress) -> Section:
    measured, waited = _measured(effort, progress)
    return Section("real drop", grid.of_delays(waited), grid.missed(measured, waited))


def _of_probation(pace: str, effort: float, _progress: Progress) -> Section:
    return Section("the new champion is", probation.table(pace, effort))


def _promotions(effort: float, _progress: Progress) -> Section:
    return Section("rule", promotions.table(effort))


def _delta(effort: float, _progress: Progress) -> Section:
    met = delta.measure(effort)
    return Section("nominal", delta.table(met), delta.told(met))


def _outside(title: str, effort: float, _progress: Progress) -> Section:
    rows, table = OUTSIDE[title]
    return Section(rows, table(effort))


SECTIONS: dict[str, Callable[[float, Progress], Section]] = {
    **{monitor: partial(_of_triggers, monitor) for monitor in triggers.MONITORS},
    RATIOS: _ratios,
    DELAYS: _delays,
    **{PROBATION + pace: partial(_of_probation, pace) for pace in probation.PACES},
    PROMOTIONS: _promotions,
    DELTA: _delta,
    **{title: partial(_outside, title) for title in OUTSIDE},
}
"""Title → the section, for an effort: a smaller one is faster, and the half widths of its intervals are larger."""


def silent(_what: str) -> None:
    """Report no progress."""


def figures(progress: Progress = silent) -> Iterator[tuple[str, Section]]:
    """Every title with its section, at full effort."""
    for title, section in SECTIONS.items():
        progress(title)
        yield title, section(1.0, progress)

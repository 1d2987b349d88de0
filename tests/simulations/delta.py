"""How often a single comparison promotes a challenger that is exactly as good as the champion."""

from itertools import product

import numpy as np

from retrain.core.judge import judge
from retrain.core.rules import Gate, Guarantee
from retrain.core.verdicts import Cell, Ruling, Tally
from tests.simulations.tables import Figure, Table, of_share, shown
from tests.simulations.windows import POSITIVES, Floats, Ints

OWN = 0.5
"""The share of each model's errors that the other one does not make."""
ROWS, F1 = (500, 2000, 10_000), (0.70, 0.85, 0.95)
NOMINAL = (0.05, 0.0025)
CELLS = tuple((truth, champion, challenger) for truth, champion, challenger in product((0, 1), repeat=3))
"""(truth, champion's prediction, challenger's prediction)."""

Met = dict[tuple[int, float], dict[float, tuple[int, int]]]
"""(rows, F1) → nominal level → promotions and draws."""


def chances(f1: float) -> Floats:
    """The chance of every cell for two models of this F1, with precision = recall: symmetric in the two."""
    errors = POSITIVES * (1 - f1)  # missed positives, and as many false alarms
    own, both = OWN * errors, (1 - OWN) * errors
    of_class = {1: POSITIVES, 0: 1 - POSITIVES}
    return np.array(
        [
            own if champion != challenger else both if champion != truth else of_class[truth] - 2 * own - both
            for truth, champion, challenger in CELLS
        ]
    )


def tally(counts: Ints) -> Tally:
    """The tally with these rows in the eight cells."""
    cells = (Cell(*cell, int(rows)) for cell, rows in zip(CELLS, counts, strict=True) if rows)
    return Tally(tuple(cells), "holdout")


def scores(counts: Ints) -> tuple[Floats, Floats]:
    """F1 of the champion and of the challenger; the last axis of `counts` are the eight cells."""
    truth, champion, challenger = np.array(CELLS).T

    def f1(predicted: Ints) -> Floats:
        return np.asarray(2 * (counts @ (truth * predicted)) / (counts @ (truth + predicted)))

    return f1(champion), f1(challenger)


def promoted(counts: Ints, level: float) -> Ints:
    """Which of these draws the judge promotes at this one-sided level.

    It is asked where the challenger scored higher: no other passes a level below 0.5.
    """
    gate = Gate(alpha=level, guarantee=Guarantee.PER_TEST)
    champion, challenger = scores(counts)
    asked = np.flatnonzero(challenger > champion)
    return np.array([draw for draw in asked if judge(tally(counts[draw]), gate, 1).ruling is Ruling.PROMOTE], dtype=int)


def errors(rows: int, f1: float, draws: int) -> dict[float, tuple[int, int]]:
    """Nominal level → promotions and draws, for a holdout of so many rows. A draw that fails one fails the stricter."""
    rng = np.random.default_rng([rows, round(1000 * f1)])
    counts = rng.multinomial(rows, chances(f1), draws)
    met = {}
    for level in sorted(NOMINAL, reverse=True):
        counts = counts[promoted(counts, level)]
        met[level] = (len(counts), draws)
    return met


def measure(effort: float = 1.0) -> Met:
    """Every cell of the grid of rows and F1."""
    return {(rows, f1): errors(rows, f1, round(60_000 * effort)) for rows, f1 in product(ROWS, F1)}


def table(met: Met) -> Table:
    """The smallest and the largest share promoted over the grid, by nominal level."""
    return {
        f"{level:g}": {"smallest": min(shares.values()), "largest": max(shares.values())}
        for level, shares in _shares(met).items()
    }


def told(met: Met) -> tuple[str, ...]:
    """Where the smallest and the largest are, and where the level is exceeded by more than the Monte Carlo error."""
    notes = []
    for level, shares in _shares(met).items():
        low, high = min(shares, key=lambda cell: shares[cell]), max(shares, key=lambda cell: shares[cell])
        notes.append(f"At {level:g} the smallest is that of {_named(low)}, the largest that of {_named(high)}.")
        over = [cell for cell, figure in shares.items() if figure.value - figure.half > level]
        above = "; ".join(f"{_named(cell)} ({shown(shares[cell])})" for cell in over)
        notes.append(f"Above {level:g} by more than the Monte Carlo error: {above or 'none'}.")
    return tuple(notes)


def _shares(met: Met) -> dict[float, dict[tuple[int, float], Figure]]:
    return {level: {cell: of_share(*found[level]) for cell, found in met.items()} for level in NOMINAL}


def _named(cell: tuple[int, float]) -> str:
    return f"{cell[0]:,} rows at F1 {cell[1]:.2f}"

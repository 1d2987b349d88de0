"""How often a challenger that is no better is promoted where few rows decide: a rare class, few discordant rows.

The textbook bounds are the delta method on the tally as it is; the program's are those of the tally with one more row
of each class won, and one lost.
"""

from collections.abc import Iterator
from itertools import product
from math import sqrt
from typing import NamedTuple

import numpy as np

from retrain.core.bounds import quantile
from retrain.core.judge import alpha_of, judge
from retrain.core.rules import Average, Gate, Guarantee
from retrain.core.score import score_of
from retrain.core.verdicts import Cell, Ruling, Tally
from tests.simulations.tables import Figure, Table, of_share
from tests.simulations.windows import Ints

LEVEL, CHALLENGERS = 0.0025, 50
TEXTBOOK, PROGRAM = "textbook bounds", "the bounds of `promote`"
FIFTY = ", one of 50 comparisons (bound 0.05)"


class World(NamedTuple):
    """A holdout with so many rows of each class, and models that are right on so large a share of each.

    A wrong prediction is another class, by its rows. Two models agree on a share `same` of the rows, whatever is true;
    on the others they err independently. The challenger is right on a share `gain` more of each class.
    """

    rows: tuple[int, ...]
    right: tuple[float, ...]
    average: Average
    same: float = 0.0
    textbook_least: int = 0
    gain: float = 0.0


WORLDS = {
    "macro F1, three classes of 1,000, 998 and 2 rows": World((1000, 998, 2), (0.7, 0.7, 0.7), Average.MACRO),
    "macro F1, three classes of 1,000, 950 and 50 rows": World((1000, 950, 50), (0.7, 0.7, 0.7), Average.MACRO),
    "binary F1, about 14 discordant rows": World((450, 50), (0.99, 0.9), Average.BINARY, 0.25, 10),
}
BETTER = {
    "macro F1, three classes of 1,000, 950 and 50 rows": World(
        (1000, 950, 50), (0.7, 0.7, 0.7), Average.MACRO, gain=0.05
    ),
    "macro F1, three classes of 700, 650 and 650 rows": World(
        (700, 650, 650), (0.7, 0.7, 0.7), Average.MACRO, gain=0.04
    ),
    "binary F1, 2,000 rows with 400 positives": World((1600, 400), (0.9625, 0.85), Average.BINARY, gain=0.02),
}
"""Challengers that are better."""


def drawn(rng: np.random.Generator, world: World, challengers: int) -> Iterator[tuple[Cell, ...]]:
    """The cells of each challenger with one champion on one holdout."""
    kinds = len(world.rows)

    def predicted(truth: int, shape: tuple[int, ...], gain: float = 0.0) -> Ints:
        others = np.array([rows if label != truth else 0 for label, rows in enumerate(world.rows)])
        wrong = rng.choice(kinds, shape, p=others / others.sum())
        return np.where(rng.random(shape) < world.right[truth] + gain, truth, wrong)

    counts = np.zeros((challengers, kinds, kinds, kinds), dtype=np.int64)
    for truth, rows in enumerate(world.rows):
        champion = predicted(truth, (rows,))
        own = rng.random((challengers, rows)) >= world.same
        challenger = np.where(own, predicted(truth, (challengers, rows), world.gain), champion)
        for old, new in product(range(kinds), repeat=2):
            counts[:, truth, old, new] = ((champion == old) & (challenger == new)).sum(axis=1)
    for each in counts:
        filled = np.column_stack([np.argwhere(each), each[each > 0]]).tolist()
        yield tuple(Cell(truth, old, new, rows) for truth, old, new, rows in filled)


def promoted_by(cells: tuple[Cell, ...], gate: Gate, number: int, least: int) -> tuple[bool, bool]:
    """Whether the textbook bounds promote, with a guard of so many discordant rows, and whether `promote` does."""
    new, old = (score_of(cells, gate, side) for side in ("challenger", "champion"))
    if new.value <= old.value:
        return False, False
    moved = {cell: new.slope(cell.truth, cell.challenger) - old.slope(cell.truth, cell.champion or 0) for cell in cells}
    error = sqrt(sum(cell.rows * each**2 for cell, each in moved.items()))
    discordant = sum(cell.rows for cell in cells if cell.champion != cell.challenger)
    textbook = discordant >= least and new.value - old.value > quantile(alpha_of(gate, number)) * error
    return textbook, judge(Tally(cells, "holdout"), gate, number).ruling is Ruling.PROMOTE


def once(name: str, draws: int, world: World | None = None) -> dict[str, Figure]:
    """The share promoted in a single comparison at the level of the first ones on a holdout."""
    rng, world = np.random.default_rng([1, len(name)]), world or WORLDS[name]
    gate = Gate(average=world.average, alpha=LEVEL, guarantee=Guarantee.PER_TEST)
    met = [promoted_by(next(drawn(rng, world, 1)), gate, 1, world.textbook_least) for _ in range(draws)]
    textbook, program = (sum(each) for each in zip(*met, strict=True))
    return {TEXTBOOK: of_share(textbook, draws), PROGRAM: of_share(program, draws)}


def fifty(name: str, draws: int) -> dict[str, Figure]:
    """The share of holdouts on which one of fifty challengers is promoted under `lifetime`, alpha 0.05."""
    rng, world = np.random.default_rng([2, len(name)]), WORLDS[name]
    gate, hits = Gate(average=world.average), np.zeros(2, dtype=int)
    for _ in range(draws):
        found = np.zeros(2, dtype=bool)
        for number, cells in enumerate(drawn(rng, world, CHALLENGERS), 1):
            found |= promoted_by(cells, gate, number, world.textbook_least)
        hits += found
    return {TEXTBOOK: of_share(int(hits[0]), draws), PROGRAM: of_share(int(hits[1]), draws)}


def table(effort: float = 1.0) -> Table:
    """The error of equal models, by what is rare."""
    return {
        name: {
            **{
                f"{by}, one comparison (level {LEVEL})": each for by, each in once(name, round(20_000 * effort)).items()
            },
            **{f"{by}{FIFTY}": each for by, each in fifty(name, round(400 * effort)).items()},
        }
        for name in WORLDS
    }


def power(effort: float = 1.0) -> Table:
    """The share promoted of challengers that are better, in a single comparison."""
    return {name: once(name, round(2000 * effort), world) for name, world in BETTER.items()}

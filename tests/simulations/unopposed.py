"""How often the first model is promoted, by its true F1, where no champion serves and the floor alone decides."""

import numpy as np

from retrain.core.judge import judge
from retrain.core.rules import Gate
from retrain.core.verdicts import Cell, Ruling, Tally
from tests.simulations.tables import Table, of_share
from tests.simulations.windows import POSITIVES

FLOOR = 0.85
POINT, PROGRAM = "F1 reaches the floor", "promoted by `retrain promote`"
WORLDS = {
    "0.80, on 50 rows with 10 positives": (50, 0.80),
    "0.80, on 250 rows with 50 positives": (250, 0.80),
    "0.85, on 250 rows with 50 positives": (250, 0.85),
    "0.85, on 2,500 rows with 500 positives": (2500, 0.85),
    "0.90, on 2,500 rows with 500 positives": (2500, 0.90),
    "0.95, on 250 rows with 50 positives": (250, 0.95),
}
"""Rows and true F1 (precision = recall)."""


def tally(rng: np.random.Generator, rows: int, f1: float) -> Tally:
    """A holdout on which a model of this F1 is counted, and no champion."""
    positives = round(POSITIVES * rows)
    found = int(rng.binomial(positives, f1))
    false = int(rng.binomial(rows - positives, positives * (1 - f1) / (rows - positives)))
    cells = {(1, 1): found, (1, 0): positives - found, (0, 1): false, (0, 0): rows - positives - false}
    return Tally(tuple(Cell(truth, None, said, count) for (truth, said), count in cells.items() if count), "holdout")


def table(effort: float = 1.0) -> Table:
    """The share that reaches a floor of 0.85 in its score, and the share that is promoted."""
    gate, draws = Gate(unopposed_floor=FLOOR), round(4000 * effort)
    figures: Table = {}
    for name, (rows, f1) in WORLDS.items():
        rng = np.random.default_rng(rows)
        verdicts = [judge(tally(rng, rows, f1), gate, 1) for _ in range(draws)]
        reaches = sum((each.challenger_score or 0) >= FLOOR for each in verdicts)
        promoted = sum(each.ruling is Ruling.PROMOTE for each in verdicts)
        figures[name] = {POINT: of_share(reaches, draws), PROGRAM: of_share(promoted, draws)}
    return figures

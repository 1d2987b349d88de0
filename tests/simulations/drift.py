"""On how many days a year drift is served where nothing drifts, and where something does.

Daily windows of numeric features, each against a reference of its own sample; a window drifts where a feature does.
"""

import numpy as np
import pandas as pd

from retrain.core.evidence import YEAR
from retrain.exporter.psi import shift
from tests.simulations.tables import Figure, Table
from tests.simulations.windows import Floats

BINS, FEATURES, THRESHOLD = 10, 20, 0.2
DAYS = YEAR / 86400
CHANCE = 1 / (DAYS * FEATURES)
"""Of one false drift a year in all features together, for one feature in one window."""
SIZES = {
    "200 rows a window, 200 in the reference": (200, 200),
    "200 rows a window, 10,000 in the reference": (200, 10_000),
    "1,000 rows a window, 1,000 in the reference": (1000, 1000),
}
PLAIN, FLOOR, MOVED = (
    "days above 0.2, nothing drifts",
    "days above 0.2 and the floor, nothing drifts",
    "days above both, one feature by 1 sd",
)


def floor(rows: int, of: int) -> float:
    """What the exporter lets chance explain of a feature with so many rows in the window and in the reference."""
    known = pd.Series(np.arange(of, dtype=float))
    return shift(known, pd.Series(np.linspace(0, of - 1, rows)), BINS, CHANCE).floor


def indices(rng: np.random.Generator, rows: int, of: int, draws: int, moved: float = 0.0) -> Floats:
    """PSI of so many features, normal in the reference and in the window, there moved by so many sd."""
    return np.concatenate([_indices(rng, rows, of, min(1000, draws - at), moved) for at in range(0, draws, 1000)])


def _indices(rng: np.random.Generator, rows: int, of: int, draws: int, moved: float) -> Floats:
    reference = np.sort(rng.normal(size=(draws, of)))
    ranks = np.ceil(np.arange(1, BINS) / BINS * of).astype(int) - 1
    edges = reference[:, ranks, None]
    window = rng.normal(moved, size=(draws, 1, rows))
    upto = np.concatenate([np.zeros((draws, 1)), (window <= edges).sum(axis=2), np.full((draws, 1), rows)], axis=1)
    new = np.diff(upto) + 0.5
    old = np.diff([0, *(ranks + 1), of]) + 0.5
    p, q = new / new.sum(axis=1, keepdims=True), old / old.sum()
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=1))


def _a_year(hits: int, draws: int) -> Figure:
    """Days a year on which one of all features exceeds what `hits` of `draws` do."""
    chance = hits / draws
    half = 1.96 * np.sqrt(max(hits, 1)) / draws
    return Figure(DAYS * (1 - (1 - chance) ** FEATURES), DAYS * FEATURES * half * (1 - chance) ** (FEATURES - 1))


def table(effort: float = 1.0) -> Table:
    """Days a year, by the sizes of window and reference."""
    figures: Table = {}
    for name, (rows, of) in SIZES.items():
        rng, draws = np.random.default_rng([rows, of]), max(100, round(200_000 * effort * 200 / max(rows, of / 5)))
        drawn, bar = indices(rng, rows, of, draws), max(THRESHOLD, floor(rows, of))
        moved = indices(rng, rows, of, max(100, draws // 50), moved=1.0)
        figures[name] = {
            PLAIN: _a_year(int((drawn > THRESHOLD).sum()), draws),
            FLOOR: _a_year(int((drawn > bar).sum()), draws),
            MOVED: Figure(float(DAYS * (moved > bar).mean()), 0.5),
        }
    return figures

"""What announces damage: F1, its estimate without labels, F1 at the usual mix, and drift, as `retrain monitor` says.

A linear model of five features, the last of which says nothing of the label, is scored in windows of 1,000 rows. Its
scores are those of the world that it was trained in.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pandas as pd

from retrain.core.evidence import f1_of
from retrain.core.records import Counts
from retrain.exporter.estimate import Scores, binned, estimated_f1, f1_at_usual_share, weighted
from retrain.exporter.psi import shift
from tests.simulations.tables import Figure, Table
from tests.simulations.windows import Bools, Floats

ROWS, REFERENCE, KNOWN, BINS, WINDOWS = 1000, 10_000, 14, 10, 200
"""Rows of a window and of the reference, labelled windows before, bins of PSI, windows of each kind."""
MEANING = np.array([4.0, 2.0, 1.5, 1.0, 0.0])
F1, ESTIMATED, USUAL, LARGEST, WEIGHTED = "F1", "estimated F1", "F1 at the usual mix", "largest PSI", "weighted PSI"


class World(NamedTuple):
    """How far each feature has moved, in sd; what the features mean; the share of positives, where it is another."""

    moved: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)
    meaning: tuple[float, ...] = tuple(MEANING)
    positives: float | None = None


WORLDS = {
    "nothing": World(),
    "a feature that says nothing, by 1 sd": World((0.0, 0.0, 0.0, 0.0, 1.0)),
    "the features that say most, by 0.5 sd": World((0.5, 0.5, 0.0, 0.0, 0.0)),
    "what the features mean": World(meaning=(4.0, -2.0, -1.5, 1.0, 0.0)),
    "the share of positives, to 12 %": World(positives=0.12),
}


class Window(NamedTuple):
    """The rows of a window, one axis; features have another."""

    features: Floats
    label: Bools
    score: Floats

    @property
    def predicted(self) -> Bools:
        """Whether the model says positive."""
        return np.asarray(self.score >= 0.5)

    @property
    def counts(self) -> Counts:
        """What F1 is computed from."""
        hits = self.label & self.predicted
        return Counts(
            *(float(each.sum()) for each in (hits, self.predicted & ~self.label, self.label & ~self.predicted))
        )

    @property
    def scores(self) -> Scores:
        """The scores and labels as the monitor keeps them."""
        return binned(self.score, self.predicted, self.label.astype(float))


def _chance(features: Floats, meaning: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(4.0 - features @ meaning)))


def drawn(rng: np.random.Generator, world: World, rows: int = ROWS) -> Window:
    """Rows of this world; about 20 % are positive in that of the training."""
    features = rng.normal(world.moved, size=(20 * rows if world.positives else rows, len(MEANING)))
    label = rng.random(len(features)) < _chance(features, np.array(world.meaning))
    if world.positives:
        positives = int(rng.binomial(rows, world.positives))
        kept = np.concatenate([np.flatnonzero(label)[:positives], np.flatnonzero(~label)[: rows - positives]])
        features, label = features[kept], label[kept]
    return Window(features, label, _chance(features, MEANING))


def importances(rng: np.random.Generator) -> Floats:
    """What a linear fit to the world of the training makes of the features."""
    window = drawn(rng, World(), REFERENCE)
    design = np.column_stack([window.features, np.ones(REFERENCE)])
    found, *_ = np.linalg.lstsq(design, window.label.astype(float), rcond=None)
    return np.asarray(np.abs(found[:-1]))


def table(effort: float = 1.0) -> Table:
    """What the monitor serves, mean of some windows, by what has changed since the training."""
    rng, number = np.random.default_rng(12), max(10, round(WINDOWS * effort))
    names = [f"x{place}" for place in range(len(MEANING))]
    reference = pd.DataFrame(drawn(rng, World(), REFERENCE).features, columns=names)
    before = [drawn(rng, World()) for _ in range(KNOWN)]
    labelled, usual = sum((each.scores for each in before), np.zeros(1)), [(each.counts, ROWS) for each in before]
    figures: Table = {}
    with TemporaryDirectory() as directory:
        weights = Path(directory) / "weights.csv"
        pd.DataFrame({"feature": names, "weight": importances(rng)}).to_csv(weights, index=False)

        def served(window: Window) -> list[float]:
            columns = pd.DataFrame(window.features, columns=names)
            shifts = {name: shift(reference[name], columns[name], BINS, None) for name in names}
            estimated, mixed = estimated_f1(window.scores, labelled), f1_at_usual_share(window.counts, ROWS, usual)
            largest = max(each.psi for each in shifts.values())
            drift = weighted(shifts, weights, [])
            return [f1_of(window.counts), estimated or 0.0, mixed[0] if mixed else 0.0, largest, drift or 0.0]

        for name, world in WORLDS.items():
            found = np.array([served(drawn(rng, world)) for _ in range(number)])
            half = 1.96 * found.std(axis=0) / np.sqrt(number)
            columns = (F1, ESTIMATED, USUAL, LARGEST, WEIGHTED)
            figures[name] = {
                column: Figure(*map(float, each))
                for column, *each in zip(columns, found.mean(axis=0), half, strict=True)
            }
    return figures

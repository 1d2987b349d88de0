"""Two models on the same rows: the difference of their scores, and how far chance may have moved it."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import ceil, log2, sqrt
from statistics import NormalDist
from typing import Literal

from retrain.core.metrics import Score, score
from retrain.core.records import Label
from retrain.core.rules import Gate
from retrain.core.verdicts import Cell

POWER = 0.84
"""The normal quantile of power 0.8."""
FEWEST_DISCORDANT = 10
"""Below this many rows on which the models differ no interval works."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Two scores on the same rows, the standard error of their difference, the rows on which the models differ."""

    new: float
    old: float
    error: float
    discordant: int

    @property
    def difference(self) -> float:
        """The challenger's score less the champion's."""
        return self.new - self.old

    def interval(self, alpha: float) -> tuple[float, float]:
        """The bounds of the gain, each with the one-sided error alpha."""
        z = quantile(alpha)
        return self.difference - z * self.error, self.difference + z * self.error

    def detectable(self, alpha: float, above: float) -> float | None:
        """The gain that these rows show, at this level, to be more than `above` with power 0.8.

        None where the models differ on too few rows to show any.
        """
        if self.discordant < fewest(alpha):
            return None
        return above + (quantile(alpha) + POWER) * self.error


def quantile(alpha: float) -> float:
    """The normal quantile that is exceeded with chance alpha."""
    return -NormalDist().inv_cdf(alpha)


def fewest(alpha: float) -> int:
    """On how many rows the models must differ for an interval at this level."""
    return max(FEWEST_DISCORDANT, ceil(-log2(alpha)))


def compare(cells: Sequence[Cell], gate: Gate, classes: Collection[Label] | None = None) -> Paired:
    """The paired comparison: SE = sqrt(sum T * psi^2), psi the difference of the slopes (the delta method).

    `classes` are those that a mean over classes is taken over, for both models. Raises UndefinedMetricError where the
    metric has no value for one of the models.
    """
    new, old = score_of(cells, gate, "challenger", classes), score_of(cells, gate, "champion", classes)
    variance = 0.0
    for cell in cells:
        moved = new.slope(cell.truth, cell.challenger) - old.slope(cell.truth, _label(cell.champion))
        variance += cell.rows * moved**2
    discordant = sum(cell.rows for cell in cells if cell.champion != cell.challenger)
    return Paired(new.value, old.value, sqrt(variance), discordant)


def score_of(
    cells: Sequence[Cell],
    gate: Gate,
    side: Literal["champion", "challenger"],
    classes: Collection[Label] | None = None,
) -> Score:
    """The score of one of the two. Raises UndefinedMetricError."""
    matrix: Counter[tuple[Label, Label]] = Counter()
    for cell in cells:
        matrix[cell.truth, _label(getattr(cell, side))] += cell.rows
    return score(matrix, gate.metric, gate.average, gate.positive, classes)


def _label(label: Label | None) -> Label:
    """The prediction of a model that made one; unopposed tallies never come here."""
    if label is None:
        raise ValueError("a tally mixes rows with and without a champion")
    return label

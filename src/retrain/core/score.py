"""Scores of a confusion matrix, and how much one row in a cell moves them.

A matrix is sparse: {(truth, prediction): rows}. Every metric is a smooth function of its cells, so its
standard error follows from its partial derivatives (the delta method, `retrain guide statistics`). The monitor's F1
of a window is one of them; which window it serves is said at the end.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import ceil, sqrt
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from retrain.core.bounds import least_share, quantile
from retrain.core.records import Counts, Label
from retrain.core.rules import Average, Gate, Metric
from retrain.core.verdicts import Cell, Groups

Matrix = Mapping[tuple[Label, Label], int]
Confusion = Counter[tuple[Label, Label]]
"""Rows by (label, prediction)."""
Slope = Callable[[Label, Label], float]
"""The derivative of a score by one cell (truth, prediction)."""


class UndefinedMetricError(Exception):
    """The metric has no value for this matrix; the text says why."""


class Score(Struct, frozen=True):
    """A metric's value in 0–1 (MCC: -1–1) and its slope, per row of a cell."""

    value: float
    slope: Slope


def score(matrix: Matrix, metric: Metric, average: Average, positive: Label) -> Score:
    """The score of a confusion matrix. Raises UndefinedMetricError where it is 0/0.

    A mean over classes is taken over those that rows are of: one that a model alone brings in is a wrong prediction.
    """
    totals = _Totals(matrix)
    match metric:
        case Metric.ACCURACY:
            return _accuracy(totals)
        case Metric.BALANCED_ACCURACY:
            return _averaged(totals, Metric.RECALL, Average.MACRO)
        case Metric.MCC:
            return _mcc(totals)
        case _ if average is Average.BINARY:
            return _of_class(totals, metric, positive)
        case _ if average is Average.MICRO:
            return _accuracy(totals)
        case _:
            return _averaged(totals, metric, average)


class _Totals:
    """The margins of a matrix: rows by truth, by prediction, and on the diagonal."""

    def __init__(self, matrix: Matrix) -> None:
        self.truth: Counter[Label] = Counter()
        self.predicted: Counter[Label] = Counter()
        self.hit: Counter[Label] = Counter()
        for (truth, prediction), rows in matrix.items():
            self.truth[truth] += rows
            self.predicted[prediction] += rows
            if truth == prediction:
                self.hit[truth] += rows
        self.rows = sum(self.truth.values())


def _accuracy(totals: _Totals) -> Score:
    value = sum(totals.hit.values()) / totals.rows
    return Score(value, lambda truth, prediction: ((truth == prediction) - value) / totals.rows)


def _of_class(totals: _Totals, metric: Metric, label: Label) -> Score:
    """F1 = 2TP/(2TP+FP+FN), precision = TP/(TP+FP) or recall = TP/(TP+FN) of one class."""
    by_truth, by_prediction = metric is not Metric.PRECISION, metric is not Metric.RECALL
    weight = 2 if metric is Metric.F1 else 1
    below = by_truth * totals.truth[label] + by_prediction * totals.predicted[label]
    if below == 0:
        raise UndefinedMetricError(f"{metric} of class {label!r} is 0/0: nothing is, or is predicted as, {label!r}")
    value = weight * totals.hit[label] / below

    def slope(truth: Label, prediction: Label) -> float:
        hit = weight * (truth == label == prediction)
        return (hit - value * (by_truth * (truth == label) + by_prediction * (prediction == label))) / below

    return Score(value, slope)


def _averaged(totals: _Totals, metric: Metric, average: Average) -> Score:
    """The mean over classes, of equal weight (macro) or by the rows of each (weighted).

    A class whose own metric is 0/0, since no row is predicted as that, scores 0, as in scikit-learn.
    """
    classes = {}
    for label in sorted(totals.truth, key=str):
        try:
            classes[label] = _of_class(totals, metric, label)
        except UndefinedMetricError:
            classes[label] = Score(0.0, lambda _truth, _prediction: 0.0)
    if average is Average.WEIGHTED:
        weights = {label: totals.truth[label] / totals.rows for label in classes}
    else:
        weights = dict.fromkeys(classes, 1 / len(classes))
    value = sum(weights[label] * each.value for label, each in classes.items())

    def slope(truth: Label, prediction: Label) -> float:
        touched = {truth, prediction} & classes.keys()
        moved = sum(weights[label] * classes[label].slope(truth, prediction) for label in touched)
        if average is Average.WEIGHTED:
            moved += (classes[truth].value - value) / totals.rows
        return moved

    return Score(value, slope)


def _mcc(totals: _Totals) -> Score:
    """Matthews' coefficient for any number of classes (Gorodkin 2004, R_K)."""
    rows, hits = totals.rows, sum(totals.hit.values())
    covariance = hits * rows - sum(count * totals.predicted[label] for label, count in totals.truth.items())
    truths = rows**2 - sum(count**2 for count in totals.truth.values())
    predictions = rows**2 - sum(count**2 for count in totals.predicted.values())
    if truths == 0 or predictions == 0:
        raise UndefinedMetricError("mcc is 0/0: the truth or the predictions are all of one class")
    value = covariance / sqrt(truths * predictions)

    def slope(truth: Label, prediction: Label) -> float:
        of_covariance = rows * (truth == prediction) + hits - totals.predicted[truth] - totals.truth[prediction]
        of_truths = 2 * (rows - totals.truth[truth]) / truths
        of_predictions = 2 * (rows - totals.predicted[prediction]) / predictions
        return of_covariance / sqrt(truths * predictions) - value / 2 * (of_truths + of_predictions)

    return Score(value, slope)


POWER = 0.84
"""The normal quantile of power 0.8."""
FEW_DISCORDANT = 10
"""Classes and slices with fewer rows on which the models differ are named: little is known of them."""


class Paired(Struct, frozen=True):
    """Two scores on the same rows, and the rows on which the models differ.

    `gain` and its standard error `error` are those of the guarded tally: they are for the bounds alone.
    `effect` is the design effect of its groups: so many of these rows say as much as one independent row.
    """

    new: float
    old: float
    gain: float
    error: float
    discordant: int
    effect: float = 1.0

    @property
    def difference(self) -> float:
        """The challenger's score less the champion's."""
        return self.new - self.old

    def interval(self, alpha: float) -> tuple[float, float]:
        """The bounds of the gain, each with the one-sided error alpha."""
        z = quantile(alpha)
        return self.gain - z * self.error, self.gain + z * self.error

    def detectable(self, alpha: float, above: float) -> float | None:
        """The gain above `above` that these rows show at this level with power 0.8; None without discordant rows."""
        return above + (quantile(alpha) + POWER) * self.error if self.discordant else None


def compare(cells: Sequence[Cell], gate: Gate, groups: Groups | None = None) -> Paired:
    """The paired comparison: SE = sqrt(effect * sum T * psi^2), psi the difference of the slopes (the delta method).

    The scores are those of the tally, gain and error those of the guarded one. Raises UndefinedMetricError where the
    metric has no value for one of the two.
    """
    shown = score_of(cells, gate, "challenger").value, score_of(cells, gate, "champion").value
    effect = _design_effect(cells, _moved(guarded(cells), gate)[1], groups) if groups is not None else 1.0
    counted = guarded(cells, round(effect))
    gain, moved = _moved(counted, gate)
    variance = effect * sum(cell.rows * psi**2 for cell, psi in zip(counted, moved, strict=True))
    discordant = sum(cell.rows for cell in cells if cell.champion != cell.challenger)
    return Paired(*shown, gain, sqrt(variance), discordant, effect)


def _moved(cells: Sequence[Cell], gate: Gate) -> tuple[float, list[float]]:
    """The gain, and psi of each cell: how much one row in it moves the gain."""
    new, old = score_of(cells, gate, "challenger"), score_of(cells, gate, "champion")
    slopes = (new.slope(each.truth, each.challenger) - old.slope(each.truth, _label(each.champion)) for each in cells)
    return new.value - old.value, list(slopes)


def _design_effect(cells: Sequence[Cell], psi: Sequence[float], groups: Groups) -> float:
    """The variance with these groups over that of independent rows, and never below 1 (Liang and Zeger 1986)."""
    alone = sum(cell.rows * moved**2 for cell, moved in zip(cells, psi, strict=False))
    if groups.number < 2 or not alone:  # nothing says how much groups differ, so as if each were copies of one row
        return sum(cell.rows for cell in cells) / groups.number
    together = sum(count * psi[one] * psi[other] for one, other, count in groups.together)
    return max(1.0, groups.number / (groups.number - 1) * together / alone)


def guarded(cells: Sequence[Cell], weight: int = 1) -> list[Cell]:
    """The tally with one more independent row of each class won, and one lost; it is `weight` of these rows.

    A class whose few rows were all wrong and are all right now would add to the gain, and nothing to the error. The
    wrong prediction is the most frequent other class.
    """
    rows: Counter[Label] = Counter()
    for cell in cells:
        rows.update({cell.challenger: 0, _label(cell.champion): 0})
        rows[cell.truth] += cell.rows
    frequent = sorted(rows, key=lambda label: (-rows[label], str(label)))
    added = []
    for label in frequent:
        if rows[label] and len(frequent) > 1:
            other = frequent[label == frequent[0]]
            added += [Cell(label, other, label, weight), Cell(label, label, other, weight)]
    return [*cells, *added]


def least(cells: Sequence[Cell], gate: Gate, alpha: float, groups: Groups | None) -> tuple[float, float]:
    """The lower bound of the challenger's score, at the one-sided level alpha, and the design effect of its groups.

    Exact for a binary F1; else that of the delta method, on the guarded tally. Raises UndefinedMetricError.
    """
    slope, effect = score_of(cells, gate, "challenger").slope, 1.0
    if groups is not None:
        effect = _design_effect(cells, [slope(cell.truth, cell.challenger) for cell in cells], groups)
    if gate.metric is Metric.F1 and gate.average is Average.BINARY:
        counts = counts_of(cells, gate.positive, "challenger")
        wrong = ceil((counts.fp + counts.fn) / effect)
        hits = int(counts.tp / effect)
        share = least_share(hits, hits + wrong, alpha)
        return 2 * share / (1 + share), effect
    counted = guarded([replace(cell, champion=cell.challenger) for cell in cells], round(effect))
    found = score_of(counted, gate, "challenger")
    error = sqrt(effect * sum(cell.rows * found.slope(cell.truth, cell.challenger) ** 2 for cell in counted))
    return found.value - quantile(alpha) * error, effect


def counts_of(cells: Sequence[Cell], positive: Label, side: Literal["champion", "challenger"]) -> Counts:
    """What the F1 of the positive class is computed from, for one of the two."""
    rows: Counter[tuple[bool, bool]] = Counter()
    for cell in cells:
        rows[cell.truth == positive, getattr(cell, side) == positive] += cell.rows
    return Counts(rows[True, True], rows[False, True], rows[True, False])


def score_of(cells: Sequence[Cell], gate: Gate, side: Literal["champion", "challenger"]) -> Score:
    """The score of one of the two. Raises UndefinedMetricError."""
    matrix: Counter[tuple[Label, Label]] = Counter()
    for cell in cells:
        matrix[cell.truth, _label(getattr(cell, side))] += cell.rows
    return score(matrix, gate.metric, gate.average, gate.positive)


def _label(label: Label | None) -> Label:
    """The prediction of a model that made one; unopposed tallies never come here."""
    if label is None:
        raise ValueError("a tally mixes rows with and without a champion")
    return label


class Quality(Struct, frozen=True):
    """F1 of a window that ended at `end` (epoch seconds); `counts` are those of a binary F1.

    `usual` is the F1 at the usual share of positives, and that share, where they are known.
    """

    end: float
    samples: int
    f1: float | None
    counts: Counts | None
    usual: tuple[float, float] | None = None


def newest_labelled(windows: Mapping[int, tuple[int, int]], current: int) -> int | None:
    """The newest window before the current one of which every row has a label, or whose labels later ones have passed.

    `windows` are (rows, labelled rows) by window, the current one among them; None where there is no such window.
    """
    labelled = sorted((each for each, (_, known) in windows.items() if known and each <= current), reverse=True)
    for each in labelled:
        rows, known = windows[each]
        if each < current and (each < labelled[0] or known == rows):
            return each
    return None


def quality(confusion: Confusion, average: Average, positive: Label, end: float) -> Quality:
    """F1 of the labelled rows of a window, None where there is nothing positive to find or found."""
    try:
        f1 = score(confusion, Metric.F1, average, positive).value
    except UndefinedMetricError:
        f1 = None
    tp = confusion[positive, positive]
    labelled = sum(rows for (label, _), rows in confusion.items() if label == positive)
    predicted = sum(rows for (_, guess), rows in confusion.items() if guess == positive)
    counts = Counts(tp, predicted - tp, labelled - tp) if average is Average.BINARY else None
    return Quality(end, confusion.total(), f1, counts)

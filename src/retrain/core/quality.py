"""F1 of a window from its rows by label and prediction, as the monitor serves it."""

from collections import Counter

from msgspec import Struct

from retrain.core.records import Counts, Label
from retrain.core.rules import Average, Metric
from retrain.core.score import UndefinedMetricError, score

Confusion = Counter[tuple[Label, Label]]
"""Rows by (label, prediction)."""


class Quality(Struct, frozen=True):
    """F1 of a window that ended at `end` (epoch seconds); `counts` are those of a binary F1.

    `usual` is the F1 at the usual share of positives, and that share, where they are known.
    """

    end: float
    samples: int
    f1: float | None
    counts: Counts | None
    usual: tuple[float, float] | None = None


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

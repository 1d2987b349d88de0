"""Which window the monitor serves, and its F1 from its rows by label and prediction."""

from collections import Counter
from collections.abc import Mapping

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

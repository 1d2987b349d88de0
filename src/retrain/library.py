"""The gate as a function, for notebooks and pipelines: `from retrain import compare`.

It knows nothing of a configuration, a journal or a champion that serves, and keeps no ledger: who asks about the same
rows again and again until the answer pleases has no guarantee. `retrain promote` counts.
"""

from collections import Counter
from collections.abc import Iterable
from itertools import combinations
from typing import Any

from retrain.core.explain import because
from retrain.core.judge import judge
from retrain.core.records import Label
from retrain.core.rules import Average, Gate, Guarantee, Metric
from retrain.core.verdicts import Cell, Tally, Verdict


def compare(  # noqa: PLR0913  (keywords, each with a default)
    y_true: Iterable[Any],
    champion: Iterable[Any],
    challenger: Iterable[Any],
    *,
    metric: str = "f1",
    average: str = "binary",
    positive: Label = 1,
    min_improvement: float = 0.0,
    floor: float | None = None,
    alpha: float = 0.05,
) -> Verdict:
    """The verdict on the challenger's predictions of some rows, beside the champion's, at the one-sided level alpha.

    The labels are lists, arrays or columns of one length: numbers, texts or truth values. The gain of the metric (f1,
    precision, recall, accuracy, balanced_accuracy or mcc; the first three with an average: binary, macro, weighted or
    micro) and its standard error come from the rows on which the two differ (the paired delta method with the score
    variance at no gain; `retrain guide statistics`). `ruling` is promote where the gain is above `min_improvement`
    beyond chance, reject where it is not, inconclusive where these rows cannot say. Rows are taken as independent.

    Raises ValueError where the lengths differ, a value is missing or no label, labels and predictions differ in their
    spelling or in the order of their index, or an argument is none of those above.
    """
    from retrain.tables.values import label  # here, as it imports pandas

    truths, old, new = _labels(y_true, champion, challenger)
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha {alpha} is not above 0 and below 0.5")
    gate = Gate(
        metric=Metric(metric),
        average=Average(average),
        positive=label(positive),
        min_improvement=min_improvement,
        floor=floor,
        alpha=alpha,
        guarantee=Guarantee.PER_TEST,
    )
    cells = Counter(zip(truths, old, new, strict=True)).items()
    return judge(Tally(tuple(Cell(*labels, rows) for labels, rows in cells), holdout=""), gate, 1)


def _labels(*columns: Any) -> list[list[Label]]:
    """The labels, and both predictions of them. Raises ValueError where these are not of the same rows and classes."""
    from numpy import asanyarray

    from retrain.tables.values import MISSING, is_reordered, label, quoted, vocabularies_differ

    indexes = [column.index for column in columns if hasattr(column, "iloc")]
    if any(is_reordered(*pair) for pair in combinations(indexes, 2)):
        raise ValueError("the same index in another order: sort all columns alike, or give arrays without an index")
    plain = (asanyarray(column) if hasattr(column, "__array__") else column for column in columns)
    truths, old, new = found = [[label(each) for each in column] for column in plain]
    if not len(truths) == len(old) == len(new):
        raise ValueError(f"{len(truths)} labels, {len(old)} and {len(new)} predictions: one of each a row is needed")
    for name, predicted in (("champion", old), ("challenger", new)):
        if words := {*predicted} & MISSING - {*truths}:
            raise ValueError(f"the {name} predicts {quoted(words)}, which is no class: has it no label for some rows?")
        if differ := vocabularies_differ(predicted, truths):
            raise ValueError(f"the {name} predicts {differ[0]}, the labels are {differ[1]}: spell them in one way")
    return found


def explain(verdict: Verdict, min_improvement: float = 0.0, positive: Label = 1) -> str:
    """The verdict in one line: the ruling, its reason, and the gain with its confidence bounds."""
    gate = Gate(metric=Metric(verdict.metric), positive=positive, min_improvement=min_improvement)
    reason, _ = because(verdict, gate)
    if verdict.difference is None or verdict.interval is None:
        return f"{verdict.ruling}: {reason}"
    low, high = verdict.interval
    return f"{verdict.ruling}: {reason}; gain {verdict.difference:+.3f}, confidence bounds {low:+.3f} to {high:+.3f}"

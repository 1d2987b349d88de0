"""The gate as a function, for notebooks and pipelines: `from retrain import compare`.

It knows nothing of a configuration, a journal or a champion that serves, and keeps no ledger: who asks about the same
rows again and again until the answer pleases has no guarantee. `retrain promote` counts.
"""

from collections import Counter
from collections.abc import Iterable
from math import isnan
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

    Raises ValueError where the lengths differ, a value is missing or no label, or an argument is none of those above.
    """
    truths, old, new = (_labels(each) for each in (y_true, champion, challenger))
    _refuse_unlike(truths, old, new)
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha {alpha} is not above 0 and below 0.5")
    gate = Gate(
        metric=Metric(metric),
        average=Average(average),
        positive=_label(positive),
        min_improvement=min_improvement,
        floor=floor,
        alpha=alpha,
        guarantee=Guarantee.PER_TEST,
    )
    cells = Counter(zip(truths, old, new, strict=True)).items()
    return judge(Tally(tuple(Cell(*labels, rows) for labels, rows in cells), holdout=""), gate, 1)


def _refuse_unlike(truths: list[Label], old: list[Label], new: list[Label]) -> None:
    """Raise ValueError where these are not labels and predictions of the same rows."""
    if not len(truths) == len(old) == len(new):
        raise ValueError(f"{len(truths)} labels, {len(old)} and {len(new)} predictions: one of each a row is needed")
    known = set(truths)
    for name, predicted in (("champion", old), ("challenger", new)):
        if predicted and not known & set(predicted):
            raise ValueError(f"the {name} predicts none of the labels: {set(predicted)!r:.60} beside {known!r:.60}")


def explain(verdict: Verdict, min_improvement: float = 0.0, positive: Label = 1) -> str:
    """The verdict in one line: the ruling, its reason, and the gain with its confidence bounds."""
    gate = Gate(metric=Metric(verdict.metric), positive=positive, min_improvement=min_improvement)
    reason, _ = because(verdict, gate)
    if verdict.difference is None or verdict.interval is None:
        return f"{verdict.ruling}: {reason}"
    low, high = verdict.interval
    return f"{verdict.ruling}: {reason}; gain {verdict.difference:+.3f}, confidence bounds {low:+.3f} to {high:+.3f}"


def _labels(values: Iterable[Any]) -> list[Label]:
    """The labels as plain values, whatever array or column holds them."""
    return [_label(each) for each in (values.tolist() if hasattr(values, "tolist") else values)]


def _label(value: Any) -> Label:
    """A label. Raises ValueError where it is missing, or something else."""
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, bool):
        return int(plain)
    if not isinstance(plain, str | int | float) or (isinstance(plain, float) and isnan(plain)):
        raise ValueError(f"{value!r:.60} is no class label: a number or a text")
    return plain

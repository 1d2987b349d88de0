"""The sentences of a verdict, for a person who knows no statistics."""

from collections import Counter
from collections.abc import Sequence
from math import floor, log10

from retrain.core.records import Label
from retrain.core.rules import Average, Gate, Guarantee, Metric
from retrain.core.score import POWER, Paired, quantile
from retrain.core.text import counted
from retrain.core.verdicts import SliceVerdict, Tally

FRESH_MARGIN = 1.2
"""So many more rows than the formula says, since the error is itself an estimate (STATISTICS §1)."""
_SHOWN = 5
_WIDEST = 60


def name_of(gate: Gate) -> str:
    """The metric as people write it: `F1`, `macro F1`, `balanced accuracy`."""
    own = {Metric.F1: "F1", Metric.MCC: "MCC"}.get(gate.metric, gate.metric.replace("_", " "))
    averaged = gate.metric in (Metric.F1, Metric.PRECISION, Metric.RECALL) and gate.average is not Average.BINARY
    return f"{gate.average} {own}" if averaged else own


def won_and_lost(tally: Tally, gate: Gate) -> str:
    """The exact account of the difference, in rows (for a binary F1, STATISTICS §1's identity)."""
    won: Counter[bool] = Counter()
    lost: Counter[bool] = Counter()
    for cell in tally.cells:
        if cell.champion != cell.challenger:
            positive = cell.truth == gate.positive
            won[positive] += cell.rows * (cell.challenger == cell.truth)
            lost[positive] += cell.rows * (cell.champion == cell.truth)
    if gate.average is Average.BINARY and len({cell.truth for cell in tally.cells}) == 2:
        return (
            f"It finds {counted(won[True], 'positive')} that the champion misses and misses {lost[True]:,} that the"
            f" champion finds, avoids {counted(won[False], 'false alarm')} of the champion and raises"
            f" {lost[False]:,} new"
        )
    return f"It is right on {won.total():,} rows that the champion gets wrong, wrong on {lost.total():,} it gets right"


def of_looks(paired: Paired, gate: Gate, alpha: float, fresh_alpha: float, look: int) -> str:
    """Which look this was, and what the holdout can still show."""
    at, shows = f"This was look {look} at the holdout", paired.detectable(alpha, gate.min_improvement)
    if shows is None:
        return at
    if gate.guarantee is Guarantee.LIFETIME and look > gate.holdout_uses:
        fresh = paired.detectable(fresh_alpha, gate.min_improvement) or shows
        return (
            f"{at}, and each raises the bar: for two models such as these it can now only show a gain above"
            f" {shows:+.3f}; a fresh one of the same size could show {fresh:+.3f}"
        )
    return f"{at}; for two models such as these it can show a gain of about {shows:+.3f} or more"


def of_luck(gate: Gate, alpha: float, look: int) -> str:
    """What may be promoted by luck, over all looks or each."""
    if gate.guarantee is Guarantee.LIFETIME:
        chance = _percent(gate.alpha)
        return (
            f"The chance that this holdout ever promotes a challenger that is no better is {chance} at most,"
            " however many are tried"
        )
    together = f", and that one of {look} looks does, {_percent(min(1.0, look * alpha))}" if look > 1 else ""
    return f"The chance that a look promotes a challenger that is no better is {_percent(alpha)} at most{together}"


def cannot_tell(paired: Paired, gate: Gate, alpha: float, fresh_alpha: float, rows: int) -> str:
    """Why the rows do not decide, and how many would."""
    low, high = paired.interval(alpha)
    told = (
        f"The gain is {paired.difference:+.3f} here, but on so few rows that differ the real one can be anything from"
        f" {low:+.3f} to {high:+.3f}, so this holdout cannot tell"
    )
    above = paired.difference - gate.min_improvement
    if above <= 0:
        return told
    needed = rows * ((quantile(fresh_alpha) + POWER) * paired.error / above) ** 2 * FRESH_MARGIN
    if needed > 1e9:
        return told
    wanted = f"about {_rounded(max(needed, rows)):,} rows, none of these among them"
    return f"{told}. To show a gain of this size, take a fresh holdout of {wanted}"


def where(verdict: SliceVerdict) -> str:
    """The slice in words: `region = south`."""
    value = "(missing)" if verdict.value is None else str(verdict.value)
    told = "".join(each if each.isprintable() else "?" for each in f"{verdict.column} = {value}")
    return told if len(told) <= _WIDEST else f"{told[: _WIDEST - 1]}…"


def of_slices(slices: Sequence[SliceVerdict]) -> str:
    """What the slices say: whether any is worse, and which are too small to protect."""
    untested = [each for each in slices if not each.tested]
    said = f"{len(slices) - len(untested)} of {counted(len(slices), 'slice')} could be tested"
    if len(untested) < len(slices) and not any(each.worse for each in slices):
        said += ", and none is worse than bad luck explains"
    if not untested:
        return said
    named = ", ".join(f"{where(each)} ({counted(each.rows, 'row')})" for each in untested[:_SHOWN])
    more = f" and {len(untested) - _SHOWN} more" if len(untested) > _SHOWN else ""
    few = "too few rows on which the models differ, or none on which the metric has a value"
    return f"{said}; not these, which have {few}: {named}{more}"


def of_worse_slices(slices: Sequence[SliceVerdict]) -> str:
    """The sentence of a veto."""
    worse = [each for each in slices if each.worse]
    named = "; ".join(f"{where(each)} ({each.difference:+.3f} on {counted(each.rows, 'row')})" for each in worse)
    return f"worse where {named}, more than bad luck explains, which promotion.slices forbids"


def listed(labels: Sequence[Label]) -> str:
    """The first labels, as Python writes them."""
    return ", ".join(map(repr, labels[:_SHOWN]))


def _percent(chance: float) -> str:
    """`5 in 100`."""
    return f"{100 * chance:.3g} in 100"


def _rounded(rows: float) -> int:
    """A number of rows to two significant digits, upwards."""
    unit = 10 ** max(0, floor(log10(rows)) - 1)
    return int(-(-rows // unit) * unit)

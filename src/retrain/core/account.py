"""The sentences of a verdict, for a person who knows no statistics."""

from collections import Counter
from collections.abc import Sequence
from math import floor, log10

from retrain.core.paired import POWER, Paired, quantile
from retrain.core.records import Label, SliceVerdict, Tally
from retrain.core.rules import Average, Gate, Guarantee, Metric
from retrain.core.words import counted

FRESH_MARGIN = 1.2
"""So many more rows than the formula says, since the error is itself an estimate (STATISTICS §1)."""
_SHOWN = 5


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
            f"It finds {counted(won[True], 'more positive')} and loses {lost[True]:,},"
            f" removes {counted(won[False], 'false alarm')} and adds {lost[False]:,}"
        )
    return (
        f"It is right on {won.total():,} rows where the champion is wrong, and wrong on {lost.total():,} it got right"
    )


def of_looks(paired: Paired, gate: Gate, alpha: float, fresh_alpha: float, look: int) -> str:
    """Which look this was, what the holdout can still show, and what the looks together may do by luck."""
    at, shows = f"Look {look} at this holdout", paired.detectable(alpha, gate.min_improvement)
    if shows is not None and gate.guarantee is Guarantee.LIFETIME and look > gate.holdout_uses:
        fresh = paired.detectable(fresh_alpha, gate.min_improvement) or shows
        at += (
            f", which wears it out: it can now only show a gain above {shows:+.3f}; a fresh one of the same size could"
            f" show {fresh:+.3f}"
        )
    elif shows is not None:
        at += f", which shows gains from about {shows:+.3f} on"
    if gate.guarantee is Guarantee.LIFETIME:
        bound = f"a challenger that is no better gets through with chance {gate.alpha:g} at most"
        return f"{at}. However often you look, {bound}"
    together = f"; of the {look} looks so far, one or more with chance {min(1.0, look * alpha):.2g}" if look > 1 else ""
    return f"{at}. A challenger that is no better gets through this look with chance {alpha:.2g} at most{together}"


def cannot_tell(paired: Paired, gate: Gate, alpha: float, fresh_alpha: float, rows: int) -> str:
    """Why the rows do not decide, and how many would."""
    low, high = paired.interval(alpha)
    told = (
        f"The gain is {paired.difference:+.3f}, but by luck it may look so: the true one can be anything from"
        f" {low:+.3f} to {high:+.3f}, so this holdout cannot tell"
    )
    above = paired.difference - gate.min_improvement
    if above <= 0:
        return told
    needed = rows * ((quantile(fresh_alpha) + POWER) * paired.error / above) ** 2 * FRESH_MARGIN
    if needed > 1e9:
        return told
    return f"{told}. To show a gain of this size, a fresh holdout needs about {_rounded(max(needed, rows)):,} rows"


def where(verdict: SliceVerdict) -> str:
    """The slice in words: `region = south`."""
    return f"{verdict.column} = {'(missing)' if verdict.value is None else verdict.value}"


def of_slices(slices: Sequence[SliceVerdict]) -> str:
    """What the slices say: those that are worse, else how many were tested; and those too small to protect."""
    worse = [each for each in slices if each.worse]
    untested = [each for each in slices if not each.tested]
    if worse:
        listed = "; ".join(f"{where(each)} ({each.difference:+.3f} on {counted(each.rows, 'row')})" for each in worse)
        said = f"But it is worse, more than bad luck explains, where {listed}; no slice may be (promotion.slices)"
    else:
        said = f"None of the {counted(len(slices) - len(untested), 'slice')} tested is worse"
    if not untested:
        return said
    listed = ", ".join(f"{where(each)} ({counted(each.rows, 'row')})" for each in untested[:_SHOWN])
    more = f" and {len(untested) - _SHOWN} more" if len(untested) > _SHOWN else ""
    return f"{said}. Not tested, since the models differ on too few of the rows there: {listed}{more}"


def listed(labels: Sequence[Label]) -> str:
    """The first labels, as Python writes them."""
    return ", ".join(map(repr, labels[:_SHOWN]))


def _rounded(rows: float) -> int:
    """A number of rows to two significant digits, upwards."""
    unit = 10 ** max(0, floor(log10(rows)) - 1)
    return int(-(-rows // unit) * unit)

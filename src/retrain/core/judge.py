"""Does the challenger deserve it? A pure function of the tally, the rules and the number of the look."""

from collections import Counter
from dataclasses import dataclass
from math import ceil, ldexp, log2, sqrt
from statistics import NormalDist
from sys import float_info
from typing import Literal

from retrain.core.metrics import Score, UndefinedMetricError, score
from retrain.core.records import Label, Ruling, Tally, Verdict
from retrain.core.rules import Average, Gate, Guarantee, Metric
from retrain.core.words import counted

POWER = 0.84
"""The normal quantile of power 0.8."""
FEWEST_DISCORDANT = 10
"""Below this many rows on which the models differ no interval works."""


def alpha_of(gate: Gate, look: int) -> float:
    """The one-sided level of the look with this number, the first being 1.

    Under `lifetime` the levels of all looks sum to alpha: every `holdout_uses` looks they halve (STATISTICS §1).
    """
    if gate.guarantee is Guarantee.PER_TEST:
        return float(gate.alpha)
    halvings = (look - 1) // gate.holdout_uses + 1
    return max(ldexp(gate.alpha / gate.holdout_uses, -halvings), float_info.min)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Two scores on the same rows. `error` is the standard error of their difference, `low` and `high` its bounds."""

    new: float
    old: float
    error: float
    z: float
    discordant: int

    @property
    def difference(self) -> float:
        return self.new - self.old

    @property
    def low(self) -> float:
        return self.difference - self.z * self.error

    @property
    def high(self) -> float:
        return self.difference + self.z * self.error


def judge(tally: Tally, gate: Gate, look: int) -> Verdict:
    """The verdict on a tally at its `look`-th look: promote, reject or inconclusive, with its sentence."""
    alpha = alpha_of(gate, look)
    missing = _missing_class(tally, gate)
    if missing is not None:
        return _undefined(tally, gate, alpha, look, missing)
    try:
        if all(cell.champion is None for cell in tally.cells):
            return _unopposed(tally, gate, _score(tally, gate, "challenger").value, alpha, look)
        compared = _compare(tally, gate, alpha)
    except UndefinedMetricError as error:
        return _undefined(tally, gate, alpha, look, str(error))
    ruling, because = _rule(compared, gate, alpha)
    scores = (
        f"{_name(gate)} {compared.new:.3f} against the champion's {compared.old:.3f} on {counted(tally.rows, 'row')}"
    )
    return Verdict(
        ruling=ruling,
        message=f"{scores}. {_won_and_lost(tally, gate)}. {because}. {_bound(gate, alpha, look)}",
        metric=gate.metric,
        rows=tally.rows,
        challenger_score=compared.new,
        champion_score=compared.old,
        alpha=alpha,
        look=look,
        discordant=compared.discordant,
        difference=compared.difference,
        standard_error=compared.error,
        interval=(compared.low, compared.high),
        detectable=_detectable(compared, gate),
    )


def _compare(tally: Tally, gate: Gate, alpha: float) -> _Comparison:
    """The paired comparison: SE = sqrt(sum T * psi^2), psi the difference of the slopes (the delta method)."""
    new, old = _score(tally, gate, "challenger"), _score(tally, gate, "champion")
    variance = 0.0
    for cell in tally.cells:
        moved = new.slope(cell.truth, cell.challenger) - old.slope(cell.truth, _label(cell.champion))
        variance += cell.rows * moved**2
    discordant = sum(cell.rows for cell in tally.cells if cell.champion != cell.challenger)
    return _Comparison(new.value, old.value, sqrt(variance), -NormalDist().inv_cdf(alpha), discordant)


def _rule(compared: _Comparison, gate: Gate, alpha: float) -> tuple[Ruling, str]:
    """The ruling and its reason; degenerate cases come before the arithmetic."""
    enough = max(FEWEST_DISCORDANT, ceil(-log2(alpha)))
    than = "than the champion" if not gate.min_improvement else f"than the champion by {gate.min_improvement:+.3f}"
    gain = f"The gain is {compared.difference:+.3f}"
    if gate.floor is not None and compared.new < gate.floor:
        return Ruling.REJECT, f"{gain}, but the challenger is below the floor of {gate.floor:.3f}"
    if compared.discordant == 0:
        return Ruling.INCONCLUSIVE, "The two predict the same on every row, so nothing tells them apart"
    if compared.discordant < enough:
        differ = f"The two differ on {counted(compared.discordant, 'row')}"
        return Ruling.INCONCLUSIVE, f"{differ} only, and a comparison needs {enough}"
    if compared.low > gate.min_improvement:
        return Ruling.PROMOTE, f"{gain}, at least {compared.low:+.3f}: better {than}"
    if compared.high <= gate.min_improvement:
        return Ruling.REJECT, f"{gain}, at most {compared.high:+.3f}: not better {than}"
    return Ruling.INCONCLUSIVE, (
        f"{gain}, but it may be anything from {compared.low:+.3f} to {compared.high:+.3f}: this holdout cannot tell"
        f" (it would show a gain of {_detectable(compared, gate):+.3f})"
    )


def _detectable(compared: _Comparison, gate: Gate) -> float:
    """The gain that this holdout shows with power 0.8."""
    return gate.min_improvement + (compared.z + POWER) * compared.error


def _unopposed(tally: Tally, gate: Gate, value: float, alpha: float, look: int) -> Verdict:
    """The verdict where no champion serves: the floor alone decides."""
    floor = gate.unopposed_floor
    ruling = Ruling.PROMOTE if floor is not None and value >= floor else Ruling.REJECT
    if floor is None:
        because = "there is no champion to beat, so promotion.floor (or triggers.performance_threshold) must be set"
    elif ruling is Ruling.PROMOTE:
        because = f"there is no champion to beat, and it reaches the floor of {floor:.3f}"
    else:
        because = f"there is no champion to beat, but it is below the floor of {floor:.3f}"
    message = f"{_name(gate)} {value:.3f} on {counted(tally.rows, 'row')}; {because}"
    return Verdict(ruling, message, gate.metric, tally.rows, value, None, alpha, look)


def _undefined(tally: Tally, gate: Gate, alpha: float, look: int, why: str) -> Verdict:
    return Verdict(
        Ruling.INCONCLUSIVE,
        f"the holdout cannot tell: {why}. Give promotion.holdout rows of every class, at least a few dozen each",
        gate.metric,
        tally.rows,
        None,
        None,
        alpha,
        look,
    )


def _missing_class(tally: Tally, gate: Gate) -> str | None:
    """Which class the metric needs and the holdout does not have."""
    truths = {cell.truth for cell in tally.cells}
    if gate.average is Average.BINARY and gate.metric in (Metric.F1, Metric.PRECISION, Metric.RECALL):
        if gate.positive not in truths:
            known = ", ".join(repr(truth) for truth in sorted(truths, key=str)[:5])
            return (
                f"no row has the positive label {gate.positive!r}; the labels are {known}"
                " (promotion.positive; YAML reads an unquoted yes or no as a truth value)"
            )
        if len(truths) > 2:
            return f"{len(truths)} classes and average: binary; set promotion.average to macro, weighted or micro"
        return None if len(truths) == 2 else f"every row is of class {gate.positive!r}"
    predicted = {label for cell in tally.cells for label in (cell.champion, cell.challenger) if label is not None}
    absent = sorted(predicted - truths, key=str)
    if absent:
        return f"no row is of class {', '.join(map(repr, absent[:5]))}, which a model predicts"
    return None


def _won_and_lost(tally: Tally, gate: Gate) -> str:
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
    return f"It is right on {won.total()} rows where the champion is wrong, and wrong on {lost.total()} it got right"


def _bound(gate: Gate, alpha: float, look: int) -> str:
    chance = f"{alpha:.2g}"
    if gate.guarantee is Guarantee.PER_TEST:
        return f"Look {look} at this holdout; a challenger that is no better passes it with chance {chance} at most"
    return (
        f"Look {look} at this holdout, tested at {chance}: over all looks a challenger that is no better is"
        f" promoted with chance {gate.alpha:g} at most"
    )


def _name(gate: Gate) -> str:
    own = {Metric.F1: "F1", Metric.MCC: "MCC"}.get(gate.metric, gate.metric.replace("_", " "))
    averaged = gate.metric in (Metric.F1, Metric.PRECISION, Metric.RECALL) and gate.average is not Average.BINARY
    return f"{gate.average} {own}" if averaged else own


def _score(tally: Tally, gate: Gate, side: Literal["champion", "challenger"]) -> Score:
    matrix: Counter[tuple[Label, Label]] = Counter()
    for cell in tally.cells:
        matrix[cell.truth, _label(getattr(cell, side))] += cell.rows
    return score(matrix, gate.metric, gate.average, gate.positive)


def _label(label: Label | None) -> Label:
    """The prediction of a model that made one; unopposed tallies never come here."""
    if label is None:
        raise ValueError("a tally mixes rows with and without a champion")
    return label

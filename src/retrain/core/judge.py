"""Does the challenger deserve it? A pure function of the tally, the rules and the number of the look."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import ldexp
from sys import float_info

from retrain.core.events import Judged
from retrain.core.explain import (
    cannot_tell,
    listed,
    name_of,
    of_looks,
    of_luck,
    of_slices,
    of_worse_slices,
    won_and_lost,
)
from retrain.core.rules import Average, Gate, Guarantee, Metric
from retrain.core.score import Paired, UndefinedMetricError, compare, fewest, score_of
from retrain.core.text import counted
from retrain.core.verdicts import Cell, Leaked, Ruling, SliceVerdict, Tally, Verdict


def alpha_of(gate: Gate, look: int) -> float:
    """The one-sided level of the look with this number, the first being 1.

    Under `lifetime` the levels of all looks sum to alpha: every `holdout_uses` looks they halve (STATISTICS §1).
    """
    if gate.guarantee is Guarantee.PER_TEST:
        return float(gate.alpha)
    halvings = (look - 1) // gate.holdout_uses + 1
    return max(ldexp(gate.alpha / gate.holdout_uses, -halvings), float_info.min)


def judge(tally: Tally, gate: Gate, look: int) -> Verdict:
    """The verdict on a tally at its `look`-th look: promote, reject or inconclusive, with its sentence.

    Where the metric has no value nothing was compared and no score is shown: then it was no look, and the count
    stays where it was.
    """
    alpha = alpha_of(gate, look)
    missing = _missing_class(tally.cells, gate)
    if missing is not None:
        return _undefined(tally, gate, alpha, look - 1, missing)
    try:
        if all(cell.champion is None for cell in tally.cells):
            return _unopposed(tally, gate, score_of(tally.cells, gate, "challenger").value, alpha, look)
        paired = compare(tally.cells, gate)
    except UndefinedMetricError as error:
        return _undefined(tally, gate, alpha, look - 1, str(error))
    slices = _slices(tally, gate)
    ruling, because = _rule(paired, gate, alpha, tally.rows)
    if any(each.worse for each in slices):
        ruling = Ruling.REJECT
    looks = [of_looks(paired, gate, alpha, alpha_of(gate, 1), look)]
    looks += [of_luck(gate, alpha, look)] if ruling is Ruling.PROMOTE else []
    return Verdict(
        ruling=ruling,
        message=". ".join([*_account(tally, gate, paired, because, slices), *looks]),
        metric=gate.metric,
        rows=tally.rows,
        challenger_score=paired.new,
        champion_score=paired.old,
        alpha=alpha,
        look=look,
        discordant=paired.discordant,
        difference=paired.difference,
        standard_error=paired.error,
        interval=paired.interval(alpha),
        detectable=paired.detectable(alpha, gate.min_improvement),
        slices=slices,
    )


def _account(tally: Tally, gate: Gate, paired: Paired, because: str, slices: Sequence[SliceVerdict]) -> Iterator[str]:
    """The sentences that say how the models compare and why that decides; a veto comes first."""
    scores = f"{name_of(gate)} {paired.new:.3f} against the champion's {paired.old:.3f}"
    if any(each.worse for each in slices):
        yield of_worse_slices(slices)
        scores = f"Overall, {scores}"
    yield f"{scores} on {counted(tally.rows, 'holdout row')}"
    if paired.discordant:
        yield won_and_lost(tally, gate)
    yield because
    if slices:
        yield of_slices(slices)


def leakage(leaked: Leaked, rows: int, max_leakage: float) -> str | None:
    """The sentence of a holdout whose rows a training has seen; None where no more of them leaked than may."""
    for side, count in (("challenger", leaked.challenger), ("champion", leaked.champion)):
        if count is not None and count / rows > max_leakage:
            return (
                f"the {side} was trained on {count:,} of the {counted(rows, 'holdout row')} ({count / rows:.2%};"
                f" promotion.max_leakage is {max_leakage:.2%}): it has seen the answers, so its score here proves"
                " nothing. Keep the holdout out of the training data and train anew, or take a fresh holdout"
            )
    return None


def _rule(paired: Paired, gate: Gate, alpha: float, rows: int) -> tuple[Ruling, str]:
    """The ruling and its reason; degenerate cases come before the arithmetic."""
    enough = fewest(alpha)
    than = "than the champion" if not gate.min_improvement else f"than the champion by {gate.min_improvement:+.3f}"
    gain = f"The gain is {paired.difference:+.3f}"
    low, high = paired.interval(alpha)
    if gate.floor is not None and paired.new < gate.floor:
        return Ruling.REJECT, f"{gain}, but the challenger is below the floor of {gate.floor:.3f}"
    if paired.discordant == 0:
        return Ruling.INCONCLUSIVE, "The two predict the same on every row, so nothing tells them apart"
    if paired.discordant < enough:
        differ = f"The two differ on {counted(paired.discordant, 'row')}"
        return Ruling.INCONCLUSIVE, f"{differ} only, and a comparison needs {enough}"
    if low > gate.min_improvement:
        return Ruling.PROMOTE, f"{gain}, at least {low:+.3f} even if luck helped it: better {than}"
    if not gate.min_improvement and high <= 0:
        lower = (
            f"Its {name_of(gate)} is {-paired.difference:.3f} lower, and still {-high:.3f} lower if luck was against it"
        )
        return Ruling.REJECT, f"{lower}: not better {than}"
    if high <= gate.min_improvement:
        return Ruling.REJECT, f"{gain}, at most {high:+.3f} even if luck was against it: not better {than}"
    return Ruling.INCONCLUSIVE, cannot_tell(paired, gate, alpha, alpha_of(gate, 1), rows)


def _slices(tally: Tally, gate: Gate) -> tuple[SliceVerdict, ...]:
    """Each slice, compared on its own at alpha divided by their number."""
    if not tally.slices:
        return ()
    alpha = gate.alpha / len(tally.slices)
    verdicts = []
    for each in tally.slices:
        rows = sum(cell.rows for cell in each.cells)
        verdict = SliceVerdict(each.column, each.value, rows)
        try:
            # A label that one model alone brings in is a wrong prediction here, and no class of its own.
            classes = {cell.truth for cell in each.cells}
            paired = compare(each.cells, gate, classes) if _has_positive(each.cells, gate) else None
        except UndefinedMetricError:
            paired = None
        if paired is not None:
            _, high = paired.interval(alpha)
            tested = paired.discordant >= fewest(alpha)
            worse = tested and high < min(0.0, gate.min_improvement)
            verdict = replace(verdict, difference=paired.difference, tested=tested, worse=worse)
        verdicts.append(verdict)
    return tuple(verdicts)


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
    message = f"{name_of(gate)} {value:.3f} on {counted(tally.rows, 'holdout row')}; {because}"
    return Verdict(ruling, message, gate.metric, tally.rows, value, None, alpha, look)


def _undefined(tally: Tally, gate: Gate, alpha: float, look: int, why: str) -> Verdict:
    return Verdict(
        Ruling.INCONCLUSIVE,
        f"the holdout cannot tell: {why}",
        gate.metric,
        tally.rows,
        None,
        None,
        alpha,
        look,
    )


def _has_positive(cells: Sequence[Cell], gate: Gate) -> bool:
    """Whether a metric of one class has a row of it here."""
    return not _is_of_one_class(gate) or any(cell.truth == gate.positive for cell in cells)


def _is_of_one_class(gate: Gate) -> bool:
    return gate.average is Average.BINARY and gate.metric in (Metric.F1, Metric.PRECISION, Metric.RECALL)


def _missing_class(cells: Sequence[Cell], gate: Gate) -> str | None:
    """Which class the metric needs and the holdout does not have, and how to mend that."""
    give = "Give promotion.holdout rows of every class, at least a few dozen each"
    truths = {cell.truth for cell in cells}
    if _is_of_one_class(gate):
        if gate.positive not in truths:
            return (
                f"no row has the positive label {gate.positive!r}; the labels are {listed(sorted(truths, key=str))}"
                f" (promotion.positive; YAML reads an unquoted yes or no as a truth value). {give}"
            )
        if len(truths) > 2:
            return f"{len(truths)} classes and average: binary; set promotion.average to macro, weighted or micro"
        if len(truths) < 2:
            return f"every row is of class {gate.positive!r}. {give}"
    predicted = {cell.challenger for cell in cells}
    if not _is_of_one_class(gate):
        predicted |= {cell.champion for cell in cells if cell.champion is not None}
    absent = sorted(predicted - truths, key=str)
    if absent:
        who = "which the challenger predicts" if _is_of_one_class(gate) else "which a model predicts"
        return f"no row is of class {listed(absent)}, {who}. {give}, or mend the model"
    return None


SKETCH = 1024
"""How many of the smallest row hashes are kept of a holdout."""
SHARED = 0.1
"""A holdout that has this share of its rows from an earlier one goes on with that one's count (STATISTICS §1)."""


def next_look(tally: Tally, history: Iterable[Judged], unknown: int = 0) -> int:
    """The number of the look that this tally is, the first being 1.

    Looks at the very same rows count, and so do those at a holdout that shares a tenth of this one's; `unknown` is how
    many there may have been that nobody knows of any more.
    """
    latest = unknown
    related = {tally.holdout}
    for judged in history:
        if judged.holdout not in related and judged.sketch:
            share = shared(tally.sketch, tally.rows, judged.sketch, judged.verdict.rows)
            related |= {judged.holdout} if share >= SHARED else set()
        if judged.holdout in related:
            latest = max(latest, judged.verdict.look)
    return latest + 1


def shared(sketch: Sequence[int], rows: int, other: Sequence[int], other_rows: int) -> float:
    """The share of these rows that are among the other rows too, from 0 to 1.

    Exact up to 1,024 rows on each side; above it the estimate of two bottom-k sketches (Broder 1997), whose
    standard error is about sqrt(share/1,024).
    """
    union = sorted({*sketch, *other})
    if len(sketch) >= SKETCH or len(other) >= SKETCH:
        union = union[:SKETCH]
    if not union or not rows:
        return 0.0
    both = set(sketch) & set(other)
    jaccard = sum(each in both for each in union) / len(union)
    return min(1.0, jaccard / (1 + jaccard) * (rows + other_rows) / rows)

"""Is the challenger better? A pure function of the tally, the rules and the number of the comparison."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import ldexp
from sys import float_info
from typing import Any

from msgspec.structs import replace

from retrain.core.bounds import bar, beyond, expected, worse_later
from retrain.core.events import HistoryLost, Judged
from retrain.core.evidence import contradict, f1_of
from retrain.core.records import Counts, Label
from retrain.core.rules import Average, FloorAs, Gate, Guarantee, Metric
from retrain.core.score import FEW_DISCORDANT, Paired, UndefinedMetricError, compare, counts_of, least, score_of
from retrain.core.verdicts import Cell, Leaked, Ruling, Slice, SliceVerdict, Tally, Verdict, VerdictReason

FLOOR_LEVEL = 0.05
"""The one-sided level of the bound that must reach the floor where there is no champion."""
FEWEST_ROWS = 30
"""So many rows of the positive class, else of the rarest, must judge a first model."""


def alpha_of(gate: Gate, number: int) -> float:
    """The one-sided level at which the comparison with this number on a holdout is decided, the first being 1.

    Under `lifetime` the levels of all comparisons sum to alpha (alpha spending): every `holdout_uses` of them they
    halve (`retrain guide statistics`). Under `regret` it is that at which the expected gain is `harm_weight` times the
    expected loss.
    """
    if gate.guarantee is Guarantee.REGRET:
        return beyond(bar(gate.harm_weight))
    if gate.guarantee is Guarantee.PER_TEST:
        return float(gate.alpha)
    halvings = (number - 1) // gate.holdout_uses + 1
    # Never 0: however often a holdout was used, a large enough gain is still promoted.
    return max(ldexp(gate.alpha / gate.holdout_uses, -halvings), float_info.min)


def judge(tally: Tally, gate: Gate, number: int) -> Verdict:
    """The verdict on a tally in the comparison with this number on its holdout.

    Where the metric has no value nothing was compared and no score is shown: such a comparison does not count.
    """
    alpha = alpha_of(gate, number)
    empty = Verdict(Ruling.INCONCLUSIVE, gate.metric, tally.rows, None, None, alpha, number - 1)
    if (reason := _undefined(tally.cells, gate)) is not None:
        return replace(empty, reason=reason, labels=tuple(sorted(_truths(tally.cells), key=str)))
    tally = _without_strange_labels(tally, gate)
    try:
        if all(cell.champion is None for cell in tally.cells):
            return _unopposed(tally, gate, replace(empty, alpha=FLOOR_LEVEL, look=number))
        return _opposed(tally, gate, replace(empty, look=number))
    except UndefinedMetricError:
        return replace(empty, reason=VerdictReason.UNDEFINED)


def _opposed(tally: Tally, gate: Gate, empty: Verdict) -> Verdict:
    """The verdict beside a champion, at the level of `empty`. Raises UndefinedMetricError."""
    alpha, paired = empty.alpha, compare(tally.cells, gate, tally.groups)
    slices = tuple(_slice(each, gate, gate.alpha / len(tally.slices)) for each in tally.slices)
    reason = _reason(paired, gate, alpha, vetoed=any(each.worse for each in slices))
    is_regret, above = gate.guarantee is Guarantee.REGRET, paired.gain - gate.min_improvement
    shown = gate.alpha if is_regret else alpha  # bounds of so low a level as decides under regret mean little
    won, lost, positives = _changes(tally.cells, gate)
    counts = counts_of(tally.cells, gate.positive, "champion"), counts_of(tally.cells, gate.positive, "challenger")
    return replace(
        empty,
        ruling=reason.ruling,
        challenger_score=paired.new,
        champion_score=paired.old,
        alpha=shown,
        reason=reason,
        discordant=paired.discordant,
        won=won,
        lost=lost,
        positives=positives,
        difference=paired.difference,
        standard_error=paired.error,
        interval=paired.interval(shown),
        detectable=paired.detectable(alpha, gate.min_improvement),
        slices=slices,
        few=_few(tally.cells, paired.effect),
        **_grouped(tally, paired.effect),
        expected=expected(above, paired.error) if paired.error else None,
        worse_later=worse_later(above / paired.error) if is_regret and paired.error else None,
        counts=counts if is_live_f1(gate) else None,
    )


def on_same_rows(tally: Tally, gate: Gate, alpha: float) -> Verdict:
    """The verdict on a champion beside the one before: a rejection where it is worse, at this one-sided level."""
    rules = {"guarantee": Guarantee.PER_TEST, "alpha": alpha, "min_improvement": 0.0, "floor": None}
    return judge(tally, replace(gate, **rules), 1)


def _grouped(tally: Tally, effect: float) -> dict[str, Any]:
    """What a verdict says of the groups of its rows."""
    number, column = (tally.groups.number, tally.groups.column) if tally.groups is not None else (None, None)
    return {"groups": number, "group": column, "effective_rows": round(tally.rows / effect)}


def _reason(paired: Paired, gate: Gate, alpha: float, *, vetoed: bool) -> VerdictReason:
    """The reason of the verdict."""
    low, high = paired.interval(alpha)
    # Vetoes first: no gain outweighs them.
    if vetoed:
        return VerdictReason.WORSE_SLICE
    if gate.floor is not None and paired.new < gate.floor:
        return VerdictReason.BELOW_FLOOR
    if paired.discordant == 0:
        return VerdictReason.SAME_PREDICTIONS
    if low > gate.min_improvement:
        return VerdictReason.BETTER
    return VerdictReason.NOT_BETTER if high <= gate.min_improvement else VerdictReason.UNDECIDED


def beside_live(verdict: Verdict, live: Counts | None) -> Verdict:
    """The verdict of a comparison on a file, beside the counts of the champion's last window.

    Where these contradict the holdout its rows are not like those of today, and no challenger is rejected by them.
    """
    if live is None or verdict.counts is None or not contradict(verdict.counts[0], live):
        return verdict
    verdict = replace(verdict, live=f1_of(live))
    if verdict.ruling is not Ruling.REJECT:
        return verdict
    return replace(verdict, ruling=Ruling.INCONCLUSIVE, reason=VerdictReason.STALE_HOLDOUT)


def _unopposed(tally: Tally, gate: Gate, empty: Verdict) -> Verdict:
    """The verdict where no champion serves: the floor alone decides. Raises UndefinedMetricError."""
    cells, floor = tally.cells, gate.unopposed_floor
    value = score_of(cells, gate, "challenger").value
    lower, effect = least(cells, gate, FLOOR_LEVEL, tally.groups)
    of_class: Counter[Label] = Counter()
    for cell in cells:
        of_class[cell.truth] += cell.rows
    rarest = min(of_class, key=lambda label: (of_class[label], str(label)))
    label = gate.positive if _is_of_one_class(gate) else rarest
    if floor is None:
        reason = VerdictReason.NO_FLOOR
    elif value < floor:
        reason = VerdictReason.BELOW_FLOOR
    elif gate.floor_as is FloorAs.POINT:
        reason = VerdictReason.REACHES_FLOOR
    elif of_class[label] < FEWEST_ROWS * effect:
        reason = VerdictReason.FEW_ROWS
    else:
        reason = VerdictReason.REACHES_FLOOR if lower >= floor else VerdictReason.FLOOR_UNDECIDED
    return replace(
        empty,
        ruling=reason.ruling,
        challenger_score=value,
        reason=reason,
        few=((label, int(of_class[label] / effect)),) if reason is VerdictReason.FEW_ROWS else (),
        lower=lower,
        **_grouped(tally, effect),
    )


def is_live_f1(gate: Gate) -> bool:
    """Whether the metric is that which is monitored."""
    return gate.metric is Metric.F1 and gate.average is Average.BINARY


def _changes(cells: Sequence[Cell], gate: Gate) -> tuple[int, int, tuple[int, int] | None]:
    """The rows on which the challenger alone is right, and the champion alone; and the positives among both.

    For a binary F1 they are the exact account of the gain.
    """
    won, lost = Counter[bool](), Counter[bool]()
    for cell in cells:
        if cell.champion != cell.challenger and cell.truth in (cell.champion, cell.challenger):
            (won if cell.challenger == cell.truth else lost)[cell.truth == gate.positive] += cell.rows
    labels = {label for cell in cells for label in (cell.truth, cell.champion, cell.challenger)}
    is_account = gate.average is Average.BINARY and len(labels) == 2
    return won.total(), lost.total(), (won[True], lost[True]) if is_account else None


def _slice(part: Slice, gate: Gate, alpha: float) -> SliceVerdict:
    """The slice, compared on its own at the one-sided level alpha."""
    verdict = SliceVerdict(part.column, part.value, sum(cell.rows for cell in part.cells))
    try:
        paired = compare(part.cells, gate, part.groups)
    except UndefinedMetricError:
        return verdict
    if _is_of_one_class(gate) and gate.positive not in _truths(part.cells):
        return verdict
    worse = paired.discordant > 0 and paired.interval(alpha)[1] < min(0.0, gate.min_improvement)
    discordant = paired.discordant if part.groups is None else part.groups.discordant
    tested = worse or discordant >= FEW_DISCORDANT
    return replace(verdict, difference=paired.difference, tested=tested, worse=worse)


def _without_strange_labels(tally: Tally, gate: Gate) -> Tally:
    """The tally with each predicted label that is no class of the holdout read as the wrong one of two classes.

    Otherwise F1 would take it for a right answer wherever the truth is not positive.
    """
    if not _is_of_one_class(gate):
        return tally
    one, other = _truths(tally.cells)

    def known(label: Any, truth: Label) -> Any:
        return label if label in (one, other, None) else other if truth == one else one

    def read(cells: Iterable[Cell]) -> tuple[Cell, ...]:
        return tuple(
            Cell(each.truth, known(each.champion, each.truth), known(each.challenger, each.truth), each.rows)
            for each in cells
        )

    slices = tuple(replace(each, cells=read(each.cells)) for each in tally.slices)
    return replace(tally, cells=read(tally.cells), slices=slices)


def _truths(cells: Iterable[Cell]) -> frozenset[Label]:
    """The classes of the rows."""
    return frozenset(cell.truth for cell in cells)


def _few(cells: Sequence[Cell], effect: float) -> tuple[tuple[Label, int], ...]:
    """The classes with few rows on which the models differ, and how many; `effect` rows count as one."""
    rows = dict.fromkeys(sorted(_truths(cells), key=str), 0)
    for cell in cells:
        rows[cell.truth] += cell.rows * (cell.champion != cell.challenger)
    return tuple(each for each in rows.items() if each[1] < FEW_DISCORDANT * effect)


def _is_of_one_class(gate: Gate) -> bool:
    return gate.average is Average.BINARY and gate.metric in (Metric.F1, Metric.PRECISION, Metric.RECALL)


def _undefined(cells: Sequence[Cell], gate: Gate) -> VerdictReason | None:
    """Why the metric says nothing on this holdout; None where it does.

    Where all rows are of one class, a model that knows nothing but that is right.
    """
    truths = _truths(cells)
    if not _is_of_one_class(gate):
        return VerdictReason.ONE_CLASS if len(truths) == 1 else None
    if len(truths) == 2 and gate.positive in truths:
        return None
    if gate.positive not in truths:
        return VerdictReason.NO_POSITIVE
    return VerdictReason.MANY_CLASSES if len(truths) > 2 else VerdictReason.ONE_CLASS


SKETCH = 1024
"""How many of the smallest row hashes are kept of a holdout."""
RowKey = tuple[tuple[str, ...], int | None]
"""By which columns a row is known, and how many decimals of its numbers; None: as they are."""
MOST_KEYS = 64
"""Keys by which a holdout is compared with earlier ones; each one costs a hash of every row."""
SHARED = 0.1
"""A holdout that shares this part of its rows with an earlier one continues its count (`retrain guide statistics`)."""


def next_comparison(tally: Tally, ledger: Iterable[Judged | HistoryLost], uses: int) -> int:
    """The number of the comparison that this tally is, the first being 1.

    Comparisons on the very same rows count, and so do those on a holdout that shares a tenth of this one's. Those on
    rows older than the champion's training count together, and a history that was lost as `uses` comparisons, on
    whatever rows.
    """
    latest = 0
    related, aged = {tally.holdout}, are_old(tally.leaked, tally.rows)
    own = {(each.columns, each.decimals): frozenset(each.hashes) for each in tally.sketches}
    for judged in ledger:
        if isinstance(judged, HistoryLost):
            latest += uses
            continue
        same_age = aged and are_old(judged.leaked, judged.verdict.rows)
        if same_age or (judged.holdout not in related and _shares_rows(own, tally.rows, judged)):
            related.add(judged.holdout)
        if judged.holdout in related:
            latest = max(latest, judged.verdict.look)
    return latest + 1


def are_old(leaked: Leaked, rows: int) -> bool:
    """Whether a tenth of the holdout's rows or more are older than the champion's training."""
    return (leaked.older or 0) >= SHARED * rows


def row_keys(ledger: Iterable[Judged | HistoryLost]) -> tuple[RowKey, ...]:
    """How the rows of the holdouts in the ledger are known, the latest keys first."""
    known = enumerate(each.sketches for each in ledger if isinstance(each, Judged))
    latest = {(it.columns, it.decimals): (when, -place) for when, its in known for place, it in enumerate(its)}
    return tuple(sorted(latest, key=latest.__getitem__, reverse=True))[:MOST_KEYS]


def _shares_rows(own: Mapping[RowKey, frozenset[int]], rows: int, judged: Judged) -> bool:
    """Whether these rows, known by their own hashes, are among those of an earlier holdout, by any columns of both."""
    pairs = [(own.get((its.columns, its.decimals), frozenset()), its.hashes) for its in judged.sketches]
    return any(shared(mine, rows, its, judged.verdict.rows) >= SHARED for mine, its in pairs)


def shared(sketch: frozenset[int], rows: int, other: Sequence[int], other_rows: int) -> float:
    """The share of these rows that are among the other rows too, from 0 to 1.

    Exact up to 1,024 rows on each side; above it the estimate of two bottom-k sketches (Broder 1997), whose
    standard error is about sqrt(share/1,024).
    """
    if not rows or sketch.isdisjoint(other):  # as nearly all are in a long ledger
        return 0.0
    union = sorted({*sketch, *other})
    if len(sketch) >= SKETCH or len(other) >= SKETCH:
        union = union[:SKETCH]
    both = sketch.intersection(other)
    jaccard = sum(each in both for each in union) / len(union)
    return min(1.0, jaccard / (1 + jaccard) * (rows + other_rows) / rows)

"""A verdict in words: a line for a log, a table for a terminal. For readers who know no statistics."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from math import floor, log10
from textwrap import wrap
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from retrain.core.bounds import quantile
from retrain.core.events import Judged
from retrain.core.evidence import contradict, f1_of
from retrain.core.judge import FEWEST_ROWS, FLOOR_LEVEL, alpha_of, are_old
from retrain.core.past import Past, Probation
from retrain.core.records import Counts
from retrain.core.rules import Average, Disclose, Gate, Guarantee, Metric
from retrain.core.score import POWER
from retrain.core.text import apart, counted, duration, moment, one_line, short
from retrain.core.verdicts import Leaked, Ruling, SliceVerdict, Verdict, VerdictReason

FRESH_MARGIN, MOST_ROWS = 1.2, 1e9
"""So many more rows than the formula says, since the error is itself an estimate; no larger holdout is advised."""
_SHOWN, _WIDTH, _INDENT = 5, 80, 28


class Row(Struct, frozen=True):
    """A line of the table. `meaning` is shown on a terminal only."""

    title: str
    text: str
    meaning: str = ""


_WORDS = {Ruling.PROMOTE: "promote", Ruling.REJECT: "rejected", Ruling.INCONCLUSIVE: "inconclusive"}


def head(judged: Judged, given: str, forced: str | None, *, opposed: bool, wins: bool) -> str:
    """What was done with the challenger, or would be.

    `given` is the name of its file where a person gave one, `forced` the reason of a person who promotes it whatever
    the verdict; `opposed` says that a champion serves.
    """
    name = short(judged.challenger) + (f" ({one_line(given)})" if given else "")
    ruling, recorded = _WORDS[judged.verdict.ruling], ", recorded verdict" if judged.repeated else ""
    force = f" by force (reason: {one_line(forced)})" if forced is not None else ""
    force += f", verdict {ruling}" if force and judged.verdict.ruling is not Ruling.PROMOTE else ""
    if judged.dry_run:
        would = f"would be promoted{force}" if wins else f"would not be promoted ({ruling})"
        return f"dry run, {name} {would}{recorded}"
    if wins:
        return f"promoted {name}{force}{recorded}"
    stays = "the champion stays" if opposed else "nothing serves yet"
    return f"{ruling}{' for' if judged.verdict.ruling is Ruling.INCONCLUSIVE else ''} {name}, {stays}{recorded}"


def notes(  # noqa: PLR0913  (all that a reader may have to know)
    judged: Judged,
    past: Past,
    gate: Gate,
    max_leakage: float | None,
    probation: timedelta | None,
    *,
    opposed: bool,
    dated: str | None,
) -> Iterator[Row]:
    """What is to be known besides the verdict.

    `max_leakage` is None where leakage is not checked, `probation` where none begins. `opposed`: a champion serves;
    `dated`: the column with the time of a row, where rows must be newer than its training.
    """
    verdict, leaked = judged.verdict, judged.leaked
    if verdict.live is not None and verdict.reason is not VerdictReason.STALE_HOLDOUT:
        yield Row("warning", f"{stale(verdict.champion_score or 0.0, verdict.live)}; {RENEW}")
    for model in verdict.models:
        if model.saved:
            yield Row(model.side, f"was {model.saved}")
    if opposed and judged.champion is None:
        yield Row("champion", "could not be scored, so nothing was compared with it")
    if max_leakage is not None:
        if seen := leakage(leaked, verdict.rows, max_leakage):
            yield Row("warning", seen)
        known = {"challenger": leaked.challenger, "champion": leaked.champion if opposed else 0}
        if unknown := [side for side, count in known.items() if count is None]:
            yield Row("leakage", f"not checked for the {' and the '.join(unknown)}, whose training rows are not known")
    if dated is not None and judged.champion is not None and leaked.older != 0:
        yield Row("age", _age(leaked, verdict.rows, dated))
    if past.losses and not judged.repeated:
        lost = f" before {moment(past.lost_at)}" if past.lost_at is not None else ""
        yield Row("journal", f"comparisons{lost} are not known, and are counted as {past.losses * gate.holdout_uses}")
    if judged.dry_run and not judged.repeated and verdict.challenger_score is not None:
        yield Row("dry run", "nothing was changed, but the comparison counts; promote will use this verdict")
    if probation is not None:
        yield Row("probation", _on_probation(past.probation, probation))


def _on_probation(new: Probation | None, length: timedelta) -> str:
    """How long the new champion is on probation, and what ends it."""
    if new is None:
        return "none, since no champion served before"
    worse = f"it is worse than {short(new.before)} on rows of monitor.log that come from now on"
    live = "" if new.f1 is None else f" or, without such rows, if live F1 falls below the {new.f1:.3f} of that one"
    return f"for {duration(length)} a check rolls back if {worse}{live}"


def line(head: str, verdict: Verdict, gate: Gate, notes: Sequence[Row] = ()) -> str:
    """The verdict in one line: cause, numbers, remedy, then the notes. `head` says what was done."""
    reason, remedy = because(verdict, gate)
    new, old = verdict.challenger_score, verdict.champion_score
    brief = ("lower confidence bound", "gain", "confidence bounds", "holdout rows", "holdout comparison")
    rows = [f"{row.title} {row.text}" for row in _table(verdict, gate) if row.title in brief]
    scores = [f"{name_of(gate)} {new:z.3f}"] if new is not None else []
    numbers = ", ".join([*scores, *([f"champion {old:z.3f}"] if scores and old is not None else []), *rows])
    first = f"{head}: {reason}; {numbers}" + (f" ({remedy})" if remedy else "")
    return "; ".join([first, *(f"{row.title}: {row.text}" for row in [*_few(verdict), *notes])])


def screen(head: str, verdict: Verdict, gate: Gate, notes: Sequence[Row] = (), *, forced: bool = False) -> str:
    """The verdict as a sentence over a table, in 80 columns unless a word is longer; where `forced`, no promise."""
    reason, _ = because(verdict, gate)
    fits = len(f"{head}: {reason}") <= _WIDTH
    lines = [f"{head}: {reason}"] if fits else [*_wrapped(f"{head}:", _WIDTH), *_wrapped(reason, _WIDTH)]
    for row in facts(verdict, gate, notes, forced=forced):
        first, *more = _wrapped(row.text + (f" ({row.meaning})" if row.meaning else ""), _WIDTH - _INDENT)
        lines += [f"  {row.title:{_INDENT - 2}}{first}", *(" " * _INDENT + each for each in more)]
    return "\n".join(lines)


def facts(verdict: Verdict, gate: Gate, notes: Sequence[Row] = (), *, forced: bool = False) -> list[Row]:
    """All that is to be known of the verdict, and what a person can do. Nothing is promised of what was `forced`."""
    promised, (_, remedy) = [] if forced else _promised(verdict, gate), because(verdict, gate)
    return [*_table(verdict, gate), *promised, *_few(verdict), *notes, *([Row("what to do", remedy)] if remedy else [])]


_NUMBERS = (
    *("metric", "rows", "discordant", "difference", "standard_error"),
    *("interval", "alpha", "look", "detectable", "groups", "effective_rows", "worse_later"),
)


def fields(verdict: Verdict, champion: str | None, challenger: str) -> dict[str, Any]:
    """What --json has of a comparison of these versions, in every command."""
    gain, loss = verdict.expected or (None, None)
    return {
        "verdict": verdict.ruling,
        "reason": verdict.reason,
        "champion": champion and {"version": champion, "score": verdict.champion_score},
        "challenger": {"version": challenger, "score": verdict.challenger_score},
        **{name: getattr(verdict, name) for name in _NUMBERS},
        "expected_gain": gain,
        "expected_loss": loss,
        "lower_bound": verdict.lower,
        "few_discordant": [{"class": label, "rows": rows} for label, rows in verdict.few],
        "slices": [
            {"column": each.column, "value": "" if each.value is None else str(each.value), "rows": each.rows}
            | {"difference": each.difference, "worse": each.worse}
            for each in verdict.slices
        ],
    }


def _wrapped(text: str, width: int) -> list[str]:
    return wrap(text, width, break_long_words=False, break_on_hyphens=False)


def name_of(gate: Gate) -> str:
    """The metric as people write it: `F1`, `macro F1`, `balanced accuracy`."""
    own = {Metric.F1: "F1", Metric.MCC: "MCC"}.get(gate.metric, gate.metric.replace("_", " "))
    averaged = gate.metric in (Metric.F1, Metric.PRECISION, Metric.RECALL) and gate.average is not Average.BINARY
    return f"{gate.average} {own}" if averaged else own


def because(verdict: Verdict, gate: Gate) -> tuple[str, str]:
    """The reason of the verdict in a clause, and what a person can do about it (empty: nothing)."""
    found = _of_the_gain(verdict, gate) or _of_the_floor(verdict, gate) or _undefined(verdict, gate)
    return found or (str(verdict.ruling), "")  # for a reason of earlier releases


def _of_the_gain(verdict: Verdict, gate: Gate) -> tuple[str, str] | None:
    """The reason where two models were compared; None for another one."""
    margin = f"min_improvement {gate.min_improvement:+g}" if gate.min_improvement else ""
    match verdict.reason:
        case VerdictReason.BETTER:
            return f"the gain is above {margin}" if margin else "better than the champion", ""
        case VerdictReason.NOT_BETTER:
            return f"the gain is not above {margin}" if margin else "not better than the champion", ""
        case VerdictReason.WORSE_SLICE:
            worse = "; ".join(_loss(each) for each in verdict.slices if each.worse)
            return f"worse where {worse}, which promotion.slices forbids", ""
        case VerdictReason.STALE_HOLDOUT:
            return stale(verdict.champion_score or 0.0, verdict.live or 0.0), RENEW
        case VerdictReason.UNDECIDED if gate.guarantee is Guarantee.REGRET:
            above = f" above {margin}" if margin else ""
            why = f"the expected gain{above} is not {gate.harm_weight:g} times the expected loss"
            return f"{why} (promotion.harm_weight)", _larger(verdict, gate)
        case VerdictReason.UNDECIDED:
            return f"the confidence bounds of the gain include {margin or '0'}", _larger(verdict, gate)
        case VerdictReason.SAME_PREDICTIONS:
            return "the models predict the same on every row", ""
    return None


def _loss(part: SliceVerdict) -> str:
    """`region = south (-0.200 on 250 rows)`, without the gain where that is not disclosed."""
    gain = f"{signed(part.difference)} on " if part.difference is not None else ""
    return f"{where(part)} ({gain}{counted(part.rows, 'row')})"


def _of_the_floor(verdict: Verdict, gate: Gate) -> tuple[str, str] | None:
    """The reason where the floor decided, most often since there is no champion; None for another one."""
    match verdict.reason:
        case VerdictReason.REACHES_FLOOR | VerdictReason.BELOW_FLOOR:
            return _beside_the_floor(verdict, gate), ""
        case VerdictReason.FLOOR_UNDECIDED:
            return f"{_beside_the_floor(verdict, gate)}, but its lower confidence bound does not", _first(gate)
        case VerdictReason.FEW_ROWS:
            of_class = ", ".join(f"{counted(rows, 'row')} of class {label!r}" for label, rows in verdict.few)
            few = f"the holdout has only {of_class or 'a few rows'}, and a first model needs {FEWEST_ROWS}"
            return f"there is no champion to beat, and {few}", _first(gate)
        case VerdictReason.NO_FLOOR:
            what = "set promotion.floor or triggers.performance_threshold"
            return "there is no champion to beat, and no floor is set", what
    return None


def _undefined(verdict: Verdict, gate: Gate) -> tuple[str, str] | None:
    """The reason where the metric has no value on this holdout; None for another one."""
    every = f"{more_rows(gate)}, with at least a few dozen of every class"
    classes = ", ".join(map(repr, verdict.labels[:_SHOWN]))
    match verdict.reason:
        case VerdictReason.NO_POSITIVE:
            why = f"no row has the positive label {gate.positive!r} (the labels are {classes})"
            what = f"correct promotion.positive (YAML reads an unquoted yes or no as a truth value), or {every}"
        case VerdictReason.ONE_CLASS:
            why, what = f"every row is of class {classes}", every
        case VerdictReason.MANY_CLASSES:
            why = f"the holdout has {len(verdict.labels)} classes, and promotion.average is binary"
            what = "set promotion.average to macro, weighted or micro"
        case VerdictReason.UNDEFINED:
            why, what = "it is 0/0 where a model predicts one class only", "correct the model"
        case _:
            return None
    return f"{name_of(gate)} cannot be computed: {why}", what


def more_rows(gate: Gate) -> str:
    """What to do where too few rows judge a challenger."""
    if not gate.rows_by:
        return "take more rows as holdout"
    keys = "share, windows or min_rows" if gate.rows_by.endswith("fresh") else "min_rows"
    return f"raise {keys} of {gate.rows_by} and train again (retrain check --force --reason TEXT)"


def _first(gate: Gate) -> str:
    """What to do where they cannot admit a first model."""
    return f"{more_rows(gate)}; promotion.floor_as: point takes the score as it is"


def _beside_the_floor(verdict: Verdict, gate: Gate) -> str:
    """The clause about a challenger that the floor admits or keeps out."""
    is_alone = verdict.discordant is None
    limit = (gate.unopposed_floor if is_alone else gate.floor) or 0.0
    if verdict.challenger_score is None:
        return f"{name_of(gate)} is below the floor {limit:g}"
    (shown, floor_shown), reaches = apart(verdict.challenger_score, limit), verdict.challenger_score >= limit
    alone = f"there is no champion to beat, {'and' if reaches else 'but'} " if is_alone else ""
    return f"{alone}{name_of(gate)} {shown} {'reaches' if reaches else 'is below'} the floor {floor_shown}"


def _larger(verdict: Verdict, gate: Gate) -> str:
    """The size of a fresh holdout that shows a gain of this size; empty where there is none, or it is too small."""
    if verdict.difference is None or verdict.standard_error is None:
        return ""
    above = verdict.difference - gate.min_improvement
    if above <= 0:
        return ""
    z = quantile(alpha_of(gate, 1)) + POWER
    copies = verdict.groups is not None and verdict.group is None  # which a fresh holdout need not have
    seen = (verdict.effective_rows if copies else None) or verdict.rows
    needed = max(seen, seen * (z * verdict.standard_error / above) ** 2 * FRESH_MARGIN)
    unit = 10 ** max(0, floor(log10(needed)) - 1)  # two significant digits, upwards
    rows = f"about {int(-(-needed // unit) * unit):,}"
    if needed > MOST_ROWS:
        return ""
    if gate.rows_by:
        return f"raise {gate.rows_by}.min_rows to {rows}, to show this gain"
    return f"take a fresh holdout of {rows} rows, none of these among them, to show this gain"


def _table(verdict: Verdict, gate: Gate) -> Iterator[Row]:
    """Every number of the verdict."""
    new, old = verdict.challenger_score, verdict.champion_score
    is_lifetime, look = gate.guarantee is Guarantee.LIFETIME, verdict.look
    is_worn = is_lifetime and look > gate.holdout_uses
    if new is not None:
        both = f"challenger {new:z.3f}, champion {old:z.3f}" if old is not None else f"{new:z.3f}"
        yield Row(name_of(gate), both)
    if verdict.lower is not None:
        yield Row("lower confidence bound", f"{max(0.0, verdict.lower):.3f}", _confidence(1 - FLOOR_LEVEL))
    if verdict.difference is not None:
        yield Row("gain", signed(verdict.difference))
    if verdict.interval is not None and verdict.discordant:
        low, high = map(signed, verdict.interval)
        yield Row("confidence bounds", f"{low} to {high}", _confidence(1 - 2 * verdict.alpha))
    yield Row("holdout rows", *_grouped(verdict))
    yield from _discordant(verdict)
    if new is not None or verdict.discordant is not None:
        number = f"{look} of {gate.holdout_uses}" if is_lifetime else f"{look}"
        yield Row("holdout comparison", number, "worn out: take a fresh holdout" if is_worn else "")
    if verdict.detectable is not None:
        fresh = gate.min_improvement + (quantile(alpha_of(gate, 1)) + POWER) * (verdict.standard_error or 0.0)
        beside = f"on a fresh holdout of this size {signed(fresh)}" if is_worn else ""
        yield Row("smallest detectable gain", signed(verdict.detectable), beside)


def _grouped(verdict: Verdict) -> tuple[str, str]:
    """How many rows there are and, where some belong together, how many independent rows they are worth."""
    rows, groups, worth = f"{verdict.rows:,}", verdict.groups, verdict.effective_rows or 0
    if groups is None:
        return rows, ""
    about = f"worth about {float(f'{worth:.2g}'):,.0f} independent rows"  # an estimate, so with two digits
    if verdict.group is None:
        return f"{rows}, of which {groups:,} differ, {about}", "rows equal in all columns are taken for copies"
    return f"{rows} of {counted(groups, 'group')} by {one_line(verdict.group)}, {about}", ""


def _confidence(share: float) -> str:
    return f"with {100 * share:.4g}% confidence" if share <= 0.9999 else "with more than 99.99% confidence"


def _discordant(verdict: Verdict) -> Iterator[Row]:
    """The rows on which the models differ, and who is right there."""
    if verdict.discordant is None:
        return
    who = "" if verdict.won is None else f"challenger right on {verdict.won:,}, champion right on {verdict.lost:,}"
    yield Row("discordant rows", f"{verdict.discordant:,}", who)
    if verdict.positives is not None and verdict.won is not None and verdict.lost is not None:
        found, missed = verdict.positives
        yield Row("missed positives", f"{found:,} fewer, {missed:,} new")
        yield Row("false alarms", f"{verdict.won - found:,} fewer, {verdict.lost - missed:,} new")


def _promised(verdict: Verdict, gate: Gate) -> Iterator[Row]:
    """What the guarantee says of this verdict: what is weighed, or how probable a promotion of no better one is."""
    look, alpha = verdict.look, verdict.alpha
    if gate.guarantee is Guarantee.REGRET:
        if verdict.expected is not None:
            gain, loss = (signed(each)[1:] for each in verdict.expected)
            rule = f"to promote, it must be above {gate.harm_weight:g} times the loss"
            yield Row("expected gain", f"{gain}, expected loss {loss}", rule)
        if verdict.worse_later is not None and verdict.ruling is Ruling.PROMOTE:
            low, high = (f"{100 * share:.0f}" for share in verdict.worse_later)
            what = "in the next four windows, on six real streams: no promise"
            yield Row("worse later", f"{low} to {high}% of such challengers", what)
    elif verdict.discordant is not None and gate.guarantee is Guarantee.LIFETIME:
        scope = "over all comparisons on this holdout"
        if gate.disclose is Disclose.SCORES:
            scope += ", for challengers chosen without knowledge of earlier scores"
            scope += "; after so many comparisons, choosing by them voids this" if look > gate.holdout_uses else ""
        yield Row("false-promotion risk", f"at most {100 * gate.alpha:.3g}%", scope)
    elif verdict.discordant is not None:
        together = f", at most {100 * min(1.0, look * alpha):.3g}% in {look} together" if look > 1 else ""
        yield Row("false-promotion risk", f"at most {100 * alpha:.3g}%", f"in each comparison{together}")


def _few(verdict: Verdict) -> Iterator[Row]:
    """The classes with few discordant rows, whether any slice is worse, and which are too small to be tested."""
    if verdict.discordant and verdict.few:
        named = ", ".join(f"{label} ({differ})" for label, differ in verdict.few[:_SHOWN])
        yield Row("few discordant rows", f"in class {named}{_more(verdict.few)}")
    slices, untested = verdict.slices, [each for each in verdict.slices if not each.tested]
    if slices:
        tested, worse = len(slices) - len(untested), sum(each.worse for each in slices)
        yield Row("slices", f"{tested} of {len(slices)} tested" + (f", {worse or 'none'} worse" if tested else ""))
    if untested:
        named = ", ".join(f"{where(each)} ({counted(each.rows, 'row')})" for each in untested[:_SHOWN])
        yield Row("slices not tested", f"{named}{_more(untested)}: too few discordant rows, or no value of the metric")


def _more(listed: Sequence[object]) -> str:
    return f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""


def leakage(leaked: Leaked, rows: int, most: float) -> str:
    """The clause about a model that was trained on more than this share of the rows; empty where none is known."""
    for side, count in (("challenger", leaked.challenger), ("champion", leaked.champion)):
        if count is not None and count / rows > most:
            share = f"{count / rows:.2%}; promotion.max_leakage is {most:.2%}"
            return f"the {side} was trained on {count:,} of the {counted(rows, 'holdout row')} ({share})"
    return ""


def _age(leaked: Leaked, rows: int, column: str) -> str:
    """The sentence about rows that are older than the champion's training, or may be."""
    if leaked.older is None:
        unknown = "it is not known whether the holdout rows are newer than the champion's training"
        return f"{unknown} (let the training write their time as column {column!r}, monitor.timestamp)"
    older = f"{leaked.older:,} of the {counted(rows, 'holdout row')} are older than the champion's training"
    counts = ", so all comparisons on such rows count together" if are_old(leaked, rows) else ""
    return f"{older}{counts} (let the training write its newest rows to RETRAIN_HOLDOUT)"


RENEW = "renew promotion.holdout, or set it to fresh"


def stale(shown: float, live: float) -> str:
    """The clause about a holdout whose rows are not like those of today."""
    return f"on this holdout the champion has F1 {shown:.3f}, live {live:.3f}: it says nothing about today"


def contradiction(shown: Counts | None, live: Counts | None) -> str:
    """The sentence about a holdout on which the champion has these counts; empty where live ones do not contradict."""
    if shown is None or live is None or not contradict(shown, live):
        return ""
    return stale(f1_of(shown), f1_of(live))


def disclosed(verdict: Verdict, gate: Gate, *, wins: bool) -> Verdict:
    """The verdict as it may be shown: where promotion.disclose says so, without the scores of who is not promoted."""
    if gate.disclose is Disclose.SCORES or wins:
        return verdict
    hidden = dict.fromkeys(("challenger_score", "difference", "interval", "won", "lost", "positives", "lower"))
    slices = tuple(replace(each, difference=None) for each in verdict.slices)
    # The champion's score alone says nothing about the challenger, and a stale holdout is known by it.
    old = verdict.champion_score if verdict.live is not None else None
    return replace(verdict, **hidden, champion_score=old, expected=None, worse_later=None, slices=slices, cells=())


def where(verdict: SliceVerdict) -> str:
    """The slice in words: `region = south`."""
    return one_line(f"{verdict.column} = {'(missing)' if verdict.value is None else verdict.value}", 60)


def signed(gain: float) -> str:
    """A gain with its sign, and with as many decimals from 3 to 6 as it takes to tell it from zero."""
    shown = (f"{gain:+.{digits}f}" for digits in range(3, 7))
    return next((each for each in shown if float(each)), "+0.000")

"""One look at the monitor → each signal healthy, in breach, too small to judge, or unknown with its reason."""

from datetime import datetime, timedelta
from math import sqrt

from msgspec.structs import replace

from retrain.core.evidence import at_share, chance_of_drop, dispersion_of, f1_of, share_of, usual, weigh
from retrain.core.past import BY_NUMBERS, Past, Streak
from retrain.core.records import Assessment, Counts, Drop, Mix, Signal, Snapshot, State, Trouble, Unknown
from retrain.core.rules import Auto, Side, Triggers
from retrain.core.text import duration, moment

CLOCK_SLACK = timedelta(minutes=5)
"""How far ahead of our clock the end of a window may lie."""
F1_ROUNDING = 0.005
"""How far F1 may be from its counts: monitors round to two decimals."""

CHANCE_OF_DROP = 0.01
"""Of a window in breach of max_drop though F1 is what it was in the first one, where counts are known."""
MOST = 1e15
"""More than any window can count; beyond it floats miss whole numbers."""

_ROUNDING = 1.5
"""How far a sum of two counts may be from a third one: queries such as round(increase(tp[7d])) round each alone."""
_ONE_WINDOW = "are all of one window, or does one count from the start of the monitor?"

NOTICEABLE = 0.01
"""How far F1 at the usual share of positives must be from F1 to be shown; the share must differ beyond chance, too."""


def assess(snapshot: Snapshot, triggers: Triggers, past: Past) -> tuple[Assessment, ...]:
    """An assessment of every signal that is watched, F1 first.

    `past` tells when the present champion took over from another, and what was read of a window before.
    """
    return tuple(_assess(each, snapshot, triggers, past) for each in triggers.watched)


def _assess(signal: Signal, snapshot: Snapshot, triggers: Triggers, past: Past) -> Assessment:
    is_f1 = signal is Signal.F1
    value = snapshot.f1 if is_f1 else snapshot.drift
    observed_at = snapshot.f1_observed_at if is_f1 else snapshot.drift_observed_at
    written_at = snapshot.written_at.get(signal) if observed_at is None else observed_at
    threshold = triggers.threshold(signal)
    unknown = (
        _no_number(signal, value, triggers)
        or _no_window(written_at, snapshot, triggers.max_age.of(signal))
        or (_no_f1(snapshot) if is_f1 else None)
    )
    if unknown is not None or not isinstance(value, float):
        unknown = unknown or Unknown(Trouble.MISSING, "monitoring has no query for it")
        return Assessment(signal, State.UNKNOWN, threshold=threshold, unknown=unknown)
    dated = isinstance(observed_at, datetime)
    seen_at = written_at if isinstance(written_at, datetime) else snapshot.fetched_at
    # A clock may be ahead of ours: then a window has just ended.
    age, length = max(snapshot.fetched_at - seen_at, timedelta()), snapshot.window_length
    early = (age, triggers.min_age.of(signal)) if dated and age < triggers.min_age.of(signal) else None
    assessed = Assessment(
        signal,
        State.TOO_EARLY if early else State.HEALTHY,
        value=value,
        threshold=threshold,
        above=not is_f1 and triggers.drift_breach is Side.ABOVE,
        series=snapshot.labels.get(signal, ""),
        window=_window(signal, snapshot, seen_at if dated else None),
        observed_at=seen_at,
        dated=dated,
        settling=past.took_over_at is not None
        and seen_at < past.took_over_at + max(triggers.settle, length or triggers.settle),
        began_at=seen_at - length if dated and length is not None else None,
        early=early,
    )
    if is_f1:
        assessed = _compared(_counted(assessed, snapshot, triggers.min_samples), triggers, past)
    if assessed.state is State.HEALTHY and (assessed.crossed or assessed.dropped):
        assessed = replace(assessed, state=State.BREACH)
    streak = past.streak(signal)
    if (lost := _lost_labels(assessed, streak)) is not None:
        return replace(assessed, state=State.UNKNOWN, unknown=lost)
    return replace(assessed, repeats=streak.has_seen(assessed))


def _counted(f1: Assessment, snapshot: Snapshot, least: int) -> Assessment:
    """F1 with what it was computed from, as far as the monitor says, and whether that is enough."""
    f1 = replace(
        f1,
        samples=_float(snapshot.samples),
        positives=_float(snapshot.positives),
        counts=snapshot.counts if isinstance(snapshot.counts, Counts) else None,
    )
    if f1.samples is None or f1.samples >= least:
        return f1
    return replace(f1, state=State.TOO_FEW if f1.state is State.HEALTHY else f1.state, needed=least)


def _compared(f1: Assessment, triggers: Triggers, past: Past) -> Assessment:
    """F1 with what it is at the usual share of positives, what it adds to the evidence, and how far it has dropped."""
    mix, dispersion = _mix(f1, triggers, past), dispersion_of(past.evidence, triggers)
    f1 = replace(f1, mix=mix)
    value, counts = f1.judged or 0.0, mix.counts if mix is not None and mix.used else f1.counts
    weight = weigh(value, counts, f1.positives, triggers, dispersion)
    return replace(f1, weight=weight, drop=_drop(value, counts, triggers, past, dispersion))


def _drop(f1: float, counts: Counts | None, triggers: Triggers, past: Past, dispersion: float) -> Drop | None:
    """How F1 compares with the champion's first window; None without `max_drop`, or such a window."""
    first = past.first
    if triggers.max_drop is None or first is None:
        return None
    shown = f1 < first.f1 - triggers.max_drop
    if shown and counts is not None and first.counts is not None:
        shown = chance_of_drop(first.counts, counts, dispersion) <= CHANCE_OF_DROP
    return Drop(first.f1, triggers.max_drop, shown)


def _mix(f1: Assessment, triggers: Triggers, past: Past) -> Mix | None:
    """F1 at the usual share of positives; None where this is not known, or no other than F1 as it is."""
    wanted = triggers.evidence.prevalence if triggers.evidence is not None else None
    share, at = share_of(f1.counts, f1.samples), usual(past.shares) if wanted in (None, Auto.AUTO) else float(wanted)
    if share is None or at is None or f1.counts is None or f1.value is None or f1.samples is None:
        return None
    counts = at_share(f1.counts, share, at)
    mix = Mix(at, f1_of(counts), counts, used=wanted is not None)
    differs = abs(share - at) > 2 * sqrt(at * (1 - at) / f1.samples) and abs(mix.f1 - f1.value) >= NOTICEABLE
    return mix if differs or mix.used else None


def _lost_labels(assessed: Assessment, streak: Streak) -> Unknown | None:
    """Why a window is unknown that has fewer labels now than when it was read before."""
    if streak.labelled is None or assessed.labelled is None or streak.seen[-1:] != (assessed.window,):
        return None
    (kind, had), (now_kind, has) = streak.labelled, assessed.labelled
    if now_kind != kind or has >= had:
        return None
    why = f"its window has {has:g} labelled {kind} and had {had:g} when it was read before"
    return Unknown(Trouble.CONTRADICTION, why, "was the log cut, or does the monitor read another one?")


def _float(value: float | Unknown | None) -> float | None:
    return value if isinstance(value, float) else None


def _no_number(signal: Signal, value: float | Unknown | None, triggers: Triggers) -> Unknown | None:
    if not isinstance(value, float):
        return value
    highest = 1.0 if signal is Signal.F1 or triggers.drift_breach is Side.BELOW else float("inf")
    if not 0 <= value <= highest:
        why = f"{value:g} is not between 0 and {highest:g}"
        return Unknown(Trouble.OUT_OF_RANGE, why, "is the query the right one?")
    return None


def _no_window(observed_at: datetime | Unknown | None, snapshot: Snapshot, max_age: timedelta) -> Unknown | None:
    if isinstance(observed_at, Unknown):
        return replace(observed_at, why=f"its age is not known: {observed_at.why}")
    if isinstance(snapshot.window, Unknown):
        return replace(snapshot.window, why=f"its window is not known: {snapshot.window.why}")
    if observed_at is None:
        return None
    age = snapshot.fetched_at - observed_at
    if age < -CLOCK_SLACK:
        why = f"its window ends {duration(-age)} from now, at {moment(observed_at)}"
        return Unknown(Trouble.FUTURE, why, "compare the clocks of both machines")
    if age > max_age:
        why = f"it is stale: observed {duration(age)} ago, at {moment(observed_at)}; max_age is {duration(max_age)}"
        return Unknown(Trouble.STALE, why, "does the monitoring job run? if labels come late, raise triggers.max_age")
    return None


def _no_f1(snapshot: Snapshot) -> Unknown | None:
    """Why this window has no F1, though the monitor gave a number."""
    for name, count in (("samples", snapshot.samples), ("positives", snapshot.positives)):
        if isinstance(count, Unknown):
            return replace(count, why=f"monitoring.{name}: {count.why}")
        if count is not None and not _is_count(count):
            return Unknown(Trouble.CONTRADICTION, f"monitoring.{name} gave {count:g}, which is no count")
    if 0 in (snapshot.samples, snapshot.positives):
        return Unknown(Trouble.NO_POSITIVES, "the window has no labelled positive, so F1 is not defined")
    if isinstance(snapshot.counts, Unknown):
        return replace(snapshot.counts, why=f"monitoring.counts: {snapshot.counts.why}")
    wrong = _contradiction(snapshot.counts, snapshot.f1) if snapshot.counts is not None else None
    return wrong or _disagreement(snapshot)


def _disagreement(snapshot: Snapshot) -> Unknown | None:
    """Why the counts of a window cannot be of the same rows."""
    samples, positives, counts = _float(snapshot.samples), _float(snapshot.positives), snapshot.counts
    numbers = {"positives": positives} if positives is not None else {}
    if isinstance(counts, Counts):  # of all classes together FP and FN have the same rows: TP + FP + FN are too many
        numbers |= {"TP + FN": counts.tp + counts.fn, "TP + FP": counts.tp + counts.fp}
        if positives is not None and abs(numbers["TP + FN"] - positives) > _ROUNDING:
            why = f"the monitor says {positives:g} positives, but TP + FN is {numbers['TP + FN']:g}"
            return Unknown(Trouble.CONTRADICTION, why, _ONE_WINDOW)
    for name, number in numbers.items():
        if samples is not None and number > samples + _ROUNDING:
            why = f"the monitor says {samples:g} samples, but {name} is {number:g}"
            return Unknown(Trouble.CONTRADICTION, why, _ONE_WINDOW)
    return None


def _contradiction(counts: Counts, f1: float | Unknown | None) -> Unknown | None:
    shown = f"TP {counts.tp:g}, FP {counts.fp:g}, FN {counts.fn:g}"
    if not all(map(_is_count, (counts.tp, counts.fp, counts.fn))):
        return Unknown(Trouble.CONTRADICTION, f"the counts are not whole numbers from 0 to {MOST:g}: {shown}")
    if counts.tp + counts.fn == 0:
        return Unknown(Trouble.NO_POSITIVES, f"the window has no labelled positive ({shown}), so F1 is not defined")
    implied = f1_of(counts)
    if isinstance(f1, float) and abs(implied - f1) > F1_ROUNDING + 1e-9:
        why = f"the monitor says F1 {f1:.4f}, but its counts ({shown}) give {implied:.4f}"
        return Unknown(Trouble.CONTRADICTION, why)
    return None


def _is_count(value: float) -> bool:
    return 0 <= value <= MOST and value == int(value)


def _window(signal: Signal, snapshot: Snapshot, observed_at: datetime | None) -> str:
    """What identifies the window: the monitor's name for it, else its end, else the signal's own numbers."""
    if isinstance(snapshot.window, str):
        return snapshot.window
    if observed_at is not None:
        return observed_at.isoformat()
    if signal is Signal.DRIFT:
        return f"{BY_NUMBERS} {snapshot.drift}"
    return f"{BY_NUMBERS} {snapshot.f1} of {snapshot.samples}, {snapshot.positives}, {snapshot.counts}"

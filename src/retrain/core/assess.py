"""One look at the monitor → each signal healthy, in breach, too small to judge, or unknown with its reason."""

from dataclasses import replace
from datetime import datetime, timedelta

from retrain.core.evidence import weigh
from retrain.core.past import Past, Streak
from retrain.core.records import Assessment, Counts, Signal, Snapshot, State, Unknown
from retrain.core.rules import Side, Triggers
from retrain.core.text import apart, duration, moment

CLOCK_SLACK = timedelta(minutes=5)
"""How far ahead of our clock the end of a window may lie."""
F1_ROUNDING = 0.005
"""How far F1 may be from its counts: monitors round to two decimals."""

MOST = 1e15
"""More than any window can count; beyond it floats miss whole numbers."""

BY_NUMBERS = "the numbers"
"""How a window without name or date is called."""

NAMES = {Signal.F1: "F1", Signal.DRIFT: "drift"}


def assess(snapshot: Snapshot, triggers: Triggers, past: Past) -> tuple[Assessment, ...]:
    """An assessment of every signal that has a threshold, F1 first.

    `past` tells when the present champion took over from another, and what was read of a window before.
    """
    wanted = [signal for signal in Signal if triggers.threshold(signal) is not None]
    return tuple(_assess(signal, snapshot, triggers, past) for signal in wanted)


def _assess(signal: Signal, snapshot: Snapshot, triggers: Triggers, past: Past) -> Assessment:
    is_f1 = signal is Signal.F1
    value = snapshot.f1 if is_f1 else snapshot.drift
    observed_at = snapshot.f1_observed_at if is_f1 else snapshot.drift_observed_at
    threshold = triggers.threshold(signal) or 0.0
    trouble = (
        _no_number(signal, value, triggers)
        or _no_window(observed_at, snapshot, triggers.max_age_of(signal))
        or (_no_f1(snapshot, triggers) if is_f1 else None)
    )
    if trouble is not None or not isinstance(value, float):
        trouble = trouble or Unknown("missing", "the monitor was not asked for it")
        return Assessment(
            signal, State.UNKNOWN, f"{NAMES[signal]} is unknown: {trouble.why}", threshold=threshold, kind=trouble.kind
        )
    state, sentence = _against(signal, value, threshold, snapshot, triggers)
    dated = isinstance(observed_at, datetime)
    seen_at = observed_at if isinstance(observed_at, datetime) else snapshot.fetched_at
    positives = _float(snapshot.positives) if is_f1 else None
    counts = snapshot.counts if is_f1 and isinstance(snapshot.counts, Counts) else None
    assessed = Assessment(
        signal,
        state,
        sentence,
        value=value,
        threshold=threshold,
        window=_window(signal, snapshot, seen_at if dated else None),
        observed_at=seen_at,
        dated=dated,
        settling=past.took_over_at is not None and seen_at < past.took_over_at + triggers.settle,
        samples=_float(snapshot.samples) if is_f1 else None,
        positives=positives,
        counts=counts,
        weight=weigh(value, counts, positives, triggers) if is_f1 else None,
    )
    lost = _lost_labels(assessed, past.streak(signal))
    return assessed if lost is None else replace(assessed, state=State.UNKNOWN, sentence=lost, kind="contradiction")


def _lost_labels(assessed: Assessment, streak: Streak) -> str | None:
    """The sentence of a window that has fewer labels now than when it was read before."""
    if streak.labelled is None or assessed.labelled is None or streak.seen[-1:] != (assessed.window,):
        return None
    (kind, had), (now_kind, has) = streak.labelled, assessed.labelled
    if now_kind != kind or has >= had:
        return None
    return (
        f"F1 is unknown: its window has {has:g} labelled {kind} and had {had:g} when it was read before; labels do not"
        " go away. Was the log cut, or the monitor pointed at another?"
    )


def _float(value: float | Unknown | None) -> float | None:
    return value if isinstance(value, float) else None


def _no_number(signal: Signal, value: float | Unknown | None, triggers: Triggers) -> Unknown | None:
    if not isinstance(value, float):
        return value
    highest = 1.0 if signal is Signal.F1 or triggers.drift_breach is Side.BELOW else float("inf")
    if not 0 <= value <= highest:
        return Unknown("out_of_range", f"{value:g} is not between 0 and {highest:g}; is the query the right one?")
    return None


def _no_window(observed_at: datetime | Unknown | None, snapshot: Snapshot, max_age: timedelta) -> Unknown | None:
    if isinstance(observed_at, Unknown):
        return Unknown(observed_at.kind, f"its age cannot be told: {observed_at.why}")
    if isinstance(snapshot.window, Unknown):
        return Unknown(snapshot.window.kind, f"its window cannot be told: {snapshot.window.why}")
    if observed_at is None:
        return None
    age = snapshot.fetched_at - observed_at
    if age < -CLOCK_SLACK:
        return Unknown(
            "future", f"its window ends {duration(-age)} from now, at {moment(observed_at)}; do the clocks agree?"
        )
    if age > max_age:
        return Unknown(
            "stale",
            f"it was observed {duration(age)} ago, at {moment(observed_at)}; max_age is {duration(max_age)}."
            " Is the monitoring job running?",
        )
    return None


def _no_f1(snapshot: Snapshot, triggers: Triggers) -> Unknown | None:
    """Why this window has no F1, though the monitor gave a number."""
    for name, count in (("samples", snapshot.samples), ("positives", snapshot.positives)):
        if isinstance(count, Unknown):
            return Unknown(count.kind, f"monitoring.{name}: {count.why}")
        if count is not None and not _is_count(count):
            return Unknown("contradiction", f"monitoring.{name} gave {count:g}, which counts nothing")
    if snapshot.positives == 0:
        return Unknown(
            "no_positives", "the window has no labelled positive, so it has no F1, whatever the monitor says"
        )
    if isinstance(snapshot.counts, Unknown):
        return Unknown(snapshot.counts.kind, f"monitoring.counts: {snapshot.counts.why}")
    if snapshot.counts is None:
        return None
    return _contradiction(snapshot.counts, snapshot.f1)


def _contradiction(counts: Counts, f1: float | Unknown | None) -> Unknown | None:
    shown = f"TP {counts.tp:g}, FP {counts.fp:g}, FN {counts.fn:g}"
    if not all(map(_is_count, (counts.tp, counts.fp, counts.fn))):
        return Unknown("contradiction", f"the counts are not whole numbers from 0 to {MOST:g}: {shown}")
    if counts.tp + counts.fp + counts.fn == 0:
        return Unknown("no_positives", "the counts are all 0: the window has no positive, so it has no F1")
    implied = 2 * counts.tp / (2 * counts.tp + counts.fp + counts.fn)
    if isinstance(f1, float) and abs(implied - f1) > F1_ROUNDING + 1e-9:
        return Unknown("contradiction", f"the monitor says F1 {f1:.4f}, but its counts ({shown}) give {implied:.4f}")
    return None


def _is_count(value: float) -> bool:
    return 0 <= value <= MOST and value == int(value)


def _against(
    signal: Signal, value: float, threshold: float, snapshot: Snapshot, triggers: Triggers
) -> tuple[State, str]:
    below_is_bad = signal is Signal.F1 or triggers.drift_breach is Side.BELOW
    breach = value < threshold if below_is_bad else value > threshold
    shown, limit = apart(value, threshold)
    label = snapshot.labels.get(signal)
    subject = f"{NAMES[signal]} {shown}" + (f" ({label})" if label else "")
    if signal is Signal.F1 and isinstance(snapshot.samples, float) and snapshot.samples < triggers.min_samples:
        return State.TOO_FEW, (
            f"{subject} is not judged: {snapshot.samples:g} labelled samples, min_samples is {triggers.min_samples}"
        )
    if breach:
        return State.BREACH, f"{subject} is {'below' if below_is_bad else 'above'} {limit}"
    return State.HEALTHY, f"{subject} is not {'below' if below_is_bad else 'above'} {limit}"


def _window(signal: Signal, snapshot: Snapshot, observed_at: datetime | None) -> str:
    """What identifies the window: the monitor's name for it, else its end, else the signal's own numbers."""
    if isinstance(snapshot.window, str):
        return snapshot.window
    if observed_at is not None:
        return observed_at.isoformat()
    if signal is Signal.DRIFT:
        return f"{BY_NUMBERS} {snapshot.drift}"
    return f"{BY_NUMBERS} {snapshot.f1} of {snapshot.samples}, {snapshot.positives}, {snapshot.counts}"

"""Readings → what matters now: every window counts once, for the streaks, the evidence and the promotion on trial."""

from collections.abc import Iterable
from dataclasses import replace

from retrain.core.evidence import forgotten, gather
from retrain.core.past import REMEMBERED, Evidence, Past, Streak, Trial, appended, earlier
from retrain.core.records import Assessment, Counts, Signal, State

_JUDGED = (State.HEALTHY, State.BREACH)
DATED = 8
"""How many windows with a time are remembered: a clock that was set back must not bring the last ones back."""


def watch(past: Past, assessments: Iterable[Assessment]) -> Past:
    """What matters after these readings: every window counts once."""
    f1, drift, evidence, trial = past.f1, past.drift, past.evidence, past.trial
    for assessment in assessments:
        if assessment.signal is Signal.DRIFT:
            drift = _after(drift, assessment)
            continue
        if assessment.state in _JUDGED and not f1.has_seen(assessment):
            evidence, trial = _weighed(evidence, assessment), _tried(trial, assessment)
        f1 = _after(f1, assessment)
    if f1 is past.f1 and drift is past.drift:
        return past
    return replace(past, f1=f1, drift=drift, evidence=evidence, trial=trial)


def _weighed(evidence: Evidence, f1: Assessment) -> Evidence:
    """The evidence after a new window."""
    if f1.weight is None or f1.observed_at is None:
        return forgotten(evidence)
    return gather(evidence, f1.weight, f1.observed_at, counts=not f1.settling)


def _tried(trial: Trial | None, f1: Assessment) -> Trial | None:
    """The promotion on trial after a new window."""
    if trial is None or f1.settling or f1.value is None:
        return trial
    below, new, counts = f1.value < trial.f1, trial.new, f1.counts or Counts(0.0, 0.0, 0.0)
    return replace(
        trial,
        count=trial.count + 1 if below else 0,
        window=f1.window if below else "",
        new=Counts(new.tp + counts.tp, new.fp + counts.fp, new.fn + counts.fn),
        windows=trial.windows + (f1.counts is not None),
    )


def _after(streak: Streak, assessment: Assessment) -> Streak:
    if assessment.state not in _JUDGED:
        return streak
    healthy = assessment.state is State.HEALTHY
    if streak.has_seen(assessment):
        grown = streak.seen[-1:] == (assessment.window,) and assessment.labelled != streak.labelled
        return replace(streak, labelled=assessment.labelled) if grown else streak
    armed, seen = streak.armed or healthy, _last(streak.seen, assessment)
    if assessment.settling:
        return replace(streak, armed=armed, seen=seen, labelled=assessment.labelled)
    latest = streak.latest
    if assessment.dated and not earlier(assessment.observed_at, latest):
        latest = assessment.observed_at
    return Streak(
        count=0 if healthy else streak.count + 1,
        counted=() if healthy else _last(streak.counted, assessment),
        in_breach=not healthy,
        value=assessment.value,
        counts=assessment.counts,
        armed=armed,
        seen=seen,
        latest=latest,
        labelled=assessment.labelled,
    )


def _last(windows: tuple[str, ...], assessment: Assessment) -> tuple[str, ...]:
    """The windows with this one at the end; of dated ones few are kept, since older ones are known by their dates."""
    return appended(windows, assessment.window, DATED if assessment.dated else REMEMBERED)

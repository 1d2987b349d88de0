"""Recorded readings of the metrics, decided again: when would a rule have trained?

This is `look_at`, the decision of a check, on what was written down. What a training would have changed is not in the
record, so each is taken to succeed at once, its challenger to be compared at once, and the champion to stay.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct, field
from msgspec.structs import replace

from retrain.core.decide import Asked, look_at
from retrain.core.events import Checked, Entry, TrainingFinished
from retrain.core.fold import advance
from retrain.core.past import BY_NUMBERS, Past
from retrain.core.records import JUDGED, Action, Assessment, Outcome, Reason, Signal, Snapshot, State, Unknown
from retrain.core.rules import Triggers


class Recorded(Struct, frozen=True):
    """One look at the metrics that was written down, and the version that served then (None: it is not known)."""

    snapshot: Snapshot
    served: str | None = None


class Replay(Struct):
    """What a rule would have done: its trainings as (time, why), how often each reason came, the windows it counted."""

    trainings: list[tuple[datetime, str]] = []
    reasons: Counter[Reason] = field(default_factory=Counter)
    windows: Counter[Signal] = field(default_factory=Counter)


def replay(readings: Iterable[Recorded], triggers: Triggers) -> Replay:
    """What this rule would have done on these readings, which are in order of time.

    The champion is taken to be as old as the record.
    """
    past, found, made_at = Past(), Replay(), None
    for each in readings:
        now = each.snapshot.fetched_at
        made_at = made_at or now
        look = look_at(past, each.served, each.snapshot, triggers, now, Asked(made_at))
        past, decision = look.past, look.decision
        found.reasons[decision.reason] += 1
        found.windows.update(each.signal for each in look.assessments if each.state in JUDGED and not each.repeats)
        if decision.action is Action.TRAIN:
            found.trainings.append((now, decision.why))
            run = f"{len(found.trainings)}"
            ended = TrainingFinished(run, Outcome.SUCCEEDED, "", challenger=run)
            past = replace(advance(past, ended, now), challenger=None, unpromoted=0)
    return found


def recorded(entry: Entry) -> Recorded | None:
    """What a check read, from its entry in the journal; None where it read nothing."""
    if not isinstance(entry.event, Checked) or not entry.event.assessments:
        return None
    read = {each.signal: each for each in entry.event.assessments}
    f1, drift = (read.get(signal, Assessment(signal, State.HEALTHY)) for signal in Signal)
    snapshot = Snapshot(
        entry.at,
        f1=_value(f1),
        drift=_value(drift),
        f1_observed_at=f1.observed_at if f1.dated else None,
        drift_observed_at=drift.observed_at if drift.dated else None,
        window=_name(f1) or _name(drift),
        samples=f1.samples,
        positives=f1.positives,
        counts=f1.counts,
    )
    return Recorded(snapshot, entry.event.served)


def _value(each: Assessment) -> float | Unknown | None:
    if each.state is State.UNKNOWN:
        return each.unknown or Unknown("missing", "it was unknown")
    return each.value


def _name(each: Assessment) -> str | None:
    """The monitor's own name of the window."""
    end = each.observed_at.isoformat() if each.dated and each.observed_at is not None else ""
    return None if each.window in {"", end} or each.window.startswith(BY_NUMBERS) else each.window

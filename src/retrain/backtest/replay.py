"""Recorded looks at the metrics, decided anew: when would a rule have trained?

The very `assess`, `watch` and `decide` of a check, fed with what was written down. What training would have changed
is not in the record, so every training ends well at once, its challenger is judged at once, and the champion stays.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec import Struct, field
from msgspec.structs import replace

from retrain.core.assess import BY_NUMBERS
from retrain.core.decide import Asked, look_at
from retrain.core.events import Checked, Entry, TrainingFinished
from retrain.core.fold import advance
from retrain.core.past import Past
from retrain.core.records import Action, Assessment, Outcome, Reason, Recorded, Signal, Snapshot, State, Unknown
from retrain.core.rules import Triggers


class Replay(Struct, frozen=True):
    """What a rule would have done: its trainings as (time, why), how often each reason came, the windows it counted."""

    trainings: tuple[tuple[datetime, str], ...] = ()
    reasons: Mapping[Reason, int] = field(default_factory=dict)
    windows: Mapping[Signal, int] = field(default_factory=dict)


def replay(looks: Iterable[Recorded], triggers: Triggers) -> Replay:
    """What this rule would have done on these looks, which are in the order of time.

    The champion is taken to be as old as the record.
    """
    past, trainings = Past(), []
    reasons: Counter[Reason] = Counter()
    windows: Counter[Signal] = Counter()
    made_at = None
    for look in looks:
        now = look.snapshot.fetched_at
        made_at = made_at or now
        seen = look_at(past, look.served, look.snapshot, triggers, now, Asked(made_at))
        before, past, decision = seen.before, seen.past, seen.decision
        reasons[decision.reason] += 1
        windows[Signal.F1] += past.f1 is not before.f1 and past.f1.seen[-1:] != before.f1.seen[-1:]
        windows[Signal.DRIFT] += past.drift is not before.drift and past.drift.seen[-1:] != before.drift.seen[-1:]
        if decision.action is Action.TRAIN:
            trainings.append((now, decision.why))
            ended = TrainingFinished(f"{len(trainings)}", Outcome.SUCCEEDED, "", challenger=f"{len(trainings)}")
            past = replace(advance(past, ended, now), challenger=None, unpromoted=0)
    return Replay(tuple(trainings), dict(reasons), dict(windows))


def recorded(entry: Entry) -> Recorded | None:
    """The look that a check wrote into the journal; None where it had none."""
    if not isinstance(entry.event, Checked) or not entry.event.assessments:
        return None
    by_signal = {each.signal: each for each in entry.event.assessments}
    f1, drift = by_signal.get(Signal.F1), by_signal.get(Signal.DRIFT)
    named = next((name for each in by_signal.values() if (name := _name(each)) is not None), None)
    snapshot = Snapshot(
        entry.at,
        f1=_value(f1),
        drift=_value(drift),
        f1_observed_at=_observed_at(f1),
        drift_observed_at=_observed_at(drift),
        window=named,
        samples=f1.samples if f1 is not None else None,
        positives=f1.positives if f1 is not None else None,
        counts=f1.counts if f1 is not None else None,
    )
    return Recorded(snapshot, entry.event.served)


def _value(each: Assessment | None) -> float | Unknown | None:
    if each is None:
        return None
    if each.state is State.UNKNOWN or each.value is None:
        return each.unknown or Unknown("missing", "it was unknown")
    return each.value


def _observed_at(each: Assessment | None) -> datetime | None:
    return each.observed_at if each is not None and each.dated else None


def _name(each: Assessment) -> str | None:
    """The monitor's own name of the window."""
    date = each.observed_at.isoformat() if each.dated and each.observed_at is not None else None
    own = each.window and each.window != date and not each.window.startswith(BY_NUMBERS)
    return each.window if own else None

"""A promotion on trial: must the new champion go, since it does worse live than the old one did?"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from retrain.core.past import Past
from retrain.core.records import Action, Assessment, Breach, Decision, Reason, Signal, State
from retrain.core.rules import Triggers
from retrain.core.words import apart, duration, short


def fails_probation(
    past: Past, assessments: Sequence[Assessment], triggers: Triggers, probation: timedelta | None, now: datetime
) -> str | None:
    """Why the new champion must go: in enough windows in a row it showed a lower F1 than the one before it did last."""
    trial = past.trial
    if trial is None or probation is None or now >= trial.since + probation or trial.count < triggers.consecutive:
        return None
    for each in assessments:
        of_trial = each.signal is Signal.F1 and each.window == trial.window
        if (
            of_trial
            and each.state in (State.HEALTHY, State.BREACH)
            and each.value is not None
            and each.value < trial.f1
        ):
            shown, bar = apart(each.value, trial.f1)
            in_a_row = f" in {trial.count} windows in a row" if trial.count > 1 else ""
            return (
                f"live F1 {shown} is below the {bar} that {short(trial.before)} showed last{in_a_row}, within the"
                f" probation of {duration(probation)}"
            )
    return None


def rolling_back(past: Past, failed: str, triggers: Triggers, now: datetime, breaches: tuple[Breach, ...]) -> Decision:
    """Roll back, unless the hook after it failed a short time ago."""
    failed_at = past.trial.failed_at if past.trial is not None else None
    if failed_at is not None and now < failed_at + triggers.failure_backoff:
        wait = duration(failed_at + triggers.failure_backoff - now)
        held = f"but the hook after the rollback failed {duration(now - failed_at)} ago (next try in {wait})"
        return Decision(Action.HOLD, Reason.PROBATION, f"held: {failed}, {held}", breaches)
    return Decision(Action.ROLLBACK, Reason.PROBATION, f"rolling back: {failed}", breaches)

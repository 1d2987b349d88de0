"""A promotion on trial: must the new champion go, since it does worse live than the old one did?"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import erfc, sqrt

from retrain.core.past import Past
from retrain.core.records import Action, Assessment, Breach, Counts, Decision, Reason, Signal, State
from retrain.core.rules import Triggers
from retrain.core.words import apart, duration, short

CHANCE = 0.05
"""Of rolling back a champion that is no worse, over its whole probation, where counts are known."""


def fails_probation(
    past: Past, assessments: Sequence[Assessment], triggers: Triggers, probation: timedelta | None, now: datetime
) -> str | None:
    """Why the new champion must go: in enough windows in a row it showed a lower F1 than the one before it did last.

    Where counts are known, its windows together must show it, too.
    """
    trial = past.trial
    if trial is None or probation is None or now >= trial.since + probation or trial.count < triggers.consecutive:
        return None
    if trial.old is not None and trial.windows and not is_worse(trial.old, trial.new, trial.windows):
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
            in_a_row += ", more than chance explains" if trial.old is not None and trial.windows else ""
            return (
                f"live F1 {shown} is below the {bar} that {short(trial.before)} showed last{in_a_row}, within the"
                f" probation of {duration(probation)}"
            )
    return None


def is_worse(old: Counts, new: Counts, windows: int) -> bool:
    """Whether the counts of so many windows together are worse than those of the old champion's last, beyond chance.

    TP of TP + FP + FN is binomial with J = F1/(2 − F1), so this is the one-sided test of two proportions. It is asked
    after every window k, at CHANCE / (k·(k + 1)): these levels sum to CHANCE.
    """
    of_old, of_new = old.tp + old.fp + old.fn, new.tp + new.fp + new.fn
    share = (old.tp + new.tp) / (of_old + of_new)
    error = sqrt(share * (1 - share) * (1 / of_old + 1 / of_new))
    if not error:
        return False
    z = (old.tp / of_old - new.tp / of_new) / error
    return erfc(z / sqrt(2)) / 2 <= CHANCE / (windows * (windows + 1))


def rolling_back(past: Past, failed: str, triggers: Triggers, now: datetime, breaches: tuple[Breach, ...]) -> Decision:
    """Roll back, unless the hook after it failed a short time ago."""
    failed_at = past.trial.failed_at if past.trial is not None else None
    if failed_at is not None and now < failed_at + triggers.failure_backoff:
        wait = duration(failed_at + triggers.failure_backoff - now)
        held = f"but the hook after the rollback failed {duration(now - failed_at)} ago (next try in {wait})"
        return Decision(Action.HOLD, Reason.PROBATION, f"held: {failed}, {held}", breaches)
    return Decision(Action.ROLLBACK, Reason.PROBATION, f"rolling back: {failed}", breaches)

"""May and must we train? A pure, total function: every outcome has its reason and its sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import erfc, sqrt

from retrain.core import evidence
from retrain.core.assess import BY_NUMBERS
from retrain.core.past import Past
from retrain.core.records import Action, Assessment, Breach, Counts, Decision, Reason, Signal, State
from retrain.core.rules import Triggers
from retrain.core.text import apart, counted, duration, moment, short
from retrain.core.verdicts import Ruling

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


LONGEST_BACKOFF = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Barrier:
    """What holds a due training back, until when (None: until a person acts), and the way round it."""

    reason: Reason
    sentence: str
    until: datetime | None
    remedy: str


def barrier(past: Past, triggers: Triggers, now: datetime) -> Barrier | None:
    """What holds a due training back now, in the contract's order; None: nothing does."""
    waiting = past.challenger
    if waiting is not None and not waiting.settled and now < waiting.at + triggers.challenger_ttl:
        return Barrier(
            Reason.CHALLENGER_WAITING,
            f"challenger {short(waiting.version)} of {moment(waiting.at)} waits to be judged",
            waiting.at + triggers.challenger_ttl,
            "retrain promote judges it, promote --reject turns it down",
        )
    if past.unpromoted >= triggers.max_unpromoted:
        inconclusive = waiting is not None and waiting.ruling is Ruling.INCONCLUSIVE
        advice = (
            "the last verdict was that the holdout cannot tell; a larger one might"
            if inconclusive
            else "a person should look at data, labels and training"
        )
        return Barrier(
            Reason.NEEDS_A_PERSON,
            f"{counted(past.unpromoted, 'training')} in a row brought no promotion (max_unpromoted:"
            f" {triggers.max_unpromoted}): {advice}",
            None,
            "a promotion ends this; check --force --reason TEXT trains once more",
        )
    return _backing_off(past, triggers, now) or _cooling_down(past, triggers, now)


def _backing_off(past: Past, triggers: Triggers, now: datetime) -> Barrier | None:
    if past.failures == 0 or past.failed_at is None:
        return None
    wait = triggers.failure_backoff * 2 ** min(past.failures - 1, 30) if triggers.failure_backoff else timedelta()
    wait = min(wait, max(LONGEST_BACKOFF, triggers.failure_backoff))
    until = min(past.failed_at, now) + wait
    if now >= until:
        return None
    failed = "training failed" if past.failures == 1 else f"{past.failures} trainings in a row failed, the last"
    return Barrier(
        Reason.BACKING_OFF,
        f"{failed} {duration(now - past.failed_at)} ago and the back-off is {duration(wait)}",
        until,
        f"next try in {duration(until - now)}; --force trains anyway",
    )


def _cooling_down(past: Past, triggers: Triggers, now: datetime) -> Barrier | None:
    began = [at for at in (past.trained_at, past.lost_at) if at is not None]
    if not began:
        return None
    since = max(began)
    until = min(since, now) + triggers.cooldown
    if now >= until:
        return None
    what = (
        "training ended" if since == past.trained_at else "the journal was lost, and with it the last training's end,"
    )
    return Barrier(
        Reason.COOLING_DOWN,
        f"{what} {duration(now - since)} ago and the cooldown is {duration(triggers.cooldown)}",
        until,
        f"next in {duration(until - now)}; --force trains anyway",
    )


def decide(  # noqa: PLR0913  (the decision's whole world is its arguments)
    before: Past,
    past: Past,
    assessments: Sequence[Assessment],
    triggers: Triggers,
    now: datetime,
    *,
    champion_made_at: datetime | None = None,
    probation: timedelta | None = None,
    forced: str | None = None,
) -> Decision:
    """The decision of one check.

    `before` is what the journal said before this check's readings and `past` what it says with them (`watch`),
    `champion_made_at` when the served artifact was made (None: not known), `probation` how long a promotion is on
    trial, `forced` the reason of a person who skips the rules.
    """
    breaches = tuple(
        Breach(each.signal, each.value, each.threshold)
        for each in assessments
        if each.state is State.BREACH and each.value is not None and each.threshold is not None
    )
    if forced is not None:
        return Decision(Action.TRAIN, Reason.FORCED, f"training, forced: {forced}", breaches)
    failed = fails_probation(past, assessments, triggers, probation, now)
    if failed is not None:
        return rolling_back(past, failed, triggers, now, breaches)
    standing = [each for each in assessments if stands(past, each, triggers)]
    why = "; ".join(_why(past, each, triggers) for each in standing)
    reason = Reason.BREACH
    if not standing:
        age = overdue(past, champion_made_at, triggers, now)
        if age is None:
            return _nothing_due(before, past, assessments, triggers, breaches)
        why, reason = age, Reason.MODEL_AGE
    held = barrier(past, triggers, now)
    if held is not None and reason is Reason.MODEL_AGE and any(each.state is State.UNKNOWN for each in assessments):
        return _nothing_due(before, past, assessments, triggers, breaches)
    if held is not None:
        return Decision(Action.HOLD, held.reason, f"held: {why}, but {held.sentence} ({held.remedy})", breaches)
    return Decision(Action.TRAIN, reason, f"training: {why}", breaches)


def stands(past: Past, assessment: Assessment, triggers: Triggers) -> bool:
    """Whether this breach is due for a training: its window is of a streak that is long enough, and armed.

    Under the evidence rule the score must have reached its bar instead.
    """
    streak = past.streak(assessment.signal)
    if assessment.state is not State.BREACH or assessment.window not in streak.counted:
        return False
    if _by_evidence(assessment, triggers):
        return evidence.reached(past.evidence, triggers)
    return (assessment.signal is Signal.F1 or streak.armed) and streak.count >= triggers.consecutive


def _by_evidence(assessment: Assessment, triggers: Triggers) -> bool:
    return assessment.signal is Signal.F1 and triggers.evidence is not None


def _why(past: Past, standing: Assessment, triggers: Triggers) -> str:
    """The sentence of a breach that stands."""
    if not _by_evidence(standing, triggers):
        return standing.sentence
    return f"{standing.sentence}, and the windows together show it: {evidence.told_reached(past.evidence, triggers)}"


def overdue(past: Past, made_at: datetime | None, triggers: Triggers, now: datetime) -> str | None:
    """The sentence of a champion that is too old; a training since then gives it its age anew."""
    if triggers.max_model_age is None or made_at is None:
        return None
    if made_at > now:  # the clock was ahead when it was made
        made_at = past.served_since or now
    since = max(made_at, past.trained_at or made_at)
    if now - since <= triggers.max_model_age:
        return None
    return f"the champion is {duration(now - made_at)} old and max_model_age is {duration(triggers.max_model_age)}"


def _nothing_due(
    before: Past, after: Past, assessments: Sequence[Assessment], triggers: Triggers, breaches: tuple[Breach, ...]
) -> Decision:
    """The hold of a check in which no breach stands."""

    def told(state: State) -> str:
        return "; ".join(each.sentence for each in assessments if each.state is state)

    if told(State.UNKNOWN):
        return Decision(Action.HOLD, Reason.UNKNOWN, f"held: {told(State.UNKNOWN)}", breaches)
    waiting = [_why_not_yet(before, after, each, triggers) for each in assessments if each.state is State.BREACH]
    if waiting:
        waiting.sort(key=lambda held: _ORDER.index(held[0]))
        sentences = "; ".join(sentence for _, sentence in waiting)
        return Decision(Action.HOLD, waiting[0][0], f"held: {sentences}", breaches)
    if told(State.TOO_FEW):
        return Decision(Action.HOLD, Reason.TOO_FEW_SAMPLES, f"held: {told(State.TOO_FEW)}", breaches)
    return Decision(
        Action.HOLD, Reason.HEALTHY, f"healthy: {told(State.HEALTHY) or 'the champion is not too old'}", breaches
    )


_ORDER = (
    Reason.NOT_REARMED,
    Reason.SETTLING,
    Reason.CONFIRMING,
    Reason.GATHERING_EVIDENCE,
    Reason.SAME_WINDOW,
)


def _why_not_yet(before: Past, after: Past, breach: Assessment, triggers: Triggers) -> tuple[Reason, str]:
    """Why a breach does not stand."""
    streak = after.streak(breach.signal)
    told = breach.sentence
    if breach.settling and before.took_over_at is not None:
        return Reason.SETTLING, (
            f"{told}, but that was observed before {moment(before.took_over_at + triggers.settle)} and may be about the"
            f" champion before: this one took over at {moment(before.took_over_at)}, and settle is"
            f" {duration(triggers.settle)}"
        )
    if breach.signal is Signal.DRIFT and not streak.armed:
        return Reason.NOT_REARMED, (
            f"{told}, but drift already stood when this champion was promoted and was not healthy since. Either the"
            " monitor compares with older data than the champion's (RETRAIN_REFERENCE gives `retrain monitor` the"
            " right ones), or the champion itself was trained mostly on older data: train on newer, or raise"
            " drift_threshold"
        )
    progress = f"window {streak.count} of {triggers.consecutive} in breach"
    early = Reason.CONFIRMING
    if _by_evidence(breach, triggers):
        progress, early = evidence.told(after.evidence, triggers), Reason.GATHERING_EVIDENCE
    if before.streak(breach.signal).is_behind(breach):
        return Reason.SAME_WINDOW, (
            f"{told}, but its window ({_named(breach)}) ended before one that was read already: windows do not go"
            " backwards, so it does not count"
        )
    if before.streak(breach.signal).has_seen(breach):
        return Reason.SAME_WINDOW, (
            f"{told}, but its window ({_named(breach)}) was read before and counts once"
            + (f": {progress}" if streak.count else "; a new one must come after the last training")
        )
    return early, f"{told}: {progress}, so it is not acted on yet"


def _named(assessment: Assessment) -> str:
    """How a window is called in a sentence."""
    if assessment.dated and assessment.observed_at is not None:
        return f"to {moment(assessment.observed_at)}"
    return f"known by {BY_NUMBERS}" if assessment.window.startswith(BY_NUMBERS) else assessment.window

"""May and must we train? A pure, total function: every outcome has its reason and its sentence."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from retrain.core import evidence
from retrain.core.assess import BY_NUMBERS
from retrain.core.barrier import barrier
from retrain.core.past import Past
from retrain.core.probation import fails_probation, rolling_back
from retrain.core.records import Action, Assessment, Breach, Decision, Reason, Signal, State
from retrain.core.rules import Triggers
from retrain.core.words import duration, moment


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

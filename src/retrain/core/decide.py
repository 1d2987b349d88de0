"""May and must a check train or roll back? A pure, total function: every outcome has its reason, causes and numbers."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from retrain.core import evidence
from retrain.core.assess import assess
from retrain.core.events import SameRows
from retrain.core.fold import as_of, watch
from retrain.core.past import BY_NUMBERS, End, Past
from retrain.core.records import (
    JUDGED,
    NAMES,
    Action,
    Assessment,
    Cause,
    Counts,
    Decision,
    Reason,
    Signal,
    Snapshot,
    State,
)
from retrain.core.rules import Triggers
from retrain.core.text import apart, counted, duration, moment, short
from retrain.core.verdicts import Ruling

CHANCE = 0.05
"""Of rolling back a champion that is no worse, over its whole probation, where counts are known."""
LONGEST_BACKOFF, LONGEST_COOLDOWN = timedelta(days=1), timedelta(days=7)
"""Up to which failures and trainings in vain double the wait."""


class Asked(Struct, frozen=True):
    """What a decision depends on besides the metrics, the past and the rules.

    `made_at` is when the served artifact was made (None: not known), `probation` how long a new champion is on
    probation, `forced` the reason of a person who skips the rules.
    """

    made_at: datetime | None = None
    probation: timedelta | None = None
    forced: str | None = None


class Look(Struct, frozen=True):
    """What one check saw and decided: the past with its readings, the readings, the decision."""

    past: Past
    assessments: tuple[Assessment, ...]
    decision: Decision


def look_at(  # noqa: PLR0913, PLR0917  (the whole world of the decision is its arguments)
    past: Past, served: str | None, snapshot: Snapshot, triggers: Triggers, now: datetime, asked: Asked = Asked()
) -> Look:
    """What a check sees and decides: it assesses every signal, counts the windows, and decides.

    `served` is the version that the metrics are about.
    """
    past = as_of(past, served, now)
    assessments = assess(snapshot, triggers, past)
    past = watch(past, assessments)
    return Look(past, assessments, decide(past, assessments, triggers, now, asked))


def decide(
    past: Past, assessments: Sequence[Assessment], triggers: Triggers, now: datetime, asked: Asked = Asked()
) -> Decision:
    """The decision of one check, with every signal in breach; `past` is what matters with its readings (`watch`)."""
    decision = _decision(past, assessments, triggers, now, asked)
    return replace(decision, breaches=tuple(each for each in assessments if each.state is State.BREACH))


def _decision(
    past: Past, assessments: Sequence[Assessment], triggers: Triggers, now: datetime, asked: Asked
) -> Decision:
    if asked.forced is not None:
        return Decision(Action.TRAIN, Reason.FORCED, (f"forced: {asked.forced}",))
    failed = fails_probation(past, assessments, triggers, asked.probation, now)
    if failed is not None:
        return Decision(Action.ROLLBACK, Reason.PROBATION, (failed,))
    causes = tuple(_cause(past, each, triggers) for each in assessments if stands(past, each, triggers))
    age = overdue(past, asked.made_at, triggers, now) if not causes else None
    if not causes and age is None:
        return _nothing_due(past, assessments, triggers)
    held = barrier(past, triggers, now)
    if held is not None and any(each.state is State.UNKNOWN for each in assessments):
        return _nothing_due(past, assessments, triggers)
    causes, reason = (causes, Reason.BREACH) if age is None else ((age,), Reason.MODEL_AGE)
    if held is not None:
        return Decision(Action.HOLD, held.kind, causes, held.why, held.remedy)
    return Decision(Action.TRAIN, reason, causes)


def stands(past: Past, assessment: Assessment, triggers: Triggers) -> bool:
    """Whether this breach is due for a training: its window is of a streak that is long enough, and armed.

    Under the evidence rule the score must have reached its bar instead, but for a drop below the first window.
    """
    streak = past.streak(assessment.signal)
    if assessment.state is not State.BREACH or not streak.supports(assessment):
        return False
    if _by_evidence(assessment, triggers) and evidence.reached(past.evidence, triggers):
        return True
    if _by_evidence(assessment, triggers) and not assessment.dropped:
        return False
    return streak.armed and streak.count >= triggers.consecutive


def overdue(past: Past, made_at: datetime | None, triggers: Triggers, now: datetime) -> str | None:
    """The clause about a champion that is too old; a training since then gives it its age anew."""
    if triggers.max_model_age is None or made_at is None:
        return None
    if made_at > now:  # the clock was ahead when it was made
        made_at = past.served_since or now
    since = max(made_at, past.trained_at or made_at)
    if now - since <= triggers.max_model_age:
        return None
    return f"the champion is {duration(now - made_at)} old and max_model_age is {duration(triggers.max_model_age)}"


def _by_evidence(assessment: Assessment, triggers: Triggers) -> bool:
    return assessment.signal is Signal.F1 and triggers.evidence is not None


def _cause(past: Past, standing: Assessment, triggers: Triggers) -> str:
    """The clause of a breach that stands."""
    if not _by_evidence(standing, triggers):
        return standing.sentence
    if not evidence.reached(past.evidence, triggers):
        return replace(standing, threshold=None).sentence  # it stands by its drop
    return f"{standing.sentence}, with {evidence.text(past.evidence, triggers)}"


# ---------------------------------------------------------------- nothing is due


def _nothing_due(past: Past, assessments: Sequence[Assessment], triggers: Triggers) -> Decision:
    """The decision of a check in which no breach stands."""
    unknown, breaches, early, too_few, healthy = (
        [each for each in assessments if each.state is state]
        for state in (State.UNKNOWN, State.BREACH, State.TOO_EARLY, State.TOO_FEW, State.HEALTHY)
    )
    if unknown:
        return Decision(Action.HOLD, Reason.UNKNOWN, tuple(_unknown_clauses(unknown)))
    if breaches:
        waits = [(each, *_why_not_yet(past, each, triggers)) for each in breaches]
        reason = min((reason for _, reason, *_ in waits), key=_ORDER.index)
        holds = {hold for _, _, hold, _ in waits}
        remedy = next((remedy for *_, remedy in waits if remedy), "")
        both = holds.pop() if len(holds) == 1 else ""
        causes = tuple(each if both else f"{each.sentence}, but {hold}" for each, _, hold, _ in waits)
        return Decision(Action.HOLD, reason, causes, both, remedy)
    if early or too_few:
        return Decision(Action.HOLD, Reason.TOO_EARLY if early else Reason.TOO_FEW_SAMPLES, (*early, *too_few))
    return Decision(Action.HOLD, Reason.HEALTHY, tuple(healthy) or ("the champion is not too old",))


def _unknown_clauses(unknown: Sequence[Assessment]) -> list[str]:
    """A clause for each cause; signals that share one are named together."""
    names: dict[str, list[str]] = {}
    for each in unknown:
        names.setdefault(each.unknown.message if each.unknown is not None else "", []).append(NAMES[each.signal])
    return [
        f"{' and '.join(both)} {'is' if len(both) == 1 else 'are'} unknown" + (f": {cause}" if cause else "")
        for cause, both in names.items()
    ]


_ORDER = (Reason.NOT_REARMED, Reason.SETTLING, Reason.CONFIRMING, Reason.GATHERING_EVIDENCE, Reason.SAME_WINDOW)


def _why_not_yet(past: Past, breach: Assessment, triggers: Triggers) -> tuple[Reason, str, str]:
    """Why a breach does not stand: the reason, the clause, and the remedy."""
    streak = past.streak(breach.signal)
    if breach.settling and past.took_over_at is not None:
        began = f"it began at {moment(breach.began_at)}, " if breach.began_at is not None else ""
        since = f"{began}this one took over at {moment(past.took_over_at)}, settle is {duration(triggers.settle)}"
        return Reason.SETTLING, f"that window is partly about the previous champion: {since}", ""
    if breach.signal is Signal.DRIFT and not streak.armed:
        remedy = "compare with the champion's own training data (RETRAIN_REFERENCE), train on newer data, or raise"
        what = "drift was as high when this champion was promoted, and was not healthy since"
        return Reason.NOT_REARMED, what, f"{remedy} drift_threshold"
    progress, reason = "", Reason.CONFIRMING
    if _by_evidence(breach, triggers):
        progress, reason = evidence.text(past.evidence, triggers), Reason.GATHERING_EVIDENCE
    elif streak.count < triggers.consecutive:
        progress = f"window {streak.count} of {triggers.consecutive} in breach"
    if not breach.repeats:
        return reason, f"this is {progress}", ""
    if streak.is_behind(breach):
        return Reason.SAME_WINDOW, f"its window ({_named(breach)}) ended before one that was read already", ""
    then = f": {progress}" if streak.count and progress else "" if streak.count else "; a new one must come"
    was = "was counted already" if breach.window in streak.seen else "began before the last one that counted ended"
    return Reason.SAME_WINDOW, f"its window ({_named(breach)}) {was}{then}", ""


def _named(assessment: Assessment) -> str:
    """How a sentence calls a window."""
    if assessment.dated and assessment.observed_at is not None:
        return f"to {moment(assessment.observed_at)}"
    return f"known by {BY_NUMBERS}" if assessment.window.startswith(BY_NUMBERS) else assessment.window


# ---------------------------------------------------------------- what holds a due training back


class Barrier(Cause, frozen=True):
    """What holds a due training back, and until when (None: until a person acts)."""

    kind: Reason
    until: datetime | None = None


RESUME = "retrain resume ends the pause"


def barrier(past: Past, triggers: Triggers, now: datetime) -> Barrier | None:
    """What holds a due training back now, in the contract's order; None: nothing does."""
    waiting, pause = past.challenger, past.paused(now)
    if pause is not None:
        remedy = f"{RESUME}, check --force --reason TEXT trains now"
        return Barrier(Reason.PAUSED, str(pause), remedy, pause.until)
    if waiting is not None and not waiting.settled and now < (until := waiting.at + triggers.challenger_ttl):
        what = f"challenger {short(waiting.version)} of {moment(waiting.at)} waits to be judged"
        remedy = "retrain promote judges it, promote --reject discards it"
        return Barrier(Reason.CHALLENGER_WAITING, what, remedy, until)
    return _backing_off(past, triggers, now) or _cooling_down(past, triggers, now)


def _doubled(wait: timedelta, times: int, longest: timedelta) -> timedelta:
    """The wait, doubled so often, up to the longest; one that is longer already stays."""
    return wait if wait >= longest else min(wait * 2 ** min(times, 20), longest)


def _until(until: datetime, reason: Reason, what: str, now: datetime) -> Barrier | None:
    """The barrier that passes by itself at this time; None once it has."""
    remedy = f"next try in {duration(until - now)}; check --force --reason TEXT trains now"
    return Barrier(reason, what, remedy, until) if now < until else None


def _backing_off(past: Past, triggers: Triggers, now: datetime) -> Barrier | None:
    if past.failed_at is None:
        return None
    wait = _doubled(triggers.failure_backoff, past.failures - 1, LONGEST_BACKOFF)
    failed = "training failed" if past.failures == 1 else f"{past.failures} trainings in a row failed, the last"
    what = f"{failed} {duration(now - past.failed_at)} ago and the back-off is {duration(wait)}"
    return _until(min(past.failed_at, now) + wait, Reason.BACKING_OFF, what, now)


def _cooling_down(past: Past, triggers: Triggers, now: datetime) -> Barrier | None:
    since = max((at for at in (past.trained_at, past.lost_at) if at is not None), default=None)
    if since is None:
        return None
    cooldown = _doubled(triggers.cooldown, max(0, past.unpromoted + 1 - triggers.max_unpromoted), LONGEST_COOLDOWN)
    longer = f", since {in_vain(past)}" if cooldown > triggers.cooldown else ""
    event = "training ended" if since == past.trained_at else "a new journal began"
    what = f"{event} {duration(now - since)} ago and the cooldown is {duration(cooldown)}{longer}"
    return _until(min(since, now) + cooldown, Reason.COOLING_DOWN, what, now)


def in_vain(past: Past) -> str:
    """`3 trainings in a row brought no promotion`."""
    return f"{counted(past.unpromoted, 'training')} in a row brought no promotion"


_REMEDIES = {
    End.INCONCLUSIVE: "the holdout is too small or too old: renew it, or set promotion.holdout: fresh",
    End.WORSE: "look at data, labels and training, and whether the holdout is of today (promotion.holdout: fresh)",
    End.REJECTED: "look at data, labels and training",
    End.GIVEN_UP: "see that labels come to monitor.log, or wait longer (promotion.live)",
    End.REFUSED: "renew the holdout, or set promotion.holdout: fresh",
    End.UNSCORABLE: "retrain promote says why",
    End.NOT_IN_SERVICE: "retrain promote puts it in service, or says why not",
    End.NOT_JUDGED: "have cron run retrain promote --if-pending",
    End.NOTHING_NEW: "give the training newer data",
}


def fruitless(past: Past, triggers: Triggers) -> Cause | None:
    """Why `max_unpromoted` trainings in a row have ended without a promotion, by their most frequent end."""
    waiting, ends = past.challenger, past.ends
    if waiting is not None and (waiting.settled or waiting.unscored):
        ends = (*ends, waiting.end)
    ends = ends[-past.unpromoted :] if past.unpromoted else ()
    if len(ends) < triggers.max_unpromoted:
        return None
    counts = {end: ends.count(end) for end in ends[::-1]}  # the latest first, where two are as frequent
    most = max(counts, key=counts.__getitem__)
    why = ", ".join(f"{count} {end}" for end, count in counts.items())
    longer = "; until a promotion, each makes the cooldown longer" if triggers.cooldown else ""
    return Cause(most, f"{in_vain(past)}: {why}", f"{_REMEDIES[most]}{longer}")


# ---------------------------------------------------------------- a new champion on probation


def fails_probation(
    past: Past, assessments: Sequence[Assessment], triggers: Triggers, probation: timedelta | None, now: datetime
) -> str | None:
    """Why the new champion must go: on the same rows it is worse than the one before.

    Where these were never scored: in enough windows in a row it showed a lower F1 than the one before did last and,
    where counts are known, its windows together show it, too.
    """
    new = past.probation
    if new is None or probation is None or now >= new.since + probation:
        return None
    if new.by_rows is not None:
        return same_rows_text(past) if new.by_rows is Ruling.REJECT else None
    f1 = _judged_f1(assessments)
    if new.f1 is None or f1 is None or f1.value is None or f1.value >= new.f1:
        return None
    if new.count < triggers.consecutive or past.f1.seen[-1:] != (f1.window,):
        return None
    in_a_row = f" in {new.count} windows in a row" if new.count > 1 else ""
    if new.old is not None and new.windows:
        if not is_worse(new.old, new.new, new.windows, evidence.dispersion_of(past.evidence, triggers)):
            return None
        in_a_row += ", more than chance explains"
    shown, before = apart(f1.value, new.f1)
    showed = f"is below the {before} that {short(new.before)} showed last{in_a_row}"
    return f"live F1 {shown} {showed}, within the probation of {duration(probation)}"


def _judged_f1(assessments: Sequence[Assessment]) -> Assessment | None:
    return next((each for each in assessments if each.signal is Signal.F1 and each.state in JUDGED), None)


def due_on_same_rows(
    past: Past, assessments: Sequence[Assessment], asked: Asked, window: timedelta, now: datetime
) -> tuple[int, float] | None:
    """The window of the log at which to score both champions of a probation now, and at which one-sided level.

    None where no window of this length has brought labels since they were scored last. CHANCE is spent in proportion
    to the time: however often they are scored, the levels sum to it at most.
    """
    new, f1 = past.probation, _judged_f1(assessments)
    if new is None or asked.probation is None or asked.forced is not None or now >= new.since + asked.probation:
        return None
    if f1 is None or f1.observed_at is None or f1.observed_at <= new.since:
        return None
    number, last = int(f1.observed_at.timestamp() // window.total_seconds()), new.same_rows or SameRows(0)
    level = CHANCE * ((now - new.since) / asked.probation) - last.spent
    return (number, level) if number != last.window and level > 0 else None


def same_rows_text(past: Past) -> str:
    """What both champions of a probation did on the same rows, and why not on later ones; empty where nothing did."""
    new = past.probation
    if new is None or new.same_rows is None:
        return ""
    verdict, problem = new.same_rows.verdict, new.same_rows.problem
    if verdict is None:
        return f"not compared with {short(new.before)} on the same rows: {problem}"
    low, high = verdict.interval or (0.0, 0.0)
    return (
        f"on the same {counted(verdict.rows, 'row')} since the promotion, {verdict.discordant:,} of them predicted"
        f" differently, {short(past.served or '')} has {new.same_rows.metric} {verdict.challenger_score:z.3f} and"
        f" {short(new.before)}, the champion before, {verdict.champion_score:z.3f}: gain {verdict.difference:+z.3f},"
        f" confidence bounds {low:+z.3f} to {high:+z.3f}{f'; not on later rows: {problem}' if problem else ''}"
    )


def is_worse(old: Counts, new: Counts, windows: int, dispersion: float = 1.0) -> bool:
    """Whether the counts of so many windows together are worse than those of the old champion's last, beyond chance.

    It is asked after every window k, at CHANCE / (k·(k + 1)): these levels sum to CHANCE.
    """
    return evidence.chance_of_drop(old, new, dispersion) <= CHANCE / (windows * (windows + 1))

"""The journal → what matters now: a fold over its events, one step an event."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from retrain.core import events
from retrain.core.events import Checked, Entry, Event, Judged, Promoted, SameRows, TrainingFinished
from retrain.core.evidence import WINDOWS, gather, hits_of, share_of, widened
from retrain.core.past import (
    DELIVERY,
    PASSING,
    PAUSED,
    PROMOTION,
    REMEMBERED,
    TRAINING,
    UNPROMOTED,
    Challenger,
    End,
    Evidence,
    FirstWindow,
    OpenRun,
    Past,
    Pause,
    Probation,
    Spread,
    Streak,
    appended,
    earlier,
    incident_of,
    kind_of,
    lasts,
    noticed,
    seen_at,
    with_own_times,
)
from retrain.core.records import JUDGED, Action, Assessment, Counts, Outcome, Signal, State


def fold(past: Past, entries: Iterable[Entry]) -> Past:
    """What matters after these entries."""
    for entry in entries:
        past = advance(past, entry.event, entry.at)
    return past


def advance(past: Past, event: Event, at: datetime) -> Past:
    """What matters after one more event."""
    past = noticed(past, at)
    seen = seen_at(past, at)
    return with_own_times(_step(seen, event, at), seen, past)


def _step(past: Past, event: Event, at: datetime) -> Past:  # noqa: PLR0912  (a case an event)
    match event:
        case Checked():
            return _checked(past, event, at)
        case events.TrainingStarted():
            return replace(past, run=OpenRun(event.run, at))
        case TrainingFinished():
            return _trained(past, event, at)
        case Judged():
            return _judged(past, event)
        case events.NotJudged():
            return _not_judged(past, event, at)
        case events.Rejected():
            gone, end = _without(past, event.version), End.GIVEN_UP if event.given_up else End.REJECTED
            return gone if gone is past else replace(gone, ends=_appended(past.ends, end))
        case events.SwapStarted():
            return replace(past, swap=event)
        case events.SwapUndone():
            return _of(replace(past, swap=None), event.version, undone=event.failed)
        case Promoted():
            return _promoted(past, event, at)
        case events.RolledBack():
            return _rolled_back(past, event, at)
        case events.Adopted():
            return as_of(past, event.version, at)
        case events.Paused():
            return _reported(replace(past, pause=Pause(event.reason, at, event.length, event.by)), PAUSED, at)
        case events.Resumed():
            return _without_incidents(replace(past, pause=None), [PAUSED])
        case events.HistoryLost():
            past = as_of(past, event.served, at)
            return replace(_without(past, event.served or ""), lost_at=at, losses=past.losses + 1)
        case events.Undelivered():
            return _reported(past, incident_of(DELIVERY + event.channel, event.message), at)
        case events.Delivered():
            channel = DELIVERY + event.channel
            return _without_incidents(past, [each for each in past.reported if kind_of(each) == channel])
        case events.Pruned():
            return past


def as_of(past: Past, version: str | None, at: datetime) -> Past:
    """What matters at this time, with `version` seen in service, whoever put it there."""
    past = seen_at(noticed(past, at), at)
    under_way = past.swap is not None and past.swap.version == version  # its hook runs; it may be undone
    if version is None or version == past.served or under_way:
        return past
    if past.served is None:
        return replace(past, served=version, served_since=at, champions=appended(past.champions, version))
    return _serves(past, version, at, disarm=False)


def _checked(past: Past, event: Checked, at: datetime) -> Past:
    past = replace(past, verified=event.verified or past.verified)
    # A check looks without the lock. Where a swap was recorded meanwhile, what it saw is about the champion before.
    if event.known is None or event.known == (past.served or ""):
        past = scored(watch(as_of(past, event.served, at), event.assessments), event.same_rows)
    if event.action is Action.HOLD:
        past = _without_incidents(past, past.ended(event.reason, event.incident))
    return _reported(past, event.incident, at) if event.incident is not None and event.news else past


def scored(past: Past, found: SameRows | None) -> Past:
    """What matters once both champions of a probation were asked for on the same rows."""
    if found is None or past.probation is None:
        return past
    return replace(past, probation=replace(past.probation, same_rows=found))


def _not_judged(past: Past, event: events.NotJudged, at: datetime) -> Past:
    # A refusal settles the challenger, and makes nothing that comes later old news.
    if event.refused:
        return _of(past, event.version, refused=event.refused, ruling=None)
    return _reported(_of(past, event.version, unscored=True), incident_of(PROMOTION, event.message), at)


def _promoted(past: Past, event: Promoted, at: datetime) -> Past:
    past = as_of(past, event.previous, at)
    probation = Probation(event.previous, past.f1.value, at, old=past.f1.counts) if event.previous else None
    past = _serves(replace(past, swap=None), event.version, at, disarm=True)
    ended = [each for each in past.reported if kind_of(each) not in PASSING and not lasts(each)]
    past = _without_incidents(past, ended)
    return replace(_without(past, event.version), unpromoted=0, ends=(), probation=probation)


def _rolled_back(past: Past, event: events.RolledBack, at: datetime) -> Past:
    past = as_of(past, event.previous, at)
    before = past.lineage[: past.lineage.index(event.version)] if event.version in past.lineage else None
    past = _serves(replace(past, swap=None), event.version, at, disarm=False)
    # Only the version that is left; --to may also name a later one.
    banned = past.banned if before is None or not event.previous else appended(past.banned, event.previous)
    return replace(past, banned=banned, lineage=past.lineage if before is None else before)


def _judged(past: Past, event: Judged) -> Past:
    past = _without_incidents(past, [each for each in past.reported if kind_of(each) == PROMOTION])
    past, ruling = replace(past, comparisons=event.verdict.look), event.verdict.ruling
    if event.dry_run:
        return past
    verdicts = {**past.verdicts, ruling: past.verdicts.get(ruling, 0) + 1}
    past = replace(past, admitted=appended(past.admitted, event.challenger), verdicts=verdicts)
    return _of(past, event.challenger, ruling=ruling, refused="", undone=False)


def _trained(past: Past, event: TrainingFinished, at: datetime) -> Past:
    trainings = {**past.trainings, event.outcome: past.trainings.get(event.outcome, 0) + 1}
    past, before, new = replace(past, run=None, trainings=trainings), past.challenger, event.challenger
    if event.outcome is not (Outcome.NOTHING_NEW if new is None else Outcome.SUCCEEDED):
        incident = incident_of(TRAINING, event.cause or f"{event.outcome} {event.exit_code}")
        past = _reported(past, incident, at) if event.news else past
        return replace(past, failures=past.failures + 1, failed_at=at)
    ends = _appended(past.ends, before.end) if before is not None and past.unpromoted else past.ends
    past = replace(
        past,
        f1=replace(past.f1, count=0),
        drift=replace(past.drift, count=0),
        evidence=replace(past.evidence, score=0.0),
        trained_at=at,
        failed_at=None,
        failures=0,
        challenger=None,
        unpromoted=past.unpromoted + 1,
        ends=ends if new is not None else _appended(ends, End.NOTHING_NEW),
        reported={k: at for k, at in past.reported.items() if kind_of(k) == UNPROMOTED or lasts(k)},
    )
    if new is None:
        return past
    kept = {"admitted": appended(past.admitted, new), "trained": appended(past.trained, new)}
    return replace(past, challenger=Challenger(new, event.run, at), **kept)


def _serves(past: Past, version: str, at: datetime, *, disarm: bool) -> Past:
    """Another champion serves: the old one's windows say nothing about it."""
    lineage, spread = past.lineage if past.served is None else appended(past.lineage, past.served), past.evidence.spread
    lineage = tuple(each for each in lineage if each != version)
    return replace(
        past,
        f1=past.f1.handed_over(),
        drift=past.drift.handed_over(armed=not disarm or (past.drift.armed and not past.drift.in_breach)),
        evidence=replace(past.evidence, score=0.0, spread=Spread(known=spread.known, means=spread.means)),
        banned=tuple(each for each in past.banned if each != version),
        probation=None,
        served=version,
        served_since=at,
        took_over_at=at if past.served is not None else None,
        lineage=lineage,
        champions=appended(past.champions, version),
    )


def _of(past: Past, version: str, **changes: Any) -> Past:
    """The waiting challenger changed so, if it has this version."""
    if past.challenger is None or past.challenger.version != version:
        return past
    return replace(past, challenger=replace(past.challenger, **changes))


def _without(past: Past, version: str) -> Past:
    """No challenger with this version waits any more."""
    gone = past.challenger is not None and past.challenger.version == version
    return replace(past, challenger=None) if gone else past


def _appended(ends: tuple[End, ...], end: End) -> tuple[End, ...]:
    return (*ends, end)[-_INCIDENTS:]


def _without_incidents(past: Past, ended: Collection[str]) -> Past:
    return replace(past, reported={each: at for each, at in past.reported.items() if each not in ended})


def _reported(past: Past, incident: str, at: datetime) -> Past:
    reported = dict([*past.reported.items(), (incident, at)][-_INCIDENTS:])
    began = past.began if incident in past.reported else {**past.began, incident: at}
    return replace(past, reported=reported, began={each: at for each, at in began.items() if each in reported})


_INCIDENTS = 32
"""How many incidents are remembered as reported, and how many trainings by their end."""
_FIRSTS = 32
"""How many champions are remembered by their first window."""
DATED = 8
"""How many windows with a time are remembered: a clock that was set back must not bring the last ones back."""


def watch(past: Past, assessments: Iterable[Assessment]) -> Past:
    """What matters after these readings: every window counts once."""
    f1, drift, evidence, probation = past.f1, past.drift, past.evidence, past.probation
    firsts, shares = past.firsts, past.shares
    for assessment in assessments:
        if assessment.signal is Signal.DRIFT:
            drift = _after(drift, assessment)
            continue
        if assessment.state in JUDGED and not f1.has_seen(assessment):
            evidence, probation = _weighed(evidence, assessment), _tried(probation, assessment)
            share = share_of(assessment.counts, assessment.samples)
            shares = shares if share is None else (*shares, round(share, 4))[-WINDOWS:]
            firsts = _with_first(firsts, past.served or "", assessment)
        f1 = _after(f1, assessment)
    if f1 is past.f1 and drift is past.drift:
        return past
    return replace(past, f1=f1, drift=drift, evidence=evidence, probation=probation, firsts=firsts, shares=shares)


def _with_first(firsts: Mapping[str, FirstWindow], served: str, f1: Assessment) -> Mapping[str, FirstWindow]:
    """The first windows, with this one where it is the first of the champion that counts."""
    if served in firsts or f1.settling or f1.judged is None:
        return firsts
    counts = f1.mix.counts if f1.mix is not None and f1.mix.used else f1.counts
    return dict([*firsts.items(), (served, FirstWindow(f1.judged, counts))][-_FIRSTS:])


def _weighed(evidence: Evidence, f1: Assessment) -> Evidence:
    """The evidence after a new window."""
    counted = hits_of(f1.value or 0.0, f1.counts, f1.positives)
    if counted is not None and not f1.settling:
        evidence = replace(evidence, spread=widened(evidence.spread, *counted))
    if f1.weight is None or f1.observed_at is None:
        return replace(evidence, rule="", score=0.0)  # a score of then would say nothing about later
    return gather(evidence, f1.weight, f1.observed_at, counts=not f1.settling)


def _tried(probation: Probation | None, f1: Assessment) -> Probation | None:
    """The promotion on probation after a new window."""
    if probation is None or probation.f1 is None or f1.settling or f1.value is None:
        return probation
    below, new, counts = f1.value < probation.f1, probation.new, f1.counts or Counts(0.0, 0.0, 0.0)
    return replace(
        probation,
        count=probation.count + 1 if below else 0,
        new=Counts(new.tp + counts.tp, new.fp + counts.fp, new.fn + counts.fn),
        windows=probation.windows + (f1.counts is not None),
    )


def _after(streak: Streak, assessment: Assessment) -> Streak:
    if assessment.state not in JUDGED:
        return streak
    healthy = assessment.state is State.HEALTHY
    if streak.has_seen(assessment):
        grown = streak.seen[-1:] == (assessment.window,) and assessment.labelled != streak.labelled
        return replace(streak, labelled=assessment.labelled) if grown else streak
    # Of windows with a date few are kept, since older ones are known by theirs.
    seen = appended(streak.seen, assessment.window, DATED if assessment.dated else REMEMBERED)
    armed = streak.armed or healthy
    if assessment.settling:
        return replace(streak, armed=armed, seen=seen, labelled=assessment.labelled)
    latest = streak.latest
    if assessment.dated and not earlier(assessment.observed_at, latest):
        latest = assessment.observed_at
    # Another feature in each window is what chance does; a drift lasts.
    goes_on = assessment.signal is not Signal.DRIFT or assessment.series == streak.series
    return Streak(
        count=0 if healthy else streak.count * goes_on + 1,
        in_breach=not healthy,
        value=assessment.value,
        counts=assessment.counts,
        armed=armed,
        seen=seen,
        latest=latest,
        labelled=assessment.labelled,
        series=assessment.series,
    )

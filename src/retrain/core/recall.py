"""The journal → what matters now: a fold over its events, one step an event."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from retrain.core.records import (
    Action,
    Adopted,
    Assessment,
    Checked,
    Entry,
    Event,
    Judged,
    NotJudged,
    Outcome,
    Promoted,
    Reason,
    Rejected,
    RolledBack,
    Ruling,
    Signal,
    State,
    SwapStarted,
    SwapUndone,
    TrainingFinished,
    TrainingStarted,
)

TRAINING, PROMOTION = "training", "promotion"
"""The incidents of a training and of a promotion that fail; a check has its own."""
REMEMBERED = 128
"""How many windows without a time are remembered as seen, and how many champions."""


@dataclass(frozen=True, slots=True)
class Streak:
    """A signal's distinct windows in breach, in a row, since the last training that succeeded.

    `in_breach` is what the last judged window said; `armed` is False for drift that stood at the last
    promotion and was not seen healthy since; `seen` and `latest` tell the windows that count no more, `counted`
    those that make up the streak.
    """

    count: int = 0
    counted: tuple[str, ...] = ()
    in_breach: bool = False
    armed: bool = True
    seen: tuple[str, ...] = ()
    latest: datetime | None = None

    def has_seen(self, assessment: Assessment) -> bool:
        """Whether this window was read before, or ended before one that was."""
        backwards = assessment.dated and _earlier(assessment.observed_at, self.latest)
        return backwards or assessment.window in self.seen


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A training that was started and has not been recorded as finished."""

    id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Challenger:
    """What the last successful training left, and the latest ruling on it.

    `undone` says that it won and was put in service, but the hook after the swap failed.
    """

    version: str
    run: str
    at: datetime
    ruling: Ruling | None = None
    undone: bool = False

    @property
    def settled(self) -> bool:
        """Whether it was judged, whatever the verdict: then it holds no training back any more."""
        return self.ruling is not None


@dataclass(frozen=True, slots=True)
class Past:
    """All of the journal that the decisions need.

    `run` and `swap` were started and not recorded as ended. `lineage` are the champions before the present one,
    oldest first; `champions` all that served, by the last time they did; `admitted` the challengers that were kept.
    `took_over_at` is when the present champion took over from another. `told` are the incidents that were told and
    have not ended, with when they were told.
    """

    f1: Streak = field(default_factory=Streak)
    drift: Streak = field(default_factory=Streak)
    run: OpenRun | None = None
    swap: SwapStarted | None = None
    trained_at: datetime | None = None
    failed_at: datetime | None = None
    failures: int = 0
    challenger: Challenger | None = None
    unpromoted: int = 0
    served: str | None = None
    served_since: datetime | None = None
    took_over_at: datetime | None = None
    lineage: tuple[str, ...] = ()
    champions: tuple[str, ...] = ()
    admitted: tuple[str, ...] = ()
    told: Mapping[str, datetime] = field(default_factory=dict)

    def streak(self, signal: Signal) -> Streak:
        """The streak of this signal."""
        return self.f1 if signal is Signal.F1 else self.drift

    def outlived(self, keep: int) -> set[str]:
        """The versions of this journal that nobody wants any more.

        Wanted are the champion, `keep` others (first those that rollback walks to), and the last challenger.
        Versions that this journal does not know are somebody else's.
        """
        line = dict.fromkeys((*self.lineage[::-1], *self.champions[::-1]))
        others = [version for version in line if version != self.served][:keep]
        last = self.challenger.version if self.challenger is not None else None
        return {*self.champions, *self.admitted} - {self.served, *others, last}

    def is_news(self, incident: str, now: datetime, repeat_after: timedelta) -> bool:
        """Whether this incident is to be told: it is new, or it was told `repeat_after` ago."""
        told_at = self.told.get(incident)
        return told_at is None or now - told_at >= repeat_after


def fold(past: Past, entries: Iterable[Entry]) -> Past:
    """What matters after these entries."""
    for entry in entries:
        past = advance(past, entry.event, entry.at)
    return past


def advance(past: Past, event: Event, at: datetime) -> Past:
    """What matters after one more event."""
    past = _clamp(past, at)
    match event:
        case Checked():
            return _checked(past, event, at)
        case TrainingStarted():
            return replace(past, run=OpenRun(event.run, at))
        case TrainingFinished():
            return _trained(past, event, at)
        case Judged():
            told = {each: since for each, since in past.told.items() if each != PROMOTION}
            past = replace(past, told=told, admitted=_last(past.admitted, event.challenger))
            return past if event.dry_run else _of(past, event.challenger, ruling=event.verdict.ruling)
        case NotJudged():
            return _told(past, PROMOTION, at)
        case Rejected():
            return _without(past, event.version)
        case SwapStarted():
            return replace(past, swap=event)
        case SwapUndone():
            return _of(replace(past, swap=None), event.version, undone=True)
        case Promoted():
            past = _serves(replace(past, swap=None), event.version, at, disarm=True)
            return replace(_without(past, event.version), unpromoted=0)
        case RolledBack():
            before = past.lineage[: past.lineage.index(event.version)] if event.version in past.lineage else None
            past = _serves(replace(past, swap=None), event.version, at, disarm=True)
            return past if before is None else replace(past, lineage=before)
        case Adopted():
            return as_of(past, event.version, at)


def as_of(past: Past, version: str | None, at: datetime) -> Past:
    """What matters at this time, with `version` seen in service, whoever put it there."""
    past = _clamp(past, at)
    if version is None or version == past.served:
        return past
    if past.served is None:
        return replace(past, served=version, served_since=at, champions=_last(past.champions, version))
    return _serves(past, version, at, disarm=False)


def watch(past: Past, assessments: Iterable[Assessment]) -> Past:
    """What matters after these readings: every window counts once."""
    for assessment in assessments:
        streak = _after(past.streak(assessment.signal), assessment)
        past = replace(past, f1=streak) if assessment.signal is Signal.F1 else replace(past, drift=streak)
    return past


def _after(streak: Streak, assessment: Assessment) -> Streak:
    if assessment.state not in (State.HEALTHY, State.BREACH):
        return streak
    healthy = assessment.state is State.HEALTHY
    if streak.has_seen(assessment):
        return streak
    if assessment.settling:
        return replace(streak, armed=streak.armed or healthy, seen=_last(streak.seen, assessment.window))
    latest = streak.latest
    if assessment.dated and not _earlier(assessment.observed_at, latest):
        latest = assessment.observed_at
    return Streak(
        count=0 if healthy else streak.count + 1,
        counted=() if healthy else _last(streak.counted, assessment.window),
        in_breach=not healthy,
        armed=streak.armed or healthy,
        seen=_last(streak.seen, assessment.window),
        latest=latest,
    )


def _checked(past: Past, event: Checked, at: datetime) -> Past:
    past = watch(as_of(past, event.served, at), event.assessments)
    if event.incident is not None:
        return _told(past, event.incident, at) if event.news else past
    if event.action is Action.TRAIN or event.reason is Reason.BUSY:
        return past
    return replace(past, told={each: since for each, since in past.told.items() if each == PROMOTION})


def _trained(past: Past, event: TrainingFinished, at: datetime) -> Past:
    past = replace(past, run=None)
    if event.outcome is not Outcome.SUCCEEDED or event.challenger is None:
        past = _told(past, TRAINING, at) if event.news else past
        return replace(past, failures=past.failures + 1, failed_at=at)
    return replace(
        past,
        f1=replace(past.f1, count=0, counted=()),
        drift=replace(past.drift, count=0, counted=()),
        trained_at=at,
        failed_at=None,
        failures=0,
        challenger=Challenger(event.challenger, event.run, at),
        admitted=_last(past.admitted, event.challenger),
        unpromoted=past.unpromoted + 1,
        told={},
    )


def _serves(past: Past, version: str, at: datetime, *, disarm: bool) -> Past:
    """Another champion serves: the old one's windows say nothing about it."""
    lineage = past.lineage if past.served is None else _last(past.lineage, past.served)
    lineage = tuple(each for each in lineage if each != version)
    return replace(
        past,
        f1=Streak(),
        drift=Streak(armed=not disarm or (past.drift.armed and not past.drift.in_breach)),
        served=version,
        served_since=at,
        took_over_at=at if past.served is not None else None,
        lineage=lineage,
        champions=_last(past.champions, version),
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


def _told(past: Past, incident: str, at: datetime) -> Past:
    return replace(past, told={**past.told, incident: at})


def _last(items: tuple[str, ...], item: str) -> tuple[str, ...]:
    """The items with this one moved to the end, the oldest forgotten."""
    return (*(each for each in items if each != item), item)[-REMEMBERED:]


def _earlier(one: datetime | None, other: datetime | None) -> bool:
    return one is not None and other is not None and one < other


def _clamp(past: Past, now: datetime) -> Past:
    """No remembered time lies in the future: after a clock was set back, every wait counts from now."""

    def cap(at: datetime | None) -> datetime | None:
        return now if at is not None and at > now else at

    return replace(
        past,
        f1=replace(past.f1, latest=cap(past.f1.latest)),
        drift=replace(past.drift, latest=cap(past.drift.latest)),
        run=past.run and replace(past.run, at=min(past.run.at, now)),
        trained_at=cap(past.trained_at),
        failed_at=cap(past.failed_at),
        served_since=cap(past.served_since),
        took_over_at=cap(past.took_over_at),
        challenger=past.challenger and replace(past.challenger, at=min(past.challenger.at, now)),
        told={incident: min(at, now) for incident, at in past.told.items()},
    )

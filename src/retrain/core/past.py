"""All of the journal that the decisions need."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any

from msgspec import Struct, field
from msgspec.structs import fields, replace

from retrain.core.events import Actor, SameRows, SwapStarted
from retrain.core.records import Assessment, Cause, Counts, Outcome, Reason, Signal, State
from retrain.core.text import counted, moment, short
from retrain.core.verdicts import Ruling

UNREPAIRED = "the champion stays, and nothing is trained or promoted"
REPAIR = "move it away with its -wal and -shm and restore the latest copy, or run retrain doctor --repair"
"""What a journal that cannot be relied on means, and what a person can do."""
BY_NUMBERS = "the numbers"
"""How a window without name or date is called."""
REMEMBERED = 128
"""How many windows without a time are remembered as seen, and how many champions."""
TRAINING, PROMOTION, UNKNOWN, FAILED, STUCK = "training", "promotion", "unknown", "failed", "stuck"
UNPROMOTED, PAUSED = "unpromoted", "paused"
"""Kinds of incidents: a training or a promotion that failed, unknown metrics, a check that failed, a stuck lock,
trainings that bring no promotion, and a pause that lasts."""
DELIVERY = "delivery of "
"""How the kinds of incidents begin that are about a channel of notifications; a delivery ends them."""
PASSING = (UNKNOWN, FAILED, STUCK)
"""Kinds that end with the next check that works; the others last until all is healthy, or an event ends them."""


class Streak(Struct, frozen=True):
    """A signal's distinct windows in breach, in a row, since the last training that succeeded.

    `in_breach`, `value` and `counts` are what the last judged window said; `armed` is False for drift that stood at
    the last promotion and was not seen healthy since; `seen` and `latest` tell the windows that count no more, `series`
    whose they are, such as `feature=age`. `labelled` is how many labels of which kind the window had that was read
    last.
    """

    count: int = 0
    in_breach: bool = False
    value: float | None = None
    counts: Counts | None = None
    armed: bool = True
    seen: tuple[str, ...] = ()
    latest: datetime | None = None
    labelled: tuple[str, float] | None = None
    series: str = ""

    def has_seen(self, assessment: Assessment) -> bool:
        """Whether this window was read before, ended before one that was, or overlaps one that was counted.

        Numbers alone come again: a healthy one that is not the last one read is of a new window, and ends a streak.
        """
        comes_again = assessment.state is State.HEALTHY and assessment.window.startswith(BY_NUMBERS)
        seen = assessment.window in (self.seen[-1:] if comes_again else self.seen)
        return seen or self.is_behind(assessment) or self.overlaps(assessment)

    def handed_over(self, *, armed: bool = True) -> "Streak":
        """That of another champion: a window counts once, whoever served; but numbers alone come again."""
        seen = tuple(each for each in self.seen if not each.startswith(BY_NUMBERS))
        return Streak(armed=armed, seen=seen, latest=self.latest)

    def is_behind(self, assessment: Assessment) -> bool:
        """Whether this window ended before one that was read."""
        return assessment.dated and earlier(assessment.observed_at, self.latest)

    def overlaps(self, assessment: Assessment) -> bool:
        """Whether this window began before the last one that was counted ended."""
        return earlier(assessment.began_at, self.latest)

    def supports(self, assessment: Assessment) -> bool:
        """Whether this window is the last of the streak, or overlaps that one."""
        return self.count > 0 and (self.seen[-1:] == (assessment.window,) or self.overlaps(assessment))


class Spread(Struct, frozen=True):
    """How much the champion's windows differ.

    `hits` and `trials` are their mean TP and TP + FP + FN, `windows` their number (up to a cap). `means` are the
    running mean of the squared residual over its binomial variance, as it was after each of the last windows, oldest
    first, and `known` how many residuals are in it (up to a cap), those of earlier champions among them.
    """

    hits: float = 0.0
    trials: float = 0.0
    windows: int = 0
    known: int = 0
    means: tuple[float, ...] = ()


class Evidence(Struct, frozen=True):
    """The score of the evidence rule under `rule`, and what is known of the windows.

    That is their number (up to a cap), their mean TP + FP + FN (`trials`), the mean seconds between two (`gap`), the
    end of the latest, and how much they differ.
    """

    rule: str = ""
    score: float = 0.0
    windows: int = 0
    trials: float = 0.0
    gap: float = 0.0
    latest: datetime | None = None
    spread: Spread = field(default_factory=Spread)


class Probation(Struct, frozen=True):
    """A promotion on probation: `before` served until `since` and showed `f1` last (None: that is not known).

    The last `count` windows of the new champion showed less. `old` are the counts of the old one's last window, `new`
    those of the `windows` of the new one together, where they are known. `same_rows` is what both did on the same rows,
    where they were scored.
    """

    before: str
    f1: float | None
    since: datetime
    count: int = 0
    old: Counts | None = None
    new: Counts = field(default_factory=lambda: Counts(0.0, 0.0, 0.0))
    windows: int = 0
    same_rows: SameRows | None = None

    @property
    def by_rows(self) -> Ruling | None:
        """What the same rows say of the new champion; None where they leave it to live F1."""
        same = self.same_rows
        if same is None or same.verdict is None or (same.problem and same.verdict.ruling is Ruling.INCONCLUSIVE):
            return None
        return same.verdict.ruling


class FirstWindow(Struct, frozen=True):
    """What a champion showed in its first window: F1, and its counts where they are known."""

    f1: float
    counts: Counts | None = None


class OpenRun(Struct, frozen=True):
    """A training that was started and has not been recorded as finished."""

    id: str
    at: datetime


class Pause(Struct, frozen=True):
    """Nothing trains or promotes by itself `since` then, for this `length`, or (None) until a person resumes."""

    reason: str
    since: datetime
    length: timedelta | None = None
    by: Actor | None = None

    @property
    def until(self) -> datetime | None:
        """When it ends by itself; None where it does not."""
        return self.since + self.length if self.length is not None else None

    @property
    def what(self) -> str:
        """`since 2026-11-22 16:10 UTC by alice on web1, until 2026-11-25 16:10 UTC: the labels are wrong`."""
        by, until = f" by {self.by}" if self.by else "", f", until {moment(self.until)}" if self.until else ""
        return f"since {moment(self.since)}{by}{until}: {self.reason}"

    def __str__(self) -> str:
        return f"paused {self.what}"


class End(StrEnum):
    """Why a training brought no promotion; its words follow a number."""

    INCONCLUSIVE = "inconclusive"
    WORSE = "no better than the champion"
    REJECTED = "rejected by a person"
    GIVEN_UP = "given up, as too few labelled rows came"
    REFUSED = "refused, as a training may have read the holdout"
    UNSCORABLE = "could not be scored"
    NOT_IN_SERVICE = "won, but not put in service"
    NOT_JUDGED = "not compared"
    NOTHING_NEW = "nothing new"


_ENDS = {Ruling.INCONCLUSIVE: End.INCONCLUSIVE, Ruling.REJECT: End.WORSE, Ruling.PROMOTE: End.NOT_IN_SERVICE}


class Challenger(Struct, frozen=True):
    """What the last successful training left, and the latest ruling on it.

    `undone` says that it won and was put in service, but the hook after the swap failed; `refused` says why and on
    which holdout file it was refused (see NotJudged); `unscored` says that a comparison failed.
    """

    version: str
    run: str
    at: datetime
    ruling: Ruling | None = None
    undone: bool = False
    refused: str = ""
    unscored: bool = False

    @property
    def end(self) -> End:
        """Why it was not promoted, if it never is."""
        if self.ruling is not None:
            return _ENDS[self.ruling]
        return End.REFUSED if self.refused else End.UNSCORABLE if self.unscored else End.NOT_JUDGED

    @property
    def settled(self) -> bool:
        """Whether it was judged or refused: then it holds no training back any more."""
        return self.ruling is not None or self.refused != ""


class Past(Struct, frozen=True):
    """All of the journal that the decisions need.

    `run` and `swap` were started and not recorded as ended. `lineage` are the champions before the present one, oldest
    first; `champions` all that served, by the last time they did; `admitted` the challengers that were kept, `trained`
    those among them that a training left; `banned` those that were rolled back. `probation` is that of the latest
    promotion, where the champion before it showed an F1. `firsts` are the first windows of the latest champions by
    their versions ("" where that is not known). `ends` are those of the `unpromoted` trainings but the one whose
    challenger still waits; `shares` the shares of positives of the latest windows. `took_over_at` is when the present
    champion took over from another. `reported` are the incidents that were reported and have not ended, with when they
    were reported; `began` says when they were reported first. `lost_at` is when the history was lost last, `losses` how
    often. `newest` is the latest time of any
    event; `rewound` are the first and the last time at which the clock was behind that, while it is. `set_back` is the
    time of the first event after the clock last went back, `since_then` the latest time of any event since (see below).
    `verified` is the stamp of the champion's file when it was last read, and had the bytes of its name. `trainings` are
    counted by their outcome, the `verdicts` of promotions by their ruling; `comparisons` is the number of the latest
    comparison on its holdout. `pause` is the latest, which may have ended by itself.
    """

    f1: Streak = field(default_factory=Streak)
    drift: Streak = field(default_factory=Streak)
    evidence: Evidence = field(default_factory=Evidence)
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
    trained: tuple[str, ...] = ()
    banned: tuple[str, ...] = ()
    probation: Probation | None = None
    firsts: Mapping[str, FirstWindow] = field(default_factory=dict)
    ends: tuple[End, ...] = ()
    shares: tuple[float, ...] = ()
    reported: Mapping[str, datetime] = field(default_factory=dict)
    began: Mapping[str, datetime] = field(default_factory=dict)
    lost_at: datetime | None = None
    losses: int = 0
    newest: datetime | None = None
    rewound: tuple[datetime, datetime] | None = None
    set_back: datetime | None = None
    since_then: datetime | None = None
    verified: str = ""
    trainings: Mapping[Outcome, int] = field(default_factory=dict)
    verdicts: Mapping[Ruling, int] = field(default_factory=dict)
    comparisons: int = 0
    pause: Pause | None = None

    def streak(self, signal: Signal) -> Streak:
        """The streak of this signal."""
        return self.f1 if signal is Signal.F1 else self.drift

    def paused(self, now: datetime) -> Pause | None:
        """The pause that holds at this time."""
        is_over = self.pause is None or (self.pause.until is not None and now >= self.pause.until)
        return None if is_over else self.pause

    @property
    def first(self) -> FirstWindow | None:
        """The first window of the present champion."""
        return self.firsts.get(self.served or "")

    def lost(self, served: str | None, kept: Collection[str] = ()) -> Cause | None:
        """Why this history cannot be that of the version which serves, or of those `kept` where none does; else None.

        Only this program makes versions. One that this history never saw in service was put there by events that it
        lacks, and so were those of which it knows no training and no comparison: it is gone, or a copy from before.
        """
        under_way = self.swap.version if self.swap is not None else None
        acted = self.trained_at or self.failures or self.run or self.losses or self.admitted or self.champions
        if (acted or not kept) if served is None else served in (self.served, under_way, *self.champions):
            return None
        what = f"put champion {short(served)} in service" if served else f"kept {counted(len(kept), 'version')}"
        why = f"there was no journal that {what}: this one is new, an old copy, or the link was moved by hand"
        return Cause("lost", why, REPAIR)

    def outlived(self, keep: int) -> set[str]:
        """The versions of this journal that may be removed.

        Wanted are the champion, `keep` others (first those that rollback walks to), the last challenger, and who served
        just before: a service may have read the link, and open the file next. Versions that this journal does not know
        belong to others.
        """
        line = dict.fromkeys((*self.lineage[::-1], *self.champions[::-1]))
        others = [version for version in line if version != self.served][:keep]
        last = self.challenger.version if self.challenger is not None else None
        return {*self.champions, *self.admitted} - {self.served, *others, last, *self.champions[-2:]}

    def is_news(self, incident: str, now: datetime, repeat_after: timedelta) -> bool:
        """Whether to report this incident: it is new, or it was reported `repeat_after` ago.

        A kind without a cause stands for any of that kind. That nothing is promoted is reported once.
        """
        times = [at for each, at in self.reported.items() if incident in (each, kind_of(each))]
        if kind_of(incident) == UNPROMOTED:
            return not times
        return all(abs(now - at) >= repeat_after for at in times)  # the clock may have been ahead then

    def ended(self, reason: Reason, incident: str | None) -> tuple[str, ...]:
        """The reported incidents that end with a check that did not act for this reason, itself part of `incident`."""
        if incident is not None and kind_of(incident) == FAILED:
            return ()
        kinds = {kind_of(each) for each in self.reported if not lasts(each)} - {PROMOTION, UNPROMOTED}
        if reason in (Reason.BUSY, Reason.UNKNOWN):
            kinds &= {FAILED}
        elif reason is not Reason.HEALTHY:
            kinds &= {*PASSING}
        kinds -= {kind_of(incident or "")}
        return tuple(each for each in self.reported if kind_of(each) in kinds)

    def lasted(self, kind: str, now: datetime) -> timedelta:
        """How long ago the first incident of this kind was reported that has not ended."""
        return now - min(self.began.get(each, at) for each, at in self.reported.items() if kind_of(each) == kind)


def incident_of(kind: str, cause: str) -> str:
    """The key of an incident: one kind may have several causes, each of which is reported once.

    Numbers do not make another cause, for times and counts differ from check to check.
    """
    # Only its digest: a cause may quote a secret, which is not recognised without its digits.
    plain = "".join(each for each in cause if not each.isdigit())[:200]
    return f"{kind}:{sha256(plain.encode(errors='replace')).hexdigest()[:12]}"


def kind_of(incident: str) -> str:
    """The kind of an incident."""
    return incident.partition(":")[0]


def lasts(incident: str) -> bool:
    """Whether no check and no training ends the incident: a pause, or what is about a channel of notifications."""
    return incident == PAUSED or incident.startswith(DELIVERY)


def appended(items: tuple[str, ...], item: str, most: int = REMEMBERED) -> tuple[str, ...]:
    """The items with this one moved to the end, the oldest forgotten."""
    return (*[each for each in items if each != item], item)[-most:]


def earlier(one: datetime | None, other: datetime | None) -> bool:
    """Whether both are known and one comes before the other."""
    return one is not None and other is not None and one < other


UNORDERED = timedelta(minutes=1)
"""Processes that write at once may be so far out of order."""


def noticed(past: Past, at: datetime) -> Past:
    """The past as it stands at this time of an event or a look.

    Where the clock is behind, that is remembered. Once it is right again, what happened meanwhile is taken to have
    happened now, so that the waits which began with it do not end early.
    """
    newest, rewound, (set_back, since_then) = past.newest, past.rewound, _followed(past, at)
    if newest is not None and at < newest - UNORDERED:
        first, last = rewound or (at, at)
        during = min(first, at), max(last, at)
        return replace(past, rewound=during, set_back=set_back, since_then=since_then)
    newest = at if newest is None else max(newest, at)
    past = replace(past, newest=newest, rewound=None, set_back=set_back, since_then=since_then)
    if rewound is None:
        return past
    first, last = rewound
    # The end of a window was never read from this clock.
    return _with_times(past, lambda then: at if first <= then <= last else then, "f1", "drift", "evidence")


def _with_times(past: Past, of: Callable[[datetime], datetime], *kept: str) -> Past:
    """The past with `of` of each time in it, but for what is known of the clock and for the fields `kept`."""

    def changed(value: Any) -> Any:
        if isinstance(value, datetime):
            return of(value)
        if isinstance(value, dict):
            return {key: changed(each) for key, each in value.items()}
        if isinstance(value, Struct):
            return replace(value, **{each.name: changed(getattr(value, each.name)) for each in fields(value)})
        return value

    kept += ("newest", "rewound", "set_back", "since_then")
    names = (each.name for each in fields(past) if each.name not in kept)
    return replace(past, **{name: changed(getattr(past, name)) for name in names})


def _followed(past: Past, at: datetime) -> tuple[datetime | None, datetime]:
    """When the clock last went back, and the latest time since: also under one that has once been far ahead."""
    if past.since_then is not None and at < past.since_then - UNORDERED:
        return at, at
    return past.set_back, at if past.since_then is None else max(past.since_then, at)


def seen_at(past: Past, now: datetime) -> Past:
    """The past with no time in the future: after a clock was set back, waits count from when that was noticed.

    What lies in the future was remembered before the clock last went back, so not later than that was noticed.
    """
    if past.newest is None or past.newest <= now:
        return past
    floor = min(now, past.set_back) if past.set_back is not None else now

    def capped(at: datetime) -> datetime:
        return at if at <= now else floor if at > now + UNORDERED else now

    return _with_times(past, capped)


def with_own_times(after: Past, seen: Past, past: Past) -> Past:
    """What matters `after` a step that was made on `seen`: what the step did not change keeps the times of `past`."""
    if seen is past:
        return after
    kept = (each.name for each in fields(Past) if getattr(after, each.name) == getattr(seen, each.name))
    return replace(after, **{name: getattr(past, name) for name in kept})

"""A clock that jumps: what is remembered keeps its own times, and is read so that no wait ends early or never ends.

A clock that goes forward cannot be told from time that passes. One that goes back is noticed by the time of the
newest event: either it is wrong now, or it was wrong then.
"""

from dataclasses import fields, replace
from datetime import datetime, timedelta

from retrain.core.past import Past

UNORDERED = timedelta(minutes=1)
"""Processes that write at once may be so far out of order."""


def noticed(past: Past, at: datetime) -> Past:
    """The past as it stands at this time of an event or a look.

    Where the clock is behind, that is remembered. Once it is right again, what happened meanwhile is taken to have
    happened now, so that the waits which began with it do not end early.
    """
    newest, rewound = past.newest, past.rewound
    if newest is not None and at < newest - UNORDERED:
        first, last = rewound or (at, at)
        return replace(past, rewound=(min(first, at), max(last, at)))
    past = replace(past, newest=at if newest is None else max(newest, at), rewound=None)
    if rewound is None:
        return past
    first, last = rewound

    def anew(then: datetime | None) -> datetime | None:
        return at if then is not None and first <= then <= last else then

    waiting = past.challenger
    return replace(
        past,
        trained_at=anew(past.trained_at),
        failed_at=anew(past.failed_at),
        took_over_at=anew(past.took_over_at),
        lost_at=anew(past.lost_at),
        challenger=waiting and replace(waiting, at=anew(waiting.at) or at),
    )


def seen_at(past: Past, now: datetime) -> Past:
    """The past with no time in the future: after a clock was set back, waits count from when that was noticed."""
    if past.newest is None or past.newest <= now:
        return past
    floor = min(now, past.rewound[0]) if past.rewound is not None else now

    def capped(at: datetime) -> datetime:
        return floor if at > now else at

    def cap(at: datetime | None) -> datetime | None:
        return at and capped(at)

    run, waiting, trial = past.run, past.challenger, past.trial
    return replace(
        past,
        f1=replace(past.f1, latest=cap(past.f1.latest)),
        drift=replace(past.drift, latest=cap(past.drift.latest)),
        evidence=replace(past.evidence, latest=cap(past.evidence.latest)),
        trial=trial and replace(trial, since=capped(trial.since), failed_at=cap(trial.failed_at)),
        run=run and replace(run, at=capped(run.at)),
        trained_at=cap(past.trained_at),
        failed_at=cap(past.failed_at),
        served_since=cap(past.served_since),
        took_over_at=cap(past.took_over_at),
        lost_at=cap(past.lost_at),
        challenger=waiting and replace(waiting, at=capped(waiting.at)),
        told={incident: capped(at) for incident, at in past.told.items()},
    )


def with_own_times(after: Past, seen: Past, past: Past) -> Past:
    """What matters `after` a step that was made on `seen`: what the step did not change keeps the times of `past`."""
    if seen is past:
        return after
    names = [each.name for each in fields(Past)]
    return replace(
        after, **{name: getattr(past, name) for name in names if getattr(after, name) == getattr(seen, name)}
    )

"""The monitoring endpoint: is it there, does every query give one value, and how old are the windows?"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from retrain.config.schema import CountQueries, Monitoring, MonitorType, ObservedAt
from retrain.context import Context
from retrain.core.assess import assess
from retrain.core.past import Past
from retrain.core.records import NAMES, Assessment, Counts, Snapshot, State, Unknown
from retrain.core.text import duration, moment
from retrain.doctor.findings import Finding, broken, mind, ok
from retrain.effects import monitoring
from retrain.effects.monitoring.transport import shown, within

if TYPE_CHECKING:
    import requests

Value = float | str | datetime | Unknown

_OF_THE_ENDPOINT = frozenset({"unreachable", "deadline", "status", "too_large", "unparseable"})
"""Kinds of Unknown that are about the answer as a whole."""
_OF_AGE = frozenset({"stale", "future"})
APART = timedelta(seconds=60)
"""How far apart two clocks may be."""


def metrics(context: Context, past: Past) -> Iterator[Finding]:
    """The endpoint, each query that gives no single value, each signal, and its age. Raises ConfigError for a query."""
    asked = context.config.monitoring
    if asked is None:
        yield ok("metrics", "none is configured: the age of the champion alone can start a training")
        return
    snapshot = monitoring.fetch(asked, context.secrets, context.clock())
    values = _values(context, asked, snapshot)
    wrong = {path: value for path, value in values.items() if isinstance(value, Unknown)}
    yield from _queries(asked, values, wrong)
    told = {each.why for each in wrong.values()}
    for each in assess(snapshot, context.config.triggers, past):
        if each.state is not State.UNKNOWN:
            yield ok("metrics", f"can be read: {each.sentence}")
            yield _age(context, each)
        elif not any(why in each.sentence for why in told):
            yield broken(
                "freshness" if each.unknown is not None and each.unknown.kind in _OF_AGE else "metrics", each.sentence
            )


def clock(context: Context) -> Iterator[Finding]:
    """Whether the endpoint's clock and ours agree; nothing where it tells no time."""
    asked, what = context.config.monitoring, "clock"
    ahead = ahead_of(asked, context.clock) if asked is not None else None
    if asked is None or ahead is None:
        return
    where, span = monitoring.shown(asked.url), duration(abs(ahead))
    if abs(ahead) <= APART:
        yield ok(what, f"ours and that of {where} agree (within {APART.seconds} s)")
        return
    side = "behind" if ahead > timedelta() else "ahead of"
    yield broken(
        what,
        f"ours ({moment(context.clock())}) is {span} {side} that of {where}, so that windows look too old or not yet"
        " over. Which of them is wrong cannot be told from here: see the time synchronisation (NTP) of both machines",
    )


def _queries(asked: Monitoring, values: Mapping[str, Value], wrong: Mapping[str, Unknown]) -> Iterator[Finding]:
    reasons: dict[str, list[str]] = {}
    for path, each in wrong.items():
        reasons.setdefault(each.why, []).append(f"monitoring.{path}")
    where = monitoring.shown(asked.url)
    first = next(iter(wrong.values()), None)
    if first is not None and first.kind in _OF_THE_ENDPOINT and len(wrong) == len(values) and len(reasons) == 1:
        yield broken("endpoint", f"{first.why}. Is it up, and is monitoring.url right? (monitoring.type: {asked.type})")
        return
    yield ok("endpoint", f"{where} answers")
    for why, paths in reasons.items():
        yield broken("metrics", f"{' and '.join(paths)}: {why}")
    if not wrong:
        shown = ", ".join(f"{path} {_shown(value)}" for path, value in values.items())
        yield ok("metrics", f"every query gives one value: {shown}")


def _values(context: Context, asked: Monitoring, snapshot: Snapshot) -> dict[str, Value]:
    """What each configured query gave, by its path below `monitoring`."""
    found: dict[str, Value | None] = {
        "f1": snapshot.f1,
        "drift": snapshot.drift,
        "observed_at.f1": snapshot.f1_observed_at,
        "observed_at.drift": snapshot.drift_observed_at,
        "window": snapshot.window,
        "samples": snapshot.samples,
        "positives": snapshot.positives,
    }
    if asked.observed_at.f1 == asked.observed_at.drift:
        del found["observed_at.drift"]
        found["observed_at"] = found.pop("observed_at.f1")
    if asked.counts is not None:
        found |= _counts(context, asked, asked.counts, snapshot.counts)
    return {path: value for path, value in found.items() if value is not None}


def _counts(
    context: Context, asked: Monitoring, queries: CountQueries, counts: Counts | Unknown | None
) -> dict[str, Value | None]:
    if isinstance(counts, Counts):
        return {"counts.tp": counts.tp, "counts.fp": counts.fp, "counts.fn": counts.fn}
    # A snapshot tells of the first of them that is unknown, so they are asked for as if they were other numbers.
    alone = replace(asked, f1=queries.tp, drift=queries.fp, samples=queries.fn)
    alone = replace(alone, counts=None, observed_at=ObservedAt(), window=None, positives=None)
    again = monitoring.fetch(alone, context.secrets, context.clock())
    return {"counts.tp": again.f1, "counts.fp": again.drift, "counts.fn": again.samples}


def _age(context: Context, seen: Assessment) -> Finding:
    """How old the window of a signal is that can be read."""
    name, longest = NAMES[seen.signal], context.config.triggers.max_age_of(seen.signal)
    if seen.dated and seen.observed_at is not None:
        age = duration(context.clock() - seen.observed_at)
        limit = f"it may be {duration(longest)} old (triggers.max_age)"
        return ok("freshness", f"the window of {name} ended {age} ago; {limit}")
    asked = context.config.monitoring
    gauge = asked is not None and asked.type is MonitorType.PROMETHEUS
    hint = "a gauge with the end of the window, or push_time_seconds" if gauge else "the end of the window"
    return mind(
        "freshness",
        f"how old {name} is nobody can tell, so that a monitor that has stopped looks healthy for ever:"
        f" let monitoring.observed_at query {hint}",
    )


def _shown(value: Value) -> str:
    if isinstance(value, datetime):
        return moment(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def ahead_of(monitoring: Monitoring, clock: Callable[[], datetime]) -> timedelta | None:
    """How far the endpoint's clock is ahead of ours (negative: behind), to about a second.

    It is the Date of its answer, so None where it says none: from a file, without an answer. Asked as `fetch` asks:
    the same headers, certificates, redirects and limits.
    """
    from retrain.effects.monitoring.transport import Client, Session

    apart: list[timedelta] = []
    deadline = time.monotonic() + monitoring.timeout.total_seconds()

    def hear(response: "requests.Response", **_: Any) -> None:
        told = _date(response.headers.get("Date", ""), response.headers.get("Age", ""))
        if told is not None:
            apart.append(told - clock())

    def ask() -> None:
        with Session() as session:
            session.hooks["response"].append(hear)
            Client(session, monitoring, deadline).get(monitoring.url, shown(monitoring.url))

    within(deadline, ask)
    return apart[-1] if apart else None


def _date(date: str, age: str) -> datetime | None:
    """The time that these headers tell; a cache adds how long it has had the answer."""
    try:
        told = parsedate_to_datetime(date)
        seconds = int(age) if age.isdecimal() else 0
        return told.replace(tzinfo=told.tzinfo or UTC).astimezone(UTC) + timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        return None

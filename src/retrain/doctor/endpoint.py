"""The monitoring endpoint: does it answer, does every query give one value, and how old are the windows?"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from msgspec.structs import replace

from retrain.config.schema import CountQueries, Monitoring, MonitorType, ObservedAt
from retrain.context import Context
from retrain.core.assess import assess
from retrain.core.past import Past
from retrain.core.records import NAMES, OF_THE_ANSWER, Assessment, Counts, Snapshot, Trouble, Unknown
from retrain.core.text import duration, moment
from retrain.doctor import Finding, fail, ok, warn
from retrain.effects import http, monitoring, registry

Value = float | str | datetime | Unknown

_APART = timedelta(seconds=60)
"""How far apart two clocks may be."""


def metrics(context: Context, past: Past) -> Iterator[Finding]:
    """The endpoint, each query that gives no single value, each signal, and its age. Raises ConfigError for a query."""
    asked = context.config.monitoring
    if asked is None:
        yield ok("metrics", "none is configured; the age of the champion alone can start a training")
        return
    directory, log = context.config.training.directory, context.config.monitor.log
    snapshot = monitoring.fetch(asked, context.secrets, context.clock(), directory, log)
    values = _values(context, asked, snapshot)
    unknown = {path: value for path, value in values.items() if isinstance(value, Unknown)}
    is_first = past.served is None and registry.served(context.config.models) is None
    yield from _queries(asked, values, unknown, is_first=is_first)
    kinds = {each.kind for each in unknown.values()}
    for each in assess(snapshot, context.config.triggers, past):
        if each.unknown is None:
            yield ok("metrics", each.sentence)
            yield _age(context, each, snapshot.written_at.get(each.signal))
        elif each.unknown.kind not in kinds:  # else it is that of a query, which was reported
            what = "freshness" if each.unknown.kind in (Trouble.STALE, Trouble.FUTURE) else "metrics"
            yield fail(what, f"{NAMES[each.signal]} is unknown: {each.unknown.why}", each.unknown.remedy)
    for warning in snapshot.warnings:
        yield warn("metrics", f"the endpoint warns: {warning}", "correct the query, or ask who runs the endpoint")


def clock(context: Context) -> Iterator[Finding]:
    """Whether the endpoint's clock and this machine's agree; nothing where its answer has no date."""
    asked = context.config.monitoring
    if asked is None or asked.url is None or (ahead := ahead_of(asked, context.clock)) is None:
        return
    where, span = http.shown(asked.address), duration(abs(ahead))
    if abs(ahead) <= _APART:
        yield ok("clock", f"this machine and {where} agree on the time (within {_APART.seconds} s)")
        return
    side = "behind" if ahead > timedelta() else "ahead of"
    seen = f"this machine's clock is {span} {side} that of {where}, so windows look too old or not yet over"
    yield fail("clock", seen, "either may be wrong; see the time synchronisation (NTP) of both machines")


def _queries(
    asked: Monitoring, values: Mapping[str, Value], unknown: Mapping[str, Unknown], *, is_first: bool
) -> Iterator[Finding]:
    """Whether the endpoint answers, and which queries give no value, those with the same cause together.

    Before the first champion (`is_first`) `retrain monitor` has nothing to measure drift against.
    """
    paths: dict[Unknown, list[str]] = {}
    for path, each in unknown.items():
        paths.setdefault(each, []).append(f"monitoring.{path}")
    first = next(iter(paths), None)
    if first is not None and first.kind in OF_THE_ANSWER and len(unknown) == len(values) and len(paths) == 1:
        yield fail("endpoint", first.why, first.remedy)
        return
    yield ok("endpoint", f"{monitoring.place(asked)} answers")
    is_early = is_first and asked.type is MonitorType.METRICS
    for each, those in paths.items():
        severe = warn if is_early and those == ["monitoring.drift"] and each.kind is Trouble.MISSING else fail
        yield severe("metrics", f"{' and '.join(those)}: {each.why}", each.remedy)
    if not unknown:
        found = ", ".join(f"{path} {_shown(value)}" for path, value in values.items())
        yield ok("metrics", "every query gives one value", numbers=found)


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
    if asked.counts is not None:
        found |= _counts(context, asked, asked.counts, snapshot.counts)
    return {path: value for path, value in found.items() if value is not None}


def _counts(
    context: Context, asked: Monitoring, queries: CountQueries, counts: Counts | Unknown | None
) -> dict[str, Value | None]:
    if isinstance(counts, Counts):
        return {"counts.tp": counts.tp, "counts.fp": counts.fp, "counts.fn": counts.fn}
    # A snapshot has the first of them that is unknown, so they are asked for as if they were other numbers.
    alone = replace(asked, f1=queries.tp, drift=queries.fp, samples=queries.fn)
    alone = replace(alone, counts=None, observed_at=ObservedAt(), window=None, positives=None)
    again = monitoring.fetch(alone, context.secrets, context.clock(), context.config.training.directory)
    return {"counts.tp": again.f1, "counts.fp": again.drift, "counts.fn": again.samples}


def _age(context: Context, seen: Assessment, written_at: datetime | None) -> Finding:
    """How old the window of a signal is that can be read."""
    name, longest = NAMES[seen.signal], context.config.triggers.max_age.of(seen.signal)
    if seen.dated and seen.observed_at is not None:
        age = duration(context.clock() - seen.observed_at)
        return ok("freshness", f"the window of {name} is recent: ended {age} ago, max_age {duration(longest)}")
    asked = context.config.monitoring
    gauge = asked is not None and asked.type is MonitorType.PROMETHEUS
    end = "a gauge with the end of the window, or push_time_seconds" if gauge else "the end of the window"
    why = f"the age of {name} is not known, so a monitor that has stopped looks healthy for ever"
    if written_at is not None:
        age = duration(context.clock() - written_at)
        why = f"the end of the window of {name} is not known, only that its answer was written {age} ago"
    return warn("freshness", why, f"let monitoring.observed_at query {end}")


def _shown(value: Value) -> str:
    if isinstance(value, datetime):
        return moment(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def ahead_of(asked: Monitoring, clock: Callable[[], datetime]) -> timedelta | None:
    """How far the endpoint's clock is ahead of this one (negative: behind), to about a second.

    It is the Date of its answer, so None where there is none: from a file, without an answer. Asked as `fetch` asks:
    the same headers, certificates, redirects and limits.
    """
    apart: list[timedelta] = []

    def ask(client: http.Client) -> None:
        client.get(asked.address)
        age = client.headers.get("Age", "")
        with suppress(ValueError, OverflowError):
            at = parsedate_to_datetime(client.headers.get("Date", ""))
            seen = at.replace(tzinfo=at.tzinfo or UTC) - clock()
            # A cache adds how long it has had the answer, and most keep the Date; some write their own.
            apart.append(min(seen, seen + timedelta(seconds=int(age) if age.isdecimal() else 0), key=abs))

    http.exchange(asked, ask)
    return apart[-1] if apart else None

"""What Prometheus remembers: the configured queries over a time, as if the endpoint had been asked at each instant."""

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from retrain.config.schema import Monitoring, MonitorType
from retrain.config.secrets import Secrets
from retrain.core.records import Recorded, Unknown
from retrain.effects.monitoring import prometheus_api
from retrain.effects.monitoring.readings import Reading, Trouble, json_of
from retrain.effects.monitoring.snapshot import queries, snapshot_of
from retrain.effects.monitoring.transport import cleaner, shown, too_late, within
from retrain.errors import RetrainError, UnreachableError

_LONGEST = 10_000
"""Instants in one question; Prometheus refuses more than 11,000."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

Points = Mapping[float, Reading]
"""What a query gave at each instant, in epoch seconds."""


def record(monitoring: Monitoring, secrets: Secrets, start: datetime, end: datetime, step: timedelta) -> list[Recorded]:
    """A look at every instant from start to end at which F1 or drift has a value, in order of time.

    The instants are whole multiples of `step` (a millisecond or more) since the epoch, so that they do not depend on
    `start`. What has no value at an instant is Unknown there; series that follow one another, of one
    version after the other say, are one. Raises UnreachableError where a question gets no answer within
    monitoring.timeout, where several series have a value at one instant, and for an endpoint that remembers nothing.
    """
    clean = cache(cleaner(secrets, monitoring.url))
    if monitoring.type is not MonitorType.PROMETHEUS:
        raise RetrainError(
            f"{clean(shown(monitoring.url))} remembers nothing (monitoring.type: {monitoring.type}):"
            " a file of recorded metrics is needed, or a Prometheus"
        )
    url = prometheus_api.endpoint(monitoring.url, prometheus_api.RANGE)
    where = shown(url)
    asked = tuple(dict.fromkeys(queries(monitoring).values()))
    absent = {query: prometheus_api.missing(f"{query} at {where}") for query in asked}
    looks = []
    for first, last, pause in _pieces(start, end, step):
        points: dict[str, Points] = {}
        for query in asked:
            times = {"start": repr(first), "end": repr(last), "step": repr(pause)}
            place = prometheus_api.question(url, {"query": query} | times)
            body = _body(monitoring, place, f"{where} (query: {query})")
            found = body if isinstance(body, Unknown) else read(body, query, where, first, last)
            if isinstance(found, Unknown):
                raise UnreachableError(clean(found.why))
            points[query] = found
        signals = [points[query] for query in (monitoring.f1, monitoring.drift) if query is not None]
        for instant in sorted(set().union(*signals)):
            answers = {query: points[query].get(instant, absent[query]) for query in asked}
            at = datetime.fromtimestamp(instant, UTC)
            looks.append(Recorded(snapshot_of(monitoring, answers, at, where, clean)))
    return looks


def _pieces(start: datetime, end: datetime, step: timedelta) -> Iterator[tuple[float, float, float]]:
    """First and last instant of each question, and the step between its instants, in seconds."""
    pause = step // _MILLISECOND
    last = (end - _EPOCH) // _MILLISECOND // pause
    at = -((_EPOCH - start) // _MILLISECOND // pause)
    while at <= last:
        until = min(last, at + _LONGEST - 1)
        yield at * pause / 1000, until * pause / 1000, pause / 1000
        at = until + 1


def _body(monitoring: Monitoring, url: str, where: str) -> bytes | Unknown:
    """The body of one answer, if it comes within its own timeout."""
    from retrain.effects.monitoring.transport import Client, Session

    bodies: list[bytes | Unknown] = []
    deadline = time.monotonic() + monitoring.timeout.total_seconds()

    def look() -> None:
        with Session() as session:
            bodies.append(Client(session, monitoring, deadline).get(url, where))

    within(deadline, look)
    return bodies[0] if bodies else too_late(where, monitoring)


def read(body: bytes, query: str, where: str, first: float, last: float) -> Points | Unknown:
    """The readings in the body, which must lie between the first and the last instant that were asked for."""
    document = json_of(body, where)
    if isinstance(document, Unknown):
        return document
    match document:
        case {"status": "success", "data": {"resultType": "matrix", "result": list(found)}}:
            return _one(found, f"{query} at {where}", first, last)
    return prometheus_api.foreign(where)


def _one(found: list[object], what: str, first: float, last: float) -> Points | Unknown:
    """The readings of all series, of which at most one may have a value at an instant."""
    points: dict[float, Reading] = {}
    for item in found:
        match item:
            case {"metric": dict(), "histograms": _}:
                return Unknown(Trouble.NOT_A_NUMBER, f"{what} is a series of histograms, not of numbers")
            case {"metric": dict(labels), "values": list(values)}:
                own = _readings(values, prometheus_api.texts(labels), first, last)
            case _:
                own = None
        if own is None:
            return Unknown(Trouble.NOT_A_NUMBER, f"{what} is not a number at each instant that was asked for")
        if not points.keys().isdisjoint(own):
            return prometheus_api.ambiguous(found, what)
        points |= own
    return points


def _readings(values: list[Any], labels: Mapping[str, str], first: float, last: float) -> Points | None:
    try:
        points = {at: Reading(float(text), labels) for at, text in values}
        return points if all(first <= at <= last for at in points) else None
    except (TypeError, ValueError):
        return None

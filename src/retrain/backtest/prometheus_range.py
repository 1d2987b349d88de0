"""The history that a Prometheus keeps: the configured queries over a span, as if it had been asked at each instant."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from retrain.backtest.replay import Recorded
from retrain.config.schema import Monitoring, MonitorType
from retrain.config.secrets import Secrets
from retrain.core.records import Trouble, Unknown
from retrain.effects import http
from retrain.effects.monitoring import (
    Reading,
    float_of,
    json_of,
    named,
    place,
    prometheus_api,
    queries,
    refusal,
    scrubber,
    snapshot_of,
)
from retrain.errors import RetrainError, UnreachableError

_LONGEST = 10_000
"""Instants in one question; Prometheus refuses more than 11,000."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)

Points = Mapping[float, Reading]
"""What a query gave at each instant, in epoch seconds."""


def record(monitoring: Monitoring, secrets: Secrets, start: datetime, end: datetime, step: timedelta) -> list[Recorded]:
    """A reading at every instant from start to end at which F1 or drift has a value, in order of time.

    The instants are whole multiples of `step` (a millisecond or more) since the epoch, so that they do not depend on
    `start`. What has no value at an instant is Unknown there; series that follow one another, of one version after
    the other say, are one. Raises UnreachableError where a question gets no answer within monitoring.timeout, and where
    several series have a value at one instant; RetrainError for an endpoint that keeps no history.
    """
    scrub = cache(scrubber(secrets, monitoring.address))
    if monitoring.type is not MonitorType.PROMETHEUS:
        raise RetrainError(
            f"{scrub(place(monitoring))} keeps no history (monitoring.type: {monitoring.type}); take a file of"
            " recorded metrics, or a Prometheus"
        )
    url = prometheus_api.endpoint(monitoring.address, prometheus_api.RANGE)
    where = http.shown(url)
    asked = tuple(dict.fromkeys(queries(monitoring).values()))
    readings = []
    for first, last, pause in _pieces(start, end, step):
        points: dict[str, Points] = {}
        for query in asked:
            times = {"start": repr(first), "end": repr(last), "step": repr(pause)}
            asks = prometheus_api.question(url, {"query": query} | times | prometheus_api.WHOLE)
            body = _body(monitoring, asks)
            found = prometheus_api.blaming(body, query) if isinstance(body, Unknown) else read(body, first, last)
            if isinstance(found, Unknown):
                raise UnreachableError(named(found, query, where, scrub).message)
            points[query] = found
        signals = [points[query] for query in (monitoring.f1, monitoring.drift) if query is not None]
        for instant in sorted(set().union(*signals)):
            answers = {query: points[query].get(instant, prometheus_api.MISSING) for query in asked}
            at = datetime.fromtimestamp(instant, UTC)
            readings.append(Recorded(snapshot_of(monitoring, answers, at, where, scrub)))
    return readings


def _pieces(start: datetime, end: datetime, step: timedelta) -> Iterator[tuple[float, float, float]]:
    """First and last instant of each question, and the step between its instants, in seconds."""
    pause = step // _MILLISECOND
    first, last = -((_EPOCH - start) // _MILLISECOND // pause), (end - _EPOCH) // _MILLISECOND // pause
    for at in range(first, last + 1, _LONGEST):
        yield at * pause / 1000, min(last, at + _LONGEST - 1) * pause / 1000, pause / 1000


def _body(monitoring: Monitoring, url: str) -> bytes | Unknown:
    """The body of one answer, if it comes within its own timeout."""
    bodies: list[bytes | Unknown] = [http.late(monitoring)]
    http.exchange(monitoring, lambda client: bodies.append(client.get(url)))
    return bodies[-1]


def read(body: bytes, first: float, last: float) -> Points | Unknown:
    """The readings in the body, which must lie between the first and the last instant that were asked for."""
    document = json_of(body)
    if isinstance(document, Unknown):
        return document
    if (partial := refusal(document)) is not None:
        return partial
    match document:
        case {"status": "success", "data": {"resultType": "matrix", "result": list(found)}}:
            return _one(found, first, last)
    return prometheus_api.FOREIGN


def _one(found: list[object], first: float, last: float) -> Points | Unknown:
    """The readings of all series, of which at most one may have a value at an instant."""
    points: dict[float, Reading] = {}
    for item in found:
        match item:
            case {"metric": dict(), "histograms": _}:
                return Unknown(Trouble.NOT_A_NUMBER, "is a series of histograms, not of numbers")
            case {"metric": dict(labels), "values": list(values)}:
                own = _readings(values, prometheus_api.texts(labels), first, last)
            case _:
                own = None
        if own is None:
            return Unknown(Trouble.NOT_A_NUMBER, "is not a number at each instant that was asked for")
        if not points.keys().isdisjoint(own):
            return prometheus_api.ambiguous(found)
        points |= own
    return points


def _readings(values: list[Any], labels: Mapping[str, str], first: float, last: float) -> Points | None:
    try:
        points = {at: Reading(float_of(text), labels) for at, text in values}
        return points if all(first <= at <= last for at in points) else None
    except (AttributeError, TypeError, ValueError):
        return None

"""The HTTP API of Prometheus: one PromQL instant query for every number, all evaluated at one instant."""

import math
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import replace
from urllib.parse import urlencode, urlsplit, urlunsplit

from retrain.core.records import Unknown
from retrain.effects.monitoring.bodies import json_of
from retrain.effects.monitoring.readings import Answer, Reading, Trouble
from retrain.effects.monitoring.selector import series

_PATH = "/api/v1/query"
_SHOWN = 3


def endpoint(url: str) -> str:
    """The URL of instant queries; `url` is the server's, with the prefix it is served below."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path if path.endswith(_PATH) else path + _PATH))


def ask(
    get: Callable[[str, str], bytes | Unknown],
    url: str,
    where: str,
    queries: Iterable[str],
    answers: MutableMapping[str, Answer],
) -> None:
    """Put the answer to each query into `answers`, as soon as it is there.

    The first answer with a time fixes the instant of the queries after it, on the server's own clock: a
    scrape that happens between two of them must not mix two windows.
    """
    instant: float | None = None
    gone: Unknown | None = None
    for query in queries:
        about = f" (query: {query})"
        body = gone or get(_question(url, query, instant), where + about)
        if isinstance(body, Unknown):
            if body.kind == Trouble.UNREACHABLE:
                body = gone = replace(body, why=body.why.replace(about, ""))
            answers[query] = body
            continue
        answers[query], told = read(body, query, where)
        instant = told if instant is None else instant


def _question(url: str, query: str, instant: float | None) -> str:
    parts = urlsplit(url)
    asked = urlencode({"query": query} | ({} if instant is None else {"time": repr(instant)}))
    return urlunsplit(parts._replace(query=f"{parts.query}&{asked}" if parts.query else asked))


def read(body: bytes, query: str, where: str) -> tuple[Answer, float | None]:
    """The answer in the body, and the instant it is about where it tells one."""
    document = json_of(body, where)
    if isinstance(document, Unknown):
        return document, None
    what = f"{query} at {where}"
    match document:
        case {"status": "success", "data": {"resultType": "vector", "result": list(found)}}:
            return _one(found, query, where)
        case {"status": "success", "data": {"resultType": "scalar", "result": [instant, str(value)]}}:
            return _reading(value, {}, what), _finite(instant)
        case {"status": "success", "data": {"resultType": str(kind)}}:
            hint = "a single number is needed: an instant vector of one series, or a scalar"
            return Unknown(Trouble.NOT_A_NUMBER, f"{what} is a {kind}; {hint}"), None
    hint = "is this the URL of a Prometheus server, and monitoring.type: prometheus meant?"
    return Unknown(Trouble.UNPARSEABLE, f"{where} is not an answer of the Prometheus HTTP API; {hint}"), None


def _one(found: list[object], query: str, where: str) -> tuple[Answer, float | None]:
    what = f"{query} at {where}"
    match found:
        case []:
            hint = "the name or a label is wrong, or nothing was scraped or pushed lately"
            return Unknown(Trouble.MISSING, f"no series matches {what}; {hint}"), None
        case [{"metric": dict(labels), "value": [instant, str(value)]}]:
            return _reading(value, labels, what), _finite(instant)
        case [_]:
            return Unknown(Trouble.NOT_A_NUMBER, f"{what} is a series without a single value (a histogram?)"), None
    listed = ", ".join(_series(item) for item in found[:_SHOWN])
    hint = "name one by its labels, or aggregate them, for instance with max(...)"
    return Unknown(Trouble.AMBIGUOUS, f"{len(found)} series match {what}; {hint}: {listed}"), None


def _reading(value: str, labels: Mapping[object, object], what: str) -> Answer:
    try:
        return Reading(float(value), {str(label): str(text) for label, text in labels.items()})
    except ValueError:
        return Unknown(Trouble.NOT_A_NUMBER, f"{what} is not a number: {value}")


def _finite(instant: object) -> float | None:
    return instant if isinstance(instant, int | float) and math.isfinite(instant) else None


def _series(item: object) -> str:
    match item:
        case {"metric": dict(labels)}:
            named = {str(label): str(text) for label, text in labels.items()}
            return series(named.pop("__name__", ""), named) or "{}"
    return "?"

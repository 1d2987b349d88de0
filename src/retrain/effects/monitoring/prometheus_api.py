"""The HTTP API of Prometheus: one PromQL instant query for every number, all evaluated at one instant."""

import math
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from urllib.parse import urlencode, urlsplit, urlunsplit

from retrain.core.records import Unknown
from retrain.effects.monitoring.prometheus_text import series
from retrain.effects.monitoring.readings import Answer, Reading, Trouble, json_of

INSTANT, RANGE = "/api/v1/query", "/api/v1/query_range"
"""Where the API answers the two kinds of query."""
_SHOWN = 3


def endpoint(url: str, path: str = INSTANT) -> str:
    """The URL of one kind of query; `url` is the server's, with the prefix it is served below."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/").removesuffix(INSTANT) + path))


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
        time = {} if instant is None else {"time": repr(instant)}
        body = gone or get(question(url, {"query": query} | time), where + about)
        if isinstance(body, Unknown):
            if body.kind == Trouble.UNREACHABLE:
                body = gone = replace(body, why=body.why.replace(about, ""))
            answers[query] = body
            continue
        answers[query], told = read(body, query, where)
        instant = told if instant is None else instant


def question(url: str, parameters: Mapping[str, str]) -> str:
    """The URL that asks with these parameters, besides those that it has."""
    parts = urlsplit(url)
    asked = urlencode(parameters)
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
    return foreign(where), None


def foreign(where: str) -> Unknown:
    """The answer is JSON of somebody else."""
    hint = "is this the URL of a Prometheus server, and monitoring.type: prometheus meant?"
    return Unknown(Trouble.UNPARSEABLE, f"{where} is not an answer of the Prometheus HTTP API; {hint}")


def _one(found: list[object], query: str, where: str) -> tuple[Answer, float | None]:
    what = f"{query} at {where}"
    match found:
        case []:
            return missing(what), None
        case [{"metric": dict(labels), "value": [instant, str(value)]}]:
            return _reading(value, labels, what), _finite(instant)
        case [_]:
            return Unknown(Trouble.NOT_A_NUMBER, f"{what} is a series without a single value (a histogram?)"), None
    return ambiguous(found, what), None


def missing(what: str) -> Unknown:
    """No series has a value."""
    hint = "the name or a label is wrong, or nothing was scraped or pushed lately"
    return Unknown(Trouble.MISSING, f"no series matches {what}; {hint}")


def ambiguous(found: Sequence[object], what: str) -> Unknown:
    """Several series have one."""
    listed = ", ".join(_series(item) for item in found[:_SHOWN])
    hint = "name one by its labels, or aggregate them, for instance with max(...)"
    return Unknown(Trouble.AMBIGUOUS, f"{len(found)} series match {what}; {hint}: {listed}")


def _reading(value: str, labels: Mapping[object, object], what: str) -> Answer:
    try:
        # Python reads 1_0 as 10, and digits of any script; no Prometheus writes them.
        return Reading(float(value if value.isascii() and "_" not in value else "?"), texts(labels))
    except ValueError:
        return Unknown(Trouble.NOT_A_NUMBER, f"{what} is not a number: {value}")


def texts(labels: Mapping[object, object]) -> dict[str, str]:
    """The labels of a series."""
    return {str(label): str(text) for label, text in labels.items()}


def _finite(instant: object) -> float | None:
    return instant if isinstance(instant, int | float) and math.isfinite(instant) else None


def _series(item: object) -> str:
    match item:
        case {"metric": dict(labels)}:
            named = texts(labels)
            return series(named.pop("__name__", ""), named) or "{}"
    return "?"

"""The HTTP API of Prometheus: one PromQL instant query for every number, all evaluated at one instant."""

import math
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from urllib.parse import urlencode, urlsplit, urlunsplit

from msgspec.structs import replace

from retrain.core.assess import CLOCK_SLACK
from retrain.core.records import Trouble, Unknown
from retrain.effects.http import Client
from retrain.effects.monitoring import (
    PROBLEM,
    Answer,
    Reading,
    float_of,
    json_of,
    moment_of_epoch,
    refusal,
    said_of,
    warnings_of,
)
from retrain.effects.monitoring.prometheus_text import series

INSTANT, RANGE = "/api/v1/query", "/api/v1/query_range"
"""Where the API answers the two kinds of query."""
WHOLE = {"partial_response": "false", "deny_partial_response": "1"}
"""Thanos' and VictoriaMetrics' words for: an error, rather than an answer without the stores that did not answer."""
MISSING = Unknown(Trouble.MISSING, "matches no series", "check its name and labels; perhaps nothing was scraped lately")
_WHOSE = "is monitoring.url that of a Prometheus server, and monitoring.type right?"
FOREIGN = Unknown(Trouble.UNPARSEABLE, "is not an answer of the Prometheus HTTP API", _WHOSE)
"""The answer is JSON of another program."""
_SHOWN = 3


def endpoint(url: str, path: str = INSTANT) -> str:
    """The URL of one kind of query; `url` is the server's, with the prefix it is served below."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/").removesuffix(INSTANT) + path))


def ask(client: Client, url: str, queries: Iterable[str], answers: MutableMapping[str, Answer]) -> None:
    """Put the answer to each query into `answers`, as soon as it is there.

    The first answer with a time fixes the instant of the queries after it, on the server's own clock: a
    scrape that happens between two of them must not mix two windows.
    """
    instant: float | None = None
    gone: Unknown | None = None
    began = datetime.now(UTC)
    for query in queries:
        time = {} if instant is None else {"time": repr(instant)}
        body = gone or client.get(question(url, {"query": query} | time | WHOLE))
        if isinstance(body, Unknown):
            gone = body if body.kind == Trouble.UNREACHABLE else None
            answers[query] = blaming(body, query)
            continue
        answer, at = read(body)
        if isinstance(answer, Reading):
            answer = replace(answer, written_at=_written_at(client.written_at, at, began))
        answers[query] = blaming(answer, query) if isinstance(answer, Unknown) else answer
        instant = at if instant is None else instant
    missing = [query for query, answer in answers.items() if answer == MISSING and "model_" in query]
    body = client.get(question(url, {"query": f"{PROBLEM} == 1"} | WHOLE)) if missing else b""
    problems = _problems(body) if isinstance(body, bytes) else ()
    for query in missing:
        if said := said_of(query, problems):
            answers[query] = Unknown(Trouble.MISSING, f"is not served: {said}")


def _written_at(said: datetime | None, instant: float | None, began: datetime) -> datetime | None:
    """When an answer was made: as HTTP said, or when it was evaluated, unless that is now as far as clocks agree.

    A cache that keeps an answer may not say so; the queries after it are asked about the same instant.
    """
    evaluated = moment_of_epoch(instant) if instant is not None else None
    if not isinstance(evaluated, datetime) or evaluated >= began - CLOCK_SLACK:
        return said
    return evaluated if said is None else min(said, evaluated)


def _problems(body: bytes) -> Sequence[str]:
    """The problems of the one monitor that this server scrapes; none where there are several."""
    match json_of(body):
        case {"status": "success", "data": {"result": list(found)}}:
            labels = [
                each["metric"] for each in found if isinstance(each, dict) and isinstance(each.get("metric"), dict)
            ]
            places = {(each.get("job"), each.get("instance")) for each in labels}
            return [str(each.get("problem", "")) for each in labels] if len(places) == 1 else ()
    return ()


def blaming(unknown: Unknown, query: str) -> Unknown:
    """The Unknown; a status without a remedy of its own (a bad request) is about the query."""
    is_about_query = unknown.kind == Trouble.STATUS and not unknown.remedy
    return replace(unknown, remedy=f"check the query {query}") if is_about_query else unknown


def question(url: str, parameters: Mapping[str, str]) -> str:
    """The URL that asks with these parameters, besides those that it has."""
    parts = urlsplit(url)
    asked = urlencode(parameters)
    return urlunsplit(parts._replace(query=f"{parts.query}&{asked}" if parts.query else asked))


def read(body: bytes) -> tuple[Answer, float | None]:
    """The answer in the body, and the instant it is about where it names one."""
    document = json_of(body)
    if isinstance(document, Unknown):
        return document, None
    answer, instant = _read(document)
    troubled = refusal(document) or answer
    warnings = (*warnings_of(document), *warnings_of(document, "infos"))
    return replace(troubled, warnings=warnings) if isinstance(troubled, Reading) and warnings else troubled, instant


def _read(document: object) -> tuple[Answer, float | None]:
    match document:
        case {"status": "success", "data": {"resultType": str(kind), "result": found}}:
            pass
        case _:
            return FOREIGN, None
    match kind, found:
        case ("vector", None | []):
            return MISSING, None
        case ("vector", [{"metric": dict(labels), "value": [instant, str(value)]}]):
            return _reading(value, labels), _finite(instant)
        case ("scalar", [instant, str(value)]):
            return _reading(value, {}), _finite(instant)
        case ("vector", [{"value": [_, int() | float()]}]):
            why = "has a number where Prometheus sends a text, so this is not its HTTP API"
            return Unknown(Trouble.NOT_A_NUMBER, why, _WHOSE), None
        case ("vector", [_]):
            return Unknown(Trouble.NOT_A_NUMBER, "is a series without a single value", "is it a histogram?"), None
        case ("vector", list(several)):
            return ambiguous(several), None
    remedy = "ask for an instant vector of one series, or for a scalar"
    return Unknown(Trouble.NOT_A_NUMBER, f"is a {kind}, not a single number", remedy), None


def ambiguous(found: Sequence[object]) -> Unknown:
    """Why there is no number where several series have one."""
    listed = ", ".join(_series(item) for item in found[:_SHOWN])
    remedy = "name one by its labels, or aggregate them, as max(...) does"
    return Unknown(Trouble.AMBIGUOUS, f"matches {len(found)} series: {listed}", remedy)


def _reading(value: str, labels: Mapping[object, object]) -> Answer:
    try:
        return Reading(float_of(value), texts(labels))
    except ValueError:
        return Unknown(Trouble.NOT_A_NUMBER, f"is not a number: {value}")


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

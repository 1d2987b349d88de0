"""One look at the monitoring endpoint: the configured queries → Snapshot."""

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from datetime import datetime
from typing import TypeVar

from msgspec.structs import replace

from retrain.config.schema import Monitoring, MonitorType
from retrain.config.secrets import Secrets, credentials
from retrain.core.records import OF_THE_ANSWER, Counts, Signal, Snapshot, Unknown
from retrain.core.text import one_line, shell_text
from retrain.effects import http
from retrain.effects.monitoring.readings import Answer, Reading, identifier, moment, number
from retrain.errors import ConfigError

T = TypeVar("T")
_UNNAMED = frozenset({"__name__", "job", "instance"})
"""Labels that name the scrape, not the reading."""

Work = Callable[[http.Client, MutableMapping[str, Answer]], None]
"""Puts the answer to each query into the mapping, as soon as it is there."""


def fetch(monitoring: Monitoring, secrets: Secrets, now: datetime) -> Snapshot:
    """What the endpoint says now, or why there is no number; `now` becomes fetched_at.

    Whatever the endpoint does becomes an Unknown in the fields it concerns. Raises ConfigError for a query
    that cannot be compiled, before anything is asked. A field without a query stays None.
    """
    asked = queries(monitoring)
    url, work = _work(monitoring, asked)
    answers: dict[str, Answer] = dict.fromkeys(asked.values(), http.late(monitoring))
    http.exchange(monitoring, lambda client: work(client, answers))
    return snapshot_of(monitoring, dict(answers), now, http.shown(url), scrubber(secrets, monitoring.url))


def snapshot_of(
    monitoring: Monitoring, answers: Mapping[str, Answer], now: datetime, where: str, scrub: Callable[[str], str]
) -> Snapshot:
    """What the answers are worth, one to every configured query; `scrub` takes secrets out of what was said."""

    def value(query: str | None, convert: Callable[[Answer], T | Unknown]) -> T | Unknown | None:
        if query is None:
            return None
        converted = convert(answers[query])
        return named(converted, query, where, scrub) if isinstance(converted, Unknown) else converted

    counts, window = monitoring.counts, value(monitoring.window, identifier)
    return Snapshot(
        fetched_at=now,
        f1=_scaled(value(monitoring.f1, number), monitoring.scale),
        drift=value(monitoring.drift, number),
        f1_observed_at=value(monitoring.observed_at.f1, moment),
        drift_observed_at=value(monitoring.observed_at.drift, moment),
        window=one_line(scrub(window)) if isinstance(window, str) else window,
        samples=value(monitoring.samples, number),
        positives=value(monitoring.positives, number),
        counts=counts_of([value(query, number) for query in (counts.tp, counts.fp, counts.fn)]) if counts else None,
        window_length=monitoring.window_length,
        labels=_labels(monitoring, answers, scrub),
        written_at=_written_at(monitoring, answers),
        warnings=_warnings(answers, scrub),
    )


def _scaled(f1: float | Unknown | None, scale: float) -> float | Unknown | None:
    """F1 as a share; rounded, so that 57 % of a scale of 0.01 equals a threshold of 0.57."""
    return round(f1 * scale, 12) if isinstance(f1, float) and scale != 1 else f1


def _written_at(monitoring: Monitoring, answers: Mapping[str, Answer]) -> dict[str, datetime]:
    """When the number of each signal was written, where its window has no query and the answer says so itself."""
    own = monitoring.observed_at
    asked = {Signal.F1: (monitoring.f1, own.f1), Signal.DRIFT: (monitoring.drift, own.drift)}
    found = {str(signal): answers.get(query) for signal, (query, window) in asked.items() if query and window is None}
    return {
        signal: answer.written_at
        for signal, answer in found.items()
        if isinstance(answer, Reading) and answer.written_at is not None
    }


def _warnings(answers: Mapping[str, Answer], scrub: Callable[[str], str]) -> tuple[str, ...]:
    """What the endpoint warns of besides its numbers, each once."""
    every = (warning for answer in answers.values() if isinstance(answer, Reading) for warning in answer.warnings)
    return tuple(dict.fromkeys(one_line(scrub(each)) for each in every))


def named(unknown: Unknown, query: str, where: str, scrub: Callable[[str], str]) -> Unknown:
    """The Unknown, its cause with the name of the query and of the endpoint; each part short, so that none hides it.

    Secrets go before a text is cut, for half a secret would not be recognised.
    """
    place = one_line(scrub(where), 100)
    subject = place if unknown.kind in OF_THE_ANSWER else f"{one_line(scrub(query), 60)} at {place}"
    return replace(
        unknown, why=f"{subject} {one_line(scrub(unknown.why), 160)}", remedy=one_line(scrub(unknown.remedy), 120)
    )


def scrubber(secrets: Secrets, url: str) -> Callable[[str], str]:
    """A function that takes secrets out of a text, and the user of this URL, whom the endpoint may echo."""
    user, _ = credentials(url)
    return lambda text: secrets.scrub(text.replace(user, "***") if len(user) >= 8 else text)


def queries(monitoring: Monitoring) -> dict[str, str]:
    """Every configured query by its path in the configuration, the signals first."""
    counts = monitoring.counts
    every = {
        "f1": monitoring.f1,
        "drift": monitoring.drift,
        "observed_at.f1": monitoring.observed_at.f1,
        "observed_at.drift": monitoring.observed_at.drift,
        "window": monitoring.window,
        "samples": monitoring.samples,
        "positives": monitoring.positives,
        "counts.tp": counts.tp if counts else None,
        "counts.fp": counts.fp if counts else None,
        "counts.fn": counts.fn if counts else None,
    }
    return {path: query for path, query in every.items() if query is not None}


def _work(monitoring: Monitoring, asked: Mapping[str, str]) -> tuple[str, Work]:
    """The URL that is asked, and how. Raises ConfigError for a query that it cannot be asked."""
    url = monitoring.url
    match monitoring.type:
        case MonitorType.PROMETHEUS:
            from retrain.effects.monitoring import prometheus_api

            place, distinct = prometheus_api.endpoint(url), tuple(dict.fromkeys(asked.values()))
            return place, lambda client, answers: prometheus_api.ask(client.get, place, distinct, answers)
        case MonitorType.METRICS:
            from retrain.effects.monitoring import prometheus_text

            selectors = _compiled(asked, prometheus_text.parse)
            return url, _document(url, selectors, lambda body: prometheus_text.read(body, selectors))
        case MonitorType.JSON:
            from retrain.effects.monitoring import json_document

            expressions = _compiled(asked, json_document.parse)
            return url, _document(url, expressions, lambda body: json_document.read(body, expressions))


def _document(url: str, queries: Iterable[str], read: Callable[[bytes], Mapping[str, Answer]]) -> Work:
    """The work where one body answers every query."""

    def work(client: http.Client, answers: MutableMapping[str, Answer]) -> None:
        body = client.get(url)
        if isinstance(body, Unknown):
            answers.update(dict.fromkeys(queries, body))
            return
        for query, answer in read(body).items():
            is_dated = isinstance(answer, Unknown) or answer.written_at is not None
            answers[query] = answer if is_dated else replace(answer, written_at=client.written_at)

    return work


def _compiled(queries: Mapping[str, str], parse: Callable[[str], T]) -> dict[str, T]:
    """Each query, compiled. Raises ConfigError that names every one that cannot be."""
    compiled, problems = {}, []
    for path, query in queries.items():
        try:
            compiled[query] = parse(query)
        except ValueError as error:
            problems.append(f"monitoring.{path}: {one_line(query)} {error}")
    if problems:
        raise ConfigError("\n".join(problems))
    return compiled


def counts_of(numbers: Iterable[float | Unknown | None]) -> Counts | Unknown:
    """The counts of three numbers, or the first of them that is Unknown."""
    unknown = next((each for each in numbers if isinstance(each, Unknown)), None)
    return unknown or Counts(*(each for each in numbers if isinstance(each, float)))


def _labels(monitoring: Monitoring, answers: Mapping[str, Answer], scrub: Callable[[str], str]) -> dict[str, str]:
    """The labels of each signal's series, for instance {"drift": "feature=age"}."""
    found = {}
    for signal, query in ((Signal.F1, monitoring.f1), (Signal.DRIFT, monitoring.drift)):
        answer = answers.get(query) if query is not None else None
        if isinstance(answer, Reading):
            labels = sorted((name, text) for name, text in answer.labels.items() if text and name not in _UNNAMED)
            if labels:
                shown = one_line(scrub(", ".join(f"{name}={text}" for name, text in labels)))
                found[str(signal)] = shell_text(shown)
    return found

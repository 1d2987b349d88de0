"""One look at the monitoring endpoint: the configured queries → Snapshot."""

import re
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from retrain.config.schema import Monitoring, MonitorType
from retrain.config.secrets import Secrets
from retrain.core.records import Counts, Signal, Snapshot, Unknown
from retrain.effects.monitoring import json_document, prometheus_api, prometheus_text
from retrain.effects.monitoring import prometheus_text as selector
from retrain.effects.monitoring.readings import Answer, Reading, identifier, moment, number
from retrain.effects.monitoring.transport import cleaner, shown, too_late, within
from retrain.errors import ConfigError

if TYPE_CHECKING:
    from retrain.effects.monitoring.transport import Client

T = TypeVar("T")
_NOT_TOLD = frozenset({"__name__", "job", "instance"})
"""Labels that name the scrape, not the reading."""

Work = Callable[["Client", MutableMapping[str, Answer]], None]
"""Puts the answer to each query into the mapping, as soon as it is there."""


def fetch(monitoring: Monitoring, secrets: Secrets, now: datetime) -> Snapshot:
    """What the endpoint says now, or why there is no number; `now` becomes fetched_at.

    Whatever the endpoint does becomes an Unknown in the fields it concerns. Raises ConfigError for a query
    that cannot be compiled, before anything is asked. A field without a query stays None.
    """
    clean = cleaner(secrets, monitoring.url)
    url = prometheus_api.endpoint(monitoring.url) if monitoring.type is MonitorType.PROMETHEUS else monitoring.url
    where = shown(url)
    try:
        work = _work(monitoring, url, where)
    except ConfigError as error:
        raise ConfigError("\n".join(map(clean, str(error).splitlines()))) from None
    answers = dict.fromkeys(queries(monitoring).values(), too_late(where, monitoring)) | _answers(monitoring, work)
    return snapshot_of(monitoring, answers, now, where, clean)


def snapshot_of(
    monitoring: Monitoring, answers: Mapping[str, Answer], now: datetime, where: str, clean: Callable[[str], str]
) -> Snapshot:
    """What the answers are worth, one to every configured query; `clean` is for what the endpoint says."""

    def value(query: str | None, convert: Callable[[Answer, str], T | Unknown]) -> T | Unknown | None:
        if query is None:
            return None
        converted = convert(answers[query], f"{query} at {where}")
        return replace(converted, why=clean(converted.why)) if isinstance(converted, Unknown) else converted

    counts, window = monitoring.counts, value(monitoring.window, identifier)
    return Snapshot(
        fetched_at=now,
        f1=value(monitoring.f1, number),
        drift=value(monitoring.drift, number),
        f1_observed_at=value(monitoring.observed_at.f1, moment),
        drift_observed_at=value(monitoring.observed_at.drift, moment),
        window=clean(window) if isinstance(window, str) else window,
        samples=value(monitoring.samples, number),
        positives=value(monitoring.positives, number),
        counts=counts_of([value(query, number) for query in (counts.tp, counts.fp, counts.fn)]) if counts else None,
        labels=_labels(monitoring, answers, clean),
    )


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


def _work(monitoring: Monitoring, url: str, where: str) -> Work:
    """How the answers are had from this type of endpoint. Raises ConfigError for a query it cannot be asked."""
    asked = queries(monitoring)
    match monitoring.type:
        case MonitorType.PROMETHEUS:
            distinct = tuple(dict.fromkeys(asked.values()))
            return lambda client, answers: prometheus_api.ask(client.get, url, where, distinct, answers)
        case MonitorType.METRICS:
            selectors = _compiled(asked, selector.parse)
            return _document(url, where, selectors, lambda body: prometheus_text.read(body, selectors, where))
        case MonitorType.JSON:
            expressions = _compiled(asked, json_document.parse)
            return _document(url, where, expressions, lambda body: json_document.read(body, expressions, where))


def _document(
    url: str, where: str, queries: Mapping[str, object], read: Callable[[bytes], Mapping[str, Answer]]
) -> Work:
    def work(client: "Client", answers: MutableMapping[str, Answer]) -> None:
        body = client.get(url, where)
        answers.update(dict.fromkeys(queries, body) if isinstance(body, Unknown) else read(body))

    return work


def _compiled(queries: Mapping[str, str], parse: Callable[[str], T]) -> dict[str, T]:
    """Each query, compiled. Raises ConfigError that names every one that cannot be."""
    compiled, problems = {}, []
    for path, query in queries.items():
        try:
            compiled[query] = parse(query)
        except ValueError as error:
            problems.append(f"monitoring.{path}: {query} {error}")
    if problems:
        raise ConfigError("\n".join(problems))
    return compiled


def _answers(monitoring: Monitoring, work: Work) -> dict[str, Answer]:
    """The answers that came before the deadline."""
    from retrain.effects.monitoring.transport import Client, Session

    answers: dict[str, Answer] = {}
    deadline = time.monotonic() + monitoring.timeout.total_seconds()

    def look() -> None:
        with Session() as session:
            work(Client(session, monitoring, deadline), answers)

    within(deadline, look)
    return dict(answers)


def counts_of(numbers: Iterable[float | Unknown | None]) -> Counts | Unknown:
    """The counts of three numbers, or the first of them that is Unknown."""
    unknown = next((each for each in numbers if isinstance(each, Unknown)), None)
    return unknown or Counts(*(each for each in numbers if isinstance(each, float)))


_LOADED = re.compile(r"[^\w .,:/@+=%-]")
"""What a shell or make may take for more than text: a recipe that echoes the reason must not run what a label says."""


def _labels(monitoring: Monitoring, answers: Mapping[str, Answer], clean: Callable[[str], str]) -> dict[str, str]:
    """The labels of each signal's series, for instance {"drift": "feature=age"}."""
    told = {}
    for signal, query in ((Signal.F1, monitoring.f1), (Signal.DRIFT, monitoring.drift)):
        answer = answers.get(query) if query is not None else None
        if isinstance(answer, Reading):
            named = sorted((name, text) for name, text in answer.labels.items() if text and name not in _NOT_TOLD)
            if named:
                told[str(signal)] = _LOADED.sub("_", clean(", ".join(f"{name}={text}" for name, text in named)))
    return told

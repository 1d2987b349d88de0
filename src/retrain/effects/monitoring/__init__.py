"""The latest metrics as a Snapshot. Whatever the endpoint answers is a value: a number, or Unknown and why."""

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import TypeVar

from msgspec.structs import replace

from retrain.config.schema import Monitoring, MonitorType
from retrain.config.secrets import Secrets, credentials
from retrain.core.records import OF_THE_ANSWER, Counts, Signal, Snapshot, Unknown
from retrain.core.text import one_line, shell_text
from retrain.effects import http
from retrain.effects.monitoring import readings
from retrain.effects.monitoring.readings import Answer, Reading, identifier, moment, number
from retrain.errors import ConfigError

T = TypeVar("T")
_PATHS = ("f1", "drift", "observed_at.f1", "observed_at.drift", "window", "samples", "positives")
_COUNTS = ("counts.tp", "counts.fp", "counts.fn")
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
    asked = queries(monitoring)

    def value(path: str, convert: Callable[[Answer], T | Unknown]) -> T | Unknown | None:
        if path not in asked:
            return None
        converted = convert(answers[asked[path]])
        return named(converted, asked[path], where, scrub) if isinstance(converted, Unknown) else converted

    window = value("window", identifier)
    read = {each: answers[asked[each]] for each in Signal if each in asked}
    values = {each: answer for each, answer in read.items() if isinstance(answer, Reading)}
    undated = (each for each in values if f"observed_at.{each}" not in asked)
    heard = (warning for answer in answers.values() if isinstance(answer, Reading) for warning in answer.warnings)
    return Snapshot(
        fetched_at=now,
        f1=_scaled(value("f1", number), monitoring.scale),
        drift=value("drift", number),
        f1_observed_at=value("observed_at.f1", moment),
        drift_observed_at=value("observed_at.drift", moment),
        window=one_line(scrub(window)) if isinstance(window, str) else window,
        samples=value("samples", number),
        positives=value("positives", number),
        counts=counts_of([value(path, number) for path in _COUNTS]) if monitoring.counts is not None else None,
        window_length=monitoring.window_length,
        labels={str(each): text for each, reading in values.items() if (text := _labels(reading, scrub))},
        written_at={str(each): at for each in undated if (at := values[each].written_at) is not None},
        warnings=tuple(dict.fromkeys(one_line(scrub(each)) for each in heard)),
    )


def _scaled(f1: float | Unknown | None, scale: float) -> float | Unknown | None:
    """F1 as a share; rounded, so that 57 % of a scale of 0.01 equals a threshold of 0.57."""
    return round(f1 * scale, 12) if isinstance(f1, float) and scale != 1 else f1


def _labels(reading: Reading, scrub: Callable[[str], str]) -> str:
    """The labels of a series, such as `feature=age`."""
    labels = sorted((name, text) for name, text in reading.labels.items() if text and name not in _UNNAMED)
    return shell_text(one_line(scrub(", ".join(f"{name}={text}" for name, text in labels))))


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
    paths = (*_PATHS, *(_COUNTS if monitoring.counts is not None else ()))
    return {path: query for path in paths if (query := attrgetter(path)(monitoring)) is not None}


def _work(monitoring: Monitoring, asked: Mapping[str, str]) -> tuple[str, Work]:
    """The URL that is asked, and how. Raises ConfigError for a query that it cannot be asked."""
    url = monitoring.url
    read: Callable[[bytes], Mapping[str, Answer]]
    match monitoring.type:
        case MonitorType.PROMETHEUS:
            from retrain.effects.monitoring import prometheus_api

            place, distinct = prometheus_api.endpoint(url), tuple(dict.fromkeys(asked.values()))
            return place, lambda client, answers: prometheus_api.ask(client.get, place, distinct, answers)
        case MonitorType.METRICS:
            from retrain.effects.monitoring import prometheus_text

            read = partial(prometheus_text.read, selectors=_compiled(asked, prometheus_text.parse))
        case MonitorType.JSON:
            read = partial(readings.read, expressions=_compiled(asked, readings.parse))

    def work(client: http.Client, answers: MutableMapping[str, Answer]) -> None:
        body = client.get(url)
        found = dict.fromkeys(asked.values(), body) if isinstance(body, Unknown) else read(body)
        for query, answer in found.items():
            is_dated = isinstance(answer, Unknown) or answer.written_at is not None
            answers[query] = answer if is_dated else replace(answer, written_at=client.written_at)

    return url, work


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

"""The latest metrics as a Snapshot. Whatever the source answers is a value: a number, or Unknown and why.

The cause in an Unknown is what is said of the query (`is null`), or of the endpoint where no query is to blame
(`is not JSON`); `named` puts the name before it.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from msgspec import Struct, field
from msgspec.structs import replace

from retrain.config.schema import Monitoring, MonitorType
from retrain.config.secrets import Secrets, credentials
from retrain.core.records import OF_THE_ANSWER, Counts, Signal, Snapshot, Trouble, Unknown
from retrain.core.text import one_line, shell_text
from retrain.effects import http
from retrain.errors import ConfigError

T = TypeVar("T")
_PATHS = ("f1", "drift", "observed_at.f1", "observed_at.drift", "window", "samples", "positives")
_COUNTS = ("counts.tp", "counts.fp", "counts.fn")
_SEARCHED, _MARGIN = 8192, 1024
"""Characters of a foreign text that are searched for secrets, and those of them that may be a part of one."""
_LONGEST_NAME = 200
LOG = "Retrain-Log"
"""The header with which `retrain monitor` says which log it measures (`identity`), and of which project."""
_UNNAMED = frozenset({"__name__", "job", "instance"})
"""Labels that name the scrape, not the reading."""
_DRIFTED = frozenset({"feature", "feature_name", "column", "column_name", "variable"})
"""Labels that say what drifted; others, such as pod, change while a drift lasts."""


class Reading(Struct, frozen=True):
    """One value as the endpoint gave it, a plain JSON value, the labels of its series, and when it was written."""

    value: object
    labels: Mapping[str, str] = field(default_factory=dict)
    written_at: datetime | None = None
    warnings: tuple[str, ...] = ()


Answer = Reading | Unknown

Work = Callable[[http.Client, MutableMapping[str, Answer]], None]
"""Puts the answer to each query into the mapping, as soon as it is there."""


def fetch(
    monitoring: Monitoring, secrets: Secrets, now: datetime, directory: Path = Path(), log: Path | None = None
) -> Snapshot:
    """What the endpoint or the command says now, or why there is no number; it is fetched when all is there.

    Whatever it does becomes an Unknown in the fields it concerns. Raises ConfigError for a query that cannot be
    compiled, before anything is asked. A field without a query stays None. A command runs in `directory`.
    `log` is that of the project: a `retrain monitor` on this machine that measures another one is not believed.
    """
    asked, where, began = queries(monitoring), place(monitoring), time.monotonic()
    if monitoring.type is MonitorType.COMMAND:
        from retrain.effects.monitoring import command, json_text

        answers = dict(command.ask(monitoring, _compiled(asked, json_text.parse), directory, secrets))
    else:
        url, work = _work(monitoring, asked, log)
        where, answers = http.shown(url), dict.fromkeys(asked.values(), http.late(monitoring))
        http.exchange(monitoring, lambda client: work(client, answers))
    now += timedelta(seconds=time.monotonic() - began)  # a window may end while the monitor is asked
    return snapshot_of(monitoring, dict(answers), now, where, scrubber(secrets, monitoring.address))


def place(monitoring: Monitoring) -> str:
    """Where the metrics come from, as a person may see it once secrets are taken out."""
    if monitoring.type is MonitorType.COMMAND:
        import shlex

        return f"the command {shlex.join(monitoring.command or ())}"
    return http.shown(monitoring.address)


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
        window=_name_of(window, scrub) if isinstance(window, str) else window,
        samples=value("samples", number),
        positives=value("positives", number),
        counts=counts_of([value(path, number) for path in _COUNTS]) if monitoring.counts is not None else None,
        window_length=monitoring.window_length,
        labels={str(each): text for each, reading in values.items() if (text := _labels(each, reading, scrub))},
        written_at={str(each): at for each in undated if (at := values[each].written_at) is not None},
        warnings=tuple(dict.fromkeys(clean(each, scrub) for each in heard)),
    )


def _name_of(window: str, scrub: Callable[[str], str]) -> str:
    """A window's name as it is recorded and compared; of a long one the end stands for what is left out."""
    line = one_line(window, len(window))
    if len(line) <= _LONGEST_NAME:
        return clean(window, scrub, _LONGEST_NAME)
    return f"{clean(window, scrub, _LONGEST_NAME - 17)} {sha256(line.encode(errors='replace')).hexdigest()[:16]}"


def _scaled(f1: float | Unknown | None, scale: float) -> float | Unknown | None:
    """F1 as a share; rounded, so that 57 % of a scale of 0.01 equals a threshold of 0.57."""
    return round(f1 * scale, 12) if isinstance(f1, float) and scale != 1 else f1


def _labels(of: Signal, reading: Reading, scrub: Callable[[str], str]) -> str:
    """The labels of a series, such as `feature=age`; of drift those that must stay the same in a streak."""
    names = reading.labels.keys() & _DRIFTED if of is Signal.DRIFT else reading.labels.keys() - _UNNAMED
    labels = ", ".join(f"{name}={reading.labels[name]}" for name in sorted(names) if reading.labels[name])
    return shell_text(clean(labels, scrub), scrub)


def named(unknown: Unknown, query: str, where: str, scrub: Callable[[str], str]) -> Unknown:
    """The Unknown, its cause with the name of the query and of the endpoint; each part short, so that none hides it."""
    place = clean(where, scrub, 100)
    subject = place if unknown.kind in OF_THE_ANSWER else f"{clean(query, scrub, 60)} at {place}"
    return replace(unknown, why=f"{subject} {clean(unknown.why, scrub, 160)}", remedy=clean(unknown.remedy, scrub, 120))


def clean(text: str, scrub: Callable[[str], str], most: int = 200) -> str:
    """A foreign text as one line of at most so many characters, without secrets.

    They are taken out before it is cut, for half a secret would not be recognised, and again where leaving signs out
    has joined one. A body of some MiB would be searched for many seconds: of a long text the beginning is taken, and
    of that no more than what cannot end in half a secret.
    """
    known = scrub(text[:_SEARCHED]) if len(text) <= _SEARCHED else f"{scrub(text[:_SEARCHED])[:-_MARGIN]}…"
    return one_line(scrub(one_line(known, _SEARCHED)), most)


def scrubber(secrets: Secrets, url: str) -> Callable[[str], str]:
    """A function that takes secrets out of a text, and the user of this URL, whom the endpoint may echo."""
    user, _ = credentials(url)
    return lambda text: secrets.scrub(text.replace(user, "***") if len(user) >= 8 else text)


def queries(monitoring: Monitoring) -> dict[str, str]:
    """Every configured query by its path in the configuration, the signals first."""
    paths = (*_PATHS, *(_COUNTS if monitoring.counts is not None else ()))
    return {path: query for path in paths if (query := attrgetter(path)(monitoring)) is not None}


def identity(log: Path) -> str:
    """Which file a log is, for all on this machine who can see it, by whatever path; empty where there is none."""
    try:
        found = log.stat()
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"


def _of_another(said: str, ours: Iterable[str]) -> Unknown | None:
    """Why an answer is not about this project, by its header LOG; `ours` is the log before and after: it may rotate."""
    theirs, _, name = said.partition(" ")
    if not theirs or theirs in ours or not all(ours):
        return None
    why = f"is the monitor of the project {unquote(name)}, which does not measure the log of this one (monitor.log)"
    return Unknown(Trouble.OF_ANOTHER, why, "give each project its own port, in monitor.listen and monitoring.url")


def _work(monitoring: Monitoring, asked: Mapping[str, str], log: Path | None) -> tuple[str, Work]:
    """The URL that is asked, and how. Raises ConfigError for a query that it cannot be asked."""
    url = monitoring.address
    read: Callable[[bytes, str], Mapping[str, Answer]]
    match monitoring.type:
        case MonitorType.PROMETHEUS:
            from retrain.effects.monitoring import prometheus_api

            place, distinct = prometheus_api.endpoint(url), tuple(dict.fromkeys(asked.values()))
            return place, lambda client, answers: prometheus_api.ask(client, place, distinct, answers)
        case MonitorType.METRICS:
            from retrain.effects.monitoring import prometheus_text

            read = partial(prometheus_text.read, _compiled(asked, prometheus_text.parse))
        case MonitorType.JSON | MonitorType.COMMAND:
            from retrain.effects.monitoring import json_text

            read = partial(json_text.read, _compiled(asked, json_text.parse))

    def work(client: http.Client, answers: MutableMapping[str, Answer]) -> None:
        before = identity(log) if log is not None else ""
        body = client.get(url)
        if log is not None and (said := client.headers.get(LOG, "")) and http.is_here(urlsplit(url).hostname or ""):
            body = _of_another(said, (before, identity(log))) or body
        content_type = client.headers.get("Content-Type", "")
        found = dict.fromkeys(asked.values(), body) if isinstance(body, Unknown) else read(body, content_type)
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


# ---------------------------------------------------------------- what an answer is worth


_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))
"""Below the first number of each pair an epoch is in seconds, milli-, micro- or nanoseconds.

Seconds beyond 1e11 are the year 5138, milliseconds beyond it the year 1973.
"""
_DIGITS = 300
"""Above these a whole number is beyond every float."""
_PARTIAL = ("isPartial", "partial", "timed_out")
_CONTENT = ("_source", "fields", "labels", "metric")
"""Under these keys stands what a store was given, not what it says."""
_ANNOTATION = ("PromQL info", "PromQL warning")
"""Remarks on a query, which its author may correct; any other warning says that something did not answer."""
STORES = "see which store did not answer"
_A_TIME = "an epoch (s, ms, µs or ns) or ISO 8601 is needed"
PROBLEM = "model_monitor_problem"
"""The metric with which `retrain monitor` says, in its label `problem`, what keeps another one away."""


def said_of(query: str, problems: Iterable[str]) -> str:
    """What `retrain monitor` says of why it does not serve this metric; "" where it says nothing.

    `problems` are the labels of its model_monitor_problem; that the log cannot be read comes first, as the cause of
    the others, and those about the other signal come last.
    """
    is_drift = any(word in query for word in ("drift", "model_predictions", "model_window_end"))

    def rank(problem: str) -> int:
        about_drift = "drift" in problem or "reference" in problem
        other = problem.startswith("no F1") if is_drift else about_drift
        own = about_drift if is_drift else problem.startswith("no F1")
        first = problem.startswith("the log ") and (" cannot be read: " in problem or " is missing (" in problem)
        return 0 if first else 1 if own else 3 if other else 2

    return min(problems, key=rank, default="") if "model_" in query else ""


def number(answer: Answer) -> float | Unknown:
    """The one finite number of an answer."""
    if isinstance(answer, Unknown):
        return answer
    match answer.value:
        case None:
            return Unknown(Trouble.MISSING, "is null", "nothing is under this path: check the query")
        case bool(value):
            return Unknown(Trouble.NOT_A_NUMBER, f"is {str(value).lower()}, not a number")
        case str(text):
            return Unknown(Trouble.NOT_A_NUMBER, f"is a text: {text}", "to_number(...) makes a number of it")
        case []:
            return Unknown(Trouble.MISSING, "is an empty list", "check the query")
        case list(values):
            remedy = "take one of them, as [-1] does, or the largest with max(...)"
            return Unknown(Trouble.AMBIGUOUS, f"is a list of {len(values)}", remedy)
        case int() | float() as value:
            return _finite(value)
        case dict(keys):
            return Unknown(Trouble.NOT_A_NUMBER, f"is an object with {', '.join(keys)}", "name one of its keys")
        case other:
            return Unknown(Trouble.NOT_A_NUMBER, f"is of type {type(other).__name__}")


def float_of(text: str) -> float:
    """The number that a text is, as Prometheus writes one. Raises ValueError.

    Python reads 1_0 as 10, and the digits of every script.
    """
    if not text.isascii() or "_" in text:
        raise ValueError(f"could not convert string to float: {text!r}")
    return float(text)


def _finite(value: float) -> float | Unknown:
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    return result if math.isfinite(result) else Unknown(Trouble.NOT_FINITE, f"is {result}, not a finite number")


def moment(answer: Answer) -> datetime | Unknown:
    """The moment of an answer in UTC: an epoch in s, ms, µs or ns, or ISO 8601 (UTC where it names no zone)."""
    if isinstance(answer, Reading) and isinstance(answer.value, str):
        return _iso(answer.value)
    epoch = number(answer)
    return epoch if isinstance(epoch, Unknown) else moment_of_epoch(epoch)


def moment_of_epoch(epoch: float) -> datetime | Unknown:
    """The moment of an epoch in seconds, milli-, micro- or nanoseconds."""
    unit = next((unit for most, unit in _UNITS if abs(epoch) <= most), None)
    try:
        if unit is not None:
            return datetime.fromtimestamp(epoch / unit, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return Unknown(Trouble.NOT_A_NUMBER, f"is {epoch:.15g}, which is no time of this calendar", _A_TIME)


def _iso(text: str) -> datetime | Unknown:
    try:
        read = datetime.fromisoformat(text.strip())
        return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        remedy = f"{_A_TIME}; to_number(...) makes a number of a text"
        return Unknown(Trouble.NOT_A_NUMBER, f"is a text that is no time: {text}", remedy)


def identifier(answer: Answer) -> str | Unknown:
    """The name of a window: a text as it is, a number in its shortest form."""
    if isinstance(answer, Reading):
        if isinstance(answer.value, str):
            return answer.value.strip() or Unknown(Trouble.MISSING, "is an empty text")
        if isinstance(answer.value, int) and not isinstance(answer.value, bool):
            return str(answer.value)
    value = number(answer)
    if isinstance(value, Unknown):
        return value
    return str(int(value)) if value.is_integer() else repr(value)


def text_of(body: bytes) -> str | Unknown:
    """The body as text; it must be UTF-8."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Unknown(Trouble.UNPARSEABLE, f"is not UTF-8 (byte {error.start})")


def json_of(body: bytes) -> Any:
    """The JSON value of the body, or Unknown. NaN, infinities and numbers beyond every float are floats."""
    text = text_of(body)
    if isinstance(text, Unknown):
        return text
    try:
        return json.loads(text, parse_int=_whole, object_pairs_hook=_object)
    except RecursionError:
        return Unknown(Trouble.UNPARSEABLE, "is JSON nested too deeply to be read")
    except json.JSONDecodeError as error:
        return unparseable(text, f"is not JSON: {error}")
    except ValueError as error:
        return Unknown(Trouble.UNPARSEABLE, f"is JSON {error}", "only its author knows which value counts")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises ValueError where it has a key twice, of which Python would take the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"with the key {json.dumps(twice)} twice in one object")
    return found


def refusal(document: object) -> Unknown | None:
    """Why a JSON answer with HTTP status 200 is none: an error of the server, or a part of the answer."""
    if said := http.complaint(document):
        return Unknown(Trouble.STATUS, f"answered with an error: {said}")
    if not isinstance(document, dict):
        return None
    in_words = (key for key in _PARTIAL if str(document.get(key)).lower() == "true")  # deeper it may be a label's value
    if mark := next(chain(in_words, filter(None, map(_mark_of_a_part, _objects(document)))), ""):
        return Unknown(Trouble.INCOMPLETE, f"sent a part of its answer ({mark})", STORES)
    if document.get("status") != "success":  # as the API of Prometheus says it
        return None
    missed = [text for text in warnings_of(document) if not text.startswith(_ANNOTATION)]
    return Unknown(Trouble.INCOMPLETE, f"warns: {missed[0]}", STORES) if missed else None


def _objects(document: object) -> Iterator[dict[str, Any]]:
    """Every object in a JSON document: of several answers in one, each may be a part."""
    rest = [document]
    while rest:
        within = rest.pop()
        if isinstance(within, dict):
            yield within
            rest += (each for name, each in within.items() if name not in _CONTENT)
        elif isinstance(within, list):
            rest += within


def _mark_of_a_part(found: Mapping[str, Any]) -> str:
    """How an object says that it is a part of the answer; "" where it does not."""
    match found:
        case {"StatusCode": "PartialData"}:  # CloudWatch
            return "PartialData"
        case {"_shards": {"failed": int(failed)}} if failed:
            return f"{failed} shards failed"
    return next((key for key in _PARTIAL if found.get(key) is True), "")


def warnings_of(document: object, key: str = "warnings") -> list[str]:
    """The warnings of an answer (or its `infos`), which are a list of texts; a text alone is one, too."""
    found = document.get(key) if isinstance(document, dict) else None
    return [found] if isinstance(found, str) and found else list(map(str, found)) if isinstance(found, list) else []


def unparseable(text: str, why: str) -> Unknown:
    """Why a text could not be parsed; an HTML page, most often a login page, is called that."""
    if page := http.html_page(text):
        return Unknown(Trouble.UNPARSEABLE, f"is {page}", "a login page? check monitoring.url and monitoring.headers")
    begins = text.strip() or "nothing"
    return Unknown(Trouble.UNPARSEABLE, f"{why}; it begins: {begins}", "is monitoring.type right?")


def _whole(digits: str) -> int | float:
    if len(digits) > _DIGITS:
        return -math.inf if digits.startswith("-") else math.inf
    return int(digits)

"""`retrain backtest`: recorded metrics under the configured rule and others: when would each have trained?"""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from retrain.backtest.prometheus_range import record
from retrain.backtest.recordings import read
from retrain.backtest.replay import Recorded, Replay, recorded, replay
from retrain.config.load import parse_rule, parse_span
from retrain.config.schema import contradictions
from retrain.context import Context
from retrain.core.evidence import YEAR, drop_name
from retrain.core.records import NAMES, Reason, Signal
from retrain.core.rules import EvidenceRule, Triggers
from retrain.core.text import counted, duration, iso, moment
from retrain.effects.files import is_there
from retrain.effects.journal import open_journal
from retrain.errors import ConfigError, Report, RetrainError
from retrain.output import aligned

CONFIGURED = "as configured"
_FIELDS = ("f1", "drift", "f1_observed_at", "drift_observed_at", "window", "samples", "positives", "counts")
_MOST = 1_000_000
"""Readings that a Prometheus is asked for."""


def backtest(context: Context, history: str, rules: Sequence[str], every: str) -> Report:
    """The report of the replay: a table of rules, and the trainings of the configured one."""
    readings, notes = _readings(context, history, every)
    fields = {name for name in _FIELDS if any(getattr(each.snapshot, name) is not None for each in readings)}
    if fields.isdisjoint(("f1_observed_at", "drift_observed_at", "window")):
        notes.append("no observed_at was recorded: readings of equal numbers count as one window, perhaps too few")
    triggers, left_out = _without_unrecorded(context.config.triggers, fields)
    tried = {CONFIGURED: triggers}
    tried |= {text: parse_rule(text, triggers) for text in rules} if rules else _others(triggers, fields)
    for name, rule in tuple(tried.items()):
        problem = _lacking(rule, fields, history)
        if problem is None:
            continue
        if name != CONFIGURED or not rules:
            raise ConfigError(f"{name}: {problem}")
        left_out.append(f"{name}: {problem}, so it is left out")
        del tried[name]
    replays = {name: replay(readings, rule) for name, rule in tried.items()}
    return report(readings, tried, replays, [*notes, *left_out])


def _readings(context: Context, history: str, every: str) -> tuple[list[Recorded], list[str]]:
    """The readings of a file, of a journal or, for a span such as 90d, of the configured Prometheus; and notes."""
    path, notes = Path(history), []
    if not is_there(path) and re.fullmatch(r"[\d.]+[smhd]", history):
        readings = _of_prometheus(context, parse_span("HISTORY", history), parse_span("--every", every))
    elif path.suffix == ".db":
        if not is_there(path) or not path.is_file():
            raise RetrainError(f"{path}: there is no such journal")
        with open_journal(path.parent, writable=False, name=path.name) as journal:
            found = [each for entry in journal.checks() if (each := recorded(entry)) is not None]
        readings = sorted(found, key=lambda each: each.snapshot.fetched_at)  # a clock may have been set back
    else:
        readings, skipped = read(path)
        if skipped:
            notes.append(f"{counted(skipped, 'check')} without metrics or without a time left out")
    if not readings:
        raise RetrainError(f"{history}: holds no reading of the metrics")
    length = context.config.monitoring.window_length if context.config.monitoring is not None else None
    return [replace(each, snapshot=replace(each.snapshot, window_length=length)) for each in readings], notes


def _of_prometheus(context: Context, span: timedelta, step: timedelta) -> list[Recorded]:
    if context.config.monitoring is None:
        raise ConfigError("monitoring.url: is required to read a span of recorded metrics")
    if span / step > _MOST:
        raise ConfigError(f"HISTORY and --every: more than {_MOST:,} readings; take a longer --every")
    now = context.clock()
    return record(context.config.monitoring, context.secrets, now - span, now, step)


def _unrecorded(triggers: Triggers, fields: Collection[str]) -> list[Signal]:
    """The signals that are watched and were not recorded."""
    return [signal for signal in triggers.watched if signal not in fields]


def _without_unrecorded(triggers: Triggers, fields: Collection[str]) -> tuple[Triggers, list[str]]:
    """The rule without the signals that were not recorded, and a note on each."""
    unrecorded = _unrecorded(triggers, fields)
    if Signal.F1 in unrecorded:
        triggers = replace(triggers, performance_threshold=None, max_drop=None, evidence=None)
    if Signal.DRIFT in unrecorded:
        triggers = replace(triggers, drift_threshold=None)
    return triggers, [f"{NAMES[each]} was not recorded, so it is left out" for each in unrecorded]


def _others(triggers: Triggers, fields: Collection[str]) -> dict[str, Triggers]:
    """The rules to show beside the configured one, named as --rule takes them."""
    plain = replace(triggers, evidence=None, consecutive=1)
    prefix = "evidence: null, " if triggers.evidence is not None else ""
    others = {f"{prefix}consecutive: {count}": replace(plain, consecutive=count) for count in (1, 3)}
    by_evidence = replace(plain, evidence=EvidenceRule(0.03, 1.0))
    if _lacking(by_evidence, fields, "") is None and not any(contradictions(by_evidence)):
        others["evidence: {min_drop: 0.03, false_retrains_per_year: 1}"] = by_evidence
    return {name: rule for name, rule in others.items() if rule != triggers}


def _lacking(rule: Triggers, fields: Collection[str], history: str) -> str | None:
    """What a rule needs and the record lacks, so that a replay would mislead; None where it has all."""
    if unrecorded := _unrecorded(rule, fields):
        return f"needs {NAMES[unrecorded[0]]}, which {history} has not recorded"
    if not rule.watched and rule.max_model_age is None:
        return f"has no threshold for what {history} has recorded (--rule 'drift_threshold: 0.2' sets one)"
    if rule.min_samples and "samples" not in fields:
        return f"needs samples (min_samples), which {history} has not recorded"
    if rule.evidence is not None and "counts" not in fields and "positives" not in fields:
        return (
            f"needs tp, fp and fn, or positives (evidence), which {history} has not recorded"
            " (--rule 'evidence: null' tries the plain rule)"
        )
    return None


_LISTED = 5
_ALMOST_A_DAY = timedelta(hours=23)
_ASSUMED = (
    "The record holds the scores of the models that served. So here each training ends at once and changes nothing:",
    "a lasting drop trains again and again, where a better challenger would have ended it.",
)
_OF_EVIDENCE = (
    "false_retrains_per_year bounds trainings by chance, with F1 at the threshold; those of real drops come on top.",
)


def report(
    readings: Sequence[Recorded], rules: Mapping[str, Triggers], replays: Mapping[str, Replay], notes: Sequence[str]
) -> Report:
    """The report on each rule by its name; the trainings of the first are listed."""
    begin, end = readings[0].snapshot.fetched_at, readings[-1].snapshot.fetched_at
    span, name = end - begin, next(iter(replays))
    first = replays[name]
    read = f"{counted(len(readings), 'reading')} from {moment(begin)} to {moment(end)} ({duration(span)})"
    windows = [f"{counted(count, 'window')} of {NAMES[signal]}" for signal, count in first.windows.items() if count]
    lines = [", ".join([read, *windows])]
    if unknown := first.reasons.get(Reason.UNKNOWN, 0):
        lines.append(f"{counted(unknown, 'reading')} without a decision: a metric was unknown")
    lines += [*notes, "", *_table(replays, span), "", *_trainings(f"{name} ({_in_words(rules[name])})", first), ""]
    lines += [*_ASSUMED, *(_OF_EVIDENCE if any(rule.evidence for rule in rules.values()) else ())]
    message = "\n".join(lines)
    data = {
        "readings": len(readings),
        "from": iso(begin),
        "to": iso(end),
        "rules": [{"rule": name} | _data(each, span) for name, each in replays.items()],
        "message": message,
    }
    return Report(message, data, details=tuple(map(_line, first.trainings[_LISTED:])))


def _data(replay: Replay, span: timedelta) -> dict[str, object]:
    return {
        "trainings": len(replay.trainings),
        "per_year": _per_year(replay, span),
        "at": [iso(at) for at, _ in replay.trainings],
        "why": [why for _, why in replay.trainings],
        "reasons": dict(sorted(replay.reasons.items())),
    }


def _per_year(replay: Replay, span: timedelta) -> float | None:
    """Trainings a year; None for a record of less than about a day, which says nothing about a year."""
    return len(replay.trainings) * YEAR / span.total_seconds() if span > _ALMOST_A_DAY else None


def _table(replays: Mapping[str, Replay], span: timedelta) -> list[str]:
    """The rules, one a line: how often each would have trained, and when first and last."""
    rows = [("rule", "trainings", "per year", "first", "last")]
    for name, each in replays.items():
        rate, days = _per_year(each, span), [f"{at:%Y-%m-%d}" for at, _ in each.trainings] or ["-"]
        rows.append((name, f"{len(each.trainings):,}", "-" if rate is None else f"{rate:,.1f}", days[0], days[-1]))
    return aligned(rows)


def _trainings(rule: str, replay: Replay) -> list[str]:
    """When the rule would have trained first, and why."""
    if not replay.trainings:
        return [f"{rule} would not have trained"]
    more = len(replay.trainings) - _LISTED
    lines = [f"{rule} would have trained:", *map(_line, replay.trainings[:_LISTED])]
    return lines + ([f"  and {counted(more, 'more time')} (-v lists them)"] if more > 0 else [])


def _line(training: tuple[datetime, str]) -> str:
    at, why = training
    return f"  {moment(at)}  {why}"


def _in_words(triggers: Triggers) -> str:
    f1, drift, age = triggers.performance_threshold, triggers.drift_threshold, triggers.max_model_age
    words = [f"F1 below {f1:g}"] if f1 is not None else []
    if triggers.evidence is not None:
        words = [f"evidence of {drop_name(triggers)}"]
    words += [f"F1 {triggers.max_drop:g} below the first window"] if triggers.max_drop is not None else []
    words += [f"drift {triggers.drift_breach} {drift:g}"] if drift is not None else []
    words += [f"model older than {duration(age)}"] if age is not None else []
    return f"{' or '.join(words)}, consecutive: {triggers.consecutive}"

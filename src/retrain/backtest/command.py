"""`retrain backtest`: recorded metrics through the configured rule: when would it have trained? And under others?"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from retrain.backtest.prometheus_range import record
from retrain.backtest.recordings import read
from retrain.backtest.replay import Replay, recorded
from retrain.config.load import parse_rule, parse_span
from retrain.config.schema import contradictions
from retrain.context import Context
from retrain.core.evidence import YEAR, rule_name
from retrain.core.records import NAMES, Reason, Recorded, Signal
from retrain.core.rules import EvidenceRule, Positive, Rate, Share, Triggers
from retrain.core.text import counted, duration, iso, moment
from retrain.effects.files import is_there
from retrain.effects.journal import open_journal
from retrain.errors import ConfigError, Report, RetrainError
from retrain.replays import replays

CONFIGURED = "as configured"
_LISTED = 5
_MOST = 1_000_000
"""Readings that a Prometheus is asked for."""


def backtest(context: Context, history: str, rules: Sequence[str], every: str) -> Report:
    """The report of the replay: a table of rules, and the configured rule's trainings."""
    looks, notes = _looks(context, history, every)
    triggers, lacking = _without_the_unrecorded(context.config.triggers, looks)
    others = {text: parse_rule(text, triggers) for text in rules} if rules else _others(triggers, looks)
    every_rule = {CONFIGURED: triggers, **others}
    for name, rule in tuple(every_rule.items()):
        problem = _cannot_be_replayed(rule, looks, history)
        if problem is not None and (name != CONFIGURED or not rules):
            raise ConfigError(f"{name}: {problem}")
        if problem is not None:
            notes.append(f"the configured rule {problem}, so it is left out")
            del every_rule[name]
    tried = dict(zip(every_rule, replays(looks, list(every_rule.values())), strict=True))
    return _report(looks, every_rule, tried, [*notes, *lacking])


def _looks(context: Context, history: str, every: str) -> tuple[list[Recorded], list[str]]:
    """What was recorded: in a file, in a journal, or, for a span such as 90d, in the configured Prometheus.

    And what is to be told of the record.
    """
    path, notes = Path(history), []
    if not is_there(path) and re.fullmatch(r"[\d.]+[smhd]", history):
        looks = _asked_for(context, parse_span("HISTORY", history), parse_span("--every", every))
    elif path.suffix == ".db":
        if not is_there(path) or not path.is_file():
            raise RetrainError(f"{path}: there is no such journal")
        with open_journal(path.parent, writable=False, name=path.name) as journal:
            found = [look for entry in journal.checks() if (look := recorded(entry)) is not None]
        looks = sorted(found, key=lambda look: look.snapshot.fetched_at)  # a clock may have been set back
    else:
        recorded_file = read(path)
        looks = recorded_file.looks
        if recorded_file.skipped:
            notes.append(f"{counted(recorded_file.skipped, 'check')} without metrics or without a time left out")
    if not looks:
        raise RetrainError(f"{history}: holds no reading of the metrics")
    if not any(map(_is_named, looks)):
        notes.append(
            "no observed_at was recorded: a reading whose numbers were seen before is taken for the same window, so"
            " these may be far too few"
        )
    return looks, notes


def _is_named(look: Recorded) -> bool:
    """Whether the record tells one window from another of equal numbers."""
    seen = look.snapshot
    return not (seen.f1_observed_at is None and seen.drift_observed_at is None and seen.window is None)


def _asked_for(context: Context, span: timedelta, step: timedelta) -> list[Recorded]:
    if context.config.monitoring is None:
        raise ConfigError("monitoring.url: is required to ask for a span of recorded metrics")
    if span / step > _MOST:
        raise ConfigError(f"HISTORY and --every: more than {_MOST:,} readings; take a longer --every")
    now = context.clock()
    return record(context.config.monitoring, context.secrets, now - span, now, step)


def _without_the_unrecorded(triggers: Triggers, looks: Sequence[Recorded]) -> tuple[Triggers, list[str]]:
    """The rule without the signals that nobody recorded, and a sentence for each."""
    lacking = _unrecorded(triggers, looks)
    if Signal.F1 in lacking:
        triggers = replace(triggers, performance_threshold=None, evidence=None)
    if Signal.DRIFT in lacking:
        triggers = replace(triggers, drift_threshold=None)
    return triggers, [f"{NAMES[each]} was not recorded, so it is left out" for each in lacking]


def _unrecorded(triggers: Triggers, looks: Sequence[Recorded]) -> list[Signal]:
    """The signals that the rule looks at and nobody recorded."""
    has = {
        Signal.F1: any(look.snapshot.f1 is not None for look in looks),
        Signal.DRIFT: any(look.snapshot.drift is not None for look in looks),
    }
    return [signal for signal in Signal if triggers.threshold(signal) is not None and not has[signal]]


def _others(triggers: Triggers, looks: Sequence[Recorded]) -> dict[str, Triggers]:
    """The rules to show beside the configured one, named as --rule takes them."""
    plain, by_name = replace(triggers, evidence=None, consecutive=Positive(1)), ""
    if triggers.evidence is not None:
        by_name = "evidence: null, "
    others = {f"{by_name}consecutive: {count}": replace(plain, consecutive=Positive(count)) for count in (1, 3)}
    by_evidence = replace(plain, evidence=EvidenceRule(Share(0.03), Rate(1.0)))
    if _has_counts(looks) and not any(contradictions(by_evidence)):
        others["evidence: {min_drop: 0.03, false_retrains_per_year: 1}"] = by_evidence
    return {name: rule for name, rule in others.items() if rule != triggers}


def _has_counts(looks: Sequence[Recorded]) -> bool:
    return any(look.snapshot.counts is not None or look.snapshot.positives is not None for look in looks)


def _cannot_be_replayed(rule: Triggers, looks: Sequence[Recorded], history: str) -> str | None:
    """What a rule needs that this record could only seem to answer; None where it has all."""
    if lacking := _unrecorded(rule, looks):
        return f"looks at {NAMES[lacking[0]]}, which {history} has not recorded"
    if all(rule.threshold(signal) is None for signal in Signal) and rule.max_model_age is None:
        return f"looks at nothing that {history} has recorded (--rule 'drift_threshold: 0.2', say)"
    if rule.min_samples and all(look.snapshot.samples is None for look in looks):
        return f"needs the samples of every window (min_samples), and {history} has none"
    if rule.evidence is not None and not _has_counts(looks):
        return (
            f"needs tp, fp and fn (or positives) of every window, since it is the evidence rule, and {history} has none"
            " (--rule 'evidence: null' tries the plain rule)"
        )
    return None


# ---------------------------------------------------------------- its face


def _report(
    looks: Sequence[Recorded], rules: Mapping[str, Triggers], tried: Mapping[str, Replay], notes: Sequence[str]
) -> Report:
    """The report on each rule; the first, as a rule the configured one, is told in full."""
    first, last = looks[0].snapshot.fetched_at, looks[-1].snapshot.fetched_at
    span, told = last - first, next(iter(tried))
    main = tried[told]
    windows = ", ".join(
        f"{counted(count, 'window')} of {NAMES[signal]}" for signal, count in main.windows.items() if count
    )
    seen = f"{counted(len(looks), 'reading')} from {moment(first)} to {moment(last)} ({duration(span)})"
    lines = [f"{seen}, {windows}" if windows else seen]
    unknown = main.reasons.get(Reason.UNKNOWN, 0)
    if unknown:
        lines.append(f"at {counted(unknown, 'reading')} a metric was unknown, and nothing else stood")
    lines += notes
    lines += ["", *_ASSUMED, *(_OF_EVIDENCE if any("evidence: {" in name for name in tried) else ()), ""]
    lines += [*_table(tried, span), "", *_trainings(f"{told} ({_told(rules[told])})", main.trainings)]
    data = {
        "readings": len(looks),
        "from": iso(first),
        "to": iso(last),
        "rules": [{"rule": name} | _data(each, span) for name, each in tried.items()],
        "message": "\n".join(lines),
    }
    return Report("\n".join(lines), data, details=tuple(map(_line, main.trainings[_LISTED:])))


def _data(replay: Replay, span: timedelta) -> dict[str, object]:
    return {
        "trainings": len(replay.trainings),
        "per_year": _a_year(replay, span),
        "at": [iso(at) for at, _ in replay.trainings],
        "why": [why for _, why in replay.trainings],
        "reasons": dict(sorted(replay.reasons.items())),
    }


_ASSUMED = (
    "These are the scores of the model that was in service. So each training is taken to end at once and to bring",
    "nothing better: a drop that lasts trains again and again here, where a better challenger would have ended it.",
)
_OF_EVIDENCE = (
    "false_retrains_per_year counts trainings by bad luck alone, with F1 at the threshold; real drops come on top.",
)


def _table(tried: Mapping[str, Replay], span: timedelta) -> list[str]:
    """The rules, one a line: how often each would have trained."""
    rows: list[tuple[str, ...]] = [("rule", "trainings", "per year", "first", "last")]
    for name, each in tried.items():
        a_year, trainings = _a_year(each, span), each.trainings
        ends = [f"{at:%Y-%m-%d}" for at, _ in (trainings[:1] + trainings[-1:])] or ["-", "-"]
        rows.append((name, f"{len(trainings):,}", "-" if a_year is None else f"{a_year:,.1f}", *ends))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(_aligned, row, widths, range(len(row)))).rstrip() for row in rows]


def _aligned(text: str, width: int, column: int) -> str:
    return text.rjust(width) if column in (1, 2) else text.ljust(width)


def _trainings(rule: str, trainings: Sequence[tuple[datetime, str]]) -> list[str]:
    """When the rule would have trained first, and why."""
    if not trainings:
        return [f"{rule} it would not have trained."]
    more = len(trainings) - _LISTED
    lines = [f"{rule} it would have trained:", *map(_line, trainings[:_LISTED])]
    return lines + ([f"  and {counted(more, 'more time')} (-v lists them)"] if more > 0 else [])


def _told(triggers: Triggers) -> str:
    """A rule in words."""
    f1, drift, rule = triggers.performance_threshold, triggers.drift_threshold, triggers.evidence
    told = [f"F1 below {f1:g}"] if f1 is not None else []
    if rule is not None:
        told = [f"evidence of {rule_name(triggers)}"]
    told += [f"drift {triggers.drift_breach} {drift:g}"] if drift is not None else []
    told += [f"model older than {duration(triggers.max_model_age)}"] if triggers.max_model_age is not None else []
    return f"{' or '.join(told)}, consecutive: {triggers.consecutive}"


def _line(training: tuple[datetime, str]) -> str:
    at, why = training
    return f"  {moment(at)}  {why}"


def _a_year(replayed: Replay, span: timedelta) -> float | None:
    """Trainings a year; None for a record of less than about a day, which says nothing about a year."""
    seconds = span.total_seconds()
    return len(replayed.trainings) * YEAR / seconds if seconds > 82800 else None

"""`retrain backtest`: recorded metrics through the configured rule: when would it have trained? And under others?"""

import multiprocessing
import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from retrain.config.load import parse_rule, parse_span
from retrain.context import Context
from retrain.core.evidence import YEAR
from retrain.core.records import Reason, Recorded, Signal
from retrain.core.replay import Replay, recorded, replay
from retrain.core.rules import EvidenceRule, Positive, Rate, Share, Triggers
from retrain.core.words import counted, duration, iso, moment
from retrain.effects import monitoring
from retrain.effects.journal import open_journal
from retrain.effects.monitoring.history import read
from retrain.errors import ConfigError, RetrainError
from retrain.report import Report

CONFIGURED = "as configured"
_LONG = 20_000
"""Looks from which on it pays to start workers."""
_LISTED = 20
_NAMES = {Signal.F1: "F1", Signal.DRIFT: "drift"}


@dataclass(frozen=True, slots=True)
class Tried:
    """A rule by its name, and what it would have done."""

    name: str
    replay: Replay


def backtest(context: Context, history: str, rules: Sequence[str], every: str) -> Report:
    """The report of the replay: a table of rules, and the configured rule's trainings."""
    looks = _looks(context, history, every)
    triggers, lacking = _without_the_unrecorded(context.config.triggers, looks)
    others = {text: parse_rule(text, triggers) for text in rules} if rules else _others(triggers, looks)
    every_rule = {CONFIGURED: triggers, **others}
    for name, rule in every_rule.items():
        _refuse_without_counts(name, rule, looks, history)
    replays = _replays(looks, list(every_rule.values()))
    return _report(looks, list(map(Tried, every_rule, replays)), lacking)


def _replays(looks: Sequence[Recorded], rules: Sequence[Triggers]) -> list[Replay]:
    """What each rule would have done; a long record is replayed on all cores, a rule each."""
    if len(looks) < _LONG:
        return [replay(looks, rule) for rule in rules]
    # Forked, the workers have the record already; a year of it takes seconds to send.
    with multiprocessing.get_context("fork").Pool(min(len(rules), os.cpu_count() or 1), _take, (looks,)) as workers:
        return workers.map(_replay, rules, chunksize=1)


_taken: list[Sequence[Recorded]] = []
"""The record that a worker replays."""


def _take(looks: Sequence[Recorded]) -> None:
    # The controller alone answers signals; it ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _taken[:] = [looks]


def _replay(rule: Triggers) -> Replay:
    return replay(_taken[0], rule)


def _looks(context: Context, history: str, every: str) -> list[Recorded]:
    """What was recorded: in a file, in a journal, or, for a span such as 90d, in the configured Prometheus."""
    path = Path(history)
    if not path.exists() and re.fullmatch(r"[\d.]+[smhd]", history):
        if context.config.monitoring is None:
            raise ConfigError("monitoring.url: is required to ask for a span of recorded metrics")
        now = context.clock()
        span, step = parse_span("HISTORY", history), parse_span("--every", every)
        looks = monitoring.record(context.config.monitoring, context.secrets, now - span, now, step)
    elif path.suffix == ".db":
        if not path.exists():
            raise RetrainError(f"{path}: there is no such journal")
        with open_journal(path.parent, writable=False, name=path.name) as journal:
            looks = [look for entry in journal.checks() if (look := recorded(entry)) is not None]
    else:
        looks = read(path).looks
    if not looks:
        raise RetrainError(f"{history}: holds no look at the metrics")
    return looks


def _without_the_unrecorded(triggers: Triggers, looks: Sequence[Recorded]) -> tuple[Triggers, list[str]]:
    """The rule without the signals that nobody recorded, and their names."""
    has_f1 = any(look.snapshot.f1 is not None for look in looks)
    has_drift = any(look.snapshot.drift is not None for look in looks)
    lacking = []
    if triggers.performance_threshold is not None and not has_f1:
        triggers = replace(triggers, performance_threshold=None, evidence=None)
        lacking.append("F1")
    if triggers.drift_threshold is not None and not has_drift:
        triggers = replace(triggers, drift_threshold=None)
        lacking.append("drift")
    return triggers, lacking


def _others(triggers: Triggers, looks: Sequence[Recorded]) -> dict[str, Triggers]:
    """The rules to show beside the configured one, named as --rule takes them."""
    plain, by_name = replace(triggers, evidence=None, consecutive=Positive(1)), ""
    if triggers.evidence is not None:
        by_name = "evidence: null, "
    others = {f"{by_name}consecutive: {count}": replace(plain, consecutive=Positive(count)) for count in (1, 3)}
    threshold = triggers.performance_threshold
    drop = EvidenceRule(Share(0.03), Rate(1.0))
    if threshold is not None and drop.min_drop < threshold < 1 and _has_counts(looks):
        others["evidence: {min_drop: 0.03, false_retrains_per_year: 1}"] = replace(plain, evidence=drop)
    return {name: rule for name, rule in others.items() if rule != triggers}


def _has_counts(looks: Sequence[Recorded]) -> bool:
    return any(look.snapshot.counts is not None or look.snapshot.positives is not None for look in looks)


def _refuse_without_counts(name: str, rule: Triggers, looks: Sequence[Recorded], history: str) -> None:
    if rule.evidence is not None and not _has_counts(looks):
        raise ConfigError(
            f"{name}: the evidence rule needs tp, fp and fn (or positives) of every window, and {history} has none"
            " (--rule 'evidence: null' tries the plain rule)"
        )


# ---------------------------------------------------------------- its face


def _report(looks: Sequence[Recorded], tried: Sequence[Tried], lacking: Sequence[str]) -> Report:
    first, last = looks[0].snapshot.fetched_at, looks[-1].snapshot.fetched_at
    span = last - first
    configured = tried[0].replay
    windows = ", ".join(
        f"{counted(count, 'window')} of {_NAMES[signal]}" for signal, count in configured.windows.items() if count
    )
    seen = f"{counted(len(looks), 'look')} from {moment(first)} to {moment(last)} ({duration(span)})"
    lines = [f"{seen}, {windows}" if windows else seen]
    unknown = configured.reasons.get(Reason.UNKNOWN, 0)
    if unknown:
        lines.append(f"at {counted(unknown, 'look')} a metric was unknown, and nothing else stood")
    lines += [f"{name} was not recorded, so it is left out" for name in lacking]
    lines += ["", *_table(tried, span), "", *_trainings(configured)]
    lines.append(
        "Every training is taken to end well at once, and its challenger to be no better: the record shows what one"
        " champion did. So a drop that lasts trains again and again here; a better challenger would have ended it."
    )
    data = {
        "looks": len(looks),
        "from": iso(first),
        "to": iso(last),
        "rules": [
            {
                "rule": each.name,
                "trainings": len(each.replay.trainings),
                "per_year": _a_year(each.replay, span),
                "at": [iso(at) for at, _ in each.replay.trainings],
                "why": [why for _, why in each.replay.trainings],
                "reasons": dict(sorted(each.replay.reasons.items())),
            }
            for each in tried
        ],
        "message": "\n".join(lines),
    }
    return Report("\n".join(lines), data)


def _table(tried: Sequence[Tried], span: timedelta) -> list[str]:
    """The rules, one a line: how often each would have trained, and what held it back most."""
    rows: list[tuple[str, ...]] = [("rule", "trainings", "a year", "first", "last")]
    for each in tried:
        trainings, a_year = each.replay.trainings, _a_year(each.replay, span)
        ends = [f"{at:%Y-%m-%d}" for at, _ in (trainings[:1] + trainings[-1:])] or ["-", "-"]
        rows.append((each.name, f"{len(trainings):,}", "-" if a_year is None else f"{a_year:,.1f}", *ends))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            text.ljust(width) if column not in (1, 2) else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _trainings(configured: Replay) -> list[str]:
    if not configured.trainings:
        return [f"{CONFIGURED} it would not have trained."]
    lines = [f"{CONFIGURED} it would have trained:"]
    lines += [f"  {moment(at)}  {why}" for at, why in configured.trainings[:_LISTED]]
    more = len(configured.trainings) - _LISTED
    return lines + ([f"  and {counted(more, 'more time')} (--json lists all)"] if more > 0 else [])


def _a_year(replayed: Replay, span: timedelta) -> float | None:
    """Trainings a year; None for a record of less than a day, which says nothing about a year."""
    seconds = span.total_seconds()
    return len(replayed.trainings) * YEAR / seconds if seconds >= 86400 else None

"""`retrain history` and `retrain versions`: who was champion when and why, and what became of each kept version."""

import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from io import StringIO
from textwrap import wrap
from typing import Any

from msgspec import Struct, to_builtins

from retrain.config.schema import Models
from retrain.context import Context
from retrain.core.describe import describe, said
from retrain.core.events import Promoted
from retrain.core.explain import signed
from retrain.core.history import VersionHistory, Window, period_at, periods, version_histories, windows
from retrain.core.news import classes, compared, kind, record
from retrain.core.records import NAMES
from retrain.core.rules import Gate
from retrain.core.text import iso, moment, one_line, short
from retrain.effects import registry
from retrain.errors import ConfigError, Report, RetrainError
from retrain.output import aligned
from retrain.swap import journal_of

_wrapped = partial(wrap, width=80, break_long_words=False, break_on_hyphens=False)


class Options(Struct, frozen=True):
    """The flags. Events are from `since` on and before `until`, of these `kinds` (none: all but checks and intents)."""

    since: datetime | None = None
    until: datetime | None = None
    at: datetime | None = None
    kinds: tuple[str, ...] = ()
    metrics: bool = False


def history(context: Context, options: Options) -> Report:
    """The report of what happened, or of who was champion then, or of the metrics of each window."""
    if options.at is not None:
        return _champion_at(context, options.at)
    wanted = ["Checked"] if options.metrics else classes(options.kinds)
    with journal_of(context, writable=False) as journal:
        entries = list(journal.history(wanted, options.since, options.until))
    if options.kinds:
        entries = [each for each in entries if kind(each.event) in options.kinds]
    if options.metrics:
        return _metrics(windows(entries))
    gate = context.config.gate
    sentences = [(f"{moment(each.at)}  ", said(each.event, gate)) for each in entries]
    message = "\n".join(at + sentence for at, sentence in sentences) or "nothing happened in that time"
    screen = "\n".join(line for at, sentence in sentences for line in _hanging(at, sentence))
    return Report(message, {}, screen=screen, lines=(record(each, gate) for each in entries))


def _champion_at(context: Context, at: datetime) -> Report:
    """The report of who was champion at this time, and why."""
    if at > context.clock():
        raise ConfigError(f"--at {iso(at)} is in the future")
    gate = context.config.gate
    with journal_of(context, writable=False) as journal:
        period = period_at(periods(journal.changes()), at)
    data: dict[str, Any] = {"at": iso(at), "champion": None, "event": None, "comparison": None}
    if period is None or period.version is None:
        message = f"no champion is known at {moment(at)}"
        return Report(message, {**data, "message": message})
    since = f"since {moment(period.since)}" + (f" until {moment(period.until)}" if period.until is not None else "")
    why = [said(period.began.event, gate)]
    if isinstance(period.began.event, Promoted) and not period.began.event.forced and period.began.event.reason:
        why.append(period.began.event.reason)
    why += [said(period.comparison.event, gate)] if period.comparison is not None else []
    message = f"{short(period.version)} was champion at {moment(at)}: {since}; {'; '.join(why)}"
    champion = {"version": period.version, "since": iso(period.since), "until": period.until and iso(period.until)}
    data |= {"champion": champion, "event": record(period.began, gate)}
    data["comparison"] = period.comparison and record(period.comparison, gate)
    return Report(message, {**data, "message": message}, screen="\n".join(_hanging("", message)))


# ---------------------------------------------------------------- the metrics of each window

_COLUMNS = ("at", "observed_at", "f1", "drift", "samples", "positives", "tp", "fp", "fn", "served")
"""The names that `retrain backtest` reads."""


def _metrics(found: Sequence[Window]) -> Report:
    """The report of the windows: a table on a terminal, CSV elsewhere, an object a line with --json."""
    rows = [_row(window) for window in found]
    text = StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    heads = ["window to", *NAMES.values(), "samples", "champion"]
    table = [heads, *([*_shown(window), short(window.served or "")] for window in found)]
    return Report(text.getvalue().rstrip("\n"), {}, screen="\n".join(aligned(table)), lines=rows)


def _row(window: Window) -> dict[str, Any]:
    f1, drift, counts = window.f1, window.drift, window.f1 and window.f1.counts
    return {
        "at": iso(window.at),
        "observed_at": window.observed_at and iso(window.observed_at),
        "f1": f1 and f1.value,
        "drift": drift and drift.value,
        "samples": f1 and f1.samples,
        "positives": f1 and f1.positives,
        **{name: counts and getattr(counts, name) for name in ("tp", "fp", "fn")},
        "served": window.served,
    }


def _shown(window: Window) -> list[str]:
    values = [each.value if each is not None else None for each in (window.f1, window.drift)]
    samples = window.f1.samples if window.f1 is not None else None
    end = moment(window.observed_at) if window.observed_at is not None else ""
    return [end, *("" if each is None else f"{each:.3f}" for each in values), "" if samples is None else f"{samples:g}"]


# ---------------------------------------------------------------- versions


def versions(context: Context) -> Report:
    """The report of every kept version, the one that was made last first."""
    models, gate = context.config.models, context.config.gate
    with journal_of(context, writable=False) as journal:
        entries = list(journal.changes())
    made = {version: registry.made_at(models, version) for version in registry.kept(models)}
    found = version_histories(entries, sorted(made, key=made.__getitem__, reverse=True))
    kept = [(each, made[each.version], _notes(models, each.version)) for each in found]
    text = [
        line
        for each, at, notes in kept
        for number, fact in enumerate(_facts(each, at, notes, gate))
        for line in _hanging(f"{'' if number else short(each.version):<14}", fact)
    ]
    message = "\n".join(text) or "no version is kept"
    return Report(message, {}, lines=[_object(*each, gate) for each in kept])


def _notes(models: Models, version: str) -> dict[str, Any] | None:
    """What the training of this version noted of itself; None where it did not, or that cannot be read any more."""
    file = registry.attached(models, version, registry.NOTES)
    with suppress(RetrainError):
        return registry.read_notes(file) if file is not None else None
    return None


def _object(known: VersionHistory, made: datetime, notes: dict[str, Any] | None, gate: Gate) -> dict[str, Any]:
    started, finished, judged, rejected = known.started, known.finished, known.judged, known.rejected
    return {
        "version": known.version,
        "made_at": iso(made),
        "run": finished and finished.run,
        "training": started and {"reason": started.reason, "message": started.message, "by": to_builtins(started.by)},
        "comparison": judged and {"at": iso(judged[0]), **compared(judged[1], gate)},
        "rejected": rejected and {"at": iso(rejected[0]), **to_builtins(rejected[1])},
        "served": [{"since": iso(each.since), "until": each.until and iso(each.until)} for each in known.periods],
        "notes": notes,
    }


def _facts(known: VersionHistory, made: datetime, notes: dict[str, Any] | None, gate: Gate) -> Iterator[str]:
    """What became of the version, a line each."""
    run = f" by training {known.finished.run}" if known.finished is not None else ""
    why = f": {known.started.message}" if known.started is not None else ""
    yield f"made {moment(made)}{run}{why}"
    if known.judged is not None:
        found = compared(known.judged[1], gate)
        gain = f", gain {signed(found['difference'])}" if found["difference"] is not None else ""
        bounds = f", confidence bounds {' to '.join(map(signed, found['interval']))}" if found["interval"] else ""
        by = f"; by {known.judged[1].by}" if known.judged[1].by is not None else ""
        yield f"{moment(known.judged[0])}: {describe(known.judged[1], gate)}{gain}{bounds}{by}"
    if known.rejected is not None:
        yield f"{moment(known.rejected[0])}: {said(known.rejected[1], gate)}"
    for period in known.periods:
        yield f"served from {moment(period.since)} to {moment(period.until) if period.until is not None else 'now'}"
    if notes:
        yield f"notes: {one_line(json.dumps(notes, ensure_ascii=False), 1000)}"


def _hanging(head: str, text: str) -> list[str]:
    """The text after its head, in lines of a terminal, each below the beginning of the first."""
    return _wrapped(text, initial_indent=head, subsequent_indent=" " * len(head))

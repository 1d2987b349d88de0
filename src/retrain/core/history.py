"""What the journal says of the past: who was champion when, what became of each version, the metrics of each window."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from retrain.core import events
from retrain.core.events import Checked, Entry, Judged
from retrain.core.records import Assessment

# ---------------------------------------------------------------- champions


class Period(Struct, frozen=True):
    """From when until when (None: until now) a version was champion, and the event by which it became so.

    `comparison` is the one that a promotion followed.
    """

    version: str | None
    since: datetime
    until: datetime | None
    began: Entry
    comparison: Entry | None = None


def periods(entries: Iterable[Entry]) -> list[Period]:
    """All champions in the order in which they served; a version of None means that none did."""
    found: list[Period] = []
    compared: dict[str, Entry] = {}
    for entry in entries:
        event, now = entry.event, found[-1].version if found else None
        match event:
            case Judged(dry_run=False):
                compared[event.challenger] = entry
                continue
            case events.Promoted() | events.RolledBack() | events.Adopted():
                version: str | None = event.version
            case events.HistoryLost():
                version = event.served
            case Checked() if event.served is not None and event.known in (None, now or ""):
                version = event.served  # the link was moved by hand
            case _:
                continue
        if version == now:
            continue
        if found:
            found[-1] = replace(found[-1], until=entry.at)
        comparison = compared.get(version or "") if isinstance(event, events.Promoted) else None
        found.append(Period(version, entry.at, None, entry, comparison))
    return found


def period_at(found: Sequence[Period], at: datetime) -> Period | None:
    """Who was champion at this time; None before the first one."""
    return next((period for period in reversed(found) if period.since <= at), None)


# ---------------------------------------------------------------- versions


class VersionHistory(Struct, frozen=True):
    """What became of a version: its training, its latest comparison and its rejection with their times, its periods."""

    version: str
    started: events.TrainingStarted | None = None
    finished: events.TrainingFinished | None = None
    judged: tuple[datetime, Judged] | None = None
    rejected: tuple[datetime, events.Rejected] | None = None
    periods: tuple[Period, ...] = ()


def version_histories(entries: Sequence[Entry], versions: Iterable[str]) -> list[VersionHistory]:
    """What became of each of these versions, as far as these events say."""
    started: dict[str, events.TrainingStarted] = {}
    finished: dict[str, events.TrainingFinished] = {}
    judged: dict[str, tuple[datetime, Judged]] = {}
    rejected: dict[str, tuple[datetime, events.Rejected]] = {}
    for entry in entries:
        match entry.event:
            case events.TrainingStarted() as event:
                started[event.run] = event
            case events.TrainingFinished(challenger=str(version)) as event:
                finished[version] = event
            case Judged(dry_run=False) as event:
                judged[event.challenger] = entry.at, event
            case events.Rejected() as event:
                rejected[event.version] = entry.at, event
            case _:
                pass
    served = periods(entries)
    return [
        VersionHistory(
            version,
            started.get(finished[version].run) if version in finished else None,
            finished.get(version),
            judged.get(version),
            rejected.get(version),
            tuple(period for period in served if period.version == version),
        )
        for version in versions
    ]


# ---------------------------------------------------------------- metrics


class Window(Struct, frozen=True):
    """What was read last of the windows of F1 and drift that ended `observed_at` this time, and when that was."""

    at: datetime
    observed_at: datetime | None
    served: str | None
    f1: Assessment | None = None
    drift: Assessment | None = None


def windows(checks: Iterable[Entry]) -> list[Window]:
    """Every window that these checks read, each once, in the order in which they were first read."""
    found: dict[tuple[str | None, object], Window] = {}
    for entry in checks:
        if not isinstance(event := entry.event, Checked):
            continue
        for each in (each for each in event.assessments if each.value is not None):
            key = event.served, each.observed_at if each.dated else each.window
            old = found.get(key) or Window(entry.at, each.observed_at, event.served)
            found[key] = replace(old, at=entry.at, **{each.signal: each})
    return list(found.values())

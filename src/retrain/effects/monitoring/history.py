"""A file of recorded metrics → looks, as if the endpoint had been asked then."""

import difflib
import reprlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from retrain.core.records import Counts, Recorded, Snapshot, Unknown
from retrain.core.words import counted
from retrain.effects.monitoring.readings import Answer, Reading, Trouble, identifier, moment, number
from retrain.effects.monitoring.recordings import COUNTS, SIGNALS, TIMES, Table, tabulate
from retrain.effects.monitoring.snapshot import counts_of
from retrain.errors import RetrainError

T = TypeVar("T")
_LAST_YEAR = 9000
"""Nothing can be added to the last years of the calendar."""

_SAYABLE = (Trouble.MISSING, Trouble.NOT_FINITE)
"""What a monitor may have said; any other trouble is a mistake in the file."""
_WANTED: dict[Callable[..., object], str] = {
    number: "a number is wanted",
    moment: "epoch seconds or ISO 8601 are wanted",
    identifier: "a text or a number is wanted",
}


@dataclass(frozen=True, slots=True)
class History:
    """The looks in order of time, and the number of lines that are checks without metrics or without a time."""

    looks: list[Recorded]
    skipped: int


def read(path: Path) -> History:
    """The looks that a CSV with a header (.csv) or JSON lines (.jsonl, .ndjson, .json) recorded, one a record.

    The names are those of `monitoring` in config.yaml: f1, drift, observed_at (or f1_observed_at and
    drift_observed_at), window, samples, positives, tp, fp and fn; besides, `at` is the time of the look and
    `served` the version that served. JSON may nest {"counts": {"tp": ...}} and {"observed_at": {"f1": ...}}, or be
    what `check --json` printed. Other names mean nothing. Times are epoch seconds or ISO 8601, UTC without a zone.
    A look without `at` took place when its window ended, so that it is never stale. Looks that go back in
    time are sorted; those of one time keep their order.

    A value that is missing, NaN or infinite is Unknown; what no look has a name for stays None. Raises
    RetrainError, with the line and the name, for anything else that is no look.
    """
    table = tabulate(path)
    if not table.lines:
        skipped = f", only {counted(table.skipped, 'check')} without metrics or without a time (`at` gives one)"
        raise RetrainError(f"{path} holds no look{skipped if table.skipped else ''}")
    for wanted, what in ((SIGNALS, "metric"), (TIMES, "time")):
        if table.columns.keys().isdisjoint(wanted):
            raise RetrainError(f"{path} has no {what}: {_nameless(wanted, table.names)}")
    return History(sorted(_looks(table), key=lambda look: look.snapshot.fetched_at), table.skipped)


def _nameless(wanted: Iterable[str], names: Iterable[str]) -> str:
    there = {name.lower(): name for name in names}
    near = {there[key]: None for each in wanted for key in difflib.get_close_matches(each, there, 1, 0.4)}
    hint = f" (is it {' or '.join(near)}?)" if near else ""
    return f"{' or '.join(wanted)} is wanted, and there is {', '.join(there.values()) or 'no name'}{hint}"


def _looks(table: Table) -> Iterator[Recorded]:
    both = _column(table, "observed_at", moment)
    f1_at, drift_at = (_either(_column(table, f"{signal}_observed_at", moment), both) for signal in SIGNALS)
    snapshots = map(
        Snapshot,
        _times(table, f1_at, drift_at),
        _each(_column(table, "f1", number)),
        _each(_column(table, "drift", number)),
        _each(f1_at),
        _each(drift_at),
        _each(_column(table, "window", identifier)),
        _each(_column(table, "samples", number)),
        _each(_column(table, "positives", number)),
        _counts(table),
    )
    served = _each(_column(table, "served", identifier))
    for snapshot, version in zip(snapshots, served, strict=False):
        yield Recorded(snapshot, version if isinstance(version, str) else None)


def _column(table: Table, name: str, convert: Callable[[Answer, str], T | Unknown]) -> list[T | Unknown] | None:
    """What each look has under the name, worth what an endpoint's answer is; None where the file has no such name."""
    cells = table.columns.get(name)
    if cells is None:
        return None
    plain = cells if convert is identifier else map(_plain, cells)
    as_it_is = convert is number
    # A finite float is worth itself; a year may have a million of them.
    values: list[T | Unknown] = [cell if as_it_is and _finite(cell) else convert(Reading(cell), name) for cell in plain]
    for index, value in enumerate(values):
        if isinstance(value, Unknown):
            place = f"{table.where}:{table.lines[index]}: "
            if value.kind not in _SAYABLE:
                raise RetrainError(f"{place}{name} is {reprlib.repr(cells[index])}; {_WANTED[convert]}")
            why = f"{name} is missing" if value.kind == Trouble.MISSING else value.why
            values[index] = Unknown(value.kind, place + why)
    return values


def _plain(cell: Any) -> Any:
    """The number that a text says, None where it says nothing, else the cell itself."""
    if isinstance(cell, str) and "_" not in cell:
        try:
            return float(cell)
        except ValueError:
            return cell if cell.strip() else None
    return cell


def _finite(cell: Any) -> bool:
    return type(cell) is float and isfinite(cell)


def _each(column: list[T | Unknown] | None) -> Iterable[T | Unknown | None]:
    return repeat(None) if column is None else column


def _either(own: list[T | Unknown] | None, both: list[T | Unknown] | None) -> list[T | Unknown] | None:
    """The signal's own column, filled up from the one of both signals."""
    if own is None or both is None:
        return own or both
    return [
        common if isinstance(value, Unknown) and value.kind == Trouble.MISSING else value
        for value, common in zip(own, both, strict=True)
    ]


def _times(table: Table, *observed: list[datetime | Unknown] | None) -> Iterator[datetime]:
    """When each look took place: `at`, else the end of its window."""
    columns = map(_each, (_column(table, "at", moment), *observed))
    for line, at, *ends in zip(table.lines, *columns, strict=False):
        told = at if isinstance(at, datetime) else next((end for end in ends if isinstance(end, datetime)), None)
        if told is None:
            raise RetrainError(f"{table.where}:{line}: the look has no time: {' or '.join(TIMES)} is wanted")
        if told.year > _LAST_YEAR:
            raise RetrainError(f"{table.where}:{line}: the look was in the year {told.year}; is its time in seconds?")
        yield told


def _counts(table: Table) -> Iterable[Counts | Unknown | None]:
    if table.columns.keys().isdisjoint(COUNTS):
        return repeat(None)
    cells = [table.columns.get(name, repeat(None)) for name in COUNTS]
    for line, look in zip(table.lines, zip(*cells, strict=False), strict=False):
        if None in look and any(cell is not None for cell in look):
            lacking = ", ".join(name for name, cell in zip(COUNTS, look, strict=True) if cell is None)
            wanted = f"a look has all of {', '.join(COUNTS)} or none of them"
            raise RetrainError(f"{table.where}:{line}: the look has no {lacking}; {wanted}")
    return map(counts_of, zip(*(_each(_column(table, name, number)) for name in COUNTS), strict=False))

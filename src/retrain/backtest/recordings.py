"""A file of recorded metrics → looks, as if the endpoint had been asked then."""

import csv
import difflib
import json
import reprlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import repeat
from math import isfinite
from pathlib import Path
from typing import Any, TextIO, TypeVar

from msgspec import Struct

from retrain.core.records import Counts, Recorded, Snapshot, Trouble, Unknown
from retrain.core.text import counted
from retrain.effects.monitoring.readings import Answer, Reading, identifier, moment, number
from retrain.effects.monitoring.snapshot import counts_of
from retrain.errors import RetrainError

SIGNALS = ("f1", "drift")
TIMES = ("at", "observed_at", "f1_observed_at", "drift_observed_at")
COUNTS = ("tp", "fp", "fn")

_KNOWN = frozenset({*SIGNALS, *TIMES, *COUNTS, "window", "samples", "positives", "served"})
_NESTED = {
    "counts": {name: name for name in COUNTS},
    "observed_at": {signal: f"{signal}_observed_at" for signal in SIGNALS},
}
"""What an object in JSON may hold, and how a CSV calls it."""
_NOTHING = frozenset({"", "NA", "N/A", "n/a", "NULL", "null", "None", "<NA>"})
"""Texts that stand for a missing value. NaN does not: a monitor that says NaN has answered."""


class Table(Struct, frozen=True):
    """The values under each known name that the file has: one a look, None where the look has none.

    `lines` says where in the file each look is, `names` is all that the file names, `skipped` counts the checks
    that tell no metrics or no time.
    """

    where: str
    lines: list[int]
    columns: dict[str, list[Any]]
    names: Iterable[str]
    skipped: int = 0


def tabulate(path: Path) -> Table:
    """The table in a CSV with a header, or in JSON lines. Raises RetrainError where the file is neither."""
    formats = {".csv": _of_csv, ".jsonl": _of_json, ".ndjson": _of_json, ".json": _of_json}
    read = formats.get(path.suffix.lower())
    if read is None:
        wanted = ".csv (with a header), or in .jsonl, .ndjson or .json (an object a line)"
        raise RetrainError(f"{path}: the name of recorded metrics must end in {wanted}")
    try:
        if not path.is_file():
            path.stat()  # says what is wrong where nothing is there
            raise RetrainError(f"{path} is not a regular file")
        with path.open(encoding="utf-8-sig", newline="") as file:
            return read(file, str(path))
    except OSError as error:
        raise RetrainError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise RetrainError(f"{path} is not UTF-8") from error


def _of_csv(file: TextIO, where: str) -> Table:
    reader = csv.reader(file, strict=True)
    lines: list[int] = []
    rows: list[list[str]] = []
    try:
        header = [name.strip() for name in next(reader, ())]
        for cells in reader:
            if len(cells) == len(header):
                rows.append(cells)
                lines.append(reader.line_num)
            elif cells:
                has = f"this record has {counted(len(cells), 'cell')}, the header {len(header)}"
                raise RetrainError(f"{where}:{reader.line_num}: {has}")
    except csv.Error as error:
        raise RetrainError(f"{where}:{reader.line_num}: is not CSV: {error}") from error
    if twice := sorted(name for name in _KNOWN if header.count(name) > 1):
        raise RetrainError(f"{where}:1: the header has more than one {', '.join(twice)}")
    columns = {
        name: [None if (text := row[index].strip()) in _NOTHING else text for row in rows]
        for index, name in enumerate(header)
        if name in _KNOWN
    }
    return Table(where, lines, columns, header)


def _of_json(file: TextIO, where: str) -> Table:
    lines: list[int] = []
    records: list[dict[str, Any]] = []
    skipped = 0
    for line, text in enumerate(file, 1):
        if text.isspace():
            continue
        record = _record(text, f"{where}:{line}")
        if record is None:
            skipped += 1
        else:
            records.append(record)
            lines.append(line)
    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: [record.get(name) for record in records] for name in names if name in _KNOWN}
    return Table(where, lines, columns, names, skipped)


def _record(text: str, place: str) -> dict[str, Any] | None:
    """The look in a line, all values on one level; None for a check that tells no metrics or no time."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RetrainError(f"{place}: is not JSON, one object a line: {error}") from error
    if not isinstance(record, dict):
        raise RetrainError(f"{place}: is not an object; one a line is wanted (`jq -c '.[]'` makes lines of a list)")
    if "error" in record and "exit_code" in record:
        return None
    if isinstance(metrics := record.get("metrics"), dict):
        # A check prints null for what it was not configured to ask for, too.
        record |= {name: value for name, value in metrics.items() if value is not None}
        if record.keys().isdisjoint(TIMES):
            return None
    for name, inside in _NESTED.items():
        nested = record.get(name)
        if isinstance(nested, dict):
            del record[name]
            record |= {flat: nested[own] for own, flat in inside.items() if own in nested}
        elif nested is not None and name not in _KNOWN:
            wanted = f"an object of {', '.join(inside)} is wanted"
            raise RetrainError(f"{place}: {name} is {reprlib.repr(nested)}; {wanted}")
    return record


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


class History(Struct, frozen=True):
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


def _column(table: Table, name: str, convert: Callable[[Answer], T | Unknown]) -> list[T | Unknown] | None:
    """What each look has under the name, worth what an endpoint's answer is; None where the file has no such name."""
    cells = table.columns.get(name)
    if cells is None:
        return None
    plain = cells if convert is identifier else map(_plain, cells)
    as_it_is = convert is number
    # A finite float is worth itself; a year may have a million of them.
    values: list[T | Unknown] = [cell if as_it_is and _finite(cell) else convert(Reading(cell)) for cell in plain]
    for index, value in enumerate(values):
        if isinstance(value, Unknown):
            place = f"{table.where}:{table.lines[index]}: "
            if value.kind not in _SAYABLE:
                raise RetrainError(f"{place}{name} is {reprlib.repr(cells[index])}; {_WANTED[convert]}")
            why = "is missing" if value.kind == Trouble.MISSING else value.why
            values[index] = Unknown(value.kind, f"{place}{name} {why}")
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

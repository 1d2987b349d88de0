"""A file of recorded metrics → a table of plain values, one row a look."""

import csv
import json
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from retrain.core.words import counted
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


@dataclass(frozen=True, slots=True)
class Table:
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

"""A file of recorded metrics → readings, as if the endpoint had been asked then."""

import csv
import difflib
import json
import reprlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO, TypeVar

from msgspec import Struct

from retrain.backtest.replay import Recorded
from retrain.core.records import Snapshot, Trouble, Unknown
from retrain.core.text import counted
from retrain.effects.files import opened
from retrain.effects.monitoring import Answer, Reading, counts_of, float_of, identifier, moment, number
from retrain.errors import RetrainError

T = TypeVar("T")
Line = tuple[int, dict[str, Any] | None]
"""Where in the file a record stands, and its values by name; None for a check without metrics or without a time."""

SIGNALS = ("f1", "drift")
TIMES = ("at", "observed_at", "f1_observed_at", "drift_observed_at")
COUNTS = ("tp", "fp", "fn")
_LONGEST_CELL = 131_072
_NAMES = (*SIGNALS, *TIMES, *COUNTS, "window", "samples", "positives", "served")
_NESTED = {"counts": {name: name for name in COUNTS}, "observed_at": {name: f"{name}_observed_at" for name in SIGNALS}}
"""What an object in JSON may hold, and how a CSV calls it."""
_MISSING = frozenset({"", "NA", "N/A", "n/a", "NULL", "null", "None", "<NA>"})
"""Texts of a CSV that stand for a missing value. NaN does not: a monitor that says NaN has answered."""
_ANSWERS = (Trouble.MISSING, Trouble.NOT_FINITE)
"""What a monitor may have said; any other trouble is a mistake in the file."""
_NOT: dict[Callable[..., object], str] = {
    number: "not a number",
    moment: "neither epoch seconds nor ISO 8601",
    identifier: "neither a text nor a number",
}
_LAST_YEAR = 9000
"""Nothing can be added to the last years of the calendar."""


def read(path: Path) -> tuple[list[Recorded], int]:
    """The readings in a CSV with a header (.csv) or JSON lines (.jsonl, .ndjson, .json), and how many were left out.

    The names are those of `monitoring` in config.yaml: f1, drift, observed_at (or f1_observed_at and
    drift_observed_at), window, samples, positives, tp, fp and fn; besides, `at` is the time of the reading and
    `served` the version that served. JSON may nest {"counts": {"tp": ...}} and {"observed_at": {"f1": ...}}, or be
    what `check --json` printed. Other names mean nothing. Times are epoch seconds or ISO 8601, UTC without a zone.
    A reading without `at` is as old as its window, so that it is never stale. Readings are sorted by time; those of
    one time keep their order. Left out are checks without metrics or without a time.

    A value that is missing, NaN or infinite is Unknown; what no record has a name for stays None. Raises
    RetrainError, with the line and the name, for anything else.
    """
    lines = _lines(path)
    records = [(line, record) for line, record in lines if record is not None]
    skipped = len(lines) - len(records)
    if not records:
        only = f", only {counted(skipped, 'check')} without metrics or without a time (`at` gives one)"
        raise RetrainError(f"{path} holds no reading{only if skipped else ''}")
    names = dict.fromkeys(name for _, record in records for name in record)
    for needed in (SIGNALS, TIMES):
        if names.keys().isdisjoint(needed):
            raise RetrainError(f"{path} has no {' or '.join(needed)}: {_similar(needed, names)}")
    readings = [_Record(record, names, f"{path}:{line}").reading() for line, record in records]
    return sorted(readings, key=lambda each: each.snapshot.fetched_at), skipped


def _similar(needed: Iterable[str], names: Iterable[str]) -> str:
    """What the file has instead."""
    there = {name.lower(): name for name in names}
    near = {there[key]: None for each in needed for key in difflib.get_close_matches(each, there, 1, 0.4)}
    hint = f" (is it {' or '.join(near)}?)" if near else ""
    return f"it has {', '.join(there.values()) or 'no name'}{hint}"


class _Record(Struct, frozen=True):
    """One record of the file, the names that any record has, and where it stands."""

    values: Mapping[str, Any]
    names: Collection[str]
    place: str

    def reading(self) -> Recorded:
        """What it says; a signal without its own end of the window has that of both."""
        f1_end, drift_end = map(self._end, SIGNALS)
        times = (self._value("at", moment), f1_end, drift_end)
        at = next((time for time in times if isinstance(time, datetime)), None)
        if at is None:
            raise RetrainError(f"{self.place}: has no time ({', '.join(TIMES)})")
        if at.year > _LAST_YEAR:
            raise RetrainError(f"{self.place}: is of the year {at.year}; is its time in seconds?")
        lacking = [name for name in COUNTS if self.values.get(name) is None]
        if 0 < len(lacking) < len(COUNTS):
            raise RetrainError(f"{self.place}: has no {', '.join(lacking)}; give all of {', '.join(COUNTS)} or none")
        counts = [self._value(name, number) for name in COUNTS]
        served = self._value("served", identifier)
        snapshot = Snapshot(
            at,
            self._value("f1", number),
            self._value("drift", number),
            f1_end,
            drift_end,
            self._value("window", identifier),
            self._value("samples", number),
            self._value("positives", number),
            None if counts == [None] * len(COUNTS) else counts_of(counts),
        )
        return Recorded(snapshot, served if isinstance(served, str) else None)

    def _end(self, signal: str) -> datetime | Unknown | None:
        """The end of the window of this signal, or else that of both."""
        own, both = f"{signal}_observed_at", "observed_at"
        return self._value(both if both in self.names and _plain(self.values.get(own)) is None else own, moment)

    def _value(self, name: str, convert: Callable[[Answer], T | Unknown]) -> T | Unknown | None:
        """What the value is worth as an endpoint's answer; None where no record has the name."""
        if name not in self.names:
            return None
        given = self.values.get(name)
        value = convert(Reading(given if convert is identifier else _plain(given)))
        if not isinstance(value, Unknown):
            return value
        if value.kind not in _ANSWERS:
            raise RetrainError(f"{self.place}: {name} is {reprlib.repr(given)}, {_NOT[convert]}")
        why = "is missing" if value.kind == Trouble.MISSING else value.why
        return Unknown(value.kind, f"{self.place}: {name} {why}")


def _plain(value: Any) -> Any:
    """The number that a text says, None where it says nothing, else the value itself."""
    if isinstance(value, str):
        try:
            return float_of(value)
        except ValueError:
            return value if value.strip() else None
    return value


# ---------------------------------------------------------------- the formats


def _lines(path: Path) -> list[Line]:
    formats = {".csv": _of_csv, ".jsonl": _of_json, ".ndjson": _of_json, ".json": _of_json}
    parse = formats.get(path.suffix.lower())
    if parse is None:
        why = f"{path}: recorded metrics are a .csv (with a header), or a .jsonl, .ndjson or .json (an object a line)"
        raise RetrainError(why)
    try:
        with opened(path) as file, TextIOWrapper(file, "utf-8-sig", newline="") as text:
            return list(parse(text, str(path)))
    except OSError as error:
        raise RetrainError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise RetrainError(f"{path} is not UTF-8") from error


def _of_csv(file: TextIO, where: str) -> Iterator[Line]:
    csv.field_size_limit(_LONGEST_CELL)  # for the whole process, which may read other files, too
    reader = csv.reader(file, strict=True)
    try:
        header = [name.strip() for name in next(reader, ())]
        if twice := [name for name in _NAMES if header.count(name) > 1]:
            raise RetrainError(f"{where}:1: the header has more than one {', '.join(twice)}")
        for cells in reader:
            if len(cells) == len(header):
                texts = map(str.strip, cells)
                row = {name: None if text in _MISSING else text for name, text in zip(header, texts, strict=True)}
                yield reader.line_num, row
            elif cells:
                has = f"this record has {counted(len(cells), 'cell')}, the header {len(header)}"
                raise RetrainError(f"{where}:{reader.line_num}: {has}")
    except csv.Error as error:
        raise RetrainError(f"{where}:{reader.line_num}: is not CSV: {error}") from error


def _of_json(file: TextIO, where: str) -> Iterator[Line]:
    for line, text in enumerate(file, 1):
        if not text.isspace():
            yield line, _object(text, f"{where}:{line}")


def _object(text: str, place: str) -> dict[str, Any] | None:
    """The record in a line, all values on one level."""
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RetrainError(f"{place}: is not JSON, one object a line: {error}") from error
    if not isinstance(record, dict):
        raise RetrainError(f"{place}: is not an object, one a line (`jq -c '.[]'` makes lines of a list)")
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
        elif nested is not None and name not in _NAMES:
            raise RetrainError(f"{place}: {name} is {reprlib.repr(nested)}, not an object of {', '.join(inside)}")
    return record

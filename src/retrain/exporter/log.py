"""The log of predictions, followed while it grows or is replaced."""

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from retrain.config.schema import Monitor
from retrain.effects.files import Stamp, opened, stamp
from retrain.errors import RetrainError
from retrain.exporter.windows import Windows
from retrain.tables.values import MISSING, seconds

_PIECE = 4 * 1024**2
_LONGEST_LINE = 16 * _PIECE
_LONGEST_QUOTED = 64 * 1024
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Position:
    """How far a CSV has been read: the offset behind the last complete record, the bytes before it, the header."""

    offset: int = 0
    before: bytes = b""
    columns: tuple[str, ...] = ()

    def continues_in(self, file: BinaryIO) -> bool:
        """Whether the file still has, before the offset, what was read there: it has grown, not been rewritten."""
        file.seek(self.offset - len(self.before))
        return bool(self.columns) and file.read(len(self.before)) == self.before


@dataclass(frozen=True, slots=True)
class Piece:
    """Some rows; the position behind them; the number of records that are not a row."""

    rows: Any
    position: Position = Position()
    malformed: int = 0


class Log:
    """A log and its windows as of the last time that it could be read."""

    def __init__(self, settings: Monitor) -> None:
        self._settings = settings
        self._seen: Stamp | None = None
        self._position = Position()
        self.windows = Windows(settings)

    def refresh(self, now: float) -> None:
        """Take in what has changed since the last time.

        Of a CSV that only grew the appended records are read; anything else that changed is read anew.
        Raises RetrainError where the log cannot be read; the windows then stay as they were.
        """
        self.windows.forget(now)
        path = self._settings.log
        try:
            if self._seen is not None and stamp(path) == self._seen and not self.windows.wants_reread(now):
                return
            with opened(path) as file:
                self._read(file, now)
        except FileNotFoundError as error:
            raise RetrainError(f"the log {path} is missing (monitor.log)") from error
        except (OSError, ValueError, pa.ArrowException, RetrainError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
            raise RetrainError(f"the log {path} cannot be read: {why}") from error

    def _read(self, file: BinaryIO, now: float) -> None:
        seen = stamp(file.fileno())  # before reading, so that what is written meanwhile makes the next stamp differ
        grown = self._is_longer(seen) and not self.windows.wants_reread(now) and self._position.continues_in(file)
        windows, position = (self.windows, self._position) if grown else (Windows(self._settings), Position())
        if self._settings.log.suffix == ".parquet":
            pieces = parquet_pieces(file, self._settings.timestamp, windows.since)
        else:
            pieces = csv_pieces(file, position)
        for piece in pieces:
            windows.add(piece.rows, now)
            windows.skipped["malformed"] += piece.malformed
            position = piece.position
            if grown:  # what has been counted must not be counted again, should a later piece fail
                self._position = position
        self.windows, self._position, self._seen = windows, position, seen

    def _is_longer(self, seen: Stamp | None) -> bool:
        """Whether it is the same file as before, and longer."""
        before = self._seen
        return seen is not None and before is not None and seen[0] == before[0] and seen[1] > before[1]


def csv_pieces(file: BinaryIO, position: Position) -> Iterator[Piece]:
    """The complete records behind the position, every value a text. A line whose end is not yet written waits."""
    file.seek(position.offset)
    block = b""
    while read := file.read(_PIECE):
        block += read
        end = _complete(block)
        if end == 0 and len(block) > _LONGEST_LINE:
            raise RetrainError(f"no line ends within {len(block)} bytes: this is not a CSV")
        if end == 0:
            continue
        records, block = block[:end], block[end:]
        before = (position.before + records)[-_REMEMBERED:]
        header = records.partition(b"\n")[0] if not position.columns else b""
        position = Position(position.offset + end, before, position.columns or _names(header))
        rows, malformed = _parse(records, position.columns, 1 if header else 0)
        yield Piece(rows, position, malformed)
    if not position.columns:
        raise RetrainError("it has no header line yet")


def _complete(block: bytes) -> int:
    """The length of the complete records; a line end inside a quoted text ends none, unless the text is endless."""
    last = end = block.rfind(b"\n") + 1
    inside = block.count(b'"', 0, end) % 2
    while inside:
        start = block.rfind(b"\n", 0, end - 1) + 1
        inside ^= block.count(b'"', start, end) % 2
        end = start
    return end if last - end <= _LONGEST_QUOTED else last


def _names(header: bytes) -> tuple[str, ...]:
    names = tuple(next(csv.reader([header.decode("utf-8-sig", "replace").rstrip("\r")]), ()))
    if not names:
        raise RetrainError("the first line is empty; it must name the columns")
    return names


def _parse(records: bytes, columns: tuple[str, ...], header_lines: int) -> tuple[Any, int]:
    """The rows as a table of texts, and the number of records that have not one text a column."""
    malformed: list[Any] = []

    def skip(record: Any) -> str:
        malformed.append(record.text)
        return "skip"

    texts = records.decode("utf-8", "replace").encode()
    rows = pa.csv.read_csv(
        pa.BufferReader(texts),
        pa.csv.ReadOptions(use_threads=False, block_size=len(texts) + 1, column_names=columns, skip_rows=header_lines),
        pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
        pa.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()), null_values=list(MISSING), strings_can_be_null=True
        ),
    )
    return rows, len(malformed)


def parquet_pieces(file: BinaryIO, timestamp: str, since: Callable[[], float]) -> Iterator[Piece]:
    """The rows, newest row groups first, without the groups that end before `since()` (epoch seconds)."""
    with pa.parquet.ParquetFile(file) as log:
        for number in reversed(range(log.num_row_groups)):
            if not _newest(log.metadata.row_group(number), timestamp) < since():
                for batch in log.iter_batches(row_groups=[number]):
                    yield Piece(pa.Table.from_batches([batch]))
        if log.num_row_groups == 0:
            yield Piece(log.schema_arrow.empty_table())


def _newest(group: Any, timestamp: str) -> float:
    """The last time in a row group, where its statistics have it; else infinity."""
    for number in range(group.num_columns):
        column = group.column(number)
        # Only numbers and timestamps are in the order of time; texts with time zones are not.
        if column.path_in_schema == timestamp and column.statistics is not None and column.statistics.has_min_max:
            newest = column.statistics.max
            return math.inf if isinstance(newest, str | bytes) else float(seconds(pd.Series([newest]))[0])
    return math.inf

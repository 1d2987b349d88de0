"""The log of predictions, followed while it grows or is replaced."""

import gzip
import math
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from retrain.config.schema import Monitor
from retrain.core.records import Label
from retrain.effects.files import Stamp, opened, stamp
from retrain.errors import RetrainError
from retrain.exporter.windows import Windows
from retrain.tables.pieces import Piece, Position, appended
from retrain.tables.values import seconds

_HEAD = 64 * 1024
"""Bytes by which a copy of the log is known."""


class Log:
    """A log and its windows as of the last time that it could be read."""

    def __init__(self, settings: Monitor, positive: Label = 1) -> None:
        self._settings, self._positive = settings, positive
        self._seen: Stamp | None = None
        self._position = Position()
        self.windows = Windows(settings, positive)

    def refresh(self, now: float) -> None:
        """Take in what has changed since the last time.

        Of a CSV that grew the appended records are read, and of one that was rotated those of the file that it was
        and of the new one; anything else that changed is read anew, with the rotated files before it.
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
        except Exception as error:
            self._seen, self._position = None, Position()  # a piece may have been counted in part: read all anew
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
            raise RetrainError(f"the log {path} cannot be read: {why}") from error

    def _read(self, file: BinaryIO, now: float) -> None:
        seen = stamp(file.fileno())  # before reading, so that what is written meanwhile makes the next stamp differ
        if self._settings.log.suffix == ".csv":
            self._seen = self._follow(file, seen, now)
            return
        windows = Windows(self._settings, self._positive)
        for piece in newest_first(file, self._settings.timestamp, windows.since):
            windows.add(piece.rows, now)
        self.windows, self._seen = windows, seen

    def _follow(self, file: BinaryIO, seen: Stamp | None, now: float) -> Stamp | None:
        """Read what is new in a CSV, or all of it; its stamp where that is all that there is now."""
        known = not self.windows.wants_reread(now) and self._position.columns
        longer = seen and self._seen and seen[0] == self._seen[0] and seen[1] > self._seen[1]
        if known and longer and self._position.continues_in(file):
            self._add(self.windows, file, self._position, now)
            return seen
        rotated = rotated_from(self._settings.log, file)
        for path in rotated[::-1] if known else ():
            with _opened(path) as before:
                if not self._position.continues_in(before):
                    continue
                self._add(self.windows, before, self._position, now)
            if seen is None or not seen[1]:
                return None  # until the new log has a line, the old one may get more
            self._add(self.windows, file, Position(columns=self._position.columns), now)
            return seen
        windows, position = Windows(self._settings, self._positive), Position()
        for path in rotated:
            if path.stat().st_mtime >= self.windows.since():
                with _opened(path) as before:
                    position = Position(columns=self._add(windows, before, position, now).columns)
        self._position = self._add(windows, file, position, now)
        self.windows = windows
        return seen

    def _add(self, windows: Windows, file: BinaryIO, position: Position, now: float) -> Position:
        """Count the rows behind a position; the position behind them."""
        for piece in appended(file, position, {self._settings.timestamp}):
            windows.add(piece.rows, now, piece.lost)
            position = piece.position
        if windows is self.windows:
            self._position = position
        return position


def rotated_from(log: Path, file: BinaryIO) -> list[Path]:
    """The files that a log was renamed or copied to, oldest first: predictions.csv.1, or a date for the number.

    Without one that begins as the log does, which is a copy that is being made: the log is cut after that.
    """
    name = re.compile(re.escape(log.name) + r"[.-]\d[\dT:_.-]*(\.gz)?")
    found = {path for path in log.parent.iterdir() if name.fullmatch(path.name) and path.is_file()}
    found -= {path for path in found if path.suffix == ".gz" and path.with_suffix("") in found}  # not compressed yet
    return sorted((path for path in found if not _is_copy(path, file)), key=lambda path: path.stat().st_mtime_ns)


def _is_copy(path: Path, file: BinaryIO) -> bool:
    with _opened(path) as other:
        begins = other.read(_HEAD)
    file.seek(0)
    return file.read(len(begins)) == begins


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with opened(path) as file:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=file)) if path.suffix == ".gz" else file
    except (OSError, EOFError, zlib.error) as error:
        raise RetrainError(f"{path.name}: {error}") from error


def newest_first(file: BinaryIO, timestamp: str, since: Callable[[], float]) -> Iterator[Piece]:
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

"""The log of predictions, followed while it grows or is replaced."""

import math
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from retrain.config.schema import Monitor
from retrain.effects.files import Stamp, opened, stamp
from retrain.errors import RetrainError
from retrain.exporter.windows import Windows
from retrain.tables.pieces import Piece, Position, appended
from retrain.tables.values import seconds


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
        longer = seen and self._seen and seen[0] == self._seen[0] and seen[1] > self._seen[1]
        grown = longer and not self.windows.wants_reread(now) and self._position.continues_in(file)
        windows, position = (self.windows, self._position) if grown else (Windows(self._settings), Position())
        if self._settings.log.suffix == ".csv":
            pieces = appended(file, position)
        else:
            pieces = newest_first(file, self._settings.timestamp, windows.since)
        for piece in pieces:
            windows.add(piece.rows, now)
            windows.skipped["malformed"] += piece.malformed
            position = piece.position
            if grown:  # what has been counted must not be counted again, should a later piece fail
                self._position = position
        self.windows, self._position, self._seen = windows, position, seen


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

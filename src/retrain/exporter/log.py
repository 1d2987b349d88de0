"""The log of predictions, followed while it grows or is replaced."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet

from retrain.config.schema import Monitor
from retrain.core.records import Label
from retrain.effects.files import Stamp, opened, stamp
from retrain.errors import RetrainError
from retrain.exporter.windows import Windows
from retrain.tables.pieces import Piece, Position, appended, opened_part, rotated_from
from retrain.tables.values import seconds


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
        and of the newer ones; anything else that changed is read anew, with the rotated files before it.
        Raises RetrainError where the log cannot be read; the windows then stay as they were.
        """
        path = self._settings.log
        try:
            self.windows.forget(now)
            if self._seen is not None and stamp(path) == self._seen and not self.windows.wants_reread(now):
                return
            with opened(path) as file:
                seen = stamp(file.fileno())  # before reading: what is written meanwhile makes the next stamp differ
                self._seen = self._follow(file, seen, now) if path.suffix == ".csv" else self._anew(file, seen, now)
        except FileNotFoundError as error:
            raise RetrainError(f"the log {path} is missing (monitor.log)") from error
        except Exception as error:
            self._seen, self._position = None, Position()  # a piece may have been counted in part: read all anew
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
            raise RetrainError(f"the log {path} cannot be read: {why}") from error

    def _anew(self, file: BinaryIO, seen: Stamp | None, now: float) -> Stamp | None:
        """Read a Parquet file; its stamp."""
        windows = Windows(self._settings, self._positive)
        for piece in newest_first(file, self._settings.timestamp, windows.since):
            windows.add(piece.rows, now)
        self.windows = windows
        return seen

    def _follow(self, file: BinaryIO, seen: Stamp | None, now: float) -> Stamp | None:
        """Read what is new in a CSV, or all of it; its stamp where that is all that there is now."""
        log, size = self._settings.log, seen[1] if seen else 0
        grown = seen and self._seen and seen[0] == self._seen[0] and size > self._seen[1]
        files = [*rotated_from(log, file), log]
        windows, position = Windows(self._settings, self._positive), Position()
        for number in reversed(range(len(files))) if not self.windows.wants_reread(now) else ():
            with opened_part(files[number], log, file) as each:
                if (grown or files[number] != log) and self._position.continues_in(each):
                    files, windows, position = files[number:], self.windows, self._position
                    break
        for path in files:
            if path == log and not size and position.columns:
                seen = None  # until the new log has a line, the old one may get more
                break
            position = position if path == files[0] else Position(columns=position.columns)
            with opened_part(path, log, file) as each:
                for piece in appended(each, position, {self._settings.timestamp}, ended=path != log and size > 0):
                    windows.add(piece.rows, now, piece.lost)
                    position = piece.position
        self.windows, self._position = windows, position
        return seen


def newest_first(file: BinaryIO, timestamp: str, since: Callable[[], float]) -> Iterator[Piece]:
    """The rows, newest row groups first, without the groups of which all times are before `since()` (epoch seconds)."""
    with pa.parquet.ParquetFile(file) as log:
        for number in reversed(range(log.num_row_groups)):
            times = log.read_row_group(number, [timestamp])
            if timestamp not in times.column_names or not (seconds(times[timestamp].to_pandas()) < since()).all():
                for batch in log.iter_batches(row_groups=[number]):
                    yield Piece(pa.Table.from_batches([batch]))
        if log.num_row_groups == 0:
            yield Piece(log.schema_arrow.empty_table())

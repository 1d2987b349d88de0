"""The log of predictions, followed while it grows or is replaced."""

import os
import stat
from typing import BinaryIO

import pyarrow as pa

from retrain.config.schema import Monitor
from retrain.errors import RetrainError
from retrain.monitor.tables import Position, csv_pieces, parquet_tables
from retrain.monitor.windows import Windows

Identity = tuple[int, int, int, int]


def identity(status: os.stat_result) -> Identity:
    """Device, inode, size and modification time: what changes when a file's content does."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class Log:
    """A log and its windows as of the last look that succeeded."""

    def __init__(self, settings: Monitor) -> None:
        self._settings = settings
        self._seen: Identity | None = None
        self._position = Position()
        self.windows = Windows(settings)

    def refresh(self, now: float) -> None:
        """Take in what has changed since the last look.

        Of a CSV that only grew the appended records are read; anything else that changed is read anew.
        Raises RetrainError where the log cannot be read; the windows are then the ones of the last good look.
        """
        self.windows.forget(now)
        path = self._settings.log
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise RetrainError("it is not a regular file")
            if identity(status) == self._seen and not self.windows.wants_reread(now):
                return
            with path.open("rb") as file:
                self._read(file, now)
        except FileNotFoundError as error:
            raise RetrainError(f"the log {path} is missing (monitor.log)") from error
        except (OSError, ValueError, pa.ArrowException, RetrainError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
            raise RetrainError(f"the log {path} cannot be read: {why}") from error

    def _read(self, file: BinaryIO, now: float) -> None:
        # Taken before reading, so that what is written meanwhile makes the next look differ.
        seen = identity(os.fstat(file.fileno()))
        if self._settings.log.suffix == ".parquet":
            self._read_parquet(file, now)
        else:
            self._read_csv(file, now, grown=self._has_grown(seen) and not self.windows.wants_reread(now))
        self._seen = seen

    def _has_grown(self, seen: Identity) -> bool:
        return self._seen is not None and seen[:2] == self._seen[:2] and seen[2] > self._seen[2]

    def _read_parquet(self, file: BinaryIO, now: float) -> None:
        windows = Windows(self._settings)
        for table in parquet_tables(file, self._settings.timestamp, windows.since):
            windows.add(table, now)
        self.windows = windows

    def _read_csv(self, file: BinaryIO, now: float, grown: bool) -> None:
        if grown and self._position.continues_in(file):
            windows, position = self.windows, self._position
        else:
            windows, position = Windows(self._settings), Position()
        for piece in csv_pieces(file, position):
            position = piece.position
            windows.add(piece.rows, now)
            windows.skipped["malformed"] += piece.malformed
            if windows is self.windows:
                # What has been counted must not be counted again, should a later piece fail.
                self._position = position
        if not position.columns:
            raise RetrainError("it has no header line yet")
        self.windows, self._position = windows, position

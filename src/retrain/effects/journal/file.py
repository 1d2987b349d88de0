"""The file of the journal: made whole or not at all, and connected to with care."""

import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from retrain.core.events import HistoryLost
from retrain.effects.journal.entries import TABLES, Journal
from retrain.errors import RetrainError

SCHEMA = 1
BUSY_SECONDS = 10.0
"""How long another writer is waited for."""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
ASIDE = ".damaged-"
_BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite may keep beside its file; the write-ahead log has the last events."""


class DamageError(Exception):
    """The file is no journal any more, and says why; `seen` is the inode of what was looked at.

    `found` is the error of SQLite behind it, which may be a fault of the disk that does not come again.
    """

    def __init__(self, why: str, seen: int, found: sqlite3.Error | None = None) -> None:
        super().__init__(why)
        self.seen = seen
        self.may_pass = getattr(found, "sqlite_errorcode", None) is not None


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the bytes are at fault, and not the disk, a lock or our rights."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # not SQLite's own: a text that is none, or an event that cannot be read
        return isinstance(error, sqlite3.DataError | sqlite3.OperationalError)
    return code & 0xFF in _DAMAGED


def sound(path: Path) -> Journal:
    """The journal, which is made where there is none. Raises DamageError where the file is none."""
    if not path.exists():
        _create(path)
    seen, connection = path.stat().st_ino, _connected(path, "rw")
    with _closed_unless_sound(connection, seen):
        connection.execute("PRAGMA synchronous = FULL")
        journal = Journal(connection, path, seen)
        journal.past()
    return journal


def sound_to_read(path: Path) -> Journal:
    if not _is_there(path):
        connection = sqlite3.connect(":memory:", isolation_level=None)
        connection.executescript(TABLES)
        return Journal(connection)
    # The last reader may remove -wal and -shm again, so that it leaves no trace; where they lay before, they stay.
    mode = "ro" if _is_there(path.with_name(f"{path.name}-wal")) else "rw"
    if mode == "rw" and not os.access(path.parent, os.W_OK):
        mode = "ro&immutable=1"  # without a write-ahead log and the right to make one
    connection = _connected(path, mode)
    connection.execute("PRAGMA query_only = ON")
    return Journal(connection, path)


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    """A connection to a file that has our tables. Raises DamageError where it has none, for instance no content."""
    seen = path.stat().st_ino
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=BUSY_SECONDS, isolation_level=None
    )
    with _closed_unless_sound(connection, seen):
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        if schema > SCHEMA:
            raise RetrainError(
                f"{path}: written by a newer retrain (schema {schema}, this one knows {SCHEMA}); upgrade it"
            )
        if schema == 0 and connection.execute("SELECT name FROM sqlite_master").fetchall():
            raise RetrainError(f"{path}: is the database of another program; move it away, or change `state`")
        if schema == 0:
            raise DamageError("it has no content", seen)
        if connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'events'").fetchone() == (0,):
            raise DamageError("its table of events is gone", seen)
    return connection


@contextmanager
def _closed_unless_sound(connection: sqlite3.Connection, seen: int) -> Iterator[None]:
    """Leave a connection open only where the block found nothing wrong; damage becomes a DamageError."""
    try:
        yield
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error) and is_damage(error):
            raise DamageError(str(error), seen, error) from error
        raise


def _create(path: Path) -> None:
    """Make the journal beside its name, and give it that name when it is whole.

    Where damaged ones are kept it begins with what was lost, also when a crash came between setting one aside and this.
    """
    with alone_in(path.parent):
        if path.exists():
            return
        fresh = path.with_name(f"{path.name}.new")
        for leftover in (fresh, *beside(fresh)):
            leftover.unlink(missing_ok=True)
        with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT")
            for kept in sorted(path.parent.glob(f"{path.name}{ASIDE}*Z")):
                Journal(connection).append(HistoryLost(kept.name, told_of_loss(kept)), datetime.now(UTC))
            # Last, so that nothing is in the log that a full disk keeps from being copied into the file on closing.
            # Readers and a writer do not wait for each other then. SQLite reports a failure as the old mode.
            if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
                raise RetrainError(f"{path}: the journal cannot be made: its write-ahead log cannot be switched on")
        fresh.rename(path)


def told_of_loss(kept: Path) -> str:
    return (
        f"the journal was damaged and is kept as {kept}; a new one begins, and with it the cooldown. It does not know"
        " the looks at the holdout (more are counted than there can have been), a challenger that waited, or versions"
        " that were rolled back"
    )


def beside(path: Path) -> list[Path]:
    return [path.with_name(path.name + suffix) for suffix in _BESIDE]


@contextmanager
def alone_in(directory: Path) -> Iterator[None]:
    """Nobody else makes a journal or sets one aside in this directory meanwhile; what was renamed is on disk then."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directory(state: Path) -> None:
    try:
        # One by one: `parents=True` would leave the state directory itself open to all.
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        (state / "runs").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise RetrainError(f"{error.filename}: the directory cannot be made (`state`): {error.strerror}") from error
    mode = state.stat().st_mode
    if mode & stat.S_IWOTH:
        raise RetrainError(
            f"{state}: everybody may write to it ({stat.filemode(mode)}), so nothing in it can be trusted:"
            f" chmod o-w {state}, and see that nobody changed it"
        )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise RetrainError(f"{path}: the journal cannot be read: {error.strerror}") from error

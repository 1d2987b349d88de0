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


_MEBIBYTE = 1024**2


@contextmanager
def open_journal(state: Path, *, writable: bool = True, name: str = "journal.db") -> Iterator[Journal]:
    """The journal in this state directory; made if it is missing. Not writable: an absent one is empty.

    A damaged one is set aside, never deleted, and a new one begins (`HistoryLost`). Where the damage is found only
    later, RetrainError says so, and the next command goes on with the new one. Not writable: it is only told.
    """
    path = state / name
    with _errors_told(path):
        journal = _opened_to_write(path) if writable else sound_to_read(path)
    try:
        with closing(journal):
            yield journal
    except sqlite3.Error as error:
        with _errors_told(path):
            if not writable or not is_damage(error):
                raise
            told = _set_aside(path, DamageError(str(error), journal.inode, error))
        raise RetrainError(f"{told}. This command could not be finished: run it again") from error


@contextmanager
def _errors_told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RetrainError(f"{path}: the journal cannot be used: {error.strerror}") from error
    except (DamageError, sqlite3.Error) as error:
        if isinstance(error, sqlite3.Error) and not is_damage(error):
            raise RetrainError(f"{path}: the journal cannot be used: {error}") from error
        raise RetrainError(
            f"{path}: the journal is damaged: {error} (restore it from a copy; otherwise retrain prune sets it"
            " aside and begins a new one)"
        ) from error


def _opened_to_write(path: Path) -> Journal:
    """The journal, or a new one that tells what happened to the one before it."""
    make_directory(path.parent)
    try:
        return sound(path)
    except DamageError as damage:
        told = _set_aside(path, damage)
        journal = sound(path)
        journal.news = (told,)
        return journal


def _set_aside(path: Path, damage: DamageError) -> str:
    """What is told of the damaged journal, which now has another name; a new one is there, and knows of that."""
    kept = path.with_name(f"{path.name}{ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    with alone_in(path.parent), _nobody_at_work(path):
        if not path.exists() or path.stat().st_ino != damage.seen:
            return "the journal was damaged, and another command has just set it aside"
        if damage.may_pass:
            _refuse_unrepeated(path, damage)
        # The file itself goes last: its write-ahead log must never meet another one.
        for file in (*beside(path), path):
            if file.exists():
                file.rename(file.with_name(file.name.replace(path.name, kept.name, 1)))
    sound(path).close()
    return f"{told_of_loss(kept)} (what SQLite says: {damage})"


def _refuse_unrepeated(path: Path, damage: DamageError) -> None:
    """Raise RetrainError where all can be read now: a disk that fails once looks like damage to SQLite.

    Raises OSError where the disk still fails; what it holds may be whole.
    """
    for file in (path, *beside(path)):
        if file.exists():
            with file.open("rb") as content:
                while content.read(_MEBIBYTE):
                    pass
    try:
        with closing(sound(path)) as journal:
            journal.verify(thorough=True)
    except (DamageError, sqlite3.Error):
        return
    raise RetrainError(
        f"{path}: could not be read ({damage}), and can be now, so the disk may be failing; nothing was changed: run"
        " it again"
    )


@contextmanager
def _nobody_at_work(path: Path) -> Iterator[None]:
    """Nobody holds retrain's lock meanwhile: a training, say, whose controller has the file open."""
    descriptor = os.open(path.with_name("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RetrainError(
                f"{path}: the journal is damaged, and will be set aside when the run that holds the lock has ended"
            ) from None
        yield
    finally:
        os.close(descriptor)

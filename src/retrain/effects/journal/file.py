"""The file of the journal: made by the first command that writes, refused where it cannot be relied on, repaired."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime
from pathlib import Path

from retrain.core.events import Actor, HistoryLost
from retrain.core.past import REPAIR, UNREPAIRED
from retrain.effects import files
from retrain.effects.journal.entries import TABLES, Journal
from retrain.errors import RetrainError, file_errors

NAME = "journal.db"
SCHEMA = 1
BUSY_SECONDS = 10.0
"""How long another writer is waited for."""
_BESIDE = ("-wal", "-shm", "-journal")
"""What SQLite may keep beside its file; the write-ahead log has the latest events."""
_MEBIBYTE = 1024**2
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class DamagedError(RetrainError):
    """The journal cannot be read, because of `found`: no command uses it until it is repaired."""

    def __init__(self, path: Path, found: str) -> None:
        super().__init__(f"{path}: the journal is damaged: {found}; {UNREPAIRED}", REPAIR)
        self.found = found


@contextmanager
def open_journal(
    state: Path,
    *,
    writable: bool = True,
    name: str = NAME,
    scrub: Callable[[str], str] = str,
    champion: Path | None = None,
) -> Iterator[Journal]:
    """The journal in this state directory; made if it is missing. Not writable: an absent one is empty.

    `scrub` takes secrets out of everything that is recorded. Where `champion` is given the journal must be that of
    this champion, and a new one becomes so.
    Raises DamagedError for a damaged one, also where that is found only within the block, and another RetrainError
    where it cannot be used. The file is never changed then: a disk that failed once looks like damage to SQLite, and
    the next command finds nothing wrong.
    """
    path = state / name
    files.refuse_foreign(state, path, need=os.W_OK | os.X_OK if writable else os.R_OK | os.X_OK)
    try:
        if path.exists() and not path.is_file():
            raise RetrainError(f"{path}: the journal cannot be used: it is not a regular file", "move it away")
        if not path.exists() and set_aside(path):
            raise DamagedError(path, "it was set aside, and the new one is missing, since the repair was interrupted")
        journal = _opened(path, scrub) if writable else _opened_to_read(path)
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, error) from error
    with closing(journal):
        try:
            if champion is not None:
                _refuse_foreign(journal, path, champion, writable=writable)
            yield journal
        except sqlite3.Error as error:
            raise _unusable(path, error) from error


def _refuse_foreign(journal: Journal, path: Path, champion: Path, *, writable: bool) -> None:
    """Raise RetrainError where the journal is that of another champion, which is still there."""
    # Relative, so that a project that moves keeps its journal; without links, by which two projects may have one state.
    state, place = path.parent.resolve(), champion.parent.resolve() / champion.name
    own, known = os.path.relpath(place, state), journal.owner()
    other = Path(os.path.normpath(state / (known or own)))
    if other.parent.resolve() / other.name != place and os.path.lexists(other):
        why = f"{path.parent}: is the state of {other}, and this configuration serves {champion}"
        raise RetrainError(why, "name another directory in `state`")
    if writable and known != own:
        journal.own(own)


def files_of(path: Path) -> list[Path]:
    """The files of this journal that exist, the main one first."""
    return [file for file in (path, *(path.with_name(path.name + suffix) for suffix in _BESIDE)) if file.exists()]


def set_aside(path: Path) -> list[Path]:
    """The damaged journals that are kept beside this one, oldest first."""
    return sorted(path.parent.glob(f"{path.name}.damaged-*Z"))


def _unusable(path: Path, error: OSError | sqlite3.Error) -> RetrainError:
    """What to raise where the journal fails so."""
    if isinstance(error, OSError):
        return RetrainError(f"{path}: the journal cannot be used: {error.strerror}")
    code = getattr(error, "sqlite_errorcode", None)
    # Without a code it is not SQLite's own: bytes that are no text, or an event that cannot be read.
    is_own = code is None and isinstance(error, sqlite3.DataError | sqlite3.OperationalError)
    if is_own or (code is not None and code & 0xFF in _DAMAGED):
        return DamagedError(path, str(error))
    if files.is_full(path.parent):  # which SQLite may call an I/O error
        return RetrainError(f"{path}: the journal cannot be used: its disk is full", "make some room, and try again")
    return RetrainError(f"{path}: the journal cannot be used: {error}")


def _opened(path: Path, scrub: Callable[[str], str]) -> Journal:
    """The journal to write to, which is made where there is none."""
    _make_directories(path.parent)
    if path.with_name(f"{path.name}-wal").exists():
        # Where the file is damaged, SQLite would remove its log on closing; a repair keeps both.
        with closing(_opened_to_read(path)) as journal:
            journal.past()
    with ExitStack() as on_error:
        connection = on_error.enter_context(closing(_connected(path, "rwc")))
        if _schema(connection, path) == 0:
            _create(connection)
        files.share(path)  # before SQLite makes those beside it, with the same mode
        # Readers and a writer do not wait for each other then. SQLite reports a failure as the old mode.
        if connection.execute("PRAGMA journal_mode = WAL").fetchone() != ("wal",):
            raise RetrainError(f"{path}: the journal cannot be used: its write-ahead log cannot be switched on")
        connection.execute("PRAGMA synchronous = FULL")
        journal = Journal(connection, path, path.stat().st_ino, scrub)
        journal.past()
        for file in files_of(path)[1:]:
            files.share(file)  # their group is ours, unless the directory hands down its own
        on_error.pop_all()
    return journal


def _opened_to_read(path: Path) -> Journal:
    """The journal to read from, without a trace; one without events where there is none."""
    if path.exists() and path.stat().st_size:
        # The last reader may remove -wal and -shm again, so that it leaves no trace; where they lay before, they stay.
        log = files.stamp(path.with_name(f"{path.name}-wal"))
        mode = "ro" if log is not None else "rw"
        is_empty = log is None or not log[1]  # which a command leaves that found the disk full
        if is_empty and (not os.access(path.parent, os.W_OK) or files.is_full(path.parent)):
            mode = "ro&immutable=1"  # without a write-ahead log, and the right or the room to make one
        with ExitStack() as unused:
            connection = unused.enter_context(closing(_connected(path, mode)))
            if _schema(connection, path):
                connection.execute("PRAGMA query_only = ON")
                unused.pop_all()
                return Journal(connection)
    connection = sqlite3.connect(":memory:", isolation_level=None)
    _create(connection)
    return Journal(connection)


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)


def _schema(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the tables; 0 where there are none. Raises RetrainError where they are not those of this release.

    All is read in one statement, for another command may make them meanwhile.
    """
    events = "(SELECT count(*) FROM sqlite_master WHERE name = 'events')"
    read = f"SELECT user_version, (SELECT count(*) FROM sqlite_master), {events} FROM pragma_user_version"  # noqa: S608
    schema, tables, has_events = connection.execute(read).fetchone()
    if schema > SCHEMA:
        raise RetrainError(f"{path}: written by a newer retrain (schema {schema}, this one knows {SCHEMA}); upgrade it")
    if schema == 0 and tables:
        raise RetrainError(f"{path}: is the database of another program; move it away, or change `state`")
    if schema and not has_events:
        raise DamagedError(path, "its table of events is missing")
    return int(schema)


def _create(connection: sqlite3.Connection) -> None:
    """Make the tables, all or none, unless another command has made them meanwhile."""
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA user_version").fetchone() == (0,):
            for statement in TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA}")


def _make_directories(state: Path) -> None:
    try:
        files.make_directory(state, 0o700)
        files.make_directory(state / "runs", 0o700)
    except OSError as error:
        raise RetrainError(f"{error.filename}: the directory cannot be made (`state`): {error.strerror}") from error
    files.refuse_writable_by_others(state, "nothing in it can be trusted")


def damage(state: Path) -> str | None:
    """What is wrong with the journal, all of which is read; None where nothing is, or where there is none.

    Raises RetrainError where the disk fails: what it holds may be whole.
    """
    path = state / NAME
    for file in files_of(path):
        # A read that fails is damage to SQLite.
        with file_errors(file), files.opened(file) as content:
            while content.read(_MEBIBYTE):
                pass
    try:
        with open_journal(state, writable=False) as journal:
            journal.verify(thorough=True)
    except DamagedError as error:
        return error.found
    return None


def name_aside(state: Path, at: datetime) -> Path:
    """Where to keep the damaged journal: where it is already, if a repair was interrupted."""
    path = state / NAME
    kept = set_aside(path)
    return kept[-1] if kept and not path.exists() else path.with_name(f"{NAME}.damaged-{at:%Y%m%dT%H%M%S.%fZ}")


def start_new(state: Path, kept: Path, served: str | None, at: datetime, by: Actor | None = None) -> None:
    """Keep the damaged journal under this name, and start one that knows what was lost, and the version that serves.

    After a crash anywhere in this a second call finishes it, and until then no command goes on without that knowledge.
    """
    path, fresh = state / NAME, state / f"{NAME}.new"
    with file_errors(path):
        for leftover in files_of(fresh):
            leftover.unlink()
        with open_journal(state, name=fresh.name) as journal:
            for each in dict.fromkeys((*set_aside(path), kept)):
                message = f"the journal was damaged and is kept as {each.name}; what only it knew is lost"
                journal.append(HistoryLost(each.name, message, served, by=by), at)
        if files_of(fresh) != [fresh]:
            raise RetrainError(f"{fresh}: the new journal cannot be written; nothing was changed", "is the disk full?")
        # The file goes first. Without it every command refuses to go on, so that the rest never meets another one.
        for file in files_of(path):
            file.rename(state / (kept.name + file.name[len(path.name) :]))
        files.sync_directory(state)
        fresh.rename(path)
        files.sync_directory(state)

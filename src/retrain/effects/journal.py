"""Append and read the history: SQLite, one append-only table, and the only state.

Beside it one row holds what the events add up to (`recall.Past`), renewed in the same transaction, so that a
check costs the same after a million events. It can be dropped: it is folded anew from the events.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from cattrs.preconf.json import make_converter

from retrain.core.events import Checked, Entry, Event, Judged
from retrain.core.past import Past
from retrain.core.recall import advance, fold
from retrain.errors import RetrainError

SCHEMA = 1
BUSY_SECONDS = 10.0
"""How long another writer is waited for."""
_TURNING_POINT = "kind NOT IN ('Checked', 'SwapStarted')"
_TABLES = f"""
CREATE TABLE events (
    id INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL, body TEXT NOT NULL
);
CREATE INDEX events_by_subject ON events (kind, subject);
CREATE INDEX turning_points ON events (id) WHERE {_TURNING_POINT};
CREATE TABLE past (one INTEGER PRIMARY KEY CHECK (one = 1), upto INTEGER NOT NULL, body TEXT NOT NULL);
"""
_KINDS: dict[str, type[Event]] = {kind.__name__: kind for kind in get_args(Event)}
_converter = make_converter()


class Journal:
    """An open journal. Its methods raise RetrainError when the file cannot be used."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    def past(self) -> Past:
        """What the history means for the decisions."""
        row = self._db.execute("SELECT body FROM past WHERE upto = (SELECT max(id) FROM events)").fetchone()
        past = _unpacked(*row) if row is not None else None
        return past if past is not None else fold(Past(), self._entries("ORDER BY id"))

    def append(self, event: Event, at: datetime) -> Past:
        """What the history means once this event is part of it; it is on disk when this returns."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            past = advance(self.past(), event, at)
            row = (at.isoformat(), type(event).__name__, _subject(event), _converter.dumps(event))
            last = self._db.execute("INSERT INTO events (at, kind, subject, body) VALUES (?, ?, ?, ?)", row).lastrowid
            self._db.execute("REPLACE INTO past VALUES (1, ?, ?)", (last, _converter.dumps(past)))
        return past

    def judgements(self) -> Iterator[Judged]:
        """Every look at any holdout, oldest first, and every repetition of one."""
        # The plus has SQLite walk the turning points in order, and sort nothing.
        for entry in self._entries(f"WHERE {_TURNING_POINT} AND +kind = 'Judged' ORDER BY id"):
            if isinstance(entry.event, Judged):
                yield entry.event

    def recorded(self, holdout: str, champion: str | None, challenger: str, question: str) -> Judged | None:
        """The look that already answered this question about these three."""
        for judged in self._judged(holdout):
            if (judged.champion, judged.challenger, judged.question) == (champion, challenger, question):
                return judged
        return None

    def recorded_for_file(self, file: str, champion: str | None, challenger: str, question: str) -> Judged | None:
        """The look that already answered this question, on a holdout file that was not touched since."""
        for entry in self._entries("WHERE kind = 'Judged' ORDER BY id DESC LIMIT 1000"):
            judged = entry.event
            if isinstance(judged, Judged) and judged.file == file:
                same = (judged.champion, judged.challenger, judged.question) == (champion, challenger, question)
                if same:
                    return judged
        return None

    def last_check(self) -> Entry | None:
        """The latest check."""
        # The plus keeps SQLite from sorting every check there ever was: the latest is among the last few events.
        return next(self._entries("WHERE +kind = 'Checked' ORDER BY id DESC LIMIT 1"), None)

    def checks(self) -> Iterator[Entry]:
        """Every check, oldest first."""
        yield from self._entries("WHERE +kind = 'Checked' ORDER BY id")

    def turning_points(self, limit: int) -> list[Entry]:
        """The latest events other than checks and intents to swap, newest first."""
        return list(self._entries(f"WHERE {_TURNING_POINT} ORDER BY id DESC LIMIT ?", limit))

    def _judged(self, holdout: str) -> Iterator[Judged]:
        for entry in self._entries("WHERE kind = 'Judged' AND subject = ? ORDER BY id", holdout):
            if isinstance(entry.event, Judged):
                yield entry.event

    def _entries(self, where: str, *parameters: object) -> Iterator[Entry]:
        rows = self._db.execute(f"SELECT id, at, kind, body FROM events {where}", parameters)  # noqa: S608
        yield from map(_entry, rows)


@contextmanager
def open_journal(state: Path, *, writable: bool = True, name: str = "journal.db") -> Iterator[Journal]:
    """The journal in this state directory; made if it is missing. Not writable: an absent one is empty."""
    path = state / name
    try:
        with closing(_connect(path, writable)) as connection:
            yield Journal(connection)
    except sqlite3.OperationalError as error:
        raise RetrainError(f"{path}: the journal cannot be used: {error}") from error
    except sqlite3.Error as error:
        way_out = "restore it from a copy, or move it away to begin a new history"
        raise RetrainError(f"{path}: the journal cannot be used: {error} ({way_out})") from error


def _connect(path: Path, writable: bool) -> sqlite3.Connection:
    if writable:
        _make_directory(path.parent)
    elif not _is_there(path):
        return _empty()
    # The last reader may remove -wal and -shm again, so that it leaves no trace; where they lay before, they stay.
    mode = "rwc" if writable else "ro" if _is_there(path.with_name(f"{path.name}-wal")) else "rw"
    if mode == "rw" and not os.access(path.parent, os.W_OK):
        mode = "ro&immutable=1"  # without a write-ahead log and the right to make one
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=BUSY_SECONDS, isolation_level=None
    )
    try:
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        if schema > SCHEMA:
            raise RetrainError(
                f"{path}: written by a newer retrain (schema {schema}, this one knows {SCHEMA}); upgrade it"
            )
        connection.execute("PRAGMA synchronous = FULL" if writable else "PRAGMA query_only = ON")
        if schema == 0 and writable:
            _create(connection)
    except BaseException:
        connection.close()
        raise
    if schema == 0 and not writable:  # another process is about to fill it
        connection.close()
        return _empty()
    return connection


def _empty() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(_TABLES)
    return connection


def _create(connection: sqlite3.Connection) -> None:
    _write_ahead(connection)
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if connection.execute("PRAGMA user_version").fetchone() == (0,):
            for statement in filter(str.strip, _TABLES.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA}")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Let readers and a writer not wait for each other. For this switch SQLite itself does not wait for others."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return


def _make_directory(state: Path) -> None:
    try:
        # One by one: `parents=True` would leave the state directory itself open to all.
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        (state / "runs").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise RetrainError(f"{state}: the state directory cannot be made: {error.strerror}") from error


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise RetrainError(f"{path}: the journal cannot be read: {error.strerror}") from error


def _unpacked(body: str) -> Past | None:
    """What the row of the past holds; None where another release wrote it: then the events are the truth."""
    try:
        past = _converter.loads(body, Past)
    except Exception:  # cattrs raises whatever a wrong value does
        return None
    return past if _converter.dumps(past) == body else None


def _entry(row: tuple[int, str, str, str]) -> Entry:
    number, at, kind, body = row
    try:
        return Entry(number, datetime.fromisoformat(at).astimezone(UTC), _converter.loads(body, _KINDS[kind]))
    except Exception as error:  # cattrs raises whatever a wrong value does
        raise sqlite3.DataError(f"its event {number} ({kind}) cannot be read") from error


def _subject(event: Event) -> str:
    """What an event is looked up by."""
    if isinstance(event, Checked):
        return event.reason
    if isinstance(event, Judged):
        return event.holdout
    return str(getattr(event, "run", None) or getattr(event, "version", ""))
